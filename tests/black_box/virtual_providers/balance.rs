//! `loadbalance`: who is asked, and that the next one is when one fails.

use serde_json::json;
use wasmgate_tests::answers::{Says, error};
use wasmgate_tests::{Answer, Client, Dialect, Reply, Upstream};

use super::{NAMES, TEXTS, all, ask, gateway, good, id, parts, text, told};

async fn three() -> Vec<Upstream> {
    let mut upstreams = Vec::new();
    for n in 0..3 {
        upstreams.push(good(n, Dialect::OpenAi).await);
    }
    upstreams
}

fn openai(upstreams: &[Upstream]) -> Vec<(Dialect, &Upstream)> {
    upstreams.iter().map(|u| (Dialect::OpenAi, u)).collect()
}

fn counts(upstreams: &[Upstream]) -> Vec<usize> {
    upstreams.iter().map(|u| u.received().len()).collect()
}

async fn ask_as(client: &Client, key: &str, text: &str) -> Answer {
    let body = Dialect::OpenAi.request("v/m", text).to_string();
    client
        .send(client.request(http::Method::POST, Dialect::OpenAi.path()).header("authorization", format!("Bearer {key}")).body(body))
        .await
}

#[tokio::test]
async fn requests_are_spread_in_turn_and_the_answer_says_who_it_was() {
    let upstreams = three().await;
    let (_gateway, client) = gateway(&openai(&upstreams), &all("loadbalance", "")).await;
    for n in 0..9 {
        let answer = ask(&client, Dialect::OpenAi, "v/m", n % 2 == 0).await;
        assert_eq!(text(Dialect::OpenAi, &answer, n % 2 == 0), TEXTS[n % 3]);
        assert_eq!(answer.header("x-wasmgate-loadbalance-provider"), NAMES[n % 3]);
    }
    assert_eq!(counts(&upstreams), [3, 3, 3]);
}

#[tokio::test]
async fn one_that_fails_is_passed_over_and_after_three_times_left_alone() {
    let busy = Upstream::start(|_| Reply::json(503, &error(Dialect::OpenAi, "server_error", "busy"))).await;
    let (two, three) = (good(1, Dialect::OpenAi).await, good(2, Dialect::OpenAi).await);
    let upstreams = [(Dialect::OpenAi, &busy), (Dialect::OpenAi, &two), (Dialect::OpenAi, &three)];
    let (_gateway, client) = gateway(&upstreams, &all("loadbalance", "")).await;
    for _ in 0..20 {
        let answer = ask(&client, Dialect::OpenAi, "v/m", false).await;
        assert_eq!(answer.status, 200, "{}", answer.text());
        if answer.header("x-wasmgate-loadbalance-provider") == "two" && busy.received().len() < 3 {
            let (tries, _) = told(&client, &id(&answer)).await;
            assert_eq!(parts(&tries).last(), Some(&("two", "served")));
        }
    }
    // It rests for ten seconds; a machine that needs longer for all this may ask it once more.
    assert!((3..=4).contains(&busy.received().len()), "it rests: {}", busy.received().len());
}

#[tokio::test]
async fn a_caller_who_asks_for_a_model_that_fails_moves_nobody_else() {
    let moody = Upstream::start(|r| match r.model().as_str() {
        "made-up" => Reply::json(500, &error(Dialect::OpenAi, "server_error", "no")),
        _ => Says::text(TEXTS[0]).reply(Dialect::OpenAi, r),
    })
    .await;
    let (two, three) = (good(1, Dialect::OpenAi).await, good(2, Dialect::OpenAi).await);
    let upstreams = [(Dialect::OpenAi, &moody), (Dialect::OpenAi, &two), (Dialect::OpenAi, &three)];
    let (_gateway, client) = gateway(&upstreams, &all("loadbalance", "")).await;
    for _ in 0..12 {
        assert_eq!(ask(&client, Dialect::OpenAi, "v/made-up", false).await.status, 200);
    }
    let of = |model: &str| moody.received().iter().filter(|r| r.model() == model).count();
    assert!((3..=4).contains(&of("made-up")), "it rests for this model: {}", of("made-up"));
    for _ in 0..9 {
        assert_eq!(ask(&client, Dialect::OpenAi, "v/m", false).await.status, 200);
    }
    assert_eq!(of("m"), 3, "and has its turn with the others");
}

#[tokio::test]
async fn the_same_key_goes_to_the_same_provider() {
    let upstreams = three().await;
    let (_gateway, client) = gateway(&openai(&upstreams), &all("loadbalance", ", strategy: sticky")).await;
    let mut met = std::collections::BTreeSet::new();
    for n in 0..24 {
        let key = format!("key-{n}");
        let first = ask_as(&client, &key, "x").await.header("x-wasmgate-provider").to_owned();
        for m in 0..3 {
            assert_eq!(ask_as(&client, &key, &format!("{m}")).await.header("x-wasmgate-provider"), first);
        }
        met.insert(first);
    }
    assert_eq!(met.len(), 3, "keys are spread");
}

#[tokio::test]
async fn conversations_that_begin_alike_go_to_the_same_provider() {
    let upstreams = three().await;
    let (_gateway, client) = gateway(&openai(&upstreams), &all("loadbalance", ", strategy: sticky, sticky_by: prompt")).await;
    let mut met = std::collections::BTreeSet::new();
    for n in 0..24 {
        let prefix = format!("Conversation {n}: {}", "the same for a long time ".repeat(60));
        let first = ask_as(&client, "a", &format!("{prefix} one")).await.header("x-wasmgate-provider").to_owned();
        assert_eq!(ask_as(&client, "b", &format!("{prefix} two")).await.header("x-wasmgate-provider"), first);
        met.insert(first);
    }
    assert_eq!(met.len(), 3, "conversations are spread");
}

#[tokio::test]
async fn the_least_busy_one_is_asked() {
    let gates = [(); 3].map(|()| wasmgate_tests::Gate::default());
    let mut upstreams = Vec::new();
    for (n, gate) in gates.iter().cloned().enumerate() {
        let reply = move |r: &wasmgate_tests::Received| {
            let events = Says::text(TEXTS[n]).stream(Dialect::OpenAi, &r.model());
            let (begin, rest) = events.split_at(3);
            let send = |events: &[String]| wasmgate_tests::Step::Send(events.concat().into());
            Reply::events(vec![send(begin), wasmgate_tests::Step::Wait(gate.clone()), send(rest)])
        };
        upstreams.push(Upstream::start(reply).await);
    }
    let (_gateway, client) = gateway(&openai(&upstreams), &all("loadbalance", ", strategy: least_in_flight")).await;
    let mut open = Vec::new();
    for _ in 0..6 {
        open.push(client.stream(Dialect::OpenAi.path(), &Dialect::OpenAi.stream_request("v/m", "x")).await);
    }
    // A stream counts for as long as it is open.
    assert_eq!(counts(&upstreams), [2, 2, 2]);
    let of_one: Vec<_> = open.iter().map(|s| s.header("x-wasmgate-provider") == "one").collect();
    for (mut stream, is_one) in open.into_iter().zip(of_one) {
        if is_one {
            gates[0].open();
            assert!(stream.rest().await.last().is_some_and(|e| Dialect::OpenAi.is_end(e)));
        } else {
            tokio::spawn(async move { stream.rest().await });
        }
    }
    let again = client.stream(Dialect::OpenAi.path(), &Dialect::OpenAi.stream_request("v/m", "x")).await;
    assert_eq!(again.header("x-wasmgate-provider"), "one");
}

#[tokio::test]
async fn operations_go_through_virtual_providers_in_their_order() {
    let embedding =
        || Reply::json(200, &json!({"object": "list", "data": [], "model": "e", "usage": {"prompt_tokens": 4, "total_tokens": 4}}));
    let busy = Upstream::start(|_| Reply::json(503, &error(Dialect::OpenAi, "server_error", "busy"))).await;
    let (other, good) = (good(1, Dialect::Anthropic).await, Upstream::start(move |_| embedding()).await);
    let upstreams = [(Dialect::OpenAi, &busy), (Dialect::Anthropic, &other), (Dialect::OpenAi, &good)];
    for kind in ["fallback", "racing", "loadbalance"] {
        let (_gateway, client) = gateway(&upstreams, &all(kind, "")).await;
        let (before, sent) = (busy.received().len(), good.received().len());
        let answer = client.post("/v1/embeddings", &json!({"model": "v/e", "input": "x"})).await;
        assert_eq!(answer.status, 200, "{}", answer.text());
        assert_eq!((busy.received().len() - before, good.received().len() - sent), (1, 1), "{kind}");
        let (tries, over) = told(&client, &id(&answer)).await;
        assert_eq!(parts(&tries), [("one", "failed"), ("three", "served")], "one of another API is not asked");
        assert_eq!((&tries[1]["usage"], &over["usage"]), (&json!([4, 0]), &json!([4, 0])));
    }
    assert!(other.received().is_empty());
}
