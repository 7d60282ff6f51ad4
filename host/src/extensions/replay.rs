//! Replay: a recorded call is made again in another version of the extension, and what came of it is compared.
//!
//! It runs in an instance of its own, under the same limits. Its calls of the host are answered from the recording, its clocks stand
//! still, and nothing of what it does has an effect or is counted.
//!
//! Two things make a recorded call a bad measure: it may depend on a secret that is masked or on what a warm instance remembered, and its
//! cost is that of a warm instance with real answers. So a candidate is best compared with a replay in the version that was recorded
//! ([`compare_with`]): what that one does not repeat is left out.

use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tokio::runtime::Handle;
use tokio::task::JoinError;
use wasmtime::component::ResourceAny;

use super::clock::Spent;
use super::differences::{brief, cut, difference, message};
use super::hooks::CallError;
use super::imports::http::IncomingHandle;
use super::imports::request::{AnswerHandle, RequestHandle};
use super::instance::{Extension, Instance};
use super::recording::{Case, Ending, Given, Step};
use super::shown::{Shown, noun};
use super::state::StoreState;
use super::stats::Hook;
use super::tape::Playback;

/// Differences that a comparison shows.
const SHOWN: usize = 10;

/// What came of a replay.
#[derive(Debug)]
pub struct Replayed {
    /// How it differs from the recorded call, if it does.
    pub difference: Option<Difference>,
    /// What it cost.
    pub spent: Spent,
    /// What it asked of the host, when it was given a masked secret.
    pub asked: Vec<String>,
}

/// How a replay differs from the recorded call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Difference {
    /// Where.
    pub hook: Hook,
    /// For people.
    pub what: String,
    /// The call trapped or reached a limit, and the recorded one did not.
    pub fatal: bool,
}

/// What came of many replays.
#[derive(Debug, Default)]
pub struct Comparison {
    calls: u64,
    different: u64,
    failed: u64,
    skipped: u64,
    before: Duration,
    after: Duration,
    differences: Vec<Difference>,
}

// === impl Extension ===

impl Extension {
    /// Makes a recorded call again.
    pub async fn replay(self: &Arc<Self>, case: &Case) -> Replayed {
        let (mut spent, mut asked) = (Spent::default(), Vec::new());
        let difference = self.replay_difference(case, &mut spent, &mut asked).await;
        let difference = difference.map(|(what, fatal)| Difference { hook: case.hook, what: message(&what), fatal });
        Replayed { difference, spent, asked }
    }

    async fn replay_difference(self: &Arc<Self>, case: &Case, spent: &mut Spent, asked: &mut Vec<String>) -> Option<(String, bool)> {
        if !self.has(case.hook) {
            return Some(("is no longer exported".into(), false));
        }
        let mut instance = match self.fresh(StoreState::replaying(Arc::clone(&self.services), case.at)).await {
            Ok(instance) => instance,
            Err(e @ CallError::Refused(_)) => return Some((e.to_string(), true)),
            Err(e) => return Some(not_made(&e)),
        };
        instance.store.data_mut().replay(Playback::new(case));
        let mut stream = None;
        for (n, before) in case.endings.iter().enumerate() {
            let bounds = instance.begin(self.limits(), case.bytes_of(n), None);
            let began = bounds.began;
            let result = bounds.run(step(&mut instance, case, n, &mut stream)).await;
            let state = instance.store.data();
            *spent = *spent + state.spent(began.elapsed());
            let playback = state.playback()?;
            if let Some(unanswered) = playback.unanswered() {
                return Some((unanswered.to_owned(), false));
            }
            let after = match result {
                Ok(Ok(gave)) => Ending::Gave(gave),
                Ok(Err(error)) => {
                    let error = self.failed(&instance.store, case.hook, error);
                    match Ending::of(&error) {
                        Some(ending) => ending,
                        None => return Some(not_made(&error)),
                    }
                }
                Err(_) => Ending::Limit("wall_ms"),
            };
            if let Some((what, fatal)) = compared(case.hook, n, before, &after) {
                let what = match playback.different() {
                    Some(asks) => format!("{what}; {asks}"),
                    None => what,
                };
                return Some((what, fatal));
            }
            if !matches!(after, Ending::Gave(_)) {
                // Both failed: how far each got before is no matter.
                return None;
            }
        }
        let state = instance.store.data();
        if state.sent_requests() {
            return Some(("sends a request into the network, which a replay refuses".into(), false));
        }
        let playback = state.playback()?;
        *asked = playback.asked().to_vec();
        playback.different().map(str::to_owned).or_else(|| playback.missing()).map(|what| (what, false))
    }
}

/// A replay that told nothing about the candidate, or only that it does not run.
fn not_made(error: &CallError) -> (String, bool) {
    match Ending::of(error) {
        Some(ending) => (format!("{} before the call", failure(&ending)), true),
        None => (format!("could not be replayed: {error}"), false),
    }
}

/// How two ends of a call differ, and whether that is a failure.
fn compared(hook: Hook, step: usize, before: &Ending, after: &Ending) -> Option<(String, bool)> {
    match (before, after) {
        (Ending::Gave(before), Ending::Gave(after)) => Some((difference(&noun(hook, step), before, after)?, false)),
        (Ending::Gave(_), failed) => Some((failure(failed), true)),
        (Ending::Trapped(_), Ending::Gave(after)) => Some((format!("no longer traps: {}", brief(&cut(after, 100))), false)),
        (Ending::Limit(limit), Ending::Gave(after)) => {
            Some((format!("no longer reaches the limit `{limit}`: {}", brief(&cut(after, 100))), false))
        }
        (_, Ending::Trapped(_) | Ending::Limit(_)) => None,
    }
}

fn failure(ending: &Ending) -> String {
    match ending {
        Ending::Trapped(reason) => format!("traps: {reason}"),
        Ending::Limit(limit) => format!("reaches the limit `{limit}`"),
        Ending::Gave(_) => "gives something".into(),
    }
}

impl Case {
    /// About how much step `n` has to read.
    fn bytes_of(&self, n: usize) -> usize {
        match n.checked_sub(1).and_then(|n| self.steps.get(n)) {
            None => self.bytes,
            Some(Step::Events { bytes, .. }) => *bytes,
            Some(Step::End(_)) => 0,
        }
    }
}

/// Makes the call, or step `n` of the stream. Its result as text.
async fn step(instance: &mut Instance, case: &Case, n: usize, stream: &mut Option<ResourceAny>) -> wasmtime::Result<String> {
    if let Some(step) = n.checked_sub(1).and_then(|n| case.steps.get(n)) {
        let handle = stream.ok_or_else(|| wasmtime::Error::msg("the stream is not open"))?;
        return Ok(match (&case.given, step) {
            (Given::Encoder { .. }, Step::Events { events, .. }) => text(&instance.encoder_events(handle, events).await?),
            (Given::Encoder { .. }, Step::End(error)) => text(&instance.encoder_finish(handle, error.as_ref()).await?),
            (_, Step::Events { events, last, .. }) => text(&instance.filter_events(handle, events, *last).await?),
            (_, Step::End(_)) => text(&()),
        });
    }
    Ok(match &case.given {
        Given::Accept => text(&instance.accept(IncomingHandle::Replayed).await?),
        Given::Decode { format, body } => text(&instance.decode(format, &body.0).await?),
        Given::EncodeAnswer { options, answer } => text(&instance.encode_answer(options, answer).await?),
        Given::EncodeError(error) => text(&instance.encode_error(error).await?),
        Given::AcceptOperation => text(&instance.accept_operation(IncomingHandle::Replayed).await?),
        Given::AnswerOperation { operation } => text(&instance.answer_operation(operation, IncomingHandle::Replayed).await?),
        Given::BeforeGenerate { call } => text(&instance.before_generate(RequestHandle::Replayed, call).await?),
        Given::AfterGenerate { call } => text(&instance.after_generate(RequestHandle::Replayed, AnswerHandle::Replayed, call).await?),
        Given::ProviderEvent { call, attempt, error } => {
            text(&instance.provider_event(RequestHandle::Replayed, call, attempt, error.as_ref()).await?)
        }
        Given::Judge { call, candidates } => text(&instance.judge(RequestHandle::Replayed, call, candidates).await?),
        Given::Attempts { call, tries } => text(&instance.on_attempts(RequestHandle::Replayed, call, tries).await?),
        Given::OnComplete { call, outcome } => text(&instance.on_complete(RequestHandle::Replayed, call, outcome).await?),
        Given::Encoder { options } => {
            *stream = Some(instance.open_encoder(options).await?);
            text(stream)
        }
        Given::StreamFilter { call } => {
            *stream = instance.open_filter(RequestHandle::Replayed, call).await?;
            text(stream)
        }
    })
}

fn text(result: &impl Shown) -> String {
    format!("{:?}", result.shown())
}

// === impl Comparison ===

impl Comparison {
    /// One more call was replayed, beside the version that was recorded. When that one differs, the call tells nothing.
    pub fn add_beside(&mut self, hook: Hook, recorded: &Replayed, replayed: &Replayed) {
        if recorded.difference.is_some() {
            self.skipped += 1;
            return;
        }
        self.calls += 1;
        let failed = replayed.difference.as_ref().is_some_and(|d| d.fatal);
        if !failed {
            // What was cut off cost less than it would have.
            self.before += recorded.spent.work();
            self.after += replayed.spent.work();
        }
        if let Some(difference) = replayed.difference.clone().or_else(|| asks_otherwise(hook, recorded, replayed)) {
            self.different += 1;
            self.failed += u64::from(failed);
            if self.differences.len() < SHOWN {
                self.differences.push(difference);
            }
        }
    }

    /// Calls that were replayed.
    pub fn cases(&self) -> u64 {
        self.calls
    }

    /// Those that came out differently, failures among them.
    pub fn different(&self) -> u64 {
        self.different
    }

    /// Those that trapped or reached a limit where the recorded call did not.
    pub fn failed(&self) -> u64 {
        self.failed
    }

    /// Those that were left out, because the version that was recorded does not repeat them either.
    pub fn skipped(&self) -> u64 {
        self.skipped
    }

    /// What the calls cost that did not fail, guest and host: in the version that was recorded, and in the other one.
    pub fn costs(&self) -> (Duration, Duration) {
        (self.before, self.after)
    }

    /// As JSON. Costs are those of all calls together that did not fail, guest and host, in microseconds.
    pub fn to_json(&self) -> Value {
        let us = |duration: Duration| (duration.as_nanos() as f64 / 1e3).round();
        let row = |d: &Difference| json!({"hook": d.hook.name(), "what": d.what});
        json!({
            "calls": self.calls,
            "same": self.calls - self.different,
            "different": self.different,
            "failed": self.failed,
            "cost_us": {"before": us(self.before), "after": us(self.after)},
            "differences": self.differences.iter().map(row).collect::<Vec<_>>(),
        })
    }
}

/// How a replay with a masked secret differs from the other one.
fn asks_otherwise(hook: Hook, recorded: &Replayed, replayed: &Replayed) -> Option<Difference> {
    let what = match recorded.asked.iter().zip(&replayed.asked).find(|(a, b)| a != b) {
        Some((before, after)) => format!("asks {after}, where {before} was asked"),
        None if replayed.asked.len() > recorded.asked.len() => {
            format!("asks {}, which was not asked", replayed.asked[recorded.asked.len()])
        }
        None => return None,
    };
    Some(Difference { hook, what: message(&what), fatal: false })
}

/// Makes recorded calls again in a candidate, one after the other, beside the version that was recorded: only calls that it repeats count, and costs
/// are those of two replays. The newest calls come first; what is not compared when the time is up is left out.
///
/// They run in a thread of their own. Among the requests of a busy gateway each of them would stand in line anew, and the swap with it, for some
/// hundred milliseconds; the operating system shares the machine out more evenly. When nobody waits for the comparison any more, it ends.
pub async fn compare_with(
    recorded: &Arc<Extension>,
    candidate: &Arc<Extension>,
    cases: Vec<Arc<Case>>,
    time: Duration,
) -> Result<Comparison, JoinError> {
    let (recorded, candidate, runtime) = (Arc::clone(recorded), Arc::clone(candidate), Handle::current());
    let waits = Arc::new(());
    let wanted = Arc::downgrade(&waits);
    let compared = tokio::task::spawn_blocking(move || {
        runtime.block_on(async {
            let mut comparison = Comparison::default();
            let began = Instant::now();
            for (n, case) in cases.iter().rev().enumerate() {
                if began.elapsed() > time || wanted.strong_count() == 0 {
                    comparison.skipped += (cases.len() - n) as u64;
                    break;
                }
                let before = recorded.replay(case).await;
                comparison.add_beside(case.hook, &before, &candidate.replay(case).await);
            }
            comparison
        })
    });
    let comparison = compared.await;
    drop(waits);
    comparison
}

#[cfg(test)]
mod tests;
