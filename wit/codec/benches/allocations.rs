//! How much memory the codec asks for: `cargo bench -p llm-codec --bench allocations`. Counting costs time, so what it costs is measured by the
//! other bench; what it may be at most is held by `tests/allocations.rs`.

use divan::counter::BytesCount;
use divan::{AllocProfiler, Bencher, black_box};
use llm_codec::EncodeOptions;

#[path = "../tests/conversation/mod.rs"]
mod conversation;

use conversation::{FORMATS, answer, many_messages, one_text, options};

#[global_allocator]
static ALLOCATOR: AllocProfiler = AllocProfiler::system();

fn main() {
    divan::main();
}

const BYTES: usize = 1 << 20;
const LINE: &str = "A line of the text, with nothing in it that has to be escaped; ";

#[divan::bench(consts = [0, 1, 2, 3, 4])]
fn decode_one_text<const F: usize>(bencher: Bencher) {
    decode(bencher, F, &one_text(FORMATS[F], &LINE.repeat(BYTES / LINE.len())));
}

#[divan::bench(consts = [0, 1, 2, 3, 4])]
fn decode_many_messages<const F: usize>(bencher: Bencher) {
    decode(bencher, F, &many_messages(FORMATS[F], BYTES));
}

#[divan::bench(consts = [0, 1, 2, 3, 4])]
fn encode_one_text<const F: usize>(bencher: Bencher) {
    encode(bencher, F, &one_text(FORMATS[F], &LINE.repeat(BYTES / LINE.len())));
}

#[divan::bench(consts = [0, 1, 2, 3, 4])]
fn encode_many_messages<const F: usize>(bencher: Bencher) {
    encode(bencher, F, &many_messages(FORMATS[F], BYTES));
}

#[divan::bench(consts = [0, 1, 2, 3, 4])]
fn encode_answer<const F: usize>(bencher: Bencher) {
    let hub = answer(FORMATS[F], BYTES);
    bencher.bench(|| FORMATS[F].encode_answer(black_box(&hub), &options()));
}

fn decode(bencher: Bencher, format: usize, body: &[u8]) {
    bencher.counter(BytesCount::new(body.len())).bench(|| FORMATS[format].decode_request(black_box(body)).unwrap());
}

fn encode(bencher: Bencher, format: usize, body: &[u8]) {
    let hub = FORMATS[format].decode_request(body).unwrap();
    let options = EncodeOptions::default();
    bencher.counter(BytesCount::new(body.len())).bench(|| FORMATS[format].encode_request(black_box(&hub), &options));
}
