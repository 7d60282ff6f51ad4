//! `bench`: what a request costs in CPU time of the gateway, as a ratio to a proxy without features in the same run.
//!
//! Machines differ and are shared, so times of day say little. What holds is the CPU time of one process, pinned to a CPU of its own,
//! beside that of the floor in the same round.

mod cases;
mod proc;
mod quiet;
mod report;
mod sample;
mod servers;

use std::fs;
use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use lexopt::Parser;
use lexopt::prelude::*;

use crate::components::Which;
use crate::processes::Processes;
use crate::repo::Repo;
use crate::step::{Plan, Step, write_atomically};
use crate::{Finish, build, command, text};

use cases::{Server, Work};
use quiet::{NOISE, Patience};
use report::{Report, Run};
use sample::{Sample, Taken};
use servers::Site;

pub const HELP: &str = "\
Usage: cargo xtask bench [--quick] [--only TEXT] [--json FILE] [--profile PROFILE]

Measures the CPU time that the gateway needs for a request and for a stream, with several sets of extensions, and compares
it with the floor: a proxy of the same libraries (axum, reqwest) and the same profile that parses and writes the JSON of
both directions and has no features. The upstream answers from memory. The measured process has a CPU of its own; load and
upstream have another one (`taskset` of util-linux; without it nothing is pinned, and the report says so).

Each piece of work is done by each server in turn, in several rounds, by a process that is started for it and warmed up.
CPU time is utime + stime of /proc/PID/stat. The tables give medians over the rounds, of ratios that are taken round by
round; rounds in which other programs used more than 20 % of the CPUs do not count as long as there is a better one, and
the report says where there is none. A full run waits for others to finish, up to 10 minutes altogether.

Options:
  --quick            a fifth of the requests and 2 rounds instead of 5: about a minute, for a first look
  --only TEXT        only work whose name contains TEXT, such as `unary` or `1 MB`
  --json FILE        also writes everything, with each single measurement, to a file; after each round
  --profile PROFILE  cargo's profile for gateway, floor, upstream and load [default: release]

Configurations, logs and compiled components: target/bench/
";

const ROUNDS: usize = 5;
const QUICK_ROUNDS: usize = 2;
/// How long a full run waits for a quiet machine, altogether.
const PATIENCE: Duration = Duration::from_secs(600);
/// A quick run has so many times fewer requests.
const QUICK: usize = 5;

struct Options {
    quick: bool,
    only: String,
    json: Option<PathBuf>,
    profile: String,
}

pub fn main(repo: &Repo, args: Parser) -> Result<Finish> {
    let options = read_options(args)?;
    let works: Vec<&Work> = cases::WORKS.iter().filter(|work| work.name.contains(&options.only)).collect();
    anyhow::ensure!(!works.is_empty(), "no work has `{}` in its name", options.only);
    let plan = Plan::new(4);
    build::wasm(repo, &plan, Which::All)?;
    plan.step("gateway, floor, upstream, load", |step| programs(repo, step, &options.profile))?;
    let report = plan.step("measurements", |step| {
        let processes = Processes::stopped_by_signals()?;
        let site = Site::open(repo, step, &processes, &options.profile)?;
        let run = Run { quick: options.quick, profile: options.profile.clone(), pinned: site.is_pinned(), ..about(repo) };
        let rounds = if options.quick { QUICK_ROUNDS } else { ROUNDS };
        let mut patience = Patience::new(if options.quick { Duration::ZERO } else { PATIENCE }, site.cpus.clone());
        let mut report = Report::new(run, &works);
        for round in 0..rounds {
            report.add(measure(step, &site, &mut patience, &works, round, if options.quick { QUICK } else { 1 })?);
            // After each round, so that a run that is interrupted leaves what it has.
            if let Some(file) = &options.json {
                write_atomically(file, format!("{:#}\n", report.json()).as_bytes())?;
            }
        }
        Ok(report)
    })?;
    print!("\n{}", report.text());
    Ok(Finish::Done)
}

fn read_options(mut args: Parser) -> Result<Options> {
    let mut options = Options { quick: false, only: String::new(), json: None, profile: build::PROFILE.to_owned() };
    while let Some(arg) = args.next()? {
        match arg {
            Long("quick") => options.quick = true,
            Long("only") => options.only = text(&mut args)?,
            Long("json") => options.json = Some(std::path::absolute(args.value()?)?),
            Long("profile") => options.profile = text(&mut args)?,
            other => return Err(other.unexpected().into()),
        }
    }
    Ok(options)
}

/// One cargo call for both programs: what is built together has the same features, and so the same libraries.
fn programs(repo: &Repo, step: &Step, profile: &str) -> Result<()> {
    let args =
        ["build", "--locked", "--profile", profile, "--workspace", "--exclude", "xtask", "--bin", "wasmgate", "--bin", servers::PROGRAM];
    command::quietly(step, &mut repo.cargo(&args), "building gateway and floor").map(drop)
}

/// Every server in turn within a piece of work, so that what is compared was measured within seconds; every other round backwards.
fn measure(step: &Step, site: &Site, patience: &mut Patience, works: &[&Work], round: usize, divisor: usize) -> Result<Vec<Taken>> {
    let mut taken = Vec::new();
    for work in works {
        let mut servers: Vec<_> = work.cases.iter().map(|case| &case.server).collect();
        if round % 2 == 1 {
            servers.reverse();
        }
        for server in servers {
            let sample = quiet_sample(step, site, patience, work, server, divisor)
                .with_context(|| format!("round {}, {}, {}", round + 1, work.name, server.name()))?;
            taken.push(Taken { round, work: work.name, server: server.name(), sample });
        }
        let noise = taken.iter().rev().take(work.cases.len()).map(|t| t.sample.other_load).fold(0.0, f64::max);
        step.note(&format!("round {}: {}; other load up to {:.0} %", round + 1, work.name, noise * 100.0));
    }
    Ok(taken)
}

/// Measures again, while there is patience, what others disturbed.
fn quiet_sample(step: &Step, site: &Site, patience: &mut Patience, work: &Work, server: &Server, divisor: usize) -> Result<Sample> {
    loop {
        patience.wait();
        let begin = Instant::now();
        let sample = sample::take(step, site, work, server, divisor)?;
        if sample.other_load <= NOISE || patience.is_over() {
            return Ok(sample);
        }
        patience.spend(begin.elapsed());
    }
}

/// What is measured, and where.
fn about(repo: &Repo) -> Run {
    let ask = |program: &str, args: &[&str]| command::answer(Command::new(program).args(args).current_dir(&repo.root)).unwrap_or_default();
    let cpu = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    Run {
        date: ask("date", &["+%F"]),
        commit: ask("git", &["rev-parse", "--short", "HEAD"]),
        machine: format!("{} x {}", proc::cpu_count(&cpu), proc::cpu_model(&cpu)),
        ..Run::default()
    }
}
