//! Recorded calls that hold no conversation: what the gateway takes down of them while they pass.

use llm_codec::Format;
use llm_codec::passthrough::{StreamTap, UsageTap, operation_usage};
use serde_json::Value;

use crate::load;

/// Recorded streams of completions in the shared corpus, and complete answers with usage.
const FLOORS: (usize, usize) = (2, 1);

#[test]
fn recorded_operations() {
    let Some(root) = load::root() else { return };
    let (mut streams, mut answers) = (0, 0);
    for (name, recording) in load::documents(&root.join("openai")) {
        let url = recording["request"]["url"].as_str().unwrap_or_default();
        let path = url.split('?').next().unwrap_or_default();
        let operation = ["/v1/completions", "/v1/embeddings", "/v1/moderations"].iter().any(|end| path.ends_with(end));
        if !operation || recording["response"]["status"] != 200 {
            continue;
        }
        if let Some(stream) = recording["response"]["sse"].as_str() {
            check_stream(&name, stream.as_bytes());
            streams += 1;
        }
        let body = &recording["response"]["body"];
        if let Some(told) = body["usage"]["prompt_tokens"].as_u64() {
            let usage = operation_usage(body.to_string().as_bytes()).unwrap_or_else(|| panic!("{name}: the usage is not found"));
            let output = body["usage"]["completion_tokens"].as_u64().unwrap_or(0);
            assert_eq!((usage.input_tokens, usage.output_tokens), (told, output), "{name}");
            answers += 1;
        }
    }
    if load::is_shared(&root) {
        assert!(streams >= FLOORS.0 && answers >= FLOORS.1, "{streams} streams and {answers} answers only");
    }
}

/// A stream passes as it came, however it is cut, and is seen to end well.
fn check_stream(name: &str, bytes: &[u8]) {
    for size in [1, 100, bytes.len()] {
        let (mut tap, mut usage, mut out) = (StreamTap::new(Format::OpenaiChat, false), UsageTap::default(), Vec::new());
        for chunk in bytes.chunks(size) {
            tap.push(chunk, &mut out);
            usage.push(chunk);
        }
        tap.finish(&mut out);
        let facts = tap.facts();
        assert!(facts.started && facts.ended && facts.error.is_none(), "{name} in pieces of {size}: {facts:?}");
        assert_eq!(String::from_utf8_lossy(&out), String::from_utf8_lossy(bytes), "{name} in pieces of {size}");
        assert_eq!(usage.usage(), facts.usage.as_ref(), "{name}");
    }
}

/// Numbers that providers' own counters gave.
pub fn counted(root: &std::path::Path) -> Vec<(String, Format, Value, u64)> {
    let mut found = Vec::new();
    for folder in ["anthropic", "openai"] {
        for (name, recording) in load::documents(&root.join(folder)) {
            let url = recording["request"]["url"].as_str().unwrap_or_default();
            let format = match url.split('?').next().unwrap_or_default() {
                path if path.ends_with("/messages/count_tokens") => Format::AnthropicMessages,
                path if path.ends_with("/responses/input_tokens") => Format::OpenaiResponses,
                _ => continue,
            };
            if let Some(tokens) = recording["response"]["body"]["input_tokens"].as_u64() {
                found.push((name, format, recording["request"]["body"].clone(), tokens));
            }
        }
    }
    found
}
