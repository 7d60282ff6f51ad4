//! Messages of standard input as requests of the extension, and its answers as messages of standard output.
//!
//! A call that its client cancels is dropped here, which ends whatever goes on for it, as if the connection of an HTTP client had closed.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use axum::response::Response;
use base64::Engine as _;
use bytes::Bytes;
use http::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HOST};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, StatusCode};
use http_body_util::BodyExt as _;
use serde_json::{Value, json};
use tokio::sync::{Semaphore, mpsc};
use tokio::task::AbortHandle;
use tokio_util::task::TaskTracker;

use super::files::Files;
use super::write::{self, Writing};
use crate::gateway::Gateway;
use crate::pipeline::{self, Answers, Context, Incoming, Match};

const SESSION: HeaderName = HeaderName::from_static("mcp-session-id");
const REVISION: HeaderName = HeaderName::from_static("mcp-protocol-version");
const METHOD: HeaderName = HeaderName::from_static("mcp-method");
const NAME: HeaderName = HeaderName::from_static("mcp-name");

/// Where a message says which revision it is in.
const META_REVISION: &str = "/params/_meta/io.modelcontextprotocol~1protocolVersion";

/// Codes of JSON-RPC.
const INVALID_REQUEST: i64 = -32600;
const INTERNAL: i64 = -32603;

/// Calls that may be under way at once.
const AT_ONCE: usize = 64;

/// Carries messages.
pub struct Bridge {
    gateway: Arc<Gateway>,
    path: String,
    key: Option<HeaderValue>,
    files: Arc<Files>,
    write: mpsc::Sender<Value>,
    session: Mutex<Session>,
    /// Lets one at a time begin another session.
    renewing: Semaphore,
    calls: Mutex<HashMap<String, AbortHandle>>,
    tasks: TaskTracker,
}

/// The session of the revisions that have some.
#[derive(Default)]
struct Session {
    id: Option<HeaderValue>,
    /// What began it. A session ends after some hours, and on standard input there is no client that knows of sessions.
    begun_by: Option<(Bytes, Value)>,
}

impl Bridge {
    /// A bridge to the extension that answers at a path.
    pub fn new(gateway: Arc<Gateway>, path: String, key: Option<String>, files: Files, write: mpsc::Sender<Value>) -> Self {
        let key = key.and_then(|key| HeaderValue::try_from(format!("Bearer {key}")).ok()).map(|mut key| {
            key.set_sensitive(true);
            key
        });
        Self {
            gateway,
            path,
            key,
            files: Arc::new(files),
            write,
            session: Mutex::default(),
            renewing: Semaphore::new(1),
            calls: Mutex::default(),
            tasks: TaskTracker::new(),
        }
    }

    /// Whether there is somebody at the other end.
    pub fn is_answered(&self) -> bool {
        let live = self.gateway.deploy.live();
        matches!(live.stable.routes.find(&Method::POST, &self.path), Match::Found(route, _) if route.answers == Answers::Http)
    }

    /// Takes a line.
    pub async fn take(self: &Arc<Self>, line: &[u8]) {
        if line.trim_ascii().is_empty() {
            return;
        }
        let message: Value = serde_json::from_slice(line).unwrap_or_default();
        let (id, method) = (message.get("id").cloned(), message["method"].as_str().unwrap_or_default().to_owned());
        if method == "notifications/cancelled" {
            if let Some(call) = message.pointer("/params/requestId").and_then(|id| self.calls().remove(&id.to_string())) {
                call.abort();
            }
            return;
        }
        let Some(id) = id.filter(|_| !method.is_empty()) else {
            // What is no request is small, or wrong, and its place among the others may matter.
            self.carry(None, Bytes::copy_from_slice(line), &message, None).await;
            return;
        };
        if method == "initialize" {
            self.carry(Some(&id), Bytes::copy_from_slice(line), &message, None).await;
            return;
        }
        if let Err(refused) = self.spawn(&id, Bytes::copy_from_slice(line), message) {
            self.say(refused).await;
        }
    }

    /// Lets a call run beside the others. The error is its answer.
    fn spawn(self: &Arc<Self>, id: &Value, line: Bytes, message: Value) -> Result<(), Value> {
        // It is in the table before it can take itself out of it.
        let mut calls = self.calls();
        let key = id.to_string();
        if calls.contains_key(&key) {
            return Err(fault(Some(id), INVALID_REQUEST, "A call with this `id` is under way; each needs one of its own."));
        }
        if calls.len() >= AT_ONCE {
            return Err(fault(Some(id), INTERNAL, &format!("{AT_ONCE} calls are under way; wait for one of them.")));
        }
        let (bridge, id, own) = (Arc::clone(self), id.clone(), key.clone());
        let task = self.tasks.spawn(async move {
            bridge.call(&id, line, message).await;
            bridge.calls().remove(&own);
        });
        calls.insert(key, task.abort_handle());
        Ok(())
    }

    /// A line was too long to be read.
    pub async fn refuse_line(&self, most: u64) {
        self.say(fault(None, INVALID_REQUEST, &format!("A line has more than {most} bytes; it was left out."))).await;
    }

    /// Waits until nothing is under way.
    pub async fn idle(&self) {
        self.tasks.close();
        self.tasks.wait().await;
    }

    /// Ends what is under way.
    pub fn stop(&self) {
        self.calls().drain().for_each(|(_, call)| call.abort());
    }

    fn calls(&self) -> std::sync::MutexGuard<'_, HashMap<String, AbortHandle>> {
        self.calls.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn say(&self, message: Value) {
        // Nobody reads any more: the input will end too.
        let _ = self.write.send(message).await;
    }

    /// A request. What has to do with files is done here, before and after.
    async fn call(&self, id: &Value, line: Bytes, mut message: Value) {
        let is_write = message["method"] == "tools/call" && message.pointer("/params/name").is_some_and(|n| n == write::TOOL);
        if !is_write {
            self.carry(Some(id), line, &message, None).await;
            return;
        }
        match write::begin(&self.files, &mut message).await {
            Ok(writing) => {
                let line = Bytes::from(message.to_string());
                self.carry(Some(id), line, &message, Some(writing)).await;
            }
            Err(done) => {
                let mut result = done;
                if message.pointer(META_REVISION).is_some() {
                    result["resultType"] = "complete".into();
                }
                self.say(json!({"jsonrpc": "2.0", "id": id, "result": result})).await;
            }
        }
    }

    /// Carries one message there, and what comes of it back.
    async fn carry(&self, id: Option<&Value>, line: Bytes, message: &Value, mut writing: Option<Writing>) {
        let in_session = message["method"] != "initialize" && message.pointer(META_REVISION).is_none();
        let session = self.session().id.clone().filter(|_| in_session);
        let mut answer = self.ask(line.clone(), message, session.as_ref()).await;
        if answer.as_ref().is_some_and(|answer| answer.status() == StatusCode::NOT_FOUND)
            && let Some(ended) = &session
            && let Some(next) = self.another(ended).await
        {
            answer = self.ask(line.clone(), message, Some(&next)).await;
        }
        let Some(response) = answer else {
            let gone = "The extension that was the server is gone from the configuration.";
            return self.say(fault(id, INTERNAL, gone)).await;
        };
        let (head, mut body) = response.into_parts();
        if message["method"] == "initialize"
            && let Some(session) = head.headers.get(&SESSION)
        {
            *self.session() = Session { id: Some(session.clone()), begun_by: Some((line, message.clone())) };
        }
        let is_stream = head.headers.get(CONTENT_TYPE).is_some_and(|kind| kind.as_bytes().starts_with(b"text/event-stream"));
        let (mut unread, mut answered) = (Vec::new(), false);
        while let Some(frame) = body.frame().await {
            let Ok(frame) = frame else { break };
            let Ok(data) = frame.into_data() else { continue };
            unread.extend_from_slice(&data);
            while is_stream && let Some(end) = unread.windows(2).position(|w| w == b"\n\n") {
                let event: Vec<u8> = unread.drain(..end + 2).collect();
                let data = event.split(|b| *b == b'\n').find_map(|line| line.strip_prefix(b"data: "));
                let Some(message) = data.and_then(|data| serde_json::from_slice::<Value>(data).ok()) else { continue };
                answered |= message.get("method").is_none();
                self.back(message, &mut writing).await;
            }
        }
        if is_stream && !answered {
            self.say(fault(id, INTERNAL, "The answer broke off.")).await;
        } else if !is_stream && !unread.is_empty() {
            let mut reply: Value = serde_json::from_slice(&unread).unwrap_or_default();
            match reply.get("jsonrpc") {
                Some(_) => {
                    // What is refused before it is read has no id of its own, and a client would wait for one.
                    if let Some(id) = id.filter(|_| reply.get("id").is_none_or(Value::is_null)) {
                        reply["id"] = id.clone();
                    }
                    self.back(reply, &mut writing).await;
                }
                // An error of the gateway's own, for example of a key that it does not know.
                None => {
                    let reason = reply.pointer("/error/message").and_then(Value::as_str).unwrap_or("The gateway gave no answer.");
                    self.say(fault(id, INTERNAL, reason)).await;
                }
            }
        } else if !is_stream && let Some(id) = id {
            self.say(fault(Some(id), INTERNAL, "The gateway gave no answer.")).await;
        }
    }

    /// Asks the extension; none when there is none any more.
    async fn ask(&self, line: Bytes, message: &Value, session: Option<&HeaderValue>) -> Option<Response> {
        let live = self.gateway.deploy.live();
        let generation = Arc::clone(&live.stable);
        let Match::Found(route, params) = generation.routes.find(&Method::POST, &self.path) else { return None };
        let mut request = Request::new(());
        *request.method_mut() = Method::POST;
        *request.uri_mut() = self.path.parse().unwrap_or_default();
        *request.headers_mut() = self.headers(message, session);
        let incoming = Incoming::opaque(request.into_parts().0, params, Instant::now(), line);
        let context = Context { gateway: Arc::clone(&self.gateway), generation: Arc::clone(&generation), debug: false };
        let id = uuid::Uuid::now_v7().simple().to_string();
        // Whoever starts the program has its configuration, and may do what an operator may.
        Some(pipeline::serve_guest_http(context, id, route.extension, incoming, true).await)
    }

    /// Another session in the place of one that ended; none when none can be begun.
    async fn another(&self, ended: &HeaderValue) -> Option<HeaderValue> {
        let _one_at_a_time = self.renewing.acquire().await.ok()?;
        let (line, message) = {
            let session = self.session();
            if session.id.as_ref() != Some(ended) {
                return session.id.clone();
            }
            session.begun_by.clone()?
        };
        let answer = self.ask(line, &message, None).await?;
        // Where none begins, the one that ended stays, so that the next call tries again.
        let next = answer.headers().get(&SESSION).cloned()?;
        // Its answer is that of the first one, which the client has.
        let _ = answer.into_body().collect().await;
        self.session().id = Some(next.clone());
        Some(next)
    }

    fn session(&self) -> std::sync::MutexGuard<'_, Session> {
        self.session.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What the extension sent goes to the client, with what has to do with files put in.
    async fn back(&self, mut message: Value, writing: &mut Option<Writing>) {
        if let Some(tools) = message.pointer_mut("/result/tools").and_then(Value::as_array_mut) {
            tools.iter_mut().filter(|tool| tool["name"] == write::TOOL).for_each(write::describe);
        }
        if message.get("result").is_some()
            && let Some(writing) = writing.take()
        {
            write::end(&self.files, writing, &mut message["result"]).await;
        }
        self.say(message).await;
    }

    fn headers(&self, message: &Value, session: Option<&HeaderValue>) -> HeaderMap {
        let mut headers = HeaderMap::new();
        headers.insert(HOST, HeaderValue::from_static("localhost"));
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        headers.insert(ACCEPT, HeaderValue::from_static("application/json, text/event-stream"));
        if let Some(key) = &self.key {
            headers.insert(AUTHORIZATION, key.clone());
        }
        let text = |value: &Value| value.as_str().map(str::to_owned);
        let mut put = |name: HeaderName, value: Option<String>| {
            if let Some(value) = value.and_then(|v| HeaderValue::try_from(encoded(&v)).ok()) {
                headers.insert(name, value);
            }
        };
        if let Some(revision) = message.pointer(META_REVISION) {
            // What HTTP clients repeat in header fields, on standard input nobody does.
            put(REVISION, text(revision));
            put(METHOD, text(&message["method"]));
            let named = message.pointer("/params/name").or(message.pointer("/params/uri"));
            put(NAME, named.and_then(text));
        } else if let Some(session) = session {
            headers.insert(SESSION, session.clone());
        }
        headers
    }
}

/// A text as a header field has it: what does not fit, in base64.
fn encoded(text: &str) -> String {
    let plain = text.bytes().all(|b| (0x20..0x7f).contains(&b)) && text.trim() == text && !text.starts_with("=?base64?");
    if plain { text.to_owned() } else { format!("=?base64?{}?=", base64::engine::general_purpose::STANDARD.encode(text)) }
}

fn fault(id: Option<&Value>, code: i64, message: &str) -> Value {
    json!({"jsonrpc": "2.0", "id": id, "error": {"code": code, "message": message}})
}
