//! When two JSON documents say the same: members in any order, numbers by value.

use serde_json::Value;

/// What a document that we wrote says.
pub fn written(body: &[u8]) -> Value {
    read(body).unwrap_or_else(|| panic!("no JSON was written: {}", String::from_utf8_lossy(body)))
}

/// What a document says; nothing where `serde_json` has no value for it.
pub fn read(body: &[u8]) -> Option<Value> {
    serde_json::from_slice(body).ok()
}

/// Without members that are `null`.
pub fn without_nulls(value: Value) -> Value {
    match value {
        Value::Object(o) => o.into_iter().filter(|(_, v)| !v.is_null()).map(|(k, v)| (k, without_nulls(v))).collect(),
        Value::Array(a) => a.into_iter().map(without_nulls).collect(),
        other => other,
    }
}

/// Both say the same; otherwise it panics with the first place where they do not.
#[track_caller]
pub fn check(what: &str, before: &Value, after: &Value) {
    if let Some(difference) = difference("", before, after, false) {
        panic!("{what}: {difference}\nbefore: {before}\nafter:  {after}");
    }
}

/// The second one says everything that the first one says, and may say more.
#[track_caller]
pub fn check_kept(what: &str, before: &Value, after: &Value) {
    if let Some(difference) = difference("", before, after, true) {
        panic!("{what}: {difference}\nbefore: {before}\nafter:  {after}");
    }
}

fn difference(path: &str, a: &Value, b: &Value, may_grow: bool) -> Option<String> {
    match (a, b) {
        (Value::Number(x), Value::Number(y)) if x.as_f64() == y.as_f64() => None,
        (Value::Array(x), Value::Array(y)) if x.len() == y.len() => {
            x.iter().zip(y).enumerate().find_map(|(i, (x, y))| difference(&format!("{path}[{i}]"), x, y, may_grow))
        }
        (Value::Object(x), Value::Object(y)) => {
            // What begins with a dollar is a note of the codec to itself, and is never written.
            let missing =
                x.iter().find(|(k, _)| !k.starts_with('$') && !y.contains_key(*k)).map(|(k, v)| format!("{path}.{k} is missing: {v}"));
            let added = || y.iter().find(|(k, _)| !may_grow && !x.contains_key(*k)).map(|(k, v)| format!("{path}.{k} was added: {v}"));
            let inside = || x.iter().find_map(|(k, v)| difference(&format!("{path}.{k}"), v, y.get(k)?, may_grow));
            missing.or_else(added).or_else(inside)
        }
        _ if a == b => None,
        _ => Some(format!("{path}: {a} became {b}")),
    }
}
