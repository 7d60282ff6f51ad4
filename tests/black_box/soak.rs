//! Swaps by the hundred under load: nothing fails, nothing is cut off, nothing is mixed, and memory does not grow.
//!
//! `cargo xtask soak --swaps 1000` runs it for longer than the tests do.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::Value;
use tokio::sync::watch;
use wasmgate_tests::answers::{Says, TEXT};
use wasmgate_tests::versions::unmarked;
use wasmgate_tests::{Client, Dialect, Gate, Gateway, Received, Reply, Step, Upstream, Version, soon};

use crate::{deploy, extensions, setup};

/// Clients that stream at once.
const CLIENTS: usize = 64;

/// Clients whose upstream stops in the middle of each answer until the next swap is done, so that no swap is without running streams.
const HELD: usize = 16;

/// Streams that end between two swaps at least.
const BETWEEN: usize = 16;

/// Streams before the first swap: the process grows to the size that this load needs.
const WARM_UP: usize = 512;

/// The same for a long soak, which looks closer at how the process grows.
const LONG_WARM_UP: usize = 8_192;

/// How much larger or smaller the process may be at the end than it was early on.
const GROWTH: f64 = 0.10;

/// How long a swap of code that was compiled before may take on a quiet machine, in 99 of 100: upload, gate and the write to the disk.
const SWAP_TIME: Duration = Duration::from_millis(100);

/// An extension that is swapped.
struct Swapped {
    name: &'static str,
    /// Its lines in the configuration's `extensions`, when it is not in every configuration of these tests.
    section: &'static str,
}

/// Who is swapped, in turn. Another one is another line here.
const SWAPPED: [Swapped; 9] = [
    Swapped { name: "openai-api", section: "" },
    Swapped { name: "anthropic-api", section: "" },
    Swapped { name: "routing", section: "" },
    Swapped { name: "swaps", section: "" },
    // It looks at every request, and at each try.
    Swapped { name: "dynamic", section: "  dynamic: {}\n" },
    // It reads every stream, and looks for code in it at its end.
    Swapped { name: "validation", section: "  validation: {config: {streams: annotate}}\n" },
    // It looks at every request, whether it asks for candidates.
    Swapped { name: "best-of-n", section: "  best-of-n: {grant: [clock, generate, metrics, providers, wasi]}\n" },
    // These two have paths of their own and no part in a stream: what is swapped under load is that nobody notices.
    Swapped { name: "mcp", section: "  mcp: {grant: [clock, generate, kv, random, routes, wasi]}\n" },
    Swapped { name: "web-ui", section: "  web-ui: {}\n" },
];

/// Swaps when nobody says otherwise: five and more of each.
const SWAPS: usize = 50;

fn swaps() -> usize {
    let asked = std::env::var("WASMGATE_SOAK_SWAPS").ok().filter(|v| !v.is_empty());
    asked.map_or(SWAPS, |v| v.parse().expect("WASMGATE_SOAK_SWAPS is a number"))
}

/// An upstream that answers at once, and for the model `held-N` only half until gate N is opened.
async fn upstream(format: Dialect, gates: Arc<Vec<Gate>>) -> Upstream {
    Upstream::start(move |r: &Received| {
        let events = Says::text(TEXT).stream(format, &r.model());
        let half = events.len() / 2;
        let mut steps = vec![Step::Send(events[..half].concat().into())];
        if let Some(number) = r.model().strip_prefix("held-") {
            let gate: &Gate = &gates[number.parse::<usize>().expect("a number")];
            steps.push(Step::Wait(gate.clone()));
        }
        steps.extend(events[half..].iter().map(|e| Step::Send(e.clone().into())));
        Reply::events(steps)
    })
    .await
}

/// What a client found.
struct Caller {
    client: Client,
    number: usize,
    dialect: Dialect,
    model: String,
}

impl Caller {
    /// One stream, and what is wrong with it.
    async fn stream(&self) -> Result<(), String> {
        let dialect = self.dialect;
        let mut stream = self.client.stream(dialect.path(), &dialect.stream_request(&self.model, "x")).await;
        let events = stream.rest().await;
        let said = || format!("client {} ({dialect:?}, {}): ", self.number, self.model);
        if stream.status != 200 {
            return Err(format!("{}status {}: {}", said(), stream.status, stream.text()));
        }
        if stream.header("x-wasmgate-generation").parse::<u64>().is_err() {
            return Err(format!("{}no generation", said()));
        }
        if let Some(broken) = &stream.broken {
            return Err(format!("{}cut off: {broken}", said()));
        }
        if !events.last().is_some_and(|e| dialect.is_end(e)) {
            return Err(format!("{}no clean end: {}", said(), stream.text()));
        }
        let (marks, text) = unmarked(&dialect.streamed_text(&events));
        let header = BTreeSet::from([stream.header("x-swaps").to_owned()]);
        if marks != header || header.contains("") {
            return Err(format!("{}marks {marks:?} in an answer of {header:?}", said()));
        }
        if text != TEXT {
            return Err(format!("{}another text: {text}", said()));
        }
        Ok(())
    }

    /// Streams until it is told to stop. What was wrong.
    async fn streams(self, done: Arc<watch::Sender<usize>>, stop: watch::Receiver<bool>) -> Vec<String> {
        let mut wrong = Vec::new();
        while !*stop.borrow() {
            wrong.extend(self.stream().await.err());
            done.send_modify(|n| *n += 1);
        }
        wrong
    }
}

/// Both versions of an extension: the same code, or the same with another mark.
fn versions(name: &str) -> [Version; 2] {
    if name == "swaps" {
        return [Version::swaps("0.2.0", "even", "plain"), Version::swaps("0.3.0", "odd", "plain")];
    }
    ["0.2.0", "0.3.0"].map(|number| Version::of(name).numbered(number))
}

/// A swap, as the operator and the gateway saw it.
struct Swap {
    took: Duration,
    attempt: Value,
}

impl Swap {
    /// Whether it had to compile. Each version is compiled once.
    fn compiled(&self) -> bool {
        self.steps().any(|(step, _, detail)| step == "compile" && detail == "compiled")
    }

    fn steps(&self) -> impl Iterator<Item = (&str, f64, &str)> {
        let steps = self.attempt["steps"].as_array().expect("an attempt has steps");
        steps.iter().map(|s| (s["step"].as_str().unwrap_or(""), s["ms"].as_f64().unwrap_or(0.0), s["detail"].as_str().unwrap_or("")))
    }

    /// Where its time went, for people.
    fn told(&self) -> String {
        let steps = self.steps().filter(|(_, ms, _)| *ms >= 1.0).map(|(step, ms, _)| format!("{step} {ms:.1}"));
        let (took, inside) = (milliseconds(self.took), self.attempt["duration_ms"].as_f64().unwrap_or(0.0));
        format!("{} took {took:.1} ms, in the gate {inside:.1}: {}", self.attempt["extension"], steps.collect::<Vec<_>>().join(", "))
    }
}

fn milliseconds(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}

/// A share of sorted times.
fn percentile(sorted: &[Duration], share: f64) -> Duration {
    let at = (sorted.len().saturating_sub(1) as f64 * share).round() as usize;
    sorted.get(at).copied().unwrap_or_default()
}

#[tokio::test]
async fn soak() {
    let swaps = swaps();
    let gates: Arc<Vec<Gate>> = Arc::new((0..HELD).map(|_| Gate::default()).collect());
    let (openai, anthropic) = (upstream(Dialect::OpenAi, Arc::clone(&gates)).await, upstream(Dialect::Anthropic, Arc::clone(&gates)).await);
    let providers =
        [("o", Dialect::OpenAi, &openai), ("a", Dialect::Anthropic, &anthropic)].map(|(n, f, u)| setup::named_provider(n, f, &u.url()));
    let sections: String = SWAPPED.iter().map(|swapped| swapped.section).collect();
    let more = format!("{}{sections}{}", extensions::fixture("swaps", ""), deploy::section("max_divergence: 1"));
    let config = setup::config(&providers.concat(), &more);
    let builder = Gateway::builder(&config);
    let state = builder.folder().join("state");
    let builder = builder.set("logging.level=warn,wasmgate::cli=info").set(format!("deploy.state={}", state.display()));
    let gateway = builder.start().await;

    let (done, stop) = (Arc::new(watch::channel(0).0), watch::channel(false).0);
    let callers: Vec<_> = (0..CLIENTS)
        .map(|number| {
            // Each pair of dialect and format has clients of both kinds.
            let provider = ["o", "a"][number / 2 % 2];
            let model = if number < HELD { format!("{provider}/held-{number}") } else { format!("{provider}/m") };
            let caller = Caller { client: Client::new(&gateway), number, dialect: Dialect::ALL[number % 2], model };
            tokio::spawn(caller.streams(Arc::clone(&done), stop.subscribe()))
        })
        .collect();

    // The operator has a thread of its own, as he would have a machine of his own: his swap does not queue behind the clients' answers.
    let own = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().expect("a thread starts");
    let operator = Arc::new(Client::new(&gateway));
    let versions = SWAPPED.map(|swapped| versions(swapped.name));
    // Until each extension was replaced some times, the process is not as large as this load makes it.
    let (early, mut early_kib) = (swaps.div_ceil(2).min(swaps.div_ceil(10).max(50)), 0);
    let mut made = Vec::with_capacity(swaps);
    let warm_up = if swaps > SWAPS { LONG_WARM_UP } else { WARM_UP };
    let mut ended = done.subscribe();
    soon("stream of the first ones", ended.wait_for(|n| *n >= warm_up)).await.expect("there are clients");
    for number in 0..swaps {
        let until = *ended.borrow() + BETWEEN;
        soon("stream between two swaps", ended.wait_for(|n| *n >= until)).await.expect("there are clients");
        let (who, round) = (number % SWAPPED.len(), number / SWAPPED.len());
        let version = &versions[who][round % 2];
        let (operator, component) = (Arc::clone(&operator), Vec::from(version));
        let swap = own.spawn(async move {
            let asked = Instant::now();
            let attempt = operator.swap(SWAPPED[who].name, component, "").await;
            Swap { took: asked.elapsed(), attempt }
        });
        let swap = swap.await.expect("the operator does not panic");
        assert_eq!(swap.attempt["outcome"], "published", "{}", swap.attempt);
        made.push(swap);
        gates.iter().for_each(Gate::open);
        if number + 1 == early {
            early_kib = gateway.resident_kib();
        }
        if (number + 1) % (swaps / 10).max(1) == 0 {
            println!("soak: {} of {swaps} swaps, {} streams, {} KiB", number + 1, *ended.borrow(), gateway.resident_kib());
        }
    }
    let late_kib = gateway.resident_kib();
    let streams = *ended.borrow();

    stop.send_replace(true);
    let all = async {
        let mut wrong = Vec::new();
        for caller in callers {
            // Whoever is held waits for one more swap, which does not come.
            while !caller.is_finished() {
                gates.iter().for_each(Gate::open);
                tokio::task::yield_now().await;
            }
            wrong.extend(caller.await.expect("a client does not panic"));
        }
        wrong
    };
    let wrong = soon("end of all clients", all).await;
    let (cold, mut warm): (Vec<_>, Vec<_>) = made.into_iter().partition(Swap::compiled);
    warm.sort_by_key(|s| s.took);
    let times: Vec<Duration> = warm.iter().map(|s| s.took).collect();
    let (p50, p99) = (percentile(&times, 0.50), percentile(&times, 0.99));
    let longest_cold = cold.iter().map(|s| s.took).max().unwrap_or_default();
    let growth = late_kib as f64 / early_kib as f64 - 1.0;
    println!(
        "soak: {swaps} swaps under {CLIENTS} clients, {streams} streams, {} of them wrong; a swap takes {:.1} ms (p50), {:.1} ms (p99), and {:.1} ms \
         at most when it compiles ({} did); {early_kib} KiB after {early} swaps, {late_kib} KiB at the end ({:+.1} %)",
        wrong.len(),
        milliseconds(p50),
        milliseconds(p99),
        milliseconds(longest_cold),
        cold.len(),
        growth * 100.0,
    );
    for swap in warm.iter().rev().take(5).chain(warm.get(warm.len() / 2)) {
        println!("soak: {}", swap.told());
    }
    assert!(wrong.is_empty(), "{} streams were wrong, among them\n{}", wrong.len(), wrong[..wrong.len().min(5)].join("\n"));
    // Whoever asks for a long soak has a quiet machine for it.
    assert!(swaps <= SWAPS || p99 < SWAP_TIME, "a swap takes {p99:?} (p99); it may take {SWAP_TIME:?}");
    assert!(growth.abs() <= GROWTH, "the process had {early_kib} KiB after {early} swaps and {late_kib} KiB at the end");
    own.shutdown_background();
    // The one that serves now is the last one that was sent.
    for (who, Swapped { name, .. }) in SWAPPED.iter().enumerate() {
        let sent = (0..swaps).rfind(|n| n % SWAPPED.len() == who);
        let expect = sent.map_or("0.1.0", |n| ["0.2.0", "0.3.0"][n / SWAPPED.len() % 2]);
        assert_eq!(operator.extension(name).await["version"], expect, "{name}");
    }
}
