//! The errors of the recorded traffic. The recordings are not part of the repository; `CORPUS_DIR` says where they are.

use std::path::Path;

use llm_codec::Format;
use llm_codec::hub::{ErrorClass, ErrorClass::*, StreamEvent};
use serde_json::Value;

/// Every recording with an error, and what kind it is.
#[rustfmt::skip]
const RECORDED: &[(&str, ErrorClass)] = &[
    ("anthropic/count_tokens-u-404-4e9a9b4a.json", ModelNotFound),
    ("anthropic/messages-u-400-928dec02.json", ContextTooLong),
    ("anthropic/messages-u-400-json-0ad6989d.json", InvalidRequest),
    ("anthropic/messages-u-401-74cf1775.json", Authentication),
    ("anthropic/messages-u-401-f9ca6a7c.json", Authentication),
    ("compat/chat-s-tools-think-4fbd290a.json", InvalidRequest),
    ("compat/chat-u-400-536ebff3.json", ContextTooLong),
    ("compat/chat-u-400-a8f46fc9.json", ContextTooLong),
    ("compat/chat-u-400-c2918047.json", ContextTooLong),
    ("compat/chat-u-400-tools-a0f17667.json", InvalidRequest),
    ("compat/chat-u-401-474bf429.json", Authentication),
    ("compat/chat-u-401-4a975ae9.json", Authentication),
    ("compat/chat-u-401-a62ea79d.json", Authentication),
    ("compat/chat-u-429-65efade6.json", RateLimited),
    ("compat/chat-u-429-a07ad491.json", RateLimited),
    ("gemini/generateContent-u-429-030ec883.json", RateLimited),
    ("openai/chat-u-400-577f8a98.json", InvalidRequest),
    ("openai/chat-u-400-img-b059501f.json", InvalidRequest),
    ("openai/chat-u-400-img-d145bcbd.json", InvalidRequest),
    ("openai/chat-u-400-tools-result-media-de1ae295.json", InvalidRequest),
    ("openai/chat-u-401-9d5bccbe.json", Authentication),
    ("openai/chat-u-404-828744a6.json", ModelNotFound),
    ("openai/chat-u-404-eb935b68.json", ModelNotFound),
    ("openai/completions-u-400-243cf3f0.json", InvalidRequest),
    ("openai/completions-u-401-eae4ab1e.json", Authentication),
    ("openai/embeddings-u-404-4baed814.json", ModelNotFound),
    ("openai/embeddings-u-404-9e63033e.json", ModelNotFound),
    ("openai/responses-u-400-b1f14d64.json", ModelNotFound),
    ("openai/responses-u-400-f15f851b.json", ContextTooLong),
    ("openai/responses-u-400-tools-result-media-42cc73d3.json", InvalidRequest),
    ("openai/responses-u-400-tools-result-media-624999ce.json", InvalidRequest),
    ("openai/responses-u-401-e44c3d5e.json", Authentication),
    ("response_only/gemini-googleai/unary-failure-api-key-json-0cbcbb.json", Authentication),
    ("response_only/gemini-googleai/unary-failure-generativelanguage-api-not-enabled-json-879516.json", Permission),
    ("response_only/gemini-googleai/unary-failure-unknown-model-json-dd451e.json", ModelNotFound),
    ("response_only/gemini-vertexai/unary-failure-api-key-json-23e5ae.json", Authentication),
    ("response_only/gemini-vertexai/unary-failure-context-cache-model-doesnt-match-json-b16d32.json", InvalidRequest),
    ("response_only/gemini-vertexai/unary-failure-firebasevertexai-api-not-enabled-json-d89ab0.json", Permission),
    ("response_only/gemini-vertexai/unary-failure-http-error-json-244a9e.json", InvalidRequest),
    ("response_only/gemini-vertexai/unary-failure-iam-permission-denied-json-603528.json", Permission),
    ("response_only/gemini-vertexai/unary-failure-invalid-context-cache-id-json-d63612.json", InvalidRequest),
    ("response_only/gemini-vertexai/unary-failure-model-not-found-json-d356d0.json", ModelNotFound),
    ("response_only/gemini-vertexai/unary-failure-quota-exceeded-json-1512e8.json", RateLimited),
    ("response_only/gemini-vertexai/unary-failure-unknown-model-json-8e49ac.json", ModelNotFound),
    ("response_only/google/google-429-retry-info-json-8eb46a.json", RateLimited),
    ("response_only/openai/openai-error.1-json-9049be.json", QuotaExceeded),
    ("response_only/openai/reasoning-model-legacy-parameter-error-json-71395f.json", InvalidRequest),
    ("response_only/openai/reasoning-model-temperature-error-json-3f5984.json", InvalidRequest),
    ("vertex/generateContent-u-400-c91d1bbc.json", ContextTooLong),
    ("vertex/generateContent-u-404-45bc06c5.json", ModelNotFound),
];

#[test]
fn recorded_errors() {
    let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let root = std::env::var_os("CORPUS_DIR").map_or_else(|| workspace.join("../shared/corpus"), |dir| workspace.join(dir));
    if !root.is_dir() {
        assert!(std::env::var_os("CI").is_none(), "no corpus of recorded traffic: set CORPUS_DIR");
        return println!("SKIPPED recorded_errors: no corpus of recorded traffic, set CORPUS_DIR");
    }
    let shared = std::fs::read_to_string(root.join("MANIFEST.tsv")).is_ok_and(|m| m.lines().any(|l| l.starts_with("shared\t")));
    let mut files = Vec::new();
    walk(&root, &mut files);
    let mut wrong = Vec::new();
    let mut found = 0;
    for file in files {
        let path = file.strip_prefix(&root).expect("it is in there").to_string_lossy().into_owned();
        let Some((class, retry_after_ms)) = error_of(&std::fs::read_to_string(&file).expect("a recording")) else { continue };
        match RECORDED.iter().find(|(known, _)| *known == path) {
            Some((_, expected)) if *expected == class => found += 1,
            Some((_, expected)) => wrong.push(format!("{path} is {}, expected {}", class.name(), expected.name())),
            None if shared => wrong.push(format!("{path} is not in the list; it was read as {}", class.name())),
            None => {}
        }
        // Those that tell when to try again.
        let waits = ["65efade6", "030ec883", "8eb46a"].iter().any(|id| path.contains(id));
        if waits && retry_after_ms.is_none() {
            wrong.push(format!("{path} says when to try again, and it was not read"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(!shared || found == RECORDED.len(), "{found} of {} recordings are there", RECORDED.len());
    println!("recorded errors: {found} of {} known ones are here", RECORDED.len());
}

fn walk(folder: &Path, files: &mut Vec<std::path::PathBuf>) {
    for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
        let path = entry.path();
        if path.is_dir() {
            walk(&path, files);
        } else if path.extension().is_some_and(|e| e == "json") {
            files.push(path);
        }
    }
}

/// The kind of a recording's error and when to try again; none when it holds no error.
fn error_of(text: &str) -> Option<(ErrorClass, Option<u64>)> {
    let recording: Value = serde_json::from_str(text).expect("a recording is JSON");
    let response = &recording["response"];
    let (body, status) = (&response["body"], response["status"].as_u64().unwrap_or(200) as u16);
    let headers = &response["headers"];
    let url = recording["request"]["url"].as_str().unwrap_or_default();
    let format = match url {
        _ if url.contains("/messages") => Format::AnthropicMessages,
        _ if url.contains("/responses") => Format::OpenaiResponses,
        // Errors are read alike, whoever wrote them.
        _ => Format::OpenaiChat,
    };
    if let Some(sse) = response["sse"].as_str().filter(|sse| sse.contains("\nevent: error\n")) {
        let (mut decoder, mut events) = (format.event_decoder(), Vec::new());
        decoder.push(sse.as_bytes(), &mut events);
        let Some(StreamEvent::Error(e)) = events.pop() else { return None };
        return Some((e.class, e.retry_after_ms));
    }
    // Recordings without a request tell the status inside of the document only.
    let inner = body["error"]["code"].as_u64().map_or(400, |code| code as u16);
    let status = match status {
        400.. => status,
        _ if body["error"].is_object() => inner,
        _ => return None,
    };
    let mut e = format.decode_error(status, None, body.to_string().as_bytes());
    e.retry_after_ms = llm_codec::retry_after(&e, |name| headers[name].as_str(), crate::NOW);
    Some((e.class, e.retry_after_ms))
}
