//! What is published is whole: each new version is watched by itself, the way back is always open, nothing is lost on the way to the disk,
//! and nobody is ended who still serves. See `deploy.rs` for the fixture.

use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;
use wasmgate_tests::answers::{Says, TEXT};
use wasmgate_tests::cli::ConfigFile;
use wasmgate_tests::gateway::replace;
use wasmgate_tests::operator::digest;
use wasmgate_tests::{Client, Dialect, Gate, Gateway, Reply, Step, Upstream, Version, component, repo, soon};

use crate::deploy::{ask, assert_serves, current_mark, gateway, mark, section};
use crate::reload::{kept, newest, next_attempt, start, with_alias};
use crate::setup;

fn trapping(version: &str) -> Version {
    Version::swaps(version, "two", "trap-after-N")
}

/// How many of these requests fail.
async fn failures(client: &Client, requests: usize) -> usize {
    let mut failed = 0;
    for number in 0..requests {
        let answer = ask(client, Dialect::ALL[number % 2], None).await;
        failed += usize::from(answer.status != 200);
    }
    failed
}

async fn taken_back(client: &Client, name: &str) -> Value {
    client.attempt("rollback by itself", |a| a["trigger"] == "automatic" && a["extension"] == name).await
}

// === each by itself ===

#[tokio::test]
async fn a_further_change_does_not_end_the_watch_over_the_one_before() {
    let upstream = setup::friendly(Dialect::OpenAi).await;
    for routing in ["", "rollout=canary&share=1", "rollout=shadow"] {
        let (_gateway, client) = gateway(Dialect::OpenAi, &upstream, "error_budget: 5, max_divergence: 1").await;
        client.swap("swaps", &trapping("0.2.0"), "").await;
        client.swap("routing", &Version::of("routing").numbered("0.2.0"), routing).await;
        let failed = failures(&client, 140).await;
        assert!((1..=6).contains(&failed), "{routing}: {failed} requests failed");
        let attempt = taken_back(&client, "swaps").await;
        assert_eq!((&attempt["outcome"], &attempt["to"]), (&json!("rolled-back"), &json!("0.1.0")), "{routing}: {attempt}");
        assert_serves(&client, "0.1.0", "one").await;
        // The other one had no part in it.
        let other = client.extension("routing").await;
        let version = if routing.is_empty() { &other["version"] } else { &other["candidate"]["version"] };
        assert_eq!(version, "0.2.0", "{routing}: {other}");
    }
}

#[tokio::test]
async fn a_version_that_fails_takes_no_trial_of_another_one_with_it_but_its_own() {
    let upstream = setup::friendly(Dialect::OpenAi).await;
    let (_gateway, client) = gateway(Dialect::OpenAi, &upstream, "error_budget: 0").await;
    client.swap("swaps", &trapping("0.2.0"), "").await;
    // Tried out beside a version that will be gone.
    client.swap("swaps", &Version::swaps("0.3.0", "three", "plain"), "rollout=canary&share=0").await;
    assert_eq!(failures(&client, 140).await, 1);
    let attempt = taken_back(&client, "swaps").await;
    assert_eq!((&attempt["from"], &attempt["to"]), (&json!("0.2.0"), &json!("0.1.0")), "{attempt}");
    assert_serves(&client, "0.1.0", "one").await;
}

#[tokio::test]
async fn versions_that_came_with_one_reload_are_each_taken_back() {
    let upstream = setup::friendly(Dialect::OpenAi).await;
    let base = setup::config(&setup::provider(Dialect::OpenAi, &upstream), &format!("  swaps: {{}}\n{}", section("error_budget: 2")));
    let gateway = Gateway::builder(&base).own_components(&[("swaps", Version::of_fixture("swaps").bytes())]).start().await;
    let client = Client::new(&gateway);
    let components = gateway.folder().join("components");
    replace(&components.join("swaps.wasm"), trapping("0.2.0").bytes());
    replace(&components.join("routing.wasm"), Version::of("routing").numbered("0.2.0").bytes());
    client.order("/api/config/reload").await;
    let failed = failures(&client, 140).await;
    assert!((1..=3).contains(&failed), "{failed} requests failed");
    taken_back(&client, "swaps").await;
    assert_serves(&client, "0.1.0", "one").await;
    assert_eq!(client.extension("routing").await["version"], "0.2.0");
}

/// A gateway with a folder of its own, in which `swaps` and `probe` are these.
async fn of_files(upstream: &Upstream, swaps: &Version, probe: &Version) -> (Gateway, Client, String) {
    let more = format!("  swaps: {{}}\n  probe: {{}}\n{}", section("error_budget: 2"));
    let base = setup::config(&setup::provider(Dialect::OpenAi, upstream), &more);
    let gateway = Gateway::builder(&base).own_components(&[("swaps", swaps.bytes()), ("probe", probe.bytes())]).start().await;
    let client = Client::new(&gateway);
    (gateway, client, base)
}

#[tokio::test]
async fn a_version_that_no_longer_needs_another_extension_may_come_as_that_goes() {
    let upstream = setup::friendly(Dialect::OpenAi).await;
    let needing = Version::of_fixture("swaps").with("dependencies", json!(["probe"]));
    let (gateway, client, base) = of_files(&upstream, &needing, &Version::of_fixture("probe")).await;
    replace(&gateway.folder().join("components/swaps.wasm"), Version::swaps("0.2.0", "two", "plain").bytes());
    gateway.configure(&base.replace("  probe: {}\n", ""));
    assert_eq!(client.order("/api/config/reload").await["outcome"], "published");
    assert_serves(&client, "0.2.0", "two").await;
}

#[tokio::test]
async fn versions_that_only_fit_together_are_taken_back_together() {
    let upstream = setup::friendly(Dialect::OpenAi).await;
    let first = Version::of_fixture("swaps").with("after", json!(["probe"]));
    let (gateway, client, _) = of_files(&upstream, &first, &Version::of_fixture("probe")).await;
    let then = Version::of_fixture("probe").numbered("0.2.0").with("after", json!(["swaps"]));
    replace(&gateway.folder().join("components/swaps.wasm"), trapping("0.2.0").bytes());
    replace(&gateway.folder().join("components/probe.wasm"), then.bytes());
    assert_eq!(client.order("/api/config/reload").await["outcome"], "published");
    let failed = failures(&client, 140).await;
    assert!((1..=3).contains(&failed), "{failed} requests failed");
    let attempt = taken_back(&client, "swaps").await;
    let steps = attempt["steps"].as_array().expect("steps");
    assert_eq!((&attempt["outcome"], steps.len()), (&json!("rolled-back"), 2), "alone it did not go: {attempt}");
    assert_serves(&client, "0.1.0", "one").await;
    assert_eq!(client.extension("probe").await["version"], "0.1.0");
}

#[tokio::test]
async fn callers_that_are_pinned_elsewhere_are_spared_too() {
    let upstream = setup::friendly(Dialect::OpenAi).await;
    let pins = "error_budget: 3, pins: [{extension: routing, version: 0.0.9, key: key-of-old}]";
    let config = setup::config(&setup::provider(Dialect::OpenAi, &upstream), &format!("  swaps: {{}}\n{}", section(pins)));
    let old = Version::of("routing").numbered("0.0.9");
    let components = [("swaps", Version::of_fixture("swaps").bytes().to_vec()), ("routing-0.0.9", old.bytes().to_vec())];
    let components: Vec<_> = components.iter().map(|(name, bytes)| (*name, bytes.as_slice())).collect();
    let gateway = Gateway::builder(&config).own_components(&components).start().await;
    let client = Client::new(&gateway);
    client.swap("swaps", &trapping("0.2.0"), "").await;
    let mut failed = 0;
    for _ in 0..140 {
        failed += usize::from(ask(&client, Dialect::OpenAi, Some("key-of-old")).await.status != 200);
    }
    assert!((1..=4).contains(&failed), "{failed} requests failed");
}

#[tokio::test]
async fn a_version_that_has_proven_itself_is_no_longer_watched() {
    let upstream = setup::friendly(Dialect::OpenAi).await;
    let (_gateway, client) = gateway(Dialect::OpenAi, &upstream, "error_budget: 0, observe: 2s").await;
    client.swap("swaps", &trapping("0.2.0"), "").await;
    let has_fallback =
        async || client.generations().await["generations"].as_array().is_some_and(|g| g.iter().any(|g| g["state"] == "fallback"));
    assert!(has_fallback().await);
    let over = async {
        while has_fallback().await {
            tokio::task::yield_now().await;
        }
    };
    soon("end of the watch", over).await;
    // From here on it is what the operator wanted, with its failures.
    assert_eq!(failures(&client, 110).await, 10);
    assert!(client.history().await.iter().all(|a| a["trigger"] != "automatic"));
    client.roll_back("swaps").await;
    assert_serves(&client, "0.1.0", "one").await;
}

// === the way back is open ===

/// Sends a version that takes long to be compared, does something when that begins, and gives the last line.
async fn meanwhile(client: &Client, bytes: &Version, act: impl Future<Output = ()>) -> Value {
    let (begun, mut lines) = (Gate::default(), Vec::new());
    let told = begun.clone();
    let swapping = async {
        lines = client
            .swap_by_steps("swaps", bytes, |line| {
                if line["step"] == "self-test" {
                    told.open();
                }
                true
            })
            .await;
    };
    let acting = async {
        begun.wait().await;
        act.await;
    };
    tokio::join!(swapping, acting);
    lines.pop().expect("an answer")
}

/// A gateway whose `swaps` may take its time.
async fn patient(upstream: &Upstream) -> (Gateway, Client) {
    let config = crate::deploy::config(Dialect::OpenAi, upstream, "").replace("swaps: {", "swaps: {limits: {cpu_ms: 1000}, ");
    let gateway = Gateway::start(&config).await;
    let client = Client::new(&gateway);
    (gateway, client)
}

/// So many calls, each of which takes a candidate of the kind `slow-calls` some milliseconds, are compared for about a second.
async fn record_calls(client: &Client) {
    for _ in 0..50 {
        current_mark(client).await;
    }
}

#[tokio::test]
async fn a_rollback_does_not_wait_for_what_is_being_tested() {
    let upstream = setup::friendly(Dialect::OpenAi).await;
    let (_gateway, client) = patient(&upstream).await;
    client.swap("routing", &Version::of("routing").numbered("0.2.0"), "").await;
    record_calls(&client).await;
    let slow = Version::swaps("0.3.0", "three", "slow-calls");
    let act = async {
        client.roll_back("routing").await;
        let running = client.history().await.into_iter().find(|a| a["to"] == "0.3.0").expect("it has begun");
        assert_eq!(running["outcome"], "running", "the rollback came first: {running}");
    };
    let answer = meanwhile(&client, &slow, act).await;
    assert_eq!(answer["data"]["outcome"], "published", "{answer}");
    assert_serves(&client, "0.3.0", "three").await;
    assert_eq!(client.extension("routing").await["version"], "0.1.0");
}

#[tokio::test]
async fn what_was_tested_beside_a_version_that_was_taken_back_is_refused() {
    let upstream = setup::friendly(Dialect::OpenAi).await;
    let (gateway, client) = patient(&upstream).await;
    client.swap("swaps", &Version::swaps("0.2.0", "two", "plain"), "").await;
    record_calls(&client).await;
    let slow = Version::swaps("0.3.0", "three", "slow-calls");
    let act = async {
        client.roll_back("swaps").await;
    };
    let answer = meanwhile(&client, &slow, act).await;
    let message = answer["error"]["message"].as_str().unwrap_or_default();
    assert!(message.contains("version 0.2.0 was taken back while this was being tested"), "{answer}");
    assert_serves(&client, "0.1.0", "one").await;
    shut_down(&gateway, "three").await;
}

#[tokio::test]
async fn a_version_that_cannot_save_can_be_replaced() {
    let upstream = setup::friendly(Dialect::OpenAi).await;
    let (_gateway, client) = gateway(Dialect::OpenAi, &upstream, "").await;
    client.swap("swaps", &Version::swaps("0.2.0", "two", "trap-save"), "").await;
    let attempt = client.swap("swaps", &Version::swaps("0.3.0", "three", "plain"), "").await;
    let configure = attempt["steps"].as_array().and_then(|s| s.iter().find(|s| s["step"] == "configure")).expect("the step").clone();
    assert!(configure["detail"].as_str().is_some_and(|d| d.contains("version 0.2.0 left nothing")), "{configure}");
    assert_serves(&client, "0.3.0", "three").await;
}

#[tokio::test]
async fn nothing_is_returned_to_that_the_configuration_no_longer_allows() {
    let upstream = setup::friendly(Dialect::OpenAi).await;
    let base = crate::deploy::config(Dialect::OpenAi, &upstream, "");
    for (without, with) in [
        ("swaps: {", "swaps: {limits: {memory_mb: 32}, "),
        ("swaps: {", "swaps: {grant: [log, kv], "),
        ("swaps: {", "swaps: {isolation: per-request, "),
    ] {
        let gateway = Gateway::start(&base).await;
        let client = Client::new(&gateway);
        let asking = Version::swaps("0.2.0", "two", "plain").asking(&["kv", "log", "clock"]);
        client.swap("swaps", &asking, "grant=clock").await;
        client.swap("swaps", &Version::swaps("0.3.0", "three", "plain"), "").await;
        gateway.configure(&base.replace(without, with));
        let answer = client.send(client.request(http::Method::POST, "/api/config/reload")).await;
        assert_eq!(answer.status, 200, "{with}: {}", answer.text());
        let answer = client.send(client.request(http::Method::POST, "/api/extensions/swaps/rollback")).await;
        assert_eq!(answer.status, 409, "{with}: {}", answer.text());
        assert_serves(&client, "0.3.0", "three").await;
    }
}

// === the disk ===

/// Somebody removed the folder, or the disk is full: nothing can be written.
fn break_disk(gateway: &Gateway) -> PathBuf {
    let state = gateway.folder().join("state");
    std::fs::rename(&state, gateway.folder().join("elsewhere")).expect("it is there");
    std::fs::write(&state, "no folder").expect("a temporary file");
    state
}

#[tokio::test]
async fn what_cannot_be_kept_is_not_published() {
    let upstream = setup::friendly(Dialect::OpenAi).await;
    let (gateway, client) = start(kept(&upstream)).await;
    break_disk(&gateway);
    for query in ["", "rollout=canary&share=1"] {
        let (reason, attempt) = client.refused("swaps", &Version::swaps("0.2.0", "two", "plain"), query).await;
        assert!(reason.contains("cannot be kept for a restart"), "{reason}");
        assert_eq!(attempt["steps"].as_array().and_then(|s| s.last()).map(|s| &s["step"]), Some(&json!("publish")), "{attempt}");
        assert_serves(&client, "0.1.0", "one").await;
    }
    shut_down(&gateway, "two").await;
}

#[tokio::test]
async fn a_version_that_fails_is_taken_back_though_the_disk_does_too() {
    let upstream = setup::friendly(Dialect::OpenAi).await;
    let (gateway, client) = start(kept(&upstream)).await;
    client.swap("swaps", &trapping("0.2.0"), "").await;
    let state = break_disk(&gateway);
    assert!(failures(&client, 140).await <= 6);
    taken_back(&client, "swaps").await;
    assert_serves(&client, "0.1.0", "one").await;
    let said = |text: &'static str| move |l: &Value| l["message"].as_str().is_some_and(|m| m.starts_with(text));
    gateway.log_line("the disk's error", said("what is published cannot be kept")).await;
    // It is written as soon as it can be.
    std::fs::remove_file(&state).expect("it is there");
    std::fs::create_dir(&state).expect("a temporary folder");
    gateway.log_line("it is kept", said("what is published is kept again")).await;
    let (_gateway, client) = start(gateway.kill()).await;
    assert_serves(&client, "0.1.0", "one").await;
}

#[tokio::test]
async fn somebody_takes_a_version_back_though_the_disk_fails() {
    let upstream = setup::friendly(Dialect::OpenAi).await;
    let (gateway, client) = start(kept(&upstream)).await;
    client.swap("swaps", &Version::swaps("0.2.0", "two", "plain"), "").await;
    break_disk(&gateway);
    client.roll_back("swaps").await;
    assert_serves(&client, "0.1.0", "one").await;
}

fn files(folder: &Path) -> Vec<String> {
    std::fs::read_dir(folder).expect("a folder").flatten().map(|e| e.file_name().to_string_lossy().into_owned()).collect()
}

#[tokio::test]
async fn power_that_ends_while_the_disk_is_written_leaves_one_version_whole() {
    let upstream = setup::friendly(Dialect::OpenAi).await;
    let (mut gateway, mut client) = start(kept(&upstream)).await;
    client.swap("swaps", &Version::swaps("0.2.0", "mark-2", "plain"), "").await;
    let mut caught = 0;
    for number in 3..11 {
        let next = Version::swaps(&format!("0.{number}.0"), &format!("mark-{number}"), "plain");
        let state = gateway.folder().join("state");
        let component = format!("{}.wasm", digest(next.bytes()).trim_start_matches("sha256:"));
        let swapping = tokio::spawn({
            let client = client.clone();
            async move { client.request(http::Method::PUT, "/api/extensions/swaps").body(Vec::from(&next)).send().await.map(|r| r.status()) }
        });
        // It may be over before anybody has seen it, on a fast disk.
        let mut over = false;
        let seen = || match number % 2 {
            0 => files(&state).iter().any(|name| name.starts_with(".wasmgate-")),
            _ => files(&state).contains(&component),
        };
        while !seen() && !over {
            over = swapping.is_finished();
            tokio::task::yield_now().await;
        }
        caught += usize::from(!over);
        let builder = gateway.kill();
        let answered = swapping.await.expect("it does not panic").is_ok_and(|status| status == 200);
        (gateway, client) = start(builder).await;
        let mark = current_mark(&client).await;
        let version = client.extension("swaps").await["version"].as_str().unwrap_or_default().to_owned();
        assert_eq!(version.trim_start_matches("0.").trim_end_matches(".0"), mark.trim_start_matches("mark-"), "one version, whole");
        assert!(!answered || mark == format!("mark-{number}"), "who was told that it is published can rely on it");
        let left: Vec<_> = files(&state).into_iter().filter(|name| name.starts_with(".wasmgate-")).collect();
        assert!(left.is_empty(), "{left:?}");
    }
    assert!(caught > 0, "no swap was caught while it wrote");
}

#[tokio::test]
async fn numbers_are_given_once_though_nothing_was_swapped() {
    let upstream = setup::friendly(Dialect::OpenAi).await;
    let (gateway, client) = start(kept(&upstream)).await;
    let first = client.generations().await;
    let (_gateway, client) = start(gateway.kill()).await;
    let second = client.generations().await;
    assert!(first["current"].as_u64() < second["current"].as_u64(), "{second}");
    assert!(first["history"][0]["id"].as_u64() < second["history"][0]["id"].as_u64(), "{second}");
}

#[tokio::test]
async fn a_folder_for_components_is_no_folder_for_the_state() {
    let state = repo::components().join(".");
    let refused = ConfigFile::new(&setup::config("  e: {type: echo}\n", &format!("deploy: {{state: {}}}\n", state.display()))).check(&[]);
    assert_eq!(refused.code, 2, "{}", refused.stderr);
    assert!(refused.stderr.contains("deploy.state") && refused.stderr.contains("the folder of the components"), "{}", refused.stderr);
}

// === reloads ===

#[tokio::test]
async fn what_changes_during_a_trial_is_read_when_it_ends() {
    let upstream = setup::friendly(Dialect::OpenAi).await;
    let base = setup::config(&setup::provider(Dialect::OpenAi, &upstream), &format!("  swaps: {{}}\n{}", section("watch: true")));
    let gateway = Gateway::builder(&base).own_components(&[("swaps", Version::of_fixture("swaps").bytes())]).start().await;
    let client = Client::new(&gateway);
    client.swap("swaps", &Version::swaps("0.2.0", "two", "plain"), "rollout=canary&share=0").await;
    let known = newest(&client).await;
    replace(&gateway.folder().join("components/swaps.wasm"), Version::swaps("0.3.0", "three", "plain").bytes());
    let refused = next_attempt(&client, known, "watch").await;
    assert_eq!(refused["outcome"], "refused", "{refused}");
    let known = newest(&client).await;
    client.roll_back("swaps").await;
    let read = next_attempt(&client, known, "watch").await;
    assert_eq!((&read["outcome"], &read["to"]), (&json!("published"), &json!("0.3.0")), "{read}");
    assert_serves(&client, "0.3.0", "three").await;
}

#[tokio::test]
async fn a_component_off_the_shelf_that_was_swapped_in_stays_after_a_reload_and_a_restart() {
    let upstream = setup::friendly(Dialect::OpenAi).await;
    let bare = component::without_manifest(&std::fs::read(repo::fixture("shelf")).expect("`cargo xtask build --components-only` makes it"));
    // The same program with a section that nobody reads: another file.
    let other = component::with_note(&bare);
    let folder = tempfile::tempdir().expect("a temporary folder");
    let file = component::write(folder.path(), "bare", &bare);
    let mounted = format!("  hello: {{component: \"{}\", routes: [GET /hello]}}\n", file.display());
    let base = setup::config(&setup::provider(Dialect::OpenAi, &upstream), &mounted);
    let builder = Gateway::builder(&base);
    let state = builder.folder().join("state");
    let (gateway, client) = start(builder.set(format!("deploy.state={}", state.display()))).await;
    let kept = client.swap("hello", other, "").await["digest"].clone();
    // What runs needs no file.
    std::fs::rename(&state, gateway.folder().join("elsewhere")).expect("it is there");
    std::fs::create_dir(&state).expect("a temporary folder");
    gateway.configure(&with_alias(&base, "another"));
    assert_eq!(client.order("/api/config/reload").await["outcome"], "published");
    assert_eq!(client.extension("hello").await["digest"], kept);
    assert_eq!(client.get("/hello").await.status, 200);
    let (_gateway, client) = start(gateway.kill()).await;
    assert_eq!(client.extension("hello").await["digest"], kept);
}

#[tokio::test]
async fn a_pinned_version_whose_file_changed_is_read_again_and_others_stay_loaded() {
    let upstream = setup::friendly(Dialect::OpenAi).await;
    let pins = "pins: [{extension: swaps, version: 0.0.9, key: key-of-old}]";
    let config = setup::config(&setup::provider(Dialect::OpenAi, &upstream), &format!("  swaps: {{}}\n{}", section(pins)));
    let (first, second) = (Version::swaps("0.0.9", "nine", "plain"), Version::swaps("0.0.9", "nine-b", "plain"));
    let builder =
        Gateway::builder(&config).own_components(&[("swaps", Version::of_fixture("swaps").bytes()), ("swaps-0.0.9", first.bytes())]);
    let gateway = builder.start().await;
    let client = Client::new(&gateway);
    let pinned = async || mark(Dialect::OpenAi, &ask(&client, Dialect::OpenAi, Some("key-of-old")).await);
    assert_eq!(pinned().await, "nine");
    gateway.configure(&with_alias(&config, "another"));
    client.order("/api/config/reload").await;
    assert_eq!(in_memory(&client).await, 5, "it was not loaded once more");
    replace(&gateway.folder().join("components/swaps-0.0.9.wasm"), second.bytes());
    assert_eq!(client.order("/api/config/reload").await["outcome"], "published");
    assert_eq!(pinned().await, "nine-b");
    shut_down(&gateway, "nine").await;
}

/// How many extensions are in memory when none is on its way out.
async fn in_memory(client: &Client) -> u64 {
    let settled = async {
        loop {
            let all = client.generations().await;
            let drains = all["generations"].as_array().is_some_and(|g| g.iter().any(|g| g["state"] == "draining"));
            // One that was replaced goes a moment after its generation.
            if !drains && all["extensions_in_memory"].as_u64() <= Some(5) {
                return all["extensions_in_memory"].as_u64().expect("a number");
            }
            tokio::task::yield_now().await;
        }
    };
    soon("end of what was replaced", settled).await
}

#[tokio::test]
async fn a_reload_decides_what_is_recorded_from_then_on() {
    let upstream = setup::friendly(Dialect::OpenAi).await;
    let base = crate::deploy::config(Dialect::OpenAi, &upstream, "record: 8");
    let gateway = Gateway::start(&base).await;
    let client = Client::new(&gateway);
    for (setting, expect) in [("record: 8", 8), ("record: 3", 3), ("record: 0", 0), ("record: 5", 5)] {
        gateway.configure(&base.replace("record: 8", setting));
        client.order("/api/config/reload").await;
        for _ in 0..6 {
            current_mark(&client).await;
        }
        assert_eq!(client.extension("swaps").await["recorded_calls"], expect, "{setting}");
    }
}

// === the end of a version ===

/// A version was told that it goes.
async fn shut_down(gateway: &Gateway, mark: &str) {
    let said = format!("shut down: {mark}");
    gateway.log_line(&said, |l| l["message"] == said.as_str()).await;
}

#[track_caller]
fn assert_not_shut_down(gateway: &Gateway, mark: &str) {
    let said = format!("shut down: {mark}");
    assert!(gateway.log_lines(|l| l["message"] == said.as_str()).is_empty(), "{said}");
}

#[tokio::test]
async fn a_version_is_ended_when_its_last_request_is_over_and_nobody_would_return_to_it() {
    let gate = Gate::default();
    let held = gate.clone();
    let upstream = Upstream::start(move |r| {
        if !r.is_stream() {
            return Says::text(TEXT).reply(Dialect::OpenAi, r);
        }
        let events = Says::text(TEXT).stream(Dialect::OpenAi, &r.model());
        Reply::events(vec![Step::Send(events[..4].concat().into()), Step::Wait(held.clone()), Step::Send(events[4..].concat().into())])
    })
    .await;
    let (gateway, client) = gateway(Dialect::OpenAi, &upstream, "").await;
    let mut stream = client.stream(Dialect::OpenAi.path(), &Dialect::OpenAi.stream_request("m", "x")).await;
    stream.next().await.expect("the answer begins");
    for number in 2..=4 {
        client.swap("swaps", &Version::swaps(&format!("0.{number}.0"), &format!("mark-{number}"), "plain"), "").await;
    }
    // Nobody is on it and nobody returns to it.
    shut_down(&gateway, "mark-2").await;
    for mark in ["one", "mark-3", "mark-4"] {
        assert_not_shut_down(&gateway, mark);
    }
    gate.open();
    stream.rest().await;
    shut_down(&gateway, "one").await;
    client.roll_back("swaps").await;
    assert_serves(&client, "0.3.0", "mark-3").await;
    assert_not_shut_down(&gateway, "mark-3");
    for (version, behaviour) in [("0.5.0", "fail-self-test"), ("0.6.0", "diverge")] {
        client.refused("swaps", &Version::swaps(version, behaviour.get(..4).expect("long enough"), behaviour), "replay=require").await;
        shut_down(&gateway, &behaviour[..4]).await;
    }
    assert_serves(&client, "0.3.0", "mark-3").await;
    let (_, log) = gateway.stop().await;
    for mark in ["mark-3", "mark-4"] {
        assert_eq!(log.matches(&format!("shut down: {mark}\"")).count(), 1, "{mark}\n{log}");
    }
}

#[tokio::test]
async fn whoever_does_not_read_is_cut_off_and_holds_no_version() {
    // More than the kernel takes for a client that does not read.
    let upstream = Upstream::start(|r| {
        if !r.is_stream() {
            return Says::text(TEXT).reply(Dialect::OpenAi, r);
        }
        let events = Says::text(TEXT).stream(Dialect::OpenAi, &r.model());
        Reply::events(vec![Step::Send(events[0].clone().into()), Step::Send(events[1].repeat(100_000).into()), Step::Hang])
    })
    .await;
    let config = crate::deploy::config(Dialect::OpenAi, &upstream, "");
    let gateway = Gateway::builder(&config).set("server.send_timeout=300ms").start().await;
    let client = Client::new(&gateway);
    let body = Dialect::OpenAi.stream_request("m", "x").to_string();
    let head = format!(
        "POST {} HTTP/1.1\r\nhost: localhost\r\nx-request-id: does-not-read\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n",
        Dialect::OpenAi.path(),
        body.len()
    );
    let mut stream = TcpStream::connect(gateway.address()).await.expect("the gateway listens");
    stream.write_all(format!("{head}{body}").as_bytes()).await.expect("it is read");
    upstream.request(0).await;
    client.swap("swaps", &Version::swaps("0.2.0", "two", "plain"), "").await;
    client.swap("swaps", &Version::swaps("0.3.0", "three", "plain"), "").await;
    setup::assert_record(&client, "does-not-read", "cancelled").await;
    shut_down(&gateway, "one").await;
    drop(stream);
}
