//! The settings as they are in effect, with where each was made and without what must not be shown: `wasmgate config print`.

use std::fmt::Write as _;
use std::net::Ipv4Addr;

use serde_json::Value;

use super::source::Source;
use super::{Config, Setting as _};
use crate::extensions::is_secret_parameter;

/// What stands for a secret.
const MASK: &str = "\"***\"";

/// Column at which the sources stand where there is room.
const COLUMN: usize = 48;

/// A setting as it is shown.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Shown {
    /// It is not made and has no default.
    Nothing,
    /// A value as the file would write it.
    Plain(String),
    /// Names, each with its value.
    Names(Vec<(String, Self)>),
    /// Values without names.
    List(Vec<Self>),
}

impl Shown {
    /// A text, in quotes where YAML would take it for something else.
    pub fn text(text: &str) -> Self {
        Self::Plain(yaml(text))
    }

    /// A value that nobody has described: of an extension. `name` says whether it is a secret.
    pub fn undescribed(name: &str, value: &Value) -> Self {
        match value {
            Value::Object(members) => Self::Names(members.iter().map(|(n, v)| (n.clone(), Self::undescribed(n, v))).collect()),
            Value::Array(items) => Self::List(items.iter().map(|v| Self::undescribed(name, v)).collect()),
            // `max_tokens` counts them.
            Value::Number(n) if !is_secret(name) || name.ends_with("tokens") => Self::Plain(n.to_string()),
            Value::Bool(b) => Self::Plain(b.to_string()),
            Value::Null => Self::Nothing,
            Value::String(text) if !is_secret(name) => Self::text(text),
            Value::String(_) | Value::Number(_) => Self::Plain(MASK.into()),
        }
    }

    /// Whether it has names with values.
    pub fn has_names(&self) -> bool {
        matches!(self, Self::Names(names) if !names.is_empty())
    }

    /// In one line, if it fits there.
    pub fn inline(&self) -> Option<String> {
        match self {
            Self::Plain(text) => Some(text.clone()),
            Self::List(items) => {
                let items: Option<Vec<String>> =
                    items.iter().map(|i| if let Self::Plain(text) = i { Some(text.clone()) } else { None }).collect();
                items.map(|items| format!("[{}]", items.join(", ")))
            }
            Self::Names(names) if names.is_empty() => Some("{}".into()),
            Self::Nothing | Self::Names(_) => None,
        }
    }
}

/// Whether a name is one of a secret: of a setting, or of an environment variable.
pub fn is_secret(name: &str) -> bool {
    is_secret_parameter(name) || name.to_ascii_lowercase().ends_with("key")
}

/// A text as YAML writes it; what stands before the `@` of an address is not shown.
fn yaml(text: &str) -> String {
    let text = without_password(text);
    let plain = |c: char| c.is_ascii_alphanumeric() || "_./+-:".contains(c);
    let begins = text.starts_with(|c: char| c.is_ascii_alphabetic() || c == '/') || text.parse::<Ipv4Addr>().is_ok();
    let is_plain = begins
        && text.chars().all(plain)
        && !text.ends_with(':')
        && !["true", "false", "null", "yes", "no", "on", "off", "y", "n"].contains(&text.to_ascii_lowercase().as_str());
    // A text of JSON is one of YAML.
    if is_plain { text } else { Value::String(text).to_string() }
}

/// `postgres://user:password@host` without the password.
fn without_password(text: &str) -> String {
    let hidden = || {
        let (scheme, rest) = text.split_once("://")?;
        let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
        let (user, _) = rest[..end].rsplit_once('@')?;
        let name = user.split_once(':').map_or("***", |(name, _)| name);
        let shown = if user.contains(':') { format!("{name}:***") } else { name.to_owned() };
        Some(format!("{scheme}://{shown}{}", &rest[user.len()..]))
    };
    hidden().unwrap_or_else(|| text.to_owned())
}

/// All settings, as a file that would have the same effect but for its secrets. `defaults` says whether those that were not made are there.
pub fn print(config: &Config, source: &Source, defaults: bool) -> String {
    let mut page = Page { source, defaults, text: String::new() };
    page.names(&config.shown(), Some(&source.value), "", 0);
    page.text
}

impl Config {
    /// All settings.
    pub fn shown(&self) -> Vec<(String, Shown)> {
        let own = [
            ("server", self.server.shown()),
            ("auth", self.auth.shown()),
            ("logging", self.logging.shown()),
            ("telemetry", self.telemetry.shown()),
            ("storage", self.storage.shown()),
            ("deploy", self.deploy.shown()),
            ("components", self.components.shown()),
            ("cache", self.cache.shown()),
            ("default_provider", self.default_provider.shown()),
            ("providers", self.providers.shown()),
            ("extensions", self.extensions.shown()),
        ];
        let sections = self.sections.iter().map(|(name, value)| (name.clone(), Shown::undescribed(name, value)));
        own.into_iter().map(|(name, shown)| (name.to_owned(), shown)).chain(sections).collect()
    }
}

/// A page that is being written.
struct Page<'a> {
    source: &'a Source,
    defaults: bool,
    text: String,
}

impl Page<'_> {
    fn names(&mut self, names: &[(String, Shown)], made: Option<&Value>, path: &str, depth: usize) {
        for (name, shown) in names {
            let made = made.and_then(|m| m.get(name));
            if *shown == Shown::Nothing || (made.is_none() && !self.defaults) {
                continue;
            }
            let path = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
            self.entry(&format!("{}{}:", "  ".repeat(depth), yaml(name)), shown, made, &path, depth);
        }
    }

    fn entry(&mut self, head: &str, shown: &Shown, made: Option<&Value>, path: &str, depth: usize) {
        if let Some(inline) = shown.inline() {
            let inline = if self.source.is_secret(path) && !matches!(shown, Shown::Names(_)) { MASK.into() } else { inline };
            let origin = if made.is_some() { self.source.place(path) } else { "default".into() };
            let line = format!("{head} {inline}");
            let _ = writeln!(self.text, "{line:<COLUMN$} # {origin}");
            return;
        }
        let _ = writeln!(self.text, "{head}");
        match shown {
            Shown::Names(names) => self.names(names, made, path, depth + 1),
            Shown::List(items) => {
                for (n, item) in items.iter().enumerate() {
                    let made = made.and_then(|m| m.get(n));
                    let dash = format!("{}-", "  ".repeat(depth + 1));
                    self.entry(&dash, item, made, &format!("{path}[{n}]"), depth + 1);
                }
            }
            Shown::Nothing | Shown::Plain(_) => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn texts_are_read_as_they_were() {
        for (text, expect) in [
            ("info", "info"),
            ("127.0.0.1", "127.0.0.1"),
            ("1.5", "\"1.5\""),
            ("/var/lib/x.db", "/var/lib/x.db"),
            ("true", "\"true\""),
            ("8080", "\"8080\""),
            ("a: b", "\"a: b\""),
            ("sk-*", "\"sk-*\""),
            ("", "\"\""),
            ("a \"b\"\n", "\"a \\\"b\\\"\\n\""),
            ("postgres://me:pw@db:5432/x", "\"postgres://me:***@db:5432/x\""),
            ("https://token@host/v1@2", "\"https://***@host/v1@2\""),
            ("https://host/a@b:c", "\"https://host/a@b:c\""),
        ] {
            assert_eq!(yaml(text), expect, "{text}");
        }
    }

    #[test]
    fn what_is_called_like_a_secret_is_none_of_the_readers_business() {
        let settings = json!([{"key": "sk-1", "name": "dev", "max_tokens": 5, "pin_token": 1234, "keys": ["a"], "api_keys": ["b"]}]);
        let shown = format!("{:?}", Shown::undescribed("api_keys", &settings));
        for hidden in ["sk-1", "1234", "\"b\""] {
            assert!(!shown.contains(hidden), "{hidden} in {shown}");
        }
        assert!(shown.contains("dev") && shown.contains("\"5\""), "{shown}");
    }
}
