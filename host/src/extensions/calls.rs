//! The calls themselves, one function for each hook: handles are made before and taken back after. Live calls and replays are the same
//! from here on; they differ in what is behind the handles.

use llm_codec::hub::{ChatAnswer, ChatError, ChatRequest, StreamEvent};
use wasmtime::component::{Resource, ResourceAny};

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
use super::imports::http::IncomingHandle;
use super::imports::request::{AnswerHandle, RequestHandle};
use super::instance::Instance;

impl Instance {
    /// `dialect.accept`.
    pub async fn accept(&mut self, incoming: IncomingHandle) -> wasmtime::Result<Result<Accepted, ChatError>> {
        let handle = self.store.data_mut().table.push(incoming)?;
        let borrow = Resource::new_borrow(handle.rep());
        let guest = self.guests.dialect.as_ref().ok_or_else(missing)?;
        let accepted = guest.call_accept(&mut self.store, borrow).await?;
        self.store.data_mut().table.delete(handle)?;
        Ok(accepted)
    }

    /// `dialect.decode`.
    pub async fn decode(&mut self, format: &str, body: &[u8]) -> wasmtime::Result<Result<ChatRequest, ChatError>> {
        self.guests.dialect.as_ref().ok_or_else(missing)?.call_decode(&mut self.store, &format.to_owned(), body).await
    }

    /// `dialect.encode-answer`.
    pub async fn encode_answer(&mut self, options: &EncodeOptions, answer: &ChatAnswer) -> wasmtime::Result<Vec<u8>> {
        self.guests.dialect.as_ref().ok_or_else(missing)?.call_encode_answer(&mut self.store, options, answer).await
    }

    /// `dialect.encode-error`.
    pub async fn encode_error(&mut self, error: &ChatError) -> wasmtime::Result<Reply> {
        self.guests.dialect.as_ref().ok_or_else(missing)?.call_encode_error(&mut self.store, error).await
    }

    /// The constructor of `dialect.encoder`.
    pub async fn open_encoder(&mut self, options: &EncodeOptions) -> wasmtime::Result<ResourceAny> {
        self.guests.dialect.as_ref().ok_or_else(missing)?.encoder().call_constructor(&mut self.store, options).await
    }

    /// `encoder.events`.
    pub async fn encoder_events(&mut self, encoder: ResourceAny, events: &[StreamEvent]) -> wasmtime::Result<Vec<u8>> {
        self.guests.dialect.as_ref().ok_or_else(missing)?.encoder().call_events(&mut self.store, encoder, events).await
    }

    /// `encoder.finish`. The guest gives the encoder back.
    pub async fn encoder_finish(&mut self, encoder: ResourceAny, error: Option<&ChatError>) -> wasmtime::Result<Vec<u8>> {
        let guest = self.guests.dialect.as_ref().ok_or_else(missing)?;
        let bytes = guest.encoder().call_finish(&mut self.store, encoder, error).await?;
        encoder.resource_drop_async(&mut self.store).await?;
        Ok(bytes)
    }

    /// `operations.accept`.
    pub async fn accept_operation(&mut self, incoming: IncomingHandle) -> wasmtime::Result<Result<OperationHead, ChatError>> {
        let handle = self.store.data_mut().table.push(incoming)?;
        let borrow = Resource::new_borrow(handle.rep());
        let guest = self.guests.operations.as_ref().ok_or_else(missing)?;
        let accepted = guest.call_accept(&mut self.store, borrow).await?;
        self.store.data_mut().table.delete(handle)?;
        Ok(accepted)
    }

    /// `operations.answer`.
    pub async fn answer_operation(
        &mut self,
        operation: &str,
        incoming: IncomingHandle,
    ) -> wasmtime::Result<Result<Option<Reply>, ChatError>> {
        let handle = self.store.data_mut().table.push(incoming)?;
        let borrow = Resource::new_borrow(handle.rep());
        let guest = self.guests.operations.as_ref().ok_or_else(missing)?;
        let answered = guest.call_answer(&mut self.store, operation, borrow).await?;
        self.store.data_mut().table.delete(handle)?;
        Ok(answered)
    }

    /// `before-generate`.
    pub async fn before_generate(&mut self, request: RequestHandle, call: &CallInfo) -> wasmtime::Result<Decision> {
        let handle = self.store.data_mut().table.push(request)?;
        let borrow = Resource::new_borrow(handle.rep());
        let guest = self.guests.before_generate.as_ref().ok_or_else(missing)?;
        let decision = guest.call_before_generate(&mut self.store, call, borrow).await?;
        self.store.data_mut().table.delete(handle)?;
        Ok(decision)
    }

    /// `after-generate`.
    pub async fn after_generate(&mut self, request: RequestHandle, answer: AnswerHandle, call: &CallInfo) -> wasmtime::Result<Verdict> {
        let table = &mut self.store.data_mut().table;
        let request = table.push(request)?;
        let answer = table.push(answer)?;
        let (request_borrow, answer_borrow) = (Resource::new_borrow(request.rep()), Resource::new_borrow(answer.rep()));
        let guest = self.guests.after_generate.as_ref().ok_or_else(missing)?;
        let verdict = guest.call_after_generate(&mut self.store, call, request_borrow, answer_borrow).await?;
        let table = &mut self.store.data_mut().table;
        table.delete(request)?;
        table.delete(answer)?;
        Ok(verdict)
    }

    /// `provider-events.on-provider-selected`, or with an error `on-provider-error`.
    pub async fn provider_event(
        &mut self,
        request: RequestHandle,
        call: &CallInfo,
        attempt: &AttemptInfo,
        error: Option<&ChatError>,
    ) -> wasmtime::Result<Reaction> {
        let handle = self.store.data_mut().table.push(request)?;
        let borrow = Resource::new_borrow(handle.rep());
        let guest = self.guests.provider_events.as_ref().ok_or_else(missing)?;
        let reaction = match error {
            None => guest.call_on_provider_selected(&mut self.store, call, borrow, attempt).await?,
            Some(error) => guest.call_on_provider_error(&mut self.store, call, borrow, attempt, error).await?,
        };
        self.store.data_mut().table.delete(handle)?;
        Ok(reaction)
    }

    /// `judge`.
    pub async fn judge(
        &mut self,
        request: RequestHandle,
        call: &CallInfo,
        candidates: &[Candidate],
    ) -> wasmtime::Result<Result<Vec<Score>, ChatError>> {
        let handle = self.store.data_mut().table.push(request)?;
        let borrow = Resource::new_borrow(handle.rep());
        let guest = self.guests.judge.as_ref().ok_or_else(missing)?;
        let scores = guest.call_judge(&mut self.store, call, borrow, candidates).await?;
        self.store.data_mut().table.delete(handle)?;
        Ok(scores)
    }

    /// `attempts`.
    pub async fn on_attempts(&mut self, request: RequestHandle, call: &CallInfo, tries: &[Tried]) -> wasmtime::Result<()> {
        let handle = self.store.data_mut().table.push(request)?;
        let borrow = Resource::new_borrow(handle.rep());
        let guest = self.guests.attempts.as_ref().ok_or_else(missing)?;
        guest.call_on_attempts(&mut self.store, call, borrow, tries).await?;
        self.store.data_mut().table.delete(handle)?;
        Ok(())
    }

    /// `on-complete`.
    pub async fn on_complete(&mut self, request: RequestHandle, call: &CallInfo, outcome: &Outcome) -> wasmtime::Result<()> {
        let handle = self.store.data_mut().table.push(request)?;
        let borrow = Resource::new_borrow(handle.rep());
        let guest = self.guests.on_complete.as_ref().ok_or_else(missing)?;
        guest.call_on_complete(&mut self.store, call, borrow, outcome).await?;
        self.store.data_mut().table.delete(handle)?;
        Ok(())
    }

    /// `stream-filter.open`.
    pub async fn open_filter(&mut self, request: RequestHandle, call: &CallInfo) -> wasmtime::Result<Option<ResourceAny>> {
        let handle = self.store.data_mut().table.push(request)?;
        let borrow = Resource::new_borrow(handle.rep());
        let guest = self.guests.stream_filter.as_ref().ok_or_else(missing)?;
        let opened = guest.call_open(&mut self.store, call, borrow).await?;
        self.store.data_mut().table.delete(handle)?;
        Ok(opened)
    }

    /// `filter.events`. After the last ones the guest gives the filter back.
    pub async fn filter_events(&mut self, filter: ResourceAny, events: &[StreamEvent], last: bool) -> wasmtime::Result<Vec<BatchEdit>> {
        let guest = self.guests.stream_filter.as_ref().ok_or_else(missing)?;
        let edits = guest.filter().call_events(&mut self.store, filter, events, last).await?;
        if last {
            filter.resource_drop_async(&mut self.store).await?;
        }
        Ok(edits)
    }
}

fn missing() -> wasmtime::Error {
    wasmtime::Error::msg("the interface is not exported")
}
