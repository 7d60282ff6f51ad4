//! What was changed at run time, in the gateway's store: one document, and beside it the version that it has.
//!
//! A change swaps the whole document if nobody changed it meanwhile, and writes its version after it. Each instance keeps the document that it
//! read and compares versions, so that a request reads a few bytes as long as nothing changes. A version is a number for people and a random
//! part, because two gateways that share a store may both write a number's document.

use std::rc::Rc;

use serde_json::{Value, json};
use wasmgate_sdk::{kv, log, random};

use crate::rules::Document;

const BUCKET: &str = "dynamic";
const DOCUMENT: &str = "document";
const VERSION: &str = "version";

/// The version of what was never changed.
const NEVER: &str = "0";

/// What is in the store.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Stored {
    /// The version; empty when nothing was ever written.
    tag: String,
    /// The changes.
    pub changes: Document,
}

impl Stored {
    /// As `ETag` and `If-Match` have it, without the quotes.
    pub fn version(&self) -> &str {
        if self.tag.is_empty() { NEVER } else { &self.tag }
    }

    fn read(bytes: Option<&[u8]>) -> Result<Self, String> {
        let Some(bytes) = bytes else { return Ok(Self::default()) };
        let unreadable = |reason: String| format!("the stored document cannot be read: {reason}");
        let mut value: Value = serde_json::from_slice(bytes).map_err(|e| unreadable(e.to_string()))?;
        let tag = value.as_object_mut().and_then(|v| v.shift_remove(VERSION));
        let tag = tag.as_ref().and_then(Value::as_str).unwrap_or_default().to_owned();
        Ok(Self { tag, changes: Document::read(&value).map_err(unreadable)? })
    }

    fn written(&self) -> Vec<u8> {
        let mut value = json!(self.changes);
        value[VERSION] = self.tag.as_str().into();
        value.to_string().into_bytes()
    }
}

/// What an instance knows.
pub struct Known {
    /// The version that stood beside it.
    beside: Option<Vec<u8>>,
    /// The configuration with the changes on top.
    pub document: Rc<Document>,
    /// Nothing is said at all.
    pub is_empty: bool,
}

impl Known {
    /// Whether it still holds. Only the version is read.
    pub fn holds(&self) -> Result<bool, String> {
        Ok(kv::value(BUCKET, VERSION)? == self.beside)
    }

    /// Reads everything.
    pub fn load(configured: &Document) -> Result<Self, String> {
        // In this order: a change that comes in between is read again.
        let beside = kv::value(BUCKET, VERSION)?;
        let document = configured.overlaid(&load()?.changes);
        Ok(Self { beside, is_empty: document.is_empty(), document: Rc::new(document) })
    }
}

/// Reads the changes.
pub fn load() -> Result<Stored, String> {
    Stored::read(kv::value(BUCKET, DOCUMENT)?.as_deref())
}

/// Changes what is stored. `change` is asked again when somebody else made something of it meanwhile; where it refuses, what is stored stays.
pub fn update<E: From<String>>(change: impl Fn(&Stored) -> Result<Document, E>) -> Result<Stored, E> {
    let attempt = |old: Option<&[u8]>| {
        let old = Stored::read(old)?;
        let changes = change(&old)?;
        let number: u64 = old.version().split('-').next().and_then(|n| n.parse().ok()).unwrap_or_default();
        let tag = format!("{}-{:08x}", number.saturating_add(1), random::number() as u32);
        Ok::<Stored, E>(Stored { tag, changes })
    };
    // Nothing is touched for what is refused, and to look at all of it twice would take twice as long.
    let before = kv::value(BUCKET, DOCUMENT)?;
    let mut first = Some(attempt(before.as_deref())?);
    let mut done = None;
    kv::update(BUCKET, DOCUMENT, |old| {
        let made = first.take().filter(|_| old == before.as_deref()).map_or_else(|| attempt(old), Ok);
        let bytes = match &made {
            Ok(stored) => stored.written(),
            Err(_) => old.map_or_else(|| Stored::default().written(), <[u8]>::to_vec),
        };
        done = Some(made);
        bytes
    })?;
    let stored = done.unwrap_or_else(|| Err(E::from(String::from("the store did not ask for the new document"))))?;
    // Whoever writes last writes the version of the document that is there.
    kv::update(BUCKET, VERSION, |_| match load() {
        Ok(now) => now.tag.into_bytes(),
        Err(reason) => {
            log::error(&reason);
            stored.tag.clone().into_bytes()
        }
    })?;
    Ok(stored)
}
