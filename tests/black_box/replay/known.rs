//! Differences that are no losses, each with its reason.

use llm_codec::Format;
use llm_codec::hub::{ChatAnswer, ChatRequest, FinishReason, PartKind, ToolChoice};

/// The reason why a feature of an answer looks otherwise to a client.
pub fn answer(feature: &str, client: Format, upstream: Format, recorded: &ChatAnswer, got: &ChatAnswer) -> Option<&'static str> {
    let finish = |a: &ChatAnswer| a.choices.first().and_then(|c| c.finish.clone());
    let calls = recorded.choices.first().is_some_and(|c| c.parts.iter().any(|p| matches!(p.kind, PartKind::ToolCall(_))));
    match (feature, finish(recorded), finish(got)) {
        _ if client == upstream => None,
        ("why it stopped", Some(FinishReason::Refusal), Some(FinishReason::ContentFilter)) => {
            Some("OpenAI has one word, `content_filter`, for what a provider withheld and for what a model declined")
        }
        ("why it stopped", Some(FinishReason::Stop), Some(FinishReason::ToolCalls)) if calls => {
            Some("the provider says `stop` although there are calls to make; clients of another format make them only when told so")
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
            let to_effort = before.thinking.is_some() && after.reasoning_effort.is_some();
            (to_budget || to_effort).then_some("words for effort and budgets of tokens stand for each other")
        }
        "choice of a tool" if said.tools.is_empty() && said.tool_choice == Some(ToolChoice::Auto) => {
            arrived.tool_choice.is_none().then_some("a choice among no tools says nothing")
        }
        _ => None,
    }
}
