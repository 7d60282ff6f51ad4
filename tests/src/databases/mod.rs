//! Real databases for one test: private folders, sockets instead of ports, ended with the value.
//!
//! They are the machine's, or what `cargo xtask test` unpacked (`WASMGATE_DATABASES`).

mod postgres;
mod redis;

use std::ffi::OsString;
use std::io::{BufRead as _, BufReader, Read};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::sync::mpsc::{RecvTimeoutError, channel};

pub use postgres::Postgres;
pub use redis::Redis;

use crate::{DEADLINE, repo};

/// `nobody` and `nogroup`: PostgreSQL does not run as root.
const NOBODY: u32 = 65_534;

/// Debian's packages, where they were unpacked.
fn unpacked() -> PathBuf {
    repo::from_environment("WASMGATE_DATABASES", "target/databases").join("debian")
}

/// A program in one of some folders, or in `PATH`.
fn program(name: &str, folders: &[PathBuf]) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let folders = folders.iter().cloned().chain(std::env::split_paths(&path));
    folders.map(|folder| folder.join(name)).find(|file| file.is_file())
}

fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// A command that runs as somebody without rights if we are root, with the libraries that were unpacked beside it.
fn command(program: &Path) -> Command {
    let mut command = Command::new(program);
    if program.starts_with(unpacked()) {
        let folders = std::fs::read_dir(unpacked().join("usr/lib")).into_iter().flatten().filter_map(|e| Some(e.ok()?.path()));
        let paths: Vec<OsString> = folders.filter(|p| p.is_dir()).map(Into::into).collect();
        command.env("LD_LIBRARY_PATH", paths.join(&OsString::from(":")));
    }
    if is_root() {
        command.uid(NOBODY).gid(NOBODY);
    }
    command.current_dir("/");
    command
}

/// A folder that such a command may write to.
fn folder() -> tempfile::TempDir {
    let folder = tempfile::tempdir().expect("a temporary folder");
    if is_root() {
        std::os::unix::fs::chown(folder.path(), Some(NOBODY), Some(NOBODY)).expect("root may give it away");
    }
    folder
}

/// Waits for a line of a server's output that says that it is ready. The rest is read and forgotten, so that it never waits for us.
fn wait_until_ready(child: &mut Child, output: impl Read + Send + 'static, ready: &'static str) {
    let (tell, told) = channel();
    std::thread::spawn(move || {
        for line in BufReader::new(output).lines().map_while(Result::ok) {
            let _ = tell.send(line);
        }
    });
    let mut lines = Vec::new();
    let until = std::time::Instant::now() + DEADLINE;
    loop {
        match told.recv_timeout(until.saturating_duration_since(std::time::Instant::now())) {
            Ok(line) if line.contains(ready) => return,
            Ok(line) => lines.push(line),
            Err(RecvTimeoutError::Timeout) => panic!("the server is not ready: {lines:#?}"),
            Err(RecvTimeoutError::Disconnected) => panic!("the server ended ({:?}): {lines:#?}", child.wait()),
        }
    }
}

/// Sends a signal to a process that was started here.
fn signal(child: &Child, signal: rustix::process::Signal) {
    let id = rustix::process::Pid::from_child(child);
    rustix::process::kill_process(id, signal).expect("it has not ended");
}
