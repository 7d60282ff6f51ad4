//! Accepts connections: HTTP/1.1 and h2c on one port, `TCP_NODELAY`, and a shutdown that lets running requests finish.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use hyper_util::server::graceful::GracefulShutdown;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
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
        let settings = gateway.generation.load().config.server.clone();
        let connections = GracefulShutdown::new();
        let site = serve::Site { gateway, local_only: self.address.ip().is_loopback() };
        let builder = builder(&settings);
        tokio::pin!(stop);
        let (tasks, cut) = (TaskTracker::new(), CancellationToken::new());
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
                    Ok((stream, _)) => (stream, slot.ok()),
                    Err(e) => {
                        tracing::warn!(error = %e, "a connection could not be accepted");
                        tokio::time::sleep(ACCEPT_PAUSE).await;
                        continue;
                    }
                },
            };
            tasks.spawn(connect(stream, &builder, site.clone(), &connections, settings.header_timeout, cut.clone(), slot));
        }
        drop(self.tcp);
        tasks.close();
        if tokio::time::timeout(settings.shutdown_timeout, connections.shutdown()).await.is_err() {
            tracing::warn!(timeout = ?settings.shutdown_timeout, "requests were still running at the end of shutdown_timeout; they are cut off");
        }
        // Whoever waits for the end of a request that is cut off is told of it before anything else ends.
        cut.cancel();
        tasks.wait().await;
    }
}

fn builder(settings: &Server) -> auto::Builder<TokioExecutor> {
    let mut builder = auto::Builder::new(TokioExecutor::new());
    builder
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(settings.header_timeout)
        // hyper's smallest buffer is 8 KiB.
        .max_buf_size(settings.header_limit.max(8 << 10));
    builder
        .http2()
        .timer(TokioTimer::new())
        .max_concurrent_streams(H2_STREAMS)
        .max_header_list_size(u32::try_from(settings.header_limit).unwrap_or(u32::MAX))
        .keep_alive_interval(Duration::from_secs(30));
    builder
}

/// Serves a connection to its end.
fn connect(
    stream: TcpStream,
    builder: &auto::Builder<TokioExecutor>,
    site: serve::Site,
    connections: &GracefulShutdown,
    patience: Duration,
    cut: CancellationToken,
    slot: Option<OwnedSemaphorePermit>,
) -> impl Future<Output = ()> + Send + 'static {
    // Without it the kernel holds small writes back, up to 40 ms for a stream's first token.
    if let Err(e) = stream.set_nodelay(true) {
        tracing::debug!(error = %e, "TCP_NODELAY was refused");
    }
    let asked = Arc::new(AtomicBool::new(false));
    let seen = Arc::clone(&asked);
    let service = service_fn(move |request: http::Request<Incoming>| {
        seen.store(true, Ordering::Relaxed);
        let site = site.clone();
        async move { Ok::<_, std::convert::Infallible>(serve::request(site, request).await) }
    });
    let connection = builder.serve_connection(TokioIo::new(stream), service).into_owned();
    let watched = connections.watch(connection);
    async move {
        let _slot = slot;
        // The protocol's own timeouts begin when it is known which one it is.
        let silent = async {
            tokio::time::sleep(patience).await;
            if asked.load(Ordering::Relaxed) {
                std::future::pending::<()>().await;
            }
        };
        tokio::select! {
            ended = watched => if let Err(e) = ended {
                tracing::debug!(error = %e, "a connection ended early");
            },
            () = silent => tracing::debug!("a connection asked for nothing in time"),
            () = cut.cancelled() => {}
        }
    }
}
