//! Stages 6 and 7 for streams: one read of the upstream, one batch of events, one write to the client.
//!
//! Same-format streams that no filter looks at pass as they came, event by event, and are tapped for usage, errors and the end.
//! Others are decoded here and written again (`encoder`). Either way a stream that breaks after its first byte ends with the dialect's
//! error event, never with a clean end.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::body::Body;
use axum::response::Response;
use bytes::Bytes;
use futures_util::{StreamExt as _, stream};
use http::{HeaderMap, HeaderValue, header};
use llm_codec::hub::{self, ChatError, Extra, StreamEvent};
use llm_codec::passthrough::StreamTap;
use llm_codec::{EventDecoder, Format, formats};

use super::answer;
use super::encoder::StreamEncoder;
use super::filters::{Filtered, Filters};
use super::losses::{Losses, LostInStream};
use super::upstream::{Sent, Source};
use super::{Completion, Exchange};
use crate::extensions::Extension;
use crate::extensions::bindings::wasmgate::extension::request::Target;
use crate::providers::{ByteStream, Upstream};

/// A stream on its way.
pub struct Relay {
    exchange: Arc<Exchange>,
    dialect: Arc<Extension>,
    upstream: ByteStream,
    writer: Writer,
    /// What was read before the head of the response could be sent.
    first: Bytes,
    /// Everything was said to the client.
    over: bool,
    losses: Losses,
    target: Target,
    source: Source,
}

/// How long the upstream may take to close after its last event. Reading on until then, beside the
/// client, lets its connection be used again.
const CLOSING: Duration = Duration::from_millis(250);

/// How the client's bytes are made.
enum Writer {
    /// They are the provider's.
    Tap(Box<StreamTap>),
    /// They are written anew.
    Encoder(Box<Translation>),
}

/// From the provider's format to the client's.
struct Translation {
    decoded: Decoded,
    /// Gone once it has written the end.
    encoder: Option<StreamEncoder>,
    /// What the client's format cannot express; logged when the stream is over.
    losses: Option<LostInStream>,
    /// Who answers, where the client's format is told; gone once it was.
    named: Option<Extra>,
}

/// From the provider's format to events that went through the filters.
struct Decoded {
    decoder: EventDecoder,
    /// Decoded and not yet looked at.
    events: Vec<StreamEvent>,
    /// Who looks.
    filters: Filters,
}

/// What one read gave, as events.
struct Batch {
    events: Vec<StreamEvent>,
    /// Nothing follows: all is well, or this went wrong.
    end: Option<Result<(), ChatError>>,
}

/// What one read gave.
enum Step {
    /// Bytes for the client; none when the read held no complete event.
    Bytes(Vec<u8>),
    /// Bytes for the client, and the clean end.
    End(Vec<u8>),
    /// Bytes for the client, then this error.
    Failed { before: Vec<u8>, error: ChatError },
}

impl Relay {
    /// Reads up to the first event that is worth sending. Until then an error is an ordinary error response.
    pub async fn open(
        exchange: &Arc<Exchange>,
        dialect: &Arc<Extension>,
        sent: Sent,
        filters: Filters,
        completion: &mut Completion,
    ) -> Result<Box<Self>, ChatError> {
        let Sent { upstream, format, same_format, losses, target, source, attempt, .. } = sent;
        completion.serve(attempt);
        let (upstream, writer) = match upstream {
            Upstream::Events(events) if same_format && filters.is_empty() => {
                completion.will_pass(format);
                (events.fuse().boxed(), Writer::Tap(Box::new(StreamTap::new(format, !exchange.head.include_usage))))
            }
            upstream => {
                let (upstream, decoded) = Decoded::of(upstream, format, filters, &source)?;
                let encoder = StreamEncoder::open(exchange, dialect, same_format.then_some(format)).await?;
                let (losses, named) = (losses.of_stream(exchange), answer::named(exchange, Some(&target)));
                (upstream, Writer::Encoder(Box::new(Translation { decoded, encoder: Some(encoder), losses, named })))
            }
        };
        let mut relay = Box::new(Self {
            exchange: Arc::clone(exchange),
            dialect: Arc::clone(dialect),
            upstream,
            writer,
            first: Bytes::new(),
            over: false,
            losses,
            target,
            source,
        });
        loop {
            match relay.step(completion).await? {
                Step::Bytes(bytes) if bytes.is_empty() => {}
                Step::Bytes(bytes) => relay.first = bytes.into(),
                Step::End(bytes) => {
                    relay.first = bytes.into();
                    relay.end(completion, None);
                }
                Step::Failed { before, error, .. } if before.is_empty() || !relay.started() => return Err(error),
                Step::Failed { before, error } => {
                    relay.first = relay.last_bytes(before, &error).await.into();
                    relay.end(completion, Some(&error));
                }
            }
            if !relay.first.is_empty() || relay.over {
                return Ok(relay);
            }
        }
    }

    /// The response; its body is the rest of the stream.
    pub fn into_response(mut self: Box<Self>, mut completion: Completion) -> Response {
        let mut head = HeaderMap::new();
        stream_headers(&mut head, &self.exchange.head.format);
        gateway_headers(&mut head, Some(&self.target), &self.losses);
        completion.first_byte(200);
        let first = std::mem::take(&mut self.first);
        let rest = stream::unfold((self, completion), |(mut relay, mut completion)| async move {
            let bytes = relay.next(&mut completion).await?;
            Some((Ok::<_, Infallible>(bytes), (relay, completion)))
        });
        let mut response = Response::new(Body::from_stream(stream::iter([Ok(first)]).chain(rest)));
        *response.headers_mut() = head;
        response
    }

    /// The next bytes for the client.
    async fn next(&mut self, completion: &mut Completion) -> Option<Bytes> {
        while !self.over {
            let bytes = match self.step(completion).await {
                Ok(Step::Bytes(bytes)) => bytes,
                Ok(Step::End(bytes)) => {
                    self.end(completion, None);
                    bytes
                }
                Ok(Step::Failed { before, error }) => {
                    let bytes = self.last_bytes(before, &error).await;
                    self.end(completion, Some(&error));
                    bytes
                }
                Err(error) => {
                    let bytes = self.last_bytes(Vec::new(), &error).await;
                    self.end(completion, Some(&error));
                    bytes
                }
            };
            if !bytes.is_empty() {
                return Some(bytes.into());
            }
        }
        let mut upstream = std::mem::replace(&mut self.upstream, stream::empty().boxed());
        tokio::spawn(async move {
            let closed = async { while let Some(Ok(_)) = upstream.next().await {} };
            // Whether it closed or not: its time is up.
            let _ = tokio::time::timeout(CLOSING, closed).await;
        });
        None
    }

    /// One read of the upstream. An `Err` is a fault of the gateway or an extension; faults of the provider are steps.
    async fn step(&mut self, completion: &mut Completion) -> Result<Step, ChatError> {
        let Self { upstream, writer, exchange, .. } = self;
        let step = match writer {
            Writer::Tap(tap) => tapped(tap, upstream.next().await, completion),
            Writer::Encoder(translation) => translation.step(exchange, upstream, completion).await?,
        };
        Ok(match step {
            Step::Failed { before, error } => Step::Failed { before, error: self.source.tellable(error) },
            step => step,
        })
    }

    /// The end of a stream that broke: what was still good of it, and the dialect's error event.
    async fn last_bytes(&mut self, mut before: Vec<u8>, error: &ChatError) -> Vec<u8> {
        let encoder = match &mut self.writer {
            Writer::Encoder(translation) => translation.encoder.take(),
            Writer::Tap(_) => None,
        };
        let encoder = match encoder {
            Some(encoder) => Ok(encoder),
            None => StreamEncoder::open(&self.exchange, &self.dialect, None).await,
        };
        let written = match encoder {
            Ok(encoder) => encoder.finish(&self.exchange, Some(error)).await,
            Err(e) => Err(e),
        };
        match written {
            Ok(bytes) => before.extend(bytes),
            // The dialect cannot even say that: the client sees the stream break off.
            Err(e) => tracing::error!(error = %e, "the dialect could not end a broken stream"),
        }
        before
    }

    /// Whether the answer has begun; before that there is nothing but the provider's error.
    fn started(&self) -> bool {
        match &self.writer {
            Writer::Tap(tap) => tap.facts().started,
            Writer::Encoder(_) => true,
        }
    }

    fn end(&mut self, completion: &mut Completion, error: Option<&ChatError>) {
        self.over = true;
        match error {
            None => completion.success(),
            Some(error) => {
                self.upstream = stream::empty().boxed();
                completion.error(error, None);
            }
        }
    }
}

impl Translation {
    async fn step(&mut self, exchange: &Exchange, upstream: &mut ByteStream, completion: &mut Completion) -> Result<Step, ChatError> {
        let Batch { mut events, end } = self.decoded.step(upstream, completion).await?;
        let mut bytes = Vec::new();
        let start = events.iter_mut().find_map(|e| if let StreamEvent::Start(start) = e { Some(start) } else { None });
        if let Some(start) = start {
            start.extras.extend(self.named.take());
        }
        if let Some(losses) = &mut self.losses {
            losses.events(&events);
        }
        if let (Some(encoder), false) = (self.encoder.as_mut(), events.is_empty()) {
            bytes = encoder.events(exchange, &events).await?;
        }
        if let Some(Err(error)) = end {
            return Ok(Step::Failed { before: bytes, error });
        }
        match self.encoder.take_if(|_| end.is_some()) {
            Some(encoder) => {
                bytes.extend(encoder.finish(exchange, None).await?);
                Ok(Step::End(bytes))
            }
            None => Ok(Step::Bytes(bytes)),
        }
    }
}

impl Decoded {
    /// What a provider sent, to be read as events.
    fn of(upstream: Upstream, format: Format, filters: Filters, source: &Source) -> Result<(ByteStream, Self), ChatError> {
        let (upstream, events) = match upstream {
            // It is read once more after its end, for a last look whether it closed.
            Upstream::Events(upstream) => (upstream.fuse().boxed(), Vec::new()),
            // Some hosts answer a wish for a stream with a complete document.
            Upstream::Answer(body) => {
                let answer = format.decode_answer(&body).map_err(|e| source.tellable(e))?;
                (stream::empty().boxed(), hub::answer_events(&answer))
            }
        };
        Ok((upstream, Self { decoder: format.event_decoder(), events, filters }))
    }

    /// One read.
    async fn step(&mut self, upstream: &mut ByteStream, completion: &mut Completion) -> Result<Batch, ChatError> {
        let mut failed = None;
        let mut closed = false;
        if self.events.is_empty() {
            match read(upstream, self.filters.deadline()).await {
                Read::Chunk(bytes) => self.decoder.push(&bytes, &mut self.events),
                Read::Failed(error) => failed = Some(error),
                Read::Closed => {
                    closed = true;
                    self.decoder.finish(&mut self.events);
                }
                Read::Waited => {}
            }
        }
        let mut batch = std::mem::take(&mut self.events);
        let mut ended = false;
        if let Some(at) = batch.iter().position(|e| matches!(e, StreamEvent::Error(_) | StreamEvent::End)) {
            if let StreamEvent::Error(error) = &batch[at] {
                failed = Some(error.clone());
            } else {
                ended = true;
            }
            batch.truncate(at);
        }
        for event in &batch {
            completion.event(event);
            match event {
                StreamEvent::Usage(usage) => completion.usage(Some(usage.clone())),
                StreamEvent::Start(start) => completion.usage(start.usage.clone()),
                _ => {}
            }
        }
        if !self.filters.is_empty() {
            let last = ended || closed || failed.is_some();
            let Filtered { events, stop, .. } = self.filters.run(batch, last).await?;
            batch = events;
            match stop {
                Some(None) => ended = true,
                Some(Some(error)) => failed = Some(error),
                None => {}
            }
        }
        completion.told(&batch);
        let end = match failed {
            Some(error) => Some(Err(error)),
            None => ended.then_some(Ok(())),
        };
        Ok(Batch { events: batch, end })
    }
}

/// A stream that an extension asked for: the events themselves.
pub struct Events {
    upstream: ByteStream,
    decoded: Decoded,
    /// What was read before it was known that the stream is one.
    first: Vec<StreamEvent>,
    end: Option<Result<(), ChatError>>,
    target: Target,
    source: Source,
}

impl Events {
    /// Reads up to the first event. Until then an error is that of the attempt.
    pub async fn open(sent: Sent, filters: Filters, completion: &mut Completion) -> Result<Box<Self>, ChatError> {
        let Sent { upstream, format, target, source, attempt, .. } = sent;
        completion.serve(attempt);
        let (upstream, decoded) = Decoded::of(upstream, format, filters, &source)?;
        let mut events = Box::new(Self { upstream, decoded, first: Vec::new(), end: None, target, source });
        events.first = events.next(completion).await?;
        Ok(events)
    }

    /// The next events; none at the end.
    pub async fn next(&mut self, completion: &mut Completion) -> Result<Vec<StreamEvent>, ChatError> {
        if !self.first.is_empty() {
            return Ok(std::mem::take(&mut self.first));
        }
        while self.end.is_none() {
            let Batch { events, end } = self.decoded.step(&mut self.upstream, completion).await?;
            self.end = end;
            if !events.is_empty() {
                return Ok(events);
            }
        }
        match self.end.replace(Ok(())) {
            Some(Err(error)) => Err(self.source.tellable(error)),
            _ => Ok(Vec::new()),
        }
    }

    /// Who answers.
    pub fn target(&self) -> &Target {
        &self.target
    }
}

/// The next read. When a filter holds something back, it waits no longer than that may take.
async fn read(upstream: &mut ByteStream, deadline: Option<Instant>) -> Read {
    let next = upstream.next();
    let read = match deadline {
        None => next.await,
        Some(deadline) => match tokio::time::timeout_at(deadline.into(), next).await {
            Ok(read) => read,
            Err(_) => return Read::Waited,
        },
    };
    match read {
        Some(Ok(bytes)) => Read::Chunk(bytes),
        Some(Err(error)) => Read::Failed(error),
        None => Read::Closed,
    }
}

/// What waiting for the upstream gave.
enum Read {
    Chunk(Bytes),
    Failed(ChatError),
    Closed,
    /// Nothing, for as long as a filter may hold something back.
    Waited,
}

fn tapped(tap: &mut StreamTap, chunk: Option<Result<Bytes, ChatError>>, completion: &mut Completion) -> Step {
    let mut bytes = Vec::new();
    let (broken, closed) = match chunk {
        Some(Ok(chunk)) => {
            completion.passes(&chunk);
            bytes.reserve(chunk.len());
            tap.push(&chunk, &mut bytes);
            (None, false)
        }
        Some(Err(e)) => (Some(e), true),
        None => {
            tap.finish(&mut bytes);
            (None, true)
        }
    };
    let facts = tap.facts();
    completion.usage(facts.usage.clone());
    match (&facts.error, broken) {
        (Some(error), None) => Step::Failed { before: bytes, error: error.clone() },
        (_, Some(error)) => Step::Failed { before: bytes, error },
        (None, None) if facts.ended || closed => Step::End(bytes),
        (None, None) => Step::Bytes(bytes),
    }
}

/// Header fields of every stream; `format` is what its dialect calls it. Proxies on the way must neither cache nor collect it.
pub fn stream_headers(headers: &mut HeaderMap, format: &str) {
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(formats::stream_type(format)));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    headers.insert("x-accel-buffering", HeaderValue::from_static("no"));
}

/// Who answered, and what got lost on the way.
pub fn gateway_headers(headers: &mut HeaderMap, target: Option<&Target>, losses: &Losses) {
    let mut set = |name: &'static str, value: &str| {
        if let Ok(value) = HeaderValue::from_str(value) {
            headers.insert(name, value);
        }
    };
    if let Some(target) = target {
        set("x-wasmgate-provider", &target.provider);
        // Some operations name none.
        if !target.model.is_empty() {
            set("x-wasmgate-model", &target.model);
        }
    }
    if let Some(losses) = losses.header() {
        set("x-wasmgate-losses", &losses);
    }
}
