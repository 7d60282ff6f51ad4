//! Requests: `POST /v1/completions`.

use std::borrow::Cow;

use super::NAME;
use crate::hub::{ChatRequest, Extra, Message, Params, PartKind, Role, extra};
use crate::json::{Document, Fields, Kind, Object, Path, Value};
use crate::map::{Crossing, Extras};
use crate::openai_params::{keep_hint, read_stop, write_sampling, write_stop_seed_and_count};
use crate::{DecodeError, Encoded, Format, LossKind, size};

/// What stands between texts that were messages, in one prompt.
const BETWEEN: &str = "\n\n";

// === decode ===

/// Decodes a request.
pub(crate) fn decode(body: &[u8]) -> Result<ChatRequest, DecodeError> {
    let document = Document::parse(body).map_err(|f| DecodeError::new("", format!("not a JSON object: {f}")))?;
    let (mut f, at) = (Fields::of(&document), Path::Root);
    let model = f.need_text(&at, "model")?.into_owned();
    let mut extras = Vec::new();
    let mut texts = Vec::new();
    if let Some(prompt) = f.take("prompt") {
        texts = read_prompt(prompt)?;
        // One text is written as one text; for everything else this says how it was.
        if prompt.kind() != Kind::String {
            extras.push(Extra::new("prompt", prompt.raw()));
        }
    }
    if let Some(suffix) = f.take("suffix") {
        match suffix.kind() {
            Kind::String => texts.extend(suffix.text().filter(|text| !text.is_empty()).map(|text| text.into_owned())),
            Kind::Null => {}
            _ => return Err(suffix.expected(&at.key("suffix"), "a string")),
        }
        extras.push(Extra::new("suffix", suffix.raw()));
    }
    let params = read_params(&mut f, &mut extras)?;
    let stream = keep_hint(&mut f, "stream", "a boolean", Value::bool, |on| !on, &mut extras)?.unwrap_or(false);
    let options = f.peek("stream_options").and_then(Value::object);
    let include_usage = options.and_then(|mut o| o.take("include_usage")).and_then(Value::bool).unwrap_or(false);
    extras.extend(f.rest());
    Ok(ChatRequest {
        format: NAME.into(),
        model,
        messages: texts.into_iter().map(|text| Message::text(Role::User, text)).collect(),
        tools: Vec::new(),
        tool_choice: None,
        params,
        stream,
        include_usage,
        extras,
    })
}

/// The texts of a prompt; none when it is tokens.
fn read_prompt(value: Value<'_>) -> Result<Vec<String>, DecodeError> {
    let at = Path::Root.key("prompt");
    match value.kind() {
        Kind::Null => Ok(Vec::new()),
        Kind::String => Ok(value.text().map(|text| text.into_owned()).into_iter().collect()),
        Kind::Array => {
            let items = value.array_at(&at)?;
            let first = items.first().map(|item| item.kind());
            if let Some(odd) = items.iter().position(|item| Some(item.kind()) != first) {
                return Err(items[odd].expected(&at.index(odd), "the same type as the elements before it"));
            }
            match first {
                Some(Kind::String) => Ok(items.iter().filter_map(|item| item.text()).map(|text| text.into_owned()).collect()),
                Some(Kind::Number | Kind::Array) | None => Ok(Vec::new()),
                Some(_) => Err(items[0].expected(&at.index(0), "a text, tokens, or a list of tokens")),
            }
        }
        _ => Err(value.expected(&at, "a text, a list of texts, or tokens")),
    }
}

fn read_params(f: &mut Fields<'_>, extras: &mut Vec<Extra>) -> Result<Params, DecodeError> {
    let at = Path::Root;
    let count = |v: Value<'_>| v.u64().filter(|n| *n > 0).and_then(|n| u32::try_from(n).ok());
    Ok(Params {
        temperature: f.optional_f64(&at, "temperature")?,
        top_p: f.optional_f64(&at, "top_p")?,
        top_k: f.lenient("top_k", Value::u64),
        max_tokens: f.optional_u64(&at, "max_tokens")?,
        stop: keep_hint(f, "stop", "a string or an array of strings", read_stop, |_| true, extras)?.unwrap_or_default(),
        presence_penalty: f.optional_f64(&at, "presence_penalty")?,
        frequency_penalty: f.optional_f64(&at, "frequency_penalty")?,
        seed: f.optional(&at, "seed", "a whole number", Value::i64)?,
        n: f.optional(&at, "n", "a whole number, 1 or more", count)?,
        user: f.optional_text(&at, "user")?,
        ..Params::default()
    })
}

// === what no conversation can say ===

/// Why a provider of conversations cannot answer a request, and the field that says so.
pub(crate) fn state(r: &ChatRequest) -> Option<(&'static str, &'static str)> {
    let hint = |name| extra(&r.extras, name).and_then(Value::parse);
    if let Some(mut items) = hint("prompt").and_then(Value::elements) {
        match (items.next().map(Value::kind), items.next()) {
            (Some(Kind::Number | Kind::Array), _) => {
                return Some(("prompt", "it is tokens, which only the model that they were made for can read; send the text"));
            }
            (Some(_), Some(_)) => {
                return Some(("prompt", "it has several texts, and this provider answers one at a time; send one text in each request"));
            }
            _ => {}
        }
    }
    if hint("suffix").and_then(Value::text).is_some_and(|text| !text.is_empty()) {
        return Some(("suffix", "this provider cannot fill in a text between two others; leave the suffix out"));
    }
    if r.params.max_tokens == Some(0) {
        return Some(("max_tokens", "it is 0, and this provider cannot look at a prompt without answering it; send 1 or more"));
    }
    let silent = |m: &Message| m.parts.iter().all(|p| matches!(&p.kind, PartKind::Text(text) if text.trim().is_empty()));
    if r.messages.iter().all(silent) {
        return Some(("prompt", "it is missing or empty, and this provider needs something to answer; send a text"));
    }
    None
}

// === encode ===

/// Encodes a request; see [`Format::encode_request`]. Of another format's conversation the prompt has the texts, with blank lines between.
pub(crate) fn encode(r: &ChatRequest) -> Encoded {
    let mut c = Crossing::new(&r.format, Format::OpenaiCompletions);
    let extras = c.extras(&r.extras);
    let mut body = Vec::with_capacity(size::of_request(r));
    let mut o = Object::new(&mut body);
    o.string("model", &r.model);
    write_texts(&mut o, r, extras, &mut c);
    write_params(&mut o, r, extras, &mut c);
    extras.member(
        &mut o,
        "stream",
        Some(r.stream).filter(|on| *on || extras.get("stream").is_some()),
        |v| v.bool().or(Some(false)),
        |o, on| o.bool("stream", *on),
    );
    write_stream_options(&mut o, r, extras);
    extras.rest(&mut o, &["prompt", "suffix", "stream", "stream_options", "stop"]);
    o.end();
    c.lose_extras("", &r.extras);
    if !r.tools.is_empty() {
        c.lose("tools", "completions have no tools");
    }
    Encoded { body, losses: c.losses }
}

/// Writes prompt and suffix.
fn write_texts(o: &mut Object<'_>, r: &ChatRequest, extras: Extras<'_>, c: &mut Crossing) {
    let mut texts: Vec<Cow<'_, str>> = r.messages.iter().enumerate().map(|(i, m)| text_of(m, i, c)).collect();
    let suffix = extras.get("suffix").and_then(Value::parse);
    let after = suffix.and_then(Value::text).filter(|text| !text.is_empty());
    let filled = after.is_some();
    let hint = extras.get("prompt").and_then(Value::parse);
    // The last text is the suffix; where a hook took it away there is none. A prompt that is tokens has no texts, and neither has one that is
    // not there: then the suffix stands alone.
    let ends = match hint.map(|hint| read_prompt(hint).map_or(0, |told| told.len())) {
        Some(told) => texts.len() > told,
        None => texts.len() > 1 || texts.first() == after.as_ref(),
    };
    let last = if filled && ends { texts.pop() } else { None };
    let same = hint.filter(|hint| read_prompt(*hint).is_ok_and(|told| told == texts));
    let listed = hint.is_some_and(|hint| hint.elements().is_some_and(|items| items.count() == texts.len()));
    match same {
        Some(hint) => o.raw("prompt", hint.raw()),
        None if listed => {
            let mut list = o.array("prompt");
            texts.iter().for_each(|text| list.string(text));
            list.end();
        }
        None if texts.is_empty() => {}
        None => {
            if texts.len() > 1 {
                c.lose_as(LossKind::Adjusted, "messages", "a prompt is one text, so the messages stand in it one after the other");
            }
            match &texts[..] {
                [only] => o.string("prompt", only),
                several => o.string("prompt", &several.join(BETWEEN)),
            }
        }
    }
    match (last, suffix) {
        (Some(text), _) => o.string("suffix", &text),
        (None, Some(hint)) if !filled => o.raw("suffix", hint.raw()),
        (None, _) => {}
    }
}

/// The text of a message; everything else of it is lost.
fn text_of<'m>(m: &'m Message, index: usize, c: &mut Crossing) -> Cow<'m, str> {
    let mut text = Cow::Borrowed("");
    for (i, part) in m.parts.iter().enumerate() {
        match &part.kind {
            // Of one piece, which most have, this takes no copy.
            PartKind::Text(piece) | PartKind::Refusal(piece) => text += piece.as_str(),
            _ => c.lose(format!("messages[{index}].content[{i}]"), "a prompt is text"),
        }
    }
    text
}

fn write_params(o: &mut Object<'_>, r: &ChatRequest, extras: Extras<'_>, c: &mut Crossing) {
    let p = &r.params;
    write_sampling(o, p, c);
    if let Some(n) = p.max_tokens {
        o.int("max_tokens", n);
    }
    write_stop_seed_and_count(o, p, extras);
    if let Some(user) = &p.user {
        o.string("user", user);
    }
    for (name, said) in [
        ("response_format", p.response_format.is_some()),
        ("reasoning_effort", p.reasoning_effort.is_some()),
        ("thinking", p.thinking.is_some()),
        ("parallel_tool_calls", p.parallel_tool_calls.is_some()),
    ] {
        if said {
            c.lose(name, "completions have no such parameter");
        }
    }
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
