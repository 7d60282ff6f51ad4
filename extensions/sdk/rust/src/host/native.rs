//! The same functions natively: the thread's [`FakeHost`](crate::fake::FakeHost) answers.

use super::outbound;
use crate::Reply;
use crate::bindings::wasi::logging::logging::Level;
use crate::bindings::wasmgate::extension::generate::{Entry, GenerateOptions, Generated, Job, Score};
use crate::bindings::wasmgate::extension::limiter::{Granted, Refused, Rule, Settlement, Wish};
use crate::bindings::wasmgate::extension::providers::ProviderInfo;
use crate::bindings::wasmgate::extension::records::{Group, Page, Row, Selection};
use crate::fake::{Asked, LogLine, records, with_host};
use crate::hub::{ChatError, ChatRequest, ErrorClass};

pub use crate::fake::{Answer, AnswerStream, Batch, Incoming, Request, Secret};

pub fn log(level: Level, context: &str, message: &str) {
    with_host(|h| h.log.push(LogLine { level, context: context.into(), message: message.into() }));
}

pub fn setting(key: &str) -> Option<String> {
    with_host(|h| h.settings.get(key).cloned())
}

pub fn kv_value(bucket: &str, key: &str) -> Result<Option<Vec<u8>>, String> {
    with_host(|h| match h.kv.get(&(bucket.into(), key.into())) {
        None if h.kv_unread => Err(unread()),
        value => Ok(value.cloned()),
    })
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
    with_host(|h| {
        let keys = || h.kv.keys().filter(|(b, _)| b == bucket).map(|(_, k)| k.clone()).collect();
        if h.kv_unread { Err(unread()) } else { Ok(keys()) }
    })
}

fn unread() -> String {
    format!("{}: the store has not answered", super::kv::UNREAD)
}

pub fn kv_increment(bucket: &str, key: &str, delta: i64) -> Result<i64, String> {
    let old = match with_host(|h| h.kv.get(&(bucket.into(), key.into())).cloned()) {
        None => 0,
        Some(v) => String::from_utf8(v).ok().and_then(|t| t.parse::<i64>().ok()).ok_or("the value is not a number")?,
    };
    let sum = old.saturating_add(delta);
    kv_set(bucket, key, sum.to_string().as_bytes())?;
    Ok(sum)
}

pub fn kv_update(bucket: &str, key: &str, mut change: impl FnMut(Option<&[u8]>) -> Vec<u8>) -> Result<Vec<u8>, String> {
    let value = change(kv_value(bucket, key)?.as_deref());
    kv_set(bucket, key, &value)?;
    Ok(value)
}

pub fn append(table: &str, rows: &[Row]) -> Result<(), String> {
    with_host(|h| h.records.entry(table.into()).or_default().extend_from_slice(rows));
    Ok(())
}

pub fn query(selection: &Selection, limit: u32, cursor: Option<&str>) -> Result<Page, String> {
    with_host(|h| records::query(h.records.get(&selection.table).map_or(&[], Vec::as_slice), selection, limit, cursor))
}

pub fn summarise(selection: &Selection, group_by: &[String], every_ms: Option<u64>, sums: &[String]) -> Result<Vec<Group>, String> {
    with_host(|h| {
        let rows = h.records.get(&selection.table).map_or(&[][..], Vec::as_slice);
        Ok(records::summarise(rows, selection, group_by, every_ms, sums))
    })
}

/// The next answer that the test put there.
pub fn generate(request: &ChatRequest, options: &GenerateOptions) -> Result<Generated, ChatError> {
    with_host(|h| {
        h.asked.push(Asked { request: request.clone(), provider: options.provider.clone() });
        let none = || Err(ChatError::new(ErrorClass::Upstream, "The fake host has no answer left."));
        let answer = h.answers.pop_front().unwrap_or_else(none)?;
        Ok(Generated { answer, served_by: None, request_id: format!("test.{}", h.asked.len()), duration_us: 1 })
    })
}

pub fn generate_many(jobs: &[Job]) -> Vec<Result<Generated, ChatError>> {
    jobs.iter().map(|job| generate(&job.request, &job.options)).collect()
}

pub fn generate_batch(jobs: &[Job]) -> Result<Batch, ChatError> {
    Ok(Batch::of(generate_many(jobs)))
}

pub fn generate_stream(request: &ChatRequest, options: &GenerateOptions) -> Result<AnswerStream, ChatError> {
    generate(request, options).map(|g| AnswerStream::of(&g.answer))
}

pub fn ask_judge(_request: &ChatRequest, entries: &[Entry]) -> Result<Vec<Score>, ChatError> {
    let scores = with_host(|h| h.scores.clone());
    if scores.len() == entries.len() {
        Ok(scores)
    } else {
        Err(ChatError::new(ErrorClass::NotFound, "The fake host has no judge for that."))
    }
}

/// The next response that the test put there.
pub fn send(request: &outbound::Request) -> Result<outbound::Response, String> {
    with_host(|h| {
        h.sent.push(request.clone());
        h.responses.pop_front().unwrap_or_else(|| Err("the fake host has no response left".into()))
    })
}

pub fn secret(name: &str) -> Option<Secret> {
    with_host(|h| h.secrets.get(name).cloned().map(Secret))
}

pub fn count(name: &str, labels: &[(&str, &str)], by: f64) -> Result<(), String> {
    with_host(|h| *h.metrics.entry(series(name, labels)).or_default() += by);
    Ok(())
}

pub fn gauge(name: &str, labels: &[(&str, &str)], value: f64) -> Result<(), String> {
    with_host(|h| h.metrics.insert(series(name, labels), value));
    Ok(())
}

/// Keeps the sum.
pub fn observe(name: &str, labels: &[(&str, &str)], value: f64) -> Result<(), String> {
    count(name, labels, value)
}

fn series(name: &str, labels: &[(&str, &str)]) -> String {
    let labels: Vec<_> = labels.iter().map(|(n, v)| format!("{n}={v}")).collect();
    if labels.is_empty() { name.to_owned() } else { format!("{name}{{{}}}", labels.join(",")) }
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

pub fn reserve_all(wishes: &[Wish]) -> Vec<Result<Granted, Refused>> {
    let mut answers = Vec::new();
    for Wish { key, rule, amount } in wishes {
        answers.push(reserve(key, *rule, *amount));
        if answers.last().is_some_and(Result::is_err) {
            break;
        }
    }
    answers
}

pub fn settle_all(settlements: &[Settlement]) -> Vec<bool> {
    settlements.iter().map(|s| settle(s.reservation, s.used)).collect()
}

/// Whether the test put an answer there.
pub fn has_route(method: &str, path: &str) -> bool {
    with_host(|h| h.routes.contains_key(&format!("{method} {path}")))
}

/// What the test put there; the query is not looked at.
pub fn ask_route(method: &str, path: &str, body: &[u8]) -> Result<Reply, ChatError> {
    with_host(|h| {
        h.routes_asked.push((format!("{method} {path}"), body.to_vec()));
        let path = path.split('?').next().unwrap_or_default();
        let none = || ChatError::new(ErrorClass::NotFound, "The fake host has no answer at this path.");
        h.routes.get(&format!("{method} {path}")).cloned().ok_or_else(none)
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
