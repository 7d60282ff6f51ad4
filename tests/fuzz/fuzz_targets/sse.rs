//! Any bytes, cut at any places, are the same events as in one piece.
#![no_main]

use libfuzzer_sys::fuzz_target;
use wasmgate_fuzz::sse;

fuzz_target!(|bytes: &[u8]| sse::check(bytes));
