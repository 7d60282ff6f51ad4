//! OpenAI's legacy completions: as they came to a provider that has them, as conversations to every other, and with all hooks for both.

use serde_json::{Value, json};
use wasmgate_tests::answers::{self, Says, TEXT, gemini_error, gemini_method};
use wasmgate_tests::client::Event;
use wasmgate_tests::{Answer, Client, Dialect, Gateway, Received, Reply, Step, Upstream};

use crate::extensions::fixture;
use crate::operations::assert_told_once;
use crate::setup::{self, PROVIDER_KEY};

const PATH: &str = "/v1/completions";

async fn gateway(providers: &str, more: &str) -> (Gateway, Client) {
    let gateway = Gateway::start(&setup::config(providers, more)).await;
    let client = Client::new(&gateway);
    (gateway, client)
}

/// Providers without `/completions`, by the name that a model begins with: what speaks each format, the built-in echo left out.
fn strangers(upstream: &Upstream) -> String {
    let url = upstream.url();
    let translating = |name: &str, kind: &str| {
        format!("  {name}: {{type: {kind}, base_url: \"{url}/v1\", api_key: {PROVIDER_KEY}, completions: translate}}\n")
    };
    [
        setup::named_provider("claude", Dialect::Anthropic, &url),
        format!("  gemini: {{type: gemini, base_url: \"{url}\", api_key: {PROVIDER_KEY}}}\n"),
        translating("chat", "openai"),
        translating("responses", "openai-responses"),
    ]
    .concat()
}

const STRANGERS: [&str; 4] = ["claude", "gemini", "chat", "responses"];

/// What the upstream says, in the format of the path.
fn says(request: &Received, text: &'static str) -> Reply {
    let says = Says { text, thinking: None, ..Says::default() };
    let path = request.path.split('?').next().unwrap_or_default();
    match path {
        "/v1/messages" => says.reply(Dialect::Anthropic, request),
        "/v1/chat/completions" => says.reply(Dialect::OpenAi, request),
        "/v1/responses" => says.reply(Dialect::Responses, request),
        _ if path.contains(":generateContent") || path.contains(":streamGenerateContent") => says.gemini_reply(request),
        _ => Reply::json(500, &json!({"error": {"message": format!("nothing is scripted for {path}")}})),
    }
}

/// The prompt as the upstream got it: the text of the only message.
fn asked(request: &Received) -> Value {
    let document = request.json();
    let texts = ["/messages/0/content", "/contents/0/parts/0/text", "/input/0/content", "/input"];
    let found = texts.into_iter().filter_map(|at| document.pointer(at)).find(|v| !v.is_null()).cloned().unwrap_or_default();
    match found.pointer("/0/text").or_else(|| found.pointer("/0/content")) {
        Some(text) => text.clone(),
        None => found,
    }
}

/// Text of a stream of completions, which must end well.
#[track_caller]
fn streamed(answer: &Answer) -> String {
    assert_eq!(answer.status, 200, "{}", answer.text());
    let text = answer.text();
    let events = Event::all(&text);
    assert!(text.ends_with("data: [DONE]\n\n"), "{text}");
    let chunks: Vec<Value> = events.iter().filter(|e| !e.data.starts_with("[DONE]")).map(Event::json).collect();
    assert!(chunks.iter().all(|c| c["object"] == "text_completion"), "{text}");
    chunks.iter().filter_map(|c| c["choices"][0]["text"].as_str()).collect()
}

/// Code and message of an error.
#[track_caller]
fn refused(answer: &Answer, status: u16) -> (String, String) {
    assert_eq!(answer.status, status, "{}", answer.text());
    let document = answer.json();
    let (_, message) = Dialect::OpenAi.error(&document);
    (document["error"]["code"].as_str().unwrap_or_default().to_owned(), message)
}

// === where they are at home ===

#[tokio::test]
async fn bytes_pass_unchanged_and_are_told_once() {
    let said = r#"{ "id":"cmpl-1","choices":[{"text":"x\u00e9"}],"usage":{"prompt_tokens":5,"completion_tokens":7,"total_tokens":12}}"#;
    let upstream = Upstream::start(move |_| Reply::new(200, "application/json", said)).await;
    let second = setup::named_provider("second", Dialect::Responses, &upstream.url());
    let (_gateway, client) = gateway(&(setup::provider(Dialect::OpenAi, &upstream) + &second), &fixture("tallies", "")).await;
    let bodies = [
        r#"{ "model" : "davinci-002","prompt":"caf\u00e9","max_tokens":1.0,"own":{"a":[null]} }"#,
        r#"{"model":"davinci-002","prompt":["a","b"],"suffix":"c","echo":true,"best_of":2,"logprobs":5}"#,
        r#"{"model":"davinci-002","prompt":[[1,2],[3]]}"#,
    ];
    for (n, (body, provider)) in bodies.iter().flat_map(|body| [(body, "up"), (body, "second")]).enumerate() {
        let sent = body.replace("davinci", &format!("{provider}/davinci"));
        let request = client.request(http::Method::POST, PATH).header("content-type", "application/json").body(sent);
        let answer = client.send(request).await;
        assert_eq!((answer.status, answer.text()), (200, said.to_owned()));
        let received = upstream.request(n).await;
        assert_eq!((received.path.as_str(), String::from_utf8_lossy(&received.body).as_ref()), (PATH, *body));
        assert_eq!(answer.header("x-wasmgate-losses"), "");
        assert_told_once(&client, answer.header("x-request-id"), "openai-completions success 200 5+7").await;
    }
}

/// A stream of completions: two pieces, the usage, the end.
fn completion_events() -> Vec<String> {
    let piece = |text: &str, finish: Value| {
        let choice = json!({"text": text, "index": 0, "logprobs": null, "finish_reason": finish});
        format!("data: {}\n\n", json!({"id": "cmpl-1", "object": "text_completion", "choices": [choice], "model": "davinci-002"}))
    };
    let usage = json!({"id": "cmpl-1", "object": "text_completion", "choices": [], "usage": {"prompt_tokens": 5, "completion_tokens": 2, "total_tokens": 7}});
    vec![piece("a", Value::Null), piece("b", json!("stop")), format!("data: {usage}\n\n"), "data: [DONE]\n\n".into()]
}

#[tokio::test]
async fn streams_have_the_usage_that_was_asked_for() {
    let upstream = Upstream::start(|_| Reply::stream(completion_events())).await;
    // The API is the same, whichever way a provider is asked for conversations.
    let second = setup::named_provider("second", Dialect::Responses, &upstream.url());
    let providers = setup::provider(Dialect::OpenAi, &upstream) + &second;
    let (_gateway, client) = gateway(&providers, &fixture("tallies", "")).await;
    for (provider, asked) in [("up", true), ("up", false), ("second", true), ("second", false)] {
        let mut request = json!({"model": format!("{provider}/davinci-002"), "prompt": "x", "stream": true});
        if asked {
            request["stream_options"] = json!({"include_usage": true});
        }
        let answer = client.post(PATH, &request).await;
        let mut expected = completion_events();
        if !asked {
            expected.remove(2);
        }
        assert_eq!((answer.status, answer.text()), (200, expected.concat()), "{provider}, asked for usage: {asked}");
        assert!(answer.header("content-type").starts_with("text/event-stream"));
        assert_told_once(&client, answer.header("x-request-id"), "openai-completions success 200 5+2").await;
    }
    assert!(upstream.received().iter().all(|r| r.json()["stream_options"]["include_usage"] == true));
}

#[tokio::test]
async fn streams_that_break_off_end_with_an_error_event() {
    let upstream = Upstream::start(|_| Reply::events(vec![Step::Send(completion_events()[0].clone().into()), Step::Cut])).await;
    let (_gateway, client) = gateway(&setup::provider(Dialect::OpenAi, &upstream), &fixture("tallies", "")).await;
    let answer = client.post(PATH, &json!({"model": "davinci-002", "prompt": "x", "stream": true})).await;
    Dialect::OpenAi.broken(&Event::all(&answer.text()));
    assert_told_once(&client, answer.header("x-request-id"), "openai-completions error 200 -").await;
}

#[tokio::test]
async fn hooks_change_what_goes_to_a_provider_that_has_completions() {
    let upstream = Upstream::start(|r| match r.is_stream() {
        true => Reply::stream(completion_events()),
        false => Reply::json(
            200,
            &json!({"id": "c", "object": "text_completion", "created": 1, "model": "m",
            "choices": [{"text": "said", "index": 0, "logprobs": null, "finish_reason": "stop"}]}),
        ),
    })
    .await;
    let (_gateway, client) = gateway(&setup::provider(Dialect::OpenAi, &upstream), &fixture("probe", "")).await;
    let ask = |model: &str, stream: bool| json!({"model": model, "prompt": "x", "best_of": 2, "stream": stream});
    // The probe writes another text, answers itself, looks at the answer and writes another one.
    let answer = client.post(PATH, &ask("edit", false)).await;
    assert_eq!(answer.json()["choices"][0]["text"], "said", "{}", answer.text());
    let edited = json!({"model": "edit", "prompt": "edited by the probe", "best_of": 2, "stream": false});
    assert_eq!(upstream.request(0).await.json(), edited);
    assert_eq!(streamed(&client.post(PATH, &ask("edit", true)).await), "ab");
    assert_eq!(upstream.request(1).await.json()["prompt"], "edited by the probe");
    let answer = client.post(PATH, &ask("respond", false)).await;
    assert_eq!((&answer.json()["object"], &answer.json()["id"]), (&json!("text_completion"), &json!("probe-1")), "{}", answer.text());
    assert!(!streamed(&client.post(PATH, &ask("respond", true)).await).is_empty());
    let answer = client.post(PATH, &ask("after-replace", false)).await;
    assert_eq!(answer.json()["choices"][0]["text"], "[said]", "{}", answer.text());
    assert_eq!(streamed(&client.post(PATH, &ask("after-replace", true)).await), "[ab]");
    assert_eq!(upstream.received().len(), 4, "the probe's own answers need no provider");
}

#[tokio::test]
async fn a_filter_sees_the_texts_of_every_provider() {
    let upstream = Upstream::start(|r| match r.path.as_str() {
        PATH => Reply::stream(["a sec", "ret"].map(|text| {
            let choice = json!({"text": text, "index": 0, "logprobs": null, "finish_reason": if text == "ret" { json!("stop") } else { Value::Null }});
            format!("data: {}\n\n", json!({"id": "c", "object": "text_completion", "created": 1, "model": "m", "choices": [choice]}))
        }).into_iter().chain(["data: [DONE]\n\n".into()])),
        _ => says(r, "a secret"),
    })
    .await;
    let providers = strangers(&upstream) + &setup::provider(Dialect::OpenAi, &upstream);
    let (_gateway, client) = gateway(&providers, &fixture("redacts", "")).await;
    for provider in STRANGERS {
        let mut request = json!({"model": format!("{provider}/m"), "prompt": "x"});
        let answer = client.post(PATH, &request).await;
        assert_eq!(answer.json()["choices"][0]["text"], "a [redacted]", "{provider}: {}", answer.text());
        request["stream"] = json!(true);
        assert_eq!(streamed(&client.post(PATH, &request).await), "a [redacted]", "{provider}");
    }
    let answer = client.post(PATH, &json!({"model": "up/m", "prompt": "x", "stream": true})).await;
    assert_eq!(streamed(&answer), "a [redacted]");
}

// === where they are not ===

#[tokio::test]
async fn every_provider_answers_and_is_told_once() {
    let upstream = Upstream::start(|r| says(r, TEXT)).await;
    let (_gateway, client) = gateway(&strangers(&upstream), &fixture("tallies", "")).await;
    for provider in STRANGERS {
        let mut request = json!({"model": format!("{provider}/m"), "prompt": ["Say hi."], "max_tokens": 50, "echo": false});
        let answer = client.post(PATH, &request).await;
        assert_eq!(answer.status, 200, "{provider}: {}", answer.text());
        let document = answer.json();
        let choice = &document["choices"][0];
        assert_eq!(
            (&choice["text"], &choice["finish_reason"], &document["object"]),
            (&json!(TEXT), &json!("stop"), &json!("text_completion"))
        );
        let (input, output) = (&document["usage"]["prompt_tokens"], &document["usage"]["completion_tokens"]);
        assert!(input.as_u64() > Some(0) && output.as_u64() > Some(0), "{provider}: {document}");
        assert_eq!((answer.header("x-wasmgate-provider"), answer.header("x-wasmgate-losses")), (provider, ""));
        let told = format!("openai-completions success 200 {input}+{output}");
        assert_told_once(&client, answer.header("x-request-id"), &told).await;
        let received = upstream.received();
        assert_eq!(asked(received.last().expect("it was asked")), "Say hi.", "{provider}");

        request["stream"] = json!(true);
        for usage in [false, true] {
            if usage {
                request["stream_options"] = json!({"include_usage": true});
            }
            let answer = client.post(PATH, &request).await;
            assert_eq!(streamed(&answer), TEXT, "{provider}");
            assert_eq!(answer.text().contains("\"usage\""), usage, "{provider}: {}", answer.text());
            assert_told_once(&client, answer.header("x-request-id"), &told).await;
        }
    }
}

#[tokio::test]
async fn what_gets_lost_is_told() {
    let upstream = Upstream::start(|r| says(r, TEXT)).await;
    let (_gateway, client) = gateway(&strangers(&upstream), "").await;
    let request = json!({"model": "claude/m", "prompt": "x", "echo": true, "best_of": 3, "logprobs": 2, "seed": 4});
    for stream in [false, true] {
        let mut request = request.clone();
        request["stream"] = json!(stream);
        let answer = client.post(PATH, &request).await;
        let mut told: Vec<&str> = answer.header("x-wasmgate-losses").split(", ").collect();
        told.sort_unstable();
        assert_eq!(told, ["best_of=unsupported", "echo=unsupported", "logprobs=unsupported", "seed=unsupported"], "{}", answer.text());
    }
}

#[tokio::test]
async fn what_no_conversation_can_say_is_refused_by_its_name() {
    let upstream = Upstream::start(|r| says(r, TEXT)).await;
    let (_gateway, client) = gateway(&strangers(&upstream), &fixture("tallies", "")).await;
    for (members, field) in [
        (json!({"prompt": ["a", "b"]}), "prompt"),
        (json!({"prompt": [1, 2]}), "prompt"),
        (json!({}), "prompt"),
        (json!({"prompt": ""}), "prompt"),
        (json!({"prompt": "a", "suffix": "b"}), "suffix"),
        (json!({"prompt": "a", "max_tokens": 0}), "max_tokens"),
    ] {
        let mut request = json!({"model": "claude/m"});
        request.as_object_mut().expect("an object").extend(members.as_object().expect("an object").clone());
        let answer = client.post(PATH, &request).await;
        let (_, message) = refused(&answer, 400);
        assert!(message.contains(&format!("`{field}`")), "{request}: {message}");
        assert_eq!(answer.json()["error"]["param"], field);
        assert_told_once(&client, answer.header("x-request-id"), "openai-completions error 400 -").await;
    }
    for (request, part) in [
        (json!({"model": "claude/m", "prompt": 5}), "`prompt`"),
        (json!({"model": "claude/m", "prompt": []}), "`prompt`"),
        (json!({"prompt": "a"}), "`model`"),
        (json!({"model": "reject", "prompt": "a"}), ""),
    ] {
        let status = if part.is_empty() { 429 } else { 400 };
        let (_, message) = refused(&client.post(PATH, &request).await, status);
        assert!(message.contains(part), "{message}");
    }
    assert!(upstream.received().is_empty());
}

#[tokio::test]
async fn errors_are_told_in_the_words_of_the_dialect() {
    let upstream = Upstream::start(|r| match r.path.split('?').next().unwrap_or_default() {
        "/v1/messages" => Reply::json(429, &answers::error(Dialect::Anthropic, "rate_limit_error", "Slow down.")),
        "/v1/chat/completions" => Reply::json(429, &answers::error(Dialect::OpenAi, "requests", "Slow down.")),
        "/v1/responses" => Reply::json(429, &answers::error(Dialect::Responses, "requests", "Slow down.")),
        _ if gemini_method(r) == "generateContent" || gemini_method(r) == "streamGenerateContent" => {
            Reply::json(429, &gemini_error(429, "RESOURCE_EXHAUSTED", "Slow down."))
        }
        path => panic!("nothing is scripted for {path}"),
    })
    .await;
    let (_gateway, client) = gateway(&strangers(&upstream), &fixture("tallies", "")).await;
    for (provider, stream) in STRANGERS.into_iter().flat_map(|provider| [(provider, false), (provider, true)]) {
        let answer = client.post(PATH, &json!({"model": format!("{provider}/m"), "prompt": "x", "stream": stream})).await;
        let (_, message) = refused(&answer, 429);
        assert_eq!(message, "Slow down.", "{provider}");
        assert_told_once(&client, answer.header("x-request-id"), "openai-completions error 429 -").await;
    }
    // A stream that breaks off ends with an error, and not well.
    let upstream = Upstream::start(|r| {
        let events = Says::text(TEXT).stream(Dialect::Anthropic, &r.model());
        let first = events[..events.len() / 2].concat();
        Reply::events(vec![Step::Send(first.into()), Step::Cut])
    })
    .await;
    let (_gateway, client) = gateway(&strangers(&upstream), &fixture("tallies", "")).await;
    let answer = client.post(PATH, &json!({"model": "claude/m", "prompt": "x", "stream": true})).await;
    assert_eq!(answer.status, 200);
    Dialect::OpenAi.broken(&Event::all(&answer.text()));
}

#[tokio::test]
async fn the_setting_belongs_to_providers_of_the_api() {
    let config = format!("providers:\n  c: {{type: anthropic, api_key: {PROVIDER_KEY}, completions: translate}}\n");
    let file = wasmgate_tests::cli::ConfigFile::new(&config);
    let checked = file.check(&[]);
    let said = format!("{}{}", checked.stdout, checked.stderr);
    assert!(said.contains("has no legacy completions") && said.contains(":2:"), "{said}");
}
