//! HTTP to an upstream: one pooled client, timeouts, and errors in the gateway's terms.
//!
//! Header hygiene: only the headers named here and those that a provider adds are sent. Nothing of the client's own
//! (credentials, cookies, `accept-encoding`, hop-by-hop fields) goes upstream.

use std::time::{Duration, SystemTime};

use bytes::{Bytes, BytesMut};
use futures_util::{StreamExt as _, stream};
use http::{HeaderMap, HeaderValue, header};
use llm_codec::Format;
use llm_codec::hub::{ChatError, ErrorClass};

use super::{Forward, Forwarded, Outgoing, Upstream};
use crate::config::{ProviderConfig, Secret};

/// Most that is read of an error's body.
const MAX_ERROR_BODY: usize = 64 << 10;

/// Most that is read of a complete answer.
const MAX_ANSWER: usize = 64 << 20;

/// A connection pool to one provider.
pub struct Client {
    http: reqwest::Client,
    /// The base URL, without a slash at its end.
    base: String,
    url: reqwest::Url,
    headers: HeaderMap,
    format: Format,
    provider: String,
    secret: Option<Secret>,
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

impl Client {
    /// A pool for a provider. `path` is appended to the base URL: what requests are posted to, or what [`Self::post`] is given below.
    pub fn new(
        provider: &str,
        config: &ProviderConfig,
        format: Format,
        default_url: &str,
        path: &str,
        headers: HeaderMap,
    ) -> anyhow::Result<Self> {
        let base = config.base_url.as_deref().unwrap_or(default_url).trim_end_matches('/');
        let http = reqwest::Client::builder()
            .connect_timeout(config.connect_timeout)
            .tcp_nodelay(true)
            .pool_idle_timeout(Duration::from_secs(60))
            .redirect(reqwest::redirect::Policy::none())
            .no_proxy()
            .build()?;
        Ok(Self {
            http,
            url: format!("{base}{path}").parse()?,
            base: base.to_owned(),
            headers,
            format,
            provider: provider.to_owned(),
            secret: config.api_key.clone(),
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

    /// Sends a request to an address of its own.
    pub async fn post(&self, url: reqwest::Url, outgoing: Outgoing) -> Result<Upstream, ChatError> {
        let mut request = self.http.post(url).headers(self.headers.clone());
        for (name, value) in outgoing.headers {
            request = request.header(name, value);
        }
        let accept = if outgoing.stream { "text/event-stream" } else { "application/json" };
        let request = request
            .header(header::CONTENT_TYPE, HeaderValue::from_static("application/json"))
            .header(header::ACCEPT, HeaderValue::from_static(accept))
            .body(outgoing.body);
        let response = self.head(request).await?;
        if response.status().is_success() {
            return self.success(response, outgoing.stream).await;
        }
        Err(self.refusal(response).await)
    }

    /// Forwards a call of an operation and waits for the head of the answer. Only a success is one; all else is an error.
    pub async fn forward(&self, call: Forward) -> Result<Forwarded, ChatError> {
        let url = reqwest::Url::parse(&format!("{}{}", self.base, call.path));
        let url = url.map_err(|_| self.fault(ErrorClass::InvalidRequest, "has no such path"))?;
        let fields = call.method != http::Method::GET && call.method != http::Method::DELETE || !call.body.is_empty();
        let mut request = self.http.request(call.method, url).headers(self.headers.clone());
        for (name, value) in call.headers {
            request = request.header(name, value);
        }
        let accept = if call.stream { "text/event-stream" } else { "*/*" };
        request = request.header(header::ACCEPT, HeaderValue::from_static(accept));
        let response = self.head(if fields { request.body(call.body) } else { request }).await?;
        if !response.status().is_success() {
            return Err(self.refusal(response).await);
        }
        let (status, headers) = (response.status(), response.headers().clone());
        Ok(Forwarded { status, headers, body: self.events(response) })
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

    /// An error status, in the gateway's terms.
    async fn refusal(&self, response: reqwest::Response) -> ChatError {
        let status = response.status().as_u16();
        let headers = response.headers().clone();
        let body = self.document(response, MAX_ERROR_BODY).await.unwrap_or_default();
        let mut error = self.format.decode_error(status, None, &body);
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(0, |d| d.as_millis() as u64);
        error.retry_after_ms = llm_codec::retry_after(&error, |name| headers.get(name)?.to_str().ok(), now);
        self.tellable(error)
    }

    /// A refusal of the gateway's own key is not the caller's authentication problem, and no text of a provider may tell the key.
    pub fn tellable(&self, mut error: ChatError) -> ChatError {
        if error.class == ErrorClass::Authentication {
            tracing::error!(provider = self.provider, "the provider refuses the gateway's API key");
            return ChatError {
                code: Some("provider_authentication".into()),
                ..self.fault(ErrorClass::Upstream, "refused the gateway's credentials; the operator must check its `api_key`")
            };
        }
        if let Some(secret) = &self.secret {
            error.message = secret.mask(&error.message);
            error.raw = error.raw.map(|raw| secret.mask(&raw));
        }
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

    fn fault(&self, class: ErrorClass, what: &str) -> ChatError {
        ChatError::new(class, format!("The provider `{}` {what}.", self.provider))
    }
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
