//! Bad requests and bad upstreams: a clear error in the caller's dialect, never a hang, and the gateway goes on.

use std::net::TcpListener;

use bytes::Bytes;
use futures_util::stream;
use http::Method;
use reqwest::Body;
use serde_json::{Value, json};
use wasmgate_tests::answers::{self, Says, TEXT};
use wasmgate_tests::client::{Event, raw};
use wasmgate_tests::{Answer, Client, Dialect, Gateway, Reply, Step, Upstream};

use crate::setup::{self, PROVIDER_KEY};

/// What 40 MB are; the default limit is 32 MiB.
const TOO_LARGE: usize = 40 << 20;

// === requests ===

/// Sends bodies that are refused before any provider is asked. Each comes with the words that its error must have.
async fn refused(dialect: Dialect, cases: &[(&[u8], &[&str])]) {
    let upstream = setup::friendly(dialect).await;
    let (_gateway, client) = setup::gateway(dialect, &upstream).await;
    for (body, words) in cases {
        let answer = client.post_bytes(dialect.path(), body.to_vec()).await;
        let shown = String::from_utf8_lossy(&body[..body.len().min(200)]).into_owned();
        assert_eq!(answer.status, 400, "{shown}: {}", answer.text());
        assert_eq!(answer.header("content-type"), "application/json");
        let (kind, message) = dialect.error(&answer.json());
        assert_eq!(kind, "invalid_request_error", "{shown}: {message}");
        for word in *words {
            assert!(message.contains(word), "`{word}` is not in the error of {shown}: {message}");
        }
        assert!(!answer.header("x-request-id").is_empty());
    }
    assert!(upstream.received().is_empty(), "no provider is asked");
    setup::assert_serves(&client, dialect).await;
}

const USER: &str = r#"[{"role":"user","content":"hi"}]"#;

#[tokio::test]
async fn a_compressed_body() {
    let upstream = setup::friendly(Dialect::OpenAi).await;
    let (_gateway, client) = setup::gateway(Dialect::OpenAi, &upstream).await;
    for dialect in Dialect::ALL {
        let request = client.request(Method::POST, dialect.path()).header("content-encoding", "gzip");
        let answer = client.send(request.body(dialect.request("m", "x").to_string())).await;
        assert_eq!(answer.status, 415, "{}", answer.text());
        let message = answer.json()["error"]["message"].as_str().unwrap_or_default().to_owned();
        assert!(message.contains("content encoding `gzip`"), "{message}");
    }
    assert!(upstream.received().is_empty());
    setup::assert_serves(&client, Dialect::OpenAi).await;
}

#[tokio::test]
async fn malformed_json_is_refused_with_its_place() {
    for dialect in Dialect::ALL {
        let unclosed = format!("{{\"model\": \"m\", \"max_tokens\": 5, \"messages\": {USER}");
        let comma = format!("{{\"model\": \"m\",\n \"max_tokens\": 5,, \"messages\": {USER}}}");
        let invalid = [b"{\"model\": \"", &[0xff, 0xfe][..], b"\", \"messages\": []}"].concat();
        refused(
            dialect,
            &[
                (b"", &["JSON"]),
                (b"hello", &["JSON", "line 1"]),
                (b"[]", &["JSON object"]),
                (b"\"x\"", &["JSON object"]),
                (b"null", &["JSON object"]),
                (unclosed.as_bytes(), &["JSON", "line 1", "column"]),
                (comma.as_bytes(), &["JSON", "line 2, column 18"]),
                (&invalid, &["UTF-8"]),
                (b"{\"model\": \"\\ud800\", \"model\": 01}", &["JSON", "line 1"]),
            ],
        )
        .await;
    }
}

#[tokio::test]
async fn wrong_types_and_missing_members_are_refused_by_name() {
    for dialect in Dialect::ALL {
        let name = dialect.conversation();
        let with = |members: &str| format!("{{\"max_tokens\": 5, {members}}}").replace("\"messages\"", &format!("\"{name}\"")).into_bytes();
        let named = format!("`{name}`");
        let bodies = [
            (with(&format!(r#""model": 5, "messages": {USER}"#)), vec!["`model`", "a number", "a string"]),
            (with(&format!(r#""messages": {USER}"#)), vec!["`model`", "missing"]),
            (with(&format!(r#""model": null, "messages": {USER}"#)), vec!["`model`"]),
            (with(&format!(r#""model": "", "messages": {USER}"#)), vec!["`model`"]),
            (with(r#""model": "m""#), vec![&named, "missing"]),
            (with(r#""model": "m", "messages": []"#), vec![&named, "empty"]),
            (with(r#""model": "m", "messages": 5"#), vec![&named, "a list"]),
            (with(&format!(r#""model": "m", "stream": "yes", "messages": {USER}"#)), vec!["`stream`", "true or false"]),
            (with(&format!(r#""model": "m", "temperature": "hot", "messages": {USER}"#)), vec!["`temperature`", "a number"]),
            (with(&format!(r#""model": "m", "tools": {{}}, "messages": {USER}"#)), vec!["`tools`", "a list"]),
        ];
        let cases: Vec<(&[u8], &[&str])> = bodies.iter().map(|(b, w)| (b.as_slice(), w.as_slice())).collect();
        refused(dialect, &cases).await;
    }
    refused(Dialect::Anthropic, &[(format!(r#"{{"model": "m", "messages": {USER}}}"#).as_bytes(), &["`max_tokens`", "missing"])]).await;
}

#[tokio::test]
async fn what_cannot_be_translated_at_all_is_refused_by_path() {
    for (dialect, format) in
        [(Dialect::OpenAi, Dialect::Anthropic), (Dialect::Anthropic, Dialect::OpenAi), (Dialect::Responses, Dialect::Anthropic)]
    {
        let upstream = setup::friendly(format).await;
        let (_gateway, client) = setup::gateway(format, &upstream).await;
        for (message, path) in [
            (json!({"role": "user", "content": 5}), "messages[1].content"),
            (json!({"role": "wizard", "content": "x"}), "messages[1].role"),
            (json!("hello"), "messages[1]"),
            (json!({"role": "user", "content": [{"type": "text", "text": 5}]}), "messages[1].content[0].text"),
        ] {
            let mut request = dialect.request("m", "hello");
            let path = path.replace("messages", dialect.conversation());
            request[dialect.conversation()].as_array_mut().unwrap().push(message.clone());
            let answer = client.post(dialect.path(), &request).await;
            assert_eq!(answer.status, 400, "{dialect:?} {message}: {}", answer.text());
            let (_, said) = dialect.error(&answer.json());
            assert!(said.contains(&path), "{dialect:?} {message}: {said}");
            if dialect != Dialect::Anthropic {
                assert_eq!(answer.json()["error"]["param"], path);
            }
        }
        assert!(upstream.received().is_empty());
        setup::assert_serves(&client, dialect).await;
    }
}

#[tokio::test]
async fn an_unknown_model_is_not_found() {
    let config = setup::config("  a: {type: openai, base_url: \"http://127.0.0.1:9/v1\", models: [small]}\n", "");
    let gateway = Gateway::start(&config).await;
    let client = Client::new(&gateway);
    for dialect in Dialect::ALL {
        for request in [dialect.request("nope", "x"), dialect.stream_request("nope", "x")] {
            let answer = client.post(dialect.path(), &request).await;
            assert_eq!(answer.status, 404, "{}", answer.text());
            let (kind, message) = dialect.error(&answer.json());
            assert!(message.contains("nope"), "{message}");
            match dialect {
                Dialect::OpenAi | Dialect::Responses => {
                    assert_eq!((kind.as_str(), &answer.json()["error"]["code"]), ("invalid_request_error", &json!("model_not_found")));
                }
                Dialect::Anthropic => assert_eq!(kind, "not_found_error"),
            }
            setup::assert_record(&client, answer.header("x-request-id"), "error").await;
        }
    }
}

#[tokio::test]
async fn bodies_over_the_limit_are_refused() {
    let upstream = setup::friendly(Dialect::OpenAi).await;
    let (gateway, client) = setup::gateway(Dialect::OpenAi, &upstream).await;
    for dialect in Dialect::ALL {
        let expected = if dialect == Dialect::Anthropic { "request_too_large" } else { "invalid_request_error" };
        let announced = client.post_bytes(dialect.path(), vec![b' '; TOO_LARGE]).await;
        assert_eq!(announced.status, 413, "{}", announced.text());
        assert_eq!(dialect.error(&announced.json()).0, expected);
        let piece = Bytes::from(vec![b' '; 1 << 20]);
        let chunked = stream::iter((0..TOO_LARGE >> 20).map(move |_| Ok::<_, std::io::Error>(piece.clone())));
        let chunked = client.post_bytes(dialect.path(), Body::wrap_stream(chunked)).await;
        assert_eq!(chunked.status, 413, "{}", chunked.text());
        assert_eq!(dialect.error(&chunked.json()).0, expected);
        // Who asks first does not need to send anything.
        let head = format!("POST {} HTTP/1.1\r\nhost: x\r\nexpect: 100-continue\r\ncontent-length: {TOO_LARGE}\r\n\r\n", dialect.path());
        let asked = raw(&gateway, head.as_bytes()).await;
        assert!(asked.starts_with("HTTP/1.1 413"), "{asked}");
    }
    assert!(upstream.received().is_empty());
    setup::assert_serves(&client, Dialect::OpenAi).await;
}

#[tokio::test]
async fn a_body_just_under_the_limit_passes() {
    let upstream = setup::friendly(Dialect::OpenAi).await;
    let (_gateway, client) = setup::gateway(Dialect::OpenAi, &upstream).await;
    let request = Dialect::OpenAi.request("m", &"a long story ".repeat(2_400_000));
    let answer = client.post(Dialect::OpenAi.path(), &request).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    assert_eq!(upstream.only().body.len(), request.to_string().len());
}

/// Every format from another one, and to another one.
const TRANSLATED: [(Dialect, Dialect); 4] = [
    (Dialect::OpenAi, Dialect::Anthropic),
    (Dialect::Anthropic, Dialect::OpenAi),
    (Dialect::Responses, Dialect::Anthropic),
    (Dialect::OpenAi, Dialect::Responses),
];

#[tokio::test]
async fn a_large_conversation_survives_translation() {
    for (dialect, format) in TRANSLATED {
        let upstream = setup::friendly(format).await;
        let (_gateway, client) = setup::gateway(format, &upstream).await;
        // A long session with an agent: many messages of all sizes, 20 MB together.
        let mut request = dialect.request("m", "begin");
        let messages = request[dialect.conversation()].as_array_mut().unwrap();
        for n in 0..2_000 {
            messages.push(json!({"role": "assistant", "content": format!("{n} {}", "an answer ".repeat(n % 900))}));
            messages.push(json!({"role": "user", "content": format!("{n} {}", "a question ".repeat(n % 1_100))}));
        }
        let answer = client.post(dialect.path(), &request).await;
        assert_eq!((answer.status, dialect.text(&answer.json()).as_str()), (200, TEXT), "{dialect:?}");
        assert_eq!(upstream.only().json()[format.conversation()].as_array().unwrap().len(), 4_001);
    }
}

#[tokio::test]
async fn a_large_image_survives_translation() {
    let data = "QUJD".repeat(5 << 20);
    let image = |dialect| match dialect {
        Dialect::OpenAi => json!({"type": "image_url", "image_url": {"url": format!("data:image/png;base64,{data}")}}),
        Dialect::Anthropic => json!({"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": data}}),
        Dialect::Responses => json!({"type": "input_image", "image_url": format!("data:image/png;base64,{data}")}),
    };
    for (dialect, format) in TRANSLATED {
        let upstream = setup::friendly(format).await;
        let (_gateway, client) = setup::gateway(format, &upstream).await;
        let mut request = dialect.request("m", "");
        request[dialect.conversation()][0]["content"] = json!([image(dialect)]);
        let answer = client.post(dialect.path(), &request).await;
        assert_eq!(answer.status, 200, "{dialect:?}: {}", answer.text());
        let sent = upstream.only().json()[format.conversation()][0]["content"][0].clone();
        assert!(sent == image(format), "{dialect:?}: the image is another one");
    }
}

#[tokio::test]
async fn a_large_answer_survives_translation() {
    for (dialect, format) in Dialect::PAIRS {
        let text: &'static str = "word ".repeat(1 << 20).leak();
        let upstream = Upstream::start(move |r| {
            if !r.is_stream() {
                return Says::text(text).reply(format, r);
            }
            // The whole text in one event.
            let events = Says::text(TEXT).stream(format, "m");
            Reply::stream(events.into_iter().map(|e| e.replace("Grüße a", text)))
        })
        .await;
        let (_gateway, client) = setup::gateway(format, &upstream).await;
        let answer = client.post(dialect.path(), &dialect.request("m", "x")).await;
        assert_eq!(answer.status, 200, "{dialect:?} on {format:?}: {}", answer.text());
        assert!(dialect.text(&answer.json()) == text, "{dialect:?} on {format:?}");
        let events = client.stream(dialect.path(), &dialect.stream_request("m", "x")).await.rest().await;
        let said = dialect.streamed_text(&events);
        assert!(said == TEXT.replace("Grüße a", text), "{dialect:?} on {format:?}: {} bytes, {:?}", said.len(), events.last());
    }
}

#[tokio::test]
async fn a_member_given_twice_smuggles_no_model() {
    for format in Dialect::ALL {
        let upstream = setup::friendly(format).await;
        let listed = setup::provider(format, &upstream).replace('}', ", models: [allowed]}");
        let gateway = Gateway::start(&setup::config(&listed, "")).await;
        let client = Client::new(&gateway);
        for (first, second) in [("model", "model"), ("model", "mod\\u0065l"), ("mod\\u0065l", "model")] {
            for (one, other) in [("allowed", "forbidden"), ("forbidden", "allowed")] {
                let body =
                    format!(r#"{{"{first}": "{one}", "max_tokens": 5, "messages": {USER}, "input": {USER}, "{second}": "{other}"}}"#);
                for dialect in Dialect::ALL {
                    let answer = client.post_bytes(dialect.path(), body.clone()).await;
                    assert!([200, 400, 404].contains(&answer.status), "{body}: {}", answer.text());
                }
            }
        }
        for received in upstream.received() {
            let body = String::from_utf8_lossy(&received.body).into_owned();
            assert!(!body.contains("forbidden"), "the provider sees a model that the gateway did not look at: {body}");
        }
    }
}

#[tokio::test]
async fn a_head_that_does_not_arrive_is_given_up() {
    let gateway = Gateway::builder(&setup::config("  echo: {type: echo}\n", "")).set("server.header_timeout=300ms").start().await;
    let said = raw(&gateway, b"POST /v1/chat/completions HTTP/1.1\r\nhost:").await;
    assert!(said.is_empty() || said.starts_with("HTTP/1.1 408"), "{said}");
}

#[tokio::test]
async fn a_wrong_method_names_the_right_one() {
    let upstream = setup::friendly(Dialect::OpenAi).await;
    let (_gateway, client) = setup::gateway(Dialect::OpenAi, &upstream).await;
    for dialect in Dialect::ALL {
        for (method, path, allowed) in
            [(Method::GET, dialect.path(), "POST"), (Method::DELETE, dialect.models_path(), "GET"), (Method::PUT, dialect.path(), "POST")]
        {
            let answer = client.send(client.request(method.clone(), path)).await;
            assert_eq!((answer.status, answer.header("allow")), (405, allowed), "{method} {path}");
            assert!(answer.json()["error"]["message"].as_str().is_some_and(|m| m.contains(allowed)), "{}", answer.text());
        }
        let head = client.send(client.request(Method::HEAD, dialect.models_path())).await;
        assert_eq!((head.status, head.body.len()), (200, 0));
    }
}

#[tokio::test]
async fn an_unknown_path_is_not_found() {
    let upstream = setup::friendly(Dialect::OpenAi).await;
    let (_gateway, client) = setup::gateway(Dialect::OpenAi, &upstream).await;
    for path in ["/", "/v1", "/v1/chat", "/v1/chat/completions/", "/v2/models", "/api/nope", "/%00", "/..%2f..%2fetc"] {
        let answer = client.get(path).await;
        assert_eq!(answer.status, 404, "{path}: {}", answer.text());
        assert!(answer.json()["error"]["message"].is_string(), "{}", answer.text());
    }
}

#[tokio::test]
async fn deep_json_overflows_no_stack() {
    for (dialect, format) in Dialect::PAIRS {
        let upstream = setup::friendly(format).await;
        let (_gateway, client) = setup::gateway(format, &upstream).await;
        for (open, close) in [("[", "]"), ("{\"a\":", "}")] {
            let deep = format!("{}1{}", open.repeat(200_000), close.repeat(200_000));
            for member in ["messages", "metadata", "tools"] {
                let body = format!("{{\"model\": \"m\", \"max_tokens\": 5, \"messages\": {USER}, \"{member}\": {deep}}}");
                let answer = client.post_bytes(dialect.path(), body).await;
                assert!([200, 400].contains(&answer.status), "{dialect:?} {format:?} {member}: {} {}", answer.status, answer.text());
            }
        }
        setup::assert_serves(&client, dialect).await;
    }
}

#[tokio::test]
async fn bytes_that_are_no_http_are_refused() {
    let upstream = setup::friendly(Dialect::OpenAi).await;
    let (gateway, client) = setup::gateway(Dialect::OpenAi, &upstream).await;
    let huge = format!("GET /health HTTP/1.1\r\nhost: x\r\nx-huge: {}\r\n\r\n", "y".repeat(1 << 20));
    let said = raw(&gateway, huge.as_bytes()).await;
    assert!(said.is_empty() || said.starts_with("HTTP/1.1 431"), "{said}");
    for bytes in [
        &b"NONSENSE\r\n\r\n"[..],
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        b"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\ncontent-length: 5\r\ncontent-length: 6\r\n\r\nhello!",
        b"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\ncontent-length: -5\r\n\r\n",
        b"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n",
    ] {
        let said = raw(&gateway, bytes).await;
        assert!(said.is_empty() || said.starts_with("HTTP/1.1 4"), "{said}");
    }
    assert!(upstream.received().is_empty());
    setup::assert_serves(&client, Dialect::OpenAi).await;
}

#[tokio::test]
async fn a_body_that_does_not_arrive_is_given_up() {
    let upstream = setup::friendly(Dialect::OpenAi).await;
    let gateway =
        Gateway::builder(&setup::config(&setup::provider(Dialect::OpenAi, &upstream), "")).set("server.body_timeout=300ms").start().await;
    let said = raw(&gateway, b"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\ncontent-length: 50\r\n\r\n{\"model\"").await;
    assert!(said.starts_with("HTTP/1.1 408"), "{said}");
    setup::assert_serves(&Client::new(&gateway), Dialect::OpenAi).await;
}

// === upstreams ===

/// Asks for the model `bad`, complete and as a stream, of an upstream that fails before its first event. Every caller gets an
/// ordinary error response in its dialect.
async fn fails(reply: impl Fn(Dialect) -> Reply + Clone + Send + Sync + 'static, check: impl Fn(Dialect, Dialect, &Answer)) {
    for (dialect, format) in Dialect::PAIRS {
        let reply = reply.clone();
        let (_upstream, gateway, client) = setup::moody(format, move || reply(format)).await;
        for request in [dialect.request("bad", "x"), dialect.stream_request("bad", "x")] {
            let answer = client.post(dialect.path(), &request).await;
            assert_eq!(answer.header("content-type"), "application/json", "{dialect:?} on {format:?}: {}", answer.text());
            dialect.error(&answer.json());
            check(dialect, format, &answer);
            assert!(!answer.text().contains(PROVIDER_KEY), "{}", answer.text());
            setup::assert_record(&client, answer.header("x-request-id"), "error").await;
        }
        setup::assert_serves(&client, dialect).await;
        assert!(!gateway.log_text().contains(PROVIDER_KEY), "{}", gateway.log_text());
    }
}

fn bad_gateway(dialect: Dialect, format: Dialect, answer: &Answer) {
    assert_eq!(answer.status, 502, "{dialect:?} on {format:?}: {}", answer.text());
    let kind = dialect.error(&answer.json()).0;
    assert_eq!(kind, if dialect == Dialect::Anthropic { "api_error" } else { "server_error" });
}

const PAGE: &str = "<!doctype html><html><body>nginx at 10.0.0.7 is unhappy</body></html>";

#[tokio::test]
async fn upstream_answers_html() {
    for status in [200, 502] {
        fails(
            move |_| Reply::new(status, "text/html; charset=utf-8", PAGE),
            |dialect, format, answer| {
                bad_gateway(dialect, format, answer);
                assert!(!answer.text().contains("nginx"), "the page is not shown: {}", answer.text());
            },
        )
        .await;
    }
}

#[tokio::test]
async fn upstream_answers_garbage() {
    for body in ["{not json", "", "[]", "{\"hello\": \"world\"}", "null", "\u{feff}hello"] {
        fails(move |_| Reply::new(200, "application/json", body), bad_gateway).await;
    }
}

#[tokio::test]
async fn upstream_streams_garbage() {
    for body in ["", "hello\n\nworld\n\n", "data: {not json}\n\n", ": only a comment\n\n"] {
        for kind in ["text/event-stream", "text/plain"] {
            for (dialect, format) in Dialect::PAIRS {
                let (_upstream, _gateway, client) = setup::moody(format, move || Reply::stream([body]).header("content-type", kind)).await;
                let answer = client.post(dialect.path(), &dialect.stream_request("bad", "x")).await;
                assert_eq!(answer.status, 502, "{dialect:?} on {format:?}, `{body}`: {}", answer.text());
                dialect.error(&answer.json());
                setup::assert_serves(&client, dialect).await;
            }
        }
    }
}

#[tokio::test]
async fn upstream_is_down() {
    // A port that was free a moment ago.
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    for (dialect, format) in Dialect::PAIRS {
        let gateway = Gateway::start(&setup::config(&setup::named_provider("up", format, &format!("http://127.0.0.1:{port}")), "")).await;
        let client = Client::new(&gateway);
        for request in [dialect.request("m", "x"), dialect.stream_request("m", "x")] {
            let answer = client.post(dialect.path(), &request).await;
            bad_gateway(dialect, format, &answer);
            assert!(!answer.text().contains(&port.to_string()), "internals are not named: {}", answer.text());
        }
    }
}

#[tokio::test]
async fn upstream_hangs_up() {
    fails(|_| Reply::closed(), bad_gateway).await;
    fails(|_| Reply::events(vec![Step::Cut]), |d, f, a| assert!([502].contains(&a.status), "{d:?} {f:?} {}", a.text())).await;
    fails(|_| Reply::events(vec![Step::Reset]), bad_gateway).await;
}

#[tokio::test]
async fn upstream_says_nothing_in_time() {
    for (dialect, format) in Dialect::PAIRS {
        let upstream = Upstream::start(|_| Reply::silence()).await;
        let config = setup::config(&setup::provider(format, &upstream), "");
        let gateway = Gateway::builder(&config).set("providers.up.first_byte_timeout=300ms").start().await;
        let answer = Client::new(&gateway).post(dialect.path(), &dialect.request("m", "x")).await;
        assert_eq!(answer.status, 504, "{}", answer.text());
        dialect.error(&answer.json());
        upstream.only().closed_after(std::time::Instant::now()).await;
    }
}

#[tokio::test]
async fn upstream_refuses_the_gateways_key() {
    fails(
        |format| Reply::json(401, &answers::error(format, "authentication_error", &format!("Incorrect API key provided: {PROVIDER_KEY}."))),
        |dialect, format, answer| {
            bad_gateway(dialect, format, answer);
            assert!(!answer.text().to_lowercase().contains("incorrect api key"), "that is between gateway and provider: {}", answer.text());
        },
    )
    .await;
}

#[tokio::test]
async fn upstream_repeats_the_key_in_an_error() {
    fails(
        |format| Reply::json(400, &answers::error(format, "invalid_request_error", &format!("Your key {PROVIDER_KEY} may not do that."))),
        |dialect, format, answer| {
            assert_eq!(answer.status, 400, "{dialect:?} on {format:?}: {}", answer.text());
            assert!(answer.text().contains("may not do that"), "{}", answer.text());
        },
    )
    .await;
}

#[tokio::test]
async fn upstream_has_limits() {
    fails(
        |format| Reply::json(429, &answers::error(format, "rate_limit_error", "Slow down.")).header("retry-after", "17"),
        |dialect, _, answer| {
            assert_eq!((answer.status, answer.header("retry-after")), (429, "17"), "{}", answer.text());
            let (kind, message) = dialect.error(&answer.json());
            assert_eq!((kind.as_str(), message.as_str()), ("rate_limit_error", "Slow down."));
        },
    )
    .await;
}

#[tokio::test]
async fn upstream_has_limits_until_a_date() {
    fails(
        |format| {
            Reply::json(429, &answers::error(format, "rate_limit_error", "Slow down."))
                .header("retry-after", "Fri, 31 Dec 2100 23:59:59 GMT")
        },
        |_, _, answer| {
            assert_eq!(answer.status, 429);
            assert!(!answer.header("retry-after").is_empty(), "{:?}", answer.headers);
        },
    )
    .await;
}

#[tokio::test]
async fn upstream_says_what_is_wrong_with_the_request() {
    let error = json!({"error": {"message": "too hot", "type": "invalid_request_error", "param": "temperature", "code": "invalid_value"}});
    let (_upstream, _gateway, client) = setup::moody(Dialect::OpenAi, move || Reply::json(400, &error)).await;
    let answer = client.post(Dialect::OpenAi.path(), &Dialect::OpenAi.request("bad", "x")).await;
    assert_eq!(answer.status, 400);
    let found = &answer.json()["error"];
    assert_eq!((&found["message"], &found["param"], &found["code"]), (&json!("too hot"), &json!("temperature"), &json!("invalid_value")));
}

#[tokio::test]
async fn upstream_is_overloaded() {
    fails(
        |format| match format {
            Dialect::OpenAi | Dialect::Responses => {
                Reply::json(503, &answers::error(format, "server_error", "That model is currently overloaded."))
            }
            Dialect::Anthropic => Reply::json(529, &answers::error(format, "overloaded_error", "Overloaded")),
        },
        |dialect, format, answer| {
            let status = if dialect == Dialect::Anthropic { 529 } else { 503 };
            assert_eq!(answer.status, status, "{dialect:?} on {format:?}: {}", answer.text());
            let (kind, message) = dialect.error(&answer.json());
            assert_eq!(kind, if dialect == Dialect::Anthropic { "overloaded_error" } else { "server_error" }, "{message}");
            assert!(message.to_lowercase().contains("overloaded"), "{message}");
        },
    )
    .await;
}

#[tokio::test]
async fn an_error_inside_of_a_success_is_an_error() {
    fails(
        |format| match format {
            Dialect::OpenAi => Reply::json(200, &json!({"error": {"message": "Slow down.", "type": "rate_limit_error", "code": 429}})),
            Dialect::Anthropic => Reply::json(200, &answers::error(format, "rate_limit_error", "Slow down.")),
            Dialect::Responses => {
                let error = json!({"code": "rate_limit_exceeded", "message": "Slow down."});
                Reply::json(200, &json!({"id": "resp_1", "object": "response", "status": "failed", "error": error, "output": []}))
            }
        },
        |dialect, format, answer| {
            assert_eq!(answer.status, 429, "{dialect:?} on {format:?}: {}", answer.text());
            assert_eq!(dialect.error(&answer.json()), ("rate_limit_error".into(), "Slow down.".into()));
        },
    )
    .await;
}

#[tokio::test]
async fn an_error_that_is_the_first_event_is_an_ordinary_error() {
    for (dialect, format) in Dialect::PAIRS {
        let (_upstream, _gateway, client) = setup::moody(format, move || Reply::stream([error_event(format)])).await;
        let answer = client.post(dialect.path(), &dialect.stream_request("bad", "x")).await;
        assert_eq!(answer.status, 429, "{dialect:?} on {format:?}: {}", answer.text());
        assert_eq!(dialect.error(&answer.json()), ("rate_limit_error".into(), "Slow down.".into()));
        setup::assert_serves(&client, dialect).await;
    }
}

fn error_event(format: Dialect) -> String {
    match format {
        Dialect::OpenAi => format!(
            "data: {}\n\n",
            json!({"error": {"message": "Slow down.", "type": "rate_limit_error", "param": null, "code": "rate_limit_exceeded"}})
        ),
        Dialect::Anthropic => format!("event: error\ndata: {}\n\n", answers::error(format, "rate_limit_error", "Slow down.")),
        Dialect::Responses => answers::failing(&answers::error(format, "rate_limit_error", "Slow down.")),
    }
}

/// The first events of a stream, with some of the text.
fn beginning(format: Dialect) -> Vec<u8> {
    let mut events = Says::text(TEXT).stream(format, "bad");
    events.truncate(6);
    events.concat().into()
}

/// Streams that break after their first byte. What came before arrives; then comes the dialect's error event and no clean end.
async fn breaks(steps: impl Fn(Dialect) -> Vec<Step> + Clone + Send + Sync + 'static, set: &[&str], check: impl Fn(&str, &str)) {
    for (dialect, format) in Dialect::PAIRS {
        let steps = steps.clone();
        let upstream =
            Upstream::start(move |r| if r.model() == "bad" { Reply::events(steps(format)) } else { Says::text(TEXT).reply(format, r) })
                .await;
        let mut builder = Gateway::builder(&setup::config(&setup::provider(format, &upstream), ""));
        for pair in set {
            builder = builder.set(*pair);
        }
        let gateway = builder.start().await;
        let client = Client::new(&gateway);
        let mut stream = client.stream(dialect.path(), &dialect.stream_request("bad", "x")).await;
        assert_eq!(stream.status, 200);
        let events: Vec<Event> = stream.rest().await;
        assert_eq!(stream.broken, None, "{dialect:?} on {format:?}: the gateway ends its own body properly");
        let text = dialect.streamed_text(&events);
        assert!(!text.is_empty() && TEXT.starts_with(&text), "{dialect:?} on {format:?}: what came before is kept: {}", stream.text());
        let (kind, message) = dialect.broken(&events);
        assert_eq!(events.iter().filter(|e| dialect.stream_error(e).is_some()).count(), 1, "{}", stream.text());
        check(&kind, &message);
        setup::assert_record(&client, stream.header("x-request-id"), "error").await;
        setup::assert_serves(&client, dialect).await;
    }
}

#[tokio::test]
async fn a_stream_cut_in_the_middle_ends_with_an_error() {
    breaks(|f| vec![Step::Send(beginning(f)), Step::Cut], &[], |_, _| {}).await;
}

#[tokio::test]
async fn a_stream_that_is_reset_ends_with_an_error() {
    breaks(|f| vec![Step::Send(beginning(f)), Step::Reset], &[], |_, _| {}).await;
}

#[tokio::test]
async fn a_stream_cut_inside_of_an_event_ends_with_an_error() {
    breaks(
        |f| {
            let mut bytes = beginning(f);
            bytes.truncate(bytes.len() - 9);
            vec![Step::Send(bytes), Step::Cut]
        },
        &[],
        |_, _| {},
    )
    .await;
}

#[tokio::test]
async fn a_stream_that_ends_properly_but_too_early_ends_with_an_error() {
    breaks(|f| vec![Step::Send(beginning(f))], &[], |_, _| {}).await;
}

#[tokio::test]
async fn a_stream_that_falls_silent_ends_with_an_error() {
    breaks(
        |f| vec![Step::Send(beginning(f)), Step::Hang],
        &["providers.up.idle_timeout=300ms"],
        |_, message| {
            assert!(message.contains("stopped sending"), "{message}");
        },
    )
    .await;
}

#[tokio::test]
async fn an_error_in_the_middle_of_a_stream_arrives_in_the_dialect() {
    breaks(
        |f| vec![Step::Send(beginning(f)), Step::Send(error_event(f).into())],
        &[],
        |kind, message| {
            assert_eq!((kind, message), ("rate_limit_error", "Slow down."));
        },
    )
    .await;
}

#[tokio::test]
async fn what_follows_an_error_in_a_stream_is_not_passed_on() {
    let steps = |f: Dialect| {
        let mut all = Says::text(TEXT).stream(f, "bad");
        let end = all.split_off(all.len() - 1).concat();
        vec![Step::Send(beginning(f)), Step::Send([error_event(f), end].concat().into())]
    };
    breaks(steps, &[], |_, _| {}).await;
}

#[tokio::test]
async fn a_complete_answer_cut_in_the_middle_is_an_error() {
    for (dialect, format) in Dialect::PAIRS {
        let upstream = Upstream::start(move |r| {
            let whole = Says::text(TEXT).document(format, &r.model()).to_string().into_bytes();
            Reply::events(vec![Step::Send(whole[..whole.len() / 2].to_vec()), Step::Cut]).header("content-type", "application/json")
        })
        .await;
        let (_gateway, client) = setup::gateway(format, &upstream).await;
        let answer = client.post(dialect.path(), &dialect.request("m", "x")).await;
        bad_gateway(dialect, format, &answer);
    }
}

#[tokio::test]
async fn redirects_are_not_followed() {
    let other = setup::friendly(Dialect::OpenAi).await;
    let place = format!("{}/v1/chat/completions", other.url());
    let upstream = Upstream::start(move |_| Reply::json(307, &Value::Null).header("location", &place)).await;
    let (_gateway, client) = setup::gateway(Dialect::OpenAi, &upstream).await;
    let answer = client.post(Dialect::OpenAi.path(), &Dialect::OpenAi.request("m", "x")).await;
    assert!((500..600).contains(&answer.status), "{} {}", answer.status, answer.text());
    Dialect::OpenAi.error(&answer.json());
    assert!(other.received().is_empty(), "the key must not go where a provider points");
}
