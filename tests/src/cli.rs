//! The program as a command that ends by itself.

use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::mpsc;

use tempfile::TempDir;

use crate::{DEADLINE, gateway, repo};

/// What a command left behind.
#[derive(Debug)]
pub struct Finished {
    /// Exit code; -1 when a signal ended it.
    pub code: i32,
    /// Standard output.
    pub stdout: String,
    /// Standard error.
    pub stderr: String,
}

/// A configuration in a folder of its own.
pub struct ConfigFile {
    folder: TempDir,
}

/// Runs the program to its end, with an empty environment of settings.
pub fn run(args: &[&str]) -> Finished {
    run_with(args, &[])
}

/// The same with environment variables.
pub fn run_with(args: &[&str], environment: &[(&str, &str)]) -> Finished {
    let mut command = Command::new(repo::program());
    gateway::clean_environment(&mut command);
    command.args(args).envs(environment.iter().copied()).current_dir(repo::root());
    finish(command)
}

/// Runs a command to its end, which must come before the deadline.
pub fn finish(mut command: Command) -> Finished {
    let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("it starts");
    let (tell, told) = mpsc::channel();
    let streams: [Box<dyn Read + Send>; 2] = [Box::new(child.stdout.take().expect("piped")), Box::new(child.stderr.take().expect("piped"))];
    for (n, mut stream) in streams.into_iter().enumerate() {
        let tell = tell.clone();
        std::thread::spawn(move || {
            let mut bytes = Vec::new();
            let _ = stream.read_to_end(&mut bytes);
            let _ = tell.send((n, String::from_utf8_lossy(&bytes).into_owned()));
        });
    }
    let mut texts = [String::new(), String::new()];
    for _ in 0..texts.len() {
        match told.recv_timeout(4 * DEADLINE) {
            Ok((n, text)) => texts[n] = text,
            Err(_) => {
                let _ = child.kill();
                panic!("{command:?} did not end");
            }
        }
    }
    let status = child.wait().expect("it can be waited for");
    let [stdout, stderr] = texts;
    Finished { code: status.code().unwrap_or(-1), stdout, stderr }
}

impl ConfigFile {
    /// Writes a configuration.
    pub fn new(text: &str) -> Self {
        let file = Self { folder: tempfile::tempdir().expect("a temporary folder") };
        std::fs::write(file.path(), text).expect("a temporary file");
        file
    }

    /// The file.
    pub fn path(&self) -> PathBuf {
        self.folder.path().join("gateway.yaml")
    }

    /// A place for more files beside it.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// `check` on this file with the repository's components.
    pub fn check(&self, args: &[&str]) -> Finished {
        self.run("check", args)
    }

    /// `serve` on this file, which must end by itself.
    pub fn serve(&self, args: &[&str]) -> Finished {
        self.run("serve", args)
    }

    fn run(&self, command: &str, args: &[&str]) -> Finished {
        let (file, components) = (self.path(), repo::components());
        let cache = format!("cache={}", repo::cache().display());
        let mut all = vec![command, "--config", file.to_str().expect("UTF-8"), "--set", &cache];
        // A second `--components` would be a mistake on the command line.
        if !args.contains(&"--components") {
            all.extend(["--components", components.to_str().expect("UTF-8")]);
        }
        all.extend(args);
        run(&all)
    }
}
