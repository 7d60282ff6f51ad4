//! The access log: a line for every request, when its last byte was handed on or whoever waited for it has left.
//!
//! What is absent: bodies, header fields, and values of the query that may be secrets.

use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Instant;

use axum::body::Body;
use axum::response::Response;
use bytes::Bytes;
use http::{Method, Request, Uri, Version};
use hyper::body::{Body as HttpBody, Frame, SizeHint};

use super::client::Client;
use crate::extensions::is_secret_parameter;
use crate::telemetry::ACCESS;

/// A line that is written when it is dropped, whatever became of the request until then.
pub struct Line {
    id: String,
    method: Method,
    target: String,
    version: Version,
    client: Client,
    received: Instant,
    status: Option<u16>,
    first_byte: Option<Instant>,
    bytes: u64,
    is_complete: bool,
}

impl Line {
    /// The line of a request that was just received.
    pub fn of<B>(request: &Request<B>, id: &str, client: Client) -> Self {
        Self {
            id: id.to_owned(),
            method: request.method().clone(),
            target: shown(request.uri()),
            version: request.version(),
            client,
            received: Instant::now(),
            status: None,
            first_byte: None,
            bytes: 0,
            is_complete: false,
        }
    }

    /// Goes on with the answer: the line is written when its body ends.
    pub fn follow(mut self, response: Response) -> Response {
        self.status = Some(response.status().as_u16());
        self.is_complete = self.method == Method::HEAD || response.body().is_end_stream();
        response.map(|body| Body::new(Counted { body, line: self }))
    }
}

impl Drop for Line {
    fn drop(&mut self) {
        let ms = |until: Instant| (until - self.received).as_secs_f64() * 1e3;
        tracing::info!(
            target: ACCESS,
            request_id = self.id,
            client = %self.client.0,
            method = self.method.as_str(),
            path = self.target,
            protocol = ?self.version,
            status = self.status,
            bytes = self.bytes,
            duration_ms = ms(Instant::now()),
            first_byte_ms = self.first_byte.map(ms),
            complete = self.is_complete,
            "access"
        );
    }
}

/// The path and query as the log may have them.
fn shown(uri: &Uri) -> String {
    let Some(query) = uri.query() else { return uri.path().to_owned() };
    // What a browser brings back from logging in to a provider is worth tokens.
    let all = uri.path().starts_with("/api/oauth/") && uri.path().ends_with("/callback");
    let parameters = query.split('&').map(|parameter| match parameter.split_once('=') {
        Some((name, _)) if all || is_secret(name) => format!("{name}=***"),
        _ => parameter.to_owned(),
    });
    format!("{}?{}", uri.path(), parameters.collect::<Vec<_>>().join("&"))
}

/// Names may be written with escapes.
fn is_secret(name: &str) -> bool {
    form_urlencoded::parse(name.as_bytes()).any(|(name, _)| is_secret_parameter(&name))
}

/// A body whose bytes are counted.
struct Counted {
    body: Body,
    line: Line,
}

impl HttpBody for Counted {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let frame = ready!(Pin::new(&mut self.body).poll_frame(context));
        match &frame {
            None => self.line.is_complete = true,
            Some(Ok(frame)) => {
                if let Some(data) = frame.data_ref() {
                    self.line.first_byte.get_or_insert_with(Instant::now);
                    self.line.bytes += data.len() as u64;
                }
                // Of a body whose length is known nobody asks for the end.
                self.line.is_complete = self.body.is_end_stream();
            }
            Some(Err(_)) => {}
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_of_the_query_are_not_shown() {
        for (uri, expect) in [
            ("/v1/models", "/v1/models"),
            ("/v1beta/models/m:generateContent?key=AIza123&alt=sse", "/v1beta/models/m:generateContent?key=***&alt=sse"),
            ("/x?access_token=abc&limit=3", "/x?access_token=***&limit=3"),
            ("/x?a%70i_key=abc", "/x?a%70i_key=***"),
            ("/x?flag&sig=", "/x?flag&sig=***"),
            ("/api/oauth/claude/callback?code=abc&state=def", "/api/oauth/claude/callback?code=***&state=***"),
            ("/x/callback?state=open", "/x/callback?state=open"),
        ] {
            assert_eq!(shown(&uri.parse().unwrap()), expect);
        }
    }
}
