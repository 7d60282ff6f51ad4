//! The ledger: one row for every request, whatever became of it.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::{Value, json};
use wasmgate_tests::answers::{Says, TEXT};
use wasmgate_tests::{Client, Dialect, Gateway, Reply, Step, Upstream, soon};

use crate::setup::{self, PROVIDER_KEY};

const KEY: &str = "sk-test-with-enough-characters";

/// A gateway with two keys, `a` and `b`, and `more` at the top.
async fn gateway(provider: &str, more: &str) -> (Gateway, Client) {
    let keys = format!(
        "api_keys:\n  - {{key: {KEY}-a, name: a, denied_models: [denied]}}\n  - {{key: {KEY}-b, name: b}}\nusage: {{enabled: true}}\n"
    );
    let gateway = Gateway::start(&format!("default_provider: up\n{}{keys}{more}", setup::config(provider, ""))).await;
    let client = Client::new(&gateway);
    (gateway, client)
}

fn post(client: &Client, path: &str, key: &str, body: &Value) -> reqwest::RequestBuilder {
    let request = client.request(http::Method::POST, path).header("content-type", "application/json");
    request.header("x-api-key", format!("{KEY}-{key}")).body(body.to_string())
}

/// All rows that the operator sees, by page.
async fn rows(client: &Client, query: &str) -> Vec<Value> {
    let (mut all, mut cursor) = (Vec::new(), String::new());
    loop {
        let answer = client.get(&format!("/usage?limit=100&{query}{cursor}")).await;
        assert_eq!(answer.status, 200, "{}", answer.text());
        let page = answer.json()["data"].clone();
        all.extend(page["rows"].as_array().expect("rows").iter().cloned());
        match page["next_cursor"].as_str() {
            Some(next) => cursor = format!("&cursor={}", next.replace('+', "%2B")),
            None => return all,
        }
    }
}

/// The row of a request, as soon as it is there.
async fn row(client: &Client, id: &str) -> Value {
    soon(&format!("row of the request {id}"), async {
        loop {
            if let [row] = &rows(client, &format!("request_id={id}")).await[..] {
                return row.clone();
            }
            tokio::task::yield_now().await;
        }
    })
    .await
}

/// Racers that lost took tokens too: they are in the row at the prices of their own models, and it says that nobody told how many.
#[tokio::test]
async fn losers_of_a_race_are_paid_for() {
    // It says half of its text and hangs until the answers are compared.
    let late = Upstream::start(|r| {
        let events = Says::text(TEXT).stream(Dialect::OpenAi, &r.model());
        Reply::events(vec![Step::Send(events[..events.len() / 2].concat().into()), Step::Hang])
    })
    .await;
    let good = setup::friendly(Dialect::Anthropic).await;
    let providers = setup::provider(Dialect::OpenAi, &late)
        + &setup::named_provider("good", Dialect::Anthropic, &good.url())
        + "  race: {type: racing, config: {providers: [{provider: up, model: dear}, {provider: good, model: cheap}], strategy: quality, timeout_ms: 3000}}\n";
    let prices = "prices: {dear: {input: 1000, output: 2000}, cheap: {input: 1, output: 2}}\n";
    let (_gateway, client) = gateway(&providers, prices).await;
    for dialect in [Dialect::OpenAi, Dialect::Anthropic] {
        let answer = client.send(post(&client, dialect.path(), "a", &dialect.stream_request("race", "hello"))).await;
        assert_eq!((answer.status, answer.header("x-wasmgate-racing-winner")), (200, "good"), "{}", answer.text());
        let row = row(&client, answer.header("x-request-id")).await;
        let tries = client.record(answer.header("x-request-id")).await["tries"].clone();
        let written = tries[0]["output_tokens"].as_u64().expect("what arrived was counted");
        assert!((1..12).contains(&written), "half of the text: {tries}");
        assert_eq!([&tries[0]["estimated"], &tries[1]["estimated"], &row["estimated"]], [true, false, true], "{row}");
        assert_eq!((&row["input_tokens"], &row["output_tokens"]), (&json!(18), &json!(12 + written)), "{row}");
        let cost = (9 * 1000 + written * 2000 + 9 + 12 * 2) as f64 / 1e6;
        assert!(row["cost_usd"].as_f64().is_some_and(|found| (found - cost).abs() < 1e-9), "{cost} in {row}");
        assert_eq!(
            (&row["provider"], &row["model"], &row["attempts"], &row["status"]),
            (&json!("good"), &json!("cheap"), &json!(2), &json!("success"))
        );
    }
}

#[tokio::test]
async fn every_ending_of_every_client_is_one_row() {
    let upstream = Upstream::start(|r| match (r.model().as_str(), r.is_stream()) {
        ("fail", _) => Reply::json(500, &json!({"error": {"message": "no", "type": "server_error", "param": null, "code": null}})),
        ("hang", true) => {
            let events = Says::text(TEXT).stream(Dialect::OpenAi, "hang");
            Reply::events(vec![Step::Send(events[..3].concat().into()), Step::Hang])
        }
        ("cut", true) => {
            let events = Says::text(TEXT).stream(Dialect::OpenAi, "cut");
            Reply::events(vec![Step::Send(events[..3].concat().into()), Step::Cut])
        }
        ("silent", _) => Reply::silence(),
        _ => Says::text(TEXT).reply(Dialect::OpenAi, r),
    })
    .await;
    let (_gateway, client) =
        gateway(&setup::provider(Dialect::OpenAi, &upstream), "endpoints: {gemini: {enabled: true}}\naliases: {fast: gpt-4o-mini}\n").await;
    let mut expected = BTreeMap::new();
    for dialect in Dialect::ALL {
        for (model, stream, status, tokens) in [
            ("fast", false, "success", Some((9, 12))),
            ("fast", true, "success", Some((9, 12))),
            ("fail", false, "error", None),
            ("cut", true, "error", None),
            ("denied", false, "rejected", None),
        ] {
            let id = format!("{dialect:?}-{model}-{stream}");
            let body = if stream { dialect.stream_request(model, "x") } else { dialect.request(model, "x") };
            client.send(post(&client, dialect.path(), "a", &body).header("x-request-id", &id)).await;
            expected.insert(id, (dialect.path(), stream, status, tokens));
        }
    }
    let gemini = json!({"contents": [{"role": "user", "parts": [{"text": "x"}]}]});
    for (method, stream) in [("generateContent", false), ("streamGenerateContent?alt=sse", true)] {
        let path = format!("/v1beta/models/fast:{method}");
        let id = format!("gemini-{stream}");
        client.send(post(&client, &path, "a", &gemini).header("x-request-id", &id)).await;
        let path = if stream { "/v1beta/models/fast:streamGenerateContent" } else { "/v1beta/models/fast:generateContent" };
        expected.insert(id, (path, stream, "success", Some((9, 12))));
    }
    // One that leaves in the middle of the answer, and one that leaves before it.
    let leaving = post(&client, Dialect::OpenAi.path(), "a", &Dialect::OpenAi.stream_request("hang", "x")).header("x-request-id", "left");
    let mut stream = leaving.send().await.expect("the stream begins");
    stream.chunk().await.expect("its first piece").expect("is there");
    drop(stream);
    expected.insert("left".into(), (Dialect::OpenAi.path(), true, "disconnected", None));
    let before = upstream.received().len();
    let waiting = post(&client, Dialect::OpenAi.path(), "a", &Dialect::OpenAi.request("silent", "x")).header("x-request-id", "gave-up");
    let waiting = tokio::spawn(waiting.send());
    upstream.request(before).await;
    waiting.abort();
    expected.insert("gave-up".into(), (Dialect::OpenAi.path(), false, "cancelled", None));
    // A stranger has a row too, without a name.
    let stranger = client.request(http::Method::POST, Dialect::OpenAi.path()).header("x-request-id", "stranger");
    client.send(stranger.body(Dialect::OpenAi.request("m", "x").to_string())).await;

    for (id, (path, stream, status, tokens)) in &expected {
        let row = row(&client, id).await;
        assert_eq!((&row["status"], &row["endpoint"], &row["stream"]), (&json!(status), &json!(path), &json!(stream)), "{row}");
        assert_eq!(row["api_key_name"], "a", "{row}");
        if let Some((input, output)) = tokens {
            assert_eq!(
                (&row["input_tokens"], &row["output_tokens"], &row["estimated"]),
                (&json!(input), &json!(output), &json!(false)),
                "{row}"
            );
            assert_eq!((&row["model"], &row["provider"]), (&json!("gpt-4o-mini"), &json!("up")), "{row}");
            assert_eq!(row["requested_model"], "fast", "{row}");
            let cost = row["cost_usd"].as_f64().expect("its price is known");
            assert!((cost - (9.0 * 0.15 + 12.0 * 0.6) / 1e6).abs() < 1e-12, "{row}");
            assert!(row["ttft_ms"].as_f64().is_some_and(|ms| ms > 0.0), "{row}");
        } else {
            assert_eq!(row["output_tokens"], Value::Null, "{row}");
        }
    }
    assert_eq!(row(&client, "OpenAi-fail-false").await["http_status"], 500);
    let rejected = row(&client, "OpenAi-denied-false").await;
    assert_eq!((&rejected["http_status"], &rejected["error_code"]), (&json!(403), &json!("model_not_allowed")));
    let left = row(&client, "left").await;
    assert!(left["estimated"] == true && left["input_tokens"].as_u64().is_some_and(|n| n > 0), "{left}");
    let stranger = row(&client, "stranger").await;
    assert_eq!((&stranger["status"], &stranger["api_key_name"]), (&json!("rejected"), &Value::Null));
    let all = rows(&client, "").await;
    assert_eq!(all.len(), expected.len() + 1, "each once");
}

#[tokio::test]
async fn a_caller_sees_their_own_rows_and_the_operator_all() {
    let upstream = setup::friendly(Dialect::OpenAi).await;
    let (_gateway, client) = gateway(&setup::provider(Dialect::OpenAi, &upstream), "prices: {\"up/m\": {input: 1, output: 2}}\n").await;
    for (key, id, model) in [("a", "a1", "m"), ("a", "a2", "m"), ("b", "b1", "n")] {
        client.send(post(&client, Dialect::OpenAi.path(), key, &Dialect::OpenAi.request(model, "x")).header("x-request-id", id)).await;
        row(&client, id).await;
    }
    let ids = |answer: &wasmgate_tests::Answer| {
        let rows = answer.json()["data"]["rows"].clone();
        let mut ids: Vec<String> = rows.as_array().expect("rows").iter().map(|r| r["request_id"].as_str().unwrap().to_owned()).collect();
        ids.sort();
        ids
    };
    let see = |path: &'static str, fields: &'static [(&'static str, &'static str)]| {
        let mut request = client.request(http::Method::GET, path);
        for (name, value) in fields {
            request = request.header(*name, *value);
        }
        client.send(request)
    };
    const A: (&str, &str) = ("x-api-key", "sk-test-with-enough-characters-a");
    const ELSEWHERE: (&str, &str) = ("x-forwarded-for", "203.0.113.9");
    assert_eq!(ids(&see("/usage", &[]).await), ["a1", "a2", "b1"]);
    assert_eq!(ids(&see("/usage", &[A]).await), ["a1", "a2"]);
    assert_eq!(ids(&see("/usage", &[A, ELSEWHERE]).await), ["a1", "a2"]);
    assert_eq!(ids(&see("/usage?key=b", &[A]).await), [""; 0]);
    // Nobody can say who they are but with a key.
    for fields in [
        &[ELSEWHERE][..],
        &[ELSEWHERE, ("x-wasmgate-operator", "true")],
        &[ELSEWHERE, ("x-wasmgate-caller", "{\"name\":\"a\"}")],
        &[("x-api-key", "sk-of-nobody")],
    ] {
        assert_eq!(see("/usage", fields).await.status, 401, "{fields:?}");
        assert_eq!(see("/usage/summary", fields).await.status, 401, "{fields:?}");
    }
    assert_eq!(ids(&see("/usage", &[A, ("x-wasmgate-caller", "{\"name\":\"b\"}")]).await), ["a1", "a2"]);
    assert_eq!(ids(&see("/usage", &[A, ("x-wasmgate-operator", "true")]).await), ["a1", "a2"]);

    let summary = see("/usage/summary?by=key,model", &[]).await.json();
    let groups = summary["data"]["groups"].as_array().expect("groups");
    let of = |key: &str| groups.iter().find(|g| g["key"] == key).unwrap_or_else(|| panic!("{key} in {summary}"));
    assert_eq!((&of("a")["requests"], &of("a")["input_tokens"], &of("a")["output_tokens"]), (&json!(2), &json!(18), &json!(24)));
    let cost = of("a")["cost_usd"].as_f64().expect("it has a price");
    assert!((cost - 2.0 * (9.0 + 24.0) / 1e6).abs() < 1e-12, "{cost}");
    assert_eq!((&of("b")["cost_usd"], &of("b")["requests_without_price"]), (&Value::Null, &json!(1)));
    let own = see("/usage/summary?by=key", &[A]).await.json();
    assert_eq!(own["data"]["groups"].as_array().map(Vec::len), Some(1), "{own}");
    let csv = see("/usage?format=csv&limit=1", &[]).await;
    assert!(csv.header("content-type").starts_with("text/csv") && csv.text().lines().count() == 2, "{}", csv.text());
    assert!(!csv.header("x-next-cursor").is_empty());
    for (path, expect) in
        [("/usage?limit=0", "`limit` is `0`"), ("/usage?colour=red", "no parameter `colour`"), ("/usage/summary?by=x", "`by` has `x`")]
    {
        let refused = see(path, &[]).await;
        assert!(refused.status == 400 && refused.text().contains(expect), "{path}: {}", refused.text());
    }
}

#[tokio::test]
async fn a_full_page_is_within_the_limits_of_an_extension() {
    let upstream = setup::friendly(Dialect::OpenAi).await;
    let (_gateway, client) = gateway(&setup::provider(Dialect::OpenAi, &upstream), "").await;
    for n in 0..260 {
        client
            .send(post(&client, Dialect::OpenAi.path(), "a", &Dialect::OpenAi.request("m", "x")).header("x-request-id", format!("r{n}")))
            .await;
    }
    row(&client, "r259").await;
    soon("all rows", async { while rows(&client, "").await.len() < 260 {} }).await;
    assert_eq!(client.get("/usage?limit=100&format=csv").await.text().lines().count(), 101);
}

/// Requests of the randomised run.
const REQUESTS: u64 = 2_000;
const AT_ONCE: u64 = 16;

/// What the upstream said that it delivered, by request: tokens, and whether it told them before the client could leave.
type Delivered = Arc<Mutex<BTreeMap<String, (u64, u64)>>>;

/// A number that looks random, and is the same on every machine (splitmix64).
fn mixed(n: u64) -> u64 {
    let z = n.wrapping_mul(0x9e37_79b9_7f4a_7c15).wrapping_add(0x1234_5678_9abc_def0);
    let z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// What becomes of a request, by its number.
fn fate(n: u64) -> &'static str {
    ["ok", "ok", "ok", "ok", "fail", "cut", "hang", "denied", "busy"][(mixed(n) % 9) as usize]
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_ledger_of_two_thousand_requests_is_what_the_upstream_delivered() {
    let delivered: Delivered = Arc::default();
    let books = Arc::clone(&delivered);
    let upstream = Upstream::start(move |r| {
        let model = r.model();
        let number: u64 = model.trim_start_matches("m-").parse().unwrap_or(0);
        let (input, output) = (10 + mixed(number) % 500, 1 + mixed(number ^ 1) % 300);
        let usage = json!({"prompt_tokens": input, "completion_tokens": output, "total_tokens": input + output});
        let says = Says { usage: Some(usage), ..Says::text(TEXT) };
        let broken = |end: Step| {
            let events = says.stream(Dialect::OpenAi, &model);
            Reply::events(vec![Step::Send(events[..3].concat().into()), end])
        };
        match (fate(number), r.is_stream()) {
            ("fail", _) => Reply::json(500, &json!({"error": {"message": "no", "type": "server_error", "param": null, "code": null}})),
            ("busy", _) => Reply::json(429, &json!({"error": {"message": "busy", "type": "rate_limit", "param": null, "code": null}})),
            ("cut", true) => broken(Step::Cut),
            ("cut", false) => Reply::closed(),
            ("hang", true) => broken(Step::Hang),
            ("hang", false) => Reply::silence(),
            _ => {
                books.lock().unwrap().insert(format!("r{number}"), (input, output));
                says.reply(Dialect::OpenAi, r)
            }
        }
    })
    .await;
    let provider = format!("  up: {{type: openai, base_url: \"{}/v1\", api_key: {PROVIDER_KEY}}}\n", upstream.url());
    let keys = format!(
        "api_keys:\n  - {{key: {KEY}-a, name: a, rate_limit_tpm: 1000000000, max_parallel_requests: 1000}}\n  - {{key: {KEY}-b, name: b, allowed_models: []}}\nusage: {{enabled: true}}\n"
    );
    let config = format!("default_provider: up\n{}{keys}", setup::config(&provider, ""));
    let gateway = Gateway::builder(&config).set("logging.level=warn,wasmgate::cli=info").start().await;
    let client = Arc::new(Client::new(&gateway));
    // What each client saw.
    let seen: Arc<Mutex<BTreeMap<u64, u16>>> = Arc::default();
    let workers: Vec<_> = (0..AT_ONCE)
        .map(|worker| {
            let (client, seen) = (Arc::clone(&client), Arc::clone(&seen));
            tokio::spawn(async move {
                for n in (worker..REQUESTS).step_by(AT_ONCE as usize) {
                    let dialect = Dialect::ALL[(mixed(n) >> 16) as usize % 3];
                    let (stream, model) = (mixed(n) >> 24 & 1 == 1, format!("m-{n}"));
                    let body = if stream { dialect.stream_request(&model, "x") } else { dialect.request(&model, "x") };
                    let key = if fate(n) == "denied" { "b" } else { "a" };
                    let request = post(&client, dialect.path(), key, &body).header("x-request-id", format!("r{n}"));
                    let whole = async {
                        let response = request.send().await.expect("the gateway answers");
                        let status = response.status().as_u16();
                        response.bytes().await.expect("the body is complete");
                        status
                    };
                    if fate(n) == "hang" {
                        let _ = tokio::time::timeout(Duration::from_millis(30), whole).await;
                    } else {
                        let status = whole.await;
                        seen.lock().unwrap().insert(n, status);
                    }
                }
            })
        })
        .collect();
    for worker in workers {
        worker.await.expect("a worker's requests end as they should");
    }
    // Of the clients that left, some may have done so before their request arrived.
    let sure = (0..REQUESTS).filter(|n| fate(*n) != "hang").count();
    let hung = || upstream.received().iter().filter(|r| fate(r.model().trim_start_matches("m-").parse().unwrap_or(0)) == "hang").count();
    let all = tokio::time::timeout(Duration::from_secs(120), async {
        loop {
            let all = rows(&client, "").await;
            if all.len() >= sure + hung() {
                return all;
            }
        }
    })
    .await
    .expect("every request has a row");
    let mut by_id: BTreeMap<String, Value> = BTreeMap::new();
    for row in all {
        let id = row["request_id"].as_str().expect("an id").to_owned();
        assert!(by_id.insert(id.clone(), row).is_none(), "{id} is there twice");
    }
    let delivered = delivered.lock().unwrap().clone();
    let seen = seen.lock().unwrap().clone();
    let (mut input, mut output) = (0, 0);
    for n in 0..REQUESTS {
        let id = format!("r{n}");
        let Some(row) = by_id.get(&id) else {
            assert_eq!(fate(n), "hang", "{id} is missing");
            continue;
        };
        let status = row["status"].as_str().unwrap();
        let stream = row["stream"] == true;
        if let Some(status) = seen.get(&n) {
            assert_eq!(row["http_status"], *status, "{row}");
        }
        match fate(n) {
            "ok" => {
                let (input_tokens, output_tokens) = delivered[&id];
                assert_eq!(status, "success", "{row}");
                assert_eq!(
                    (&row["input_tokens"], &row["output_tokens"], &row["estimated"]),
                    (&json!(input_tokens), &json!(output_tokens), &json!(false)),
                    "{row}"
                );
                (input, output) = (input + input_tokens, output + output_tokens);
            }
            "fail" | "busy" => {
                assert_eq!((status, &row["total_tokens"]), ("error", &Value::Null), "{row}");
            }
            "cut" => assert_eq!((status, &row["output_tokens"]), ("error", &Value::Null), "{row}"),
            "denied" => assert_eq!((status, &row["http_status"]), ("rejected", &json!(403)), "{row}"),
            _ => {
                assert!(status == "cancelled" || stream && status == "disconnected", "{row}");
                assert_eq!(row["output_tokens"], Value::Null, "{row}");
            }
        }
    }
    // What was added up is what was delivered.
    let summary = client.get("/usage/summary?by=status").await.json();
    let success = summary["data"]["groups"].as_array().unwrap().iter().find(|g| g["status"] == "success").unwrap();
    assert_eq!((&success["input_tokens"], &success["output_tokens"]), (&json!(input), &json!(output)), "{summary}");
    assert_eq!(success["requests"], delivered.len(), "{summary}");
}
