//! OpenAI responses, and the hosts that speak it (xAI, LM Studio, vLLM and other servers of open models).
//!
//! Source: platform.openai.com/docs/api-reference/responses (objects, streaming events), openresponses.org. Items that are not modelled
//! (calls of the provider's own tools, references, compactions, ...) are kept whole.
//!
//! A conversation and an answer are flat lists of items. What the model makes in a row (reasoning, message, calls) is one message of the
//! hub, because the other formats want parallel calls in one message; notes tell which parts were one item.

mod answer;
mod blocks;
mod error;
mod events;
mod frames;
mod open;
mod params;
mod parts;
mod reasoning;
mod request;
mod tools;
mod usage;
mod wire;

pub(crate) use answer::{decode as decode_answer, encode as encode_answer, read_finish};
pub(crate) use blocks::{fold, fold_delta, is_call};
pub(crate) use error::{decode as decode_error, encode as encode_error, in_event as error_in};
pub(crate) use events::Decoder;
pub(crate) use frames::Encoder;
pub(crate) use request::{decode as decode_request, encode as encode_request, state};
pub(crate) use usage::read as read_usage;

/// The format's name in the contract.
pub(crate) const NAME: &str = "openai-responses";

/// Extras that another format loses without harm: hints of what the hub models, and the provider's bookkeeping.
pub(crate) fn is_harmless(name: &str) -> bool {
    let name = name.strip_prefix(blocks::DONE).unwrap_or(name);
    matches!(
        name,
        // hints
        "input" | "instructions" | "stream" | "stream_options" | "tools" | "tool_choice" | "text" | "text.format" | "reasoning" | "reasoning.effort" | "type"
            | "image_url" | "output" | "object" | "created_at" | "error" | "incomplete_details" | "usage" | "model"
        // bookkeeping of the provider, and how much of the reasoning is shown
            | "id" | "status" | "phase" | "summary" | "content" | "encrypted_content" | "include" | "store" | "metadata"
            | "prompt_cache_key" | "prompt_cache_retention" | "safety_identifier" | "reasoning.summary" | "reasoning.generate_summary" | "completed_at" | "billing"
    )
}

/// Extras of an answer that are nothing to its reader: the request, repeated, and how the provider served it.
pub(crate) fn is_bookkeeping(name: &str) -> bool {
    matches!(
        name,
        "background"
            | "frequency_penalty"
            | "max_output_tokens"
            | "max_tool_calls"
            | "parallel_tool_calls"
            | "presence_penalty"
            | "previous_response_id"
            | "prompt"
            | "service_tier"
            | "temperature"
            | "tool_usage"
            | "top_logprobs"
            | "top_p"
            | "truncation"
            | "user"
    )
}
