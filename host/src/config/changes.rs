//! Settings of providers that were made through the operators' interface. They lie over those of the file, the environment and the command line.
//!
//! A member that was changed stands in the place of what is below; everything else shows through. What is here was written by people or programs
//! far away, so less is possible than in the file: no file is read, and a variable of the environment is taken for keys and headers only.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// Providers that may exist through the interface alone.
pub const MAX_ADDED: usize = 200;

/// Longest name of such a provider.
const MAX_NAME: usize = 64;

/// Settings whose values are secrets, and may name a variable of the environment.
const SECRETS: [&str; 3] = ["api_key", "api_keys", "headers"];

/// Settings that name a file, which the gateway would read and write.
const FILES: [&str; 1] = ["config.performance_file"];

/// What variables are called that are settings of the gateway itself.
const OWN_VARIABLES: &str = "WASMGATE_";

/// All changes, by provider.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Changes(BTreeMap<String, Change>);

/// What was changed of one provider.
#[derive(Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Change {
    /// Whether the provider is in the file. When it is there no longer, its changes end.
    in_file: bool,
    /// The settings as they were sent: names of variables, not what is in them.
    settings: Map<String, Value>,
}

impl fmt::Debug for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Keys are among them.
        f.debug_struct("Change").field("in_file", &self.in_file).field("settings", &self.settings.keys().collect::<Vec<_>>()).finish()
    }
}

impl Changes {
    /// Those of a provider.
    pub fn of(&self, provider: &str) -> Option<&Change> {
        self.0.get(provider)
    }

    /// All of them.
    pub fn all(&self) -> impl Iterator<Item = (&str, &Change)> {
        self.0.iter().map(|(name, change)| (name.as_str(), change))
    }

    /// With more settings of a provider. A setting that is `null` is changed no longer. `in_file` says whether the provider is in the file.
    pub fn with(&self, provider: &str, in_file: bool, settings: &Map<String, Value>) -> Self {
        let mut changes = self.clone();
        // What was changed of one that has gone from the file since says nothing of another one with its name.
        if changes.of(provider).is_some_and(|before| before.in_file && !in_file) {
            changes.0.remove(provider);
        }
        let change = changes.0.entry(provider.to_owned()).or_insert_with(|| Change { in_file, settings: Map::new() });
        change.in_file = in_file;
        for (instead, of) in [("api_keys", "api_key"), ("api_key", "api_keys")] {
            // One stands in the place of the other.
            if settings.get(instead).is_some_and(|v| !v.is_null()) {
                change.settings.remove(of);
            }
        }
        lay(&mut change.settings, settings);
        if change.settings.is_empty() {
            changes.0.remove(provider);
        }
        changes
    }

    /// Without those of a provider.
    pub fn without(&self, provider: &str) -> Self {
        let mut changes = self.clone();
        changes.0.remove(provider);
        changes
    }

    /// How many providers are there through changes alone.
    pub fn added(&self) -> usize {
        self.0.values().filter(|change| !change.in_file).count()
    }
}

impl Change {
    /// Whether the provider is in the file.
    pub fn in_file(&self) -> bool {
        self.in_file
    }

    /// Names of the settings.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.settings.keys().map(String::as_str)
    }

    /// Lays the settings over those of a provider. `fill` puts in what references stand for; a setting that it gives nothing for is not made.
    pub fn apply(&self, to: &mut Map<String, Value>, fill: &mut dyn FnMut(&str, &str) -> Option<String>) {
        for (instead, of) in [("api_keys", "api_key"), ("api_key", "api_keys")] {
            if self.settings.contains_key(instead) {
                to.remove(of);
            }
        }
        for (name, value) in &self.settings {
            match filled(name, value, fill) {
                Some(Value::Object(inner)) => {
                    let below = to.entry(name.clone()).or_insert_with(|| Value::Object(Map::new()));
                    match below.as_object_mut() {
                        Some(below) => lay(below, &inner),
                        None => *below = Value::Object(inner),
                    }
                }
                Some(value) => drop(to.insert(name.clone(), value)),
                None => drop(to.remove(name)),
            }
        }
    }
}

/// Lays settings over others, section by section. A `null` takes away.
fn lay(below: &mut Map<String, Value>, above: &Map<String, Value>) {
    for (name, value) in above {
        match (value, below.get_mut(name)) {
            (Value::Null, _) => drop(below.remove(name)),
            (Value::Object(above), Some(Value::Object(inner))) => {
                lay(inner, above);
                if inner.is_empty() {
                    below.remove(name);
                }
            }
            (value, _) => drop(below.insert(name.clone(), without_nulls(value))),
        }
    }
}

/// A `null` inside of something new takes away what is not there.
fn without_nulls(value: &Value) -> Value {
    match value {
        Value::Object(members) => members.iter().filter(|(_, v)| !v.is_null()).map(|(n, v)| (n.clone(), without_nulls(v))).collect(),
        other => other.clone(),
    }
}

fn filled(path: &str, value: &Value, fill: &mut dyn FnMut(&str, &str) -> Option<String>) -> Option<Value> {
    Some(match value {
        Value::String(text) => Value::String(fill(path, text)?),
        Value::Array(items) => {
            let items = items.iter().enumerate();
            Value::Array(items.filter_map(|(n, item)| filled(&format!("{path}[{n}]"), item, fill)).collect())
        }
        Value::Object(members) => {
            let members = members.iter();
            members.filter_map(|(name, item)| Some((name.clone(), filled(&format!("{path}.{name}"), item, fill)?))).collect()
        }
        other => other.clone(),
    })
}

/// Why a provider may not be added under a name.
pub fn check_name(name: &str) -> Result<(), String> {
    let good = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_');
    if name.len() <= MAX_NAME && name.starts_with(|c: char| c.is_ascii_alphanumeric()) && name.chars().all(good) {
        return Ok(());
    }
    Err(format!(
        "a provider that is added this way has letters, digits, `-` and `_` in its name, at most {MAX_NAME}, and begins with one of the first two."
    ))
}

/// Why a text may not stand at a setting: what the file may refer to, and this may not.
pub fn check_reference(path: &str, text: &str) -> Result<(), String> {
    let is_secret = SECRETS.iter().any(|s| path.strip_prefix(s).is_some_and(|rest| rest.is_empty() || rest.starts_with(['.', '['])));
    if FILES.contains(&path) {
        return Err("files are named in the configuration file only; leave it out.".into());
    }
    check_filled(text)?;
    let mut rest = text;
    while let Some(at) = rest.find("${") {
        let escaped = rest[..at].ends_with('$');
        rest = &rest[at + 2..];
        if escaped {
            continue;
        }
        if !is_secret {
            return Err(
                "a variable of the environment can stand in `api_key`, `api_keys` and `headers` only; send the value itself.".into()
            );
        }
        if rest.starts_with(OWN_VARIABLES) {
            return Err(format!("variables that begin with `{OWN_VARIABLES}` are settings of the gateway; name another one."));
        }
    }
    Ok(())
}

/// Why a text may not be the value of a setting, with variables filled in: in many settings it would stand for what is in a file.
pub fn check_filled(text: &str) -> Result<(), String> {
    if text.starts_with("file:") {
        return Err("files are read for the configuration file only; send the key, or the name of a variable as `${NAME}`.".into());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn settings(value: Value) -> Map<String, Value> {
        value.as_object().unwrap().clone()
    }

    #[test]
    fn changes_lie_over_each_other_and_over_the_file() {
        let changes = Changes::default()
            .with("a", true, &settings(json!({"base_url": "http://x", "retry": {"budget": 1, "backoff": "1s"}})))
            .with("a", true, &settings(json!({"base_url": null, "retry": {"budget": 2}, "api_keys": ["k"]})));
        assert_eq!(changes.of("a").unwrap().names().collect::<Vec<_>>(), ["retry", "api_keys"]);
        let mut below = settings(json!({"type": "openai", "api_key": "old", "base_url": "http://y", "retry": {"max_backoff": "2s"}}));
        changes.of("a").unwrap().apply(&mut below, &mut |path, text| Some(format!("{path}={text}")));
        let expect = json!({
            "type": "openai", "base_url": "http://y", "api_keys": ["api_keys[0]=k"],
            "retry": {"max_backoff": "2s", "budget": 2, "backoff": "retry.backoff=1s"},
        });
        assert_eq!(Value::Object(below), expect);

        let one = changes.with("a", true, &settings(json!({"api_key": "k2"})));
        let mut below = settings(json!({"api_keys": ["old"]}));
        one.of("a").unwrap().apply(&mut below, &mut |_, text| Some(text.to_owned()));
        assert_eq!((below.get("api_keys"), &below["api_key"]), (None, &json!("k2")));

        let added = one.with("a", false, &settings(json!({"type": "echo"})));
        assert_eq!(added.of("a").unwrap().names().collect::<Vec<_>>(), ["type"], "it is another one, and gets no key of the one before");

        let none = one.with("a", true, &settings(json!({"api_key": null, "retry": null})));
        assert_eq!(none, Changes::default());
    }

    #[test]
    fn keys_do_not_show() {
        let changes = Changes::default().with("a", false, &settings(json!({"api_key": "sk-1"})));
        assert!(!format!("{changes:?}").contains("sk-1"));
        assert_eq!((changes.added(), changes.without("a").added()), (1, 0));
    }

    #[test]
    fn what_may_be_referred_to() {
        let check = |path, text, expect: &str| {
            let found = check_reference(path, text).err().unwrap_or_default();
            assert!(found.contains(expect) && found.is_empty() == expect.is_empty(), "{path}: {text}: {found}");
        };
        check("api_key", "${KEY}", "");
        check("api_keys[1]", "${KEY}", "");
        check("headers.x-org", "${ORG}", "");
        check("base_url", "http://x/$${y}", "");
        check("base_url", "http://${HOST}", "`api_keys` and `headers` only");
        check("api_keyring", "${KEY}", "only");
        check("api_key", "file:/etc/shadow", "files are read");
        check("api_key", "${WASMGATE_AUTH__API_PASSWORD}", "settings of the gateway");
        check("headers.x-a", "${HOME}${WASMGATE_AUTH__API_PASSWORD}", "settings of the gateway");
        check("base_url", "http://x/$${y}${HOST}", "`api_keys` and `headers` only");
        check("oauth.client_secret", "file:/etc/shadow", "files are read");
        check("config.performance_file", "/etc/passwd", "files are named");
        assert!(check_filled("file:/etc/shadow").is_err() && check_filled("a file:").is_ok());
        assert!(check_name("a-1_b").is_ok());
        for wrong in ["", "-a", "a.b", "a b", "%20", &"a".repeat(65)] {
            assert!(check_name(wrong).is_err(), "{wrong}");
        }
    }
}
