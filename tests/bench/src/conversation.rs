//! Requests of a wanted size, as the SDKs write them.

use bytes::Bytes;
use serde_json::{Value, json};

/// A client's format.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Format {
    /// `POST /v1/chat/completions`.
    Openai,
    /// `POST /anthropic/v1/messages`.
    Anthropic,
}

/// One turn of a long conversation: prose, quotation marks, line breaks, a word that is not ASCII.
const TURN: &str = "Let us look at the third paragraph again: it says \"as agreed\", but nobody wrote down what was agreed.\n\n\
    1. Ask who was there, and when.\n2. Compare it with the minutes of the meeting in Zürich.\n3. Write one sentence that both sides can sign.\n\n\
    Everything else can wait until the end of the week; the draft has 14 pages and most of them do not change.";

impl Format {
    /// The path that it is posted to.
    pub fn path(self) -> &'static str {
        match self {
            Self::Openai => "/v1/chat/completions",
            Self::Anthropic => "/anthropic/v1/messages",
        }
    }

    /// What a complete stream ends with.
    pub fn end(self) -> &'static [u8] {
        match self {
            Self::Openai => b"data: [DONE]\n\n",
            Self::Anthropic => b"event: message_stop\ndata: {\"type\":\"message_stop\"}\n\n",
        }
    }

    /// A request of this many bytes; with `chunks` it asks for a stream of so many.
    pub fn request(self, bytes: usize, chunks: Option<usize>) -> Bytes {
        let empty = self.document(Vec::new(), chunks).to_string().len();
        let mut messages = Vec::new();
        let mut left = bytes.saturating_sub(empty);
        while left > 0 {
            let role = if messages.len() % 2 == 0 { "user" } else { "assistant" };
            let message = |text: &str| json!({"role": role, "content": text});
            let whole = message(TURN).to_string().len() + 1;
            // The last message, always the user's, takes what is left.
            let last = left < 2 * whole && role == "user";
            let message = if last { message(&"x".repeat(left.saturating_sub(message("").to_string().len()))) } else { message(TURN) };
            left = if last { 0 } else { left.saturating_sub(whole) };
            messages.push(message);
        }
        self.document(messages, chunks).to_string().into()
    }

    fn document(self, messages: Vec<Value>, chunks: Option<usize>) -> Value {
        const SYSTEM: &str = "You answer in short sentences.";
        let tokens = chunks.unwrap_or(256);
        let mut document = match self {
            Self::Openai => {
                let system = json!({"role": "system", "content": SYSTEM});
                let all: Vec<Value> = std::iter::once(system).chain(messages).collect();
                json!({"model": "gpt-4o-mini", "messages": all, "max_tokens": tokens, "temperature": 0.7})
            }
            Self::Anthropic => {
                json!({"model": "gpt-4o-mini", "max_tokens": tokens, "system": SYSTEM, "temperature": 0.7, "messages": messages})
            }
        };
        if chunks.is_some() {
            document["stream"] = json!(true);
        }
        document
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_have_their_size_and_end_with_the_user() {
        for format in [Format::Openai, Format::Anthropic] {
            for bytes in [800, 1 << 10, 100 << 10, 1 << 20] {
                for chunks in [None, Some(5)] {
                    let request = format.request(bytes, chunks);
                    assert!(request.len().abs_diff(bytes) <= 2, "{format:?} {bytes}: {}", request.len());
                    let document: Value = serde_json::from_slice(&request).unwrap();
                    let messages = document["messages"].as_array().unwrap();
                    assert_eq!(messages.last().unwrap()["role"], "user");
                    assert_eq!(document["stream"] == true, chunks.is_some());
                }
            }
        }
    }
}
