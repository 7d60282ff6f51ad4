//! Gemini's answers: told as an error, or kept as a document and as a stream, in every format.
#![no_main]

use libfuzzer_sys::fuzz_target;
use llm_codec::Format;
use wasmgate_fuzz::answer;

fuzz_target!(|bytes: &[u8]| answer::check(Format::GeminiGenerate, bytes));
