//! The load: each connection sends its next request when the last was answered. Bounded in number and in time.
//!
//! Whatever is not a good and complete answer fails the measurement: a gateway that refuses is fast.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail, ensure};
use bytes::Bytes;
use http::{Request, header};
use http_body_util::{BodyExt as _, Full};
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::net::TcpStream;

use crate::conversation::Format;

/// How the load is started.
#[derive(clap::Args)]
pub struct Options {
    /// Port of loopback where requests go.
    #[arg(long)]
    port: u16,
    /// What the client speaks.
    #[arg(long, value_enum, default_value = "openai")]
    format: Format,
    /// Size of a request's body.
    #[arg(long, default_value_t = 800)]
    bytes: usize,
    /// Asks for streams of so many chunks.
    #[arg(long)]
    chunks: Option<usize>,
    /// Connections; each has one request at a time.
    #[arg(long, default_value_t = 1)]
    connections: usize,
    /// Requests, all connections together.
    #[arg(long)]
    requests: usize,
    /// No request begins after so many seconds.
    #[arg(long, default_value_t = 60)]
    seconds: u64,
    /// The caller's key.
    #[arg(long, default_value = "bench-key-with-enough-characters")]
    key: String,
}

/// What all connections share.
struct Plan {
    options: Options,
    body: Bytes,
    address: SocketAddr,
    begun: AtomicUsize,
    deadline: Instant,
}

/// What one connection saw.
#[derive(Default)]
struct Seen {
    /// From the first byte of the request to the last of the answer.
    whole: Vec<Duration>,
    /// From the first byte of the request to the first of the answer's content.
    first: Vec<Duration>,
    bytes: u64,
    reads: u64,
}

/// Sends the requests and prints what was seen.
pub fn main(options: Options) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    println!("{}", runtime.block_on(run(options))?);
    Ok(())
}

async fn run(options: Options) -> anyhow::Result<Value> {
    let started = Instant::now();
    let plan = Arc::new(Plan {
        body: options.format.request(options.bytes, options.chunks),
        address: (Ipv4Addr::LOCALHOST, options.port).into(),
        begun: AtomicUsize::new(0),
        deadline: started + Duration::from_secs(options.seconds),
        options,
    });
    let connections: Vec<_> = (0..plan.options.connections).map(|_| tokio::spawn(connection(Arc::clone(&plan)))).collect();
    let mut all = Seen::default();
    for connection in connections {
        let seen = connection.await??;
        all.whole.extend(seen.whole);
        all.first.extend(seen.first);
        all.bytes += seen.bytes;
        all.reads += seen.reads;
    }
    Ok(json!({
        "requests": all.whole.len(),
        "elapsed_us": started.elapsed().as_micros() as u64,
        "body_bytes": plan.body.len(),
        "answer_bytes": all.bytes,
        "reads": all.reads,
        "whole_us": percentiles(&mut all.whole),
        "first_us": percentiles(&mut all.first),
    }))
}

async fn connection(plan: Arc<Plan>) -> anyhow::Result<Seen> {
    let tcp = TcpStream::connect(plan.address).await.context("connecting")?;
    tcp.set_nodelay(true)?;
    let (mut sender, connection) = handshake(TokioIo::new(tcp)).await?;
    tokio::spawn(connection);
    let mut seen = Seen::default();
    while plan.begun.fetch_add(1, Ordering::Relaxed) < plan.options.requests && Instant::now() < plan.deadline {
        sender.ready().await?;
        exchange(&plan, &mut sender, &mut seen).await?;
    }
    Ok(seen)
}

async fn exchange(plan: &Plan, sender: &mut SendRequest<Full<Bytes>>, seen: &mut Seen) -> anyhow::Result<()> {
    let options = &plan.options;
    let request = Request::post(options.format.path()).header(header::HOST, "127.0.0.1").header(header::CONTENT_TYPE, "application/json");
    let request = match options.format {
        Format::Openai => request.header(header::AUTHORIZATION, format!("Bearer {}", options.key)),
        Format::Anthropic => request.header("x-api-key", &options.key).header("anthropic-version", "2023-06-01"),
    };
    let request = request.body(Full::new(plan.body.clone()))?;
    let begin = Instant::now();
    let response = sender.send_request(request).await?;
    let status = response.status();
    let mut body = response.into_body();
    if status != 200 {
        bail!("{status}: {}", String::from_utf8_lossy(&body.collect().await?.to_bytes()));
    }
    let (mut first, mut tail) = (None, Vec::new());
    while let Some(frame) = body.frame().await {
        let Ok(data) = frame?.into_data() else { continue };
        first.get_or_insert_with(|| begin.elapsed());
        seen.bytes += data.len() as u64;
        seen.reads += 1;
        keep_tail(&mut tail, &data);
    }
    seen.whole.push(begin.elapsed());
    seen.first.push(first.context("the answer is empty")?);
    let end: &[u8] = if options.chunks.is_some() { options.format.end() } else { b"}" };
    ensure!(tail.ends_with(end), "the answer is not complete; it ends with: {}", String::from_utf8_lossy(&tail));
    Ok(())
}

/// Enough of the last bytes to see whether the end is there.
fn keep_tail(tail: &mut Vec<u8>, data: &[u8]) {
    const TAIL: usize = 64;
    if data.len() >= TAIL {
        tail.clear();
        tail.extend_from_slice(&data[data.len() - TAIL..]);
    } else {
        tail.drain(..(tail.len() + data.len()).saturating_sub(TAIL));
        tail.extend_from_slice(data);
    }
}

/// In microseconds, nearest rank.
fn percentiles(times: &mut [Duration]) -> Value {
    times.sort_unstable();
    let rank = |share: f64| {
        let index = ((times.len() as f64 * share).ceil() as usize).clamp(1, times.len().max(1)) - 1;
        times.get(index).map(|t| t.as_nanos() as f64 / 1e3)
    };
    json!({"p50": rank(0.5), "p99": rank(0.99), "max": rank(1.0)})
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_values_that_were_seen() {
        let mut times: Vec<Duration> = (1..=100).rev().map(Duration::from_micros).collect();
        assert_eq!(percentiles(&mut times), json!({"p50": 50.0, "p99": 99.0, "max": 100.0}));
        assert_eq!(percentiles(&mut [Duration::from_micros(7)])["p99"], 7.0);
        assert_eq!(percentiles(&mut [])["p50"], Value::Null);
    }

    #[test]
    fn the_tail_is_the_same_however_it_arrives() {
        let all: Vec<u8> = (0..200).collect();
        for size in [1, 7, 63, 64, 65, 200] {
            let mut tail = Vec::new();
            all.chunks(size).for_each(|piece| keep_tail(&mut tail, piece));
            assert_eq!(tail, all[136..], "{size}");
        }
    }
}
