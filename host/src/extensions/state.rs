//! What the host keeps for one instance: its limits, its handles, and which call it is in.

use std::sync::Arc;
use std::time::{Duration, Instant};

use wasmtime::component::{HasData, ResourceTable};
use wasmtime::{CallHook, ResourceLimiter, UpdateDeadline};
use wasmtime_wasi::{WasiCtx, WasiCtxView, WasiView};
use wasmtime_wasi_http::{RequestOptions, WasiBody, WasiHttpCtxView, WasiHttpHooks, WasiHttpView};

use super::clock::{CallClock, Crossed, Spent, thread_cpu_nanos};
use super::imports::{clocks, random};
use super::outbound::{self, Outbound};
use super::recording::Draft;
use super::services::Services;
use super::tape::{Playback, Tape};
use crate::pipeline::Caller;

/// Data of a store. One store holds one instance and dies with it.
pub struct StoreState {
    /// What the extension may use, shared by its instances.
    pub services: Arc<Services>,
    /// Handles given to the guest.
    pub table: ResourceTable,
    /// Made for the first guest call that needs it: most extensions are granted nothing of it.
    wasi: Option<Box<Wasi>>,
    memory: MemoryLimiter,
    /// Guest CPU time that this call may still use.
    cpu_left: Duration,
    /// Reading of the thread's CPU clock at which the guest's time counts from, in nanoseconds.
    clock: Arc<CallClock>,
    /// In whose name the call is made, if in anybody's.
    pub caller: Option<Caller>,
    /// What crossed in this call.
    pub crossed: Crossed,
    /// Time that this call spent in the host's functions so far, waiting included.
    host_time: Duration,
    /// Since when it is in one.
    host_since: Option<Instant>,
    /// How many it is in: one may take memory of the guest, whose code has ticks like any other.
    host_depth: u32,
    /// The limit that ended the call, for the log and the statistics.
    pub limit_hit: Option<&'static str>,
    /// Last panic message that the guest reported.
    pub panic: Option<String>,
    /// What calls of the host are noted on, or answered from; none in most calls.
    pub tape: Option<Box<Tape>>,
    /// Answers that the guest asked for and has not let go of. Each holds a request.
    pub open_answers: usize,
}

/// Which part of the state an import works on: the whole.
pub struct State;

impl HasData for State {
    type Data<'a> = &'a mut StoreState;
}

impl StoreState {
    /// The state of a new instance.
    pub fn new(services: Arc<Services>) -> Self {
        let limits = services.limits;
        let mut table = ResourceTable::new();
        table.set_max_capacity(limits.handles);
        Self {
            services,
            table,
            wasi: None,
            memory: MemoryLimiter { limit: limits.memory_bytes, tables: limits.table_elements, hit: None, peak: 0 },
            cpu_left: Duration::ZERO,
            clock: Arc::default(),
            caller: None,
            crossed: Crossed::default(),
            host_time: Duration::ZERO,
            host_since: None,
            host_depth: 0,
            limit_hit: None,
            panic: None,
            tape: None,
            open_answers: 0,
        }
    }

    /// The state of a new instance in which a call of this time (Unix) is made again. It has no effect on anything.
    pub fn replaying(services: Arc<Services>, at: Duration) -> Self {
        Self { tape: Some(Box::new(Tape::Quiet)), wasi: Some(Box::new(Wasi::fixed(at))), ..Self::new(services) }
    }

    /// The call that begins is recorded.
    pub fn record(&mut self, draft: Draft) {
        self.set_tape(Tape::Recording(Box::new(draft)));
    }

    /// The call that begins is a replay.
    pub fn replay(&mut self, playback: Playback) {
        self.set_tape(Tape::Replaying(Box::new(playback)));
    }

    fn set_tape(&mut self, tape: Tape) {
        if let Some(wasi) = &mut self.wasi {
            wasi.outbound.sent = false;
        }
        self.tape = Some(Box::new(tape));
    }

    /// Whether the guest sent requests into the network, or tried to, since the tape began.
    pub fn sent_requests(&self) -> bool {
        self.wasi.as_ref().is_some_and(|wasi| wasi.outbound.sent)
    }

    /// A call begins: it may use this much guest CPU time.
    pub fn begin(&mut self, cpu: Duration) {
        self.cpu_left = cpu;
        self.clock.begin();
        self.crossed = Crossed::default();
        self.host_time = Duration::ZERO;
        self.host_since = None;
        self.host_depth = 0;
        self.limit_hit = None;
        self.panic = None;
        self.memory.hit = None;
    }

    /// Control goes from the host to the guest or back. Only functions of the host that the guest calls are timed one by one: reading the
    /// clock whenever the guest is entered would cost a tenth of a small call.
    pub fn on_transition(&mut self, hook: CallHook) {
        match hook {
            CallHook::CallingHost => {
                self.host_depth += 1;
                self.host_since.get_or_insert_with(Instant::now);
            }
            CallHook::ReturningFromHost => {
                self.host_depth = self.host_depth.saturating_sub(1);
                if self.host_depth == 0 {
                    self.host_time += self.host_since.take().map_or(Duration::ZERO, |since| since.elapsed());
                }
            }
            CallHook::CallingWasm | CallHook::ReturningFromWasm => {}
        }
    }

    /// Where the time of a call went that took this long.
    pub fn spent(&self, took: Duration) -> Spent {
        // A call that is cut off may end inside one.
        let running = self.host_since.map_or(Duration::ZERO, |since| since.elapsed());
        self.clock.spent(took, self.host_time + running)
    }

    /// So many bytes of content go to the guest.
    pub fn given(&mut self, bytes: usize) {
        self.crossed.given += bytes as u64;
    }

    /// So many bytes of content go to the guest that it got while it was called: answers to requests of its own. It has time to read them,
    /// as it has for what it was called with.
    pub fn given_more(&mut self, bytes: usize) {
        self.given(bytes);
        self.cpu_left += self.services.limits.cpu_for_reading(bytes);
    }

    /// So many bytes of content come from the guest.
    pub fn taken(&mut self, bytes: usize) {
        self.crossed.taken += bytes as u64;
    }

    /// The clock of the calls, for those who poll them.
    pub fn clock(&self) -> Arc<CallClock> {
        Arc::clone(&self.clock)
    }

    /// What ended the call, if a limit did.
    pub fn exhausted(&self) -> Option<&'static str> {
        self.limit_hit.or(self.memory.hit)
    }

    /// Called once per epoch tick in which the guest ran. What counts is the CPU time of the thread, not the wall clock: on a
    /// busy machine a guest must not pay for being kept waiting.
    pub fn on_tick(&mut self) -> wasmtime::Result<UpdateDeadline> {
        // A call of some microseconds has a tick in it now and then. It charges nothing, and nobody has to go behind everybody else for it.
        let Some(ran) = self.clock.tick(thread_cpu_nanos(), self.spent(Duration::ZERO).host) else {
            return Ok(UpdateDeadline::Continue(1));
        };
        self.cpu_left = self.cpu_left.saturating_sub(ran);
        if self.cpu_left.is_zero() {
            self.limit_hit = Some("cpu_ms");
            return Err(wasmtime::Error::msg("the call used up its CPU time"));
        }
        let clock = Arc::clone(&self.clock);
        // Other requests on this thread go first. The guest may go on in another thread, so its clock is read there.
        Ok(UpdateDeadline::YieldCustom(
            1,
            Box::pin(async move {
                tokio::task::yield_now().await;
                clock.mark(thread_cpu_nanos());
            }),
        ))
    }

    /// The limiter of memory and tables.
    pub fn limiter(&mut self) -> &mut dyn ResourceLimiter {
        &mut self.memory
    }

    /// Most linear memory that the instance ever had, in bytes.
    pub fn peak_memory(&self) -> usize {
        self.memory.peak
    }
}

/// Refuses growth past the extension's limits. Growth that is refused traps, so that it cannot look like a panic of the guest.
struct MemoryLimiter {
    limit: usize,
    tables: usize,
    hit: Option<&'static str>,
    peak: usize,
}

impl ResourceLimiter for MemoryLimiter {
    fn memory_growing(&mut self, _current: usize, desired: usize, _maximum: Option<usize>) -> wasmtime::Result<bool> {
        if desired > self.limit {
            self.hit = Some("memory_mb");
            return Err(wasmtime::Error::msg(format!("memory limit of {} bytes reached", self.limit)));
        }
        self.peak = self.peak.max(desired);
        Ok(true)
    }

    fn table_growing(&mut self, _current: usize, desired: usize, _maximum: Option<usize>) -> wasmtime::Result<bool> {
        if desired > self.tables {
            self.hit = Some("table_elements");
            return Err(wasmtime::Error::msg(format!("table limit of {} elements reached", self.tables)));
        }
        Ok(true)
    }
}

impl StoreState {
    /// The standard interfaces, with the table that their handles are in.
    fn wasi(&mut self) -> (&mut Wasi, &mut ResourceTable) {
        (self.wasi.get_or_insert_with(|| Box::new(Wasi::new(&self.services))), &mut self.table)
    }
}

impl WasiView for StoreState {
    fn ctx(&mut self) -> WasiCtxView<'_> {
        let (wasi, table) = self.wasi();
        WasiCtxView { ctx: &mut wasi.ctx, table }
    }
}

impl WasiHttpView for StoreState {
    fn http(&mut self) -> WasiHttpCtxView<'_> {
        let (wasi, table) = self.wasi();
        WasiHttpCtxView { ctx: &mut wasi.http, table, hooks: &mut wasi.outbound }
    }
}

/// Standard interfaces: clocks and random; no files, no sockets, no environment, no inherited streams.
struct Wasi {
    ctx: WasiCtx,
    http: wasmtime_wasi_http::WasiHttpCtx,
    outbound: Gate,
}

impl Wasi {
    fn new(services: &Services) -> Self {
        Self::with(WasiCtx::builder().build(), services.outbound.clone())
    }

    /// For a replay: the same at any time, and nothing leaves the machine.
    fn fixed(at: Duration) -> Self {
        let mut context = WasiCtx::builder();
        clocks::fix(&mut context, at);
        random::fix(&mut context);
        Self::with(context.build(), None)
    }

    fn with(ctx: WasiCtx, outbound: Option<Arc<Outbound>>) -> Self {
        Self { ctx, http: wasmtime_wasi_http::WasiHttpCtx::new(), outbound: Gate { outbound, sent: false } }
    }
}

/// Outbound requests of guests: the configuration says where to; without a grant every one is refused as a value.
struct Gate {
    outbound: Option<Arc<Outbound>>,
    /// Whether there was one.
    sent: bool,
}

impl WasiHttpHooks for Gate {
    fn send_request(
        &mut self,
        request: http::Request<WasiBody>,
        options: Option<RequestOptions>,
        _sent: Box<dyn Future<Output = Result<(), wasmtime_wasi_http::Error>> + Send>,
    ) -> outbound::SendFuture {
        self.sent = true;
        match &self.outbound {
            Some(outbound) => outbound::send_for_guest(Arc::clone(outbound), request, options),
            None => Box::new(async { Err(wasmtime_wasi_http::Error::HttpRequestDenied) }),
        }
    }
}
