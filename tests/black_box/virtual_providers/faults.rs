//! A fallback over three targets that fail in every way there is, at random: each request gets one complete answer of one of them or one
//! clear error, never two and never a mixture.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::json;
use wasmgate_tests::answers::{Says, error};
use wasmgate_tests::client::Event;
use wasmgate_tests::{Answer, Client, Dialect, Gateway, Received, Reply, Step, Upstream};

use super::{NAMES, TEXTS};
use crate::setup;

const REQUESTS: u64 = 480;
const AT_ONCE: u64 = 24;

/// How long a stall takes to be noticed. A machine that needs as long for an answer makes a good one late, which is a failure like others.
const TIMEOUTS: &str = "first_byte_timeout: 1s, idle_timeout: 1s";

/// What targets speak.
const FORMATS: [Dialect; 3] = [Dialect::OpenAi, Dialect::Anthropic, Dialect::OpenAi];

/// What a target may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Fault {
    Good,
    OneByteAtATime,
    Closes,
    StallsBefore,
    StallsBeforeTheFirstEvent,
    StallsAfter,
    CutsBefore,
    CutsAfter,
    ResetsAfter,
    RateLimited,
    Fails,
    Overloaded,
    Page,
    ErrorInside,
    Garbage,
}

/// Half of them good ones, so that there is an answer most of the time; stalls are rare because each takes its time.
const FAULTS: [Fault; 22] = {
    use Fault::*;
    [
        Good,
        Good,
        Good,
        Good,
        OneByteAtATime,
        OneByteAtATime,
        Closes,
        StallsBefore,
        StallsBeforeTheFirstEvent,
        StallsAfter,
        CutsBefore,
        CutsBefore,
        CutsAfter,
        ResetsAfter,
        RateLimited,
        RateLimited,
        Fails,
        Overloaded,
        Page,
        ErrorInside,
        ErrorInside,
        Garbage,
    ]
};

/// A number that looks random and is the same in every run.
pub fn mixed(n: u64) -> u64 {
    let mut x = n.wrapping_add(0x9e37_79b9_7f4a_7c15);
    x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
}

/// What target `target` does with request `n`.
fn fault(n: u64, target: usize) -> Fault {
    FAULTS[(mixed(n * 3 + target as u64) % FAULTS.len() as u64) as usize]
}

fn reply(fault: Fault, target: usize, r: &Received) -> Reply {
    let format = FORMATS[target];
    let says = Says::text(TEXTS[target]);
    let failure = |status, kind| Reply::json(status, &error(format, kind, "scripted"));
    let events: Vec<Vec<u8>> = says.stream(format, &r.model()).into_iter().map(String::into_bytes).collect();
    let begun = || Step::Send(events[..4].concat());
    match fault {
        Fault::Good => says.reply(format, r),
        Fault::OneByteAtATime if r.is_stream() => Reply::events(vec![Step::Bytewise(events.concat())]),
        Fault::OneByteAtATime => {
            let document = says.document(format, &r.model()).to_string();
            Reply::events(vec![Step::Bytewise(document.into())]).header("content-type", "application/json")
        }
        Fault::Closes => Reply::closed(),
        Fault::StallsBefore => Reply::silence(),
        Fault::StallsBeforeTheFirstEvent => Reply::events(vec![Step::Send(b": wait\n\n".to_vec()), Step::Hang]),
        Fault::CutsBefore => Reply::events(vec![Step::Send(events[0][..events[0].len() / 2].to_vec()), Step::Cut]),
        Fault::StallsAfter => Reply::events(vec![begun(), Step::Hang]),
        Fault::CutsAfter => Reply::events(vec![begun(), Step::Cut]),
        Fault::ResetsAfter => Reply::events(vec![begun(), Step::Reset]),
        Fault::RateLimited => failure(429, "rate_limit_error").header("retry-after", "3"),
        Fault::Fails => failure(500, "api_error"),
        Fault::Overloaded => failure(529, "overloaded_error"),
        Fault::Page => Reply::new(200, "text/html", "<html><body>Please log in</body></html>"),
        Fault::ErrorInside if r.is_stream() && format == Dialect::Anthropic => {
            Reply::stream([format!("event: error\ndata: {}\n\n", error(format, "overloaded_error", "scripted"))])
        }
        Fault::ErrorInside if r.is_stream() => Reply::stream([format!("data: {}\n\n", error(format, "overloaded_error", "scripted"))]),
        Fault::ErrorInside => failure(200, "overloaded_error"),
        Fault::Garbage => Reply::new(200, if r.is_stream() { "text/event-stream" } else { "application/json" }, "{\"half\": "),
    }
}

/// How a request may end.
#[derive(Debug, PartialEq, Eq)]
enum End {
    /// All of this target's text.
    Answer(usize),
    /// A part of it, and then an error.
    Broken(usize),
    /// An error and nothing else.
    Error,
}

/// How a request has to end when nothing is slow.
fn expected(n: u64, stream: bool) -> End {
    for target in 0..3 {
        match fault(n, target) {
            Fault::Good | Fault::OneByteAtATime => return End::Answer(target),
            // What is broken before it was whole is not sent to whoever wants it whole.
            Fault::StallsAfter | Fault::CutsAfter | Fault::ResetsAfter if stream => return End::Broken(target),
            _ => {}
        }
    }
    End::Error
}

/// How it did end. Whatever is a mixture, or twice, or neither, fails.
#[track_caller]
fn end(dialect: Dialect, stream: bool, answer: &Answer) -> End {
    let whole = answer.text();
    if answer.status != 200 {
        let (_, message) = dialect.error(&answer.json());
        assert!(message.contains("None of the providers behind `v` answered."), "{message}");
        for name in NAMES {
            assert!(message.contains(&format!("`{name}` (")), "{message}");
        }
        return End::Error;
    }
    let of = |text: &str| TEXTS.iter().position(|t| *t == text);
    if !stream {
        return End::Answer(of(&dialect.text(&answer.json())).unwrap_or_else(|| panic!("no target's text: {whole}")));
    }
    let events = Event::all(&whole);
    let said = dialect.streamed_text(&events);
    match events.iter().filter(|e| dialect.is_end(e)).count() {
        0 => {
            dialect.broken(&events);
            let errors = events.iter().filter(|e| dialect.stream_error(e).is_some()).count();
            assert_eq!(errors, 1, "{whole}");
            let begun: Vec<usize> = (0..3).filter(|n| !said.is_empty() && TEXTS[*n].starts_with(&said)).collect();
            assert_eq!(begun.len(), 1, "the beginning of one target's text: {whole}");
            End::Broken(begun[0])
        }
        1 => {
            assert!(dialect.is_end(events.last().expect("there is one")), "{whole}");
            assert!(!events.iter().any(|e| dialect.stream_error(e).is_some()), "{whole}");
            End::Answer(of(&said).unwrap_or_else(|| panic!("no target's text: {whole}")))
        }
        more => panic!("{more} ends: {whole}"),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_answer_or_one_error_whatever_the_targets_do() {
    let mut upstreams = Vec::new();
    for target in 0..3 {
        let handler = move |r: &Received| reply(fault(r.model().parse().expect("the request's number"), target), target, r);
        upstreams.push(Upstream::start(handler).await);
    }
    let native: String = (0..3)
        .map(|n| {
            let provider = setup::named_provider(NAMES[n], FORMATS[n], &upstreams[n].url());
            provider.replace("}\n", &format!(", {TIMEOUTS}}}\n"))
        })
        .collect();
    let config = setup::config(&format!("{native}{}", super::all("fallback", "")), &crate::extensions::fixture("tries", ""));
    let gateway = Gateway::builder(&config).set("logging.level=error,wasmgate::cli=info").start().await;
    let client = Arc::new(Client::new(&gateway));
    let workers: Vec<_> = (0..AT_ONCE)
        .map(|worker| {
            let client = Arc::clone(&client);
            tokio::spawn(async move {
                let mut ends = BTreeMap::new();
                for n in (worker..REQUESTS).step_by(AT_ONCE as usize) {
                    let (dialect, stream) = (Dialect::ALL[(n % 3) as usize], (n / 3).is_multiple_of(2));
                    let answer = super::ask(&client, dialect, &format!("v/{n}"), stream).await;
                    let (found, expected) = (end(dialect, stream, &answer), expected(n, stream));
                    // On a machine that is slow, good ones may be late.
                    let late = answer.text().contains("in time") || answer.text().contains("stopped");
                    let faults = [fault(n, 0), fault(n, 1), fault(n, 2)];
                    if found != expected && !late {
                        let (tries, _) = super::told(&client, &super::id(&answer)).await;
                        let slow = tries.iter().any(|t| t["error"] == "timeout");
                        assert!(slow, "request {n} ended as {found:?}, not as {expected:?}, with {faults:?}: {}", answer.text());
                    }
                    let (tries, over) = super::told(&client, &super::id(&answer)).await;
                    check_tries(&tries, &over, &found);
                    *ends.entry(format!("{found:?}")).or_insert(0) += 1;
                }
                ends
            })
        })
        .collect();
    let mut ends: BTreeMap<String, u32> = BTreeMap::new();
    for worker in workers {
        for (end, count) in worker.await.expect("every request ends well") {
            *ends.entry(end).or_default() += count;
        }
    }
    println!("{REQUESTS} requests: {ends:?}");
    assert!(ends.len() >= 6, "every kind of end occurs: {ends:?}");
    let sent: usize = upstreams.iter().map(|u| u.received().len()).sum();
    assert!(sent as u64 > REQUESTS, "some were sent more than once");
}

/// Targets are asked in order, each once, and only the last one may have served.
#[track_caller]
fn check_tries(tries: &[serde_json::Value], over: &serde_json::Value, end: &End) {
    let providers: Vec<_> = tries.iter().map(|t| t["provider"].as_str().expect("a name")).collect();
    assert_eq!(providers, NAMES[..tries.len()], "{tries:?}");
    let served: Vec<_> = tries.iter().filter(|t| t["part"] == "served").map(|t| t["provider"].clone()).collect();
    match end {
        End::Answer(target) => assert_eq!(served, [json!(NAMES[*target])]),
        End::Broken(_) | End::Error => assert!(served.is_empty(), "{tries:?}"),
    }
    assert_eq!(over["attempts"], tries.len());
}
