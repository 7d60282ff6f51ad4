//! Errors as OpenAI's interfaces write them, whichever it is: `{"error":{"message","type","param","code"}}`.

use crate::ErrorReply;
use crate::error_body::{self, Words};
use crate::hub::{ChatError, ErrorClass};
use crate::json::Object;

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

/// The `code` of an error.
pub(crate) fn code(e: &ChatError) -> Option<&str> {
    e.code.as_deref().or(words(e.class).1.code)
}

/// Writes the members of an error.
pub(crate) fn write(error: &mut Object<'_>, e: &ChatError) {
    error.string("message", &e.message);
    if !error.wrote("type") {
        error.string("type", words(e.class).1.kind);
    }
    for (name, value) in [("param", e.param.as_deref()), ("code", code(e))] {
        match value {
            Some(value) => error.string(name, value),
            None => error.raw(name, "null"),
        }
    }
}

/// Writes an error; see [`crate::Format::encode_error`].
pub(crate) fn encode(e: &ChatError) -> ErrorReply {
    let (default, _) = words(e.class);
    let mut body = Vec::with_capacity(160);
    let mut o = Object::new(&mut body);
    let mut error = o.object("error");
    write(&mut error, e);
    error.end();
    o.end();
    ErrorReply { status: error_body::status(e, default), body }
}
