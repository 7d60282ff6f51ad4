//! What comes of a tool.

use serde_json::{Value, json};
use wasmgate_sdk::ChatError;

/// Nobody waits for the answer any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Gone;

/// Why a tool has no result.
#[derive(Debug)]
pub enum Failed {
    /// It did not work, for a reason that the model behind the client may act on.
    Told(String),
    /// Nobody waits.
    Gone,
}

impl From<Gone> for Failed {
    fn from(_: Gone) -> Self {
        Self::Gone
    }
}

impl From<ChatError> for Failed {
    fn from(error: ChatError) -> Self {
        let mut text = error.message;
        if let Some(param) = error.param.filter(|p| !text.contains(p.as_str())) {
            text = format!("`{param}`: {text}");
        }
        if let Some(ms) = error.retry_after_ms {
            text.push_str(&format!(" Try again in {} s.", ms.div_ceil(1000)));
        }
        Self::Told(text)
    }
}

/// A result: what a model reads, and the same for programs.
#[derive(Debug)]
pub struct Outcome {
    /// For the model.
    pub text: String,
    /// As the tool's `outputSchema` says.
    pub data: Value,
}

impl Outcome {
    /// As a result of `tools/call`.
    pub fn result(self) -> Value {
        json!({"content": [{"type": "text", "text": self.text}], "structuredContent": self.data, "isError": false})
    }
}

/// A failure as a result of `tools/call`.
pub fn failure(text: &str) -> Value {
    json!({"content": [{"type": "text", "text": text}], "isError": true})
}
