//! Configurations that several themes use.

use std::sync::Arc;

use wasmgate_tests::answers::{Says, TEXT};
use wasmgate_tests::{Client, Dialect, Gateway, Reply, Upstream};

/// Key that the gateway has for its upstreams; it must never come out again.
pub const PROVIDER_KEY: &str = "provider-key-that-stays-inside";

/// A provider of the configuration, named `up`.
pub fn provider(format: Dialect, upstream: &Upstream) -> String {
    named_provider("up", format, &upstream.url())
}

/// A provider of any name and address.
pub fn named_provider(name: &str, format: Dialect, url: &str) -> String {
    format!("  {name}: {{type: {}, base_url: \"{url}/v1\", api_key: {PROVIDER_KEY}}}\n", format.provider_type())
}

/// Both dialects and routing in front of these providers, with whatever else is said at the top.
pub fn config(providers: &str, more: &str) -> String {
    format!("providers:\n{providers}extensions:\n  openai-api: {{}}\n  anthropic-api: {{}}\n  routing: {{}}\n{more}")
}

/// A gateway in front of one upstream.
pub async fn gateway(format: Dialect, upstream: &Upstream) -> (Gateway, Client) {
    let gateway = Gateway::start(&config(&provider(format, upstream), "")).await;
    let client = Client::new(&gateway);
    (gateway, client)
}

/// An upstream that answers everything with [`TEXT`].
pub async fn friendly(format: Dialect) -> Upstream {
    Upstream::start(move |r| Says::text(TEXT).reply(format, r)).await
}

/// An upstream that answers as the closure says for the model `bad`, and with [`TEXT`] otherwise; a gateway in front of it.
pub async fn moody(format: Dialect, bad: impl Fn() -> Reply + Send + Sync + 'static) -> (Upstream, Gateway, Client) {
    let bad = Arc::new(bad);
    let upstream = Upstream::start(move |r| if r.model() == "bad" { bad() } else { Says::text(TEXT).reply(format, r) }).await;
    let (gateway, client) = gateway(format, &upstream).await;
    (upstream, gateway, client)
}

/// The gateway still answers.
pub async fn assert_serves(client: &Client, dialect: Dialect) {
    let answer = client.post(dialect.path(), &dialect.request("good", "still there?")).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    assert_eq!(dialect.text(&answer.json()), TEXT);
}

/// The record of a request says how it ended.
pub async fn assert_record(client: &Client, id: &str, outcome: &str) {
    let record = client.record(id).await;
    assert_eq!(record["outcome"], outcome, "{record}");
}
