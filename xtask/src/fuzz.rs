//! `fuzz`: made-up bytes for everything that reads bytes from outside; a panic, a hang or a broken promise fails.
//!
//! There are two ways. `cargo xtask test` tries inputs that are made from a number: the same ones on every machine, by a program that is
//! built as the gateway is. Whoever looks for more lets libFuzzer do it, which follows what the code does with its inputs, and so finds
//! other things on every machine.
//!
//! `cargo fuzz` wants a nightly compiler and compiles every dependency with its sanitizer. Here only the crates of this repository get
//! coverage counters, by a wrapper around rustc that cargo calls for workspace members alone, so that everything else is shared with the
//! release build, on stable.

mod outcome;
mod seeds;

use std::fs;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::{Path, PathBuf};
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
Usage: cargo xtask fuzz [--seconds N] [TARGET]
       cargo xtask fuzz --number N [--inputs N] [TARGET]
       cargo xtask fuzz TARGET FILE…

Runs the fuzz targets of tests/fuzz, two or more at a time; with a TARGET only that one. With FILEs it runs the target on each of
them once, which is how a failure is reproduced.

Without --number, libFuzzer makes up inputs for N seconds and follows what the code does with them. That needs a C++ compiler
(`c++`, or what CXX names), because libFuzzer is written in it.

With --number, inputs are made from that number and nothing else, the same ones on every machine: `cargo xtask test` does it with
the number 1. Other numbers try other inputs. Neither this nor a FILE needs a C++ compiler.

What both start from: tests/fuzz/seeds/TARGET, small components made from wit/, and the recorded traffic at CORPUS_DIR where it is
there; libFuzzer also from what it found in earlier runs (target/fuzz/corpus/TARGET) and from the heads of the built components. A
failure leaves its input in target/fuzz/artifacts/TARGET, and the whole output is in target/fuzz/logs/TARGET.

Options:
  --seconds N  how long libFuzzer runs each target [default: 60]
  --number N   makes inputs from this number instead
  --inputs N   how many of them [default: 15000; 1500 for `component`]
";

/// Where a target's inputs come from.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Source {
    /// From libFuzzer, for so many seconds, on from what earlier runs found.
    Guided { seconds: u32 },
    /// From a number: a test says the same of the same code, however fast the machine is.
    Number { number: u64, inputs: Option<u32> },
}

/// What `cargo xtask test` tries.
const TESTS: Source = Source::Number { number: 1, inputs: None };

/// Inputs of a target that are made from a number. Loading a component takes a millisecond, everything else a hundredth of that.
fn usual_inputs(target: &str) -> u32 {
    if target == "component" { 1_500 } else { 15_000 }
}

/// The program that tries what is made from a number.
const MADE_UP: &str = "made-up";

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
    source: Source,
    target: Option<String>,
    files: Vec<String>,
}

pub fn main(repo: &Repo, args: Parser) -> Result<Finish> {
    let options = read_options(args)?;
    let guided = matches!(options.source, Source::Guided { .. }) && options.files.is_empty();
    ensure!(!guided || has_compiler(), "no C++ compiler: libFuzzer needs `c++`, or what CXX names; `--number 1` does without");
    let all = targets(repo)?;
    let wanted = match &options.target {
        None => all,
        Some(name) if all.contains(name) => vec![name.clone()],
        Some(name) => bail!("there is no target `{name}`; there are {}", all.join(", ")),
    };
    if let (Some(target), false) = (&options.target, options.files.is_empty()) {
        Plan::new(1).step("build", |step| build_made_up(repo, step))?;
        let status = Command::new(binary(repo, MADE_UP)).arg(target).args(&options.files).status()?;
        return Ok(if status.success() { Finish::Done } else { Finish::Failed });
    }
    let plan = Plan::new(2);
    plan.step("build", |step| if guided { build_guided(repo, step, &wanted) } else { build_made_up(repo, step) })?;
    let outcomes = plan.step("fuzz", |step| run_all(repo, step, &wanted, options.source))?;
    Ok(if outcomes.iter().all(Outcome::passed) { Finish::Done } else { Finish::Failed })
}

fn read_options(mut args: Parser) -> Result<Options> {
    let (mut seconds, mut number, mut inputs) = (None, None, None);
    let (mut target, mut files) = (None, Vec::new());
    while let Some(arg) = args.next()? {
        match arg {
            Long("seconds") => seconds = Some(text(&mut args)?.parse().context("--seconds wants a whole number")?),
            Long("number") => number = Some(text(&mut args)?.parse().context("--number wants a whole number")?),
            Long("inputs") => inputs = Some(text(&mut args)?.parse().context("--inputs wants a whole number")?),
            Value(name) if target.is_none() => target = Some(name.string()?),
            Value(file) => files.push(file.string()?),
            other => return Err(other.unexpected().into()),
        }
    }
    let source = match (seconds, number) {
        (Some(_), Some(_)) => bail!("--seconds is for libFuzzer and --number is without it: give one of them"),
        (_, None) if inputs.is_some() => bail!("--inputs wants a --number to make them from"),
        (seconds, None) => Source::Guided { seconds: seconds.unwrap_or(60) },
        (None, Some(number)) => Source::Number { number, inputs },
    };
    Ok(Options { source, target, files })
}

/// The step of `cargo xtask test`: every target, on the same inputs everywhere.
pub fn check(repo: &Repo, step: &Step) -> Result<Vec<Outcome>> {
    let targets = targets(repo)?;
    build_made_up(repo, step)?;
    run_all(repo, step, &targets, TESTS)
}

/// Lets a command check the targets of libFuzzer, which is not compiled for it.
pub fn with_targets(command: &mut Command) {
    command.args(["--features", "wasmgate-fuzz/libfuzzer"]);
    command.env("CUSTOM_LIBFUZZER_PATH", "libfuzzer-is-not-linked-here/libfuzzer.a");
}

fn has_compiler() -> bool {
    let program = std::env::var_os("CXX").filter(|name| !name.is_empty()).unwrap_or_else(|| "c++".into());
    command::answer(Command::new(program).arg("--version")).is_some()
}

/// The programs of libFuzzer in `tests/fuzz/Cargo.toml`, in its order.
fn targets(repo: &Repo) -> Result<Vec<String>> {
    #[derive(Deserialize)]
    struct Manifest {
        bin: Vec<Bin>,
    }
    #[derive(Deserialize)]
    struct Bin {
        name: String,
        path: String,
    }
    let file = repo.path("tests/fuzz/Cargo.toml");
    let manifest: Manifest = toml::from_str(&fs::read_to_string(&file)?).with_context(|| repo.show(&file))?;
    Ok(manifest.bin.into_iter().filter(|bin| bin.path.starts_with("fuzz_targets/")).map(|bin| bin.name).collect())
}

/// Shares everything with the gateway's build.
fn build_made_up(repo: &Repo, step: &Step) -> Result<()> {
    step.note(&format!("cargo build of `{MADE_UP}`"));
    let mut cargo = repo.cargo(&["build", "--locked", "--release", "--workspace", "--exclude", "xtask", "--bin", MADE_UP]);
    command::quietly(step, &mut cargo, "building what makes up inputs").map(drop)
}

fn build_guided(repo: &Repo, step: &Step, targets: &[String]) -> Result<()> {
    step.note(&format!("cargo build of {} targets with coverage (the first time a minute)", targets.len()));
    // The same packages as in the gateway's build: with other features, the engine would be compiled a second time.
    let mut cargo =
        repo.cargo(&["build", "--locked", "--release", "--workspace", "--exclude", "xtask", "--features", "wasmgate-fuzz/libfuzzer"]);
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

fn make_executable(file: &Path) -> Result<()> {
    use std::os::unix::fs::PermissionsExt as _;
    fs::set_permissions(file, fs::Permissions::from_mode(0o755)).with_context(|| format!("making {} executable", file.display()))
}

fn binary(repo: &Repo, target: &str) -> PathBuf {
    repo.target("release").join(target)
}

/// Runs targets side by side, as many as there are processors.
fn run_all(repo: &Repo, step: &Step, targets: &[String], source: Source) -> Result<Vec<Outcome>> {
    let made = repo.target("fuzz/seeds");
    fresh_folder(&made)?;
    let recorded = seeds::write(repo, &made, LONGEST_INPUT)?;
    step.note(&match recorded {
        0 => "no recorded traffic at CORPUS_DIR, only seeds of our own: other inputs than where it is there".to_owned(),
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
                    let outcome = run(repo, target, source).unwrap_or_else(|error| Outcome::did_not_run(target, &error));
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

fn run(repo: &Repo, target: &str, source: Source) -> Result<Outcome> {
    let (artifacts, log) = (place(repo, "artifacts", target), place(repo, "logs", target));
    for folder in [&artifacts, &repo.target("fuzz/logs")] {
        fs::create_dir_all(folder).with_context(|| format!("creating {}", folder.display()))?;
    }
    let mut command = match source {
        Source::Guided { seconds } => guided(repo, target, seconds)?,
        Source::Number { number, inputs } => made_up(repo, target, number, inputs.unwrap_or_else(|| usual_inputs(target))),
    };
    let file = fs::File::create(&log).with_context(|| format!("writing {}", log.display()))?;
    command.stdin(Stdio::null()).stdout(file.try_clone()?).stderr(file);
    let status = command.status().with_context(|| format!("starting {}", command::show(&command)))?;
    let outcome = outcome::read(target, status, &String::from_utf8_lossy(&fs::read(&log)?));
    let trying = artifacts.join("trying");
    // Where the process died without a word, what it was trying is still there.
    Ok(if outcome.lacks_input() && trying.is_file() { outcome.with_input(&keep(&trying)?) } else { outcome })
}

/// libFuzzer, with what it starts from.
fn guided(repo: &Repo, target: &str, seconds: u32) -> Result<Command> {
    let corpus = place(repo, "corpus", target);
    fs::create_dir_all(&corpus).with_context(|| format!("creating {}", corpus.display()))?;
    let mut command = Command::new(binary(repo, target));
    // The first folder is where libFuzzer writes; the others it only reads.
    command
        .arg(corpus)
        .args(seeds(repo, target))
        .args(Some(repo.target("fuzz/seeds/heads")).filter(|f| target == "component" && f.is_dir()));
    command.arg(format!("-artifact_prefix={}/", place(repo, "artifacts", target).display()));
    command.arg(format!("-max_len={LONGEST_INPUT}"));
    command.arg(format!("-max_total_time={seconds}"));
    command.args(["-timeout=20", "-rss_limit_mb=4096", "-print_final_stats=1"]);
    command.args(words(repo, target).map(|words| format!("-dict={}", words.display())));
    Ok(command)
}

/// The program without libFuzzer. What it starts from is on every machine.
fn made_up(repo: &Repo, target: &str, number: u64, inputs: u32) -> Command {
    let mut command = Command::new(binary(repo, MADE_UP));
    command.arg(target).args(["--number", &number.to_string(), "--inputs", &inputs.to_string()]);
    command.args(["--longest", &LONGEST_INPUT.to_string()]);
    command.arg("--artifacts").arg(place(repo, "artifacts", target));
    for folder in seeds(repo, target) {
        command.arg("--seeds").arg(folder);
    }
    if let Some(words) = words(repo, target) {
        command.arg("--words").arg(words);
    }
    command
}

fn place(repo: &Repo, kind: &str, target: &str) -> PathBuf {
    repo.target("fuzz").join(kind).join(target)
}

/// Folders of seeds: those of the repository, and those that were made.
fn seeds(repo: &Repo, target: &str) -> impl Iterator<Item = PathBuf> {
    [repo.path("tests/fuzz/seeds").join(target), repo.target("fuzz/seeds").join(target)].into_iter().filter(|folder| folder.is_dir())
}

fn words(repo: &Repo, target: &str) -> Option<PathBuf> {
    Some(repo.target("fuzz/seeds").join(format!("{target}.dict"))).filter(|file| file.is_file())
}

/// Gives an input a name of its own.
fn keep(trying: &Path) -> Result<PathBuf> {
    let mut hash = DefaultHasher::new();
    fs::read(trying)?.hash(&mut hash);
    let kept = trying.with_file_name(format!("died-{:016x}", hash.finish()));
    fs::rename(trying, &kept).with_context(|| format!("keeping {}", kept.display()))?;
    Ok(kept)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_are_read() {
        let read = |args: &[&str]| read_options(Parser::from_args(args));
        let minute = Source::Guided { seconds: 60 };
        assert_eq!(read(&[]).unwrap(), Options { source: minute, target: None, files: vec![] });
        let options = Options { source: Source::Guided { seconds: 5 }, target: Some("sse".into()), files: vec!["a".into(), "b".into()] };
        assert_eq!(read(&["sse", "--seconds", "5", "a", "b"]).unwrap(), options);
        let number = |inputs| Options { source: Source::Number { number: 7, inputs }, target: None, files: vec![] };
        assert_eq!(read(&["--number", "7"]).unwrap(), number(None));
        assert_eq!(read(&["--inputs", "9", "--number", "7"]).unwrap(), number(Some(9)));
        assert!(read(&["--number", "7", "--seconds", "5"]).is_err());
        assert!(read(&["--inputs", "7"]).is_err());
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
