//! What clients and upstreams speak, for tests that hold for all of it.

use serde_json::{Value, json};

use crate::client::Event;

/// A client's dialect, and the format of an upstream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Dialect {
    /// OpenAI chat completions.
    OpenAi,
    /// Anthropic messages.
    Anthropic,
    /// OpenAI responses.
    Responses,
}

impl Dialect {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::OpenAi, Self::Anthropic, Self::Responses];

    /// All pairs of a client's dialect and an upstream's format.
    pub const PAIRS: [(Self, Self); 9] = [
        (Self::OpenAi, Self::OpenAi),
        (Self::OpenAi, Self::Anthropic),
        (Self::Anthropic, Self::OpenAi),
        (Self::Anthropic, Self::Anthropic),
        (Self::Responses, Self::OpenAi),
        (Self::Responses, Self::Anthropic),
        (Self::Responses, Self::Responses),
        (Self::OpenAi, Self::Responses),
        (Self::Anthropic, Self::Responses),
    ];

    /// Type of a provider that speaks it.
    pub fn provider_type(self) -> &'static str {
        match self {
            Self::OpenAi => "openai",
            Self::Anthropic => "anthropic",
            Self::Responses => "openai-responses",
        }
    }

    /// Where requests are sent to.
    pub fn path(self) -> &'static str {
        match self {
            Self::OpenAi => "/v1/chat/completions",
            Self::Anthropic => "/anthropic/v1/messages",
            Self::Responses => "/v1/responses",
        }
    }

    /// Where models are listed.
    pub fn models_path(self) -> &'static str {
        match self {
            Self::OpenAi | Self::Responses => "/v1/models",
            Self::Anthropic => "/anthropic/v1/models",
        }
    }

    /// The member of a request that holds the conversation.
    pub fn conversation(self) -> &'static str {
        if self == Self::Responses { "input" } else { "messages" }
    }

    /// A request with one user message.
    pub fn request(self, model: &str, text: &str) -> Value {
        let messages = json!([{"role": "user", "content": text}]);
        match self {
            Self::OpenAi => json!({"model": model, "messages": messages}),
            Self::Anthropic => json!({"model": model, "max_tokens": 64, "messages": messages}),
            Self::Responses => json!({"model": model, "input": messages}),
        }
    }

    /// The same as a stream.
    pub fn stream_request(self, model: &str, text: &str) -> Value {
        let mut request = self.request(model, text);
        request["stream"] = json!(true);
        request
    }

    /// Type and message of an error document, whose shape must be the dialect's.
    #[track_caller]
    pub fn error(self, document: &Value) -> (String, String) {
        let error = &document["error"];
        let (kind, message) = (error["type"].as_str(), error["message"].as_str());
        let shaped = match self {
            Self::OpenAi => error.get("param").is_some() && error.get("code").is_some() && document.get("type").is_none(),
            // An answer, or the event of a stream.
            Self::Responses => error.get("param").is_some() && error.get("code").is_some(),
            Self::Anthropic => document["type"] == "error" && error.get("code").is_none(),
        };
        match (shaped, kind, message) {
            (true, Some(kind), Some(message)) => (kind.into(), message.into()),
            _ => panic!("this is no error of the {self:?} dialect: {document}"),
        }
    }

    /// Text of a complete answer.
    #[track_caller]
    pub fn text(self, answer: &Value) -> String {
        let text = match self {
            Self::OpenAi => answer["choices"][0]["message"]["content"].as_str(),
            Self::Anthropic => answer["content"][0]["text"].as_str(),
            Self::Responses => answer["output"].as_array().and_then(|o| o.last()?["content"][0]["text"].as_str()),
        };
        text.unwrap_or_else(|| panic!("there is no text in {answer}")).into()
    }

    /// Text of a stream's events.
    pub fn streamed_text(self, events: &[Event]) -> String {
        let pieces = events.iter().map(Event::json).filter_map(|e| {
            let piece = match self {
                Self::OpenAi => &e["choices"][0]["delta"]["content"],
                Self::Anthropic => &e["delta"]["text"],
                Self::Responses if e["type"] == "response.output_text.delta" => &e["delta"],
                Self::Responses => &Value::Null,
            };
            piece.as_str().map(str::to_owned)
        });
        pieces.collect()
    }

    /// Whether an event is the clean end.
    pub fn is_end(self, event: &Event) -> bool {
        match self {
            Self::OpenAi => event.data == "[DONE]",
            Self::Anthropic => event.name == "message_stop",
            Self::Responses => event.name == "response.completed" || event.name == "response.incomplete",
        }
    }

    /// Type and message when an event is the dialect's error event.
    pub fn stream_error(self, event: &Event) -> Option<(String, String)> {
        let document = event.json();
        let is_error = match self {
            Self::OpenAi => event.name.is_empty() && document.get("error").is_some(),
            Self::Anthropic | Self::Responses => event.name == "error",
        };
        is_error.then(|| self.error(&document))
    }

    /// Says that a stream broke: it has an error event at its end and no clean end. Returns type and message.
    #[track_caller]
    pub fn broken(self, events: &[Event]) -> (String, String) {
        assert!(!events.iter().any(|e| self.is_end(e)), "a broken stream ends as if it were complete: {events:#?}");
        // A response says it once more, as a whole.
        let last = events.iter().rfind(|e| e.name != "response.failed").expect("a broken stream says so");
        self.stream_error(last).unwrap_or_else(|| panic!("the last event is no error: {events:#?}"))
    }
}
