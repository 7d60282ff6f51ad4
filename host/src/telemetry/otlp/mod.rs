//! Traces and metrics for a collector of OpenTelemetry, over OTLP (<https://opentelemetry.io/docs/specs/otlp/>).
//!
//! A request is told of when it is over: everything that its spans say is known then, and nothing of it waits for the collector. `span.rs` is what
//! a request carries until then, `requests.rs` makes spans of it, `metrics.rs` makes metrics of what is counted anyway, `way.rs` says where both go.
//!
//! What is absent: without `telemetry.otlp` there is no exporter, and a request carries nothing. Nothing here is awaited by a request.

mod attributes;
mod content;
mod metrics;
mod requests;
pub mod span;
mod way;

use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::{Duration, Instant};

use http::request::Parts;
use http::{StatusCode, header};
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::collector::trace::v1::{ExportTraceServiceRequest, ExportTraceServiceResponse};
use opentelemetry_proto::tonic::common::v1::InstrumentationScope;
use opentelemetry_proto::tonic::metrics::v1::{ResourceMetrics, ScopeMetrics};
use opentelemetry_proto::tonic::resource::v1::Resource;
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans, Span as Sent};
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, NoLabelSet};
use prometheus_client::metrics::MetricType;
use prost::Message as _;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;

use crate::config::Otlp as Settings;
use crate::extensions::bindings::exports::wasmgate::extension::attempts::Tried;
use crate::extensions::bindings::exports::wasmgate::extension::on_complete::Outcome;
use crate::gateway::Gateway;
use crate::pipeline::Exchange;

use metrics::Metrics;
pub use requests::Answered;
use span::Span;
use way::Way;

/// Spans that are sent at once.
const BATCH: usize = 512;

/// About how many bytes are sent at once: collectors take no documents of any length.
const BATCH_BYTES: usize = 4 << 20;

/// How often a batch is sent that the collector cannot take now.
const TRIES: u32 = 3;

/// How long it is left alone after the first of them; each time twice as long.
const BACKOFF: Duration = Duration::from_secs(1);

/// Longest that it may ask for.
const MAX_BACKOFF: Duration = Duration::from_secs(30);

/// Longest that the end of the gateway waits.
const MAX_FLUSH: Duration = Duration::from_secs(5);

/// Most that is read of an answer.
const MAX_ANSWER: usize = 64 << 10;

/// What sends.
pub struct Otlp {
    ratio: f64,
    /// Whether spans say what was said.
    content: bool,
    /// Where finished requests go; none when no traces are sent.
    queue: Option<mpsc::Sender<Finished>>,
    room: Arc<Room>,
    counts: Arc<Counts>,
    stopping: CancellationToken,
    patience: Duration,
    tasks: Mutex<Vec<JoinHandle<()>>>,
}

/// What is needed to send, before there is a gateway to tell of.
pub struct Prepared {
    settings: Settings,
    resource: Resource,
    counts: Arc<Counts>,
    stopping: CancellationToken,
    traces: Option<Post>,
    metrics: Option<Post>,
}

/// What became of spans.
#[derive(Debug, Default)]
pub struct Counts {
    sent: AtomicU64,
    dropped: AtomicU64,
    failures: AtomicU64,
}

/// Bytes that may wait to be sent, and those that do.
#[derive(Debug)]
struct Room {
    most: usize,
    taken: AtomicUsize,
}

/// Bytes that wait, until this is dropped.
#[derive(Debug)]
struct Place {
    room: Arc<Room>,
    bytes: usize,
}

/// The spans of a request that is over, and the room that they take.
struct Finished {
    spans: Vec<Sent>,
    place: Place,
}

/// Spans that will be sent together.
#[derive(Default)]
struct Batch {
    spans: Vec<Sent>,
    places: Vec<Place>,
    bytes: usize,
}

impl Room {
    /// Takes room for so many bytes, if there is.
    fn take(self: &Arc<Self>, bytes: usize) -> Option<Place> {
        let more = |taken: usize| taken.checked_add(bytes).filter(|taken| *taken <= self.most);
        self.taken.fetch_update(Ordering::Relaxed, Ordering::Relaxed, more).ok()?;
        Some(Place { room: Arc::clone(self), bytes })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.room.taken.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

impl Batch {
    fn add(&mut self, more: Finished) {
        self.bytes += more.place.bytes;
        self.spans.extend(more.spans);
        self.places.push(more.place);
    }

    fn is_full(&self) -> bool {
        self.spans.len() >= BATCH || self.bytes >= BATCH_BYTES
    }
}

impl fmt::Debug for Otlp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Otlp").field("counts", &self.counts).finish_non_exhaustive()
    }
}

impl Prepared {
    /// Finds out where to send, if that is wanted. An error says what is wrong with the environment.
    pub fn new(settings: &Settings, environment: way::Environment<'_>) -> anyhow::Result<Option<Self>> {
        if !settings.enabled || !(settings.traces || settings.metrics) {
            return Ok(None);
        }
        let resource = way::resource(settings, environment).map_err(anyhow::Error::msg)?;
        let (counts, stopping) = (Arc::<Counts>::default(), CancellationToken::new());
        let post = |wanted: bool, signal: &'static str| -> anyhow::Result<Option<Post>> {
            if !wanted {
                return Ok(None);
            }
            let way = Way::of(signal, settings, environment).map_err(anyhow::Error::msg)?;
            let http = reqwest::Client::builder().connect_timeout(way.timeout).redirect(reqwest::redirect::Policy::none()).no_proxy();
            let (http, stopping, counts) = (http.build()?, stopping.clone(), Arc::clone(&counts));
            Ok(Some(Post { http, way, signal, stopping, counts, failing: AtomicBool::new(false) }))
        };
        let (traces, metrics) = (post(settings.traces, "traces")?, post(settings.metrics, "metrics")?);
        Ok(Some(Self { settings: settings.clone(), resource, counts, stopping, traces, metrics }))
    }

    /// Begins to send. It must run inside the runtime that serves.
    pub fn start(self, gateway: Weak<Gateway>) -> Arc<Otlp> {
        let Self { settings, resource, counts, stopping, traces, metrics } = self;
        let patience = [&traces, &metrics].into_iter().flatten().map(|post| post.way.timeout).max().unwrap_or_default().min(MAX_FLUSH);
        let (mut tasks, mut queue) = (Vec::new(), None);
        if let Some(post) = traces {
            let (sender, receiver) = mpsc::channel(settings.queue);
            tasks.push(tokio::spawn(self::traces(post, receiver, resource.clone(), settings.interval)));
            queue = Some(sender);
        }
        if let Some(post) = metrics {
            tasks.push(tokio::spawn(self::metrics(post, Metrics::new(gateway), resource, settings.metrics_interval)));
        }
        let (ratio, content) = (settings.sample_ratio, settings.content);
        let room = Arc::new(Room { most: settings.queue_bytes, taken: AtomicUsize::new(0) });
        Arc::new(Otlp { ratio, content, queue, room, counts, stopping, patience, tasks: Mutex::new(tasks) })
    }
}

impl Otlp {
    /// A request arrived, at a path in which these names matched these texts.
    pub fn begin(&self, head: &Parts, params: &[(String, String)], received: Instant) -> Option<Box<Span>> {
        self.queue.as_ref()?;
        Some(Box::new(Span::begin(head, params, received, self.ratio)))
    }

    /// Whether spans say what was said.
    pub fn content(&self) -> bool {
        self.content
    }

    /// It is over.
    pub fn finish(&self, span: &Span, exchange: &Exchange, outcome: &Outcome, tried: &[Tried], answered: &Answered) {
        if span.sampled {
            self.put(|| requests::spans(span, exchange, outcome, tried, answered, self.content));
        }
    }

    /// It was refused before it was one.
    pub fn refuse(&self, span: &Span, status: u16, class: &str) {
        if span.sampled {
            self.put(|| requests::refused(span, status, class));
        }
    }

    fn put(&self, spans: impl FnOnce() -> Vec<Sent>) {
        let Some(queue) = &self.queue else { return };
        let spans = spans();
        let many = spans.len() as u64;
        let place = self.room.take(spans.iter().map(prost::Message::encoded_len).sum());
        if place.is_none_or(|place| queue.try_send(Finished { spans, place }).is_err()) {
            self.counts.dropped.fetch_add(many, Ordering::Relaxed);
        }
    }

    /// What it did, for the page of metrics.
    pub fn page(self: &Arc<Self>) -> Box<dyn Collector> {
        Box::new(OtlpPage(Arc::clone(&self.counts)))
    }

    /// Sends what is left, as far as the collector takes it in time, and ends.
    pub async fn shut_down(&self) {
        self.stopping.cancel();
        let tasks = std::mem::take(&mut *self.tasks.lock().unwrap_or_else(PoisonError::into_inner));
        let ends = tasks.iter().map(JoinHandle::abort_handle).collect::<Vec<_>>();
        if tokio::time::timeout(self.patience, futures_util::future::join_all(tasks)).await.is_err() {
            tracing::warn!("the collector of traces and metrics did not take the last of them in time");
            ends.iter().for_each(tokio::task::AbortHandle::abort);
        }
    }
}

fn scope() -> Option<InstrumentationScope> {
    let (name, version) = ("wasmgate".to_owned(), env!("CARGO_PKG_VERSION").to_owned());
    Some(InstrumentationScope { name, version, ..InstrumentationScope::default() })
}

/// Sends spans: when there are many, or the oldest has waited for long enough.
async fn traces(post: Post, mut queue: mpsc::Receiver<Finished>, resource: Resource, interval: Duration) {
    let mut waiting = Batch::default();
    let mut since = tokio::time::Instant::now();
    loop {
        tokio::select! {
            biased;
            () = post.stopping.cancelled() => break,
            () = tokio::time::sleep_until(since + interval), if !waiting.spans.is_empty() => send(&post, &resource, &mut waiting).await,
            more = queue.recv() => {
                let Some(more) = more else { break };
                if waiting.spans.is_empty() {
                    since = tokio::time::Instant::now();
                }
                waiting.add(more);
                if waiting.is_full() {
                    send(&post, &resource, &mut waiting).await;
                }
            }
        }
    }
    queue.close();
    while let Ok(more) = queue.try_recv() {
        waiting.add(more);
        if waiting.is_full() {
            send(&post, &resource, &mut waiting).await;
        }
    }
    send(&post, &resource, &mut waiting).await;
}

async fn send(post: &Post, resource: &Resource, waiting: &mut Batch) {
    // Their room is free again when they are sent, or given up.
    let Batch { spans, places, .. } = std::mem::take(waiting);
    if spans.is_empty() {
        return;
    }
    let many = spans.len() as u64;
    let scope_spans = vec![ScopeSpans { scope: scope(), spans, ..ScopeSpans::default() }];
    let resource_spans = vec![ResourceSpans { resource: Some(resource.clone()), scope_spans, ..ResourceSpans::default() }];
    // The spans themselves are gone before anybody waits.
    let document = ExportTraceServiceRequest { resource_spans }.encode_to_vec();
    let answer = post.send(document).await;
    let partial = answer.as_ref().and_then(|bytes| ExportTraceServiceResponse::decode(bytes.as_slice()).ok()?.partial_success);
    let refused = match (&answer, partial) {
        (None, _) => many,
        (Some(_), partial) => partial.map_or(0, |p| u64::try_from(p.rejected_spans).unwrap_or(0).min(many)),
    };
    post.counts.dropped.fetch_add(refused, Ordering::Relaxed);
    post.counts.sent.fetch_add(many - refused, Ordering::Relaxed);
    drop(places);
}

/// Sends metrics again and again, and once more at the end.
async fn metrics(post: Post, metrics: Metrics, resource: Resource, interval: Duration) {
    let mut clock = tokio::time::interval_at(tokio::time::Instant::now() + interval, interval);
    clock.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        let ends = tokio::select! {
            () = post.stopping.cancelled() => true,
            _ = clock.tick() => false,
        };
        let Some(metrics) = metrics.now(&post.counts) else { return };
        let scope_metrics = vec![ScopeMetrics { scope: scope(), metrics, ..ScopeMetrics::default() }];
        let resource_metrics = vec![ResourceMetrics { resource: Some(resource.clone()), scope_metrics, ..ResourceMetrics::default() }];
        post.send(ExportMetricsServiceRequest { resource_metrics }.encode_to_vec()).await;
        if ends {
            return;
        }
    }
}

/// How one signal is sent.
struct Post {
    http: reqwest::Client,
    way: Way,
    signal: &'static str,
    stopping: CancellationToken,
    counts: Arc<Counts>,
    /// It was told that it does not work.
    failing: AtomicBool,
}

/// Why something was not taken.
struct Failed {
    reason: String,
    /// How long until it may be tried again; none when that would change nothing.
    again: Option<Duration>,
}

impl Post {
    /// Sends a document, more than once where that may help. What was answered, when it was taken.
    async fn send(&self, body: Vec<u8>) -> Option<Vec<u8>> {
        let body = bytes::Bytes::from(body);
        for number in 1.. {
            let failed = match tokio::time::timeout(self.way.timeout, self.once(body.clone())).await {
                Ok(Ok(answer)) => {
                    if self.failing.swap(false, Ordering::Relaxed) {
                        tracing::info!(signal = self.signal, "the collector takes them again");
                    }
                    return Some(answer);
                }
                Ok(Err(failed)) => failed,
                Err(_) => Failed { reason: "it did not answer in time".into(), again: Some(Duration::ZERO) },
            };
            self.counts.failures.fetch_add(1, Ordering::Relaxed);
            if !self.failing.swap(true, Ordering::Relaxed) {
                let (url, reason) = (shown(&self.way.url), failed.reason);
                tracing::warn!(
                    signal = self.signal,
                    url,
                    reason,
                    "the collector of traces and metrics does not take them; requests are served all the same"
                );
            }
            let again = failed.again.filter(|_| number < TRIES && !self.stopping.is_cancelled())?;
            let backoff = (BACKOFF * 2_u32.pow(number - 1)).mul_f64(0.75 + fastrand::f64() / 2.0);
            tokio::select! {
                () = self.stopping.cancelled() => {}
                () = tokio::time::sleep(again.max(backoff).min(MAX_BACKOFF)) => {}
            }
        }
        None
    }

    async fn once(&self, body: bytes::Bytes) -> Result<Vec<u8>, Failed> {
        let request = self.http.post(self.way.url.clone()).headers(self.way.headers.clone());
        let request = request.header(header::CONTENT_TYPE, "application/x-protobuf").body(body);
        // What it says has the address in it, and so what may stand before the host.
        let unreachable = |e: reqwest::Error| Failed { reason: e.without_url().to_string(), again: Some(Duration::ZERO) };
        let mut response = request.send().await.map_err(unreachable)?;
        let status = response.status();
        if !status.is_success() {
            let may_pass = matches!(
                status,
                StatusCode::TOO_MANY_REQUESTS | StatusCode::BAD_GATEWAY | StatusCode::SERVICE_UNAVAILABLE | StatusCode::GATEWAY_TIMEOUT
            );
            let after = response.headers().get(header::RETRY_AFTER).and_then(|v| v.to_str().ok()?.parse().ok()).map(Duration::from_secs);
            return Err(Failed { reason: format!("it answered {status}"), again: may_pass.then(|| after.unwrap_or_default()) });
        }
        let mut answer = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(unreachable)? {
            if answer.len() + chunk.len() > MAX_ANSWER {
                break;
            }
            answer.extend_from_slice(&chunk);
        }
        Ok(answer)
    }
}

/// An address without what is secret in it.
fn shown(url: &reqwest::Url) -> String {
    let mut url = url.clone();
    let _ = url.set_password(None);
    let _ = url.set_username("");
    url.into()
}

/// How it goes, on the page of metrics.
#[derive(Debug)]
struct OtlpPage(Arc<Counts>);

impl Collector for OtlpPage {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let counters = [
            ("wasmgate_otlp_sent_spans", "Spans that a collector of OpenTelemetry took", &self.0.sent),
            (
                "wasmgate_otlp_dropped_spans",
                "Spans that were dropped: too many waited, or the collector did not take them",
                &self.0.dropped,
            ),
            ("wasmgate_otlp_failures", "Requests that a collector of OpenTelemetry did not take", &self.0.failures),
        ];
        for (name, help, value) in counters {
            let value = value.load(Ordering::Relaxed);
            encoder.encode_descriptor(name, help, None, MetricType::Counter)?.encode_counter::<NoLabelSet, _, u64>(&value, None)?;
        }
        Ok(())
    }
}
