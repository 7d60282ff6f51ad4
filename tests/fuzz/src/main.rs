//! Tries made-up inputs on one target, or files: no libFuzzer, no coverage, the gateway's own build. `cargo xtask test` and
//! `cargo xtask fuzz` start it.
//!
//! Each input is in a file while it is tried, so that it is known whatever becomes of the process. What is told at the end is told in
//! libFuzzer's words, so that one reader reads both.

use std::fs::{self, File};
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::{Duration, Instant};
use std::{panic, thread};

use anyhow::{Context as _, Result};
use clap::Parser;
use rustix::process::{Resource, Rlimit, setrlimit};
use wasmgate_fuzz::made::Maker;
use wasmgate_fuzz::targets::{TARGETS, Target};

/// What the gateway's threads have; a document that is too deep for them must not pass here.
const STACK: usize = 2 << 20;
/// Address space of a process that should need a hundredth of it. An engine reserves more than there is memory, so the target that
/// has one goes without; its components have limits of their own.
const MEMORY: u64 = 4 << 30;
const WITHOUT_LIMIT: &str = "component";
/// How often it is looked whether an input or all of them take too long.
const LOOK: Duration = Duration::from_millis(200);

/// Tries made-up inputs on one target.
#[derive(Parser)]
struct Options {
    /// Name of the target.
    target: String,
    /// Files that are tried once each, in place of made-up inputs.
    #[arg(conflicts_with = "seeds")]
    files: Vec<PathBuf>,
    /// The number that inputs are made from.
    #[arg(long, default_value_t = 1)]
    number: u64,
    /// How many inputs.
    #[arg(long, default_value_t = 1000)]
    inputs: u64,
    /// Longest input, in bytes.
    #[arg(long, default_value_t = 16 << 10)]
    longest: usize,
    /// Folder of seeds; their names are their order.
    #[arg(long)]
    seeds: Vec<PathBuf>,
    /// Words of the format, a quoted one on each line, as in a dictionary of libFuzzer.
    #[arg(long)]
    words: Option<PathBuf>,
    /// Folder for an input that fails.
    #[arg(long, default_value = ".")]
    artifacts: PathBuf,
    /// Longest time for one input, in seconds.
    #[arg(long, default_value_t = 60)]
    input_seconds: u64,
    /// Longest time altogether, in seconds. To be slow is a failure: otherwise other inputs would be tried on other machines.
    #[arg(long, default_value_t = 900)]
    seconds: u64,
}

/// The input that is tried, where others can see it.
struct Trying {
    file: File,
    path: PathBuf,
}

fn main() -> Result<ExitCode> {
    let options = Options::parse();
    let target = TARGETS.iter().find(|target| target.name == options.target).with_context(|| {
        let names = TARGETS.map(|target| target.name).join(", ");
        format!("there is no target `{}`; there are {names}", options.target)
    })?;
    if target.name != WITHOUT_LIMIT {
        setrlimit(Resource::As, Rlimit { current: Some(MEMORY), maximum: Some(MEMORY) }).context("limiting the memory")?;
    }
    let panicked = note_panics();
    if !options.files.is_empty() {
        return files(target, &options.files, &panicked);
    }
    made_up(target, &options, &panicked)
}

/// Also those of other threads, and those that somebody catches.
fn note_panics() -> Arc<AtomicBool> {
    let panicked = Arc::new(AtomicBool::new(false));
    let (noted, before) = (Arc::clone(&panicked), panic::take_hook());
    panic::set_hook(Box::new(move |info| {
        noted.store(true, Ordering::SeqCst);
        before(info);
    }));
    panicked
}

/// Whether the promise holds for it.
fn holds(target: &Target, bytes: &[u8], panicked: &AtomicBool) -> bool {
    let returned = panic::catch_unwind(|| (target.check)(bytes)).is_ok();
    returned && !panicked.load(Ordering::SeqCst)
}

fn files(target: &'static Target, files: &[PathBuf], panicked: &Arc<AtomicBool>) -> Result<ExitCode> {
    for file in files {
        let bytes = fs::read(file).with_context(|| format!("reading {}", file.display()))?;
        println!("{}: {} bytes", file.display(), bytes.len());
        let panicked = Arc::clone(panicked);
        let checked = thread::Builder::new().stack_size(STACK).spawn(move || holds(target, &bytes, &panicked))?;
        if !checked.join().unwrap_or(false) {
            return Ok(ExitCode::FAILURE);
        }
    }
    println!("the promise holds");
    Ok(ExitCode::SUCCESS)
}

fn made_up(target: &'static Target, options: &Options, panicked: &Arc<AtomicBool>) -> Result<ExitCode> {
    let maker = maker(options)?;
    let trying = Arc::new(Trying::open(&options.artifacts)?);
    // The number of the input that is tried, from one; all of them and one more at the end.
    let position = Arc::new(AtomicU64::new(0));
    let (alive, ended) = channel();
    let worker = {
        let (trying, position, panicked) = (Arc::clone(&trying), Arc::clone(&position), Arc::clone(panicked));
        let (number, inputs) = (options.number, options.inputs);
        let work = move || -> Result<Option<u64>> {
            // Gone with the thread, however that ends.
            let _alive = alive;
            let mut digest = 0xcbf2_9ce4_8422_2325;
            for index in 0..inputs {
                let bytes = maker.input(number, index);
                trying.put(&bytes)?;
                position.store(index + 1, Ordering::SeqCst);
                digest = bytes.iter().fold(digest, |hash: u64, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3));
                if !holds(target, &bytes, &panicked) {
                    return Ok(None);
                }
            }
            Ok(Some(digest))
        };
        thread::Builder::new().stack_size(STACK).spawn(work)?
    };
    let reason = watch(options, &position, &ended);
    let tried = position.load(Ordering::SeqCst);
    let failed = |reason: &str| -> Result<ExitCode> {
        println!("ERROR: {reason}: input {} of number {}", tried.saturating_sub(1), options.number);
        println!("Test unit written to {}", trying.keep(options.number, tried.saturating_sub(1))?.display());
        println!("stat::number_of_executed_units: {tried}");
        Ok(ExitCode::FAILURE)
    };
    if let Some(reason) = reason {
        // The thread is still at it; the process ends without it.
        return failed(&reason);
    }
    let Ok(result) = worker.join() else { return failed("the check did not return") };
    let Some(digest) = result? else { return failed("the promise is broken") };
    trying.remove()?;
    println!("stat::number_of_executed_units: {tried}\nstat::peak_rss_mb: {}\nstat::digest: {digest:016x}", peak_mib());
    Ok(ExitCode::SUCCESS)
}

/// Waits for the end. Returns why it was not waited for.
fn watch(options: &Options, position: &AtomicU64, ended: &Receiver<()>) -> Option<String> {
    let began = Instant::now();
    let (mut seen, mut since) = (0, began);
    while ended.recv_timeout(LOOK) == Err(RecvTimeoutError::Timeout) {
        let now = position.load(Ordering::SeqCst);
        if now != seen {
            (seen, since) = (now, Instant::now());
        }
        if since.elapsed() > Duration::from_secs(options.input_seconds) {
            return Some(format!("one input takes more than {} s", options.input_seconds));
        }
        if began.elapsed() > Duration::from_secs(options.seconds) {
            return Some(format!("{} inputs take more than {} s", options.inputs, options.seconds));
        }
    }
    None
}

fn maker(options: &Options) -> Result<Maker> {
    let mut seeds = Vec::new();
    for folder in &options.seeds {
        let entries = fs::read_dir(folder).with_context(|| format!("reading {}", folder.display()))?;
        let mut files = entries.map(|entry| Ok(entry?.path())).collect::<Result<Vec<_>>>()?;
        files.sort();
        for file in files {
            seeds.push(fs::read(&file).with_context(|| format!("reading {}", file.display()))?);
        }
    }
    let text = match &options.words {
        Some(file) => fs::read_to_string(file).with_context(|| format!("reading {}", file.display()))?,
        None => String::new(),
    };
    let words = text.lines().map(|line| line.replace(['"', '\\'], "")).filter(|word| !word.is_empty()).collect();
    Ok(Maker::new(seeds, words, options.longest))
}

impl Trying {
    fn open(folder: &Path) -> Result<Self> {
        fs::create_dir_all(folder).with_context(|| format!("creating {}", folder.display()))?;
        let path = folder.join("trying");
        let file = File::create(&path).with_context(|| format!("writing {}", path.display()))?;
        Ok(Self { file, path })
    }

    fn put(&self, bytes: &[u8]) -> Result<()> {
        self.file.write_all_at(bytes, 0)?;
        self.file.set_len(bytes.len() as u64)?;
        Ok(())
    }

    /// Under a name that stays.
    fn keep(&self, number: u64, index: u64) -> Result<PathBuf> {
        let kept = self.path.with_file_name(format!("made-up-{number}-{index}"));
        fs::rename(&self.path, &kept).with_context(|| format!("keeping {}", kept.display()))?;
        Ok(kept)
    }

    fn remove(&self) -> Result<()> {
        fs::remove_file(&self.path).with_context(|| format!("removing {}", self.path.display()))
    }
}

/// The most memory that it had, in MiB (proc(5)).
fn peak_mib() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    line.and_then(|text| text.trim_end_matches("kB").trim().parse::<u64>().ok()).unwrap_or(0) / 1024
}
