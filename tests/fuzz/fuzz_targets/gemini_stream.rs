//! Gemini's streams: the same however they are cut, for the decoder and for the tap.
#![no_main]

use libfuzzer_sys::fuzz_target;
use llm_codec::Format;
use wasmgate_fuzz::stream;

fuzz_target!(|bytes: &[u8]| stream::check(Format::GeminiGenerate, bytes));
