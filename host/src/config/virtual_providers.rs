//! Virtual providers: the block `config` of a provider of type `racing`, `fallback` or `loadbalance`, and what can be wrong with it.

use std::collections::BTreeMap;
use std::path::PathBuf;

use llm_codec::hub::ErrorClass;
use serde_json::Value;

use super::ProviderConfig;
use super::problems::suggestion;
use super::reader::{Cursor, Setting};
use crate::section;

/// Types of virtual providers.
pub const VIRTUAL_TYPES: [&str; 3] = ["racing", "fallback", "loadbalance"];

/// What a virtual provider may have beside its block.
const MEMBERS: [&str; 4] = ["type", "enabled", "default_model", "config"];

section! {
    /// Several providers are asked at once, and the best answer counts.
    pub struct RacingConfig {
        /// Who races: names of providers, or `{provider: NAME, model: MODEL}`.
        providers: Vec<Member> = Vec::new(),
        /// Who wins: `first_wins` (the first valid event), `weighted` (of those that begin within `grace_period_ms` after the first, by their
        /// history and how fast they were), `quality` (complete answers are judged), or `hedge` (the next one starts when the one before is late).
        strategy: RaceStrategy = RaceStrategy::FirstWins,
        /// How long the first event of an answer may take. Of an answer that is no stream the first event is all of it, and `quality` compares all of it too.
        timeout_ms: u64 = 300_000,
        /// How long `weighted` waits for others after the first.
        grace_period_ms: u64 = 500,
        /// After how long `hedge` starts the next one; without it, the time in which the one before has begun 95 of 100 answers.
        hedge_delay_ms: Option<u64> = None,
        /// File for what is known of the racers from earlier races; without it, the store.
        performance_file: Option<PathBuf> = None,
    }
}

section! {
    /// The next provider is asked when one fails.
    pub struct FallbackConfig {
        /// Who is asked, in this order: names of providers, or `{provider: NAME, model: MODEL}`.
        providers: Vec<Member> = Vec::new(),
        /// How often each of them is asked once more after a failure that may pass.
        max_retries: u32 = 0,
        /// The kinds of failure after which the next one is asked.
        on: Vec<ErrorClass> = DEFAULT_ON.to_vec(),
    }
}

section! {
    /// Requests are spread over several providers.
    pub struct LoadBalanceConfig {
        /// Over whom: names of providers, or `{provider: NAME, model: MODEL, weight: NUMBER}`.
        providers: Vec<Member> = Vec::new(),
        /// Who is next: `round_robin`, `random`, `weighted` (by `weight`), `least_in_flight`, `latency` (the fastest of late), or `sticky` (the same
        /// for everything with the same key).
        strategy: BalanceStrategy = BalanceStrategy::RoundRobin,
        /// The key of `sticky`: the caller's `credential`, or how the `prompt` begins, for the provider's cache of prompts.
        sticky_by: StickyBy = StickyBy::Credential,
    }
}

words! {
    /// Who wins a race.
    pub enum RaceStrategy {
        /// The first valid event.
        FirstWins = "first_wins",
        /// The best of those that begin within a grace period.
        Weighted = "weighted",
        /// The answer that is judged best.
        Quality = "quality",
        /// The first valid event; racers start one after the other.
        Hedge = "hedge",
    }
}

words! {
    /// Who gets the next request.
    pub enum BalanceStrategy {
        /// One after the other.
        RoundRobin = "round_robin",
        /// Anybody.
        Random = "random",
        /// Anybody, by weight.
        Weighted = "weighted",
        /// Who has the fewest requests, by weight.
        LeastInFlight = "least_in_flight",
        /// Who was the fastest of late.
        Latency = "latency",
        /// The same for the same key.
        Sticky = "sticky",
    }
}

words! {
    /// What requests have in common that go to the same provider.
    pub enum StickyBy {
        /// The caller's credential.
        Credential = "credential",
        /// The beginning of the conversation.
        Prompt = "prompt",
    }
}

/// Failures after which the next provider is asked, when the configuration names none: all that another one may not have. A request that
/// is wrong is wrong everywhere, and what broke in the gateway or was cancelled ends.
pub const DEFAULT_ON: [ErrorClass; 14] = [
    ErrorClass::ContextTooLong,
    ErrorClass::ContentFiltered,
    ErrorClass::Permission,
    ErrorClass::ModelNotFound,
    ErrorClass::NotFound,
    ErrorClass::TooLarge,
    ErrorClass::RateLimited,
    ErrorClass::QuotaExceeded,
    ErrorClass::Overloaded,
    ErrorClass::Timeout,
    ErrorClass::Connect,
    ErrorClass::Protocol,
    ErrorClass::Interrupted,
    ErrorClass::Upstream,
];

/// Failures that a configuration may name.
fn nameable() -> impl Iterator<Item = ErrorClass> {
    let never = [ErrorClass::Authentication, ErrorClass::Cancelled, ErrorClass::Internal];
    ErrorClass::ALL.into_iter().filter(move |class| !never.contains(class))
}

impl Setting for ErrorClass {
    fn expected() -> String {
        nameable().map(|class| format!("`{}`", class.name())).collect::<Vec<_>>().join(", ")
    }

    fn read(at: &mut Cursor<'_>) -> Option<Self> {
        // The plan's samples write words with `_`.
        let name = at.value.as_str()?.replace('_', "-");
        nameable().find(|class| class.name() == name)
    }

    fn show(&self) -> String {
        self.name().into()
    }
}

/// One of the providers that a virtual one uses.
#[derive(Debug, Clone, PartialEq)]
pub struct Member {
    /// Its name.
    pub provider: String,
    /// The model that it is asked for, whatever the request says.
    pub model: Option<String>,
    /// Its share among the others.
    pub weight: f64,
}

impl Setting for Member {
    fn expected() -> String {
        "the name of a provider or `{provider, model, weight}`".into()
    }

    fn read(at: &mut Cursor<'_>) -> Option<Self> {
        if let Some(name) = at.value.as_str() {
            return Some(Self { provider: name.to_owned(), model: None, weight: 1.0 });
        }
        at.value.as_object()?;
        at.only(&["provider", "model", "weight"]);
        let member =
            Self { provider: at.field("provider", String::new), model: at.field("model", || None), weight: at.field("weight", || 1.0) };
        if member.provider.is_empty() {
            at.error("`provider` is missing; name one, for example `{provider: openai, model: gpt-4o}`.".into());
        }
        if member.model.as_deref() == Some("") {
            at.error("`model` is empty; name one, or leave it out.".into());
        }
        if member.weight <= 0.0 {
            at.error("`weight` is not more than 0; leave the provider out to send it nothing.".into());
        }
        Some(member)
    }

    fn show(&self) -> String {
        self.provider.clone()
    }
}

/// A virtual provider.
#[derive(Debug, Clone, PartialEq)]
pub struct VirtualConfig {
    /// What it does.
    pub does: Does,
    /// The model that its name stands for.
    pub default_model: Option<String>,
}

/// What a virtual provider does.
#[derive(Debug, Clone, PartialEq)]
pub enum Does {
    /// `racing`
    Race(RacingConfig),
    /// `fallback`
    Fall(FallbackConfig),
    /// `loadbalance`
    Balance(LoadBalanceConfig),
}

impl VirtualConfig {
    /// The providers that it uses.
    pub fn members(&self) -> &[Member] {
        match &self.does {
            Does::Race(c) => &c.providers,
            Does::Fall(c) => &c.providers,
            Does::Balance(c) => &c.providers,
        }
    }

    fn members_mut(&mut self) -> &mut Vec<Member> {
        match &mut self.does {
            Does::Race(c) => &mut c.providers,
            Does::Fall(c) => &mut c.providers,
            Does::Balance(c) => &mut c.providers,
        }
    }

    /// Its type, as the configuration names it.
    pub fn kind(&self) -> &'static str {
        match &self.does {
            Does::Race(_) => "racing",
            Does::Fall(_) => "fallback",
            Does::Balance(_) => "loadbalance",
        }
    }
}

/// Whether a type is one of a virtual provider.
pub fn is_virtual(kind: &str) -> bool {
    VIRTUAL_TYPES.contains(&kind)
}

/// Reads the enabled virtual providers. Members that do not exist are left out with a warning; a provider that has none left, and a
/// circle, are errors. `at` is the section `providers`.
pub fn read(providers: &BTreeMap<String, ProviderConfig>, at: &mut Cursor<'_>) -> BTreeMap<String, VirtualConfig> {
    let mut read = BTreeMap::new();
    for (name, provider) in providers {
        let Some(mut at) = at.member(name) else { continue };
        if !is_virtual(&provider.r#type) {
            if provider.config != Value::Object(serde_json::Map::new()) {
                at.error(format!(
                    "a provider of type `{}` has no block `config`; write its settings beside `type`. Virtual providers have one: `{}`.",
                    provider.r#type,
                    VIRTUAL_TYPES.join("`, `")
                ));
            }
            continue;
        }
        let found = one(provider, &mut at);
        if provider.enabled {
            read.insert(name.clone(), found);
        }
    }
    leave_out_missing(&mut read, providers, at);
    refuse_circles(&read, at);
    read
}

fn one(provider: &ProviderConfig, at: &mut Cursor<'_>) -> VirtualConfig {
    let foreign: Vec<&String> = at.value.as_object().into_iter().flatten().map(|(name, _)| name).collect();
    for name in foreign.into_iter().filter(|name| !MEMBERS.contains(&name.as_str())) {
        let message =
            format!("a provider of type `{}` sends nothing itself; `{name}` belongs to the providers that it uses.", provider.r#type);
        if let Some(mut at) = at.member(name) {
            at.error(message);
        }
    }
    let does = match (provider.r#type.as_str(), at.member("config")) {
        ("racing", Some(mut at)) => Does::Race(race(&mut at)),
        ("racing", None) => Does::Race(RacingConfig::default()),
        ("fallback", Some(mut at)) => Does::Fall(at.setting().unwrap_or_default()),
        ("fallback", None) => Does::Fall(FallbackConfig::default()),
        (_, Some(mut at)) => Does::Balance(at.setting().unwrap_or_default()),
        (_, None) => Does::Balance(LoadBalanceConfig::default()),
    };
    VirtualConfig { does, default_model: provider.default_model.clone() }
}

fn race(at: &mut Cursor<'_>) -> RacingConfig {
    let config: RacingConfig = at.setting().unwrap_or_default();
    for (name, zero) in [("timeout_ms", config.timeout_ms == 0), ("hedge_delay_ms", config.hedge_delay_ms == Some(0))] {
        if let (true, Some(mut at)) = (zero, at.member(name)) {
            at.error("found `0`, expected at least 1 millisecond.".into());
        }
    }
    config
}

fn leave_out_missing(read: &mut BTreeMap<String, VirtualConfig>, providers: &BTreeMap<String, ProviderConfig>, at: &mut Cursor<'_>) {
    for (name, config) in read.iter_mut() {
        let Some(mut at) = at.member(name) else { continue };
        let before = config.members().len();
        config.members_mut().retain(|member| match providers.get(&member.provider) {
            Some(known) if known.enabled => true,
            Some(_) => {
                at.warning(format!("`config.providers` names `{}`, which is disabled; it is left out.", member.provider));
                false
            }
            // An entry without a name was told already.
            None if member.provider.is_empty() => false,
            None => {
                let hint = suggestion(&member.provider, providers.keys().map(String::as_str));
                at.warning(format!("`config.providers` names `{}`, and there is no such provider; it is left out.{hint}", member.provider));
                false
            }
        });
        if config.members().is_empty() {
            at.error(match before {
                0 => "`config.providers` names no provider; list at least one, for example `config: {providers: [openai, anthropic]}`.".into(),
                _ => "of the providers in `config.providers` none is left, so it could answer nothing. Define one of them, or disable this one with `enabled: false`.".to_owned(),
            });
        }
    }
}

/// Circles are told at the first of their names. Each provider is looked at once, however many ways lead to it: the ways through nested providers
/// grow with every layer. So of circles that share a part one is told, and the next when that one is gone.
fn refuse_circles(read: &BTreeMap<String, VirtualConfig>, at: &mut Cursor<'_>) {
    // Where each is on the way that is being gone; none when everything that it leads to is known.
    let mut seen: BTreeMap<&str, Option<usize>> = BTreeMap::new();
    for first in read.keys() {
        // Each with the members that are not looked at yet.
        let mut way = Vec::new();
        let mut next = Some(first);
        loop {
            if let Some((name, config)) = next.take().and_then(|name| read.get_key_value(name)) {
                match seen.get(name.as_str()) {
                    Some(Some(begin)) => tell_circle(way[*begin..].iter().map(|(name, _)| *name).collect(), at),
                    Some(None) => {}
                    None => {
                        seen.insert(name, Some(way.len()));
                        way.push((name.as_str(), config.members().iter()));
                    }
                }
            }
            let Some((name, members)) = way.last_mut() else { break };
            next = members.next().map(|member| &member.provider);
            if next.is_none() {
                seen.insert(*name, None);
                way.pop();
            }
        }
    }
}

fn tell_circle(mut circle: Vec<&str>, at: &mut Cursor<'_>) {
    let first = circle.iter().enumerate().min_by_key(|(_, name)| **name).map_or(0, |(n, _)| n);
    circle.rotate_left(first);
    if let Some(mut at) = at.member(circle[0]) {
        at.error(format!(
            "virtual providers go in a circle: {} → {}. Take one of them out of the other's `config.providers`.",
            circle.join(" → "),
            circle[0]
        ));
    }
}
