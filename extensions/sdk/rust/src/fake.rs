//! A host for tests: an extension's logic runs natively against it.

pub mod records;
mod sent;

use std::cell::RefCell;
use std::collections::{BTreeMap, VecDeque};

use llm_codec::hub::{self, ChatAnswer, ChatError, ChatRequest, FinishReason, Message, Params, StreamEvent, Tool, Usage};

use crate::bindings::wasi::logging::logging::Level;
use crate::bindings::wasmgate::extension::generate::{Generated, News, Score, Settled};
use crate::bindings::wasmgate::extension::http::{Header, JsonKind, Member, Reply};
use crate::bindings::wasmgate::extension::providers::ProviderInfo;
use crate::bindings::wasmgate::extension::records::Row;
use crate::bindings::wasmgate::extension::request::{CallInfo, Estimate, Note, Target};
use crate::host::outbound;

pub use sent::Sent;

thread_local! {
    static HOST: RefCell<FakeHost> = RefCell::default();
}

/// Runs on this thread's host.
pub(crate) fn with_host<T>(run: impl FnOnce(&mut FakeHost) -> T) -> T {
    HOST.with(|h| run(&mut h.borrow_mut()))
}

/// What the host of this thread holds. Tests run in threads of their own, so none sees another's.
#[derive(Debug, Clone, Default)]
pub struct FakeHost {
    /// Settings by name.
    pub settings: BTreeMap<String, String>,
    /// Values by bucket and key.
    pub kv: BTreeMap<(String, String), Vec<u8>>,
    /// The store could not be read yet: what was not put into `kv` is not known.
    pub kv_unread: bool,
    /// What was taken of each limited key.
    pub taken: BTreeMap<String, u64>,
    /// Reservations, in order: key and amount.
    pub reservations: Vec<(String, u64)>,
    /// Providers.
    pub providers: Vec<ProviderInfo>,
    /// Rows by table, as they were appended.
    pub records: BTreeMap<String, Vec<Row>>,
    /// Secrets by name.
    pub secrets: BTreeMap<String, String>,
    /// Series as `name{label=value}`: sums of counters and histograms, values of gauges.
    pub metrics: BTreeMap<String, f64>,
    /// What requests of the extension's own are answered with, in order.
    pub answers: VecDeque<Result<ChatAnswer, ChatError>>,
    /// Those requests.
    pub asked: Vec<Asked>,
    /// What the judge gives when it is asked for as many scores.
    pub scores: Vec<Score>,
    /// What paths of other extensions are answered with, by `METHOD /path`.
    pub routes: BTreeMap<String, Reply>,
    /// Those that were asked, with their bodies.
    pub routes_asked: Vec<(String, Vec<u8>)>,
    /// What outbound requests are answered with, in order.
    pub responses: VecDeque<Result<outbound::Response, String>>,
    /// Those requests.
    pub sent: Vec<outbound::Request>,
    /// Fields that hooks added to responses.
    pub response_headers: Vec<(String, String)>,
    /// What hooks noted through the handle.
    pub notes: Vec<(String, String)>,
    /// Lines that were logged.
    pub log: Vec<LogLine>,
    /// The time, as Unix milliseconds.
    pub unix_ms: u64,
    /// State of the random numbers.
    pub random: u64,
}

/// A request that the extension made itself.
#[derive(Debug, Clone)]
pub struct Asked {
    /// What was asked.
    pub request: ChatRequest,
    /// Whom.
    pub provider: Option<String>,
}

/// A line that was logged.
#[derive(Debug, Clone)]
pub struct LogLine {
    /// How much it matters.
    pub level: Level,
    /// Who speaks.
    pub context: String,
    /// What was said.
    pub message: String,
}

impl FakeHost {
    /// Adds a provider.
    pub fn provider(mut self, name: &str, kind: &str, models: &[&str]) -> Self {
        self.providers.push(ProviderInfo {
            name: name.into(),
            kind: kind.into(),
            format: "openai-chat".into(),
            default_model: None,
            models: models.iter().map(|m| (*m).into()).collect(),
        });
        self
    }

    /// Adds an answer for a request of the extension's own: this text.
    pub fn answer(mut self, text: &str) -> Self {
        let body = serde_json::json!({"id": "fake", "object": "chat.completion", "model": "fake", "choices": [
            {"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": "stop"}]});
        self.answers.push_back(llm_codec::Format::OpenaiChat.decode_answer(body.to_string().as_bytes()));
        self
    }

    /// Makes this the host of the thread.
    pub fn install(self) {
        with_host(|h| *h = self);
    }

    /// What the thread's host holds now.
    pub fn current() -> Self {
        with_host(|h| h.clone())
    }
}

/// A request for tests.
#[derive(Debug, Clone)]
pub struct FakeRequest {
    /// The conversation, tools and parameters.
    pub chat: ChatRequest,
    /// Header fields.
    pub headers: BTreeMap<String, String>,
    /// What was noted.
    pub notes: BTreeMap<String, String>,
    /// The path.
    pub path: String,
    /// The query.
    pub query: Option<String>,
    /// The body, where what is not in the conversation is looked for.
    pub body: serde_json::Value,
    /// What earlier hooks chose.
    pub provider: Option<String>,
}

impl FakeRequest {
    /// A request for a model, with one user message.
    pub fn new(model: &str) -> Self {
        let body = serde_json::json!({"model": model, "messages": [{"role": "user", "content": "hello"}]});
        let chat = llm_codec::Format::OpenaiChat.decode_request(body.to_string().as_bytes()).expect("it is a valid request");
        Self {
            chat,
            headers: BTreeMap::new(),
            notes: BTreeMap::new(),
            path: "/v1/chat/completions".into(),
            query: None,
            body,
            provider: None,
        }
    }

    /// The scalars that hooks are given.
    pub fn call(&self) -> CallInfo {
        CallInfo {
            request_id: "test".into(),
            requested_model: self.chat.model.clone(),
            model: self.chat.model.clone(),
            provider: self.provider.clone(),
            stream: self.chat.stream,
            format: self.chat.format.clone(),
            depth: 0,
        }
    }

    /// The handle that hooks are given.
    #[cfg(not(target_arch = "wasm32"))]
    pub fn handle(&self) -> Request {
        Request(self.clone(), RefCell::default())
    }
}

/// Stands for the host's request, with what was noted by this handle.
#[derive(Debug, Clone)]
pub struct Request(FakeRequest, RefCell<BTreeMap<String, String>>);

impl Request {
    /// A header field of the caller.
    pub fn header(&self, name: &str) -> Option<String> {
        self.0.headers.get(name).cloned()
    }

    /// The caller's path.
    pub fn path(&self) -> String {
        self.0.path.clone()
    }

    /// The caller's query.
    pub fn query(&self) -> Option<String> {
        self.0.query.clone()
    }

    /// A value of the body.
    pub fn body_value(&self, pointer: &str) -> Option<String> {
        self.0.body.pointer(pointer).map(ToString::to_string)
    }

    /// The conversation with all that belongs to it.
    pub fn whole(&self) -> Result<ChatRequest, ChatError> {
        Ok(self.0.chat.clone())
    }

    /// Adds a field to the response; [`FakeHost::response_headers`] has it.
    pub fn response_header(&self, field: &Header) {
        with_host(|h| h.response_headers.push((field.name.clone(), field.value.clone())));
    }

    /// Notes a value; [`FakeHost::notes`] has it, and so has [`Self::metadata`] from then on.
    pub fn add_note(&self, note: &Note) {
        self.1.borrow_mut().insert(note.key.clone(), note.value.clone());
        with_host(|h| h.notes.push((note.key.clone(), note.value.clone())));
    }

    /// How many messages the conversation has.
    pub fn message_count(&self) -> Result<u32, ChatError> {
        Ok(self.0.chat.messages.len() as u32)
    }

    /// One message.
    pub fn message(&self, index: u32) -> Result<Option<Message>, ChatError> {
        Ok(self.0.chat.messages.get(index as usize).cloned())
    }

    /// The tools.
    pub fn tools(&self) -> Result<Vec<Tool>, ChatError> {
        Ok(self.0.chat.tools.clone())
    }

    /// Sampling and length.
    pub fn params(&self) -> Result<Params, ChatError> {
        Ok(self.0.chat.params.clone())
    }

    /// What the request will take.
    pub fn estimate(&self) -> Result<Estimate, ChatError> {
        let params = &self.0.chat.params;
        let input_tokens = llm_codec::estimate::input_tokens(&self.0.chat);
        Ok(Estimate { input_tokens, max_tokens: params.max_tokens, choices: params.n.unwrap_or(1).max(1) })
    }

    /// What was noted.
    pub fn metadata(&self, key: &str) -> Option<String> {
        self.1.borrow().get(key).or(self.0.notes.get(key)).cloned()
    }
}

/// Stands for the host's answer.
#[derive(Debug, Clone)]
pub struct Answer(pub ChatAnswer);

impl Answer {
    /// Tokens that it took.
    pub fn usage(&self) -> Option<Usage> {
        self.0.usage.clone()
    }

    /// Why the first choice stopped.
    pub fn finish(&self) -> Option<FinishReason> {
        self.0.choices.first().and_then(|c| c.finish.clone())
    }

    /// All text of the first choice.
    pub fn text(&self) -> String {
        self.0.text()
    }

    /// The whole answer.
    pub fn value(&self) -> ChatAnswer {
        self.0.clone()
    }
}

/// Stands for an answer that comes in pieces.
#[derive(Debug)]
pub struct AnswerStream(RefCell<VecDeque<StreamEvent>>);

impl AnswerStream {
    pub(crate) fn of(answer: &ChatAnswer) -> Self {
        Self(RefCell::new(hub::answer_events(answer).into_iter().filter(|e| !matches!(e, StreamEvent::End)).collect()))
    }

    /// The next event; none at the end.
    pub fn next(&self) -> Result<Vec<StreamEvent>, ChatError> {
        Ok(self.0.borrow_mut().pop_front().into_iter().collect())
    }

    /// Who answers.
    pub fn served_by(&self) -> Option<Target> {
        None
    }
}

/// Stands for many answers on their way: the last one is over first, and before each it says once that nothing came yet.
#[derive(Debug)]
pub struct Batch(RefCell<VecDeque<News>>);

impl Batch {
    pub(crate) fn of(outcomes: Vec<Result<Generated, ChatError>>) -> Self {
        let settled = |(number, outcome)| [News::Waiting, News::Settled(Settled { number: number as u32, outcome })];
        Self(RefCell::new(outcomes.into_iter().enumerate().rev().flat_map(settled).collect()))
    }

    /// The next one that is over. Nothing waits here: that none came is only told where a time is given.
    pub fn next(&self, within_ms: Option<u64>) -> News {
        let next = || self.0.borrow_mut().pop_front().unwrap_or(News::Done);
        match next() {
            News::Waiting if within_ms.is_none() => next(),
            news => news,
        }
    }
}

/// Stands for a secret of the configuration.
#[derive(Debug, Clone)]
pub struct Secret(pub(crate) String);

impl Secret {
    /// What stands for it in outbound requests.
    pub fn placeholder(&self) -> String {
        "wasmgate-secret-fake".into()
    }

    /// Whether a text is the secret.
    pub fn matches(&self, text: &str) -> bool {
        self.0 == text
    }

    /// HMAC-SHA256 of data under the secret.
    #[cfg(not(target_arch = "wasm32"))]
    pub fn sign(&self, data: &[u8]) -> Vec<u8> {
        use hmac::{KeyInit as _, Mac as _};
        let mut mac = hmac::Hmac::<sha2::Sha256>::new_from_slice(self.0.as_bytes()).expect("any length will do");
        mac.update(data);
        mac.finalize().into_bytes().to_vec()
    }
}

/// A request as it arrives, for tests of dialects.
#[derive(Debug, Clone, Default)]
pub struct FakeIncoming {
    /// `POST`, …
    pub method: String,
    /// The path.
    pub path: String,
    /// Header fields.
    pub headers: BTreeMap<String, String>,
    /// What `{names}` of the route matched.
    pub path_params: BTreeMap<String, String>,
    /// Content.
    pub body: serde_json::Value,
}

impl FakeIncoming {
    /// A POST of a JSON document.
    pub fn post(path: &str, body: serde_json::Value) -> Self {
        Self { method: "POST".into(), path: path.into(), body, ..Self::default() }
    }

    /// The handle that a dialect is given.
    #[cfg(not(target_arch = "wasm32"))]
    pub fn handle(self) -> Incoming {
        Incoming(self)
    }
}

/// Stands for the host's incoming request.
#[derive(Debug, Clone)]
pub struct Incoming(FakeIncoming);

impl Incoming {
    /// `GET`, `POST`, …
    pub fn method(&self) -> String {
        self.0.method.clone()
    }

    /// The path.
    pub fn path(&self) -> String {
        self.0.path.clone()
    }

    /// The query.
    pub fn query(&self) -> Option<String> {
        None
    }

    /// What a `{name}` of the route matched.
    pub fn path_param(&self, name: &str) -> Option<String> {
        self.0.path_params.get(name).cloned()
    }

    /// A header field.
    pub fn header(&self, name: &str) -> Option<String> {
        self.0.headers.get(name).cloned()
    }

    /// Length of the body.
    pub fn body_length(&self) -> u64 {
        self.body().len() as u64
    }

    /// The members at the top of the body.
    pub fn members(&self) -> Vec<Member> {
        let members = self.0.body.as_object().into_iter().flatten();
        members.map(|(name, value)| Member { name: name.clone(), kind: kind(value) }).collect()
    }

    /// What the value at a pointer is.
    pub fn kind(&self, pointer: &str) -> Option<JsonKind> {
        self.0.body.pointer(pointer).map(kind)
    }

    /// The JSON value at a pointer.
    pub fn pointer(&self, pointer: &str) -> Result<Option<String>, String> {
        Ok(self.0.body.pointer(pointer).map(ToString::to_string))
    }

    /// The string at a pointer.
    pub fn text(&self, pointer: &str) -> Option<String> {
        self.0.body.pointer(pointer)?.as_str().map(str::to_owned)
    }

    /// The boolean at a pointer.
    pub fn flag(&self, pointer: &str) -> Option<bool> {
        self.0.body.pointer(pointer)?.as_bool()
    }

    /// The whole body.
    pub fn body(&self) -> Vec<u8> {
        self.0.body.to_string().into_bytes()
    }
}

fn kind(value: &serde_json::Value) -> JsonKind {
    match value {
        serde_json::Value::Null => JsonKind::Null,
        serde_json::Value::Bool(_) => JsonKind::Boolean,
        serde_json::Value::Number(_) => JsonKind::Number,
        serde_json::Value::String(_) => JsonKind::Text,
        serde_json::Value::Array(_) => JsonKind::Array,
        serde_json::Value::Object(_) => JsonKind::Object,
    }
}
