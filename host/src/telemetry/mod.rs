//! The log: structured lines on standard error. Content of requests and secrets never go there. And the numbers, and traces.

mod extensions;
mod format;
mod lines;
pub mod metrics;
pub mod otlp;
pub mod process;
mod providers;
pub mod served;
mod storage;
pub mod summary;

pub use extensions::ExtensionCosts;
pub use format::within;
pub use providers::ProviderHealth;
pub use storage::Stored;

use std::fs::File;
use std::io::{IsTerminal as _, Write};

use tracing_subscriber::filter::filter_fn;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;
use tracing_subscriber::{EnvFilter, Layer};

use self::format::Format;
use self::lines::{Guard, Lines};
use crate::config::Logging;

/// Target of the lines of the access log.
pub const ACCESS: &str = "access";

/// What is written. An error tells what is wrong with the level.
pub fn filter(logging: &Logging) -> Result<EnvFilter, String> {
    let filter = EnvFilter::try_new(&logging.level).map_err(|e| format!("`logging.level` is `{}`: {e}", logging.level))?;
    // Whether there are such lines is a setting of its own. In a file of their own they are not in the log too.
    let access = if logging.access && logging.access_file.is_none() { "access=info" } else { "access=off" };
    Ok(filter.add_directive(access.parse().map_err(|e| format!("{e}"))?))
}

/// What writes the last lines when it is dropped.
pub struct Guards {
    _log: Guard,
    _access: Option<Guard>,
}

/// Begins to write the log, which ends when the guards are dropped. An error tells what is wrong with the level or the file.
pub fn start(logging: &Logging) -> Result<Guards, String> {
    let filter = filter(logging)?;
    let (log, guard) = gathered(std::io::stderr(), "log")?;
    let (access, access_guard) = match logging.access_file.as_ref().filter(|_| logging.access) {
        None => (None, None),
        Some(path) => {
            let opened = File::options().append(true).create(true).open(path);
            let file = opened.map_err(|e| format!("`logging.access_file` is `{}`, which cannot be written: {e}", path.display()))?;
            let (access, guard) = gathered(file, "access log")?;
            let access = Format { to: access, format: logging.format, colours: false };
            (Some(access.with_filter(filter_fn(|about| about.target() == ACCESS))), Some(guard))
        }
    };
    let log = Format { to: log, format: logging.format, colours: std::io::stderr().is_terminal() };
    // A filter of its own for each of two is looked at for every line; the usual one is for the whole.
    let started = match access {
        None => tracing_subscriber::registry().with(log).with(filter).try_init(),
        Some(access) => tracing_subscriber::registry().with(log.with_filter(filter).and_then(access)).try_init(),
    };
    started.map_err(|e| e.to_string())?;
    Ok(Guards { _log: guard, _access: access_guard })
}

/// A thread writes what has gathered in one go: with a system call for each line, the log was a seventh of the cost of a small request.
fn gathered(to: impl Write + Send + 'static, name: &str) -> Result<(Lines, Guard), String> {
    lines::start(to, name).map_err(|e| format!("the thread that writes the {name} cannot start: {e}"))
}
