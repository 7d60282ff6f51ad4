//! What was served: requests, tokens, times and attempts, counted when a request is over.
//!
//! Names and bounds follow OpenTelemetry's conventions for generative AI where there are some
//! (<https://opentelemetry.io/docs/specs/semconv/gen-ai/gen-ai-metrics/>): `gen_ai.server.request.duration` is `wasmgate_request_duration_seconds`,
//! and so on.
//!
//! What is absent: nothing here waits. Counting is adding to atomics; only the first request of its kind makes a row, and replaces the map for
//! that. The number of rows is bounded, whatever callers write.

use std::collections::HashMap;
use std::fmt;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use arc_swap::ArcSwap;
use llm_codec::hub::ErrorClass;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, NoLabelSet};
use prometheus_client::metrics::MetricType;

use crate::extensions::bindings::exports::wasmgate::extension::on_complete::{Ending, Outcome};
use crate::pipeline::Exchange;

/// Upper bounds for whole requests, in seconds: those of OpenTelemetry, and two more for models that think.
const DURATION: [f64; 16] = [0.01, 0.02, 0.04, 0.08, 0.16, 0.32, 0.64, 1.28, 2.56, 5.12, 10.24, 20.48, 40.96, 81.92, 163.84, 327.68];
/// For the time to the first token: those of OpenTelemetry, and three more.
const FIRST_TOKEN: [f64; 19] =
    [0.001, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0, 20.0, 40.0, 80.0];
/// For the time of one token: those of OpenTelemetry, and three for fast models.
const PER_TOKEN: [f64; 16] = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.75, 1.0, 2.5];

/// For tokens of a request, as OpenTelemetry has them.
const TOKENS: [f64; 14] =
    [1.0, 4.0, 16.0, 64.0, 256.0, 1024.0, 4096.0, 16_384.0, 65_536.0, 262_144.0, 1_048_576.0, 4_194_304.0, 16_777_216.0, 67_108_864.0];

/// Most models of one provider that have a row of their own; others are `other`.
pub const MAX_MODELS: usize = 100;
/// Most rows.
pub const MAX_ROWS: usize = 2_000;
/// What models are called that have no row of their own.
pub const OTHER: &str = "other";
/// The provider of requests that went to none.
pub const NONE: &str = "none";

/// How requests end, as [`Ending`] has them.
const OUTCOMES: [&str; 4] = ["success", "error", "rejected", "cancelled"];
/// Statuses by their first digit.
const STATUSES: [&str; 5] = ["1xx", "2xx", "3xx", "4xx", "5xx"];
/// What is counted of [`Usage`](llm_codec::hub::Usage). Tokens of the cache are input too, tokens of reasoning are output too.
const KINDS: [&str; 5] = ["input", "output", "cache_read", "cache_write", "reasoning"];

/// Everything that was served since the process began.
#[derive(Debug, Default)]
pub struct Served {
    rows: ArcSwap<HashMap<String, Arc<Row>>>,
    attempts: ArcSwap<HashMap<String, Arc<Attempts>>>,
    errors: Errors,
    in_flight: AtomicI64,
    streams: AtomicI64,
}

/// Requests of one origin and format that one model of one provider answered.
#[derive(Debug)]
pub struct Row {
    /// `client`, or `extension` for requests that extensions made.
    pub origin: &'static str,
    /// The client's format, or the operation.
    pub format: String,
    /// The provider that answered or was asked last, or [`NONE`].
    pub provider: String,
    /// Its model, or [`OTHER`].
    pub model: String,
    requests: [[AtomicU64; OUTCOMES.len()]; STATUSES.len()],
    tokens: [AtomicU64; KINDS.len()],
    /// From the request's arrival to its end.
    pub duration: Spread,
    /// Tokens of a request that were read and that were written.
    pub usage: [Spread; 2],
    /// To the first byte of a stream that is worth sending.
    pub first_token: Spread,
    /// Of streams, from the first token on.
    pub per_token: Spread,
}

/// What was sent to one provider.
#[derive(Debug)]
pub struct Attempts {
    sent: AtomicU64,
    /// Those that failed.
    pub errors: Errors,
    /// How long they took, to the last byte.
    pub duration: Spread,
}

/// Errors by class.
#[derive(Debug)]
pub struct Errors([(AtomicU64, OnceLock<&'static str>); CLASSES]);

/// Room for the classes of errors; there are fewer.
const CLASSES: usize = 32;

/// How values are spread.
#[derive(Debug)]
pub struct Spread {
    bounds: &'static [f64],
    /// Values up to each bound, and above the one before; the last has no bound.
    buckets: Vec<AtomicU64>,
    /// Of the sum: nanoseconds, where seconds are spread.
    billionths: AtomicU64,
}

// === impl Served ===

impl Served {
    /// A caller's request begins.
    pub fn begins(&self) {
        self.in_flight.fetch_add(1, Ordering::Relaxed);
    }

    /// The first byte of a stream goes to a caller.
    pub fn streams(&self) {
        self.streams.fetch_add(1, Ordering::Relaxed);
    }

    /// A caller's request is over.
    pub fn ends(&self, streamed: bool) {
        self.in_flight.fetch_sub(1, Ordering::Relaxed);
        if streamed {
            self.streams.fetch_sub(1, Ordering::Relaxed);
        }
    }

    /// Callers' requests that are not over.
    pub fn in_flight(&self) -> i64 {
        self.in_flight.load(Ordering::Relaxed)
    }

    /// Streams to callers that are open.
    pub fn streams_open(&self) -> i64 {
        self.streams.load(Ordering::Relaxed)
    }

    /// A request is over: everything about it is counted here.
    pub fn record(&self, exchange: &Exchange, outcome: &Outcome) {
        let asked = outcome.served_by.as_ref().or_else(|| outcome.attempts.last().map(|a| &a.target));
        let provider = asked.map_or(NONE, |t| t.provider.as_str());
        let model = asked.map_or(exchange.head.model.as_str(), |t| t.model.as_str());
        // Anybody can write a model's name. One that an answer came from, or that the configuration has, is worth a row.
        let is_known = || {
            outcome.ending == Ending::Success && outcome.served_by.is_some()
                || exchange.generation().providers.find(provider).is_some_and(|entry| entry.models.iter().any(|m| m == model))
        };
        let origin = if exchange.depth == 0 { "client" } else { "extension" };
        let row = self.row(origin, &exchange.head.format, provider, model, is_known);
        row.record(outcome, exchange.head.stream);
        if let Some(error) = &outcome.error {
            self.errors.count(error.class);
        }
        for attempt in &outcome.attempts {
            let attempts = self.attempts_of(&attempt.target.provider);
            attempts.sent.fetch_add(1, Ordering::Relaxed);
            attempts.duration.observe(Duration::from_micros(attempt.duration_us));
            if let Some(error) = &attempt.error {
                attempts.errors.count(error.class);
            }
        }
    }

    fn row(&self, origin: &'static str, format: &str, provider: &str, model: &str, is_known: impl Fn() -> bool) -> Arc<Row> {
        let rows = self.rows.load();
        if let Some(row) = rows.get(&key(origin, format, provider, model)) {
            return Arc::clone(row);
        }
        let models = || rows.values().filter(|r| r.origin == origin && r.format == format && r.provider == provider).count();
        let (format, provider, model) = match rows.len() {
            MAX_ROWS.. => (OTHER, OTHER, OTHER),
            _ if is_known() && models() < MAX_MODELS => (format, provider, model),
            _ => (format, provider, OTHER),
        };
        insert(&self.rows, key(origin, format, provider, model), || Row::new(origin, format, provider, model))
    }

    fn attempts_of(&self, provider: &str) -> Arc<Attempts> {
        if let Some(attempts) = self.attempts.load().get(provider) {
            return Arc::clone(attempts);
        }
        insert(&self.attempts, provider.to_owned(), Attempts::default)
    }

    /// All rows, in no order that means anything, but always the same.
    pub fn rows(&self) -> Vec<Arc<Row>> {
        sorted(&self.rows)
    }

    /// What was sent to each provider, by name.
    pub fn all_attempts(&self) -> Vec<(String, Arc<Attempts>)> {
        by_key(&self.attempts)
    }

    /// Requests that failed or were refused, by class.
    pub fn errors(&self) -> impl Iterator<Item = (&'static str, u64)> {
        self.errors.all()
    }

    /// What was sent to a provider, if anything was.
    pub fn attempts(&self, provider: &str) -> Option<Arc<Attempts>> {
        self.attempts.load().get(provider).cloned()
    }
}

/// The model comes last: it is the only part that may hold any character.
fn key(origin: &str, format: &str, provider: &str, model: &str) -> String {
    format!("{origin}\0{format}\0{provider}\0{model}")
}

/// What is under a key, which is made when there is nothing.
fn insert<T>(map: &ArcSwap<HashMap<String, Arc<T>>>, key: String, new: impl FnOnce() -> T) -> Arc<T> {
    let made = Arc::new(new());
    map.rcu(|old| {
        let mut map = HashMap::clone(old);
        map.entry(key.clone()).or_insert_with(|| Arc::clone(&made));
        map
    });
    // Somebody else's, if that was there first.
    map.load().get(&key).cloned().unwrap_or(made)
}

fn sorted<T>(map: &ArcSwap<HashMap<String, Arc<T>>>) -> Vec<Arc<T>> {
    by_key(map).into_iter().map(|(_, value)| value).collect()
}

fn by_key<T>(map: &ArcSwap<HashMap<String, Arc<T>>>) -> Vec<(String, Arc<T>)> {
    let mut all: Vec<_> = map.load().iter().map(|(key, value)| (key.clone(), Arc::clone(value))).collect();
    all.sort_by(|(a, _), (b, _)| a.cmp(b));
    all
}

// === impl Row ===

impl Row {
    fn new(origin: &'static str, format: &str, provider: &str, model: &str) -> Self {
        Self {
            origin,
            format: format.to_owned(),
            provider: provider.to_owned(),
            model: model.to_owned(),
            requests: Default::default(),
            tokens: Default::default(),
            duration: Spread::new(&DURATION),
            usage: [Spread::new(&TOKENS), Spread::new(&TOKENS)],
            first_token: Spread::new(&FIRST_TOKEN),
            per_token: Spread::new(&PER_TOKEN),
        }
    }

    fn record(&self, outcome: &Outcome, stream: bool) {
        let status = usize::from(outcome.status / 100).clamp(1, STATUSES.len()) - 1;
        let ending = match outcome.ending {
            Ending::Success => 0,
            Ending::Error => 1,
            Ending::Rejected => 2,
            Ending::Cancelled => 3,
        };
        self.requests[status][ending].fetch_add(1, Ordering::Relaxed);
        let took = Duration::from_micros(outcome.duration_us);
        self.duration.observe(took);
        if let Some(usage) = &outcome.usage {
            self.usage[0].observe_count(usage.input_tokens);
            self.usage[1].observe_count(usage.output_tokens);
            let counted = [
                Some(usage.input_tokens),
                Some(usage.output_tokens),
                usage.cache_read_tokens,
                usage.cache_write_tokens,
                usage.reasoning_tokens,
            ];
            for (counter, n) in self.tokens.iter().zip(counted) {
                if let Some(n @ 1..) = n {
                    counter.fetch_add(n, Ordering::Relaxed);
                }
            }
        }
        if let (true, Some(first)) = (stream, outcome.first_byte_us) {
            let first = Duration::from_micros(first);
            self.first_token.observe(first);
            // The first token is in the time until it came.
            let more = outcome.usage.as_ref().map_or(0, |u| u.output_tokens.saturating_sub(1));
            if outcome.ending == Ending::Success && more > 0 {
                self.per_token.observe(Duration::from_nanos(nanos(took.saturating_sub(first)) / more));
            }
        }
    }

    /// Requests that there were, with the class of their status and how they ended.
    pub fn requests(&self) -> impl Iterator<Item = (&'static str, &'static str, u64)> {
        let statuses = STATUSES.into_iter().zip(&self.requests);
        statuses
            .flat_map(|(status, endings)| OUTCOMES.into_iter().zip(endings).map(move |(o, n)| (status, o, n.load(Ordering::Relaxed))))
            .filter(|(.., n)| *n > 0)
    }

    /// Tokens by kind. Input and output are always there.
    pub fn tokens(&self) -> impl Iterator<Item = (&'static str, u64)> {
        let all = KINDS.into_iter().zip(&self.tokens).map(|(kind, n)| (kind, n.load(Ordering::Relaxed)));
        all.filter(|(kind, n)| *n > 0 || matches!(*kind, "input" | "output"))
    }

    fn labels(&self) -> [(&str, &str); 4] {
        [("origin", self.origin), ("format", &self.format), ("provider", &self.provider), ("model", &self.model)]
    }
}

// === impl Attempts ===

impl Default for Attempts {
    fn default() -> Self {
        Self { sent: AtomicU64::default(), errors: Errors::default(), duration: Spread::new(&DURATION) }
    }
}

impl Attempts {
    /// How many.
    pub fn sent(&self) -> u64 {
        self.sent.load(Ordering::Relaxed)
    }
}

// === impl Errors ===

impl Default for Errors {
    fn default() -> Self {
        Self(std::array::from_fn(|_| Default::default()))
    }
}

impl Errors {
    fn count(&self, class: ErrorClass) {
        let (count, name) = &self.0[class as usize % CLASSES];
        count.fetch_add(1, Ordering::Relaxed);
        name.get_or_init(|| class.name());
    }

    /// The classes that there were.
    pub fn all(&self) -> impl Iterator<Item = (&'static str, u64)> {
        self.0.iter().filter_map(|(count, name)| Some((*name.get()?, count.load(Ordering::Relaxed))))
    }
}

// === impl Spread ===

impl Spread {
    fn new(bounds: &'static [f64]) -> Self {
        Self {
            bounds,
            buckets: std::iter::repeat_with(AtomicU64::default).take(bounds.len() + 1).collect(),
            billionths: AtomicU64::default(),
        }
    }

    fn observe(&self, value: Duration) {
        self.put(value.as_secs_f64(), nanos(value));
    }

    /// What is spread is a count, and no time.
    fn observe_count(&self, count: u64) {
        self.put(count as f64, count.saturating_mul(1_000_000_000));
    }

    fn put(&self, value: f64, billionths: u64) {
        let bucket = self.bounds.iter().position(|bound| value <= *bound).unwrap_or(self.bounds.len());
        self.buckets[bucket].fetch_add(1, Ordering::Relaxed);
        self.billionths.fetch_add(billionths, Ordering::Relaxed);
    }

    /// Upper bounds with the number of values in each bucket.
    pub fn buckets(&self) -> Vec<(f64, u64)> {
        let bounds = self.bounds.iter().copied().chain([f64::INFINITY]);
        bounds.zip(&self.buckets).map(|(bound, n)| (bound, n.load(Ordering::Relaxed))).collect()
    }

    /// The sum of all values: seconds, or a count.
    pub fn sum(&self) -> f64 {
        self.billionths.load(Ordering::Relaxed) as f64 / 1e9
    }
}

fn nanos(duration: Duration) -> u64 {
    duration.as_nanos().try_into().unwrap_or(u64::MAX)
}

/// The value below which a share of the values of a histogram is, in seconds: inside of a bucket they are taken to lie evenly, as Prometheus
/// does. None without values; beyond the last bound, that bound.
pub fn quantile(share: f64, buckets: &[(f64, u64)]) -> Option<f64> {
    let total: u64 = buckets.iter().map(|(_, n)| n).sum();
    let wanted = share * total as f64;
    let (mut below, mut lower) = (0.0, 0.0);
    for (upper, n) in buckets {
        let n = *n as f64;
        if n > 0.0 && below + n >= wanted {
            return Some(if upper.is_finite() { lower + (upper - lower) * (wanted - below) / n } else { lower });
        }
        below += n;
        lower = *upper;
    }
    None
}

// === the page ===

/// A histogram of [`Row`]s: its name, what it means, its values.
type PerRow = (&'static str, &'static str, fn(&Row) -> &Spread);

const SPREADS: [PerRow; 3] = [
    ("wasmgate_request_duration_seconds", "Time from a request's arrival to its end", |r| &r.duration),
    ("wasmgate_time_to_first_token_seconds", "Time from the arrival of a request for a stream to its first byte", |r| &r.first_token),
    ("wasmgate_time_per_output_token_seconds", "Time for each output token of a stream after the first", |r| &r.per_token),
];

impl Collector for ServedPage {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let served = &self.0;
        let rows = served.rows();
        requests(&mut encoder, &rows)?;
        tokens(&mut encoder, &rows)?;
        for (name, help, spread) in SPREADS {
            let mut family = encoder.encode_descriptor(name, help, None, MetricType::Histogram)?;
            for row in &rows {
                let buckets = spread(row).buckets();
                let count = buckets.iter().map(|(_, n)| n).sum();
                if count > 0 {
                    family.encode_family(&row.labels())?.encode_histogram::<NoLabelSet>(spread(row).sum(), count, &buckets, None)?;
                }
            }
        }
        attempts(&mut encoder, &by_key(&served.attempts))?;
        let mut family = encoder.encode_descriptor(
            "wasmgate_request_errors",
            "Requests that failed or were refused, by class",
            None,
            MetricType::Counter,
        )?;
        for (class, n) in served.errors.all() {
            family.encode_family(&[("class", class)])?.encode_counter::<NoLabelSet, _, u64>(&n, None)?;
        }
        let gauges = [
            ("wasmgate_requests_in_flight", "Requests of callers that are not over", served.in_flight()),
            ("wasmgate_streams_open", "Streams to callers that are open", served.streams_open()),
        ];
        gauges
            .into_iter()
            .try_for_each(|(name, help, value)| encoder.encode_descriptor(name, help, None, MetricType::Gauge)?.encode_gauge(&value))
    }
}

/// [`Served`] as families of the page.
#[derive(Debug)]
pub struct ServedPage(pub Arc<Served>);

fn requests(encoder: &mut DescriptorEncoder<'_>, rows: &[Arc<Row>]) -> fmt::Result {
    let help = "Requests by the class of their status and how they ended";
    let mut family = encoder.encode_descriptor("wasmgate_requests", help, None, MetricType::Counter)?;
    for row in rows {
        for (status, outcome, n) in row.requests() {
            let [a, b, c, d] = row.labels();
            let labels = [a, b, c, d, ("status", status), ("outcome", outcome)];
            family.encode_family(&labels)?.encode_counter::<NoLabelSet, _, u64>(&n, None)?;
        }
    }
    Ok(())
}

fn tokens(encoder: &mut DescriptorEncoder<'_>, rows: &[Arc<Row>]) -> fmt::Result {
    let help = "Tokens; those of the cache are input too, those of reasoning are output too";
    let mut family = encoder.encode_descriptor("wasmgate_tokens", help, None, MetricType::Counter)?;
    for row in rows {
        for (kind, n) in row.tokens() {
            let [a, b, c, d] = row.labels();
            family.encode_family(&[a, b, c, d, ("kind", kind)])?.encode_counter::<NoLabelSet, _, u64>(&n, None)?;
        }
    }
    Ok(())
}

fn attempts(encoder: &mut DescriptorEncoder<'_>, all: &[(String, Arc<Attempts>)]) -> fmt::Result {
    let mut family = encoder.encode_descriptor("wasmgate_attempts", "Requests that were sent to a provider", None, MetricType::Counter)?;
    for (provider, attempts) in all {
        family.encode_family(&[("provider", provider.as_str())])?.encode_counter::<NoLabelSet, _, u64>(&attempts.sent(), None)?;
    }
    let help = "Requests that were sent to a provider and failed, by class";
    let mut family = encoder.encode_descriptor("wasmgate_attempt_errors", help, None, MetricType::Counter)?;
    for (provider, attempts) in all {
        for (class, n) in attempts.errors.all() {
            let labels = [("provider", provider.as_str()), ("class", class)];
            family.encode_family(&labels)?.encode_counter::<NoLabelSet, _, u64>(&n, None)?;
        }
    }
    let help = "Time from sending a request to a provider to the end of its answer";
    let mut family = encoder.encode_descriptor("wasmgate_attempt_duration_seconds", help, None, MetricType::Histogram)?;
    for (provider, attempts) in all {
        let buckets = attempts.duration.buckets();
        let count = buckets.iter().map(|(_, n)| n).sum();
        let labels = [("provider", provider.as_str())];
        family.encode_family(&labels)?.encode_histogram::<NoLabelSet>(attempts.duration.sum(), count, &buckets, None)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_callers_make_up_get_no_row() {
        let served = Served::default();
        assert_eq!(served.row("client", "f", "p", "made-up", || false).model, OTHER);
        assert_eq!(served.row("client", "f", "p", "real", || true).model, "real");
        assert_eq!(served.row("client", "f", "p", "real", || false).model, "real", "it has a row already");
        assert_eq!(served.rows().len(), 2);
    }

    #[test]
    fn rows_are_bounded() {
        let served = Served::default();
        for n in 0..MAX_MODELS + 10 {
            served.row("client", "f", "p", &n.to_string(), || true);
        }
        assert_eq!(served.rows().len(), MAX_MODELS + 1);
        for n in 0..MAX_ROWS {
            served.row("client", &format!("f{n}"), "q", "m", || true);
        }
        assert_eq!(served.rows().len(), MAX_ROWS + 1);
        assert_eq!(served.row("client", "one more", "q", "m", || true).format, OTHER);
    }

    #[test]
    fn values_fall_into_their_buckets() {
        let spread = Spread::new(&[0.1, 1.0]);
        for millis in [50, 100, 101, 1_000, 9_000] {
            spread.observe(Duration::from_millis(millis));
        }
        assert_eq!(spread.buckets(), [(0.1, 2), (1.0, 2), (f64::INFINITY, 1)]);
        assert!((spread.sum() - 10.251).abs() < 1e-9);
    }

    #[test]
    fn quantiles_are_those_of_prometheus() {
        let buckets = [(0.1, 10), (0.5, 0), (1.0, 10), (f64::INFINITY, 0)];
        assert_eq!(quantile(0.25, &buckets), Some(0.05));
        assert_eq!(quantile(0.75, &buckets), Some(0.75));
        assert_eq!(quantile(0.99, &[(1.0, 0), (f64::INFINITY, 3)]), Some(1.0));
        assert_eq!(quantile(0.5, &[(1.0, 0), (f64::INFINITY, 0)]), None);
    }

    #[test]
    fn errors_have_the_name_of_their_class() {
        let errors = Errors::default();
        errors.count(ErrorClass::Overloaded);
        errors.count(ErrorClass::Overloaded);
        errors.count(ErrorClass::Upstream);
        assert_eq!(errors.all().collect::<Vec<_>>(), [("overloaded", 2), ("upstream", 1)]);
    }
}
