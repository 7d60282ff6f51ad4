//! What is written of a request.

use serde::{Deserialize, Serialize};
use wasmgate_prices::Prices;
use wasmgate_sdk::hub::Usage;
use wasmgate_sdk::prelude::*;
use wasmgate_sdk::records::{Field, Row, Value};
use wasmgate_sdk::{Part, Tried};

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

/// All columns, in the order in which they are shown. The time of arrival is the row's own; what is not known of a request is not in its row.
pub const COLUMNS: [(&str, Kind); 34] = [
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
    // Of the tries that did not answer, where there were any.
    ("other_input_tokens", Kind::Number),
    ("other_output_tokens", Kind::Number),
    ("other_cost_usd", Kind::Number),
    ("other_estimated", Kind::Number),
    ("other_untold", Kind::Number),
    // Numbers of what would otherwise have to be counted row by row.
    ("successes", Kind::Number),
    ("failures", Kind::Number),
    ("estimates", Kind::Number),
    ("unpriced", Kind::Number),
];

/// How many of them are for adding up only.
pub const COUNTERS: usize = 4;

/// Tokens that a provider told: input, output, read from a cache, written to one, reasoning.
type Told = (u64, u64, Option<u64>, Option<u64>, Option<u64>);

/// One of several tries of a request, as it is noted on the request until its row is written.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Noted {
    provider: String,
    model: String,
    /// It served.
    served: bool,
    /// Its answer began.
    began: bool,
    /// It was sent and nobody refused it: that costs something.
    taken: bool,
    usage: Option<Told>,
    /// The gateway counted, because the provider told nothing.
    estimated: bool,
}

/// What the tries took that did not answer.
#[derive(Debug, Default, Clone, Copy, PartialEq)]
struct Others {
    input: u64,
    output: u64,
    /// None as soon as one of them told tokens and has no price.
    cost: Option<f64>,
    /// How many told nothing and were estimated.
    estimated: u64,
    /// How many took something and are not in these numbers.
    untold: u64,
}

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

/// What is noted of a request's tries.
pub fn noted(tries: &[Tried]) -> Vec<Noted> {
    let usage = |u: &Usage| (u.input_tokens, u.output_tokens, u.cache_read_tokens, u.cache_write_tokens, u.reasoning_tokens);
    let noted = |t: &Tried| Noted {
        provider: t.target.provider.clone(),
        model: t.target.model.clone(),
        served: t.part == Part::Served,
        began: t.first_event_us.is_some(),
        taken: t.part != Part::Failed || t.first_event_us.is_some(),
        usage: t.usage.as_ref().map(usage),
        estimated: t.usage.as_ref().is_some_and(|u| u.raw.is_none()),
    };
    tries.iter().map(noted).collect()
}

/// The row of a request. `tries` are those that were noted, where there were several.
pub fn of(call: &CallInfo, request: &Request, outcome: &Outcome, tries: &[Noted], prices: &Prices) -> Row {
    let target = outcome.served_by.as_ref().or_else(|| outcome.attempts.last().map(|a| &a.target));
    let answer = answer(outcome, tries);
    let others = others(tries, answer, prices);
    let told = match answer {
        // What this one took is estimated below.
        Some(at) => tries[at].usage().filter(|_| !tries[at].estimated),
        None => outcome.usage.clone(),
    };
    let tokens = tokens(call, request, outcome, told.as_ref());
    let usage = tokens.input.map(|input_tokens| Usage {
        input_tokens,
        cache_read_tokens: tokens.cache_read,
        cache_write_tokens: tokens.cache_write,
        output_tokens: tokens.output.unwrap_or(0),
        reasoning_tokens: tokens.reasoning,
        raw: None,
    });
    let cost = usage.as_ref().zip(target).and_then(|(usage, t)| prices.cost(&t.provider, &t.model, usage));
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
        number(others.map(|o| o.input)),
        number(others.map(|o| o.output)),
        others.and_then(|o| o.cost).map_or(Value::Null, Value::Number),
        number(others.map(|o| o.estimated)),
        number(others.map(|o| o.untold)),
        yes(outcome.ending == Ending::Success),
        yes(outcome.ending != Ending::Success),
        yes(tokens.estimated),
        yes(usage.is_some() && cost.is_none()),
    ];
    // What is not in a row is null to whoever asks. Most rows know nothing of a third of the columns, and a name takes as long as a value.
    let known = COLUMNS.iter().zip(values).filter(|(_, value)| !matches!(value, Value::Null));
    let fields = known.map(|((name, _), value)| Field { name: (*name).into(), value }).collect();
    Row { at_ms: outcome.started_ms, fields }
}

impl Noted {
    fn usage(&self) -> Option<Usage> {
        self.usage.map(|(input_tokens, output_tokens, cache_read_tokens, cache_write_tokens, reasoning_tokens)| Usage {
            input_tokens,
            cache_read_tokens,
            cache_write_tokens,
            output_tokens,
            reasoning_tokens,
            raw: None,
        })
    }
}

/// Which of several tries the row's own tokens are of: the one that answered or began to; of a request that nobody answered, the last one, whose
/// target is in the row too.
fn answer(outcome: &Outcome, tries: &[Noted]) -> Option<usize> {
    let Some(target) = &outcome.served_by else { return tries.len().checked_sub(1) };
    let of_target = |t: &Noted| t.provider == target.provider && t.model == target.model;
    let last = |is: &dyn Fn(&Noted) -> bool| tries.iter().rposition(is);
    last(&|t| t.served && of_target(t)).or_else(|| last(&|t| t.began && of_target(t))).or_else(|| last(&of_target))
}

/// What the others took; none when there are no others.
fn others(tries: &[Noted], answer: Option<usize>, prices: &Prices) -> Option<Others> {
    let mut sum = Others { cost: Some(0.0), ..Others::default() };
    let mut any = false;
    for (_, other) in tries.iter().enumerate().filter(|(at, _)| Some(*at) != answer) {
        any = true;
        match other.usage() {
            Some(usage) => {
                sum.estimated += u64::from(other.estimated);
                sum.input = sum.input.saturating_add(usage.input_tokens);
                sum.output = sum.output.saturating_add(usage.output_tokens);
                sum.cost = sum.cost.zip(prices.cost(&other.provider, &other.model, &usage)).map(|(a, b)| a + b);
            }
            None => sum.untold += u64::from(other.taken),
        }
    }
    any.then_some(sum)
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
fn tokens(call: &CallInfo, request: &Request, outcome: &Outcome, told: Option<&Usage>) -> Tokens {
    let answered = outcome.served_by.is_some();
    if let Some(usage) = told {
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
    let input = request.estimate().ok().map(|e| e.input_tokens);
    Tokens { input, estimated: input.is_some(), ..Tokens::default() }
}
