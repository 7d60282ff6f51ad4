//! Errors: `{"error":{"message","type","param","code"}}`, and what compatible hosts write in its place.

use crate::ErrorReply;
use crate::error_body::{self, Words};
use crate::hub::{ChatError, ErrorClass};
use crate::json::{Document, Object};

/// Reads an error answer; see [`crate::Format::decode_error`].
pub(crate) fn decode(status: u16, retry_after: Option<&str>, body: &[u8]) -> ChatError {
    error_body::decode(status, retry_after, body)
}

/// The error that a document tells, when it tells one.
pub(crate) fn from_body(document: &Document<'_>) -> Option<ChatError> {
    error_body::in_document(document)
}

/// Status, `type` and `code` of a class.
fn words(class: ErrorClass) -> (u16, Words) {
    let (status, kind, code) = match class {
        ErrorClass::InvalidRequest => (400, "invalid_request_error", None),
        ErrorClass::ContextTooLong => (400, "invalid_request_error", Some("context_length_exceeded")),
        ErrorClass::ContentFiltered => (400, "invalid_request_error", Some("content_filter")),
        ErrorClass::Authentication => (401, "invalid_request_error", Some("invalid_api_key")),
        ErrorClass::Permission => (403, "permission_error", Some("permission_denied")),
        ErrorClass::ModelNotFound => (404, "invalid_request_error", Some("model_not_found")),
        ErrorClass::NotFound => (404, "invalid_request_error", Some("not_found")),
        ErrorClass::TooLarge => (413, "invalid_request_error", Some("request_too_large")),
        ErrorClass::RateLimited => (429, "rate_limit_error", Some("rate_limit_exceeded")),
        ErrorClass::QuotaExceeded => (429, "insufficient_quota", Some("insufficient_quota")),
        ErrorClass::Overloaded => (503, "server_error", Some("overloaded")),
        ErrorClass::Timeout => (504, "server_error", Some("timeout")),
        ErrorClass::Connect => (502, "server_error", Some("upstream_unreachable")),
        ErrorClass::Protocol => (502, "server_error", Some("upstream_protocol")),
        ErrorClass::Interrupted => (502, "server_error", Some("upstream_interrupted")),
        ErrorClass::Cancelled => (499, "server_error", Some("cancelled")),
        ErrorClass::Internal => (500, "server_error", None),
        ErrorClass::Upstream => (502, "server_error", None),
    };
    (status, Words { kind, code })
}

/// Writes an error; see [`crate::Format::encode_error`].
pub(crate) fn encode(e: &ChatError) -> ErrorReply {
    let (default, words) = words(e.class);
    let mut body = Vec::with_capacity(160);
    let mut o = Object::new(&mut body);
    let mut error = o.object("error");
    error.string("message", &e.message);
    error.string("type", words.kind);
    for (name, value) in [("param", e.param.as_deref()), ("code", e.code.as_deref().or(words.code))] {
        match value {
            Some(value) => error.string(name, value),
            None => error.raw(name, "null"),
        }
    }
    error.end();
    o.end();
    ErrorReply { status: error_body::status(e, default), body }
}
