//! Stage 8: a request is over. Everybody who wants to know is told exactly once, whatever happened.
//!
//! That is why this is a value with a `Drop`: it travels with the request into the response's body, and wherever the request
//! ends (the last byte, an error, a client that goes away) it is dropped there. Until somebody says how the request ended,
//! the caller is taken to have left.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use llm_codec::Format;
use llm_codec::hub::{ChatAnswer, ChatError, StreamEvent, Usage};
use serde_json::json;

use super::seen::Seen;
use super::tries::{Tries, Try};
use super::{Exchange, Record};
use crate::extensions::bindings::exports::wasmgate::extension::attempts::{Part, Tried};
use crate::extensions::bindings::exports::wasmgate::extension::on_complete::{Attempt, Ending, Outcome};
use crate::extensions::{Extension, Told};
use crate::gateway::Gateway;
use crate::telemetry::otlp::Answered;

/// What is known of the end so far.
pub struct Completion {
    exchange: Arc<Exchange>,
    ending: Ending,
    status: u16,
    error: Option<ChatError>,
    /// The try that answers. It counts with the others when it is over.
    serving: Option<Try>,
    tries: Arc<Tries>,
    first_byte: Option<Duration>,
    /// What a trace says of the answer; none when nobody sends one.
    seen: Option<Box<Seen>>,
}

/// Status that is recorded when the caller left before an answer, as nginx writes it.
const CLIENT_CLOSED_REQUEST: u16 = 499;

impl Completion {
    /// A request begins.
    pub fn new(exchange: Arc<Exchange>) -> Self {
        if exchange.depth == 0 {
            exchange.context.gateway.served.begins();
        }
        let tries = Arc::new(Tries::new(exchange.incoming.received));
        let seen = exchange.trace.span().filter(|span| span.sampled).map(|_| {
            let content = exchange.context.gateway.otlp.as_ref().is_some_and(|otlp| otlp.content());
            Box::new(Seen::new(content))
        });
        Self {
            exchange,
            ending: Ending::Cancelled,
            status: CLIENT_CLOSED_REQUEST,
            error: None,
            serving: None,
            tries,
            first_byte: None,
            seen,
        }
    }

    /// The request.
    pub fn exchange(&self) -> &Exchange {
        &self.exchange
    }

    /// Where its tries are counted.
    pub fn tries(&self) -> &Arc<Tries> {
        &self.tries
    }

    /// A try begins to answer. One that did before gave an answer that is not sent.
    pub fn serve(&mut self, mut attempt: Try) {
        self.seen.iter_mut().for_each(|seen| seen.again());
        attempt.chosen();
        if let Some(before) = &mut self.serving {
            before.end(None);
        }
        self.serving = Some(attempt);
    }

    /// The try that began to answer failed, and the request is sent again.
    pub fn failed(&mut self, error: &ChatError) {
        if let Some(mut attempt) = self.serving.take() {
            attempt.end(Some(error));
        }
    }

    /// The first byte of the answer goes to the caller.
    pub fn first_byte(&mut self, status: u16) {
        self.status = status;
        let before = self.first_byte.replace(self.exchange.incoming.received.elapsed());
        if before.is_none() && self.streamed() {
            self.exchange.context.gateway.served.streams();
        }
        if let Some(attempt) = &mut self.serving {
            attempt.first_event();
        }
    }

    /// Tokens were counted; the last count stays.
    pub fn usage(&mut self, usage: Option<Usage>) {
        if let Some(attempt) = &mut self.serving {
            attempt.usage(usage);
        }
    }

    /// A stream of this format is about to pass as it is.
    pub fn will_pass(&mut self, format: Format) {
        if let Some(seen) = &mut self.seen {
            seen.will_pass(format);
        }
    }

    /// A piece of it passes.
    pub fn passes(&mut self, chunk: &Bytes) {
        if let Some(seen) = &mut self.seen {
            seen.passes(chunk);
        }
    }

    /// An event of the provider was read.
    pub fn event(&mut self, event: &StreamEvent) {
        if let Some(seen) = &mut self.seen {
            seen.event(event);
        }
    }

    /// Events go on to the client, after filters.
    pub fn told(&mut self, events: &[StreamEvent]) {
        if let Some(seen) = &mut self.seen {
            seen.told(events);
        }
    }

    /// A complete answer of this format passes as it is.
    pub fn whole(&mut self, format: Format, body: &Bytes) {
        if let Some(seen) = &mut self.seen {
            seen.whole(format, body);
        }
    }

    /// A complete answer was read.
    pub fn answered(&mut self, answer: &ChatAnswer) {
        if let Some(seen) = &mut self.seen {
            seen.answered(answer);
        }
    }

    /// A filter or a hook put another answer in its place.
    pub fn replaced(&mut self, answer: &ChatAnswer) {
        if let Some(seen) = &mut self.seen {
            seen.replaced(answer);
        }
    }

    /// The answer is complete.
    pub fn success(&mut self) {
        self.ending = Ending::Success;
        self.end_serving(None);
    }

    /// The caller gets an error, with this status when nothing was sent before.
    pub fn error(&mut self, error: &ChatError, status: Option<u16>) {
        self.ending = Ending::Error;
        self.end_serving(Some(error));
        self.error = Some(error.clone());
        self.status = status.unwrap_or(self.status);
    }

    /// A hook refused the request.
    pub fn rejected(&mut self, error: &ChatError, status: u16) {
        self.ending = Ending::Rejected;
        // It did answer; that the answer is not wanted is no fault of its own.
        self.end_serving(None);
        self.error = Some(error.clone());
        self.status = status;
    }

    /// Whether a stream to a caller began.
    fn streamed(&self) -> bool {
        self.first_byte.is_some() && self.exchange.head.stream && self.exchange.depth == 0
    }

    fn end_serving(&mut self, error: Option<&ChatError>) {
        if let Some(attempt) = &mut self.serving {
            attempt.end(error);
        }
    }

    fn outcome(&mut self) -> (Outcome, Vec<Tried>) {
        let serving = self.serving.take();
        let served_by = serving.as_ref().map(|attempt| attempt.target().clone());
        drop(serving);
        let tried = self.tries.take(|| self.exchange.estimated_tokens());
        let outcome = Outcome {
            ending: self.ending,
            status: self.status,
            error: self.error.take(),
            served_by,
            // The provider's own object is kept when there is only one.
            usage: tried.iter().filter_map(|t| t.usage.clone()).reduce(Usage::plus),
            attempts: tried
                .iter()
                .map(|t| Attempt { target: t.target.clone(), error: t.error.clone(), duration_us: t.duration_us })
                .collect(),
            started_ms: self.exchange.incoming.received_ms,
            duration_us: self.exchange.incoming.received.elapsed().as_micros() as u64,
            first_byte_us: self.first_byte.map(|d| d.as_micros() as u64),
        };
        (outcome, tried)
    }
}

impl Drop for Completion {
    fn drop(&mut self) {
        let (outcome, tried) = self.outcome();
        let served = &self.exchange.context.gateway.served;
        served.record(&self.exchange, &outcome);
        if self.exchange.depth == 0 {
            served.ends(self.streamed());
        }
        log(&self.exchange, &outcome);
        self.exchange.generation().providers.settle(&outcome, &tried);
        if let (Some(usage), 1..) = (&outcome.usage, self.exchange.depth) {
            self.exchange.budget.spend(usage);
        }
        let gateway = Arc::clone(&self.exchange.context.gateway);
        let exchange = Arc::clone(&self.exchange);
        let generation = exchange.generation();
        let mut seen = self.seen.take();
        if let Some(seen) = seen.as_mut().filter(|_| self.first_byte.is_none()) {
            seen.withheld();
        }
        let answered = seen.map(|seen| seen.facts()).unwrap_or_default();
        if generation.on_complete.is_empty() && generation.attempts.is_empty() {
            remember(&gateway, exchange, outcome, tried, &answered);
            return;
        }
        let handle = gateway.handle.clone();
        // Off the request path: the caller has its answer already.
        gateway.clone().background.spawn_on(
            async move {
                let call = exchange.call_info();
                let told = |e: &&Arc<Extension>| tried.len() > 1 || e.manifest.attempts == Told::All;
                for extension in exchange.generation().attempts.iter().filter(|e| told(e) && exchange.runs(e)) {
                    if let Err(e) = extension.on_attempts(&exchange, &call, &tried).await {
                        tracing::error!(request_id = exchange.id, error = %e, "on-attempts failed; the record of this request's tries may be missing");
                    }
                }
                for extension in exchange.generation().on_complete.iter().filter(|e| exchange.runs(e)) {
                    if let Err(e) = extension.on_complete(&exchange, &call, &outcome).await {
                        tracing::error!(request_id = exchange.id, error = %e, "on-complete failed; the record of this request may be missing");
                    }
                }
                remember(&gateway, exchange, outcome, tried, &answered);
            },
            &handle,
        );
    }
}

/// The name of an ending.
pub fn ending(outcome: &Outcome) -> &'static str {
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

fn remember(gateway: &Gateway, exchange: Arc<Exchange>, outcome: Outcome, tried: Vec<Tried>, answered: &Answered) {
    if let (Some(otlp), Some(span)) = (&gateway.otlp, exchange.trace.span()) {
        otlp.finish(span, &exchange, &outcome, &tried, answered);
    }
    let id = exchange.id.clone();
    let why = exchange.why();
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
            "tries": tried.iter().map(shown).collect::<Vec<_>>(),
            "metadata": why.iter().map(|(name, value)| (name.replace('-', "_"), json!(value))).collect::<serde_json::Map<_, _>>(),
            "duration_us": outcome.duration_us,
            "ttft_us": outcome.first_byte_us,
            "extensions": trace.to_json(),
        })
    };
    gateway.recent.push(exchange.id.clone(), Record { facts: Box::new(facts) });
}

/// A try, for operators.
fn shown(tried: &Tried) -> serde_json::Value {
    json!({
        "number": tried.number,
        "provider": tried.target.provider,
        "model": tried.target.model,
        "via": tried.via,
        "part": part(tried.part),
        "error": tried.error.as_ref().map(|e| e.class.name()),
        "input_tokens": tried.usage.as_ref().map(|u| u.input_tokens),
        "output_tokens": tried.usage.as_ref().map(|u| u.output_tokens),
        "estimated": tried.usage.as_ref().is_some_and(|u| u.raw.is_none()),
        "started_us": tried.started_us,
        "first_event_us": tried.first_event_us,
        "duration_us": tried.duration_us,
    })
}

/// The name of what a try was to its request.
pub fn part(part: Part) -> &'static str {
    match part {
        Part::Served => "served",
        Part::Failed => "failed",
        Part::Lost => "lost",
        Part::Cancelled => "cancelled",
    }
}
