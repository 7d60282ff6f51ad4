//! The official SDKs for Node, on every format of upstream. What must hold is in `sdk.rs`.

use wasmgate_tests::{Dialect, node};

use crate::sdk::Scene;

async fn check(client: Dialect, format: Dialect, script: &str) {
    let scene = Scene::new(client, format).await;
    if let Some(seen) = node::run(script, &scene.url(), &[]).await {
        scene.check(&seen);
    }
}

#[tokio::test]
async fn openai_client_on_openai_upstream() {
    check(Dialect::OpenAi, Dialect::OpenAi, "openai_sdk.cjs").await;
}

#[tokio::test]
async fn openai_client_on_anthropic_upstream() {
    check(Dialect::OpenAi, Dialect::Anthropic, "openai_sdk.cjs").await;
}

#[tokio::test]
async fn anthropic_client_on_openai_upstream() {
    check(Dialect::Anthropic, Dialect::OpenAi, "anthropic_sdk.cjs").await;
}

#[tokio::test]
async fn anthropic_client_on_anthropic_upstream() {
    check(Dialect::Anthropic, Dialect::Anthropic, "anthropic_sdk.cjs").await;
}

#[tokio::test]
async fn responses_client_on_openai_upstream() {
    check(Dialect::Responses, Dialect::OpenAi, "openai_responses_sdk.cjs").await;
}

#[tokio::test]
async fn responses_client_on_anthropic_upstream() {
    check(Dialect::Responses, Dialect::Anthropic, "openai_responses_sdk.cjs").await;
}

#[tokio::test]
async fn responses_client_on_responses_upstream() {
    check(Dialect::Responses, Dialect::Responses, "openai_responses_sdk.cjs").await;
}

#[tokio::test]
async fn openai_client_on_responses_upstream() {
    check(Dialect::OpenAi, Dialect::Responses, "openai_sdk.cjs").await;
}

#[tokio::test]
async fn anthropic_client_on_responses_upstream() {
    check(Dialect::Anthropic, Dialect::Responses, "anthropic_sdk.cjs").await;
}
