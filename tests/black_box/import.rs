//! Configurations of other gateways become one of this: the command, what it prints, and whether the result is good.

use wasmgate_tests::cli;
use wasmgate_tests::repo;

/// What an operator with a key, an alias, a wildcard and a model of their own has.
const LITELLM: &str = "\
model_list:
  - model_name: gpt-4o
    litellm_params: {model: openai/gpt-4o, api_key: os.environ/OPENAI_API_KEY, rpm: 100}
  - model_name: smart
    litellm_params:
      model: anthropic/claude-sonnet-4-5
      api_key: sk-ant-stands-in-the-file
  - model_name: local
    litellm_params: {model: hosted_vllm/qwen3, api_base: \"http://127.0.0.1:9/v1\"}
  - model_name: \"groq/*\"
    litellm_params: {model: \"groq/*\", api_key: os.environ/GROQ_API_KEY}
  - model_name: bed
    litellm_params: {model: bedrock/anthropic.claude-3-sonnet}
litellm_settings: {drop_params: true}
";

const ENVIRONMENT: [(&str, &str); 4] =
    [("OPENAI_API_KEY", "a"), ("ANTHROPIC_API_KEY", "b"), ("GROQ_API_KEY", "c"), ("OPENROUTER_API_KEY", "d")];

/// The result passes `check` without a warning.
fn assert_good(file: &std::path::Path) {
    let (components, cache) = (repo::components(), format!("cache={}", repo::cache().display()));
    let args = ["check", "--strict", "--config", file.to_str().unwrap(), "--components", components.to_str().unwrap(), "--set", &cache];
    let checked = cli::run_with(&args, &ENVIRONMENT);
    assert_eq!(checked.code, 0, "{checked:?}\n{}", std::fs::read_to_string(file).unwrap());
}

#[test]
fn a_configuration_of_litellm_becomes_a_good_one() {
    let folder = tempfile::tempdir().unwrap();
    let (old, new) = (folder.path().join("config.yaml"), folder.path().join("gateway.yaml"));
    std::fs::write(&old, LITELLM).unwrap();
    let (old, shown) = (old.to_str().unwrap(), new.to_str().unwrap());
    let imported = cli::run(&["import", "litellm", old, "--output", shown]);
    assert_eq!(imported.code, 0, "{imported:?}");
    for (line, words) in [(3, "litellm_params.rpm"), (7, "environment variable ANTHROPIC_API_KEY"), (13, "AWS Bedrock")] {
        let place = format!("{old}:{line}: ");
        assert!(imported.stderr.lines().any(|l| l.starts_with(&place) && l.contains(words)), "{line} {words}\n{}", imported.stderr);
    }
    assert_good(&new);
    let yaml = std::fs::read_to_string(&new).unwrap();
    assert!(!format!("{yaml}{imported:?}").contains("stands-in-the-file"), "a secret was copied\n{yaml}");

    let again = cli::run(&["import", "litellm", old, "--output", shown]);
    assert_eq!(again.code, 2, "what is there is not overwritten: {again:?}");
    let printed = cli::run(&["import", "litellm", old]);
    assert_eq!((printed.code, printed.stdout), (0, yaml), "without a file it goes to standard output");
}

#[test]
fn a_configuration_of_claude_code_router_becomes_a_good_one() {
    let folder = tempfile::tempdir().unwrap();
    let (old, new) = (folder.path().join("config.json"), folder.path().join("gateway.yaml"));
    // Without `Router`, whose slots are settings of a newer `routing` than some gateways have.
    let text = r#"{
  "Providers": [
    {"name": "openrouter", "api_base_url": "https://openrouter.ai/api/v1/chat/completions", "api_key": "$OPENROUTER_API_KEY",
     "models": ["qwen/qwen3-coder"], "transformer": {"use": ["openrouter", "enhancetool"]}}
  ],
  "PORT": 3457
}"#;
    std::fs::write(&old, text).unwrap();
    let imported = cli::run(&["import", "claude-code-router", old.to_str().unwrap(), "--output", new.to_str().unwrap()]);
    assert_eq!(imported.code, 0, "{imported:?}");
    assert!(imported.stderr.contains("arguments of tools are not repaired"), "{imported:?}");
    assert_good(&new);
}

#[test]
fn what_cannot_be_imported_is_exit_code_2() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("other.yaml");
    std::fs::write(&file, "a: [1\n").unwrap();
    let file = file.to_str().unwrap();
    for (args, words) in [
        (&["import", "litellm", "no/such/file"][..], "no/such/file cannot be read"),
        (&["import", "litellm", file], "other.yaml:"),
        (&["import", "litellm", "Cargo.toml"], "Cargo.toml"),
        (&["import", "bifrost", file], "litellm"),
    ] {
        let finished = cli::run(args);
        assert_eq!(finished.code, 2, "{args:?} {finished:?}");
        assert!(finished.stderr.contains(words), "{args:?} {finished:?}");
    }
}
