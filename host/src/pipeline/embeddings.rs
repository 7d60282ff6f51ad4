//! Embeddings between two APIs: the client's call is read, written for the provider, and its answer written for the client.
//!
//! It happens here and not in the dialects, because a hook may send the call to another provider after the dialect read it, and because a
//! dialect would have to know the other API. What the two cannot tell each other is told as for conversations (`losses.rs`); what would make a
//! vector of something else is refused.

use std::sync::Arc;

use bytes::BytesMut;
use futures_util::StreamExt as _;
use http::{HeaderMap, HeaderName, HeaderValue, Method, header};
use llm_codec::embeddings::{EmbeddingsAnswer, EmbeddingsApi, EmbeddingsRequest};
use llm_codec::estimate;
use llm_codec::hub::{ChatError, ErrorClass};

use super::Exchange;
use super::losses::Losses;
use super::operation::{Forwarded, Opened, Operation, error_inside, failed};
use super::tries::Tries;
use super::upstream::{self, Attempt};
use crate::providers::{ByteStream, Entry, Forward};
use crate::virtual_providers::Failure;

/// Most that is read of an answer: about two thousand long vectors.
const MAX_ANSWER: usize = 64 << 20;

/// Says that a number in the answer is the gateway's own, and which one.
const ESTIMATE: HeaderName = HeaderName::from_static("x-wasmgate-estimate");

const JSON: HeaderValue = HeaderValue::from_static("application/json");

/// The APIs of a call and of its provider.
pub struct Crossing {
    from: EmbeddingsApi,
    to: EmbeddingsApi,
}

impl Crossing {
    /// The way between a call and a provider; none where the call goes as it is, or not at all.
    pub fn find(operation: &Operation, entry: &Entry, model: &str) -> Option<Self> {
        let (from, to) = (operation.embeddings()?, entry.provider.embeddings(model)?);
        let same = match (from, to) {
            // One text is asked for alike.
            (EmbeddingsApi::Gemini, EmbeddingsApi::VertexContent) => !operation.is_batch(),
            (from, to) => from == to,
        };
        (!same).then_some(Self { from, to })
    }

    /// One try at one target.
    pub async fn open(self, exchange: &Arc<Exchange>, entry: &Entry, attempt: Attempt, tries: &Arc<Tries>) -> Result<Opened, Failure> {
        let Attempt { number, target, via, races: _ } = attempt;
        let (request, mut forward, losses) = self.written(exchange, entry, &target.model).map_err(Failure::skipped)?;
        forward.headers.extend(upstream::trace_headers(exchange, number));
        let mut attempt = tries.begin(number, target.clone(), via);
        let answer = match self.answer(exchange, entry, forward, &request).await {
            Ok(answer) => answer,
            // The status and the words of one API are not those of another.
            Err(error) => return Err(failed(&mut attempt, error.crossed())),
        };
        attempt.usage(answer.usage.clone());
        let mut headers = HeaderMap::from_iter([(header::CONTENT_TYPE, JSON)]);
        let mut estimated = 0;
        if answer.usage.is_none() && self.from.needs_usage() {
            estimated = estimate::text_tokens(request.texts());
            headers.insert(ESTIMATE, HeaderValue::from_static("prompt_tokens"));
        }
        let body = self.from.encode_answer(&answer, &request, &target.model, estimated);
        Ok(Opened::Forwarded(Box::new(Forwarded::written(body, headers, target, losses)), Some(Box::new(attempt))))
    }

    /// The call, in the provider's words.
    fn written(&self, exchange: &Exchange, entry: &Entry, model: &str) -> Result<(EmbeddingsRequest, Forward, Losses), ChatError> {
        let request = self.from.decode_request(exchange.incoming.body())?;
        let call = self.to.encode_request(&request, model)?;
        let losses = Losses::of_request(exchange, entry, false, call.losses)?;
        let forward = Forward {
            model: model.to_owned(),
            method: Method::POST,
            path: call.path.to_owned(),
            body: call.body.into(),
            headers: vec![(header::CONTENT_TYPE, JSON)],
            stream: false,
        };
        Ok((request, forward, losses))
    }

    async fn answer(
        &self,
        exchange: &Exchange,
        entry: &Entry,
        forward: Forward,
        request: &EmbeddingsRequest,
    ) -> Result<EmbeddingsAnswer, ChatError> {
        let answer = entry.forward(forward).await?;
        let body = whole(upstream::until_expired(answer.body, exchange.generation())).await?;
        if let Some(error) = error_inside(entry, &body) {
            return Err(error);
        }
        self.to.decode_answer(&body, request)
    }
}

async fn whole(mut chunks: ByteStream) -> Result<BytesMut, ChatError> {
    let mut body = BytesMut::new();
    while let Some(chunk) = chunks.next().await {
        body.extend_from_slice(&chunk?);
        if body.len() > MAX_ANSWER {
            return Err(ChatError::new(
                ErrorClass::Protocol,
                "The provider's answer is longer than what can be held back; embed less at once.",
            ));
        }
    }
    Ok(body)
}
