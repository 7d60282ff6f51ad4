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
mod speaker;

use std::path::PathBuf;
use std::sync::Arc;

use futures_util::{StreamExt as _, stream};
use llm_codec::hub::{ChatAnswer, ChatError, Collector, StreamEvent};
use llm_codec::{Format, Loss, StreamLosses};
use load::{Recording, Response};
use serde_json::Value;
use speaker::Speaker;
use wasmgate_tests::{Client, Gateway, Received, Reply, Upstream, repo};

use crate::setup;

/// Who takes part: each as a client, and each as an upstream.
pub const CLIENTS: [Speaker; 4] = [
    Speaker {
        format: Format::OpenaiChat,
        provider: "openai",
        client: "/v1/chat/completions",
        upstream: ("/v1", "/chat/completions"),
        in_body: true,
    },
    Speaker {
        format: Format::AnthropicMessages,
        provider: "anthropic",
        client: "/anthropic/v1/messages",
        upstream: ("/v1", "/messages"),
        in_body: true,
    },
    Speaker {
        format: Format::OpenaiResponses,
        provider: "openai-responses",
        client: "/v1/responses",
        upstream: ("/v1", "/responses"),
        in_body: true,
    },
    Speaker {
        format: Format::GeminiGenerate,
        provider: "gemini",
        client: "/v1beta/models/",
        upstream: ("", "/v1beta/models/"),
        in_body: false,
    },
];

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
        let known = |r: &Recording| CLIENTS.iter().any(|s| s.format == r.format);
        let recordings = Arc::new(load::recordings(&root).0.into_iter().filter(known).collect::<Vec<_>>());
        let script = Arc::clone(&recordings);
        let upstream = Upstream::start(move |received| reply(&script, received)).await;
        let providers: Vec<String> = CLIENTS.iter().map(|s| s.entry(&upstream.url())).collect();
        let config = setup::config(&providers.concat(), "").replace("  routing: {}\n", "  gemini-api: {}\n  routing: {}\n");
        let gateway = Gateway::start(&config).await;
        let client = Client::new(&gateway);
        Some(Self { recordings, shared: load::is_shared(&root), gateway, client, upstream })
    }

    /// Sends each request to its path, many at once, and gives the answers in their order.
    pub async fn all<T>(&self, requests: impl IntoIterator<Item = ((String, Value), T)>) -> Vec<(T, wasmgate_tests::Answer)> {
        let exchanges = requests.into_iter().map(|((path, request), tag)| {
            let client = self.client.clone();
            async move { (tag, client.post(&path, &request).await) }
        });
        stream::iter(exchanges).buffered(AT_ONCE).collect().await
    }
}

/// Name of the model that stands for a recording, at the provider that speaks its format.
pub fn model(format: Format, index: usize) -> String {
    format!("{}/r{index}", Speaker::of(format).provider)
}

/// `rN` is the recording with that number; any other model is answered with a text.
fn reply(recordings: &[Recording], received: &Received) -> Reply {
    let (speaker, model) = Speaker::asked(received).expect("a path of a known format");
    let recording = model.strip_prefix('r').and_then(|n| n.parse::<usize>().ok()).and_then(|n| recordings.get(n));
    let Some(r) = recording else { return speaker.notes(received) };
    match &r.response {
        Response::Body(body) => {
            let reply = Reply::json(r.status, body);
            r.retry_after.iter().fold(reply, |reply, after| reply.header("retry-after", after))
        }
        // Gemini's stream without events is one JSON document, which grows.
        Response::Stream(bytes) if bytes.starts_with(b"[") => Reply::new(r.status, "application/json", bytes.clone()),
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
