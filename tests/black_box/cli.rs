//! The command line: help, exit codes, what `check` says, and how `serve` ends.

use std::io::Write as _;
use std::net::TcpListener;

use wasmgate_tests::answers::{Says, TEXT};
use wasmgate_tests::cli::{self, ConfigFile};
use wasmgate_tests::{Client, Dialect, Gate, Gateway, Reply, Step, Upstream, repo, soon};

use crate::setup;

#[test]
fn help_says_what_it_is_and_how_to_begin() {
    let help = cli::run(&["--help"]);
    assert_eq!(help.code, 0);
    for word in ["LLM gateway", "serve", "check", "config-reference", "Exit codes", "curl"] {
        assert!(help.stdout.contains(word), "`{word}` is not in:\n{}", help.stdout);
    }
    for command in ["serve", "check"] {
        let help = cli::run(&[command, "--help"]);
        assert_eq!(help.code, 0);
        assert!(help.stdout.contains("--config") && help.stdout.contains("--set"), "{}", help.stdout);
    }
    let version = cli::run(&["--version"]);
    assert_eq!((version.code, version.stdout.starts_with("wasmgate ")), (0, true));
}

#[test]
fn a_wrong_command_line_is_exit_code_2() {
    for args in [&[][..], &["dance"], &["serve"], &["serve", "--config"], &["check", "--config", "x.yaml", "--colour"]] {
        let finished = cli::run(args);
        assert_eq!(finished.code, 2, "{args:?} {finished:?}");
        assert!(!finished.stderr.is_empty());
    }
}

#[test]
fn a_missing_configuration_is_exit_code_2() {
    for command in ["serve", "check"] {
        let finished = cli::run(&[command, "--config", "no/such/file.yaml"]);
        assert_eq!(finished.code, 2, "{finished:?}");
        assert!(finished.stderr.contains("no/such/file.yaml") && finished.stderr.contains("cannot be read"), "{}", finished.stderr);
    }
}

#[test]
fn a_good_configuration_is_said_to_be_good() {
    let file = ConfigFile::new(&setup::config("  echo: {type: echo}\n", "aliases: {fast: echo}\n"));
    let finished = file.check(&["--strict"]);
    assert_eq!(finished.code, 0, "{finished:?}");
    assert!(finished.stdout.contains("good; 1 provider(s), 3 extension(s), 0 warning(s)"), "{}", finished.stdout);
}

#[test]
fn all_problems_are_reported_at_once_with_their_lines() {
    let file = ConfigFile::new(
        "server:\n  prot: 80\n  host: 5.5\n  port: many\nproviders:\n  a: {type: openia}\n  b: {type: openai, base_url: nonsense}\n\
         extensions:\n  openai-apy: {}\n  routing: {limits: {memory_mb: 9999}}\nalliases: {a: b}\ndefault_provider: c\n",
    );
    let finished = file.check(&[]);
    assert_eq!(finished.code, 2, "{finished:?}");
    for (line, words) in [
        (2, &["server.prot", "Did you mean `port`?"][..]),
        (4, &["server.port", "a number"]),
        (6, &["providers.a", "openia", "Did you mean `openai`?"]),
        (7, &["providers.b.base_url", "nonsense"]),
        (9, &["openai-apy", "Did you mean `openai-api`?"]),
        (10, &["memory_mb", "512"]),
        (11, &["alliases", "Did you mean `aliases`?"]),
        (12, &["default_provider", "`c`"]),
    ] {
        let place = format!("gateway.yaml:{line}:");
        let said = finished.stderr.lines().any(|l| l.contains(&place) && words.iter().all(|w| l.contains(w)));
        assert!(said, "nothing on line {line} says {words:?}:\n{}", finished.stderr);
    }
    let broken = ConfigFile::new("server:\n  port: [1, 2\nproviders: {}\n").check(&[]);
    assert_eq!(broken.code, 2);
    assert!(broken.stderr.contains("gateway.yaml:") && broken.stderr.contains("YAML"), "{}", broken.stderr);
}

#[test]
fn strict_makes_warnings_fail() {
    let file = ConfigFile::new(&setup::config("  a: {type: openai, api_key: \"${SURELY_NOT_SET_ANYWHERE}\"}\n", ""));
    let lenient = file.check(&[]);
    assert_eq!(lenient.code, 0, "{lenient:?}");
    assert!(lenient.stderr.contains("warning") && lenient.stderr.contains("SURELY_NOT_SET_ANYWHERE"), "{}", lenient.stderr);
    assert_eq!(file.check(&["--strict"]).code, 2);
}

#[test]
fn environment_and_command_line_win_over_the_file() {
    let file = ConfigFile::new(&setup::config("  echo: {type: \"${KIND:-echo}\"}\n", ""));
    let (path, components) = (file.path(), repo::components());
    let args = ["check", "--config", path.to_str().unwrap(), "--components", components.to_str().unwrap()];
    let with = |name, value| cli::run_with(&args, &[(name, value)]);
    assert_eq!(with("KIND", "nonsense").code, 2);
    let finished = with("WASMGATE_SERVER__PORT", "nonsense");
    assert_eq!(finished.code, 2, "{finished:?}");
    assert!(finished.stderr.contains("server.port"), "{}", finished.stderr);
    let finished = file.check(&["--set", "server.port=nonsense"]);
    assert_eq!((finished.code, finished.stderr.contains("server.port")), (2, true), "{finished:?}");
    assert_eq!(file.check(&["--set", "nonsense"]).code, 2);
}

#[test]
fn secrets_are_not_printed() {
    let file = ConfigFile::new(&setup::config(
        "  a: {type: openai, api_key: hush-hush-hush, default_model: x, models: [y], base_url: nonsense}\n",
        "",
    ));
    let finished = file.check(&[]);
    assert_eq!(finished.code, 2);
    assert!(!format!("{finished:?}").contains("hush-hush-hush"), "{finished:?}");
}

#[test]
fn every_sample_configuration_is_good() {
    let mut checked = 0;
    for file in std::fs::read_dir(repo::path("configs")).unwrap().map(|f| f.unwrap().path()) {
        if file.extension().is_some_and(|e| e == "yaml") {
            let (components, cache) = (repo::components(), format!("cache={}", repo::cache().display()));
            let finished =
                cli::run(&["check", "--config", file.to_str().unwrap(), "--components", components.to_str().unwrap(), "--set", &cache]);
            assert_eq!(finished.code, 0, "{}: {finished:?}", file.display());
            checked += 1;
        }
    }
    assert!(checked >= 2);
}

#[test]
fn the_settings_reference_is_up_to_date() {
    let printed = cli::run(&["config-reference"]);
    assert_eq!(printed.code, 0);
    let written = std::fs::read_to_string(repo::path("docs/reference/settings.md")).expect("docs/reference/settings.md");
    assert!(printed.stdout == written, "write it anew: wasmgate config-reference > docs/reference/settings.md");
}

#[test]
fn a_port_in_use_is_exit_code_1() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port();
    let file = ConfigFile::new(&setup::config("  echo: {type: echo}\n", ""));
    let finished = file.serve(&["--set", &format!("server.port={port}")]);
    assert_eq!(finished.code, 1, "{finished:?}");
    assert!(finished.stderr.contains(&format!("cannot listen on 127.0.0.1:{port}")), "{}", finished.stderr);
}

#[tokio::test]
async fn sigterm_lets_a_running_stream_finish() {
    let gate = Gate::default();
    let held = gate.clone();
    let upstream = Upstream::start(move |r| {
        let events = Says::text(TEXT).stream(Dialect::OpenAi, &r.model());
        Reply::events(vec![Step::Send(events[..3].concat().into()), Step::Wait(held.clone()), Step::Send(events[3..].concat().into())])
    })
    .await;
    let (gateway, client) = setup::gateway(Dialect::OpenAi, &upstream).await;
    let dialect = Dialect::Anthropic;
    let mut stream = client.stream(dialect.path(), &dialect.stream_request("m", "x")).await;
    let mut events = vec![stream.next().await.unwrap()];
    gateway.terminate();
    gateway.log_line("stopping", |l| l["message"].as_str().is_some_and(|m| m.starts_with("stopping"))).await;
    // New connections are refused from now on.
    let refused = async {
        while std::net::TcpStream::connect(gateway.address()).is_ok() {
            tokio::task::yield_now().await;
        }
    };
    soon("refusal of new connections", refused).await;
    gate.open();
    events.extend(stream.rest().await);
    assert_eq!(dialect.streamed_text(&events), TEXT, "{}", stream.text());
    assert!(dialect.is_end(events.last().unwrap()));
    let (status, log) = gateway.ended().await;
    assert_eq!(status.code(), Some(0), "{log}");
    assert!(log.contains("\"ending\":\"success\""), "{log}");
}

#[tokio::test]
async fn sigterm_does_not_wait_for_ever() {
    let upstream = Upstream::start(|_| Reply::silence()).await;
    let config = setup::config(&setup::provider(Dialect::OpenAi, &upstream), "");
    let gateway = Gateway::builder(&config).set("server.shutdown_timeout=300ms").start().await;
    let client = Client::new(&gateway);
    let waiting =
        tokio::spawn(client.request(http::Method::POST, Dialect::OpenAi.path()).body(Dialect::OpenAi.request("m", "x").to_string()).send());
    upstream.request(0).await;
    let (status, log) = gateway.stop().await;
    assert_eq!(status.code(), Some(0), "{log}");
    assert!(log.contains("cut off"), "{log}");
    let _ = waiting.await;
}

#[tokio::test]
async fn sigterm_ends_an_idle_gateway_at_once() {
    let gateway = Gateway::start(&setup::config("  echo: {type: echo}\n", "")).await;
    // A kept connection is no reason to stay.
    let client = Client::new(&gateway);
    assert_eq!(client.get("/health").await.status, 200);
    // Nor is one on which nothing was said, or not enough to tell the protocol.
    let silent = ["", "P"].map(|said| {
        let mut stream = std::net::TcpStream::connect(gateway.address()).expect("the gateway listens");
        stream.write_all(said.as_bytes()).expect("it reads");
        stream
    });
    assert_eq!(client.get("/health").await.status, 200);
    let (status, log) = gateway.stop().await;
    assert_eq!(status.code(), Some(0), "{log}");
    assert!(!log.contains("cut off"), "{log}");
    drop(silent);
}

#[tokio::test]
async fn the_echo_provider_needs_nothing() {
    let gateway = Gateway::start(&std::fs::read_to_string(repo::path("configs/quickstart-echo.yaml")).unwrap()).await;
    let client = Client::new(&gateway);
    for dialect in Dialect::ALL {
        let answer = client.post(dialect.path(), &dialect.request("fast", "say this")).await;
        assert_eq!((answer.status, dialect.text(&answer.json()).as_str()), (200, "say this"));
        let events = client.stream(dialect.path(), &dialect.stream_request("echo", "say this too")).await.rest().await;
        assert_eq!(dialect.streamed_text(&events), "say this too");
    }
}
