//! The native side: the extension's own functions against the SDK's `FakeHost`.

use std::collections::BTreeMap;

use llm_codec::Format;
use serde_json::Value;
use wasmgate_sdk::prelude::*;
use wasmgate_sdk::providers::ProviderInfo;

use crate::{Case, Line, Provider, Setup};

/// Sets the thread's host up and makes the extension. An error is what the operator would read.
pub fn start<E: Extension>(setup: &Setup) -> Result<E, String> {
    let mut providers: Vec<ProviderInfo> = setup.providers.iter().map(provider).collect();
    // The gateway has them by name.
    providers.sort_by(|a, b| a.name.cmp(&b.name));
    FakeHost { providers, ..FakeHost::default() }.install();
    E::configure(serde_json::from_value(setup.config.clone()).map_err(|e| e.to_string())?)
}

fn provider(provider: &Provider) -> ProviderInfo {
    let format = if provider.kind == "anthropic" { Format::AnthropicMessages } else { Format::OpenaiChat };
    ProviderInfo {
        name: provider.name.into(),
        kind: provider.kind.into(),
        format: format.as_str().into(),
        default_model: provider.default_model.map(Into::into),
        models: provider.models.iter().map(|m| (*m).into()).collect(),
    }
}

/// A case as the SDK's request, and the scalars that hooks are given.
pub fn request(case: &Case) -> (CallInfo, FakeRequest) {
    let chat = Format::OpenaiChat.decode_request(case.body.to_string().as_bytes()).expect("the case is a valid request");
    let request = FakeRequest {
        chat,
        headers: case.headers.iter().map(|(n, v)| ((*n).to_owned(), (*v).to_owned())).collect(),
        notes: case.notes.iter().cloned().collect(),
        provider: case.chosen.map(Into::into),
        ..FakeRequest::new("")
    };
    let mut call = request.call();
    call.model = case.model.map_or(call.model, Into::into);
    (call, request)
}

/// A request as a dialect finds it.
pub fn incoming(path: &str, body: &Value) -> Incoming {
    let path_params = crate::path_params(path).into_iter().collect();
    FakeIncoming { headers: BTreeMap::new(), path_params, ..FakeIncoming::post(path, body.clone()) }.handle()
}

/// What was logged.
pub fn log() -> Vec<Line> {
    let level = |line: &wasmgate_sdk::fake::LogLine| format!("{:?}", line.level).rsplit(':').next().unwrap_or_default().to_uppercase();
    FakeHost::current().log.iter().map(|line| (level(line), line.message.clone())).collect()
}
