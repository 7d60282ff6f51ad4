//! Any component is loaded or refused, in bounded time.
#![no_main]

use libfuzzer_sys::fuzz_target;
use wasmgate_fuzz::component;

fuzz_target!(|bytes: &[u8]| component::check(bytes));
