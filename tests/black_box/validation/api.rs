//! `POST /api/validate`.

use serde_json::{Value, json};
use wasmgate_tests::{Client, Gateway};

use crate::setup;

const PATH: &str = "/api/validate";

/// A gateway with nothing but the extension.
pub async fn gateway(settings: &str) -> (Gateway, Client) {
    let gateway = Gateway::start(&setup::config("  echo: {type: echo}\n", &format!("  validation: {settings}\n"))).await;
    let client = Client::new(&gateway);
    (gateway, client)
}

#[tokio::test]
async fn code_is_checked_and_repaired() {
    let (_gateway, client) = gateway("{}").await;
    let answer = client.post(PATH, &json!({"code": "def a():\n    return (1\n", "language": "python"})).await;
    let document = answer.json();
    assert_eq!((answer.status, &document["success"], &document["data"]["valid"]), (200, &json!(true), &json!(false)), "{document}");
    let block = &document["data"]["blocks"][0];
    assert_eq!((&block["language"], &block["result"]), (&json!("python"), &json!("invalid")), "{document}");
    let problem = &block["diagnostics"][0];
    assert!(problem["line"].as_u64() >= Some(2) && problem["column"].as_u64() >= Some(1), "{problem}");
    assert!(problem["message"].as_str().is_some_and(|m| !m.is_empty()) && problem["excerpt"].as_str().unwrap().contains('^'), "{problem}");
    assert!(document["data"].get("code").is_none(), "nobody asked for a repair: {document}");

    let document = client.post(PATH, &json!({"code": "{\"a\": [1, 2", "language": "json", "auto_fix": true})).await.json();
    assert_eq!((&document["data"]["valid"], &document["data"]["code"]), (&json!(true), &json!("{\"a\": [1, 2]}")), "{document}");
    assert_eq!(document["data"]["blocks"][0]["fixes"], json!(["closed what was open at the end"]), "{document}");

    // What is right stays as it is, and the language need not be said.
    let document = client.post(PATH, &json!({"code": "fn main() {\n    println!(\"{}\", 1);\n}\n", "auto_fix": true})).await.json();
    assert_eq!((&document["data"]["result"], &document["data"]["blocks"][0]["language"]), (&json!("valid"), &json!("rust")), "{document}");
    assert!(document["data"].get("code").is_none(), "{document}");
    let document = client.post(PATH, &json!({"code": "what is this"})).await.json();
    assert_eq!((&document["data"]["valid"], &document["data"]["result"]), (&Value::Null, &json!("unchecked")), "{document}");
}

#[tokio::test]
async fn json_is_laid_out_where_that_is_asked_for() {
    let (_gateway, client) = gateway("{}").await;
    let laid_out = "{\n  \"a\": 1.50,\n  \"b\": []\n}";
    let ask = async |body: Value| client.post(PATH, &body).await.json()["data"].clone();
    let data = ask(json!({"code": "{\"a\":1.50,\"b\":[]}", "language": "json", "format": true})).await;
    assert_eq!((&data["valid"], &data["result"], &data["code"]), (&json!(true), &json!("fixed"), &json!(laid_out)), "{data}");
    assert_eq!(data["blocks"][0]["fixes"], json!(["laid out anew"]), "{data}");
    // Repaired first, in a text, and not twice.
    let data = ask(json!({"text": "Here:\n```json\n{\"a\":1.50,\"b\":[],}\n```\n", "auto_fix": true, "format": true})).await;
    assert_eq!(data["text"], format!("Here:\n```json\n{laid_out}\n```\n"), "{data}");
    for (code, language, format) in [(laid_out, "json", true), ("{\"a\":1}", "json", false), ("a=1\n", "python", true)] {
        let data = ask(json!({"code": code, "language": language, "format": format})).await;
        assert_eq!((&data["result"], data.get("code")), (&json!("valid"), None), "{data}");
    }
    let data = ask(json!({"code": "{\"a\":", "language": "json", "format": true})).await;
    assert_eq!((&data["result"], data.get("code")), (&json!("invalid"), None), "{data}");
}

#[tokio::test]
async fn imports_are_added() {
    let (_gateway, client) = gateway("{}").await;
    for (language, code, expect) in [
        ("go", "package a\n\nvar b = fmt.Sprint()\n", "package a\n\nimport \"fmt\"\n\nvar b = fmt.Sprint()\n"),
        ("python", "print(json.dumps(1))\n", "import json\n\nprint(json.dumps(1))\n"),
        ("rust", "fn main() {\n    HashMap::new();\n}\n", "use std::collections::HashMap;\n\nfn main() {\n    HashMap::new();\n}\n"),
    ] {
        let document = client.post(PATH, &json!({"code": code, "language": language, "auto_fix": true})).await.json();
        let data = &document["data"];
        assert_eq!((&data["valid"], &data["result"], &data["code"]), (&json!(true), &json!("fixed"), &json!(expect)), "{document}");
        assert!(data["blocks"][0]["fixes"][0].as_str().is_some_and(|f| f.starts_with("added the import of `")), "{document}");
        let problem = data["blocks"][0]["diagnostics"][0]["message"].as_str();
        assert!(problem.is_some_and(|m| m.ends_with("is not imported")), "{document}");
        // Nobody asked for it; and what is whole stays.
        for (code, auto_fix) in [(code, false), (expect, true)] {
            let document = client.post(PATH, &json!({"code": code, "language": language, "auto_fix": auto_fix})).await.json();
            assert_eq!((&document["data"]["result"], document["data"].get("code")), (&json!("valid"), None), "{document}");
        }
    }
    let (_gateway, client) = gateway("{config: {imports: false}}").await;
    let document = client.post(PATH, &json!({"code": "print(json.dumps(1))\n", "language": "python", "auto_fix": true})).await.json();
    assert_eq!(document["data"]["result"], "valid", "{document}");
}

#[tokio::test]
async fn each_language_is_there() {
    let (_gateway, client) = gateway("{}").await;
    for (language, good, bad) in [
        ("go", "package a\n\nfunc b() {}\n", "package a\n\nfunc b( {}\n"),
        ("python", "a = 1\n", "a = = 1\n"),
        ("javascript", "const a = <b>c</b>;\n", "const a = (;\n"),
        ("tsx", "const a = <b>{c as d}</b>;\n", "const a: = 1;\n"),
        ("json", "{}", "{"),
        ("yml", "a: 1\n", "a: [1\n"),
        ("toml", "a = 1\n", "a = \n"),
        ("rs", "fn a() {}\n", "fn a( {}\n"),
    ] {
        for (code, valid) in [(good, true), (bad, false)] {
            let document = client.post(PATH, &json!({"code": code, "language": language})).await.json();
            assert_eq!(document["data"]["valid"], valid, "{language}: {code}: {document}");
        }
    }
}

#[tokio::test]
async fn answers_with_code_are_checked_piece_by_piece() {
    let (_gateway, client) = gateway("{config: {languages: [go]}}").await;
    let text = "Two:\n\n```json\n{\"a\": 1,}\n```\n\n```python\nb = 1\n```\n\n```bash\nls (\n```\n";
    let document = client.post(PATH, &json!({"text": text, "auto_fix": true})).await.json();
    let blocks = &document["data"]["blocks"];
    assert_eq!(blocks.as_array().map(Vec::len), Some(2), "{document}");
    assert_eq!(
        (&blocks[0]["result"], &blocks[0]["line"], &blocks[1]["result"]),
        (&json!("fixed"), &json!(4), &json!("valid")),
        "{document}"
    );
    assert_eq!(document["data"]["text"], text.replace("1,}", "1}"), "{document}");
}

#[tokio::test]
async fn what_is_wrong_with_a_body_is_said() {
    let (_gateway, client) = gateway("{}").await;
    for (body, says) in [
        ("", "The body is not JSON"),
        ("[]", "has to be an object"),
        ("{}", "`code` is missing"),
        ("{\"code\": 1}", "`code` is `1`; it has to be a string"),
        ("{\"code\": \"\", \"language\": \"cobol\"}", "`language` is `\"cobol\"`; it can be `go`"),
        ("{\"code\": \"\", \"text\": \"\"}", "send one of them"),
        ("{\"text\": \"\", \"language\": \"go\"}", "`language` goes with `code`"),
        ("{\"code\": \"\", \"auto_fix\": \"yes\"}", "`auto_fix` is `\"yes\"`; it has to be true or false"),
        ("{\"code\": \"\", \"fix\": true}", "`fix`: there is no such member"),
    ] {
        let answer = client.post_bytes(PATH, body).await;
        let document = answer.json();
        assert_eq!(
            (answer.status, &document["success"], &document["error"]["code"]),
            (400, &json!(false), &json!("invalid_request")),
            "{body}"
        );
        assert!(document["error"]["message"].as_str().is_some_and(|m| m.contains(says)), "{body}: {document}");
    }
}

/// Whatever is sent, there is an answer: no parser comes to the end of its stack or of its time.
#[tokio::test]
async fn deep_code_has_an_answer() {
    let (_gateway, client) = gateway("{config: {max_bytes: 262144}, limits: {cpu_ms: 2000, memory_mb: 128}}").await;
    let mut failed = Vec::new();
    for (language, head, link, tail) in NESTS {
        for n in [40, 70, 120, 150, 3000] {
            let code = format!("{head}{}1{}", link.repeat(n), tail.repeat(n));
            for auto_fix in [false, true] {
                let answer = client.post(PATH, &json!({"code": code, "language": language, "auto_fix": auto_fix})).await;
                if answer.status != 200 {
                    failed.push(format!("{language}: {link:?} x {n}"));
                }
            }
        }
    }
    assert!(failed.is_empty(), "{failed:#?}");
}

/// One of these after the other makes a parser call itself.
const NESTS: &[(&str, &str, &str, &str)] = &[
    ("javascript", "x = ", "(", ")"),
    ("javascript", "x = ", "[", "]"),
    ("javascript", "x = ", "{a: ", "}"),
    ("javascript", "x = ", "!", ""),
    ("javascript", "x = ", "typeof ", ""),
    ("javascript", "x = ", "a => ", ""),
    ("javascript", "x = ", "(a, b) => ", ""),
    ("javascript", "x = ", "async (a = ", ") => b"),
    ("javascript", "x = ", "function() { return ", "}"),
    ("javascript", "x = ", "class { a = ", "}"),
    ("javascript", "x = ", "a ? b : ", ""),
    ("javascript", "x = ", "a ? ", ": b"),
    ("javascript", "x = ", "a = ", ""),
    ("javascript", "x = ", "a ** ", ""),
    ("javascript", "x = ", "new ", ""),
    ("javascript", "", "if (a) {} else ", ""),
    ("javascript", "", "{", "}"),
    ("javascript", "", "a: ", ""),
    ("javascript", "x = ", "`${", "}`"),
    ("javascript", "x = ", "<a>", "</a>"),
    ("javascript", "x = ", "<a b={", "}/>"),
    ("typescript", "type A = ", "A<B, ", ">"),
    ("typescript", "type A = ", "keyof ", ""),
    ("typescript", "type A = ", "(a: ", ") => b"),
    ("typescript", "type A = ", "A extends B ? C : ", ""),
    ("typescript", "type A = ", "{a: ", "}"),
    ("typescript", "x = ", "<a>", ""),
    ("typescript", "namespace a {", "namespace a {", "}"),
    ("python", "x = ", "[", "]"),
    ("python", "x = ", "{1: ", "}"),
    ("python", "x = ", "(", ")"),
    ("python", "x = ", "a(", ")"),
    ("python", "x = ", "not ", ""),
    ("python", "x = ", "-", ""),
    ("python", "x = ", "await ", ""),
    ("python", "x = ", "lambda a, b: ", ""),
    ("python", "x = ", "a if b else ", ""),
    ("python", "x = ", "a ** ", ""),
    ("python", "x = ", "f'{", "}'"),
    ("python", "match a:\n case ", "[", "]"),
    ("go", "package a\nvar x = ", "(", ")"),
    ("go", "package a\nvar x = ", "*", ""),
    ("go", "package a\nvar x = ", "func() { _ = ", "}"),
    ("go", "package a\nvar x = ", "[]", "{}"),
    ("go", "package a\nvar x ", "map[a]", ""),
    ("go", "package a\nvar x ", "struct { a ", "}"),
    ("go", "package a\nvar x ", "chan ", ""),
    ("go", "package a\nvar x ", "A[", "]"),
    ("go", "package a\nfunc a() ", "{", "}"),
    ("go", "package a\nfunc a() { ", "if a {} else ", ""),
    ("go", "package a\nfunc a() { ", "for { ", "}"),
    ("go", "package a\nfunc a() { ", "switch { case a: ", "}"),
    ("rust", "const A: A = ", "(", ")"),
    ("rust", "const A: A = ", "[", "]"),
    ("rust", "const A: A = ", "&", ""),
    ("rust", "const A: A = ", "A { a: ", "}"),
    ("rust", "const A: A = ", "!", ""),
    ("rust", "type A = ", "A<", ">"),
    ("rust", "type A = ", "&", ""),
    ("rust", "fn a() { ", "a = ", ""),
    ("rust", "fn a() { ", "|a| ", ""),
    ("rust", "fn a() { ", "return ", ""),
    ("rust", "fn a() ", "{", "}"),
    ("rust", "fn a() { ", "if a { ", "}"),
    ("rust", "fn a() { ", "if a {} else ", "{}"),
    ("rust", "fn a() { ", "match a { b => ", "}"),
    ("rust", "mod a {", "mod a {", "}"),
    ("rust", "", "/*", "*/"),
    ("json", "", "[", "]"),
    ("json", "", "{\"a\":", "}"),
    ("yaml", "", "[", "]"),
    ("yaml", "", "- ", ""),
    ("yaml", "", "? ", ""),
    ("yaml", "", "{a: ", "}"),
    ("toml", "a = ", "[", "]"),
    ("toml", "a = ", "{a = ", "}"),
];
