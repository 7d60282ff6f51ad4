//! What a provider wants to see before it answers, and which of several keys it sees.
//!
//! Keys take turns. One that is refused rests, and the request goes on with the next one at once. A provider with one key has none that
//! rests: with nothing to change to, only the provider knows when it takes it again. A key that is used up (429) rests for the model
//! that was asked for, because vendors count by model; one that is wrong, or has no money, rests for all. Whoever sends asks for a [`Lease`]
//! and tells what became of it.
//!
//! Credentials of logins (`oauth/`) take turns like keys. Their list changes while the gateway runs, their tokens have to be fetched
//! ([`Credentials::prepare`]), and one that is set aside is passed over until somebody logs in again, also when it is the only one.
//!
//! Keys are known by their position, from 1, in every log line, metric and answer; credentials of logins by their number. Nothing here reads a
//! clock, and nothing waits but for tokens.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use http::{HeaderMap, HeaderName, HeaderValue, header};
use llm_codec::RateLimit;
use llm_codec::hub::{ChatError, ErrorClass};
use serde_json::{Value, json};
use tokio::time::Instant;

use super::oauth::{Access, Credential, Login};
use super::presets::KeyHeader;
use crate::config::{ProviderConfig, Secret};
use crate::storage::Closed;

/// Models for which one key may rest. Callers may invent names.
const MAX_MODELS: usize = 64;

/// Longest rest, whatever a provider asks for: a key that was restored there must come back here.
const LONGEST: Duration = Duration::from_secs(3600);

/// First and longest rest of a key that is used up, when the provider names no time.
const USED_UP: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(60));

/// The same of one that is wrong, is not allowed, or has no money.
const UNUSABLE: (Duration, Duration) = (Duration::from_secs(10), Duration::from_secs(600));

/// When a request may come again that needs a login, while nobody knows who is logged in.
const ASK_AGAIN: Duration = Duration::from_secs(2);

/// A value that is shorter is no secret, and masking it would make texts unreadable.
const MIN_SECRET: usize = 6;

/// The credentials of one provider.
pub struct Credentials {
    /// The keys of the configuration, or those of logins as they were when somebody last looked.
    keys: Mutex<Keys>,
    /// Where keys come from that the configuration does not have.
    login: Option<Arc<Login>>,
    next: AtomicUsize,
    /// Header fields that the configuration adds.
    fields: HeaderMap,
    /// Values of those.
    secrets: Vec<Secret>,
}

/// A list of keys, and which version of the logins it is of.
struct Keys {
    list: Arc<[Arc<Key>]>,
    version: u64,
}

struct Key {
    /// Its number, less one.
    position: usize,
    kind: Kind,
    state: Mutex<State>,
}

enum Kind {
    /// A key of the configuration, in its field.
    Set { secret: Secret, name: HeaderName, value: HeaderValue },
    /// A login, whose token is fetched when it is needed.
    Login(Arc<Credential>),
}

#[derive(Default)]
struct State {
    rest: Option<Rest>,
    models: BTreeMap<String, Rest>,
    limits: Vec<RateLimit>,
    used: u64,
    refused: u64,
}

/// A key that rests, or did, and was not used with success since.
#[derive(Debug, Clone, Copy)]
struct Rest {
    until: Instant,
    /// Refusals in a row.
    refusals: u32,
    class: ErrorClass,
}

/// A key that is about to be used.
#[derive(Debug, Clone)]
pub struct Lease {
    /// Its place in the list; none when there are no keys.
    pub position: Option<usize>,
    key: Option<Arc<Key>>,
    field: Option<(HeaderName, HeaderValue)>,
    /// Which token of a login it is.
    version: u64,
}

/// All keys rest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Resting {
    /// Whether at least one of them is only used up.
    pub used_up: bool,
    /// When the first one is back.
    pub wait: Duration,
    /// Whether none is back before somebody logs in.
    pub logged_out: bool,
    /// Nobody knows who is logged in.
    pub closed: Option<Closed>,
}

impl Credentials {
    /// The keys of a provider's configuration, and the header fields that it adds.
    pub fn new(name: &str, config: &ProviderConfig, place: KeyHeader, login: Option<Arc<Login>>) -> anyhow::Result<Self> {
        let keys = config.api_key.iter().chain(&config.api_keys).enumerate();
        let keys = keys.map(|(position, secret)| {
            let (field, text) = match place {
                KeyHeader::Bearer => (header::AUTHORIZATION, format!("Bearer {}", secret.expose())),
                KeyHeader::Plain(field) => (HeaderName::from_static(field), secret.expose().to_owned()),
            };
            let value = HeaderValue::try_from(text);
            let mut value = value.map_err(|_| anyhow::anyhow!("a key of `providers.{name}` holds a character that no header can carry"))?;
            value.set_sensitive(true);
            Ok(Arc::new(Key { position, kind: Kind::Set { secret: secret.clone(), name: field, value }, state: Mutex::default() }))
        });
        let list: Vec<_> = keys.collect::<anyhow::Result<_>>()?;
        let mut fields = HeaderMap::new();
        for (field, text) in &config.headers {
            let wrong = || anyhow::anyhow!("`providers.{name}.headers.{field}` is no header field");
            let mut value = HeaderValue::try_from(text.expose()).map_err(|_| wrong())?;
            value.set_sensitive(true);
            fields.insert(HeaderName::try_from(field).map_err(|_| wrong())?, value);
        }
        let secrets = config.headers.values().filter(|s| s.expose().len() >= MIN_SECRET).cloned().collect();
        // No version of a list is this one.
        let keys = Mutex::new(Keys { list: list.into(), version: u64::MAX });
        Ok(Self { keys, login, next: AtomicUsize::new(0), fields, secrets })
    }

    /// Where keys come from that the configuration does not have.
    pub fn login(&self) -> Option<&Arc<Login>> {
        self.login.as_ref()
    }

    /// How many there are.
    pub fn number(&self) -> usize {
        self.keys().len()
    }

    /// The keys. What is known of a login is kept for as long as it is the same login.
    fn keys(&self) -> Arc<[Arc<Key>]> {
        let mut keys = self.keys.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(login) = &self.login {
            let version = login.version();
            if version != keys.version {
                let list = login.credentials().into_iter().map(|credential| {
                    let is_same = |key: &&Arc<Key>| matches!(&key.kind, Kind::Login(known) if Arc::ptr_eq(known, &credential));
                    let new = || {
                        let position = (credential.number as usize).saturating_sub(1);
                        Arc::new(Key { position, kind: Kind::Login(Arc::clone(&credential)), state: Mutex::default() })
                    };
                    keys.list.iter().find(is_same).cloned().unwrap_or_else(new)
                });
                *keys = Keys { list: list.collect(), version };
            }
        }
        Arc::clone(&keys.list)
    }

    /// The header fields of every request, but for the key.
    pub fn fields(&self) -> &HeaderMap {
        &self.fields
    }

    /// Whether there is another key to go on with.
    pub fn rotates(&self) -> bool {
        self.number() > 1
    }

    /// The next key that does not rest and was not tried. That of a login must be prepared before it is sent.
    pub fn lease(&self, model: &str, tried: &[usize], now: Instant) -> Result<Lease, Resting> {
        self.known()?;
        let keys = self.keys();
        if keys.is_empty() && self.login.is_none() {
            return Ok(Lease { position: None, key: None, field: None, version: 0 });
        }
        let first = self.next.fetch_add(1, Ordering::Relaxed);
        let order = (0..keys.len()).map(|n| &keys[first.wrapping_add(n) % keys.len()]);
        for key in order.filter(|k| !tried.contains(&k.position) && !k.is_aside(now)) {
            let mut state = key.lock();
            if keys.len() == 1 || state.resting(model, now).is_none() {
                state.used += 1;
                let field = match &key.kind {
                    Kind::Set { name, value, .. } => Some((name.clone(), value.clone())),
                    Kind::Login(_) => None,
                };
                return Ok(Lease { position: Some(key.position), key: Some(Arc::clone(key)), field, version: 0 });
            }
        }
        let unknown = Resting { used_up: true, wait: Duration::ZERO, logged_out: false, closed: None };
        Err(self.available(model, now).err().unwrap_or(unknown))
    }

    /// Fetches the token of a login, if that is what it is. The error says why there is none.
    pub async fn prepare(&self, mut lease: Lease) -> Result<Lease, String> {
        let (Some(login), Some(Kind::Login(credential))) = (&self.login, lease.key.as_ref().map(|k| &k.kind)) else { return Ok(lease) };
        let access = login.access(credential).await?;
        lease.carry(access);
        Ok(lease)
    }

    /// The same key with another token, when the one that was sent was refused; none when there is no other, and for keys that have none.
    pub async fn renew(&self, lease: &Lease) -> Option<Lease> {
        let (Some(login), Some(Kind::Login(credential))) = (&self.login, lease.key.as_ref().map(|k| &k.kind)) else { return None };
        let access = login.instead_of(credential, lease.version).await.ok()?;
        let mut lease = lease.clone();
        lease.carry(access);
        Some(lease)
    }

    /// Whether it is known which logins there are.
    fn known(&self) -> Result<(), Resting> {
        let known = self.login.as_ref().map_or(Ok(()), |login| login.known());
        known.map_err(|closed| Resting { used_up: false, wait: ASK_AGAIN, logged_out: false, closed: Some(closed) })
    }

    /// Whether a request for a model would find a key.
    pub fn available(&self, model: &str, now: Instant) -> Result<(), Resting> {
        self.known()?;
        let keys = self.keys();
        if keys.len() <= 1 && self.login.is_none() {
            return Ok(());
        }
        let mut all = Resting { used_up: false, wait: Duration::MAX, logged_out: true, closed: None };
        for key in keys.iter().filter(|k| !k.is_aside(now)) {
            let rest = key.lock().resting(model, now).filter(|_| keys.len() > 1);
            let Some(rest) = rest else { return Ok(()) };
            all.logged_out = false;
            all.used_up |= rest.class == ErrorClass::RateLimited;
            all.wait = all.wait.min(rest.until - now);
        }
        all.wait = all.wait.min(LONGEST);
        Err(all)
    }

    /// Whether a refusal is about the key, so that another one may do.
    pub fn is_about_key(error: &ChatError) -> bool {
        use ErrorClass::{Authentication, Permission, QuotaExceeded, RateLimited};
        matches!(error.class, Authentication | Permission | QuotaExceeded | RateLimited)
    }

    /// A key was refused. It rests, if there are others; how long is told, and nothing of that when it does not rest.
    pub fn refused(&self, lease: &Lease, model: &str, error: &ChatError, now: Instant) -> Option<Duration> {
        let mut state = lease.key.as_ref()?.lock();
        state.refused += 1;
        if !self.rotates() {
            return None;
        }
        let by_model = error.class == ErrorClass::RateLimited;
        let before = if by_model { state.models.get(model).copied() } else { state.rest };
        let refusals = before.map_or(0, |r| r.refusals).saturating_add(1);
        let (first, longest) = if by_model { USED_UP } else { UNUSABLE };
        let grown = first.saturating_mul(1u32.checked_shl(refusals - 1).unwrap_or(u32::MAX)).min(longest);
        let wait = error.retry_after_ms.map_or(grown, Duration::from_millis).min(LONGEST);
        let rest = Rest { until: now + wait, refusals, class: error.class };
        if by_model {
            state.rest_for(model, rest, now);
        } else {
            state.rest = Some(rest);
        }
        Some(wait)
    }

    /// A key was taken.
    pub fn worked(&self, lease: &Lease, model: &str) {
        if let Some(Kind::Login(credential)) = lease.key.as_ref().map(|k| &k.kind) {
            credential.worked(lease.version);
        }
        let Some(key) = lease.key.as_ref().filter(|_| self.rotates()) else { return };
        let mut state = key.lock();
        state.rest = None;
        state.models.remove(model);
    }

    /// What an answer tells of the key's limits. A key of which nothing is left rests before it is refused.
    pub fn limits(&self, lease: &Lease, model: &str, limits: Vec<RateLimit>, now: Instant) {
        let Some(key) = lease.key.as_ref().filter(|_| !limits.is_empty()) else { return };
        let used_up = limits.iter().filter(|l| l.remaining == 0).filter_map(|l| l.reset_ms).max();
        let mut state = key.lock();
        state.limits = limits;
        if let Some(ms) = used_up.filter(|ms| *ms > 0 && self.rotates()) {
            let until = now + Duration::from_millis(ms).min(LONGEST);
            state.rest_for(model, Rest { until, refusals: 0, class: ErrorClass::RateLimited }, now);
        }
    }

    /// Removes every secret from a text that others will see.
    pub fn mask(&self, text: &str) -> String {
        let keys = self.keys();
        let keys = keys.iter().filter_map(|k| if let Kind::Set { secret, .. } = &k.kind { Some(secret) } else { None });
        let masked = keys.chain(&self.secrets).fold(text.to_owned(), |text, secret| secret.mask(&text));
        self.login.as_ref().map_or_else(|| masked.clone(), |login| login.mask(&masked))
    }

    /// How the keys are, without them.
    pub fn shown(&self, now: Instant) -> Value {
        let keys = self.keys();
        let shown = keys.iter().map(|key| {
            let state = key.lock();
            let rest = state.rest.filter(|r| r.until > now);
            let seconds = |until: Instant| until.saturating_duration_since(now).as_secs_f64();
            let models = state.models.iter().filter(|(_, r)| r.until > now);
            json!({
                "key": key.position + 1,
                "state": if key.is_aside(now) { "set_aside" } else if rest.is_some() { "resting" } else { "ready" },
                "reason": rest.map(|r| r.class.name()),
                "rests_s": rest.map(|r| seconds(r.until)),
                "resting_models": models.map(|(m, r)| (m.clone(), json!(seconds(r.until)))).collect::<serde_json::Map<_, _>>(),
                "used": state.used,
                "refused": state.refused,
                "limits": state.limits.iter().map(|l| (l.name.to_owned(), json!(l.remaining))).collect::<serde_json::Map<_, _>>(),
            })
        });
        Value::Array(shown.collect())
    }

    /// For each key: its position, how often it was used, how often refused, and whether it rests for everything or for some model.
    pub fn counts(&self, now: Instant) -> Vec<(usize, u64, u64, bool)> {
        let counts = |key: &Arc<Key>| {
            let state = key.lock();
            let rests = key.is_aside(now) || state.rest.iter().chain(state.models.values()).any(|r| r.until > now);
            (key.position, state.used, state.refused, rests)
        };
        self.keys().iter().map(counts).collect()
    }
}

impl Lease {
    /// The header field that carries it.
    pub fn field(&self) -> Option<(HeaderName, HeaderValue)> {
        self.field.clone()
    }

    fn carry(&mut self, access: Access) {
        (self.field, self.version) = (Some((header::AUTHORIZATION, access.value)), access.version);
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Key").field("position", &self.position).finish_non_exhaustive()
    }
}

impl Key {
    /// Whether somebody has to log in before it is of use again.
    fn is_aside(&self, now: Instant) -> bool {
        matches!(&self.kind, Kind::Login(credential) if credential.is_aside(now))
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// The longer of the rests that hold for a model.
    fn resting(&self, model: &str, now: Instant) -> Option<Rest> {
        let rests = self.rest.iter().chain(self.models.get(model));
        rests.copied().filter(|r| r.until > now).max_by_key(|r| r.until)
    }

    fn rest_for(&mut self, model: &str, rest: Rest, now: Instant) {
        if self.models.len() >= MAX_MODELS && !self.models.contains_key(model) {
            self.models.retain(|_, r| r.until > now);
            let first_over = self.models.iter().min_by_key(|(_, r)| r.until).map(|(m, _)| m.clone());
            if let Some(model) = first_over.filter(|_| self.models.len() >= MAX_MODELS) {
                self.models.remove(&model);
            }
        }
        // What was refused before counts on, whoever tells the next rest.
        let refusals = self.models.get(model).map_or(0, |r| r.refusals).max(rest.refusals);
        self.models.insert(model.to_owned(), Rest { refusals, ..rest });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn credentials(keys: &[&str]) -> Credentials {
        let api_keys = keys.iter().map(|k| Secret::new((*k).into())).collect();
        let headers = BTreeMap::from([("x-team".into(), Secret::new("team-secret".into()))]);
        let config = ProviderConfig { api_keys, headers, ..ProviderConfig::default() };
        Credentials::new("p", &config, KeyHeader::Bearer, None).expect("they are keys")
    }

    fn error(class: ErrorClass, retry_after_ms: Option<u64>) -> ChatError {
        ChatError { retry_after_ms, ..ChatError::new(class, "no") }
    }

    fn position(credentials: &Credentials, model: &str, now: Instant) -> Option<usize> {
        credentials.lease(model, &[], now).ok()?.position
    }

    #[test]
    fn keys_take_turns() {
        let (credentials, now) = (credentials(&["key-a", "key-b", "key-c"]), Instant::now());
        let turns: Vec<_> = (0..6).map(|_| position(&credentials, "m", now)).collect();
        assert_eq!(turns, [Some(0), Some(1), Some(2), Some(0), Some(1), Some(2)]);
        let lease = credentials.lease("m", &[0, 1], now).expect("one is left");
        assert_eq!(lease.field().map(|(n, v)| (n, v.to_str().unwrap().to_owned())), Some((header::AUTHORIZATION, "Bearer key-c".into())));
        assert_eq!(credentials.mask("key-a of team-secret"), "*** of ***");
        assert!(!credentials.shown(now).to_string().contains("key-"));
    }

    #[test]
    fn a_key_that_is_used_up_rests_for_its_model_and_longer_each_time() {
        let (credentials, start) = (credentials(&["key-a", "key-b"]), Instant::now());
        let at = |s: u64| start + Duration::from_secs(s);
        let lease = credentials.lease("m", &[], start).expect("a key");
        let rests = |error: &ChatError, now| credentials.refused(&lease, "m", error, now).map(|d| d.as_secs());
        assert_eq!(rests(&error(ErrorClass::RateLimited, None), start), Some(1));
        assert_eq!(rests(&error(ErrorClass::RateLimited, None), start), Some(2));
        assert_eq!(rests(&error(ErrorClass::RateLimited, Some(30_000)), start), Some(30));
        assert_eq!(rests(&error(ErrorClass::RateLimited, Some(u64::MAX)), start), Some(3600), "not for ever");
        assert_eq!(rests(&error(ErrorClass::RateLimited, Some(30_000)), start), Some(30));
        assert!((0..4).all(|_| position(&credentials, "m", at(29)) == Some(1)));
        assert!((0..2).any(|_| position(&credentials, "other", at(1)) == Some(0)));
        assert!((0..2).any(|_| position(&credentials, "m", at(30)) == Some(0)), "it is restored");
        credentials.worked(&lease, "m");
        assert_eq!(rests(&error(ErrorClass::RateLimited, None), at(40)), Some(1), "a success forgets what was");
    }

    #[test]
    fn all_keys_rest() {
        let (credentials, start) = (credentials(&["key-a", "key-b"]), Instant::now());
        for (n, (class, wait)) in [(ErrorClass::Authentication, None), (ErrorClass::RateLimited, Some(4000))].into_iter().enumerate() {
            let lease = credentials.lease("m", &[1 - n], start).expect("a key");
            credentials.refused(&lease, "m", &error(class, wait), start);
        }
        let resting = Resting { used_up: true, wait: Duration::from_secs(4), logged_out: false, closed: None };
        assert_eq!(credentials.lease("m", &[], start).err(), Some(resting));
        assert_eq!(credentials.available("m", start), Err(resting));
        assert_eq!(credentials.available("other", start), Ok(()));
        let lease = credentials.lease("other", &[], start).expect("a key");
        credentials.refused(&lease, "other", &error(ErrorClass::Authentication, None), start);
        assert_eq!(
            credentials.available("other", start),
            Err(Resting { used_up: false, wait: Duration::from_secs(10), logged_out: false, closed: None })
        );
    }

    #[test]
    fn a_key_with_nothing_left_rests_before_it_is_refused() {
        let (credentials, start) = (credentials(&["key-a", "key-b"]), Instant::now());
        let lease = credentials.lease("m", &[1], start).expect("a key");
        let limit = |remaining| vec![RateLimit { name: "x-ratelimit-remaining-tokens", remaining, reset_ms: Some(5000) }];
        credentials.limits(&lease, "m", limit(1), start);
        assert!((0..2).any(|_| position(&credentials, "m", start) == Some(0)));
        credentials.limits(&lease, "m", limit(0), start);
        assert!((0..4).all(|_| position(&credentials, "m", start) == Some(1)));
        assert_eq!(credentials.shown(start)[0]["limits"]["x-ratelimit-remaining-tokens"], 0);
    }

    #[test]
    fn one_key_never_rests() {
        let (credentials, start) = (credentials(&["key-a"]), Instant::now());
        let lease = credentials.lease("m", &[], start).expect("a key");
        assert_eq!(credentials.refused(&lease, "m", &error(ErrorClass::Authentication, None), start), None);
        assert_eq!(position(&credentials, "m", start), Some(0));
    }

    #[test]
    fn what_is_remembered_is_bounded() {
        let (credentials, start) = (credentials(&["key-a", "key-b"]), Instant::now());
        let lease = credentials.lease("m", &[1], start).expect("a key");
        for n in 0..1000 {
            credentials.refused(&lease, &n.to_string(), &error(ErrorClass::RateLimited, Some(60_000)), start);
        }
        assert_eq!(credentials.keys()[0].lock().models.len(), MAX_MODELS);
    }
}
