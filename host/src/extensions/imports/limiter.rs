//! `wasmgate:extension/limiter`: the extension's own keys of the gateway's rate counters.

use std::time::Duration;

use crate::extensions::bindings::wasmgate::extension::limiter::{Granted, Host, Refused, Rule, Settlement, Wish};
use crate::extensions::state::StoreState;
use crate::extensions::tape::{Function, acted};
use crate::storage::limits;

/// Longest key that is looked at, in bytes; longer ones are cut, so that they share a count rather than fill memory.
const MAX_KEY: usize = 512;

/// Most reservations, or settlements, of one call: nobody else counts meanwhile.
const MOST: usize = 64;

impl Host for &mut StoreState {
    async fn reserve(&mut self, key: String, rule: Rule, amount: u64) -> wasmtime::Result<Result<Granted, Refused>> {
        let pretended = Ok(pretended());
        Ok(acted!(self, Function::effect("limiter.reserve"), (&key, &rule, amount), pretended, {
            let services = &self.services;
            told(services.rates.reserve(&services.name, own_wish(key, rule, amount)).await)
        }))
    }

    async fn settle(&mut self, reservation: u64, used: u64) -> wasmtime::Result<bool> {
        Ok(acted!(self, Function::effect("limiter.settle"), (reservation, used), true, {
            self.services.rates.settle(&self.services.name, reservation, used).await
        }))
    }

    async fn reserve_all(&mut self, wishes: Vec<Wish>) -> wasmtime::Result<Vec<Result<Granted, Refused>>> {
        few("limiter.reserve-all", wishes.len())?;
        let pretended = wishes.iter().map(|_| Ok(pretended())).collect();
        Ok(acted!(self, Function::effect("limiter.reserve-all"), (&wishes,), pretended, {
            let services = &self.services;
            let wishes = wishes.into_iter().map(|w| own_wish(w.key, w.rule, w.amount)).collect();
            services.rates.reserve_all(&services.name, wishes).await.into_iter().map(told).collect()
        }))
    }

    async fn settle_all(&mut self, settlements: Vec<Settlement>) -> wasmtime::Result<Vec<bool>> {
        few("limiter.settle-all", settlements.len())?;
        let pretended = vec![true; settlements.len()];
        Ok(acted!(self, Function::effect("limiter.settle-all"), (&settlements,), pretended, {
            let settlements: Vec<(u64, u64)> = settlements.iter().map(|s| (s.reservation, s.used)).collect();
            self.services.rates.settle_all(&self.services.name, &settlements).await
        }))
    }
}

/// More than anybody wants at once ends the call.
fn few(function: &str, count: usize) -> wasmtime::Result<()> {
    if count > MOST {
        Err(wasmtime::Error::msg(format!("{function} was called with {count} of them; {MOST} are possible")))
    } else {
        Ok(())
    }
}

/// While an instance is made for a replay.
fn pretended() -> Granted {
    Granted { reservation: 0, remaining: 0, reset_ms: 0 }
}

fn told(answer: Result<limits::Granted, limits::Refused>) -> Result<Granted, Refused> {
    match answer {
        Ok(g) => Ok(Granted { reservation: g.reservation, remaining: g.remaining, reset_ms: ms(g.reset) }),
        Err(r) => Err(Refused { remaining: r.remaining, retry_after_ms: r.retry_after.map(ms), reset_ms: ms(r.reset) }),
    }
}

fn own_wish(mut key: String, rule: Rule, amount: u64) -> limits::Wish {
    key.truncate(key.floor_char_boundary(MAX_KEY));
    limits::Wish { key, rule: own_rule(rule), amount }
}

fn own_rule(rule: Rule) -> limits::Rule {
    match rule {
        Rule::TokenBucket(b) => limits::Rule::TokenBucket { capacity: b.capacity, refill: b.refill, per: Duration::from_millis(b.per_ms) },
        Rule::SlidingWindow(w) => limits::Rule::SlidingWindow { limit: w.limit, window: Duration::from_millis(w.window_ms) },
    }
}

/// Rounded up: whoever waits so long must not come too early.
fn ms(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos().div_ceil(1_000_000)).unwrap_or(u64::MAX)
}
