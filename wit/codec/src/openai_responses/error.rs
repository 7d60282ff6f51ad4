//! Errors: `{"error":{"message","type","param","code"}}`, as an answer, inside a `response` object that failed, and as an event.

use crate::error_body;
use crate::hub::{ChatError, ErrorClass};
use crate::json::{Document, Object};

pub(crate) use crate::openai_error::encode;
use crate::openai_error::{code, write};

/// Reads an error answer; see [`crate::Format::decode_error`].
pub(crate) fn decode(status: u16, retry_after: Option<&str>, body: &[u8]) -> ChatError {
    error_body::decode(status, retry_after, body)
}

fn unsaid() -> ChatError {
    ChatError::new(ErrorClass::Upstream, "the provider's answer failed, and it did not say why")
}

/// The error of a `response` object, or of a document in its place, when it tells one.
pub(super) fn in_response(document: &Document<'_>) -> Option<ChatError> {
    let failed = document.string("status").is_some_and(|s| s == "failed");
    error_body::in_document(document).or_else(|| failed.then(unsaid))
}

/// The error that the event `kind` tells, when it tells one: `error`, with its members inside or outside of an object, or
/// `response.failed`.
pub(crate) fn in_event(kind: &str, document: &Document<'_>) -> Option<ChatError> {
    match kind {
        "error" => Some(
            error_body::in_document(document).unwrap_or_else(|| ChatError::new(ErrorClass::Upstream, "the provider reported an error")),
        ),
        "response.failed" => {
            let response = document.get("response").unwrap_or("{}");
            Some(Document::parse(response.as_bytes()).ok().as_ref().and_then(in_response).unwrap_or_else(unsaid))
        }
        // An error document in place of an event.
        "" => error_body::in_document(document),
        _ => None,
    }
}

/// Writes the members of the `error` event. Its own description has them beside the type, OpenAI sends them inside `error`, and its SDKs
/// fail the stream only for the latter.
pub(super) fn write_event(o: &mut Object<'_>, e: &ChatError) {
    write(o, e);
    let mut error = o.object("error");
    write(&mut error, e);
    error.end();
}

/// Writes the `error` of a `response` object that failed: `code` and `message`.
pub(super) fn write_failed(o: &mut Object<'_>, e: &ChatError) {
    let mut error = o.object("error");
    error.string("code", code(e).unwrap_or("server_error"));
    error.string("message", &e.message);
    error.end();
}
