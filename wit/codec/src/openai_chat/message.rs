//! Messages of OpenAI chat completions, in requests and answers.
//!
//! Source: platform.openai.com/docs/api-reference/chat, plus the fields that compatible hosts add for reasoning:
//! `reasoning_content` (DeepSeek, Moonshot, vLLM), `reasoning` and `reasoning_details` (OpenRouter, Groq, Ollama), and Mistral's
//! `thinking` parts.

use super::{NAME, reasoning};
use crate::hub::{ContentShape, MediaSource, Part, PartKind, Thinking, ToolCall, ToolCallKind};
use crate::json::{Fields, Kind, Object, Path, Value};
use crate::map::{Crossing, Extras, bare_text, field, field_note};
use crate::{DecodeError, LossKind};

/// How odd values are met: a request must be right, an answer is taken as it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Care {
    Strict,
    Lenient,
}

/// Fields of a message that [`read_body`] reads and [`write_body`] writes.
pub(super) const BODY: &[&str] = &["content", "refusal", "tool_calls", "reasoning", "reasoning_content", "reasoning_details"];

/// Takes the content, reasoning, refusal and tool calls of a message.
pub(super) fn read_body(f: &mut Fields<'_>, path: &Path<'_>, care: Care) -> Result<(Vec<Part>, ContentShape), DecodeError> {
    let mut parts = reasoning::read(f);
    let shape = read_content(f.take("content"), &path.key("content"), care, &mut parts)?;
    match (f.peek("refusal").map(Value::text), care) {
        (Some(Some(text)), _) => {
            parts.push(Part::new(PartKind::Refusal(text.into_owned())));
            f.take("refusal");
        }
        (Some(None), Care::Strict) => drop(f.optional_text(path, "refusal")?),
        _ => {}
    }
    let path = path.key("tool_calls");
    match f.peek("tool_calls").map(|v| (v, v.elements())) {
        Some((_, Some(calls))) => {
            let before = parts.len();
            for (i, call) in calls.enumerate() {
                match (read_call(call, &path.index(i)), care) {
                    (Ok(part), _) => parts.push(part),
                    (Err(e), Care::Strict) => return Err(e),
                    (Err(_), Care::Lenient) => parts.push(other_call(call)),
                }
            }
            if parts.len() > before {
                f.take("tool_calls");
            }
        }
        Some((v, None)) if !v.is_null() && care == Care::Strict => return Err(v.expected(&path, "an array")),
        _ => {}
    }
    Ok((parts, shape))
}

/// Reads a message's content into parts.
pub(super) fn read_content(
    content: Option<Value<'_>>,
    path: &Path<'_>,
    care: Care,
    parts: &mut Vec<Part>,
) -> Result<ContentShape, DecodeError> {
    let Some(content) = content else { return Ok(ContentShape::Absent) };
    match content.kind() {
        Kind::Null => Ok(ContentShape::Null),
        Kind::String => {
            let text = content.text_at(path)?;
            if !text.is_empty() {
                parts.push(Part::text(text));
            }
            Ok(ContentShape::Text)
        }
        Kind::Array => {
            for (i, item) in content.array_at(path)?.into_iter().enumerate() {
                match (super::parts::read(item, &path.index(i)), care) {
                    (Ok(part), _) => parts.push(part),
                    (Err(e), Care::Strict) => return Err(e),
                    (Err(_), Care::Lenient) => parts.push(super::parts::other(item)),
                }
            }
            Ok(ContentShape::Parts)
        }
        // One part by itself, or anything.
        _ if care == Care::Lenient => {
            parts.push(super::parts::read(content, path).unwrap_or_else(|_| super::parts::other(content)));
            Ok(ContentShape::Parts)
        }
        _ => Err(content.expected(path, "a string, an array of parts or null")),
    }
}

fn other_call(value: Value<'_>) -> Part {
    Part { extras: vec![field("tool_calls")], ..super::parts::other(value) }
}

fn read_call(value: Value<'_>, path: &Path<'_>) -> Result<Part, DecodeError> {
    let mut f = value.object_at(path)?;
    let kind = match f.optional_text(path, "type")?.as_deref() {
        None | Some("function") => ToolCallKind::Function,
        Some("custom") => ToolCallKind::Custom,
        Some(_) => return Ok(other_call(value)),
    };
    let mut extras = Vec::new();
    let id = f.optional_text(path, "id")?.unwrap_or_default();
    let (place, input) = if kind == ToolCallKind::Custom { ("custom", "input") } else { ("function", "arguments") };
    let inner = f.need(path, place, "an object")?;
    let path = path.key(place);
    let mut inner = inner.object_at(&path)?;
    let name = inner.need_text(&path, "name")?.into_owned();
    let arguments = match inner.peek(input) {
        None => String::new(),
        // `null` stays as a hint; an object (some hosts) too, and is read as its text.
        Some(v) => match (v.text(), v.kind()) {
            (Some(text), _) => {
                inner.take(input);
                text.into_owned()
            }
            (None, Kind::Object) => v.raw().to_owned(),
            (None, Kind::Null) => String::new(),
            _ => return Err(v.expected(&path.key(input), "a string")),
        },
    };
    extras.extend(inner.rest_with(if kind == ToolCallKind::Custom { "custom." } else { "function." }));
    extras.extend(f.rest_beside());
    Ok(Part { kind: PartKind::ToolCall(ToolCall { id, name, arguments, kind }), cache_control: None, extras })
}

/// Whether a part is written inside `content`.
fn in_content(part: &Part) -> bool {
    let note = field_note(part);
    match part.kind {
        PartKind::Thinking(_) | PartKind::Refusal(_) => note == Some("content"),
        PartKind::Other(_) => note != Some("tool_calls"),
        PartKind::RedactedThinking(_) | PartKind::ToolCall(_) | PartKind::ToolResult(_) => false,
        PartKind::Text(_) | PartKind::Image(_) | PartKind::Audio(_) | PartKind::Document(_) => true,
    }
}

/// Where a body is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Place {
    /// A message of a request whose content may hold anything (user), or text only.
    Request { media: bool },
    /// The message of an answer: content is one string unless it came as parts.
    Answer,
}

/// Writes content, reasoning, refusal and tool calls. `extras` are those of the message.
pub(super) fn write_body(
    o: &mut Object<'_>,
    parts: &[Part],
    shape: ContentShape,
    extras: Extras<'_>,
    place: Place,
    at: &str,
    c: &mut Crossing,
) {
    write_content(o, parts, shape, place, at, c);
    if !c.same && place != Place::Answer {
        for (i, _) in parts.iter().enumerate().filter(|(_, p)| matches!(&p.kind, PartKind::Thinking(t) if is_sealed(t))) {
            c.lose_as(LossKind::Foreign, format!("{at}.content[{i}]"), "reasoning that only its provider can read");
        }
    }
    reasoning::write(o, parts, extras);
    let mut refusals = parts.iter().filter(|p| !in_content(p)).filter_map(|p| match &p.kind {
        PartKind::Refusal(text) => Some(text.as_str()),
        _ => None,
    });
    match (refusals.next(), extras.get("refusal")) {
        (Some(first), _) => o.string("refusal", &refusals.fold(first.to_owned(), |all, next| all + next)),
        (None, Some(hint)) => o.json("refusal", hint),
        // The official API always says so in an answer, and its clients' types promise it.
        (None, None) if place == Place::Answer && !c.same => o.raw("refusal", "null"),
        (None, None) => {}
    }
    write_calls(o, parts, extras, at, c);
}

/// Whether nothing of the reasoning is told but what its own provider encrypted.
fn is_sealed(thinking: &Thinking) -> bool {
    thinking.text.is_empty() && thinking.signature.as_ref().is_none_or(String::is_empty)
}

fn write_content(o: &mut Object<'_>, parts: &[Part], shape: ContentShape, place: Place, at: &str, c: &mut Crossing) {
    let mut content: Vec<(usize, &Part)> = parts.iter().enumerate().filter(|(_, p)| in_content(p)).collect();
    // The content of an answer is one string, unless the provider itself wrote a list.
    let joined = place == Place::Answer && !(c.same && shape == ContentShape::Parts);
    if !c.same || joined {
        content.retain(|(i, p)| speakable(p, place, &format!("{at}.content[{i}]"), c));
    }
    if content.is_empty() {
        let speaks_otherwise = parts.iter().any(|p| matches!(p.kind, PartKind::ToolCall(_) | PartKind::Refusal(_)));
        match shape {
            ContentShape::Parts if c.same => o.raw("content", "[]"),
            ContentShape::Null if c.same => o.raw("content", "null"),
            ContentShape::Absent if c.same => {}
            ContentShape::Text if c.same => o.string("content", ""),
            _ if joined || speaks_otherwise => o.raw("content", "null"),
            _ => o.string("content", ""),
        }
    } else if joined {
        o.string("content", &content.iter().filter_map(|(_, p)| text_of(p)).collect::<String>());
    } else if let (Some(text), true) = (bare_text(content[0].1), content.len() == 1 && !(c.same && shape == ContentShape::Parts)) {
        o.string("content", text);
    } else {
        let mut list = o.array("content");
        for (i, part) in content {
            super::parts::write(&mut list, part, &format!("{at}.content[{i}]"), c);
        }
        list.end();
    }
}

fn text_of(part: &Part) -> Option<&str> {
    match &part.kind {
        PartKind::Text(text) => Some(text),
        _ => None,
    }
}

/// Whether a part of another format, or of a list that becomes a string, can be written here; a loss when it cannot.
fn speakable(part: &Part, place: Place, at: &str, c: &mut Crossing) -> bool {
    let media_ok = place == Place::Request { media: true };
    match &part.kind {
        PartKind::Text(text) => {
            if part.cache_control.is_some() {
                c.lose(format!("{at}.cache_control"), "OpenAI caches by itself and takes no breakpoints");
            }
            c.lose_extras(at, &part.extras);
            return !text.is_empty();
        }
        PartKind::Image(_) | PartKind::Audio(_) | PartKind::Document(_) if !media_ok => {
            c.lose(at, "only a user message may hold media here")
        }
        PartKind::Image(m) | PartKind::Audio(m) | PartKind::Document(m) => {
            if part.cache_control.is_some() {
                c.lose(format!("{at}.cache_control"), "OpenAI caches by itself and takes no breakpoints");
            }
            c.lose_extras(at, &part.extras);
            match (&m.source, &part.kind) {
                (MediaSource::Inline(_), _) | (MediaSource::Url(_), PartKind::Image(_)) | (MediaSource::Text(_), PartKind::Document(_)) => {
                    return true;
                }
                (MediaSource::FileId(_), _) => c.lose_as(LossKind::Foreign, at, "a file id belongs to the provider that made it"),
                _ => c.lose(at, "no such source of media in the target format"),
            }
        }
        PartKind::Other(o) => c.lose(at, format!("the target format has no part `{}`", o.kind)),
        _ => return true,
    }
    false
}

fn write_calls(o: &mut Object<'_>, parts: &[Part], extras: Extras<'_>, at: &str, c: &mut Crossing) {
    let is_call = |p: &Part| matches!(p.kind, PartKind::ToolCall(_)) || (matches!(p.kind, PartKind::Other(_)) && !in_content(p));
    let written = |p: &Part| match &p.kind {
        PartKind::ToolCall(call) => call.kind != ToolCallKind::Server,
        PartKind::Other(other) => other.format == NAME,
        _ => false,
    };
    for (i, _) in parts.iter().enumerate().filter(|(_, p)| is_call(p) && !written(p)) {
        c.lose_as(LossKind::Foreign, format!("{at}.content[{i}]"), "a call that the provider ran itself");
    }
    let mut calls = parts.iter().enumerate().filter(|(_, p)| is_call(p) && written(p)).peekable();
    if calls.peek().is_none() {
        return extras.hint(o, "tool_calls");
    }
    let mut list = o.array("tool_calls");
    for (i, part) in calls {
        match &part.kind {
            PartKind::ToolCall(call) => write_call(list.object(), call, c.extras(&part.extras)),
            PartKind::Other(other) => crate::json::write_raw(list.element(), &crate::json::ensure_valid(&other.value)),
            _ => {}
        }
        if part.cache_control.is_some() {
            c.lose(format!("{at}.content[{i}].cache_control"), "a tool call takes no breakpoint here");
        }
        c.lose_extras(&format!("{at}.content[{i}]"), &part.extras);
    }
    list.end();
}

fn write_call(mut o: Object<'_>, call: &ToolCall, extras: Extras<'_>) {
    let (kind, input) = if call.kind == ToolCallKind::Custom { ("custom", "input") } else { ("function", "arguments") };
    let nested = extras.nested(if call.kind == ToolCallKind::Custom { "custom." } else { "function." });
    if !call.id.is_empty() || extras.get("id").is_none() {
        o.string("id", &call.id);
    }
    if extras.get("type").is_none() {
        o.string("type", kind);
    }
    let mut inner = o.object(kind);
    inner.string("name", &call.name);
    let as_text = |v: Value<'_>| match v.kind() {
        Kind::Null => Some(String::new()),
        Kind::Object => Some(v.raw().to_owned()),
        _ => None,
    };
    nested.member(&mut inner, input, Some(call.arguments.clone()), as_text, |inner, text| inner.string(input, text));
    nested.rest(&mut inner, &["name", input]);
    inner.end();
    extras.rest_beside(&mut o, &[], &["function.", "custom."]);
    o.end();
}
