//! What an answer is worth when no extension judges: whether it is one, whether it is whole, and how much it says.
//!
//! It knows nothing of what was asked. Whoever wants more loads an extension that exports `judge`.

use llm_codec::hub::{ChatAnswer, FinishReason, PartKind};

/// Text beyond which more of it is worth nothing, in bytes.
const ENOUGH: f64 = 2_000.0;

/// From 0 (of no use) to 1, by the first alternative.
pub fn score(answer: &ChatAnswer) -> f64 {
    let Some(choice) = answer.choices.first() else { return 0.0 };
    let (mut text, mut calls, mut broken, mut refused) = (0usize, false, false, false);
    for part in &choice.parts {
        match &part.kind {
            PartKind::Text(said) => text += said.trim().len(),
            PartKind::ToolCall(call) => {
                calls = true;
                broken |= serde_json::from_str::<serde::de::IgnoredAny>(&call.arguments).is_err() && !call.arguments.is_empty();
            }
            PartKind::Refusal(_) => refused = true,
            _ => {}
        }
    }
    let content = match (calls, text) {
        _ if refused => 0.1,
        (true, _) if broken => 0.1,
        (true, _) => 0.9,
        (false, 0) => 0.0,
        // A longer answer says more, less and less so.
        (false, bytes) => 0.4 + 0.5 * ((bytes as f64).min(ENOUGH) / ENOUGH).sqrt(),
    };
    let whole = match &choice.finish {
        Some(FinishReason::Stop | FinishReason::StopSequence(_) | FinishReason::ToolCalls) => 1.0,
        Some(FinishReason::Length) => 0.6,
        Some(FinishReason::ContentFilter) => 0.2,
        _ => 0.8,
    };
    content * whole
}

#[cfg(test)]
mod tests {
    use llm_codec::Format;

    use super::score;

    /// The score of an answer of OpenAI's.
    fn of(message: &str, finish: &str) -> f64 {
        let document = format!(
            r#"{{"id":"x","object":"chat.completion","created":1,"model":"m","choices":[{{"index":0,"message":{message},"finish_reason":"{finish}"}}]}}"#
        );
        score(&Format::OpenaiChat.decode_answer(document.as_bytes()).expect("it is one"))
    }

    fn text(text: &str) -> String {
        format!(r#"{{"role":"assistant","content":"{text}"}}"#)
    }

    fn call(arguments: &str) -> String {
        format!(
            r#"{{"role":"assistant","content":null,"tool_calls":[{{"id":"c","type":"function","function":{{"name":"f","arguments":"{arguments}"}}}}]}}"#
        )
    }

    #[test]
    fn better_answers_are_worth_more() {
        let ordered = [
            of(&text(""), "stop"),
            of(r#"{"role":"assistant","content":null,"refusal":"no"}"#, "stop"),
            of(&text("short"), "length"),
            of(&text("short"), "stop"),
            of(&text(&"long ".repeat(100)), "stop"),
            of(&text(&"longer ".repeat(1_000)), "stop"),
        ];
        assert!(ordered.is_sorted_by(|a, b| a < b), "{ordered:?}");
        assert!(of(&call("{}"), "tool_calls") > of(&call("{"), "tool_calls"));
        assert!(ordered.iter().all(|s| (0.0..=1.0).contains(s)));
    }
}
