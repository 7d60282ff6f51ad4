//! What becomes of requests and answers between the APIs.

use serde_json::{Value, json};

use super::*;
use EmbeddingsApi::{Gemini, Openai, VertexContent, VertexPredict as Vertex};

fn read(api: EmbeddingsApi, body: &Value) -> EmbeddingsRequest {
    api.decode_request(body.to_string().as_bytes()).unwrap_or_else(|e| panic!("{body}: {e}"))
}

/// The path and the document for a provider, and what got lost, as `field=kind`.
fn crossed(from: EmbeddingsApi, body: &Value, to: EmbeddingsApi) -> (&'static str, Value, Vec<String>) {
    let call = to.encode_request(&read(from, body), "m").unwrap_or_else(|e| panic!("{body}: {e}"));
    let losses = call.losses.iter().map(|l| format!("{}={}", l.field, l.kind.as_str())).collect();
    (call.path, serde_json::from_slice(&call.body).expect("JSON"), losses)
}

#[track_caller]
fn check(from: EmbeddingsApi, body: Value, to: EmbeddingsApi, path: &str, expect: Value, losses: &[&str]) {
    let (found, document, lost) = crossed(from, &body, to);
    assert_eq!((found, document, lost), (path, expect, losses.iter().map(|l| (*l).to_owned()).collect()), "{body}");
}

#[track_caller]
fn refused(from: EmbeddingsApi, body: Value, to: EmbeddingsApi, expect: &str) {
    let read = from.decode_request(body.to_string().as_bytes()).and_then(|request| to.encode_request(&request, "m"));
    let message = read.expect_err(&body.to_string()).to_string();
    assert!(message.contains(expect), "found `{message}`, expected `{expect}`");
}

fn content(text: &str) -> Value {
    json!({"parts": [{"text": text}]})
}

const ONE: &str = "/models/{model}:embedContent";
const SEVERAL: &str = "/models/{model}:batchEmbedContents";

#[test]
fn requests_of_openai() {
    check(Openai, json!({"model": "x", "input": "a"}), Gemini, ONE, json!({"content": content("a")}), &[]);
    check(
        Openai,
        json!({"input": ["a", "b"], "dimensions": 3, "encoding_format": "base64", "user": "u", "own": 1, "none": null}),
        Gemini,
        SEVERAL,
        json!({"requests": [
            {"model": "models/m", "content": content("a"), "outputDimensionality": 3},
            {"model": "models/m", "content": content("b"), "outputDimensionality": 3},
        ]}),
        &["user=unsupported", "own=unsupported"],
    );
    check(
        Openai,
        json!({"input": ["a", "b"], "dimensions": 3}),
        Vertex,
        "/models/{model}:predict",
        json!({"instances": [{"content": "a"}, {"content": "b"}], "parameters": {"outputDimensionality": 3}}),
        &[],
    );
    check(Openai, json!({"input": ["a"]}), VertexContent, ONE, json!({"content": content("a")}), &[]);
    refused(Openai, json!({"input": ["a", "b"]}), VertexContent, "the provider embeds one text at a time with this model");
    refused(Openai, json!({"input": [1, 2]}), Gemini, "`input`: token ids mean something to OpenAI's models only");
    refused(Openai, json!({"input": [[1, 2]]}), Vertex, "`input`: token ids");
    refused(Openai, json!({"input": []}), Gemini, "`input`: the list is empty");
    refused(Openai, json!({"input": ["a", null]}), Gemini, "`input[1]`: expected a text, found null");
    refused(Openai, json!({"input": "a", "dimensions": -1}), Gemini, "`dimensions`: expected a whole number");
    refused(Openai, json!({"input": "a", "encoding_format": "hex"}), Gemini, "`encoding_format`: expected `float` or `base64`");
    refused(Openai, json!({}), Gemini, "`input`: missing");
}

#[test]
fn requests_of_gemini() {
    let plain = json!({"model": "m", "input": ["a"]});
    check(Gemini, json!({"model": "models/m", "content": content("a")}), Openai, "/embeddings", plain.clone(), &[]);
    check(
        Gemini,
        json!({"content": {"role": "user", "parts": {"text": "a"}}, "taskType": "TASK_TYPE_UNSPECIFIED"}),
        Openai,
        "/embeddings",
        plain,
        &[],
    );
    check(
        Gemini,
        json!({"content": {"parts": [{"text": "a"}, {"text": "b"}]}, "task_type": "CLUSTERING", "title": "t", "output_dimensionality": 3, "x": 1}),
        Openai,
        "/embeddings",
        json!({"model": "m", "input": ["a\nb"], "dimensions": 3}),
        &["content.parts=adjusted", "x=unsupported", "taskType=unsupported", "title=unsupported"],
    );
    let two = |dimensions: u64| {
        json!({"requests": [
            {"model": "models/m", "content": content("a"), "taskType": "RETRIEVAL_DOCUMENT", "title": "t", "outputDimensionality": 3},
            {"model": "models/m", "content": content("b"), "outputDimensionality": dimensions},
        ]})
    };
    let lost = ["requests[0].taskType=unsupported", "requests[0].title=unsupported"];
    check(Gemini, two(3), Openai, "/embeddings", json!({"model": "m", "input": ["a", "b"], "dimensions": 3}), &lost);
    check(
        Gemini,
        two(3),
        Vertex,
        "/models/{model}:predict",
        json!({"instances": [{"content": "a", "task_type": "RETRIEVAL_DOCUMENT", "title": "t"}, {"content": "b"}], "parameters": {"outputDimensionality": 3}}),
        &[],
    );
    refused(Gemini, two(4), Openai, "`requests[1].outputDimensionality`: the requests want vectors of several lengths");
    refused(Gemini, two(4), Vertex, "`requests[1].outputDimensionality`");
    let picture = json!({"content": {"parts": [{"inlineData": {"mimeType": "image/png", "data": "aGk="}}]}});
    refused(Gemini, picture, Openai, "`content.parts[0]`: only texts can be embedded");
    refused(Gemini, json!({"content": {"parts": []}}), Openai, "`content.parts`: the list is empty");
    refused(Gemini, json!({"requests": []}), Openai, "there is nothing to embed");
    refused(Gemini, json!({"requests": [{}]}), Openai, "`requests[0].content`: missing");
    refused(Gemini, json!({"content": content("a"), "taskType": "A", "task_type": "B"}), Openai, "`taskType`: told twice");
    refused(
        Gemini,
        json!({"content": content("a"), "outputDimensionality": "3"}),
        Openai,
        "`outputDimensionality`: expected a whole number",
    );
}

/// The answer of a provider as its client reads it.
fn answered(from: EmbeddingsApi, body: &str, to: EmbeddingsApi, request: &EmbeddingsRequest) -> Result<Value, String> {
    let answer = from.decode_answer(body.as_bytes(), request).map_err(|e| e.message)?;
    Ok(serde_json::from_slice(&to.encode_answer(&answer, request, "m", 7)).expect("JSON"))
}

#[test]
fn answers_of_gemini() {
    let one = read(Openai, &json!({"input": "a"}));
    let list = |data: Value, tokens: u64| json!({"object": "list", "data": data, "model": "m", "usage": {"prompt_tokens": tokens, "total_tokens": tokens}});
    let vector = |n: u64, numbers: Value| json!({"object": "embedding", "index": n, "embedding": numbers});
    let found = answered(Gemini, r#"{"embedding":{"values":[0.5,-2.50]},"usageMetadata":{"promptTokenCount":4}}"#, Openai, &one).unwrap();
    assert_eq!(found, list(json!([vector(0, json!([0.5, -2.5]))]), 4));
    let two = EmbeddingsRequest { encoding: Encoding::Base64, ..read(Openai, &json!({"input": ["a", "b"]})) };
    let found = answered(Gemini, r#"{"embeddings":[{"values":[0.5,-2.5]},{"values":[1]}]}"#, Openai, &two).unwrap();
    assert_eq!(found, list(json!([vector(0, json!("AAAAPwAAIMA=")), vector(1, json!("AACAPw=="))]), 7), "nobody told the usage");
    let found = answered(
        Vertex,
        r#"{"predictions":[{"embeddings":{"values":[0.5],"statistics":{"token_count":3.0}}},{"embeddings":{"values":[1],"statistics":{"token_count":2}}}]}"#,
        Gemini,
        &two,
    );
    assert_eq!(found.unwrap(), json!({"embeddings": [{"values": [0.5]}, {"values": [1]}], "usageMetadata": {"promptTokenCount": 5}}));
    for (body, expect) in [
        (r#"{"embeddings":[{"values":[0.5]}]}"#, "1 vectors for 2 texts"),
        (r#"{"embeddings":[{"values":[]},{"values":[1]}]}"#, "`embeddings[0].values`: the vector is empty"),
        (r#"{"embeddings":[{"values":[1,"x"]}]}"#, "`embeddings[0].values[1]`: expected a number"),
        (r#"{"embeddings":[{"values":[1e300]}]}"#, "`embeddings[0].values[0]`: expected a number that a f32 can hold"),
        ("{}", "`embedding`: missing"),
        ("[]", "expected an object"),
    ] {
        let message = answered(Gemini, body, Openai, &two).unwrap_err();
        assert!(message.contains(expect), "{body}: {message}");
    }
}

#[test]
fn answers_of_openai() {
    let one = read(Gemini, &json!({"content": content("a")}));
    let found = answered(Openai, r#"{"data":[{"embedding":[0.5]}],"usage":{"prompt_tokens":4,"total_tokens":4}}"#, Gemini, &one).unwrap();
    assert_eq!(found, json!({"embedding": {"values": [0.5]}, "usageMetadata": {"promptTokenCount": 4}}));
    let two = read(Gemini, &json!({"requests": [{"content": content("a")}, {"content": content("b")}]}));
    let found = answered(Openai, r#"{"data":[{"index":1,"embedding":"AACAPw=="},{"index":0,"embedding":[0.5]}]}"#, Gemini, &two).unwrap();
    assert_eq!(found, json!({"embeddings": [{"values": [0.5]}, {"values": [1.0]}]}), "in the order of the texts, and base64 is read");
    let single = read(Gemini, &json!({"requests": [{"content": content("a")}]}));
    let found = answered(Openai, r#"{"data":[{"embedding":[0.5]}]}"#, Gemini, &single).unwrap();
    assert_eq!(found, json!({"embeddings": [{"values": [0.5]}]}), "a list of one stays a list");
    for (body, expect) in [
        (r#"{"data":[{"index":0,"embedding":[1]},{"index":0,"embedding":[1]}]}"#, "two vectors have the same index"),
        (r#"{"data":[{"embedding":"AAA="}]}"#, "`data[0].embedding`: expected numbers, found a text that is no base64 of them"),
        (r#"{"data":[{"embedding":"AADAfw=="}]}"#, "one of its numbers is none"),
        (r#"{"data":5}"#, "`data`: expected an array"),
    ] {
        let message = answered(Openai, body, Gemini, &two).unwrap_err();
        assert!(message.contains(expect), "{body}: {message}");
    }
}
