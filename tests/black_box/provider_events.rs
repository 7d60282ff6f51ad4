//! Extensions that look at every try of a request (fixture `steers`).

use serde_json::json;
use wasmgate_tests::answers::{Says, TEXT};
use wasmgate_tests::{Answer, Client, Dialect, Gateway, Reply, Upstream};

use crate::{extensions, setup};

/// An upstream that fails for every model but `good`, another one that answers, and the fixture in front of both.
async fn gateway(more: &str) -> (Upstream, Upstream, Gateway, Client) {
    let busy = || Reply::json(503, &json!({"error": {"message": "busy", "type": "server_error", "param": null, "code": null}}));
    let up = Upstream::start(move |r| if r.model() == "good" { Says::text(TEXT).reply(Dialect::OpenAi, r) } else { busy() }).await;
    let other = setup::friendly(Dialect::OpenAi).await;
    let providers = format!("{}{}", setup::provider(Dialect::OpenAi, &up), setup::named_provider("other", Dialect::OpenAi, &other.url()));
    let config = format!("default_provider: up\n{}", setup::config(&providers, &extensions::fixture("steers", more)));
    let gateway = Gateway::start(&config).await;
    let client = Client::new(&gateway);
    (up, other, gateway, client)
}

async fn ask(client: &Client, model: &str, steer: &str, stream: bool) -> Answer {
    let mut request = Dialect::OpenAi.request(model, "x");
    request["stream"] = json!(stream);
    let request = client.request(http::Method::POST, Dialect::OpenAi.path()).header("x-steer", steer).body(request.to_string());
    client.send(request).await
}

#[tokio::test]
async fn a_target_is_forbidden_passed_over_or_exchanged_before_anything_is_sent() {
    let (up, other, _gateway, client) = gateway("").await;
    let forbidden = ask(&client, "forbidden", "", false).await;
    assert_eq!(forbidden.status, 403, "{}", forbidden.text());
    assert_eq!(ask(&client, "passed-over", "", false).await.status, 503);
    assert_eq!(up.received().len() + other.received().len(), 0);
    let moved = ask(&client, "moved", "", false).await;
    assert_eq!((moved.status, moved.header("x-wasmgate-provider")), (200, "other"), "{}", moved.text());
    // Going around is bounded.
    let around = ask(&client, "around", "", false).await;
    assert_eq!(around.status, 503, "{}", around.text());
    assert!(around.text().contains("8 times"), "{}", around.text());
    assert_eq!(up.received().len(), 0);
}

#[tokio::test]
async fn a_try_that_failed_goes_on_elsewhere_as_one_request() {
    for stream in [false, true] {
        let (up, other, gateway, client) = gateway("").await;
        let answer = ask(&client, "busy", "other", stream).await;
        assert_eq!((answer.status, answer.header("x-wasmgate-provider")), (200, "other"), "{}", answer.text());
        assert_eq!((up.received().len(), other.received().len()), (1, 1));
        let line = gateway.log_line("the request", |l| l["message"] == "request").await;
        assert_eq!((line["ending"].as_str(), line["provider"].as_str()), (Some("success"), Some("other")), "{line}");
        assert_eq!(client.record(answer.header("x-request-id")).await["attempts"], 2);
    }
}

#[tokio::test]
async fn a_policy_holds_for_the_target_that_a_failure_led_to() {
    let (_up, other, _gateway, client) = gateway("").await;
    let answer = ask(&client, "busy", "forbidden", false).await;
    assert_eq!(answer.status, 403, "{}", answer.text());
    assert_eq!(other.received().len(), 0);
}

#[tokio::test]
async fn an_error_is_kept_put_in_other_words_or_tried_again_so_many_times() {
    let (up, _other, _gateway, client) = gateway("").await;
    let kept = ask(&client, "busy", "", false).await;
    assert_eq!(kept.status, 503, "{}", kept.text());
    let put = ask(&client, "busy", "fail", false).await;
    assert!(put.text().contains("try 0 failed: "), "{}", put.text());
    let before = up.received().len();
    let again = ask(&client, "busy", "again", false).await;
    assert_eq!(again.status, 503, "{}", again.text());
    assert_eq!(up.received().len() - before, 8, "as often as one request may be sent");
}

#[tokio::test]
async fn a_hook_that_fails_is_skipped_where_the_configuration_says_so() {
    let (_up, _other, _gateway, client) = gateway("").await;
    assert_eq!(ask(&client, "panic", "", false).await.status, 500);
    let (_up, _other, _gateway, client) = gateway("on_error: {provider-events: skip}").await;
    // The target is asked as if the hook were not there, and fails by itself.
    assert_eq!(ask(&client, "panic", "", false).await.status, 503);
}
