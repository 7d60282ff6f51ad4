//! What the host answers itself: liveness, and what operators ask about extensions and requests.

use axum::response::Response;
use http::request::Parts;
use http::{Method, StatusCode};
use serde_json::{Value, json};

use super::serve::{self, Site};
use crate::gateway::Generation;

/// Paths under this one tell about the inside, so they are not for everybody.
const INSIDE: &str = "/api/";

/// The answer, if the path is the host's own.
pub fn answer(site: &Site, generation: &Generation, head: &Parts) -> Option<Response> {
    let path = head.uri.path();
    if path == "/health" {
        return Some(serve::json(StatusCode::OK, &json!({"status": "ok"})));
    }
    let inside = path.strip_prefix(INSIDE)?;
    if !site.local_only {
        let message = "The operators' interface answers on loopback only; let `server.host` be 127.0.0.1 to use it.";
        return Some(failure(StatusCode::FORBIDDEN, "forbidden", message));
    }
    if head.method != Method::GET {
        return Some(failure(StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed", "Use GET."));
    }
    let data = match inside.split_once('/') {
        None if inside == "extensions" => Some(extensions(generation)),
        Some(("requests", id)) => site.gateway.recent.find(id),
        _ => None,
    };
    Some(match data {
        Some(data) => serve::json(StatusCode::OK, &json!({"success": true, "data": data})),
        None => failure(StatusCode::NOT_FOUND, "not_found", "There is no such thing here."),
    })
}

fn failure(status: StatusCode, code: &str, message: &str) -> Response {
    serve::json(status, &json!({"success": false, "error": {"code": code, "message": message}}))
}

fn extensions(generation: &Generation) -> Value {
    let all = generation.extensions.all().iter().map(|e| {
        let routes: Vec<_> = generation.routes.listed().iter().filter(|r| r.extension == e.name()).collect();
        json!({
            "name": e.manifest.name,
            "version": e.manifest.version,
            "description": e.manifest.description,
            "capabilities": e.manifest.capabilities.iter().map(|c| c.name()).collect::<Vec<_>>(),
            "routes": routes,
            "stats": e.stats.to_json(),
        })
    });
    Value::Array(all.collect())
}
