//! `/api/oauth`: logging in to providers, how that is, and taking it back. No answer has a token in it.
//!
//! The callback is the only path here that needs no password: browsers have none. What it may do was decided by whoever began the login, and
//! what comes with it is not repeated on the page.

use std::sync::Arc;

use axum::body::Body;
use axum::response::Response;
use http::header::{CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, REFERRER_POLICY, X_CONTENT_TYPE_OPTIONS, X_FRAME_OPTIONS};
use http::request::Parts;
use http::{HeaderValue, Method, StatusCode};
use serde_json::{Value, json};

use super::{not_found, provider};
use crate::config::Secret;
use crate::deploy::Deploy;
use crate::ingress::wrapped::Wrapped;
use crate::providers::oauth::{CallbackError, Failure, Flow, Login, Returned};
use crate::storage::Closed;

/// All providers that are logged in to.
pub fn list(deploy: &Deploy) -> Value {
    let live = deploy.live();
    let logins = live.stable.providers.entries().filter_map(|e| Some(e.provider.credentials()?.login()?.shown()));
    Value::Array(logins.collect())
}

/// How one is.
pub fn status(deploy: &Deploy, name: &str) -> Wrapped {
    find(deploy, name).map_or_else(|refused| *refused, |login| Wrapped::data(&login.shown()))
}

/// Begins a login. `?flow=device` for another device, `?credential=N` in the place of one that is there.
pub async fn initiate(deploy: &Deploy, name: &str, head: &Parts) -> Wrapped {
    let login = match find(deploy, name) {
        Ok(login) => login,
        Err(refused) => return *refused,
    };
    let (flow, number) = match query(head, true) {
        Ok(asked) => asked,
        Err(message) => return Wrapped::error(StatusCode::BAD_REQUEST, "bad_request", &message),
    };
    if let Err(closed) = login.known() {
        return logins_unread(closed);
    }
    if let Some(number) = number.filter(|n| !login.has(*n)) {
        return no_credential(&login, number);
    }
    match login.begin_login(flow, number).await {
        Ok(begun) => Wrapped::data(&begun.0).with_header(CACHE_CONTROL, HeaderValue::from_static("no-store")),
        Err(failure) => failed(&login, &failure),
    }
}

/// A browser is back from logging in.
pub async fn callback(deploy: &Deploy, name: &str, head: &Parts) -> Response {
    if head.method == Method::HEAD {
        // Programs that look at addresses send it; it must not use up the login.
        return page(StatusCode::OK, "Logging in", "This is where a browser comes back to after logging in.");
    }
    let Ok(login) = find(deploy, name) else {
        return page(StatusCode::NOT_FOUND, "Not found", "Nobody logs in here: the gateway has no such provider, or one without OAuth.");
    };
    let mut returned = Returned::default();
    for (field, value) in form_urlencoded::parse(head.uri.query().unwrap_or_default().as_bytes()) {
        let value = value.into_owned();
        // Servers add fields of their own.
        match &*field {
            "state" => returned.state = value,
            "code" => returned.code = Some(Secret::new(value)),
            "error" => returned.error = Some(value),
            "error_description" => returned.error_description = Some(value),
            "iss" => returned.issuer = Some(value),
            _ => {}
        }
    }
    match login.returned(returned).await {
        Ok(_) => page(StatusCode::OK, "Logged in", "The gateway is logged in. You can close this page."),
        Err(CallbackError::Unknown) => page(
            StatusCode::BAD_REQUEST,
            "Not logged in",
            "This login is not known: it took too long, it was finished already, or the gateway was started anew. Begin it again.",
        ),
        Err(CallbackError::Mixed) => page(
            StatusCode::BAD_REQUEST,
            "Not logged in",
            "Another authorization server answered than the one that was asked. Begin the login again, and check the provider's <code>issuer</code>.",
        ),
        // One of the words that the gateway knows, never what the browser brought.
        Err(CallbackError::Denied(code)) => {
            let text = format!("The authorization server did not let the gateway in. It says: <code>{code}</code>.");
            page(StatusCode::BAD_REQUEST, "Not logged in", &text)
        }
        Err(CallbackError::Failed) => page(
            StatusCode::BAD_GATEWAY,
            "Not logged in",
            "The authorization server gave no tokens for this login. The gateway's log says why.",
        ),
    }
}

/// Exchanges tokens for new ones now: those of one credential, or of all.
pub async fn refresh(deploy: &Deploy, name: &str, head: &Parts) -> Wrapped {
    let nobody = find(deploy, name).is_ok_and(|login| login.known().is_ok() && login.credentials().is_empty());
    let (login, number) = match asked(deploy, name, head) {
        Err(refused) if !nobody || refused.status == StatusCode::BAD_REQUEST => return *refused,
        Ok(asked) if !nobody => asked,
        _ => {
            let message = format!("Nobody is logged in to `{name}` yet; begin with `GET /api/oauth/{name}/initiate`.");
            return Wrapped::error(StatusCode::CONFLICT, "not_logged_in", &message);
        }
    };
    let credentials = login.credentials().into_iter().filter(|c| number.is_none_or(|n| n == c.number)).collect::<Vec<_>>();
    let mut outcomes = Vec::new();
    for credential in &credentials {
        let error = login.refresh(credential).await.err();
        outcomes.push(json!({"credential": credential.number, "refreshed": error.is_none(), "error": error}));
    }
    if outcomes.iter().any(|o| o["refreshed"] == true) {
        return Wrapped::data(&outcomes);
    }
    let message = format!("No token of `{name}` could be exchanged for a new one.");
    Wrapped::error(StatusCode::BAD_GATEWAY, "refresh_failed", &message).with_details(outcomes)
}

/// Takes back one credential, or all.
pub async fn revoke(deploy: &Deploy, name: &str, head: &Parts) -> Wrapped {
    let (login, number) = match asked(deploy, name, head) {
        Ok(asked) => asked,
        Err(refused) => return *refused,
    };
    let revoked = login.revoke(number).await.into_iter().map(|revoked| {
        let error = revoked.at_server.as_ref().and_then(|r| r.as_ref().err()).map(|f| format!("The authorization server {f}."));
        json!({"credential": revoked.number, "at_server": revoked.at_server.map(|r| r.is_ok()), "error": error})
    });
    Wrapped::data(&revoked.collect::<Vec<_>>())
}

/// The login of a provider, and which credential the query names.
fn asked(deploy: &Deploy, name: &str, head: &Parts) -> Result<(Arc<Login>, Option<u32>), Box<Wrapped>> {
    let login = find(deploy, name)?;
    let (_, number) = query(head, false).map_err(|message| Wrapped::error(StatusCode::BAD_REQUEST, "bad_request", &message))?;
    login.known().map_err(logins_unread)?;
    match number.filter(|n| !login.has(*n)) {
        Some(number) => Err(Box::new(no_credential(&login, number))),
        None => Ok((login, number)),
    }
}

/// The login of a provider, if it has one. No generation is held while its server takes its time.
fn find(deploy: &Deploy, name: &str) -> Result<Arc<Login>, Box<Wrapped>> {
    let live = deploy.live();
    let providers = &live.stable.providers;
    let Some(entry) = providers.find(name) else {
        let is_virtual = providers.virtuals().find(name).is_some();
        return Err(Box::new(if is_virtual { no_oauth(name) } else { provider(None, name) }));
    };
    let login = entry.provider.credentials().and_then(|c| c.login().cloned());
    login.ok_or_else(|| Box::new(no_oauth(name)))
}

/// The answer while nobody knows who is logged in.
pub fn logins_unread(closed: Closed) -> Wrapped {
    Wrapped::error(StatusCode::SERVICE_UNAVAILABLE, "logins_unread", &format!("What is kept of logins {closed}."))
}

fn no_oauth(name: &str) -> Wrapped {
    let message = format!("Nobody logs in to the provider `{name}`: it has no section `oauth`.");
    Wrapped::error(StatusCode::CONFLICT, "no_oauth", &message)
}

fn no_credential(login: &Login, number: u32) -> Wrapped {
    let name = &login.provider;
    not_found(&format!("The provider `{name}` has no credential {number}; `GET /api/oauth/{name}/status` lists them."))
}

fn failed(login: &Login, failure: &Failure) -> Wrapped {
    let (name, message) = (&login.provider, format!("The authorization server of `{}` {failure}.", login.provider));
    match failure {
        Failure::Impossible(_) => Wrapped::error(StatusCode::CONFLICT, "not_configured", &message).with_details(json!({"provider": name})),
        Failure::Closed(closed) => logins_unread(*closed),
        Failure::Refused(_) | Failure::Failed(_) => Wrapped::error(StatusCode::BAD_GATEWAY, "authorization_server_failed", &message),
    }
}

/// What a query asks for; the error says which word is wrong.
fn query(head: &Parts, flows: bool) -> Result<(Flow, Option<u32>), String> {
    let (mut flow, mut number) = (Flow::Code, None);
    for (field, value) in form_urlencoded::parse(head.uri.query().unwrap_or_default().as_bytes()) {
        match (&*field, &*value) {
            ("flow", "code") if flows => flow = Flow::Code,
            ("flow", "device") if flows => flow = Flow::Device,
            ("flow", other) if flows => return Err(format!("`flow={other}` is none of `code`, `device`.")),
            ("credential", value) => {
                let read = value.parse().ok().filter(|n| *n > 0);
                number = Some(read.ok_or_else(|| format!("`credential={value}` is no number of a credential; the first one is 1."))?);
            }
            (other, _) => {
                let known = if flows { "`flow` and `credential`" } else { "`credential`" };
                return Err(format!("The query has `{other}`; known are {known}."));
            }
        }
    }
    Ok((flow, number))
}

/// A page for a browser: no script, no picture, and nothing that came from outside.
fn page(status: StatusCode, title: &str, text: &str) -> Response {
    let html =
        format!("<!doctype html><html lang=\"en\"><meta charset=\"utf-8\"><title>{title}</title><h1>{title}</h1><p>{text}</p></html>\n");
    let mut response = Response::new(Body::from(html));
    *response.status_mut() = status;
    for (name, value) in [
        (CONTENT_TYPE, "text/html; charset=utf-8"),
        (CONTENT_SECURITY_POLICY, "default-src 'none'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'"),
        (X_FRAME_OPTIONS, "DENY"),
        (X_CONTENT_TYPE_OPTIONS, "nosniff"),
        // The address of this page has the code in it.
        (REFERRER_POLICY, "no-referrer"),
        (CACHE_CONTROL, "no-store"),
    ] {
        response.headers_mut().insert(name, HeaderValue::from_static(value));
    }
    response
}
