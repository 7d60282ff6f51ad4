//! The plan's configurations, and what the extensions of Cortex do together.

use serde_json::{Value, json};
use wasmgate_tests::cli::{self, ConfigFile};
use wasmgate_tests::{Client, Dialect, Gateway, repo};

use crate::setup;

/// Whether there are virtual providers. Until then those of the plan's files are left out; with them the files are read as they are.
const VIRTUAL_PROVIDERS: bool = true;

/// One of the plan's files.
fn plan(name: &str) -> String {
    let text = std::fs::read_to_string(repo::path("tests/plan").join(name)).expect("the plan's file");
    if VIRTUAL_PROVIDERS { text } else { without_virtual_providers(&text) }
}

/// A configuration without the providers whose type is a virtual one: their blocks are left out, line by line, and nothing else.
fn without_virtual_providers(text: &str) -> String {
    let lines: Vec<&str> = text.lines().collect();
    let is_head = |line: &str| line.starts_with("  ") && !line.starts_with("   ") && line.ends_with(':');
    let mut out = String::new();
    let mut at = 0;
    while at < lines.len() {
        let inside = |line: &&str| line.starts_with("    ");
        let length = 1 + lines[at + 1..].iter().take_while(|l| inside(l)).count();
        let block = &lines[at..at + length];
        let is_virtual = is_head(lines[at]) && block.iter().any(|l| ["    type: racing", "    type: fallback"].contains(l));
        if !is_virtual {
            out.extend(block.iter().flat_map(|l| [l, "\n"]));
        }
        at += length;
    }
    out
}

/// The keys that the plan's files take from the environment.
const ENVIRONMENT: [(&str, &str); 2] = [("OPENAI_API_KEY", "key-of-openai"), ("ANTHROPIC_API_KEY", "key-of-anthropic")];

#[test]
fn the_plans_files_are_read_as_they_are_and_what_is_not_there_yet_is_a_warning() {
    for (name, warnings) in [
        ("cortex.yaml", &[][..]),
        ("velocitycode.yaml", &["extensions.best-of-n"]),
        ("ai-provider-kit.yaml", &["providers.fallback-reliable"]),
    ] {
        let file = ConfigFile::new(&plan(name));
        let check = |args: &[&str]| {
            let (path, components, cache) = (file.path(), repo::components(), format!("cache={}", repo::cache().display()));
            let mut all = vec!["check", "--config", path.to_str().unwrap(), "--components", components.to_str().unwrap(), "--set", &cache];
            all.extend(args);
            cli::run_with(&all, &ENVIRONMENT)
        };
        let finished = check(&[]);
        assert_eq!(finished.code, 0, "{name}: {finished:?}");
        for warning in warnings {
            let told = finished.stderr.lines().find(|l| l.contains(warning));
            assert!(told.is_some_and(|l| l.contains("warning") && l.contains("gateway.yaml:")), "{name}: {warning} in {}", finished.stderr);
        }
        assert_eq!(check(&["--strict"]).code, if warnings.is_empty() { 0 } else { 2 }, "{name}: {finished:?}");
    }
}

#[test]
fn an_extension_that_is_nowhere_is_an_error_when_it_is_required_or_a_slip_of_the_pen() {
    for (extension, expect) in
        [("apikey: {}", "Did you mean `apikeys`"), ("front-door: {required: true}", "so the extension `front-door` cannot be loaded")]
    {
        let file = ConfigFile::new(&setup::config("  echo: {type: echo}\n", &format!("  {extension}\n")));
        let finished = file.check(&[]);
        assert!(finished.code == 2 && finished.stderr.contains(expect), "{extension}: {finished:?}");
    }
    // A section is for somebody: without them it would be without effect, and keys would let everybody in.
    let file = ConfigFile::new(&setup::config("  echo: {type: echo}\n", "api_kyes: []\n"));
    let finished = file.check(&[]);
    assert!(finished.code == 2 && finished.stderr.contains("api_kyes"), "{finished:?}");
}

/// The plan's Cortex in front of two upstreams, of which only the addresses are other ones.
async fn cortex(openai: &str, anthropic: &str) -> (Gateway, Client) {
    let mut builder = Gateway::builder(&plan("cortex.yaml"));
    for (name, value) in ENVIRONMENT {
        builder = builder.env(name, value);
    }
    let gateway = builder
        .env("WASMGATE_PROVIDERS__OPENAI__BASE_URL", &format!("{openai}/v1"))
        .env("WASMGATE_PROVIDERS__ANTHROPIC__BASE_URL", &format!("{anthropic}/v1"))
        .start()
        .await;
    let client = Client::new(&gateway);
    (gateway, client)
}

async fn ask(client: &Client, dialect: Dialect, key: &str, model: &str) -> (u16, Value) {
    let request = client.request(http::Method::POST, dialect.path()).header("content-type", "application/json");
    let request = if dialect == Dialect::Anthropic { request.header("x-api-key", key) } else { request.bearer_auth(key) };
    let answer = client.send(request.body(dialect.request(model, "x").to_string())).await;
    (answer.status, answer.json())
}

#[tokio::test]
async fn the_plans_cortex_serves_both_apis_with_keys_aliases_limits_and_a_ledger() {
    let (openai, anthropic) = (setup::friendly(Dialect::OpenAi).await, setup::friendly(Dialect::Anthropic).await);
    let (_gateway, client) = cortex(&openai.url(), &anthropic.url()).await;
    for dialect in [Dialect::OpenAi, Dialect::Anthropic] {
        for (key, model, status) in [
            ("sk-cortex-dev", "fast", 200),
            ("sk-cortex-dev", "gpt-4o-mini", 200),
            ("sk-cortex-dev", "claude-haiku-4-5", 200),
            ("sk-cortex-dev", "smart", 403),
            ("sk-cortex-dev", "gpt-4o", 403),
            ("sk-cortex-prod", "code", 200),
            ("sk-cortex-prod", "o1-mini", 403),
            ("sk-cortex-prod", "openai/o1-mini", 403),
            ("sk-cortex-none", "fast", 401),
        ] {
            let (found, said) = ask(&client, dialect, key, model).await;
            assert_eq!(found, status, "{dialect:?} {key} {model}: {said}");
        }
    }
    assert_eq!(openai.request(0).await.header("authorization"), Some("Bearer key-of-openai"));
    let models: Vec<String> = anthropic.received().iter().map(|r| r.model()).collect();
    assert_eq!(models, ["claude-haiku-4-5", "claude-sonnet-4-20250514", "claude-haiku-4-5", "claude-sonnet-4-20250514"]);
    let rows = wasmgate_tests::soon("a row for each request", async {
        loop {
            let rows = client.get("/usage").await.json()["data"]["rows"].as_array().cloned().unwrap_or_default();
            if rows.len() >= 18 {
                return rows;
            }
        }
    })
    .await;
    let count = |column: &str, value: Value| rows.iter().filter(|r| r[column] == value).count();
    assert_eq!((rows.len(), count("status", json!("success")), count("status", json!("rejected"))), (18, 8, 10));
    assert_eq!((count("api_key_name", json!("development")), count("api_key_name", json!("production"))), (10, 6));
}

#[tokio::test]
async fn models_are_listed_as_the_caller_may_use_them_with_aliases_by_each_api() {
    let upstream = setup::friendly(Dialect::OpenAi).await;
    let providers =
        format!("  up: {{type: openai, base_url: \"{}/v1\", api_key: k, models: [gpt-4o, gpt-4o-mini, o1-mini]}}\n", upstream.url());
    let keys = "api_keys:\n  - {key: sk-of-the-small-one, name: small, allowed_models: [gpt-4o-mini]}\n  - {key: sk-of-the-big-one, name: big, denied_models: [\"o1-*\"]}\naliases: {fast: gpt-4o-mini, smart: gpt-4o, think: o1-mini, lost: nowhere}\nendpoints: {gemini: {enabled: true}}\n";
    let gateway = Gateway::start(&setup::config(&providers, keys)).await;
    let client = Client::new(&gateway);
    let list = async |path: &str, key: &str| {
        // As seen from elsewhere: on this machine, who has no key is the operator.
        let request = client.request(http::Method::GET, path).header("x-forwarded-for", "203.0.113.9").header("x-api-key", key);
        let answer = client.send(request).await;
        let said = answer.json();
        let models = said["data"].as_array().or(said["models"].as_array()).cloned().unwrap_or_default();
        let name = |m: &Value| m["id"].as_str().or(m["name"].as_str()).unwrap_or_default().trim_start_matches("models/").to_owned();
        let mut ids: Vec<String> = models.iter().map(name).collect();
        ids.sort();
        (answer.status, ids.join(" "))
    };
    for path in ["/v1/models", "/anthropic/v1/models", "/v1beta/models"] {
        assert_eq!(list(path, "sk-of-the-small-one").await, (200, "fast gpt-4o-mini".into()), "{path}");
        assert_eq!(list(path, "sk-of-the-big-one").await, (200, "fast gpt-4o gpt-4o-mini smart".into()), "{path}");
        assert_eq!(list(path, "sk-of-nobody").await, (401, String::new()), "{path}");
        assert_eq!(list(path, "").await, (401, String::new()), "{path}");
    }
    let refused = client.send(client.request(http::Method::GET, "/anthropic/v1/models").header("x-api-key", "wrong-key")).await;
    assert_eq!(Dialect::Anthropic.error(&refused.json()).0, "authentication_error");
    let one = |key: &'static str| client.send(client.request(http::Method::GET, "/v1/models/fast").bearer_auth(key));
    assert_eq!((one("sk-of-the-small-one").await.status, one("sk-of-nobody").await.status), (200, 401));
    let hidden = client.request(http::Method::GET, "/v1/models/gpt-4o").bearer_auth("sk-of-the-small-one");
    assert_eq!(client.send(hidden).await.status, 404);
    // The operator sees what there is.
    let all = client.get("/v1/models").await.json();
    assert_eq!(all["data"].as_array().map(Vec::len), Some(6), "{all}");
}

#[tokio::test]
async fn rules_send_requests_by_what_is_in_them() {
    let (openai, anthropic) = (setup::friendly(Dialect::OpenAi).await, setup::friendly(Dialect::Anthropic).await);
    let providers = format!(
        "{}{}",
        setup::named_provider("openai", Dialect::OpenAi, &openai.url()),
        setup::named_provider("anthropic", Dialect::Anthropic, &anthropic.url())
    );
    let rules = "{rules: [{when: {header: {x-tier: gold}}, to: smart}, {when: {model: gpt-4o, tools: true}, to: openai/gpt-tools}], slots: {background: fast, think: openai/o3, web_search: openai/searcher, vision: openai/seer, long_context: openai/long, long_context_tokens: 3000}}";
    let config = setup::config(&providers, "aliases: {fast: gpt-4o-mini, smart: gpt-5}\n")
        .replace("  routing: {}", &format!("  routing: {{config: {rules}}}"));
    let gateway = Gateway::start(&config).await;
    let client = Client::new(&gateway);
    let long = "word ".repeat(5000);
    let tool = json!([{"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}]);
    let image =
        json!([{"role": "user", "content": [{"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "aGk="}}]}]);
    for (dialect, model, more, header, expect) in [
        (Dialect::OpenAi, "gpt-4o", json!({}), "x", "gpt-4o"),
        (Dialect::OpenAi, "gpt-4o", json!({}), "gold", "gpt-5"),
        (Dialect::OpenAi, "gpt-4o", json!({"tools": tool}), "x", "gpt-tools"),
        (Dialect::Anthropic, "claude-3-5-haiku-20241022", json!({}), "x", "gpt-4o-mini"),
        (
            Dialect::Anthropic,
            "claude-sonnet-4",
            json!({"max_tokens": 4096, "thinking": {"type": "enabled", "budget_tokens": 1024}}),
            "x",
            "o3",
        ),
        (Dialect::Anthropic, "claude-sonnet-4", json!({"messages": [{"role": "user", "content": long}]}), "x", "long"),
        (Dialect::Anthropic, "claude-sonnet-4", json!({"messages": image}), "x", "seer"),
        (Dialect::Anthropic, "claude-sonnet-4", json!({}), "x", "claude-sonnet-4"),
    ] {
        let mut body = dialect.request(model, "x");
        for (name, value) in more.as_object().unwrap() {
            body[name] = value.clone();
        }
        let request =
            client.request(http::Method::POST, dialect.path()).header("x-tier", header).header("content-type", "application/json");
        let answer = client.send(request.body(body.to_string())).await;
        assert_eq!(answer.status, 200, "{model} {more}: {}", answer.text());
        let last = if expect.starts_with("claude") { anthropic.received() } else { openai.received() };
        assert_eq!(last.last().expect("it was sent").model(), expect, "{model} {more}");
    }
}
