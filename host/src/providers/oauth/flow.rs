//! How somebody logs in.
//!
//! A login that began is known by its `state`: 32 random bytes that come back once, within minutes, to the provider that they were made for.
//! Whoever brings them needs no password, because only an operator could have begun it. What the browser brings is never shown.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use oauth2::{CsrfToken, PkceCodeChallenge, PkceCodeVerifier, RedirectUrl};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use tokio::time::Instant;
use tokio_util::task::AbortOnDropHandle;

use super::{Failure, Login, lock};
use crate::config::Secret;
use crate::config::oauth::callback;

/// How long somebody may take to log in with a browser.
const PATIENCE: Duration = Duration::from_secs(600);

/// Logins that have begun, at most. One more forgets the oldest.
const MOST: usize = 64;

/// Longest that a login on another device is waited for.
const LONGEST_DEVICE_LOGIN: Duration = Duration::from_secs(3600);

/// Of those on other devices fewer: each asks its server every few seconds.
const MOST_DEVICES: usize = 8;

/// Bytes of a `state`.
const STATE: u32 = 32;

/// How somebody logs in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Flow {
    /// With a browser that comes back.
    Code,
    /// With a code on another device.
    Device,
}

/// A login that has begun: what whoever logs in needs.
pub struct Begun(pub Value);

/// Logins that have begun.
#[derive(Default)]
pub struct Pending {
    /// By the digest of their state, so that looking one up says nothing of the others.
    browsers: Mutex<HashMap<[u8; 32], Browser>>,
    devices: Mutex<Vec<OnDevice>>,
}

struct Browser {
    login: Arc<Login>,
    verifier: PkceCodeVerifier,
    redirect: RedirectUrl,
    replaces: Option<u32>,
    until: Instant,
}

struct OnDevice {
    provider: String,
    code: String,
    address: String,
    until: Instant,
    task: AbortOnDropHandle<()>,
}

/// What a browser brings back.
#[derive(Default)]
pub struct Returned {
    /// What it was sent with.
    pub state: String,
    /// What tokens are given for.
    pub code: Option<Secret>,
    /// Why there is none.
    pub error: Option<String>,
    /// The server's words for it.
    pub error_description: Option<String>,
    /// Who sends it (RFC 9207).
    pub issuer: Option<String>,
}

/// Why a browser's return is no login.
#[derive(Debug, PartialEq, Eq)]
pub enum CallbackError {
    /// Nobody sent it, or it took too long, or it was here already.
    Unknown,
    /// Somebody else sends it than who was asked.
    Mixed,
    /// The server says no; one of its codes.
    Denied(&'static str),
    /// The code could not be exchanged for tokens.
    Failed,
}

/// The errors that a server may answer with (RFC 6749, section 4.1.2.1, and OpenID Connect). Others are not repeated.
const ERRORS: [&str; 12] = [
    "access_denied",
    "account_selection_required",
    "consent_required",
    "interaction_required",
    "invalid_request",
    "invalid_scope",
    "login_required",
    "server_error",
    "temporarily_unavailable",
    "unauthorized_client",
    "unmet_authentication_requirements",
    "unsupported_response_type",
];

// === impl Login ===

impl Login {
    /// Begins a login: for a new credential, or for one in the place of another.
    pub async fn begin_login(self: &Arc<Self>, flow: Flow, replaces: Option<u32>) -> Result<Begun, Failure> {
        self.known().map_err(Failure::Closed)?;
        match flow {
            Flow::Code => self.begin_browser(replaces).await,
            Flow::Device => self.begin_device(replaces).await,
        }
    }

    async fn begin_browser(self: &Arc<Self>, replaces: Option<u32>) -> Result<Begun, Failure> {
        let redirect = self.redirect_url();
        let redirect = redirect.and_then(|url| RedirectUrl::new(url).ok());
        let redirect =
            redirect.ok_or_else(|| Failure::Impossible("cannot be told where browsers come back to; set `redirect_url`".into()))?;
        let (challenge, verifier) = PkceCodeChallenge::new_random_sha256();
        let state = CsrfToken::new_random_len(STATE);
        let url = self.server.authorize_url(state.secret(), challenge, redirect.clone()).await?;
        let until = Instant::now() + PATIENCE;
        let browser = Browser { login: Arc::clone(self), verifier, redirect: redirect.clone(), replaces, until };
        self.logins.pending.expect(state.secret(), browser);
        Ok(Begun(json!({
            "flow": "code",
            "authorization_url": url.as_str(),
            "redirect_url": redirect.as_str(),
            "expires_in_s": PATIENCE.as_secs(),
        })))
    }

    async fn begin_device(self: &Arc<Self>, replaces: Option<u32>) -> Result<Begun, Failure> {
        let device = self.server.begin_device().await?;
        let begun = json!({
            "flow": "device",
            "user_code": device.user_code().secret(),
            "verification_url": device.verification_uri().as_str(),
            "verification_url_complete": device.verification_uri_complete().map(|url| url.secret()),
            "expires_in_s": device.expires_in().as_secs(),
        });
        let (code, address) = (device.user_code().secret().clone(), device.verification_uri().to_string());
        let until = Instant::now() + device.expires_in().min(LONGEST_DEVICE_LOGIN);
        let login = Arc::clone(self);
        let wait = async move {
            let outcome = match login.server.wait_for_device(&device).await {
                Ok(tokens) => login.add(tokens, replaces).await,
                Err(failure) => Err(failure),
            };
            login.ended(&outcome);
        };
        let task = AbortOnDropHandle::new(tokio::spawn(wait));
        self.logins.pending.wait_for(OnDevice { provider: self.provider.clone(), code, address, until, task });
        Ok(Begun(begun))
    }

    /// Where browsers come back to: what the settings say, else where the gateway listens. Never what a request says.
    pub fn redirect_url(&self) -> Option<String> {
        let derived = || Some(format!("{}{}", self.logins.address.get()?, callback(&self.provider)));
        self.config.redirect_url.clone().or_else(derived)
    }

    /// A browser is back. Whatever it brings, its `state` is good no more.
    pub async fn returned(self: &Arc<Self>, returned: Returned) -> Result<u32, CallbackError> {
        let browser = self.logins.pending.take(&returned.state, Instant::now());
        // Of another provider: somebody mixed them up, or tries to.
        let browser = browser.filter(|b| b.login.provider == self.provider).ok_or(CallbackError::Unknown)?;
        // The settings may have changed meanwhile; the code belongs to those from before.
        let login = Arc::clone(&browser.login);
        if returned.issuer.as_ref().is_some_and(|issuer| !login.server.is_issuer(issuer)) {
            login.ended(&Err(Failure::Refused("is another one than the one that was asked".into())));
            return Err(CallbackError::Mixed);
        }
        if let Some(error) = &returned.error {
            let known = ERRORS.into_iter().find(|known| known == error).unwrap_or("an error that has no name");
            let words = returned.error_description.map(|w| format!(": {}", login.server.tellable(&w, &[]))).unwrap_or_default();
            login.ended(&Err(Failure::Refused(format!("answered {known}{words}"))));
            return Err(CallbackError::Denied(known));
        }
        let Some(code) = returned.code else {
            login.ended(&Err(Failure::Failed("sent the browser back without a code".into())));
            return Err(CallbackError::Failed);
        };
        // It goes on when the browser goes away: the code can be used once.
        let exchange = async move {
            let outcome = match login.server.exchange(&code, browser.verifier, browser.redirect).await {
                Ok(tokens) => login.add(tokens, browser.replaces).await,
                Err(failure) => Err(failure),
            };
            login.ended(&outcome);
            outcome.map_err(|_| CallbackError::Failed)
        };
        self.logins.tasks.spawn(exchange).await.unwrap_or(Err(CallbackError::Failed))
    }
}

// === impl Pending ===

impl Pending {
    fn expect(&self, state: &str, browser: Browser) {
        let mut all = lock(&self.browsers);
        let now = Instant::now();
        all.retain(|_, b| b.until > now);
        if all.len() >= MOST
            && let Some(oldest) = all.iter().min_by_key(|(_, b)| b.until).map(|(digest, _)| *digest)
        {
            all.remove(&oldest);
        }
        all.insert(Sha256::digest(state).into(), browser);
    }

    fn take(&self, state: &str, now: Instant) -> Option<Browser> {
        let digest: [u8; 32] = Sha256::digest(state).into();
        lock(&self.browsers).remove(&digest).filter(|b| b.until > now)
    }

    fn wait_for(&self, device: OnDevice) {
        let mut all = lock(&self.devices);
        all.retain(|d| !d.task.is_finished());
        if all.len() >= MOST_DEVICES {
            all.remove(0);
        }
        all.push(device);
    }

    /// Nobody waits any more.
    pub fn end(&self) {
        lock(&self.browsers).clear();
        lock(&self.devices).clear();
    }

    /// The logins of a provider that have begun, for operators.
    pub fn shown(&self, provider: &str, now: Instant) -> Value {
        let left = |until: Instant| until.saturating_duration_since(now).as_secs_f64();
        let browsers = lock(&self.browsers).values().filter(|b| b.login.provider == provider && b.until > now).map(|b| b.until).collect();
        let browsers: Vec<Instant> = browsers;
        let browsers = browsers.into_iter().map(|until| json!({"flow": "code", "expires_in_s": left(until)}));
        let devices = lock(&self.devices);
        let devices = devices
            .iter()
            .filter(|d| d.provider == provider && !d.task.is_finished())
            .map(|d| json!({"flow": "device", "expires_in_s": left(d.until), "user_code": d.code, "verification_url": d.address}));
        Value::Array(browsers.chain(devices).collect())
    }
}
