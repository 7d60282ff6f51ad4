//! Calls that hold no conversation: they pass as they are, and everything that holds for conversations holds for them.

use std::time::{Duration, Instant};

use http::Method;
use serde_json::{Value, json};
use wasmgate_tests::client;
use wasmgate_tests::python::CLIENT_KEY;
use wasmgate_tests::{Answer, Client, Dialect, Gateway, Received, Reply, Step, Upstream};

use crate::extensions::fixture;
use crate::setup::{self, PROVIDER_KEY};

/// A form with a file whose content would confuse whoever looks for lines in it, and the model after it.
pub const FORM: &str = "--b0undary\r\nContent-Disposition: form-data; name=\"file\"; filename=\"a.wav\"\r\nContent-Type: audio/wav\r\n\r\n\
    RIFF\r\n\r\n--b0undar\r\nContent-Disposition: form-data; name=\"model\"\r\n\r\nwrong\r\n--b0undary\r\n\
    Content-Disposition: form-data; name=\"model\"\r\n\r\nwhisper-1\r\n--b0undary--\r\n";
const FORM_TYPE: &str = "multipart/form-data; boundary=b0undary";
const JSON: &str = "application/json";

/// What a busy machine may need at most to close a connection.
const PROMPTLY: Duration = Duration::from_secs(1);

/// A gateway whose providers are `up`, of OpenAI's API, and `claude`, of Anthropic's, both at one upstream. `tallies` writes down each request.
async fn gateway(upstream: &Upstream, more: &str) -> (Gateway, Client) {
    let providers = setup::provider(Dialect::OpenAi, upstream) + &setup::named_provider("claude", Dialect::Anthropic, &upstream.url());
    let config = setup::config(&providers, &format!("{}{more}", fixture("tallies", "")));
    let gateway = Gateway::start(&config).await;
    let client = Client::new(&gateway);
    (gateway, client)
}

/// Sends a call with credentials of the client.
async fn call(client: &Client, method: &str, path: &str, kind: &str, body: &[u8]) -> Answer {
    let method: Method = method.parse().expect("a method");
    let mut request = client.request(method, path).header("authorization", format!("Bearer {CLIENT_KEY}")).header("cookie", "a=b");
    if !kind.is_empty() {
        request = request.header("content-type", kind).body(body.to_vec());
    }
    client.send(request).await
}

async fn post(client: &Client, path: &str, body: &Value) -> Answer {
    call(client, "POST", path, JSON, body.to_string().as_bytes()).await
}

/// `on-complete` was told of a request once: `FORMAT ENDING STATUS TOKENS`.
pub async fn assert_told_once(client: &Client, id: &str, expected: &str) {
    // The record follows the hook.
    client.record(id).await;
    assert_eq!(client.get(&format!("/tallies/{id}")).await.text(), format!("{expected}\n"), "{id}");
}

/// The error of the OpenAI dialect: its code and its message.
#[track_caller]
fn refused(answer: &Answer, status: u16) -> (String, String) {
    assert_eq!(answer.status, status, "{}", answer.text());
    let document = answer.json();
    let (_, message) = Dialect::OpenAi.error(&document);
    (document["error"]["code"].as_str().unwrap_or_default().to_owned(), message)
}

// === as it is ===

/// What an upstream answers: type and content.
fn said(request: &Received) -> (u16, &'static str, Vec<u8>) {
    let document = |text: &str| (200, JSON, text.as_bytes().to_vec());
    let path = request.path.split('?').next().unwrap_or_default();
    match (request.method.as_str(), path) {
        ("POST", "/v1/embeddings") => {
            document("{ \"data\" : [{\"embedding\":[1.50,-0.0]}],\"usage\":{\"prompt_tokens\":8,\"total_tokens\":8}}")
        }
        ("POST", "/v1/images/generations") => {
            document(r#"{"data":[{"b64_json":"aGk="}],"usage":{"input_tokens":50,"output_tokens":4160,"total_tokens":4210}}"#)
        }
        ("POST", "/v1/audio/speech") => (200, "audio/mpeg", (0..=255).cycle().take(100_000).collect()),
        ("POST", "/v1/audio/transcriptions") => {
            document(r#"{"text":"hi","usage":{"type":"tokens","input_tokens":14,"output_tokens":45,"total_tokens":59}}"#)
        }
        ("GET", "/v1/files/file-1/content") => (200, "application/jsonl", b"{\"usage\":1}\n{}\n\xff\xfe".to_vec()),
        // Somebody's file, and no error and no usage of the provider's.
        ("GET", "/v1/files/file-2/content") => document(r#"{"error":{"message":"mine"},"usage":{"prompt_tokens":8,"total_tokens":8}}"#),
        ("POST", "/v1/batches/batch_2/cancel") => document(r#"{"error":{"message":"of the batch"},"usage":{"input_tokens":8}}"#),
        ("DELETE", "/v1/files/file-1") => document(r#"{"id":"file-1","deleted":true}"#),
        ("POST", "/v1/batches") => (201, JSON, br#"{"id":"batch_1","error":{"message":"of the batch"}}"#.to_vec()),
        _ => document(r#"{"object":"list","data":[]}"#),
    }
}

#[tokio::test]
async fn calls_and_answers_pass_unchanged_and_are_told_once() {
    let upstream = Upstream::start(|r| {
        let (status, kind, body) = said(r);
        Reply::new(status, kind, body).header("set-cookie", "a=b").header("content-disposition", "attachment")
    })
    .await;
    let (_gateway, client) = gateway(&upstream, "").await;
    let embeddings = "{ \"zeta\":[1.50,null], \"model\" : \"text-embedding-3-small\",\t\"input\":[\"caf\\u00e9\"] }\n";
    let calls: [(&str, &str, &str, &str, &str, u32, &str); 15] = [
        ("POST", "/v1/embeddings", JSON, embeddings, "openai-embeddings", 1, "8+0"),
        ("POST", "/v1/moderations", JSON, r#"{"input":"x"}"#, "openai-moderations", 1, "-"),
        ("POST", "/v1/images/generations", JSON, r#"{"model":"dall-e-3","prompt":"x"}"#, "openai-images", 1, "50+4160"),
        ("POST", "/v1/images/edits", FORM_TYPE, FORM, "openai-images", 0, "-"),
        ("POST", "/v1/audio/speech", JSON, r#"{"model":"tts-1","input":"x","voice":"alloy"}"#, "openai-audio", 1, "-"),
        ("POST", "/v1/audio/transcriptions?x=%20", FORM_TYPE, FORM, "openai-audio", 0, "14+45"),
        ("POST", "/v1/files", FORM_TYPE, "--b0undary--", "openai-files", 0, "-"),
        ("GET", "/v1/files?limit=2&after=a%2Fb", "", "", "openai-files", 0, "-"),
        ("GET", "/v1/files/file-1/content", "", "", "openai-files", 0, "-"),
        ("GET", "/v1/files/file-2/content", "", "", "openai-files", 0, "-"),
        ("DELETE", "/v1/files/file-1", "", "", "openai-files", 0, "-"),
        ("POST", "/v1/batches", JSON, r#"{"input_file_id":"file-1","model":"gpt-x"}"#, "openai-batches", 0, "-"),
        ("GET", "/v1/batches/batch_1", "", "", "openai-batches", 0, "-"),
        ("POST", "/v1/batches/batch_1/cancel", "", "", "openai-batches", 0, "-"),
        ("POST", "/v1/batches/batch_2/cancel", "", "", "openai-batches", 0, "-"),
    ];
    for (n, (method, path, kind, body, format, texts, tokens)) in calls.into_iter().enumerate() {
        let answer = call(&client, method, path, kind, body.as_bytes()).await;
        let received = upstream.request(n).await;
        assert_eq!((received.method.as_str(), received.path.as_str()), (method, path));
        assert_eq!(String::from_utf8_lossy(&received.body), body, "{path}: the body is the client's, byte by byte");
        assert_eq!(received.header("content-type").unwrap_or_default(), kind, "{path}");
        assert_eq!(received.header("authorization"), Some(format!("Bearer {PROVIDER_KEY}").as_str()), "{path}");
        assert_eq!(received.header("cookie"), None, "{path}");
        let (status, kind, body) = said(&received);
        assert_eq!((answer.status, answer.header("content-type")), (status, kind), "{path}: {}", answer.text());
        assert!(answer.body == body, "{path}: the answer is the provider's, byte by byte");
        assert_eq!((answer.header("content-disposition"), answer.header("set-cookie")), ("attachment", ""), "{path}");
        assert_eq!(answer.header("x-wasmgate-provider"), "up", "{path}");
        assert_eq!(answer.header("x-saw"), format!("{format} {texts}"), "{path}: what a hook reads");
        assert_told_once(&client, answer.header("x-request-id"), &format!("{format} success {status} {tokens}")).await;
    }
}

#[tokio::test]
async fn a_model_is_replaced_where_it_stands_and_nothing_else() {
    let upstream = Upstream::start(|_| Reply::json(200, &json!({"data": []}))).await;
    let (_gateway, client) = gateway(&upstream, "aliases: {small: up/text-embedding-3-small, ears: whisper-large}\n").await;
    let document = |model: &str| format!("{{ \"input\": \"x\", \"model\" : \"{model}\",\"y\":1.0 }}");
    for (path, kind, sent, received) in [
        ("/v1/embeddings", JSON, document("small"), document("text-embedding-3-small")),
        ("/v1/embeddings", JSON, document("up/any"), document("any")),
        ("/v1/embeddings", JSON, document("small\",\"model\":\"up/any"), document("any").replace(", \"model\" : ", ",\"model\":")),
        ("/v1/audio/transcriptions", FORM_TYPE, FORM.replace("whisper-1", "ears"), FORM.replace("whisper-1", "whisper-large")),
        ("/v1/audio/translations", FORM_TYPE, FORM.replace("whisper-1", "up/m"), FORM.replace("whisper-1", "m")),
    ] {
        let seen = upstream.received().len();
        let answer = call(&client, "POST", path, kind, sent.as_bytes()).await;
        assert_eq!(answer.status, 200, "{}", answer.text());
        let body = String::from_utf8_lossy(&upstream.request(seen).await.body).into_owned();
        // Of a member that was there twice the last one stays.
        assert_eq!(body, received, "{path} {sent}");
    }
}

// === streams ===

#[tokio::test]
async fn other_streams_pass_byte_by_byte_and_tell_their_usage() {
    let events = "event: image_generation.partial_image\ndata: {\"b64_json\":\"aGk=\",\"x\":\"\\\"usage\\\"\"}\n\n: comment\n\n\
        event: image_generation.completed\r\ndata: {\"type\":\"done\",\"usage\":{\"input_tokens\":3,\"output_tokens\":4}}\r\n\r\nunfinished";
    for bytewise in [true, false] {
        let step = move || if bytewise { Step::Bytewise(events.into()) } else { Step::Send(events.into()) };
        let upstream = Upstream::start(move |_| Reply::events(vec![step()])).await;
        let (_gateway, client) = gateway(&upstream, "").await;
        let answer = post(&client, "/v1/images/generations", &json!({"model": "gpt-image-1", "prompt": "x", "stream": true})).await;
        assert_eq!((answer.status, answer.text()), (200, events.to_owned()));
        assert_eq!(upstream.only().json(), json!({"model": "gpt-image-1", "prompt": "x", "stream": true}), "nothing is added");
        assert_told_once(&client, answer.header("x-request-id"), "openai-images success 200 3+4").await;
    }
}

#[tokio::test]
async fn bytes_that_break_off_break_the_connection() {
    let upstream =
        Upstream::start(|_| Reply::events(vec![Step::Send(vec![7; 1000]), Step::Cut]).header("content-type", "audio/mpeg")).await;
    let (gateway, client) = gateway(&upstream, "").await;
    let body = json!({"model": "tts-1", "input": "x", "voice": "alloy"}).to_string();
    let head = "POST /v1/audio/speech HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\nx-request-id: cut\r\nconnection: close\r\n";
    let answer = client::raw(&gateway, format!("{head}content-length: {}\r\n\r\n{body}", body.len()).as_bytes()).await;
    assert!(answer.starts_with("HTTP/1.1 200") && answer.contains("transfer-encoding: chunked"), "{answer}");
    assert!(!answer.ends_with("0\r\n\r\n"), "half a sound looks like a whole one");
    assert_told_once(&client, "cut", "openai-audio error 200 -").await;
}

#[tokio::test]
async fn a_client_that_leaves_cancels_its_call_and_everybody_is_told_once() {
    let upstream = Upstream::start(|r| match r.path.as_str() {
        "/v1/embeddings" => Reply::silence(),
        _ => Reply::events(vec![Step::Send(b"data: {}\n\n".to_vec()), Step::Hang]),
    })
    .await;
    let (_gateway, client) = gateway(&upstream, "").await;
    let leave = |id: &'static str, path: &str, body: Value| {
        let request = client.request(Method::POST, path).header("x-request-id", id).header("content-type", JSON);
        tokio::spawn(request.body(body.to_string()).send())
    };
    // Before the head of the answer, and in the middle of it.
    let waiting = leave("early", "/v1/embeddings", json!({"model": "text-embedding-3-small", "input": "x"}));
    let received = upstream.request(0).await;
    let left = Instant::now();
    waiting.abort();
    assert!(received.closed_after(left).await < PROMPTLY);
    assert_told_once(&client, "early", "openai-embeddings cancelled 499 -").await;

    let reading = leave("late", "/v1/images/generations", json!({"model": "gpt-image-1", "prompt": "x", "stream": true}));
    let mut response = reading.await.expect("the task ends").expect("the gateway answers");
    assert_eq!(response.chunk().await.expect("a piece").as_deref(), Some(&b"data: {}\n\n"[..]));
    let left = Instant::now();
    drop(response);
    assert!(upstream.request(1).await.closed_after(left).await < PROMPTLY);
    assert_told_once(&client, "late", "openai-images cancelled 200 -").await;
}

// === who is asked ===

#[tokio::test]
async fn a_call_that_failed_goes_on_elsewhere_as_one_request() {
    let up = Upstream::start(|_| Reply::json(503, &json!({"error": {"message": "busy", "type": "server_error"}}))).await;
    let other = Upstream::start(|_| Reply::json(200, &json!({"data": [], "usage": {"prompt_tokens": 3, "total_tokens": 3}}))).await;
    let providers = setup::provider(Dialect::OpenAi, &up) + &setup::named_provider("other", Dialect::OpenAi, &other.url());
    let gateway = Gateway::start(&setup::config(&providers, &(fixture("tallies", "") + &fixture("steers", "")))).await;
    let client = Client::new(&gateway);
    for (path, kind, body) in [("/v1/embeddings", JSON, r#"{"model":"up/m","input":"x"}"#), ("/v1/audio/transcriptions", FORM_TYPE, FORM)] {
        let body = body.replace("whisper-1", "up/m");
        let request = client.request(Method::POST, path).header("content-type", kind).header("x-steer", "other");
        let answer = client.send(request.body(body)).await;
        assert_eq!((answer.status, answer.header("x-wasmgate-provider")), (200, "other"), "{}", answer.text());
        let record = client.record(answer.header("x-request-id")).await;
        assert_eq!((&record["attempts"], &record["model"]), (&json!(2), &json!("good")));
        let format = record["format"].as_str().unwrap_or_default().to_owned();
        assert_told_once(&client, answer.header("x-request-id"), &format!("{format} success 200 3+0")).await;
    }
    assert_eq!((up.received().len(), other.received().len()), (2, 2));
    assert!(String::from_utf8_lossy(&other.received()[1].body).contains("\r\n\r\ngood\r\n"), "the model of the second target is asked for");
}

#[tokio::test]
async fn a_call_without_a_model_goes_to_the_only_provider_of_its_api_or_to_the_one_that_is_named() {
    let upstream = Upstream::start(|r| Reply::json(200, &json!({"key": r.header("authorization")}))).await;
    let (_gateway, client) = gateway(&upstream, "").await;
    let answer = call(&client, "GET", "/v1/files", "", b"").await;
    assert_eq!((answer.status, answer.header("x-wasmgate-provider"), answer.header("x-wasmgate-model")), (200, "up", ""));

    let two = setup::provider(Dialect::OpenAi, &upstream) + &setup::named_provider("second", Dialect::Responses, &upstream.url());
    let gateway = Gateway::start(&setup::config(&two, "")).await;
    let client = Client::new(&gateway);
    let (code, message) = refused(&call(&client, "GET", "/v1/files", "", b"").await, 400);
    assert_eq!(code, "provider_missing");
    assert!(["`files`", "`second`, `up`", "`x-wasmgate-provider`"].iter().all(|part| message.contains(part)), "{message}");
    for field in ["x-wasmgate-provider", "custom-llm-provider"] {
        let answer = client.send(client.request(Method::GET, "/v1/files").header(field, "second")).await;
        assert_eq!((answer.status, answer.header("x-wasmgate-provider")), (200, "second"), "{}", answer.text());
    }
    let answer = client.send(client.request(Method::GET, "/v1/files").header("x-wasmgate-provider", "third")).await;
    let (_, message) = refused(&answer, 400);
    assert!(message.contains("no provider `third`") && message.contains("`second`, `up`"), "{message}");
    drop(gateway);
    let default = format!("default_provider: second\n{}", setup::config(&two, ""));
    let gateway = Gateway::start(&default).await;
    let answer = call(&Client::new(&gateway), "GET", "/v1/files", "", b"").await;
    assert_eq!((answer.status, answer.header("x-wasmgate-provider")), (200, "second"), "{}", answer.text());
}

#[tokio::test]
async fn a_list_of_models_holds_for_calls_that_name_none() {
    let upstream = Upstream::start(|_| Reply::json(200, &json!({"data": []}))).await;
    let provider = setup::provider(Dialect::OpenAi, &upstream).replace("api_key:", "models: [whisper-1], api_key:");
    let gateway = Gateway::start(&setup::config(&provider, "")).await;
    let client = Client::new(&gateway);
    let form = FORM.replace("name=\"model\"\r\n\r\nwhisper", "name=\"other\"\r\n\r\nwhisper");
    for (operation, path, kind, body) in [
        ("images", "/v1/images/generations", JSON, r#"{"prompt":"x"}"#),
        ("images", "/v1/images/generations", JSON, r#"{"prompt":"x","model":null}"#),
        ("moderations", "/v1/moderations", JSON, r#"{"input":"x"}"#),
        ("audio", "/v1/audio/transcriptions", FORM_TYPE, form.as_str()),
    ] {
        let (code, message) = refused(&call(&client, "POST", path, kind, body.as_bytes()).await, 400);
        assert_eq!(code, "model_missing");
        let parts = [format!("`{operation}`"), "`up`".into(), "(`whisper-1`)".into(), "in `model`".into()];
        assert!(parts.iter().all(|part| message.contains(part.as_str())), "{message}");
    }
    assert!(upstream.received().is_empty());
    for (method, path, kind, body) in [
        ("POST", "/v1/audio/transcriptions", FORM_TYPE, FORM),
        ("POST", "/v1/files", FORM_TYPE, form.as_str()),
        ("GET", "/v1/files", "", ""),
    ] {
        let answer = call(&client, method, path, kind, body.as_bytes()).await;
        assert_eq!(answer.status, 200, "{method} {path}: {}", answer.text());
    }
}

#[tokio::test]
async fn a_model_that_a_hook_chose_and_that_has_no_place_refuses_the_call() {
    let up = Upstream::start(|_| Reply::json(503, &json!({"error": {"message": "busy", "type": "server_error"}}))).await;
    let other = Upstream::start(|_| Reply::json(200, &json!({"data": []}))).await;
    let providers = setup::provider(Dialect::OpenAi, &up) + &setup::named_provider("other", Dialect::OpenAi, &other.url());
    let gateway = Gateway::start(&setup::config(&providers, &fixture("steers", ""))).await;
    let client = Client::new(&gateway);
    let steered = |method: Method, path: &str| client.request(method, path).header("x-wasmgate-provider", "up").header("x-steer", "other");
    let form = FORM.replace("name=\"model\"\r\n\r\nwhisper", "name=\"other\"\r\n\r\nwhisper");
    let request = steered(Method::POST, "/v1/audio/transcriptions").header("content-type", FORM_TYPE);
    let (code, message) = refused(&client.send(request.body(form)).await, 400);
    assert_eq!(code, "model_missing");
    assert!(["`good`", "`audio`", "`model`"].iter().all(|part| message.contains(part)), "{message}");
    assert!(other.received().is_empty());
    // Of what is kept there is no model.
    let answer = client.send(steered(Method::GET, "/v1/files")).await;
    assert_eq!((answer.status, answer.header("x-wasmgate-provider")), (200, "other"), "{}", answer.text());
}

#[tokio::test]
async fn a_provider_gets_no_secret_of_the_query_and_the_type_that_was_read() {
    let upstream = Upstream::start(|_| Reply::json(200, &json!({"data": []}))).await;
    let (_gateway, client) = gateway(&upstream, "").await;
    call(&client, "GET", "/v1/files?limit=2&api_key=s1&key=s2&access_token=s3&after=x", "", b"").await;
    assert_eq!(upstream.request(0).await.path, "/v1/files?limit=2&after=x");
    let kind = "multipart/form-data; charset=utf-16; x=\"; boundary=other\"; Boundary=\"b0undary\"";
    call(&client, "POST", "/v1/audio/transcriptions", kind, FORM.as_bytes()).await;
    assert_eq!(upstream.request(1).await.header("content-type"), Some(FORM_TYPE));
}

#[tokio::test]
async fn a_provider_of_another_api_is_told_apart_with_what_to_do() {
    let upstream = Upstream::start(|_| Reply::json(200, &json!({}))).await;
    let (_gateway, client) = gateway(&upstream, "").await;
    let answer = post(&client, "/v1/embeddings", &json!({"model": "claude/x", "input": "x"})).await;
    let (code, message) = refused(&answer, 400);
    assert_eq!(code, "operation_not_supported");
    assert!(["`claude`", "`anthropic`", "`embeddings`", "(`up`)"].iter().all(|part| message.contains(part)), "{message}");
    assert_told_once(&client, answer.header("x-request-id"), "openai-embeddings error 400 -").await;

    // In the other dialect, where nobody speaks the API.
    let gateway = Gateway::start(&setup::config(&setup::provider(Dialect::OpenAi, &upstream), "")).await;
    let answer = call(&Client::new(&gateway), "GET", "/anthropic/v1/files", "", b"").await;
    let (kind, message) = Dialect::Anthropic.error(&answer.json());
    assert_eq!((answer.status, kind.as_str()), (400, "invalid_request_error"));
    assert!(["`files`", "anthropic API", "type `anthropic`"].iter().all(|part| message.contains(part)), "{message}");
    assert!(upstream.received().is_empty());
}

#[tokio::test]
async fn errors_of_a_provider_are_told_by_the_dialect() {
    let upstream = Upstream::start(|r| match r.model().as_str() {
        "busy" => Reply::json(429, &json!({"error": {"message": "Slow down.", "type": "requests"}})).header("retry-after", "17"),
        "key" => Reply::json(401, &json!({"error": {"message": format!("Wrong key {PROVIDER_KEY}."), "code": "invalid_api_key"}})),
        "inside" => Reply::json(200, &json!({"error": {"message": "Slow down.", "type": "rate_limit_error"}})),
        "page" => Reply::new(200, "text/html", "<html>"),
        _ => Reply::closed(),
    })
    .await;
    let (_gateway, client) = gateway(&upstream, "").await;
    for (model, status, part) in [
        ("busy", 429, "Slow down."),
        ("key", 502, "credentials"),
        ("inside", 429, "Slow down."),
        ("page", 502, "HTML"),
        ("gone", 502, "`up`"),
    ] {
        let answer = post(&client, "/v1/embeddings", &json!({"model": format!("up/{model}"), "input": "x"})).await;
        let (_, message) = refused(&answer, status);
        assert!(message.contains(part) && !message.contains(PROVIDER_KEY), "{model}: {message}");
        assert_eq!(answer.header("retry-after"), if model == "busy" { "17" } else { "" });
        assert_told_once(&client, answer.header("x-request-id"), &format!("openai-embeddings error {status} -")).await;
    }
}

// === hooks ===

#[tokio::test]
async fn a_hook_that_refuses_is_told_in_the_dialect_and_nothing_is_sent() {
    let upstream = Upstream::start(|_| Reply::json(200, &json!({}))).await;
    let (_gateway, client) = gateway(&upstream, "").await;
    let form = FORM.replace("whisper-1", "reject");
    for (path, kind, body, format) in [
        ("/v1/embeddings", JSON, r#"{"model":"reject","input":"x"}"#, "openai-embeddings"),
        ("/v1/audio/transcriptions", FORM_TYPE, &form, "openai-audio"),
    ] {
        let answer = call(&client, "POST", path, kind, body.as_bytes()).await;
        let (_, message) = refused(&answer, 429);
        assert_eq!((message.as_str(), answer.header("retry-after")), ("refused by the fixture", "7"));
        assert_told_once(&client, answer.header("x-request-id"), &format!("{format} rejected 429 -")).await;
    }
    let count = json!({"model": "reject", "messages": [{"role": "user", "content": "x"}]});
    let answer = post(&client, "/anthropic/v1/messages/count_tokens", &count).await;
    let (kind, message) = Dialect::Anthropic.error(&answer.json());
    assert_eq!((answer.status, kind.as_str(), message.as_str()), (429, "rate_limit_error", "refused by the fixture"));
    assert_told_once(&client, answer.header("x-request-id"), "anthropic-count-tokens rejected 429 -").await;
    assert!(upstream.received().is_empty());
}

#[tokio::test]
async fn what_hooks_want_and_cannot_have_refuses_the_call() {
    let upstream = Upstream::start(|_| Reply::json(200, &json!({"data": []}))).await;
    let (_gateway, client) = gateway(&upstream, &fixture("probe", "")).await;
    // An answer in a conversation's words, and other texts.
    for (model, part) in [("respond", "answered with a conversation"), ("edit", "wants to change the content")] {
        let answer = post(&client, "/v1/embeddings", &json!({"model": model, "input": "x"})).await;
        let (code, message) = refused(&answer, 400);
        assert_eq!(code, "operation_not_available");
        assert!(message.contains(part) && message.contains("`embeddings`"), "{message}");
        assert_told_once(&client, answer.header("x-request-id"), "openai-embeddings error 400 -").await;
    }
    // What a hook notes and adds to the answer holds.
    let answer = post(&client, "/v1/embeddings", &json!({"model": "note", "input": "x"})).await;
    assert_eq!((answer.status, answer.header("x-probe")), (404, "was here"), "{}", answer.text());
}

// === what does not get in ===

#[tokio::test]
async fn bodies_that_are_not_what_they_say_are_refused() {
    let upstream = Upstream::start(|_| Reply::json(200, &json!({}))).await;
    let (_gateway, client) = gateway(&upstream, "").await;
    let twice = FORM.replace("--b0undary--", "--b0undary\r\nContent-Disposition: form-data; name=\"model\"\r\n\r\nother\r\n--b0undary--");
    let file = FORM.replace("name=\"file\"", "name=\"model\"").replace("\"model\"\r\n\r\nwhisper", "\"x\"\r\n\r\nwhisper");
    for (path, kind, body, part) in [
        ("/v1/embeddings", JSON, "{\"model\"", "not a JSON object"),
        ("/v1/embeddings", JSON, "", "`model`"),
        ("/v1/embeddings", "application/octet-stream", r#"{"model":"m","input":"x"}"#, "`model`"),
        ("/v1/embeddings", FORM_TYPE, FORM, "`model`: it is missing"),
        ("/v1/audio/transcriptions", "audio/wav", r#"{"model":"m"}"#, "or a form"),
        ("/v1/images/edits", "application/octet-stream", r#"{"model":"m"}"#, "or a form"),
        ("/v1/audio/transcriptions", FORM_TYPE, "{}", "not a form"),
        ("/v1/audio/transcriptions", "multipart/form-data", FORM, "`boundary`"),
        ("/v1/audio/transcriptions", FORM_TYPE, &FORM.replace("--b0undary--\r\n", ""), "does not end"),
        ("/v1/audio/transcriptions", FORM_TYPE, &twice, "more than one field `model`"),
        ("/v1/audio/transcriptions", FORM_TYPE, &file, "a file of that name"),
        ("/v1/audio/transcriptions", FORM_TYPE, &FORM.replace("whisper-1", ""), "1 to 512 bytes"),
        ("/v1/audio/transcriptions", FORM_TYPE, &FORM.replace("whisper-1", &"m".repeat(70_000)), "at most 512 bytes"),
        ("/v1/audio/transcriptions", FORM_TYPE, &FORM.replace("RIFF", "\n--b0undary"), "begins with the boundary"),
        ("/v1/audio/transcriptions", "multipart/form-data; boundary*=b0undary", FORM, "`boundary`"),
    ] {
        let answer = call(&client, "POST", path, kind, body.as_bytes()).await;
        let (_, message) = refused(&answer, 400);
        assert!(message.contains(part), "{path} {kind}: {message}");
    }
    // A model that is no text is not none.
    let mut body = FORM.as_bytes().to_vec();
    let end = body.len() - "-1\r\n--b0undary--\r\n".len();
    body[end] = 0xff;
    let (_, message) = refused(&call(&client, "POST", "/v1/audio/transcriptions", FORM_TYPE, &body).await, 400);
    assert!(message.contains("`model` is not UTF-8"), "{message}");
    assert!(upstream.received().is_empty());
}

#[tokio::test]
async fn paths_lead_to_no_other_place_of_the_provider() {
    let upstream = Upstream::start(|_| Reply::json(200, &json!({}))).await;
    let (gateway, _client) = gateway(&upstream, "").await;
    for path in [
        "/v1/files/../models",
        "/v1/files/%2e%2e/models",
        "/v1/files/x/%2E./%2e%2E/chat",
        "/v1/batches/./x",
        "/v1/files/a\\..\\..\\b",
        "/v1/files/..%2fmodels",
        "/v1/files/..%5Cmodels",
        "/v1/files/%252e%252e/models",
        "/v1/files/..;/models",
        "/v1/files/a%00",
    ] {
        let answer = client::raw(&gateway, format!("GET {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").as_bytes()).await;
        assert!(answer.starts_with("HTTP/1.1 400"), "{path}: {answer}");
    }
    assert!(upstream.received().is_empty());
}

#[tokio::test]
async fn forms_are_bounded_like_every_body() {
    let upstream = Upstream::start(|_| Reply::json(200, &json!({"text": "x"}))).await;
    let config = setup::config(&setup::provider(Dialect::OpenAi, &upstream), "");
    let gateway = Gateway::builder(&config).set("server.body_limit=100000").start().await;
    let client = Client::new(&gateway);
    for (bytes, status) in [(90_000, 200), (200_000, 413)] {
        let form = FORM.replace("RIFF", &"x".repeat(bytes));
        let answer = call(&client, "POST", "/v1/audio/transcriptions", FORM_TYPE, form.as_bytes()).await;
        assert_eq!(answer.status, status, "{}", answer.text());
    }
    Dialect::OpenAi.error(&call(&client, "POST", "/v1/files", FORM_TYPE, &[b'x'; 200_000]).await.json());
    assert_eq!(upstream.received().len(), 1);
}

// === counting tokens ===

#[tokio::test]
async fn tokens_are_counted_by_the_provider_where_it_can_and_estimated_elsewhere() {
    let upstream = Upstream::start(|r| match r.path.as_str() {
        "/v1/messages/count_tokens" => Reply::json(200, &json!({"input_tokens": 1234})),
        "/v1/responses/input_tokens" => Reply::json(200, &json!({"object": "response.input_tokens", "input_tokens": 77})),
        _ => Reply::json(404, &json!({})),
    })
    .await;
    let (_gateway, client) = gateway(&upstream, "").await;
    let request = |model: &str| json!({"model": model, "system": "Be brief.", "messages": [{"role": "user", "content": "hello there"}]});
    let answer = post(&client, "/anthropic/v1/messages/count_tokens", &request("claude-haiku-4-5")).await;
    assert_eq!((answer.json(), answer.header("x-wasmgate-estimate")), (json!({"input_tokens": 1234}), ""));
    assert_eq!(upstream.only().json(), request("claude-haiku-4-5"));
    assert_eq!(upstream.only().header("anthropic-version"), Some("2023-06-01"));
    assert_told_once(&client, answer.header("x-request-id"), "anthropic-count-tokens success 200 -").await;

    let answer = post(&client, "/anthropic/v1/messages/count_tokens", &request("gpt-4o")).await;
    assert_eq!(answer.header("x-saw"), "anthropic-count-tokens 2");
    assert_eq!((answer.status, answer.header("x-wasmgate-estimate"), answer.header("content-type")), (200, "input_tokens", JSON));
    let tokens = answer.json()["input_tokens"].as_u64();
    assert!(tokens.is_some_and(|n| (8..30).contains(&n)), "{}", answer.text());
    assert_told_once(&client, answer.header("x-request-id"), "anthropic-count-tokens success 200 -").await;
    assert_eq!(upstream.received().len(), 1, "nobody was asked");

    // The same for OpenAI's responses.
    let answer = post(&client, "/v1/responses/input_tokens", &json!({"model": "gpt-4o", "input": "hello"})).await;
    assert_eq!((answer.json()["input_tokens"].as_u64(), answer.header("x-wasmgate-estimate")), (Some(77), ""));
    let answer = post(&client, "/v1/responses/input_tokens", &json!({"model": "claude/x", "input": "hello"})).await;
    assert_eq!((answer.status, answer.header("x-wasmgate-estimate")), (200, "input_tokens"), "{}", answer.text());
}
