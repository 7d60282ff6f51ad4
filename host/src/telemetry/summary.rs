//! The numbers as JSON, for whoever has no Prometheus: `GET /api/metrics/{providers,system,extensions}`.
//!
//! Times are in milliseconds. Quantiles are estimated from the histograms of the page of metrics, so they are as exact as its buckets.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::{Map, Value, json};

use super::process::{Process, Usage};
use super::served::{Row, Spread, quantile};
use crate::gateway::Gateway;

/// What providers did: one object for each that is configured or was used.
pub fn providers(gateway: &Gateway) -> Value {
    let live = gateway.deploy.live();
    let rows = gateway.served.rows();
    let mut by_provider: BTreeMap<&str, Vec<&Arc<Row>>> = live.stable.providers.entries().map(|e| (e.name.as_str(), Vec::new())).collect();
    for row in &rows {
        by_provider.entry(&row.provider).or_default().push(row);
    }
    Value::Array(by_provider.iter().map(|(name, rows)| provider(gateway, name, rows)).collect())
}

fn provider(gateway: &Gateway, name: &str, rows: &[&Arc<Row>]) -> Value {
    let mut models: BTreeMap<&str, Vec<&Arc<Row>>> = BTreeMap::new();
    for row in rows {
        models.entry(&row.model).or_default().push(row);
    }
    let mut document = numbers(rows);
    document.insert("name".into(), name.into());
    document.insert("models".into(), models.iter().map(|(model, rows)| ((*model).to_owned(), Value::Object(numbers(rows)))).collect());
    let attempts = gateway.served.attempts(name);
    let errors: Map<String, Value> = attempts.iter().flat_map(|a| a.errors.all()).map(|(class, n)| (class.to_owned(), n.into())).collect();
    document.insert(
        "attempts".into(),
        json!({
            "sent": attempts.as_ref().map_or(0, |a| a.sent()),
            "failed": attempts.iter().flat_map(|a| a.errors.all()).map(|(_, n)| n).sum::<u64>(),
            "errors": errors,
            "duration_ms": attempts.as_ref().map_or(Value::Null, |a| spread([&a.duration])),
        }),
    );
    Value::Object(document)
}

/// What rows have together.
fn numbers(rows: &[&Arc<Row>]) -> Map<String, Value> {
    let mut requests: BTreeMap<&str, u64> = BTreeMap::new();
    let mut statuses: BTreeMap<&str, u64> = BTreeMap::new();
    let mut tokens: BTreeMap<&str, u64> = BTreeMap::new();
    for row in rows {
        for (status, outcome, n) in row.requests() {
            *requests.entry(outcome).or_default() += n;
            *statuses.entry(status).or_default() += n;
        }
        for (kind, n) in row.tokens() {
            *tokens.entry(kind).or_default() += n;
        }
    }
    let document = json!({
        "requests": requests.values().sum::<u64>(),
        "outcomes": requests,
        "statuses": statuses,
        "tokens": tokens,
        "duration_ms": spread(rows.iter().map(|r| &r.duration)),
        "time_to_first_token_ms": spread(rows.iter().map(|r| &r.first_token)),
        "time_per_output_token_ms": spread(rows.iter().map(|r| &r.per_token)),
    });
    match document {
        Value::Object(document) => document,
        _ => Map::new(),
    }
}

/// Histograms of the same bounds as mean and quantiles, in milliseconds; null without values.
fn spread<'a>(all: impl IntoIterator<Item = &'a Spread>) -> Value {
    let mut sum = 0.0;
    let mut buckets: Vec<(f64, u64)> = Vec::new();
    for one in all {
        sum += one.sum();
        let read = one.buckets();
        if buckets.is_empty() {
            buckets = read;
        } else {
            buckets.iter_mut().zip(read).for_each(|((_, total), (_, n))| *total += n);
        }
    }
    let count: u64 = buckets.iter().map(|(_, n)| n).sum();
    if count == 0 {
        return Value::Null;
    }
    let ms = |seconds: f64| (seconds * 1e6).round() / 1e3;
    let at = |share| quantile(share, &buckets).map(ms);
    json!({"count": count, "mean": ms(sum / count as f64), "p50": at(0.5), "p95": at(0.95), "p99": at(0.99)})
}

/// The process.
pub fn system(gateway: &Gateway) -> Value {
    let usage = Usage::now();
    let live = gateway.deploy.live();
    json!({
        "version": env!("CARGO_PKG_VERSION"),
        "uptime_seconds": gateway.process.uptime(),
        "generation": live.stable.number,
        "requests_in_flight": gateway.served.in_flight(),
        "streams_open": gateway.served.streams_open(),
        "cpu_seconds": Process::cpu(),
        "resident_memory_bytes": usage.resident,
        "virtual_memory_bytes": usage.virtual_memory,
        "threads": usage.threads,
        "open_files": usage.open_files,
        "max_files": usage.max_files,
    })
}

/// What extensions cost.
pub fn extensions(gateway: &Gateway) -> Value {
    let live = gateway.deploy.live();
    let all = live.stable.extensions.all().iter().map(|e| {
        let mut document = json!({"name": e.name(), "version": e.manifest.version});
        if let (Value::Object(document), Value::Object(stats)) = (&mut document, e.stats.to_json()) {
            document.extend(stats);
        }
        document
    });
    Value::Array(all.collect())
}
