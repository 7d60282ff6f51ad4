//! Embeddings of a provider: an error, or one vector for each text.
#![no_main]

use libfuzzer_sys::fuzz_target;
use wasmgate_fuzz::embeddings;

fuzz_target!(|bytes: &[u8]| embeddings::answer(bytes));
