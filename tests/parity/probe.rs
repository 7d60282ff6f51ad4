//! The fixture `probe`: every kind of decision, lines in the log, and values in the store.

use std::sync::Arc;

use fixture_probe::Probe;
use llm_codec::Format;
use llm_codec::hub::{ChatError, ErrorClass};
use serde_json::json;
use wasmgate_sdk::{Answer, Ending, Extension as _, Http as _, HttpRequest};

use crate::component::Host;
use crate::meters::{outcome, wire_outcome};
use crate::{Case, Provider, Setup, native, shown};

fn both() -> (Probe, Host) {
    let providers = &[Provider { name: "echo", kind: "echo", models: &[], default_model: None }];
    let setup = Setup { name: "probe", config: json!({}), providers };
    (native::start(&setup).expect("it takes its configuration"), Host::start(&setup).expect("it takes its configuration"))
}

#[test]
fn every_decision_and_every_verdict() {
    let (probe, host) = both();
    let document = json!({"id": "a", "object": "chat.completion", "created": 1, "model": "m", "choices": [
        {"index": 0, "message": {"role": "assistant", "content": "Grüße 😀"}, "finish_reason": "stop"}],
        "usage": {"prompt_tokens": 3, "completion_tokens": 5, "total_tokens": 8}});
    let answer = Format::OpenaiChat.decode_answer(document.to_string().as_bytes()).expect("a valid answer");
    for case in [
        Case::new("continue", "m"),
        Case::new("respond", "respond"),
        Case::new("reject", "reject"),
        Case::new("edit", "edit"),
        Case::new("note", "note"),
        Case::new("buffer, replace", "after-replace"),
        Case::new("retry", "after-retry"),
        Case::new("retry without a change", "after-endless"),
        Case::new("reject the answer", "after-reject"),
    ] {
        let (call, request) = native::request(&case);
        let (wire_call, exchange) = host.request(&case);
        let native = shown::native::decision(&probe.before_generate(&call, &request.handle()));
        let component = shown::component::decision(&host.wait(host.extension().before_generate(&exchange, &wire_call)));
        assert_eq!(component, native, "{}: the component, and the native code", case.name);
        let native = shown::native::verdict(&probe.after_generate(&call, &request.handle(), &Answer(answer.clone())));
        let shared = Arc::new(answer.clone());
        let component = shown::component::verdict(&host.wait(host.extension().after_generate(&exchange, &wire_call, &shared)));
        assert_eq!(component, native, "{}: the component, and the native code", case.name);
    }
    assert_eq!(host.log(), native::log());
}

#[test]
fn the_same_lines_in_the_log_and_the_same_values_in_the_store() {
    let (probe, host) = both();
    let broken = || Some(ChatError::new(ErrorClass::Internal, "broken"));
    let noted = Case { notes: vec![("probe.seen".into(), "true".into())], ..Case::new("noted", "m") };
    for (case, outcome) in [
        (Case::new("success", "m"), outcome(Ending::Success, None)),
        (noted, outcome(Ending::Error, broken())),
        (Case::new("rejected", "m"), outcome(Ending::Rejected, broken())),
        (Case::new("cancelled", "m"), outcome(Ending::Cancelled, None)),
    ] {
        let (call, request) = native::request(&case);
        probe.on_complete(&call, &request.handle(), &outcome);
        let (call, exchange) = host.request(&case);
        host.wait(host.extension().on_complete(&exchange, &call, &wire_outcome(&outcome)));
    }
    assert_eq!(native::log().len(), 4);
    assert_eq!(host.log(), native::log());
    for (id, count) in [("test", "4"), ("nobody", "0")] {
        let path = format!("/probe/count/{id}");
        let reply = probe.handle(HttpRequest { method: "GET".into(), path: path.clone(), ..HttpRequest::default() });
        assert_eq!((reply.status, String::from_utf8_lossy(&reply.body).as_ref()), (200, count));
        assert_eq!(host.get(&path), (200, count.to_owned()), "{id}");
    }
}
