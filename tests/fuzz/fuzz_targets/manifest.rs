//! Any file is a component with a manifest, or a reason why not.
#![no_main]

use libfuzzer_sys::fuzz_target;
use wasmgate_fuzz::manifest;

fuzz_target!(|bytes: &[u8]| manifest::check(bytes));
