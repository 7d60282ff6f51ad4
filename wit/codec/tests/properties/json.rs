//! The scanner agrees with `serde_json`, and a splice touches nothing else.

use llm_codec::json::{Document, Fields, is_valid};
use llm_codec::passthrough::splice;
use proptest::prelude::*;
use serde_json::Value;
use serde_json::value::RawValue;

use crate::make;

/// What `serde_json` says of a body.
fn reference(body: &[u8]) -> bool {
    serde_json::from_slice::<Box<RawValue>>(body).is_ok_and(|raw| raw.get().starts_with('{'))
}

fn agree(body: &[u8]) -> Result<(), TestCaseError> {
    let ours = Document::parse(body);
    prop_assert_eq!(ours.is_ok(), reference(body), "{:?} {:?}", String::from_utf8_lossy(body), ours.err());
    Ok(())
}

/// Pieces that documents are made of, in any order: nearly JSON.
fn nearly_json() -> impl Strategy<Value = String> {
    let piece = prop::sample::select(vec![
        "{",
        "}",
        "[",
        "]",
        ",",
        ":",
        "\"",
        "\"a\"",
        "\"\\n\"",
        "\"\\u00e9\"",
        "\"\\ud83d\"",
        "\"\\x\"",
        "\"\\u12\"",
        "0",
        "-0",
        "01",
        "1.5",
        "1.",
        ".5",
        "1e5",
        "1e",
        "-",
        "+1",
        "true",
        "false",
        "null",
        "nul",
        " ",
        "\n",
        "\t",
        "\u{c}",
        "é",
        "\u{1}",
        "{\"a\":1}",
        "[1,2]",
        "\\",
    ]);
    prop::collection::vec(piece, 0..12).prop_map(|pieces| pieces.concat())
}

proptest! {
    #![proptest_config(crate::config())]

    #[test]
    fn document_agrees_on_bytes(body in prop::collection::vec(any::<u8>(), 0..60)) {
        agree(&body)?;
    }

    #[test]
    fn document_agrees_on_pieces(text in nearly_json()) {
        agree(text.as_bytes())?;
        agree(format!("{{\"a\":{text}}}").as_bytes())?;
        prop_assert_eq!(is_valid(&text), serde_json::from_str::<Box<RawValue>>(&text).is_ok());
    }

    #[test]
    fn document_agrees_on_mutations(value in make::object(), at in any::<prop::sample::Index>(), byte in any::<u8>(), how in 0..3) {
        let mut body = serde_json::to_vec(&value).unwrap();
        agree(&body)?;
        let at = at.index(body.len());
        match how {
            0 => body[at] = byte,
            1 => drop(body.remove(at)),
            _ => body.insert(at, byte),
        }
        agree(&body)?;
    }

    #[test]
    fn document_reads_what_serde_reads(value in make::object(), pretty in any::<bool>()) {
        let body = if pretty { serde_json::to_vec_pretty(&value) } else { serde_json::to_vec(&value) }.unwrap();
        let document = Document::parse(&body).unwrap();
        let members: Vec<(String, Value)> = document.members().map(|(k, v)| (k.into_owned(), serde_json::from_str(v).unwrap())).collect();
        let expect: Vec<(String, Value)> = value.as_object().unwrap().clone().into_iter().collect();
        prop_assert_eq!(&members, &expect);
        for (name, inner) in value.as_object().unwrap() {
            let text = document.string(name);
            prop_assert_eq!(text.as_deref(), inner.as_str());
            for (key, leaf) in inner.as_object().into_iter().flatten() {
                let pointer = format!("/{}/{}", escape(name), escape(key));
                let found = document.pointer(&pointer).map(|v| serde_json::from_str::<Value>(v).unwrap());
                prop_assert_eq!(found.as_ref(), Some(leaf), "{}", pointer);
            }
        }
        // Taken one by one, nothing is left; untaken, everything is.
        prop_assert_eq!(Fields::of(&document).rest().len(), expect.len());
        let mut fields = Fields::of(&document);
        expect.iter().for_each(|(name, _)| { fields.take(name); });
        prop_assert!(fields.rest().is_empty());
    }

    #[test]
    fn splice_leaves_the_rest(value in make::object(), pick in any::<prop::sample::Index>(), fresh in make::json(), remove in any::<bool>(), pretty in any::<bool>()) {
        let body = if pretty { serde_json::to_vec_pretty(&value) } else { serde_json::to_vec(&value) }.unwrap();
        let document = Document::parse(&body).unwrap();
        let mut names: Vec<String> = value.as_object().unwrap().keys().cloned().collect();
        names.push("not there".into());
        let name = &names[pick.index(names.len())];
        let json = fresh.to_string();
        let out = splice(&body, &document, &[(name, (!remove).then_some(json.as_str()))]);
        let mut expect = value.as_object().unwrap().clone();
        if remove { expect.shift_remove(name); } else { expect.insert(name.clone(), fresh); }
        let got: Value = serde_json::from_slice(&out).unwrap();
        prop_assert_eq!(got.as_object().unwrap().iter().collect::<Vec<_>>(), expect.iter().collect::<Vec<_>>());
    }
}

fn escape(key: &str) -> String {
    key.replace('~', "~0").replace('/', "~1")
}

#[test]
fn depth_is_limited() {
    let nested = |depth: usize| format!("{{\"a\":{}{}}}", "[".repeat(depth), "]".repeat(depth));
    assert!(Document::parse(nested(127).as_bytes()).is_ok());
    let fault = Document::parse(nested(128).as_bytes()).unwrap_err();
    assert_eq!((fault.message, fault.offset), ("nested too deeply", 132));
    // Deep and broken: no stack to overflow.
    assert!(Document::parse(&[b'['; 1_000_000]).is_err());
    assert!(Document::parse(&br#"{"a":"#.repeat(100_000)).is_err());
}

#[test]
fn faults_say_where() {
    let check = |body: &str, line: usize, column: usize, message: &str| {
        let fault = Document::parse(body.as_bytes()).unwrap_err();
        assert_eq!((fault.line, fault.column, fault.message), (line, column, message), "{body:?}");
    };
    check("", 1, 1, "the document is empty");
    check("[]", 1, 1, "expected an object");
    check("{\n  \"a\": tru\n}", 2, 8, "expected `true`, `false` or `null`");
    check("{\"a\":1,}", 1, 8, "expected a quoted key");
    check("{\"a\" 1}", 1, 6, "expected `:` after a key");
    check("{\"a\":\"x\ny\"}", 1, 8, "control character in a string");
    check("{\"a\":\"x", 1, 8, "the document ends inside a string");
    check("{} x", 1, 4, "characters after the end of the document");
}

#[test]
fn the_last_duplicate_counts() {
    let document = Document::parse(br#"{"a":1,"b":{"x":1,"x":2},"a":2}"#).unwrap();
    assert_eq!((document.get("a"), document.count("a"), document.pointer("/b/x")), (Some("2"), 2, Some("2")));
}
