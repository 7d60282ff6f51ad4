//! The imports of a component.

use crate::bindings::wasi::config::store as config;
use crate::bindings::wasi::keyvalue::atomics;
use crate::bindings::wasi::keyvalue::store::{Bucket, Error, open};
use crate::bindings::wasi::logging::logging;
use crate::bindings::wasmgate::extension::limiter;
use crate::bindings::wasmgate::extension::providers::{self, ProviderInfo};

pub use crate::bindings::wasmgate::extension::http::Incoming;
pub use crate::bindings::wasmgate::extension::request::{Answer, Request};

pub fn log(level: logging::Level, context: &str, message: &str) {
    logging::log(level, context, message);
}

pub fn setting(key: &str) -> Option<String> {
    config::get(key).ok().flatten()
}

pub fn kv_value(bucket: &str, key: &str) -> Result<Option<Vec<u8>>, String> {
    with(bucket, |b| b.get(key))
}

pub fn kv_set(bucket: &str, key: &str, value: &[u8]) -> Result<(), String> {
    with(bucket, |b| b.set(key, value))
}

pub fn kv_delete(bucket: &str, key: &str) -> Result<(), String> {
    with(bucket, |b| b.delete(key))
}

pub fn kv_keys(bucket: &str) -> Result<Vec<String>, String> {
    with(bucket, |b| {
        let mut keys = Vec::new();
        let mut cursor = None;
        loop {
            let page = b.list_keys(cursor)?;
            keys.extend(page.keys);
            cursor = page.cursor;
            if cursor.is_none() {
                return Ok(keys);
            }
        }
    })
}

pub fn kv_increment(bucket: &str, key: &str, delta: u64) -> Result<u64, String> {
    with(bucket, |b| atomics::increment(b, key, delta))
}

pub fn reserve(key: &str, rule: limiter::Rule, amount: u64) -> Result<limiter::Granted, limiter::Refused> {
    limiter::reserve(key, rule, amount)
}

pub fn settle(reservation: u64, used: u64) -> bool {
    limiter::settle(reservation, used)
}

pub fn providers() -> Vec<ProviderInfo> {
    providers::all()
}

pub fn provider(name: &str) -> Option<ProviderInfo> {
    providers::find(name)
}

pub fn unix_ms() -> u64 {
    let now = wasip2::clocks::wall_clock::now();
    now.seconds * 1000 + u64::from(now.nanoseconds) / 1_000_000
}

pub fn random() -> u64 {
    wasip2::random::random::get_random_u64()
}

fn with<T>(bucket: &str, run: impl FnOnce(&Bucket) -> Result<T, Error>) -> Result<T, String> {
    open(bucket).and_then(|b| run(&b)).map_err(|e| match e {
        Error::NoSuchStore => "there is no such bucket".into(),
        Error::AccessDenied => "access denied".into(),
        Error::Other(reason) => reason,
    })
}
