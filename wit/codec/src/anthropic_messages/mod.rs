//! Anthropic messages.
//!
//! Source: platform.claude.com/docs/en/api/messages, .../build-with-claude/streaming and .../api/errors. Blocks that are
//! not modelled (results of the provider's own tools, compactions, ...) are kept whole.

mod answer;
mod blocks;
mod error;
mod events;
mod frames;
mod media;
mod params;
mod request;
mod tools;
mod usage;

pub(crate) use answer::{decode as decode_answer, encode as encode_answer};
pub(crate) use error::{decode as decode_error, encode as encode_error};
pub(crate) use events::{Decoder, fold_delta};
pub(crate) use frames::Encoder;
pub(crate) use request::{decode as decode_request, encode as encode_request};
pub(crate) use usage::{merged as merged_usage, read as read_usage};

use crate::hub::FinishReason;

/// The format's name in the contract.
pub(crate) const NAME: &str = "anthropic-messages";

/// Extras that another format loses without harm: hints of what the hub models, and the provider's bookkeeping.
pub(crate) fn is_harmless(name: &str) -> bool {
    matches!(
        name,
        "metadata"
            | "stop_sequences"
            | "stream"
            | "tools"
            | "tool_choice"
            | "thinking"
            | "output_config"
            | "output_format"
            | "type"
            | "role"
            | "caller"
            | "system"
            | "stop_sequence"
    )
}

/// A `stop_reason` with the `stop_sequence` beside it.
pub(crate) fn read_stop(reason: &str, sequence: Option<String>) -> FinishReason {
    match reason {
        "end_turn" => FinishReason::Stop,
        "stop_sequence" => FinishReason::StopSequence(sequence),
        "max_tokens" => FinishReason::Length,
        "tool_use" => FinishReason::ToolCalls,
        "refusal" => FinishReason::Refusal,
        "pause_turn" => FinishReason::Pause,
        other => FinishReason::Other(other.into()),
    }
}

/// The `stop_reason` of a reason, and whether it says the same. `calls`: the answer asks for tools.
pub(crate) fn stop_word(reason: &FinishReason, same_format: bool, calls: bool) -> (&str, bool) {
    match reason {
        // Some providers say `stop` when there are calls to make; a client of this format would not make them.
        FinishReason::Stop if calls && !same_format => ("tool_use", true),
        FinishReason::Stop => ("end_turn", true),
        FinishReason::StopSequence(_) => ("stop_sequence", true),
        FinishReason::Length => ("max_tokens", true),
        FinishReason::ToolCalls => ("tool_use", true),
        FinishReason::ContentFilter | FinishReason::Refusal => ("refusal", true),
        FinishReason::Pause => ("pause_turn", true),
        FinishReason::Other(word) if same_format => (word, true),
        FinishReason::Other(_) => (if calls { "tool_use" } else { "end_turn" }, false),
    }
}
