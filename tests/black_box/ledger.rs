//! The ledger: one row for every request, whatever became of it.

use std::collections::BTreeMap;

use serde_json::{Value, json};
use wasmgate_tests::answers::{Says, TEXT};
use wasmgate_tests::{Client, Dialect, Gateway, Reply, Step, Upstream, soon};

use crate::setup;

/// The beginning of each key of these configurations.
pub const KEY: &str = "sk-test-with-enough-characters";

/// A gateway with two keys, `a` and `b`, and `more` at the top.
async fn gateway(provider: &str, more: &str) -> (Gateway, Client) {
    let keys = format!(
        "api_keys:\n  - {{key: {KEY}-a, name: a, denied_models: [denied]}}\n  - {{key: {KEY}-b, name: b}}\nusage: {{enabled: true}}\n"
    );
    let gateway = Gateway::start(&format!("default_provider: up\n{}{keys}{more}", setup::config(provider, ""))).await;
    let client = Client::new(&gateway);
    (gateway, client)
}

/// A request with the key of this name.
pub fn post(client: &Client, path: &str, key: &str, body: &Value) -> reqwest::RequestBuilder {
    let request = client.request(http::Method::POST, path).header("content-type", "application/json");
    request.header("x-api-key", format!("{KEY}-{key}")).body(body.to_string())
}

/// All rows that the operator sees, by page.
pub async fn rows(client: &Client, query: &str) -> Vec<Value> {
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
pub async fn row(client: &Client, id: &str) -> Value {
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

/// Racers that lost took tokens too: they are in the row at the prices of their own models, and it says that they are estimated.
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
    let asked = async |extension: &str| {
        let all = client.get("/api/metrics/extensions").await.json()["data"].clone();
        let this = all.as_array().and_then(|all| all.iter().find(|e| e["name"] == extension).cloned()).expect("it is loaded");
        this["hooks"]["attempts"]["calls"].as_u64().unwrap_or(0)
    };
    // Of a single try the ledger need not be told before the end.
    let answer = client.send(post(&client, Dialect::OpenAi.path(), "a", &Dialect::OpenAi.request("good/cheap", "hello"))).await;
    assert_eq!((answer.status, &row(&client, answer.header("x-request-id")).await["attempts"]), (200, &json!(1)), "{}", answer.text());
    assert_eq!((asked("usage").await, asked("apikeys").await), (0, 1));
    for dialect in [Dialect::OpenAi, Dialect::Anthropic] {
        let answer = client.send(post(&client, dialect.path(), "a", &dialect.stream_request("race", "hello"))).await;
        assert_eq!((answer.status, answer.header("x-wasmgate-racing-winner")), (200, "good"), "{}", answer.text());
        let row = row(&client, answer.header("x-request-id")).await;
        let tries = client.record(answer.header("x-request-id")).await["tries"].clone();
        let written = tries[0]["output_tokens"].as_u64().expect("what arrived was counted");
        assert!((1..12).contains(&written), "half of the text: {tries}");
        assert_eq!([&tries[0]["estimated"], &tries[1]["estimated"], &row["estimated"]], [true, false, false], "{row}");
        assert_eq!((&row["input_tokens"], &row["output_tokens"], &row["other_estimated"]), (&json!(9), &json!(12), &json!(1)), "{row}");
        assert_eq!((&row["other_input_tokens"], &row["other_output_tokens"]), (&json!(9), &json!(written)), "{row}");
        let costs = ["cost_usd", "other_cost_usd"].map(|column| row[column].as_f64().expect("all have prices") * 1e6);
        let expected = [9.0 + 12.0 * 2.0, 9.0 * 1000.0 + written as f64 * 2000.0];
        assert!(costs.iter().zip(expected).all(|(found, expected)| (found - expected).abs() < 1e-3), "{costs:?} in {row}");
        assert_eq!(
            (&row["provider"], &row["model"], &row["attempts"], &row["status"]),
            (&json!("good"), &json!("cheap"), &json!(2), &json!("success"))
        );
    }
    assert_eq!((asked("usage").await, asked("apikeys").await), (2, 3));
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

#[tokio::test]
async fn a_loser_of_a_race_stands_beside_the_answer() {
    // Both begin, in whatever order; by what is known of them, the first one loses.
    let begins = |r: &wasmgate_tests::Received| {
        let events = Says::text(TEXT).stream(Dialect::Anthropic, &r.model());
        Reply::events(vec![Step::Send(events[..4].concat().into()), Step::Hang])
    };
    let (one, two) = (Upstream::start(begins).await, setup::friendly(Dialect::OpenAi).await);
    let known = |member: &str, won: u64, lost: u64| json!({"provider": "race", "member": member, "model": "m", "won": won, "lost": lost, "failed": 0, "average_us": null, "latencies_us": []});
    let folder = tempfile::tempdir().expect("a temporary folder");
    let file = folder.path().join("seen.json");
    std::fs::write(&file, json!([known("one", 0, 10_000_000), known("up", 10_000_000, 0)]).to_string()).expect("a file");
    let providers = format!(
        "{}{}  race: {{type: racing, config: {{providers: [one, up], strategy: weighted, grace_period_ms: 20000, performance_file: \"{}\"}}}}\n",
        setup::named_provider("one", Dialect::Anthropic, &one.url()),
        setup::named_provider("up", Dialect::OpenAi, &two.url()),
        file.display()
    );
    let prices = "prices: {one/m: {input: 100, output: 100}, up/m: {input: 1, output: 1}}\n";
    let (_gateway, client) = gateway(&providers, prices).await;
    let body = Dialect::OpenAi.stream_request("race/m", "x");
    let answer = client.send(post(&client, Dialect::OpenAi.path(), "b", &body).header("x-request-id", "raced")).await;
    assert!(answer.status == 200 && answer.text().contains("[DONE]"), "{}", answer.text());
    let row = row(&client, "raced").await;
    assert_eq!((&row["provider"], &row["attempts"], &row["estimated"]), (&json!("up"), &json!(2), &json!(false)), "{row}");
    let tokens = ["input_tokens", "output_tokens", "total_tokens", "other_input_tokens", "other_untold"];
    assert_eq!(tokens.map(|c| row[c].as_u64()), [9, 12, 21, 9, 0].map(Some), "{row}");
    // It told its input at its beginning; of what it wrote until it was closed, nobody told the tokens.
    let written = row["other_output_tokens"].as_u64().expect("what arrived was counted");
    assert!((1..12).contains(&written) && row["other_estimated"] == 1, "{row}");
    let cost = |column: &str| (row[column].as_f64().expect("its price is known") * 1e6).round();
    assert_eq!(
        (cost("cost_usd"), cost("other_cost_usd")),
        (21.0, 100.0 * (9 + written) as f64),
        "each at the price of its own target: {row}"
    );
}
