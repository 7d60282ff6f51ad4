//! What goes in and out of a codec beside the documents: options, losses, and errors of decoding.

use std::fmt;

use crate::hub::{ChatError, ErrorClass};

/// A document that a format does not allow.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DecodeError {
    /// Where, for example `messages[2].content[0].type`; empty for the whole document.
    pub path: String,
    /// What was found and what is expected. For the caller; it never repeats more than a few characters of the document.
    pub message: String,
}

/// Something that a target format cannot express. The caller decides whether that matters.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Loss {
    /// What became of it.
    pub kind: LossKind,
    /// The field of the source, in the hub's words and counts, for example `seed` or `messages[3].content[1]`.
    pub field: String,
    /// Why, for people. It begins small and has no full stop.
    pub reason: String,
}

/// What becomes of something that a target format cannot express.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum LossKind {
    /// The format has no such thing; it is left out.
    Unsupported,
    /// Only the provider that made it can read it (file ids, signed reasoning, calls that a provider ran itself); it is left out.
    Foreign,
    /// The format has it, but not together with what else the document says; it is left out.
    Conflict,
    /// The format has not this value; the nearest one is written.
    Adjusted,
    /// The format has it in another place, and there it is written.
    Moved,
}

/// An encoded document.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Encoded {
    /// The document, UTF-8 JSON.
    pub body: Vec<u8>,
    /// What the format could not express; empty when nothing was lost.
    pub losses: Vec<Loss>,
}

/// What an encoder of requests must know beside the request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EncodeOptions {
    /// Tokens that an answer may have when the request does not say and the format insists (Anthropic's `max_tokens`).
    pub default_max_tokens: u64,
}

impl Default for EncodeOptions {
    /// 4096 tokens: every current Anthropic model allows that many, and few answers are longer.
    fn default() -> Self {
        Self { default_max_tokens: 4096 }
    }
}

/// What an encoder of answers must know beside the answer.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct StreamOptions {
    /// The caller asked for usage in the stream. OpenAI chat writes it only then; Anthropic always does.
    pub include_usage: bool,
    /// Id of the answer when the upstream gave none.
    pub id: String,
    /// Model of the answer when the upstream named none.
    pub model: String,
    /// Unix time in seconds of the answer when the upstream gave none.
    pub created: u64,
}

/// An error as a format writes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ErrorReply {
    /// HTTP status.
    pub status: u16,
    /// The document, UTF-8 JSON.
    pub body: Vec<u8>,
}

impl LossKind {
    /// Every kind.
    pub const ALL: [Self; 5] = [Self::Unsupported, Self::Foreign, Self::Conflict, Self::Adjusted, Self::Moved];

    /// The kind as one word, for headers and logs.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Unsupported => "unsupported",
            Self::Foreign => "foreign",
            Self::Conflict => "conflict",
            Self::Adjusted => "adjusted",
            Self::Moved => "moved",
        }
    }
}

impl fmt::Display for Loss {
    /// `field (kind): reason`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({}): {}", self.field, self.kind.as_str(), self.reason)
    }
}

impl DecodeError {
    /// An error at `path`.
    pub fn new(path: impl fmt::Display, message: impl Into<String>) -> Self {
        Self { path: path.to_string(), message: message.into() }
    }
}

impl fmt::Display for DecodeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.path.is_empty() { f.write_str(&self.message) } else { write!(f, "`{}`: {}", self.path, self.message) }
    }
}

impl std::error::Error for DecodeError {}

impl From<DecodeError> for ChatError {
    fn from(e: DecodeError) -> Self {
        let param = (!e.path.is_empty()).then(|| e.path.clone());
        Self { param, ..Self::new(ErrorClass::InvalidRequest, e.to_string()) }
    }
}
