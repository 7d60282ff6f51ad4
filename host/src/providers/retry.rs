//! When a request that failed is sent again, and how many may be. Pure: time and chance come in as arguments.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use llm_codec::hub::{ChatError, ErrorClass};

use crate::config::RetryConfig;

/// Retries that are allowed at once, however few requests there were. It is what a provider that hiccups needs.
const AT_ONCE: f64 = 10.0;

/// Retries that a provider may still get.
pub struct Budget {
    share: f64,
    left: Mutex<f64>,
}

impl Budget {
    /// With what is allowed at once.
    pub fn new(share: f64) -> Self {
        Self { share, left: Mutex::new(if share > 0.0 { AT_ONCE } else { 0.0 }) }
    }

    /// A request came.
    pub fn earn(&self) {
        let mut left = self.left.lock().unwrap_or_else(PoisonError::into_inner);
        *left = (*left + self.share).min(AT_ONCE.max(self.share));
    }

    /// Takes one retry, if there is one.
    pub fn spend(&self) -> bool {
        let mut left = self.left.lock().unwrap_or_else(PoisonError::into_inner);
        let enough = *left >= 1.0;
        if enough {
            *left -= 1.0;
        }
        enough
    }
}

/// Whether an error may go away by itself, and sending the request twice does no harm. `changes` tells that the request may leave something
/// behind at the provider: then only what was certainly not done is done again.
pub fn is_worth_it(error: &ChatError, changes: bool) -> bool {
    match error.class {
        ErrorClass::RateLimited | ErrorClass::Overloaded | ErrorClass::Connect => true,
        // A key that is refused now is refused again.
        ErrorClass::Upstream => !changes && error.code.as_deref() != Some(super::transport::REFUSED_KEY),
        ErrorClass::Timeout | ErrorClass::Interrupted => !changes,
        ErrorClass::InvalidRequest
        | ErrorClass::ContextTooLong
        | ErrorClass::ContentFiltered
        | ErrorClass::Authentication
        | ErrorClass::Permission
        | ErrorClass::ModelNotFound
        | ErrorClass::NotFound
        | ErrorClass::TooLarge
        | ErrorClass::QuotaExceeded
        | ErrorClass::Protocol
        | ErrorClass::Cancelled
        | ErrorClass::Internal => false,
    }
}

/// How long the retry after `before` retries waits; none when the provider asks for more than anybody here waits. `chance` is from 0 to 1.
pub fn wait(config: &RetryConfig, before: u32, asked_ms: Option<u64>, chance: f64) -> Option<Duration> {
    let asked = Duration::from_millis(asked_ms.unwrap_or(0));
    if asked > config.max_backoff {
        return None;
    }
    let grown = config.backoff.saturating_mul(1u32.checked_shl(before).unwrap_or(u32::MAX)).min(config.max_backoff);
    Some(grown.mul_f64(0.5 + chance / 2.0).max(asked))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_grow_and_are_spread() {
        let config = RetryConfig { backoff: Duration::from_millis(100), max_backoff: Duration::from_secs(1), budget: 0.2 };
        let check = |before, asked, chance, expect: Option<u64>| {
            assert_eq!(wait(&config, before, asked, chance), expect.map(Duration::from_millis), "{before} {asked:?} {chance}");
        };
        check(0, None, 0.0, Some(50));
        check(0, None, 1.0, Some(100));
        check(1, None, 1.0, Some(200));
        check(3, None, 0.5, Some(600));
        check(4, None, 1.0, Some(1000));
        check(70, None, 1.0, Some(1000));
        check(0, Some(700), 1.0, Some(700));
        check(0, Some(1000), 0.0, Some(1000));
        check(0, Some(1001), 0.0, None);
    }

    #[test]
    fn an_outage_is_not_multiplied() {
        let budget = Budget::new(0.2);
        let retries = (0..1000).filter(|_| {
            budget.earn();
            budget.spend()
        });
        assert_eq!(retries.count(), 209, "a fifth, and what is allowed at once");
        let none = Budget::new(0.0);
        none.earn();
        assert!(!none.spend());
    }

    #[test]
    fn what_may_have_been_done_is_not_done_again() {
        let worth = |class, changes| is_worth_it(&ChatError::new(class, ""), changes);
        assert!(worth(ErrorClass::Timeout, false) && !worth(ErrorClass::Timeout, true));
        assert!(worth(ErrorClass::Overloaded, true) && !worth(ErrorClass::InvalidRequest, false));
        let key = ChatError { code: Some(super::super::transport::REFUSED_KEY.into()), ..ChatError::new(ErrorClass::Upstream, "") };
        assert!(!is_worth_it(&key, false));
    }
}
