//! Errors of providers through the gateway: the kind survives, and is told in the words of the client. The whole table is
//! docs/reference/errors.md; this is about the way that they take.

use serde_json::json;
use wasmgate_tests::{Dialect, Reply};

use crate::setup;

/// An error as each kind of upstream sends it, and as each kind of client gets it: status, type, code, retry-after, retry-after-ms.
struct Case {
    upstream: fn(Dialect) -> Reply,
    openai: (u16, &'static str, &'static str),
    anthropic: (u16, &'static str),
    wait: [&'static str; 2],
}

fn openai(status: u16, kind: &str, code: &str, message: &str) -> Reply {
    Reply::json(status, &json!({"error": {"message": message, "type": kind, "param": null, "code": code}}))
}

fn anthropic(status: u16, kind: &str, message: &str) -> Reply {
    Reply::json(status, &json!({"type": "error", "error": {"type": kind, "message": message}, "request_id": "req_1"}))
}

fn cases() -> Vec<Case> {
    vec![
        Case {
            upstream: |format| match format {
                Dialect::Anthropic => anthropic(529, "overloaded_error", "Overloaded"),
                _ => openai(503, "server_error", "overloaded", "The engine is currently overloaded."),
            },
            openai: (503, "server_error", "overloaded"),
            anthropic: (529, "overloaded_error"),
            wait: ["", ""],
        },
        Case {
            upstream: |format| match format {
                Dialect::Anthropic => anthropic(400, "invalid_request_error", "prompt is too long: 3 tokens > 2 maximum"),
                _ => openai(400, "invalid_request_error", "context_length_exceeded", "Your input exceeds the context window."),
            },
            openai: (400, "invalid_request_error", "context_length_exceeded"),
            anthropic: (400, "invalid_request_error"),
            wait: ["", ""],
        },
        Case {
            upstream: |format| match format {
                Dialect::Anthropic => anthropic(402, "billing_error", "There is an issue with your billing."),
                _ => openai(429, "insufficient_quota", "insufficient_quota", "You exceeded your current quota."),
            },
            openai: (429, "insufficient_quota", "insufficient_quota"),
            anthropic: (402, "billing_error"),
            wait: ["", ""],
        },
        Case {
            upstream: |format| match format {
                Dialect::Anthropic => anthropic(404, "not_found_error", "model: claude-x"),
                _ => openai(404, "invalid_request_error", "model_not_found", "The model `x` does not exist."),
            },
            openai: (404, "invalid_request_error", "model_not_found"),
            anthropic: (404, "not_found_error"),
            wait: ["", ""],
        },
        Case {
            upstream: |format| {
                match format {
                    Dialect::Anthropic => anthropic(429, "rate_limit_error", "Slow down."),
                    _ => openai(429, "requests", "rate_limit_exceeded", "Slow down."),
                }
                .header("retry-after-ms", "1250")
            },
            openai: (429, "rate_limit_error", "rate_limit_exceeded"),
            anthropic: (429, "rate_limit_error"),
            wait: ["2", "1250"],
        },
        Case {
            upstream: |format| {
                match format {
                    Dialect::Anthropic => anthropic(429, "rate_limit_error", "Slow down."),
                    _ => openai(429, "tokens", "rate_limit_exceeded", "Slow down."),
                }
                .header("x-ratelimit-remaining-tokens", "0")
                .header("x-ratelimit-reset-tokens", "1m3s")
                .header("x-ratelimit-reset-requests", "1ms")
            },
            openai: (429, "rate_limit_error", "rate_limit_exceeded"),
            anthropic: (429, "rate_limit_error"),
            wait: ["63", ""],
        },
        Case {
            upstream: |format| {
                // Google's way, which any of them may have behind it.
                let error = json!({"code": 429, "message": "Quota exceeded.", "status": "RESOURCE_EXHAUSTED",
                    "details": [{"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": "34.5s"}]});
                let code = if format == Dialect::Anthropic { json!({"error": error}) } else { json!([{"error": error}]) };
                Reply::json(429, &code)
            },
            openai: (429, "rate_limit_error", "rate_limit_exceeded|RESOURCE_EXHAUSTED"),
            anthropic: (429, "rate_limit_error"),
            wait: ["35", "34500"],
        },
    ]
}

#[tokio::test]
async fn the_kind_of_an_error_survives_every_pair_of_formats() {
    for case in cases() {
        for (dialect, format) in Dialect::PAIRS {
            let upstream = case.upstream;
            let (_upstream, _gateway, client) = setup::moody(format, move || upstream(format)).await;
            for request in [dialect.request("bad", "x"), dialect.stream_request("bad", "x")] {
                let answer = client.post(dialect.path(), &request).await;
                let (kind, _) = dialect.error(&answer.json());
                let waits = [answer.header("retry-after"), answer.header("retry-after-ms")];
                let at = format!("{dialect:?} on {format:?}: {} {}", answer.status, answer.text());
                if dialect == Dialect::Anthropic {
                    assert_eq!((answer.status, kind.as_str()), case.anthropic, "{at}");
                } else {
                    let (status, expected, codes) = case.openai;
                    assert_eq!((answer.status, kind.as_str()), (status, expected), "{at}");
                    let code = answer.json()["error"]["code"].as_str().unwrap_or_default().to_owned();
                    // A provider that speaks the client's format has its own codes.
                    let mut codes = codes.split('|');
                    let known = if format == dialect { codes.any(|c| c == code) } else { codes.next() == Some(code.as_str()) };
                    assert!(known, "{code} {at}");
                }
                assert_eq!(waits, case.wait, "{at}");
            }
        }
    }
}
