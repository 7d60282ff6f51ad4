//! Recorded traffic through the gateway: an upstream answers what was recorded, and clients of every dialect must find in it what the
//! recording holds. What they cannot find must be a loss that was told, or one of the differences that `known` gives a reason for.
//!
//! The recordings are not part of the repository; `CORPUS_DIR` says where they are.

mod answers;
mod features;
mod known;
#[allow(dead_code, reason = "the codec's own tests use all of it")]
#[path = "../../../wit/codec/tests/corpus/load.rs"]
mod load;
mod matrix;
mod requests;
mod sdk;

use std::path::PathBuf;
use std::sync::Arc;

use futures_util::{StreamExt as _, stream};
use llm_codec::hub::{ChatAnswer, ChatError, Collector, StreamEvent};
use llm_codec::{Format, Loss, StreamLosses};
use load::{Recording, Response};
use serde_json::Value;
use wasmgate_tests::answers::Says;
use wasmgate_tests::{Client, Dialect, Gateway, Received, Reply, Upstream, repo};

use crate::setup;

/// Clients, and the formats of their dialects. A format without a dialect is still one of an upstream.
pub const CLIENTS: [(Dialect, Format); 3] =
    [(Dialect::OpenAi, Format::OpenaiChat), (Dialect::Anthropic, Format::AnthropicMessages), (Dialect::Responses, Format::OpenaiResponses)];

/// Exchanges under way at once.
const AT_ONCE: usize = 8;

/// A gateway with one provider for each format, all of them one upstream that knows the recordings.
pub struct Stage {
    pub recordings: Arc<Vec<Recording>>,
    /// The corpus is the one whose contents are known.
    pub shared: bool,
    pub gateway: Gateway,
    client: Client,
    pub upstream: Upstream,
}

impl Stage {
    /// None, after a line that says so, where there is no corpus.
    pub async fn open(test: &str) -> Option<Self> {
        let root = std::env::var_os("CORPUS_DIR").map_or_else(|| repo::path("../shared/corpus"), PathBuf::from);
        if !root.is_dir() {
            assert!(std::env::var_os("CI").is_none(), "no corpus of recorded traffic: set CORPUS_DIR");
            eprintln!("SKIPPED {test}: no corpus of recorded traffic, set CORPUS_DIR");
            return None;
        }
        let known = |r: &Recording| CLIENTS.iter().any(|(_, format)| *format == r.format);
        let recordings = Arc::new(load::recordings(&root).0.into_iter().filter(known).collect::<Vec<_>>());
        let script = Arc::clone(&recordings);
        let upstream = Upstream::start(move |received| reply(&script, received)).await;
        let providers: Vec<String> = CLIENTS.iter().map(|(d, _)| setup::named_provider(d.provider_type(), *d, &upstream.url())).collect();
        let config = setup::config(&providers.concat(), "");
        let gateway = Gateway::start(&config).await;
        let client = Client::new(&gateway);
        Some(Self { recordings, shared: load::is_shared(&root), gateway, client, upstream })
    }

    /// Sends each request to a dialect, many at once, and gives the answers in their order.
    pub async fn all<T>(&self, requests: impl IntoIterator<Item = (Dialect, Value, T)>) -> Vec<(T, wasmgate_tests::Answer)> {
        let exchanges = requests.into_iter().map(|(dialect, request, tag)| {
            let client = self.client.clone();
            async move { (tag, client.post(dialect.path(), &request).await) }
        });
        stream::iter(exchanges).buffered(AT_ONCE).collect().await
    }
}

/// Name of the model that stands for a recording, at the provider that speaks its format.
pub fn model(dialect: Dialect, index: usize) -> String {
    format!("{}/r{index}", dialect.provider_type())
}

/// The dialect of a format.
pub fn dialect(format: Format) -> Dialect {
    CLIENTS.iter().find(|(_, f)| *f == format).map(|(d, _)| *d).expect("recordings of other formats are left out")
}

/// `rN` is the recording with that number; any other model is answered with a text.
fn reply(recordings: &[Recording], received: &Received) -> Reply {
    let recording = received.model().strip_prefix('r').and_then(|n| n.parse::<usize>().ok()).and_then(|n| recordings.get(n));
    let Some(r) = recording else {
        let format = Dialect::ALL.into_iter().find(|d| received.path.ends_with(d.path().trim_start_matches("/anthropic")));
        return Says::text("Noted.").reply(format.expect("a path of a known format"), received);
    };
    match &r.response {
        Response::Body(body) => {
            let reply = Reply::json(r.status, body);
            r.retry_after.iter().fold(reply, |reply, after| reply.header("retry-after", after))
        }
        Response::Stream(bytes) => Reply::stream([bytes.clone()]),
        Response::Nothing => Reply::closed(),
    }
}

/// What a document or a stream says, read with the codec.
pub fn read(format: Format, streamed: bool, bytes: &[u8]) -> Result<ChatAnswer, ChatError> {
    if !streamed {
        return format.decode_answer(bytes);
    }
    let mut collector = Collector::new(format);
    events(format, bytes).iter().for_each(|event| collector.push(event));
    collector.finish()
}

fn events(format: Format, bytes: &[u8]) -> Vec<StreamEvent> {
    let (mut decoder, mut events) = (format.event_decoder(), Vec::new());
    decoder.push(bytes, &mut events);
    decoder.finish(&mut events);
    events
}

/// What a recorded answer loses for a client.
pub fn losses(r: &Recording, client: Format) -> Vec<Loss> {
    if client == r.format {
        return Vec::new();
    }
    match &r.response {
        Response::Body(body) => r.format.decode_answer(body.to_string().as_bytes()).map(|a| client.answer_losses(&a)).unwrap_or_default(),
        Response::Stream(bytes) => {
            let mut losses = StreamLosses::new(client);
            losses.events(&events(r.format, bytes));
            losses.found().into_iter().cloned().collect()
        }
        Response::Nothing => Vec::new(),
    }
}
