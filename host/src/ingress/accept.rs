//! Accepts connections: HTTP/1.1 and h2c on one port, `TCP_NODELAY`, and a shutdown that lets running requests finish.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use hyper_util::server::graceful::GracefulShutdown;
use tokio::net::{TcpListener, TcpStream};

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
        loop {
            let stream = tokio::select! {
                () = &mut stop => break,
                accepted = self.tcp.accept() => match accepted {
                    Ok((stream, _)) => stream,
                    Err(e) => {
                        tracing::warn!(error = %e, "a connection could not be accepted");
                        tokio::time::sleep(ACCEPT_PAUSE).await;
                        continue;
                    }
                },
            };
            connect(stream, &builder, site.clone(), &connections);
        }
        drop(self.tcp);
        tokio::select! {
            () = connections.shutdown() => {}
            () = tokio::time::sleep(settings.shutdown_timeout) => {
                tracing::warn!(timeout = ?settings.shutdown_timeout, "requests were still running at the end of shutdown_timeout; they are cut off");
            }
        }
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

fn connect(stream: TcpStream, builder: &auto::Builder<TokioExecutor>, site: serve::Site, connections: &GracefulShutdown) {
    // Without it the kernel holds small writes back, up to 40 ms for a stream's first token.
    if let Err(e) = stream.set_nodelay(true) {
        tracing::debug!(error = %e, "TCP_NODELAY was refused");
    }
    let service = service_fn(move |request: http::Request<Incoming>| {
        let site = site.clone();
        async move { Ok::<_, std::convert::Infallible>(serve::request(site, request).await) }
    });
    let connection = builder.serve_connection(TokioIo::new(stream), service).into_owned();
    let watched = connections.watch(connection);
    tokio::spawn(async move {
        if let Err(e) = watched.await {
            tracing::debug!(error = %e, "a connection ended early");
        }
    });
}
