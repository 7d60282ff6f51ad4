//! Stages 6 and 7 for answers that are complete: unary ones, and streams that a hook wants to see whole.
//!
//! The bytes of the provider go out as they are when the client speaks its format and no hook replaced the answer.

use std::sync::Arc;

use axum::body::Body;
use axum::response::Response;
use bytes::{Bytes, BytesMut};
use futures_util::StreamExt as _;
use http::{HeaderValue, header};
use llm_codec::Format;
use llm_codec::hub::{self, ChatAnswer, ChatError, ChatRequest, Collector, ErrorClass, Extra, StreamEvent};
use llm_codec::json::Document;
use llm_codec::passthrough::StreamTap;
use serde_json::json;

use super::filters::{Filtered, Filters};
use super::losses::Losses;
use super::upstream::{MAX_BUFFERED, Sent};
use super::{Completion, Exchange, relay};
use crate::extensions::Extension;
use crate::extensions::bindings::exports::wasmgate::extension::dialect::EncodeOptions;
use crate::extensions::bindings::wasmgate::extension::request::Target;
use crate::providers::Upstream;

/// A complete answer, on its way to the client.
pub struct Answer {
    /// As bytes that can go out: the provider's own, or already written by the dialect.
    bytes: Option<Bytes>,
    /// As hooks see it.
    hub: Option<Arc<ChatAnswer>>,
    /// It is not what the provider said.
    replaced: bool,
    /// Format of the provider's bytes.
    format: Format,
    losses: Losses,
    target: Option<Target>,
}

impl Answer {
    /// A hook answered in a provider's place. Filters see that too.
    pub async fn from_hook(exchange: &Arc<Exchange>, answer: ChatAnswer, filters: Filters) -> Result<Self, ChatError> {
        let format = Format::from_name(&exchange.head.format).unwrap_or(Format::OpenaiChat);
        let (hub, losses) = (Some(Arc::new(answer)), Losses::default());
        let mut answer = Self { bytes: None, hub, replaced: false, format, losses, target: None };
        if !filters.is_empty() {
            answer.filter(exchange, filters).await?;
        }
        Ok(answer)
    }

    /// Reads a provider's answer to its end. `hooked` tells that hooks will want to look at it.
    pub async fn collect(
        exchange: &Arc<Exchange>,
        sent: Sent,
        filters: Filters,
        hooked: bool,
        completion: &mut Completion,
    ) -> Result<Self, ChatError> {
        let Sent { upstream, format, same_format, losses, target, source, attempt, .. } = sent;
        completion.serve(attempt);
        // An extension that asked wants no bytes.
        let hooked = hooked || !filters.is_empty() || exchange.dialect.is_none();
        let read = match upstream {
            Upstream::Answer(body) => unary(exchange, format, same_format, hooked, body, completion),
            Upstream::Events(events) => buffered(exchange, format, same_format, events, completion).await,
        };
        let (raw, answer) = read.map_err(|e| source.tellable(e))?;
        let mut collected = Self { bytes: raw, hub: answer.map(Arc::new), replaced: false, format, losses, target: Some(target) };
        if !filters.is_empty() {
            collected.filter(exchange, filters).await?;
        }
        Ok(collected)
    }

    /// Filters see a complete answer too, as one batch.
    async fn filter(&mut self, exchange: &Exchange, mut filters: Filters) -> Result<(), ChatError> {
        let answer = self.hub(exchange)?;
        let mut batch = hub::answer_events(&answer);
        // As in a stream, `last` says it.
        batch.retain(|event| !matches!(event, StreamEvent::End));
        let Filtered { events, stop, changed } = filters.run(batch, true).await?;
        if let Some(Some(error)) = stop {
            return Err(error);
        }
        if changed {
            let mut collector = Collector::new(self.format);
            events.iter().chain(&[StreamEvent::End]).for_each(|event| collector.push(event));
            self.replace(collector.finish()?);
        }
        Ok(())
    }

    /// The answer as hooks see it.
    pub fn hub(&mut self, exchange: &Exchange) -> Result<Arc<ChatAnswer>, ChatError> {
        if let Some(answer) = &self.hub {
            return Ok(Arc::clone(answer));
        }
        let bytes = self.bytes.as_ref().ok_or_else(|| nothing(exchange))?;
        let answer = Arc::new(self.format.decode_answer(bytes)?);
        Ok(Arc::clone(self.hub.insert(answer)))
    }

    /// Who gave it; none when a hook did.
    pub fn target(&self) -> Option<&Target> {
        self.target.as_ref()
    }

    /// A hook put another answer in its place.
    pub fn replace(&mut self, answer: ChatAnswer) {
        self.bytes = None;
        self.hub = Some(Arc::new(answer));
        self.replaced = true;
    }

    /// It goes out; traces say what of it is not what the provider said.
    pub fn tell(&self, completion: &mut Completion) {
        if let Some(answer) = self.hub.as_ref().filter(|_| self.replaced) {
            completion.replaced(answer);
        }
        completion.first_byte(200);
        completion.success();
    }

    /// Writes the answer in the client's format, unless it is already.
    pub async fn finish(mut self, exchange: &Arc<Exchange>, dialect: &Arc<Extension>) -> Result<Self, ChatError> {
        if self.bytes.is_some() {
            return Ok(self);
        }
        let answer = self.hub.as_ref().ok_or_else(|| nothing(exchange))?;
        self.losses.of_answer(exchange, answer);
        let options = options(exchange);
        let named = named(exchange, self.target.as_ref()).map(|target| {
            let mut answer = ChatAnswer::clone(answer);
            answer.extras.push(target);
            Arc::new(answer)
        });
        let answer = named.as_ref().unwrap_or(answer);
        let written = if exchange.head.stream {
            let events = hub::answer_events(answer);
            let mut encoder = dialect.encoder(&exchange.trace, &options).await?;
            let mut bytes = encoder.events(&exchange.trace, &events, size(answer)).await?;
            bytes.extend(encoder.finish(&exchange.trace, None).await?);
            bytes
        } else {
            dialect.encode_answer(&exchange.trace, &options, answer, size(answer)).await?
        };
        self.bytes = Some(written.into());
        Ok(self)
    }

    /// The response. Nothing can fail any more.
    pub fn into_response(self, mut completion: Completion) -> Response {
        self.tell(&mut completion);
        let mut response = Response::new(Body::from(self.bytes.unwrap_or_default()));
        let headers = response.headers_mut();
        if completion.exchange().head.stream {
            relay::stream_headers(headers, &completion.exchange().head.format);
        } else {
            headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
        }
        relay::gateway_headers(headers, self.target.as_ref(), &self.losses);
        response
    }
}

/// Says who answers, to a dialect with a format of its own: no vendor's document has a place for it, but that one's may.
pub fn named(exchange: &Exchange, target: Option<&Target>) -> Option<Extra> {
    let target = target.filter(|_| Format::from_name(&exchange.head.format).is_none())?;
    Some(Extra::new("wasmgate.target", json!({"provider": target.provider, "model": target.model}).to_string()))
}

/// What the dialect's encoders need to know.
pub fn options(exchange: &Exchange) -> EncodeOptions {
    EncodeOptions {
        format: exchange.head.format.clone(),
        include_usage: exchange.head.include_usage,
        id: exchange.id.clone(),
        model: exchange.target().1,
        created: exchange.incoming.received_ms / 1000,
    }
}

/// A complete document of the provider. Same-format ones are looked at (for usage, and for an error inside a 200), not rewritten.
fn unary(
    exchange: &Exchange,
    format: Format,
    same_format: bool,
    hooked: bool,
    body: Bytes,
    completion: &mut Completion,
) -> Result<(Option<Bytes>, Option<ChatAnswer>), ChatError> {
    let raw = same_format && !exchange.head.stream;
    if raw && !hooked {
        completion.usage(usage(format, &body)?);
        completion.whole(format, &body);
        return Ok((Some(body), None));
    }
    let answer = format.decode_answer(&body)?;
    completion.usage(answer.usage.clone());
    completion.answered(&answer);
    Ok((raw.then_some(body), Some(answer)))
}

/// The usage of an answer that passes as it is. One that does not look like an answer (no document, an error inside a 200, no
/// content) is read whole, which finds out what is wrong with it.
pub fn usage(format: Format, body: &Bytes) -> Result<Option<hub::Usage>, ChatError> {
    let content = match format {
        Format::OpenaiChat | Format::OpenaiCompletions => "choices",
        Format::AnthropicMessages => "content",
        Format::OpenaiResponses => "output",
        Format::GeminiGenerate => "candidates",
    };
    let counts = if format == Format::GeminiGenerate { "usageMetadata" } else { "usage" };
    let document = Document::parse(body).ok();
    match document.filter(|d| d.get("error").is_none_or(|e| e == "null") && d.get(content).is_some()) {
        Some(document) => Ok(document.get(counts).and_then(|u| format.decode_usage(u))),
        None => Ok(format.decode_answer(body)?.usage),
    }
}

/// A stream, read to its end: its bytes when they can go out as they are, and the answer that it makes.
async fn buffered(
    exchange: &Exchange,
    format: Format,
    same_format: bool,
    mut events: crate::providers::ByteStream,
    completion: &mut Completion,
) -> Result<(Option<Bytes>, Option<ChatAnswer>), ChatError> {
    let mut raw = BytesMut::new();
    while let Some(chunk) = events.next().await {
        let chunk = chunk?;
        if raw.len() + chunk.len() > MAX_BUFFERED {
            return Err(ChatError::new(ErrorClass::Protocol, "The provider's stream is longer than what can be held back."));
        }
        raw.extend_from_slice(&chunk);
    }
    let mut decoded = Vec::new();
    let mut decoder = format.event_decoder();
    decoder.push(&raw, &mut decoded);
    decoder.finish(&mut decoded);
    let mut collector = Collector::new(format);
    for event in &decoded {
        if let StreamEvent::Error(error) = event {
            return Err(error.clone());
        }
        collector.push(event);
    }
    let answer = collector.finish()?;
    completion.usage(answer.usage.clone());
    completion.answered(&answer);
    let raw = (same_format && exchange.head.stream).then(|| {
        let mut out = Vec::with_capacity(raw.len());
        let mut tap = StreamTap::new(format, !exchange.head.include_usage);
        tap.push(&raw, &mut out);
        tap.finish(&mut out);
        Bytes::from(out)
    });
    Ok((raw, Some(answer)))
}

/// About how long an answer is, for the CPU time that reading or writing it may take.
pub fn size(answer: &ChatAnswer) -> usize {
    answer.choices.iter().flat_map(|c| &c.parts).map(part_size).sum()
}

/// The same for a conversation, with its tools.
pub fn conversation_size(chat: &ChatRequest) -> usize {
    let messages = chat.messages.iter().flat_map(|m| &m.parts).map(part_size);
    let tools = chat.tools.iter().map(|t| match &t.kind {
        hub::ToolKind::Function(function) => {
            function.description.as_ref().map_or(0, String::len) + function.parameters.as_ref().map_or(0, String::len)
        }
        _ => OTHER_PART,
    });
    messages.chain(tools).sum()
}

/// What a part counts that holds no text.
const OTHER_PART: usize = 256;

fn part_size(part: &hub::Part) -> usize {
    match &part.kind {
        hub::PartKind::Text(text) | hub::PartKind::Refusal(text) | hub::PartKind::RedactedThinking(text) => text.len(),
        hub::PartKind::Thinking(thinking) => thinking.text.len(),
        hub::PartKind::ToolCall(call) => call.arguments.len(),
        hub::PartKind::ToolResult(result) => result.content.iter().map(result_size).sum(),
        hub::PartKind::Image(media) | hub::PartKind::Audio(media) | hub::PartKind::Document(media) => media_size(media),
        hub::PartKind::Other(other) => other.value.len(),
    }
}

fn result_size(part: &hub::ResultPart) -> usize {
    match &part.kind {
        hub::ResultPartKind::Text(text) | hub::ResultPartKind::Other(text) => text.len(),
        hub::ResultPartKind::Image(media) | hub::ResultPartKind::Document(media) => media_size(media),
    }
}

fn media_size(media: &hub::Media) -> usize {
    match &media.source {
        hub::MediaSource::Inline(inline) => inline.data.len(),
        hub::MediaSource::Text(text) | hub::MediaSource::Other(text) => text.len(),
        hub::MediaSource::Url(_) | hub::MediaSource::FileId(_) => OTHER_PART,
    }
}

fn nothing(exchange: &Exchange) -> ChatError {
    tracing::error!(request_id = exchange.id, "an answer without bytes and without content");
    ChatError::new(ErrorClass::Internal, "The gateway lost the answer.")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn conversations_of_extensions_have_a_size_of_their_own() {
        let check = |message: serde_json::Value, expect: usize| {
            let tool = json!({"type": "function", "function": {"name": "f", "description": "abc"}});
            let body = json!({"model": "m", "messages": [message], "tools": [tool]});
            let chat = Format::OpenaiChat.decode_request(body.to_string().as_bytes()).expect("a request");
            assert_eq!(conversation_size(&chat), 3 + expect, "{body}");
        };
        check(json!({"role": "user", "content": "12345"}), 5);
        check(json!({"role": "tool", "tool_call_id": "c", "content": "1234567"}), 7);
        let call = json!({"id": "c", "type": "function", "function": {"name": "f", "arguments": "{\"a\":1}"}});
        check(json!({"role": "assistant", "content": "12", "tool_calls": [call]}), 9);
        let image = json!({"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}});
        check(json!({"role": "user", "content": [{"type": "text", "text": "1"}, image]}), 5);
    }
}
