//! What the sandbox adds to a codec: decode and encode of a conversation of 100 KB, native and in the real component of its dialect.
//!
//! `cargo bench -p wasmgate --bench codec` after `cargo xtask build`. CPU time of the thread, both sides in turn, medians of rounds, and the
//! ratio: other programs on the machine take time from both. Extensions decode requests and encode answers; the rest is the host's own work.

use std::hint::black_box;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use llm_codec::hub::ChatAnswer;
use llm_codec::{EncodeOptions as RequestOptions, Format};
use rustix::time::{ClockId, clock_gettime};
use tokio::runtime::Runtime;
use wasmgate::deploy::Sources;
use wasmgate::extensions::Extension;
use wasmgate::extensions::bindings::exports::wasmgate::extension::dialect::EncodeOptions;
use wasmgate::gateway::Gateway;
use wasmgate::pipeline::Trace;

#[path = "../../wit/codec/tests/conversation/mod.rs"]
mod conversation;

const BYTES: usize = 100 << 10;
const ROUNDS: usize = 41;
/// Calls of a round, so that reading the clock does not count.
const CALLS: u32 = 10;

const CONFIG: &str = "
providers: {local: {type: echo}}
extensions:
  openai-api:
  anthropic-api:
  gemini-api:
";

/// A gateway that was started, the folder of its configuration, and the runtime that it runs in.
struct Bench {
    runtime: Runtime,
    gateway: Arc<Gateway>,
    _folder: tempfile::TempDir,
}

impl Bench {
    fn start() -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let file = folder.path().join("bench.yaml");
        let components = std::env::var_os("WASMGATE_COMPONENTS")
            .map_or_else(|| PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../target/components")), PathBuf::from);
        std::fs::write(&file, CONFIG).expect("the configuration is written");
        let sources = Sources { config: file, set: Vec::new(), components: Some(components) };
        let checked = sources.read().unwrap_or_else(|e| panic!("run `cargo xtask build` first: {e}"));
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        let gateway = runtime.block_on(Gateway::start(sources, checked)).expect("the gateway starts");
        Self { runtime, gateway, _folder: folder }
    }

    fn dialect(&self, format: Format) -> Arc<Extension> {
        let name = match format {
            Format::OpenaiChat | Format::OpenaiResponses | Format::OpenaiCompletions => "openai-api",
            Format::AnthropicMessages => "anthropic-api",
            Format::GeminiGenerate => "gemini-api",
        };
        self.gateway.deploy.live().stable.extensions.find(name).cloned().expect("it is configured")
    }

    fn decode(&self, dialect: &Arc<Extension>, format: Format, body: &[u8]) {
        let decoded = self.runtime.block_on(dialect.decode(&Trace::default(), format.as_str(), body));
        black_box(decoded.expect("no trap").expect("it is decoded"));
    }

    fn encode(&self, dialect: &Arc<Extension>, options: &EncodeOptions, answer: &ChatAnswer) -> Vec<u8> {
        let written = self.runtime.block_on(dialect.encode_answer(&Trace::default(), options, answer, BYTES));
        written.expect("no trap")
    }
}

fn main() {
    let bench = Bench::start();
    println!("{:<20} {:>9} {:>12} {:>12} {:>8}", "100 KB, CPU µs", "bytes", "native", "component", "ratio");
    for format in conversation::FORMATS {
        let dialect = bench.dialect(format);
        let body = conversation::many_messages(format, BYTES);
        report(
            &format!("{} decode", short(format)),
            body.len(),
            || drop(black_box(format.decode_request(black_box(&body)).expect("it is decoded"))),
            || bench.decode(&dialect, format, &body),
        );
        let answer = conversation::answer(format, BYTES);
        let options = EncodeOptions {
            format: format.as_str().into(),
            include_usage: true,
            id: "answer-1".into(),
            model: "model-1".into(),
            created: 1,
        };
        let native = format.encode_answer(&answer, &conversation::options()).body;
        assert_eq!(native, bench.encode(&dialect, &options, &answer), "both write the same");
        report(
            &format!("{} encode", short(format)),
            native.len(),
            || drop(black_box(format.encode_answer(black_box(&answer), &conversation::options()))),
            || drop(black_box(bench.encode(&dialect, &options, &answer))),
        );
        let hub = format.decode_request(&body).expect("it is decoded");
        let request = cpu(&mut || drop(black_box(format.encode_request(black_box(&hub), &RequestOptions::default()))));
        println!("{:<20} {:>9} {:>12.1} {:>12} {:>8}", format!("{} request", short(format)), body.len(), request, "-", "-");
    }
}

fn short(format: Format) -> &'static str {
    format.as_str().split_once('-').map_or(format.as_str(), |(vendor, rest)| if vendor == "openai" { rest } else { vendor })
}

/// Both sides in turn, in rounds.
fn report(name: &str, bytes: usize, mut native: impl FnMut(), mut component: impl FnMut()) {
    let rounds: Vec<(f64, f64)> = (0..ROUNDS).map(|_| (cpu(&mut native), cpu(&mut component))).collect();
    let (inside, outside) = (median(rounds.iter().map(|r| r.1)), median(rounds.iter().map(|r| r.0)));
    let ratio = median(rounds.iter().map(|(native, component)| component / native));
    println!("{name:<20} {bytes:>9} {outside:>12.1} {inside:>12.1} {ratio:>8.2}");
}

/// CPU time of a call, in microseconds.
fn cpu(call: &mut impl FnMut()) -> f64 {
    let now = || Duration::try_from(clock_gettime(ClockId::ThreadCPUTime)).expect("a time");
    let before = now();
    (0..CALLS).for_each(|_| call());
    ((now() - before) / CALLS).as_secs_f64() * 1e6
}

fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}
