//! One format by itself, for a component that must not carry the others: [`Format`] reaches all of them.

use std::fmt;

use crate::hub::{ChatAnswer, ChatError, ChatRequest, StreamEvent};
use crate::{
    DecodeError, Encoded, ErrorReply, Format, StreamOptions, anthropic_messages, gemini_generate, openai_chat, openai_completions,
    openai_responses,
};

/// What a dialect needs of its format.
pub trait Codec {
    /// Which format it is.
    const FORMAT: Format;

    /// Decodes a request; see [`Format::decode_request`].
    ///
    /// # Errors
    /// The document is not JSON, or not a request that the format allows.
    fn decode_request(body: &[u8]) -> Result<ChatRequest, DecodeError>;

    /// Encodes a complete answer; see [`Format::encode_answer`].
    fn encode_answer(answer: &ChatAnswer, options: &StreamOptions) -> Encoded;

    /// Writes an error; see [`Format::encode_error`].
    fn encode_error(error: &ChatError) -> ErrorReply;

    /// An encoder of a stream; see [`Format::event_encoder`].
    fn encoder(options: StreamOptions) -> StreamEncoder;
}

/// Events to the bytes of a stream, in one format.
pub struct StreamEncoder {
    inner: Box<dyn Frames>,
    done: bool,
}

trait Frames {
    fn event(&mut self, event: &StreamEvent, out: &mut Vec<u8>);
    fn end(&mut self, out: &mut Vec<u8>);
    fn error(&mut self, error: &ChatError, out: &mut Vec<u8>);
}

impl StreamEncoder {
    /// Appends the bytes of events. What comes after `End` or `Error` is ignored.
    pub fn events(&mut self, events: &[StreamEvent], out: &mut Vec<u8>) {
        for event in events {
            if self.done {
                return;
            }
            self.done = matches!(event, StreamEvent::End | StreamEvent::Error(_));
            self.inner.event(event, out);
        }
    }

    /// Ends the stream: cleanly, or with the format's error event. Does nothing when the stream has ended.
    pub fn finish(&mut self, error: Option<&ChatError>, out: &mut Vec<u8>) {
        if std::mem::replace(&mut self.done, true) {
            return;
        }
        match error {
            None => self.inner.end(out),
            Some(error) => self.inner.error(error, out),
        }
    }
}

impl fmt::Debug for StreamEncoder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StreamEncoder").field("done", &self.done).finish_non_exhaustive()
    }
}

macro_rules! codec {
    ($(#[$doc:meta])* $name:ident, $folder:ident) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy)]
        pub struct $name;

        impl Codec for $name {
            const FORMAT: Format = Format::$name;

            fn decode_request(body: &[u8]) -> Result<ChatRequest, DecodeError> {
                $folder::decode_request(body)
            }

            fn encode_answer(answer: &ChatAnswer, options: &StreamOptions) -> Encoded {
                $folder::encode_answer(answer, options)
            }

            fn encode_error(error: &ChatError) -> ErrorReply {
                $folder::encode_error(error)
            }

            fn encoder(options: StreamOptions) -> StreamEncoder {
                StreamEncoder { inner: Box::new($folder::Encoder::new(options)), done: false }
            }
        }

        impl Frames for $folder::Encoder {
            fn event(&mut self, event: &StreamEvent, out: &mut Vec<u8>) {
                self.event(event, out);
            }

            fn end(&mut self, out: &mut Vec<u8>) {
                self.end(out);
            }

            fn error(&mut self, error: &ChatError, out: &mut Vec<u8>) {
                self.error(error, out);
            }
        }
    };
}

codec!(
    /// OpenAI chat completions.
    OpenaiChat,
    openai_chat
);
codec!(
    /// Anthropic messages.
    AnthropicMessages,
    anthropic_messages
);
codec!(
    /// OpenAI responses.
    OpenaiResponses,
    openai_responses
);
codec!(
    /// Gemini's `generateContent`; a stream is server-sent events.
    GeminiGenerate,
    gemini_generate
);

codec!(
    /// OpenAI's legacy completions.
    OpenaiCompletions,
    openai_completions
);

/// What a dialect calls Gemini's format when the caller wants a stream as one JSON array, and not as events. Requests, answers and errors are
/// the same.
pub const GEMINI_LIST: &str = "gemini-generate-list";

/// The media type of a stream in the format with this name.
pub fn stream_type(name: &str) -> &'static str {
    if name == GEMINI_LIST { "application/json" } else { "text/event-stream; charset=utf-8" }
}

/// Gemini's `generateContent`; a stream is one JSON array.
#[derive(Debug, Clone, Copy)]
pub struct GeminiList;

impl Codec for GeminiList {
    const FORMAT: Format = Format::GeminiGenerate;

    fn decode_request(body: &[u8]) -> Result<ChatRequest, DecodeError> {
        GeminiGenerate::decode_request(body)
    }

    fn encode_answer(answer: &ChatAnswer, options: &StreamOptions) -> Encoded {
        GeminiGenerate::encode_answer(answer, options)
    }

    fn encode_error(error: &ChatError) -> ErrorReply {
        GeminiGenerate::encode_error(error)
    }

    fn encoder(options: StreamOptions) -> StreamEncoder {
        StreamEncoder { inner: Box::new(gemini_generate::Encoder::list(options)), done: false }
    }
}
