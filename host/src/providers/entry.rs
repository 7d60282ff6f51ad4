//! A provider with everything around it: how a request is sent, with whom it waits, what is tried again, and when it is refused here.
//!
//! The order is: breaker (nobody waits for what will be refused), place, then tries; each try with as many keys as it takes
//! (`transport.rs`). Nothing is tried again once an event of an answer is there. Dropping the future or the stream frees the place and
//! closes the upstream's connection.

use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::task::{Poll, ready};
use std::time::{Duration, SystemTime};

use bytes::{Bytes, BytesMut};
use futures_util::{StreamExt as _, stream};
use llm_codec::hub::{ChatError, ChatRequest, ContentShape, ErrorClass, Message, Params, Part, PartKind, Role, StreamEvent};
use llm_codec::json::Document;
use llm_codec::{EncodeOptions, Format};
use serde_json::{Value, json};
use tokio::time::Instant;
use tokio_util::task::AbortOnDropHandle;

use super::breaker::{Breakers, State, is_providers_fault};
use super::health::Health;
use super::queue::{Place, Queue, Refused};
use super::retry::{self, Budget};
use super::transport::KEYS_REST;
use super::{ByteStream, Forward, Forwarded, Outgoing, Provider, Upstream, upkeep};
use crate::config::{OnUnsupported, ProviderConfig};

/// Most that is held back of a stream until its first event is found. Comments before it are a few bytes.
const MAX_PRELUDE: usize = 64 << 10;

/// Longest answer that may be an error under a status of success.
const MAX_ERROR: usize = 64 << 10;

/// Code of errors that say that a provider is left alone for a while.
const COOLING: &str = "provider_cooling_down";

/// Tokens that a test asks for. Some models refuse fewer.
const TEST_TOKENS: u64 = 16;

/// A provider with what the configuration says of it.
pub struct Entry {
    /// Its name.
    pub name: String,
    /// Its type.
    pub kind: &'static str,
    /// Model to ask for when nobody says.
    pub default_model: Option<String>,
    /// The models that the configuration lists; empty means that any may be asked for.
    pub models: Vec<String>,
    /// `max_tokens` for formats that require it.
    pub default_max_tokens: u64,
    /// What is done about what its format cannot express.
    pub on_unsupported: OnUnsupported,
    /// The upstream, for what is asked of it. Requests go through [`Entry::send`] and [`Entry::forward`].
    pub provider: Arc<dyn Provider>,
    config: ProviderConfig,
    breakers: Arc<Breakers>,
    queue: Queue,
    budget: Budget,
    health: Health,
    listed: Mutex<Listed>,
    tasks: OnceLock<Vec<AbortOnDropHandle<()>>>,
}

/// The models that the provider told.
#[derive(Default)]
struct Listed {
    models: Vec<String>,
    /// When that was.
    at: Option<SystemTime>,
    /// Why it did not the last time.
    error: Option<String>,
}

/// Why a provider had better be passed over now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Why {
    /// It failed too often.
    Failures,
    /// All its keys rest.
    Keys,
    /// As many requests run as may.
    Full,
    /// It did not answer its last probe.
    Probe,
}

/// A provider that had better be passed over for a while.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cooldown {
    /// Why.
    pub why: Why,
    /// About how long.
    pub wait: Duration,
}

/// What a test found.
#[derive(Debug)]
pub struct Tested {
    /// The model that was asked, when one was.
    pub model: Option<String>,
    /// How many models it lists, when it was asked for them.
    pub models: Option<usize>,
    /// How long it took.
    pub took: Duration,
}

impl Entry {
    /// A provider, and what is to be done for it in the background.
    pub(super) fn start(name: &str, kind: &'static str, provider: Arc<dyn Provider>, config: &ProviderConfig) -> Arc<Self> {
        let mut models = config.models.clone();
        if models.is_empty() && kind == "echo" {
            models = vec![config.default_model.clone().unwrap_or_else(|| "echo".into())];
        }
        let entry = Arc::new(Self {
            name: name.to_owned(),
            kind,
            default_model: config.default_model.clone(),
            models,
            default_max_tokens: config.default_max_tokens,
            on_unsupported: config.on_unsupported,
            provider,
            config: config.clone(),
            breakers: Arc::new(Breakers::new(config.breaker.clone())),
            queue: Queue::new(config),
            budget: Budget::new(config.retry.budget),
            health: Health::default(),
            listed: Mutex::default(),
            tasks: OnceLock::new(),
        });
        let _ = entry.tasks.set(upkeep::start(&entry));
        entry
    }

    /// Its settings.
    pub fn config(&self) -> &ProviderConfig {
        &self.config
    }

    /// How it is.
    pub fn health(&self) -> &Health {
        &self.health
    }

    /// Requests that run, and those that wait.
    pub fn counts(&self) -> (usize, usize) {
        self.queue.counts()
    }

    /// Whether a model may be asked for.
    pub fn offers(&self, model: &str) -> bool {
        self.models.is_empty() || self.models.iter().any(|m| m == model)
    }

    /// The models that are shown: those of the configuration, or what the provider last told.
    pub fn listed_models(&self) -> Vec<String> {
        if self.models.is_empty() { self.listed().models.clone() } else { self.models.clone() }
    }

    /// Whether a request for a model would be sent at once, as far as anybody can know. It changes nothing and takes nobody's turn.
    pub fn available(&self, model: &str) -> Result<(), Cooldown> {
        let now = Instant::now();
        self.breakers.check(model, now).map_err(|wait| Cooldown { why: Why::Failures, wait })?;
        if let Some(credentials) = self.provider.credentials() {
            credentials.available(model, now).map_err(|r| Cooldown { why: Why::Keys, wait: r.wait })?;
        }
        if self.queue.is_full() {
            return Err(Cooldown { why: Why::Full, wait: Duration::from_secs(1) });
        }
        match self.health.probe() {
            Some(probe) if probe.error.is_some() => Err(Cooldown { why: Why::Probe, wait: self.config.probe_interval }),
            _ => Ok(()),
        }
    }

    /// Sends a request, and waits for a complete answer or the first event of a stream. Dropping the future or the stream cancels it
    /// upstream.
    pub async fn send(&self, outgoing: Outgoing) -> Result<Upstream, ChatError> {
        let deadline = self.deadline();
        self.by(deadline, self.send_by(outgoing, deadline)).await
    }

    async fn send_by(&self, outgoing: Outgoing, deadline: Option<Instant>) -> Result<Upstream, ChatError> {
        let place = self.enter(&outgoing.model).await?;
        let upstream = self.tries(&outgoing.model, false, deadline, || self.first(outgoing.clone())).await?;
        Ok(match upstream {
            Upstream::Events(events) => Upstream::Events(self.held(events, place, deadline)),
            answer => answer,
        })
    }

    /// Forwards a call of an operation, and waits for the head of the answer. Dropping the future or the body cancels it upstream.
    pub async fn forward(&self, call: Forward) -> Result<Forwarded, ChatError> {
        let deadline = self.deadline();
        self.by(deadline, async {
            let place = self.enter(&call.model).await?;
            // Batches and files are made by a request; two of them are two.
            let changes = !matches!(call.method, http::Method::GET | http::Method::HEAD);
            let mut answer = self.tries(&call.model, changes, deadline, || self.provider.forward(call.clone())).await?;
            answer.body = self.held(answer.body, place, deadline);
            Ok(answer)
        })
        .await
    }

    /// A place for a request, unless it would be refused anyway.
    async fn enter(&self, model: &str) -> Result<Place, ChatError> {
        if let Err(wait) = self.breakers.check(model, Instant::now()) {
            return Err(self.cooling(wait));
        }
        self.queue.enter().await.map_err(|refused| {
            self.health.refused();
            let what = match refused {
                Refused::Full => "has as many requests as it may have, and as many wait as may wait",
                Refused::Late => "had no place for the request in time",
            };
            // The nearest that there is to knowing.
            ChatError { retry_after_ms: Some(1000), ..self.fault(ErrorClass::Overloaded, what) }
        })
    }

    /// Tries until something is answered, or trying again makes no sense.
    async fn tries<T, F>(&self, model: &str, changes: bool, deadline: Option<Instant>, mut once: impl FnMut() -> F) -> Result<T, ChatError>
    where
        F: Future<Output = Result<T, ChatError>>,
    {
        self.budget.earn();
        let mut retries = 0;
        let mut last: Option<ChatError> = None;
        loop {
            let pass = match self.breakers.admit(model, Instant::now()) {
                Ok(pass) => pass,
                Err(wait) => return Err(last.unwrap_or_else(|| self.cooling(wait))),
            };
            let began = Instant::now();
            let error = match once().await {
                Ok(answer) => {
                    let now = Instant::now();
                    pass.answered(now);
                    self.health.answered(model, now - began, now);
                    return Ok(answer);
                }
                Err(error) => error,
            };
            let now = Instant::now();
            if error.code.as_deref() == Some(KEYS_REST) {
                self.health.refused();
                return Err(error);
            }
            if is_providers_fault(&error) {
                pass.failed(now);
            } else {
                pass.answered(now);
            }
            self.health.failed(model, &error, now);
            let Some(wait) = self.retry(&error, retries, changes, deadline) else { return Err(error) };
            tracing::debug!(
                provider = self.name,
                model,
                error = error.message,
                wait_ms = wait.as_millis() as u64,
                "the request is sent again"
            );
            self.health.retried();
            retries += 1;
            last = Some(error);
            tokio::time::sleep(wait).await;
        }
    }

    /// How long to wait for another try, if there is one.
    fn retry(&self, error: &ChatError, before: u32, changes: bool, deadline: Option<Instant>) -> Option<Duration> {
        if before >= self.config.max_retries || !retry::is_worth_it(error, changes) {
            return None;
        }
        let wait = retry::wait(&self.config.retry, before, error.retry_after_ms, fastrand::f64())?;
        let in_time = deadline.is_none_or(|at| Instant::now() + wait < at);
        (in_time && self.budget.spend()).then_some(wait)
    }

    /// One try, to the first event of a stream. What is an error under a status of success is an error here.
    async fn first(&self, outgoing: Outgoing) -> Result<Upstream, ChatError> {
        let began = Instant::now();
        let format = outgoing.format;
        match self.provider.send(outgoing).await? {
            Upstream::Answer(body) => match error_in_answer(format, &body) {
                Some(error) => Err(self.provider.tellable(error)),
                None => Ok(Upstream::Answer(body)),
            },
            Upstream::Events(events) => {
                let limit = self.config.first_event_timeout;
                if limit.is_zero() {
                    return self.first_event(events, format).await;
                }
                let late = || self.fault(ErrorClass::Timeout, "did not begin its stream in time");
                tokio::time::timeout_at(began + limit, self.first_event(events, format)).await.unwrap_or_else(|_| Err(late()))
            }
        }
    }

    async fn first_event(&self, events: ByteStream, format: Format) -> Result<Upstream, ChatError> {
        // It is read once more after its end.
        let mut events = events.fuse();
        let mut held = BytesMut::new();
        while !has_event(&held) && held.len() < MAX_PRELUDE {
            match events.next().await {
                Some(chunk) => held.extend_from_slice(&chunk?),
                None => break,
            }
        }
        if let Some(error) = error_in_stream(format, &held) {
            return Err(self.provider.tellable(error));
        }
        let first = (!held.is_empty()).then(|| Ok(held.freeze()));
        Ok(Upstream::Events(Box::pin(stream::iter(first).chain(events))))
    }

    /// A stream that keeps its place until it ends, and ends when its time is up.
    fn held(&self, mut events: ByteStream, place: Place, deadline: Option<Instant>) -> ByteStream {
        // Gone when the stream is over.
        let mut place = Some(place);
        let mut late = deadline.map(|at| (Box::pin(tokio::time::sleep_until(at)), self.late()));
        Box::pin(stream::poll_fn(move |context| {
            if place.is_none() {
                return Poll::Ready(None);
            }
            // First of all: a stream that always has something to say would never let it be seen.
            if let Some((at, error)) = &mut late
                && at.as_mut().poll(context).is_ready()
            {
                place = None;
                return Poll::Ready(Some(Err(error.clone())));
            }
            let next = ready!(events.as_mut().poll_next(context));
            if !matches!(next, Some(Ok(_))) {
                place = None;
            }
            Poll::Ready(next)
        }))
    }

    fn deadline(&self) -> Option<Instant> {
        (!self.config.timeout.is_zero()).then(|| Instant::now() + self.config.timeout)
    }

    async fn by<T>(&self, deadline: Option<Instant>, work: impl Future<Output = Result<T, ChatError>>) -> Result<T, ChatError> {
        match deadline {
            None => work.await,
            Some(at) => tokio::time::timeout_at(at, work).await.unwrap_or_else(|_| Err(self.late())),
        }
    }

    fn late(&self) -> ChatError {
        self.fault(ErrorClass::Timeout, "did not finish its answer in the time that a request may take")
    }

    fn cooling(&self, wait: Duration) -> ChatError {
        self.health.refused();
        let error = self.fault(ErrorClass::Overloaded, "failed too often and is left alone for a while");
        ChatError { code: Some(COOLING.into()), retry_after_ms: Some(wait.as_millis().max(1) as u64), ..error }
    }

    fn fault(&self, class: ErrorClass, what: &str) -> ChatError {
        ChatError::new(class, format!("The provider `{}` {what}.", self.name))
    }

    /// An answer that had begun failed.
    pub(super) fn broke(&self, model: &str, error: &ChatError) {
        if is_providers_fault(error) {
            let now = Instant::now();
            self.health.broke(model, error, now);
            self.breakers.tell(model, true, now);
        }
    }

    /// An answer is complete.
    pub(super) fn wrote(&self, model: &str, tokens: u64, time: Duration) {
        self.health.wrote(model, tokens, time, Instant::now());
    }

    /// Reads the list of models anew; how many there are.
    pub async fn refresh_models(&self) -> Result<usize, ChatError> {
        let result = self.provider.list_models().await;
        let mut listed = self.listed();
        match result {
            Ok(models) => {
                let count = models.len();
                *listed = Listed { models, at: Some(SystemTime::now()), error: None };
                Ok(count)
            }
            Err(error) => {
                listed.error = Some(error.message.clone());
                Err(error)
            }
        }
    }

    /// Whether it answers, past queue and breaker. With a model it is asked for a few words; without one, for its list of models, which
    /// costs nothing and needs the key too. A provider without a list is asked for a few words of the model that is configured.
    pub async fn test(&self, model: Option<&str>) -> Result<Tested, ChatError> {
        let began = Instant::now();
        let configured = self.default_model.as_deref().or(self.models.first().map(String::as_str));
        let model = match model {
            None if self.provider.lists_models() => {
                let models = Some(self.refresh_models().await?);
                return Ok(Tested { model: None, models, took: began.elapsed() });
            }
            model => model.or(configured),
        };
        let Some(model) = model else {
            let message = format!("The provider `{}` has no list of models, and none is configured; name one.", self.name);
            return Err(ChatError { param: Some("model".into()), ..ChatError::new(ErrorClass::InvalidRequest, message) });
        };
        let format = self.provider.format();
        let options = EncodeOptions { default_max_tokens: TEST_TOKENS };
        let body = format.encode_request(&test_request(format, model), &options).body;
        let outgoing = Outgoing { format, model: model.to_owned(), body: body.into(), stream: false, headers: Vec::new(), written: None };
        let Upstream::Answer(body) = self.provider.send(outgoing).await? else {
            return Err(self.fault(ErrorClass::Protocol, "answered with a stream that nobody asked for"));
        };
        format.decode_answer(&body).map_err(|e| self.provider.tellable(e))?;
        Ok(Tested { model: Some(model.to_owned()), models: None, took: began.elapsed() })
    }

    /// In one word: `ok`, `degraded` (some of it is left alone), or `down`.
    pub fn state(&self) -> &'static str {
        let now = Instant::now();
        let down = self.health.probe().is_some_and(|p| p.error.is_some())
            || self.provider.credentials().is_some_and(|c| c.available("", now).is_err());
        let some = || !self.breakers.open(now).is_empty() || self.provider.credentials().is_some_and(|c| c.counts(now).iter().any(|k| k.3));
        if down {
            "down"
        } else if some() {
            "degraded"
        } else {
            "ok"
        }
    }

    /// How it is, for operators.
    pub fn health_json(&self) -> Value {
        let now = Instant::now();
        let (running, waiting) = self.counts();
        let (retries, refused) = self.health.counts();
        let open = self.breakers.open(now).into_iter().map(|(model, state)| match state {
            State::Open(until) => json!({"model": model, "state": "open", "rests_s": until.saturating_duration_since(now).as_secs_f64()}),
            State::Trying | State::Closed => json!({"model": model, "state": "half-open"}),
        });
        let models: serde_json::Map<String, Value> = self.health.models(now).into_iter().map(|(m, f)| (m, f.to_json())).collect();
        json!({
            "name": self.name,
            "state": self.state(),
            "in_flight": running,
            "queued": waiting,
            "retries": retries,
            "refused": refused,
            "keys": self.provider.credentials().map(|c| c.shown(now)),
            "breakers": open.collect::<Vec<_>>(),
            "probe": self.health.probe().map(|p| p.to_json()),
            "models": models,
        })
    }

    /// Models that are left alone.
    pub fn open_breakers(&self) -> usize {
        self.breakers.open(Instant::now()).len()
    }

    /// The list of models, for operators.
    pub fn models_json(&self) -> Value {
        let listed = self.listed();
        let at = listed.at.and_then(|at| at.duration_since(SystemTime::UNIX_EPOCH).ok());
        json!({
            "source": if !self.models.is_empty() { "configuration" } else if at.is_some() { "provider" } else { "none" },
            "names": if self.models.is_empty() { &listed.models } else { &self.models },
            "read_at_ms": at.map(|d| d.as_millis() as u64),
            "error": listed.error,
        })
    }

    fn listed(&self) -> std::sync::MutexGuard<'_, Listed> {
        self.listed.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Tested {
    /// For operators.
    pub fn to_json(&self) -> Value {
        json!({
            "asked_for": if self.model.is_some() { "answer" } else { "models" },
            "model": self.model,
            "models": self.models,
            "took_ms": self.took.as_secs_f64() * 1e3,
        })
    }
}

/// The smallest conversation that there is.
fn test_request(format: Format, model: &str) -> ChatRequest {
    let part = Part { kind: PartKind::Text("Say hello.".into()), cache_control: None, extras: Vec::new() };
    let message = Message { role: Role::User, parts: vec![part], shape: ContentShape::Text, name: None, extras: Vec::new() };
    ChatRequest {
        format: format.as_str().into(),
        model: model.to_owned(),
        messages: vec![message],
        tools: Vec::new(),
        tool_choice: None,
        params: Params { max_tokens: Some(TEST_TOKENS), ..Params::default() },
        stream: false,
        include_usage: false,
        extras: Vec::new(),
    }
}

/// Whether an event has begun: comments and keep-alives are none.
fn has_event(bytes: &[u8]) -> bool {
    // Gemini's streams may be one growing array.
    let array = bytes.trim_ascii_start().first().is_some_and(|b| matches!(b, b'[' | b'{'));
    array
        || bytes.starts_with(b"data:")
        || memchr::memmem::find(bytes, b"\ndata:").is_some()
        || memchr::memmem::find(bytes, b"\rdata:").is_some()
}

/// The error that a stream begins with in the place of an answer.
fn error_in_stream(format: Format, bytes: &[u8]) -> Option<ChatError> {
    memchr::memmem::find(bytes, b"\"error\"")?;
    let mut events = Vec::new();
    format.event_decoder().push(bytes, &mut events);
    let first = events.into_iter().find(|e| !matches!(e, StreamEvent::Start(_) | StreamEvent::Ping | StreamEvent::Usage(_)));
    match first {
        Some(StreamEvent::Error(error)) => Some(error),
        _ => None,
    }
}

/// The error that a document holds under a status of success.
fn error_in_answer(format: Format, body: &Bytes) -> Option<ChatError> {
    if body.len() > MAX_ERROR || memchr::memmem::find(body, b"\"error\"").is_none() {
        return None;
    }
    let document = Document::parse(body).ok()?;
    document.get("error").filter(|e| *e != "null")?;
    format.decode_answer(body).err()
}

#[cfg(test)]
mod tests;
