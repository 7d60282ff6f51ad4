//! Which providers and models a key may use.
//!
//! What is denied is looked for in every name that a request had: the one that was asked for, and the one that it led to. What is allowed is
//! said of the target: an alias is allowed with what it stands for. Only an alias that `allowed_models` names itself, letter by letter, is
//! allowed whatever it stands for.

use wasmgate_sdk::pattern;

use crate::key::Rules;

/// A target, and how a request got there.
#[derive(Debug, Clone, Copy)]
pub struct Wish<'a> {
    /// The model that was asked for.
    pub requested: &'a str,
    /// It is an alias of the gateway.
    pub alias: bool,
    /// The provider that it goes to.
    pub provider: &'a str,
    /// The model that the provider is asked for.
    pub model: &'a str,
}

/// What a key may not use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Denied {
    /// The model.
    Model,
    /// The provider.
    Provider,
    /// A call that names no model, which could mean any.
    Unnamed,
}

impl Rules {
    /// Whether a name may be asked for at all. What it leads to is another question.
    pub fn may_ask(&self, requested: &str) -> Result<(), Denied> {
        if self.denies(requested) { Err(Denied::Model) } else { Ok(()) }
    }

    /// Whether a target may be used.
    pub fn may_use(&self, wish: &Wish<'_>) -> Result<(), Denied> {
        if let Some(allowed) = &self.allowed_providers
            && !allowed.iter().any(|p| pattern::matches(p, wish.provider))
        {
            return Err(Denied::Provider);
        }
        if wish.model.is_empty() {
            return if self.restricts_models() { Err(Denied::Unnamed) } else { Ok(()) };
        }
        let whole = format!("{}/{}", wish.provider, wish.model);
        if self.denies(wish.requested) || self.denies(&whole) {
            return Err(Denied::Model);
        }
        let Some(allowed) = &self.allowed_models else { return Ok(()) };
        let named = |p: &String| pattern::matches(p, wish.model) || pattern::matches(p, &whole) || wish.alias && p == wish.requested;
        if allowed.iter().any(named) { Ok(()) } else { Err(Denied::Model) }
    }

    /// Whether a name is denied, as it is or behind any slash in it: whoever denies `o1-*` means `openrouter/openai/o1-mini` too. Capitals do
    /// not matter, because they do not to some providers.
    fn denies(&self, name: &str) -> bool {
        let Some(denied) = self.denied_models.as_ref().filter(|d| !d.is_empty()) else { return false };
        let name = name.to_ascii_lowercase();
        let mut ends = std::iter::successors(Some(name.as_str()), |rest| rest.split_once('/').map(|(_, rest)| rest));
        ends.any(|name| denied.iter().any(|p| pattern::matches(&p.to_ascii_lowercase(), name)))
    }

    fn restricts_models(&self) -> bool {
        let all = |list: &Vec<String>| list.iter().any(|p| p == "*");
        self.allowed_models.as_ref().is_some_and(|l| !all(l)) || self.denied_models.as_ref().is_some_and(|l| !l.is_empty())
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn check(rules: serde_json::Value, (requested, alias, provider, model): (&str, bool, &str, &str), expect: Result<(), Denied>) {
        let read: Rules = serde_json::from_value(rules.clone()).unwrap();
        let found = read.may_use(&Wish { requested, alias, provider, model });
        assert_eq!(found, expect, "{rules} {requested} → {provider}/{model}");
    }

    #[test]
    fn lists_that_are_absent_allow_all_and_empty_ones_nothing() {
        let wish = ("m", false, "p", "m");
        check(json!({}), wish, Ok(()));
        check(json!({"allowed_models": null}), wish, Ok(()));
        check(json!({"allowed_models": []}), wish, Err(Denied::Model));
        check(json!({"allowed_providers": []}), wish, Err(Denied::Provider));
        check(json!({"allowed_providers": ["*"], "allowed_models": ["*"], "denied_models": []}), wish, Ok(()));
        check(json!({"allowed_providers": ["q*"]}), wish, Err(Denied::Provider));
    }

    #[test]
    fn what_is_denied_is_denied_under_every_name() {
        let rules = json!({"allowed_models": ["*"], "denied_models": ["o1-*"]});
        for wish in [
            ("o1-mini", false, "openai", "o1-mini"),
            ("fast", true, "openai", "o1-mini"),
            ("openai/o1-mini", false, "openai", "o1-mini"),
            ("x", false, "openrouter", "openai/o1-mini"),
            ("o1-alias", true, "openai", "gpt-4o"),
            ("O1-Mini", false, "openai", "O1-Mini"),
        ] {
            check(rules.clone(), wish, Err(Denied::Model));
        }
        check(rules, ("o1", false, "openai", "o1"), Ok(()));
        check(json!({"denied_models": ["openai/*"]}), ("gpt-4o", false, "openai", "gpt-4o"), Err(Denied::Model));
    }

    #[test]
    fn an_alias_is_allowed_with_its_target_or_by_its_own_name() {
        check(json!({"allowed_models": ["gpt-4o-mini"]}), ("fast", true, "openai", "gpt-4o-mini"), Ok(()));
        check(json!({"allowed_models": ["gpt-4o-mini"]}), ("fast", true, "openai", "gpt-4o"), Err(Denied::Model));
        check(json!({"allowed_models": ["fast"]}), ("fast", true, "openai", "gpt-4o"), Ok(()));
        // A pattern that happens to match an alias, or a name that is no alias, allows no other model.
        check(json!({"allowed_models": ["f*"]}), ("fast", true, "openai", "gpt-4o"), Err(Denied::Model));
        check(json!({"allowed_models": ["gpt-4o"]}), ("gpt-4o", false, "other", "claude"), Err(Denied::Model));
        check(json!({"allowed_models": ["openai/*"]}), ("gpt-4o", false, "openai", "gpt-4o"), Ok(()));
    }

    #[test]
    fn a_call_that_names_no_model_needs_a_key_for_all() {
        let wish = ("", false, "openai", "");
        check(json!({}), wish, Ok(()));
        check(json!({"allowed_models": ["*"]}), wish, Ok(()));
        check(json!({"allowed_models": ["gpt-*"]}), wish, Err(Denied::Unnamed));
        check(json!({"denied_models": ["o1-*"]}), wish, Err(Denied::Unnamed));
    }
}
