//! The MCP server (extension `mcp`) over HTTP: the real component, with the extensions that its tools reach.

use std::time::{Duration, Instant};

use http::Method;
use serde_json::{Value, json};
use wasmgate_tests::answers::{Says, TEXT};
use wasmgate_tests::databases::Postgres;
use wasmgate_tests::{Answer, Client, Dialect, Gateway, Reply, Step, Upstream, soon};

use crate::ledger::KEY;
use crate::setup;

const PATH: &str = "/mcp";
const MODERN: &str = "2026-07-28";

/// What the extension is granted.
const GRANT: &str = "grant: [clock, generate, kv, random, routes, wasi]";

/// A good file, as a model writes it.
pub const FILE: &str = "```python\ndef double(x):\n    return x * 2\n```\n";

/// A file that has blocks of its own.
pub const README: &str = "# How\n```bash\nmake\n```\nThat is all.\n";

/// Extensions of these configurations, besides those that all have.
pub fn extensions(config: &str) -> String {
    format!(
        "  generate-api: {{}}\n  validation: {{limits: {{cpu_ms: 1000, memory_mb: 128}}}}\n  usage: {{}}\n  \
         best_of_n: {{grant: [clock, generate, metrics, providers, wasi]}}\n  \
         mcp: {{{GRANT}, limits: {{cpu_ms: 1000}}, config: {{{config}}}}}\n"
    )
}

/// An upstream whose answer is in the model's name.
pub fn script(request: &wasmgate_tests::Received) -> Reply {
    let format = Dialect::OpenAi;
    match request.model().as_str() {
        "file" => Says::text(FILE).reply(format, request),
        "broken" => Says::text("```python\ndef double(x:\n    return\n```\n").reply(format, request),
        "fails" => Reply::json(503, &json!({"error": {"message": "busy", "type": "server_error", "param": null, "code": null}})),
        "ignores" => Says::text("```\n*.log\n```\n").reply(format, request),
        "readme" => Says::text("```markdown\n# How\n```bash\nmake\n```\nThat is all.\n```\n").reply(format, request),
        "declines" => Says { stop: Some("content_filter"), ..Says::text("```\n# Nothing\n```\n") }.reply(format, request),
        "silent" => Reply::silence(),
        _ => Says::text(TEXT).reply(format, request),
    }
}

/// The configuration of a gateway with the server in it.
pub fn config(upstream: &Upstream, own: &str, more: &str) -> String {
    let provider = format!(
        "  up: {{type: openai, base_url: \"{}/v1\", api_key: {}, models: [text, file, broken, ignores, readme, declines, fails, silent]}}\n",
        upstream.url(),
        setup::PROVIDER_KEY
    );
    format!("default_provider: up\n{}{more}", setup::config(&provider, &extensions(own)))
}

async fn gateway(upstream: &Upstream, own: &str, more: &str) -> (Gateway, Client) {
    let gateway = Gateway::start(&config(upstream, own, more)).await;
    let client = Client::new(&gateway);
    (gateway, client)
}

fn request(client: &Client, headers: &[(&str, &str)], body: &Value) -> reqwest::RequestBuilder {
    let request = client.request(Method::POST, PATH).header("content-type", "application/json");
    let request = request.header("accept", "application/json, text/event-stream");
    headers.iter().fold(request, |r, (name, value)| r.header(*name, *value)).body(body.to_string())
}

/// A request of today.
fn modern(client: &Client, id: &str, method: &str, mut params: Value, more: &[(&str, &str)]) -> reqwest::RequestBuilder {
    params["_meta"]["io.modelcontextprotocol/protocolVersion"] = MODERN.into();
    params["_meta"]["io.modelcontextprotocol/clientCapabilities"] = json!({});
    let name = params["name"].as_str().or(params["uri"].as_str()).unwrap_or_default().to_owned();
    let mut headers = vec![("mcp-protocol-version", MODERN), ("mcp-method", method), ("mcp-name", &name)];
    headers.extend_from_slice(more);
    request(client, &headers, &json!({"jsonrpc": "2.0", "id": id, "method": method, "params": params}))
}

/// The last message of an answer, whatever its shape.
fn last(answer: &Answer) -> Value {
    if !answer.header("content-type").starts_with("text/event-stream") {
        return answer.json();
    }
    let text = answer.text();
    let data = text.lines().filter_map(|l| l.strip_prefix("data: ")).next_back().unwrap_or_else(|| panic!("no event: {text}"));
    serde_json::from_str(data).expect("JSON")
}

async fn call(client: &Client, tool: &str, arguments: Value, more: &[(&str, &str)]) -> Value {
    let answer = client.send(modern(client, "c", "tools/call", json!({"name": tool, "arguments": arguments}), more)).await;
    assert_eq!(answer.status, 200, "{tool}: {}", answer.text());
    last(&answer)["result"].clone()
}

/// A session.
pub async fn begin(client: &Client) -> String {
    let params = json!({"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": "t", "version": "1"}});
    let answer = client.send(request(client, &[], &json!({"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": params}))).await;
    assert_eq!((answer.status, &answer.json()["result"]["protocolVersion"]), (200, &json!("2025-11-25")), "{}", answer.text());
    answer.header("mcp-session-id").to_owned()
}

/// The status of a call in a session.
pub async fn status_in(client: &Client, session: &str) -> u16 {
    let ping = json!({"jsonrpc": "2.0", "id": 2, "method": "ping"});
    client.send(request(client, &[("mcp-session-id", session)], &ping)).await.status
}

#[tokio::test]
async fn mcp_each_tool_answers() {
    let upstream = Upstream::start(script).await;
    let (_gateway, client) = gateway(&upstream, "", "aliases: {fast: text}\n").await;
    let list = client.send(modern(&client, "l", "tools/list", json!({}), &[])).await.json();
    let names: Vec<_> = list["result"]["tools"].as_array().expect("tools").iter().map(|t| t["name"].as_str().unwrap_or_default()).collect();
    assert_eq!(names, ["write", "generate", "validate", "best_of_n", "list_models", "usage"]);

    let result = call(&client, "generate", json!({"prompt": "Hi", "model": "fast", "system": "Be kind."}), &[]).await;
    assert_eq!(
        (&result["structuredContent"]["content"], &result["structuredContent"]["provider"]),
        (&json!(TEXT), &json!("up")),
        "{result}"
    );
    let sent = upstream.only().json();
    assert_eq!((&sent["messages"][0]["content"], &sent["model"]), (&json!("Be kind."), &json!("text")), "{sent}");

    let result = call(&client, "write", json!({"path": "a.py", "prompt": "Double.", "model": "file"}), &[]).await;
    let data = &result["structuredContent"];
    assert_eq!(
        (&data["content"], &data["validation"]["result"]),
        (&json!("def double(x):\n    return x * 2\n"), &json!("valid")),
        "{result}"
    );
    assert!(data["diff"].as_str().unwrap_or_default().starts_with("--- /dev/null\n+++ b/a.py\n"), "{result}");
    let result = call(&client, "write", json!({"path": "a.py", "prompt": "Double.", "model": "broken"}), &[]).await;
    assert_eq!(result["structuredContent"]["validation"]["result"], "invalid", "{result}");

    let result = call(&client, "validate", json!({"code": "def a(:\n    pass\n", "language": "python"}), &[]).await;
    assert_eq!((&result["structuredContent"]["valid"], &result["isError"]), (&json!(false), &json!(false)), "{result}");
    let result = call(&client, "validate", json!({"code": "x", "language": "cobol"}), &[]).await;
    assert!(result["isError"] == true && result["content"][0]["text"].as_str().unwrap_or_default().contains("`language`"), "{result}");

    let before = upstream.received().len();
    let result = call(&client, "best_of_n", json!({"prompt": "Double.", "model": "file", "num_candidates": 2}), &[]).await;
    assert_eq!((&result["structuredContent"]["content"], upstream.received().len() - before), (&json!(FILE), 2), "{result}");

    let result = call(&client, "list_models", json!({}), &[]).await;
    let text = result["content"][0]["text"].as_str().unwrap_or_default();
    assert!(text.lines().any(|l| l == "fast") && text.lines().any(|l| l == "file"), "{text}");

    // Rows are written after the answer.
    soon("the usage of what was asked", async {
        while call(&client, "usage", json!({"by": "status"}), &[]).await["structuredContent"]["groups"][0]["requests"].as_u64() < Some(5) {
            tokio::task::yield_now().await;
        }
    })
    .await;

    let result = call(&client, "generate", json!({"prompt": "Hi", "model": "fails"}), &[]).await;
    assert!(result["isError"] == true && !result.to_string().contains(setup::PROVIDER_KEY), "{result}");
    let read = client.send(modern(&client, "r", "resources/read", json!({"uri": "wasmgate://models/file"}), &[])).await.json();
    assert!(read["result"]["contents"][0]["text"].as_str().unwrap_or_default().contains("\"file\""), "{read}");
    let prompt =
        client.send(modern(&client, "p", "prompts/get", json!({"name": "write_code", "arguments": {"task": "A queue"}}), &[])).await;
    assert!(
        prompt.json()["result"]["messages"][0]["content"]["text"].as_str().unwrap_or_default().contains("A queue"),
        "{}",
        prompt.text()
    );
}

#[tokio::test]
async fn mcp_a_caller_has_their_own_rights() {
    let upstream = Upstream::start(script).await;
    let keys = format!("api_keys:\n  - {{key: {KEY}-a, name: a, denied_models: [file]}}\n  - {{key: {KEY}-b, name: b}}\n");
    let (_gateway, client) = gateway(&upstream, "", &keys).await;
    let (a, b) = (format!("{KEY}-a"), format!("{KEY}-b"));
    let (a, b) = ([("x-api-key", a.as_str())], [("x-api-key", b.as_str())]);
    for wrong in [("x-api-key", "sk-nobody-has-this-key-at-all"), ("x-wasmgate-caller", r#"{"name":"a"}"#)] {
        let answer = client.send(modern(
            &client,
            "w",
            "tools/call",
            json!({"name": "generate", "arguments": {"prompt": "x", "model": "text"}}),
            &[wrong],
        ));
        let answer = answer.await;
        let refused = answer.status == 401 || last(&answer)["result"]["isError"] == true;
        assert!(refused, "{wrong:?}: {}", answer.text());
    }
    assert!(upstream.received().is_empty());
    let models = |result: &Value| result["content"][0]["text"].as_str().unwrap_or_default().lines().map(str::to_owned).collect::<Vec<_>>();
    let (of_a, of_b) = (call(&client, "list_models", json!({}), &a).await, call(&client, "list_models", json!({}), &b).await);
    assert!(!models(&of_a).contains(&"file".to_owned()) && models(&of_b).contains(&"file".to_owned()), "{of_a} {of_b}");
    let denied = call(&client, "generate", json!({"prompt": "x", "model": "file"}), &a).await;
    assert!(denied["isError"] == true && upstream.received().is_empty(), "{denied}");
    assert_eq!(call(&client, "generate", json!({"prompt": "x", "model": "file"}), &b).await["isError"], false);
    soon("usage of b", async {
        while call(&client, "usage", json!({}), &b).await["structuredContent"]["groups"][0]["successes"] != 1 {
            tokio::task::yield_now().await;
        }
    })
    .await;
    let usage = call(&client, "usage", json!({"by": "model"}), &a).await;
    assert!(!usage.to_string().contains("\"successes\":1"), "a sees what b did: {usage}");
}

#[tokio::test]
async fn mcp_who_leaves_or_cancels_ends_the_request() {
    let upstream = Upstream::start(|r| {
        let says = Says::text(TEXT).stream(Dialect::OpenAi, &r.model());
        match r.model().as_str() {
            "silent" => Reply::silence(),
            // It goes on for many seconds if nobody ends it: a notification is looked for between events.
            _ => Reply::events(
                (0..1000)
                    .flat_map(|n| [Step::Send(says[n.min(1)].clone().into()), Step::Drip(b": x\n\n".into(), Duration::from_millis(5))])
                    .collect(),
            ),
        }
    })
    .await;
    let (_gateway, client) = gateway(&upstream, "", "").await;
    // Today: the stream is left.
    let arguments = json!({"name": "generate", "arguments": {"prompt": "x", "model": "silent"}});
    let waiting = tokio::spawn(modern(&client, "1", "tools/call", arguments, &[("x-request-id", "left")]).send());
    let received = upstream.request(0).await;
    let left = Instant::now();
    drop(soon("head", waiting).await.expect("it runs").expect("the head is there"));
    let took = received.closed_after(left).await;
    assert!(took < Duration::from_secs(2), "it took {took:?}");
    setup::assert_record(&client, "left.1", "cancelled").await;
    // Until 2025-11-25: a notification says so.
    let session = begin(&client).await;
    let session = [("mcp-session-id", session.as_str()), ("x-request-id", "told")];
    let params = json!({"name": "generate", "arguments": {"prompt": "x", "model": "text"}});
    let message = json!({"jsonrpc": "2.0", "id": 5, "method": "tools/call", "params": params});
    let running = tokio::spawn(request(&client, &session, &message).send());
    upstream.request(1).await;
    let response = soon("head", running).await.expect("it runs").expect("the head is there");
    let told = json!({"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": 5}});
    assert_eq!(client.send(request(&client, &session[..1], &told)).await.status, 202);
    let left = Instant::now();
    let body = soon("end", response.text()).await.expect("the stream ends");
    assert!(!body.contains("\"result\""), "{body}");
    upstream.received()[1].closed_after(left).await;
    setup::assert_record(&client, "told.1", "cancelled").await;
}

#[tokio::test]
async fn mcp_a_session_ends_and_other_methods_are_told() {
    let upstream = Upstream::start(script).await;
    let (_gateway, client) = gateway(&upstream, "", "").await;
    let session = begin(&client).await;
    let ping = json!({"jsonrpc": "2.0", "id": 2, "method": "ping"});
    let with = [("mcp-session-id", session.as_str())];
    assert_eq!(client.send(request(&client, &with, &ping)).await.json(), json!({"jsonrpc": "2.0", "id": 2, "result": {}}));
    let delete = client.request(Method::DELETE, PATH).header("mcp-session-id", &session);
    assert_eq!(client.send(delete).await.status, 204);
    assert_eq!(client.send(request(&client, &with, &ping)).await.status, 404);
    let get = client.get(PATH).await;
    assert_eq!((get.status, get.header("allow").contains("POST")), (405, true), "{}", get.text());
    let evil = client.send(request(&client, &[("origin", "http://evil.example")], &ping)).await;
    assert_eq!(evil.status, 403, "{}", evil.text());
}

#[tokio::test]
async fn mcp_a_session_that_could_not_be_read_yet_did_not_end() {
    let Some(mut postgres) = Postgres::start() else { return };
    let upstream = Upstream::start(script).await;
    let url = postgres.database("sessions");
    let shared = format!("storage: {{flush_interval: 10ms, keys: {{type: postgres, url: \"{url}\", refresh: 100ms}}}}\n");
    let (first, client) = gateway(&upstream, "", &shared).await;
    let session = begin(&client).await;
    assert!(first.stop().await.0.success());
    postgres.end();
    let (_gateway, client) = gateway(&upstream, "", &shared).await;
    assert_eq!(status_in(&client, &session).await, 503, "on 404 a client would begin another one");
    postgres.begin();
    soon("the session", async { while status_in(&client, &session).await == 503 {} }).await;
    assert_eq!(status_in(&client, &session).await, 200);
}

#[tokio::test]
async fn mcp_without_other_extensions_has_fewer_tools() {
    let upstream = Upstream::start(script).await;
    let provider = setup::provider(Dialect::OpenAi, &upstream);
    let gateway = Gateway::start(&setup::config(&provider, &format!("  mcp: {{{GRANT}}}\n"))).await;
    let client = Client::new(&gateway);
    let list = client.send(modern(&client, "l", "tools/list", json!({}), &[])).await.json();
    let names: Vec<_> = list["result"]["tools"].as_array().expect("tools").iter().map(|t| t["name"].clone()).collect();
    assert_eq!(names, ["write", "generate", "list_models"]);
}
