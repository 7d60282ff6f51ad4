//! `fallback`: the next one answers, and one error tells of all.

use serde_json::json;
use wasmgate_tests::answers::{Says, error};
use wasmgate_tests::{Client, Dialect, Gateway, Reply, Step, Upstream};

use super::{TEXTS, all, ask, assert_has, failing, gateway, good, id, parts, text, told};
use crate::setup;

#[tokio::test]
async fn the_next_one_answers_whatever_the_formats() {
    let (one, two) = (failing(Dialect::OpenAi, 503, "server_error").await, good(1, Dialect::Anthropic).await);
    let virtuals = "  v: {type: fallback, config: {providers: [one, two]}}\n";
    let (_gateway, client) = gateway(&[(Dialect::OpenAi, &one), (Dialect::Anthropic, &two)], virtuals).await;
    for dialect in Dialect::ALL {
        for stream in [false, true] {
            let answer = ask(&client, dialect, "v/m", stream).await;
            assert_eq!(text(dialect, &answer, stream), TEXTS[1]);
            let headers = ["x-wasmgate-provider", "x-wasmgate-model", "x-wasmgate-fallback-provider", "x-wasmgate-fallback-index"];
            assert_eq!(headers.map(|h| answer.header(h)), ["two", "m", "two", "1"], "{dialect:?}");
            let record = client.record(&id(&answer)).await;
            assert_has(&record, &json!({"provider": "two", "model": "m", "attempts": 2, "outcome": "success"}));
            assert_eq!(record["metadata"], json!({"fallback_provider": "two", "fallback_index": "1"}));
            let (tries, over) = told(&client, &id(&answer)).await;
            assert_eq!(parts(&tries), [("one", "failed"), ("two", "served")]);
            assert_has(&tries[0], &json!({"via": ["v"], "number": 0, "error": "overloaded", "usage": null, "first_event": null}));
            assert_has(&tries[1], &json!({"via": ["v"], "number": 1, "error": null, "usage": [9, 12]}));
            assert!(tries[1]["first_event"].is_u64() && tries[1]["started"].as_u64() >= tries[0]["started"].as_u64());
            assert_eq!(over, json!({"usage": [9, 12], "served_by": "two", "attempts": 2}));
        }
    }
}

#[tokio::test]
async fn an_error_inside_of_a_success_is_none() {
    type Make = fn(String) -> Reply;
    // Before the first valid event of a stream: an error event, comments and then an error, nothing at all, a page.
    let overloaded = || format!("data: {}\n\n", error(Dialect::OpenAi, "overloaded_error", "no"));
    let bad: [(&str, Make); 5] = [
        ("error", |e| Reply::stream([e])),
        ("late", |e| Reply::stream([": wait\n\n".to_owned(), ": still\n\n".into(), e])),
        ("empty", |_| Reply::stream(Vec::<String>::new())),
        ("page", |_| Reply::new(200, "text/html", "<html>login</html>")),
        ("document", |_| Reply::json(200, &error(Dialect::OpenAi, "overloaded_error", "no"))),
    ];
    let one = Upstream::start(move |r| {
        let make = bad.iter().find(|(name, _)| *name == r.model()).expect("a script").1;
        make(overloaded())
    })
    .await;
    let two = good(1, Dialect::OpenAi).await;
    let (_gateway, client) =
        gateway(&[(Dialect::OpenAi, &one), (Dialect::OpenAi, &two)], "  v: {type: fallback, config: {providers: [one, two]}}\n").await;
    for (name, _) in bad {
        for stream in [false, true] {
            if !stream && ["late", "error", "empty"].contains(&name) {
                continue;
            }
            let answer = ask(&client, Dialect::OpenAi, &format!("v/{name}"), stream).await;
            assert_eq!(text(Dialect::OpenAi, &answer, stream), TEXTS[1], "{name}");
        }
    }
}

#[tokio::test]
async fn one_error_tells_of_all_of_them() {
    let busy = |format, kind, wait: &'static str| {
        Upstream::start(move |_| Reply::json(429, &error(format, kind, "slow down")).header("retry-after", wait))
    };
    let (one, two) = (busy(Dialect::OpenAi, "rate_limit_error", "30").await, busy(Dialect::Anthropic, "rate_limit_error", "7").await);
    let three = failing(Dialect::OpenAi, 404, "invalid_request_error").await;
    let upstreams = [(Dialect::OpenAi, &one), (Dialect::Anthropic, &two), (Dialect::OpenAi, &three)];
    let (_gateway, client) = gateway(&upstreams, &all("fallback", "")).await;
    for dialect in Dialect::ALL {
        for stream in [false, true] {
            let answer = ask(&client, dialect, "v/m", stream).await;
            // Asking again is worth it, so the status says that, although the last one said something else.
            assert_eq!((answer.status, answer.header("retry-after")), (429, "7"), "{}", answer.text());
            let (_, message) = dialect.error(&answer.json());
            for part in ["`v`", "`one` (rate-limited): ", "`two` (rate-limited): ", "`three` (", "slow down"] {
                assert!(message.contains(part), "{part} in {message}");
            }
            assert!(!message.contains(setup::PROVIDER_KEY));
            let (tries, over) = told(&client, &id(&answer)).await;
            assert_eq!(parts(&tries), [("one", "failed"), ("two", "failed"), ("three", "failed")]);
            assert_eq!(over, json!({"usage": null, "served_by": null, "attempts": 3}));
        }
    }
}

#[tokio::test]
async fn a_wrong_request_is_wrong_everywhere_and_what_moves_on_is_configured() {
    let (one, two) = (failing(Dialect::OpenAi, 400, "invalid_request_error").await, good(1, Dialect::OpenAi).await);
    let virtuals = "  v: {type: fallback, config: {providers: [one, two]}}\n  w: {type: fallback, config: {providers: [one, two], on: [invalid_request]}}\n";
    let (_gateway, client) = gateway(&[(Dialect::OpenAi, &one), (Dialect::OpenAi, &two)], virtuals).await;
    let answer = ask(&client, Dialect::OpenAi, "v/m", false).await;
    assert_eq!(answer.status, 400, "{}", answer.text());
    assert_eq!(Dialect::OpenAi.error(&answer.json()).1, "scripted", "a single failure stays as it is");
    assert!(two.received().is_empty());
    assert_eq!(text(Dialect::OpenAi, &ask(&client, Dialect::OpenAi, "w/m", false).await, false), TEXTS[1]);
}

#[tokio::test]
async fn too_long_a_conversation_goes_to_a_larger_model_of_the_same_provider() {
    let one = Upstream::start(|r| match r.model().as_str() {
        "large" => Says::text(TEXTS[0]).reply(Dialect::OpenAi, r),
        _ => {
            let error = json!({"error": {"message": "This model's maximum context length is 8192 tokens.", "type": "invalid_request_error",
                "param": "messages", "code": "context_length_exceeded"}});
            Reply::json(400, &error)
        }
    })
    .await;
    let virtuals = "  v: {type: fallback, config: {providers: [one, {provider: one, model: large}]}}\n";
    let (_gateway, client) = gateway(&[(Dialect::OpenAi, &one)], virtuals).await;
    let answer = ask(&client, Dialect::OpenAi, "v/small", false).await;
    assert_eq!(text(Dialect::OpenAi, &answer, false), TEXTS[0]);
    assert_eq!(["x-wasmgate-model", "x-wasmgate-fallback-index"].map(|h| answer.header(h)), ["large", "1"]);
    assert_eq!(one.received().iter().map(|r| r.model()).collect::<Vec<_>>(), ["small", "large"]);
}

#[tokio::test]
async fn an_answer_that_turns_out_to_be_none_counts_for_the_breaker() {
    // Its first event breaks off in the middle: an answer to whoever only looks whether there is one.
    let one = Upstream::start(|r| {
        let events = Says::text(TEXTS[0]).stream(Dialect::OpenAi, &r.model()).concat().into_bytes();
        Reply::events(vec![Step::Send(events[..20].to_vec()), Step::Cut])
    })
    .await;
    let two = good(1, Dialect::OpenAi).await;
    let breaker = "breaker: {failure_rate: 0.5, min_requests: 4, window: 1h, cooldown: 1h}}\n";
    let native = setup::named_provider("one", Dialect::OpenAi, &one.url()).replace("}\n", &format!(", {breaker}"))
        + &setup::named_provider("two", Dialect::OpenAi, &two.url());
    let gateway =
        Gateway::start(&setup::config(&format!("{native}  v: {{type: fallback, config: {{providers: [one, two]}}}}\n"), "")).await;
    let client = Client::new(&gateway);
    for _ in 0..10 {
        assert_eq!(text(Dialect::OpenAi, &ask(&client, Dialect::OpenAi, "v/m", true).await, true), TEXTS[1]);
    }
    assert!(one.received().len() <= 5, "it was left alone after {} requests", one.received().len());
    let health = client.get("/api/providers/one/health").await.json();
    assert_eq!(health["data"]["breakers"][0]["model"], "m", "{health}");
}

#[tokio::test]
async fn a_member_is_asked_again_before_the_next_one() {
    let busy = || Reply::json(503, &error(Dialect::OpenAi, "server_error", "busy"));
    let text_of = |n: usize| Reply::json(200, &Says::text(TEXTS[n]).document(Dialect::OpenAi, "m"));
    let (one, two) = (Upstream::script([busy(), busy(), text_of(0), busy(), busy(), busy()]).await, good(1, Dialect::OpenAi).await);
    let virtuals = "  v: {type: fallback, config: {providers: [one, two], max_retries: 2}}\n";
    let (_gateway, client) = gateway(&[(Dialect::OpenAi, &one), (Dialect::OpenAi, &two)], virtuals).await;
    assert_eq!(text(Dialect::OpenAi, &ask(&client, Dialect::OpenAi, "v/m", false).await, false), TEXTS[0]);
    assert_eq!(text(Dialect::OpenAi, &ask(&client, Dialect::OpenAi, "v/m", false).await, false), TEXTS[1]);
    assert_eq!((one.received().len(), two.received().len()), (6, 1));
}

#[tokio::test]
async fn nested_ones_tell_the_whole_way() {
    let (one, two, three) = (
        failing(Dialect::OpenAi, 500, "server_error").await,
        failing(Dialect::OpenAi, 500, "server_error").await,
        good(2, Dialect::Anthropic).await,
    );
    let virtuals = "  outer: {type: fallback, config: {providers: [one, race]}}\n  race: {type: racing, config: {providers: [balance]}}\n  balance: {type: loadbalance, config: {providers: [two, three]}}\n";
    let (_gateway, client) = gateway(&[(Dialect::OpenAi, &one), (Dialect::OpenAi, &two), (Dialect::Anthropic, &three)], virtuals).await;
    for stream in [false, true] {
        let answer = ask(&client, Dialect::OpenAi, "outer/m", stream).await;
        assert_eq!(text(Dialect::OpenAi, &answer, stream), TEXTS[2]);
        let record = client.record(&id(&answer)).await;
        let (metadata, provider) = (&record["metadata"], &record["provider"]);
        assert_eq!(provider, "three");
        assert_has(
            metadata,
            &json!({"fallback_provider": "race", "fallback_index": "1", "racing_winner": "balance", "loadbalance_provider": "three"}),
        );
        assert_eq!(answer.header("x-wasmgate-racing-winner"), "balance");
        let (tries, _) = told(&client, &id(&answer)).await;
        let last = tries.last().expect("the winner");
        assert_has(last, &json!({"provider": "three", "via": ["outer", "race", "balance"], "part": "served"}));
    }
}

#[tokio::test]
async fn one_that_cannot_be_reached_and_one_that_breaks_off_in_the_middle_are_passed_over() {
    let nobody = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port").local_addr().expect("it is bound");
    let cut = Upstream::start(|r| {
        let events = Says::text(TEXTS[1]).stream(Dialect::OpenAi, &r.model());
        if r.is_stream() { Reply::events(vec![Step::Send(events[..3].concat().into()), Step::Cut]) } else { Reply::closed() }
    })
    .await;
    let three = good(2, Dialect::OpenAi).await;
    let native = [
        setup::named_provider("one", Dialect::OpenAi, &format!("http://{nobody}")),
        setup::named_provider("two", Dialect::OpenAi, &cut.url()),
        setup::named_provider("three", Dialect::OpenAi, &three.url()),
    ];
    let providers = format!("{}{}", native.concat(), all("fallback", ""));
    let gateway = Gateway::start(&setup::config(&providers, &crate::extensions::fixture("tries", ""))).await;
    let client = Client::new(&gateway);
    assert_eq!(text(Dialect::OpenAi, &ask(&client, Dialect::OpenAi, "v/m", false).await, false), TEXTS[2]);
    // A stream that was begun is told as broken, and nobody else is asked.
    let answer = ask(&client, Dialect::OpenAi, "v/m", true).await;
    Dialect::OpenAi.broken(&wasmgate_tests::client::Event::all(&answer.text()));
    assert_eq!(three.received().len(), 1);
    let (tries, over) = told(&client, &id(&answer)).await;
    assert_eq!(parts(&tries), [("one", "failed"), ("two", "failed")]);
    assert_eq!(over["served_by"], "two");
}
