//! Arguments of tools and prompts: read by name, and what is wrong is told with the field and the fix.

use serde_json::{Map, Value};

use crate::rpc::shown;

/// Arguments that are being read.
pub struct Args<'a>(&'a Map<String, Value>);

impl<'a> Args<'a> {
    /// Those that have these names and no others.
    pub fn new(given: &'a Map<String, Value>, names: &[&str]) -> Result<Self, String> {
        match given.keys().find(|k| !names.contains(&k.as_str())) {
            Some(other) => Err(format!("`{}`: there is no such argument; there is `{}`.", shown(other), names.join("`, `"))),
            None => Ok(Self(given)),
        }
    }

    fn value(&self, name: &str) -> Option<&'a Value> {
        self.0.get(name).filter(|v| !v.is_null())
    }

    /// A text.
    pub fn text(&self, name: &str) -> Result<Option<&'a str>, String> {
        match self.value(name) {
            None => Ok(None),
            Some(Value::String(text)) => Ok(Some(text)),
            Some(other) => Err(wrong(name, other, "a string")),
        }
    }

    /// A text that has to be there, with something in it.
    pub fn need(&self, name: &str) -> Result<&'a str, String> {
        let text = self.text(name)?.ok_or_else(|| format!("`{name}` is missing; it has to be a string."))?;
        if text.trim().is_empty() { Err(format!("`{name}` is empty.")) } else { Ok(text) }
    }

    /// Yes or no.
    pub fn flag(&self, name: &str, default: bool) -> Result<bool, String> {
        match self.value(name) {
            None => Ok(default),
            Some(Value::Bool(flag)) => Ok(*flag),
            Some(other) => Err(wrong(name, other, "true or false")),
        }
    }

    /// A whole number in bounds.
    pub fn whole(&self, name: &str, from: u64, to: u64) -> Result<Option<u64>, String> {
        let Some(value) = self.value(name) else { return Ok(None) };
        let number = value.as_u64().filter(|n| (from..=to).contains(n));
        number.map(Some).ok_or_else(|| wrong(name, value, &format!("a whole number from {from} to {to}")))
    }

    /// A number in bounds.
    pub fn number(&self, name: &str, from: f64, to: f64) -> Result<Option<f64>, String> {
        let Some(value) = self.value(name) else { return Ok(None) };
        let number = value.as_f64().filter(|n| (from..=to).contains(n));
        number.map(Some).ok_or_else(|| wrong(name, value, &format!("a number from {from} to {to}")))
    }

    /// One of some words.
    pub fn word(&self, name: &str, words: &[&str]) -> Result<Option<&'a str>, String> {
        let Some(value) = self.value(name) else { return Ok(None) };
        let word = value.as_str().filter(|w| words.contains(w));
        word.map(Some).ok_or_else(|| wrong(name, value, &format!("one of `{}`", words.join("`, `"))))
    }

    /// A list of objects.
    pub fn objects(&self, name: &str, most: usize) -> Result<Vec<&'a Map<String, Value>>, String> {
        let Some(value) = self.value(name) else { return Ok(Vec::new()) };
        let expected = format!("a list of {most} objects at most");
        let list = value.as_array().filter(|l| l.len() <= most).ok_or_else(|| wrong(name, value, &expected))?;
        list.iter().map(|v| v.as_object().ok_or_else(|| wrong(name, v, "a list of objects"))).collect()
    }
}

fn wrong(name: &str, value: &Value, expected: &str) -> String {
    format!("`{name}` is {}; it has to be {expected}.", shown(&value.to_string()))
}
