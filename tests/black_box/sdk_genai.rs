//! The official Google SDK for Python, and the Vercel AI SDK's provider for Google, on every format of upstream.

use serde_json::{Map, Value, json};
use wasmgate_tests::answers::{self, Call, Says, TEXT, gemini_error, gemini_model};
use wasmgate_tests::{Dialect, Gateway, Received, Reply, Step, Upstream, node, python};

use crate::setup::PROVIDER_KEY;

/// Models that the provider lists; each is a scenario.
const MODELS: [&str; 11] = ["text", "tools", "usage", "thinking", "json", "agent", "e400", "e401", "e429", "e503", "broken"];

const CALLS: &[Call] = &[
    Call { id: "call_A1", name: "weather", arguments: &["{\"ci", "ty\": \"Ber", "gen \\\"fj", "ord\\\"\"}"] },
    Call { id: "call_B2", name: "time", arguments: &["{", "\"zone\"", ":\"Europe/Oslo\"}"] },
];

/// What an upstream speaks: Gemini's format when it is none of the others.
type Format = Option<Dialect>;

fn reply(says: &Says, format: Format, to: &Received) -> Reply {
    format.map_or_else(|| says.gemini_reply(to), |format| says.reply(format, to))
}

fn model(format: Format, request: &Received) -> String {
    if format.is_none() { gemini_model(request).to_owned() } else { request.model() }
}

/// The upstream of all scenarios.
fn answer(format: Format, request: &Received) -> Reply {
    let error = |status: u16, word: &str, kind: &str, message: &str| {
        let document = format.map_or_else(|| gemini_error(status, word, message), |format| answers::error(format, kind, message));
        Reply::json(status, &document)
    };
    match model(format, request).as_str() {
        "text" => reply(&Says::text(TEXT), format, request),
        "tools" => reply(&Says { calls: CALLS, ..Says::default() }, format, request),
        "json" => reply(&Says::text("{\"city\":\"Bergen\"}"), format, request),
        "thinking" => reply(&Says { thinking: Some(("Two tools.", "c2ln")), text: "Yes.", ..Says::default() }, format, request),
        "agent" => {
            let first = !String::from_utf8_lossy(&request.body).contains("call_A1");
            let thinking = Some(("Two calls.", "c2ln"));
            reply(&if first { Says { calls: CALLS, thinking, ..Says::default() } } else { Says::text(TEXT) }, format, request)
        }
        "usage" => {
            let usage = match format {
                None => {
                    json!({"promptTokenCount": 100, "cachedContentTokenCount": 60, "candidatesTokenCount": 30, "thoughtsTokenCount": 20, "totalTokenCount": 150})
                }
                Some(Dialect::OpenAi) => json!({
                    "prompt_tokens": 100, "completion_tokens": 50, "total_tokens": 150, "prompt_tokens_details": {"cached_tokens": 60},
                    "completion_tokens_details": {"reasoning_tokens": 20},
                }),
                Some(Dialect::Anthropic) => json!({
                    "input_tokens": 40, "cache_creation_input_tokens": 0, "cache_read_input_tokens": 60, "output_tokens": 50,
                    "output_tokens_details": {"thinking_tokens": 20},
                }),
                Some(Dialect::Responses) => json!({
                    "input_tokens": 100, "input_tokens_details": {"cached_tokens": 60}, "output_tokens": 50,
                    "output_tokens_details": {"reasoning_tokens": 20}, "total_tokens": 150,
                }),
            };
            reply(&Says { text: TEXT, usage: Some(usage), ..Says::default() }, format, request)
        }
        "e400" => error(400, "INVALID_ARGUMENT", "invalid_request_error", "temperature: too hot"),
        "e401" => error(401, "UNAUTHENTICATED", "authentication_error", "invalid x-api-key"),
        "e429" => error(429, "RESOURCE_EXHAUSTED", "rate_limit_error", "Slow down."),
        "e503" => error(503, "UNAVAILABLE", "server_error", "Busy."),
        "broken" => {
            let mut events = match format {
                None => Says::text(TEXT).gemini_stream(),
                Some(format) => Says::text(TEXT).stream(format, "broken"),
            };
            events.truncate(5);
            Reply::events(vec![Step::Send(events.concat().into()), Step::Cut])
        }
        other => error(404, "NOT_FOUND", "not_found_error", other),
    }
}

fn expected(scenario: &str) -> Value {
    let client_error = |code: u16, status: &str| json!({"class": "ClientError", "code": code, "status": status});
    match scenario.split(' ').next().unwrap_or_default() {
        "text" => json!({"text": TEXT, "calls": [], "thinking": "", "stop": "STOP", "id": true}),
        "tools" => json!({
            "text": "", "stop": "STOP",
            "calls": [
                {"id": "call_A1", "name": "weather", "input": {"city": "Bergen \"fjord\""}},
                {"id": "call_B2", "name": "time", "input": {"zone": "Europe/Oslo"}},
            ],
        }),
        "usage" => json!({"text": TEXT, "usage": {"input": 100, "output": 50, "cached": 60, "reasoning": 20}}),
        "thinking" => json!({"text": "Yes.", "thinking": "Two tools.", "stop": "STOP"}),
        "json" | "parsed" => json!({"city": "Bergen"}),
        "agent" => json!({"first": ["weather", "time"], "then": TEXT}),
        "e400" => client_error(400, "INVALID_ARGUMENT"),
        "e429" => client_error(429, "RESOURCE_EXHAUSTED"),
        "unknown" | "no" => client_error(404, "NOT_FOUND"),
        // The gateway's own key was refused, which is not the caller's fault.
        "e401" => json!({"class": "ServerError", "code": 502}),
        "e503" => json!({"class": "ServerError", "code": 503, "status": "UNAVAILABLE"}),
        "broken" => json!({"code": 502, "status": "INTERNAL"}),
        "models" => json!(MODELS.map(|m| format!("models/{m}"))),
        "model" => json!("models/text"),
        other => panic!("nothing is expected of `{other}`"),
    }
}

async fn check(format: Format) {
    let upstream = Upstream::start(move |r| answer(format, r)).await;
    let (kind, url) = format.map_or_else(|| ("gemini", upstream.url()), |f| (f.provider_type(), format!("{}/v1", upstream.url())));
    let gateway = Gateway::start(&format!(
        "providers:\n  up: {{type: {kind}, base_url: \"{url}\", api_key: {PROVIDER_KEY}, models: [{}]}}\nextensions:\n  gemini-api: {{config: {{list_prefixes: [/v1]}}}}\n  routing: {{}}\n",
        MODELS.join(", ")
    ))
    .await;
    let mut wrong = Vec::new();
    for (seen, least) in
        [(python::run("google_genai_sdk.py", &gateway.url(), &[]).await, 27), (node::run("ai_google.cjs", &gateway.url(), &[]).await, 22)]
    {
        let Some(seen) = seen else { continue };
        let seen = seen.as_object().expect("scenarios by name");
        assert!(seen.len() >= least, "the script ran {} scenarios only", seen.len());
        for (scenario, found) in seen {
            let expected = expected(scenario);
            for (name, value) in expected.as_object().cloned().unwrap_or_else(|| Map::from_iter([(String::new(), expected.clone())])) {
                let found = if name.is_empty() { found } else { &found[&name] };
                if value != *found {
                    wrong.push(format!("{scenario}: `{name}` is {found}, expected {value}"));
                }
            }
        }
    }
    for request in upstream.received() {
        let headers = format!("{:?}", request.headers);
        if headers.contains(python::CLIENT_KEY) || headers.contains("x-goog-api-client") {
            wrong.push(format!("the client's own header fields went upstream: {headers}"));
        }
        if model(format, &request) == "json" && !request.json().to_string().contains("\"required\":[\"city\"]") {
            wrong.push(format!("the schema got lost: {}", request.json()));
        }
    }
    assert!(wrong.is_empty(), "{format:?} upstream:\n{}", wrong.join("\n"));
}

#[tokio::test]
async fn on_a_gemini_upstream() {
    check(None).await;
}

#[tokio::test]
async fn on_an_openai_upstream() {
    check(Some(Dialect::OpenAi)).await;
}

#[tokio::test]
async fn on_an_anthropic_upstream() {
    check(Some(Dialect::Anthropic)).await;
}

#[tokio::test]
async fn on_a_responses_upstream() {
    check(Some(Dialect::Responses)).await;
}
