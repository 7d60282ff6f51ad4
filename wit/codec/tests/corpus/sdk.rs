//! What an SDK makes of a stream: small reassemblers that work on the raw chunks and share nothing with the codec.

use serde_json::{Value, json};

/// The data of the events, in order.
pub fn events(stream: &[u8]) -> Vec<Value> {
    if stream.starts_with(b"[") {
        return serde_json::from_slice(stream).unwrap();
    }
    let text = String::from_utf8_lossy(stream).replace("\r\n", "\n");
    // A document that stands bare behind the events.
    if let Some((events_before, bare)) = text.split_once("\n\n{\n") {
        let bare = serde_json::from_str(&format!("{{\n{bare}")).unwrap();
        return events(events_before.as_bytes()).into_iter().chain([bare]).collect();
    }
    let data = text
        .split("\n\n")
        .map(|event| event.lines().filter_map(|l| l.strip_prefix("data:")).map(str::trim_start).collect::<Vec<_>>().join("\n"));
    data.filter(|d| !d.is_empty() && d != "[DONE]").map(|d| serde_json::from_str(&d).unwrap()).collect()
}

/// `{"choices":[{"content","reasoning","refusal","tool_calls":[{"id","name","arguments"}],"finish_reason"}],"usage"}`
pub fn openai(events: &[Value]) -> Value {
    let mut choices: Vec<(u64, Value)> = Vec::new();
    let mut usage = Value::Null;
    for event in events {
        if event["usage"].is_object() {
            usage = event["usage"].clone();
        }
        for choice in event["choices"].as_array().into_iter().flatten() {
            let index = choice["index"].as_u64().unwrap_or(0);
            if !choices.iter().any(|(i, _)| *i == index) {
                choices.push((index, json!({"content": "", "reasoning": "", "refusal": "", "tool_calls": [], "finish_reason": null})));
            }
            let snapshot = &mut choices.iter_mut().find(|(i, _)| *i == index).unwrap().1;
            let delta = &choice["delta"];
            append(snapshot, "content", &text(&delta["content"]));
            let reasoning =
                ["reasoning_content", "reasoning"].map(|name| text(&delta[name])).into_iter().find(|t| !t.is_empty()).unwrap_or_default();
            let reasoning = if reasoning.is_empty() { details(&delta["reasoning_details"]) } else { reasoning };
            append(snapshot, "reasoning", &(reasoning + &thoughts(&delta["content"])));
            append(snapshot, "refusal", &text(&delta["refusal"]));
            for call in delta["tool_calls"].as_array().into_iter().flatten() {
                tool_call(snapshot["tool_calls"].as_array_mut().unwrap(), call);
            }
            if snapshot["finish_reason"].is_null() {
                snapshot["finish_reason"] = choice["finish_reason"].clone();
            }
        }
    }
    choices.sort_by_key(|(index, _)| *index);
    for (_, choice) in &mut choices {
        // Places that were only counted past.
        choice["tool_calls"].as_array_mut().unwrap().retain(|call| call["name"] != "" || call["id"] != "");
    }
    json!({"choices": choices.into_iter().map(|(_, c)| c).collect::<Vec<_>>(), "usage": usage})
}

fn append(snapshot: &mut Value, name: &str, more: &str) {
    let grown = snapshot[name].as_str().unwrap().to_owned() + more;
    snapshot[name] = grown.into();
}

fn text(content: &Value) -> String {
    match content {
        Value::String(s) => s.clone(),
        Value::Array(items) => items.iter().filter(|i| i["type"] == "text").filter_map(|i| i["text"].as_str()).collect(),
        _ => String::new(),
    }
}

fn thoughts(content: &Value) -> String {
    let items = content.as_array().into_iter().flatten().filter(|i| i["type"] == "thinking");
    items.map(|i| text(&i["thinking"])).collect()
}

fn details(list: &Value) -> String {
    list.as_array().into_iter().flatten().filter_map(|d| d["text"].as_str()).collect()
}

fn tool_call(calls: &mut Vec<Value>, delta: &Value) {
    let index = delta["index"].as_u64().unwrap_or(calls.len() as u64) as usize;
    while calls.len() <= index {
        calls.push(json!({"id": "", "name": "", "arguments": ""}));
    }
    let call = &mut calls[index];
    if call["id"] == "" {
        append(call, "id", delta["id"].as_str().unwrap_or_default());
    }
    // Some hosts repeat the name in every chunk; none cuts it.
    if call["name"] == "" {
        append(call, "name", delta["function"]["name"].as_str().unwrap_or_default());
    }
    append(call, "arguments", delta["function"]["arguments"].as_str().unwrap_or_default());
}

/// The `message` object that the stream tells.
pub fn anthropic(events: &[Value]) -> Value {
    let mut message = Value::Null;
    let mut inputs: Vec<String> = Vec::new();
    for event in events {
        match event["type"].as_str().unwrap() {
            "message_stop" => break,
            "message_start" => message = event["message"].clone(),
            "content_block_start" => {
                message["content"].as_array_mut().unwrap().push(event["content_block"].clone());
                inputs.push(String::new());
            }
            "content_block_delta" => {
                let index = event["index"].as_u64().unwrap() as usize;
                let block = &mut message["content"][index];
                let delta = &event["delta"];
                match delta["type"].as_str().unwrap() {
                    "text_delta" => append(block, "text", delta["text"].as_str().unwrap()),
                    "thinking_delta" => append(block, "thinking", delta["thinking"].as_str().unwrap()),
                    "signature_delta" => block["signature"] = delta["signature"].clone(),
                    "citations_delta" => {
                        if !block["citations"].is_array() {
                            block["citations"] = json!([]);
                        }
                        block["citations"].as_array_mut().unwrap().push(delta["citation"].clone());
                    }
                    "input_json_delta" => {
                        inputs[index].push_str(delta["partial_json"].as_str().unwrap());
                        if let Ok(input) = serde_json::from_str::<Value>(&inputs[index]) {
                            block["input"] = input;
                        }
                    }
                    // A delta that no SDK knows yet: its members replace the block's.
                    _ => {
                        for (name, value) in delta.as_object().unwrap().iter().filter(|(name, _)| *name != "type") {
                            block[name] = value.clone();
                        }
                    }
                }
            }
            "message_delta" => {
                for (name, value) in event["delta"].as_object().unwrap() {
                    message[name] = value.clone();
                }
                for (name, value) in event["usage"].as_object().into_iter().flatten().filter(|(_, v)| !v.is_null()) {
                    message["usage"][name] = value.clone();
                }
                for (name, value) in
                    event.as_object().unwrap().iter().filter(|(name, _)| !["type", "delta", "usage"].contains(&name.as_str()))
                {
                    message[name] = value.clone();
                }
            }
            _ => {}
        }
    }
    message
}

/// The `response` of the last event of a stream of responses, with the items as their own last events told them: they are encrypted anew
/// in every event. An id that a proxy gave to every event anew is the first one's.
pub fn last_response(events: &[Value]) -> Value {
    let mut response = events.iter().rev().find(|e| e["response"].is_object()).map(|e| e["response"].clone()).unwrap_or_default();
    response["id"] = events.iter().find(|e| e["response"].is_object()).map(|e| e["response"]["id"].clone()).unwrap_or_default();
    let mut items: Vec<&Value> = events.iter().filter(|e| e["type"] == "response.output_item.done").collect();
    items.sort_by_key(|e| e["output_index"].as_u64());
    if !items.is_empty() {
        response["output"] = items.iter().map(|e| e["item"].clone()).collect();
    }
    response
}

/// What the deltas of a stream of responses told, by item: `{"kind","text"}`.
pub fn responses(events: &[Value]) -> Value {
    let mut items: Vec<(u64, Value)> = Vec::new();
    for event in events {
        let index = event["output_index"].as_u64();
        match event["type"].as_str().unwrap() {
            // A hand-made recording leaves out that a message begins.
            "response.content_part.added" | "response.output_item.added" if !items.iter().any(|(i, _)| Some(*i) == index) => {
                let kind = event["item"]["type"].as_str().unwrap_or("message");
                items.push((index.unwrap(), json!({"kind": kind, "text": ""})));
            }
            "response.output_text.delta"
            | "response.refusal.delta"
            | "response.function_call_arguments.delta"
            | "response.custom_tool_call_input.delta"
            | "response.reasoning_summary_text.delta"
            | "response.reasoning_text.delta" => {
                let item = &mut items.iter_mut().find(|(i, _)| Some(*i) == index).unwrap().1;
                append(item, "text", event["delta"].as_str().unwrap());
            }
            _ => {}
        }
    }
    items.sort_by_key(|(index, _)| *index);
    items.into_iter().map(|(_, item)| item).collect()
}

/// The same of a complete `response`.
pub fn pieces(response: &Value) -> Value {
    let list = |item: &Value, name: &str| -> String {
        let texts = item[name].as_array().into_iter().flatten();
        texts.filter_map(|p| p["text"].as_str().or(p["refusal"].as_str())).collect()
    };
    let text = |item: &Value| match item["type"].as_str().unwrap() {
        "message" => list(item, "content"),
        "reasoning" => list(item, "content") + &list(item, "summary"),
        "function_call" => item["arguments"].as_str().unwrap().to_owned(),
        "custom_tool_call" => item["input"].as_str().unwrap().to_owned(),
        _ => String::new(),
    };
    response["output"].as_array().unwrap().iter().map(|item| json!({"kind": item["type"], "text": text(item)})).collect()
}

/// Whether a stream of Gemini's was told to its end: every candidate has a reason to finish, or the prompt was refused.
pub fn gemini_finished(events: &[Value]) -> bool {
    let candidates: Vec<&Value> = events.iter().flat_map(|e| e["candidates"].as_array().into_iter().flatten()).collect();
    if candidates.is_empty() {
        return events.iter().any(|e| e["promptFeedback"]["blockReason"].is_string());
    }
    let index = |c: &Value| c["index"].as_u64().unwrap_or(0);
    candidates.iter().all(|c| candidates.iter().any(|other| index(other) == index(c) && other["finishReason"].is_string()))
}

/// What the chunks of a stream of Gemini's tell together: `{"text","thoughts","calls","parts","finish","usage"}`. The usage is the last one
/// that counts something.
pub fn gemini(events: &[Value]) -> Value {
    let mut told = json!({"text": "", "thoughts": "", "calls": [], "parts": [], "finish": null, "usage": null});
    let mut open: Option<Value> = None;
    for event in events {
        if event["usageMetadata"].as_object().is_some_and(|u| u.keys().any(|k| k.ends_with("TokenCount"))) {
            told["usage"] = event["usageMetadata"].clone();
        }
        let Some(candidate) = event["candidates"].get(0) else { continue };
        if candidate["finishReason"].is_string() {
            told["finish"] = candidate["finishReason"].clone();
        }
        for part in candidate["content"]["parts"].as_array().into_iter().flatten() {
            if let Some(text) = part["text"].as_str() {
                append(&mut told, if part["thought"] == true { "thoughts" } else { "text" }, text);
            } else if part["functionCall"].is_object() {
                call(&mut told, &mut open, &part["functionCall"]);
            } else if part.as_object().is_some_and(|p| !p.is_empty()) {
                told["parts"].as_array_mut().unwrap().push(part.clone());
            }
        }
    }
    told["calls"].as_array_mut().unwrap().extend(open);
    told
}

/// A call, or a piece of one.
fn call(told: &mut Value, open: &mut Option<Value>, piece: &Value) {
    if piece["name"].is_string() {
        told["calls"].as_array_mut().unwrap().extend(open.take());
        let args = if piece["args"].is_object() { piece["args"].clone() } else { json!({}) };
        *open = Some(json!({"name": piece["name"], "args": args}));
    }
    let Some(call) = open.as_mut() else { return };
    for part in piece["partialArgs"].as_array().into_iter().flatten() {
        let path = part["jsonPath"].as_str().unwrap().trim_start_matches("$.").replace('[', ".").replace(']', "");
        let mut place = &mut call["args"];
        for step in path.split('.') {
            place = match step.parse::<usize>() {
                Ok(index) => {
                    if !place.is_array() {
                        *place = json!([]);
                    }
                    while place.as_array().unwrap().len() <= index {
                        place.as_array_mut().unwrap().push(Value::Null);
                    }
                    &mut place[index]
                }
                Err(_) => &mut place[step],
            };
        }
        *place = match (place.as_str(), part["stringValue"].as_str()) {
            (Some(before), Some(more)) => (before.to_owned() + more).into(),
            (None, Some(text)) => text.into(),
            _ => ["numberValue", "boolValue"].iter().map(|n| part[*n].clone()).find(|v| !v.is_null()).unwrap_or_default(),
        };
    }
    if piece["willContinue"] != true {
        told["calls"].as_array_mut().unwrap().extend(open.take());
    }
}
