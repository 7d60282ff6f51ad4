//! Who rests after failures, and is asked last. It is passive: what requests met is all that is known.
//!
//! A breaker of a provider (`providers/breaker.rs`) is another thing: it refuses requests, whoever sends them, and so it is off unless somebody wants
//! that, needs more to open, and knows nothing of answers that turn out to be none behind a virtual provider. Here nobody is refused, so three failures
//! are enough, it is always on, and what it knows is lost without harm. Like a breaker it goes by model, because callers choose models: one who asks for
//! a model that fails must not move the others' requests.

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

/// Models of one provider that are remembered. Callers may invent names.
const MAX_MODELS: usize = 64;

/// The providers that failed of late, and with which models.
#[derive(Debug, Default)]
pub struct Cooldowns(Mutex<HashMap<String, HashMap<String, State>>>);

#[derive(Debug)]
struct State {
    failures: u32,
    until: Option<Instant>,
    touched: Instant,
}

impl Cooldowns {
    /// Whether a provider does not rest, for a model.
    pub fn is_available(&self, provider: &str, model: &str) -> bool {
        let until = self.all().get(provider).and_then(|models| models.get(model)).and_then(|s| s.until);
        until.is_none_or(|until| until <= Instant::now())
    }

    /// It answered.
    pub fn answered(&self, provider: &str, model: &str) {
        if let Some(models) = self.all().get_mut(provider) {
            models.remove(model);
        }
    }

    /// It failed. What is no fault of its own does not count.
    pub fn failed(&self, provider: &str, model: &str, error: &ChatError) {
        if !may_pass(error.class) {
            return;
        }
        let now = Instant::now();
        let mut all = self.all();
        let models = all.entry(provider.to_owned()).or_default();
        if models.len() >= MAX_MODELS && !models.contains_key(model) {
            let oldest = models.iter().min_by_key(|(_, s)| s.touched).map(|(m, _)| m.clone());
            oldest.and_then(|oldest| models.remove(&oldest));
        }
        let state = models.entry(model.to_owned()).or_insert(State { failures: 0, until: None, touched: now });
        state.touched = now;
        state.failures = state.failures.saturating_add(1);
        let told = error.retry_after_ms.map(Duration::from_millis);
        if state.failures >= FAILURES || told.is_some() {
            state.until = Some(now + told.unwrap_or(REST).min(MAX_REST));
        }
    }

    fn all(&self) -> MutexGuard<'_, HashMap<String, HashMap<String, State>>> {
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
        let failed = |class, retry_after_ms| all.failed("a", "m", &error(class, retry_after_ms));
        let is_available = || all.is_available("a", "m");
        for _ in 0..2 {
            failed(ErrorClass::Upstream, None);
            assert!(is_available());
        }
        failed(ErrorClass::InvalidRequest, None);
        assert!(is_available(), "a wrong request is no fault of the provider's");
        failed(ErrorClass::Timeout, None);
        assert!(!is_available() && all.is_available("b", "m"));
        tokio::time::advance(REST).await;
        assert!(is_available());
        // The next failure is one too many again, until an answer came.
        failed(ErrorClass::Upstream, None);
        assert!(!is_available());
        all.answered("a", "m");
        assert!(is_available());
        failed(ErrorClass::RateLimited, Some(60_000));
        tokio::time::advance(Duration::from_secs(59)).await;
        assert!(!is_available());
        tokio::time::advance(Duration::from_secs(1)).await;
        assert!(is_available());
        failed(ErrorClass::RateLimited, Some(86_400_000));
        tokio::time::advance(MAX_REST).await;
        assert!(is_available());
    }

    #[test]
    fn a_model_that_fails_leaves_the_others_alone_and_names_are_bounded() {
        let all = Cooldowns::default();
        for n in 0..10 * MAX_MODELS {
            for _ in 0..FAILURES {
                all.failed("a", &format!("made-up-{n}"), &error(ErrorClass::Upstream, None));
            }
        }
        assert!(all.is_available("a", "m"));
        assert!(!all.is_available("a", &format!("made-up-{}", 10 * MAX_MODELS - 1)));
        assert_eq!(all.all()["a"].len(), MAX_MODELS);
    }
}
