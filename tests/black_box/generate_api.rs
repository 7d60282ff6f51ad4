//! `POST /api/generate` (extension `generate-api`): the plain way in, in front of every format of upstream.

use http::Method;
use serde_json::{Value, json};
use wasmgate_tests::answers::{Says, TEXT};
use wasmgate_tests::{Answer, Client, Dialect, Gateway, Received, Reply, Step, Upstream};

use crate::{extensions, setup};

const PATH: &str = "/api/generate";

/// One upstream as two providers, a virtual one over both, and the fixture `probe`, which counts how often each hook ran.
async fn gateway(upstream: &Upstream, format: Dialect, more: &str) -> (Gateway, Client) {
    let providers = ["one", "two"].map(|name| setup::named_provider(name, format, &upstream.url()).replace('}', ", default_model: base}"));
    let both = "  both: {type: fallback, config: {providers: [one, two]}}\n";
    let more = format!("  generate-api: {{}}\n{}{more}", extensions::fixture("probe", ""));
    let gateway = Gateway::start(&setup::config(&(providers.concat() + both), &more)).await;
    let client = Client::new(&gateway);
    (gateway, client)
}

async fn ask(client: &Client, id: &str, body: &Value) -> Answer {
    client.send(client.request(Method::POST, PATH).header("x-request-id", id).body(body.to_string())).await
}

/// Hooks ran once each, and one request went out.
async fn assert_once(client: &Client, id: &str, upstream: &Upstream, asked: usize) {
    setup::assert_record(client, id, "success").await;
    assert_eq!(client.get(&format!("/probe/count/{id}")).await.text(), "1", "on-complete");
    assert_eq!(upstream.received().len(), asked, "requests to the upstream");
}

#[tokio::test]
async fn a_prompt_is_answered_in_the_wrapper() {
    for format in Dialect::ALL {
        let upstream = setup::friendly(format).await;
        let (_gateway, client) = gateway(&upstream, format, "").await;
        let asked = json!({"provider": "two", "model": "m", "prompt": "x", "max_tokens": 50, "messages": [{"role": "system", "content": "Be brief."}]});
        let answer = ask(&client, "once", &asked).await;
        let document = answer.json();
        assert_eq!((answer.status, &document["success"]), (200, &json!(true)), "{document}");
        assert_eq!((&document["request_id"], &document["data"]["content"]), (&json!("once"), &json!(TEXT)), "{document}");
        assert_eq!((&document["data"]["provider"], &document["data"]["finish_reason"]), (&json!("two"), &json!("stop")), "{document}");
        let usage = &document["data"]["usage"];
        let sum = usage["prompt_tokens"].as_u64().unwrap() + usage["completion_tokens"].as_u64().unwrap();
        assert!(sum > 0 && usage["total_tokens"] == sum, "{document}");
        assert_once(&client, "once", &upstream, 1).await;
        let sent = upstream.request(0).await;
        assert!(sent.json().to_string().contains("Be brief.") && sent.model() == "m", "{}", sent.json());

        // Without a model the provider's own is asked for; a virtual provider is one too.
        let document = ask(&client, "virtual", &json!({"provider": "both", "model": "n", "prompt": "x"})).await.json();
        assert_eq!((&document["data"]["provider"], upstream.request(1).await.model().as_str()), (&json!("one"), "n"), "{document}");
        let document = ask(&client, "default", &json!({"provider": "two", "prompt": "x"})).await.json();
        assert_eq!((&document["data"]["provider"], upstream.request(2).await.model().as_str()), (&json!("two"), "base"), "{document}");
    }
}

#[tokio::test]
async fn a_stream_ends_with_the_same_document() {
    for format in Dialect::ALL {
        let upstream = setup::friendly(format).await;
        let (_gateway, client) = gateway(&upstream, format, "").await;
        let body = json!({"provider": "one", "model": "m", "prompt": "x", "stream": true});
        let answer = ask(&client, "stream", &body).await;
        assert_eq!((answer.status, answer.header("content-type")), (200, "text/event-stream; charset=utf-8"));
        let events: Vec<(String, Value)> = events(&answer.text());
        let said: String = events.iter().filter(|(n, _)| n == "delta").filter_map(|(_, d)| d["content"].as_str()).collect();
        let (name, last) = events.last().unwrap();
        assert_eq!((said.as_str(), name.as_str(), &last["data"]["content"]), (TEXT, "done", &json!(TEXT)), "{last}");
        assert_eq!((&last["data"]["provider"], &last["request_id"]), (&json!("one"), &json!("stream")), "{last}");
        assert!(last["data"]["usage"]["completion_tokens"].as_u64() > Some(0), "{last}");
        assert_once(&client, "stream", &upstream, 1).await;
    }
}

/// Server-sent events: name and data.
fn events(text: &str) -> Vec<(String, Value)> {
    let events = text.split("\n\n").filter(|e| !e.is_empty()).map(|event| {
        let (name, data) = event.strip_prefix("event: ").and_then(|e| e.split_once("\ndata: ")).unwrap_or_else(|| panic!("{event}"));
        (name.to_owned(), serde_json::from_str(data).unwrap_or_else(|e| panic!("{e}: {data}")))
    });
    events.collect()
}

#[tokio::test]
async fn errors_come_in_the_wrapper() {
    let format = Dialect::OpenAi;
    let upstream = Upstream::start(move |r: &Received| match r.model().as_str() {
        "busy" => {
            Reply::json(429, &json!({"error": {"message": "slow down", "type": "requests", "param": null, "code": "rate_limit_exceeded"}}))
        }
        "breaks" => {
            let events = Says::text(TEXT).stream(format, "m");
            Reply::events(vec![Step::Send(events[..3].concat().into()), Step::Cut])
        }
        _ => Says::text(TEXT).reply(format, r),
    })
    .await;
    let (_gateway, client) = gateway(&upstream, format, "").await;
    let check = async |body: Value, status: u16, code: &str, says: &str| {
        let answer = ask(&client, "wrong", &body).await;
        let error = &answer.json()["error"];
        assert_eq!((answer.status, error["code"].as_str()), (status, Some(code)), "{body}: {error}");
        assert!(error["message"].as_str().unwrap().contains(says), "{error}");
        let document = answer.json();
        assert_eq!((&document["success"], &document["request_id"]), (&json!(false), &json!("wrong")), "{document}");
        assert!(document["timestamp"].is_string(), "{document}");
    };
    check(json!({"provider": "one", "model": "busy", "prompt": "x"}), 429, "rate_limited", "slow down").await;
    check(json!({"provider": "nobody", "model": "m", "prompt": "x"}), 404, "model_not_found", "nobody").await;
    check(json!({"model": "m"}), 400, "invalid_request", "`prompt`: it is missing").await;
    check(json!({"model": "m", "prompt": "x", "temprature": 1}), 400, "invalid_request", "`temprature`: there is no such member").await;
    let answer = ask(&client, "broken", &json!({"provider": "one", "model": "breaks", "prompt": "x", "stream": true})).await;
    let (name, last) = events(&answer.text()).pop().unwrap();
    assert_eq!((answer.status, name.as_str(), &last["success"]), (200, "error", &json!(false)), "{last}");
    assert_eq!(last["request_id"], "broken");
}

/// What `x-wasmgate-extensions` says can stand in the body.
#[tokio::test]
async fn metadata_switches_extensions() {
    let upstream = setup::friendly(Dialect::OpenAi).await;
    let more = format!("{}default_provider: one\n", extensions::fixture("asks", "grant: [generate, wasi]"));
    let (_gateway, client) = gateway(&upstream, Dialect::OpenAi, &more).await;
    let mut body = json!({"model": "ask-many", "prompt": "x"});
    let on = ask(&client, "on", &body).await.json();
    assert!(on["data"]["content"].as_str().is_some_and(|c| c.contains(" | ")), "the extension answered: {on}");
    body["metadata"] = json!({"extensions": {"asks": false}});
    let off = ask(&client, "off", &body).await.json();
    assert_eq!(off["data"]["content"], TEXT, "{off}");
}
