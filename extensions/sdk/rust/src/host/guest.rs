//! The imports of a component.

use crate::Reply;
use crate::bindings::wasi::config::store as config;
use crate::bindings::wasi::keyvalue::atomics::{self, Cas, CasError};
use crate::bindings::wasi::keyvalue::store::{Bucket, Error, open};
use crate::bindings::wasi::logging::logging;
use crate::bindings::wasmgate::extension::providers::{self, ProviderInfo};
use crate::bindings::wasmgate::extension::{generate, limiter, metrics, records, routes, secrets};
use crate::hub::{ChatError, ChatRequest};

pub use super::guest_outbound::send;
pub use crate::bindings::wasmgate::extension::generate::{AnswerStream, Batch};
pub use crate::bindings::wasmgate::extension::http::Incoming;
pub use crate::bindings::wasmgate::extension::request::{Answer, Request};
pub use crate::bindings::wasmgate::extension::secrets::Secret;

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
            let page = b.list_keys(cursor.as_deref())?;
            keys.extend(page.keys);
            cursor = page.cursor;
            if cursor.is_none() {
                return Ok(keys);
            }
        }
    })
}

pub fn kv_increment(bucket: &str, key: &str, delta: i64) -> Result<i64, String> {
    with(bucket, |b| atomics::increment(b, key, delta))
}

pub fn kv_update(bucket: &str, key: &str, mut change: impl FnMut(Option<&[u8]>) -> Vec<u8>) -> Result<Vec<u8>, String> {
    with(bucket, |b| {
        let mut cas = Cas::new(b, key)?;
        loop {
            let value = change(cas.current()?.as_deref());
            match atomics::swap(cas, &value) {
                Ok(()) => return Ok(value),
                Err(CasError::CasFailed(newer)) => cas = newer,
                Err(CasError::StoreError(e)) => return Err(e),
            }
        }
    })
}

pub fn append(table: &str, rows: &[records::Row]) -> Result<(), String> {
    records::append(table, rows)
}

pub fn query(selection: &records::Selection, limit: u32, cursor: Option<&str>) -> Result<records::Page, String> {
    records::query(selection, limit, cursor)
}

pub fn summarise(
    selection: &records::Selection,
    group_by: &[String],
    every_ms: Option<u64>,
    sums: &[String],
) -> Result<Vec<records::Group>, String> {
    records::summarise(selection, group_by, every_ms, sums)
}

pub fn generate(request: &ChatRequest, options: &generate::GenerateOptions) -> Result<generate::Generated, ChatError> {
    generate::unary(request, options)
}

pub fn generate_many(jobs: &[generate::Job]) -> Vec<Result<generate::Generated, ChatError>> {
    generate::many(jobs)
}

pub fn generate_batch(jobs: &[generate::Job]) -> Result<Batch, ChatError> {
    generate::begin(jobs)
}

pub fn generate_stream(request: &ChatRequest, options: &generate::GenerateOptions) -> Result<AnswerStream, ChatError> {
    generate::open(request, options)
}

pub fn ask_judge(request: &ChatRequest, entries: &[generate::Entry]) -> Result<Vec<generate::Score>, ChatError> {
    generate::judge(request, entries)
}

pub fn secret(name: &str) -> Option<Secret> {
    secrets::find(name)
}

pub fn count(name: &str, labels: &[(&str, &str)], by: f64) -> Result<(), String> {
    metrics::count(name, &owned(labels), by)
}

pub fn gauge(name: &str, labels: &[(&str, &str)], value: f64) -> Result<(), String> {
    metrics::gauge(name, &owned(labels), value)
}

pub fn observe(name: &str, labels: &[(&str, &str)], value: f64) -> Result<(), String> {
    metrics::observe(name, &owned(labels), value)
}

fn owned(labels: &[(&str, &str)]) -> Vec<metrics::Label> {
    labels.iter().map(|(name, value)| metrics::Label { name: (*name).into(), value: (*value).into() }).collect()
}

pub fn reserve(key: &str, rule: limiter::Rule, amount: u64) -> Result<limiter::Granted, limiter::Refused> {
    limiter::reserve(key, rule, amount)
}

pub fn settle(reservation: u64, used: u64) -> bool {
    limiter::settle(reservation, used)
}

pub fn reserve_all(wishes: &[limiter::Wish]) -> Vec<Result<limiter::Granted, limiter::Refused>> {
    limiter::reserve_all(wishes)
}

pub fn settle_all(settlements: &[limiter::Settlement]) -> Vec<bool> {
    limiter::settle_all(settlements)
}

pub fn has_route(method: &str, path: &str) -> bool {
    routes::has(method, path)
}

pub fn ask_route(method: &str, path: &str, body: &[u8]) -> Result<Reply, ChatError> {
    routes::ask(method, path, body)
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
