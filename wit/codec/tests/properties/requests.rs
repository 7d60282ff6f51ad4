//! Requests survive their own format whole, and the other one as far as it goes.

use llm_codec::hub::{ChatRequest, PartKind};
use llm_codec::{EncodeOptions, Format};
use proptest::prelude::*;
use serde_json::Value;

use crate::make;

/// Without the hints that decoding adds.
fn bare(mut r: ChatRequest) -> ChatRequest {
    r.extras.retain(|e| e.name.starts_with("x_"));
    r.messages.iter_mut().flat_map(|m| &mut m.parts).for_each(|p| p.extras.retain(|e| !e.name.starts_with('$')));
    r.messages.iter_mut().for_each(|m| m.extras.retain(|e| !e.name.starts_with('$')));
    r.tools.iter_mut().for_each(|t| t.extras.retain(|e| !e.name.starts_with('$')));
    r
}

fn keeps(format: Format, r: &ChatRequest) -> Result<(), TestCaseError> {
    let encoded = format.encode_request(r, &EncodeOptions::default());
    prop_assert!(encoded.losses.is_empty(), "{:?}", encoded.losses);
    let again =
        format.decode_request(&encoded.body).map_err(|e| TestCaseError::fail(format!("{e} {}", String::from_utf8_lossy(&encoded.body))))?;
    prop_assert_eq!(&bare(again.clone()), r);
    prop_assert_eq!(format.encode_request(&again, &EncodeOptions::default()).body, encoded.body, "encoding is stable");
    Ok(())
}

fn texts(r: &ChatRequest) -> String {
    r.messages.iter().flat_map(|m| &m.parts).filter_map(|p| if let PartKind::Text(t) = &p.kind { Some(t.as_str()) } else { None }).collect()
}

fn calls(r: &ChatRequest) -> Vec<(String, Value)> {
    let calls = r.messages.iter().flat_map(|m| &m.parts).filter_map(|p| if let PartKind::ToolCall(c) = &p.kind { Some(c) } else { None });
    calls.map(|c| (c.id.clone(), serde_json::from_str(&c.arguments).unwrap())).collect()
}

fn results(r: &ChatRequest) -> Vec<String> {
    r.messages
        .iter()
        .flat_map(|m| &m.parts)
        .filter_map(|p| if let PartKind::ToolResult(t) = &p.kind { Some(t.tool_call_id.clone()) } else { None })
        .collect()
}

fn crosses(from: Format, to: Format, r: &ChatRequest) -> Result<(), TestCaseError> {
    let encoded = to.encode_request(r, &EncodeOptions::default());
    let there =
        to.decode_request(&encoded.body).map_err(|e| TestCaseError::fail(format!("{e} {}", String::from_utf8_lossy(&encoded.body))))?;
    prop_assert_eq!(texts(&there), texts(r));
    prop_assert_eq!(calls(&there), calls(r));
    prop_assert_eq!(results(&there), results(r));
    prop_assert_eq!(there.tools.len(), r.tools.len());
    if to == Format::GeminiGenerate {
        prop_assert_eq!((there.stream, &there.params.user), (false, &None));
    } else {
        prop_assert_eq!((there.stream, &there.params.user), (r.stream, &r.params.user));
    }
    // What the target lacks is told.
    let lost = |field: &str| encoded.losses.iter().any(|l| l.field == field);
    let stops = if to == Format::OpenaiResponses { &[][..] } else { &r.params.stop[..] };
    prop_assert_eq!((&there.params.stop[..], lost("stop")), (stops, stops != r.params.stop));
    prop_assert_eq!(lost("x_unknown"), r.extras.iter().any(|e| e.name == "x_unknown"));
    if to == Format::GeminiGenerate {
        prop_assert_eq!(lost("user"), r.params.user.is_some());
        prop_assert_eq!(lost("seed"), r.params.seed.is_some_and(|seed| i32::try_from(seed).is_err()));
        prop_assert_eq!(there.params.n, r.params.n);
    } else if to != Format::OpenaiChat {
        prop_assert_eq!(lost("seed"), r.params.seed.is_some());
        prop_assert_eq!(lost("n"), r.params.n.is_some_and(|n| n > 1));
    }
    if to == Format::AnthropicMessages {
        prop_assert!(there.params.max_tokens.is_some());
        // Every result stands in the message after its call.
        let document: Value = serde_json::from_slice(&encoded.body).unwrap();
        for pair in document["messages"].as_array().unwrap().windows(2) {
            let has = |m: &Value, kind: &str| m["content"].as_array().is_some_and(|c| c.iter().any(|b| b["type"] == kind));
            prop_assert_eq!(has(&pair[0], "tool_use"), has(&pair[1], "tool_result"), "{}", document);
        }
    } else {
        let cached = r.messages.iter().flat_map(|m| &m.parts).any(|p| p.cache_control.is_some());
        prop_assert_eq!(encoded.losses.iter().any(|l| l.field.starts_with("messages") && l.field.ends_with("cache_control")), cached);
    }
    prop_assert_eq!(from.as_str(), r.format.as_str());
    Ok(())
}

proptest! {
    #![proptest_config(crate::config())]

    #[test]
    fn openai_keeps_a_request(r in make::request(Format::OpenaiChat)) {
        keeps(Format::OpenaiChat, &r)?;
    }

    #[test]
    fn anthropic_keeps_a_request(r in make::request(Format::AnthropicMessages)) {
        keeps(Format::AnthropicMessages, &r)?;
    }

    #[test]
    fn responses_keep_a_request(r in make::request(Format::OpenaiResponses)) {
        keeps(Format::OpenaiResponses, &r)?;
    }

    #[test]
    fn gemini_keeps_a_request(r in make::request(Format::GeminiGenerate)) {
        keeps(Format::GeminiGenerate, &r)?;
    }

    #[test]
    fn requests_cross(r in prop::sample::select(Format::ALL.to_vec()).prop_flat_map(make::request)) {
        let from = Format::from_name(&r.format).unwrap();
        for to in Format::ALL.into_iter().filter(|to| *to != from) {
            crosses(from, to, &r)?;
        }
    }

    #[test]
    fn no_body_makes_a_decoder_panic(value in make::object(), bytes in prop::collection::vec(any::<u8>(), 0..80)) {
        for format in Format::ALL {
            for body in [&value.to_string().into_bytes(), &bytes] {
                let _ = format.decode_request(body);
                let _ = format.decode_answer(body);
                let e = format.decode_error(500, Some("1"), body);
                let reply = format.encode_error(&e);
                prop_assert!(serde_json::from_slice::<Value>(&reply.body).is_ok());
            }
        }
    }

    #[test]
    fn no_odd_member_makes_a_decoder_panic(r in make::request(Format::OpenaiChat), odd in make::json(), at in any::<prop::sample::Index>()) {
        for format in Format::ALL {
            let body = format.encode_request(&r, &EncodeOptions::default()).body;
            let mut document: Value = serde_json::from_slice(&body).unwrap();
            let mut places = Vec::new();
            pointers(&document, String::new(), &mut places);
            *document.pointer_mut(&places[at.index(places.len())]).unwrap() = odd.clone();
            // Refused with a path, or taken; and what is taken is kept.
            match format.decode_request(document.to_string().as_bytes()) {
                Err(e) => prop_assert!(!e.message.is_empty()),
                Ok(r) => {
                    let again: Value = serde_json::from_slice(&format.encode_request(&r, &EncodeOptions::default()).body).unwrap();
                    prop_assert_eq!(by_value(again), by_value(document));
                }
            }
        }
    }
}

/// Numbers by value: `0` and `0.0` are one number. Members that look like a note of the codec are none.
fn by_value(v: Value) -> Value {
    match v {
        Value::Number(n) => Value::from(n.as_f64()),
        Value::Array(a) => a.into_iter().map(by_value).collect(),
        Value::Object(o) => o.into_iter().filter(|(k, _)| !k.starts_with('$')).map(|(k, v)| (k, by_value(v))).collect(),
        other => other,
    }
}

fn pointers(v: &Value, at: String, out: &mut Vec<String>) {
    match v {
        Value::Object(o) => o.iter().for_each(|(k, v)| pointers(v, format!("{at}/{}", k.replace('~', "~0").replace('/', "~1")), out)),
        Value::Array(a) => a.iter().enumerate().for_each(|(i, v)| pointers(v, format!("{at}/{i}"), out)),
        _ => {}
    }
    if !at.is_empty() {
        out.push(at);
    }
}
