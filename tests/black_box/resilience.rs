//! Bad upstreams: what is tried again, who is left alone, how many may wait, and that nothing is left behind.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use serde_json::json;
use wasmgate_tests::answers::{Says, TEXT, error};
use wasmgate_tests::{Dialect, Gate, Reply, Step, Upstream, soon};

use crate::providers::{gateway, seen, seen_when};
use crate::setup;

/// What a busy machine may need for what takes no time.
const PROMPTLY: Duration = Duration::from_secs(5);

fn busy(format: Dialect) -> Reply {
    Reply::json(503, &error(format, "overloaded_error", "The engine is overloaded."))
}

#[tokio::test]
async fn a_request_is_sent_again_until_an_event_is_there() {
    for format in Dialect::ALL {
        let calls = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&calls);
        let upstream = Upstream::start(move |r| {
            let whole = Says::text(TEXT).stream(format, &r.model());
            match count.fetch_add(1, Ordering::Relaxed) {
                0 => busy(format),
                1 => Reply::closed(),
                2 => Reply::events(vec![Step::Send(b": keep-alive\n\n".into()), Step::Cut]),
                // An event is there: what breaks now is told, and not tried again.
                3 => Reply::events(vec![Step::Send(whole[..4].concat().into()), Step::Cut]),
                _ => panic!("it was sent again"),
            }
        })
        .await;
        let settings = "api_key: k, max_retries: 5, retry: {backoff: 1ms}";
        let (_gateway, client) =
            gateway(&format!("type: {}, base_url: \"{}/v1\", {settings}", format.provider_type(), upstream.url())).await;
        let events = client.stream(format.path(), &format.stream_request("m", "hello")).await.rest().await;
        assert!(events.iter().any(|e| format.stream_error(e).is_some()), "{events:?}");
        assert_eq!(calls.load(Ordering::Relaxed), 4);
        assert_eq!(seen(&client, "/health").await["retries"], 3);
    }
}

#[tokio::test]
async fn without_the_setting_nothing_is_sent_again() {
    let upstream = Upstream::start(|_| busy(Dialect::OpenAi)).await;
    let (_gateway, client) = gateway(&format!("base_url: \"{}/v1\", api_key: k", upstream.url())).await;
    assert_eq!(client.post(Dialect::OpenAi.path(), &Dialect::OpenAi.request("m", "hello")).await.status, 503);
    upstream.only();
}

#[tokio::test]
async fn an_outage_is_not_multiplied() {
    let upstream = Upstream::start(|_| busy(Dialect::OpenAi)).await;
    let settings = format!("base_url: \"{}/v1\", api_key: k, max_retries: 3, retry: {{backoff: 1ms, budget: 0.1}}", upstream.url());
    let (_gateway, client) = gateway(&settings).await;
    for _ in 0..50 {
        assert_eq!(client.post(Dialect::OpenAi.path(), &Dialect::OpenAi.request("m", "hello")).await.status, 503);
    }
    let sent = upstream.received().len();
    assert!((60..=65).contains(&sent), "fifty, a tenth of that, and ten at once: {sent}");
}

#[tokio::test]
async fn a_model_that_fails_is_refused_here_and_the_others_go_on() {
    for dialect in Dialect::ALL {
        let upstream = Upstream::start(move |r| match r.model().as_str() {
            "bad" => busy(dialect),
            "wrong" => Reply::json(400, &error(dialect, "invalid_request_error", "no")),
            _ => Says::text(TEXT).reply(dialect, r),
        })
        .await;
        let kind = dialect.provider_type();
        let settings = format!("type: {kind}, base_url: \"{}/v1\", api_key: k, breaker: {{failures: 3, cooldown: 1h}}", upstream.url());
        let (_gateway, client) = gateway(&settings).await;
        for _ in 0..5 {
            client.post(dialect.path(), &dialect.request("wrong", "hello")).await;
            client.post(dialect.path(), &dialect.request("bad", "hello")).await;
        }
        let answer = client.post(dialect.path(), &dialect.request("bad", "hello")).await;
        let wait: u64 = answer.headers["retry-after"].to_str().unwrap().parse().unwrap();
        assert!(matches!(answer.status, 503 | 529) && wait > 3000, "{}: {}", answer.status, answer.text());
        let sent = |model: &str| upstream.received().iter().filter(|r| r.model() == model).count();
        assert_eq!((sent("bad"), sent("wrong")), (3, 5), "{dialect:?}: callers' faults open nothing");
        let health = seen(&client, "/health").await;
        assert_eq!((&health["breakers"][0]["model"], &health["state"]), (&json!("bad"), &json!("degraded")), "{health}");
        setup::assert_serves(&client, dialect).await;
    }
}

#[tokio::test]
async fn a_stream_that_keeps_breaking_opens_the_breaker_too() {
    let format = Dialect::OpenAi;
    let upstream = Upstream::start(move |r| {
        let whole = Says::text(TEXT).stream(format, &r.model());
        Reply::events(vec![Step::Send(whole[..3].concat().into()), Step::Cut])
    })
    .await;
    // It answers before it breaks, so it never fails twice in a row: its share counts.
    let breaker = "breaker: {failure_rate: 0.5, min_requests: 4, window: 1h, cooldown: 1h}";
    let (_gateway, client) = gateway(&format!("base_url: \"{}/v1\", api_key: k, {breaker}", upstream.url())).await;
    let mut refused = 0;
    for _ in 0..10 {
        let mut stream = client.stream(format.path(), &format.stream_request("m", "hello")).await;
        refused += usize::from(stream.status == 503);
        stream.rest().await;
    }
    assert!(refused >= 6 && upstream.received().len() <= 4, "{refused} refused, {} sent", upstream.received().len());
}

#[tokio::test]
async fn the_first_event_and_the_whole_answer_have_their_time() {
    let format = Dialect::OpenAi;
    let upstream = Upstream::start(move |r| {
        let whole = Says::text(TEXT).stream(format, &r.model());
        match r.model().as_str() {
            "late" => Reply::events(vec![Step::Send(b": keep-alive\n\n".into()), Step::Hang]),
            _ => Reply::events(vec![Step::Send(whole[..4].concat().into()), Step::Hang]),
        }
    })
    .await;
    let (_gateway, client) =
        gateway(&format!("base_url: \"{}/v1\", api_key: k, first_event_timeout: 50ms, timeout: 1s", upstream.url())).await;
    let late = client.stream(format.path(), &format.stream_request("late", "hello")).await;
    assert_eq!(late.status, 504);
    let since = Instant::now();
    assert!(upstream.request(0).await.closed_after(since).await < PROMPTLY);
    let mut long = client.stream(format.path(), &format.stream_request("long", "hello")).await;
    assert_eq!(long.status, 200);
    let events = long.rest().await;
    let (kind, _) = events.iter().find_map(|e| format.stream_error(e)).expect("the error event of the dialect");
    assert_eq!(kind, "server_error", "{events:?}");
    let since = Instant::now();
    assert!(upstream.request(1).await.closed_after(since).await < PROMPTLY);
    seen_when(&client, "/health", |h| h["in_flight"] == 0).await;
}

#[tokio::test]
async fn an_error_that_comes_byte_by_byte_is_not_waited_for() {
    let upstream = Upstream::start(|_| {
        let body = error(Dialect::OpenAi, "server_error", "slow").to_string();
        Reply::events(vec![Step::Drip(body.into_bytes(), Duration::from_millis(150))])
            .status(503)
            .header("content-type", "application/json")
    })
    .await;
    let (_gateway, client) = gateway(&format!("base_url: \"{}/v1\", api_key: k, idle_timeout: 300ms", upstream.url())).await;
    let asked = Instant::now();
    let answer = client.post(Dialect::OpenAi.path(), &Dialect::OpenAi.request("m", "hello")).await;
    let took = asked.elapsed();
    assert_eq!(answer.status, 503, "{}", answer.text());
    assert!(took < PROMPTLY, "the whole of it takes ten seconds and more: {took:?}");
}

#[tokio::test]
async fn who_waits_and_leaves_gives_up_the_place() {
    for dialect in Dialect::ALL {
        let gate = Gate::default();
        let opens = gate.clone();
        let upstream = Upstream::start(move |r| {
            let whole = Says::text(TEXT).stream(dialect, &r.model()).concat();
            Reply::events(vec![Step::Wait(opens.clone()), Step::Send(whole.into())])
        })
        .await;
        let kind = dialect.provider_type();
        let limits = "max_in_flight: 1, queue_limit: 1, queue_timeout: 1h";
        let (_gateway, client) = gateway(&format!("type: {kind}, base_url: \"{}/v1\", api_key: k, {limits}", upstream.url())).await;
        let ask = || {
            let client = client.clone();
            tokio::spawn(async move { client.stream(dialect.path(), &dialect.stream_request("m", "hello")).await.rest().await })
        };
        let first = ask();
        upstream.request(0).await;
        let second = ask();
        seen_when(&client, "/health", |h| h["in_flight"] == 1 && h["queued"] == 1).await;
        let refused = client.post(dialect.path(), &dialect.request("m", "hello")).await;
        assert!(matches!(refused.status, 503 | 529), "{}", refused.text());
        assert_eq!(refused.headers["retry-after"], "1");
        // One that waits leaves: nobody ever sees its request.
        second.abort();
        seen_when(&client, "/health", |h| h["queued"] == 0).await;
        // One that runs leaves: the upstream sees it, and the place is free.
        let left = Instant::now();
        first.abort();
        let took = upstream.request(0).await.closed_after(left).await;
        println!("{dialect:?}: the upstream saw the client leave after {:.1} ms", took.as_secs_f64() * 1e3);
        assert!(took < PROMPTLY, "{took:?}");
        seen_when(&client, "/health", |h| h["in_flight"] == 0).await;
        let third = ask();
        upstream.request(1).await;
        gate.open();
        let events = soon("the answer", third).await.expect("it does not panic");
        assert_eq!(dialect.streamed_text(&events), TEXT);
        assert_eq!(upstream.received().len(), 2);
    }
}

/// How often `/health` is asked while an upstream hangs.
const HEALTH_CALLS: usize = 500;

/// Half of these calls must be answered within it. The rule is that all are; the slowest of many tells how busy the machine is, the median tells
/// whether the gateway is.
const HEALTHY: Duration = Duration::from_millis(10);

/// How long each of many calls of `/health` takes, the shortest first. They come from a thread and a connection of their own, so that none of them
/// waits behind the clients of the test.
async fn health_calls(base: String) -> Vec<Duration> {
    let calls = move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        let client = wasmgate_tests::Client::at(&base);
        runtime.block_on(async {
            let mut times = Vec::with_capacity(HEALTH_CALLS);
            for _ in 0..HEALTH_CALLS {
                let asked = Instant::now();
                assert_eq!(client.get("/health").await.status, 200);
                times.push(asked.elapsed());
            }
            times.sort_unstable();
            times
        })
    };
    let (tell, told) = tokio::sync::oneshot::channel();
    std::thread::spawn(move || tell.send(calls()));
    told.await.expect("the gateway says that it is well")
}

/// 256 clients, each with a body of 64 KiB, an upstream that never answers.
#[tokio::test]
async fn an_upstream_that_hangs_does_not_take_the_gateway_with_it() {
    hangs("max_in_flight: 32, queue_limit: 64, queue_timeout: 1h", [32, 64], 128 << 10).await;
}

/// The same where nobody bounded how many may wait for the upstream: all do.
#[tokio::test]
async fn nor_does_one_that_has_no_limits() {
    hangs("timeout: 1h", [256, 0], 192 << 10).await;
}

/// 256 clients ask an upstream that hangs. So many of them are sent, so many wait, and the gateway may grow by so many KiB.
async fn hangs(limits: &str, [sent, waits]: [usize; 2], bound: u64) {
    const CLIENTS: usize = 256;
    let held = sent + waits;
    let dialect = Dialect::OpenAi;
    let upstream = Upstream::start(|_| Reply::silence()).await;
    let (gateway, client) = gateway(&format!("base_url: \"{}/v1\", api_key: k, {limits}", upstream.url())).await;
    let alone = health_calls(gateway.url()).await;
    let before = gateway.resident_kib();
    let words = "hello ".repeat(11_000);
    let clients: Vec<_> = (0..CLIENTS)
        .map(|n| {
            let (client, request) =
                (client.clone(), if n % 2 == 0 { dialect.request("m", &words) } else { dialect.stream_request("m", &words) });
            let send = client
                .request(http::Method::POST, dialect.path())
                .header("content-type", "application/json")
                .body(request.to_string())
                .send();
            tokio::spawn(async move { send.await.expect("the gateway answers").status().as_u16() })
        })
        .collect();
    seen_when(&client, "/health", |h| h["refused"] == CLIENTS - held && h["in_flight"] == sent && h["queued"] == waits).await;
    upstream.request(sent - 1).await;
    let times = health_calls(gateway.url()).await;
    let grown = gateway.resident_kib().saturating_sub(before);
    let show = |times: &[Duration]| {
        let ms = |q: f64| times[((times.len() as f64 * q) as usize).min(times.len() - 1)].as_secs_f64() * 1e3;
        format!("p50 {:.2} ms, p99 {:.2} ms, at most {:.2} ms", ms(0.5), ms(0.99), ms(1.0))
    };
    println!(
        "{CLIENTS} clients on a hanging upstream, {held} of them held: /health {}; before they came {}; {grown} KiB more",
        show(&times),
        show(&alone)
    );
    assert!(times[times.len() / 2] < HEALTHY, "{}", show(&times));
    // Each body once or twice, what its connections keep, and room for the allocator.
    assert!(grown < bound, "{grown} KiB");
    let mut refused = 0;
    let mut waiting = Vec::new();
    for client in clients {
        if client.is_finished() {
            assert_eq!(client.await.expect("it does not panic"), 503);
            refused += 1;
        } else {
            waiting.push(client);
        }
    }
    assert!(refused + waiting.len() == CLIENTS && waiting.len() >= held, "{refused} refused");
    // Afterwards, whoever waits takes the place of one that leaves, until it leaves itself.
    assert_eq!(upstream.received().len(), sent, "those that waited were never sent");
    waiting.iter().for_each(tokio::task::JoinHandle::abort);
    seen_when(&client, "/health", |h| h["in_flight"] == 0 && h["queued"] == 0).await;
}
