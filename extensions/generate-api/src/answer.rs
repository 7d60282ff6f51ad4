//! What is answered.

use serde_json::{Value, json};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use wasmgate_sdk::Encoder;
use wasmgate_sdk::codec::Format;
use wasmgate_sdk::codec::formats::{Codec as _, OpenaiChat};
use wasmgate_sdk::hub::{self, Collector, Delta, FinishReason, PartKind, Usage};
use wasmgate_sdk::prelude::*;
use wasmgate_sdk::wrapped;

use crate::TARGET;

/// A complete answer in its wrapper.
pub fn complete(options: &EncodeOptions, answer: &ChatAnswer) -> Value {
    json!({
        "success": true,
        "data": data(options, answer),
        "request_id": options.id,
        "timestamp": timestamp(options),
    })
}

fn timestamp(options: &EncodeOptions) -> Option<String> {
    OffsetDateTime::from_unix_timestamp(options.created.try_into().unwrap_or_default()).ok()?.format(&Rfc3339).ok()
}

fn data(options: &EncodeOptions, answer: &ChatAnswer) -> Value {
    let (mut content, mut thinking, mut tool_calls) = (String::new(), String::new(), Vec::new());
    let first = answer.choices.first();
    for part in first.iter().flat_map(|choice| &choice.parts) {
        match &part.kind {
            PartKind::Text(text) | PartKind::Refusal(text) => content.push_str(text),
            PartKind::Thinking(thought) => thinking.push_str(&thought.text),
            PartKind::ToolCall(call) => {
                let function = json!({"name": call.name, "arguments": call.arguments});
                tool_calls.push(json!({"id": call.id, "type": "function", "function": function}));
            }
            _ => {}
        }
    }
    let target: Value = hub::extra(&answer.extras, TARGET).and_then(|t| serde_json::from_str(t).ok()).unwrap_or_default();
    let mut data = json!({
        "content": content,
        "model": if answer.model.is_empty() { &options.model } else { &answer.model },
        "provider": target["provider"],
        "finish_reason": first.and_then(|c| c.finish.as_ref()).map(FinishReason::word),
        "tool_calls": tool_calls,
        "usage": answer.usage.as_ref().map(usage),
    });
    if !thinking.is_empty() {
        data["thinking"] = thinking.into();
    }
    data
}

fn usage(usage: &Usage) -> Value {
    json!({
        "prompt_tokens": usage.input_tokens,
        "completion_tokens": usage.output_tokens,
        "total_tokens": usage.input_tokens.saturating_add(usage.output_tokens),
    })
}

/// An error, with the status that OpenAI gives it.
pub fn error(error: &ChatError) -> Reply {
    let mut reply = Reply::json(OpenaiChat::encode_error(error).status, wrapped::error(error).to_string().into_bytes());
    if let Some(ms) = error.retry_after_ms {
        reply.headers.push(Header { name: "retry-after".into(), value: ms.div_ceil(1000).to_string() });
    }
    reply
}

/// Writes a stream: what grows as it comes, and the whole at the end.
pub struct Writer {
    options: EncodeOptions,
    collector: Collector,
    target: Option<hub::Extra>,
}

impl Writer {
    /// A stream begins.
    pub fn new(options: EncodeOptions) -> Self {
        // The collector's format only matters for what the hub does not model, which is not written.
        Self { options, collector: Collector::new(Format::OpenaiChat), target: None }
    }
}

impl Encoder for Writer {
    fn events(&mut self, events: &[StreamEvent]) -> Vec<u8> {
        let mut bytes = Vec::new();
        for event in events {
            match event {
                StreamEvent::Start(start) => self.target = start.extras.iter().find(|e| e.name == TARGET).cloned(),
                StreamEvent::BlockDelta(grown) if grown.at.choice == 0 => match &grown.delta {
                    Delta::Text(text) | Delta::Refusal(text) => write(&mut bytes, "delta", &json!({"content": text})),
                    Delta::Thinking(text) => write(&mut bytes, "delta", &json!({"thinking": text})),
                    _ => {}
                },
                _ => {}
            }
            self.collector.push(event);
        }
        bytes
    }

    fn finish(&mut self, error: Option<&ChatError>) -> Vec<u8> {
        let mut bytes = Vec::new();
        let mut collector = std::mem::replace(&mut self.collector, Collector::new(Format::OpenaiChat));
        let collected = match error {
            Some(error) => Err(error.clone()),
            None => {
                collector.push(&StreamEvent::End);
                collector.finish()
            }
        };
        match collected {
            Ok(mut answer) => {
                answer.extras.extend(self.target.take());
                write(&mut bytes, "done", &complete(&self.options, &answer));
            }
            Err(error) => {
                // The host puts the same into an error that is no part of a stream.
                let mut document = wrapped::error(&error);
                document["request_id"] = self.options.id.as_str().into();
                document["timestamp"] = timestamp(&self.options).into();
                write(&mut bytes, "error", &document);
            }
        }
        bytes
    }
}

fn write(bytes: &mut Vec<u8>, event: &str, data: &Value) {
    bytes.extend_from_slice(format!("event: {event}\ndata: {data}\n\n").as_bytes());
}

#[cfg(test)]
mod tests {
    use wasmgate_sdk::format;

    use super::*;

    fn options() -> EncodeOptions {
        EncodeOptions { format: crate::FORMAT.into(), include_usage: true, id: "r-1".into(), model: "asked".into(), created: 1_700_000_000 }
    }

    fn answer() -> ChatAnswer {
        let document = json!({
            "id": "c", "object": "chat.completion", "created": 1, "model": "m-1",
            "choices": [{"index": 0, "finish_reason": "tool_calls", "message": {
                "role": "assistant", "content": "Hello",
                "tool_calls": [{"id": "t", "type": "function", "function": {"name": "f", "arguments": "{}"}}],
            }}],
            "usage": {"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5},
        });
        let mut answer = Format::OpenaiChat.decode_answer(document.to_string().as_bytes()).unwrap();
        hub::set_extra(&mut answer.extras, TARGET, json!({"provider": "p", "model": "m"}).to_string());
        answer
    }

    fn expected() -> Value {
        json!({
            "content": "Hello",
            "model": "m-1",
            "provider": "p",
            "finish_reason": "tool_calls",
            "tool_calls": [{"id": "t", "type": "function", "function": {"name": "f", "arguments": "{}"}}],
            "usage": {"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5},
        })
    }

    #[test]
    fn complete_answers() {
        let document = complete(&options(), &answer());
        assert_eq!((&document["data"], &document["request_id"]), (&expected(), &json!("r-1")));
        assert_eq!(document["timestamp"], "2023-11-14T22:13:20Z");
    }

    /// Events by name, with their data.
    fn read(bytes: &[u8]) -> Vec<(String, Value)> {
        let text = std::str::from_utf8(bytes).unwrap();
        let events = text.split("\n\n").filter(|e| !e.is_empty()).map(|event| {
            let (name, data) = event.strip_prefix("event: ").and_then(|e| e.split_once("\ndata: ")).unwrap();
            (name.to_owned(), serde_json::from_str(data).unwrap())
        });
        events.collect()
    }

    #[test]
    fn streams_end_with_the_whole() {
        let events = hub::answer_events(&answer());
        let mut writer = Writer::new(options());
        let mut bytes = Vec::new();
        for event in events.iter().filter(|e| !matches!(e, StreamEvent::End)) {
            bytes.extend(writer.events(std::slice::from_ref(event)));
        }
        bytes.extend(writer.finish(None));
        let read = read(&bytes);
        let deltas: String = read.iter().filter(|(n, _)| n == "delta").map(|(_, d)| d["content"].as_str().unwrap()).collect();
        let (last, document) = read.last().unwrap();
        assert_eq!((deltas.as_str(), last.as_str(), &document["data"]), ("Hello", "done", &expected()));
    }

    #[test]
    fn errors_keep_class_and_field() {
        let limited = ChatError { retry_after_ms: Some(1500), ..ChatError::new(ErrorClass::RateLimited, "slow down") };
        let reply = error(&limited);
        assert_eq!((reply.status, reply.headers.last().map(|h| h.value.as_str())), (429, Some("2")));
        let body: Value = serde_json::from_slice(&reply.body).unwrap();
        assert_eq!(body, json!({"success": false, "error": {"code": "rate_limited", "message": "slow down"}}));
        let wrong: Value = serde_json::from_slice(&error(&format::invalid("prompt", "no")).body).unwrap();
        assert_eq!(wrong["error"]["details"]["param"], "prompt");
        let broken = Writer::new(options()).finish(Some(&limited));
        let (name, last) = read(&broken).remove(0);
        assert_eq!((name.as_str(), &last["error"], &last["request_id"]), ("error", &body["error"], &json!("r-1")));
    }
}
