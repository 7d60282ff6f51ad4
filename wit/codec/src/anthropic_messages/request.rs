//! Requests: `POST /v1/messages`.

use super::{NAME, blocks, params, tools};
use crate::hub::{ChatRequest, ContentShape, Extra, Message, Params, Part, PartKind, Role, ThinkingMode, ToolCallKind, extra};
use crate::json::{Array, Document, Fields, Kind, Object, Path, Value};
use crate::map::Crossing;
use crate::{DecodeError, EncodeOptions, Encoded, Format, LossKind, size};

// === decode ===

/// Decodes a request.
pub(crate) fn decode(body: &[u8]) -> Result<ChatRequest, DecodeError> {
    let document = Document::parse(body).map_err(|f| DecodeError::new("", format!("not a JSON object: {f}")))?;
    let (mut f, at) = (Fields::of(&document), Path::Root);
    let model = f.need_text(&at, "model")?.into_owned();
    let max_tokens = f.need(&at, "max_tokens", "a whole number, 1 or more")?;
    let max_tokens =
        max_tokens.u64().filter(|n| *n > 0).ok_or_else(|| max_tokens.expected(&at.key("max_tokens"), "a whole number, 1 or more"))?;
    let mut messages = Vec::new();
    if let Some(system) = f.take_some("system") {
        let (parts, shape) = blocks::read_content(system, &at.key("system"))?;
        messages.push(Message { role: Role::System, parts, shape, name: None, extras: Vec::new() });
    }
    let list = f.need(&at, "messages", "an array of messages")?.array_at(&at.key("messages"))?;
    if list.is_empty() {
        return Err(DecodeError::new("messages", "expected at least one message, found an empty array"));
    }
    let path = at.key("messages");
    messages.reserve(list.len());
    for (i, message) in list.into_iter().enumerate() {
        messages.push(read_message(message, &path.index(i))?);
    }
    let mut hints = Vec::new();
    let tools = match f.take_some("tools") {
        Some(list) => {
            let path = at.key("tools");
            let list = list.array_at(&path)?;
            if list.is_empty() {
                hints.push(Extra::new("tools", "[]"));
            }
            list.into_iter().enumerate().map(|(i, tool)| tools::read(tool, &path.index(i))).collect::<Result<_, _>>()?
        }
        None => Vec::new(),
    };
    let (tool_choice, parallel) = match f.peek("tool_choice").filter(|v| !v.is_null()) {
        Some(v) if v.kind() == Kind::Object => tools::read_choice(v),
        Some(v) => return Err(v.expected(&at.key("tool_choice"), "an object")),
        None => (None, None),
    };
    let params = Params { max_tokens: Some(max_tokens), parallel_tool_calls: parallel, ..params::read(&mut f)? };
    let stream = f.peek("stream").filter(|v| !v.is_null()).map(|v| v.bool().ok_or_else(|| v.expected(&at.key("stream"), "a boolean")));
    let stream = stream.transpose()?.unwrap_or(false);
    if stream {
        f.take("stream");
    }
    hints.extend(f.rest());
    // A stream of this format always tells its usage.
    Ok(ChatRequest { format: NAME.into(), model, messages, tools, tool_choice, params, stream, include_usage: stream, extras: hints })
}

fn read_message(value: Value<'_>, path: &Path<'_>) -> Result<Message, DecodeError> {
    let mut f = value.object_at(path)?;
    let word = f.need_text(path, "role")?;
    let content = f.need(path, "content", "a string or an array of blocks")?;
    let (parts, shape) = blocks::read_content(content, &path.key("content"))?;
    let results = !parts.is_empty() && parts.iter().all(|p| matches!(p.kind, PartKind::ToolResult(_)));
    let mut extras = Vec::new();
    let role = match word.as_ref() {
        "user" if results => Role::Tool,
        "user" => Role::User,
        "assistant" => Role::Assistant,
        // Instructions in the middle of a conversation; the hint keeps them there.
        "system" => {
            extras.push(Extra::new("role", "\"system\""));
            Role::System
        }
        other => {
            let shown: String = other.chars().take(20).collect();
            return Err(DecodeError::new(path.key("role"), format!("expected `user` or `assistant`, found `{shown}`")));
        }
    };
    extras.extend(f.rest());
    Ok(Message { role, parts, shape, name: None, extras })
}

// === encode ===

/// Encodes a request.
pub(crate) fn encode(r: &ChatRequest, options: &EncodeOptions) -> Encoded {
    let mut c = Crossing::new(&r.format, Format::AnthropicMessages);
    let thinking = params::plan_thinking(r, &mut c);
    let mut body = Vec::with_capacity(size::of_request(r));
    let mut o = Object::new(&mut body);
    o.string("model", &r.model);
    let budget = if let Some(ThinkingMode::Budget(n)) = thinking { n } else { 0 };
    o.int("max_tokens", r.params.max_tokens.unwrap_or(options.default_max_tokens.saturating_add(budget)));
    write_system(&mut o, r, &mut c);
    write_messages(&mut o, r, &mut c);
    let extras = c.extras(&r.extras);
    tools::write(&mut o, r, extras, &mut c);
    params::write(&mut o, r, thinking, extras, &mut c);
    match r.stream {
        true => o.bool("stream", true),
        false => extras.member(
            &mut o,
            "stream",
            Some(false).filter(|_| extras.get("stream").is_some()),
            |v| v.bool().or(Some(false)),
            |o, _| o.bool("stream", false),
        ),
    }
    extras.rest(
        &mut o,
        &["tools", "tool_choice", "stop_sequences", "metadata", "thinking", "output_config", "output_format", "max_tokens", "system"],
    );
    if extras.get("system") == Some("null") && !o.wrote("system") {
        o.raw("system", "null");
    }
    o.end();
    c.lose_extras("", &r.extras);
    Encoded { body, losses: c.losses }
}

/// Whether a message's instructions go to `system`: all but those that stood among the messages.
fn hoisted(m: &Message, c: &Crossing) -> bool {
    matches!(m.role, Role::System | Role::Developer) && !(c.same && extra(&m.extras, "role").is_some())
}

fn write_system(o: &mut Object<'_>, r: &ChatRequest, c: &mut Crossing) {
    let leading = r.messages.iter().take_while(|m| matches!(m.role, Role::System | Role::Developer)).count();
    let mut parts = Vec::new();
    let mut count = 0;
    let mut shape = ContentShape::Text;
    for (i, m) in r.messages.iter().enumerate() {
        if !hoisted(m, c) {
            continue;
        }
        if i >= leading {
            c.lose_as(LossKind::Moved, format!("messages[{i}].role"), "instructions stand before the conversation");
        }
        lose_message(m, i, c);
        count += 1;
        shape = m.shape;
        for (j, part) in m.parts.iter().enumerate() {
            let at = format!("messages[{i}].content[{j}]");
            if c.same || matches!(part.kind, PartKind::Text(_)) {
                parts.push((at, part));
            } else {
                c.lose(at, "instructions are text");
            }
        }
    }
    if count == 0 {
        return;
    }
    if count > 1 && !parts.is_empty() {
        shape = ContentShape::Parts;
    }
    blocks::write_content(o, "system", &parts, shape, c);
}

fn lose_message(m: &Message, i: usize, c: &mut Crossing) {
    c.lose_extras(&format!("messages[{i}]"), &m.extras);
    if m.name.is_some() {
        c.lose(format!("messages[{i}].name"), "Anthropic's messages have no names");
    }
}

fn write_messages(o: &mut Object<'_>, r: &ChatRequest, c: &mut Crossing) {
    let mut list = o.array("messages");
    let mut rest = r.messages.iter().enumerate().filter(|(_, m)| !hoisted(m, c)).collect::<Vec<_>>().into_iter().peekable();
    while let Some((i, first)) = rest.next() {
        let mut turn = vec![(i, first)];
        // Results of one round of calls stand in one message, and what the user then says may stand with them.
        while let Some(next) = rest.next_if(|(_, next)| {
            !c.same && turn.last().is_some_and(|(_, m)| m.role == Role::Tool) && matches!(next.role, Role::Tool | Role::User)
        }) {
            turn.push(next);
        }
        write_turn(&mut list, &turn, c);
    }
    list.end();
}

fn write_turn(list: &mut Array<'_>, turn: &[(usize, &Message)], c: &mut Crossing) {
    let (i, first) = turn[0];
    let mut parts = Vec::new();
    for (i, m) in turn {
        lose_message(m, *i, c);
        parts.extend(m.parts.iter().enumerate().map(|(j, part)| (format!("messages[{i}].content[{j}]"), part)));
    }
    let foreign_call = |p: &Part| matches!(&p.kind, PartKind::ToolCall(call) if call.kind == ToolCallKind::Server);
    if !c.same {
        parts.retain(|(at, p)| {
            !foreign_call(p) || {
                c.lose_as(LossKind::Foreign, at.clone(), "a call that another provider ran itself");
                false
            }
        });
    }
    let role = match first.role {
        Role::Assistant => "assistant",
        Role::User | Role::Tool => "user",
        Role::System | Role::Developer => "system",
    };
    let any = list.object_if(|mut o| {
        o.string("role", role);
        let any = blocks::write_content(&mut o, "content", &parts, first.shape, c);
        c.extras(&first.extras).rest(&mut o, &[]);
        o.end();
        any
    });
    if !any {
        c.lose(format!("messages[{i}]"), "nothing is left of it, and Anthropic refuses empty messages");
    }
}
