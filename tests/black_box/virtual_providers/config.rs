//! What a configuration of virtual providers may say, how they are listed, and the plan's samples.

use serde_json::{Value, json};
use wasmgate_tests::cli::ConfigFile;
use wasmgate_tests::{Client, Dialect, Gateway};

use super::{TEXTS, ask, gateway, good, text};
use crate::setup;

/// What `check` says about a configuration, which it must refuse or not.
fn check(config: &str, strict: bool, fails: bool, expect: &[&str]) {
    let run = ConfigFile::new(config).check(if strict { &["--strict"] } else { &[] });
    let said = format!("{}{}", run.stdout, run.stderr);
    assert_eq!(run.code != 0, fails, "{said}");
    for part in expect {
        assert!(said.contains(part), "`{part}` in {said}");
    }
}

const ECHO: &str = "providers:\n  a: {type: echo}\n  off: {type: echo, enabled: false}\n";

#[test]
fn mistakes_are_named_with_their_lines() {
    for (virtuals, fails, expect) in [
        ("  v: {type: racing, config: {providers: [a]}}\n", false, &[][..]),
        (
            "  v: {type: racing, config: {providers: [a, b]}}\n",
            false,
            &["yaml:4: warning: `providers.v`: `config.providers` names `b`, and there is no such provider; it is left out."],
        ),
        ("  v: {type: fallback, config: {providers: [off, a]}}\n", false, &["names `off`, which is disabled"]),
        ("  v: {type: fallback, config: {providers: [off, b]}}\n", true, &["none is left"]),
        ("  v: {type: fallback}\n", true, &["names no provider"]),
        ("  v: {type: fallback, config: 7}\n", true, &["`providers.v.config`: found `7`, expected a section"]),
        (
            "  v: {type: racing, config: {providers: [w]}}\n  w: {type: fallback, config: {providers: [a, x]}}\n  x: {type: loadbalance, config: {providers: [v]}}\n",
            true,
            &["yaml:4: error: `providers.v`: virtual providers go in a circle: v → w → x → v."],
        ),
        ("  v: {type: racing, config: {providers: [v]}}\n", true, &["go in a circle: v → v."]),
        (
            "  v: {type: racing, config: {providers: [a], strategy: fastest}}\n",
            true,
            &["`providers.v.config.strategy`: found the text `fastest`, expected `first_wins` or `weighted`"],
        ),
        ("  v: {type: racing, config: {providers: [a], timeout_m: 5}}\n", true, &["there is no such setting. Did you mean `timeout_ms`?"]),
        ("  v: {type: racing, config: {providers: [a], timeout_ms: 0}}\n", true, &["expected at least 1 millisecond"]),
        (
            "  v: {type: fallback, config: {providers: [a], on: [slow]}}\n",
            true,
            &["found the text `slow`, expected `invalid-request`, `context-too-long`"],
        ),
        ("  v: {type: loadbalance, config: {providers: [{provider: a, weight: 0}]}}\n", true, &["`weight` is not more than 0"]),
        ("  v: {type: loadbalance, config: {providers: [{model: m}]}}\n", true, &["`provider` is missing"]),
        (
            "  v: {type: racing, api_key: x, config: {providers: [a]}}\n",
            true,
            &["`providers.v.api_key`: a provider of type `racing` sends nothing itself"],
        ),
        ("  v: {type: echo, config: {providers: [a]}}\n", true, &["has no block `config`"]),
        ("  v: {type: raceing, config: {providers: [a]}}\n", true, &["Did you mean `racing`?"]),
    ] {
        check(&format!("{ECHO}{virtuals}"), false, fails, expect);
    }
    check(&format!("{ECHO}  v: {{type: racing, config: {{providers: [a, b]}}}}\n"), true, true, &["--strict"]);
}

/// The providers of the plan's samples, as it writes them, and what is told of them: members that a sample names and does not define.
const PLANS: [(&str, Option<&str>); 3] = [
    (
        r#"providers:
  openai:
    type: openai
    api_key: ${OPENAI_API_KEY}

  anthropic:
    type: anthropic
    api_key: ${ANTHROPIC_API_KEY}

  # Racing virtual provider
  racing-fast:
    type: racing
    config:
      timeout_ms: 5000
      grace_period_ms: 500
      strategy: first_wins
      providers: ["openai", "anthropic"]

  # Fallback virtual provider
  fallback-reliable:
    type: fallback
    config:
      providers: ["openai", "anthropic", "gemini"]
"#,
        Some("`providers.fallback-reliable`: `config.providers` names `gemini`"),
    ),
    (
        r#"providers:
  openai:
    type: openai
    api_key: ${OPENAI_API_KEY}

  anthropic:
    type: anthropic
    api_key: ${ANTHROPIC_API_KEY}

  racing:
    type: racing
    config:
      providers: ["openai", "anthropic"]
"#,
        None,
    ),
    (
        r#"providers:
  openai:
    type: openai
    api_key: ${OPENAI_API_KEY}

  racing:
    type: racing
    config:
      providers: ["openai", "anthropic"]
      strategy: first_wins
"#,
        Some("`providers.racing`: `config.providers` names `anthropic`"),
    ),
];

#[test]
fn the_providers_of_the_plans_samples_are_accepted_as_they_are() {
    for (plan, missing) in PLANS {
        for strict in [false, true] {
            let run = ConfigFile::new(plan).check(if strict { &["--strict"] } else { &[] });
            let said = format!("{}{}", run.stdout, run.stderr);
            // Without its key each provider is a warning too.
            assert_eq!(run.code != 0, strict, "{said}");
            assert!(missing.is_none_or(|part| said.contains(part)), "{said}");
            assert!(!said.contains("error: `"), "{said}");
        }
    }
}

#[tokio::test]
async fn the_plans_race_answers_under_its_own_name_and_under_its_members() {
    let (openai, anthropic) = (good(0, Dialect::OpenAi).await, good(1, Dialect::Anthropic).await);
    // As in the sample, with models and with the addresses of the test.
    let native =
        |name: &str, format, url: &str, more: &str| setup::named_provider(name, format, url).replace("}\n", &format!(", {more}}}\n"));
    let providers = [
        native("openai", Dialect::OpenAi, &openai.url(), "models: [gpt-4o, gpt-4o-mini], default_model: gpt-4o"),
        native("anthropic", Dialect::Anthropic, &anthropic.url(), "default_model: claude-haiku"),
        "  racing:\n    type: racing\n    config:\n      providers: [\"openai\", \"anthropic\"]\n".to_owned(),
    ];
    let gateway = Gateway::start(&setup::config(&providers.concat(), "")).await;
    let client = Client::new(&gateway);
    let listed = client.get(Dialect::OpenAi.models_path()).await.json();
    let ids: Vec<_> = listed["data"].as_array().expect("a list").iter().map(|m| m["id"].as_str().expect("an id")).collect();
    assert_eq!(ids, ["claude-haiku", "gpt-4o", "gpt-4o-mini", "racing", "racing/claude-haiku", "racing/gpt-4o", "racing/gpt-4o-mini"]);
    for (model, expect) in
        [("racing", ["gpt-4o", "claude-haiku"]), ("racing/", ["gpt-4o", "claude-haiku"]), ("racing/gpt-4o-mini", ["gpt-4o-mini"; 2])]
    {
        let answer = ask(&client, Dialect::OpenAi, model, true).await;
        let winner = if answer.header("x-wasmgate-racing-winner") == "openai" { 0 } else { 1 };
        assert_eq!(text(Dialect::OpenAi, &answer, true), TEXTS[winner], "{model}");
        assert_eq!(answer.header("x-wasmgate-model"), expect[winner], "{model}");
    }
    // A plain name still means the provider that has it.
    let answer = ask(&client, Dialect::OpenAi, "gpt-4o", false).await;
    assert_eq!((answer.header("x-wasmgate-provider"), answer.header("x-wasmgate-racing-winner")), ("openai", ""));
}

#[tokio::test]
async fn a_model_that_no_member_has_is_not_found() {
    let one = good(0, Dialect::OpenAi).await;
    let native = setup::named_provider("one", Dialect::OpenAi, &one.url()).replace("}\n", ", models: [a, b]}\n");
    let gateway = Gateway::start(&setup::config(&format!("{native}  v: {{type: racing, config: {{providers: [one]}}}}\n"), "")).await;
    let client = Client::new(&gateway);
    for dialect in Dialect::ALL {
        let answer = ask(&client, dialect, "v/c", false).await;
        let (_, message) = dialect.error(&answer.json());
        assert_eq!(answer.status, 404, "{message}");
        assert!(message.contains("`c`") && message.contains("None of `one` offers it"), "{message}");
    }
    assert!(one.received().is_empty());
}

#[tokio::test]
async fn a_virtual_provider_may_be_the_default_one() {
    let one = good(0, Dialect::OpenAi).await;
    let (_gateway, client) = gateway(&[(Dialect::OpenAi, &one)], "  v: {type: racing, config: {providers: [one]}}\n").await;
    // One native provider alone is the default, whatever virtual ones there are.
    let answer = ask(&client, Dialect::OpenAi, "unheard-of", false).await;
    assert_eq!((answer.header("x-wasmgate-provider"), answer.header("x-wasmgate-racing-winner")), ("one", ""));
    let native = setup::named_provider("one", Dialect::OpenAi, &one.url());
    let config = setup::config(&format!("{native}  v: {{type: racing, config: {{providers: [one]}}}}\n"), "default_provider: v\n");
    let gateway = Gateway::start(&config).await;
    let client = Client::new(&gateway);
    let answer = ask(&client, Dialect::OpenAi, "unheard-of", false).await;
    assert_eq!((answer.header("x-wasmgate-model"), answer.header("x-wasmgate-racing-winner")), ("unheard-of", "one"));
    let shown: Value = client.get("/api/metrics/racing").await.json();
    assert_eq!((&shown["success"], &shown["data"][0]["model"]), (&json!(true), &json!("unheard-of")));
}

#[tokio::test]
async fn many_layers_boot_are_shown_and_answer() {
    // Each of a layer uses all three of the next: 3^30 ways lead down.
    let names = |n: usize| (0..3).map(|k| format!("l{n:02}-{k}")).collect::<Vec<_>>().join(", ");
    let layer = |n: usize| {
        let below = if n == 29 { "listed".to_owned() } else { names(n + 1) };
        (0..3).map(|k| format!("  l{n:02}-{k}: {{type: fallback, config: {{providers: [{below}]}}}}\n")).collect::<String>()
    };
    let upstream = good(0, Dialect::OpenAi).await;
    let virtuals = format!("  listed: {{type: echo, models: [m, n]}}\n{}", (0..30).map(layer).collect::<String>());
    let (_gateway, client) = gateway(&[(Dialect::OpenAi, &upstream)], &virtuals).await;
    let status = client.get("/status").await.json();
    assert_eq!(status["data"]["providers"]["l00-0"]["status"], "ok", "{status}");
    let listed = client.get("/api/providers").await.json();
    assert_eq!(listed["data"].as_array().map(Vec::len), Some(92), "{listed}");
    let answer = ask(&client, Dialect::OpenAi, "l00-0/m", false).await;
    assert_eq!((answer.status, answer.header("x-wasmgate-provider")), (200, "listed"), "{}", answer.text());
    // And so do those that nobody can answer.
    assert_eq!(ask(&client, Dialect::OpenAi, "l00-0/nothing", false).await.status, 404);
    let refused = client.post("/v1/moderations", &json!({"model": "l00-0/m", "input": "x"})).await;
    assert!(refused.status >= 400, "{}", refused.text());
}
