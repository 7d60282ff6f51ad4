//! The model in the body of Gemini's operations. The path names it, and the body may name it again: `model`, that of
//! `generateContentRequest`, and that of each of several `requests`. They must all mean the same, or what was checked is not what is asked.

use std::fmt::Write as _;

use super::splice;
use crate::json::{Document, Value, write_string};

/// Members that hold a request with a model of its own. Google's JSON takes both spellings.
const NESTED: [&str; 2] = ["generateContentRequest", "generate_content_request"];

/// Where a body names another model than the path, for example `requests[1].model`.
pub fn gemini_other_model(document: &Document<'_>, model: &str) -> Option<String> {
    if names_other(document, model) {
        return Some("model".into());
    }
    let members = |name: &'static str| document.members().filter(move |(key, _)| key == name);
    for name in NESTED {
        if members(name).any(|(_, raw)| nested(raw).is_some_and(|inner| names_other(&inner, model))) {
            return Some(format!("{name}.model"));
        }
    }
    for (_, raw) in members("requests") {
        let mut requests = Value::parse(raw).and_then(Value::elements).into_iter().flatten();
        if let Some(n) = requests.position(|one| nested(one.raw()).is_some_and(|inner| names_other(&inner, model))) {
            return Some(format!("requests[{n}].model"));
        }
    }
    None
}

/// The edits of the top of a body after which all its models are this one. Members that have none get none, and all other bytes stay.
pub fn gemini_model_edits(document: &Document<'_>, model: &str) -> Vec<(&'static str, Option<String>)> {
    let mut edits = Vec::new();
    if names_other(document, model) || document.count("model") > 1 {
        edits.push(("model", Some(full_name(model))));
    }
    for name in NESTED {
        let Some(raw) = document.get(name) else { continue };
        let renamed = renamed(raw, model);
        if renamed.is_some() || document.count(name) > 1 {
            edits.push((name, Some(renamed.unwrap_or_else(|| raw.to_owned()))));
        }
    }
    if let Some(raw) = document.get("requests") {
        let mut changed = document.count("requests") > 1;
        let mut list = String::with_capacity(raw.len());
        for one in Value::parse(raw).and_then(Value::elements).into_iter().flatten() {
            let renamed = renamed(one.raw(), model);
            changed |= renamed.is_some();
            let _ = write!(list, "{}{}", if list.is_empty() { "" } else { "," }, renamed.as_deref().unwrap_or(one.raw()));
        }
        if changed {
            edits.push(("requests", Some(format!("[{list}]"))));
        }
    }
    edits
}

/// An object inside of a document; none when it is something else.
fn nested(raw: &str) -> Option<Document<'_>> {
    Document::parse(raw.as_bytes()).ok()
}

/// An object that asks for another model, asking for this one.
fn renamed(raw: &str, model: &str) -> Option<String> {
    let inner = nested(raw)?;
    let changes = names_other(&inner, model) || inner.count("model") > 1;
    let name = full_name(model);
    changes.then(|| String::from_utf8(splice(raw.as_bytes(), &inner, &[("model", Some(&name))])).unwrap_or_default())
}

/// Whether an object's own `model` is there and is not this one. Of several each counts, because readers disagree about which one does.
fn names_other(document: &Document<'_>, model: &str) -> bool {
    let mut told = document.raw_members().iter().filter(|m| m.is("model") && m.value != "null");
    told.any(|m| Value::parse(m.value).and_then(Value::text).is_none_or(|name| name.strip_prefix("models/").unwrap_or(&name) != model))
}

/// The name as Google's documents have it, as JSON.
fn full_name(model: &str) -> String {
    let mut json = Vec::new();
    write_string(&mut json, &format!("models/{model}"));
    String::from_utf8(json).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(body: &str, other: Option<&str>, expect: &str) {
        let document = Document::parse(body.as_bytes()).unwrap();
        assert_eq!(gemini_other_model(&document, "m").as_deref(), other, "{body}");
        let edits = gemini_model_edits(&document, "m");
        let edits: Vec<_> = edits.iter().map(|(name, value)| (*name, value.as_deref())).collect();
        let out = String::from_utf8(splice(body.as_bytes(), &document, &edits)).unwrap();
        assert_eq!(out, expect);
        assert_eq!(gemini_other_model(&Document::parse(out.as_bytes()).unwrap(), "m"), None, "{out}");
    }

    #[test]
    fn every_model_of_a_body_becomes_the_one_of_the_path() {
        let same = |body: &str| check(body, None, body);
        same(r#"{ "contents" : [ ] }"#);
        same(r#"{"model":"models/m","content":{}}"#);
        same(r#"{"model":"m"}"#);
        same(r#"{"model":null,"generateContentRequest":{ "model" : "models/m" },"requests":[ {"model":"m"} , {} ]}"#);
        // What is no object has no model; the provider says what is wrong with it.
        same(r#"{"requests":7,"generateContentRequest":[{"model":"x"}]}"#);
        check(r#"{"model":"models/x","content":{}}"#, Some("model"), r#"{"model":"models/m","content":{}}"#);
        check(r#"{"model":5}"#, Some("model"), r#"{"model":"models/m"}"#);
        check(
            r#"{"generateContentRequest":{"a":1.50, "model" : "models/x"}}"#,
            Some("generateContentRequest.model"),
            r#"{"generateContentRequest":{"a":1.50, "model" : "models/m"}}"#,
        );
        check(
            r#"{"generate_content_request":{"model":"x"}}"#,
            Some("generate_content_request.model"),
            r#"{"generate_content_request":{"model":"models/m"}}"#,
        );
        check(
            r#"{"requests":[{"model":"models/m"}, {"model":"x","content":{"parts":[{"text":"\u00e9"}]}},7]}"#,
            Some("requests[1].model"),
            r#"{"requests":[{"model":"models/m"},{"model":"models/m","content":{"parts":[{"text":"\u00e9"}]}},7]}"#,
        );
    }

    #[test]
    fn what_is_told_twice_is_told_once() {
        check(r#"{"model":"x","model":"m"}"#, Some("model"), r#"{"model":"models/m"}"#);
        check(r#"{"requests":[{"model":"m","mod\u0065l":"x"}]}"#, Some("requests[0].model"), r#"{"requests":[{"mod\u0065l":"models/m"}]}"#);
        check(r#"{"requests":[{"model":"x"}],"requests":[]}"#, Some("requests[0].model"), r#"{"requests":[]}"#);
        check(
            r#"{"generateContentRequest":{"model":"x"},"generateContentRequest":{}}"#,
            Some("generateContentRequest.model"),
            r#"{"generateContentRequest":{}}"#,
        );
    }
}
