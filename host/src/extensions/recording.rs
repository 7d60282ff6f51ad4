//! Recording: the last calls of an extension, as they crossed, so that they can be made again in another version of it.
//!
//! A case is complete in itself: it holds copies, and never a request, a generation or an instance. Secrets of callers are `***` in it.
//! What a secret was found in that cannot be masked, what is too long, and what sent requests into the network is not kept.

use std::collections::VecDeque;
use std::fmt::{self, Debug, Write as _};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use http::header;
use http::request::Parts;
use llm_codec::hub::{ChatAnswer, ChatError, StreamEvent};
use tokio::sync::mpsc;

use super::bindings::exports::wasmgate::extension::attempts::Tried;
use super::bindings::exports::wasmgate::extension::dialect::EncodeOptions;
use super::bindings::exports::wasmgate::extension::judge::Candidate;
use super::bindings::exports::wasmgate::extension::on_complete::Outcome;
use super::bindings::exports::wasmgate::extension::provider_events::AttemptInfo;
use super::bindings::wasmgate::extension::request::CallInfo;
use super::clock::Spent;
use super::hooks::CallError;
use super::stats::Hook;
use super::tape::{Answer, Content, HostCall, Noted};

/// Longest case, in bytes of the text that it would make.
const MAX_CASE: usize = 256 << 10;

/// Most recordings of an extension that begin in a second: copying takes time on the request's path.
const PER_SECOND: u64 = 100;

/// What stands for a secret.
const MASK: &str = "***";

/// Shortest text that is looked for as a secret. Shorter ones are everywhere.
const SHORTEST_SECRET: usize = 4;

/// Parts of names, without their dashes, of header fields and query parameters that hold secrets.
const SECRET_NAMES: [&str; 10] =
    ["apikey", "subscriptionkey", "functionskey", "token", "secret", "password", "signature", "credential", "authorization", "cookie"];

/// Whole names of query parameters that do.
const SECRET_PARAMETERS: [&str; 3] = ["key", "auth", "sig"];

/// Longest recordings that an extension keeps together, in bytes.
const MAX_RING: usize = 8 << 20;

/// The last calls of an extension, as they crossed.
pub struct Recorder {
    keep: AtomicUsize,
    bodies: AtomicBool,
    /// Whether there is a shadow: most calls look no further.
    shadowed: AtomicBool,
    ring: Mutex<Ring>,
    shadow: Mutex<Option<Arc<Shadow>>>,
    pace: Pace,
    calls: AtomicU64,
}

/// The calls that are kept, the oldest first.
#[derive(Default)]
struct Ring {
    cases: VecDeque<Arc<Case>>,
    /// Length of all of them, in bytes.
    size: usize,
}

/// Who gets calls as they happen.
pub struct Shadow {
    /// Which part of the calls, from 0 to 1.
    pub share: f64,
    /// Where they go. While it is full they are dropped.
    pub to: mpsc::Sender<Arc<Case>>,
}

/// One call, or one stream: what was given, what the host answered meanwhile, and what came of it.
pub struct Case {
    pub(super) hook: Hook,
    /// Unix time at which it began.
    pub(super) at: Duration,
    /// About how much it had to read, which its limits depend on.
    pub(super) bytes: usize,
    pub(super) given: Given,
    /// Of a stream, what followed.
    pub(super) steps: Vec<Step>,
    pub(super) calls: Arc<[HostCall]>,
    /// How the call ended; of a stream, how opening it did and then each step.
    pub(super) endings: Vec<Ending>,
    pub(super) spent: Spent,
    /// The guest saw a secret that is masked here.
    pub(super) masked: bool,
    /// Length of the text that it would make, in bytes.
    size: usize,
}

/// What a hook was given. Handles are answered from the recorded calls of the host.
#[derive(Debug)]
pub enum Given {
    Accept,
    Decode { format: String, body: Content },
    EncodeAnswer { options: EncodeOptions, answer: ChatAnswer },
    EncodeError(ChatError),
    Encoder { options: EncodeOptions },
    AcceptOperation,
    AnswerOperation { operation: String },
    BeforeGenerate { call: CallInfo },
    AfterGenerate { call: CallInfo },
    StreamFilter { call: CallInfo },
    ProviderEvent { call: CallInfo, attempt: AttemptInfo, error: Option<ChatError> },
    Judge { call: CallInfo, candidates: Vec<Candidate> },
    Attempts { call: CallInfo, tries: Vec<Tried> },
    OnComplete { call: CallInfo, outcome: Outcome },
}

/// What a stream was given.
#[derive(Debug)]
pub enum Step {
    /// A batch.
    Events { events: Vec<StreamEvent>, bytes: usize, last: bool },
    /// The end of what an encoder writes.
    End(Option<ChatError>),
}

/// How a call ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ending {
    /// It gave this.
    Gave(String),
    /// It trapped, for this reason.
    Trapped(String),
    /// It reached a limit.
    Limit(&'static str),
}

/// A recording that cannot be kept.
pub struct Spoiled;

/// For whom a call is recorded.
struct Audience {
    ring: bool,
    shadow: Option<Arc<Shadow>>,
}

/// A call that is being recorded.
pub struct Draft {
    case: Case,
    calls: Vec<HostCall>,
    audience: Audience,
    bodies: bool,
    saw_content: bool,
    /// As they are written in the texts that are searched.
    secrets: Vec<String>,
    size: usize,
    scratch: String,
}

// === impl Recorder ===

impl Recorder {
    /// Keeps so many calls; with 0, none is recorded. Without `bodies` only those are kept that saw nothing of the conversation.
    pub fn new(keep: usize, bodies: bool) -> Self {
        Self {
            keep: AtomicUsize::new(keep),
            bodies: AtomicBool::new(bodies),
            shadowed: AtomicBool::new(false),
            ring: Mutex::default(),
            shadow: Mutex::default(),
            pace: Pace::new(),
            calls: AtomicU64::new(0),
        }
    }

    /// The configuration says something else now. What may no longer be kept is forgotten.
    pub fn set(&self, keep: usize, bodies: bool) {
        let kept_bodies = self.bodies.swap(bodies, Ordering::Relaxed);
        self.keep.store(keep, Ordering::Relaxed);
        let mut ring = self.ring.lock().unwrap_or_else(PoisonError::into_inner);
        if kept_bodies && !bodies {
            *ring = Ring::default();
        }
        ring.shorten(keep, MAX_RING);
    }

    /// The calls that are kept, the oldest first.
    pub fn cases(&self) -> Vec<Arc<Case>> {
        self.ring.lock().unwrap_or_else(PoisonError::into_inner).cases.iter().cloned().collect()
    }

    /// While one is set, calls also go there when they are over, with what they saw of the conversation.
    pub fn shadow(&self, to: Option<Shadow>) {
        let mut shadow = self.shadow.lock().unwrap_or_else(PoisonError::into_inner);
        *shadow = to.map(Arc::new);
        self.shadowed.store(shadow.is_some(), Ordering::Relaxed);
    }

    /// A call begins. What it is given is copied only when it is recorded.
    pub fn begin(&self, hook: Hook, bytes: usize, head: Option<&Parts>, given: impl FnOnce() -> Given) -> Option<Draft> {
        let shadow = match self.shadowed.load(Ordering::Relaxed) {
            true => self.shadow.lock().unwrap_or_else(PoisonError::into_inner).clone(),
            false => None,
        };
        let shadow = shadow.filter(|s| dice(self.calls.fetch_add(1, Ordering::Relaxed)) < s.share);
        let bodies = self.bodies.load(Ordering::Relaxed);
        let ring = self.keep.load(Ordering::Relaxed) > 0 && (bodies || !always_content(hook));
        if !(ring || shadow.is_some()) || !self.pace.admits() {
            return None;
        }
        Draft::begin(hook, bytes, head, given(), Audience { ring, shadow }, bodies).ok()
    }

    /// A call is over.
    pub fn keep(&self, mut draft: Draft) {
        // The configuration may have changed since it began.
        draft.audience.ring &= !draft.saw_content || self.bodies.load(Ordering::Relaxed);
        let Some((case, audience)) = draft.finish() else { return };
        let case = Arc::new(case);
        if let Some(shadow) = audience.shadow {
            // Full: whoever is shadowed does not wait for whoever shadows.
            let _ = shadow.to.try_send(Arc::clone(&case));
        }
        if audience.ring {
            let mut ring = self.ring.lock().unwrap_or_else(PoisonError::into_inner);
            ring.size += case.size;
            ring.cases.push_back(case);
            ring.shorten(self.keep.load(Ordering::Relaxed), MAX_RING);
        }
    }
}

impl Ring {
    /// To so many calls, and so many bytes.
    fn shorten(&mut self, keep: usize, bytes: usize) {
        while self.cases.len() > keep || self.size > bytes {
            let Some(oldest) = self.cases.pop_front() else { return };
            self.size -= oldest.size;
        }
    }
}

/// Hooks that are never called without something of the conversation.
fn always_content(hook: Hook) -> bool {
    matches!(hook, Hook::Decode | Hook::EncodeAnswer | Hook::Encoder | Hook::Judge)
}

/// Even numbers from 0 to 1 for 0, 1, 2, …, without a pattern that could follow the order of hooks (SplitMix64).
fn dice(n: u64) -> f64 {
    let mut z = n.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    ((z ^ (z >> 31)) >> 11) as f64 / (1u64 << 53) as f64
}

/// Admits so many a second.
struct Pace {
    start: Instant,
    second: AtomicU64,
    admitted: AtomicU64,
}

impl Pace {
    fn new() -> Self {
        Self { start: Instant::now(), second: AtomicU64::new(0), admitted: AtomicU64::new(0) }
    }

    fn admits(&self) -> bool {
        self.admits_at(self.start.elapsed().as_secs())
    }

    fn admits_at(&self, second: u64) -> bool {
        // Threads share these: they are written only when that can change something.
        if self.second.load(Ordering::Relaxed) != second && self.second.swap(second, Ordering::Relaxed) != second {
            self.admitted.store(0, Ordering::Relaxed);
        }
        self.admitted.load(Ordering::Relaxed) < PER_SECOND && self.admitted.fetch_add(1, Ordering::Relaxed) < PER_SECOND
    }
}

// === impl Case ===

impl Case {
    /// Which hook it was.
    pub fn hook(&self) -> Hook {
        self.hook
    }

    /// Whether the guest saw a secret that is masked here. What it does with `***` may differ from what it did then.
    pub fn is_masked(&self) -> bool {
        self.masked
    }

    /// For messages: the hook, the request where there is one, and how much it did.
    pub fn summary(&self) -> String {
        let id = self.given.call().map_or_else(String::new, |call| format!(" of {}", call.request_id));
        let steps = if self.steps.is_empty() { String::new() } else { format!("{} steps, ", self.steps.len()) };
        format!("{}{id} ({steps}{} calls of the host)", self.hook.name(), self.calls.len())
    }
}

impl Given {
    fn call(&self) -> Option<&CallInfo> {
        match self {
            Self::BeforeGenerate { call }
            | Self::AfterGenerate { call }
            | Self::StreamFilter { call }
            | Self::ProviderEvent { call, .. }
            | Self::Judge { call, .. }
            | Self::Attempts { call, .. }
            | Self::OnComplete { call, .. } => Some(call),
            Self::Accept
            | Self::Decode { .. }
            | Self::EncodeAnswer { .. }
            | Self::EncodeError(_)
            | Self::Encoder { .. }
            | Self::AcceptOperation
            | Self::AnswerOperation { .. } => None,
        }
    }
}

// === impl Draft ===

impl Draft {
    fn begin(hook: Hook, bytes: usize, head: Option<&Parts>, given: Given, audience: Audience, bodies: bool) -> Result<Self, Spoiled> {
        let at = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        let (steps, calls, endings, spent) = (Vec::new(), Arc::default(), Vec::new(), Spent::default());
        let mut draft = Self {
            case: Case { hook, at, bytes, given: Given::Accept, steps, calls, endings, spent, masked: false, size: 0 },
            calls: Vec::new(),
            audience,
            bodies,
            saw_content: false,
            secrets: head.map_or_else(Vec::new, secrets),
            size: 0,
            scratch: String::new(),
        };
        if always_content(hook) {
            draft.content()?;
        }
        draft.weigh(&given)?;
        draft.case.given = given;
        Ok(draft)
    }

    /// Something of the conversation crossed.
    pub fn content(&mut self) -> Result<(), Spoiled> {
        self.saw_content = true;
        self.audience.ring &= self.bodies;
        if self.audience.ring || self.audience.shadow.is_some() { Ok(()) } else { Err(Spoiled) }
    }

    /// The guest was given `***` in the case, and the secret itself in truth.
    pub fn gave_mask(&mut self) {
        self.case.masked = true;
    }

    /// A call of the host was answered.
    pub fn note<R: Answer>(&mut self, noted: Noted, answer: &R) -> Result<(), Spoiled> {
        self.weigh(answer)?;
        self.calls.push(noted.with(answer));
        Ok(())
    }

    /// A stream goes on.
    pub fn step(&mut self, step: Step) -> Result<(), Spoiled> {
        if matches!(&step, Step::Events { events, .. } if !events.is_empty()) {
            self.content()?;
        }
        self.weigh(&step)?;
        self.case.steps.push(step);
        Ok(())
    }

    /// The call, or a step of the stream, gave something.
    pub fn gave(&mut self, result: &dyn Debug, spent: Spent) -> Result<(), Spoiled> {
        let text = self.text(result)?;
        self.ended(Ending::Gave(text), spent);
        Ok(())
    }

    /// It gave nothing.
    pub fn failed(&mut self, error: &CallError, spent: Spent) -> Result<(), Spoiled> {
        let ending = match Ending::of(error).ok_or(Spoiled)? {
            Ending::Trapped(reason) => Ending::Trapped(self.text(&reason)?),
            ending => ending,
        };
        self.ended(ending, spent);
        Ok(())
    }

    fn ended(&mut self, ending: Ending, spent: Spent) {
        self.case.endings.push(ending);
        self.case.spent = self.case.spent + spent;
    }

    /// The text of a value without secrets, counted.
    pub fn text(&mut self, value: &dyn Debug) -> Result<String, Spoiled> {
        self.write(value)?;
        let mut text = std::mem::take(&mut self.scratch);
        for secret in &self.secrets {
            if text.contains(secret.as_str()) {
                text = text.replace(secret.as_str(), MASK);
            }
        }
        Ok(text)
    }

    /// Counts a value that is kept as it is, in which nothing can be masked.
    fn weigh(&mut self, value: &dyn Debug) -> Result<(), Spoiled> {
        self.write(value)?;
        if self.secrets.iter().any(|secret| self.scratch.contains(secret.as_str())) { Err(Spoiled) } else { Ok(()) }
    }

    fn write(&mut self, value: &dyn Debug) -> Result<(), Spoiled> {
        self.scratch.clear();
        let mut bounded = Bounded { text: &mut self.scratch, left: MAX_CASE - self.size };
        write!(bounded, "{value:?}").map_err(|_| Spoiled)?;
        self.size += self.scratch.len();
        Ok(())
    }

    /// The case, unless a stream was left while a step ran.
    fn finish(self) -> Option<(Case, Audience)> {
        let complete = self.case.endings.len() == self.case.steps.len() + 1;
        complete.then(|| (Case { calls: self.calls.into(), size: self.size, ..self.case }, self.audience))
    }
}

impl Ending {
    /// How a call ended that failed; none when that was not the guest's doing.
    pub fn of(error: &CallError) -> Option<Self> {
        match error {
            CallError::Trap { reason, .. } => Some(Self::Trapped(reason.clone())),
            CallError::Limit { limit, .. } => Some(Self::Limit(limit)),
            CallError::Exhausted { .. } | CallError::Refused(_) => None,
        }
    }
}

/// A text that ends before it gets too long.
struct Bounded<'a> {
    text: &'a mut String,
    left: usize,
}

impl fmt::Write for Bounded<'_> {
    fn write_str(&mut self, piece: &str) -> fmt::Result {
        self.left = self.left.checked_sub(piece.len()).ok_or(fmt::Error)?;
        self.text.push_str(piece);
        Ok(())
    }
}

// Secrets.

/// Whether a header field holds a secret of the caller, as far as its name tells.
pub fn is_secret_field(name: &str) -> bool {
    let plain = plain(name);
    SECRET_NAMES.iter().any(|part| plain.contains(part))
}

/// The same for a query parameter.
pub fn is_secret_parameter(name: &str) -> bool {
    SECRET_PARAMETERS.contains(&plain(name).as_str()) || is_secret_field(name)
}

fn plain(name: &str) -> String {
    name.chars().filter(char::is_ascii_alphanumeric).map(|c| c.to_ascii_lowercase()).collect()
}

/// What is recorded of a secret field. The scheme stays, because extensions look for it.
pub fn masked_value(name: &str, value: &str) -> String {
    match scheme(name, value) {
        Some((scheme, _)) => format!("{scheme} {MASK}"),
        None => MASK.to_owned(),
    }
}

/// `Bearer …`, in the fields that have a scheme.
fn scheme<'a>(name: &str, value: &'a str) -> Option<(&'a str, &'a str)> {
    let schemed = [header::AUTHORIZATION, header::PROXY_AUTHORIZATION].iter().any(|field| field.as_str().eq_ignore_ascii_case(name));
    value.split_once(' ').filter(|_| schemed)
}

/// The secrets of a request, as they are written in a quoted text, the longest first, so that none is left where another is part of it.
fn secrets(head: &Parts) -> Vec<String> {
    let mut secrets = Vec::new();
    for (field, value) in head.headers.iter().filter(|(field, _)| is_secret_field(field.as_str())) {
        let Ok(value) = value.to_str() else { continue };
        secrets.push(scheme(field.as_str(), value).map_or(value, |(_, secret)| secret).trim());
        if *field == header::COOKIE {
            secrets.extend(value.split(';').filter_map(|pair| Some(pair.split_once('=')?.1.trim())));
        }
    }
    // Google's clients send theirs as `key`.
    let query = head.uri.query().unwrap_or_default();
    let written = query.split('&').filter_map(|pair| pair.split_once('='));
    secrets.extend(written.filter(|(name, _)| is_secret_parameter(name)).map(|(_, value)| value));
    let meant: Vec<_> = form_urlencoded::parse(query.as_bytes()).filter(|(name, _)| is_secret_parameter(name)).collect();
    secrets.extend(meant.iter().map(|(_, value)| value.as_ref()));
    let quoted = |secret: &str| secret.escape_debug().to_string();
    let mut secrets: Vec<String> = secrets.into_iter().filter(|s| s.len() >= SHORTEST_SECRET).map(quoted).collect();
    secrets.sort_unstable_by_key(|s| std::cmp::Reverse(s.len()));
    secrets
}

#[cfg(test)]
pub(super) mod tests;
