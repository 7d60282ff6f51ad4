//! HTTP to an upstream: one pooled client, a key for each request, timeouts, and errors in the gateway's terms.
//!
//! Header hygiene: only the headers named here and those that a provider adds are sent. Nothing of the client's own
//! (credentials, cookies, `accept-encoding`, hop-by-hop fields) goes upstream.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, SystemTime};

use bytes::{Bytes, BytesMut};
use futures_util::{StreamExt as _, stream};
use http::{HeaderMap, HeaderName, HeaderValue, header};
use http_body_util::Full;
use hyper::body::{Body, Frame, SizeHint};
use llm_codec::Format;
use llm_codec::hub::{ChatError, ErrorClass};
use serde_json::Value;
use tokio::time::Instant;

use super::credentials::{Credentials, Lease, Resting};
use super::oauth::Login;
use super::presets::KeyHeader;
use super::{Forward, Forwarded, Outgoing, Upstream, Written};
use crate::config::ProviderConfig;
use crate::storage::Closed;

/// Most that is read of an error's body.
const MAX_ERROR_BODY: usize = 64 << 10;

/// Most that is read of a complete answer.
const MAX_ANSWER: usize = 64 << 20;

/// Most that is read of a list of models.
const MAX_LIST: usize = 8 << 20;

/// The code of an error that says that the provider refuses the gateway's credentials.
pub const REFUSED_KEY: &str = "provider_authentication";

/// The code of an error that says that all keys rest: nothing was sent.
pub const KEYS_REST: &str = "provider_keys_resting";

/// A connection pool to one provider.
pub struct Client {
    http: reqwest::Client,
    /// The base URL, without a slash at its end.
    base: String,
    url: reqwest::Url,
    credentials: Credentials,
    format: Format,
    provider: String,
    first_byte_timeout: Duration,
    idle_timeout: Duration,
}

/// What is wrong with a base URL.
pub fn check_url(url: &str) -> Result<(), String> {
    match reqwest::Url::parse(url) {
        Err(e) => Err(format!("`{url}` is not a URL: {e}; write it like `https://api.example.com/v1`.")),
        Ok(u) if !matches!(u.scheme(), "http" | "https") => Err(format!("`{url}` has the scheme `{}`; use `http` or `https`.", u.scheme())),
        Ok(u) if u.query().is_some() || u.fragment().is_some() => Err(format!("`{url}` must end with its path.")),
        Ok(_) => Ok(()),
    }
}

/// How hosts of the configuration are connected to: directly, and a redirect is an answer like others, so no host can send secrets elsewhere.
pub fn pool(connect_timeout: Duration) -> reqwest::ClientBuilder {
    reqwest::Client::builder()
        .connect_timeout(connect_timeout)
        .tcp_nodelay(true)
        .pool_idle_timeout(Duration::from_secs(60))
        .redirect(reqwest::redirect::Policy::none())
        .no_proxy()
}

impl Client {
    /// A pool for a provider. `path` is appended to the base URL: what requests are posted to, or what [`Self::post`] is given below.
    pub fn new(
        provider: &str,
        config: &ProviderConfig,
        format: Format,
        default_url: &str,
        path: &str,
        key: KeyHeader,
        login: Option<Arc<Login>>,
    ) -> anyhow::Result<Self> {
        let base = config.base_url.as_deref().unwrap_or(default_url).trim_end_matches('/');
        Ok(Self {
            http: pool(config.connect_timeout).build()?,
            url: format!("{base}{path}").parse()?,
            base: base.to_owned(),
            credentials: Credentials::new(provider, config, key, login)?,
            format,
            provider: provider.to_owned(),
            first_byte_timeout: config.first_byte_timeout,
            idle_timeout: config.idle_timeout,
        })
    }

    /// Sends a request and waits for the head of the answer.
    pub async fn send(&self, outgoing: Outgoing) -> Result<Upstream, ChatError> {
        self.post(self.url.clone(), outgoing).await
    }

    /// The address of a path below the base URL.
    pub fn below(&self, path: &str) -> anyhow::Result<reqwest::Url> {
        Ok(format!("{}{path}", self.base).parse()?)
    }

    /// The address of requests.
    pub fn url(&self) -> &reqwest::Url {
        &self.url
    }

    /// The base URL, without a slash at its end.
    pub fn base(&self) -> &str {
        &self.base
    }

    /// The base URL as operators may see it: a password in it is left out.
    pub fn address(&self) -> String {
        let Ok(mut url) = reqwest::Url::parse(&self.base) else { return String::new() };
        let _ = url.set_password(None);
        let _ = url.set_username("");
        url.as_str().trim_end_matches('/').to_owned()
    }

    /// What it authenticates with.
    pub fn credentials(&self) -> &Credentials {
        &self.credentials
    }

    /// Sends a request to an address of its own.
    pub async fn post(&self, url: reqwest::Url, outgoing: Outgoing) -> Result<Upstream, ChatError> {
        let Outgoing { model, body, stream, headers, format: _, written } = outgoing;
        let accept = if stream { "text/event-stream" } else { "application/json" };
        let mut fields = self.fields(headers);
        fields.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
        fields.insert(header::ACCEPT, HeaderValue::from_static(accept));
        let response = self.ask(&model, fields, || self.http.post(url.clone()).body(told(&body, written.as_ref()))).await?;
        self.success(response, stream).await
    }

    /// Forwards a call of an operation and waits for the head of the answer. Only a success is one; all else is an error.
    pub async fn forward(&self, call: Forward) -> Result<Forwarded, ChatError> {
        let url = reqwest::Url::parse(&format!("{}{}", self.base, call.path));
        let url = url.map_err(|_| self.no_such_path())?;
        self.forward_to(url, call).await
    }

    /// The error of a path that is none of the provider's.
    pub fn no_such_path(&self) -> ChatError {
        self.fault(ErrorClass::InvalidRequest, "has no such path")
    }

    /// The same, to an address of its own.
    pub async fn forward_to(&self, url: reqwest::Url, call: Forward) -> Result<Forwarded, ChatError> {
        let has_body = call.method != http::Method::GET && call.method != http::Method::DELETE || !call.body.is_empty();
        let mut fields = self.fields(call.headers);
        fields.insert(header::ACCEPT, HeaderValue::from_static(if call.stream { "text/event-stream" } else { "*/*" }));
        let build = || {
            let request = self.http.request(call.method.clone(), url.clone());
            if has_body { request.body(call.body.clone()) } else { request }
        };
        let response = self.ask(&call.model, fields, build).await?;
        let (status, headers) = (response.status(), response.headers().clone());
        Ok(Forwarded { status, headers, body: self.events(response) })
    }

    /// Reads a JSON document, for what the gateway itself wants to know.
    pub async fn get(&self, url: reqwest::Url, headers: Vec<(HeaderName, HeaderValue)>) -> Result<Value, ChatError> {
        let mut fields = self.fields(headers);
        fields.insert(header::ACCEPT, HeaderValue::from_static("application/json"));
        let response = self.ask("", fields, || self.http.get(url.clone())).await?;
        let body = self.document(response, MAX_LIST).await?;
        serde_json::from_slice(&body).map_err(|_| self.fault(ErrorClass::Protocol, "answered with something that is no JSON"))
    }

    /// Header fields of a request, but for its key. What the request says stands in the place of what the configuration says.
    fn fields(&self, own: Vec<(HeaderName, HeaderValue)>) -> HeaderMap {
        let mut fields = self.credentials.fields().clone();
        let mut said = HeaderMap::new();
        own.into_iter().for_each(|(name, value)| {
            said.append(name, value);
        });
        fields.extend(said);
        fields
    }

    /// Sends a request with one key after the other until one is not refused for its key's sake. What comes back is a success.
    async fn ask(
        &self,
        model: &str,
        fields: HeaderMap,
        build: impl Fn() -> reqwest::RequestBuilder + Send + Sync,
    ) -> Result<reqwest::Response, ChatError> {
        let mut tried = Vec::new();
        // Keys that may not do this. If none may, it is about the request, and no reason to leave the keys alone.
        let mut forbidden: Vec<(Lease, ChatError)> = Vec::new();
        let mut refusal: Option<ChatError> = None;
        // Logins that got another token, and the one whose token is tried now.
        let mut renewed: Vec<usize> = Vec::new();
        let mut again: Option<Lease> = None;
        loop {
            let lease = match again.take().map_or_else(|| self.credentials.lease(model, &tried, Instant::now()), Ok) {
                Ok(lease) => lease,
                Err(resting) => {
                    if forbidden.len() < tried.len() {
                        self.rest(forbidden, model);
                    }
                    return Err(refusal.unwrap_or_else(|| self.resting(resting)));
                }
            };
            let lease = if renewed.contains(&lease.position.unwrap_or(usize::MAX)) {
                lease
            } else {
                let position = lease.position;
                match self.credentials.prepare(lease).await {
                    Ok(lease) => lease,
                    Err(reason) => {
                        tried.extend(position);
                        tracing::warn!(provider = self.provider, key = position.map(|p| p + 1), reason, "a login gave no token");
                        refusal.get_or_insert_with(|| self.no_token());
                        continue;
                    }
                }
            };
            let mut fields = fields.clone();
            fields.extend(lease.field());
            let response = match self.head(build().headers(fields)).await {
                Ok(response) => response,
                Err(error) => {
                    self.rest(forbidden, model);
                    return Err(error);
                }
            };
            let field = |name: &str| response.headers().get(name)?.to_str().ok();
            let limits = llm_codec::rate_limits(field, unix_ms());
            if response.status().is_success() {
                // In this order: an answer that tells that nothing is left is a success all the same.
                self.credentials.worked(&lease, model);
                self.credentials.limits(&lease, model, limits, Instant::now());
                self.rest(forbidden, model);
                return Ok(response);
            }
            let error = self.refusal(response).await;
            if !Credentials::is_about_key(&error) {
                self.rest(forbidden, model);
                return Err(self.tellable(error));
            }
            let Some(position) = lease.position else { return Err(self.tellable(error)) };
            if error.class == ErrorClass::Authentication && !renewed.contains(&position) {
                // Servers may end a token before its time. Another one is tried once.
                again = self.credentials.renew(&lease).await;
                if again.is_some() {
                    renewed.push(position);
                    continue;
                }
            }
            tried.push(position);
            self.credentials.limits(&lease, model, limits, Instant::now());
            let told = self.tellable(error.clone());
            refusal = Some(match refusal {
                // Whichever key is back first.
                Some(before) if before.retry_after_ms.unwrap_or(u64::MAX) < told.retry_after_ms.unwrap_or(u64::MAX) => before,
                _ => told,
            });
            if error.class == ErrorClass::Permission {
                forbidden.push((lease, error));
            } else {
                self.rest(vec![(lease, error)], model);
            }
        }
    }

    /// Keys that were refused rest.
    fn rest(&self, refused: Vec<(Lease, ChatError)>, model: &str) {
        for (lease, error) in refused {
            let Some(wait) = self.credentials.refused(&lease, model, &error, Instant::now()) else { continue };
            let (key, class) = (lease.position.map(|p| p + 1), error.class.name());
            tracing::warn!(provider = self.provider, key, class, rests_s = wait.as_secs_f64(), "a key was refused and rests");
        }
    }

    /// The error of a request for which there is no key now.
    fn resting(&self, resting: Resting) -> ChatError {
        let wait = resting.wait.as_millis().min(u128::from(u64::MAX)) as u64;
        if let Some(closed) = resting.closed {
            let (why, retry_after_ms) = match closed {
                Closed::Unread => ("is not known yet who is logged in to it; try again in a moment", Some(wait)),
                Closed::Unusable => ("is not known who is logged in to it; the operator must look into the gateway's log", None),
            };
            let error = self.fault(ErrorClass::Overloaded, &format!("was not asked, because it {why}"));
            return ChatError { code: Some(KEYS_REST.into()), retry_after_ms, ..error };
        }
        if resting.logged_out {
            let path = format!("has no login that could be used; the operator must log in: `GET /api/oauth/{}/initiate`", self.provider);
            return ChatError { code: Some(KEYS_REST.into()), ..self.fault(ErrorClass::Upstream, &path) };
        }
        if resting.used_up {
            let error = self.fault(ErrorClass::RateLimited, "has taken as much as it takes for now with each of the gateway's keys");
            return ChatError { code: Some(KEYS_REST.into()), retry_after_ms: Some(wait), ..error };
        }
        let error = self.fault(ErrorClass::Upstream, "refused all of the gateway's credentials; the operator must check its `api_keys`");
        ChatError { code: Some(KEYS_REST.into()), retry_after_ms: Some(wait), ..error }
    }

    /// The error of a request for which no login gave a token.
    fn no_token(&self) -> ChatError {
        let error = self.fault(ErrorClass::Upstream, "was not asked, because its authorization server gave no token; the log says why");
        ChatError { code: Some(KEYS_REST.into()), ..error }
    }

    async fn head(&self, request: reqwest::RequestBuilder) -> Result<reqwest::Response, ChatError> {
        match tokio::time::timeout(self.first_byte_timeout, request.send()).await {
            Err(_) => Err(self.fault(ErrorClass::Timeout, "did not begin to answer in time")),
            Ok(Err(e)) => Err(self.send_fault(e)),
            Ok(Ok(response)) => Ok(response),
        }
    }

    async fn success(&self, response: reqwest::Response, stream: bool) -> Result<Upstream, ChatError> {
        let kind = response.headers().get(header::CONTENT_TYPE).and_then(|v| v.to_str().ok()).unwrap_or_default();
        if kind.starts_with("text/html") {
            return Err(self.fault(ErrorClass::Protocol, "answered with an HTML page; check `base_url`"));
        }
        if stream && !kind.starts_with("application/json") {
            return Ok(Upstream::Events(self.events(response)));
        }
        self.document(response, MAX_ANSWER).await.map(Upstream::Answer)
    }

    /// An error status, in the gateway's terms. Not for everybody yet: the provider's words may have the key in them.
    async fn refusal(&self, response: reqwest::Response) -> ChatError {
        let status = response.status().as_u16();
        let headers = response.headers().clone();
        // Nobody waits for an error that comes byte by byte: its status says the most.
        let body = tokio::time::timeout(self.idle_timeout, self.document(response, MAX_ERROR_BODY)).await;
        let body = body.unwrap_or_else(|_| Ok(Bytes::new())).unwrap_or_default();
        let mut error = self.format.decode_error(status, None, &body);
        error.retry_after_ms = llm_codec::retry_after(&error, |name| headers.get(name)?.to_str().ok(), unix_ms());
        error
    }

    /// A refusal of the gateway's own key is not the caller's authentication problem, and no text of a provider may tell the key.
    pub fn tellable(&self, mut error: ChatError) -> ChatError {
        if error.class == ErrorClass::Authentication {
            tracing::error!(provider = self.provider, "the provider refuses the gateway's credentials");
            let what = if self.credentials.login().is_some() {
                "refused the gateway's credentials; if it goes on doing so the operator must log in again"
            } else {
                "refused the gateway's credentials; the operator must check its `api_key`"
            };
            return ChatError { code: Some(REFUSED_KEY.into()), ..self.fault(ErrorClass::Upstream, what) };
        }
        error.message = self.credentials.mask(&error.message);
        error.raw = error.raw.map(|raw| self.credentials.mask(&raw));
        error
    }

    /// The whole body, up to a size; what is over is an error.
    async fn document(&self, response: reqwest::Response, most: usize) -> Result<Bytes, ChatError> {
        let mut body = BytesMut::new();
        let mut chunks = response.bytes_stream();
        loop {
            let chunk = match tokio::time::timeout(self.idle_timeout, chunks.next()).await {
                Err(_) => return Err(self.fault(ErrorClass::Timeout, "stopped in the middle of its answer")),
                Ok(None) => return Ok(body.freeze()),
                Ok(Some(Err(_))) => return Err(self.fault(ErrorClass::Interrupted, "broke off its answer")),
                Ok(Some(Ok(chunk))) => chunk,
            };
            if body.is_empty() && chunk.len() <= most {
                // Most answers arrive in one piece: keep it as it is until a second one comes.
                body = match chunk.try_into_mut() {
                    Ok(owned) => owned,
                    Err(shared) => BytesMut::from(&shared[..]),
                };
                continue;
            }
            if body.len() + chunk.len() > most {
                return Err(self.fault(ErrorClass::Protocol, "sent more than the gateway accepts"));
            }
            body.extend_from_slice(&chunk);
        }
    }

    fn events(&self, response: reqwest::Response) -> super::ByteStream {
        let idle = self.idle_timeout;
        let silent = self.fault(ErrorClass::Timeout, "stopped sending in the middle of its answer");
        let broken = self.fault(ErrorClass::Interrupted, "broke off in the middle of its answer");
        let chunks = response.bytes_stream();
        Box::pin(stream::unfold((chunks, false), move |(mut chunks, over)| {
            let (silent, broken) = (silent.clone(), broken.clone());
            async move {
                if over {
                    return None;
                }
                match tokio::time::timeout(idle, chunks.next()).await {
                    Err(_) => Some((Err(silent), (chunks, true))),
                    Ok(None) => None,
                    Ok(Some(Err(e))) => {
                        tracing::debug!(error = %e.without_url(), "upstream stream broke");
                        Some((Err(broken), (chunks, true)))
                    }
                    Ok(Some(Ok(bytes))) => Some((Ok(bytes), (chunks, false))),
                }
            }
        }))
    }

    fn send_fault(&self, error: reqwest::Error) -> ChatError {
        let error = error.without_url();
        tracing::warn!(provider = self.provider, error = %chain(&error), "request to the provider failed");
        if error.is_timeout() {
            self.fault(ErrorClass::Timeout, "could not be reached in time")
        } else if error.is_connect() {
            self.fault(ErrorClass::Connect, "could not be reached")
        } else {
            self.fault(ErrorClass::Interrupted, "closed the connection without an answer")
        }
    }

    /// An error that says what the provider did.
    pub fn fault(&self, class: ErrorClass, what: &str) -> ChatError {
        ChatError::new(class, format!("The provider `{}` {what}.", self.provider))
    }
}

/// A body that says when it is written, if anybody wants to know.
fn told(body: &Bytes, written: Option<&Written>) -> reqwest::Body {
    match written {
        None => body.clone().into(),
        Some(written) => reqwest::Body::wrap(Told { body: Full::new(body.clone()), written: written.clone() }),
    }
}

/// See [`told`]. A connection asks for a body when it is there and the head was written.
struct Told {
    body: Full<Bytes>,
    written: Written,
}

impl Body for Told {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        if !self.written.begin() {
            return Poll::Ready(Some(Err(io::Error::other("nobody wants the answer any more"))));
        }
        Pin::new(&mut self.body).poll_frame(context).map_err(|never| match never {})
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

fn unix_ms() -> u64 {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(0, |d| d.as_millis() as u64)
}

/// An error with its causes. Its URL is left out before: a client's query may be in it.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(inner) = cause {
        text.push_str(": ");
        text.push_str(&inner.to_string());
        cause = inner.source();
    }
    text
}
