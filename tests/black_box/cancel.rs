//! A client that goes away cancels its request upstream, at once.

use std::time::{Duration, Instant};

use wasmgate_tests::answers::{Says, TEXT};
use wasmgate_tests::{Client, Dialect, Gateway, Reply, Step, Upstream, soon};

use crate::setup;

/// The rule is 50 ms (docs/request-life.md); this is what a busy machine may need at most.
const PROMPTLY: Duration = Duration::from_secs(1);

async fn probe_gateway(format: Dialect, upstream: &Upstream) -> (Gateway, Client) {
    let gateway = Gateway::start(&setup::config(&setup::provider(format, upstream), &crate::extensions::fixture("probe", ""))).await;
    let client = Client::new(&gateway);
    (gateway, client)
}

/// What must be seen of a request whose client left: the upstream's connection is closed, and everybody is told once.
async fn assert_cancelled(gateway: &Gateway, client: &Client, upstream: &Upstream, id: &str, left: Instant, what: &str) {
    let took = upstream.only().closed_after(left).await;
    println!("{what}: upstream closed {:.1} ms after the client left", took.as_secs_f64() * 1e3);
    assert!(took < PROMPTLY, "{what}: it took {took:?}");
    let record = client.record(id).await;
    assert_eq!((record["outcome"].as_str(), record["status"].as_u64().is_some()), (Some("cancelled"), true), "{what}: {record}");
    assert_eq!(client.get(&format!("/probe/count/{id}")).await.text(), "1", "{what}: on-complete runs once");
    gateway.log_line("the end of the request", |l| l["request_id"] == id && l["ending"] == "cancelled").await;
}

#[tokio::test]
async fn while_it_waits_for_a_complete_answer() {
    for (dialect, format) in Dialect::PAIRS {
        let upstream = Upstream::start(|_| Reply::silence()).await;
        let (gateway, client) = probe_gateway(format, &upstream).await;
        let request = client
            .request(http::Method::POST, dialect.path())
            .header("x-request-id", "left-early")
            .body(dialect.request("m", "hello").to_string());
        let waiting = tokio::spawn(request.send());
        upstream.request(0).await;
        let left = Instant::now();
        waiting.abort();
        assert_cancelled(&gateway, &client, &upstream, "left-early", left, &format!("{dialect:?} on {format:?}, unary")).await;
    }
}

#[tokio::test]
async fn in_the_middle_of_a_stream() {
    for (dialect, format) in Dialect::PAIRS {
        let upstream = Upstream::start(move |r| {
            let mut events = Says::text(TEXT).stream(format, &r.model());
            events.truncate(5);
            Reply::events(vec![Step::Send(events.concat().into()), Step::Hang])
        })
        .await;
        let (gateway, client) = probe_gateway(format, &upstream).await;
        let mut stream = client.stream(dialect.path(), &dialect.stream_request("m", "hello")).await;
        let id = stream.header("x-request-id").to_owned();
        stream.next().await.expect("the stream has begun");
        let left = Instant::now();
        drop(stream);
        assert_cancelled(&gateway, &client, &upstream, &id, left, &format!("{dialect:?} on {format:?}, stream")).await;
    }
}

#[tokio::test]
async fn before_the_first_event_of_a_stream() {
    for (dialect, format) in Dialect::PAIRS {
        // The head of the answer is there, but nothing that could be sent on.
        let upstream = Upstream::start(|_| Reply::events(vec![Step::Hang])).await;
        let (gateway, client) = probe_gateway(format, &upstream).await;
        let request = client
            .request(http::Method::POST, dialect.path())
            .header("x-request-id", "left-early")
            .body(dialect.stream_request("m", "hello").to_string());
        let waiting = tokio::spawn(request.send());
        upstream.request(0).await;
        let left = Instant::now();
        waiting.abort();
        assert_cancelled(&gateway, &client, &upstream, "left-early", left, &format!("{dialect:?} on {format:?}, no event yet")).await;
    }
}

#[tokio::test]
async fn one_http2_stream_of_a_connection_that_stays() {
    let upstream = Upstream::start(|r| if r.model() == "m" { Reply::silence() } else { Says::text(TEXT).reply(Dialect::OpenAi, r) }).await;
    let (gateway, _) = probe_gateway(Dialect::OpenAi, &upstream).await;
    let client = Client::h2c(&gateway);
    let dialect = Dialect::OpenAi;
    let request = client
        .request(http::Method::POST, dialect.path())
        .header("x-request-id", "left-early")
        .body(dialect.request("m", "hello").to_string());
    let waiting = tokio::spawn(request.send());
    let received = upstream.request(0).await;
    let left = Instant::now();
    waiting.abort();
    let took = soon("close", received.closed_after(left)).await;
    assert!(took < PROMPTLY, "it took {took:?}");
    setup::assert_serves(&client, dialect).await;
}
