//! What was served, in numbers: the page of metrics, the same as JSON, and a real Prometheus that reads the page.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use http::Method;
use serde_json::{Value, json};
use wasmgate_tests::answers::{Says, TEXT};
use wasmgate_tests::upstream::Gate;
use wasmgate_tests::{Client, DEADLINE, Dialect, Gateway, Reply, Step, Upstream, repo, soon};

use crate::setup;

/// What a scraper says that knows only the older format.
const OLDER: &str = "text/plain;version=0.0.4";

async fn page(client: &Client) -> String {
    client.get("/metrics").await.text()
}

/// The value of a series; 0 when it is not there.
fn value(page: &str, name: &str, labels: &[&str]) -> f64 {
    let found = page.lines().filter(|l| l.split(['{', ' ']).next() == Some(name) && labels.iter().all(|label| l.contains(label)));
    found.filter_map(|l| l.rsplit(' ').next()?.parse::<f64>().ok()).sum()
}

/// The page once it says what is expected: a request is counted when its last byte is on its way.
async fn page_with(client: &Client, name: &str, labels: &[&str], expected: f64) -> String {
    let last = std::sync::Mutex::new(String::new());
    let look = async {
        loop {
            let page = page(client).await;
            if (value(&page, name, labels) - expected).abs() < 1e-9 {
                return page;
            }
            *last.lock().expect("nobody panics with it") = page;
            tokio::task::yield_now().await;
        }
    };
    match tokio::time::timeout(DEADLINE, look).await {
        Ok(page) => page,
        Err(_) => panic!("{name} {labels:?} is not {expected}\n{}", last.into_inner().unwrap_or_default()),
    }
}

#[tokio::test]
async fn requests_are_counted_by_what_became_of_them() {
    let upstream = Upstream::start(|r| match r.model().as_str() {
        "bad" => Reply::json(503, &json!({"error": {"message": "busy", "type": "server_error"}})),
        _ => Says::text(TEXT).reply(Dialect::OpenAi, r),
    })
    .await;
    let provider = setup::provider(Dialect::OpenAi, &upstream).replace('}', ", models: [good, bad]}");
    let gateway = Gateway::start(&setup::config(&provider, "")).await;
    let client = Client::new(&gateway);
    let path = Dialect::OpenAi.path();
    assert_eq!(client.post(path, &Dialect::OpenAi.request("good", "x")).await.status, 200);
    let mut events = client.stream(path, &Dialect::OpenAi.stream_request("good", "x")).await;
    assert!(!events.rest().await.is_empty());
    assert_eq!(client.post(path, &Dialect::OpenAi.request("bad", "x")).await.status, 503);
    // Names that nobody answers to are made up by whoever sends them.
    for n in 0..20 {
        assert_eq!(client.post(path, &Dialect::OpenAi.request(&format!("made-up-{n}"), "x")).await.status, 404);
    }
    let all = page_with(&client, "wasmgate_requests_total", &[], 23.0).await;
    let good = ["origin=\"client\"", "format=\"openai-chat\"", "provider=\"up\"", "model=\"good\""];
    let with = |more: &'static str| good.iter().copied().chain([more]).collect::<Vec<_>>();
    assert!((value(&all, "wasmgate_requests_total", &with("status=\"2xx\",outcome=\"success\"")) - 2.0).abs() < 1e-9, "{all}");
    assert!(
        (value(&all, "wasmgate_requests_total", &["provider=\"up\",model=\"bad\"", "status=\"5xx\",outcome=\"error\""]) - 1.0).abs() < 1e-9
    );
    assert!(
        (value(&all, "wasmgate_requests_total", &["provider=\"none\",model=\"other\"", "status=\"4xx\""]) - 20.0).abs() < 1e-9,
        "{all}"
    );
    assert!(!all.contains("made-up"), "a name that callers make up is no label\n{all}");
    assert!((value(&all, "wasmgate_request_duration_seconds_count", &good) - 2.0).abs() < 1e-9);
    assert!((value(&all, "wasmgate_time_to_first_token_seconds_count", &good) - 1.0).abs() < 1e-9, "of streams only\n{all}");
    assert!(value(&all, "wasmgate_tokens_total", &with("kind=\"input\"")) > 0.0, "{all}");
    assert!(value(&all, "wasmgate_tokens_total", &with("kind=\"output\"")) > 0.0, "{all}");
    assert!((value(&all, "wasmgate_attempts_total", &["provider=\"up\""]) - 3.0).abs() < 1e-9);
    assert!((value(&all, "wasmgate_attempt_errors_total", &["provider=\"up\",class=\"overloaded\""]) - 1.0).abs() < 1e-9, "{all}");
    assert!((value(&all, "wasmgate_request_errors_total", &["class=\"model-not-found\""]) - 20.0).abs() < 1e-9, "{all}");
    assert!(value(&all, "wasmgate_requests_in_flight", &[]).abs() < 1e-9, "{all}");
    let resident = value(&all, "process_resident_memory_bytes", &[]) as u64 >> 10;
    let expected = gateway.resident_kib();
    assert!(resident > expected / 2 && resident < expected * 2, "{resident} KiB on the page, {expected} KiB says the kernel");
    assert!(value(&all, "process_open_fds", &[]) >= 5.0 && value(&all, "process_cpu_seconds_total", &[]) > 0.0, "{all}");
    assert!(value(&all, "wasmgate_build_info", &["version="]) > 0.0);
}

#[tokio::test]
async fn requests_and_streams_that_are_not_over_are_counted_too() {
    let gate = Gate::default();
    let waits = gate.clone();
    let upstream = Upstream::start(move |r| {
        let stream = Says::text(TEXT).stream(Dialect::OpenAi, &r.model());
        let mut stream: Vec<_> = stream.into_iter().map(|event| Step::Send(event.into_bytes())).collect();
        stream.insert(1, Step::Wait(waits.clone()));
        Reply::events(stream)
    })
    .await;
    let (_gateway, client) = setup::gateway(Dialect::OpenAi, &upstream).await;
    let mut events = client.stream(Dialect::OpenAi.path(), &Dialect::OpenAi.stream_request("m", "x")).await;
    soon("first event", events.next()).await.expect("the stream has begun");
    let during = page_with(&client, "wasmgate_streams_open", &[], 1.0).await;
    assert!((value(&during, "wasmgate_requests_in_flight", &[]) - 1.0).abs() < 1e-9, "{during}");
    // Whoever goes away is no longer counted, either.
    drop(events);
    let after = page_with(&client, "wasmgate_streams_open", &[], 0.0).await;
    assert!(value(&after, "wasmgate_requests_in_flight", &[]).abs() < 1e-9, "{after}");
    assert!((value(&after, "wasmgate_requests_total", &["outcome=\"cancelled\""]) - 1.0).abs() < 1e-9, "{after}");
    gate.open();
}

#[tokio::test]
async fn the_numbers_are_there_as_json() {
    let (_upstream, _gateway, client) =
        setup::moody(Dialect::OpenAi, || Reply::json(429, &json!({"error": {"message": "slow down", "type": "rate_limit"}}))).await;
    let path = Dialect::OpenAi.path();
    assert_eq!(client.post(path, &Dialect::OpenAi.request("good", "x")).await.status, 200);
    assert_eq!(client.post(path, &Dialect::OpenAi.request("bad", "x")).await.status, 429);
    page_with(&client, "wasmgate_requests_total", &[], 2.0).await;

    let providers = client.get("/api/metrics/providers").await.json();
    assert_eq!(providers["success"], true);
    let up = providers["data"].as_array().and_then(|all| all.iter().find(|p| p["name"] == "up")).expect("the provider is there").clone();
    assert_eq!(up["requests"], 2, "{up}");
    assert_eq!(up["outcomes"], json!({"error": 1, "success": 1}));
    assert_eq!(up["statuses"], json!({"2xx": 1, "4xx": 1}));
    assert_eq!(up["attempts"]["sent"], 2);
    assert_eq!(up["attempts"]["errors"], json!({"rate-limited": 1}));
    assert_eq!(up["models"]["good"]["requests"], 1);
    assert_eq!(up["models"]["other"]["requests"], 1, "nobody ever answered to `bad`: {up}");
    assert!(up["models"]["good"]["tokens"]["output"].as_u64() > Some(0), "{up}");
    assert!(up["duration_ms"]["p95"].as_f64() > Some(0.0), "{up}");
    assert_eq!(up["time_to_first_token_ms"], Value::Null, "there was no stream");

    let system = client.get("/api/metrics/system").await.json();
    let data = &system["data"];
    assert!(data["resident_memory_bytes"].as_u64() > Some(1 << 20) && data["open_files"].as_u64() > Some(4), "{system}");
    assert!(data["uptime_seconds"].as_f64() > Some(0.0) && data["requests_in_flight"] == 0, "{system}");

    let extensions = client.get("/api/metrics/extensions").await.json();
    let routing = extensions["data"].as_array().and_then(|all| all.iter().find(|e| e["name"] == "routing")).expect("it is loaded").clone();
    assert!(routing["hooks"]["before-generate"]["calls"].as_u64() >= Some(2), "{routing}");

    let refused = client.send(client.request(Method::POST, "/api/metrics/system")).await;
    assert_eq!((refused.status, refused.header("allow")), (405, "GET"));
    let foreign = client.send(client.request(Method::GET, "/api/metrics/providers").header("x-forwarded-for", "10.0.0.1")).await;
    assert_eq!(foreign.status, 403, "the operators' interface is not for everybody");
}

// === a real Prometheus ===

/// A program of Prometheus, if it is there.
fn program(name: &str) -> Option<PathBuf> {
    let installed = repo::from_environment("WASMGATE_MONITORING", "target/monitoring").join(name);
    if installed.is_file() {
        return Some(installed);
    }
    let path = std::env::var_os("PATH").unwrap_or_default();
    let found = std::env::split_paths(&path).map(|folder| folder.join(name)).find(|p| p.is_file());
    if found.is_none() {
        let required = ["CI", "WASMGATE_REQUIRE_SDKS"].iter().any(|v| std::env::var_os(v).is_some_and(|v| !v.is_empty() && v != "0"));
        assert!(!required, "`{name}` is missing; `cargo xtask test` installs it");
        eprintln!("SKIPPED: `{name}` is missing; `cargo xtask test` installs it");
    }
    found
}

/// It ends with the value.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A port that is free. Somebody else may take it before the program does, which then ends with an error.
fn free_port() -> u16 {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("loopback");
    listener.local_addr().expect("it listens").port()
}

/// A Prometheus that reads the page of a gateway.
struct Prometheus {
    process: Running,
    folder: tempfile::TempDir,
    url: String,
    http: reqwest::Client,
}

impl Prometheus {
    /// Starts it and waits until it answers. Between two looks at a free port and its use, another program may take it: then it is tried again.
    async fn start(program: &Path, gateway: &Gateway) -> Self {
        let http = reqwest::Client::builder().no_proxy().build().expect("a client");
        for _ in 0..5 {
            let (port, folder) = (free_port(), tempfile::tempdir().expect("a temporary folder"));
            let config = json!({
                "global": {"scrape_interval": "200ms", "scrape_timeout": "200ms", "evaluation_interval": "1s"},
                "scrape_configs": [{"job_name": "wasmgate", "static_configs": [{"targets": [gateway.address()]}]}],
            });
            // JSON is YAML.
            std::fs::write(folder.path().join("prometheus.yml"), config.to_string()).expect("a temporary file");
            let log = std::fs::File::create(folder.path().join("log")).expect("a temporary file");
            let mut command = Command::new(program);
            command.arg(format!("--config.file={}", folder.path().join("prometheus.yml").display()));
            command.arg(format!("--storage.tsdb.path={}", folder.path().join("data").display()));
            command.arg(format!("--web.listen-address=127.0.0.1:{port}"));
            command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log);
            let process = Running(command.spawn().expect("Prometheus starts"));
            let mut started = Self { process, folder, url: format!("http://127.0.0.1:{port}"), http: http.clone() };
            if soon("answer of Prometheus", started.is_ready()).await {
                return started;
            }
        }
        panic!("Prometheus found no free port");
    }

    /// Whether it became ready; not when it ended.
    async fn is_ready(&mut self) -> bool {
        loop {
            if self.http.get(format!("{}/-/ready", self.url)).send().await.is_ok_and(|r| r.status().is_success()) {
                return true;
            }
            if self.process.0.try_wait().expect("it can be asked").is_some() {
                return false;
            }
            tokio::task::yield_now().await;
        }
    }

    async fn get(&self, path: &str, query: &[(&str, &str)]) -> Value {
        let mut url = reqwest::Url::parse(&format!("{}{path}", self.url)).expect("a URL");
        url.query_pairs_mut().extend_pairs(query);
        let answer = soon("answer of Prometheus", self.http.get(url).send()).await.expect("it answers");
        serde_json::from_slice(&answer.bytes().await.expect("it is complete")).expect("JSON")
    }

    /// The value of a query, once there is one that is a number and greater than zero.
    async fn positive(&self, query: &str) -> f64 {
        let ask = async {
            loop {
                let answer = self.get("/api/v1/query", &[("query", query)]).await;
                assert_eq!(answer["status"], "success", "{query}: {answer}");
                let value = answer["data"]["result"][0]["value"][1].as_str().and_then(|v| v.parse::<f64>().ok());
                if let Some(value) = value.filter(|v| v.is_finite() && *v > 0.0) {
                    return value;
                }
                tokio::task::yield_now().await;
            }
        };
        soon(&format!("answer to {query}"), ask).await
    }

    fn log(&self) -> String {
        std::fs::read_to_string(self.folder.path().join("log")).unwrap_or_default()
    }
}

#[tokio::test]
async fn prometheus_scrapes_the_page_and_answers_queries() {
    let Some(program) = program("prometheus") else { return };
    let upstream = setup::friendly(Dialect::OpenAi).await;
    let (gateway, client) = setup::gateway(Dialect::OpenAi, &upstream).await;
    let ask = async || {
        let mut events = client.stream(Dialect::OpenAi.path(), &Dialect::OpenAi.stream_request("m", "x")).await;
        assert!(!events.rest().await.is_empty());
    };
    ask().await;
    page_with(&client, "wasmgate_requests_total", &[], 1.0).await;
    let prometheus = Prometheus::start(&program, &gateway).await;
    // A rate needs two scrapes with more requests in the second.
    assert!(prometheus.positive("sum(wasmgate_requests_total)").await >= 1.0);
    ask().await;
    ask().await;
    let rate = prometheus.positive("sum(rate(wasmgate_requests_total{outcome=\"success\"}[1m])) by (provider)").await;
    assert!(rate > 0.0);
    let quantile =
        prometheus.positive("histogram_quantile(0.95, sum(rate(wasmgate_time_to_first_token_seconds_bucket[1m])) by (le, provider))").await;
    assert!(quantile < 80.0, "{quantile} s");
    assert!(prometheus.positive("process_resident_memory_bytes").await > 1e6);
    let targets = prometheus.get("/api/v1/targets", &[]).await;
    let target = &targets["data"]["activeTargets"][0];
    assert_eq!((&target["health"], &target["lastError"]), (&json!("up"), &json!("")), "{targets}");
    let metadata = prometheus.get("/api/v1/metadata", &[("metric", "wasmgate_request_duration_seconds")]).await;
    assert_eq!(metadata["data"]["wasmgate_request_duration_seconds"][0]["type"], "histogram", "{metadata}");
    let complaints: Vec<_> = prometheus
        .log()
        .lines()
        .filter(|l| l.contains("scrape") && (l.contains("=warn") || l.contains("=error")))
        .map(str::to_owned)
        .collect();
    assert!(complaints.is_empty(), "{complaints:?}");
}

#[tokio::test]
async fn prometheus_finds_nothing_to_say_about_names_and_units() {
    let Some(program) = program("promtool") else { return };
    let upstream = setup::friendly(Dialect::OpenAi).await;
    let (_gateway, client) = setup::gateway(Dialect::OpenAi, &upstream).await;
    for (dialect, model) in [(Dialect::OpenAi, "m"), (Dialect::Anthropic, "n")] {
        let mut events = client.stream(dialect.path(), &dialect.stream_request(model, "x")).await;
        assert!(!events.rest().await.is_empty());
    }
    page_with(&client, "wasmgate_requests_total", &[], 2.0).await;
    let answer = client.send(client.request(Method::GET, "/metrics").header("accept", OLDER)).await;
    assert_eq!(answer.header("content-type"), "text/plain; version=0.0.4; charset=utf-8");
    let folder = tempfile::tempdir().expect("a temporary folder");
    let file = folder.path().join("page");
    std::fs::write(&file, &answer.body).expect("a temporary file");
    let mut command = Command::new(program);
    command.args(["check", "metrics"]).stdin(std::fs::File::open(&file).expect("it was written"));
    let checked = tokio::task::spawn_blocking(move || command.output()).await.expect("it does not panic").expect("it starts");
    let said = format!("{}{}", String::from_utf8_lossy(&checked.stdout), String::from_utf8_lossy(&checked.stderr));
    assert!(checked.status.success() && said.trim().is_empty(), "{said}\n{}", answer.text());
}
