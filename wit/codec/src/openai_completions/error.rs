//! Errors: the same as of chat completions.

use crate::error_body;
use crate::hub::ChatError;
use crate::json::Document;

pub(crate) use crate::openai_error::encode;

/// Reads an error answer; see [`crate::Format::decode_error`].
pub(crate) fn decode(status: u16, retry_after: Option<&str>, body: &[u8]) -> ChatError {
    error_body::decode(status, retry_after, body)
}

/// The error that a document tells, when it tells one.
pub(crate) fn from_body(document: &Document<'_>) -> Option<ChatError> {
    error_body::in_document(document)
}
