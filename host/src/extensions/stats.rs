//! What extensions cost: counted per extension and hook for as long as a version runs, and per request for its trace.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// Places where the host calls an extension.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(usize)]
pub enum Hook {
    /// `lifecycle.configure`, with the making of the instance.
    Configure,
    /// `dialect.accept`.
    Accept,
    /// `dialect.decode`.
    Decode,
    /// `dialect.encode-answer`.
    EncodeAnswer,
    /// `dialect.encode-error`.
    EncodeError,
    /// The dialect's `encoder`: one call for each batch of events.
    Encoder,
    /// `before-generate`.
    BeforeGenerate,
    /// `after-generate`.
    AfterGenerate,
    /// `stream-filter`: `open`, and one call for each batch of events.
    StreamFilter,
    /// `on-complete`.
    OnComplete,
    /// `wasi:http/incoming-handler`.
    Http,
}

impl Hook {
    /// All of them.
    pub const ALL: [Self; 11] = [
        Self::Configure,
        Self::Accept,
        Self::Decode,
        Self::EncodeAnswer,
        Self::EncodeError,
        Self::Encoder,
        Self::BeforeGenerate,
        Self::AfterGenerate,
        Self::StreamFilter,
        Self::OnComplete,
        Self::Http,
    ];

    /// The name that operators see.
    pub fn name(self) -> &'static str {
        match self {
            Self::Configure => "lifecycle.configure",
            Self::Accept => "dialect.accept",
            Self::Decode => "dialect.decode",
            Self::EncodeAnswer => "dialect.encode-answer",
            Self::EncodeError => "dialect.encode-error",
            Self::Encoder => "dialect.encoder",
            Self::BeforeGenerate => "before-generate",
            Self::AfterGenerate => "after-generate",
            Self::StreamFilter => "stream-filter",
            Self::OnComplete => "on-complete",
            Self::Http => "http",
        }
    }
}

/// Counters of one hook.
#[derive(Debug, Default)]
pub struct HookStats {
    calls: AtomicU64,
    failures: AtomicU64,
    nanos: AtomicU64,
}

/// Counters of one extension.
#[derive(Debug, Default)]
pub struct Stats {
    hooks: [HookStats; Hook::ALL.len()],
    peak_memory: AtomicU64,
}

impl Stats {
    /// A call is over.
    pub fn record(&self, hook: Hook, spent: Duration, failed: bool) {
        let stats = &self.hooks[hook as usize];
        stats.calls.fetch_add(1, Ordering::Relaxed);
        stats.failures.fetch_add(u64::from(failed), Ordering::Relaxed);
        stats.nanos.fetch_add(spent.as_nanos() as u64, Ordering::Relaxed);
    }

    /// An instance had this much memory, in bytes.
    pub fn memory(&self, bytes: usize) {
        self.peak_memory.fetch_max(bytes as u64, Ordering::Relaxed);
    }

    /// As JSON: hooks that were called, with calls, failures and microseconds.
    pub fn to_json(&self) -> serde_json::Value {
        let called = Hook::ALL.iter().zip(&self.hooks).filter(|(_, s)| s.calls.load(Ordering::Relaxed) > 0);
        let hooks: serde_json::Map<String, serde_json::Value> = called
            .map(|(hook, s)| {
                let row = serde_json::json!({
                    "calls": s.calls.load(Ordering::Relaxed),
                    "failures": s.failures.load(Ordering::Relaxed),
                    "us": s.nanos.load(Ordering::Relaxed) as f64 / 1e3,
                });
                (hook.name().to_owned(), row)
            })
            .collect();
        serde_json::json!({"hooks": hooks, "peak_memory_bytes": self.peak_memory.load(Ordering::Relaxed)})
    }
}
