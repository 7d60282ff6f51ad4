//! Edits of a request's top-level members.

use std::borrow::Cow;

use crate::Format;
use crate::json::{Document, Object, Value, ensure_valid, write_string};

/// Sets (`Some`: raw JSON) or removes (`None`) top-level members. Every other byte stays where it was.
///
/// `doc` is the document of `body`. A member that occurs several times occurs once after it is set, because parsers disagree
/// about which of two counts; a new member is appended. A value that is not JSON is written as a JSON string.
pub fn splice(body: &[u8], doc: &Document<'_>, edits: &[(&str, Option<&str>)]) -> Vec<u8> {
    let members = doc.raw_members();
    let grow: usize = edits.iter().map(|(name, value)| name.len() + value.map_or(0, str::len) + 4).sum();
    let mut out = Vec::with_capacity(body.len() + grow);
    let inside = memchr::memchr(b'{', body).map_or(0, |n| n + 1);
    out.extend_from_slice(&body[..members.first().map_or(inside, |m| m.key_start)]);
    let mut any = false;
    // The end of the last byte that was copied or skipped; what lies between two members belongs to the later one.
    let mut done = out.len();
    for (i, m) in members.iter().enumerate() {
        let edit = edits.iter().rfind(|(name, _)| m.is(name));
        let doubled = edit.is_some_and(|(name, _)| members[i + 1..].iter().any(|later| later.is(name)));
        let before = &body[done..m.key_start];
        done = m.value_end();
        let value = match edit {
            Some((_, None)) => continue,
            Some(_) if doubled => continue,
            Some((_, Some(value))) => Some(ensure_valid(value)),
            None => None,
        };
        if any {
            out.extend_from_slice(before);
        }
        any = true;
        match value {
            Some(value) => {
                out.extend_from_slice(&body[m.key_start..m.value_start]);
                out.extend_from_slice(value.as_bytes());
            }
            None => out.extend_from_slice(&body[m.key_start..m.value_end()]),
        }
    }
    for (i, (name, value)) in edits.iter().enumerate() {
        let overridden = edits[i + 1..].iter().any(|(later, _)| later == name);
        if let (Some(value), false) = (value, overridden || members.iter().any(|m| m.is(name))) {
            if any {
                out.push(b',');
            }
            any = true;
            write_string(&mut out, name);
            out.push(b':');
            out.extend_from_slice(ensure_valid(value).as_bytes());
        }
    }
    out.extend_from_slice(&body[done..]);
    out
}

/// The edits that a forwarded request needs: the resolved model, when it differs or is told twice (none in Gemini's format, whose path
/// names it), and, for a stream of OpenAI's format whose usage we want, `stream_options.include_usage`, beside the options that are there.
///
/// A `stream` that is told twice is told once after this, so that we and the provider mean the same one.
pub fn request_edits(format: Format, doc: &Document<'_>, model: &str, want_usage: bool) -> Vec<(&'static str, Option<String>)> {
    let mut edits = Vec::new();
    if format == Format::GeminiGenerate {
        // The path names the model, and the body must not name another one.
        if doc.count("model") > 0 {
            edits.push(("model", None));
        }
    } else if doc.count("model") != 1 || doc.string("model").as_deref() != Some(model) {
        let mut json = Vec::new();
        write_string(&mut json, model);
        edits.push(("model", Some(String::from_utf8(json).unwrap_or_default())));
    }
    if doc.count("stream") > 1 {
        edits.push(("stream", doc.get("stream").map(str::to_owned)));
    }
    let streams = doc.get("stream") == Some("true");
    let told = doc.pointer("/stream_options/include_usage") == Some("true") && doc.count("stream_options") == 1;
    if matches!(format, Format::OpenaiChat | Format::OpenaiCompletions) && want_usage && streams && !told {
        let options = doc.get("stream_options").and_then(Value::parse).and_then(Value::object);
        let mut json = Vec::new();
        let mut o = Object::new(&mut json);
        o.bool("include_usage", true);
        if let Some(mut options) = options {
            options.take("include_usage");
            options.rest().iter().for_each(|e| o.raw(&e.name, &e.value));
        }
        o.end();
        edits.push(("stream_options", Some(String::from_utf8(json).unwrap_or_default())));
    }
    edits
}

/// The body to forward: `body` itself when [`request_edits`] finds nothing to edit.
pub fn forward<'b>(body: &'b [u8], doc: &Document<'_>, format: Format, model: &str, want_usage: bool) -> Cow<'b, [u8]> {
    let edits = request_edits(format, doc, model, want_usage);
    if edits.is_empty() {
        return Cow::Borrowed(body);
    }
    let edits: Vec<(&str, Option<&str>)> = edits.iter().map(|(name, value)| (*name, value.as_deref())).collect();
    Cow::Owned(splice(body, doc, &edits))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(body: &str, edits: &[(&str, Option<&str>)], expect: &str) {
        let doc = Document::parse(body.as_bytes()).unwrap();
        let out = String::from_utf8(splice(body.as_bytes(), &doc, edits)).unwrap();
        assert_eq!(out, expect, "{body} {edits:?}");
        Document::parse(out.as_bytes()).unwrap();
    }

    #[test]
    fn splices() {
        check(r#" { "model" : "a" , "x":[1, 2] } "#, &[("model", Some("\"b\""))], r#" { "model" : "b" , "x":[1, 2] } "#);
        check(r#"{"a":1,"b":2,"c":3}"#, &[("a", None)], r#"{"b":2,"c":3}"#);
        check(r#"{"a":1,"b":2,"c":3}"#, &[("b", None)], r#"{"a":1,"c":3}"#);
        check(r#"{"a":1, "b":2, "c":3 }"#, &[("c", None)], r#"{"a":1, "b":2 }"#);
        check(r#"{"a":1}"#, &[("a", None)], "{}");
        check(r#"{"a":1}"#, &[("a", None), ("b", Some("2"))], r#"{"b":2}"#);
        check("{ }", &[("b", Some("2"))], r#"{"b":2 }"#);
        check("{}", &[("b", None)], "{}");
        check(r#"{"a":1}"#, &[("b", Some("{\"x\":1}"))], r#"{"a":1,"b":{"x":1}}"#);
        check(r#"{"m":1,"x":0,"m":2}"#, &[("m", Some("3"))], r#"{"x":0,"m":3}"#);
        check(r#"{"m":1,"x":0,"m":2}"#, &[("m", None)], r#"{"x":0}"#);
        check(r#"{"\u006dodel":"a"}"#, &[("model", Some("\"b\""))], r#"{"\u006dodel":"b"}"#);
        check(r#"{"a":1}"#, &[("a", Some("}broken"))], r#"{"a":"}broken"}"#);
        check(r#"{"a":1}"#, &[], r#"{"a":1}"#);
    }

    fn check_forward(body: &str, format: Format, want_usage: bool, expect: &str) {
        let doc = Document::parse(body.as_bytes()).unwrap();
        let out = forward(body.as_bytes(), &doc, format, "m", want_usage);
        assert_eq!(std::str::from_utf8(&out).unwrap(), expect);
    }

    #[test]
    fn forwards() {
        let (openai, anthropic) = (Format::OpenaiChat, Format::AnthropicMessages);
        check_forward(r#"{"model":"m","stream":true}"#, anthropic, true, r#"{"model":"m","stream":true}"#);
        check_forward(r#"{"model":"m","stream":true}"#, openai, false, r#"{"model":"m","stream":true}"#);
        check_forward(r#"{"model":"m","stream":false}"#, openai, true, r#"{"model":"m","stream":false}"#);
        check_forward(
            r#"{"model":"m","stream":true}"#,
            openai,
            true,
            r#"{"model":"m","stream":true,"stream_options":{"include_usage":true}}"#,
        );
        check_forward(
            r#"{"stream_options":{"include_usage":false,"x":1},"model":"alias","stream":true}"#,
            openai,
            true,
            r#"{"stream_options":{"include_usage":true,"x":1},"model":"m","stream":true}"#,
        );
        check_forward(r#"{"contents":[]}"#, Format::GeminiGenerate, true, r#"{"contents":[]}"#);
        check_forward(r#"{"model":"evil","contents":[]}"#, Format::GeminiGenerate, true, r#"{"contents":[]}"#);
        check_forward(r#"{"model":"evil","model":"m"}"#, openai, true, r#"{"model":"m"}"#);
        check_forward(r#"{"stream":true,"model":"m","stream":false}"#, openai, true, r#"{"model":"m","stream":false}"#);
    }
}
