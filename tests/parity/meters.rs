//! The fixture `meters`: a limit that the host counts.

use fixture_meters::Meters;
use llm_codec::hub::ChatError;
use serde_json::{Value, json};
use wasmgate::extensions::bindings::exports::wasmgate::extension::on_complete as wire;
use wasmgate_sdk::{Ending, Extension as _, Outcome};

use crate::component::Host;
use crate::{Case, Provider, Setup, native, shown};

/// How a request ended, for the native side.
pub fn outcome(ending: Ending, error: Option<ChatError>) -> Outcome {
    let status = if error.is_some() { 500 } else { 200 };
    Outcome {
        ending,
        status,
        error,
        served_by: None,
        usage: None,
        attempts: Vec::new(),
        started_ms: 1,
        duration_us: 2,
        first_byte_us: None,
    }
}

/// The same for the component.
pub fn wire_outcome(outcome: &Outcome) -> wire::Outcome {
    wire::Outcome {
        ending: match outcome.ending {
            Ending::Success => wire::Ending::Success,
            Ending::Error => wire::Ending::Error,
            Ending::Rejected => wire::Ending::Rejected,
            Ending::Cancelled => wire::Ending::Cancelled,
        },
        status: outcome.status,
        error: outcome.error.clone(),
        served_by: None,
        usage: None,
        attempts: Vec::new(),
        started_ms: outcome.started_ms,
        duration_us: outcome.duration_us,
        first_byte_us: outcome.first_byte_us,
    }
}

/// The notes that a decision makes.
fn notes(decision: &Value) -> Vec<(String, String)> {
    let edits = decision["edit"].as_array().into_iter().flatten();
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    edits.filter_map(|e| e["note"].as_array().map(|note| (text(&note[0]), text(&note[1])))).collect()
}

#[test]
fn the_same_requests_are_let_in() {
    let providers = &[Provider { name: "echo", kind: "echo", models: &[], default_model: None }];
    let setup = Setup { name: "meters", config: json!({"limit": 2}), providers };
    let meters: Meters = native::start(&setup).expect("it takes its configuration");
    let host = Host::start(&setup).expect("it takes its configuration");
    let mut let_in = Vec::new();
    for case in [
        Case::new("the first", "m").header("x-who", "ann"),
        Case::new("the second", "m").header("x-who", "ann"),
        Case::new("one too many", "m").header("x-who", "ann"),
        Case::new("another one's first", "m").header("x-who", "bob"),
        Case::new("nobody's", "free"),
        Case::new("nobody's, which came back", "free"),
        Case::new("nobody's, and again", "free"),
        Case::new("nobody's, kept", "m"),
        Case::new("nobody's, kept too", "m"),
        Case::new("nobody's, one too many", "m"),
        Case::new("nobody's, free and too many", "free"),
    ] {
        let (call, request) = native::request(&case);
        let native = shown::native::decision(&meters.before_generate(&call, &request.handle()));
        let (wire_call, exchange) = host.request(&case);
        let component = shown::component::decision(&host.wait(host.extension().before_generate(&exchange, &wire_call)));
        assert_eq!(component, native, "{}: the component, and the native code", case.name);
        let_in.push(native.get("edit").is_some());

        let over = Case { notes: notes(&native), ..case };
        let outcome = outcome(Ending::Success, None);
        let (call, request) = native::request(&over);
        meters.on_complete(&call, &request.handle(), &outcome);
        let (call, exchange) = host.request(&over);
        host.wait(host.extension().on_complete(&exchange, &call, &wire_outcome(&outcome)));
    }
    assert_eq!(let_in, [true, true, false, true, true, true, true, true, true, false, false]);
    assert_eq!(host.log(), native::log());
}
