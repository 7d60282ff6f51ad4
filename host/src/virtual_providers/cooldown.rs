//! Who rests after failures. It is passive: what requests met is all that is known.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use llm_codec::hub::ChatError;
use tokio::time::Instant;

use super::failure::may_pass;

/// Failures in a row after which a provider rests. One alone tells little.
const FAILURES: u32 = 3;

/// How long it rests when it does not say itself.
const REST: Duration = Duration::from_secs(10);

/// Longest rest, whatever a provider says: its keys may be others by then.
const MAX_REST: Duration = Duration::from_secs(300);

/// The providers that failed of late.
#[derive(Debug, Default)]
pub struct Cooldowns(Mutex<HashMap<String, State>>);

#[derive(Debug, Default)]
struct State {
    failures: u32,
    until: Option<Instant>,
}

impl Cooldowns {
    /// Whether a provider does not rest.
    pub fn is_available(&self, provider: &str) -> bool {
        self.all().get(provider).and_then(|s| s.until).is_none_or(|until| until <= Instant::now())
    }

    /// It answered.
    pub fn answered(&self, provider: &str) {
        self.all().remove(provider);
    }

    /// It failed. What is no fault of its own does not count.
    pub fn failed(&self, provider: &str, error: &ChatError) {
        if !may_pass(error.class) {
            return;
        }
        let mut all = self.all();
        let state = all.entry(provider.to_owned()).or_default();
        state.failures += 1;
        let told = error.retry_after_ms.map(Duration::from_millis);
        if state.failures >= FAILURES || told.is_some() {
            state.until = Some(Instant::now() + told.unwrap_or(REST).min(MAX_REST));
        }
    }

    fn all(&self) -> MutexGuard<'_, HashMap<String, State>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use llm_codec::hub::ErrorClass;

    use super::*;

    fn error(class: ErrorClass, retry_after_ms: Option<u64>) -> ChatError {
        ChatError { retry_after_ms, ..ChatError::new(class, "x") }
    }

    #[tokio::test(start_paused = true)]
    async fn a_provider_rests_after_three_failures_in_a_row_or_when_it_says_so() {
        let all = Cooldowns::default();
        for _ in 0..2 {
            all.failed("a", &error(ErrorClass::Upstream, None));
            assert!(all.is_available("a"));
        }
        all.failed("a", &error(ErrorClass::InvalidRequest, None));
        assert!(all.is_available("a"), "a wrong request is no fault of the provider's");
        all.failed("a", &error(ErrorClass::Timeout, None));
        assert!(!all.is_available("a") && all.is_available("b"));
        tokio::time::advance(REST).await;
        assert!(all.is_available("a"));
        // The next failure is one too many again, until an answer came.
        all.failed("a", &error(ErrorClass::Upstream, None));
        assert!(!all.is_available("a"));
        all.answered("a");
        assert!(all.is_available("a"));
        all.failed("a", &error(ErrorClass::RateLimited, Some(60_000)));
        tokio::time::advance(Duration::from_secs(59)).await;
        assert!(!all.is_available("a"));
        tokio::time::advance(Duration::from_secs(1)).await;
        assert!(all.is_available("a"));
        all.failed("a", &error(ErrorClass::RateLimited, Some(86_400_000)));
        tokio::time::advance(MAX_REST).await;
        assert!(all.is_available("a"));
    }
}
