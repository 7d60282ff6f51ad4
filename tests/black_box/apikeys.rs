//! Keys, what they may use, how fast and how much.

use std::sync::Arc;

use serde_json::{Value, json};
use wasmgate_tests::answers::{Says, TEXT};
use wasmgate_tests::{Answer, Client, Dialect, Gate, Gateway, Reply, Step, Upstream, python, soon};

use crate::{extensions, setup};

/// A key of each configuration here.
const KEY: &str = "sk-test-with-enough-characters";

/// A gateway in front of two upstreams, `up` and `other`, which takes the key [`KEY`] with these rules. `more` is said at the top.
async fn gateway(upstream: &Upstream, rules: &str, more: &str) -> (Gateway, Client) {
    let providers =
        format!("{}{}", setup::provider(Dialect::OpenAi, upstream), setup::named_provider("other", Dialect::OpenAi, &upstream.url()));
    let keys = format!("api_keys:\n  - {{key: {KEY}, name: tester{rules}}}\n");
    let gateway = Gateway::start(&format!("default_provider: up\n{}{keys}{more}", setup::config(&providers, ""))).await;
    let client = Client::new(&gateway);
    (gateway, client)
}

/// Asks with a key, as OpenAI's clients send it.
async fn ask(client: &Client, key: &str, body: &Value) -> Answer {
    let request = client.request(http::Method::POST, Dialect::OpenAi.path()).bearer_auth(key);
    client.send(request.header("content-type", "application/json").body(body.to_string())).await
}

async fn ask_for(client: &Client, key: &str, model: &str) -> Answer {
    ask(client, key, &Dialect::OpenAi.request(model, "x")).await
}

/// A request for the operators' interface.
async fn order(client: &Client, method: http::Method, path: &str, body: Value) -> (u16, Value) {
    let answer = client.send(client.request(method, path).body(if body.is_null() { String::new() } else { body.to_string() })).await;
    (answer.status, answer.json())
}

/// Waits until an answer fulfils a condition: what is settled at the end of a request is settled after its answer.
async fn until(client: &Client, model: &str, status: u16) -> Answer {
    soon(&format!("an answer with status {status}"), async {
        loop {
            let answer = ask_for(client, KEY, model).await;
            if answer.status == status {
                return answer;
            }
            tokio::task::yield_now().await;
        }
    })
    .await
}

#[tokio::test]
async fn every_client_sends_its_key_where_it_does_and_strangers_stay_out() {
    let upstream = setup::friendly(Dialect::OpenAi).await;
    let (gateway, client) = gateway(&upstream, "", "endpoints: {gemini: {enabled: true}}\n").await;
    let gemini = json!({"contents": [{"role": "user", "parts": [{"text": "x"}]}]});
    let path = "/v1beta/models/m:generateContent";
    for (path, body, header, value, status) in [
        (Dialect::OpenAi.path(), Dialect::OpenAi.request("m", "x"), "authorization", format!("Bearer {KEY}"), 200),
        (Dialect::Responses.path(), Dialect::Responses.request("m", "x"), "authorization", format!("Bearer {KEY}"), 200),
        (Dialect::Anthropic.path(), Dialect::Anthropic.request("m", "x"), "x-api-key", KEY.into(), 200),
        (path, gemini.clone(), "x-goog-api-key", KEY.into(), 200),
        (&format!("{path}?key={KEY}"), gemini.clone(), "x-nothing", "x".into(), 200),
        (Dialect::OpenAi.path(), Dialect::OpenAi.request("m", "x"), "authorization", format!("Bearer {KEY}x"), 401),
        (Dialect::OpenAi.path(), Dialect::OpenAi.request("m", "x"), "x-nothing", "x".into(), 401),
        (&format!("{}?key={KEY}", Dialect::OpenAi.path()), Dialect::OpenAi.request("m", "x"), "x-nothing", "x".into(), 401),
        (Dialect::Anthropic.path(), Dialect::Anthropic.request("m", "x"), "x-api-key", "wrong".into(), 401),
        (path, gemini, "x-goog-api-key", "wrong".into(), 401),
    ] {
        let request = client.request(http::Method::POST, path).header(header, &value).header("content-type", "application/json");
        let answer = client.send(request.body(body.to_string())).await;
        assert_eq!(answer.status, status, "{path} {header}: {}", answer.text());
        let anthropic = Dialect::Anthropic.path();
        if status == 401 && path == anthropic {
            assert_eq!(Dialect::Anthropic.error(&answer.json()).0, "authentication_error");
        } else if status == 401 && path == Dialect::OpenAi.path() {
            Dialect::OpenAi.error(&answer.json());
        }
    }
    assert_eq!(upstream.received().len(), 5, "nothing of a stranger's went on");
    assert!(upstream.received().iter().all(|r| !format!("{r:?}").contains(KEY)), "the caller's key stays here");
    assert!(!gateway.log_text().contains(KEY), "nor is it in the log");
    let shown = client.get("/api/extensions").await.text();
    assert!(!shown.contains(KEY), "{shown}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn sixty_a_minute_are_sixty_for_32_clients_at_once() {
    let upstream = setup::friendly(Dialect::OpenAi).await;
    let (_gateway, client) = gateway(&upstream, ", rate_limit_rpm: 60", "").await;
    let client = Arc::new(client);
    let workers: Vec<_> = (0..32)
        .map(|_| {
            let client = Arc::clone(&client);
            tokio::spawn(async move {
                let mut answers = Vec::new();
                for _ in 0..4 {
                    answers.push(ask_for(&client, KEY, "m").await);
                }
                answers
            })
        })
        .collect();
    let (mut passed, mut refused) = (0, 0);
    for worker in workers {
        for answer in worker.await.expect("a worker's requests are answered") {
            let number = |name: &str| answer.header(name).parse::<u64>().unwrap_or_else(|_| panic!("{name} in {:?}", answer.headers));
            assert_eq!(number("x-ratelimit-limit-requests"), 60);
            assert!(answer.headers.contains_key("x-ratelimit-reset-requests"));
            match answer.status {
                200 => passed += 1,
                429 => {
                    refused += 1;
                    // As soon as the first of them is a minute old, and not before the window could have moved at all.
                    assert!((1..=61).contains(&number("retry-after")), "{}", answer.header("retry-after"));
                    assert_eq!(number("x-ratelimit-remaining-requests"), 0);
                    assert_eq!(answer.json()["error"]["code"], "rate_limit_exceeded", "{}", answer.text());
                }
                other => panic!("{other}: {}", answer.text()),
            }
        }
    }
    assert_eq!((passed, refused, upstream.received().len()), (60, 68, 60));
}

#[tokio::test]
async fn what_is_denied_is_denied_through_an_alias_and_through_every_other_target() {
    let upstream = Upstream::start(|r| match r.model().as_str() {
        "busy" => Reply::json(503, &json!({"error": {"message": "busy", "type": "server_error", "param": null, "code": null}})),
        _ => Says::text(TEXT).reply(Dialect::OpenAi, r),
    })
    .await;
    let providers =
        format!("{}{}", setup::provider(Dialect::OpenAi, &upstream), setup::named_provider("other", Dialect::OpenAi, &upstream.url()));
    let config = format!(
        "default_provider: up\n{}api_keys:\n  - {{key: {KEY}, name: a, denied_models: [\"o1-*\", good]}}\n  - {{key: {KEY}-2, name: b, allowed_models: [busy, moved, fast], allowed_providers: [up]}}\naliases: {{fast: up/o1-mini, quick: fast, bad: busy}}\n",
        setup::config(&providers, &extensions::fixture("steers", ""))
    );
    let gateway = Gateway::start(&config).await;
    let client = Client::new(&gateway);
    for model in ["o1-mini", "fast", "quick", "other/o1-mini", "O1-mini", "up/org/o1-preview"] {
        let answer = ask_for(&client, KEY, model).await;
        assert_eq!(answer.status, 403, "{model}: {}", answer.text());
        assert_eq!(answer.json()["error"]["code"], "model_not_allowed", "{model}: {}", answer.text());
    }
    assert_eq!(upstream.received().len(), 0, "nothing was sent");
    // Another extension sends `moved` to the model `good` of `other`, before the first try and after a failed one.
    assert_eq!(ask_for(&client, KEY, "moved").await.status, 403);
    let busy = |model: &str| {
        let body = Dialect::OpenAi.request(model, "x").to_string();
        client.request(http::Method::POST, Dialect::OpenAi.path()).header("x-steer", "other").body(body)
    };
    let answer = client.send(busy("busy").bearer_auth(KEY)).await;
    assert_eq!((answer.status, upstream.received().len()), (403, 1), "{}", answer.text());
    // What is allowed is allowed for the target, and an alias by its own name whatever it stands for; not another provider.
    assert_eq!(ask_for(&client, &format!("{KEY}-2"), "fast").await.status, 200);
    assert_eq!(ask_for(&client, &format!("{KEY}-2"), "quick").await.status, 403);
    let answer = client.send(busy("bad").bearer_auth(format!("{KEY}-2"))).await;
    assert_eq!(answer.status, 403, "{}", answer.text());
    assert_eq!(answer.json()["error"]["code"], "provider_not_allowed", "{}", answer.text());
    assert_eq!(ask_for(&client, KEY, "anything").await.status, 200);
}

#[tokio::test]
async fn requests_at_once_cannot_go_over_a_token_limit_together_and_what_they_leave_comes_back() {
    let gate = Gate::default();
    let opened = gate.clone();
    let upstream = Upstream::start(move |r| {
        let all = Says::text(TEXT).stream(Dialect::OpenAi, &r.model());
        if r.model() != "slow" {
            return Says::text(TEXT).reply(Dialect::OpenAi, r);
        }
        Reply::events(vec![Step::Send(all[0].clone().into()), Step::Wait(gate.clone()), Step::Send(all[1..].concat().into())])
    })
    .await;
    let (_gateway, client) = gateway(&upstream, ", rate_limit_tpm: 1000", "").await;
    let mut body = Dialect::OpenAi.stream_request("slow", "x");
    body["max_tokens"] = json!(400);
    let begin = || client.request(http::Method::POST, Dialect::OpenAi.path()).bearer_auth(KEY).body(body.to_string()).send();
    let (first, second) = (begin().await.unwrap(), begin().await.unwrap());
    assert_eq!((first.status().as_u16(), second.status().as_u16()), (200, 200));
    let left: u64 = second.headers()["x-ratelimit-remaining-tokens"].to_str().unwrap().parse().unwrap();
    assert!(left < 200, "{left}");
    let third = ask(&client, KEY, &body).await;
    assert_eq!(third.status, 429, "{}", third.text());
    assert!(third.header("retry-after").parse::<u64>().is_ok_and(|s| (1..=61).contains(&s)), "{:?}", third.headers);
    // Each takes 21 of the 400 and more that it reserved.
    // Whichever of them waits first is let go on first.
    let opener = tokio::spawn(async move {
        loop {
            opened.open();
            tokio::task::yield_now().await;
        }
    });
    for stream in [first, second] {
        let id = stream.headers()["x-request-id"].to_str().unwrap().to_owned();
        assert!(stream.text().await.unwrap().contains("[DONE]"));
        client.record(&id).await;
    }
    opener.abort();
    let mut big = Dialect::OpenAi.request("m", "x");
    big["max_tokens"] = json!(900);
    let answer = ask(&client, KEY, &big).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    client.record(answer.header("x-request-id")).await;
    let small = ask(&client, KEY, &json!({"model": "m", "max_tokens": 1, "messages": [{"role": "user", "content": "x"}]})).await;
    let left: u64 = small.header("x-ratelimit-remaining-tokens").parse().unwrap();
    // 1000 less three times 21, less what this one reserved.
    assert!((900..937).contains(&left), "{left}");
    assert_eq!(upstream.received().len(), 4, "the refused one was not sent");
}

/// Waves of requests at once, each of which may take a thousand tokens and takes another part of them, until the minute's limit is used up.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn thirty_two_clients_at_once_stay_within_a_token_limit_and_can_use_all_of_it() {
    const LIMIT: u64 = 20_000;
    const MOST: u64 = 1_000;
    const WAVES: usize = 20;
    let gates: Arc<Vec<Gate>> = Arc::new((0..WAVES).map(|_| Gate::default()).collect());
    let delivered = Arc::new(std::sync::Mutex::new(Vec::new()));
    let (closed, books) = (Arc::clone(&gates), Arc::clone(&delivered));
    let upstream = Upstream::start(move |r| {
        let mut books = books.lock().unwrap();
        let output = 1 + books.len() as u64 * 337 % MOST;
        books.push(1 + output);
        let usage = json!({"prompt_tokens": 1, "completion_tokens": output, "total_tokens": 1 + output});
        let events = Says { usage: Some(usage), ..Says::text(TEXT) }.stream(Dialect::OpenAi, &r.model());
        let gate = closed[r.model().trim_start_matches("wave-").parse::<usize>().expect("a number")].clone();
        Reply::events(vec![Step::Send(events[0].clone().into()), Step::Wait(gate), Step::Send(events[1..].concat().into())])
    })
    .await;
    let (_gateway, client) = gateway(&upstream, &format!(", rate_limit_tpm: {LIMIT}"), "").await;
    let used = || delivered.lock().unwrap().iter().sum::<u64>();
    let mut each = 0;
    for (wave, gate) in gates.iter().enumerate() {
        let left = LIMIT - used();
        let mut body = Dialect::OpenAi.stream_request(&format!("wave-{wave}"), "x");
        body["max_tokens"] = json!(MOST);
        let asked: Vec<_> = (0..32)
            .map(|_| {
                tokio::spawn(client.request(http::Method::POST, Dialect::OpenAi.path()).bearer_auth(KEY).body(body.to_string()).send())
            })
            .collect();
        let mut running = Vec::new();
        for asked in asked {
            let answer = asked.await.unwrap().expect("it is answered");
            match answer.status().as_u16() {
                200 => running.push(answer),
                status => assert_eq!(status, 429),
            }
        }
        // All that were let in are running now. The first of a wave found everything there that others have not used.
        let remaining =
            |answer: &reqwest::Response| answer.headers()["x-ratelimit-remaining-tokens"].to_str().unwrap().parse::<u64>().unwrap();
        let first = running.iter().map(remaining).max();
        if wave == 0 {
            each = LIMIT - first.expect("one was let in");
            assert!((MOST + 1..MOST + 50).contains(&each), "{each}");
        }
        assert_eq!(running.len() as u64, left / each, "wave {wave}: {left} tokens were left, and a request may take {each}");
        let Some(first) = first else {
            assert!(used() <= LIMIT && used() + each > LIMIT, "{} of {LIMIT} were used", used());
            return;
        };
        assert_eq!(first, left - each, "what others did not use came back");
        for answer in running {
            let id = answer.headers()["x-request-id"].to_str().unwrap().to_owned();
            let text = async {
                let text = answer.text();
                tokio::pin!(text);
                loop {
                    gate.open();
                    tokio::select! {
                        text = &mut text => return text.expect("a complete answer"),
                        () = tokio::task::yield_now() => {}
                    }
                }
            };
            assert!(text.await.contains("[DONE]"));
            client.record(&id).await;
        }
    }
    panic!("after {WAVES} waves the limit was not used up: {}", used());
}

#[tokio::test]
async fn a_conversation_of_megabytes_is_counted_like_any_other() {
    let upstream = Upstream::start(|r| {
        let events = Says::text(TEXT).stream(Dialect::OpenAi, &r.model());
        match r.model().as_str() {
            "hang" => Reply::events(vec![Step::Send(events[..3].concat().into()), Step::Hang]),
            _ => Says::text(TEXT).reply(Dialect::OpenAi, r),
        }
    })
    .await;
    let (_gateway, client) = gateway(&upstream, ", rate_limit_tpm: 100000000", "usage: {enabled: true}\n").await;
    let messages = |count: usize| -> Value {
        (0..count).map(|n| json!({"role": (["user", "assistant"][n % 2]), "content": "some words of a long talk. ".repeat(40)})).collect()
    };
    for (dialect, count) in [(Dialect::OpenAi, 1001), (Dialect::OpenAi, 6001), (Dialect::Anthropic, 6001)] {
        let mut body = dialect.request("m", "x");
        body["messages"] = messages(count);
        let request = client.request(http::Method::POST, dialect.path()).bearer_auth(KEY).header("content-type", "application/json");
        let answer = client.send(request.body(body.to_string())).await;
        assert_eq!(answer.status, 200, "{count} messages: {}", answer.text());
        let left: u64 = answer.header("x-ratelimit-remaining-tokens").parse().expect("it is told");
        assert!(left < 100_000_000 - 100 * count as u64, "{count} messages: {left}");
    }
    // Its provider tells nothing before the caller leaves, so the ledger estimates it as well.
    let mut body = Dialect::OpenAi.stream_request("hang", "x");
    body["messages"] = messages(6001);
    let request = client.request(http::Method::POST, Dialect::OpenAi.path()).bearer_auth(KEY).header("x-request-id", "left");
    let mut stream = request.body(body.to_string()).send().await.expect("the stream begins");
    stream.chunk().await.expect("its first piece").expect("is there");
    drop(stream);
    let row = crate::ledger::row(&client, "left").await;
    assert!(row["estimated"] == true && row["input_tokens"].as_u64().is_some_and(|n| n > 600_100), "{row}");
}

#[tokio::test]
async fn a_budget_is_used_up_and_survives_a_restart() {
    let upstream = setup::friendly(Dialect::OpenAi).await;
    let keys = format!("api_keys: [{{key: {KEY}, name: tester, daily_token_budget: 50}}]\nstorage: {{path: state.redb}}\n");
    let builder = Gateway::builder(&setup::config(&setup::provider(Dialect::OpenAi, &upstream), &keys));
    let gateway = builder.clone().start().await;
    let client = Client::new(&gateway);
    let mut answer = ask_for(&client, KEY, "m").await;
    // 21 tokens each: after three it is used up.
    for _ in 0..2 {
        assert_eq!(answer.status, 200, "{}", answer.text());
        client.record(answer.header("x-request-id")).await;
        answer = ask_for(&client, KEY, "m").await;
    }
    assert_eq!(answer.status, 200, "{}", answer.text());
    client.record(answer.header("x-request-id")).await;
    let check = |answer: Answer| {
        assert_eq!((answer.status, answer.json()["error"]["code"].as_str()), (429, Some("insufficient_quota")), "{}", answer.text());
        let retry: u64 = answer.header("retry-after").parse().expect("seconds until the next day");
        assert!((1..=86_400).contains(&retry), "{retry}");
    };
    check(ask_for(&client, KEY, "m").await);
    gateway.stop().await;
    let again = builder.start().await;
    check(ask_for(&Client::new(&again), KEY, "m").await);
    assert_eq!(upstream.received().len(), 3);
}

#[tokio::test]
async fn a_team_is_held_to_its_limits_as_a_whole_and_so_are_requests_at_once() {
    let gate = Gate::default();
    let opened = gate.clone();
    let upstream = Upstream::start(move |r| {
        let all = Says::text(TEXT).stream(Dialect::OpenAi, &r.model()).concat();
        if r.model() == "slow" {
            Reply::events(vec![Step::Wait(gate.clone()), Step::Send(all.into())])
        } else {
            Says::text(TEXT).reply(Dialect::OpenAi, r)
        }
    })
    .await;
    let second =
        format!("  - {{key: {KEY}-2, name: second, team: lab}}\nteams: {{lab: {{max_parallel_requests: 1, rate_limit_rpm: 4}}}}\n");
    let (_gateway, client) = gateway(&upstream, ", team: lab", &second).await;
    let slow = client.request(http::Method::POST, Dialect::OpenAi.path()).bearer_auth(KEY);
    let slow = tokio::spawn(slow.body(Dialect::OpenAi.stream_request("slow", "x").to_string()).send());
    upstream.request(0).await;
    let refused = ask_for(&client, &format!("{KEY}-2"), "m").await;
    assert_eq!((refused.status, refused.json()["error"]["code"].as_str()), (429, Some("parallel_limit_exceeded")), "{}", refused.text());
    assert_eq!(refused.header("retry-after"), "1");
    opened.open();
    assert!(slow.await.unwrap().unwrap().text().await.unwrap().contains("[DONE]"));
    // One at a time is fine, until the minute's four are used; refused ones were none.
    for _ in 0..3 {
        let answer = until(&client, "m", 200).await;
        assert!(answer.headers.contains_key("x-ratelimit-remaining-requests"));
        client.record(answer.header("x-request-id")).await;
    }
    let refused = soon("the team's minute is used up", async {
        loop {
            let refused = ask_for(&client, &format!("{KEY}-2"), "m").await;
            if refused.json()["error"]["code"] != "parallel_limit_exceeded" {
                return refused;
            }
        }
    })
    .await;
    assert!(refused.text().contains("4 requests a minute for the team `lab`"), "{}", refused.text());
    assert_eq!(upstream.received().len(), 4);
}

#[tokio::test]
async fn keys_are_made_and_revoked_by_operators_only() {
    let upstream = setup::friendly(Dialect::OpenAi).await;
    let (gateway, client) = gateway(&upstream, "", "").await;
    let (status, made) = order(&client, http::Method::POST, "/api/keys", json!({"name": "ci", "allowed_models": ["m"]})).await;
    assert_eq!(status, 201, "{made}");
    let (id, secret) = (made["data"]["id"].as_str().unwrap(), made["data"]["key"].as_str().unwrap());
    assert_eq!(ask_for(&client, secret, "m").await.status, 200);
    assert_eq!(ask_for(&client, secret, "n").await.status, 403);
    let path = format!("/api/keys/{id}");
    assert_eq!(order(&client, http::Method::PATCH, &path, json!({"rate_limit_rpm": 0})).await.0, 200);
    assert_eq!(ask_for(&client, secret, "m").await.status, 429);
    let (_, rotated) = order(&client, http::Method::POST, &format!("{path}/rotate"), Value::Null).await;
    assert_eq!(ask_for(&client, secret, "m").await.status, 401);
    let newer = rotated["data"]["key"].as_str().unwrap();
    assert_eq!(ask_for(&client, newer, "m").await.status, 429);
    assert_eq!(order(&client, http::Method::DELETE, &path, Value::Null).await.0, 200);
    assert_eq!(ask_for(&client, newer, "m").await.status, 401);
    let (_, listed) = order(&client, http::Method::GET, "/api/keys", Value::Null).await;
    let names: Vec<_> = listed["data"]["keys"].as_array().unwrap().iter().map(|k| k["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["tester"]);
    for found in [secret, newer, KEY] {
        assert!(!listed.to_string().contains(found) && !gateway.log_text().contains(found));
    }
    // Through a proxy, from a web page, or with a key that is good for requests: nobody.
    for (name, value) in [
        ("x-forwarded-for", "203.0.113.9"),
        ("origin", "https://example.com"),
        ("host", "gateway.example"),
        ("x-wasmgate-operator", "true"),
        ("x-wasmgate-caller", r#"{"name":"tester"}"#),
    ] {
        let request = client.request(http::Method::GET, "/api/keys").header(name, value).bearer_auth(KEY);
        let request = if name.starts_with("x-wasmgate") { request.header("via", "proxy") } else { request };
        let answer = client.send(request).await;
        assert_eq!(answer.status, 403, "{name}: {}", answer.text());
    }
    // What the host asks about callers is no route.
    for path in ["/apikeys/identity", "/apikeys/catalogue", "/routing/catalogue"] {
        assert_eq!(client.get(path).await.status, 404, "{path}");
    }
}

#[tokio::test]
async fn guessing_is_slowed_down_and_does_not_reach_short_keys() {
    let upstream = setup::friendly(Dialect::OpenAi).await;
    let more = "  - {key: short-key, name: short}\n";
    let (_gateway, client) = gateway(&upstream, "", more).await;
    assert_eq!(ask_for(&client, "short-key", "m").await.status, 200);
    let slow = soon("the gateway has enough", async {
        for guess in 0.. {
            let answer = ask_for(&client, &format!("guess-{guess}"), "m").await;
            if answer.status != 401 {
                return answer;
            }
        }
        unreachable!("it goes on")
    })
    .await;
    assert_eq!((slow.status, slow.json()["error"]["code"].as_str()), (429, Some("too_many_attempts")), "{}", slow.text());
    assert!(slow.headers.contains_key("retry-after"));
    assert_eq!(ask_for(&client, KEY, "m").await.status, 200, "who cannot be guessed is not disturbed");
}

#[tokio::test]
async fn the_official_sdks_see_their_own_errors() {
    let upstream = setup::friendly(Dialect::OpenAi).await;
    let more =
        format!("  - {{key: {KEY}-none, name: none, rate_limit_rpm: 0}}\n  - {{key: {KEY}-few, name: few, allowed_models: [other]}}\n");
    let (gateway, _client) = gateway(&upstream, "", &more).await;
    let keys = [KEY.to_owned(), "wrong-key".into(), format!("{KEY}-few"), format!("{KEY}-none")];
    let keys: Vec<&str> = keys.iter().map(String::as_str).collect();
    let Some(seen) = python::run("apikeys_sdk.py", &gateway.url(), &keys).await else { return };
    let expected = json!({
        "openai": ["ok", "AuthenticationError 401", "PermissionDeniedError 403", "RateLimitError 429"],
        "anthropic": ["ok", "AuthenticationError 401", "PermissionDeniedError 403", "RateLimitError 429"],
    });
    assert_eq!(seen, expected);
}
