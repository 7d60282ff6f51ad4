//! `wasi:logging`: lines of extensions in the gateway's log, so many a second.

use crate::extensions::bindings::wasi::logging::logging::{Host, Level};
use crate::extensions::services::LogVerdict;
use crate::extensions::state::StoreState;

/// Longest line, in bytes; the rest is cut.
const MAX_LINE: usize = 16 << 10;

/// Longest context, in bytes; the rest is cut.
const MAX_CONTEXT: usize = 256;

/// Context of the line in which the SDK's panic hook reports a panic.
const PANIC_CONTEXT: &str = "panic";

impl Host for &mut StoreState {
    fn log(&mut self, level: Level, context: String, message: String) -> wasmtime::Result<()> {
        let (context, message) = (one_line(context, MAX_CONTEXT), one_line(message, MAX_LINE));
        let extension = &*self.services.name;
        // What a replay says is of no matter, and may differ.
        let verdict = if self.is_replay() { LogVerdict::Drop } else { self.services.log.ask() };
        match verdict {
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

/// A text that cannot be mistaken for more than one line of the log, nor fill it.
fn one_line(mut text: String, most: usize) -> String {
    if text.len() > most {
        text.truncate(text.floor_char_boundary(most));
        text.push_str(" […cut]");
    }
    if !text.contains(char::is_control) {
        return text;
    }
    text.chars().flat_map(|c| if c.is_control() { c.escape_default().collect::<Vec<_>>() } else { vec![c] }).collect()
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

#[cfg(test)]
mod tests {
    use super::one_line;

    #[test]
    fn a_line_stays_one_line() {
        assert_eq!(one_line("plain ä".into(), 100), "plain ä");
        assert_eq!(one_line("a\nERROR forged".into(), 100), "a\\nERROR forged");
        assert_eq!(one_line("ääää".into(), 3), "ä […cut]");
    }
}
