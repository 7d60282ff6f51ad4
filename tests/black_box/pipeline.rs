//! One way through: what goes up, what comes down, and what the gateway says about it.

use serde_json::{Value, json};
use wasmgate_tests::answers::{Says, TEXT};
use wasmgate_tests::client::Event;
use wasmgate_tests::{Client, Dialect, Gateway, Reply, Upstream};

use crate::setup;

/// A document with everything that a reader and writer of JSON may lose: order, spelling of numbers, escapes, white space,
/// members that nobody knows, repeated spaces, `null`.
fn odd_request(format: Dialect) -> String {
    let name = format.conversation();
    let messages = r#""NAME" : [ {"role":"user","content":"caf\u00e9 \/ \ud83c\udf0a","x-mine":[1.50,2e3]} ]"#.replace("NAME", name);
    match format {
        Dialect::OpenAi | Dialect::Responses => format!(
            "{{\n  \"zeta\": {{\"deep\": [null, 1.0]}}, \"model\" : \"m\", {messages},\t\"temperature\": 0, \"max_tokens\": 16, \"unknown\": null }}\n"
        ),
        Dialect::Anthropic => format!(
            "{{\n  \"zeta\": {{\"deep\": [null, 1.0]}}, \"model\" : \"m\", {messages},\t\"temperature\": 0.0, \"max_tokens\": 16, \"unknown\": null }}\n"
        ),
    }
}

/// An answer with the same oddities.
fn odd_answer(format: Dialect) -> String {
    let document = Says::text("odd").document(format, "m").to_string();
    document.replacen('{', "{ \"x-new\" : [1.50, \"\\u00e9\"],\n", 1)
}

async fn same_bytes(format: Dialect) {
    let upstream = Upstream::start(move |_| Reply::new(200, "application/json", odd_answer(format))).await;
    let (_gateway, client) = setup::gateway(format, &upstream).await;
    let answer = client.post_bytes(format.path(), odd_request(format)).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    assert_eq!(answer.text(), odd_answer(format), "the answer is the provider's, byte by byte");
    assert_eq!(String::from_utf8_lossy(&upstream.only().body), odd_request(format), "the request is the client's, byte by byte");
}

#[tokio::test]
async fn openai_bytes_pass_unchanged_both_ways() {
    same_bytes(Dialect::OpenAi).await;
}

#[tokio::test]
async fn anthropic_bytes_pass_unchanged_both_ways() {
    same_bytes(Dialect::Anthropic).await;
}

#[tokio::test]
async fn same_format_streams_pass_unchanged() {
    for format in Dialect::ALL {
        let upstream = setup::friendly(format).await;
        let (_gateway, client) = setup::gateway(format, &upstream).await;
        let mut request = format.stream_request("m", "hello");
        if format == Dialect::OpenAi {
            // Who asks for the usage gets every byte.
            request["stream_options"] = json!({"include_usage": true});
        }
        let mut stream = client.stream(format.path(), &request).await;
        stream.rest().await;
        assert_eq!(stream.text(), Says::text(TEXT).stream(format, "m").concat(), "{format:?}");
        assert_eq!(upstream.only().json(), request, "{format:?}");
        assert!(stream.header("content-type").starts_with("text/event-stream"));
        assert_eq!(stream.header("cache-control"), "no-cache");
    }
}

#[tokio::test]
async fn an_alias_changes_the_model_and_nothing_else() {
    for format in Dialect::ALL {
        let upstream = setup::friendly(format).await;
        let config = setup::config(&setup::provider(format, &upstream), "aliases: {m: up/the-real-one}\n");
        let gateway = Gateway::start(&config).await;
        let answer = Client::new(&gateway).post_bytes(format.path(), odd_request(format)).await;
        assert_eq!(answer.status, 200, "{}", answer.text());
        let expected = odd_request(format).replace("\"model\" : \"m\"", "\"model\" : \"the-real-one\"");
        assert_eq!(String::from_utf8_lossy(&upstream.only().body), expected, "{format:?}");
        assert_eq!(answer.header("x-wasmgate-provider"), "up");
        assert_eq!(answer.header("x-wasmgate-model"), "the-real-one");
    }
}

#[tokio::test]
async fn parameters_survive_translation() {
    let upstream = setup::friendly(Dialect::Anthropic).await;
    let (_gateway, client) = setup::gateway(Dialect::Anthropic, &upstream).await;
    let mut request = Dialect::OpenAi.request("m", "hello");
    request["temperature"] = json!(0);
    request["top_p"] = json!(0.25);
    request["stop"] = json!(["END"]);
    let answer = client.post(Dialect::OpenAi.path(), &request).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    let sent = upstream.only().json();
    assert_eq!((sent["temperature"].as_f64(), sent["top_p"].as_f64()), (Some(0.0), Some(0.25)), "{sent}");
    assert_eq!(sent["stop_sequences"], json!(["END"]));
    assert_eq!(sent["max_tokens"], 4096, "the format wants one; this is the default");

    let upstream = setup::friendly(Dialect::OpenAi).await;
    let (_gateway, client) = setup::gateway(Dialect::OpenAi, &upstream).await;
    let mut request = Dialect::Anthropic.request("m", "hello");
    request["temperature"] = json!(0.0);
    request["stop_sequences"] = json!(["END"]);
    request["system"] = json!("Be brief.");
    let answer = client.post(Dialect::Anthropic.path(), &request).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    let sent = upstream.only().json();
    assert_eq!(sent["temperature"].as_f64(), Some(0.0), "{sent}");
    assert_eq!(sent["stop"], json!(["END"]));
    assert_eq!(sent["messages"][0]["content"], "Be brief.", "{sent}");
    assert!(["system", "developer"].contains(&sent["messages"][0]["role"].as_str().unwrap_or_default()), "{sent}");
}

#[tokio::test]
async fn what_cannot_be_translated_is_named_in_a_header() {
    let upstream = setup::friendly(Dialect::Anthropic).await;
    let (_gateway, client) = setup::gateway(Dialect::Anthropic, &upstream).await;
    let mut request = Dialect::OpenAi.request("m", "hello");
    request["seed"] = json!(7);
    let answer = client.post(Dialect::OpenAi.path(), &request).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    assert_eq!(answer.header("x-wasmgate-losses"), "seed=unsupported", "{:?}", answer.headers);
}

#[tokio::test]
async fn usage_is_asked_for_upstream_and_hidden_from_who_did_not() {
    let upstream = setup::friendly(Dialect::OpenAi).await;
    let (_gateway, client) = setup::gateway(Dialect::OpenAi, &upstream).await;
    let mut stream = client.stream(Dialect::OpenAi.path(), &Dialect::OpenAi.stream_request("m", "hello")).await;
    let events = stream.rest().await;
    assert_eq!(upstream.only().json()["stream_options"], json!({"include_usage": true}));
    assert_eq!(Dialect::OpenAi.streamed_text(&events), TEXT);
    assert_eq!(events.last().map(|e| e.data.as_str()), Some("[DONE]"));
    for event in &events {
        let document = event.json();
        assert!(document["usage"].is_null(), "nobody asked for the usage: {document}");
        assert!(document["choices"] != json!([]), "the usage's own chunk came through: {document}");
    }
    let record = client.record(stream.header("x-request-id")).await;
    assert_eq!(record["usage"]["input_tokens"], 9, "{record}");
    assert_eq!(record["usage"]["output_tokens"], 12, "{record}");
}

#[tokio::test]
async fn a_translated_stream_shows_usage_to_who_asks() {
    let upstream = setup::friendly(Dialect::Anthropic).await;
    let (_gateway, client) = setup::gateway(Dialect::Anthropic, &upstream).await;
    for wanted in [true, false] {
        let mut request = Dialect::OpenAi.stream_request("m", "hello");
        request["stream_options"] = json!({"include_usage": wanted});
        let events = client.stream(Dialect::OpenAi.path(), &request).await.rest().await;
        let usage: Vec<Value> = events.iter().map(|e| e.json()["usage"].clone()).filter(|u| !u.is_null()).collect();
        assert_eq!(usage.len(), usize::from(wanted), "{events:#?}");
        assert!(usage.iter().all(|u| u["prompt_tokens"] == 9 && u["completion_tokens"] == 12), "{usage:?}");
    }
}

#[tokio::test]
async fn the_request_id_is_the_clients_or_a_new_one() {
    let upstream = setup::friendly(Dialect::OpenAi).await;
    let (_gateway, client) = setup::gateway(Dialect::OpenAi, &upstream).await;
    let ask = async |id: Option<&str>| {
        let mut request = client.request(http::Method::POST, Dialect::OpenAi.path()).body(Dialect::OpenAi.request("m", "x").to_string());
        if let Some(id) = id {
            request = request.header("x-request-id", id);
        }
        client.send(request).await.header("x-request-id").to_owned()
    };
    assert_eq!(ask(Some("mine-123")).await, "mine-123");
    let (one, other) = (ask(None).await, ask(None).await);
    assert!(!one.is_empty() && one != other, "{one} {other}");
    let long = "x".repeat(300);
    assert_ne!(ask(Some(&long)).await, long, "an id that long is not taken over");
    assert!(client.get("/no/such/path").await.headers.contains_key("x-request-id"));
}

#[tokio::test]
async fn a_request_leaves_a_record() {
    let upstream = setup::friendly(Dialect::OpenAi).await;
    let (_gateway, client) = setup::gateway(Dialect::OpenAi, &upstream).await;
    for (dialect, stream) in [(Dialect::OpenAi, false), (Dialect::OpenAi, true), (Dialect::Anthropic, false), (Dialect::Anthropic, true)] {
        let mut request = dialect.request("m", "a secret text");
        request["stream"] = json!(stream);
        let answer = client.post(dialect.path(), &request).await;
        assert_eq!(answer.status, 200, "{}", answer.text());
        let record = client.record(answer.header("x-request-id")).await;
        let expected = json!({"outcome": "success", "status": 200, "stream": stream, "requested_model": "m", "provider": "up", "model": "m", "attempts": 1, "error": null});
        for (name, value) in expected.as_object().unwrap() {
            assert_eq!(&record[name], value, "{name} of {record}");
        }
        assert_eq!((&record["usage"]["input_tokens"], &record["usage"]["output_tokens"]), (&json!(9), &json!(12)), "{record}");
        let extensions: Vec<&str> = record["extensions"].as_array().unwrap().iter().filter_map(|e| e["name"].as_str()).collect();
        let api = if dialect == Dialect::OpenAi { "openai-api" } else { "anthropic-api" };
        assert!(extensions.contains(&api) && extensions.contains(&"routing"), "{record}");
        assert!(!record.to_string().contains("secret"), "content is not remembered: {record}");
    }
    let unknown = client.get("/api/requests/no-such-id").await;
    assert_eq!((unknown.status, unknown.json()["success"].as_bool()), (404, Some(false)));
}

#[tokio::test]
async fn extensions_are_listed_with_routes_and_costs() {
    let upstream = setup::friendly(Dialect::OpenAi).await;
    let (_gateway, client) = setup::gateway(Dialect::OpenAi, &upstream).await;
    setup::assert_serves(&client, Dialect::OpenAi).await;
    let listed = client.get("/api/extensions").await.json();
    let all = listed["data"].as_array().unwrap();
    let names: Vec<&str> = all.iter().filter_map(|e| e["name"].as_str()).collect();
    for name in ["openai-api", "anthropic-api", "routing"] {
        assert!(names.contains(&name), "{names:?}");
    }
    let api = all.iter().find(|e| e["name"] == "openai-api").unwrap();
    assert!(api["routes"].to_string().contains("/v1/chat/completions"), "{api}");
    assert!(api["stats"].to_string().contains("accept"), "{api}");
}

#[tokio::test]
async fn requests_find_their_provider() {
    let (one, two) = (setup::friendly(Dialect::OpenAi).await, setup::friendly(Dialect::Anthropic).await);
    let listed = format!("  listed: {{type: openai, base_url: \"{}/v1\", models: [small, org/big]}}\n", one.url());
    let providers = [listed, setup::named_provider("open", Dialect::Anthropic, &two.url())].concat();
    let gateway = Gateway::start(&setup::config(&providers, "aliases: {fast: small, quick: fast}\n")).await;
    let client = Client::new(&gateway);
    for (model, provider, sent) in [
        ("small", "listed", "small"),
        ("org/big", "listed", "org/big"),
        ("listed/small", "listed", "small"),
        ("fast", "listed", "small"),
        ("quick", "listed", "small"),
        ("claude-sonnet-5", "open", "claude-sonnet-5"),
        ("open/anything", "open", "anything"),
    ] {
        for dialect in Dialect::ALL {
            let answer = client.post(dialect.path(), &dialect.request(model, "hello")).await;
            assert_eq!(answer.status, 200, "{model}: {}", answer.text());
            assert_eq!((answer.header("x-wasmgate-provider"), answer.header("x-wasmgate-model")), (provider, sent), "{model}");
            let upstream = if provider == "listed" { &one } else { &two };
            assert_eq!(upstream.received().last().unwrap().model(), sent);
        }
    }
    let answer = client.post(Dialect::OpenAi.path(), &Dialect::OpenAi.request("listed/other", "hello")).await;
    assert_eq!(answer.status, 404, "the provider has a list and this is not in it: {}", answer.text());
}

#[tokio::test]
async fn models_are_listed_in_both_dialects() {
    let config = setup::config("  a: {type: openai, base_url: \"http://127.0.0.1:9/v1\", models: [small, org/big]}\n", "");
    let gateway = Gateway::start(&config).await;
    let client = Client::new(&gateway);
    for dialect in Dialect::ALL {
        let list = client.get(dialect.models_path()).await;
        assert_eq!(list.status, 200, "{}", list.text());
        let list = list.json();
        let ids: Vec<&str> = list["data"].as_array().unwrap().iter().filter_map(|m| m["id"].as_str()).collect();
        assert_eq!(ids, ["small", "org/big"], "{dialect:?}");
        let one = client.get(&format!("{}/org/big", dialect.models_path())).await;
        assert_eq!((one.status, one.json()["id"].as_str()), (200, Some("org/big")), "{dialect:?}");
        let none = client.get(&format!("{}/nope", dialect.models_path())).await;
        assert_eq!(none.status, 404, "{dialect:?}");
        dialect.error(&none.json());
    }
}

#[tokio::test]
async fn credentials_stay_where_they_belong() {
    for (client_dialect, format) in Dialect::PAIRS {
        let upstream = setup::friendly(format).await;
        let (gateway, client) = setup::gateway(format, &upstream).await;
        let request = client
            .request(http::Method::POST, client_dialect.path())
            .header("authorization", "Bearer client-secret")
            .header("x-api-key", "client-secret")
            .header("cookie", "session=client-secret")
            .header("accept-encoding", "br, zstd")
            .header("te", "trailers")
            .header("x-forwarded-for", "10.1.2.3")
            .header("content-type", "application/json")
            .body(client_dialect.request("m", "hello").to_string());
        let answer = client.send(request).await;
        assert_eq!(answer.status, 200, "{}", answer.text());
        let received = upstream.only();
        let sent = format!("{:?}", received.headers);
        assert!(!sent.contains("client-secret"), "{sent}");
        for name in ["cookie", "te", "x-forwarded-for", "accept-encoding"] {
            assert_eq!(received.header(name), None, "{sent}");
        }
        let key = match format {
            Dialect::OpenAi | Dialect::Responses => received.header("authorization").map(str::to_owned),
            Dialect::Anthropic => received.header("x-api-key").map(|k| format!("Bearer {k}")),
        };
        assert_eq!(key, Some(format!("Bearer {}", setup::PROVIDER_KEY)), "{sent}");
        let said = format!("{:?} {} {}", answer.headers, answer.text(), gateway.log_text());
        assert!(!said.contains(setup::PROVIDER_KEY) && !said.contains("client-secret"), "{said}");
        if format == Dialect::Anthropic {
            assert_eq!(received.header("anthropic-version"), Some("2023-06-01"));
        }
    }
}

#[tokio::test]
async fn versions_and_betas_of_anthropic_pass() {
    let upstream = setup::friendly(Dialect::Anthropic).await;
    let (_gateway, client) = setup::gateway(Dialect::Anthropic, &upstream).await;
    let request = client
        .request(http::Method::POST, Dialect::Anthropic.path())
        .header("anthropic-version", "2024-01-01")
        .header("anthropic-beta", "one-2025,two-2025")
        .body(Dialect::Anthropic.request("m", "hello").to_string());
    assert_eq!(client.send(request).await.status, 200);
    let received = upstream.only();
    assert_eq!(received.header("anthropic-version"), Some("2024-01-01"));
    assert_eq!(received.header("anthropic-beta"), Some("one-2025,two-2025"));
}

#[tokio::test]
async fn thinking_signatures_and_cache_marks_survive_the_round_trip() {
    let answer = Says { thinking: Some(("First, count.", "c2lnbmF0dXJl")), text: "Three.", ..Says::default() };
    let document = answer.document(Dialect::Anthropic, "m");
    let upstream = Upstream::start(move |r| answer.reply(Dialect::Anthropic, r)).await;
    let (_gateway, client) = setup::gateway(Dialect::Anthropic, &upstream).await;
    let first = client.post(Dialect::Anthropic.path(), &Dialect::Anthropic.request("m", "How many?")).await.json();
    assert_eq!(first, document);
    let mut request = Dialect::Anthropic.request("m", "Sure?");
    let cached = json!([{"type": "text", "text": "How many?", "cache_control": {"type": "ephemeral", "ttl": "1h"}}]);
    request["messages"] = json!([
        {"role": "user", "content": cached},
        {"role": "assistant", "content": first["content"]},
        {"role": "assistant", "content": [{"type": "redacted_thinking", "data": "b3BhcXVl"}]},
        {"role": "user", "content": "Sure?"},
    ]);
    client.post(Dialect::Anthropic.path(), &request).await;
    assert_eq!(upstream.request(1).await.json(), request);
}

#[tokio::test]
async fn any_chunk_boundaries_give_the_same_stream() {
    for (client_dialect, format) in Dialect::PAIRS {
        let upstream = Upstream::start(move |r| {
            let whole = Says::text(TEXT).stream(format, &r.model()).concat().into_bytes();
            match r.model().as_str() {
                "whole" => Reply::stream([whole]),
                "crlf" => Reply::stream([String::from_utf8(whole).unwrap().replace('\n', "\r\n")]),
                "comments" => Reply::stream([[b": hello\n\n:\n\n", &whole[..], b": bye\n\n"].concat()]),
                "bytes" => Reply::events(vec![wasmgate_tests::Step::Bytewise(whole)]),
                _ => Reply::stream(whole.chunks(11).map(<[u8]>::to_vec)),
            }
        })
        .await;
        let (_gateway, client) = setup::gateway(format, &upstream).await;
        for model in ["whole", "crlf", "comments", "bytes", "pieces"] {
            let mut stream = client.stream(client_dialect.path(), &client_dialect.stream_request(model, "x")).await;
            stream.rest().await;
            let events = Event::all(&stream.text().replace("\r\n", "\n"));
            assert_eq!(client_dialect.streamed_text(&events), TEXT, "{client_dialect:?} {format:?} {model}");
            assert!(client_dialect.is_end(events.last().unwrap()), "{client_dialect:?} {format:?} {model}: {}", stream.text());
        }
    }
}

#[tokio::test]
async fn the_first_event_is_not_held_back() {
    for (client_dialect, format) in Dialect::PAIRS {
        let gate = wasmgate_tests::Gate::default();
        let held = gate.clone();
        let upstream = Upstream::start(move |r| {
            let mut events = Says::text(TEXT).stream(format, &r.model());
            let rest = events.split_off(events.len() / 2);
            let steps = [
                wasmgate_tests::Step::Send(events.concat().into()),
                wasmgate_tests::Step::Wait(held.clone()),
                wasmgate_tests::Step::Send(rest.concat().into()),
            ];
            Reply::events(steps.into())
        })
        .await;
        let (_gateway, client) = setup::gateway(format, &upstream).await;
        let mut stream = client.stream(client_dialect.path(), &client_dialect.stream_request("m", "x")).await;
        let mut events = Vec::new();
        // The upstream waits for the gate, so this only ends when text comes through before.
        while client_dialect.streamed_text(&events).is_empty() {
            events.push(stream.next().await.expect("text before the gate"));
        }
        gate.open();
        events.extend(stream.rest().await);
        assert_eq!(client_dialect.streamed_text(&events), TEXT);
    }
}

#[tokio::test]
async fn a_complete_document_in_place_of_a_stream_becomes_one() {
    for (client_dialect, format) in Dialect::PAIRS {
        let upstream = Upstream::start(move |r| Reply::json(200, &Says::text(TEXT).document(format, &r.model()))).await;
        let (_gateway, client) = setup::gateway(format, &upstream).await;
        let mut stream = client.stream(client_dialect.path(), &client_dialect.stream_request("m", "x")).await;
        let events = stream.rest().await;
        assert_eq!(client_dialect.streamed_text(&events), TEXT, "{client_dialect:?} {format:?} {}", stream.text());
        assert!(client_dialect.is_end(events.last().unwrap()), "{}", stream.text());
    }
}

#[tokio::test]
async fn a_stream_ends_even_if_its_upstream_stays_open() {
    for (client_dialect, format) in Dialect::PAIRS {
        let upstream = Upstream::start(move |r| {
            let whole = Says::text(TEXT).stream(format, &r.model()).concat();
            Reply::events(vec![wasmgate_tests::Step::Send(whole.into()), wasmgate_tests::Step::Hang])
        })
        .await;
        let (_gateway, client) = setup::gateway(format, &upstream).await;
        let mut stream = client.stream(client_dialect.path(), &client_dialect.stream_request("m", "x")).await;
        let events = stream.rest().await;
        assert_eq!(client_dialect.streamed_text(&events), TEXT);
        assert!(client_dialect.is_end(events.last().unwrap()), "{}", stream.text());
        setup::assert_record(&client, stream.header("x-request-id"), "success").await;
        upstream.only().closed_after(std::time::Instant::now()).await;
    }
}

#[tokio::test]
async fn an_openai_host_may_leave_out_done() {
    for client_dialect in Dialect::ALL {
        let upstream = Upstream::start(move |r| {
            let mut events = Says::text(TEXT).stream(Dialect::OpenAi, &r.model());
            events.pop();
            Reply::stream(events)
        })
        .await;
        let (_gateway, client) = setup::gateway(Dialect::OpenAi, &upstream).await;
        let mut stream = client.stream(client_dialect.path(), &client_dialect.stream_request("m", "x")).await;
        let events = stream.rest().await;
        assert_eq!(client_dialect.streamed_text(&events), TEXT);
        assert_eq!(stream.broken, None);
        match client_dialect {
            // What the provider leaves out is not made up.
            Dialect::OpenAi => assert_eq!(events.last().unwrap().json()["choices"][0]["finish_reason"], "stop"),
            _ => assert!(client_dialect.is_end(events.last().unwrap()), "{}", stream.text()),
        }
        setup::assert_record(&client, stream.header("x-request-id"), "success").await;
    }
}

#[tokio::test]
async fn nothing_of_a_conversation_is_logged() {
    for (client_dialect, format) in Dialect::PAIRS {
        let upstream = Upstream::start(move |r| {
            if r.model() == "bad" { Reply::json(500, &json!("secret-answer")) } else { Says::text("secret-answer").reply(format, r) }
        })
        .await;
        let config = setup::config(&setup::provider(format, &upstream), "");
        let gateway = Gateway::builder(&config).set("logging.level=debug").start().await;
        let client = Client::new(&gateway);
        for model in ["m", "bad"] {
            for request in [client_dialect.request(model, "secret-question"), client_dialect.stream_request(model, "secret-question")] {
                let answer = client
                    .send(client.request(http::Method::POST, client_dialect.path()).bearer_auth("secret-key").body(request.to_string()))
                    .await;
                client.record(answer.header("x-request-id")).await;
            }
        }
        client.post_bytes(client_dialect.path(), "{\"model\": \"m\", \"secret-member\": \"secret-value\" ").await;
        let (_, log) = gateway.stop().await;
        assert!(!log.contains("secret-") && !log.contains(setup::PROVIDER_KEY), "{log}");
    }
}
