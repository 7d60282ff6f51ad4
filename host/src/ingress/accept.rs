//! Accepts connections: HTTP/1.1 and h2c on one port, `TCP_NODELAY`, and a shutdown that lets running requests finish.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use hyper_util::server::graceful::{GracefulShutdown, Watcher};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_io_timeout::TimeoutStream;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::serve;
use crate::config::Server;
use crate::gateway::Gateway;

/// Pause after an accept that failed, for example for want of file descriptors: trying again at once would only burn CPU.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// Streams of one HTTP/2 connection.
const H2_STREAMS: u32 = 1024;

/// A bound port.
pub struct Listener {
    tcp: TcpListener,
    /// Where it listens.
    pub address: SocketAddr,
}

/// Binds the port.
pub async fn bind(server: &Server) -> std::io::Result<Listener> {
    let tcp = TcpListener::bind((server.host.as_str(), server.port)).await?;
    let address = tcp.local_addr()?;
    Ok(Listener { tcp, address })
}

impl Listener {
    /// Serves until `stop` resolves, then lets running requests finish for as long as the configuration allows.
    pub async fn serve(self, gateway: Arc<Gateway>, stop: impl Future<Output = ()>) {
        let settings = gateway.deploy.live().stable.config.server.clone();
        let connections = GracefulShutdown::new();
        let site = serve::Site { gateway, local_only: self.address.ip().is_loopback() };
        let protocols = Arc::new(Protocols::new(&settings));
        tokio::pin!(stop);
        let (tasks, stopping, cut) = (TaskTracker::new(), CancellationToken::new(), CancellationToken::new());
        let slots = Arc::new(Semaphore::new(settings.max_connections));
        loop {
            let accepted = async {
                // When all are taken, the next client waits in the kernel's queue.
                let slot = Arc::clone(&slots).acquire_owned().await;
                (self.tcp.accept().await, slot)
            };
            let (stream, slot) = tokio::select! {
                () = &mut stop => break,
                (accepted, slot) = accepted => match accepted {
                    Ok((stream, _)) => (stream, slot),
                    Err(e) => {
                        tracing::warn!(error = %e, "a connection could not be accepted");
                        tokio::time::sleep(ACCEPT_PAUSE).await;
                        continue;
                    }
                },
            };
            let client = Client { stream, protocols: Arc::clone(&protocols), watcher: connections.watcher(), _slot: slot.ok() };
            let (site, stopping, cut) = (site.clone(), stopping.clone(), cut.clone());
            let patience = Patience { first: settings.header_timeout, send: settings.send_timeout };
            tasks.spawn(client.serve(site, patience, stopping, cut));
        }
        drop(self.tcp);
        stopping.cancel();
        tasks.close();
        if tokio::time::timeout(settings.shutdown_timeout, connections.shutdown()).await.is_err() {
            tracing::warn!(timeout = ?settings.shutdown_timeout, "requests were still running at the end of shutdown_timeout; they are cut off");
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
    protocols: Arc<Protocols>,
    watcher: Watcher,
    _slot: Option<OwnedSemaphorePermit>,
}

impl Client {
    /// Serves the connection to its end.
    async fn serve(self, site: serve::Site, patience: Patience, stopping: CancellationToken, cut: CancellationToken) {
        let Self { stream, protocols, watcher, _slot } = self;
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
        let builder = tokio::select! {
            builder = protocols.of(&stream) => builder,
            () = &mut silent => return tracing::debug!("a connection said nothing in time"),
            () = stopping.cancelled() => return,
        };
        let service = service_fn(|request: http::Request<Incoming>| {
            asked.store(true, Ordering::Relaxed);
            let site = site.clone();
            // hyper keeps the place of this future for as long as the response's body lasts. In a box it goes with the head.
            Box::pin(async move { Ok::<_, Infallible>(serve::request(site, request).await) })
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
