//! The tape of a call: which functions of the host a guest called, and what they answered.
//!
//! Nearly all calls run without one, and then a function of the host costs one branch more. While a call is recorded, arguments and
//! answers are noted. In a replay the tape answers in the host's place: nothing real is asked, and nothing real changes.

use std::any::Any;
use std::fmt::{self, Debug};
use std::sync::Arc;

use super::recording::{Case, Draft, Spoiled, is_secret_field, masked_value};
use super::state::StoreState;

/// What a function of the host does with its caller's tape.
pub enum Tape {
    /// Calls are noted.
    Recording(Box<Draft>),
    /// An instance is being made for a replay. Nobody recorded that, so the host answers, but nothing changes.
    Quiet,
    /// Calls are answered from a recording.
    Replaying(Box<Playback>),
}

/// A function of the host.
#[derive(Debug, Clone, Copy)]
pub struct Function {
    name: &'static str,
    /// It changes something that lasts longer than the call.
    acts: bool,
    /// Something of the conversation crosses.
    content: bool,
}

impl Function {
    /// It tells something.
    pub const fn fact(name: &'static str) -> Self {
        Self { name, acts: false, content: false }
    }

    /// It tells something of the conversation.
    pub const fn content(name: &'static str) -> Self {
        Self { name, acts: false, content: true }
    }

    /// It changes something.
    pub const fn effect(name: &'static str) -> Self {
        Self { name, acts: true, content: false }
    }

    /// It asks a model.
    pub const fn generation(name: &'static str) -> Self {
        Self { name, acts: true, content: true }
    }
}

/// A call of the host, as it was recorded.
pub struct HostCall {
    function: Function,
    arguments: String,
    /// Whatever type the function answers with.
    answer: Arc<dyn Any + Send + Sync>,
    /// It read a clock, or asked for random bytes.
    sense: bool,
}

/// What functions of the host answer with, on a tape.
pub trait Answer: Clone + Debug + Send + Sync + 'static {}
impl<R: Clone + Debug + Send + Sync + 'static> Answer for R {}

/// Who answers a call.
pub enum Asked<R> {
    /// The host does; what it answers is noted with this.
    Host(Option<Noted>),
    /// The tape did.
    Tape(R),
}

/// A call that is being recorded and has no answer yet.
pub struct Noted {
    function: Function,
    arguments: String,
    sense: bool,
}

/// Bytes that are shown as text where they are text, because people read differences and secrets are looked for in texts.
#[derive(Clone, PartialEq)]
pub struct Content<B = Vec<u8>>(pub B);

impl<B: AsRef<[u8]>> Debug for Content<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match std::str::from_utf8(self.0.as_ref()) {
            Ok(text) => Debug::fmt(text, f),
            Err(_) => write!(f, "b\"{}\"", self.0.as_ref().escape_ascii()),
        }
    }
}

/// Runs a function of the host under the tape of its call: `taped!(state, function, (arguments,), what the host does)`. The last one is
/// run when the host answers, may wait, and gives the answer. (No function, because what the host does takes the arguments away.)
macro_rules! taped {
    ($state:expr, $function:expr, $arguments:expr, $real:expr) => {{
        let asked = $state.asked($function, &$arguments)?;
        match asked {
            $crate::extensions::tape::Asked::Tape(answer) => answer,
            $crate::extensions::tape::Asked::Host(noted) => {
                let answer = $real;
                $state.answered(noted, &answer);
                answer
            }
        }
    }};
}
/// The same for one that changes something: `pretended` is the answer while an instance is made for a replay.
macro_rules! acted {
    ($state:expr, $function:expr, $arguments:expr, $pretended:expr, $real:expr) => {{ if $state.is_quiet() { $pretended } else { $crate::extensions::tape::taped!($state, $function, $arguments, $real) } }};
}
pub(super) use {acted, taped};

impl StoreState {
    /// A function of the host is called. In a replay an error ends the call: the recording has no answer.
    #[inline]
    pub fn asked<R: Answer>(&mut self, function: Function, arguments: &dyn Debug) -> wasmtime::Result<Asked<R>> {
        match self.tape.as_deref_mut() {
            None | Some(Tape::Quiet) => Ok(Asked::Host(None)),
            Some(Tape::Recording(_)) => {
                let mut noted = None;
                self.draft(|draft| {
                    if function.content {
                        draft.content()?;
                    }
                    noted = Some(Noted::new(function, draft.text(arguments)?));
                    Ok(())
                });
                Ok(Asked::Host(noted))
            }
            Some(Tape::Replaying(playback)) => playback.answer(function, &format!("{arguments:?}")).map(Asked::Tape),
        }
    }

    /// The host answered.
    #[inline]
    pub fn answered<R: Answer>(&mut self, noted: Option<Noted>, answer: &R) {
        if let Some(noted) = noted {
            self.draft(|draft| draft.note(noted, answer));
        }
    }

    /// A function that tells the value of a header field. Secrets are recorded as `***`; the guest gets what arrived.
    pub fn taped_header(
        &mut self,
        function: Function,
        name: &str,
        real: impl FnOnce(&mut Self) -> wasmtime::Result<Option<String>>,
    ) -> wasmtime::Result<Option<String>> {
        let noted = match self.asked(function, &(name,))? {
            Asked::Tape(answer) => return Ok(answer),
            Asked::Host(noted) => noted,
        };
        let value = real(self)?;
        match (noted, &value) {
            (Some(noted), Some(secret)) if is_secret_field(name) => self.draft(|draft| {
                draft.gave_mask();
                draft.note(noted, &Some(masked_value(name, secret)))
            }),
            (noted, value) => self.answered(noted, value),
        }
        Ok(value)
    }

    /// A clock is read, or random bytes are asked for. In a replay the recorded readings come again, in their order. Beyond them, the
    /// instance's clocks stand still and its bytes are always the same; that is never a difference, because an instance that was warm
    /// when it was recorded has read some of them before.
    pub fn sensed<R: Answer>(
        &mut self,
        name: &'static str,
        arguments: &dyn Debug,
        real: impl FnOnce(&mut Self) -> wasmtime::Result<R>,
    ) -> wasmtime::Result<R> {
        match self.tape.as_deref_mut() {
            None | Some(Tape::Quiet) => real(self),
            Some(Tape::Recording(_)) => {
                let reading = real(self)?;
                self.draft(|draft| {
                    let arguments = draft.text(arguments)?;
                    draft.note(Noted { function: Function::fact(name), arguments, sense: true }, &reading)
                });
                Ok(reading)
            }
            Some(Tape::Replaying(playback)) => match playback.reading(name, &format!("{arguments:?}")) {
                Some(reading) => Ok(reading),
                None => real(self),
            },
        }
    }

    /// Whether an instance is being made for a replay.
    pub fn is_quiet(&self) -> bool {
        matches!(self.tape.as_deref(), Some(Tape::Quiet))
    }

    /// Whether this instance is for a replay: then it has no effect, and nobody is told what it does.
    pub fn is_replay(&self) -> bool {
        matches!(self.tape.as_deref(), Some(Tape::Quiet | Tape::Replaying(_)))
    }

    /// The recording of the call that runs, if it is recorded. One that cannot be kept ends here.
    pub fn draft(&mut self, note: impl FnOnce(&mut Draft) -> Result<(), Spoiled>) {
        if let Some(Tape::Recording(draft)) = self.tape.as_deref_mut()
            && let Err(Spoiled) = note(draft)
        {
            self.tape = None;
        }
    }

    /// What the replay that runs found so far.
    pub fn playback(&self) -> Option<&Playback> {
        match self.tape.as_deref() {
            Some(Tape::Replaying(playback)) => Some(playback),
            _ => None,
        }
    }
}

impl Noted {
    /// A call of a function.
    pub fn new(function: Function, arguments: String) -> Self {
        Self { function, arguments, sense: false }
    }

    /// The call with its answer.
    pub fn with<R: Answer>(self, answer: &R) -> HostCall {
        HostCall { function: self.function, arguments: self.arguments, answer: Arc::new(answer.clone()), sense: self.sense }
    }
}

impl HostCall {
    /// For messages: the function with its arguments.
    fn shown(&self) -> String {
        shown(self.function.name, &self.arguments)
    }
}

/// A function with its arguments, which are written as a tuple.
fn shown(name: &str, arguments: &str) -> String {
    let inside = arguments.strip_prefix('(').and_then(|a| a.strip_suffix(')')).unwrap_or(arguments);
    format!("`{name}({})`", super::differences::cut(inside.strip_suffix(',').unwrap_or(inside), 80))
}

/// A recording that answers, and how the calls differ from it.
pub struct Playback {
    calls: Arc<[HostCall]>,
    used: Vec<bool>,
    /// The guest was given `***` in place of a secret, so what it makes of that differs.
    masked: bool,
    /// What was asked instead, when it was masked.
    asked: Vec<String>,
    different: Option<String>,
    unanswered: Option<String>,
}

impl Playback {
    /// A recording from its begin.
    pub fn new(case: &Case) -> Self {
        let calls = Arc::clone(&case.calls);
        Self { used: vec![false; calls.len()], calls, masked: case.masked, asked: Vec::new(), different: None, unanswered: None }
    }

    /// Calls are matched by function, in order.
    pub fn answer<R: Answer>(&mut self, function: Function, arguments: &str) -> wasmtime::Result<R> {
        let next = self.take(|call| call.function.name == function.name);
        let Some((call, answer)) = next.and_then(|n| Some((&self.calls[n], self.calls[n].answer.downcast_ref::<R>()?))) else {
            let asked = format!("asks {}, which was not asked", shown(function.name, arguments));
            self.unanswered.get_or_insert(asked);
            return Err(wasmtime::Error::msg("the recording has no answer"));
        };
        let answer = answer.clone();
        if self.masked {
            let asked = shown(function.name, arguments);
            self.asked.push(asked);
        } else if call.arguments != arguments {
            let different = format!("asks {}, where {} was asked", shown(function.name, arguments), call.shown());
            self.different.get_or_insert(different);
        }
        Ok(answer)
    }

    /// The next reading of a clock, or of random bytes, that was recorded.
    pub fn reading<R: Answer>(&mut self, name: &str, arguments: &str) -> Option<R> {
        let next = self.take(|call| call.function.name == name && call.arguments == arguments)?;
        self.calls[next].answer.downcast_ref().cloned()
    }

    fn take(&mut self, wanted: impl Fn(&HostCall) -> bool) -> Option<usize> {
        let next = self.calls.iter().zip(&self.used).position(|(call, used)| !used && wanted(call))?;
        self.used[next] = true;
        Some(next)
    }

    /// The call that ended the replay, because the recording had no answer to it.
    pub fn unanswered(&self) -> Option<&str> {
        self.unanswered.as_deref()
    }

    /// The first call that had other arguments.
    pub fn different(&self) -> Option<&str> {
        self.different.as_deref()
    }

    /// What the guest asked that was given `***`. Only another one that was given it too can be compared.
    pub fn asked(&self) -> &[String] {
        &self.asked
    }

    /// The first effect of the recording that was not asked for again. What was only read then, and is no longer, makes no difference.
    pub fn missing(&self) -> Option<String> {
        let missing = self.calls.iter().zip(&self.used).find(|(call, used)| !**used && call.function.acts && !call.sense)?.0;
        Some(format!("no longer asks {}", missing.shown()))
    }
}
