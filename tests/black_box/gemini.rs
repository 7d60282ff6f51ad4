//! Providers that speak Gemini's `generateContent`, for clients of every other dialect. Clients of this one are in `gemini_api.rs`.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use serde_json::{Value, json};
use wasmgate_tests::answers::{Call, Says, TEXT, gemini_error, gemini_method, gemini_model};
use wasmgate_tests::{Client, Dialect, Gateway, Reply, Step, Upstream};

use crate::setup::{self, PROVIDER_KEY};

const CALLS: &[Call] =
    &[Call { id: "call_a", name: "f", arguments: &["{\"x\":", "1}"] }, Call { id: "call_b", name: "g", arguments: &["{}"] }];

/// A gateway in front of an upstream, and what else is said of the provider.
async fn gateway(upstream: &Upstream, more: &str) -> (Gateway, Client) {
    let provider = format!("  up: {{type: gemini, base_url: \"{}\", api_key: {PROVIDER_KEY}{more}}}\n", upstream.url());
    let gateway = Gateway::start(&setup::config(&provider, "")).await;
    let client = Client::new(&gateway);
    (gateway, client)
}

/// What a client was told: text, and the names and arguments of calls.
fn told(client: Dialect, answer: &Value) -> Vec<(String, Value)> {
    let arguments = |text: &Value| serde_json::from_str(text.as_str().unwrap_or_default()).unwrap_or_default();
    match client {
        Dialect::OpenAi => {
            let calls = answer["choices"][0]["message"]["tool_calls"].as_array().cloned().unwrap_or_default();
            calls.iter().map(|c| (c["function"]["name"].as_str().unwrap().into(), arguments(&c["function"]["arguments"]))).collect()
        }
        Dialect::Anthropic => {
            let blocks = answer["content"].as_array().cloned().unwrap_or_default();
            blocks.iter().filter(|b| b["type"] == "tool_use").map(|b| (b["name"].as_str().unwrap().into(), b["input"].clone())).collect()
        }
        Dialect::Responses => {
            let items = answer["output"].as_array().cloned().unwrap_or_default();
            let calls = items.iter().filter(|i| i["type"] == "function_call");
            calls.map(|i| (i["name"].as_str().unwrap().into(), arguments(&i["arguments"]))).collect()
        }
    }
}

#[tokio::test]
async fn every_client_is_answered() {
    let upstream = Upstream::start(|r| Says { text: TEXT, thinking: Some(("Hm.", "")), ..Says::default() }.gemini_reply(r)).await;
    let (_gateway, client) = gateway(&upstream, "").await;
    for (n, dialect) in Dialect::ALL.into_iter().enumerate() {
        let answer = client.post(dialect.path(), &dialect.request("gemini-3-flash", "Hi")).await;
        assert_eq!(answer.status, 200, "{dialect:?}: {}", answer.text());
        assert!(answer.text().contains(TEXT) && answer.text().contains("Hm."), "{dialect:?}: {}", answer.text());
        let record = client.record(answer.header("x-request-id")).await;
        assert_eq!(
            (&record["outcome"], &record["usage"]["input_tokens"], &record["usage"]["output_tokens"]),
            (&json!("success"), &json!(9), &json!(12))
        );

        let mut stream = client.stream(dialect.path(), &dialect.stream_request("gemini-3-flash", "Hi")).await;
        let events = stream.rest().await;
        let text = dialect.streamed_text(&events);
        assert!(
            text.contains(TEXT) || dialect == Dialect::Anthropic && stream.text().contains("text_delta"),
            "{dialect:?}: {}",
            stream.text()
        );
        assert_eq!(events.iter().filter(|e| dialect.is_end(e)).count(), 1, "{dialect:?}");
        let record = client.record(stream.header("x-request-id")).await;
        assert_eq!((&record["outcome"], &record["usage"]["output_tokens"]), (&json!("success"), &json!(12)));

        for (at, path) in [
            (2 * n, "/v1beta/models/gemini-3-flash:generateContent"),
            (2 * n + 1, "/v1beta/models/gemini-3-flash:streamGenerateContent?alt=sse"),
        ] {
            let received = upstream.request(at).await;
            assert_eq!((received.method.as_str(), received.path.as_str()), ("POST", path), "{dialect:?}");
            assert_eq!((received.header("x-goog-api-key"), received.header("authorization")), (Some(PROVIDER_KEY), None));
            let body = received.json();
            assert_eq!(body["contents"], json!([{"parts": [{"text": "Hi"}], "role": "user"}]), "{dialect:?}");
            assert!(body.get("model").is_none() && body.get("stream").is_none(), "the path has both: {body}");
        }
    }
}

#[tokio::test]
async fn calls_come_and_their_results_go_back() {
    for dialect in Dialect::ALL {
        let upstream = Upstream::start(|r| {
            let first = !String::from_utf8_lossy(&r.body).contains("functionResponse");
            if first { Says { calls: CALLS, ..Says::default() }.gemini_reply(r) } else { Says::text(TEXT).gemini_reply(r) }
        })
        .await;
        let (_gateway, client) = gateway(&upstream, "").await;
        let answer = client.post(dialect.path(), &dialect.request("gemini-3-pro", "go")).await.json();
        assert_eq!(told(dialect, &answer), [("f".to_owned(), json!({"x": 1})), ("g".to_owned(), json!({}))], "{dialect:?}: {answer}");
        let mut next = dialect.request("gemini-3-pro", "go");
        let list = next[dialect.conversation()].as_array_mut().unwrap();
        match dialect {
            Dialect::OpenAi => {
                assert_eq!(answer["choices"][0]["finish_reason"], "tool_calls");
                list.push(answer["choices"][0]["message"].clone());
                list.extend(["call_a", "call_b"].map(|id| json!({"role": "tool", "tool_call_id": id, "content": "done"})));
            }
            Dialect::Anthropic => {
                assert_eq!(answer["stop_reason"], "tool_use");
                list.push(json!({"role": "assistant", "content": answer["content"]}));
                let results = ["call_a", "call_b"].map(|id| json!({"type": "tool_result", "tool_use_id": id, "content": "done"}));
                list.push(json!({"role": "user", "content": results}));
            }
            Dialect::Responses => {
                list.extend(answer["output"].as_array().unwrap().iter().cloned());
                list.extend(["call_a", "call_b"].map(|id| json!({"type": "function_call_output", "call_id": id, "output": "done"})));
            }
        }
        let answer = client.post(dialect.path(), &next).await;
        assert_eq!((answer.status, dialect.text(&answer.json()).as_str()), (200, TEXT), "{dialect:?}: {}", answer.text());
        let sent = upstream.request(1).await.json();
        let result = |id: &str, name: &str| json!({"functionResponse": {"id": id, "name": name, "response": {"output": "done"}}});
        assert_eq!(sent["contents"][2], json!({"role": "user", "parts": [result("call_a", "f"), result("call_b", "g")]}), "{dialect:?}");
        let call = &sent["contents"][1]["parts"][0];
        assert_eq!(
            (&call["functionCall"]["args"], &call["thoughtSignature"]),
            (&json!({"x": 1}), &json!("skip_thought_signature_validator"))
        );
    }
}

#[tokio::test]
async fn errors_are_told_in_the_clients_words() {
    let cases: [(u16, &str, &str, u16); 6] = [
        (400, "INVALID_ARGUMENT", "Too hot.", 400),
        (403, "PERMISSION_DENIED", "Not yours.", 403),
        (404, "NOT_FOUND", "models/m is not found for API version v1beta", 404),
        (429, "RESOURCE_EXHAUSTED", "Slow down.", 429),
        (503, "UNAVAILABLE", "Busy.", 503),
        // The gateway's own key, which is not the caller's fault.
        (400, "INVALID_ARGUMENT", "API key not valid. Please pass a valid API key.", 502),
    ];
    for (code, status, message, expect) in cases {
        let upstream = Upstream::start(move |_| {
            let mut error = gemini_error(code, status, message);
            error["error"]["details"] = json!([{"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": "34.4s"}]);
            Reply::json(code, &error)
        })
        .await;
        let (_gateway, client) = gateway(&upstream, "").await;
        for dialect in Dialect::ALL {
            for request in [dialect.request("m", "x"), dialect.stream_request("m", "x")] {
                let answer = client.post(dialect.path(), &request).await;
                // Anthropic has a status of its own for it.
                let expect = if (expect, dialect) == (503, Dialect::Anthropic) { 529 } else { expect };
                assert_eq!(answer.status, expect, "{dialect:?} {message}: {}", answer.text());
                let (_, told) = dialect.error(&answer.json());
                assert!(!told.contains(PROVIDER_KEY) && (expect == 502 || told.contains(message)), "{told}");
                if code == 429 {
                    assert_eq!(answer.header("retry-after"), "35");
                }
                setup::assert_record(&client, answer.header("x-request-id"), "error").await;
            }
        }
    }
}

#[tokio::test]
async fn a_stream_that_fails_has_no_clean_end() {
    let bare = serde_json::to_string_pretty(&gemini_error(499, "CANCELLED", "The operation was cancelled.")).unwrap();
    let error = format!("data: {}\r\n\r\n", gemini_error(429, "RESOURCE_EXHAUSTED", "Slow down."));
    for (tail, cut, says) in
        [(bare.as_str(), false, "cancelled"), (error.as_str(), false, "Slow down."), ("", false, "broke off"), ("", true, "broke off")]
    {
        let tail = tail.to_owned();
        let upstream = Upstream::start(move |_| {
            let mut events = Says::text(TEXT).gemini_stream();
            events.pop();
            let mut steps = vec![Step::Send(events.concat().into()), Step::Send(tail.clone().into())];
            steps.retain(|step| !matches!(step, Step::Send(bytes) if bytes.is_empty()));
            if cut {
                steps.push(Step::Cut);
            }
            Reply::events(steps)
        })
        .await;
        let (_gateway, client) = gateway(&upstream, "").await;
        for dialect in Dialect::ALL {
            let mut stream = client.stream(dialect.path(), &dialect.stream_request("m", "x")).await;
            let events = stream.rest().await;
            assert_eq!(stream.status, 200);
            let (_, message) = dialect.broken(&events);
            assert!(message.contains(says), "{dialect:?}: {message}");
            setup::assert_record(&client, stream.header("x-request-id"), "error").await;
        }
    }
}

#[tokio::test]
async fn a_refused_prompt_is_no_failure() {
    let upstream = Upstream::start(|r| {
        let body = json!({"promptFeedback": {"blockReason": "SAFETY"}, "usageMetadata": {"promptTokenCount": 3, "totalTokenCount": 3}});
        if gemini_method(r) == "generateContent" { Reply::json(200, &body) } else { Reply::stream([format!("data: {body}\r\n\r\n")]) }
    })
    .await;
    let (_gateway, client) = gateway(&upstream, "").await;
    for dialect in Dialect::ALL {
        for request in [dialect.request("m", "x"), dialect.stream_request("m", "x")] {
            let answer = client.post(dialect.path(), &request).await;
            assert_eq!(answer.status, 200, "{dialect:?}: {}", answer.text());
            let word = if dialect == Dialect::Anthropic { "refusal" } else { "content_filter" };
            assert!(answer.text().contains(&format!("\"{word}\"")), "{dialect:?}: {}", answer.text());
            let record = client.record(answer.header("x-request-id")).await;
            assert_eq!((&record["outcome"], &record["usage"]["input_tokens"]), (&json!("success"), &json!(3)));
        }
    }
}

#[tokio::test]
async fn an_upstream_that_knows_no_events_sends_an_array() {
    let upstream = Upstream::start(|_| {
        let chunks: Vec<Value> =
            Says::text(TEXT).gemini_stream().iter().map(|e| serde_json::from_str(e.trim().trim_start_matches("data: ")).unwrap()).collect();
        Reply::json(200, &json!(chunks))
    })
    .await;
    let (_gateway, client) = gateway(&upstream, "").await;
    for dialect in Dialect::ALL {
        let events = client.stream(dialect.path(), &dialect.stream_request("m", "x")).await.rest().await;
        assert_eq!(dialect.streamed_text(&events), TEXT, "{dialect:?}");
        assert!(dialect.is_end(events.last().unwrap()));
    }
}

#[tokio::test]
async fn vertex_has_its_own_path_and_takes_a_token() {
    let upstream = Upstream::start(|r| Says::text(TEXT).gemini_reply(r)).await;
    let (_gateway, client) = gateway(&upstream, ", project: p-1, location: europe-west4").await;
    let dialect = Dialect::OpenAi;
    let answer = client.post(dialect.path(), &dialect.request("gemini-2.5-pro", "x")).await;
    assert_eq!((answer.status, dialect.text(&answer.json()).as_str()), (200, TEXT), "{}", answer.text());
    let received = upstream.only();
    assert_eq!(received.path, "/v1/projects/p-1/locations/europe-west4/publishers/google/models/gemini-2.5-pro:generateContent");
    assert_eq!(
        (received.header("authorization"), received.header("x-goog-api-key")),
        (Some(format!("Bearer {PROVIDER_KEY}").as_str()), None)
    );
}

#[tokio::test]
async fn a_models_name_reaches_nothing_but_a_model() {
    let upstream = Upstream::start(|r| Says::text(TEXT).gemini_reply(r)).await;
    let (_gateway, client) = gateway(&upstream, "").await;
    let dialect = Dialect::OpenAi;
    let answer = client.post(dialect.path(), &dialect.request("a%2Fb", "x")).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    let received = upstream.request(0).await;
    assert_eq!((received.path.as_str(), gemini_model(&received)), ("/v1beta/models/a%252Fb:generateContent", "a%252Fb"));
    // Other ways of writing it would be other names for those who allow and count models.
    for model in ["up/../../admin", "a?alt=x#y", "..", "models/m", "m\t", "m\n", "a//b", "/m"] {
        let answer = client.post(dialect.path(), &dialect.request(model, "x")).await;
        assert_eq!((answer.status, &answer.json()["error"]["param"]), (400, &json!("model")), "{model:?}: {}", answer.text());
    }
    assert_eq!(upstream.received().len(), 1);
}

#[tokio::test]
async fn what_the_format_cannot_say_is_named() {
    let upstream = Upstream::start(|r| Says::text(TEXT).gemini_reply(r)).await;
    let (_gateway, client) = gateway(&upstream, "").await;
    let mut request = Dialect::OpenAi.request("m", "x");
    (request["user"], request["logit_bias"], request["temperature"]) = (json!("u"), json!({"1": 2}), json!(0));
    let answer = client.post(Dialect::OpenAi.path(), &request).await;
    assert_eq!(answer.header("x-wasmgate-losses"), "user=unsupported, logit_bias=unsupported");
    assert_eq!(upstream.only().json()["generationConfig"], json!({"temperature": 0.0}));
}

/// A client that goes away cancels its request.
#[tokio::test]
async fn a_client_that_leaves_cancels() {
    let begun = Arc::new(AtomicBool::new(false));
    let seen = Arc::clone(&begun);
    let upstream = Upstream::start(move |_| {
        seen.store(true, Ordering::Relaxed);
        Reply::events(vec![Step::Send(Says::text(TEXT).gemini_stream()[0].clone().into()), Step::Hang])
    })
    .await;
    let (_gateway, client) = gateway(&upstream, "").await;
    let mut stream = client.stream(Dialect::OpenAi.path(), &Dialect::OpenAi.stream_request("m", "x")).await;
    stream.next().await.expect("the answer begins");
    assert!(begun.load(Ordering::Relaxed));
    let left = std::time::Instant::now();
    drop(stream);
    let after = upstream.only().closed_after(left).await;
    assert!(after.as_millis() < 500, "{after:?}");
}
