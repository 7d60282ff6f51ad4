//! Calls of hooks: typed in, typed out, bounded, counted, and recorded where somebody wants that.

use std::sync::Arc;

use llm_codec::hub::{ChatAnswer, ChatError, ChatRequest, ErrorClass, StreamEvent};
use wasmtime::component::ResourceAny;

use super::bindings::exports::wasmgate::extension::after_generate::Verdict;
use super::bindings::exports::wasmgate::extension::attempts::Tried;
use super::bindings::exports::wasmgate::extension::before_generate::Decision;
use super::bindings::exports::wasmgate::extension::dialect::{Accepted, EncodeOptions};
use super::bindings::exports::wasmgate::extension::judge::{Candidate, Score};
use super::bindings::exports::wasmgate::extension::on_complete::Outcome;
use super::bindings::exports::wasmgate::extension::operations::OperationHead;
use super::bindings::exports::wasmgate::extension::provider_events::{AttemptInfo, Reaction};
use super::bindings::exports::wasmgate::extension::stream_filter::BatchEdit;
use super::bindings::wasmgate::extension::http::Reply;
use super::bindings::wasmgate::extension::request::CallInfo;
use super::clock::TookTooLong;
use super::imports::http::IncomingHandle;
use super::imports::request::{AnswerHandle, RequestHandle};
use super::instance::{Extension, Lease};
use super::recording::{Given, Step};
use super::shown::Shown;
use super::stats::Hook;
use super::tape::Content;
use crate::pipeline::{Exchange, Incoming, Trace, answer_size};

/// Why a call gave nothing.
#[derive(Debug, Clone, thiserror::Error)]
pub enum CallError {
    /// The guest trapped, for example by a panic.
    #[error("extension `{extension}` trapped in {}: {reason}", hook.name())]
    Trap {
        /// Its name.
        extension: String,
        /// Where.
        hook: Hook,
        /// What wasmtime says.
        reason: String,
    },
    /// The guest reached a limit.
    #[error("extension `{extension}` reached its limit `{limit}` in {}", hook.name())]
    Limit {
        /// Its name.
        extension: String,
        /// Where.
        hook: Hook,
        /// The setting's name.
        limit: &'static str,
    },
    /// There are too many instances.
    #[error("no instance of extension `{extension}` is free")]
    Exhausted {
        /// Its name.
        extension: String,
    },
    /// It does not take its configuration.
    #[error("the extension refuses its configuration: {0}")]
    Refused(String),
}

/// What a hook gave.
pub type HookResult<T> = Result<T, CallError>;

impl From<CallError> for ChatError {
    /// What a caller may know: that it was not his fault. Name, place and reason are in the log.
    fn from(error: CallError) -> Self {
        match error {
            CallError::Exhausted { .. } => Self::new(ErrorClass::Overloaded, "The gateway is at its limit of concurrent work; try again."),
            CallError::Trap { .. } | CallError::Limit { .. } | CallError::Refused(_) => {
                Self::new(ErrorClass::Internal, "An extension of the gateway failed; the request id leads to the details in its log.")
            }
        }
    }
}

impl Extension {
    /// `dialect.accept`.
    pub async fn accept(self: &Arc<Self>, trace: &Trace, incoming: &Arc<Incoming>) -> HookResult<Result<Accepted, ChatError>> {
        let mut lease = self.check_out().await?;
        lease.record(Hook::Accept, 0, Some(&incoming.head), || Given::Accept);
        let (instance, bounds) = lease.begin(Hook::Accept, 0, None);
        let result = bounds.run(instance.accept(IncomingHandle::Live(Arc::clone(incoming)))).await;
        settle(lease, trace, Hook::Accept, result)
    }

    /// `dialect.decode`.
    pub async fn decode(self: &Arc<Self>, trace: &Trace, format: &str, body: &[u8]) -> HookResult<Result<ChatRequest, ChatError>> {
        let mut lease = self.check_out().await?;
        lease.record(Hook::Decode, body.len(), None, || Given::Decode { format: format.to_owned(), body: Content(body.to_vec()) });
        let (instance, bounds) = lease.begin(Hook::Decode, body.len(), None);
        instance.store.data_mut().given(body.len());
        let result = bounds.run(instance.decode(format, body)).await;
        settle(lease, trace, Hook::Decode, result)
    }

    /// `dialect.encode-answer`. `bytes` is about how long the answer is.
    pub async fn encode_answer(
        self: &Arc<Self>,
        trace: &Trace,
        options: &EncodeOptions,
        answer: &ChatAnswer,
        bytes: usize,
    ) -> HookResult<Vec<u8>> {
        let mut lease = self.check_out().await?;
        let given = || Given::EncodeAnswer { options: options.clone(), answer: answer.clone() };
        lease.record(Hook::EncodeAnswer, bytes, None, given);
        let (instance, bounds) = lease.begin(Hook::EncodeAnswer, bytes, None);
        instance.store.data_mut().given(bytes);
        let result = bounds.run(instance.encode_answer(options, answer)).await;
        settle(lease, trace, Hook::EncodeAnswer, result)
    }

    /// `dialect.encode-error`.
    pub async fn encode_error(self: &Arc<Self>, trace: &Trace, error: &ChatError) -> HookResult<Reply> {
        let mut lease = self.check_out().await?;
        lease.record(Hook::EncodeError, 0, None, || Given::EncodeError(error.clone()));
        let (instance, bounds) = lease.begin(Hook::EncodeError, 0, None);
        let result = bounds.run(instance.encode_error(error)).await;
        settle(lease, trace, Hook::EncodeError, result)
    }

    /// `operations.accept`.
    pub async fn accept_operation(
        self: &Arc<Self>,
        trace: &Trace,
        incoming: &Arc<Incoming>,
    ) -> HookResult<Result<OperationHead, ChatError>> {
        let mut lease = self.check_out().await?;
        lease.record(Hook::AcceptOperation, 0, Some(&incoming.head), || Given::AcceptOperation);
        let (instance, bounds) = lease.begin(Hook::AcceptOperation, 0, None);
        let result = bounds.run(instance.accept_operation(IncomingHandle::Live(Arc::clone(incoming)))).await;
        settle(lease, trace, Hook::AcceptOperation, result)
    }

    /// `operations.answer`.
    pub async fn answer_operation(
        self: &Arc<Self>,
        trace: &Trace,
        operation: &str,
        incoming: &Arc<Incoming>,
    ) -> HookResult<Result<Option<Reply>, ChatError>> {
        let mut lease = self.check_out().await?;
        let bytes = incoming.body().len();
        let given = || Given::AnswerOperation { operation: operation.to_owned() };
        lease.record(Hook::AnswerOperation, bytes, Some(&incoming.head), given);
        let (instance, bounds) = lease.begin(Hook::AnswerOperation, bytes, None);
        let result = bounds.run(instance.answer_operation(operation, IncomingHandle::Live(Arc::clone(incoming)))).await;
        settle(lease, trace, Hook::AnswerOperation, result)
    }

    /// `before-generate`.
    pub async fn before_generate(self: &Arc<Self>, exchange: &Arc<Exchange>, call: &CallInfo) -> HookResult<Decision> {
        let mut lease = self.check_out().await?;
        lease.record_of(Hook::BeforeGenerate, exchange.size(), exchange, || Given::BeforeGenerate { call: call.clone() });
        let (instance, bounds) = lease.begin(Hook::BeforeGenerate, exchange.size(), Some(exchange.into()));
        let result = bounds.run(instance.before_generate(exchange.into(), call)).await;
        settle(lease, &exchange.trace, Hook::BeforeGenerate, result)
    }

    /// `after-generate`.
    pub async fn after_generate(
        self: &Arc<Self>,
        exchange: &Arc<Exchange>,
        call: &CallInfo,
        answer: &Arc<ChatAnswer>,
    ) -> HookResult<Verdict> {
        let mut lease = self.check_out().await?;
        let bytes = exchange.size() + answer_size(answer);
        lease.record_of(Hook::AfterGenerate, bytes, exchange, || Given::AfterGenerate { call: call.clone() });
        let (instance, bounds) = lease.begin(Hook::AfterGenerate, bytes, Some(exchange.into()));
        let result = bounds.run(instance.after_generate(exchange.into(), AnswerHandle::Live(Arc::clone(answer)), call)).await;
        settle(lease, &exchange.trace, Hook::AfterGenerate, result)
    }

    /// `provider-events.on-provider-selected`, or with an error `on-provider-error`.
    pub async fn provider_event(
        self: &Arc<Self>,
        exchange: &Arc<Exchange>,
        call: &CallInfo,
        attempt: &AttemptInfo,
        error: Option<&ChatError>,
    ) -> HookResult<Reaction> {
        let mut lease = self.check_out().await?;
        let given = || Given::ProviderEvent { call: call.clone(), attempt: attempt.clone(), error: error.cloned() };
        lease.record_of(Hook::ProviderEvents, exchange.size(), exchange, given);
        let (instance, bounds) = lease.begin(Hook::ProviderEvents, exchange.size(), Some(exchange.into()));
        let result = bounds.run(instance.provider_event(exchange.into(), call, attempt, error)).await;
        settle(lease, &exchange.trace, Hook::ProviderEvents, result)
    }

    /// `judge`. `bytes` is about how long the candidates are together.
    pub async fn judge(
        self: &Arc<Self>,
        exchange: &Arc<Exchange>,
        candidates: &[Candidate],
        bytes: usize,
    ) -> HookResult<Result<Vec<Score>, ChatError>> {
        let mut lease = self.check_out().await?;
        let (call, read) = (exchange.call_info(), exchange.size() + bytes);
        lease.record_of(Hook::Judge, read, exchange, || Given::Judge { call: (*call).clone(), candidates: candidates.to_vec() });
        let (instance, bounds) = lease.begin(Hook::Judge, read, Some(exchange.into()));
        instance.store.data_mut().given(bytes);
        let result = bounds.run(instance.judge(exchange.into(), &call, candidates)).await;
        settle(lease, &exchange.trace, Hook::Judge, result)
    }

    /// `attempts`.
    pub async fn on_attempts(self: &Arc<Self>, exchange: &Arc<Exchange>, call: &CallInfo, tries: &[Tried]) -> HookResult<()> {
        let mut lease = self.check_out().await?;
        lease.record_of(Hook::Attempts, exchange.size(), exchange, || Given::Attempts { call: call.clone(), tries: tries.to_vec() });
        let (instance, bounds) = lease.begin(Hook::Attempts, exchange.size(), Some(exchange.into()));
        let result = bounds.run(instance.on_attempts(exchange.into(), call, tries)).await;
        settle(lease, &exchange.trace, Hook::Attempts, result)
    }

    /// `on-complete`.
    pub async fn on_complete(self: &Arc<Self>, exchange: &Arc<Exchange>, call: &CallInfo, outcome: &Outcome) -> HookResult<()> {
        let mut lease = self.check_out().await?;
        lease.record_of(Hook::OnComplete, exchange.size(), exchange, || Given::OnComplete { call: call.clone(), outcome: outcome.clone() });
        let (instance, bounds) = lease.begin(Hook::OnComplete, exchange.size(), Some(exchange.into()));
        let result = bounds.run(instance.on_complete(exchange.into(), call, outcome)).await;
        settle(lease, &exchange.trace, Hook::OnComplete, result)
    }

    /// `stream-filter.open`: takes an instance for the life of the answer, if the extension wants to see it.
    pub async fn open_filter(self: &Arc<Self>, exchange: &Arc<Exchange>, call: &CallInfo) -> HookResult<Option<Filter>> {
        let mut lease = self.check_out().await?;
        lease.record_of(Hook::StreamFilter, exchange.size(), exchange, || Given::StreamFilter { call: call.clone() });
        let (instance, bounds) = lease.begin(Hook::StreamFilter, exchange.size(), Some(exchange.into()));
        let result = bounds.run(instance.open_filter(exchange.into(), call)).await;
        match end(&mut lease, &exchange.trace, Hook::StreamFilter, result) {
            Ok(Some(handle)) => Ok(Some(Filter { lease, handle, exchange: Arc::clone(exchange), finished: false })),
            closed => {
                lease.keep_recording();
                closed.map(|_| None)
            }
        }
    }

    /// `dialect.encoder`: takes an instance for the life of a stream.
    pub async fn encoder(self: &Arc<Self>, trace: &Trace, options: &EncodeOptions) -> HookResult<Encoder> {
        let mut lease = self.check_out().await?;
        lease.record(Hook::Encoder, 0, None, || Given::Encoder { options: options.clone() });
        let (instance, bounds) = lease.begin(Hook::Encoder, 0, None);
        let result = bounds.run(instance.open_encoder(options)).await;
        match end(&mut lease, trace, Hook::Encoder, result) {
            Ok(handle) => Ok(Encoder { lease, handle, finished: false }),
            Err(e) => {
                lease.keep_recording();
                Err(e)
            }
        }
    }
}

/// A dialect's encoder in the instance that is kept for it.
pub struct Encoder {
    lease: Lease,
    handle: ResourceAny,
    finished: bool,
}

impl Encoder {
    /// Bytes for a batch of events.
    pub async fn events(&mut self, trace: &Trace, events: &[StreamEvent], bytes: usize) -> HookResult<Vec<u8>> {
        self.lease.record_step(|| Step::Events { events: events.to_vec(), bytes, last: false });
        let (instance, bounds) = self.lease.begin(Hook::Encoder, bytes, None);
        instance.store.data_mut().given(bytes);
        let result = bounds.run(instance.encoder_events(self.handle, events)).await;
        end(&mut self.lease, trace, Hook::Encoder, result)
    }

    /// Bytes for the end. Takes the encoder back from the guest, so that its instance can be used again.
    pub async fn finish(mut self, trace: &Trace, error: Option<&ChatError>) -> HookResult<Vec<u8>> {
        self.lease.record_step(|| Step::End(error.cloned()));
        let (instance, bounds) = self.lease.begin(Hook::Encoder, 0, None);
        let result = bounds.run(instance.encoder_finish(self.handle, error)).await;
        self.finished = true;
        end(&mut self.lease, trace, Hook::Encoder, result)
    }
}

impl Drop for Encoder {
    /// A stream that was left in the middle: its state is still in the guest, so the instance is not used again.
    fn drop(&mut self) {
        self.lease.keep_recording();
        if !self.finished {
            self.lease.retire();
        }
    }
}

/// An open filter in the instance that is kept for it.
pub struct Filter {
    lease: Lease,
    handle: ResourceAny,
    exchange: Arc<Exchange>,
    finished: bool,
}

impl Filter {
    /// What becomes of a batch. After the last one the filter is closed and its instance can be used again.
    pub async fn events(&mut self, events: &[StreamEvent], bytes: usize, last: bool) -> HookResult<Vec<BatchEdit>> {
        self.lease.record_step(|| Step::Events { events: events.to_vec(), bytes, last });
        let (instance, bounds) = self.lease.begin(Hook::StreamFilter, bytes, Some((&self.exchange).into()));
        instance.store.data_mut().given(bytes);
        let result = bounds.run(instance.filter_events(self.handle, events, last)).await;
        self.finished |= last;
        end(&mut self.lease, &self.exchange.trace, Hook::StreamFilter, result)
    }

    /// The extension that the filter is of.
    pub fn extension(&self) -> &Arc<Extension> {
        self.lease.extension()
    }
}

impl Drop for Filter {
    /// See [`Encoder`]'s.
    fn drop(&mut self) {
        self.lease.keep_recording();
        if !self.finished {
            self.lease.retire();
        }
    }
}

impl Lease {
    /// Begins the recording of a call that sees a request.
    fn record_of(&mut self, hook: Hook, bytes: usize, exchange: &Exchange, given: impl FnOnce() -> Given) {
        self.record(hook, bytes, Some(&exchange.incoming.head), given);
    }
}

impl From<&Arc<Exchange>> for RequestHandle {
    fn from(exchange: &Arc<Exchange>) -> Self {
        Self::Live(Arc::clone(exchange))
    }
}

/// The end of a call, and of its lease.
fn settle<R: Shown>(mut lease: Lease, trace: &Trace, hook: Hook, result: Result<wasmtime::Result<R>, TookTooLong>) -> HookResult<R> {
    let result = end(&mut lease, trace, hook, result);
    lease.keep_recording();
    result
}

/// The end of a call.
fn end<R: Shown>(lease: &mut Lease, trace: &Trace, hook: Hook, result: Result<wasmtime::Result<R>, TookTooLong>) -> HookResult<R> {
    let (result, spent) = lease.end(result);
    trace.record(&lease.extension().label, hook, spent, result.is_err());
    lease.record_end(&result, spent);
    result
}
