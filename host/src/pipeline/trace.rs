//! What one request cost, extension by extension; and the last few requests, for whoever asks.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use http::request::Parts;
use serde_json::{Value, json};

use crate::extensions::{Hook, Spent};
use crate::gateway::Gateway;
use crate::telemetry::otlp::span::Span;

/// Requests that are remembered.
const REMEMBERED: usize = 512;

/// Costs of one request.
#[derive(Default)]
pub struct Trace {
    rows: Mutex<Vec<Row>>,
    /// Its place in a trace of OpenTelemetry, if those are sent.
    span: Option<Box<Span>>,
}

struct Row {
    extension: Arc<str>,
    hook: Hook,
    calls: u32,
    spent: Duration,
}

impl Trace {
    /// Of a request with a place in a trace.
    pub fn of(span: Option<Box<Span>>) -> Self {
        Self { rows: Mutex::default(), span }
    }

    /// Of a request that arrived, at a path in which these names matched these texts.
    pub fn begin(gateway: &Gateway, head: &Parts, params: &[(String, String)], received: Instant) -> Self {
        Self::of(gateway.otlp.as_ref().and_then(|otlp| otlp.begin(head, params, received)))
    }

    /// That place.
    pub fn span(&self) -> Option<&Span> {
        self.span.as_deref()
    }

    /// A call is over. Time that it spent waiting is no cost.
    pub fn record(&self, extension: &Arc<str>, hook: Hook, spent: Spent, failed: bool) {
        if let Some(span) = &self.span {
            span.record(extension, hook, spent.work() + spent.waited, spent.work(), failed);
        }
        let spent = spent.work();
        let mut rows = self.rows.lock().unwrap_or_else(PoisonError::into_inner);
        match rows.iter_mut().find(|r| r.hook == hook && r.extension == *extension) {
            Some(row) => {
                row.calls += 1;
                row.spent += spent;
            }
            None => rows.push(Row { extension: Arc::clone(extension), hook, calls: 1, spent }),
        }
    }

    /// What was recorded so far, leaving nothing behind.
    pub fn take(&self) -> Self {
        let mut rows = self.rows.lock().unwrap_or_else(PoisonError::into_inner);
        Self { rows: Mutex::new(std::mem::take(&mut rows)), span: None }
    }

    /// As the value of a `Server-Timing` header field: milliseconds for each extension and hook.
    pub fn to_server_timing(&self) -> String {
        let rows = self.rows.lock().unwrap_or_else(PoisonError::into_inner);
        let metrics = rows.iter().map(|r| {
            let ms = r.spent.as_nanos() as f64 / 1e6;
            format!("{}.{};dur={ms:.4};desc=\"{} calls\"", r.extension, r.hook.name(), r.calls)
        });
        metrics.collect::<Vec<_>>().join(", ")
    }

    /// As JSON: one object for each extension and hook, in order of the first call.
    pub fn to_json(&self) -> Value {
        let rows = self.rows.lock().unwrap_or_else(PoisonError::into_inner);
        let rows = rows
            .iter()
            .map(|r| json!({"name": &*r.extension, "hook": r.hook.name(), "calls": r.calls, "us": r.spent.as_nanos() as f64 / 1e3}));
        Value::Array(rows.collect())
    }
}

/// The last requests, by id.
#[derive(Default)]
pub struct Recent {
    ring: Mutex<VecDeque<(String, Record)>>,
}

/// What is remembered of a request. Nothing of its content.
pub struct Record {
    /// Facts that are cheap to keep; they become JSON when somebody asks.
    pub facts: Box<dyn Fn() -> Value + Send>,
}

impl Recent {
    /// Remembers a request; the oldest is forgotten.
    pub fn push(&self, id: String, record: Record) {
        let mut ring = self.ring.lock().unwrap_or_else(PoisonError::into_inner);
        if ring.len() == REMEMBERED {
            ring.pop_front();
        }
        ring.push_back((id, record));
    }

    /// A request, if it is still remembered.
    pub fn find(&self, id: &str) -> Option<Value> {
        let ring = self.ring.lock().unwrap_or_else(PoisonError::into_inner);
        ring.iter().rev().find(|(i, _)| i == id).map(|(_, r)| (r.facts)())
    }
}
