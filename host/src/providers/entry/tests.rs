//! What is around a provider, on a paused clock: the provider does what a script says.

use std::collections::VecDeque;

use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;

use super::*;
use crate::config::{BreakerConfig, RetryConfig};

/// What the provider does with a request.
enum Does {
    /// It answers with a document.
    Answers,
    /// It refuses.
    Fails(ErrorClass, Option<u64>),
    /// It begins a stream with these, each after so many seconds.
    Streams(Vec<(u64, Result<&'static str, ErrorClass>)>),
    /// It says nothing.
    Hangs,
}

/// It does the last thing of its script again and again.
struct Scripted {
    script: Mutex<VecDeque<Does>>,
    calls: Arc<std::sync::atomic::AtomicUsize>,
}

const FIRST: &str = "data: {\"id\":\"x\",\"object\":\"chat.completion.chunk\",\"choices\":[{\"index\":0,\"delta\":{\"content\":\"hi\"},\"finish_reason\":null}]}\n\n";
const ERROR: &str = ": wait\n\ndata: {\"error\":{\"message\":\"busy\",\"type\":\"server_error\",\"code\":503}}\n\n";

impl Provider for Scripted {
    fn format(&self) -> Format {
        Format::OpenaiChat
    }

    fn send(&self, _: Outgoing) -> BoxFuture<'_, Result<Upstream, ChatError>> {
        self.calls.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let mut script = self.script.lock().unwrap();
        let does = if script.len() > 1 { script.pop_front() } else { None };
        let does = does.as_ref().or(script.front()).expect("a script has something in it");
        match does {
            Does::Answers => Box::pin(async { Ok(Upstream::Answer(Bytes::from_static(b"{\"choices\":[]}"))) }),
            Does::Fails(class, wait) => {
                let error = ChatError { retry_after_ms: *wait, ..ChatError::new(*class, "no") };
                Box::pin(async { Err(error) })
            }
            Does::Hangs => Box::pin(std::future::pending()),
            Does::Streams(steps) => {
                let steps = steps.clone();
                let chunks = stream::iter(steps).then(|(after, chunk)| async move {
                    // tidy: allow(sleep) because the clock is paused
                    tokio::time::sleep(Duration::from_secs(after)).await;
                    chunk.map(|text| Bytes::from_static(text.as_bytes())).map_err(|class| ChatError::new(class, "broke"))
                });
                Box::pin(async { Ok(Upstream::Events(Box::pin(chunks))) })
            }
        }
    }
}

struct Bench {
    entry: Arc<Entry>,
    calls: Arc<std::sync::atomic::AtomicUsize>,
}

impl Bench {
    fn new(config: ProviderConfig, script: impl IntoIterator<Item = Does>) -> Self {
        let calls = Arc::default();
        let provider = Scripted { script: Mutex::new(script.into_iter().collect()), calls: Arc::clone(&calls) };
        Self { entry: Entry::start("p", "scripted", Arc::new(provider), &config), calls }
    }

    async fn send(&self) -> Result<Upstream, ChatError> {
        self.entry
            .send(Outgoing {
                format: Format::OpenaiChat,
                model: "m".into(),
                body: Bytes::new(),
                stream: true,
                headers: Vec::new(),
                written: None,
            })
            .await
    }

    async fn error(&self) -> ErrorClass {
        self.send().await.err().expect("it fails").class
    }

    async fn stream(&self) -> ByteStream {
        match self.send().await {
            Ok(Upstream::Events(events)) => events,
            Ok(Upstream::Answer(_)) => panic!("no stream"),
            Err(error) => panic!("{error:?}"),
        }
    }

    fn calls(&self) -> usize {
        self.calls.load(std::sync::atomic::Ordering::Relaxed)
    }
}

fn retrying(max_retries: u32) -> ProviderConfig {
    let retry = RetryConfig { backoff: Duration::from_secs(2), max_backoff: Duration::from_secs(8), budget: 0.2 };
    ProviderConfig { max_retries, retry, ..ProviderConfig::default() }
}

use ErrorClass::{Connect, Interrupted, InvalidRequest, Overloaded, RateLimited, Timeout, Upstream as Fault};

#[tokio::test(start_paused = true)]
async fn what_fails_before_an_answer_is_tried_again() {
    let began = Instant::now();
    let bench = Bench::new(retrying(2), [Does::Fails(Overloaded, None), Does::Fails(Connect, None), Does::Answers]);
    assert!(bench.send().await.is_ok());
    assert_eq!((bench.calls(), bench.entry.health().counts()), (3, (2, 0)));
    let waited = began.elapsed().as_secs_f64();
    assert!((3.0..6.1).contains(&waited), "half of two and four seconds, and by chance up to all of it: {waited}");
    let models = &bench.entry.health_json()["models"];
    let (before, after) = (&models["other"], &models["m"]);
    assert_eq!((&before["requests"], &before["failures"]), (&json!(2), &json!({"overloaded": 1, "connect": 1})), "{models}");
    assert_eq!((&after["requests"], &after["success_rate"]), (&json!(1), &json!(1.0)), "it has figures of its own since it answered");
}

#[tokio::test(start_paused = true)]
async fn what_is_not_tried_again() {
    let check = async |config: ProviderConfig, does: Does, expect: ErrorClass, calls: usize| {
        let bench = Bench::new(config, [does]);
        assert_eq!((bench.error().await, bench.calls()), (expect, calls));
    };
    check(ProviderConfig::default(), Does::Fails(Overloaded, None), Overloaded, 1).await;
    check(retrying(3), Does::Fails(InvalidRequest, None), InvalidRequest, 1).await;
    check(retrying(3), Does::Fails(RateLimited, Some(8001)), RateLimited, 1).await;
    check(retrying(3), Does::Fails(RateLimited, Some(8000)), RateLimited, 4).await;
    // The wait would be longer than what is left.
    let hurried = ProviderConfig { timeout: Duration::from_millis(500), ..retrying(3) };
    check(hurried, Does::Fails(Overloaded, None), Overloaded, 1).await;
    let nothing_left = ProviderConfig { retry: RetryConfig { budget: 0.0, ..retrying(1).retry }, ..retrying(1) };
    check(nothing_left, Does::Fails(Overloaded, None), Overloaded, 1).await;
}

#[tokio::test(start_paused = true)]
async fn a_stream_may_fail_before_its_first_event_and_not_after() {
    let broken = |steps: &[Result<&'static str, ErrorClass>]| Does::Streams(steps.iter().map(|s| (0, *s)).collect());
    let bench = Bench::new(
        retrying(3),
        [
            broken(&[Ok(": hello\n\n"), Err(Interrupted)]),
            broken(&[Ok(ERROR)]),
            broken(&[Ok("da"), Ok("ta: {\"error\":{\"message\":\"busy\",\"code\":503}}\n\n")]),
            broken(&[Ok(": hello\n\n"), Ok(FIRST), Err(Interrupted)]),
        ],
    );
    let mut stream = bench.stream().await;
    assert_eq!(bench.calls(), 4);
    assert_eq!(stream.next().await.unwrap().unwrap(), format!(": hello\n\n{FIRST}"));
    assert_eq!(stream.next().await.unwrap().unwrap_err().class, Interrupted);
    assert_eq!(bench.calls(), 4);
}

#[tokio::test(start_paused = true)]
async fn the_first_event_and_the_whole_have_their_time() {
    let config = ProviderConfig { first_event_timeout: Duration::from_secs(5), ..ProviderConfig::default() };
    let began = Instant::now();
    let keeps_alive = || Does::Streams((0..100).map(|_| (1, Ok(": wait\n\n"))).collect());
    assert_eq!(Bench::new(config.clone(), [keeps_alive()]).error().await, Timeout);
    assert_eq!(began.elapsed(), Duration::from_secs(5));
    let mut stream = Bench::new(config, [Does::Streams(vec![(4, Ok(FIRST)), (60, Ok(FIRST))])]).stream().await;
    assert!(stream.next().await.unwrap().is_ok() && stream.next().await.unwrap().is_ok(), "only the first one");

    let config = ProviderConfig { timeout: Duration::from_secs(10), ..ProviderConfig::default() };
    let began = Instant::now();
    assert_eq!(Bench::new(config.clone(), [Does::Hangs]).error().await, Timeout);
    assert_eq!(began.elapsed(), Duration::from_secs(10));
    let bench = Bench::new(config, [Does::Streams((0..100).map(|_| (1, Ok(FIRST))).collect())]);
    let began = Instant::now();
    let stream = bench.stream().await;
    let chunks: Vec<_> = stream.collect().await;
    assert_eq!((began.elapsed(), chunks.len()), (Duration::from_secs(10), 10), "nine, and the error");
    assert_eq!(chunks[9].as_ref().unwrap_err().class, Timeout);
}

#[tokio::test(start_paused = true)]
async fn a_model_that_fails_is_left_alone_for_a_while() {
    let breaker = BreakerConfig { failures: 2, cooldown: Duration::from_secs(30), ..BreakerConfig::default() };
    let config = ProviderConfig { breaker, ..ProviderConfig::default() };
    let script = [InvalidRequest, Fault, InvalidRequest, Fault, Fault, Fault].map(|class| Does::Fails(class, None));
    let bench = Bench::new(config, script.into_iter().chain([Does::Answers]));
    for expect in [InvalidRequest, Fault, InvalidRequest, Fault, Fault] {
        assert_eq!(bench.error().await, expect, "what callers do wrong counts for nothing");
    }
    let refused = bench.send().await.err().expect("it is open");
    assert_eq!((refused.class, refused.retry_after_ms, refused.code.as_deref()), (Overloaded, Some(30_000), Some(COOLING)));
    assert_eq!(bench.entry.available("m"), Err(Cooldown { why: Why::Failures, wait: Duration::from_secs(30) }));
    assert_eq!((bench.entry.available("other"), bench.entry.state()), (Ok(()), "degraded"));
    tokio::time::advance(Duration::from_secs(30)).await;
    assert_eq!(bench.error().await, Fault, "one tries, and fails");
    assert_eq!((bench.error().await, bench.calls()), (Overloaded, 6), "it is open again, and nothing was sent");
    tokio::time::advance(Duration::from_secs(30)).await;
    assert!(bench.send().await.is_ok() && bench.send().await.is_ok());
    assert_eq!(bench.entry.state(), "ok");
}

#[tokio::test(start_paused = true)]
async fn places_are_free_when_streams_end_or_are_dropped() {
    let config = ProviderConfig { max_in_flight: 1, queue_limit: 1, queue_timeout: Duration::from_secs(5), ..ProviderConfig::default() };
    let bench = Bench::new(config, [Does::Streams(vec![(0, Ok(FIRST)), (1, Ok("data: [DONE]\n\n"))])]);
    let mut first = bench.stream().await;
    assert_eq!(bench.entry.available("m").map_err(|c| c.why), Err(Why::Full));
    let mut second = Box::pin(bench.send());
    assert!(second.as_mut().now_or_never().is_none());
    let refused = bench.send().await.err().expect("the queue is full");
    assert_eq!((refused.class, refused.retry_after_ms), (Overloaded, Some(1000)));
    while first.next().await.is_some() {}
    let second = second.await.expect("the first one's end made room, though nobody dropped it");
    assert_eq!(bench.entry.counts(), (1, 0));
    drop(second);
    assert_eq!((bench.entry.counts(), bench.calls()), ((0, 0), 2));
    let third = bench.stream().await;
    let began = Instant::now();
    assert_eq!((bench.error().await, began.elapsed()), (Overloaded, Duration::from_secs(5)), "patience ends");
    drop(third);
    // A request that is dropped before it was answered.
    let hangs = Bench::new(ProviderConfig { max_in_flight: 1, ..ProviderConfig::default() }, [Does::Hangs]);
    let mut waits = Box::pin(hangs.send());
    assert!(waits.as_mut().now_or_never().is_none());
    assert_eq!(hangs.entry.counts(), (1, 0));
    drop(waits);
    assert_eq!(hangs.entry.counts(), (0, 0));
}

#[test]
fn errors_under_a_status_of_success() {
    let check = |body: &str, expect: bool| {
        let found = error_in_answer(Format::OpenaiChat, &Bytes::copy_from_slice(body.as_bytes()));
        assert_eq!(found.is_some(), expect, "{body}");
    };
    check(r#"{"error":{"message":"busy","code":503}}"#, true);
    check(r#"{"error":null,"id":"x","choices":[{"index":0,"message":{"role":"assistant","content":"hi"},"finish_reason":"stop"}]}"#, false);
    check(r#"{"choices":[{"index":0,"message":{"role":"assistant","content":"say \"error\""},"finish_reason":"stop"}]}"#, false);
}
