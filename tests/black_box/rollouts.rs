//! New versions for some callers, or for nobody, before they are for all; and the way back. See `deploy.rs` for the fixture.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use http::Method;
use serde_json::{Value, json};
use wasmgate_tests::operator::digest;
use wasmgate_tests::{Client, Dialect, Gateway, Upstream, Version, soon};

use crate::deploy::{ask, assert_serves, current_mark, gateway, mark, section};
use crate::{extensions, setup};

/// How long it may take until a version that was taken back is gone.
const BACK: Duration = Duration::from_secs(1);

fn two() -> Version {
    Version::swaps("0.2.0", "two", "plain")
}

/// The same code under another number: what it does differs in nothing.
fn same() -> Version {
    Version::swaps("0.2.0", "one", "plain")
}

async fn started(deploy: &str) -> (Upstream, Gateway, Client) {
    let upstream = setup::friendly(Dialect::OpenAi).await;
    let (gateway, client) = gateway(Dialect::OpenAi, &upstream, deploy).await;
    (upstream, gateway, client)
}

/// The answer to a request has this status: a refusal of the order itself, not of a component.
async fn assert_conflict(client: &Client, request: reqwest::RequestBuilder) {
    let answer = client.send(request).await;
    assert_eq!((answer.status, &answer.json()["success"]), (409, &json!(false)), "{}", answer.text());
}

// === canary ===

#[tokio::test]
async fn a_canary_has_its_share_of_callers_and_each_stays_on_one_side() {
    let (_upstream, _gateway, client) = started("").await;
    let attempt = client.swap("swaps", &two(), "rollout=canary&share=0.5").await;
    assert_eq!(
        (&attempt["outcome"], &attempt["rollout"], &attempt["to"]),
        (&json!("canary"), &json!("canary"), &json!("0.2.0")),
        "{attempt}"
    );
    let mut sides: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for _ in 0..2 {
        for caller in 0..60 {
            let key = format!("key-{caller}");
            for dialect in Dialect::ALL {
                let mark = mark(dialect, &ask(&client, dialect, Some(&key)).await);
                sides.entry(key.clone()).or_default().insert(mark);
            }
        }
    }
    assert!(sides.values().all(|marks| marks.len() == 1), "a caller changed sides: {sides:?}");
    let canary = sides.values().filter(|marks| marks.contains("two")).count();
    // Sides follow from digests, so this is the same number in every run. By chance it would be outside of this once in 100,000 runs.
    assert!((13..=47).contains(&canary), "{canary} of 60");

    let extension = client.extension("swaps").await;
    let candidate = &extension["candidate"];
    assert_eq!((&extension["version"], &candidate["version"], &candidate["rollout"]), (&json!("0.1.0"), &json!("0.2.0"), &json!("canary")));
    assert_eq!((&candidate["share"], &candidate["failures"]), (&json!(0.5), &json!(0)), "{extension}");
    assert!(candidate["calls"].as_u64() >= Some(canary as u64 * 4), "{extension}");
}

#[tokio::test]
async fn callers_without_a_key_are_told_apart_by_the_requests_id() {
    let (_upstream, _gateway, client) = started("").await;
    client.swap("swaps", &two(), "rollout=canary&share=0.5").await;
    let dialect = Dialect::OpenAi;
    let mut marks = BTreeSet::new();
    for number in 0..40 {
        let mut of_one = BTreeSet::new();
        for _ in 0..2 {
            let request = client.request(Method::POST, dialect.path()).header("x-request-id", format!("id-{number}"));
            let answer = client.send(request.header("content-type", "application/json").body(dialect.request("m", "x").to_string())).await;
            of_one.insert(mark(dialect, &answer));
        }
        assert_eq!(of_one.len(), 1, "the same id has one side");
        marks.extend(of_one);
    }
    assert_eq!(marks, BTreeSet::from(["one".into(), "two".into()]));
}

#[tokio::test]
async fn a_canary_can_be_for_named_callers() {
    let (_upstream, _gateway, client) = started("").await;
    let keys = format!("key={}&key={}", digest("anna"), digest("bert"));
    client.swap("swaps", &two(), &format!("rollout=canary&{keys}")).await;
    for dialect in Dialect::ALL {
        for (key, expect) in [(Some("anna"), "two"), (Some("bert"), "two"), (Some("carl"), "one"), (Some("ann"), "one"), (None, "one")] {
            assert_eq!(mark(dialect, &ask(&client, dialect, key).await), expect, "{dialect:?} {key:?}");
        }
    }
}

#[tokio::test]
async fn a_response_says_which_generation_made_it() {
    let (_upstream, _gateway, client) = started("").await;
    client.swap("swaps", &two(), &format!("rollout=canary&key={}", digest("anna"))).await;
    let all = client.generations().await;
    let number = |state: &str| {
        let found = all["generations"].as_array().and_then(|g| g.iter().find(|g| g["state"] == state));
        found.unwrap_or_else(|| panic!("no generation is {state}: {all}"))["number"].to_string()
    };
    for (key, state) in [("anna", "canary"), ("carl", "active")] {
        let answer = ask(&client, Dialect::OpenAi, Some(key)).await;
        assert_eq!(answer.header("x-wasmgate-generation"), number(state), "{key}");
    }
}

#[tokio::test]
async fn one_rollout_at_a_time() {
    let (_upstream, _gateway, client) = started("").await;
    client.swap("swaps", &two(), "rollout=canary&share=0.5").await;
    for query in ["rollout=canary&share=0.1", "rollout=shadow"] {
        let request = client.request(Method::PUT, &format!("/api/extensions/swaps?{query}"));
        assert_conflict(&client, request.body(Vec::from(&Version::swaps("0.3.0", "three", "plain")))).await;
    }
    assert_eq!(client.extension("swaps").await["candidate"]["version"], "0.2.0", "the first goes on");
    client.roll_back("swaps").await;
    client.swap("swaps", &Version::swaps("0.3.0", "three", "plain"), "rollout=canary&share=0.1").await;
}

// === on its own ===

/// Asks until the version of `query` has trapped, and long enough to see what comes after. The marks of good answers, and how many were not.
async fn until_it_trapped(client: &Client, query: &str) -> (Vec<String>, usize) {
    client.swap("swaps", &Version::swaps("0.2.0", "two", "trap-after-N"), query).await;
    let (mut marks, mut failed) = (Vec::new(), 0);
    for number in 0..140 {
        let dialect = Dialect::ALL[number % 2];
        let answer = ask(client, dialect, Some("anna")).await;
        match answer.status {
            500 => failed += 1,
            _ => marks.push(mark(dialect, &answer)),
        }
    }
    (marks, failed)
}

#[tokio::test]
async fn a_version_that_traps_is_rolled_back_by_itself() {
    for query in ["rollout=canary&share=1&replay=off", "rollout=active&replay=off"] {
        let (_upstream, _gateway, client) = started("error_budget: 5").await;
        let (marks, failed) = until_it_trapped(&client, query).await;
        // The budget is what is tolerated; the failure that is one too many closes the way.
        assert!((1..=6).contains(&failed), "{query}: {failed} requests failed");
        let of = |mark: &str| marks.iter().filter(|m| *m == mark).count();
        assert_eq!((of("two"), of("one")), (100, 40 - failed), "{query}");
        let attempt = client.attempt("rollback by itself", |a| a["trigger"] == "automatic").await;
        assert_eq!((&attempt["outcome"], &attempt["extension"]), (&json!("rolled-back"), &json!("swaps")), "{query}: {attempt}");
        let reason = attempt["reason"].as_str().unwrap_or_default();
        assert!(reason.contains("fail"), "{query}: {attempt}");
        assert_serves(&client, "0.1.0", "one").await;
    }
}

#[tokio::test]
async fn a_rollback_by_itself_is_final_until_somebody_says_otherwise() {
    let (_upstream, _gateway, client) = started("error_budget: 0").await;
    let (_, failed) = until_it_trapped(&client, "rollout=canary&share=1&replay=off").await;
    assert_eq!(failed, 1, "nothing is tolerated");
    client.attempt("rollback by itself", |a| a["trigger"] == "automatic").await;
    assert_conflict(&client, client.request(Method::POST, "/api/extensions/swaps/promote")).await;
    client.swap("swaps", &two(), "").await;
    assert_serves(&client, "0.2.0", "two").await;
}

// === shadow ===

#[tokio::test]
async fn a_shadow_is_compared_and_has_no_effects() {
    let upstream = setup::friendly(Dialect::OpenAi).await;
    let more = format!("{}{}", extensions::fixture("probe", ""), section(""));
    let gateway = Gateway::start(&setup::config(&setup::provider(Dialect::OpenAi, &upstream), &more)).await;
    let client = Client::new(&gateway);
    let attempt = client.swap("probe", &Version::of_fixture("probe").numbered("0.2.0"), "rollout=shadow").await;
    assert_eq!((&attempt["outcome"], &attempt["to"]), (&json!("shadow"), &json!("0.2.0")), "{attempt}");
    let mut ids = Vec::new();
    for number in 0..10 {
        let dialect = Dialect::ALL[number % 2];
        let answer = client.post(dialect.path(), &dialect.request("note", "x")).await;
        assert_eq!((answer.status, answer.header("x-probe")), (200, "was here"), "{}", answer.text());
        ids.push(answer.header("x-request-id").to_owned());
    }
    // Two hooks before the answer are 20 calls, so with one more the last hook, which counts, was there too.
    let shadowed = |e: &Value| e["candidate"]["compared"].as_u64() > Some(20);
    let extension = client.extension_when("probe", "calls that were compared", shadowed).await;
    let candidate = &extension["candidate"];
    assert_eq!(
        (&candidate["rollout"], &candidate["different"], &candidate["failures"]),
        (&json!("shadow"), &json!(0), &json!(0)),
        "{extension}"
    );
    for id in &ids {
        // The last hook comes after the answer, and the record after that.
        setup::assert_record(&client, id, "success").await;
        assert_eq!(client.get(&format!("/probe/count/{id}")).await.text(), "1", "the shadow counted too");
        let said = format!("over: {id} ");
        let is_it = |l: &Value| l["message"].as_str().is_some_and(|m| m.starts_with(&said));
        gateway.log_line(&said, is_it).await;
        assert_eq!(gateway.log_lines(is_it).len(), 1, "the shadow wrote into the log");
    }
    assert_eq!(upstream.received().len(), ids.len(), "the shadow asked a provider");
}

#[tokio::test]
async fn callers_never_see_what_a_shadow_decides() {
    let (_upstream, _gateway, client) = started("max_divergence: 1").await;
    client.swap("swaps", &Version::swaps("0.2.0", "one", "diverge"), "rollout=shadow").await;
    for _ in 0..10 {
        assert_eq!(current_mark(&client).await, "one");
    }
    let extension = client.extension_when("swaps", "a difference", |e| e["candidate"]["different"].as_u64() > Some(0)).await;
    assert_eq!((&extension["version"], &extension["candidate"]["version"]), (&json!("0.1.0"), &json!("0.2.0")), "{extension}");
}

// === promote, roll back ===

#[tokio::test]
async fn a_candidate_is_promoted() {
    for query in ["rollout=canary&share=0.1", "rollout=shadow"] {
        let (_upstream, _gateway, client) = started("").await;
        client.swap("swaps", &same(), query).await;
        assert_eq!(client.extension("swaps").await["version"], "0.1.0");
        let attempt = client.promote("swaps").await;
        assert_eq!(
            (&attempt["trigger"], &attempt["outcome"], &attempt["to"]),
            (&json!("promote"), &json!("published"), &json!("0.2.0")),
            "{attempt}"
        );
        assert_serves(&client, "0.2.0", "one").await;
        assert_eq!(client.extension("swaps").await["previous"]["version"], "0.1.0");
        assert_conflict(&client, client.request(Method::POST, "/api/extensions/swaps/promote")).await;
    }
}

#[tokio::test]
async fn a_rollback_ends_a_candidate() {
    for query in ["rollout=canary&share=1", "rollout=shadow"] {
        let (_upstream, _gateway, client) = started("").await;
        client.swap("swaps", &two(), query).await;
        let attempt = client.roll_back("swaps").await;
        assert_eq!((&attempt["trigger"], &attempt["outcome"]), (&json!("rollback"), &json!("rolled-back")), "{attempt}");
        assert_serves(&client, "0.1.0", "one").await;
        assert_conflict(&client, client.request(Method::POST, "/api/extensions/swaps/promote")).await;
    }
}

#[tokio::test]
async fn a_rollback_returns_to_the_version_before_within_a_second() {
    let (_upstream, _gateway, client) = started("").await;
    for round in 0..3 {
        client.swap("swaps", &Version::swaps(&format!("0.2.{round}"), "two", "plain"), "").await;
        assert_eq!(current_mark(&client).await, "two");
        let asked = Instant::now();
        let attempt = client.roll_back("swaps").await;
        let answer = ask(&client, Dialect::OpenAi, None).await;
        let took = asked.elapsed();
        assert_eq!(mark(Dialect::OpenAi, &answer), "one");
        assert!(took < BACK, "it took {took:?}");
        assert_eq!((&attempt["trigger"], &attempt["outcome"]), (&json!("rollback"), &json!("rolled-back")), "{attempt}");
        assert_serves(&client, "0.1.0", "one").await;
    }
}

#[tokio::test]
async fn a_rollback_holds_for_new_requests_while_many_are_running() {
    let (_upstream, _gateway, client) = started("").await;
    client.swap("swaps", &two(), "").await;
    let (stop, stopped) = tokio::sync::watch::channel(false);
    let callers: Vec<_> = (0..16)
        .map(|number| {
            let (client, stopped) = (client.clone(), stopped.clone());
            tokio::spawn(async move {
                let dialect = Dialect::ALL[number % 2];
                let mut answers = 0;
                while !*stopped.borrow() {
                    mark(dialect, &ask(&client, dialect, None).await);
                    answers += 1;
                }
                answers
            })
        })
        .collect();
    let asked = Instant::now();
    client.roll_back("swaps").await;
    assert_eq!(current_mark(&client).await, "one");
    let took = asked.elapsed();
    assert!(took < BACK, "it took {took:?}");
    stop.send_replace(true);
    for caller in callers {
        soon("end of a caller", caller).await.expect("no request failed or mixed versions");
    }
}

// === replay ===

/// A gateway that has recorded some calls.
async fn recorded(deploy: &str) -> (Upstream, Gateway, Client) {
    let site = started(deploy).await;
    for _ in 0..5 {
        current_mark(&site.2).await;
    }
    site
}

#[tokio::test]
async fn a_version_that_decides_otherwise_is_refused_where_replay_is_required() {
    let (_upstream, _gateway, client) = recorded("").await;
    let diverging = Version::swaps("0.2.0", "one", "diverge");
    let (reason, attempt) = client.refused("swaps", &diverging, "replay=require").await;
    let last = attempt["steps"].as_array().and_then(|s| s.last()).expect("steps");
    assert_eq!((&last["step"], &last["outcome"]), (&json!("replay"), &json!("refused")), "{reason}: {attempt}");
    let replay = &attempt["replay"];
    assert!(replay["different"].as_u64() >= Some(1), "{attempt}");
    let differences = replay["differences"].as_array().expect("differences");
    assert!(differences.iter().any(|d| d["hook"] == "before-generate" && d["what"].as_str().is_some_and(|w| !w.is_empty())), "{attempt}");
    assert_serves(&client, "0.1.0", "one").await;

    let attempt = client.swap("swaps", &same(), "replay=require").await;
    let replay = &attempt["replay"];
    assert!(replay["calls"].as_u64() >= Some(10), "{attempt}");
    assert_eq!((&replay["same"], &replay["different"], &replay["failed"]), (&replay["calls"], &json!(0), &json!(0)), "{attempt}");
    assert!(replay["cost_us"]["before"].is_number() && replay["cost_us"]["after"].is_number(), "{attempt}");
    assert_serves(&client, "0.2.0", "one").await;
}

#[tokio::test]
async fn a_replay_can_be_only_reported_or_left_out() {
    let diverging = Version::swaps("0.2.0", "two", "plain");
    for (setting, query, different, outcome) in [
        ("", "", true, "passed"),
        ("", "replay=report", true, "passed"),
        ("", "replay=off", false, "skipped"),
        ("replay: off", "", false, "skipped"),
        ("replay: off", "replay=report", true, "passed"),
    ] {
        let (_upstream, _gateway, client) = recorded(setting).await;
        let attempt = client.swap("swaps", &diverging, query).await;
        assert_eq!(attempt["replay"]["different"].as_u64() > Some(0), different, "{setting} {query}: {attempt}");
        let step = attempt["steps"].as_array().and_then(|all| all.iter().find(|s| s["step"] == "replay")).expect("the step");
        assert_eq!(step["outcome"], outcome, "{setting} {query}: {attempt}");
        assert_serves(&client, "0.2.0", "two").await;
    }
}

#[tokio::test]
async fn a_required_replay_of_the_configuration_holds_for_every_swap() {
    let (_upstream, _gateway, client) = recorded("replay: require").await;
    client.refused("swaps", &two(), "").await;
    client.refused("swaps", &two(), "rollout=canary&share=0.5").await;
    assert_serves(&client, "0.1.0", "one").await;
    client.swap("swaps", &two(), "replay=off").await;
    assert_serves(&client, "0.2.0", "two").await;
}

#[tokio::test]
async fn as_many_calls_are_kept_as_the_configuration_says() {
    let (_upstream, _gateway, client) = recorded("record: 4").await;
    let attempt = client.swap("swaps", &same(), "replay=require").await;
    assert_eq!(attempt["replay"]["calls"], 4, "{attempt}");
}
