//! Many at once, and the ways to connect.

use std::collections::BTreeSet;

use futures_util::future::join_all;
use http::Version;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use wasmgate_tests::answers::{Says, TEXT};
use wasmgate_tests::{Client, Dialect, Gate, Reply, Step, Upstream, client, soon};

use crate::setup;

/// Streams at once, in both dialects together.
const STREAMS: usize = 200;

#[tokio::test]
async fn two_hundred_streams_at_once_are_all_complete() {
    // Every stream stops half-way until all have begun, so that they really run at the same time.
    let gates: Vec<Gate> = (0..STREAMS).map(|_| Gate::default()).collect();
    let held = gates.clone();
    let format = Dialect::OpenAi;
    let upstream = Upstream::start(move |r| {
        let number: usize = r.model().parse().expect("the model is the stream's number");
        let mut events = Says::text(TEXT).stream(format, &r.model());
        let rest = events.split_off(4);
        Reply::events(vec![Step::Send(events.concat().into()), Step::Wait(held[number].clone()), Step::Send(rest.concat().into())])
    })
    .await;
    let (_gateway, client) = setup::gateway(format, &upstream).await;
    let begun = join_all((0..STREAMS).map(|n| {
        let client = client.clone();
        async move {
            let dialect = Dialect::ALL[n % 2];
            let mut stream = client.stream(dialect.path(), &dialect.stream_request(&n.to_string(), "hello")).await;
            assert_eq!(stream.status, 200, "stream {n}");
            let first = stream.next().await.expect("a first event");
            (dialect, stream, vec![first])
        }
    }));
    let begun = soon("beginning of all streams", begun).await;
    assert_eq!(upstream.received().len(), STREAMS);
    gates.iter().for_each(Gate::open);
    let ended = join_all(begun.into_iter().enumerate().map(|(n, (dialect, mut stream, mut events))| async move {
        events.extend(stream.rest().await);
        assert_eq!(dialect.streamed_text(&events), TEXT, "stream {n}: {}", stream.text());
        assert!(dialect.is_end(events.last().expect("events")), "stream {n}: {}", stream.text());
        assert!(stream.text().contains(&format!("\"model\":\"{n}\"")), "stream {n} is another one's: {}", stream.text());
        stream.header("x-request-id").to_owned()
    }));
    let ids: BTreeSet<String> = soon("end of all streams", ended).await.into_iter().collect();
    assert_eq!(ids.len(), STREAMS, "each has its own id");
    setup::assert_record(&client, ids.first().unwrap(), "success").await;
}

#[tokio::test]
async fn http2_without_tls_works() {
    let upstream = setup::friendly(Dialect::OpenAi).await;
    let (gateway, _) = setup::gateway(Dialect::OpenAi, &upstream).await;
    let client = Client::h2c(&gateway);
    for dialect in Dialect::ALL {
        let answer = client.post(dialect.path(), &dialect.request("m", "hello")).await;
        assert_eq!((answer.status, answer.version), (200, Version::HTTP_2));
        assert_eq!(dialect.text(&answer.json()), TEXT);
    }
    // Many streams of one connection.
    let answers = join_all((0..50).map(|n| {
        let (client, dialect) = (client.clone(), Dialect::ALL[n % 2]);
        async move { dialect.streamed_text(&client.stream(dialect.path(), &dialect.stream_request("m", "x")).await.rest().await) }
    }))
    .await;
    assert!(answers.iter().all(|a| a == TEXT));
    assert_eq!(client.get("/health").await.version, Version::HTTP_2);
}

/// What a client that speaks HTTP/2 begins with, and its empty SETTINGS frame.
const H2_OPENING: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";

#[tokio::test]
async fn the_protocol_is_told_by_the_first_bytes_however_they_arrive() {
    let upstream = setup::friendly(Dialect::OpenAi).await;
    let (gateway, client) = setup::gateway(Dialect::OpenAi, &upstream).await;
    let request = b"GET /health HTTP/1.1\r\nhost: x\r\n\r\n";
    // `PR` begins like HTTP/2 and is none.
    let other = b"PROPFIND /health HTTP/1.1\r\nhost: x\r\n\r\n";
    for first in [1, 2, 3, 10, 30] {
        for (bytes, begins) in [(&request[..], &b"HTTP/1.1 200"[..]), (other, b"HTTP/1.1 405"), (H2_OPENING, b"\0\0")] {
            let mut stream = TcpStream::connect(gateway.address()).await.expect("the gateway listens");
            stream.set_nodelay(true).expect("a socket");
            stream.write_all(&bytes[..first]).await.expect("it is read");
            // By the time that this is answered, the first bytes have been seen.
            assert_eq!(client.get("/health").await.status, 200);
            stream.write_all(&bytes[first..]).await.expect("it is read");
            let mut answer = vec![0; begins.len()];
            soon("answer", stream.read_exact(&mut answer)).await.expect("the gateway answers");
            assert_eq!(answer, begins, "{} of {:?}", first, String::from_utf8_lossy(bytes));
        }
    }
}

#[tokio::test]
async fn connections_are_kept_and_requests_may_be_pipelined() {
    let upstream = setup::friendly(Dialect::OpenAi).await;
    let (gateway, _) = setup::gateway(Dialect::OpenAi, &upstream).await;
    let body = Dialect::OpenAi.request("m", "hello").to_string();
    let head = |more: &str| format!("POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\ncontent-length: {}\r\n{more}\r\n{body}", body.len());
    let said = client::raw(&gateway, format!("{}{}{}", head(""), head(""), head("connection: close\r\n")).as_bytes()).await;
    assert_eq!(said.matches("HTTP/1.1 200 OK").count(), 3, "{said}");
    assert_eq!(said.matches(TEXT).count(), 3, "{said}");
}

#[tokio::test]
async fn upstream_connections_are_used_again() {
    let upstream = setup::friendly(Dialect::OpenAi).await;
    let (_gateway, client) = setup::gateway(Dialect::OpenAi, &upstream).await;
    for _ in 0..5 {
        setup::assert_serves(&client, Dialect::OpenAi).await;
        let mut stream = client.stream(Dialect::Anthropic.path(), &Dialect::Anthropic.stream_request("m", "x")).await;
        assert_eq!(Dialect::Anthropic.streamed_text(&stream.rest().await), TEXT);
    }
    assert!(upstream.connections() <= 2, "ten requests in a row took {} connections", upstream.connections());
}

#[tokio::test]
async fn liveness_needs_no_extension() {
    let upstream = setup::friendly(Dialect::OpenAi).await;
    let (_gateway, client) = setup::gateway(Dialect::OpenAi, &upstream).await;
    let health = client.get("/health").await;
    assert_eq!((health.status, health.json()["status"].as_str()), (200, Some("ok")));
}
