//! What the sandbox costs: one call of a hook, one batch of a stream, one new instance, with the real components.
//!
//! `cargo bench -p wasmgate` after `cargo xtask build`. `docs/performance.md` keeps the figures.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;

use divan::Bencher;
use llm_codec::hub::{BlockDelta, BlockId, BlockStart, Delta, Part, StreamEvent, StreamStart};
use tokio::runtime::Runtime;
use wasmgate::deploy::Sources;
use wasmgate::extensions::bindings::exports::wasmgate::extension::dialect::{EncodeOptions, GenerateHead};
use wasmgate::extensions::{Encoder, Extension};
use wasmgate::gateway::Gateway;
use wasmgate::pipeline::{Context, Exchange, Incoming, Trace};

fn main() {
    divan::main();
}

const CONFIG: &str = "
providers: {local: {type: echo}}
aliases: {fast: echo}
extensions:
  openai-api:
  anthropic-api:
  routing:
";

/// Fixtures that do as little as an extension can: read model and key, let every event pass.
const FIXTURES: [&str; 2] = ["reads", "passes"];

/// A gateway that was started, and the runtime that it runs in.
struct Bench {
    runtime: Runtime,
    gateway: Arc<Gateway>,
}

impl Bench {
    fn start() -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let file = folder.path().join("bench.yaml");
        let components = std::env::var_os("WASMGATE_COMPONENTS")
            .map_or_else(|| PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../target/components")), PathBuf::from);
        let entry = |name| format!("  {name}: {{component: \"{}/fixtures/{name}.wasm\"}}\n", components.display());
        std::fs::write(&file, CONFIG.to_owned() + &FIXTURES.map(entry).concat()).expect("the configuration is written");
        let sources = Sources { config: file, set: Vec::new(), components: Some(components) };
        let checked = sources.read().unwrap_or_else(|e| panic!("run `cargo xtask build` first: {e}"));
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        let gateway = runtime.block_on(Gateway::start(sources, checked)).expect("the gateway starts");
        Self { runtime, gateway }
    }

    fn extension(&self, name: &str) -> Arc<Extension> {
        self.gateway.deploy.live().stable.extensions.find(name).cloned().expect("it is configured")
    }

    fn exchange(&self, model: &str, bytes: usize) -> Arc<Exchange> {
        let head = GenerateHead { format: "openai-chat".into(), model: model.into(), stream: false, include_usage: false };
        let incoming = Arc::new(incoming(model, bytes));
        let context =
            Context { gateway: Arc::clone(&self.gateway), generation: Arc::clone(&self.gateway.deploy.live().stable), debug: false };
        Arc::new(Exchange::new(context, "bench".into(), incoming, self.extension("openai-api"), head, Trace::default()))
    }
}

/// A chat request of about this size.
fn incoming(model: &str, bytes: usize) -> Incoming {
    let text = "word ".repeat(bytes / 5);
    let body = serde_json::json!({"model": model, "temperature": 0.5, "messages": [{"role": "user", "content": text}]}).to_string();
    let (head, ()) = http::Request::post("/v1/chat/completions").body(()).expect("a request").into_parts();
    Incoming::json(head, Vec::new(), Instant::now(), body.into()).unwrap_or_else(|_| panic!("it is JSON"))
}

fn options() -> EncodeOptions {
    EncodeOptions { format: "openai-chat".into(), include_usage: true, id: "bench".into(), model: "m".into(), created: 0 }
}

fn deltas(count: usize) -> Vec<StreamEvent> {
    let at = BlockId { choice: 0, block: 0 };
    let delta = || StreamEvent::BlockDelta(BlockDelta { at, delta: Delta::Text("a few words".into()), extras: Vec::new() });
    (0..count).map(|_| delta()).collect()
}

/// A call that does nothing: what every other figure contains.
#[divan::bench]
fn empty_call(bencher: Bencher) {
    let bench = Bench::start();
    let extension = bench.extension("reads");
    bencher.bench_local(|| bench.runtime.block_on(extension.self_test()).expect("it is well"));
}

/// `before-generate` that reads the model and the header field of a key.
#[divan::bench]
fn before_generate_that_reads_model_and_key(bencher: Bencher) {
    let bench = Bench::start();
    let (reads, exchange) = (bench.extension("reads"), bench.exchange("fast", 1_000));
    let call = exchange.call_info();
    bencher.bench_local(|| bench.runtime.block_on(reads.before_generate(&exchange, &call)).expect("it decides"));
}

/// One batch of a stream through a filter that lets it pass, by number of events.
#[divan::bench(args = [1, 16])]
fn filter_batch(bencher: Bencher, events: usize) {
    let bench = Bench::start();
    let (passes, exchange, batch) = (bench.extension("passes"), bench.exchange("fast", 1_000), deltas(events));
    let opened = bench.runtime.block_on(passes.open_filter(&exchange, &exchange.call_info()));
    let mut filter = opened.expect("it opens").expect("it wants to see");
    bencher.bench_local(|| bench.runtime.block_on(filter.events(&batch, 0, false)).expect("it looks"));
}

/// `before-generate` of `routing`: reads the model and chooses a target.
#[divan::bench]
fn before_generate(bencher: Bencher) {
    let bench = Bench::start();
    let (routing, exchange) = (bench.extension("routing"), bench.exchange("fast", 1_000));
    let call = exchange.call_info();
    bencher.bench_local(|| bench.runtime.block_on(routing.before_generate(&exchange, &call)).expect("it decides"));
}

/// `dialect.accept`: the head of a request, with its body left in the host.
#[divan::bench(args = [1_000, 100_000, 1_000_000])]
fn accept(bencher: Bencher, bytes: usize) {
    let bench = Bench::start();
    let (dialect, incoming, trace) = (bench.extension("openai-api"), Arc::new(incoming("fast", bytes)), Trace::default());
    bencher.bench_local(|| bench.runtime.block_on(dialect.accept(&trace, &incoming)).expect("no trap").expect("it is accepted"));
}

/// `dialect.decode`: the whole body enters the guest.
#[divan::bench(args = [1_000, 100_000])]
fn decode(bencher: Bencher, bytes: usize) {
    let bench = Bench::start();
    let (dialect, incoming, trace) = (bench.extension("openai-api"), incoming("fast", bytes), Trace::default());
    bencher.bench_local(|| {
        bench.runtime.block_on(dialect.decode(&trace, "openai-chat", incoming.body())).expect("no trap").expect("it is decoded")
    });
}

/// One batch of a stream through the Anthropic dialect's encoder, by number of events.
#[divan::bench(args = [1, 16])]
fn stream_batch(bencher: Bencher, events: usize) {
    let bench = Bench::start();
    let (dialect, trace, batch) = (bench.extension("anthropic-api"), Trace::default(), deltas(events));
    let mut encoder: Encoder = bench.runtime.block_on(dialect.encoder(&trace, &options())).expect("an encoder");
    let at = BlockId { choice: 0, block: 0 };
    let start =
        StreamStart { format: "openai-chat".into(), id: "x".into(), model: "m".into(), created: None, usage: None, extras: Vec::new() };
    let opening = [StreamEvent::Start(start), StreamEvent::BlockStart(BlockStart { at, part: Part::text("") })];
    bench.runtime.block_on(encoder.events(&trace, &opening, 0)).expect("it is written");
    bencher.bench_local(|| bench.runtime.block_on(encoder.events(&trace, &batch, 0)).expect("it is written"));
    // A stream that is left in the middle retires its instance; that is not part of the figure.
    drop(encoder);
}

/// A stream's fixed cost in a dialect: an encoder that opens and ends.
#[divan::bench]
fn stream_open_and_finish(bencher: Bencher) {
    let bench = Bench::start();
    let (dialect, trace) = (bench.extension("openai-api"), Trace::default());
    bencher.bench_local(|| {
        bench.runtime.block_on(async {
            let encoder = dialect.encoder(&trace, &options()).await.expect("an encoder");
            encoder.finish(&trace, None).await.expect("it ends")
        })
    });
}

/// A new instance, configured: what `isolation: per-request` adds to every call, and what replaces a retired one.
#[divan::bench]
fn instantiate(bencher: Bencher) {
    let bench = Bench::start();
    let routing = bench.extension("routing");
    bencher.bench_local(|| {
        bench.runtime.block_on(async {
            let mut lease = routing.check_out().await.expect("an instance");
            lease.retire();
        });
    });
}
