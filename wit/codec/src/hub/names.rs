//! The contract's own spelling of cases, for logs and reports.

use super::ErrorClass;

impl ErrorClass {
    /// The name as `wit/hub.wit` spells it.
    pub fn name(self) -> &'static str {
        match self {
            Self::InvalidRequest => "invalid-request",
            Self::ContextTooLong => "context-too-long",
            Self::ContentFiltered => "content-filtered",
            Self::Authentication => "authentication",
            Self::Permission => "permission",
            Self::ModelNotFound => "model-not-found",
            Self::NotFound => "not-found",
            Self::TooLarge => "too-large",
            Self::RateLimited => "rate-limited",
            Self::QuotaExceeded => "quota-exceeded",
            Self::Overloaded => "overloaded",
            Self::Timeout => "timeout",
            Self::Connect => "connect",
            Self::Protocol => "protocol",
            Self::Interrupted => "interrupted",
            Self::Cancelled => "cancelled",
            Self::Internal => "internal",
            Self::Upstream => "upstream",
        }
    }
}
