//! Settings of what is sent to a collector of OpenTelemetry.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::Value;

use super::Config;
use super::reader::{Cursor, Setting};
use super::secret::Secret;
use crate::section;

section! {
    /// What the gateway tells others of its work, besides the log and `/metrics`.
    pub struct Telemetry {
        /// Traces and metrics over OTLP; without the section none are sent, whatever the environment says.
        otlp: Option<Otlp> = None,
    }
}

section! {
    /// Traces and metrics that are sent to a collector of OpenTelemetry. What is not set here is taken from the variables `OTEL_EXPORTER_OTLP_…`.
    pub struct Otlp {
        /// Whether they are sent.
        enabled: bool = true,
        /// Where the collector is; `/v1/traces` and `/v1/metrics` are put behind it. Without it, `OTEL_EXPORTER_OTLP_ENDPOINT` or
        /// `http://localhost:4318`.
        endpoint: Option<String> = None,
        /// How it is spoken to. Most collectors take `http/protobuf` at port 4318; `grpc` is not supported.
        protocol: OtlpProtocol = OtlpProtocol::HttpProtobuf,
        /// Header fields for the collector, by name. Values are not shown anywhere. Without any, `OTEL_EXPORTER_OTLP_HEADERS`.
        headers: BTreeMap<String, Secret> = BTreeMap::new(),
        /// How long the collector may take for one request; without it, `OTEL_EXPORTER_OTLP_TIMEOUT` or 10 s. It is also how long the end of the
        /// gateway may wait for the last ones.
        timeout: Option<Duration> = None,
        /// Whether traces are sent.
        traces: bool = true,
        /// Share of the requests that are traced, from 0 to 1. A caller's `traceparent` says it for its request instead.
        sample_ratio: f64 = 1.0,
        /// Whether spans say what was said: the conversation as it went to the provider and the answer as the caller got it, each up to 128 KiB.
        /// Whoever can read the traces can read them then.
        content: bool = false,
        /// Requests that may wait to be sent. More are dropped, and counted in `wasmgate_otlp_dropped_spans_total`.
        queue: usize = 2048,
        /// How many bytes they may have together, as they are sent, with those that are being sent. With `content` a request may have some hundred
        /// thousand. More are dropped, and counted in the same place.
        queue_bytes: usize = 64 << 20,
        /// Longest wait until a request's spans are sent.
        interval: Duration = Duration::from_secs(5),
        /// Whether metrics are sent.
        metrics: bool = true,
        /// How often.
        metrics_interval: Duration = Duration::from_secs(60),
        /// Name of the service. `OTEL_SERVICE_NAME` stands in its place.
        service_name: String = "wasmgate".into(),
        /// More about the service, by name, for example `deployment.environment.name`. Those of `OTEL_RESOURCE_ATTRIBUTES` are added.
        resource: BTreeMap<String, String> = BTreeMap::new(),
    }
}

words! {
    /// How a collector is spoken to.
    pub enum OtlpProtocol {
        /// Protobuf in bodies of HTTP requests.
        HttpProtobuf = "http/protobuf",
    }
}

/// Least of `queue_bytes`: what one request may have when spans say what was said, and some more.
const LEAST_QUEUE_BYTES: usize = 1 << 20;

/// What is wrong with these settings.
pub fn check(config: &Config, at: &mut Cursor<'_>) {
    let Some(mut at) = at.member("telemetry") else { return };
    let (Some(otlp), Some(mut at)) = (&config.telemetry.otlp, at.member("otlp")) else { return };
    if let Some(endpoint) = &otlp.endpoint
        && let Some(mut at) = at.member("endpoint")
        && let Err(reason) = check_endpoint(endpoint)
    {
        at.error(reason);
    }
    if otlp.sample_ratio > 1.0
        && let Some(mut at) = at.member("sample_ratio")
    {
        at.error(format!("`{}` is no share; write a number from 0 to 1.", otlp.sample_ratio));
    }
    for (name, duration) in [("interval", otlp.interval), ("metrics_interval", otlp.metrics_interval)] {
        if duration < Duration::from_millis(100)
            && let Some(mut at) = at.member(name)
        {
            at.error("that is too often; write `100ms` or more.".into());
        }
    }
    if otlp.timeout.is_some_and(|t| t.is_zero())
        && let Some(mut at) = at.member("timeout")
    {
        at.error("`0s` is no time for an answer; leave it out.".into());
    }
    if otlp.queue == 0
        && let Some(mut at) = at.member("queue")
    {
        at.error("without a place for one nothing can be sent; to send no traces, write `traces: false`.".into());
    }
    if otlp.queue_bytes < LEAST_QUEUE_BYTES
        && let Some(mut at) = at.member("queue_bytes")
    {
        at.error(format!("one request may have that much; write `{LEAST_QUEUE_BYTES}` or more."));
    }
    let Some(mut at) = at.member("headers") else { return };
    for (name, value) in &otlp.headers {
        let good = http::HeaderName::try_from(name).is_ok() && http::HeaderValue::try_from(value.expose()).is_ok();
        if let (false, Some(mut at)) = (good, at.member(name)) {
            at.error(format!("`{name}` is no name of a header field, or its value holds a character that no header can carry."));
        }
    }
}

/// What is wrong with an address of a collector.
pub fn check_endpoint(url: &str) -> Result<(), String> {
    match reqwest::Url::parse(url) {
        Err(e) => Err(format!("`{url}` is not a URL: {e}; write it like `http://collector.example:4318`.")),
        Ok(u) if !matches!(u.scheme(), "http" | "https") => Err(format!("`{url}` has the scheme `{}`; use `http` or `https`.", u.scheme())),
        Ok(u) if u.query().is_some() || u.fragment().is_some() => Err(format!("`{url}` must end with its path.")),
        Ok(_) => Ok(()),
    }
}
