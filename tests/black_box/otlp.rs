//! Traces and metrics over OTLP: what a collector receives, and that nobody waits for it. The collector is a scripted upstream; what it was sent is
//! read with OpenTelemetry's own messages.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use http::Method;
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value::Value as Any;
use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue};
use opentelemetry_proto::tonic::metrics::v1::Metric;
use opentelemetry_proto::tonic::metrics::v1::metric::Data;
use opentelemetry_proto::tonic::trace::v1::span::SpanKind;
use opentelemetry_proto::tonic::trace::v1::status::StatusCode;
use prost::Message as _;
use serde_json::{Value, json};
use wasmgate_tests::answers::{Says, TEXT};
use wasmgate_tests::{Answer, Client, Dialect, Gate, Gateway, Received, Reply, Step, Upstream, cli, soon};

use crate::{extensions, setup};

const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";
const CALLER: &str = "b7ad6b7169203331";

/// What a caller says that must not be in any span.
const SECRET: &str = "a question that stays between us";

/// A collector that takes everything.
struct Collector(Upstream);

/// A span as it was sent.
#[derive(Debug, Clone)]
struct Span {
    name: String,
    kind: SpanKind,
    trace: String,
    id: String,
    parent: String,
    state: String,
    flags: u32,
    from: u64,
    to: u64,
    failed: bool,
    attributes: BTreeMap<String, Value>,
}

impl Collector {
    async fn start() -> Self {
        Self(Upstream::start(|_| Reply::new(200, "application/x-protobuf", Vec::new())).await)
    }

    /// The section that sends there, quickly.
    fn section(&self, more: &str) -> String {
        section(&self.0.url(), more)
    }

    /// Waits until what was sent to a path fulfils a condition, and returns it.
    async fn until<T>(&self, what: &str, path: &str, read: impl Fn(&Received) -> Vec<T>, enough: impl Fn(&[T]) -> bool) -> Vec<T> {
        let sent = async {
            let (mut n, mut all) = (0, Vec::new());
            while !enough(&all) {
                let request = self.0.request(n).await;
                n += 1;
                if request.path == path {
                    assert_eq!((request.method.as_str(), request.header("content-type")), ("POST", Some("application/x-protobuf")));
                    all.extend(read(&request));
                }
            }
            all
        };
        soon(what, sent).await
    }

    /// The spans of one trace, when there are so many.
    async fn trace(&self, trace: &str, many: usize) -> Vec<Span> {
        let own = |all: &[Span]| all.iter().filter(|s| s.trace == trace).count();
        let all = self.until(&format!("{many} spans"), "/v1/traces", spans, |all| own(all) >= many).await;
        all.into_iter().filter(|s| s.trace == trace).collect()
    }
}

fn section(url: &str, more: &str) -> String {
    format!("telemetry: {{otlp: {{endpoint: \"{url}\", interval: 100ms, metrics_interval: 200ms, timeout: 2s{more}}}}}\n")
}

fn spans(sent: &Received) -> Vec<Span> {
    let request = ExportTraceServiceRequest::decode(&*sent.body).expect("a message of OTLP");
    let [resource] = request.resource_spans.as_slice() else { panic!("one resource, not {}", request.resource_spans.len()) };
    let about = attributes(&resource.resource.as_ref().expect("a resource").attributes);
    assert_eq!((&about["service.name"], about["service.version"].is_string()), (&json!("wasmgate"), true), "{about:?}");
    let [scope] = resource.scope_spans.as_slice() else { panic!("one scope") };
    assert_eq!(scope.scope.as_ref().map(|s| s.name.as_str()), Some("wasmgate"));
    let hex = |bytes: &[u8]| bytes.iter().map(|b| format!("{b:02x}")).collect::<String>();
    let read = |s: &opentelemetry_proto::tonic::trace::v1::Span| Span {
        name: s.name.clone(),
        kind: s.kind(),
        trace: hex(&s.trace_id),
        id: hex(&s.span_id),
        parent: hex(&s.parent_span_id),
        state: s.trace_state.clone(),
        flags: s.flags,
        from: s.start_time_unix_nano,
        to: s.end_time_unix_nano,
        failed: s.status.as_ref().is_some_and(|s| s.code() == StatusCode::Error),
        attributes: attributes(&s.attributes),
    };
    scope.spans.iter().map(read).collect()
}

fn metrics(sent: &Received) -> Vec<Vec<Metric>> {
    let request = ExportMetricsServiceRequest::decode(&*sent.body).expect("a message of OTLP");
    request.resource_metrics.into_iter().flat_map(|r| r.scope_metrics).map(|s| s.metrics).collect()
}

fn attributes(all: &[KeyValue]) -> BTreeMap<String, Value> {
    let read: BTreeMap<_, _> = all.iter().map(|a| (a.key.clone(), value(a.value.as_ref()))).collect();
    assert_eq!(read.len(), all.len(), "a name is there twice: {all:?}");
    read
}

fn value(value: Option<&AnyValue>) -> Value {
    match value.and_then(|v| v.value.as_ref()) {
        Some(Any::StringValue(text)) => json!(text),
        Some(Any::BoolValue(flag)) => json!(flag),
        Some(Any::IntValue(n)) => json!(n),
        Some(Any::DoubleValue(n)) => json!(n),
        Some(Any::ArrayValue(all)) => all.values.iter().map(|v| self::value(Some(v))).collect(),
        other => panic!("nobody writes {other:?}"),
    }
}

impl Span {
    #[track_caller]
    fn assert_has(&self, expect: Value) {
        for (name, value) in expect.as_object().expect("names") {
            assert_eq!(self.attributes.get(name), Some(value), "{name} of {self:#?}");
        }
    }
}

/// The only span of a name.
#[track_caller]
fn only<'a>(all: &'a [Span], name: &str) -> &'a Span {
    let named: Vec<_> = all.iter().filter(|s| s.name == name).collect();
    assert_eq!(named.len(), 1, "`{name}` is there {} times in {:#?}", named.len(), all.iter().map(|s| &s.name).collect::<Vec<_>>());
    named[0]
}

/// Every span is well formed, in the trace of its request and inside of it, and none says what was said.
#[track_caller]
fn assert_tree(all: &[Span], root: &Span) {
    let mut ids: Vec<_> = all.iter().map(|s| &s.id).collect();
    ids.sort();
    ids.dedup();
    assert_eq!(ids.len(), all.len(), "ids are unique");
    for span in all {
        assert!(span.id.len() == 16 && span.trace.len() == 32 && span.to >= span.from && span.flags & 1 == 1, "{span:#?}");
        assert_eq!(span.trace, root.trace);
        if span.id != root.id {
            assert!(all.iter().any(|s| s.id == span.parent), "{span:#?} has no parent");
            assert!(span.from >= root.from, "{span:#?} began before its request");
        }
        let text = format!("{span:?}");
        assert!(![SECRET, TEXT, setup::PROVIDER_KEY].iter().any(|said| text.contains(said)), "{text}");
    }
}

/// Asks in a caller's trace.
async fn ask(client: &Client, dialect: Dialect, model: &str, stream: bool, traceparent: &str) -> Answer {
    let body = if stream { dialect.stream_request(model, SECRET) } else { dialect.request(model, SECRET) };
    let request = client.request(Method::POST, dialect.path()).header("content-type", "application/json");
    client.send(request.header("traceparent", traceparent).header("tracestate", "vendor=1").body(body.to_string())).await
}

fn parent(flags: &str) -> String {
    format!("00-{TRACE}-{CALLER}-{flags}")
}

#[tokio::test]
async fn a_request_is_a_tree_of_spans() {
    let (collector, upstream) = (Collector::start().await, setup::friendly(Dialect::OpenAi).await);
    let gateway = Gateway::start(&setup::config(&setup::provider(Dialect::OpenAi, &upstream), &collector.section(""))).await;
    let client = Client::new(&gateway);
    let answer = ask(&client, Dialect::OpenAi, "m", false, &parent("01")).await;
    assert_eq!(answer.status, 200, "{}", answer.text());

    let all = collector.trace(TRACE, 4).await;
    let root = only(&all, "POST /v1/chat/completions");
    assert_tree(&all, root);
    assert_eq!((root.kind, root.parent.as_str(), root.state.as_str(), root.failed), (SpanKind::Server, CALLER, "vendor=1", false));
    assert_eq!(root.flags & 0x300, 0x300, "its parent is in another program");
    root.assert_has(json!({
        "http.request.method": "POST", "http.route": "/v1/chat/completions", "http.response.status_code": 200,
        "gen_ai.operation.name": "chat", "gen_ai.request.model": "m", "gen_ai.response.model": "m",
        "gen_ai.usage.input_tokens": 9, "gen_ai.usage.output_tokens": 12,
        "wasmgate.request_id": answer.header("x-request-id"), "wasmgate.outcome": "success", "wasmgate.provider": "up",
    }));
    let attempt = only(&all, "chat m");
    assert_eq!((attempt.kind, &attempt.parent, attempt.failed), (SpanKind::Client, &root.id, false));
    let port: u16 = upstream.url().rsplit(':').next().unwrap().parse().unwrap();
    attempt.assert_has(json!({
        "gen_ai.operation.name": "chat", "gen_ai.provider.name": "openai", "gen_ai.request.model": "m", "gen_ai.response.model": "m",
        "gen_ai.usage.input_tokens": 9, "gen_ai.usage.output_tokens": 12, "gen_ai.response.finish_reasons": ["stop"],
        "server.address": "127.0.0.1", "server.port": port, "wasmgate.provider": "up", "wasmgate.attempt": 0, "wasmgate.part": "served",
    }));
    for hook in ["dialect.accept openai-api", "before-generate routing"] {
        let span = only(&all, hook);
        assert_eq!((span.kind, &span.parent), (SpanKind::Internal, &root.id));
        span.assert_has(json!({"wasmgate.calls": 1}));
        assert!(span.attributes["wasmgate.work_seconds"].as_f64() > Some(0.0));
    }
    assert!(attempt.from >= only(&all, "before-generate routing").to, "a hook ends before a provider is asked");

    // The provider is in the same trace, inside of the try.
    let received = upstream.only();
    assert_eq!(received.header("traceparent"), Some(format!("00-{TRACE}-{}-01", attempt.id).as_str()));
    assert_eq!(received.header("tracestate"), Some("vendor=1"));
}

#[tokio::test]
async fn a_stream_tells_when_it_began_and_why_it_ended() {
    let (collector, upstream) = (Collector::start().await, setup::friendly(Dialect::OpenAi).await);
    let gateway = Gateway::start(&setup::config(&setup::provider(Dialect::OpenAi, &upstream), &collector.section(""))).await;
    let client = Client::new(&gateway);
    // Bytes that pass as they are, and events that are written anew.
    let other = TRACE.replace("319c", "319d");
    for (dialect, many, trace) in [(Dialect::OpenAi, 4, TRACE), (Dialect::Anthropic, 6, other.as_str())] {
        let answer = ask(&client, dialect, "m", true, &parent("01").replace(TRACE, trace)).await;
        assert_eq!(answer.status, 200, "{}", answer.text());
        let all = collector.trace(trace, many).await;
        let root = only(&all, &format!("POST {}", dialect.path()));
        assert_tree(&all, root);
        root.assert_has(json!({"gen_ai.request.stream": true}));
        let attempt = only(&all, "chat m");
        attempt.assert_has(json!({
            "gen_ai.request.stream": true, "gen_ai.usage.output_tokens": 12, "gen_ai.response.finish_reasons": ["stop"],
            "gen_ai.response.model": "m",
        }));
        for span in [root, attempt] {
            let first = span.attributes["gen_ai.response.time_to_first_chunk"].as_f64().expect("a number");
            assert!(first > 0.0 && first <= (span.to - span.from) as f64 / 1e9 + 1e-3, "{first} of {span:#?}");
        }
        if dialect == Dialect::Anthropic {
            // Its calls are one span.
            let encoder = only(&all, "dialect.encoder anthropic-api");
            assert!(encoder.attributes["wasmgate.calls"].as_u64() >= Some(2), "{encoder:#?}");
        }
    }
}

#[tokio::test]
async fn what_was_said_is_there_for_those_who_want_it() {
    let (collector, upstream) = (Collector::start().await, setup::friendly(Dialect::OpenAi).await);
    let more = collector.section(", content: true");
    let gateway = Gateway::start(&setup::config(&setup::provider(Dialect::OpenAi, &upstream), &more)).await;
    let client = Client::new(&gateway);
    let mut n = 0;
    for dialect in [Dialect::OpenAi, Dialect::Anthropic] {
        for stream in [false, true] {
            n += 1;
            let trace = TRACE.replace("319c", &format!("50{n}0"));
            assert_eq!(ask(&client, dialect, "m", stream, &parent("01").replace(TRACE, &trace)).await.status, 200);
            let all = collector.trace(&trace, 4).await;
            let attempt = only(&all, "chat m");
            let said = |name: &str| serde_json::from_str::<Value>(attempt.attributes[name].as_str().expect("a text")).expect("JSON");
            assert_eq!(said("gen_ai.input.messages"), json!([{"role": "user", "parts": [{"type": "text", "content": SECRET}]}]));
            let answer = json!([{"role": "assistant", "parts": [{"type": "text", "content": TEXT}], "finish_reason": "stop"}]);
            assert_eq!(said("gen_ai.output.messages"), answer, "{dialect:?}, stream {stream}");
            // Nowhere else.
            assert!(all.iter().filter(|s| s.id != attempt.id).all(|s| !format!("{s:?}").contains(SECRET)));
        }
    }
}

#[tokio::test]
async fn what_was_said_is_what_left_the_gateway_and_what_the_caller_got() {
    let collector = Collector::start().await;
    let upstream = Upstream::start(|r| Says::text("it is a secret").reply(Dialect::OpenAi, r)).await;
    // One takes words out of answers, the other one changes conversations and answers, or refuses them.
    let extensions = format!("{}{}", extensions::fixture("redacts", ""), extensions::fixture("probe", ""));
    let more = format!("{extensions}{}", collector.section(", content: true"));
    let gateway = Gateway::start(&setup::config(&setup::provider(Dialect::OpenAi, &upstream), &more)).await;
    let client = Client::new(&gateway);
    let mut n = 0;
    for (model, told) in
        [("edit", Some("it is a [redacted]")), ("after-replace", Some("[it is a [redacted]]")), ("after-reject", None), ("rejects", None)]
    {
        for (dialect, stream) in [(Dialect::OpenAi, false), (Dialect::OpenAi, true), (Dialect::Anthropic, true)] {
            n += 1;
            let trace = TRACE.replace("319c", &format!("6{n:03}"));
            let answer = ask(&client, dialect, model, stream, &parent("01").replace(TRACE, &trace)).await;
            let all = collector.trace(&trace, 4).await;
            let attempt = only(&all, &format!("chat {model}"));
            let about = format!("{model}, {dialect:?}, stream {stream}: {}", answer.text());
            let input = attempt.attributes["gen_ai.input.messages"].as_str().expect("a text");
            let sent = upstream.received().last().expect("it was asked").body.clone();
            let edited = if model == "edit" { "edited by the probe" } else { SECRET };
            assert!(input.contains(edited) && String::from_utf8_lossy(&sent).contains(edited), "{input} {about}");
            let text = attempt.attributes.get("gen_ai.output.messages").map(|said| {
                let said: Value = serde_json::from_str(said.as_str().expect("a text")).expect("JSON");
                said[0]["parts"].as_array().expect("parts").iter().filter_map(|p| p["content"].as_str()).collect::<String>()
            });
            assert_eq!(text.as_deref().filter(|t| !t.is_empty()), told, "{about}");
            assert!(all.iter().all(|s| !format!("{s:?}").contains("a secret")), "{about}");
            assert!(model != "edit" || all.iter().all(|s| !format!("{s:?}").contains(SECRET)), "{about}");
        }
    }
}

#[tokio::test]
async fn each_try_has_a_span_and_its_error() {
    let collector = Collector::start().await;
    let bad = Upstream::start(|_| Reply::json(503, &json!({"error": {"message": SECRET, "type": "server_error"}}))).await;
    let good = setup::friendly(Dialect::Anthropic).await;
    let providers = format!(
        "{}{}  v: {{type: fallback, config: {{providers: [one, two]}}}}\n",
        setup::named_provider("one", Dialect::OpenAi, &bad.url()),
        setup::named_provider("two", Dialect::Anthropic, &good.url())
    );
    let gateway = Gateway::start(&setup::config(&providers, &collector.section(""))).await;
    let client = Client::new(&gateway);
    assert_eq!(ask(&client, Dialect::OpenAi, "v/m", false, &parent("01")).await.status, 200);

    let all = collector.trace(TRACE, 5).await;
    let root = only(&all, "POST /v1/chat/completions");
    assert_tree(&all, root);
    root.assert_has(json!({"wasmgate.fallback_provider": "two", "wasmgate.fallback_index": "1"}));
    let mut tries: Vec<_> = all.iter().filter(|s| s.kind == SpanKind::Client).collect();
    tries.sort_by_key(|s| s.from);
    let [first, second] = tries.as_slice() else { panic!("two tries, not {tries:#?}") };
    assert!(first.failed && !second.failed && !root.failed && second.from >= first.to && first.id != second.id);
    first.assert_has(json!({
        "error.type": "overloaded", "wasmgate.provider": "one", "wasmgate.attempt": 0, "wasmgate.part": "failed", "wasmgate.via": ["v"],
    }));
    second.assert_has(
        json!({"gen_ai.provider.name": "anthropic", "wasmgate.provider": "two", "wasmgate.attempt": 1, "wasmgate.part": "served"}),
    );
    for (upstream, span) in [(&bad, first), (&good, second)] {
        assert_eq!(upstream.only().header("traceparent"), Some(format!("00-{TRACE}-{}-01", span.id).as_str()));
    }

    // Nobody answers: that is the gateway's error. A request that makes no sense is the caller's.
    let lost = TRACE.replace("319c", "319e");
    assert_eq!(ask(&client, Dialect::OpenAi, "one/m", false, &parent("01").replace(TRACE, &lost)).await.status, 503);
    let all = collector.trace(&lost, 3).await;
    let root = only(&all, "POST /v1/chat/completions");
    root.assert_has(json!({"http.response.status_code": 503, "error.type": "overloaded", "wasmgate.outcome": "error"}));
    assert!(root.failed);
    assert_tree(&all, root);
    for (n, body, encoding, status) in [(0, "{\"model\": 7}", "identity", 400), (1, "{", "identity", 400), (2, "x", "gzip", 415)] {
        let refused = TRACE.replace("319c", &format!("40{n}0"));
        let traceparent = parent("01").replace(TRACE, &refused);
        let request = client.request(Method::POST, Dialect::OpenAi.path()).header("traceparent", traceparent);
        assert_eq!(client.send(request.header("content-encoding", encoding).body(body)).await.status, status);
        let all = collector.trace(&refused, 1).await;
        let root = only(&all, "POST /v1/chat/completions");
        assert_eq!((root.parent.as_str(), root.failed), (CALLER, false));
        root.assert_has(json!({"http.response.status_code": status, "error.type": "invalid-request", "http.request.method": "POST"}));
    }
}

#[tokio::test]
async fn what_extensions_ask_is_inside_of_what_they_are_asked() {
    let (collector, upstream) = (Collector::start().await, setup::friendly(Dialect::OpenAi).await);
    let more = format!("{}{}default_provider: up\n", extensions::fixture("asks", "grant: [generate, wasi]"), collector.section(""));
    let gateway = Gateway::start(&setup::config(&setup::provider(Dialect::OpenAi, &upstream), &more)).await;
    let answer = ask(&Client::new(&gateway), Dialect::OpenAi, "ask-once", false, &parent("01")).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    let inner = |all: &[Span]| all.iter().any(|s| s.kind == SpanKind::Server) && all.iter().any(|s| s.kind == SpanKind::Client);
    let all = collector.until("both requests", "/v1/traces", spans, inner).await;
    let root = only(&all, "POST /v1/chat/completions");
    assert_tree(&all, root);
    let attempt = all.iter().find(|s| s.kind == SpanKind::Client).expect("a try");
    let inner = all.iter().find(|s| s.id == attempt.parent).expect("its request");
    assert_eq!((inner.kind, &inner.parent), (SpanKind::Internal, &root.id), "{inner:#?}");
    inner.assert_has(json!({"wasmgate.request_id": format!("{}.1", answer.header("x-request-id"))}));
}

#[tokio::test]
async fn the_caller_decides_what_is_recorded() {
    let (collector, upstream) = (Collector::start().await, setup::friendly(Dialect::OpenAi).await);
    // Nothing is, unless the caller wants it.
    let gateway = Gateway::start(&setup::config(
        &setup::provider(Dialect::OpenAi, &upstream),
        &collector.section(", sample_ratio: 0, metrics: false"),
    ))
    .await;
    let client = Client::new(&gateway);
    for traceparent in ["", "nonsense", parent("00").as_str()] {
        assert_eq!(ask(&client, Dialect::OpenAi, "m", false, traceparent).await.status, 200);
    }
    let told: Vec<_> = upstream.received().iter().map(|r| r.header("traceparent").unwrap_or_default().to_owned()).collect();
    assert!(told.iter().all(|t| t.len() == 55 && t.ends_with("-00")), "the provider is told so: {told:?}");
    assert!(told[2].contains(TRACE) && !told[0].contains(TRACE), "{told:?}");
    assert_eq!(ask(&client, Dialect::OpenAi, "m", false, &parent("01")).await.status, 200);
    let (status, log) = gateway.stop().await;
    assert!(status.success(), "{log}");
    let all: Vec<_> = collector.0.received().iter().flat_map(|r| spans(r)).collect();
    assert_eq!(all.iter().filter(|s| s.kind == SpanKind::Server).count(), 1, "{all:#?}");
    only(&all, "POST /v1/chat/completions");
}

/// Values of a histogram's points with this attribute: how many, and their sum.
fn histogram(all: &[Metric], name: &str, with: (&str, &str)) -> (u64, f64) {
    let Some(Data::Histogram(data)) = all.iter().find(|m| m.name == name).and_then(|m| m.data.as_ref()) else { return (0, 0.0) };
    assert_eq!(data.aggregation_temporality, 2, "cumulative");
    let mut found = (0, 0.0);
    for point in &data.data_points {
        assert_eq!(point.bucket_counts.len(), point.explicit_bounds.len() + 1);
        assert_eq!(point.bucket_counts.iter().sum::<u64>(), point.count);
        assert!(point.time_unix_nano > point.start_time_unix_nano && point.start_time_unix_nano > 0);
        if attributes(&point.attributes).get(with.0) == Some(&json!(with.1)) {
            found = (found.0 + point.count, found.1 + point.sum.unwrap_or_default());
        }
    }
    found
}

#[tokio::test]
async fn metrics_are_those_of_the_conventions() {
    let (collector, upstream) = (Collector::start().await, setup::friendly(Dialect::OpenAi).await);
    let gateway = Gateway::start(&setup::config(&setup::provider(Dialect::OpenAi, &upstream), &collector.section(", traces: false"))).await;
    let client = Client::new(&gateway);
    for stream in [false, true, true] {
        assert_eq!(ask(&client, Dialect::OpenAi, "m", stream, "").await.status, 200);
    }
    assert!(upstream.received().iter().all(|r| r.header("traceparent").is_none()), "there are no traces");
    let provider = ("gen_ai.provider.name", "openai");
    let enough = |all: &[Vec<Metric>]| all.last().is_some_and(|all| histogram(all, "gen_ai.server.request.duration", provider).0 == 3);
    let all = collector.until("metrics of three requests", "/v1/metrics", metrics, enough).await;
    let all = all.last().expect("some");
    let count = |name: &str| histogram(all, name, provider).0;
    assert_eq!((count("gen_ai.client.operation.duration"), count("gen_ai.server.time_to_first_token")), (3, 2));
    assert_eq!(count("gen_ai.server.time_per_output_token"), 2);
    assert_eq!(histogram(all, "gen_ai.client.token.usage", ("gen_ai.token.type", "input")), (3, 27.0));
    assert_eq!(histogram(all, "gen_ai.client.token.usage", ("gen_ai.token.type", "output")), (3, 36.0));
    let units: BTreeMap<_, _> = all.iter().map(|m| (m.name.as_str(), m.unit.as_str())).collect();
    assert_eq!(units.len(), all.len(), "names are unique");
    for (name, unit) in [
        ("gen_ai.client.operation.duration", "s"),
        ("gen_ai.client.token.usage", "{token}"),
        ("wasmgate.requests", "{request}"),
        ("wasmgate.requests.in_flight", "{request}"),
        ("process.cpu.time", "s"),
        ("process.memory.usage", "By"),
        ("wasmgate.otlp.dropped_spans", "{span}"),
    ] {
        assert_eq!(units.get(name), Some(&unit), "{name} of {units:?}");
    }
}

/// The value of a counter of `/metrics`.
async fn counter(client: &Client, name: &str) -> u64 {
    let page = client.get("/metrics").await.text();
    let line = page.lines().find_map(|l| l.strip_prefix(name)?.strip_prefix(' '));
    line.unwrap_or_else(|| panic!("no {name} in\n{page}")).parse().expect("a number")
}

#[tokio::test]
async fn a_collector_that_hangs_costs_requests_nothing() {
    let (hanging, upstream) = (Upstream::start(|_| Reply::silence()).await, setup::friendly(Dialect::OpenAi).await);
    let more = section(&hanging.url(), ", queue: 2").replace("timeout: 2s", "timeout: 600s");
    let gateway = Gateway::start(&setup::config(&setup::provider(Dialect::OpenAi, &upstream), &more)).await;
    let client = Client::new(&gateway);
    assert_eq!(ask(&client, Dialect::OpenAi, "m", false, "").await.status, 200);
    hanging.request(0).await;
    // One batch hangs, as much as there is room for waits, and the rest goes: a request never does.
    for _ in 0..20 {
        assert_eq!(ask(&client, Dialect::OpenAi, "m", false, "").await.status, 200);
    }
    let dropped = async { while counter(&client, "wasmgate_otlp_dropped_spans_total").await == 0 {} };
    soon("spans that are dropped", dropped).await;
    assert_eq!(counter(&client, "wasmgate_otlp_sent_spans_total").await, 0);
    // Its end does not wait for those ten minutes.
    let began = Instant::now();
    let (status, log) = gateway.stop().await;
    assert!(status.success() && log.contains("did not take the last of them in time"), "{log}");
    assert!(began.elapsed() < Duration::from_secs(60), "{:?}", began.elapsed());
}

#[tokio::test]
async fn what_waits_is_bounded_in_bytes() {
    let gate = Gate::default();
    let held = gate.clone();
    // The first batch waits; everything later is taken at once.
    let first = std::sync::atomic::AtomicBool::new(true);
    let collector = Upstream::start(move |_| match first.swap(false, std::sync::atomic::Ordering::Relaxed) {
        true => Reply::events(vec![Step::Wait(held.clone())]),
        false => Reply::new(200, "application/x-protobuf", Vec::new()),
    })
    .await;
    let upstream = setup::friendly(Dialect::OpenAi).await;
    let more = section(&collector.url(), ", content: true, queue_bytes: 1048576, metrics: false").replace("timeout: 2s", "timeout: 600s");
    let gateway = Gateway::start(&setup::config(&setup::provider(Dialect::OpenAi, &upstream), &more)).await;
    let client = Client::new(&gateway);
    let long: Vec<_> = (0..7).map(|_| json!({"role": "user", "content": "x".repeat(16 << 10)})).collect();
    let ask = async |times: usize| {
        for _ in 0..times {
            let body = json!({"model": "m", "messages": long});
            assert_eq!(client.post(Dialect::OpenAi.path(), &body).await.status, 200);
        }
    };
    ask(1).await;
    collector.request(0).await;
    // Each has some 115,000 bytes, so eight find room, with the one that is being sent.
    ask(30).await;
    let at_rest = async { while counter(&client, "wasmgate_otlp_dropped_spans_total").await < 22 * 4 {} };
    soon("spans that found no room", at_rest).await;
    gate.open();
    soon("those that wait are sent", async { while counter(&client, "wasmgate_otlp_sent_spans_total").await < 8 * 4 {} }).await;
    let dropped = counter(&client, "wasmgate_otlp_dropped_spans_total").await;
    // And there is room again.
    ask(5).await;
    soon("the next are sent", async { while counter(&client, "wasmgate_otlp_sent_spans_total").await < 13 * 4 {} }).await;
    assert_eq!(counter(&client, "wasmgate_otlp_dropped_spans_total").await, dropped);
}

#[tokio::test]
async fn a_collector_that_is_away_is_told_once_and_costs_nothing() {
    let upstream = setup::friendly(Dialect::OpenAi).await;
    let nobody = Upstream::start(|_| Reply::closed()).await.url();
    let gateway = Gateway::start(&setup::config(&setup::provider(Dialect::OpenAi, &upstream), &section(&nobody, ", metrics: false"))).await;
    let client = Client::new(&gateway);
    for _ in 0..5 {
        assert_eq!(ask(&client, Dialect::OpenAi, "m", false, "").await.status, 200);
    }
    let lost = async { while counter(&client, "wasmgate_otlp_dropped_spans_total").await == 0 {} };
    soon("spans that are given up", lost).await;
    assert!(counter(&client, "wasmgate_otlp_failures_total").await >= 3, "it is tried again");
    let told = gateway.log_lines(|l| l["message"].as_str().is_some_and(|m| m.contains("does not take them")));
    assert_eq!(told.len(), 1, "{told:?}");
}

#[tokio::test]
async fn the_end_of_the_gateway_sends_what_is_left() {
    let (collector, upstream) = (Collector::start().await, setup::friendly(Dialect::OpenAi).await);
    let slow = collector.section("").replace("interval: 100ms", "interval: 1h").replace("metrics_interval: 200ms", "metrics_interval: 1h");
    let gateway = Gateway::start(&setup::config(&setup::provider(Dialect::OpenAi, &upstream), &slow)).await;
    for _ in 0..3 {
        assert_eq!(ask(&Client::new(&gateway), Dialect::OpenAi, "m", false, "").await.status, 200);
    }
    assert_eq!(collector.0.received().len(), 0);
    let (status, log) = gateway.stop().await;
    assert!(status.success(), "{log}");
    let sent = collector.0.received();
    let roots = sent.iter().filter(|r| r.path == "/v1/traces").flat_map(|r| spans(r)).filter(|s| s.kind == SpanKind::Server).count();
    let last = sent.iter().filter(|r| r.path == "/v1/metrics").flat_map(|r| metrics(r)).last().expect("metrics");
    assert_eq!((roots, histogram(&last, "gen_ai.client.operation.duration", ("wasmgate.provider", "up")).0), (3, 3));
}

#[tokio::test]
async fn without_the_section_nothing_is_sent_and_nothing_handed_on() {
    let (collector, upstream) = (Collector::start().await, setup::friendly(Dialect::OpenAi).await);
    let url = collector.0.url();
    let base = setup::config(&setup::provider(Dialect::OpenAi, &upstream), "");
    let gateway = Gateway::builder(&base).env("OTEL_EXPORTER_OTLP_ENDPOINT", &url).start().await;
    let client = Client::new(&gateway);
    assert_eq!(ask(&client, Dialect::OpenAi, "m", false, &parent("01")).await.status, 200);
    assert!(!client.get("/metrics").await.text().contains("wasmgate_otlp"));
    gateway.stop().await;
    assert_eq!((upstream.only().header("traceparent"), collector.0.connections()), (None, 0));

    // With it, the environment says what it does not.
    let section = format!("{base}telemetry: {{otlp: {{metrics: false}}}}\n");
    let builder = Gateway::builder(&section).env("OTEL_EXPORTER_OTLP_ENDPOINT", &url).env("OTEL_EXPORTER_OTLP_HEADERS", "x-key=k%201");
    let gateway = builder.start().await;
    assert_eq!(ask(&Client::new(&gateway), Dialect::OpenAi, "m", false, &parent("01")).await.status, 200);
    gateway.stop().await;
    let sent = collector.0.only();
    assert_eq!((sent.path.as_str(), sent.header("x-key")), ("/v1/traces", Some("k 1")));
}

#[test]
fn wrong_settings_are_told() {
    for (otlp, environment, words) in [
        ("endpoint: collector", vec![], "`collector` is not a URL"),
        ("sample_ratio: 1.5", vec![], "`1.5` is no share"),
        ("protocol: grpc", vec![], "`http/protobuf`"),
        ("interval: 0s", vec![], "too often"),
        ("queue: 0", vec![], "traces: false"),
        ("queue_bytes: 1000", vec![], "write `1048576` or more"),
        ("colour: red", vec![], "there is no such setting"),
        ("headers: {\"a b\": c}", vec![], "no name of a header field"),
    ] {
        let file = cli::ConfigFile::new(&format!("providers: {{e: {{type: echo}}}}\ntelemetry: {{otlp: {{{otlp}}}}}\n"));
        let path = file.path();
        let finished = cli::run_with(&["check", "--config", path.to_str().expect("UTF-8")], &environment);
        assert!(finished.code == 2 && finished.stderr.contains(words) && finished.stderr.contains(":2"), "{otlp}: {finished:?}");
    }
    let file = cli::ConfigFile::new("providers: {e: {type: echo}}\nserver: {port: 0}\ntelemetry: {otlp: {}}\n");
    let path = file.path();
    let args = ["serve", "--config", path.to_str().expect("UTF-8")];
    let finished = cli::run_with(&args, &[("OTEL_EXPORTER_OTLP_TIMEOUT", "soon")]);
    assert!(finished.code == 2 && finished.stderr.contains("`OTEL_EXPORTER_OTLP_TIMEOUT` is `soon`"), "{finished:?}");
}
