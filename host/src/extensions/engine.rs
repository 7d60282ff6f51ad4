//! The one wasmtime engine that every component runs on, and its clock.
//!
//! What is absent: the baseline compiler (most of the 2026 sandbox escapes were there), component-model async (a call costs
//! five times more and a trap fails every sibling), `pagemap_scan`, fuel (epochs cost a fraction of it).

use std::time::Duration;

use anyhow::Context as _;
use wasmtime::{Config, Engine, InstanceAllocationStrategy, PoolingAllocationConfig, Strategy};

/// Length of an epoch. A guest that runs for two of them without waiting yields to other requests, and then for each one more; CPU limits are
/// counted in these ticks, so a limit is exact to one tick.
pub const EPOCH_TICK: Duration = Duration::from_millis(1);

/// Instances that may live at once in the whole process. A stream keeps one per extension that writes or filters it, so this
/// bounds concurrent cross-format streams. Each reserves address space (4 GiB, of 128 TiB), not memory.
pub const MAX_INSTANCES: u32 = 8_192;

/// Core instances inside one component: the module itself and the shims that the encoder adds.
const CORE_INSTANCES_PER_COMPONENT: u32 = 4;

/// Largest linear memory that any extension may be granted; the limit of each is in its configuration.
pub const MAX_MEMORY: usize = 512 << 20;

/// Table elements per table.
const MAX_TABLE_ELEMENTS: usize = 20_000;

/// Stack of one guest, and the host stack under it.
const WASM_STACK: usize = 512 << 10;
const ASYNC_STACK: usize = 1 << 20;

/// Builds the engine. One per process: types of two engines never mix.
pub fn build() -> anyhow::Result<Engine> {
    let mut pool = PoolingAllocationConfig::default();
    pool.total_component_instances(MAX_INSTANCES)
        .total_core_instances(MAX_INSTANCES * CORE_INSTANCES_PER_COMPONENT)
        .max_core_instances_per_component(16)
        .total_memories(MAX_INSTANCES)
        .max_memories_per_component(1)
        .max_memory_size(MAX_MEMORY)
        .total_tables(MAX_INSTANCES * CORE_INSTANCES_PER_COMPONENT)
        .max_tables_per_component(8)
        .table_elements(MAX_TABLE_ELEMENTS)
        .total_stacks(MAX_INSTANCES)
        // What is kept is the beginning of a memory. That is the far end of the guest's stack, which is never reached: a slot
        // that was used once would hold zeros for good, and reuse would fault the pages that matter in again all the same.
        .linear_memory_keep_resident(0)
        .table_keep_resident(4 << 10);

    let mut config = Config::new();
    config
        .strategy(Strategy::Cranelift)
        .wasm_component_model(true)
        .concurrency_support(false)
        .epoch_interruption(true)
        .max_wasm_stack(WASM_STACK)
        .async_stack_size(ASYNC_STACK)
        .memory_init_cow(true)
        .allocation_strategy(InstanceAllocationStrategy::Pooling(pool));
    Engine::new(&config).map_err(|e| anyhow::anyhow!("{e:#}")).context("the WebAssembly engine could not be set up")
}

/// Starts the thread that advances the epoch; it ends with the engine.
pub fn start_clock(engine: &Engine) {
    let weak = engine.weak();
    std::thread::Builder::new()
        .name("epoch".into())
        .spawn(move || {
            while let Some(engine) = weak.upgrade() {
                engine.increment_epoch();
                drop(engine);
                std::thread::sleep(EPOCH_TICK);
            }
        })
        .expect("the operating system starts a thread");
}
