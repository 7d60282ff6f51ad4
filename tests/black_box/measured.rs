//! The fixtures that `cargo xtask bench` measures do what they are measured for.

use http::Method;
use wasmgate_tests::answers::{Says, TEXT};
use wasmgate_tests::client::Event;
use wasmgate_tests::{Answer, Client, Dialect, Gateway, Upstream};

use crate::{extensions, setup};

async fn with(fixtures: &str) -> (Upstream, Gateway, Client) {
    let format = Dialect::OpenAi;
    let upstream = Upstream::start(move |r| Says::text(TEXT).reply(format, r)).await;
    let gateway = Gateway::start(&setup::config(&setup::provider(format, &upstream), fixtures)).await;
    let client = Client::new(&gateway);
    (upstream, gateway, client)
}

/// A request with a key, where the dialect's clients send it.
async fn ask(client: &Client, dialect: Dialect, key: &str, model: &str) -> Answer {
    let request = client.request(Method::POST, dialect.path());
    let request = match dialect {
        Dialect::OpenAi | Dialect::Responses => request.bearer_auth(key),
        Dialect::Anthropic => request.header("x-api-key", key),
    };
    client.send(request.body(dialect.request(model, "x").to_string())).await
}

#[tokio::test]
async fn governs_knows_keys_and_limits_and_counts_tokens() {
    let config = "config: {keys: [ann, bob], limit: 3}";
    let (_upstream, _gateway, client) = with(&extensions::fixture("governs", config)).await;
    assert_eq!(ask(&client, Dialect::OpenAi, "nobody", "m").await.status, 401);
    let used = async |key: &str| client.get(&format!("/governs/{key}")).await.json().as_u64().expect("a number");
    for dialect in Dialect::ALL {
        let before = used("ann").await;
        let answer = ask(&client, dialect, "ann", "m").await;
        assert_eq!(answer.status, 200, "{}", answer.text());
        let record = client.record(answer.header("x-request-id")).await;
        let tokens = record["usage"]["input_tokens"].as_u64().unwrap() + record["usage"]["output_tokens"].as_u64().unwrap();
        assert!(tokens > 0);
        assert_eq!(used("ann").await - before, tokens);
    }
    // Each key has its own limit for each model.
    assert_eq!(ask(&client, Dialect::OpenAi, "ann", "m").await.status, 429);
    assert_eq!(ask(&client, Dialect::OpenAi, "ann", "other").await.status, 200);
    assert_eq!(ask(&client, Dialect::OpenAi, "bob", "m").await.status, 200);
}

#[tokio::test]
async fn reads_sees_model_and_key_and_lets_everything_else_through() {
    let (_upstream, _gateway, client) = with(&extensions::fixture("reads", "")).await;
    assert_eq!(ask(&client, Dialect::OpenAi, "ann", "m").await.status, 200);
    assert_eq!(ask(&client, Dialect::OpenAi, "ann", "forbidden").await.status, 403);
    let without = client.post(Dialect::OpenAi.path(), &Dialect::OpenAi.request("forbidden", "x")).await;
    assert_eq!(without.status, 200, "{}", without.text());
}

#[tokio::test]
async fn passes_changes_nothing() {
    let (_upstream, _gateway, client) = with(&extensions::fixture("passes", "")).await;
    for dialect in Dialect::ALL {
        let unary = client.post(dialect.path(), &dialect.request("m", "x")).await;
        assert_eq!(dialect.text(&unary.json()), TEXT);
        let stream = client.post(dialect.path(), &dialect.stream_request("m", "x")).await;
        assert_eq!(dialect.streamed_text(&Event::all(&stream.text())), TEXT);
    }
}
