//! Why a member did not answer, and how the failures of several become one error.

use llm_codec::hub::{ChatError, ErrorClass};

/// A member did not answer.
#[derive(Debug, Clone)]
pub struct Failure {
    /// Why, as the caller may be told it.
    pub error: ChatError,
    /// What that means for the others.
    pub scope: Scope,
}

/// What a failure means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scope {
    /// It was not asked, because it cannot take the request. Others may.
    Skipped,
    /// It was asked and failed.
    Member,
    /// The request ends here, whoever else there is; `rejected` when an extension refused it.
    Request {
        /// An extension refused it.
        rejected: bool,
    },
}

/// Longest reason of one member in an error of all, in characters.
const MAX_REASON: usize = 160;

impl Failure {
    /// A member cannot take the request.
    pub fn skipped(error: ChatError) -> Self {
        Self { error, scope: Scope::Skipped }
    }

    /// A member failed.
    pub fn member(error: ChatError) -> Self {
        Self { error, scope: Scope::Member }
    }

    /// The request ends here.
    pub fn ends(&self) -> bool {
        matches!(self.scope, Scope::Request { .. })
    }
}

/// Whether the same request may succeed a little later.
pub fn may_pass(class: ErrorClass) -> bool {
    match class {
        ErrorClass::RateLimited
        | ErrorClass::Overloaded
        | ErrorClass::Timeout
        | ErrorClass::Connect
        | ErrorClass::Protocol
        | ErrorClass::Interrupted
        | ErrorClass::Upstream => true,
        ErrorClass::InvalidRequest
        | ErrorClass::ContextTooLong
        | ErrorClass::ContentFiltered
        | ErrorClass::Authentication
        | ErrorClass::Permission
        | ErrorClass::ModelNotFound
        | ErrorClass::NotFound
        | ErrorClass::TooLarge
        | ErrorClass::QuotaExceeded
        | ErrorClass::Cancelled
        | ErrorClass::Internal => false,
    }
}

/// The one error of members that all failed, each with its name.
///
/// Its class and status are those of the last failure that may pass, because then it is worth asking again, which clients decide by the
/// status; where none may pass, those of the last member that was asked. `Retry-After` is the smallest that any of them told. A single failure
/// stays as it is.
pub fn of_all(provider: &str, mut failures: Vec<(String, Failure)>) -> Failure {
    if failures.len() == 1 {
        return failures.remove(0).1;
    }
    let asked = |f: &&(String, Failure)| f.1.scope != Scope::Skipped;
    let telling = failures.iter().rev().filter(asked).find(|(_, f)| may_pass(f.error.class));
    let Some((_, telling)) = telling.or_else(|| failures.iter().rev().find(asked)).or(failures.last()) else {
        let message = format!("The provider `{provider}` has nobody left to ask.");
        return Failure::skipped(ChatError::new(ErrorClass::Overloaded, message));
    };
    let reasons: Vec<String> =
        failures.iter().map(|(name, f)| format!("`{name}` ({}): {}", f.error.class.name(), short(&f.error.message))).collect();
    let message = format!("None of the providers behind `{provider}` answered. {}", reasons.join(" "));
    let error = ChatError {
        // A document of one of them would tell of that one only.
        raw: None,
        retry_after_ms: failures.iter().filter_map(|(_, f)| f.error.retry_after_ms).min(),
        message,
        ..telling.error.clone()
    };
    Failure { error, scope: telling.scope }
}

/// A reason in one short sentence.
fn short(message: &str) -> String {
    let message = message.trim();
    if message.chars().count() <= MAX_REASON {
        return message.trim_end_matches('.').to_owned() + ".";
    }
    message.chars().take(MAX_REASON).collect::<String>() + "…"
}

#[cfg(test)]
mod tests {
    use super::*;

    fn failed(class: ErrorClass, retry_after_ms: Option<u64>) -> Failure {
        Failure::member(ChatError { retry_after_ms, ..ChatError::new(class, format!("it was {}", class.name())) })
    }

    fn check(failures: Vec<(&str, Failure)>, class: ErrorClass, retry_after_ms: Option<u64>) -> String {
        let all = of_all("v", failures.into_iter().map(|(n, f)| (n.to_owned(), f)).collect());
        assert_eq!((all.error.class, all.error.retry_after_ms), (class, retry_after_ms), "{}", all.error.message);
        all.error.message
    }

    #[test]
    fn one_error_tells_of_all() {
        use ErrorClass::*;
        let message = check(
            vec![("a", failed(RateLimited, Some(9_000))), ("b", failed(Overloaded, Some(2_000))), ("c", failed(ContextTooLong, None))],
            Overloaded,
            Some(2_000),
        );
        assert_eq!(
            message,
            "None of the providers behind `v` answered. `a` (rate-limited): it was rate-limited. `b` (overloaded): it was overloaded. `c` \
             (context-too-long): it was context-too-long."
        );
        check(vec![("a", failed(ContextTooLong, None)), ("b", failed(ContentFiltered, None))], ContentFiltered, None);
        let skipped = Failure::skipped(ChatError::new(ModelNotFound, "no"));
        check(vec![("a", failed(ContextTooLong, None)), ("b", skipped.clone())], ContextTooLong, None);
        check(vec![("a", skipped.clone()), ("b", skipped)], ModelNotFound, None);
        assert_eq!(check(vec![("a", failed(Timeout, None))], Timeout, None), "it was timeout");
        check(Vec::new(), Overloaded, None);
    }

    #[test]
    fn reasons_are_bounded() {
        let long = Failure::member(ChatError::new(ErrorClass::Upstream, "ü".repeat(10_000)));
        let message = check(vec![("a", long.clone()), ("b", long)], ErrorClass::Upstream, None);
        assert!(message.chars().count() < 500, "{message}");
    }
}
