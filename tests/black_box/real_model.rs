//! One run with a real model: the quickstart configuration as it is, and an answer that nobody scripted.

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
