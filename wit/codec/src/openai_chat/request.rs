//! Requests: `POST /v1/chat/completions`.

use super::NAME;
use super::message::{self, Care, Place};
use crate::hub::{
    ChatRequest, ContentShape, Extra, FunctionTool, Message, OtherPart, Params, Part, PartKind, ResponseFormat, ResultPart, ResultPartKind,
    Role, ThinkingMode, Tool, ToolChoice, ToolKind, ToolResult, extra,
};
use crate::json::{Array, Document, Fields, Kind, Object, Path, Value};
use crate::map::{Crossing, Extras, budget_effort};
use crate::{DecodeError, Encoded, Format};

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
    let messages = list.into_iter().enumerate().map(|(i, m)| read_message(m, &path.index(i))).collect::<Result<_, _>>()?;
    let mut hints = Vec::new();
    let tools = read_tools(&mut f, &mut hints)?;
    let tool_choice = f.take_some("tool_choice").map(|v| read_choice(v, &at.key("tool_choice"))).transpose()?;
    let params = read_params(&mut f, &mut hints)?;
    let stream = keep_hint(&mut f, "stream", "a boolean", Value::bool, |on| !on, &mut hints)?.unwrap_or(false);
    let include_usage =
        f.peek("stream_options").and_then(Value::object).and_then(|mut o| o.take("include_usage")).and_then(Value::bool).unwrap_or(false);
    hints.extend(f.rest());
    Ok(ChatRequest { format: NAME.into(), model, messages, tools, tool_choice, params, stream, include_usage, extras: hints })
}

/// Reads an optional member, and keeps its text as a hint when `keep` says that the hub alone would not write it the same way.
fn keep_hint<'a, T>(
    f: &mut Fields<'a>,
    name: &str,
    what: &str,
    read: impl Fn(Value<'a>) -> Option<T>,
    keep: impl Fn(&T) -> bool,
    hints: &mut Vec<Extra>,
) -> Result<Option<T>, DecodeError> {
    let raw = f.peek(name);
    let value = f.optional(&Path::Root, name, what, read)?;
    if let (Some(raw), true) = (raw, value.as_ref().is_some_and(keep)) {
        hints.push(Extra::new(name, raw.raw()));
    }
    Ok(value)
}

fn read_params(f: &mut Fields<'_>, hints: &mut Vec<Extra>) -> Result<Params, DecodeError> {
    let at = Path::Root;
    // Reasoning models take the new name only. When both are there the new one counts and the old one stays an extra.
    let whole = "a whole number, 1 or more";
    let positive = |v: Value<'_>| v.u64().filter(|n| *n > 0);
    let max_tokens = match keep_hint(f, "max_completion_tokens", whole, positive, |_| true, hints)? {
        Some(n) => Some(n),
        None => f.optional(&at, "max_tokens", whole, positive)?,
    };
    Ok(Params {
        temperature: f.optional_f64(&at, "temperature")?,
        top_p: f.optional_f64(&at, "top_p")?,
        top_k: f.lenient("top_k", Value::u64),
        max_tokens,
        stop: keep_hint(f, "stop", "a string or an array of strings", read_stop, |_| true, hints)?.unwrap_or_default(),
        presence_penalty: f.optional_f64(&at, "presence_penalty")?,
        frequency_penalty: f.optional_f64(&at, "frequency_penalty")?,
        seed: f.optional(&at, "seed", "a whole number", Value::i64)?,
        n: f.optional(&at, "n", whole, |v| positive(v).and_then(|n| u32::try_from(n).ok()))?,
        reasoning_effort: f.optional_text(&at, "reasoning_effort")?,
        thinking: None,
        response_format: read_response_format(f)?,
        parallel_tool_calls: f.optional_bool(&at, "parallel_tool_calls")?,
        user: f.optional_text(&at, "user")?,
    })
}

fn read_stop(value: Value<'_>) -> Option<Vec<String>> {
    match value.text() {
        Some(text) => Some(vec![text.into_owned()]),
        None => value.elements()?.map(|v| Some(v.text()?.into_owned())).collect(),
    }
}

fn read_response_format(f: &mut Fields<'_>) -> Result<Option<ResponseFormat>, DecodeError> {
    let (at, name) = (Path::Root, "response_format");
    let Some(value) = f.peek(name).filter(|v| !v.is_null()) else { return Ok(None) };
    let path = at.key(name);
    let format = response_format(value.object_at(&path)?.need_text(&path, "type")?.as_ref(), value);
    match &format {
        // A schema without its object: the one thing that nobody can guess.
        None if value.object().and_then(|f| f.peek("type")).and_then(Value::text).as_deref() == Some("json_schema") => {
            Err(DecodeError::new(path.key("json_schema"), "missing, expected an object"))
        }
        // The text stays as a hint or, for an unknown type, as an extra.
        _ => Ok(format),
    }
}

fn response_format(kind: &str, value: Value<'_>) -> Option<ResponseFormat> {
    match kind {
        "text" => Some(ResponseFormat::Text),
        "json_object" => Some(ResponseFormat::JsonObject),
        "json_schema" => {
            value.object()?.take("json_schema").filter(|v| v.kind() == Kind::Object).map(|v| ResponseFormat::JsonSchema(v.raw().into()))
        }
        _ => None,
    }
}

fn reread_response_format(value: Value<'_>) -> Option<ResponseFormat> {
    response_format(value.object()?.peek("type")?.text()?.as_ref(), value)
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
    message::write_part(&mut list, part, "", &mut Crossing::new(NAME, Format::OpenaiChat));
    String::from_utf8(out.split_off(1)).unwrap_or_default()
}

fn read_tools(f: &mut Fields<'_>, hints: &mut Vec<Extra>) -> Result<Vec<Tool>, DecodeError> {
    let Some(value) = f.take_some("tools") else { return Ok(Vec::new()) };
    let at = Path::Root;
    let path = at.key("tools");
    let list = value.array_at(&path)?;
    if list.is_empty() {
        hints.push(Extra::new("tools", "[]"));
    }
    list.into_iter().enumerate().map(|(i, tool)| read_tool(tool, &path.index(i))).collect()
}

fn read_tool(value: Value<'_>, path: &Path<'_>) -> Result<Tool, DecodeError> {
    let mut f = value.object_at(path)?;
    let kind = f.need_text(path, "type")?;
    if kind != "function" {
        let kind = ToolKind::Other(OtherPart { format: NAME.into(), kind: kind.into_owned(), value: value.raw().into() });
        return Ok(Tool { kind, cache_control: None, extras: Vec::new() });
    }
    let function = f.need(path, "function", "an object")?;
    let inner_path = path.key("function");
    let mut inner = function.object_at(&inner_path)?;
    let tool = FunctionTool {
        name: inner.need_text(&inner_path, "name")?.into_owned(),
        description: inner.optional_text(&inner_path, "description")?,
        parameters: inner.optional(&inner_path, "parameters", "an object", |v| (v.kind() == Kind::Object).then(|| v.raw().to_owned()))?,
        strict: inner.optional_bool(&inner_path, "strict")?,
    };
    let cache_control = f.take_some("cache_control").map(|v| v.raw().to_owned());
    let mut extras = inner.rest_with("function.");
    extras.extend(f.rest());
    Ok(Tool { kind: ToolKind::Function(tool), cache_control, extras })
}

fn read_choice(value: Value<'_>, path: &Path<'_>) -> Result<ToolChoice, DecodeError> {
    match (value.text().as_deref(), value.kind()) {
        (Some("auto"), _) => Ok(ToolChoice::Auto),
        (Some("none"), _) => Ok(ToolChoice::None),
        (Some("required"), _) => Ok(ToolChoice::Required),
        // Mistral's `any` and whatever comes next: the provider knows.
        (Some(_), _) => Ok(ToolChoice::Other(value.raw().into())),
        (None, Kind::Object) => {
            let named = || {
                let mut f = value.object()?;
                let plain = f.take("type")?.text()? == "function";
                let mut function = f.take("function")?.object()?;
                let name = function.take("name")?.text()?.into_owned();
                (plain && f.rest().is_empty() && function.rest().is_empty()).then_some(ToolChoice::Function(name))
            };
            Ok(named().unwrap_or_else(|| ToolChoice::Other(value.raw().into())))
        }
        _ => Err(value.expected(path, "a string or an object")),
    }
}

// === encode ===

/// Encodes a request.
pub(crate) fn encode(r: &ChatRequest) -> Encoded {
    let mut c = Crossing::new(&r.format, Format::OpenaiChat);
    let mut body = Vec::with_capacity(1024);
    let mut o = Object::new(&mut body);
    o.string("model", &r.model);
    let mut list = o.array("messages");
    for (i, m) in r.messages.iter().enumerate() {
        write_message(&mut list, m, &format!("messages[{i}]"), &mut c);
    }
    list.end();
    let extras = c.extras(&r.extras);
    write_tools(&mut o, r, extras, &mut c);
    write_params(&mut o, r, extras, &mut c);
    extras.member(&mut o, "stream", Some(r.stream).filter(|on| *on || extras.get("stream").is_some()), Value::bool, |o, on| {
        o.bool("stream", *on)
    });
    write_stream_options(&mut o, r, extras);
    extras.rest(&mut o, &["tools", "tool_choice", "stream", "stream_options", "max_completion_tokens", "stop", "response_format"], &[]);
    o.end();
    c.lose_extras("", &r.extras);
    Encoded { body, losses: c.losses }
}

fn write_params(o: &mut Object<'_>, r: &ChatRequest, extras: Extras<'_>, c: &mut Crossing) {
    let p = &r.params;
    for (name, value) in [
        ("temperature", p.temperature),
        ("top_p", p.top_p),
        ("presence_penalty", p.presence_penalty),
        ("frequency_penalty", p.frequency_penalty),
    ] {
        if let Some(value) = value {
            o.f64(name, value);
        }
    }
    if let Some(k) = p.top_k {
        if c.same { o.int("top_k", k) } else { c.lose("top_k", "OpenAI has no such parameter; dropped") }
    }
    match (p.max_tokens, extras.get("max_completion_tokens")) {
        (Some(n), Some(_)) => o.int("max_completion_tokens", n),
        (Some(n), None) if !c.same && wants_new_name(&r.model) => o.int("max_completion_tokens", n),
        (Some(n), None) => o.int("max_tokens", n),
        (None, _) => extras.member(o, "max_completion_tokens", None, Value::u64, |_, _| {}),
    }
    extras.member(
        o,
        "stop",
        Some(p.stop.clone()).filter(|s| !s.is_empty()),
        |v| read_stop(v).filter(|s| !s.is_empty()),
        |o, stop| {
            let mut list = o.array("stop");
            stop.iter().for_each(|s| list.string(s));
            list.end();
        },
    );
    if let Some(seed) = p.seed {
        o.int("seed", seed);
    }
    if let Some(n) = p.n {
        o.int("n", n);
    }
    write_effort(o, r, c);
    extras.member(o, "response_format", p.response_format.clone(), reread_response_format, |o, format| {
        let mut f = o.object("response_format");
        match format {
            ResponseFormat::Text => f.string("type", "text"),
            ResponseFormat::JsonObject => f.string("type", "json_object"),
            ResponseFormat::JsonSchema(schema) => {
                f.string("type", "json_schema");
                f.json("json_schema", schema);
            }
        }
        f.end();
    });
    if let Some(parallel) = p.parallel_tool_calls {
        // The API refuses the parameter without tools.
        if c.same || !r.tools.is_empty() {
            o.bool("parallel_tool_calls", parallel);
        }
    }
    if let Some(user) = &p.user {
        o.string("user", user);
    }
}

fn write_effort(o: &mut Object<'_>, r: &ChatRequest, c: &mut Crossing) {
    match (&r.params.reasoning_effort, &r.params.thinking) {
        (Some(effort), _) if !c.same && effort == "max" => o.string("reasoning_effort", "xhigh"),
        (Some(effort), _) => o.string("reasoning_effort", effort),
        (None, Some(ThinkingMode::Budget(budget))) => o.string("reasoning_effort", budget_effort(*budget)),
        (None, Some(ThinkingMode::Disabled)) => {
            c.lose("thinking", "OpenAI has no switch that every model takes; dropped, the model's default holds")
        }
        (None, Some(ThinkingMode::Adaptive)) => {
            c.lose("thinking", "OpenAI has no adaptive mode; dropped, the model's default effort holds")
        }
        (None, None) => {}
    }
}

/// Models of OpenAI that refuse `max_tokens`: the o-series, and gpt-5 and later. Hosts that are only compatible know the old name.
fn wants_new_name(model: &str) -> bool {
    let name = model.rsplit('/').next().unwrap_or(model);
    let digit = |rest: &str, least: u8| rest.as_bytes().first().is_some_and(|d| d.is_ascii_digit() && *d >= least);
    name.strip_prefix('o').is_some_and(|rest| digit(rest, b'1')) || name.strip_prefix("gpt-").is_some_and(|rest| digit(rest, b'5'))
}

fn write_stream_options(o: &mut Object<'_>, r: &ChatRequest, extras: Extras<'_>) {
    let hint = extras.get("stream_options").and_then(Value::parse);
    let said = hint.and_then(Value::object).and_then(|mut f| f.take("include_usage")).and_then(Value::bool);
    if let Some(hint) = hint.filter(|_| said.unwrap_or(false) == r.include_usage) {
        return o.raw("stream_options", hint.raw());
    }
    if r.include_usage && r.stream || said.is_some() {
        let mut options = o.object("stream_options");
        options.bool("include_usage", r.include_usage);
        if let Some(mut f) = hint.and_then(Value::object) {
            f.take("include_usage");
            f.rest().iter().for_each(|e| options.json(&e.name, &e.value));
        }
        options.end();
    }
}

fn write_tools(o: &mut Object<'_>, r: &ChatRequest, extras: Extras<'_>, c: &mut Crossing) {
    let expressible = |t: &Tool| match &t.kind {
        ToolKind::Function(_) => true,
        ToolKind::Other(other) => other.format == NAME,
    };
    for (i, tool) in r.tools.iter().enumerate() {
        match &tool.kind {
            ToolKind::Other(other) if !expressible(tool) => c.lose(
                format!("tools[{i}]"),
                format!("the provider's own tool `{}` does not exist in the target format; dropped", other.kind),
            ),
            _ => {
                c.lose_extras(&format!("tools[{i}]"), &tool.extras);
                if tool.cache_control.is_some() && !c.same {
                    c.lose(format!("tools[{i}].cache_control"), "OpenAI caches by itself and takes no breakpoints; dropped");
                }
            }
        }
    }
    if r.tools.iter().any(expressible) {
        let mut list = o.array("tools");
        r.tools.iter().filter(|t| expressible(t)).for_each(|t| write_tool(&mut list, t, c));
        list.end();
    } else {
        extras.hint(o, "tools");
        if !c.same {
            // A choice among no tools is an error.
            return;
        }
    }
    match &r.tool_choice {
        None => extras.hint(o, "tool_choice"),
        Some(ToolChoice::Auto) => o.string("tool_choice", "auto"),
        Some(ToolChoice::None) => o.string("tool_choice", "none"),
        Some(ToolChoice::Required) => o.string("tool_choice", "required"),
        Some(ToolChoice::Function(name)) => {
            let mut choice = o.object("tool_choice");
            choice.string("type", "function");
            let mut function = choice.object("function");
            function.string("name", name);
            function.end();
            choice.end();
        }
        Some(ToolChoice::Other(json)) if c.same => o.json("tool_choice", json),
        Some(ToolChoice::Other(_)) => c.lose("tool_choice", "the target format has no such choice; dropped"),
    }
}

fn write_tool(list: &mut Array<'_>, tool: &Tool, c: &Crossing) {
    let f = match &tool.kind {
        ToolKind::Other(other) => return list.element().extend_from_slice(crate::json::ensure_valid(&other.value).as_bytes()),
        ToolKind::Function(f) => f,
    };
    let extras = c.extras(&tool.extras);
    let mut o = list.object();
    o.string("type", "function");
    let mut inner = o.object("function");
    inner.string("name", &f.name);
    if let Some(description) = &f.description {
        inner.string("description", description);
    }
    if let Some(parameters) = &f.parameters {
        inner.json("parameters", parameters);
    }
    if let Some(strict) = f.strict {
        inner.bool("strict", strict);
    }
    extras.nested("function.").rest(&mut inner, &[], &[]);
    inner.end();
    if let Some(cache) = tool.cache_control.as_ref().filter(|_| c.same) {
        o.json("cache_control", cache);
    }
    extras.rest(&mut o, &["type"], &["function."]);
    o.end();
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
    if !c.same && empty_instruction {
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
    extras.rest(&mut o, &[message::BODY, &["role", "name"]].concat(), &[]);
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
            c.lose(format!("{at}.content[{i}]"), "a tool message holds text only; moved to a user message after it");
            media.push(part);
        } else {
            content.push(part);
        }
    }
    if !c.same {
        c.lose_extras(at, &part.extras);
        if result.is_error == Some(true) {
            c.lose(format!("{at}.is_error"), "OpenAI cannot mark a result as an error; dropped");
        }
        if part.cache_control.is_some() {
            c.lose(format!("{at}.cache_control"), "OpenAI caches by itself and takes no breakpoints; dropped");
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
    extras.rest(&mut o, &["role", "name", "content"], &[]);
    o.end();
}
