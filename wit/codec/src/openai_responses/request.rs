//! Requests: `POST /v1/responses`.

use super::blocks::{self, Place, is_whole};
use super::parts::{self, Side, expressible, lose_beside};
use super::{NAME, params, tools};
use crate::hub::{
    ChatRequest, ContentShape, Extra, Message, OtherPart, Part, PartKind, ResultPart, ResultPartKind, Role, ToolCallKind, ToolResult, extra,
};
use crate::json::{Array, Document, Fields, Kind, Object, Path, Value, ensure_valid, write_raw};
use crate::map::{Crossing, bare_text};
use crate::{DecodeError, Encoded, Format, size};

/// Note on instructions that stood in `instructions`.
const INSTRUCTIONS: &str = "$instructions";
/// Note on the one message of an input that is a string.
const INPUT: &str = "$input";
/// Note on a request that leaves the model to a stored prompt.
const NO_MODEL: &str = "$no-model";

// === decode ===

/// Decodes a request.
pub(crate) fn decode(body: &[u8]) -> Result<ChatRequest, DecodeError> {
    let document = Document::parse(body).map_err(|f| DecodeError::new("", format!("not a JSON object: {f}")))?;
    let (mut f, at) = (Fields::of(&document), Path::Root);
    // A stored prompt may name the model.
    let stored = f.peek("prompt").is_some_and(|v| !v.is_null()) && f.peek("model").is_none();
    let model = if stored { String::new() } else { f.need_text(&at, "model")?.into_owned() };
    let mut messages = Vec::new();
    if let Some(text) = f.optional_text(&at, "instructions")? {
        let parts = if text.is_empty() { Vec::new() } else { vec![Part::text(text)] };
        messages.push(Message { parts, extras: vec![Extra::new(INSTRUCTIONS, "true")], ..Message::text(Role::System, "") });
    }
    read_input(&mut f, &mut messages)?;
    let mut hints = if stored { vec![Extra::new(NO_MODEL, "true")] } else { Vec::new() };
    let tools = tools::read(&mut f, &mut hints)?;
    let tool_choice = f.take_some("tool_choice").map(|v| tools::read_choice(v, &at.key("tool_choice"))).transpose()?;
    let params = params::read(&mut f, &mut hints)?;
    let stream = f.peek("stream").filter(|v| !v.is_null()).map(|v| v.bool().ok_or_else(|| v.expected(&at.key("stream"), "a boolean")));
    let stream = stream.transpose()?.unwrap_or(false);
    if stream {
        f.take("stream");
    }
    hints.extend(f.rest_beside().into_iter().filter(|e| !e.name.starts_with('$')));
    // A stream of this format always tells its usage.
    Ok(ChatRequest { format: NAME.into(), model, messages, tools, tool_choice, params, stream, include_usage: stream, extras: hints })
}

fn read_input(f: &mut Fields<'_>, messages: &mut Vec<Message>) -> Result<(), DecodeError> {
    let (at, name, what) = (Path::Root, "input", "a string or an array of items");
    let path = at.key(name);
    let elsewhere = ["previous_response_id", "conversation", "prompt"].iter().any(|n| f.peek(n).is_some_and(|v| !v.is_null()));
    let Some(input) = f.peek(name).filter(|v| !v.is_null()) else {
        return if elsewhere { Ok(()) } else { f.need(&at, name, what).map(drop) };
    };
    match input.kind() {
        Kind::String => {
            let message = Message::text(Role::User, input.text_at(&path)?);
            messages.push(Message { extras: vec![Extra::new(INPUT, "true")], ..message });
        }
        Kind::Array => {
            let list = input.array_at(&path)?;
            if list.is_empty() {
                // The empty list stays as a hint.
                let fault = DecodeError::new(path, "expected at least one item, found an empty array");
                return if elsewhere { Ok(()) } else { Err(fault) };
            }
            for (i, item) in list.into_iter().enumerate() {
                read_item(item, &path.index(i), messages)?;
            }
        }
        _ => return Err(input.expected(&path, what)),
    }
    f.take(name);
    Ok(())
}

fn read_item(value: Value<'_>, path: &Path<'_>, messages: &mut Vec<Message>) -> Result<(), DecodeError> {
    let mut f = value.object_at(path)?;
    let kind = f.peek("type").filter(|v| !v.is_null()).map(|v| v.text_at(&path.key("type"))).transpose()?.unwrap_or_default();
    let (role, parts) = match kind.as_ref() {
        "message" | "" => match read_message(f, path)? {
            Some(message) => {
                messages.push(message);
                return Ok(());
            }
            None => (Role::Assistant, blocks::read(value, path, Side::Told)?),
        },
        "function_call_output" => (Role::Tool, vec![read_result(&mut f, path, Vec::new())?]),
        "custom_tool_call_output" => {
            (Role::Tool, vec![read_result(&mut f, path, vec![Extra::new("type", "\"custom_tool_call_output\"")])?])
        }
        kind if kind.ends_with("_output") || kind.ends_with("_response") => (Role::Tool, vec![blocks::whole(value)]),
        _ => (Role::Assistant, blocks::read(value, path, Side::Told)?),
    };
    match messages.last_mut().filter(|last| role == Role::Assistant && last.role == role) {
        // What the model made in a row is one message.
        Some(last) => last.parts.extend(parts),
        None => messages.push(Message { role, parts, shape: ContentShape::Parts, name: None, extras: Vec::new() }),
    }
    Ok(())
}

/// Reads a message that is not the model's.
fn read_message(mut f: Fields<'_>, path: &Path<'_>) -> Result<Option<Message>, DecodeError> {
    let role = match f.need_text(path, "role")?.as_ref() {
        "user" => Role::User,
        "system" => Role::System,
        "developer" => Role::Developer,
        "assistant" => return Ok(None),
        other => {
            let shown: String = other.chars().take(20).collect();
            let known = "expected `user`, `assistant`, `system` or `developer`";
            return Err(DecodeError::new(path.key("role"), format!("{known}, found `{shown}`")));
        }
    };
    let content = f.need(path, "content", "a string or an array of parts")?;
    let path = path.key("content");
    let (parts, shape) = match content.kind() {
        Kind::String => {
            let text = content.text_at(&path)?;
            (if text.is_empty() { Vec::new() } else { vec![Part::text(text)] }, ContentShape::Text)
        }
        Kind::Array => {
            let list = content.array_at(&path)?.into_iter().enumerate();
            let parts = list.map(|(i, part)| parts::read(part, &path.index(i), Side::Input)).collect::<Result<_, _>>()?;
            (parts, ContentShape::Parts)
        }
        _ => return Err(content.expected(&path, "a string or an array of parts")),
    };
    Ok(Some(Message { role, parts, shape, name: None, extras: parts::rest(f) }))
}

fn read_result(f: &mut Fields<'_>, path: &Path<'_>, mut extras: Vec<Extra>) -> Result<Part, DecodeError> {
    f.take("type");
    let tool_call_id = f.need_text(path, "call_id")?.into_owned();
    let output = f.need(path, "output", "a string or an array of parts")?;
    let path = path.key("output");
    let (content, shape) = match output.kind() {
        Kind::String => {
            let text = output.text_at(&path)?.into_owned();
            (if text.is_empty() { Vec::new() } else { vec![ResultPart::new(ResultPartKind::Text(text))] }, ContentShape::Text)
        }
        Kind::Array => {
            let list = output.array_at(&path)?.into_iter().enumerate();
            (list.map(|(i, piece)| read_piece(piece, &path.index(i))).collect::<Result<_, _>>()?, ContentShape::Parts)
        }
        _ => return Err(output.expected(&path, "a string or an array of parts")),
    };
    extras.extend(f.clone().rest());
    let result = ToolResult { tool_call_id, content, shape, is_error: None };
    Ok(Part { kind: PartKind::ToolResult(result), cache_control: None, extras })
}

fn read_piece(value: Value<'_>, path: &Path<'_>) -> Result<ResultPart, DecodeError> {
    let part = parts::read(value, path, Side::Input)?;
    let kind = match part.kind {
        PartKind::Text(text) => ResultPartKind::Text(text),
        PartKind::Image(m) => ResultPartKind::Image(m),
        PartKind::Document(m) => ResultPartKind::Document(m),
        _ => return Ok(ResultPart::new(ResultPartKind::Other(value.raw().into()))),
    };
    Ok(ResultPart { kind, cache_control: None, extras: part.extras })
}

/// What the request builds on that only the provider has that keeps it: the field, and why no other provider can answer.
pub(crate) fn state(r: &ChatRequest) -> Option<(&'static str, &'static str)> {
    let told = |name: &str| extra(&r.extras, name).filter(|v| *v != "null");
    for name in ["previous_response_id", "conversation", "prompt"] {
        if told(name).is_some() {
            return Some((name, "it names what only a provider that speaks OpenAI's responses keeps; this request goes to another one"));
        }
    }
    for name in ["store", "background"] {
        if told(name) == Some("true") {
            return Some((name, "only a provider that speaks OpenAI's responses keeps answers; this request goes to another one"));
        }
    }
    let refers = |p: &Part| matches!(&p.kind, PartKind::Other(o) if o.format == NAME && o.kind == "item_reference");
    let any = r.messages.iter().flat_map(|m| &m.parts).any(refers);
    any.then_some((
        "input",
        "an `item_reference` names what only a provider that speaks OpenAI's responses keeps; this request goes to another one",
    ))
}

// === encode ===

/// Encodes a request.
pub(crate) fn encode(r: &ChatRequest) -> Encoded {
    let mut c = Crossing::new(&r.format, Format::OpenaiResponses);
    let mut body = Vec::with_capacity(size::of_request(r));
    let mut o = Object::new(&mut body);
    let extras = c.extras(&r.extras);
    if !(r.model.is_empty() && extras.get(NO_MODEL).is_some()) {
        o.string("model", &r.model);
    }
    let rest = write_instructions(&mut o, &r.messages, &mut c);
    write_input(&mut o, r, rest, &mut c);
    extras.hint(&mut o, "input");
    tools::write(&mut o, r, extras, &mut c);
    params::write(&mut o, r, extras, &mut c);
    if r.stream {
        o.bool("stream", true);
    } else if extras.get("stream").is_some_and(|v| v != "true") {
        extras.hint(&mut o, "stream");
    }
    if !c.same {
        // No other format keeps answers unless it is told to.
        o.bool("store", false);
    }
    extras.rest_beside(&mut o, &["tools", "tool_choice", "stream"], &["text.", "reasoning."]);
    o.end();
    c.lose_extras("", &r.extras);
    Encoded { body, losses: c.losses }
}

/// Writes `instructions`; how many messages they were.
fn write_instructions(o: &mut Object<'_>, messages: &[Message], c: &mut Crossing) -> usize {
    let Some(first) = messages.first().filter(|m| matches!(m.role, Role::System | Role::Developer)) else { return 0 };
    let text = match &first.parts[..] {
        [] if c.same => Some(""),
        [part] => bare_text(part).filter(|t| c.same || !t.is_empty()),
        _ => None,
    };
    match text.filter(|_| !c.same || extra(&first.extras, INSTRUCTIONS).is_some()) {
        Some(text) => {
            lose_message(first, 0, c);
            o.string("instructions", text);
            1
        }
        None => 0,
    }
}

fn lose_message(m: &Message, i: usize, c: &mut Crossing) {
    c.lose_extras(&format!("messages[{i}]"), &m.extras);
    if m.name.is_some() {
        c.lose(format!("messages[{i}].name"), "OpenAI's responses have no names");
    }
}

fn write_input(o: &mut Object<'_>, r: &ChatRequest, from: usize, c: &mut Crossing) {
    let messages = &r.messages[from..];
    if let [only] = messages
        && let Some(text) = whole_input(only, c)
    {
        return o.string("input", text);
    }
    if messages.is_empty() && c.same {
        return;
    }
    let custom: Vec<&str> = messages.iter().flat_map(|m| &m.parts).filter_map(custom_call).collect();
    let mut list = o.array("input");
    for (i, m) in r.messages.iter().enumerate().skip(from) {
        lose_message(m, i, c);
        write_message(&mut list, m, i, &custom, c);
    }
    list.end();
}

fn whole_input<'m>(m: &'m Message, c: &Crossing) -> Option<&'m str> {
    extra(&m.extras, INPUT).filter(|_| c.same && m.role == Role::User)?;
    if let [part] = &m.parts[..] { bare_text(part) } else { None }
}

fn custom_call(part: &Part) -> Option<&str> {
    match &part.kind {
        PartKind::ToolCall(call) if call.kind == ToolCallKind::Custom => Some(&call.id),
        _ => None,
    }
}

fn write_message(list: &mut Array<'_>, m: &Message, i: usize, custom: &[&str], c: &mut Crossing) {
    let placed = m.parts.iter().enumerate().map(|(j, part)| (format!("messages[{i}].content[{j}]"), part));
    if m.role == Role::Assistant {
        return blocks::write(list, &placed.collect::<Vec<_>>(), Place::Request, c);
    }
    // Results first: they answer the calls of the message before.
    let mut rest = Vec::new();
    for (at, part) in placed {
        match &part.kind {
            PartKind::ToolResult(result) => write_result(list, part, result, &at, custom, c),
            PartKind::Other(other) if is_whole(part) && other.format == NAME => write_raw(list.element(), &ensure_valid(&other.value)),
            _ if expressible(part, &at, Side::Input, c) => rest.push(part),
            _ => {}
        }
    }
    if rest.is_empty() && (!c.same || !m.parts.is_empty() || m.role == Role::Tool) {
        return;
    }
    let mut o = list.object();
    let extras = c.extras(&m.extras);
    extras.hint(&mut o, "type");
    let role = match m.role {
        Role::System => "system",
        Role::Developer => "developer",
        Role::User | Role::Tool | Role::Assistant => "user",
    };
    o.string("role", role);
    match &rest[..] {
        [] if m.shape != ContentShape::Parts => o.string("content", ""),
        [part] if bare_text(part).is_some() && !(c.same && m.shape == ContentShape::Parts) => {
            o.string("content", bare_text(part).unwrap_or_default());
        }
        rest => {
            let mut list = o.array("content");
            rest.iter().for_each(|part| parts::write(&mut list, part, Side::Input, c));
            list.end();
        }
    }
    extras.rest(&mut o, &[]);
    o.end();
}

fn write_result(list: &mut Array<'_>, part: &Part, result: &ToolResult, at: &str, custom: &[&str], c: &mut Crossing) {
    lose_beside(part, at, c);
    if result.is_error == Some(true) {
        c.lose(format!("{at}.is_error"), "OpenAI cannot mark a result as an error");
    }
    let extras = c.extras(&part.extras);
    let mut o = list.object();
    match extras.get("type") {
        Some(hint) => o.json("type", hint),
        None if custom.contains(&result.tool_call_id.as_str()) && !c.same => o.string("type", "custom_tool_call_output"),
        None => o.string("type", "function_call_output"),
    }
    o.string("call_id", &result.tool_call_id);
    let bare = match &result.content[..] {
        [] => Some(""),
        [ResultPart { kind: ResultPartKind::Text(text), extras, .. }] if extras.is_empty() => Some(text.as_str()),
        _ => None,
    };
    match bare.filter(|_| !(c.same && result.shape == ContentShape::Parts)) {
        Some(text) => o.string("output", text),
        None => {
            let mut list = o.array("output");
            for (i, piece) in result.content.iter().enumerate() {
                let part = as_part(piece, c);
                if expressible(&part, &format!("{at}.content[{i}]"), Side::Input, c) {
                    parts::write(&mut list, &part, Side::Input, c);
                }
            }
            list.end();
        }
    }
    extras.rest(&mut o, &[]);
    o.end();
}

fn as_part(piece: &ResultPart, c: &Crossing) -> Part {
    let kind = match &piece.kind {
        ResultPartKind::Text(text) => PartKind::Text(text.clone()),
        ResultPartKind::Image(m) => PartKind::Image(m.clone()),
        ResultPartKind::Document(m) => PartKind::Document(m.clone()),
        ResultPartKind::Other(value) => {
            let format = c.source.map_or("", Format::as_str).to_owned();
            PartKind::Other(OtherPart { format, kind: "of a tool's result".into(), value: value.clone() })
        }
    };
    Part { kind, cache_control: piece.cache_control.clone(), extras: piece.extras.clone() }
}
