//! A YAML or JSON document with its lines, and a way to read it that leaves nothing unread.

use saphyr::{LoadableYamlNode as _, MarkedYamlOwned, ScalarOwned, YamlDataOwned};

/// A value of the document.
#[derive(Debug)]
pub struct Node {
    /// Where it is; of a member, where its name is.
    pub line: usize,
    /// What it is.
    pub value: Value,
}

/// What a value is.
#[derive(Debug)]
pub enum Value {
    /// Nothing.
    Null,
    /// Yes or no.
    Bool(bool),
    /// A number, as it is best written.
    Number(String),
    /// Text.
    Text(String),
    /// Several.
    List(Vec<Node>),
    /// Several with names.
    Map(Vec<(String, Node)>),
}

/// The members of a map that nobody asked for yet.
pub struct Members<'a> {
    /// Where the map is, for example `model_list[0].litellm_params`.
    pub path: String,
    left: Vec<(&'a str, &'a Node)>,
}

impl Node {
    /// Reads a document; JSON is YAML.
    pub fn parse(file: &str, text: &str) -> Result<Self, String> {
        let documents = MarkedYamlOwned::load_from_str(text)
            .map_err(|e| format!("{file}:{}: this is neither YAML nor JSON: {}", e.marker().line(), e.info()))?;
        match documents.as_slice() {
            [only] => Self::of(only, only.span.start.line())
                .map_err(|line| format!("{file}:{line}: YAML tags and names that are no text are not supported here")),
            [] => Err(format!("{file} is empty")),
            _ => Err(format!("{file} holds more than one YAML document")),
        }
    }

    /// An error is the line of what is not supported.
    fn of(node: &MarkedYamlOwned, line: usize) -> Result<Self, usize> {
        let value = match &node.data {
            YamlDataOwned::Value(ScalarOwned::Null) => Value::Null,
            YamlDataOwned::Value(ScalarOwned::Boolean(b)) => Value::Bool(*b),
            YamlDataOwned::Value(ScalarOwned::Integer(n)) => Value::Number(n.to_string()),
            YamlDataOwned::Value(ScalarOwned::FloatingPoint(f)) => Value::Number(f.into_inner().to_string()),
            YamlDataOwned::Value(ScalarOwned::String(text)) => Value::Text(text.clone()),
            YamlDataOwned::Sequence(items) => {
                Value::List(items.iter().map(|item| Self::of(item, item.span.start.line())).collect::<Result<_, _>>()?)
            }
            YamlDataOwned::Mapping(entries) => {
                let member = |(key, value): (&MarkedYamlOwned, &MarkedYamlOwned)| {
                    let line = key.span.start.line();
                    let name = match &key.data {
                        YamlDataOwned::Value(ScalarOwned::String(name)) => name.clone(),
                        YamlDataOwned::Value(ScalarOwned::Integer(n)) => n.to_string(),
                        YamlDataOwned::Value(ScalarOwned::FloatingPoint(f)) => f.into_inner().to_string(),
                        _ => return Err(line),
                    };
                    Ok((name, Self::of(value, line)?))
                };
                Value::Map(entries.iter().map(member).collect::<Result<_, _>>()?)
            }
            _ => return Err(line),
        };
        Ok(Self { line, value })
    }

    /// Text, when it is that.
    pub fn text(&self) -> Option<&str> {
        match &self.value {
            Value::Text(text) => Some(text),
            _ => None,
        }
    }

    /// Text or a number, as it is written; empty for anything else.
    pub fn scalar(&self) -> &str {
        match &self.value {
            Value::Text(text) | Value::Number(text) => text,
            _ => "",
        }
    }

    /// A number that is not negative, also as text.
    pub fn number(&self) -> Option<f64> {
        let (Value::Number(n) | Value::Text(n)) = &self.value else { return None };
        n.parse().ok().filter(|n: &f64| n.is_finite() && *n >= 0.0)
    }

    /// Whether it is true.
    pub fn is_true(&self) -> bool {
        matches!(self.value, Value::Bool(true))
    }

    /// Whether it says nothing.
    pub fn is_empty(&self) -> bool {
        match &self.value {
            Value::Null => true,
            Value::Text(text) => text.is_empty(),
            Value::List(items) => items.is_empty(),
            Value::Map(entries) => entries.is_empty(),
            Value::Bool(_) | Value::Number(_) => false,
        }
    }

    /// The items of a list; none when it is no list.
    pub fn items(&self) -> &[Self] {
        match &self.value {
            Value::List(items) => items,
            _ => &[],
        }
    }

    /// The members of a map; none when it is no map.
    pub fn members(&self, path: impl Into<String>) -> Members<'_> {
        let left = match &self.value {
            Value::Map(entries) => entries.iter().map(|(name, node)| (name.as_str(), node)).collect(),
            _ => Vec::new(),
        };
        Members { path: path.into(), left }
    }
}

impl<'a> Members<'a> {
    /// Takes a member out.
    pub fn take(&mut self, name: &str) -> Option<&'a Node> {
        let at = self.left.iter().position(|(n, _)| *n == name)?;
        Some(self.left.remove(at).1)
    }

    /// The same for a member that says something.
    pub fn take_set(&mut self, name: &str) -> Option<&'a Node> {
        self.take(name).filter(|node| !node.is_empty())
    }

    /// The path of a member.
    pub fn at(&self, name: &str) -> String {
        if self.path.is_empty() { name.to_owned() } else { format!("{}.{name}", self.path) }
    }

    /// What nobody asked for.
    pub fn rest(self) -> impl Iterator<Item = (String, &'a str, &'a Node)> {
        let path = self.path;
        self.left.into_iter().map(move |(name, node)| {
            let full = if path.is_empty() { name.to_owned() } else { format!("{path}.{name}") };
            (full, name, node)
        })
    }
}
