//! `/api/providers`: what requests can be sent to, how it is, and whether it answers. No answer has a secret in it.

use std::collections::BTreeMap;
use std::sync::Arc;

use http::StatusCode;
use http::request::Parts;
use hyper::body::Incoming as HyperBody;
use serde_json::{Map, Value, json};
use tokio::time::Instant;

use super::extensions::whole;
use super::oauth::logins_unread;
use super::{provider, to_its_end};
use crate::config::ProviderConfig;
use crate::config::virtual_providers::is_virtual;
use crate::deploy::{Change, Deploy};
use crate::gateway::Generation;
use crate::ingress::wrapped::Wrapped;
use crate::providers::{Credentials, Directory, Entry};
use crate::virtual_providers::Node;

/// Longest document with settings.
const MAX_SETTINGS: u64 = 64 << 10;

/// All providers of the generation that serves everybody, virtual ones and then disabled ones last.
pub fn list(deploy: &Deploy) -> Value {
    let live = deploy.live();
    let providers = &live.stable.providers;
    let virtuals = providers.virtuals().nodes().map(|n| virtual_row(providers, n));
    let disabled = live.stable.config.providers.iter().filter(|(_, p)| !p.enabled).map(|(name, p)| disabled_row(name, p));
    Value::Array(providers.entries().map(row).chain(virtuals).chain(disabled).collect())
}

/// One, with its settings and models, and which of the settings were changed through this interface.
pub fn one(deploy: &Deploy, name: &str) -> Option<Value> {
    let live = deploy.live();
    let mut document = described(&live.stable, name)?;
    document["changed"] = json!(live.stable.config.changed.get(name).map_or(&[][..], Vec::as_slice));
    Some(document)
}

fn described(generation: &Generation, name: &str) -> Option<Value> {
    let providers = &generation.providers;
    if let Some(config) = generation.config.providers.get(name).filter(|p| !p.enabled) {
        let mut document = disabled_row(name, config);
        document["default_model"] = json!(config.default_model);
        return Some(document);
    }
    if let Some(node) = providers.virtuals().find(name) {
        let mut document = virtual_row(providers, node);
        document["default_model"] = json!(node.default_model);
        return Some(document);
    }
    let entry = providers.find(name)?;
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

/// `PUT`: the body has settings.
pub async fn put(deploy: &Arc<Deploy>, name: String, body: HyperBody) -> Wrapped {
    let patience = deploy.live().stable.config.server.body_timeout;
    let bytes = match whole(body, patience, "document", MAX_SETTINGS).await {
        Ok(bytes) => bytes,
        Err(error) => return error,
    };
    let settings = match serde_json::from_slice(&bytes) {
        Ok(Value::Object(settings)) => settings,
        Ok(_) => return wrong("The body is JSON, but no object: send `{\"setting\": value}`."),
        // What it says of the text is where it is wrong, and not what stands there.
        Err(e) => return wrong(&format!("The body is not valid JSON: line {}, column {}.", e.line(), e.column())),
    };
    let deploy = Arc::clone(deploy);
    to_its_end(async move { deploy.change_provider(&name, Change::Set(settings)).await }).await
}

/// `DELETE`: the configuration's own settings hold again.
pub async fn reset(deploy: &Arc<Deploy>, name: String) -> Wrapped {
    let deploy = Arc::clone(deploy);
    to_its_end(async move { deploy.change_provider(&name, Change::Reset).await }).await
}

fn wrong(message: &str) -> Wrapped {
    Wrapped::error(StatusCode::BAD_REQUEST, "bad_request", message)
}

/// How one is.
pub fn health(deploy: &Deploy, name: &str) -> Option<Value> {
    let live = deploy.live();
    let providers = &live.stable.providers;
    let Some(node) = providers.virtuals().find(name) else { return Some(providers.find(name)?.health_json()) };
    let members: Map<String, Value> = node.members.iter().map(|m| (m.name.clone(), state(providers, &m.name).into())).collect();
    Some(json!({"name": node.name, "state": state(providers, name), "members": members}))
}

/// Whether one answers. `?model=NAME` asks that model for a few words.
pub async fn test(deploy: &Deploy, name: &str, head: &Parts) -> Wrapped {
    let mut model = None;
    for (field, value) in form_urlencoded::parse(head.uri.query().unwrap_or_default().as_bytes()) {
        if field != "model" || value.is_empty() {
            let message = format!("The query has `{field}`; a test takes `model=NAME` and no more.");
            return Wrapped::error(StatusCode::BAD_REQUEST, "bad_request", &message);
        }
        model = Some(value.into_owned());
    }
    let live = deploy.live();
    // The generation is not held while the provider takes its time.
    let providers = Arc::clone(&live.stable.providers);
    drop(live);
    if let Some(node) = providers.virtuals().find(name) {
        let members: Vec<_> = node.members.iter().map(|m| format!("`{}`", m.name)).collect();
        let message = format!("`{name}` is virtual and sends nothing itself; test its members {}.", members.join(", "));
        return Wrapped::error(StatusCode::CONFLICT, "virtual", &message);
    }
    let Some(entry) = providers.find(name) else { return provider(None, name) };
    let resting = |c: &Credentials| c.login().and_then(|_| c.available("", Instant::now()).err());
    let resting = entry.provider.credentials().and_then(resting);
    if let Some(closed) = resting.and_then(|r| r.closed) {
        return logins_unread(closed);
    }
    if resting.is_some_and(|r| r.logged_out) {
        let message = format!("No login of `{name}` could be used; log in with `GET /api/oauth/{name}/initiate`.");
        return Wrapped::error(StatusCode::CONFLICT, "not_logged_in", &message);
    }
    match entry.test(model.as_deref()).await {
        Ok(tested) => Wrapped::data(&tested.to_json()),
        Err(error) => {
            let details = json!({"class": error.class.name(), "retry_after_ms": error.retry_after_ms});
            Wrapped::error(StatusCode::BAD_GATEWAY, "provider_failed", &error.message).with_details(details)
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
        "keys": entry.provider.credentials().map_or(0, Credentials::number),
        "state": entry.state(),
        "in_flight": running,
        "queued": waiting,
        "models": entry.listed_models().len(),
    })
}

/// One that is not used: what it would be.
fn disabled_row(name: &str, config: &ProviderConfig) -> Value {
    let mut row = json!({"name": name, "type": config.r#type, "state": "disabled"});
    if !is_virtual(&config.r#type) {
        row["keys"] = (config.api_keys.len() + usize::from(config.api_key.is_some())).into();
    }
    row
}

fn virtual_row(providers: &Directory, node: &Node) -> Value {
    let members: Vec<_> = node.members.iter().map(|m| m.name.as_str()).collect();
    json!({"name": node.name, "type": node.kind, "state": state(providers, &node.name), "members": members})
}

/// In one word, as [`Entry::state`]. A virtual provider is as well as its members are together.
pub fn state(providers: &Directory, name: &str) -> &'static str {
    state_of(providers, name, &mut BTreeMap::new())
}

/// `known` are the virtual ones that were looked at: many ways may lead to one.
fn state_of<'a>(providers: &'a Directory, name: &str, known: &mut BTreeMap<&'a str, &'static str>) -> &'static str {
    let Some(node) = providers.virtuals().find(name) else {
        return providers.find(name).map_or("down", Entry::state);
    };
    if let Some(state) = known.get(node.name.as_str()) {
        return state;
    }
    let states: Vec<_> = node.members.iter().map(|m| state_of(providers, &m.name, known)).collect();
    let state = match () {
        () if states.iter().all(|s| *s == "ok") => "ok",
        () if states.iter().all(|s| *s == "down") => "down",
        () => "degraded",
    };
    known.insert(&node.name, state);
    state
}
