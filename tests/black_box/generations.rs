//! What callers stay on: a generation that was replaced, for a while; a version that they are pinned to; and what a version leaves for the
//! next one.

use http::Method;
use serde_json::{Value, json};
use wasmgate_tests::answers::{Says, TEXT};
use wasmgate_tests::{Answer, Client, Dialect, Gateway, Reply, Step, Upstream, Version, soon};

use crate::deploy::{ask, assert_serves, gateway, mark, section};
use crate::setup;

// === a generation that was replaced ===

#[tokio::test]
async fn a_stream_that_stays_too_long_ends_with_the_dialects_error_and_its_generation_goes() {
    // In a clean end the upstream would say so; it never does.
    let upstream = Upstream::start(|r| {
        let mut events = Says::text(TEXT).stream(Dialect::OpenAi, &r.model());
        events.truncate(4);
        Reply::events(vec![Step::Send(events.concat().into()), Step::Hang])
    })
    .await;
    let (_gateway, client) = gateway(Dialect::OpenAi, &upstream, "drain_timeout: 3s").await;
    let mut streams = Vec::new();
    for dialect in Dialect::ALL {
        let mut stream = client.stream(dialect.path(), &dialect.stream_request("m", "x")).await;
        stream.next().await.expect("it begins");
        streams.push((dialect, stream));
    }
    client.swap("swaps", &Version::swaps("0.2.0", "two", "plain"), "").await;
    let draining =
        async || client.generations().await["generations"].as_array().is_some_and(|g| g.iter().any(|g| g["state"] == "draining"));
    assert!(draining().await, "the old one drains");
    for (dialect, mut stream) in streams {
        let mut last = None;
        while let Some(event) = stream.next().await {
            last = Some(event);
        }
        assert_eq!(stream.broken, None, "{dialect:?}: the body ends as it should");
        let last = last.expect("it says something");
        assert!(last.data.contains("error") && last.data.contains("changed or stopped while this request ran"), "{dialect:?}: {last:?}");
        assert!(!last.data.contains("[DONE]") && !last.data.contains("message_stop"), "{dialect:?}: {last:?}");
    }
    let gone = async {
        while draining().await {
            tokio::task::yield_now().await;
        }
    };
    soon("end of the old generation", gone).await;
}

#[tokio::test]
async fn a_request_that_waits_too_long_gets_an_error() {
    let upstream =
        Upstream::start(|r| if r.model() == "slow" { Reply::silence() } else { Says::text(TEXT).reply(Dialect::OpenAi, r) }).await;
    let (_gateway, client) = gateway(Dialect::OpenAi, &upstream, "drain_timeout: 300ms").await;
    let (dialect, waiting) = (Dialect::Anthropic, client.clone());
    let waiting = tokio::spawn(async move { waiting.post(dialect.path(), &dialect.request("slow", "x")).await });
    upstream.request(0).await;
    client.swap("swaps", &Version::swaps("0.2.0", "two", "plain"), "").await;
    let answer = soon("end of the request", waiting).await.expect("it does not panic");
    assert_eq!(answer.status, 529, "{}", answer.text());
    assert_eq!(answer.json()["error"]["type"], "overloaded_error", "{}", answer.text());
    assert_serves(&client, "0.2.0", "two").await;
}

#[tokio::test]
async fn nothing_of_a_version_stays_in_memory() {
    let upstream = setup::friendly(Dialect::OpenAi).await;
    let (_gateway, client) = gateway(Dialect::OpenAi, &upstream, "").await;
    assert_eq!(client.generations().await["extensions_in_memory"], 4);
    for round in 0..5 {
        client.swap("swaps", &Version::swaps(&format!("0.2.{round}"), "two", "plain"), "").await;
        assert_eq!(mark(Dialect::OpenAi, &ask(&client, Dialect::OpenAi, None).await), "two");
    }
    // Those that serve, and the one that a rollback would return to.
    let rest = async {
        while client.generations().await["extensions_in_memory"] != 5 {
            tokio::task::yield_now().await;
        }
    };
    soon("end of the versions that nobody needs", rest).await;
}

// === pins ===

/// A request of a tenant.
async fn ask_as(client: &Client, tenant: &str) -> Answer {
    let dialect = Dialect::OpenAi;
    let body = dialect.request("m", "x").to_string();
    let request = client.request(Method::POST, dialect.path()).header("content-type", "application/json").header("x-tenant", tenant);
    client.send(request.body(body)).await
}

#[tokio::test]
async fn callers_stay_on_the_versions_that_they_are_pinned_to() {
    let upstream = setup::friendly(Dialect::OpenAi).await;
    let pins = "pins: [{extension: swaps, version: 0.0.9, key: key-of-old}, {extension: swaps, version: 0.0.8, header: 'x-tenant: acme'}]";
    let config = setup::config(&setup::provider(Dialect::OpenAi, &upstream), &format!("  swaps: {{}}\n{}", section(pins)));
    let (nine, eight) = (Version::swaps("0.0.9", "nine", "plain"), Version::swaps("0.0.8", "eight", "plain"));
    let builder = Gateway::builder(&config).own_components(&[
        ("swaps", Version::of_fixture("swaps").bytes()),
        ("swaps-0.0.9", nine.bytes()),
        ("swaps-0.0.8", eight.bytes()),
    ]);
    let gateway = builder.start().await;
    let client = Client::new(&gateway);
    for (version, expect) in [("0.1.0", "one"), ("0.2.0", "two")] {
        if version != "0.1.0" {
            client.swap("swaps", &Version::swaps(version, expect, "plain"), "").await;
        }
        for dialect in Dialect::ALL {
            assert_eq!(mark(dialect, &ask(&client, dialect, Some("key-of-old")).await), "nine", "{version}");
            assert_eq!(mark(dialect, &ask(&client, dialect, Some("another key")).await), expect, "{version}");
        }
        assert_eq!(mark(Dialect::OpenAi, &ask_as(&client, "acme").await), "eight", "{version}");
        assert_eq!(mark(Dialect::OpenAi, &ask_as(&client, "other").await), expect, "{version}");
    }
    let generations = client.generations().await;
    let pinned: Vec<&Value> = generations["generations"].as_array().expect("a list").iter().filter(|g| g["state"] == "pinned").collect();
    assert_eq!(pinned.iter().map(|g| &g["extensions"]["swaps"]).collect::<Vec<_>>(), [&json!("0.0.9"), &json!("0.0.8")], "{generations}");

    // A pin that cannot be held is refused, and what serves goes on.
    gateway.configure(&config.replace("0.0.9", "7.7.7"));
    let answer = client.send(client.request(Method::POST, "/api/config/reload")).await;
    assert_eq!(answer.status, 422, "{}", answer.text());
    assert!(answer.text().contains("there is no version 7.7.7 of `swaps`"), "{}", answer.text());
    assert_eq!(mark(Dialect::OpenAi, &ask(&client, Dialect::OpenAi, Some("key-of-old")).await), "nine");
}

// === what a version leaves ===

#[tokio::test]
async fn a_version_takes_over_what_the_one_before_left() {
    let upstream = setup::friendly(Dialect::OpenAi).await;
    let (_gateway, client) = gateway(Dialect::OpenAi, &upstream, "").await;
    let heritage = async || ask(&client, Dialect::OpenAi, None).await.header("x-swaps-heritage").to_owned();
    client.swap("swaps", &Version::swaps("0.2.0", "two", "heir"), "").await;
    assert_eq!(heritage().await, "0.1.0: one");
    let (reason, _) = client.refused("swaps", &Version::swaps("0.3.0", "three", "refuse-load"), "").await;
    assert!(reason.contains("wants nothing of others") && reason.contains("0.2.0"), "{reason}");
    let attempt = client.swap("swaps", &Version::swaps("0.3.0", "three", "heir"), "").await;
    assert_eq!(heritage().await, "0.2.0: two 0.1.0: one");
    let configure = attempt["steps"].as_array().expect("steps").iter().find(|s| s["step"] == "configure").cloned().unwrap_or_default();
    assert!(configure["detail"].as_str().is_some_and(|d| d.contains("took over 14 bytes of version 0.2.0")), "{configure}");
    for (version, behaviour) in [("0.4.0", "save-nothing"), ("0.5.0", "heir")] {
        client.swap("swaps", &Version::swaps(version, "next", behaviour), "").await;
    }
    assert_eq!(heritage().await, "", "the version before left nothing");
}

// === versions that are taken back for what they do ===

#[tokio::test]
async fn a_version_whose_calls_cost_too_much_is_taken_back() {
    let upstream = setup::friendly(Dialect::OpenAi).await;
    let config = crate::deploy::config(Dialect::OpenAi, &upstream, "").replace("max_cost_ratio: 1000", "max_cost_ratio: 3");
    let gateway = Gateway::start(&config).await;
    let client = Client::new(&gateway);
    for _ in 0..100 {
        ask(&client, Dialect::OpenAi, None).await;
    }
    client.swap("swaps", &Version::swaps("0.2.0", "two", "slow"), "replay=off").await;
    let taken_back = async {
        loop {
            ask(&client, Dialect::OpenAi, None).await;
            if let Some(attempt) = client.history().await.into_iter().find(|a| a["trigger"] == "automatic" && a["outcome"] != "running") {
                return attempt;
            }
        }
    };
    let attempt = soon("rollback by itself", taken_back).await;
    assert_eq!((&attempt["outcome"], &attempt["to"]), (&json!("rolled-back"), &json!("0.1.0")), "{attempt}");
    assert!(attempt["reason"].as_str().is_some_and(|r| r.contains("max_cost_ratio")), "{attempt}");
    assert_serves(&client, "0.1.0", "one").await;
}

#[tokio::test]
async fn a_shadow_that_decides_otherwise_too_often_is_ended() {
    let upstream = setup::friendly(Dialect::OpenAi).await;
    let (_gateway, client) = gateway(Dialect::OpenAi, &upstream, "max_divergence: 0.1").await;
    client.swap("swaps", &Version::swaps("0.2.0", "two", "diverge"), "rollout=shadow&replay=off").await;
    let ended = async {
        loop {
            let answer = ask(&client, Dialect::OpenAi, None).await;
            assert_eq!(mark(Dialect::OpenAi, &answer), "one", "nobody sees what the shadow decides");
            if let Some(attempt) = client.history().await.into_iter().find(|a| a["trigger"] == "automatic" && a["outcome"] != "running") {
                return attempt;
            }
        }
    };
    let attempt = soon("end of the shadow", ended).await;
    assert_eq!((&attempt["outcome"], &attempt["rollout"]), (&json!("rolled-back"), &json!("shadow")), "{attempt}");
    assert!(attempt["reason"].as_str().is_some_and(|r| r.contains("decided otherwise")), "{attempt}");
    assert_serves(&client, "0.1.0", "one").await;
}

#[tokio::test]
async fn a_component_that_takes_too_long_to_compile_is_refused() {
    let upstream = setup::friendly(Dialect::OpenAi).await;
    let config = crate::deploy::config(Dialect::OpenAi, &upstream, "");
    let gateway = Gateway::start(&config).await;
    let client = Client::new(&gateway);
    // What runs is compiled already; only what comes now meets the limit.
    gateway.configure(&config.replace("max_cost_ratio: 1000", "max_cost_ratio: 1000, compile_timeout: 1ms"));
    client.order("/api/config/reload").await;
    // Never seen before, so not in the cache of compiled code.
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).expect("after 1970").as_nanos();
    let new = Version::swaps("0.2.0", &format!("{:x}", now as u32), "plain");
    let (reason, attempt) = client.refused("swaps", &new, "").await;
    assert!(reason.contains("took longer than 1ms"), "{reason}");
    assert_eq!(attempt["steps"].as_array().and_then(|s| s.last()).map(|s| &s["step"]), Some(&json!("compile")), "{attempt}");
    assert_serves(&client, "0.1.0", "one").await;
}
