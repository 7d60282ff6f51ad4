//! The official SDKs for Python, on every format of upstream. What must hold is in `sdk.rs`.

use wasmgate_tests::{Dialect, python};

use crate::sdk::Scene;

async fn check(client: Dialect, format: Dialect, script: &str) {
    let scene = Scene::new(client, format).await;
    if let Some(seen) = python::run(script, &scene.url(), &[]).await {
        scene.check(&seen);
    }
}

#[tokio::test]
async fn openai_client_on_openai_upstream() {
    check(Dialect::OpenAi, Dialect::OpenAi, "openai_sdk.py").await;
}

#[tokio::test]
async fn openai_client_on_anthropic_upstream() {
    check(Dialect::OpenAi, Dialect::Anthropic, "openai_sdk.py").await;
}

#[tokio::test]
async fn anthropic_client_on_openai_upstream() {
    check(Dialect::Anthropic, Dialect::OpenAi, "anthropic_sdk.py").await;
}

#[tokio::test]
async fn anthropic_client_on_anthropic_upstream() {
    check(Dialect::Anthropic, Dialect::Anthropic, "anthropic_sdk.py").await;
}

#[tokio::test]
async fn responses_client_on_openai_upstream() {
    check(Dialect::Responses, Dialect::OpenAi, "openai_responses_sdk.py").await;
}

#[tokio::test]
async fn responses_client_on_anthropic_upstream() {
    check(Dialect::Responses, Dialect::Anthropic, "openai_responses_sdk.py").await;
}

#[tokio::test]
async fn responses_client_on_responses_upstream() {
    check(Dialect::Responses, Dialect::Responses, "openai_responses_sdk.py").await;
}

#[tokio::test]
async fn openai_client_on_responses_upstream() {
    check(Dialect::OpenAi, Dialect::Responses, "openai_sdk.py").await;
}

#[tokio::test]
async fn anthropic_client_on_responses_upstream() {
    check(Dialect::Anthropic, Dialect::Responses, "anthropic_sdk.py").await;
}
