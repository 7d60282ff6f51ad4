//! Extensions that make requests themselves (fixture `asks`), and the judge that they may ask (fixture `judges`).

use std::time::Instant;

use serde_json::Value;
use wasmgate_tests::answers::{Says, TEXT};
use wasmgate_tests::cli::ConfigFile;
use wasmgate_tests::{Client, Dialect, Gate, Gateway, Received, Reply, Upstream};

use crate::{extensions, setup};

const GRANT: &str = "grant: [generate, wasi]";

/// Answers `good` and `stream`, refuses `bad`, and keeps `slow` waiting.
fn script(r: &Received) -> Reply {
    match r.model().as_str() {
        "bad" => {
            Reply::json(400, &serde_json::json!({"error": {"message": "no", "type": "invalid_request_error", "param": null, "code": null}}))
        }
        "slow" => Reply::silence(),
        _ => Says::text(TEXT).reply(Dialect::OpenAi, r),
    }
}

/// The fixture in front of an upstream, with the fixture `probe` to count what is over.
async fn gateway(upstream: &Upstream, asks: &str, more: &str) -> (Gateway, Client) {
    let providers =
        format!("{}{}", setup::provider(Dialect::OpenAi, upstream), setup::named_provider("other", Dialect::OpenAi, &upstream.url()));
    let extensions = format!("{}{}{more}", extensions::fixture("asks", asks), extensions::fixture("probe", ""));
    let gateway = Gateway::start(&format!("default_provider: up\n{}", setup::config(&providers, &extensions))).await;
    let client = Client::new(&gateway);
    (gateway, client)
}

async fn said(client: &Client, model: &str) -> String {
    let answer = client.post(Dialect::Anthropic.path(), &Dialect::Anthropic.request(model, "x")).await;
    assert_eq!(answer.status, 200, "{model}: {}", answer.text());
    Dialect::Anthropic.text(&answer.json())
}

#[tokio::test]
async fn an_extension_asks_once_many_times_in_pieces_and_elsewhere() {
    let upstream = Upstream::start(script).await;
    let (_gateway, client) = gateway(&upstream, GRANT, "").await;
    assert_eq!(said(&client, "ask-once").await, TEXT);
    assert_eq!(said(&client, "ask-many").await, format!("{TEXT} | [invalid-request: invalid_request_error] | {TEXT}"));
    assert_eq!(said(&client, "ask-in-pieces").await, format!("{TEXT} in several batches"));
    assert_eq!(said(&client, "ask-elsewhere").await, "other");
    assert_eq!(client.get("/asks").await.json()["said"], TEXT);
}

#[tokio::test]
async fn an_extension_hears_of_many_as_they_come_and_lets_go_of_the_others() {
    let upstream = Upstream::start(script).await;
    let (_gateway, client) = gateway(&upstream, GRANT, "").await;
    let request = client.request(http::Method::POST, Dialect::OpenAi.path()).header("x-request-id", "batch");
    let answer = client.send(request.body(Dialect::OpenAi.request("ask-as-they-come", "x").to_string())).await;
    let said = Dialect::OpenAi.text(&answer.json());
    assert_eq!(said, format!("1: {TEXT} | 2: [invalid-request: invalid_request_error] | waiting: true"));
    let slow = upstream.received().into_iter().find(|r| r.model() == "slow").expect("it was asked");
    slow.closed_after(Instant::now()).await;
    for (id, status) in [("batch", "success"), ("batch.1", "cancelled"), ("batch.2", "success"), ("batch.3", "error")] {
        setup::assert_record(&client, id, status).await;
    }
    // A batch counts as what it asks for, and who may not ask is told so.
    let (_gateway, client) = gateway(&upstream, &format!("{GRANT}, limits: {{generate_calls: 1}}"), "").await;
    let answer = client.post(Dialect::OpenAi.path(), &Dialect::OpenAi.request("ask-as-they-come", "x")).await;
    let said = Dialect::OpenAi.text(&answer.json());
    assert_eq!(said, "1: [rate-limited: generate_calls] | 2: [rate-limited: generate_calls] | waiting: true");
}

#[tokio::test]
async fn every_request_of_an_extension_is_a_request_with_hooks_and_a_record_of_its_own() {
    let upstream = Upstream::start(script).await;
    let (gateway, client) = gateway(&upstream, GRANT, "").await;
    let request = client.request(http::Method::POST, Dialect::OpenAi.path()).header("x-request-id", "outer");
    let answer = client.send(request.body(Dialect::OpenAi.request("ask-once", "x").to_string())).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    for id in ["outer", "outer.1"] {
        setup::assert_record(&client, id, "success").await;
        assert_eq!(client.get(&format!("/probe/count/{id}")).await.text(), "1", "on-complete of {id} runs once");
    }
    let line = gateway.log_line("the inner request", |l| l["request_id"] == "outer.1" && l["message"] == "request").await;
    assert_eq!((line["model"].as_str(), line["output_tokens"].is_u64()), (Some("good"), true), "{line}");
}

#[tokio::test]
async fn what_is_not_granted_is_refused_with_the_line_to_write() {
    let upstream = Upstream::start(script).await;
    let file = ConfigFile::new(&setup::config(&setup::provider(Dialect::OpenAi, &upstream), &extensions::fixture("asks", "")));
    let run = file.check(&[]);
    assert_eq!(run.code, 2, "{}", run.stderr);
    for part in [
        "was not granted",
        "`wasmgate:extension/generate@0.1.2` needs the capability `generate`",
        "extensions.asks.grant: [generate, wasi]",
    ] {
        assert!(run.stderr.contains(part), "{part}: {}", run.stderr);
    }
}

#[tokio::test]
async fn depth_number_tokens_and_time_are_bounded() {
    let upstream = Upstream::start(script).await;
    let limits = format!("{GRANT}, limits: {{generate_depth: 3, generate_calls: 5, generate_ms: 300}}");
    let (gateway, client) = gateway(&upstream, &limits, "").await;
    // Each level meets the hook again; the one that is too deep is told so, and says it to the one above.
    assert_eq!(said(&client, "ask-deeper").await, "0 1 2 3 [rate-limited: generate_depth]");
    assert_eq!(said(&client, "ask-for-ever").await, "6: [rate-limited: generate_calls]");
    assert_eq!(said(&client, "ask-slow").await, "[timeout: ]");
    assert_eq!(said(&client, "ask-impatiently").await, "[timeout: ]");
    let stats = client.extension("asks").await;
    for limit in ["generate_depth", "generate_calls", "generate_ms"] {
        assert!(stats["stats"]["limits"][limit].as_u64() >= Some(1), "{limit}: {stats}");
    }
    drop(gateway);

    let (_gateway, client) = self::gateway(&upstream, &format!("{GRANT}, limits: {{generate_tokens: 1}}"), "").await;
    assert_eq!(said(&client, "ask-for-ever").await, "2: [rate-limited: generate_tokens]");
}

#[tokio::test]
async fn waiting_for_an_answer_does_not_count_as_the_time_of_the_call() {
    let gate = Gate::default();
    let wait = gate.clone();
    let upstream =
        Upstream::start(move |r| Reply::json(200, &Says::text(TEXT).document(Dialect::OpenAi, &r.model())).after(wait.clone())).await;
    let (gateway, client) = gateway(&upstream, &format!("{GRANT}, limits: {{wall_ms: 20}}"), "").await;
    let asking = tokio::spawn({
        let client = client.clone();
        async move { said(&client, "ask-once").await }
    });
    upstream.request(0).await;
    // Longer than the call may take by itself: other requests that come and go tell that time passes.
    let since = Instant::now();
    while since.elapsed().as_millis() < 100 {
        assert_eq!(client.get("/health").await.status, 200);
    }
    gate.open();
    assert_eq!(asking.await.expect("it is answered"), TEXT);
    drop(gateway);
}

#[tokio::test]
async fn a_client_that_leaves_cancels_what_was_asked_for_it() {
    let upstream = Upstream::start(script).await;
    let (_gateway, client) = gateway(&upstream, GRANT, "").await;
    let request = client.request(http::Method::POST, Dialect::OpenAi.path()).header("x-request-id", "left");
    let waiting = tokio::spawn(request.body(Dialect::OpenAi.request("ask-slow", "x").to_string()).send());
    upstream.request(0).await;
    let left = Instant::now();
    waiting.abort();
    let took = upstream.only().closed_after(left).await;
    assert!(took.as_secs() < 1, "it took {took:?}");
    for id in ["left", "left.1"] {
        setup::assert_record(&client, id, "cancelled").await;
        assert_eq!(client.get(&format!("/probe/count/{id}")).await.text(), "1", "on-complete of {id} runs once");
    }
    // The instance that was left in the middle of a host call is gone; the next one is as good as new.
    assert_eq!(said(&client, "ask-once").await, TEXT);
}

#[tokio::test]
async fn the_judge_of_the_gateway_scores_answers() {
    let upstream = Upstream::start(script).await;
    let (gateway, client) = gateway(&upstream, GRANT, "").await;
    assert_eq!(said(&client, "ask-the-judge").await, "[not-found: ]");
    drop(gateway);
    let (_gateway, client) = self::gateway(&upstream, GRANT, &extensions::fixture("judges", "")).await;
    let said = said(&client, "ask-the-judge").await;
    assert_eq!(said, format!("{} 5 bytes for 1 message at depth 1 | 1 12 bytes for 1 message at depth 1", 5.0 / 12.0));
}

#[tokio::test]
async fn a_caller_switches_what_may_be_switched() {
    let upstream = Upstream::start(script).await;
    let (gateway, client) = gateway(&upstream, GRANT, "").await;
    let ask = async |client: &Client, switch: &str| {
        let request = client.request(http::Method::POST, Dialect::OpenAi.path()).header("x-wasmgate-extensions", switch);
        let answer = client.send(request.body(Dialect::OpenAi.request("ask-once", "x").to_string())).await;
        assert_eq!(answer.status, 200, "{}", answer.text());
        answer.json()["id"].as_str().unwrap_or_default().to_owned()
    };
    assert_eq!(ask(&client, "asks=on").await, "asks");
    assert_eq!(ask(&client, "asks=off").await, "chatcmpl-scripted");
    // What does not allow it cannot be switched off.
    assert_eq!(ask(&client, "probe=off, routing=off, openai-api=off").await, "asks");
    drop(gateway);
    let (_gateway, client) = self::gateway(&upstream, &format!("{GRANT}, toggle: false"), "").await;
    assert_eq!(ask(&client, "asks=off").await, "asks");
}

#[tokio::test]
async fn an_operator_asks_what_a_request_costs() {
    let upstream = Upstream::start(script).await;
    let (_gateway, client) = gateway(&upstream, GRANT, "").await;
    let ask = async |local: bool| {
        let mut request = client.request(http::Method::POST, Dialect::OpenAi.path()).header("x-wasmgate-debug", "1");
        if !local {
            request = request.header("x-forwarded-for", "192.0.2.1");
        }
        client.send(request.body(Dialect::OpenAi.request("good", "x").to_string())).await
    };
    let timing = ask(true).await.header("server-timing").to_owned();
    for part in ["openai-api.dialect.accept;dur=", "routing.before-generate;dur=", "desc=\"1 calls\""] {
        assert!(timing.contains(part), "{part}: {timing}");
    }
    assert_eq!(ask(false).await.header("server-timing"), "", "not for those who come from elsewhere");
    let stats: Value = client.extension("routing").await["stats"]["hooks"]["before-generate"].clone();
    for figure in ["guest_us", "host_us"] {
        assert!(stats[figure].as_f64() > Some(0.0), "{figure}: {stats}");
    }
}
