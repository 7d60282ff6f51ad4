//! Recorded calls that hold no conversation: what the gateway takes down of them while they pass.

use llm_codec::embeddings::EmbeddingsApi;
use llm_codec::hub::Collector;
use llm_codec::json::Document;
use llm_codec::passthrough::{StreamTap, UsageTap, gemini_other_model, operation_usage};
use llm_codec::{EncodeOptions, Format, StreamOptions};
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
        if path.ends_with("/v1/completions") {
            check_completion(&name, &recording["request"]["body"], body);
        }
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

/// Recorded embeddings that cross over, those with a picture (refused), and counts of tokens of Gemini's API.
const GEMINI_FLOORS: (usize, usize, usize) = (2, 1, 3);

#[test]
fn recorded_operations_of_gemini() {
    let Some(root) = load::root() else { return };
    let (mut crossed, mut refused, mut counts) = (0, 0, 0);
    for (name, recording) in ["gemini", "vertex"].iter().flat_map(|folder| load::documents(&root.join(folder))) {
        let url = recording["request"]["url"].as_str().unwrap_or_default();
        let path = url.split('?').next().unwrap_or_default();
        let Some((model, method)) = path.rsplit('/').next().and_then(|end| end.split_once(':')) else { continue };
        let (request, answer) = (recording["request"]["body"].to_string(), recording["response"]["body"].to_string());
        match method {
            "countTokens" => counts += 1,
            "embedContent" | "batchEmbedContents" => match check_embeddings(&name, &request, &answer) {
                true => crossed += 1,
                false => refused += 1,
            },
            _ => continue,
        }
        let document = Document::parse(request.as_bytes()).unwrap_or_else(|e| panic!("{name}: {e}"));
        assert_eq!(gemini_other_model(&document, model), None, "{name}");
    }
    if load::is_shared(&root) {
        let (embeds, pictures, counted) = GEMINI_FLOORS;
        assert!(crossed >= embeds && refused >= pictures && counts >= counted, "{crossed}, {refused} and {counts} only");
    }
}

/// Whether a recorded call crosses over to OpenAI's API. If so, every text and number arrives, both ways, and so does the usage.
fn check_embeddings(name: &str, request: &str, answer: &str) -> bool {
    let (gemini, openai) = (EmbeddingsApi::Gemini, EmbeddingsApi::Openai);
    let read = match gemini.decode_request(request.as_bytes()) {
        Ok(read) => read,
        Err(error) => {
            assert!(request.contains("inline_data") && error.message.contains("only texts"), "{name}: {error}");
            return false;
        }
    };
    let call = openai.encode_request(&read, "m").unwrap_or_else(|e| panic!("{name}: {e}"));
    let again = openai.decode_request(&call.body).unwrap_or_else(|e| panic!("{name}: {e}"));
    assert!(again.texts().eq(read.texts()) && call.losses.is_empty(), "{name}: {:?}", call.losses);
    let vectors = gemini.decode_answer(answer.as_bytes(), &read).unwrap_or_else(|e| panic!("{name}: {e:?}"));
    let written = openai.encode_answer(&vectors, &again, "m", 0);
    let back = openai.decode_answer(&written, &again).unwrap_or_else(|e| panic!("{name}: {e:?}"));
    let whole: Value = serde_json::from_slice(&gemini.encode_answer(&back, &read, "m", 0)).expect("JSON");
    let recorded: Value = serde_json::from_str(answer).expect("JSON");
    assert_eq!(whole["embeddings"], recorded["embeddings"], "{name}");
    assert_eq!(whole["usageMetadata"]["promptTokenCount"], recorded["usageMetadata"]["promptTokenCount"], "{name}");
    true
}

/// A recorded completion is written again as it was, request and answer.
fn check_completion(name: &str, request: &Value, answer: &Value) {
    let format = Format::OpenaiCompletions;
    let read = format.decode_request(request.to_string().as_bytes()).unwrap_or_else(|e| panic!("{name}: {e}"));
    let again: Value = serde_json::from_slice(&format.encode_request(&read, &EncodeOptions::default()).body).expect("JSON");
    assert!(same(&again, request), "{name}: {again} is not {request}");
    if answer.is_object() {
        let read = format.decode_answer(answer.to_string().as_bytes()).unwrap_or_else(|e| panic!("{name}: {e:?}"));
        let again: Value = serde_json::from_slice(&format.encode_answer(&read, &StreamOptions::default()).body).expect("JSON");
        assert!(same(&again, answer), "{name}: {again} is not {answer}");
    }
}

/// Whether two documents say the same; `0` and `0.0` do.
fn same(a: &Value, b: &Value) -> bool {
    match (a, b) {
        (Value::Number(a), Value::Number(b)) => a.as_f64() == b.as_f64(),
        (Value::Array(a), Value::Array(b)) => a.len() == b.len() && a.iter().zip(b).all(|(a, b)| same(a, b)),
        (Value::Object(a), Value::Object(b)) => a.len() == b.len() && a.iter().all(|(name, a)| b.get(name).is_some_and(|b| same(a, b))),
        (a, b) => a == b,
    }
}

/// A stream passes as it came, however it is cut, and is seen to end well.
fn check_stream(name: &str, bytes: &[u8]) {
    for size in [1, 100, bytes.len()] {
        let (mut tap, mut usage, mut out) = (StreamTap::new(Format::OpenaiCompletions, false), UsageTap::default(), Vec::new());
        for chunk in bytes.chunks(size) {
            tap.push(chunk, &mut out);
            usage.push(chunk);
        }
        tap.finish(&mut out);
        let facts = tap.facts();
        assert!(facts.started && facts.ended && facts.error.is_none(), "{name} in pieces of {size}: {facts:?}");
        assert_eq!(String::from_utf8_lossy(&out), String::from_utf8_lossy(bytes), "{name} in pieces of {size}");
        assert_eq!(usage.usage(), facts.usage.as_ref(), "{name}");
        let (mut decoder, mut events, mut collector) =
            (Format::OpenaiCompletions.event_decoder(), Vec::new(), Collector::new(Format::OpenaiCompletions));
        bytes.chunks(size).for_each(|chunk| decoder.push(chunk, &mut events));
        decoder.finish(&mut events);
        events.iter().for_each(|e| collector.push(e));
        let answer = collector.finish().unwrap_or_else(|e| panic!("{name} in pieces of {size}: {e:?}"));
        assert_eq!(Some(&answer.id), facts.id.as_ref(), "{name}");
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
