//! The servers that a command started: they end with it, whether it returns, fails, panics or is interrupted.

use std::fs;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::Result;
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

use crate::command;

/// How long a server may take to end after it was asked to, before it is killed.
const GRACE: Duration = Duration::from_secs(5);
const POLL: Duration = Duration::from_millis(20);
/// What a shell reports for a program ended by Ctrl-C.
const INTERRUPTED: i32 = 130;

pub struct Process {
    pub name: &'static str,
    pub child: Child,
    /// Where its standard error goes.
    pub log: PathBuf,
}

/// Cheap to clone; the last owner to be dropped stops what still runs.
#[derive(Clone, Default)]
pub struct Processes {
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    running: Mutex<Vec<Process>>,
    /// From here on an interruption is the expected end and not a failure.
    serving: AtomicBool,
}

impl Processes {
    /// Also stops them when this program is told to end. To be called once.
    pub fn stopped_by_signals() -> Result<Processes> {
        let processes = Processes::default();
        let mut signals = Signals::new([SIGINT, SIGTERM, SIGHUP])?;
        // Not an owner: the thread waits for ever, and would keep the servers running behind the command's back.
        let shared = Arc::downgrade(&processes.shared);
        thread::spawn(move || {
            if signals.forever().next().is_some() {
                let serving = shared.upgrade().is_some_and(|shared| {
                    shared.stop();
                    shared.serving.load(Ordering::Relaxed)
                });
                std::process::exit(if serving { 0 } else { INTERRUPTED });
            }
        });
        Ok(processes)
    }

    pub fn add(&self, process: Process) {
        self.shared.lock().push(process);
    }

    /// Stops one of them before the others.
    pub fn stop(&self, name: &str) {
        let found = {
            let mut running = self.shared.lock();
            running.iter().position(|process| process.name == name).map(|index| running.remove(index))
        };
        if let Some(mut process) = found {
            stop(&mut process.child);
        }
    }

    /// Waits until one of them ends by itself, and returns its name and how it ended.
    pub fn serve(&self) -> String {
        self.shared.serving.store(true, Ordering::Relaxed);
        loop {
            if let Some(ended) = self.ended() {
                return ended;
            }
            thread::sleep(Duration::from_millis(200));
        }
    }

    /// A description of the first that has ended, if one has.
    pub fn ended(&self) -> Option<String> {
        let mut running = self.shared.lock();
        running.iter_mut().find_map(|process| {
            let status = process.child.try_wait().ok().flatten()?;
            Some(format!("the {} ended ({status})", process.name))
        })
    }

    /// The end of a server's log, for an error message.
    pub fn last_lines(&self, name: &str) -> String {
        let running = self.shared.lock();
        let Some(process) = running.iter().find(|process| process.name == name) else { return String::new() };
        let text = fs::read_to_string(&process.log).unwrap_or_default();
        let lines: Vec<String> = text.lines().map(str::to_owned).collect();
        format!("  its log, {}:\n{}", process.log.display(), command::quote(&lines))
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Vec<Process>> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// In reverse order of their start, so that the gateway does not see its upstream vanish.
    fn stop(&self) {
        for mut process in self.lock().drain(..).rev() {
            stop(&mut process.child);
        }
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        self.stop();
    }
}

fn stop(child: &mut Child) {
    // A server that reads its standard input ends with it; the others are told.
    if child.stdin.take().is_none() {
        let _ = Command::new("kill").arg(child.id().to_string()).stderr(Stdio::null()).status();
    }
    let deadline = Instant::now() + GRACE;
    while Instant::now() < deadline {
        if !matches!(child.try_wait(), Ok(None)) {
            return;
        }
        thread::sleep(POLL);
    }
    let _ = child.kill();
    let _ = child.wait();
}

#[cfg(test)]
mod tests {
    use super::*;

    fn start(script: &str) -> (Processes, u32) {
        let child = Command::new("sh").args(["-c", script]).spawn().unwrap();
        let id = child.id();
        let processes = Processes::stopped_by_signals().unwrap();
        processes.add(Process { name: "shell", child, log: PathBuf::from("absent") });
        (processes, id)
    }

    fn is_alive(id: u32) -> bool {
        Command::new("kill").args(["-0", &id.to_string()]).stderr(Stdio::null()).status().unwrap().success()
    }

    #[test]
    fn dropping_stops() {
        let (processes, id) = start("exec sleep 100");
        assert!(is_alive(id));
        assert_eq!(processes.ended(), None);
        drop(processes);
        assert!(!is_alive(id));
    }

    #[test]
    fn one_is_stopped_by_its_name() {
        let (processes, id) = start("exec sleep 100");
        processes.stop("other");
        assert!(is_alive(id));
        processes.stop("shell");
        assert!(!is_alive(id));
    }

    #[test]
    fn an_end_is_noticed_with_its_status() {
        let (processes, _) = start("exit 3");
        assert_eq!(processes.serve(), "the shell ended (exit status: 3)");
    }
}
