//! A request that is over, as spans: one for the request (SERVER), one for each try at a provider (CLIENT), one for each hook (INTERNAL).
//!
//! What is absent: nothing of what was said, unless the configuration wants it (`content.rs`). Messages of errors may quote it, so a span has the class
//! of an error and no more.

use llm_codec::hub::{ChatAnswer, FinishReason};
use opentelemetry_proto::tonic::common::v1::KeyValue;
use opentelemetry_proto::tonic::trace::v1::span::SpanKind;
use opentelemetry_proto::tonic::trace::v1::status::StatusCode;
use opentelemetry_proto::tonic::trace::v1::{self as proto, Status};

use super::attributes::{count, flag, number, operation, provider, text, texts};
use super::content;
use super::span::{Call, Span};
use crate::extensions::bindings::exports::wasmgate::extension::attempts::{Part, Tried};
use crate::extensions::bindings::exports::wasmgate::extension::on_complete::{Ending, Outcome};
use crate::pipeline::{Exchange, ending, part};

/// What is known of an answer besides its tokens.
#[derive(Debug, Default, Clone)]
pub struct Answered {
    /// The model that the provider says it is from.
    pub model: Option<String>,
    /// Why each alternative ended.
    pub finish: Vec<FinishReason>,
    /// All of it, where that is wanted.
    pub answer: Option<ChatAnswer>,
}

/// The bit of a span's flags that says that it is known whether its parent is in another program; the next one says that it is.
const KNOWN: u32 = 0x100;
const REMOTE: u32 = 0x200;

/// The spans of a request that is over.
pub fn spans(span: &Span, exchange: &Exchange, outcome: &Outcome, tried: &[Tried], answered: &Answered, said: bool) -> Vec<proto::Span> {
    let (calls, dropped) = span.calls();
    let mut spans = Vec::with_capacity(1 + tried.len() + calls.len());
    spans.push(request(span, exchange, outcome, answered, dropped));
    let served = tried.iter().rposition(|t| t.part == Part::Served);
    spans.extend(tried.iter().enumerate().map(|(n, t)| attempt(span, exchange, t, (served == Some(n)).then_some(answered))));
    spans.extend(calls.iter().map(|call| hook(span, call)));
    // At the try that was answered, or else at the last one.
    if let Some(at) = served.or(tried.len().checked_sub(1)).filter(|_| said && exchange.operation.is_none()) {
        let all = &mut spans[1 + at].attributes;
        all.extend(exchange.known_chat().iter().flat_map(|chat| content::input(chat)));
        all.extend(answered.answer.iter().filter(|_| served.is_some()).flat_map(content::output));
    }
    spans
}

/// The spans of a request that was refused before it was one.
pub fn refused(span: &Span, status: u16, class: &str) -> Vec<proto::Span> {
    let mut own = base(span, span.id, span.parent.unwrap_or(0), SpanKind::Server);
    own.end_time_unix_nano = super::span::unix_ns();
    asked(&mut own, span, status);
    failed(&mut own, class, status >= 500);
    let calls = span.calls().0;
    std::iter::once(own).chain(calls.iter().map(|call| hook(span, call))).collect()
}

fn base(span: &Span, id: u64, parent: u64, kind: SpanKind) -> proto::Span {
    let remote = if span.remote && id == span.id && parent != 0 { REMOTE } else { 0 };
    proto::Span {
        trace_id: span.trace_id.to_be_bytes().to_vec(),
        span_id: id.to_be_bytes().to_vec(),
        trace_state: span.state().to_owned(),
        parent_span_id: if parent == 0 { Vec::new() } else { parent.to_be_bytes().to_vec() },
        flags: 1 | KNOWN | remote,
        kind: kind.into(),
        start_time_unix_nano: span.began_ns,
        ..proto::Span::default()
    }
}

/// It failed. Of a SERVER only what is not the caller's fault is an error.
fn failed(span: &mut proto::Span, class: &str, is_error: bool) {
    span.attributes.push(text("error.type", class));
    if is_error {
        span.status = Some(Status { code: StatusCode::Error.into(), message: String::new() });
    }
}

fn request(span: &Span, exchange: &Exchange, outcome: &Outcome, answered: &Answered, dropped: u32) -> proto::Span {
    let inner = exchange.depth > 0;
    let mut own = base(span, span.id, span.parent.unwrap_or(0), if inner { SpanKind::Internal } else { SpanKind::Server });
    let (head, operation) = (&exchange.head, operation(&exchange.head.format));
    own.end_time_unix_nano = span.after_us(outcome.duration_us);
    if inner {
        own.name = format!("{operation} {}", head.model);
    } else {
        asked(&mut own, span, outcome.status);
    }
    let all = &mut own.attributes;
    all.push(text("gen_ai.operation.name", operation));
    if !head.model.is_empty() {
        all.push(text("gen_ai.request.model", &head.model));
    }
    if head.stream {
        all.push(flag("gen_ai.request.stream", true));
    }
    usage(all, outcome.usage.as_ref());
    if let (true, Some(first)) = (head.stream, outcome.first_byte_us) {
        all.push(number("gen_ai.response.time_to_first_chunk", first as f64 / 1e6));
    }
    all.extend(answered.model.as_ref().map(|model| text("gen_ai.response.model", model)));
    if let Some(served) = &outcome.served_by {
        all.push(text("wasmgate.provider", &served.provider));
    }
    all.push(text("wasmgate.request_id", &exchange.id));
    all.push(text("wasmgate.format", &head.format));
    all.push(text("wasmgate.outcome", ending(outcome)));
    all.push(count("wasmgate.generation", exchange.generation().number));
    all.extend(exchange.why().into_iter().map(|(name, value)| text(&format!("wasmgate.{}", name.replace('-', "_")), value)));
    if dropped > 0 {
        all.push(count("wasmgate.hooks_without_span", dropped.into()));
    }
    if let Some(error) = &outcome.error {
        failed(&mut own, error.class.name(), outcome.status >= 500 || outcome.ending == Ending::Error && outcome.status < 400);
    } else if outcome.ending == Ending::Cancelled {
        failed(&mut own, "cancelled", false);
    }
    own
}

/// What a caller asked for, and the status of the answer.
fn asked(own: &mut proto::Span, span: &Span, status: u16) {
    if let Some(asked) = &span.asked {
        own.name = format!("{} {}", asked.method, asked.route);
        own.attributes.extend([text("http.request.method", asked.method), text("http.route", &asked.route), text("url.path", &asked.path)]);
        own.attributes.extend(asked.agent.as_ref().map(|agent| text("user_agent.original", agent)));
    }
    own.attributes.push(count("http.response.status_code", status.into()));
}

fn usage(all: &mut Vec<KeyValue>, usage: Option<&llm_codec::hub::Usage>) {
    let Some(usage) = usage else { return };
    all.push(count("gen_ai.usage.input_tokens", usage.input_tokens));
    all.push(count("gen_ai.usage.output_tokens", usage.output_tokens));
    let more = [
        ("gen_ai.usage.cache_read.input_tokens", usage.cache_read_tokens),
        ("gen_ai.usage.cache_creation.input_tokens", usage.cache_write_tokens),
        ("gen_ai.usage.reasoning.output_tokens", usage.reasoning_tokens),
    ];
    all.extend(more.into_iter().filter_map(|(name, n)| Some(count(name, n?))));
}

fn attempt(span: &Span, exchange: &Exchange, tried: &Tried, answered: Option<&Answered>) -> proto::Span {
    let mut own = base(span, span.of_try(tried.number), span.id, SpanKind::Client);
    let operation = operation(&exchange.head.format);
    own.name = if tried.target.model.is_empty() { operation.to_owned() } else { format!("{operation} {}", tried.target.model) };
    own.start_time_unix_nano = span.after_us(tried.started_us);
    own.end_time_unix_nano = span.after_us(tried.started_us.saturating_add(tried.duration_us));
    let all = &mut own.attributes;
    all.push(text("gen_ai.operation.name", operation));
    let entry = exchange.generation().providers.find(&tried.target.provider);
    all.push(text("gen_ai.provider.name", entry.map_or("", |e| provider(e.kind, e.config().project.is_some()))));
    if !tried.target.model.is_empty() {
        all.push(text("gen_ai.request.model", &tried.target.model));
    }
    if exchange.head.stream {
        all.push(flag("gen_ai.request.stream", true));
        if let Some(first) = tried.first_event_us {
            all.push(number("gen_ai.response.time_to_first_chunk", first as f64 / 1e6));
        }
    }
    if let Some(address) = entry.and_then(|e| reqwest::Url::parse(&e.provider.address()?).ok()) {
        all.extend(address.host_str().map(|host| text("server.address", host.trim_matches(['[', ']']))));
        all.extend(address.port_or_known_default().map(|port| count("server.port", port.into())));
    }
    usage(all, tried.usage.as_ref());
    if tried.usage.as_ref().is_some_and(|u| u.raw.is_none()) {
        all.push(flag("wasmgate.usage.estimated", true));
    }
    if let Some(answered) = answered {
        all.extend(answered.model.as_ref().map(|model| text("gen_ai.response.model", model)));
        if !answered.finish.is_empty() {
            all.push(texts("gen_ai.response.finish_reasons", answered.finish.iter().map(FinishReason::word)));
        }
    }
    all.push(text("wasmgate.provider", &tried.target.provider));
    all.push(count("wasmgate.attempt", tried.number.into()));
    if !tried.via.is_empty() {
        all.push(texts("wasmgate.via", tried.via.iter().map(String::as_str)));
    }
    all.push(text("wasmgate.part", part(tried.part)));
    if let Some(error) = &tried.error {
        // Who lost a race did nothing wrong.
        failed(&mut own, error.class.name(), tried.part == Part::Failed);
    }
    own
}

fn hook(span: &Span, call: &Call) -> proto::Span {
    // Its number makes it another one than those of tries.
    let mut own = base(span, fastrand::u64(1..), span.id, SpanKind::Internal);
    own.name = format!("{} {}", call.hook.name(), call.extension);
    (own.start_time_unix_nano, own.end_time_unix_nano) = (call.from_ns.max(span.began_ns), call.to_ns.max(span.began_ns));
    own.attributes = vec![
        text("wasmgate.extension", &call.extension),
        text("wasmgate.hook", call.hook.name()),
        count("wasmgate.calls", call.calls.into()),
        number("wasmgate.work_seconds", call.worked.as_secs_f64()),
    ];
    if call.failed > 0 {
        failed(&mut own, "extension", true);
    }
    own
}
