//! How it goes with the store, on the page of metrics.

use std::fmt;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, NoLabelSet};
use prometheus_client::metrics::MetricType;

use crate::storage::Store;

/// The store.
pub struct Stored(pub Store);

impl fmt::Debug for Stored {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Stored")
    }
}

impl Collector for Stored {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let (rows, limits) = (self.0.records.health(), self.0.limits.health());
        let gauges = [
            ("wasmgate_records_waiting", "Rows that wait to be written", rows.waiting),
            ("wasmgate_limits_away", "Whether limits are not shared because Redis is away", u64::from(limits.away)),
        ];
        for (name, help, value) in gauges {
            encoder.encode_descriptor(name, help, None, MetricType::Gauge)?.encode_gauge(&(value as f64))?;
        }
        let counters = [
            ("wasmgate_records_written", "Rows that were written", rows.written),
            ("wasmgate_records_dropped", "Rows that were lost to make room for newer ones", rows.dropped),
            ("wasmgate_records_refused", "Rows that were not taken because too many waited", rows.refused),
            ("wasmgate_records_write_failures", "Attempts to write rows that failed", rows.failures),
            ("wasmgate_limits_without", "Reservations and settlements that were answered without Redis", limits.without),
        ];
        for (name, help, value) in counters {
            encoder.encode_descriptor(name, help, None, MetricType::Counter)?.encode_counter::<NoLabelSet, _, u64>(&value, None)?;
        }
        Ok(())
    }
}
