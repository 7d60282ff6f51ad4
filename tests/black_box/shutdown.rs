//! The end of a gateway while two hundred streams are open.

use std::time::Duration;

use futures_util::future::join_all;
use wasmgate_tests::answers::{Says, TEXT};
use wasmgate_tests::client::Event;
use wasmgate_tests::{Client, Dialect, Events, Gate, Gateway, Reply, Step, Upstream, soon};

use crate::{extensions, setup};

const STREAMS: usize = 200;

/// Dialects take turns.
fn dialect(n: usize) -> Dialect {
    Dialect::ALL[n % Dialect::ALL.len()]
}

/// Half of them may end when the test says so, the others never do by themselves.
fn may_end(n: usize) -> bool {
    (n / 2).is_multiple_of(2)
}

async fn open(client: &Client, n: usize) -> Events {
    let wish = dialect(n).stream_request(if may_end(n) { "held" } else { "endless" }, "x");
    let mut stream = client.stream(dialect(n).path(), &wish).await;
    assert_eq!(stream.status, 200, "{}", stream.text());
    stream.next().await.expect("the stream has begun");
    stream
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_hundred_streams_end_or_are_told_and_each_is_in_the_books() {
    let gates: Vec<Gate> = (0..STREAMS).map(|_| Gate::default()).collect();
    let (held, next) = (gates.clone(), std::sync::atomic::AtomicUsize::new(0));
    let upstream = Upstream::start(move |r| {
        let events = Says::text(TEXT).stream(Dialect::OpenAi, &r.model());
        let begin = Step::Send(events[..3].concat().into());
        if r.model() == "endless" {
            return Reply::events(vec![begin, Step::Hang]);
        }
        let gate = held[next.fetch_add(1, std::sync::atomic::Ordering::Relaxed)].clone();
        Reply::events(vec![begin, Step::Wait(gate), Step::Send(events[3..].concat().into())])
    })
    .await;
    let config = setup::config(&setup::provider(Dialect::OpenAi, &upstream), &extensions::fixture("probe", ""));
    let gateway = Gateway::builder(&config).set("server.shutdown_timeout=6s").start().await;
    // HTTP/1.1 has a connection for each; HTTP/2 has all of them on one.
    let (h1, h2) = (Client::new(&gateway), Client::h2c(&gateway));
    let streams = join_all((0..STREAMS).map(|n| open(if n % 4 < 2 { &h1 } else { &h2 }, n))).await;
    let ids: Vec<String> = streams.iter().map(|s| s.header("x-request-id").to_owned()).collect();

    gateway.terminate();
    gateway.log_line("stopping", |l| l["message"].as_str().is_some_and(|m| m.starts_with("stopping"))).await;
    let refused = async {
        while std::net::TcpStream::connect(gateway.address()).is_ok() {
            tokio::task::yield_now().await;
        }
    };
    soon("refusal of new connections", refused).await;
    gates.iter().for_each(Gate::open);

    let rest = join_all(streams.into_iter().enumerate().map(async |(n, mut stream)| {
        let events: Vec<Event> = stream.rest().await;
        assert_eq!(stream.broken, None, "stream {n}: its connection ends as it should");
        (n, Event::all(&stream.text()), events)
    }))
    .await;
    for (n, all, _) in rest {
        if may_end(n) {
            assert_eq!(dialect(n).streamed_text(&all), TEXT, "stream {n}");
            assert!(dialect(n).is_end(all.last().unwrap()), "stream {n}: {all:?}");
        } else {
            let (_, message) = dialect(n).broken(&all);
            assert!(message.contains("stopped"), "stream {n}: {message}");
        }
    }
    let (status, log) = gateway.ended().await;
    assert_eq!(status.code(), Some(0), "{log}");
    for (n, id) in ids.iter().enumerate() {
        let ending = if may_end(n) { "success" } else { "error" };
        let told = log.lines().filter(|l| l.contains(&format!("over: {id} "))).collect::<Vec<_>>();
        assert!(told.len() == 1 && told[0].contains(&format!("over: {id} {ending} ")), "stream {n} is told once, as {ending}: {told:?}");
    }
}

#[tokio::test]
async fn whoever_waits_for_a_whole_answer_gets_an_error_of_the_dialect() {
    for dialect in Dialect::ALL {
        let upstream = Upstream::start(|_| Reply::silence()).await;
        let config = setup::config(&setup::provider(Dialect::OpenAi, &upstream), "");
        let gateway = Gateway::builder(&config).set("server.shutdown_timeout=200ms").start().await;
        let client = Client::new(&gateway);
        let waiting = tokio::spawn(async move { client.post(dialect.path(), &dialect.request("m", "x")).await });
        upstream.request(0).await;
        gateway.terminate();
        let answer = soon("answer", waiting).await.expect("the client does not panic");
        assert!(answer.status >= 500, "{}", answer.status);
        let (_, message) = dialect.error(&answer.json());
        assert!(message.contains("stopped"), "{message}");
        let (status, log) = gateway.ended().await;
        assert_eq!(status.code(), Some(0), "{log}");
    }
}

#[tokio::test]
async fn a_stream_outlives_every_timeout_of_the_listener() {
    // Each is shorter than the stream is; none of them is about a stream that is read.
    let gate = Gate::default();
    let held = gate.clone();
    let upstream = Upstream::start(move |r| {
        let events = Says::text(TEXT).stream(Dialect::OpenAi, &r.model());
        Reply::events(vec![Step::Send(events[..3].concat().into()), Step::Wait(held.clone()), Step::Send(events[3..].concat().into())])
    })
    .await;
    let config = setup::config(&setup::provider(Dialect::OpenAi, &upstream), "");
    let short = |name: &str| format!("server.{name}=1s");
    let builder = Gateway::builder(&config).set(short("header_timeout")).set(short("body_timeout")).set(short("send_timeout"));
    let gateway = builder.start().await;
    let client = Client::new(&gateway);
    let mut stream = client.stream(Dialect::OpenAi.path(), &Dialect::OpenAi.stream_request("m", "x")).await;
    let mut events = vec![stream.next().await.expect("the stream has begun")];
    // An idle connection that began later is closed by the same timeout: then it would have closed the stream's too.
    let idle = wasmgate_tests::client::raw(&gateway, b"");
    assert_eq!(soon("end of an idle connection", idle).await, "");
    let idle = wasmgate_tests::client::raw(&gateway, b"GET /health HTTP/1.1\r\nhost: x\r\n");
    tokio::time::timeout(Duration::from_secs(30), idle).await.expect("a head that does not end is not waited for");
    gate.open();
    events.extend(stream.rest().await);
    assert_eq!(Dialect::OpenAi.streamed_text(&events), TEXT);
}
