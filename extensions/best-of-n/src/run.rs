//! Asks for the candidates, in waves, and makes one answer of them.

use serde_json::{Value, json};
use wasmgate_sdk::generate::{self, GenerateOptions, Generated, Job, News, Settled};
use wasmgate_sdk::hub::{PartKind, Usage};
use wasmgate_sdk::prelude::*;
use wasmgate_sdk::{clock, metrics, providers, wrapped};

use crate::asked::Wish;
use crate::score::{self, Budget, Looked, Score};
use crate::{Method, Settings, judge, merge};

/// Time in which nobody answers, in milliseconds: whoever waited to the end of the budget may come back a little early.
const LEAST_MS: u64 = 10;

/// After so long without news, whoever listens hears that there is still somebody.
const PATIENCE_MS: u64 = 15_000;

/// What happens on the way, for those who want to hear of it.
pub enum Progress<'a> {
    /// A wave of candidates is asked for: the number of the first, and who is asked with which temperature.
    Asked(usize, &'a [(Asked, Option<f64>)]),
    /// Nothing new.
    Waiting,
    /// A candidate came, or failed: its number, who was asked and what came. What it is worth is known when all came.
    Candidate(usize, &'a (Asked, Option<f64>), &'a Result<Generated, ChatError>),
    /// All came, and are compared.
    Judging,
}

/// Hears of it.
pub type Listener<'a> = &'a mut dyn FnMut(Progress);

/// What is to be done.
pub struct Task {
    /// The conversation.
    pub request: ChatRequest,
    /// Whom to ask, in turn.
    pub targets: Vec<Asked>,
    /// How many, and how.
    pub wish: Wish,
}

/// Whom to ask.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Asked {
    /// The provider; absent leaves it to the gateway's other extensions.
    pub provider: Option<String>,
    /// The model, as somebody would ask for it.
    pub model: String,
}

/// One candidate.
pub struct Candidate {
    /// Who was asked.
    pub asked: Asked,
    /// With which temperature.
    pub temperature: Option<f64>,
    /// What came of it.
    pub result: Result<Generated, ChatError>,
    /// What was seen in it; of a failed one nothing is.
    pub looked: Option<Looked>,
    /// What it is worth; of a failed one nothing is.
    pub score: Option<Score>,
}

/// What came of it all.
pub struct Done {
    /// The candidates, in the order in which they were asked for.
    pub candidates: Vec<Candidate>,
    /// The best one.
    pub chosen: usize,
    /// The answer.
    pub answer: ChatAnswer,
    /// Functions of others that are in it: name, and number of the candidate.
    pub taken: Vec<(String, usize)>,
    /// How it was made.
    pub method: Method,
    /// How many were wanted.
    pub wanted: u32,
    /// Why fewer were asked for.
    pub stopped: Option<&'static str>,
    /// Who judged, or why nobody did.
    pub judges: Vec<String>,
}

impl Asked {
    /// Of a name: `provider/model` is understood without routing too.
    pub fn of(name: &str) -> Self {
        let whole = Self { provider: None, model: name.to_owned() };
        let Some((first, model)) = name.split_once('/').filter(|(_, model)| !model.is_empty()) else { return whole };
        match providers::find(first) {
            Some(provider) => Self { provider: Some(provider.name), model: model.to_owned() },
            None => whole,
        }
    }
}

/// Does it. An error when no candidate got an answer.
pub fn run(settings: &Settings, task: Task, listener: Listener) -> Result<Done, ChatError> {
    let Task { request, targets, wish } = task;
    let begin = clock::unix_ms();
    let left = || settings.budget_ms.saturating_sub(clock::unix_ms().saturating_sub(begin));
    // One share more is for what is put together of them.
    let mut budget = Budget::new(settings.max_bytes, wish.count as usize + usize::from(wish.method == Method::Merge));
    let (mut candidates, stopped) = ask(settings, &request, &targets, wish.count, &mut budget, &left, listener);
    let good: Vec<usize> = (0..candidates.len()).filter(|n| candidates[*n].result.is_ok()).collect();
    if good.is_empty() {
        return Err(failed(&candidates));
    }
    let mut used = candidates.iter().filter_map(|c| c.result.as_ref().ok()?.answer.usage.clone()).reduce(Usage::plus);
    listener(Progress::Judging);
    let generated: Vec<&Generated> = candidates.iter().filter_map(|c| c.result.as_ref().ok()).collect();
    let mut scores = score::of(&candidates.iter().filter_map(|c| c.looked.as_ref()).collect::<Vec<_>>());
    let judges = judged(settings, &request, &generated, &mut scores, &mut used, left());
    for (n, mut score) in good.iter().zip(scores) {
        score.add_up(wish.method);
        candidates[*n].score = Some(score);
    }
    // The first of equals, so that the same candidates give the same answer.
    let better = |a: usize, b: usize| match (&candidates[b].score, &candidates[a].score) {
        (Some(b_score), Some(a_score)) if b_score.beats(a_score) => b,
        _ => a,
    };
    let chosen = good.iter().copied().reduce(better).unwrap_or_default();
    let mut done = Done {
        answer: answer_of(&candidates[chosen]).ok_or_else(|| failed(&candidates))?,
        candidates,
        chosen,
        taken: Vec::new(),
        method: wish.method,
        wanted: wish.count,
        stopped,
        judges,
    };
    if wish.method == Method::Merge {
        done.merge(&request, budget);
    }
    done.answer.usage = used;
    count(&done);
    Ok(done)
}

/// For the operator's monitoring.
fn count(done: &Done) {
    let merged = if done.taken.is_empty() { "no" } else { "yes" };
    // An instance has no use for the error: it says that there are too many series, and there are eight.
    let _ = metrics::count("answers_total", &[("method", done.method.name()), ("merged", merged)], 1.0);
    for candidate in &done.candidates {
        let outcome = match &candidate.score {
            Some(score) if score.valid => "valid",
            Some(_) => "invalid",
            None => "failed",
        };
        let _ = metrics::count("candidates_total", &[("outcome", outcome)], 1.0);
    }
}

fn answer_of(candidate: &Candidate) -> Option<ChatAnswer> {
    candidate.result.as_ref().ok().map(|g| g.answer.clone())
}

/// Asks in waves, until there are enough, or the budget is spent.
fn ask(
    settings: &Settings,
    request: &ChatRequest,
    targets: &[Asked],
    count: u32,
    budget: &mut Budget,
    left: &dyn Fn() -> u64,
    listener: Listener,
) -> (Vec<Candidate>, Option<&'static str>) {
    let mut candidates: Vec<Candidate> = Vec::new();
    let count = count as usize;
    while candidates.len() < count {
        if !candidates.is_empty() {
            let stop = stop(settings, &candidates, left());
            if stop.is_some() {
                return (candidates, stop);
            }
        }
        let wave = settings.at_once.min(count - candidates.len());
        let first = candidates.len();
        let whom = |n: usize| (targets[n % targets.len()].clone(), settings.temperature(n, count).or(request.params.temperature));
        let asked: Vec<(Asked, Option<f64>)> = (first..first + wave).map(whom).collect();
        let results = wave_of(request, first, &asked, left(), listener);
        // In the order of their numbers, whichever came first: what parsers may read is shared out in it.
        candidates.extend(asked.into_iter().zip(results).map(|((asked, temperature), result)| {
            let looked = result.as_ref().ok().map(|generated| score::look(&generated.answer, budget));
            Candidate { asked, temperature, result, looked, score: None }
        }));
    }
    (candidates, None)
}

/// Asks at once, and waits for all. One result for each, in their order.
fn wave_of(
    request: &ChatRequest,
    first: usize,
    asked: &[(Asked, Option<f64>)],
    left: u64,
    listener: Listener,
) -> Vec<Result<Generated, ChatError>> {
    listener(Progress::Asked(first, asked));
    let jobs: Vec<Job> = asked.iter().map(|whom| job(request, whom, left)).collect();
    let batch = match generate::begin(&jobs) {
        Ok(batch) => batch,
        Err(error) => return vec![Err(error); jobs.len()],
    };
    let untold = || Err(ChatError::new(ErrorClass::Internal, "The gateway did not say what came of it."));
    let mut results: Vec<Result<Generated, ChatError>> = jobs.iter().map(|_| untold()).collect();
    loop {
        match batch.next(Some(PATIENCE_MS)) {
            News::Settled(Settled { number, outcome }) => {
                let n = number as usize;
                if let (Some(whom), Some(result)) = (asked.get(n), results.get_mut(n)) {
                    listener(Progress::Candidate(first + n, whom, &outcome));
                    *result = outcome;
                }
            }
            News::Waiting => listener(Progress::Waiting),
            News::Done => return results,
        }
    }
}

/// Why no more are asked for.
fn stop(settings: &Settings, candidates: &[Candidate], left: u64) -> Option<&'static str> {
    let answers = || candidates.iter().filter_map(|c| c.result.as_ref().ok()).map(|g| &g.answer);
    if let Some(enough) = &settings.enough {
        let looked = candidates.iter().filter_map(|c| c.looked.as_ref());
        let good = looked.filter(|l| score::of(&[*l])[0].by_itself() >= enough.score).count();
        if good >= enough.count as usize {
            return Some("enough");
        }
    }
    let spent: u64 = answers().filter_map(|a| a.usage.as_ref()).map(|u| u.input_tokens.saturating_add(u.output_tokens)).sum();
    if settings.budget_tokens.is_some_and(|budget| spent >= budget) {
        return Some("budget_tokens");
    }
    if left < LEAST_MS {
        return Some("budget_ms");
    }
    // What is wrong with the request, or with the caller, is wrong with the next one too.
    let hopeless = |c: &Candidate| {
        c.result.as_ref().is_err_and(|e| {
            matches!(e.class, ErrorClass::InvalidRequest | ErrorClass::Authentication | ErrorClass::Permission | ErrorClass::ContextTooLong)
        })
    };
    let one_target = candidates.iter().all(|c| c.asked == candidates[0].asked);
    (one_target && candidates.iter().all(hopeless)).then_some("refused")
}

fn job(request: &ChatRequest, (asked, temperature): &(Asked, Option<f64>), left: u64) -> Job {
    let mut request = request.clone();
    request.model.clone_from(&asked.model);
    request.params.temperature = *temperature;
    request.stream = false;
    Job { request, options: GenerateOptions { provider: asked.provider.clone(), timeout_ms: Some(left), notes: Vec::new() } }
}

/// Lets others judge, and says who did.
fn judged(
    settings: &Settings,
    request: &ChatRequest,
    generated: &[&Generated],
    scores: &mut [Score],
    used: &mut Option<Usage>,
    left: u64,
) -> Vec<String> {
    let mut judges = Vec::new();
    if generated.len() < 2 || left < LEAST_MS {
        return judges;
    }
    let mut opinions = Vec::new();
    match judge::extension(request, generated) {
        None => {}
        Some(Ok(opinion)) => {
            judges.push("the gateway's judge".to_owned());
            for (score, said) in scores.iter_mut().zip(&opinion.scores) {
                // 0 is: of no use.
                if said.as_ref().is_some_and(|(value, _)| *value <= 0.0) {
                    score.valid = false;
                }
            }
            opinions.push(opinion);
        }
        Some(Err(error)) => judges.push(format!("the gateway's judge failed: {}", error.message)),
    }
    if let Some(model) = &settings.judge_model {
        match judge::model(model, &settings.rubric, request, generated, left) {
            Ok(opinion) if opinion.scores.iter().any(Option::is_some) => {
                judges.push(model.clone());
                opinions.push(opinion);
            }
            Ok(opinion) => {
                judges.push(format!("{model} gave no scores"));
                opinions.push(opinion);
            }
            Err(error) => judges.push(format!("{model} failed: {}", error.message)),
        }
    }
    for opinion in &mut opinions {
        *used = [used.take(), opinion.usage.take()].into_iter().flatten().reduce(Usage::plus);
    }
    for (n, score) in scores.iter_mut().enumerate() {
        let said: Vec<&(f64, String)> = opinions.iter().filter_map(|o| o.scores.get(n)?.as_ref()).collect();
        if !said.is_empty() {
            score.judge = Some(said.iter().map(|(value, _)| value).sum::<f64>() / said.len() as f64);
            score.notes.extend(said.iter().map(|(_, reason)| reason.clone()).filter(|r| !r.is_empty()));
        }
    }
    judges
}

impl Done {
    /// Puts the best one and the others together, if that is surely better.
    fn merge(&mut self, request: &ChatRequest, budget: Budget) {
        let valid = |n: &usize| self.candidates[*n].score.as_ref().is_some_and(|s| s.valid);
        let mut order: Vec<usize> = (0..self.candidates.len()).filter(|n| *n != self.chosen && valid(n)).collect();
        let total = |n: usize| self.candidates[n].score.as_ref().map_or(0.0, |s| s.total);
        order.sort_by(|a, b| total(*b).total_cmp(&total(*a)));
        order.insert(0, self.chosen);
        let looked: Vec<(usize, &Looked)> = order.iter().filter_map(|n| Some((n + 1, self.candidates[*n].looked.as_ref()?))).collect();
        let Some(merged) = merge::merge(&looked, budget.left() / 2) else { return };
        let mut answer = self.answer.clone();
        let parts = answer.choices.first_mut().map(|c| &mut c.parts);
        let mut texts: Vec<&mut String> =
            parts.into_iter().flatten().filter_map(|p| if let PartKind::Text(text) = &mut p.kind { Some(text) } else { None }).collect();
        // What is in several parts cannot be put back where it was.
        let [text] = &mut texts[..] else { return };
        **text = merged.text;
        let Some(best) = &self.candidates[self.chosen].looked else { return };
        let scores = score::of(&[best, &score::look(&answer, &mut Budget::new(budget.left() / 2, 1))]);
        if !scores[1].valid || scores[1].style < scores[0].style || !self.is_liked(request, &answer) {
            return;
        }
        self.answer = answer;
        self.taken = merged.taken;
    }

    /// Whether the gateway's judge, where there is one, likes it at least as well as the best candidate.
    fn is_liked(&self, request: &ChatRequest, merged: &ChatAnswer) -> bool {
        let Ok(best) = &self.candidates[self.chosen].result else { return false };
        let mut other = best.clone();
        other.answer = merged.clone();
        match judge::extension(request, &[best, &other]) {
            None => true,
            Some(Ok(opinion)) => match &opinion.scores[..] {
                [Some((best, _)), Some((merged, _))] => merged >= best,
                _ => false,
            },
            Some(Err(_)) => false,
        }
    }

    /// In one line, for a header: `chosen=2 of 3; method=vote; scores=0.4 0.91 failed`.
    pub fn line(&self) -> String {
        let scores: Vec<String> = self
            .candidates
            .iter()
            .map(|c| match &c.score {
                Some(score) if score.valid => format!("{:.2}", score.total),
                Some(score) => format!("{:.2}(invalid)", score.total),
                None => "failed".into(),
            })
            .collect();
        let mut line =
            format!("chosen={} of {}; method={}; scores={}", self.chosen + 1, self.candidates.len(), self.method.name(), scores.join(" "));
        if !self.taken.is_empty() {
            line.push_str(&format!("; merged={}", self.taken.len()));
        }
        if let Some(why) = self.stopped {
            line.push_str(&format!("; stopped={why}"));
        }
        line
    }

    /// All of it, as JSON. With the texts of the candidates if they are wanted.
    pub fn report(&self, texts: bool) -> Value {
        let candidate = |(n, c): (usize, &Candidate)| {
            let mut one = told(n, &c.asked, c.temperature, &c.result, texts);
            if c.result.is_ok() {
                one["score"] = json!(c.score);
            }
            one
        };
        let taken = self.taken.iter().map(|(name, from)| json!({"function": name, "from": from}));
        json!({
            "method": self.method.name(),
            "wanted": self.wanted,
            "chosen": self.chosen + 1,
            "merged": taken.collect::<Vec<_>>(),
            "stopped": self.stopped,
            "judges": self.judges,
            "candidates": self.candidates.iter().enumerate().map(candidate).collect::<Vec<_>>(),
        })
    }
}

/// Who is asked, as JSON.
pub fn whom(n: usize, asked: &Asked, temperature: Option<f64>) -> Value {
    json!({"number": n + 1, "model": asked.model, "provider": asked.provider, "temperature": temperature})
}

/// A candidate that came or failed, as JSON, but for its score. With its text if it is wanted.
pub fn told(n: usize, asked: &Asked, temperature: Option<f64>, result: &Result<Generated, ChatError>, text: bool) -> Value {
    let mut one = whom(n, asked, temperature);
    match result {
        Ok(generated) => {
            if let Some(target) = &generated.served_by {
                one["provider"] = target.provider.as_str().into();
                one["model"] = target.model.as_str().into();
            }
            one["request_id"] = generated.request_id.as_str().into();
            one["latency_ms"] = json!(generated.duration_us as f64 / 1000.0);
            if let Some(usage) = &generated.answer.usage {
                one["usage"] = json!({"prompt_tokens": usage.input_tokens, "completion_tokens": usage.output_tokens});
            }
            if text {
                one["content"] = generated.answer.text().into();
            }
        }
        Err(error) => one["error"] = json!({"code": wrapped::code(error), "message": error.message}),
    }
    one
}

/// The error when nobody answered: the first one, which is as good as any.
fn failed(candidates: &[Candidate]) -> ChatError {
    let mut errors = candidates.iter().filter_map(|c| c.result.as_ref().err());
    match errors.next() {
        Some(first) if candidates.len() > 1 => {
            let message = format!("None of {} candidates got an answer. The first: {}", candidates.len(), first.message);
            ChatError { message, ..first.clone() }
        }
        Some(first) => first.clone(),
        None => ChatError::new(ErrorClass::Internal, "No candidate was asked for."),
    }
}
