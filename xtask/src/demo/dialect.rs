//! The two clients of the demo: what each sends, and how it reads its event stream. Pure.

use serde_json::{Value, json};

pub const QUESTION: &str = "In one sentence: what is WebAssembly?";
const MAX_TOKENS: u32 = 60;

#[derive(Clone, Copy, Debug)]
pub enum Dialect {
    OpenAi,
    Anthropic,
}

/// What one `data:` field of an event stream means.
#[derive(Debug, PartialEq)]
pub enum Event {
    Text(String),
    End,
    Error(String),
    Other,
}

impl Dialect {
    pub const ALL: [Dialect; 2] = [Dialect::OpenAi, Dialect::Anthropic];

    pub fn name(self) -> &'static str {
        match self {
            Dialect::OpenAi => "OpenAI",
            Dialect::Anthropic => "Anthropic",
        }
    }

    pub fn path(self) -> &'static str {
        match self {
            Dialect::OpenAi => "/v1/chat/completions",
            Dialect::Anthropic => "/anthropic/v1/messages",
        }
    }

    /// The same document serves both.
    pub fn request(self, model: &str) -> Value {
        json!({"model": model, "max_tokens": MAX_TOKENS, "stream": true, "messages": [{"role": "user", "content": QUESTION}]})
    }

    pub fn curl(self, port: u16, model: &str) -> String {
        format!("curl -N http://127.0.0.1:{port}{} -H 'content-type: application/json' \\\n  -d '{}'", self.path(), self.request(model))
    }

    pub fn event(self, data: &str) -> Event {
        if data == "[DONE]" {
            return Event::End;
        }
        let Ok(value) = serde_json::from_str::<Value>(data) else { return Event::Error(format!("not JSON: {data}")) };
        if let Some(error) = value.get("error").filter(|error| !error.is_null()) {
            return Event::Error(error["message"].as_str().map_or_else(|| error.to_string(), str::to_owned));
        }
        let text = match self {
            Dialect::OpenAi => value.pointer("/choices/0/delta/content"),
            Dialect::Anthropic if value["type"] == "message_stop" => return Event::End,
            Dialect::Anthropic => value.pointer("/delta/text"),
        };
        text.and_then(Value::as_str).map_or(Event::Other, |text| Event::Text(text.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn openai_events() {
        let check = |data: &str, event: Event| assert_eq!(Dialect::OpenAi.event(data), event);
        check(r#"{"choices":[{"delta":{"role":"assistant","content":null}}]}"#, Event::Other);
        check(r#"{"choices":[{"delta":{"content":"Hi"}}]}"#, Event::Text("Hi".into()));
        check(r#"{"choices":[],"usage":{"total_tokens":3}}"#, Event::Other);
        check(r#"{"error":{"message":"cut"}}"#, Event::Error("cut".into()));
        check("[DONE]", Event::End);
        check("<html>", Event::Error("not JSON: <html>".into()));
    }

    #[test]
    fn anthropic_events() {
        let check = |data: &str, event: Event| assert_eq!(Dialect::Anthropic.event(data), event);
        check(r#"{"type":"message_start","message":{"content":[]}}"#, Event::Other);
        check(r#"{"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":"Hi"}}"#, Event::Text("Hi".into()));
        check(r#"{"type":"message_delta","delta":{"stop_reason":"end_turn"}}"#, Event::Other);
        check(r#"{"type":"error","error":{"type":"api_error","message":"cut"}}"#, Event::Error("cut".into()));
        check(r#"{"type":"message_stop"}"#, Event::End);
    }
}
