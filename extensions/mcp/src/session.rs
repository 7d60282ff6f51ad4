//! Sessions, which revisions until 2025-11-25 have. Any instance may serve any request, so they are in the key-value store: a bucket for
//! each caller, so that nobody finds another's.

use serde::{Deserialize, Serialize};
use serde_json::Value;
use wasmgate_sdk::{clock, kv, random};

/// How many cancelled calls of a session are remembered. They are looked for while they run, which is not long.
const CANCELLED: usize = 16;

/// A caller's sessions.
pub struct Sessions {
    bucket: String,
    most: usize,
    lasts_ms: u64,
}

/// What is kept of one.
#[derive(Default, Serialize, Deserialize)]
struct Kept {
    version: String,
    /// Ids of calls, as JSON.
    cancelled: Vec<String>,
}

impl Sessions {
    /// Those of a caller; the empty name is whoever has no key.
    pub fn of(caller: &str, most: usize, lasts_ms: u64) -> Self {
        Self { bucket: format!("sessions:{caller}"), most, lasts_ms }
    }

    /// Begins one. It takes the place of the oldest when there are too many: most clients never say that they leave.
    pub fn begin(&self, version: &str) -> Result<String, String> {
        let now = clock::unix_ms();
        // The time is in front, so keys are in the order of their age.
        let id = format!("{now:012x}{:016x}{:016x}", random::number(), random::number());
        let there = kv::keys(&self.bucket)?;
        let too_many = (there.len() + 1).saturating_sub(self.most);
        for (n, key) in there.iter().enumerate() {
            if n < too_many || !self.lasts(key, now) {
                kv::delete(&self.bucket, key)?;
            }
        }
        let kept = Kept { version: version.into(), cancelled: Vec::new() };
        kv::set(&self.bucket, &id, &serde_json::to_vec(&kept).unwrap_or_default())?;
        Ok(id)
    }

    /// Whether there is this one.
    pub fn has(&self, id: &str) -> Result<bool, String> {
        // A call that was cancelled while its session ended may leave a note without a version, which is no session.
        let lives = |kept: Vec<u8>| !read(Some(&kept)).version.is_empty();
        Ok(self.lasts(id, clock::unix_ms()) && kv::value(&self.bucket, id)?.is_some_and(lives))
    }

    /// Ends one. False when there is none.
    pub fn end(&self, id: &str) -> Result<bool, String> {
        let there = self.has(id)?;
        if there {
            kv::delete(&self.bucket, id)?;
        }
        Ok(there)
    }

    /// Notes that a client wants no answer to a call any more.
    pub fn cancel(&self, session: &str, call: &Value) -> Result<(), String> {
        if !self.has(session)? {
            return Ok(());
        }
        let call = call.to_string();
        kv::update(&self.bucket, session, |old| {
            let mut kept = read(old);
            if !kept.cancelled.contains(&call) {
                kept.cancelled.push(call.clone());
            }
            let over = kept.cancelled.len().saturating_sub(CANCELLED);
            kept.cancelled.drain(..over);
            serde_json::to_vec(&kept).unwrap_or_default()
        })
        .map(drop)
    }

    /// Whether a call was cancelled, or its session ended.
    pub fn is_cancelled(&self, session: &str, call: &Value) -> bool {
        match kv::value(&self.bucket, session) {
            Ok(Some(kept)) => read(Some(&kept)).cancelled.contains(&call.to_string()),
            Ok(None) => true,
            // Whoever cannot be asked cancels nothing.
            Err(_) => false,
        }
    }

    /// Ids are ours: anything else is none.
    fn lasts(&self, id: &str, now: u64) -> bool {
        let began = id.get(..12).filter(|_| id.len() == 44 && id.bytes().all(|b| b.is_ascii_hexdigit()));
        began.and_then(|b| u64::from_str_radix(b, 16).ok()).is_some_and(|began| began <= now && now - began < self.lasts_ms)
    }
}

fn read(kept: Option<&[u8]>) -> Kept {
    kept.and_then(|k| serde_json::from_slice(k).ok()).unwrap_or_default()
}
