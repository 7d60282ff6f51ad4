//! Keys of callers: who they are, what they may use, how fast and how much.
//!
//! 1. `before-generate`, before any other extension looks at the request: the key is found, what was asked for is checked against what the key
//!    and its team deny, and rates and budgets are reserved.
//! 2. `provider-events`, for each target right before it is asked: providers and models are checked. Aliases, fallbacks, races and other
//!    extensions choose targets; here none of them gets past.
//! 3. `on-attempts`, at the end: what was reserved is settled by what all tries used, each at its own price.
//!
//! Routes under `/api/keys` (`admin.rs`) are the operator's. What the host asks about callers of other routes is answered in `callers.rs`.
//!
//! What is absent: no key is stored, compared or logged; everything works on its SHA-256.

mod admin;
mod callers;
mod credential;
mod key;
mod limits;
mod permissions;
mod store;

use std::borrow::Cow;
use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::Value;
use wasmgate_prices::{Price, Prices};
use wasmgate_sdk::limiter::{self, Rule, TokenBucket};
use wasmgate_sdk::prelude::*;
use wasmgate_sdk::{Http, HttpRequest, Part, Tried, clock, codec, kv, log};

use key::{Hash, Key, STRONG, Team};
use limits::{Estimate, Hold, Scope, Used};
use permissions::{Denied, Wish};

/// Where other extensions find the key's name, and the rest of what they may know.
const NAME: &str = "apikeys.name";
const TEAM: &str = "apikeys.team";
const TRACK: &str = "apikeys.track_usage";

/// Where the reservations wait for the end of the request, and the id of a key of the store.
const HOLD: &str = "apikeys.hold";
const ID: &str = "apikeys.id";

/// Where `routing` says that the caller used an alias.
const ALIAS: &str = "routing.alias";

/// Counter of keys that were not known.
const FAILURES: &str = "failures";

/// Settings.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Keys of the configuration.
    #[serde(default)]
    api_keys: Vec<Value>,
    /// Teams by name.
    #[serde(default)]
    teams: BTreeMap<String, Value>,
    /// Prices that the list has not, or has otherwise.
    #[serde(default)]
    prices: BTreeMap<String, Price>,
    /// Unknown keys a minute, from everybody together.
    #[serde(default = "attempts")]
    failed_attempts_per_minute: u64,
    /// Output tokens that are reserved for a request that sets no limit.
    #[serde(default = "output_tokens")]
    default_output_tokens: u64,
}

fn attempts() -> u64 {
    60
}

fn output_tokens() -> u64 {
    1024
}

/// The extension.
pub struct ApiKeys {
    /// Keys of the configuration, by hash.
    keys: BTreeMap<String, Configured>,
    teams: BTreeMap<String, Team>,
    prices: Prices,
    failures: Rule,
    default_output_tokens: u64,
}

/// A key of the configuration.
struct Configured {
    hash: Hash,
    /// It can be guessed.
    weak: bool,
    masked: String,
    key: Key,
}

/// A key that opens.
struct Found<'a> {
    key: Cow<'a, Key>,
    /// Of a key in the store.
    id: Option<String>,
}

impl Extension for ApiKeys {
    type Config = Config;

    fn configure(config: Config) -> Result<Self, String> {
        let mut teams = BTreeMap::new();
        for (name, value) in config.teams {
            let team = Team::read(value).map_err(|e| format!("`teams.{name}`: {e}"))?;
            teams.insert(name, team);
        }
        let mut keys = BTreeMap::new();
        let mut names: BTreeMap<String, usize> = BTreeMap::new();
        for (at, value) in config.api_keys.into_iter().enumerate() {
            let read = configured(value).map_err(|e| format!("`api_keys[{at}]`: {e}"))?;
            check_team(&teams, &read.key).map_err(|e| format!("`api_keys[{at}]`: {e}"))?;
            if let Some(other) = names.insert(read.key.name.clone(), at) {
                return Err(format!("`api_keys[{other}]` and `api_keys[{at}]` have the same `name` `{}`", read.key.name));
            }
            let name = read.key.name.clone();
            if let Some(other) = keys.insert(read.hash.hex(), read) {
                return Err(format!("`api_keys[{at}]`: `{name}` has the same key as `{}`", other.key.name));
            }
        }
        let per_minute = config.failed_attempts_per_minute;
        Ok(Self {
            keys,
            teams,
            prices: Prices::new(config.prices)?,
            failures: Rule::TokenBucket(TokenBucket { capacity: per_minute, refill: per_minute, per_ms: 60_000 }),
            default_output_tokens: config.default_output_tokens,
        })
    }

    fn routes(&self) -> Vec<Route> {
        admin::routes()
    }

    fn before_generate(&self, call: &CallInfo, request: &Request) -> Decision {
        match self.admit(call, request) {
            Ok(edits) => Decision::Edit(edits),
            Err(error) => Decision::Reject(error),
        }
    }

    fn on_provider_selected(&self, call: &CallInfo, request: &Request, attempt: &AttemptInfo) -> Reaction {
        match self.check_target(call, request, &attempt.target) {
            Ok(()) => Reaction::Keep,
            Err(error) => Reaction::Fail(error),
        }
    }

    fn on_attempts(&self, _call: &CallInfo, request: &Request, tries: &[Tried]) {
        let now = clock::unix_ms();
        if let Some(id) = request.note::<String>(ID) {
            store::used(&id, now);
        }
        if let Some(hold) = request.note::<Hold>(HOLD) {
            hold.settle_request(self.used(tries), now);
        }
    }
}

impl ApiKeys {
    /// Lets a request in: what is noted on it and what is told to the caller.
    fn admit(&self, call: &CallInfo, request: &Request) -> Result<Vec<Edit>, ChatError> {
        let found = self.caller(call, request)?;
        let note = |key: &str, value: Value| Note { key: key.into(), value: value.to_string() };
        // By the handle and not by an edit: what is refused below is this caller's too.
        request.add_note(&note(NAME, found.key.name.as_str().into()));
        if let Some(team) = &found.key.team {
            request.add_note(&note(TEAM, team.as_str().into()));
        }
        if !found.key.track_usage {
            request.add_note(&note(TRACK, false.into()));
        }
        let scopes = self.scopes(&found.key);
        if scopes.iter().any(|s| s.rules.may_ask(&call.requested_model).is_err()) {
            return Err(denied(Denied::Model, &call.requested_model, ""));
        }
        let estimate = self.estimate(&scopes, call, request)?;
        let reserved = limits::reserve(&scopes, call.depth > 0, estimate, clock::unix_ms());
        let (hold, shown) = reserved.map_err(|refusal| {
            for field in refusal.shown.headers() {
                request.response_header(&field);
            }
            refusal.error
        })?;
        let mut edits = Vec::new();
        if let Some(id) = found.id {
            edits.push(Edit::Note(note(ID, id.into())));
        }
        if !hold.is_empty() {
            edits.push(Edit::Note(Note { key: HOLD.into(), value: serde_json::to_string(&hold).unwrap_or_default() }));
        }
        edits.extend(shown.headers().into_iter().map(Edit::ResponseHeader));
        Ok(edits)
    }

    /// Checks a target, whatever chose it.
    fn check_target(&self, call: &CallInfo, request: &Request, target: &Target) -> Result<(), ChatError> {
        let found = self.caller(call, request)?;
        let alias = request.note(ALIAS).unwrap_or(false);
        let wish = Wish { requested: &call.requested_model, alias, provider: &target.provider, model: &target.model };
        for scope in self.scopes(&found.key) {
            scope.rules.may_use(&wish).map_err(|d| denied(d, &call.requested_model, &target.provider))?;
            if scope.rules.count_money() && self.prices.find(&target.provider, &target.model).is_none() {
                log::warn(&format!(
                    "`{}/{}` has no price, so no key with a money budget may use it; add it to `prices`",
                    target.provider, target.model
                ));
                let message = format!("This API key has a budget, and the price of the model `{}` is not known.", call.requested_model);
                return Err(ChatError { code: Some("price_unknown".into()), ..ChatError::new(ErrorClass::Permission, message) });
            }
        }
        Ok(())
    }

    /// What all tries of a request took, each at the price of its own target: races and fallbacks are sent for this key too.
    fn used(&self, tries: &[Tried]) -> Used {
        let answers = |t: &Tried| t.part == Part::Served || t.part != Part::Lost && t.first_event_us.is_some();
        let told = || tries.iter().filter_map(|t| Some((&t.target, t.usage.as_ref()?)));
        let answered = tries.iter().any(answers);
        // Where the one that answered told nothing, what the others told is not the whole.
        if told().next().is_none() || tries.iter().any(|t| answers(t) && t.usage.is_none()) {
            return Used { answered, ..Used::default() };
        }
        Used {
            tokens: Some(told().fold(0, |sum, (_, u)| sum.saturating_add(u.input_tokens).saturating_add(u.output_tokens))),
            usd: told().map(|(target, usage)| self.prices.cost(&target.provider, &target.model, usage)).sum(),
            answered,
        }
    }

    /// Whose limits hold for a key.
    fn scopes<'a>(&'a self, key: &'a Key) -> Vec<Scope<'a>> {
        let mut scopes = vec![Scope { name: format!("key:{}", key.name), rules: &key.rules }];
        if let Some((name, team)) = key.team.as_ref().and_then(|name| Some((name, self.teams.get(name)?))) {
            scopes.push(Scope { name: format!("team:{name}"), rules: &team.rules });
        }
        scopes
    }

    /// What a request will take. It is counted only where that matters.
    fn estimate(&self, scopes: &[Scope<'_>], call: &CallInfo, request: &Request) -> Result<Estimate, ChatError> {
        if !scopes.iter().any(|s| s.rules.count_tokens()) {
            return Ok(Estimate::default());
        }
        let estimate = request.estimate()?;
        let input = estimate.input_tokens;
        let each = estimate.max_tokens.unwrap_or(self.default_output_tokens);
        let writes = codec::Format::from_name(&call.format).is_some() || call.format.ends_with("-completions");
        let output = if writes { each.saturating_mul(estimate.choices.into()) } else { 0 };
        // Which provider that will be is not known yet; where the price depends on it, money is only settled.
        let price = self.prices.find("", &call.model);
        let usd = price.map_or(0.0, |p| (input as f64 * p.input + output as f64 * p.output) / 1e6);
        Ok(Estimate { input, output, usd })
    }

    /// The key of a request.
    fn caller(&self, call: &CallInfo, request: &Request) -> Result<Found<'_>, ChatError> {
        // Only Gemini's clients put it into the query.
        let query = || if call.format.starts_with("gemini") { request.query() } else { None };
        let secret = credential::find(|name| request.header(name), query).ok_or_else(missing)?;
        self.find(&secret)
    }

    /// A key that opens, or why it does not.
    fn find(&self, secret: &str) -> Result<Found<'_>, ChatError> {
        let hash = Hash::of(secret);
        let hex = hash.hex();
        let now = clock::unix_ms();
        if let Some(known) = self.keys.get(&hex).filter(|k| k.hash == hash) {
            if known.weak && self.is_under_attack() {
                return Err(slow_down(None));
            }
            check_open(&known.key, None, now)?;
            return Ok(Found { key: Cow::Borrowed(&known.key), id: None });
        }
        let stored = store::by_hash(&hex).map_err(|e| unreadable(&e))?;
        if let Some(record) = stored.filter(|r| Hash::parse(&format!("sha256:{}", r.hash)) == Some(hash)) {
            check_open(&record.key, record.until_ms, now)?;
            if let Some(gone) = record.key.team.as_ref().filter(|t| !self.teams.contains_key(*t)) {
                log::error(&format!("the key `{}` is of the team `{gone}`, which the configuration does not have", record.key.name));
                return Err(ChatError::new(ErrorClass::Permission, "The team of this API key does not exist any more."));
            }
            return Ok(Found { key: Cow::Owned(record.key), id: Some(record.id) });
        }
        match limiter::reserve(FAILURES, self.failures, 1) {
            Ok(granted) => {
                limiter::settle(granted.reservation, 1);
            }
            Err(refused) => return Err(slow_down(refused.retry_after_ms)),
        }
        Err(refused("invalid_api_key", "The API key is not known here."))
    }

    /// Whether somebody tries one key after the other. The contract tells no address that could be believed, so it is counted for all together.
    fn is_under_attack(&self) -> bool {
        match limiter::reserve(FAILURES, self.failures, 0) {
            Ok(granted) => {
                limiter::settle(granted.reservation, 0);
                granted.remaining == 0
            }
            Err(_) => true,
        }
    }

    /// The key of a name.
    fn named(&self, name: &str) -> Result<Option<Cow<'_, Key>>, String> {
        if let Some(known) = self.keys.values().find(|k| k.key.name == name) {
            return Ok(Some(Cow::Borrowed(&known.key)));
        }
        Ok(store::by_name(name)?.map(|record| Cow::Owned(record.key)))
    }
}

impl Http for ApiKeys {
    fn handle(&self, request: HttpRequest) -> Reply {
        match request.path.as_str() {
            callers::IDENTITY => callers::identity(self, &request),
            callers::CATALOGUE => callers::catalogue(self, &request),
            _ => admin::answer(self, &request),
        }
    }
}

/// Reads a key of the configuration.
fn configured(mut value: Value) -> Result<Configured, String> {
    let Some(members) = value.as_object_mut() else { return Err("it is no group of settings; write `{key: …, name: …}`".into()) };
    let (secret, digest) = (members.shift_remove("key"), members.shift_remove("key_hash"));
    let (hash, weak, masked) = match (&secret, &digest) {
        (Some(Value::String(secret)), None) => {
            key::check_secret(secret)?;
            (Hash::of(secret), secret.len() < STRONG, key::masked(secret))
        }
        (None, Some(Value::String(digest))) => {
            let hash = Hash::parse(digest).ok_or("`key_hash` is not `sha256:` and 64 hexadecimal digits")?;
            // How long the key is, its hash does not tell.
            (hash, false, "sha256:…".into())
        }
        (None, None) => return Err("it has neither `key` nor `key_hash`".into()),
        (Some(_), Some(_)) => return Err("it has both `key` and `key_hash`; write one of them".into()),
        _ => return Err("`key` and `key_hash` are text; put it in quotes".into()),
    };
    Ok(Configured { hash, weak, masked, key: Key::read(value)? })
}

/// A key belongs to a team that there is.
fn check_team(teams: &BTreeMap<String, Team>, key: &Key) -> Result<(), String> {
    match key.team.as_ref().filter(|t| !teams.contains_key(*t)) {
        Some(team) => Err(format!("`team` is `{}`, which `teams` does not have", key::shortened(team))),
        None => Ok(()),
    }
}

/// Whether a key that is known opens anything now.
fn check_open(key: &Key, until_ms: Option<u64>, now: u64) -> Result<(), ChatError> {
    if !key.enabled {
        return Err(refused("key_disabled", "The API key is disabled."));
    }
    let until = [key.expires_ms(), until_ms].into_iter().flatten().min();
    if until.is_some_and(|until| until <= now) {
        return Err(refused("key_expired", "The API key has expired."));
    }
    Ok(())
}

fn refused(code: &str, message: &str) -> ChatError {
    ChatError { code: Some(code.into()), ..ChatError::new(ErrorClass::Authentication, message) }
}

fn missing() -> ChatError {
    let message = "No API key came with the request. Send it as `Authorization: Bearer KEY`, or in `x-api-key` or `x-goog-api-key`.";
    ChatError::new(ErrorClass::Authentication, message)
}

fn slow_down(retry_after_ms: Option<u64>) -> ChatError {
    let message = "Too many requests came with keys that are not known; try again later.";
    ChatError { code: Some("too_many_attempts".into()), retry_after_ms, ..ChatError::new(ErrorClass::RateLimited, message) }
}

/// The store does not answer as it should: nobody comes in.
fn unreadable(reason: &str) -> ChatError {
    if kv::is_unread(reason) {
        return kv::not_yet("keys_unread", "It is not known yet which API keys there are; try again in a moment.");
    }
    log::error(reason);
    ChatError::new(ErrorClass::Internal, "The gateway cannot look up API keys.")
}

fn denied(what: Denied, model: &str, provider: &str) -> ChatError {
    let (code, message) = match what {
        Denied::Model => ("model_not_allowed", format!("This API key may not use the model `{model}`.")),
        Denied::Provider => ("provider_not_allowed", format!("This API key may not use the provider `{provider}`, which would answer.")),
        Denied::Unnamed => {
            ("model_required", "This API key is for certain models, and the request names none; it needs a key for all models.".to_owned())
        }
    };
    ChatError { code: Some(code.into()), param: Some("model".into()), ..ChatError::new(ErrorClass::Permission, message) }
}

wasmgate_sdk::export!(ApiKeys: before_generate, provider_events, attempts, http);

#[cfg(test)]
mod tests;
