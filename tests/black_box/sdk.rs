//! What the official SDKs must make of the gateway's answers, for each format of the upstream.
//!
//! A script of `tests/python` or `tests/node` runs all scenarios and reduces what its SDK put together to one shape; the table
//! here says what that must be, and what the upstream must have received.

use serde_json::{Map, Value, json};
use wasmgate_tests::answers::{self, Call, Says, TEXT};
use wasmgate_tests::python::CLIENT_KEY;
use wasmgate_tests::{Dialect, Gateway, Received, Reply, Step, Upstream};

use crate::setup::PROVIDER_KEY;

/// Models that the provider lists; each is a scenario.
const MODELS: [&str; 12] =
    ["text", "tools", "interleaved", "result", "usage", "thinking", "json", "e400", "e401", "e429", "e529", "broken"];

const CALLS: &[Call] = &[
    Call { id: "call_A1", name: "weather", arguments: &["{\"ci", "ty\": \"Ber", "gen \\\"fj", "ord\\\"\"}"] },
    Call { id: "call_B2", name: "time", arguments: &["{", "\"zone\"", ":\"Europe/Oslo\"}"] },
];

const THOUGHT: (&str, &str) = ("The user wants two things; I need both tools.", "RXFzaWduYXR1cmU=");

/// Starts a gateway in front of a scripted upstream. Tell the SDK's script the gateway's address, then look with [`Scene::check`].
pub struct Scene {
    client: Dialect,
    format: Dialect,
    upstream: Upstream,
    gateway: Gateway,
}

impl Scene {
    /// For this pair.
    pub async fn new(client: Dialect, format: Dialect) -> Self {
        let upstream = Upstream::start(move |r| answer(format, r)).await;
        let config = format!(
            "providers:\n  up: {{type: {}, base_url: \"{}/v1\", api_key: {PROVIDER_KEY}, models: [{}]}}\nextensions:\n  openai-api: {{}}\n  anthropic-api: {{}}\n  routing: {{}}\n",
            format.provider_type(),
            upstream.url(),
            MODELS.join(", ")
        );
        let gateway = Gateway::start(&config).await;
        Self { client, format, upstream, gateway }
    }

    /// The gateway's address.
    pub fn url(&self) -> String {
        self.gateway.url()
    }

    /// Compares what the SDK saw with what it must see; all differences are reported at once.
    pub fn check(&self, seen: &Value) {
        self.check_at_least(34, seen);
    }

    /// The same for a script that runs fewer scenarios.
    pub fn check_at_least(&self, least: usize, seen: &Value) {
        let mut wrong = Vec::new();
        for (scenario, found) in seen.as_object().expect("scenarios by name") {
            let expected = self.expected(scenario);
            for (name, value) in expected.as_object().cloned().unwrap_or_else(|| Map::from_iter([(String::new(), expected.clone())])) {
                let found = if name.is_empty() { found } else { &found[&name] };
                // The AI SDK has one class for all statuses.
                if name == "class" && found.as_str().is_some_and(|class| class.starts_with("AI_")) {
                    continue;
                }
                if !matches(&value, found) {
                    wrong.push(format!("{scenario}: `{name}` is {found}, expected {value}"));
                }
            }
        }
        let count = seen.as_object().map_or(0, Map::len);
        assert!(count >= least, "the script ran {count} scenarios only");
        self.check_upstream(&mut wrong);
        assert!(wrong.is_empty(), "{:?} client, {:?} upstream:\n{}", self.client, self.format, wrong.join("\n"));
    }

    fn expected(&self, scenario: &str) -> Value {
        let (model, how) = scenario.split_once(' ').unwrap_or((scenario, ""));
        let (end, calls) = match self.client {
            Dialect::OpenAi => ("stop", "tool_calls"),
            Dialect::Anthropic => ("end_turn", "tool_use"),
            Dialect::Responses => ("completed", "completed"),
        };
        match model {
            "text" => json!({"text": TEXT, "calls": [], "thinking": "", "stop": end, "model": "text"}),
            "result" => json!({"text": "Rain at noon.", "calls": [], "stop": end}),
            "tools" | "interleaved" => json!({
                "text": "", "stop": calls,
                "calls": [
                    {"id": "call_A1", "name": "weather", "input": {"city": "Bergen \"fjord\""}},
                    {"id": "call_B2", "name": "time", "input": {"zone": "Europe/Oslo"}},
                ],
            }),
            "usage" => json!({"text": TEXT, "usage": {"input": 100, "output": 50, "cached": 60, "reasoning": 20}}),
            "thinking" => {
                let signature = match (self.client, self.format) {
                    // It is the client's to send back, and says whose it is.
                    (Dialect::Responses, Dialect::Anthropic) => &format!("wasmgate-signature:{}", THOUGHT.1),
                    (_, Dialect::Anthropic) | (Dialect::Responses, Dialect::Responses) => THOUGHT.1,
                    _ => "",
                };
                json!({"text": "Two tools.", "thinking": THOUGHT.0, "signature": signature, "stop": end})
            }
            "reasoning" => json!({"text": "Two tools.", "thinking": THOUGHT.0, "stop": end}),
            "json" => json!({"city": "Bergen"}),
            "kept" => self.error("NotFoundError", 404, "keeps no responses"),
            "e400" => self.error("BadRequestError", 400, "too hot"),
            // The gateway's own key was refused, which is not the caller's fault.
            "e401" => self.error("InternalServerError", 502, "credentials"),
            "e429" => {
                let mut error = self.error("RateLimitError", 429, "Slow down.");
                error["retry_after"] = json!("17");
                error
            }
            "e529" => {
                let (class, status) = match self.client {
                    Dialect::Anthropic => ("OverloadedError|InternalServerError", 529),
                    Dialect::OpenAi | Dialect::Responses => ("InternalServerError", 503),
                };
                self.error(class, status, "verloaded")
            }
            "unknown" => self.error("NotFoundError", 404, "unknown"),
            "broken" => {
                json!({"class": "APIError|APIStatusError|RateLimitError|InternalServerError|AnthropicError|OpenAIError", "message": "~Slow down."})
            }
            "models" => json!(MODELS),
            "model" => json!("text"),
            "no" => self.error("NotFoundError", 404, "unknown"),
            _ => panic!("nothing is expected of `{model} {how}`"),
        }
    }

    fn error(&self, class: &str, status: u16, message: &str) -> Value {
        json!({"class": class, "status": status, "message": format!("~{message}")})
    }

    /// What the upstream received: the conversation, the tools, and no credentials of the client.
    fn check_upstream(&self, wrong: &mut Vec<String>) {
        let received = self.upstream.received();
        for request in &received {
            let (model, stream) = (request.model(), request.is_stream());
            let mut check = |what: &str, found: Value, expected: Value| {
                if found != expected {
                    wrong.push(format!("upstream got for `{model}` (stream={stream}): {what} is {found}, expected {expected}"));
                }
            };
            let headers = format!("{:?}", request.headers);
            check("a credential of the client", json!(headers.contains(CLIENT_KEY)), json!(false));
            let key = request.header("x-api-key").or(request.header("authorization").and_then(|a| a.strip_prefix("Bearer ")));
            check("the provider's key", json!(key), json!(PROVIDER_KEY));
            for name in ["x-stainless-lang", "user-agent", "cookie"] {
                let passed =
                    request.header(name).is_some_and(|v| v.contains("OpenAI") || v.contains("Anthropic") || name.starts_with("x-"));
                check(name, json!(passed), json!(false));
            }
            let body = request.json();
            if MODELS.contains(&model.as_str()) {
                check("the conversation", conversation(self.format, &body), conversation_of(&model));
            } else {
                check("a model that nobody offers", json!(model), Value::Null);
            }
            match model.as_str() {
                "text" => check("temperature", json!(body["temperature"].as_f64()), json!(0.0)),
                "tools" => check(
                    "tools",
                    tools(self.format, &body),
                    json!([["weather", "Tells the weather.", "city"], ["time", "Tells the time.", "zone"]]),
                ),
                "json" => {
                    let schema = match self.format {
                        Dialect::OpenAi => &body["response_format"]["json_schema"]["schema"],
                        Dialect::Anthropic => &body["output_config"]["format"]["schema"],
                        Dialect::Responses => &body["text"]["format"]["schema"],
                    };
                    check("the schema", schema["required"].clone(), json!(["city"]));
                }
                _ => {}
            }
            if stream && self.format == Dialect::OpenAi {
                check("stream_options", body["stream_options"].clone(), json!({"include_usage": true}));
            }
        }
    }
}

/// A text `a|b` is either; `~x` is any text with `x` in it.
fn matches(expected: &Value, found: &Value) -> bool {
    match (expected, found) {
        (Value::String(e), Value::String(f)) => match e.strip_prefix('~') {
            Some(part) => f.contains(part),
            None => e == f || (e.contains('|') && e.split('|').any(|e| e == f)),
        },
        _ => expected == found,
    }
}

/// The upstream of all scenarios.
fn answer(format: Dialect, request: &Received) -> Reply {
    let error = |status, kind: &str, message: &str| Reply::json(status, &answers::error(format, kind, message));
    match request.model().as_str() {
        "text" => Says::text(TEXT).reply(format, request),
        "result" => Says::text("Rain at noon.").reply(format, request),
        "tools" => Says { calls: CALLS, ..Says::default() }.reply(format, request),
        "interleaved" => Says { calls: CALLS, interleaved: true, ..Says::default() }.reply(format, request),
        "json" => Says::text("{\"city\":\"Bergen\"}").reply(format, request),
        "thinking" => Says { thinking: Some(THOUGHT), text: "Two tools.", ..Says::default() }.reply(format, request),
        "usage" => {
            let usage = match format {
                Dialect::OpenAi => json!({
                    "prompt_tokens": 100, "completion_tokens": 50, "total_tokens": 150,
                    "prompt_tokens_details": {"cached_tokens": 60, "audio_tokens": 0},
                    "completion_tokens_details": {"reasoning_tokens": 20, "audio_tokens": 0},
                }),
                Dialect::Anthropic => json!({
                    "input_tokens": 40, "cache_creation_input_tokens": 0, "cache_read_input_tokens": 60, "output_tokens": 50,
                    "output_tokens_details": {"thinking_tokens": 20},
                }),
                Dialect::Responses => json!({
                    "input_tokens": 100, "input_tokens_details": {"cached_tokens": 60}, "output_tokens": 50,
                    "output_tokens_details": {"reasoning_tokens": 20}, "total_tokens": 150,
                }),
            };
            Says { text: TEXT, usage: Some(usage), ..Says::default() }.reply(format, request)
        }
        "e400" => error(400, "invalid_request_error", "temperature: too hot"),
        "e401" => error(401, "authentication_error", "invalid x-api-key"),
        "e429" => error(429, "rate_limit_error", "Slow down.").header("retry-after", "17"),
        "e529" if format != Dialect::Anthropic => error(503, "server_error", "The server is overloaded."),
        "e529" => error(529, "overloaded_error", "Overloaded"),
        "broken" => {
            let mut events = Says::text(TEXT).stream(format, "broken");
            events.truncate(5);
            let error = answers::error(format, "rate_limit_error", "Slow down.");
            events.push(match format {
                Dialect::OpenAi => format!("data: {error}\n\n"),
                Dialect::Anthropic => format!("event: error\ndata: {error}\n\n"),
                Dialect::Responses => answers::failing(&error),
            });
            Reply::events(vec![Step::Send(events.concat().into())])
        }
        other => error(404, "not_found_error", other),
    }
}

// === what the upstream must have received, whatever its format ===

fn conversation_of(model: &str) -> Value {
    let mut all = json!([{"role": "system", "text": "Be brief."}, {"role": "user", "text": "Weather and time in Bergen?"}]);
    if model == "result" {
        all.as_array_mut().unwrap().extend([
            json!({"role": "assistant", "text": "Let me look.", "calls": [["call_w", "weather", {"city": "Bergen \"fjord\""}], ["call_t", "time", {"zone": "Europe/Oslo"}]]}),
            json!({"result": "call_w", "text": "rain, 7°C"}),
            json!({"result": "call_t", "text": "12:00"}),
        ]);
    }
    all
}

/// The messages of a request in one shape.
fn conversation(format: Dialect, body: &Value) -> Value {
    if format == Dialect::Responses {
        return items(body);
    }
    let mut all = Vec::new();
    if format == Dialect::Anthropic && !body["system"].is_null() {
        all.push(json!({"role": "system", "text": text(&body["system"])}));
    }
    for message in body["messages"].as_array().into_iter().flatten() {
        let blocks =
            |kind: &str| message["content"].as_array().into_iter().flatten().filter(|b| b["type"] == kind).cloned().collect::<Vec<_>>();
        if message["role"] == "tool" {
            all.push(json!({"result": message["tool_call_id"], "text": text(&message["content"])}));
            continue;
        }
        let results = blocks("tool_result");
        if !results.is_empty() {
            all.extend(results.iter().map(|r| json!({"result": r["tool_use_id"], "text": text(&r["content"])})));
            continue;
        }
        let mut calls: Vec<Value> = blocks("tool_use").iter().map(|c| json!([c["id"], c["name"], c["input"]])).collect();
        for call in message["tool_calls"].as_array().into_iter().flatten() {
            let input: Value = serde_json::from_str(call["function"]["arguments"].as_str().unwrap_or_default()).unwrap_or_default();
            calls.push(json!([call["id"], call["function"]["name"], input]));
        }
        let mut made = json!({"role": message["role"], "text": text(&message["content"])});
        if !calls.is_empty() {
            made["calls"] = json!(calls);
        }
        all.push(made);
    }
    json!(all)
}

/// The same of the items of a response.
fn items(body: &Value) -> Value {
    let instructions = Some(&body["instructions"]).filter(|i| !i.is_null());
    let mut all: Vec<Value> = instructions.map(|i| json!({"role": "system", "text": text(i)})).into_iter().collect();
    for item in body["input"].as_array().into_iter().flatten() {
        match item["type"].as_str() {
            Some("function_call") => {
                let input: Value = serde_json::from_str(item["arguments"].as_str().unwrap_or_default()).unwrap_or_default();
                let made = all.last_mut().expect("a call follows something");
                if !made["calls"].is_array() {
                    made["calls"] = json!([]);
                }
                made["calls"].as_array_mut().unwrap().push(json!([item["call_id"], item["name"], input]));
            }
            Some("function_call_output") => all.push(json!({"result": item["call_id"], "text": text(&item["output"])})),
            _ => all.push(json!({"role": item["role"], "text": text(&item["content"])})),
        }
    }
    json!(all)
}

fn text(content: &Value) -> String {
    match content {
        Value::String(text) => text.clone(),
        _ => content.as_array().into_iter().flatten().filter_map(|b| b["text"].as_str()).collect(),
    }
}

fn tools(format: Dialect, body: &Value) -> Value {
    let one = |tool: &Value| {
        let (tool, schema) = match format {
            Dialect::OpenAi => (&tool["function"], &tool["function"]["parameters"]),
            Dialect::Anthropic => (tool, &tool["input_schema"]),
            Dialect::Responses => (tool, &tool["parameters"]),
        };
        json!([tool["name"], tool["description"], schema["required"][0]])
    };
    body["tools"].as_array().into_iter().flatten().map(one).collect()
}
