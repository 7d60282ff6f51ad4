//! Differences that are no losses, each with its reason.

use llm_codec::hub::{ChatAnswer, ChatRequest, FinishReason, FunctionTool, MediaSource, PartKind, Role, ToolChoice, ToolKind};
use llm_codec::{Format, Loss};
use serde_json::{Value, json};

/// The reason why a feature of an answer looks otherwise to a client.
pub fn answer(feature: &str, client: Format, upstream: Format, recorded: &ChatAnswer, got: &ChatAnswer) -> Option<&'static str> {
    let finish = |a: &ChatAnswer| a.choices.first().and_then(|c| c.finish.clone());
    let calls = recorded.choices.first().is_some_and(|c| c.parts.iter().any(|p| matches!(p.kind, PartKind::ToolCall(_))));
    match (feature, finish(recorded), finish(got)) {
        _ if client == upstream => None,
        ("why it stopped", Some(FinishReason::Refusal), Some(FinishReason::ContentFilter)) => Some(match client {
            Format::GeminiGenerate => "Gemini has one word, `SAFETY`, for what a provider withheld and for what a model declined",
            _ => "OpenAI has one word, `content_filter`, for what a provider withheld and for what a model declined",
        }),
        ("why it stopped", Some(FinishReason::ContentFilter), Some(FinishReason::Refusal)) => {
            Some("Anthropic has one word, `refusal`, for what a provider withheld and for what a model declined")
        }
        ("why it stopped", Some(FinishReason::Stop), Some(FinishReason::ToolCalls)) if calls => {
            Some("the provider says `stop` although there are calls to make; clients of another format make them only when told so")
        }
        ("tokens written to a cache", ..) if client == Format::GeminiGenerate => {
            let told = got.usage.as_ref().is_some_and(|u| u.cache_write_tokens.is_some());
            (!told).then_some("Gemini does not count them by themselves; they are among the input tokens")
        }
        _ => None,
    }
}

/// The reason why a feature of a request looks otherwise to an upstream.
pub fn request(feature: &str, client: Format, upstream: Format, said: &ChatRequest, arrived: &ChatRequest) -> Option<&'static str> {
    let (before, after) = (&said.params, &arrived.params);
    match feature {
        _ if client == upstream => None,
        "effort or budget of reasoning" => {
            let to_budget = before.thinking.is_none() && after.thinking.is_some();
            let to_effort = before.thinking.is_some() && after.reasoning_effort.is_some() && before.reasoning_effort.is_none();
            let beyond = matches!(before.reasoning_effort.as_deref(), Some("xhigh" | "max"));
            if upstream == Format::GeminiGenerate && beyond && after.reasoning_effort.as_deref() == Some("high") {
                return Some("Gemini's word for the most effort is `high`");
            }
            (to_budget || to_effort).then_some("words for effort and budgets of tokens stand for each other")
        }
        "choice of a tool" if said.tools.is_empty() && said.tool_choice == Some(ToolChoice::Auto) => {
            arrived.tool_choice.is_none().then_some("a choice among no tools says nothing")
        }
        "functions" => {
            let (before, after) = (functions(said), functions(arrived));
            let alike = before.len() == after.len() && before.iter().zip(&after).all(|(b, a)| same_function(b, a));
            alike.then_some("a function without parameters has a schema of none where the format wants a schema")
        }
        "documents" => {
            let (before, after) = (documents(said), documents(arrived));
            let alike = before.len() == after.len() && before.iter().zip(&after).all(|(b, a)| b == a || is_text(b, a));
            alike.then_some("a file of text is a document of text")
        }
        _ => None,
    }
}

/// Whether a conversation has no word in it, so that nothing is left of it in formats that take no empty messages. That was told.
pub fn silent(said: &ChatRequest, losses: &[Loss]) -> bool {
    let spoken = said.messages.iter().filter(|m| !matches!(m.role, Role::System | Role::Developer)).flat_map(|m| &m.parts);
    spoken.map(|p| &p.kind).all(|kind| matches!(kind, PartKind::Text(text) if text.is_empty())) && !losses.is_empty()
}

fn functions(r: &ChatRequest) -> Vec<&FunctionTool> {
    r.tools.iter().filter_map(|t| if let ToolKind::Function(f) = &t.kind { Some(f) } else { None }).collect()
}

/// The same function, or the same without parameters.
fn same_function(before: &FunctionTool, after: &FunctionTool) -> bool {
    let schema = |f: &FunctionTool| f.parameters.as_deref().map(|p| serde_json::from_str::<Value>(p).unwrap_or_default());
    let none = before.parameters.is_none() && schema(after) == Some(json!({"type": "object", "properties": {}}));
    (&before.name, &before.description) == (&after.name, &after.description) && (none || schema(before) == schema(after))
}

fn documents(r: &ChatRequest) -> Vec<&MediaSource> {
    let parts = r.messages.iter().filter(|m| m.role == Role::User).flat_map(|m| &m.parts);
    parts.filter_map(|p| if let PartKind::Document(m) = &p.kind { Some(&m.source) } else { None }).collect()
}

/// Bytes of text that became the text itself.
fn is_text(before: &MediaSource, after: &MediaSource) -> bool {
    matches!((before, after), (MediaSource::Inline(i), MediaSource::Text(_)) if i.media_type.starts_with("text/"))
}
