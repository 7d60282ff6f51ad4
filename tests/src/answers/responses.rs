//! Answers of an upstream that speaks OpenAI responses.

use serde_json::{Value, json};

use super::{Call, Says, pieces};

impl Says {
    pub(super) fn responses(&self, model: &str) -> Value {
        let status = if self.stop.is_some() { "incomplete" } else { "completed" };
        let details = self.stop.map(|reason| json!({"reason": reason}));
        response(model, status, self.items().collect(), self.responses_usage(), details)
    }

    pub(super) fn responses_stream(&self, model: &str) -> Vec<String> {
        let mut all = Vec::new();
        let mut event = |kind: &str, mut data: Value| {
            data["type"] = json!(kind);
            data["sequence_number"] = json!(all.len());
            all.push(format!("event: {kind}\ndata: {data}\n\n"));
        };
        for kind in ["response.created", "response.in_progress"] {
            event(kind, json!({"response": response(model, "in_progress", Vec::new(), Value::Null, None)}));
        }
        let items: Vec<Value> = self.items().collect();
        for (index, item) in items.iter().enumerate() {
            let place = |more: Value| {
                let mut place = json!({"item_id": item["id"], "output_index": index});
                place.as_object_mut().expect("an object").extend(more.as_object().cloned().unwrap_or_default());
                place
            };
            let mut begun = item.clone();
            match item["type"].as_str() {
                Some("message") => {
                    (begun["status"], begun["content"]) = (json!("in_progress"), json!([]));
                    event("response.output_item.added", json!({"output_index": index, "item": begun}));
                    let empty = json!({"type": "output_text", "text": "", "annotations": []});
                    event("response.content_part.added", place(json!({"content_index": 0, "part": empty})));
                    for piece in pieces(self.text) {
                        event("response.output_text.delta", place(json!({"content_index": 0, "delta": piece, "logprobs": []})));
                    }
                    event("response.output_text.done", place(json!({"content_index": 0, "text": self.text, "logprobs": []})));
                    event("response.content_part.done", place(json!({"content_index": 0, "part": item["content"][0]})));
                    event("response.output_item.done", json!({"output_index": index, "item": item}));
                }
                Some("reasoning") => {
                    begun["summary"] = json!([]);
                    event("response.output_item.added", json!({"output_index": index, "item": begun}));
                    let text = self.thinking.map(|(text, _)| text).unwrap_or_default();
                    let part = |text: &str| json!({"summary_index": 0, "part": {"type": "summary_text", "text": text}});
                    event("response.reasoning_summary_part.added", place(part("")));
                    for piece in pieces(text) {
                        event("response.reasoning_summary_text.delta", place(json!({"summary_index": 0, "delta": piece})));
                    }
                    event("response.reasoning_summary_text.done", place(json!({"summary_index": 0, "text": text})));
                    event("response.reasoning_summary_part.done", place(part(text)));
                    event("response.output_item.done", json!({"output_index": index, "item": item}));
                }
                _ => {
                    (begun["status"], begun["arguments"]) = (json!("in_progress"), json!(""));
                    event("response.output_item.added", json!({"output_index": index, "item": begun}));
                    if self.interleaved {
                        continue;
                    }
                    let call = self.calls.iter().find(|c| item["call_id"] == c.id).expect("the item is one of the calls");
                    for piece in call.arguments {
                        event("response.function_call_arguments.delta", place(json!({"delta": piece})));
                    }
                    event("response.function_call_arguments.done", place(json!({"arguments": item["arguments"]})));
                    event("response.output_item.done", json!({"output_index": index, "item": item}));
                }
            }
        }
        if self.interleaved {
            let first = items.len() - self.calls.len();
            let longest = self.calls.iter().map(|c| c.arguments.len()).max().unwrap_or(0);
            for at in 0..longest {
                for (n, call) in self.calls.iter().enumerate() {
                    if let Some(piece) = call.arguments.get(at) {
                        let place = json!({"item_id": items[first + n]["id"], "output_index": first + n, "delta": piece});
                        event("response.function_call_arguments.delta", place);
                    }
                }
            }
            for (index, item) in items.iter().enumerate().skip(first) {
                event("response.output_item.done", json!({"output_index": index, "item": item}));
            }
        }
        let last = if self.stop.is_some() { "response.incomplete" } else { "response.completed" };
        event(last, json!({"response": self.responses(model)}));
        all
    }

    fn items(&self) -> impl Iterator<Item = Value> {
        let thinking = self.thinking.map(|(text, sealed)| {
            let summary = json!([{"type": "summary_text", "text": text}]);
            json!({"id": "rs_scripted", "type": "reasoning", "summary": summary, "encrypted_content": sealed})
        });
        let text = (!self.text.is_empty()).then(|| {
            let content = json!([{"type": "output_text", "text": self.text, "annotations": []}]);
            json!({"id": "msg_scripted", "type": "message", "status": "completed", "role": "assistant", "content": content})
        });
        thinking.into_iter().chain(text).chain(self.calls.iter().map(item))
    }

    fn responses_usage(&self) -> Value {
        self.usage.clone().unwrap_or_else(|| {
            json!({"input_tokens": 9, "input_tokens_details": {"cached_tokens": 0}, "output_tokens": 12,
                "output_tokens_details": {"reasoning_tokens": 0}, "total_tokens": 21})
        })
    }
}

fn item(call: &Call) -> Value {
    json!({"id": format!("fc_{}", call.id), "type": "function_call", "status": "completed", "call_id": call.id, "name": call.name,
        "arguments": call.arguments.concat()})
}

fn response(model: &str, status: &str, output: Vec<Value>, usage: Value, details: Option<Value>) -> Value {
    json!({
        "id": "resp_scripted", "object": "response", "created_at": 1_750_000_000, "status": status, "error": null,
        "incomplete_details": details, "instructions": null, "max_output_tokens": null, "model": model, "output": output,
        "parallel_tool_calls": true, "previous_response_id": null, "reasoning": {"effort": null, "summary": null}, "store": false,
        "temperature": 1.0, "text": {"format": {"type": "text"}}, "tool_choice": "auto", "tools": [], "top_p": 1.0,
        "truncation": "disabled", "usage": usage, "user": null, "metadata": {},
    })
}

/// The events of a stream that fails.
pub fn failing(error: &Value) -> String {
    let inner = &error["error"];
    let event =
        json!({"type": "error", "sequence_number": 9, "code": inner["code"], "message": inner["message"], "param": null, "error": inner});
    format!("event: error\ndata: {event}\n\n")
}
