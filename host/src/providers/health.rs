//! How a provider is, seen from the traffic that it gets and from probes: no setting of its own, nothing that decides anything.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use llm_codec::hub::{ChatError, ErrorClass};
use serde_json::{Map, Value, json};
use tokio::time::Instant;

use super::window::Window;

/// Models that have figures of their own. Others, and names at which nothing ever answered, are counted together.
const MAX_MODELS: usize = 64;

/// The name under which those are.
const OTHERS: &str = "other";

/// What counts as lately.
const LATELY: Duration = Duration::from_secs(300);

/// What a new value is worth beside all before it.
const WEIGHT: f64 = 0.2;

/// The figures of one provider.
pub struct Health {
    models: Mutex<BTreeMap<String, Kept>>,
    probe: Mutex<Option<Probe>>,
    retries: AtomicU64,
    refused: AtomicU64,
}

/// The figures of one model.
#[derive(Debug, Clone, Default)]
pub struct Figures {
    /// Requests that were sent, retries among them.
    pub requests: u64,
    /// Those that failed, by the kind of error.
    pub failures: BTreeMap<&'static str, u64>,
    /// Seconds to the first event of a stream, or to a complete answer, on average; newer ones count for more.
    pub first_event: Option<f64>,
    /// Tokens in a second, from the first event on, on average; newer ones count for more.
    pub tokens_per_second: Option<f64>,
    last_error: Option<(ErrorClass, SystemTime)>,
    /// Requests of the last five minutes, and those of them that failed.
    lately: (u32, u32),
}

struct Kept {
    figures: Figures,
    window: Window,
}

/// What the last probe found.
#[derive(Debug, Clone)]
pub struct Probe {
    /// What went wrong.
    pub error: Option<ChatError>,
    /// How long it took.
    pub took: Duration,
    /// When it was.
    pub at: SystemTime,
}

// === impl Health ===

impl Default for Health {
    fn default() -> Self {
        Self { models: Mutex::default(), probe: Mutex::default(), retries: AtomicU64::new(0), refused: AtomicU64::new(0) }
    }
}

impl Health {
    /// A request began to be answered, after this long.
    pub fn answered(&self, model: &str, after: Duration, now: Instant) {
        self.with(model, true, now, |kept| {
            kept.figures.requests += 1;
            kept.window.add(false, now);
            average(&mut kept.figures.first_event, after.as_secs_f64());
        });
    }

    /// A request failed before anything of an answer came.
    pub fn failed(&self, model: &str, error: &ChatError, now: Instant) {
        self.with(model, false, now, |kept| {
            kept.figures.requests += 1;
            kept.failure(error, now);
        });
    }

    /// A request that was counted as answered failed after all. Lately it counts as both: when it began to answer may be long ago.
    pub fn broke(&self, model: &str, error: &ChatError, now: Instant) {
        self.with(model, false, now, |kept| kept.failure(error, now));
    }

    /// An answer is complete: so many tokens in that time.
    pub fn wrote(&self, model: &str, tokens: u64, time: Duration, now: Instant) {
        // A handful of tokens in one packet would be millions a second.
        if tokens < 2 || time < Duration::from_millis(1) {
            return;
        }
        self.with(model, true, now, |kept| average(&mut kept.figures.tokens_per_second, tokens as f64 / time.as_secs_f64()));
    }

    /// A request is sent again.
    pub fn retried(&self) {
        self.retries.fetch_add(1, Ordering::Relaxed);
    }

    /// A request was refused here: nothing was sent.
    pub fn refused(&self) {
        self.refused.fetch_add(1, Ordering::Relaxed);
    }

    /// Requests that were sent again, and those that were refused here.
    pub fn counts(&self) -> (u64, u64) {
        (self.retries.load(Ordering::Relaxed), self.refused.load(Ordering::Relaxed))
    }

    /// A probe ended.
    pub fn probed(&self, probe: Probe) {
        *self.probe.lock().unwrap_or_else(PoisonError::into_inner) = Some(probe);
    }

    /// The last probe.
    pub fn probe(&self) -> Option<Probe> {
        self.probe.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The figures of each model, by name.
    pub fn models(&self, now: Instant) -> BTreeMap<String, Figures> {
        let mut models = self.lock();
        let figures = models.iter_mut().map(|(model, kept)| {
            let lately = kept.window.counts(now);
            (model.clone(), Figures { lately, ..kept.figures.clone() })
        });
        figures.collect()
    }

    /// `new` tells that a model may get figures of its own.
    fn with(&self, model: &str, new: bool, now: Instant, change: impl FnOnce(&mut Kept)) {
        let mut models = self.lock();
        let own = models.contains_key(model) || new && models.len() < MAX_MODELS;
        let name = if own { model } else { OTHERS };
        let empty = || Kept { figures: Figures::default(), window: Window::new(LATELY, now) };
        change(models.entry(name.to_owned()).or_insert_with(empty));
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, Kept>> {
        self.models.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Kept {
    fn failure(&mut self, error: &ChatError, now: Instant) {
        *self.figures.failures.entry(error.class.name()).or_default() += 1;
        self.figures.last_error = Some((error.class, SystemTime::now()));
        self.window.add(true, now);
    }
}

impl Figures {
    /// Share of the requests of the last five minutes that were answered.
    pub fn success_rate(&self) -> Option<f64> {
        let (all, failed) = self.lately;
        (all > 0).then(|| f64::from(all.saturating_sub(failed)) / f64::from(all))
    }

    /// For operators.
    pub fn to_json(&self) -> Value {
        let failures: Map<String, Value> = self.failures.iter().map(|(class, n)| ((*class).to_owned(), json!(n))).collect();
        json!({
            "requests": self.requests,
            "failures": failures,
            "success_rate": self.success_rate(),
            "last_error": self.last_error.map(|(class, at)| json!({"class": class.name(), "at_ms": unix_ms(at)})),
            "first_event_ms": self.first_event.map(|s| s * 1e3),
            "tokens_per_second": self.tokens_per_second,
        })
    }
}

impl Probe {
    /// For operators.
    pub fn to_json(&self) -> Value {
        json!({
            "ok": self.error.is_none(),
            "error": self.error.as_ref().map(|e| json!({"class": e.class.name(), "message": e.message})),
            "took_ms": self.took.as_secs_f64() * 1e3,
            "at_ms": unix_ms(self.at),
        })
    }
}

fn average(kept: &mut Option<f64>, value: f64) {
    *kept = Some(kept.map_or(value, |before| before + WEIGHT * (value - before)));
}

fn unix_ms(at: SystemTime) -> u64 {
    at.duration_since(SystemTime::UNIX_EPOCH).map_or(0, |d| d.as_millis() as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_traffic_tells() {
        let (health, now) = (Health::default(), Instant::now());
        let error = ChatError::new(ErrorClass::Overloaded, "no");
        health.answered("m", Duration::from_millis(100), now);
        health.answered("m", Duration::from_millis(200), now);
        health.wrote("m", 100, Duration::from_secs(2), now);
        health.failed("m", &error, now);
        health.answered("m", Duration::from_millis(120), now);
        health.broke("m", &error, now);
        let shown = health.models(now)["m"].to_json();
        assert_eq!((&shown["requests"], &shown["failures"]), (&json!(4), &json!({"overloaded": 2})), "{shown}");
        assert_eq!((&shown["success_rate"], &shown["tokens_per_second"]), (&json!(0.6), &json!(50.0)), "{shown}");
        let first_event = shown["first_event_ms"].as_f64().unwrap();
        assert!((first_event - 120.0).abs() < 0.001, "{shown}");
        assert_eq!(shown["last_error"]["class"], "overloaded");
        let later = health.models(now + LATELY * 2);
        assert_eq!((later["m"].success_rate(), later["m"].requests), (None, 4), "what was is no longer how it is");
    }

    #[test]
    fn callers_cannot_fill_it() {
        let (health, now) = (Health::default(), Instant::now());
        let error = ChatError::new(ErrorClass::ModelNotFound, "no");
        (0..1000).for_each(|n| health.failed(&n.to_string(), &error, now));
        assert_eq!(health.models(now).keys().collect::<Vec<_>>(), [OTHERS], "names at which nothing answers");
        (0..1000).for_each(|n| health.answered(&n.to_string(), Duration::ZERO, now));
        assert_eq!(health.models(now).len(), MAX_MODELS);
    }
}
