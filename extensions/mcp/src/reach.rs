//! How tools reach other extensions: by the paths that those answer, in the caller's name, so that each keeps its own rules.

use serde_json::Value;
use wasmgate_sdk::{log, routes};

use crate::outcome::Failed;

/// Asks a path that answers with `{"success", "data" | "error"}`, and gives its data.
pub fn data(method: &str, path: &str, body: Option<&Value>) -> Result<Value, Failed> {
    let body = body.map(Value::to_string).unwrap_or_default();
    let reply = routes::ask(method, path, body.as_bytes())?;
    let mut document: Value = serde_json::from_slice(&reply.body).unwrap_or_default();
    if (200..300).contains(&reply.status) && document["success"] == true {
        return Ok(document["data"].take());
    }
    match document["error"]["message"].as_str() {
        Some(message) => Err(Failed::Told(match document["error"]["details"]["param"].as_str() {
            Some(param) if !message.contains(param) => format!("`{param}`: {message}"),
            _ => message.to_owned(),
        })),
        None => {
            log::error(&format!("`{path}` answered with status {} and no reason", reply.status));
            Err(Failed::Told("Another extension of the gateway failed; its log says why.".into()))
        }
    }
}

/// The models that the caller may use.
pub fn models(path: &str) -> Result<Vec<Value>, Failed> {
    let reply = routes::ask("GET", path, &[])?;
    let document: Value = serde_json::from_slice(&reply.body).unwrap_or_default();
    let Some(models) = document["models"].as_array() else {
        log::error(&format!("`{path}` answered with status {} and no models", reply.status));
        return Err(Failed::Told("The gateway cannot list its models at present.".into()));
    };
    Ok(models.iter().map(|m| serde_json::json!({"id": m["id"], "provider": m["provider"]})).collect())
}

/// A text as a value in a query.
pub fn escaped(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => escaped.push(byte as char),
            _ => escaped.push_str(&format!("%{byte:02X}")),
        }
    }
    escaped
}
