//! The configuration that an import makes, and the list of what it could not.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use super::node::Node;

/// What is made of a file.
#[derive(Debug, Default)]
pub struct Made {
    file: String,
    /// `server.host`.
    pub host: Option<String>,
    /// `server.port`.
    pub port: Option<u64>,
    /// `logging.level`.
    pub log_level: Option<String>,
    /// `logging.format`.
    pub json_log: bool,
    /// Real providers.
    pub providers: Vec<Provider>,
    /// Virtual providers.
    pub virtual_providers: Vec<Virtual>,
    /// Names and what they stand for.
    pub aliases: Vec<(String, String)>,
    /// Patterns of names, and the provider that they go to.
    pub patterns: Vec<(String, String)>,
    /// Where each kind of request of Claude Code goes.
    pub slots: Vec<(&'static str, String)>,
    /// The environment variable that holds the key of all callers.
    pub key: Option<String>,
    /// Whether what a provider's format cannot express is left out in silence.
    pub drop_unsupported: bool,
    /// Environment variables that take the place of keys in the file.
    pub replaced: BTreeSet<String>,
    /// Digests of those keys, with their variables.
    literals: BTreeMap<String, String>,
    notes: Vec<Note>,
}

/// A real provider.
#[derive(Debug, Default, Clone)]
pub struct Provider {
    /// Its name.
    pub name: String,
    /// Its type.
    pub kind: &'static str,
    /// Where it is. It may hold a reference.
    pub base_url: Option<String>,
    /// The environment variable that holds its key.
    pub key: Option<String>,
    /// Project and location at Google Cloud.
    pub cloud: Option<(String, String)>,
    /// `first_byte_timeout`, in milliseconds.
    pub timeout_ms: Option<u64>,
    /// Its models; none when any may be asked for.
    pub models: Vec<String>,
    /// Whether any model may be asked for.
    pub any_model: bool,
}

/// A virtual provider.
#[derive(Debug)]
pub struct Virtual {
    /// Its name.
    pub name: String,
    /// Its type.
    pub kind: &'static str,
    /// Who is behind it.
    pub members: Vec<Member>,
    /// More of its block: names with values as they are written.
    pub settings: Vec<(&'static str, String)>,
}

/// Who is behind a virtual provider.
#[derive(Debug, Clone, PartialEq)]
pub struct Member {
    /// A provider.
    pub provider: String,
    /// The model there, when it is another than what is asked for.
    pub model: Option<String>,
    /// How much of the traffic it gets.
    pub weight: Option<String>,
}

/// Something of the file that is not in the result as it was.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Note {
    line: usize,
    path: String,
    reason: String,
}

impl Made {
    /// Nothing yet. `file` is shown in the list.
    pub fn new(file: &str) -> Self {
        Self { file: file.to_owned(), ..Self::default() }
    }

    /// Something cannot be converted, or becomes something else. The reason must hold no value of the file that may be secret.
    pub fn note(&mut self, line: usize, path: impl Into<String>, reason: impl Into<String>) {
        self.notes.push(Note { line, path: path.into(), reason: reason.into() });
    }

    /// The environment variable for a key: the one that the file names, or one that is made up for a key that stands in the file. The same key
    /// has the same variable, wherever it stands.
    pub fn secret(&mut self, node: &Node, path: &str, named: Option<String>, made_up: &str) -> String {
        if let Some(variable) = named {
            return variable;
        }
        // The key itself is not kept, so that nothing can show it.
        let digest = crate::digest::hex(node.scalar());
        let wanted = variable_name(made_up);
        let free = || (2..).map(|n| format!("{wanted}_{n}")).find(|name| !self.replaced.contains(name));
        let variable = match self.literals.get(&digest) {
            Some(variable) => variable.clone(),
            None if !self.replaced.contains(&wanted) => wanted.clone(),
            None => free().unwrap_or_default(),
        };
        self.literals.insert(digest, variable.clone());
        self.replaced.insert(variable.clone());
        self.note(
            node.line,
            path,
            format!("a secret stands in the file; it was not copied: put it into the environment variable {variable}"),
        );
        variable
    }

    /// A name that no provider has yet.
    pub fn free_name(&self, wanted: &str) -> String {
        let taken = |name: &str| self.providers.iter().any(|p| p.name == name) || self.virtual_providers.iter().any(|v| v.name == name);
        let name: String =
            wanted.chars().map(|c| if c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.') { c } else { '-' }).collect();
        if !taken(&name) {
            return name;
        }
        (2..).map(|n| format!("{name}-{n}")).find(|name| !taken(name)).unwrap_or_default()
    }

    /// The list of what was not converted, one line each, in the order of the file.
    pub fn report(&self) -> String {
        let mut report = String::new();
        for Note { line, path, reason } in self.sorted_notes() {
            let _ = writeln!(report, "{}:{line}: `{path}`: {reason}.", self.file);
        }
        let providers = self.providers.len() + self.virtual_providers.len();
        let names = self.aliases.len();
        let _ = writeln!(report, "{providers} provider(s) and {names} alias(es) converted; {} thing(s) to look at.", self.notes.len());
        report
    }

    fn sorted_notes(&self) -> Vec<&Note> {
        let mut notes: Vec<_> = self.notes.iter().collect();
        notes.sort();
        notes
    }

    /// The configuration.
    pub fn to_yaml(&self) -> String {
        let mut yaml = format!("# Made from {} by `wasmgate import`.\n", one_line(&self.file));
        if !self.notes.is_empty() {
            yaml.push_str("#\n# Not converted, or not as it was; the numbers are lines of that file:\n");
            for Note { line, path, reason } in self.sorted_notes() {
                let _ = writeln!(yaml, "#   {line}: {}: {}", one_line(path), one_line(reason));
            }
        }
        self.write_server(&mut yaml);
        self.write_providers(&mut yaml);
        self.write_extensions(&mut yaml);
        if !self.aliases.is_empty() {
            yaml.push_str("\naliases:\n");
            for (name, target) in &self.aliases {
                let _ = writeln!(yaml, "  {}: {}", quoted(name), quoted(target));
            }
        }
        if let Some(variable) = &self.key {
            yaml.push_str("\n# The key that callers send.\napi_keys:\n");
            let _ = writeln!(yaml, "  - name: imported\n    key: ${{{variable}}}");
        }
        yaml
    }

    fn write_server(&self, yaml: &mut String) {
        if self.host.is_some() || self.port.is_some() {
            yaml.push_str("\nserver:\n");
            if let Some(host) = &self.host {
                let _ = writeln!(yaml, "  host: {}", quoted(host));
            }
            if let Some(port) = self.port {
                let _ = writeln!(yaml, "  port: {port}");
            }
        }
        if self.json_log || self.log_level.is_some() {
            yaml.push_str("\nlogging:\n");
            if self.json_log {
                yaml.push_str("  format: json\n");
            }
            if let Some(level) = &self.log_level {
                let _ = writeln!(yaml, "  level: {level}");
            }
        }
    }

    fn write_providers(&self, yaml: &mut String) {
        if self.providers.is_empty() {
            yaml.push_str("\n# Nothing of the file can be a provider; add one before you start.\nproviders: {}\n");
            return;
        }
        yaml.push_str("\nproviders:\n");
        for provider in &self.providers {
            let _ = writeln!(yaml, "  {}:\n    type: {}", quoted(&provider.name), provider.kind);
            if let Some(url) = &provider.base_url {
                let _ = writeln!(yaml, "    base_url: {url}");
            }
            if let Some(variable) = &provider.key {
                let note = if self.replaced.contains(variable) { "  # stood in the file; set it in the environment" } else { "" };
                let _ = writeln!(yaml, "    api_key: ${{{variable}}}{note}");
            }
            if let Some((project, location)) = &provider.cloud {
                let _ = writeln!(yaml, "    project: {project}\n    location: {location}");
            }
            if let Some(timeout) = provider.timeout_ms {
                let _ = writeln!(yaml, "    first_byte_timeout: {timeout}ms");
            }
            if self.drop_unsupported {
                yaml.push_str("    on_unsupported: drop\n");
            }
            if !provider.any_model && !provider.models.is_empty() {
                let models: Vec<_> = provider.models.iter().map(|m| quoted(m)).collect();
                let _ = writeln!(yaml, "    models: [{}]", models.join(", "));
            }
        }
        for one in &self.virtual_providers {
            let _ = writeln!(yaml, "  {}:\n    type: {}\n    config:\n      providers:", quoted(&one.name), one.kind);
            for member in &one.members {
                let mut fields = vec![format!("provider: {}", quoted(&member.provider))];
                fields.extend(member.model.as_ref().map(|m| format!("model: {}", quoted(m))));
                fields.extend(member.weight.as_ref().map(|w| format!("weight: {w}")));
                let _ = writeln!(yaml, "        - {{ {} }}", fields.join(", "));
            }
            for (name, value) in &one.settings {
                let _ = writeln!(yaml, "      {name}: {value}");
            }
        }
    }

    fn write_extensions(&self, yaml: &mut String) {
        yaml.push_str("\nextensions:\n  openai-api: {}\n  anthropic-api:\n    config: { message_prefixes: [/v1] }\n");
        if self.key.is_some() {
            yaml.push_str("  apikeys: {}\n");
        }
        if self.patterns.is_empty() && self.slots.is_empty() {
            yaml.push_str("  routing: {}\n");
            return;
        }
        yaml.push_str("  routing:\n    config:\n");
        if !self.patterns.is_empty() {
            yaml.push_str("      patterns:\n");
            for (pattern, provider) in &self.patterns {
                let _ = writeln!(yaml, "        - {{ match: {}, provider: {} }}", quoted(pattern), quoted(provider));
            }
        }
        if !self.slots.is_empty() {
            yaml.push_str("      slots:\n");
            for (slot, target) in &self.slots {
                let number = target.bytes().all(|b| b.is_ascii_digit());
                let _ = writeln!(yaml, "        {slot}: {}", if number { target.clone() } else { quoted(target) });
            }
        }
    }
}

/// A name that an environment variable can have.
fn variable_name(text: &str) -> String {
    let name: String = text.chars().map(|c| if c.is_ascii_alphanumeric() { c.to_ascii_uppercase() } else { '_' }).collect();
    if name.starts_with(|c: char| c.is_ascii_digit()) { format!("_{name}") } else { name }
}

/// Text of the file as YAML: `${` in it is no reference.
pub fn quoted(text: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.' | '/');
    let looks_like_text = text.starts_with(|c: char| c.is_ascii_alphabetic());
    let word = ["true", "false", "null", "yes", "no", "on", "off", "y", "n"].iter().any(|w| text.eq_ignore_ascii_case(w));
    if looks_like_text && !word && text.chars().all(plain) {
        return text.to_owned();
    }
    // A JSON string is a YAML string.
    serde_json::Value::from(text.replace("${", "$${")).to_string()
}

/// What stands in a comment must not end it.
fn one_line(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}
