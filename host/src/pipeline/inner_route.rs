//! Paths that an extension asks of another one, in the name of a caller. It is the caller who asks, with their key. What the operators' password
//! keeps closed at the door and an extension lets callers use (`access = "caller"`), a caller may use here too, because who asks is known.

use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use http::{HeaderValue, Method, Uri, header};
use http_body_util::{BodyExt as _, Limited};
use llm_codec::hub::{ChatError, ErrorClass};

use super::inner::Asking;
use super::{Answers, Caller, HttpCaller, Incoming, Match, Route, callers, guest_http};
use crate::extensions::Access;
use crate::extensions::bindings::wasmgate::extension::http::{Header, Reply};
use crate::ingress::is_closed;

/// Longest answer, in bytes.
const MAX_ANSWER: usize = 4 << 20;

/// Fields of the caller's head that say something of the caller's own request, and would be wrong about this one.
const OWN: [&str; 8] =
    ["content-length", "transfer-encoding", "content-encoding", "expect", "accept", "accept-encoding", "origin", "last-event-id"];

impl Caller {
    /// Whether an extension answers a path by itself.
    pub fn answered(&self, method: &str, path: &str) -> bool {
        method.parse().is_ok_and(|method| self.handler(&method, path).is_some())
    }

    fn handler(&self, method: &Method, path: &str) -> Option<(Route, Vec<(String, String)>)> {
        match self.context().generation.routes.find(method, path) {
            Match::Found(route, params) if route.answers == Answers::Http => Some((route, params)),
            _ => None,
        }
    }

    fn is_operator(&self) -> bool {
        matches!(self, Self::Http(http) if http.operator)
    }
}

impl Asking {
    /// Asks a path, and waits for the whole answer.
    pub async fn route(&self, method: &str, target: &str, body: Vec<u8>) -> Result<Reply, ChatError> {
        let number = self.number()?;
        let uri: Uri =
            target.parse().map_err(|_| invalid("path", format!("`{}` is no path; write it like `/usage?limit=10`", shown(target))))?;
        let method: Method = method.parse().map_err(|_| invalid("method", format!("`{}` is none", shown(method))))?;
        let caller = &self.caller;
        let Some((route, params)) = caller.handler(&method, uri.path()) else {
            return Err(ChatError::new(ErrorClass::NotFound, format!("No extension answers `{method} {}` by itself.", uri.path())));
        };
        let operator = caller.is_operator();
        // What is open only because a password is in front of it, stays behind the password.
        let behind = is_closed(&caller.context().generation.config.auth, uri.path()) && !operator;
        if behind && route.extension.manifest.access == Access::Open {
            return Err(ChatError::new(ErrorClass::Permission, format!("`{}` is for operators.", uri.path())));
        }
        let mut head = caller.head().clone();
        (head.method, head.uri) = (method, uri);
        OWN.iter().for_each(|name| drop(head.headers.remove(*name)));
        head.headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
        let (context, id) = (caller.context().clone(), format!("{}.{number}", caller.id()));
        let incoming = Incoming::opaque(head, params, Instant::now(), Bytes::from(body));
        let answered = async {
            let incoming = callers::admit(&context, &id, &route.extension, incoming, operator).await?;
            let (head, budget, depth) = (incoming.head.clone(), Arc::clone(caller.budget()), caller.depth() + 1);
            let inner = HttpCaller { context: context.clone(), id: id.clone(), head, budget, depth, operator };
            let response = guest_http::call(&route.extension, incoming, Caller::Http(Arc::new(inner))).await?;
            let (head, body) = response.into_parts();
            let body = Limited::new(body, MAX_ANSWER).collect().await.map_err(|error| {
                tracing::warn!(extension = route.extension.name(), %error, "an answer to another extension broke off or is too long");
                ChatError::new(ErrorClass::Internal, format!("The answer broke off or is longer than {MAX_ANSWER} bytes."))
            })?;
            let text = |value: &HeaderValue| value.to_str().ok().map(str::to_owned);
            let headers = head.headers.iter().filter_map(|(name, value)| Some(Header { name: name.to_string(), value: text(value)? }));
            Ok(Reply { status: head.status.as_u16(), headers: headers.collect(), body: body.to_bytes().into() })
        };
        let patience = self.services.limits.generate;
        tokio::time::timeout(patience, answered).await.unwrap_or_else(|_| Err(self.late(patience)))
    }
}

fn invalid(param: &str, what: String) -> ChatError {
    ChatError { param: Some(param.into()), ..ChatError::new(ErrorClass::InvalidRequest, format!("`{param}`: {what}.")) }
}

fn shown(text: &str) -> String {
    text.chars().take(80).collect()
}
