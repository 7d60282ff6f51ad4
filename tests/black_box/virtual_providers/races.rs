//! A thousand races of racers that are good, slow, failing, stalling or cut, at random: the winner's stream is complete each time, each
//! loser's upstream sees the disconnect, and every racer is told with what it took.

use std::collections::{HashMap, HashSet};
use std::ops::Range;
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

/// Further races, one after the other: what is left when the machine is not busy with fifteen others.
const ALONE: u64 = 100;

/// The rule. A machine that is busy with something else may keep it for half of the losers only.
const AIM: Duration = Duration::from_millis(50);

/// What such a machine may need at most.
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
        // The first event is a step of its own, so that it is known when it was written.
        Does::Slow if r.is_stream() => {
            Reply::events(says.stream(format, &r.model()).into_iter().map(|e| Step::Bytewise(e.into())).collect())
        }
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
                let mut winners = Vec::new();
                for n in (worker..RACES).step_by(AT_ONCE as usize) {
                    winners.push((n, one(&client, n).await));
                }
                winners
            })
        })
        .collect();
    let mut winners = HashMap::new();
    for worker in workers {
        winners.extend(worker.await.expect("every race has a winner"));
    }
    println!("{RACES} races in {:.1} s", began.elapsed().as_secs_f64());
    for n in RACES..RACES + ALONE {
        winners.insert(n, one(&client, n).await);
    }
    assert_told(&client, &upstreams).await;
    assert_cancelled(&upstreams, &winners, 0..RACES, "16 races at once").await;
    assert_cancelled(&upstreams, &winners, RACES..RACES + ALONE, "one race at a time").await;
}

/// One race: its winner's answer is complete, and of one racer. Who won.
async fn one(client: &Client, n: u64) -> usize {
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
    winner
}

/// What `attempts` told of each race: all racers once, one that served, and the tokens of it and of all that lost.
async fn assert_told(client: &Client, upstreams: &[Upstream]) {
    let received: HashSet<(u64, usize)> = upstreams
        .iter()
        .enumerate()
        .flat_map(|(racer, upstream)| upstream.received().into_iter().map(move |r| (r.model().parse().expect("the race's number"), racer)))
        .collect();
    let (mut sent, mut estimated) = (0, 0);
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
                ("served", Does::Good | Does::Slow) => {
                    assert_eq!((&tried["usage"], &tried["estimated"]), (&json!([9, 12]), &json!(false)), "race {n}");
                }
                ("failed", Does::Fails | Does::Closes | Does::Cut) => assert_ne!(tried["error"], json!(null)),
                // Its upstream had it, so it read what the winner read. It may have begun at the same moment; what it wrote then counts.
                ("lost", _) => {
                    assert_eq!(tried["error"], "cancelled");
                    assert!(tried["usage"][0] == 9 || !received.contains(&(n, racer)), "race {n}: {tried}");
                    estimated += u64::from(tried["estimated"] == true);
                }
                (part, does) => panic!("race {n}: racer {racer} {does:?} is told as {part}: {tries:?}"),
            }
        }
        let told_tokens: u64 = tries.iter().filter_map(|t| t["usage"][0].as_u64()).sum();
        assert_eq!(over["usage"][0].as_u64(), Some(told_tokens), "race {n}");
    }
    assert!(estimated > RACES / 2, "most losers are cut off before they tell anything: {estimated}");
    // One whose request was not yet written when the race was over was never sent.
    assert!(sent > RACES * 3 * 99 / 100, "{sent} requests were sent in {RACES} races of three");
}

/// Each racer that never ends by itself sees the connection closed. Times are counted from when the winner's upstream had written what made it the
/// winner: its first event, or all of an answer that is no stream. The gateway had still to read that, so they are longer than what they bound.
async fn assert_cancelled(upstreams: &[Upstream], winners: &HashMap<u64, usize>, races: Range<u64>, how: &str) {
    let race_of = |r: &Received| r.model().parse::<u64>().expect("the race's number");
    let mut decided = HashMap::new();
    for (racer, upstream) in upstreams.iter().enumerate() {
        for received in upstream.received() {
            let n = race_of(&received);
            if winners[&n] == racer {
                decided.insert(n, received.begun().expect("the winner began to answer"));
            }
        }
    }
    let mut times = Vec::new();
    for (racer, upstream) in upstreams.iter().enumerate() {
        for received in upstream.received() {
            let n = race_of(&received);
            if races.contains(&n) && matches!(does(n, racer), Does::Stalls | Does::StallsInHead) {
                times.push(received.closed_after(decided[&n].max(received.at)).await);
            }
        }
    }
    times.sort_unstable();
    let at = |q: f64| times[((times.len() as f64 * q) as usize).min(times.len() - 1)];
    let late = times.iter().filter(|t| **t > AIM).count();
    println!(
        "{how}: {} stalled racers closed p50 {:?}, p99 {:?}, at most {:?} after the winner began, {late} of them after more than {AIM:?}",
        times.len(),
        at(0.5),
        at(0.99),
        at(1.0)
    );
    assert!(times.len() as u64 > (races.end - races.start) * 2 / 5, "many racers stall");
    assert!(at(0.5) < AIM, "p50 {:?}", at(0.5));
    assert!(at(0.99) < PROMPTLY, "p99 {:?}", at(0.99));
}
