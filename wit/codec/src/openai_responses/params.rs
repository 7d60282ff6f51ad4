//! Sampling, length, reasoning and the shape of the answer.

use crate::hub::{ChatRequest, Extra, Params, ResponseFormat, ThinkingMode};
use crate::json::{Fields, Kind, Object, Path, Value};
use crate::map::{Crossing, Extras, budget_effort};
use crate::{DecodeError, LossKind};

/// Fewest output tokens that OpenAI takes.
const MIN_TOKENS: u64 = 16;

/// Takes a nested object; one without members, and `null`, stay as extras. Its members carry its name.
fn nested<'a>(f: &mut Fields<'a>, name: &str) -> Result<Option<Fields<'a>>, DecodeError> {
    let Some(value) = f.peek(name).filter(|v| !v.is_null()) else { return Ok(None) };
    let inner = value.object_at(&Path::Root.key(name))?;
    if inner.untaken().next().is_some() {
        f.take(name);
    }
    Ok(Some(inner))
}

/// Reads the parameters.
pub(super) fn read(f: &mut Fields<'_>, hints: &mut Vec<Extra>) -> Result<Params, DecodeError> {
    let at = Path::Root;
    let (mut reasoning_effort, mut response_format) = (None, None);
    if let Some(mut inner) = nested(f, "reasoning")? {
        reasoning_effort = inner.optional_text(&at.key("reasoning"), "effort")?;
        hints.extend(inner.rest_with("reasoning."));
    }
    if let Some(inner) = nested(f, "text")? {
        let path = at.key("text");
        if let Some(format) = inner.peek("format").filter(|v| !v.is_null()) {
            let path = path.key("format");
            let kind = format.object_at(&path)?.need_text(&path, "type")?;
            response_format = read_format(format);
            if response_format.is_none() && kind == "json_schema" {
                return Err(DecodeError::new(path.key("schema"), "missing, expected an object"));
            }
        }
        // The format stays as a hint.
        hints.extend(inner.rest_with("text."));
    }
    Ok(Params {
        temperature: f.optional_f64(&at, "temperature")?,
        top_p: f.optional_f64(&at, "top_p")?,
        max_tokens: f.optional(&at, "max_output_tokens", "a whole number, 1 or more", |v| v.u64().filter(|n| *n > 0))?,
        reasoning_effort,
        response_format,
        parallel_tool_calls: f.optional_bool(&at, "parallel_tool_calls")?,
        user: f.optional_text(&at, "user")?,
        ..Params::default()
    })
}

/// The schema's object without its type is what the hub has.
fn read_format(format: Value<'_>) -> Option<ResponseFormat> {
    let mut f = format.object()?;
    match f.take("type")?.text()?.as_ref() {
        "text" => Some(ResponseFormat::Text),
        "json_object" => Some(ResponseFormat::JsonObject),
        "json_schema" => {
            f.peek("schema").filter(|v| v.kind() == Kind::Object)?;
            let mut json = Vec::new();
            let mut o = Object::new(&mut json);
            f.rest().iter().for_each(|e| o.raw(&e.name, &e.value));
            o.end();
            Some(ResponseFormat::JsonSchema(String::from_utf8(json).unwrap_or_default()))
        }
        _ => None,
    }
}

pub(super) fn write(o: &mut Object<'_>, r: &ChatRequest, extras: Extras<'_>, c: &mut Crossing) {
    let p = &r.params;
    for (name, value) in [("temperature", p.temperature), ("top_p", p.top_p)] {
        if let Some(value) = value {
            o.f64(name, value);
        }
    }
    match p.max_tokens {
        Some(n) if !c.same && n < MIN_TOKENS => {
            c.lose_as(LossKind::Adjusted, "max_tokens", format!("OpenAI's responses have {MIN_TOKENS} tokens or more, not {n}"));
            o.int("max_output_tokens", MIN_TOKENS);
        }
        Some(n) => o.int("max_output_tokens", n),
        None => {}
    }
    write_reasoning(o, r, extras, c);
    write_text(o, r, extras);
    if let Some(parallel) = p.parallel_tool_calls {
        o.bool("parallel_tool_calls", parallel);
    }
    if let Some(user) = &p.user {
        o.string("user", user);
    }
    // What this format has not; hooks may set it too.
    let set = [
        ("stop", !p.stop.is_empty()),
        ("top_k", p.top_k.is_some()),
        ("presence_penalty", p.presence_penalty.is_some_and(|v| v != 0.0)),
        ("frequency_penalty", p.frequency_penalty.is_some_and(|v| v != 0.0)),
        ("seed", p.seed.is_some()),
        ("n", p.n.is_some_and(|n| n > 1)),
    ];
    for (name, _) in set.iter().filter(|(_, set)| *set) {
        c.lose(*name, "OpenAI's responses have no such parameter");
    }
}

fn write_reasoning(o: &mut Object<'_>, r: &ChatRequest, extras: Extras<'_>, c: &mut Crossing) {
    let effort = match (&r.params.reasoning_effort, &r.params.thinking) {
        (Some(effort), _) if !c.same && effort == "max" => Some("xhigh"),
        (Some(effort), _) => Some(effort.as_str()),
        (None, Some(ThinkingMode::Budget(budget))) => Some(budget_effort(*budget)),
        (None, Some(ThinkingMode::Disabled)) => {
            c.lose("thinking", "OpenAI has no switch that every model takes");
            None
        }
        (None, Some(ThinkingMode::Adaptive) | None) => None,
    };
    let mut json = Vec::new();
    let mut reasoning = Object::new(&mut json);
    if let Some(effort) = effort {
        reasoning.string("effort", effort);
    }
    // Who switched the reasoning on in another format sees it there.
    if !c.same && matches!(r.params.thinking, Some(ThinkingMode::Budget(_) | ThinkingMode::Adaptive)) {
        reasoning.string("summary", "auto");
    }
    extras.nested("reasoning.").rest(&mut reasoning, &[]);
    reasoning.end();
    if json != b"{}" {
        o.key("reasoning").extend_from_slice(&json);
    }
}

fn write_text(o: &mut Object<'_>, r: &ChatRequest, extras: Extras<'_>) {
    let mut json = Vec::new();
    let mut text = Object::new(&mut json);
    let inner = extras.nested("text.");
    inner.member(&mut text, "format", r.params.response_format.clone(), read_format, |text, format| {
        let mut f = text.object("format");
        match format {
            ResponseFormat::Text => f.string("type", "text"),
            ResponseFormat::JsonObject => f.string("type", "json_object"),
            ResponseFormat::JsonSchema(schema) => {
                f.string("type", "json_schema");
                let members = Value::parse(schema).and_then(Value::object).map(Fields::rest).unwrap_or_default();
                members.iter().filter(|e| e.name != "type").for_each(|e| f.raw(&e.name, &e.value));
                if !f.wrote("name") {
                    f.string("name", "response");
                }
            }
        }
        f.end();
    });
    inner.rest(&mut text, &["format"]);
    text.end();
    if json != b"{}" {
        o.key("text").extend_from_slice(&json);
    }
}
