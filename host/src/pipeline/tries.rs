//! The tries of one request, each a value of its own: racers fill theirs at the same time, and wherever one ends it is dropped and counted.
//!
//! Providers tell tokens when they begin or when they end. A racer that is cancelled in between took some all the same, so what its provider did
//! not tell is estimated here: what it read is what the others read, and what it wrote is what arrived of it.

use std::cell::OnceCell;
use std::sync::atomic::{AtomicU8, AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use llm_codec::hub::{ChatError, ErrorClass, StreamEvent, Usage};
use llm_codec::{Format, estimate};

use crate::extensions::bindings::exports::wasmgate::extension::attempts::{Part, Tried};
use crate::extensions::bindings::wasmgate::extension::request::Target;
use crate::providers::Written;
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
    over: Mutex<Vec<Over>>,
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
    /// What is known of it while it may lose a race.
    racing: Option<Racing>,
}

/// What a racer was given and what it gave, until somebody is chosen.
#[derive(Debug)]
struct Racing {
    format: Format,
    /// Whether its request was written. A racer that still waited for a place or a connection took nothing, and never will.
    written: Written,
    /// What arrived of its stream.
    arrived: Vec<Bytes>,
}

/// A try that ended.
#[derive(Debug)]
struct Over {
    tried: Tried,
    /// It was sent and lost, and about so many tokens of its answer arrived.
    lost: Option<u64>,
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
        Try { tries: Arc::clone(self), tried, sent, over: false, held: Vec::new(), racing: None }
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

    /// All tries that ended, in order. Those that lost a race have tokens, whatever their providers told; `input` estimates the tokens of the
    /// conversation where none did. What the gateway counted has no `raw`.
    pub fn take(&self, input: impl Fn() -> Option<u64>) -> Vec<Tried> {
        let mut over = std::mem::take(&mut *self.over.lock().unwrap_or_else(PoisonError::into_inner));
        over.sort_by_key(|over| over.tried.number);
        if over.iter().any(|over| over.lost.is_some()) {
            settle(&mut over, input);
        }
        over.into_iter().map(|over| over.tried).collect()
    }
}

/// Gives tries tokens that were not told. All of a race are given some, the chosen one too: a sum of the others alone would look whole.
fn settle(over: &mut [Over], input: impl Fn() -> Option<u64>) {
    let told: Vec<(String, u64)> =
        over.iter().filter_map(|o| Some((o.tried.target.model.clone(), o.tried.usage.as_ref()?.input_tokens))).collect();
    let estimated = OnceCell::new();
    for Over { tried, lost } in over {
        if let Some(usage) = &mut tried.usage {
            if let Some(written) = lost.filter(|written| *written > usage.output_tokens) {
                *usage = Usage { output_tokens: written, raw: None, ..usage.clone() };
            }
        } else if lost.is_some() || tried.first_event_us.is_some() {
            // The same conversation: a count of the same model is the best guess, and one of another model better than no count.
            let counted = told.iter().find(|(model, _)| *model == tried.target.model).or(told.first()).map(|(_, count)| *count);
            let Some(input_tokens) = counted.or_else(|| *estimated.get_or_init(&input)) else { continue };
            let output_tokens = lost.unwrap_or(0);
            tried.usage = Some(Usage {
                input_tokens,
                output_tokens,
                cache_read_tokens: None,
                cache_write_tokens: None,
                reasoning_tokens: None,
                raw: None,
            });
        }
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

    /// It races with others, in this format. Whoever sends it says there when it is written.
    pub fn race(&mut self, format: Format) -> Written {
        let written = Written::default();
        self.racing = Some(Racing { format, written: written.clone(), arrived: Vec::new() });
        written
    }

    /// A piece of its stream arrived.
    pub fn arrived(&mut self, chunk: &Bytes) {
        if let Some(racing) = &mut self.racing {
            racing.arrived.push(chunk.clone());
        }
    }

    /// It was chosen: it cannot lose any more.
    pub fn chosen(&mut self) {
        self.racing = None;
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
        let racing = self.racing.take().filter(|r| self.tried.part == Part::Lost && r.written.give_up());
        let lost = racing.map(|racing| racing.tokens(&self.tried.target.model, self.tried.usage.as_ref()));
        let nothing = Tried {
            target: Target { provider: String::new(), model: String::new() },
            via: Vec::new(),
            error: None,
            usage: None,
            ..self.tried
        };
        let tried = std::mem::replace(&mut self.tried, nothing);
        self.tries.over.lock().unwrap_or_else(PoisonError::into_inner).push(Over { tried, lost });
    }
}

// === impl Racing ===

impl Racing {
    /// About how many tokens arrived. What its provider told of a stream that came to its end is exact; before that it may be the count at its
    /// beginning.
    fn tokens(&self, model: &str, told: Option<&Usage>) -> u64 {
        if self.arrived.is_empty() {
            return 0;
        }
        let (mut decoder, mut events) = (self.format.event_decoder(), Vec::new());
        self.arrived.iter().for_each(|chunk| decoder.push(chunk, &mut events));
        match told.filter(|_| events.iter().any(|event| matches!(event, StreamEvent::Finish(_)))) {
            Some(told) => told.output_tokens,
            None => estimate::output_tokens(model, &events),
        }
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
        tries.take(|| None).into_iter().map(|t| (t.target.provider, t.part, t.error.map(|e| e.class))).collect()
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

    fn told(input_tokens: u64, output_tokens: u64) -> Option<Usage> {
        Some(Usage {
            input_tokens,
            output_tokens,
            cache_read_tokens: None,
            cache_write_tokens: None,
            reasoning_tokens: None,
            raw: Some("{}".into()),
        })
    }

    /// A piece of a stream of OpenAI's with these words.
    fn chunk(words: &str) -> Bytes {
        let event = serde_json::json!({"id": "x", "choices": [{"index": 0, "delta": {"content": words}, "finish_reason": null}]});
        format!("data: {event}\n\n").into()
    }

    /// A race of three: the first one is chosen and tells this, the second one was sent and gave these words, the third one was never sent.
    /// Input and output of each, and whether that was told.
    fn raced(winner: Option<Usage>, loser: Option<Usage>, words: &[&str], input: Option<u64>) -> Vec<Option<(u64, u64, bool)>> {
        let tries = Arc::new(Tries::new(Instant::now()));
        let begin = |number, name| tries.begin(number, target(name), Vec::new());
        let (mut a, mut b, mut c) = (begin(0, "a"), begin(1, "b"), begin(2, "c"));
        for racer in [&mut a, &mut b] {
            assert!(racer.race(Format::OpenaiChat).begin());
        }
        c.race(Format::OpenaiChat);
        b.usage(loser);
        words.iter().for_each(|words| b.arrived(&chunk(words)));
        tries.end(Fate::Lost, || drop((b, c)));
        a.first_event();
        a.chosen();
        a.usage(winner);
        a.end(None);
        drop(a);
        tries.take(|| input).into_iter().map(|t| t.usage.map(|u| (u.input_tokens, u.output_tokens, u.raw.is_some()))).collect()
    }

    #[test]
    fn who_lost_took_tokens_all_the_same() {
        let said = ["one two th", "ree four"];
        assert_eq!(raced(told(9, 12), None, &said, Some(100)), [Some((9, 12, true)), Some((9, 4, false)), None]);
        assert_eq!(raced(told(9, 12), None, &[], Some(100)), [Some((9, 12, true)), Some((9, 0, false)), None]);
        // Some tell the input when they begin, and with it what they wrote until then.
        assert_eq!(raced(told(9, 12), told(8, 1), &said, None), [Some((9, 12, true)), Some((8, 4, false)), None]);
        assert_eq!(raced(told(9, 12), told(8, 4), &said, None), [Some((9, 12, true)), Some((8, 4, true)), None]);
        // Nobody told anything, because the caller left.
        assert_eq!(raced(None, None, &said, Some(100)), [Some((100, 0, false)), Some((100, 4, false)), None]);
        assert_eq!(raced(None, None, &said, None), [None, None, None]);
    }

    #[test]
    fn what_was_told_of_a_whole_stream_is_not_counted_again() {
        let end = serde_json::json!({"id": "x", "choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]});
        for (ended, expect) in [(true, (8, 2, true)), (false, (8, 4, false))] {
            let tries = Arc::new(Tries::new(Instant::now()));
            let mut loser = tries.begin(0, target("a"), Vec::new());
            assert!(loser.race(Format::OpenaiChat).begin());
            loser.usage(told(8, 2));
            ["one two th", "ree four"].iter().for_each(|words| loser.arrived(&chunk(words)));
            if ended {
                loser.arrived(&format!("data: {end}\n\n").into());
            }
            tries.end(Fate::Lost, || drop(loser));
            let usage = tries.take(|| None).remove(0).usage.unwrap();
            assert_eq!((usage.input_tokens, usage.output_tokens, usage.raw.is_some()), expect, "{ended}");
        }
    }

    #[test]
    fn without_a_race_nothing_is_estimated() {
        let tries = Arc::new(Tries::new(Instant::now()));
        let mut only = tries.begin(0, target("a"), Vec::new());
        only.first_event();
        drop(only);
        assert!(tries.take(|| panic!("nobody asks")).remove(0).usage.is_none());
    }

    #[test]
    fn tries_are_bounded() {
        let tries = Tries::new(Instant::now());
        assert!((0..MAX_TRIES).all(|n| tries.number().is_ok_and(|given| given == n)));
        assert!(tries.number().is_err());
    }
}
