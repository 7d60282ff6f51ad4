//! `/api/providers`: what requests can be sent to, how it is, and whether it answers. No answer has a secret in it.

use std::sync::Arc;

use axum::response::Response;
use http::StatusCode;
use http::request::Parts;
use serde_json::{Value, json};

use super::{failure, provider, success};
use crate::deploy::Deploy;
use crate::providers::Entry;

/// All providers of the generation that serves everybody.
pub fn list(deploy: &Deploy) -> Value {
    Value::Array(deploy.live().stable.providers.entries().map(row).collect())
}

/// One, with its settings and models.
pub fn one(deploy: &Deploy, name: &str) -> Option<Value> {
    let live = deploy.live();
    let entry = live.stable.providers.find(name)?;
    let config = entry.config();
    let mut document = row(entry);
    document["default_model"] = json!(entry.default_model);
    document["models"] = entry.models_json();
    document["headers"] = config.headers.keys().map(String::as_str).collect();
    document["limits"] = json!({
        "connect_timeout_s": config.connect_timeout.as_secs_f64(),
        "first_byte_timeout_s": config.first_byte_timeout.as_secs_f64(),
        "first_event_timeout_s": config.first_event_timeout.as_secs_f64(),
        "idle_timeout_s": config.idle_timeout.as_secs_f64(),
        "timeout_s": config.timeout.as_secs_f64(),
        "max_retries": config.max_retries,
        "max_in_flight": config.max_in_flight,
        "queue_limit": config.queue_limit,
        "queue_timeout_s": config.queue_timeout.as_secs_f64(),
        "breaker_failures": config.breaker.failures,
        "breaker_failure_rate": config.breaker.failure_rate,
        "models_refresh_s": config.models_refresh.as_secs_f64(),
        "probe_interval_s": config.probe_interval.as_secs_f64(),
    });
    Some(document)
}

/// How one is.
pub fn health(deploy: &Deploy, name: &str) -> Option<Value> {
    Some(deploy.live().stable.providers.find(name)?.health_json())
}

/// Whether one answers. `?model=NAME` asks that model for a few words.
pub async fn test(deploy: &Deploy, name: &str, head: &Parts) -> Response {
    let mut model = None;
    for (field, value) in form_urlencoded::parse(head.uri.query().unwrap_or_default().as_bytes()) {
        if field != "model" || value.is_empty() {
            let message = format!("The query has `{field}`; a test takes `model=NAME` and no more.");
            return failure(StatusCode::BAD_REQUEST, "bad_request", &message, &Value::Null);
        }
        model = Some(value.into_owned());
    }
    let live = deploy.live();
    // The generation is not held while the provider takes its time.
    let providers = Arc::clone(&live.stable.providers);
    drop(live);
    let Some(entry) = providers.find(name) else { return provider(None, name) };
    match entry.test(model.as_deref()).await {
        Ok(tested) => success(&tested.to_json()),
        Err(error) => {
            let details = json!({"class": error.class.name(), "retry_after_ms": error.retry_after_ms});
            failure(StatusCode::BAD_GATEWAY, "provider_failed", &error.message, &details)
        }
    }
}

fn row(entry: &Entry) -> Value {
    let (running, waiting) = entry.counts();
    json!({
        "name": entry.name,
        "type": entry.kind,
        "format": entry.provider.format().as_str(),
        "address": entry.provider.address(),
        "keys": entry.config().api_keys.len() + usize::from(entry.config().api_key.is_some()),
        "state": entry.state(),
        "in_flight": running,
        "queued": waiting,
        "models": entry.listed_models().len(),
    })
}
