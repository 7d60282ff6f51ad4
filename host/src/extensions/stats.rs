//! What extensions cost: counted per extension and hook for as long as a version runs, and per request for its trace.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use serde_json::{Value, json};

use super::clock::{Crossed, Spent, nanos};
use super::tripwire::Tripwire;

/// Places where the host calls an extension.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
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
    /// `operations.accept`.
    AcceptOperation,
    /// `operations.answer`.
    AnswerOperation,
    /// `before-generate`.
    BeforeGenerate,
    /// `after-generate`.
    AfterGenerate,
    /// `stream-filter`: `open`, and one call for each batch of events.
    StreamFilter,
    /// `provider-events`: both of its functions.
    ProviderEvents,
    /// `judge`.
    Judge,
    /// `attempts`.
    Attempts,
    /// `on-complete`.
    OnComplete,
    /// `wasi:http/incoming-handler`.
    Http,
}

impl Hook {
    /// All of them.
    pub const ALL: [Self; 16] = [
        Self::Configure,
        Self::Accept,
        Self::Decode,
        Self::EncodeAnswer,
        Self::EncodeError,
        Self::Encoder,
        Self::AcceptOperation,
        Self::AnswerOperation,
        Self::BeforeGenerate,
        Self::AfterGenerate,
        Self::StreamFilter,
        Self::ProviderEvents,
        Self::Judge,
        Self::Attempts,
        Self::OnComplete,
        Self::Http,
    ];

    /// Those without which a request can go on.
    pub const SKIPPABLE: [Self; 6] =
        [Self::BeforeGenerate, Self::AfterGenerate, Self::StreamFilter, Self::ProviderEvents, Self::Attempts, Self::OnComplete];

    /// The name that operators see.
    pub fn name(self) -> &'static str {
        match self {
            Self::Configure => "lifecycle.configure",
            Self::Accept => "dialect.accept",
            Self::Decode => "dialect.decode",
            Self::EncodeAnswer => "dialect.encode-answer",
            Self::EncodeError => "dialect.encode-error",
            Self::Encoder => "dialect.encoder",
            Self::AcceptOperation => "operations.accept",
            Self::AnswerOperation => "operations.answer",
            Self::BeforeGenerate => "before-generate",
            Self::AfterGenerate => "after-generate",
            Self::StreamFilter => "stream-filter",
            Self::ProviderEvents => "provider-events",
            Self::Judge => "judge",
            Self::Attempts => "attempts",
            Self::OnComplete => "on-complete",
            Self::Http => "http",
        }
    }
}

/// Counters of one hook.
#[derive(Debug, Default)]
struct HookStats {
    calls: AtomicU64,
    failures: AtomicU64,
    guest: AtomicU64,
    host: AtomicU64,
    waited: AtomicU64,
    given: AtomicU64,
    taken: AtomicU64,
}

/// Counters of one extension.
#[derive(Debug, Default)]
pub struct Stats {
    hooks: [HookStats; Hook::ALL.len()],
    peak_memory: AtomicU64,
    traps: AtomicU64,
    limits: Mutex<BTreeMap<&'static str, u64>>,
    tripwire: Tripwire,
}

/// What one hook has cost so far. Times in seconds, content in bytes.
#[derive(Debug, Clone, Copy)]
pub struct HookTotals {
    /// Calls.
    pub calls: u64,
    /// Those that gave nothing.
    pub failures: u64,
    /// CPU time in the guest.
    pub guest: f64,
    /// CPU time in the host.
    pub host: f64,
    /// Time in which it waited.
    pub waited: f64,
    /// Content that went to the guest.
    pub given: u64,
    /// Content that came from the guest.
    pub taken: u64,
}

impl Stats {
    /// A call is over.
    pub fn record(&self, hook: Hook, spent: Spent, crossed: Crossed, failed: bool) {
        let stats = &self.hooks[hook as usize];
        let add = |counter: &AtomicU64, n: u64| {
            counter.fetch_add(n, Ordering::Relaxed);
        };
        add(&stats.calls, 1);
        add(&stats.guest, nanos(spent.guest));
        add(&stats.host, nanos(spent.host));
        if failed {
            add(&stats.failures, 1);
        }
        // Rare in most hooks: then the counter's cache line is left alone.
        for (counter, n) in [(&stats.waited, nanos(spent.waited)), (&stats.given, crossed.given), (&stats.taken, crossed.taken)] {
            if n > 0 {
                add(counter, n);
            }
        }
    }

    /// An instance had this much memory, in bytes.
    pub fn memory(&self, bytes: usize) {
        if self.peak_memory.load(Ordering::Relaxed) < bytes as u64 {
            self.peak_memory.fetch_max(bytes as u64, Ordering::Relaxed);
        }
    }

    /// A call ended in a trap that no limit explains.
    pub fn trap(&self) {
        self.tripwire.failure();
        self.traps.fetch_add(1, Ordering::Relaxed);
    }

    /// A call was stopped at a limit.
    pub fn limit(&self, limit: &'static str) {
        self.tripwire.failure();
        self.refused(limit);
    }

    /// Something was refused at a limit, which the extension was told: its call goes on.
    pub fn refused(&self, limit: &'static str) {
        *self.limits.lock().unwrap_or_else(PoisonError::into_inner).entry(limit).or_default() += 1;
    }

    /// What closes the way to a version that fails too often.
    pub fn tripwire(&self) -> &Tripwire {
        &self.tripwire
    }

    /// How often limits were hit, by the setting's name.
    pub fn limits(&self) -> BTreeMap<&'static str, u64> {
        self.limits.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// How often calls trapped.
    pub fn traps(&self) -> u64 {
        self.traps.load(Ordering::Relaxed)
    }

    /// Most memory that an instance had, in bytes.
    pub fn peak_memory(&self) -> u64 {
        self.peak_memory.load(Ordering::Relaxed)
    }

    /// The hooks that were called.
    pub fn hooks(&self) -> impl Iterator<Item = (Hook, HookTotals)> {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let seconds = move |counter: &AtomicU64| read(counter) as f64 / 1e9;
        let totals = move |s: &HookStats| HookTotals {
            calls: read(&s.calls),
            failures: read(&s.failures),
            guest: seconds(&s.guest),
            host: seconds(&s.host),
            waited: seconds(&s.waited),
            given: read(&s.given),
            taken: read(&s.taken),
        };
        Hook::ALL.into_iter().zip(&self.hooks).map(move |(hook, s)| (hook, totals(s))).filter(|(_, t)| t.calls > 0)
    }

    /// As JSON. Times are in microseconds; `us` is what guest and host cost together.
    pub fn to_json(&self) -> Value {
        let us = |seconds: f64| (seconds * 1e9).round() / 1e3;
        let row = |t: HookTotals| {
            json!({
                "calls": t.calls,
                "failures": t.failures,
                "us": us(t.guest + t.host),
                "guest_us": us(t.guest),
                "host_us": us(t.host),
                "waited_us": us(t.waited),
                "bytes_in": t.given,
                "bytes_out": t.taken,
            })
        };
        let hooks: serde_json::Map<String, Value> = self.hooks().map(|(hook, t)| (hook.name().to_owned(), row(t))).collect();
        json!({"hooks": hooks, "peak_memory_bytes": self.peak_memory(), "traps": self.traps(), "limits": self.limits()})
    }
}
