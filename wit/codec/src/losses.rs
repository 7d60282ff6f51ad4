//! What an answer loses in a format, for whoever does not write it there: a dialect does that out of the host's sight.

use std::fmt;

use crate::hub::{BlockId, ChatAnswer, Delta, StreamEvent};
use crate::{EventEncoder, Format, Loss, StreamOptions};

impl Format {
    /// What of a complete answer this format cannot express.
    pub fn answer_losses(self, answer: &ChatAnswer) -> Vec<Loss> {
        if answer.format == self.as_str() {
            return Vec::new();
        }
        self.encode_answer(answer, &StreamOptions::default()).losses
    }

    /// The name that this format has for a field of the hub that is the subject of a [`Loss`], for messages to a caller.
    ///
    /// Fields inside of messages keep the hub's counts: the instructions are the first message, and each result of a tool is one.
    pub fn field_name(self, field: &str) -> &str {
        match (self, field) {
            (Self::AnthropicMessages, "stop") => "stop_sequences",
            (Self::AnthropicMessages, "user") => "metadata.user_id",
            (Self::AnthropicMessages, "reasoning_effort") => "output_config.effort",
            (Self::AnthropicMessages, "response_format") => "output_config.format",
            (Self::AnthropicMessages, "parallel_tool_calls") => "tool_choice.disable_parallel_tool_use",
            (Self::OpenaiResponses, "max_tokens") => "max_output_tokens",
            (Self::OpenaiResponses, "reasoning_effort") => "reasoning.effort",
            (Self::OpenaiResponses, "response_format") => "text.format",
            (Self::GeminiGenerate, "stop") => "generationConfig.stopSequences",
            (Self::GeminiGenerate, "max_tokens") => "generationConfig.maxOutputTokens",
            (Self::GeminiGenerate, "temperature") => "generationConfig.temperature",
            (Self::GeminiGenerate, "top_p") => "generationConfig.topP",
            (Self::GeminiGenerate, "top_k") => "generationConfig.topK",
            (Self::GeminiGenerate, "n") => "generationConfig.candidateCount",
            (Self::GeminiGenerate, "seed") => "generationConfig.seed",
            (Self::GeminiGenerate, "reasoning_effort") => "generationConfig.thinkingConfig",
            (Self::GeminiGenerate, "response_format") => "generationConfig.responseSchema",
            (Self::GeminiGenerate, "tool_choice") => "toolConfig.functionCallingConfig",
            _ => field,
        }
    }
}

/// Finds what a stream loses in a format, without writing it. Of texts only beginnings are looked at: every format has them.
pub struct StreamLosses {
    encoder: EventEncoder,
    /// The format writes a call at once, so it is judged by all of its arguments.
    whole_calls: bool,
    /// Blocks of which a piece was seen.
    begun: Vec<BlockId>,
    /// What the encoder writes, which nobody reads.
    written: Vec<u8>,
}

impl StreamLosses {
    /// For a client of this format.
    pub fn new(format: Format) -> Self {
        let encoder = format.event_encoder(StreamOptions::default());
        Self { encoder, whole_calls: format == Format::GeminiGenerate, begun: Vec::new(), written: Vec::new() }
    }

    /// The next events.
    pub fn events(&mut self, events: &[StreamEvent]) {
        for event in events {
            if self.is_more_text(event) {
                continue;
            }
            self.encoder.events(std::slice::from_ref(event), &mut self.written);
            self.written.clear();
        }
    }

    /// Whether an event is a further piece of text, reasoning or arguments.
    fn is_more_text(&mut self, event: &StreamEvent) -> bool {
        let StreamEvent::BlockDelta(d) = event else { return false };
        let text = match &d.delta {
            Delta::Arguments(_) if self.whole_calls => return false,
            Delta::Text(t) | Delta::Thinking(t) | Delta::Signature(t) | Delta::Arguments(t) | Delta::Refusal(t) => t,
            Delta::Other(_) => return false,
        };
        // Blocks grow one after the other, or a few at a time.
        if self.begun.iter().rev().any(|at| *at == d.at) {
            return d.extras.is_empty();
        }
        if !text.is_empty() {
            self.begun.push(d.at);
        }
        false
    }

    /// What was lost so far, each field once.
    pub fn found(&self) -> Vec<&Loss> {
        let mut found: Vec<&Loss> = Vec::new();
        for loss in self.encoder.losses() {
            // Few formats say things twice, and few streams lose many.
            if !found.contains(&loss) {
                found.push(loss);
            }
        }
        found
    }
}

impl fmt::Debug for StreamLosses {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StreamLosses").field("found", &self.found()).finish_non_exhaustive()
    }
}
