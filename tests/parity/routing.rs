//! `routing`, in all of its branches.

use routing::Routing;
use serde_json::json;
use wasmgate_sdk::Extension as _;

use crate::component::Host;
use crate::{Case, Provider, Setup, native, shown};

const PROVIDERS: &[Provider] = &[
    Provider { name: "openai", kind: "openai", models: &[], default_model: None },
    Provider { name: "claude", kind: "anthropic", models: &[], default_model: Some("claude-haiku") },
    Provider { name: "local", kind: "openai", models: &["smol", "org/big", "both"], default_model: Some("smol") },
    Provider { name: "attic", kind: "openai", models: &["both"], default_model: None },
    Provider { name: "echo", kind: "echo", models: &[], default_model: None },
];

fn setup(config: serde_json::Value, providers: &'static [Provider]) -> Setup {
    Setup { name: "routing", config, providers }
}

/// The same decisions on both sides. What they are is told by the tests of the extension.
fn check(setup: &Setup, cases: &[Case]) {
    let routing: Routing = native::start(setup).expect("it takes its configuration");
    let host = Host::start(setup).expect("it takes its configuration");
    let mut decisions = std::collections::BTreeSet::new();
    for case in cases {
        let (call, request) = native::request(case);
        let native = shown::native::decision(&routing.before_generate(&call, &request.handle()));
        let (call, exchange) = host.request(case);
        let component = shown::component::decision(&host.wait(host.extension().before_generate(&exchange, &call)));
        assert_eq!(component, native, "{}: the component, and the native code", case.name);
        decisions.insert(native.to_string());
    }
    assert!(cases.len() < 5 || decisions.len() > 2, "the cases differ: {decisions:?}");
    assert_eq!(host.log(), native::log());
}

#[test]
fn every_rule() {
    let config = json!({
        "aliases": {"fast": "gpt-4o-mini", "quick": "fast", "mine": "local/other", "renamed": "unheard-of", "bare": "claude/", "": "smol"},
        "patterns": [{"match": "llama-*", "provider": "local"}, {"match": "*-latest", "provider": "nobody"}, {"match": "gpt-oss*", "provider": "echo"}],
    });
    let mut cases = vec![
        Case::new("an alias", "fast"),
        Case::new("an alias of an alias", "quick"),
        Case::new("an alias of a target", "mine"),
        Case::new("an alias of a name that nobody knows", "renamed"),
        Case::new("an alias of a provider's default", "bare"),
        Case::new("a target", "local/x/y"),
        Case::new("a target without a model, and a default", "local/"),
        Case::new("a target without a model or a default", "openai/"),
        Case::new("a target of nobody", "nobody/x"),
        Case::new("a slash alone", "/"),
        Case::new("a model that one provider lists", "smol"),
        Case::new("a listed model with a slash", "org/big"),
        Case::new("a model that two providers list", "both"),
        Case::new("a pattern of the configuration", "llama-3"),
        Case::new("a pattern that names nobody", "claude-latest"),
        Case::new("a pattern before a built-in one", "gpt-oss-20b"),
        Case::new("a name of OpenAI", "gpt-4o"),
        Case::new("another name of OpenAI", "o3-mini"),
        Case::new("a name for embeddings", "text-embedding-3-small"),
        Case::new("a name of Anthropic", "claude-haiku"),
        Case::new("nothing", "unheard-of"),
        Case::new("a long name in other letters", &"grüße/".repeat(50)),
    ];
    cases.push(Case { chosen: Some("other"), ..Case::new("a choice that was made stays", "gpt-4o") });
    cases.push(Case { model: Some("smol"), ..Case::new("what an earlier hook made of the model", "gpt-4o") });
    check(&setup(config, PROVIDERS), &cases);
}

#[test]
fn without_settings_and_with_one_provider() {
    let cases = [Case::new("a name of OpenAI", "gpt-4o"), Case::new("the provider", "echo/x"), Case::new("nothing", "m")];
    check(&setup(json!({}), &[Provider { name: "echo", kind: "echo", models: &[], default_model: None }]), &cases);
}

#[test]
fn refused_settings() {
    for config in [
        json!({"aliases": {"a": "b", "b": "c", "c": "a"}}),
        json!({"aliases": {"a": "a"}}),
        json!({"alias": {}}),
        json!({"patterns": [{"match": "x"}]}),
        json!({"aliases": {"a": 5}}),
    ] {
        let setup = setup(config, PROVIDERS);
        let native = native::start::<Routing>(&setup).err().expect("it is refused");
        let component = Host::start(&setup).err().expect("it is refused");
        // The native error has no place in a text; the component was given a text.
        let native = native.split(" at line ").next().unwrap_or_default();
        assert!(component.contains(native), "{}: `{component}` does not say `{native}`", setup.config);
    }
}
