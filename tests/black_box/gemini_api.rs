//! The Gemini dialect, on upstreams of every format.

use serde_json::{Value, json};
use wasmgate_tests::answers::{self, Call, Says, TEXT, gemini_error, gemini_model};
use wasmgate_tests::{Answer, Client, Dialect, Gateway, Received, Reply, Step, Upstream};

use crate::setup::{self, PROVIDER_KEY};

const CALLS: &[Call] =
    &[Call { id: "call_a", name: "f", arguments: &["{\"x\":", "1}"] }, Call { id: "call_b", name: "g", arguments: &["{}"] }];

/// What an upstream speaks: Gemini's format when it is none of the others.
type Format = Option<Dialect>;

const FORMATS: [Format; 4] = [None, Some(Dialect::OpenAi), Some(Dialect::Anthropic), Some(Dialect::Responses)];

fn reply(says: &Says, format: Format, to: &Received) -> Reply {
    match format {
        None => says.gemini_reply(to),
        Some(format) => says.reply(format, to),
    }
}

async fn gateway(format: Format, upstream: &Upstream) -> (Gateway, Client) {
    let provider = match format {
        None => format!("  up: {{type: gemini, base_url: \"{}\", api_key: {PROVIDER_KEY}}}\n", upstream.url()),
        Some(format) => setup::provider(format, upstream),
    };
    let config = setup::config(&provider, "").replace("  routing: {}\n", "  gemini-api: {}\n  routing: {}\n");
    let gateway = Gateway::start(&config).await;
    let client = Client::new(&gateway);
    (gateway, client)
}

fn path(method: &str) -> String {
    format!("/v1beta/models/m:{method}")
}

fn request(text: &str) -> Value {
    json!({"contents": [{"role": "user", "parts": [{"text": text}]}]})
}

/// How a client asks for an answer.
const WAYS: [&str; 3] = ["generateContent", "streamGenerateContent", "streamGenerateContent?alt=sse"];

/// The chunks of an answer, however it was asked for; its content type must be right.
#[track_caller]
fn chunks(way: &str, answer: &Answer) -> Vec<Value> {
    let kind = answer.header("content-type");
    if way.ends_with("sse") {
        assert!(kind.starts_with("text/event-stream"), "{kind}");
        let text = answer.text().replace("\r\n", "\n");
        return text.split("\n\n").filter_map(|e| e.strip_prefix("data: ")).map(|d| serde_json::from_str(d).expect("JSON")).collect();
    }
    assert_eq!(kind, "application/json", "{way}");
    let body: Value = serde_json::from_str(&answer.text()).unwrap_or_else(|e| panic!("{e}: {}", answer.text()));
    match body {
        Value::Array(all) => all,
        one => vec![one],
    }
}

fn parts(chunks: &[Value]) -> Vec<Value> {
    chunks.iter().flat_map(|c| c["candidates"][0]["content"]["parts"].as_array().cloned().unwrap_or_default()).collect()
}

fn text(chunks: &[Value]) -> String {
    parts(chunks).iter().filter(|p| p["thought"] != true).filter_map(|p| p["text"].as_str()).collect()
}

#[tokio::test]
async fn every_upstream_answers_in_every_way() {
    for format in FORMATS {
        let upstream =
            Upstream::start(move |r| reply(&Says { text: TEXT, thinking: Some(("Hm.", "c2ln")), ..Says::default() }, format, r)).await;
        let (_gateway, client) = gateway(format, &upstream).await;
        for (n, way) in WAYS.into_iter().enumerate() {
            let answer = client.post(&path(way), &request("Hi")).await;
            assert_eq!(answer.status, 200, "{format:?} {way}: {}", answer.text());
            let chunks = chunks(way, &answer);
            assert_eq!(text(&chunks), TEXT, "{format:?} {way}");
            let thoughts: String = parts(&chunks).iter().filter(|p| p["thought"] == true).filter_map(|p| p["text"].as_str()).collect();
            assert_eq!(thoughts, "Hm.", "{format:?} {way}");
            let last = chunks.last().unwrap();
            assert_eq!(
                (&last["candidates"][0]["finishReason"], &last["usageMetadata"]["totalTokenCount"]),
                (&json!("STOP"), &json!(21)),
                "{format:?} {way}"
            );
            assert!(last["responseId"].is_string() && last["modelVersion"].is_string());
            setup::assert_record(&client, answer.header("x-request-id"), "success").await;
            let received = upstream.request(n).await;
            assert_eq!(format.map_or_else(|| gemini_model(&received).to_owned(), |_| received.model()), "m");
            assert_eq!(format.map_or_else(|| received.path.contains("stream"), |_| received.is_stream()), n > 0, "{format:?} {way}");
        }
    }
}

#[tokio::test]
async fn the_same_format_passes_byte_for_byte() {
    let says = || Says { text: TEXT, calls: CALLS, ..Says::default() };
    let upstream = Upstream::start(move |r| says().gemini_reply(r)).await;
    let (_gateway, client) = gateway(None, &upstream).await;
    let body = r#"{ "contents" : {"parts":[{"text":"Hi"}]} , "safetySettings":[], "x": 1.50 }"#;
    let answer = client.post_bytes(&path("streamGenerateContent?alt=sse"), body).await;
    assert_eq!(answer.text(), says().gemini_stream().concat());
    assert_eq!(upstream.request(0).await.body, body.as_bytes());
    let record = client.record(answer.header("x-request-id")).await;
    assert_eq!((&record["usage"]["input_tokens"], &record["usage"]["output_tokens"]), (&json!(9), &json!(12)));
    let answer = client.post_bytes(&path("generateContent"), body).await;
    assert_eq!((answer.json(), &upstream.request(1).await.body[..]), (says().gemini(), body.as_bytes()));
    // As an array it is written anew, and says the same.
    let answer = client.post_bytes(&path("streamGenerateContent"), body).await;
    let chunks = chunks("streamGenerateContent", &answer);
    let calls: Vec<Value> = parts(&chunks).into_iter().filter(|p| p["functionCall"].is_object()).collect();
    assert_eq!(
        (text(&chunks).as_str(), json!(calls)),
        (TEXT, says().gemini()["candidates"][0]["content"]["parts"].as_array().unwrap()[1..].into())
    );
    let sent: Value = serde_json::from_str(body).unwrap();
    assert_eq!(upstream.request(2).await.json(), sent);
}

#[tokio::test]
async fn an_agent_goes_on_with_what_it_was_given() {
    for format in FORMATS {
        let upstream = Upstream::start(move |r| {
            let first = !String::from_utf8_lossy(&r.body).contains("call_a");
            let thinking = Some(("Two calls.", "c2lnbmF0dXJl"));
            let says = if first { Says { calls: CALLS, thinking, ..Says::default() } } else { Says::text(TEXT) };
            reply(&says, format, r)
        })
        .await;
        let (_gateway, client) = gateway(format, &upstream).await;
        for way in WAYS {
            let answer = client.post(&path(way), &request("go")).await;
            let parts = parts(&chunks(way, &answer));
            let calls: Vec<&Value> = parts.iter().map(|p| &p["functionCall"]).filter(|c| c.is_object()).collect();
            assert_eq!(calls.len(), 2, "{format:?} {way}: {}", answer.text());
            assert_eq!((&calls[0]["id"], &calls[0]["args"]), (&json!("call_a"), &json!({"x": 1})), "{format:?} {way}");
            let mut next = request("go");
            let list = next["contents"].as_array_mut().unwrap();
            list.push(json!({"role": "model", "parts": parts}));
            let result = |id: &str, name: &str| json!({"functionResponse": {"id": id, "name": name, "response": {"output": "done"}}});
            list.push(json!({"role": "user", "parts": [result("call_a", "f"), result("call_b", "g")]}));
            let answer = client.post(&path("generateContent"), &next).await;
            assert_eq!((answer.status, text(&[answer.json()]).as_str()), (200, TEXT), "{format:?} {way}: {}", answer.text());
            let sent = upstream.received().last().unwrap().json();
            match format {
                None => assert_eq!(sent, next),
                Some(Dialect::Anthropic) => {
                    let content = sent["messages"][1]["content"].as_array().unwrap();
                    assert_eq!(
                        content[0],
                        json!({"type": "thinking", "thinking": "Two calls.", "signature": "c2lnbmF0dXJl"}),
                        "{way}: {sent}"
                    );
                }
                Some(Dialect::OpenAi) => {
                    assert_eq!(sent["messages"][2], json!({"role": "tool", "tool_call_id": "call_a", "content": "done"}));
                }
                Some(Dialect::Responses) => assert!(sent.to_string().contains("function_call_output"), "{sent}"),
            }
        }
    }
}

/// The error of an answer, in Google's shape: status code, word, message.
#[track_caller]
fn error(document: &Value) -> (u64, String, String) {
    let error = &document["error"];
    let text = |name: &str| error[name].as_str().unwrap_or_else(|| panic!("no `{name}` in {document}")).to_owned();
    (error["code"].as_u64().expect("a code"), text("status"), text("message"))
}

#[tokio::test]
async fn errors_are_googles() {
    for format in FORMATS {
        let upstream = Upstream::start(move |r| {
            let model = if format.is_none() { gemini_model(r).to_owned() } else { r.model() };
            let (code, word, kind) = if model == "slow" {
                (429, "RESOURCE_EXHAUSTED", "rate_limit_error")
            } else {
                (400, "INVALID_ARGUMENT", "invalid_request_error")
            };
            let error = format.map_or_else(|| gemini_error(code, word, "No."), |format| answers::error(format, kind, "No."));
            Reply::json(code, &error).header("retry-after", "7")
        })
        .await;
        let (_gateway, client) = gateway(format, &upstream).await;
        for way in WAYS {
            let answer = client.post(&format!("/v1beta/models/bad:{way}"), &request("x")).await;
            assert_eq!(answer.status, 400, "{format:?} {way}: {}", answer.text());
            assert_eq!(error(&answer.json()), (400, "INVALID_ARGUMENT".into(), "No.".into()));
            let answer = client.post(&format!("/v1/models/slow:{way}"), &request("x")).await;
            assert_eq!((answer.status, answer.header("retry-after")), (429, "7"), "{format:?} {way}");
            assert_eq!(answer.json()["error"]["details"][0]["retryDelay"], "7s");
        }
    }
}

#[tokio::test]
async fn a_stream_that_fails_says_so() {
    for format in FORMATS {
        let upstream = Upstream::start(move |_| {
            let mut events = match format {
                None => Says::text(TEXT).gemini_stream(),
                Some(format) => Says::text(TEXT).stream(format, "m"),
            };
            events.truncate(5);
            Reply::events(vec![Step::Send(events.concat().into()), Step::Cut])
        })
        .await;
        let (_gateway, client) = gateway(format, &upstream).await;
        for way in &WAYS[1..] {
            let answer = client.post(&path(way), &request("x")).await;
            assert_eq!(answer.status, 200, "{format:?} {way}");
            let chunks = chunks(way, &answer);
            let (code, word, _) = error(chunks.last().expect("an error"));
            assert_eq!((code, word.as_str()), (502, "INTERNAL"), "{format:?} {way}");
            assert!(chunks.iter().all(|c| c["candidates"][0]["finishReason"].is_null()), "{format:?} {way}: {}", answer.text());
            setup::assert_record(&client, answer.header("x-request-id"), "error").await;
        }
    }
}

#[tokio::test]
async fn bad_requests() {
    let upstream = setup::friendly(Dialect::OpenAi).await;
    let (_gateway, client) = gateway(Some(Dialect::OpenAi), &upstream).await;
    let contents = request("x")["contents"].clone();
    for (target, body, status, says) in [
        ("m:predict", request("x"), 404, "`predict`"),
        ("m", request("x"), 404, "use `generateContent`"),
        (":generateContent", request("x"), 400, "`model`"),
        ("m:generateContent", json!({}), 400, "`contents`: it is missing"),
        ("m:generateContent", json!({"contents": []}), 400, "`contents`: the list is empty"),
        ("m:generateContent", json!({"contents": [{"role": "robot", "parts": []}]}), 400, "`contents[0].role`: expected `user` or `model`"),
        ("m:generateContent", json!({"contents": contents, "model": "models/other"}), 400, "`model`: the body names another model"),
        (
            "m:generateContent",
            json!({"contents": contents, "cachedContent": "cachedContents/x"}),
            400,
            "`cachedContent`: it names what only",
        ),
    ] {
        let answer = client.post(&format!("/v1beta/models/{target}"), &body).await;
        let (code, _, message) = error(&answer.json());
        assert_eq!((answer.status, code), (status, u64::from(status)), "{target} {body}: {}", answer.text());
        assert!(message.contains(says), "{message}");
    }
    let answer = client.post_bytes(&path("generateContent"), "{\"contents\": [").await;
    assert_eq!((answer.status, error(&answer.json()).1.as_str()), (400, "INVALID_ARGUMENT"));
    assert!(upstream.received().is_empty());
}

#[tokio::test]
async fn what_a_provider_keeps_goes_to_it() {
    let upstream = Upstream::start(|r| Says::text(TEXT).gemini_reply(r)).await;
    let (_gateway, client) = gateway(None, &upstream).await;
    let mut body = request("x");
    body["cachedContent"] = json!("cachedContents/x");
    for way in WAYS {
        let answer = client.post(&path(way), &body).await;
        assert_eq!(answer.status, 200, "{way}: {}", answer.text());
        assert_eq!(upstream.received().last().unwrap().json(), body, "{way}");
    }
}

#[tokio::test]
async fn models_are_listed() {
    let upstream = setup::friendly(Dialect::OpenAi).await;
    let provider = setup::provider(Dialect::OpenAi, &upstream).replace('}', ", models: [a, b/c]}");
    let config = setup::config(&provider, "aliases: {fast: a}\n").replace("  routing: {}\n", "  gemini-api: {}\n  routing: {}\n");
    let gateway = Gateway::start(&config).await;
    let client = Client::new(&gateway);
    let listed = client.get("/v1beta/models").await.json();
    let names: Vec<&str> = listed["models"].as_array().unwrap().iter().filter_map(|m| m["name"].as_str()).collect();
    assert_eq!(names, ["models/a", "models/b/c", "models/fast"]);
    assert_eq!(client.get("/v1beta/models/b%2Fc").await.json()["name"], "models/b/c");
    let missing = client.get("/v1beta/models/zz").await;
    assert_eq!((missing.status, error(&missing.json()).1.as_str()), (404, "NOT_FOUND"));
    // An alias and a slash in a name, both by way of the path.
    for (n, (target, model)) in [("fast", "a"), ("b/c", "b/c"), ("b%2Fc", "b/c")].into_iter().enumerate() {
        let answer = client.post(&format!("/v1beta/models/{target}:generateContent"), &request("x")).await;
        assert_eq!(answer.status, 200, "{target}: {}", answer.text());
        assert_eq!(upstream.request(n).await.model(), model);
    }
}
