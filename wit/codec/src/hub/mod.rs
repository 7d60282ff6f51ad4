//! The hub: the one shape that every wire format decodes to and encodes from, and what can be done with it without
//! knowing a format.

mod collect;
mod names;
mod replay;
mod types;

pub use collect::Collector;
pub(crate) use collect::merge_extra;
pub use replay::answer_events;
pub use types::*;

impl Extra {
    /// A field with its JSON value.
    pub fn new(name: impl Into<String>, value: impl Into<Json>) -> Self {
        Self { name: name.into(), value: value.into() }
    }
}

/// The JSON value of the extra with this name.
pub fn extra<'a>(extras: &'a [Extra], name: &str) -> Option<&'a str> {
    extras.iter().find(|e| e.name == name).map(|e| e.value.as_str())
}

/// Sets an extra, replacing the one with the same name.
pub fn set_extra(extras: &mut Vec<Extra>, name: &str, value: Json) {
    match extras.iter_mut().find(|e| e.name == name) {
        Some(e) => e.value = value,
        None => extras.push(Extra { name: name.into(), value }),
    }
}

impl Part {
    /// A part with nothing else to it.
    pub fn new(kind: PartKind) -> Self {
        Self { kind, cache_control: None, extras: Vec::new() }
    }

    /// A piece of text.
    pub fn text(text: impl Into<String>) -> Self {
        Self::new(PartKind::Text(text.into()))
    }
}

impl ResultPart {
    /// A piece of a tool's result with nothing else to it.
    pub fn new(kind: ResultPartKind) -> Self {
        Self { kind, cache_control: None, extras: Vec::new() }
    }
}

impl Message {
    /// A message that is one text.
    pub fn text(role: Role, text: impl Into<String>) -> Self {
        Self { role, parts: vec![Part::text(text)], shape: ContentShape::Text, name: None, extras: Vec::new() }
    }
}

impl Default for Params {
    /// Nothing said: the provider's defaults.
    fn default() -> Self {
        Self {
            temperature: None,
            top_p: None,
            top_k: None,
            max_tokens: None,
            stop: Vec::new(),
            presence_penalty: None,
            frequency_penalty: None,
            seed: None,
            n: None,
            reasoning_effort: None,
            thinking: None,
            response_format: None,
            parallel_tool_calls: None,
            user: None,
        }
    }
}

impl ChatAnswer {
    /// All text of the first choice.
    pub fn text(&self) -> String {
        let parts = self.choices.first().map_or(&[][..], |c| &c.parts);
        let text = |part: &'_ Part| if let PartKind::Text(text) = &part.kind { Some(text.clone()) } else { None };
        parts.iter().filter_map(text).collect()
    }
}

impl ChatError {
    /// An error of a class with a message for the caller, and nothing else said.
    pub fn new(class: ErrorClass, message: impl Into<String>) -> Self {
        Self { class, status: None, message: message.into(), code: None, param: None, retry_after_ms: None, raw: None }
    }

    /// The same error for a client of another format than the provider's. Status, code and paths of fields that a provider's document
    /// told are its format's; the client's format has its own words for the class.
    pub fn crossed(self) -> Self {
        let own = self.raw.is_none();
        let plain = |param: &String| own || param.bytes().all(|b| b.is_ascii_lowercase() || b == b'_');
        Self { status: None, code: self.code.filter(|_| own), param: self.param.filter(plain), ..self }
    }

    /// The HTTP status that stands for a class when nothing more exact is known.
    ///
    /// 499 is nginx's "client closed request": nobody is left to read it, but logs need a number.
    pub fn default_status(class: ErrorClass) -> u16 {
        match class {
            ErrorClass::InvalidRequest | ErrorClass::ContextTooLong | ErrorClass::ContentFiltered => 400,
            ErrorClass::Authentication => 401,
            ErrorClass::Permission => 403,
            ErrorClass::ModelNotFound | ErrorClass::NotFound => 404,
            ErrorClass::TooLarge => 413,
            ErrorClass::RateLimited | ErrorClass::QuotaExceeded => 429,
            ErrorClass::Overloaded => 503,
            ErrorClass::Timeout => 504,
            ErrorClass::Connect | ErrorClass::Protocol | ErrorClass::Interrupted | ErrorClass::Upstream => 502,
            ErrorClass::Cancelled => 499,
            ErrorClass::Internal => 500,
        }
    }

    /// The HTTP status to answer with: the error's own when it is one of an error, else the class's.
    pub fn http_status(&self) -> u16 {
        self.status.filter(|s| (400..600).contains(s)).unwrap_or_else(|| Self::default_status(self.class))
    }
}

impl ErrorClass {
    /// Every class, in the contract's order.
    pub const ALL: [Self; 18] = [
        Self::InvalidRequest,
        Self::ContextTooLong,
        Self::ContentFiltered,
        Self::Authentication,
        Self::Permission,
        Self::ModelNotFound,
        Self::NotFound,
        Self::TooLarge,
        Self::RateLimited,
        Self::QuotaExceeded,
        Self::Overloaded,
        Self::Timeout,
        Self::Connect,
        Self::Protocol,
        Self::Interrupted,
        Self::Cancelled,
        Self::Internal,
        Self::Upstream,
    ];
}

impl Usage {
    /// The tokens of two requests together. No provider's own object speaks of both.
    #[must_use]
    pub fn plus(self, other: Self) -> Self {
        let both = |a: Option<u64>, b: Option<u64>| a.or(b).map(|_| a.unwrap_or(0).saturating_add(b.unwrap_or(0)));
        Self {
            input_tokens: self.input_tokens.saturating_add(other.input_tokens),
            cache_read_tokens: both(self.cache_read_tokens, other.cache_read_tokens),
            cache_write_tokens: both(self.cache_write_tokens, other.cache_write_tokens),
            output_tokens: self.output_tokens.saturating_add(other.output_tokens),
            reasoning_tokens: both(self.reasoning_tokens, other.reasoning_tokens),
            raw: None,
        }
    }
}

impl FinishReason {
    /// Its word: that of chat completions where they have one, which OpenTelemetry's conventions use too.
    pub fn word(&self) -> &str {
        match self {
            Self::Stop | Self::StopSequence(_) => "stop",
            Self::Length => "length",
            Self::ToolCalls => "tool_calls",
            Self::ContentFilter => "content_filter",
            Self::Refusal => "refusal",
            Self::Pause => "pause",
            Self::Other(other) => other,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_of_two_requests_are_added_up() {
        let usage = |input, cached, reasoning| Usage {
            input_tokens: input,
            cache_read_tokens: cached,
            cache_write_tokens: None,
            output_tokens: 5,
            reasoning_tokens: reasoning,
            raw: Some("{}".into()),
        };
        let both = usage(10, Some(4), None).plus(usage(u64::MAX, None, Some(2)));
        let expect = Usage { output_tokens: 10, raw: None, ..usage(u64::MAX, Some(4), Some(2)) };
        assert_eq!(both, expect, "what one of them does not say counts as nothing, and no sum overflows");
    }
}
