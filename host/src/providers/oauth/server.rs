//! What is asked of an authorization server: where its parts are, tokens for a code, for a device or for a refresh token, and to take tokens
//! back.
//!
//! Its words may be told, but for the secrets in them. It is asked like a provider: directly, and redirects are not followed. Nothing waits for
//! it for longer than `timeout`.

use std::borrow::Cow;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use futures_util::StreamExt as _;
use futures_util::future::BoxFuture;
use http::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE};
use oauth2::basic::{BasicClient, BasicErrorResponseType, BasicTokenResponse, BasicTokenType};
use oauth2::{
    AsyncHttpClient, AuthType, AuthUrl, AuthorizationCode, ClientId, ClientSecret, CsrfToken, DeviceAuthorizationUrl,
    DeviceCodeErrorResponseType, EndpointMaybeSet, EndpointNotSet, EndpointSet, ErrorResponse, HttpRequest, HttpResponse,
    PkceCodeChallenge, PkceCodeVerifier, RedirectUrl, RefreshToken, RequestTokenError, Scope, StandardDeviceAuthorizationResponse,
    TokenResponse as _, TokenUrl,
};
use serde::Deserialize;

use super::credential::Tokens;
use super::mask_all;
use crate::config::oauth::ClientAuth;
use crate::config::{OAuthConfig, Secret};
use crate::providers::transport;
use crate::storage::Closed;

/// Longest answer.
const MAX_ANSWER: usize = 1 << 20;

/// How long is believed what the server said of its parts.
const KNOWN_FOR: Duration = Duration::from_secs(3600);

/// Longest that a token is believed to be good.
pub const LONGEST_LIFE: Duration = Duration::from_secs(10 * 365 * 24 * 3_600);

/// Most that is told of a server's own words.
const MAX_WORDS: usize = 300;

/// Why an authorization server gave nothing. Each completes "the authorization server …".
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Failure {
    /// It refuses what it was given, and will not change its mind.
    #[error("{0}")]
    Refused(String),
    /// It did not give an answer that can be used.
    #[error("{0}")]
    Failed(String),
    /// The settings do not let it be asked.
    #[error("{0}")]
    Impossible(String),
    /// Nobody could keep what it gives.
    #[error("is not asked, because what is kept of logins {0}")]
    Closed(Closed),
}

/// An authorization server.
pub struct Server {
    config: OAuthConfig,
    call: Call,
    found: Mutex<Option<(Instant, Arc<Metadata>)>>,
}

/// What a server says of itself (RFC 8414).
#[derive(Debug, Clone, Default, Deserialize)]
struct Metadata {
    issuer: String,
    authorization_endpoint: Option<String>,
    token_endpoint: Option<String>,
    device_authorization_endpoint: Option<String>,
    revocation_endpoint: Option<String>,
}

/// A client with the addresses that are known.
type Client = BasicClient<EndpointMaybeSet, EndpointMaybeSet, EndpointNotSet, EndpointNotSet, EndpointSet>;

/// A login that began on another device.
pub type Device = StandardDeviceAuthorizationResponse;

/// Nothing came back.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct Unanswered(pub Cow<'static, str>);

impl From<&'static str> for Unanswered {
    fn from(what: &'static str) -> Self {
        Self(what.into())
    }
}

/// An answer that is awaited.
type Answer = BoxFuture<'static, Result<HttpResponse, Unanswered>>;

/// Sends a request and reads the whole answer. All that is asked of a server goes through one.
pub struct Call {
    send: Box<dyn Fn(HttpRequest) -> Answer + Send + Sync>,
    /// How long that may take.
    timeout: Duration,
}

impl Call {
    /// A way to a server.
    pub fn new<F: Future<Output = Result<HttpResponse, Unanswered>> + Send + 'static>(
        call: impl Fn(HttpRequest) -> F + Send + Sync + 'static,
    ) -> Self {
        Self { send: Box::new(move |request| Box::pin(call(request))), timeout: Duration::MAX }
    }
}

impl AsyncHttpClient<'_> for Call {
    type Error = Unanswered;
    type Future = Answer;

    fn call(&self, request: HttpRequest) -> Answer {
        let (host, timeout) = (request.uri().host().unwrap_or_default().to_owned(), self.timeout);
        let answer = (self.send)(request);
        Box::pin(
            async move { tokio::time::timeout(timeout, answer).await.unwrap_or_else(|_| Err(Unanswered(late(&host, timeout).into()))) },
        )
    }
}

/// What is told of a server that takes too long. Of its address the host alone: there may be more in it than everybody should know.
fn late(host: &str, timeout: Duration) -> String {
    format!("at `{host}` did not answer within {} s, which is the provider's `oauth.timeout`", timeout.as_secs_f64())
}

impl Server {
    /// The server of a provider's settings. Nothing is asked yet.
    pub fn new(config: &OAuthConfig, connect_timeout: Duration) -> anyhow::Result<Self> {
        let http = transport::pool(connect_timeout).build()?;
        Ok(Self::with(config, Call::new(move |request| ask(http.clone(), request))))
    }

    /// A server that is reached in a way of its own.
    pub fn with(config: &OAuthConfig, call: Call) -> Self {
        let call = Call { timeout: config.timeout, ..call };
        Self { config: config.clone(), call, found: Mutex::default() }
    }

    /// Asks, in bounded time however many questions that takes. `part` says whom it is about, once that is known.
    async fn within<T>(
        &self,
        part: impl Fn(&Metadata) -> Option<&String>,
        asking: impl Future<Output = Result<T, Failure>>,
    ) -> Result<T, Failure> {
        let answered = tokio::time::timeout(self.config.timeout, asking).await;
        answered.unwrap_or_else(|_| {
            let found = super::lock(&self.found).clone();
            let url = found.as_ref().and_then(|(_, metadata)| part(metadata)).or(self.config.issuer.as_ref());
            let host = url.and_then(|url| reqwest::Url::parse(url).ok()?.host_str().map(str::to_owned)).unwrap_or_default();
            Err(Failure::Failed(late(&host, self.config.timeout)))
        })
    }

    /// Where somebody logs in, with what the server will answer to.
    pub async fn authorize_url(&self, state: &str, challenge: PkceCodeChallenge, redirect: RedirectUrl) -> Result<reqwest::Url, Failure> {
        let client = self.within(|m| m.token_endpoint.as_ref(), self.client()).await?.set_redirect_uri(redirect);
        let request = client.authorize_url(|| CsrfToken::new(state.to_owned()));
        let request = request.map_err(|_| Failure::Impossible("has no address where people log in; set `auth_url`".into()))?;
        let request = request.set_pkce_challenge(challenge).add_scopes(self.scopes());
        let request = self.config.auth_params.iter().fold(request, |r, (name, value)| r.add_extra_param(name.as_str(), value.as_str()));
        Ok(request.url().0)
    }

    /// Tokens for the code that a browser brought.
    pub async fn exchange(&self, code: &Secret, verifier: PkceCodeVerifier, redirect: RedirectUrl) -> Result<Tokens, Failure> {
        let asking = async {
            let client = self.client().await?.set_redirect_uri(redirect);
            let request = client.exchange_code(AuthorizationCode::new(code.expose().to_owned())).set_pkce_verifier(verifier);
            let answer = request.request_async(&self.call).await.map_err(|e| self.failure(e, &[code]));
            usable(&answer?)
        };
        self.within(|m| m.token_endpoint.as_ref(), asking).await
    }

    /// New tokens for a refresh token.
    pub async fn refresh(&self, refresh: &Secret) -> Result<Tokens, Failure> {
        let asking = async {
            let client = self.client().await?;
            let token = RefreshToken::new(refresh.expose().to_owned());
            let answer = client.exchange_refresh_token(&token).request_async(&self.call).await.map_err(|e| self.failure(e, &[refresh]));
            usable(&answer?)
        };
        self.within(|m| m.token_endpoint.as_ref(), asking).await
    }

    /// Begins the login on another device.
    pub async fn begin_device(&self) -> Result<Device, Failure> {
        let asking = async {
            let client = self.client().await?;
            let request = client.exchange_device_code();
            let request = request.map_err(|_| Failure::Impossible("has no address for the login of devices; set `device_url`".into()))?;
            request.add_scopes(self.scopes()).request_async(&self.call).await.map_err(|e| self.failure(e, &[]))
        };
        self.within(|m| m.device_authorization_endpoint.as_ref(), asking).await
    }

    /// Asks until somebody has logged in on the other device. Each question is bounded, and the server says for how long they go on.
    pub async fn wait_for_device(&self, device: &Device) -> Result<Tokens, Failure> {
        let client = self.within(|m| m.token_endpoint.as_ref(), self.client()).await?;
        let code = Secret::new(device.device_code().secret().clone());
        let asked = client.exchange_device_access_token(device).request_async(&self.call, tokio::time::sleep, None).await;
        let answer = asked.map_err(|e| match e {
            RequestTokenError::ServerResponse(e) if *e.error() == DeviceCodeErrorResponseType::ExpiredToken => {
                Failure::Refused("waited, and nobody logged in in time".into())
            }
            RequestTokenError::ServerResponse(e) if *e.error() == DeviceCodeErrorResponseType::AccessDenied => {
                Failure::Refused("was told by the person not to let the gateway in (access_denied)".into())
            }
            other => self.failure(other, &[&code]),
        });
        usable(&answer?)
    }

    /// Takes tokens back (RFC 7009): the refresh token, with which servers take back what came of it, else the access token. None when the
    /// server has no address for it. The `oauth2` crate cannot do this at an address that is not encrypted, so not on loopback either.
    pub async fn revoke(&self, access: &Secret, refresh: Option<&Secret>) -> Option<Result<(), Failure>> {
        let metadata = match self.within(|m| m.revocation_endpoint.as_ref(), self.metadata()).await {
            Ok(metadata) => metadata,
            Err(failure) => return Some(Err(failure)),
        };
        let url = metadata.revocation_endpoint.clone()?;
        let (token, hint) = refresh.map_or((access, "access_token"), |refresh| (refresh, "refresh_token"));
        let mut form = vec![("token", token.expose()), ("token_type_hint", hint)];
        let mut request =
            http::Request::post(&url).header(ACCEPT, "application/json").header(CONTENT_TYPE, "application/x-www-form-urlencoded");
        match (&self.config.client_secret, self.config.client_auth) {
            (Some(secret), ClientAuth::Basic) => {
                // Each is written as in a form (RFC 6749, section 2.3.1).
                let written = |text: &str| form_urlencoded::byte_serialize(text.as_bytes()).collect::<String>();
                let both = format!("{}:{}", written(&self.config.client_id), written(secret.expose()));
                request = request.header(AUTHORIZATION, format!("Basic {}", STANDARD.encode(both)));
            }
            (secret, _) => {
                form.push(("client_id", &self.config.client_id));
                form.extend(secret.iter().map(|secret| ("client_secret", secret.expose())));
            }
        }
        let form = form_urlencoded::Serializer::new(String::new()).extend_pairs(form).finish();
        let Ok(request) = request.body(form.into_bytes()) else {
            return Some(Err(Failure::Failed("names an address that is none".into())));
        };
        Some(match self.call.call(request).await {
            Err(Unanswered(what)) => Err(Failure::Failed(what.into_owned())),
            Ok(answer) if answer.status().is_success() => Ok(()),
            Ok(answer) => Err(Failure::Failed(format!("answered {} when tokens were to be taken back", answer.status().as_u16()))),
        })
    }

    /// Whether an issuer that a browser brought is the one of the settings (RFC 9207).
    pub fn is_issuer(&self, told: &str) -> bool {
        self.config.issuer.as_ref().is_none_or(|issuer| issuer.trim_end_matches('/') == told.trim_end_matches('/'))
    }

    fn scopes(&self) -> Vec<Scope> {
        self.config.scopes.iter().cloned().map(Scope::new).collect()
    }

    async fn client(&self) -> Result<Client, Failure> {
        let metadata = self.metadata().await?;
        let wrong = |_| Failure::Failed("names addresses that are none".into());
        let token = metadata.token_endpoint.clone();
        let token = token.ok_or_else(|| Failure::Impossible("has no address where tokens are given; set `token_url`".into()))?;
        let mut client = BasicClient::new(ClientId::new(self.config.client_id.clone())).set_auth_type(match self.config.client_auth {
            ClientAuth::Basic => AuthType::BasicAuth,
            ClientAuth::Post => AuthType::RequestBody,
        });
        if let Some(secret) = &self.config.client_secret {
            client = client.set_client_secret(ClientSecret::new(secret.expose().to_owned()));
        }
        Ok(client
            .set_auth_uri_option(metadata.authorization_endpoint.clone().map(AuthUrl::new).transpose().map_err(wrong)?)
            .set_device_authorization_url_option(
                metadata.device_authorization_endpoint.clone().map(DeviceAuthorizationUrl::new).transpose().map_err(wrong)?,
            )
            .set_token_uri(TokenUrl::new(token).map_err(wrong)?))
    }

    /// Where the parts of the server are: what the settings say, and else what it says.
    async fn metadata(&self) -> Result<Arc<Metadata>, Failure> {
        let known = super::lock(&self.found).clone().filter(|(at, _)| at.elapsed() < KNOWN_FOR);
        if let Some((_, known)) = known {
            return Ok(known);
        }
        let told = match &self.config.issuer {
            Some(issuer) => self.discover(issuer).await?,
            None => Metadata::default(),
        };
        let config = self.config.clone();
        let metadata = Arc::new(Metadata {
            issuer: told.issuer,
            authorization_endpoint: config.auth_url.or(told.authorization_endpoint),
            token_endpoint: config.token_url.or(told.token_endpoint),
            device_authorization_endpoint: config.device_url.or(told.device_authorization_endpoint),
            revocation_endpoint: config.revoke_url.or(told.revocation_endpoint),
        });
        *super::lock(&self.found) = Some((Instant::now(), Arc::clone(&metadata)));
        Ok(metadata)
    }

    async fn discover(&self, issuer: &str) -> Result<Metadata, Failure> {
        for url in metadata_urls(issuer) {
            let request = http::Request::get(url.as_str()).header(ACCEPT, "application/json").body(Vec::new());
            let request = request.map_err(|_| Failure::Impossible("has an `issuer` that is no address".into()))?;
            let answer = self.call.call(request).await.map_err(|e| Failure::Failed(e.to_string()))?;
            if !answer.status().is_success() {
                continue;
            }
            let metadata: Metadata = serde_json::from_slice(answer.body())
                .map_err(|_| Failure::Failed(format!("answers with something else than its metadata at `{url}`; check `issuer`")))?;
            // Else whoever can put a document anywhere on the host could tell where secrets go (RFC 8414, section 3.3).
            if metadata.issuer.trim_end_matches('/') != issuer.trim_end_matches('/') {
                return Err(Failure::Failed("says that it is another one than `issuer`; write it as the server does".into()));
            }
            return Ok(metadata);
        }
        Err(Failure::Failed("has no metadata; check `issuer`, or set `token_url` and `auth_url`".into()))
    }

    /// What can be told of an error. `secrets` are those that were sent.
    fn failure<E: ErrorResponse + Told + 'static>(&self, error: RequestTokenError<Unanswered, E>, secrets: &[&Secret]) -> Failure {
        match error {
            RequestTokenError::ServerResponse(error) => {
                let (code, words) = error.told();
                let words = words.map(|words| format!(": {}", self.tellable(words, secrets))).unwrap_or_default();
                let text = format!("refused it ({}){words}", self.tellable(code, secrets));
                if error.is_final() { Failure::Refused(text) } else { Failure::Failed(text) }
            }
            RequestTokenError::Request(Unanswered(what)) => Failure::Failed(what.into_owned()),
            // The answer may hold a token.
            RequestTokenError::Parse(..) | RequestTokenError::Other(_) => {
                Failure::Failed("answered with something that is neither tokens nor an error".into())
            }
        }
    }

    /// A server's own words, cut, and without these secrets and that of the settings.
    pub fn tellable(&self, words: &str, secrets: &[&Secret]) -> String {
        // Masked first: what is left of a secret that was cut is no longer found.
        let words = mask_all(words, secrets.iter().copied().chain(&self.config.client_secret));
        words.chars().filter(|c| !c.is_control()).take(MAX_WORDS).collect()
    }
}

/// Sends a request over a pool of connections, and reads the whole answer, up to a size.
async fn ask(http: reqwest::Client, request: HttpRequest) -> Result<HttpResponse, Unanswered> {
    let request = reqwest::Request::try_from(request).map_err(|_| "has an address that is none")?;
    let answer = http.execute(request).await;
    let answer = answer.map_err(|_| "could not be reached")?;
    let mut response = http::Response::builder().status(answer.status());
    if let Some(headers) = response.headers_mut() {
        headers.clone_from(answer.headers());
    }
    let mut body = Vec::new();
    let mut pieces = answer.bytes_stream();
    while let Some(piece) = pieces.next().await {
        let piece = piece.map_err(|_| "broke off its answer")?;
        if body.len() + piece.len() > MAX_ANSWER {
            return Err("sent more than the gateway accepts".into());
        }
        body.extend_from_slice(&piece);
    }
    response.body(body).map_err(|_| "sent something that is no answer".into())
}

/// What an error of a server says.
trait Told {
    /// Its code, and its words.
    fn told(&self) -> (&str, Option<&str>);
    /// Whether what was sent is of no more use.
    fn is_final(&self) -> bool;
}

impl Told for oauth2::basic::BasicErrorResponse {
    fn told(&self) -> (&str, Option<&str>) {
        (self.error().as_ref(), self.error_description().map(String::as_str))
    }

    fn is_final(&self) -> bool {
        *self.error() == BasicErrorResponseType::InvalidGrant
    }
}

impl Told for oauth2::DeviceCodeErrorResponse {
    fn told(&self) -> (&str, Option<&str>) {
        (self.error().as_ref(), self.error_description().map(String::as_str))
    }

    fn is_final(&self) -> bool {
        true
    }
}

/// Tokens that a request can carry.
fn usable(answer: &BasicTokenResponse) -> Result<Tokens, Failure> {
    let tokens = Tokens {
        access: Secret::new(answer.access_token().secret().clone()),
        refresh: answer.refresh_token().map(|token| Secret::new(token.secret().clone())),
        // Nought is what some servers say of tokens that do not expire, and no clock can count to the end of all.
        life: answer.expires_in().filter(|life| !life.is_zero()).map(|life| life.min(LONGEST_LIFE)),
        scopes: answer.scopes().into_iter().flatten().map(|s| s.as_str().to_owned()).collect(),
    };
    if *answer.token_type() != BasicTokenType::Bearer {
        return Err(Failure::Failed("gives tokens of another kind than `Bearer`".into()));
    }
    if !tokens.is_usable() {
        return Err(Failure::Failed("gave a token that no header field can carry".into()));
    }
    Ok(tokens)
}

/// Where a server's metadata may be: RFC 8414 puts it before the issuer's path, OpenID Connect behind it.
fn metadata_urls(issuer: &str) -> Vec<String> {
    let Ok(url) = reqwest::Url::parse(issuer) else { return Vec::new() };
    let (path, issuer) = (url.path().trim_end_matches('/'), issuer.trim_end_matches('/'));
    let host = issuer.strip_suffix(path).unwrap_or(issuer);
    vec![format!("{host}/.well-known/oauth-authorization-server{path}"), format!("{issuer}/.well-known/openid-configuration")]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn where_metadata_may_be() {
        assert_eq!(
            metadata_urls("https://a.example/realms/x/"),
            [
                "https://a.example/.well-known/oauth-authorization-server/realms/x",
                "https://a.example/realms/x/.well-known/openid-configuration"
            ]
        );
        assert_eq!(
            metadata_urls("https://a.example"),
            ["https://a.example/.well-known/oauth-authorization-server", "https://a.example/.well-known/openid-configuration"]
        );
    }

    #[test]
    fn what_a_server_says_is_told_without_secrets() {
        let config = OAuthConfig { client_secret: Some(Secret::new("client-pw".into())), ..OAuthConfig::default() };
        let server = Server::with(&config, Call::new(|_| async { Err("is never asked".into()) }));
        let told = server.tellable("no \u{1b}[31mclient-pw for rt-1", &[&Secret::new("rt-1".into())]);
        assert_eq!(told, "no [31m*** for ***");
        assert_eq!(server.tellable(&"x".repeat(1000), &[]).len(), MAX_WORDS);
    }
}
