//! Sampling, length, reasoning and the shape of the answer: `generationConfig`.

use super::schema::{self, to_json_schema};
use super::spelling::{Name, Spelling, once, peek, spelled};
use crate::DecodeError;
use crate::hub::{ChatRequest, Extra, Params, ResponseFormat, ThinkingMode};
use crate::json::{Fields, Kind, Object, Path, Value};
use crate::map::{Crossing, Extras, effort_budget};

const GENERATION_CONFIG: Name = ("generationConfig", "generation_config");
const TOP_P: Name = ("topP", "top_p");
const TOP_K: Name = ("topK", "top_k");
const MAX_TOKENS: Name = ("maxOutputTokens", "max_output_tokens");
const STOP: Name = ("stopSequences", "stop_sequences");
const PRESENCE: Name = ("presencePenalty", "presence_penalty");
const FREQUENCY: Name = ("frequencyPenalty", "frequency_penalty");
const COUNT: Name = ("candidateCount", "candidate_count");
const MIME_TYPE: Name = ("responseMimeType", "response_mime_type");
const SCHEMA: Name = ("responseSchema", "response_schema");
const JSON_SCHEMA: Name = ("responseJsonSchema", "response_json_schema");
const THINKING: Name = ("thinkingConfig", "thinking_config");
const BUDGET: Name = ("thinkingBudget", "thinking_budget");
const LEVEL: Name = ("thinkingLevel", "thinking_level");
const THOUGHTS: Name = ("includeThoughts", "include_thoughts");

/// Stands before the members of `generationConfig` that the hub does not have.
pub(super) const PREFIX: &str = "generationConfig.";

/// Notes with members as they came, of which the hub has the meaning.
const NOTE_THINKING: &str = "$thinkingConfig";
const NOTE_MIME_TYPE: &str = "$responseMimeType";
const NOTE_SCHEMA: &str = "$responseSchema";
const NOTE_JSON_SCHEMA: &str = "$responseJsonSchema";

/// Most tokens of reasoning that every model of the generation with budgets takes.
const MAX_BUDGET: u64 = 24_576;

/// Whether a model takes a budget for its reasoning, in tokens, and not a level, in words: those up to Gemini 2.5.
pub(super) fn takes_budgets(model: &str) -> bool {
    let name = model.rsplit('/').next().unwrap_or(model);
    name.starts_with("gemini-1") || name.starts_with("gemini-2")
}

// === read ===

/// Reads the parameters. What the hub does not have stays, with the name of its object in front.
pub(super) fn read(f: &mut Fields<'_>, spelling: &mut Spelling, hints: &mut Vec<Extra>) -> Result<Params, DecodeError> {
    let at = Path::Root;
    let name = spelling.of(f, &at, GENERATION_CONFIG)?;
    let Some(value) = f.peek(name).filter(|v| !v.is_null()) else { return Ok(Params::default()) };
    let path = at.key(name);
    let mut inner = value.object_at(&path)?;
    // One without members stays an extra.
    if inner.untaken().next().is_some() {
        f.take(name);
    }
    let (thinking, reasoning_effort) = read_thinking(&mut inner, &path, spelling, hints)?;
    let response_format = read_format(&mut inner, &path, spelling, hints)?;
    let positive = |v: Value<'_>| v.u64().filter(|n| *n > 0);
    let whole = "a whole number, 1 or more";
    let params = Params {
        temperature: inner.optional_f64(&path, "temperature")?,
        top_p: inner.optional_f64(&path, spelling.of(&inner, &path, TOP_P)?)?,
        top_k: inner.optional_u64(&path, spelling.of(&inner, &path, TOP_K)?)?,
        max_tokens: inner.optional(&path, spelling.of(&inner, &path, MAX_TOKENS)?, whole, positive)?,
        stop: read_stop(&mut inner, &path, spelling)?,
        presence_penalty: inner.optional_f64(&path, spelling.of(&inner, &path, PRESENCE)?)?,
        frequency_penalty: inner.optional_f64(&path, spelling.of(&inner, &path, FREQUENCY)?)?,
        seed: inner.optional(&path, "seed", "a whole number", Value::i64)?,
        n: inner.optional(&path, spelling.of(&inner, &path, COUNT)?, whole, |v| positive(v).and_then(|n| u32::try_from(n).ok()))?,
        reasoning_effort,
        thinking,
        response_format,
        parallel_tool_calls: None,
        user: None,
    };
    let mut rest = inner.rest_with(PREFIX);
    rest.retain(|e| !e.name[PREFIX.len()..].starts_with('$'));
    hints.extend(rest);
    Ok(params)
}

fn read_stop(inner: &mut Fields<'_>, path: &Path<'_>, spelling: &mut Spelling) -> Result<Vec<String>, DecodeError> {
    let name = spelling.of(inner, path, STOP)?;
    if inner.peek(name).is_some_and(|v| v.elements().is_some_and(|mut e| e.next().is_none())) {
        // An empty list stays.
        return Ok(Vec::new());
    }
    let texts = |v: Value<'_>| v.elements()?.map(|s| Some(s.text()?.into_owned())).collect::<Option<Vec<_>>>();
    Ok(inner.optional(path, name, "an array of strings", texts)?.unwrap_or_default())
}

type Reasoning = (Option<ThinkingMode>, Option<String>);

/// Reads `thinkingConfig`, which stays whole as a note: whether thoughts are shown is not the hub's.
fn read_thinking(
    inner: &mut Fields<'_>,
    path: &Path<'_>,
    spelling: &mut Spelling,
    hints: &mut Vec<Extra>,
) -> Result<Reasoning, DecodeError> {
    let name = spelling.of(inner, path, THINKING)?;
    let Some(value) = inner.take_some(name) else { return Ok((None, None)) };
    let path = path.key(name);
    let mut config = value.object_at(&path)?;
    let (budget, level) = (Spelling::default().of(&config, &path, BUDGET)?, Spelling::default().of(&config, &path, LEVEL)?);
    once(&config, &path, THOUGHTS)?;
    config.optional(&path, budget, "a whole number", Value::i64)?;
    config.optional_text(&path, level)?;
    hints.push(Extra::new(NOTE_THINKING, value.raw()));
    Ok(reasoning(value))
}

/// How much to reason, as a `thinkingConfig` has it.
fn reasoning(config: Value<'_>) -> Reasoning {
    let Some(f) = config.object() else { return (None, None) };
    let thinking = peek(&f, BUDGET).and_then(Value::i64).map(|budget| match u64::try_from(budget) {
        Ok(0) => ThinkingMode::Disabled,
        Ok(budget) => ThinkingMode::Budget(budget),
        Err(_) => ThinkingMode::Adaptive,
    });
    let level = peek(&f, LEVEL).and_then(Value::text).map(|word| word.to_ascii_lowercase());
    (thinking, level.filter(|word| matches!(word.as_str(), "minimal" | "low" | "medium" | "high")))
}

/// Reads the members that say what the text must look like. They become notes when the hub can say the same, and stay when not.
fn read_format(
    inner: &mut Fields<'_>,
    path: &Path<'_>,
    spelling: &mut Spelling,
    hints: &mut Vec<Extra>,
) -> Result<Option<ResponseFormat>, DecodeError> {
    let names = [spelling.of(inner, path, MIME_TYPE)?, spelling.of(inner, path, SCHEMA)?, spelling.of(inner, path, JSON_SCHEMA)?];
    let told = |f: &Fields<'_>, name: &str| f.peek(name).filter(|v| !v.is_null()).map(|v| v.raw().to_owned());
    let [mime, schema, standard] = names.map(|name| told(inner, name));
    if let Some(v) = inner.peek(names[0]).filter(|v| !v.is_null()) {
        v.text_at(&path.key(names[0]))?;
    }
    for name in &names[1..] {
        if let Some(v) = inner.peek(name).filter(|v| !v.is_null()) {
            v.object_at(&path.key(name))?;
        }
    }
    if let Some(own) = inner.peek(names[1]) {
        schema::check(own, &path.key(names[1]))?;
    }
    let format = response_format(mime.as_deref(), schema.as_deref(), standard.as_deref());
    if format.is_some() {
        for ((name, note), value) in names.into_iter().zip([NOTE_MIME_TYPE, NOTE_SCHEMA, NOTE_JSON_SCHEMA]).zip([mime, schema, standard]) {
            if let Some(value) = value {
                inner.take(name);
                hints.push(Extra::new(note, value));
            }
        }
    }
    Ok(format)
}

/// What the text must look like; a schema as OpenAI writes it, which wants a name.
fn response_format(mime: Option<&str>, schema: Option<&str>, standard: Option<&str>) -> Option<ResponseFormat> {
    let named = |schema: &str| Some(ResponseFormat::JsonSchema(format!(r#"{{"name":"response","schema":{schema}}}"#)));
    match (mime.map(|m| m.trim_matches('"')), schema, standard) {
        (Some("application/json") | None, Some(own), None) => named(&to_json_schema(Value::parse(own)?)),
        (Some("application/json") | None, None, Some(standard)) => named(standard),
        (Some("application/json"), None, None) => Some(ResponseFormat::JsonObject),
        (Some("text/plain"), None, None) => Some(ResponseFormat::Text),
        _ => None,
    }
}

// === write ===

/// Writes `generationConfig`.
pub(super) fn write(o: &mut Object<'_>, r: &ChatRequest, extras: Extras<'_>, c: &mut Crossing) {
    let p = &r.params;
    let mut json = Vec::new();
    let mut config = Object::new(&mut json);
    if let Some(temperature) = p.temperature {
        config.f64("temperature", temperature);
    }
    for (name, value) in [(TOP_P, p.top_p), (PRESENCE, p.presence_penalty), (FREQUENCY, p.frequency_penalty)] {
        if let Some(value) = value {
            config.f64(spelled(extras, name), value);
        }
    }
    for (name, value) in [(TOP_K, p.top_k), (MAX_TOKENS, p.max_tokens), (COUNT, p.n.map(u64::from))] {
        if let Some(value) = value {
            config.int(spelled(extras, name), value);
        }
    }
    if !p.stop.is_empty() {
        let mut list = config.array(spelled(extras, STOP));
        p.stop.iter().for_each(|s| list.string(s));
        list.end();
    }
    match p.seed {
        Some(seed) if !c.same && i32::try_from(seed).is_err() => c.lose("seed", "Gemini takes a seed of 32 bits"),
        Some(seed) => config.int("seed", seed),
        None => {}
    }
    write_thinking(&mut config, r, extras, c);
    write_format(&mut config, r, extras, c);
    extras.nested(PREFIX).rest(&mut config, &[]);
    config.end();
    if json != b"{}" {
        o.key(spelled(extras, GENERATION_CONFIG)).extend_from_slice(&json);
    }
    if !c.same {
        if p.parallel_tool_calls == Some(false) {
            c.lose("parallel_tool_calls", "Gemini has no such switch");
        }
        if p.user.is_some() {
            c.lose("user", "Gemini has no place for the user");
        }
    }
}

fn write_thinking(config: &mut Object<'_>, r: &ChatRequest, extras: Extras<'_>, c: &mut Crossing) {
    let (thinking, effort) = (&r.params.thinking, &r.params.reasoning_effort);
    let hint = extras.get(NOTE_THINKING).and_then(Value::parse);
    if let Some(hint) = hint.filter(|hint| reasoning(*hint) == (thinking.clone(), effort.clone())) {
        return config.raw(spelled(extras, THINKING), hint.raw());
    }
    let budgets = takes_budgets(&r.model);
    let (mut budget, mut level) = (None, None);
    match (thinking, effort.as_deref()) {
        (Some(ThinkingMode::Disabled), _) => budget = Some(0),
        (Some(ThinkingMode::Budget(n)), _) => budget = Some(i128::from(*n)),
        // How much is the model's choice, unless a word limits it.
        (Some(ThinkingMode::Adaptive), None) => budget = Some(-1),
        (_, Some("none")) if budgets => budget = Some(0),
        (_, Some(word)) if budgets => match effort_budget(word) {
            Some(n) => budget = Some(i128::from(n.min(MAX_BUDGET))),
            None => c.lose("reasoning_effort", format!("unknown effort `{word}`")),
        },
        (_, Some(word @ ("minimal" | "low" | "medium" | "high"))) => level = Some(word),
        (_, Some("xhigh" | "max")) => level = Some("high"),
        (_, Some(word)) => c.lose("reasoning_effort", format!("newer Gemini models have no level like `{word}`")),
        (None, None) => {}
    }
    let shown = hint.and_then(Value::object).and_then(|f| peek(&f, THOUGHTS)).and_then(Value::bool);
    // Who switched the reasoning on in another format sees it there.
    let shown =
        shown.or_else(|| matches!(thinking, Some(ThinkingMode::Budget(_) | ThinkingMode::Adaptive)).then_some(true).filter(|_| !c.same));
    if budget.is_none() && level.is_none() && shown.is_none() {
        return;
    }
    let mut t = config.object(spelled(extras, THINKING));
    if let Some(budget) = budget {
        t.int(BUDGET.0, budget);
    }
    if let Some(level) = level {
        t.string(LEVEL.0, level);
    }
    if let Some(shown) = shown {
        t.bool(THOUGHTS.0, shown);
    }
    t.end();
}

fn write_format(config: &mut Object<'_>, r: &ChatRequest, extras: Extras<'_>, c: &mut Crossing) {
    let (mime, schema, standard) = (extras.get(NOTE_MIME_TYPE), extras.get(NOTE_SCHEMA), extras.get(NOTE_JSON_SCHEMA));
    let told = response_format(mime, schema, standard);
    if told.is_some() && told == r.params.response_format {
        for (name, value) in [(MIME_TYPE, mime), (SCHEMA, schema), (JSON_SCHEMA, standard)] {
            if let Some(value) = value {
                config.json(spelled(extras, name), value);
            }
        }
        return;
    }
    match &r.params.response_format {
        None => {}
        Some(ResponseFormat::Text) => config.string(MIME_TYPE.0, "text/plain"),
        Some(ResponseFormat::JsonObject) => config.string(MIME_TYPE.0, "application/json"),
        Some(ResponseFormat::JsonSchema(json)) => {
            config.string(MIME_TYPE.0, "application/json");
            let schema = Value::parse(json).and_then(Value::object).and_then(|mut f| f.take("schema")).filter(|v| v.kind() == Kind::Object);
            match schema {
                Some(schema) => config.raw(JSON_SCHEMA.0, schema.raw()),
                None => c.lose("response_format", "no schema to send; any JSON will do"),
            }
        }
    }
}
