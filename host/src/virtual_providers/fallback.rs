//! `fallback`: the next member is asked when one fails, for as long as nothing of an answer has reached the caller.

use std::time::Duration;

use llm_codec::hub::ErrorClass;

use super::failure::{self, Failure, Scope, may_pass};

/// How a fallback goes on.
pub struct Policy<'a> {
    /// Name of the virtual provider.
    pub provider: &'a str,
    /// Names of the members, in the order in which they are asked.
    pub members: &'a [String],
    /// How often each is asked once more after a failure that may pass.
    pub max_retries: u32,
    /// Failures after which the next one is asked.
    pub on: &'a [ErrorClass],
}

/// Wait before the first retry; each further one waits twice as long.
const FIRST_WAIT: Duration = Duration::from_millis(100);

/// Longest wait before a retry. A member that says that it needs longer is passed over: the next one may answer now.
const MAX_WAIT: Duration = Duration::from_secs(2);

/// Asks members in their order until one answers: its place, and its answer. `jitter` gives numbers from 0 to 1.
pub async fn run<T, F>(policy: &Policy<'_>, ask: impl Fn(usize) -> F, jitter: impl Fn() -> f64) -> Result<(usize, T), Failure>
where
    F: Future<Output = Result<T, Failure>>,
{
    let mut failures = Vec::new();
    for (index, name) in policy.members.iter().enumerate() {
        let mut retries = 0;
        let failure = loop {
            let failure = match ask(index).await {
                Ok(answer) => return Ok((index, answer)),
                Err(failure) => failure,
            };
            if failure.ends() {
                return Err(failure);
            }
            match wait(&failure, retries, policy.max_retries, &jitter) {
                Some(wait) => tokio::time::sleep(wait).await,
                None => break failure,
            }
            retries += 1;
        };
        let goes_on = failure.scope == Scope::Skipped || policy.on.contains(&failure.error.class);
        failures.push((name.clone(), failure));
        if !goes_on {
            break;
        }
    }
    Err(failure::of_all(policy.provider, failures))
}

/// How long to wait before the same member is asked once more; none when it is not.
fn wait(failure: &Failure, retries: u32, most: u32, jitter: &impl Fn() -> f64) -> Option<Duration> {
    if retries >= most || failure.scope == Scope::Skipped || !may_pass(failure.error.class) {
        return None;
    }
    if let Some(told) = failure.error.retry_after_ms.map(Duration::from_millis) {
        return (told <= MAX_WAIT).then_some(told);
    }
    let longest = FIRST_WAIT.saturating_mul(2u32.saturating_pow(retries)).min(MAX_WAIT);
    // Half of it at least, so that those who failed together do not come back together.
    Some(longest.mul_f64(0.5 + jitter() / 2.0))
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use llm_codec::hub::ChatError;
    use tokio::time::Instant;

    use super::*;
    use crate::config::virtual_providers::DEFAULT_ON;

    /// Runs a fallback over members that fail as scripted, each time they are asked; no class left means that they answer. What comes of it,
    /// who was asked, and how long it took.
    async fn check(
        on: &[ErrorClass],
        max_retries: u32,
        script: &[&[ErrorClass]],
        expect: Result<usize, ErrorClass>,
        asked: &[usize],
    ) -> Duration {
        let members: Vec<String> = (0..script.len()).map(|n| format!("m{n}")).collect();
        let calls = Mutex::new(Vec::new());
        let ask = |index: usize| {
            let mut calls = calls.lock().unwrap();
            let before = calls.iter().filter(|c| **c == index).count();
            calls.push(index);
            let result = match script[index].get(before) {
                None => Ok(index),
                Some(class) => Err(Failure::member(ChatError::new(*class, "scripted"))),
            };
            async move { result }
        };
        let policy = Policy { provider: "v", members: &members, max_retries, on };
        let began = Instant::now();
        let result = run(&policy, ask, || 1.0).await;
        assert_eq!(result.map(|(place, _)| place).map_err(|f| f.error.class), expect);
        assert_eq!(*calls.lock().unwrap(), asked);
        began.elapsed()
    }

    #[tokio::test(start_paused = true)]
    async fn failures_that_another_may_not_have_move_on() {
        use ErrorClass::*;
        for class in DEFAULT_ON {
            check(&DEFAULT_ON, 0, &[&[class], &[]], Ok(1), &[0, 1]).await;
        }
        check(&DEFAULT_ON, 0, &[&[InvalidRequest], &[]], Err(InvalidRequest), &[0]).await;
        check(&[InvalidRequest], 0, &[&[InvalidRequest], &[]], Ok(1), &[0, 1]).await;
        check(&[Timeout], 0, &[&[Overloaded], &[]], Err(Overloaded), &[0]).await;
        check(&DEFAULT_ON, 0, &[&[Timeout], &[ContextTooLong], &[Permission]], Err(Timeout), &[0, 1, 2]).await;
    }

    #[tokio::test(start_paused = true)]
    async fn what_may_pass_is_tried_again_with_growing_waits() {
        use ErrorClass::*;
        let took = check(&DEFAULT_ON, 2, &[&[Overloaded, Timeout], &[]], Ok(0), &[0, 0, 0]).await;
        assert_eq!(took, Duration::from_millis(300));
        let took = check(&DEFAULT_ON, 1, &[&[Overloaded, Timeout], &[]], Ok(1), &[0, 0, 1]).await;
        assert_eq!(took, Duration::from_millis(100));
        check(&DEFAULT_ON, 3, &[&[ContextTooLong], &[]], Ok(1), &[0, 1]).await;
        let long = check(&DEFAULT_ON, 8, &[&[Overloaded; 8]], Ok(0), &[0; 9]).await;
        assert_eq!(long, Duration::from_millis(100 + 200 + 400 + 800 + 1_600 + 2_000 * 3));
    }

    #[tokio::test(start_paused = true)]
    async fn a_request_that_was_refused_ends() {
        let members = ["a".to_owned(), "b".to_owned()];
        let policy = Policy { provider: "v", members: &members, max_retries: 5, on: &DEFAULT_ON };
        let refused = |_| async {
            Err::<(), _>(Failure { error: ChatError::new(ErrorClass::Overloaded, "no"), scope: Scope::Request { rejected: true } })
        };
        let failure = run(&policy, refused, || 0.0).await.unwrap_err();
        assert_eq!((failure.scope, failure.error.message.as_str()), (Scope::Request { rejected: true }, "no"));
    }

    #[test]
    fn a_member_says_how_long_it_needs() {
        let failure = |ms| Failure::member(ChatError { retry_after_ms: Some(ms), ..ChatError::new(ErrorClass::RateLimited, "x") });
        assert_eq!(wait(&failure(1_500), 0, 1, &|| 0.0), Some(Duration::from_millis(1_500)));
        assert_eq!(wait(&failure(2_500), 0, 1, &|| 0.0), None);
        assert_eq!(wait(&failure(1_500), 1, 1, &|| 0.0), None);
    }
}
