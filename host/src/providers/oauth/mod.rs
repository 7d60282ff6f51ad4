//! Providers that are logged in to with OAuth.
//!
//! | file | what it is |
//! |---|---|
//! | `flow.rs` | how somebody logs in: with a browser that comes back (RFC 6749 with RFC 7636), or on another device (RFC 8628) |
//! | `credential.rs` | what came of one login: tokens, how long they are good, and whether somebody fetches new ones |
//! | `refresh.rs` | tokens are exchanged for new ones: one exchange at a time, before they expire or when they are refused |
//! | `server.rs` | what is asked of an authorization server |
//!
//! Credentials belong to the process, not to a generation: a refresh token that may be used once must not be used by two of them. Which
//! server they are exchanged at is settings, and so part of a provider.
//!
//! What is absent: a token in a log line, an answer or an error.

mod credential;
mod flow;
mod refresh;
mod server;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, SystemTime};

use serde_json::{Value, json};
use tokio::sync::Notify;
use tokio::time::Instant;
use tokio_util::task::TaskTracker;

pub use credential::{Access, Credential};
pub use flow::{Begun, CallbackError, Flow, Returned};
pub use refresh::keep_fresh;
pub use server::{Failure, Server};

use crate::config::{OAuthConfig, Secret};
use crate::storage::{Closed, Vault};
use credential::{Record, Tokens};
use flow::Pending;

/// Credentials that a provider may have.
const MOST: usize = 64;

/// How long the end of the process waits for exchanges that have begun: what came of them must not be lost.
const LAST_EXCHANGES: Duration = Duration::from_secs(10);

/// All logins of the process.
#[derive(Default)]
pub struct Logins {
    vault: Option<Arc<Vault>>,
    held: Mutex<BTreeMap<String, Arc<Held>>>,
    pending: Pending,
    tasks: TaskTracker,
    /// Whoever writes to the vault holds this, so that what was taken back is not written once more.
    writes: Mutex<()>,
    address: OnceLock<String>,
}

/// The credentials of one provider.
#[derive(Default)]
struct Held {
    credentials: Mutex<BTreeMap<u32, Arc<Credential>>>,
    /// What is kept of them was read. Until then an empty list says nothing.
    read: AtomicBool,
    /// Raised whenever the list changes.
    version: AtomicU64,
    /// Whoever waits for a credential to become due looks again.
    changed: Notify,
    last: Mutex<Option<Last>>,
}

/// How the last login ended.
struct Last {
    at: SystemTime,
    credential: Option<u32>,
    error: Option<String>,
}

/// One provider's logins, with its settings.
pub struct Login {
    /// The provider.
    pub provider: String,
    config: OAuthConfig,
    server: Server,
    held: Arc<Held>,
    logins: Arc<Logins>,
}

/// What became of a credential that was taken back.
pub struct Revoked {
    /// Its number.
    pub number: u32,
    /// Whether its authorization server took it back; none when that was not asked, because it has no address for it, or is not the one of the
    /// settings any more.
    pub at_server: Option<Result<(), Failure>>,
}

// === impl Logins ===

impl Logins {
    /// The logins that a vault has.
    pub fn new(vault: Option<Arc<Vault>>) -> Self {
        Self { vault, ..Self::default() }
    }

    /// Where browsers of this machine reach the gateway, for example `http://127.0.0.1:8080`. Only the first one counts.
    pub fn listen_at(&self, address: String) {
        let _ = self.address.set(address);
    }

    /// The logins of a provider. Fails when there is nothing to keep tokens in.
    pub fn of(self: &Arc<Self>, provider: &str, config: &OAuthConfig, connect_timeout: Duration) -> anyhow::Result<Arc<Login>> {
        if self.vault.is_none() {
            anyhow::bail!(
                "`providers.{provider}.oauth` needs `storage.token_key`, which is read only when the gateway starts; start it anew"
            );
        }
        let held = Arc::clone(lock(&self.held).entry(provider.to_owned()).or_default());
        let server = Server::new(config, connect_timeout)?;
        Ok(Arc::new(Login { provider: provider.to_owned(), config: config.clone(), server, held, logins: Arc::clone(self) }))
    }

    /// Reads what is kept of a provider's logins, unless that was done: at the first look, or as soon as the store has answered.
    fn read(&self, provider: &str, held: &Held) -> Result<(), Closed> {
        if held.read.load(Ordering::Acquire) {
            return Ok(());
        }
        let mut credentials = lock(&held.credentials);
        if held.read.load(Ordering::Acquire) {
            return Ok(());
        }
        let now = Instant::now();
        for (number, value) in self.vault.as_ref().map(|v| v.all(provider)).transpose()?.into_iter().flatten() {
            let record = value.and_then(|v| serde_json::from_slice::<Record>(&v).ok());
            let Some(record) = record else {
                tracing::error!(provider, credential = number, "a login is damaged and is left out; somebody has to log in again");
                continue;
            };
            credentials.insert(number, Arc::new(Credential::from_record(number, record, now)));
        }
        tracing::info!(provider, credentials = credentials.len(), "logins were read");
        held.read.store(true, Ordering::Release);
        drop(credentials);
        held.changed();
        Ok(())
    }

    /// Waits for exchanges that have begun.
    pub async fn finish(&self) {
        self.pending.end();
        self.tasks.close();
        if tokio::time::timeout(LAST_EXCHANGES, self.tasks.wait()).await.is_err() {
            tracing::warn!("an authorization server did not answer before the end; its login may have to be made again");
        }
    }

    /// Keeps a credential where it lasts, and waits until it is there: a refresh token that was used up must not come back.
    async fn keep(self: &Arc<Self>, provider: &str, credential: &Arc<Credential>) {
        let (logins, owner, kept) = (Arc::clone(self), provider.to_owned(), Arc::clone(credential));
        let write = move || {
            let Some(vault) = &logins.vault else { return Ok(()) };
            let _turn = lock(&logins.writes);
            // None when it was taken back meanwhile.
            if let Some(record) = kept.record() {
                vault.put(&owner, kept.number, &serde_json::to_vec(&record)?)?;
                vault.flush();
            }
            anyhow::Ok(())
        };
        let written = tokio::task::spawn_blocking(write).await.map_err(anyhow::Error::from).and_then(|w| w);
        if let Err(e) = written {
            let error = format!("{e:#}");
            tracing::error!(provider, credential = credential.number, error, "a login cannot be kept; a restart would lose it");
        }
    }
}

// === impl Held ===

impl Held {
    fn changed(&self) {
        self.version.fetch_add(1, Ordering::AcqRel);
        self.changed.notify_waiters();
    }
}

// === impl Login ===

impl Login {
    /// Whether it is known who is logged in. It is not while the store has not answered since the start, and then there are no credentials to
    /// use, to add to or to take back.
    pub fn known(&self) -> Result<(), Closed> {
        self.logins.read(&self.provider, &self.held)
    }

    /// Raised whenever the credentials become others.
    pub fn version(&self) -> u64 {
        // Who does not know them yet hears of them by this.
        let _ = self.known();
        self.held.version.load(Ordering::Acquire)
    }

    /// The credentials that the authorization server of these settings gave; none as long as nobody knows them.
    pub fn credentials(&self) -> Vec<Arc<Credential>> {
        let _ = self.known();
        let authority = self.authority();
        lock(&self.held.credentials).values().filter(|c| c.authority == authority).cloned().collect()
    }

    /// Who gave tokens, and to whom. Tokens of another one are not used.
    fn authority(&self) -> String {
        let server = self.config.issuer.as_ref().or(self.config.token_url.as_ref());
        format!("{} {}", self.config.client_id, server.map_or("", String::as_str))
    }

    /// A credential that somebody logged in for: a new one, or in the place of one that is there.
    async fn add(self: &Arc<Self>, tokens: Tokens, replaces: Option<u32>) -> Result<u32, Failure> {
        self.known().map_err(Failure::Closed)?;
        let (credential, before) = {
            let mut all = lock(&self.held.credentials);
            let number = match replaces {
                Some(number) => number,
                None if all.len() >= MOST => return Err(Failure::Impossible(format!("has {MOST} credentials already; revoke one"))),
                None => all.keys().next_back().map_or(1, |last| last + 1),
            };
            let credential = Arc::new(Credential::new(number, self.authority(), tokens));
            (Arc::clone(&credential), all.insert(number, credential))
        };
        if let Some(before) = before {
            before.forget();
        }
        self.held.changed();
        self.logins.keep(&self.provider, &credential).await;
        tracing::info!(provider = self.provider, credential = credential.number, "somebody logged in");
        Ok(credential.number)
    }

    /// Takes back one credential, or all of them: at their server, if it can do that, and here in any case. It must be known who is logged in.
    pub async fn revoke(self: &Arc<Self>, number: Option<u32>) -> Vec<Revoked> {
        let taken: Vec<_> = {
            let mut all = lock(&self.held.credentials);
            let numbers: Vec<u32> = all.keys().copied().filter(|n| number.is_none_or(|wanted| wanted == *n)).collect();
            numbers.iter().filter_map(|n| all.remove(n)).collect()
        };
        taken.iter().for_each(|credential| credential.forget());
        self.held.changed();
        let (login, numbers) = (Arc::clone(self), taken.iter().map(|c| c.number).collect::<Vec<_>>());
        let remove = move || {
            let Some(vault) = &login.logins.vault else { return };
            let _turn = lock(&login.logins.writes);
            numbers.into_iter().for_each(|number| vault.remove(&login.provider, number));
            vault.flush();
        };
        // A panic was logged.
        let _ = tokio::task::spawn_blocking(remove).await;
        let mut revoked = Vec::new();
        for credential in taken {
            // What is being fetched is to be taken back too.
            credential.landed().await;
            let (access, refresh) = credential.secrets();
            let known = credential.authority == self.authority();
            let at_server = if known { self.server.revoke(&access, refresh.as_ref()).await } else { None };
            let taken_back = at_server.as_ref().map(Result::is_ok);
            tracing::info!(provider = self.provider, credential = credential.number, taken_back, "a login was taken back");
            revoked.push(Revoked { number: credential.number, at_server });
        }
        revoked
    }

    /// Whether there is a credential of this number.
    pub fn has(&self, number: u32) -> bool {
        lock(&self.held.credentials).contains_key(&number)
    }

    /// How it is, for operators.
    pub fn shown(&self) -> Value {
        let (now, authority, closed) = (Instant::now(), self.authority(), self.known().err());
        let credentials: Vec<_> = lock(&self.held.credentials).values().map(|c| c.shown(now, c.authority == authority)).collect();
        let last = lock(&self.held.last);
        let last = last
            .as_ref()
            .map(|last| json!({"at_ms": millis(last.at), "ok": last.error.is_none(), "credential": last.credential, "error": last.error}));
        json!({
            "provider": self.provider,
            "server": self.config.issuer.as_ref().or(self.config.token_url.as_ref()),
            "client_id": self.config.client_id,
            "scopes": self.config.scopes,
            "redirect_url": self.redirect_url(),
            "credentials": credentials,
            "unread": closed.map(|closed| format!("What is kept of logins {closed}.")),
            "logging_in": self.logins.pending.shown(&self.provider, now),
            "last_login": last,
        })
    }

    /// What stands in the place of every secret of its credentials in texts that others will see.
    pub fn mask(&self, text: &str) -> String {
        let credentials: Vec<_> = lock(&self.held.credentials).values().cloned().collect();
        let masked = credentials.iter().fold(text.to_owned(), |text, credential| credential.mask(&text));
        self.config.client_secret.as_ref().map_or_else(|| masked.clone(), |secret| secret.mask(&masked))
    }

    fn ended(&self, outcome: &Result<u32, Failure>) {
        let error = outcome.as_ref().err().map(ToString::to_string);
        if let Some(error) = &error {
            tracing::warn!(provider = self.provider, error, "a login failed");
        }
        *lock(&self.held.last) = Some(Last { at: SystemTime::now(), credential: outcome.as_ref().ok().copied(), error });
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn millis(at: SystemTime) -> u64 {
    at.duration_since(SystemTime::UNIX_EPOCH).map_or(0, |d| d.as_millis() as u64)
}

/// A text without these secrets.
fn mask_all<'a>(text: &str, secrets: impl IntoIterator<Item = &'a Secret>) -> String {
    secrets.into_iter().fold(text.to_owned(), |text, secret| secret.mask(&text))
}
