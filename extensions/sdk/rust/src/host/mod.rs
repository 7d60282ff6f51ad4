//! What the host offers. In a component these are imports; natively they are answered by [`crate::fake::FakeHost`].

#[cfg(target_arch = "wasm32")]
pub mod guest_http;

#[cfg(target_arch = "wasm32")]
#[path = "guest.rs"]
mod imports;
#[cfg(not(target_arch = "wasm32"))]
#[path = "native.rs"]
mod imports;

pub use imports::{Answer, Incoming, Request};

/// Lines in the gateway's log. Capability `log`.
pub mod log {
    use super::imports;
    pub use crate::bindings::wasi::logging::logging::Level;

    /// Writes a line. `context` names the part of the extension that speaks.
    pub fn line(level: Level, context: &str, message: &str) {
        imports::log(level, context, message);
    }

    /// For somebody who looks for a fault.
    pub fn debug(message: &str) {
        line(Level::Debug, "", message);
    }

    /// Normal operation.
    pub fn info(message: &str) {
        line(Level::Info, "", message);
    }

    /// Worth a look, not a failure.
    pub fn warn(message: &str) {
        line(Level::Warn, "", message);
    }

    /// A failure.
    pub fn error(message: &str) {
        line(Level::Error, "", message);
    }

    /// The last words of a panic.
    pub(crate) fn panic(message: &str) {
        line(Level::Critical, "panic", message);
    }
}

/// The extension's own settings by name, besides what `configure` was given. Capability `config`.
pub mod settings {
    use super::imports;

    /// A setting: text as it is, anything else as JSON.
    pub fn value(key: &str) -> Option<String> {
        imports::setting(key)
    }
}

/// What outlives a call, a restart and a swap. Capability `kv`. Errors tell which limit was reached.
pub mod kv {
    use super::imports;

    /// The value of a key.
    pub fn value(bucket: &str, key: &str) -> Result<Option<Vec<u8>>, String> {
        imports::kv_value(bucket, key)
    }

    /// Writes a value.
    pub fn set(bucket: &str, key: &str, value: &[u8]) -> Result<(), String> {
        imports::kv_set(bucket, key, value)
    }

    /// Removes a key.
    pub fn delete(bucket: &str, key: &str) -> Result<(), String> {
        imports::kv_delete(bucket, key)
    }

    /// All keys of a bucket, in ascending order.
    pub fn keys(bucket: &str) -> Result<Vec<String>, String> {
        imports::kv_keys(bucket)
    }

    /// Adds to a counter that starts at 0; nobody comes in between. Returns the sum.
    pub fn increment(bucket: &str, key: &str, delta: u64) -> Result<u64, String> {
        imports::kv_increment(bucket, key, delta)
    }
}

/// Limits on rates, counted by the host for all instances. Capability `limiter`.
pub mod limiter {
    use super::imports;
    pub use crate::bindings::wasmgate::extension::limiter::{Granted, Refused, Rule, SlidingWindow, TokenBucket};

    /// Reserves an amount under a key, before the work is done.
    pub fn reserve(key: &str, rule: Rule, amount: u64) -> Result<Granted, Refused> {
        imports::reserve(key, rule, amount)
    }

    /// Says what was really used; the rest comes back. False when the reservation is not known.
    pub fn settle(reservation: u64, used: u64) -> bool {
        imports::settle(reservation, used)
    }
}

/// The providers of the configuration. Capability `providers`.
pub mod providers {
    use super::imports;
    pub use crate::bindings::wasmgate::extension::providers::ProviderInfo;

    /// All of them, by name.
    pub fn all() -> Vec<ProviderInfo> {
        imports::providers()
    }

    /// One of them.
    pub fn find(name: &str) -> Option<ProviderInfo> {
        imports::provider(name)
    }
}

/// The time. Capability `clock`.
pub mod clock {
    use super::imports;

    /// Unix time, in milliseconds.
    pub fn unix_ms() -> u64 {
        imports::unix_ms()
    }
}

/// Random numbers that nobody can guess. Capability `random`.
pub mod random {
    use super::imports;

    /// A random number.
    pub fn number() -> u64 {
        imports::random()
    }
}
