//! Stage 8: a request is over. Everybody who wants to know is told exactly once, whatever happened.
//!
//! That is why this is a value with a `Drop`: it travels with the request into the response's body, and wherever the request
//! ends (the last byte, an error, a client that goes away) it is dropped there. Until somebody says how the request ended,
//! the caller is taken to have left.

use std::sync::Arc;
use std::time::{Duration, Instant};

use llm_codec::hub::{ChatError, ErrorClass, Usage};
use serde_json::json;

use super::{Exchange, Record};
use crate::extensions::bindings::exports::wasmgate::extension::on_complete::{Attempt, Ending, Outcome};
use crate::extensions::bindings::wasmgate::extension::request::Target;
use crate::gateway::Gateway;

/// What is known of the end so far.
pub struct Completion {
    exchange: Arc<Exchange>,
    ending: Ending,
    status: u16,
    error: Option<ChatError>,
    served_by: Option<Target>,
    /// Tokens of the last attempt.
    usage: Option<Usage>,
    /// Tokens of those before.
    spent: Option<Usage>,
    attempts: Vec<Attempt>,
    sent_at: Instant,
    first_byte: Option<Duration>,
}

/// Status that is recorded when the caller left before an answer, as nginx writes it.
const CLIENT_CLOSED_REQUEST: u16 = 499;

impl Completion {
    /// A request begins.
    pub fn new(exchange: Arc<Exchange>) -> Self {
        Self {
            exchange,
            ending: Ending::Cancelled,
            status: CLIENT_CLOSED_REQUEST,
            error: None,
            served_by: None,
            usage: None,
            spent: None,
            attempts: Vec::new(),
            sent_at: Instant::now(),
            first_byte: None,
        }
    }

    /// The request.
    pub fn exchange(&self) -> &Exchange {
        &self.exchange
    }

    /// It is sent to a target.
    pub fn attempt(&mut self, target: Target) {
        self.end_attempt(None);
        self.spent = sum(self.spent.take(), self.usage.take());
        self.sent_at = Instant::now();
        self.attempts.push(Attempt { target, error: None, duration_us: 0 });
    }

    /// The target of the last attempt begins to answer.
    pub fn answered(&mut self) {
        self.served_by = self.attempts.last().map(|a| a.target.clone());
    }

    /// The last attempt failed, and the request is sent again.
    pub fn failed(&mut self, error: &ChatError) {
        self.end_attempt(Some(error));
        self.served_by = None;
    }

    /// The first byte of the answer goes to the caller.
    pub fn first_byte(&mut self, status: u16) {
        self.status = status;
        self.first_byte = Some(self.exchange.incoming.received.elapsed());
    }

    /// Tokens were counted; the last count stays.
    pub fn usage(&mut self, usage: Option<Usage>) {
        if usage.is_some() {
            self.usage = usage;
        }
    }

    /// The answer is complete.
    pub fn success(&mut self) {
        self.ending = Ending::Success;
        self.end_attempt(None);
    }

    /// The caller gets an error, with this status when nothing was sent before.
    pub fn error(&mut self, error: &ChatError, status: Option<u16>) {
        self.ending = Ending::Error;
        self.end_attempt(Some(error));
        self.error = Some(error.clone());
        self.status = status.unwrap_or(self.status);
    }

    /// A hook refused the request.
    pub fn rejected(&mut self, error: &ChatError, status: u16) {
        self.ending = Ending::Rejected;
        self.error = Some(error.clone());
        self.status = status;
    }

    fn end_attempt(&mut self, error: Option<&ChatError>) {
        if let Some(attempt) = self.attempts.last_mut().filter(|a| a.duration_us == 0) {
            attempt.duration_us = self.sent_at.elapsed().as_micros().max(1) as u64;
            attempt.error = error.cloned();
        }
    }

    fn outcome(&mut self) -> Outcome {
        if self.ending == Ending::Cancelled {
            let gone = ChatError::new(ErrorClass::Cancelled, "The caller went away.");
            self.end_attempt(Some(&gone));
        }
        Outcome {
            ending: self.ending,
            status: self.status,
            error: self.error.take(),
            served_by: self.served_by.take(),
            usage: sum(self.spent.take(), self.usage.take()),
            attempts: std::mem::take(&mut self.attempts),
            started_ms: self.exchange.incoming.received_ms,
            duration_us: self.exchange.incoming.received.elapsed().as_micros() as u64,
            first_byte_us: self.first_byte.map(|d| d.as_micros() as u64),
        }
    }
}

impl Drop for Completion {
    fn drop(&mut self) {
        let outcome = self.outcome();
        log(&self.exchange, &outcome);
        self.exchange.generation().providers.settle(&outcome);
        if let (Some(usage), 1..) = (&outcome.usage, self.exchange.depth) {
            self.exchange.budget.spend(usage);
        }
        let gateway = Arc::clone(&self.exchange.context.gateway);
        let exchange = Arc::clone(&self.exchange);
        if exchange.generation().on_complete.is_empty() {
            remember(&gateway, exchange, outcome);
            return;
        }
        let handle = gateway.handle.clone();
        // Off the request path: the caller has its answer already.
        gateway.clone().background.spawn_on(
            async move {
                let call = exchange.call_info();
                for extension in exchange.generation().on_complete.iter().filter(|e| exchange.runs(e)) {
                    if let Err(e) = extension.on_complete(&exchange, &call, &outcome).await {
                        tracing::error!(request_id = exchange.id, error = %e, "on-complete failed; the record of this request may be missing");
                    }
                }
                remember(&gateway, exchange, outcome);
            },
            &handle,
        );
    }
}

/// The tokens of two attempts. The provider's own object is kept when there is only one.
fn sum(a: Option<Usage>, b: Option<Usage>) -> Option<Usage> {
    let (Some(a), Some(b)) = (&a, &b) else { return a.or(b) };
    let both = |a: Option<u64>, b: Option<u64>| a.or(b).map(|_| a.unwrap_or(0).saturating_add(b.unwrap_or(0)));
    Some(Usage {
        input_tokens: a.input_tokens.saturating_add(b.input_tokens),
        cache_read_tokens: both(a.cache_read_tokens, b.cache_read_tokens),
        cache_write_tokens: both(a.cache_write_tokens, b.cache_write_tokens),
        output_tokens: a.output_tokens.saturating_add(b.output_tokens),
        reasoning_tokens: both(a.reasoning_tokens, b.reasoning_tokens),
        raw: None,
    })
}

/// The name of an ending, for the log.
fn ending(outcome: &Outcome) -> &'static str {
    match outcome.ending {
        Ending::Success => "success",
        Ending::Error => "error",
        Ending::Rejected => "rejected",
        Ending::Cancelled => "cancelled",
    }
}

fn log(exchange: &Exchange, outcome: &Outcome) {
    let served = outcome.served_by.as_ref();
    tracing::info!(
        request_id = exchange.id,
        ending = ending(outcome),
        status = outcome.status,
        format = exchange.head.format,
        model = exchange.head.model,
        provider = served.map(|t| t.provider.as_str()),
        served_model = served.map(|t| t.model.as_str()),
        stream = exchange.head.stream,
        input_tokens = outcome.usage.as_ref().map(|u| u.input_tokens),
        output_tokens = outcome.usage.as_ref().map(|u| u.output_tokens),
        duration_us = outcome.duration_us,
        first_byte_us = outcome.first_byte_us,
        error = outcome.error.as_ref().map(|e| e.message.as_str()),
        "request"
    );
}

fn remember(gateway: &Gateway, exchange: Arc<Exchange>, outcome: Outcome) {
    let id = exchange.id.clone();
    let (head, trace) = (exchange.head.clone(), exchange.trace.take());
    let facts = move || {
        let served = outcome.served_by.as_ref();
        let usage = outcome.usage.as_ref();
        json!({
            "request_id": id,
            "outcome": ending(&outcome),
            "status": outcome.status,
            "format": head.format,
            "stream": head.stream,
            "requested_model": head.model,
            "provider": served.map(|t| &t.provider),
            "model": served.map(|t| &t.model),
            "error": outcome.error.as_ref().map(|e| json!({"class": e.class.name(), "message": e.message})),
            "usage": usage.map(|u| json!({
                "input_tokens": u.input_tokens,
                "cache_read_tokens": u.cache_read_tokens,
                "cache_write_tokens": u.cache_write_tokens,
                "output_tokens": u.output_tokens,
                "reasoning_tokens": u.reasoning_tokens,
            })),
            "attempts": outcome.attempts.len(),
            "duration_us": outcome.duration_us,
            "ttft_us": outcome.first_byte_us,
            "extensions": trace.to_json(),
        })
    };
    gateway.recent.push(exchange.id.clone(), Record { facts: Box::new(facts) });
}
