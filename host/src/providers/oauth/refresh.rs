//! Tokens are exchanged for new ones. One exchange runs at a time for each credential, whoever wants it: requests that were refused, requests
//! whose token is over, the task that looks ahead, an operator. It runs in a task of its own and goes on when whoever wanted it goes away,
//! because servers that rotate refresh tokens take the one before from everybody.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::Instant;

use super::credential::{Flight, Look};
use super::{Access, Credential, Failure, Login};
use crate::config::Secret;

/// Longest time until the task that looks ahead looks again, whatever it knows: clocks are set, machines sleep.
const LOOK_AGAIN: Duration = Duration::from_secs(60);

/// Shortest pause between two looks.
const PAUSE: Duration = Duration::from_secs(1);

impl Login {
    /// A token that can be used now. A token that is over is exchanged first, and one that soon will be is exchanged beside.
    pub async fn access(self: &Arc<Self>, credential: &Arc<Credential>) -> Result<Access, String> {
        match credential.look(Instant::now(), self.config.refresh_margin) {
            Look::Fresh(access) => Ok(access),
            Look::Due(access) => {
                // What it could not begin, the token that is still good makes no less good.
                let _ = self.begin(credential, access.version, false);
                Ok(access)
            }
            Look::Over(version) => {
                self.exchange(credential, version, false).await?;
                match credential.look(Instant::now(), Duration::ZERO) {
                    Look::Fresh(access) | Look::Due(access) => Ok(access),
                    // The server says that it is over when it comes; it knows best.
                    Look::Over(_) => Ok(credential.access()),
                    Look::Aside(reason) => Err(reason),
                }
            }
            Look::Aside(reason) => Err(reason),
        }
    }

    /// Another token than the one of this version, which was refused. One that there is no other for stays in use until it is over: a provider
    /// may refuse a token for reasons of its own, and only the authorization server knows whether it is good.
    pub async fn instead_of(self: &Arc<Self>, credential: &Arc<Credential>, refused: u64) -> Result<Access, String> {
        if credential.is_unproven(refused, Instant::now()) {
            return Err("its token is new, and was refused all the same".into());
        }
        self.exchange(credential, refused, false).await?;
        if credential.is_aside(Instant::now()) { Err("it was set aside".into()) } else { Ok(credential.access()) }
    }

    /// Exchanges a token because an operator wants that, also one that was set aside.
    pub async fn refresh(self: &Arc<Self>, credential: &Arc<Credential>) -> Result<(), String> {
        self.exchange(credential, credential.access().version, true).await
    }

    /// Waits until there is another token than the one of this version.
    async fn exchange(self: &Arc<Self>, credential: &Arc<Credential>, used: u64, forced: bool) -> Result<(), String> {
        let Some(mut flight) = self.begin(credential, used, forced)? else { return Ok(()) };
        // An error says that the task is gone: it panicked, which was logged.
        let _ = flight.wait_for(|over| *over).await;
        credential.still(used).map_or(Ok(()), Err)
    }

    /// Begins an exchange, or finds the one that is going on; none when there is another token already.
    fn begin(self: &Arc<Self>, credential: &Arc<Credential>, used: u64, forced: bool) -> Result<Option<watch::Receiver<bool>>, String> {
        match credential.fly(used, forced, Instant::now()) {
            Flight::Changed => Ok(None),
            Flight::Running(flight) => Ok(Some(flight)),
            Flight::None(reason) => Err(reason),
            Flight::Begin(refresh, tell) => {
                let told = tell.subscribe();
                let (login, credential) = (Arc::clone(self), Arc::clone(credential));
                self.logins.tasks.spawn(async move {
                    login.exchange_once(&credential, refresh).await;
                    credential.land();
                    tell.send_replace(true);
                });
                Ok(Some(told))
            }
        }
    }

    async fn exchange_once(self: &Arc<Self>, credential: &Arc<Credential>, refresh: Secret) {
        match self.server.refresh(&refresh).await {
            Ok(tokens) => {
                credential.took(tokens, Instant::now());
                tracing::info!(provider = self.provider, credential = credential.number, "a token was exchanged for a new one");
            }
            Err(Failure::Refused(reason)) => {
                let reason = format!("the authorization server {reason}; somebody has to log in again");
                credential.set_aside(&reason);
                tracing::error!(provider = self.provider, credential = credential.number, reason, "a login is set aside");
            }
            Err(failure) => {
                let error = format!("the authorization server {failure}");
                let wait = credential.failed(&error, Instant::now());
                tracing::warn!(
                    provider = self.provider,
                    credential = credential.number,
                    error,
                    again_s = wait.as_secs_f64(),
                    "a token could not be exchanged for a new one"
                );
                return;
            }
        }
        // Before whoever waits goes on: the server takes the token before no more.
        self.logins.keep(&self.provider, credential).await;
        self.held.changed.notify_waiters();
    }

    /// When the next token is due.
    fn next_due(&self) -> Option<Instant> {
        self.credentials().iter().filter_map(|c| c.due(self.config.refresh_margin)).min()
    }
}

/// Fetches tokens before those that are there expire, for as long as this runs.
pub async fn keep_fresh(login: Arc<Login>) {
    loop {
        let changed = login.held.changed.notified();
        let now = Instant::now();
        for credential in login.credentials() {
            if credential.due(login.config.refresh_margin).is_some_and(|due| due <= now) {
                // What fails is told, and due again later.
                let _ = login.exchange(&credential, credential.access().version, false).await;
            }
        }
        let latest = Instant::now() + if login.known().is_ok() { LOOK_AGAIN } else { PAUSE };
        // Tokens that live for less than they may be used ahead are always due: their server is not asked without a pause.
        let earliest = Instant::now() + PAUSE;
        let until = login.next_due().map_or(latest, |due| due.min(latest)).max(earliest);
        tokio::select! {
            () = changed => tokio::time::sleep_until(earliest).await,
            () = tokio::time::sleep_until(until) => {}
        }
    }
}
