//! `on-complete` is called exactly once for every request, however it ended: ten thousand of them, mixed at random.

use std::sync::Arc;
use std::time::Duration;

use wasmgate_tests::answers::{Says, TEXT};
use wasmgate_tests::{Client, Dialect, Gateway, Reply, Step, Upstream};

use crate::{extensions, setup};

const REQUESTS: u64 = 10_000;
const AT_ONCE: u64 = 32;

/// What a client that is about to leave waits for.
const PATIENCE: Duration = Duration::from_millis(5);

/// Ends of a request; `reject` is the probe's, the others the upstream's or the client's.
const ENDS: [&str; 6] = ["good", "fail", "cut", "reject", "respond", "hang"];

/// A number that looks random and is the same in every run.
fn mixed(n: u64) -> u64 {
    let mut x = n.wrapping_add(0x9e37_79b9_7f4a_7c15);
    x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
}

/// How a request is to end.
fn end(n: u64) -> &'static str {
    ENDS[(mixed(n) % ENDS.len() as u64) as usize]
}

/// One request and what its client does.
async fn one(client: &Client, n: u64) {
    let (random, end) = (mixed(n), end(n));
    let dialect = [Dialect::OpenAi, Dialect::Anthropic][(random >> 8 & 1) as usize];
    let request = if random >> 9 & 1 == 1 { dialect.stream_request(end, "x") } else { dialect.request(end, "x") };
    let request = client.request(http::Method::POST, dialect.path()).header("x-request-id", format!("r{n}")).body(request.to_string());
    let whole = async {
        let response = request.send().await.expect("the gateway answers");
        // A stream that was cut ends with the dialect's error event, so the body itself is complete.
        response.bytes().await.expect("the body is complete")
    };
    if end == "hang" {
        // The client leaves when it has waited long enough; whether the answer had begun by then is left to chance.
        let _ = tokio::time::timeout(PATIENCE, whole).await;
    } else {
        whole.await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn however_ten_thousand_requests_end() {
    let upstream = Upstream::start(|r| {
        let events = || Says::text(TEXT).stream(Dialect::OpenAi, &r.model());
        match (r.model().as_str(), r.is_stream()) {
            ("fail", _) => Reply::json(500, &serde_json::json!({"error": {"message": "no", "type": "server_error"}})),
            ("cut", true) => {
                let mut events = events();
                events.truncate(4);
                Reply::events(vec![Step::Send(events.concat().into()), Step::Cut])
            }
            ("cut", false) => Reply::closed(),
            ("hang", true) => Reply::events(vec![Step::Send(events()[..3].concat().into()), Step::Hang]),
            ("hang", false) => Reply::silence(),
            _ => Says::text(TEXT).reply(Dialect::OpenAi, r),
        }
    })
    .await;
    let config = setup::config(&setup::provider(Dialect::OpenAi, &upstream), &extensions::fixture("probe", ""));
    let gateway = Gateway::builder(&config).set("logging.level=warn,wasmgate::cli=info").start().await;
    let client = Arc::new(Client::new(&gateway));
    let workers: Vec<_> = (0..AT_ONCE)
        .map(|worker| {
            let client = Arc::clone(&client);
            tokio::spawn(async move {
                for n in (worker..REQUESTS).step_by(AT_ONCE as usize) {
                    one(&client, n).await;
                }
            })
        })
        .collect();
    for worker in workers {
        worker.await.expect("a worker's requests end as they should");
    }
    // The last ones may still be running; then nothing more may be counted.
    let all = async {
        for n in (0..REQUESTS).filter(|n| end(*n) != "hang") {
            while count(&client, n).await == 0 {
                tokio::task::yield_now().await;
            }
        }
        // Of the clients that left, some did before their request had arrived; all that went on to the upstream count.
        let sent = upstream.received().iter().filter(|r| r.model() == "hang").count();
        loop {
            let mut counted = 0;
            for n in (0..REQUESTS).filter(|n| end(*n) == "hang") {
                counted += count(&client, n).await;
            }
            if counted >= sent {
                return (sent, counted);
            }
        }
    };
    let (sent, counted) = tokio::time::timeout(Duration::from_secs(120), all).await.expect("every request is counted");
    println!("{REQUESTS} requests; of those whose client left, {sent} reached the upstream and {counted} were counted");
    assert!(sent > 0, "some clients left in the middle");
    for n in 0..REQUESTS {
        let counted = count(&client, n).await;
        assert!(counted == 1 || (counted == 0 && end(n) == "hang"), "request {n}, {}: counted {counted} times", end(n));
    }
}

/// How often `on-complete` was called for a request.
async fn count(client: &Client, n: u64) -> usize {
    client.get(&format!("/probe/count/r{n}")).await.text().parse().expect("it is a number")
}
