//! Stage 5: the request is tried at a target, and at others when that is virtual or an extension wants it, until one answers.
//!
//! A native provider is asked directly: its answer is relayed as it comes. Behind a virtual one (`crate::virtual_providers` decides which member
//! is asked when) an answer counts when its first event is there, or all of it where hooks or the client want it whole, because until then
//! another member may answer. Either way extensions see each try, and nothing is sent to the client before one target was chosen.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::{BoxFuture, FutureExt as _};
use llm_codec::hub::{ChatError, ErrorClass};

use super::answer::Answer;
use super::filters::Filters;
use super::hooks::{self, Event};
use super::operation::{self, Opened};
use super::relay::{Events, Relay};
use super::tries::Tries;
use super::upstream::{self, Attempt};
use super::{Completion, Exchange, Ready, Stop, sticky};
use crate::config::virtual_providers::{DEFAULT_ON, RaceStrategy};
use crate::extensions::bindings::exports::wasmgate::extension::judge::Candidate;
use crate::extensions::bindings::exports::wasmgate::extension::provider_events::AttemptInfo;
use crate::extensions::bindings::wasmgate::extension::request::Target;
use crate::virtual_providers::performance::{Ran, Subject};
use crate::virtual_providers::racing::{self, Fate, Race, Racer, Track, Won};
use crate::virtual_providers::{Failure, Member, Node, Performance, Scope, Strategy, Tree, fallback, loadbalance, scorer};

/// How often extensions may send one request, or one member's share of it, elsewhere. Targets that they pass over count too.
const MAX_ATTEMPTS: u32 = 8;

/// How long `hedge` waits for a racer of which too little is known.
const UNKNOWN_P95: Duration = Duration::from_millis(500);

/// Shortest wait of `hedge` that is taken from experience: below it, every request would be sent twice.
const MIN_PATIENCE: Duration = Duration::from_millis(10);

/// Tries targets until one answers. `hooked` tells that hooks will look at a complete answer.
pub async fn run(exchange: &Arc<Exchange>, hooked: bool, completion: &mut Completion) -> Result<Ready, Stop> {
    for _ in 0..MAX_ATTEMPTS {
        let target = upstream::choose(exchange)?;
        let generation = exchange.generation();
        if let Some(node) = generation.providers.virtuals().find(&target.provider) {
            let whole = !exchange.head.stream || (hooked && exchange.buffered());
            let course = Course { exchange: Arc::clone(exchange), tries: Arc::clone(completion.tries()), whole, races: false };
            let reached = course.through(node, &target.model, &[]).await.map_err(Stop::from)?;
            exchange.settle(reached.target, reached.why);
            return ready(exchange, reached.opened, hooked, completion).await.map_err(Stop::from);
        }
        let attempt = AttemptInfo { target, number: completion.tries().number()? };
        match hooks::provider_event(exchange, &attempt, None).await? {
            Event::Keep => {}
            Event::Other(target) => {
                exchange.redirect(target);
                continue;
            }
            Event::Next => {
                return Err(ChatError::new(ErrorClass::Overloaded, "No provider is left that could take the request.").into());
            }
        }
        let error = match open(exchange, &attempt, hooked, completion).await {
            Ok(ready) => return Ok(ready),
            // What broke here is no business of the provider's.
            Err(error) if error.class == ErrorClass::Internal => return Err(error.into()),
            Err(error) => error,
        };
        match hooks::provider_event(exchange, &attempt, Some(&error)).await? {
            Event::Other(target) => {
                completion.failed(&error);
                exchange.redirect(target);
            }
            Event::Keep | Event::Next => return Err(error.into()),
        }
    }
    let message = format!("The request was sent {MAX_ATTEMPTS} times, and no provider answered it.");
    Err(ChatError::new(ErrorClass::Overloaded, message).into())
}

/// One try at a native provider, up to the first event of a stream, or to the end of a complete answer.
async fn open(exchange: &Arc<Exchange>, info: &AttemptInfo, hooked: bool, completion: &mut Completion) -> Result<Ready, ChatError> {
    let attempt = Attempt { number: info.number, target: info.target.clone(), via: Vec::new(), races: false };
    let opened = send(exchange, attempt, completion.tries()).await.map_err(|failure| failure.error)?;
    ready(exchange, opened, hooked, completion).await
}

async fn send(exchange: &Arc<Exchange>, attempt: Attempt, tries: &Arc<Tries>) -> Result<Opened, Failure> {
    match &exchange.operation {
        Some(operation) => operation::open(exchange, operation, attempt, tries).await,
        None => upstream::send(exchange, attempt, tries).await.map(|sent| Opened::Sent(Box::new(sent))),
    }
}

/// The answer of the target that was chosen, on its way.
async fn ready(exchange: &Arc<Exchange>, opened: Opened, hooked: bool, completion: &mut Completion) -> Result<Ready, ChatError> {
    let sent = match opened {
        Opened::Forwarded(forwarded, attempt) => {
            attempt.into_iter().for_each(|attempt| completion.serve(*attempt));
            return Ok(Ready::Forwarded(forwarded));
        }
        Opened::Sent(sent) => *sent,
    };
    // What no filter may see was refused before it was sent.
    let filters = if exchange.operation.is_some() { Filters::default() } else { Filters::open(exchange).await? };
    if exchange.operation.is_none() && (!exchange.head.stream || (hooked && exchange.buffered())) {
        return Ok(Ready::Answer(Answer::collect(exchange, sent, filters, hooked, completion).await?));
    }
    Ok(match &exchange.dialect {
        Some(dialect) => Ready::Stream(Relay::open(exchange, dialect, sent, filters, completion).await?),
        None => Ready::Events(Events::open(sent, filters, completion).await?),
    })
}

// === virtual providers ===

/// A request on its way through virtual providers.
#[derive(Clone)]
struct Course {
    exchange: Arc<Exchange>,
    tries: Arc<Tries>,
    /// An answer counts when it is complete, because it is wanted whole.
    whole: bool,
    /// Others are asked at the same time.
    races: bool,
}

/// A target that answers.
struct Reached {
    target: Target,
    opened: Opened,
    /// Why it does, see [`Exchange::why`].
    why: Vec<(&'static str, String)>,
}

/// A member that can take the request.
struct Able<'a> {
    index: usize,
    member: &'a Member,
    model: String,
}

impl From<Failure> for Stop {
    fn from(failure: Failure) -> Self {
        match failure.scope {
            Scope::Request { rejected: true } => Self::Rejected(failure.error),
            Scope::Request { rejected: false } | Scope::Skipped | Scope::Member => Self::Failed(failure.error),
        }
    }
}

impl From<Stop> for Failure {
    fn from(stop: Stop) -> Self {
        match stop {
            Stop::Failed(error) => Self { error, scope: Scope::Request { rejected: false } },
            Stop::Rejected(error) => Self { error, scope: Scope::Request { rejected: true } },
        }
    }
}

impl Course {
    /// Asks a virtual provider: the members that can take the request, as its type says.
    fn through<'a>(&'a self, node: &'a Node, model: &'a str, via: &'a [String]) -> BoxFuture<'a, Result<Reached, Failure>> {
        async move {
            let via: Vec<String> = via.iter().chain([&node.name]).cloned().collect();
            let able = self.able(node, model).map_err(Failure::skipped)?;
            let names: Vec<String> = able.iter().map(|a| a.member.name.clone()).collect();
            match &node.strategy {
                // What is no conversation cannot be taken back, so it is asked for once at a time.
                Strategy::Race(racing) if self.exchange.operation.is_none() => {
                    let performance = &self.virtuals().performance;
                    let quality = racing.strategy == RaceStrategy::Quality;
                    let subjects: Vec<Subject> = able.iter().map(|a| subject(node, a)).collect();
                    let racers: Vec<Racer> = able
                        .iter()
                        .zip(&subjects)
                        .map(|(a, subject)| Racer {
                            name: a.member.name.clone(),
                            standing: performance.standing(subject),
                            patience: racing
                                .hedge_delay_ms
                                .map_or_else(|| performance.p95(subject).unwrap_or(UNKNOWN_P95).max(MIN_PATIENCE), Duration::from_millis),
                        })
                        .collect();
                    let race = Race {
                        provider: &node.name,
                        strategy: racing.strategy,
                        timeout: Duration::from_millis(racing.timeout_ms),
                        grace: Duration::from_millis(racing.grace_period_ms),
                        racers: &racers,
                    };
                    let course = Self { whole: self.whole || quality, races: true, ..self.clone() };
                    let track = Grounds { course: &course, able: &able, via: &via, subjects: &subjects, performance };
                    let Won { racer, answer: mut reached, latency } = racing::run(&race, &track).await?;
                    let ms = latency.as_millis().to_string();
                    reached.why.splice(0..0, [("racing-winner", names[racer].clone()), ("racing-latency-ms", ms)]);
                    Ok(reached)
                }
                Strategy::Race(_) => {
                    let policy = fallback::Policy { provider: &node.name, members: &names, max_retries: 0, on: &DEFAULT_ON };
                    let (place, mut reached) = fallback::run(&policy, |n| self.member(node, &able[n], &via), fastrand::f64).await?;
                    reached.why.insert(0, ("racing-winner", names[place].clone()));
                    Ok(reached)
                }
                Strategy::Fall(config) => {
                    let (max_retries, on) = (config.max_retries, &config.on[..]);
                    let policy = fallback::Policy { provider: &node.name, members: &names, max_retries, on };
                    let (place, mut reached) = fallback::run(&policy, |n| self.member(node, &able[n], &via), fastrand::f64).await?;
                    let index = able[place].index.to_string();
                    reached.why.splice(0..0, [("fallback-provider", names[place].clone()), ("fallback-index", index)]);
                    Ok(reached)
                }
                Strategy::Balance(balance) => {
                    let candidates: Vec<_> = able.iter().map(|a| self.candidate(node, a)).collect();
                    let key = if balance.is_sticky() { sticky::key(&self.exchange, balance.sticky_by).await } else { None };
                    let order = balance.order(&candidates, key);
                    let ordered: Vec<String> = order.iter().map(|n| names[*n].clone()).collect();
                    let policy = fallback::Policy { provider: &node.name, members: &ordered, max_retries: 0, on: &DEFAULT_ON };
                    let (place, mut reached) = fallback::run(&policy, |n| self.member(node, &able[order[n]], &via), fastrand::f64).await?;
                    reached.why.insert(0, ("loadbalance-provider", ordered[place].clone()));
                    Ok(reached)
                }
            }
        }
        .boxed()
    }

    /// The members that can take the request, each with the model that it is asked for. None is an error that says why.
    fn able<'a>(&self, node: &'a Node, model: &str) -> Result<Vec<Able<'a>>, ChatError> {
        // Its own name stands for whatever its members have.
        let asked = Some(model).filter(|m| !m.is_empty() && *m != node.name).or(node.default_model.as_deref()).unwrap_or_default();
        let mut able = Vec::new();
        for (index, member) in node.members.iter().enumerate() {
            let own = member.model.as_deref();
            match self.model_of(&member.name, own, asked) {
                Some(model) => able.push(Able { index, member, model }),
                None => {
                    let (request_id, provider, member) = (&self.exchange.id, &node.name, &member.name);
                    tracing::debug!(
                        request_id,
                        provider,
                        member,
                        model = asked,
                        "left out: it does not offer the model and has no default one"
                    );
                }
            }
        }
        if let Some(operation) = &self.exchange.operation {
            // The dialect of the first one may know an answer of its own.
            if able.iter().any(|a| self.speaks(&a.member.name, operation)) {
                able.retain(|a| self.speaks(&a.member.name, operation));
            }
        }
        if able.is_empty() {
            let error = upstream::model_not_found(if asked.is_empty() { &node.name } else { asked });
            let members: Vec<_> = node.members.iter().map(|m| format!("`{}`", m.name)).collect();
            let message = format!("{} None of {} offers it or has a `default_model`.", error.message, members.join(", "));
            return Err(ChatError { message, ..error });
        }
        Ok(able)
    }

    /// The model that a member is asked for: its own where the configuration gives it one, else the request's if it offers that, else its
    /// default one.
    fn model_of(&self, provider: &str, own: Option<&str>, asked: &str) -> Option<String> {
        self.model_in(provider, own, asked, &mut BTreeSet::new())
    }

    /// `seen` are the virtual ones that have no such member: one that had would have ended the search, and many ways may lead to one.
    fn model_in<'s>(&'s self, provider: &str, own: Option<&str>, asked: &str, seen: &mut BTreeSet<(&'s str, String)>) -> Option<String> {
        if let Some(node) = self.virtuals().find(provider) {
            let asked = Some(own.unwrap_or(asked)).filter(|m| !m.is_empty()).or(node.default_model.as_deref()).unwrap_or_default();
            if !seen.insert((&node.name, asked.to_owned())) {
                return None;
            }
            let any = node.members.iter().any(|m| self.model_in(&m.name, m.model.as_deref(), asked, seen).is_some());
            return any.then(|| asked.to_owned());
        }
        let entry = self.exchange.generation().providers.find(provider)?;
        if let Some(own) = own {
            return entry.offers(own).then(|| own.to_owned());
        }
        if !asked.is_empty() && entry.offers(asked) {
            return Some(asked.to_owned());
        }
        if let Some(operation) = &self.exchange.operation
            && self.exchange.head.model.is_empty()
            && (entry.models.is_empty() || !operation.works(&self.exchange.incoming))
        {
            // Files and the like have no model, and other calls may leave it to a provider without a list.
            return Some(String::new());
        }
        entry.default_model.clone().or_else(|| entry.models.first().cloned().filter(|_| entry.models.len() == 1))
    }

    fn speaks(&self, provider: &str, operation: &operation::Operation) -> bool {
        self.speaks_in(provider, operation, &mut BTreeSet::new())
    }

    fn speaks_in<'s>(&'s self, provider: &str, operation: &operation::Operation, seen: &mut BTreeSet<&'s str>) -> bool {
        match self.virtuals().find(provider) {
            Some(node) => seen.insert(&node.name) && node.members.iter().any(|m| self.speaks_in(&m.name, operation, seen)),
            None => operation::is_spoken(self.exchange.generation(), operation, provider),
        }
    }

    fn candidate<'a>(&self, node: &Node, able: &Able<'a>) -> loadbalance::Candidate<'a> {
        loadbalance::Candidate {
            name: (&able.member.name, able.member.model.as_deref()),
            weight: able.member.weight,
            in_flight: able.member.in_flight(),
            latency: self.virtuals().performance.latency(&subject(node, able)),
            available: self.is_available(&able.member.name, &able.model),
        }
    }

    /// Whether a provider does not rest, for a model. A virtual one does when all of its members do that could take the request.
    fn is_available(&self, provider: &str, model: &str) -> bool {
        self.is_available_in(provider, model, &mut BTreeSet::new())
    }

    fn is_available_in<'s>(&'s self, provider: &str, model: &str, seen: &mut BTreeSet<(&'s str, String)>) -> bool {
        if let Some(node) = self.virtuals().find(provider) {
            if !seen.insert((&node.name, model.to_owned())) {
                return false;
            }
            let model = |m: &Member| self.model_of(&m.name, m.model.as_deref(), model);
            return node.members.iter().any(|m| model(m).is_some_and(|model| self.is_available_in(&m.name, &model, seen)));
        }
        // Its own breaker, keys and queue may know better than what this request's way through virtual providers saw.
        let native = self.exchange.generation().providers.find(provider);
        native.is_none_or(|entry| entry.available(model).is_ok()) && self.virtuals().cooldowns.is_available(provider, model)
    }

    /// Asks a member outside of a race, and takes note of what it did.
    async fn member(&self, node: &Node, able: &Able<'_>, via: &[String]) -> Result<Reached, Failure> {
        let began = tokio::time::Instant::now();
        let reached = self.ask(able, via).await;
        let ran = match &reached {
            Ok(_) => Ran::Won(began.elapsed()),
            Err(failure) if failure.scope == Scope::Member => Ran::Failed,
            Err(_) => return reached,
        };
        self.virtuals().performance.record(&subject(node, able), ran);
        reached
    }

    /// Asks a member, virtual or not.
    async fn ask(&self, able: &Able<'_>, via: &[String]) -> Result<Reached, Failure> {
        let in_flight = able.member.begin();
        let mut reached = self.to(Target { provider: able.member.name.clone(), model: able.model.clone() }, via).await?;
        match &mut reached.opened {
            Opened::Sent(sent) => sent.attempt.hold(in_flight),
            Opened::Forwarded(_, Some(attempt)) => attempt.hold(in_flight),
            Opened::Forwarded(_, None) => {}
        }
        Ok(reached)
    }

    /// Sends the request to a target, and to others that extensions name instead, until one answers. A virtual one is asked as such.
    async fn to(&self, mut target: Target, via: &[String]) -> Result<Reached, Failure> {
        for _ in 0..MAX_ATTEMPTS {
            let virtuals = self.virtuals();
            if let Some(node) = virtuals.find(&target.provider) {
                // An extension may have named one that led here.
                if via.contains(&node.name) {
                    let message = format!("An extension of the gateway sent the request around in a circle, back to `{}`.", node.name);
                    return Err(Failure::skipped(ChatError::new(ErrorClass::Overloaded, message)));
                }
                return self.through(node, &target.model, via).await;
            }
            let number = self.tries.number().map_err(|error| Failure { error, scope: Scope::Request { rejected: false } })?;
            let attempt = AttemptInfo { target: target.clone(), number };
            match hooks::provider_event(&self.exchange, &attempt, None).await? {
                Event::Keep => {}
                Event::Other(other) => {
                    target = other;
                    continue;
                }
                Event::Next => {
                    let message = format!("An extension of the gateway passes over `{}`.", target.provider);
                    return Err(Failure::skipped(ChatError::new(ErrorClass::Overloaded, message)));
                }
            }
            let failure = match self.once(Attempt { number, target: target.clone(), via: via.to_vec(), races: self.races }).await {
                Ok(opened) => {
                    virtuals.cooldowns.answered(&target.provider, &target.model);
                    return Ok(Reached { target, opened, why: Vec::new() });
                }
                // What broke here is no business of the provider's.
                Err(failure) if failure.error.class == ErrorClass::Internal => return Err(Stop::Failed(failure.error).into()),
                Err(failure) => failure,
            };
            if failure.scope == Scope::Member {
                virtuals.cooldowns.failed(&target.provider, &target.model, &failure.error);
            }
            match hooks::provider_event(&self.exchange, &attempt, Some(&failure.error)).await? {
                Event::Other(other) => target = other,
                Event::Keep | Event::Next => return Err(failure),
            }
        }
        let message = format!("Extensions of the gateway sent the request elsewhere {MAX_ATTEMPTS} times.");
        Err(Failure::skipped(ChatError::new(ErrorClass::Overloaded, message)))
    }

    /// One try at a native provider, up to where its answer is known to be one.
    async fn once(&self, attempt: Attempt) -> Result<Opened, Failure> {
        let sent = match send(&self.exchange, attempt, &self.tries).await? {
            Opened::Sent(sent) => sent,
            forwarded @ Opened::Forwarded(..) => return Ok(forwarded),
        };
        let target = sent.target.clone();
        let read = if self.whole && self.exchange.operation.is_none() { sent.whole().await } else { sent.first_event().await };
        if let Err(failure) = &read {
            // To the provider's entry it had answered.
            self.exchange.generation().providers.broke(&target, &failure.error);
        }
        read.map(|sent| Opened::Sent(Box::new(sent)))
    }

    fn virtuals(&self) -> &Tree {
        self.exchange.generation().providers.virtuals()
    }
}

/// Whose numbers those of a member are.
fn subject(node: &Node, able: &Able<'_>) -> Subject {
    Subject { provider: node.name.clone(), member: able.member.name.clone(), model: able.model.clone() }
}

/// A race of the members of one virtual provider.
struct Grounds<'a> {
    course: &'a Course,
    able: &'a [Able<'a>],
    via: &'a [String],
    subjects: &'a [Subject],
    performance: &'a Performance,
}

impl Track for Grounds<'_> {
    type Answer = Reached;

    fn ask(&self, racer: usize) -> BoxFuture<'_, Result<Reached, Failure>> {
        self.course.ask(&self.able[racer], self.via).boxed()
    }

    fn judge(&self, answers: &[(usize, Reached, Duration)]) -> BoxFuture<'_, Vec<f64>> {
        let candidates = answers.iter().map(|(_, reached, took)| candidate(reached, *took)).collect();
        judged(&self.course.exchange, candidates).boxed()
    }

    fn end(&self, fate: Fate, drop: impl FnOnce()) {
        self.course.tries.end(fate, drop);
    }

    fn ran(&self, racer: usize, ran: Ran) {
        self.performance.record(&self.subjects[racer], ran);
    }
}

/// What complete answers are worth: as the gateway's judge says, or as they look when there is none or it fails.
async fn judged(exchange: &Arc<Exchange>, candidates: Vec<Option<Candidate>>) -> Vec<f64> {
    let readable: Vec<Candidate> = candidates.iter().flatten().cloned().collect();
    let scores = match (exchange.generation().judges.first(), readable.len()) {
        // There is nothing to choose.
        (None, _) | (_, 0 | 1) => None,
        (Some(judge), _) => {
            let bytes = readable.iter().map(|c| super::answer::size(&c.answer)).sum();
            let said = match judge.judge(exchange, &readable, bytes).await {
                Ok(Ok(scores)) => Ok(scores),
                Ok(Err(error)) => Err(error.message),
                Err(error) => Err(error.to_string()),
            };
            let said = said.and_then(|scores| {
                let good = scores.len() == readable.len() && scores.iter().all(|s| (0.0..=1.0).contains(&s.value));
                if good { Ok(scores) } else { Err("it gave no score from 0 to 1 for each answer".into()) }
            });
            said.map_err(|reason| {
                tracing::warn!(request_id = exchange.id, judge = judge.name(), reason, "the judge failed; answers are compared without it");
            })
            .ok()
        }
    };
    let mut scores = match scores {
        Some(scores) => scores.into_iter().map(|s| s.value).collect::<Vec<_>>(),
        None => readable.iter().map(|c| scorer::score(&c.answer)).collect(),
    }
    .into_iter();
    // What cannot be read is worth nothing.
    candidates.iter().map(|c| if c.is_some() { scores.next().unwrap_or(0.0) } else { 0.0 }).collect()
}

/// A complete answer as a judge sees it.
fn candidate(reached: &Reached, took: Duration) -> Option<Candidate> {
    let Opened::Sent(sent) = &reached.opened else { return None };
    let duration_us = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
    Some(Candidate { answer: sent.read_whole().ok()?, served_by: Some(reached.target.clone()), duration_us })
}
