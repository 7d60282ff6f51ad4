//! Stream filters see every event of every answer, streamed or complete, translated or not. The fixture `redacts` takes the word
//! `secret` out, and misbehaves for models of certain names.

use wasmgate_tests::answers::Says;
use wasmgate_tests::client::Event;
use wasmgate_tests::{Client, Dialect, Gate, Gateway, Reply, Step, Upstream};

use crate::{extensions, setup};

/// What the upstream says. In pieces of seven characters the word is torn apart.
const SAID: &str = "The word is secret, and a secretary keeps the sec short: secret";

/// What may come through.
const REDACTED: &str = "The word is [redacted], and a [redacted]ary keeps the sec short: [redacted]";

async fn gateway(format: Dialect, upstream: &Upstream, more: &str) -> (Gateway, Client) {
    let gateway = Gateway::start(&setup::config(&setup::provider(format, upstream), &extensions::fixture("redacts", more))).await;
    let client = Client::new(&gateway);
    (gateway, client)
}

async fn talkative(format: Dialect) -> Upstream {
    Upstream::start(move |r| Says::text(SAID).reply(format, r)).await
}

/// The answer to a model, complete and as a stream: status, text, and whether it ended cleanly.
async fn both(client: &Client, dialect: Dialect, model: &str) -> [(u16, String, bool); 2] {
    let unary = client.post(dialect.path(), &dialect.request(model, "x")).await;
    let text = if unary.status == 200 { dialect.text(&unary.json()) } else { dialect.error(&unary.json()).1 };
    let stream = client.post(dialect.path(), &dialect.stream_request(model, "x")).await;
    if stream.status != 200 {
        return [(unary.status, text, unary.status == 200), (stream.status, dialect.error(&stream.json()).1, false)];
    }
    let events = Event::all(&stream.text());
    let clean = dialect.is_end(events.last().expect("events"));
    if !clean {
        dialect.broken(&events);
    }
    [(unary.status, text, unary.status == 200), (200, dialect.streamed_text(&events), clean)]
}

#[tokio::test]
async fn a_word_is_taken_out_on_every_path() {
    for (dialect, format) in Dialect::PAIRS {
        let upstream = Upstream::start(move |r| {
            let whole = Says::text(SAID).stream(format, &r.model()).concat().into_bytes();
            match (r.is_stream(), r.model().as_str()) {
                (true, "whole") => Reply::stream([whole]),
                (true, "bytes") => Reply::events(vec![Step::Bytewise(whole)]),
                // A complete document in the place of the stream.
                (true, "document") => Reply::json(200, &Says::text(SAID).document(format, &r.model())),
                _ => Says::text(SAID).reply(format, r),
            }
        })
        .await;
        let (_gateway, client) = gateway(format, &upstream, "").await;
        for model in ["pieces", "whole", "bytes", "document"] {
            let [unary, stream] = both(&client, dialect, model).await;
            assert_eq!(unary, (200, REDACTED.into(), true), "{dialect:?} on {format:?}, {model}, unary");
            assert_eq!(stream, (200, REDACTED.into(), true), "{dialect:?} on {format:?}, {model}, stream");
        }
    }
}

#[tokio::test]
async fn who_does_not_look_costs_nothing() {
    for format in Dialect::ALL {
        let upstream = talkative(format).await;
        let (_gateway, client) = gateway(format, &upstream, "").await;
        let mut request = format.stream_request("unseen", "x");
        if format == Dialect::OpenAi {
            request["stream_options"] = serde_json::json!({"include_usage": true});
        }
        let answer = client.post(format.path(), &request).await;
        assert_eq!(answer.text(), Says::text(SAID).stream(format, "unseen").concat(), "the bytes are the provider's");
        let answer = client.post(format.path(), &format.request("unseen", "x")).await;
        assert_eq!(answer.text(), Says::text(SAID).document(format, "unseen").to_string());
    }
}

#[tokio::test]
async fn usage_is_counted_behind_a_filter() {
    for (dialect, format) in Dialect::PAIRS {
        let upstream = talkative(format).await;
        let (_gateway, client) = gateway(format, &upstream, "").await;
        for request in [dialect.request("m", "x"), dialect.stream_request("m", "x")] {
            let answer = client.post(dialect.path(), &request).await;
            let record = client.record(answer.header("x-request-id")).await;
            assert_eq!((record["outcome"].as_str(), record["usage"]["output_tokens"].as_u64()), (Some("success"), Some(12)), "{record}");
        }
    }
}

#[tokio::test]
async fn a_filter_can_end_an_answer_cleanly_and_the_upstream_with_it() {
    for (dialect, format) in Dialect::PAIRS {
        let upstream = Upstream::start(move |r| {
            if !r.is_stream() {
                return Says::text(SAID).reply(format, r);
            }
            let mut events = Says::text(SAID).stream(format, &r.model());
            events.truncate(6);
            Reply::events(vec![Step::Send(events.concat().into()), Step::Hang])
        })
        .await;
        let (_gateway, client) = gateway(format, &upstream, "").await;
        let stream = client.post(dialect.path(), &dialect.stream_request("stops", "x")).await;
        let events = Event::all(&stream.text());
        assert_eq!((stream.status, dialect.streamed_text(&events)), (200, String::new()), "{dialect:?} on {format:?}: {}", stream.text());
        assert!(dialect.is_end(events.last().expect("events")), "{dialect:?} on {format:?}: {}", stream.text());
        setup::assert_record(&client, stream.header("x-request-id"), "success").await;
        upstream.request(0).await.closed_after(std::time::Instant::now()).await;
        let unary = client.post(dialect.path(), &dialect.request("stops", "x")).await;
        assert_eq!(unary.status, 200, "{dialect:?} on {format:?}: {}", unary.text());
        assert!(!unary.text().contains("word"), "{}", unary.text());
    }
}

#[tokio::test]
async fn a_filter_can_refuse_an_answer() {
    for (dialect, format) in Dialect::PAIRS {
        // All of it in one read: nothing was sent yet.
        let upstream = Upstream::start(move |r| match r.is_stream() {
            true => Reply::stream([Says::text(SAID).stream(format, "rejects").concat()]),
            false => Says::text(SAID).reply(format, r),
        })
        .await;
        let (_gateway, client) = gateway(format, &upstream, "").await;
        for request in [dialect.request("rejects", "x"), dialect.stream_request("rejects", "x")] {
            let answer = client.post(dialect.path(), &request).await;
            if answer.status == 200 {
                // The batch that the filter saw goes first, then comes the error.
                assert_eq!(dialect.broken(&Event::all(&answer.text())).1, "not this answer", "{dialect:?} on {format:?}");
                continue;
            }
            assert_eq!(answer.status, 400, "{dialect:?} on {format:?}: {}", answer.text());
            assert_eq!(dialect.error(&answer.json()), ("invalid_request_error".into(), "not this answer".into()));
            assert!(!answer.text().contains("secret"), "{dialect:?} on {format:?}: {}", answer.text());
        }
        let unary = client.post(dialect.path(), &dialect.request("rejects", "x")).await;
        assert_eq!(unary.status, 400, "a complete answer is refused before any of it is sent");
    }
}

#[tokio::test]
async fn a_filter_can_refuse_an_answer_that_has_begun() {
    for (dialect, format) in Dialect::PAIRS {
        let gate = Gate::default();
        let held = gate.clone();
        let upstream = Upstream::start(move |r| {
            let mut events = Says::text(SAID).stream(format, &r.model());
            let rest = events.split_off(1);
            Reply::events(vec![Step::Send(events.concat().into()), Step::Wait(held.clone()), Step::Send(rest.concat().into())])
        })
        .await;
        let (_gateway, client) = gateway(format, &upstream, "").await;
        let mut stream = client.stream(dialect.path(), &dialect.stream_request("rejects", "x")).await;
        let mut events = vec![stream.next().await.expect("the answer begins")];
        gate.open();
        events.extend(stream.rest().await);
        assert_eq!(dialect.broken(&events).1, "not this answer", "{dialect:?} on {format:?}");
    }
}

#[tokio::test]
async fn a_filter_that_traps_lets_nothing_through() {
    for (dialect, format) in Dialect::PAIRS {
        let upstream = talkative(format).await;
        let (gateway, client) = gateway(format, &upstream, "").await;
        for request in [dialect.request("traps", "x"), dialect.stream_request("traps", "x")] {
            let answer = client.post(dialect.path(), &request).await;
            assert!(!answer.text().contains("The wor"), "{dialect:?} on {format:?}: {}", answer.text());
            match answer.status {
                200 => drop(dialect.broken(&Event::all(&answer.text()))),
                status => assert_eq!((status, dialect.error(&answer.json()).0.is_empty()), (500, false)),
            }
            setup::assert_record(&client, answer.header("x-request-id"), "error").await;
        }
        assert_eq!(both(&client, dialect, "m").await[1], (200, REDACTED.into(), true), "the next one is filtered as ever");
        gateway.log_line("the panic", |l| l.to_string().contains("the filter traps as it was asked to")).await;
    }
}

#[tokio::test]
async fn a_filter_that_may_be_skipped_is_when_it_traps() {
    for (dialect, format) in Dialect::PAIRS {
        let upstream = talkative(format).await;
        let (_gateway, client) = gateway(format, &upstream, "on_error: skip").await;
        for found in both(&client, dialect, "traps").await {
            assert_eq!(found, (200, SAID.into(), true), "{dialect:?} on {format:?}: nothing is lost");
        }
    }
}

/// An upstream that says something and then falls silent, until it is left.
async fn silent(format: Dialect) -> Upstream {
    Upstream::start(move |r| {
        let mut events = Says::text(SAID).stream(format, &r.model());
        events.truncate(6);
        Reply::events(vec![Step::Send(events.concat().into()), Step::Hang])
    })
    .await
}

#[tokio::test]
async fn holding_back_has_limits_of_time_and_size() {
    for (dialect, format) in Dialect::PAIRS {
        for (limit, limits) in [("hold_ms", "limits: {hold_ms: 200}"), ("hold_bytes", "limits: {hold_bytes: 3}")] {
            let upstream = silent(format).await;
            let (gateway, client) = gateway(format, &upstream, limits).await;
            let answer = client.post(dialect.path(), &dialect.stream_request("holds", "x")).await;
            assert!(!answer.text().contains("The wor"), "{dialect:?} on {format:?}: {}", answer.text());
            match answer.status {
                200 => drop(dialect.broken(&Event::all(&answer.text()))),
                status => assert_eq!((status, dialect.error(&answer.json()).0.is_empty()), (500, false)),
            }
            gateway.log_line(limit, |l| l["limit"] == limit && l["extension"] == "redacts").await;
            upstream.only().closed_after(std::time::Instant::now()).await;
        }
    }
}

#[tokio::test]
async fn what_is_held_back_too_long_goes_on_without_a_filter_that_may_be_skipped() {
    for (dialect, format) in Dialect::PAIRS {
        let upstream = silent(format).await;
        let (_gateway, client) = gateway(format, &upstream, "on_error: skip, limits: {hold_ms: 200}").await;
        let mut stream = client.stream(dialect.path(), &dialect.stream_request("holds", "x")).await;
        let mut events = Vec::new();
        // The upstream says nothing more, so only time can have let it go.
        while dialect.streamed_text(&events).is_empty() {
            events.push(stream.next().await.expect("what was held back"));
        }
        assert!(SAID.starts_with(&dialect.streamed_text(&events)), "{}", stream.text());
    }
}

#[tokio::test]
async fn what_is_held_back_at_the_end_goes_on() {
    for (dialect, format) in Dialect::PAIRS {
        let upstream = talkative(format).await;
        let (_gateway, client) = gateway(format, &upstream, "limits: {hold_ms: 20000}").await;
        for found in both(&client, dialect, "holds").await {
            assert_eq!(found, (200, SAID.into(), true), "{dialect:?} on {format:?}");
        }
    }
}

#[tokio::test]
async fn a_filtered_stream_that_breaks_ends_with_an_error() {
    for (dialect, format) in Dialect::PAIRS {
        let upstream = Upstream::start(move |r| {
            let mut events = Says::text(SAID).stream(format, &r.model());
            // Not in the middle of the word, whose beginning would come out alone.
            events.truncate(if format == Dialect::Responses { 7 } else { 6 });
            Reply::events(vec![Step::Send(events.concat().into()), Step::Cut])
        })
        .await;
        let (_gateway, client) = gateway(format, &upstream, "").await;
        let answer = client.post(dialect.path(), &dialect.stream_request("m", "x")).await;
        let events = Event::all(&answer.text());
        dialect.broken(&events);
        assert!(REDACTED.starts_with(&dialect.streamed_text(&events)), "{dialect:?} on {format:?}: {}", answer.text());
        setup::assert_record(&client, answer.header("x-request-id"), "error").await;
    }
}
