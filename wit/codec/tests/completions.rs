//! OpenAI's legacy completions: what becomes of them in conversations, and back.

use llm_codec::hub::{ChatAnswer, Choice, Collector, ContentShape, FinishReason, Message, Part, PartKind, Role, StreamEvent};
use llm_codec::{EncodeOptions, EventDecoder, Format, StreamOptions};
use proptest::prelude::*;
use serde_json::{Value, json};

const COMPLETIONS: Format = Format::OpenaiCompletions;

fn decoded(body: &Value) -> llm_codec::hub::ChatRequest {
    COMPLETIONS.decode_request(body.to_string().as_bytes()).unwrap_or_else(|e| panic!("{body}: {e}"))
}

/// The document in another format, and its losses as `field=kind`.
fn crossed(body: &Value, to: Format) -> (Value, Vec<String>) {
    let encoded = to.encode_request(&decoded(body), &EncodeOptions::default());
    let losses = encoded.losses.iter().map(|l| format!("{}={}", l.field, l.kind.as_str())).collect();
    (serde_json::from_slice(&encoded.body).expect("JSON"), losses)
}

#[test]
fn a_request_is_written_again_as_it_was() {
    for body in [
        json!({"model": "m", "prompt": "x"}),
        json!({"model": "m", "prompt": ["x"], "n": 2, "stop": "a", "max_tokens": 0}),
        json!({"model": "m", "prompt": ["x", "y"], "suffix": "z", "stop": ["a", "b"], "stream": false}),
        json!({"model": "m", "prompt": [1, 2], "suffix": null, "best_of": 3, "echo": true, "logprobs": 2}),
        json!({"model": "m", "prompt": [[1], [2]], "suffix": ""}),
        json!({"model": "m", "prompt": [[1], [2]], "suffix": "z"}),
        json!({"model": "m", "suffix": "z"}),
        json!({"model": "m", "prompt": null, "logit_bias": {"50256": -100}}),
        json!({"model": "m", "top_k": 3, "temperature": 0.5, "top_p": 0.25, "seed": -1, "user": "u", "presence_penalty": 1.5, "frequency_penalty": -0.5}),
        json!({"model": "m", "prompt": "x", "stream": true, "stream_options": {"include_usage": true, "x": 1}, "own": {"deep": [null]}}),
    ] {
        let (again, losses) = crossed(&body, COMPLETIONS);
        assert_eq!((again, losses), (body, Vec::<String>::new()));
    }
}

#[test]
fn what_hooks_change_is_written() {
    let edited = |body: Value, edit: &dyn Fn(&mut Vec<Message>)| {
        let mut request = decoded(&body);
        edit(&mut request.messages);
        let encoded = COMPLETIONS.encode_request(&request, &EncodeOptions::default());
        let document: Value = serde_json::from_slice(&encoded.body).expect("JSON");
        (document["prompt"].clone(), document["suffix"].clone(), encoded.losses.len())
    };
    let shout = |messages: &mut Vec<Message>| {
        for m in messages {
            let PartKind::Text(text) = &m.parts[0].kind else { panic!("a text") };
            m.parts = vec![Part::text(text.to_uppercase())];
        }
    };
    let body = json!({"model": "m", "prompt": ["x", "y"], "suffix": "z"});
    assert_eq!(edited(body, &shout), (json!(["X", "Y"]), json!("Z"), 0));
    assert_eq!(edited(json!({"model": "m", "prompt": "x"}), &shout), (json!("X"), Value::Null, 0));
    let instruct = |messages: &mut Vec<Message>| messages.insert(0, Message::text(Role::System, "Be brief."));
    assert_eq!(edited(json!({"model": "m", "prompt": "x"}), &instruct), (json!("Be brief.\n\nx"), Value::Null, 1));
}

#[test]
fn a_prompt_is_a_message_of_the_user() {
    let body = json!({"model": "m", "prompt": ["Say hi."], "max_tokens": 7, "temperature": 0.5, "stop": "END", "n": 1,
        "echo": false, "best_of": 1, "logit_bias": {}, "logprobs": null, "suffix": null, "stream": true});
    let (chat, losses) = crossed(&body, Format::OpenaiChat);
    let expect = json!({"model": "m", "messages": [{"role": "user", "content": "Say hi."}], "max_tokens": 7, "temperature": 0.5,
        "stop": ["END"], "n": 1, "stream": true});
    assert_eq!((chat, losses), (expect, Vec::<String>::new()), "what says nothing is no loss");
    let lossy = json!({"model": "m", "prompt": "x", "echo": true, "best_of": 3, "logprobs": 2, "logit_bias": {"1": 2}, "own": 1});
    let (anthropic, mut losses) = crossed(&lossy, Format::AnthropicMessages);
    losses.sort();
    assert_eq!(losses, ["best_of", "echo", "logit_bias", "logprobs", "own"].map(|f| format!("{f}=unsupported")));
    assert_eq!(anthropic["messages"][0]["content"], "x");
    for target in Format::ALL {
        assert!(COMPLETIONS.portable(&decoded(&body)).is_ok());
        let text = crossed(&body, target).0.to_string();
        assert!(text.contains("Say hi.") && !text.contains("prompt"), "{target:?}: {text}");
    }
}

#[test]
fn what_no_conversation_can_say_is_refused_by_its_name() {
    for (members, field, part) in [
        (json!({"prompt": ["a", "b"]}), "prompt", "one at a time"),
        (json!({"prompt": [1, 2]}), "prompt", "send the text"),
        (json!({"prompt": [[1, 2]]}), "prompt", "send the text"),
        (json!({}), "prompt", "missing or empty"),
        (json!({"prompt": null}), "prompt", "missing or empty"),
        (json!({"prompt": " "}), "prompt", "missing or empty"),
        (json!({"prompt": "a", "suffix": "b"}), "suffix", "leave the suffix out"),
        (json!({"prompt": "a", "max_tokens": 0}), "max_tokens", "send 1 or more"),
    ] {
        let mut body = json!({"model": "m"});
        body.as_object_mut().expect("an object").extend(members.as_object().expect("an object").clone());
        let e = COMPLETIONS.portable(&decoded(&body)).expect_err(&body.to_string());
        assert!(e.path == field && e.message.contains(part), "{body}: {e}");
    }
    for (body, path) in [
        (json!({"model": "m", "prompt": {}}), "prompt"),
        (json!({"model": "m", "prompt": [1, "a"]}), "prompt[1]"),
        (json!({"model": "m", "prompt": [{}]}), "prompt[0]"),
        (json!({"model": "m", "prompt": "a", "suffix": 1}), "suffix"),
        (json!({"model": "m", "prompt": "a", "n": 0}), "n"),
        (json!({"model": "m", "prompt": "a", "max_tokens": -1}), "max_tokens"),
        (json!({"prompt": "a"}), "model"),
    ] {
        let e = COMPLETIONS.decode_request(body.to_string().as_bytes()).expect_err(&body.to_string());
        assert_eq!(e.path, path, "{body}: {e}");
    }
}

#[test]
fn answers_are_written_again_as_they_were_and_cross() {
    let usage = json!({"prompt_tokens": 5, "completion_tokens": 7, "total_tokens": 12});
    let choice = |index: u32, text: &str, finish: &str| json!({"text": text, "index": index, "logprobs": {"tokens": ["a"]}, "finish_reason": finish});
    let body = json!({"id": "cmpl-1", "object": "text_completion", "created": 1, "model": "m", "usage": usage, "own": [1],
        "choices": [choice(0, "a", "stop"), choice(1, "", "length"), choice(2, "c", "odd")]});
    let answer = COMPLETIONS.decode_answer(body.to_string().as_bytes()).expect("an answer");
    let again = COMPLETIONS.encode_answer(&answer, &StreamOptions::default());
    assert_eq!(serde_json::from_slice::<Value>(&again.body).expect("JSON"), body);
    assert!(again.losses.is_empty());
    let text = |a: &ChatAnswer| a.choices[0].parts.clone();
    for format in Format::ALL {
        let there = format.encode_answer(&answer, &StreamOptions::default());
        assert_eq!(text(&format.decode_answer(&there.body).expect("an answer")).len(), 1, "{format:?}");
    }
    let error = COMPLETIONS.decode_answer(br#"{"error":{"message":"Slow down.","type":"rate_limit_error"}}"#).expect_err("an error");
    assert_eq!(error.message, "Slow down.");
}

#[test]
fn what_a_completion_has_no_place_for_is_told() {
    let message = json!({"role": "assistant", "reasoning_content": "hm", "content": "hi",
        "tool_calls": [{"id": "c", "type": "function", "function": {"name": "f", "arguments": "{}"}}]});
    let body = json!({"id": "1", "object": "chat.completion", "created": 3, "model": "m",
        "choices": [{"index": 0, "message": message, "finish_reason": "tool_calls"}]});
    let answer = Format::OpenaiChat.decode_answer(body.to_string().as_bytes()).expect("an answer");
    let encoded = COMPLETIONS.encode_answer(&answer, &StreamOptions::default());
    let document: Value = serde_json::from_slice(&encoded.body).expect("JSON");
    let expect = json!({"text": "hi", "index": 0, "logprobs": null, "finish_reason": "stop"});
    assert_eq!((&document["choices"][0], &document["object"]), (&expect, &json!("text_completion")));
    let mut fields: Vec<_> = encoded.losses.iter().map(|l| format!("{}={}", l.field, l.kind.as_str())).collect();
    fields.sort();
    assert_eq!(fields, ["choices[0].content[0]=unsupported", "choices[0].content[2]=unsupported", "choices[0].finish=adjusted"]);
    // A stream of it loses the same, each once.
    let mut stream = llm_codec::StreamLosses::new(COMPLETIONS);
    stream.events(&llm_codec::hub::answer_events(&answer));
    let mut streamed: Vec<_> = stream.found().iter().map(|l| format!("{}={}", l.field, l.kind.as_str())).collect();
    streamed.sort();
    assert_eq!(streamed, fields);
}

// === streams ===

fn events(format: Format, pieces: &[&[u8]]) -> Vec<StreamEvent> {
    let (mut decoder, mut out): (EventDecoder, _) = (format.event_decoder(), Vec::new());
    pieces.iter().for_each(|piece| decoder.push(piece, &mut out));
    decoder.finish(&mut out);
    out
}

fn collected(events: &[StreamEvent]) -> ChatAnswer {
    let mut collector = Collector::new(COMPLETIONS);
    events.iter().for_each(|e| collector.push(e));
    collector.finish().expect("an answer")
}

fn stream_of(answer: &ChatAnswer) -> Vec<u8> {
    let mut encoder = COMPLETIONS.event_encoder(StreamOptions { include_usage: true, ..StreamOptions::default() });
    let mut out = Vec::new();
    encoder.events(&llm_codec::hub::answer_events(answer), &mut out);
    out
}

#[test]
fn a_stream_from_another_format_is_one_of_completions() {
    let chunk = |delta: Value, finish: Value| {
        format!(
            "data: {}\n\n",
            json!({"id": "c", "object": "chat.completion.chunk", "created": 4,
        "model": "m", "choices": [{"index": 0, "delta": delta, "finish_reason": finish}]})
        )
    };
    let usage = "data: {\"id\":\"c\",\"choices\":[],\"usage\":{\"prompt_tokens\":5,\"completion_tokens\":2,\"total_tokens\":7}}\n\n";
    let text = [
        chunk(json!({"role": "assistant", "content": ""}), Value::Null),
        chunk(json!({"content": "a"}), Value::Null),
        chunk(json!({"content": "b"}), json!("stop")),
        usage.to_owned(),
        "data: [DONE]\n\n".into(),
    ]
    .concat();
    let told = events(Format::OpenaiChat, &[text.as_bytes()]);
    for include_usage in [true, false] {
        let mut encoder = COMPLETIONS.event_encoder(StreamOptions { include_usage, ..StreamOptions::default() });
        let mut out = Vec::new();
        encoder.events(&told, &mut out);
        let out = String::from_utf8(out).expect("UTF-8");
        let piece = |text: &str, finish: &str| {
            format!(
                "data: {{\"id\":\"c\",\"object\":\"text_completion\",\"created\":4,\"model\":\"m\",\
            \"choices\":[{{\"text\":\"{text}\",\"index\":0,\"logprobs\":null,\"finish_reason\":{finish}}}]}}\n\n"
            )
        };
        let mut expect = [piece("a", "null"), piece("b", "null"), piece("", "\"stop\"")].concat();
        if include_usage {
            expect += "data: {\"id\":\"c\",\"object\":\"text_completion\",\"created\":4,\"model\":\"m\",\"choices\":[],\
                \"usage\":{\"prompt_tokens\":5,\"completion_tokens\":2,\"total_tokens\":7}}\n\n";
        }
        assert_eq!(out, expect + "data: [DONE]\n\n");
        assert!(encoder.losses().is_empty());
    }
}

#[test]
fn a_stream_that_breaks_off_is_no_answer() {
    let whole = "data: {\"id\":\"c\",\"choices\":[{\"text\":\"a\",\"index\":0,\"finish_reason\":null}]}\n\n";
    let ends = |text: &str| format!("{:?}", events(COMPLETIONS, &[text.as_bytes()]).last());
    assert!(ends(whole).contains("Interrupted"));
    assert!(ends("data: [DONE]\n\n").contains("Protocol"));
    assert!(ends("").contains("Interrupted"));
    assert!(ends(&format!("{whole}data: {{\"error\":{{\"message\":\"busy\",\"type\":\"server_error\"}}}}\n\n")).contains("busy"));
    assert!(ends(&whole.replace("null", "\"stop\"")).contains("End"), "some hosts forget the last line");
    assert!(ends(&format!("{whole}data: {{broken}}\n\n")).contains("Protocol"));
}

prop_compose! {
    fn answers()(texts in prop::collection::vec("\\PC{0,12}", 1..4), model in "[a-z]{1,5}") -> ChatAnswer {
        let choices = texts.into_iter().enumerate().map(|(index, text)| Choice {
            index: index as u32,
            parts: if text.is_empty() { Vec::new() } else { vec![Part::text(text)] },
            shape: ContentShape::Text,
            finish: Some(FinishReason::Length),
            extras: Vec::new(),
        });
        ChatAnswer { format: "openai-completions".into(), id: "cmpl-1".into(), model, created: Some(9), choices: choices.collect(), usage: None, extras: Vec::new() }
    }
}

proptest! {
    #[test]
    fn any_cut_of_a_stream_tells_the_same(answer in answers(), cut in any::<prop::sample::Index>(), second in any::<prop::sample::Index>()) {
        let bytes = stream_of(&answer);
        let whole = events(COMPLETIONS, &[&bytes]);
        let mut cuts = [cut.index(bytes.len()), second.index(bytes.len())];
        cuts.sort_unstable();
        prop_assert_eq!(&events(COMPLETIONS, &[&bytes[..cuts[0]], &bytes[cuts[0]..cuts[1]], &bytes[cuts[1]..]]), &whole);
        let single: Vec<&[u8]> = bytes.chunks(1).collect();
        prop_assert_eq!(&events(COMPLETIONS, &single), &whole);
        prop_assert_eq!(collected(&whole), answer);
    }

    #[test]
    fn unknown_members_survive(name in "[a-z]{3,8}_x", text in "\\PC{0,12}", number in any::<i32>()) {
        let value = json!({"text": text, "list": [number, null]});
        let body = json!({"model": "m", "prompt": text, &name: value});
        let (again, losses) = crossed(&body, COMPLETIONS);
        prop_assert_eq!(again, body);
        prop_assert!(losses.is_empty());
    }

    #[test]
    fn no_bytes_make_a_decoder_panic(bytes in prop::collection::vec(any::<u8>(), 0..200), text in "\\PC{0,60}") {
        for bytes in [&bytes[..], text.as_bytes(), format!("data: {text}\n\n").as_bytes()] {
            let _ = COMPLETIONS.decode_request(bytes);
            let _ = COMPLETIONS.decode_answer(bytes);
            prop_assert!(!events(COMPLETIONS, &[bytes]).is_empty(), "there is always an end");
        }
    }
}
