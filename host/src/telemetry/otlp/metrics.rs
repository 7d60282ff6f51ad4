//! What `/metrics` counts, as OTLP has it: the same atomics, under the names of OpenTelemetry's conventions for generative AI where there are some
//! (<https://opentelemetry.io/docs/specs/semconv/gen-ai/gen-ai-metrics/>).

use std::sync::Weak;
use std::sync::atomic::Ordering;

use opentelemetry_proto::tonic::common::v1::KeyValue;
use opentelemetry_proto::tonic::metrics::v1::metric::Data;
use opentelemetry_proto::tonic::metrics::v1::number_data_point::Value;
use opentelemetry_proto::tonic::metrics::v1::{AggregationTemporality, Gauge, Histogram, HistogramDataPoint, Metric, NumberDataPoint, Sum};

use super::Counts;
use super::attributes::{operation, provider, text};
use super::span::unix_ns;
use crate::gateway::Gateway;
use crate::telemetry::process::{Process, Usage};
use crate::telemetry::served::{NONE, OTHER, Row, Served, Spread};

/// The metrics of a gateway since it began.
pub struct Metrics {
    gateway: Weak<Gateway>,
    began_ns: u64,
}

/// The names of a provider: OpenTelemetry's for its type, and ours.
type Named = Vec<KeyValue>;

/// A histogram of rows: its name, what it means, its values.
type PerRow = (&'static str, &'static str, fn(&Row) -> &Spread);

const SPREADS: [PerRow; 3] = [
    ("gen_ai.server.request.duration", "Time from a request's arrival to its end", |r| &r.duration),
    ("gen_ai.server.time_to_first_token", "Time from the arrival of a request for a stream to its first byte", |r| &r.first_token),
    ("gen_ai.server.time_per_output_token", "Time for each output token of a stream after the first", |r| &r.per_token),
];

impl Metrics {
    /// Those of this gateway.
    pub fn new(gateway: Weak<Gateway>) -> Self {
        Self { gateway, began_ns: unix_ns() }
    }

    /// As they are now; none when the gateway is gone.
    pub fn now(&self, sent: &Counts) -> Option<Vec<Metric>> {
        let gateway = self.gateway.upgrade()?;
        let moment = Moment { from: self.began_ns, to: unix_ns() };
        let (served, named) = (&gateway.served, |name: &str| names(&gateway, name));
        let rows = served.rows();
        let mut all = Vec::new();
        for (name, help, spread) in SPREADS {
            let points = rows.iter().filter_map(|row| moment.spread(spread(row), labels(row, &named)));
            all.extend(histogram(name, help, "s", points.collect()));
        }
        let usage = rows.iter().flat_map(|row| {
            ["input", "output"].into_iter().zip(&row.usage).filter_map(|(kind, spread)| {
                let mut attributes = labels(row, &named);
                attributes.push(text("gen_ai.token.type", kind));
                moment.spread(spread, attributes)
            })
        });
        all.extend(histogram("gen_ai.client.token.usage", "Tokens of a request", "{token}", usage.collect()));
        all.extend(attempts(&moment, served, &named));
        all.extend(counted(&moment, served, &named));
        all.extend(process(&moment, &gateway));
        let dropped = sent.dropped.load(Ordering::Relaxed);
        all.extend(sum("wasmgate.otlp.dropped_spans", "Spans that were dropped", "{span}", vec![moment.count(dropped, Vec::new())]));
        Some(all)
    }
}

/// Since when is counted, and when this is, in nanoseconds of Unix time.
struct Moment {
    from: u64,
    to: u64,
}

impl Moment {
    fn spread(&self, spread: &Spread, attributes: Vec<KeyValue>) -> Option<HistogramDataPoint> {
        let buckets = spread.buckets();
        let count = buckets.iter().map(|(_, n)| n).sum();
        (count > 0).then(|| HistogramDataPoint {
            attributes,
            start_time_unix_nano: self.from,
            time_unix_nano: self.to,
            count,
            sum: Some(spread.sum()),
            bucket_counts: buckets.iter().map(|(_, n)| *n).collect(),
            explicit_bounds: buckets.iter().map(|(bound, _)| *bound).filter(|bound| bound.is_finite()).collect(),
            ..HistogramDataPoint::default()
        })
    }

    fn count(&self, count: u64, attributes: Vec<KeyValue>) -> NumberDataPoint {
        self.point(Value::AsInt(i64::try_from(count).unwrap_or(i64::MAX)), attributes)
    }

    fn point(&self, value: Value, attributes: Vec<KeyValue>) -> NumberDataPoint {
        NumberDataPoint {
            attributes,
            start_time_unix_nano: self.from,
            time_unix_nano: self.to,
            value: Some(value),
            ..NumberDataPoint::default()
        }
    }
}

fn metric(name: &str, help: &str, unit: &str, data: Data) -> Metric {
    Metric { name: name.to_owned(), description: help.to_owned(), unit: unit.to_owned(), data: Some(data), ..Metric::default() }
}

const CUMULATIVE: i32 = AggregationTemporality::Cumulative as i32;

fn histogram(name: &str, help: &str, unit: &str, data_points: Vec<HistogramDataPoint>) -> Option<Metric> {
    let data = Histogram { data_points, aggregation_temporality: CUMULATIVE };
    (!data.data_points.is_empty()).then(|| metric(name, help, unit, Data::Histogram(data)))
}

fn sum(name: &str, help: &str, unit: &str, data_points: Vec<NumberDataPoint>) -> Option<Metric> {
    let data = Sum { data_points, aggregation_temporality: CUMULATIVE, is_monotonic: true };
    (!data.data_points.is_empty()).then(|| metric(name, help, unit, Data::Sum(data)))
}

/// What goes up and down.
fn level(name: &str, help: &str, unit: &str, point: NumberDataPoint) -> Metric {
    metric(name, help, unit, Data::Gauge(Gauge { data_points: vec![point] }))
}

fn names(gateway: &Gateway, name: &str) -> Named {
    let live = gateway.deploy.live();
    let entry = live.stable.providers.find(name);
    let known = entry.map_or(name, |e| provider(e.kind, e.config().project.is_some()));
    // A provider that is gone has its own name for a while; no request went to `none`.
    let told = (name != NONE).then(|| text("gen_ai.provider.name", known));
    told.into_iter().chain([text("wasmgate.provider", name)]).collect()
}

fn labels(row: &Row, named: &impl Fn(&str) -> Named) -> Vec<KeyValue> {
    let mut all = named(&row.provider);
    all.push(text("gen_ai.operation.name", if row.format == OTHER { "_OTHER" } else { operation(&row.format) }));
    all.push(text("gen_ai.request.model", &row.model));
    all.push(text("wasmgate.format", &row.format));
    all.push(text("wasmgate.origin", row.origin));
    all
}

fn attempts(moment: &Moment, served: &Served, named: &impl Fn(&str) -> Named) -> Vec<Metric> {
    let (mut spreads, mut errors) = (Vec::new(), Vec::new());
    for (name, attempts) in served.all_attempts() {
        let mut attributes = named(&name);
        attributes.push(text("gen_ai.operation.name", "chat"));
        errors.extend(attempts.errors.all().filter(|(_, n)| *n > 0).map(|(class, n)| {
            let mut attributes = attributes.clone();
            attributes.push(text("error.type", class));
            moment.count(n, attributes)
        }));
        spreads.extend(moment.spread(&attempts.duration, attributes));
    }
    let duration = histogram("gen_ai.client.operation.duration", "Time of one try at a provider, to its last byte", "s", spreads);
    let failed = sum("wasmgate.attempt.errors", "Tries that failed, by class", "{attempt}", errors);
    duration.into_iter().chain(failed).collect()
}

fn counted(moment: &Moment, served: &Served, named: &impl Fn(&str) -> Named) -> Vec<Metric> {
    let (mut requests, mut tokens) = (Vec::new(), Vec::new());
    for row in served.rows() {
        let attributes = labels(&row, named);
        let with = |name: &str, value: &str| attributes.iter().cloned().chain([text(name, value)]).collect::<Vec<_>>();
        requests.extend(row.requests().map(|(status, outcome, n)| {
            let mut attributes = with("wasmgate.outcome", outcome);
            attributes.push(text("wasmgate.status", status));
            moment.count(n, attributes)
        }));
        tokens.extend(row.tokens().map(|(kind, n)| moment.count(n, with("gen_ai.token.type", kind))));
    }
    let errors = served.errors().filter(|(_, n)| *n > 0).map(|(class, n)| moment.count(n, vec![text("error.type", class)])).collect();
    let count = |n: i64| moment.point(Value::AsInt(n), Vec::new());
    let sums = [
        sum("wasmgate.requests", "Requests that are over", "{request}", requests),
        sum("wasmgate.tokens", "Tokens that were taken", "{token}", tokens),
        sum("wasmgate.request.errors", "Requests that failed or were refused, by class", "{request}", errors),
    ];
    let levels = [
        level("wasmgate.requests.in_flight", "Requests of callers that are not over", "{request}", count(served.in_flight())),
        level("wasmgate.streams.open", "Streams to callers that are open", "{stream}", count(served.streams_open())),
    ];
    sums.into_iter().flatten().chain(levels).collect()
}

fn process(moment: &Moment, gateway: &Gateway) -> Vec<Metric> {
    let usage = Usage::now();
    let number = |n: f64| moment.point(Value::AsDouble(n), Vec::new());
    let levels = [
        ("process.memory.usage", "Memory that is in RAM", "By", usage.resident),
        ("process.memory.virtual", "Addresses that are taken", "By", usage.virtual_memory),
        ("process.thread.count", "Threads", "{thread}", usage.threads),
        ("process.unix.file_descriptor.count", "Open files and connections", "{file_descriptor}", usage.open_files),
    ];
    let cpu = sum("process.cpu.time", "CPU time of all threads", "s", vec![number(Process::cpu())]);
    let up = level("process.uptime", "How long it has been serving", "s", number(gateway.process.uptime()));
    let levels = levels.into_iter().filter_map(|(name, help, unit, n)| Some(level(name, help, unit, moment.count(n?, Vec::new()))));
    levels.chain(cpu).chain([up]).collect()
}
