//! The standard `wasi:http` types, turned into plain ones and back.

use wasip2::http::types::{Fields, IncomingRequest, Method, OutgoingBody, OutgoingResponse, ResponseOutparam};
use wasip2::io::streams::{OutputStream, StreamError};

use crate::{Header, HttpRequest, Outgoing, Reply};

/// Bytes that are read or written at once.
const CHUNK: u64 = 64 << 10;

/// Bytes that `blocking-write-and-flush` takes at once.
const WRITE: usize = 4 << 10;

/// Reads a request, lets the extension answer, and sends the answer.
pub fn answer(request: IncomingRequest, out: ResponseOutparam, handle: impl FnOnce(HttpRequest) -> Reply) {
    stream(request, out, |request, out| out.reply(&handle(request)));
}

/// Reads a request, and lets the extension write the answer piece by piece.
pub fn stream(request: IncomingRequest, out: ResponseOutparam, handle: impl FnOnce(HttpRequest, &mut dyn Outgoing)) {
    let mut sending = Sending::Waiting(out);
    handle(read(&request), &mut sending);
    match sending {
        Sending::Waiting(_) => crate::log::error("the handler wrote no answer"),
        Sending::Gone => {}
        Sending::Body(body, stream) => {
            drop(stream);
            let _ = OutgoingBody::finish(body, None);
        }
    }
}

/// How far an answer is.
enum Sending {
    /// Nothing was sent.
    Waiting(ResponseOutparam),
    /// The head was.
    Body(OutgoingBody, OutputStream),
    /// Nobody reads any more.
    Gone,
}

impl Outgoing for Sending {
    fn head(&mut self, status: u16, headers: &[Header]) {
        let Self::Waiting(out) = std::mem::replace(self, Self::Gone) else {
            crate::log::error("an answer has one head");
            return;
        };
        let fields = Fields::new();
        for header in headers {
            if fields.append(&header.name, header.value.as_bytes()).is_err() {
                crate::log::warn(&format!("the response header `{}` is not allowed; left out", header.name));
            }
        }
        let response = OutgoingResponse::new(fields);
        if response.set_status_code(status).is_err() {
            crate::log::error(&format!("{status} is no status code"));
        }
        let body = response.body().expect("a response has one body");
        ResponseOutparam::set(out, Ok(response));
        let stream = body.write().expect("a body has one stream");
        *self = Self::Body(body, stream);
    }

    fn write(&mut self, bytes: &[u8]) -> bool {
        let Self::Body(_, stream) = self else { return false };
        let gone = bytes.chunks(WRITE).any(|piece| stream.blocking_write_and_flush(piece).is_err());
        if gone && let Self::Body(body, stream) = std::mem::replace(self, Self::Gone) {
            // A stream is dropped before the body that it is of.
            drop(stream);
            drop(body);
        }
        !gone
    }
}

fn read(request: &IncomingRequest) -> HttpRequest {
    let target = request.path_with_query().unwrap_or_default();
    let (path, query) = target.split_once('?').map_or((target.as_str(), None), |(p, q)| (p, Some(q.to_owned())));
    HttpRequest {
        method: method(request.method()),
        path: path.to_owned(),
        query,
        headers: request.headers().entries(),
        body: body(request),
    }
}

fn body(request: &IncomingRequest) -> Vec<u8> {
    let mut bytes = Vec::new();
    let Ok(body) = request.consume() else { return bytes };
    let Ok(stream) = body.stream() else { return bytes };
    loop {
        match stream.blocking_read(CHUNK) {
            Ok(piece) => bytes.extend(piece),
            Err(StreamError::Closed | StreamError::LastOperationFailed(_)) => return bytes,
        }
    }
}

fn method(method: Method) -> String {
    match method {
        Method::Get => "GET".into(),
        Method::Head => "HEAD".into(),
        Method::Post => "POST".into(),
        Method::Put => "PUT".into(),
        Method::Delete => "DELETE".into(),
        Method::Connect => "CONNECT".into(),
        Method::Options => "OPTIONS".into(),
        Method::Trace => "TRACE".into(),
        Method::Patch => "PATCH".into(),
        Method::Other(name) => name,
    }
}
