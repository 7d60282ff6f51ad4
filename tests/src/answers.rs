//! Answers as upstreams of each kind write them, for scripts. Texts are our own; the shapes are those of real recordings.

mod gemini;
mod responses;

use serde_json::{Value, json};

pub use gemini::{gemini_error, gemini_method, gemini_model};
pub use responses::failing;

use crate::{Dialect, Received, Reply};

/// A text that is more than ASCII and more than one token.
pub const TEXT: &str = "Grüße aus dem Norden: das Meer ist blau. 🌊";

/// A tool call.
pub struct Call {
    /// Its id.
    pub id: &'static str,
    /// The tool's name.
    pub name: &'static str,
    /// Pieces of the arguments as they are streamed.
    pub arguments: &'static [&'static str],
}

/// What an answer says.
#[derive(Default)]
pub struct Says {
    /// Reasoning, with its signature at Anthropic.
    pub thinking: Option<(&'static str, &'static str)>,
    /// Text.
    pub text: &'static str,
    /// Tool calls, all at once.
    pub calls: &'static [Call],
    /// Whether pieces of the calls come in turn, where a format allows it, and not one call after the other.
    pub interleaved: bool,
    /// Why it stopped, in the upstream's words; without it `stop`, `end_turn`, or the word for tool calls.
    pub stop: Option<&'static str>,
    /// The usage object; without it a small one.
    pub usage: Option<Value>,
}

impl Says {
    /// Nothing but text.
    pub fn text(text: &'static str) -> Self {
        Self { text, ..Self::default() }
    }

    /// As this upstream answers this request: complete, or as a stream.
    pub fn reply(&self, format: Dialect, to: &Received) -> Reply {
        let model = to.model();
        if to.is_stream() { Reply::stream(self.stream(format, &model)) } else { Reply::json(200, &self.document(format, &model)) }
    }

    /// The complete answer.
    pub fn document(&self, format: Dialect, model: &str) -> Value {
        match format {
            Dialect::OpenAi => self.openai(model),
            Dialect::Anthropic => self.anthropic(model),
            Dialect::Responses => self.responses(model),
        }
    }

    /// The stream, event by event.
    pub fn stream(&self, format: Dialect, model: &str) -> Vec<String> {
        match format {
            Dialect::OpenAi => self.openai_stream(model),
            Dialect::Anthropic => self.anthropic_stream(model),
            Dialect::Responses => self.responses_stream(model),
        }
    }

    // --- OpenAI

    fn openai(&self, model: &str) -> Value {
        let mut message =
            json!({"role": "assistant", "content": if self.text.is_empty() { Value::Null } else { json!(self.text) }, "refusal": null});
        if let Some((thinking, _)) = self.thinking {
            message["reasoning_content"] = json!(thinking);
        }
        if !self.calls.is_empty() {
            let calls = self
                .calls
                .iter()
                .map(|c| json!({"id": c.id, "type": "function", "function": {"name": c.name, "arguments": c.arguments.concat()}}));
            message["tool_calls"] = calls.collect();
        }
        json!({
            "id": "chatcmpl-scripted", "object": "chat.completion", "created": 1_750_000_000, "model": model,
            "choices": [{"index": 0, "message": message, "logprobs": null, "finish_reason": self.openai_stop()}],
            "usage": self.openai_usage(), "service_tier": "default", "system_fingerprint": "fp_scripted",
        })
    }

    fn openai_stream(&self, model: &str) -> Vec<String> {
        let chunk = |choices: Value, usage: Value| {
            let chunk = json!({
                "id": "chatcmpl-scripted", "object": "chat.completion.chunk", "created": 1_750_000_000, "model": model,
                "service_tier": "default", "system_fingerprint": "fp_scripted", "choices": choices, "usage": usage,
            });
            format!("data: {chunk}\n\n")
        };
        let delta = |delta: Value| chunk(json!([{"index": 0, "delta": delta, "logprobs": null, "finish_reason": null}]), Value::Null);
        let mut all = vec![delta(
            json!({"role": "assistant", "content": if self.calls.is_empty() { json!("") } else { Value::Null }, "refusal": null}),
        )];
        if let Some((thinking, _)) = self.thinking {
            all.extend(pieces(thinking).map(|p| delta(json!({"reasoning_content": p}))));
        }
        all.extend(pieces(self.text).map(|p| delta(json!({"content": p}))));
        let start = |n: usize, c: &Call| {
            delta(json!({"tool_calls": [{"index": n, "id": c.id, "type": "function", "function": {"name": c.name, "arguments": ""}}]}))
        };
        let piece = |n: usize, arguments: &str| delta(json!({"tool_calls": [{"index": n, "function": {"arguments": arguments}}]}));
        if self.interleaved {
            all.extend(self.calls.iter().enumerate().map(|(n, c)| start(n, c)));
            let longest = self.calls.iter().map(|c| c.arguments.len()).max().unwrap_or(0);
            for at in 0..longest {
                all.extend(self.calls.iter().enumerate().filter_map(|(n, c)| Some(piece(n, c.arguments.get(at)?))));
            }
        } else {
            for (n, c) in self.calls.iter().enumerate() {
                all.push(start(n, c));
                all.extend(c.arguments.iter().map(|a| piece(n, a)));
            }
        }
        all.push(chunk(json!([{"index": 0, "delta": {}, "logprobs": null, "finish_reason": self.openai_stop()}]), Value::Null));
        all.push(chunk(json!([]), self.openai_usage()));
        all.push("data: [DONE]\n\n".into());
        all
    }

    fn openai_stop(&self) -> &str {
        self.stop.unwrap_or(if self.calls.is_empty() { "stop" } else { "tool_calls" })
    }

    fn openai_usage(&self) -> Value {
        self.usage.clone().unwrap_or_else(|| json!({"prompt_tokens": 9, "completion_tokens": 12, "total_tokens": 21}))
    }

    // --- Anthropic

    fn anthropic(&self, model: &str) -> Value {
        let mut content = Vec::new();
        if let Some((thinking, signature)) = self.thinking {
            content.push(json!({"type": "thinking", "thinking": thinking, "signature": signature}));
        }
        if !self.text.is_empty() {
            content.push(json!({"type": "text", "text": self.text}));
        }
        content.extend(self.calls.iter().map(|c| {
            let input: Value = serde_json::from_str(&c.arguments.concat()).expect("arguments are JSON");
            json!({"type": "tool_use", "id": c.id, "name": c.name, "input": input})
        }));
        json!({
            "id": "msg_scripted", "type": "message", "role": "assistant", "model": model, "content": content,
            "stop_reason": self.anthropic_stop(), "stop_sequence": null, "usage": self.anthropic_usage(),
        })
    }

    fn anthropic_stream(&self, model: &str) -> Vec<String> {
        let mut usage = self.anthropic_usage();
        let output = usage["output_tokens"].clone();
        usage["output_tokens"] = json!(1);
        let event = |name: &str, mut data: Value| {
            data["type"] = json!(name);
            format!("event: {name}\ndata: {data}\n\n")
        };
        let message = json!({
            "id": "msg_scripted", "type": "message", "role": "assistant", "model": model, "content": [],
            "stop_reason": null, "stop_sequence": null, "usage": usage,
        });
        let mut all = vec![event("message_start", json!({"message": message})), event("ping", json!({}))];
        let mut block = |start: Value, deltas: Vec<Value>| {
            let index = all.iter().filter(|e| e.starts_with("event: content_block_start")).count();
            all.push(event("content_block_start", json!({"index": index, "content_block": start})));
            all.extend(deltas.into_iter().map(|d| event("content_block_delta", json!({"index": index, "delta": d}))));
            all.push(event("content_block_stop", json!({"index": index})));
        };
        if let Some((thinking, signature)) = self.thinking {
            let mut deltas: Vec<Value> = pieces(thinking).map(|p| json!({"type": "thinking_delta", "thinking": p})).collect();
            deltas.push(json!({"type": "signature_delta", "signature": signature}));
            block(json!({"type": "thinking", "thinking": "", "signature": ""}), deltas);
        }
        if !self.text.is_empty() {
            block(json!({"type": "text", "text": ""}), pieces(self.text).map(|p| json!({"type": "text_delta", "text": p})).collect());
        }
        for c in self.calls {
            let start = json!({"type": "tool_use", "id": c.id, "name": c.name, "input": {}});
            let empty = std::iter::once(&"");
            let deltas = empty.chain(c.arguments).map(|p| json!({"type": "input_json_delta", "partial_json": p}));
            block(start, deltas.collect());
        }
        all.push(event(
            "message_delta",
            json!({"delta": {"stop_reason": self.anthropic_stop(), "stop_sequence": null}, "usage": {"output_tokens": output}}),
        ));
        all.push(event("message_stop", json!({})));
        all
    }

    fn anthropic_stop(&self) -> &str {
        self.stop.unwrap_or(if self.calls.is_empty() { "end_turn" } else { "tool_use" })
    }

    fn anthropic_usage(&self) -> Value {
        self.usage.clone().unwrap_or_else(
            || json!({"input_tokens": 9, "cache_creation_input_tokens": 0, "cache_read_input_tokens": 0, "output_tokens": 12}),
        )
    }
}

/// A text in pieces of a few characters.
fn pieces(text: &str) -> impl Iterator<Item = String> {
    let characters: Vec<char> = text.chars().collect();
    let pieces: Vec<String> = characters.chunks(7).map(String::from_iter).collect();
    pieces.into_iter()
}

/// An error document of an upstream.
pub fn error(format: Dialect, kind: &str, message: &str) -> Value {
    match format {
        Dialect::OpenAi | Dialect::Responses => json!({"error": {"message": message, "type": kind, "param": null, "code": null}}),
        Dialect::Anthropic => json!({"type": "error", "error": {"type": kind, "message": message}}),
    }
}
