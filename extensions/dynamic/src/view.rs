//! What holds for one caller: the rules of the key, then those of its team, then those for everybody. The first that says something about a name
//! decides, all of it.
//!
//! A name leads to another one by an alias, by a model's `to`, and by the `instead` of what is switched off. [`View::follow`] goes to the end.

use std::collections::{BTreeMap, BTreeSet};

use wasmgate_sdk::prelude::*;
use wasmgate_sdk::providers;

use crate::rules::{Document, Kind, Model, Rules, Switch, fits};

/// Most names that one leads over. Circles are refused when they are written; this is for what two changes make together.
const MAX_STEPS: usize = 32;

/// Rules in the order in which they are asked.
pub struct View<'a> {
    layers: Vec<&'a Rules>,
    /// Aliases of the configuration, which `routing` follows. They come last.
    routing: &'a BTreeMap<String, String>,
}

/// Where a name led.
#[derive(Debug, Default)]
pub struct Led<'a> {
    /// The name at the end.
    pub name: String,
    /// It was an alias of ours to begin with.
    pub alias: bool,
    /// Something of ours led elsewhere, so that nobody else can be left to follow the name.
    pub changed: bool,
    /// The models' rules on the way.
    pub rules: Vec<&'a Model>,
}

/// Why a name leads nowhere.
#[derive(Debug, PartialEq, Eq)]
pub enum Stopped {
    /// The model is switched off.
    Model(String),
    /// The provider is.
    Provider(String),
    /// It leads back to itself, over these.
    Circle(Vec<String>),
}

impl<'a> View<'a> {
    /// What holds for these tenants.
    pub fn new(document: &'a Document, tenants: &[String], routing: &'a BTreeMap<String, String>) -> Self {
        let own = tenants.iter().filter_map(|tenant| document.tenants.get(tenant));
        Self { layers: own.chain([&document.general]).collect(), routing }
    }

    /// Goes where a name leads, to the end.
    pub fn follow(&self, asked: &str) -> Result<Led<'a>, Stopped> {
        self.go(asked, BTreeSet::new())
    }

    /// The same for a name that a model's rule gave: that rule has had its say.
    pub fn follow_from(&self, pattern: &str, name: &str) -> Result<Led<'a>, Stopped> {
        self.go(name, BTreeSet::from([pattern]))
    }

    fn go<'b>(&self, asked: &str, mut applied: BTreeSet<&'b str>) -> Result<Led<'a>, Stopped>
    where
        'a: 'b,
    {
        let mut led = Led { name: asked.to_owned(), ..Led::default() };
        let mut names = vec![asked.to_owned()];
        loop {
            let Some((next, ours)) = self.step(&mut led, &mut applied)? else { return Ok(led) };
            if next == led.name {
                return Ok(led);
            }
            led.alias |= names.len() == 1 && self.alias(asked).is_some();
            led.changed |= ours;
            led.name.clone_from(&next);
            let again = names.contains(&next);
            names.push(next);
            if again || names.len() > MAX_STEPS {
                return Err(Stopped::Circle(names));
            }
        }
    }

    /// The next name, and whether something of ours says it.
    fn step<'b>(&self, led: &mut Led<'a>, applied: &mut BTreeSet<&'b str>) -> Result<Option<(String, bool)>, Stopped>
    where
        'a: 'b,
    {
        let name = led.name.as_str();
        if let Some(to) = self.alias(name) {
            if to == name {
                return Err(Stopped::Circle(vec![name.to_owned(), to.to_owned()]));
            }
            return Ok(Some((to.to_owned(), true)));
        }
        // An alias of a provider: `mine/gpt-4o`.
        if let Some((first, rest)) = name.split_once('/')
            && let Some(to) = self.alias(first).filter(|to| !to.contains('/') && *to != first)
        {
            return Ok(Some((format!("{to}/{rest}"), true)));
        }
        if let Some(to) = self.routing.get(name) {
            return Ok(Some((to.clone(), false)));
        }
        if let Some((pattern, rule)) = self.model(name) {
            if !rule.switch.active {
                let instead = rule.switch.instead.as_ref().ok_or_else(|| Stopped::Model(name.to_owned()))?;
                return Ok(Some((filled(instead, name), true)));
            }
            if !led.rules.iter().any(|known| std::ptr::eq(*known, rule)) {
                led.rules.push(rule);
            }
            // A rule for many models may lead to one of them, which is then where it ends.
            let to = rule.to.as_ref().map(|to| filled(to, name)).filter(|to| self.named(to) != name);
            if let Some(to) = to.filter(|_| applied.insert(pattern)) {
                return Ok(Some((to, true)));
            }
        }
        let (provider, rest) = name.split_once('/').map_or((name, None), |(first, rest)| (first, Some(rest)));
        match self.provider(provider) {
            Some(switch) if !switch.active => {
                let instead = switch.instead.as_ref().ok_or_else(|| Stopped::Provider(provider.to_owned()))?;
                if instead.split('/').next() == Some(provider) {
                    return Err(Stopped::Circle(vec![provider.to_owned(), instead.clone()]));
                }
                Ok(Some((elsewhere(instead, rest), true)))
            }
            _ => Ok(None),
        }
    }

    /// What aliases alone make of a name.
    fn named(&self, name: &str) -> String {
        let mut name = name.to_owned();
        for _ in 0..MAX_STEPS {
            let Some(to) = self.alias(&name).or_else(|| self.routing.get(&name).map(String::as_str)) else { break };
            name = to.to_owned();
        }
        name
    }

    /// What an alias of ours stands for.
    pub fn alias(&self, name: &str) -> Option<&'a str> {
        self.layers.iter().find_map(|rules| rules.aliases.get(name)).map(|alias| alias.to.as_str())
    }

    /// Whether a provider is used, if somebody says so.
    pub fn provider(&self, name: &str) -> Option<&'a Switch> {
        self.layers.iter().find_map(|rules| rules.providers.get(name))
    }

    /// What holds for a model, with the pattern that says so: of the first layer that has one.
    pub fn model(&self, name: &str) -> Option<(&'a str, &'a Model)> {
        self.layers.iter().find_map(|rules| rules.model(name))
    }

    /// All aliases, each once.
    pub fn aliases(&self) -> BTreeSet<&'a str> {
        self.layers.iter().flat_map(|rules| rules.aliases.keys()).map(String::as_str).collect()
    }

    /// Refuses names that lead back to themselves.
    fn check<'b>(&self, starts: impl IntoIterator<Item = &'b str>) -> Result<(), String> {
        for start in starts.into_iter().filter(|name| !name.contains('*')) {
            if let Err(Stopped::Circle(names)) = self.follow(start) {
                return Err(format!("this leads in a circle: {}; let one of them lead elsewhere", names.join(" → ")));
            }
        }
        Ok(())
    }
}

/// Refuses a document in which names lead in circles, for everybody or for a tenant, or grow without end.
pub fn check(document: &Document, routing: &BTreeMap<String, String>) -> Result<(), String> {
    let all = std::iter::once(&document.general).chain(document.tenants.values());
    all.flat_map(|rules| &rules.models).try_for_each(|(pattern, model)| check_growth(pattern, model))?;
    let of_all = |rules: &Rules, view: &View<'_>| view.check(Kind::ALL.into_iter().flat_map(|kind| starts_of_kind(rules, kind)));
    of_all(&document.general, &View::new(document, &[], routing))?;
    for (tenant, rules) in &document.tenants {
        // A circle that only the tenant has leads over something of the tenant.
        of_all(rules, &View::new(document, std::slice::from_ref(tenant), routing)).map_err(|e| format!("for `{tenant}` {e}"))?;
    }
    Ok(())
}

/// The same of one entry that was changed, for a tenant or for everybody: a circle that was not there before leads over it. A look at all of a
/// large document takes longer than a change may.
pub fn check_entry(
    document: &Document,
    routing: &BTreeMap<String, String>,
    tenant: Option<&String>,
    kind: Kind,
    name: &str,
) -> Result<(), String> {
    let rules = tenant.map_or(Some(&document.general), |tenant| document.tenants.get(tenant));
    if let Some(model) = rules.filter(|_| kind == Kind::Models).and_then(|rules| rules.models.get(name)) {
        check_growth(name, model)?;
    }
    let starts = || std::iter::once(name).chain(rules.into_iter().flat_map(|rules| starts(rules, kind, name)));
    if tenant.is_none() {
        View::new(document, &[], routing).check(starts())?;
    }
    for tenant in document.tenants.keys().filter(|other| tenant.is_none_or(|tenant| tenant == *other)) {
        View::new(document, std::slice::from_ref(tenant), routing).check(starts()).map_err(|e| format!("for `{tenant}` {e}"))?;
    }
    Ok(())
}

/// Where all circles over the entries of a kind are found from.
fn starts_of_kind(rules: &Rules, kind: Kind) -> impl Iterator<Item = &str> {
    rules.names(kind).into_iter().flat_map(move |name| std::iter::once(name.as_str()).chain(starts(rules, kind, name)))
}

/// Where circles over one entry are found from, besides its name: what a pattern leads to, since a pattern is no name.
fn starts<'a>(rules: &'a Rules, kind: Kind, name: &str) -> impl Iterator<Item = &'a str> + use<'a> {
    let model = rules.models.get(name).filter(|_| kind == Kind::Models);
    model.into_iter().filter_map(|model| model.to.as_deref().or(model.switch.instead.as_deref()))
}

fn check_growth(pattern: &str, model: &Model) -> Result<(), String> {
    let Some(to) = model.to.as_ref().filter(|to| to.contains('*')) else { return Ok(()) };
    // It may be asked again of what it gave, where a target was chosen.
    let (once, twice) = (filled(to, "x"), filled(to, &filled(to, "x")));
    if once != twice && fits(&pattern.to_ascii_lowercase(), &once.to_ascii_lowercase()) {
        return Err(format!(
            "`models.{pattern}.to` is `{to}`, which makes a name that `{pattern}` fits again; write a name, or `PROVIDER/*`"
        ));
    }
    Ok(())
}

/// A provider with a model, or a whole target that is written where a provider was.
pub fn elsewhere(instead: &str, model: Option<&str>) -> String {
    match model.filter(|m| !m.is_empty() && !instead.contains('/')) {
        Some(model) => format!("{instead}/{model}"),
        None => instead.to_owned(),
    }
}

/// The target that a name is by itself: a provider with a model, or a provider's own name. Everything else `routing` knows.
pub fn target(name: &str) -> Option<Target> {
    if let Some((first, rest)) = name.split_once('/')
        && let Some(provider) = providers::find(first)
    {
        let model = Some(rest.to_owned()).filter(|m| !m.is_empty()).or(provider.default_model)?;
        return Some(Target { provider: provider.name, model });
    }
    let provider = providers::find(name)?;
    // A virtual provider's own name stands for whatever its members have.
    let own = is_virtual(&provider.kind).then(|| provider.name.clone());
    Some(Target { model: provider.default_model.or(own)?, provider: provider.name })
}

/// Whether providers of a type choose among others.
pub fn is_virtual(kind: &str) -> bool {
    matches!(kind, "racing" | "fallback" | "loadbalance")
}

/// What a model's rule leads to. A provider's name alone is its default model, or else the same model there.
pub fn filled(to: &str, name: &str) -> String {
    let own = || name.split_once('/').filter(|(first, _)| to.split('/').next() == Some(*first) || providers::find(first).is_some());
    let model = || own().map_or(name, |(_, rest)| rest);
    if to.contains('*') {
        return to.replace('*', model());
    }
    let bare = !to.contains('/') && providers::find(to).is_some_and(|p| p.default_model.is_none() && !is_virtual(&p.kind));
    if bare { format!("{to}/{}", model()) } else { to.to_owned() }
}

/// Where a name is the model of a target.
pub fn whole(target: &Target) -> String {
    format!("{}/{}", target.provider, target.model)
}
