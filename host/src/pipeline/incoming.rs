//! A request as it arrived, body and all. Nothing of it is copied again until somebody needs it.

use std::time::{Instant, SystemTime};

use bytes::{Bytes, BytesMut};
use http::request::Parts;
use http::uri::PathAndQuery;
use http::{HeaderValue, Version, header};
use llm_codec::hub::{ChatError, ErrorClass};
use llm_codec::json::{Document, JsonFault};
use llm_codec::passthrough::Form;

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

/// The body: looked into once, when it is a JSON object or a form.
enum Content {
    Json(Parsed),
    Form(Bytes, Form),
    Other(Bytes),
}

impl Incoming {
    /// A request with a JSON body. The fault tells where the JSON breaks.
    pub fn json(mut head: Parts, path_params: Vec<(String, String)>, received: Instant, body: Bytes) -> Result<Self, JsonFault> {
        let body = repack(&mut head, body);
        let content = Content::Json(Parsed::try_new(body, |b| Document::parse(b))?);
        Ok(Self { head, path_params, received, received_ms: unix_ms(), content })
    }

    /// A request whose body is not looked into.
    pub fn opaque(head: Parts, path_params: Vec<(String, String)>, received: Instant, body: Bytes) -> Self {
        Self { head, path_params, received, received_ms: unix_ms(), content: Content::Other(body) }
    }

    /// A call of an operation, whose body is what its content type says: a form, bytes that are nobody's business, or else JSON. The error is
    /// for the caller.
    pub fn operation(head: Parts, path_params: Vec<(String, String)>, received: Instant, body: Bytes) -> Result<Self, ChatError> {
        let kind = head.headers.get(header::CONTENT_TYPE).and_then(|v| v.to_str().ok()).unwrap_or_default().to_owned();
        if Form::is_announced(&kind) {
            let form = Form::parse(&kind, &body).map_err(|reason| {
                ChatError::new(ErrorClass::InvalidRequest, format!("The request body is not a form that can be read: {reason}."))
            })?;
            return Ok(Self { head, path_params, received, received_ms: unix_ms(), content: Content::Form(body, form) });
        }
        if body.is_empty() || is_binary(&kind) {
            return Ok(Self::opaque(head, path_params, received, body));
        }
        Self::json(head, path_params, received, body).map_err(|fault| malformed(&fault))
    }

    /// The body.
    pub fn body(&self) -> &Bytes {
        match &self.content {
            Content::Json(parsed) => parsed.borrow_owner(),
            Content::Form(body, _) | Content::Other(body) => body,
        }
    }

    /// The fields of the body, when it is a form.
    pub fn form(&self) -> Option<&Form> {
        match &self.content {
            Content::Form(_, form) => Some(form),
            _ => None,
        }
    }

    /// The body's members, when it is a JSON object.
    pub fn document(&self) -> Option<&Document<'_>> {
        match &self.content {
            Content::Json(parsed) => Some(parsed.borrow_dependent()),
            Content::Form(..) | Content::Other(_) => None,
        }
    }

    /// The first header field of a name, when it is text.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.head.headers.get(name)?.to_str().ok()
    }
}

/// Whether a content type is one of bytes that mean nothing here.
fn is_binary(kind: &str) -> bool {
    let kind = kind.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    kind == "application/octet-stream" || ["audio/", "image/", "video/"].iter().any(|k| kind.starts_with(k))
}

/// The error of a body that is not JSON, with the place.
pub fn malformed(fault: &JsonFault) -> ChatError {
    let place = format!("line {}, column {}", fault.line, fault.column);
    ChatError {
        code: Some("invalid_json".into()),
        ..ChatError::new(ErrorClass::InvalidRequest, format!("The request body is not a JSON object: {} at {place}.", fault.message))
    }
}

/// Longest body that is worth a copy.
const SMALL: usize = 8 << 10;

/// Takes a small request out of the connection's read buffer. The parts of a request are views into that buffer, which is many
/// times larger, and a stream would hold it for as long as it is open.
fn repack(head: &mut Parts, body: Bytes) -> Bytes {
    if body.len() > SMALL || head.version > Version::HTTP_11 {
        return body;
    }
    let path = head.uri.path_and_query().filter(|_| head.uri.authority().is_none()).map_or("", |p| p.as_str()).to_owned();
    let bytes = head.headers.values().map(HeaderValue::len).sum::<usize>() + path.len() + body.len();
    let mut packed = BytesMut::with_capacity(bytes);
    for value in head.headers.values_mut() {
        packed.extend_from_slice(value.as_bytes());
        // It was valid before.
        if let Ok(copy) = HeaderValue::from_maybe_shared(packed.split().freeze()) {
            *value = copy;
        }
    }
    packed.extend_from_slice(path.as_bytes());
    if let Ok(copy) = PathAndQuery::from_maybe_shared(packed.split().freeze())
        && !path.is_empty()
    {
        head.uri = copy.into();
    }
    packed.extend_from_slice(&body);
    packed.freeze()
}

/// Unix time now, in milliseconds.
pub fn unix_ms() -> u64 {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(0, |d| d.as_millis() as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_small_request_keeps_nothing_of_the_buffer_it_came_in() {
        let buffer = Bytes::from_static(b"/v1/x?q=1 text/\xc3\xa4 {\"a\": 1}");
        let value = HeaderValue::from_maybe_shared(buffer.slice(10..17)).expect("valid");
        for (uri, shown) in
            [(buffer.slice(..9), "/v1/x?q=1"), (Bytes::from_static(b"http://a/b"), "http://a/b"), (Bytes::from_static(b"*"), "*")]
        {
            let request = http::Request::builder().uri(http::Uri::from_maybe_shared(uri).expect("valid"));
            let (mut head, ()) = request.header("accept", &value).header("x-empty", "").body(()).expect("valid").into_parts();
            let body = repack(&mut head, buffer.slice(18..));
            assert_eq!((head.uri.to_string().as_str(), &body[..]), (shown, &b"{\"a\": 1}"[..]));
            assert_eq!((&head.headers["accept"], head.headers["x-empty"].as_bytes()), (&value, &b""[..]));
            let inside = buffer.as_ptr_range();
            assert!(!inside.contains(&head.headers["accept"].as_bytes().as_ptr()) && !inside.contains(&body.as_ptr()));
        }
    }
}
