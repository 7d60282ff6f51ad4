//! Token counts.

use crate::hub::Usage;
use crate::json::{Object, Value};

/// Reads a `usage` object; `None` when it is none. `input_tokens` exclude the cache here and include it in the hub.
pub(crate) fn read(value: Value<'_>) -> Option<Usage> {
    let mut f = value.object()?;
    let mut count = |name: &str| f.take(name).and_then(Value::u64);
    let (input, output) = (count("input_tokens"), count("output_tokens"));
    if input.is_none() && output.is_none() {
        return None;
    }
    let (read, written) = (count("cache_read_input_tokens"), count("cache_creation_input_tokens"));
    let thinking = f.take("output_tokens_details").and_then(Value::object).and_then(|mut d| d.take("thinking_tokens")).and_then(Value::u64);
    Some(Usage {
        input_tokens: input.unwrap_or(0).saturating_add(read.unwrap_or(0)).saturating_add(written.unwrap_or(0)),
        cache_read_tokens: read,
        cache_write_tokens: written,
        output_tokens: output.unwrap_or(0),
        reasoning_tokens: thinking,
        raw: Some(value.raw().into()),
    })
}

/// The usage at the end of a stream: what `message_start` said, overridden by what `message_delta` says, which may leave out
/// the input.
pub(crate) fn merged(start: Option<&str>, delta: &str) -> String {
    let (Some(start), Some(delta)) = (start.and_then(Value::parse).and_then(Value::object), Value::parse(delta).and_then(Value::object))
    else {
        return delta.to_owned();
    };
    let mut json = Vec::new();
    let mut o = Object::new(&mut json);
    delta.rest().iter().filter(|e| e.value != "null" || start.peek(&e.name).is_none()).for_each(|e| o.raw(&e.name, &e.value));
    for e in start.rest().iter().filter(|e| !o.wrote(&e.name)).collect::<Vec<_>>() {
        o.raw(&e.name, &e.value);
    }
    o.end();
    String::from_utf8(json).unwrap_or_default()
}

/// Writes `usage`: the provider's own object when it is in this format and says the same.
pub(crate) fn write(o: &mut Object<'_>, usage: &Usage, same_format: bool) {
    let raw = usage.raw.as_deref().filter(|_| same_format).and_then(Value::parse);
    if let Some(raw) = raw.filter(|v| read(*v).as_ref() == Some(usage)) {
        return o.raw("usage", raw.raw());
    }
    let (read, written) = (usage.cache_read_tokens, usage.cache_write_tokens);
    let mut u = o.object("usage");
    u.int("input_tokens", usage.input_tokens.saturating_sub(read.unwrap_or(0)).saturating_sub(written.unwrap_or(0)));
    u.int("cache_creation_input_tokens", written.unwrap_or(0));
    u.int("cache_read_input_tokens", read.unwrap_or(0));
    u.int("output_tokens", usage.output_tokens);
    if let Some(thinking) = usage.reasoning_tokens {
        let mut details = u.object("output_tokens_details");
        details.int("thinking_tokens", thinking);
        details.end();
    }
    u.end();
}
