//! `wasmgate:extension/limiter`: the extension's own keys of the gateway's rate counters.

use std::time::Duration;

use crate::extensions::bindings::wasmgate::extension::limiter::{Granted, Host, Refused, Rule};
use crate::extensions::state::StoreState;
use crate::extensions::tape::{Function, acted};
use crate::storage::limits;

/// Longest key that is looked at, in bytes; longer ones are cut, so that they share a count rather than fill memory.
const MAX_KEY: usize = 512;

impl Host for &mut StoreState {
    async fn reserve(&mut self, mut key: String, rule: Rule, amount: u64) -> wasmtime::Result<Result<Granted, Refused>> {
        key.truncate(key.floor_char_boundary(MAX_KEY));
        let pretended = Ok(Granted { reservation: 0, remaining: 0, reset_ms: 0 });
        Ok(acted!(self, Function::effect("limiter.reserve"), (&key, &rule, amount), pretended, {
            let services = &self.services;
            match services.rates.reserve(&services.name, key, own_rule(rule), amount).await {
                Ok(g) => Ok(Granted { reservation: g.reservation, remaining: g.remaining, reset_ms: ms(g.reset) }),
                Err(r) => Err(Refused { remaining: r.remaining, retry_after_ms: r.retry_after.map(ms), reset_ms: ms(r.reset) }),
            }
        }))
    }

    async fn settle(&mut self, reservation: u64, used: u64) -> wasmtime::Result<bool> {
        Ok(acted!(self, Function::effect("limiter.settle"), (reservation, used), true, {
            self.services.rates.settle(&self.services.name, reservation, used).await
        }))
    }
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
