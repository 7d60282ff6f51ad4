//! What can be said of aliases, providers and models: in the configuration, in the store, and in the body of a `PUT`. All three are read here, so
//! that the same mistake is told the same way.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;
use serde_json::{Map, Value};
use wasmgate_sdk::pattern;

use crate::params::{EFFORTS, Values};

/// Longest name or pattern, in bytes.
const MAX_NAME: usize = 256;

/// Most entries of all kinds together. They are looked through for each request.
pub const MAX_ENTRIES: usize = 1_000;

/// What a text in a message is cut to, in characters.
const MAX_SHOWN: usize = 80;

/// All that is said, for everybody or for one tenant.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Rules {
    /// Names that stand for others.
    pub aliases: BTreeMap<String, Alias>,
    /// Providers by name.
    pub providers: BTreeMap<String, Switch>,
    /// Models by pattern.
    pub models: BTreeMap<String, Model>,
    #[serde(skip)]
    patterns: Patterns,
}

/// The patterns of models, so that a name finds its own without a look at each. Capitals do not matter, because they do not to some providers.
#[derive(Debug, Clone, Default, PartialEq)]
struct Patterns {
    /// In small letters, with how they are written.
    exact: BTreeMap<String, BTreeSet<String>>,
    /// The same of those that have a `*`.
    wide: BTreeMap<String, BTreeSet<String>>,
}

/// A name that stands for another one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Alias {
    /// A model, a provider, `provider/model`, or another alias.
    pub to: String,
}

/// Whether a provider is used.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Switch {
    /// Requests may go there.
    pub active: bool,
    /// Where they go while it is off: a name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub instead: Option<String>,
}

/// What holds for a model.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Model {
    /// Whether it is used.
    #[serde(flatten)]
    pub switch: Switch,
    /// Another model, or the same elsewhere: a name, in which `*` stands for the model's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub to: Option<String>,
    /// What is asked for in any case.
    #[serde(skip_serializing_if = "Values::is_empty")]
    pub set: Values,
    /// What is asked for at least.
    #[serde(skip_serializing_if = "Values::is_empty")]
    pub min: Values,
    /// The same, at most.
    #[serde(skip_serializing_if = "Values::is_empty")]
    pub max: Values,
}

/// Rules for everybody, and for tenants.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Document {
    /// For everybody.
    #[serde(flatten)]
    pub general: Rules,
    /// For `key:NAME` or `team:NAME`.
    pub tenants: BTreeMap<String, Rules>,
}

/// What an entry is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A name that stands for another one.
    Aliases,
    /// A provider.
    Providers,
    /// Models of a pattern.
    Models,
}

impl Kind {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Aliases, Self::Providers, Self::Models];

    /// As settings and paths write it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Aliases => "aliases",
            Self::Providers => "providers",
            Self::Models => "models",
        }
    }
}

impl Document {
    /// Reads a document. An error names the field and what to write.
    pub fn read(value: &Value) -> Result<Self, String> {
        let fields = Fields::read("", value, &["aliases", "providers", "models", "tenants"])?;
        let mut document = Self { general: Rules::of(&fields)?, tenants: BTreeMap::new() };
        for (tenant, value) in fields.group("tenants")? {
            check_tenant(tenant).map_err(|e| format!("`tenants`: {e}"))?;
            let inner = Fields::read(&format!("tenants.{tenant}"), value, &["aliases", "providers", "models"])?;
            document.tenants.insert(tenant.clone(), Rules::of(&inner)?);
        }
        document.check_size()?;
        Ok(document)
    }

    /// This one, with another one on top of it, entry by entry.
    pub fn overlaid(&self, top: &Self) -> Self {
        let mut both = self.clone();
        both.general.lay(&top.general);
        for (tenant, rules) in &top.tenants {
            both.tenants.entry(tenant.clone()).or_default().lay(rules);
        }
        both.tenants.retain(|_, rules| !rules.is_empty());
        both
    }

    /// The rules of a tenant, or those for everybody.
    pub fn part(&self, tenant: Option<&str>) -> Option<&Rules> {
        tenant.map_or(Some(&self.general), |tenant| self.tenants.get(tenant))
    }

    /// Whether nothing is said.
    pub fn is_empty(&self) -> bool {
        self.general.is_empty() && self.tenants.values().all(Rules::is_empty)
    }

    /// Refuses more than requests can be compared with.
    pub fn check_size(&self) -> Result<(), String> {
        let entries: usize = std::iter::once(&self.general).chain(self.tenants.values()).map(Rules::count).sum();
        if entries > MAX_ENTRIES {
            return Err(format!("there are {entries} aliases, providers and models; at most {MAX_ENTRIES} are allowed"));
        }
        Ok(())
    }
}

impl Rules {
    fn of(fields: &Fields<'_>) -> Result<Self, String> {
        let mut rules = Self::default();
        for kind in Kind::ALL {
            for (name, value) in fields.group(kind.name())? {
                rules.put(&fields.path, kind, name, value)?;
            }
        }
        Ok(rules)
    }

    /// Reads one entry into its place. `path` is what the names of fields begin with.
    pub fn put(&mut self, path: &str, kind: Kind, name: &str, value: &Value) -> Result<(), String> {
        let at = join(&join(path, kind.name()), name);
        match kind {
            Kind::Aliases => drop(self.aliases.insert(checked(name, &at, false)?, Alias::read(&at, value)?)),
            Kind::Providers => drop(self.providers.insert(checked(name, &at, false)?, Switch::read(&at, value)?)),
            Kind::Models => {
                let (name, model) = (checked(name, &at, true)?, Model::read(&at, value)?);
                self.patterns.add(&name);
                self.models.insert(name, model);
            }
        }
        Ok(())
    }

    /// Takes one entry away. False when there was none.
    pub fn remove(&mut self, kind: Kind, name: &str) -> bool {
        match kind {
            Kind::Aliases => self.aliases.remove(name).is_some(),
            Kind::Providers => self.providers.remove(name).is_some(),
            Kind::Models => {
                self.patterns.remove(name);
                self.models.remove(name).is_some()
            }
        }
    }

    /// One entry, as it is shown.
    pub fn shown(&self, kind: Kind, name: &str) -> Option<Value> {
        match kind {
            Kind::Aliases => self.aliases.get(name).map(document),
            Kind::Providers => self.providers.get(name).map(document),
            Kind::Models => self.models.get(name).map(document),
        }
    }

    /// The names of a kind.
    pub fn names(&self, kind: Kind) -> Vec<&String> {
        match kind {
            Kind::Aliases => self.aliases.keys().collect(),
            Kind::Providers => self.providers.keys().collect(),
            Kind::Models => self.models.keys().collect(),
        }
    }

    /// Whether nothing is said.
    pub fn is_empty(&self) -> bool {
        self.count() == 0
    }

    fn count(&self) -> usize {
        self.aliases.len() + self.providers.len() + self.models.len()
    }

    fn lay(&mut self, top: &Self) {
        self.aliases.extend(top.aliases.clone());
        self.providers.extend(top.providers.clone());
        self.models.extend(top.models.clone());
        top.models.keys().for_each(|pattern| self.patterns.add(pattern));
    }

    /// What is said of a model, with the pattern that says so: the one with most letters. A name with its provider, or with whatever is before a
    /// slash, is the same model.
    pub fn model(&self, name: &str) -> Option<(&str, &Model)> {
        let (pattern, model) = self.models.get_key_value(self.patterns.find(&name.to_ascii_lowercase())?)?;
        Some((pattern, model))
    }
}

impl Patterns {
    fn of(&mut self, pattern: &str) -> &mut BTreeMap<String, BTreeSet<String>> {
        if pattern.contains('*') { &mut self.wide } else { &mut self.exact }
    }

    fn add(&mut self, pattern: &str) {
        self.of(pattern).entry(pattern.to_ascii_lowercase()).or_default().insert(pattern.to_owned());
    }

    fn remove(&mut self, pattern: &str) {
        let small = pattern.to_ascii_lowercase();
        let patterns = self.of(pattern);
        if let Some(written) = patterns.get_mut(&small) {
            written.remove(pattern);
            if written.is_empty() {
                patterns.remove(&small);
            }
        }
    }

    /// The best one for a name in small letters, as it is written.
    fn find(&self, name: &str) -> Option<&str> {
        let exact = || ends(name).find_map(|end| self.exact.get(end));
        let wide = || self.wide.iter().filter(|(pattern, _)| fits(pattern, name)).max_by_key(|(pattern, _)| pattern.len()).map(|(_, w)| w);
        exact().or_else(wide)?.last().map(String::as_str)
    }
}

/// A name, and what is behind each slash in it.
fn ends(name: &str) -> impl Iterator<Item = &str> {
    std::iter::successors(Some(name), |rest| rest.split_once('/').map(|(_, rest)| rest))
}

/// Whether a pattern fits a name, both in small letters, as it is or behind any slash in it.
pub fn fits(pattern: &str, name: &str) -> bool {
    ends(name).any(|name| pattern::matches(pattern, name))
}

impl Alias {
    fn read(at: &str, value: &Value) -> Result<Self, String> {
        // As `routing` writes it.
        if value.is_string() {
            return Ok(Self { to: whole(&name(at, value)?, at)? });
        }
        let fields = Fields::read(at, value, &["to"])?;
        let to =
            fields.name("to")?.ok_or_else(|| format!("`{at}.to` is missing; write a model, a provider, `provider/model`, or an alias"))?;
        Ok(Self { to: whole(&to, &format!("{at}.to"))? })
    }
}

impl Switch {
    fn read(at: &str, value: &Value) -> Result<Self, String> {
        Self::of(&Fields::read(at, value, &["active", "instead"])?)
    }

    fn of(fields: &Fields<'_>) -> Result<Self, String> {
        let instead = fields.name("instead")?.map(|instead| whole(&instead, &join(&fields.path, "instead"))).transpose()?;
        Ok(Self { active: fields.flag("active")?.unwrap_or(true), instead })
    }
}

impl Model {
    fn read(at: &str, value: &Value) -> Result<Self, String> {
        let fields = Fields::read(at, value, &["active", "instead", "to", "set", "min", "max"])?;
        let model = Self {
            switch: Switch::of(&fields)?,
            to: fields.name("to")?,
            set: fields.values("set")?,
            min: fields.values("min")?,
            max: fields.values("max")?,
        };
        if let Some(field) = model.min.over(&model.max) {
            return Err(format!("`{at}.min.{field}` is more than `{at}.max.{field}`; write a minimum that is not above the maximum"));
        }
        Ok(model)
    }
}

/// Checks the name of a tenant.
pub fn check_tenant(tenant: &str) -> Result<(), String> {
    let named = tenant.strip_prefix("key:").or_else(|| tenant.strip_prefix("team:")).is_some_and(|name| !name.is_empty());
    if !named || tenant.len() > MAX_NAME || tenant.contains(char::is_control) {
        return Err(format!("{} is no tenant; write `key:NAME` or `team:NAME`, with the name of an API key or of a team", shown(tenant)));
    }
    Ok(())
}

/// A text of somebody, for a message.
pub fn shown(text: &str) -> String {
    let mut cut: String = text.chars().take(MAX_SHOWN).collect();
    if cut.len() < text.len() {
        cut.push('…');
    }
    Value::String(cut).to_string()
}

/// As JSON.
fn document<T: Serialize>(entry: &T) -> Value {
    serde_json::to_value(entry).unwrap_or_default()
}

/// Whether a text can be a name at all.
fn names_something(text: &str) -> bool {
    !text.is_empty() && text.len() <= MAX_NAME && !text.contains(char::is_control) && text.trim() == text
}

/// The name of an entry.
fn checked(name: &str, at: &str, pattern: bool) -> Result<String, String> {
    if !names_something(name) {
        return Err(format!("{} is no name for an entry; write 1 to {MAX_NAME} bytes without space around them", shown(at)));
    }
    if pattern { Ok(name.to_owned()) } else { whole(name, at) }
}

/// A name in which nothing is left open.
fn whole(name: &str, at: &str) -> Result<String, String> {
    if name.contains('*') {
        return Err(format!("`{at}` is {}; `*` stands for nothing here, write a whole name", shown(name)));
    }
    Ok(name.to_owned())
}

/// A text that names something.
fn name(at: &str, value: &Value) -> Result<String, String> {
    let text = value.as_str().filter(|text| names_something(text));
    let wrong = || format!("`{at}` is {}; write a name, as text of 1 to {MAX_NAME} bytes without space around it", shown_value(value));
    text.map(str::to_owned).ok_or_else(wrong)
}

fn shown_value(value: &Value) -> String {
    match value {
        Value::String(text) => shown(text),
        Value::Array(_) => "a list".into(),
        Value::Object(_) => "a group of settings".into(),
        other => other.to_string(),
    }
}

fn join(path: &str, name: &str) -> String {
    // A name in a message is as long as a reader can bear.
    let name: String = name.chars().take(MAX_SHOWN).collect();
    if path.is_empty() { name } else { format!("{path}.{name}") }
}

/// Members of an object, with where it is.
struct Fields<'a> {
    path: String,
    members: &'a Map<String, Value>,
}

impl<'a> Fields<'a> {
    fn read(path: &str, value: &'a Value, known: &[&str]) -> Result<Self, String> {
        let Some(members) = value.as_object() else {
            let at = if path.is_empty() { "all of it".to_owned() } else { format!("`{path}`") };
            return Err(format!("{at} is {}; write a group of settings with {}", shown_value(value), known.join(", ")));
        };
        if let Some(other) = members.keys().find(|k| !known.contains(&k.as_str())) {
            return Err(format!("`{}` is no setting; there is {}", join(path, other), known.join(", ")));
        }
        Ok(Self { path: path.to_owned(), members })
    }

    /// A member; `null` is the same as none.
    fn member(&self, name: &str) -> Option<&'a Value> {
        self.members.get(name).filter(|v| !v.is_null())
    }

    fn group(&self, name: &str) -> Result<impl Iterator<Item = (&'a String, &'a Value)> + use<'a>, String> {
        let members = match self.member(name) {
            None => None,
            Some(Value::Object(members)) => Some(members),
            Some(other) => {
                return Err(format!("`{}` is {}; write names, each with its settings", join(&self.path, name), shown_value(other)));
            }
        };
        Ok(members.into_iter().flatten())
    }

    fn name(&self, field: &str) -> Result<Option<String>, String> {
        self.member(field).map(|value| name(&join(&self.path, field), value)).transpose()
    }

    fn flag(&self, field: &str) -> Result<Option<bool>, String> {
        let wrong = |v: &Value| format!("`{}` is {}; write true or false", join(&self.path, field), shown_value(v));
        self.member(field).map(|v| v.as_bool().ok_or_else(|| wrong(v))).transpose()
    }

    fn number(&self, field: &str, most: f64) -> Result<Option<f64>, String> {
        let wrong = |v: &Value| format!("`{}` is {}; write a number from 0 to {most}", join(&self.path, field), shown_value(v));
        self.member(field).map(|v| v.as_f64().filter(|n| (0.0..=most).contains(n)).ok_or_else(|| wrong(v))).transpose()
    }

    fn values(&self, field: &str) -> Result<Values, String> {
        let Some(value) = self.member(field) else { return Ok(Values::default()) };
        let inner = Fields::read(&join(&self.path, field), value, &["temperature", "top_p", "max_tokens", "reasoning_effort"])?;
        let at = |name: &str| join(&inner.path, name);
        let tokens = inner.member("max_tokens").map(|v| {
            let wrong = || format!("`{}` is {}; write a whole number, 1 or more", at("max_tokens"), shown_value(v));
            v.as_u64().filter(|n| *n > 0).ok_or_else(wrong)
        });
        let effort = inner.member("reasoning_effort").map(|v| {
            let wrong = || format!("`{}` is {}; write one of {}", at("reasoning_effort"), shown_value(v), EFFORTS.join(", "));
            v.as_str().filter(|word| EFFORTS.contains(word)).map(str::to_owned).ok_or_else(wrong)
        });
        Ok(Values {
            temperature: inner.number("temperature", 2.0)?,
            top_p: inner.number("top_p", 1.0)?,
            max_tokens: tokens.transpose()?,
            reasoning_effort: effort.transpose()?,
        })
    }
}
