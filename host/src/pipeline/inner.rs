//! Requests that extensions make themselves, in the name of a caller. They take the same way as the caller's own, from stage 4 on.
//!
//! What bounds them counts for the caller's request as a whole: however extensions call each other, it cannot grow without end.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use futures_util::{Stream, StreamExt as _, stream};
use http::request::Parts;
use llm_codec::hub::{ChatAnswer, ChatError, ChatRequest, ErrorClass, StreamEvent, Usage};

use super::relay::Events;
use super::{Completion, Context, Exchange, Ready, Stop, Trace};
use crate::extensions::bindings::exports::wasmgate::extension::dialect::GenerateHead;
use crate::extensions::bindings::exports::wasmgate::extension::judge::{Candidate, Score};
use crate::extensions::bindings::wasmgate::extension::generate::GenerateOptions;
use crate::extensions::bindings::wasmgate::extension::request::{Edit, Target};
use crate::extensions::limits::Limits;
use crate::extensions::services::Services;

/// How many of `many` are under way at once.
const AT_ONCE: usize = 16;

/// In whose name an extension makes requests.
#[derive(Clone)]
pub enum Caller {
    /// Of whom a hook sees the request.
    Exchange(Arc<Exchange>),
    /// Of whom an HTTP handler serves the request.
    Http(Arc<HttpCaller>),
}

/// The caller of an HTTP handler.
pub struct HttpCaller {
    /// The process and its snapshot.
    pub context: Context,
    /// The request's id.
    pub id: String,
    /// Its head.
    pub head: Parts,
    /// What may still be done for it.
    pub budget: Arc<Budget>,
    /// How deep requests of extensions are nested already.
    pub depth: u32,
    /// Whether it may use the operators' interface.
    pub operator: bool,
}

/// What extensions did for one request of a caller.
#[derive(Debug, Default)]
pub struct Budget {
    calls: AtomicU32,
    tokens: AtomicU64,
}

impl From<&Arc<Exchange>> for Caller {
    fn from(exchange: &Arc<Exchange>) -> Self {
        Self::Exchange(Arc::clone(exchange))
    }
}

impl Caller {
    /// The process and its snapshot.
    pub fn context(&self) -> &Context {
        match self {
            Self::Exchange(exchange) => &exchange.context,
            Self::Http(http) => &http.context,
        }
    }

    /// The caller's own request.
    pub fn head(&self) -> &Parts {
        match self {
            Self::Exchange(exchange) => &exchange.incoming.head,
            Self::Http(http) => &http.head,
        }
    }

    /// How deep the caller is nested already.
    pub fn depth(&self) -> u32 {
        match self {
            Self::Exchange(exchange) => exchange.depth,
            Self::Http(http) => http.depth,
        }
    }

    /// What may still be done for the caller.
    pub fn budget(&self) -> &Arc<Budget> {
        match self {
            Self::Exchange(exchange) => &exchange.budget,
            Self::Http(http) => &http.budget,
        }
    }

    /// The trace of a request in its name.
    pub fn trace(&self) -> Trace {
        let now = Instant::now();
        match self {
            Self::Exchange(exchange) => Trace::of(exchange.trace.span().map(|span| Box::new(span.child(now)))),
            Self::Http(http) => Trace::begin(&http.context.gateway, &http.head, &[], now),
        }
    }

    /// The id of the caller's own request.
    pub fn id(&self) -> &str {
        match self {
            Self::Exchange(exchange) => &exchange.id,
            Self::Http(http) => &http.id,
        }
    }
}

impl Budget {
    /// Takes one call. The number of it, or the limit that forbids it.
    fn take(&self, limits: &Limits) -> Result<u32, &'static str> {
        if self.tokens.load(Ordering::Relaxed) >= limits.generate_tokens {
            return Err("generate_tokens");
        }
        let more = |n: u32| (n < limits.generate_calls).then_some(n + 1);
        self.calls.fetch_update(Ordering::Relaxed, Ordering::Relaxed, more).map(|n| n + 1).map_err(|_| "generate_calls")
    }

    /// A request is over that took these tokens.
    pub fn spend(&self, usage: &Usage) {
        self.tokens.fetch_add(usage.input_tokens.saturating_add(usage.output_tokens), Ordering::Relaxed);
    }
}

/// A complete answer.
pub struct Generated {
    /// The answer.
    pub answer: Arc<ChatAnswer>,
    /// Who gave it; none when a hook did.
    pub served_by: Option<Target>,
    /// Id of the request.
    pub id: String,
    /// How long it took.
    pub took: Duration,
}

/// Who asks.
#[derive(Clone)]
pub struct Asking {
    /// In whose name.
    pub caller: Caller,
    /// The extension that asks, with the limits that bound it.
    pub services: Arc<Services>,
}

impl Asking {
    /// Asks, and waits for the whole answer.
    pub async fn unary(&self, chat: ChatRequest, options: GenerateOptions) -> Result<Generated, ChatError> {
        let patience = self.patience(&options);
        let (exchange, mut completion) = self.begin(chat, options, false).await?;
        let ready = tokio::time::timeout(patience, super::generate(&exchange, &mut completion)).await;
        match ready.unwrap_or_else(|_| Err(Stop::Failed(self.late(patience)))) {
            Ok(ready) => {
                let Ready::Answer(mut answer) = ready else { return Err(ended(completion, unexpected())) };
                let hub = match answer.hub(&exchange) {
                    Ok(hub) => hub,
                    Err(error) => return Err(ended(completion, error)),
                };
                answer.tell(&mut completion);
                let took = exchange.incoming.received.elapsed();
                Ok(Generated { answer: hub, served_by: answer.target().cloned(), id: exchange.id.clone(), took })
            }
            Err(stop) => Err(stopped(completion, stop)),
        }
    }

    /// Asks many at once. One result for each, in their order.
    pub async fn many(&self, jobs: Vec<(ChatRequest, GenerateOptions)>) -> Vec<Result<Generated, ChatError>> {
        stream::iter(jobs).map(|(chat, options)| self.unary(chat, options)).buffered(AT_ONCE).collect().await
    }

    /// Asks many at once. Each with its place in the list, in whichever order they end.
    pub fn each(self, jobs: Vec<(ChatRequest, GenerateOptions)>) -> impl Stream<Item = (usize, Result<Generated, ChatError>)> + Send {
        let ask = move |(number, (chat, options))| {
            let asking = self.clone();
            async move { (number, asking.unary(chat, options).await) }
        };
        stream::iter(jobs).enumerate().map(ask).buffer_unordered(AT_ONCE)
    }

    /// Asks, and gives the answer as it comes.
    pub async fn open(&self, chat: ChatRequest, options: GenerateOptions) -> Result<AnswerStream, ChatError> {
        let patience = self.patience(&options);
        let (exchange, mut completion) = self.begin(chat, options, true).await?;
        let until = Instant::now() + patience;
        let ready = tokio::time::timeout(patience, super::generate(&exchange, &mut completion)).await;
        match ready.unwrap_or_else(|_| Err(Stop::Failed(self.late(patience)))) {
            Ok(Ready::Events(events)) => {
                completion.first_byte(200);
                Ok(AnswerStream {
                    served_by: Some(events.target().clone()),
                    source: Source::Events(events),
                    completion: Some(completion),
                    until,
                })
            }
            // A hook answered, or wanted to see it whole.
            Ok(Ready::Answer(mut answer)) => match answer.hub(&exchange) {
                Ok(hub) => {
                    answer.tell(&mut completion);
                    let mut events = llm_codec::hub::answer_events(&hub);
                    // The end is that nothing follows.
                    events.retain(|event| !matches!(event, StreamEvent::End));
                    let source = Source::Complete(events);
                    Ok(AnswerStream { served_by: answer.target().cloned(), source, completion: None, until })
                }
                Err(error) => Err(ended(completion, error)),
            },
            Ok(Ready::Stream(_) | Ready::Forwarded(_)) => Err(ended(completion, unexpected())),
            Err(stop) => Err(stopped(completion, stop)),
        }
    }

    /// Asks the judge of the gateway what it thinks of answers. Whoever asks knows already what it thinks itself.
    pub async fn judge(&self, chat: ChatRequest, candidates: &[Candidate]) -> Result<Vec<Score>, ChatError> {
        let judges = &self.caller.context().generation.judges;
        let Some(judge) = judges.iter().find(|judge| judge.name() != self.services.name).cloned() else {
            return Err(ChatError::new(ErrorClass::NotFound, "The gateway has no judge: no other loaded extension exports `judge`."));
        };
        let exchange = self.exchange(chat, false)?;
        let bytes = candidates.iter().map(|c| super::answer_size(&c.answer)).sum();
        let scores = judge.judge(&Arc::new(exchange), candidates, bytes).await??;
        let good = scores.len() == candidates.len() && scores.iter().all(|s| (0.0..=1.0).contains(&s.value));
        if good { Ok(scores) } else { Err(ChatError::new(ErrorClass::Internal, "The judge gave no score from 0 to 1 for each answer.")) }
    }

    async fn begin(&self, chat: ChatRequest, options: GenerateOptions, stream: bool) -> Result<(Arc<Exchange>, Completion), ChatError> {
        let exchange = Arc::new(self.exchange(chat, stream)?);
        exchange.apply(options.notes.into_iter().map(Edit::Note).collect()).await?;
        if let Some(provider) = options.provider {
            exchange.redirect(Target { provider, model: exchange.head.model.clone() });
        }
        let completion = Completion::new(Arc::clone(&exchange));
        Ok((exchange, completion))
    }

    /// The number of one more request, if there may be one.
    pub fn number(&self) -> Result<u32, ChatError> {
        if self.caller.depth() >= self.services.limits.generate_depth {
            return Err(self.refuse("generate_depth", format!("Requests of extensions are nested {} deep already.", self.caller.depth())));
        }
        self.caller.budget().take(&self.services.limits).map_err(|limit| {
            self.refuse(limit, "Extensions made as many requests for this one, or took as many tokens, as they may.".into())
        })
    }

    fn exchange(&self, mut chat: ChatRequest, stream: bool) -> Result<Exchange, ChatError> {
        let number = self.number()?;
        chat.stream = stream;
        let head = GenerateHead { format: chat.format.clone(), model: chat.model.clone(), stream, include_usage: true };
        Ok(Exchange::inner(&self.caller, format!("{}.{number}", self.caller.id()), head, chat))
    }

    fn refuse(&self, limit: &'static str, message: String) -> ChatError {
        self.services.stats.refused(limit);
        tracing::warn!(request_id = self.caller.id(), limit, "a request of an extension was refused");
        ChatError { code: Some(limit.into()), ..ChatError::new(ErrorClass::RateLimited, message) }
    }

    fn patience(&self, options: &GenerateOptions) -> Duration {
        options.timeout_ms.map_or(self.services.limits.generate, |ms| Duration::from_millis(ms).min(self.services.limits.generate))
    }

    /// The error of a request that took too long.
    pub fn late(&self, patience: Duration) -> ChatError {
        if patience == self.services.limits.generate {
            self.services.stats.refused("generate_ms");
        }
        ChatError::new(ErrorClass::Timeout, format!("There was no answer within {} ms.", patience.as_millis()))
    }
}

/// The end of a request that failed.
fn ended(mut completion: Completion, error: ChatError) -> ChatError {
    completion.error(&error, Some(error.http_status()));
    error
}

/// The end of a request that got no answer.
fn stopped(mut completion: Completion, stop: Stop) -> ChatError {
    match stop {
        Stop::Failed(error) => ended(completion, error),
        Stop::Rejected(error) => {
            completion.rejected(&error, error.http_status());
            error
        }
    }
}

/// A stream where a complete answer was asked for, or the other way round.
fn unexpected() -> ChatError {
    ChatError::new(ErrorClass::Internal, "The gateway made an answer of the wrong shape.")
}

/// An answer on its way to an extension. Dropping it cancels the request.
pub struct AnswerStream {
    source: Source,
    served_by: Option<Target>,
    completion: Option<Completion>,
    until: Instant,
}

enum Source {
    Events(Box<Events>),
    /// All at once, and then nothing.
    Complete(Vec<StreamEvent>),
    Over,
}

impl AnswerStream {
    /// The next events; none at the end.
    pub async fn next(&mut self) -> Result<Vec<StreamEvent>, ChatError> {
        let (events, completion) = match (&mut self.source, &mut self.completion) {
            (Source::Events(events), Some(completion)) => (events, completion),
            (Source::Complete(all), _) => {
                let all = std::mem::take(all);
                self.over();
                return Ok(all);
            }
            _ => return Ok(Vec::new()),
        };
        let late = || Err(ChatError::new(ErrorClass::Timeout, "The answer did not end in time."));
        match tokio::time::timeout_at(self.until.into(), events.next(completion)).await.unwrap_or_else(|_| late()) {
            Ok(batch) if batch.is_empty() => {
                completion.success();
                self.over();
                Ok(batch)
            }
            Ok(batch) => Ok(batch),
            Err(error) => {
                completion.error(&error, None);
                self.over();
                Err(error)
            }
        }
    }

    /// Who answers.
    pub fn served_by(&self) -> Option<&Target> {
        self.served_by.as_ref()
    }

    fn over(&mut self) {
        self.source = Source::Over;
        self.completion = None;
    }
}
