//! What an operator asks of a gateway: swaps, rollouts, and what became of them.

use futures_util::StreamExt as _;
use http::Method;
use serde_json::Value;
use sha2::{Digest as _, Sha256};

use crate::{Answer, Client, soon};

/// The steps of the gate, in their order.
pub const STEPS: [&str; 9] = ["size", "format", "contract", "capabilities", "compile", "configure", "self-test", "replay", "publish"];

impl Client {
    /// Sends a component. `query` is what follows the question mark.
    pub async fn put(&self, name: &str, component: impl Into<Vec<u8>>, query: &str) -> Answer {
        self.send(self.putting(name, component, query)).await
    }

    fn putting(&self, name: &str, component: impl Into<Vec<u8>>, query: &str) -> reqwest::RequestBuilder {
        self.request(Method::PUT, &format!("/api/extensions/{name}?{query}")).body(component.into())
    }

    /// Sends a component that must be let in, and returns the attempt.
    pub async fn swap(&self, name: &str, component: impl Into<Vec<u8>>, query: &str) -> Value {
        let answer = self.put(name, component, query).await;
        let document = answer.json();
        assert_eq!((answer.status, &document["success"]), (200, &Value::Bool(true)), "{document}");
        document["data"].clone()
    }

    /// Sends a component that must be refused, and returns why and the attempt.
    pub async fn refused(&self, name: &str, component: impl Into<Vec<u8>>, query: &str) -> (String, Value) {
        let answer = self.put(name, component, query).await;
        let document = answer.json();
        let error = &document["error"];
        assert_eq!((answer.status, &document["success"], &error["code"]), (422, &Value::Bool(false), &"refused".into()), "{document}");
        (error["message"].as_str().expect("a refusal says why").to_owned(), error["details"].clone())
    }

    /// Sends a component and reads the steps of the gate line by line, as long as `goes_on` says so of each. The lines.
    pub async fn swap_by_steps(&self, name: &str, component: impl Into<Vec<u8>>, mut goes_on: impl FnMut(&Value) -> bool) -> Vec<Value> {
        let request = self.putting(name, component, "").header("accept", "application/x-ndjson");
        let response = soon("head of the steps", request.send()).await.expect("the gateway answers");
        assert_eq!((response.status().as_u16(), response.headers()["content-type"].to_str().ok()), (200, Some("application/x-ndjson")));
        let (mut body, mut unread, mut lines) = (response.bytes_stream(), Vec::new(), Vec::new());
        while let Some(piece) = soon("next step", body.next()).await {
            unread.extend_from_slice(&piece.expect("the answer is complete"));
            while let Some(end) = unread.iter().position(|b| *b == b'\n') {
                let line: Vec<u8> = unread.drain(..=end).collect();
                let line: Value = serde_json::from_slice(&line).expect("each line is JSON");
                lines.push(line.clone());
                if !goes_on(&line) {
                    return lines;
                }
            }
        }
        if !unread.is_empty() {
            lines.push(serde_json::from_slice(&unread).expect("the last line is JSON"));
        }
        lines
    }

    /// `POST` of an order that must be carried out, and the attempt that it was.
    pub async fn order(&self, path: &str) -> Value {
        let answer = self.send(self.request(Method::POST, path)).await;
        assert_eq!(answer.status, 200, "{}", answer.text());
        answer.json()["data"].clone()
    }

    /// Makes a candidate active.
    pub async fn promote(&self, name: &str) -> Value {
        self.order(&format!("/api/extensions/{name}/promote")).await
    }

    /// Ends a candidate, or returns to the version before.
    pub async fn roll_back(&self, name: &str) -> Value {
        self.order(&format!("/api/extensions/{name}/rollback")).await
    }

    /// The generations, and the history of attempts.
    pub async fn generations(&self) -> Value {
        let document = self.get("/api/generations").await.json();
        document.get("data").unwrap_or(&document).clone()
    }

    /// All attempts, the newest first.
    pub async fn history(&self) -> Vec<Value> {
        self.generations().await["history"].as_array().expect("a history").clone()
    }

    /// Waits until an attempt that fulfils a condition has ended, and returns it. Those of the past count.
    pub async fn attempt(&self, what: &str, condition: impl Fn(&Value) -> bool) -> Value {
        let found = async {
            loop {
                let ended = self.history().await.into_iter().find(|a| a["outcome"] != "running" && condition(a));
                if let Some(attempt) = ended {
                    return attempt;
                }
                tokio::task::yield_now().await;
            }
        };
        soon(&format!("attempt: {what}"), found).await
    }

    /// Waits until what operators see of an extension fulfils a condition.
    pub async fn extension_when(&self, name: &str, what: &str, condition: impl Fn(&Value) -> bool) -> Value {
        let found = async {
            loop {
                let extension = self.extension(name).await;
                if condition(&extension) {
                    return extension;
                }
                tokio::task::yield_now().await;
            }
        };
        soon(&format!("extension `{name}` with {what}"), found).await
    }
}

/// A digest as the gateway writes it: of a component's bytes, or of a caller's key.
pub fn digest(bytes: impl AsRef<[u8]>) -> String {
    let hex: String = Sha256::digest(bytes).iter().map(|b| format!("{b:02x}")).collect();
    format!("sha256:{hex}")
}
