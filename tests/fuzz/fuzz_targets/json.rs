//! The JSON scanner agrees with `serde_json`, and a splice leaves the rest alone.
#![no_main]

use libfuzzer_sys::fuzz_target;
use wasmgate_fuzz::json;

fuzz_target!(|bytes: &[u8]| json::check(bytes));
