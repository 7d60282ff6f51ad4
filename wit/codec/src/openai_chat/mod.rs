//! OpenAI chat completions, and the many hosts that speak it with additions.
//!
//! Source: platform.openai.com/docs/api-reference/chat (objects, streaming chunks, errors). Where hosts differ, the recorded
//! traffic decides: nulls, missing fields and unknown fields are read and kept.

mod answer;
mod blocks;
mod chunks;
mod error;
mod events;
mod message;
mod params;
mod parts;
mod reasoning;
mod request;
mod tools;

use crate::openai_usage as usage;
pub(crate) use crate::openai_usage::read as read_usage;
pub(crate) use answer::{decode as decode_answer, encode as encode_answer};
pub(crate) use chunks::Encoder;
pub(crate) use error::{decode as decode_error, encode as encode_error, from_body as error_in};
pub(crate) use events::{Decoder, fold};
pub(crate) use request::{decode as decode_request, encode as encode_request};

use crate::hub::{ContentShape, FinishReason, Part, PartKind};
use crate::map::field_note;

/// The format's name in the contract.
pub(crate) const NAME: &str = "openai-chat";

/// Extras that another format loses without harm: hints of what the hub models, and what does not change the answer.
pub(crate) fn is_harmless(name: &str) -> bool {
    let name = name.strip_prefix("message.").unwrap_or(name);
    matches!(
        name,
        // hints
        "max_tokens" | "max_completion_tokens" | "stop" | "stream" | "stream_options" | "tools" | "tool_choice" | "tool_calls" | "response_format" | "n" | "role" | "type"
            | "reasoning" | "reasoning_content" | "reasoning_details" | "refusal" | "content" | "image_url" | "thinking" | "object" | "created" | "id" | "index" | "usage"
            | "finish_reason" | "function.arguments" | "model"
        // bookkeeping of the provider
            | "store" | "metadata" | "prompt_cache_key" | "prompt_cache_retention" | "system_fingerprint" | "provider" | "native_finish_reason" | "x_groq" | "obfuscation"
            | "function.strict"
    )
}

/// Extras of an answer that are nothing to its reader: how the provider served it, and what its filters said of what they let pass.
pub(crate) fn is_bookkeeping(name: &str) -> bool {
    let name = name.strip_prefix("message.").unwrap_or(name);
    matches!(
        name,
        "service_tier" | "time_info" | "prompt" | "prompt_filter_results" | "content_filter_results" | "seed" | "stop_reason" | "token_id"
    )
}

/// A `finish_reason`.
pub(crate) fn read_finish(reason: &str) -> FinishReason {
    match reason {
        "stop" => FinishReason::Stop,
        "length" => FinishReason::Length,
        "tool_calls" => FinishReason::ToolCalls,
        "content_filter" => FinishReason::ContentFilter,
        other => FinishReason::Other(other.into()),
    }
}

/// The `finish_reason` of a reason, and whether it says the same.
pub(crate) fn finish_word(reason: &FinishReason, same_format: bool) -> (&str, bool) {
    match reason {
        FinishReason::Stop | FinishReason::StopSequence(_) => ("stop", true),
        FinishReason::Length => ("length", true),
        FinishReason::ToolCalls => ("tool_calls", true),
        FinishReason::ContentFilter | FinishReason::Refusal => ("content_filter", true),
        FinishReason::Pause => ("stop", false),
        FinishReason::Other(word) if same_format => (word, true),
        FinishReason::Other(word) if word == "model_context_window_exceeded" => ("length", true),
        FinishReason::Other(_) => ("stop", false),
    }
}

/// The shape of content that was collected from a stream: parts only when the stream told parts.
pub(crate) fn content_shape(parts: &[Part]) -> ContentShape {
    let listed = |p: &Part| match p.kind {
        PartKind::Thinking(_) => field_note(p) == Some("content"),
        PartKind::Image(_) | PartKind::Audio(_) | PartKind::Document(_) => true,
        PartKind::Other(_) => field_note(p).is_none(),
        _ => false,
    };
    if parts.iter().any(listed) {
        ContentShape::Parts
    } else if parts.iter().any(|p| matches!(p.kind, PartKind::Text(_))) {
        ContentShape::Text
    } else {
        ContentShape::Null
    }
}
