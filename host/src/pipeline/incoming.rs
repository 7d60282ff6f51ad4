//! A request as it arrived, body and all. Nothing of it is copied again until somebody needs it.

use std::time::{Instant, SystemTime};

use bytes::Bytes;
use http::request::Parts;
use llm_codec::json::{Document, JsonFault};

self_cell::self_cell! {
    /// A body and what was found in it.
    struct Parsed {
        owner: Bytes,
        #[covariant]
        dependent: Document,
    }
}

/// A request as it arrived.
pub struct Incoming {
    /// Method, path, header fields.
    pub head: Parts,
    /// What the `{names}` of the route's pattern matched.
    pub path_params: Vec<(String, String)>,
    /// When it arrived.
    pub received: Instant,
    /// The same as Unix time, in milliseconds.
    pub received_ms: u64,
    content: Content,
}

/// The body: looked into once, when it is a JSON object.
enum Content {
    Json(Parsed),
    Other(Bytes),
}

impl Incoming {
    /// A request with a JSON body. The fault tells where the JSON breaks.
    pub fn json(head: Parts, path_params: Vec<(String, String)>, received: Instant, body: Bytes) -> Result<Self, JsonFault> {
        let content = Content::Json(Parsed::try_new(body, |b| Document::parse(b))?);
        Ok(Self { head, path_params, received, received_ms: unix_ms(), content })
    }

    /// A request whose body is not looked into.
    pub fn opaque(head: Parts, path_params: Vec<(String, String)>, received: Instant, body: Bytes) -> Self {
        Self { head, path_params, received, received_ms: unix_ms(), content: Content::Other(body) }
    }

    /// The body.
    pub fn body(&self) -> &Bytes {
        match &self.content {
            Content::Json(parsed) => parsed.borrow_owner(),
            Content::Other(body) => body,
        }
    }

    /// The body's members, when it is a JSON object.
    pub fn document(&self) -> Option<&Document<'_>> {
        match &self.content {
            Content::Json(parsed) => Some(parsed.borrow_dependent()),
            Content::Other(_) => None,
        }
    }

    /// The first header field of a name, when it is text.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.head.headers.get(name)?.to_str().ok()
    }
}

/// Unix time, in milliseconds.
fn unix_ms() -> u64 {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(0, |d| d.as_millis() as u64)
}
