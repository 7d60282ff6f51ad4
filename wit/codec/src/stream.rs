//! What the decoders of streams have in common.

use crate::hub::{ChatError, ErrorClass, StreamEvent};
use crate::json::Document;

/// The document of an event. There is none when it is empty, when the connection closed inside it (`last`), and when it is not JSON, which
/// is told.
pub(crate) fn document<'a>(data: &'a [u8], last: bool, out: &mut Vec<StreamEvent>) -> Option<Document<'a>> {
    if data.trim_ascii().is_empty() {
        return None;
    }
    match Document::parse(data) {
        Ok(document) => Some(document),
        // Half an event; whether the answer was complete before it, `closed` says.
        Err(_) if last => None,
        Err(fault) => {
            let e = ChatError::new(ErrorClass::Protocol, format!("the provider sent an event that is not JSON: {fault}"));
            out.push(StreamEvent::Error(e));
            None
        }
    }
}

/// What a stream that broke off says.
pub(crate) fn interrupted() -> ChatError {
    ChatError::new(ErrorClass::Interrupted, "the provider's stream broke off before the answer was complete")
}
