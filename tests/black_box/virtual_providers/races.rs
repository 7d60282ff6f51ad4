//! A thousand races of racers that are good, slow, failing, stalling or cut, at random: the winner's stream is complete each time, each
//! loser's upstream sees the disconnect, and every racer is told with what it took.

use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::json;
use wasmgate_tests::answers::{Says, error};
use wasmgate_tests::{Client, Dialect, Gateway, Received, Reply, Step, Upstream};

use super::faults::mixed;
use super::{NAMES, TEXTS, id, parts, text, told};
use crate::setup;

const RACES: u64 = 1_000;
const AT_ONCE: u64 = 16;

/// The rule is 50 ms; this is what a busy machine may need at most.
const PROMPTLY: Duration = Duration::from_secs(1);

const FORMATS: [Dialect; 3] = [Dialect::OpenAi, Dialect::Anthropic, Dialect::OpenAi];

/// What a racer does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Does {
    /// Answers at once.
    Good,
    /// Answers one byte at a time.
    Slow,
    Fails,
    Closes,
    /// Does nothing until it is cancelled.
    Stalls,
    /// Begins to send something, but nothing that is valid, and stalls.
    StallsInHead,
    /// Breaks off before its first event.
    Cut,
}

const WAYS: [Does; 7] = [Does::Good, Does::Slow, Does::Fails, Does::Closes, Does::Stalls, Does::StallsInHead, Does::Cut];

/// What racer `racer` does in race `n`. One of them always answers.
fn does(n: u64, racer: usize) -> Does {
    let sure = (mixed(n) % 3) as usize;
    if racer == sure { WAYS[(mixed(n ^ 0xabcd) % 2) as usize] } else { WAYS[(mixed(n * 3 + racer as u64) % 7) as usize] }
}

fn reply(does: Does, racer: usize, r: &Received) -> Reply {
    let (format, says) = (FORMATS[racer], Says::text(TEXTS[racer]));
    let events: Vec<u8> = says.stream(format, &r.model()).concat().into();
    let document = says.document(format, &r.model()).to_string();
    match does {
        Does::Good => says.reply(format, r),
        Does::Slow if r.is_stream() => Reply::events(vec![Step::Bytewise(events)]),
        Does::Slow => Reply::events(vec![Step::Bytewise(document.into())]).header("content-type", "application/json"),
        Does::Fails => Reply::json(500, &error(format, "api_error", "scripted")),
        Does::Closes => Reply::closed(),
        Does::Stalls => Reply::silence(),
        Does::StallsInHead => Reply::events(vec![Step::Send(events[..20].to_vec()), Step::Hang]),
        Does::Cut => Reply::events(vec![Step::Send(events[..20].to_vec()), Step::Cut]),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_thousand_of_them() {
    let mut upstreams = Vec::new();
    for racer in 0..3 {
        let handler = move |r: &Received| reply(does(r.model().parse().expect("the race's number"), racer), racer, r);
        upstreams.push(Upstream::start(handler).await);
    }
    let native: String = (0..3).map(|n| setup::named_provider(NAMES[n], FORMATS[n], &upstreams[n].url())).collect();
    let config = setup::config(&format!("{native}{}", super::all("racing", "")), &crate::extensions::fixture("tries", ""));
    let gateway = Gateway::builder(&config).set("logging.level=error,wasmgate::cli=info").start().await;
    let client = Arc::new(Client::new(&gateway));
    let began = Instant::now();
    let workers: Vec<_> = (0..AT_ONCE)
        .map(|worker| {
            let client = Arc::clone(&client);
            tokio::spawn(async move {
                for n in (worker..RACES).step_by(AT_ONCE as usize) {
                    one(&client, n).await;
                }
            })
        })
        .collect();
    for worker in workers {
        worker.await.expect("every race has a winner");
    }
    println!("{RACES} races in {:.1} s", began.elapsed().as_secs_f64());
    assert_told(&client).await;
    assert_cancelled(&upstreams).await;
}

/// One race: its winner's answer is complete, and of one racer.
async fn one(client: &Client, n: u64) {
    let (dialect, stream) = (Dialect::ALL[(n % 3) as usize], (n / 3).is_multiple_of(2));
    let mut request = dialect.request(&format!("v/{n}"), "x");
    request["stream"] = json!(stream);
    let request = client.request(http::Method::POST, dialect.path()).header("x-request-id", format!("race-{n}")).body(request.to_string());
    let answer = client.send(request).await;
    let winner = NAMES.iter().position(|name| *name == answer.header("x-wasmgate-racing-winner"));
    let winner = winner.unwrap_or_else(|| panic!("race {n} has no winner: {} {}", answer.status, answer.text()));
    assert_eq!(text(dialect, &answer, stream), TEXTS[winner], "race {n}");
    assert!(matches!(does(n, winner), Does::Good | Does::Slow), "race {n} was won by one that does not answer");
    assert_eq!((answer.header("x-wasmgate-provider"), id(&answer)), (NAMES[winner], format!("race-{n}")));
}

/// What `attempts` told of each race: all racers once, one that served, and its tokens.
async fn assert_told(client: &Client) {
    let mut sent = 0;
    for n in 0..RACES {
        let (tries, over) = told(client, &format!("race-{n}")).await;
        let mut names: Vec<_> = parts(&tries).into_iter().map(|(name, _)| name).collect();
        sent += names.len() as u64;
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), tries.len(), "race {n}: each racer is told once: {tries:?}");
        assert_eq!(parts(&tries).iter().filter(|(_, part)| *part == "served").count(), 1, "race {n}: {tries:?}");
        for tried in &tries {
            let racer = NAMES.iter().position(|name| tried["provider"] == *name).expect("a racer");
            match (tried["part"].as_str().expect("a part"), does(n, racer)) {
                ("served", Does::Good | Does::Slow) => assert_eq!(tried["usage"], json!([9, 12]), "race {n}"),
                ("failed", Does::Fails | Does::Closes | Does::Cut) => assert_ne!(tried["error"], json!(null)),
                // A loser may have begun at the same moment; what it told then counts.
                ("lost", _) => assert_eq!(tried["error"], "cancelled"),
                (part, does) => panic!("race {n}: racer {racer} {does:?} is told as {part}: {tries:?}"),
            }
        }
        let told_tokens: u64 = tries.iter().filter_map(|t| t["usage"][0].as_u64()).sum();
        assert_eq!(over["usage"][0].as_u64(), Some(told_tokens), "race {n}");
    }
    // One whose request was not yet written when the race was over was never sent.
    assert!(sent > RACES * 3 * 99 / 100, "{sent} requests were sent in {RACES} races of three");
}

/// Each racer that never ends by itself sees the connection closed. Times are counted from when the first racer that answers was asked: the
/// race was decided after that, so they are longer than what they bound.
async fn assert_cancelled(upstreams: &[Upstream]) {
    let race_of = |r: &Received| r.model().parse::<u64>().expect("the race's number");
    let mut asked = std::collections::HashMap::new();
    for (racer, upstream) in upstreams.iter().enumerate() {
        for received in upstream.received() {
            let n = race_of(&received);
            if matches!(does(n, racer), Does::Good | Does::Slow) {
                let first = asked.entry(n).or_insert(received.at);
                *first = received.at.min(*first);
            }
        }
    }
    let mut times = Vec::new();
    for (racer, upstream) in upstreams.iter().enumerate() {
        for received in upstream.received() {
            let n = race_of(&received);
            if matches!(does(n, racer), Does::Stalls | Does::StallsInHead) {
                times.push(received.closed_after(asked[&n]).await);
            }
        }
    }
    times.sort_unstable();
    let at = |q: f64| times[((times.len() as f64 * q) as usize).min(times.len() - 1)];
    println!("{} stalled racers: closed after p50 {:?}, p99 {:?}, at most {:?}", times.len(), at(0.5), at(0.99), at(1.0));
    assert!(times.len() > 400, "many racers stall");
    assert!(at(0.99) < PROMPTLY, "p99 {:?}", at(0.99));
}
