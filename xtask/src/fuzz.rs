//! `fuzz`: libFuzzer makes up bytes for everything that reads bytes from outside; a panic, a hang or a broken promise fails.
//!
//! `cargo fuzz` wants a nightly compiler and compiles every dependency with its sanitizer. Here only the crates of this repository get
//! coverage counters, by a wrapper around rustc that cargo calls for workspace members alone, so that everything else is shared with the
//! release build, on stable.

mod outcome;
mod seeds;

use std::fs;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::Mutex;
use std::thread;

use anyhow::{Context, Result, bail, ensure};
use lexopt::Parser;
use lexopt::prelude::*;
use serde::Deserialize;

use crate::repo::Repo;
use crate::step::{Plan, Step, fresh_folder, write_atomically};
use crate::{Finish, command, text};

use outcome::Outcome;

pub const HELP: &str = "\
Usage: cargo xtask fuzz [--seconds N] [TARGET [FILE…]]

Runs the fuzz targets of tests/fuzz, two or more at a time, each for N seconds; with a TARGET only that one. With FILEs it
runs the target on each of them once, which is how a crash is reproduced.

What libFuzzer starts from: tests/fuzz/seeds/TARGET, what was found in earlier runs (target/fuzz/corpus/TARGET), small
components made from wit/, and the recorded traffic at CORPUS_DIR where it is there. A crash leaves its input in
target/fuzz/artifacts/TARGET, and the whole output is in target/fuzz/logs/TARGET.

It needs a C++ compiler (`c++`, or what CXX names), because libFuzzer is written in it.

Options:
  --seconds N  how long each target runs [default: 60]
";

/// How long a target runs.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Effort {
    /// For so many seconds, on from what earlier runs found.
    Seconds(u32),
    /// As many inputs as a few seconds allow, always the same ones: a test says the same of the same code, however fast the machine is.
    Test,
}

/// Inputs of a target in a test. Loading a component takes a millisecond, everything else a hundredth of that.
fn inputs_in_tests(target: &str) -> u32 {
    if target == "component" { 1_500 } else { 15_000 }
}

/// A slow machine ends a test's run here, in seconds.
const LONGEST_TEST: u32 = 60;

/// Longest input, in bytes. Longer recordings are left out: they cost speed and reach no more code.
const LONGEST_INPUT: usize = 16 << 10;

/// What `cargo fuzz` tells rustc, without a sanitizer.
const FLAGS: [&str; 7] = [
    "-Cpasses=sancov-module",
    "-Cllvm-args=-sanitizer-coverage-level=4",
    "-Cllvm-args=-sanitizer-coverage-inline-8bit-counters",
    "-Cllvm-args=-sanitizer-coverage-pc-table",
    "-Cllvm-args=-sanitizer-coverage-trace-compares",
    "-Cdebug-assertions",
    "--cfg fuzzing",
];

/// For the codecs and the targets, of which a run is microseconds: counters keep functions of other units from being inlined. The
/// gateway is large and would take minutes.
const FAST: &str = "-Ccodegen-units=1";

/// What the command line asks for.
#[derive(Debug, PartialEq)]
struct Options {
    seconds: u32,
    target: Option<String>,
    files: Vec<String>,
}

/// Targets that ran, or why none did.
pub enum Run {
    /// One outcome per target.
    Ran(Vec<Outcome>),
    /// What is missing.
    Skipped(&'static str),
}

pub fn main(repo: &Repo, args: Parser) -> Result<Finish> {
    let options = read_options(args)?;
    ensure!(has_compiler(), "no C++ compiler: libFuzzer needs `c++`, or what CXX names");
    let all = targets(repo)?;
    let wanted = match &options.target {
        None => all,
        Some(name) if all.contains(name) => vec![name.clone()],
        Some(name) => bail!("there is no target `{name}`; there are {}", all.join(", ")),
    };
    if let (Some(target), false) = (&options.target, options.files.is_empty()) {
        Plan::new(1).step("build", |step| build(repo, step, &wanted))?;
        let status = Command::new(binary(repo, target)).args(&options.files).status()?;
        return Ok(if status.success() { Finish::Done } else { Finish::Failed });
    }
    let plan = Plan::new(2);
    plan.step("build", |step| build(repo, step, &wanted))?;
    let outcomes = plan.step("fuzz", |step| run_all(repo, step, &wanted, Effort::Seconds(options.seconds)))?;
    Ok(if outcomes.iter().all(Outcome::passed) { Finish::Done } else { Finish::Failed })
}

fn read_options(mut args: Parser) -> Result<Options> {
    let mut options = Options { seconds: 60, target: None, files: Vec::new() };
    while let Some(arg) = args.next()? {
        match arg {
            Long("seconds") => options.seconds = text(&mut args)?.parse().context("--seconds wants a whole number")?,
            Value(name) if options.target.is_none() => options.target = Some(name.string()?),
            Value(file) => options.files.push(file.string()?),
            other => return Err(other.unexpected().into()),
        }
    }
    Ok(options)
}

/// The step of `cargo xtask test`: every target for a short time. CI must have a compiler; a developer may go without.
pub fn check(repo: &Repo, step: &Step) -> Result<Run> {
    if !has_compiler() {
        ensure!(std::env::var_os("CI").is_none(), "no C++ compiler: libFuzzer needs `c++`, or what CXX names");
        step.note("skipped: no C++ compiler");
        return Ok(Run::Skipped("skipped: no C++ compiler"));
    }
    let targets = targets(repo)?;
    build(repo, step, &targets)?;
    run_all(repo, step, &targets, Effort::Test).map(Run::Ran)
}

/// Lets a command check the crate of the targets where libFuzzer itself cannot be compiled.
pub fn without_compiler(command: &mut Command) {
    if !has_compiler() {
        command.env("CUSTOM_LIBFUZZER_PATH", "libfuzzer-is-not-linked-here/libfuzzer.a");
    }
}

fn has_compiler() -> bool {
    let program = std::env::var_os("CXX").filter(|name| !name.is_empty()).unwrap_or_else(|| "c++".into());
    command::answer(Command::new(program).arg("--version")).is_some()
}

/// The programs of `tests/fuzz/Cargo.toml`, in its order.
fn targets(repo: &Repo) -> Result<Vec<String>> {
    #[derive(Deserialize)]
    struct Manifest {
        bin: Vec<Bin>,
    }
    #[derive(Deserialize)]
    struct Bin {
        name: String,
    }
    let file = repo.path("tests/fuzz/Cargo.toml");
    let manifest: Manifest = toml::from_str(&fs::read_to_string(&file)?).with_context(|| repo.show(&file))?;
    Ok(manifest.bin.into_iter().map(|bin| bin.name).collect())
}

fn build(repo: &Repo, step: &Step, targets: &[String]) -> Result<()> {
    step.note(&format!("cargo build of {} targets with coverage (the first time a minute)", targets.len()));
    // The same packages as in the gateway's build: with other features, the engine would be compiled a second time.
    let mut cargo = repo.cargo(&["build", "--locked", "--release", "--workspace", "--exclude", "xtask"]);
    for target in targets {
        cargo.args(["--bin", target]);
    }
    cargo.env("RUSTC_WORKSPACE_WRAPPER", wrapper(repo)?);
    command::quietly(step, &mut cargo, "building the fuzz targets").map(drop)
}

/// The wrapper around rustc, as a file. Cargo knows it by its path only, so the path changes with the flags.
fn wrapper(repo: &Repo) -> Result<PathBuf> {
    let script = format!(
        "#!/bin/sh\n\
         # Written by `cargo xtask fuzz`: rustc, with coverage counters for libFuzzer. Questions and build scripts go without.\n\
         case \" $* \" in\n    \
         *\" --crate-name ___ \"* | *\" --crate-name build_script_build \"*) exec \"$@\" ;;\n    \
         *\" --crate-name wasmgate \"*) exec \"$@\" {flags} ;;\n    \
         *\" --crate-name \"*) exec \"$@\" {flags} {FAST} ;;\n    \
         *) exec \"$@\" ;;\n\
         esac\n",
        flags = FLAGS.join(" ")
    );
    let mut hash = DefaultHasher::new();
    script.hash(&mut hash);
    let file = repo.target(&format!("fuzz/rustc-{:016x}", hash.finish()));
    if fs::read_to_string(&file).is_ok_and(|found| found == script) {
        return Ok(file);
    }
    write_atomically(&file, script.as_bytes())?;
    make_executable(&file)?;
    Ok(file)
}

fn make_executable(file: &std::path::Path) -> Result<()> {
    use std::os::unix::fs::PermissionsExt as _;
    fs::set_permissions(file, fs::Permissions::from_mode(0o755)).with_context(|| format!("making {} executable", file.display()))
}

fn binary(repo: &Repo, target: &str) -> PathBuf {
    repo.target("release").join(target)
}

/// Runs targets side by side, as many as there are processors.
fn run_all(repo: &Repo, step: &Step, targets: &[String], effort: Effort) -> Result<Vec<Outcome>> {
    let made = repo.target("fuzz/seeds");
    fresh_folder(&made)?;
    let recorded = seeds::write(repo, &made, LONGEST_INPUT)?;
    step.note(&match recorded {
        0 => "no recorded traffic at CORPUS_DIR, only seeds of our own".to_owned(),
        count => format!("{count} seeds from recorded traffic"),
    });
    let waiting = Mutex::new(targets.iter());
    let outcomes = Mutex::new(Vec::new());
    let next = || waiting.lock().expect("no thread panics with it").next();
    let workers = thread::available_parallelism().map_or(1, usize::from).min(targets.len());
    thread::scope(|scope| {
        for _ in 0..workers {
            scope.spawn(|| {
                while let Some(target) = next() {
                    let outcome = run(repo, target, effort).unwrap_or_else(|error| Outcome::did_not_run(target, &error));
                    step.note(&outcome.line());
                    outcomes.lock().expect("no thread panics with it").push(outcome);
                }
            });
        }
    });
    let outcomes = outcomes.into_inner().expect("no thread panics with it");
    for failed in outcomes.iter().filter(|outcome| !outcome.passed()) {
        println!("{}", failed.report(repo));
    }
    Ok(outcomes)
}

fn run(repo: &Repo, target: &str, effort: Effort) -> Result<Outcome> {
    let place = |kind: &str| repo.target("fuzz").join(kind).join(target);
    let corpus = match effort {
        Effort::Seconds(_) => place("corpus"),
        Effort::Test => place("corpus-of-tests"),
    };
    if effort == Effort::Test {
        fresh_folder(&corpus)?;
    }
    let (artifacts, log) = (place("artifacts"), place("logs"));
    for folder in [&corpus, &artifacts, &repo.target("fuzz/logs")] {
        fs::create_dir_all(folder).with_context(|| format!("creating {}", folder.display()))?;
    }
    let mut command = Command::new(binary(repo, target));
    // The first folder is where libFuzzer writes; the others it only reads.
    command.arg(corpus);
    command.args([repo.path("tests/fuzz/seeds").join(target), repo.target("fuzz/seeds").join(target)].iter().filter(|f| f.is_dir()));
    command.arg(format!("-artifact_prefix={}/", artifacts.display()));
    command.arg(format!("-max_len={LONGEST_INPUT}"));
    match effort {
        Effort::Seconds(seconds) => drop(command.arg(format!("-max_total_time={seconds}"))),
        Effort::Test => {
            let runs = format!("-runs={}", inputs_in_tests(target));
            command.args([runs, "-seed=1".into(), format!("-max_total_time={LONGEST_TEST}")]);
        }
    }
    command.args(["-timeout=20", "-rss_limit_mb=4096", "-print_final_stats=1"]);
    let words = repo.target("fuzz/seeds").join(format!("{target}.dict"));
    if words.is_file() {
        command.arg(format!("-dict={}", words.display()));
    }
    let file = fs::File::create(&log).with_context(|| format!("writing {}", log.display()))?;
    command.stdin(Stdio::null()).stdout(file.try_clone()?).stderr(file);
    let status = command.status().with_context(|| format!("starting {}", command::show(&command)))?;
    Ok(outcome::read(target, status, &String::from_utf8_lossy(&fs::read(&log)?)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_are_read() {
        let read = |args: &[&str]| read_options(Parser::from_args(args));
        assert_eq!(read(&[]).unwrap(), Options { seconds: 60, target: None, files: vec![] });
        let options = Options { seconds: 5, target: Some("sse".into()), files: vec!["a".into(), "b".into()] };
        assert_eq!(read(&["sse", "--seconds", "5", "a", "b"]).unwrap(), options);
        assert!(read(&["--seconds", "soon"]).is_err());
        assert!(read(&["--minutes", "5"]).is_err());
    }

    #[test]
    fn every_target_has_its_program_and_its_seeds() {
        let repo = Repo::locate().unwrap();
        for target in targets(&repo).unwrap() {
            assert!(repo.path(&format!("tests/fuzz/fuzz_targets/{target}.rs")).is_file(), "{target} has no program");
            assert!(repo.path(&format!("tests/fuzz/seeds/{target}")).is_dir(), "{target} has no seeds");
        }
    }

    #[test]
    fn the_wrapper_changes_crates_and_nothing_else() {
        let folder = tempfile::tempdir().unwrap();
        let script = wrapper(&Repo { root: folder.path().to_owned() }).unwrap();
        let run = |args: &[&str]| command::answer(Command::new(&script).arg("echo").args(args)).unwrap();
        assert_eq!(run(&["-vV"]), "-vV");
        assert_eq!(run(&["--crate-name", "___", "--print=cfg"]), "--crate-name ___ --print=cfg");
        assert_eq!(run(&["--crate-name", "build_script_build"]), "--crate-name build_script_build");
        assert!(run(&["--crate-name", "llm_codec"]).starts_with("--crate-name llm_codec -Cpasses=sancov-module "));
    }
}
