//! The gateway's operators' interface, as a client sees it.

use std::time::Duration;

use reqwest::{Method, RequestBuilder, Response, StatusCode, Url};
use serde_json::Value;

use super::{Failure, report};
use crate::config::Secret;

/// How long connecting may take. It is the same machine.
const CONNECT: Duration = Duration::from_secs(5);

/// How long the gateway may be silent. Attempts take turns, and compiling a large component takes its time.
const SILENCE: Duration = Duration::from_secs(600);

/// A running gateway.
pub struct Server {
    http: reqwest::Client,
    base: Url,
    password: Option<Secret>,
}

impl Server {
    /// The gateway at an address.
    pub fn at(address: &str, password: Option<Secret>) -> Result<Self, Failure> {
        let wrong =
            |why: String| Failure::Usage(format!("`{address}` is no address of a gateway: {why}; write for example http://127.0.0.1:8080"));
        let base: Url = address.parse().map_err(|e| wrong(format!("{e}")))?;
        if !matches!(base.scheme(), "http" | "https") || base.cannot_be_a_base() {
            return Err(wrong("it does not begin with http://".into()));
        }
        // A proxy would make this a request from elsewhere, which is not answered.
        let http = reqwest::Client::builder().no_proxy().connect_timeout(CONNECT).read_timeout(SILENCE).build();
        Ok(Self { http: http.map_err(|e| Failure::Broken(said(&e)))?, base, password })
    }

    /// The document at a path.
    pub async fn get(&self, path: &[&str]) -> Result<String, Failure> {
        let response = self.send(self.request(Method::GET, path, &[])).await?;
        self.document(response).await
    }

    /// What the gateway says to an order.
    pub async fn post(&self, path: &[&str]) -> Result<String, Failure> {
        let response = self.send(self.request(Method::POST, path, &[])).await?;
        self.document(response).await
    }

    /// A request to go on with. Segments of the path are written so that they stay segments, whatever is in them.
    pub fn request(&self, method: Method, path: &[&str], query: &[(&str, String)]) -> RequestBuilder {
        let mut url = self.base.clone();
        if let Ok(mut segments) = url.path_segments_mut() {
            segments.pop_if_empty().extend(path);
        }
        if !query.is_empty() {
            url.query_pairs_mut().extend_pairs(query);
        }
        let request = self.http.request(method, url);
        match &self.password {
            Some(password) => request.bearer_auth(password.expose()),
            None => request,
        }
    }

    /// Sends it and waits for the head of the answer.
    pub async fn send(&self, request: RequestBuilder) -> Result<Response, Failure> {
        request.send().await.map_err(|e| {
            let (at, why) = (self.base.as_str().trim_end_matches('/'), said(&e));
            Failure::Broken(match e.is_connect() {
                true => format!("no gateway answers at {at} ({why}); `--server URL` or WASMGATE_SERVER_URL says where it is"),
                false => format!("the gateway at {at} did not answer: {why}"),
            })
        })
    }

    /// The document in an answer, or what is wrong.
    pub async fn document(&self, response: Response) -> Result<String, Failure> {
        let status = response.status();
        let body = response.bytes().await.map_err(|e| Failure::Broken(format!("the gateway's answer broke off: {}", said(&e))))?;
        let document = String::from_utf8_lossy(&body).into_owned();
        if status == StatusCode::UNAUTHORIZED && self.password.is_none() {
            let message =
                "the gateway wants the operators' password: `--password-file FILE`, or the environment variable WASMGATE_PASSWORD";
            return Err(Failure::Refused { document, message: message.into() });
        }
        if status.is_success() { Ok(document) } else { Err(refused(document, &format!("the gateway answered with status {status}"))) }
    }
}

/// A refusal in the gateway's words, or in ours when it has none.
pub fn refused(document: String, otherwise: &str) -> Failure {
    let value: Value = serde_json::from_str(&document).unwrap_or_default();
    let (message, attempt) = (value["error"]["message"].as_str(), &value["error"]["details"]);
    let message = message.unwrap_or(otherwise);
    let message = if attempt.is_object() { report::refusal(attempt, message) } else { message.to_owned() };
    Failure::Refused { document, message }
}

/// What is at the bottom of an error: the layers above it name each other.
pub fn said(error: &dyn std::error::Error) -> String {
    let mut last = error;
    while let Some(source) = last.source() {
        last = source;
    }
    last.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(address: &str, path: &[&str], query: &[(&str, &str)], expect: &str) {
        // The client wants one even when it never meets TLS; another test may have been faster.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let query: Vec<_> = query.iter().map(|(n, v)| (*n, (*v).to_owned())).collect();
        let found = match Server::at(address, None) {
            Ok(server) => server.request(Method::GET, path, &query).build().unwrap().url().to_string(),
            Err(Failure::Usage(message)) => message,
            Err(other) => panic!("{other:?}"),
        };
        assert!(found.contains(expect), "found `{found}`, expected `{expect}`");
    }

    #[test]
    fn addresses_are_put_together() {
        check("http://127.0.0.1:1", &["api", "extensions"], &[], "http://127.0.0.1:1/api/extensions");
        check("http://127.0.0.1:1/", &["api", "extensions"], &[], "http://127.0.0.1:1/api/extensions");
        check("http://h/under", &["api"], &[], "http://h/under/api");
        check("http://h", &["api", "a/b?c"], &[("key", "sha256:0"), ("grant", "a,b")], "http://h/api/a%2Fb%3Fc?key=sha256%3A0&grant=a%2Cb");
        check("127.0.0.1:8080", &[], &[], "is no address of a gateway");
        check("file:///etc", &[], &[], "does not begin with http://");
    }

    #[test]
    fn refusals_are_in_the_gateways_words() {
        for (document, expect) in [
            (r#"{"success":false,"error":{"code":"not_found","message":"there is no `a`"}}"#, "there is no `a`"),
            (
                r#"{"success":false,"error":{"message":"it traps","details":{"id":7,"from":"0.1.0"}}}"#,
                "refused: it traps (attempt 7); 0.1.0 goes on",
            ),
            (r#"{"error":"it traps"}"#, "otherwise"),
            ("<html>", "otherwise"),
        ] {
            let Failure::Refused { message, .. } = refused(document.into(), "otherwise") else { panic!("it is a refusal") };
            assert_eq!(message, expect);
        }
    }
}
