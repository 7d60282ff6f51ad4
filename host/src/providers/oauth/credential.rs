//! What came of one login: tokens, how long they are good, and what is known of them.
//!
//! Nothing here waits but [`Credential::landed`], and nothing asks a server.

use std::fmt;
use std::sync::{Mutex, MutexGuard};
use std::time::{Duration, SystemTime};

use http::HeaderValue;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tokio::sync::watch;
use tokio::time::Instant;

use super::{lock, mask_all, millis};
use crate::config::Secret;

/// How long a token that was exchanged and never worked is not exchanged again: the next one would be refused too, and each request would ask
/// for one more.
const UNPROVEN: Duration = Duration::from_secs(60);

/// First and longest wait after an exchange that failed for another reason than the token's.
const AGAIN: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(60));

/// Why a login is of no more use whose token is over and cannot be exchanged.
const USED_UP: &str = "its token is over, and there is no refresh token; somebody has to log in again";

/// Tokens, as a server gave them.
#[derive(Clone)]
pub struct Tokens {
    /// What requests carry.
    pub access: Secret,
    /// What it is exchanged with.
    pub refresh: Option<Secret>,
    /// How long it is good, if the server says that.
    pub life: Option<Duration>,
    /// What it is good for, if the server says that.
    pub scopes: Vec<String>,
}

/// An access token that can be used now.
#[derive(Clone)]
pub struct Access {
    /// How often the credential got another one. It tells one token from the next.
    pub version: u64,
    /// `Bearer …`
    pub value: HeaderValue,
}

/// The credential of one login.
pub struct Credential {
    /// Its number at its provider, from 1.
    pub number: u32,
    /// Who gave it, and to whom.
    pub authority: String,
    inner: Mutex<Inner>,
}

struct Inner {
    tokens: Tokens,
    /// Raised with each new token.
    version: u64,
    /// When the access token is over.
    until: Option<Instant>,
    obtained: SystemTime,
    /// When it was exchanged for the one before, as long as nobody took it yet.
    unproven: Option<Instant>,
    /// The token before: somebody may still have to hide it.
    before: Option<Secret>,
    aside: Option<String>,
    failed: Option<Failed>,
    flight: Option<watch::Receiver<bool>>,
    forgotten: bool,
}

struct Failed {
    times: u32,
    again: Instant,
    reason: String,
}

/// What can be done with a credential now.
pub enum Look {
    /// Its token is good.
    Fresh(Access),
    /// Its token is good, and it is time for another one.
    Due(Access),
    /// Its token is over; the version of it.
    Over(u64),
    /// It cannot be used before somebody logs in again.
    Aside(String),
}

/// How an exchange may begin.
pub enum Flight {
    /// There is another token already.
    Changed,
    /// Somebody is at it; true when that is over.
    Running(watch::Receiver<bool>),
    /// Begin it with this, and tell when it is over.
    Begin(Secret, watch::Sender<bool>),
    /// There is no way to another token now, for this reason.
    None(String),
}

/// A credential as it is kept, encrypted.
#[derive(Serialize, Deserialize)]
pub struct Record {
    authority: String,
    access: String,
    refresh: Option<String>,
    scopes: Vec<String>,
    /// Milliseconds since 1970.
    obtained: u64,
    /// The same, when the access token is over.
    until: Option<u64>,
    /// How long it was good from the beginning, in milliseconds.
    life: Option<u64>,
    aside: Option<String>,
}

impl Credential {
    /// What somebody just logged in for.
    pub fn new(number: u32, authority: String, tokens: Tokens) -> Self {
        let until = tokens.life.map(|life| Instant::now() + life);
        Self::with(number, authority, tokens, until, SystemTime::now(), None)
    }

    /// What was kept.
    pub fn from_record(number: u32, record: Record, now: Instant) -> Self {
        let wall = millis(SystemTime::now());
        let until = record.until.map(|at| now + Duration::from_millis(at.saturating_sub(wall)));
        let tokens = Tokens {
            access: Secret::new(record.access),
            refresh: record.refresh.map(Secret::new),
            life: record.life.map(Duration::from_millis),
            scopes: record.scopes,
        };
        let obtained = SystemTime::UNIX_EPOCH + Duration::from_millis(record.obtained);
        Self::with(number, record.authority, tokens, until, obtained, record.aside)
    }

    fn with(number: u32, authority: String, tokens: Tokens, until: Option<Instant>, obtained: SystemTime, aside: Option<String>) -> Self {
        let inner = Inner {
            tokens,
            version: 1,
            until,
            obtained,
            unproven: None,
            before: None,
            aside,
            failed: None,
            flight: None,
            forgotten: false,
        };
        Self { number, authority, inner: Mutex::new(inner) }
    }

    /// As it is kept; none when it was taken back.
    pub fn record(&self) -> Option<Record> {
        let inner = self.lock();
        let left = |until: Instant| until.saturating_duration_since(Instant::now()).as_millis() as u64;
        (!inner.forgotten).then(|| Record {
            authority: self.authority.clone(),
            access: inner.tokens.access.expose().to_owned(),
            refresh: inner.tokens.refresh.as_ref().map(|r| r.expose().to_owned()),
            scopes: inner.tokens.scopes.clone(),
            obtained: millis(inner.obtained),
            until: inner.until.map(|until| millis(SystemTime::now()) + left(until)),
            life: inner.tokens.life.map(|life| life.as_millis() as u64),
            aside: inner.aside.clone(),
        })
    }

    /// What can be done with it.
    pub fn look(&self, now: Instant, margin: Duration) -> Look {
        let inner = self.lock();
        if let Some(reason) = &inner.aside {
            return Look::Aside(reason.clone());
        }
        if inner.is_used_up(now) {
            return Look::Aside(USED_UP.into());
        }
        match inner.until {
            Some(until) if until <= now => Look::Over(inner.version),
            Some(_) if inner.due(margin).is_some_and(|due| due <= now) => Look::Due(inner.access()),
            _ => Look::Fresh(inner.access()),
        }
    }

    /// When another token should be fetched, if ever.
    pub fn due(&self, margin: Duration) -> Option<Instant> {
        let inner = self.lock();
        let due = inner.due(margin).filter(|_| inner.aside.is_none() && !inner.forgotten && inner.tokens.refresh.is_some())?;
        Some(inner.failed.as_ref().map_or(due, |failed| due.max(failed.again)))
    }

    /// The token as it is.
    pub fn access(&self) -> Access {
        self.lock().access()
    }

    /// Whether it cannot be used before somebody logs in again.
    pub fn is_aside(&self, now: Instant) -> bool {
        let inner = self.lock();
        inner.aside.is_some() || inner.forgotten || inner.is_used_up(now)
    }

    /// How another token than the one of this version is come by. `forced` also tries what failed a moment ago, or was set aside.
    pub fn fly(&self, used: u64, forced: bool, now: Instant) -> Flight {
        let mut inner = self.lock();
        if inner.version != used {
            return Flight::Changed;
        }
        // A task that panicked tells nothing more.
        if let Some(flight) = inner.flight.as_ref().filter(|f| f.has_changed().is_ok()) {
            return Flight::Running(flight.clone());
        }
        if inner.forgotten {
            return Flight::None("it was taken back".into());
        }
        if let Some(reason) = inner.aside.as_ref().filter(|_| !forced) {
            return Flight::None(reason.clone());
        }
        if let Some(failed) = inner.failed.as_ref().filter(|f| !forced && now < f.again) {
            return Flight::None(failed.reason.clone());
        }
        let Some(refresh) = inner.tokens.refresh.clone() else {
            return Flight::None("there is no refresh token".into());
        };
        let (tell, told) = watch::channel(false);
        inner.flight = Some(told);
        Flight::Begin(refresh, tell)
    }

    /// New tokens.
    pub fn took(&self, tokens: Tokens, now: Instant) {
        let mut inner = self.lock();
        let refresh = tokens.refresh.or_else(|| inner.tokens.refresh.take());
        let scopes = if tokens.scopes.is_empty() { std::mem::take(&mut inner.tokens.scopes) } else { tokens.scopes };
        let before = std::mem::replace(&mut inner.tokens, Tokens { refresh, scopes, ..tokens });
        inner.before = Some(before.access);
        inner.until = inner.tokens.life.map(|life| now + life);
        inner.version += 1;
        (inner.obtained, inner.unproven) = (SystemTime::now(), Some(now));
        (inner.aside, inner.failed) = (None, None);
    }

    /// The token of this version was taken.
    pub fn worked(&self, version: u64) {
        let mut inner = self.lock();
        if inner.version == version {
            inner.unproven = None;
        }
    }

    /// Whether the token of this version is a new one that was not taken even once.
    pub fn is_unproven(&self, version: u64, now: Instant) -> bool {
        let inner = self.lock();
        inner.version == version && inner.unproven.is_some_and(|at| now < at + UNPROVEN)
    }

    /// It is of no more use.
    pub fn set_aside(&self, reason: &str) {
        let mut inner = self.lock();
        inner.aside = Some(reason.to_owned());
        inner.failed = None;
    }

    /// An exchange failed, but not for good. How long the next one waits.
    pub fn failed(&self, reason: &str, now: Instant) -> Duration {
        let mut inner = self.lock();
        let times = inner.failed.as_ref().map_or(0, |f| f.times).saturating_add(1);
        let wait = AGAIN.0.saturating_mul(1u32.checked_shl(times - 1).unwrap_or(u32::MAX)).min(AGAIN.1);
        inner.failed = Some(Failed { times, again: now + wait, reason: reason.to_owned() });
        wait
    }

    /// Why the token of this version is still the one, after an exchange; none when there is another one.
    pub fn still(&self, version: u64) -> Option<String> {
        let inner = self.lock();
        let reason = || inner.aside.clone().or_else(|| inner.failed.as_ref().map(|f| f.reason.clone()));
        (inner.version == version).then(|| reason().unwrap_or_else(|| "the exchange broke off".into()))
    }

    /// The exchange is over.
    pub fn land(&self) {
        self.lock().flight = None;
    }

    /// Waits for an exchange that is going on.
    pub async fn landed(&self) {
        let flight = self.lock().flight.clone();
        if let Some(mut flight) = flight {
            // An error says that the task is gone.
            let _ = flight.wait_for(|over| *over).await;
        }
    }

    /// It is not kept any more.
    pub fn forget(&self) {
        self.lock().forgotten = true;
    }

    /// The access token and the refresh token.
    pub fn secrets(&self) -> (Secret, Option<Secret>) {
        let inner = self.lock();
        (inner.tokens.access.clone(), inner.tokens.refresh.clone())
    }

    /// Removes its tokens from a text that others will see.
    pub fn mask(&self, text: &str) -> String {
        let inner = self.lock();
        mask_all(text, [&inner.tokens.access].into_iter().chain(&inner.tokens.refresh).chain(&inner.before))
    }

    /// How it is, for operators. `known` says whether the authorization server of the settings gave it.
    pub fn shown(&self, now: Instant, known: bool) -> Value {
        let inner = self.lock();
        let used_up = inner.is_used_up(now).then_some(USED_UP);
        let state = match () {
            () if !known => "foreign",
            () if inner.aside.is_some() => "set_aside",
            () if used_up.is_some() => "expired",
            () if inner.is_over(now) => "stale",
            () => "ready",
        };
        let reason = inner.aside.as_deref().or(used_up).or(inner.failed.as_ref().map(|f| f.reason.as_str()));
        json!({
            "credential": self.number,
            "state": state,
            "reason": reason,
            "expires_in_s": inner.until.map(|until| until.saturating_duration_since(now).as_secs_f64()),
            "refreshes": inner.tokens.refresh.is_some(),
            "refreshed": inner.version - 1,
            "obtained_at_ms": millis(inner.obtained),
            "scopes": inner.tokens.scopes,
        })
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        lock(&self.inner)
    }
}

impl fmt::Debug for Credential {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Credential").field("number", &self.number).finish_non_exhaustive()
    }
}

impl Inner {
    fn access(&self) -> Access {
        // What cannot be a header field was refused when it came.
        let mut value =
            HeaderValue::try_from(format!("Bearer {}", self.tokens.access.expose())).unwrap_or_else(|_| HeaderValue::from_static("Bearer"));
        value.set_sensitive(true);
        Access { version: self.version, value }
    }

    fn is_over(&self, now: Instant) -> bool {
        self.until.is_some_and(|until| until <= now)
    }

    /// Over, and nothing to come by another one with.
    fn is_used_up(&self, now: Instant) -> bool {
        self.is_over(now) && self.tokens.refresh.is_none()
    }

    /// Never before half of its life: a token that lives shorter than the margin would be due at once, for ever.
    fn due(&self, margin: Duration) -> Option<Instant> {
        let margin = self.tokens.life.map_or(margin, |life| margin.min(life / 2));
        self.until?.checked_sub(margin)
    }
}

impl Tokens {
    /// Whether a request can carry it.
    pub fn is_usable(&self) -> bool {
        !self.access.expose().is_empty() && HeaderValue::try_from(self.access.expose()).is_ok()
    }
}
