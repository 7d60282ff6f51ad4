//! Wire formats of language model APIs, and the hub that they meet in.
//!
//! Every format decodes to and encodes from the records of [`hub`]; no format knows another, so N formats cost N codecs
//! and not N times N translations. Same-format traffic that nobody edits does not come here at all: [`passthrough`]
//! forwards its bytes and only reads what the gateway must know.
//!
//! ```text
//! request bytes --decode_request--> ChatRequest --encode_request--> bytes (+ losses)
//! answer bytes  --decode_answer---> ChatAnswer  --encode_answer---> bytes (+ losses)
//! stream bytes  --EventDecoder----> StreamEvent --EventEncoder----> SSE bytes
//! error bytes   --decode_error----> ChatError   --encode_error----> status + bytes
//! ```
//!
//! What is **absent**: IO, clocks, randomness, threads, async, HTTP types and headers (only those come in, as text, that tell when to try
//! again), knowledge of vendors or of models' abilities, and any policy about losses: the codec lists them,
//! the caller decides. The crate compiles for `wasm32-unknown-unknown`.
//!
//! # What is kept, and how
//!
//! * A field that the hub does not model becomes an [`hub::Extra`], in the format of the document, and is written back when the
//!   target has the same format. For another format it is a [`Loss`].
//! * A field that the hub models but that was written in one of several ways (`null`, `"stop"` as a string, `stream: false`)
//!   also leaves an extra with the same name: a *hint*. The encoder of the same format repeats the hint when it still says
//!   what the hub says; when a hook edited the hub, the hub wins. A hint is never a loss.
//! * Where one hub record stands for two nested objects, the inner object's fields carry its name: `function.x` in
//!   an OpenAI tool, `message.x` in an OpenAI choice, `event.x` in the end of an Anthropic stream, `text.x` in
//!   a request for a response, `generationConfig.x` in one of Gemini.
//! * An extra whose name starts with `$` is a note of the codec to itself (for example `$field`: which of several fields a piece
//!   of reasoning came in). It is never written out and never a loss.
#![forbid(unsafe_code)]
#![warn(missing_docs)]

mod anthropic_messages;
mod dispatch;
pub mod embeddings;
mod error;
mod error_body;
pub mod estimate;
pub mod formats;
mod gemini_generate;
pub mod hub;
pub mod json;
mod losses;
mod map;
mod openai_chat;
mod openai_completions;
mod openai_document;
mod openai_error;
mod openai_params;
mod openai_responses;
mod openai_tools;
mod openai_usage;
pub mod passthrough;
mod size;
pub mod sse;
mod stream;
mod wait;

pub use dispatch::{EventDecoder, EventEncoder, Format};
pub use error::{DecodeError, EncodeOptions, Encoded, ErrorReply, Loss, LossKind, StreamOptions};
pub use losses::StreamLosses;
pub use wait::{RateLimit, rate_limits, retry_after};
