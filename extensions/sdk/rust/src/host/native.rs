//! The same functions natively: the thread's [`FakeHost`](crate::fake::FakeHost) answers.

use crate::bindings::wasi::logging::logging::Level;
use crate::bindings::wasmgate::extension::limiter::{Granted, Refused, Rule};
use crate::bindings::wasmgate::extension::providers::ProviderInfo;
use crate::fake::{LogLine, with_host};

pub use crate::fake::{Answer, Incoming, Request};

pub fn log(level: Level, context: &str, message: &str) {
    with_host(|h| h.log.push(LogLine { level, context: context.into(), message: message.into() }));
}

pub fn setting(key: &str) -> Option<String> {
    with_host(|h| h.settings.get(key).cloned())
}

pub fn kv_value(bucket: &str, key: &str) -> Result<Option<Vec<u8>>, String> {
    Ok(with_host(|h| h.kv.get(&(bucket.into(), key.into())).cloned()))
}

pub fn kv_set(bucket: &str, key: &str, value: &[u8]) -> Result<(), String> {
    with_host(|h| h.kv.insert((bucket.into(), key.into()), value.into()));
    Ok(())
}

pub fn kv_delete(bucket: &str, key: &str) -> Result<(), String> {
    with_host(|h| h.kv.remove(&(bucket.into(), key.into())));
    Ok(())
}

pub fn kv_keys(bucket: &str) -> Result<Vec<String>, String> {
    Ok(with_host(|h| h.kv.keys().filter(|(b, _)| b == bucket).map(|(_, k)| k.clone()).collect()))
}

pub fn kv_increment(bucket: &str, key: &str, delta: u64) -> Result<u64, String> {
    let old = match kv_value(bucket, key)? {
        None => 0,
        Some(v) => String::from_utf8(v).ok().and_then(|t| t.parse::<u64>().ok()).ok_or("the value is not a number")?,
    };
    let sum = old.saturating_add(delta);
    kv_set(bucket, key, sum.to_string().as_bytes())?;
    Ok(sum)
}

/// Counts without time passing: what was taken under a key stays taken until it is settled for less.
pub fn reserve(key: &str, rule: Rule, amount: u64) -> Result<Granted, Refused> {
    let limit = match rule {
        Rule::TokenBucket(bucket) => bucket.capacity,
        Rule::SlidingWindow(window) => window.limit,
    };
    with_host(|h| {
        let taken = h.taken.entry(key.into()).or_default();
        let remaining = limit.saturating_sub(*taken);
        if remaining < amount {
            return Err(Refused { remaining, retry_after_ms: (amount <= limit).then_some(1000), reset_ms: 1000 });
        }
        *taken += amount;
        h.reservations.push((key.into(), amount));
        Ok(Granted { reservation: h.reservations.len() as u64, remaining: remaining - amount, reset_ms: 1000 })
    })
}

pub fn settle(reservation: u64, used: u64) -> bool {
    with_host(|h| {
        let found = usize::try_from(reservation).ok().and_then(|n| h.reservations.get_mut(n.checked_sub(1)?));
        let Some((key, reserved)) = found.filter(|(_, reserved)| *reserved != u64::MAX) else { return false };
        if let Some(taken) = h.taken.get_mut(key) {
            *taken = taken.saturating_sub(*reserved).saturating_add(used);
        }
        // Settled once.
        *reserved = u64::MAX;
        true
    })
}

pub fn providers() -> Vec<ProviderInfo> {
    with_host(|h| h.providers.clone())
}

pub fn provider(name: &str) -> Option<ProviderInfo> {
    with_host(|h| h.providers.iter().find(|p| p.name == name).cloned())
}

pub fn unix_ms() -> u64 {
    with_host(|h| h.unix_ms)
}

pub fn random() -> u64 {
    with_host(|h| {
        // A small generator with a fixed start: the same test sees the same numbers.
        h.random = h.random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        h.random ^ (h.random >> 29)
    })
}
