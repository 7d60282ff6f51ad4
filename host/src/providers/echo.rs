//! A provider without an upstream: it answers with what the last user message says. For trying out, and for tests of
//! everything around a provider. It speaks OpenAI chat completions, word by word when asked to stream.

use bytes::Bytes;
use futures_util::future::BoxFuture;
use futures_util::stream;
use llm_codec::hub::{
    BlockDelta, BlockId, BlockStart, ChatAnswer, ChatError, ChatRequest, Choice, ContentShape, Delta, FinishReason, Part, PartKind, Role,
    StreamEvent, StreamFinish, StreamStart, Usage,
};
use llm_codec::{Format, StreamOptions};

use super::{Outgoing, Provider, Upstream};

const FORMAT: Format = Format::OpenaiChat;
const ID: &str = "chatcmpl-echo";

/// The provider.
pub struct Echo;

impl Provider for Echo {
    fn format(&self) -> Format {
        FORMAT
    }

    fn send(&self, outgoing: Outgoing) -> BoxFuture<'_, Result<Upstream, ChatError>> {
        Box::pin(async move {
            let request = FORMAT.decode_request(&outgoing.body)?;
            Ok(if outgoing.stream { Upstream::Events(stream(&request)) } else { Upstream::Answer(answer(&request)) })
        })
    }
}

/// Texts of the last user message.
fn said(request: &ChatRequest) -> String {
    let last = request.messages.iter().rev().find(|m| m.role == Role::User);
    let parts = last.map_or(&[][..], |m| &m.parts);
    let texts = parts.iter().filter_map(|p| match &p.kind {
        PartKind::Text(text) => Some(text.as_str()),
        _ => None,
    });
    texts.collect::<Vec<_>>().join("\n")
}

/// Counts words: a stand-in for tokens that a reader can check.
fn words(text: &str) -> u64 {
    text.split_whitespace().count() as u64
}

fn usage(request: &ChatRequest, said: &str) -> Usage {
    let parts = request.messages.iter().flat_map(|m| &m.parts);
    let input = parts
        .map(|p| match &p.kind {
            PartKind::Text(text) => words(text),
            _ => 0,
        })
        .sum();
    Usage {
        input_tokens: input,
        cache_read_tokens: None,
        cache_write_tokens: None,
        output_tokens: words(said),
        reasoning_tokens: None,
        raw: None,
    }
}

fn options(request: &ChatRequest) -> StreamOptions {
    StreamOptions { include_usage: request.include_usage, id: ID.into(), model: request.model.clone(), created: 0 }
}

fn part(text: String) -> Part {
    Part { kind: PartKind::Text(text), cache_control: None, extras: Vec::new() }
}

fn answer(request: &ChatRequest) -> Bytes {
    let said = said(request);
    let answer = ChatAnswer {
        format: FORMAT.as_str().into(),
        id: ID.into(),
        model: request.model.clone(),
        created: Some(0),
        usage: Some(usage(request, &said)),
        choices: vec![Choice {
            index: 0,
            parts: vec![part(said)],
            shape: ContentShape::Text,
            finish: Some(FinishReason::Stop),
            extras: Vec::new(),
        }],
        extras: Vec::new(),
    };
    FORMAT.encode_answer(&answer, &options(request)).body.into()
}

fn stream(request: &ChatRequest) -> super::ByteStream {
    let said = said(request);
    let at = BlockId { choice: 0, block: 0 };
    let mut events = vec![
        StreamEvent::Start(StreamStart {
            format: FORMAT.as_str().into(),
            id: ID.into(),
            model: request.model.clone(),
            created: Some(0),
            usage: None,
            extras: Vec::new(),
        }),
        StreamEvent::BlockStart(BlockStart { at, part: part(String::new()) }),
    ];
    let pieces = said.split_inclusive(' ');
    events.extend(pieces.map(|p| StreamEvent::BlockDelta(BlockDelta { at, delta: Delta::Text(p.into()), extras: Vec::new() })));
    events.push(StreamEvent::BlockStop(at));
    events.push(StreamEvent::Finish(StreamFinish { choice: 0, reason: FinishReason::Stop, extras: Vec::new() }));
    events.push(StreamEvent::Usage(usage(request, &said)));
    events.push(StreamEvent::End);
    let mut encoder = FORMAT.event_encoder(options(request));
    Box::pin(stream::iter(events.into_iter().map(move |event| {
        let mut bytes = Vec::new();
        encoder.events(&[event], &mut bytes);
        Ok(Bytes::from(bytes))
    })))
}
