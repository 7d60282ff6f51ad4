//! A Redis server that keeps nothing on disk.

use std::path::PathBuf;
use std::process::{Child, Stdio};

use rustix::process::Signal;
use tempfile::TempDir;

use super::{command, folder, program, signal, unpacked, wait_until_ready};
use crate::sdk;

/// The server; it ends with the value.
pub struct Redis {
    folder: TempDir,
    program: PathBuf,
    child: Option<Child>,
}

impl Redis {
    /// Starts a server. None when Redis is not there and that is allowed.
    pub fn start() -> Option<Self> {
        let Some(program) = program("redis-server", &[unpacked().join("usr/bin")]) else {
            sdk::missing("Redis");
            return None;
        };
        let mut redis = Self { folder: folder(), program, child: None };
        redis.begin();
        Some(redis)
    }

    /// Starts the server again after [`Redis::end`], empty.
    pub fn begin(&mut self) {
        let mut server = command(&self.program);
        server.args(["--port", "0", "--save", "", "--appendonly", "no", "--unixsocket"]).arg(self.socket());
        server.args(["--unixsocketperm", "777", "--dir"]).arg(self.folder.path());
        let mut child = server.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().expect("redis-server starts");
        let output = child.stdout.take().expect("piped");
        wait_until_ready(&mut child, output, "eady to accept connections");
        self.child = Some(child);
    }

    /// Ends the server at once.
    pub fn end(&mut self) {
        if let Some(mut child) = self.child.take() {
            // It may be paused.
            child.kill().expect("it has not ended");
            child.wait().expect("it can be waited for");
        }
    }

    /// Its address.
    pub fn url(&self) -> String {
        format!("unix:{}", self.socket().display())
    }

    /// It answers nobody until [`Redis::resume`], but its connections stay.
    pub fn pause(&self) {
        signal(self.child.as_ref().expect("it runs"), Signal::STOP);
    }

    /// It answers again.
    pub fn resume(&self) {
        signal(self.child.as_ref().expect("it runs"), Signal::CONT);
    }

    fn socket(&self) -> PathBuf {
        self.folder.path().join("redis.sock")
    }
}

impl Drop for Redis {
    fn drop(&mut self) {
        self.end();
    }
}
