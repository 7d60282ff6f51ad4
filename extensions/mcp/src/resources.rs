//! Resources: what can be read without a tool, by `wasmgate://` addresses.

use serde_json::{Map, Value, json};
use wasmgate_sdk::format::percent_decoded;
use wasmgate_sdk::routes;

use crate::Settings;
use crate::outcome::Failed;
use crate::reach;
use crate::rpc::{self, Fault};
use crate::server::need;

const MODELS: &str = "wasmgate://models";
const USAGE: &str = "wasmgate://usage";
const MODEL: &str = "wasmgate://models/";

/// What "there is no such resource" is called until 2025-11-25.
const NOT_FOUND_LEGACY: i64 = -32002;

/// Those that there are.
pub fn list(settings: &Settings) -> Vec<Value> {
    let mut list = vec![resource(MODELS, "models", "Models", "The models that this caller may ask for, aliases included.")];
    if routes::has("GET", &settings.usage_path) {
        list.push(resource(USAGE, "usage", "Usage", "Requests, tokens and cost of this caller, by model."));
    }
    list
}

fn resource(uri: &str, name: &str, title: &str, about: &str) -> Value {
    json!({"uri": uri, "name": name, "title": title, "description": about, "mimeType": "application/json"})
}

/// Those that have a name in their address.
pub fn templates() -> Vec<Value> {
    vec![json!({
        "uriTemplate": "wasmgate://models/{id}",
        "name": "model",
        "title": "A model",
        "description": "Who offers a model, if this caller may ask for it.",
        "mimeType": "application/json",
    })]
}

/// Reads one.
pub fn read(settings: &Settings, modern: bool, params: &Map<String, Value>) -> Result<Value, Fault> {
    let uri = need(params, "uri")?;
    let found = match uri {
        MODELS => Some(reach::models(&settings.models_path()).map(|models| json!({"models": models}))),
        USAGE if routes::has("GET", &settings.usage_path) => Some(reach::data("GET", &format!("{}?by=model", settings.usage_path), None)),
        _ => uri.strip_prefix(MODEL).and_then(|id| one(settings, &percent_decoded(id)).transpose()),
    };
    match found {
        Some(Ok(document)) => Ok(json!({"contents": [{"uri": uri, "mimeType": "application/json", "text": document.to_string()}]})),
        Some(Err(Failed::Told(reason))) => Err(Fault { status: 200, ..Fault::new(rpc::INTERNAL, reason) }),
        Some(Err(Failed::Gone)) => Err(Fault { status: 200, ..Fault::new(rpc::CANCELLED, "Nobody waited.") }),
        None => {
            let code = if modern { rpc::INVALID_PARAMS } else { NOT_FOUND_LEGACY };
            let message = format!("There is no resource `{}`; `resources/list` says which there are.", rpc::shown(uri));
            Err(Fault { status: 200, data: Some(json!({"uri": uri})), ..Fault::new(code, message) })
        }
    }
}

fn one(settings: &Settings, id: &str) -> Result<Option<Value>, Failed> {
    Ok(reach::models(&settings.models_path())?.into_iter().find(|m| m["id"] == id))
}
