//! The Vercel AI SDK with its providers for OpenAI (both interfaces) and Anthropic, on every format of upstream. What must hold is in
//! `sdk.rs`.

use wasmgate_tests::{Dialect, node};

use crate::sdk::Scene;

/// How many scenarios the script runs at least.
const SCENARIOS: usize = 23;

/// The script's words for the SDK's providers.
const PROVIDERS: [(Dialect, &str); 3] = [(Dialect::OpenAi, "chat"), (Dialect::Anthropic, "messages"), (Dialect::Responses, "responses")];

async fn check(client: Dialect, format: Dialect) {
    let (_, kind) = PROVIDERS.into_iter().find(|(dialect, _)| *dialect == client).expect("a dialect that the SDK speaks");
    let scene = Scene::new(client, format).await;
    if let Some(seen) = node::run("ai_sdk.cjs", &scene.url(), &[kind]).await {
        scene.check_at_least(SCENARIOS, &seen);
    }
}

#[tokio::test]
async fn openai_chat_on_openai_upstream() {
    check(Dialect::OpenAi, Dialect::OpenAi).await;
}

#[tokio::test]
async fn openai_chat_on_anthropic_upstream() {
    check(Dialect::OpenAi, Dialect::Anthropic).await;
}

#[tokio::test]
async fn openai_chat_on_responses_upstream() {
    check(Dialect::OpenAi, Dialect::Responses).await;
}

#[tokio::test]
async fn openai_responses_on_openai_upstream() {
    check(Dialect::Responses, Dialect::OpenAi).await;
}

#[tokio::test]
async fn openai_responses_on_anthropic_upstream() {
    check(Dialect::Responses, Dialect::Anthropic).await;
}

#[tokio::test]
async fn openai_responses_on_responses_upstream() {
    check(Dialect::Responses, Dialect::Responses).await;
}

#[tokio::test]
async fn anthropic_on_openai_upstream() {
    check(Dialect::Anthropic, Dialect::OpenAi).await;
}

#[tokio::test]
async fn anthropic_on_anthropic_upstream() {
    check(Dialect::Anthropic, Dialect::Anthropic).await;
}

#[tokio::test]
async fn anthropic_on_responses_upstream() {
    check(Dialect::Anthropic, Dialect::Responses).await;
}
