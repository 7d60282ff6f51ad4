//! A provider's model that fails again and again is left alone for a while: requests for it are refused at once instead of each waiting
//! for its own failure. Then one request tries; the others are refused until it has an answer.
//!
//! What callers do wrong opens nothing: whoever could make a breaker open could lock out everybody else.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use llm_codec::hub::{ChatError, ErrorClass};
use tokio::time::Instant;

use super::window::Window;
use crate::config::BreakerConfig;

/// Models that are remembered. Callers may invent names.
const MAX_MODELS: usize = 256;

/// The breakers of one provider.
pub struct Breakers {
    config: BreakerConfig,
    models: Mutex<HashMap<String, Breaker>>,
}

struct Breaker {
    state: State,
    /// Failures since the last success.
    in_a_row: u32,
    window: Window,
    touched: Instant,
}

/// What a breaker does with requests.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// They pass.
    Closed,
    /// They are refused until then.
    Open(Instant),
    /// One tries.
    Trying,
}

/// A request that may pass, and has to tell what became of it. Dropped without a word, it counts for nothing.
pub struct Pass {
    breakers: Arc<Breakers>,
    model: String,
    /// It is the one that tries.
    tries: bool,
    told: bool,
}

/// Whether an error says something about the provider, and not about the request.
pub fn is_providers_fault(error: &ChatError) -> bool {
    match error.class {
        ErrorClass::Authentication
        | ErrorClass::Permission
        | ErrorClass::RateLimited
        | ErrorClass::QuotaExceeded
        | ErrorClass::Overloaded
        | ErrorClass::Timeout
        | ErrorClass::Connect
        | ErrorClass::Protocol
        | ErrorClass::Interrupted
        | ErrorClass::Upstream => true,
        ErrorClass::InvalidRequest
        | ErrorClass::ContextTooLong
        | ErrorClass::ContentFiltered
        | ErrorClass::ModelNotFound
        | ErrorClass::NotFound
        | ErrorClass::TooLarge
        | ErrorClass::Cancelled
        | ErrorClass::Internal => false,
    }
}

impl Breakers {
    /// Breakers that are all closed.
    pub fn new(config: BreakerConfig) -> Self {
        Self { config, models: Mutex::default() }
    }

    fn is_off(&self) -> bool {
        self.config.failures == 0 && self.config.failure_rate <= 0.0
    }

    /// Lets a request pass, or says how long it would be refused. Whoever passes first after that time is the one that tries.
    pub fn admit(self: &Arc<Self>, model: &str, now: Instant) -> Result<Pass, Duration> {
        let pass = |tries| Pass { breakers: Arc::clone(self), model: model.to_owned(), tries, told: false };
        if self.is_off() {
            return Ok(pass(false));
        }
        let mut models = self.lock();
        let Some(breaker) = models.get_mut(model) else { return Ok(pass(false)) };
        match breaker.state {
            State::Closed => Ok(pass(false)),
            State::Open(until) if until <= now => {
                breaker.state = State::Trying;
                breaker.touched = now;
                Ok(pass(true))
            }
            State::Open(until) => Err(until - now),
            // Nobody knows how long it takes.
            State::Trying => Err(Duration::from_secs(1)),
        }
    }

    /// How long requests for a model are refused, if they are. It takes nobody's turn.
    pub fn check(&self, model: &str, now: Instant) -> Result<(), Duration> {
        if self.is_off() {
            return Ok(());
        }
        match self.lock().get(model).map(|b| b.state) {
            Some(State::Open(until)) if until > now => Err(until - now),
            Some(State::Trying) => Err(Duration::from_secs(1)),
            _ => Ok(()),
        }
    }

    /// What became of an answer that had begun.
    pub fn tell(&self, model: &str, failed: bool, now: Instant) {
        self.told(model, failed, false, now);
    }

    /// What became of a request; `tries` when it is the one that tries.
    fn told(&self, model: &str, failed: bool, tries: bool, now: Instant) {
        if self.is_off() {
            return;
        }
        let mut models = self.lock();
        if !models.contains_key(model) {
            // A success of a model that never failed is nothing to remember, unless a share is looked at.
            if !failed && self.config.failure_rate <= 0.0 {
                return;
            }
            make_room(&mut models);
            let window = Window::new(self.config.window, now);
            models.insert(model.to_owned(), Breaker { state: State::Closed, in_a_row: 0, window, touched: now });
        }
        let Some(breaker) = models.get_mut(model) else { return };
        breaker.touched = now;
        breaker.window.add(failed, now);
        if !failed {
            // Whoever answers, the provider is there.
            if breaker.state == State::Trying {
                breaker.window.clear();
                breaker.state = State::Closed;
            }
            breaker.in_a_row = 0;
            return;
        }
        breaker.in_a_row = breaker.in_a_row.saturating_add(1);
        let (all, failures) = breaker.window.counts(now);
        let too_many = self.config.failures > 0 && breaker.in_a_row >= self.config.failures;
        let share = self.config.failure_rate;
        let too_often = share > 0.0 && all >= self.config.min_requests && f64::from(failures) >= share * f64::from(all);
        // What was under way when it opened does not keep it open for longer, and does not speak for the one that tries.
        if breaker.state == State::Trying && tries || breaker.state == State::Closed && (too_many || too_often) {
            breaker.state = State::Open(now + self.config.cooldown);
        }
    }

    /// The models that are not closed, by name.
    pub fn open(&self, now: Instant) -> Vec<(String, State)> {
        let models = self.lock();
        let mut open: Vec<_> = models.iter().filter(|(_, b)| b.state != State::Closed).map(|(m, b)| (m.clone(), b.state)).collect();
        open.retain(|(_, state)| !matches!(state, State::Open(until) if *until <= now));
        open.sort_by(|a, b| a.0.cmp(&b.0));
        open
    }

    /// The one that tried left without an answer: the next one tries.
    fn leave(&self, model: &str, now: Instant) {
        if let Some(breaker) = self.lock().get_mut(model)
            && breaker.state == State::Trying
        {
            breaker.state = State::Open(now);
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, Breaker>> {
        self.models.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Forgets one, if need be: one that is closed and nobody asked for in the longest time.
fn make_room(models: &mut HashMap<String, Breaker>) {
    if models.len() < MAX_MODELS {
        return;
    }
    let oldest = models.iter().min_by_key(|(_, b)| (b.state != State::Closed, b.touched)).map(|(m, _)| m.clone());
    models.retain(|model, _| Some(model) != oldest.as_ref());
}

impl Pass {
    /// The provider answered, with whatever: it is there.
    pub fn answered(mut self, now: Instant) {
        self.told = true;
        self.breakers.told(&self.model, false, self.tries, now);
    }

    /// The provider failed.
    pub fn failed(mut self, now: Instant) {
        self.told = true;
        self.breakers.told(&self.model, true, self.tries, now);
    }
}

impl Drop for Pass {
    fn drop(&mut self) {
        if self.tries && !self.told {
            self.breakers.leave(&self.model, Instant::now());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn breakers(failures: u32, failure_rate: f64) -> Arc<Breakers> {
        let cooldown = Duration::from_secs(30);
        let window = Duration::from_secs(10);
        Arc::new(Breakers::new(BreakerConfig { failures, failure_rate, window, min_requests: 4, cooldown }))
    }

    fn passes(breakers: &Arc<Breakers>, model: &str, failed: bool, now: Instant) -> bool {
        let Ok(pass) = breakers.admit(model, now) else { return false };
        if failed {
            pass.failed(now);
        } else {
            pass.answered(now);
        }
        true
    }

    #[test]
    fn failures_in_a_row_open_it_for_their_model_only() {
        let (breakers, start) = (breakers(3, 0.0), Instant::now());
        for failed in [true, true, false, true, true, true] {
            assert!(passes(&breakers, "m", failed, start));
        }
        assert_eq!(breakers.admit("m", start).err(), Some(Duration::from_secs(30)));
        assert_eq!(breakers.check("m", start + Duration::from_secs(10)), Err(Duration::from_secs(20)));
        assert!(passes(&breakers, "other", false, start));
        assert_eq!(breakers.open(start).len(), 1);
    }

    #[test]
    fn one_tries_and_the_others_wait_for_its_answer() {
        let (breakers, start) = (breakers(1, 0.0), Instant::now());
        assert!(passes(&breakers, "m", true, start));
        let later = start + Duration::from_secs(30);
        let tries = breakers.admit("m", later).expect("the first one tries");
        assert!(breakers.admit("m", later).is_err() && breakers.check("m", later).is_err());
        tries.failed(later);
        assert_eq!(breakers.admit("m", later).err(), Some(Duration::from_secs(30)), "it is open again");
        let again = later + Duration::from_secs(30);
        drop(breakers.admit("m", again).expect("one tries"));
        let last =
            breakers.admit("m", again + Duration::from_secs(60)).expect("the one before left without an answer, so the next one tries");
        last.answered(again);
        assert!(passes(&breakers, "m", false, again) && passes(&breakers, "m", false, again));
        assert_eq!(breakers.open(again), []);
    }

    #[test]
    fn what_was_under_way_does_not_speak_for_the_one_that_tries() {
        let (breakers, start) = (breakers(1, 0.0), Instant::now());
        let late = breakers.admit("m", start).expect("it is closed");
        assert!(passes(&breakers, "m", true, start));
        let later = start + Duration::from_secs(30);
        let tries = breakers.admit("m", later).expect("one tries");
        late.failed(later);
        // Nor does a stream that began before and breaks now.
        breakers.tell("m", true, later);
        assert_eq!(breakers.admit("m", later).err(), Some(Duration::from_secs(1)), "it still tries");
        tries.answered(later);
        assert!(passes(&breakers, "m", false, later), "it answered, and that counts");
    }

    #[test]
    fn a_share_of_failures_opens_it() {
        let (breakers, start) = (breakers(0, 0.5), Instant::now());
        for failed in [true, false, true] {
            assert!(passes(&breakers, "m", failed, start), "three are too few to mean anything");
        }
        // The window is over: what was is forgotten.
        let later = start + Duration::from_secs(20);
        for failed in [false, true, false, true] {
            assert!(passes(&breakers, "m", failed, later));
        }
        assert!(!passes(&breakers, "m", false, later));
    }

    #[test]
    fn off_unless_something_is_set_and_bounded_in_any_case() {
        let (off, start) = (breakers(0, 0.0), Instant::now());
        assert!((0..1000).all(|_| passes(&off, "m", true, start)));
        let on = breakers(1, 0.0);
        assert!((0..1000).all(|n| passes(&on, &n.to_string(), true, start)));
        assert_eq!(on.lock().len(), MAX_MODELS);
    }
}
