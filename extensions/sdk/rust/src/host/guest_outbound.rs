//! Outbound requests through the standard `wasi:http/outgoing-handler`.

use wasip2::http::outgoing_handler;
use wasip2::http::types::{Fields, IncomingBody, Method, OutgoingBody, OutgoingRequest, Scheme};
use wasip2::io::streams::StreamError;

use super::outbound::{Request, Response};

/// Bytes that are read at once.
const CHUNK: u64 = 64 << 10;

/// Bytes that `blocking-write-and-flush` takes at once.
const WRITE: usize = 4 << 10;

/// Sends a request and waits for the whole response.
pub fn send(request: &Request) -> Result<Response, String> {
    let (scheme, rest) = match request.url.split_once("://") {
        Some(("https", rest)) => (Scheme::Https, rest),
        Some(("http", rest)) => (Scheme::Http, rest),
        _ => return Err(format!("`{}` is no http or https address", request.url)),
    };
    let (authority, path) = rest.find(['/', '?']).map_or((rest, String::from("/")), |at| {
        let (authority, path) = rest.split_at(at);
        (authority, if path.starts_with('?') { format!("/{path}") } else { path.to_owned() })
    });
    let fields = Fields::new();
    for (name, value) in &request.headers {
        fields.append(name, value.as_bytes()).map_err(|e| format!("the header `{name}` is refused: {e}"))?;
    }
    if !request.body.is_empty() || matches!(&*request.method, "POST" | "PUT" | "PATCH") {
        // Otherwise it would be sent in chunks, which not every server takes.
        let length = request.body.len().to_string();
        fields.set("content-length", &[length.into_bytes()]).map_err(|e| e.to_string())?;
    }
    let outgoing = OutgoingRequest::new(fields);
    let set = outgoing
        .set_method(&method(&request.method))
        .and_then(|()| outgoing.set_scheme(Some(&scheme)))
        .and_then(|()| outgoing.set_authority(Some(authority)))
        .and_then(|()| outgoing.set_path_with_query(Some(&path)));
    set.map_err(|()| format!("`{} {}` is no request", request.method, request.url))?;
    let body = outgoing.body().map_err(|()| "the request has no body".to_owned())?;
    let response = outgoing_handler::handle(outgoing, None).map_err(|e| e.to_string())?;
    write(body, &request.body)?;
    response.subscribe().block();
    let response = match response.get() {
        Some(Ok(response)) => response.map_err(|e| e.to_string())?,
        _ => return Err("there is no response".into()),
    };
    let (status, headers) = (response.status(), response.headers().entries());
    let body = response.consume().map_err(|()| "the response has no body".to_owned())?;
    Ok(Response { status, headers, body: read(&body)? })
}

fn write(body: OutgoingBody, bytes: &[u8]) -> Result<(), String> {
    let stream = body.write().map_err(|()| "the request's body cannot be written".to_owned())?;
    for piece in bytes.chunks(WRITE) {
        stream.blocking_write_and_flush(piece).map_err(|e| e.to_string())?;
    }
    drop(stream);
    OutgoingBody::finish(body, None).map_err(|e| e.to_string())
}

fn read(body: &IncomingBody) -> Result<Vec<u8>, String> {
    let stream = body.stream().map_err(|()| "the response's body cannot be read".to_owned())?;
    let mut bytes = Vec::new();
    loop {
        match stream.blocking_read(CHUNK) {
            Ok(piece) => bytes.extend(piece),
            Err(StreamError::Closed) => return Ok(bytes),
            Err(StreamError::LastOperationFailed(e)) => return Err(e.to_debug_string()),
        }
    }
}

fn method(name: &str) -> Method {
    match name {
        "GET" => Method::Get,
        "HEAD" => Method::Head,
        "POST" => Method::Post,
        "PUT" => Method::Put,
        "DELETE" => Method::Delete,
        "PATCH" => Method::Patch,
        "OPTIONS" => Method::Options,
        other => Method::Other(other.to_owned()),
    }
}
