//! HTTP requests that extensions send: to granted hosts only, and only to addresses in the public internet.
//!
//! A name is resolved once, its addresses are checked, and the connection is made to one that passed: a second lookup with another
//! answer cannot happen. Redirects are not followed; the guest sees them, and what it asks for then is checked again. What is absent:
//! proxies, cookies, decompression, and anything that could put another request into a connection.

mod address;
mod body;
mod grant;
mod guest;

use std::error::Error as StdError;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method, header};
use hyper::body::Body;
use reqwest::Url;
use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use tokio::sync::Semaphore;

pub use body::ResponseBody;
pub use grant::HostRule;
pub use guest::{SendFuture, send_for_guest};

use crate::config::{HttpGrant, Secret};

/// Headers that say how a message travels. The host sets what is needed; a guest's own could make a server read one request as two.
const HOP_BY_HOP: [HeaderName; 9] = [
    header::HOST,
    header::CONTENT_LENGTH,
    header::TRANSFER_ENCODING,
    header::CONNECTION,
    header::UPGRADE,
    header::TE,
    header::TRAILER,
    header::EXPECT,
    HeaderName::from_static("keep-alive"),
];

/// Why a request was not sent, or its answer not received.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// The URL cannot be.
    #[error("the URL cannot be used")]
    Url,
    /// The method makes a tunnel.
    #[error("the method {0} is not allowed")]
    Method(String),
    /// The operator did not grant the host.
    #[error("`{0}` is not granted; the operator may add it to `http.hosts`")]
    HostNotGranted(String),
    /// The host is not in the public internet.
    #[error("`{0}` is not at a public address")]
    AddressRefused(String),
    /// Too many requests run.
    #[error("{0} requests are running already")]
    TooManyAtOnce(usize),
    /// A secret holds what a header cannot.
    #[error("the secret cannot be part of a header")]
    Secret,
    /// The body of the request is not as long as its header said.
    #[error("the request's body is not as long as its `content-length`")]
    RequestLength,
    /// The name is not known.
    #[error("the name `{0}` cannot be resolved")]
    Unresolved(String),
    /// No connection.
    #[error("the host cannot be reached")]
    Connect,
    /// No encrypted connection.
    #[error("the host has no valid TLS")]
    Tls,
    /// No answer in time.
    #[error("the host did not begin to answer within {0:?}")]
    Late(Duration),
    /// No more of the answer in time.
    #[error("the host stopped in its answer for {0:?}")]
    Silent(Duration),
    /// The answer is too long.
    #[error("the answer has more than {0} bytes")]
    TooLarge(usize),
    /// The connection broke, or the answer is no HTTP.
    #[error("the host broke off, or its answer is no HTTP")]
    Interrupted,
}

/// Times that a guest asks for. They only shorten what the operator allows.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Times {
    /// Until the head of the answer is there.
    pub head: Option<Duration>,
    /// Between pieces of the answer.
    pub idle: Option<Duration>,
}

/// What an extension may reach.
pub struct Outbound {
    client: reqwest::Client,
    extension: String,
    rules: Vec<HostRule>,
    private_addresses: bool,
    at_once: Arc<Semaphore>,
    requests_at_once: usize,
    response_bytes: usize,
    timeout: Duration,
    secrets: Vec<(String, Secret)>,
}

impl Outbound {
    /// What a grant allows. Each placeholder stands for its secret in values of request headers.
    pub fn new(extension: &str, grant: &HttpGrant, secrets: Vec<(String, Secret)>) -> anyhow::Result<Self> {
        let rules: Result<Vec<HostRule>, String> = grant.hosts.iter().map(|entry| HostRule::parse(entry)).collect();
        let client = reqwest::Client::builder()
            .redirect(reqwest::redirect::Policy::none())
            .no_proxy()
            .referer(false)
            .dns_resolver(Arc::new(Resolver { private_addresses: grant.private_addresses }))
            .tcp_nodelay(true)
            .pool_idle_timeout(Duration::from_secs(60))
            .pool_max_idle_per_host(grant.requests_at_once)
            .build()?;
        Ok(Self {
            client,
            extension: extension.to_owned(),
            rules: rules.map_err(anyhow::Error::msg)?,
            private_addresses: grant.private_addresses,
            at_once: Arc::new(Semaphore::new(grant.requests_at_once.min(Semaphore::MAX_PERMITS))),
            requests_at_once: grant.requests_at_once,
            response_bytes: grant.response_bytes,
            timeout: grant.timeout,
            secrets: secrets.into_iter().filter(|(placeholder, _)| !placeholder.is_empty()).collect(),
        })
    }

    /// Sends a request and waits for the head of the answer.
    pub async fn send<B>(&self, request: http::Request<B>, times: Times) -> Result<http::Response<ResponseBody>, Refusal>
    where
        B: Body<Data = Bytes> + Send + Unpin + 'static,
        B::Error: Into<Box<dyn StdError + Send + Sync>>,
    {
        let sent = self.send_checked(request, times).await;
        if let Err(refusal) = &sent {
            tracing::debug!(extension = self.extension, reason = %refusal, "a request of the extension failed");
        }
        sent
    }

    async fn send_checked<B>(&self, request: http::Request<B>, times: Times) -> Result<http::Response<ResponseBody>, Refusal>
    where
        B: Body<Data = Bytes> + Send + Unpin + 'static,
        B::Error: Into<Box<dyn StdError + Send + Sync>>,
    {
        let (head, body) = request.into_parts();
        // What is checked is what is used: the URL is not read a second time by other rules.
        let url = Url::parse(&head.uri.to_string()).map_err(|_| Refusal::Url)?;
        self.check(&head.method, &url)?;
        let permit = Arc::clone(&self.at_once).try_acquire_owned().map_err(|_| Refusal::TooManyAtOnce(self.requests_at_once))?;

        let length = length(&head.headers)?;
        let mut outgoing = reqwest::Request::new(head.method, url);
        *outgoing.headers_mut() = self.headers(&head.headers)?;
        *outgoing.body_mut() = Some(reqwest::Body::wrap(body::Upload::new(body, length)));

        let timeout = times.head.unwrap_or(self.timeout).min(self.timeout);
        let response = match tokio::time::timeout(timeout, self.client.execute(outgoing)).await {
            Err(_) => return Err(Refusal::Late(timeout)),
            Ok(Err(e)) => return Err(refusal_of(&e)),
            Ok(Ok(response)) => response,
        };
        if response.content_length().is_some_and(|length| length > self.response_bytes as u64) {
            return Err(Refusal::TooLarge(self.response_bytes));
        }
        let (mut head, body) = http::Response::from(response).into_parts();
        // The length stays: the body has it.
        for name in HOP_BY_HOP.iter().filter(|name| **name != header::CONTENT_LENGTH) {
            head.headers.remove(name);
        }
        let idle = times.idle.unwrap_or(self.timeout).min(self.timeout);
        // Of the rest of the head, the client's own notes are not the guest's business.
        let mut response = http::Response::new(body::bounded(body, self.response_bytes, idle, permit));
        *response.status_mut() = head.status;
        *response.version_mut() = head.version;
        *response.headers_mut() = head.headers;
        Ok(response)
    }

    fn check(&self, method: &Method, url: &Url) -> Result<(), Refusal> {
        if *method == Method::CONNECT || *method == Method::TRACE {
            return Err(Refusal::Method(method.to_string()));
        }
        // The client would make credentials of them, and people read them as hosts.
        if !url.username().is_empty() || url.password().is_some() {
            return Err(Refusal::Url);
        }
        if !self.rules.iter().any(|rule| rule.allows(url)) {
            return Err(Refusal::HostNotGranted(origin(url)));
        }
        // Names are checked by the resolver, which addresses do not pass through.
        match literal(url) {
            Some(address) if !self.private_addresses && !address::is_public(address) => Err(Refusal::AddressRefused(origin(url))),
            _ => Ok(()),
        }
    }

    /// A guest's headers without those that are the host's, with secrets in place of what stands for them.
    fn headers(&self, given: &HeaderMap) -> Result<HeaderMap, Refusal> {
        let mut headers = HeaderMap::with_capacity(given.len());
        for (name, value) in given {
            if !HOP_BY_HOP.contains(name) && !name.as_str().starts_with("proxy-") {
                headers.append(name, self.with_secrets(value)?);
            }
        }
        Ok(headers)
    }

    fn with_secrets(&self, value: &HeaderValue) -> Result<HeaderValue, Refusal> {
        let mut rest = value.as_bytes();
        let mut with: Vec<u8> = Vec::new();
        let mut replaced = false;
        while let Some((first, tail)) = rest.split_first() {
            let found = self.secrets.iter().find_map(|(placeholder, secret)| Some((rest.strip_prefix(placeholder.as_bytes())?, secret)));
            if let Some((after, secret)) = found {
                with.extend(secret.expose().as_bytes());
                (rest, replaced) = (after, true);
            } else {
                with.push(*first);
                rest = tail;
            }
        }
        if !replaced {
            return Ok(value.clone());
        }
        let mut value = HeaderValue::from_bytes(&with).map_err(|_| Refusal::Secret)?;
        value.set_sensitive(true);
        Ok(value)
    }
}

/// The address that a URL has in place of a name. `0x7f.1` and the like are already written as people know them.
fn literal(url: &Url) -> Option<IpAddr> {
    url.host_str()?.trim_start_matches('[').trim_end_matches(']').parse().ok()
}

/// Scheme, host and port, for messages: paths and queries may hold secrets.
fn origin(url: &Url) -> String {
    url.origin().ascii_serialization()
}

/// The length that a guest announced for its body.
fn length(headers: &HeaderMap) -> Result<Option<u64>, Refusal> {
    let mut lengths = headers.get_all(header::CONTENT_LENGTH).iter();
    let Some(length) = lengths.next() else { return Ok(None) };
    let digits = length.to_str().ok().filter(|text| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit()));
    match (digits.and_then(|text| text.parse().ok()), lengths.next()) {
        (Some(length), None) => Ok(Some(length)),
        _ => Err(Refusal::RequestLength),
    }
}

/// What a failure of the client was.
fn refusal_of(error: &reqwest::Error) -> Refusal {
    let mut cause: Option<&(dyn StdError + 'static)> = Some(error);
    while let Some(inner) = cause {
        // What our own parts said, deep inside.
        if let Some(refusal) = inner.downcast_ref::<Refusal>() {
            return refusal.clone();
        }
        if inner.is::<rustls::Error>() {
            return Refusal::Tls;
        }
        // An IO error names the source of what it hides, not what it hides.
        cause = match inner.downcast_ref::<std::io::Error>().and_then(|io| io.get_ref()) {
            Some(hidden) => Some(hidden),
            None => inner.source(),
        };
    }
    if error.is_connect() { Refusal::Connect } else { Refusal::Interrupted }
}

/// Resolves names, and hands on only addresses that a connection may be made to.
struct Resolver {
    private_addresses: bool,
}

impl Resolve for Resolver {
    fn resolve(&self, name: Name) -> Resolving {
        let private_addresses = self.private_addresses;
        Box::pin(async move {
            let name = name.as_str();
            let found = tokio::net::lookup_host((name, 0)).await.map_err(|_| Refusal::Unresolved(name.to_owned()))?;
            let (passed, refused): (Vec<SocketAddr>, Vec<SocketAddr>) =
                found.partition(|address| private_addresses || address::is_public(address.ip()));
            match (passed.is_empty(), refused.is_empty()) {
                (false, _) => Ok(Box::new(passed.into_iter()) as Addrs),
                (true, false) => Err(Refusal::AddressRefused(name.to_owned()).into()),
                (true, true) => Err(Refusal::Unresolved(name.to_owned()).into()),
            }
        })
    }
}

#[cfg(test)]
mod tests;
