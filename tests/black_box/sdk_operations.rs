//! The official SDKs, for Python and Node, call what is no conversation: through the gateway, with a hook that sees each call and is told of
//! its end once.

use serde_json::{Value, json};
use wasmgate_tests::answers::{Says, TEXT};
use wasmgate_tests::python::CLIENT_KEY;
use wasmgate_tests::{Client, Dialect, Gateway, Received, Reply, Upstream, node, python};

use crate::extensions::fixture;
use crate::operations::assert_told_once;
use crate::setup;

/// A sound.
fn sound() -> Vec<u8> {
    (0..=255).cycle().take(70_000).collect()
}

fn error(status: u16, kind: &str, message: &str) -> Reply {
    Reply::json(status, &json!({"error": {"message": message, "type": kind, "param": null, "code": null}}))
}

/// What the scripted upstream answers to a call.
fn answer(request: &Received) -> Reply {
    let ok = |document: Value| Reply::json(200, &document);
    let path = request.path.split('?').next().unwrap_or_default();
    let batch = |status: &str| json!({"id": "batch_1", "object": "batch", "status": status});
    match (request.method.as_str(), path, request.model().as_str()) {
        (_, "/v1/embeddings", "busy") => error(429, "requests", "Slow down.").header("retry-after", "17"),
        // A client of Gemini's API, in OpenAI's words.
        (_, "/v1/embeddings", model) if request.json()["encoding_format"].is_null() => {
            let count = request.json()["input"].as_array().map_or(0, Vec::len);
            assert!(count == 1 || request.json()["dimensions"] == 2, "{}", request.json());
            let vector = |n: usize| json!({"object": "embedding", "index": n, "embedding": [0.5, -2.5]});
            let data: Vec<Value> = (0..count).map(vector).collect();
            ok(json!({"object": "list", "model": model, "data": data, "usage": {"prompt_tokens": 2, "total_tokens": 2}}))
        }
        (_, "/v1beta/models/emb:batchEmbedContents", _) => {
            let body = request.json();
            let requests = body["requests"].as_array().cloned().unwrap_or_default();
            assert!(requests.iter().all(|one| one["model"] == "models/emb"), "{body}");
            let embeddings: Vec<Value> = requests.iter().map(|_| json!({"values": [0.5, -2.5]})).collect();
            ok(json!({"embeddings": embeddings, "usageMetadata": {"promptTokenCount": 2}}))
        }
        (_, "/v1beta/models/emb:embedContent", _) => {
            ok(json!({"embedding": {"values": [0.5, -2.5]}, "usageMetadata": {"promptTokenCount": 2}}))
        }
        (_, "/v1beta/models/emb:countTokens", _) => ok(json!({"totalTokens": 31})),
        (_, "/v1/embeddings", model) => {
            assert_eq!((model, &request.json()["encoding_format"]), ("text-embedding-3-small", &json!("base64")));
            // 0.5 and -2.5, as four bytes each.
            let vector = |n: u32| json!({"object": "embedding", "index": n, "embedding": "AAAAPwAAIMA="});
            ok(json!({"object": "list", "model": model, "data": [vector(0), vector(1)], "usage": {"prompt_tokens": 2, "total_tokens": 2}}))
        }
        (_, "/v1/completions", model) => {
            let choice = |text: &str, finish: Value| json!({"text": text, "index": 0, "logprobs": null, "finish_reason": finish});
            let usage = json!({"prompt_tokens": 1, "completion_tokens": 2, "total_tokens": 3});
            let document = |choices: Vec<Value>, usage: Value| json!({"id": "cmpl-1", "object": "text_completion", "created": 1, "model": model, "choices": choices, "usage": usage});
            if !request.is_stream() {
                return ok(document(vec![choice("Grüße", json!("stop"))], usage));
            }
            let parts = [
                document(vec![choice("Grü", Value::Null)], Value::Null),
                document(vec![choice("ße", json!("stop"))], Value::Null),
                document(vec![], usage),
            ];
            Reply::stream(parts.map(|p| format!("data: {p}\n\n")).into_iter().chain(["data: [DONE]\n\n".into()]))
        }
        // For completions, a conversation.
        (_, "/v1/messages", _) => Says::text(TEXT).reply(Dialect::Anthropic, request),
        (_, "/v1/moderations", _) => ok(json!({"id": "modr-1", "model": "omni-moderation-latest", "results": [
            {"flagged": true, "categories": {"violence": true}, "category_scores": {"violence": 0.9}}]})),
        (_, "/v1/images/generations", _) => ok(json!({"created": 1, "data": [{"b64_json": "aGVsbG8="}],
            "usage": {"input_tokens": 5, "output_tokens": 6, "total_tokens": 11}})),
        (_, "/v1/images/edits", _) => {
            assert!(holds(request, b"\x89PNG\r\n\x1a\n\r\n--"), "the picture arrives as it was sent");
            ok(json!({"created": 1, "data": [{"b64_json": "ZWRpdGVk"}]}))
        }
        (_, "/v1/audio/speech", _) => Reply::new(200, "audio/mpeg", sound()),
        (_, "/v1/audio/transcriptions", _) => {
            assert!(holds(request, b"RIFF\r\n\r\n--\xff\xfe") || holds(request, "RIFF\r\n\r\n--ÿþ".as_bytes()), "the sound arrives");
            assert!(holds(request, b"\r\n\r\nwhisper-1\r\n") && !holds(request, b"ears"), "the alias was resolved in the form");
            ok(json!({"text": "heard", "usage": {"type": "tokens", "input_tokens": 7, "output_tokens": 1, "total_tokens": 8}}))
        }
        ("POST", "/v1/files", _) => {
            assert!(holds(request, b"{}\n") && holds(request, b"batch"), "the file arrives");
            ok(json!({"id": "file-1", "object": "file", "bytes": 3, "purpose": "batch"}))
        }
        ("GET", "/v1/files", _) => {
            assert!(request.path.ends_with("?purpose=batch"), "{}", request.path);
            ok(json!({"object": "list", "data": [{"id": "file-1", "object": "file"}], "has_more": false}))
        }
        ("GET", "/v1/files/file-1/content", _) => Reply::new(200, "application/octet-stream", "{}\n"),
        ("DELETE", "/v1/files/file-1", _) => ok(json!({"id": "file-1", "object": "file", "deleted": true})),
        ("POST", "/v1/batches", _) => ok(batch("validating")),
        ("GET", "/v1/batches/batch_1", _) => ok(batch("in_progress")),
        ("POST", "/v1/batches/batch_1/cancel", _) => ok(batch("cancelling")),
        (_, "/v1/messages/count_tokens", _) => ok(json!({"input_tokens": 1234})),
        (_, "/v1/messages/batches" | "/v1/messages/batches/msgbatch_1", _) => {
            ok(json!({"id": "msgbatch_1", "type": "message_batch", "processing_status": "in_progress"}))
        }
        (method, path, _) => error(404, "invalid_request_error", &format!("nothing is scripted for {method} {path}")),
    }
}

fn holds(request: &Received, part: &[u8]) -> bool {
    request.body.windows(part.len()).any(|w| w == part)
}

struct Scene {
    upstream: Upstream,
    gateway: Gateway,
}

impl Scene {
    async fn new() -> Self {
        let upstream = Upstream::start(answer).await;
        let providers = setup::provider(Dialect::OpenAi, &upstream)
            + &setup::named_provider("claude", Dialect::Anthropic, &upstream.url())
            + &format!("  gemini: {{type: gemini, base_url: \"{}\", api_key: {}}}\n", upstream.url(), setup::PROVIDER_KEY);
        let more = format!("{}aliases: {{ears: whisper-1}}\n", fixture("tallies", ""));
        let config = setup::config(&providers, &more).replace("  routing: {}\n", "  gemini-api: {}\n  routing: {}\n");
        let gateway = Gateway::start(&config).await;
        Self { upstream, gateway }
    }

    /// What the SDK saw is this, hooks were told of every call once, and no credential of the client went on.
    async fn check(&self, seen: &Value, expected: &Value) {
        assert_eq!(seen, expected);
        for request in self.upstream.received() {
            assert!(!format!("{:?}", request.headers).contains(CLIENT_KEY), "{:?}", request.headers);
        }
        // The log has a line for each request that was accepted, whoever answered it.
        let client = Client::new(&self.gateway);
        let lines = self.gateway.log_lines(|l| l["message"] == "request");
        assert!(lines.len() >= self.upstream.received().len() && !lines.is_empty(), "{} lines", lines.len());
        for line in lines {
            let text = |name: &str| line[name].as_str().unwrap_or_default().to_owned();
            let tokens = match line["input_tokens"].as_u64() {
                Some(input) => format!("{input}+{}", line["output_tokens"]),
                None => "-".into(),
            };
            let expected = format!("{} {} {} {tokens}", text("format"), text("ending"), line["status"]);
            assert_told_once(&client, &text("request_id"), &expected).await;
        }
    }
}

fn openai() -> Value {
    let refusal = |class: &str, status: u16, message: &str, after: Value| json!({"class": class, "status": status, "message": message, "retry_after": after});
    json!({
        "embeddings": {"vectors": [[0.5, -2.5], [0.5, -2.5]], "tokens": 2},
        "crossed": {"vectors": [[0.5, -2.5], [0.5, -2.5]], "tokens": 2},
        "crossed floats": {"vectors": [[0.5, -2.5], [0.5, -2.5]], "tokens": 2},
        "completion": {"text": "Grüße", "tokens": 3},
        "completion_stream": {"text": "Grüße", "tokens": 3},
        "translated": {"text": TEXT, "tokens": 21},
        "translated_stream": {"text": TEXT, "tokens": 21},
        "moderation": {"flagged": true, "violence": true},
        "image": {"image": "hello", "tokens": 11},
        "edit": "edited",
        "speech": {"bytes": 70_000, "sum": sound().iter().map(|b| u64::from(*b)).sum::<u64>()},
        "transcription": "heard",
        "files": {"made": "file-1", "listed": ["file-1"], "content": "{}\n", "deleted": true},
        "batches": {"made": "batch_1", "status": "in_progress", "cancelled": "cancelling"},
        "denied": refusal("RateLimitError", 429, "refused by the fixture", json!("7")),
        "busy": refusal("RateLimitError", 429, "Slow down.", json!("17")),
        "not spoken": refusal(
            "BadRequestError", 400,
            "The provider `claude` (type `anthropic`) has no `embeddings` of the openai API. Ask for a model of one that has (`gemini`, `up`), or name it \
             with the header `x-wasmgate-provider` when the call names no model.",
            Value::Null,
        ),
    })
}

fn anthropic(estimate: &Value) -> Value {
    json!({
        "counted": {"tokens": 1234, "estimate": null},
        "estimated": {"tokens": estimate, "estimate": "input_tokens"},
        "denied": {"class": "RateLimitError", "status": 429, "message": "refused by the fixture"},
        "batches": {"made": "msgbatch_1", "status": "in_progress"},
    })
}

/// The estimate is a number that could be right.
fn assert_likely(seen: &Value) -> &Value {
    let tokens = &seen["estimated"]["tokens"];
    assert!(tokens.as_u64().is_some_and(|n| (10..40).contains(&n)), "{seen}");
    tokens
}

#[tokio::test]
async fn openai_for_python() {
    let scene = Scene::new().await;
    if let Some(seen) = python::run("openai_operations_sdk.py", &scene.gateway.url(), &[]).await {
        scene.check(&seen, &openai()).await;
    }
}

#[tokio::test]
async fn openai_for_node() {
    let scene = Scene::new().await;
    if let Some(seen) = node::run("openai_operations_sdk.cjs", &scene.gateway.url(), &[]).await {
        scene.check(&seen, &openai()).await;
    }
}

#[tokio::test]
async fn anthropic_for_python() {
    let scene = Scene::new().await;
    if let Some(seen) = python::run("anthropic_operations_sdk.py", &scene.gateway.url(), &[]).await {
        scene.check(&seen, &anthropic(assert_likely(&seen))).await;
    }
}

#[tokio::test]
async fn anthropic_for_node() {
    let scene = Scene::new().await;
    if let Some(seen) = node::run("anthropic_operations_sdk.cjs", &scene.gateway.url(), &[]).await {
        scene.check(&seen, &anthropic(assert_likely(&seen))).await;
    }
}

#[tokio::test]
async fn google_for_python() {
    let scene = Scene::new().await;
    let Some(seen) = python::run("google_genai_operations_sdk.py", &scene.gateway.url(), &[]).await else { return };
    let estimate = &seen["estimated"];
    assert!(estimate.as_u64().is_some_and(|n| (4..20).contains(&n)), "{seen}");
    let (one, two) = (json!([[0.5, -2.5]]), json!([[0.5, -2.5], [0.5, -2.5]]));
    let refusal = |message: &str| json!({"class": "ClientError", "code": 429, "status": "RESOURCE_EXHAUSTED", "message": message});
    let expected = json!({
        "counted": 31,
        "estimated": estimate,
        "one gemini": one,
        "several gemini": two,
        "one openai": one,
        "several openai": two,
        "denied": refusal("refused by the fixture"),
        "busy": refusal("Slow down."),
    });
    scene.check(&seen, &expected).await;
}
