//! One request: id, route, body, answer.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::body::Body;
use axum::response::Response;
use bytes::{Bytes, BytesMut};
use futures_util::FutureExt as _;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, header};
use http_body_util::BodyExt as _;
use hyper::body::{Body as _, Incoming as HyperBody};
use llm_codec::hub::{ChatError, ErrorClass};

use super::auth::{self, Guesses};
use super::client;
use super::{access, admin, cors, recovery};
use crate::extensions::Access;
use crate::gateway::{Gateway, Generation};
use crate::pipeline::{self, Answers, Context, Incoming, Match, Route, Trace};
use crate::telemetry;

/// The name under which a request's id comes and goes.
const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// Longest id that is taken over from a client.
const MAX_REQUEST_ID: usize = 128;

/// What requests of a listener need.
#[derive(Clone)]
pub struct Site {
    /// The process.
    pub gateway: Arc<Gateway>,
    /// Whether only this machine can connect.
    pub local_only: bool,
    /// Wrong passwords of late.
    pub guesses: Arc<Guesses>,
    /// Whether there is a line for every request.
    pub access: bool,
}

/// Serves one request, whatever happens.
pub async fn request(site: Site, peer: IpAddr, mut request: Request<HyperBody>) -> Response {
    let id = request_id(request.headers());
    let stable = Arc::clone(&site.gateway.deploy.live().stable);
    let settings = &stable.config.server;
    let client = client::of(peer, request.headers(), &settings.trusted_proxies);
    request.extensions_mut().insert(client);
    let line = site.access.then(|| access::Line::of(&request, &id, client));
    // Each layer would hold the next one inside of itself, more than once: boxes keep a request as small as what it waits for.
    let inner = |request| recovered(site, id.clone(), request).boxed();
    let mut response = cors::answer(settings.cors.as_ref(), request, inner).await;
    if let Ok(id) = HeaderValue::try_from(id) {
        response.headers_mut().insert(REQUEST_ID, id);
    }
    match line {
        Some(line) => line.follow(response),
        None => response,
    }
}

/// The answer, or the error of a request that panicked before a dialect was found.
async fn recovered(site: Site, id: String, request: Request<HyperBody>) -> Response {
    let work = telemetry::within(id.as_str().into(), route(site, id.clone(), request).boxed());
    let answered = recovery::caught(&id, work).await;
    answered.unwrap_or_else(|error| pipeline::plain(&error))
}

/// The client's id when it has one that can be trusted to be short and printable, otherwise a new one.
fn request_id(headers: &HeaderMap) -> String {
    let given = headers.get(REQUEST_ID).and_then(|v| v.to_str().ok());
    let usable = |id: &&str| !id.is_empty() && id.len() <= MAX_REQUEST_ID && id.bytes().all(|b| b.is_ascii_graphic());
    given.filter(usable).map_or_else(new_id, str::to_owned)
}

/// An id that no other request has, and that sorts by time (UUID version 7). Nobody has to be unable to guess it, so no system call is made for it.
fn new_id() -> String {
    let mut random = [0; 10];
    fastrand::fill(&mut random);
    uuid::Builder::from_unix_timestamp_millis(pipeline::unix_ms(), &random).into_uuid().simple().to_string()
}

async fn route(site: Site, id: String, request: Request<HyperBody>) -> Response {
    let received = Instant::now();
    let (mut head, body) = request.into_parts();
    if let Some(asked) = admin::Asked::at(head.uri.path()) {
        return admin::answer(&site, asked, &id, &head, body).boxed().await;
    }
    // What extensions answer under the interface's paths is as closed as what the host answers there.
    let closed = auth::is_closed(&site.gateway.deploy.live().stable.config.auth, head.uri.path());
    if closed && let Err(refusal) = auth::check(&site, &head) {
        return auth::refuse(&refusal).into_response(&id);
    }
    let debug = head.headers.contains_key(DEBUG) && auth::is_operator_besides(&site, &head);
    let generation = Arc::clone(site.gateway.deploy.live().choose(&head.headers, &id));
    let number = generation.number;
    // A HEAD is a GET whose body is not sent.
    if head.method == Method::HEAD {
        head.method = Method::GET;
    }
    let found = generation.routes.find(&head.method, head.uri.path());
    let operator = match &found {
        Match::Found(route, _) if route.answers == Answers::Http => closed || is_operator(&site, &head, route),
        _ => false,
    };
    auth::strip(&mut head.headers, closed);
    let asked = Asked { received, debug, operator };
    let mut response = match found {
        Match::Found(route, params) => {
            let (dialect, answers) = (Arc::clone(&route.extension), route.answers);
            let answer = answer(site, Arc::clone(&generation), id.clone(), route, params, asked, head, body).boxed();
            match (recovery::caught(&id, answer).await, answers) {
                (Ok(response), _) => response,
                (Err(error), Answers::Dialect | Answers::Operation) => pipeline::refuse(&dialect, &Trace::default(), &id, &error).await,
                (Err(error), Answers::Http) => pipeline::plain(&error),
            }
        }
        Match::WrongMethod(methods) => wrong_method(&head.method, &methods),
        Match::None => pipeline::plain(&not_found(head.uri.path())),
    };
    response.headers_mut().insert(GENERATION, HeaderValue::from(number));
    response
}

/// When a request came, and what whoever sent it may know.
struct Asked {
    received: Instant,
    /// What it costs.
    debug: bool,
    /// What is for operators, of a handler that answers by itself.
    operator: bool,
}

/// Whether an operator asks a handler that answers by itself. Where callers ask too, their keys are where an operator's would be.
fn is_operator(site: &Site, head: &http::request::Parts, route: &Route) -> bool {
    match route.extension.manifest.access {
        Access::Open => false,
        Access::Caller => auth::is_operator_besides(site, head),
        Access::Operator => auth::check(site, head).is_ok(),
    }
}

/// The generation that made an answer.
const GENERATION: HeaderName = HeaderName::from_static("x-wasmgate-generation");

#[expect(clippy::too_many_arguments, reason = "the pieces of one request, taken apart once")]
async fn answer(
    site: Site,
    generation: Arc<Generation>,
    id: String,
    route: Route,
    params: Vec<(String, String)>,
    asked: Asked,
    head: http::request::Parts,
    body: HyperBody,
) -> Response {
    let settings = &generation.config.server;
    let Asked { received, debug, operator } = asked;
    let context = Context { gateway: site.gateway, generation: Arc::clone(&generation), debug };
    let trace = match route.answers {
        Answers::Http => Trace::default(),
        Answers::Dialect | Answers::Operation => Trace::begin(&context.gateway, &head, &params, received),
    };
    if let Some(error) = encoded(&head.headers) {
        return match route.answers {
            Answers::Dialect | Answers::Operation => pipeline::refused(&context, &route.extension, &trace, &id, &error).await,
            Answers::Http => pipeline::plain(&error),
        };
    }
    let waits = head.headers.contains_key(header::EXPECT);
    let read = tokio::time::timeout(settings.body_timeout, whole(body, settings.body_limit, waits)).await;
    let body = match read.unwrap_or_else(|_| Err(slow())) {
        Ok(body) => body,
        Err(error) => {
            let mut response = match route.answers {
                Answers::Dialect | Answers::Operation => pipeline::refused(&context, &route.extension, &trace, &id, &error).await,
                Answers::Http => pipeline::plain(&error),
            };
            // What is left of the body will not be read.
            response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
            return response;
        }
    };
    match route.answers {
        Answers::Http => {
            let incoming = Incoming::opaque(head, params, received, body);
            pipeline::serve_guest_http(context, id, route.extension, incoming, operator).await
        }
        Answers::Dialect => {
            let incoming = if body.is_empty() && head.method == Method::GET {
                Ok(Incoming::opaque(head, params, received, body))
            } else {
                Incoming::json(head, params, received, body)
            };
            pipeline::serve(context, id, route.extension, incoming, trace).await
        }
        Answers::Operation => {
            let incoming = Incoming::operation(head, params, received, body);
            pipeline::serve_operation(context, id, route.extension, incoming, trace).await
        }
    }
}

/// With this header field an operator asks what the extensions cost; the answer is in `server-timing`.
const DEBUG: &str = "x-wasmgate-debug";

/// The whole body, up to a limit. `waits` tells that the client sends it only when it is asked to.
async fn whole(mut body: HyperBody, limit: usize, waits: bool) -> Result<Bytes, ChatError> {
    let announced = body.size_hint().lower();
    if announced > limit as u64 {
        if !waits {
            drain(&mut body).await;
        }
        return Err(too_large(limit));
    }
    let mut first = Bytes::new();
    let mut all = BytesMut::new();
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|e| {
            tracing::debug!(error = %e, "a request's body broke off");
            ChatError::new(ErrorClass::InvalidRequest, "The request body broke off.")
        })?;
        let Ok(data) = frame.into_data() else { continue };
        if first.len() + all.len() + data.len() > limit {
            drain(&mut body).await;
            return Err(too_large(limit));
        }
        if first.is_empty() && all.is_empty() {
            first = data;
            continue;
        }
        if !first.is_empty() {
            all.reserve((announced as usize).max(first.len() + data.len()));
            all.extend_from_slice(&std::mem::take(&mut first));
        }
        all.extend_from_slice(&data);
    }
    Ok(if all.is_empty() { first } else { all.freeze() })
}

/// Most that is read, and longest that is waited, for a body that is refused. Most clients look for an answer only when they
/// have sent everything, and would see a broken connection instead of it.
const DRAIN_BYTES: usize = 128 << 20;
const DRAIN_TIME: Duration = Duration::from_secs(5);

/// Reads and forgets.
async fn drain(body: &mut HyperBody) {
    let rest = async {
        let mut read = 0;
        while let (true, Some(Ok(frame))) = (read < DRAIN_BYTES, body.frame().await) {
            read += frame.data_ref().map_or(0, Bytes::len);
        }
    };
    let _ = tokio::time::timeout(DRAIN_TIME, rest).await;
}

fn too_large(limit: usize) -> ChatError {
    ChatError::new(ErrorClass::TooLarge, format!("The request body is larger than {limit} bytes, which is what this gateway accepts."))
}

/// The error of a body that is compressed. To unpack what a client sends is to let it choose how large that gets.
fn encoded(headers: &HeaderMap) -> Option<ChatError> {
    let encoding = headers.get(header::CONTENT_ENCODING)?.to_str().unwrap_or("?");
    let message = format!("The request body has the content encoding `{encoding}`; send it without one.");
    let refused = ChatError { status: Some(415), ..ChatError::new(ErrorClass::InvalidRequest, message) };
    (!encoding.eq_ignore_ascii_case("identity")).then_some(refused)
}

fn slow() -> ChatError {
    ChatError { status: Some(408), ..ChatError::new(ErrorClass::Timeout, "The request body did not arrive in time.") }
}

fn not_found(path: &str) -> ChatError {
    ChatError::new(ErrorClass::NotFound, format!("Nothing answers at `{path}`."))
}

fn wrong_method(method: &Method, allowed: &[Method]) -> Response {
    let list = allowed.iter().map(Method::as_str).collect::<Vec<_>>().join(", ");
    let error = ChatError {
        status: Some(405),
        ..ChatError::new(ErrorClass::InvalidRequest, format!("`{method}` is not possible here; use {list}."))
    };
    let mut response = pipeline::plain(&error);
    if let Ok(list) = HeaderValue::try_from(list) {
        response.headers_mut().insert(header::ALLOW, list);
    }
    response
}

/// A JSON document as a response.
pub fn json(status: http::StatusCode, document: &serde_json::Value) -> Response {
    let mut response = Response::new(Body::from(document.to_string()));
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}
