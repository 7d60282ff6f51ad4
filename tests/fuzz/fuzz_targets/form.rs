//! Any bytes are a form that is understood in one way, or none.
#![no_main]

use libfuzzer_sys::fuzz_target;
use wasmgate_fuzz::form;

fuzz_target!(|bytes: &[u8]| form::check(bytes));
