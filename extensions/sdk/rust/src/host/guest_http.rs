//! The standard `wasi:http` types, turned into plain ones and back.

use wasip2::http::types::{Fields, IncomingRequest, Method, OutgoingBody, OutgoingResponse, ResponseOutparam};
use wasip2::io::streams::StreamError;

use crate::{HttpRequest, Reply};

/// Bytes that are read or written at once.
const CHUNK: u64 = 64 << 10;

/// Bytes that `blocking-write-and-flush` takes at once.
const WRITE: usize = 4 << 10;

/// Reads a request, lets the extension answer, and sends the answer.
pub fn answer(request: IncomingRequest, out: ResponseOutparam, handle: impl FnOnce(HttpRequest) -> Reply) {
    let reply = handle(read(&request));
    let fields = Fields::new();
    for header in &reply.headers {
        if fields.append(&header.name, header.value.as_bytes()).is_err() {
            crate::log::warn(&format!("the response header `{}` is not allowed; left out", header.name));
        }
    }
    let response = OutgoingResponse::new(fields);
    if response.set_status_code(reply.status).is_err() {
        crate::log::error(&format!("{} is no status code", reply.status));
    }
    let body = response.body().expect("a response has one body");
    ResponseOutparam::set(out, Ok(response));
    let stream = body.write().expect("a body has one stream");
    for piece in reply.body.chunks(WRITE) {
        if stream.blocking_write_and_flush(piece).is_err() {
            // The client is gone.
            return;
        }
    }
    drop(stream);
    let _ = OutgoingBody::finish(body, None);
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
