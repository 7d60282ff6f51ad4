//! The ledger: one row for every request that a dialect accepted, however it ended, and pages that show it.
//!
//! Rows are written by `on-complete`, which the host calls exactly once and off the request path. What is in a row is in `row.rs`, what can be
//! asked of them in `pages.rs`. Where a request was sent several times, `on-attempts` has noted before what each try took.

mod pages;
mod query;
mod row;

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::Value;
use wasmgate_prices::{Price, Prices};
use wasmgate_sdk::prelude::*;
use wasmgate_sdk::{Http, HttpRequest, Tried, log, records};

/// Table of the rows.
const TABLE: &str = "requests";

/// Whether a key's requests are written; `apikeys` notes it.
const TRACK: &str = "apikeys.track_usage";

/// Where several tries of a request wait for its end.
const TRIES: &str = "usage.tries";

/// Where rows can be kept.
const STORAGES: [&str; 4] = ["redb", "sqlite", "postgres", "memory"];

/// Settings.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Whether anything is written and shown.
    #[serde(default = "yes")]
    enabled: bool,
    /// Where the gateway keeps rows; it reads that itself.
    #[serde(default)]
    storage: Option<String>,
    /// The same.
    #[serde(default, rename = "path")]
    _path: Option<Value>,
    /// The same.
    #[serde(default, rename = "url")]
    _url: Option<Value>,
    /// Prices that the list has not, or has otherwise.
    #[serde(default)]
    prices: BTreeMap<String, Price>,
}

fn yes() -> bool {
    true
}

/// The extension.
pub struct Usage {
    enabled: bool,
    prices: Prices,
}

impl Extension for Usage {
    type Config = Config;

    fn configure(config: Config) -> Result<Self, String> {
        if let Some(other) = config.storage.filter(|s| !STORAGES.contains(&s.as_str())) {
            return Err(format!("`usage.storage` is `{other}`; there is {}", STORAGES.join(", ")));
        }
        Ok(Self { enabled: config.enabled, prices: Prices::new(config.prices)? })
    }

    fn routes(&self) -> Vec<Route> {
        if self.enabled { vec![Route::http("GET", pages::ROWS), Route::http("GET", pages::SUMMARY)] } else { Vec::new() }
    }

    fn on_attempts(&self, _call: &CallInfo, request: &Request, tries: &[Tried]) {
        // What a single one took, `on-complete` tells; the manifest asks not to be told of it.
        if self.enabled && tries.len() > 1 {
            let value = serde_json::to_string(&row::noted(tries)).unwrap_or_default();
            request.add_note(&Note { key: TRIES.into(), value });
        }
    }

    fn on_complete(&self, call: &CallInfo, request: &Request, outcome: &Outcome) {
        if !self.enabled || request.note(TRACK) == Some(false) {
            return;
        }
        let several = outcome.attempts.len() > 1;
        let tries: Vec<row::Noted> = if several { request.note(TRIES).unwrap_or_default() } else { Vec::new() };
        if let Err(reason) = records::append(TABLE, &[row::of(call, request, outcome, &tries, &self.prices)]) {
            log::error(&format!("the request {} is not in the ledger: {reason}", call.request_id));
        }
    }
}

impl Http for Usage {
    fn handle(&self, request: HttpRequest) -> Reply {
        pages::answer(&request)
    }
}

wasmgate_sdk::export!(Usage: attempts, on_complete, http);

#[cfg(test)]
mod tests;
