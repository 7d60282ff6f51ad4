//! Sends each request to a provider. In this order, the first that says something wins:
//!
//! 1. rules of the configuration, on more than the model's name (`rules.rs`), and slots, which are rules for Claude Code; where they lead is
//!    a name for what follows;
//! 2. aliases of the configuration, followed to their end;
//! 3. `provider/model`, when the first part is a provider's name;
//! 4. a provider that lists the model;
//! 5. patterns of the configuration, then the built-in ones (`gpt-*` goes to a provider of type `openai`, …).
//!
//! When nothing says anything the request keeps the gateway's default provider, if there is one.
//!
//! A call that names no model (files, batches, some forms) goes to the provider that the header field `x-wasmgate-provider` names; LiteLLM's
//! `custom-llm-provider` says the same.

mod rules;

use std::collections::BTreeMap;

use rules::{Rule, Slots, Subject};
use serde::Deserialize;
use wasmgate_sdk::catalogue::{self, Asked, Offered};
use wasmgate_sdk::prelude::*;
use wasmgate_sdk::providers::{self, ProviderInfo};
use wasmgate_sdk::{Http, HttpRequest, pattern};

/// Path of the manifest, where the host asks for models that there are by other names.
const CATALOGUE: &str = "/routing/catalogue";

/// Says to other extensions that the caller used an alias.
const ALIAS: &str = "routing.alias";

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
    ("gemini-*", "gemini"),
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
    /// Rules on more than the model's name, tried in order before everything else.
    #[serde(default)]
    rules: Vec<Rule>,
    /// The same for what Claude Code asks for, tried after them.
    #[serde(default)]
    slots: Option<Slots>,
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
    aliases: BTreeMap<String, String>,
    patterns: Vec<Pattern>,
    rules: Vec<Rule>,
}

impl Extension for Routing {
    type Config = Config;

    fn configure(config: Config) -> Result<Self, String> {
        for alias in config.aliases.keys() {
            follow(&config.aliases, alias)?;
        }
        let Config { aliases, patterns, mut rules, slots } = config;
        if let Some(at) = rules.iter().position(|r| r.to.is_empty()) {
            return Err(format!("`rules[{at}].to` is empty; write a model, an alias, or `provider/model`"));
        }
        rules.extend(slots.into_iter().flat_map(Slots::rules));
        Ok(Self { aliases, patterns, rules })
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
        let subject = Subject::new(call, request);
        let mut asked = call.model.as_str();
        for rule in &self.rules {
            match subject.fulfils(&rule.when) {
                Ok(true) => {
                    asked = &rule.to;
                    break;
                }
                Ok(false) => {}
                Err(error) => return Decision::Reject(error),
            }
        }
        // `configure` refused cycles.
        let model = follow(&self.aliases, asked).unwrap_or(asked);
        let mut edits = match self.target(model) {
            Some(target) => vec![Edit::Target(target)],
            None if model != call.model => vec![Edit::Model(model.to_owned())],
            None => return Decision::Continue,
        };
        // Only of the caller's own word: what a rule made of it, nobody asked for.
        if self.aliases.contains_key(&call.requested_model) && asked == call.model {
            edits.push(Edit::Note(Note { key: ALIAS.into(), value: "true".into() }));
        }
        Decision::Edit(edits)
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
        if let Some(rule) = self.patterns.iter().find(|r| pattern::matches(&r.r#match, model)) {
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

impl Http for Routing {
    /// Aliases that lead somewhere are models too.
    fn handle(&self, request: HttpRequest) -> Reply {
        let Some(Asked { mut models, .. }) = Asked::read(&request).filter(|_| request.path == CATALOGUE) else {
            return Reply::json(404, Vec::new());
        };
        for alias in self.aliases.keys().filter(|alias| !alias.contains('*')) {
            let Some(target) = follow(&self.aliases, alias).ok().and_then(|model| self.target(model)) else { continue };
            // An alias goes before a model of the same name.
            models.retain(|m| m.id != *alias);
            models.push(Offered { id: alias.clone(), provider: target.provider, model: target.model });
        }
        catalogue::answer(&models)
    }
}

wasmgate_sdk::export!(Routing: before_generate, http);

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
                [Edit::Target(t), ..] => format!("{}/{}", t.provider, t.model),
                [Edit::Model(m), ..] => format!("={m}"),
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
    fn a_rule_goes_before_everything_else_and_leads_to_a_name() {
        FakeHost::default().provider("openai", "openai", &[]).provider("racing", "racing", &[]).install();
        let routing = configure(serde_json::json!({
            "aliases": {"fast": "gpt-4o-mini", "gpt-4o": "o3"},
            "rules": [
                {"when": {"model": "gpt-4o", "min_tokens": 1000}, "to": "fast"},
                {"when": {"header": {"x-race": "*"}}, "to": "racing/gpt-4o"},
            ],
            "slots": {"background": "fast"},
        }))
        .unwrap();
        check(&routing, "gpt-4o", "openai/o3");
        check(&routing, "claude-3-5-haiku-latest", "openai/gpt-4o-mini");
        let mut race = FakeRequest::new("gpt-4o");
        race.headers.insert("x-race".into(), "yes".into());
        assert_eq!(decided(&routing, &race), "racing/gpt-4o");
        let mut long = FakeRequest::new("gpt-4o");
        long.chat.messages = std::iter::repeat_n(long.chat.messages[0].clone(), 500).collect();
        assert_eq!(decided(&routing, &long), "openai/gpt-4o-mini");
        assert!(configure(serde_json::json!({"rules": [{"to": ""}]})).err().unwrap().contains("`rules[0].to` is empty"));
    }

    #[test]
    fn only_the_callers_own_alias_is_noted_as_one() {
        FakeHost::default().provider("openai", "openai", &[]).install();
        let routing =
            configure(serde_json::json!({"aliases": {"fast": "gpt-4o-mini"}, "rules": [{"when": {"key": "ci"}, "to": "gpt-4o"}]})).unwrap();
        let noted = |request: &FakeRequest| match routing.before_generate(&request.call(), &request.handle()) {
            Decision::Edit(edits) => edits.iter().any(|e| matches!(e, Edit::Note(n) if n.key == ALIAS && n.value == "true")),
            _ => false,
        };
        assert!(noted(&FakeRequest::new("fast")));
        assert!(!noted(&FakeRequest::new("gpt-4o-mini")));
        let mut ruled = FakeRequest::new("fast");
        ruled.notes.insert("apikeys.name".into(), "\"ci\"".into());
        assert!(!noted(&ruled));
    }

    #[test]
    fn aliases_are_listed_with_what_they_stand_for() {
        FakeHost::default().provider("openai", "openai", &["m"]).install();
        let routing = configure(serde_json::json!({"aliases": {"fast": "m", "nowhere": "unheard-of", "m": "openai/n"}})).unwrap();
        let body = br#"{"caller": {"name": "x"}, "models": [{"id": "m", "provider": "openai", "model": "m"}]}"#.to_vec();
        let reply = routing.handle(HttpRequest { path: CATALOGUE.into(), body, ..HttpRequest::default() });
        let models: serde_json::Value = serde_json::from_slice(&reply.body).unwrap();
        let expect = serde_json::json!([
            {"id": "fast", "provider": "openai", "model": "n"},
            {"id": "m", "provider": "openai", "model": "n"},
        ]);
        assert_eq!(models["models"], expect);
        assert_eq!(routing.handle(HttpRequest::default()).status, 404);
    }

    #[test]
    fn cycles_are_refused() {
        let refused = configure(serde_json::json!({"aliases": {"a": "b", "b": "c", "c": "a"}})).err().unwrap();
        assert_eq!(refused, "`aliases` go in a circle: a → b → c → a");
        assert!(configure(serde_json::json!({"aliases": {"a": "a"}})).is_err());
        assert!(configure(serde_json::json!({"alias": {}})).err().unwrap().contains("unknown field `alias`"));
    }
}
