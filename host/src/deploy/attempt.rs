//! One attempt to change what serves: what it was about, its steps, and how it ended. The last ones are the history.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use tokio::sync::mpsc::UnboundedSender;

use crate::extensions::{Extension, Manifest};
use crate::pipeline::unix_ms;

/// Attempts that are remembered.
const REMEMBERED: usize = 200;

/// Attempts of which it is remembered what their replays found to differ.
const COMPARED: usize = 20;

/// What began an attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Trigger {
    /// The gateway started.
    Start,
    /// A component was uploaded.
    Upload,
    /// A watched file changed.
    Watch,
    /// Somebody asked for the configuration to be read again.
    Reload,
    /// Settings of a provider were changed.
    Provider,
    /// A version that was tried out shall take over.
    Promote,
    /// Somebody wants the version before.
    Rollback,
    /// The gateway takes a version back.
    Automatic,
}

/// How an attempt ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Outcome {
    /// It goes on.
    Running,
    /// A generation was published for everybody.
    Published,
    /// A version serves some callers.
    Canary,
    /// A version looks on.
    Shadow,
    /// Nothing was changed, for a reason.
    Refused,
    /// A version was taken back.
    RolledBack,
    /// There was nothing to change.
    Unchanged,
}

/// How a new version comes to serve.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum RolloutName {
    /// For everybody, at once.
    Active,
    /// For some callers.
    Canary,
    /// For nobody: it gets the calls of the running version too, and what it decides is compared.
    Shadow,
}

/// How a step ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Verdict {
    /// The next one may begin.
    Passed,
    /// The attempt ends.
    Refused,
    /// It was not wanted.
    Skipped,
}

/// One step of an attempt.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Step {
    /// Its name.
    pub step: String,
    /// How it ended.
    pub outcome: Verdict,
    /// How long it took, in milliseconds.
    pub ms: f64,
    /// What was found.
    pub detail: String,
}

/// An attempt.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Attempt {
    /// Its number.
    pub id: u64,
    /// What began it.
    pub trigger: Trigger,
    /// The extension that it is about; none when it is about the configuration.
    pub extension: Option<String>,
    /// The provider whose settings it is about.
    #[serde(default)]
    pub provider: Option<String>,
    /// The version that served.
    pub from: Option<String>,
    /// The version that shall serve.
    pub to: Option<String>,
    /// The digest of the component that shall serve.
    pub digest: Option<String>,
    /// How it comes to serve.
    pub rollout: RolloutName,
    /// How it ended.
    pub outcome: Outcome,
    /// Why it was refused or taken back.
    pub reason: Option<String>,
    /// The generation that was published.
    pub generation: Option<u64>,
    /// Unix time of its begin, in milliseconds.
    pub started_ms: u64,
    /// How long it took, in milliseconds.
    pub duration_ms: f64,
    /// Its steps.
    pub steps: Vec<Step>,
    /// What the replay of recorded calls gave.
    pub replay: Option<Value>,
}

impl Attempt {
    /// Only how much a replay found to differ, and not what: that may be of conversations, which stay in memory, and not for long.
    pub fn without_differences(&self) -> Self {
        let mut attempt = self.clone();
        if let Some(replay) = attempt.replay.as_mut().and_then(Value::as_object_mut) {
            replay.remove("differences");
        }
        attempt
    }
}

/// The last attempts, the ones that go on among them.
#[derive(Debug)]
pub struct History {
    attempts: Mutex<VecDeque<Arc<Attempt>>>,
    next: AtomicU64,
}

/// An attempt that goes on.
pub struct Progress<'a> {
    history: &'a History,
    /// What is known of it so far.
    pub attempt: Attempt,
    began: Instant,
    tell: Option<UnboundedSender<Step>>,
    /// Put before the detail of steps, when an attempt is about several extensions.
    pub about: Option<String>,
}

/// Why an attempt ended at a step.
#[derive(Debug)]
pub struct Refusal(pub String);

impl History {
    /// What is remembered of the process before.
    pub fn new(attempts: Vec<Arc<Attempt>>) -> Self {
        let next = attempts.iter().map(|a| a.id + 1).max().unwrap_or(1);
        Self { attempts: Mutex::new(attempts.into()), next: AtomicU64::new(next) }
    }

    /// An attempt begins, though it may still have to wait for its turn.
    pub fn begin(&self, trigger: Trigger, extension: Option<&str>, tell: Option<UnboundedSender<Step>>) -> Progress<'_> {
        let attempt = Attempt {
            id: self.next.fetch_add(1, Ordering::Relaxed),
            trigger,
            extension: extension.map(str::to_owned),
            provider: None,
            from: None,
            to: None,
            digest: None,
            rollout: RolloutName::Active,
            outcome: Outcome::Running,
            reason: None,
            generation: None,
            started_ms: unix_ms(),
            duration_ms: 0.0,
            steps: Vec::new(),
            replay: None,
        };
        self.put(attempt.clone());
        Progress { history: self, attempt, began: Instant::now(), tell, about: None }
    }

    /// The attempts, newest first.
    pub fn newest_first(&self) -> Vec<Arc<Attempt>> {
        self.attempts().iter().rev().cloned().collect()
    }

    /// The last attempts that have ended, oldest first.
    pub fn ended(&self, most: usize) -> Vec<Arc<Attempt>> {
        let attempts = self.attempts();
        let mut ended: Vec<_> = attempts.iter().filter(|a| a.outcome != Outcome::Running).cloned().collect();
        ended.split_off(ended.len().saturating_sub(most))
    }

    fn put(&self, attempt: Attempt) {
        let mut attempts = self.attempts();
        match attempts.iter_mut().find(|a| a.id == attempt.id) {
            Some(known) => *known = Arc::new(attempt),
            None => {
                if attempts.len() == REMEMBERED {
                    attempts.pop_front();
                }
                attempts.push_back(Arc::new(attempt));
                if let Some(older) = attempts.iter_mut().rev().nth(COMPARED).filter(|a| a.outcome != Outcome::Running) {
                    *older = Arc::new(older.without_differences());
                }
            }
        }
    }

    fn forget(&self, id: u64) {
        self.attempts().retain(|a| a.id != id);
    }

    fn attempts(&self) -> std::sync::MutexGuard<'_, VecDeque<Arc<Attempt>>> {
        self.attempts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// In milliseconds, exact to a microsecond.
fn ms_since(began: Instant) -> f64 {
    (began.elapsed().as_secs_f64() * 1e6).round() / 1e3
}

impl Progress<'_> {
    /// It is about taking over from this version.
    pub fn is_from(&mut self, version: &Extension) {
        self.attempt.from = Some(version.manifest.version.clone());
    }

    /// It is about a version with this manifest and digest.
    pub fn is_to(&mut self, manifest: &Manifest, digest: &str) {
        self.attempt.to = Some(manifest.version.clone());
        self.attempt.digest = Some(digest.to_owned());
    }

    /// Runs a step. It gives what it found, for people.
    pub async fn step<T>(&mut self, name: &str, work: impl Future<Output = Result<(T, String), String>>) -> Result<T, Refusal> {
        let began = Instant::now();
        let (result, outcome, detail) = match work.await {
            Ok((value, detail)) => (Ok(value), Verdict::Passed, detail),
            Err(reason) => (Err(Refusal(reason.clone())), Verdict::Refused, reason),
        };
        self.note(name, outcome, began, detail);
        result
    }

    /// A step that is not wanted.
    pub fn skip(&mut self, name: &str, why: &str) {
        self.note(name, Verdict::Skipped, Instant::now(), why.into());
    }

    fn note(&mut self, name: &str, outcome: Verdict, began: Instant, detail: String) {
        let ms = ms_since(began);
        let detail = match &self.about {
            Some(about) if !detail.is_empty() => format!("{about}: {detail}"),
            Some(about) => about.clone(),
            None => detail,
        };
        let step = Step { step: name.to_owned(), outcome, ms, detail };
        if let Some(tell) = &self.tell {
            // Whoever wanted to know may be gone; the attempt goes on.
            let _ = tell.send(step.clone());
        }
        self.attempt.steps.push(step);
        self.history.put(self.attempt.clone());
    }

    /// It is over.
    pub fn end(mut self, outcome: Outcome, reason: Option<String>) -> Attempt {
        self.attempt.outcome = outcome;
        self.attempt.reason = reason;
        self.attempt.duration_ms = ms_since(self.began);
        let a = &self.attempt;
        let (extension, provider) = (a.extension.as_deref(), a.provider.as_deref());
        let (to, reason) = (a.to.as_deref(), a.reason.as_deref());
        match outcome {
            Outcome::Refused | Outcome::RolledBack => {
                tracing::warn!(attempt = a.id, trigger = ?a.trigger, ?outcome, extension, provider, version = to, reason, generation = a.generation, "deployment");
            }
            _ => {
                tracing::info!(attempt = a.id, trigger = ?a.trigger, ?outcome, extension, provider, version = to, generation = a.generation, ms = a.duration_ms, "deployment");
            }
        }
        self.history.put(self.attempt.clone());
        self.attempt
    }

    /// It was nothing worth remembering.
    pub fn forget(mut self) -> Attempt {
        self.attempt.outcome = Outcome::Unchanged;
        self.history.forget(self.attempt.id);
        self.attempt
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn an_attempt_is_seen_while_it_goes_on_and_remembered_after() {
        let history = History::new(Vec::new());
        let mut progress = history.begin(Trigger::Upload, Some("a"), None);
        progress.step("size", async { Ok(((), "1 KiB".into())) }).await.unwrap();
        assert_eq!(history.newest_first()[0].outcome, Outcome::Running);
        let refused = progress.step("format", async { Err::<((), String), _>("no".into()) }).await;
        let attempt = progress.end(Outcome::Refused, refused.err().map(|r| r.0));
        assert_eq!(
            attempt.steps.iter().map(|s| (s.step.as_str(), s.outcome)).collect::<Vec<_>>(),
            [("size", Verdict::Passed), ("format", Verdict::Refused)]
        );
        assert_eq!(history.newest_first()[0].reason.as_deref(), Some("no"));

        let next = History::new(history.ended(9));
        assert_eq!(next.begin(Trigger::Watch, None, None).attempt.id, 2);
    }
}
