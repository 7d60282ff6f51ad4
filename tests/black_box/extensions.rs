//! Extensions can be left out, replaced, and fail, and everybody else goes on.

use std::fmt::Write as _;
use std::path::Path;

use serde_json::{Value, json};
use wasmgate_tests::answers::{Says, TEXT};
use wasmgate_tests::cli::ConfigFile;
use wasmgate_tests::{Client, Dialect, Gate, Gateway, Reply, Step, Upstream, component, repo};

use crate::setup;

/// Lines of the section `extensions` that load a fixture. `more` are members of its entry.
pub fn fixture(name: &str, more: &str) -> String {
    entry(name, &repo::fixture(name), more)
}

/// Lines of the section `extensions` that load a component from a file.
pub fn entry(name: &str, file: &Path, more: &str) -> String {
    assert!(file.is_file(), "{} is missing; `cargo xtask build --components-only` makes it", file.display());
    format!("  {name}: {{component: \"{}\"{}{more}}}\n", file.display(), if more.is_empty() { "" } else { ", " })
}

async fn with_fixture(format: Dialect, upstream: &Upstream, name: &str, more: &str) -> (Gateway, Client) {
    let gateway = Gateway::start(&setup::config(&setup::provider(format, upstream), &fixture(name, more))).await;
    let client = Client::new(&gateway);
    (gateway, client)
}

/// `on-complete` was told about a request, once.
async fn assert_told_once(gateway: &Gateway, client: &Client, id: &str, ending: &str) {
    setup::assert_record(client, id, ending).await;
    let said = format!("over: {id} {ending} ");
    let is_it = |l: &Value| l["message"].as_str().is_some_and(|m| m.starts_with(&said));
    gateway.log_line(&said, is_it).await;
    assert_eq!(client.get(&format!("/probe/count/{id}")).await.text(), "1", "{said}");
}

// === replaceable ===

#[tokio::test]
async fn without_anthropic_api_its_paths_are_not_found_and_the_rest_works() {
    let upstream = setup::friendly(Dialect::OpenAi).await;
    let config = format!("providers:\n{}extensions:\n  openai-api: {{}}\n  routing: {{}}\n", setup::provider(Dialect::OpenAi, &upstream));
    let gateway = Gateway::start(&config).await;
    let client = Client::new(&gateway);
    let answer = client.post(Dialect::Anthropic.path(), &Dialect::Anthropic.request("m", "x")).await;
    assert_eq!(answer.status, 404, "{}", answer.text());
    assert_eq!(client.get(Dialect::Anthropic.models_path()).await.status, 404);
    setup::assert_serves(&client, Dialect::OpenAi).await;
}

#[tokio::test]
async fn a_disabled_extension_is_as_if_it_were_not_there() {
    let upstream = setup::friendly(Dialect::OpenAi).await;
    let config = setup::config(&setup::provider(Dialect::OpenAi, &upstream), "").replace("openai-api: {}", "openai-api: {enabled: false}");
    let gateway = Gateway::start(&config).await;
    let client = Client::new(&gateway);
    assert_eq!(client.post(Dialect::OpenAi.path(), &Dialect::OpenAi.request("m", "x")).await.status, 404);
    setup::assert_serves(&client, Dialect::Anthropic).await;
}

#[tokio::test]
async fn prefixes_are_configured() {
    let upstream = setup::friendly(Dialect::OpenAi).await;
    let config = setup::config(&setup::provider(Dialect::OpenAi, &upstream), "")
        .replace("openai-api: {}", "openai-api: {config: {path_prefix: /openai}}")
        .replace("anthropic-api: {}", "anthropic-api: {config: {message_prefixes: [/v1]}}");
    let gateway = Gateway::start(&config).await;
    let client = Client::new(&gateway);
    for (dialect, path) in [
        (Dialect::OpenAi, "/openai/chat/completions"),
        (Dialect::Anthropic, "/v1/messages"),
        (Dialect::Anthropic, "/anthropic/v1/messages"),
    ] {
        let answer = client.post(path, &dialect.request("m", "x")).await;
        assert_eq!((answer.status, dialect.text(&answer.json()).as_str()), (200, TEXT), "{path}");
    }
    assert_eq!(client.post("/v1/chat/completions", &Dialect::OpenAi.request("m", "x")).await.status, 404);
}

#[tokio::test]
async fn a_gateway_without_any_extension_still_says_that_it_lives() {
    let gateway = Gateway::start("providers:\n  echo: {type: echo}\n").await;
    let client = Client::new(&gateway);
    assert_eq!(client.get("/health").await.status, 200);
    assert_eq!(client.post("/v1/chat/completions", &json!({})).await.status, 404);
}

// === failing ===

#[tokio::test]
async fn a_panic_costs_its_request_an_error_in_the_dialect_and_nobody_else() {
    for dialect in Dialect::ALL {
        for hook in ["before_generate", "after_generate"] {
            let upstream = setup::friendly(dialect).await;
            let (gateway, client) = with_fixture(dialect, &upstream, "panics", &format!("config: {{hook: {hook}}}")).await;
            for round in 0..3 {
                let answer = client.post(dialect.path(), &dialect.request("boom", "x")).await;
                assert_eq!(answer.status, 500, "{hook} {round}: {}", answer.text());
                let (kind, message) = dialect.error(&answer.json());
                assert_eq!(kind, if dialect == Dialect::Anthropic { "api_error" } else { "server_error" });
                assert!(!message.contains("the fixture"), "the reason is for the operator: {message}");
                setup::assert_record(&client, answer.header("x-request-id"), "error").await;
                setup::assert_serves(&client, dialect).await;
            }
            let said = format!("the fixture panics in {hook}");
            gateway.log_line(&said, |l| l["level"] == "ERROR" && l.to_string().contains(&said)).await;
        }
    }
}

#[tokio::test]
async fn a_panic_after_the_end_harms_nobody() {
    let upstream = setup::friendly(Dialect::OpenAi).await;
    let (gateway, client) = with_fixture(Dialect::OpenAi, &upstream, "panics", "config: {hook: on_complete}").await;
    for _ in 0..3 {
        let answer = client.post(Dialect::OpenAi.path(), &Dialect::OpenAi.request("boom", "x")).await;
        assert_eq!((answer.status, Dialect::OpenAi.text(&answer.json()).as_str()), (200, TEXT));
        setup::assert_record(&client, answer.header("x-request-id"), "success").await;
    }
    gateway.log_line("the panic", |l| l.to_string().contains("the fixture panics in on_complete")).await;
}

#[tokio::test]
async fn a_panic_of_an_http_route_is_an_error_of_that_route() {
    let upstream = setup::friendly(Dialect::OpenAi).await;
    let (_gateway, client) = with_fixture(Dialect::OpenAi, &upstream, "panics", "config: {hook: http}").await;
    for _ in 0..3 {
        let answer = client.get("/panics").await;
        assert_eq!(answer.status, 500, "{}", answer.text());
        assert!(answer.json()["error"]["message"].is_string());
        setup::assert_serves(&client, Dialect::OpenAi).await;
    }
}

#[tokio::test]
async fn on_error_skip_goes_on_without_the_hook() {
    for hook in ["before_generate", "after_generate"] {
        let upstream = setup::friendly(Dialect::OpenAi).await;
        let (gateway, client) =
            with_fixture(Dialect::OpenAi, &upstream, "panics", &format!("on_error: skip, config: {{hook: {hook}}}")).await;
        let answer = client.post(Dialect::OpenAi.path(), &Dialect::OpenAi.request("boom", "x")).await;
        assert_eq!((answer.status, Dialect::OpenAi.text(&answer.json()).as_str()), (200, TEXT), "{hook}");
        gateway.log_line("the panic", |l| l.to_string().contains("the fixture panics")).await;
    }
}

#[tokio::test]
async fn an_endless_loop_is_cut_while_others_are_served() {
    let gate = Gate::default();
    let held = gate.clone();
    let upstream = Upstream::start(move |r| {
        let events = Says::text(TEXT).stream(Dialect::OpenAi, &r.model());
        match r.is_stream() {
            true => Reply::events(vec![
                Step::Send(events[..4].concat().into()),
                Step::Wait(held.clone()),
                Step::Send(events[4..].concat().into()),
            ]),
            false => Says::text(TEXT).reply(Dialect::OpenAi, r),
        }
    })
    .await;
    // One thread: the loop and everybody else share it.
    let config = setup::config(&setup::provider(Dialect::OpenAi, &upstream), &fixture("spins", "limits: {cpu_ms: 2000, wall_ms: 20000}"));
    let gateway = Gateway::builder(&config).set("server.threads=1").start().await;
    let client = Client::new(&gateway);
    let mut stream = client.stream(Dialect::Anthropic.path(), &Dialect::Anthropic.stream_request("m", "x")).await;
    let mut events = vec![stream.next().await.unwrap()];
    let spinning = tokio::spawn({
        let client = client.clone();
        async move { client.post(Dialect::OpenAi.path(), &Dialect::OpenAi.request("spin", "x")).await }
    });
    // The loop runs as soon as its extension was asked for one more call than it answered; these are served in between.
    for _ in 0..5 {
        setup::assert_serves(&client, Dialect::OpenAi).await;
    }
    gate.open();
    events.extend(stream.rest().await);
    assert_eq!(Dialect::Anthropic.streamed_text(&events), TEXT);
    assert!(!spinning.is_finished(), "the others were served while the loop ran, not after");
    let answer = wasmgate_tests::soon("end of the loop", spinning).await.unwrap();
    assert_eq!(answer.status, 500, "{}", answer.text());
    Dialect::OpenAi.error(&answer.json());
    gateway.log_line("the limit", |l| l["limit"] == "cpu_ms" && l["extension"] == "spins").await;
    setup::assert_serves(&client, Dialect::OpenAi).await;
}

#[tokio::test]
async fn a_loop_is_cut_by_the_default_limit() {
    let upstream = setup::friendly(Dialect::OpenAi).await;
    let (gateway, client) = with_fixture(Dialect::OpenAi, &upstream, "spins", "").await;
    for dialect in Dialect::ALL {
        let answer = client.post(dialect.path(), &dialect.request("spin", "x")).await;
        assert_eq!(answer.status, 500, "{}", answer.text());
        dialect.error(&answer.json());
        setup::assert_serves(&client, dialect).await;
    }
    gateway.log_line("the limit", |l| l["limit"] == "cpu_ms" && l["extension"] == "spins").await;
}

#[tokio::test]
async fn memory_is_limited() {
    let upstream = setup::friendly(Dialect::OpenAi).await;
    // A memory bomb must not run into the limit of time instead, however slow the machine is.
    let (gateway, client) = with_fixture(Dialect::OpenAi, &upstream, "grows", "limits: {cpu_ms: 5000, memory_mb: 32}").await;
    for dialect in Dialect::ALL {
        let answer = client.post(dialect.path(), &dialect.request("grow", "x")).await;
        assert_eq!(answer.status, 500, "{}", answer.text());
        dialect.error(&answer.json());
        setup::assert_serves(&client, dialect).await;
    }
    gateway.log_line("the limit", |l| l["limit"].as_str().is_some_and(|n| n.starts_with("memory")) && l["extension"] == "grows").await;
}

#[tokio::test]
async fn new_instances_for_every_call_work_too() {
    let upstream = setup::friendly(Dialect::OpenAi).await;
    let (_gateway, client) = with_fixture(Dialect::OpenAi, &upstream, "probe", "isolation: per-request").await;
    for _ in 0..3 {
        let answer = client.post(Dialect::OpenAi.path(), &Dialect::OpenAi.request("respond", "x")).await;
        assert_eq!(Dialect::OpenAi.text(&answer.json()), "answered by the probe");
        assert_eq!(client.get("/probe/count/nobody").await.text(), "0");
    }
}

// === deciding ===

#[tokio::test]
async fn before_generate_can_answer() {
    for dialect in Dialect::ALL {
        let upstream = setup::friendly(dialect).await;
        let (gateway, client) = with_fixture(dialect, &upstream, "probe", "").await;
        let answer = client.post(dialect.path(), &dialect.request("respond", "x")).await;
        assert_eq!((answer.status, dialect.text(&answer.json()).as_str()), (200, "answered by the probe"));
        assert_told_once(&gateway, &client, answer.header("x-request-id"), "success").await;
        let mut stream = client.stream(dialect.path(), &dialect.stream_request("respond", "x")).await;
        let events = stream.rest().await;
        assert_eq!(dialect.streamed_text(&events), "answered by the probe");
        assert!(dialect.is_end(events.last().unwrap()), "{}", stream.text());
        assert!(upstream.received().is_empty(), "no provider is asked");
    }
}

#[tokio::test]
async fn before_generate_can_refuse() {
    for dialect in Dialect::ALL {
        let upstream = setup::friendly(dialect).await;
        let (gateway, client) = with_fixture(dialect, &upstream, "probe", "").await;
        for request in [dialect.request("reject", "x"), dialect.stream_request("reject", "x")] {
            let answer = client.post(dialect.path(), &request).await;
            assert_eq!((answer.status, answer.header("retry-after")), (429, "7"), "{}", answer.text());
            assert_eq!(dialect.error(&answer.json()), ("rate_limit_error".into(), "refused by the probe".into()));
            assert_told_once(&gateway, &client, answer.header("x-request-id"), "rejected").await;
        }
        assert!(upstream.received().is_empty(), "no provider is asked");
    }
}

#[tokio::test]
async fn before_generate_can_edit_the_conversation() {
    for (dialect, format) in Dialect::PAIRS {
        let upstream = setup::friendly(format).await;
        let (_gateway, client) = with_fixture(format, &upstream, "probe", "").await;
        let mut request = dialect.request("edit", "the original");
        request["temperature"] = json!(0);
        request["x-unknown"] = json!({"kept": true});
        let answer = client.post(dialect.path(), &request).await;
        assert_eq!((answer.status, dialect.text(&answer.json()).as_str()), (200, TEXT));
        let sent = upstream.only().json();
        let text = sent[format.conversation()].to_string();
        assert!(text.contains("edited by the probe") && !text.contains("the original"), "{sent}");
        assert_eq!(sent["temperature"].as_f64(), Some(0.0), "{sent}");
        if dialect == format {
            assert_eq!(sent["x-unknown"], request["x-unknown"], "an edit of the messages loses nothing else: {sent}");
        }
    }
}

#[tokio::test]
async fn notes_and_response_headers_travel_with_the_request() {
    let upstream = setup::friendly(Dialect::OpenAi).await;
    let (gateway, client) = with_fixture(Dialect::OpenAi, &upstream, "probe", "").await;
    for request in [Dialect::OpenAi.request("note", "x"), Dialect::OpenAi.stream_request("note", "x")] {
        let answer = client.post(Dialect::OpenAi.path(), &request).await;
        assert_eq!((answer.status, answer.header("x-probe")), (200, "was here"));
        let id = answer.header("x-request-id").to_owned();
        gateway.log_line("the note", |l| l["message"].as_str().is_some_and(|m| m.contains(&id) && m.ends_with("Some(true)"))).await;
    }
    assert_eq!(upstream.received().len(), 2);
}

#[tokio::test]
async fn after_generate_can_replace_retry_and_refuse() {
    for (dialect, format) in Dialect::PAIRS {
        for stream in [false, true] {
            let upstream = setup::friendly(format).await;
            let (gateway, client) = with_fixture(format, &upstream, "probe", "").await;
            let ask = async |model: &str| {
                let mut request = dialect.request(model, "x");
                request["stream"] = json!(stream);
                client.post(dialect.path(), &request).await
            };
            let what = format!("{dialect:?} on {format:?}, stream={stream}");
            let text = |body: &str| {
                if !stream {
                    return dialect.text(&serde_json::from_str(body).unwrap());
                }
                let events = wasmgate_tests::client::Event::all(body);
                dialect.streamed_text(&events)
            };

            let kept = ask("after-keep").await;
            assert_eq!((kept.status, text(&kept.text())), (200, TEXT.to_owned()), "{what}");

            let replaced = ask("after-replace").await;
            assert_eq!((replaced.status, text(&replaced.text())), (200, format!("[{TEXT}]")), "{what}");
            assert_told_once(&gateway, &client, replaced.header("x-request-id"), "success").await;

            let before = upstream.received().len();
            let retried = ask("after-retry").await;
            assert_eq!((retried.status, text(&retried.text())), (200, TEXT.to_owned()), "{what}");
            let models: Vec<String> = upstream.received()[before..].iter().map(|r| r.model()).collect();
            assert_eq!(models, ["after-retry", "after-second"], "{what}");
            assert_told_once(&gateway, &client, retried.header("x-request-id"), "success").await;

            let before = upstream.received().len();
            let endless = ask("after-endless").await;
            assert_eq!(endless.status, 200, "{what}: {}", endless.text());
            assert_eq!(upstream.received().len() - before, 4, "{what}: three more tries at most");

            let refused = ask("after-reject").await;
            assert_eq!(refused.status, 400, "{what}: {}", refused.text());
            assert_eq!(dialect.error(&refused.json()).1, "not this answer, says the probe", "{what}");
            assert_told_once(&gateway, &client, refused.header("x-request-id"), "rejected").await;
        }
    }
}

#[tokio::test]
async fn a_buffered_stream_that_breaks_is_an_ordinary_error() {
    for (dialect, format) in Dialect::PAIRS {
        let upstream = Upstream::start(move |r| {
            let events = Says::text(TEXT).stream(format, &r.model());
            Reply::events(vec![Step::Send(events[..4].concat().into()), Step::Cut])
        })
        .await;
        let (gateway, client) = with_fixture(format, &upstream, "probe", "").await;
        let answer = client.post(dialect.path(), &dialect.stream_request("after-keep", "x")).await;
        assert_eq!(answer.status, 502, "{dialect:?} on {format:?}: {}", answer.text());
        dialect.error(&answer.json());
        assert_told_once(&gateway, &client, answer.header("x-request-id"), "error").await;
    }
}

#[tokio::test]
async fn on_complete_is_told_once_whatever_happened() {
    for format in Dialect::ALL {
        let upstream = Upstream::start(move |r| match r.model().as_str() {
            "fails" => Reply::json(500, &Value::Null),
            "breaks" => Reply::events(vec![Step::Send(Says::text(TEXT).stream(format, "breaks")[..5].concat().into()), Step::Cut]),
            _ => Says::text(TEXT).reply(format, r),
        })
        .await;
        let (gateway, client) = with_fixture(format, &upstream, "probe", "").await;
        for dialect in Dialect::ALL {
            for (model, stream, ending) in [
                ("m", false, "success"),
                ("m", true, "success"),
                ("fails", false, "error"),
                ("fails", true, "error"),
                ("breaks", true, "error"),
                ("reject", false, "rejected"),
            ] {
                let mut request = dialect.request(model, "x");
                request["stream"] = json!(stream);
                let answer = client.post(dialect.path(), &request).await;
                assert_told_once(&gateway, &client, answer.header("x-request-id"), ending).await;
            }
            // A request that is refused before it is understood never was in the pipeline.
            let answer = client.post(dialect.path(), &json!({"model": 5})).await;
            assert_eq!(client.get(&format!("/probe/count/{}", answer.header("x-request-id"))).await.text(), "0");
        }
    }
}

#[tokio::test]
async fn a_route_of_an_extension_answers_http() {
    let upstream = setup::friendly(Dialect::OpenAi).await;
    let (_gateway, client) = with_fixture(Dialect::OpenAi, &upstream, "probe", "").await;
    let body = "Grüße ".repeat(20_000);
    let request = client.request(http::Method::POST, "/probe/echo?a=1&b=%20").header("x-test", "yes").body(body.clone());
    let answer = client.send(request).await;
    assert_eq!((answer.status, answer.header("x-probe")), (201, "echo"), "{}", answer.text());
    assert_eq!(answer.json(), json!({"method": "POST", "path": "/probe/echo", "query": "a=1&b=%20", "x-test": "yes", "body": body}));
    assert_eq!(client.send(client.request(http::Method::DELETE, "/probe/echo")).await.header("allow"), "POST");
}

// === refused ===

/// What a configuration is refused with: exit code 2 and a text that names what is wrong, from `check` and from `serve`.
pub fn refused(entries: impl Fn(&Path) -> String, words: &[&str]) {
    let file = ConfigFile::new("");
    let config = setup::config("  echo: {type: echo}\n", &entries(file.folder()));
    std::fs::write(file.path(), config).unwrap();
    for finished in [file.check(&[]), file.serve(&["--set", "server.port=0"])] {
        assert_eq!(finished.code, 2, "{finished:?}");
        let mut missing = String::new();
        for word in words.iter().filter(|w| !finished.stderr.contains(**w)) {
            write!(missing, "`{word}` ").unwrap();
        }
        assert!(missing.is_empty(), "{missing} is not in:\n{}", finished.stderr);
        assert!(!finished.stderr.contains("thread '"), "the host itself panicked: {}", finished.stderr);
    }
}

/// The same for the bytes of a component.
pub fn refused_bytes(bytes: &[u8], words: &[&str]) {
    refused(|folder| entry("mine", &component::write(folder, "mine", bytes), ""), words);
}

/// A real component under the name `mine`, with another manifest.
pub fn renamed(manifest: Value) -> Vec<u8> {
    let mut whole = json!({"name": "mine", "version": "1.0.0", "description": "d"});
    whole.as_object_mut().unwrap().extend(manifest.as_object().unwrap().clone());
    component::with_manifest(&std::fs::read(repo::component("routing")).unwrap(), &whole)
}

#[test]
fn a_file_that_is_no_component_is_refused() {
    refused_bytes(b"hello", &["mine.wasm", "not a WebAssembly file"]);
    refused_bytes(b"", &["mine.wasm", "not a WebAssembly file"]);
    refused_bytes(component::CORE_MODULE, &["mine.wasm", "core WebAssembly module"]);
    refused_bytes(component::EMPTY, &["mine.wasm", "has no `wasmgate:manifest` section"]);
    let whole = renamed(json!({"capabilities": ["log", "providers"]}));
    refused_bytes(&whole[..whole.len() / 2], &["mine.wasm", "damaged"]);
    refused_bytes(&component::with_manifest(component::EMPTY, &json!({"name": "mine"})), &["mine.wasm", "manifest", "version"]);
    refused(|_| "  mine: {component: no-such-file.wasm}\n".into(), &["no-such-file.wasm", "cannot be read"]);
    refused(|_| "  no-such-extension: {required: true}\n".into(), &["no-such-extension", "has no such component"]);
}

#[test]
fn a_component_without_a_hook_is_refused() {
    let bare = component::with_manifest(component::EMPTY, &json!({"name": "mine", "version": "1.0.0", "description": "d"}));
    refused_bytes(&bare, &["`mine`", "exports no hook"]);
}

#[test]
fn a_component_under_another_name_is_refused() {
    refused(|_| entry("mine", &repo::fixture("probe"), ""), &["is the extension `probe`, not `mine`"]);
}

#[test]
fn imports_that_were_not_asked_for_are_refused_by_name() {
    refused_bytes(
        &renamed(json!({"capabilities": ["log"]})),
        &["`mine`", "wasmgate:extension/providers", "needs the capability `providers`"],
    );
}

#[test]
fn missing_dependencies_are_named() {
    let needs = renamed(json!({"capabilities": ["log", "providers"], "dependencies": ["nobody"]}));
    refused_bytes(&needs, &["`mine` depends on the extension `nobody`, which is not loaded"]);
}

#[test]
fn cycles_are_named() {
    let of = |name: &str, other: &str| renamed(json!({"name": name, "capabilities": ["log", "providers"], "dependencies": [other]}));
    refused(
        |folder| {
            let (one, two) = (component::write(folder, "one", &of("one", "two")), component::write(folder, "two", &of("two", "one")));
            entry("one", &one, "") + &entry("two", &two, "")
        },
        &["wait for each other", "one → two → one"],
    );
}

#[test]
fn what_an_extension_says_about_its_configuration_is_shown() {
    refused(|_| "aliases: {a: b, b: a}\n".into(), &["routing", "`aliases` go in a circle: a → b → a"]);
    refused(|_| fixture("panics", "config: {hook: configure}"), &["`panics`", "the fixture panics in configure"]);
    refused(|_| fixture("panics", "config: {hook: self_test}"), &["`panics`", "the fixture panics in self_test"]);
    refused(|_| fixture("panics", "config: {hook: failed_self_test}"), &["`panics`", "self-test", "the fixture is not well"]);
    refused(|_| fixture("panics", "config: {}"), &["`panics`", "missing field `hook`"]);
    refused(|_| fixture("probe", "config: {colour: blue}"), &["`probe`", "unknown field `colour`"]);
}

#[test]
fn two_extensions_on_one_path_are_refused() {
    let twin = |folder: &Path| {
        let manifest = json!({"name": "mine", "version": "1.0.0", "description": "d", "capabilities": ["log", "providers", "wasi"]});
        let bytes = component::with_manifest(&std::fs::read(repo::component("openai-api")).unwrap(), &manifest);
        entry("mine", &component::write(folder, "mine", &bytes), "")
    };
    refused(twin, &["`mine`", "`openai-api`", "/v1/chat/completions"]);
}
