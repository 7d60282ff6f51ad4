//! Legacy completions: refused with a reason, or kept.
#![no_main]

use libfuzzer_sys::fuzz_target;
use wasmgate_fuzz::completions;

fuzz_target!(|bytes: &[u8]| completions::check(bytes));
