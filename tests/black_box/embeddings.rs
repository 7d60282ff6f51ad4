//! Embeddings, and counts of tokens, of Gemini's API; and embeddings that cross over to another API.

use serde_json::{Value, json};
use wasmgate_tests::answers::{gemini_error, gemini_model};
use wasmgate_tests::{Answer, Client, Dialect, Gateway, Received, Reply, Upstream};

use crate::extensions::fixture;
use crate::operations::assert_told_once;
use crate::setup::{self, PROVIDER_KEY};

const ONE: &str = "/v1beta/models/small:embedContent";
const SEVERAL: &str = "/v1beta/models/small:batchEmbedContents";

fn content(text: &str) -> Value {
    json!({"parts": [{"text": text}]})
}

fn texts(all: &[&str]) -> Value {
    json!({"requests": all.iter().map(|text| json!({"model": "models/emb", "content": content(text)})).collect::<Vec<_>>()})
}

/// Vectors of both APIs and of Vertex AI, one for each text.
fn vectors(request: &Received) -> Reply {
    let path = request.path.split('?').next().unwrap_or_default();
    let many = |name: &str| request.json()[name].as_array().map_or(0, Vec::len);
    Reply::json(
        200,
        &match path.rsplit([':', '/']).next().unwrap_or_default() {
            "embedContent" => json!({"embedding": {"values": [0.5, -2.5]}, "usageMetadata": {"promptTokenCount": 4}}),
            "batchEmbedContents" => json!({"embeddings": vec![json!({"values": [0.5, -2.5]}); many("requests")]}),
            "predict" => {
                let one = json!({"embeddings": {"values": [0.5, -2.5], "statistics": {"token_count": 3.0, "truncated": false}}});
                json!({"predictions": vec![one; many("instances")]})
            }
            "countTokens" => json!({"totalTokens": 31}),
            "embeddings" => {
                let data: Vec<Value> =
                    (0..many("input")).rev().map(|n| json!({"object": "embedding", "index": n, "embedding": [n, -2.5]})).collect();
                json!({"object": "list", "data": data, "model": "e", "usage": {"prompt_tokens": 6, "total_tokens": 6}})
            }
            other => panic!("nothing is scripted for {other}"),
        },
    )
}

/// Providers `up` (OpenAI), `g` (Gemini), `v` (Vertex AI) and `claude` at one upstream, every dialect, and `tallies`.
async fn gateway(upstream: &Upstream, more: &str) -> (Gateway, Client) {
    let url = upstream.url();
    let providers = setup::provider(Dialect::OpenAi, upstream)
        + &setup::named_provider("claude", Dialect::Anthropic, &url)
        + &format!("  g: {{type: gemini, base_url: \"{url}\", api_key: {PROVIDER_KEY}}}\n")
        + &format!("  v: {{type: gemini, base_url: \"{url}\", api_key: {PROVIDER_KEY}, project: p, location: l}}\n");
    let config = setup::config(&providers, &format!("{}{more}", fixture("tallies", "")));
    let gateway = Gateway::start(&config.replace("  routing: {}\n", "  gemini-api: {}\n  routing: {}\n")).await;
    let client = Client::new(&gateway);
    (gateway, client)
}

/// What the client is told is wrong.
#[track_caller]
fn refused(answer: &Answer, status: u16) -> String {
    assert_eq!(answer.status, status, "{}", answer.text());
    answer.json()["error"]["message"].as_str().expect("a message").to_owned()
}

// === as it is ===

#[tokio::test]
async fn calls_to_gemini_pass_unchanged_and_are_told_once() {
    let upstream = Upstream::start(vectors).await;
    let (_gateway, client) = gateway(&upstream, "default_provider: g\n").await;
    let contents = r#"{ "contents" : [{"parts":[{"text":"a"}]}] ,"x":1.50}"#;
    let nested = r#"{"generateContentRequest":{"model":"models/e/m", "contents":[{"parts":[{"text":"a"}]}]}}"#;
    let one =
        r#"{ "content" : {"parts":[{"text":"caf\u00e9"},{"inlineData":{"mimeType":"image/png","data":"aGk="}}]},"model":"models/e/m" }"#;
    let several = r#"{"requests":[{"model":"e/m", "content":{"parts":[{"text":"a"}]}}, {"content":{"parts":{"text":"b"}}}]}"#;
    for (n, (target, body, format, read, tokens)) in [
        ("e/m:countTokens", contents, "gemini-count-tokens", 1, "-"),
        ("e%2Fm%3AcountTokens", nested, "gemini-count-tokens", 1, "-"),
        ("models/e/m:embedContent", one, "gemini-embeddings", 1, "4+0"),
        ("e%2fm:batchEmbedContents", several, "gemini-embeddings", 2, "-"),
    ]
    .into_iter()
    .enumerate()
    {
        let answer = client.post_bytes(&format!("/v1beta/models/{target}?alt=json&key=secret"), body).await;
        assert_eq!(answer.status, 200, "{target}: {}", answer.text());
        let received = upstream.request(n).await;
        let method = target.replace("%3A", ":");
        let method = method.rsplit(':').next().expect("a method");
        assert_eq!(received.path, format!("/v1beta/models/e%2Fm:{method}?alt=json"));
        assert_eq!(String::from_utf8_lossy(&received.body), body, "{target}: byte by byte");
        assert_eq!(received.header("x-goog-api-key"), Some(PROVIDER_KEY));
        assert_eq!(answer.header("x-saw"), format!("{format} {read}"), "{target}: what a hook reads");
        assert_eq!((answer.header("x-wasmgate-provider"), answer.header("x-wasmgate-estimate")), ("g", ""));
        assert_told_once(&client, answer.header("x-request-id"), &format!("{format} success 200 {tokens}")).await;
    }
}

#[tokio::test]
async fn all_models_of_a_call_are_the_one_that_routing_chose() {
    let upstream = Upstream::start(vectors).await;
    let (_gateway, client) = gateway(&upstream, "aliases: {small: g/emb}\n").await;
    for (n, (target, sent, received)) in [
        (
            "small:embedContent",
            json!({"model": "models/small", "content": content("a")}),
            json!({"model": "models/emb", "content": content("a")}),
        ),
        (
            "g/emb:batchEmbedContents",
            json!({"requests": [{"model": "models/g/emb", "content": content("a")}, {"content": content("b")}]}),
            json!({"requests": [{"model": "models/emb", "content": content("a")}, {"content": content("b")}]}),
        ),
        (
            "small:countTokens",
            json!({"generateContentRequest": {"model": "small", "contents": [content("a")]}}),
            json!({"generateContentRequest": {"model": "models/emb", "contents": [content("a")]}}),
        ),
        ("g/emb:countTokens", json!({"contents": [content("a")]}), json!({"contents": [content("a")]})),
    ]
    .into_iter()
    .enumerate()
    {
        let answer = client.post(&format!("/v1/models/{target}"), &sent).await;
        assert_eq!(answer.status, 200, "{target}: {}", answer.text());
        let found = upstream.request(n).await;
        assert_eq!((gemini_model(&found), found.json()), ("emb", received), "{target}");
    }
    for (body, place) in [
        (json!({"model": "models/other", "content": content("a")}), "`model`"),
        (json!({"content": content("a"), "requests": [{}, {"model": "emb"}]}), "`requests[1].model`"),
    ] {
        let message = refused(&client.post("/v1beta/models/small:embedContent", &body).await, 400);
        assert!(message.contains(place) && message.contains("another model than the path"), "{message}");
    }
    assert_eq!(upstream.received().len(), 4);
}

#[tokio::test]
async fn vertex_counts_what_is_inside_and_takes_one_content() {
    let upstream = Upstream::start(vectors).await;
    let (_gateway, client) = gateway(&upstream, "").await;
    let counted = json!({"generateContentRequest": {"model": "models/v/m", "contents": [content("a")], "toolConfig": {}}});
    let answer = client.post("/v1beta/models/v/m:countTokens", &counted).await;
    assert_eq!((answer.status, answer.json()), (200, json!({"totalTokens": 31})), "{}", answer.text());
    let place = "/v1/projects/p/locations/l/publishers/google/models";
    let received = upstream.request(0).await;
    assert_eq!((received.path.as_str(), received.json()), (format!("{place}/m:countTokens").as_str(), json!({"contents": [content("a")]})));

    let answer = client.post("/v1beta/models/v/gemini-embedding-2:embedContent", &json!({"content": content("a")})).await;
    assert_eq!(
        (answer.status, upstream.request(1).await.path.as_str()),
        (200, format!("{place}/gemini-embedding-2:embedContent").as_str())
    );
    let message = refused(
        &client
            .post(
                "/v1beta/models/v/gemini-embedding-2:batchEmbedContents",
                &json!({"requests": [
        {"content": content("a")}, {"content": content("b")}]}),
            )
            .await,
        400,
    );
    assert!(message.contains("one text at a time"), "{message}");
    // Older models are asked to predict, by either API.
    let body = json!({"content": content("a"), "taskType": "CLUSTERING", "outputDimensionality": 2});
    let answer = client.post("/v1beta/models/v/text-embedding-005:embedContent", &body).await;
    assert_eq!(answer.json(), json!({"embedding": {"values": [0.5, -2.5]}, "usageMetadata": {"promptTokenCount": 3}}));
    let received = upstream.request(2).await;
    assert_eq!(received.path, format!("{place}/text-embedding-005:predict"));
    assert_eq!(
        received.json(),
        json!({"instances": [{"content": "a", "task_type": "CLUSTERING"}], "parameters": {"outputDimensionality": 2}})
    );
    let answer = client.post("/v1/embeddings", &json!({"model": "v/text-embedding-005", "input": ["a", "b"]})).await;
    assert_eq!(answer.json()["usage"], json!({"prompt_tokens": 6, "total_tokens": 6}), "{}", answer.text());
    assert_told_once(&client, answer.header("x-request-id"), "openai-embeddings success 200 6+0").await;
}

// === across ===

#[tokio::test]
async fn openais_clients_are_answered_by_gemini() {
    let upstream = Upstream::start(vectors).await;
    let (_gateway, client) = gateway(&upstream, "aliases: {small: g/emb}\n").await;
    let answer = client.post("/v1/embeddings", &json!({"model": "small", "input": "a", "dimensions": 2})).await;
    let one = |n: u64, embedding: Value| json!({"object": "embedding", "index": n, "embedding": embedding});
    let usage = json!({"prompt_tokens": 4, "total_tokens": 4});
    assert_eq!(
        answer.json(),
        json!({"object": "list", "data": [one(0, json!([0.5, -2.5]))], "model": "emb", "usage": usage}),
        "{}",
        answer.text()
    );
    assert_eq!(
        (answer.header("x-wasmgate-provider"), answer.header("x-wasmgate-losses"), answer.header("x-wasmgate-estimate")),
        ("g", "", "")
    );
    assert_eq!((answer.header("content-type"), answer.header("x-saw")), ("application/json", "openai-embeddings 1"));
    let received = upstream.request(0).await;
    assert_eq!((received.path.as_str(), received.header("x-goog-api-key")), ("/v1beta/models/emb:embedContent", Some(PROVIDER_KEY)));
    assert_eq!(received.json(), json!({"content": content("a"), "outputDimensionality": 2}));
    assert_told_once(&client, answer.header("x-request-id"), "openai-embeddings success 200 4+0").await;

    // Several, as base64, with what Gemini does not have; and nobody tells what it cost.
    let body = json!({"model": "g/emb", "input": ["a", "b"], "encoding_format": "base64", "user": "u", "own": 1});
    let answer = client.post("/v1/embeddings", &body).await;
    let document = answer.json();
    assert_eq!(document["data"], json!([one(0, json!("AAAAPwAAIMA=")), one(1, json!("AAAAPwAAIMA="))]), "{document}");
    assert_eq!(answer.header("x-wasmgate-losses"), "user=unsupported, own=unsupported");
    assert_eq!(answer.header("x-wasmgate-estimate"), "prompt_tokens");
    assert!(document["usage"]["prompt_tokens"].as_u64().is_some_and(|n| (1..10).contains(&n)), "{document}");
    let received = upstream.request(1).await;
    assert_eq!((received.path.as_str(), received.json()), ("/v1beta/models/emb:batchEmbedContents", texts(&["a", "b"])));
    // An estimate is no usage.
    assert_told_once(&client, answer.header("x-request-id"), "openai-embeddings success 200 -").await;

    let message = refused(&client.post("/v1/embeddings", &json!({"model": "small", "input": [1, 2]})).await, 400);
    assert!(message.contains("`input`: token ids mean something to OpenAI's models only"), "{message}");
    assert_eq!(upstream.received().len(), 2);
}

#[tokio::test]
async fn geminis_clients_are_answered_by_openai() {
    let upstream = Upstream::start(vectors).await;
    let (_gateway, client) = gateway(&upstream, "aliases: {small: up/e}\n").await;
    let body = json!({"content": content("a"), "outputDimensionality": 2, "taskType": "RETRIEVAL_QUERY", "model": "models/small"});
    let answer = client.post(ONE, &body).await;
    assert_eq!(answer.json(), json!({"embedding": {"values": [0, -2.5]}, "usageMetadata": {"promptTokenCount": 6}}), "{}", answer.text());
    assert_eq!((answer.header("x-wasmgate-provider"), answer.header("x-wasmgate-losses")), ("up", "taskType=unsupported"));
    let received = upstream.request(0).await;
    assert_eq!((received.path.as_str(), received.json()), ("/v1/embeddings", json!({"model": "e", "input": ["a"], "dimensions": 2})));
    assert_eq!(received.header("authorization"), Some(format!("Bearer {PROVIDER_KEY}").as_str()));
    assert_told_once(&client, answer.header("x-request-id"), "gemini-embeddings success 200 6+0").await;

    // The upstream tells them in the wrong order.
    let answer = client.post(SEVERAL, &json!({"requests": [{"content": content("a")}, {"content": content("b")}]})).await;
    assert_eq!(answer.json()["embeddings"], json!([{"values": [0, -2.5]}, {"values": [1, -2.5]}]), "{}", answer.text());
    let picture = json!({"content": {"parts": [{"inlineData": {"mimeType": "image/png", "data": "aGk="}}]}});
    let message = refused(&client.post(ONE, &picture).await, 400);
    assert!(message.contains("`content.parts[0]`: only texts can be embedded"), "{message}");
    assert_eq!(upstream.received().len(), 2);
}

#[tokio::test]
async fn losses_are_told_dropped_or_refused_as_the_provider_says() {
    let upstream = Upstream::start(vectors).await;
    for policy in ["warn", "drop", "reject"] {
        let provider = format!("  g: {{type: gemini, base_url: \"{}\", api_key: k, on_unsupported: {policy}}}\n", upstream.url());
        let gateway = Gateway::start(&setup::config(&provider, "")).await;
        let answer = Client::new(&gateway).post("/v1/embeddings", &json!({"model": "g/emb", "input": "a", "user": "u"})).await;
        if policy == "reject" {
            let message = refused(&answer, 400);
            assert!(message.contains("`user`") && message.contains("on_unsupported"), "{message}");
        } else {
            assert_eq!((answer.status, answer.header("x-wasmgate-losses")), (200, if policy == "warn" { "user=unsupported" } else { "" }));
        }
    }
    assert_eq!(upstream.received().len(), 2);
}

#[tokio::test]
async fn errors_are_told_in_the_clients_words() {
    let upstream = Upstream::start(|r| {
        let openai = r.path == "/v1/embeddings";
        let error = |status: u16, message: &str| {
            let document = if openai { json!({"error": {"message": message, "type": "x"}}) } else { gemini_error(status, "X", message) };
            Reply::json(status, &document).header("retry-after", "17")
        };
        match if openai { r.model() } else { gemini_model(r).to_owned() }.as_str() {
            "busy" => error(429, "Slow down."),
            "key" => error(401, PROVIDER_KEY),
            "inside" => Reply::json(
                200,
                &json!({"error": {"code": 429, "status": "RESOURCE_EXHAUSTED", "message": "Slow down.", "type": "rate_limit_error"}}),
            ),
            "short" => Reply::json(200, &json!({"embeddings": [], "data": []})),
            "text" => Reply::new(200, "text/plain", "hello"),
            _ => Reply::closed(),
        }
    })
    .await;
    let (_gateway, client) = gateway(&upstream, "").await;
    for (model, status, part) in [
        ("busy", 429, "Slow down."),
        ("key", 502, "credentials"),
        ("inside", 429, "Slow down."),
        ("short", 502, "0 vectors for 2 texts"),
        ("text", 502, "no list of embeddings"),
        ("gone", 502, "The provider `"),
    ] {
        let body = json!({"model": format!("g/{model}"), "input": ["a", "b"]});
        let openai = client.post("/v1/embeddings", &body).await;
        let body = json!({"requests": [{"content": content("a")}, {"content": content("b")}]});
        let gemini = client.post(&format!("/v1beta/models/up/{model}:batchEmbedContents"), &body).await;
        for (answer, format) in [(&openai, "openai"), (&gemini, "gemini")] {
            let message = refused(answer, status);
            assert!(message.contains(part) && !message.contains(PROVIDER_KEY), "{format} {model}: {message}");
            assert_eq!(answer.header("retry-after"), if model == "busy" { "17" } else { "" }, "{format} {model}");
            assert_told_once(&client, answer.header("x-request-id"), &format!("{format}-embeddings error {status} -")).await;
        }
        assert_eq!(gemini.json()["error"]["code"], status, "{}", gemini.text());
        assert!(openai.json()["error"]["type"].is_string(), "{}", openai.text());
    }
}

#[tokio::test]
async fn a_provider_without_embeddings_is_told_apart() {
    let upstream = Upstream::start(vectors).await;
    let (_gateway, client) = gateway(&upstream, "").await;
    let message = refused(&client.post("/v1beta/models/claude/x:embedContent", &json!({"content": content("a")})).await, 400);
    assert!(["`claude`", "`embeddings`", "gemini API", "`g`, `up`, `v`"].iter().all(|part| message.contains(part)), "{message}");
    assert!(upstream.received().is_empty());
}

// === counting tokens ===

#[tokio::test]
async fn tokens_are_estimated_where_nobody_counts_them() {
    let upstream = Upstream::start(vectors).await;
    let (_gateway, client) = gateway(&upstream, "").await;
    let contents = json!({"contents": [content("hello there")]});
    for (provider, body) in [("up", contents.clone()), ("claude", json!({"generateContentRequest": contents}))] {
        let answer = client.post(&format!("/v1beta/models/{provider}/m:countTokens"), &body).await;
        assert_eq!((answer.status, answer.header("x-wasmgate-estimate")), (200, "input_tokens"), "{}", answer.text());
        assert!(answer.json()["totalTokens"].as_u64().is_some_and(|n| (4..20).contains(&n)), "{}", answer.text());
        assert_told_once(&client, answer.header("x-request-id"), "gemini-count-tokens success 200 -").await;
    }
    let message =
        refused(&client.post("/v1beta/models/up/m:countTokens", &json!({"contents": [{"role": "robot", "parts": []}]})).await, 400);
    assert!(message.contains("`contents[0].role`"), "{message}");
    let answer = client.post("/v1beta/models/reject:countTokens", &contents).await;
    assert_eq!(refused(&answer, 429), "refused by the fixture");
    assert_told_once(&client, answer.header("x-request-id"), "gemini-count-tokens rejected 429 -").await;
    assert!(upstream.received().is_empty());
}

#[tokio::test]
async fn methods_that_nobody_has_and_bodies_that_are_none() {
    let upstream = Upstream::start(vectors).await;
    let (_gateway, client) = gateway(&upstream, "").await;
    for (target, body, status, part) in [
        ("g/m:predict", json!({}), 404, "There is no method `predict`"),
        ("g/m:countTokensX", json!({}), 404, "`countTokensX`"),
        ("g/m:countTokens", json!({}), 400, "`contents`: it is missing"),
        ("g/m:embedContent", json!({"content": 5}), 400, "`content`: found a number"),
        ("g/m:batchEmbedContents", json!({"requests": []}), 400, "`requests`: the list is empty"),
        (":countTokens", json!({"contents": []}), 400, "`model`"),
    ] {
        let message = refused(&client.post(&format!("/v1beta/models/{target}"), &body).await, status);
        assert!(message.contains(part), "{target}: {message}");
    }
    assert!(upstream.received().is_empty());
}
