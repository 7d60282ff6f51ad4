//! Who uses a route that an extension answers by itself, and which models there are for them.
//!
//! The host knows neither keys nor aliases. An extension that does says so in its manifest (`identity`, `catalogue`), and the host asks it
//! through its `wasi:http` export: in decision 13 stands why there is no interface of its own for that. What the handler is told in header
//! fields, a client cannot say: those fields are taken off whatever arrives.

use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use http::request::Parts;
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};
use http_body_util::{BodyExt as _, Limited};
use llm_codec::hub::{ChatError, ErrorClass};
use serde::{Deserialize, Serialize};

use super::{Caller, Context, HttpCaller, Incoming, guest_http};
use crate::extensions::{Access, Extension, imports};

/// Tells a handler who the caller is: a JSON object with at least a `name`, as the extension that knows keys gave it.
const CALLER: HeaderName = HeaderName::from_static("x-wasmgate-caller");

/// Tells a handler that the request may use the operators' interface, and that nobody's key came with it.
const OPERATOR: HeaderName = HeaderName::from_static("x-wasmgate-operator");

/// Longest answer of an extension that is asked here, in bytes.
const MAX_ANSWER: usize = 4 << 20;

/// Longest description of a caller, in bytes.
const MAX_CALLER: usize = 4 << 10;

/// A model that can be asked for.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Offered {
    /// The name to ask with.
    id: String,
    /// Who offers it; empty where that is open.
    #[serde(default)]
    provider: String,
    /// What the provider calls it.
    model: String,
}

/// What a catalogue is asked, and what it answers.
#[derive(Serialize, Deserialize)]
struct Catalogue {
    /// Who asks; `null` when nobody's key came with it.
    #[serde(default, skip_serializing_if = "serde_json::Value::is_null")]
    caller: serde_json::Value,
    models: Vec<Offered>,
}

/// Why an extension does not know a caller.
#[derive(Deserialize)]
struct Refusal {
    message: String,
    #[serde(default)]
    code: Option<String>,
    #[serde(default)]
    retry_after_ms: Option<u64>,
}

/// Lets a request through to a handler, with what the handler is told about it, or says why not.
pub async fn admit(
    context: &Context,
    id: &str,
    extension: &Arc<Extension>,
    mut incoming: Incoming,
    operator: bool,
) -> Result<Incoming, ChatError> {
    incoming.head.headers.remove(&CALLER);
    incoming.head.headers.remove(&OPERATOR);
    let caller = match extension.manifest.access {
        Access::Open => None,
        Access::Operator if operator => None,
        Access::Operator => {
            let message = "This is for operators: programs of this machine, when `server.host` is a loopback address.";
            return Err(ChatError::new(ErrorClass::Permission, message));
        }
        Access::Caller => {
            let keys = context.generation.extensions.all().iter().find(|e| e.manifest.identity.is_some());
            match keys {
                Some(keys) => identify(context, id, keys, &incoming.head, operator).await?,
                None => None,
            }
        }
    };
    let headers = &mut incoming.head.headers;
    match &caller {
        Some(caller) => drop(headers.insert(CALLER, caller.clone())),
        None if operator && extension.manifest.access != Access::Open => drop(headers.insert(OPERATOR, HeaderValue::from_static("true"))),
        None => {}
    }
    if extension.manifest.models && incoming.head.method == Method::GET {
        let list = offered(context, id, caller.as_ref()).await?;
        let body = serde_json::to_vec(&Catalogue { caller: serde_json::Value::Null, models: list }).unwrap_or_default();
        return Ok(Incoming::opaque(incoming.head, incoming.path_params, incoming.received, body.into()));
    }
    Ok(incoming)
}

/// Who a request is of, as the extension that knows keys says. Nobody is an error, unless it is the operator.
async fn identify(
    context: &Context,
    id: &str,
    keys: &Arc<Extension>,
    head: &Parts,
    operator: bool,
) -> Result<Option<HeaderValue>, ChatError> {
    let path = keys.manifest.identity.as_deref().unwrap_or_default();
    let uri = match head.uri.query() {
        Some(query) => format!("{path}?{query}"),
        None => path.to_owned(),
    };
    let (status, body) = ask(context, id, keys, Method::GET, &uri, head.headers.clone(), Bytes::new()).await?;
    match status {
        StatusCode::OK if body.len() <= MAX_CALLER => {
            // Control characters are written as escapes in JSON, so it is the value of a field.
            let known = serde_json::from_slice::<serde_json::Value>(&body).ok().filter(|c| c["name"].is_string());
            let value = known.and_then(|c| HeaderValue::from_bytes(c.to_string().as_bytes()).ok());
            value.map(Some).ok_or_else(|| broken(keys, "it did not say who the caller is"))
        }
        StatusCode::NO_CONTENT if operator => Ok(None),
        StatusCode::NO_CONTENT => Err(ChatError::new(ErrorClass::Authentication, "No API key came with the request.")),
        StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN | StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE => {
            let refusal: Refusal = serde_json::from_slice(&body).map_err(|_| broken(keys, "it did not say why a caller is refused"))?;
            let class = match status {
                StatusCode::UNAUTHORIZED => ErrorClass::Authentication,
                StatusCode::FORBIDDEN => ErrorClass::Permission,
                StatusCode::TOO_MANY_REQUESTS => ErrorClass::RateLimited,
                _ => ErrorClass::Overloaded,
            };
            let (status, code) = (Some(status.as_u16()), refusal.code);
            Err(ChatError { status, code, retry_after_ms: refusal.retry_after_ms, ..ChatError::new(class, refusal.message) })
        }
        _ => Err(broken(keys, "it does not answer who a caller is")),
    }
}

/// The models that a caller may use. Extensions are asked in reverse order: the first to see a request has the last word, as it has of answers.
async fn offered(context: &Context, id: &str, caller: Option<&HeaderValue>) -> Result<Vec<Offered>, ChatError> {
    let mut models: Vec<Offered> = Vec::new();
    let providers = &context.generation.providers;
    for provider in imports::providers::all(providers) {
        let is_virtual = providers.virtuals().find(&provider.name).is_some();
        let names = if provider.models.is_empty() { provider.default_model.into_iter().collect() } else { provider.models };
        let prefix = format!("{}/", provider.name);
        for name in names {
            let taken = models.iter().any(|m| m.id == name);
            let id = if taken { format!("{prefix}{name}") } else { name.clone() };
            // A virtual provider's models bear its name already.
            let model = name.strip_prefix(&prefix).filter(|_| is_virtual).unwrap_or(&name).to_owned();
            models.push(Offered { id, provider: provider.name.clone(), model });
        }
    }
    let caller = caller.and_then(|c| serde_json::from_slice(c.as_bytes()).ok()).unwrap_or(serde_json::Value::Null);
    for extension in context.generation.extensions.all().iter().rev() {
        let Some(path) = &extension.manifest.catalogue else { continue };
        let asked = Catalogue { caller: caller.clone(), models };
        let body = serde_json::to_vec(&asked).unwrap_or_default();
        let mut headers = HeaderMap::new();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
        let (status, body) = ask(context, id, extension, Method::POST, path, headers, body.into()).await?;
        if status == StatusCode::SERVICE_UNAVAILABLE {
            let error = ChatError::new(ErrorClass::Overloaded, "It is not known yet which models there are; try again in a moment.");
            return Err(ChatError { status: Some(503), retry_after_ms: Some(1000), ..error });
        }
        let answer: Option<Catalogue> = serde_json::from_slice(&body).ok().filter(|_| status == StatusCode::OK);
        models = answer.ok_or_else(|| broken(extension, "it does not answer with a list of models"))?.models;
    }
    Ok(models)
}

/// Asks the `http` export of an extension, in the name of a request.
async fn ask(
    context: &Context,
    id: &str,
    extension: &Arc<Extension>,
    method: Method,
    uri: &str,
    headers: HeaderMap,
    body: Bytes,
) -> Result<(StatusCode, Bytes), ChatError> {
    let (mut head, ()) = http::Request::new(()).into_parts();
    head.method = method;
    head.uri = uri.parse().map_err(|_| broken(extension, "the path in its manifest is none"))?;
    head.headers = headers;
    head.headers.remove(header::CONTENT_LENGTH);
    head.headers.remove(header::TRANSFER_ENCODING);
    let caller =
        HttpCaller { context: context.clone(), id: id.to_owned(), head: head.clone(), budget: Arc::default(), depth: 0, operator: false };
    let incoming = Incoming::opaque(head, Vec::new(), Instant::now(), body);
    let response = guest_http::call(extension, incoming, Caller::Http(Arc::new(caller))).await?;
    let status = response.status();
    let body = Limited::new(response.into_body(), MAX_ANSWER).collect().await;
    Ok((status, body.map_err(|_| broken(extension, "its answer broke off or is too long"))?.to_bytes()))
}

/// The error of an extension that does not do what its manifest says. The caller learns nothing of it.
fn broken(extension: &Extension, what: &str) -> ChatError {
    tracing::error!(extension = extension.name(), what, "an extension was asked about a caller and failed");
    ChatError::new(ErrorClass::Internal, "An extension of the gateway failed; the request id leads to the details in its log.")
}
