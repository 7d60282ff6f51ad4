//! Token counts, as chat completions and completions tell them.

use crate::hub::Usage;
use crate::json::{Object, Value};

/// Reads a `usage` object; `None` when it is none.
///
/// `prompt_tokens` include what was read from a cache and `completion_tokens` include reasoning, except at hosts that count these
/// beside them; their own totals show which: when more was cached than prompted, the cache is beside the prompt; when the total is
/// the sum of all three, the reasoning (xAI) is beside the completion.
pub(crate) fn read(value: Value<'_>) -> Option<Usage> {
    let mut f = value.object()?;
    let mut prompt = f.take("prompt_tokens").and_then(Value::u64);
    let mut completion = f.take("completion_tokens").and_then(Value::u64);
    let total = f.take("total_tokens").and_then(Value::u64);
    if prompt.is_none() && completion.is_none() {
        total?;
        prompt = total;
    }
    let (mut input, mut output) = (prompt.unwrap_or(0), completion.take().unwrap_or(0));
    let inner = |object: &str, name: &str| f.peek(object).and_then(Value::object).and_then(|mut d| d.take(name)).and_then(Value::u64);
    let reasoning = inner("completion_tokens_details", "reasoning_tokens");
    let written = inner("prompt_tokens_details", "cache_write_tokens");
    let read = inner("prompt_tokens_details", "cached_tokens");
    let mut top = |name: &str| f.take(name).and_then(Value::u64);
    let read = read.or_else(|| top("prompt_cache_hit_tokens")).or_else(|| top("cached_tokens"));
    let reasoning = reasoning.or_else(|| top("reasoning_tokens"));
    let cached = read.unwrap_or(0).saturating_add(written.unwrap_or(0));
    if cached > input {
        input = input.saturating_add(cached);
    }
    let beside = |r: &u64, total: u64| *r > 0 && (input.saturating_add(output).saturating_add(*r) == total || *r > output);
    if let Some(reasoning) = reasoning.filter(|r| total.is_some_and(|total| beside(r, total))) {
        output = output.saturating_add(reasoning);
    }
    Some(Usage {
        input_tokens: input,
        cache_read_tokens: read,
        cache_write_tokens: written,
        output_tokens: output,
        reasoning_tokens: reasoning,
        raw: Some(value.raw().into()),
    })
}

/// Writes `usage`: the provider's own object when it is in this format and says the same.
pub(crate) fn write(o: &mut Object<'_>, usage: &Usage, same_format: bool) {
    let raw = usage.raw.as_deref().filter(|_| same_format).and_then(Value::parse);
    if let Some(raw) = raw.filter(|v| read(*v).as_ref() == Some(usage)) {
        return o.raw("usage", raw.raw());
    }
    let mut u = o.object("usage");
    u.int("prompt_tokens", usage.input_tokens);
    u.int("completion_tokens", usage.output_tokens);
    u.int("total_tokens", usage.input_tokens.saturating_add(usage.output_tokens));
    if usage.cache_read_tokens.is_some() || usage.cache_write_tokens.is_some() {
        let mut details = u.object("prompt_tokens_details");
        details.int("cached_tokens", usage.cache_read_tokens.unwrap_or(0));
        if let Some(written) = usage.cache_write_tokens {
            details.int("cache_write_tokens", written);
        }
        details.end();
    }
    if let Some(reasoning) = usage.reasoning_tokens {
        let mut details = u.object("completion_tokens_details");
        details.int("reasoning_tokens", reasoning);
        details.end();
    }
    u.end();
}
