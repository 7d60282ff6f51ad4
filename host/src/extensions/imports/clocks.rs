//! `wasi:clocks`, the standard's own implementation under the tape of the call: in a replay the recorded readings come again, and beyond
//! them the clocks stand still.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use wasmtime::component::Resource;
use wasmtime_wasi::WasiCtxBuilder;
use wasmtime_wasi::clocks::{HostMonotonicClock, HostWallClock, WasiClocksView as _};
use wasmtime_wasi::p2::DynPollable;
use wasmtime_wasi::p2::bindings::clocks::{monotonic_clock, wall_clock};

use crate::extensions::state::StoreState;

impl wall_clock::Host for &mut StoreState {
    fn now(&mut self) -> wasmtime::Result<wall_clock::Datetime> {
        self.sensed("wall-clock.now", &(), |state| wall_clock::Host::now(&mut state.clocks()))
    }

    fn resolution(&mut self) -> wasmtime::Result<wall_clock::Datetime> {
        wall_clock::Host::resolution(&mut self.clocks())
    }
}

impl monotonic_clock::Host for &mut StoreState {
    fn now(&mut self) -> wasmtime::Result<u64> {
        self.sensed("monotonic-clock.now", &(), |state| monotonic_clock::Host::now(&mut state.clocks()))
    }

    fn resolution(&mut self) -> wasmtime::Result<u64> {
        monotonic_clock::Host::resolution(&mut self.clocks())
    }

    fn subscribe_instant(&mut self, when: u64) -> wasmtime::Result<Resource<DynPollable>> {
        // Nobody waits in a replay.
        let when = if self.is_replay() { 0 } else { when };
        self.clocks().subscribe_instant(when)
    }

    fn subscribe_duration(&mut self, duration: u64) -> wasmtime::Result<Resource<DynPollable>> {
        let duration = if self.is_replay() { 0 } else { duration };
        self.clocks().subscribe_duration(duration)
    }
}

/// Gives a context the clocks of a replay.
pub fn fix(context: &mut WasiCtxBuilder, at: Duration) {
    context.wall_clock(Stopped(at)).monotonic_clock(Crawling(AtomicU64::new(0)));
}

/// A wall clock that stands still.
struct Stopped(Duration);

impl HostWallClock for Stopped {
    fn resolution(&self) -> Duration {
        Duration::from_nanos(1)
    }

    fn now(&self) -> Duration {
        self.0
    }
}

/// A monotonic clock on which a microsecond passes between two readings, so that whoever waits for it to go on does not wait for ever.
struct Crawling(AtomicU64);

impl HostMonotonicClock for Crawling {
    fn resolution(&self) -> u64 {
        1_000
    }

    fn now(&self) -> u64 {
        self.0.fetch_add(1_000, Ordering::Relaxed)
    }
}
