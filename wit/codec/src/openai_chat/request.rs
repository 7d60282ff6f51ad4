//! Requests: `POST /v1/chat/completions`.

use super::message::{self, Care, Place};
use super::{NAME, params, parts, tools};
use crate::hub::{
    ChatRequest, ContentShape, Extra, Message, OtherPart, Part, PartKind, ResultPart, ResultPartKind, Role, ToolResult, extra,
};
use crate::json::{Array, Document, Fields, Object, Path, Value};
use crate::map::{Crossing, Extras};
use crate::openai_params::keep_hint;
use crate::{DecodeError, Encoded, Format, LossKind, size};

// === decode ===

/// Decodes a request.
pub(crate) fn decode(body: &[u8]) -> Result<ChatRequest, DecodeError> {
    let document = Document::parse(body).map_err(|f| DecodeError::new("", format!("not a JSON object: {f}")))?;
    let (mut f, at) = (Fields::of(&document), Path::Root);
    let model = f.need_text(&at, "model")?.into_owned();
    let list = f.need(&at, "messages", "an array of messages")?.array_at(&at.key("messages"))?;
    if list.is_empty() {
        return Err(DecodeError::new("messages", "expected at least one message, found an empty array"));
    }
    let path = at.key("messages");
    // Collecting results would not know how many there are, and copy them as they grow.
    let mut messages = Vec::with_capacity(list.len());
    for (i, message) in list.into_iter().enumerate() {
        messages.push(read_message(message, &path.index(i))?);
    }
    let mut hints = Vec::new();
    let tools = tools::read(&mut f, &mut hints)?;
    let tool_choice = f.take_some("tool_choice").map(|v| tools::read_choice(v, &at.key("tool_choice"))).transpose()?;
    let params = params::read(&mut f, &mut hints)?;
    let stream = keep_hint(&mut f, "stream", "a boolean", Value::bool, |on| !on, &mut hints)?.unwrap_or(false);
    let include_usage =
        f.peek("stream_options").and_then(Value::object).and_then(|mut o| o.take("include_usage")).and_then(Value::bool).unwrap_or(false);
    hints.extend(f.rest());
    Ok(ChatRequest { format: NAME.into(), model, messages, tools, tool_choice, params, stream, include_usage, extras: hints })
}

fn read_message(value: Value<'_>, path: &Path<'_>) -> Result<Message, DecodeError> {
    let mut f = value.object_at(path)?;
    let word = f.need_text(path, "role")?;
    let mut extras = Vec::new();
    let role = match word.as_ref() {
        "system" => Role::System,
        "developer" => Role::Developer,
        "user" => Role::User,
        "assistant" => Role::Assistant,
        "tool" => Role::Tool,
        // The deprecated way to answer a `function_call`; it has a name in place of an id.
        "function" => {
            extras.push(Extra::new("role", "\"function\""));
            Role::Tool
        }
        other => {
            let shown: String = other.chars().take(20).collect();
            return Err(DecodeError::new(
                path.key("role"),
                format!("expected `system`, `developer`, `user`, `assistant` or `tool`, found `{shown}`"),
            ));
        }
    };
    let name = f.optional_text(path, "name")?;
    let (parts, shape) = if role == Role::Tool {
        let tool_call_id = match extras.is_empty() {
            true => f.need_text(path, "tool_call_id")?.into_owned(),
            false => String::new(),
        };
        (vec![read_result(&mut f, path, tool_call_id)?], ContentShape::Parts)
    } else {
        message::read_body(&mut f, path, Care::Strict)?
    };
    extras.extend(f.rest());
    Ok(Message { role, parts, shape, name, extras })
}

fn read_result(f: &mut Fields<'_>, path: &Path<'_>, tool_call_id: String) -> Result<Part, DecodeError> {
    let mut parts = Vec::new();
    let shape = message::read_content(f.take("content"), &path.key("content"), Care::Strict, &mut parts)?;
    let piece = |part: Part| {
        let kind = match part.kind {
            PartKind::Text(text) => ResultPartKind::Text(text),
            PartKind::Image(m) => ResultPartKind::Image(m),
            PartKind::Document(m) => ResultPartKind::Document(m),
            PartKind::Other(o) => ResultPartKind::Other(o.value),
            // Sounds, refusals and thoughts in a result: as text of JSON, by way of the writer.
            kind => {
                ResultPartKind::Other(part_json(&Part { kind, cache_control: part.cache_control.clone(), extras: part.extras.clone() }))
            }
        };
        let extras = if matches!(kind, ResultPartKind::Other(_)) { Vec::new() } else { part.extras };
        ResultPart { kind, cache_control: part.cache_control, extras }
    };
    let content = parts.into_iter().map(piece).collect();
    Ok(Part::new(PartKind::ToolResult(ToolResult { tool_call_id, content, shape, is_error: None })))
}

fn part_json(part: &Part) -> String {
    let mut out = Vec::new();
    let mut list = Array::new(&mut out);
    parts::write(&mut list, part, "", &mut Crossing::new(NAME, Format::OpenaiChat));
    String::from_utf8(out.split_off(1)).unwrap_or_default()
}

// === encode ===

/// Encodes a request.
pub(crate) fn encode(r: &ChatRequest) -> Encoded {
    let mut c = Crossing::new(&r.format, Format::OpenaiChat);
    let mut body = Vec::with_capacity(size::of_request(r));
    let mut o = Object::new(&mut body);
    o.string("model", &r.model);
    let mut list = o.array("messages");
    for (i, m) in r.messages.iter().enumerate() {
        write_message(&mut list, m, &format!("messages[{i}]"), &mut c);
    }
    list.end();
    let extras = c.extras(&r.extras);
    tools::write(&mut o, r, extras, &mut c);
    params::write(&mut o, r, extras, &mut c);
    extras.member(
        &mut o,
        "stream",
        Some(r.stream).filter(|on| *on || extras.get("stream").is_some()),
        |v| v.bool().or(Some(false)),
        |o, on| o.bool("stream", *on),
    );
    params::write_stream_options(&mut o, r, extras);
    extras.rest(&mut o, &["tools", "tool_choice", "stream", "stream_options", "max_completion_tokens", "stop", "response_format"]);
    o.end();
    c.lose_extras("", &r.extras);
    Encoded { body, losses: c.losses }
}

fn write_message(list: &mut Array<'_>, m: &Message, at: &str, c: &mut Crossing) {
    let extras = c.extras(&m.extras);
    c.lose_extras(at, &m.extras);
    // Results first: they answer the calls of the message before.
    let mut media = Vec::new();
    for (i, part) in m.parts.iter().enumerate() {
        if let PartKind::ToolResult(result) = &part.kind {
            write_result(list, m, part, result, &format!("{at}.content[{i}]"), &mut media, c);
        }
    }
    let mut rest: Vec<Part> = media;
    let results = m.parts.iter().any(|p| matches!(p.kind, PartKind::ToolResult(_)));
    if results || m.role == Role::Tool {
        rest.extend(m.parts.iter().filter(|p| !matches!(p.kind, PartKind::ToolResult(_))).cloned());
        if rest.is_empty() {
            return;
        }
    }
    let empty_instruction = matches!(m.role, Role::System | Role::Developer) && m.parts.is_empty();
    // Items that only the provider of another format knows.
    let foreign = !m.parts.is_empty() && m.parts.iter().all(|p| matches!(&p.kind, PartKind::Other(o) if o.format != NAME));
    if !c.same && (empty_instruction || foreign) {
        if foreign {
            c.lose(at, "nothing of it exists in the target format");
        }
        return;
    }
    let (role, place) = match m.role {
        Role::System => ("system", Place::Request { media: false }),
        Role::Developer => ("developer", Place::Request { media: false }),
        Role::User | Role::Tool => ("user", Place::Request { media: true }),
        Role::Assistant => ("assistant", Place::Request { media: false }),
    };
    let parts = if results || m.role == Role::Tool { &rest } else { &m.parts };
    let mut o = list.object();
    o.string("role", role);
    message::write_body(&mut o, parts, m.shape, extras, place, at, c);
    write_name(&mut o, m, extras);
    extras.rest(&mut o, &[message::BODY, &["role", "name"]].concat());
    o.end();
}

fn write_name(o: &mut Object<'_>, m: &Message, extras: Extras<'_>) {
    match &m.name {
        Some(name) => o.string("name", name),
        None => extras.hint(o, "name"),
    }
}

/// Writes a tool's result as a message of its own. Images have no place there: they follow in a user message.
fn write_result(list: &mut Array<'_>, m: &Message, part: &Part, result: &ToolResult, at: &str, media: &mut Vec<Part>, c: &mut Crossing) {
    let legacy = extra(&m.extras, "role") == Some("\"function\"") && c.same;
    let extras = c.extras(&m.extras);
    let mut content = Vec::new();
    for (i, piece) in result.content.iter().enumerate() {
        let kind = match &piece.kind {
            ResultPartKind::Text(text) => PartKind::Text(text.clone()),
            ResultPartKind::Image(image) => PartKind::Image(image.clone()),
            ResultPartKind::Document(document) => PartKind::Document(document.clone()),
            ResultPartKind::Other(value) => {
                let format = c.source.map_or("", Format::as_str).to_owned();
                PartKind::Other(OtherPart { format, kind: "of a tool's result".into(), value: value.clone() })
            }
        };
        let part = Part { kind, cache_control: piece.cache_control.clone(), extras: piece.extras.clone() };
        if !c.same && matches!(part.kind, PartKind::Image(_) | PartKind::Document(_)) {
            c.lose_as(LossKind::Moved, format!("{at}.content[{i}]"), "a tool message holds text only, so a user message after it has this");
            media.push(part);
        } else {
            content.push(part);
        }
    }
    if !c.same {
        c.lose_extras(at, &part.extras);
        if result.is_error == Some(true) {
            c.lose(format!("{at}.is_error"), "OpenAI cannot mark a result as an error");
        }
        if part.cache_control.is_some() {
            c.lose(format!("{at}.cache_control"), "OpenAI caches by itself and takes no breakpoints");
        }
    }
    let mut o = list.object();
    o.string("role", if legacy { "function" } else { "tool" });
    if !legacy {
        o.string("tool_call_id", &result.tool_call_id);
    }
    let shape = if c.same { result.shape } else { ContentShape::Parts };
    message::write_body(&mut o, &content, shape, Extras::new(&[], true), Place::Request { media: false }, at, c);
    write_name(&mut o, m, extras);
    extras.rest(&mut o, &["role", "name", "content"]);
    o.end();
}
