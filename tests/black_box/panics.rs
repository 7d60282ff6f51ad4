//! A panic in every hook (fixture `panics`): the caller gets an error in its own words, nothing of the reason, and the next request works.

use serde_json::json;
use wasmgate_tests::answers::{Says, TEXT};
use wasmgate_tests::client::Event;
use wasmgate_tests::{Client, Dialect, Gateway, Reply, Upstream};

use crate::{attacks, extensions, setup};

/// The fixture's own dialect, which speaks as OpenAI's does.
const OWN: &str = "/panics/chat/completions";

/// Answers, and refuses requests for `boom` when it is told to.
async fn upstream(format: Dialect, refuses: bool) -> Upstream {
    Upstream::start(move |r| match refuses && r.model() == "boom" {
        true => Reply::json(400, &json!({"error": {"message": "no", "type": "invalid_request_error", "param": null, "code": null}})),
        false => Says::text(TEXT).reply(format, r),
    })
    .await
}

async fn gateway(upstream: &Upstream, format: Dialect, hook: &str) -> (Gateway, Client) {
    let panics = extensions::fixture("panics", &format!("config: {{hook: {hook}}}"));
    let gateway = Gateway::start(&setup::config(&setup::provider(format, upstream), &panics)).await;
    let client = Client::new(&gateway);
    (gateway, client)
}

/// What a caller gets instead of an answer.
#[derive(Debug, Clone, Copy)]
enum Gets {
    /// An error with this status, in the caller's dialect.
    Error(u16),
    /// The host's own words, because the dialect has none left.
    Plain(u16),
    /// An error, or a stream that does not end as a complete one does.
    NoEnd,
    /// Its answer.
    Answer,
}

/// Whether an answer is what it should be.
fn assert_gets(gets: Gets, dialect: Dialect, answer: &wasmgate_tests::Answer, what: &str) {
    assert!(!answer.text().contains("the fixture panics"), "{what}: the reason is for the operator: {}", answer.text());
    match gets {
        Gets::Error(status) => {
            assert_eq!(answer.status, status, "{what}: {}", answer.text());
            dialect.error(&answer.json());
        }
        Gets::Plain(status) => {
            assert_eq!(answer.status, status, "{what}: {}", answer.text());
            assert!(answer.json()["error"]["message"].is_string(), "{what}: {}", answer.text());
        }
        Gets::NoEnd if answer.status == 200 => {
            assert!(!Event::all(&answer.text()).iter().any(|e| dialect.is_end(e)), "{what}: {}", answer.text());
        }
        Gets::NoEnd => {
            assert_eq!(answer.status, 500, "{what}: {}", answer.text());
            dialect.error(&answer.json());
        }
        Gets::Answer => assert_eq!((answer.status, dialect.text(&answer.json()).as_str()), (200, TEXT), "{what}"),
    }
}

#[tokio::test]
async fn in_a_dialect() {
    let format = Dialect::Anthropic;
    for (hook, stream, refuses, gets) in [
        ("accept", false, false, Gets::Error(500)),
        ("accept", true, false, Gets::Error(500)),
        ("decode", false, false, Gets::Error(500)),
        ("decode", true, false, Gets::Error(500)),
        ("encode_answer", false, false, Gets::Error(500)),
        ("encode_error", false, true, Gets::Plain(400)),
        ("encode_error", true, true, Gets::Plain(400)),
        ("encoder", true, false, Gets::NoEnd),
        ("encoder_events", true, false, Gets::NoEnd),
        ("encoder_finish", true, false, Gets::NoEnd),
        ("encoder_destructor", true, false, Gets::NoEnd),
    ] {
        let upstream = upstream(format, refuses).await;
        let (gateway, client) = gateway(&upstream, format, hook).await;
        let what = format!("{hook}, stream={stream}");
        for _ in 0..2 {
            let mut request = Dialect::OpenAi.request("boom", "x");
            request["stream"] = json!(stream);
            assert_gets(gets, Dialect::OpenAi, &client.post(OWN, &request).await, &what);
            let answer = client.post(OWN, &Dialect::OpenAi.request("good", "x")).await;
            assert_eq!((answer.status, Dialect::OpenAi.text(&answer.json()).as_str()), (200, TEXT), "{what}: the next one");
        }
        let said = format!("the fixture panics in {hook}");
        gateway.log_line(&said, |l| l["level"] == "ERROR" && l["extension"] == "panics" && l.to_string().contains(&said)).await;
        attacks::assert_unharmed(&client, "panics").await;
    }
}

#[tokio::test]
async fn in_a_hook_of_the_pipeline() {
    for (hook, refuses, gets) in [
        ("before_generate", false, Gets::Error(500)),
        ("on_provider_selected", false, Gets::Error(500)),
        ("on_provider_error", true, Gets::Error(500)),
        ("filter_open", false, Gets::Error(500)),
        ("filter_events", false, Gets::Error(500)),
        ("filter_destructor", false, Gets::Error(500)),
        ("after_generate", false, Gets::Error(500)),
        ("on_complete", false, Gets::Answer),
    ] {
        let upstream = upstream(Dialect::OpenAi, refuses).await;
        let (gateway, client) = gateway(&upstream, Dialect::OpenAi, hook).await;
        for dialect in Dialect::ALL {
            let answer = client.post(dialect.path(), &dialect.request("boom", "x")).await;
            assert_gets(gets, dialect, &answer, &format!("{hook} of {dialect:?}"));
            // What is complete is complete for all that look at it.
            let ending = if matches!(gets, Gets::Answer) { "success" } else { "error" };
            setup::assert_record(&client, answer.header("x-request-id"), ending).await;
        }
        let said = format!("the fixture panics in {hook}");
        gateway.log_line(&said, |l| l["level"] == "ERROR" && l["extension"] == "panics" && l.to_string().contains(&said)).await;
        attacks::assert_unharmed(&client, "panics").await;
    }
}

#[tokio::test]
async fn in_a_judge() {
    let upstream = setup::friendly(Dialect::OpenAi).await;
    let asks = extensions::fixture("asks", "grant: [generate, wasi]");
    let panics = extensions::fixture("panics", "config: {hook: judge}");
    let gateway = Gateway::start(&setup::config(&setup::provider(Dialect::OpenAi, &upstream), &format!("{asks}{panics}"))).await;
    let client = Client::new(&gateway);
    for dialect in Dialect::ALL {
        let answer = client.post(dialect.path(), &dialect.request("ask-the-judge", "x")).await;
        assert_eq!(answer.status, 200, "who asked the judge gets an error as a value: {}", answer.text());
        assert!(dialect.text(&answer.json()).starts_with("[internal"), "{}", answer.text());
        assert!(!answer.text().contains("the fixture panics"), "{}", answer.text());
    }
    gateway.log_line("the panic", |l| l["extension"] == "panics" && l.to_string().contains("the fixture panics in judge")).await;
    attacks::assert_unharmed(&client, "panics").await;
}

#[tokio::test]
async fn in_its_last_call() {
    let upstream = setup::friendly(Dialect::OpenAi).await;
    let (gateway, client) = gateway(&upstream, Dialect::OpenAi, "shutdown").await;
    attacks::assert_unharmed(&client, "panics").await;
    let (status, log) = gateway.stop().await;
    assert!(status.success(), "{log}");
    assert!(log.contains("the fixture panics in shutdown"), "{log}");
}
