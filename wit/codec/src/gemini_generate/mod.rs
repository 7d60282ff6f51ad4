//! Gemini's `generateContent` and `streamGenerateContent`, as the Gemini API and Vertex AI speak it.
//!
//! Source: ai.google.dev/api/generate-content, ai.google.dev/api/caching (contents, parts, tools), .../gemini-api/docs/thought-signatures and
//! google.rpc.Status for errors. Where the two hosts differ, the recorded traffic decides. Parts that are not modelled (code that the
//! provider ran, its own tools' calls, videos, ...) are kept whole.
//!
//! What is peculiar to the format:
//!
//! * Model and stream flag stand in the path of a request. The body has neither: decoding leaves them empty for whoever knows the path,
//!   encoding writes neither.
//! * Every member may be spelled in two ways, `inlineData` or `inline_data`; a note says which ones were spelled the second way.
//! * Calls need no ids. A call without one gets one here, because other formats need it, and a note that it had none.
//! * A stream has no end marker: it is complete when the connection closes and a reason to finish was told, which may stand in every chunk.
//! * A stream comes as server-sent events or as one array that grows.

mod answer;
mod blocks;
mod calls;
mod error;
mod events;
mod frames;
mod list;
mod media;
mod params;
mod partial;
mod request;
mod schema;
mod sealed;
mod spelling;
mod tools;
mod usage;

pub(crate) use answer::{decode as decode_answer, encode as encode_answer, refuses};
pub(crate) use error::{decode as decode_error, encode as encode_error, in_document as error_in};
pub(crate) use events::{Decoder, Told, asks_in, is_chunk};
pub(crate) use frames::Encoder;
pub(crate) use list::List;
pub(crate) use request::{decode as decode_request, encode as encode_request, state};
pub(crate) use spelling::{peek as peek_either, take as take_either};
pub(crate) use usage::read as read_usage;

use crate::hub::{FinishReason, Part, PartKind, ToolCallKind};

/// The format's name in the contract.
pub(crate) const NAME: &str = "gemini-generate";

/// Extras that another format loses without harm: hints of what the hub models, and the provider's bookkeeping.
pub(crate) fn is_harmless(name: &str) -> bool {
    let name = name.strip_prefix("content.").or(name.strip_prefix("event.")).unwrap_or(name);
    matches!(
        name,
        // hints
        "tools" | "toolConfig" | "tool_config" | "generationConfig" | "generation_config" | "systemInstruction" | "system_instruction" | "role" | "parts" | "candidates" | "content"
            | "finishReason" | "index" | "usageMetadata" | "modelVersion" | "responseId" | "model" | "thought"
        // bookkeeping of the provider, and what only the provider that made it can read
            | "thoughtSignature" | "thought_signature" | "promptFeedback" | "createTime" | "safetyRatings" | "avgLogprobs" | "finishMessage" | "tokenCount" | "labels" | "modelStatus"
    )
}

/// A `finishReason`. `calls`: the answer asks for tools, for which the format has no word of its own.
pub(crate) fn read_finish(word: &str, calls: bool) -> FinishReason {
    match word {
        "STOP" if calls => FinishReason::ToolCalls,
        "STOP" => FinishReason::Stop,
        "MAX_TOKENS" => FinishReason::Length,
        "SAFETY"
        | "RECITATION"
        | "BLOCKLIST"
        | "PROHIBITED_CONTENT"
        | "SPII"
        | "IMAGE_SAFETY"
        | "IMAGE_PROHIBITED_CONTENT"
        | "IMAGE_RECITATION" => FinishReason::ContentFilter,
        other => FinishReason::Other(other.into()),
    }
}

/// The `finishReason` of a reason, and whether it says the same.
pub(crate) fn finish_word(reason: &FinishReason, same_format: bool) -> (&str, bool) {
    match reason {
        FinishReason::Stop | FinishReason::StopSequence(_) | FinishReason::ToolCalls => ("STOP", true),
        FinishReason::Length => ("MAX_TOKENS", true),
        FinishReason::ContentFilter | FinishReason::Refusal => ("SAFETY", true),
        FinishReason::Pause => ("STOP", false),
        FinishReason::Other(word) if same_format => (word, true),
        FinishReason::Other(word) if word == "model_context_window_exceeded" => ("MAX_TOKENS", true),
        FinishReason::Other(_) => ("OTHER", false),
    }
}

/// Whether a part asks the caller for a tool.
fn asks(part: &Part) -> bool {
    matches!(&part.kind, PartKind::ToolCall(call) if call.kind != ToolCallKind::Server)
}
