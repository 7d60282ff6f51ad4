//! The log: structured lines on standard error. Content of requests and secrets never go there. And the numbers.

mod extensions;
pub mod metrics;

pub use extensions::ExtensionCosts;

use tracing_subscriber::EnvFilter;

use crate::config::{LogFormat, Logging};

/// What is written. An error tells what is wrong with the level.
pub fn filter(logging: &Logging) -> Result<EnvFilter, String> {
    EnvFilter::try_new(&logging.level).map_err(|e| format!("`logging.level` is `{}`: {e}", logging.level))
}

/// Begins to write the log. An error tells what is wrong with the level.
pub fn start(logging: &Logging) -> Result<(), String> {
    let filter = filter(logging)?;
    let log = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    let started = match logging.format {
        LogFormat::Text => log.with_ansi(std::io::IsTerminal::is_terminal(&std::io::stderr())).try_init(),
        LogFormat::Json => log.json().flatten_event(true).try_init(),
    };
    started.map_err(|e| e.to_string())
}
