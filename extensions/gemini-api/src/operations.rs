//! Calls of Gemini's API that hold no conversation, or are about one and do not hold it: counting tokens, embeddings. The host forwards them or
//! has them made by a provider of another API; where no provider of Gemini's was chosen, tokens are estimated.

use serde_json::{Value, json};
use wasmgate_sdk::codec::formats::GeminiGenerate;
use wasmgate_sdk::codec::json::Document;
use wasmgate_sdk::format;
use wasmgate_sdk::prelude::*;
use wasmgate_sdk::{JsonKind, Member};

/// The API, as providers call it.
const FAMILY: &str = "gemini";

/// The methods of models that are operations.
const METHODS: [&str; 3] = ["countTokens", "embedContent", "batchEmbedContents"];

/// Counting tokens, as hooks find it behind the API's name.
const COUNT: &str = "count-tokens";

/// The paths. The method stands behind the model, in the same piece of the path.
pub fn routes<'a>(prefixes: impl Iterator<Item = &'a str>) -> Vec<OperationRoute> {
    let paths = prefixes.flat_map(|prefix| METHODS.map(|method| format!("{prefix}/models/{{*model}}:{method}")));
    paths.map(|path| OperationRoute::new("POST", path)).collect()
}

/// What a call is. `model` and `method` are those of its path.
pub fn accept(incoming: &Incoming, model: &str, method: &str) -> Result<OperationHead, ChatError> {
    let members = incoming.members();
    let need = |name: &str, kind: JsonKind, expected: &str| format::need(&members, name, &[kind], expected);
    format::check_model(model)?;
    let operation = match method {
        "countTokens" => {
            // Google's JSON takes both spellings.
            let nested = |m: &&Member| matches!(m.name.as_str(), "generateContentRequest" | "generate_content_request");
            let mut told = members.iter().filter(nested).map(|m| m.name.as_str());
            match told.next() {
                Some(name) if told.next().is_some() => return Err(format::invalid(name, "it is told twice; say it once")),
                Some(name) => need(name, JsonKind::Object, "a request for content")?,
                None => format::need(&members, "contents", &[JsonKind::Array, JsonKind::Object], "a list of contents")?,
            }
            COUNT
        }
        "embedContent" => {
            need("content", JsonKind::Object, "a content with parts")?;
            "embeddings"
        }
        _ => {
            need("requests", JsonKind::Array, "a list of requests")?;
            if incoming.kind("/requests/0").is_none() {
                return Err(format::invalid("requests", "the list is empty; there is nothing to embed"));
            }
            "embeddings"
        }
    };
    Ok(format::operation(FAMILY, operation, Some(model.to_owned()), &format!("/models/{{model}}:{method}")))
}

/// What hooks may read of a call: the conversation whose tokens are counted, or the texts that are embedded, each as a message.
pub fn read(operation: &str, name: &str, body: &[u8]) -> Result<ChatRequest, ChatError> {
    if operation == COUNT {
        return Ok(ChatRequest { format: name.into(), ..conversation(body)? });
    }
    let document: Value = serde_json::from_slice(body).unwrap_or_default();
    let contents = document["requests"].as_array().into_iter().flatten().chain([&document]).map(|one| &one["content"]["parts"]);
    let parts = contents.flat_map(|parts| parts.as_array().map_or(std::slice::from_ref(parts), Vec::as_slice));
    let texts = parts.filter_map(|part| part["text"].as_str());
    // The model stands in the path, and the host knows it.
    Ok(format::texts_of(name, "", texts))
}

/// The request that is counted: the body, or the one inside of it, which has all that a request may have.
fn conversation(body: &[u8]) -> Result<ChatRequest, ChatError> {
    let document = Document::parse(body).ok();
    let nested = document.as_ref().and_then(|d| d.get("generateContentRequest").or_else(|| d.get("generate_content_request")));
    format::decode::<GeminiGenerate>(nested.map_or(body, str::as_bytes))
}

/// The answer where no provider of Gemini's API was chosen: there is one for the counting of tokens.
pub fn answer(operation: &str, incoming: &Incoming) -> Result<Option<Reply>, ChatError> {
    if operation != COUNT {
        return Ok(None);
    }
    let request = conversation(&incoming.body())?;
    Ok(Some(format::estimated(&request, |tokens| json!({"totalTokens": tokens}).to_string())))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(method: &str, body: Value, expect: &str) {
        let found = match accept(&FakeIncoming::post("/", body).handle(), "up/ft:a", method) {
            Ok(h) => format!("{}-{} {:?} {}", h.family, h.operation, h.model, h.path),
            Err(e) => e.message,
        };
        assert!(found.contains(expect), "found `{found}`, expected `{expect}`");
    }

    #[test]
    fn heads() {
        let contents = json!([{"parts": [{"text": "x"}]}]);
        check("countTokens", json!({"contents": contents}), "gemini-count-tokens Some(\"up/ft:a\") /models/{model}:countTokens");
        check("countTokens", json!({"generateContentRequest": {"contents": contents}}), "gemini-count-tokens");
        check("countTokens", json!({"generate_content_request": {"contents": contents}}), "gemini-count-tokens");
        let both = json!({"generateContentRequest": {}, "generate_content_request": {}});
        check("countTokens", both, "`generateContentRequest`: it is told twice");
        check("countTokens", json!({}), "`contents`: it is missing");
        check("countTokens", json!({"generateContentRequest": 5}), "`generateContentRequest`: found a number, expected a request");
        check("embedContent", json!({"content": {}}), "gemini-embeddings Some(\"up/ft:a\") /models/{model}:embedContent");
        check("embedContent", json!({"content": "x"}), "`content`: found a string, expected a content");
        check("batchEmbedContents", json!({"requests": [{}]}), "gemini-embeddings Some(\"up/ft:a\") /models/{model}:batchEmbedContents");
        check("batchEmbedContents", json!({"requests": []}), "`requests`: the list is empty");
        check("batchEmbedContents", json!({}), "`requests`: it is missing");
        let head = accept(&FakeIncoming::post("/", json!({"content": {}})).handle(), &"m".repeat(513), "embedContent");
        assert!(head.is_err_and(|e| e.message.contains("1 to 512 bytes")));
    }

    #[test]
    fn paths() {
        let paths: Vec<String> = routes(["/v1beta", "/v1"].into_iter()).into_iter().map(|r| r.path).collect();
        assert_eq!(paths.len(), 6);
        assert_eq!(
            (paths[0].as_str(), paths[5].as_str()),
            ("/v1beta/models/{*model}:countTokens", "/v1/models/{*model}:batchEmbedContents")
        );
    }

    #[test]
    fn hooks_read_the_texts() {
        let texts = |operation: &str, body: Value| -> Vec<String> {
            let chat = read(operation, "gemini-x", body.to_string().as_bytes()).unwrap();
            chat.messages.iter().flat_map(|m| &m.parts).map(|p| format!("{:?}", p.kind)).collect()
        };
        assert_eq!(
            texts("embeddings", json!({"content": {"parts": [{"text": "a"}, {"inlineData": {}}, {"text": "b"}]}})),
            ["Text(\"a\")", "Text(\"b\")"]
        );
        assert_eq!(texts("embeddings", json!({"content": {"parts": {"text": "a"}}})), ["Text(\"a\")"]);
        let batch = json!({"requests": [{"content": {"parts": [{"text": "a"}]}}, {"content": {"parts": [{"text": "b"}]}}]});
        assert_eq!(texts("embeddings", batch), ["Text(\"a\")", "Text(\"b\")"]);
        let contents = json!({"contents": [{"parts": [{"text": "a"}]}]});
        assert_eq!(texts(COUNT, json!({"generateContentRequest": contents})), ["Text(\"a\")"]);
        assert_eq!(texts(COUNT, contents), ["Text(\"a\")"]);
    }

    #[test]
    fn an_estimate_says_that_it_is_one() {
        let body = json!({"generateContentRequest": {"model": "models/m", "contents": [{"parts": [{"text": "hello"}]}]}});
        let reply = answer(COUNT, &FakeIncoming::post("/", body).handle()).unwrap().unwrap();
        assert_eq!((reply.status, reply.headers[1].name.as_str()), (200, format::ESTIMATE));
        let body: Value = serde_json::from_slice(&reply.body).unwrap();
        assert!(body["totalTokens"].as_u64().is_some_and(|n| (3..20).contains(&n)), "{body}");
        assert!(answer("embeddings", &FakeIncoming::post("/", json!({})).handle()).unwrap().is_none());
    }
}
