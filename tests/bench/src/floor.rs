//! The floor: a proxy of the same libraries as the gateway, that parses and writes the JSON of both directions and does nothing else.
//!
//! What is absent: features. It knows one upstream, checks nothing, remembers nothing and writes no log.

use std::net::Ipv4Addr;

use anyhow::Context as _;
use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::response::Response;
use axum::routing::get;
use axum::serve::ListenerExt as _;
use bytes::Bytes;
use futures_util::TryStreamExt as _;
use http::{HeaderValue, StatusCode, header};
use serde_json::Value;

use crate::sse::Rewriter;

/// Largest body that is read, in bytes: the gateway's own default.
const BODY_LIMIT: usize = 32 << 20;

/// How the floor is started.
#[derive(clap::Args)]
pub struct Options {
    /// Port of loopback to listen on.
    #[arg(long)]
    port: u16,
    /// Where requests go, for example `http://127.0.0.1:9000`; the path is the client's.
    #[arg(long)]
    upstream: String,
    /// Lets bodies pass as they are, without parsing them.
    #[arg(long)]
    pass_through: bool,
}

#[derive(Clone)]
struct Site {
    http: reqwest::Client,
    upstream: String,
    pass_through: bool,
}

/// Serves until it is told to end.
pub fn main(options: Options) -> anyhow::Result<()> {
    if rustls::crypto::ring::default_provider().install_default().is_err() {
        anyhow::bail!("a TLS provider was installed before");
    }
    let http = reqwest::Client::builder().tcp_nodelay(true).redirect(reqwest::redirect::Policy::none()).no_proxy().build()?;
    let site = Site { http, upstream: options.upstream, pass_through: options.pass_through };
    tokio::runtime::Builder::new_multi_thread().enable_all().build()?.block_on(serve(options.port, site))
}

async fn serve(port: u16, site: Site) -> anyhow::Result<()> {
    let listener = tokio::net::TcpListener::bind((Ipv4Addr::LOCALHOST, port)).await.context("listening")?;
    let listener = listener.tap_io(|tcp| {
        // Where the system refuses it, the measurement shows it.
        let _ = tcp.set_nodelay(true);
    });
    let router = Router::new().route("/health", get(|| async { "ok" })).fallback(forward).with_state(site);
    Ok(axum::serve(listener, router).await?)
}

/// A failure ends the measurement, so it only has to be seen.
async fn forward(State(site): State<Site>, request: Request) -> Response {
    proxy(&site, request).await.unwrap_or_else(|error| {
        let mut response = Response::new(Body::from(format!("{error:#}")));
        *response.status_mut() = StatusCode::BAD_GATEWAY;
        response
    })
}

async fn proxy(site: &Site, request: Request) -> anyhow::Result<Response> {
    let url = format!("{}{}", site.upstream, request.uri().path());
    let mut body = axum::body::to_bytes(request.into_body(), BODY_LIMIT).await?;
    if !site.pass_through {
        body = rewrite(&body)?;
    }
    let content_type = HeaderValue::from_static("application/json");
    let answer = site.http.post(url).header(header::CONTENT_TYPE, content_type).body(body).send().await?;
    let (status, kind) = (answer.status(), answer.headers().get(header::CONTENT_TYPE).cloned());
    let is_stream = kind.as_ref().is_some_and(|k| k.as_bytes().starts_with(b"text/event-stream"));
    let body = match (site.pass_through, is_stream) {
        (true, true) => Body::from_stream(answer.bytes_stream()),
        (true, false) => Body::from(answer.bytes().await?),
        (false, true) => {
            let mut rewriter = Rewriter::default();
            Body::from_stream(
                answer
                    .bytes_stream()
                    .map_err(anyhow::Error::from)
                    .and_then(move |b| std::future::ready(rewriter.push(&b).map_err(Into::into))),
            )
        }
        (false, false) => Body::from(rewrite(&answer.bytes().await?)?),
    };
    let mut response = Response::new(body);
    *response.status_mut() = status;
    response.headers_mut().extend(kind.map(|kind| (header::CONTENT_TYPE, kind)));
    Ok(response)
}

fn rewrite(body: &[u8]) -> anyhow::Result<Bytes> {
    let value: Value = serde_json::from_slice(body)?;
    Ok(serde_json::to_vec(&value)?.into())
}
