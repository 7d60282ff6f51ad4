//! `racing`: who wins, and what becomes of the others.

use std::time::{Duration, Instant};

use serde_json::{Value, json};
use wasmgate_tests::answers::Says;
use wasmgate_tests::{Dialect, Gate, Reply, Step, Upstream};

use super::{NAMES, TEXTS, all, ask, assert_has, failing, gateway, gateway_with, good, id, parts, text, told};
use crate::extensions;

/// What a cancelled upstream may need at most to notice on a busy machine; the rule is 50 ms.
const PROMPTLY: Duration = Duration::from_secs(1);

/// An upstream that begins its stream only when the gate is opened.
async fn gated(n: usize, format: Dialect, gate: &Gate) -> Upstream {
    let gate = gate.clone();
    Upstream::start(move |r| {
        let events = Says::text(TEXTS[n]).stream(format, &r.model()).concat();
        Reply::events(vec![Step::Wait(gate.clone()), Step::Send(events.into())])
    })
    .await
}

/// A gate that is open.
fn opened() -> Gate {
    let gate = Gate::default();
    gate.open();
    gate
}

/// Begins a stream and hangs.
async fn begins(n: usize, format: Dialect, gate: &Gate) -> Upstream {
    let gate = gate.clone();
    Upstream::start(move |r| {
        let events = Says::text(TEXTS[n]).stream(format, &r.model());
        Reply::events(vec![Step::Wait(gate.clone()), Step::Send(events[..4].concat().into()), Step::Hang])
    })
    .await
}

#[tokio::test]
async fn the_first_valid_event_wins_and_the_others_are_cancelled_at_once() {
    for dialect in Dialect::ALL {
        let gate = Gate::default();
        let (one, two) = (Upstream::start(|_| Reply::silence()).await, gated(1, Dialect::Anthropic, &gate).await);
        let three = failing(Dialect::OpenAi, 503, "server_error").await;
        let upstreams = [(Dialect::OpenAi, &one), (Dialect::Anthropic, &two), (Dialect::OpenAi, &three)];
        let (_gateway, client) = gateway(&upstreams, &all("racing", "")).await;
        let asked = tokio::spawn({
            let client = client.clone();
            async move { (ask(&client, dialect, "v/m", true).await, Instant::now()) }
        });
        let loser = one.request(0).await;
        three.request(0).await;
        two.request(0).await;
        let decided = Instant::now();
        gate.open();
        let took = loser.closed_after(decided).await;
        assert!(took < PROMPTLY, "it took {took:?}");
        let (answer, _) = asked.await.expect("it is answered");
        assert_eq!(text(dialect, &answer, true), TEXTS[1]);
        let headers = ["x-wasmgate-provider", "x-wasmgate-racing-winner"].map(|h| answer.header(h));
        assert_eq!(headers, ["two", "two"]);
        assert!(answer.header("x-wasmgate-racing-latency-ms").parse::<u64>().is_ok());
        let (tries, over) = told(&client, &id(&answer)).await;
        // The error of the third one may come just too late to count.
        let third = tries[2]["part"].as_str().expect("a part");
        assert_eq!(parts(&tries), [("one", "lost"), ("two", "served"), ("three", third)]);
        assert!(["failed", "lost"].contains(&third));
        // The first one was given the conversation too, and told nothing. The third one refused it, unless it came too late to count.
        assert_eq!((&tries[0]["usage"], &tries[0]["estimated"]), (&json!([9, 0]), &json!(true)));
        assert_eq!(tries[1]["estimated"], false);
        let input = if third == "lost" { 27 } else { 18 };
        assert_eq!(over, json!({"usage": [input, 12], "served_by": "two", "attempts": 3}));
        let shown = client.get("/api/metrics/racing").await.json();
        let rows = shown["data"].as_array().expect("a list");
        let of = |name: &str| rows.iter().find(|r| r["member"] == name).expect("it raced").clone();
        assert_has(&of("one"), &json!({"provider": "v", "model": "m", "tries": 1, "won": 0, "lost": 1, "failed": 0}));
        assert_has(&of("two"), &json!({"tries": 1, "won": 1, "win_rate": 1.0}));
        assert_has(&of("three"), &json!({"tries": 1, "won": 0, third: 1}));
    }
}

#[tokio::test]
async fn all_that_fail_are_one_error_and_so_is_time_that_is_up() {
    let (one, two) = (failing(Dialect::OpenAi, 500, "server_error").await, failing(Dialect::Anthropic, 529, "overloaded_error").await);
    let hangs = Upstream::start(|_| Reply::events(vec![Step::Hang])).await;
    let upstreams = [(Dialect::OpenAi, &one), (Dialect::Anthropic, &two), (Dialect::OpenAi, &hangs)];
    let (_gateway, client) = gateway(&upstreams, &all("racing", ", timeout_ms: 2000")).await;
    let answer = ask(&client, Dialect::OpenAi, "v/m", true).await;
    let (_, message) = Dialect::OpenAi.error(&answer.json());
    for part in ["`one` (upstream)", "`two` (overloaded)", "`three` (timeout): Its answer did not begin within 2000 ms"] {
        assert!(message.contains(part), "{message}");
    }
    assert!(hangs.only().closed_after(Instant::now()).await < PROMPTLY);
    let (tries, _) = told(&client, &id(&answer)).await;
    assert_eq!(parts(&tries), [("one", "failed"), ("two", "failed"), ("three", "failed")]);
    assert_eq!(tries[2]["error"], "timeout");
}

#[tokio::test]
async fn losers_that_had_begun_tell_their_tokens() {
    // Both begin, in whatever order; the first one is known to lose, the second one to win.
    let (one, two) = (begins(0, Dialect::Anthropic, &opened()).await, good(1, Dialect::OpenAi).await);
    let folder = tempfile::tempdir().expect("a temporary folder");
    let file = folder.path().join("seen.json");
    let row = |member: &str, won: u64, lost: u64| json!({"provider": "v", "member": member, "model": "m", "won": won, "lost": lost, "failed": 0, "average_us": null, "latencies_us": []});
    std::fs::write(&file, json!([row("one", 0, 10_000_000), row("two", 10_000_000, 0)]).to_string()).expect("a file");
    let virtuals = format!(
        "  v: {{type: racing, config: {{providers: [one, two], strategy: weighted, grace_period_ms: 20000, performance_file: \"{}\"}}}}\n",
        file.display()
    );
    let (gateway, client) = gateway(&[(Dialect::Anthropic, &one), (Dialect::OpenAi, &two)], &virtuals).await;
    let answer = ask(&client, Dialect::OpenAi, "v/m", true).await;
    assert_eq!(text(Dialect::OpenAi, &answer, true), TEXTS[1]);
    assert!(one.only().closed_after(Instant::now()).await < PROMPTLY);
    let (tries, over) = told(&client, &id(&answer)).await;
    assert_eq!(parts(&tries), [("one", "lost"), ("two", "served")]);
    // Anthropic tells the input when it begins, and a token of output; what arrived of it until then may be more.
    assert_eq!((&tries[0]["usage"][0], &tries[1]["usage"]), (&json!(9), &json!([9, 12])));
    let written = tries[0]["usage"][1].as_u64().expect("a number");
    assert!((1..=4).contains(&written) && tries[0]["estimated"] == (written > 1), "{tries:?}");
    assert_eq!(over["usage"], json!([18, 12 + written]), "the sum of all tries");
    let (status, log) = gateway.stop().await;
    assert!(status.success(), "{log}");
    let kept: Value = serde_json::from_slice(&std::fs::read(file).expect("it was kept")).expect("JSON");
    let of = |name: &str| kept.as_array().and_then(|all| all.iter().find(|r| r["member"] == name)).expect("it raced").clone();
    assert_has(&of("one"), &json!({"won": 0, "lost": 10_000_001}));
    assert_has(&of("two"), &json!({"won": 10_000_001, "lost": 0}));
}

#[tokio::test]
async fn quality_takes_the_best_answer_of_all() {
    let texts = ["Short.", TEXTS[1], "Middle of the three."];
    let mut upstreams = Vec::new();
    for (n, text) in texts.into_iter().enumerate() {
        let format = [Dialect::OpenAi, Dialect::Anthropic, Dialect::OpenAi][n];
        upstreams.push((format, Upstream::start(move |r| Says::text(text).reply(format, r)).await));
    }
    let upstreams: Vec<(Dialect, &Upstream)> = upstreams.iter().map(|(format, up)| (*format, up)).collect();
    // As the built-in scorer says, and as an extension does: both like long answers.
    for judge in [String::new(), extensions::fixture("judges", "")] {
        let (_gateway, client) = gateway_with(&upstreams, &all("racing", ", strategy: quality"), &judge).await;
        for dialect in Dialect::ALL {
            for stream in [false, true] {
                let answer = ask(&client, dialect, "v/m", stream).await;
                assert_eq!(text(dialect, &answer, stream), TEXTS[1]);
                let (tries, over) = told(&client, &id(&answer)).await;
                assert_eq!(parts(&tries), [("one", "lost"), ("two", "served"), ("three", "lost")]);
                assert_eq!(over["usage"], json!([27, 36]), "all three were paid for");
            }
        }
        let stats = client.get("/api/extensions/judges").await;
        assert_eq!(stats.status, if judge.is_empty() { 404 } else { 200 });
    }
}

#[tokio::test]
async fn hedge_asks_the_next_one_when_the_first_is_late() {
    let (one, two, three) = (Upstream::start(|_| Reply::silence()).await, good(1, Dialect::OpenAi).await, good(2, Dialect::OpenAi).await);
    let upstreams = [(Dialect::OpenAi, &one), (Dialect::OpenAi, &two), (Dialect::OpenAi, &three)];
    let (_gateway, client) = gateway(&upstreams, "  v: {type: racing, config: {providers: [one, two], strategy: hedge, hedge_delay_ms: 50}}\n  w: {type: racing, config: {providers: [three, two], strategy: hedge, hedge_delay_ms: 60000}}\n").await;
    let answer = ask(&client, Dialect::OpenAi, "v/m", true).await;
    assert_eq!(text(Dialect::OpenAi, &answer, true), TEXTS[1]);
    let latency: u64 = answer.header("x-wasmgate-racing-latency-ms").parse().expect("a number");
    assert!(latency >= 50, "from the beginning of the race: {latency}");
    let (tries, _) = told(&client, &id(&answer)).await;
    assert_eq!(parts(&tries), [("one", "lost"), ("two", "served")]);
    assert!(tries[1]["started"].as_u64().is_some_and(|us| us >= 50_000), "{tries:?}");
    let before = two.received().len();
    assert_eq!(text(Dialect::OpenAi, &ask(&client, Dialect::OpenAi, "w/m", true).await, true), TEXTS[2]);
    assert_eq!(two.received().len(), before, "nobody else was asked");
}

#[tokio::test]
async fn a_client_that_leaves_cancels_every_racer() {
    for stream in [false, true] {
        let mut upstreams = Vec::new();
        for _ in NAMES {
            upstreams.push(Upstream::start(|_| Reply::silence()).await);
        }
        let all_of_them: Vec<_> = upstreams.iter().map(|u| (Dialect::OpenAi, u)).collect();
        let (_gateway, client) = gateway(&all_of_them, &all("racing", "")).await;
        let mut request = Dialect::OpenAi.request("v/m", "x");
        request["stream"] = json!(stream);
        let request = client.request(http::Method::POST, Dialect::OpenAi.path()).header("x-request-id", "left").body(request.to_string());
        let waiting = tokio::spawn(request.send());
        for upstream in &upstreams {
            upstream.request(0).await;
        }
        let left = Instant::now();
        waiting.abort();
        for upstream in &upstreams {
            let took = upstream.only().closed_after(left).await;
            println!("upstream closed {:.1} ms after the client left", took.as_secs_f64() * 1e3);
            assert!(took < PROMPTLY, "{took:?}");
        }
        let (tries, over) = told(&client, "left").await;
        assert_eq!(parts(&tries), NAMES.map(|name| (name, "cancelled")));
        assert_eq!(over["served_by"], json!(null));
    }
}

#[tokio::test]
async fn a_client_that_leaves_the_winner_leaves_losers_lost() {
    let (one, two) = (Upstream::start(|_| Reply::silence()).await, begins(1, Dialect::OpenAi, &opened()).await);
    let (_gateway, client) =
        gateway(&[(Dialect::OpenAi, &one), (Dialect::OpenAi, &two)], "  v: {type: racing, config: {providers: [one, two]}}\n").await;
    let mut stream = client.stream(Dialect::OpenAi.path(), &Dialect::OpenAi.stream_request("v/m", "x")).await;
    let id = stream.header("x-request-id").to_owned();
    stream.next().await.expect("it begins");
    drop(stream);
    let (tries, over) = told(&client, &id).await;
    let mut parts = parts(&tries);
    // The winner may have begun before the other one was sent.
    parts.sort_unstable();
    assert_eq!(parts, [("one", "lost"), ("two", "cancelled")]);
    assert_eq!(over["served_by"], "two");
}
