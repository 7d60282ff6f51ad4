//! Code laid out anew: JSON, as `JSON.stringify(value, null, 2)` writes it. Only space between tokens changes, so numbers, escapes, members
//! that are there twice and their order stay as they are.
//!
//! What is absent: the other languages. See decision 22 for each of them.

use serde::de::IgnoredAny;

use crate::Language;

/// Most bytes of what comes out, for each that goes in: many small values in deep lists would become mostly space.
const GROWTH: usize = 16;

/// What is always allowed.
const ROOM: usize = 1024;

/// The code laid out anew; none when it is as it should be, does not parse, or nothing lays out its language.
pub fn format(language: Language, source: &str) -> Option<String> {
    let formatted = match language {
        Language::Json => json(source)?,
        _ => return None,
    };
    (formatted != source).then_some(formatted)
}

fn json(source: &str) -> Option<String> {
    // What nests too deep is an error here too.
    serde_json::from_str::<IgnoredAny>(source).ok()?;
    let most = source.len() * GROWTH + ROOM;
    let mut out = String::with_capacity(source.len() * 2);
    let mut depth = 0_usize;
    let mut rest = source;
    while let Some(next) = rest.chars().next() {
        match next {
            ' ' | '\t' | '\r' | '\n' => rest = &rest[1..],
            '{' | '[' => {
                out.push(next);
                rest = rest[1..].trim_start();
                if rest.starts_with(['}', ']']) {
                    out.push_str(&rest[..1]);
                    rest = &rest[1..];
                } else {
                    depth += 1;
                    line(&mut out, depth);
                }
            }
            '}' | ']' => {
                depth = depth.saturating_sub(1);
                line(&mut out, depth);
                out.push(next);
                rest = &rest[1..];
            }
            ',' => {
                out.push(',');
                line(&mut out, depth);
                rest = &rest[1..];
            }
            ':' => {
                out.push_str(": ");
                rest = &rest[1..];
            }
            _ => {
                let (token, after) = rest.split_at(end_of(rest));
                out.push_str(token);
                rest = after;
            }
        }
        if out.len() > most {
            return None;
        }
    }
    if source.ends_with('\n') {
        out.push('\n');
    }
    Some(out)
}

fn line(out: &mut String, depth: usize) {
    out.push('\n');
    out.extend(std::iter::repeat_n("  ", depth));
}

/// Where a text, a number or a word ends that a piece of JSON begins with.
fn end_of(rest: &str) -> usize {
    let bytes = rest.as_bytes();
    if bytes[0] != b'"' {
        return bytes.iter().position(|b| b" \t\r\n,:]}".contains(b)).unwrap_or(bytes.len());
    }
    let mut at = 1;
    while at < bytes.len() {
        match bytes[at] {
            b'"' => return at + 1,
            b'\\' => at += 2,
            _ => at += 1,
        }
    }
    bytes.len()
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;

    #[test]
    fn json_is_laid_out_as_everybody_does() {
        for (source, expect) in [
            (r#"{"a":[1,2,{}],"b":{"c":null}}"#, "{\n  \"a\": [\n    1,\n    2,\n    {}\n  ],\n  \"b\": {\n    \"c\": null\n  }\n}"),
            ("[ ]", "[]"),
            ("{\n}\n", "{}\n"),
            (r#" "a, [b]: \" \\" "#, r#""a, [b]: \" \\""#),
            // What a parser would write otherwise stays: numbers, escapes, members that are there twice.
            (r#"{"a":1.50,"a":1e3,"b":"\u00e4ä/\/"}"#, "{\n  \"a\": 1.50,\n  \"a\": 1e3,\n  \"b\": \"\\u00e4ä/\\/\"\n}"),
        ] {
            let formatted = format(Language::Json, source);
            assert_eq!(formatted.as_deref(), Some(expect), "{source}");
            assert_eq!(format(Language::Json, expect), None, "{source}: once is enough");
            assert_eq!(serde_json::from_str::<Value>(source).unwrap(), serde_json::from_str::<Value>(expect).unwrap());
        }
    }

    #[test]
    fn what_is_broken_or_would_be_mostly_space_stays() {
        let deep = format!("{}{}{}", "[".repeat(100), vec!["1"; 4000].join(","), "]".repeat(100));
        for source in ["{\"a\":1", "{a: 1}", "", "[1,]", &"[".repeat(5000), &deep] {
            assert_eq!(format(Language::Json, source), None, "{source}");
        }
        assert_eq!(format(Language::Python, "a=1"), None);
    }
}
