//! What a tap takes down.

use crate::hub::{ChatError, FinishReason, Usage};

/// What a stream has told so far.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct StreamFacts {
    /// The answer has begun.
    pub started: bool,
    /// The first piece of content, reasoning, refusal or tool call came: the time to it is the time to the first token.
    pub first_content: bool,
    /// The stream ended properly.
    pub ended: bool,
    /// The error that the provider told, or that the stream broke off.
    pub error: Option<ChatError>,
    /// The last usage that was told; counts follow the hub's definition.
    pub usage: Option<Usage>,
    /// Why the first choice stopped.
    pub finish: Option<FinishReason>,
    /// The provider's id of the answer.
    pub id: Option<String>,
    /// The model that answers.
    pub model: Option<String>,
    /// Complete events that carried data.
    pub events: u64,
}
