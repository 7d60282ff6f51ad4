//! What the host answers itself: liveness, and what operators see and change.

mod config;
mod extensions;
mod generations;
mod oauth;
mod openapi;
mod paths;
mod providers;
mod query;
mod schemas;
mod status;

use std::sync::Arc;

use axum::body::Body;
use axum::response::Response;
use http::header::{ACCEPT, ALLOW, CONTENT_TYPE};
use http::request::Parts;
use http::{HeaderValue, Method, StatusCode};
use hyper::body::Incoming as HyperBody;
use paths::{Inside, Path};
use serde_json::{Value, json};

use super::auth;
use super::serve::{self, Site};
use super::wrapped::Wrapped;
use crate::config::Problem;
use crate::deploy::Denied;
use crate::deploy::attempt::{Attempt, Outcome, Trigger};
use crate::telemetry::{metrics, summary};

/// A request for a path of the host.
pub struct Asked {
    path: &'static Path,
    /// What stands in the place of the path's parameter.
    name: String,
}

impl Asked {
    /// What a path asks for, if it is one of the host's. Other paths under `/api/` are free for extensions.
    pub fn at(path: &str) -> Option<Self> {
        let (path, name) = Path::find(path)?;
        Some(Self { path, name })
    }
}

/// The answer. What tells about the inside or changes it is not for everybody.
pub async fn answer(site: &Site, asked: Asked, id: &str, head: &Parts, body: HyperBody) -> Response {
    let Asked { path, name } = asked;
    if !path.is_open()
        && let Err(refusal) = auth::check(site, head)
    {
        return auth::refuse(&refusal).into_response(id);
    }
    // A HEAD is a GET whose body is not sent.
    let method = if head.method == Method::HEAD { &Method::GET } else { &head.method };
    if path.operations.iter().all(|o| o.method != method) {
        let methods = path.operations.iter().map(|o| o.method.as_str()).collect::<Vec<_>>().join(", ");
        let refused = Wrapped::error(StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed", &format!("Use {methods}."));
        let allow = HeaderValue::try_from(methods).unwrap_or_else(|_| HeaderValue::from_static("GET"));
        return refused.with_header(ALLOW, allow).into_response(id);
    }
    let deploy = &site.gateway.deploy;
    let wrapped = match path.inside {
        Inside::Health => return status::alive(),
        Inside::Ready => return status::ready(&site.gateway),
        Inside::OpenApi => return serve::json(StatusCode::OK, &openapi::document()),
        Inside::Metrics => return page(&site.gateway.metrics, head),
        Inside::Status => Wrapped::data(&status::status(&site.gateway)),
        Inside::Version => Wrapped::data(&status::version()),
        Inside::ProviderMetrics => Wrapped::data(&summary::providers(&site.gateway)),
        Inside::SystemMetrics => Wrapped::data(&summary::system(&site.gateway)),
        Inside::ExtensionMetrics => Wrapped::data(&summary::extensions(&site.gateway)),
        Inside::Request => match site.gateway.recent.find(&name) {
            Some(data) => Wrapped::data(&data),
            None => not_found("No such request is remembered; only the last ones are."),
        },
        Inside::Extensions => Wrapped::data(&extensions::list(deploy)),
        Inside::Extension if method == Method::PUT => return extensions::put(deploy, name, id, head, body).await,
        Inside::Extension => match extensions::one(deploy, &name) {
            Some(data) => Wrapped::data(&data),
            None => not_found(&format!("There is no extension `{name}`; `GET /api/extensions` lists them.")),
        },
        Inside::Promote => {
            let deploy = Arc::clone(deploy);
            to_its_end(async move { deploy.promote(&name).await }).await
        }
        Inside::RollBack => {
            let deploy = Arc::clone(deploy);
            to_its_end(async move { deploy.roll_back(&name).await }).await
        }
        Inside::Providers => Wrapped::data(&providers::list(deploy)),
        Inside::Provider if method == Method::PUT => providers::put(deploy, name, body).await,
        Inside::Provider if method == Method::DELETE => providers::reset(deploy, name).await,
        Inside::Provider => provider(providers::one(deploy, &name), &name),
        Inside::ProviderHealth => provider(providers::health(deploy, &name), &name),
        Inside::ProviderTest => providers::test(deploy, &name, head).await,
        Inside::Logins => Wrapped::data(&oauth::list(deploy)),
        Inside::LoginStatus => oauth::status(deploy, &name),
        Inside::Initiate => oauth::initiate(deploy, &name, head).await,
        Inside::Callback => return oauth::callback(deploy, &name, head).await,
        Inside::Refresh => {
            let (deploy, head) = (Arc::clone(deploy), head.clone());
            ends_anyway(async move { oauth::refresh(&deploy, &name, &head).await }).await
        }
        Inside::Revoke => {
            let (deploy, head) = (Arc::clone(deploy), head.clone());
            ends_anyway(async move { oauth::revoke(&deploy, &name, &head).await }).await
        }
        Inside::Generations => Wrapped::data(&generations::show(deploy)),
        Inside::Racing => Wrapped::data(&site.gateway.performance().show()),
        Inside::Config => config::show(deploy).await,
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
    };
    wrapped.into_response(id)
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
async fn to_its_end(attempt: impl Future<Output = Result<Attempt, Denied>> + Send + 'static) -> Wrapped {
    match tokio::spawn(attempt).await {
        Ok(result) => attempted(&result),
        Err(_) => Wrapped::error(StatusCode::INTERNAL_SERVER_ERROR, "internal", "The attempt failed; the log says how."),
    }
}

/// What was begun goes on when whoever began it goes away.
async fn ends_anyway(work: impl Future<Output = Wrapped> + Send + 'static) -> Wrapped {
    let failed = |_| Wrapped::error(StatusCode::INTERNAL_SERVER_ERROR, "internal", "It failed; the log says how.");
    tokio::spawn(work).await.unwrap_or_else(failed)
}

/// What became of an attempt.
fn attempted(result: &Result<Attempt, Denied>) -> Wrapped {
    let denied = match result {
        Ok(attempt) => return Wrapped::data(attempt),
        Err(denied) => denied,
    };
    let (status, code) = match denied {
        Denied::Unknown { .. } => (StatusCode::NOT_FOUND, "not_found"),
        Denied::Busy { .. } => (StatusCode::CONFLICT, "busy"),
        Denied::Failed { .. } => (StatusCode::CONFLICT, "failed"),
        Denied::NothingToPromote(_) => (StatusCode::CONFLICT, "nothing_to_promote"),
        Denied::NothingBefore(_) => (StatusCode::CONFLICT, "nothing_to_roll_back"),
        Denied::NothingChanged(_) => (StatusCode::NOT_FOUND, "nothing_changed"),
        Denied::Wrong(_) => (StatusCode::UNPROCESSABLE_ENTITY, "wrong_settings"),
        Denied::Refused(_) => (StatusCode::UNPROCESSABLE_ENTITY, "refused"),
    };
    let refused = Wrapped::error(status, code, &denied.to_string());
    match denied {
        Denied::Refused(attempt) => refused.with_details(serde_json::to_value(attempt).unwrap_or_default()),
        Denied::Wrong(problems) => {
            let problem = |p: &Problem| json!({"path": p.path, "place": p.place, "message": p.message});
            refused.with_details(json!({"problems": problems.iter().map(problem).collect::<Vec<_>>()}))
        }
        _ => refused,
    }
}

/// What is told of a provider, if there is one.
fn provider(data: Option<Value>, name: &str) -> Wrapped {
    match data {
        Some(data) => Wrapped::data(&data),
        None => not_found(&format!("There is no provider `{name}`; `GET /api/providers` lists them.")),
    }
}

fn not_found(message: &str) -> Wrapped {
    Wrapped::error(StatusCode::NOT_FOUND, "not_found", message)
}
