//! JSON as the codecs need it: a validating scanner, lazy readers over text that it has accepted, and a writer.
//!
//! A request may be 32 MiB, of which a decoder or a router needs a few members. So a document is scanned once, in one pass that
//! checks all of its syntax ([`Document::parse`]); after that, values are slices of its text and are taken apart only when
//! somebody asks. What is absent: a tree of values, and numbers in any form but their text.
//!
//! Grammar: RFC 8259. Objects nest at most [`MAX_DEPTH`] deep. A `\u` escape of half a surrogate pair is accepted, because
//! JavaScript clients send them; it reads as U+FFFD and is forwarded as it came.

mod document;
mod path;
mod read;
mod scan;
mod string;
mod write;

pub use document::{Document, JsonFault, Member};
pub use path::Path;
pub use read::{Fields, Items, Kind, Value};
pub use scan::MAX_DEPTH;
pub(crate) use write::write_raw;
pub use write::{Array, Object, write_string};

/// Whether the text is one JSON value.
pub fn is_valid(text: &str) -> bool {
    scan::complete_value(text.as_bytes()).is_ok()
}

/// The text as a JSON value: itself when it is one, else a JSON string that holds it. Guards a document against an extra that a
/// hook filled with something else.
pub fn ensure_valid(text: &str) -> std::borrow::Cow<'_, str> {
    if is_valid(text) {
        return text.into();
    }
    let mut out = Vec::with_capacity(text.len() + 2);
    write_string(&mut out, text);
    String::from_utf8(out).expect("a written JSON string is UTF-8").into()
}
