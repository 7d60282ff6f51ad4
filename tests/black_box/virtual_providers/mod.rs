//! Virtual providers: who answers, what everybody is told of it, and that nothing of the others gets through.

mod balance;
mod config;
mod fallback;
mod faults;
mod hooks;
mod races;
mod racing;

use serde_json::{Value, json};
use wasmgate_tests::answers::{Says, error};
use wasmgate_tests::{Answer, Client, Dialect, Gateway, Reply, Upstream, soon};

use crate::{extensions, setup};

/// What each upstream says, so that nobody is mistaken for another one.
pub const TEXTS: [&str; 3] = [
    "The first one speaks: north, south, east and west, and all that lies between.",
    "Der Zweite antwortet: Grüße, 🌊 und viele kleine Wörter, eines nach dem anderen.",
    "Third and last: one two three four five six seven eight nine ten eleven twelve.",
];

/// Names of the upstreams in the configuration.
pub const NAMES: [&str; 3] = ["one", "two", "three"];

/// An upstream that answers with its text.
pub async fn good(n: usize, format: Dialect) -> Upstream {
    Upstream::start(move |r| Says::text(TEXTS[n]).reply(format, r)).await
}

/// An upstream that always answers with this error.
pub async fn failing(format: Dialect, status: u16, kind: &'static str) -> Upstream {
    Upstream::start(move |_| Reply::json(status, &error(format, kind, "scripted"))).await
}

/// A gateway in front of upstreams, named as in [`NAMES`], with virtual providers and the fixture `tries`.
pub async fn gateway(upstreams: &[(Dialect, &Upstream)], virtuals: &str) -> (Gateway, Client) {
    gateway_with(upstreams, virtuals, "").await
}

/// The same with more extensions.
pub async fn gateway_with(upstreams: &[(Dialect, &Upstream)], virtuals: &str, more: &str) -> (Gateway, Client) {
    let native: String =
        upstreams.iter().zip(NAMES).map(|((format, upstream), name)| setup::named_provider(name, *format, &upstream.url())).collect();
    let gateway = Gateway::start(&setup::config(&format!("{native}{virtuals}"), &(extensions::fixture("tries", "") + more))).await;
    let client = Client::new(&gateway);
    (gateway, client)
}

/// What `attempts` and `on-complete` told of a request, in this order and once each: the tries, and the rest.
pub async fn told(client: &Client, id: &str) -> (Vec<Value>, Value) {
    let path = format!("/tries/{id}");
    let told = async {
        loop {
            let text = client.get(&path).await.text();
            if text.lines().count() >= 2 {
                return text;
            }
            tokio::task::yield_now().await;
        }
    };
    let text = soon(&format!("end of the request {id}"), told).await;
    let lines: Vec<Value> = text.lines().map(|l| serde_json::from_str(l).expect("a line of the fixture")).collect();
    assert_eq!(lines.len(), 2, "each hook is called once: {text}");
    (lines[0]["tries"].as_array().expect("the first hook tells the tries").clone(), lines[1].clone())
}

/// Provider and part of each try, in order.
pub fn parts(tries: &[Value]) -> Vec<(&str, &str)> {
    tries.iter().map(|t| (t["provider"].as_str().expect("a name"), t["part"].as_str().expect("a part"))).collect()
}

/// Asks for a model with one message, complete or as a stream, and reads all of it.
pub async fn ask(client: &Client, dialect: Dialect, model: &str, stream: bool) -> Answer {
    let request = if stream { dialect.stream_request(model, "x") } else { dialect.request(model, "x") };
    client.post(dialect.path(), &request).await
}

/// The text of an answer that is complete and well.
#[track_caller]
pub fn text(dialect: Dialect, answer: &Answer, stream: bool) -> String {
    assert_eq!(answer.status, 200, "{}", answer.text());
    if !stream {
        return dialect.text(&answer.json());
    }
    let events = wasmgate_tests::client::Event::all(&answer.text());
    assert_eq!(events.iter().filter(|e| dialect.is_end(e)).count(), 1, "{}", answer.text());
    assert!(events.last().is_some_and(|e| dialect.is_end(e)), "{}", answer.text());
    dialect.streamed_text(&events)
}

/// The id of a request.
pub fn id(answer: &Answer) -> String {
    answer.header("x-request-id").to_owned()
}

/// A document with these members and no others is in another one.
#[track_caller]
pub fn assert_has(document: &Value, members: &Value) {
    for (name, value) in members.as_object().expect("an object") {
        assert_eq!(&document[name], value, "`{name}` of {document}");
    }
}

/// The usual virtual providers over all upstreams.
pub fn all(kind: &str, more: &str) -> String {
    let names = json!(NAMES);
    format!("  v: {{type: {kind}, config: {{providers: {names}{more}}}}}\n")
}
