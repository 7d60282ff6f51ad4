//! The real model: a small one from PyPI behind llama.cpp's server, one process on loopback.

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::mpsc::channel;
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, bail};

use crate::processes::{Process, Processes};
use crate::python;
use crate::repo::Repo;
use crate::step::Step;

/// The server's script, also for the tests.
pub const SERVER_SCRIPT: &str = "xtask/assets/model_server.py";
const REQUIREMENTS: &str = "xtask/assets/model-requirements.txt";

/// Loading takes 1 to 4 s; this is for a machine that is busy with other things.
const READY_TIMEOUT: Duration = Duration::from_secs(120);

/// Installs the weights and the server; about 130 MB to download, once.
pub fn prepare(repo: &Repo, step: &Step) -> Result<()> {
    // Without dependencies: the package of the weights is a plugin of a tool that nobody needs here.
    python::install(repo, step, &repo.path(REQUIREMENTS), &["--no-deps"])
}

/// Starts the server on a free port and returns its address, `http://127.0.0.1:PORT`.
pub fn start(repo: &Repo, processes: &Processes, log: PathBuf) -> Result<String> {
    let mut server = Command::new(python::interpreter(repo));
    server.arg(repo.path(SERVER_SCRIPT)).stdin(Stdio::piped()).stdout(Stdio::piped());
    server.stderr(File::create(&log).with_context(|| format!("creating {}", log.display()))?);
    let mut child = server.spawn().context("starting the model server")?;
    let output = child.stdout.take().context("piped")?;
    processes.add(Process { name: "model server", child, log });
    let (sender, receiver) = channel();
    thread::spawn(move || {
        for line in BufReader::new(output).lines().map_while(Result::ok) {
            let _ = sender.send(line);
        }
    });
    while let Ok(line) = receiver.recv_timeout(READY_TIMEOUT) {
        if let Some(address) = line.strip_prefix("READY ") {
            return Ok(address.to_owned());
        }
    }
    bail!("the model server did not get ready\n{}", processes.last_lines("model server"))
}
