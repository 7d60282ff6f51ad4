//! Readers over accepted text.

use std::borrow::Cow;
use std::collections::HashSet;

use smallvec::SmallVec;

use super::document::{Document, Member};
use super::path::Path;
use super::scan;
use super::string::unescape;
use crate::DecodeError;
use crate::hub::Extra;

/// What a value is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// `null`
    Null,
    /// `true` or `false`
    Bool,
    /// A number.
    Number,
    /// A string.
    String,
    /// An array.
    Array,
    /// An object.
    Object,
}

impl Kind {
    /// The kind's name with its article, for messages.
    pub fn named(self) -> &'static str {
        match self {
            Kind::Null => "null",
            Kind::Bool => "a boolean",
            Kind::Number => "a number",
            Kind::String => "a string",
            Kind::Array => "an array",
            Kind::Object => "an object",
        }
    }
}

/// A JSON value as its text, which was accepted before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Value<'a>(&'a str);

impl<'a> Value<'a> {
    /// A value whose text the scanner has accepted. Other text is read as something, but never panics.
    pub(crate) fn accepted(text: &'a str) -> Self {
        Self(text.trim_matches([' ', '\n', '\r', '\t']))
    }

    /// Scans a text that is one JSON value.
    pub fn parse(text: &'a str) -> Option<Self> {
        super::is_valid(text).then(|| Self::accepted(text))
    }

    /// The value's text.
    pub fn raw(self) -> &'a str {
        self.0
    }

    /// What the value is.
    pub fn kind(self) -> Kind {
        match self.0.as_bytes().first() {
            Some(b'"') => Kind::String,
            Some(b'{') => Kind::Object,
            Some(b'[') => Kind::Array,
            Some(b't' | b'f') => Kind::Bool,
            Some(b'n') | None => Kind::Null,
            Some(_) => Kind::Number,
        }
    }

    /// Whether it is `null`.
    pub fn is_null(self) -> bool {
        self.kind() == Kind::Null
    }

    /// The text of a string.
    pub fn text(self) -> Option<Cow<'a, str>> {
        let inner = self.0.strip_prefix('"')?.strip_suffix('"')?;
        Some(unescape(inner))
    }

    /// A boolean.
    pub fn bool(self) -> Option<bool> {
        match self.0 {
            "true" => Some(true),
            "false" => Some(false),
            _ => None,
        }
    }

    /// A number.
    pub fn f64(self) -> Option<f64> {
        (self.kind() == Kind::Number).then(|| self.0.parse().ok()).flatten().filter(|n: &f64| n.is_finite())
    }

    /// A whole number; `3.0` and `3e0` are whole.
    pub fn i64(self) -> Option<i64> {
        if self.kind() != Kind::Number {
            return None;
        }
        self.0.parse().ok().or_else(|| {
            let n = self.f64()?;
            (n.fract() == 0.0 && n.abs() < 9e15).then_some(n as i64)
        })
    }

    /// A whole number that is not negative.
    pub fn u64(self) -> Option<u64> {
        self.0.parse().ok().or_else(|| u64::try_from(self.i64()?).ok())
    }

    /// The elements of an array.
    pub fn elements(self) -> Option<impl Iterator<Item = Value<'a>>> {
        Items::elements(self.0)
    }

    /// The members of an object.
    pub fn object(self) -> Option<Fields<'a>> {
        Some(Fields { members: Items::members(self.0)?.map(|m| (m, false)).collect() })
    }

    /// An error that says what is here and what should be.
    pub fn expected(self, path: &Path<'_>, what: &str) -> DecodeError {
        // Short values say more than their kind; long ones are not for an error text.
        let short = matches!(self.kind(), Kind::Number | Kind::String | Kind::Bool) && self.0.len() <= 40;
        let value = if short { format!(" (`{}`)", self.0) } else { String::new() };
        DecodeError::new(path, format!("expected {what}, found {}{value}", self.kind().named()))
    }

    /// The elements of an array, or the error that it is none.
    pub fn array_at(self, path: &Path<'_>) -> Result<Vec<Value<'a>>, DecodeError> {
        Ok(self.elements().ok_or_else(|| self.expected(path, "an array"))?.collect())
    }

    /// The members of an object, or the error that it is none.
    pub fn object_at(self, path: &Path<'_>) -> Result<Fields<'a>, DecodeError> {
        self.object().ok_or_else(|| self.expected(path, "an object"))
    }

    /// The text of a string, or the error that it is none.
    pub fn text_at(self, path: &Path<'_>) -> Result<Cow<'a, str>, DecodeError> {
        self.text().ok_or_else(|| self.expected(path, "a string"))
    }
}

/// Runs over the items of an accepted array or object.
#[derive(Debug, Clone)]
pub struct Items<'a> {
    text: &'a str,
    at: usize,
}

impl<'a> Items<'a> {
    /// The elements of an array; nothing for other text.
    pub fn elements(text: &'a str) -> Option<impl Iterator<Item = Value<'a>>> {
        let mut items = text.starts_with('[').then_some(Items { text, at: 1 })?;
        Some(std::iter::from_fn(move || items.value()))
    }

    /// The members of an object; nothing for other text.
    pub fn members(text: &'a str) -> Option<impl Iterator<Item = Member<'a>>> {
        let mut items = text.starts_with('{').then_some(Items { text, at: 1 })?;
        Some(std::iter::from_fn(move || {
            let key_start = items.next_start()?;
            let key_end = scan::skip_string(text.as_bytes(), key_start + 1);
            items.at = key_end;
            let raw_key = text.get(key_start + 1..key_end - 1)?;
            let value = items.value()?.raw();
            Some(Member::new(key_start, raw_key, items.at - value.len(), value))
        }))
    }

    fn next_start(&mut self) -> Option<usize> {
        let b = self.text.as_bytes();
        while let Some(b',' | b':' | b' ' | b'\n' | b'\r' | b'\t') = b.get(self.at) {
            self.at += 1;
        }
        (!matches!(b.get(self.at)?, b']' | b'}')).then_some(self.at)
    }

    fn value(&mut self) -> Option<Value<'a>> {
        let start = self.next_start()?;
        self.at = scan::skip(self.text.as_bytes(), start);
        Some(Value(&self.text[start..self.at]))
    }
}

/// The members of an object, taken one by one by name; what is left over becomes extras.
#[derive(Debug, Clone)]
pub struct Fields<'a> {
    /// With what was taken. Most objects of a conversation have a few members, and need no memory of their own.
    members: SmallVec<[(Member<'a>, bool); 6]>,
}

impl<'a> Fields<'a> {
    /// The members of a document.
    pub fn of(document: &Document<'a>) -> Self {
        Self { members: document.raw_members().iter().map(|m| (*m, false)).collect() }
    }

    /// The value of a member, which stays.
    pub fn peek(&self, name: &str) -> Option<Value<'a>> {
        self.members.iter().rev().find(|(m, taken)| !taken && m.is(name)).map(|(m, _)| Value(m.value))
    }

    /// Takes a member. Of several with the name the last counts, and all are taken.
    pub fn take(&mut self, name: &str) -> Option<Value<'a>> {
        let mut found = None;
        for (m, taken) in self.members.iter_mut().filter(|(m, taken)| !*taken && m.is(name)) {
            *taken = true;
            found = Some(Value(m.value));
        }
        found
    }

    /// Takes a member unless it is `null`; a `null` stays and becomes an extra.
    pub fn take_some(&mut self, name: &str) -> Option<Value<'a>> {
        self.peek(name).filter(|v| !v.is_null())?;
        self.take(name)
    }

    /// Takes a member that must be there and not `null`.
    pub fn need(&mut self, path: &Path<'_>, name: &str, what: &str) -> Result<Value<'a>, DecodeError> {
        match self.take(name) {
            Some(v) if !v.is_null() => Ok(v),
            Some(v) => Err(v.expected(&path.key(name), what)),
            None => Err(DecodeError::new(path.key(name), format!("missing, expected {what}"))),
        }
    }

    /// Takes a string that must be there.
    pub fn need_text(&mut self, path: &Path<'_>, name: &str) -> Result<Cow<'a, str>, DecodeError> {
        self.need(path, name, "a string")?.text_at(&path.key(name))
    }

    /// Takes a value that may be absent or `null` but must be readable when it is there.
    pub fn optional<T>(
        &mut self,
        path: &Path<'_>,
        name: &str,
        what: &str,
        read: impl FnOnce(Value<'a>) -> Option<T>,
    ) -> Result<Option<T>, DecodeError> {
        match self.take_some(name) {
            None => Ok(None),
            Some(v) => read(v).map(Some).ok_or_else(|| v.expected(&path.key(name), what)),
        }
    }

    /// Takes an optional string.
    pub fn optional_text(&mut self, path: &Path<'_>, name: &str) -> Result<Option<String>, DecodeError> {
        self.optional(path, name, "a string", |v| v.text().map(Cow::into_owned))
    }

    /// Takes an optional number.
    pub fn optional_f64(&mut self, path: &Path<'_>, name: &str) -> Result<Option<f64>, DecodeError> {
        self.optional(path, name, "a number", Value::f64)
    }

    /// Takes an optional whole number that is not negative.
    pub fn optional_u64(&mut self, path: &Path<'_>, name: &str) -> Result<Option<u64>, DecodeError> {
        self.optional(path, name, "a whole number, 0 or more", Value::u64)
    }

    /// Takes an optional boolean.
    pub fn optional_bool(&mut self, path: &Path<'_>, name: &str) -> Result<Option<bool>, DecodeError> {
        self.optional(path, name, "a boolean", Value::bool)
    }

    /// Takes a member only when it is readable as `T`; otherwise it stays and becomes an extra. For answers, where a provider's
    /// odd value must not fail the whole.
    pub fn lenient<T>(&mut self, name: &str, read: impl FnOnce(Value<'a>) -> Option<T>) -> Option<T> {
        let read = read(self.peek(name)?)?;
        self.take(name);
        Some(read)
    }

    /// Takes a string when it is one.
    pub fn lenient_text(&mut self, name: &str) -> Option<String> {
        self.lenient(name, |v| v.text().map(Cow::into_owned))
    }

    /// What was not taken, duplicates included: name and value.
    pub fn untaken(&self) -> impl Iterator<Item = (Cow<'a, str>, Value<'a>)> {
        self.members.iter().filter(|(_, taken)| !taken).map(|(m, _)| (m.key(), Value(m.value)))
    }

    /// What was not taken, each name once (the last counts), prefixed.
    pub fn rest_with(self, prefix: &str) -> Vec<Extra> {
        if self.members.iter().all(|(_, taken)| *taken) {
            return Vec::new();
        }
        let mut seen = HashSet::new();
        let mut extras: Vec<Extra> = Vec::new();
        for (m, _) in self.members.into_iter().rev().filter(|(_, taken)| !taken) {
            let key = m.key();
            if seen.insert(key.clone()) {
                extras.push(Extra { name: format!("{prefix}{key}"), value: m.value.to_owned() });
            }
        }
        extras.reverse();
        extras
    }

    /// What was not taken.
    pub fn rest(self) -> Vec<Extra> {
        self.rest_with("")
    }

    /// What was not taken, beside members of a nested object that are kept as `name.member`: a name that has a dot of its own gets one
    /// in front, so that the two cannot be taken for each other.
    pub fn rest_beside(self) -> Vec<Extra> {
        let mut extras = self.rest();
        extras.iter_mut().filter(|e| e.name.contains('.')).for_each(|e| e.name.insert(0, '.'));
        extras
    }
}
