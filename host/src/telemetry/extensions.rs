//! What extensions cost, on the page of metrics. The figures are those of `GET /api/extensions`, in seconds and bytes.

use std::fmt;
use std::sync::{Arc, Weak};

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, NoLabelSet};
use prometheus_client::metrics::MetricType;

use crate::extensions::{Extension, HookTotals};
use crate::gateway::Gateway;

/// The extensions of the generation that serves everybody when the page is made.
#[derive(Debug)]
pub struct ExtensionCosts(pub Weak<Gateway>);

/// A family with one series for each extension and hook: its name, what it means, its value.
type PerHook = (&'static str, &'static str, fn(&HookTotals) -> f64);

const PER_HOOK: [PerHook; 7] = [
    ("calls", "Calls of hooks of extensions", |t| t.calls as f64),
    ("failures", "Calls of hooks that gave nothing: traps and limits", |t| t.failures as f64),
    ("guest_seconds", "Time in the guest", |t| t.guest),
    ("host_seconds", "Time in the host for the guest", |t| t.host),
    ("waited_seconds", "Time in which calls waited", |t| t.waited),
    ("in_bytes", "Content that went to the guest", |t| t.given as f64),
    ("out_bytes", "Content that came from the guest", |t| t.taken as f64),
];

impl Collector for ExtensionCosts {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let Some(gateway) = self.0.upgrade() else { return Ok(()) };
        let live = gateway.deploy.live();
        let extensions = live.stable.extensions.all();
        for (name, help, value) in PER_HOOK {
            let name = format!("wasmgate_extension_{name}");
            let mut family = encoder.encode_descriptor(&name, help, None, MetricType::Counter)?;
            for extension in extensions {
                for (hook, totals) in extension.stats.hooks() {
                    let labels = [("extension", extension.name()), ("hook", hook.name())];
                    family.encode_family(&labels)?.encode_counter::<NoLabelSet, _, f64>(&value(&totals), None)?;
                }
            }
        }
        traps(&mut encoder, extensions)?;
        limits(&mut encoder, extensions)?;
        memory(&mut encoder, extensions)
    }
}

fn traps(encoder: &mut DescriptorEncoder<'_>, extensions: &[Arc<Extension>]) -> fmt::Result {
    let mut family = encoder.encode_descriptor("wasmgate_extension_traps", "Calls that trapped", None, MetricType::Counter)?;
    extensions
        .iter()
        .try_for_each(|e| family.encode_family(&[("extension", e.name())])?.encode_counter::<NoLabelSet, _, u64>(&e.stats.traps(), None))
}

fn limits(encoder: &mut DescriptorEncoder<'_>, extensions: &[Arc<Extension>]) -> fmt::Result {
    let mut family =
        encoder.encode_descriptor("wasmgate_extension_limit_hits", "Limits that were hit, by the setting", None, MetricType::Counter)?;
    for extension in extensions {
        for (limit, hits) in extension.stats.limits() {
            let labels = [("extension", extension.name()), ("limit", limit)];
            family.encode_family(&labels)?.encode_counter::<NoLabelSet, _, u64>(&hits, None)?;
        }
    }
    Ok(())
}

fn memory(encoder: &mut DescriptorEncoder<'_>, extensions: &[Arc<Extension>]) -> fmt::Result {
    let help = "Most linear memory that an instance had";
    let mut family = encoder.encode_descriptor("wasmgate_extension_peak_memory_bytes", help, None, MetricType::Gauge)?;
    extensions.iter().try_for_each(|e| family.encode_family(&[("extension", e.name())])?.encode_gauge(&(e.stats.peak_memory() as f64)))
}
