//! The ledger against what the upstream says that it delivered, for each store of rows: requests at random, with streams, races, faults and
//! clients that leave; and a gateway that is killed in the middle of them.
//!
//! `cargo xtask soak --requests 20000` runs it for longer than the tests do.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use wasmgate_tests::answers::{Says, TEXT};
use wasmgate_tests::databases::Postgres;
use wasmgate_tests::gateway::Builder;
use wasmgate_tests::{Client, Dialect, Gateway, Received, Reply, Step, Upstream, soon};

use crate::ledger::{self, KEY, rows};
use crate::setup::{self, PROVIDER_KEY};

/// Requests when nobody says otherwise.
const REQUESTS: u64 = 4_000;

/// Clients at once.
const AT_ONCE: u64 = 16;

/// How long before a kill an answer may have been complete whose row is lost: what `storage.flush_interval` says, and what a busy machine needs to
/// begin a row and to write it.
const LOST: Duration = Duration::from_secs(5);

/// How long the last rows may need.
const PATIENCE: Duration = Duration::from_secs(120);

fn requests() -> u64 {
    let asked = std::env::var("WASMGATE_SOAK_REQUESTS").ok().filter(|v| !v.is_empty());
    asked.map_or(REQUESTS, |v| v.parse().expect("WASMGATE_SOAK_REQUESTS is a number"))
}

/// A number that looks random, and is the same on every machine (splitmix64).
fn mixed(n: u64) -> u64 {
    let z = n.wrapping_mul(0x9e37_79b9_7f4a_7c15).wrapping_add(0x1234_5678_9abc_def0);
    let z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// What becomes of a request, by its number.
fn fate(n: u64) -> &'static str {
    ["ok", "ok", "ok", "ok", "race", "fail", "cut", "hang", "denied", "busy"][(mixed(n) % 10) as usize]
}

/// The tokens that one of the upstreams counts for a request.
fn told(n: u64, second: bool) -> (u64, u64) {
    let salt = if second { 1 << 40 } else { 0 };
    (10 + mixed(n ^ salt) % 500, 1 + mixed(n ^ salt ^ (1 << 41)) % 300)
}

/// What the upstream knows.
#[derive(Default)]
struct Books {
    /// Tokens of each whole answer, by request and by which of the upstreams it was.
    delivered: Mutex<BTreeMap<(u64, bool), (u64, u64)>>,
    /// Requests that arrived and whose clients leave.
    hung: AtomicU64,
}

/// What clients know.
#[derive(Default)]
struct Seen {
    /// The status of each answer, and when it was complete.
    answers: Mutex<BTreeMap<u64, (u16, Instant)>>,
    killed: AtomicBool,
}

impl Books {
    fn reply(&self, r: &Received) -> Reply {
        let (model, second) = (r.model(), r.path.starts_with("/two/"));
        let number: u64 = model.trim_start_matches("m-").parse().expect("a number of a request");
        let (input, output) = told(number, second);
        let usage = json!({"prompt_tokens": input, "completion_tokens": output, "total_tokens": input + output});
        let says = Says { usage: Some(usage), ..Says::text(TEXT) };
        let broken = |end: Step| {
            let events = says.stream(Dialect::OpenAi, &model);
            Reply::events(vec![Step::Send(events[..3].concat().into()), end])
        };
        match (fate(number), r.is_stream()) {
            ("fail", _) => Reply::json(500, &json!({"error": {"message": "no", "type": "server_error", "param": null, "code": null}})),
            ("busy", _) => Reply::json(429, &json!({"error": {"message": "busy", "type": "rate_limit", "param": null, "code": null}})),
            ("cut", true) => broken(Step::Cut),
            ("cut", false) => Reply::closed(),
            ("hang", stream) => {
                self.hung.fetch_add(1, Ordering::Relaxed);
                if stream { broken(Step::Hang) } else { Reply::silence() }
            }
            _ => {
                self.delivered.lock().unwrap().insert((number, second), (input, output));
                says.reply(Dialect::OpenAi, r)
            }
        }
    }

    async fn upstream(self: &Arc<Self>) -> Upstream {
        let books = Arc::clone(self);
        Upstream::start(move |r| books.reply(r)).await
    }
}

/// A gateway whose rows are kept as `storage` says, in front of one upstream under two names.
fn gateway(upstream: &Upstream, storage: &str) -> Builder {
    let url = upstream.url();
    let providers = format!(
        "  up: {{type: openai, base_url: \"{url}/v1\", api_key: {PROVIDER_KEY}}}\n  two: {{type: openai, base_url: \"{url}/two/v1\", api_key: {PROVIDER_KEY}}}\n  race: {{type: racing, config: {{providers: [up, two], strategy: quality, timeout_ms: 60000}}}}\n"
    );
    let keys = format!(
        "api_keys:\n  - {{key: {KEY}-a, name: a, rate_limit_tpm: 1000000000, max_parallel_requests: 1000}}\n  - {{key: {KEY}-b, name: b, allowed_models: []}}\n"
    );
    let config = format!("default_provider: up\n{}{keys}{storage}", setup::config(&providers, ""));
    Gateway::builder(&config).set("logging.level=warn,wasmgate::cli=info")
}

/// Sends these requests, so many at once.
fn drive(client: &Client, numbers: std::ops::Range<u64>, seen: &Arc<Seen>) -> Vec<tokio::task::JoinHandle<()>> {
    let worker = |worker: u64| {
        let (client, seen, numbers) = (client.clone(), Arc::clone(seen), numbers.clone());
        tokio::spawn(async move {
            for n in numbers.skip(worker as usize).step_by(AT_ONCE as usize) {
                if !send(&client, n, &seen).await {
                    return;
                }
            }
        })
    };
    (0..AT_ONCE).map(worker).collect()
}

/// One request. False when the gateway is gone.
async fn send(client: &Client, n: u64, seen: &Seen) -> bool {
    let dialect = Dialect::ALL[(mixed(n) >> 16) as usize % 3];
    let stream = mixed(n) >> 24 & 1 == 1;
    let model = if fate(n) == "race" { format!("race/m-{n}") } else { format!("m-{n}") };
    let body = if stream { dialect.stream_request(&model, "x") } else { dialect.request(&model, "x") };
    let key = if fate(n) == "denied" { "b" } else { "a" };
    let request = ledger::post(client, dialect.path(), key, &body).header("x-request-id", format!("r{n}"));
    let whole = async {
        let response = request.send().await?;
        let status = response.status().as_u16();
        response.bytes().await?;
        Ok::<u16, reqwest::Error>(status)
    };
    if fate(n) == "hang" {
        // It leaves, whatever there is by then.
        let _ = tokio::time::timeout(Duration::from_millis(30), whole).await;
        return true;
    }
    match whole.await {
        Ok(status) => {
            seen.answers.lock().unwrap().insert(n, (status, Instant::now()));
            true
        }
        Err(_) if seen.killed.load(Ordering::Relaxed) => false,
        Err(e) => panic!("r{n} has no complete answer: {e}"),
    }
}

/// All rows by their request's number, each once.
async fn ledger(client: &Client) -> BTreeMap<u64, Value> {
    let mut by_number = BTreeMap::new();
    for row in rows(client, "").await {
        let id = row["request_id"].as_str().expect("an id").to_owned();
        let number = id.trim_start_matches('r').parse().expect("a number");
        assert!(by_number.insert(number, row).is_none(), "{id} is there twice");
    }
    by_number
}

/// How many rows there are.
async fn count(client: &Client) -> u64 {
    let summary = client.get("/usage/summary?by=status").await.json();
    let groups = summary["data"]["groups"].as_array().unwrap_or_else(|| panic!("groups in {summary}"));
    groups.iter().filter_map(|g| g["requests"].as_u64()).sum()
}

/// Waits until there are so many rows.
async fn until(client: &Client, wanted: impl Fn() -> u64) {
    let there = async {
        while count(client).await < wanted() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(PATIENCE, there).await.expect("every request has a row");
}

/// A row says what was delivered to whom. What is added up is returned: tokens of the answer, and of other tries.
fn check(n: u64, row: &Value, books: &Books, seen: &Seen) -> [u64; 4] {
    let delivered = books.delivered.lock().unwrap();
    if let Some((status, _)) = seen.answers.lock().unwrap().get(&n) {
        assert_eq!(row["http_status"], *status, "{row}");
    }
    let status = row["status"].as_str().expect("a status");
    let tokens = ["input_tokens", "output_tokens", "other_input_tokens", "other_output_tokens"].map(|c| row[c].as_u64());
    match fate(n) {
        "ok" => {
            let (input, output) = delivered[&(n, false)];
            assert_eq!((status, tokens), ("success", [Some(input), Some(output), None, None]), "{row}");
            assert_eq!((&row["estimated"], &row["attempts"]), (&json!(false), &json!(1)), "{row}");
        }
        "race" => {
            let won = row["provider"] == "two";
            let ((input, output), (other_input, other_output)) = (delivered[&(n, won)], delivered[&(n, !won)]);
            assert_eq!((status, tokens), ("success", [input, output, other_input, other_output].map(Some)), "{row}");
            assert_eq!((&row["other_untold"], &row["attempts"]), (&json!(0), &json!(2)), "{row}");
        }
        "fail" | "busy" => assert_eq!((status, tokens), ("error", [None; 4]), "{row}"),
        "cut" => assert_eq!((status, tokens[1]), ("error", None), "{row}"),
        "denied" => assert_eq!((status, &row["http_status"], tokens), ("rejected", &json!(403), [None; 4]), "{row}"),
        _ => {
            assert!(status == "cancelled" || row["stream"] == true && status == "disconnected", "{row}");
            assert_eq!(tokens[1], None, "{row}");
        }
    }
    if status == "success" { tokens.map(|t| t.unwrap_or(0)) } else { [0; 4] }
}

/// Every request is in the ledger once, as the upstream and the client know it, and so are the sums.
async fn every_request_is_there(name: &str, storage: &str) {
    let (books, seen) = (Arc::new(Books::default()), Arc::new(Seen::default()));
    let upstream = books.upstream().await;
    let gateway = gateway(&upstream, storage).start().await;
    let client = Client::new(&gateway);
    let began = Instant::now();
    for worker in drive(&client, 0..requests(), &seen) {
        worker.await.expect("a worker's requests end as they should");
    }
    let sent = began.elapsed();
    // Of the clients that left, some may have done so before their request arrived.
    let sure = (0..requests()).filter(|n| fate(*n) != "hang").count() as u64;
    until(&client, || sure + books.hung.load(Ordering::Relaxed)).await;
    let rows = ledger(&client).await;
    let mut sums = [0; 4];
    for n in 0..requests() {
        let Some(row) = rows.get(&n) else {
            assert_eq!(fate(n), "hang", "r{n} is missing");
            continue;
        };
        let tokens = check(n, row, &books, &seen);
        sums = std::array::from_fn(|at| sums[at] + tokens[at]);
    }
    let summary = client.get("/usage/summary?by=status").await.json();
    let success = summary["data"]["groups"].as_array().unwrap().iter().find(|g| g["status"] == "success").expect("some succeed");
    let found = ["input_tokens", "output_tokens", "other_input_tokens", "other_output_tokens"].map(|c| success[c].as_u64().unwrap());
    assert_eq!(found, sums, "{summary}");
    // The other way round: nothing was delivered that is in no row.
    let whole = books.delivered.lock().unwrap().values().fold(0, |sum, (input, output)| sum + input + output);
    assert_eq!(sums.iter().sum::<u64>(), whole);
    println!(
        "books: {name}: {} requests in {:.1} s, {} rows, {whole} tokens, all as delivered",
        requests(),
        sent.as_secs_f64(),
        rows.len()
    );
}

/// A gateway that is killed under load has lost what was not yet written, and nothing else.
async fn a_kill_loses_only_the_last_rows(name: &str, storage: &str) {
    let (books, seen) = (Arc::new(Books::default()), Arc::new(Seen::default()));
    let upstream = books.upstream().await;
    let gateway = gateway(&upstream, storage).start().await;
    let client = Client::new(&gateway);
    let workers = drive(&client, 0..requests(), &seen);
    let written = tokio::time::timeout(PATIENCE * 2, async {
        loop {
            let page = client.get("/metrics").await.text();
            let line = page.lines().find_map(|l| l.strip_prefix("wasmgate_records_written_total "));
            let written: u64 = line.expect("it is counted").trim().parse().expect("a number");
            if written > 0 && seen.answers.lock().unwrap().len() as u64 >= requests() / 2 {
                return written;
            }
        }
    })
    .await
    .expect("half of the requests are answered");
    seen.killed.store(true, Ordering::Relaxed);
    let killed = Instant::now();
    let again = gateway.kill();
    for worker in workers {
        worker.await.expect("a worker ends with the gateway");
    }
    let gateway = again.start().await;
    let client = Client::new(&gateway);
    let rows = ledger(&client).await;
    assert!(rows.len() as u64 >= written, "{written} rows were said to be written, {} are there", rows.len());
    for (n, row) in &rows {
        check(*n, row, &books, &seen);
    }
    let answers = seen.answers.lock().unwrap().clone();
    let lost: Vec<Duration> =
        answers.iter().filter(|(n, _)| !rows.contains_key(n)).map(|(_, (_, at))| killed.saturating_duration_since(*at)).collect();
    let oldest = lost.iter().max().copied().unwrap_or_default();
    println!(
        "books: {name}: killed after {} answers; {} rows were there, {} answers had none, the oldest of them {} ms before the kill",
        answers.len(),
        rows.len(),
        lost.len(),
        oldest.as_millis()
    );
    assert!(oldest <= LOST, "an answer that was complete {oldest:?} before the kill has no row");
    // And it goes on where it was.
    let more = requests()..requests() + 100;
    for worker in drive(&client, more.clone(), &seen) {
        worker.await.expect("a worker's requests end as they should");
    }
    let sure: Vec<u64> = more.filter(|n| fate(*n) != "hang").collect();
    soon("the rows of the requests after it", async {
        while sure.iter().any(|n| !seen.answers.lock().unwrap().contains_key(n))
            || count(&client).await < rows.len() as u64 + sure.len() as u64
        {
            tokio::task::yield_now().await;
        }
    })
    .await;
    let later = ledger(&client).await;
    for (n, row) in &later {
        check(*n, row, &books, &seen);
    }
    assert!(rows.keys().chain(&sure).all(|n| later.contains_key(n)));
}

const REDB: &str = "storage: {path: books.redb}\nusage: {enabled: true}\n";
const SQLITE: &str = "usage: {enabled: true, storage: sqlite, path: books.db}\n";
const MEMORY: &str = "usage: {enabled: true, storage: memory}\n";

fn postgres(server: &Postgres) -> String {
    format!("usage: {{enabled: true, storage: postgres, url: \"{}\"}}\n", server.database("books"))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_request_is_in_redb() {
    every_request_is_there("redb", REDB).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_request_is_in_sqlite() {
    every_request_is_there("sqlite", SQLITE).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_request_is_in_memory() {
    every_request_is_there("memory", MEMORY).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_request_is_in_postgres() {
    let Some(server) = Postgres::start() else { return };
    every_request_is_there("postgres", &postgres(&server)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_kill_loses_only_the_last_rows_of_redb() {
    a_kill_loses_only_the_last_rows("redb", REDB).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_kill_loses_only_the_last_rows_of_sqlite() {
    a_kill_loses_only_the_last_rows("sqlite", SQLITE).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_kill_loses_only_the_last_rows_of_postgres() {
    let Some(server) = Postgres::start() else { return };
    a_kill_loses_only_the_last_rows("postgres", &postgres(&server)).await;
}
