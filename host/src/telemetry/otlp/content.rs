//! What was said, for operators who want it in their traces (`telemetry.otlp.content`): JSON in the shape of OpenTelemetry's conventions
//! (<https://opentelemetry.io/docs/specs/semconv/gen-ai/gen-ai-spans/>). Pictures, sounds and files are only told to be there.

use llm_codec::hub::{ChatAnswer, ChatRequest, FinishReason, Part, PartKind, ResultPartKind, Role};
use opentelemetry_proto::tonic::common::v1::KeyValue;
use serde_json::{Value, json};

use super::attributes::{flag, text};

/// Longest text that is kept whole, in bytes.
const MAX_TEXT: usize = 16 << 10;

/// Most of a conversation, in bytes; older messages are left out first.
const MAX_ALL: usize = 128 << 10;

/// What a caller said.
pub fn input(chat: &ChatRequest) -> Vec<KeyValue> {
    let is_instruction = |role: Role| matches!(role, Role::System | Role::Developer);
    let said = |instructions: bool| chat.messages.iter().filter(move |m| is_instruction(m.role) == instructions);
    let instructions: Vec<Value> = said(true).flat_map(|m| &m.parts).map(part).collect();
    let messages = said(false).map(|m| json!({"role": role(m.role), "parts": m.parts.iter().map(part).collect::<Vec<_>>()}));
    let mut all = Vec::new();
    if !instructions.is_empty() {
        add(&mut all, "gen_ai.system_instructions", instructions);
    }
    add(&mut all, "gen_ai.input.messages", messages.collect());
    all
}

/// What a model answered.
pub fn output(answer: &ChatAnswer) -> Vec<KeyValue> {
    let choices = answer.choices.iter().map(|choice| {
        let parts: Vec<Value> = choice.parts.iter().map(part).collect();
        json!({"role": "assistant", "parts": parts, "finish_reason": choice.finish.as_ref().map(FinishReason::word)})
    });
    let mut all = Vec::new();
    add(&mut all, "gen_ai.output.messages", choices.collect());
    all
}

/// Adds a list, as much of its end as there is room for.
fn add(all: &mut Vec<KeyValue>, name: &str, items: Vec<Value>) {
    let (mut kept, mut bytes) = (Vec::new(), 0);
    let many = items.len();
    for item in items.into_iter().rev() {
        let item = item.to_string();
        bytes += item.len();
        if bytes > MAX_ALL {
            break;
        }
        kept.push(item);
    }
    if kept.len() < many {
        all.push(flag(&format!("wasmgate.cut.{name}"), true));
    }
    kept.reverse();
    all.push(text(name, format!("[{}]", kept.join(","))));
}

fn part(part: &Part) -> Value {
    match &part.kind {
        PartKind::Text(said) | PartKind::Refusal(said) => json!({"type": "text", "content": cut(said)}),
        PartKind::Thinking(thinking) => json!({"type": "reasoning", "content": cut(&thinking.text)}),
        PartKind::RedactedThinking(_) => json!({"type": "reasoning"}),
        PartKind::ToolCall(call) => {
            let arguments = serde_json::from_str(cut(&call.arguments)).unwrap_or_else(|_| json!(cut(&call.arguments)));
            json!({"type": "tool_call", "id": call.id, "name": call.name, "arguments": arguments})
        }
        PartKind::ToolResult(result) => {
            let texts = result.content.iter().filter_map(|p| if let ResultPartKind::Text(text) = &p.kind { Some(cut(text)) } else { None });
            json!({"type": "tool_call_response", "id": result.tool_call_id, "response": texts.collect::<Vec<_>>().concat()})
        }
        PartKind::Image(_) => json!({"type": "blob", "modality": "image"}),
        PartKind::Audio(_) => json!({"type": "blob", "modality": "audio"}),
        PartKind::Document(_) => json!({"type": "blob", "modality": "document"}),
        PartKind::Other(_) => json!({"type": "other"}),
    }
}

fn role(role: Role) -> &'static str {
    match role {
        Role::System | Role::Developer => "system",
        Role::User => "user",
        Role::Assistant => "assistant",
        Role::Tool => "tool",
    }
}

/// A text, or its beginning.
fn cut(text: &str) -> &str {
    &text[..text.floor_char_boundary(MAX_TEXT)]
}

#[cfg(test)]
mod tests {
    use llm_codec::Format;
    use opentelemetry_proto::tonic::common::v1::any_value::Value as Any;

    use super::*;

    fn said(all: &[KeyValue], name: &str) -> Value {
        let value = all.iter().find(|a| a.key == name).and_then(|a| a.value.clone()?.value);
        let Some(Any::StringValue(text)) = value else { return Value::Null };
        serde_json::from_str(&text).unwrap()
    }

    #[test]
    fn a_conversation_in_the_shape_of_the_conventions() {
        let chat = json!({"model": "m", "messages": [
            {"role": "system", "content": "Be kind."},
            {"role": "user", "content": [{"type": "text", "text": "Look"}, {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}}]},
            {"role": "assistant", "content": null, "tool_calls": [{"id": "c", "type": "function", "function": {"name": "f", "arguments": "{\"a\":1}"}}]},
            {"role": "tool", "tool_call_id": "c", "content": "done"},
        ]});
        let chat = Format::OpenaiChat.decode_request(chat.to_string().as_bytes()).unwrap();
        let all = input(&chat);
        assert_eq!(said(&all, "gen_ai.system_instructions"), json!([{"type": "text", "content": "Be kind."}]));
        let messages = said(&all, "gen_ai.input.messages");
        assert_eq!(messages[0]["parts"], json!([{"type": "text", "content": "Look"}, {"type": "blob", "modality": "image"}]));
        assert_eq!(messages[1]["parts"], json!([{"type": "tool_call", "id": "c", "name": "f", "arguments": {"a": 1}}]));
        assert_eq!(messages[2], json!({"role": "tool", "parts": [{"type": "tool_call_response", "id": "c", "response": "done"}]}));
    }

    #[test]
    fn what_is_too_long_is_cut() {
        let long = "ä".repeat(MAX_TEXT);
        let messages: Vec<_> = (0..20).map(|n| json!({"role": "user", "content": format!("{n} {long}")})).collect();
        let chat = Format::OpenaiChat.decode_request(json!({"model": "m", "messages": messages}).to_string().as_bytes()).unwrap();
        let all = input(&chat);
        let kept = said(&all, "gen_ai.input.messages");
        let last = kept.as_array().unwrap().last().unwrap()["parts"][0]["content"].as_str().unwrap();
        assert!(last.starts_with("19 ä") && last.len() <= MAX_TEXT && kept.to_string().len() <= MAX_ALL + 64);
        assert!(all.iter().any(|a| a.key == "wasmgate.cut.gen_ai.input.messages"), "the beginning is left out, and that is told");
    }
}
