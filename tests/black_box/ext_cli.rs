//! `wasmgate ext`: what it prints and how it ends, with a gateway and without one.

use std::io::BufRead as _;

use serde_json::{Value, json};
use wasmgate_tests::cli::{self, Finished};
use wasmgate_tests::operator::{STEPS, digest};
use wasmgate_tests::{Client, Dialect, Gate, Gateway, Reply, Step, Upstream, Version, component, repo, soon};

use crate::deploy::{ask, assert_serves, gateway, mark};
use crate::setup;

/// A gateway with version 0.1.0 of `swaps`, and a folder with files to swap in.
struct Site {
    _upstream: Upstream,
    gateway: Gateway,
    client: Client,
    folder: tempfile::TempDir,
}

impl Site {
    async fn start() -> Self {
        let upstream = setup::friendly(Dialect::OpenAi).await;
        let (gateway, client) = gateway(Dialect::OpenAi, &upstream, "").await;
        Self { _upstream: upstream, gateway, client, folder: tempfile::tempdir().expect("a temporary folder") }
    }

    /// A file with this version, for the command line.
    fn file(&self, version: &Version) -> String {
        let name = component::manifest(version.bytes())["version"].to_string();
        component::write(self.folder.path(), &name, version.bytes()).to_str().expect("UTF-8").to_owned()
    }

    /// `wasmgate ext …` on this gateway.
    async fn ext(&self, args: &[&str]) -> Finished {
        let url = self.gateway.url();
        let args: Vec<String> = ["ext"].iter().chain(args).map(|a| (*a).to_owned()).collect();
        let run = move || cli::run_with(&args.iter().map(String::as_str).collect::<Vec<_>>(), &[("WASMGATE_SERVER_URL", &url)]);
        tokio::task::spawn_blocking(run).await.expect("the command does not panic")
    }

    /// The same, which must end well. What it printed.
    async fn good(&self, args: &[&str]) -> String {
        let finished = self.ext(args).await;
        assert_eq!((finished.code, finished.stderr.as_str()), (0, ""), "{args:?}: {finished:?}");
        finished.stdout
    }
}

/// A line that begins with this word, in words.
#[track_caller]
fn row<'a>(text: &'a str, first: &str) -> Vec<&'a str> {
    let mut rows = text.lines().map(|l| l.split_whitespace().collect::<Vec<_>>());
    rows.find(|r| r.first() == Some(&first)).unwrap_or_else(|| panic!("no line begins with `{first}`:\n{text}"))
}

// === without a gateway ===

#[test]
fn a_file_is_shown_without_a_gateway() {
    let file = repo::fixture("swaps");
    let bytes = std::fs::read(&file).expect("it is built");
    let (file, digest) = (file.to_str().expect("UTF-8"), digest(&bytes));
    let shown = cli::run(&["ext", "inspect", file]);
    assert_eq!((shown.code, shown.stderr.as_str()), (0, ""), "{shown:?}");
    for (label, words) in [
        ("name", &["swaps"][..]),
        ("version", &["0.1.0"]),
        ("contract", &["wasmgate:extension@0.1.2"]),
        ("hooks", &["before-generate,", "stream-filter"]),
        ("asks", &["for", "kv,", "log"]),
        ("digest", &[&digest]),
    ] {
        assert_eq!(row(&shown.stdout, label)[1..], *words, "{}", shown.stdout);
    }
    for part in ["Fixture: leaves its mark", "wasi:keyvalue/atomics@", "wasmgate:extension/stream-filter@0.1.2", " KiB"] {
        assert!(shown.stdout.contains(part), "`{part}` is not in:\n{}", shown.stdout);
    }
    let document = cli::run(&["ext", "inspect", file, "--json"]);
    let document: Value = serde_json::from_str(&document.stdout).expect("a document");
    let data = &document["data"];
    assert_eq!((&data["name"], &data["bytes"], &data["asks"]), (&json!("swaps"), &json!(bytes.len()), &json!(["kv", "log"])), "{document}");
}

#[test]
fn a_file_that_is_no_component_is_exit_code_1() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let good = std::fs::read(repo::fixture("swaps")).expect("it is built");
    for (name, bytes, word) in [
        ("text", &b"hello"[..], "not a WebAssembly file"),
        ("module", component::CORE_MODULE, "core WebAssembly module"),
        ("cut", &good[..good.len() / 2], "damaged"),
    ] {
        let file = component::write(folder.path(), name, bytes);
        let finished = cli::run(&["ext", "inspect", file.to_str().expect("UTF-8")]);
        assert_eq!((finished.code, finished.stdout.as_str()), (1, ""), "{name}: {finished:?}");
        assert!(finished.stderr.contains(word) && finished.stderr.contains(name), "{name}: {}", finished.stderr);
    }
}

#[test]
fn a_gateway_that_is_not_there_is_exit_code_1() {
    // A port that was free a moment ago.
    let free = std::net::TcpListener::bind("127.0.0.1:0").and_then(|l| l.local_addr()).expect("a free port");
    let address = format!("http://{free}");
    let file = repo::fixture("swaps");
    for args in
        [&["list"][..], &["history"], &["inspect", "swaps"], &["promote", "swaps"], &["swap", "swaps", file.to_str().expect("UTF-8")]]
    {
        let args: Vec<&str> = ["ext"].iter().chain(args).copied().chain(["--server", &address]).collect();
        let finished = cli::run(&args);
        assert_eq!((finished.code, finished.stdout.as_str()), (1, ""), "{args:?}: {finished:?}");
        assert!(finished.stderr.contains(&address) && finished.stderr.contains("--server"), "{args:?}: {}", finished.stderr);
    }
}

#[test]
fn a_wrong_command_line_is_exit_code_2() {
    let file = repo::fixture("swaps");
    let file = file.to_str().expect("UTF-8");
    for args in [
        &["ext"][..],
        &["ext", "dance"],
        &["ext", "inspect"],
        &["ext", "inspect", "no/such/file.wasm"],
        &["ext", "swap", "swaps"],
        &["ext", "swap", "swaps", "no/such/file.wasm"],
        &["ext", "swap", "swaps", file, "--rollout", "sometimes"],
        &["ext", "swap", "swaps", file, "--rollout", "canary"],
        &["ext", "swap", "swaps", file, "--rollout", "canary", "--share", "2"],
        &["ext", "swap", "swaps", file, "--share", "0.5"],
        &["ext", "list", "--server", "nowhere"],
    ] {
        let finished = cli::run(args);
        assert_eq!((finished.code, finished.stdout.as_str()), (2, ""), "{args:?}: {finished:?}");
        assert!(!finished.stderr.is_empty(), "{args:?}");
    }
}

#[test]
fn help_says_how_to_swap() {
    let help = cli::run(&["ext", "--help"]);
    for word in ["swap", "promote", "rollback", "history", "inspect", "--server", "WASMGATE_SERVER_URL", "Exit codes", "--rollout canary"] {
        assert!(help.stdout.contains(word), "`{word}` is not in:\n{}", help.stdout);
    }
    let help = cli::run(&["ext", "swap", "--help"]);
    for word in ["canary", "shadow", "--share", "--key", "--grant", "--replay"] {
        assert!(help.stdout.contains(word), "`{word}` is not in:\n{}", help.stdout);
    }
}

// === with a gateway that says what a script says ===

/// `wasmgate ext …` on whatever is at an address.
async fn ext_at(url: &str, args: &[&str]) -> Finished {
    let args: Vec<String> = ["ext"].iter().chain(args).map(|a| (*a).to_owned()).chain(["--server".into(), url.to_owned()]).collect();
    let run = move || cli::run(&args.iter().map(String::as_str).collect::<Vec<_>>());
    tokio::task::spawn_blocking(run).await.expect("the command does not panic")
}

fn lines(steps: Vec<Step>) -> Reply {
    Reply::events(steps).header("content-type", "application/x-ndjson")
}

const SIZE: &str = "{\"step\":\"size\",\"outcome\":\"passed\",\"ms\":0.1,\"detail\":\"147.3 KiB\"}\n";

#[tokio::test]
async fn what_is_sent_is_what_the_command_line_says() {
    let done = json!({"success": true, "data": {"id": 7, "extension": "swaps", "to": "0.2.0", "outcome": "canary"}});
    let server = Upstream::start(move |_| lines(vec![Step::Bytewise(SIZE.into()), Step::Send(done.to_string().into())])).await;
    let file = repo::fixture("swaps");
    let name = file.to_str().expect("UTF-8");
    let args =
        ["swap", "swaps", name, "--rollout", "canary", "--share", "0.05", "--key", "anna", "--replay", "require", "--grant", "kv,clock"];
    let finished = ext_at(&server.url(), &args).await;
    assert_eq!((finished.code, finished.stderr.as_str()), (0, ""), "{finished:?}");
    assert_eq!(finished.stdout, "  size          ok            0.1 ms  147.3 KiB\nswaps 0.2.0: serves its share as a canary (attempt 7)\n");
    let sent = server.only();
    let query = format!("rollout=canary&share=0.05&key={}&replay=require&grant=kv%2Cclock", digest("anna").replace(':', "%3A"));
    assert_eq!((sent.method.as_str(), sent.path.as_str()), ("PUT", format!("/api/extensions/swaps?{query}").as_str()));
    assert_eq!((sent.header("accept"), sent.header("origin")), (Some("application/x-ndjson"), None));
    assert!(sent.body == std::fs::read(&file).expect("it is built"), "the file is sent as it is");
}

#[tokio::test]
async fn an_answer_that_breaks_off_is_no_success() {
    let file = repo::fixture("swaps");
    let swap = ["swap", "swaps", file.to_str().expect("UTF-8")];
    for steps in [vec![Step::Send(SIZE.into()), Step::Cut], vec![Step::Send(SIZE.into()), Step::Reset], vec![Step::Send(SIZE.into())]] {
        let server = Upstream::script([lines(steps)]).await;
        let finished = ext_at(&server.url(), &swap).await;
        assert!(finished.code == 1 && finished.stderr.contains("broke off"), "{finished:?}");
    }
    let server = Upstream::script([Reply::closed(), Reply::new(200, "text/html", "<html>"), Reply::new(502, "text/html", "<html>")]).await;
    for word in ["did not answer", "no JSON", "502"] {
        let finished = ext_at(&server.url(), &["list"]).await;
        assert!(finished.code == 1 && finished.stderr.contains(word), "{word}: {finished:?}");
    }
}

#[tokio::test]
async fn steps_are_printed_as_they_come() {
    let gate = Gate::default();
    let held = gate.clone();
    let server = Upstream::start(move |_| {
        lines(vec![
            Step::Send(SIZE.into()),
            Step::Wait(held.clone()),
            Step::Send(json!({"success": true, "data": {"id": 7}}).to_string().into()),
        ])
    })
    .await;
    let mut command = std::process::Command::new(repo::program());
    command.args(["ext", "swap", "swaps"]).arg(repo::fixture("swaps")).args(["--server", &server.url()]);
    let mut child = command.stdout(std::process::Stdio::piped()).spawn().expect("it starts");
    let mut printed = std::io::BufReader::new(child.stdout.take().expect("piped")).lines();
    let read = tokio::task::spawn_blocking(move || (printed.next(), printed));
    let (first, rest) = soon("first step", read).await.expect("the thread does not panic");
    assert!(first.is_some_and(|l| l.is_ok_and(|l| l.contains("147.3 KiB"))), "it is there before the answer is complete");
    gate.open();
    let ended = tokio::task::spawn_blocking(move || (rest.count(), child.wait()));
    let (lines, status) = soon("end of the command", ended).await.expect("the thread does not panic");
    assert!(lines == 1 && status.is_ok_and(|s| s.success()));
}

// === with a gateway ===

#[tokio::test]
async fn a_swap_prints_its_steps_and_how_it_ended() {
    let site = Site::start().await;
    let printed = site.good(&["swap", "swaps", &site.file(&Version::swaps("0.2.0", "two", "plain"))]).await;
    let lines: Vec<&str> = printed.lines().collect();
    assert_eq!(lines.len(), STEPS.len() + 1, "{printed}");
    for (line, step) in lines.iter().zip(STEPS) {
        let words: Vec<&str> = line.split_whitespace().collect();
        assert!(words.len() >= 4 && words[0] == step && ["ok", "skipped"].contains(&words[1]) && words[3] == "ms", "{line}");
    }
    let columns: std::collections::BTreeSet<_> = lines[..STEPS.len()].iter().map(|l| l.find(" ms")).collect();
    assert_eq!(columns.len(), 1, "{printed}");
    assert!(lines[STEPS.len()].starts_with("swaps 0.1.0 -> 0.2.0: serves everybody (attempt "), "{printed}");
    assert_serves(&site.client, "0.2.0", "two").await;
}

#[tokio::test]
async fn a_refused_swap_says_why_and_what_goes_on() {
    let site = Site::start().await;
    let file = site.file(&Version::swaps("0.2.0", "two", "fail-self-test"));
    let refused = site.ext(&["swap", "swaps", &file]).await;
    assert_eq!(refused.code, 1, "{refused:?}");
    assert_eq!(row(&refused.stdout, "self-test")[1], "refused", "{}", refused.stdout);
    for word in ["error: refused at self-test", "the fixture is not well", "0.1.0 goes on"] {
        assert!(refused.stderr.contains(word), "`{word}` is not in: {}", refused.stderr);
    }
    let document = site.ext(&["swap", "swaps", &file, "--json"]).await;
    assert_eq!((document.code, document.stderr.as_str()), (1, ""), "{document:?}");
    let document: Value = serde_json::from_str(&document.stdout).expect("a document");
    assert_eq!((&document["success"], &document["error"]["details"]["outcome"]), (&json!(false), &json!("refused")), "{document}");
    assert_serves(&site.client, "0.1.0", "one").await;
    for (args, word) in [(&["swap", "nobody", &file][..], "nobody"), (&["promote", "swaps"], "swaps"), (&["inspect", "nobody"], "nobody")] {
        let finished = site.ext(args).await;
        assert!(finished.code == 1 && finished.stderr.starts_with("error: ") && finished.stderr.contains(word), "{args:?}: {finished:?}");
    }
}

#[tokio::test]
async fn a_rollout_is_begun_looked_at_and_ended() {
    let site = Site::start().await;
    let file = site.file(&Version::swaps("0.2.0", "two", "plain"));
    let printed = site.good(&["swap", "swaps", &file, "--rollout", "canary", "--key", "anna", "--key", &digest("bert")]).await;
    assert!(printed.lines().last().is_some_and(|l| l.contains("0.1.0 -> 0.2.0: serves its share as a canary")), "{printed}");
    for (key, expect) in [("anna", "two"), ("bert", "two"), ("carl", "one")] {
        assert_eq!(mark(Dialect::OpenAi, &ask(&site.client, Dialect::OpenAi, Some(key)).await), expect, "{key}");
    }
    let list = site.good(&["list"]).await;
    assert_eq!(row(&list, "NAME")[..2], ["NAME", "VERSION"]);
    assert_eq!(row(&list, "routing")[1], "0.1.0");
    let swaps = row(&list, "swaps").join(" ");
    assert!(swaps.starts_with("swaps 0.1.0 ") && swaps.contains("0.2.0 canary"), "{list}");
    let details = site.good(&["inspect", "swaps"]).await;
    assert!(details.contains("0.2.0 canary") && details.contains("granted"), "{details}");

    let printed = site.good(&["rollback", "swaps"]).await;
    assert!(printed.contains("rolled back"), "{printed}");
    site.good(&["swap", "swaps", &file, "--rollout", "canary", "--share", "0.5", "--replay", "off"]).await;
    let printed = site.good(&["promote", "swaps"]).await;
    assert!(printed.contains("0.2.0: serves everybody"), "{printed}");
    assert_serves(&site.client, "0.2.0", "two").await;

    let history = site.good(&["history", "swaps"]).await;
    let triggers: Vec<&str> = history.lines().skip(1).filter_map(|l| l.split_whitespace().nth(5)).collect();
    assert_eq!(triggers[..4], ["promote", "upload", "rollback", "upload"], "the newest first:\n{history}");
    let all: Value = serde_json::from_str(&site.good(&["history", "--json"]).await).expect("a document");
    assert!(all["data"].get("history").or_else(|| all.get("history")).is_some_and(Value::is_array), "{all}");
    let all: Value = serde_json::from_str(&site.good(&["list", "--json"]).await).expect("a document");
    assert_eq!(all["data"].as_array().map(Vec::len), Some(4), "{all}");
}

#[tokio::test]
async fn what_exists_as_a_file_is_a_file() {
    let site = Site::start().await;
    let folder = site.folder.path().to_owned();
    // Beside a file of that name the extension's name means the file.
    std::fs::write(folder.join("swaps"), component::CORE_MODULE).expect("a temporary file");
    let mut command = std::process::Command::new(repo::program());
    command.args(["ext", "inspect", "swaps", "--server", &site.gateway.url()]).current_dir(folder);
    let finished = tokio::task::spawn_blocking(move || cli::finish(command)).await.expect("the command does not panic");
    assert!(finished.code == 1 && finished.stderr.contains("core WebAssembly module"), "{finished:?}");
}
