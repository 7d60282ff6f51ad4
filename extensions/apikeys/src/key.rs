//! A key: what it may do, and how it is recognised. The key itself is never kept, only its SHA-256: the keys that are made here have 256
//! random bits, so that there is nothing to guess from a hash.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq as _;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use wasmgate_sdk::random;

/// What keys that are made here begin with.
const PREFIX: &str = "sk-wg-";

/// Keys that are shorter can be guessed.
pub const STRONG: usize = 24;

/// Shortest key of the configuration.
const SHORTEST: usize = 8;

/// Longest name, in bytes. It is in the key of every counter and in every row of the ledger.
const MAX_NAME: usize = 64;

/// What a key or a team may do. Absent means that there is no limit, 0 that nothing is allowed; an absent list allows everything, an empty one
/// nothing.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Rules {
    /// Providers, with `*` for any text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub allowed_providers: Option<Vec<String>>,
    /// Models, or `provider/model`, with `*` for any text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub allowed_models: Option<Vec<String>>,
    /// Models that are not allowed, whatever else is said. Here an empty list forbids nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub denied_models: Option<Vec<String>>,
    /// Requests in any minute.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rate_limit_rpm: Option<u64>,
    /// Tokens in any minute, input and output.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rate_limit_tpm: Option<u64>,
    /// Requests at once.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_parallel_requests: Option<u64>,
    /// Tokens in a day (UTC).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub daily_token_budget: Option<u64>,
    /// Tokens in a month (UTC).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub monthly_token_budget: Option<u64>,
    /// US dollars in a day (UTC).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub daily_budget_usd: Option<f64>,
    /// US dollars in a month (UTC).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub monthly_budget_usd: Option<f64>,
}

/// What is said of a key, in the configuration and in the admin interface.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Key {
    /// Its name. No two keys have the same.
    pub name: String,
    /// What it is for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// Anything else that is to be remembered.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub metadata: BTreeMap<String, Value>,
    /// The team whose limits hold too.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub team: Option<String>,
    /// Whether it opens anything.
    #[serde(default = "yes")]
    pub enabled: bool,
    /// Until when (RFC 3339).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<String>,
    /// Whether its requests are written into the ledger.
    #[serde(default = "yes")]
    pub track_usage: bool,
    /// What it may do.
    #[serde(flatten)]
    pub rules: Rules,
    /// What is none of the above.
    #[serde(flatten, skip_serializing)]
    unknown: BTreeMap<String, Value>,
}

/// A team. Its limits hold for all of its keys together.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
pub struct Team {
    /// What it is.
    #[serde(default)]
    pub description: Option<String>,
    /// What its keys may do.
    #[serde(flatten)]
    pub rules: Rules,
    #[serde(flatten)]
    unknown: BTreeMap<String, Value>,
}

fn yes() -> bool {
    true
}

impl Rules {
    fn check(&self) -> Result<(), String> {
        for (field, list) in [
            ("allowed_providers", &self.allowed_providers),
            ("allowed_models", &self.allowed_models),
            ("denied_models", &self.denied_models),
        ] {
            if list.iter().flatten().any(String::is_empty) {
                return Err(format!("`{field}` has an empty entry; `*` stands for everything"));
            }
        }
        for (field, money) in [("daily_budget_usd", self.daily_budget_usd), ("monthly_budget_usd", self.monthly_budget_usd)] {
            if let Some(money) = money.filter(|m| !m.is_finite() || *m < 0.0) {
                return Err(format!("`{field}` is {money}; write US dollars, 0 or more"));
            }
        }
        Ok(())
    }

    /// Whether it matters how many tokens a request will take.
    pub fn count_tokens(&self) -> bool {
        self.rate_limit_tpm.is_some() || self.daily_token_budget.is_some() || self.monthly_token_budget.is_some() || self.count_money()
    }

    /// Whether it matters what a request costs.
    pub fn count_money(&self) -> bool {
        self.daily_budget_usd.is_some() || self.monthly_budget_usd.is_some()
    }
}

impl Key {
    /// Reads what is said of a key. The error names the field.
    pub fn read(value: Value) -> Result<Self, String> {
        let mut key: Self = serde_json::from_value(value).map_err(|e| e.to_string())?;
        if let Some(field) = std::mem::take(&mut key.unknown).keys().next() {
            return Err(format!("there is no field `{field}`"));
        }
        let plain = |c: char| c.is_ascii_alphanumeric() || "-_.@ ".contains(c);
        if key.name.is_empty() || key.name.len() > MAX_NAME || !key.name.chars().all(plain) {
            return Err(format!("`name` is `{}`; use up to {MAX_NAME} letters, digits, spaces and `-_.@`", shortened(&key.name)));
        }
        if let Some(until) = &key.expires_at {
            moment(until).ok_or_else(|| format!("`expires_at` is `{}`; write it like `2030-01-31T00:00:00Z`", shortened(until)))?;
        }
        key.rules.check()?;
        Ok(key)
    }

    /// When it stops to be one, in Unix milliseconds.
    pub fn expires_ms(&self) -> Option<u64> {
        moment(self.expires_at.as_deref()?)
    }
}

impl Team {
    /// Reads what is said of a team. The error names the field.
    pub fn read(value: Value) -> Result<Self, String> {
        let mut team: Self = serde_json::from_value(value).map_err(|e| e.to_string())?;
        if let Some(field) = std::mem::take(&mut team.unknown).keys().next() {
            return Err(format!("there is no field `{field}`"));
        }
        team.rules.check()?;
        Ok(team)
    }
}

/// What stands in the place of a key: its SHA-256.
#[derive(Debug, Clone, Copy)]
pub struct Hash([u8; 32]);

impl PartialEq for Hash {
    /// Takes the same time whatever is compared.
    fn eq(&self, other: &Self) -> bool {
        self.0.ct_eq(&other.0).into()
    }
}

impl Hash {
    /// Of a key.
    pub fn of(secret: &str) -> Self {
        Self(Sha256::digest(secret.as_bytes()).into())
    }

    /// From `sha256:` and hexadecimal digits.
    pub fn parse(text: &str) -> Option<Self> {
        let hex = text.strip_prefix("sha256:")?;
        let mut bytes = [0; 32];
        if hex.len() != 64 || !hex.is_ascii() {
            return None;
        }
        for (at, byte) in bytes.iter_mut().enumerate() {
            *byte = u8::from_str_radix(&hex[2 * at..2 * at + 2], 16).ok()?;
        }
        Some(Self(bytes))
    }

    /// In hexadecimal digits.
    pub fn hex(&self) -> String {
        // Each request needs it: no formatting, byte by byte.
        let digit = |n: u8| char::from(b"0123456789abcdef"[usize::from(n)]);
        self.0.iter().flat_map(|b| [digit(b >> 4), digit(b & 15)]).collect()
    }
}

/// A new key.
pub fn generate() -> String {
    let parts: String = (0..4).map(|_| format!("{:016x}", random::number())).collect();
    format!("{PREFIX}{parts}")
}

/// How a key is shown to people who have it: enough to find it, too little to use it.
pub fn masked(secret: &str) -> String {
    let (head, tail) = (secret.chars().take(8).collect::<String>(), secret.len().saturating_sub(4));
    if secret.len() >= STRONG { format!("{head}…{}", secret.get(tail..).unwrap_or_default()) } else { "…".into() }
}

/// Whether a text may be a key of the configuration.
pub fn check_secret(secret: &str) -> Result<(), String> {
    if secret.len() < SHORTEST {
        return Err(format!("`key` has fewer than {SHORTEST} characters (is an environment variable empty?); use a long random text"));
    }
    if !secret.bytes().all(|b| b.is_ascii_graphic()) {
        return Err("`key` has spaces or characters that no header field can carry".into());
    }
    Ok(())
}

/// A time as people write it, in Unix milliseconds.
pub fn moment(text: &str) -> Option<u64> {
    let at = OffsetDateTime::parse(text, &Rfc3339).ok()?;
    u64::try_from(at.unix_timestamp_nanos() / 1_000_000).ok()
}

/// The other way round.
pub fn written(ms: u64) -> String {
    let at = OffsetDateTime::from_unix_timestamp((ms / 1000) as i64).ok();
    at.and_then(|at| at.format(&Rfc3339).ok()).unwrap_or_default()
}

/// A text that may be as long as its author likes.
pub fn shortened(text: &str) -> String {
    text.chars().take(80).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_key_says_what_is_wrong_with_it() {
        for (value, expect) in [
            (json!({"name": "a", "rate_limit_rpm": 0}), ""),
            (json!({"name": "a", "rate_limit_rpm": null, "allowed_models": []}), ""),
            (json!({"name": "a", "rate_limit_prm": 1}), "no field `rate_limit_prm`"),
            (json!({"name": ""}), "`name` is ``"),
            (json!({"name": "a\nb"}), "`name` is"),
            (json!({"description": "x"}), "missing field `name`"),
            (json!({"name": "a", "rate_limit_tpm": -1}), "expected u64"),
            (json!({"name": "a", "expires_at": "tomorrow"}), "`expires_at` is `tomorrow`"),
            (json!({"name": "a", "daily_budget_usd": -0.5}), "`daily_budget_usd` is -0.5"),
            (json!({"name": "a", "denied_models": [""]}), "`denied_models` has an empty entry"),
        ] {
            let found = Key::read(value.clone()).err().unwrap_or_default();
            assert!(found.contains(expect) && found.is_empty() == expect.is_empty(), "{value}: `{found}`");
        }
    }

    #[test]
    fn hashes_are_compared_and_written() {
        let hash = Hash::of("abc");
        assert_eq!(hash.hex(), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
        assert!(Hash::parse(&format!("sha256:{}", hash.hex())) == Some(hash));
        assert!(Hash::of("abd") != hash);
        assert!(Hash::parse("sha256:zz").is_none() && Hash::parse("abc").is_none());
    }

    #[test]
    fn times_are_read_and_written() {
        assert_eq!(moment("2030-01-31T00:00:00Z").map(written), Some("2030-01-31T00:00:00Z".into()));
        assert_eq!(moment("1970-01-01T01:00:01+01:00"), Some(1000));
        assert_eq!(moment("1960-01-01T00:00:00Z"), None);
    }
}
