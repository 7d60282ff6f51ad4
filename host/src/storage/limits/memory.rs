//! Counters of rates: token buckets and sliding windows, with reservations that are settled later.
//!
//! Pure but for a lock: the time comes in as an argument. What an idle key needs is forgotten.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::{Granted, Refused, Rule, Wish};

/// Pieces of a sliding window.
pub const SLOTS: u64 = 60;

/// Pieces that count: one more, because what was taken at the end of the first would otherwise be forgotten too early. So a window
/// may be longer by one piece, but never shorter.
pub const KEPT: u64 = SLOTS + 1;

/// Reservations that are never settled are forgotten after this.
pub const FORGOTTEN_AFTER: Duration = Duration::from_secs(3600);

/// Counters are looked through for idle ones when there are so many, and again when there are twice as many.
const SWEEP_FROM: usize = 10_000;

/// All counters of the process.
pub struct Limiter {
    inner: Mutex<Inner>,
    born: Instant,
}

impl Default for Limiter {
    fn default() -> Self {
        Self { inner: Mutex::default(), born: Instant::now() }
    }
}

type Key = (String, String);

struct Inner {
    counters: HashMap<Key, Counter>,
    reservations: HashMap<u64, Reservation>,
    last_reservation: u64,
    sweep_at: usize,
}

impl Default for Inner {
    fn default() -> Self {
        Self { counters: HashMap::new(), reservations: HashMap::new(), last_reservation: 0, sweep_at: SWEEP_FROM }
    }
}

struct Reservation {
    key: Key,
    amount: u64,
    at: Duration,
}

/// One key's count.
enum Counter {
    Bucket {
        /// What is there. Below zero when more was used than reserved.
        tokens: f64,
        at: Duration,
        rule: (u64, u64, Duration),
    },
    Window {
        /// Amounts by slot number.
        slots: Vec<(u64, u64)>,
        rule: (u64, Duration),
    },
}

impl Limiter {
    /// The time, for those who have no other.
    pub fn now(&self) -> Duration {
        self.born.elapsed()
    }

    /// Reserves an amount at a time, which is counted from anywhere but never runs backwards.
    pub fn reserve(&self, namespace: &str, wish: Wish, now: Duration) -> Result<Granted, Refused> {
        self.inner().reserve(namespace, wish, now)
    }

    /// Reserves one after the other, until one is refused.
    pub fn reserve_all(&self, namespace: &str, wishes: Vec<Wish>, now: Duration) -> Vec<Result<Granted, Refused>> {
        let mut inner = self.inner();
        let mut answers = Vec::with_capacity(wishes.len());
        for wish in wishes {
            answers.push(inner.reserve(namespace, wish, now));
            if answers.last().is_some_and(Result::is_err) {
                break;
            }
        }
        answers
    }

    /// Says what was really used. False when the namespace has no such reservation.
    pub fn settle(&self, namespace: &str, reservation: u64, used: u64, now: Duration) -> bool {
        let mut inner = self.inner();
        let Some(Reservation { key, amount, at }) = inner.reservations.remove(&reservation) else { return false };
        if key.0 != namespace {
            // Somebody else's: it stays.
            inner.reservations.insert(reservation, Reservation { key, amount, at });
            return false;
        }
        if let Some(counter) = inner.counters.get_mut(&key) {
            counter.correct(amount, used, at, now);
        }
        true
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    fn reserve(&mut self, namespace: &str, wish: Wish, now: Duration) -> Result<Granted, Refused> {
        self.sweep(now);
        let Wish { key, rule, amount } = wish;
        let key = (namespace.to_owned(), key);
        let counter = self.counters.entry(key.clone()).or_insert_with(|| Counter::new(rule, now));
        counter.turn_to(rule, now);
        let remaining = counter.remaining(now);
        if remaining < amount {
            return Err(Refused { remaining, retry_after: counter.wait_for(amount, now), reset: counter.reset(now) });
        }
        counter.take(amount, now);
        let (remaining, reset) = (counter.remaining(now), counter.reset(now));
        self.last_reservation += 1;
        let reservation = self.last_reservation;
        self.reservations.insert(reservation, Reservation { key, amount, at: now });
        Ok(Granted { reservation, remaining, reset })
    }

    /// Forgets what no longer counts, each time that the number of counters has doubled.
    fn sweep(&mut self, now: Duration) {
        if self.counters.len() + self.reservations.len() < self.sweep_at {
            return;
        }
        self.counters.retain(|_, counter| !counter.is_idle(now));
        self.reservations.retain(|_, r| now.saturating_sub(r.at) < FORGOTTEN_AFTER);
        self.sweep_at = SWEEP_FROM.max(2 * (self.counters.len() + self.reservations.len()));
    }
}

impl Counter {
    fn new(rule: Rule, now: Duration) -> Self {
        match rule {
            Rule::TokenBucket { capacity, refill, per } => Self::Bucket { tokens: capacity as f64, at: now, rule: (capacity, refill, per) },
            Rule::SlidingWindow { limit, window } => Self::Window { slots: Vec::new(), rule: (limit, window) },
        }
    }

    /// The key's rule changed: the count stays where the kind is the same.
    fn turn_to(&mut self, new: Rule, now: Duration) {
        match (&mut *self, new) {
            (Self::Bucket { tokens, at, rule }, Rule::TokenBucket { capacity, refill, per }) => {
                *tokens = bucket_now(*tokens, *at, *rule, now).min(capacity as f64);
                *at = now;
                *rule = (capacity, refill, per);
            }
            (Self::Window { slots, rule }, Rule::SlidingWindow { limit, window }) => {
                if rule.1 != window {
                    // Slots of another length: what counts of them now counts as taken now.
                    let taken = window_taken(slots, rule.1, now);
                    *slots = if taken > 0 { vec![(slot(now, window), taken)] } else { Vec::new() };
                }
                *rule = (limit, window);
            }
            (counter, new) => *counter = Self::new(new, now),
        }
    }

    fn remaining(&self, now: Duration) -> u64 {
        match self {
            Self::Bucket { tokens, at, rule } => bucket_now(*tokens, *at, *rule, now).max(0.0) as u64,
            Self::Window { slots, rule } => rule.0.saturating_sub(window_taken(slots, rule.1, now)),
        }
    }

    fn take(&mut self, amount: u64, now: Duration) {
        match self {
            Self::Bucket { tokens, at, rule } => {
                *tokens = bucket_now(*tokens, *at, *rule, now) - amount as f64;
                *at = now;
            }
            Self::Window { slots, rule } => {
                let current = slot(now, rule.1);
                slots.retain(|(s, _)| s + KEPT > current);
                match slots.iter_mut().find(|(s, _)| *s == current) {
                    Some((_, taken)) => *taken = taken.saturating_add(amount),
                    None => slots.push((current, amount)),
                }
            }
        }
    }

    /// What was reserved at a time turns out to be another amount.
    fn correct(&mut self, reserved: u64, used: u64, at: Duration, now: Duration) {
        if used > reserved {
            return self.take(used - reserved, now);
        }
        let back = reserved - used;
        match self {
            Self::Bucket { tokens, at, rule } => {
                *tokens = (bucket_now(*tokens, *at, *rule, now) + back as f64).min(rule.0 as f64);
                *at = now;
            }
            Self::Window { slots, rule } => {
                let then = slot(at, rule.1);
                if let Some((_, taken)) = slots.iter_mut().find(|(s, _)| *s == then) {
                    *taken = taken.saturating_sub(back);
                }
            }
        }
    }

    /// How long until an amount may be there.
    fn wait_for(&self, amount: u64, now: Duration) -> Option<Duration> {
        match self {
            Self::Bucket { tokens, at, rule } => {
                let (capacity, refill, per) = *rule;
                if amount > capacity || refill == 0 {
                    return None;
                }
                let missing = amount as f64 - bucket_now(*tokens, *at, *rule, now);
                Some(per.mul_f64((missing / refill as f64).max(0.0)))
            }
            Self::Window { slots, rule } => {
                let (limit, window) = *rule;
                if amount > limit {
                    return None;
                }
                let mut taken = window_taken(slots, window, now);
                let mut live: Vec<_> = slots.iter().filter(|(s, _)| s + KEPT > slot(now, window)).collect();
                live.sort_unstable();
                for (s, old) in live {
                    taken -= old;
                    if taken.saturating_add(amount) <= limit {
                        return Some(slot_start(s + KEPT, window).saturating_sub(now));
                    }
                }
                Some(Duration::ZERO)
            }
        }
    }

    /// How long until everything has come back.
    fn reset(&self, now: Duration) -> Duration {
        match self {
            Self::Bucket { rule, .. } => self.wait_for(rule.0, now).unwrap_or_default(),
            Self::Window { slots, rule } => {
                let last = slots.iter().filter(|(_, taken)| *taken > 0).map(|(s, _)| *s).max();
                last.map_or(Duration::ZERO, |s| slot_start(s + KEPT, rule.1).saturating_sub(now))
            }
        }
    }

    /// Whether a new counter would be the same.
    fn is_idle(&self, now: Duration) -> bool {
        match self {
            Self::Bucket { tokens, at, rule } => bucket_now(*tokens, *at, *rule, now) >= rule.0 as f64,
            Self::Window { slots, rule } => window_taken(slots, rule.1, now) == 0,
        }
    }
}

fn bucket_now(tokens: f64, at: Duration, (capacity, refill, per): (u64, u64, Duration), now: Duration) -> f64 {
    let elapsed = now.saturating_sub(at).as_secs_f64();
    let back = if per.is_zero() { 0.0 } else { refill as f64 * elapsed / per.as_secs_f64() };
    (tokens + back).min(capacity as f64)
}

/// Number of the slot that a time is in.
fn slot(at: Duration, window: Duration) -> u64 {
    let length = slot_nanos(window);
    u64::try_from(at.as_nanos() / length).unwrap_or(u64::MAX)
}

fn slot_start(slot: u64, window: Duration) -> Duration {
    let nanos = u128::from(slot) * slot_nanos(window);
    Duration::new(u64::try_from(nanos / 1_000_000_000).unwrap_or(u64::MAX), (nanos % 1_000_000_000) as u32)
}

fn slot_nanos(window: Duration) -> u128 {
    (window.as_nanos() / u128::from(SLOTS)).max(1)
}

fn window_taken(slots: &[(u64, u64)], window: Duration, now: Duration) -> u64 {
    let current = slot(now, window);
    slots.iter().filter(|(s, _)| s + KEPT > current).fold(0u64, |sum, (_, taken)| sum.saturating_add(*taken))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wish(key: &str, rule: Rule, amount: u64) -> Wish {
        Wish { key: key.into(), rule, amount }
    }

    const MINUTE: Duration = Duration::from_secs(60);

    fn at(seconds: u64) -> Duration {
        Duration::from_secs(1_000_000) + Duration::from_secs(seconds)
    }

    fn window(limit: u64) -> Rule {
        Rule::SlidingWindow { limit, window: MINUTE }
    }

    fn bucket(capacity: u64) -> Rule {
        Rule::TokenBucket { capacity, refill: capacity, per: MINUTE }
    }

    /// Reserves, and tells what is left or how many seconds to wait.
    fn ask(limiter: &Limiter, rule: Rule, amount: u64, seconds: u64) -> Result<u64, Option<u64>> {
        let asked = limiter.reserve("n", wish("k", rule, amount), at(seconds));
        asked.map(|g| g.remaining).map_err(|r| r.retry_after.map(|d| d.as_secs_f64().ceil() as u64))
    }

    #[test]
    fn a_window_never_lets_a_double_burst_through() {
        let limiter = Limiter::default();
        assert_eq!(ask(&limiter, window(10), 10, 59), Ok(0));
        // A fixed window would begin anew here.
        assert_eq!(ask(&limiter, window(10), 1, 60), Err(Some(60)));
        assert_eq!(ask(&limiter, window(10), 1, 119), Err(Some(1)));
        assert_eq!(ask(&limiter, window(10), 10, 120), Ok(0));
        assert_eq!(ask(&limiter, window(10), 11, 300), Err(None));
    }

    #[test]
    fn a_bucket_allows_a_burst_then_an_even_rate() {
        let limiter = Limiter::default();
        assert_eq!(ask(&limiter, bucket(60), 60, 0), Ok(0));
        assert_eq!(ask(&limiter, bucket(60), 10, 5), Err(Some(5)));
        assert_eq!(ask(&limiter, bucket(60), 10, 10), Ok(0));
        assert_eq!(ask(&limiter, bucket(60), 60, 100), Ok(0));
        assert_eq!(ask(&limiter, bucket(60), 61, 200), Err(None));
        assert_eq!(ask(&limiter, Rule::TokenBucket { capacity: 0, refill: 0, per: MINUTE }, 1, 200), Err(None));
    }

    #[test]
    fn what_was_not_used_comes_back_and_what_was_used_more_is_taken() {
        for rule in [window(100), bucket(100)] {
            let limiter = Limiter::default();
            let first = limiter.reserve("n", wish("k", rule, 80), at(0)).unwrap();
            assert_eq!(ask(&limiter, rule, 30, 0).map_err(|_| ()), Err(()));
            assert!(!limiter.settle("other", first.reservation, 0, at(0)));
            assert!(limiter.settle("n", first.reservation, 10, at(0)));
            assert!(!limiter.settle("n", first.reservation, 10, at(0)), "settled once");
            assert_eq!(ask(&limiter, rule, 30, 0), Ok(60));
            let third = limiter.reserve("n", wish("k", rule, 10), at(0)).unwrap();
            assert!(limiter.settle("n", third.reservation, 60, at(0)));
            assert_eq!(ask(&limiter, rule, 1, 0).map_err(|_| ()), Err(()));
        }
    }

    #[test]
    fn keys_and_namespaces_are_apart() {
        let limiter = Limiter::default();
        assert_eq!(ask(&limiter, window(1), 1, 0), Ok(0));
        assert!(limiter.reserve("n", wish("other", window(1), 1), at(0)).is_ok());
        assert!(limiter.reserve("m", wish("k", window(1), 1), at(0)).is_ok());
        assert!(limiter.reserve("n", wish("k", window(1), 1), at(0)).is_err());
    }

    #[test]
    fn a_new_rule_keeps_the_count() {
        let limiter = Limiter::default();
        assert_eq!(ask(&limiter, window(10), 8, 0), Ok(2));
        assert_eq!(ask(&limiter, window(20), 5, 1), Ok(7));
        let hour = Rule::SlidingWindow { limit: 20, window: 60 * MINUTE };
        assert_eq!(ask(&limiter, hour, 5, 2), Ok(2));
        assert_eq!(ask(&limiter, window(5), 1, 3).map_err(|_| ()), Err(()));
    }

    #[test]
    fn idle_keys_are_forgotten() {
        let limiter = Limiter::default();
        for n in 0..SWEEP_FROM {
            let _ = limiter.reserve("n", wish(&n.to_string(), window(5), 1), at(0));
        }
        let _ = limiter.reserve("n", wish("late", window(5), 1), at(4000));
        let inner = limiter.inner.lock().unwrap();
        assert_eq!((inner.counters.len(), inner.reservations.len()), (1, 1));
    }
}
