//! `/api/extensions`: what runs, and how another version comes to run.

use std::convert::Infallible;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use axum::body::Body;
use axum::response::Response;
use bytes::{Bytes, BytesMut};
use futures_util::stream;
use http::header::{ACCEPT, CONNECTION, CONTENT_TYPE};
use http::request::Parts;
use http::{HeaderValue, StatusCode};
use http_body_util::BodyExt as _;
use hyper::body::{Body as _, Incoming as HyperBody};
use serde_json::{Value, json};
use tokio::sync::mpsc;

use super::{attempted, query, to_its_end};
use crate::deploy::live::Live;
use crate::deploy::{Deploy, Wanted};
use crate::extensions::{Extension, MAX_COMPONENT};
use crate::ingress::wrapped::Wrapped;

/// All extensions.
pub fn list(deploy: &Deploy) -> Value {
    let live = deploy.live();
    Value::Array(live.stable.extensions.all().iter().map(|e| shown(deploy, &live, e)).collect())
}

/// One, with more of it.
pub fn one(deploy: &Deploy, name: &str) -> Option<Value> {
    let live = deploy.live();
    let extension = live.stable.extensions.find(name)?;
    let mut document = shown(deploy, &live, extension);
    document["imports"] = json!(extension.source.surface.imports);
    document["exports"] = json!(extension.source.surface.exports);
    document["limits"] = extension.limits().to_json();
    Some(document)
}

fn shown(deploy: &Deploy, live: &Live, extension: &Extension) -> Value {
    let routes: Vec<_> = live.stable.routes.listed().iter().filter(|r| r.extension == extension.name()).collect();
    json!({
        "name": extension.manifest.name,
        "version": extension.manifest.version,
        "description": extension.manifest.description,
        "digest": extension.source.digest,
        "bytes": extension.source.bytes.len(),
        "file": extension.source.file,
        "hooks": extension.source.surface.hooks(),
        "capabilities": extension.granted.iter().map(|c| c.name()).collect::<Vec<_>>(),
        "routes": routes,
        "generation": extension.since(live.stable.number),
        "previous": deploy.previous(extension.name()).map(|p| version(&p)),
        "candidate": candidate(live, extension.name()),
        "recorded_calls": extension.recorder.cases().len(),
        "stats": extension.stats.to_json(),
    })
}

fn version(extension: &Extension) -> Value {
    json!({"version": extension.manifest.version, "digest": extension.source.digest})
}

/// The version of an extension that is tried out.
fn candidate(live: &Live, name: &str) -> Option<Value> {
    if let Some(canary) = live.canary.as_ref().filter(|c| c.extension.name() == name) {
        let (calls, failures, _) = canary.extension.totals();
        let mut document = version(&canary.extension);
        document["rollout"] = "canary".into();
        document["share"] = canary.audience.share.into();
        document["keys"] = canary.audience.keys.len().into();
        document["calls"] = calls.into();
        document["failures"] = failures.into();
        return Some(document);
    }
    let shadow = live.shadow.as_ref().filter(|s| s.extension.name() == name)?;
    let comparison = shadow.comparison.lock().unwrap_or_else(PoisonError::into_inner);
    let mut document = version(&shadow.extension);
    document["rollout"] = "shadow".into();
    document["share"] = shadow.share.into();
    document["failures"] = shadow.extension.stats.tripwire().failures().into();
    document["compared"] = comparison.cases().into();
    document["different"] = comparison.different().into();
    Some(document)
}

/// `PUT`: the body is a component.
pub async fn put(deploy: &Arc<Deploy>, name: String, id: &str, head: &Parts, body: HyperBody) -> Response {
    let query = query::read(head.uri.query().unwrap_or_default());
    // Whoever sends something looks for an answer when it is sent.
    let patience = deploy.live().stable.config.server.body_timeout;
    let bytes = match whole(body, patience, "component", MAX_COMPONENT).await {
        Ok(bytes) => bytes,
        Err(error) => return error.into_response(id),
    };
    let query = match query {
        Ok(query) => query,
        Err(reason) => return Wrapped::error(StatusCode::BAD_REQUEST, "bad_request", &format!("{reason}.")).into_response(id),
    };
    let wanted = Wanted { name, bytes, rollout: query.rollout, replay: query.replay, grant: query.grant };
    let wants_steps = head.headers.get(ACCEPT).is_some_and(|a| a.as_bytes().starts_with(b"application/x-ndjson"));
    let deploy = Arc::clone(deploy);
    if !wants_steps {
        return to_its_end(async move { deploy.swap(wanted, None).await }).await.into_response(id);
    }
    let (tell, mut told) = mpsc::unbounded_channel();
    let (lines, line) = mpsc::unbounded_channel::<Bytes>();
    let id = id.to_owned();
    tokio::spawn(async move {
        let steps = async {
            while let Some(step) = told.recv().await {
                send(&lines, &json!(step));
            }
        };
        let (result, ()) = tokio::join!(deploy.swap(wanted, Some(tell)), steps);
        send(&lines, &attempted(&result).into_document(&id));
    });
    let body = stream::unfold(line, |mut line| async move { Some((Ok::<_, Infallible>(line.recv().await?), line)) });
    let mut response = Response::new(Body::from_stream(body));
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/x-ndjson"));
    response
}

fn send(lines: &mpsc::UnboundedSender<Bytes>, document: &Value) {
    // Whoever listened may be gone.
    let _ = lines.send(format!("{document}\n").into());
}

/// The most that is set aside for a component before any of it has come.
const SET_ASIDE: u64 = 1 << 20;

/// The whole body, which is a `what` of at most so many bytes. None of its pieces may keep it waiting for longer than `patience`.
pub async fn whole(mut body: HyperBody, patience: Duration, what: &str, most: u64) -> Result<Bytes, Wrapped> {
    let too_large = || {
        let message = format!("The {what} has more than {most} bytes.");
        // What is left of it will not be read.
        Wrapped::error(StatusCode::PAYLOAD_TOO_LARGE, "too_large", &message).with_header(CONNECTION, HeaderValue::from_static("close"))
    };
    if body.size_hint().lower() > most {
        return Err(too_large());
    }
    let mut bytes = BytesMut::with_capacity(body.size_hint().lower().min(SET_ASIDE) as usize);
    loop {
        let slow = |_| {
            let message = format!("Nothing of the {what} came for {patience:?} (`server.body_timeout`).");
            Wrapped::error(StatusCode::REQUEST_TIMEOUT, "timeout", &message)
        };
        let Some(frame) = tokio::time::timeout(patience, body.frame()).await.map_err(slow)? else { break };
        let broken = |_| Wrapped::error(StatusCode::BAD_REQUEST, "bad_request", "The body broke off.");
        let Ok(data) = frame.map_err(broken)?.into_data() else { continue };
        if (bytes.len() + data.len()) as u64 > most {
            return Err(too_large());
        }
        bytes.extend_from_slice(&data);
    }
    Ok(bytes.freeze())
}
