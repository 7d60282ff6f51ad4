//! Stages 3 and 7 for everything that is not an answer: replies and errors in the client's dialect.

use std::sync::Arc;

use axum::body::Body;
use axum::response::Response;
use http::{HeaderName, HeaderValue, StatusCode, header};
use llm_codec::hub::ChatError;
use serde_json::Value;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::Trace;
use crate::extensions::Extension;
use crate::extensions::bindings::wasmgate::extension::http::Reply;

/// An error in the dialect's words. When the dialect itself cannot say it, the host says it in plain JSON.
pub async fn refuse(dialect: &Arc<Extension>, trace: &Trace, id: &str, error: &ChatError) -> Response {
    let mut response = match dialect.encode_error(trace, error).await {
        Ok(mut written) => {
            sign(&mut written.body, id);
            reply(written)
        }
        Err(e) => {
            tracing::error!(error = %e, "the dialect could not write an error");
            plain(error)
        }
    };
    if let Some(ms) = error.retry_after_ms
        && !response.headers().contains_key(header::RETRY_AFTER)
    {
        response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(ms.div_ceil(1000)));
    }
    // What whole seconds cannot say; OpenAI's and Anthropic's SDKs look here first.
    if let Some(ms) = error.retry_after_ms.filter(|ms| ms % 1000 != 0) {
        response.headers_mut().insert("retry-after-ms", HeaderValue::from(ms));
    }
    response
}

/// A dialect that writes its errors in the wrapper of the operators' interface is not told which request they are of, so that is put in here, as it
/// is into the host's own.
fn sign(body: &mut Vec<u8>, id: &str) {
    const WRAPPER: &[u8] = b"{\"success\":false,";
    if !body.starts_with(WRAPPER) {
        return;
    }
    let Ok(Value::Object(mut document)) = serde_json::from_slice(body) else { return };
    if !document.contains_key("request_id") {
        document.insert("request_id".into(), id.into());
        document.insert("timestamp".into(), OffsetDateTime::now_utc().format(&Rfc3339).unwrap_or_default().into());
        *body = Value::Object(document).to_string().into_bytes();
    }
}

/// An error without a dialect.
pub fn plain(error: &ChatError) -> Response {
    let body = serde_json::json!({"error": {"type": error.class.name(), "message": error.message}});
    let mut response = Response::new(Body::from(body.to_string()));
    *response.status_mut() = StatusCode::from_u16(error.http_status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}

/// What an extension replied, as a response. Framing is the host's: a guest cannot set it.
pub fn reply(reply: Reply) -> Response {
    let mut response = Response::new(Body::from(reply.body));
    *response.status_mut() = match StatusCode::from_u16(reply.status) {
        Ok(status) if status.as_u16() >= 200 => status,
        _ => StatusCode::INTERNAL_SERVER_ERROR,
    };
    add_headers(&mut response, reply.headers.into_iter().map(|h| (h.name, h.value)));
    response
}

/// Header fields that extensions may not set: the connection and the framing are the host's.
const RESERVED: [HeaderName; 9] = [
    header::CONNECTION,
    header::CONTENT_LENGTH,
    header::HOST,
    header::TE,
    header::TRAILER,
    header::TRANSFER_ENCODING,
    header::UPGRADE,
    HeaderName::from_static("keep-alive"),
    HeaderName::from_static("proxy-connection"),
];

/// Most bytes of header fields that extensions may add to one response, and most fields. Common HTTP/1 clients refuse answers with more
/// than 100 fields, and those of the host and the provider come on top.
const MAX_HEADER_BYTES: usize = 32 << 10;
const MAX_HEADERS: usize = 64;

/// Adds header fields of extensions. Those that no header can be, that are reserved, or that are too many are left out with one
/// line in the log.
pub fn add_headers(response: &mut Response, fields: impl IntoIterator<Item = (String, String)>) {
    let (mut added, mut bytes) = (0, 0);
    let mut refused: Vec<String> = Vec::new();
    for (name, value) in fields {
        let length = name.len() + value.len();
        let fits = added < MAX_HEADERS && bytes + length <= MAX_HEADER_BYTES;
        match (HeaderName::try_from(name.as_str()), HeaderValue::try_from(value)) {
            (Ok(name), Ok(value)) if fits && !RESERVED.contains(&name) => {
                (added, bytes) = (added + 1, bytes + length);
                response.headers_mut().insert(name, value);
            }
            _ => refused.push(name),
        }
    }
    if let Some(first) = refused.first() {
        // The name is the guest's, and may be as long as it likes.
        let first: String = first.chars().take(64).collect();
        tracing::warn!(header = first, count = refused.len(), "an extension set header fields that it may not set; left out");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_in_the_wrapper_gets_the_requests_id() {
        let check = |body: &str, expect: &str| {
            let mut bytes = body.as_bytes().to_vec();
            sign(&mut bytes, "r-1");
            let found = String::from_utf8_lossy(&bytes);
            assert!(found.starts_with(expect), "{body}: {found}");
        };
        check(r#"{"success":false,"error":{}}"#, r#"{"success":false,"error":{},"request_id":"r-1","timestamp":"2"#);
        let others = [r#"{"success":false,"request_id":"own"}"#, r#"{"error":{}}"#, r#"{"success":false,"#, "", "not JSON"];
        others.into_iter().for_each(|body| check(body, body));
    }
}
