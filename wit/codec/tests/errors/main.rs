//! Errors of upstreams: what kind each is, when to try again, and how each client's format says it. `docs/reference/errors.md` is made
//! from the same table.

mod documented;
mod recorded;
mod reference;

use std::collections::BTreeSet;

use documented::{CASES, Case};
use llm_codec::Format;
use llm_codec::hub::{ChatError, ErrorClass};
use serde_json::Value;

/// The time at which all of this happens: 2025-01-31T12:00:00Z.
const NOW: u64 = 1_738_324_800_000;

/// An upstream's answer, read.
fn read(case: &Case) -> ChatError {
    let mut error = case.format.decode_error(case.status, None, case.body.as_bytes());
    error.retry_after_ms = llm_codec::retry_after(&error, |name| case.headers.iter().find(|(n, _)| *n == name).map(|(_, v)| *v), NOW);
    error
}

/// Status, type and code of an error as a client of `format` gets it, in one line.
fn written(format: Format, error: &ChatError, from: Format) -> String {
    let reply = format.encode_error(&if from == format { error.clone() } else { error.clone().crossed() });
    let body: Value = serde_json::from_slice(&reply.body).expect("an error is JSON");
    let words = ["type", "code"].iter().filter_map(|name| body["error"][*name].as_str());
    std::iter::once(reply.status.to_string()).chain(words.map(str::to_owned)).collect::<Vec<_>>().join(" ")
}

#[test]
fn errors_of_upstreams_leave_in_the_words_of_the_client() {
    let mut wrong = Vec::new();
    for case in CASES {
        let error = read(case);
        let mut check = |what: &str, found: String, expected: String| {
            if found != expected {
                wrong.push(format!("{} {}: {what} is {found}, expected {expected}", case.status, case.body));
            }
        };
        check("kind", error.class.name().into(), case.class.name().into());
        check("retry-after", format!("{:?}", error.retry_after_ms), format!("{:?}", case.retry_after_ms));
        check("in OpenAI's chat completions", written(Format::OpenaiChat, &error, case.format), case.openai.into());
        check("in Anthropic's messages", written(Format::AnthropicMessages, &error, case.format), case.anthropic.into());
        for client in Format::ALL {
            // What we tell is what we would understand, but for kinds that a format has one word for.
            let reply = client.encode_error(&error.clone().crossed());
            let again = client.decode_error(reply.status, None, &reply.body).class;
            let one_word = matches!(again, ErrorClass::InvalidRequest | ErrorClass::NotFound | ErrorClass::Upstream);
            let one_word =
                one_word || (again, case.class) == (ErrorClass::RateLimited, ErrorClass::QuotaExceeded) && client == Format::GeminiGenerate;
            if again != case.class && !one_word {
                check(&format!("told to and by {}", client.as_str()), again.name().into(), case.class.name().into());
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn every_kind_that_an_upstream_can_report_is_in_the_table() {
    let seen: BTreeSet<&str> = CASES.iter().map(|c| c.class.name()).collect();
    // These the gateway finds itself: nobody answers, or not to the end.
    let own = [ErrorClass::Connect, ErrorClass::Protocol, ErrorClass::Interrupted, ErrorClass::Internal];
    let missing: Vec<&str> = ErrorClass::ALL.iter().filter(|c| !own.contains(c)).map(|c| c.name()).filter(|n| !seen.contains(n)).collect();
    assert!(missing.is_empty(), "{missing:?}");
}

#[test]
fn an_error_inside_of_a_success_is_the_same_error() {
    for case in CASES.iter().filter(|c| c.body.starts_with("{\"error\":{") || c.body.starts_with("{\"type\":\"error\"")) {
        let error = case.format.decode_answer(case.body.as_bytes()).expect_err(case.body);
        // Without the status, a kind that only it tells is unknown.
        assert!(
            error.class == case.class || error.class == ErrorClass::Upstream || error.class == ErrorClass::InvalidRequest,
            "{}: {error:?}",
            case.body
        );
        let mut decoder = case.format.event_decoder();
        let mut events = Vec::new();
        let name = if case.format == Format::OpenaiChat { String::new() } else { "event: error\n".to_owned() };
        let data = case.body.replace('\n', "");
        decoder.push(format!("{name}data: {data}\n\n").as_bytes(), &mut events);
        let [llm_codec::hub::StreamEvent::Error(streamed)] = &events[..] else { panic!("{}: {events:?}", case.body) };
        assert_eq!((streamed.class, &streamed.message), (error.class, &error.message), "{}", case.body);
    }
}
