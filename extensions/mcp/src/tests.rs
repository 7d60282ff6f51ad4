//! The server natively: messages in, messages out, with a host that is not there.

use serde_json::{Value, json};
use wasmgate_sdk::fake::Sent;
use wasmgate_sdk::prelude::*;
use wasmgate_sdk::{HttpRequest, HttpStream};

use crate::{Config, Mcp, revision};

fn settings(more: Value) -> Result<Mcp, String> {
    let config: Config = serde_json::from_value(more).map_err(|e| e.to_string())?;
    Mcp::configure(config)
}

fn mcp() -> Mcp {
    settings(json!({"default_model": "m"})).unwrap()
}

fn host() -> FakeHost {
    let mut host = FakeHost { unix_ms: 1_790_000_000_000, ..FakeHost::default() };
    let models = json!({"models": [{"id": "m", "provider": "up", "model": "m"}, {"id": "fast", "provider": "", "model": "m"}]});
    host.routes.insert("GET /mcp/models".into(), Reply::json(200, models.to_string().into_bytes()));
    host
}

/// Looks at the thread's host, or changes it.
fn with<T>(look: impl FnOnce(&mut FakeHost) -> T) -> T {
    let mut host = FakeHost::current();
    let seen = look(&mut host);
    host.install();
    seen
}

fn post(headers: &[(&str, &str)], body: impl Into<Vec<u8>>) -> Sent {
    let usual = [("content-type", "application/json"), ("accept", "application/json, text/event-stream")];
    let usual = usual.into_iter().filter(|(name, _)| headers.iter().all(|(n, _)| n != name));
    let headers = usual.chain(headers.iter().copied()).filter(|(_, v)| !v.is_empty());
    let request = HttpRequest {
        method: "POST".into(),
        path: "/mcp".into(),
        headers: headers.map(|(n, v)| (n.to_owned(), v.as_bytes().to_vec())).collect(),
        body: body.into(),
        ..HttpRequest::default()
    };
    let mut sent = Sent::default();
    mcp().answer(request, &mut sent);
    sent
}

/// A request of today.
fn modern(method: &str, mut params: Value) -> Sent {
    params["_meta"][revision::META_VERSION] = revision::MODERN.into();
    params["_meta"]["io.modelcontextprotocol/clientCapabilities"] = json!({});
    let name = params["name"].as_str().or(params["uri"].as_str()).unwrap_or_default().to_owned();
    let headers = [("mcp-protocol-version", revision::MODERN), ("mcp-method", method), ("mcp-name", &name)];
    post(&headers, json!({"jsonrpc": "2.0", "id": 7, "method": method, "params": params}).to_string())
}

fn call(tool: &str, arguments: Value) -> Sent {
    modern("tools/call", json!({"name": tool, "arguments": arguments}))
}

fn begin(caller: &[(&str, &str)]) -> String {
    let params = json!({"protocolVersion": "2025-06-18", "capabilities": {}, "clientInfo": {"name": "t", "version": "1"}});
    let sent = post(caller, json!({"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": params}).to_string());
    assert_eq!((sent.status, &sent.json()["result"]["protocolVersion"]), (200, &json!("2025-06-18")));
    sent.header("mcp-session-id").expect("a session").to_owned()
}

fn ping(headers: &[(&str, &str)]) -> Sent {
    post(headers, r#"{"jsonrpc":"2.0","id":"p","method":"ping"}"#)
}

#[test]
fn settings_without_sense_are_refused_with_the_fix() {
    for (wrong, expect) in [
        (json!({"path": ""}), "`path` is empty"),
        (json!({"max_tokens": 0}), "`max_tokens` is 0"),
        (json!({"max_sessions": 0}), "`max_sessions` is 0"),
        (json!({"session_hours": 0}), "`session_hours` is 0"),
        (json!({"max_message_bytes": 10}), "`max_message_bytes` is 10"),
        (json!({"default_model": ""}), "`default_model` is empty"),
        (json!({"allowed_origins": ["chat.example.com"]}), "`allowed_origins` has `chat.example.com`"),
        (json!({"allowed_origins": ["https://a/b"]}), "`allowed_origins` has `https://a/b`"),
        (json!({"sessions": 1}), "unknown field"),
    ] {
        let error = settings(wrong.clone()).err().unwrap_or_default();
        assert!(error.contains(expect), "{wrong}: {error}");
    }
}

#[test]
fn what_is_no_message_is_told_so() {
    host().install();
    let deep = format!("{}{}", "[".repeat(5000), "]".repeat(5000));
    let long = format!(r#"{{"jsonrpc":"2.0","id":1,"method":"ping","params":{{"a":"{}"}}}}"#, "a".repeat(1 << 20));
    let method = "m".repeat(300);
    for (headers, body, status, code, says) in [
        (&[][..], "{".to_owned(), 400, -32700, "not JSON"),
        (&[], deep, 400, -32700, "recursion limit"),
        (&[], "[]".into(), 400, -32600, "Batches"),
        (&[], r#"[{"jsonrpc":"2.0","id":1,"method":"ping"}]"#.into(), 400, -32600, "Batches"),
        (&[], "7".into(), 400, -32600, "JSON object"),
        (&[], r#"{"id":1,"method":"ping"}"#.into(), 400, -32600, "`jsonrpc`"),
        (&[], r#"{"jsonrpc":"2.0","id":1.5,"method":"ping"}"#.into(), 400, -32600, "`id`"),
        (&[], r#"{"jsonrpc":"2.0","id":null,"method":"ping"}"#.into(), 400, -32600, "`id`"),
        (&[], r#"{"jsonrpc":"2.0","id":1}"#.into(), 400, -32600, "`method`"),
        (&[], format!(r#"{{"jsonrpc":"2.0","id":1,"method":"{method}"}}"#), 400, -32600, "`method`"),
        (&[], r#"{"jsonrpc":"2.0","id":1,"method":"ping","params":[]}"#.into(), 400, -32602, "`params`"),
        (&[], r#"{"jsonrpc":"2.0","id":1,"result":{}}"#.into(), 400, -32600, "no request"),
        (&[], long, 413, -32600, "max_message_bytes"),
        (&[("content-type", "text/plain")], "{}".into(), 415, -32600, "Content-Type"),
        (&[("accept", "text/html")], "{}".into(), 406, -32600, "Accept"),
        (&[("origin", "https://evil.example")], "{}".into(), 403, -32600, "allowed_origins"),
        (&[("origin", "http://localhost.evil.example")], "{}".into(), 403, -32600, "allowed_origins"),
        (&[("origin", "null")], "{}".into(), 403, -32600, "allowed_origins"),
    ] {
        let sent = post(headers, body.clone());
        let error = &sent.json()["error"];
        let shown: String = body.chars().take(60).collect();
        assert_eq!((sent.status, &error["code"]), (status, &json!(code)), "{shown}: {error}");
        assert!(error["message"].as_str().unwrap_or_default().contains(says), "{shown}: {error}");
    }
    for origin in ["http://localhost:3000", "http://127.0.0.1", "http://[::1]:8080"] {
        assert_eq!(post(&[("origin", origin)], "[]").status, 400, "{origin}");
    }
}

#[test]
fn a_session_is_its_callers_own_and_ends() {
    host().install();
    let (a, b) = (("x-wasmgate-caller", r#"{"name":"a"}"#), ("x-wasmgate-caller", r#"{"name":"b"}"#));
    let session = begin(&[a]);
    assert_eq!(ping(&[a, ("mcp-session-id", &session)]).json(), json!({"jsonrpc": "2.0", "id": "p", "result": {}}));
    assert_eq!(ping(&[a]).status, 400);
    for headers in [&[b, ("mcp-session-id", &*session)][..], &[a, ("mcp-session-id", "x")], &[("mcp-session-id", &session)]] {
        let sent = ping(headers);
        assert_eq!((sent.status, &sent.json()["id"]), (404, &json!("p")), "{headers:?}");
    }
    let delete = |headers: &[(&str, &str)]| {
        let headers = headers.iter().map(|(n, v)| ((*n).to_owned(), v.as_bytes().to_vec())).collect();
        let mut sent = Sent::default();
        mcp().answer(HttpRequest { method: "DELETE".into(), path: "/mcp".into(), headers, ..HttpRequest::default() }, &mut sent);
        sent.status
    };
    assert_eq!((delete(&[b, ("mcp-session-id", &session)]), delete(&[a])), (404, 400));
    assert_eq!(delete(&[a, ("mcp-session-id", &session)]), 204);
    assert_eq!((ping(&[a, ("mcp-session-id", &session)]).status, delete(&[a, ("mcp-session-id", &session)])), (404, 404));
}

#[test]
fn sessions_are_bounded_and_do_not_last_for_ever() {
    host().install();
    let first = begin(&[]);
    for _ in 0..255 {
        with(|h| h.unix_ms += 1);
        begin(&[]);
    }
    assert_eq!(ping(&[("mcp-session-id", &first)]).status, 200);
    let last = begin(&[]);
    let count = || with(|h| h.kv.len());
    assert_eq!((ping(&[("mcp-session-id", &first)]).status, ping(&[("mcp-session-id", &last)]).status, count()), (404, 200, 256));
    with(|h| h.unix_ms += 24 * 3_600_000);
    assert_eq!(ping(&[("mcp-session-id", &last)]).status, 404);
    begin(&[]);
    assert_eq!(count(), 1);
}

#[test]
fn requests_of_today_are_held_against_their_fields() {
    host().install();
    let body = |version: &str| {
        let meta = json!({revision::META_VERSION: version, "io.modelcontextprotocol/clientCapabilities": {}});
        json!({"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": "list_models", "_meta": meta}}).to_string()
    };
    let good = [("mcp-protocol-version", revision::MODERN), ("mcp-method", "tools/call"), ("mcp-name", "=?base64?bGlzdF9tb2RlbHM=?=")];
    assert_eq!(post(&good, body(revision::MODERN)).status, 200);
    for (at, value) in [(0, ""), (0, "2025-11-25"), (1, ""), (1, "tools/list"), (2, ""), (2, "usage"), (2, "=?base64?%%%?=")] {
        let mut headers = good;
        headers[at].1 = value;
        let sent = post(&headers, body(revision::MODERN));
        assert_eq!((sent.status, &sent.json()["error"]["code"]), (400, &json!(-32020)), "{headers:?}");
    }
    let sent = post(&[("mcp-protocol-version", "2099-01-01")], body("2099-01-01"));
    let error = &sent.json()["error"];
    assert_eq!((sent.status, &error["code"], &error["data"]["requested"]), (400, &json!(-32022), &json!("2099-01-01")));
    assert_eq!(error["data"]["supported"][0], revision::MODERN);
    let sent = modern("ping", json!({}));
    assert_eq!((sent.status, &sent.json()["error"]["code"]), (404, &json!(-32601)));
}

#[test]
fn an_answer_is_told_piece_by_piece_and_whole() {
    host().answer("Hello.").install();
    let sent = modern("tools/call", json!({"name": "generate", "arguments": {"prompt": "Hi"}, "_meta": {"progressToken": "t"}}));
    assert_eq!(sent.header("content-type"), Some("text/event-stream"));
    let events: Vec<Value> = sent.events().into_iter().map(|(_, data)| data).collect();
    assert_eq!((&events[0]["method"], &events[0]["params"]["progressToken"]), (&json!("notifications/progress"), &json!("t")));
    let result = &events.last().unwrap()["result"];
    assert_eq!((&result["structuredContent"]["content"], &result["isError"]), (&json!("Hello."), &json!(false)), "{result}");
    assert_eq!((&result["resultType"], &events.last().unwrap()["id"]), (&json!("complete"), &json!(7)));
}

#[test]
fn arguments_that_make_no_sense_are_for_the_model_to_repair() {
    host().install();
    for (tool, arguments, says) in [
        ("generate", json!({}), "`prompt` is missing"),
        ("generate", json!({"prompt": " "}), "`prompt` is empty"),
        ("generate", json!({"prompt": 7}), "`prompt` is 7; it has to be a string"),
        ("generate", json!({"prompt": "x", "tokens": 1}), "`tokens`: there is no such argument"),
        ("generate", json!({"prompt": "x", "max_tokens": 0}), "`max_tokens` is 0; it has to be a whole number from 1"),
        ("generate", json!({"prompt": "x", "temperature": 3}), "`temperature` is 3"),
        ("generate", json!({"prompt": "x", "model": ""}), "model"),
        ("write", json!({"prompt": "x", "path": "../x"}), "has to be relative"),
        ("write", json!({"prompt": "x", "path": "x", "context": [{"path": "/a", "content": ""}]}), "has to be relative"),
        ("write", json!({"prompt": "x", "path": "x", "context": [{"path": "a"}]}), "`content` is missing"),
        ("list_models", json!({"all": true}), "`all`: there is no such argument"),
    ] {
        let sent = call(tool, arguments.clone());
        let result = &sent.json()["result"];
        assert_eq!(result["isError"], true, "{tool} {arguments}: {result}");
        assert!(result["content"][0]["text"].as_str().unwrap_or_default().contains(says), "{tool} {arguments}: {result}");
    }
    for (method, params, says) in [
        ("tools/call", json!({"name": "nothing"}), "There is no tool `nothing`"),
        ("tools/call", json!({"name": "usage"}), "There is no tool `usage`"),
        ("tools/call", json!({}), "`params.name` is missing"),
        ("tools/call", json!({"name": "generate", "arguments": 1}), "`params.arguments`"),
        ("tools/list", json!({"cursor": "x"}), "`params.cursor`"),
        ("resources/read", json!({"uri": "wasmgate://nothing"}), "There is no resource"),
        ("resources/read", json!({"uri": "wasmgate://models/none"}), "There is no resource"),
        ("prompts/get", json!({"name": "nothing"}), "There is no prompt"),
        ("prompts/get", json!({"name": "write_code"}), "`task` is missing"),
        ("prompts/get", json!({"name": "write_code", "arguments": {"task": "x", "more": "y"}}), "`more`: there is no such argument"),
        ("completion/complete", json!({"ref": {"type": "ref/other"}, "argument": {"name": "a", "value": ""}}), "`params.ref.type`"),
    ] {
        let error = modern(method, params.clone()).json()["error"].clone();
        assert_eq!(error["code"], -32602, "{method} {params}: {error}");
        assert!(error["message"].as_str().unwrap_or_default().contains(says), "{method} {params}: {error}");
    }
}

#[test]
fn a_file_is_written_with_what_changes_in_it() {
    let mut host = host().answer("```python\na = 2\n```");
    let report = json!({"success": true, "data": {"result": "valid", "valid": true, "blocks": []}});
    host.routes.insert("POST /api/validate".into(), Reply::json(200, report.to_string().into_bytes()));
    host.install();
    let context = json!([{"path": "b.py", "content": "b = 1\n"}]);
    let sent = call("write", json!({"path": "src/a.py", "prompt": "Two.", "original": "a = 1\n", "context": context}));
    let data = sent.events().last().unwrap().1["result"]["structuredContent"].clone();
    assert_eq!((&data["content"], &data["changed"], &data["validation"]["result"]), (&json!("a = 2\n"), &json!(true), &json!("valid")));
    assert_eq!(data["diff"], "--- a/src/a.py\n+++ b/src/a.py\n@@ -1 +1 @@\n-a = 1\n+a = 2\n");
    with(|h| {
        let asked = format!("{:?}", h.asked[0].request.messages);
        assert!(asked.contains("b = 1") && asked.contains("a = 1") && asked.contains("Two."), "{asked}");
        assert_eq!(h.routes_asked.last().unwrap().1, json!({"code": "a = 2\n", "language": "python"}).to_string().into_bytes());
    });
}

#[test]
fn names_are_completed() {
    host().install();
    let values = |reference: Value, name: &str, value: &str| {
        modern("completion/complete", json!({"ref": reference, "argument": {"name": name, "value": value}})).json()["result"]["completion"]
            ["values"]
            .clone()
    };
    assert_eq!(values(json!({"type": "ref/prompt", "name": "write_code"}), "language", "p"), json!(["python"]));
    assert_eq!(values(json!({"type": "ref/resource", "uri": "wasmgate://models/{id}"}), "id", "f"), json!(["fast"]));
}

#[test]
fn what_other_extensions_refuse_is_told_in_their_words() {
    let mut host = host();
    let refusal =
        json!({"success": false, "error": {"code": "invalid_request", "message": "it can be `go`", "details": {"param": "language"}}});
    host.routes.insert("POST /api/validate".into(), Reply::json(400, refusal.to_string().into_bytes()));
    host.routes.insert("GET /usage/summary".into(), Reply::json(500, b"oops".to_vec()));
    host.install();
    let text = |sent: Sent| sent.json()["result"]["content"][0]["text"].as_str().unwrap_or_default().to_owned();
    assert_eq!(text(call("validate", json!({"code": "x", "language": "cobol"}))), "`language`: it can be `go`");
    assert_eq!(
        text(call("usage", json!({"by": "day", "since": "2026-01-01"}))),
        "Another extension of the gateway failed; its log says why."
    );
    with(|h| assert_eq!(h.routes_asked.last().unwrap().0, "GET /usage/summary?by=day&since=2026-01-01"));
}
