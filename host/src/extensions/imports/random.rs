//! `wasi:random/random`, the standard's own implementation under the tape of the call: in a replay the recorded bytes come again, and
//! beyond them always the same.
//!
//! `wasi:random/insecure` and its seed are not recorded, only fixed: languages seed their maps with it, once for each instance.

use wasmtime_wasi::p2::bindings::random::random;
use wasmtime_wasi::random::Deterministic;
use wasmtime_wasi::{WasiCtxBuilder, WasiView as _};

use crate::extensions::state::StoreState;
use crate::extensions::tape::Content;

/// Bytes after which the fixed ones repeat.
const PERIOD: usize = 4096;

impl random::Host for &mut StoreState {
    fn get_random_bytes(&mut self, len: u64) -> wasmtime::Result<Vec<u8>> {
        let bytes = self
            .sensed("random.get-random-bytes", &(len,), |state| random::Host::get_random_bytes(state.ctx().ctx.random(), len).map(Content));
        Ok(bytes?.0)
    }

    fn get_random_u64(&mut self) -> wasmtime::Result<u64> {
        self.sensed("random.get-random-u64", &(), |state| random::Host::get_random_u64(state.ctx().ctx.random()))
    }
}

/// Gives a context the random bytes of a replay.
pub fn fix(context: &mut WasiCtxBuilder) {
    context.secure_random(Deterministic::new(bytes())).insecure_random(Deterministic::new(bytes())).insecure_random_seed(0);
}

/// Bytes without a pattern, always the same (xorshift64).
fn bytes() -> Vec<u8> {
    let mut state = 0x2545_f491_4f6c_dd1d_u64;
    let next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 32) as u8
    };
    std::iter::repeat_with(next).take(PERIOD).collect()
}
