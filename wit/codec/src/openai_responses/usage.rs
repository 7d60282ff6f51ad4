//! Token counts.

use crate::hub::Usage;
use crate::json::{Object, Value};

/// Reads a `usage` object; `None` when it is none. `input_tokens` include the cache and `output_tokens` the reasoning.
pub(crate) fn read(value: Value<'_>) -> Option<Usage> {
    let mut f = value.object()?;
    let mut count = |name: &str| f.take(name).and_then(Value::u64);
    let (input, output) = (count("input_tokens"), count("output_tokens"));
    if input.is_none() && output.is_none() {
        return None;
    }
    let inner = |object: &str, name: &str| f.peek(object).and_then(Value::object).and_then(|mut d| d.take(name)).and_then(Value::u64);
    Some(Usage {
        input_tokens: input.unwrap_or(0),
        cache_read_tokens: inner("input_tokens_details", "cached_tokens"),
        cache_write_tokens: inner("input_tokens_details", "cache_write_tokens"),
        output_tokens: output.unwrap_or(0),
        reasoning_tokens: inner("output_tokens_details", "reasoning_tokens"),
        raw: Some(value.raw().into()),
    })
}

/// Writes `usage`: the provider's own object when it is in this format and says the same. Clients' types promise all the details.
pub(super) fn write(o: &mut Object<'_>, usage: &Usage, same_format: bool) {
    let raw = usage.raw.as_deref().filter(|_| same_format).and_then(Value::parse);
    if let Some(raw) = raw.filter(|v| read(*v).as_ref() == Some(usage)) {
        return o.raw("usage", raw.raw());
    }
    let mut u = o.object("usage");
    u.int("input_tokens", usage.input_tokens);
    let mut details = u.object("input_tokens_details");
    details.int("cached_tokens", usage.cache_read_tokens.unwrap_or(0));
    if let Some(written) = usage.cache_write_tokens {
        details.int("cache_write_tokens", written);
    }
    details.end();
    u.int("output_tokens", usage.output_tokens);
    let mut details = u.object("output_tokens_details");
    details.int("reasoning_tokens", usage.reasoning_tokens.unwrap_or(0));
    details.end();
    u.int("total_tokens", usage.input_tokens.saturating_add(usage.output_tokens));
    u.end();
}
