//! Cases of Gemini's format that recordings and properties do not name.

use llm_codec::hub::*;
use llm_codec::passthrough::StreamTap;
use llm_codec::{EncodeOptions, Format, StreamOptions};
use serde_json::{Value, json};

const GEMINI: Format = Format::GeminiGenerate;
const OPENAI: Format = Format::OpenaiChat;
const ANTHROPIC: Format = Format::AnthropicMessages;

// === bad requests ===

fn refuses(body: Value, path: &str, message: &str) {
    let e = GEMINI.decode_request(body.to_string().as_bytes()).expect_err(&body.to_string());
    assert_eq!(e.path, path, "{body}: {e}");
    assert!(e.message.contains(message), "{body}: {e}");
}

#[test]
fn bad_requests() {
    refuses(json!({}), "contents", "missing, expected an array of contents");
    refuses(json!({"contents": []}), "contents", "at least one content");
    refuses(json!({"contents": "x"}), "contents", "expected an array of contents, found a string");
    refuses(json!({"contents": [5]}), "contents[0]", "expected an object, found a number");
    refuses(json!({"contents": [{"role": "assistant", "parts": []}]}), "contents[0].role", "expected `user` or `model`, found `assistant`");
    refuses(json!({"contents": [{"role": 5}]}), "contents[0].role", "expected a string");
    let user = |part: Value| json!({"contents": [{"role": "user", "parts": [part]}]});
    refuses(json!({"contents": [{"parts": "x"}]}), "contents[0].parts", "an array of parts, found a string");
    refuses(user(json!("x")), "contents[0].parts[0]", "expected an object");
    refuses(user(json!({"text": 5})), "contents[0].parts[0].text", "expected a string, found a number");
    refuses(user(json!({"functionCall": {}})), "contents[0].parts[0].functionCall.name", "missing");
    refuses(
        user(json!({"function_call": {"name": "f", "args": []}})),
        "contents[0].parts[0].function_call.args",
        "an object, found an array",
    );
    refuses(user(json!({"functionResponse": {"response": {}}})), "contents[0].parts[0].functionResponse.name", "missing");
    refuses(
        user(json!({"functionResponse": {"name": "f", "response": "x"}})),
        "contents[0].parts[0].functionResponse.response",
        "found a string",
    );
    refuses(user(json!({"inlineData": {"mimeType": "image/png"}})), "contents[0].parts[0].inlineData.data", "missing");
    refuses(user(json!({"file_data": {"mime_type": "image/png"}})), "contents[0].parts[0].file_data.fileUri", "missing");
    for (member, path, message) in [
        (json!({"model": 5}), "model", "expected a string"),
        (json!({"systemInstruction": "x"}), "systemInstruction", "an object, found a string"),
        (json!({"tools": {}}), "tools", "an array"),
        (json!({"tools": [{"functionDeclarations": {}}]}), "tools[0].functionDeclarations", "an array"),
        (json!({"tools": [{"functionDeclarations": [{}]}]}), "tools[0].functionDeclarations[0].name", "missing"),
        (json!({"tool_config": 5}), "tool_config", "an object"),
        (json!({"toolConfig": {"functionCallingConfig": []}}), "toolConfig.functionCallingConfig", "an object"),
        (json!({"generationConfig": []}), "generationConfig", "an object"),
        (json!({"generationConfig": {"temperature": "hot"}}), "generationConfig.temperature", "a number, found a string"),
        (json!({"generationConfig": {"maxOutputTokens": 0}}), "generationConfig.maxOutputTokens", "1 or more"),
        (json!({"generation_config": {"stop_sequences": [1]}}), "generation_config.stop_sequences", "an array of strings"),
        (json!({"generationConfig": {"candidateCount": -1}}), "generationConfig.candidateCount", "1 or more"),
        (json!({"generationConfig": {"responseMimeType": 1}}), "generationConfig.responseMimeType", "a string"),
        (json!({"generationConfig": {"responseSchema": "x"}}), "generationConfig.responseSchema", "an object"),
        (
            json!({"generationConfig": {"thinkingConfig": {"thinkingBudget": "many"}}}),
            "generationConfig.thinkingConfig.thinkingBudget",
            "a whole number",
        ),
    ] {
        let mut body = json!({"contents": [{"parts": [{"text": "x"}]}]});
        body.as_object_mut().unwrap().extend(member.as_object().unwrap().clone());
        refuses(body, path, message);
    }
}

/// A request with these members beside its contents, as text: a map would tell each once.
fn with(members: &str) -> String {
    format!(r#"{{"contents": [{{"parts": [{{"text": "x"}}]}}], {members}}}"#)
}

#[test]
fn what_is_told_twice() {
    let refuses = |body: &str, path: &str, message: &str| {
        let e = GEMINI.decode_request(body.as_bytes()).expect_err(body);
        assert_eq!(e.path, path, "{body}: {e}");
        assert!(e.message.contains(message), "{body}: {e}");
    };
    for (members, path) in [
        (r#""contents": []"#, "contents"),
        (r#""tools": [], "tools": null"#, "tools"),
        (r#""model": "a", "model": "b""#, "model"),
        (r#""cached_content": "a", "cached_content": "b""#, "cachedContent"),
        (r#""generationConfig": {}, "generationConfig": {}"#, "generationConfig"),
        (
            r#""tools": [{"functionDeclarations": [{"name": "f", "parameters": {"anyOf": [], "any_of": []}}]}]"#,
            "tools[0].functionDeclarations[0].parameters.anyOf",
        ),
        (r#""generationConfig": {"responseSchema": {"minItems": 1, "min_items": 2}}"#, "generationConfig.responseSchema.minItems"),
    ] {
        refuses(&with(members), path, "told twice; say it once");
    }
    for (members, path) in [
        (r#""systemInstruction": null, "system_instruction": {"parts": [{"text": "s"}]}"#, "systemInstruction"),
        (r#""generation_config": {}, "generationConfig": {}"#, "generationConfig"),
        (r#""cachedContent": "a", "cached_content": "b""#, "cachedContent"),
        (r#""toolConfig": {}, "tool_config": {}"#, "toolConfig"),
        (r#""toolConfig": {"functionCallingConfig": {}, "function_calling_config": {}}"#, "toolConfig.functionCallingConfig"),
        (
            r#""toolConfig": {"functionCallingConfig": {"allowedFunctionNames": [], "allowed_function_names": []}}"#,
            "toolConfig.functionCallingConfig.allowedFunctionNames",
        ),
        (r#""tools": [{"functionDeclarations": [], "function_declarations": []}]"#, "tools[0].functionDeclarations"),
        (
            r#""tools": [{"functionDeclarations": [{"name": "f", "parametersJsonSchema": {}, "parameters_json_schema": {}}]}]"#,
            "tools[0].functionDeclarations[0].parametersJsonSchema",
        ),
        (r#""generationConfig": {"maxOutputTokens": 1, "max_output_tokens": 2}"#, "generationConfig.maxOutputTokens"),
        (r#""generationConfig": {"stopSequences": [], "stop_sequences": ["a"]}"#, "generationConfig.stopSequences"),
        (r#""generationConfig": {"responseMimeType": "a", "response_mime_type": "b"}"#, "generationConfig.responseMimeType"),
        (r#""generation_config": {"thinkingConfig": {}, "thinking_config": {}}"#, "generation_config.thinkingConfig"),
        (
            r#""generationConfig": {"thinkingConfig": {"thinkingBudget": 1, "thinking_budget": 2}}"#,
            "generationConfig.thinkingConfig.thinkingBudget",
        ),
        (
            r#""generationConfig": {"thinkingConfig": {"includeThoughts": true, "include_thoughts": false}}"#,
            "generationConfig.thinkingConfig.includeThoughts",
        ),
    ] {
        refuses(&with(members), path, "told twice, as `");
    }
    for (part, path) in [
        (r#""functionCall": {"name": "f"}, "function_call": {"name": "g"}"#, "functionCall"),
        (r#""functionResponse": {"name": "f"}, "function_response": {"name": "g"}"#, "functionResponse"),
        (r#""text": "x", "thoughtSignature": "a", "thought_signature": "b""#, "thoughtSignature"),
        (r#""inlineData": {}, "inline_data": {}"#, "inlineData"),
        (r#""inlineData": {"data": "AA==", "mimeType": "image/png", "mime_type": "text/plain"}"#, "inlineData.mimeType"),
        (r#""fileData": {"fileUri": "a", "file_uri": "b"}"#, "fileData.fileUri"),
    ] {
        let body = format!(r#"{{"contents": [{{"parts": [{{{part}}}]}}]}}"#);
        refuses(&body, &format!("contents[0].parts[0].{path}"), "told twice, as `");
    }
    // Other members of a schema are names that the caller chose.
    let properties = r#"{"properties": {"a_b": {"type": "STRING"}, "aB": {"type": "STRING"}}}"#;
    let body = with(&format!(r#""generationConfig": {{"responseSchema": {properties}}}"#));
    assert!(GEMINI.decode_request(body.as_bytes()).is_ok());
}

#[test]
fn a_model_in_the_body_has_its_plain_name() {
    for (told, expect) in [("models/m", "m"), ("m", "m"), ("tunedModels/m", "tunedModels/m")] {
        let hub = GEMINI.decode_request(with(&format!(r#""model": "{told}""#)).as_bytes()).unwrap();
        assert_eq!(hub.model, expect);
        let body: Value = serde_json::from_slice(&GEMINI.encode_request(&hub, &EncodeOptions::default()).body).unwrap();
        assert_eq!(body["model"], told);
    }
    let twice = json!({"model": "models/models/m", "contents": [{"parts": [{"text": "x"}]}]});
    refuses(twice, "model", "begins with `models/` twice");
}

// === the same format keeps what is odd ===

fn keeps(body: Value) {
    let hub = GEMINI.decode_request(body.to_string().as_bytes()).unwrap_or_else(|e| panic!("{e}: {body}"));
    let encoded = GEMINI.encode_request(&hub, &EncodeOptions::default());
    assert_eq!(serde_json::from_slice::<Value>(&encoded.body).unwrap(), body);
    assert_eq!(encoded.losses, []);
}

#[test]
fn keeps_requests() {
    for member in [
        json!({"model": "models/gemini-x"}),
        json!({"model": null}),
        json!({"contents": {"parts": {"text": "x"}}}),
        json!({"systemInstruction": {"parts": {"text": "s"}}}),
        json!({"system_instruction": {"role": "system", "parts": [{"text": "a"}, {"text": "b"}], "x": 1}}),
        json!({"systemInstruction": null, "tools": null, "toolConfig": null, "generationConfig": null, "safetySettings": null}),
        json!({"systemInstruction": {}}),
        json!({"generationConfig": {}, "tools": [], "toolConfig": {}}),
        json!({"generationConfig": {"temperature": null, "stopSequences": [], "topK": 40, "seed": 0, "x": {"y": [1]}}}),
        json!({"generation_config": {"top_p": 0.5, "topK": 1, "max_output_tokens": 5, "stop_sequences": ["a"], "response_modalities": ["TEXT"]}}),
        json!({"generationConfig": {"responseMimeType": "text/x.enum", "responseSchema": {"type": "STRING", "enum": ["a"]}}}),
        json!({"generationConfig": {"responseMimeType": "application/json", "responseSchema": {"type": "OBJECT", "nullable": true}}}),
        json!({"generationConfig": {"response_mime_type": "application/json", "response_json_schema": {"type": "object"}}}),
        json!({"generationConfig": {"responseSchema": {"type": "OBJECT"}, "responseJsonSchema": {"type": "object"}}}),
        json!({"generationConfig": {"responseLogprobs": true, "logprobs": 3, "candidateCount": 2, "presencePenalty": 0.5, "speechConfig": {}}}),
        json!({"generationConfig": {"thinkingConfig": {"thinkingBudget": -1, "includeThoughts": false}}}),
        json!({"generationConfig": {"thinking_config": {"thinking_level": "HIGH", "include_thoughts": true}}}),
        json!({"generationConfig": {"thinkingConfig": {}}}),
        json!({"tools": [{}, {"functionDeclarations": []}, {"googleSearch": {}, "functionDeclarations": [{"name": "f"}, {"name": "g", "description": null}]}, {"urlContext": {}}, {"code_execution": {}}]}),
        json!({"tools": [{"functionDeclarations": [{"name": "f"}]}, {"function_declarations": [{"name": "g", "parameters_json_schema": {"type": "object"}}]}]}),
        json!({"tools": [{"functionDeclarations": [{"name": "f", "parameters": {"type": "OBJECT", "properties": {"a": {"type": "STRING", "nullable": true}}}, "response": {"type": "STRING"}, "behavior": "BLOCKING"}]}]}),
        json!({"toolConfig": {"functionCallingConfig": {"mode": "ANY", "allowedFunctionNames": ["a", "b"]}, "retrievalConfig": {"languageCode": "en"}}}),
        json!({"tool_config": {"function_calling_config": {"mode": "VALIDATED"}}}),
        json!({"toolConfig": {"functionCallingConfig": {"mode": "AUTO"}, "includeServerSideToolInvocations": true}}),
        json!({"safetySettings": [{"category": "HARM_CATEGORY_HARASSMENT", "threshold": "BLOCK_NONE"}], "cachedContent": "cachedContents/x", "labels": {"team": "a"}, "generationConfig.x": 1, "toolConfig.y": 2}),
    ] {
        let mut body = json!({"contents": [{"role": "user", "parts": [{"text": "x"}]}]});
        body.as_object_mut().unwrap().extend(member.as_object().unwrap().clone());
        keeps(body);
    }
    for content in [
        json!({}),
        json!({"role": null, "parts": null}),
        json!({"parts": []}),
        json!({"role": "user", "parts": [{}, {"text": null}, {"text": ""}]}),
        json!({"role": "model", "parts": [{"text": "a", "thought": true, "thoughtSignature": "c2ln"}, {"text": "b", "thought": false}, {"thought_signature": "c2ln", "text": ""}]}),
        json!({"role": "model", "parts": [{"text": "", "thought": true}, {"functionCall": {"name": "f"}, "thoughtSignature": "s"}]}),
        json!({"role": "model", "parts": [{"function_call": {"name": "f", "args": {}, "id": ""}}, {"functionCall": {"id": "i", "name": "f", "args": {"a": 1}, "x": 2}, "functionCall.y": 3}]}),
        json!({"role": "user", "parts": [{"functionResponse": {"name": "f", "response": {"output": "x"}}}, {"function_response": {"id": "i", "name": "f", "response": {"error": "e"}}}]}),
        json!({"role": "function", "parts": [{"functionResponse": {"name": "f", "response": {"output": "x", "more": 1}, "willContinue": true}}]}),
        json!({"role": "user", "parts": [{"functionResponse": {"name": "f"}}, {"functionResponse": {"name": "f", "response": {}}}, {"functionResponse": {"name": "f", "response": null, "parts": []}}]}),
        json!({"role": "user", "parts": [{"functionResponse": {"name": "f", "response": {"result": [1]}, "parts": [{"inlineData": {"mimeType": "image/png", "data": "AA=="}}, {"inline_data": {"mime_type": "video/mp4", "data": "AA=="}}]}}, {"text": "and"}]}),
        json!({"role": "user", "parts": [{"inlineData": {"mimeType": "image/png", "data": "-_8="}}, {"inline_data": {"mimeType": "application/pdf", "data": "AA==", "display_name": "n", "x": 1}, "videoMetadata": {}}]}),
        json!({"role": "user", "parts": [{"fileData": {"fileUri": "gs://b/x.png"}}, {"file_data": {"file_uri": "https://a.example/x", "mime_type": "audio/wav"}}, {"fileData": {"fileUri": "https://youtube.example/x"}}]}),
        json!({"role": "user", "parts": [{"inlineData": {"mimeType": "i\"\n\\", "data": "AA=="}}, {"fileData": {"fileUri": "u", "mimeType": "image/\"\n"}}, {"inlineData": {"data": "AA=="}}]}),
        json!({"role": "model", "parts": [{"executableCode": {"language": "PYTHON", "code": "1"}}, {"codeExecutionResult": {"outcome": "OUTCOME_OK"}}, {"toolCall": {"id": "i"}}, {"tomorrow": [1]}]}),
    ] {
        keeps(json!({"contents": [content]}));
    }
}

#[test]
fn a_model_in_the_body_follows_the_one_that_was_chosen() {
    let body = json!({"model": "models/asked", "contents": [{"parts": [{"text": "x"}]}]});
    let mut hub = GEMINI.decode_request(body.to_string().as_bytes()).unwrap();
    hub.model = "chosen".into();
    let encoded: Value = serde_json::from_slice(&GEMINI.encode_request(&hub, &EncodeOptions::default()).body).unwrap();
    assert_eq!(encoded["model"], "models/chosen");
    hub.extras.clear();
    let encoded: Value = serde_json::from_slice(&GEMINI.encode_request(&hub, &EncodeOptions::default()).body).unwrap();
    assert_eq!(encoded["model"], Value::Null, "the path has it");
}

// === crossing ===

fn crosses(from: Format, to: Format, model: &str, body: Value, expect: Value, losses: &[&str]) {
    let mut hub = from.decode_request(body.to_string().as_bytes()).unwrap_or_else(|e| panic!("{e}: {body}"));
    hub.model = model.into();
    let encoded = to.encode_request(&hub, &EncodeOptions::default());
    let got: Value = serde_json::from_slice(&encoded.body).unwrap();
    for (name, value) in expect.as_object().unwrap() {
        assert_eq!(got.get(name).unwrap_or(&Value::Null), value, "{name} of {got}");
    }
    let fields: Vec<&str> = encoded.losses.iter().map(|l| l.field.as_str()).collect();
    assert_eq!(fields, losses, "{got}");
}

/// A request of OpenAI's format, in Gemini's.
fn from_openai(model: &str, member: Value, expect: Value, losses: &[&str]) {
    let mut body = json!({"model": "m", "messages": [{"role": "user", "content": "x"}]});
    body.as_object_mut().unwrap().extend(member.as_object().unwrap().clone());
    crosses(OPENAI, GEMINI, model, body, expect, losses);
}

#[test]
fn openai_requests_become_geminis() {
    let user = json!([{"parts": [{"text": "x"}], "role": "user"}]);
    from_openai(
        "gemini-3-pro",
        json!({"stream": true}),
        json!({"contents": user, "model": null, "stream": null, "generationConfig": null}),
        &[],
    );
    from_openai(
        "gemini-3-pro",
        json!({"max_tokens": 5, "temperature": 0, "stop": "s", "seed": 3, "n": 2, "presence_penalty": 1, "user": "u", "parallel_tool_calls": false, "logit_bias": {}}),
        json!({"generationConfig": {"temperature": 0.0, "presencePenalty": 1.0, "maxOutputTokens": 5, "candidateCount": 2, "stopSequences": ["s"], "seed": 3}}),
        &["parallel_tool_calls", "user", "logit_bias"],
    );
    from_openai("gemini-3-pro", json!({"seed": 4_294_967_296_u64}), json!({"generationConfig": null}), &["seed"]);
    for (model, effort, expect) in [
        ("gemini-3-pro", "low", json!({"thinkingLevel": "low"})),
        ("gemini-3-pro", "xhigh", json!({"thinkingLevel": "high"})),
        ("gemini-2.5-flash", "medium", json!({"thinkingBudget": 8192})),
        ("models/gemini-2.5-flash", "xhigh", json!({"thinkingBudget": 24576})),
        ("gemini-2.5-flash", "none", json!({"thinkingBudget": 0})),
    ] {
        from_openai(model, json!({"reasoning_effort": effort}), json!({"generationConfig": {"thinkingConfig": expect}}), &[]);
    }
    from_openai("gemini-3-pro", json!({"reasoning_effort": "none"}), json!({"generationConfig": null}), &["reasoning_effort"]);
    from_openai(
        "gemini-3-pro",
        json!({"response_format": {"type": "json_schema", "json_schema": {"name": "n", "schema": {"type": "object"}, "strict": true}}}),
        json!({"generationConfig": {"responseMimeType": "application/json", "responseJsonSchema": {"type": "object"}}}),
        &[],
    );
    from_openai(
        "gemini-3-pro",
        json!({"response_format": {"type": "json_object"}}),
        json!({"generationConfig": {"responseMimeType": "application/json"}}),
        &[],
    );
    let tools = json!([{"type": "function", "function": {"name": "f", "parameters": {"type": "object"}, "strict": true}}, {"type": "function", "function": {"name": "g"}}, {"type": "web_search"}]);
    from_openai(
        "gemini-3-pro",
        json!({"tools": tools, "tool_choice": {"type": "function", "function": {"name": "f"}}}),
        json!({
            "tools": [{"functionDeclarations": [{"name": "f", "parametersJsonSchema": {"type": "object"}}, {"name": "g"}]}],
            "toolConfig": {"functionCallingConfig": {"mode": "ANY", "allowedFunctionNames": ["f"]}}
        }),
        &["tools[0].strict", "tools[2]"],
    );
    // Instructions go first; parallel results share a content and know their functions; a newer model wants a signature.
    let conversation = json!({"messages": [
        {"role": "system", "content": "s"},
        {"role": "user", "content": "x"},
        {"role": "assistant", "content": null, "reasoning_content": "r", "tool_calls": [{"id": "a", "type": "function", "function": {"name": "f", "arguments": "{\"x\":1}"}}, {"id": "b", "type": "function", "function": {"name": "g", "arguments": "oops"}}]},
        {"role": "tool", "tool_call_id": "a", "content": "1"},
        {"role": "tool", "tool_call_id": "b", "content": [{"type": "text", "text": "2"}, {"type": "image_url", "image_url": {"url": "data:image/png;base64,AA=="}}]},
        {"role": "user", "content": "go on"},
        {"role": "developer", "content": "late"},
    ]});
    let calls = |signature: Value| {
        let mut first = json!({"functionCall": {"id": "a", "name": "f", "args": {"x": 1}}});
        if signature.is_string() {
            first["thoughtSignature"] = signature;
        }
        json!({"role": "model", "parts": [{"text": "r", "thought": true}, first, {"functionCall": {"id": "b", "name": "g", "args": {"INVALID_JSON": "oops"}}}]})
    };
    for (model, signature) in [("gemini-3-pro", json!("skip_thought_signature_validator")), ("gemini-2.5-pro", Value::Null)] {
        from_openai(
            model,
            conversation.clone(),
            json!({
                "systemInstruction": {"parts": [{"text": "s"}, {"text": "late"}]},
                "contents": [
                    {"role": "user", "parts": [{"text": "x"}]},
                    calls(signature),
                    {"role": "user", "parts": [
                        {"functionResponse": {"id": "a", "name": "f", "response": {"output": "1"}}},
                        {"functionResponse": {"id": "b", "name": "g", "response": {"output": "2"}}},
                        {"inlineData": {"mimeType": "image/png", "data": "AA=="}}
                    ]},
                    {"role": "user", "parts": [{"text": "go on"}]}
                ]
            }),
            &["messages[6].role", "messages[2].content[2].arguments", "messages[4].content[0].content[1]"],
        );
    }
    from_openai(
        "gemini-3-pro",
        json!({"messages": [{"role": "user", "name": "n", "content": [
            {"type": "image_url", "image_url": {"url": "https://a.example/x.png?y", "detail": "low"}},
            {"type": "file", "file": {"filename": "n.pdf", "file_data": "data:application/pdf;base64,AA=="}},
            {"type": "input_audio", "input_audio": {"data": "AA==", "format": "wav"}},
            {"type": "file", "file": {"file_id": "f"}}
        ]}]}),
        json!({"contents": [{"role": "user", "parts": [
            {"fileData": {"mimeType": "image/png", "fileUri": "https://a.example/x.png?y"}},
            {"inlineData": {"mimeType": "application/pdf", "data": "AA=="}},
            {"inlineData": {"mimeType": "audio/wav", "data": "AA=="}}
        ]}]}),
        &["messages[0].name", "messages[0].content[0].detail", "messages[0].content[1].name", "messages[0].content[3]"],
    );
}

#[test]
fn anthropic_requests_become_geminis() {
    let body = json!({
        "model": "m", "max_tokens": 9, "top_k": 5, "thinking": {"type": "enabled", "budget_tokens": 5000},
        "system": [{"type": "text", "text": "s", "cache_control": {"type": "ephemeral"}}],
        "messages": [
            {"role": "user", "content": "x"},
            {"role": "assistant", "content": [{"type": "thinking", "thinking": "r", "signature": "sig"}, {"type": "redacted_thinking", "data": "d"}, {"type": "tool_use", "id": "t", "name": "f", "input": {}}]},
            {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "t", "content": "bad", "is_error": true}, {"type": "text", "text": "and"}]}
        ]
    });
    crosses(
        ANTHROPIC,
        GEMINI,
        "gemini-2.5-flash",
        body,
        json!({
            "systemInstruction": {"parts": [{"text": "s"}]},
            "contents": [
                {"parts": [{"text": "x"}], "role": "user"},
                {"parts": [{"text": "r", "thought": true}, {"functionCall": {"id": "t", "name": "f", "args": {}}}], "role": "model"},
                {"parts": [{"functionResponse": {"id": "t", "name": "f", "response": {"error": "bad"}}}, {"text": "and"}], "role": "user"}
            ],
            "generationConfig": {"topK": 5, "maxOutputTokens": 9, "thinkingConfig": {"thinkingBudget": 5000, "includeThoughts": true}}
        }),
        &["messages[0].content[0].cache_control", "messages[2].content[1]"],
    );
}

/// Reasoning as much as the model likes, up to a word: the word is what Gemini is told, since it takes one of the two.
#[test]
fn a_word_for_effort_stands_beside_adaptive_reasoning() {
    for (model, effort, expect) in [
        ("gemini-3-pro", json!({"effort": "low"}), json!({"thinkingLevel": "low", "includeThoughts": true})),
        ("gemini-2.5-flash", json!({"effort": "low"}), json!({"thinkingBudget": 2048, "includeThoughts": true})),
        ("gemini-3-pro", json!({}), json!({"thinkingBudget": -1, "includeThoughts": true})),
    ] {
        let body = json!({
            "model": "m", "max_tokens": 9, "thinking": {"type": "adaptive"}, "output_config": effort,
            "messages": [{"role": "user", "content": "x"}]
        });
        let expect = json!({"generationConfig": {"maxOutputTokens": 9, "thinkingConfig": expect}});
        crosses(ANTHROPIC, GEMINI, model, body, expect, &[]);
    }
}

#[test]
fn gemini_requests_cross() {
    let body = json!({
        "systemInstruction": {"role": "user", "parts": [{"text": "s"}]},
        "contents": [
            {"role": "user", "parts": [{"text": "x"}, {"inlineData": {"mimeType": "image/png", "data": "-w=="}}, {"fileData": {"mimeType": "application/pdf", "fileUri": "https://generativelanguage.googleapis.com/v1beta/files/abc"}}]},
            {"role": "model", "parts": [{"text": "r", "thought": true}, {"functionCall": {"name": "f", "args": {"a": 1}}, "thoughtSignature": "s"}, {"functionCall": {"name": "f", "args": {"a": 2}}}, {"executableCode": {"code": "1"}}]},
            {"role": "user", "parts": [{"functionResponse": {"name": "f", "response": {"output": "one"}}}, {"functionResponse": {"name": "f", "response": {"roll": 2}}}]}
        ],
        "tools": [{"functionDeclarations": [{"name": "f", "parameters": {"type": "OBJECT", "properties": {"a": {"type": "INTEGER"}}}}]}, {"googleSearch": {}}],
        "toolConfig": {"functionCallingConfig": {"mode": "ANY", "allowedFunctionNames": ["f", "g"]}},
        "generationConfig": {"temperature": 0.5, "maxOutputTokens": 7, "topK": 3, "stopSequences": ["e"], "thinkingConfig": {"thinkingBudget": 0}, "responseMimeType": "application/json", "responseSchema": {"type": "STRING"}, "responseLogprobs": true},
        "safetySettings": [{"category": "c", "threshold": "t"}], "labels": {"a": "b"}
    });
    crosses(
        GEMINI,
        OPENAI,
        "gpt-4o",
        body,
        json!({
            "model": "gpt-4o", "temperature": 0.5, "max_tokens": 7, "stop": ["e"], "tool_choice": "required",
            "messages": [
                {"role": "system", "content": "s"},
                {"role": "user", "content": [{"type": "text", "text": "x"}, {"type": "image_url", "image_url": {"url": "data:image/png;base64,+w=="}}]},
                {"role": "assistant", "content": null, "reasoning_content": "r", "tool_calls": [
                    {"id": "call_1_0", "type": "function", "function": {"name": "f", "arguments": "{\"a\":1}"}},
                    {"id": "call_1_1", "type": "function", "function": {"name": "f", "arguments": "{\"a\":2}"}}
                ]},
                {"role": "tool", "tool_call_id": "call_1_0", "content": "one"},
                {"role": "tool", "tool_call_id": "call_1_1", "content": "{\"roll\":2}"}
            ],
            "tools": [{"type": "function", "function": {"name": "f", "parameters": {"type": "object", "properties": {"a": {"type": "integer"}}}}}],
            "response_format": {"type": "json_schema", "json_schema": {"name": "response", "schema": {"type": "string"}}}
        }),
        &[
            "messages[1].content[2]",
            "messages[2].content[3]",
            "tools[1]",
            "top_k",
            "thinking",
            "toolConfig.allowedFunctionNames",
            "generationConfig.responseLogprobs",
            "safetySettings",
        ],
    );
}

#[test]
fn what_only_the_provider_keeps_goes_to_no_other() {
    for (name, portable) in [("cachedContent", false), ("cached_content", false), ("labels", true)] {
        let body = json!({"contents": [{"parts": [{"text": "x"}]}], name: "y"});
        let hub = GEMINI.decode_request(body.to_string().as_bytes()).unwrap();
        let result = GEMINI.portable(&hub);
        assert_eq!(result.is_ok(), portable, "{name}");
        assert!(result.err().is_none_or(|e| e.path == name));
    }
}

// === answers and streams ===

fn stream(chunks: &[Value]) -> String {
    chunks.iter().map(|chunk| format!("data: {chunk}\r\n\r\n")).collect()
}

fn decode(format: Format, bytes: &[u8]) -> Vec<StreamEvent> {
    let (mut decoder, mut events) = (format.event_decoder(), Vec::new());
    decoder.push(bytes, &mut events);
    decoder.finish(&mut events);
    events
}

fn collect(bytes: &[u8]) -> Result<ChatAnswer, ChatError> {
    let mut collector = Collector::new(GEMINI);
    decode(GEMINI, bytes).iter().for_each(|e| collector.push(e));
    collector.finish()
}

fn chunk(candidate: Value) -> Value {
    json!({"candidates": [candidate], "modelVersion": "gemini-x", "responseId": "r"})
}

fn says(text: &str) -> Value {
    json!({"content": {"parts": [{"text": text}], "role": "model"}, "index": 0})
}

#[test]
fn how_streams_end() {
    let text = chunk(says("a"));
    let stop = chunk(json!({"content": {"parts": [{"text": "b"}]}, "finishReason": "STOP"}));
    let second = chunk(json!({"content": {"parts": [{"text": "b"}]}, "index": 1}));
    let error = json!({"error": {"code": 503, "message": "busy", "status": "UNAVAILABLE"}});
    let bare = |before: &[Value]| format!("{}{}", stream(before), serde_json::to_string_pretty(&error).unwrap());
    let check = |sse: String, expect: Result<(), ErrorClass>| {
        assert_eq!(collect(sse.as_bytes()).map(|_| ()).map_err(|e| e.class), expect, "{sse}");
        for size in [1, 9, 100_000] {
            let (mut tap, mut out) = (StreamTap::new(GEMINI, false), Vec::new());
            sse.as_bytes().chunks(size).for_each(|piece| tap.push(piece, &mut out));
            tap.finish(&mut out);
            let facts = tap.facts();
            assert_eq!((facts.ended, facts.error.as_ref().map(|e| e.class)), (expect.is_ok(), expect.err()), "tap: {sse}");
            assert!(!String::from_utf8_lossy(&out).contains("busy"), "an error is the dialect's to tell");
        }
    };
    check(stream(&[text.clone(), stop.clone()]), Ok(()));
    check(stream(&[stop.clone(), stop.clone()]), Ok(()));
    check(stream(&[stop.clone(), text.clone()]), Ok(()));
    check(stream(std::slice::from_ref(&text)), Err(ErrorClass::Interrupted));
    check(stream(&[second, stop.clone()]), Err(ErrorClass::Interrupted));
    check(stream(&[text.clone(), stop.clone()]).trim_end().to_owned(), Ok(()));
    check(String::new(), Err(ErrorClass::Interrupted));
    check(stream(&[stop.clone(), error.clone()]), Err(ErrorClass::Overloaded));
    check(bare(std::slice::from_ref(&stop)), Err(ErrorClass::Overloaded));
    check(bare(std::slice::from_ref(&text)) + "\n\n", Err(ErrorClass::Overloaded));
    check(stream(&[json!({"promptFeedback": {"blockReason": "SAFETY"}})]), Ok(()));
    check(stream(&[json!({"promptFeedback": {"safetyRatings": []}})]), Err(ErrorClass::Interrupted));
    check(format!("{}data: {{\"cand", stream(&[text])), Err(ErrorClass::Interrupted));
    check(stream(&[json!({"something": "else"})]), Err(ErrorClass::Interrupted));
}

#[test]
fn a_reason_to_finish_in_every_chunk_ends_the_choice_once() {
    let part = |text: &str| chunk(json!({"content": {"parts": [{"text": text}]}, "finishReason": "STOP", "index": 0}));
    let events = decode(GEMINI, stream(&[part("a"), part("b")]).as_bytes());
    assert_eq!(events.iter().filter(|e| matches!(e, StreamEvent::Finish(_))).count(), 1);
    let finish = events.iter().position(|e| matches!(e, StreamEvent::Finish(_))).unwrap();
    assert_eq!(finish + 2, events.len(), "nothing but the end follows: {events:?}");
}

#[test]
fn a_refused_prompt_is_an_answer_that_was_filtered() {
    let body = json!({"promptFeedback": {"blockReason": "SAFETY"}, "usageMetadata": {"promptTokenCount": 3}, "responseId": "r"});
    let answer = GEMINI.decode_answer(body.to_string().as_bytes()).unwrap();
    assert_eq!((&answer.choices[0].finish, answer.choices[0].parts.len()), (&Some(FinishReason::ContentFilter), 0));
    assert_eq!(answer.usage.as_ref().map(|u| (u.input_tokens, u.output_tokens)), Some((3, 0)));
    let again: Value = serde_json::from_slice(&GEMINI.encode_answer(&answer, &StreamOptions::default()).body).unwrap();
    assert_eq!(again, body);
    let openai: Value = serde_json::from_slice(&OPENAI.encode_answer(&answer, &StreamOptions::default()).body).unwrap();
    assert_eq!(openai["choices"][0]["finish_reason"], "content_filter");
    let streamed = collect(stream(&[body]).as_bytes()).unwrap();
    let again: Value = serde_json::from_slice(&GEMINI.encode_answer(&streamed, &StreamOptions::default()).body).unwrap();
    assert_eq!((&again["promptFeedback"]["blockReason"], &again["candidates"]), (&json!("SAFETY"), &Value::Null));
}

#[test]
fn what_is_told_anew_before_anything_went_out_stands_in_its_place() {
    let sse = stream(&[json!({"promptFeedback": {"x": 1}}), json!({"promptFeedback": {"blockReason": "SAFETY"}})]);
    let mut again = Vec::new();
    GEMINI.event_encoder(StreamOptions::default()).events(&decode(GEMINI, sse.as_bytes()), &mut again);
    let (before, after) = (collect(sse.as_bytes()).unwrap(), collect(&again).unwrap());
    assert_eq!((after.choices[0].finish.clone(), after.extras), (before.choices[0].finish.clone(), before.extras));
}

#[test]
fn a_refusal_is_not_taken_back() {
    let events = [json!({"promptFeedback": {"blockReason": "SAFETY"}}), json!({"promptFeedback": {}})];
    for answer in [collect(stream(&events).as_bytes()), GEMINI.decode_answer(json!(events).to_string().as_bytes())] {
        let answer = answer.unwrap();
        let again = GEMINI.decode_answer(&GEMINI.encode_answer(&answer, &StreamOptions::default()).body).unwrap();
        assert_eq!((again.choices[0].finish.as_ref(), &again.extras), (Some(&FinishReason::ContentFilter), &answer.extras));
    }
}

#[test]
fn a_call_does_not_wait_for_another_choice() {
    let sse = stream(&[
        chunk(json!({"index": 1, "content": {"parts": [{"text": "b"}]}})),
        chunk(json!({"index": 0, "content": {"parts": [{"functionCall": {"name": "f", "args": {}}}]}})),
        chunk(json!({"index": 0, "content": {"parts": [{"text": "a"}]}, "finishReason": "STOP"})),
        chunk(json!({"index": 1, "finishReason": "STOP"})),
    ]);
    let mut again = Vec::new();
    GEMINI.event_encoder(StreamOptions::default()).events(&decode(GEMINI, sse.as_bytes()), &mut again);
    assert_eq!(collect(&again).unwrap().choices, collect(sse.as_bytes()).unwrap().choices);
}

#[test]
fn an_answer_may_have_no_choices() {
    let from_openai = json!({"choices": [], "model": "m", "id": "r", "usage": {"prompt_tokens": 2, "completion_tokens": 1}});
    let answer = OPENAI.decode_answer(from_openai.to_string().as_bytes()).unwrap();
    let options = StreamOptions::default();
    let crossed = GEMINI.encode_answer(&answer, &options).body;
    let body: Value = serde_json::from_slice(&crossed).unwrap();
    assert_eq!(body["candidates"], json!([]));
    let again = GEMINI.decode_answer(&crossed).unwrap();
    assert_eq!((again.choices.len(), again.usage.as_ref().map(|u| u.input_tokens)), (0, Some(2)));
    assert_eq!(GEMINI.encode_answer(&again, &options).body, crossed, "the list stands there once");
    // Without a list, with things in it that are none, or beside an error it is not an answer.
    for body in [json!({"usageMetadata": {}}), json!({"candidates": ["x"]}), json!({"candidates": [], "error": {"message": "no"}})] {
        assert!(GEMINI.decode_answer(body.to_string().as_bytes()).is_err(), "{body}");
    }
}

#[test]
fn a_signature_stays_where_it_was() {
    let signed = json!({"content": {"parts": [{"text": "b", "thoughtSignature": "c2ln"}]}, "index": 0});
    let last = json!({"content": {"parts": [{"text": "c"}]}, "finishReason": "STOP", "index": 0});
    let sse = stream(&[chunk(says("a")), chunk(signed), chunk(last)]);
    let answer = collect(sse.as_bytes()).unwrap();
    let body: Value = serde_json::from_slice(&GEMINI.encode_answer(&answer, &StreamOptions::default()).body).unwrap();
    assert_eq!(body["candidates"][0]["content"]["parts"], json!([{"text": "ab", "thoughtSignature": "c2ln"}, {"text": "c"}]));
    // Through a filter, the same.
    let mut out = Vec::new();
    GEMINI.event_encoder(StreamOptions::default()).events(&decode(GEMINI, sse.as_bytes()), &mut out);
    assert_eq!(collect(&out).unwrap(), answer);
    // Other formats have no place for it, and lose nothing by that.
    assert_eq!(OPENAI.encode_answer(&answer, &StreamOptions::default()).losses, []);
}

#[test]
fn a_signature_of_another_provider_comes_back() {
    let answer = ANTHROPIC.decode_answer(json!({"id": "i", "type": "message", "role": "assistant", "model": "m", "stop_reason": "tool_use", "usage": {"input_tokens": 1, "output_tokens": 1}, "content": [{"type": "thinking", "thinking": "r", "signature": "s+/é"}, {"type": "redacted_thinking", "data": "d"}, {"type": "tool_use", "id": "t", "name": "f", "input": {}}]}).to_string().as_bytes()).unwrap();
    let told: Value = serde_json::from_slice(&GEMINI.encode_answer(&answer, &StreamOptions::default()).body).unwrap();
    let mut parts = told["candidates"][0]["content"]["parts"].clone();
    // Clients send base64 in the alphabet for URLs.
    for part in parts.as_array_mut().unwrap() {
        if let Some(signature) = part["thoughtSignature"].as_str() {
            part["thoughtSignature"] = signature.replace('+', "-").replace('/', "_").into();
        }
    }
    // And what a stream gave them piece by piece.
    let signature = parts[0]["thoughtSignature"].take();
    parts[0].as_object_mut().unwrap().remove("thoughtSignature");
    parts.as_array_mut().unwrap().insert(1, json!({"text": "", "thought": true, "thoughtSignature": signature}));
    let body = json!({"contents": [{"role": "user", "parts": [{"text": "x"}]}, {"role": "model", "parts": parts}]});
    let hub = GEMINI.decode_request(body.to_string().as_bytes()).unwrap();
    let back: Value = serde_json::from_slice(&ANTHROPIC.encode_request(&hub, &EncodeOptions::default()).body).unwrap();
    assert_eq!(
        back["messages"][1]["content"],
        json!([{"type": "thinking", "thinking": "r", "signature": "s+/é"}, {"type": "redacted_thinking", "data": "d"}, {"type": "tool_use", "id": "t", "name": "f", "input": {}}])
    );
}

#[test]
fn arguments_in_pieces() {
    let call = |call: Value| chunk(json!({"content": {"parts": [{"functionCall": call}]}, "index": 0}));
    let sse = stream(&[
        call(json!({"name": "f", "willContinue": true})),
        call(json!({"partialArgs": [{"jsonPath": "$.a", "stringValue": "x", "willContinue": true}], "willContinue": true})),
        call(
            json!({"partialArgs": [{"jsonPath": "$.a", "stringValue": "y"}, {"jsonPath": "$.b[0]", "numberValue": 2}], "willContinue": true}),
        ),
        call(json!({})),
        call(json!({"name": "g", "willContinue": true})),
        call(json!({"name": "h", "args": {"z": 1}})),
        chunk(json!({"finishReason": "STOP", "index": 0})),
    ]);
    let answer = collect(sse.as_bytes()).unwrap();
    let calls: Vec<(&str, &str, &str)> = answer.choices[0]
        .parts
        .iter()
        .filter_map(
            |p| if let PartKind::ToolCall(c) = &p.kind { Some((c.id.as_str(), c.name.as_str(), c.arguments.as_str())) } else { None },
        )
        .collect();
    assert_eq!(calls, [("call_r_0_0", "f", r#"{"a":"xy","b":[2]}"#), ("call_r_0_1", "g", "{}"), ("call_r_0_2", "h", r#"{"z":1}"#)]);
    assert_eq!(answer.choices[0].finish, Some(FinishReason::ToolCalls));
}

#[test]
fn arguments_that_ask_for_too_much_are_a_fault() {
    let call = |call: Value| chunk(json!({"content": {"parts": [{"functionCall": call}]}, "index": 0}));
    let path = format!("$.a{}", "[10000]".repeat(60));
    let sse = stream(&[
        call(json!({"name": "f", "willContinue": true})),
        call(json!({"partialArgs": [{"jsonPath": path, "boolValue": true}]})),
        chunk(json!({"finishReason": "STOP", "index": 0})),
    ]);
    let e = collect(sse.as_bytes()).unwrap_err();
    assert_eq!(e.class, ErrorClass::Protocol);
    assert!(e.message.contains("`jsonPath` asks for too many places"), "{}", e.message);
}

#[test]
fn many_results_find_their_functions() {
    let count = 2_000;
    let calls: Vec<Value> = (0..count)
        .map(|i| json!({"id": format!("c{i}"), "type": "function", "function": {"name": format!("f{i}"), "arguments": "{}"}}))
        .collect();
    let mut messages = vec![json!({"role": "user", "content": "x"}), json!({"role": "assistant", "content": null, "tool_calls": calls})];
    messages.extend((0..count).map(|i| json!({"role": "tool", "tool_call_id": format!("c{i}"), "content": "1"})));
    let hub = OPENAI.decode_request(json!({"model": "m", "messages": messages}).to_string().as_bytes()).unwrap();
    let body: Value = serde_json::from_slice(&GEMINI.encode_request(&hub, &EncodeOptions::default()).body).unwrap();
    let results = body["contents"][2]["parts"].as_array().unwrap();
    assert_eq!((results.len(), &results[count - 1]["functionResponse"]["name"]), (count, &json!(format!("f{}", count - 1))));
}

#[test]
fn an_array_in_place_of_a_document() {
    let chunks = json!([chunk(says("a")), chunk(json!({"content": {"parts": [{"text": "b"}]}, "finishReason": "MAX_TOKENS", "index": 0}))]);
    let answer = GEMINI.decode_answer(&serde_json::to_vec_pretty(&chunks).unwrap()).unwrap();
    assert_eq!((answer.id.as_str(), &answer.choices[0].finish), ("r", &Some(FinishReason::Length)));
    let e = GEMINI.decode_answer(br#"[{"error":{"code":429,"message":"slow","status":"RESOURCE_EXHAUSTED"}}]"#).unwrap_err();
    assert_eq!((e.class, e.status), (ErrorClass::RateLimited, Some(429)));
    let e = GEMINI.decode_answer(b"[{\"candidates\":[").unwrap_err();
    assert_eq!(e.class, ErrorClass::Interrupted);
}

#[test]
fn counts() {
    let check = |json: &str, expect: Option<(u64, Option<u64>, u64, Option<u64>)>| {
        let usage = GEMINI.decode_usage(json).map(|u| (u.input_tokens, u.cache_read_tokens, u.output_tokens, u.reasoning_tokens));
        assert_eq!(usage, expect, "{json}");
    };
    check(
        r#"{"promptTokenCount":438,"candidatesTokenCount":13,"thoughtsTokenCount":39,"toolUsePromptTokenCount":619,"totalTokenCount":1109}"#,
        Some((1057, None, 52, Some(39))),
    );
    check(r#"{"promptTokenCount":10,"cachedContentTokenCount":8,"candidatesTokenCount":5}"#, Some((10, Some(8), 5, None)));
    check(r#"{"totalTokenCount":7}"#, Some((7, None, 0, None)));
    check(r#"{"trafficType":"ON_DEMAND"}"#, None);
    check("null", None);
}

#[test]
fn errors_are_written_as_google_writes_them() {
    let e = ChatError { retry_after_ms: Some(1500), ..ChatError::new(ErrorClass::RateLimited, "slow down") };
    let reply = GEMINI.encode_error(&e);
    let body: Value = serde_json::from_slice(&reply.body).unwrap();
    let retry = json!([{"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": "1.500s"}]);
    assert_eq!(
        (reply.status, &body),
        (429, &json!({"error": {"code": 429, "message": "slow down", "status": "RESOURCE_EXHAUSTED", "details": retry}}))
    );
    let again = GEMINI.decode_error(429, None, &reply.body);
    assert_eq!((again.class, again.retry_after_ms), (ErrorClass::RateLimited, Some(1500)));
    let e = ChatError { param: Some("contents[0]".into()), ..ChatError::new(ErrorClass::InvalidRequest, "bad") };
    let body: Value = serde_json::from_slice(&GEMINI.encode_error(&e).body).unwrap();
    assert_eq!(
        (&body["error"]["status"], &body["error"]["details"][0]["fieldViolations"][0]["field"]),
        (&json!("INVALID_ARGUMENT"), &json!("contents[0]"))
    );
    for class in ErrorClass::ALL {
        let reply = GEMINI.encode_error(&ChatError::new(class, "m"));
        let body: Value = serde_json::from_slice(&reply.body).unwrap();
        assert_eq!(body["error"]["code"], reply.status);
        assert!(body["error"]["status"].is_string());
    }
}
