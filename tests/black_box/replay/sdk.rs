//! Recordings in the client's own format, read by the official SDKs for Python: all of them in one process.

use llm_codec::Format;
use llm_codec::hub::{ChatAnswer, FinishReason, PartKind, ToolCallKind};
use serde_json::{Value, json};
use wasmgate_tests::python;

use super::load::Response;
use super::{Stage, model, read};

#[tokio::test]
async fn recorded_answers_as_the_official_sdks_read_them() {
    let Some(stage) = Stage::open("recorded_answers_as_the_official_sdks_read_them").await else { return };
    let mut cases = Vec::new();
    let mut expected = Vec::new();
    for (index, r) in stage.recordings.iter().enumerate().filter(|(_, r)| r.format != UNREAD) {
        let answer = match &r.response {
            Response::Body(body) if r.status < 400 => read(r.format, false, body.to_string().as_bytes()),
            Response::Stream(bytes) => read(r.format, true, bytes),
            _ => continue,
        };
        let streamed = matches!(r.response, Response::Stream(_));
        cases.push(json!({"format": r.format.as_str(), "model": model(r.format, index), "stream": streamed}));
        expected.push((r, answer));
    }
    let file = stage.gateway.folder().join("cases.json");
    std::fs::write(&file, Value::Array(cases).to_string()).expect("a temporary file");
    let Some(seen) = python::run("recorded.py", &stage.gateway.url(), &[file.to_str().expect("UTF-8")]).await else { return };
    let seen = seen.as_array().expect("one entry for each case");
    assert_eq!(seen.len(), expected.len());
    let mut wrong = Vec::new();
    let mut known = 0;
    for ((r, answer), seen) in expected.iter().zip(seen) {
        let at = format!("{}/{} ({})", r.folder, r.name, r.format.as_str());
        match answer {
            Err(_) if seen.get("error").is_some() => {}
            Err(_) if reason(&r.name, "error").is_some() => known += 1,
            Err(e) => wrong.push(format!("{at}: {e:?} became {seen}")),
            Ok(answer) => {
                let essence = essence(answer, r.format);
                for (name, value) in essence.as_object().expect("an object") {
                    if seen[name] != *value && !(name == "stop" && is_stop(answer, &seen[name])) {
                        if reason(&r.name, name).is_some() {
                            known += 1;
                            continue;
                        }
                        let shown: String = format!("{at}: {name} is {}, recorded was {value}", seen[name]).chars().take(500).collect();
                        wrong.push(if seen.get("error").is_some() { format!("{at}: {seen}") } else { shown });
                    }
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{} of {} are read otherwise:\n{}", wrong.len(), expected.len(), wrong.join("\n"));
    assert!(!stage.shared || known == KNOWN.len(), "{known} differences are known, and {} are listed", KNOWN.len());
    println!("the SDKs read {} answers", expected.len());
}

/// The format that `recorded.py` has no SDK for; `sdk_genai.rs` has Google's, and scripted answers.
const UNREAD: Format = Format::GeminiGenerate;

/// What SDKs read otherwise than the codec: recording, what, and why that is right.
const KNOWN: &[(&str, &str, &str)] = &[
    (
        "spliced-message-start-chunks-d2ea92.json",
        "error",
        "bytes of the same format pass; the SDK does not mind a second message in the first",
    ),
    (
        "openai-shell-container.1-chunks-009c64.json",
        "text",
        "made by hand: what its pieces say is not what its end says, and the SDK was asked for the end",
    ),
    ("chat-s-0e0b557b.json", "input", "Groq tells the usage of a stream in `x_groq`, where the SDK does not look"),
    ("chat-s-0e0b557b.json", "output", "Groq tells the usage of a stream in `x_groq`, where the SDK does not look"),
    ("chat-s-think-7b4f7e01.json", "input", "Groq tells the usage of a stream in `x_groq`, where the SDK does not look"),
    ("chat-s-think-7b4f7e01.json", "output", "Groq tells the usage of a stream in `x_groq`, where the SDK does not look"),
];

fn reason(recording: &str, what: &str) -> Option<&'static str> {
    KNOWN.iter().find(|(name, field, _)| *name == recording && *field == what).map(|(_, _, reason)| *reason)
}

/// Tokens of input and output as the provider's own object has them: the hub counts what some hosts leave out (reasoning, cached tokens).
fn tokens(a: &ChatAnswer) -> (u64, u64) {
    let raw = a.usage.as_ref().and_then(|u| u.raw.as_deref());
    let raw: Value = raw.and_then(|raw| serde_json::from_str(raw).ok()).unwrap_or_default();
    let sum = |names: &[&str]| names.iter().filter_map(|name| raw[*name].as_u64()).sum();
    (
        sum(&["prompt_tokens", "input_tokens", "cache_read_input_tokens", "cache_creation_input_tokens"]),
        sum(&["completion_tokens", "output_tokens"]),
    )
}

fn essence(a: &ChatAnswer, format: Format) -> Value {
    let parts = || a.choices.first().into_iter().flat_map(|c| &c.parts);
    let calls = parts().filter_map(|p| match &p.kind {
        PartKind::ToolCall(c) if c.kind != ToolCallKind::Server => {
            let arguments = if c.arguments.is_empty() && format == Format::AnthropicMessages { "{}" } else { &c.arguments };
            Some(json!([c.name, serde_json::from_str::<Value>(arguments).unwrap_or_else(|_| json!(arguments))]))
        }
        _ => None,
    });
    let (input, output) = tokens(a);
    json!({
        "text": parts().filter_map(|p| if let PartKind::Text(t) = &p.kind { Some(t.as_str()) } else { None }).collect::<String>(),
        "thinking": parts().filter_map(|p| if let PartKind::Thinking(t) = &p.kind { Some(t.text.as_str()) } else { None }).collect::<String>(),
        "calls": calls.collect::<Vec<_>>(),
        "input": input,
        "output": output,
        "stop": null,
    })
}

/// Whether a word of the format says why the answer stopped.
fn is_stop(a: &ChatAnswer, word: &Value) -> bool {
    let Some(finish) = a.choices.first().and_then(|c| c.finish.as_ref()) else { return word.is_null() };
    let words: &[&str] = match finish {
        FinishReason::Stop => &["stop", "end_turn", "completed"],
        FinishReason::StopSequence(_) => &["stop_sequence", "stop"],
        FinishReason::Length => &["length", "max_tokens", "max_output_tokens"],
        FinishReason::ToolCalls => &["tool_calls", "function_call", "tool_use", "completed"],
        FinishReason::ContentFilter => &["content_filter"],
        FinishReason::Refusal => &["refusal", "content_filter"],
        FinishReason::Pause => &["pause_turn"],
        FinishReason::Other(other) => return word == other,
    };
    word.as_str().is_some_and(|w| words.contains(&w))
}
