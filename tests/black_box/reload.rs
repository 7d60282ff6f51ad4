//! Changes from outside of the program: the configuration, files of components, and the end of the power. See `deploy.rs` for the fixture.

use http::Method;
use serde_json::{Value, json};
use wasmgate_tests::gateway::{Builder, replace};
use wasmgate_tests::{Client, Dialect, Gateway, Upstream, Version};

use crate::deploy::{assert_serves, config, current_mark, section};
use crate::setup;

/// The configuration with an alias `fast` for this model.
pub fn with_alias(base: &str, model: &str) -> String {
    format!("{base}aliases: {{fast: {model}}}\n")
}

/// The model that the upstream is asked for when a caller asks for `fast`.
async fn fast(client: &Client, upstream: &Upstream) -> String {
    let dialect = Dialect::OpenAi;
    let answer = client.post(dialect.path(), &dialect.request("fast", "x")).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    upstream.received().last().expect("it was asked").model()
}

/// The attempt that follows a change which is not an order, and so has no answer. `known` are the attempts of before.
pub async fn next_attempt(client: &Client, known: usize, trigger: &str) -> Value {
    client
        .attempt(&format!("{trigger} after the first {known}"), |a| a["trigger"] == trigger && a["id"].as_u64() > Some(known as u64))
        .await
}

/// The highest id until now.
pub async fn newest(client: &Client) -> usize {
    client.history().await.iter().filter_map(|a| a["id"].as_u64()).max().unwrap_or(0) as usize
}

/// Configurations that nothing can be made of, and words of the reason.
fn broken(base: &str) -> [(String, &'static [&'static str]); 5] {
    [
        ("providers: {".into(), &["YAML"]),
        (format!("{base}server: {{prot: 80}}\n"), &["prot", "there is no such setting"]),
        (base.replace("routing: {}", "routing: {component: no-such-file.wasm}"), &["no-such-file.wasm", "cannot be read"]),
        (format!("{base}aliases: {{a: b, b: a}}\n"), &["routing", "`aliases` go in a circle"]),
        (base.replace("routing: {}", "routing: {}\n  nobody: {required: true}"), &["nobody", "has no such component"]),
    ]
}

// === configuration ===

#[tokio::test]
async fn a_signal_reloads_the_configuration() {
    let upstream = setup::friendly(Dialect::OpenAi).await;
    let base = config(Dialect::OpenAi, &upstream, "");
    let gateway = Gateway::start(&with_alias(&base, "first")).await;
    let client = Client::new(&gateway);
    assert_eq!(fast(&client, &upstream).await, "first");
    for model in ["second", "third"] {
        let known = newest(&client).await;
        gateway.configure(&with_alias(&base, model));
        gateway.hang_up();
        let attempt = next_attempt(&client, known, "reload").await;
        assert_eq!((&attempt["outcome"], &attempt["extension"]), (&json!("published"), &Value::Null), "{attempt}");
        assert_eq!(fast(&client, &upstream).await, model);
    }
    assert_serves(&client, "0.1.0", "one").await;
}

#[tokio::test]
async fn a_signal_with_a_broken_configuration_changes_nothing() {
    let upstream = setup::friendly(Dialect::OpenAi).await;
    let base = config(Dialect::OpenAi, &upstream, "");
    let gateway = Gateway::start(&with_alias(&base, "first")).await;
    let client = Client::new(&gateway);
    for (text, words) in broken(&base) {
        let known = newest(&client).await;
        gateway.configure(&text);
        gateway.hang_up();
        let attempt = next_attempt(&client, known, "reload").await;
        assert_eq!((&attempt["outcome"], &attempt["generation"]), (&json!("refused"), &Value::Null), "{attempt}");
        let reason = attempt["reason"].as_str().unwrap_or_default();
        for word in words {
            assert!(reason.contains(word), "`{word}` is not in: {reason}");
        }
        assert_eq!(fast(&client, &upstream).await, "first");
    }
}

#[tokio::test]
async fn what_runs_is_not_taken_out_because_its_component_is_gone_or_broken() {
    let upstream = setup::friendly(Dialect::OpenAi).await;
    let base = setup::config(&setup::provider(Dialect::OpenAi, &upstream), "");
    let gateway = Gateway::builder(&with_alias(&base, "first")).own_components(&[]).start().await;
    let client = Client::new(&gateway);
    let file = gateway.folder().join("components/anthropic-api.wasm");
    std::fs::write(&file, b"hello").unwrap();
    for word in ["anthropic-api", "is gone"] {
        let known = newest(&client).await;
        gateway.hang_up();
        let attempt = next_attempt(&client, known, "reload").await;
        assert_eq!(attempt["outcome"], "refused", "{attempt}");
        assert!(attempt["reason"].as_str().is_some_and(|r| r.contains(word)), "{attempt}");
        setup::assert_serves(&client, Dialect::Anthropic).await;
        let _ = std::fs::remove_file(&file);
    }
}

#[tokio::test]
async fn an_order_reloads_the_configuration_or_says_why_not() {
    let upstream = setup::friendly(Dialect::OpenAi).await;
    let base = config(Dialect::OpenAi, &upstream, "");
    let gateway = Gateway::start(&with_alias(&base, "first")).await;
    let client = Client::new(&gateway);
    for (text, words) in broken(&base) {
        gateway.configure(&text);
        let answer = client.send(client.request(Method::POST, "/api/config/reload")).await;
        let document = answer.json();
        assert_eq!((answer.status, &document["success"]), (422, &json!(false)), "{document}");
        let attempt = &document["error"]["details"];
        assert_eq!((&attempt["outcome"], &attempt["trigger"]), (&json!("refused"), &json!("reload")), "{document}");
        let message = document["error"]["message"].as_str().unwrap_or_default();
        for word in words {
            assert!(message.contains(word), "`{word}` is not in: {message}");
        }
        assert_eq!(fast(&client, &upstream).await, "first");
    }
    gateway.configure(&with_alias(&base, "second"));
    let attempt = client.order("/api/config/reload").await;
    assert_eq!(attempt["outcome"], "published", "{attempt}");
    assert_eq!(fast(&client, &upstream).await, "second");
    assert_eq!(client.order("/api/config/reload").await["outcome"], "unchanged");
}

#[tokio::test]
async fn extensions_come_and_go_with_the_configuration() {
    let upstream = setup::friendly(Dialect::OpenAi).await;
    let base = config(Dialect::OpenAi, &upstream, "");
    let gateway = Gateway::start(&base).await;
    let client = Client::new(&gateway);
    gateway.configure(&base.replace("anthropic-api: {}", "anthropic-api: {enabled: false}"));
    client.order("/api/config/reload").await;
    let dialect = Dialect::Anthropic;
    assert_eq!(client.post(dialect.path(), &dialect.request("m", "x")).await.status, 404);
    gateway.configure(&base);
    client.order("/api/config/reload").await;
    assert_serves(&client, "0.1.0", "one").await;
}

// === files ===

/// A gateway with a folder of components of its own, with `swaps` in it, that is watched.
async fn watched(upstream: &Upstream) -> (Gateway, Client, String) {
    let base = setup::config(&setup::provider(Dialect::OpenAi, upstream), &format!("  swaps: {{}}\n{}", section("watch: true")));
    let builder = Gateway::builder(&base).own_components(&[("swaps", Version::of_fixture("swaps").bytes())]);
    let gateway = builder.start().await;
    let client = Client::new(&gateway);
    assert_serves(&client, "0.1.0", "one").await;
    (gateway, client, base)
}

#[tokio::test]
async fn a_file_that_is_replaced_is_swapped() {
    let upstream = setup::friendly(Dialect::OpenAi).await;
    let (gateway, client, _) = watched(&upstream).await;
    let file = gateway.folder().join("components/swaps.wasm");
    let known = newest(&client).await;
    replace(&file, Version::swaps("0.2.0", "two", "plain").bytes());
    let attempt = next_attempt(&client, known, "watch").await;
    assert_eq!(
        (&attempt["outcome"], &attempt["extension"], &attempt["to"]),
        (&json!("published"), &json!("swaps"), &json!("0.2.0")),
        "{attempt}"
    );
    assert_serves(&client, "0.2.0", "two").await;

    // What the gate refuses is refused from here too, and the next good file is let in.
    for (bytes, word) in [
        (Vec::from(&Version::swaps("0.3.0", "bad", "fail-self-test")), "the fixture is not well"),
        (b"hello".to_vec(), "not a WebAssembly file"),
    ] {
        let known = newest(&client).await;
        replace(&file, &bytes);
        let attempt = next_attempt(&client, known, "watch").await;
        assert_eq!(attempt["outcome"], "refused", "{attempt}");
        assert!(attempt["reason"].as_str().is_some_and(|r| r.contains(word)), "{attempt}");
        assert_serves(&client, "0.2.0", "two").await;
    }
    let known = newest(&client).await;
    replace(&file, Version::swaps("0.4.0", "four", "plain").bytes());
    let attempt = next_attempt(&client, known, "watch").await;
    assert_eq!(attempt["outcome"], "published", "{attempt}");
    assert_serves(&client, "0.4.0", "four").await;
}

#[tokio::test]
async fn the_file_of_the_configuration_is_watched_too() {
    let upstream = setup::friendly(Dialect::OpenAi).await;
    let (gateway, client, base) = watched(&upstream).await;
    let known = newest(&client).await;
    gateway.configure(&with_alias(&base, "second"));
    let attempt = next_attempt(&client, known, "watch").await;
    assert_eq!((&attempt["outcome"], &attempt["extension"]), (&json!("published"), &Value::Null), "{attempt}");
    assert_eq!(fast(&client, &upstream).await, "second");
}

// === the end of the power ===

/// A gateway that keeps what was published.
pub fn kept(upstream: &Upstream) -> Builder {
    let builder = Gateway::builder(&config(Dialect::OpenAi, upstream, ""));
    let state = builder.folder().join("state");
    builder.set(format!("deploy.state={}", state.display()))
}

pub async fn start(builder: Builder) -> (Gateway, Client) {
    let gateway = builder.start().await;
    let client = Client::new(&gateway);
    (gateway, client)
}

#[tokio::test]
async fn a_restart_serves_what_was_published_last() {
    let upstream = setup::friendly(Dialect::OpenAi).await;
    let (gateway, client) = start(kept(&upstream)).await;
    assert_serves(&client, "0.1.0", "one").await;
    client.swap("swaps", &Version::swaps("0.2.0", "two", "plain"), "").await;
    // What was refused, and what was only tried, is not what was published.
    client.refused("swaps", &Version::swaps("0.3.0", "three", "refuse-config"), "").await;
    client.swap("swaps", &Version::swaps("0.4.0", "four", "plain"), "rollout=canary&share=1").await;
    let (_gateway, client) = start(gateway.kill()).await;
    assert_eq!(client.extension("swaps").await["version"], "0.2.0");
}

#[tokio::test]
async fn a_rollback_outlives_a_restart() {
    let upstream = setup::friendly(Dialect::OpenAi).await;
    let (gateway, client) = start(kept(&upstream)).await;
    client.swap("swaps", &Version::swaps("0.2.0", "two", "plain"), "").await;
    client.swap("swaps", &Version::swaps("0.3.0", "three", "plain"), "").await;
    client.roll_back("swaps").await;
    assert_serves(&client, "0.2.0", "two").await;
    let (_gateway, client) = start(gateway.kill()).await;
    assert_serves(&client, "0.2.0", "two").await;
}

#[tokio::test]
async fn power_that_ends_during_a_swap_leaves_one_version_whole() {
    let upstream = setup::friendly(Dialect::OpenAi).await;
    let (mut gateway, mut client) = start(kept(&upstream)).await;
    client.swap("swaps", &Version::swaps("0.2.0", "mark-2", "plain"), "").await;
    let mut serving = 2;
    for (number, at) in (3..).zip(["size", "compile", "configure", "replay", "publish", "the answer"]) {
        let next = Version::swaps(&format!("0.{number}.0"), &format!("mark-{number}"), "plain");
        let lines = client.swap_by_steps("swaps", &next, |line| line["step"] != at).await;
        let builder = gateway.kill();
        (gateway, client) = start(builder).await;
        let mark = current_mark(&client).await;
        let version = client.extension("swaps").await["version"].clone();
        let old = (format!("mark-{serving}"), json!(format!("0.{serving}.0")));
        let new = (format!("mark-{number}"), json!(format!("0.{number}.0")));
        let answered = lines.last().is_some_and(|l| l["success"] == true);
        // Who was told that it is published can rely on it.
        assert!(
            (mark.clone(), version.clone()) == new || !answered && (mark.clone(), version.clone()) == old,
            "at {at}: {mark} {version}: {lines:?}"
        );
        if mark == new.0 {
            serving = number;
        }
    }
    assert_eq!(serving, 8, "the last was told");
}

#[tokio::test]
async fn without_a_folder_for_its_state_a_restart_serves_the_file() {
    let upstream = setup::friendly(Dialect::OpenAi).await;
    let (gateway, client) = start(Gateway::builder(&config(Dialect::OpenAi, &upstream, ""))).await;
    client.swap("swaps", &Version::swaps("0.2.0", "two", "plain"), "").await;
    let (_gateway, client) = start(gateway.kill()).await;
    assert_serves(&client, "0.1.0", "one").await;
}
