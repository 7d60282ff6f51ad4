//! Keys that were made through the admin interface, in the gateway's store.
//!
//! Three buckets: `keys` has the records by the hash of the key, `ids` the hash by the id, `names` the id by the name. A request needs one
//! look into the first.

use serde::{Deserialize, Serialize};
use wasmgate_sdk::kv;

use crate::key::{Hash, Key};

const KEYS: &str = "keys";
const IDS: &str = "ids";
const NAMES: &str = "names";
const USED: &str = "used";

/// How exactly it is known when a key was last used, in milliseconds.
const USED_EVERY: u64 = 60_000;

/// A key in the store.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Record {
    /// Its id, which stays when it is rotated.
    pub id: String,
    /// Its hash, in hexadecimal digits.
    pub hash: String,
    /// Enough of it to recognise it.
    pub masked: String,
    /// Unix time in milliseconds.
    pub created_ms: u64,
    /// The same, of the last change.
    pub updated_ms: u64,
    /// The hash before the last rotation, as long as it still opens something.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub previous: Option<String>,
    /// Until when it does, on the record of a key that was rotated away.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until_ms: Option<u64>,
    /// What was said of it.
    pub key: Key,
}

/// The record of a hash.
pub fn by_hash(hash: &str) -> Result<Option<Record>, String> {
    kv::value(KEYS, hash)?.map(|bytes| serde_json::from_slice(&bytes).map_err(|e| format!("a stored key cannot be read: {e}"))).transpose()
}

/// The record of an id.
pub fn by_id(id: &str) -> Result<Option<Record>, String> {
    text(IDS, id)?.map_or(Ok(None), |hash| by_hash(&hash))
}

/// The record of a name.
pub fn by_name(name: &str) -> Result<Option<Record>, String> {
    text(NAMES, name)?.map_or(Ok(None), |id| by_id(&id))
}

/// All records, by id. Keys that were rotated away are none of their own.
pub fn all() -> Result<Vec<Record>, String> {
    let ids = kv::keys(IDS)?;
    ids.iter().map(|id| by_id(id)).filter_map(Result::transpose).collect()
}

/// Takes a name for an id. False when another one has it.
pub fn claim(name: &str, id: &str) -> Result<bool, String> {
    let won = kv::update(NAMES, name, |old| old.map_or_else(|| id.as_bytes().to_vec(), <[u8]>::to_vec))?;
    Ok(won == id.as_bytes())
}

/// Gives a name back that is this id's.
pub fn release(name: &str, id: &str) -> Result<(), String> {
    if owns(name, id)? { kv::delete(NAMES, name) } else { Ok(()) }
}

/// Whether a name is this id's. A key that is revoked gives its name back before anything else, so whoever changes a key sees it here.
pub fn owns(name: &str, id: &str) -> Result<bool, String> {
    Ok(text(NAMES, name)?.as_deref() == Some(id))
}

/// Writes a record; what leads to it comes last, so that nobody finds half of it.
pub fn write(record: &Record) -> Result<(), String> {
    let bytes = serde_json::to_vec(record).map_err(|e| e.to_string())?;
    kv::set(KEYS, &record.hash, &bytes)?;
    if record.until_ms.is_some() { Ok(()) } else { kv::set(IDS, &record.id, record.hash.as_bytes()) }
}

/// Removes the key of a hash: it opens nothing from now on.
pub fn forget_hash(hash: &str) -> Result<(), String> {
    kv::delete(KEYS, hash)
}

/// Removes a record with everything that leads to it, also what it was rotated to since it was read.
pub fn remove(record: &Record) -> Result<(), String> {
    release(&record.key.name, &record.id)?;
    let now = by_id(&record.id)?;
    for record in [Some(record), now.as_ref()].into_iter().flatten() {
        forget_hash(&record.hash)?;
        record.previous.as_deref().map_or(Ok(()), forget_hash)?;
        release(&record.key.name, &record.id)?;
    }
    kv::delete(IDS, &record.id)?;
    kv::delete(USED, &record.id)
}

/// When a key was last used, in Unix milliseconds.
pub fn used_ms(id: &str) -> Option<u64> {
    text(USED, id).ok().flatten()?.parse().ok()
}

/// A key is used.
pub fn used(id: &str, now: u64) {
    if used_ms(id).is_none_or(|last| now >= last + USED_EVERY) {
        // It is for people to look at; a full store must not make requests fail.
        let _ = kv::set(USED, id, now.to_string().as_bytes());
    }
}

/// The id of a new key.
pub fn new_id(hash: &Hash) -> String {
    format!("key_{}", &hash.hex()[..16])
}

fn text(bucket: &str, key: &str) -> Result<Option<String>, String> {
    Ok(kv::value(bucket, key)?.and_then(|bytes| String::from_utf8(bytes).ok()))
}
