//! The operators' interface against its own description: a fuzzer of APIs reads `/api/openapi.json`, asks for what is described in every way it
//! can think of and for what is not, and compares the answers with the schemas.

use std::process::Command;

use http::Method;
use serde_json::{Value, json};
use wasmgate_tests::{Client, Dialect, Gateway, Reply, Upstream, cli, python, soon};

use crate::setup;

const PASSWORD: &str = "open sesame, said the operator";

/// Native providers, one that is logged in to, and a virtual one, extensions, and a password.
async fn gateway(server: &Upstream) -> Gateway {
    let url = server.url();
    let login = format!("{{auth_url: \"{url}/auth\", token_url: \"{url}/token\", device_url: \"{url}/device\", client_id: me}}");
    let providers = format!(
        "  echo: {{type: echo}}\n  other: {{type: echo}}\n  both: {{type: fallback, config: {{providers: [echo, other]}}}}\n  \
         login: {{type: openai, oauth: {login}}}\n"
    );
    let key = "00".repeat(32);
    let more = format!("default_provider: both\nauth: {{api_password: \"{PASSWORD}\"}}\nstorage: {{token_key: \"{key}\"}}\n");
    Gateway::start(&setup::config(&providers, &more)).await
}

/// An authorization server that lets people begin, and waits for them for ever.
async fn authorization_server() -> Upstream {
    Upstream::start(|request| match request.path.as_str() {
        "/device" => Reply::json(
            200,
            &json!({"device_code": "d", "user_code": "ABCD-EFGH", "verification_uri": "https://login.example/device", "expires_in": 600}),
        ),
        _ => Reply::json(400, &json!({"error": "authorization_pending"})),
    })
    .await
}

/// What there is, for the fuzzer to ask about.
const NAMES: &str = r#"
[[operations]]
include-name = "GET /api/requests/{id}"
parameters = { id = "known" }

# Whatever it makes up changes one provider that nobody asks, and is never asked itself: its address may be anywhere.
[[operations]]
include-name = "PUT /api/providers/{name}"
parameters = { name = "made-up" }

[[operations]]
include-name = "DELETE /api/providers/{name}"
parameters = { name = "made-up" }

[[operations]]
include-path-regex = "^/api/providers/\\{name\\}/"
parameters = { name = "other" }

[[operations]]
include-path-regex = "^/api/extensions/\\{name\\}/"
parameters = { name = "routing" }

[[operations]]
include-path-regex = "^/api/oauth/"
parameters = { provider = "login" }
"#;

/// Runs the fuzzer to its end; what it says, unless it is not installed and that is allowed. A document that is a file is read without a password.
async fn fuzz(document: &str, gateway: &Gateway, options: &[&str]) -> Option<String> {
    let mut command = Command::new(python::interpreter("WASMGATE_PYTHON")?);
    let folder = tempfile::tempdir().expect("a folder");
    command.args(["-m", "schemathesis.cli", "--no-color", "run", document, "--url", &gateway.url()]);
    command.args(["--generation-deterministic", "--request-timeout", "60"]).args(options);
    std::fs::write(folder.path().join("schemathesis.toml"), NAMES).expect("it is written");
    // It keeps notes where it is called.
    command.current_dir(folder.path()).env("PYTHONDONTWRITEBYTECODE", "1");
    let finished = tokio::task::spawn_blocking(move || cli::finish(command)).await.expect("the command does not panic");
    assert_eq!(finished.code, 0, "{}\n{}", finished.stdout, finished.stderr);
    Some(finished.stdout)
}

/// How many requests the fuzzer made.
fn generated(report: &str) -> usize {
    let count = |line: &str| line.trim().split_once(" generated")?.0.parse().ok();
    report.lines().find_map(count).unwrap_or_else(|| panic!("no summary in\n{report}"))
}

#[tokio::test]
async fn a_fuzzer_finds_no_crash_and_no_answer_that_is_not_described() {
    let server = authorization_server().await;
    let gateway = gateway(&server).await;
    assert_serves(&Client::new(&gateway)).await;
    let password = format!("authorization: Bearer {PASSWORD}");
    let document = format!("{}/api/openapi.json", gateway.url());
    // Whether doors open without the password is another test: wrong ones would close them on the right one. And what the schema allows need
    // not be accepted: no bytes that it can make up are a component.
    let options = ["--header", &password, "--max-examples", "25", "--exclude-checks", "ignored_auth,positive_data_acceptance"];
    let Some(report) = fuzz(&document, &gateway, &options).await else { return };
    // Of the 32 operations it leaves out the one that it read.
    assert!(generated(&report) > 300 && report.contains("Tested: 31"), "{report}");
    assert!(!report.contains("Missing test data"), "something was never found: {report}");
    assert_serves(&Client::new(&gateway)).await;
}

#[tokio::test]
async fn a_fuzzer_finds_no_way_around_the_password() {
    let server = authorization_server().await;
    let gateway = gateway(&server).await;
    let file = tempfile::NamedTempFile::with_suffix(".json").expect("a file");
    std::fs::write(file.path(), document(&Client::new(&gateway)).await.to_string()).expect("it is written");
    let path = file.path().display().to_string();
    // Of what is refused nothing else can be seen.
    let options =
        ["--max-examples", "5", "--checks", "ignored_auth,not_a_server_error,status_code_conformance,response_schema_conformance"];
    let Some(report) = fuzz(&path, &gateway, &options).await else { return };
    assert!(generated(&report) > 200 && report.contains("Tested: 32"), "{report}");
}

/// The description, as an operator gets it.
async fn document(client: &Client) -> Value {
    let request = client.request(Method::GET, "/api/openapi.json").header("authorization", format!("Bearer {PASSWORD}"));
    client.send(request).await.json()
}

/// It still answers who asks a model.
async fn assert_serves(client: &Client) {
    let request = client.request(Method::POST, Dialect::OpenAi.path()).header("x-request-id", "known");
    let answer = client.send(request.body(Dialect::OpenAi.request("echo", "still there?").to_string())).await;
    assert_eq!((answer.status, Dialect::OpenAi.text(&answer.json()).as_str()), (200, "still there?"));
}

/// What operators are asked for, without the password: each operation of the document.
#[tokio::test]
async fn nothing_is_answered_without_the_password() {
    let server = authorization_server().await;
    let gateway = gateway(&server).await;
    let client = Client::new(&gateway);
    let document = document(&client).await;
    let mut closed = 0;
    for (path, operations) in document["paths"].as_object().expect("paths") {
        for (method, operation) in operations.as_object().expect("operations") {
            let method: Method = method.to_ascii_uppercase().parse().expect("a method");
            let answer = client.send(client.request(method.clone(), &path.replace(['{', '}'], ""))).await;
            if operation["security"] == Value::Array(Vec::new()) {
                // Where browsers come back to, nobody began a login at `provider`.
                assert_eq!(answer.status, if path.ends_with("/callback") { 404 } else { 200 }, "{method} {path}");
            } else {
                assert_eq!((answer.status, answer.json()["error"]["code"].as_str()), (401, Some("unauthorized")), "{method} {path}");
                closed += 1;
            }
        }
    }
    assert_eq!(closed, 29, "every operation but those of load balancers and of browsers that come back");
}

#[tokio::test]
async fn a_gateway_that_stops_says_so_before_it_closes() {
    let gateway = Gateway::builder(&setup::config("  echo: {type: echo}\n", "")).set("server.shutdown_delay=600s").start().await;
    let client = Client::new(&gateway);
    let ready = client.get("/health/ready").await;
    assert_eq!((ready.status, ready.json()["status"].as_str()), (200, Some("ready")));
    gateway.terminate();
    let stopping = async {
        loop {
            let answer = client.get("/health/ready").await;
            if answer.status == 503 {
                return answer.json();
            }
        }
    };
    assert_eq!(soon("a gateway that is not ready", stopping).await["status"], "stopping");
    // Whoever does not know yet is still served, over a new connection too.
    let other = Client::new(&gateway);
    assert_eq!((other.get("/health").await.status, other.get("/status").await.json()["data"]["status"].as_str()), (200, Some("stopping")));
    assert_serves(&other).await;
    // Told again, it does not wait for the rest of those ten minutes.
    gateway.terminate();
    let (status, log) = gateway.ended().await;
    assert!(status.success() && log.contains("told again"), "{log}");
}
