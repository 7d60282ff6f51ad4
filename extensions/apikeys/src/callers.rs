//! What the host asks: who the caller of another extension's route is, and which models they may use.

use serde_json::{Value, json};
use wasmgate_sdk::HttpRequest;
use wasmgate_sdk::catalogue::{self, Asked};
use wasmgate_sdk::prelude::*;

use crate::permissions::Wish;
use crate::{ApiKeys, credential, unreadable};

/// The paths of the manifest.
pub const IDENTITY: &str = "/apikeys/identity";
pub const CATALOGUE: &str = "/apikeys/catalogue";

/// Who a request is of: `{"name": …}`, nothing when no key came with it, or why the key does not open.
pub fn identity(keys: &ApiKeys, request: &HttpRequest) -> Reply {
    let header = |name: &str| {
        let value = request.headers.iter().find(|(n, _)| n == name)?;
        String::from_utf8(value.1.clone()).ok()
    };
    let Some(secret) = credential::find(header, || request.query.clone()) else {
        return Reply { status: 204, headers: Vec::new(), body: Vec::new() };
    };
    match keys.find(&secret) {
        Ok(found) => document(200, &json!({"name": found.key.name, "team": found.key.team})),
        Err(error) => {
            let told = json!({"message": error.message, "code": error.code, "retry_after_ms": error.retry_after_ms});
            document(error.http_status(), &told)
        }
    }
}

/// The models of a list that a caller may use. Nobody is the operator, who may see all.
pub fn catalogue(keys: &ApiKeys, request: &HttpRequest) -> Reply {
    let Some(mut asked) = Asked::read(request) else { return Reply::json(400, Vec::new()) };
    if let Some(name) = asked.caller["name"].as_str() {
        let key = match keys.named(name) {
            Ok(key) => key,
            Err(reason) => return Reply::json(unreadable(&reason).http_status(), Vec::new()),
        };
        // A key that was revoked meanwhile may use nothing.
        let scopes = key.as_ref().map(|key| keys.scopes(key));
        asked.models.retain(|m| {
            let wish = Wish { requested: &m.id, alias: m.id != m.model, provider: &m.provider, model: &m.model };
            scopes.as_ref().is_some_and(|scopes| scopes.iter().all(|s| s.rules.may_use(&wish).is_ok()))
        });
    }
    catalogue::answer(&asked.models)
}

/// A JSON document.
fn document(status: u16, document: &Value) -> Reply {
    Reply::json(status, document.to_string().into_bytes())
}
