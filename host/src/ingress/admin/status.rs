//! `/health`, `/health/ready`, `/status`, `/version`: how the gateway is, for who sends requests to it and for who runs it.

use axum::response::Response;
use http::StatusCode;
use serde_json::{Map, Value, json};

use super::providers;
use crate::extensions::CONTRACT_VERSION;
use crate::gateway::Gateway;
use crate::ingress::serve;
use crate::providers::Entry;

/// The process lives.
pub fn alive() -> Response {
    serve::json(StatusCode::OK, &json!({"status": "ok"}))
}

/// Whether new requests should come here. A provider that fails is no reason against it: it fails for the other gateways as well. One that this
/// gateway does not know the logins of is, and so are keys of callers that it could not read: another one may know them.
pub fn ready(gateway: &Gateway) -> Response {
    let live = gateway.deploy.live();
    let mut logins = live.stable.providers.entries().filter_map(|entry| entry.provider.credentials()?.login());
    if gateway.leaving() {
        serve::json(StatusCode::SERVICE_UNAVAILABLE, &json!({"status": "stopping"}))
    } else if logins.any(|login| login.known().is_err()) {
        serve::json(StatusCode::SERVICE_UNAVAILABLE, &json!({"status": "logins_unread"}))
    } else if !gateway.keys_read() {
        serve::json(StatusCode::SERVICE_UNAVAILABLE, &json!({"status": "keys_unread"}))
    } else {
        serve::json(StatusCode::OK, &json!({"status": "ready"}))
    }
}

/// What runs.
pub fn version() -> Value {
    json!({"version": env!("CARGO_PKG_VERSION"), "contract": CONTRACT_VERSION})
}

/// What runs, for how long, and how each provider is.
pub fn status(gateway: &Gateway) -> Value {
    let live = gateway.deploy.live();
    let directory = &live.stable.providers;
    let native = directory.entries().map(|entry| (entry.name.clone(), provider(entry)));
    let virtual_ones = directory.virtuals().nodes().map(|node| {
        let document = json!({"status": providers::state(directory, &node.name), "latency_ms": null, "message": null});
        (node.name.clone(), document)
    });
    let providers: Map<String, Value> = native.chain(virtual_ones).collect();
    let all = |word: &str| providers.values().all(|p| p["status"] == word);
    let status = match () {
        () if gateway.leaving() => "stopping",
        () if all("ok") => "ok",
        () if all("down") => "down",
        () => "degraded",
    };
    json!({
        "status": status,
        "version": env!("CARGO_PKG_VERSION"),
        "uptime_s": gateway.process.uptime(),
        "generation": live.stable.number,
        "providers": providers,
    })
}

/// How one is: its state, how long it took of late to begin an answer, and what a probe said that failed.
fn provider(entry: &Entry) -> Value {
    let health = entry.health_json();
    // Of several models the one that is asked most.
    let models = health["models"].as_object().into_iter().flat_map(Map::values);
    let busiest = models.filter(|m| m["first_event_ms"].is_number()).max_by_key(|m| m["requests"].as_u64());
    let latency = busiest.map_or(&health["probe"]["took_ms"], |m| &m["first_event_ms"]);
    json!({"status": entry.state(), "latency_ms": latency, "message": health["probe"]["error"]["message"]})
}
