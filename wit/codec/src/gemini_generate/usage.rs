//! Token counts.

use crate::hub::Usage;
use crate::json::{Object, Value};

/// Reads a `usageMetadata` object; `None` when it counts nothing. `promptTokenCount` includes what was cached; what tools of the provider
/// put into the prompt, and the reasoning, are counted beside prompt and candidates.
pub(crate) fn read(value: Value<'_>) -> Option<Usage> {
    let mut f = value.object()?;
    let mut count = |name: &str| f.take(name).and_then(Value::u64);
    let (prompt, candidates, thoughts) = (count("promptTokenCount"), count("candidatesTokenCount"), count("thoughtsTokenCount"));
    let (cached, tools, total) = (count("cachedContentTokenCount"), count("toolUsePromptTokenCount"), count("totalTokenCount"));
    let told = [prompt, candidates, thoughts].iter().any(Option::is_some);
    // A partial count tells the total alone.
    let input = if told { prompt.unwrap_or(0).saturating_add(tools.unwrap_or(0)) } else { total? };
    Some(Usage {
        input_tokens: input,
        cache_read_tokens: cached,
        cache_write_tokens: None,
        output_tokens: candidates.unwrap_or(0).saturating_add(thoughts.unwrap_or(0)),
        reasoning_tokens: thoughts,
        raw: Some(value.raw().into()),
    })
}

/// Writes `usageMetadata`: the provider's own object when it is in this format and says the same.
pub(super) fn write(o: &mut Object<'_>, usage: &Usage, same_format: bool) {
    let raw = usage.raw.as_deref().filter(|_| same_format).and_then(Value::parse);
    if let Some(raw) = raw.filter(|v| read(*v).as_ref() == Some(usage)) {
        return o.raw("usageMetadata", raw.raw());
    }
    let mut u = o.object("usageMetadata");
    u.int("promptTokenCount", usage.input_tokens);
    u.int("candidatesTokenCount", usage.output_tokens.saturating_sub(usage.reasoning_tokens.unwrap_or(0)));
    if let Some(reasoning) = usage.reasoning_tokens {
        u.int("thoughtsTokenCount", reasoning);
    }
    if let Some(cached) = usage.cache_read_tokens {
        u.int("cachedContentTokenCount", cached);
    }
    u.int("totalTokenCount", usage.input_tokens.saturating_add(usage.output_tokens));
    u.end();
}
