//! What the host answers itself: liveness, and what operators ask about extensions and requests.

use std::net::IpAddr;

use axum::body::Body;
use axum::response::Response;
use http::header::{CONTENT_TYPE, HOST};
use http::request::Parts;
use http::uri::Authority;
use http::{HeaderValue, Method, StatusCode};
use serde_json::{Value, json};

use super::serve::{self, Site};
use crate::gateway::Generation;
use crate::telemetry::metrics;

/// What operators may ask about the inside. Other paths under `/api/` are free for extensions.
enum Inside<'a> {
    /// `/api/extensions`
    Extensions,
    /// `/api/requests/{id}`
    Request(&'a str),
    /// `/metrics`
    Metrics,
}

impl<'a> Inside<'a> {
    fn of(path: &'a str) -> Option<Self> {
        if path == "/metrics" {
            return Some(Self::Metrics);
        }
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
    if !is_operator(site, head) {
        let message = "The operators' interface answers programs of this machine only, when `server.host` is a loopback address.";
        return Some(failure(StatusCode::FORBIDDEN, "forbidden", message));
    }
    if head.method != Method::GET {
        return Some(failure(StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed", "Use GET."));
    }
    let data = match inside {
        Inside::Extensions => Some(extensions(generation)),
        Inside::Request(id) => site.gateway.recent.find(id),
        Inside::Metrics => {
            let mut page = Response::new(Body::from(site.gateway.metrics.render()));
            page.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(metrics::CONTENT_TYPE));
            return Some(page);
        }
    };
    Some(match data {
        Some(data) => serve::json(StatusCode::OK, &json!({"success": true, "data": data})),
        None => failure(StatusCode::NOT_FOUND, "not_found", "No such request is remembered; only the last ones are."),
    })
}

/// Whether a request may know about the inside.
pub fn is_operator(site: &Site, head: &Parts) -> bool {
    site.local_only && asked_locally(head)
}

/// Whether a request comes from a program of this machine, and not through a proxy or from a web page: those name another host,
/// or say that they pass something on.
fn asked_locally(head: &Parts) -> bool {
    let foreign = ["origin", "forwarded", "x-forwarded-for", "x-forwarded-host", "x-real-ip", "via"];
    if foreign.iter().any(|name| head.headers.contains_key(*name)) {
        return false;
    }
    let named = head.uri.authority().cloned().or_else(|| head.headers.get(HOST)?.to_str().ok()?.parse().ok());
    named.is_some_and(|authority: Authority| {
        let host = authority.host().trim_start_matches('[').trim_end_matches(']');
        host == "localhost" || host.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback())
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
            "capabilities": e.granted.iter().map(|c| c.name()).collect::<Vec<_>>(),
            "routes": routes,
            "stats": e.stats.to_json(),
        })
    });
    Value::Array(all.collect())
}
