//! Calls of hooks: typed in, typed out, with handles made before and taken back after.

use std::sync::Arc;

use llm_codec::hub::{ChatAnswer, ChatError, ChatRequest, ErrorClass, StreamEvent};
use wasmtime::component::{Resource, ResourceAny};

use super::bindings::exports::wasmgate::extension::after_generate::Verdict;
use super::bindings::exports::wasmgate::extension::before_generate::Decision;
use super::bindings::exports::wasmgate::extension::dialect::{Accepted, EncodeOptions};
use super::bindings::exports::wasmgate::extension::judge::{Candidate, Score};
use super::bindings::exports::wasmgate::extension::on_complete::Outcome;
use super::bindings::exports::wasmgate::extension::provider_events::{AttemptInfo, Reaction};
use super::bindings::exports::wasmgate::extension::stream_filter::BatchEdit;
use super::bindings::wasmgate::extension::http::Reply;
use super::bindings::wasmgate::extension::request::CallInfo;
use super::clock::TookTooLong;
use super::imports::http::IncomingHandle;
use super::imports::request::{AnswerHandle, RequestHandle};
use super::instance::{Extension, Lease};
use super::stats::Hook;
use crate::pipeline::{Exchange, Incoming, Trace};

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
        let (instance, bounds) = lease.begin(Hook::Accept, 0, None);
        let result = async {
            let handle = instance.store.data_mut().table.push(IncomingHandle(Arc::clone(incoming)))?;
            let borrow = Resource::new_borrow(handle.rep());
            let guest = instance.guests.dialect.as_ref().ok_or_else(missing)?;
            let accepted = guest.call_accept(&mut instance.store, borrow).await?;
            instance.store.data_mut().table.delete(handle)?;
            Ok(accepted)
        };
        let result = bounds.run(result).await;
        settle(&mut lease, trace, Hook::Accept, result)
    }

    /// `dialect.decode`.
    pub async fn decode(self: &Arc<Self>, trace: &Trace, body: &[u8]) -> HookResult<Result<ChatRequest, ChatError>> {
        let mut lease = self.check_out().await?;
        let (instance, bounds) = lease.begin(Hook::Decode, body.len(), None);
        instance.store.data_mut().given(body.len());
        let result = async {
            let guest = instance.guests.dialect.as_ref().ok_or_else(missing)?;
            guest.call_decode(&mut instance.store, body).await
        };
        let result = bounds.run(result).await;
        settle(&mut lease, trace, Hook::Decode, result)
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
        let (instance, bounds) = lease.begin(Hook::EncodeAnswer, bytes, None);
        instance.store.data_mut().given(bytes);
        let result = async {
            let guest = instance.guests.dialect.as_ref().ok_or_else(missing)?;
            guest.call_encode_answer(&mut instance.store, options, answer).await
        };
        let result = bounds.run(result).await;
        settle(&mut lease, trace, Hook::EncodeAnswer, result)
    }

    /// `dialect.encode-error`.
    pub async fn encode_error(self: &Arc<Self>, trace: &Trace, error: &ChatError) -> HookResult<Reply> {
        let mut lease = self.check_out().await?;
        let (instance, bounds) = lease.begin(Hook::EncodeError, 0, None);
        let result = async {
            let guest = instance.guests.dialect.as_ref().ok_or_else(missing)?;
            guest.call_encode_error(&mut instance.store, error).await
        };
        let result = bounds.run(result).await;
        settle(&mut lease, trace, Hook::EncodeError, result)
    }

    /// `before-generate`.
    pub async fn before_generate(self: &Arc<Self>, exchange: &Arc<Exchange>, call: &CallInfo) -> HookResult<Decision> {
        let mut lease = self.check_out().await?;
        let (instance, bounds) = lease.begin(Hook::BeforeGenerate, exchange.size(), Some(exchange.into()));
        let result = async {
            let handle = instance.store.data_mut().table.push(RequestHandle(Arc::clone(exchange)))?;
            let borrow = Resource::new_borrow(handle.rep());
            let guest = instance.guests.before_generate.as_ref().ok_or_else(missing)?;
            let decision = guest.call_before_generate(&mut instance.store, call, borrow).await?;
            instance.store.data_mut().table.delete(handle)?;
            Ok(decision)
        };
        let result = bounds.run(result).await;
        settle(&mut lease, &exchange.trace, Hook::BeforeGenerate, result)
    }

    /// `after-generate`.
    pub async fn after_generate(
        self: &Arc<Self>,
        exchange: &Arc<Exchange>,
        call: &CallInfo,
        answer: &Arc<ChatAnswer>,
    ) -> HookResult<Verdict> {
        let mut lease = self.check_out().await?;
        let (instance, bounds) = lease.begin(Hook::AfterGenerate, exchange.size(), Some(exchange.into()));
        let result = async {
            let table = &mut instance.store.data_mut().table;
            let request = table.push(RequestHandle(Arc::clone(exchange)))?;
            let answer = table.push(AnswerHandle(Arc::clone(answer)))?;
            let (request_borrow, answer_borrow) = (Resource::new_borrow(request.rep()), Resource::new_borrow(answer.rep()));
            let guest = instance.guests.after_generate.as_ref().ok_or_else(missing)?;
            let verdict = guest.call_after_generate(&mut instance.store, call, request_borrow, answer_borrow).await?;
            let table = &mut instance.store.data_mut().table;
            table.delete(request)?;
            table.delete(answer)?;
            Ok(verdict)
        };
        let result = bounds.run(result).await;
        settle(&mut lease, &exchange.trace, Hook::AfterGenerate, result)
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
        let (instance, bounds) = lease.begin(Hook::ProviderEvents, exchange.size(), Some(exchange.into()));
        let result = async {
            let handle = instance.store.data_mut().table.push(RequestHandle(Arc::clone(exchange)))?;
            let borrow = Resource::new_borrow(handle.rep());
            let guest = instance.guests.provider_events.as_ref().ok_or_else(missing)?;
            let reaction = match error {
                None => guest.call_on_provider_selected(&mut instance.store, call, borrow, attempt).await?,
                Some(error) => guest.call_on_provider_error(&mut instance.store, call, borrow, attempt, error).await?,
            };
            instance.store.data_mut().table.delete(handle)?;
            Ok(reaction)
        };
        let result = bounds.run(result).await;
        settle(&mut lease, &exchange.trace, Hook::ProviderEvents, result)
    }

    /// `judge`. `bytes` is about how long the candidates are together.
    pub async fn judge(
        self: &Arc<Self>,
        exchange: &Arc<Exchange>,
        candidates: &[Candidate],
        bytes: usize,
    ) -> HookResult<Result<Vec<Score>, ChatError>> {
        let mut lease = self.check_out().await?;
        let (instance, bounds) = lease.begin(Hook::Judge, bytes, Some(exchange.into()));
        instance.store.data_mut().given(bytes);
        let result = async {
            let handle = instance.store.data_mut().table.push(RequestHandle(Arc::clone(exchange)))?;
            let borrow = Resource::new_borrow(handle.rep());
            let guest = instance.guests.judge.as_ref().ok_or_else(missing)?;
            let scores = guest.call_judge(&mut instance.store, &exchange.call_info(), borrow, candidates).await?;
            instance.store.data_mut().table.delete(handle)?;
            Ok(scores)
        };
        let result = bounds.run(result).await;
        settle(&mut lease, &exchange.trace, Hook::Judge, result)
    }

    /// `on-complete`.
    pub async fn on_complete(self: &Arc<Self>, exchange: &Arc<Exchange>, call: &CallInfo, outcome: &Outcome) -> HookResult<()> {
        let mut lease = self.check_out().await?;
        let (instance, bounds) = lease.begin(Hook::OnComplete, 0, Some(exchange.into()));
        let result = async {
            let handle = instance.store.data_mut().table.push(RequestHandle(Arc::clone(exchange)))?;
            let borrow = Resource::new_borrow(handle.rep());
            let guest = instance.guests.on_complete.as_ref().ok_or_else(missing)?;
            guest.call_on_complete(&mut instance.store, call, borrow, outcome).await?;
            instance.store.data_mut().table.delete(handle)?;
            Ok(())
        };
        let result = bounds.run(result).await;
        settle(&mut lease, &exchange.trace, Hook::OnComplete, result)
    }

    /// `stream-filter.open`: takes an instance for the life of the answer, if the extension wants to see it.
    pub async fn open_filter(self: &Arc<Self>, exchange: &Arc<Exchange>, call: &CallInfo) -> HookResult<Option<Filter>> {
        let mut lease = self.check_out().await?;
        let (instance, bounds) = lease.begin(Hook::StreamFilter, exchange.size(), Some(exchange.into()));
        let result = async {
            let handle = instance.store.data_mut().table.push(RequestHandle(Arc::clone(exchange)))?;
            let borrow = Resource::new_borrow(handle.rep());
            let guest = instance.guests.stream_filter.as_ref().ok_or_else(missing)?;
            let opened = guest.call_open(&mut instance.store, call, borrow).await?;
            instance.store.data_mut().table.delete(handle)?;
            Ok(opened)
        };
        let result = bounds.run(result).await;
        let opened = settle(&mut lease, &exchange.trace, Hook::StreamFilter, result)?;
        Ok(opened.map(|handle| Filter { lease, handle, exchange: Arc::clone(exchange), finished: false }))
    }

    /// `dialect.encoder`: takes an instance for the life of a stream.
    pub async fn encoder(self: &Arc<Self>, trace: &Trace, options: &EncodeOptions) -> HookResult<Encoder> {
        let mut lease = self.check_out().await?;
        let (instance, bounds) = lease.begin(Hook::Encoder, 0, None);
        let result = async {
            let guest = instance.guests.dialect.as_ref().ok_or_else(missing)?;
            guest.encoder().call_constructor(&mut instance.store, options).await
        };
        let result = bounds.run(result).await;
        let handle = settle(&mut lease, trace, Hook::Encoder, result)?;
        Ok(Encoder { lease, handle, finished: false })
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
        let handle = self.handle;
        let (instance, bounds) = self.lease.begin(Hook::Encoder, bytes, None);
        instance.store.data_mut().given(bytes);
        let result = async {
            let guest = instance.guests.dialect.as_ref().ok_or_else(missing)?;
            guest.encoder().call_events(&mut instance.store, handle, events).await
        };
        let result = bounds.run(result).await;
        settle(&mut self.lease, trace, Hook::Encoder, result)
    }

    /// Bytes for the end. Takes the encoder back from the guest, so that its instance can be used again.
    pub async fn finish(mut self, trace: &Trace, error: Option<&ChatError>) -> HookResult<Vec<u8>> {
        let handle = self.handle;
        let (instance, bounds) = self.lease.begin(Hook::Encoder, 0, None);
        let result = async {
            let guest = instance.guests.dialect.as_ref().ok_or_else(missing)?;
            let bytes = guest.encoder().call_finish(&mut instance.store, handle, error).await?;
            handle.resource_drop_async(&mut instance.store).await?;
            Ok(bytes)
        };
        let result = bounds.run(result).await;
        self.finished = true;
        settle(&mut self.lease, trace, Hook::Encoder, result)
    }
}

impl Drop for Encoder {
    /// A stream that was left in the middle: its state is still in the guest, so the instance is not used again.
    fn drop(&mut self) {
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
        let handle = self.handle;
        let (instance, bounds) = self.lease.begin(Hook::StreamFilter, bytes, Some((&self.exchange).into()));
        instance.store.data_mut().given(bytes);
        let result = async {
            let guest = instance.guests.stream_filter.as_ref().ok_or_else(missing)?;
            let edits = guest.filter().call_events(&mut instance.store, handle, events, last).await?;
            if last {
                handle.resource_drop_async(&mut instance.store).await?;
            }
            Ok(edits)
        };
        let result = bounds.run(result).await;
        self.finished |= last;
        settle(&mut self.lease, &self.exchange.trace, Hook::StreamFilter, result)
    }

    /// The extension that the filter is of.
    pub fn extension(&self) -> &Arc<Extension> {
        self.lease.extension()
    }
}

impl Drop for Filter {
    /// See [`Encoder`]'s.
    fn drop(&mut self) {
        if !self.finished {
            self.lease.retire();
        }
    }
}

fn settle<R>(lease: &mut Lease, trace: &Trace, hook: Hook, result: Result<wasmtime::Result<R>, TookTooLong>) -> HookResult<R> {
    let (result, spent) = lease.end(result);
    trace.record(lease.extension().name(), hook, spent.work());
    result
}

fn missing() -> wasmtime::Error {
    wasmtime::Error::msg("the interface is not exported")
}
