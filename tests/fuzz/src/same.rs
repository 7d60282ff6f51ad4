//! When two JSON documents say the same: members in any order, numbers by value.

use llm_codec::json::MAX_DEPTH;
use serde_json::Value;
use serde_json::value::RawValue;

/// What a document that we wrote says. `serde_json` has no value for half a surrogate pair or a number of no size, which are JSON and
/// which we keep as they came: here they are a mark and the largest number. Nor for what is deeper than it goes: that is `null` as a whole,
/// which no document of ours is, and is compared with nothing.
pub fn written(body: &[u8]) -> Value {
    let raw: &RawValue =
        serde_json::from_slice(body).unwrap_or_else(|e| panic!("no JSON was written: {e}: {}", String::from_utf8_lossy(body)));
    read(body).or_else(|| serde_json::from_str(&with_values(raw.get())).ok()).unwrap_or(Value::Null)
}

/// What a document says; nothing where `serde_json` has no value for it.
pub fn read(body: &[u8]) -> Option<Value> {
    serde_json::from_slice(body).ok()
}

/// The document with other values in place of those that `serde_json` has none for.
fn with_values(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(c) = rest.chars().next() {
        let length = match c {
            '"' => {
                let end = end_of_string(rest);
                out.push_str(&paired(&rest[..end]));
                end
            }
            '-' | '0'..='9' => {
                let end = rest.find(|c: char| !matches!(c, '-' | '+' | '.' | 'e' | 'E' | '0'..='9')).unwrap_or(rest.len());
                let fits = rest[..end].parse().is_ok_and(f64::is_finite);
                out.push_str(if fits { &rest[..end] } else { "1e308" });
                end
            }
            other => {
                out.push(other);
                other.len_utf8()
            }
        };
        rest = &rest[length..];
    }
    out
}

/// The bytes of a string with its quotes.
fn end_of_string(text: &str) -> usize {
    // Its first quote is not its end.
    let mut escaped = true;
    let end = text.bytes().position(|byte| {
        let is_end = byte == b'"' && !escaped;
        escaped = !is_end && (byte == b'\\' && !escaped);
        is_end
    });
    end.map_or(text.len(), |end| end + 1)
}

/// A string with whole surrogate pairs only.
fn paired(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('\\') {
        out.push_str(&rest[..at]);
        rest = &rest[at..];
        let unit = |text: &str| u16::from_str_radix(text.strip_prefix("\\u")?.get(..4)?, 16).ok();
        let length = match (unit(rest), rest.get(6..).and_then(unit)) {
            (Some(0xd800..=0xdbff), Some(0xdc00..=0xdfff)) => 12,
            (Some(0xd800..=0xdfff), _) => {
                out.push_str("\\ufffd");
                rest = &rest[6..];
                continue;
            }
            (Some(_), _) => 6,
            (None, _) => 2,
        };
        out.push_str(&rest[..length]);
        rest = &rest[length..];
    }
    out + rest
}

/// Whether it nests so deep that, told in another way, it may be deeper than the limit. Lines are documents of their own.
pub fn is_deep(body: &[u8]) -> bool {
    body.split(|byte| *byte == b'\n').any(|line| {
        let (mut depth, mut deepest, mut in_string, mut escaped) = (0_usize, 0, false, false);
        for byte in line {
            match byte {
                _ if escaped => escaped = false,
                b'\\' => escaped = true,
                b'"' => in_string = !in_string,
                b'{' | b'[' if !in_string => depth += 1,
                b'}' | b']' if !in_string => depth = depth.saturating_sub(1),
                _ => {}
            }
            deepest = depth.max(deepest);
        }
        deepest + ROOM > MAX_DEPTH
    })
}

/// Levels that a format may put around something.
const ROOM: usize = 16;

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
        // Too deep to be compared.
        (Value::Null, _) | (_, Value::Null) if path.is_empty() => None,
        (Value::Number(x), Value::Number(y)) if x.as_f64() == y.as_f64() => None,
        (Value::Array(x), Value::Array(y)) if x.len() == y.len() => {
            x.iter().zip(y).enumerate().find_map(|(i, (x, y))| difference(&format!("{path}[{i}]"), x, y, may_grow))
        }
        (Value::Object(x), Value::Object(y)) => {
            // What begins with a dollar is a note of the codec to itself, and is never written; nor is an object of nothing else.
            let is_note = |k: &str, v: &Value| {
                k.starts_with('$') || v.as_object().is_some_and(|o| !o.is_empty() && o.keys().all(|k| k.starts_with('$')))
            };
            let missing = x.iter().find(|(k, v)| !y.contains_key(*k) && !is_note(k, v)).map(|(k, v)| format!("{path}.{k} is missing: {v}"));
            let added = || y.iter().find(|(k, _)| !may_grow && !x.contains_key(*k)).map(|(k, v)| format!("{path}.{k} was added: {v}"));
            let inside = || x.iter().find_map(|(k, v)| difference(&format!("{path}.{k}"), v, y.get(k)?, may_grow));
            missing.or_else(added).or_else(inside)
        }
        _ if a == b => None,
        _ => Some(format!("{path}: {a} became {b}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_serde_json_has_no_value_for_is_compared_all_the_same() {
        let text = r#"{"\ud83d":"a\"\\\ude00\ud83d\ude00","n":[1e400,-1e400,1.50,18446744073709551616],"s":"1e400"}"#;
        assert_eq!(
            written(text.as_bytes()).to_string(),
            "{\"\u{fffd}\":\"a\\\"\\\\\u{fffd}\u{1f600}\",\"n\":[1e+308,1e+308,1.5,1.8446744073709552e+19],\"s\":\"1e400\"}"
        );
    }

    #[test]
    fn deep_is_what_is_near_the_limit_outside_of_strings() {
        let lists = |count: usize| format!("data: {{\"a\":{}{}}}", "[".repeat(count), "]".repeat(count));
        assert!(!is_deep(lists(100).as_bytes()) && is_deep(lists(115).as_bytes()));
        assert!(!is_deep(format!("{}\n{}", lists(100), lists(100)).as_bytes()));
        assert!(!is_deep(format!("{{\"a\":\"\\\"{}\"}}", "[".repeat(200)).as_bytes()));
    }

    #[test]
    fn what_is_too_deep_is_compared_with_nothing() {
        let deep = format!(r#"{{"a":{}{}}}"#, "[".repeat(200), "]".repeat(200));
        assert_eq!(written(deep.as_bytes()), Value::Null);
        check("compared", &written(deep.as_bytes()), &written(b"{}"));
    }

    #[test]
    #[should_panic(expected = "no JSON was written")]
    fn what_is_no_json_is_told() {
        written(br#"{"a":1e400"#);
    }
}
