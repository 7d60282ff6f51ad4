//! Write `wasmgate` extensions in Rust.
//!
//! An extension is a type that implements [`Extension`], and one line of [`export!`] that names the hooks it has. The host calls
//! nothing that is not named, so an extension costs what it uses.
//!
//! ```
//! use wasmgate_sdk::prelude::*;
//!
//! /// Refuses requests for models whose name begins with a configured prefix.
//! struct Guard {
//!     prefix: String,
//! }
//!
//! #[derive(serde::Deserialize)]
//! struct Settings {
//!     prefix: String,
//! }
//!
//! impl Extension for Guard {
//!     type Config = Settings;
//!
//!     fn configure(config: Settings) -> Result<Self, String> {
//!         Ok(Self { prefix: config.prefix })
//!     }
//!
//!     fn before_generate(&self, call: &CallInfo, _request: &Request) -> Decision {
//!         if call.model.starts_with(&self.prefix) {
//!             return Decision::Reject(ChatError::new(ErrorClass::Permission, format!("`{}` is not for you.", call.model)));
//!         }
//!         Decision::Continue
//!     }
//! }
//!
//! wasmgate_sdk::export!(Guard: before_generate);
//!
//! // Logic is tested natively, with a host that is not there:
//! let guard = Guard::configure(Settings { prefix: "o1".into() }).unwrap();
//! let request = FakeRequest::new("o1-mini");
//! assert!(matches!(guard.before_generate(&request.call(), &request.handle()), Decision::Reject(_)));
//! ```
//!
//! What is absent: files, sockets, threads, environment variables. What the host offers is in [`log`], [`kv`], [`records`], [`limiter`],
//! [`settings`], [`providers`], [`generate`], [`routes`], [`outbound`], [`secrets`], [`metrics`], [`clock`] and [`random`]; each is a capability that
//! `extension.toml` asks for and the gateway's configuration grants.

#[doc(hidden)]
pub mod bindings;
pub mod catalogue;
mod export;
pub mod fake;
pub mod format;
pub mod host;
pub mod pattern;
pub mod wrapped;

pub use host::{clock, generate, kv, limiter, log, metrics, outbound, providers, random, records, routes, secrets, settings};
pub use llm_codec as codec;
pub use llm_codec::hub;

#[doc(hidden)]
pub use export::support;
#[cfg(target_arch = "wasm32")]
#[doc(hidden)]
pub use wasip2;

pub use bindings::exports::after_generate::Verdict;
pub use bindings::exports::attempts::{Part, Tried};
pub use bindings::exports::before_generate::Decision;
pub use bindings::exports::dialect::{Accepted, EncodeOptions, GenerateHead};
pub use bindings::exports::judge::{Candidate, Score};
pub use bindings::exports::lifecycle::{Route, RouteKind};
pub use bindings::exports::on_complete::{Attempt, Ending, Outcome};
pub use bindings::exports::operations::{OperationHead, OperationRoute};
pub use bindings::exports::provider_events::{AttemptInfo, Reaction};
pub use bindings::exports::stream_filter::{BatchEdit, Placed};
pub use bindings::wasmgate::extension::http::{Header, JsonKind, Member, Reply};
pub use bindings::wasmgate::extension::request::{CallInfo, Edit, Estimate, Note, Target};
pub use host::{Answer, Incoming, Request};
pub use hub::{ChatAnswer, ChatError, ChatRequest, ErrorClass, StreamEvent};

/// Everything that an extension usually names.
pub mod prelude {
    pub use crate::fake::{FakeHost, FakeIncoming, FakeRequest};
    pub use crate::{
        Accepted, Answer, AttemptInfo, BatchEdit, CallInfo, Candidate, ChatAnswer, ChatError, ChatRequest, Decision, Dialect, Edit,
        EncodeOptions, Ending, ErrorClass, Extension, Filter, GenerateHead, Handover, Header, Incoming, Judge, Note, OperationHead,
        OperationRoute, Operations, Outcome, Placed, Reaction, Reply, Request, Route, RouteKind, Score, StreamEvent, StreamFilter, Target,
        Verdict,
    };
}

/// An extension. Every method but `configure` has a body that does nothing; implement what you name in [`export!`].
///
/// The host makes instances as it needs them and may use any of them for any call, so fields must follow from the configuration
/// alone; what must outlast a call goes to [`kv`].
pub trait Extension: Sized + 'static {
    /// The extension's settings, as `extension.toml` describes them.
    type Config: serde::de::DeserializeOwned;

    /// Called once per instance, before anything else. The error is for the operator: name the field and the fix.
    fn configure(config: Self::Config) -> Result<Self, String>;

    /// The paths that the extension wants to answer.
    fn routes(&self) -> Vec<Route> {
        Vec::new()
    }

    /// Called once when a version is about to take traffic. An error refuses it.
    fn self_test(&self) -> Result<(), String> {
        Ok(())
    }

    /// Called once when the extension goes.
    fn shutdown(&self) {}

    /// Runs before a request is sent. Export as `before_generate`.
    fn before_generate(&self, _call: &CallInfo, _request: &Request) -> Decision {
        Decision::Continue
    }

    /// Runs on a complete answer. Export as `after_generate`.
    fn after_generate(&self, _call: &CallInfo, _request: &Request, _answer: &Answer) -> Verdict {
        Verdict::Keep
    }

    /// A target was chosen and nothing was sent yet. Export as `provider_events`.
    fn on_provider_selected(&self, _call: &CallInfo, _request: &Request, _attempt: &AttemptInfo) -> Reaction {
        Reaction::Keep
    }

    /// A try failed and nothing of an answer has reached the caller yet. Export as `provider_events`.
    fn on_provider_error(&self, _call: &CallInfo, _request: &Request, _attempt: &AttemptInfo, _error: &ChatError) -> Reaction {
        Reaction::Keep
    }

    /// Runs exactly once when a request is over, right before [`Extension::on_complete`], with all of its tries. Export as `attempts`.
    fn on_attempts(&self, _call: &CallInfo, _request: &Request, _tries: &[Tried]) {}

    /// Runs exactly once when a request is over. Export as `on_complete`.
    fn on_complete(&self, _call: &CallInfo, _request: &Request, _outcome: &Outcome) {}
}

/// A client's format. Export as `dialect`.
pub trait Dialect: Extension {
    /// Writes a stream.
    type Encoder: Encoder;

    /// Reads the head of a request.
    fn accept(&self, incoming: &Incoming) -> Result<Accepted, ChatError>;

    /// Reads a body whole. `format` is what `accept` said of it; of an operation ([`Operations`]) it is `FAMILY-OPERATION`, and what comes
    /// back is what hooks may read of the call.
    fn decode(&self, format: &str, body: &[u8]) -> Result<ChatRequest, ChatError>;

    /// Writes a complete answer, in the format that the options name.
    fn encode_answer(&self, options: EncodeOptions, answer: ChatAnswer) -> Vec<u8>;

    /// Writes an error that comes before the first byte of an answer.
    fn encode_error(&self, error: &ChatError) -> Reply;

    /// A stream begins, in the format that the options name.
    fn encoder(&self, options: EncodeOptions) -> Self::Encoder;
}

/// Calls of a client's API that hold no conversation (embeddings, images, files, …): they go as they are to a provider that speaks the same
/// API. Export as `operations`, beside `dialect`.
pub trait Operations: Dialect {
    /// The paths where they arrive.
    fn operation_routes(&self) -> Vec<OperationRoute>;

    /// Reads the head of a call.
    fn accept_operation(&self, incoming: &Incoming) -> Result<OperationHead, ChatError>;

    /// Answers in the place of a provider that does not speak the API. `None` when there is no other answer.
    fn answer_operation(&self, _operation: &str, _incoming: &Incoming) -> Result<Option<Reply>, ChatError> {
        Ok(None)
    }
}

/// Writes a stream. It keeps its own state.
pub trait Encoder: 'static {
    /// Bytes for a batch of events.
    fn events(&mut self, events: &[StreamEvent]) -> Vec<u8>;

    /// Bytes for the end: a clean one, or the dialect's error event.
    fn finish(&mut self, error: Option<&ChatError>) -> Vec<u8>;
}

/// Sees every event of an answer, streamed or complete. Export as `stream_filter`.
pub trait StreamFilter: Extension {
    /// What looks at one answer.
    type Filter: Filter;

    /// An answer begins. `None` lets it pass unseen, which costs nothing more.
    fn open(&self, call: &CallInfo, request: &Request) -> Option<Self::Filter>;
}

/// Looks at one answer. It keeps its own state.
pub trait Filter: 'static {
    /// A batch of events; no edit lets it pass as it is. `last` says that nothing follows.
    fn events(&mut self, events: &[StreamEvent], last: bool) -> Vec<BatchEdit>;
}

/// Compares answers to one request. Export as `judge`.
pub trait Judge: Extension {
    /// One score for each candidate, in their order.
    fn judge(&self, call: &CallInfo, request: &Request, candidates: &[Candidate]) -> Result<Vec<Score>, ChatError>;
}

/// Hands something over to the next version of the extension. Export as `handover`. State that must not be lost belongs to [`kv`], which
/// stays as it is; this is for what an instance would have to learn again.
pub trait Handover: Extension {
    /// What this instance leaves, if anything. One instance is asked when another version takes over.
    fn save(&self) -> Option<Vec<u8>>;

    /// Takes what the version before left, on every instance, after `configure`. An error refuses this version.
    fn load(&self, from_version: &str, saved: &[u8]) -> Result<(), String>;
}

/// Answers whole HTTP requests, through the standard `wasi:http/incoming-handler`. Export as `http`.
pub trait Http: Extension {
    /// Answers a request.
    fn handle(&self, request: HttpRequest) -> Reply;
}

/// Answers HTTP requests piece by piece, for event streams. Export as `http_stream`, in the place of `http`.
///
/// A client that leaves ends the call at once: nothing after the current call of the host is run.
pub trait HttpStream: Extension {
    /// Answers a request.
    fn answer(&self, request: HttpRequest, out: &mut dyn Outgoing);
}

/// An answer that is being written.
pub trait Outgoing {
    /// Sends status and header fields. Once, before anything is written.
    fn head(&mut self, status: u16, headers: &[Header]);

    /// Sends a piece of the body at once. False when nobody reads any more.
    fn write(&mut self, bytes: &[u8]) -> bool;

    /// Begins a stream of server-sent events, with more header fields if there are any.
    fn begin_events(&mut self, more: &[Header]) {
        // The last one tells nginx to pass events on as they come.
        let fields = [("content-type", "text/event-stream"), ("cache-control", "no-cache"), ("x-accel-buffering", "no")];
        let fields = fields.map(|(name, value)| Header { name: name.into(), value: value.into() });
        self.head(200, &[&fields[..], more].concat());
    }

    /// Sends a whole answer.
    fn reply(&mut self, reply: &Reply) {
        self.head(reply.status, &reply.headers);
        self.write(&reply.body);
    }
}

/// A whole HTTP request.
#[derive(Debug, Clone, Default)]
pub struct HttpRequest {
    /// `GET`, `POST`, …
    pub method: String,
    /// The path, without the query.
    pub path: String,
    /// The query, without the question mark.
    pub query: Option<String>,
    /// Header fields, names in lower case.
    pub headers: Vec<(String, Vec<u8>)>,
    /// Content.
    pub body: Vec<u8>,
}

impl Route {
    /// A path of this extension's [`Dialect`]. `method` is for example `POST`.
    pub fn dialect(method: &str, path: impl Into<String>) -> Self {
        Self { method: Some(method.into()), path: path.into(), kind: RouteKind::Dialect }
    }

    /// A path of this extension's [`Http`] handler.
    pub fn http(method: &str, path: impl Into<String>) -> Self {
        Self { method: Some(method.into()), path: path.into(), kind: RouteKind::Http }
    }
}

impl OperationRoute {
    /// A path of this extension's [`Operations`]. `method` is for example `POST`.
    pub fn new(method: &str, path: impl Into<String>) -> Self {
        Self { method: Some(method.into()), path: path.into() }
    }
}

impl Reply {
    /// A JSON document.
    pub fn json(status: u16, body: Vec<u8>) -> Self {
        Self { status, headers: vec![Header { name: "content-type".into(), value: "application/json".into() }], body }
    }
}

impl Default for generate::GenerateOptions {
    /// Where and how long is left to the gateway.
    fn default() -> Self {
        Self { provider: None, timeout_ms: None, notes: Vec::new() }
    }
}

impl Request {
    /// What this or another extension noted, as JSON.
    pub fn note<T: serde::de::DeserializeOwned>(&self, key: &str) -> Option<T> {
        serde_json::from_str(&self.metadata(key)?).ok()
    }

    /// The conversation with tools and parameters. Costs a copy of all of it.
    pub fn conversation(&self, call: &CallInfo) -> Result<ChatRequest, ChatError> {
        let mut messages = Vec::new();
        while let Some(message) = self.message(messages.len() as u32)? {
            messages.push(message);
        }
        Ok(ChatRequest {
            format: call.format.clone(),
            model: call.model.clone(),
            messages,
            tools: self.tools()?,
            tool_choice: None,
            params: self.params()?,
            stream: call.stream,
            include_usage: false,
            extras: Vec::new(),
        })
    }
}

/// The documentation's examples are compiled.
#[cfg(doctest)]
mod documentation {
    #[doc = include_str!("../../../../README.md")]
    struct Readme;

    #[doc = include_str!("../../../../docs/extending.md")]
    struct Extending;
}
