//! The JSON scanner agrees with `serde_json`, its readers find what `serde_json` finds, and a splice changes nothing else.

use llm_codec::json::{Document, Fields};
use llm_codec::passthrough::splice;
use serde_json::value::RawValue;
use serde_json::{Map, Value};

/// Pointers that are followed per document: each walks the text again.
const POINTERS: usize = 48;

/// Checks one body.
pub fn check(bytes: &[u8]) {
    let is_json = serde_json::from_slice::<Box<RawValue>>(bytes).is_ok_and(|raw| raw.get().starts_with('{'));
    let parsed = serde_json::from_slice::<Value>(bytes).ok().filter(Value::is_object);
    let document = match Document::parse(bytes) {
        Ok(document) => document,
        Err(fault) => {
            assert!(!is_json || fault.message == "nested too deeply", "refused: {fault}");
            assert!(parsed.is_none(), "refused what `serde_json` takes: {fault}");
            assert!(fault.offset <= bytes.len() && fault.line > 0 && fault.column > 0, "{fault:?}");
            return;
        }
    };
    assert!(is_json, "took what is no JSON object");
    // `serde_json` has no value for half a surrogate pair or a number of no size; then there is nothing to compare with.
    let Some(Value::Object(object)) = parsed else { return };
    reads(&document, &object);
    splices(bytes, &document, &object);
}

fn reads(document: &Document<'_>, object: &Map<String, Value>) {
    let mut fields = Fields::of(document);
    for (name, value) in object {
        assert_eq!(document.get(name).map(value_of).as_ref(), Some(value), "member {name:?}");
        assert_eq!(document.string(name).as_deref(), value.as_str(), "text of {name:?}");
        assert!(fields.take(name).is_some(), "member {name:?} cannot be taken");
    }
    assert!(fields.rest().is_empty(), "members were left over");
    let mut places = Vec::new();
    for (name, value) in object {
        pointers(value, format!("/{}", escape(name)), &mut places);
    }
    for (pointer, value) in places {
        assert_eq!(document.pointer(&pointer).map(value_of).as_ref(), Some(value), "at {pointer}");
        assert_eq!(document.pointer_string(&pointer).as_deref(), value.as_str(), "text at {pointer}");
    }
}

fn splices(bytes: &[u8], document: &Document<'_>, object: &Map<String, Value>) {
    let names = object.keys().map(String::as_str).take(4).chain(["a new one"]);
    // A value of the document itself, so that values of every kind and spelling come.
    let fresh = document.raw_members().last().map_or("null", |m| m.value);
    for name in names {
        for edit in [None, Some(fresh)] {
            let out = splice(bytes, document, &[(name, edit)]);
            let mut expected = object.clone();
            match edit {
                None => drop(expected.shift_remove(name)),
                Some(raw) => drop(expected.insert(name.to_owned(), value_of(raw))),
            }
            let found: Value = serde_json::from_slice(&out).expect("a splice leaves JSON");
            assert_eq!(found, Value::Object(expected), "{name:?} spliced with {edit:?}");
            let again = Document::parse(&out).expect("a splice leaves a document");
            assert_eq!(again.count(name), usize::from(edit.is_some()), "{name:?} after the splice");
        }
    }
}

fn value_of(raw: &str) -> Value {
    serde_json::from_str(raw).expect("a raw value is JSON")
}

fn pointers<'v>(value: &'v Value, at: String, out: &mut Vec<(String, &'v Value)>) {
    if out.len() >= POINTERS {
        return;
    }
    match value {
        Value::Object(o) => o.iter().for_each(|(key, v)| pointers(v, format!("{at}/{}", escape(key)), out)),
        Value::Array(a) => a.iter().enumerate().for_each(|(i, v)| pointers(v, format!("{at}/{i}"), out)),
        _ => {}
    }
    out.push((at, value));
}

fn escape(key: &str) -> String {
    key.replace('~', "~0").replace('/', "~1")
}
