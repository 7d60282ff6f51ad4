//! Sampling, length, reasoning and the shape of the answer.

use crate::hub::{ChatRequest, Params, Part, PartKind, ResponseFormat, Role, ThinkingMode, ToolChoice};
use crate::json::{Fields, Kind, Object, Path, Value};
use crate::map::{Crossing, Extras, effort_budget};
use crate::{DecodeError, LossKind};

/// Reads the parameters. Objects that say more than the hub models stay as hints.
pub(super) fn read(f: &mut Fields<'_>) -> Result<Params, DecodeError> {
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

/// How much to reason. Words from another format become budgets; the API's rules about what goes with reasoning are kept, because a
/// client of another format cannot know them.
pub(super) fn plan_thinking(r: &ChatRequest, c: &mut Crossing) -> Option<ThinkingMode> {
    if c.same || r.params.thinking.is_some() {
        return r.params.thinking.clone();
    }
    let effort = r.params.reasoning_effort.as_deref().filter(|e| *e != "none")?;
    let Some(mut budget) = effort_budget(effort) else {
        c.lose("reasoning_effort", format!("unknown effort `{effort}`"));
        return None;
    };
    if let Some(max) = r.params.max_tokens {
        // The budget is part of the answer's tokens and at least 1,024.
        budget = budget.min(max.saturating_sub(1));
        if budget < 1024 {
            c.lose_as(LossKind::Conflict, "reasoning_effort", "Anthropic reasons with 1,024 tokens or more, and max_tokens leaves no room");
            return None;
        }
    }
    if matches!(r.tool_choice, Some(ToolChoice::Required | ToolChoice::Function(_))) {
        c.lose_as(LossKind::Conflict, "reasoning_effort", "Anthropic does not reason when a tool is forced");
        return None;
    }
    let last =
        r.messages.iter().rev().find(|m| m.role == Role::Assistant).filter(|_| r.messages.last().is_some_and(|m| m.role == Role::Tool));
    let signed = |p: &Part| {
        matches!(&p.kind, PartKind::Thinking(t) if t.signature.as_ref().is_some_and(|s| !s.is_empty()))
            || matches!(p.kind, PartKind::RedactedThinking(_))
    };
    if last.is_some_and(|m| !m.parts.iter().any(signed)) {
        c.lose_as(
            LossKind::Conflict,
            "reasoning_effort",
            "the turn's tool calls come without the signed reasoning that Anthropic wants to see again",
        );
        return None;
    }
    Some(ThinkingMode::Budget(budget))
}

pub(super) fn write(o: &mut Object<'_>, r: &ChatRequest, thinking: Option<ThinkingMode>, extras: Extras<'_>, c: &mut Crossing) {
    let p = &r.params;
    let reasons = !c.same && matches!(thinking, Some(ThinkingMode::Budget(_) | ThinkingMode::Adaptive));
    let lost = |c: &mut Crossing, name: &str| c.lose_as(LossKind::Conflict, name, "Anthropic does not take it together with reasoning");
    match p.temperature {
        Some(t) if reasons && t != 1.0 => lost(c, "temperature"),
        Some(t) if !c.same && t > 1.0 => {
            c.lose_as(LossKind::Adjusted, "temperature", format!("Anthropic takes up to 1, not {t}"));
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
        c.lose(*name, "Anthropic has no such parameter");
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
                c.lose("response_format", "no schema to send");
            }
            schema
        }
        Some(ResponseFormat::JsonObject) => {
            c.lose("response_format", "Anthropic knows JSON by schema only");
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
