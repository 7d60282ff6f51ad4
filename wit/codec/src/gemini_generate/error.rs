//! Errors: `{"error":{"code","message","status","details"}}`, google.rpc.Status with the HTTP status as its code.

use crate::ErrorReply;
use crate::error_body;
use crate::hub::{ChatError, ErrorClass};
use crate::json::{Document, Object};

/// Reads an error answer; see [`crate::Format::decode_error`].
pub(crate) fn decode(status: u16, retry_after: Option<&str>, body: &[u8]) -> ChatError {
    error_body::decode(status, retry_after, body)
}

/// The error that a document tells under a success status, when it tells one.
pub(crate) fn in_document(document: &Document<'_>) -> Option<ChatError> {
    error_body::in_document(document)
}

/// Status and word of a class. The words are those of google.rpc.Code.
fn words(class: ErrorClass) -> (u16, &'static str) {
    match class {
        ErrorClass::InvalidRequest | ErrorClass::ContextTooLong | ErrorClass::ContentFiltered => (400, "INVALID_ARGUMENT"),
        ErrorClass::Authentication => (401, "UNAUTHENTICATED"),
        ErrorClass::Permission => (403, "PERMISSION_DENIED"),
        ErrorClass::ModelNotFound | ErrorClass::NotFound => (404, "NOT_FOUND"),
        ErrorClass::TooLarge => (413, "INVALID_ARGUMENT"),
        ErrorClass::RateLimited | ErrorClass::QuotaExceeded => (429, "RESOURCE_EXHAUSTED"),
        ErrorClass::Overloaded => (503, "UNAVAILABLE"),
        ErrorClass::Timeout => (504, "DEADLINE_EXCEEDED"),
        ErrorClass::Connect | ErrorClass::Protocol | ErrorClass::Interrupted | ErrorClass::Upstream => (502, "INTERNAL"),
        ErrorClass::Cancelled => (499, "CANCELLED"),
        ErrorClass::Internal => (500, "INTERNAL"),
    }
}

/// Writes the members of the document.
pub(super) fn write(o: &mut Object<'_>, e: &ChatError) -> u16 {
    let (default, word) = words(e.class);
    let status = error_body::status(e, default);
    let mut error = o.object("error");
    error.int("code", status);
    error.string("message", &e.message);
    error.string("status", word);
    if e.param.is_some() || e.retry_after_ms.is_some() {
        let mut details = error.array("details");
        if let Some(param) = &e.param {
            let mut bad = details.object();
            bad.string("@type", "type.googleapis.com/google.rpc.BadRequest");
            let mut list = bad.array("fieldViolations");
            let mut violation = list.object();
            violation.string("field", param);
            violation.string("description", &e.message);
            violation.end();
            list.end();
            bad.end();
        }
        if let Some(ms) = e.retry_after_ms {
            let mut retry = details.object();
            retry.string("@type", "type.googleapis.com/google.rpc.RetryInfo");
            let seconds = ms / 1000;
            let delay = if ms % 1000 == 0 { format!("{seconds}s") } else { format!("{seconds}.{:03}s", ms % 1000) };
            retry.string("retryDelay", &delay);
            retry.end();
        }
        details.end();
    }
    error.end();
    status
}

/// Writes an error; see [`crate::Format::encode_error`].
pub(crate) fn encode(e: &ChatError) -> ErrorReply {
    let mut body = Vec::with_capacity(160);
    let mut o = Object::new(&mut body);
    let status = write(&mut o, e);
    o.end();
    ErrorReply { status, body }
}
