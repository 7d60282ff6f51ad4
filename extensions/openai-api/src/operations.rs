//! Calls of OpenAI's API that hold no conversation. They are forwarded as they are; only what the gateway must know of them is looked at:
//! which model, whether a stream, whether the input is there.

use serde_json::{Value, json};
use wasmgate_sdk::codec::formats::OpenaiResponses;
use wasmgate_sdk::format;
use wasmgate_sdk::prelude::*;
use wasmgate_sdk::{JsonKind, Member};

/// The API, as providers call it.
const FAMILY: &str = "openai";

/// Counts the tokens of a response's request, below `/responses`.
const COUNT: &str = "/responses/input_tokens";

const TEXT: &[JsonKind] = &[JsonKind::Text];
const TEXT_OR_LIST: &[JsonKind] = &[JsonKind::Text, JsonKind::Array];

/// The paths. What follows `/images/` and the like is the provider's business.
pub fn routes(prefix: &str) -> Vec<OperationRoute> {
    let post = ["/embeddings", "/moderations", "/images/{*rest}", "/audio/{*rest}", COUNT];
    let mut routes: Vec<_> = post.into_iter().map(|path| OperationRoute::new("POST", format!("{prefix}{path}"))).collect();
    for kept in ["/files", "/files/{*rest}", "/batches", "/batches/{*rest}"] {
        routes.extend(["GET", "POST", "DELETE"].map(|method| OperationRoute::new(method, format!("{prefix}{kept}"))));
    }
    routes
}

/// What a call is, by the first segment of its path.
pub fn accept(incoming: &Incoming, prefix: &str) -> Result<OperationHead, ChatError> {
    let whole = incoming.path();
    let path = whole.strip_prefix(prefix).unwrap_or(&whole);
    let members = incoming.members();
    let model = || format::model(incoming, &members).map(Some);
    let need = |name: &str, kinds: &[JsonKind], expected: &str| format::need(&members, name, kinds, expected);
    let operation = path.split('/').nth(1).unwrap_or_default();
    let head = |operation: &str, model| format::operation(FAMILY, operation, model, path);
    Ok(match operation {
        "embeddings" => {
            let model = model()?;
            need("input", TEXT_OR_LIST, "a text, a list of texts, or tokens")?;
            let list = members.iter().any(|m| m.name == "input" && m.kind == JsonKind::Array);
            if list && incoming.kind("/input/0").is_none() {
                return Err(format::invalid("input", "the list is empty; there is nothing to embed"));
            }
            head(operation, model)
        }
        "moderations" => {
            need("input", TEXT_OR_LIST, "a text or a list of texts and images")?;
            head(operation, format::model_if_any(incoming, &members)?)
        }
        "images" | "audio" if is_unreadable(incoming, &members) => {
            // A model in it would be asked without anybody here having seen it.
            let message = "The request body must be a JSON object with members, or a form (`multipart/form-data`).";
            return Err(ChatError::new(ErrorClass::InvalidRequest, message));
        }
        "images" => {
            if path == "/images/generations" {
                need("prompt", TEXT, "a text")?;
            }
            OperationHead { stream: streams(incoming), ..head(operation, format::model_if_any(incoming, &members)?) }
        }
        "audio" if path == "/audio/speech" => {
            let model = model()?;
            need("input", TEXT, "a text")?;
            OperationHead { stream: incoming.text("/stream_format").as_deref() == Some("sse"), ..head(operation, model) }
        }
        "audio" => OperationHead { stream: streams(incoming), ..head(operation, format::model_if_any(incoming, &members)?) },
        "responses" => head("count-tokens", model()?),
        // Files and batches, which name no model.
        kept => head(kept, None),
    })
}

/// Whether a body is neither a document nor a form.
fn is_unreadable(incoming: &Incoming, members: &[Member]) -> bool {
    let kind = incoming.header("content-type").unwrap_or_default().to_ascii_lowercase();
    members.is_empty() && !kind.starts_with("multipart/form-data")
}

/// Whether a stream is asked for: a flag of a document, or a text of a form.
fn streams(incoming: &Incoming) -> bool {
    incoming.flag("/stream") == Some(true) || incoming.text("/stream").is_some_and(|text| text.eq_ignore_ascii_case("true"))
}

/// Members that hold text for a model.
const TEXTS: [&str; 3] = ["input", "prompt", "instructions"];

/// What hooks may read of a call: its texts, each as a message.
pub fn read(operation: &str, name: &str, body: &[u8]) -> Result<ChatRequest, ChatError> {
    if operation == "count-tokens" {
        return Ok(ChatRequest { format: name.into(), ..format::decode::<OpenaiResponses>(body)? });
    }
    let document: Value = serde_json::from_slice(body).unwrap_or_default();
    let mut texts = Vec::new();
    for member in TEXTS {
        collect(&document[member], &mut texts);
    }
    let model = document["model"].as_str().unwrap_or_default();
    Ok(ChatRequest { stream: document["stream"] == true, ..format::texts_of(name, model, texts) })
}

/// The texts of a member: itself, or of a list those that are texts or have one.
fn collect<'a>(value: &'a Value, texts: &mut Vec<&'a str>) {
    match value {
        Value::String(text) => texts.push(text),
        Value::Array(all) => texts.extend(all.iter().filter_map(|item| item.as_str().or_else(|| item["text"].as_str()))),
        _ => {}
    }
}

/// The answer where no provider of OpenAI's API was chosen: there is one for the counting of tokens.
pub fn answer(operation: &str, incoming: &Incoming) -> Result<Option<Reply>, ChatError> {
    if operation != "count-tokens" {
        return Ok(None);
    }
    let request = format::decode::<OpenaiResponses>(&incoming.body())?;
    let document = |tokens| json!({"object": "response.input_tokens", "input_tokens": tokens}).to_string();
    Ok(Some(format::estimated(&request, document)))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is accepted, or the error's text.
    fn check(path: &str, body: Value, expect: &str) {
        let found = match accept(&FakeIncoming::post(&format!("/v1{path}"), body).handle(), "/v1") {
            Ok(h) => format!(
                "{}-{} {:?} {} stream={} usage={} generates={}",
                h.family, h.operation, h.model, h.path, h.stream, h.include_usage, h.generates
            ),
            Err(e) => e.message,
        };
        assert!(found.contains(expect), "found `{found}`, expected `{expect}`");
    }

    #[test]
    fn heads() {
        check(
            "/embeddings",
            json!({"model": "m", "input": "x"}),
            "openai-embeddings Some(\"m\") /embeddings stream=false usage=false generates=false",
        );
        check("/embeddings", json!({"model": "m", "input": [[1, 2]]}), "openai-embeddings");
        check("/embeddings", json!({"input": "x"}), "`model`: it is missing");
        check("/embeddings", json!({"model": 5, "input": "x"}), "`model`: found a number, expected a string");
        check("/embeddings", json!({"model": "m"}), "`input`: it is missing");
        check("/embeddings", json!({"model": "m", "input": {}}), "`input`: found an object, expected a text, a list of texts, or tokens");
        check("/embeddings", json!({"model": "m", "input": []}), "`input`: the list is empty");
        check("/moderations", json!({"input": ["x"]}), "openai-moderations None");
        check("/moderations", json!({"model": "m"}), "`input`: it is missing");
        check("/images/generations", json!({"prompt": "x", "stream": true}), "openai-images None /images/generations stream=true");
        check("/images/generations", json!({"model": "m"}), "`prompt`: it is missing");
        check("/audio/speech", json!({"model": "m", "input": "x", "voice": "v"}), "openai-audio Some(\"m\") /audio/speech stream=false");
        check("/audio/speech", json!({"model": "m", "input": "x", "stream_format": "sse"}), "stream=true");
        check("/audio/speech", json!({"model": "m"}), "`input`: it is missing");
        check("/audio/transcriptions", json!({}), "must be a JSON object with members, or a form");
        check("/files/file-1/content", json!({}), "openai-files None /files/file-1/content");
        check("/batches", json!({"input_file_id": "f", "model": "ignored"}), "openai-batches None /batches");
        check("/responses/input_tokens", json!({"model": "m", "input": "x"}), "openai-count-tokens Some(\"m\") /responses/input_tokens");
        check("/images/generations", json!({"model": "m".repeat(513), "prompt": "x"}), "1 to 512 bytes");
    }

    #[test]
    fn hooks_read_the_texts() {
        let texts = |operation: &str, body: Value| -> Vec<String> {
            let chat = read(operation, "openai-x", body.to_string().as_bytes()).unwrap();
            chat.messages.iter().flat_map(|m| &m.parts).map(|p| format!("{:?}", p.kind)).collect()
        };
        assert_eq!(texts("embeddings", json!({"input": ["a", "b"]})), ["Text(\"a\")", "Text(\"b\")"]);
        assert_eq!(texts("moderations", json!({"input": [{"type": "text", "text": "a"}, {"type": "image_url"}]})), ["Text(\"a\")"]);
        assert_eq!(texts("images", json!({"prompt": "a"})), ["Text(\"a\")"]);
        assert_eq!(texts("audio", json!({"input": "a", "instructions": "b"})), ["Text(\"a\")", "Text(\"b\")"]);
        assert!(texts("embeddings", json!({"input": [1, 2]})).is_empty());
    }

    #[test]
    fn an_estimate_says_that_it_is_one() {
        let incoming = |body| FakeIncoming::post("/v1/responses/input_tokens", body).handle();
        let reply = answer("count-tokens", &incoming(json!({"model": "m", "input": "hello"}))).unwrap().unwrap();
        assert_eq!((reply.status, reply.headers[1].name.as_str()), (200, format::ESTIMATE));
        let body: Value = serde_json::from_slice(&reply.body).unwrap();
        assert!(body["input_tokens"].as_u64().is_some_and(|n| (3..20).contains(&n)), "{body}");
        assert!(answer("embeddings", &incoming(json!({}))).unwrap().is_none());
    }
}
