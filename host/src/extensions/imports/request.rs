//! `wasmgate:extension/request`: a request in the pipeline, and an answer, read through handles.
//!
//! Messages, tools and parameters are read from the body when a hook first asks for them; until then nothing of the
//! conversation was looked at.

use std::sync::Arc;

use llm_codec::hub::{self, ChatAnswer, ChatError, ChatRequest};
use wasmtime::component::Resource;

use crate::extensions::bindings::wasmgate::extension::http::Header;
use crate::extensions::bindings::wasmgate::extension::request::{Estimate, Host, HostAnswer, HostRequest, Note};
use crate::extensions::state::StoreState;
use crate::extensions::tape::{Function, acted, taped};
use crate::pipeline::Exchange;

/// Longest value that is handed out of a body, in bytes.
const MAX_BODY_VALUE: usize = 64 << 10;

/// What the guest holds of a request.
pub enum RequestHandle {
    /// One in the pipeline.
    Live(Arc<Exchange>),
    /// One of a recording, which answers for it.
    Replayed,
}

/// What the guest holds of an answer.
pub enum AnswerHandle {
    /// One in the pipeline.
    Live(Arc<ChatAnswer>),
    /// One of a recording, which answers for it.
    Replayed,
}

impl StoreState {
    fn exchange(&self, handle: &Resource<RequestHandle>) -> wasmtime::Result<Arc<Exchange>> {
        match self.table.get(handle)? {
            RequestHandle::Live(exchange) => Ok(Arc::clone(exchange)),
            RequestHandle::Replayed => Err(nothing_behind()),
        }
    }

    fn answer(&self, handle: &Resource<AnswerHandle>) -> wasmtime::Result<&ChatAnswer> {
        match self.table.get(handle)? {
            AnswerHandle::Live(answer) => Ok(answer),
            AnswerHandle::Replayed => Err(nothing_behind()),
        }
    }

    async fn chat(&mut self, handle: &Resource<RequestHandle>) -> wasmtime::Result<Result<Arc<ChatRequest>, ChatError>> {
        Ok(self.exchange(handle)?.chat().await)
    }
}

fn nothing_behind() -> wasmtime::Error {
    wasmtime::Error::msg("the recording answers for this handle")
}

impl Host for &mut StoreState {}

impl HostRequest for &mut StoreState {
    fn header(&mut self, request: Resource<RequestHandle>, name: String) -> wasmtime::Result<Option<String>> {
        self.taped_header(Function::fact("request.header"), &name, |state| {
            Ok(state.exchange(&request)?.incoming.header(&name).map(str::to_owned))
        })
    }

    fn path(&mut self, request: Resource<RequestHandle>) -> wasmtime::Result<String> {
        Ok(taped!(self, Function::fact("request.path"), (), self.exchange(&request)?.incoming.head.uri.path().to_owned()))
    }

    fn query(&mut self, request: Resource<RequestHandle>) -> wasmtime::Result<Option<String>> {
        // Some clients put their key into it (Gemini's `key`), so it is not recorded with the facts.
        let query = Function::content("request.query");
        Ok(taped!(self, query, (), self.exchange(&request)?.incoming.head.uri.query().map(str::to_owned)))
    }

    fn body_value(&mut self, request: Resource<RequestHandle>, pointer: String) -> wasmtime::Result<Option<String>> {
        Ok(taped!(self, Function::content("request.body-value"), (&pointer,), {
            let exchange = self.exchange(&request)?;
            let value = exchange.incoming.document().and_then(|d| d.pointer(&pointer));
            value.filter(|v| v.len() <= MAX_BODY_VALUE).map(str::to_owned)
        }))
    }

    async fn whole(&mut self, request: Resource<RequestHandle>) -> wasmtime::Result<Result<ChatRequest, ChatError>> {
        Ok(taped!(self, Function::content("request.whole"), (), {
            let exchange = self.exchange(&request)?;
            match &exchange.operation {
                Some(operation) => Err(operation.holds_none()),
                None => exchange.chat().await.map(Arc::unwrap_or_clone),
            }
        }))
    }

    async fn message_count(&mut self, request: Resource<RequestHandle>) -> wasmtime::Result<Result<u32, ChatError>> {
        let count = Function::fact("request.message-count");
        Ok(taped!(self, count, (), self.chat(&request).await?.map(|c| c.messages.len() as u32)))
    }

    async fn message(&mut self, request: Resource<RequestHandle>, index: u32) -> wasmtime::Result<Result<Option<hub::Message>, ChatError>> {
        let message = Function::content("request.message");
        Ok(taped!(self, message, (index,), self.chat(&request).await?.map(|c| c.messages.get(index as usize).cloned())))
    }

    async fn tools(&mut self, request: Resource<RequestHandle>) -> wasmtime::Result<Result<Vec<hub::Tool>, ChatError>> {
        Ok(taped!(self, Function::content("request.tools"), (), self.chat(&request).await?.map(|c| c.tools.clone())))
    }

    async fn params(&mut self, request: Resource<RequestHandle>) -> wasmtime::Result<Result<hub::Params, ChatError>> {
        Ok(taped!(self, Function::content("request.params"), (), self.chat(&request).await?.map(|c| c.params.clone())))
    }

    async fn estimate(&mut self, request: Resource<RequestHandle>) -> wasmtime::Result<Result<Estimate, ChatError>> {
        let estimate = Function::fact("request.estimate");
        Ok(taped!(self, estimate, (), self.exchange(&request)?.estimate().await))
    }

    fn metadata(&mut self, request: Resource<RequestHandle>, key: String) -> wasmtime::Result<Option<String>> {
        Ok(taped!(self, Function::fact("request.metadata"), (&key,), self.exchange(&request)?.note(&key)))
    }

    fn response_header(&mut self, request: Resource<RequestHandle>, field: Header) -> wasmtime::Result<()> {
        let set = Function::fact("request.response-header");
        acted!(self, set, (&field,), (), self.exchange(&request)?.add_response_header(field.name, field.value));
        Ok(())
    }

    fn add_note(&mut self, request: Resource<RequestHandle>, note: Note) -> wasmtime::Result<()> {
        acted!(self, Function::fact("request.add-note"), (&note,), (), self.exchange(&request)?.add_note(note.key, note.value));
        Ok(())
    }

    fn drop(&mut self, request: Resource<RequestHandle>) -> wasmtime::Result<()> {
        self.table.delete(request)?;
        Ok(())
    }
}

impl HostAnswer for &mut StoreState {
    fn usage(&mut self, answer: Resource<AnswerHandle>) -> wasmtime::Result<Option<hub::Usage>> {
        Ok(taped!(self, Function::fact("answer.usage"), (), self.answer(&answer)?.usage.clone()))
    }

    fn finish(&mut self, answer: Resource<AnswerHandle>) -> wasmtime::Result<Option<hub::FinishReason>> {
        let finish = Function::fact("answer.finish");
        Ok(taped!(self, finish, (), self.answer(&answer)?.choices.first().and_then(|c| c.finish.clone())))
    }

    fn text(&mut self, answer: Resource<AnswerHandle>) -> wasmtime::Result<String> {
        Ok(taped!(self, Function::content("answer.text"), (), self.answer(&answer)?.text()))
    }

    fn value(&mut self, answer: Resource<AnswerHandle>) -> wasmtime::Result<ChatAnswer> {
        Ok(taped!(self, Function::content("answer.value"), (), self.answer(&answer)?.clone()))
    }

    fn drop(&mut self, answer: Resource<AnswerHandle>) -> wasmtime::Result<()> {
        self.table.delete(answer)?;
        Ok(())
    }
}
