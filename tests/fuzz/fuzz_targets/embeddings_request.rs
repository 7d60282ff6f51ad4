//! Requests for embeddings: refused with a reason, or told in the other API.
#![no_main]

use libfuzzer_sys::fuzz_target;
use wasmgate_fuzz::embeddings;

fuzz_target!(|bytes: &[u8]| embeddings::request(bytes));
