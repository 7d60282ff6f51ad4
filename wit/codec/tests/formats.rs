//! Cases that recordings and properties do not name: bad requests, what crosses how, and the oddities of hosts.

use llm_codec::hub::*;
use llm_codec::passthrough::StreamTap;
use llm_codec::{EncodeOptions, Format, StreamOptions};
use serde_json::{Value, json};

const OPENAI: Format = Format::OpenaiChat;
const ANTHROPIC: Format = Format::AnthropicMessages;

// === bad requests ===

fn refuses(format: Format, body: &str, path: &str, message: &str) {
    let e = format.decode_request(body.as_bytes()).expect_err(body);
    assert_eq!(e.path, path, "{body}: {e}");
    assert!(e.message.contains(message), "{body}: {e}");
    let e = ChatError::from(e);
    assert_eq!((e.class, e.param.as_deref().unwrap_or_default()), (ErrorClass::InvalidRequest, path));
}

#[test]
fn bad_openai_requests() {
    let m = r#""messages":[{"role":"user","content":"x"}]"#;
    refuses(OPENAI, "nope", "", "not a JSON object: expected an object at line 1 column 1");
    refuses(OPENAI, "[]", "", "expected an object");
    refuses(OPENAI, &format!("{{{m}}}"), "model", "missing, expected a string");
    refuses(OPENAI, &format!(r#"{{"model":3,{m}}}"#), "model", "expected a string, found a number");
    refuses(OPENAI, r#"{"model":"m"}"#, "messages", "missing");
    refuses(OPENAI, r#"{"model":"m","messages":[]}"#, "messages", "at least one");
    refuses(OPENAI, r#"{"model":"m","messages":{}}"#, "messages", "expected an array, found an object");
    refuses(OPENAI, r#"{"model":"m","messages":[1]}"#, "messages[0]", "expected an object, found a number");
    refuses(OPENAI, r#"{"model":"m","messages":[{"content":"x"}]}"#, "messages[0].role", "missing");
    refuses(OPENAI, r#"{"model":"m","messages":[{"role":"robot","content":"x"}]}"#, "messages[0].role", "found `robot`");
    refuses(OPENAI, r#"{"model":"m","messages":[{"role":"user","content":5}]}"#, "messages[0].content", "found a number");
    refuses(OPENAI, r#"{"model":"m","messages":[{"role":"user","content":[{"text":"x"}]}]}"#, "messages[0].content[0].type", "missing");
    refuses(OPENAI, r#"{"model":"m","messages":[{"role":"user","content":[{"type":"text"}]}]}"#, "messages[0].content[0].text", "missing");
    refuses(
        OPENAI,
        r#"{"model":"m","messages":[{"role":"user","content":[{"type":"image_url","image_url":{}}]}]}"#,
        "messages[0].content[0].image_url.url",
        "missing",
    );
    refuses(OPENAI, r#"{"model":"m","messages":[{"role":"tool","content":"x"}]}"#, "messages[0].tool_call_id", "missing");
    refuses(
        OPENAI,
        r#"{"model":"m","messages":[{"role":"assistant","tool_calls":[{"id":"a","type":"function","function":{}}]}]}"#,
        "messages[0].tool_calls[0].function.name",
        "missing",
    );
    for (member, path, message) in [
        (r#""n":0"#, "n", "1 or more"),
        (r#""n":"2""#, "n", "found a string"),
        (r#""temperature":"hot""#, "temperature", "expected a number, found a string"),
        (r#""max_tokens":-1"#, "max_tokens", "whole number"),
        (r#""max_completion_tokens":1.5"#, "max_completion_tokens", "whole number"),
        (r#""stop":5"#, "stop", "a string or an array of strings"),
        (r#""stop":[1]"#, "stop", "a string or an array of strings"),
        (r#""stream":"yes""#, "stream", "a boolean"),
        (r#""tools":{}"#, "tools", "an array"),
        (r#""tools":[{"function":{}}]"#, "tools[0].type", "missing"),
        (r#""tools":[{"type":"function"}]"#, "tools[0].function", "missing"),
        (r#""tools":[{"type":"function","function":{"name":"x","parameters":[]}}]"#, "tools[0].function.parameters", "found an array"),
        (r#""tool_choice":1"#, "tool_choice", "a string or an object"),
        (r#""response_format":{}"#, "response_format.type", "missing"),
        (r#""response_format":{"type":"json_schema"}"#, "response_format.json_schema", "missing"),
    ] {
        refuses(OPENAI, &format!(r#"{{"model":"m",{m},{member}}}"#), path, message);
    }
}

#[test]
fn bad_anthropic_requests() {
    let head = r#""model":"m","max_tokens":9"#;
    refuses(ANTHROPIC, r#"{"model":"m","messages":[{"role":"user","content":"x"}]}"#, "max_tokens", "missing");
    refuses(ANTHROPIC, r#"{"model":"m","max_tokens":0,"messages":[{"role":"user","content":"x"}]}"#, "max_tokens", "1 or more");
    refuses(ANTHROPIC, &format!(r#"{{{head},"messages":[]}}"#), "messages", "at least one");
    for (message, path, says) in [
        (r#"{"role":"user"}"#, "messages[0].content", "missing"),
        (r#"{"role":"user","content":null}"#, "messages[0].content", "found null"),
        (r#"{"role":"tool","content":"x"}"#, "messages[0].role", "found `tool`"),
        (r#"{"role":"user","content":[{"type":"text","text":1}]}"#, "messages[0].content[0].text", "expected a string"),
        (r#"{"role":"user","content":[{"type":"image","source":{}}]}"#, "messages[0].content[0].source.type", "missing"),
        (r#"{"role":"user","content":[{"type":"tool_result"}]}"#, "messages[0].content[0].tool_use_id", "missing"),
        (
            r#"{"role":"user","content":[{"type":"tool_result","tool_use_id":"t","content":[{"type":"text"}]}]}"#,
            "messages[0].content[0].content[0].text",
            "missing",
        ),
        (
            r#"{"role":"assistant","content":[{"type":"tool_use","id":"t","name":"n","input":"x"}]}"#,
            "messages[0].content[0].input",
            "expected an object, found a string",
        ),
    ] {
        refuses(ANTHROPIC, &format!(r#"{{{head},"messages":[{message}]}}"#), path, says);
    }
    let m = r#""messages":[{"role":"user","content":"x"}]"#;
    refuses(ANTHROPIC, &format!(r#"{{{head},{m},"system":5}}"#), "system", "a string or an array");
    refuses(ANTHROPIC, &format!(r#"{{{head},{m},"tool_choice":"auto"}}"#), "tool_choice", "an object");
    refuses(ANTHROPIC, &format!(r#"{{{head},{m},"stop_sequences":"x"}}"#), "stop_sequences", "an array of strings");
}

// === the same format keeps what is odd ===

fn keeps(format: Format, body: Value) {
    let hub = format.decode_request(body.to_string().as_bytes()).unwrap_or_else(|e| panic!("{e}: {body}"));
    let encoded = format.encode_request(&hub, &EncodeOptions::default());
    assert_eq!(serde_json::from_slice::<Value>(&encoded.body).unwrap(), body);
    assert_eq!(encoded.losses, []);
}

#[test]
fn openai_keeps() {
    let with = |member: Value| {
        let mut body = json!({"model": "m", "messages": [{"role": "user", "content": "x"}]});
        body.as_object_mut().unwrap().extend(member.as_object().unwrap().clone());
        keeps(OPENAI, body);
    };
    for member in [
        json!({"stop": "x"}),
        json!({"stop": ["x"]}),
        json!({"stop": []}),
        json!({"stop": null, "n": null, "temperature": null, "tools": null, "tool_choice": null, "stream": null, "response_format": null, "user": null, "max_tokens": null}),
        json!({"temperature": 0.0, "seed": 0, "presence_penalty": 0.0, "top_p": 0.0}),
        json!({"seed": -9_223_372_036_854_775_808_i64}),
        json!({"stream": false}),
        json!({"stream": true, "stream_options": {"include_usage": true, "include_obfuscation": false}}),
        json!({"stream": true, "stream_options": {"include_usage": false}}),
        json!({"stream": true, "stream_options": {}}),
        json!({"tools": []}),
        json!({"max_tokens": 5, "max_completion_tokens": 6}),
        json!({"max_tokens": 5, "max_completion_tokens": null}),
        json!({"max_completion_tokens": 6}),
        json!({"top_k": 5, "min_p": 0.5, "reasoning": {"effort": "low"}, "x": {"deep": [1, {"y": null}]}}),
        json!({"response_format": {"type": "text"}}),
        json!({"response_format": {"type": "json_schema", "json_schema": {"name": "n", "schema": {}}, "more": 1}}),
        json!({"response_format": {"type": "grammar", "grammar": "x"}}),
        json!({"tool_choice": "any", "tools": [{"type": "function", "function": {"name": "f"}}]}),
        json!({"tool_choice": {"type": "allowed_tools", "allowed_tools": {"mode": "auto"}}}),
        json!({"tool_choice": {"type": "function", "function": {"name": "f"}}, "parallel_tool_calls": false}),
        json!({"tools": [{"type": "custom", "custom": {"name": "c"}}, {"type": "web_search"}, {"type": "function", "function": {"name": "f", "strict": null, "description": null, "x": 1}, "y": 2, "cache_control": {"type": "ephemeral"}}]}),
        json!({"functions": [{"name": "f"}], "function_call": "auto", "logprobs": true, "logit_bias": {"1": -100}}),
    ] {
        with(member);
    }
    for message in [
        json!({"role": "developer", "content": [{"type": "text", "text": "a"}]}),
        json!({"role": "user", "content": ""}),
        json!({"role": "user", "content": []}),
        json!({"role": "user", "content": "x", "name": "n", "tool_calls": null}),
        json!({"role": "user", "content": [{"type": "image_url", "image_url": {"url": "data:image/png;base64,AA==", "detail": "low", "x": 1}}]}),
        json!({"role": "user", "content": [{"type": "image_url", "image_url": "https://a.example/x.png"}]}),
        json!({"role": "user", "content": [{"type": "input_audio", "input_audio": {"data": "AA", "format": "wav"}}]}),
        json!({"role": "user", "content": [{"type": "file", "file": {"file_id": "f"}}]}),
        json!({"role": "user", "content": [{"type": "file", "file": {"file_data": "data:application/pdf;base64,AA", "filename": "f.pdf"}}]}),
        json!({"role": "user", "content": [{"type": "file", "file": {"file_data": "data:application/pdf;base64,AA"}}]}),
        json!({"role": "user", "content": [{"type": "file", "file": {"file_data": "AAAA", "filename": "f.pdf"}}]}),
        json!({"role": "user", "content": [{"type": "video_url", "video_url": {"url": "x"}}]}),
        json!({"role": "assistant", "content": null, "refusal": "no"}),
        json!({"role": "assistant", "content": [{"type": "refusal", "refusal": "no"}]}),
        json!({"role": "assistant"}),
        json!({"role": "assistant", "content": "x", "tool_calls": []}),
        json!({"role": "assistant", "content": "x", "reasoning_content": "r"}),
        json!({"role": "assistant", "content": "x", "reasoning": "r"}),
        json!({"role": "assistant", "content": "x", "reasoning": "r", "reasoning_content": "r"}),
        json!({"role": "assistant", "content": "x", "reasoning": null, "reasoning_content": ""}),
        json!({"role": "assistant", "content": "x", "reasoning": "r", "reasoning_details": [{"type": "reasoning.text", "text": "r", "signature": "s", "index": 0}]}),
        json!({"role": "assistant", "content": "x", "reasoning_details": [{"type": "reasoning.encrypted", "data": "d", "format": "openai-responses-v1"}]}),
        json!({"role": "assistant", "content": [{"type": "thinking", "thinking": [{"type": "text", "text": "t"}], "closed": true}, {"type": "text", "text": "x"}]}),
        json!({"role": "assistant", "content": null, "tool_calls": [{"id": "a", "type": "function", "function": {"name": "f", "arguments": "not json"}, "index": 0}]}),
        json!({"role": "assistant", "content": null, "tool_calls": [{"id": "a", "function": {"name": "f", "arguments": "{}"}, "type": "function", "extra_content": {"google": {"thought_signature": "s"}}}]}),
        json!({"role": "assistant", "content": null, "tool_calls": [{"id": "a", "type": "custom", "custom": {"name": "f", "input": "free"}}]}),
        json!({"role": "assistant", "content": null, "tool_calls": [{"id": "a", "type": "function", "function": {"name": "f", "arguments": {"x": 1}}}]}),
        json!({"role": "assistant", "content": null, "function_call": {"name": "f", "arguments": "{}"}}),
        json!({"role": "tool", "tool_call_id": "a", "content": [{"type": "text", "text": "x", "cache_control": {"type": "ephemeral"}}]}),
        json!({"role": "tool", "tool_call_id": "a", "content": "", "name": "f"}),
        json!({"role": "function", "name": "f", "content": "x"}),
    ] {
        keeps(OPENAI, json!({"model": "m", "messages": [{"role": "user", "content": "x"}, message]}));
    }
}

#[test]
fn anthropic_keeps() {
    let with = |member: Value| {
        let mut body = json!({"model": "m", "max_tokens": 9, "messages": [{"role": "user", "content": "x"}]});
        body.as_object_mut().unwrap().extend(member.as_object().unwrap().clone());
        keeps(ANTHROPIC, body);
    };
    for member in [
        json!({"system": "s"}),
        json!({"system": ""}),
        json!({"system": []}),
        json!({"system": null}),
        json!({"system": [{"type": "text", "text": "a"}, {"type": "text", "text": "b", "cache_control": {"type": "ephemeral", "ttl": "1h"}}]}),
        json!({"metadata": {"user_id": "u", "more": 1}}),
        json!({"metadata": {}}),
        json!({"metadata": null, "thinking": null, "tool_choice": null, "stop_sequences": null, "temperature": null}),
        json!({"stop_sequences": []}),
        json!({"stop_sequences": ["a"], "top_k": 0, "temperature": 0.0}),
        json!({"thinking": {"type": "enabled", "budget_tokens": 1024, "display": "summarized"}}),
        json!({"thinking": {"type": "adaptive", "display": "omitted"}}),
        json!({"thinking": {"type": "disabled"}}),
        json!({"thinking": {"type": "new"}}),
        json!({"output_config": {"effort": "max", "format": {"type": "json_schema", "schema": {"type": "object"}}, "x": 1}}),
        json!({"output_format": {"type": "json_schema", "schema": {"type": "object"}}}),
        json!({"tool_choice": {"type": "auto", "disable_parallel_tool_use": false}, "tools": [{"name": "t", "input_schema": {"type": "object"}, "type": "custom", "defer_loading": true}]}),
        json!({"tool_choice": {"type": "any", "x": 1}}),
        json!({"tools": [{"type": "web_search_20250305", "name": "web_search", "max_uses": null}]}),
        json!({"tools": []}),
        json!({"stream": false, "service_tier": "auto", "cache_control": {"type": "ephemeral"}}),
    ] {
        with(member);
    }
    for content in [
        json!(""),
        json!([]),
        json!([{"type": "text", "text": ""}]),
        json!([{"type": "text", "text": "x", "cache_control": null, "citations": null}]),
        json!([{"type": "document", "source": {"type": "text", "media_type": "text/plain", "data": "d"}, "title": null, "context": "c", "citations": {"enabled": true}}]),
        json!([{"type": "document", "source": {"type": "content", "content": [{"type": "text", "text": "x"}]}, "title": "t"}]),
        json!([{"type": "image", "source": {"type": "file", "file_id": "f"}}]),
        json!([{"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "AA", "x": 1}}]),
        json!([{"type": "thinking", "thinking": "", "signature": "s"}, {"type": "redacted_thinking", "data": "d"}]),
        json!([{"type": "mcp_tool_use", "id": "i", "name": "n", "server_name": "s", "input": {}}, {"type": "mcp_tool_result", "tool_use_id": "i", "content": []}]),
        json!([{"type": "tool_result", "tool_use_id": "i"}]),
        json!([{"type": "tool_result", "tool_use_id": "i", "content": null}]),
        json!([{"type": "tool_result", "tool_use_id": "i", "content": "", "is_error": false}]),
        json!([{"type": "tool_result", "tool_use_id": "i", "content": [{"type": "tool_reference", "tool_name": "x"}, {"type": "text", "text": "t", "cache_control": {"type": "ephemeral"}}], "is_error": true, "cache_control": {"type": "ephemeral"}}, {"type": "text", "text": "and"}]),
        json!([{"type": "tomorrow", "x": [1]}]),
    ] {
        keeps(ANTHROPIC, json!({"model": "m", "max_tokens": 9, "messages": [{"role": "user", "content": content}]}));
    }
    keeps(
        ANTHROPIC,
        json!({"model": "m", "max_tokens": 9, "messages": [{"role": "system", "content": "first"}, {"role": "user", "content": "x"}, {"role": "system", "content": "mid"}]}),
    );
}

// === crossing ===

fn crosses(from: Format, body: Value, expect: Value, losses: &[&str]) {
    let hub = from.decode_request(body.to_string().as_bytes()).unwrap_or_else(|e| panic!("{e}: {body}"));
    let to = if from == OPENAI { ANTHROPIC } else { OPENAI };
    let encoded = to.encode_request(&hub, &EncodeOptions::default());
    let got: Value = serde_json::from_slice(&encoded.body).unwrap();
    for (name, value) in expect.as_object().unwrap() {
        assert_eq!(got.get(name).unwrap_or(&Value::Null), value, "{name} of {got}");
    }
    let fields: Vec<&str> = encoded.losses.iter().map(|l| l.field.as_str()).collect();
    assert_eq!(fields, losses, "{got}");
}

fn from_openai(member: Value, expect: Value, losses: &[&str]) {
    let mut body = json!({"model": "m", "messages": [{"role": "user", "content": "x"}]});
    body.as_object_mut().unwrap().extend(member.as_object().unwrap().clone());
    crosses(OPENAI, body, expect, losses);
}

fn from_anthropic(member: Value, expect: Value, losses: &[&str]) {
    let mut body = json!({"model": "m", "max_tokens": 9, "messages": [{"role": "user", "content": "x"}]});
    body.as_object_mut().unwrap().extend(member.as_object().unwrap().clone());
    crosses(ANTHROPIC, body, expect, losses);
}

#[test]
fn openai_requests_cross() {
    let tools = json!([{"type": "function", "function": {"name": "f"}}]);
    from_openai(
        json!({}),
        json!({"max_tokens": 4096, "messages": [{"role": "user", "content": "x"}], "system": null, "stream": null}),
        &[],
    );
    from_openai(
        json!({"max_completion_tokens": 7, "stop": "s", "user": "u", "n": 1, "temperature": 0}),
        json!({"max_tokens": 7, "stop_sequences": ["s"], "metadata": {"user_id": "u"}, "temperature": 0.0}),
        &[],
    );
    from_openai(
        json!({"temperature": 1.5, "seed": 1, "n": 2, "logit_bias": {}, "frequency_penalty": 1}),
        json!({"temperature": 1.0}),
        &["temperature", "frequency_penalty", "seed", "n", "logit_bias"],
    );
    from_openai(json!({"stream": true, "stream_options": {"include_usage": true}, "store": true}), json!({"stream": true}), &[]);
    from_openai(
        json!({"tools": tools, "parallel_tool_calls": false}),
        json!({"tools": [{"name": "f", "input_schema": {"type": "object", "properties": {}}}], "tool_choice": {"type": "auto", "disable_parallel_tool_use": true}}),
        &[],
    );
    from_openai(
        json!({"tools": tools, "tool_choice": "required", "parallel_tool_calls": true}),
        json!({"tool_choice": {"type": "any"}}),
        &[],
    );
    from_openai(
        json!({"tools": tools, "tool_choice": {"type": "function", "function": {"name": "f"}}}),
        json!({"tool_choice": {"type": "tool", "name": "f"}}),
        &[],
    );
    from_openai(
        json!({"tools": [{"type": "custom", "custom": {"name": "c"}}], "tool_choice": "required"}),
        json!({"tools": null, "tool_choice": null}),
        &["tools[0]"],
    );
    from_openai(
        json!({"response_format": {"type": "json_schema", "json_schema": {"name": "n", "schema": {"type": "object"}, "strict": true}}}),
        json!({"output_config": {"format": {"type": "json_schema", "schema": {"type": "object"}}}}),
        &[],
    );
    from_openai(json!({"response_format": {"type": "json_object"}}), json!({"output_config": null}), &["response_format"]);
    from_openai(
        json!({"reasoning_effort": "medium"}),
        json!({"max_tokens": 12288, "thinking": {"type": "enabled", "budget_tokens": 8192}}),
        &[],
    );
    from_openai(
        json!({"reasoning_effort": "high", "max_tokens": 2000, "temperature": 0.5}),
        json!({"max_tokens": 2000, "thinking": {"type": "enabled", "budget_tokens": 1999}, "temperature": null}),
        &["temperature"],
    );
    from_openai(json!({"reasoning_effort": "high", "max_tokens": 1000}), json!({"thinking": null}), &["reasoning_effort"]);
    from_openai(
        json!({"reasoning_effort": "high", "tools": tools, "tool_choice": "required"}),
        json!({"thinking": null}),
        &["reasoning_effort"],
    );
    from_openai(json!({"reasoning_effort": "none"}), json!({"thinking": null}), &[]);
    let cache = json!({"type": "ephemeral"});
    from_openai(
        json!({"messages": [{"role": "system", "content": "a"}, {"role": "developer", "content": [{"type": "text", "text": "b", "cache_control": cache}]}, {"role": "user", "content": "x", "name": "n"}, {"role": "system", "content": "late"}]}),
        json!({"system": [{"type": "text", "text": "a"}, {"type": "text", "text": "b", "cache_control": cache}, {"type": "text", "text": "late"}], "messages": [{"role": "user", "content": "x"}]}),
        &["messages[3].role", "messages[2].name"],
    );
    // Results of one round stand in one message, with what the user says next; ids keep to Anthropic's letters.
    from_openai(
        json!({"messages": [
            {"role": "user", "content": "x"},
            {"role": "assistant", "content": null, "reasoning_content": "r", "tool_calls": [{"id": "f:0", "type": "function", "function": {"name": "f", "arguments": "{\"a\":1}"}}, {"id": "f:1", "type": "function", "function": {"name": "f", "arguments": "oops"}}]},
            {"role": "tool", "tool_call_id": "f:0", "content": "1"},
            {"role": "tool", "tool_call_id": "f:1", "content": [{"type": "text", "text": "2"}]},
            {"role": "user", "content": "go on"}
        ]}),
        json!({"messages": [
            {"role": "user", "content": "x"},
            {"role": "assistant", "content": [{"type": "tool_use", "id": "f_0", "name": "f", "input": {"a": 1}}, {"type": "tool_use", "id": "f_1", "name": "f", "input": {"INVALID_JSON": "oops"}}]},
            {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "f_0", "content": "1"}, {"type": "tool_result", "tool_use_id": "f_1", "content": "2"}, {"type": "text", "text": "go on"}]}
        ]}),
        &["messages[1].content[0]", "messages[1].content[2].arguments"],
    );
    // Signed reasoning that came from Anthropic by way of an OpenAI client.
    from_openai(
        json!({"messages": [{"role": "user", "content": "x"}, {"role": "assistant", "content": "y", "reasoning_details": [{"type": "reasoning.text", "text": "r", "signature": "s", "format": "anthropic-claude-v1"}, {"type": "reasoning.encrypted", "data": "d"}]}]}),
        json!({"messages": [{"role": "user", "content": "x"}, {"role": "assistant", "content": [{"type": "thinking", "thinking": "r", "signature": "s"}, {"type": "redacted_thinking", "data": "d"}, {"type": "text", "text": "y"}]}]}),
        &[],
    );
    from_openai(
        json!({"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "data:image/png;base64,AA=="}}, {"type": "image_url", "image_url": {"url": "https://a.example/x", "detail": "low"}}, {"type": "file", "file": {"filename": "n.txt", "file_data": "data:text/plain;base64,aGk="}}, {"type": "input_audio", "input_audio": {"data": "AA", "format": "wav"}}]}]}),
        json!({"messages": [{"role": "user", "content": [{"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "AA=="}}, {"type": "image", "source": {"type": "url", "url": "https://a.example/x"}}, {"type": "document", "source": {"type": "text", "media_type": "text/plain", "data": "hi"}, "title": "n.txt"}]}]}),
        &["messages[0].content[1].detail", "messages[0].content[3]"],
    );
}

#[test]
fn anthropic_requests_cross() {
    from_anthropic(json!({}), json!({"max_tokens": 9, "messages": [{"role": "user", "content": "x"}]}), &[]);
    from_anthropic(json!({"model": "gpt-5-mini"}), json!({"max_tokens": null, "max_completion_tokens": 9}), &[]);
    from_anthropic(json!({"model": "openai/o3"}), json!({"max_completion_tokens": 9}), &[]);
    from_anthropic(json!({"model": "gpt-4o"}), json!({"max_tokens": 9}), &[]);
    from_anthropic(
        json!({"top_k": 5, "metadata": {"user_id": "u"}, "stop_sequences": ["s"], "service_tier": "auto"}),
        json!({"user": "u", "stop": ["s"], "top_k": null}),
        &["top_k", "service_tier"],
    );
    from_anthropic(json!({"stream": true}), json!({"stream": true, "stream_options": {"include_usage": true}}), &[]);
    from_anthropic(json!({"thinking": {"type": "enabled", "budget_tokens": 5000}}), json!({"reasoning_effort": "medium"}), &[]);
    from_anthropic(
        json!({"thinking": {"type": "adaptive"}, "output_config": {"effort": "max"}}),
        json!({"reasoning_effort": "xhigh"}),
        &[],
    );
    from_anthropic(json!({"thinking": {"type": "disabled"}}), json!({"reasoning_effort": null}), &["thinking"]);
    from_anthropic(
        json!({"tools": [{"name": "f", "description": "d", "input_schema": {"type": "object"}, "cache_control": {"type": "ephemeral"}}, {"type": "web_search_20250305", "name": "web_search"}], "tool_choice": {"type": "any", "disable_parallel_tool_use": true}}),
        json!({"tools": [{"type": "function", "function": {"name": "f", "description": "d", "parameters": {"type": "object"}}}], "tool_choice": "required", "parallel_tool_calls": false}),
        &["tools[0].cache_control", "tools[1]"],
    );
    from_anthropic(
        json!({"system": [{"type": "text", "text": "a", "cache_control": {"type": "ephemeral"}}, {"type": "text", "text": "b"}], "output_config": {"format": {"type": "json_schema", "schema": {"type": "object"}}}}),
        json!({"messages": [{"role": "system", "content": [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]}, {"role": "user", "content": "x"}], "response_format": {"type": "json_schema", "json_schema": {"name": "response", "schema": {"type": "object"}}}}),
        &["messages[0].content[0].cache_control"],
    );
    let image = json!({"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "AA"}});
    from_anthropic(
        json!({"messages": [
            {"role": "user", "content": "x"},
            {"role": "assistant", "content": [{"type": "thinking", "thinking": "r", "signature": "s"}, {"type": "redacted_thinking", "data": "d"}, {"type": "text", "text": "y"}, {"type": "tool_use", "id": "t1", "name": "f", "input": {"a": 1}}, {"type": "tool_use", "id": "t2", "name": "f", "input": {}}]},
            {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "t1", "content": [{"type": "text", "text": "1"}, image]}, {"type": "tool_result", "tool_use_id": "t2", "content": "bad", "is_error": true}, {"type": "text", "text": "and"}]}
        ]}),
        json!({"messages": [
            {"role": "user", "content": "x"},
            {"role": "assistant", "content": "y", "reasoning_content": "r", "reasoning_details": [{"type": "reasoning.text", "text": "r", "signature": "s", "format": "anthropic-claude-v1", "index": 0}, {"type": "reasoning.encrypted", "data": "d", "format": "anthropic-claude-v1", "index": 1}], "tool_calls": [{"id": "t1", "type": "function", "function": {"name": "f", "arguments": "{\"a\":1}"}}, {"id": "t2", "type": "function", "function": {"name": "f", "arguments": "{}"}}]},
            {"role": "tool", "tool_call_id": "t1", "content": "1"},
            {"role": "tool", "tool_call_id": "t2", "content": "bad"},
            {"role": "user", "content": [{"type": "image_url", "image_url": {"url": "data:image/png;base64,AA"}}, {"type": "text", "text": "and"}]}
        ]}),
        &["messages[2].content[0].content[1]", "messages[2].content[1].is_error"],
    );
}

// === edits win over hints ===

#[test]
fn an_edited_hub_wins() {
    let check = |body: Value, edit: fn(&mut ChatRequest), expect: Value| {
        let mut hub = OPENAI.decode_request(body.to_string().as_bytes()).unwrap();
        edit(&mut hub);
        let got: Value = serde_json::from_slice(&OPENAI.encode_request(&hub, &EncodeOptions::default()).body).unwrap();
        for (name, value) in expect.as_object().unwrap() {
            assert_eq!(got.get(name).unwrap_or(&Value::Null), value, "{name} of {got}");
        }
    };
    let m = json!([{"role": "user", "content": "x"}]);
    check(json!({"model": "m", "messages": m, "stop": "a"}), |r| r.params.stop = vec!["b".into()], json!({"stop": ["b"]}));
    check(json!({"model": "m", "messages": m, "stop": "a"}), |r| r.params.stop.clear(), json!({"stop": null}));
    check(json!({"model": "m", "messages": m, "temperature": null}), |r| r.params.temperature = Some(0.5), json!({"temperature": 0.5}));
    check(json!({"model": "m", "messages": m, "stream": false}), |r| r.stream = true, json!({"stream": true}));
    check(
        json!({"model": "m", "messages": m, "max_completion_tokens": 5}),
        |r| r.params.max_tokens = Some(3),
        json!({"max_completion_tokens": 3, "max_tokens": null}),
    );
    check(
        json!({"model": "m", "messages": m, "stream": true, "stream_options": {"x": 1}}),
        |r| r.include_usage = true,
        json!({"stream_options": {"include_usage": true, "x": 1}}),
    );
    let secret = json!([{"role": "user", "content": "x"}, {"role": "assistant", "content": "y", "reasoning": "secret", "reasoning_details": [{"type": "reasoning.text", "text": "secret"}]}]);
    let without = json!([{"role": "user", "content": "x"}, {"role": "assistant", "content": "y"}]);
    check(
        json!({"model": "m", "messages": secret}),
        |r| r.messages[1].parts.retain(|p| !matches!(p.kind, PartKind::Thinking(_))),
        json!({"messages": without}),
    );
    // What is no JSON cannot break the document.
    check(
        json!({"model": "m", "messages": m}),
        |r| r.extras.push(Extra::new("x", "}, \"model\":\"evil\"")),
        json!({"model": "m", "x": "}, \"model\":\"evil\""}),
    );
}

// === answers and streams ===

#[test]
fn errors_under_a_success_status() {
    let check = |format: Format, body: &str, class: ErrorClass| {
        let e = format.decode_answer(body.as_bytes()).expect_err(body);
        assert_eq!(e.class, class, "{body}: {e:?}");
        assert!(!e.message.contains("secret"), "{e:?}");
    };
    for format in Format::ALL {
        check(format, "<html>secret</html>", ErrorClass::Protocol);
        check(format, "", ErrorClass::Protocol);
        check(format, "{}", ErrorClass::Protocol);
        check(format, r#"{"error":{"message":"slow down","code":"rate_limit_exceeded"}}"#, ErrorClass::RateLimited);
        check(format, r#"{"type":"error","error":{"type":"overloaded_error","message":"Overloaded"}}"#, ErrorClass::Overloaded);
        check(format, r#"{"error":{"code":402,"message":"pay"}}"#, ErrorClass::QuotaExceeded);
        check(format, r#"{"object":"error","message":"The model `x` does not exist","code":404}"#, ErrorClass::ModelNotFound);
    }
    check(OPENAI, r#"{"choices":[],"error":{"message":"x","code":502}}"#, ErrorClass::Upstream);
}

#[test]
fn an_error_always_says_something() {
    for format in Format::ALL {
        let e = format.decode_error(401, None, br#"{"type":"error","error":{"type":"authentication_error","message":" "}}"#);
        assert_eq!((e.class, e.message.contains("`authentication_error`")), (ErrorClass::Authentication, true), "{e:?}");
        let e = format.decode_error(500, None, br#"{"error":{"message":""}}"#);
        assert!(!e.message.is_empty(), "{e:?}");
    }
}

#[test]
fn errors_speak_the_dialect() {
    for class in ErrorClass::ALL {
        let e = ChatError { param: Some("p".into()), ..ChatError::new(class, "m") };
        let (openai, anthropic) = (OPENAI.encode_error(&e), ANTHROPIC.encode_error(&e));
        let body: Value = serde_json::from_slice(&openai.body).unwrap();
        assert_eq!((&body["error"]["message"], &body["error"]["param"]), (&json!("m"), &json!("p")));
        assert!(body["error"]["type"].is_string() && body["error"].get("code").is_some());
        let body: Value = serde_json::from_slice(&anthropic.body).unwrap();
        assert_eq!((&body["type"], &body["error"]["message"]), (&json!("error"), &json!("m")));
        assert!((400..600).contains(&openai.status) && (400..600).contains(&anthropic.status));
        // Whatever we write, we read back as the same class, but for those that the formats do not tell apart.
        let again = OPENAI.decode_error(openai.status, None, &openai.body).class;
        let gateway = [
            ErrorClass::Connect,
            ErrorClass::Protocol,
            ErrorClass::Interrupted,
            ErrorClass::Upstream,
            ErrorClass::Internal,
            ErrorClass::Cancelled,
        ];
        assert!(again == class || gateway.contains(&class), "{class:?} became {again:?}");
    }
    let own = ChatError { status: Some(418), ..ChatError::new(ErrorClass::InvalidRequest, "m") };
    assert_eq!(OPENAI.encode_error(&own).status, 418);
    let success = ChatError { status: Some(200), ..ChatError::new(ErrorClass::RateLimited, "m") };
    assert_eq!(
        (OPENAI.encode_error(&success).status, ANTHROPIC.encode_error(&ChatError::new(ErrorClass::Overloaded, "m")).status),
        (429, 529)
    );
}

fn decode(format: Format, sse: &str) -> Vec<StreamEvent> {
    let (mut decoder, mut events) = (format.event_decoder(), Vec::new());
    decoder.push(sse.as_bytes(), &mut events);
    decoder.finish(&mut events);
    events
}

fn chunk(choice: &str) -> String {
    format!("data: {{\"id\":\"c\",\"object\":\"chat.completion.chunk\",\"created\":1,\"model\":\"m\",\"choices\":[{choice}]}}\n\n")
}

fn delta(delta: &str) -> String {
    chunk(&format!("{{\"index\":0,\"delta\":{delta},\"finish_reason\":null}}"))
}

fn collect(format: Format, sse: &str) -> Result<ChatAnswer, ChatError> {
    let mut collector = Collector::new(format);
    decode(format, sse).iter().for_each(|e| collector.push(e));
    collector.finish()
}

#[test]
fn how_openai_streams_end() {
    let text = delta(r#"{"content":"hi"}"#);
    let stop = chunk(r#"{"index":0,"delta":{},"finish_reason":"stop"}"#);
    let two = chunk(r#"{"index":1,"delta":{"content":"ho"},"finish_reason":null}"#);
    let check = |sse: String, expect: Result<(), ErrorClass>| {
        let got = collect(OPENAI, &sse).map(|_| ()).map_err(|e| e.class);
        assert_eq!(got, expect, "{sse}");
        let mut tap = StreamTap::new(OPENAI, false);
        tap.push(sse.as_bytes(), &mut Vec::new());
        tap.finish(&mut Vec::new());
        assert_eq!((tap.facts().ended, tap.facts().error.as_ref().map(|e| e.class)), (expect.is_ok(), expect.err()), "tap: {sse}");
    };
    check(format!("{text}{stop}data: [DONE]\n\n"), Ok(()));
    check(format!("{text}{stop}data: [DONE]"), Ok(()));
    check(format!("{text}{stop}"), Ok(()));
    check(format!("{text}{two}{stop}"), Err(ErrorClass::Interrupted));
    check(text.clone(), Err(ErrorClass::Interrupted));
    check(format!("{text}data: {{\"cho"), Err(ErrorClass::Interrupted));
    check(
        format!("{text}data: {{\"error\":{{\"message\":\"x\",\"code\":\"rate_limit_exceeded\"}}}}\n\ndata: [DONE]\n\n"),
        Err(ErrorClass::RateLimited),
    );
    check(String::new(), Err(ErrorClass::Interrupted));
}

#[test]
fn an_end_without_a_beginning_is_an_error() {
    let stop = "event: message_stop\ndata: {\"type\":\"message_stop\"}\n\n";
    for (format, sse) in [(OPENAI, "data: [DONE]\n\n"), (ANTHROPIC, stop)] {
        assert!(matches!(decode(format, sse).as_slice(), [StreamEvent::Error(e)] if e.class == ErrorClass::Protocol), "{sse}");
        let mut tap = StreamTap::new(format, false);
        tap.push(sse.as_bytes(), &mut Vec::new());
        assert_eq!(tap.facts().error.as_ref().map(|e| e.class), Some(ErrorClass::Protocol), "{sse}");
    }
}

#[test]
fn a_pretty_document_becomes_a_stream_of_whole_lines() {
    let openai = json!({
        "id": "i", "model": "m", "choices": [{"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": "hi", "x": {"y": [1]}}, "z": [2]}],
        "usage": {"prompt_tokens": 1, "completion_tokens": 1, "details": {"a": 1}}, "more": {"b": [3]}
    });
    let anthropic = json!({
        "id": "i", "type": "message", "role": "assistant", "model": "m", "stop_reason": "end_turn",
        "content": [{"type": "text", "text": "hi", "x": {"y": [1]}}, {"type": "unknown", "z": [2]}],
        "usage": {"input_tokens": 1, "output_tokens": 1, "details": {"a": 1}}, "more": {"b": [3]}
    });
    for (format, document) in [(OPENAI, openai), (ANTHROPIC, anthropic)] {
        let answer = format.decode_answer(&serde_json::to_vec_pretty(&document).unwrap()).unwrap();
        for target in Format::ALL {
            let mut sse = Vec::new();
            let options = StreamOptions { include_usage: true, ..StreamOptions::default() };
            target.event_encoder(options).events(&answer_events(&answer), &mut sse);
            let sse = String::from_utf8(sse).unwrap();
            assert!(sse.lines().all(|line| line.is_empty() || line.starts_with("data: ") || line.starts_with("event: ")), "{sse}");
            collect(target, &sse).unwrap();
        }
    }
}

#[test]
fn the_name_of_an_event_stands_in_for_its_type() {
    let sse = [
        ("message_start", r#"{"message":{"id":"i","model":"m","usage":{"input_tokens":1,"output_tokens":1}}}"#),
        ("message_delta", r#"{"delta":{"stop_reason":"end_turn"},"usage":{"output_tokens":2}}"#),
        ("message_stop", "{}"),
    ];
    let sse = sse.map(|(name, data)| format!("event: {name}\ndata: {data}\n\n")).concat();
    let answer = collect(ANTHROPIC, &sse).unwrap();
    let (mut tap, mut out) = (StreamTap::new(ANTHROPIC, false), Vec::new());
    tap.push(sse.as_bytes(), &mut out);
    assert_eq!((tap.facts().ended, &tap.facts().finish, &tap.facts().usage), (true, &answer.choices[0].finish, &answer.usage));
    assert_eq!(out, sse.as_bytes());
}

#[test]
fn a_start_that_is_sent_twice_counts_once() {
    let start = |tokens: u64| json!({"type": "message_start", "message": {"id": "i", "model": "m", "usage": {"input_tokens": tokens, "output_tokens": 1}}});
    let end = json!({"type": "message_delta", "delta": {"stop_reason": "end_turn"}});
    let sse = [start(9), start(8), end, json!({"type": "message_stop"})].map(|data| format!("data: {data}\n\n")).concat();
    let answer = collect(ANTHROPIC, &sse).unwrap();
    let mut tap = StreamTap::new(ANTHROPIC, false);
    tap.push(sse.as_bytes(), &mut Vec::new());
    assert_eq!((tap.facts().usage.as_ref().map(|u| u.input_tokens), &tap.facts().usage), (Some(9), &answer.usage));
}

#[test]
fn a_call_that_was_not_stopped_ends_before_the_answer() {
    let sse = [
        r#"{"type":"message_start","message":{"id":"i","model":"m","usage":{"input_tokens":1,"output_tokens":1}}}"#,
        r#"{"type":"content_block_start","index":0,"content_block":{"type":"tool_use","id":"c","name":"f","input":{}}}"#,
        r#"{"type":"message_delta","delta":{"stop_reason":"tool_use"},"usage":{"output_tokens":2}}"#,
        r#"{"type":"message_stop"}"#,
    ];
    let events = decode(ANTHROPIC, &sse.map(|data| format!("data: {data}\n\n")).concat());
    let place = |wanted: fn(&StreamEvent) -> bool| events.iter().position(wanted).unwrap();
    assert!(place(|e| matches!(e, StreamEvent::BlockStop(_))) < place(|e| matches!(e, StreamEvent::Finish(_))), "{events:?}");
}

#[test]
fn a_signature_in_a_chunk_of_its_own_is_kept() {
    let details = r#"{"reasoning_details":[{"type":"reasoning.text","signature":"s","format":"anthropic-claude-v1","index":0}]}"#;
    let sse = [delta(r#"{"reasoning":"r"}"#), delta(details), chunk(r#"{"index":0,"delta":{},"finish_reason":"stop"}"#)].concat()
        + "data: [DONE]\n\n";
    let mut again = Vec::new();
    OPENAI.event_encoder(StreamOptions::default()).events(&decode(OPENAI, &sse), &mut again);
    let again = String::from_utf8(again).unwrap();
    assert!(again.contains("\"signature\":\"s\""), "{again}");
    assert_eq!(again.matches("\"s\"").count(), 1, "told once: {again}");
}

#[test]
fn what_stands_beside_a_piece_is_told_once() {
    let thoughts = r#"{"reasoning_details":[{"type":"reasoning.text","text":"a"},{"type":"reasoning.text","text":"b"}]}"#;
    let call = delta(r#"{"tool_calls":[{"index":0,"id":"c","function":{"arguments":"{}"}}]}"#);
    let stop = chunk(r#"{"index":0,"delta":{},"finish_reason":"tool_calls","native_finish_reason":"x"}"#);
    let sse = format!("{}{call}{stop}data: [DONE]\n\n", delta(thoughts));
    let mut again = Vec::new();
    OPENAI.event_encoder(StreamOptions::default()).events(&decode(OPENAI, &sse), &mut again);
    let told = |sse: &str| -> Value {
        serde_json::from_slice(&OPENAI.encode_answer(&collect(OPENAI, sse).unwrap(), &StreamOptions::default()).body).unwrap()
    };
    assert_eq!(told(std::str::from_utf8(&again).unwrap())["choices"], told(&sse)["choices"]);
}

#[test]
fn a_document_in_place_of_a_stream() {
    let check = |body: &str, expect: Result<&str, ErrorClass>| {
        for size in [1, 7, 10_000] {
            let (mut decoder, mut collector) = (OPENAI.event_decoder(), Collector::new(OPENAI));
            let mut events = Vec::new();
            body.as_bytes().chunks(size).for_each(|piece| decoder.push(piece, &mut events));
            decoder.finish(&mut events);
            events.iter().for_each(|e| collector.push(e));
            let text = |a: ChatAnswer| if let PartKind::Text(t) = &a.choices[0].parts[0].kind { t.clone() } else { String::new() };
            assert_eq!(collector.finish().map_err(|e| e.class).map(text), expect.map(str::to_owned), "{body}");
        }
    };
    check(r#" {"error":{"message":"slow down","code":"rate_limit_exceeded"}}"#, Err(ErrorClass::RateLimited));
    check("<html>oops</html>", Err(ErrorClass::Protocol));
    check("{\"half", Err(ErrorClass::Protocol));
    check(r#"{"id":"i","choices":[{"index":0,"message":{"role":"assistant","content":"hi"},"finish_reason":"stop"}]}"#, Ok("hi"));
}

#[test]
fn how_hosts_tell_tool_calls() {
    let end = format!("{}data: [DONE]\n\n", chunk(r#"{"index":0,"delta":{},"finish_reason":"tool_calls"}"#));
    let check = |deltas: &[&str], expect: &[(&str, &str, &str)]| {
        let sse: String = deltas.iter().map(|calls| delta(&format!("{{\"tool_calls\":{calls}}}"))).collect::<String>() + &end;
        let answer = collect(OPENAI, &sse).unwrap();
        let calls: Vec<(&str, &str, &str)> = answer.choices[0]
            .parts
            .iter()
            .filter_map(|p| {
                if let PartKind::ToolCall(c) = &p.kind { Some((c.id.as_str(), c.name.as_str(), c.arguments.as_str())) } else { None }
            })
            .collect();
        assert_eq!(calls, expect, "{deltas:?}");
    };
    // Interleaved.
    check(
        &[
            r#"[{"index":0,"id":"a","type":"function","function":{"name":"f","arguments":""}}]"#,
            r#"[{"index":1,"id":"b","type":"function","function":{"name":"g","arguments":"{\"y\""}}]"#,
            r#"[{"index":0,"function":{"arguments":"{\"x\""}},{"index":1,"function":{"arguments":":2}"}}]"#,
            r#"[{"index":0,"function":{"arguments":":1}"}}]"#,
        ],
        &[("a", "f", r#"{"x":1}"#), ("b", "g", r#"{"y":2}"#)],
    );
    // No index; one index for all; whole calls at once; arguments as an object; a name that comes late.
    check(
        &[r#"[{"id":"a","function":{"name":"f","arguments":"{}"}},{"id":"b","function":{"name":"g","arguments":"{}"}}]"#],
        &[("a", "f", "{}"), ("b", "g", "{}")],
    );
    check(
        &[
            r#"[{"index":0,"id":"a","function":{"name":"f","arguments":"{}"}}]"#,
            r#"[{"index":0,"id":"b","function":{"name":"g","arguments":"{}"}}]"#,
        ],
        &[("a", "f", "{}"), ("b", "g", "{}")],
    );
    check(&[r#"[{"index":0,"id":"a","function":{"name":"f","arguments":{"x":1}}}]"#], &[("a", "f", r#"{"x":1}"#)]);
    check(
        &[r#"[{"index":0,"id":"a"}]"#, r#"[{"index":0,"function":{"name":"f"}}]"#, r#"[{"index":0,"function":{"arguments":"{}"}}]"#],
        &[("a", "f", "{}")],
    );
    check(
        &[r#"[{"index":0,"id":"a","function":{"name":"f","arguments":""}}]"#, r#"[{"index":0,"id":"zz","function":{"arguments":"{}"}}]"#],
        &[("a", "f", "{}")],
    );
}

#[test]
fn a_failure_after_the_first_byte_is_no_clean_end() {
    let e = ChatError::new(ErrorClass::Interrupted, "gone");
    for format in Format::ALL {
        let mut encoder = format.event_encoder(StreamOptions { include_usage: true, ..StreamOptions::default() });
        let mut out = Vec::new();
        let start =
            StreamStart { format: "openai-chat".into(), id: "c".into(), model: "m".into(), created: None, usage: None, extras: Vec::new() };
        encoder.events(&[StreamEvent::Start(start)], &mut out);
        encoder.finish(Some(&e), &mut out);
        encoder.finish(None, &mut out);
        encoder.events(&[StreamEvent::End], &mut out);
        let text = String::from_utf8(out).unwrap();
        assert!(text.contains("\"gone\"") && !text.contains("[DONE]") && !text.contains("message_stop"), "{text}");
        let told = decode(format, &text);
        assert!(matches!(told.last(), Some(StreamEvent::Error(e)) if e.message == "gone"), "{told:?}");
        // A clean end without events still is a stream of the format.
        let mut out = Vec::new();
        format.event_encoder(StreamOptions { id: "i".into(), model: "m".into(), ..StreamOptions::default() }).finish(None, &mut out);
        let text = String::from_utf8(out).unwrap();
        assert!(matches!(decode(format, &text).as_slice(), [StreamEvent::Start(s), .., StreamEvent::End] if s.id == "i"), "{text}");
    }
}

#[test]
fn usage_is_told_only_when_asked_for_and_counted_once() {
    let stream = |include_usage| {
        let answer = ANTHROPIC.decode_answer(br#"{"id":"i","type":"message","role":"assistant","model":"m","content":[{"type":"text","text":"x"}],"stop_reason":"end_turn","stop_sequence":null,"usage":{"input_tokens":10,"cache_read_input_tokens":3,"cache_creation_input_tokens":2,"output_tokens":7}}"#).unwrap();
        let mut out = Vec::new();
        OPENAI.event_encoder(StreamOptions { include_usage, ..StreamOptions::default() }).events(&answer_events(&answer), &mut out);
        String::from_utf8(out).unwrap()
    };
    assert!(!stream(false).contains("usage"));
    let usage = collect(OPENAI, &stream(true)).unwrap().usage.unwrap();
    assert_eq!((usage.input_tokens, usage.cache_read_tokens, usage.cache_write_tokens, usage.output_tokens), (15, Some(3), Some(2), 7));
    let check = |format: Format, json: &str, expect: (u64, u64, Option<u64>)| {
        let u = format.decode_usage(json).unwrap();
        assert_eq!((u.input_tokens, u.output_tokens, u.reasoning_tokens), expect, "{json}");
    };
    check(
        OPENAI,
        r#"{"prompt_tokens":10,"completion_tokens":5,"total_tokens":15,"prompt_tokens_details":{"cached_tokens":8},"completion_tokens_details":{"reasoning_tokens":4}}"#,
        (10, 5, Some(4)),
    );
    check(
        OPENAI,
        r#"{"prompt_tokens":10,"completion_tokens":5,"total_tokens":24,"completion_tokens_details":{"reasoning_tokens":9}}"#,
        (10, 14, Some(9)),
    );
    check(
        OPENAI,
        r#"{"prompt_tokens":10,"completion_tokens":5,"prompt_tokens_details":null,"completion_tokens_details":null}"#,
        (10, 5, None),
    );
    check(
        ANTHROPIC,
        r#"{"input_tokens":1,"output_tokens":2,"cache_read_input_tokens":null,"output_tokens_details":{"thinking_tokens":1}}"#,
        (1, 2, Some(1)),
    );
    assert_eq!(OPENAI.decode_usage("null"), None);
}
