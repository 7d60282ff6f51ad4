//! Any text is a configuration, or a list of problems that say where.
#![no_main]

use libfuzzer_sys::fuzz_target;
use wasmgate_fuzz::config;

fuzz_target!(|bytes: &[u8]| config::check(bytes));
