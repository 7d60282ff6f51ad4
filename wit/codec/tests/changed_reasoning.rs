//! Reasoning that a hook changed, in streams that tell it in several fields: nothing of what it was goes out.

use llm_codec::hub::{Delta, StreamEvent};
use llm_codec::{Format, StreamOptions};

fn decode(delta: &str) -> Vec<StreamEvent> {
    let chunk = |choice: &str| format!("data: {{\"id\":\"c\",\"created\":1,\"model\":\"m\",\"choices\":[{choice}]}}\n\n");
    let piece = chunk(&format!("{{\"index\":0,\"delta\":{delta},\"finish_reason\":null}}"));
    let stop = chunk("{\"index\":0,\"delta\":{},\"finish_reason\":\"stop\"}");
    let (mut decoder, mut events) = (Format::OpenaiChat.event_decoder(), Vec::new());
    decoder.push(format!("{piece}{stop}data: [DONE]\n\n").as_bytes(), &mut events);
    events
}

fn encode(events: &[StreamEvent]) -> String {
    let mut out = Vec::new();
    Format::OpenaiChat.event_encoder(StreamOptions::default()).events(events, &mut out);
    String::from_utf8(out).unwrap()
}

#[test]
fn nothing_of_what_it_was_goes_out() {
    for delta in [
        r#"{"reasoning_details":[{"type":"reasoning.text","text":"a secret"}]}"#,
        r#"{"reasoning_details":[{"type":"reasoning.text","text":"a secret","signature":"s","format":"anthropic-claude-v1"}]}"#,
        r#"{"reasoning_details":[{"type":"reasoning.summary","summary":"a secret"},{"type":"reasoning.text","text":"b"}]}"#,
        r#"{"reasoning_details":[{"type":"reasoning.text","text":"b"},{"type":"reasoning.text","text":"a secret"}]}"#,
        r#"{"reasoning_details":[{"type":"reasoning.text","signature":"s"},{"type":"reasoning.text","text":"a secret"}]}"#,
        r#"{"reasoning":"a secret","reasoning_details":[{"type":"reasoning.text","text":"a secret"}]}"#,
        r#"{"reasoning":"a secret","reasoning_content":"a secret"}"#,
        r#"{"reasoning_content":"a secret","reasoning":"a secret","reasoning_details":[{"type":"reasoning.text","text":"a "},{"type":"reasoning.text","text":"secret"}]}"#,
    ] {
        let mut events = decode(delta);
        let unchanged = encode(&events);
        assert!(unchanged.contains("secret"), "{unchanged}");
        for event in &mut events {
            if let StreamEvent::BlockDelta(d) = event
                && let Delta::Thinking(text) = &mut d.delta
            {
                *text = text.replace("secret", "****");
            }
        }
        let changed = encode(&events);
        assert!(!changed.contains("secret"), "{delta}: {changed}");
        assert!(changed.contains("a ****"), "{delta}: {changed}");
    }
}

#[test]
fn what_nobody_changed_is_told_once_and_whole() {
    for delta in [
        r#"{"reasoning_details":[{"type":"reasoning.text","text":"one","id":"i","index":0}]}"#,
        r#"{"reasoning_details":[{"type":"reasoning.text","text":"one","index":0},{"type":"reasoning.encrypted","data":"two","format":"openai-responses-v1","index":1},{"type":"reasoning.text","text":"three","index":2}]}"#,
        r#"{"reasoning_details":[{"type":"reasoning.encrypted","data":"one","format":"openai-responses-v1"}]}"#,
    ] {
        let again = encode(&decode(delta));
        let given: serde_json::Value = serde_json::from_str(delta).unwrap();
        let mut told = Vec::new();
        for line in again.lines().filter_map(|line| line.strip_prefix("data: {")) {
            let chunk: serde_json::Value = serde_json::from_str(&format!("{{{line}")).unwrap();
            told.extend(chunk["choices"][0]["delta"]["reasoning_details"].as_array().cloned().unwrap_or_default());
        }
        assert_eq!(Some(&told), given["reasoning_details"].as_array(), "{again}");
    }
}
