//! Many at once, and the ways to connect.

use std::collections::BTreeSet;

use futures_util::future::join_all;
use http::Version;
use wasmgate_tests::answers::{Says, TEXT};
use wasmgate_tests::{Client, Dialect, Gate, Gateway, Reply, Step, Upstream, client, soon};

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

/// Streams whose memory is measured.
const MANY: usize = 2_000;

/// What an open stream may take, in KiB: two connections, and for every other one its translation with an instance of the dialect.
const KIB_PER_STREAM: u64 = 150;

#[tokio::test]
async fn two_thousand_open_streams_take_their_share_of_memory() {
    let files = rustix::process::getrlimit(rustix::process::Resource::Nofile);
    if files.maximum.is_some_and(|most| most < 3 * MANY as u64) {
        println!("SKIPPED: {:?} open files are too few for {MANY} streams", files.maximum);
        return;
    }
    let all = rustix::process::Rlimit { current: files.maximum, ..files };
    rustix::process::setrlimit(rustix::process::Resource::Nofile, all).expect("the soft limit can be raised to the hard one");
    let format = Dialect::OpenAi;
    let upstream = Upstream::start(move |r| {
        let mut events = Says::text(TEXT).stream(format, &r.model());
        events.truncate(4);
        Reply::events(vec![Step::Send(events.concat().into()), Step::Hang])
    })
    .await;
    let config = setup::config(&setup::provider(format, &upstream), "");
    let gateway = Gateway::builder(&config).set("logging.level=warn,wasmgate::cli=info").start().await;
    let client = Client::new(&gateway);
    let open = async |count: usize| {
        let mut streams = Vec::with_capacity(count);
        for n in 0..count {
            let dialect = Dialect::ALL[n % 2];
            let mut stream = client.stream(dialect.path(), &dialect.stream_request("m", "hello")).await;
            assert_eq!(stream.status, 200, "stream {n}");
            stream.next().await.expect("a first event");
            streams.push(stream);
        }
        streams
    };
    drop(open(20).await);
    let before = gateway.resident_kib();
    let streams = open(MANY).await;
    let during = gateway.resident_kib();
    let each = (during - before) as f64 / MANY as f64;
    println!("{MANY} open streams: {each:.1} KiB each ({before} KiB before, {during} KiB during)");
    assert!(during - before <= KIB_PER_STREAM * MANY as u64, "{each:.1} KiB for each stream");
    drop(streams);
    assert_eq!(client.get("/health").await.status, 200);
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
