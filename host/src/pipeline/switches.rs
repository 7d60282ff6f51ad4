//! Which extensions a caller switches on or off for one request: `x-wasmgate-extensions: validation=on, best-of-n=off`.
//!
//! A format of an extension's own, which no vendor defines, can say the same in its body: `"metadata": {"extensions": {"validation": true}}`.
//!
//! Only what an extension's manifest and the configuration allow can be switched; anything else in the field has no effect. A hook can do the
//! same with a note whose key is [`SWITCH`] and the extension's name, and `true` or `false`.

use http::HeaderMap;
use llm_codec::Format;
use serde_json::Value;

use super::Incoming;
use crate::gateway::Generation;

/// The header field.
const FIELD: &str = "x-wasmgate-extensions";

/// What the key of a note begins with that switches an extension.
pub const SWITCH: &str = "extensions.";

/// What the caller said.
#[derive(Debug, Default)]
pub struct Switches(Vec<(String, bool)>);

impl Switches {
    /// Reads the header field, when there is anything that it could switch.
    pub fn read(generation: &Generation, headers: &HeaderMap) -> Self {
        if generation.switchable { Self::parse(headers) } else { Self::default() }
    }

    fn parse(headers: &HeaderMap) -> Self {
        let fields = headers.get_all(FIELD).iter().filter_map(|v| v.to_str().ok());
        let pairs = fields.flat_map(|field| field.split(',')).filter_map(|pair| {
            let (name, word) = pair.split_once('=')?;
            let on = match word.trim() {
                "on" | "true" => true,
                "off" | "false" => false,
                _ => return None,
            };
            Some((name.trim().to_owned(), on))
        });
        Self(pairs.collect())
    }

    /// The same of a request: its body may say more, if it is of a format that the host does not know.
    pub fn of(generation: &Generation, incoming: &Incoming, format: &str) -> Self {
        let mut switches = Self::read(generation, &incoming.head.headers);
        if generation.switchable && Format::from_name(format).is_none() {
            let metadata = incoming.document().and_then(|document| document.get("metadata"));
            switches.0.extend(metadata.map(in_metadata).unwrap_or_default());
        }
        switches
    }

    /// What was said of an extension; the last word counts.
    pub fn find(&self, name: &str) -> Option<bool> {
        self.0.iter().rev().find(|(n, _)| n == name).map(|(_, on)| *on)
    }
}

/// What the member `metadata` says.
fn in_metadata(metadata: &str) -> Vec<(String, bool)> {
    let metadata: Value = serde_json::from_str(metadata).unwrap_or_default();
    let said = metadata["extensions"].as_object().into_iter().flatten();
    said.filter_map(|(name, on)| Some((name.clone(), on.as_bool()?))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn metadata_is_read() {
        assert_eq!(in_metadata(r#"{"extensions": {"a": true, "b": false, "c": "on"}}"#), [("a".to_owned(), true), ("b".to_owned(), false)]);
        assert!(in_metadata(r#"{"extensions": true}"#).is_empty() && in_metadata("5").is_empty());
    }

    #[test]
    fn the_field_is_read() {
        let mut headers = HeaderMap::new();
        headers.append(FIELD, "a=on, b = off,c=maybe,d".parse().unwrap());
        headers.append(FIELD, "a=off".parse().unwrap());
        let switches = Switches::parse(&headers);
        let found: Vec<_> = ["a", "b", "c", "d"].iter().map(|n| switches.find(n)).collect();
        assert_eq!(found, [Some(false), Some(false), None, None]);
    }
}
