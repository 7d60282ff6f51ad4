//! What is written of a request.

use serde::{Deserialize, Serialize};
use wasmgate_prices::Prices;
use wasmgate_sdk::prelude::*;
use wasmgate_sdk::records::{Field, Row, Value};
use wasmgate_sdk::{Note, Tried};

/// What a column holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Text.
    Text,
    /// A number.
    Number,
    /// Yes or no.
    Flag,
}

/// All columns, in the order in which they are shown. The time of arrival is the row's own.
pub const COLUMNS: [(&str, Kind); 29] = [
    ("request_id", Kind::Text),
    ("api_key_name", Kind::Text),
    ("team", Kind::Text),
    ("requested_model", Kind::Text),
    ("model", Kind::Text),
    ("provider", Kind::Text),
    ("endpoint", Kind::Text),
    ("format", Kind::Text),
    ("stream", Kind::Flag),
    ("status", Kind::Text),
    ("http_status", Kind::Number),
    ("error_code", Kind::Text),
    ("input_tokens", Kind::Number),
    ("output_tokens", Kind::Number),
    ("total_tokens", Kind::Number),
    ("cache_read_tokens", Kind::Number),
    ("cache_write_tokens", Kind::Number),
    ("reasoning_tokens", Kind::Number),
    ("estimated", Kind::Flag),
    ("cost_usd", Kind::Number),
    ("price_version", Kind::Text),
    ("latency_ms", Kind::Number),
    ("ttft_ms", Kind::Number),
    ("attempts", Kind::Number),
    ("depth", Kind::Number),
    // Numbers of what would otherwise have to be counted row by row.
    ("successes", Kind::Number),
    ("failures", Kind::Number),
    ("estimates", Kind::Number),
    ("unpriced", Kind::Number),
];

/// How many of them are for adding up only.
pub const COUNTERS: usize = 4;

/// Tokens of a request.
#[derive(Debug, Default)]
struct Tokens {
    input: Option<u64>,
    output: Option<u64>,
    cache_read: Option<u64>,
    cache_write: Option<u64>,
    reasoning: Option<u64>,
    /// Not, or not all of it, what the provider told.
    estimated: bool,
}

/// Under which name [`Several`] is noted on the request.
const SEVERAL: &str = "usage.several";

/// What is known of several tries that took tokens, and cannot be told from their sum.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
pub struct Several {
    /// What they cost together, each at the price of its own target; none when one of them has no price.
    cost_usd: Option<f64>,
    /// The gateway counted for one of them.
    estimated: bool,
}

impl Several {
    /// Of these tries.
    pub fn of(tries: &[Tried], prices: &Prices) -> Self {
        let used = || tries.iter().filter_map(|t| Some((&t.target, t.usage.as_ref()?)));
        let costs = used().map(|(target, usage)| prices.cost(&target.provider, &target.model, usage));
        Self { cost_usd: costs.sum(), estimated: used().any(|(_, usage)| usage.raw.is_none()) }
    }

    /// For [`of`], which is called for the same request.
    pub fn note(&self, request: &Request) {
        request.add_note(&Note { key: SEVERAL.into(), value: serde_json::to_string(self).unwrap_or_default() });
    }
}

/// The row of a request.
pub fn of(call: &CallInfo, request: &Request, outcome: &Outcome, prices: &Prices) -> Row {
    let target = outcome.served_by.as_ref().or_else(|| outcome.attempts.last().map(|a| &a.target));
    let several: Option<Several> = if outcome.attempts.len() > 1 { request.note(SEVERAL) } else { None };
    let mut tokens = tokens(call, request, outcome);
    tokens.estimated |= several.as_ref().is_some_and(|s| s.estimated);
    let usage = tokens.input.map(|input_tokens| wasmgate_sdk::hub::Usage {
        input_tokens,
        cache_read_tokens: tokens.cache_read,
        cache_write_tokens: tokens.cache_write,
        output_tokens: tokens.output.unwrap_or(0),
        reasoning_tokens: tokens.reasoning,
        raw: None,
    });
    let cost = match several {
        Some(several) => several.cost_usd,
        None => usage.as_ref().zip(target).and_then(|(usage, t)| prices.cost(&t.provider, &t.model, usage)),
    };
    let status = status(outcome, call.depth);
    let text = |value: Option<String>| value.map_or(Value::Null, Value::Text);
    let number = |value: Option<u64>| value.map_or(Value::Null, |n| Value::Integer(i64::try_from(n).unwrap_or(i64::MAX)));
    let ms = |us: u64| Value::Number(us as f64 / 1000.0);
    let yes = |fact: bool| Value::Integer(i64::from(fact));
    let values = [
        Value::Text(call.request_id.clone()),
        text(request.note("apikeys.name")),
        text(request.note("apikeys.team")),
        text(Some(call.requested_model.clone()).filter(|m| !m.is_empty())),
        text(target.map(|t| t.model.clone()).filter(|m| !m.is_empty())),
        text(target.map(|t| t.provider.clone())),
        Value::Text(request.path()),
        Value::Text(call.format.clone()),
        Value::Flag(call.stream),
        Value::Text(status.into()),
        Value::Integer(i64::from(outcome.status)),
        text(outcome.error.as_ref().map(|e| e.code.clone().unwrap_or_else(|| e.class.name().into()))),
        number(tokens.input),
        number(tokens.output),
        number(tokens.input.map(|input| input.saturating_add(tokens.output.unwrap_or(0)))),
        number(tokens.cache_read),
        number(tokens.cache_write),
        number(tokens.reasoning),
        Value::Flag(tokens.estimated),
        cost.map_or(Value::Null, Value::Number),
        text(cost.map(|_| prices.version().into())),
        ms(outcome.duration_us),
        outcome.first_byte_us.map_or(Value::Null, ms),
        Value::Integer(outcome.attempts.len() as i64),
        Value::Integer(i64::from(call.depth)),
        yes(outcome.ending == Ending::Success),
        yes(outcome.ending != Ending::Success),
        yes(tokens.estimated),
        yes(usage.is_some() && cost.is_none()),
    ];
    let fields = COLUMNS.iter().zip(values).map(|((name, _), value)| Field { name: (*name).into(), value }).collect();
    Row { at_ms: outcome.started_ms, fields }
}

/// One word for how a request ended. A caller who left while the answer came was disconnected: that is what costs tokens.
fn status(outcome: &Outcome, depth: u32) -> &'static str {
    match outcome.ending {
        Ending::Success => "success",
        Ending::Error => "error",
        Ending::Rejected => "rejected",
        Ending::Cancelled if depth == 0 && outcome.first_byte_us.is_some() => "disconnected",
        Ending::Cancelled => "cancelled",
    }
}

/// What a provider told; where it did not and it had begun to answer, an estimate of what it read. What it wrote then, nobody counted. Of an
/// answer that broke off, what was told before its end is not the whole.
fn tokens(call: &CallInfo, request: &Request, outcome: &Outcome) -> Tokens {
    let answered = outcome.served_by.is_some();
    if let Some(usage) = &outcome.usage {
        return Tokens {
            input: Some(usage.input_tokens),
            output: Some(usage.output_tokens),
            cache_read: usage.cache_read_tokens,
            cache_write: usage.cache_write_tokens,
            reasoning: usage.reasoning_tokens,
            estimated: answered && outcome.ending != Ending::Success,
        };
    }
    // Of calls that hold no conversation, few have anything to count.
    let holds = wasmgate_sdk::codec::Format::from_name(&call.format).is_some();
    if !answered || !holds {
        return Tokens::default();
    }
    let input = request.estimated_tokens(call).ok();
    Tokens { input, estimated: input.is_some(), ..Tokens::default() }
}
