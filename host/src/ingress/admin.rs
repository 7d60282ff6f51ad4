//! What the host answers itself: liveness, and what operators ask about extensions and requests.

use axum::response::Response;
use http::request::Parts;
use http::{Method, StatusCode};
use serde_json::{Value, json};

use super::serve::{self, Site};
use crate::gateway::Generation;

/// What operators may ask about the inside. Other paths under `/api/` are free for extensions.
enum Inside<'a> {
    /// `/api/extensions`
    Extensions,
    /// `/api/requests/{id}`
    Request(&'a str),
}

impl<'a> Inside<'a> {
    fn of(path: &'a str) -> Option<Self> {
        match path.strip_prefix("/api/")?.split_once('/') {
            None => (path == "/api/extensions").then_some(Self::Extensions),
            Some(("requests", id)) if !id.contains('/') => Some(Self::Request(id)),
            Some(_) => None,
        }
    }
}

/// The answer, if the path is the host's own. What tells about the inside is not for everybody.
pub fn answer(site: &Site, generation: &Generation, head: &Parts) -> Option<Response> {
    let path = head.uri.path();
    if path == "/health" {
        return Some(serve::json(StatusCode::OK, &json!({"status": "ok"})));
    }
    let inside = Inside::of(path)?;
    if !site.local_only {
        let message = "The operators' interface answers on loopback only; let `server.host` be 127.0.0.1 to use it.";
        return Some(failure(StatusCode::FORBIDDEN, "forbidden", message));
    }
    if head.method != Method::GET {
        return Some(failure(StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed", "Use GET."));
    }
    let data = match inside {
        Inside::Extensions => Some(extensions(generation)),
        Inside::Request(id) => site.gateway.recent.find(id),
    };
    Some(match data {
        Some(data) => serve::json(StatusCode::OK, &json!({"success": true, "data": data})),
        None => failure(StatusCode::NOT_FOUND, "not_found", "No such request is remembered; only the last ones are."),
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
