//! What the format of a provider or a client cannot express is never lost in silence, unless the operator wants that.

use serde_json::{Value, json};
use wasmgate_tests::answers::{Says, TEXT};
use wasmgate_tests::{Client, Dialect, Gateway, Reply, Upstream};

use crate::extensions;
use crate::setup::{self, PROVIDER_KEY};

const HEADER: &str = "x-wasmgate-losses";

/// A gateway in front of an upstream, with a word for `on_unsupported`.
async fn gateway(format: Dialect, upstream: &Upstream, word: &str) -> (Gateway, Client) {
    let (kind, url) = (format.provider_type(), upstream.url());
    let provider = format!("  up: {{type: {kind}, base_url: \"{url}/v1\", api_key: {PROVIDER_KEY}, on_unsupported: {word}}}\n");
    let gateway = Gateway::builder(&setup::config(&provider, "")).set("logging.level=debug").start().await;
    let client = Client::new(&gateway);
    (gateway, client)
}

/// Lines of the log about losses of a request or an answer, as `(level, fields)`.
fn told(gateway: &Gateway, id: &str, of: &str) -> Vec<(String, String)> {
    let lines = gateway.log_lines(|l| l["request_id"] == id && l["of"] == of);
    lines.iter().map(|l| (l["level"].as_str().unwrap_or_default().into(), l["fields"].as_str().unwrap_or_default().into())).collect()
}

/// Waits until a request is over in the log, so that everything about it was written.
async fn over(gateway: &Gateway, id: &str) {
    gateway.log_line("end of the request", |l| l["message"] == "request" && l["request_id"] == id).await;
}

/// A client's format, a provider's, members of the request that the provider has no place for, and how the client's format names them
/// with what becomes of them.
fn requests() -> Vec<(Dialect, Dialect, Value, &'static str)> {
    let (openai, anthropic, responses) = (Dialect::OpenAi, Dialect::Anthropic, Dialect::Responses);
    vec![
        (openai, anthropic, json!({"seed": 7, "temperature": 1.5}), "temperature=adjusted, seed=unsupported"),
        (openai, responses, json!({"stop": ["END"], "max_completion_tokens": 3}), "max_tokens=adjusted, stop=unsupported"),
        (anthropic, openai, json!({"top_k": 5, "container": "c_1"}), "top_k=unsupported, container=unsupported"),
        (anthropic, responses, json!({"stop_sequences": ["END"], "top_k": 5}), "stop_sequences=unsupported, top_k=unsupported"),
        (responses, openai, json!({"truncation": "auto", "max_tool_calls": 3}), "truncation=unsupported, max_tool_calls=unsupported"),
        (
            responses,
            anthropic,
            json!({"reasoning": {"effort": "low"}, "tools": [{"type": "function", "name": "f", "parameters": {"type": "object"}}], "tool_choice": "required"}),
            "reasoning.effort=conflict",
        ),
    ]
}

fn with(mut request: Value, members: &Value) -> Value {
    let members = members.as_object().expect("members of a request").clone();
    request.as_object_mut().expect("a request is an object").extend(members);
    request
}

#[tokio::test]
async fn by_default_the_caller_and_the_log_are_told() {
    for (client_format, format, members, expect) in requests() {
        let upstream = setup::friendly(format).await;
        let (gateway, client) = setup::gateway(format, &upstream).await;
        for stream in [false, true] {
            let mut request = with(client_format.request("m", "hello"), &members);
            request["stream"] = json!(stream);
            let answer = client.post(client_format.path(), &request).await;
            assert_eq!(answer.status, 200, "{}", answer.text());
            assert_eq!(answer.header(HEADER), expect, "{client_format:?} to {format:?}");
            let id = answer.header("x-request-id");
            over(&gateway, id).await;
            let lines = told(&gateway, id, "request");
            assert_eq!(lines.len(), 1, "{}", gateway.log_text());
            assert_eq!(lines[0].0, "WARN");
            assert_eq!(lines[0].1.matches('(').count(), expect.split(", ").count(), "{lines:?}");
        }
    }
}

#[tokio::test]
async fn drop_says_nothing_but_to_who_debugs() {
    for (client_format, format, members, expect) in requests() {
        let upstream = setup::friendly(format).await;
        let (gateway, client) = gateway(format, &upstream, "drop").await;
        let answer = client.post(client_format.path(), &with(client_format.request("m", "hello"), &members)).await;
        assert_eq!((answer.status, answer.header(HEADER)), (200, ""), "{}", answer.text());
        let id = answer.header("x-request-id");
        over(&gateway, id).await;
        let lines = told(&gateway, id, "request");
        assert_eq!(lines.iter().map(|(level, _)| level.as_str()).collect::<Vec<_>>(), ["DEBUG"], "{expect}");
    }
}

#[tokio::test]
async fn reject_names_each_field_in_the_callers_words_and_sends_nothing() {
    for (client_format, format, members, expect) in requests() {
        let upstream = setup::friendly(format).await;
        let (_gateway, client) = gateway(format, &upstream, "reject").await;
        for stream in [false, true] {
            let mut request = with(client_format.request("m", "hello"), &members);
            request["stream"] = json!(stream);
            let answer = client.post(client_format.path(), &request).await;
            assert_eq!(answer.status, 400, "{}", answer.text());
            let (kind, message) = client_format.error(&answer.json());
            assert_eq!(kind, "invalid_request_error");
            for field in expect.split(", ").filter_map(|entry| Some(entry.split_once('=')?.0)) {
                assert!(message.contains(&format!("`{field}`: ")), "{field} is not named: {message}");
            }
            assert!(message.contains("`up`") && message.contains("Leave these out"), "{message}");
            if client_format != Dialect::Anthropic {
                let first = expect.split('=').next();
                let error = &answer.json()["error"];
                assert_eq!((error["param"].as_str(), error["code"].as_str()), (first, Some("unsupported_parameter")));
            }
        }
        assert!(upstream.received().is_empty(), "it was sent all the same");
        // What loses nothing passes.
        setup::assert_serves(&client, client_format).await;
    }
}

#[tokio::test]
async fn what_one_provider_rejects_another_may_take() {
    let (up, other) = (setup::friendly(Dialect::Anthropic).await, setup::friendly(Dialect::OpenAi).await);
    let strict = format!("  up: {{type: anthropic, base_url: \"{}/v1\", api_key: {PROVIDER_KEY}, on_unsupported: reject}}\n", up.url());
    let providers = format!("{strict}{}", setup::named_provider("other", Dialect::OpenAi, &other.url()));
    let config = format!("default_provider: up\n{}", setup::config(&providers, &extensions::fixture("steers", "")));
    let gateway = Gateway::start(&config).await;
    let client = Client::new(&gateway);
    let request = with(Dialect::OpenAi.request("m", "hello"), &json!({"seed": 7}));
    let request = client.request(http::Method::POST, Dialect::OpenAi.path()).header("x-steer", "other").body(request.to_string());
    let answer = client.send(request).await;
    assert_eq!((answer.status, answer.header("x-wasmgate-provider"), answer.header(HEADER)), (200, "other", ""), "{}", answer.text());
    assert!(up.received().is_empty());
    assert_eq!(other.only().json()["seed"], 7);
}

#[tokio::test]
async fn the_same_format_loses_nothing() {
    for format in Dialect::ALL {
        let upstream = setup::friendly(format).await;
        let (gateway, client) = gateway(format, &upstream, "reject").await;
        for stream in [false, true] {
            let mut request = with(format.request("m", "hello"), &json!({"x_unknown": {"a": [1]}, "seed": 7, "top_k": 5}));
            request["stream"] = json!(stream);
            let answer = client.post(format.path(), &request).await;
            assert_eq!((answer.status, answer.header(HEADER)), (200, ""), "{}", answer.text());
            over(&gateway, answer.header("x-request-id")).await;
            assert!(told(&gateway, answer.header("x-request-id"), "answer").is_empty());
        }
        assert!(upstream.received().iter().all(|r| r.json()["x_unknown"] == json!({"a": [1]})));
    }
}

/// An answer with a second alternative, which only OpenAI's chat completions have.
fn alternatives() -> Value {
    let mut answer = Says::text(TEXT).document(Dialect::OpenAi, "m");
    let mut second = answer["choices"][0].clone();
    second["index"] = json!(1);
    answer["choices"].as_array_mut().expect("a list").push(second);
    answer
}

fn alternative_chunks() -> Vec<String> {
    let mut chunks = Says::text(TEXT).stream(Dialect::OpenAi, "m");
    let second = json!({"id": "chatcmpl-scripted", "object": "chat.completion.chunk", "created": 1_750_000_000, "model": "m",
        "choices": [{"index": 1, "delta": {"role": "assistant", "content": "Or so."}, "finish_reason": null}]});
    chunks.insert(2, format!("data: {second}\n\n"));
    chunks
}

#[tokio::test]
async fn losses_of_answers_are_told_as_far_as_they_are_known_in_time() {
    for client_format in [Dialect::Anthropic, Dialect::Responses] {
        for (word, header, level) in [
            ("warn", "answer.choices[1]=unsupported", "WARN"),
            ("drop", "", "DEBUG"),
            // An answer was paid for, so it is not refused.
            ("reject", "answer.choices[1]=unsupported", "WARN"),
        ] {
            let upstream =
                Upstream::start(|r| if r.is_stream() { Reply::stream(alternative_chunks()) } else { Reply::json(200, &alternatives()) })
                    .await;
            let (gateway, client) = gateway(Dialect::OpenAi, &upstream, word).await;
            let unary = client.post(client_format.path(), &client_format.request("m", "hello")).await;
            assert_eq!((unary.status, unary.header(HEADER)), (200, header), "{}", unary.text());
            assert_eq!(client_format.text(&unary.json()), TEXT);
            // The head of a stream is sent before its losses are known.
            let stream = client.post(client_format.path(), &client_format.stream_request("m", "hello")).await;
            assert_eq!((stream.status, stream.header(HEADER)), (200, ""), "{}", stream.text());
            for answer in [unary, stream] {
                let id = answer.header("x-request-id");
                over(&gateway, id).await;
                let line = gateway.log_line("losses of the answer", |l| l["request_id"] == id && l["of"] == "answer").await;
                assert_eq!(line["level"], level);
                assert!(line["fields"].as_str().is_some_and(|f| f.contains("choices[1] (unsupported): ")), "{line}");
                assert_eq!(told(&gateway, id, "answer").len(), 1);
            }
        }
    }
}

#[tokio::test]
async fn the_header_stays_short_and_clean_whatever_the_client_invents() {
    let upstream = setup::friendly(Dialect::Anthropic).await;
    let (_gateway, client) = setup::gateway(Dialect::Anthropic, &upstream).await;
    let mut request = Dialect::OpenAi.request("m", "hello");
    for n in 0..300 {
        request[format!("x_{n}_{}", "y".repeat(n))] = json!(true);
    }
    request["a\r\nset-cookie: b=c, ü"] = json!(1);
    let answer = client.post(Dialect::OpenAi.path(), &request).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    let value = answer.header(HEADER);
    let more: usize = value.rsplit_once(", more=").and_then(|(_, n)| n.parse().ok()).unwrap_or_else(|| panic!("{value}"));
    assert_eq!(value.split(", ").count() - 1 + more, 301, "{value}");
    assert!(value.len() <= 1024 && !answer.headers.contains_key("set-cookie"), "{value}");
}
