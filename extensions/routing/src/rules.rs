//! Rules: requests that are sent somewhere by more than their model's name.
//!
//! The conversation is read only where a rule asks for it and everything cheaper of that rule holds.

use std::cell::OnceCell;
use std::collections::BTreeMap;

use serde::Deserialize;
use wasmgate_sdk::hub::{PartKind, ResultPartKind, ThinkingMode, ToolKind};
use wasmgate_sdk::prelude::*;
use wasmgate_sdk::{codec, pattern};

/// Where `apikeys` notes the key's name.
const KEY: &str = "apikeys.name";

/// Tokens from which a conversation is long, when nobody says.
const LONG: u64 = 60_000;

/// What Claude Code asks for when it works in the background, when nobody says.
const SMALL: &str = "claude-*haiku*";

/// Where requests go that fulfil all of its conditions.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rule {
    /// The conditions.
    #[serde(default)]
    pub when: Conditions,
    /// A model, an alias, or `provider/model`; the provider may be a virtual one.
    pub to: String,
}

/// What must hold of a request. What is absent does not matter.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Conditions {
    /// The model that is asked for, with `*` for any text.
    #[serde(default)]
    pub model: Option<String>,
    /// The name of the caller's key, with `*`.
    #[serde(default)]
    pub key: Option<String>,
    /// Header fields, with `*`.
    #[serde(default)]
    pub header: BTreeMap<String, String>,
    /// Whether a stream is asked for.
    #[serde(default)]
    pub stream: Option<bool>,
    /// Estimated input tokens, at least.
    #[serde(default)]
    pub min_tokens: Option<u64>,
    /// The same, at most.
    #[serde(default)]
    pub max_tokens: Option<u64>,
    /// Whether there are images in the conversation.
    #[serde(default)]
    pub images: Option<bool>,
    /// Whether there are tools.
    #[serde(default)]
    pub tools: Option<bool>,
    /// Whether one of them is the provider's own web search.
    #[serde(default)]
    pub web_search: Option<bool>,
    /// Whether the model shall reason.
    #[serde(default)]
    pub thinking: Option<bool>,
}

/// The kinds of requests that Claude Code makes, each with where it goes. They become rules, in the order in which they stand here.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Slots {
    /// Models that this is about, with `*`.
    #[serde(default, rename = "for")]
    models: Option<String>,
    /// Conversations of at least `long_context_tokens`.
    #[serde(default, alias = "longContext")]
    long_context: Option<String>,
    /// From how many tokens a conversation is long.
    #[serde(default, alias = "longContextThreshold")]
    long_context_tokens: Option<u64>,
    /// What asks for the small model.
    #[serde(default)]
    background: Option<String>,
    /// The small model, with `*`.
    #[serde(default)]
    background_model: Option<String>,
    /// What brings the provider's web search along.
    #[serde(default, alias = "webSearch")]
    web_search: Option<String>,
    /// What has images.
    #[serde(default)]
    vision: Option<String>,
    /// What shall reason.
    #[serde(default)]
    think: Option<String>,
    /// Everything else.
    #[serde(default)]
    default: Option<String>,
}

impl Slots {
    /// As rules.
    pub fn rules(self) -> Vec<Rule> {
        let models = self.models.unwrap_or_else(|| "claude-*".into());
        let all = Conditions { model: Some(models), ..Conditions::default() };
        let slots = [
            (self.long_context, Conditions { min_tokens: Some(self.long_context_tokens.unwrap_or(LONG)), ..all.clone() }),
            (self.background, Conditions { model: Some(self.background_model.unwrap_or_else(|| SMALL.into())), ..Conditions::default() }),
            (self.web_search, Conditions { web_search: Some(true), ..all.clone() }),
            (self.vision, Conditions { images: Some(true), ..all.clone() }),
            (self.think, Conditions { thinking: Some(true), ..all.clone() }),
            (self.default, all),
        ];
        slots.into_iter().filter_map(|(to, when)| to.map(|to| Rule { when, to })).collect()
    }
}

/// A request that rules are compared with.
pub struct Subject<'a> {
    call: &'a CallInfo,
    request: &'a Request,
    facts: OnceCell<Result<Facts, ChatError>>,
}

/// What there is in a conversation.
struct Facts {
    tokens: u64,
    images: bool,
    tools: bool,
    web_search: bool,
    thinking: bool,
}

impl<'a> Subject<'a> {
    /// A request. Nothing of it is read yet.
    pub fn new(call: &'a CallInfo, request: &'a Request) -> Self {
        Self { call, request, facts: OnceCell::new() }
    }

    /// Whether all of a rule's conditions hold. The error is that of a conversation that cannot be read.
    pub fn fulfils(&self, when: &Conditions) -> Result<bool, ChatError> {
        let is = |wanted: &Option<String>, found: Option<&str>| {
            wanted.as_ref().is_none_or(|p| found.is_some_and(|found| pattern::matches(p, found)))
        };
        let key = || self.request.note::<String>(KEY);
        let cheap = is(&when.model, Some(&self.call.requested_model))
            && when.stream.is_none_or(|s| s == self.call.stream)
            && (when.key.is_none() || is(&when.key, key().as_deref()))
            && when.header.iter().all(|(name, p)| self.request.header(name).is_some_and(|found| pattern::matches(p, &found)));
        if !cheap || !when.read_conversation() {
            return Ok(cheap);
        }
        let facts = self.facts.get_or_init(|| self.request.conversation(self.call).map(|chat| Facts::of(&chat)));
        let facts = facts.as_ref().map_err(Clone::clone)?;
        Ok(when.min_tokens.is_none_or(|n| facts.tokens >= n)
            && when.max_tokens.is_none_or(|n| facts.tokens <= n)
            && when.images.is_none_or(|b| b == facts.images)
            && when.tools.is_none_or(|b| b == facts.tools)
            && when.web_search.is_none_or(|b| b == facts.web_search)
            && when.thinking.is_none_or(|b| b == facts.thinking))
    }
}

impl Conditions {
    fn read_conversation(&self) -> bool {
        self.min_tokens.is_some()
            || self.max_tokens.is_some()
            || [self.images, self.tools, self.web_search, self.thinking].iter().any(Option::is_some)
    }
}

impl Facts {
    fn of(chat: &ChatRequest) -> Self {
        let is_image = |part: &PartKind| match part {
            PartKind::Image(_) => true,
            PartKind::ToolResult(result) => result.content.iter().any(|p| matches!(p.kind, ResultPartKind::Image(_))),
            _ => false,
        };
        // OpenAI, Anthropic and Gemini call it `web_search`, `web_search_20250305` and `google_search`.
        let is_search = |kind: &ToolKind| match kind {
            ToolKind::Other(tool) => ["web_search", "google_search", "googleSearch"].iter().any(|n| tool.kind.starts_with(n)),
            ToolKind::Function(_) => false,
        };
        let params = &chat.params;
        Self {
            tokens: codec::estimate::input_tokens(chat),
            images: chat.messages.iter().flat_map(|m| &m.parts).any(|p| is_image(&p.kind)),
            tools: !chat.tools.is_empty(),
            web_search: chat.tools.iter().any(|t| is_search(&t.kind)),
            thinking: match &params.thinking {
                Some(mode) => !matches!(mode, ThinkingMode::Disabled),
                None => params.reasoning_effort.as_deref().is_some_and(|e| e != "none" && e != "minimal"),
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn anthropic(body: Value) -> FakeRequest {
        let mut request = FakeRequest::new("claude-sonnet-4");
        request.chat = codec::Format::AnthropicMessages.decode_request(body.to_string().as_bytes()).unwrap();
        request
    }

    fn body(more: Value) -> Value {
        let mut body = json!({"model": "claude-sonnet-4", "max_tokens": 10, "messages": [{"role": "user", "content": "hello"}]});
        for (name, value) in more.as_object().unwrap() {
            body[name] = value.clone();
        }
        body
    }

    fn check(request: &FakeRequest, when: Value, expect: bool) {
        let conditions: Conditions = serde_json::from_value(when.clone()).unwrap();
        let (call, handle) = (request.call(), request.handle());
        assert_eq!(Subject::new(&call, &handle).fulfils(&conditions).unwrap(), expect, "{when}");
    }

    #[test]
    fn conditions() {
        let mut plain = anthropic(body(json!({})));
        plain.headers.insert("x-team".into(), "lab-7".into());
        plain.notes.insert(KEY.into(), "\"ci\"".into());
        for (when, expect) in [
            (json!({}), true),
            (json!({"model": "claude-*"}), true),
            (json!({"model": "gpt-*"}), false),
            (json!({"key": "ci"}), true),
            (json!({"key": "prod"}), false),
            (json!({"header": {"x-team": "lab-*"}}), true),
            (json!({"header": {"x-team": "*", "x-other": "*"}}), false),
            (json!({"stream": false}), true),
            (json!({"stream": true}), false),
            (json!({"min_tokens": 1, "max_tokens": 1000}), true),
            (json!({"min_tokens": 1000}), false),
            (json!({"images": false, "tools": false, "thinking": false, "web_search": false}), true),
            (json!({"tools": true}), false),
        ] {
            check(&plain, when, expect);
        }
        check(&FakeRequest::new("m"), json!({"key": "*"}), false);
    }

    #[test]
    fn what_is_in_a_conversation() {
        let image = json!({"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "aGk="}});
        let seen = anthropic(body(json!({"messages": [{"role": "user", "content": [image]}]})));
        check(&seen, json!({"images": true}), true);
        let result = json!({"type": "tool_result", "tool_use_id": "t", "content": [image]});
        check(&anthropic(body(json!({"messages": [{"role": "user", "content": [result]}]}))), json!({"images": true}), true);
        let tool = json!({"name": "f", "input_schema": {"type": "object"}});
        let search = json!({"type": "web_search_20250305", "name": "web_search"});
        check(&anthropic(body(json!({"tools": [tool]}))), json!({"tools": true, "web_search": false}), true);
        check(&anthropic(body(json!({"tools": [tool, search]}))), json!({"web_search": true}), true);
        let thinking = |mode: Value| anthropic(body(json!({"max_tokens": 4096, "thinking": mode})));
        check(&thinking(json!({"type": "enabled", "budget_tokens": 2048})), json!({"thinking": true}), true);
        check(&thinking(json!({"type": "disabled"})), json!({"thinking": false}), true);
    }

    #[test]
    fn slots_are_rules_in_their_order() {
        let slots: Slots = serde_json::from_value(json!({
            "default": "d", "background": "b", "think": "t", "longContext": "l", "webSearch": "w", "vision": "v"
        }))
        .unwrap();
        let rules: Vec<String> = slots.rules().into_iter().map(|r| r.to).collect();
        assert_eq!(rules, ["l", "b", "w", "v", "t", "d"]);
        assert!(Slots::default().rules().is_empty());
        let unknown = serde_json::from_value::<Slots>(json!({"deep": "x"})).unwrap_err().to_string();
        assert!(unknown.contains("unknown field `deep`"), "{unknown}");
    }
}
