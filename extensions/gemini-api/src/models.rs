//! Models, as the Gemini API's `GET /v1beta/models` lists them.

use serde_json::{Value, json};
use wasmgate_sdk::codec::formats::GeminiGenerate;
use wasmgate_sdk::prelude::*;
use wasmgate_sdk::{HttpRequest, format};

/// Everything that can be asked for, on one page.
pub fn list(request: &HttpRequest) -> Reply {
    let models: Vec<Value> = format::models(request).iter().map(|m| object(&m.id)).collect();
    Reply::json(200, json!({"models": models}).to_string().into_bytes())
}

/// One model.
pub fn one(request: &HttpRequest, id: &str) -> Reply {
    match format::models(request).iter().find(|m| m.id == id) {
        Some(model) => Reply::json(200, object(&model.id).to_string().into_bytes()),
        None => format::encode_error::<GeminiGenerate>(&format::no_such_model(id)),
    }
}

/// What is known of a model: its name. Limits and the like are the provider's. Tokens are counted for every model, if need be as an estimate;
/// which ones embed nobody here knows, and a client that looks for them would take one that converses.
fn object(id: &str) -> Value {
    json!({
        "name": format!("models/{id}"),
        "displayName": id,
        "supportedGenerationMethods": ["generateContent", "streamGenerateContent", "countTokens"],
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_page_of_models() {
        FakeHost::default().provider("a", "gemini", &["m1", "m2"]).install();
        let page: Value = serde_json::from_slice(&list(&HttpRequest::default()).body).unwrap();
        assert_eq!((&page["models"][0]["name"], &page["models"][1]["displayName"]), (&json!("models/m1"), &json!("m2")));
        let model: Value = serde_json::from_slice(&one(&HttpRequest::default(), "m2").body).unwrap();
        assert_eq!(model["name"], "models/m2");
        let missing = one(&HttpRequest::default(), "m9");
        let error: Value = serde_json::from_slice(&missing.body).unwrap();
        assert_eq!((missing.status, &error["error"]["status"]), (404, &json!("NOT_FOUND")));
    }
}
