//! The tries of one request, each a value of its own: racers fill theirs at the same time, and wherever one ends it is dropped and counted.

use std::sync::atomic::{AtomicU8, AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use llm_codec::hub::{ChatError, ErrorClass, Usage};

use crate::extensions::bindings::exports::wasmgate::extension::attempts::{Part, Tried};
use crate::extensions::bindings::wasmgate::extension::request::Target;
use crate::virtual_providers::InFlight;
use crate::virtual_providers::racing::Fate;

/// How often one request may be sent, whatever virtual providers and extensions make of it. Tries that extensions pass over count too.
const MAX_TRIES: u32 = 64;

/// The tries of a request.
#[derive(Debug)]
pub struct Tries {
    /// When the request arrived.
    arrival: Instant,
    /// Numbers that were given away.
    numbers: AtomicU32,
    over: Mutex<Vec<Tried>>,
    /// How tries end that are dropped now; 0 when their caller left.
    fate: AtomicU8,
}

/// One try. Until somebody says how it ended, it is taken to have been given up.
#[derive(Debug)]
pub struct Try {
    tries: Arc<Tries>,
    tried: Tried,
    sent: Instant,
    /// It ended, and counts from here on.
    over: bool,
    /// The members of virtual providers that work on it.
    held: Vec<InFlight>,
}

// === impl Tries ===

impl Tries {
    /// Those of a request that arrived at this instant.
    pub fn new(arrival: Instant) -> Self {
        Self { arrival, numbers: AtomicU32::new(0), over: Mutex::default(), fate: AtomicU8::new(0) }
    }

    /// The number of the next try; none when there were too many.
    pub fn number(&self) -> Result<u32, ChatError> {
        let number = self.numbers.fetch_add(1, Ordering::Relaxed);
        if number < MAX_TRIES {
            return Ok(number);
        }
        let message = format!("The request was sent {MAX_TRIES} times, and no provider answered it.");
        Err(ChatError::new(ErrorClass::Overloaded, message))
    }

    /// A request is about to be sent to a target. `via` are the virtual providers that led there, the outermost first.
    pub fn begin(self: &Arc<Self>, number: u32, target: Target, via: Vec<String>) -> Try {
        let sent = Instant::now();
        let tried = Tried {
            target,
            via,
            number,
            part: Part::Cancelled,
            error: None,
            usage: None,
            started_us: micros(sent.saturating_duration_since(self.arrival)),
            first_event_us: None,
            duration_us: 0,
        };
        Try { tries: Arc::clone(self), tried, sent, over: false, held: Vec::new() }
    }

    /// What is dropped by this ends as the fate says. Nothing else of the request runs meanwhile: its racers are polled by one task.
    pub fn end(&self, fate: Fate, drop: impl FnOnce()) {
        let code = match fate {
            Fate::Lost => 1,
            Fate::Late => 2,
        };
        let before = self.fate.swap(code, Ordering::Relaxed);
        drop();
        self.fate.store(before, Ordering::Relaxed);
    }

    /// All tries that ended, in order.
    pub fn take(&self) -> Vec<Tried> {
        let mut over = std::mem::take(&mut *self.over.lock().unwrap_or_else(PoisonError::into_inner));
        over.sort_by_key(|tried| tried.number);
        over
    }
}

// === impl Try ===

impl Try {
    /// Whom.
    pub fn target(&self) -> &Target {
        &self.tried.target
    }

    /// Its number.
    pub fn number(&self) -> u32 {
        self.tried.number
    }

    /// A member of a virtual provider works on it for as long as it lives.
    pub fn hold(&mut self, member: InFlight) {
        self.held.push(member);
    }

    /// Tokens were counted; the last count stays.
    pub fn usage(&mut self, usage: Option<Usage>) {
        if usage.is_some() {
            self.tried.usage = usage;
        }
    }

    /// Its answer has begun, if nobody said so before.
    pub fn first_event(&mut self) {
        if self.tried.first_event_us.is_none() {
            self.tried.first_event_us = Some(micros(self.sent.elapsed()));
        }
    }

    /// It ended, well or with an error. The first end counts.
    pub fn end(&mut self, error: Option<&ChatError>) {
        if !self.over {
            self.over = true;
            self.tried.duration_us = micros(self.sent.elapsed()).max(1);
            self.tried.part = if error.is_some() { Part::Failed } else { Part::Served };
            self.tried.error = error.cloned();
        }
    }
}

impl Drop for Try {
    fn drop(&mut self) {
        if !self.over {
            let (part, class, message) = match self.tries.fate.load(Ordering::Relaxed) {
                1 => (Part::Lost, ErrorClass::Cancelled, "Another provider was chosen."),
                2 => (Part::Failed, ErrorClass::Timeout, "The answer did not begin in time."),
                _ => (Part::Cancelled, ErrorClass::Cancelled, "The request ended before its answer did."),
            };
            self.end(Some(&ChatError::new(class, message)));
            self.tried.part = part;
        }
        let nothing = Tried {
            target: Target { provider: String::new(), model: String::new() },
            via: Vec::new(),
            error: None,
            usage: None,
            ..self.tried
        };
        let tried = std::mem::replace(&mut self.tried, nothing);
        self.tries.over.lock().unwrap_or_else(PoisonError::into_inner).push(tried);
    }
}

fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn target(name: &str) -> Target {
        Target { provider: name.into(), model: "m".into() }
    }

    fn parts(tries: &Tries) -> Vec<(String, Part, Option<ErrorClass>)> {
        tries.take().into_iter().map(|t| (t.target.provider, t.part, t.error.map(|e| e.class))).collect()
    }

    #[test]
    fn each_try_is_counted_once_however_it_ends() {
        let tries = Arc::new(Tries::new(Instant::now()));
        let begin = |number, name| tries.begin(number, target(name), Vec::new());
        let (mut a, mut b, c, d, e) = (begin(0, "a"), begin(1, "b"), begin(2, "c"), begin(3, "d"), begin(4, "e"));
        tries.end(Fate::Lost, || drop(c));
        b.end(Some(&ChatError::new(ErrorClass::Upstream, "x")));
        // It failed before it was dropped as a loser.
        tries.end(Fate::Lost, || drop(b));
        tries.end(Fate::Late, || drop(d));
        drop(e);
        a.end(None);
        a.end(Some(&ChatError::new(ErrorClass::Upstream, "too late")));
        drop(a);
        let expect = [
            ("a", Part::Served, None),
            ("b", Part::Failed, Some(ErrorClass::Upstream)),
            ("c", Part::Lost, Some(ErrorClass::Cancelled)),
            ("d", Part::Failed, Some(ErrorClass::Timeout)),
            ("e", Part::Cancelled, Some(ErrorClass::Cancelled)),
        ];
        assert_eq!(parts(&tries), expect.map(|(n, p, c)| (n.to_owned(), p, c)));
        assert_eq!(parts(&tries), []);
    }

    #[test]
    fn tries_are_bounded() {
        let tries = Tries::new(Instant::now());
        assert!((0..MAX_TRIES).all(|n| tries.number().is_ok_and(|given| given == n)));
        assert!(tries.number().is_err());
    }
}
