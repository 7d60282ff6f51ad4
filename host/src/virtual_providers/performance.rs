//! What is known of the members of virtual providers: how often they won, lost and failed, and how long their answers took to begin.
//!
//! Every try counts, those of losers that were cancelled too. It outlives generations, and restarts where it is kept.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

/// Latencies that are kept of each member for its quantiles.
const WINDOW: usize = 128;

/// How much the newest latency counts in the moving average.
const NEWEST: f64 = 0.2;

/// Latencies without which nobody knows a member's p95.
const ENOUGH: usize = 8;

/// Members and models that are kept apart. Names of models are the callers' where a provider has no list, so there must be an end.
const MAX_KEPT: usize = 4096;

/// Name of the models that came after that.
const OTHERS: &str = "*";

/// Whose numbers they are.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Subject {
    /// The virtual provider.
    pub provider: String,
    /// Its member.
    pub member: String,
    /// The model that it was asked for.
    pub model: String,
}

/// What became of a try.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ran {
    /// It was chosen; its answer began after this time.
    Won(Duration),
    /// Another one was chosen; its answer had begun after this time.
    Late(Duration),
    /// Another one was chosen, and it was cancelled after this time, before its answer began.
    CutOff(Duration),
    /// It failed.
    Failed,
}

/// What is known of all members.
#[derive(Debug, Default)]
pub struct Performance(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    all: BTreeMap<Subject, Numbers>,
    changed: bool,
    /// Virtual providers whose kept numbers were asked for.
    seen: BTreeSet<String>,
}

/// What is known of one.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
struct Numbers {
    won: u64,
    lost: u64,
    failed: u64,
    /// Moving average of the time to the first event, in microseconds.
    average_us: Option<f64>,
    /// The last of these times, in microseconds, the oldest first.
    latencies_us: VecDeque<u64>,
}

/// One member in a file.
#[derive(Serialize, Deserialize)]
struct Row {
    #[serde(flatten)]
    subject: Subject,
    #[serde(flatten)]
    numbers: Numbers,
}

// === impl Performance ===

impl Performance {
    /// Takes note of a try.
    pub fn record(&self, subject: &Subject, result: Ran) {
        let mut state = self.state();
        state.changed = true;
        let full = state.all.len() >= MAX_KEPT && !state.all.contains_key(subject);
        let subject = if full { Subject { model: OTHERS.into(), ..subject.clone() } } else { subject.clone() };
        state.all.entry(subject).or_default().add(result);
    }

    /// About how long a member's answers take to begin.
    pub fn latency(&self, subject: &Subject) -> Option<Duration> {
        let average = self.state().all.get(subject)?.average_us?;
        Some(Duration::from_secs_f64(average / 1e6))
    }

    /// The time within which 95 of 100 answers have begun, when enough is known.
    pub fn p95(&self, subject: &Subject) -> Option<Duration> {
        let state = self.state();
        let numbers = state.all.get(subject).filter(|n| n.latencies_us.len() >= ENOUGH)?;
        numbers.quantile(0.95).map(Duration::from_micros)
    }

    /// How far a member may be trusted to win and not to fail, from 0 to 1. One of which nothing is known is in the middle.
    pub fn standing(&self, subject: &Subject) -> f64 {
        self.state().all.get(subject).map_or(0.5, |n| (n.won as f64 + 1.0) / ((n.won + n.lost + n.failed) as f64 + 2.0))
    }

    /// Whether nobody asked this before of a virtual provider.
    pub fn is_first_sight(&self, provider: &str) -> bool {
        self.state().seen.insert(provider.to_owned())
    }

    /// As operators see it: one object for each member and model.
    pub fn show(&self) -> Value {
        let state = self.state();
        let rows = state.all.iter().map(|(subject, n)| {
            let tries = n.won + n.lost + n.failed;
            let ms = |us: Option<f64>| us.map(|us| (us / 10.0).round() / 100.0);
            let quantile = |q| ms(n.quantile(q).map(|us| us as f64));
            json!({
                "provider": subject.provider,
                "member": subject.member,
                "model": subject.model,
                "tries": tries,
                "won": n.won,
                "lost": n.lost,
                "failed": n.failed,
                "win_rate": if tries == 0 { 0.0 } else { n.won as f64 / tries as f64 },
                "first_event_ms": {"average": ms(n.average_us), "p50": quantile(0.5), "p95": quantile(0.95)},
            })
        });
        Value::Array(rows.collect())
    }

    /// Everything, virtual provider by virtual provider, if something changed since the last time.
    pub fn save(&self) -> Option<Vec<(String, Vec<u8>)>> {
        let mut state = self.state();
        if !std::mem::take(&mut state.changed) {
            return None;
        }
        let mut files: BTreeMap<&str, Vec<Row>> = BTreeMap::new();
        for (subject, numbers) in &state.all {
            files.entry(&subject.provider).or_default().push(Row { subject: subject.clone(), numbers: numbers.clone() });
        }
        let written = files.into_iter().map(|(name, rows)| (name.to_owned(), serde_json::to_vec(&rows).unwrap_or_default()));
        Some(written.collect())
    }

    /// Takes what was saved of one virtual provider. What cannot be read is an error with its reason, and changes nothing.
    pub fn load(&self, provider: &str, saved: &[u8]) -> Result<(), String> {
        let rows: Vec<Row> = serde_json::from_slice(saved).map_err(|e| e.to_string())?;
        let mut state = self.state();
        for Row { subject, mut numbers } in rows.into_iter().take(MAX_KEPT).filter(|r| r.subject.provider == provider) {
            numbers.latencies_us.truncate(WINDOW);
            numbers.average_us = numbers.average_us.filter(|n| n.is_finite() && *n >= 0.0);
            // What this process saw meanwhile is newer.
            state.all.entry(subject).or_insert(numbers);
        }
        Ok(())
    }

    /// Takes what was saved in a file, if it is there.
    pub fn load_file(&self, provider: &str, file: &Path) -> Result<(), String> {
        match std::fs::read(file) {
            Ok(saved) => self.load(provider, &saved),
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(()),
            Err(e) => Err(e.to_string()),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

// === impl Numbers ===

impl Numbers {
    fn add(&mut self, result: Ran) {
        match result {
            Ran::Won(after) => {
                self.won += 1;
                self.took(after);
            }
            Ran::Late(after) => {
                self.lost += 1;
                self.took(after);
            }
            Ran::CutOff(after) => {
                self.lost += 1;
                // All that is known is that it takes longer than that.
                if self.average_us.is_none_or(|average| after.as_micros() as f64 > average) {
                    self.took(after);
                }
            }
            Ran::Failed => self.failed += 1,
        }
    }

    fn took(&mut self, latency: Duration) {
        let us = u64::try_from(latency.as_micros()).unwrap_or(u64::MAX);
        if self.latencies_us.len() >= WINDOW {
            self.latencies_us.pop_front();
        }
        self.latencies_us.push_back(us);
        let new = us as f64;
        self.average_us = Some(self.average_us.map_or(new, |average| average + NEWEST * (new - average)));
    }

    fn quantile(&self, q: f64) -> Option<u64> {
        let mut sorted: Vec<u64> = self.latencies_us.iter().copied().collect();
        sorted.sort_unstable();
        let rank = (q * sorted.len() as f64).ceil() as usize;
        sorted.get(rank.saturating_sub(1)).copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn subject(model: &str) -> Subject {
        Subject { provider: "v".into(), member: "a".into(), model: model.into() }
    }

    fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    #[test]
    fn every_try_counts() {
        let all = Performance::default();
        let a = subject("m");
        assert_eq!((all.latency(&a), all.p95(&a), all.standing(&a)), (None, None, 0.5));
        all.record(&a, Ran::Won(ms(100)));
        all.record(&a, Ran::Late(ms(200)));
        all.record(&a, Ran::CutOff(ms(50)));
        assert_eq!(all.latency(&a), Some(ms(120)), "cut off sooner than it would have answered tells nothing");
        all.record(&a, Ran::CutOff(ms(220)));
        assert_eq!(all.latency(&a), Some(ms(140)));
        all.record(&a, Ran::Failed);
        let shown = &all.show()[0];
        assert_eq!((&shown["tries"], &shown["won"], &shown["lost"], &shown["failed"]), (&json!(5), &json!(1), &json!(3), &json!(1)));
        assert_eq!((&shown["win_rate"], &shown["first_event_ms"]), (&json!(0.2), &json!({"average": 140.0, "p50": 200.0, "p95": 220.0})));
        assert!((all.standing(&a) - 2.0 / 7.0).abs() < 1e-9);
    }

    #[test]
    fn quantiles_follow_the_last_answers() {
        let all = Performance::default();
        let a = subject("m");
        for n in 1..ENOUGH as u64 {
            all.record(&a, Ran::Won(ms(n)));
        }
        assert_eq!(all.p95(&a), None, "too few to know");
        for n in 1..=200 {
            all.record(&a, Ran::Won(ms(n)));
        }
        assert_eq!(all.p95(&a), Some(ms(194)), "of 73 to 200");
    }

    #[test]
    fn what_was_saved_comes_back() {
        let all = Performance::default();
        all.record(&subject("m"), Ran::Won(ms(100)));
        all.record(&Subject { provider: "w".into(), ..subject("m") }, Ran::Failed);
        let saved = all.save().expect("something changed");
        assert_eq!(saved.iter().map(|(name, _)| name.as_str()).collect::<Vec<_>>(), ["v", "w"]);
        assert!(all.save().is_none());
        let other = Performance::default();
        for (name, bytes) in &saved {
            other.load(name, bytes).expect("it is readable");
        }
        assert_eq!(other.show(), all.show());
        // Of another provider nothing is taken, nor anything that is damaged.
        let third = Performance::default();
        third.load("w", &saved[0].1).expect("it is readable");
        assert!(third.load("v", b"[{").is_err() && third.load("v", b"7").is_err());
        assert_eq!(third.show(), json!([]));
    }

    #[test]
    fn made_up_models_do_not_fill_the_memory() {
        let all = Performance::default();
        for n in 0..2 * MAX_KEPT {
            all.record(&subject(&format!("m{n}")), Ran::Failed);
        }
        let shown = all.show();
        let rows = shown.as_array().expect("a list");
        assert_eq!(rows.len(), MAX_KEPT + 1);
        let others = rows.iter().find(|r| r["model"] == OTHERS).expect("the rest is counted together");
        assert_eq!(others["failed"], MAX_KEPT);
    }
}
