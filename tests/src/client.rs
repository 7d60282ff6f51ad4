//! Plain HTTP clients: requests as a test writes them, streams event by event, and bare bytes.

use std::collections::VecDeque;

use bytes::Bytes;
use futures_util::StreamExt as _;
use futures_util::stream::BoxStream;
use http::{HeaderMap, Method};
use reqwest::Body;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::{Gateway, soon};

/// An HTTP client of one gateway.
#[derive(Clone)]
pub struct Client {
    http: reqwest::Client,
    base: String,
}

/// A complete answer.
#[derive(Debug, Clone)]
pub struct Answer {
    /// Status code.
    pub status: u16,
    /// Header fields.
    pub headers: HeaderMap,
    /// Content.
    pub body: Bytes,
    /// Version of the protocol.
    pub version: http::Version,
}

/// One event of a stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    /// The `event:` field; empty when there is none.
    pub name: String,
    /// The `data:` field.
    pub data: String,
}

/// An event stream that is being read.
pub struct Events {
    /// Status code.
    pub status: u16,
    /// Header fields.
    pub headers: HeaderMap,
    /// All bytes until now.
    pub raw: Vec<u8>,
    body: BoxStream<'static, reqwest::Result<Bytes>>,
    unread: Vec<u8>,
    ready: VecDeque<Event>,
    /// Why the body ended, when it did not end properly.
    pub broken: Option<String>,
}

// === impl Client ===

impl Client {
    /// HTTP/1.1 with connections that are kept.
    pub fn new(gateway: &Gateway) -> Self {
        Self::build(gateway, reqwest::Client::builder().http1_only())
    }

    /// The same for an address, for a gateway that listens on all of them.
    pub fn at(base: &str) -> Self {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let http = reqwest::Client::builder().http1_only().no_proxy().build().expect("a client");
        Self { http, base: base.to_owned() }
    }

    /// HTTP/2 without TLS, known beforehand.
    pub fn h2c(gateway: &Gateway) -> Self {
        Self::build(gateway, reqwest::Client::builder().http2_prior_knowledge())
    }

    /// Encrypted, with the protocol that both sides agree on. Only this certificate (PEM) is believed.
    pub fn encrypted(gateway: &Gateway, certificate: &str) -> Self {
        let only = reqwest::Certificate::from_pem(certificate.as_bytes()).expect("a certificate");
        let client = Self::build(gateway, reqwest::Client::builder().tls_certs_only([only]));
        Self { base: gateway.url().replace("http://", "https://"), ..client }
    }

    /// The same without HTTP/2.
    pub fn encrypted_http1(gateway: &Gateway, certificate: &str) -> Self {
        let only = reqwest::Certificate::from_pem(certificate.as_bytes()).expect("a certificate");
        let client = Self::build(gateway, reqwest::Client::builder().tls_certs_only([only]).http1_only());
        Self { base: gateway.url().replace("http://", "https://"), ..client }
    }

    fn build(gateway: &Gateway, builder: reqwest::ClientBuilder) -> Self {
        // The client wants a TLS provider even when it never meets TLS. A second one is refused, which is fine.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let http = builder.no_proxy().build().expect("a client");
        Self { http, base: gateway.url() }
    }

    /// A request that the test goes on to fill.
    pub fn request(&self, method: Method, path: &str) -> reqwest::RequestBuilder {
        self.http.request(method, format!("{}{path}", self.base))
    }

    /// Sends a request and reads the whole answer.
    pub async fn send(&self, request: reqwest::RequestBuilder) -> Answer {
        let response = soon("head of the answer", request.send()).await.expect("the gateway answers");
        let (status, headers, version) = (response.status().as_u16(), response.headers().clone(), response.version());
        let body = soon("end of the answer", response.bytes()).await.expect("the answer is complete");
        Answer { status, headers, body, version }
    }

    /// `GET`.
    pub async fn get(&self, path: &str) -> Answer {
        self.send(self.request(Method::GET, path)).await
    }

    /// `POST` of a JSON document.
    pub async fn post(&self, path: &str, document: &Value) -> Answer {
        self.post_bytes(path, document.to_string()).await
    }

    /// `POST` of bytes that claim to be JSON.
    pub async fn post_bytes(&self, path: &str, body: impl Into<Body>) -> Answer {
        self.send(self.request(Method::POST, path).header("content-type", "application/json").body(body)).await
    }

    /// `POST` of a JSON document, to read the answer as a stream.
    pub async fn stream(&self, path: &str, document: &Value) -> Events {
        let request = self.request(Method::POST, path).header("content-type", "application/json").body(document.to_string());
        let response = soon("head of the stream", request.send()).await.expect("the gateway answers");
        Events {
            status: response.status().as_u16(),
            headers: response.headers().clone(),
            raw: Vec::new(),
            body: response.bytes_stream().boxed(),
            unread: Vec::new(),
            ready: VecDeque::new(),
            broken: None,
        }
    }

    /// What operators see of an extension.
    pub async fn extension(&self, name: &str) -> Value {
        let all = self.get("/api/extensions").await.json();
        let found = all["data"].as_array().and_then(|all| all.iter().find(|e| e["name"] == name));
        found.cloned().unwrap_or_else(|| panic!("there is no extension {name} in {all}"))
    }

    /// What the gateway remembers of a request. It is written after the answer, so it may need a moment.
    pub async fn record(&self, id: &str) -> Value {
        let path = format!("/api/requests/{id}");
        let found = async {
            loop {
                let answer = self.get(&path).await;
                if answer.status == 200 {
                    return answer.json()["data"].clone();
                }
                tokio::task::yield_now().await;
            }
        };
        soon(&format!("record of the request {id}"), found).await
    }
}

// === impl Answer ===

impl Answer {
    /// The body as JSON.
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|e| panic!("no JSON ({e}): {}", self.text()))
    }

    /// The body as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// A header field; empty when it is not there.
    pub fn header(&self, name: &str) -> &str {
        text(&self.headers, name)
    }
}

// === impl Events ===

impl Events {
    /// The next event; none at the end of the body.
    pub async fn next(&mut self) -> Option<Event> {
        loop {
            if let Some(event) = self.ready.pop_front() {
                return Some(event);
            }
            match soon("next event of the stream", self.body.next()).await {
                None => return None,
                Some(Err(e)) => {
                    self.broken = Some(format!("{e:?}"));
                    return None;
                }
                Some(Ok(bytes)) => self.push(&bytes),
            }
        }
    }

    /// All events that are still to come.
    pub async fn rest(&mut self) -> Vec<Event> {
        let mut events = Vec::new();
        while let Some(event) = self.next().await {
            events.push(event);
        }
        events
    }

    /// A header field; empty when it is not there.
    pub fn header(&self, name: &str) -> &str {
        text(&self.headers, name)
    }

    /// Everything read until now, as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.raw).into_owned()
    }

    fn push(&mut self, bytes: &[u8]) {
        self.raw.extend_from_slice(bytes);
        self.unread.extend_from_slice(bytes);
        while let Some(end) = self.unread.windows(2).position(|w| w == b"\n\n") {
            let block: Vec<u8> = self.unread.drain(..end + 2).collect();
            self.ready.extend(Event::parse(&String::from_utf8(block).expect("UTF-8")));
        }
    }
}

impl Event {
    /// All events of a complete stream.
    pub fn all(text: &str) -> Vec<Self> {
        text.split("\n\n").filter_map(Self::parse).collect()
    }

    fn parse(block: &str) -> Option<Self> {
        let field = |name: &str| {
            let values = block.lines().filter_map(|l| l.strip_prefix(name)).map(|v| v.strip_prefix(' ').unwrap_or(v));
            values.collect::<Vec<_>>().join("\n")
        };
        let event = Self { name: field("event:"), data: field("data:") };
        (event.name.len() + event.data.len() > 0).then_some(event)
    }

    /// The data as JSON; a string when it is none.
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.data).unwrap_or_else(|_| json!(self.data))
    }
}

fn text<'a>(headers: &'a HeaderMap, name: &str) -> &'a str {
    headers.get(name).and_then(|v| v.to_str().ok()).unwrap_or_default()
}

/// Sends bytes and reads what comes back until the gateway closes the connection.
pub async fn raw(gateway: &Gateway, bytes: &[u8]) -> String {
    let exchange = async {
        let mut stream = TcpStream::connect(gateway.address()).await.expect("the gateway listens");
        // The gateway may have answered and closed before it has read all.
        let _ = stream.write_all(bytes).await;
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer).await;
        String::from_utf8_lossy(&answer).into_owned()
    };
    soon("answer on the bare connection", exchange).await
}
