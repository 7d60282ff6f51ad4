//! `openai-api`, `anthropic-api` and `gemini-api`: what they accept, read and write.

use anthropic_api::AnthropicApi;
use gemini_api::GeminiApi;
use llm_codec::Format;
use llm_codec::hub::{ChatError, ErrorClass, answer_events};
use openai_api::OpenAiApi;
use serde_json::{Value, json};
use wasmgate::extensions::bindings::exports::wasmgate::extension::dialect as wire;
use wasmgate::pipeline::Trace;
use wasmgate_sdk::{Dialect, EncodeOptions, Encoder as _, Operations};

use crate::component::{self, Host};
use crate::{Provider, Setup, native, shown};

const PROVIDERS: &[Provider] = &[Provider { name: "echo", kind: "echo", models: &[], default_model: None }];

/// Requests like those that were recorded, and some that no client should send.
fn requests(format: Format) -> Vec<Value> {
    let weather = json!({"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]});
    let wrong = [
        json!({}),
        json!({"model": 5}),
        json!({"model": "", "messages": [{}]}),
        json!({"model": "m", "max_tokens": 5}),
        json!({"model": "m", "max_tokens": 5, "messages": []}),
        json!({"model": "m", "max_tokens": "many", "messages": [{"role": "user", "content": "x"}]}),
        json!({"model": "m".repeat(600), "max_tokens": 5, "messages": [{"role": "user", "content": "x"}]}),
        json!({"model": "m", "max_tokens": 5, "messages": [{"role": "wizard", "content": 7}]}),
        json!({"model": "m", "max_tokens": 5, "messages": [{"role": "user", "content": "x"}], "temperature": null, "x-unknown": {"a": [1.0, 1e3]}}),
    ];
    let right = match format {
        Format::OpenaiChat => vec![
            json!({"model": "gpt-4o", "messages": [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Grüße 😀"}],
                "temperature": 0.2, "stream": true, "stream_options": {"include_usage": true}, "stop": ["\n"], "seed": 7, "user": "u"}),
            json!({"model": "gpt-4o", "tools": [{"type": "function", "function": {"name": "weather", "parameters": weather}}], "tool_choice": "auto",
                "messages": [{"role": "user", "content": [{"type": "text", "text": "And here?"},
                    {"type": "image_url", "image_url": {"url": "data:image/png;base64,iVBORw0KGgo=", "detail": "low"}}]},
                    {"role": "assistant", "content": null, "tool_calls": [
                        {"id": "c1", "type": "function", "function": {"name": "weather", "arguments": "{\"city\":\"Köln\"}"}}]},
                    {"role": "tool", "tool_call_id": "c1", "content": "rain"}]}),
            json!({"model": "gpt-4o", "messages": [{"role": "user", "content": "x"}],
                "response_format": {"type": "json_schema", "json_schema": {"name": "w", "strict": true, "schema": weather}}}),
        ],
        Format::AnthropicMessages => vec![
            json!({"model": "claude-haiku", "max_tokens": 64, "system": "Be brief.", "stream": true, "temperature": 0.2,
                "messages": [{"role": "user", "content": "Grüße 😀"}], "stop_sequences": ["\n"], "metadata": {"user_id": "u"}}),
            json!({"model": "claude-haiku", "max_tokens": 64, "tools": [{"name": "weather", "description": "d", "input_schema": weather}],
                "tool_choice": {"type": "auto"}, "thinking": {"type": "enabled", "budget_tokens": 32},
                "system": [{"type": "text", "text": "Long.", "cache_control": {"type": "ephemeral"}}],
                "messages": [{"role": "user", "content": [{"type": "text", "text": "And here?"},
                    {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "iVBORw0KGgo="}}]},
                    {"role": "assistant", "content": [{"type": "thinking", "thinking": "hm", "signature": "s"},
                        {"type": "tool_use", "id": "c1", "name": "weather", "input": {"city": "Köln"}}]},
                    {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "c1", "content": "rain"}]}]}),
        ],
        Format::OpenaiResponses => vec![
            json!({"model": "gpt-5", "instructions": "Be brief.", "input": "Grüße 😀", "temperature": 0, "stream": true, "store": false}),
            json!({"model": "gpt-5", "tools": [{"type": "function", "name": "weather", "parameters": weather}, {"type": "web_search"}],
                "reasoning": {"effort": "low"}, "include": ["reasoning.encrypted_content"], "previous_response_id": "resp_1",
                "input": [{"role": "user", "content": [{"type": "input_text", "text": "And here?"},
                    {"type": "input_image", "image_url": "data:image/png;base64,iVBORw0KGgo="}]},
                    {"type": "reasoning", "id": "rs_1", "summary": [], "encrypted_content": "sealed"},
                    {"type": "function_call", "call_id": "c1", "name": "weather", "arguments": "{\"city\":\"Köln\"}"},
                    {"type": "function_call_output", "call_id": "c1", "output": "rain"}]}),
        ],
        Format::GeminiGenerate => vec![
            json!({"systemInstruction": {"parts": [{"text": "Be brief."}]}, "contents": [{"role": "user", "parts": [{"text": "Grüße 😀"}]}],
                "generationConfig": {"temperature": 0, "stopSequences": ["\n"], "thinkingConfig": {"thinkingBudget": 0}}}),
            json!({"model": "models/m", "tools": [{"functionDeclarations": [{"name": "weather", "parametersJsonSchema": weather}]}, {"googleSearch": {}}],
                "contents": [{"role": "user", "parts": [{"text": "And here?"}, {"inline_data": {"mime_type": "image/png", "data": "iVBORw0KGgo="}}]},
                    {"role": "model", "parts": [{"functionCall": {"name": "weather", "args": {"city": "Köln"}}, "thoughtSignature": "sealed"}]},
                    {"role": "user", "parts": [{"functionResponse": {"name": "weather", "response": {"output": "rain"}}}]}]}),
        ],
        Format::OpenaiCompletions => vec![
            json!({"model": "davinci-002", "prompt": "Grüße 😀", "temperature": 0.2, "stream": true, "stream_options": {"include_usage": true},
                "stop": ["\n"], "seed": 7, "user": "u", "logprobs": 3, "echo": true}),
            json!({"model": "davinci-002", "prompt": ["a", "b"], "suffix": "c", "best_of": 2}),
            json!({"model": "davinci-002", "prompt": [[1, 2], [3]], "max_tokens": 0}),
            json!({"model": "davinci-002", "prompt": [1, "a"]}),
        ],
    };
    // What `messages` are elsewhere is `input` there, and `contents`.
    let wrong = wrong.into_iter().map(|request| match format {
        Format::OpenaiResponses => serde_json::from_str(&request.to_string().replace("\"messages\"", "\"input\"")).expect("it stays JSON"),
        Format::GeminiGenerate => {
            serde_json::from_str(&request.to_string().replace("\"messages\"", "\"contents\"")).expect("it stays JSON")
        }
        _ => request,
    });
    right.into_iter().chain(wrong).collect()
}

/// Answers of every format: a dialect writes what any provider said.
fn answers() -> Vec<(Format, Value)> {
    vec![
        (
            Format::OpenaiChat,
            json!({"id": "chatcmpl-1", "object": "chat.completion", "created": 1_700_000_000, "model": "gpt-4o-2024", "system_fingerprint": "fp",
                "choices": [{"index": 0, "message": {"role": "assistant", "content": "Grüße 😀", "refusal": null}, "logprobs": null, "finish_reason": "length"}],
                "usage": {"prompt_tokens": 11, "completion_tokens": 5, "total_tokens": 16, "prompt_tokens_details": {"cached_tokens": 3}}}),
        ),
        (
            Format::OpenaiChat,
            json!({"id": "chatcmpl-2", "object": "chat.completion", "created": 1_700_000_000, "model": "gpt-4o", "choices": [
                {"index": 0, "message": {"role": "assistant", "content": null, "tool_calls": [
                    {"id": "c1", "type": "function", "function": {"name": "weather", "arguments": "{\"city\":\"Köln\"}"}},
                    {"id": "c2", "type": "function", "function": {"name": "weather", "arguments": "{}"}}]}, "finish_reason": "tool_calls"}]}),
        ),
        (
            Format::AnthropicMessages,
            json!({"id": "msg_1", "type": "message", "role": "assistant", "model": "claude-haiku", "stop_reason": "end_turn", "stop_sequence": null,
                "content": [{"type": "thinking", "thinking": "hm", "signature": "s"}, {"type": "text", "text": "Grüße 😀"}],
                "usage": {"input_tokens": 11, "output_tokens": 5, "cache_read_input_tokens": 3, "cache_creation_input_tokens": 0}}),
        ),
        (
            Format::AnthropicMessages,
            json!({"id": "msg_2", "type": "message", "role": "assistant", "model": "claude-haiku", "stop_reason": "tool_use", "stop_sequence": null,
                "content": [{"type": "tool_use", "id": "c1", "name": "weather", "input": {"city": "Köln"}}],
                "usage": {"input_tokens": 11, "output_tokens": 5}}),
        ),
        (
            Format::OpenaiResponses,
            json!({"id": "resp_1", "object": "response", "created_at": 1_700_000_000, "status": "completed", "error": null, "incomplete_details": null,
                "model": "gpt-5", "output": [
                    {"id": "rs_1", "type": "reasoning", "summary": [{"type": "summary_text", "text": "hm"}], "encrypted_content": "sealed"},
                    {"id": "msg_1", "type": "message", "status": "completed", "role": "assistant",
                        "content": [{"type": "output_text", "text": "Grüße 😀", "annotations": []}]},
                    {"id": "fc_1", "type": "function_call", "status": "completed", "call_id": "c1", "name": "weather", "arguments": "{}"}],
                "usage": {"input_tokens": 11, "output_tokens": 5, "total_tokens": 16}}),
        ),
        (
            Format::GeminiGenerate,
            json!({"responseId": "r", "modelVersion": "gemini-x", "usageMetadata": {"promptTokenCount": 11, "candidatesTokenCount": 5, "thoughtsTokenCount": 2, "totalTokenCount": 18},
                "candidates": [{"index": 0, "finishReason": "STOP", "content": {"role": "model", "parts": [{"text": "hm", "thought": true},
                    {"text": "Grüße 😀", "thoughtSignature": "sealed"}, {"functionCall": {"name": "weather", "args": {"city": "Köln"}}}]}}]}),
        ),
    ]
}

fn errors() -> Vec<ChatError> {
    let plain = [
        ErrorClass::InvalidRequest,
        ErrorClass::Authentication,
        ErrorClass::Permission,
        ErrorClass::ModelNotFound,
        ErrorClass::RateLimited,
        ErrorClass::Overloaded,
        ErrorClass::Internal,
        ErrorClass::ContentFiltered,
    ];
    let mut errors: Vec<_> = plain.into_iter().map(|class| ChatError::new(class, "Grüße: \"no\"\n")).collect();
    errors.push(ChatError {
        retry_after_ms: Some(1_500),
        code: Some("c".into()),
        param: Some("p".into()),
        ..ChatError::new(ErrorClass::RateLimited, "later")
    });
    errors
}

/// Everything that a dialect does, on both sides.
fn check<D: Dialect>(name: &'static str, format: Format, path: &str) {
    let setup = Setup { name, config: json!({}), providers: PROVIDERS };
    let dialect: D = native::start(&setup).expect("it takes its configuration");
    let host = Host::start(&setup).expect("it takes its configuration");
    let (extension, trace) = (host.extension(), Trace::default());
    for request in requests(format) {
        let native = shown::native::accepted(&dialect.accept(&native::incoming(path, &request)));
        let incoming = std::sync::Arc::new(component::incoming(path, &request));
        let component = shown::component::accepted(&host.wait(extension.accept(&trace, &incoming)));
        assert_eq!(component, native, "accept {request}: the component, and the native code");

        let body = request.to_string();
        let native = dialect.decode(format.as_str(), body.as_bytes());
        let component = host.wait(extension.decode(&trace, format.as_str(), body.as_bytes()));
        assert_eq!(format!("{component:?}"), format!("{native:?}"), "decode {request}: the component, and the native code");
    }
    for body in [&b""[..], b"{", b"[]", b"\xff\xfe", b"{\"model\":\"\\ud800\",\"messages\":[]}", b"{\"model\":1e999}"] {
        let (native, component) = (dialect.decode(format.as_str(), body), host.wait(extension.decode(&trace, format.as_str(), body)));
        assert_eq!(format!("{component:?}"), format!("{native:?}"), "decode {body:?}: the component, and the native code");
    }
    for (from, document) in answers() {
        let answer = from.decode_answer(document.to_string().as_bytes()).expect("a valid answer");
        for include_usage in [false, true] {
            let (options, wire) = options(format, include_usage);
            let native = dialect.encode_answer(options, answer.clone());
            let component = host.wait(extension.encode_answer(&trace, &wire, &answer, document.to_string().len()));
            assert_same_text(&component, &native, &format!("encode-answer {document}"));
            // In one batch, and in a batch for each event.
            let events = answer_events(&answer);
            for batch in [events.len().max(1), 1] {
                for error in [None, Some(ChatError::new(ErrorClass::Overloaded, "broken"))] {
                    let (options, wire) = self::options(format, include_usage);
                    let mut native = dialect.encoder(options);
                    let mut component = host.wait(extension.encoder(&trace, &wire));
                    for events in events.chunks(batch) {
                        let written = host.wait(component.events(&trace, events, 1_000));
                        assert_same_text(&written, &native.events(events), &format!("events of {document}"));
                    }
                    let written = host.wait(component.finish(&trace, error.as_ref()));
                    assert_same_text(&written, &native.finish(error.as_ref()), &format!("end of {document}"));
                }
            }
        }
    }
    for error in errors() {
        let native = shown::native::reply(&dialect.encode_error(&error));
        let component = shown::component::reply(&host.wait(extension.encode_error(&trace, &error)));
        assert_eq!(component, native, "encode-error {error:?}: the component, and the native code");
    }
    assert_eq!(host.log(), native::log());
}

/// What both sides are told about a stream.
fn options(format: Format, include_usage: bool) -> (EncodeOptions, wire::EncodeOptions) {
    let (format, id, model) = (format.as_str(), "fallback", "asked");
    (
        EncodeOptions { format: format.into(), include_usage, id: id.into(), model: model.into(), created: 1_700_000_000 },
        wire::EncodeOptions { format: format.into(), include_usage, id: id.into(), model: model.into(), created: 1_700_000_000 },
    )
}

fn assert_same_text(component: &[u8], native: &[u8], what: &str) {
    assert_eq!(String::from_utf8_lossy(component), String::from_utf8_lossy(native), "{what}: the component, and the native code");
}

#[test]
fn openai() {
    check::<OpenAiApi>("openai-api", Format::OpenaiChat, "/v1/chat/completions");
}

#[test]
fn responses() {
    check::<OpenAiApi>("openai-api", Format::OpenaiResponses, "/v1/responses");
}

#[test]
fn completions() {
    check::<OpenAiApi>("openai-api", Format::OpenaiCompletions, "/v1/completions");
}

#[test]
fn gemini() {
    check::<GeminiApi>("gemini-api", Format::GeminiGenerate, "/v1beta/models/m:streamGenerateContent");
}

#[test]
fn anthropic() {
    check::<AnthropicApi>("anthropic-api", Format::AnthropicMessages, "/anthropic/v1/messages");
}

/// Calls that hold no conversation, on both sides.
fn check_operations<D: Operations>(name: &'static str, calls: &[(&str, Value)]) {
    let setup = Setup { name, config: json!({}), providers: PROVIDERS };
    let dialect: D = native::start(&setup).expect("it takes its configuration");
    let host = Host::start(&setup).expect("it takes its configuration");
    let (extension, trace) = (host.extension(), Trace::default());
    for (path, body) in calls {
        let incoming = std::sync::Arc::new(component::incoming(path, body));
        let accepted = dialect.accept_operation(&native::incoming(path, body));
        let component = shown::component::operation(&host.wait(extension.accept_operation(&trace, &incoming)));
        assert_eq!(component, shown::native::operation(&accepted), "accept {path} {body}: the component, and the native code");
        let Ok(head) = accepted else { continue };

        let format = format!("{}-{}", head.family, head.operation);
        let native = dialect.decode(&format, body.to_string().as_bytes());
        let component = host.wait(extension.decode(&trace, &format, body.to_string().as_bytes()));
        assert_eq!(format!("{component:?}"), format!("{native:?}"), "decode {path} {body}: the component, and the native code");

        let native = shown::native::instead(&dialect.answer_operation(&head.operation, &native::incoming(path, body)));
        let component = shown::component::instead(&host.wait(extension.answer_operation(&trace, &head.operation, &incoming)));
        assert_eq!(component, native, "answer {path} {body}: the component, and the native code");
    }
    assert_eq!(host.log(), native::log());
}

#[test]
fn openai_operations() {
    let calls = [
        ("/v1/embeddings", json!({"model": "m", "input": ["a", "Köln"]})),
        ("/v1/embeddings", json!({"model": "m", "input": []})),
        ("/v1/embeddings", json!({"input": "a"})),
        ("/v1/moderations", json!({"input": [{"type": "text", "text": "a"}]})),
        ("/v1/images/generations", json!({"prompt": "a", "model": null})),
        ("/v1/images/edits", json!({})),
        ("/v1/audio/speech", json!({"model": "m", "input": "a", "stream_format": "sse"})),
        ("/v1/files", json!({"a": 1})),
        ("/v1/responses/input_tokens", json!({"model": "m", "input": "Köln 😀 1234"})),
        ("/v1/responses/input_tokens", json!({"model": "m", "input": 5})),
    ];
    check_operations::<OpenAiApi>("openai-api", &calls);
}

#[test]
fn anthropic_operations() {
    let count = "/anthropic/v1/messages/count_tokens";
    let calls = [
        (count, json!({"model": "claude-x", "system": "Be brief.", "messages": [{"role": "user", "content": "Köln 😀 1234"}]})),
        (count, json!({"model": "m", "messages": []})),
        (count, json!({"model": "m", "messages": "x"})),
        (count, json!({"messages": []})),
        ("/anthropic/v1/messages/batches", json!({"requests": []})),
        ("/anthropic/v1/files/f", json!({})),
    ];
    check_operations::<AnthropicApi>("anthropic-api", &calls);
}
