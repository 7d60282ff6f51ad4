//! One run with a real model: the quickstart configuration as it is, and an answer that nobody scripted.

use serde_json::json;
use wasmgate_tests::model::Model;
use wasmgate_tests::{Client, Gateway, python, repo};

#[tokio::test]
async fn real_model_streams_through_the_quickstart_in_both_dialects() {
    let Some(model) = Model::start() else { return };
    let config = std::fs::read_to_string(repo::path("configs/quickstart.yaml")).unwrap();
    let gateway = Gateway::builder(&config).env("MODEL_BASE_URL", &model.base_url).start().await;
    let Some(seen) = python::run("real_model.py", &gateway.url(), &[]).await else { return };
    println!("{seen}");
    for sdk in ["openai", "anthropic"] {
        let answer = &seen[sdk];
        assert!(answer["text"].as_str().unwrap().contains("Paris"), "{sdk}: {answer}");
        assert!(answer["pieces"].as_u64().unwrap() >= 3, "{sdk}: it was streamed: {answer}");
        assert!(answer["input"].as_u64().unwrap() > 5, "{sdk}: {answer}");
        assert!((2..=24).contains(&answer["output"].as_u64().unwrap()), "{sdk}: {answer}");
        assert!(["stop", "length", "end_turn", "max_tokens"].contains(&answer["stop"].as_str().unwrap()), "{sdk}: {answer}");
    }
    assert_eq!(seen["openai"]["text"], seen["anthropic"]["text"], "the same question at temperature 0");
    let listed = Client::new(&gateway).get("/v1/models").await.json();
    assert_eq!(listed["data"][0]["id"], "smollm2");
}

#[tokio::test]
async fn the_best_of_three_answers_of_a_real_model() {
    let Some(model) = Model::start() else { return };
    let config = std::fs::read_to_string(repo::path("configs/quickstart.yaml")).unwrap();
    let best = "extensions:\n  best_of_n: {grant: [clock, generate, metrics, providers, wasi], config: {synthesis_method: vote}}\n";
    assert!(config.contains("extensions:\n"), "{config}");
    let gateway = Gateway::builder(&config.replace("extensions:\n", best)).env("MODEL_BASE_URL", &model.base_url).start().await;
    let client = Client::new(&gateway);
    let wish =
        json!({"model": "best:3:smollm2", "max_tokens": 24, "messages": [{"role": "user", "content": "What is the capital of France?"}]});
    let answer = client.post("/v1/chat/completions", &wish).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    let text = answer.json()["choices"][0]["message"]["content"].as_str().unwrap_or_default().to_owned();
    assert!(!text.trim().is_empty(), "{}", answer.text());
    let told = answer.header("x-wasmgate-best-of-n");
    assert!(told.starts_with("chosen=") && told.contains(" of 3; method=vote; scores="), "{told}");
    println!("{told}: {text}");
    let record = client.record(answer.header("x-request-id")).await;
    assert_eq!(record["outcome"], "success", "{record}");
}
