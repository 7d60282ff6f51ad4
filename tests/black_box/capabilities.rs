//! What extensions may use of the host, and what standard components see of the world.

use serde_json::json;
use wasmgate_tests::cli::ConfigFile;
use wasmgate_tests::{Client, Dialect, Gateway, component, repo};

use crate::{extensions, setup};

// === limiter ===

#[tokio::test]
async fn a_limit_holds_for_each_key_over_all_instances() {
    let upstream = setup::friendly(Dialect::OpenAi).await;
    // An instance for every call: what is counted is in the host.
    let meters = extensions::fixture("meters", "isolation: per-request, config: {limit: 2}");
    let gateway = Gateway::start(&setup::config(&setup::provider(Dialect::OpenAi, &upstream), &meters)).await;
    let client = Client::new(&gateway);
    let ask = async |who: &'static str, model: &'static str| {
        let request = client.request(http::Method::POST, Dialect::Anthropic.path()).header("x-who", who);
        client.send(request.body(Dialect::Anthropic.request(model, "x").to_string())).await
    };
    for left in ["1", "0"] {
        let answer = ask("ann", "m").await;
        assert_eq!((answer.status, answer.header("x-left")), (200, left), "{}", answer.text());
    }
    let refused = ask("ann", "m").await;
    assert_eq!(refused.status, 429);
    assert_eq!(refused.json()["error"]["type"], "rate_limit_error", "in the caller's dialect");
    let wait: u64 = refused.header("retry-after").parse().expect("it is a number");
    assert!((1..=62).contains(&wait), "{wait}");
    assert_eq!(ask("bob", "m").await.status, 200, "another key has its own count");
    assert_eq!(upstream.received().len(), 3, "what is refused is not sent");
}

#[tokio::test]
async fn what_was_reserved_and_not_used_comes_back() {
    let upstream = setup::friendly(Dialect::OpenAi).await;
    let meters = extensions::fixture("meters", "config: {limit: 1}");
    let gateway = Gateway::start(&setup::config(&setup::provider(Dialect::OpenAi, &upstream), &meters)).await;
    let client = Client::new(&gateway);
    for _ in 0..3 {
        let answer = client.post(Dialect::OpenAi.path(), &Dialect::OpenAi.request("free", "x")).await;
        assert_eq!(answer.status, 200, "{}", answer.text());
        // on-complete settles after the answer is out; its record is written after that.
        client.record(answer.header("x-request-id")).await;
    }
    assert_eq!(client.post(Dialect::OpenAi.path(), &Dialect::OpenAi.request("m", "x")).await.status, 200);
    assert_eq!(client.post(Dialect::OpenAi.path(), &Dialect::OpenAi.request("m", "x")).await.status, 429);
}

// === standard components ===

#[tokio::test]
async fn a_component_off_the_shelf_is_mounted_by_configuration_alone() {
    let upstream = setup::friendly(Dialect::OpenAi).await;
    let folder = tempfile::tempdir().expect("a temporary folder");
    let shelf = std::fs::read(repo::fixture("shelf")).expect("`cargo xtask build --components-only` makes it");
    let bare = component::write(folder.path(), "bare", &component::without_manifest(&shelf));
    let mounted = format!("  hello: {{component: \"{}\", routes: [GET /hello, \"/files/{{*rest}}\"]}}\n", bare.display());
    let gateway = Gateway::start(&setup::config(&setup::provider(Dialect::OpenAi, &upstream), &mounted)).await;
    let client = Client::new(&gateway);
    let answer = client.get("/hello?to=you").await;
    assert_eq!((answer.status, answer.text().as_str()), (200, "path=/hello?to=you variables=0 arguments=0 folders=0 out=denied"));
    assert!(client.post("/files/a/b", &json!({})).await.text().starts_with("path=/files/a/b "));
    assert_eq!(client.post("/hello", &json!({})).await.status, 405);
    setup::assert_serves(&client, Dialect::OpenAi).await;
}

#[tokio::test]
async fn a_component_without_a_manifest_is_refused_when_nothing_says_where_it_answers() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let shelf = std::fs::read(repo::fixture("shelf")).expect("`cargo xtask build --components-only` makes it");
    let bare = component::write(folder.path(), "bare", &component::without_manifest(&shelf));
    let config = format!("providers: {{e: {{type: echo}}}}\nextensions:\n  hello: {{component: \"{}\"}}\n", bare.display());
    let refused = ConfigFile::new(&config).check(&[]);
    assert_eq!(refused.code, 2);
    assert!(refused.stderr.contains("has no `wasmgate:manifest` section"), "{}", refused.stderr);
}
