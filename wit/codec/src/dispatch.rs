//! The one place that knows all formats.

use crate::formats::GEMINI_LIST;
use crate::hub::{ChatAnswer, ChatError, ChatRequest, ContentShape, ErrorClass, Extra, Part, StreamEvent, Usage, answer_events};
use crate::json::Value;
use crate::{
    DecodeError, EncodeOptions, Encoded, ErrorReply, Loss, StreamOptions, anthropic_messages, gemini_generate, openai_chat,
    openai_completions, openai_responses, sse,
};

/// A wire format.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Format {
    /// OpenAI chat completions, and everything that is compatible with it.
    OpenaiChat,
    /// Anthropic messages.
    AnthropicMessages,
    /// OpenAI responses.
    OpenaiResponses,
    /// Gemini's `generateContent` and `streamGenerateContent`.
    GeminiGenerate,
    /// OpenAI's legacy completions. A provider of OpenAI's API may have them beside its own format; none speaks nothing else.
    OpenaiCompletions,
}

impl Format {
    /// Every format of conversations: those that providers are asked in. [`Self::OpenaiCompletions`] is none.
    pub const ALL: [Self; 4] = [Self::OpenaiChat, Self::AnthropicMessages, Self::OpenaiResponses, Self::GeminiGenerate];

    /// The format's name in the contract.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::OpenaiChat => openai_chat::NAME,
            Self::AnthropicMessages => anthropic_messages::NAME,
            Self::OpenaiResponses => openai_responses::NAME,
            Self::GeminiGenerate => gemini_generate::NAME,
            Self::OpenaiCompletions => openai_completions::NAME,
        }
    }

    /// The format with this name, or with the name that a dialect has for it (see [`GEMINI_LIST`]).
    pub fn from_name(name: &str) -> Option<Self> {
        let name = if name == GEMINI_LIST { gemini_generate::NAME } else { name };
        Self::ALL.into_iter().chain([Self::OpenaiCompletions]).find(|f| f.as_str() == name)
    }

    /// Decodes a request.
    ///
    /// # Errors
    /// The document is not JSON, or not a request that the format allows; the error says where and why.
    pub fn decode_request(self, body: &[u8]) -> Result<ChatRequest, DecodeError> {
        match self {
            Self::OpenaiChat => openai_chat::decode_request(body),
            Self::AnthropicMessages => anthropic_messages::decode_request(body),
            Self::OpenaiResponses => openai_responses::decode_request(body),
            Self::GeminiGenerate => gemini_generate::decode_request(body),
            Self::OpenaiCompletions => openai_completions::decode_request(body),
        }
    }

    /// Encodes a request.
    pub fn encode_request(self, request: &ChatRequest, options: &EncodeOptions) -> Encoded {
        match self {
            Self::OpenaiChat => openai_chat::encode_request(request),
            Self::AnthropicMessages => anthropic_messages::encode_request(request, options),
            Self::OpenaiResponses => openai_responses::encode_request(request),
            Self::GeminiGenerate => gemini_generate::encode_request(request),
            Self::OpenaiCompletions => openai_completions::encode_request(request),
        }
    }

    /// Whether providers of other formats can answer: the request builds on nothing that only a provider of this format keeps (answers,
    /// conversations, items), and asks for nothing that no conversation can say.
    ///
    /// # Errors
    /// The field that does, and why.
    pub fn portable(self, request: &ChatRequest) -> Result<(), DecodeError> {
        match self {
            Self::OpenaiChat | Self::AnthropicMessages => Ok(()),
            Self::OpenaiResponses => {
                openai_responses::state(request).map_or(Ok(()), |(field, reason)| Err(DecodeError::new(field, reason)))
            }
            Self::GeminiGenerate => gemini_generate::state(request).map_or(Ok(()), |(field, reason)| Err(DecodeError::new(field, reason))),
            Self::OpenaiCompletions => {
                openai_completions::state(request).map_or(Ok(()), |(field, reason)| Err(DecodeError::new(field, reason)))
            }
        }
    }

    /// Decodes a complete answer. What a provider adds or leaves out is kept, not refused.
    ///
    /// # Errors
    /// An error document under a success status, as its class; anything else that is not an answer, as
    /// [`ErrorClass::Protocol`].
    pub fn decode_answer(self, body: &[u8]) -> Result<ChatAnswer, ChatError> {
        match self {
            Self::OpenaiChat => openai_chat::decode_answer(body),
            Self::AnthropicMessages => anthropic_messages::decode_answer(body),
            Self::OpenaiResponses => openai_responses::decode_answer(body),
            Self::GeminiGenerate => gemini_generate::decode_answer(body),
            Self::OpenaiCompletions => openai_completions::decode_answer(body),
        }
    }

    /// Encodes a complete answer. `options` give what the upstream left out; `include_usage` does not matter here.
    pub fn encode_answer(self, answer: &ChatAnswer, options: &StreamOptions) -> Encoded {
        match self {
            Self::OpenaiChat => openai_chat::encode_answer(answer, options),
            Self::AnthropicMessages => anthropic_messages::encode_answer(answer, options),
            Self::OpenaiResponses => openai_responses::encode_answer(answer, options),
            Self::GeminiGenerate => gemini_generate::encode_answer(answer, options),
            Self::OpenaiCompletions => openai_completions::encode_answer(answer, options),
        }
    }

    /// Reads an answer with an error status, whatever its body is (another format's, HTML, nothing).
    ///
    /// `retry_after` is the value of the `retry-after` header: seconds, also fractional, or a duration such as `"123ms"`. For dates and what
    /// other headers tell there is [`crate::retry_after`], which is given the time.
    pub fn decode_error(self, status: u16, retry_after: Option<&str>, body: &[u8]) -> ChatError {
        match self {
            Self::OpenaiChat => openai_chat::decode_error(status, retry_after, body),
            Self::AnthropicMessages => anthropic_messages::decode_error(status, retry_after, body),
            Self::OpenaiResponses => openai_responses::decode_error(status, retry_after, body),
            Self::GeminiGenerate => gemini_generate::decode_error(status, retry_after, body),
            Self::OpenaiCompletions => openai_completions::decode_error(status, retry_after, body),
        }
    }

    /// Writes an error with the format's own words. The status is the error's own, else the format's for the class.
    pub fn encode_error(self, error: &ChatError) -> ErrorReply {
        match self {
            Self::OpenaiChat => openai_chat::encode_error(error),
            Self::AnthropicMessages => anthropic_messages::encode_error(error),
            Self::OpenaiResponses => openai_responses::encode_error(error),
            Self::GeminiGenerate => gemini_generate::encode_error(error),
            Self::OpenaiCompletions => openai_completions::encode_error(error),
        }
    }

    /// A decoder of a stream that takes events of up to [`sse::DEFAULT_LIMIT`] bytes.
    pub fn event_decoder(self) -> EventDecoder {
        self.event_decoder_with_limit(sse::DEFAULT_LIMIT)
    }

    /// A decoder of a stream that takes events of up to `limit` bytes; a longer one is [`ErrorClass::Protocol`].
    pub fn event_decoder_with_limit(self, limit: usize) -> EventDecoder {
        let inner = match self {
            Self::OpenaiChat => Decoder::OpenaiChat(openai_chat::Decoder::default()),
            Self::AnthropicMessages => Decoder::AnthropicMessages(anthropic_messages::Decoder::default()),
            Self::OpenaiResponses => Decoder::OpenaiResponses(openai_responses::Decoder::default()),
            Self::GeminiGenerate => Decoder::GeminiGenerate(gemini_generate::Decoder::default()),
            Self::OpenaiCompletions => Decoder::OpenaiCompletions(openai_completions::Decoder::default()),
        };
        EventDecoder {
            format: self,
            parser: sse::Parser::with_limit(limit),
            inner,
            begun: false,
            document: None,
            list: None,
            limit,
            progress: Progress::default(),
        }
    }

    /// An encoder of a stream.
    pub fn event_encoder(self, options: StreamOptions) -> EventEncoder {
        let inner = match self {
            Self::OpenaiChat => Encoder::OpenaiChat(Box::new(openai_chat::Encoder::new(options))),
            Self::AnthropicMessages => Encoder::AnthropicMessages(Box::new(anthropic_messages::Encoder::new(options))),
            Self::OpenaiResponses => Encoder::OpenaiResponses(Box::new(openai_responses::Encoder::new(options))),
            Self::GeminiGenerate => Encoder::GeminiGenerate(Box::new(gemini_generate::Encoder::new(options))),
            Self::OpenaiCompletions => Encoder::OpenaiCompletions(Box::new(openai_completions::Encoder::new(options))),
        };
        EventEncoder { inner, done: false }
    }

    /// Reads a provider's usage object, as it stands in an answer.
    pub fn decode_usage(self, json: &str) -> Option<Usage> {
        let value = Value::parse(json)?;
        match self {
            Self::OpenaiChat => openai_chat::read_usage(value),
            Self::AnthropicMessages => anthropic_messages::read_usage(value),
            Self::OpenaiResponses => openai_responses::read_usage(value),
            Self::GeminiGenerate => gemini_generate::read_usage(value),
            Self::OpenaiCompletions => openai_completions::read_usage(value),
        }
    }

    /// Whether another format loses this extra without harm.
    pub(crate) fn is_harmless(self, name: &str) -> bool {
        match self {
            Self::OpenaiChat => openai_chat::is_harmless(name),
            Self::AnthropicMessages => anthropic_messages::is_harmless(name),
            Self::OpenaiResponses => openai_responses::is_harmless(name),
            Self::GeminiGenerate => gemini_generate::is_harmless(name),
            Self::OpenaiCompletions => openai_completions::is_harmless(name),
        }
    }

    /// Whether an extra says what holds without it.
    pub(crate) fn is_inert(self, name: &str, value: &str) -> bool {
        self == Self::OpenaiCompletions && openai_completions::is_inert(name, value)
    }

    /// Whether this extra of an answer is nothing to its reader: what the request said, repeated, and what the provider notes for itself.
    pub(crate) fn is_bookkeeping(self, name: &str) -> bool {
        match self {
            Self::OpenaiChat => openai_chat::is_bookkeeping(name),
            Self::OpenaiResponses => openai_responses::is_bookkeeping(name),
            // What the others tell beside an answer is all about it.
            _ => false,
        }
    }

    /// Grows a part by a delta that the hub does not model.
    pub(crate) fn fold_delta(self, part: &mut Part, json: &str) {
        match self {
            Self::OpenaiChat | Self::GeminiGenerate | Self::OpenaiCompletions => {}
            Self::AnthropicMessages => anthropic_messages::fold_delta(part, json),
            Self::OpenaiResponses => openai_responses::fold_delta(part, json),
        }
    }

    /// Puts what a delta tells besides its text into a part, in formats where all of it belongs there.
    pub(crate) fn fold_extra(self, part: &mut Part, told: &Extra) {
        if self == Self::OpenaiResponses {
            openai_responses::fold(part, told);
        }
    }

    /// Puts an event that the hub does not model into a collected answer.
    pub(crate) fn fold_event(self, json: &str, answer: &mut Vec<Extra>, choice: impl FnMut(u32, Vec<Extra>)) {
        match self {
            Self::OpenaiChat => openai_chat::fold(json, answer, choice),
            Self::OpenaiCompletions => openai_completions::fold(json, answer),
            // An unknown kind of event has no place in the complete message.
            Self::AnthropicMessages | Self::OpenaiResponses | Self::GeminiGenerate => {}
        }
    }

    /// The shape of content that was collected from a stream.
    pub(crate) fn content_shape(self, parts: &[Part]) -> ContentShape {
        match self {
            Self::OpenaiChat => openai_chat::content_shape(parts),
            Self::OpenaiCompletions => ContentShape::Text,
            Self::AnthropicMessages | Self::OpenaiResponses | Self::GeminiGenerate => ContentShape::Parts,
        }
    }
}

/// SSE bytes to events.
///
/// The events of one stream are: `Start`, then blocks, `Finish`, `Usage` and the like, and last exactly one of `End` and `Error`,
/// after which nothing follows.
#[derive(Debug)]
pub struct EventDecoder {
    format: Format,
    parser: sse::Parser,
    inner: Decoder,
    /// The first byte that is no white space was seen.
    begun: bool,
    /// The body, when it is a document in place of a stream.
    document: Option<Vec<u8>>,
    /// The stream is one array, in formats that have it so.
    list: Option<gemini_generate::List>,
    limit: usize,
    progress: Progress,
}

/// Where a stream is between its first event and its last.
#[derive(Debug, Default)]
struct Progress {
    /// `Start` came.
    started: bool,
    /// `End` or `Error` came.
    done: bool,
}

/// Longest document in place of a stream that is kept, in bytes: it is an error or a short answer.
const DOCUMENT: usize = 4 * 1024 * 1024;

#[derive(Debug)]
enum Decoder {
    OpenaiChat(openai_chat::Decoder),
    AnthropicMessages(anthropic_messages::Decoder),
    OpenaiResponses(openai_responses::Decoder),
    GeminiGenerate(gemini_generate::Decoder),
    OpenaiCompletions(openai_completions::Decoder),
}

impl EventDecoder {
    /// Takes bytes, cut anywhere, and appends the events that they complete. Faults of the provider become `Error` events.
    pub fn push(&mut self, bytes: &[u8], out: &mut Vec<StreamEvent>) {
        if self.progress.done {
            return;
        }
        if self.takes_document(bytes) {
            return;
        }
        let Self { parser, inner, progress, list, limit, .. } = self;
        let result = match list {
            None => parser.push(bytes, &mut |event| inner.event(progress, event, false, out)),
            Some(list) => list
                .push(bytes, &mut |data| inner.event(progress, sse::Event { name: "", data }, false, out))
                .then_some(())
                .ok_or(sse::TooLong { limit: *limit }),
        };
        if let Err(e) = result {
            self.fail(ChatError::new(ErrorClass::Protocol, e.to_string()), out);
        }
    }

    /// The connection closed: appends `Error` (interrupted) unless the answer was complete.
    pub fn finish(&mut self, out: &mut Vec<StreamEvent>) {
        if self.progress.done {
            return;
        }
        if let Some(document) = self.document.take() {
            self.progress.done = true;
            return match self.format.decode_answer(&document) {
                Ok(answer) => out.extend(answer_events(&answer)),
                Err(e) => out.push(StreamEvent::Error(e)),
            };
        }
        let Self { parser, inner, progress, list, .. } = self;
        match list {
            None => parser.finish(&mut |event| inner.event(progress, event, true, out)),
            Some(list) => inner.event(progress, sse::Event { name: "", data: list.held() }, true, out),
        }
        if !progress.done {
            let before = out.len();
            match inner {
                Decoder::OpenaiChat(d) => d.closed(out),
                Decoder::AnthropicMessages(d) => d.closed(out),
                Decoder::OpenaiResponses(d) => d.closed(out),
                Decoder::GeminiGenerate(d) => d.closed(out),
                Decoder::OpenaiCompletions(d) => d.closed(out),
            }
            progress.follow(before, out);
            progress.done = true;
        }
    }

    /// Some providers answer a request for a stream with one document: an error under a success status, a page of a proxy, or the
    /// whole answer. No line of a stream begins like one.
    fn takes_document(&mut self, mut bytes: &[u8]) -> bool {
        if !self.begun {
            let start = bytes.trim_ascii_start();
            let Some(first) = start.first() else { return false };
            self.begun = true;
            if matches!(first, b'{' | b'<') {
                // White space of earlier pieces is gone already.
                bytes = start;
                self.document = Some(Vec::new());
            }
            if *first == b'[' && self.format == Format::GeminiGenerate {
                self.list = Some(gemini_generate::List::with_limit(self.limit));
            }
        }
        let Some(document) = &mut self.document else { return false };
        let room = DOCUMENT - document.len();
        document.extend_from_slice(&bytes[..bytes.len().min(room)]);
        true
    }

    fn fail(&mut self, e: ChatError, out: &mut Vec<StreamEvent>) {
        if !self.progress.done {
            self.progress.done = true;
            out.push(StreamEvent::Error(e));
        }
    }
}

impl Decoder {
    fn event(&mut self, progress: &mut Progress, event: sse::Event<'_>, last: bool, out: &mut Vec<StreamEvent>) {
        if progress.done {
            return;
        }
        let before = out.len();
        match self {
            Self::OpenaiChat(d) => d.event(event.name, event.data, last, out),
            Self::AnthropicMessages(d) => d.event(event.name, event.data, last, out),
            Self::OpenaiResponses(d) => d.event(event.name, event.data, last, out),
            Self::GeminiGenerate(d) => d.event(event.name, event.data, last, out),
            Self::OpenaiCompletions(d) => d.event(event.name, event.data, last, out),
        }
        progress.follow(before, out);
    }
}

impl Progress {
    /// Takes note of the events from `from` on, and drops what follows the end. An end without a beginning is an error: it must not
    /// look like an empty answer.
    fn follow(&mut self, from: usize, out: &mut Vec<StreamEvent>) {
        for at in from..out.len() {
            match &out[at] {
                StreamEvent::Start(_) => self.started = true,
                StreamEvent::End if !self.started => out[at] = StreamEvent::Error(no_answer()),
                _ => {}
            }
            if matches!(out[at], StreamEvent::End | StreamEvent::Error(_)) {
                out.truncate(at + 1);
                self.done = true;
                return;
            }
        }
    }
}

/// The error of a stream that says that it is complete and holds nothing.
pub(crate) fn no_answer() -> ChatError {
    ChatError::new(ErrorClass::Protocol, "the provider's stream ended before an answer began")
}

/// Events to SSE bytes.
#[derive(Debug)]
pub struct EventEncoder {
    inner: Encoder,
    done: bool,
}

#[derive(Debug)]
enum Encoder {
    OpenaiChat(Box<openai_chat::Encoder>),
    AnthropicMessages(Box<anthropic_messages::Encoder>),
    OpenaiResponses(Box<openai_responses::Encoder>),
    GeminiGenerate(Box<gemini_generate::Encoder>),
    OpenaiCompletions(Box<openai_completions::Encoder>),
}

impl EventEncoder {
    /// Appends the bytes of events. What comes after `End` or `Error` is ignored.
    pub fn events(&mut self, events: &[StreamEvent], out: &mut Vec<u8>) {
        for event in events {
            if self.done {
                return;
            }
            self.done = matches!(event, StreamEvent::End | StreamEvent::Error(_));
            match &mut self.inner {
                Encoder::OpenaiChat(e) => e.event(event, out),
                Encoder::AnthropicMessages(e) => e.event(event, out),
                Encoder::OpenaiResponses(e) => e.event(event, out),
                Encoder::GeminiGenerate(e) => e.event(event, out),
                Encoder::OpenaiCompletions(e) => e.event(event, out),
            }
        }
    }

    /// Ends the stream: cleanly, or with the format's error event, after which no clean end follows. Does nothing when the stream
    /// has ended.
    pub fn finish(&mut self, error: Option<&ChatError>, out: &mut Vec<u8>) {
        if std::mem::replace(&mut self.done, true) {
            return;
        }
        match (&mut self.inner, error) {
            (Encoder::OpenaiChat(e), None) => e.end(out),
            (Encoder::OpenaiChat(e), Some(error)) => e.error(error, out),
            (Encoder::AnthropicMessages(e), None) => e.end(out),
            (Encoder::AnthropicMessages(e), Some(error)) => e.error(error, out),
            (Encoder::OpenaiResponses(e), None) => e.end(out),
            (Encoder::OpenaiResponses(e), Some(error)) => e.error(error, out),
            (Encoder::GeminiGenerate(e), None) => e.end(out),
            (Encoder::OpenaiCompletions(e), None) => e.end(out),
            (Encoder::GeminiGenerate(e), Some(error)) => e.error(error, out),
            (Encoder::OpenaiCompletions(e), Some(error)) => e.error(error, out),
        }
    }

    /// What the format could not express so far.
    pub fn losses(&self) -> &[Loss] {
        match &self.inner {
            Encoder::OpenaiChat(e) => e.losses(),
            Encoder::AnthropicMessages(e) => e.losses(),
            Encoder::OpenaiResponses(e) => e.losses(),
            Encoder::GeminiGenerate(e) => e.losses(),
            Encoder::OpenaiCompletions(e) => e.losses(),
        }
    }
}
