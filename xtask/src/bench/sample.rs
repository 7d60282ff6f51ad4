//! One measurement: a fresh process, warmed up, loaded, and its CPU time before and after.

use std::fs;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use serde::Serialize;

use super::cases::{Server, Work};
use super::proc::{self, TICKS_PER_SECOND, Ticks};
use super::quiet::share;
use super::servers::Site;
use crate::step::Step;

/// What is done after an answer (a ledger, a log line) belongs to the request, and gets this long to be done.
const SETTLE: Duration = Duration::from_millis(30);
/// Of the requests, this part warms the process up before.
const WARM_UP: usize = 10;

#[derive(Debug, Clone, Serialize)]
pub struct Taken {
    pub round: usize,
    pub work: &'static str,
    pub server: &'static str,
    pub sample: Sample,
}

#[derive(Debug, Clone, Serialize)]
pub struct Sample {
    pub requests: usize,
    /// CPU time of the measured process for each request.
    pub cpu_us: f64,
    /// From the request's first byte to the answer's last.
    pub p50_us: f64,
    pub p99_us: f64,
    /// From the request's first byte to the first of the answer's content.
    pub first_p50_us: f64,
    /// How often the client's connection had something to read, for each request. Less than the events of a stream, when the server
    /// wrote several at once.
    pub reads: f64,
    pub idle_kib: u64,
    pub after_kib: u64,
    /// The part of the CPUs that programs of others used meanwhile.
    pub other_load: f64,
}

/// The clocks before or after.
struct Reading {
    at: Instant,
    measured: Ticks,
    ours: u64,
    busy: u64,
}

pub fn take(step: &Step, site: &Site, work: &Work, server: &Server, divisor: usize) -> Result<Sample> {
    let requests = (work.requests / divisor).max(work.connections);
    let running = site.measured(server)?;
    let idle_kib = resident(running.id)?;
    site.load(step, work, server, running.port, (requests / WARM_UP).max(work.connections))?;
    thread::sleep(SETTLE);
    let before = Reading::take(site, running.id)?;
    let said = site.load(step, work, server, running.port, requests)?;
    thread::sleep(SETTLE);
    let after = Reading::take(site, running.id)?;
    let number =
        |pointer: &str| said.pointer(pointer).and_then(serde_json::Value::as_f64).with_context(|| format!("the load says no {pointer}"));
    let done = number("/requests")?;
    let spent = (after.measured.own - before.measured.own) as f64 / TICKS_PER_SECOND;
    Ok(Sample {
        requests: done as usize,
        cpu_us: spent * 1e6 / done,
        p50_us: number("/whole_us/p50")?,
        p99_us: number("/whole_us/p99")?,
        first_p50_us: number("/first_us/p50")?,
        reads: number("/reads")? / done,
        idle_kib,
        after_kib: resident(running.id)?,
        other_load: before.other_load(&after, site.cpus.len()),
    })
}

impl Reading {
    fn take(site: &Site, measured: u32) -> Result<Reading> {
        let own = ticks("self")?;
        let measured = ticks(&measured.to_string())?;
        // The load is a child of this program that has ended.
        let ours = own.own + own.children + measured.own + ticks(&site.upstream_id.to_string())?.own;
        let stat = fs::read_to_string("/proc/stat")?;
        let busy = proc::busy_ticks(&stat, &site.cpus).context("/proc/stat does not list the CPUs")?;
        Ok(Reading { at: Instant::now(), measured, ours, busy })
    }

    fn other_load(&self, after: &Reading, cpus: usize) -> f64 {
        let ours = after.ours - self.ours;
        share(self.busy + ours, after.busy, after.at - self.at, cpus)
    }
}

fn ticks(process: &str) -> Result<Ticks> {
    let file = format!("/proc/{process}/stat");
    proc::ticks(&fs::read_to_string(&file).with_context(|| format!("reading {file}"))?).with_context(|| format!("{file} cannot be read"))
}

fn resident(process: u32) -> Result<u64> {
    let file = format!("/proc/{process}/status");
    proc::resident_kib(&fs::read_to_string(&file).with_context(|| format!("reading {file}"))?).context("no VmRSS")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn other_load_is_what_is_not_ours() {
        let at = Instant::now();
        let reading = |seconds, ours, busy| Reading { at: at + Duration::from_secs(seconds), measured: Ticks::default(), ours, busy };
        let before = reading(0, 100, 1000);
        assert_eq!(before.other_load(&reading(1, 200, 1100), 2), 0.0);
        assert_eq!(before.other_load(&reading(1, 200, 1140), 2), 0.2);
    }
}
