//! Requests: `POST /v1/messages`.

use super::{NAME, blocks, tools};
use crate::hub::{
    ChatRequest, ContentShape, Extra, Message, Params, Part, PartKind, ResponseFormat, Role, ThinkingMode, ToolCallKind, ToolChoice, extra,
};
use crate::json::{Array, Document, Fields, Kind, Object, Path, Value};
use crate::map::{Crossing, Extras, effort_budget};
use crate::{DecodeError, EncodeOptions, Encoded, Format};

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
    let params = Params { max_tokens: Some(max_tokens), parallel_tool_calls: parallel, ..read_params(&mut f)? };
    let stream = f.peek("stream").filter(|v| !v.is_null()).map(|v| v.bool().ok_or_else(|| v.expected(&at.key("stream"), "a boolean")));
    let stream = stream.transpose()?.unwrap_or(false);
    if stream {
        f.take("stream");
    }
    hints.extend(f.rest());
    // A stream of this format always tells its usage.
    Ok(ChatRequest { format: NAME.into(), model, messages, tools, tool_choice, params, stream, include_usage: stream, extras: hints })
}

/// Reads the parameters. Objects that say more than the hub models stay as hints.
fn read_params(f: &mut Fields<'_>) -> Result<Params, DecodeError> {
    let at = Path::Root;
    let stops = |v: Value<'_>| v.elements()?.map(|s| Some(s.text()?.into_owned())).collect::<Option<Vec<String>>>();
    let empty = f.peek("stop_sequences").and_then(stops).is_some_and(|s| s.is_empty());
    let stop = if empty { Vec::new() } else { f.optional(&at, "stop_sequences", "an array of strings", stops)?.unwrap_or_default() };
    for name in ["metadata", "thinking", "output_config", "output_format"] {
        if let Some(v) = f.peek(name).filter(|v| !matches!(v.kind(), Kind::Object | Kind::Null)) {
            return Err(v.expected(&at.key(name), "an object"));
        }
    }
    let (reasoning_effort, format) = f.peek("output_config").map(read_output).unwrap_or_default();
    Ok(Params {
        temperature: f.optional_f64(&at, "temperature")?,
        top_p: f.optional_f64(&at, "top_p")?,
        top_k: f.optional_u64(&at, "top_k")?,
        stop,
        reasoning_effort,
        thinking: f.peek("thinking").and_then(read_thinking),
        response_format: format.or_else(|| f.peek("output_format").and_then(read_format)),
        user: f.peek("metadata").and_then(read_user),
        ..Params::default()
    })
}

fn read_user(metadata: Value<'_>) -> Option<String> {
    Some(metadata.object()?.take("user_id")?.text()?.into_owned())
}

fn read_thinking(thinking: Value<'_>) -> Option<ThinkingMode> {
    let mut f = thinking.object()?;
    match f.take("type")?.text()?.as_ref() {
        "enabled" => Some(ThinkingMode::Budget(f.take("budget_tokens")?.u64()?)),
        "disabled" => Some(ThinkingMode::Disabled),
        "adaptive" => Some(ThinkingMode::Adaptive),
        _ => None,
    }
}

type Output = (Option<String>, Option<ResponseFormat>);

fn read_output(config: Value<'_>) -> Output {
    let Some(mut f) = config.object() else { return (None, None) };
    (f.take("effort").and_then(Value::text).map(std::borrow::Cow::into_owned), f.take("format").and_then(read_format))
}

/// The schema as OpenAI writes it, which wants a name.
fn read_format(format: Value<'_>) -> Option<ResponseFormat> {
    let mut f = format.object()?;
    let schema = f.take("schema").filter(|v| v.kind() == Kind::Object)?;
    let json = format!(r#"{{"name":"response","schema":{}}}"#, schema.raw());
    (f.take("type")?.text()? == "json_schema").then_some(ResponseFormat::JsonSchema(json))
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
    let thinking = plan_thinking(r, &mut c);
    let mut body = Vec::with_capacity(1024);
    let mut o = Object::new(&mut body);
    o.string("model", &r.model);
    let budget = if let Some(ThinkingMode::Budget(n)) = thinking { n } else { 0 };
    o.int("max_tokens", r.params.max_tokens.unwrap_or(options.default_max_tokens.saturating_add(budget)));
    write_system(&mut o, r, &mut c);
    write_messages(&mut o, r, &mut c);
    let extras = c.extras(&r.extras);
    tools::write(&mut o, r, extras, &mut c);
    write_params(&mut o, r, thinking, extras, &mut c);
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
        &[],
    );
    if extras.get("system") == Some("null") && !o.wrote("system") {
        o.raw("system", "null");
    }
    o.end();
    c.lose_extras("", &r.extras);
    Encoded { body, losses: c.losses }
}

/// How much to reason. Words from another format become budgets; the API's rules about what goes with reasoning are kept, because a
/// client of another format cannot know them.
fn plan_thinking(r: &ChatRequest, c: &mut Crossing) -> Option<ThinkingMode> {
    if c.same || r.params.thinking.is_some() {
        return r.params.thinking.clone();
    }
    let effort = r.params.reasoning_effort.as_deref().filter(|e| *e != "none")?;
    let Some(mut budget) = effort_budget(effort) else {
        c.lose("reasoning_effort", format!("unknown effort `{effort}`; dropped"));
        return None;
    };
    if let Some(max) = r.params.max_tokens {
        // The budget is part of the answer's tokens and at least 1,024.
        budget = budget.min(max.saturating_sub(1));
        if budget < 1024 {
            c.lose("reasoning_effort", "Anthropic reasons with 1,024 tokens or more, and max_tokens leaves no room; dropped");
            return None;
        }
    }
    if matches!(r.tool_choice, Some(ToolChoice::Required | ToolChoice::Function(_))) {
        c.lose("reasoning_effort", "Anthropic does not reason when a tool is forced; dropped");
        return None;
    }
    let last =
        r.messages.iter().rev().find(|m| m.role == Role::Assistant).filter(|_| r.messages.last().is_some_and(|m| m.role == Role::Tool));
    let signed = |p: &Part| {
        matches!(&p.kind, PartKind::Thinking(t) if t.signature.as_ref().is_some_and(|s| !s.is_empty()))
            || matches!(p.kind, PartKind::RedactedThinking(_))
    };
    if last.is_some_and(|m| !m.parts.iter().any(signed)) {
        c.lose("reasoning_effort", "the turn's tool calls come without the signed reasoning that Anthropic wants to see again; dropped");
        return None;
    }
    Some(ThinkingMode::Budget(budget))
}

fn write_params(o: &mut Object<'_>, r: &ChatRequest, thinking: Option<ThinkingMode>, extras: Extras<'_>, c: &mut Crossing) {
    let p = &r.params;
    let reasons = !c.same && matches!(thinking, Some(ThinkingMode::Budget(_) | ThinkingMode::Adaptive));
    let lost = |c: &mut Crossing, name: &str| c.lose(name, "Anthropic does not take it together with reasoning; dropped");
    match p.temperature {
        Some(t) if reasons && t != 1.0 => lost(c, "temperature"),
        Some(t) if !c.same && t > 1.0 => {
            c.lose("temperature", format!("Anthropic takes up to 1; {t} became 1"));
            o.f64("temperature", 1.0);
        }
        Some(t) => o.f64("temperature", t),
        None => {}
    }
    match p.top_p {
        Some(t) if reasons && t < 0.95 => lost(c, "top_p"),
        Some(t) => o.f64("top_p", t),
        None => {}
    }
    match p.top_k {
        Some(_) if reasons => lost(c, "top_k"),
        Some(k) => o.int("top_k", k),
        None => {}
    }
    let stops =
        |v: Value<'_>| v.elements()?.map(|s| Some(s.text()?.into_owned())).collect::<Option<Vec<String>>>().filter(|s| !s.is_empty());
    extras.member(o, "stop_sequences", Some(p.stop.clone()).filter(|s| !s.is_empty()), stops, |o, stop| {
        let mut list = o.array("stop_sequences");
        stop.iter().for_each(|s| list.string(s));
        list.end();
    });
    extras.member(o, "metadata", p.user.clone(), read_user, |o, user| {
        let mut metadata = o.object("metadata");
        metadata.string("user_id", user);
        metadata.end();
    });
    extras.member(o, "thinking", thinking, read_thinking, |o, mode| {
        let mut t = o.object("thinking");
        match mode {
            ThinkingMode::Disabled => t.string("type", "disabled"),
            ThinkingMode::Adaptive => t.string("type", "adaptive"),
            ThinkingMode::Budget(budget) => {
                t.string("type", "enabled");
                t.int("budget_tokens", *budget);
            }
        }
        t.end();
    });
    write_output(o, r, extras, c);
    if !c.same {
        lose_params(p, c);
    }
}

fn lose_params(p: &Params, c: &mut Crossing) {
    let set = [
        ("presence_penalty", p.presence_penalty.is_some_and(|v| v != 0.0)),
        ("frequency_penalty", p.frequency_penalty.is_some_and(|v| v != 0.0)),
        ("seed", p.seed.is_some()),
        ("n", p.n.is_some_and(|n| n > 1)),
    ];
    for (name, _) in set.iter().filter(|(_, set)| *set) {
        c.lose(*name, "Anthropic has no such parameter; dropped");
    }
}

/// Writes `output_config` (and the older `output_format`): effort and schema.
fn write_output(o: &mut Object<'_>, r: &ChatRequest, extras: Extras<'_>, c: &mut Crossing) {
    let config = extras.get("output_config").and_then(Value::parse);
    let older = extras.get("output_format").and_then(Value::parse);
    let (effort, format) = config.map(read_output).unwrap_or_default();
    let told = (effort, format.or_else(|| older.and_then(read_format)));
    // Words for effort from another format became a budget of reasoning.
    let effort = r.params.reasoning_effort.clone().filter(|_| c.same);
    let schema = match &r.params.response_format {
        Some(ResponseFormat::JsonSchema(json)) => {
            let schema = Value::parse(json).and_then(Value::object).and_then(|mut f| f.take("schema")).filter(|v| v.kind() == Kind::Object);
            if schema.is_none() {
                c.lose("response_format", "no schema to send; dropped");
            }
            schema
        }
        Some(ResponseFormat::JsonObject) => {
            c.lose("response_format", "Anthropic knows JSON by schema only; dropped");
            None
        }
        Some(ResponseFormat::Text) | None => None,
    };
    if (&effort, &r.params.response_format) == (&told.0, &told.1) {
        for (name, value) in [("output_config", config), ("output_format", older)] {
            if let Some(value) = value {
                o.raw(name, value.raw());
            }
        }
        return;
    }
    let rest = config.and_then(Value::object).map(|mut f| {
        f.take("effort");
        f.take("format");
        f.rest()
    });
    let rest = rest.unwrap_or_default();
    if effort.is_none() && schema.is_none() && rest.is_empty() {
        return;
    }
    let mut out = o.object("output_config");
    if let Some(effort) = effort {
        out.string("effort", &effort);
    }
    if let Some(schema) = schema {
        let mut format = out.object("format");
        format.string("type", "json_schema");
        format.raw("schema", schema.raw());
        format.end();
    }
    rest.iter().for_each(|e| out.json(&e.name, &e.value));
    out.end();
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
            c.lose(format!("messages[{i}].role"), "instructions stand before the conversation; moved there");
        }
        lose_message(m, i, c);
        count += 1;
        shape = m.shape;
        for (j, part) in m.parts.iter().enumerate() {
            let at = format!("messages[{i}].content[{j}]");
            if c.same || matches!(part.kind, PartKind::Text(_)) {
                parts.push((at, part));
            } else {
                c.lose(at, "instructions are text; dropped");
            }
        }
    }
    if count == 0 {
        return;
    }
    if count > 1 && !parts.is_empty() {
        shape = ContentShape::Parts;
    }
    // As content, under another name.
    let mut json = Vec::new();
    let mut holder = Object::new(&mut json);
    if blocks::write_content(&mut holder, &parts, shape, c) {
        o.key("system").extend_from_slice(&json[r#"{"content":"#.len()..]);
    }
}

fn lose_message(m: &Message, i: usize, c: &mut Crossing) {
    c.lose_extras(&format!("messages[{i}]"), &m.extras);
    if m.name.is_some() {
        c.lose(format!("messages[{i}].name"), "Anthropic's messages have no names; dropped");
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
                c.lose(at.clone(), "a call that another provider ran itself; dropped");
                false
            }
        });
    }
    let mut json = Vec::new();
    let mut o = Object::new(&mut json);
    let role = match first.role {
        Role::Assistant => "assistant",
        Role::User | Role::Tool => "user",
        Role::System | Role::Developer => "system",
    };
    o.string("role", role);
    if blocks::write_content(&mut o, &parts, first.shape, c) {
        c.extras(&first.extras).rest(&mut o, &[], &[]);
        o.end();
        list.element().extend_from_slice(&json);
    } else {
        c.lose(format!("messages[{i}]"), "nothing is left of it, and Anthropic refuses empty messages; dropped");
    }
}
