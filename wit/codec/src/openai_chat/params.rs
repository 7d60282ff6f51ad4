//! Sampling, length, reasoning, shape of the answer, and the options of a stream.

use crate::DecodeError;
use crate::hub::{ChatRequest, Extra, Params, ResponseFormat, ThinkingMode};
use crate::json::{Fields, Kind, Object, Path, Value};
use crate::map::{Crossing, Extras, budget_effort};
use crate::openai_params::{keep_hint, read_stop, write_sampling, write_stop_seed_and_count};

pub(super) fn read(f: &mut Fields<'_>, hints: &mut Vec<Extra>) -> Result<Params, DecodeError> {
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

pub(super) fn write(o: &mut Object<'_>, r: &ChatRequest, extras: Extras<'_>, c: &mut Crossing) {
    let p = &r.params;
    write_sampling(o, p, c);
    match (p.max_tokens, extras.get("max_completion_tokens")) {
        // Said to be absent: the old name told it.
        (Some(n), Some("null")) if !wants_new_name(&r.model) => {
            o.int("max_tokens", n);
            o.raw("max_completion_tokens", "null");
        }
        (Some(n), Some(_)) => o.int("max_completion_tokens", n),
        (Some(n), None) if !c.same && wants_new_name(&r.model) => o.int("max_completion_tokens", n),
        (Some(n), None) => o.int("max_tokens", n),
        (None, _) => extras.member(o, "max_completion_tokens", None, Value::u64, |_, _| {}),
    }
    write_stop_seed_and_count(o, p, extras);
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
        (None, Some(ThinkingMode::Disabled)) => c.lose("thinking", "OpenAI has no switch that every model takes"),
        (None, Some(ThinkingMode::Adaptive)) => c.lose("thinking", "OpenAI has no adaptive mode"),
        (None, None) => {}
    }
}

/// Models of OpenAI that refuse `max_tokens`: the o-series, and gpt-5 and later. Hosts that are only compatible know the old name.
fn wants_new_name(model: &str) -> bool {
    let name = model.rsplit('/').next().unwrap_or(model);
    let digit = |rest: &str, least: u8| rest.as_bytes().first().is_some_and(|d| d.is_ascii_digit() && *d >= least);
    name.strip_prefix('o').is_some_and(|rest| digit(rest, b'1')) || name.strip_prefix("gpt-").is_some_and(|rest| digit(rest, b'5'))
}

pub(super) fn write_stream_options(o: &mut Object<'_>, r: &ChatRequest, extras: Extras<'_>) {
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
