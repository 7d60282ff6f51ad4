//! Complete answers: the `response` object.

use super::blocks::{self, Place};
use super::error::{in_response, write_failed};
use super::parts::{self, Side};
use super::{NAME, usage};
use crate::hub::{ChatAnswer, ChatError, Choice, ContentShape, ErrorClass, Extra, FinishReason, Part, PartKind, ToolCallKind};
use crate::json::{Array, Document, Fields, Object, Path, Value};
use crate::map::{Crossing, Extras};
use crate::{Encoded, Format, LossKind, StreamOptions, size};

// === read ===

/// Decodes an answer; see [`Format::decode_answer`].
pub(crate) fn decode(body: &[u8]) -> Result<ChatAnswer, ChatError> {
    let protocol = |message: String| ChatError::new(ErrorClass::Protocol, message);
    let document = Document::parse(body).map_err(|fault| protocol(format!("the provider's answer is not JSON: {fault}")))?;
    if let Some(e) = in_response(&document) {
        return Err(e);
    }
    let mut f = Fields::of(&document);
    let Some(items) = f.lenient("output", |v| Some(v.elements()?.collect::<Vec<_>>())) else {
        return Err(protocol("the provider's answer has no `output`".into()));
    };
    let parts: Vec<Part> = items.into_iter().flat_map(read_item).collect();
    let finish = read_finish(&f, parts.iter().any(asks));
    let head = Head::take(&mut f);
    Ok(ChatAnswer {
        format: NAME.into(),
        id: head.id,
        model: head.model,
        created: head.created,
        usage: f.lenient("usage", usage::read),
        extras: f.rest(),
        choices: vec![Choice { index: 0, parts, shape: ContentShape::Parts, finish, extras: Vec::new() }],
    })
}

/// Reads an item of an answer; an odd one is kept whole.
pub(super) fn read_item(item: Value<'_>) -> Vec<Part> {
    blocks::read(item, &Path::Root, Side::Output).unwrap_or_else(|_| vec![blocks::whole(item)])
}

/// Members of a `response` object that the hub has, at its beginning and at its end.
#[derive(Debug)]
pub(super) struct Head {
    pub id: String,
    pub model: String,
    pub created: Option<u64>,
}

impl Head {
    pub fn take(f: &mut Fields<'_>) -> Self {
        // Wrong constants stay as hints.
        f.lenient("object", |v| (v.text()? == "response").then_some(()));
        Self {
            id: f.lenient_text("id").unwrap_or_default(),
            model: f.lenient_text("model").unwrap_or_default(),
            created: f.lenient("created_at", |v| v.raw().parse().ok()),
        }
    }
}

/// Why the answer ended, as its `status` and `incomplete_details` tell, which stay. `calls`: it asks for tools.
pub(crate) fn read_finish(f: &Fields<'_>, calls: bool) -> Option<FinishReason> {
    let status = f.peek("status")?.text()?;
    let detail = f.peek("incomplete_details").and_then(Value::object).and_then(|mut d| d.take("reason")).and_then(Value::text);
    Some(match (status.as_ref(), detail.as_deref()) {
        ("completed", _) if calls => FinishReason::ToolCalls,
        ("completed", _) => FinishReason::Stop,
        ("incomplete", Some("max_output_tokens" | "max_tokens")) => FinishReason::Length,
        ("incomplete", Some("content_filter")) => FinishReason::ContentFilter,
        ("incomplete", Some(reason)) => FinishReason::Other(reason.into()),
        (status, _) => FinishReason::Other(status.into()),
    })
}

/// Whether a part asks the caller for a tool.
pub(super) fn asks(part: &Part) -> bool {
    matches!(&part.kind, PartKind::ToolCall(call) if call.kind != ToolCallKind::Server)
}

// === write ===

/// Encodes an answer; see [`Format::encode_answer`].
pub(crate) fn encode(a: &ChatAnswer, options: &StreamOptions) -> Encoded {
    let mut c = Crossing::of_answer(&a.format, Format::OpenaiResponses);
    let mut body = Vec::with_capacity(size::of_answer(a));
    write(Object::new(&mut body), a, options, &mut c);
    c.lose_extras("", &a.extras);
    for choice in a.choices.iter().take(1) {
        c.lose_extras("choices[0]", &choice.extras);
    }
    for choice in a.choices.iter().skip(1) {
        c.lose(format!("choices[{}]", choice.index), "OpenAI's responses have no alternatives");
    }
    Encoded { body, losses: c.losses }
}

/// The answer's own value, or the one that the caller has for an upstream that gave none.
pub(super) fn or<'a>(own: &'a str, fallback: &'a str) -> &'a str {
    if own.is_empty() { fallback } else { own }
}

/// Writes the complete `response` object.
pub(super) fn write(mut o: Object<'_>, a: &ChatAnswer, options: &StreamOptions, c: &mut Crossing) {
    let extras = c.extras(&a.extras);
    let id = or(&a.id, &options.id);
    write_head(&mut o, id, or(&a.model, &options.model), a.created, options.created, extras);
    let first = a.choices.first();
    let parts: &[Part] = first.map_or(&[], |choice| &choice.parts);
    write_finish(&mut o, first.and_then(|choice| choice.finish.as_ref()), parts.iter().any(asks), extras, c);
    let mut list = o.array("output");
    let placed: Vec<_> = parts.iter().enumerate().map(|(i, part)| (format!("choices[0].content[{i}]"), part)).collect();
    blocks::write(&mut list, &placed, Place::Answer { id }, c);
    list.end();
    match &a.usage {
        Some(usage) => usage::write(&mut o, usage, c.same),
        None => extras.hint(&mut o, "usage"),
    }
    finish_object(o, extras, c.same);
}

/// Writes the `response` object of a stream's beginning, or of an answer that failed.
pub(super) fn write_unfinished(mut o: Object<'_>, head: &Head, status: &str, error: Option<&ChatError>, extras: Extras<'_>, same: bool) {
    write_head(&mut o, &head.id, &head.model, head.created, 0, extras);
    o.string("status", status);
    match error {
        Some(e) => write_failed(&mut o, e),
        None => o.raw("error", "null"),
    }
    o.raw("incomplete_details", "null");
    o.raw("output", "[]");
    o.raw("usage", "null");
    finish_object(o, extras, same);
}

fn write_head(o: &mut Object<'_>, id: &str, model: &str, created: Option<u64>, now: u64, extras: Extras<'_>) {
    o.string("id", id);
    match extras.get("object") {
        Some(hint) => o.json("object", hint),
        None => o.string("object", "response"),
    }
    match extras.get("created_at").filter(|_| created.is_none()) {
        Some(hint) => o.json("created_at", hint),
        None => o.int("created_at", created.unwrap_or(now)),
    }
    o.string("model", model);
}

/// What clients' types promise of a `response`, most of it what a request says. The gateway keeps no answers.
const PROMISED: [(&str, &str); 14] = [
    ("error", "null"),
    ("incomplete_details", "null"),
    ("instructions", "null"),
    ("max_output_tokens", "null"),
    ("metadata", "{}"),
    ("parallel_tool_calls", "true"),
    ("previous_response_id", "null"),
    ("store", "false"),
    ("temperature", "null"),
    ("text", r#"{"format":{"type":"text"}}"#),
    ("tool_choice", "\"auto\""),
    ("tools", "[]"),
    ("top_p", "null"),
    ("truncation", "\"disabled\""),
];

fn finish_object(mut o: Object<'_>, extras: Extras<'_>, same: bool) {
    extras.rest(&mut o, &[]);
    for (name, value) in PROMISED.iter().filter(|_| !same) {
        if !o.wrote(name) {
            o.raw(name, value);
        }
    }
    o.end();
}

/// Writes `status` and `incomplete_details`: as they came when they still say it.
fn write_finish(o: &mut Object<'_>, finish: Option<&FinishReason>, calls: bool, extras: Extras<'_>, c: &mut Crossing) {
    let mut json = Vec::new();
    let mut told = Object::new(&mut json);
    for name in ["status", "incomplete_details"] {
        extras.hint(&mut told, name);
    }
    told.end();
    let hints = Document::parse(&json).ok();
    if let Some(hints) = hints.map(|d| Fields::of(&d)).filter(|f| c.same && read_finish(f, calls).as_ref() == finish) {
        hints.untaken().for_each(|(name, value)| o.raw(&name, value.raw()));
        return;
    }
    let (status, detail) = match finish {
        None | Some(FinishReason::Stop | FinishReason::StopSequence(_) | FinishReason::ToolCalls) => ("completed", None),
        Some(FinishReason::Length) => ("incomplete", Some("max_output_tokens")),
        Some(FinishReason::ContentFilter | FinishReason::Refusal) => ("incomplete", Some("content_filter")),
        Some(FinishReason::Other(word)) if word == "model_context_window_exceeded" => ("incomplete", Some("max_output_tokens")),
        Some(FinishReason::Other(word)) if c.same && is_status(word) => (word.as_str(), None),
        Some(FinishReason::Other(word)) if c.same => ("incomplete", Some(word.as_str())),
        Some(FinishReason::Pause | FinishReason::Other(_)) => {
            c.lose_as(LossKind::Adjusted, "choices[0].finish", "no such reason in the target format, which has `completed`");
            ("completed", None)
        }
    };
    o.string("status", status);
    match detail {
        Some(reason) => {
            let mut details = o.object("incomplete_details");
            details.string("reason", reason);
            details.end();
        }
        None => o.raw("incomplete_details", "null"),
    }
}

fn is_status(word: &str) -> bool {
    matches!(word, "cancelled" | "queued" | "in_progress" | "incomplete" | "failed")
}

/// The event that ends a stream with this `response` object.
pub(super) fn last_event(response: &[u8]) -> &'static str {
    let incomplete = Document::parse(response).is_ok_and(|d| d.string("status").is_some_and(|s| s == "incomplete"));
    if incomplete { "response.incomplete" } else { "response.completed" }
}

/// Extras of a stream's beginning that tell how far the answer is, which its end tells anew.
pub(super) fn is_passing(e: &Extra) -> bool {
    matches!(e.name.as_str(), "status" | "incomplete_details" | "error" | "output" | "usage")
}

/// Writes a content part of an answer alone.
pub(super) fn write_part(part: &Part, c: &Crossing) -> Vec<u8> {
    let mut json = Vec::new();
    let mut list = Array::new(&mut json);
    parts::write(&mut list, part, Side::Output, c);
    list.end();
    json[1..json.len() - 1].to_vec()
}
