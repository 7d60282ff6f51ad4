//! Swaps: what the gate lets in and what it refuses, and that nobody who is being served notices. The fixture `swaps` leaves the mark
//! of its version on every response (`x-swaps`) and on every piece of text.

use std::collections::BTreeSet;

use http::Method;
use serde_json::{Value, json};
use wasmgate_tests::answers::{Says, TEXT};
use wasmgate_tests::operator::{STEPS, digest};
use wasmgate_tests::versions::unmarked;
use wasmgate_tests::{Answer, Client, Dialect, Gate, Gateway, Reply, Step, Upstream, Version, client, component, soon};

use crate::{extensions, setup};

/// Both dialects, routing and version 0.1.0 of `swaps`, mark `one`, in front of an upstream. `deploy` is more of that section; what
/// depends on how busy the machine is judges nobody.
pub fn config(format: Dialect, upstream: &Upstream, deploy: &str) -> String {
    setup::config(&setup::provider(format, upstream), &format!("{}{}", extensions::fixture("swaps", ""), section(deploy)))
}

/// The section `deploy`.
pub fn section(more: &str) -> String {
    format!("deploy: {{max_cost_ratio: 1000{}{more}}}\n", if more.is_empty() { "" } else { ", " })
}

/// A gateway with that configuration.
pub async fn gateway(format: Dialect, upstream: &Upstream, deploy: &str) -> (Gateway, Client) {
    let gateway = Gateway::start(&config(format, upstream, deploy)).await;
    let client = Client::new(&gateway);
    (gateway, client)
}

/// A request of a caller with a key, or of one without.
pub async fn ask(client: &Client, dialect: Dialect, key: Option<&str>) -> Answer {
    let body = dialect.request("m", "x").to_string();
    let mut request = client.request(Method::POST, dialect.path()).header("content-type", "application/json").body(body);
    if let Some(key) = key {
        request = match dialect {
            Dialect::OpenAi | Dialect::Responses => request.header("authorization", format!("Bearer {key}")),
            Dialect::Anthropic => request.header("x-api-key", key),
        };
    }
    client.send(request).await
}

/// The mark of the version that made an answer, which must be good and of one version.
#[track_caller]
pub fn mark(dialect: Dialect, answer: &Answer) -> String {
    assert_eq!(answer.status, 200, "{}", answer.text());
    let mark = answer.header("x-swaps").to_owned();
    assert_eq!(unmarked(&dialect.text(&answer.json())), (BTreeSet::from([mark.clone()]), TEXT.to_owned()));
    assert!(generation(answer.header("x-wasmgate-generation")) > 0);
    mark
}

/// The mark that callers get now, whatever they speak.
pub async fn current_mark(client: &Client) -> String {
    let marks = [
        mark(Dialect::OpenAi, &ask(client, Dialect::OpenAi, None).await),
        mark(Dialect::Anthropic, &ask(client, Dialect::Anthropic, None).await),
    ];
    assert_eq!(marks[0], marks[1]);
    marks[0].clone()
}

#[track_caller]
fn generation(header: &str) -> u64 {
    header.parse().unwrap_or_else(|_| panic!("`{header}` is no generation"))
}

/// The version goes on, for callers and in what operators see.
pub async fn assert_serves(client: &Client, version: &str, mark: &str) {
    assert_eq!(current_mark(client).await, mark);
    let extension = client.extension("swaps").await;
    assert_eq!((&extension["version"], &extension["candidate"]), (&json!(version), &Value::Null), "{extension}");
}

/// An upstream that waits in the middle of each stream until the gate is opened.
async fn waiting(format: Dialect, gate: &Gate) -> Upstream {
    let held = gate.clone();
    Upstream::start(move |r| {
        if !r.is_stream() {
            return Says::text(TEXT).reply(format, r);
        }
        let events = Says::text(TEXT).stream(format, &r.model());
        Reply::events(vec![Step::Send(events[..4].concat().into()), Step::Wait(held.clone()), Step::Send(events[4..].concat().into())])
    })
    .await
}

// === refused ===

/// A component that the gate must refuse, the step that does, and words of its reason. Without a step, any may.
type Refusal = (&'static str, Vec<u8>, &'static str, &'static [&'static str]);

fn refusals() -> Vec<Refusal> {
    let behaving = |behaviour: &str| Vec::from(&Version::swaps("0.2.0", "two", behaviour));
    let good = behaving("plain");
    let future =
        component::with_manifest(&component::from_text("future"), &json!({"name": "swaps", "version": "0.2.0", "description": "d"}));
    let noise: Vec<u8> = std::iter::successors(Some(0x9e37_79b9_u64), |n| Some(n.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1)))
        .take(4 << 10)
        .flat_map(u64::to_le_bytes)
        .collect();
    vec![
        ("nothing", Vec::new(), "", &[]),
        ("random bytes", noise.clone(), "format", &["not a WebAssembly file"]),
        ("random bytes that begin well", [component::EMPTY, &noise].concat(), "format", &["damaged"]),
        ("a core module", component::CORE_MODULE.to_vec(), "format", &["core WebAssembly module"]),
        ("a file that is cut off", good[..good.len() / 2].to_vec(), "format", &["damaged"]),
        ("no manifest", component::without_manifest(&good), "", &["wasmgate:manifest"]),
        ("another extension", Vec::from(&Version::of_fixture("probe")), "", &["`probe`", "`swaps`"]),
        ("another contract", future, "contract", &["1.0.0", "0.1.2"]),
        (
            "no hook",
            component::with_manifest(component::EMPTY, &json!({"name": "swaps", "version": "0.2.0", "description": "d"})),
            "",
            &["no hook"],
        ),
        (
            "more capabilities",
            Version::swaps("0.2.0", "two", "plain").asking(&["kv", "log", "clock"]).bytes().into(),
            "capabilities",
            &["clock"],
        ),
        (
            "capabilities that cost money",
            Version::swaps("0.2.0", "two", "plain").asking(&["kv", "log", "generate"]).bytes().into(),
            "capabilities",
            &["generate"],
        ),
        (
            "imports that it does not ask for",
            Version::swaps("0.2.0", "two", "plain").asking(&["log"]).bytes().into(),
            "",
            &["wasi:keyvalue", "`kv`"],
        ),
        ("a trap in configure", behaving("trap-configure"), "configure", &["the fixture traps in configure"]),
        ("a refused configuration", behaving("refuse-config"), "configure", &["the fixture does not like its configuration"]),
        ("a loop in configure", behaving("loop-configure"), "configure", &["cpu_ms"]),
        ("a failed self-test", behaving("fail-self-test"), "self-test", &["the fixture is not well"]),
    ]
}

#[tokio::test]
async fn what_the_gate_refuses_never_serves() {
    let upstream = setup::friendly(Dialect::OpenAi).await;
    let (_gateway, client) = gateway(Dialect::OpenAi, &upstream, "").await;
    let mut ids = BTreeSet::new();
    for (what, bytes, step, words) in refusals() {
        let (reason, attempt) = client.refused("swaps", bytes, "").await;
        for word in words {
            assert!(reason.contains(word), "{what}: `{word}` is not in: {reason}");
        }
        assert_eq!(
            (&attempt["outcome"], &attempt["trigger"], &attempt["from"]),
            (&json!("refused"), &json!("upload"), &json!("0.1.0")),
            "{what}: {attempt}"
        );
        assert_eq!((&attempt["extension"], &attempt["generation"]), (&json!("swaps"), &Value::Null), "{what}: {attempt}");
        assert!(attempt["reason"].as_str().is_some_and(|r| !r.is_empty()), "{what}: {attempt}");
        let steps = attempt["steps"].as_array().expect("steps");
        let (last, before) = steps.split_last().expect("the step that refused");
        assert_eq!(last["outcome"], "refused", "{what}: {attempt}");
        assert!(before.iter().all(|s| s["outcome"] != "refused"), "{what}: the first refusal ends the attempt: {attempt}");
        assert!(step.is_empty() || last["step"] == step, "{what}: {attempt}");
        assert!(ids.insert(attempt["id"].as_u64()), "{what}: {attempt}");
        assert_serves(&client, "0.1.0", "one").await;
    }
    let remembered: BTreeSet<_> = client.history().await.iter().filter(|a| a["outcome"] == "refused").map(|a| a["id"].as_u64()).collect();
    assert_eq!(remembered, ids, "the history has all of them");
}

#[tokio::test]
async fn more_capabilities_are_granted_with_the_swap() {
    let upstream = setup::friendly(Dialect::OpenAi).await;
    let (_gateway, client) = gateway(Dialect::OpenAi, &upstream, "").await;
    let asking = Version::swaps("0.2.0", "two", "plain").asking(&["kv", "log", "generate", "clock"]);
    let (reason, _) = client.refused("swaps", &asking, "grant=clock").await;
    assert!(reason.contains("generate"), "{reason}");
    client.swap("swaps", &asking, "grant=generate,clock").await;
    assert_serves(&client, "0.2.0", "two").await;
    let granted = client.extension("swaps").await["capabilities"].clone();
    for capability in ["generate", "clock", "kv"] {
        assert!(granted.as_array().is_some_and(|all| all.contains(&json!(capability))), "{granted}");
    }
}

#[tokio::test]
async fn orders_that_make_no_sense_are_told_apart() {
    let upstream = setup::friendly(Dialect::OpenAi).await;
    let (gateway, client) = gateway(Dialect::OpenAi, &upstream, "").await;
    let two = Version::swaps("0.2.0", "two", "plain");
    let put = |name: &str, query: &str| client.request(Method::PUT, &format!("/api/extensions/{name}?{query}")).body(two.bytes().to_vec());
    let post = |path: &str| client.request(Method::POST, path);
    for (what, request, status) in [
        ("nobody of this name", put("nobody", ""), 404),
        ("nobody to look at", client.request(Method::GET, "/api/extensions/nobody"), 404),
        ("nobody to promote", post("/api/extensions/nobody/promote"), 404),
        ("nobody to roll back", post("/api/extensions/nobody/rollback"), 404),
        ("an unknown rollout", put("swaps", "rollout=sometimes"), 400),
        ("more than everybody", put("swaps", "rollout=canary&share=1.5"), 400),
        ("no share at all", put("swaps", "rollout=canary&share=half"), 400),
        ("a key that is none", put("swaps", "rollout=canary&key=sha256:xyz"), 400),
        ("an unknown replay", put("swaps", "replay=perhaps"), 400),
        ("an unknown capability", put("swaps", "grant=root"), 400),
        ("an unknown setting", put("swaps", "colour=blue"), 400),
        ("nothing to promote", post("/api/extensions/swaps/promote"), 409),
        ("nothing to go back to", post("/api/extensions/swaps/rollback"), 409),
        ("a method that is none here", client.request(Method::DELETE, "/api/extensions/swaps"), 405),
        ("an order in the wrong way", client.request(Method::GET, "/api/extensions/swaps/promote"), 405),
        ("a web page", put("swaps", "").header("origin", "http://localhost:3000"), 403),
    ] {
        let answer = client.send(request).await;
        let document = answer.json();
        assert_eq!((answer.status, &document["success"]), (status, &json!(false)), "{what}: {document}");
        assert!(document["error"]["message"].as_str().is_some_and(|m| !m.is_empty()), "{what}: {document}");
    }
    let head = "PUT /api/extensions/swaps HTTP/1.1\r\nhost: localhost\r\nexpect: 100-continue\r\ncontent-length: 300000000\r\nconnection: close\r\n\r\n";
    let answer = client::raw(&gateway, head.as_bytes()).await;
    assert!(answer.starts_with("HTTP/1.1 413"), "{answer}");
    assert_serves(&client, "0.1.0", "one").await;
}

// === swapped ===

#[tokio::test]
async fn a_swap_holds_from_the_next_request_on() {
    for (dialect, format) in Dialect::PAIRS {
        let upstream = setup::friendly(format).await;
        let (_gateway, client) = gateway(format, &upstream, "").await;
        let before = ask(&client, dialect, None).await;
        assert_eq!(mark(dialect, &before), "one");
        let two = Version::swaps("0.2.0", "two", "plain");
        client.swap("swaps", &two, "").await;
        let after = ask(&client, dialect, None).await;
        assert_eq!(mark(dialect, &after), "two");
        let streamed = client.post(dialect.path(), &dialect.stream_request("m", "x")).await;
        let events = client::Event::all(&streamed.text());
        assert_eq!((streamed.status, streamed.header("x-swaps")), (200, "two"));
        assert_eq!(unmarked(&dialect.streamed_text(&events)), (BTreeSet::from(["two".into()]), TEXT.into()), "{dialect:?} on {format:?}");
        let numbers = [&before, &after, &streamed].map(|a| generation(a.header("x-wasmgate-generation")));
        assert!(numbers[0] < numbers[1] && numbers[1] == numbers[2], "{numbers:?}");
        // What is wrong with a request is said by the same generation.
        let wrong = client.post(dialect.path(), &json!({"model": 5})).await;
        assert_eq!((wrong.status, generation(wrong.header("x-wasmgate-generation"))), (400, numbers[1]), "{}", wrong.text());
    }
}

#[tokio::test]
async fn an_attempt_tells_what_was_done() {
    let upstream = setup::friendly(Dialect::OpenAi).await;
    let (_gateway, client) = gateway(Dialect::OpenAi, &upstream, "").await;
    let old = client.extension("swaps").await;
    assert_eq!((&old["version"], &old["previous"], &old["candidate"]), (&json!("0.1.0"), &Value::Null, &Value::Null), "{old}");
    let two = Version::swaps("0.2.0", "two", "plain");
    let attempt = client.swap("swaps", &two, "").await;
    for (member, expect) in [
        ("trigger", json!("upload")),
        ("extension", json!("swaps")),
        ("from", json!("0.1.0")),
        ("to", json!("0.2.0")),
        ("digest", json!(digest(two.bytes()))),
        ("rollout", json!("active")),
        ("outcome", json!("published")),
        ("reason", Value::Null),
    ] {
        assert_eq!(attempt[member], expect, "{member}: {attempt}");
    }
    let steps: Vec<_> = attempt["steps"].as_array().expect("steps").iter().map(|s| s["step"].as_str().unwrap_or_default()).collect();
    assert_eq!(steps, STEPS);
    assert!(attempt["started_ms"].is_u64() && attempt["duration_ms"].is_number(), "{attempt}");

    let new = client.extension("swaps").await;
    assert_eq!((&new["version"], &new["digest"], &new["bytes"]), (&json!("0.2.0"), &attempt["digest"], &json!(two.bytes().len())), "{new}");
    assert_eq!((&new["previous"]["version"], &new["previous"]["digest"]), (&json!("0.1.0"), &old["digest"]), "{new}");
    assert_eq!(new["generation"], attempt["generation"], "{new}");
    let hooks: Vec<_> = new["hooks"].as_array().expect("hooks").iter().filter_map(Value::as_str).collect();
    assert!(hooks.contains(&"before-generate") && hooks.contains(&"stream-filter") && !hooks.contains(&"dialect"), "{hooks:?}");
    // The others were not touched.
    assert!(client.extension("routing").await["generation"].as_u64() < new["generation"].as_u64());

    let details = client.get("/api/extensions/swaps").await.json()["data"].clone();
    let names = |member: &str| details[member].to_string();
    assert!(names("imports").contains("wasi:keyvalue/atomics"), "{details}");
    assert!(names("exports").contains("wasmgate:extension/before-generate@0.1.2"), "{details}");
    assert!(details["limits"].is_object(), "{details}");

    let all = client.generations().await;
    let history = all["history"].as_array().expect("a history");
    assert_eq!((&all["current"], &history[0]["id"]), (&attempt["generation"], &attempt["id"]), "{all}");
    let current = all["generations"].as_array().and_then(|g| g.iter().find(|g| g["state"] == "active")).expect("an active generation");
    assert_eq!((&current["number"], &current["extensions"]["swaps"]), (&attempt["generation"], &json!("0.2.0")), "{all}");
}

#[tokio::test]
async fn steps_are_told_as_they_end() {
    let upstream = setup::friendly(Dialect::OpenAi).await;
    let (_gateway, client) = gateway(Dialect::OpenAi, &upstream, "").await;
    for (version, steps, outcome) in [
        (Version::swaps("0.2.0", "two", "plain"), &STEPS[..], "published"),
        (Version::swaps("0.3.0", "three", "fail-self-test"), &STEPS[..7], "refused"),
    ] {
        let mut lines = client.swap_by_steps("swaps", &version, |_| true).await;
        let document = lines.pop().expect("the answer");
        let told: Vec<_> = lines.iter().map(|l| l["step"].as_str().unwrap_or_default()).collect();
        assert_eq!(told, steps, "{lines:?}");
        assert!(lines.iter().all(|l| l["ms"].is_number()), "{lines:?}");
        let attempt = if outcome == "published" { &document["data"] } else { &document["error"]["details"] };
        assert_eq!((&document["success"], &attempt["outcome"]), (&json!(outcome == "published"), &json!(outcome)), "{document}");
        assert_eq!(attempt["steps"].as_array().map(Vec::len), Some(steps.len()), "{document}");
    }
    assert_serves(&client, "0.2.0", "two").await;
}

#[tokio::test]
async fn the_same_bytes_change_nothing() {
    let upstream = setup::friendly(Dialect::OpenAi).await;
    let (_gateway, client) = gateway(Dialect::OpenAi, &upstream, "").await;
    let two = Version::swaps("0.2.0", "two", "plain");
    let published = client.swap("swaps", &two, "").await;
    assert_eq!(client.swap("swaps", &two, "").await["outcome"], "unchanged");
    assert_eq!(client.extension("swaps").await["generation"], published["generation"]);
    assert_eq!(client.extension("swaps").await["previous"]["version"], "0.1.0", "there is still something to go back to");
}

#[tokio::test]
async fn a_stream_ends_on_the_version_it_began_with() {
    for (dialect, format) in Dialect::PAIRS {
        let gate = Gate::default();
        let upstream = waiting(format, &gate).await;
        let (_gateway, client) = gateway(format, &upstream, "").await;
        let mut stream = client.stream(dialect.path(), &dialect.stream_request("m", "x")).await;
        let mut events = vec![stream.next().await.expect("the answer begins")];
        for number in 2..=4 {
            client.swap("swaps", &Version::swaps(&format!("0.{number}.0"), &format!("mark-{number}"), "plain"), "").await;
            assert_eq!(current_mark(&client).await, format!("mark-{number}"));
        }
        gate.open();
        events.extend(stream.rest().await);
        assert_eq!(stream.header("x-swaps"), "one");
        assert_eq!(unmarked(&dialect.streamed_text(&events)), (BTreeSet::from(["one".into()]), TEXT.into()), "{dialect:?} on {format:?}");
        assert!(dialect.is_end(events.last().expect("events")), "{}", stream.text());
    }
}

#[tokio::test]
async fn dialects_and_routing_are_swapped_under_a_running_stream() {
    for (dialect, format) in Dialect::PAIRS {
        let gate = Gate::default();
        let upstream = waiting(format, &gate).await;
        let (_gateway, client) = gateway(format, &upstream, "").await;
        let mut stream = client.stream(dialect.path(), &dialect.stream_request("m", "x")).await;
        let mut events = vec![stream.next().await.expect("the answer begins")];
        for name in ["openai-api", "anthropic-api", "routing"] {
            client.swap(name, &Version::of(name).numbered("0.2.0"), "").await;
            assert_eq!(client.extension(name).await["version"], "0.2.0");
            assert_eq!(current_mark(&client).await, "one");
        }
        gate.open();
        events.extend(stream.rest().await);
        assert_eq!(unmarked(&dialect.streamed_text(&events)).1, TEXT, "{dialect:?} on {format:?}: {}", stream.text());
        assert!(dialect.is_end(events.last().expect("events")), "{}", stream.text());
        setup::assert_record(&client, stream.header("x-request-id"), "success").await;
    }
}

/// The states of the generations that have a number.
async fn states(client: &Client, number: &Value) -> Vec<String> {
    let all = client.generations().await;
    let of = all["generations"].as_array().expect("generations").iter().filter(|g| g["number"] == *number);
    of.map(|g| g["state"].as_str().unwrap_or_default().to_owned()).collect()
}

#[tokio::test]
async fn an_old_generation_drains_and_goes() {
    let gate = Gate::default();
    let upstream = waiting(Dialect::OpenAi, &gate).await;
    let (_gateway, client) = gateway(Dialect::OpenAi, &upstream, "").await;
    let first = client.generations().await["current"].clone();
    let dialect = Dialect::Anthropic;
    let mut stream = client.stream(dialect.path(), &dialect.stream_request("m", "x")).await;
    stream.next().await.expect("the answer begins");
    client.swap("swaps", &Version::swaps("0.2.0", "two", "plain"), "").await;
    assert_eq!(states(&client, &first).await, ["draining"]);
    gate.open();
    stream.rest().await;
    let gone = async {
        while !states(&client, &first).await.is_empty() {
            tokio::task::yield_now().await;
        }
    };
    soon("end of the old generation", gone).await;
}

#[tokio::test]
async fn what_is_stored_outlives_a_swap() {
    let upstream = setup::friendly(Dialect::OpenAi).await;
    let more = format!("{}{}", extensions::fixture("probe", ""), section(""));
    let gateway = Gateway::start(&setup::config(&setup::provider(Dialect::OpenAi, &upstream), &more)).await;
    let client = Client::new(&gateway);
    let answer = client.post(Dialect::OpenAi.path(), &Dialect::OpenAi.request("m", "x")).await;
    let id = answer.header("x-request-id");
    client.record(id).await;
    gateway.log_line("the end", |l| l["message"].as_str().is_some_and(|m| m.starts_with(&format!("over: {id}")))).await;
    client.swap("probe", &Version::of_fixture("probe").numbered("0.2.0"), "").await;
    assert_eq!(client.get(&format!("/probe/count/{id}")).await.text(), "1");
}

#[tokio::test]
async fn swaps_at_once_take_turns() {
    let upstream = setup::friendly(Dialect::OpenAi).await;
    let (_gateway, client) = gateway(Dialect::OpenAi, &upstream, "").await;
    let mut all: Vec<(String, Version)> =
        (0..6).map(|n| ("swaps".into(), Version::swaps(&format!("0.2.{n}"), &format!("mark-{n}"), "plain"))).collect();
    // One that is refused, and one of another extension.
    all.push(("swaps".into(), Version::swaps("0.3.0", "bad", "refuse-config")));
    all.push(("routing".into(), Version::of("routing").numbered("0.2.0")));
    let sent = all.iter().map(|(name, version)| client.put(name, version, ""));
    let answers = futures_util::future::join_all(sent).await;
    let mut attempts = Vec::new();
    for ((name, version), answer) in all.iter().zip(&answers) {
        let document = answer.json();
        let refused = component::manifest(version.bytes())["version"] == "0.3.0";
        assert_eq!(answer.status, if refused { 422 } else { 200 }, "{name}: {document}");
        attempts.push(if refused { document["error"]["details"].clone() } else { document["data"].clone() });
    }
    let ids: BTreeSet<_> = attempts.iter().map(|a| a["id"].as_u64()).collect();
    assert_eq!(ids.len(), all.len(), "{attempts:?}");
    let numbers: BTreeSet<_> = attempts.iter().filter_map(|a| a["generation"].as_u64()).collect();
    assert_eq!(numbers.len(), all.len() - 1, "each published one of its own: {attempts:?}");
    // The last one that was published serves.
    let last = attempts.iter().filter(|a| a["extension"] == "swaps").max_by_key(|a| a["generation"].as_u64()).expect("an attempt");
    let version = last["to"].as_str().expect("a version");
    assert_serves(&client, version, &version.replace("0.2.", "mark-")).await;
    assert_eq!(client.extension("routing").await["version"], "0.2.0");
    assert!(client.history().await.iter().all(|a| a["outcome"] != "running"), "all have ended");
}
