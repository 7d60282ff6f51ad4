//! Several answers to one request, and the best of them.
//!
//! 1. `asked.rs`: whether a request wants that, and how many.
//! 2. `run.rs`: the candidates are asked for, all at once or in waves, within a budget. They are requests of their own in the caller's
//!    name: keys, limits, routing and usage apply to each.
//! 3. `score.rs`, `judge.rs`: what each is worth.
//! 4. `merge.rs`, with `code.rs`: one source put together of several.
//! 5. The answer stands for the provider's. `api.rs` gives the same with all candidates in it.
//!
//! It is a judge too: answers of a race, and those that other extensions compare, are scored by `score.rs` as candidates are.
//!
//! What is absent: no candidate asks for candidates. Whatever names its model has, a request of an extension passes here untouched or is
//! refused.

mod api;
mod asked;
mod code;
mod judge;
mod merge;
mod run;
mod score;

use serde::Deserialize;
use wasmgate_sdk::format;
use wasmgate_sdk::prelude::*;
use wasmgate_sdk::{Candidate, HttpRequest, HttpStream, Judge, Outgoing, Score as Said};

use asked::{HEADER, PREFIX, Wish};
use run::{Asked, Task};
use score::{Budget, Looked, Score};

/// The note with the scores, as JSON.
const NOTE: &str = "best-of-n";

/// More would not leave room for judges in what the host lets one request ask for.
const MOST: u32 = 12;

/// How one answer is made of several.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Method {
    /// The best by all signals.
    #[default]
    CodeQuality,
    /// What most of them say.
    Vote,
    /// The best, with functions of others where those are surely better.
    Merge,
    /// What judges like best.
    Judge,
}

impl Method {
    fn name(self) -> &'static str {
        match self {
            Self::CodeQuality => "code_quality",
            Self::Vote => "vote",
            Self::Merge => "merge",
            Self::Judge => "judge",
        }
    }
}

/// Settings, as they are written.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    #[serde(default = "num_candidates")]
    num_candidates: u32,
    #[serde(default = "max_candidates")]
    max_candidates: u32,
    #[serde(default)]
    targets: Vec<String>,
    #[serde(default)]
    temperatures: Option<Temperatures>,
    #[serde(default)]
    at_once: Option<u32>,
    #[serde(default)]
    enough: Option<Enough>,
    #[serde(default)]
    budget_tokens: Option<u64>,
    #[serde(default = "budget_ms")]
    budget_ms: u64,
    #[serde(default)]
    synthesis_method: Method,
    #[serde(default)]
    judge_model: Option<String>,
    #[serde(default)]
    rubric: Option<String>,
    #[serde(default = "max_bytes")]
    max_bytes: usize,
    #[serde(default = "path")]
    path: String,
}

/// Temperatures of the candidates.
#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(deny_unknown_fields)]
struct Temperatures {
    /// Of the first.
    from: f64,
    /// Of the last.
    to: f64,
}

/// When no more candidates are needed.
#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(deny_unknown_fields)]
struct Enough {
    /// So many.
    #[serde(default = "one")]
    count: u32,
    /// With at least this score.
    #[serde(default = "good")]
    score: f64,
}

fn num_candidates() -> u32 {
    3
}

fn max_candidates() -> u32 {
    8
}

/// Less than a request of an extension may take (`limits.generate_ms`): whoever asks for candidates by way of another extension gets those that
/// came in time.
fn budget_ms() -> u64 {
    100_000
}

fn one() -> u32 {
    1
}

fn good() -> f64 {
    0.8
}

/// What the default of `limits.cpu_ms` leaves time for, on a slow machine too.
fn max_bytes() -> usize {
    32 << 10
}

fn path() -> String {
    "/api/best-of-n".into()
}

/// Settings that make sense.
#[derive(Debug)]
pub struct Settings {
    num_candidates: u32,
    max_candidates: u32,
    targets: Vec<String>,
    temperatures: Option<Temperatures>,
    at_once: usize,
    enough: Option<Enough>,
    budget_tokens: Option<u64>,
    budget_ms: u64,
    max_bytes: usize,
    method: Method,
    judge_model: Option<String>,
    rubric: String,
}

impl Settings {
    /// What is wanted when nobody says.
    fn wish(&self) -> Wish {
        Wish { count: self.num_candidates, method: self.method }
    }

    /// The temperature of a candidate; `None` leaves it to the caller.
    fn temperature(&self, n: usize, of: usize) -> Option<f64> {
        let Temperatures { from, to } = self.temperatures?;
        let share = if of > 1 { n as f64 / (of - 1) as f64 } else { 0.0 };
        Some(((from + (to - from) * share) * 100.0).round() / 100.0)
    }
}

/// The extension.
pub struct BestOfN {
    settings: Settings,
    path: String,
}

impl Extension for BestOfN {
    type Config = Config;

    fn configure(config: Config) -> Result<Self, String> {
        let Config { num_candidates, max_candidates, targets, temperatures, at_once, enough, budget_ms, judge_model, .. } = config;
        if !(1..=MOST).contains(&max_candidates) {
            return Err(format!("`max_candidates` is {max_candidates}; it can be from 1 to {MOST}"));
        }
        if !(1..=max_candidates).contains(&num_candidates) {
            return Err(format!("`num_candidates` is {num_candidates}; it can be from 1 to `max_candidates`, which is {max_candidates}"));
        }
        if let Some(t) = temperatures.filter(|t| ![t.from, t.to].iter().all(|v| (0.0..=2.0).contains(v))) {
            return Err(format!("`temperatures` go from {} to {}; each can be from 0 to 2", t.from, t.to));
        }
        if at_once == Some(0) {
            return Err("`at_once` is 0, so no candidate would be asked for; leave it out, or set 1 or more".into());
        }
        if let Some(e) = enough.filter(|e| e.count == 0 || !(0.0..=1.0).contains(&e.score)) {
            return Err(format!("`enough` is {{count: {}, score: {}}}; `count` is 1 or more and `score` from 0 to 1", e.count, e.score));
        }
        if budget_ms == 0 {
            return Err("`budget_ms` is 0, which leaves no time for an answer; it is in milliseconds, for example 100000".into());
        }
        if config.max_bytes == 0 {
            return Err("`max_bytes` is 0, so no code would be parsed; leave it out, or set for example 32768".into());
        }
        let named = targets.iter().map(|t| ("targets", t)).chain(judge_model.iter().map(|m| ("judge_model", m)));
        for (field, name) in named {
            if name.is_empty() || name.starts_with(PREFIX) {
                return Err(format!("`{field}` has `{name}`; write a model, an alias or `provider/model`, without `{PREFIX}`"));
            }
        }
        let path = format::path_prefix(&config.path).map_err(|e| e.replace("path_prefix", "path"))?;
        if path.is_empty() {
            return Err("`path` is empty; write it like `/api/best-of-n`".into());
        }
        let at_once = at_once.or(enough.map(|e| e.count)).unwrap_or(max_candidates).max(1) as usize;
        let settings = Settings {
            num_candidates,
            max_candidates,
            targets,
            temperatures,
            at_once,
            enough,
            budget_tokens: config.budget_tokens,
            budget_ms,
            max_bytes: config.max_bytes,
            method: config.synthesis_method,
            judge_model,
            rubric: config.rubric.unwrap_or_else(|| judge::RUBRIC.into()),
        };
        Ok(Self { settings, path })
    }

    fn routes(&self) -> Vec<Route> {
        vec![Route::http("POST", self.path.clone())]
    }

    fn before_generate(&self, call: &CallInfo, request: &Request) -> Decision {
        if call.depth > 0 {
            return if call.model.starts_with(PREFIX) { Decision::Reject(nested(&call.model)) } else { Decision::Continue };
        }
        let task = match self.task(call, request) {
            Ok(Some(task)) => task,
            Ok(None) => return Decision::Continue,
            Err(error) => return Decision::Reject(error),
        };
        match run::run(&self.settings, task, &mut |_| ()) {
            Ok(done) => {
                request.response_header(&Header { name: HEADER.into(), value: done.line() });
                request.add_note(&Note { key: NOTE.into(), value: done.report(false).to_string() });
                Decision::Respond(done.answer)
            }
            Err(error) => Decision::Reject(error),
        }
    }
}

impl BestOfN {
    /// What a request wants; `None` when it is an ordinary one.
    fn task(&self, call: &CallInfo, request: &Request) -> Result<Option<Task>, ChatError> {
        let alias = asked::alias(&self.settings, &call.model)?;
        let wish = match (alias, asked::wish(&self.settings, request)?) {
            (Some((count, _)), wish) => Wish { count, ..wish.unwrap_or_else(|| self.settings.wish()) },
            (None, Some(wish)) => wish,
            (None, None) => return Ok(None),
        };
        let chosen = |model: &str| Asked { provider: call.provider.clone(), model: model.to_owned() };
        let first = match alias {
            // The caller named the provider before it: `one/best:3:m`.
            Some((_, model)) if call.provider.as_ref().is_some_and(|p| call.requested_model.starts_with(&format!("{p}/"))) => chosen(model),
            Some((_, model)) => Asked::of(model),
            // A provider's default model has no name that could be asked for again.
            None if call.requested_model.is_empty() || call.requested_model.ends_with('/') => chosen(&call.model),
            None => Asked::of(&call.requested_model),
        };
        let mut chat = request.whole()?;
        if chat.params.n.is_some_and(|n| n > 1) {
            return Err(asked::invalid("n", "it is more than 1, and the best of several candidates is one answer; leave it out"));
        }
        chat.params.n = None;
        asked::forget(&mut chat.extras);
        let mut targets = vec![first];
        targets.extend(self.settings.targets.iter().map(|t| Asked::of(t)));
        Ok(Some(Task { request: chat, targets, wish }))
    }
}

impl Judge for BestOfN {
    /// For a race, and for other extensions: what is not whole is of no use, and of what is, the sum of the signals counts.
    fn judge(&self, _call: &CallInfo, _request: &Request, candidates: &[Candidate]) -> Result<Vec<Said>, ChatError> {
        let mut budget = Budget::new(self.settings.max_bytes, candidates.len());
        let looked: Vec<Looked> = candidates.iter().map(|c| score::look(&c.answer, &mut budget)).collect();
        let value = |mut score: Score| {
            score.add_up(Method::CodeQuality);
            Said { value: if score.valid { score.total } else { 0.0 }, reason: score.notes.join("; ") }
        };
        Ok(score::of(&looked.iter().collect::<Vec<_>>()).into_iter().map(value).collect())
    }
}

impl HttpStream for BestOfN {
    fn answer(&self, request: HttpRequest, out: &mut dyn Outgoing) {
        api::answer(&self.settings, &request.body, out);
    }
}

fn nested(model: &str) -> ChatError {
    let shown: String = model.chars().take(60).collect();
    asked::invalid("model", &format!("`{shown}` asks for candidates, and this is a request of an extension already; name a model"))
}

wasmgate_sdk::export!(BestOfN: before_generate, judge, http_stream);

#[cfg(test)]
mod tests;
