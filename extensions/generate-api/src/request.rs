//! What is asked for.

use serde_json::{Map, Value, json};
use wasmgate_sdk::codec::formats::OpenaiChat;
use wasmgate_sdk::prelude::*;
use wasmgate_sdk::{JsonKind, format};

use crate::FORMAT;

/// Members of a request, what they must be, and that in words.
const MEMBERS: &[(&str, JsonKind, &str)] = &[
    ("provider", JsonKind::Text, "a provider's name"),
    ("model", JsonKind::Text, "a model's name"),
    ("prompt", JsonKind::Text, "a text"),
    ("messages", JsonKind::Array, "a list of messages"),
    ("max_tokens", JsonKind::Number, "a number"),
    ("temperature", JsonKind::Number, "a number"),
    ("stream", JsonKind::Boolean, "true or false"),
    ("tools", JsonKind::Array, "a list of tools"),
    ("metadata", JsonKind::Object, "an object"),
];

/// Reads the head of a request.
pub fn accept(incoming: &Incoming) -> Result<GenerateHead, ChatError> {
    let members = incoming.members();
    let mut given = Vec::new();
    for member in &members {
        let Some((name, kind, expected)) = MEMBERS.iter().find(|(name, ..)| *name == member.name) else {
            let known = MEMBERS.iter().map(|(name, ..)| format!("`{name}`")).collect::<Vec<_>>().join(", ");
            return Err(format::invalid(&member.name, &format!("there is no such member; there are {known}")));
        };
        if member.kind == JsonKind::Null {
            continue;
        }
        format::need(&members, name, &[*kind], expected)?;
        given.push(*name);
    }
    if !given.contains(&"prompt") && !given.contains(&"messages") {
        return Err(format::invalid("prompt", "it is missing, and there are no `messages`"));
    }
    if given.contains(&"messages") && !given.contains(&"prompt") && incoming.kind("/messages/0").is_none() {
        return Err(format::invalid("messages", "the list is empty; a request needs at least one message, or a `prompt`"));
    }
    let name = |member: &str| incoming.text(&format!("/{member}")).filter(|_| given.contains(&member));
    let model = match (name("provider"), name("model")) {
        (Some(provider), _) if provider.is_empty() || provider.contains('/') => {
            return Err(format::invalid("provider", "it is empty or has a slash; write the name of a provider of the configuration"));
        }
        (Some(provider), model) => format!("{provider}/{}", model.unwrap_or_default()),
        (None, Some(_)) => format::model(incoming, &members)?,
        (None, None) => return Err(format::invalid("model", "it is missing, and there is no `provider` either")),
    };
    let stream = given.contains(&"stream") && incoming.flag("/stream") == Some(true);
    Ok(GenerateHead { format: FORMAT.into(), model, stream, include_usage: true })
}

/// Reads a request whole. Messages, tools and parameters are those of chat completions, which has a reader.
pub fn decode(body: &[u8]) -> Result<ChatRequest, ChatError> {
    let mut document: Map<String, Value> = serde_json::from_slice(body)
        .map_err(|e| ChatError::new(ErrorClass::InvalidRequest, format!("The body is no JSON object: {e}.")))?;
    document.retain(|_, value| !value.is_null());
    for ours in ["provider", "metadata"] {
        document.remove(ours);
    }
    document.entry("model").or_insert_with(|| "".into());
    let prompt = document.remove("prompt");
    if let Value::Array(messages) = document.entry("messages").or_insert_with(|| json!([])) {
        messages.extend(prompt.map(|prompt| json!({"role": "user", "content": prompt})));
    }
    let mut request = format::decode::<OpenaiChat>(Value::Object(document).to_string().as_bytes())?;
    request.format = FORMAT.into();
    // The head says which model is meant.
    request.model = String::new();
    Ok(request)
}

#[cfg(test)]
mod tests {
    use wasmgate_sdk::hub::{PartKind, Role};

    use super::*;

    fn check(body: Value, expect: &str) {
        let found = match accept(&FakeIncoming::post("/api/generate", body).handle()) {
            Ok(head) => format!("{} {} stream={}", head.format, head.model, head.stream),
            Err(e) => format!("{} {}", e.param.unwrap_or_default(), e.message),
        };
        assert!(found.contains(expect), "found `{found}`, expected `{expect}`");
    }

    #[test]
    fn heads() {
        check(json!({"model": "m", "prompt": "x"}), "generate m stream=false");
        check(json!({"provider": "p", "model": "m", "prompt": "x", "stream": true}), "generate p/m stream=true");
        check(json!({"provider": "p", "prompt": "x", "model": null}), "generate p/ stream=false");
        check(json!({"model": "m", "messages": [{"role": "user", "content": "x"}]}), "generate m");
        check(json!({"prompt": "x"}), "model `model`: it is missing, and there is no `provider`");
        check(json!({"model": "", "prompt": "x"}), "model `model`: a model's name has 1 to 512 bytes");
        check(json!({"provider": "a/b", "prompt": "x"}), "provider `provider`: it is empty or has a slash");
        check(json!({"model": "m"}), "prompt `prompt`: it is missing");
        check(json!({"model": "m", "messages": []}), "messages `messages`: the list is empty");
        check(json!({"model": "m", "prompt": 5}), "prompt `prompt`: found a number, expected a text");
        check(json!({"model": "m", "prompt": "x", "top_p": 1}), "top_p `top_p`: there is no such member; there are `provider`");
    }

    #[test]
    fn a_prompt_is_the_last_message() {
        let body = json!({
            "provider": "p",
            "model": null,
            "messages": [{"role": "system", "content": "Be brief."}],
            "prompt": "Hello",
            "max_tokens": 5,
            "temperature": 0,
            "metadata": {"a": 1},
        });
        let request = decode(body.to_string().as_bytes()).unwrap();
        assert_eq!((request.format.as_str(), request.model.as_str()), ("generate", ""));
        assert_eq!(request.messages.iter().map(|m| m.role).collect::<Vec<_>>(), [Role::System, Role::User]);
        assert!(matches!(&request.messages[1].parts[0].kind, PartKind::Text(text) if text == "Hello"));
        assert_eq!((request.params.max_tokens, request.params.temperature), (Some(5), Some(0.0)));
        assert!(request.extras.is_empty(), "{:?}", request.extras);
        assert!(decode(br#"{"model": "m", "messages": [{"role": "nobody"}]}"#).is_err());
    }
}
