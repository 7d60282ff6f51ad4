//! Members of a request that a rule sets or bounds.

use serde::Serialize;
use wasmgate_sdk::hub::{Params, ThinkingMode};

use crate::rules::Model;

/// How much a model reasons, in words, from least to most.
pub const EFFORTS: [&str; 7] = ["none", "minimal", "low", "medium", "high", "xhigh", "max"];

/// Tokens of reasoning that each word stands for, as the gateway translates between formats.
const BUDGETS: [u64; 7] = [0, 1_024, 2_048, 8_192, 16_384, 32_768, u64::MAX];

/// What providers sample with when nobody says: temperature and `top_p`.
const DEFAULT: f64 = 1.0;

/// Values of members. What is absent is not meant.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Values {
    /// 0 to 2.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub temperature: Option<f64>,
    /// 0 to 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub top_p: Option<f64>,
    /// Tokens of the answer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_tokens: Option<u64>,
    /// One of [`EFFORTS`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reasoning_effort: Option<String>,
}

impl Values {
    /// Whether nothing is said.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// The first member that is more here than there.
    pub fn over(&self, other: &Self) -> Option<&'static str> {
        let above = |a: Option<f64>, b: Option<f64>| a.zip(b).is_some_and(|(a, b)| a > b);
        let effort = |v: &Self| v.reasoning_effort.as_deref().map(rank);
        if above(self.temperature, other.temperature) {
            Some("temperature")
        } else if above(self.top_p, other.top_p) {
            Some("top_p")
        } else if self.max_tokens.zip(other.max_tokens).is_some_and(|(a, b)| a > b) {
            Some("max_tokens")
        } else if effort(self).zip(effort(other)).is_some_and(|(a, b)| a > b) {
            Some("reasoning_effort")
        } else {
            None
        }
    }
}

impl Model {
    /// Whether requests for it are changed.
    pub fn changes(&self) -> bool {
        !(self.set.is_empty() && self.min.is_empty() && self.max.is_empty())
    }

    /// Sets and bounds the members of a request. What the caller does not say is the provider's own choice: 1 for `temperature` and `top_p`,
    /// no bound for `max_tokens`. How much a model reasons by itself nobody knows, so `reasoning_effort` is bounded only where it is said.
    pub fn apply(&self, params: &mut Params) {
        params.temperature = self.number(params.temperature, |v| v.temperature);
        params.top_p = self.number(params.top_p, |v| v.top_p);
        params.max_tokens = self.set.max_tokens.or(params.max_tokens);
        if let Some(min) = self.min.max_tokens {
            params.max_tokens = params.max_tokens.map(|n| n.max(min));
        }
        if let Some(max) = self.max.max_tokens {
            params.max_tokens = Some(params.max_tokens.map_or(max, |n| n.min(max)));
        }
        self.reason(params);
    }

    fn number(&self, said: Option<f64>, of: impl Fn(&Values) -> Option<f64>) -> Option<f64> {
        let said = of(&self.set).or(said);
        let value = said.unwrap_or(DEFAULT);
        let bounded = of(&self.min).map_or(value, |min| value.max(min));
        let bounded = of(&self.max).map_or(bounded, |max| bounded.min(max));
        // What is as it would be anyway is not written: some models refuse it.
        if bounded.total_cmp(&value).is_eq() { said } else { Some(bounded) }
    }

    fn reason(&self, params: &mut Params) {
        if let Some(word) = &self.set.reasoning_effort {
            params.reasoning_effort = Some(word.clone());
            // The same in other words; it would contradict.
            params.thinking = None;
        }
        let low = self.min.reasoning_effort.as_deref().map_or(0, rank);
        let high = self.max.reasoning_effort.as_deref().map_or(EFFORTS.len() - 1, rank);
        if let Some(word) = &mut params.reasoning_effort
            && EFFORTS.contains(&word.as_str())
        {
            EFFORTS[rank(word).clamp(low, high.max(low))].clone_into(word);
        }
        params.thinking = params.thinking.take().map(|mode| match mode {
            ThinkingMode::Budget(_) | ThinkingMode::Adaptive if high == 0 => ThinkingMode::Disabled,
            ThinkingMode::Budget(tokens) => ThinkingMode::Budget(tokens.clamp(BUDGETS[low], BUDGETS[high.max(low)])),
            // Of these two nobody knows how much it is.
            ThinkingMode::Adaptive | ThinkingMode::Disabled => mode,
        });
    }
}

/// Where a word stands.
fn rank(word: &str) -> usize {
    EFFORTS.iter().position(|w| *w == word).unwrap_or(EFFORTS.len() - 1)
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};
    use wasmgate_sdk::codec::Format;

    use super::*;
    use crate::rules::{Kind, Rules};

    fn check(rule: Value, request: Value, expect: Value) {
        let mut rules = Rules::default();
        rules.put("", Kind::Models, "m", &rule).unwrap();
        let mut body = json!({"model": "m", "messages": [{"role": "user", "content": "x"}]});
        request.as_object().unwrap().iter().for_each(|(k, v)| body[k] = v.clone());
        let mut params = Format::OpenaiChat.decode_request(body.to_string().as_bytes()).unwrap().params;
        rules.models["m"].apply(&mut params);
        let found = json!({
            "temperature": params.temperature, "top_p": params.top_p, "max_tokens": params.max_tokens,
            "reasoning_effort": params.reasoning_effort,
        });
        let said: serde_json::Map<_, _> =
            found.as_object().unwrap().iter().filter(|(_, v)| !v.is_null()).map(|(k, v)| (k.clone(), v.clone())).collect();
        assert_eq!(Value::Object(said), expect, "{rule} {request}");
    }

    #[test]
    fn members_are_set_and_bounded() {
        check(json!({}), json!({"temperature": 0.5}), json!({"temperature": 0.5}));
        check(json!({"set": {"temperature": 0}}), json!({"temperature": 0.5}), json!({"temperature": 0.0}));
        check(json!({"set": {"temperature": 0}}), json!({}), json!({"temperature": 0.0}));
        let bounds = json!({"min": {"temperature": 0.25}, "max": {"temperature": 0.75, "max_tokens": 100}});
        check(bounds.clone(), json!({"temperature": 0, "max_tokens": 5}), json!({"temperature": 0.25, "max_tokens": 5}));
        check(bounds.clone(), json!({"temperature": 2, "max_tokens": 500}), json!({"temperature": 0.75, "max_tokens": 100}));
        check(bounds.clone(), json!({"temperature": 0.5, "max_tokens": 100}), json!({"temperature": 0.5, "max_tokens": 100}));
        // What nobody says is the provider's choice, which may be over the bound.
        check(bounds, json!({}), json!({"temperature": 0.75, "max_tokens": 100}));
        check(json!({"max": {"temperature": 1.5, "top_p": 1}}), json!({}), json!({}));
        check(json!({"min": {"max_tokens": 10}}), json!({}), json!({}));
        check(json!({"min": {"max_tokens": 10}}), json!({"max_tokens": 1}), json!({"max_tokens": 10}));
    }

    #[test]
    fn reasoning_is_bounded_where_it_is_said() {
        let low = json!({"max": {"reasoning_effort": "low"}});
        check(low.clone(), json!({"reasoning_effort": "high"}), json!({"reasoning_effort": "low"}));
        check(low.clone(), json!({"reasoning_effort": "none"}), json!({"reasoning_effort": "none"}));
        check(low.clone(), json!({"reasoning_effort": "odd"}), json!({"reasoning_effort": "odd"}));
        check(low.clone(), json!({}), json!({}));
        check(json!({"set": {"reasoning_effort": "high"}}), json!({}), json!({"reasoning_effort": "high"}));
        check(
            json!({"min": {"reasoning_effort": "medium"}}),
            json!({"reasoning_effort": "minimal"}),
            json!({"reasoning_effort": "medium"}),
        );
        let thinking = |rule: Value, mode: ThinkingMode| {
            let mut rules = Rules::default();
            rules.put("", Kind::Models, "m", &rule).unwrap();
            let mut params = Params { thinking: Some(mode), ..Params::default() };
            rules.models["m"].apply(&mut params);
            params.thinking
        };
        assert_eq!(thinking(low.clone(), ThinkingMode::Budget(30_000)), Some(ThinkingMode::Budget(2_048)));
        assert_eq!(thinking(low.clone(), ThinkingMode::Budget(1_500)), Some(ThinkingMode::Budget(1_500)));
        assert_eq!(thinking(low, ThinkingMode::Disabled), Some(ThinkingMode::Disabled));
        assert_eq!(thinking(json!({"max": {"reasoning_effort": "none"}}), ThinkingMode::Adaptive), Some(ThinkingMode::Disabled));
        assert_eq!(thinking(json!({"set": {"reasoning_effort": "high"}}), ThinkingMode::Budget(1_500)), None);
    }
}
