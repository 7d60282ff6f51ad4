//! What the host answers itself: liveness, and what operators see and change.

mod extensions;
mod generations;
mod providers;
mod query;

use std::sync::Arc;

use axum::body::Body;
use axum::response::Response;
use http::header::{ACCEPT, ALLOW, CONTENT_TYPE};
use http::request::Parts;
use http::{HeaderValue, Method, StatusCode};
use hyper::body::Incoming as HyperBody;
use serde::Serialize;
use serde_json::{Value, json};

use super::auth;
use super::serve::{self, Site};
use crate::deploy::Denied;
use crate::deploy::attempt::{Attempt, Outcome, Trigger};
use crate::telemetry::{metrics, summary};

/// Paths of the host. Other paths under `/api/` are free for extensions.
pub enum Inside {
    /// `/health`, for everybody.
    Health,
    /// `/metrics`
    Metrics,
    /// `/api/metrics/providers`
    ProviderMetrics,
    /// `/api/metrics/system`
    SystemMetrics,
    /// `/api/metrics/extensions`
    ExtensionMetrics,
    /// `/api/requests/{id}`
    Request(String),
    /// `/api/extensions`
    Extensions,
    /// `/api/extensions/{name}`
    Extension(String),
    /// `/api/extensions/{name}/promote`
    Promote(String),
    /// `/api/extensions/{name}/rollback`
    RollBack(String),
    /// `/api/providers`
    Providers,
    /// `/api/providers/{name}`
    Provider(String),
    /// `/api/providers/{name}/health`
    ProviderHealth(String),
    /// `/api/providers/{name}/test`
    ProviderTest(String),
    /// `/api/generations`
    Generations,
    /// `/api/metrics/racing`
    Racing,
    /// `/api/config/reload`
    Reload,
}

impl Inside {
    /// What a path is, if it is one of the host's.
    pub fn of(path: &str) -> Option<Self> {
        match path {
            "/health" => return Some(Self::Health),
            "/metrics" => return Some(Self::Metrics),
            _ => {}
        }
        let parts: Vec<&str> = path.strip_prefix("/api/")?.split('/').collect();
        Some(match parts.as_slice() {
            ["metrics", "providers"] => Self::ProviderMetrics,
            ["metrics", "system"] => Self::SystemMetrics,
            ["metrics", "extensions"] => Self::ExtensionMetrics,
            ["requests", id] => Self::Request((*id).to_owned()),
            ["extensions"] => Self::Extensions,
            ["extensions", name] => Self::Extension((*name).to_owned()),
            ["extensions", name, "promote"] => Self::Promote((*name).to_owned()),
            ["extensions", name, "rollback"] => Self::RollBack((*name).to_owned()),
            ["providers"] => Self::Providers,
            ["providers", name] => Self::Provider((*name).to_owned()),
            ["providers", name, "health"] => Self::ProviderHealth((*name).to_owned()),
            ["providers", name, "test"] => Self::ProviderTest((*name).to_owned()),
            ["generations"] => Self::Generations,
            ["metrics", "racing"] => Self::Racing,
            ["config", "reload"] => Self::Reload,
            _ => return None,
        })
    }

    fn methods(&self) -> &'static [Method] {
        match self {
            Self::Health | Self::Metrics | Self::Request(_) | Self::Extensions | Self::Generations | Self::Racing => &[Method::GET],
            Self::ProviderMetrics | Self::SystemMetrics | Self::ExtensionMetrics => &[Method::GET],
            Self::Providers | Self::Provider(_) | Self::ProviderHealth(_) => &[Method::GET],
            Self::Extension(_) => &[Method::GET, Method::PUT],
            Self::Promote(_) | Self::RollBack(_) | Self::Reload | Self::ProviderTest(_) => &[Method::POST],
        }
    }
}

/// The answer. What tells about the inside or changes it is not for everybody.
pub async fn answer(site: &Site, inside: Inside, head: &Parts, body: HyperBody) -> Response {
    if let Inside::Health = inside {
        return serve::json(StatusCode::OK, &json!({"status": "ok"}));
    }
    if let Err(refusal) = auth::check(site, head) {
        return auth::refuse(&refusal);
    }
    if !inside.methods().contains(&head.method) {
        let methods = inside.methods().iter().map(Method::as_str).collect::<Vec<_>>().join(", ");
        let mut response = failure(StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed", &format!("Use {methods}."), &Value::Null);
        response.headers_mut().extend(HeaderValue::try_from(methods).map(|m| (ALLOW, m)));
        return response;
    }
    let deploy = &site.gateway.deploy;
    match inside {
        Inside::Health => unreachable!("answered above"),
        Inside::Metrics => page(&site.gateway.metrics, head),
        Inside::ProviderMetrics => success(&summary::providers(&site.gateway)),
        Inside::SystemMetrics => success(&summary::system(&site.gateway)),
        Inside::ExtensionMetrics => success(&summary::extensions(&site.gateway)),
        Inside::Request(id) => match site.gateway.recent.find(&id) {
            Some(data) => success(&data),
            None => not_found("No such request is remembered; only the last ones are."),
        },
        Inside::Extensions => success(&extensions::list(deploy)),
        Inside::Extension(name) if head.method == Method::PUT => extensions::put(deploy, name, head, body).await,
        Inside::Extension(name) => match extensions::one(deploy, &name) {
            Some(data) => success(&data),
            None => not_found(&format!("There is no extension `{name}`; `GET /api/extensions` lists them.")),
        },
        Inside::Promote(name) => {
            let deploy = Arc::clone(deploy);
            to_its_end(async move { deploy.promote(&name).await }).await
        }
        Inside::RollBack(name) => {
            let deploy = Arc::clone(deploy);
            to_its_end(async move { deploy.roll_back(&name).await }).await
        }
        Inside::Providers => success(&providers::list(deploy)),
        Inside::Provider(name) => provider(providers::one(deploy, &name), &name),
        Inside::ProviderHealth(name) => provider(providers::health(deploy, &name), &name),
        Inside::ProviderTest(name) => providers::test(deploy, &name, head).await,
        Inside::Generations => success(&generations::show(deploy)),
        Inside::Racing => success(&site.gateway.performance().show()),
        Inside::Reload => {
            let deploy = Arc::clone(deploy);
            let reload = async move {
                match deploy.reload(Trigger::Reload).await {
                    attempt if attempt.outcome == Outcome::Refused => Err(Denied::Refused(Box::new(attempt))),
                    attempt => Ok(attempt),
                }
            };
            to_its_end(reload).await
        }
    }
}

/// The page of metrics, in the older format for a scraper that wants plain text and does not know the newer one.
fn page(metrics: &metrics::Page, head: &Parts) -> Response {
    let wanted = head.headers.get(ACCEPT).and_then(|a| a.to_str().ok()).unwrap_or_default();
    let (content_type, text) = if wanted.contains("text/plain") && !wanted.contains("openmetrics") {
        (metrics::TEXT_CONTENT_TYPE, metrics.render_text())
    } else {
        (metrics::CONTENT_TYPE, metrics.render())
    };
    let mut page = Response::new(Body::from(text));
    page.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    page
}

/// An attempt ends as it would when whoever began it goes away.
async fn to_its_end(attempt: impl Future<Output = Result<Attempt, Denied>> + Send + 'static) -> Response {
    match tokio::spawn(attempt).await {
        Ok(result) => attempted(&result),
        Err(_) => failure(StatusCode::INTERNAL_SERVER_ERROR, "internal", "The attempt failed; the log says how.", &Value::Null),
    }
}

/// What became of an attempt, as a response.
fn attempted(result: &Result<Attempt, Denied>) -> Response {
    let (status, document) = attempt_document(result);
    serve::json(status, &document)
}

/// The same as status and document.
fn attempt_document(result: &Result<Attempt, Denied>) -> (StatusCode, Value) {
    let denied = match result {
        Ok(attempt) => return (StatusCode::OK, json!({"success": true, "data": attempt})),
        Err(denied) => denied,
    };
    let (status, code) = match denied {
        Denied::Unknown { .. } => (StatusCode::NOT_FOUND, "not_found"),
        Denied::Busy { .. } => (StatusCode::CONFLICT, "busy"),
        Denied::Failed { .. } => (StatusCode::CONFLICT, "failed"),
        Denied::NothingToPromote(_) => (StatusCode::CONFLICT, "nothing_to_promote"),
        Denied::NothingBefore(_) => (StatusCode::CONFLICT, "nothing_to_roll_back"),
        Denied::Refused(_) => (StatusCode::UNPROCESSABLE_ENTITY, "refused"),
    };
    let details = match denied {
        Denied::Refused(attempt) => serde_json::to_value(attempt).unwrap_or_default(),
        _ => Value::Null,
    };
    (status, failure_document(code, &denied.to_string(), &details))
}

/// What is told of a provider, if there is one.
fn provider(data: Option<Value>, name: &str) -> Response {
    match data {
        Some(data) => success(&data),
        None => not_found(&format!("There is no provider `{name}`; `GET /api/providers` lists them.")),
    }
}

fn success(data: &impl Serialize) -> Response {
    serve::json(StatusCode::OK, &json!({"success": true, "data": data}))
}

fn not_found(message: &str) -> Response {
    failure(StatusCode::NOT_FOUND, "not_found", message, &Value::Null)
}

fn failure(status: StatusCode, code: &str, message: &str, details: &Value) -> Response {
    serve::json(status, &failure_document(code, message, details))
}

fn failure_document(code: &str, message: &str, details: &Value) -> Value {
    match details {
        Value::Null => json!({"success": false, "error": {"code": code, "message": message}}),
        details => json!({"success": false, "error": {"code": code, "message": message, "details": details}}),
    }
}
