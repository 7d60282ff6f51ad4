//! Rates and budgets of a request: reserved before it is sent, settled when it is over.
//!
//! Rates are counted by the gateway's limiter over sliding windows, so that no edge of a minute lets a double burst through. Budgets are
//! counters in the gateway's store, by calendar day and month (UTC), and survive a restart. Both take an estimate first: who comes next finds it
//! taken. What was not used comes back, what was used beyond it is taken too. A budget is closed once it is used up: the request that uses it up
//! may go over it by what it takes beyond its estimate, and no other can.

use serde::{Deserialize, Serialize};
use time::{Date, Month, OffsetDateTime};
use wasmgate_sdk::limiter::{self, Granted, Refused, Rule, Settlement, SlidingWindow, Wish};
use wasmgate_sdk::{ChatError, ErrorClass, Header, kv};

use crate::key::Rules;

const MINUTE_MS: u64 = 60_000;

const DAY_MS: u64 = 24 * HOUR_MS;

/// Longest that a request counts as running. The limiter forgets reservations that are older.
const HOUR_MS: u64 = 3_600_000;

/// When a caller with too many requests at once may try again, in milliseconds: nobody knows when one of them ends.
const PARALLEL_RETRY_MS: u64 = 1_000;

/// Most that one request may add to a counter. It is more than any budget, and so little that thousands of requests at once do not reach the end of
/// a counter: there a sum is cut off, and what comes back later would make it less than nothing.
const MOST: i64 = 1 << 50;

/// Bucket of the budgets' counters.
const SPENT: &str = "spent";

/// Key in it: the day on which counters of the past were last removed.
const SWEPT: &str = "swept";

/// Whose limits hold for a request.
pub struct Scope<'a> {
    /// `key:NAME` or `team:NAME`.
    pub name: String,
    /// The limits.
    pub rules: &'a Rules,
}

/// What a request will take, as far as that can be told.
#[derive(Debug, Clone, Copy, Default)]
pub struct Estimate {
    /// Tokens of the conversation.
    pub input: u64,
    /// Most tokens of the answer.
    pub output: u64,
    /// US dollars.
    pub usd: f64,
}

/// What a request really took; none where nobody told.
#[derive(Debug, Clone, Copy, Default)]
pub struct Used {
    /// Input and output together.
    pub tokens: Option<u64>,
    /// US dollars.
    pub usd: Option<f64>,
    /// A provider began to answer. Otherwise a request that nobody told about took nothing.
    pub answered: bool,
}

/// What was reserved for a request. It is noted on the request until its end.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Hold {
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    requests: Vec<u64>,
    /// Reservations, and how much.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    tokens: Vec<(u64, u64)>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    parallel: Vec<u64>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    budgets: Vec<Budget>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Budget {
    counter: String,
    amount: i64,
    money: bool,
}

/// The limits that callers are told of in header fields: of several, the one with the least left.
#[derive(Debug, Clone, Copy, Default)]
pub struct Shown {
    requests: Option<Left>,
    tokens: Option<Left>,
}

#[derive(Debug, Clone, Copy)]
struct Left {
    limit: u64,
    remaining: u64,
    reset_ms: u64,
}

/// Why nothing was reserved.
pub struct Refusal {
    /// For the caller.
    pub error: ChatError,
    /// What is told besides.
    pub shown: Shown,
}

/// Reserves what a request will take under all limits, or under none. `inner` is a request that an extension makes for a caller: its tokens and
/// its money count, but it is no request of the caller.
pub fn reserve(scopes: &[Scope<'_>], inner: bool, estimate: Estimate, now_ms: u64) -> Result<(Hold, Shown), Box<Refusal>> {
    let mut hold = Hold::default();
    let mut shown = Shown::default();
    let rates = hold.take_rates(scopes, inner, estimate, &mut shown);
    let taken = rates.and_then(|()| scopes.iter().try_for_each(|scope| hold.take_budgets(scope, estimate, now_ms)));
    if let Err(error) = taken {
        hold.settle(Used::default(), now_ms);
        return Err(Box::new(Refusal { error, shown }));
    }
    Ok((hold, shown))
}

/// A rate that a request counts for.
struct Rate<'a> {
    /// Whose.
    scope: &'a str,
    kind: Kind,
    limit: u64,
    amount: u64,
}

#[derive(Clone, Copy)]
enum Kind {
    /// Requests that run at the same time.
    Parallel,
    /// Requests a minute.
    Requests,
    /// Tokens a minute.
    Tokens,
}

/// The rates of a scope, in the order in which they are told of.
fn rates_of<'a>(scope: &'a Scope<'_>, inner: bool, estimate: Estimate) -> impl Iterator<Item = Rate<'a>> {
    let Scope { name, rules } = scope;
    let parallel = rules.max_parallel_requests.filter(|_| !inner).map(|limit| (Kind::Parallel, limit, 1));
    let requests = rules.rate_limit_rpm.filter(|_| !inner).map(|limit| (Kind::Requests, limit, 1));
    let tokens = rules.rate_limit_tpm.map(|limit| {
        // What may be less than the limit is let in when everything is there; what cannot be less is not.
        let whole = estimate.input.saturating_add(estimate.output).max(1);
        (Kind::Tokens, limit, if estimate.input > limit { estimate.input } else { whole.min(limit.max(1)) })
    });
    [parallel, requests, tokens].into_iter().flatten().map(|(kind, limit, amount)| Rate { scope: name, kind, limit, amount })
}

impl Rate<'_> {
    fn wish(&self) -> Wish {
        let (what, window_ms) = match self.kind {
            Kind::Parallel => ("parallel", HOUR_MS),
            Kind::Requests => ("rpm", MINUTE_MS),
            Kind::Tokens => ("tpm", MINUTE_MS),
        };
        let rule = Rule::SlidingWindow(SlidingWindow { limit: self.limit, window_ms });
        Wish { key: format!("{what}/{}", self.scope), rule, amount: self.amount }
    }

    fn refusal(&self, refused: &Refused) -> ChatError {
        let Self { scope, limit, amount, .. } = self;
        let whose = whose(scope);
        match self.kind {
            Kind::Parallel => {
                let message = format!("Too many requests at once: {limit} of them may run for {whose}.");
                limited("parallel_limit_exceeded", message, (*limit > 0).then_some(PARALLEL_RETRY_MS))
            }
            Kind::Requests => {
                let message = format!("Rate limit reached: {limit} requests a minute for {whose}.");
                limited("rate_limit_exceeded", message, refused.retry_after_ms)
            }
            Kind::Tokens => {
                let message = format!("Rate limit reached: {limit} tokens a minute for {whose}, and this request may take {amount}.");
                limited("rate_limit_exceeded", message, refused.retry_after_ms)
            }
        }
    }
}

impl Hold {
    /// Whether there is nothing to settle.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// All of them in one call: where replicas share limits, each call is a way to Redis.
    fn take_rates(&mut self, scopes: &[Scope<'_>], inner: bool, estimate: Estimate, shown: &mut Shown) -> Result<(), ChatError> {
        let rates: Vec<Rate<'_>> = scopes.iter().flat_map(|scope| rates_of(scope, inner, estimate)).collect();
        if rates.is_empty() {
            return Ok(());
        }
        let wishes: Vec<Wish> = rates.iter().map(Rate::wish).collect();
        for (rate, reserved) in rates.iter().zip(limiter::reserve_all(&wishes)) {
            match rate.kind {
                Kind::Parallel => {}
                Kind::Requests => lower(&mut shown.requests, left(rate.limit, &reserved)),
                Kind::Tokens => lower(&mut shown.tokens, left(rate.limit, &reserved)),
            }
            let Granted { reservation, .. } = reserved.map_err(|refused| rate.refusal(&refused))?;
            match rate.kind {
                Kind::Parallel => self.parallel.push(reservation),
                Kind::Requests => self.requests.push(reservation),
                Kind::Tokens => self.tokens.push((reservation, rate.amount)),
            }
        }
        Ok(())
    }

    fn take_budgets(&mut self, scope: &Scope<'_>, estimate: Estimate, now: u64) -> Result<(), ChatError> {
        let Scope { name, rules } = scope;
        let tokens = amount(estimate.input.saturating_add(estimate.output));
        let (day, month) = periods(now);
        for (limit, period, money, what) in [
            (rules.daily_token_budget.map(whole), &day, false, "tokens a day"),
            (rules.monthly_token_budget.map(whole), &month, false, "tokens a month"),
            (rules.daily_budget_usd.map(micros), &day, true, "US dollars a day"),
            (rules.monthly_budget_usd.map(micros), &month, true, "US dollars a month"),
        ] {
            let Some(limit) = limit else { continue };
            let amount = if money { micros(estimate.usd).min(MOST) } else { tokens };
            let unit = if money { "microusd" } else { "tokens" };
            let counter = format!("{period}/{name}/{unit}");
            let sum = kv::increment(SPENT, &counter, amount).map_err(|e| broken(&e))?;
            self.budgets.push(Budget { counter, amount, money });
            if sum - amount >= limit {
                let shown = if money { format!("{}", limit as f64 / 1e6) } else { limit.to_string() };
                let message = format!("The budget of {shown} {what} for {} is used up.", whose(name));
                let quota = ChatError::new(ErrorClass::QuotaExceeded, message);
                let retry_after_ms = (limit > 0).then(|| until_end(period, now));
                return Err(ChatError { status: Some(429), code: Some("insufficient_quota".into()), retry_after_ms, ..quota });
            }
        }
        Ok(())
    }

    /// The request is over.
    pub fn settle(&self, used: Used, now_ms: u64) {
        // A request that was refused by another limit was none.
        self.settle_as(u64::from(used.answered || used.tokens.is_some()), used, now_ms);
    }

    /// The same for a request that was let in: it counts as one, whatever came of it.
    pub fn settle_request(&self, used: Used, now_ms: u64) {
        self.settle_as(1, used, now_ms);
    }

    fn settle_as(&self, requests: u64, used: Used, now_ms: u64) {
        let settled = |reservation: &u64, used| Settlement { reservation: *reservation, used };
        let parallel = self.parallel.iter().map(|r| settled(r, 0));
        let counted = self.requests.iter().map(|r| settled(r, requests));
        let tokens = self.tokens.iter().map(|(r, amount)| settled(r, used.tokens.unwrap_or(if used.answered { *amount } else { 0 })));
        let settlements: Vec<Settlement> = parallel.chain(counted).chain(tokens).collect();
        if !settlements.is_empty() {
            limiter::settle_all(&settlements);
        }
        for budget in &self.budgets {
            let known = if budget.money { used.usd.map(|usd| micros(usd).min(MOST)) } else { used.tokens.map(amount) };
            let amount = known.unwrap_or(if used.answered { budget.amount } else { 0 });
            if amount != budget.amount {
                // A full store must not make requests fail; what is reserved stays counted then.
                let _ = kv::increment(SPENT, &budget.counter, amount - budget.amount);
            }
        }
        if !self.budgets.is_empty() {
            sweep(now_ms);
        }
    }
}

impl Shown {
    /// As header fields, named and written like OpenAI's.
    pub fn headers(&self) -> Vec<Header> {
        let mut fields = Vec::new();
        for (what, left) in [("requests", self.requests), ("tokens", self.tokens)] {
            let Some(left) = left else { continue };
            for (part, value) in
                [("limit", left.limit.to_string()), ("remaining", left.remaining.to_string()), ("reset", duration(left.reset_ms))]
            {
                fields.push(Header { name: format!("x-ratelimit-{part}-{what}"), value });
            }
        }
        fields
    }
}

fn left(limit: u64, reserved: &Result<Granted, Refused>) -> Left {
    let (remaining, reset_ms) = match reserved {
        Ok(granted) => (granted.remaining, granted.reset_ms),
        Err(refused) => (refused.remaining, refused.reset_ms),
    };
    Left { limit, remaining, reset_ms }
}

fn lower(shown: &mut Option<Left>, left: Left) {
    if shown.is_none_or(|before| left.remaining < before.remaining) {
        *shown = Some(left);
    }
}

fn limited(code: &str, message: String, retry_after_ms: Option<u64>) -> ChatError {
    ChatError { code: Some(code.into()), retry_after_ms, ..ChatError::new(ErrorClass::RateLimited, message) }
}

/// The store does not do what it should: nobody comes in.
fn broken(reason: &str) -> ChatError {
    wasmgate_sdk::log::error(&format!("a budget cannot be counted: {reason}"));
    ChatError::new(ErrorClass::Internal, "The gateway cannot count this key's budget.")
}

fn whose(scope: &str) -> String {
    match scope.split_once(':') {
        Some(("team", name)) => format!("the team `{name}`"),
        _ => "this API key".into(),
    }
}

/// A limit as a counter has it.
fn whole(tokens: u64) -> i64 {
    i64::try_from(tokens).unwrap_or(i64::MAX)
}

/// Tokens of one request as a counter has them.
fn amount(tokens: u64) -> i64 {
    whole(tokens).min(MOST)
}

/// Millionths of a US dollar, rounded up so that many small requests do not come for nothing.
fn micros(usd: f64) -> i64 {
    // Saturates.
    ((usd * 1e6 - 1e-6).ceil() as i64).max(0)
}

fn date(ms: u64) -> Date {
    OffsetDateTime::from_unix_timestamp((ms / 1000) as i64).map_or(Date::MIN, OffsetDateTime::date)
}

/// The day and the month of a time.
fn periods(now_ms: u64) -> (String, String) {
    let day = date(now_ms);
    let month = format!("{:04}-{:02}", day.year(), u8::from(day.month()));
    (format!("{month}-{:02}", day.day()), month)
}

/// How long a period goes on, in milliseconds.
fn until_end(period: &str, now_ms: u64) -> u64 {
    let day = date(now_ms);
    let next = if period.len() > 7 {
        day.next_day()
    } else {
        let (year, month) = (day.year() + i32::from(day.month() == Month::December), day.month().next());
        Date::from_calendar_date(year, month, 1).ok()
    };
    let end = next.map_or(now_ms, |d| d.midnight().assume_utc().unix_timestamp() as u64 * 1000);
    end.saturating_sub(now_ms)
}

/// Removes counters of the past, once a day. Those of yesterday and of last month stay, and those of the future too: a clock that was set back
/// across midnight must not open a budget again.
fn sweep(now_ms: u64) {
    let (day, month) = periods(now_ms);
    let (yesterday, _) = periods(now_ms.saturating_sub(DAY_MS));
    let last_month =
        date(now_ms).replace_day(1).ok().and_then(Date::previous_day).map_or_else(String::new, |d| d.to_string()[..7].to_owned());
    if kv::value(SPENT, SWEPT).is_ok_and(|swept| swept.as_deref() == Some(day.as_bytes())) {
        return;
    }
    let _ = kv::set(SPENT, SWEPT, day.as_bytes());
    for key in kv::keys(SPENT).unwrap_or_default() {
        let period = key.split('/').next().unwrap_or_default();
        let oldest = if period.len() > month.len() { &yesterday } else { &last_month };
        // Written like this, they are in the order of time.
        if key != SWEPT && period < oldest.as_str() {
            let _ = kv::delete(SPENT, &key);
        }
    }
}

/// A stretch of time as OpenAI writes it: `250ms`, `1.5s`, `6m0s`.
fn duration(ms: u64) -> String {
    let seconds = (ms % 60_000) as f64 / 1000.0;
    match ms {
        0..1_000 => format!("{ms}ms"),
        1_000..60_000 => format!("{seconds}s"),
        _ => format!("{}m{seconds}s", ms / 60_000),
    }
}

#[cfg(test)]
mod tests {
    use wasmgate_sdk::prelude::FakeHost;

    use super::*;
    use crate::key::moment;

    fn rules(text: &str) -> Rules {
        serde_json::from_str(text).unwrap()
    }

    fn scope<'a>(name: &str, rules: &'a Rules) -> Scope<'a> {
        Scope { name: name.into(), rules }
    }

    const NOON: &str = "2026-11-27T12:00:00Z";

    fn noon() -> u64 {
        moment(NOON).unwrap()
    }

    #[test]
    fn what_one_limit_refuses_takes_nothing_of_the_others() {
        FakeHost::default().install();
        let (key, team) = (rules(r#"{"rate_limit_rpm": 10, "max_parallel_requests": 5}"#), rules(r#"{"rate_limit_rpm": 1}"#));
        let scopes = [scope("key:a", &key), scope("team:t", &team)];
        let (first, _) = reserve(&scopes, false, Estimate::default(), noon()).ok().unwrap();
        let refused = reserve(&scopes, false, Estimate::default(), noon()).err().unwrap();
        assert_eq!((refused.error.class, refused.error.http_status()), (ErrorClass::RateLimited, 429));
        assert!(refused.error.message.contains("1 requests a minute for the team `t`"), "{}", refused.error.message);
        let taken = FakeHost::current().taken;
        assert_eq!((taken["rpm/key:a"], taken["rpm/team:t"], taken["parallel/key:a"]), (1, 1, 1));
        // A request that was let in counts, whatever came of it; it just does not run any more.
        first.settle_request(Used::default(), noon());
        let taken = FakeHost::current().taken;
        assert_eq!((taken["rpm/key:a"], taken["parallel/key:a"]), (1, 0));
    }

    #[test]
    fn nothing_is_allowed_by_zero_and_everything_by_silence() {
        FakeHost::default().install();
        let none = rules("{}");
        let (hold, shown) = reserve(&[scope("key:a", &none)], false, Estimate::default(), noon()).ok().unwrap();
        assert!(hold.is_empty() && shown.headers().is_empty());
        for text in [
            r#"{"rate_limit_rpm": 0}"#,
            r#"{"rate_limit_tpm": 0}"#,
            r#"{"max_parallel_requests": 0}"#,
            r#"{"daily_token_budget": 0}"#,
            r#"{"monthly_budget_usd": 0}"#,
        ] {
            let zero = rules(text);
            let refused = reserve(&[scope("key:a", &zero)], false, Estimate { input: 1, ..Estimate::default() }, noon()).err().unwrap();
            assert_eq!(refused.error.http_status(), 429, "{text}");
            assert_eq!(refused.error.retry_after_ms, None, "{text}: there is nothing to wait for");
        }
    }

    #[test]
    fn tokens_are_reserved_whole_and_what_is_not_used_comes_back() {
        FakeHost::default().install();
        let key = rules(r#"{"rate_limit_tpm": 1000}"#);
        let estimate = Estimate { input: 100, output: 500, usd: 0.0 };
        let (hold, shown) = reserve(&[scope("key:a", &key)], true, estimate, noon()).ok().unwrap();
        let fields: Vec<_> = shown.headers().into_iter().map(|h| format!("{}: {}", h.name, h.value)).collect();
        assert!(fields.contains(&"x-ratelimit-remaining-tokens: 400".to_owned()), "{fields:?}");
        assert!(reserve(&[scope("key:a", &key)], true, estimate, noon()).is_err());
        hold.settle(Used { tokens: Some(120), answered: true, ..Used::default() }, noon());
        assert_eq!(FakeHost::current().taken["tpm/key:a"], 120);
        // A request that nobody told about: all that was reserved stays taken when there was an answer, nothing when there was none.
        for (answered, expect) in [(true, 720), (false, 720)] {
            let (hold, _) = reserve(&[scope("key:a", &key)], true, estimate, noon()).ok().unwrap_or_default();
            hold.settle(Used { answered, ..Used::default() }, noon());
            assert_eq!(FakeHost::current().taken["tpm/key:a"], expect);
        }
        // What can never fit is refused for good; what only might not fit is let in when everything is there.
        FakeHost::default().install();
        assert!(reserve(&[scope("key:a", &key)], true, Estimate { input: 1001, ..estimate }, noon()).is_err());
        assert!(reserve(&[scope("key:a", &key)], true, Estimate { output: 100_000, ..estimate }, noon()).is_ok());
    }

    #[test]
    fn a_budget_closes_when_it_is_used_up_and_opens_with_the_next_day() {
        FakeHost::default().install();
        let key = rules(r#"{"daily_token_budget": 1000, "monthly_budget_usd": 2.5}"#);
        let scopes = [scope("key:a", &key)];
        let estimate = Estimate { input: 600, output: 0, usd: 1.0 };
        let (first, _) = reserve(&scopes, false, estimate, noon()).ok().unwrap();
        let (second, _) = reserve(&scopes, false, estimate, noon()).ok().unwrap();
        let refused = reserve(&scopes, false, estimate, noon()).err().unwrap().error;
        assert_eq!((refused.class, refused.retry_after_ms), (ErrorClass::QuotaExceeded, Some(12 * 3_600_000)), "{}", refused.message);
        let used = |tokens, usd| Used { tokens: Some(tokens), usd: Some(usd), answered: true };
        first.settle(used(400, 1.5), noon());
        second.settle(used(100, 0.75), noon());
        assert_eq!(kv::value(SPENT, "2026-11-27/key:a/tokens"), Ok(Some(b"500".to_vec())));
        assert_eq!(kv::value(SPENT, "2026-11/key:a/microusd"), Ok(Some(b"2250000".to_vec())));
        // The money lasts for one more; on the next day the tokens are there again, and the month's money is not.
        let (third, _) = reserve(&scopes, false, estimate, noon()).ok().unwrap();
        third.settle(used(600, 0.3), noon());
        let tomorrow = noon() + 24 * 3_600_000;
        let refused = reserve(&scopes, false, estimate, tomorrow).err().unwrap().error;
        assert!(refused.message.contains("2.5 US dollars a month"), "{}", refused.message);
        // A clock that goes back across midnight opens nothing: yesterday is counted on.
        assert_eq!(kv::value(SPENT, "2026-11-27/key:a/tokens"), Ok(Some(b"1100".to_vec())));
        assert!(reserve(&scopes, false, estimate, noon()).is_err());
        assert!(reserve(&scopes, false, estimate, noon() + 2 * DAY_MS).is_err());
        assert_eq!(kv::value(SPENT, "2026-11-27/key:a/tokens"), Ok(None), "what is past is removed");
        sweep(noon());
        assert!(kv::value(SPENT, "2026-11-29/key:a/tokens").is_ok_and(|v| v.is_some()), "and what is to come is not");
        assert!(reserve(&scopes, false, estimate, noon() + 5 * 24 * 3_600_000).is_ok(), "in December");
    }

    #[test]
    fn no_request_takes_so_much_that_a_counter_ends() {
        FakeHost::default().install();
        let key = rules(r#"{"daily_token_budget": 18446744073709551615, "monthly_budget_usd": 1e300}"#);
        let scopes = [scope("key:a", &key)];
        let all = Estimate { input: u64::MAX, output: u64::MAX, usd: 1e300 };
        // So many at once, of which each says that it may take everything.
        let holds: Vec<_> = (0..1000).map(|_| reserve(&scopes, false, all, noon()).ok().unwrap().0).collect();
        for hold in holds {
            hold.settle(Used { tokens: Some(1), usd: Some(0.000_001), answered: true }, noon());
        }
        assert_eq!(kv::value(SPENT, "2026-11-27/key:a/tokens"), Ok(Some(b"1000".to_vec())));
        assert_eq!(kv::value(SPENT, "2026-11/key:a/microusd"), Ok(Some(b"1000".to_vec())));
    }

    #[test]
    fn a_request_of_an_extension_is_none_of_the_caller() {
        FakeHost::default().install();
        let key = rules(r#"{"rate_limit_rpm": 0, "max_parallel_requests": 0}"#);
        assert!(reserve(&[scope("key:a", &key)], true, Estimate::default(), noon()).is_ok());
    }

    #[test]
    fn times_are_written_as_clients_read_them() {
        for (ms, expect) in [(0, "0ms"), (250, "250ms"), (1_500, "1.5s"), (60_000, "1m0s"), (59_999, "59.999s")] {
            assert_eq!(duration(ms), expect);
        }
        assert_eq!(until_end("2026-12", moment("2026-12-31T23:59:59Z").unwrap()), 1000);
        assert_eq!((micros(0.0), micros(1.0), micros(0.000_000_1)), (0, 1_000_000, 1));
    }
}
