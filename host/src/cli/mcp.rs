//! `wasmgate mcp`: an MCP server on standard input and output.
//!
//! The server is the extension that answers at `--path`; this command is its client's side of it. It carries messages between the two
//! (`bridge.rs`), inside of this process and without a port, and it has what a component never has: the files of the folder that it runs in
//! (`files.rs`, `write.rs`).

mod bridge;
mod files;
mod write;

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use clap::Args;
use serde_json::Value;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{mpsc, oneshot};

use self::bridge::Bridge;
use self::files::Files;
use super::{FAILURE, SourceArgs, USAGE, begin, reject};
use crate::deploy::Sources;
use crate::gateway::{Checked, Gateway};

/// What is said after `mcp`.
#[derive(Args)]
pub struct McpArgs {
    #[command(flatten)]
    source: SourceArgs,
    /// The folder that files are read and written in.
    #[arg(long, value_name = "DIR", default_value = ".")]
    files: PathBuf,
    /// Where the extension answers that is the server.
    #[arg(long, value_name = "PATH", default_value = "/mcp")]
    path: String,
}

/// Where the caller's key is, for a configuration with an extension that knows keys. A command line could be seen by others.
const KEY: &str = "WASMGATE_MCP_KEY";

/// Lines that wait to be read or written. Whoever is faster waits.
const WAITING: usize = 64;

/// Longest line, in bytes: what comes after it is not looked for without end.
const MAX_LINE: u64 = 16 << 20;

/// A line of standard input.
enum Line {
    Text(Vec<u8>),
    TooLong,
}

/// Runs the server until its input ends.
pub fn run(args: &McpArgs) -> ExitCode {
    let (sources, checked, _writes_the_last_lines) = match begin(&args.source) {
        Ok(begun) => begun,
        Err(code) => return code,
    };
    let files = match Files::open(&args.files) {
        Ok(files) => files,
        Err(reason) => return reject(&format!("error: `--files {}`: {reason}", args.files.display())),
    };
    let key = std::env::var(KEY).ok().filter(|key| !key.is_empty());
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    let ended = runtime.map_err(anyhow::Error::from).and_then(|r| r.block_on(serve(sources, checked, args.path.clone(), key, files)));
    match ended {
        Ok(()) => ExitCode::SUCCESS,
        Err(e) => {
            eprintln!("error: {e:#}");
            ExitCode::from(if e.is::<NoServer>() { USAGE } else { FAILURE })
        }
    }
}

/// The configuration has nobody who could answer.
#[derive(Debug, thiserror::Error)]
#[error("no extension answers `POST {0}`; add `extensions: {{mcp: {{grant: […]}}}}` to the configuration, or set `--path`")]
struct NoServer(String);

async fn serve(sources: Sources, checked: Checked, path: String, key: Option<String>, files: Files) -> anyhow::Result<()> {
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    let patience = checked.config.server.shutdown_timeout;
    let gateway = Gateway::start(sources, checked).await?;
    let (write, written) = writer();
    let bridge = Arc::new(Bridge::new(Arc::clone(&gateway), path.clone(), key, files, write));
    if !bridge.is_answered() {
        gateway.shut_down().await;
        return Err(NoServer(path).into());
    }
    tracing::info!(path, "speaking on standard input and output");
    let mut lines = reader();
    loop {
        let next = async {
            match lines.recv().await {
                Some(Line::Text(text)) => bridge.take(&text).await,
                Some(Line::TooLong) => bridge.refuse_line(MAX_LINE).await,
                None => {
                    // The client has said all; what it asked for is still answered.
                    let _ = tokio::time::timeout(patience, bridge.idle()).await;
                    return false;
                }
            }
            true
        };
        // A client that reads nothing keeps a message from being taken, and must not keep the process from ending.
        let goes_on = tokio::select! {
            goes_on = next => goes_on,
            _ = interrupt.recv() => false,
            _ = terminate.recv() => false,
        };
        if !goes_on {
            break;
        }
    }
    bridge.stop();
    drop(bridge);
    let _ = tokio::time::timeout(patience, written).await;
    gateway.shut_down().await;
    Ok(())
}

/// A thread that reads lines: a read of standard input cannot be given up, and must not keep the process from ending.
fn reader() -> mpsc::Receiver<Line> {
    let (tell, lines) = mpsc::channel(WAITING);
    std::thread::spawn(move || {
        let mut input = BufReader::new(std::io::stdin());
        loop {
            let mut line = Vec::new();
            let read = input.by_ref().take(MAX_LINE).read_until(b'\n', &mut line);
            if !matches!(read, Ok(n) if n > 0) {
                return;
            }
            let too_long = line.last() != Some(&b'\n') && line.len() as u64 >= MAX_LINE;
            if too_long && input.skip_until(b'\n').is_err() {
                return;
            }
            if tell.blocking_send(if too_long { Line::TooLong } else { Line::Text(line) }).is_err() {
                return;
            }
        }
    });
    lines
}

/// A thread that writes messages, each in a line. It ends when nobody has any more, or nobody reads. A write cannot be given up either.
fn writer() -> (mpsc::Sender<Value>, oneshot::Receiver<()>) {
    let (write, mut messages) = mpsc::channel::<Value>(WAITING);
    let (ended, written) = oneshot::channel();
    std::thread::spawn(move || {
        let mut out = std::io::stdout().lock();
        while let Some(message) = messages.blocking_recv() {
            if writeln!(out, "{message}").and_then(|()| out.flush()).is_err() {
                break;
            }
        }
        let _ = ended.send(());
    });
    (write, written)
}
