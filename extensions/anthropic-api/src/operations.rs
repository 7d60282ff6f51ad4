//! Calls of Anthropic's API that hold no conversation, or are about one and do not hold it: counting tokens, batches, files. They are forwarded
//! as they are; where no provider of Anthropic's API was chosen, tokens are estimated.

use serde_json::json;
use wasmgate_sdk::JsonKind;
use wasmgate_sdk::codec::formats::AnthropicMessages;
use wasmgate_sdk::codec::json::Document;
use wasmgate_sdk::codec::passthrough::splice;
use wasmgate_sdk::format;
use wasmgate_sdk::prelude::*;

/// The API, as providers call it.
const FAMILY: &str = "anthropic";

/// The paths: all below the dialect's own prefix, and those of messages below further ones.
pub fn routes(prefix: &str, message_prefixes: &[String]) -> Vec<OperationRoute> {
    let mut routes = Vec::new();
    let mut kept = |path: String| routes.extend(["GET", "POST", "DELETE"].map(|method| OperationRoute::new(method, path.as_str())));
    ["/files", "/files/{*rest}"].into_iter().for_each(|path| kept(format!("{prefix}{path}")));
    let more = message_prefixes.iter().map(String::as_str).filter(|p| *p != prefix);
    let all: Vec<&str> = [prefix].into_iter().chain(more).collect();
    for prefix in &all {
        ["/messages/batches", "/messages/batches/{*rest}"].into_iter().for_each(|path| kept(format!("{prefix}{path}")));
    }
    routes.extend(all.iter().map(|prefix| OperationRoute::new("POST", format!("{prefix}/messages/count_tokens"))));
    routes
}

/// What a call is, by what follows one of the prefixes in its path.
pub fn accept<'a>(incoming: &Incoming, prefixes: impl Iterator<Item = &'a str>) -> Result<OperationHead, ChatError> {
    let whole = incoming.path();
    let ours = |path: &&str| path.starts_with("/messages/") || path.starts_with("/files");
    let path = prefixes.filter_map(|prefix| whole.strip_prefix(prefix)).find(ours).unwrap_or(&whole);
    if path == "/messages/count_tokens" {
        let members = incoming.members();
        let model = format::model(incoming, &members)?;
        format::need(&members, "messages", &[JsonKind::Array], "a list of messages")?;
        return Ok(format::operation(FAMILY, "count-tokens", Some(model), path));
    }
    let operation = if path.starts_with("/files") { "files" } else { "batches" };
    Ok(format::operation(FAMILY, operation, None, path))
}

/// What hooks may read of a call: the conversation whose tokens are counted, and nothing of others.
pub fn read(operation: &str, name: &str, body: &[u8]) -> Result<ChatRequest, ChatError> {
    if operation == "count-tokens" {
        return Ok(ChatRequest { format: name.into(), ..conversation(body)? });
    }
    Ok(format::texts_of(name, "", []))
}

/// The request that is counted. It is one of messages, but for the length of an answer that nobody will write.
fn conversation(body: &[u8]) -> Result<ChatRequest, ChatError> {
    match Document::parse(body) {
        Ok(document) => format::decode::<AnthropicMessages>(&splice(body, &document, &[("max_tokens", Some("1"))])),
        Err(_) => format::decode::<AnthropicMessages>(body),
    }
}

/// The answer where no provider of Anthropic's API was chosen: there is one for the counting of tokens.
pub fn answer(operation: &str, incoming: &Incoming) -> Result<Option<Reply>, ChatError> {
    if operation != "count-tokens" {
        return Ok(None);
    }
    let request = conversation(&incoming.body())?;
    Ok(Some(format::estimated(&request, |tokens| json!({"input_tokens": tokens}).to_string())))
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;

    fn check(path: &str, body: Value, expect: &str) {
        let found = match accept(&FakeIncoming::post(path, body).handle(), ["/anthropic/v1", "/v1"].into_iter()) {
            Ok(h) => format!("{}-{} {:?} {}", h.family, h.operation, h.model, h.path),
            Err(e) => e.message,
        };
        assert!(found.contains(expect), "found `{found}`, expected `{expect}`");
    }

    #[test]
    fn heads() {
        let count = "/anthropic/v1/messages/count_tokens";
        check(count, json!({"model": "m", "messages": []}), "anthropic-count-tokens Some(\"m\") /messages/count_tokens");
        check(count, json!({"messages": []}), "`model`: it is missing");
        check(count, json!({"model": "m"}), "`messages`: it is missing");
        check(count, json!({"model": "m", "messages": "x"}), "`messages`: found a string, expected a list of messages");
        check("/v1/messages/batches/b1/results", json!({}), "anthropic-batches None /messages/batches/b1/results");
        check("/anthropic/v1/files/f1", json!({}), "anthropic-files None /files/f1");
        check("/anthropic/v1/files/messages/batches", json!({}), "anthropic-files None /files/messages/batches");
    }

    #[test]
    fn paths() {
        let all = routes("/a", &["/v1".into(), "/a".into()]);
        let post: Vec<&str> = all.iter().filter(|r| r.method.as_deref() == Some("POST")).map(|r| r.path.as_str()).collect();
        let files = ["/a/files", "/a/files/{*rest}"];
        let batches = ["/a/messages/batches", "/a/messages/batches/{*rest}", "/v1/messages/batches", "/v1/messages/batches/{*rest}"];
        let count = ["/a/messages/count_tokens", "/v1/messages/count_tokens"];
        assert_eq!(post, [&files[..], &batches[..], &count[..]].concat());
    }

    #[test]
    fn an_estimate_says_that_it_is_one() {
        let body = json!({"model": "m", "messages": [{"role": "user", "content": "hello"}], "system": "Be brief."});
        let reply = answer("count-tokens", &FakeIncoming::post("/", body).handle()).unwrap().unwrap();
        assert_eq!((reply.status, reply.headers[1].name.as_str()), (200, format::ESTIMATE));
        let tokens = serde_json::from_slice::<Value>(&reply.body).unwrap()["input_tokens"].as_u64();
        assert!(tokens.is_some_and(|n| (6..30).contains(&n)), "{tokens:?}");
        let broken = json!({"model": "m", "messages": [{"role": "user"}]});
        assert!(answer("count-tokens", &FakeIncoming::post("/", broken).handle()).is_err());
        assert!(answer("files", &FakeIncoming::post("/", json!({})).handle()).unwrap().is_none());
    }
}
