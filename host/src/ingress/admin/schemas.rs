//! What the answers of the operators' interface look like, as JSON Schema. Tests ask a gateway and compare.

use serde_json::{Map, Value, json};

use crate::config::virtual_providers::VIRTUAL_TYPES;
use crate::providers::types;

/// An object with these members, all of which are there. Later versions may add some.
fn object(members: &[(&str, Value)]) -> Value {
    let required: Vec<&str> = members.iter().map(|(name, _)| *name).collect();
    let properties: Map<String, Value> = members.iter().map(|(name, schema)| ((*name).to_owned(), schema.clone())).collect();
    json!({"type": "object", "required": required, "properties": properties})
}

fn list(of: Value) -> Value {
    json!({"type": "array", "items": of})
}

/// An object whose members have names of their own, and values that look like this.
fn map(of: Value) -> Value {
    json!({"type": "object", "additionalProperties": of})
}

fn or_null(schema: Value) -> Value {
    json!({"anyOf": [schema, {"type": "null"}]})
}

fn one_of(words: &[&str]) -> Value {
    json!({"enum": words})
}

fn text() -> Value {
    json!({"type": "string"})
}

fn number() -> Value {
    json!({"type": "number"})
}

fn count() -> Value {
    json!({"type": "integer", "minimum": 0})
}

fn boolean() -> Value {
    json!({"type": "boolean"})
}

fn texts() -> Value {
    list(text())
}

/// The wrapper around data.
pub fn wrapper(data: Value) -> Value {
    object(&[("success", json!({"const": true})), ("data", data), ("request_id", text()), ("timestamp", time())])
}

/// The wrapper around an error.
pub fn error() -> Value {
    let mut error = object(&[("code", text()), ("message", text())]);
    error["properties"]["details"] = json!({});
    object(&[("success", json!({"const": false})), ("error", error), ("request_id", text()), ("timestamp", time())])
}

fn time() -> Value {
    json!({"type": "string", "format": "date-time"})
}

/// `/health`
pub fn alive() -> Value {
    object(&[("status", one_of(&["ok"]))])
}

/// `/health/ready`
pub fn ready() -> Value {
    object(&[("status", one_of(&["ready", "stopping", "logins_unread", "keys_unread"]))])
}

/// `/status`
pub fn status() -> Value {
    let provider = object(&[("status", state()), ("latency_ms", or_null(number())), ("message", or_null(text()))]);
    object(&[
        ("status", one_of(&["ok", "degraded", "down", "stopping"])),
        ("version", text()),
        ("uptime_s", number()),
        ("generation", count()),
        ("providers", map(provider)),
    ])
}

fn state() -> Value {
    one_of(&["ok", "degraded", "down"])
}

/// `/version`
pub fn version() -> Value {
    object(&[("version", text()), ("contract", text())])
}

/// A spread of times.
fn spread() -> Value {
    or_null(object(&[("count", count()), ("mean", number()), ("p50", number()), ("p95", number()), ("p99", number())]))
}

/// `/api/metrics/providers`
pub fn provider_metrics() -> Value {
    let numbers = [
        ("requests", count()),
        ("outcomes", map(count())),
        ("statuses", map(count())),
        ("tokens", map(count())),
        ("duration_ms", spread()),
        ("time_to_first_token_ms", spread()),
        ("time_per_output_token_ms", spread()),
    ];
    let attempts = object(&[("sent", count()), ("failed", count()), ("errors", map(count())), ("duration_ms", spread())]);
    let of_all = [("name", text()), ("models", map(object(&numbers))), ("attempts", attempts)];
    list(object(&[&numbers[..], &of_all[..]].concat()))
}

/// `/api/metrics/system`
pub fn system_metrics() -> Value {
    object(&[
        ("version", text()),
        ("uptime_seconds", number()),
        ("generation", count()),
        ("requests_in_flight", count()),
        ("streams_open", count()),
        ("cpu_seconds", number()),
        ("resident_memory_bytes", count()),
        ("virtual_memory_bytes", count()),
        ("threads", count()),
        ("open_files", count()),
        ("max_files", or_null(number())),
    ])
}

/// What the hooks of an extension cost.
fn stats() -> [(&'static str, Value); 4] {
    let hook = object(&[
        ("calls", count()),
        ("failures", count()),
        ("us", number()),
        ("guest_us", number()),
        ("host_us", number()),
        ("waited_us", number()),
        ("bytes_in", count()),
        ("bytes_out", count()),
    ]);
    [("hooks", map(hook)), ("peak_memory_bytes", count()), ("traps", json!({})), ("limits", json!({}))]
}

/// `/api/metrics/extensions`
pub fn extension_metrics() -> Value {
    list(object(&[&[("name", text()), ("version", text())], &stats()[..]].concat()))
}

/// `/api/metrics/racing`
pub fn racing() -> Value {
    let first_event = object(&[("average", or_null(number())), ("p50", or_null(number())), ("p95", or_null(number()))]);
    list(object(&[
        ("provider", text()),
        ("member", text()),
        ("model", text()),
        ("tries", count()),
        ("won", count()),
        ("lost", count()),
        ("failed", count()),
        ("win_rate", number()),
        ("first_event_ms", first_event),
    ]))
}

/// `/api/requests/{id}`
pub fn request() -> Value {
    let a_try = object(&[
        ("number", count()),
        ("provider", text()),
        ("model", text()),
        ("via", texts()),
        ("part", one_of(&["served", "failed", "lost", "cancelled"])),
        ("error", or_null(text())),
        ("input_tokens", or_null(count())),
        ("output_tokens", or_null(count())),
    ]);
    object(&[
        ("request_id", text()),
        ("outcome", text()),
        ("status", or_null(count())),
        ("format", text()),
        ("stream", boolean()),
        ("requested_model", text()),
        ("provider", or_null(text())),
        ("model", or_null(text())),
        ("error", or_null(object(&[("class", text()), ("message", text())]))),
        ("usage", or_null(json!({"type": "object"}))),
        ("tries", list(a_try)),
        ("duration_us", count()),
        ("extensions", list(object(&[("name", text()), ("hook", text()), ("calls", count()), ("us", number())]))),
    ])
}

fn some_version() -> Value {
    object(&[("version", text()), ("digest", text())])
}

fn extension_row() -> Vec<(&'static str, Value)> {
    vec![
        ("name", text()),
        ("version", text()),
        ("description", or_null(text())),
        ("digest", text()),
        ("bytes", count()),
        ("file", text()),
        ("hooks", texts()),
        ("capabilities", texts()),
        ("routes", list(object(&[("extension", text()), ("method", text()), ("path", text())]))),
        ("generation", count()),
        ("previous", or_null(some_version())),
        ("candidate", or_null(some_version())),
        ("recorded_calls", count()),
        ("stats", object(&stats())),
    ]
}

/// `/api/extensions`
pub fn extensions() -> Value {
    list(object(&extension_row()))
}

/// `/api/extensions/{name}`
pub fn extension() -> Value {
    object(&[extension_row(), vec![("imports", texts()), ("exports", texts()), ("limits", map(json!({})))]].concat())
}

/// What became of a swap, a promotion, a rollback or a reload.
pub fn attempt() -> Value {
    let step = object(&[("step", text()), ("outcome", one_of(&["passed", "refused", "skipped"])), ("ms", number()), ("detail", text())]);
    object(&[
        ("id", count()),
        ("trigger", one_of(&["start", "upload", "watch", "reload", "provider", "promote", "rollback", "automatic"])),
        ("extension", or_null(text())),
        ("provider", or_null(text())),
        ("from", or_null(text())),
        ("to", or_null(text())),
        ("digest", or_null(text())),
        ("rollout", one_of(&["active", "canary", "shadow"])),
        ("outcome", one_of(&["running", "published", "canary", "shadow", "refused", "rolled-back", "unchanged"])),
        ("reason", or_null(text())),
        ("generation", or_null(count())),
        ("started_ms", count()),
        ("duration_ms", number()),
        ("steps", list(step)),
        ("replay", or_null(json!({"type": "object"}))),
    ])
}

fn provider_row() -> Vec<(&'static str, Value)> {
    vec![("name", text()), ("type", text()), ("state", one_of(&["ok", "degraded", "down", "disabled"]))]
}

/// What is sent to `/api/providers/{name}`: the settings that are changed most are described, others are in the list of settings.
pub fn provider_settings() -> Value {
    let types: Vec<_> = types().chain(VIRTUAL_TYPES).collect();
    json!({
        "type": "object",
        "properties": {
            "type": or_null(one_of(&types)),
            "enabled": or_null(boolean()),
            "api_key": or_null(text()),
            "api_keys": or_null(texts()),
            "base_url": or_null(text()),
            "default_model": or_null(text()),
            "models": or_null(texts()),
        },
        "additionalProperties": {"description": "Any other setting of a provider, as the configuration file has it."},
    })
}

/// What only a native provider has.
fn native(row: &mut Value) {
    let members = [
        ("format", text()),
        ("address", or_null(text())),
        ("keys", count()),
        ("in_flight", count()),
        ("queued", count()),
        ("members", texts()),
    ];
    for (name, schema) in members {
        row["properties"][name] = schema;
    }
}

/// `/api/providers`
pub fn providers() -> Value {
    let mut row = object(&provider_row());
    native(&mut row);
    list(row)
}

/// `/api/providers/{name}`
pub fn provider() -> Value {
    let mut document = object(&[provider_row(), vec![("default_model", or_null(text())), ("changed", texts())]].concat());
    native(&mut document);
    document["properties"]["models"] = json!({"type": "object"});
    document["properties"]["headers"] = texts();
    document["properties"]["limits"] = map(or_null(number()));
    document
}

/// `/api/providers/{name}/health`
pub fn health() -> Value {
    let mut document = object(&[("name", text()), ("state", state())]);
    let members = [
        ("in_flight", count()),
        ("queued", count()),
        ("retries", count()),
        ("refused", count()),
        ("keys", or_null(list(json!({"type": "object"})))),
        ("breakers", list(json!({"type": "object"}))),
        ("probe", or_null(object(&[("ok", boolean()), ("took_ms", number()), ("at_ms", count())]))),
        ("models", map(json!({"type": "object"}))),
        ("members", map(state())),
    ];
    for (name, schema) in members {
        document["properties"][name] = schema;
    }
    document
}

/// `/api/providers/{name}/test`
pub fn tested() -> Value {
    json!({"type": "object"})
}

/// `/api/oauth/{provider}/status`
pub fn login() -> Value {
    let credential = object(&[
        ("credential", count()),
        ("state", one_of(&["ready", "stale", "expired", "set_aside", "foreign"])),
        ("reason", or_null(text())),
        ("expires_in_s", or_null(number())),
        ("refreshes", boolean()),
        ("refreshed", count()),
        ("obtained_at_ms", count()),
        ("scopes", texts()),
    ]);
    let mut going_on = object(&[("flow", flow()), ("expires_in_s", number())]);
    going_on["properties"]["user_code"] = text();
    going_on["properties"]["verification_url"] = text();
    let last = object(&[("at_ms", count()), ("ok", boolean()), ("credential", or_null(count())), ("error", or_null(text()))]);
    object(&[
        ("provider", text()),
        ("server", or_null(text())),
        ("client_id", text()),
        ("scopes", texts()),
        ("redirect_url", or_null(text())),
        ("credentials", list(credential)),
        ("unread", or_null(text())),
        ("logging_in", list(going_on)),
        ("last_login", or_null(last)),
    ])
}

fn flow() -> Value {
    one_of(&["code", "device"])
}

/// `/api/oauth`
pub fn logins() -> Value {
    list(login())
}

/// `/api/oauth/{provider}/initiate`
pub fn begun() -> Value {
    let mut begun = object(&[("flow", flow()), ("expires_in_s", count())]);
    for name in ["authorization_url", "redirect_url", "user_code", "verification_url"] {
        begun["properties"][name] = text();
    }
    begun["properties"]["verification_url_complete"] = or_null(text());
    begun
}

/// `/api/oauth/{provider}/refresh`
pub fn refreshed() -> Value {
    list(object(&[("credential", count()), ("refreshed", boolean()), ("error", or_null(text()))]))
}

/// `/api/oauth/{provider}/revoke`
pub fn revoked() -> Value {
    list(object(&[("credential", count()), ("at_server", or_null(boolean())), ("error", or_null(text()))]))
}

/// `/api/config`
pub fn config() -> Value {
    let problem = object(&[("severity", one_of(&["error", "warning"])), ("place", text()), ("path", text()), ("message", text())]);
    object(&[
        ("file", text()),
        ("text", text()),
        ("valid", boolean()),
        ("changed", boolean()),
        ("after_restart", texts()),
        ("problems", list(problem)),
    ])
}

/// `/api/generations`
pub fn generations() -> Value {
    let generation = object(&[
        ("number", count()),
        ("state", one_of(&["active", "canary", "pinned", "fallback", "draining"])),
        ("extensions", map(text())),
    ]);
    let shadow = object(&[("extension", text()), ("version", text()), ("comparison", json!({"type": "object"}))]);
    object(&[
        ("current", count()),
        ("generations", list(generation)),
        ("shadow", or_null(shadow)),
        ("extensions_in_memory", json!({})),
        ("history", list(attempt())),
    ])
}
