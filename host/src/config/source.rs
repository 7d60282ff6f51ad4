//! Where settings come from: a YAML file, then environment variables, then `--set` on the command line, then what was changed through the
//! operators' interface; later ones win.
//!
//! The layers are merged by `figment`. The YAML layer is our own so that every setting keeps its line.

use std::collections::{HashMap, HashSet};
use std::path::Path;

use figment::providers::{Env, Serialized};
use figment::value::{Dict, Map, Tag, Value};
use figment::{Figment, Metadata, Profile, Provider};
use saphyr::{LoadableYamlNode as _, MarkedYamlOwned, ScalarOwned, YamlDataOwned};

use super::changes::{Changes, check_filled, check_reference};
use super::problems::{Problem, Severity, suggestion};
use super::shown::is_secret;

/// Environment variables that are settings: `WASMGATE_SERVER__PORT` is `server.port`. A name without `__` is none.
const ENV_PREFIX: &str = "WASMGATE_";
const ENV_SEPARATOR: &str = "__";

/// All layers, merged.
pub struct Source {
    /// The settings.
    pub value: serde_json::Value,
    /// What went wrong on the way.
    pub problems: Vec<Problem>,
    /// The text of the file.
    pub text: String,
    /// Changes that lie on top. Those of a provider that is gone are not among them.
    pub changes: Changes,
    file: String,
    lines: HashMap<String, usize>,
    /// Settings that were made elsewhere, and where; later ones win.
    overrides: Vec<(String, String)>,
    /// Settings whose text has a secret of the environment in it.
    secrets: HashSet<String>,
}

impl Source {
    /// Reads all layers. `set` holds `path=value` pairs of the command line.
    pub fn read(file: &Path, set: &[String], env: &dyn Fn(&str) -> Option<String>) -> Self {
        let shown = file.display().to_string();
        let text = match std::fs::read_to_string(file) {
            Ok(text) => text,
            Err(e) => return Self::failed(shown, format!("cannot be read: {e}")),
        };
        Self::parse(&shown, &text, set, env)
    }

    /// The same on text that was already read.
    pub fn parse(file: &str, text: &str, set: &[String], env: &dyn Fn(&str) -> Option<String>) -> Self {
        let documents = match MarkedYamlOwned::load_from_str(text) {
            Ok(documents) => documents,
            Err(e) => {
                let mut failed = Self::failed(String::new(), format!("this is not valid YAML: {}", e.info()));
                failed.problems[0].place = format!("{file}:{}", e.marker().line());
                return failed;
            }
        };
        let mut layer = YamlLayer { file, env, lines: HashMap::new(), problems: Vec::new(), secrets: HashSet::new() };
        let root = match documents.as_slice() {
            [] => Value::from(Dict::new()),
            [only] => layer.value(only, "").unwrap_or_else(|| Value::from(Dict::new())),
            _ => return Self::failed(file.into(), "holds more than one YAML document".into()),
        };
        let YamlLayer { lines, mut problems, secrets, .. } = layer;
        let Value::Dict(_, dict) = root else {
            return Self::failed(file.into(), "must hold settings (`name: value`) at its top".into());
        };
        let mut figment = Figment::new().merge(Layer(dict)).merge(environment());
        let mut overrides: Vec<(String, String)> = environment()
            .iter()
            .map(|(k, _)| {
                let path = k.as_str().to_lowercase();
                let variable = path.replace('.', ENV_SEPARATOR).replace('-', "_").to_uppercase();
                (path, format!("environment variable {ENV_PREFIX}{variable}"))
            })
            .collect();
        for pair in set {
            match pair.split_once('=') {
                Some((path, value)) => {
                    let path = setting_path(path);
                    figment = figment.merge(Serialized::default(&path, command_line_value(value)));
                    overrides.push((path, "--set".into()));
                }
                None => problems.push(Problem {
                    severity: Severity::Error,
                    place: "--set".into(),
                    path: String::new(),
                    message: format!("`{pair}` is not of the form `path=value`, for example `server.port=8081`."),
                }),
            }
        }
        let value = match figment.extract() {
            Ok(value) => value,
            Err(e) => return Self::failed(file.into(), e.to_string()),
        };
        Self { value, problems, text: text.into(), changes: Changes::default(), file: file.into(), lines, overrides, secrets }
    }

    /// Lays changes of providers on top. Those of a provider that is gone end with it: whatever has its name later is another one, which must not
    /// get its key.
    pub fn lay(&mut self, changes: &Changes, env: &dyn Fn(&str) -> Option<String>) {
        let mut used = changes.clone();
        for (name, change) in changes.all() {
            let place = place_of_change(name);
            let path = format!("providers.{name}");
            let problem = |path: String, message: String| {
                let (severity, place) = (Severity::Error, place.clone());
                Problem { severity, place, path, message }
            };
            let providers = self.value.get_mut("providers").filter(|p| p.is_object());
            if change.in_file() && providers.as_ref().is_none_or(|p| p.get(name).is_none()) {
                let message = "the configuration has no such provider any more, so what was changed of it is not used, and is forgotten as soon as this configuration serves.";
                self.problems.push(Problem { severity: Severity::Warning, ..problem(path, message.into()) });
                used = used.without(name);
                continue;
            }
            let Some(root) = self.value.as_object_mut() else { return };
            let providers = root.entry("providers").or_insert_with(|| serde_json::Map::new().into());
            // What is no section was told to be none.
            let Some(providers) = providers.as_object_mut() else { return };
            let provider = providers.entry(name).or_insert_with(|| serde_json::Map::new().into());
            let Some(provider) = provider.as_object_mut() else { continue };
            let mut layer = YamlLayer { file: "", env, lines: HashMap::new(), problems: Vec::new(), secrets: HashSet::new() };
            let mut wrong = Vec::new();
            change.apply(provider, &mut |setting, text| {
                let path = format!("{path}.{setting}");
                if let Err(message) = check_reference(setting, text) {
                    wrong.push(problem(path, message));
                    return None;
                }
                // What a variable holds, or stands behind its `:-`, is not looked at above.
                let filled = layer.interpolate(text, &path, 0)?;
                match check_filled(&filled) {
                    Ok(()) => Some(filled),
                    Err(message) => {
                        wrong.push(problem(path, message));
                        None
                    }
                }
            });
            self.secrets.extend(layer.secrets);
            self.problems.extend(layer.problems.into_iter().map(|p| Problem { place: place.clone(), ..p }).chain(wrong));
            if !change.in_file() {
                self.overrides.push((path.clone(), place.clone()));
            }
            self.overrides.extend(change.names().map(|setting| (format!("{path}.{setting}"), place.clone())));
        }
        self.changes = used;
    }

    fn failed(place: String, message: String) -> Self {
        Self {
            value: serde_json::Value::Object(serde_json::Map::new()),
            problems: vec![Problem { severity: Severity::Error, place, path: String::new(), message }],
            text: String::new(),
            changes: Changes::default(),
            file: String::new(),
            lines: HashMap::new(),
            overrides: Vec::new(),
            secrets: HashSet::new(),
        }
    }

    /// Whether a setting has something of the environment in it that is called like a secret there.
    pub fn is_secret(&self, path: &str) -> bool {
        self.secrets.contains(path)
    }

    /// Where a setting was made; for one that was not made, where its parent was.
    pub fn place(&self, path: &str) -> String {
        let is_in = |whole: &str| path.strip_prefix(whole).is_some_and(|rest| rest.is_empty() || rest.starts_with(['.', '[']));
        if let Some((_, place)) = self.overrides.iter().rev().find(|(whole, _)| is_in(whole)) {
            return place.clone();
        }
        let mut path = path;
        loop {
            if let Some(line) = self.lines.get(path) {
                return format!("{}:{line}", self.file);
            }
            match path.rfind('.') {
                Some(dot) => path = &path[..dot],
                None => return self.file.clone(),
            }
        }
    }
}

/// Where a provider's settings were made that were changed through the operators' interface.
pub fn place_of_change(provider: &str) -> String {
    format!("PUT /api/providers/{provider}")
}

/// The environment's settings: `WASMGATE_EXTENSIONS__OPENAI_API__ENABLED` is `extensions.openai-api.enabled`.
fn environment() -> Env {
    Env::prefixed(ENV_PREFIX)
        .filter(|k| k.as_str().contains(ENV_SEPARATOR))
        .map(|k| setting_path(&k.as_str().to_lowercase().replace(ENV_SEPARATOR, ".")).into())
        .split(".")
}

/// A path as the file would write it: the samples write `best_of_n`, components are named `best-of-n`.
fn setting_path(path: &str) -> String {
    match path.strip_prefix("extensions.") {
        None => path.to_owned(),
        Some(rest) => {
            let (name, rest) = rest.split_once('.').map_or((rest, String::new()), |(n, r)| (n, format!(".{r}")));
            format!("extensions.{}{rest}", component_name(name))
        }
    }
}

fn component_name(name: &str) -> String {
    name.replace('_', "-")
}

/// A value of `--set`: a number or boolean where it looks like one, JSON where it begins like it, otherwise text.
fn command_line_value(text: &str) -> serde_json::Value {
    serde_json::from_str(text).unwrap_or_else(|_| text.into())
}

/// The file's settings as a layer.
struct Layer(Dict);

impl Provider for Layer {
    fn metadata(&self) -> Metadata {
        Metadata::named("configuration file")
    }

    fn data(&self) -> figment::error::Result<Map<Profile, Dict>> {
        Ok(Map::from([(Profile::Default, self.0.clone())]))
    }
}

/// Turns YAML nodes into values, notes their lines and fills in `${VARIABLES}`.
struct YamlLayer<'a> {
    file: &'a str,
    env: &'a dyn Fn(&str) -> Option<String>,
    lines: HashMap<String, usize>,
    problems: Vec<Problem>,
    secrets: HashSet<String>,
}

impl YamlLayer<'_> {
    fn value(&mut self, node: &MarkedYamlOwned, path: &str) -> Option<Value> {
        let line = node.span.start.line();
        self.lines.entry(path.to_owned()).or_insert(line);
        match &node.data {
            YamlDataOwned::Value(scalar) => self.scalar(scalar, path, line),
            YamlDataOwned::Sequence(items) => {
                let items = items.iter().enumerate();
                let items: Vec<Value> = items.filter_map(|(n, item)| self.value(item, &format!("{path}[{n}]"))).collect();
                Some(Value::from(items))
            }
            YamlDataOwned::Mapping(entries) => {
                let mut dict = Dict::new();
                for (key, value) in entries {
                    let name = match &key.data {
                        YamlDataOwned::Value(ScalarOwned::String(name)) => name.clone(),
                        YamlDataOwned::Value(ScalarOwned::Integer(n)) => n.to_string(),
                        YamlDataOwned::Value(ScalarOwned::Boolean(b)) => b.to_string(),
                        _ => {
                            self.problem(Severity::Error, path, key.span.start.line(), "a name must be text.".into());
                            continue;
                        }
                    };
                    let name = if path == "extensions" { component_name(&name) } else { name };
                    let inner = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
                    self.lines.insert(inner.clone(), key.span.start.line());
                    let empty = matches!(&value.data, YamlDataOwned::Value(ScalarOwned::Null));
                    let value = match self.value(value, &inner) {
                        // `routing:` alone means all of its defaults.
                        None if empty && matches!(path, "extensions" | "providers") => Some(Value::from(Dict::new())),
                        value => value,
                    };
                    if let Some(value) = value
                        && dict.insert(name, value).is_some()
                    {
                        self.problem(Severity::Error, &inner, key.span.start.line(), "it is there twice.".into());
                    }
                }
                Some(Value::from(dict))
            }
            _ => {
                self.problem(Severity::Error, path, line, "YAML tags and aliases are not supported here.".into());
                None
            }
        }
    }

    fn scalar(&mut self, scalar: &ScalarOwned, path: &str, line: usize) -> Option<Value> {
        match scalar {
            ScalarOwned::Null => None,
            ScalarOwned::Boolean(b) => Some(Value::from(*b)),
            ScalarOwned::Integer(n) => Some(Value::from(*n)),
            ScalarOwned::FloatingPoint(f) => Some(Value::from(f.into_inner())),
            ScalarOwned::String(text) => self.interpolate(text, path, line).map(|t| Value::String(Tag::Default, t)),
        }
    }

    /// Fills in `${NAME}` and `${NAME:-default}`; `$${` stands for `${`. A key that is nothing but an unset variable counts as not
    /// given, with a warning, so that a sample configuration can be tried without all of its keys. Anywhere else that would be a
    /// silent change of meaning: an address that is not set must not become the vendor's.
    fn interpolate(&mut self, text: &str, path: &str, line: usize) -> Option<String> {
        let mut out = String::with_capacity(text.len());
        let mut rest = text;
        while let Some(at) = rest.find("${") {
            if rest[..at].ends_with('$') {
                out.push_str(&rest[..at - 1]);
                out.push_str("${");
                rest = &rest[at + 2..];
                continue;
            }
            let Some(end) = rest[at..].find('}') else {
                self.problem(Severity::Error, path, line, format!("`{}` is not closed with a brace.", &rest[at..]));
                return None;
            };
            let inner = &rest[at + 2..at + end];
            let (name, default) = inner.split_once(":-").map_or((inner, None), |(n, d)| (n, Some(d)));
            if is_secret(name) {
                self.secrets.insert(path.to_owned());
            }
            match (self.env)(name).filter(|v| !v.is_empty()).or_else(|| default.map(str::to_owned)) {
                Some(value) => {
                    out.push_str(&rest[..at]);
                    out.push_str(&value);
                }
                None if text.len() == end + 1 && path.ends_with("api_key") => {
                    let message = format!("the environment variable `{name}` is not set, so this setting is not made.");
                    self.problem(Severity::Warning, path, line, message);
                    return None;
                }
                None => {
                    let message = format!("the environment variable `{name}` is not set; set it or write `${{{name}:-default}}`.");
                    self.problem(Severity::Error, path, line, message);
                    return None;
                }
            }
            rest = &rest[at + end + 1..];
        }
        out.push_str(rest);
        Some(out)
    }

    fn problem(&mut self, severity: Severity, path: &str, line: usize, message: String) {
        self.problems.push(Problem { severity, place: format!("{}:{line}", self.file), path: path.into(), message });
    }
}

/// The problem of a name that nobody knows.
pub fn unknown(source: &Source, path: &str, name: &str, known: &[&str]) -> Problem {
    let full = if path.is_empty() { name.to_owned() } else { format!("{path}.{name}") };
    let list = known.iter().map(|k| format!("`{k}`")).collect::<Vec<_>>().join(", ");
    Problem {
        severity: Severity::Error,
        place: source.place(&full),
        path: full,
        message: format!("there is no such setting.{} Known here: {list}.", suggestion(name, known.iter().copied())),
    }
}
