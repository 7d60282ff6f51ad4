//! `test`: everything that CI checks, in one command, with one summary.

mod counts;

use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use lexopt::Parser;
use lexopt::prelude::*;

use crate::repo::Repo;
use crate::step::{Plan, Step, seconds};
use crate::{Finish, browser, build, command, components, databases, deny, fuzz, model, monitoring, node, python, tidy, toolchain, wit};

use counts::Counts;

pub const HELP: &str = "\
Usage: cargo xtask test [--quick] [FILTER…]

Runs, in this order: cargo fmt, clippy, cargo-deny, tidy, wit, build (gateway and components), the installation of the
real model, of the Python and Node SDKs, of Prometheus, of the databases and of a browser, all tests (with cargo-nextest where it is
installed), doc tests, each fuzz target on some thousand inputs, the same ones on every machine (`cargo xtask fuzz --help`).
A failed step does not stop the others, except that nothing is tested that could not be built. It closes with a table of the
steps and the line `N passed, N failed`; a step that is not a test
run counts as one.

With a FILTER only the tests whose name contains it run, and the checks before the build are left out.

Options:
  --quick  what a change of a few lines needs: without cargo-deny, the model, the SDKs, doc tests and fuzzing; tests with
           `sdk_`, `real_model`, `prometheus_`, `postgres_` or `redis_` in their names are left out

The tests find what they need in the environment: WASMGATE_BIN, WASMGATE_COMPONENTS, CORPUS_DIR, WASMGATE_PYTHON,
MODEL_PYTHON, WASMGATE_NODE_DIR, WASMGATE_MONITORING, WASMGATE_DATABASES; CORPUS_DIR may be set to another corpus
than ../shared/corpus.
";

/// Parts of the names of tests that need more than the two builds.
const NEEDS_ENVIRONMENT: [&str; 5] = ["sdk_", "real_model", "prometheus_", "postgres_", "redis_"];

struct Options {
    quick: bool,
    filters: Vec<String>,
}

/// What became of one step.
struct Outcome {
    title: &'static str,
    time: Duration,
    counts: Counts,
    note: &'static str,
    is_test_run: bool,
}

struct Session<'a> {
    repo: &'a Repo,
    plan: Plan,
    outcomes: Vec<Outcome>,
    /// Whether it got as far as the tests.
    tested: bool,
}

pub fn main(repo: &Repo, args: Parser) -> Result<Finish> {
    let options = read_options(args)?;
    let checks = options.filters.is_empty();
    let steps = 5 + if checks { if options.quick { 4 } else { 7 } } else { 0 } + if options.quick { 0 } else { 6 };
    let mut session = Session { repo, plan: Plan::new(steps), outcomes: Vec::new(), tested: false };
    if checks {
        session.check_sources(options.quick);
    }
    if session.build() {
        if !options.quick {
            session.install_environments();
        }
        session.run_tests(&options);
    }
    let ran_none = session.tested && session.tests_run() == 0;
    let total = session.outcomes.iter().fold(Counts::default(), |sum, outcome| sum + outcome.counts);
    print!("{}", table(&session.outcomes));
    if ran_none {
        println!("no test has {} in its name", options.filters.join(" or "));
    }
    println!("{} passed, {} failed", total.passed, total.failed);
    Ok(if total.failed == 0 && !ran_none { Finish::Done } else { Finish::Failed })
}

fn read_options(mut args: Parser) -> Result<Options> {
    let mut options = Options { quick: false, filters: Vec::new() };
    while let Some(arg) = args.next()? {
        match arg {
            Long("quick") => options.quick = true,
            Value(filter) => options.filters.push(filter.string()?),
            other => return Err(other.unexpected().into()),
        }
    }
    Ok(options)
}

impl Session<'_> {
    fn check_sources(&mut self, quick: bool) {
        let repo = self.repo;
        self.check("fmt", |_| cargo_shown(repo, &["fmt", "--all", "--check"]));
        self.check("clippy", |step| {
            let gateway = ["clippy", "--locked", "--workspace", "--exclude", "xtask", "--all-targets", "--release"];
            let mut gateway = repo.cargo(&gateway);
            fuzz::with_targets(&mut gateway);
            gateway.args(["--", "-D", "warnings"]);
            command::quietly(step, &mut gateway, "clippy")?;
            let xtask = ["clippy", "--locked", "--package", "xtask", "--all-targets", "--", "-D", "warnings"];
            command::quietly(step, &mut repo.cargo(&xtask), "clippy on xtask").map(drop)
        });
        if !quick {
            self.check("deny", |step| deny::check(repo, step));
        }
        self.check("tidy", |step| tidy::check(repo, step));
        self.check("wit", |step| wit::check(repo, step));
    }

    /// Whether there is something to test.
    fn build(&mut self) -> bool {
        let repo = self.repo;
        let mut guest = None;
        self.check("guest toolchain", |step| {
            guest = Some(toolchain::prepare(repo, step)?);
            Ok(())
        });
        let gateway = self.check("gateway", |step| build::host(repo, step, build::PROFILE));
        let components = self.check("components", |step| {
            components::build(repo, step, guest.as_ref().context("no guest toolchain")?, components::Which::All)
        });
        gateway && components
    }

    fn install_environments(&mut self) {
        let repo = self.repo;
        self.check("real model", |step| model::prepare(repo, step));
        self.check("Python SDKs", |step| python::prepare_sdks(repo, step));
        self.check("Node SDKs", |step| node::prepare_sdks(repo, step));
        self.check("monitoring", |step| monitoring::prepare(repo, step));
        self.check("databases", |step| databases::prepare(repo, step));
        self.check("browser", |step| browser::prepare(repo, step));
    }

    fn run_tests(&mut self, options: &Options) {
        self.tested = true;
        let mut command = test_command(self.repo, options);
        environment(self.repo, &mut command);
        if !options.quick {
            // They were installed just now: a test that does not find them has failed, not been skipped.
            command.env("WASMGATE_REQUIRE_SDKS", "1");
        }
        self.count("tests", command);
        self.count("xtask's tests", xtask_test_command(self.repo, options));
        if !options.quick && options.filters.is_empty() {
            let mut command =
                self.repo.cargo(&["test", "--locked", "--workspace", "--exclude", "xtask", "--release", "--doc", "--no-fail-fast"]);
            environment(self.repo, &mut command);
            self.count("doc tests", command);
            self.fuzz();
        }
    }

    /// A step with one test per target.
    fn fuzz(&mut self) {
        let repo = self.repo;
        let started = Instant::now();
        let (counts, note) = match self.plan.step("fuzz", |step| fuzz::check(repo, step)) {
            Ok(outcomes) => (outcomes.iter().fold(Counts::default(), |sum, run| sum + Counts::one(run.passed())), ""),
            Err(error) => {
                println!("error: {error:#}\n");
                (Counts::one(false), "did not run")
            }
        };
        self.outcomes.push(Outcome { title: "fuzz", time: started.elapsed(), counts, note, is_test_run: false });
    }

    /// A step that is right or wrong. Returns whether it is right.
    fn check(&mut self, title: &'static str, work: impl FnOnce(&Step) -> Result<()>) -> bool {
        let started = Instant::now();
        let result = self.plan.step(title, work);
        if let Err(error) = &result {
            println!("error: {error:#}\n");
        }
        self.outcomes.push(Outcome { title, time: started.elapsed(), counts: Counts::one(result.is_ok()), note: "", is_test_run: false });
        result.is_ok()
    }

    /// A step that counts for itself.
    fn count(&mut self, title: &'static str, mut command: Command) {
        let started = Instant::now();
        let result = self.plan.step(title, |_| command::shown(&mut command));
        let (counts, note) = match result {
            Ok(output) => counts::of_run(&output.text, output.status.success()),
            Err(error) => {
                println!("error: {error:#}\n");
                (Counts::one(false), "did not run")
            }
        };
        self.outcomes.push(Outcome { title, time: started.elapsed(), counts, note, is_test_run: true });
    }

    fn tests_run(&self) -> usize {
        self.outcomes.iter().filter(|outcome| outcome.is_test_run).map(|outcome| outcome.counts.passed + outcome.counts.failed).sum()
    }
}

fn cargo_shown(repo: &Repo, args: &[&str]) -> Result<()> {
    let mut command = repo.cargo(args);
    let output = command::shown(&mut command)?;
    ensure!(output.status.success(), "`{}` failed ({})", command::show(&command), output.status);
    Ok(())
}

fn test_command(repo: &Repo, options: &Options) -> Command {
    let has_nextest = command::answer(&mut repo.cargo(&["nextest", "--version"])).is_some();
    let runner: &[&str] = if has_nextest { &["nextest", "run"] } else { &["test"] };
    let mut command = repo.cargo(runner);
    command.args(["--locked", "--workspace", "--exclude", "xtask", "--release", "--no-fail-fast"]);
    if has_nextest {
        command.args(["--config-file", "xtask/assets/nextest.toml"]);
        // A filter may be meant for xtask's tests, which are a run of their own.
        command.arg("--no-tests=pass");
    } else {
        // Doc tests are a run of their own.
        command.args(["--lib", "--bins", "--tests"]);
    }
    command.arg("--").args(&options.filters);
    if options.quick {
        for part in NEEDS_ENVIRONMENT {
            command.args(["--skip", part]);
        }
    }
    command
}

/// The black-box tests alone, without nextest: for one test whose output is wanted. It is selected from the whole workspace, so that it is
/// compiled with the same features as everything else.
pub fn of_black_box(repo: &Repo, args: &[&str]) -> Command {
    let mut command = repo.cargo(&["test", "--locked", "--workspace", "--exclude", "xtask", "--release", "--test", "black_box"]);
    command.args(args);
    environment(repo, &mut command);
    command
}

/// In the profile that xtask runs in, for whose sake its dependencies are compiled already.
fn xtask_test_command(repo: &Repo, options: &Options) -> Command {
    let mut command = repo.cargo(&["test", "--locked", "--package", "xtask", "--no-fail-fast", "--"]);
    command.args(&options.filters);
    command
}

/// Where the black-box tests find what this command has built and installed.
fn environment(repo: &Repo, command: &mut Command) {
    command.env("WASMGATE_BIN", repo.gateway(build::PROFILE));
    command.env("WASMGATE_COMPONENTS", repo.components());
    command.env("WASMGATE_PYTHON", python::interpreter(repo));
    command.env("MODEL_PYTHON", python::interpreter(repo));
    command.env("WASMGATE_NODE_DIR", node::folder(repo));
    command.env("WASMGATE_MONITORING", monitoring::folder(repo));
    command.env("WASMGATE_DATABASES", databases::folder(repo));
    command.env("WASMGATE_BROWSER", browser::program(repo));
    command.env("CORPUS_DIR", repo.corpus());
}

fn table(outcomes: &[Outcome]) -> String {
    let mut text = format!("\n{:<18} {:>12} {:>8} {:>8}\n", "step", "time", "passed", "failed");
    for outcome in outcomes {
        let Counts { passed, failed } = outcome.counts;
        let verdict = if failed == 0 { "" } else { "  FAILED" };
        let note = if outcome.note.is_empty() { String::new() } else { format!(": {}", outcome.note) };
        text.push_str(&format!("{:<18} {:>12} {passed:>8} {failed:>8}{verdict}{note}\n", outcome.title, seconds(outcome.time)));
    }
    text.push('\n');
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_shows_what_failed() {
        let outcome = |title, passed, failed, note| Outcome {
            title,
            time: Duration::from_secs(3),
            counts: Counts { passed, failed },
            note,
            is_test_run: true,
        };
        assert_eq!(
            table(&[outcome("fmt", 1, 0, ""), outcome("tests", 8, 1, ""), outcome("doc tests", 0, 1, "did not run")]),
            "\nstep                       time   passed   failed\n\
             fmt                       3.0 s        1        0\n\
             tests                     3.0 s        8        1  FAILED\n\
             doc tests                 3.0 s        0        1  FAILED: did not run\n\n"
        );
    }

    #[test]
    fn options_are_read() {
        let options = read_options(Parser::from_args(["--quick", "codec", "sse"])).unwrap();
        assert!(options.quick);
        assert_eq!(options.filters, ["codec", "sse"]);
        assert!(read_options(Parser::from_args(["--slow"])).is_err());
    }
}
