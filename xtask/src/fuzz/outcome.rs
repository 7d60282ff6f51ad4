//! How a target's run ended, read from what libFuzzer prints, and what makes up inputs without it in the same words. Pure.

use std::path::Path;
use std::process::ExitStatus;

use crate::command;
use crate::repo::Repo;

/// How much of a log is shown; all of it is in the file.
const LINES: usize = 30;
const COLUMNS: usize = 1000;

/// One target's run.
pub struct Outcome {
    target: String,
    /// Inputs that were tried.
    runs: u64,
    /// Most memory, in MiB.
    memory: u64,
    /// Of all inputs, where they were made from a number: on every machine the same.
    digest: Option<String>,
    failure: Option<Failure>,
}

struct Failure {
    /// What the log says of it.
    log: Vec<String>,
    /// The input that did it, where libFuzzer wrote one.
    input: Option<String>,
}

/// Reads the end of a run.
pub fn read(target: &str, status: ExitStatus, log: &str) -> Outcome {
    let failure = (!status.success()).then(|| Failure {
        log: essence(log),
        input: log.lines().find_map(|line| line.split_once("Test unit written to ")).map(|(_, path)| path.trim().to_owned()),
    });
    let number = |name| statistic(log, name).and_then(|number| number.parse().ok()).unwrap_or(0);
    Outcome {
        target: target.to_owned(),
        runs: number("number_of_executed_units"),
        memory: number("peak_rss_mb"),
        digest: statistic(log, "digest").map(str::to_owned),
        failure,
    }
}

/// `stat::NAME: 123`.
fn statistic<'l>(log: &'l str, name: &str) -> Option<&'l str> {
    log.lines().find_map(|line| line.strip_prefix("stat::")?.strip_prefix(name)?.strip_prefix(':')).map(str::trim)
}

/// From the first line that tells of the failure on; before it are thousands that tell of progress, and inputs may be long.
fn essence(log: &str) -> Vec<String> {
    let lines: Vec<&str> = log.lines().collect();
    let tells = |line: &&str| line.contains("panicked at") || line.contains("ERROR: ") || line.contains("has overflowed its stack");
    let first = lines.iter().position(tells).unwrap_or(lines.len().saturating_sub(LINES));
    lines[first..].iter().take(LINES).map(|line| line.chars().take(COLUMNS).collect()).collect()
}

impl Outcome {
    pub fn did_not_run(target: &str, error: &anyhow::Error) -> Outcome {
        let failure = Failure { log: vec![format!("{error:#}")], input: None };
        Outcome { target: target.to_owned(), runs: 0, memory: 0, digest: None, failure: Some(failure) }
    }

    pub fn passed(&self) -> bool {
        self.failure.is_none()
    }

    /// It failed, and nobody said on which input.
    pub fn lacks_input(&self) -> bool {
        self.failure.as_ref().is_some_and(|failure| failure.input.is_none())
    }

    /// The input that it failed on.
    pub fn with_input(mut self, file: &Path) -> Outcome {
        if let Some(failure) = &mut self.failure {
            failure.input = Some(file.display().to_string());
        }
        self
    }

    /// One line for the step.
    pub fn line(&self) -> String {
        let verdict = if self.passed() { "" } else { "  FAILED" };
        let digest = self.digest.as_ref().map(|digest| format!("  {digest}")).unwrap_or_default();
        format!("{:<18} {:>9} inputs {:>5} MiB{digest}{verdict}", self.target, self.runs, self.memory)
    }

    /// What a developer needs to know of a failure.
    pub fn report(&self, repo: &Repo) -> String {
        let Some(failure) = &self.failure else { return String::new() };
        let mut text = format!("\nfuzz target `{}` failed:\n{}\n", self.target, command::quote(&failure.log));
        if let Some(input) = &failure.input {
            let input = repo.show(input.as_ref());
            text.push_str(&format!("  input:     {input}\n  reproduce: cargo xtask fuzz {} {input}\n", self.target));
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::process::ExitStatusExt as _;

    use super::*;

    const STATISTICS: &str = "Done 27 runs in 5 second(s)\nstat::number_of_executed_units: 27\nstat::peak_rss_mb:              60\n";

    #[test]
    fn a_clean_run_tells_its_counts() {
        let outcome = read("sse", ExitStatus::from_raw(0), STATISTICS);
        assert!(outcome.passed());
        assert_eq!(outcome.line(), "sse                       27 inputs    60 MiB");
    }

    #[test]
    fn inputs_from_a_number_have_a_digest() {
        let outcome = read("sse", ExitStatus::from_raw(0), &format!("{STATISTICS}stat::digest: 00ff\n"));
        assert_eq!(outcome.line(), "sse                       27 inputs    60 MiB  00ff");
    }

    #[test]
    fn a_process_that_died_fails_on_what_it_was_trying() {
        let outcome = read("sse", ExitStatus::from_raw(9), "");
        assert!(outcome.lacks_input());
        let outcome = outcome.with_input("/r/target/fuzz/artifacts/sse/died-1".as_ref());
        assert!(!outcome.lacks_input() && !outcome.passed());
        let report = outcome.report(&Repo { root: "/r".into() });
        assert!(report.ends_with("  reproduce: cargo xtask fuzz sse target/fuzz/artifacts/sse/died-1\n"), "{report}");
    }

    #[test]
    fn a_crash_tells_how_to_see_it_again() {
        let log = format!(
            "#5\tNEW    cov: 5 ft: 6\nthread 'x' panicked at a.rs:1:2:\nreason\n{STATISTICS}artifact_prefix='a/'; Test unit written to /r/target/fuzz/artifacts/sse/crash-1\n"
        );
        let outcome = read("sse", ExitStatus::from_raw(77 << 8), &log);
        assert!(!outcome.passed() && outcome.line().ends_with("FAILED"));
        let report = outcome.report(&Repo { root: "/r".into() });
        assert!(report.contains("| thread 'x' panicked at a.rs:1:2:\n    | reason\n") && !report.contains("NEW"), "{report}");
        assert!(report.ends_with("  reproduce: cargo xtask fuzz sse target/fuzz/artifacts/sse/crash-1\n"), "{report}");
    }
}
