//! The console, in a real browser. What happens there is in `tests/browser`; here are the gateways that it is opened against.

use serde_json::Value;
use wasmgate_tests::answers::{Says, TEXT};
use wasmgate_tests::browser::{self, PASSWORD};
use wasmgate_tests::{Client, Dialect, Gate, Gateway, Reply, Step, Upstream, Version};

use crate::{deploy, extensions, setup};

/// An upstream that holds the streams of the model `slow` in their middle until somebody asks for the model `go`.
async fn upstream() -> Upstream {
    let gate = Gate::default();
    Upstream::start(move |r| {
        let format = Dialect::OpenAi;
        match r.model().as_str() {
            "slow" if r.is_stream() => {
                let events = Says::text(TEXT).stream(format, "slow");
                let (first, rest) = (events[..4].concat(), events[4..].concat());
                return Reply::events(vec![Step::Send(first.into()), Step::Wait(gate.clone()), Step::Send(rest.into())]);
            }
            "go" => gate.open(),
            _ => {}
        }
        if r.is_stream() {
            Reply::events(vec![Step::Send(Says::text(TEXT).stream(format, &r.model()).concat().into())])
        } else {
            Says::text(TEXT).reply(format, r)
        }
    })
    .await
}

/// The console, version 0.1.0 of `swaps`, and these extensions.
async fn gateway(upstream: &Upstream, more: &str) -> (Gateway, Client) {
    let extensions =
        format!("  web_ui: {{}}\n{}{more}auth: {{api_password: {PASSWORD}}}\n{}", extensions::fixture("swaps", ""), deploy::section(""));
    let gateway = Gateway::start(&setup::config(&setup::provider(Dialect::OpenAi, upstream), &extensions)).await;
    let client = Client::new(&gateway);
    (gateway, client)
}

#[tokio::test]
async fn operators_look_after_the_gateway() {
    let upstream = upstream().await;
    let (gateway, _client) = gateway(&upstream, "  usage: {}\n").await;
    for (name, version) in [
        ("two.wasm", Version::swaps("0.2.0", "two", "plain")),
        ("three.wasm", Version::swaps("0.3.0", "three", "plain")),
        ("bad.wasm", Version::swaps("0.2.0", "bad", "fail-self-test")),
    ] {
        std::fs::write(gateway.folder().join(name), version.bytes()).expect("the folder can be written");
    }
    let folder = gateway.folder().display().to_string();
    let Some(seen) = browser::run("console.mjs", &gateway.url(), &[&folder]).await else { return };
    assert!(seen["refusal"].as_str().is_some_and(|r| r.contains("self-test")), "{seen}");
    assert!(!gateway.log_text().contains(PASSWORD));
}

/// Everything is loaded, and there is something to see on each page.
async fn looks(theme: &str, size: &str) {
    let upstream = upstream().await;
    let more = "  apikeys: {config: {api_keys: [{key: key-of-the-console-test, name: somebody}]}}\n  usage: {}\n  validation: {}\n  generate-api: {}\n";
    let (gateway, client) = gateway(&upstream, more).await;
    for n in 0..12 {
        let model = format!("gpt-4o{}", ["", "-mini", "-audio-preview"][n % 3]);
        let body = Dialect::OpenAi.request(&model, "x").to_string();
        let request = client.request(http::Method::POST, Dialect::OpenAi.path()).header("authorization", "Bearer key-of-the-console-test");
        let answer = client.send(request.header("content-type", "application/json").body(body)).await;
        assert_eq!(answer.status, 200, "{}", answer.text());
    }
    browser::run("looks.mjs", &gateway.url(), &[theme, size]).await;
}

#[tokio::test]
async fn looks_well_on_a_desk_in_the_light() {
    looks("light", "desktop").await;
}

#[tokio::test]
async fn looks_well_on_a_desk_in_the_dark() {
    looks("dark", "desktop").await;
}

#[tokio::test]
async fn looks_well_on_a_phone_in_the_light() {
    looks("light", "phone").await;
}

#[tokio::test]
async fn looks_well_on_a_phone_in_the_dark() {
    looks("dark", "phone").await;
}

#[tokio::test]
async fn files_are_open_and_say_nothing_while_the_interface_is_closed() {
    let upstream = upstream().await;
    let (gateway, client) = gateway(&upstream, "").await;
    let page = client.get("/ui/").await;
    assert_eq!((page.status, page.header("content-type")), (200, "text/html; charset=utf-8"));
    let policy = page.header("content-security-policy");
    assert!(policy.contains("default-src 'none'") && policy.contains("frame-ancestors 'none'") && !policy.contains("unsafe"), "{policy}");
    assert_eq!(page.header("x-content-type-options"), "nosniff");
    assert!(!page.text().contains("<script>") && !page.text().contains("style="), "{}", page.text());
    assert_eq!(client.get("/ui/../api/config").await.status, 401);
    assert_eq!(client.get("/ui/nothing.js").await.status, 404);
    for path in ["/api/config", "/api/extensions", "/status"] {
        assert_eq!(client.get(path).await.status, 401, "{path}");
    }
    drop(gateway);
}

#[tokio::test]
async fn what_the_file_says_is_shown_before_it_is_put_into_effect() {
    let upstream = setup::friendly(Dialect::OpenAi).await;
    let config = setup::config(&setup::provider(Dialect::OpenAi, &upstream), "logging: {level: info}\n");
    let gateway = Gateway::start(&config).await;
    let client = Client::new(&gateway);
    let told = async |what: &str| -> Value {
        let answer = client.get("/api/config").await;
        assert_eq!(answer.status, 200, "{what}: {}", answer.text());
        answer.json()["data"].clone()
    };
    let now = told("as it started").await;
    assert_eq!((&now["valid"], &now["changed"]), (&true.into(), &false.into()), "{now}");
    let text = now["text"].as_str().expect("a text");
    assert!(text.contains("base_url") && !text.contains(setup::PROVIDER_KEY), "{text}");
    gateway.configure(&config.replace("logging: {level: info}", "logging: {levle: info}"));
    let now = told("misspelt").await;
    assert_eq!(now["valid"], false, "{now}");
    let problem = &now["problems"][0];
    assert_eq!((&problem["severity"], &problem["path"]), (&"error".into(), &"logging.levle".into()), "{now}");
    assert!(problem["place"].as_str().is_some_and(|p| p.contains("gateway.yaml:")), "{now}");
    gateway.configure(&config.replace("logging: {level: info}", "server: {body_limit: 1048576}"));
    let now = told("changed").await;
    assert_eq!((&now["valid"], &now["changed"]), (&true.into(), &true.into()), "{now}");
    let reloaded = client.send(client.request(http::Method::POST, "/api/config/reload")).await;
    assert_eq!(reloaded.status, 200, "{}", reloaded.text());
    assert_eq!(told("in effect").await["changed"], false);
}
