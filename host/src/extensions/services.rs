//! What the host offers one extension, shared by all of its instances.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::Instant;

use super::limits::Limits;
use super::outbound::Outbound;
use super::stats::Stats;
use crate::config::Secret;
use crate::providers::Directory;
use crate::storage::records::Records;
use crate::storage::{self, Kv};
use crate::telemetry::metrics::Series;

/// The services of one extension.
pub struct Services {
    /// The extension's name, which is also its namespace in the store.
    pub name: String,
    /// Its limits.
    pub limits: Limits,
    /// What its calls cost.
    pub stats: Arc<Stats>,
    /// Secrets that it may use, by name.
    pub secrets: BTreeMap<String, Arc<Entrusted>>,
    /// Its configuration, by top-level key: strings as they are, anything else as JSON text.
    pub config: BTreeMap<String, String>,
    /// The key-value store of the gateway.
    pub kv: Arc<dyn Kv>,
    /// The tables of the gateway.
    pub records: Arc<dyn Records>,
    /// Its numbers on the page of metrics.
    pub series: Arc<Series>,
    /// Whether it may make requests in its callers' names; otherwise the setting that would let it.
    pub generates: Result<(), String>,
    /// What it may reach in the network; nothing when that was not granted.
    pub outbound: Option<Arc<Outbound>>,
    /// The rate counters of the gateway.
    pub rates: storage::Limits,
    /// The providers of its generation.
    pub providers: Arc<Directory>,
    /// Its log lines.
    pub log: LogGate,
}

/// A secret that an extension may use and never sees.
pub struct Entrusted {
    /// What stands for it in the extension's outbound requests.
    pub placeholder: String,
    /// The secret.
    pub secret: Secret,
}

impl Entrusted {
    /// With a placeholder that nobody can guess.
    pub fn new(secret: Secret) -> Self {
        Self { placeholder: format!("wasmgate-secret-{}", uuid::Uuid::new_v4().simple()), secret }
    }
}

/// Lets so many log lines pass in a second.
pub struct LogGate {
    per_second: u32,
    start: Instant,
    second: AtomicU64,
    lines: AtomicU32,
}

/// What becomes of a log line.
#[derive(Debug, PartialEq, Eq)]
pub enum LogVerdict {
    /// It is written.
    Write,
    /// It is dropped, and this is the first one of its second.
    FirstDrop,
    /// It is dropped.
    Drop,
}

impl LogGate {
    /// A gate.
    pub fn new(per_second: u32) -> Self {
        Self { per_second, start: Instant::now(), second: AtomicU64::new(0), lines: AtomicU32::new(0) }
    }

    /// Asks for one line.
    pub fn ask(&self) -> LogVerdict {
        self.ask_at(self.start.elapsed().as_secs())
    }

    fn ask_at(&self, second: u64) -> LogVerdict {
        if self.second.swap(second, Ordering::Relaxed) != second {
            self.lines.store(0, Ordering::Relaxed);
        }
        match self.lines.fetch_add(1, Ordering::Relaxed) {
            n if n < self.per_second => LogVerdict::Write,
            n if n == self.per_second => LogVerdict::FirstDrop,
            _ => LogVerdict::Drop,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flood_is_dropped_with_one_notice_a_second() {
        let gate = LogGate::new(2);
        let asked: Vec<_> = [0, 0, 0, 0, 1, 1, 1].iter().map(|s| gate.ask_at(*s)).collect();
        use LogVerdict::*;
        assert_eq!(asked, [Write, Write, FirstDrop, Drop, Write, Write, FirstDrop]);
    }
}
