use super::*;
use crate::config::{Reading, Source};

const LITELLM: &str = r#"model_list:
  - model_name: gpt-4o
    litellm_params:
      model: openai/gpt-4o
      api_key: os.environ/OPENAI_API_KEY
      rpm: 480
  - model_name: smart
    litellm_params: {model: anthropic/claude-sonnet-4-5, api_key: sk-ant-very-secret, api_base: "https://api.anthropic.com"}
  - model_name: balanced
    litellm_params: {model: groq/llama-3.3-70b-versatile, api_key: os.environ/GROQ_API_KEY, weight: 3}
  - model_name: balanced
    litellm_params: {model: together_ai/meta-llama/Llama-3.3-70B, api_key: os.environ/TOGETHER_API_KEY, weight: 1}
  - model_name: local
    litellm_params: {model: ollama/qwen3, api_base: "http://127.0.0.1:11434", timeout: 600}
  - model_name: corporate
    litellm_params: {model: azure/gpt-4o-eu, api_base: "https://x.openai.azure.com", api_key: os.environ/AZURE_API_KEY, api_version: "2024-02-01"}
  - model_name: "openai/*"
    litellm_params: {model: "openai/*", api_key: os.environ/OPENAI_API_KEY}
    model_info: {mode: chat}
litellm_settings:
  drop_params: true
  success_callback: ["langfuse"]
  fallbacks: [{"gpt-4o": ["smart", "nowhere"]}]
router_settings:
  routing_strategy: simple-shuffle
  model_group_alias: {"fast": "balanced"}
general_settings:
  master_key: sk-1234
  database_url: "postgresql://user:pass@db/litellm"
some_day: 1
"#;

/// What is made of a text; a failure names the file.
fn made(from: From, text: &str) -> Made {
    convert(from, "old", text).unwrap()
}

/// The result as settings, with every variable set.
fn settings(made: &Made) -> serde_json::Value {
    let source = Source::parse("new.yaml", &made.to_yaml(), &[], &|name| Some(format!("value-of-{name}")));
    assert_eq!(source.problems, [], "{}", made.to_yaml());
    source.value
}

#[test]
fn a_configuration_of_litellm_is_converted() {
    let made = made(From::Litellm, LITELLM);
    let settings = settings(&made);
    let providers = &settings["providers"];
    assert_eq!(providers["openai"]["type"], "openai");
    assert_eq!(providers["openai"]["api_key"], "value-of-OPENAI_API_KEY");
    assert_eq!(providers["openai"]["on_unsupported"], "drop");
    assert!(providers["openai"].get("models").is_none(), "`openai/*` lets everything through: {providers}");
    assert_eq!(providers["anthropic"]["base_url"], "https://api.anthropic.com/v1");
    assert_eq!(providers["anthropic"]["api_key"], "value-of-ANTHROPIC_API_KEY");
    assert_eq!(providers["groq"]["base_url"], "https://api.groq.com/openai/v1");
    assert_eq!(providers["together-ai"]["models"][0], "meta-llama/Llama-3.3-70B");
    assert_eq!(providers["ollama"]["base_url"], "http://127.0.0.1:11434/v1");
    assert_eq!(providers["ollama"]["first_byte_timeout"], "600000ms");
    assert_eq!(providers["balanced-balanced"]["config"]["strategy"], "weighted");
    assert_eq!(providers["balanced-balanced"]["config"]["providers"][0]["weight"], 3);
    let fallback = &providers["gpt-4o-fallback"]["config"]["providers"];
    assert_eq!((&fallback[0]["provider"], &fallback[1]["model"]), (&"openai".into(), &"claude-sonnet-4-5".into()));
    assert_eq!(settings["aliases"]["smart"], "anthropic/claude-sonnet-4-5");
    assert_eq!(settings["aliases"]["fast"], "balanced");
    assert_eq!(settings["aliases"]["gpt-4o"], "gpt-4o-fallback/gpt-4o");
    assert_eq!(settings["api_keys"][0]["key"], "value-of-LITELLM_MASTER_KEY");
    assert_eq!(settings["server"]["port"], 4_000);
}

#[test]
fn what_litellm_has_and_the_gateway_has_not_is_listed_with_its_line() {
    let made = made(From::Litellm, LITELLM);
    let report = made.report();
    for (line, words) in [
        (6, "`model_list[0].litellm_params.rpm`"),
        (8, "ANTHROPIC_API_KEY"),
        (16, "`corporate` is not converted: Azure OpenAI"),
        (19, "`model_list[6].model_info`"),
        (22, "`litellm_settings.success_callback`"),
        (23, "`nowhere` was not converted"),
        (28, "LITELLM_MASTER_KEY"),
        (29, "`general_settings.database_url`"),
        (30, "`some_day`"),
    ] {
        assert!(report.lines().any(|l| l.starts_with(&format!("old:{line}:")) && l.contains(words)), "{line} {words}\n{report}");
    }
    let lines: Vec<usize> = report.lines().filter_map(|l| l.split(':').nth(1)?.parse().ok()).collect();
    assert!(lines.is_sorted(), "{report}");
    for text in [report, made.to_yaml()] {
        for secret in ["sk-ant-very-secret", "sk-1234", "user:pass"] {
            assert!(!text.contains(secret), "{secret} was copied\n{text}");
        }
    }
}

#[test]
fn every_member_of_a_file_is_converted_or_listed() {
    // Each of these says something that no converter knows.
    let text = LITELLM
        .replace("rpm: 480", "made_up_a: 1")
        .replace("{mode: chat}", "{made_up_b: 1}")
        .replace("drop_params: true", "made_up_c: {d: 1}");
    let report = made(From::Litellm, &text).report();
    for word in ["made_up_a", "model_info", "made_up_c", "some_day"] {
        assert!(report.contains(word), "{word}\n{report}");
    }
    let text = CCR.replace("\"LOG\": true", "\"MADE_UP\": 1").replace("\"image\": \"\"", "\"made_up\": \"x\"");
    let report = made(From::ClaudeCodeRouter, &text).report();
    assert!(report.contains("`MADE_UP`") && report.contains("`Router.made_up`"), "{report}");
}

const CCR: &str = r#"{
  "LOG": true, "LOG_LEVEL": "debug", "HOST": "127.0.0.1", "APIKEY": "my-own-secret", "API_TIMEOUT_MS": "600000", "PROXY_URL": "",
  "Providers": [
    {"name": "openrouter", "api_base_url": "https://openrouter.ai/api/v1/chat/completions", "api_key": "$OPENROUTER_API_KEY",
     "models": ["anthropic/claude-sonnet-4", "google/gemini-2.5-pro"], "transformer": {"use": ["openrouter"]}},
    {"name": "gemini", "api_base_url": "https://generativelanguage.googleapis.com/v1beta/models/", "api_key": "AIza-secret",
     "models": ["gemini-2.5-flash"], "transformer": {"use": ["gemini"]}},
    {"name": "deepseek", "api_base_url": "https://api.deepseek.com/chat/completions", "api_key": "${DEEPSEEK_API_KEY}",
     "models": ["deepseek-chat", "deepseek-reasoner"],
     "transformer": {"use": ["deepseek"], "deepseek-chat": {"use": [["maxtoken", {"max_tokens": 8192}], "tooluse"]}}},
    {"name": "direct", "api_base_url": "https://api.anthropic.com/v1/messages", "api_key": "$ANTHROPIC_API_KEY", "models": ["claude-opus-4-1"]}
  ],
  "Router": {"default": "openrouter,anthropic/claude-sonnet-4", "background": "deepseek,deepseek-chat", "think": "nowhere,x",
    "longContext": "gemini,gemini-2.5-flash", "longContextThreshold": 60000, "image": ""},
  "CUSTOM_ROUTER_PATH": "/etc/ccr/router.js"
}
"#;

#[test]
fn a_configuration_of_claude_code_router_is_converted() {
    let made = made(From::ClaudeCodeRouter, CCR);
    let settings = settings(&made);
    let providers = &settings["providers"];
    assert_eq!(providers["openrouter"]["base_url"], "https://openrouter.ai/api/v1");
    assert_eq!(providers["openrouter"]["api_key"], "value-of-OPENROUTER_API_KEY");
    assert_eq!(
        (&providers["gemini"]["type"], &providers["gemini"]["base_url"]),
        (&"gemini".into(), &"https://generativelanguage.googleapis.com/v1beta".into())
    );
    assert_eq!(providers["deepseek"]["base_url"], "https://api.deepseek.com");
    assert_eq!(
        (&providers["direct"]["type"], &providers["direct"]["base_url"]),
        (&"anthropic".into(), &"https://api.anthropic.com/v1".into())
    );
    let slots = &settings["extensions"]["routing"]["config"]["slots"];
    assert_eq!(slots["default"], "openrouter/anthropic/claude-sonnet-4");
    assert_eq!(slots["background"], "deepseek/deepseek-chat");
    assert_eq!(slots["long_context_tokens"], 60_000);
    assert_eq!(settings["server"]["port"], 3_456);
    let report = made.report();
    for (line, words) in [
        (2, "`APIKEY`"),
        (6, "GEMINI_API_KEY"),
        (10, "transformer.deepseek-chat.use[0]`: `max_tokens`"),
        (13, "`Router.think`"),
        (15, "CUSTOM_ROUTER_PATH"),
    ] {
        assert!(report.lines().any(|l| l.starts_with(&format!("old:{line}:")) && l.contains(words)), "{line} {words}\n{report}");
    }
    for text in [report, made.to_yaml()] {
        assert!(!text.contains("AIza-secret") && !text.contains("my-own-secret"), "a secret was copied\n{text}");
    }
}

#[test]
fn what_the_configuration_reader_knows_already_passes() {
    // Names lead to providers that are real, so nothing of it is newer than the reader.
    let text = "model_list:\n  - model_name: a\n    litellm_params: {model: openai/gpt-4o, api_key: os.environ/K}\n  - model_name: b\n    litellm_params: {model: gemini/gemini-2.5-pro, api_key: os.environ/G}\n";
    let yaml = made(From::Litellm, text).to_yaml();
    let source = Source::parse("new.yaml", &yaml, &[], &|name| Some(format!("value-of-{name}")));
    let problems = Reading::of(source).problems;
    assert_eq!(problems, [], "{yaml}");
}

#[test]
fn comments_are_no_part_of_json() {
    for (text, expect) in [
        ("{\n  // one, \"two\"\n  \"a\": 1}", "{\n  \n  \"a\": 1}"),
        ("{/* one\n two */\"a\": \"http://x/*y*/\"}// end", "{\n\"a\": \"http://x/*y*/\"}"),
        (r#"{"a\"//": "\\"} // x"#, r#"{"a\"//": "\\"} "#),
        ("/* never ends", ""),
        ("a/b", "a/b"),
    ] {
        assert_eq!(without_comments(text), expect, "{text}");
    }
}

#[test]
fn files_that_are_something_else_are_refused() {
    let refused = |from, text| convert(from, "old", text).unwrap_err();
    assert!(refused(From::Litellm, "providers: {}").contains("no `model_list`"));
    assert!(refused(From::ClaudeCodeRouter, "{}").contains("no `Providers`"));
    assert!(refused(From::ClaudeCodeRouter, "{\n  \"a\": [1}").contains("old:"));
    assert!(refused(From::Litellm, "").contains("empty"));
    assert!(refused(From::Litellm, "model_list: !x [1]\n").contains("old:1"));
}

#[test]
fn text_of_the_file_stays_text() {
    for text in ["true", "12", "a: b", "", "a#b", "${HOME}", "x\ny", "Ä"] {
        let yaml = format!("v: {}\n", made::quoted(text));
        let source = Source::parse("new.yaml", &yaml, &[], &|_| None);
        assert_eq!(source.value["v"], text, "{yaml}");
    }
}
