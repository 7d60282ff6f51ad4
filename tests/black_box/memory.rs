//! What an open stream costs in memory, and that the next ones cost no more.

use wasmgate_tests::answers::{Says, TEXT};
use wasmgate_tests::{Client, Dialect, Events, Gateway, Reply, Step, Upstream, soon};

use crate::{extensions, setup};

/// Streams that are open at once.
const STREAMS: usize = 2_000;

/// What an open stream may take, resident, in KiB: 150 KB. The kernel counts pages that instances share in each of them.
const KIB_PER_STREAM: u64 = 150_000 / 1024;

/// What the same streams may take when they come again: the allocator's free blocks do not all fit.
const KIB_THE_SECOND_TIME: u64 = 175;

#[tokio::test]
async fn two_thousand_open_streams_take_their_share_of_memory() {
    check("half of them translated", "").await;
}

#[tokio::test]
async fn two_thousand_open_streams_behind_a_filter_take_their_share_of_memory() {
    check("two dialects and one filter", &extensions::fixture("redacts", "")).await;
}

/// Opens the streams, every other one in the dialect that is not the upstream's; closes them; and opens as many again: slots of
/// instances and parts of the heap that were used before must not cost more than new ones.
async fn check(what: &str, more: &str) {
    if !enough_files() {
        return;
    }
    let format = Dialect::OpenAi;
    let upstream = Upstream::start(move |r| {
        let mut events = Says::text(TEXT).stream(format, &r.model());
        events.truncate(4);
        Reply::events(vec![Step::Send(events.concat().into()), Step::Hang])
    })
    .await;
    let config = setup::config(&setup::provider(format, &upstream), more);
    let gateway = Gateway::builder(&config).set("logging.level=warn,wasmgate::cli=info").start().await;
    let client = Client::new(&gateway);
    let idle = gateway.open_files();
    drop(open(&client, 20).await);
    closed(&gateway, idle).await;
    let (memory, resident) = (gateway.memory_kib(), gateway.resident_kib());
    for (wave, limit) in [("first", KIB_PER_STREAM), ("second", KIB_THE_SECOND_TIME)] {
        let streams = open(&client, STREAMS).await;
        let (memory, resident) = (gateway.memory_kib() - memory, gateway.resident_kib() - resident);
        let each = |kib: u64| kib as f64 / STREAMS as f64;
        println!("{STREAMS} streams, {what}, {wave} time: {:.1} KiB each ({:.1} resident)", each(memory), each(resident));
        assert!(resident <= limit * STREAMS as u64, "{:.1} KiB resident for each stream, {what}, {wave} time", each(resident));
        drop(streams);
        closed(&gateway, idle).await;
    }
    assert_eq!(client.get("/health").await.status, 200);
}

async fn open(client: &Client, count: usize) -> Vec<Events> {
    let mut streams = Vec::with_capacity(count);
    for n in 0..count {
        let dialect = Dialect::ALL[n % 2];
        let mut stream = client.stream(dialect.path(), &dialect.stream_request("m", "hello")).await;
        assert_eq!(stream.status, 200, "stream {n}");
        stream.next().await.expect("a first event");
        streams.push(stream);
    }
    streams
}

/// Waits until the gateway has noticed that all have left. A few connections may be kept.
async fn closed(gateway: &Gateway, idle: usize) {
    let all = async {
        while gateway.open_files() > idle + 10 {
            tokio::task::yield_now().await;
        }
    };
    soon("end of all streams", all).await;
}

/// Each stream takes a connection here and two in the gateway.
fn enough_files() -> bool {
    let files = rustix::process::getrlimit(rustix::process::Resource::Nofile);
    if files.maximum.is_some_and(|most| most < 3 * STREAMS as u64) {
        println!("SKIPPED: {:?} open files are too few for {STREAMS} streams", files.maximum);
        return false;
    }
    let all = rustix::process::Rlimit { current: files.maximum, ..files };
    rustix::process::setrlimit(rustix::process::Resource::Nofile, all).expect("the soft limit can be raised to the hard one");
    true
}
