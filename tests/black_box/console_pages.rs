//! The console's pages for those who ask, pay and look back: playground, keys, usage, requests. What happens in them is in `tests/browser`.

use std::process::Command;

use serde_json::json;
use wasmgate_tests::answers::{Says, TEXT};
use wasmgate_tests::browser::{self, PASSWORD};
use wasmgate_tests::{Client, Dialect, Gateway, Received, Reply, Step, Upstream, cli, repo, sdk};

use crate::setup;

const FORMAT: Dialect = Dialect::OpenAi;

/// What a page must show and never do: code that does not parse, and whatever a browser might be made to run.
const HOSTILE: &str = "## Heading\n\nSome **bold** and `code`.\n\n<script>window.pwned = 1</script><img src=x onerror=\"window.pwned = 2\">\n\n\
    [run](javascript:window.pwned=3) [data](data:text/html,<script>window.pwned=4</script>) [fine](https://example.org/)\n\n\
    ```python\ndef double(x):\n    return (x * 2\n```\n";

const GOOD: &str = "```python\ndef double(x):\n    return x * 2\n```\n";
const OPEN: &str = "```python\ndef double(x):\n    return (x * 2\n```\n";

/// Prices, so that one model has one and another has none.
const PRICES: &str = "prices:\n  priced: {input: 1000, output: 2000}\nusage: {enabled: true}\n";

/// The model says how it is answered. Candidates of `best` are told apart by their temperature.
fn script(r: &Received) -> Reply {
    let model = r.model();
    let says = match model.as_str() {
        "hostile" => Says { thinking: Some(("Let me think.", "")), ..Says::text(HOSTILE) },
        "best" => Says::text(if r.json()["temperature"].as_f64() == Some(0.5) { GOOD } else { OPEN }),
        "hold" => {
            let first = Says::text(TEXT).stream(FORMAT, &model)[..4].concat();
            return Reply::events(vec![Step::Send(first.into()), Step::Hang]);
        }
        "huge" => {
            let chunk = |delta: &str, end: Option<&str>| {
                let document = json!({
                    "id": "c", "object": "chat.completion.chunk", "created": 1, "model": "huge",
                    "choices": [{"index": 0, "delta": {"content": delta}, "finish_reason": end}],
                });
                format!("data: {document}\n\n")
            };
            let piece = "[**`*_".repeat(2000);
            let mut events: Vec<String> = (0..30).map(|_| chunk(&piece, None)).collect();
            events.push(chunk("The end.", Some("stop")));
            events.push("data: [DONE]\n\n".into());
            return Reply::stream(events);
        }
        "refused" => {
            return Reply::json(
                400,
                &json!({"error": {"message": "this model is not for you", "type": "invalid_request_error", "param": null, "code": null}}),
            );
        }
        _ => Says::text(TEXT),
    };
    says.reply(FORMAT, r)
}

/// A gateway with two providers, a race of them, the console, and these extensions.
async fn gateway(upstream: &Upstream, more: &str) -> Gateway {
    let providers = format!(
        "{}{}  race: {{type: racing, config: {{providers: [up, other]}}}}\n",
        setup::provider(FORMAT, upstream),
        setup::named_provider("other", FORMAT, &upstream.url())
    );
    let extensions = format!("  web_ui: {{}}\n{more}auth: {{api_password: {PASSWORD}}}\ndefault_provider: up\n");
    Gateway::start(&setup::config(&providers, &extensions)).await
}

#[tokio::test]
async fn people_talk_to_models() {
    let upstream = Upstream::start(script).await;
    let best = "  best_of_n: {grant: [clock, generate, metrics, providers, wasi], config: {temperatures: {from: 0, to: 1}}}\n";
    let gateway = gateway(&upstream, &format!("  usage: {{}}\n  validation: {{}}\n{best}{PRICES}")).await;
    let Some(_) = browser::run("playground.mjs", &gateway.url(), &[]).await else { return };
    // Whoever stops an answer ends it at the upstream too.
    let held = upstream.received().into_iter().find(|r| r.model() == "hold").expect("it was asked for");
    held.closed_after(held.begun().expect("it began to answer")).await;
    let second = upstream.received().into_iter().filter(|r| r.model() == "turns").nth(1).expect("a second turn");
    let messages = second.json()["messages"].clone();
    assert_eq!(messages[0], json!({"role": "system", "content": "Be short."}), "{messages}");
    assert_eq!((&messages[1]["content"], &messages[2]["content"], &messages[3]["content"]), (&json!("one"), &json!(TEXT), &json!("two")));
    assert!(!gateway.log_text().contains(PASSWORD));
}

#[tokio::test]
async fn keys_are_made_used_and_revoked() {
    let upstream = Upstream::start(script).await;
    let gateway = gateway(&upstream, "  apikeys: {}\napi_keys:\n  - {key: key-of-the-configuration-file, name: configured}\n").await;
    browser::run("keys.mjs", &gateway.url(), &[]).await;
}

/// Requests of a key that has a name, one of them without a price and one that fails.
async fn asked(gateway: &Gateway) {
    let client = Client::new(gateway);
    for (model, status) in [("priced", 200), ("priced", 200), ("unknown-price", 200), ("refused", 400)] {
        let request = client.request(http::Method::POST, FORMAT.path()).header("authorization", "Bearer key-of-the-configuration-file");
        let body = FORMAT.request(model, "x").to_string();
        assert_eq!(client.send(request.header("content-type", "application/json").body(body)).await.status, status, "{model}");
    }
}

const WITH_LEDGER: &str = "  apikeys: {}\n  usage: {}\napi_keys:\n  - {key: key-of-the-configuration-file, name: somebody}\n";

#[tokio::test]
async fn what_was_used_is_shown_and_saved() {
    let upstream = Upstream::start(script).await;
    let gateway = gateway(&upstream, &format!("{WITH_LEDGER}{PRICES}")).await;
    asked(&gateway).await;
    browser::run("usage.mjs", &gateway.url(), &[]).await;
}

#[tokio::test]
async fn requests_are_looked_at_one_by_one() {
    let upstream = Upstream::start(script).await;
    let gateway = gateway(&upstream, &format!("{WITH_LEDGER}{PRICES}")).await;
    asked(&gateway).await;
    browser::run("requests.mjs", &gateway.url(), &[]).await;
}

#[tokio::test]
async fn pages_say_which_extension_is_missing() {
    let upstream = Upstream::start(script).await;
    let gateway = gateway(&upstream, "").await;
    browser::run("missing.mjs", &gateway.url(), &[]).await;
}

#[tokio::test]
async fn what_pages_work_out_without_a_page() {
    if !repo::from_environment("WASMGATE_NODE_DIR", "target/node").join("node_modules").is_dir() {
        sdk::missing("Node");
        return;
    }
    let mut node = Command::new("node");
    node.arg("--test").arg(repo::path("tests/browser/units.mjs"));
    let finished = tokio::task::spawn_blocking(move || cli::finish(node)).await.expect("the command does not panic");
    assert_eq!(finished.code, 0, "{}\n{}", finished.stdout, finished.stderr);
}
