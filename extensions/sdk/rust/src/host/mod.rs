//! What the host offers. In a component these are imports; natively they are answered by [`crate::fake::FakeHost`].

#[cfg(target_arch = "wasm32")]
pub mod guest_http;
#[cfg(target_arch = "wasm32")]
mod guest_outbound;

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
    use crate::hub::{ChatError, ErrorClass};

    /// How the error begins when the store could not be read yet: gateways share it, and it was away when this one began. Try again later.
    pub const UNREAD: &str = "not known yet";

    /// Whether an error says that the store could not be read yet.
    pub fn is_unread(error: &str) -> bool {
        error.starts_with(UNREAD)
    }

    /// The error of a request that needs what is stored, while that is not known: to be sent again in a moment.
    pub fn not_yet(code: &str, message: &str) -> ChatError {
        let error = ChatError::new(ErrorClass::Overloaded, message);
        ChatError { status: Some(503), code: Some(code.into()), retry_after_ms: Some(1000), ..error }
    }

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
    pub fn increment(bucket: &str, key: &str, delta: i64) -> Result<i64, String> {
        imports::kv_increment(bucket, key, delta)
    }

    /// Changes a value: `change` makes the new one from the old one, and is asked again when somebody else was faster. Returns what was
    /// written.
    pub fn update(bucket: &str, key: &str, change: impl FnMut(Option<&[u8]>) -> Vec<u8>) -> Result<Vec<u8>, String> {
        imports::kv_update(bucket, key, change)
    }
}

/// Limits on rates, counted by the host for all instances. Capability `limiter`.
pub mod limiter {
    use super::imports;
    pub use crate::bindings::wasmgate::extension::limiter::{Granted, Refused, Rule, Settlement, SlidingWindow, TokenBucket, Wish};

    /// Reserves an amount under a key, before the work is done.
    pub fn reserve(key: &str, rule: Rule, amount: u64) -> Result<Granted, Refused> {
        imports::reserve(key, rule, amount)
    }

    /// Says what was really used; the rest comes back. False when the reservation is not known.
    pub fn settle(reservation: u64, used: u64) -> bool {
        imports::settle(reservation, used)
    }

    /// Reserves one after the other, until one is refused; what was reserved before it stays. As many answers as were tried. Where limits are
    /// shared by several gateways it is one way there. At most 64.
    pub fn reserve_all(wishes: &[Wish]) -> Vec<Result<Granted, Refused>> {
        imports::reserve_all(wishes)
    }

    /// Settles several, at most 64. One answer for each.
    pub fn settle_all(settlements: &[Settlement]) -> Vec<bool> {
        imports::settle_all(settlements)
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

/// Rows that are written and read, never changed. Capability `records`.
pub mod records {
    use super::imports;
    pub use crate::bindings::wasmgate::extension::records::{Comparison, Field, Filter, Group, Page, Row, Selection, Value};

    /// Adds rows to a table.
    pub fn append(table: &str, rows: &[Row]) -> Result<(), String> {
        imports::append(table, rows)
    }

    /// Reads rows, newest first, at most 1,000 at a time.
    pub fn query(selection: &Selection, limit: u32, cursor: Option<&str>) -> Result<Page, String> {
        imports::query(selection, limit, cursor)
    }

    /// Adds rows up, by fields and by stretches of time.
    pub fn summarise(selection: &Selection, group_by: &[String], every_ms: Option<u64>, sums: &[String]) -> Result<Vec<Group>, String> {
        imports::summarise(selection, group_by, every_ms, sums)
    }
}

/// Requests of the extension's own, in the name of the caller whose request it is looking at. Capability `generate`.
pub mod generate {
    use super::imports;
    pub use super::imports::{AnswerStream, Batch};
    pub use crate::bindings::wasmgate::extension::generate::{Entry, GenerateOptions, Generated, Job, News, Score, Settled};
    use crate::hub::{ChatError, ChatRequest};

    /// Asks, and waits for the complete answer.
    pub fn unary(request: &ChatRequest, options: &GenerateOptions) -> Result<Generated, ChatError> {
        imports::generate(request, options)
    }

    /// Asks many at once. One result for each, in their order.
    pub fn many(jobs: &[Job]) -> Vec<Result<Generated, ChatError>> {
        imports::generate_many(jobs)
    }

    /// Asks many at once: `next` tells of each as soon as it is over, in whichever order they end. Dropping the batch cancels the others.
    pub fn begin(jobs: &[Job]) -> Result<Batch, ChatError> {
        imports::generate_batch(jobs)
    }

    /// Asks, and reads the answer as it comes: `next` gives events, and none at the end.
    pub fn open(request: &ChatRequest, options: &GenerateOptions) -> Result<AnswerStream, ChatError> {
        imports::generate_stream(request, options)
    }

    /// Asks the gateway's judge. One score for each entry, in their order.
    pub fn judge(request: &ChatRequest, entries: &[Entry]) -> Result<Vec<Score>, ChatError> {
        imports::ask_judge(request, entries)
    }
}

/// Paths that other extensions answer by themselves, asked in the name of the caller whose request it is looking at. Capability `routes`.
pub mod routes {
    use super::imports;
    use crate::Reply;
    use crate::hub::ChatError;

    /// Whether an extension answers a path by itself.
    pub fn has(method: &str, path: &str) -> bool {
        imports::has_route(method, path)
    }

    /// Asks, and waits for the whole answer, whatever its status. `path` may have a query; a body goes as JSON.
    pub fn ask(method: &str, path: &str, body: &[u8]) -> Result<Reply, ChatError> {
        imports::ask_route(method, path, body)
    }
}

/// Requests to other machines, as far as the configuration grants them. Capability `http`.
pub mod outbound {
    use super::imports;

    /// A request.
    #[derive(Debug, Clone, Default)]
    pub struct Request {
        /// `GET`, `POST`, …
        pub method: String,
        /// Where: `https://host/path?query`.
        pub url: String,
        /// Header fields. The placeholder of a secret becomes the secret on the way.
        pub headers: Vec<(String, String)>,
        /// Content.
        pub body: Vec<u8>,
    }

    /// A response.
    #[derive(Debug, Clone, Default)]
    pub struct Response {
        /// Status code. Redirects are not followed.
        pub status: u16,
        /// Header fields, names in lower case.
        pub headers: Vec<(String, Vec<u8>)>,
        /// Content.
        pub body: Vec<u8>,
    }

    /// Sends a request and waits for the whole response. The error says what forbade or broke it.
    pub fn send(request: &Request) -> Result<Response, String> {
        imports::send(request)
    }
}

/// Secrets of the configuration, used and never read. Capability `secrets`.
pub mod secrets {
    use super::imports;
    pub use super::imports::Secret;

    /// The secret of a name: `placeholder`, `matches` and `sign` use it.
    pub fn find(name: &str) -> Option<Secret> {
        imports::secret(name)
    }
}

/// Numbers for the operator's monitoring. Capability `metrics`.
pub mod metrics {
    use super::imports;

    /// Adds to a counter. Its name ends in `_total`.
    pub fn count(name: &str, labels: &[(&str, &str)], by: f64) -> Result<(), String> {
        imports::count(name, labels, by)
    }

    /// Sets a gauge.
    pub fn gauge(name: &str, labels: &[(&str, &str)], value: f64) -> Result<(), String> {
        imports::gauge(name, labels, value)
    }

    /// Adds a value to a histogram. Its name says the unit.
    pub fn observe(name: &str, labels: &[(&str, &str)], value: f64) -> Result<(), String> {
        imports::observe(name, labels, value)
    }
}
