//! Providers: vendors by name, keys that take turns, lists of models, and what operators see of all that.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use http::Method;
use serde_json::{Value, json};
use wasmgate::providers::presets::{self, KeyHeader};
use wasmgate_tests::answers::{Says, TEXT, error};
use wasmgate_tests::{Client, Dialect, Gateway, Received, Reply, Upstream, soon};

use crate::setup;

const OPENAI: Dialect = Dialect::OpenAi;

/// A gateway with one provider `up`, of type `openai` unless the settings say otherwise.
pub async fn gateway(settings: &str) -> (Gateway, Client) {
    let kind = if settings.contains("type:") { "" } else { "type: openai, " };
    let gateway = Gateway::start(&setup::config(&format!("  up: {{{kind}{settings}}}\n"), "")).await;
    let client = Client::new(&gateway);
    (gateway, client)
}

/// What operators see of the provider `up`.
pub async fn seen(client: &Client, what: &str) -> Value {
    let answer = client.get(&format!("/api/providers/up{what}")).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    answer.json()["data"].clone()
}

/// Waits until what operators see of the provider `up` fulfils a condition.
pub async fn seen_when(client: &Client, what: &str, condition: impl Fn(&Value) -> bool) -> Value {
    let found = async {
        loop {
            let document = seen(client, what).await;
            if condition(&document) {
                return document;
            }
            tokio::task::yield_now().await;
        }
    };
    soon("such a provider", found).await
}

async fn ask(client: &Client) -> wasmgate_tests::Answer {
    client.post(OPENAI.path(), &OPENAI.request("m", "hello")).await
}

/// The key that a request came with.
fn key(request: &Received) -> String {
    request.header("authorization").unwrap_or_default().trim_start_matches("Bearer ").to_owned()
}

#[tokio::test]
async fn every_vendor_gets_what_it_understands() {
    let upstream = Upstream::start(|r| Says::text(TEXT).reply(OPENAI, r)).await;
    let row = |name: &str| {
        let url = format!("{}/{name}/v1", upstream.url());
        format!("  {name}: {{type: {name}, base_url: \"{url}\", api_key: key-of-{name}, headers: {{x-team: \"blue\"}}}}\n")
    };
    let providers: String = presets::ALL.iter().map(|p| row(p.name)).collect();
    let gateway = Gateway::start(&setup::config(&providers, "")).await;
    let client = Client::new(&gateway);
    for (n, preset) in presets::ALL.iter().enumerate() {
        let name = preset.name;
        let mut request = OPENAI.stream_request(&format!("{name}/m"), "hello");
        request["max_completion_tokens"] = json!(7);
        let events = client.stream(OPENAI.path(), &request).await.rest().await;
        assert_eq!(OPENAI.streamed_text(&events), TEXT, "{name}");
        let sent = upstream.request(n).await;
        assert_eq!(sent.path, format!("/{name}/v1/chat/completions"));
        let (field, value) = match preset.key {
            KeyHeader::Bearer => ("authorization", format!("Bearer key-of-{name}")),
            KeyHeader::Plain(field) => (field, format!("key-of-{name}")),
        };
        assert_eq!((sent.header(field), sent.header("x-team")), (Some(value.as_str()), Some("blue")), "{name}");
        let body = sent.json();
        let limit = if preset.max_completion_tokens { "max_completion_tokens" } else { "max_tokens" };
        assert_eq!((&body[limit], body["model"].as_str()), (&json!(7), Some("m")), "{name}: {body}");
        let limits = ["max_completion_tokens", "max_tokens"].iter().filter(|l| body.get(**l).is_some()).count();
        assert_eq!((limits, body.get("stream_options").is_some()), (1, preset.stream_options), "{name}: {body}");
    }
}

#[tokio::test]
async fn a_key_that_is_refused_rests_and_the_next_one_is_taken() {
    let upstream = Upstream::start(|r| match key(r).as_str() {
        "wrong-key-1" => Reply::json(401, &error(OPENAI, "invalid_request_error", "Incorrect API key provided: wrong-key-1.")),
        _ => Says::text(TEXT).reply(OPENAI, r),
    })
    .await;
    let (gateway, client) =
        gateway(&format!("base_url: \"{}/v1\", api_keys: [wrong-key-1, right-key-2, right-key-3]", upstream.url())).await;
    for _ in 0..6 {
        let answer = ask(&client).await;
        assert_eq!((answer.status, OPENAI.text(&answer.json()).as_str()), (200, TEXT));
    }
    let used: Vec<String> = upstream.received().iter().map(|r| key(r)).collect();
    assert_eq!(used.iter().filter(|k| *k == "wrong-key-1").count(), 1, "{used:?}");
    assert!(used.windows(2).all(|pair| pair[0] != pair[1] || pair[0] == "right-key-2"), "they take turns: {used:?}");
    let health = seen(&client, "/health").await;
    assert_eq!((&health["keys"][0]["state"], &health["keys"][0]["reason"]), (&json!("resting"), &json!("authentication")), "{health}");
    assert_eq!((&health["keys"][1]["state"], &health["state"]), (&json!("ready"), &json!("degraded")), "{health}");
    let metrics = client.get("/metrics").await.text();
    assert!(metrics.contains("wasmgate_provider_key_resting{provider=\"up\",key=\"1\"} 1.0"), "{metrics}");
    assert!(metrics.contains("wasmgate_provider_key_refusals_total{provider=\"up\",key=\"1\"} 1"), "{metrics}");
    for text in [health.to_string(), seen(&client, "").await.to_string(), metrics, gateway.log_text()] {
        assert!(!text.contains("-key-"), "{text}");
    }
}

#[tokio::test]
async fn when_all_keys_rest_the_caller_is_told_when_to_come_back() {
    let upstream = Upstream::start(|r| {
        let wait = if key(r) == "key-one" { "90" } else { "40" };
        Reply::json(429, &error(OPENAI, "rate_limit_error", "Slow down.")).header("retry-after", wait)
    })
    .await;
    let (_gateway, client) = gateway(&format!("base_url: \"{}/v1\", api_keys: [key-one, key-two]", upstream.url())).await;
    let answer = ask(&client).await;
    assert_eq!((answer.status, answer.headers["retry-after"].to_str().unwrap()), (429, "40"), "{}", answer.text());
    assert_eq!(upstream.received().len(), 2);
    let answer = ask(&client).await;
    let wait: u64 = answer.headers["retry-after"].to_str().unwrap().parse().unwrap();
    assert!(answer.status == 429 && (1..=40).contains(&wait), "{wait}: {}", answer.text());
    assert_eq!(upstream.received().len(), 2, "nothing is sent");
    // They rest for one model only: vendors count by model.
    client.post(OPENAI.path(), &OPENAI.request("other", "hello")).await;
    assert_eq!(upstream.received().len(), 4);
}

#[tokio::test]
async fn a_refusal_with_every_key_is_about_the_request() {
    let upstream = Upstream::start(|r| match r.model().as_str() {
        "secret" => Reply::json(403, &error(OPENAI, "permission_error", "You may not use this model.")),
        _ => Says::text(TEXT).reply(OPENAI, r),
    })
    .await;
    let (_gateway, client) = gateway(&format!("base_url: \"{}/v1\", api_keys: [key-one, key-two]", upstream.url())).await;
    let answer = client.post(OPENAI.path(), &OPENAI.request("secret", "hello")).await;
    assert_eq!((answer.status, upstream.received().len()), (403, 2), "{}", answer.text());
    assert_eq!(seen(&client, "/health").await["state"], "ok", "one caller cannot take the keys from the others");
    setup::assert_serves(&client, OPENAI).await;
}

#[tokio::test]
async fn a_key_with_nothing_left_is_spared() {
    let upstream = Upstream::start(|r| {
        let left = if key(r) == "key-one" { "0" } else { "50" };
        Says::text(TEXT).reply(OPENAI, r).header("x-ratelimit-remaining-requests", left).header("x-ratelimit-reset-requests", "6m0s")
    })
    .await;
    let (_gateway, client) = gateway(&format!("base_url: \"{}/v1\", api_keys: [key-one, key-two]", upstream.url())).await;
    for _ in 0..6 {
        assert_eq!(ask(&client).await.status, 200);
    }
    assert_eq!(upstream.received().iter().filter(|r| key(r) == "key-one").count(), 1);
    let keys = seen(&client, "/health").await["keys"].clone();
    assert!(keys[0]["resting_models"]["m"].as_f64().is_some_and(|s| s > 300.0), "{keys}");
    assert_eq!(keys[1]["limits"]["x-ratelimit-remaining-requests"], 50, "{keys}");
}

#[tokio::test]
async fn models_come_from_the_provider_page_by_page() {
    let openai = |r: &Received| match r.path.as_str() {
        "/v1/models" => Reply::json(200, &json!({"object": "list", "data": [{"id": "o-2"}, {"id": "o-1"}, {"id": "o-2"}]})),
        path => panic!("{path}"),
    };
    let anthropic = |r: &Received| {
        assert_eq!((r.header("x-api-key"), r.header("anthropic-version")), (Some("k"), Some("2023-06-01")));
        match r.path.as_str() {
            "/v1/models?limit=1000" => Reply::json(200, &json!({"data": [{"id": "c-1"}], "has_more": true, "last_id": "c-1"})),
            "/v1/models?limit=1000&after_id=c-1" => {
                Reply::json(200, &json!({"data": [{"id": "c-2"}], "has_more": false, "last_id": "c-2"}))
            }
            path => panic!("{path}"),
        }
    };
    let model = |name: &str, does: &str| json!({"name": format!("models/{name}"), "supportedGenerationMethods": [does]});
    let gemini = move |r: &Received| match r.path.as_str() {
        "/v1beta/models?pageSize=1000" => {
            Reply::json(200, &json!({"models": [model("g-1", "generateContent"), model("e-1", "embedContent")], "nextPageToken": "t 2"}))
        }
        "/v1beta/models?pageSize=1000&pageToken=t+2" => Reply::json(200, &json!({"models": [{"name": "models/g-2"}]})),
        path => panic!("{path}"),
    };
    let upstreams = (Upstream::start(openai).await, Upstream::start(anthropic).await, Upstream::start(gemini).await);
    for (kind, url, expect) in [
        ("openai", format!("{}/v1", upstreams.0.url()), vec!["o-2", "o-1"]),
        ("anthropic", format!("{}/v1", upstreams.1.url()), vec!["c-1", "c-2"]),
        ("gemini", upstreams.2.url(), vec!["g-1", "g-2"]),
    ] {
        let (_gateway, client) = gateway(&format!("type: {kind}, base_url: \"{url}\", api_key: k, models_refresh: 1h")).await;
        let shown = seen_when(&client, "", |p| p["models"]["source"] == "provider").await;
        assert_eq!(shown["models"]["names"], json!(expect), "{kind}: {shown}");
        let listed = client.get("/v1/models").await.json();
        let ids: Vec<_> = listed["data"].as_array().unwrap().iter().map(|m| m["id"].as_str().unwrap().to_owned()).collect();
        assert!(expect.iter().all(|name| ids.iter().any(|id| id.ends_with(name))), "{kind}: {ids:?}");
    }
}

#[tokio::test]
async fn a_list_in_the_configuration_makes_no_calls_and_one_that_cannot_be_read_stops_nothing() {
    let upstream =
        Upstream::start(|r| if r.method == "GET" { Reply::json(500, &json!({})) } else { Says::text(TEXT).reply(OPENAI, r) }).await;
    let (_gateway, client) = gateway(&format!("base_url: \"{}/v1\", api_key: k, models: [m]", upstream.url())).await;
    assert_eq!((ask(&client).await.status, client.get("/v1/models").await.status), (200, 200));
    assert_eq!(seen(&client, "").await["models"], json!({"source": "configuration", "names": ["m"], "read_at_ms": null, "error": null}));
    assert_eq!(upstream.only().method, "POST");
    let (_gateway, client) = gateway(&format!("base_url: \"{}/v1\", api_key: k, models_refresh: 1h", upstream.url())).await;
    let shown = seen_when(&client, "", |p| p["models"]["error"].is_string()).await;
    assert_eq!(shown["models"]["source"], "none", "{shown}");
    assert_eq!(ask(&client).await.status, 200);
}

#[tokio::test]
async fn operators_see_test_and_watch_providers() {
    let broken = Arc::new(AtomicBool::new(false));
    let is_broken = Arc::clone(&broken);
    let upstream = Upstream::start(move |r| match r.method.as_str() {
        _ if is_broken.load(Ordering::Relaxed) => Reply::json(503, &error(OPENAI, "server_error", "Down with key-in-private.")),
        "GET" => Reply::json(200, &json!({"data": [{"id": "m"}]})),
        _ => Says::text(TEXT).reply(OPENAI, r),
    })
    .await;
    let url = upstream.url().replace("http://", "http://user:word@");
    let settings = format!("base_url: \"{url}/v1\", api_key: key-in-private, headers: {{x-more: more-in-private}}, probe_interval: 20ms");
    let (gateway, client) = gateway(&settings).await;

    let row = client.get("/api/providers").await.json()["data"][0].clone();
    assert_eq!((&row["name"], &row["type"], &row["format"]), (&json!("up"), &json!("openai"), &json!("openai-chat")), "{row}");
    assert_eq!((&row["address"], &row["keys"]), (&json!(format!("{}/v1", upstream.url())), &json!(1)), "{row}");
    let one = seen(&client, "").await;
    assert_eq!((&one["headers"], &one["limits"]["max_in_flight"]), (&json!(["x-more"]), &json!(0)), "{one}");

    let tested = client.order("/api/providers/up/test").await;
    assert_eq!((&tested["asked_for"], &tested["models"]), (&json!("models"), &json!(1)), "{tested}");
    let tested = client.order("/api/providers/up/test?model=m").await;
    assert_eq!((&tested["asked_for"], &tested["model"]), (&json!("answer"), &json!("m")), "{tested}");
    let sent = upstream.received().into_iter().rfind(|r| r.method == "POST").expect("a tiny request");
    assert_eq!((sent.json()["max_tokens"].as_u64(), sent.is_stream()), (Some(16), false));
    seen_when(&client, "/health", |h| h["probe"]["ok"] == true && h["state"] == "ok").await;

    broken.store(true, Ordering::Relaxed);
    let health = seen_when(&client, "/health", |h| h["probe"]["ok"] == false).await;
    assert_eq!((&health["state"], &health["probe"]["error"]["class"]), (&json!("down"), &json!("overloaded")), "{health}");
    let failed = client.send(client.request(Method::POST, "/api/providers/up/test")).await;
    let document = failed.json();
    assert_eq!((failed.status, &document["error"]["details"]["class"]), (502, &json!("overloaded")), "{document}");
    broken.store(false, Ordering::Relaxed);
    seen_when(&client, "/health", |h| h["state"] == "ok").await;

    for (method, path, status) in [
        (Method::GET, "/api/providers/nobody", 404),
        (Method::GET, "/api/providers/nobody/health", 404),
        (Method::POST, "/api/providers/nobody/test", 404),
        (Method::POST, "/api/providers/up/test?modle=m", 400),
        (Method::GET, "/api/providers/up/test", 405),
        (Method::POST, "/api/providers/up", 405),
    ] {
        assert_eq!(client.send(client.request(method, path)).await.status, status, "{path}");
    }
    let proxied = client.send(client.request(Method::GET, "/api/providers").header("x-forwarded-for", "10.0.0.1")).await;
    assert_eq!(proxied.status, 403);
    for text in [row.to_string(), one.to_string(), health.to_string(), document.to_string(), gateway.log_text()] {
        assert!(!text.contains("in-private") && !text.contains(":word@"), "{text}");
    }
}

#[tokio::test]
async fn traffic_tells_how_a_provider_is() {
    let upstream = Upstream::start(|r| match r.model().as_str() {
        "bad" => Reply::json(500, &error(OPENAI, "server_error", "no")),
        _ => Says::text(TEXT).reply(OPENAI, r),
    })
    .await;
    let (_gateway, client) = gateway(&format!("base_url: \"{}/v1\", api_key: k", upstream.url())).await;
    for _ in 0..3 {
        assert_eq!(ask(&client).await.status, 200);
        client.stream(OPENAI.path(), &OPENAI.stream_request("m", "hello")).await.rest().await;
    }
    client.post(OPENAI.path(), &OPENAI.request("bad", "hello")).await;
    let health = seen_when(&client, "/health", |h| h["in_flight"] == 0).await;
    let good = &health["models"]["m"];
    assert_eq!((&good["requests"], &good["success_rate"], &good["failures"]), (&json!(6), &json!(1.0), &json!({})), "{health}");
    assert!(good["first_event_ms"].as_f64().is_some_and(|ms| ms > 0.0), "{health}");
    let other = &health["models"]["other"];
    assert_eq!((&other["failures"], &other["last_error"]["class"]), (&json!({"upstream": 1}), &json!("upstream")), "{health}");
    let metrics = client.get("/metrics").await.text();
    assert!(metrics.contains("wasmgate_provider_requests_total{provider=\"up\",model=\"m\"} 6"), "{metrics}");
    assert!(metrics.contains("wasmgate_provider_failures_total{provider=\"up\",model=\"other\",class=\"upstream\"} 1"), "{metrics}");
    assert!(metrics.contains("wasmgate_provider_first_event_seconds{provider=\"up\",model=\"m\"}"), "{metrics}");
}

#[tokio::test]
async fn a_reload_keeps_what_is_known_of_providers_that_did_not_change() {
    let upstream = Upstream::start(|r| match key(r).as_str() {
        "key-one" => Reply::json(401, &error(OPENAI, "invalid_request_error", "no")),
        _ => Says::text(TEXT).reply(OPENAI, r),
    })
    .await;
    let up = format!("  up: {{type: openai, base_url: \"{}/v1\", api_keys: [key-one, key-two]}}\n", upstream.url());
    let gateway = Gateway::start(&setup::config(&up, "default_provider: up\n")).await;
    let client = Client::new(&gateway);
    assert_eq!(ask(&client).await.status, 200);
    gateway.configure(&setup::config(&format!("{up}  more: {{type: echo}}\n"), "default_provider: up\n"));
    client.order("/api/config/reload").await;
    assert_eq!(client.get("/api/providers").await.json()["data"].as_array().map(Vec::len), Some(2));
    assert_eq!(seen(&client, "/health").await["keys"][0]["state"], "resting");
    assert_eq!(ask(&client).await.status, 200);
    assert_eq!(upstream.received().iter().filter(|r| key(r) == "key-one").count(), 1);
}
