//! Errors: `{"type":"error","error":{"type","message"}}`.

use crate::ErrorReply;
use crate::error_body;
use crate::hub::{ChatError, ErrorClass};
use crate::json::Object;

/// Reads an error answer; see [`crate::Format::decode_error`].
pub(crate) fn decode(status: u16, retry_after: Option<&str>, body: &[u8]) -> ChatError {
    error_body::decode(status, retry_after, body)
}

/// Status and `type` of a class.
fn words(class: ErrorClass) -> (u16, &'static str) {
    match class {
        ErrorClass::InvalidRequest | ErrorClass::ContextTooLong | ErrorClass::ContentFiltered => (400, "invalid_request_error"),
        ErrorClass::Authentication => (401, "authentication_error"),
        ErrorClass::QuotaExceeded => (402, "billing_error"),
        ErrorClass::Permission => (403, "permission_error"),
        ErrorClass::ModelNotFound | ErrorClass::NotFound => (404, "not_found_error"),
        ErrorClass::TooLarge => (413, "request_too_large"),
        ErrorClass::RateLimited => (429, "rate_limit_error"),
        ErrorClass::Overloaded => (529, "overloaded_error"),
        ErrorClass::Timeout => (504, "timeout_error"),
        ErrorClass::Connect | ErrorClass::Protocol | ErrorClass::Interrupted | ErrorClass::Upstream => (502, "api_error"),
        ErrorClass::Cancelled => (499, "api_error"),
        ErrorClass::Internal => (500, "api_error"),
    }
}

/// Writes an error; see [`crate::Format::encode_error`].
pub(crate) fn encode(e: &ChatError) -> ErrorReply {
    let (default, kind) = words(e.class);
    let mut body = Vec::with_capacity(128);
    let mut o = Object::new(&mut body);
    o.string("type", "error");
    let mut error = o.object("error");
    error.string("type", kind);
    error.string("message", &e.message);
    error.end();
    o.end();
    ErrorReply { status: error_body::status(e, default), body }
}
