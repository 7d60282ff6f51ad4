//! The targets by their names.

use llm_codec::Format;

use crate::{answer, completions, component, config, embeddings, form, json, manifest, request, sse, stream};

/// One check of one reader.
pub struct Target {
    /// As in `fuzz_targets/` and `seeds/`.
    pub name: &'static str,
    /// Panics when the promise is broken.
    pub check: fn(&[u8]),
}

/// All of them.
pub const TARGETS: [Target; 21] = [
    Target { name: "sse", check: sse::check },
    Target { name: "json", check: json::check },
    Target { name: "openai_request", check: |bytes| request::check(Format::OpenaiChat, bytes) },
    Target { name: "openai_answer", check: |bytes| answer::check(Format::OpenaiChat, bytes) },
    Target { name: "openai_stream", check: |bytes| stream::check(Format::OpenaiChat, bytes) },
    Target { name: "anthropic_request", check: |bytes| request::check(Format::AnthropicMessages, bytes) },
    Target { name: "anthropic_answer", check: |bytes| answer::check(Format::AnthropicMessages, bytes) },
    Target { name: "anthropic_stream", check: |bytes| stream::check(Format::AnthropicMessages, bytes) },
    Target { name: "responses_request", check: |bytes| request::check(Format::OpenaiResponses, bytes) },
    Target { name: "responses_answer", check: |bytes| answer::check(Format::OpenaiResponses, bytes) },
    Target { name: "responses_stream", check: |bytes| stream::check(Format::OpenaiResponses, bytes) },
    Target { name: "form", check: form::check },
    Target { name: "gemini_request", check: |bytes| request::check(Format::GeminiGenerate, bytes) },
    Target { name: "gemini_answer", check: |bytes| answer::check(Format::GeminiGenerate, bytes) },
    Target { name: "gemini_stream", check: |bytes| stream::check(Format::GeminiGenerate, bytes) },
    Target { name: "completions", check: completions::check },
    Target { name: "embeddings_request", check: embeddings::request },
    Target { name: "embeddings_answer", check: embeddings::answer },
    Target { name: "manifest", check: manifest::check },
    Target { name: "component", check: component::check },
    Target { name: "config", check: config::check },
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_program_of_libfuzzer_is_a_target_that_is_tried_without_it() {
        let manifest = include_str!("../Cargo.toml");
        let programs = manifest.lines().filter_map(|line| line.strip_prefix("path = \"fuzz_targets/")?.strip_suffix(".rs\""));
        assert_eq!(programs.collect::<Vec<_>>(), TARGETS.map(|target| target.name));
    }
}
