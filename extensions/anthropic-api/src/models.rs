//! Models, as Anthropic's `GET /v1/models` lists them.

use serde_json::{Value, json};
use wasmgate_sdk::codec::formats::AnthropicMessages;
use wasmgate_sdk::prelude::*;
use wasmgate_sdk::{HttpRequest, format};

/// Everything that can be asked for, on one page.
pub fn list(request: &HttpRequest) -> Reply {
    let models = format::models(request);
    let data: Vec<Value> = models.iter().map(|m| object(&m.id)).collect();
    let (first, last) = (models.first().map(|m| &m.id), models.last().map(|m| &m.id));
    let page = json!({"data": data, "has_more": false, "first_id": first, "last_id": last});
    Reply::json(200, page.to_string().into_bytes())
}

/// One model.
pub fn one(request: &HttpRequest, id: &str) -> Reply {
    match format::models(request).iter().find(|m| m.id == id) {
        Some(model) => Reply::json(200, object(&model.id).to_string().into_bytes()),
        None => format::encode_error::<AnthropicMessages>(&format::no_such_model(id)),
    }
}

/// `created_at` is required by clients; when a model was made is not known here.
fn object(id: &str) -> Value {
    json!({"type": "model", "id": id, "display_name": id, "created_at": "1970-01-01T00:00:00Z"})
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_page_of_models() {
        FakeHost::default().provider("a", "anthropic", &["m1", "m2"]).install();
        let page: Value = serde_json::from_slice(&list(&HttpRequest::default()).body).unwrap();
        assert_eq!((page["first_id"].as_str(), page["last_id"].as_str()), (Some("m1"), Some("m2")));
        assert_eq!(page["data"][0]["type"], "model");
        let missing = one(&HttpRequest::default(), "m9");
        assert_eq!(missing.status, 404);
        let error: Value = serde_json::from_slice(&missing.body).unwrap();
        assert_eq!(error["error"]["type"], "not_found_error");
    }
}
