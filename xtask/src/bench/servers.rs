//! The processes of a measurement, each on its CPU.

use std::fs::{self, File};
use std::net::TcpListener;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use super::cases::{Entry, Server, Setup, Source, Work};
use super::proc;
use crate::http::Client;
use crate::processes::{Process, Processes};
use crate::repo::Repo;
use crate::step::{Step, write_atomically};
use crate::{command, components};

/// The program that is floor, upstream and load.
pub const PROGRAM: &str = "wasmgate-bench";

/// The first start of a gateway compiles its components.
const START_TIMEOUT: Duration = Duration::from_secs(120);
const POLL: Duration = Duration::from_millis(5);

/// Names of processes in messages.
const UPSTREAM: &str = "upstream";
const MEASURED: &str = "measured server";

/// Where measurements are made: the programs, the CPUs, and the upstream, which runs all the time.
pub struct Site<'a> {
    repo: &'a Repo,
    processes: &'a Processes,
    program: PathBuf,
    gateway: PathBuf,
    /// CPU of what is measured, CPU of everything else.
    pins: Option<(usize, usize)>,
    /// The CPUs on which others are noise.
    pub cpus: Vec<usize>,
    pub upstream_id: u32,
    upstream_port: u16,
}

/// The server that is measured; it ends with the value.
pub struct Measured<'a> {
    processes: &'a Processes,
    pub id: u32,
    pub port: u16,
}

impl Drop for Measured<'_> {
    fn drop(&mut self) {
        self.processes.stop(MEASURED);
    }
}

impl<'a> Site<'a> {
    pub fn open(repo: &'a Repo, step: &Step, processes: &'a Processes, profile: &str) -> Result<Site<'a>> {
        fs::create_dir_all(repo.target("bench"))?;
        let status = fs::read_to_string("/proc/self/status").context("reading /proc; `bench` needs Linux")?;
        let cpus = proc::allowed_cpus(&status).context("/proc/self/status does not list the CPUs")?;
        let pins = pins(&cpus, command::which("taskset").is_some());
        match pins {
            Ok((measured, other)) => step.note(&format!("measured on CPU {measured}, upstream and load on CPU {other}")),
            Err(reason) => step.note(&format!("nothing is pinned to a CPU: {reason}")),
        }
        let gateway = repo.gateway(profile);
        let mut site = Site {
            repo,
            processes,
            program: gateway.with_file_name(format!("{PROGRAM}{}", std::env::consts::EXE_SUFFIX)),
            gateway,
            pins: pins.ok(),
            cpus: pins.map_or(cpus, |(measured, other)| vec![measured, other]),
            upstream_id: 0,
            upstream_port: free_port()?,
        };
        let mut upstream = site.other(&site.program);
        upstream.args(["upstream", "--port", &site.upstream_port.to_string()]);
        site.upstream_id = site.start(UPSTREAM, upstream, site.upstream_port)?;
        Ok(site)
    }

    pub fn is_pinned(&self) -> bool {
        self.pins.is_some()
    }

    /// Starts a server on its CPU and waits until it answers.
    pub fn measured(&self, server: &Server) -> Result<Measured<'a>> {
        let port = free_port()?;
        let upstream = format!("http://127.0.0.1:{}", self.upstream_port);
        let program = if matches!(server, Server::Gateway(_)) { &self.gateway } else { &self.program };
        let mut command = self.pinned(program, self.pins.map(|(measured, _)| measured));
        match server {
            Server::Floor => command.args(["floor", "--port", &port.to_string(), "--upstream", &upstream]),
            Server::PassThrough => command.args(["floor", "--pass-through", "--port", &port.to_string(), "--upstream", &upstream]),
            Server::Gateway(setup) => {
                let config = self.write_config(setup, port, &upstream)?;
                command.args(["serve", "--config"]).arg(config)
            }
        };
        let id = self.start(MEASURED, command, port)?;
        Ok(Measured { processes: self.processes, id, port })
    }

    /// Sends a load and returns what it says.
    pub fn load(&self, step: &Step, work: &Work, server: &Server, port: u16, requests: usize) -> Result<serde_json::Value> {
        let mut load = self.other(&self.program);
        // The floor translates nothing: it is asked in the upstream's format.
        let format = if matches!(server, Server::Gateway(_)) { work.format } else { "openai" };
        load.env("RUST_BACKTRACE", "0");
        load.args(["load", "--port", &port.to_string(), "--format", format, "--requests", &requests.to_string()]);
        load.args(["--bytes", &work.bytes.to_string(), "--connections", &work.connections.to_string()]);
        if let Some(chunks) = work.chunks {
            load.args(["--chunks", &chunks.to_string()]);
        }
        let said = command::data(step, &mut load, "the load").map_err(|error| error.context(self.processes.last_lines(MEASURED)))?;
        Ok(serde_json::from_str(&said)?)
    }

    fn start(&self, name: &'static str, mut command: Command, port: u16) -> Result<u32> {
        let log = self.repo.target("bench").join(format!("{}.log", name.replace(' ', "-")));
        // Into a file, as a service manager would.
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(File::create(&log)?);
        for (variable, _) in std::env::vars_os() {
            if variable.to_string_lossy().starts_with("WASMGATE_") {
                command.env_remove(variable);
            }
        }
        let child = command.spawn().with_context(|| format!("starting the {name}"))?;
        let id = child.id();
        self.processes.add(Process { name, child, log });
        self.wait_until_healthy(name, port)?;
        Ok(id)
    }

    fn wait_until_healthy(&self, name: &str, port: u16) -> Result<()> {
        let client = Client::new(format!("http://127.0.0.1:{port}"));
        let deadline = Instant::now() + START_TIMEOUT;
        while Instant::now() < deadline {
            if let Some(ended) = self.processes.ended() {
                bail!("{ended} before it was healthy\n{}", self.processes.last_lines(name));
            }
            if matches!(client.get("/health"), Ok((200, _))) {
                return Ok(());
            }
            thread::sleep(POLL);
        }
        bail!("the {name} was not healthy within {} s\n{}", START_TIMEOUT.as_secs(), self.processes.last_lines(name))
    }

    fn write_config(&self, setup: &Setup, port: u16, upstream: &str) -> Result<PathBuf> {
        // What waits to be written goes to a disk, as an operator's would.
        let store = self.repo.target("bench/store.redb");
        if store.exists() {
            fs::remove_file(&store).with_context(|| format!("removing {}", store.display()))?;
        }
        let native = |name: &str| format!("  {name}: {{type: openai, base_url: \"{upstream}/v1\", api_key: bench-upstream-key}}\n");
        let racers: Vec<String> = (1..=setup.racers).map(|n| format!("racer-{n}")).collect();
        let (providers, default) = if racers.is_empty() {
            (native("upstream"), "upstream")
        } else {
            let race = format!("  race: {{type: racing, config: {{providers: [{}]}}}}\n", racers.join(", "));
            (racers.iter().map(|name| native(name)).collect::<String>() + &race, "race")
        };
        let mut text = format!(
            "server: {{port: {port}}}\nlogging: {{level: {}}}\ncache: \"{}\"\nstorage: {{path: \"{}\"}}\nproviders:\n{providers}default_provider: {default}\nextensions:\n",
            setup.log,
            self.repo.target("bench/cache").display(),
            store.display(),
        );
        for entry in setup.extensions {
            let component = self.component(entry)?;
            text.push_str(&format!("  {}: {{component: \"{}\", config: {}}}\n", entry.name, component.display(), entry.config));
        }
        let file = self.repo.target("bench/gateway.yaml");
        write_atomically(&file, text.as_bytes())?;
        Ok(file)
    }

    fn component(&self, entry: &Entry) -> Result<PathBuf> {
        match entry.source {
            Source::Extension => Ok(self.repo.components().join(format!("{}.wasm", entry.name))),
            Source::Fixture(name) if name == entry.name => Ok(self.repo.components().join(format!("fixtures/{name}.wasm"))),
            Source::Fixture(name) => {
                let file = self.repo.target(&format!("bench/components/{}.wasm", entry.name));
                write_atomically(&file, &components::renamed_fixture(self.repo, name, entry.name)?)?;
                Ok(file)
            }
        }
    }

    /// A program beside what is measured.
    fn other(&self, program: &PathBuf) -> Command {
        self.pinned(program, self.pins.map(|(_, other)| other))
    }

    fn pinned(&self, program: &PathBuf, cpu: Option<usize>) -> Command {
        let Some(cpu) = cpu else { return Command::new(program) };
        // It replaces itself by the program, so the process id stays.
        let mut command = Command::new("taskset");
        command.args(["--cpu-list", &cpu.to_string()]).arg(program);
        command
    }
}

/// The CPUs of what is measured and of everything else, or why there are none. The first CPU often serves the interrupts.
fn pins(cpus: &[usize], taskset: bool) -> Result<(usize, usize), &'static str> {
    match cpus {
        _ if !taskset => Err("`taskset` (util-linux) is not installed"),
        [other, .., measured] => Ok((*measured, *other)),
        _ => Err("there is only one CPU"),
    }
}

fn free_port() -> Result<u16> {
    Ok(TcpListener::bind(("127.0.0.1", 0)).context("finding a free port")?.local_addr()?.port())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_measured_has_a_cpu_of_its_own() {
        assert_eq!(pins(&[0, 1], true), Ok((1, 0)));
        assert_eq!(pins(&[2, 3, 7], true), Ok((7, 2)));
        assert!(pins(&[0], true).is_err());
        assert!(pins(&[0, 1], false).unwrap_err().contains("taskset"));
    }
}
