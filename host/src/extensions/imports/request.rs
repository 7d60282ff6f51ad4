//! `wasmgate:extension/request`: a request in the pipeline, and an answer, read through handles.
//!
//! Messages, tools and parameters are read from the body when a hook first asks for them; until then nothing of the
//! conversation was looked at.

use std::sync::Arc;

use llm_codec::hub::{self, ChatAnswer, ChatError, ChatRequest};
use wasmtime::component::Resource;

use crate::extensions::bindings::wasmgate::extension::request::{Host, HostAnswer, HostRequest};
use crate::extensions::state::StoreState;
use crate::pipeline::Exchange;

/// What the guest holds of a request.
pub struct RequestHandle(pub Arc<Exchange>);

/// What the guest holds of an answer.
pub struct AnswerHandle(pub Arc<ChatAnswer>);

impl StoreState {
    fn exchange(&self, handle: &Resource<RequestHandle>) -> wasmtime::Result<Arc<Exchange>> {
        Ok(Arc::clone(&self.table.get(handle)?.0))
    }

    async fn chat(&mut self, handle: &Resource<RequestHandle>) -> wasmtime::Result<Result<Arc<ChatRequest>, ChatError>> {
        Ok(self.exchange(handle)?.chat().await)
    }
}

impl Host for &mut StoreState {}

impl HostRequest for &mut StoreState {
    fn header(&mut self, request: Resource<RequestHandle>, name: String) -> wasmtime::Result<Option<String>> {
        Ok(self.exchange(&request)?.incoming.header(&name).map(str::to_owned))
    }

    fn path(&mut self, request: Resource<RequestHandle>) -> wasmtime::Result<String> {
        Ok(self.exchange(&request)?.incoming.head.uri.path().to_owned())
    }

    async fn message_count(&mut self, request: Resource<RequestHandle>) -> wasmtime::Result<Result<u32, ChatError>> {
        Ok(self.chat(&request).await?.map(|c| c.messages.len() as u32))
    }

    async fn message(&mut self, request: Resource<RequestHandle>, index: u32) -> wasmtime::Result<Result<Option<hub::Message>, ChatError>> {
        Ok(self.chat(&request).await?.map(|c| c.messages.get(index as usize).cloned()))
    }

    async fn tools(&mut self, request: Resource<RequestHandle>) -> wasmtime::Result<Result<Vec<hub::Tool>, ChatError>> {
        Ok(self.chat(&request).await?.map(|c| c.tools.clone()))
    }

    async fn params(&mut self, request: Resource<RequestHandle>) -> wasmtime::Result<Result<hub::Params, ChatError>> {
        Ok(self.chat(&request).await?.map(|c| c.params.clone()))
    }

    fn metadata(&mut self, request: Resource<RequestHandle>, key: String) -> wasmtime::Result<Option<String>> {
        Ok(self.exchange(&request)?.note(&key))
    }

    fn drop(&mut self, request: Resource<RequestHandle>) -> wasmtime::Result<()> {
        self.table.delete(request)?;
        Ok(())
    }
}

impl HostAnswer for &mut StoreState {
    fn usage(&mut self, answer: Resource<AnswerHandle>) -> wasmtime::Result<Option<hub::Usage>> {
        Ok(self.table.get(&answer)?.0.usage.clone())
    }

    fn finish(&mut self, answer: Resource<AnswerHandle>) -> wasmtime::Result<Option<hub::FinishReason>> {
        Ok(self.table.get(&answer)?.0.choices.first().and_then(|c| c.finish.clone()))
    }

    fn text(&mut self, answer: Resource<AnswerHandle>) -> wasmtime::Result<String> {
        let answer = &self.table.get(&answer)?.0;
        let parts = answer.choices.first().map_or(&[][..], |c| &c.parts);
        Ok(parts
            .iter()
            .filter_map(|p| match &p.kind {
                hub::PartKind::Text(text) => Some(text.as_str()),
                _ => None,
            })
            .collect())
    }

    fn value(&mut self, answer: Resource<AnswerHandle>) -> wasmtime::Result<ChatAnswer> {
        Ok((*self.table.get(&answer)?.0).clone())
    }

    fn drop(&mut self, answer: Resource<AnswerHandle>) -> wasmtime::Result<()> {
        self.table.delete(answer)?;
        Ok(())
    }
}
