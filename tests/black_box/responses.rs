//! What only OpenAI's responses have: state of the provider, its own tools, answers that are kept.

use serde_json::{Value, json};
use wasmgate_tests::answers::{Call, Says, TEXT};
use wasmgate_tests::{Dialect, Upstream};

use crate::setup;

const CLIENT: Dialect = Dialect::Responses;

/// What a request may build on that only its provider keeps: the field that an error names, and the member.
fn kept() -> Vec<(&'static str, Value)> {
    vec![
        ("previous_response_id", json!("resp_1")),
        ("conversation", json!("conv_1")),
        ("prompt", json!({"id": "pmpt_1"})),
        ("store", json!(true)),
        ("background", json!(true)),
        ("input", json!([{"role": "user", "content": "x"}, {"type": "item_reference", "id": "msg_1"}])),
    ]
}

#[tokio::test]
async fn what_only_one_provider_keeps_goes_to_no_other() {
    for format in [Dialect::OpenAi, Dialect::Anthropic] {
        let upstream = setup::friendly(format).await;
        let (_gateway, client) = setup::gateway(format, &upstream).await;
        for (field, value) in kept() {
            for mut request in [CLIENT.request("m", "x"), CLIENT.stream_request("m", "x")] {
                request[field] = value.clone();
                let answer = client.post(CLIENT.path(), &request).await;
                assert_eq!(answer.status, 400, "{field} on {format:?}: {}", answer.text());
                let (kind, message) = CLIENT.error(&answer.json());
                assert_eq!((kind.as_str(), &answer.json()["error"]["param"]), ("invalid_request_error", &json!(field)));
                assert!(message.contains(&format!("`{field}`")) && message.contains("keeps"), "{message}");
                setup::assert_record(&client, answer.header("x-request-id"), "error").await;
            }
        }
        assert!(upstream.received().is_empty(), "no provider is asked");
        // Nothing to keep, said in so many words.
        let mut request = CLIENT.request("m", "x");
        (request["store"], request["previous_response_id"]) = (json!(false), Value::Null);
        assert_eq!(client.post(CLIENT.path(), &request).await.status, 200);
    }
}

#[tokio::test]
async fn what_a_provider_keeps_goes_to_it_unchanged() {
    let upstream = setup::friendly(CLIENT).await;
    let (_gateway, client) = setup::gateway(CLIENT, &upstream).await;
    for (n, (field, value)) in kept().into_iter().enumerate() {
        let mut request = CLIENT.request("m", "x");
        request[field] = value;
        let answer = client.post(CLIENT.path(), &request).await;
        assert_eq!(answer.status, 200, "{field}: {}", answer.text());
        assert_eq!(upstream.request(n).await.json(), request);
    }
}

#[tokio::test]
async fn answers_are_not_kept() {
    let upstream = setup::friendly(CLIENT).await;
    let (_gateway, client) = setup::gateway(CLIENT, &upstream).await;
    for (method, path) in [
        (http::Method::GET, "/v1/responses/resp_1"),
        (http::Method::DELETE, "/v1/responses/resp_1"),
        (http::Method::GET, "/v1/responses/resp_1/input_items"),
        (http::Method::POST, "/v1/responses/resp_1/cancel"),
    ] {
        let answer = client.send(client.request(method.clone(), path)).await;
        assert_eq!(answer.status, 404, "{method} {path}: {}", answer.text());
        let (_, message) = CLIENT.error(&answer.json());
        assert!(message.contains("keeps no responses"), "{message}");
    }
    assert!(upstream.received().is_empty());
}

#[tokio::test]
async fn tools_of_the_provider_are_named_where_they_are_left_out() {
    for (format, lost) in [(Dialect::OpenAi, "tools[0]=unsupported"), (Dialect::Anthropic, "tools[0]=unsupported"), (CLIENT, "")] {
        let upstream = setup::friendly(format).await;
        let (_gateway, client) = setup::gateway(format, &upstream).await;
        let mut request = CLIENT.request("m", "x");
        request["tools"] = json!([{"type": "web_search"}, {"type": "function", "name": "f", "parameters": {"type": "object"}}]);
        let answer = client.post(CLIENT.path(), &request).await;
        assert_eq!(answer.status, 200, "{format:?}: {}", answer.text());
        assert_eq!(answer.header("x-wasmgate-losses"), lost, "{format:?}");
        assert_eq!(upstream.only().json()["tools"].as_array().unwrap().len(), if lost.is_empty() { 2 } else { 1 });
    }
}

/// A conversation with parallel calls, over two turns: what the client was given, it sends back.
#[tokio::test]
async fn an_agent_goes_on_with_what_it_was_given() {
    const CALLS: &[Call] =
        &[Call { id: "call_a", name: "f", arguments: &["{\"x\"", ":1}"] }, Call { id: "call_b", name: "g", arguments: &["{}"] }];
    for format in Dialect::ALL {
        let upstream = Upstream::start(move |r| {
            let first = !String::from_utf8_lossy(&r.body).contains("call_a");
            let thinking = Some(("Two calls.", "c2lnbmF0dXJl"));
            if first { Says { calls: CALLS, thinking, ..Says::default() } } else { Says::text(TEXT) }.reply(format, r)
        })
        .await;
        let (_gateway, client) = setup::gateway(format, &upstream).await;
        for stream in [false, true] {
            let request = if stream { CLIENT.stream_request("m", "go") } else { CLIENT.request("m", "go") };
            let output = match stream {
                false => client.post(CLIENT.path(), &request).await.json()["output"].clone(),
                true => {
                    let events = client.stream(CLIENT.path(), &request).await.rest().await;
                    events.last().expect("an end").json()["response"]["output"].clone()
                }
            };
            let kinds: Vec<&str> = output.as_array().unwrap().iter().filter_map(|i| i["type"].as_str()).collect();
            assert_eq!(kinds, ["reasoning", "function_call", "function_call"], "{format:?}");
            let mut next = request.clone();
            let input = next["input"].as_array_mut().unwrap();
            input.extend(output.as_array().unwrap().iter().cloned());
            for id in ["call_a", "call_b"] {
                input.push(json!({"type": "function_call_output", "call_id": id, "output": "done"}));
            }
            next["stream"] = json!(false);
            let answer = client.post(CLIENT.path(), &next).await;
            assert_eq!((answer.status, CLIENT.text(&answer.json()).as_str()), (200, TEXT), "{format:?}");
            let sent = upstream.received().last().unwrap().json();
            match format {
                Dialect::OpenAi => {
                    let roles: Vec<&str> = sent["messages"].as_array().unwrap().iter().filter_map(|m| m["role"].as_str()).collect();
                    assert_eq!(roles, ["user", "assistant", "tool", "tool"], "{sent}");
                    assert_eq!(sent["messages"][1]["tool_calls"].as_array().unwrap().len(), 2);
                }
                Dialect::Anthropic => {
                    let blocks = sent["messages"][1]["content"].as_array().unwrap();
                    assert_eq!(blocks[0], json!({"type": "thinking", "thinking": "Two calls.", "signature": "c2lnbmF0dXJl"}), "{sent}");
                    assert_eq!((blocks.len(), sent["messages"][2]["content"].as_array().unwrap().len()), (3, 2));
                }
                Dialect::Responses => assert_eq!(sent, next),
            }
        }
    }
}
