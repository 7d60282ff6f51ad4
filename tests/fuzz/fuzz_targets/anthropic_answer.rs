//! Answers of Anthropic messages: refused, or kept.
#![no_main]

use libfuzzer_sys::fuzz_target;
use llm_codec::Format;
use wasmgate_fuzz::answer;

fuzz_target!(|bytes: &[u8]| answer::check(Format::AnthropicMessages, bytes));
