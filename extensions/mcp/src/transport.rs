//! Streamable HTTP: who may ask, what a session and a revision want of the header fields, and the shape of the answer. Nothing here knows a
//! method's meaning but `initialize`, which begins a session.

use serde_json::{Value, json};
use wasmgate_sdk::{Header, HttpRequest, Outgoing, Reply, clock, kv, log};

use crate::outcome::Gone;
use crate::revision::{self, Fields, Revision};
use crate::rpc::{self, Call, Fault, Message, Notice};
use crate::session::Sessions;
use crate::{Settings, server};

/// The field with a session's id.
const SESSION: &str = "mcp-session-id";

/// Time between two looks whether a call was cancelled, in milliseconds.
const LOOK_MS: u64 = 50;

impl Fields for HttpRequest {
    fn field(&self, name: &str) -> Option<&str> {
        let value = self.headers.iter().find(|(n, _)| n == name).map(|(_, value)| value.as_slice());
        value.and_then(|v| std::str::from_utf8(v).ok())
    }
}

/// Answers.
pub fn answer(settings: &Settings, request: &HttpRequest, out: &mut dyn Outgoing) {
    if let Err(fault) = origin(settings, request) {
        return refuse(out, None, &fault);
    }
    match request.method.as_str() {
        // The host has put them there, as this caller may use them.
        "GET" => out.reply(&Reply::json(200, request.body.clone())),
        "DELETE" => end(settings, request, out),
        _ => post(settings, request, out),
    }
}

/// A page that is not allowed to must not ask, even where its browser believes that this machine is the page's own server (DNS rebinding).
fn origin(settings: &Settings, request: &HttpRequest) -> Result<(), Fault> {
    let Some((_, origin)) = request.headers.iter().find(|(name, _)| name == "origin") else { return Ok(()) };
    let origin = String::from_utf8_lossy(origin).to_ascii_lowercase();
    let host = origin.split_once("://").map_or("", |(_, rest)| rest);
    let name = match host.strip_prefix("[::1]") {
        Some(rest) if rest.is_empty() || rest.starts_with(':') => "localhost",
        _ => host.split(':').next().unwrap_or_default(),
    };
    if matches!(name, "localhost" | "127.0.0.1") || settings.allowed_origins.contains(&origin) {
        return Ok(());
    }
    let message = format!("Pages of `{}` may not ask here; the operator can add the origin to `allowed_origins`.", rpc::shown(&origin));
    Err(Fault { status: 403, ..Fault::new(rpc::INVALID_REQUEST, message) })
}

/// Who asks; the empty name is nobody's key.
fn caller(request: &HttpRequest) -> String {
    let known = request.field("x-wasmgate-caller").and_then(|c| serde_json::from_str::<Value>(c).ok());
    known.and_then(|c| c["name"].as_str().map(str::to_owned)).unwrap_or_default()
}

fn sessions(settings: &Settings, request: &HttpRequest) -> Sessions {
    Sessions::of(&caller(request), settings.max_sessions, settings.session_ms)
}

fn end(settings: &Settings, request: &HttpRequest, out: &mut dyn Outgoing) {
    let ended = request.field(SESSION).ok_or_else(no_session).and_then(|id| sessions(settings, request).end(id).map_err(|e| broken(&e)));
    match ended {
        Ok(true) => out.reply(&Reply { status: 204, headers: Vec::new(), body: Vec::new() }),
        Ok(false) => refuse(out, None, &unknown_session()),
        Err(fault) => refuse(out, None, &fault),
    }
}

fn post(settings: &Settings, request: &HttpRequest, out: &mut dyn Outgoing) {
    let fault = |status: u16, message: String| Fault { status, ..Fault::new(rpc::INVALID_REQUEST, message) };
    let kind = request.field("content-type").unwrap_or_default();
    if !kind.split(';').next().unwrap_or_default().trim().eq_ignore_ascii_case("application/json") {
        return refuse(out, None, &fault(415, "`Content-Type` has to be `application/json`.".into()));
    }
    let accepted = Accepted::read(request);
    if !accepted.json && !accepted.events {
        return refuse(out, None, &fault(406, "`Accept` has to list `application/json` and `text/event-stream`.".into()));
    }
    let (length, most) = (request.body.len(), settings.max_message_bytes);
    if length > most {
        return refuse(out, None, &fault(413, format!("The message has {length} bytes; up to {most} are taken (`max_message_bytes`).")));
    }
    match rpc::read(&request.body) {
        Err(wrong) => refuse(out, wrong.0.as_ref(), &wrong.1),
        // This server asks nothing, so it is the answer to nothing.
        Ok(Message::Response) => {
            refuse(out, None, &Fault::new(rpc::INVALID_REQUEST, "There is no request that this could be an answer to."));
        }
        Ok(Message::Notification(notice)) => match noticed(settings, request, &notice) {
            Ok(()) => out.reply(&Reply { status: 202, headers: Vec::new(), body: Vec::new() }),
            Err(fault) => refuse(out, None, &fault),
        },
        Ok(Message::Request(call)) => {
            if let Err(fault) = called(settings, request, &call, accepted, out) {
                refuse(out, Some(&call.id), &fault);
            }
        }
    }
}

/// What a client can read.
#[derive(Clone, Copy)]
struct Accepted {
    json: bool,
    events: bool,
}

impl Accepted {
    fn read(request: &HttpRequest) -> Self {
        let Some(accept) = request.field("accept") else { return Self { json: true, events: false } };
        let mut read = Self { json: false, events: false };
        for kind in accept.split(',') {
            match kind.split(';').next().unwrap_or_default().trim().to_ascii_lowercase().as_str() {
                "application/json" | "application/*" => read.json = true,
                "text/event-stream" | "text/*" => read.events = true,
                "*/*" => read = Self { json: true, events: true },
                _ => {}
            }
        }
        read
    }
}

/// A notification came. Those that are not known change nothing.
fn noticed(settings: &Settings, request: &HttpRequest, notice: &Notice) -> Result<(), Fault> {
    let modern = notice.params.get("_meta").is_some_and(|meta| meta.get(revision::META_VERSION).is_some());
    if modern || request.field("mcp-protocol-version") == Some(revision::MODERN) {
        // Over HTTP a call of today is cancelled by leaving its stream.
        return Ok(());
    }
    let sessions = sessions(settings, request);
    let session = session(&sessions, request)?;
    if notice.method == "notifications/cancelled" {
        let call = notice.params.get("requestId").filter(|id| id.is_string() || id.is_number());
        let call = call.ok_or_else(|| Fault::new(rpc::INVALID_PARAMS, "`params.requestId` has to be the id of a request."))?;
        sessions.cancel(session, call).map_err(|e| broken(&e))?;
    }
    Ok(())
}

fn session<'a>(sessions: &Sessions, request: &'a HttpRequest) -> Result<&'a str, Fault> {
    let id = request.field(SESSION).ok_or_else(no_session)?;
    if sessions.has(id).map_err(|e| broken(&e))? { Ok(id) } else { Err(unknown_session()) }
}

fn called(settings: &Settings, request: &HttpRequest, call: &Call, accepted: Accepted, out: &mut dyn Outgoing) -> Result<(), Fault> {
    let revision = revision::of(call, request)?;
    let sessions = sessions(settings, request);
    let mut headers = Vec::new();
    let mut session_id = None;
    match (revision, call.method.as_str()) {
        (Revision::Legacy, "initialize") => {
            let id = sessions.begin(revision::negotiated(&call.params)).map_err(|e| broken(&e))?;
            headers.push(Header { name: "Mcp-Session-Id".into(), value: id });
        }
        (Revision::Legacy, _) => session_id = Some(session(&sessions, request)?),
        (Revision::Modern, _) => {}
    }
    let is_cancelled = || session_id.is_some_and(|session| sessions.is_cancelled(session, &call.id));
    let token = call.params.get("_meta").and_then(|meta| meta.get("progressToken")).filter(|t| t.is_string() || t.is_number());
    let mut report = Report { out, headers, accepted, token, progress: 0.0, is_cancelled: &is_cancelled, looked_ms: 0, begun: false };
    let ended = server::answer(settings, revision, call, &mut report);
    report.finish(&call.id, ended);
    Ok(())
}

/// The answer to one call, on its way.
pub struct Report<'a> {
    out: &'a mut dyn Outgoing,
    headers: Vec<Header>,
    accepted: Accepted,
    /// What the client calls the progress of this call by, if it wants to know.
    token: Option<&'a Value>,
    progress: f64,
    is_cancelled: &'a dyn Fn() -> bool,
    looked_ms: u64,
    begun: bool,
}

impl Report<'_> {
    /// What comes takes its time: the head goes out now, where the client reads streams.
    pub fn slow(&mut self) {
        if self.accepted.events && !self.begun {
            self.begun = true;
            self.out.begin_events(&self.headers);
        }
    }

    /// Tells how far it is. Numbers grow, as the protocol wants it. Also the time to find out that nobody waits any more.
    pub fn progress(&mut self, progress: f64, total: Option<f64>, message: &str) -> Result<(), Gone> {
        self.look()?;
        let Some(token) = self.token.filter(|_| self.begun && progress > self.progress) else { return Ok(()) };
        self.progress = progress;
        let mut params = json!({"progressToken": token, "progress": progress, "message": message});
        if let Some(total) = total {
            params["total"] = total.into();
        }
        self.event(&json!({"jsonrpc": "2.0", "method": "notifications/progress", "params": params}))
    }

    /// Whether somebody still waits.
    pub fn look(&mut self) -> Result<(), Gone> {
        let now = clock::unix_ms();
        if now.saturating_sub(self.looked_ms) < LOOK_MS {
            return Ok(());
        }
        self.looked_ms = now;
        if (self.is_cancelled)() { Err(Gone) } else { Ok(()) }
    }

    fn event(&mut self, message: &Value) -> Result<(), Gone> {
        // JSON has no line break outside of its strings, and in them it is written as an escape.
        if self.out.write(format!("event: message\ndata: {message}\n\n").as_bytes()) { Ok(()) } else { Err(Gone) }
    }

    fn finish(mut self, id: &Value, ended: Result<Value, server::Ended>) {
        // It may have been cancelled since the last look.
        let ended = if self.begun && (self.is_cancelled)() { Err(server::Ended::Gone) } else { ended };
        let (status, message) = match ended {
            Ok(result) => (200, rpc::result(id, result)),
            Err(server::Ended::Fault(fault)) => (fault.status, fault.document(Some(id))),
            // The protocol wants no answer to what was cancelled; HTTP wants one, where no stream began.
            Err(server::Ended::Gone) if self.begun => return,
            Err(server::Ended::Gone) => (200, Fault::new(rpc::CANCELLED, "The call was cancelled.").document(Some(id))),
        };
        if !self.begun && !self.accepted.json {
            self.slow();
        }
        if self.begun {
            // Whoever left needs no answer.
            let _ = self.event(&message);
            return;
        }
        let mut reply = Reply::json(status, message.to_string().into_bytes());
        reply.headers.append(&mut self.headers);
        self.out.reply(&reply);
    }
}

fn refuse(out: &mut dyn Outgoing, id: Option<&Value>, fault: &Fault) {
    let status = if fault.status == 200 { 400 } else { fault.status };
    out.reply(&Reply::json(status, fault.document(id).to_string().into_bytes()));
}

fn no_session() -> Fault {
    let message = "The header field `Mcp-Session-Id` is missing; it comes with the answer to `initialize`. \
                   Or say the revision in `params._meta`, as 2026-07-28 does.";
    Fault::new(rpc::INVALID_REQUEST, message)
}

fn unknown_session() -> Fault {
    Fault { status: 404, ..Fault::new(rpc::INVALID_REQUEST, "There is no such session (any more); begin another with `initialize`.") }
}

/// The store failed. Why, is the operator's to know.
fn broken(reason: &str) -> Fault {
    if kv::is_unread(reason) {
        // Not 404: a client would begin another session, and this one may be there.
        return Fault { status: 503, ..Fault::new(rpc::INTERNAL, "It is not known yet which sessions there are; try again in a moment.") };
    }
    log::error(&format!("sessions cannot be kept: {reason}"));
    Fault { status: 500, ..Fault::new(rpc::INTERNAL, "The gateway cannot keep sessions at present.") }
}
