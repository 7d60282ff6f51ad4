//! How providers are, on the page of metrics. The figures are those of `GET /api/providers/{name}/health`; models are as many as have
//! figures of their own there.

use std::fmt;
use std::sync::Weak;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, NoLabelSet};
use prometheus_client::metrics::MetricType;
use tokio::time::Instant;

use crate::gateway::Gateway;
use crate::providers::{Entry, Figures};

/// The providers of the generation that serves everybody when the page is made.
#[derive(Debug)]
pub struct ProviderHealth(pub Weak<Gateway>);

/// A figure that has one value for each provider: its name, what it means, its value.
type PerProvider = (&'static str, &'static str, fn(&Entry) -> f64);

const GAUGES: [PerProvider; 3] = [
    ("in_flight", "Requests that run", |e| e.counts().0 as f64),
    ("queued", "Requests that wait for a place", |e| e.counts().1 as f64),
    ("open_breakers", "Models that are left alone because they failed", |e| e.open_breakers() as f64),
];

const COUNTERS: [PerProvider; 2] = [
    ("retries", "Requests that were sent again", |e| e.health().counts().0 as f64),
    ("refused", "Requests that were refused here: no place, no key, or left alone", |e| e.health().counts().1 as f64),
];

/// A figure of a model, which may have none yet.
type PerModel = (&'static str, &'static str, fn(&Figures) -> Option<f64>);

const AVERAGES: [PerModel; 2] = [
    ("first_event_seconds", "Time to the first event or a complete answer, on average, newer ones weighing more", |f| f.first_event),
    ("tokens_per_second", "Tokens in a second while an answer is written, on average, newer ones weighing more", |f| f.tokens_per_second),
];

impl Collector for ProviderHealth {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let Some(gateway) = self.0.upgrade() else { return Ok(()) };
        let live = gateway.deploy.live();
        let now = Instant::now();
        let all: Vec<_> = live.stable.providers.entries().map(|e| (e, e.health().models(now))).collect();
        for (name, help, value) in GAUGES {
            let name = format!("wasmgate_provider_{name}");
            let mut family = encoder.encode_descriptor(&name, help, None, MetricType::Gauge)?;
            for (entry, _) in &all {
                family.encode_family(&[("provider", entry.name.as_str())])?.encode_gauge(&value(entry))?;
            }
        }
        for (name, help, value) in COUNTERS {
            let name = format!("wasmgate_provider_{name}");
            let mut family = encoder.encode_descriptor(&name, help, None, MetricType::Counter)?;
            for (entry, _) in &all {
                let labels = [("provider", entry.name.as_str())];
                family.encode_family(&labels)?.encode_counter::<NoLabelSet, _, f64>(&value(entry), None)?;
            }
        }
        keys(&mut encoder, &all.iter().map(|(e, _)| *e).collect::<Vec<_>>(), now)?;
        let figures = || all.iter().flat_map(|(e, models)| models.iter().map(|(m, f)| (e.name.as_str(), m.as_str(), f)));
        let help = "Requests that were sent to providers, retries among them";
        let mut family = encoder.encode_descriptor("wasmgate_provider_requests", help, None, MetricType::Counter)?;
        for (provider, model, figures) in figures() {
            let labels = [("provider", provider), ("model", model)];
            family.encode_family(&labels)?.encode_counter::<NoLabelSet, _, u64>(&figures.requests, None)?;
        }
        let help = "Requests to providers that failed, by the kind of error";
        let mut family = encoder.encode_descriptor("wasmgate_provider_failures", help, None, MetricType::Counter)?;
        for (provider, model, figures) in figures() {
            for (class, failures) in &figures.failures {
                let labels = [("provider", provider), ("model", model), ("class", *class)];
                family.encode_family(&labels)?.encode_counter::<NoLabelSet, _, u64>(failures, None)?;
            }
        }
        for (name, help, value) in AVERAGES {
            let name = format!("wasmgate_provider_{name}");
            let mut family = encoder.encode_descriptor(&name, help, None, MetricType::Gauge)?;
            for (provider, model, figures) in figures() {
                let Some(value) = value(figures) else { continue };
                family.encode_family(&[("provider", provider), ("model", model)])?.encode_gauge(&value)?;
            }
        }
        Ok(())
    }
}

/// Keys have the names that they have everywhere: their positions.
fn keys(encoder: &mut DescriptorEncoder<'_>, all: &[&Entry], now: Instant) -> fmt::Result {
    let counts: Vec<_> = all.iter().filter_map(|e| Some((e.name.as_str(), e.provider.credentials()?.counts(now)))).collect();
    let keys = || counts.iter().flat_map(|(name, keys)| keys.iter().map(|k| (*name, (k.0 + 1).to_string(), *k)));
    let mut family = encoder.encode_descriptor("wasmgate_provider_key_uses", "Requests with a key", None, MetricType::Counter)?;
    for (provider, key, (_, used, ..)) in keys() {
        let labels = [("provider", provider), ("key", key.as_str())];
        family.encode_family(&labels)?.encode_counter::<NoLabelSet, _, u64>(&used, None)?;
    }
    let mut family = encoder.encode_descriptor("wasmgate_provider_key_refusals", "Keys that were refused", None, MetricType::Counter)?;
    for (provider, key, (_, _, refused, _)) in keys() {
        let labels = [("provider", provider), ("key", key.as_str())];
        family.encode_family(&labels)?.encode_counter::<NoLabelSet, _, u64>(&refused, None)?;
    }
    let help = "Whether a key rests, for everything or for some model";
    let mut family = encoder.encode_descriptor("wasmgate_provider_key_resting", help, None, MetricType::Gauge)?;
    for (provider, key, (.., rests)) in keys() {
        family.encode_family(&[("provider", provider), ("key", key.as_str())])?.encode_gauge(&f64::from(u8::from(rests)))?;
    }
    Ok(())
}
