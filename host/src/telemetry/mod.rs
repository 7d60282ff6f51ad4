//! The log: structured lines on standard error. Content of requests and secrets never go there. And the numbers.

mod extensions;
pub mod metrics;
mod providers;

pub use extensions::ExtensionCosts;
pub use providers::ProviderHealth;

use std::io::BufWriter;

use tracing_appender::non_blocking::{NonBlockingBuilder, WorkerGuard};
use tracing_subscriber::EnvFilter;

use crate::config::{LogFormat, Logging};

/// What is written. An error tells what is wrong with the level.
pub fn filter(logging: &Logging) -> Result<EnvFilter, String> {
    EnvFilter::try_new(&logging.level).map_err(|e| format!("`logging.level` is `{}`: {e}", logging.level))
}

/// Lines that wait to be written; then whoever has one more waits too, and none is lost.
const WAITING_LINES: usize = 8_192;

/// Begins to write the log, which ends when the guard is dropped. An error tells what is wrong with the level.
///
/// A thread writes what has gathered in one go: with a system call for each line, the log was a seventh of the cost of a small request.
pub fn start(logging: &Logging) -> Result<WorkerGuard, String> {
    let filter = filter(logging)?;
    let gathered = BufWriter::with_capacity(64 << 10, std::io::stderr());
    let lines = NonBlockingBuilder::default().lossy(false).buffered_lines_limit(WAITING_LINES).thread_name("log");
    let (writer, guard) = lines.finish(gathered);
    let log = tracing_subscriber::fmt().with_env_filter(filter).with_writer(writer);
    let started = match logging.format {
        LogFormat::Text => log.with_ansi(std::io::IsTerminal::is_terminal(&std::io::stderr())).try_init(),
        LogFormat::Json => log.json().flatten_event(true).try_init(),
    };
    started.map(|()| guard).map_err(|e| e.to_string())
}
