//! Equality of JSON documents: members in any order, numbers by value.

use serde_json::Value;

/// The first difference, as a path and both sides.
pub fn difference(a: &Value, b: &Value) -> Option<String> {
    compare("", a, b)
}

fn compare(path: &str, a: &Value, b: &Value) -> Option<String> {
    match (a, b) {
        (Value::Number(x), Value::Number(y)) if x.as_f64() == y.as_f64() => None,
        (Value::Array(x), Value::Array(y)) if x.len() == y.len() => {
            x.iter().zip(y).enumerate().find_map(|(i, (x, y))| compare(&format!("{path}[{i}]"), x, y))
        }
        (Value::Object(x), Value::Object(y)) => {
            let missing = x.keys().find(|k| !y.contains_key(*k)).map(|k| format!("{path}.{k} is missing: {}", short(&x[k])));
            let added = || y.keys().find(|k| !x.contains_key(*k)).map(|k| format!("{path}.{k} was added: {}", short(&y[k])));
            missing.or_else(added).or_else(|| x.iter().find_map(|(k, v)| compare(&format!("{path}.{k}"), v, &y[k])))
        }
        _ if a == b => None,
        _ => Some(format!("{path}: {} became {}", short(a), short(b))),
    }
}

fn short(v: &Value) -> String {
    v.to_string().chars().take(120).collect()
}

/// Without members that are `null`.
pub fn without_nulls(v: &Value) -> Value {
    match v {
        Value::Object(o) => o.iter().filter(|(_, v)| !v.is_null()).map(|(k, v)| (k.clone(), without_nulls(v))).collect(),
        Value::Array(a) => a.iter().map(without_nulls).collect(),
        other => other.clone(),
    }
}
