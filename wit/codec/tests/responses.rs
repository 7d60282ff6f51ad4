//! OpenAI responses: bad requests, what crosses how, and what streams look like, by hand.

use llm_codec::hub::*;
use llm_codec::{EncodeOptions, Format, StreamOptions};
use serde_json::{Value, json};

const CHAT: Format = Format::OpenaiChat;
const ANTHROPIC: Format = Format::AnthropicMessages;
const RESPONSES: Format = Format::OpenaiResponses;

fn refuses(body: Value, path: &str, message: &str) {
    let e = RESPONSES.decode_request(body.to_string().as_bytes()).expect_err("a bad request");
    assert_eq!(e.path, path, "{body}: {e}");
    assert!(e.message.contains(message), "{body}: {e}");
}

#[test]
fn bad_requests() {
    refuses(json!({"input": "x"}), "model", "missing");
    refuses(json!({"model": "m"}), "input", "missing, expected a string or an array");
    refuses(json!({"model": "m", "input": []}), "input", "at least one item");
    refuses(json!({"model": "m", "input": 5}), "input", "found a number");
    refuses(json!({"model": "m", "input": [5]}), "input[0]", "expected an object");
    for (item, path, message) in [
        (json!({"content": "x"}), "input[0].role", "missing"),
        (json!({"role": "tool", "content": "x"}), "input[0].role", "found `tool`"),
        (json!({"role": "user"}), "input[0].content", "missing"),
        (json!({"role": "user", "content": [{"type": "input_text"}]}), "input[0].content[0].text", "missing"),
        (json!({"role": "assistant", "content": 1}), "input[0].content", "found a number"),
        (json!({"type": "function_call", "name": "f", "arguments": "{}"}), "input[0].call_id", "missing"),
        (json!({"type": "function_call_output", "call_id": "c"}), "input[0].output", "missing"),
        (json!({"type": "reasoning", "summary": "x"}), "input[0].summary", "expected an array"),
    ] {
        refuses(json!({"model": "m", "input": [item]}), path, message);
    }
    for (name, value, path, message) in [
        ("instructions", json!(["x"]), "instructions", "a string"),
        ("tools", json!([{"name": "f"}]), "tools[0].type", "missing"),
        ("tools", json!([{"type": "function"}]), "tools[0].name", "missing"),
        ("tool_choice", json!(1), "tool_choice", "a string or an object"),
        ("text", json!("json"), "text", "an object"),
        ("text", json!({"format": {}}), "text.format.type", "missing"),
        ("text", json!({"format": {"type": "json_schema"}}), "text.format.schema", "missing"),
        ("reasoning", json!({"effort": 1}), "reasoning.effort", "a string"),
        ("max_output_tokens", json!(0), "max_output_tokens", "1 or more"),
        ("stream", json!("yes"), "stream", "a boolean"),
    ] {
        let mut body = json!({"model": "m", "input": "x"});
        body[name] = value;
        refuses(body, path, message);
    }
}

/// A request becomes this one in another format, and loses these fields.
fn crosses(from: Format, body: Value, to: Format, expect: Value, lost: &[&str]) {
    let request = from.decode_request(body.to_string().as_bytes()).unwrap();
    let encoded = to.encode_request(&request, &EncodeOptions::default());
    assert_eq!(serde_json::from_slice::<Value>(&encoded.body).unwrap(), expect);
    assert_eq!(encoded.losses.iter().map(|l| l.field.as_str()).collect::<Vec<_>>(), lost);
}

fn conversation() -> Value {
    json!({
        "model": "m", "instructions": "Be brief.", "temperature": 0, "max_output_tokens": 50, "parallel_tool_calls": true,
        "input": [
            {"role": "user", "content": [{"type": "input_text", "text": "look"}, {"type": "input_image", "image_url": "data:image/png;base64,AA=="}]},
            {"type": "reasoning", "id": "rs_1", "summary": [], "encrypted_content": "sealed"},
            {"type": "function_call", "id": "fc_1", "call_id": "c1", "name": "f", "arguments": "{\"a\":1}"},
            {"type": "function_call", "id": "fc_2", "call_id": "c2", "name": "g", "arguments": "{}"},
            {"type": "function_call_output", "call_id": "c1", "output": "one"},
            {"type": "function_call_output", "call_id": "c2", "output": "two"},
        ],
        "tools": [{"type": "function", "name": "f", "parameters": {"type": "object"}, "strict": true}, {"type": "web_search"}],
        "text": {"format": {"type": "json_schema", "name": "s", "schema": {"type": "object"}, "strict": true}},
        "reasoning": {"effort": "low"},
    })
}

#[test]
fn a_conversation_becomes_chat_completions() {
    let calls = json!([
        {"id": "c1", "type": "function", "function": {"name": "f", "arguments": "{\"a\":1}"}},
        {"id": "c2", "type": "function", "function": {"name": "g", "arguments": "{}"}},
    ]);
    let expect = json!({
        "model": "m", "temperature": 0.0, "max_tokens": 50, "parallel_tool_calls": true, "reasoning_effort": "low",
        "messages": [
            {"role": "system", "content": "Be brief."},
            {"role": "user", "content": [{"type": "text", "text": "look"}, {"type": "image_url", "image_url": {"url": "data:image/png;base64,AA=="}}]},
            {"role": "assistant", "content": null, "tool_calls": calls},
            {"role": "tool", "tool_call_id": "c1", "content": "one"},
            {"role": "tool", "tool_call_id": "c2", "content": "two"},
        ],
        "tools": [{"type": "function", "function": {"name": "f", "parameters": {"type": "object"}, "strict": true}}],
        "response_format": {"type": "json_schema", "json_schema": {"name": "s", "schema": {"type": "object"}, "strict": true}},
    });
    crosses(RESPONSES, conversation(), CHAT, expect, &["messages[2].content[0]", "tools[1]"]);
}

#[test]
fn a_conversation_becomes_messages() {
    let request = RESPONSES.decode_request(conversation().to_string().as_bytes()).unwrap();
    let encoded = ANTHROPIC.encode_request(&request, &EncodeOptions::default());
    let body: Value = serde_json::from_slice(&encoded.body).unwrap();
    let expect = json!([
        {"role": "user", "content": [
            {"type": "text", "text": "look"},
            {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "AA=="}},
        ]},
        {"role": "assistant", "content": [
            {"type": "tool_use", "id": "c1", "name": "f", "input": {"a": 1}},
            {"type": "tool_use", "id": "c2", "name": "g", "input": {}},
        ]},
        {"role": "user", "content": [
            {"type": "tool_result", "tool_use_id": "c1", "content": "one"},
            {"type": "tool_result", "tool_use_id": "c2", "content": "two"},
        ]},
    ]);
    assert_eq!((&body["system"], &body["messages"], &body["max_tokens"]), (&json!("Be brief."), &expect, &json!(50)));
}

#[test]
fn other_formats_become_responses() {
    let body = json!({
        "model": "m", "max_tokens": 1, "stop": ["x"], "response_format": {"type": "json_object"}, "reasoning_effort": "high",
        "messages": [
            {"role": "system", "content": "s"},
            {"role": "user", "content": "q", "name": "n"},
            {"role": "assistant", "content": "a", "tool_calls": [{"id": "c", "type": "custom", "custom": {"name": "g", "input": "i"}}]},
            {"role": "tool", "tool_call_id": "c", "content": "r"},
        ],
        "tools": [{"type": "function", "function": {"name": "f"}}], "tool_choice": {"type": "function", "function": {"name": "f"}},
    });
    let expect = json!({
        "model": "m", "instructions": "s", "max_output_tokens": 16, "store": false, "reasoning": {"effort": "high"},
        "input": [
            {"role": "user", "content": "q"},
            {"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": "a"}]},
            {"type": "custom_tool_call", "call_id": "c", "name": "g", "input": "i"},
            {"type": "custom_tool_call_output", "call_id": "c", "output": "r"},
        ],
        "tools": [{"type": "function", "name": "f", "parameters": {"type": "object", "properties": {}}, "strict": false}],
        "tool_choice": {"type": "function", "name": "f"},
        "text": {"format": {"type": "json_object"}},
    });
    crosses(CHAT, body, RESPONSES, expect, &["messages[1].name", "max_tokens", "stop"]);
    let body = json!({
        "model": "m", "max_tokens": 100, "stream": true, "thinking": {"type": "enabled", "budget_tokens": 5000},
        "messages": [
            {"role": "user", "content": "q"},
            {"role": "assistant", "content": [{"type": "thinking", "thinking": "t", "signature": "s"}, {"type": "tool_use", "id": "c", "name": "f", "input": {}}]},
            {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "c", "content": "r", "is_error": true}, {"type": "text", "text": "go on"}]},
        ],
    });
    let expect = json!({
        "model": "m", "max_output_tokens": 100, "stream": true, "store": false, "reasoning": {"effort": "medium", "summary": "auto"},
        "input": [
            {"role": "user", "content": "q"},
            {"type": "function_call", "call_id": "c", "name": "f", "arguments": "{}"},
            {"type": "function_call_output", "call_id": "c", "output": "r"},
            {"role": "user", "content": "go on"},
        ],
    });
    crosses(ANTHROPIC, body, RESPONSES, expect, &["messages[1].content[0]", "messages[2].content[0].is_error"]);
}

#[test]
fn what_only_one_provider_keeps_is_named() {
    let check = |member: &str, value: Value, expect: Option<&str>| {
        let mut body = json!({"model": "m", "input": [{"role": "user", "content": "x"}]});
        match member {
            "input" => body["input"].as_array_mut().unwrap().push(value),
            name => body[name] = value,
        }
        let request = RESPONSES.decode_request(body.to_string().as_bytes()).unwrap();
        assert_eq!(RESPONSES.portable(&request).err().map(|e| e.path).as_deref(), expect, "{body}");
    };
    check("previous_response_id", json!("resp_1"), Some("previous_response_id"));
    check("previous_response_id", json!(null), None);
    check("conversation", json!({"id": "c"}), Some("conversation"));
    check("prompt", json!({"id": "p"}), Some("prompt"));
    check("store", json!(true), Some("store"));
    check("store", json!(false), None);
    check("background", json!(true), Some("background"));
    check("input", json!({"type": "item_reference", "id": "i"}), Some("input"));
    check("input", json!({"type": "web_search_call", "id": "w", "status": "completed"}), None);
}

fn stream(events: &[StreamEvent]) -> Vec<Value> {
    let mut out = Vec::new();
    RESPONSES.event_encoder(StreamOptions { id: "r".into(), ..StreamOptions::default() }).events(events, &mut out);
    let text = String::from_utf8(out).unwrap();
    text.split("\n\n").filter_map(|e| Some(serde_json::from_str(e.split_once("\ndata: ")?.1).unwrap())).collect()
}

/// Reasoning that another provider signed is shown, goes to the client in what it keeps, and comes back as it was.
#[test]
fn signatures_of_other_formats_survive_a_turn() {
    let body = json!({
        "id": "msg_1", "type": "message", "role": "assistant", "model": "m", "stop_reason": "tool_use", "stop_sequence": null,
        "content": [
            {"type": "thinking", "thinking": "hm", "signature": "sig"}, {"type": "redacted_thinking", "data": "sealed"},
            {"type": "tool_use", "id": "toolu_1", "name": "f", "input": {"a": 1}},
        ],
        "usage": {"input_tokens": 3, "output_tokens": 4},
    });
    let answer = ANTHROPIC.decode_answer(body.to_string().as_bytes()).unwrap();
    let written: Value = serde_json::from_slice(&RESPONSES.encode_answer(&answer, &StreamOptions::default()).body).unwrap();
    let streamed = stream(&answer_events(&answer));
    assert_eq!(streamed.last().unwrap()["response"]["output"], written["output"], "a stream tells the same");
    assert_eq!(written["output"][0]["summary"], json!([{"type": "summary_text", "text": "hm"}]));
    let mut input = written["output"].as_array().unwrap().clone();
    input.push(json!({"type": "function_call_output", "call_id": "toolu_1", "output": "4"}));
    let next = json!({"model": "m", "input": input}).to_string();
    let again = RESPONSES.decode_request(next.as_bytes()).unwrap();
    let sent: Value = serde_json::from_slice(&ANTHROPIC.encode_request(&again, &EncodeOptions::default()).body).unwrap();
    assert_eq!(sent["messages"][0], json!({"role": "assistant", "content": body["content"]}));
}

#[test]
fn a_stream_that_fails_says_so_twice() {
    let start = StreamEvent::Start(StreamStart {
        format: "openai-chat".into(),
        id: "c".into(),
        model: "m".into(),
        created: Some(1),
        usage: None,
        extras: Vec::new(),
    });
    let events = stream(&[start, StreamEvent::Error(ChatError::new(ErrorClass::Interrupted, "It broke off."))]);
    let kinds: Vec<&str> = events.iter().map(|e| e["type"].as_str().unwrap()).collect();
    assert_eq!(kinds, ["response.created", "response.in_progress", "error", "response.failed"]);
    let (error, failed) = (&events[2], &events[3]["response"]);
    assert_eq!(
        (&error["message"], &error["error"]["message"], &error["sequence_number"]),
        (&json!("It broke off."), &json!("It broke off."), &json!(2))
    );
    assert_eq!((&failed["status"], &failed["error"]["code"]), (&json!("failed"), &json!("upstream_interrupted")));
}

#[test]
fn alternatives_and_empty_texts_are_left_out() {
    let part = |choice, block| StreamEvent::BlockStart(BlockStart { at: BlockId { choice, block }, part: Part::text("") });
    let told = |choice, text: &str| {
        StreamEvent::BlockDelta(BlockDelta { at: BlockId { choice, block: 0 }, delta: Delta::Text(text.into()), extras: Vec::new() })
    };
    let mut out = Vec::new();
    let mut encoder = RESPONSES.event_encoder(StreamOptions::default());
    encoder.events(&[part(0, 0), part(0, 1), part(1, 0), told(0, "a"), told(1, "b"), StreamEvent::End], &mut out);
    let text = String::from_utf8(out).unwrap();
    assert_eq!((text.matches("output_item.added\"").count(), text.matches("\"delta\":\"b\"").count()), (1, 0));
    assert_eq!(encoder.losses().len(), 1);
}

#[test]
fn tokens_of_a_text_that_was_changed_are_not_told() {
    let token = |token: &str| json!({"token": token, "logprob": -0.5, "bytes": token.as_bytes(), "top_logprobs": []});
    let check = |text: &str, expect: usize| {
        let content = json!([{"type": "output_text", "text": "a sé", "annotations": [], "logprobs": [token("a "), token("sé")]}]);
        let item = json!({"id": "m", "type": "message", "role": "assistant", "status": "completed", "content": content});
        let body = json!({"id": "r", "status": "completed", "model": "m", "created_at": 1, "output": [item]});
        let mut answer = RESPONSES.decode_answer(body.to_string().as_bytes()).unwrap();
        answer.choices[0].parts[0].kind = PartKind::Text(text.into());
        let written: Value = serde_json::from_slice(&RESPONSES.encode_answer(&answer, &StreamOptions::default()).body).unwrap();
        let streamed = stream(&answer_events(&answer));
        for output in [&written["output"], &streamed.last().unwrap()["response"]["output"]] {
            assert_eq!(output[0]["content"][0]["logprobs"].as_array().unwrap().len(), expect, "{text}");
        }
    };
    check("a sé", 2);
    check("a [redacted]", 0);
}

#[test]
fn errors_of_answers_and_streams() {
    let e = RESPONSES.decode_answer(br#"{"id":"r","status":"failed","error":{"code":"rate_limit_exceeded","message":"slow"},"output":[]}"#);
    assert_eq!(e.unwrap_err().class, ErrorClass::RateLimited);
    assert_eq!(RESPONSES.decode_answer(br#"{"id":"r"}"#).unwrap_err().class, ErrorClass::Protocol);
    let check = |stream: &str, class: ErrorClass| {
        let (mut decoder, mut events) = (RESPONSES.event_decoder(), Vec::new());
        decoder.push(stream.as_bytes(), &mut events);
        decoder.finish(&mut events);
        let told: Vec<_> = events.iter().filter_map(|e| if let StreamEvent::Error(e) = e { Some(e.class) } else { None }).collect();
        assert_eq!(told, [class], "{stream}");
    };
    let created = "data: {\"type\":\"response.created\",\"response\":{\"id\":\"r\"}}\n\n";
    check(created, ErrorClass::Interrupted);
    check(&format!("{created}data: [DONE]\n\n"), ErrorClass::Interrupted);
    check(
        &format!("{created}data: {{\"type\":\"error\",\"code\":\"insufficient_quota\",\"message\":\"no money\"}}\n\n"),
        ErrorClass::QuotaExceeded,
    );
    let failed = "data: {\"type\":\"response.failed\",\"response\":{\"status\":\"failed\",\"error\":{\"code\":\"server_error\",\"message\":\"x\"}}}\n\n";
    check(&format!("{created}{failed}"), ErrorClass::Upstream);
}
