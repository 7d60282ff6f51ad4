//! Configurations and what is said about them.

use super::*;

fn read(text: &str, set: &[&str]) -> Reading {
    let set: Vec<String> = set.iter().map(|s| (*s).to_owned()).collect();
    Reading::of(Source::parse("gateway.yaml", text, &set, &|name| match name {
        "KEY" => Some("sk-secret".into()),
        "EMPTY" => Some(String::new()),
        _ => None,
    }))
}

/// Every expected line must be there, in any order, and no other.
fn check(text: &str, expect: &[&str]) {
    let found: Vec<String> = read(text, &[]).problems.iter().map(ToString::to_string).collect();
    assert_eq!(found.len(), expect.len(), "found {found:#?}");
    for line in expect {
        assert!(found.iter().any(|f| f.contains(line)), "expected `{line}` in {found:#?}");
    }
}

const OK: &str = "providers: {a: {type: echo}}\n";

#[test]
fn all_problems_at_once_with_lines() {
    check(OK, &[]);
    check(
        "server:\n  prot: 1\n  port: high\nproviders:\n  a:\n    type: opnai\n  b:\n    type: echo\n    models: gpt\nlogging:\n  format: xml\n",
        &[
            "gateway.yaml:2: error: `server.prot`: there is no such setting. Did you mean `port`?",
            "gateway.yaml:3: error: `server.port`: found the text `high`, expected a number from 0 to 65535.",
            "gateway.yaml:6: error: `providers.a.type`: there is no provider type `opnai`. Did you mean `openai`?",
            "gateway.yaml:9: error: `providers.b.models`: found the text `gpt`, expected a list of text.",
            "gateway.yaml:11: error: `logging.format`: found the text `xml`, expected `text` or `json`.",
        ],
    );
}

#[test]
fn files_that_are_no_configuration() {
    check("", &["`providers`: no provider is configured"]);
    check("- a\n- b\n", &["must hold settings"]);
    check("a: [1\n", &["gateway.yaml:2: error: this is not valid YAML"]);
    check("a: 1\n---\nb: 2\n", &["more than one YAML document"]);
    let missing = Reading::file(Path::new("no/such/file.yaml"), &[], |_| Changes::default());
    assert!(missing.problems[0].to_string().starts_with("no/such/file.yaml: error: cannot be read"), "{:?}", missing.problems);
}

#[test]
fn variables() {
    let text =
        "providers:\n  a: {type: openai, api_key: \"${KEY}\", base_url: \"http://${HOST:-localhost}/v1\", default_model: \"$${x}\"}\n";
    let reading = read(text, &[]);
    assert_eq!(reading.problems, []);
    let a = &reading.config.providers["a"];
    assert_eq!(a.api_key.as_ref().unwrap().expose(), "sk-secret");
    assert_eq!(a.base_url.as_deref(), Some("http://localhost/v1"));
    assert_eq!(a.default_model.as_deref(), Some("${x}"));
    check(
        "providers:\n  a: {type: openai, api_key: \"${NONE}\"}\n",
        &["gateway.yaml:2: warning: `providers.a.api_key`: the environment variable `NONE` is not set"],
    );
    check(
        "providers:\n  a: {type: openai, api_key: \"${EMPTY}\"}\n",
        &["warning: `providers.a.api_key`: the environment variable `EMPTY` is not set"],
    );
    check("providers:\n  a: {type: echo, default_model: \"x${NONE}\"}\n", &["error: `providers.a.default_model`: the environment"]);
    check("providers:\n  a: {type: echo, default_model: \"${NONE\"}\n", &["is not closed"]);
}

#[test]
fn command_line_wins() {
    let reading = read("server: {port: 1}\nproviders: {a: {type: echo}}\n", &["server.port=9", "logging.level=debug"]);
    assert_eq!(reading.config.server.port, 9);
    assert_eq!(reading.config.logging.level, "debug");
    let reading = read(OK, &["server.port=many", "oops"]);
    let found: Vec<String> = reading.problems.iter().map(ToString::to_string).collect();
    assert_eq!(found.len(), 2, "{found:?}");
    assert!(found.iter().any(|f| f.starts_with("--set: error: `server.port`")), "{found:?}");
    assert!(found.iter().any(|f| f.starts_with("--set: error: `oops` is not of the form")), "{found:?}");
}

#[test]
fn durations_and_secrets() {
    let reading = read("server: {shutdown_timeout: 1.5s, body_timeout: 2m}\nproviders: {a: {type: echo, api_key: x}}\n", &[]);
    assert_eq!(reading.config.server.shutdown_timeout, Duration::from_millis(1500));
    assert_eq!(reading.config.server.body_timeout, Duration::from_secs(120));
    assert!(!format!("{:?}", reading.config).contains("\"x\""));
    check("server: {shutdown_timeout: 5}\nproviders: {a: {type: echo}}\n", &["found `5`, expected a duration"]);
    check("providers: {a: {type: openai, api_key: \"file:no/such\"}}\n", &["the file `no/such` cannot be read"]);
    check("extensions: {a: {limits: {memory_mb: 1024}}}\nproviders: {a: {type: echo}}\n", &["at most 512 MiB"]);
    check("default_provider: b\nproviders: {a: {type: echo}}\n", &["there is no enabled provider `b`. Did you mean `a`?"]);
}

#[test]
fn what_is_not_set_is_not_guessed() {
    check(
        "providers:\n  a: {type: openai, base_url: \"${NONE}\"}\n",
        &["error: `providers.a.base_url`: the environment variable `NONE` is not set", "warning: `providers.a`: `api_key` is not set"],
    );
    check("providers: {a: {type: echo, enabled: \"${NONE:-false}\"}}\n", &["every provider is disabled"]);
    check("providers: {a: {type: echo, enabled: maybe}}\n", &["found the text `maybe`, expected `true` or `false`"]);
    check("providers: {a: {type: echo, api_key: [1]}}\n", &["`providers.a.api_key`: found something else, expected text"]);
    check("providers: {}\n", &["no provider is configured"]);
}

#[test]
fn extensions_are_named_as_their_components() {
    let reading = read(
        "providers: {a: {type: echo}}\nextensions:\n  routing:\n  best_of_n: {on_error: skip}\n",
        &["extensions.best_of_n.enabled=false"],
    );
    assert_eq!(reading.problems, []);
    let extensions = &reading.config.extensions;
    assert!(extensions["routing"].enabled);
    assert_eq!((extensions["best-of-n"].enabled, extensions["best-of-n"].on_error.default), (false, OnError::Skip));
    check(
        "providers: {a: {type: echo}}\nextensions:\n  a_b: {}\n  a-b: {}\n",
        &["gateway.yaml:4: error: `extensions.a-b`: it is there twice"],
    );
    check("providers: {a: {type: echo}}\nextensions: {a_b: {limits: {memory_mb: 1024}}}\n", &["at most 512 MiB"]);
}

#[test]
fn sections_of_extensions_are_kept() {
    let reading = read("aliases: {fast: x}\nproviders: {a: {type: echo}}\nextensions: {best_of_n: {config: {n: 3}}}\n", &[]);
    assert_eq!(reading.problems, []);
    assert_eq!(reading.config.sections["aliases"]["fast"], "x");
    assert_eq!(reading.config.extensions["best-of-n"].config["n"], 3);
}

#[test]
fn the_reference_names_every_setting() {
    let text = reference();
    for name in ["body_limit", "api_key", "on_error", "cpu_ms_per_mib", "`type`"] {
        assert!(text.contains(name), "{name}");
    }
}

#[test]
fn on_error_is_said_once_or_for_each_hook() {
    let reading = read("providers: {a: {type: echo}}\nextensions:\n  x: {on_error: {on-complete: skip, stream-filter: fail}}\n", &[]);
    assert_eq!(reading.problems, []);
    let on_error = &reading.config.extensions["x"].on_error;
    assert!(on_error.skips(Hook::OnComplete) && !on_error.skips(Hook::StreamFilter) && !on_error.skips(Hook::BeforeGenerate));
    check(
        "providers: {a: {type: echo}}\nextensions:\n  x: {on_error: {on-complet: skip}, grant: [kv, files]}\n",
        &["there is no hook `on-complet` that could be skipped. Did you mean `on-complete`?", "`extensions.x.grant[1]`: "],
    );
}

#[test]
fn providers_are_checked_with_lines() {
    let one = |settings: &str, expect: &[&str]| check(&format!("providers:\n  a:\n    {}\n", settings.replace("; ", "\n    ")), expect);
    one("type: groqq; api_key: k", &["gateway.yaml:3: error: `providers.a.type`: there is no provider type `groqq`. Did you mean `groq`?"]);
    one("type: groq; api_key: k", &[]);
    one("type: groq", &["warning: `providers.a`: `api_key` is not set, so groq will refuse every request."]);
    one("type: ollama", &[]);
    one(
        "type: openai; api_key: k; api_keys: [x, y]",
        &["gateway.yaml:5: error: `providers.a.api_keys`: `api_key` is set too; put all keys into `api_keys`."],
    );
    one("type: openai; api_keys: [x, y, x]", &["`providers.a.api_keys`: key 3 is there already"]);
    one("type: openai; api_keys: [x, \"\"]", &["`providers.a.api_keys`: key 2 is empty; leave it out."]);
    one("type: openai-compatible", &["gateway.yaml:2: error: `providers.a`: a provider of type `openai-compatible` needs `base_url`"]);
    one("type: azure-openai; api_key: k", &["`providers.a`: a provider of type `azure-openai` needs `resource`"]);
    one("type: azure-openai; api_key: k; resource: a.b", &["gateway.yaml:5: error: `providers.a.resource`: `a.b` is no name"]);
    one(
        "type: azure-openai; api_key: k; resource: r; api_version: new",
        &["gateway.yaml:6: error: `providers.a.api_version`: `new` is no"],
    );
    one(
        "type: azure-openai; api_key: k; base_url: http://h/openai/v1; api_version: 2024-10-21",
        &["gateway.yaml:5: error: `providers.a.base_url`: `http://h/openai/v1` is of the v1 API"],
    );
    one("type: groq; api_key: k; resource: r", &["`providers.a.resource`: only a provider of type `azure-openai` has that."]);
    one("type: openai; api_key: k; headers: {Host: x}", &["`providers.a.headers.Host`: the gateway makes `Host` itself"]);
    one("type: openai; api_key: k; headers: {authorization: x}", &["`providers.a.headers.authorization`: the key is sent in this field"]);
    one("type: openai; api_key: k; headers: {\"a b\": x}", &["`providers.a.headers.a b`: `a b` is no name of a header field."]);
    one(
        "type: perplexity; api_key: k; models_refresh: 1h",
        &["gateway.yaml:5: error: `providers.a.models_refresh`: perplexity has no list"],
    );
    one("type: openai; api_key: k; models: [m]; models_refresh: 1h", &["warning: `providers.a.models_refresh`: the list `models` stands"]);
    one("type: openai; api_key: k; breaker: {failure_rate: 50}", &["`providers.a.breaker.failure_rate`: `50` is no share"]);
    one("type: openai; api_key: k; breaker: {cooldown: 0s}", &["`providers.a.breaker.cooldown`: `0s` is no time to wait"]);
    one("type: openai; api_key: k; queue_limit: 5", &["warning: `providers.a.queue_limit`: nobody waits without `max_in_flight`"]);
    one("type: openai; api_key: k; max_retries: 2; retry: {budget: 0}", &["warning: `providers.a`: `retry.budget` is 0"]);
    one("type: llama-cpp", &["gateway.yaml:2: error: `providers.a`: `http://127.0.0.1:8080/v1` is where the gateway itself listens"]);
    one(
        "type: ollama; base_url: http://localhost:8080/v1",
        &["gateway.yaml:4: error: `providers.a.base_url`: `http://localhost:8080/v1` is"],
    );
}

#[test]
fn circles_of_virtual_providers_are_looked_for_once_however_many_ways_there_are() {
    // Each of a layer uses all four of the next: 4^30 ways lead down.
    let layer = |n: usize, below: &str| {
        let one = |k: usize| format!("  l{n:02}-{k}: {{type: fallback, config: {{providers: [{below}]}}}}\n");
        (0..4).map(one).collect::<String>()
    };
    let names = |n: usize| (0..4).map(|k| format!("l{n:02}-{k}")).collect::<Vec<_>>().join(", ");
    let dense = |last: &str| {
        let layers = (0..30).map(|n| layer(n, &if n == 29 { last.to_owned() } else { names(n + 1) }));
        format!("providers:\n  a: {{type: echo}}\n{}", layers.collect::<String>())
    };
    check(&dense("a"), &[]);
    let told = read(&dense("l00-0"), &[]).problems;
    assert!(!told.is_empty() && told.len() <= 4, "{told:#?}");
    assert!(told[0].to_string().contains("`providers.l00-0`: virtual providers go in a circle: l00-0 → l01-0 → l02-0 → "), "{}", told[0]);

    // Two that have a part in common, and one apart from them.
    let text = "providers:\n  a: {type: echo}\n  b: {type: fallback, config: {providers: [c, d]}}\n  c: {type: fallback, config: {providers: [b]}}\n  \
                d: {type: fallback, config: {providers: [b]}}\n  e: {type: fallback, config: {providers: [a, f]}}\n  f: {type: fallback, config: {providers: [e]}}\n";
    check(
        text,
        &[
            "`providers.b`: virtual providers go in a circle: b → c → b.",
            "circle: b → d → b.",
            "`providers.e`: virtual providers go in a circle: e → f → e.",
        ],
    );
}
