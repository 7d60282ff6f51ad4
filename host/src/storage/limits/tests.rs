//! Limits in Redis against those in memory, with a real Redis that the test starts.

use std::sync::Arc;
use std::time::Duration;

use proptest::prelude::*;
use proptest::test_runner::TestRunner;
use wasmgate_tests::databases::Redis;

use super::redis::{Scripts, reserved};
use super::*;
use crate::config::WhenAway;

/// Nothing here is about how fast a machine is.
const PATIENT: Duration = Duration::from_secs(30);

fn wish(key: &str, limit: u64, amount: u64) -> Wish {
    Wish { key: key.into(), rule: Rule::SlidingWindow { limit, window: Duration::from_secs(3600) }, amount }
}

async fn open(redis: &Redis, timeout: Duration, when_away: WhenAway) -> Arc<RedisLimits> {
    let limits = RedisLimits::open(&redis.url(), timeout, when_away).unwrap();
    limits.ready().await;
    limits
}

/// Waits until it is as wanted. What it waits for has no event of its own to wait for: a task that connects.
async fn until(what: &str, is_so: impl Fn() -> bool) {
    let wait = async {
        while !is_so() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(PATIENT, wait).await.unwrap_or_else(|_| panic!("it was never so: {what}"));
}

/// What is done to a limit.
#[derive(Debug, Clone)]
enum Step {
    Reserve(u8, u64),
    /// One of the reservations so far, and what was used of it.
    Settle(u8, u64),
    /// As many reservations in one step.
    Several(Vec<u64>),
    /// The older half of the reservations, in one step.
    SettleAll(u64),
    /// Quarters of a second pass.
    Wait(u64),
    Rule(Rule),
}

fn rule() -> impl Strategy<Value = Rule> {
    // Lengths that both clocks, one in nanoseconds and one in microseconds, cut into the same pieces.
    let window = (0u64..12, 1u64..6).prop_map(|(limit, n)| Rule::SlidingWindow { limit, window: Duration::from_secs(n * 15) });
    let bucket = (0u64..12, 0u64..5, 0u32..4).prop_map(|(capacity, refill, power)| Rule::TokenBucket {
        capacity,
        refill,
        per: Duration::from_secs(1 << power),
    });
    prop_oneof![window, bucket]
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => (0u8..2, 0u64..6).prop_map(|(key, amount)| Step::Reserve(key, amount)),
        3 => (any::<u8>(), 0u64..9).prop_map(|(which, used)| Step::Settle(which, used)),
        3 => proptest::collection::vec(0u64..5, 1..6).prop_map(Step::Several),
        1 => (0u64..9).prop_map(Step::SettleAll),
        3 => prop_oneof![0u64..8, 0u64..400].prop_map(Step::Wait),
        1 => rule().prop_map(Step::Rule),
    ]
}

/// The numbers of an answer, with times in milliseconds: one counts nanoseconds, the other microseconds.
fn shown(answer: &Result<Granted, Refused>) -> (bool, u64, Option<u128>, u128) {
    let ms = |d: Duration| (d.as_micros() + 500) / 1000;
    match answer {
        Ok(granted) => (true, granted.remaining, None, ms(granted.reset)),
        Err(refused) => (false, refused.remaining, refused.retry_after.map(ms), ms(refused.reset)),
    }
}

#[test]
fn redis_counts_as_memory_does() {
    let Some(redis) = Redis::start() else { return };
    let client = parse_url(&redis.url()).unwrap();
    let mut connection = client.get_connection().unwrap();
    let scripts = Scripts::default();
    let mut case = 0;
    let config = ProptestConfig { cases: 256, failure_persistence: None, ..ProptestConfig::default() };
    let steps = (rule(), proptest::collection::vec(step(), 1..60));
    // The connection is changed by being used.
    let connection = std::cell::RefCell::new(&mut connection);
    let case = std::cell::RefCell::new(&mut case);
    let ran = TestRunner::new(config).run(&steps, |(mut rule, steps)| {
        let namespace = format!("case{}", {
            **case.borrow_mut() += 1;
            **case.borrow()
        });
        let memory = Limiter::default();
        let mut now = Duration::from_secs(1_800_000_000);
        let mut reservations = Vec::new();
        for step in steps {
            let micros = Some(now.as_micros() as u64);
            match step {
                Step::Wait(quarters) => now += Duration::from_millis(quarters * 250),
                Step::Rule(new) => rule = new,
                Step::Reserve(key, amount) => {
                    let wish = Wish { key: format!("k{key}"), rule, amount };
                    let script = scripts.reservations(&namespace, std::slice::from_ref(&wish), micros);
                    let there: Vec<_> = script.invoke(&mut **connection.borrow_mut()).unwrap();
                    let there = reserved(there[0]);
                    let here = memory.reserve(&namespace, wish, now);
                    prop_assert_eq!(shown(&there), shown(&here), "{:?} of {:?}", amount, rule);
                    if let (Ok(there), Ok(here)) = (there, here) {
                        reservations.push((there.reservation, here.reservation));
                    }
                }
                Step::Several(amounts) => {
                    // Two keys in turn, so that one is refused in the middle of others at times.
                    let wish = |(n, amount): (usize, &u64)| Wish { key: format!("k{}", n % 2), rule, amount: *amount };
                    let wishes: Vec<Wish> = amounts.iter().enumerate().map(wish).collect();
                    let script = scripts.reservations(&namespace, &wishes, micros);
                    let there: Vec<_> = script.invoke(&mut **connection.borrow_mut()).unwrap();
                    let there: Vec<_> = there.into_iter().map(reserved).collect();
                    let here = memory.reserve_all(&namespace, wishes, now);
                    let all = |answers: &[Result<Granted, Refused>]| answers.iter().map(shown).collect::<Vec<_>>();
                    prop_assert_eq!(all(&there), all(&here), "{:?} of {:?}", &amounts, rule);
                    let last = here.len() - 1;
                    prop_assert!(here.len() == amounts.len() || here[last].is_err());
                    prop_assert!(here[..last].iter().all(Result::is_ok));
                    let granted =
                        there.into_iter().zip(here).filter_map(|(there, here)| Some((there.ok()?.reservation, here.ok()?.reservation)));
                    reservations.extend(granted);
                }
                Step::SettleAll(used) => {
                    let several: Vec<(u64, u64)> = reservations.drain(..reservations.len() / 2).collect();
                    let script_of: Vec<(u64, u64)> = several.iter().map(|(there, _)| (*there, used)).collect();
                    let script = scripts.settlements(&namespace, &script_of, micros);
                    let known: Vec<u8> = script.invoke(&mut **connection.borrow_mut()).unwrap();
                    let here: Vec<u8> = several.iter().map(|(_, here)| u8::from(memory.settle(&namespace, *here, used, now))).collect();
                    prop_assert_eq!(known, here);
                }
                Step::Settle(which, used) => {
                    let Some((there, here)) = reservations.get(which as usize % reservations.len().max(1)) else { continue };
                    let script = scripts.settlements(&namespace, &[(*there, used)], micros);
                    let known: Vec<u8> = script.invoke(&mut **connection.borrow_mut()).unwrap();
                    prop_assert_eq!(known == [1], memory.settle(&namespace, *here, used, now));
                }
            }
        }
        Ok(())
    });
    if let Err(e) = ran {
        panic!("{e}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn redis_keeps_one_limit_for_two_gateways() {
    let Some(redis) = Redis::start() else { return };
    let gateways = [open(&redis, PATIENT, WhenAway::FailClosed).await, open(&redis, PATIENT, WhenAway::FailClosed).await];
    let mut asked = tokio::task::JoinSet::new();
    for n in 0..400 {
        let limits = Arc::clone(&gateways[n % 2]);
        asked.spawn(async move { limits.reserve("keys", wish("one", 100, 1)).await });
    }
    let answers = asked.join_all().await;
    let granted: Vec<u64> = answers.iter().filter_map(|a| a.as_ref().ok()).map(|g| g.reservation).collect();
    assert_eq!(granted.len(), 100);
    assert!(answers.iter().filter_map(|a| a.as_ref().err()).all(|r| r.remaining == 0 && r.retry_after.is_some()));

    // What one reserved, the other may give back, once, and only in its own namespace.
    assert!(!gateways[1].settle("others", granted[0], 0).await);
    assert!(gateways[1].settle("keys", granted[0], 0).await);
    assert!(!gateways[0].settle("keys", granted[0], 0).await);
    let again = gateways[0].reserve("keys", wish("one", 100, 1)).await.unwrap();
    assert_eq!(again.remaining, 0);
    assert_eq!(gateways[0].health(), Health::default());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn redis_may_be_away() {
    let Some(mut redis) = Redis::start() else { return };
    let ask = |limits: Arc<RedisLimits>, limit| async move { limits.reserve("n", wish("k", limit, 1)).await };
    let local = open(&redis, PATIENT, WhenAway::Local).await;
    let open_ = open(&redis, PATIENT, WhenAway::FailOpen).await;
    let closed = open(&redis, PATIENT, WhenAway::FailClosed).await;
    let shared = ask(Arc::clone(&local), 2).await.unwrap();
    assert_eq!(shared.remaining, 1);
    redis.end();

    // This gateway counts from the beginning.
    assert_eq!(ask(Arc::clone(&local), 2).await.unwrap().remaining, 1);
    let second = ask(Arc::clone(&local), 2).await.unwrap();
    assert_eq!(ask(Arc::clone(&local), 2).await.unwrap_err().remaining, 0);
    assert!(local.settle("n", second.reservation, 0).await);
    assert!(!local.settle("n", second.reservation, 0).await);
    assert_eq!(ask(Arc::clone(&local), 2).await.unwrap().remaining, 0);
    assert!(local.health().away && local.health().without >= 4, "{:?}", local.health());
    for _ in 0..5 {
        let passed = ask(Arc::clone(&open_), 2).await.unwrap();
        assert!(open_.settle("n", passed.reservation, 1).await);
        let refused = ask(Arc::clone(&closed), 2).await.unwrap_err();
        assert_eq!(refused.retry_after, Some(Duration::from_secs(1)));
    }

    redis.begin();
    until("all are back", || [&local, &open_, &closed].iter().all(|l| !l.health().away)).await;
    // It came back empty.
    assert_eq!(ask(Arc::clone(&closed), 2).await.unwrap().remaining, 1);
    assert_eq!(ask(Arc::clone(&local), 2).await.unwrap().remaining, 0);
    assert_eq!(ask(Arc::clone(&open_), 2).await.unwrap_err().remaining, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn redis_that_hangs_costs_one_timeout_and_learns_later_what_it_missed() {
    let Some(redis) = Redis::start() else { return };
    // Long enough for any machine while Redis answers; then the one wait is this long.
    let limits = open(&redis, Duration::from_secs(2), WhenAway::FailOpen).await;
    let held = limits.reserve("n", wish("k", 10, 8)).await.unwrap();
    assert_eq!(held.remaining, 2);
    redis.pause();
    let began = std::time::Instant::now();
    for _ in 0..1000 {
        limits.reserve("n", wish("other", 10, 1)).await.unwrap();
    }
    assert!(began.elapsed() < Duration::from_secs(30), "only the first one waits");
    assert!(limits.settle("n", held.reservation, 3).await, "it will be told");
    redis.resume();
    until("it is back", || !limits.health().away).await;
    // The settlement is told before long; until then 2 are left, afterwards 7.
    let told = async {
        loop {
            let seen = limits.reserve("n", wish("k", 10, 0)).await.unwrap();
            if seen.remaining == 7 {
                return;
            }
            assert_eq!(seen.remaining, 2);
        }
    };
    tokio::time::timeout(PATIENT, told).await.expect("the settlement arrives");
}

#[test]
fn addresses_are_read_and_not_repeated() {
    assert!(parse_url("redis://:secret@h:6380/2").is_ok());
    assert!(parse_url("unix:/run/redis.sock").is_ok());
    for wrong in ["", "h:6379", "postgres://u:secret@h", "rediss://:secret@h", "redis://:secret@h:port"] {
        let reason = parse_url(wrong).unwrap_err();
        assert!(reason.contains("Expected `redis://") && !reason.contains("secret"), "{wrong}: {reason}");
    }
}
