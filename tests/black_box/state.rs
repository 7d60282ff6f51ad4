//! What outlives a restart: the store, and compiled code. And who may look inside.

use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use serde_json::Value;
use wasmgate_tests::cli::{self, ConfigFile};
use wasmgate_tests::{Client, Dialect, Gateway, repo};

use crate::{extensions, setup};

fn echo(more: &str) -> String {
    setup::config("  echo: {type: echo}\n", more)
}

async fn count(client: &Client, id: &str) -> String {
    client.get(&format!("/probe/count/{id}")).await.text()
}

#[tokio::test]
async fn the_store_outlives_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let config =
        echo(&format!("{}storage: {{path: \"{}\"}}\n", extensions::fixture("probe", ""), folder.path().join("store.redb").display()));
    let gateway = Gateway::start(&config).await;
    let client = Client::new(&gateway);
    let answer = client.post(Dialect::OpenAi.path(), &Dialect::OpenAi.request("echo", "x")).await;
    let id = answer.header("x-request-id");
    client.record(id).await;
    assert_eq!(count(&client, id).await, "1");

    // `check` looks at everything but leaves the store of a running gateway alone.
    let file = ConfigFile::new(&config);
    let checked = file.check(&[]);
    assert_eq!(checked.code, 0, "{checked:?}");

    let (status, log) = gateway.stop().await;
    assert_eq!(status.code(), Some(0), "{log}");
    let gateway = Gateway::start(&config).await;
    assert_eq!(count(&Client::new(&gateway), id).await, "1");
}

#[tokio::test]
async fn without_a_path_the_store_forgets() {
    let config = echo(&extensions::fixture("probe", ""));
    let gateway = Gateway::start(&config).await;
    let client = Client::new(&gateway);
    let answer = client.post(Dialect::OpenAi.path(), &Dialect::OpenAi.request("echo", "x")).await;
    let id = answer.header("x-request-id").to_owned();
    client.record(&id).await;
    gateway.stop().await;
    let gateway = Gateway::start(&config).await;
    assert_eq!(count(&Client::new(&gateway), &id).await, "0");
}

/// How the component of `routing` came to be code: `Compiled` or `Cached`.
async fn origin(cache: &Path) -> (String, String) {
    let config = "providers:\n  echo: {type: echo}\nextensions:\n  routing: {}\n";
    let gateway = Gateway::builder(config).set(format!("cache={}", cache.display())).start().await;
    let line = gateway.log_line("extension loaded", |l: &Value| l["message"] == "extension loaded").await;
    (line["code"].as_str().unwrap().to_owned(), gateway.log_text())
}

#[tokio::test]
async fn compiled_code_is_kept_and_only_used_when_it_is_the_gateways_own() {
    let folder = tempfile::tempdir().unwrap();
    let cache = folder.path().join("cache");
    assert_eq!(origin(&cache).await.0, "Compiled");
    assert_eq!(std::fs::metadata(&cache).unwrap().permissions().mode() & 0o777, 0o700);
    assert_eq!(origin(&cache).await.0, "Cached");
    let entries: Vec<_> = std::fs::read_dir(&cache).unwrap().map(|e| e.unwrap().path()).collect();
    assert_eq!(entries.len(), 1, "{entries:?}");

    // One bit is another one.
    let mut bytes = std::fs::read(&entries[0]).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(&entries[0], &bytes).unwrap();
    assert_eq!(origin(&cache).await.0, "Compiled");
    assert_eq!(origin(&cache).await.0, "Cached", "it was written anew");
    std::fs::write(&entries[0], b"").unwrap();
    assert_eq!(origin(&cache).await.0, "Compiled");

    // A folder that others may write to.
    std::fs::set_permissions(&cache, Permissions::from_mode(0o777)).unwrap();
    let (code, log) = origin(&cache).await;
    assert_eq!(code, "Compiled");
    assert!(log.contains("not cached"), "{log}");
}

#[test]
fn compiled_code_is_no_component() {
    let file = ConfigFile::new("");
    let cache = file.folder().join("cache");
    std::fs::write(file.path(), "providers:\n  echo: {type: echo}\nextensions:\n  routing: {}\n").unwrap();
    let components = repo::components();
    let args =
        ["check", "--config", file.path().to_str().unwrap(), "--components", components.to_str().unwrap(), "--set"].map(str::to_owned);
    let set = format!("cache={}", cache.display());
    let args: Vec<&str> = args.iter().map(String::as_str).chain([set.as_str()]).collect();
    assert_eq!(cli::run(&args).code, 0);
    let compiled = std::fs::read_dir(&cache).unwrap().next().unwrap().unwrap().path();
    let config = format!("providers:\n  echo: {{type: echo}}\nextensions:\n  routing: {{component: \"{}\"}}\n", compiled.display());
    std::fs::write(file.path(), config).unwrap();
    let refused = cli::run(&args);
    assert_eq!(refused.code, 2, "{refused:?}");
    assert!(refused.stderr.contains("not a WebAssembly file"), "{}", refused.stderr);
}

#[tokio::test]
async fn operators_look_inside_from_this_machine_only() {
    let gateway = Gateway::builder(&echo("")).set("server.host=0.0.0.0").start().await;
    let client = Client::new(&gateway);
    let answer = client.post(Dialect::OpenAi.path(), &Dialect::OpenAi.request("echo", "hello")).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    for path in ["/api/extensions", &format!("/api/requests/{}", answer.header("x-request-id"))] {
        assert_eq!(client.get(path).await.status, 403, "{path}");
    }
    assert_eq!(client.get("/health").await.status, 200);
}
