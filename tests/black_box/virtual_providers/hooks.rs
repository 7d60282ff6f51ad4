//! Extensions with `provider-events` see every try behind a virtual provider, inside of races too (fixture `steers`), and an extension that
//! asks for an answer may ask a virtual provider.

use serde_json::json;
use wasmgate_tests::{Client, Dialect, Gateway, Upstream};

use super::{NAMES, TEXTS, ask, failing, good, id, parts, text, told};
use crate::{extensions, setup};

/// Three upstreams of OpenAI's format, the third of which is called `other`, and the fixtures `steers` and `tries`.
async fn steered(one: &Upstream, two: &Upstream, other: &Upstream, virtuals: &str) -> (Gateway, Client) {
    let native: String = [(NAMES[0], one), (NAMES[1], two), ("other", other)]
        .map(|(name, upstream)| setup::named_provider(name, Dialect::OpenAi, &upstream.url()))
        .concat();
    let more = extensions::fixture("tries", "") + &extensions::fixture("steers", "");
    let gateway = Gateway::start(&setup::config(&format!("{native}{virtuals}"), &more)).await;
    let client = Client::new(&gateway);
    (gateway, client)
}

#[tokio::test]
async fn a_racer_is_passed_over_or_sent_elsewhere() {
    let (one, two, other) = (good(0, Dialect::OpenAi).await, good(1, Dialect::OpenAi).await, good(2, Dialect::OpenAi).await);
    let virtuals = "  pass: {type: racing, config: {providers: [{provider: one, model: passed-over}, {provider: two, model: m}]}}\n  move: {type: racing, config: {providers: [{provider: one, model: moved}]}}\n  around: {type: racing, config: {providers: [{provider: one, model: around}]}}\n";
    let (_gateway, client) = steered(&one, &two, &other, virtuals).await;
    let answer = ask(&client, Dialect::OpenAi, "pass", true).await;
    assert_eq!((text(Dialect::OpenAi, &answer, true).as_str(), one.received().len()), (TEXTS[1], 0));
    let answer = ask(&client, Dialect::OpenAi, "move", true).await;
    assert_eq!(text(Dialect::OpenAi, &answer, true), TEXTS[2]);
    let headers = ["x-wasmgate-provider", "x-wasmgate-model", "x-wasmgate-racing-winner"].map(|h| answer.header(h));
    assert_eq!(headers, ["other", "good", "one"], "who answered, and which racer led there");
    // Going around is bounded.
    let around = ask(&client, Dialect::OpenAi, "around", true).await;
    assert_eq!((around.status, one.received().len()), (503, 0), "{}", around.text());
}

#[tokio::test]
async fn a_policy_holds_for_every_racer() {
    let (one, two, other) = (good(0, Dialect::OpenAi).await, good(1, Dialect::OpenAi).await, good(2, Dialect::OpenAi).await);
    let virtuals = "  v: {type: fallback, config: {providers: [{provider: one, model: forbidden}, two]}}\n  w: {type: racing, config: {providers: [{provider: one, model: forbidden}]}}\n";
    let (_gateway, client) = steered(&one, &two, &other, virtuals).await;
    for name in ["v/m", "w/m"] {
        let answer = ask(&client, Dialect::OpenAi, name, false).await;
        assert_eq!((answer.status, Dialect::OpenAi.error(&answer.json()).1.as_str()), (403, "`forbidden` is not for you."));
        assert_eq!(one.received().len() + two.received().len(), 0, "{name}");
        setup::assert_record(&client, &id(&answer), "rejected").await;
    }
}

#[tokio::test]
async fn a_try_that_failed_goes_where_an_extension_sends_it_before_the_next_member_is_asked() {
    let (one, two, other) =
        (failing(Dialect::OpenAi, 503, "server_error").await, good(1, Dialect::OpenAi).await, good(2, Dialect::OpenAi).await);
    let (_gateway, client) = steered(&one, &two, &other, "  v: {type: fallback, config: {providers: [one, two]}}\n").await;
    let request = Dialect::OpenAi.request("v/m", "x").to_string();
    let request = client.request(http::Method::POST, Dialect::OpenAi.path()).header("x-steer", "other").body(request);
    let answer = client.send(request).await;
    assert_eq!(text(Dialect::OpenAi, &answer, false), TEXTS[2]);
    assert_eq!((answer.header("x-wasmgate-fallback-index"), two.received().len()), ("0", 0));
    let (tries, _) = told(&client, &id(&answer)).await;
    assert_eq!(parts(&tries), [("one", "failed"), ("other", "served")]);
}

#[tokio::test]
async fn an_answer_that_is_not_wanted_is_asked_for_through_the_virtual_provider_again() {
    let (one, two) = (good(0, Dialect::OpenAi).await, good(1, Dialect::OpenAi).await);
    let virtuals = "  v: {type: loadbalance, config: {providers: [one, two]}}\n";
    let upstreams = [(Dialect::OpenAi, &one), (Dialect::OpenAi, &two)];
    let (_gateway, client) = super::gateway_with(&upstreams, virtuals, &extensions::fixture("probe", "")).await;
    // The probe wants three more tries of this model; it is the load balancer's turn each time.
    let answer = client
        .send(
            client
                .request(http::Method::POST, Dialect::OpenAi.path())
                .header("x-wasmgate-provider", "v")
                .body(Dialect::OpenAi.request("v/after-endless", "x").to_string()),
        )
        .await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    let record = client.record(&id(&answer)).await;
    let asked = (one.received().len(), two.received().len());
    assert!(asked.0 >= 1 && asked.1 >= 1 && asked.0 + asked.1 == record["attempts"], "{asked:?} {record}");
}

#[tokio::test]
async fn an_extension_asks_a_virtual_provider() {
    let (one, two) = (failing(Dialect::OpenAi, 503, "server_error").await, good(1, Dialect::OpenAi).await);
    let asks = extensions::fixture("asks", "grant: [generate, wasi]");
    let virtuals = "  v: {type: fallback, config: {providers: [one, two]}}\n";
    let upstreams = [(Dialect::OpenAi, &one), (Dialect::OpenAi, &two)];
    let (_gateway, client) = super::gateway_with(&upstreams, virtuals, &format!("{asks}default_provider: v\n")).await;
    for model in ["ask-once", "ask-in-pieces"] {
        let answer = ask(&client, Dialect::OpenAi, model, false).await;
        assert_eq!(answer.status, 200, "{}", answer.text());
        assert!(answer.text().contains("Zweite"), "{}", answer.text());
        let (tries, _) = told(&client, &format!("{}.1", id(&answer))).await;
        assert_eq!(parts(&tries), [("one", "failed"), ("two", "served")]);
        assert_eq!(tries[1]["via"], json!(["v"]));
    }
}

#[tokio::test]
async fn a_hook_that_fails_on_tries_leaves_on_complete_alone() {
    let one = good(0, Dialect::OpenAi).await;
    let (gateway, client) = super::gateway(&[(Dialect::OpenAi, &one)], "").await;
    let request = client.request(http::Method::POST, Dialect::OpenAi.path()).header("x-tries", "panic");
    let answer = client.send(request.body(Dialect::OpenAi.request("one/m", "x").to_string())).await;
    assert_eq!(answer.status, 200);
    gateway.log_line("the hook's failure", |l| l["message"].as_str().is_some_and(|m| m.starts_with("on-attempts failed"))).await;
    let path = format!("/tries/{}", id(&answer));
    let over = async {
        while client.get(&path).await.text().lines().count() != 1 {
            tokio::task::yield_now().await;
        }
    };
    wasmgate_tests::soon("on-complete", over).await;
}
