//! `wasi:logging`: lines of extensions in the gateway's log, so many a second.

use crate::extensions::bindings::wasi::logging::logging::{Host, Level};
use crate::extensions::services::LogVerdict;
use crate::extensions::state::StoreState;

/// Longest line, in bytes; the rest is cut.
const MAX_LINE: usize = 16 << 10;

/// Context of the line in which the SDK's panic hook reports a panic.
const PANIC_CONTEXT: &str = "panic";

impl Host for &mut StoreState {
    fn log(&mut self, level: Level, context: String, mut message: String) -> wasmtime::Result<()> {
        if message.len() > MAX_LINE {
            message.truncate(message.floor_char_boundary(MAX_LINE));
            message.push_str(" […cut]");
        }
        let extension = &*self.services.name;
        match self.services.log.ask() {
            LogVerdict::Write => write(level, extension, &context, &message),
            LogVerdict::FirstDrop => {
                tracing::warn!(extension, limit = "log_lines_per_second", "log lines dropped");
            }
            LogVerdict::Drop => {}
        }
        if context == PANIC_CONTEXT {
            self.panic = Some(message);
        }
        Ok(())
    }
}

fn write(level: Level, extension: &str, context: &str, message: &str) {
    match level {
        Level::Trace => tracing::trace!(target: "extension", extension, context, "{message}"),
        Level::Debug => tracing::debug!(target: "extension", extension, context, "{message}"),
        Level::Info => tracing::info!(target: "extension", extension, context, "{message}"),
        Level::Warn => tracing::warn!(target: "extension", extension, context, "{message}"),
        Level::Error | Level::Critical => tracing::error!(target: "extension", extension, context, "{message}"),
    }
}
