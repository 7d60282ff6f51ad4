//! A whole document with a lazy top level.

use std::borrow::Cow;
use std::fmt;

use super::read::{Items, Value};
use super::scan::{self, Fault};
use super::string::unescape;

/// Why a body is not a document that we take.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JsonFault {
    /// Byte offset of the fault.
    pub offset: usize,
    /// Line of the fault, from 1.
    pub line: usize,
    /// Column of the fault in bytes, from 1.
    pub column: usize,
    /// What is wrong.
    pub message: &'static str,
}

impl fmt::Display for JsonFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} at line {} column {}", self.message, self.line, self.column)
    }
}

impl std::error::Error for JsonFault {}

/// A member of an object, as slices of the document.
#[derive(Debug, Clone, Copy)]
pub struct Member<'a> {
    /// Offset of the key's opening quote.
    pub key_start: usize,
    /// The key between its quotes, with its escapes.
    pub raw_key: &'a str,
    /// Offset of the value's first byte.
    pub value_start: usize,
    /// The value's text.
    pub value: &'a str,
    /// The key holds an escape.
    escaped: bool,
}

impl<'a> Member<'a> {
    pub(super) fn new(key_start: usize, raw_key: &'a str, value_start: usize, value: &'a str) -> Self {
        Self { key_start, raw_key, value_start, value, escaped: raw_key.contains('\\') }
    }

    /// The key.
    pub fn key(&self) -> Cow<'a, str> {
        unescape(self.raw_key)
    }

    /// Whether this is the key.
    pub fn is(&self, name: &str) -> bool {
        self.raw_key == name || (self.escaped && unescape(self.raw_key) == name)
    }

    /// Offset after the value's last byte.
    pub fn value_end(&self) -> usize {
        self.value_start + self.value.len()
    }
}

/// A JSON object whose syntax was checked completely and whose top-level members are known by their place.
#[derive(Debug, Clone)]
pub struct Document<'a> {
    text: &'a str,
    members: Vec<Member<'a>>,
}

impl<'a> Document<'a> {
    /// Scans a body.
    ///
    /// # Errors
    /// It is not UTF-8, not one complete JSON value, not an object, or nested deeper than [`super::MAX_DEPTH`].
    pub fn parse(body: &'a [u8]) -> Result<Self, JsonFault> {
        let text = std::str::from_utf8(body).map_err(|e| place(body, Fault { at: e.valid_up_to(), message: "not UTF-8" }))?;
        let mut members = Vec::with_capacity(16);
        match top_level(text, &mut members) {
            Ok(()) => Ok(Self { text, members }),
            Err(fault) => Err(place(body, fault)),
        }
    }

    /// The document's text.
    pub fn text(&self) -> &'a str {
        self.text
    }

    /// The top-level members in their order, duplicates included.
    pub fn raw_members(&self) -> &[Member<'a>] {
        &self.members
    }

    /// The top-level members in their order (key, raw value), duplicates included.
    pub fn members(&self) -> impl Iterator<Item = (Cow<'a, str>, &'a str)> + '_ {
        self.members.iter().map(|m| (m.key(), m.value))
    }

    /// The raw value of a top-level member; the last one when there are several, as `serde_json` has it.
    pub fn get(&self, name: &str) -> Option<&'a str> {
        self.members.iter().rev().find(|m| m.is(name)).map(|m| m.value)
    }

    /// How often a top-level member occurs. Parsers disagree about which of two counts, so a member that was checked must not
    /// be forwarded twice.
    pub fn count(&self, name: &str) -> usize {
        self.members.iter().filter(|m| m.is(name)).count()
    }

    /// The raw value at a JSON pointer (RFC 6901), for example `/stream_options/include_usage`.
    pub fn pointer(&self, pointer: &str) -> Option<&'a str> {
        let mut steps = pointer.strip_prefix('/')?.split('/').map(|s| s.replace("~1", "/").replace("~0", "~"));
        let mut value = Value::accepted(self.get(&steps.next()?)?);
        for step in steps {
            value = match value.elements() {
                Some(mut elements) => elements.nth(step.parse().ok()?)?,
                None => Items::members(value.raw())?.filter(|m| m.is(&step)).last().map(|m| Value::accepted(m.value))?,
            };
        }
        Some(value.raw())
    }

    /// The text of a top-level member that is a string.
    pub fn string(&self, name: &str) -> Option<Cow<'a, str>> {
        Value::accepted(self.get(name)?).text()
    }

    /// The text of the string at a JSON pointer.
    pub fn pointer_string(&self, pointer: &str) -> Option<Cow<'a, str>> {
        Value::accepted(self.pointer(pointer)?).text()
    }
}

fn top_level<'a>(text: &'a str, members: &mut Vec<Member<'a>>) -> Result<(), Fault> {
    let b = text.as_bytes();
    let start = scan::space(b, 0);
    match b.get(start) {
        Some(b'{') => {}
        None => return Err(Fault { at: start, message: "the document is empty" }),
        Some(_) => return Err(Fault { at: start, message: "expected an object" }),
    }
    let mut at = scan::space(b, start + 1);
    if b.get(at) == Some(&b'}') {
        at += 1;
    } else {
        loop {
            let (key_end, value_start) = scan::accept_key(b, at)?;
            let value_end = scan::accept_value(b, value_start, 1)?;
            let (raw_key, value) = (&text[at + 1..key_end - 1], &text[value_start..value_end]);
            members.push(Member::new(at, raw_key, value_start, value));
            at = scan::space(b, value_end);
            match b.get(at) {
                Some(b',') => at = scan::space(b, at + 1),
                Some(b'}') => break at += 1,
                Some(_) => return Err(Fault { at, message: "expected `,` or `}`" }),
                None => return Err(Fault { at, message: "the document ends inside an object or array" }),
            }
        }
    }
    let end = scan::space(b, at);
    if end < b.len() {
        return Err(Fault { at: end, message: "characters after the end of the document" });
    }
    Ok(())
}

fn place(body: &[u8], fault: Fault) -> JsonFault {
    let before = &body[..fault.at.min(body.len())];
    let line_start = memchr::memrchr(b'\n', before).map_or(0, |n| n + 1);
    JsonFault {
        offset: fault.at,
        line: 1 + memchr::memchr_iter(b'\n', before).count(),
        column: 1 + before.len() - line_start,
        message: fault.message,
    }
}
