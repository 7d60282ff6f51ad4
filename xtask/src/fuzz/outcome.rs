//! How a target's run ended, read from what libFuzzer prints. Pure.

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
    Outcome { target: target.to_owned(), runs: statistic(log, "number_of_executed_units"), memory: statistic(log, "peak_rss_mb"), failure }
}

/// `stat::NAME: 123`.
fn statistic(log: &str, name: &str) -> u64 {
    let found = log.lines().find_map(|line| line.strip_prefix("stat::")?.strip_prefix(name)?.strip_prefix(':'));
    found.and_then(|number| number.trim().parse().ok()).unwrap_or(0)
}

/// From the first line that tells of the failure on; before it are thousands that tell of progress, and inputs may be long.
fn essence(log: &str) -> Vec<String> {
    let lines: Vec<&str> = log.lines().collect();
    let tells =
        |line: &&str| line.contains("panicked at") || line.contains("ERROR: libFuzzer") || line.contains("has overflowed its stack");
    let first = lines.iter().position(tells).unwrap_or(lines.len().saturating_sub(LINES));
    lines[first..].iter().take(LINES).map(|line| line.chars().take(COLUMNS).collect()).collect()
}

impl Outcome {
    pub fn did_not_run(target: &str, error: &anyhow::Error) -> Outcome {
        let failure = Failure { log: vec![format!("{error:#}")], input: None };
        Outcome { target: target.to_owned(), runs: 0, memory: 0, failure: Some(failure) }
    }

    pub fn passed(&self) -> bool {
        self.failure.is_none()
    }

    /// One line for the step.
    pub fn line(&self) -> String {
        let verdict = if self.passed() { "" } else { "  FAILED" };
        format!("{:<18} {:>9} inputs {:>5} MiB{verdict}", self.target, self.runs, self.memory)
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
