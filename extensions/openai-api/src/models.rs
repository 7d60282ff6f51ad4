//! Models, as `GET /v1/models` lists them.

use serde_json::{Value, json};
use wasmgate_sdk::codec::formats::OpenaiChat;
use wasmgate_sdk::prelude::*;
use wasmgate_sdk::{HttpRequest, format};

/// Everything that can be asked for.
pub fn list(request: &HttpRequest) -> Reply {
    let data: Vec<Value> = format::models(request).iter().map(|m| object(&m.id, &m.provider)).collect();
    Reply::json(200, json!({"object": "list", "data": data}).to_string().into_bytes())
}

/// One model.
pub fn one(request: &HttpRequest, id: &str) -> Reply {
    match format::models(request).iter().find(|m| m.id == id) {
        Some(model) => Reply::json(200, object(&model.id, &model.provider).to_string().into_bytes()),
        None => format::encode_error::<OpenaiChat>(&format::no_such_model(id)),
    }
}

/// `created` is required by clients; when a model was made is not known here.
fn object(id: &str, owner: &str) -> Value {
    json!({"id": id, "object": "model", "created": 0, "owned_by": owner})
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn models_of_all_providers() {
        FakeHost::default().provider("a", "openai", &["m1", "org/m2"]).provider("b", "openai", &["m1"]).install();
        let listed: Value = serde_json::from_slice(&list(&HttpRequest::default()).body).unwrap();
        let ids: Vec<&str> = listed["data"].as_array().unwrap().iter().map(|m| m["id"].as_str().unwrap()).collect();
        assert_eq!(ids, ["m1", "org/m2", "b/m1"]);
        let found: Value = serde_json::from_slice(&one(&HttpRequest::default(), "org/m2").body).unwrap();
        assert_eq!((found["id"].as_str(), found["owned_by"].as_str()), (Some("org/m2"), Some("a")));
        let missing = one(&HttpRequest::default(), "m9");
        assert_eq!(missing.status, 404);
        assert!(String::from_utf8(missing.body).unwrap().contains("model_not_found"));
    }
}
