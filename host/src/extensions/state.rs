//! What the host keeps for one instance: its limits, its handles, and which call it is in.

use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use wasmtime::component::{HasData, ResourceTable};
use wasmtime::{ResourceLimiter, UpdateDeadline};
use wasmtime_wasi::{WasiCtx, WasiCtxView, WasiView};
use wasmtime_wasi_http::{RequestOptions, WasiBody, WasiHttpCtxView, WasiHttpHooks, WasiHttpView};

use super::engine::EPOCH_TICK;
use super::services::Services;

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
    /// Time that this call spent in the host, waiting.
    pub host_time: Duration,
    /// The limit that ended the call, for the log and the statistics.
    pub limit_hit: Option<&'static str>,
    /// Last panic message that the guest reported.
    pub panic: Option<String>,
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
            host_time: Duration::ZERO,
            limit_hit: None,
            panic: None,
        }
    }

    /// A call begins: it may use this much guest CPU time.
    pub fn begin(&mut self, cpu: Duration) {
        self.cpu_left = cpu;
        self.clock.mark(CallClock::BEGUN);
        self.host_time = Duration::ZERO;
        self.limit_hit = None;
        self.panic = None;
        self.memory.hit = None;
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
        let now = thread_cpu_nanos();
        let ran = match self.clock.0.load(Ordering::Relaxed) {
            CallClock::BEGUN => EPOCH_TICK,
            CallClock::RESUMED => Duration::ZERO,
            at => Duration::from_nanos(now.saturating_sub(at)).max(Duration::from_micros(1)),
        };
        self.clock.mark(now);
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

impl WasiView for StoreState {
    fn ctx(&mut self) -> WasiCtxView<'_> {
        WasiCtxView { ctx: &mut self.wasi.get_or_insert_default().ctx, table: &mut self.table }
    }
}

impl WasiHttpView for StoreState {
    fn http(&mut self) -> WasiHttpCtxView<'_> {
        let Wasi { http, outbound, .. } = &mut **self.wasi.get_or_insert_default();
        WasiHttpCtxView { ctx: http, table: &mut self.table, hooks: outbound }
    }
}

/// Standard interfaces: clocks and random; no files, no sockets, no environment, no inherited streams.
struct Wasi {
    ctx: WasiCtx,
    http: wasmtime_wasi_http::WasiHttpCtx,
    outbound: NoOutbound,
}

impl Default for Wasi {
    fn default() -> Self {
        Self { ctx: WasiCtx::builder().build(), http: wasmtime_wasi_http::WasiHttpCtx::new(), outbound: NoOutbound }
    }
}

/// Where the CPU time of a call is counted from. It is shared with whoever polls the call, because only that one knows when the
/// guest stood still: readings before and after a wait may be of different threads, and others ran in between.
#[derive(Debug, Default)]
pub struct CallClock(AtomicU64);

impl CallClock {
    /// The call began, and no tick has come yet.
    const BEGUN: u64 = 0;
    /// The guest goes on after a wait, and no tick has come since.
    const RESUMED: u64 = u64::MAX;

    fn mark(&self, at: u64) {
        self.0.store(at, Ordering::Relaxed);
    }
}

/// What bounds a call from outside: its wall clock, and the reading of its CPU clock.
pub struct Bounds {
    pub wall: Duration,
    pub clock: Arc<CallClock>,
}

impl Bounds {
    /// Runs the call.
    pub async fn run<F: Future>(self, call: F) -> Result<F::Output, tokio::time::error::Elapsed> {
        let mut call = pin!(call);
        let mut first = true;
        let metered = std::future::poll_fn(|context| {
            if !std::mem::take(&mut first) {
                self.clock.mark(CallClock::RESUMED);
            }
            call.as_mut().poll(context)
        });
        tokio::time::timeout(self.wall, metered).await
    }
}

/// CPU time of the calling thread so far, in nanoseconds.
fn thread_cpu_nanos() -> u64 {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    now.tv_sec as u64 * 1_000_000_000 + now.tv_nsec as u64
}

/// Outbound requests of guests are not offered: every one is refused as a value.
struct NoOutbound;

impl WasiHttpHooks for NoOutbound {
    fn send_request(
        &mut self,
        _request: http::Request<WasiBody>,
        _options: Option<RequestOptions>,
        _sent: Box<dyn Future<Output = Result<(), wasmtime_wasi_http::Error>> + Send>,
    ) -> SendFuture {
        Box::new(async { Err(wasmtime_wasi_http::Error::HttpRequestDenied) })
    }
}

/// What `send_request` returns: the response, and the rest of the exchange.
type SendFuture = Box<
    dyn Future<
            Output = Result<
                (http::Response<WasiBody>, Box<dyn Future<Output = Result<(), wasmtime_wasi_http::Error>> + Send>),
                wasmtime_wasi_http::Error,
            >,
        > + Send,
>;
