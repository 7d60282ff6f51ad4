//! Gemini's requests: refused with a reason, or kept.
#![no_main]

use libfuzzer_sys::fuzz_target;
use llm_codec::Format;
use wasmgate_fuzz::request;

fuzz_target!(|bytes: &[u8]| request::check(Format::GeminiGenerate, bytes));
