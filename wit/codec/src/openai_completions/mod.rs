//! OpenAI's legacy completions: a text that the model goes on with.
//!
//! Source: platform.openai.com/docs/api-reference/completions. Clients of other formats never meet it, and of the providers only those that
//! have it beside chat completions; everybody else is given a conversation whose only message is the prompt.
//!
//! In the hub each prompt is a message of the user, and a `suffix` is one more, the last. So hooks read and edit all texts as they do those of
//! conversations. What has no place in a conversation (several prompts, tokens, a suffix) is refused before it crosses; see [`state`].

mod answer;
mod chunks;
mod error;
mod events;
mod request;

pub(crate) use answer::{decode as decode_answer, encode as encode_answer};
pub(crate) use chunks::Encoder;
pub(crate) use error::{decode as decode_error, encode as encode_error, from_body as error_in};
pub(crate) use events::{Decoder, fold};
pub(crate) use request::{decode as decode_request, encode as encode_request, state};

pub(crate) use crate::openai_usage::read as read_usage;

use crate::hub::FinishReason;

/// The format's name in the contract. Hooks knew it by this name before it was a format.
pub(crate) const NAME: &str = "openai-completions";

/// Extras that another format loses without harm: hints of what the hub models, and what does not change the answer.
pub(crate) fn is_harmless(name: &str) -> bool {
    matches!(
        name,
        "prompt"
            | "suffix"
            | "stop"
            | "stream"
            | "stream_options"
            | "object"
            | "created"
            | "id"
            | "index"
            | "model"
            | "text"
            | "usage"
            | "finish_reason"
            | "system_fingerprint"
            | "store"
            | "metadata"
    )
}

/// Values that say what holds anyway. Clients send them: an extra with one is nothing to lose.
pub(crate) fn is_inert(name: &str, value: &str) -> bool {
    match name {
        "echo" => value == "false",
        "best_of" => value == "1",
        "logit_bias" => value.trim_matches(['{', '}']).trim_ascii().is_empty(),
        _ => false,
    }
}

/// A `finish_reason`.
pub(crate) fn read_finish(word: &str) -> FinishReason {
    match word {
        "stop" => FinishReason::Stop,
        "length" => FinishReason::Length,
        "content_filter" => FinishReason::ContentFilter,
        other => FinishReason::Other(other.into()),
    }
}

/// The `finish_reason` of a reason, and whether it says the same.
fn finish_word(reason: &FinishReason, same_format: bool) -> (&str, bool) {
    match reason {
        FinishReason::Stop | FinishReason::StopSequence(_) => ("stop", true),
        FinishReason::Length => ("length", true),
        FinishReason::ContentFilter | FinishReason::Refusal => ("content_filter", true),
        FinishReason::Other(word) if same_format => (word, true),
        FinishReason::Other(word) if word == "model_context_window_exceeded" => ("length", true),
        FinishReason::ToolCalls | FinishReason::Pause | FinishReason::Other(_) => ("stop", false),
    }
}
