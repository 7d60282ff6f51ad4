//! Sends each request to a provider. In this order, the first that says something wins:
//!
//! 1. aliases of the configuration, followed to their end;
//! 2. `provider/model`, when the first part is a provider's name;
//! 3. a provider that lists the model;
//! 4. patterns of the configuration, then the built-in ones (`gpt-*` goes to a provider of type `openai`, …).
//!
//! When nothing says anything the request keeps the gateway's default provider, if there is one.
//!
//! A call that names no model (files, batches, some forms) goes to the provider that the header field `x-wasmgate-provider` names; LiteLLM's
//! `custom-llm-provider` says the same.

mod pattern;

use std::collections::BTreeMap;

use serde::Deserialize;
use wasmgate_sdk::prelude::*;
use wasmgate_sdk::providers::{self, ProviderInfo};

/// Names that say which type of provider a model is of.
const BUILT_IN: &[(&str, &str)] = &[
    ("gpt-*", "openai"),
    ("chatgpt-*", "openai"),
    ("o1*", "openai"),
    ("o3*", "openai"),
    ("o4*", "openai"),
    ("text-embedding-*", "openai"),
    ("text-moderation-*", "openai"),
    ("omni-moderation-*", "openai"),
    ("whisper-*", "openai"),
    ("tts-*", "openai"),
    ("dall-e-*", "openai"),
    ("babbage-*", "openai"),
    ("davinci-*", "openai"),
    ("claude-*", "anthropic"),
];

/// Header fields that name a provider, for calls that name no model.
const PROVIDER: [&str; 2] = ["x-wasmgate-provider", "custom-llm-provider"];

/// Settings.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Names that stand for a model, for `provider/model`, or for another alias.
    #[serde(default)]
    aliases: BTreeMap<String, String>,
    /// Rules tried in order before the built-in ones.
    #[serde(default)]
    patterns: Vec<Pattern>,
}

/// Models of this name go to this provider.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Pattern {
    /// With `*` for any text.
    r#match: String,
    /// Name of a provider.
    provider: String,
}

/// The extension.
pub struct Routing {
    config: Config,
}

impl Extension for Routing {
    type Config = Config;

    fn configure(config: Config) -> Result<Self, String> {
        for alias in config.aliases.keys() {
            follow(&config.aliases, alias)?;
        }
        Ok(Self { config })
    }

    fn before_generate(&self, call: &CallInfo, request: &Request) -> Decision {
        if call.provider.is_some() {
            // An earlier hook chose already.
            return Decision::Continue;
        }
        if call.model.is_empty() {
            let named = PROVIDER.iter().find_map(|field| request.header(field)).filter(|name| !name.is_empty());
            return match named {
                Some(provider) => Decision::Edit(vec![Edit::Target(Target { provider, model: String::new() })]),
                None => Decision::Continue,
            };
        }
        // `configure` refused cycles.
        let model = follow(&self.config.aliases, &call.model).unwrap_or(&call.model);
        match self.target(model) {
            Some(target) => Decision::Edit(vec![Edit::Target(target)]),
            None if model != call.model => Decision::Edit(vec![Edit::Model(model.to_owned())]),
            None => Decision::Continue,
        }
    }
}

impl Routing {
    fn target(&self, model: &str) -> Option<Target> {
        let to = |provider: &str, model: &str| Some(Target { provider: provider.to_owned(), model: model.to_owned() });
        if let Some((first, rest)) = model.split_once('/')
            && let Some(provider) = providers::find(first)
        {
            let default = provider.default_model.as_deref().filter(|_| rest.is_empty());
            return to(&provider.name, default.unwrap_or(rest));
        }
        let all = providers::all();
        if let Some(provider) = all.iter().find(|p| p.models.iter().any(|m| m == model)) {
            return to(&provider.name, model);
        }
        if let Some(rule) = self.config.patterns.iter().find(|r| pattern::matches(&r.r#match, model)) {
            return to(&rule.provider, model);
        }
        let (_, kind) = BUILT_IN.iter().find(|(p, _)| pattern::matches(p, model))?;
        // A provider with a list offers nothing else.
        let open = |p: &&ProviderInfo| p.kind == *kind && p.models.is_empty();
        to(&all.iter().find(open)?.name, model)
    }
}

/// What a name stands for in the end. An error names the cycle.
fn follow<'a>(aliases: &'a BTreeMap<String, String>, name: &'a str) -> Result<&'a str, String> {
    let mut chain = vec![name];
    let mut name = name;
    while let Some(next) = aliases.get(name) {
        if chain.contains(&next.as_str()) {
            chain.push(next);
            return Err(format!("`aliases` go in a circle: {}", chain.join(" → ")));
        }
        chain.push(next);
        name = next;
    }
    Ok(name)
}

wasmgate_sdk::export!(Routing: before_generate);

#[cfg(test)]
mod tests {
    use super::*;

    fn configure(config: serde_json::Value) -> Result<Routing, String> {
        Routing::configure(serde_json::from_value(config).map_err(|e| e.to_string())?)
    }

    /// Where a model goes: `provider/model`, `=model` when only the name changed, `-` when nothing was said.
    fn check(routing: &Routing, model: &str, expect: &str) {
        assert_eq!(decided(routing, &FakeRequest::new(model)), expect, "{model}");
    }

    fn decided(routing: &Routing, request: &FakeRequest) -> String {
        match routing.before_generate(&request.call(), &request.handle()) {
            Decision::Continue => "-".to_owned(),
            Decision::Edit(edits) => match &edits[..] {
                [Edit::Target(t)] => format!("{}/{}", t.provider, t.model),
                [Edit::Model(m)] => format!("={m}"),
                other => format!("{other:?}"),
            },
            other => format!("{other:?}"),
        }
    }

    #[test]
    fn the_first_rule_that_matches_wins() {
        FakeHost::default()
            .provider("claude", "anthropic", &[])
            .provider("local", "openai", &["smol", "org/big"])
            .provider("openai", "openai", &[])
            .install();
        let routing = configure(serde_json::json!({
            "aliases": {"fast": "gpt-4o-mini", "quick": "fast", "mine": "local/other", "renamed": "unheard-of"},
            "patterns": [{"match": "llama-*", "provider": "local"}],
        }))
        .unwrap();
        check(&routing, "fast", "openai/gpt-4o-mini");
        check(&routing, "quick", "openai/gpt-4o-mini");
        check(&routing, "mine", "local/other");
        check(&routing, "renamed", "=unheard-of");
        check(&routing, "local/x/y", "local/x/y");
        check(&routing, "nobody/x", "-");
        check(&routing, "smol", "local/smol");
        check(&routing, "org/big", "local/org/big");
        check(&routing, "llama-3", "local/llama-3");
        check(&routing, "claude-haiku", "claude/claude-haiku");
        check(&routing, "o3-mini", "openai/o3-mini");
        check(&routing, "unheard-of", "-");
    }

    #[test]
    fn a_choice_that_was_made_stays() {
        FakeHost::default().provider("openai", "openai", &[]).install();
        let mut request = FakeRequest::new("gpt-4o");
        request.provider = Some("other".into());
        let routing = configure(serde_json::json!({})).unwrap();
        assert!(matches!(routing.before_generate(&request.call(), &request.handle()), Decision::Continue));
    }

    #[test]
    fn a_call_without_a_model_goes_where_the_caller_says() {
        FakeHost::default().provider("openai", "openai", &[]).install();
        let routing = configure(serde_json::json!({})).unwrap();
        check(&routing, "", "-");
        for (field, value, expect) in
            [("x-wasmgate-provider", "other", "other/"), ("custom-llm-provider", "openai", "openai/"), ("custom-llm-provider", "", "-")]
        {
            let mut request = FakeRequest::new("");
            request.headers.insert(field.into(), value.into());
            assert_eq!(decided(&routing, &request), expect, "{field}: {value}");
            // Where there is a model, it says where to.
            request.chat.model = "gpt-4o".into();
            assert_eq!(decided(&routing, &request), "openai/gpt-4o", "{field}: {value}");
        }
    }

    #[test]
    fn cycles_are_refused() {
        let refused = configure(serde_json::json!({"aliases": {"a": "b", "b": "c", "c": "a"}})).err().unwrap();
        assert_eq!(refused, "`aliases` go in a circle: a → b → c → a");
        assert!(configure(serde_json::json!({"aliases": {"a": "a"}})).is_err());
        assert!(configure(serde_json::json!({"alias": {}})).err().unwrap().contains("unknown field `alias`"));
    }
}
