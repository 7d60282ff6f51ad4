//! Accepts connections: HTTP/1.1 and HTTP/2 on one port, with TLS or without, `TCP_NODELAY`, and a shutdown that lets running requests
//! finish.

use std::convert::Infallible;
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use hyper_util::server::graceful::{GracefulShutdown, Watcher};
use rustls::ServerConfig;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio_io_timeout::TimeoutStream;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use tokio_util::sync::CancellationToken;
use tokio_util::task::{AbortOnDropHandle, TaskTracker};

use super::serve;
use super::tls::Certificates;
use crate::config::Server;
use crate::gateway::Gateway;

/// Pause after an accept that failed, for example for want of file descriptors: trying again at once would only burn CPU.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// Streams of one HTTP/2 connection.
const H2_STREAMS: u32 = 1024;

/// How long requests that get an error at the end of a shutdown have to hand it on. Whoever does not read would hold the process for ever.
const LAST_WORDS: Duration = Duration::from_secs(2);

/// A bound port.
pub struct Listener {
    tcp: TcpListener,
    certificates: Option<Arc<Certificates>>,
    /// Where it listens.
    pub address: SocketAddr,
}

/// Binds the port.
pub async fn bind(server: &Server) -> io::Result<Listener> {
    let certificates = server.tls.as_ref().map(Certificates::open).transpose().map_err(|e| io::Error::other(e.message))?;
    let tcp = TcpListener::bind((server.host.as_str(), server.port)).await?;
    let address = tcp.local_addr()?;
    Ok(Listener { tcp, certificates, address })
}

impl Listener {
    /// Where browsers of this machine find it.
    fn url(&self) -> String {
        let scheme = if self.certificates.is_some() { "https" } else { "http" };
        let mut address = self.address;
        if address.ip().is_unspecified() {
            address.set_ip(Ipv4Addr::LOCALHOST.into());
        }
        format!("{scheme}://{address}")
    }

    /// Serves until `stop` says so, then lets running requests finish for as long as the configuration allows.
    pub async fn serve(self, gateway: Arc<Gateway>, mut stop: mpsc::UnboundedReceiver<()>) {
        let config = Arc::clone(&gateway.deploy.live().stable.config);
        let settings = config.server.clone();
        let connections = GracefulShutdown::new();
        gateway.logins().listen_at(self.url());
        let certificates =
            self.certificates.map(|c| (Arc::clone(&c), AbortOnDropHandle::new(tokio::spawn(c.follow(Arc::clone(&gateway))))));
        let deploy = Arc::clone(&gateway.deploy);
        let local_only = self.address.ip().is_loopback();
        if !local_only && config.auth.credentials().next().is_none() {
            tracing::info!(
                "the operators' interface is closed: others can connect, and neither `auth.api_password` nor `auth.api_key_env` is set"
            );
        }
        let site = serve::Site { gateway, local_only, guesses: Arc::default(), access: config.logging.access };
        let protocols = Arc::new(Protocols::new(&settings));
        let gateway = Arc::clone(&site.gateway);
        let stop = async move {
            stop.recv().await;
            gateway.leave();
            // Whoever asks again does not want to wait for a load balancer.
            let _ = tokio::time::timeout(settings.shutdown_delay, stop.recv()).await;
        };
        tokio::pin!(stop);
        let (tasks, stopping, cut) = (TaskTracker::new(), CancellationToken::new(), CancellationToken::new());
        let slots = Arc::new(Semaphore::new(settings.max_connections));
        loop {
            let accepted = async {
                // When all are taken, the next client waits in the kernel's queue.
                let slot = Arc::clone(&slots).acquire_owned().await;
                (self.tcp.accept().await, slot)
            };
            let (stream, peer, slot) = tokio::select! {
                () = &mut stop => break,
                (accepted, slot) = accepted => match accepted {
                    Ok((stream, peer)) => (stream, peer, slot),
                    Err(e) => {
                        tracing::warn!(error = %e, "a connection could not be accepted");
                        tokio::time::sleep(ACCEPT_PAUSE).await;
                        continue;
                    }
                },
            };
            let client = Client {
                stream,
                peer: peer.ip(),
                certificates: certificates.as_ref().map(|(c, _)| c.current()),
                protocols: Arc::clone(&protocols),
                watcher: connections.watcher(),
                _slot: slot.ok(),
            };
            let (site, stopping, cut) = (site.clone(), stopping.clone(), cut.clone());
            let patience = Patience { first: settings.header_timeout, send: settings.send_timeout };
            tasks.spawn(client.serve(site, patience, stopping, cut));
        }
        drop(self.tcp);
        stopping.cancel();
        tasks.close();
        let ended = connections.shutdown();
        tokio::pin!(ended);
        if tokio::time::timeout(settings.shutdown_timeout, &mut ended).await.is_err() {
            tracing::warn!(timeout = ?settings.shutdown_timeout, "requests were still running at the end of shutdown_timeout; they are cut off");
            deploy.expire();
            let _ = tokio::time::timeout(LAST_WORDS, ended).await;
        }
        // Whoever waits for the end of a request that is cut off is told of it before anything else ends.
        cut.cancel();
        tasks.wait().await;
    }
}

/// The servers of both protocols, and one for those of whom it is not known yet what they speak. It has to read to find that
/// out, and what it read makes the buffer of an HTTP/1.1 connection twice as large.
struct Protocols {
    either: auto::Builder<TokioExecutor>,
    http1: auto::Builder<TokioExecutor>,
    http2: auto::Builder<TokioExecutor>,
}

impl Protocols {
    fn new(settings: &Server) -> Self {
        let mut either = auto::Builder::new(TokioExecutor::new());
        either
            .http1()
            .timer(TokioTimer::new())
            .header_read_timeout(settings.header_timeout)
            // hyper's smallest buffer is 8 KiB.
            .max_buf_size(settings.header_limit.max(8 << 10));
        either
            .http2()
            .timer(TokioTimer::new())
            .max_concurrent_streams(H2_STREAMS)
            .max_header_list_size(u32::try_from(settings.header_limit).unwrap_or(u32::MAX))
            .keep_alive_interval(Duration::from_secs(30));
        Self { http1: either.clone().http1_only(), http2: either.clone().http2_only(), either }
    }

    /// The server for a client, by its first bytes.
    async fn of(&self, stream: &TcpStream) -> &auto::Builder<TokioExecutor> {
        let mut first = [0; H2_PREFACE.len()];
        match stream.peek(&mut first).await {
            Ok(length) if length == H2_PREFACE.len() && first == *H2_PREFACE => &self.http2,
            Ok(length) if !H2_PREFACE.starts_with(&first[..length]) => &self.http1,
            // It sent less than that, or nothing.
            _ => &self.either,
        }
    }
}

/// What a client begins with that speaks HTTP/2 (RFC 9113, section 3.4).
const H2_PREFACE: &[u8; 24] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// How long a client may keep the gateway waiting.
struct Patience {
    /// For its first request.
    first: Duration,
    /// For taking anything of an answer. Whoever does not read would hold its answer, and what made it, for ever.
    send: Duration,
}

/// A connection that was accepted.
struct Client {
    stream: TcpStream,
    peer: IpAddr,
    /// With what it is encrypted.
    certificates: Option<Arc<ServerConfig>>,
    protocols: Arc<Protocols>,
    watcher: Watcher,
    _slot: Option<OwnedSemaphorePermit>,
}

impl Client {
    /// Serves the connection to its end.
    async fn serve(self, site: serve::Site, patience: Patience, stopping: CancellationToken, cut: CancellationToken) {
        let Self { stream, peer, certificates, protocols, watcher, _slot } = self;
        // Without it the kernel holds small writes back, up to 40 ms for a stream's first token.
        if let Err(e) = stream.set_nodelay(true) {
            tracing::debug!(error = %e, "TCP_NODELAY was refused");
        }
        let asked = AtomicBool::new(false);
        // The protocol's own timeouts begin when it is known which one it is.
        let silent = async {
            tokio::time::sleep(patience.first).await;
            if asked.load(Ordering::Relaxed) {
                std::future::pending::<()>().await;
            }
        };
        tokio::pin!(silent);
        let begun = async {
            match certificates {
                None => {
                    let builder = protocols.of(&stream).await;
                    Ok((Stream::Plain(stream), builder))
                }
                Some(config) => {
                    let stream = TlsAcceptor::from(config).accept(stream).await?;
                    // What was agreed on while the connection was encrypted; those who cannot agree on anything speak HTTP/1.1.
                    let builder = if stream.get_ref().1.alpn_protocol() == Some(b"h2") { &protocols.http2 } else { &protocols.http1 };
                    Ok::<_, io::Error>((Stream::Encrypted(Box::new(stream)), builder))
                }
            }
        };
        let (stream, builder) = tokio::select! {
            begun = begun => match begun {
                Ok(begun) => begun,
                Err(e) => return tracing::debug!(error = %e, "a connection could not be encrypted"),
            },
            () = &mut silent => return tracing::debug!("a connection said nothing in time"),
            () = stopping.cancelled() => return,
        };
        let service = service_fn(|request: http::Request<Incoming>| {
            asked.store(true, Ordering::Relaxed);
            let site = site.clone();
            // hyper keeps the place of this future for as long as the response's body lasts. In a box it goes with the head.
            Box::pin(async move { Ok::<_, Infallible>(serve::request(site, peer, request).await) })
        });
        let mut stream = Box::pin(TimeoutStream::new(stream));
        stream.as_mut().set_write_timeout_pinned(Some(patience.send));
        let connection = builder.serve_connection(TokioIo::new(stream), service);
        tokio::select! {
            ended = watcher.watch(connection) => if let Err(e) = ended {
                tracing::debug!(error = %e, "a connection ended early");
            },
            () = &mut silent => tracing::debug!("a connection asked for nothing in time"),
            () = cut.cancelled() => {}
        }
    }
}

/// What a connection is read from and written to.
enum Stream {
    Plain(TcpStream),
    Encrypted(Box<TlsStream<TcpStream>>),
}

impl AsyncRead for Stream {
    fn poll_read(self: Pin<&mut Self>, context: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_read(context, into),
            Self::Encrypted(stream) => Pin::new(stream).poll_read(context, into),
        }
    }
}

impl AsyncWrite for Stream {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, from: &[u8]) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_write(context, from),
            Self::Encrypted(stream) => Pin::new(stream).poll_write(context, from),
        }
    }

    fn poll_write_vectored(self: Pin<&mut Self>, context: &mut Context<'_>, from: &[io::IoSlice<'_>]) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_write_vectored(context, from),
            Self::Encrypted(stream) => Pin::new(stream).poll_write_vectored(context, from),
        }
    }

    fn is_write_vectored(&self) -> bool {
        match self {
            Self::Plain(stream) => stream.is_write_vectored(),
            Self::Encrypted(stream) => stream.is_write_vectored(),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_flush(context),
            Self::Encrypted(stream) => Pin::new(stream).poll_flush(context),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_shutdown(context),
            Self::Encrypted(stream) => Pin::new(stream).poll_shutdown(context),
        }
    }
}
