//! How many tests passed and failed, read from what a test runner prints. Pure.

use std::ops::Add;

#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Counts {
    pub passed: usize,
    pub failed: usize,
}

impl Counts {
    pub fn one(passed: bool) -> Counts {
        if passed { Counts { passed: 1, failed: 0 } } else { Counts { passed: 0, failed: 1 } }
    }
}

impl Add for Counts {
    type Output = Counts;

    fn add(self, other: Counts) -> Counts {
        Counts { passed: self.passed + other.passed, failed: self.failed + other.failed }
    }
}

/// The counts of a finished run, and a word where the run itself failed: a failure that no summary line accounts for (it
/// did not compile, or a test binary crashed) counts as one.
pub fn of_run(text: &str, succeeded: bool) -> (Counts, &'static str) {
    let counts = parse(&without_colours(text));
    if succeeded || counts.failed > 0 { (counts, "") } else { (counts + Counts::one(false), "the run itself failed, see above") }
}

/// The sum over all summary lines of libtest and cargo-nextest.
fn parse(text: &str) -> Counts {
    text.lines().filter_map(|line| libtest(line).or_else(|| nextest(line))).fold(Counts::default(), Add::add)
}

/// `test result: ok. 5 passed; 0 failed; 1 ignored; …` at the beginning of a line: nextest shows that of a failed test indented.
fn libtest(line: &str) -> Option<Counts> {
    let (_, numbers) = line.strip_prefix("test result: ")?.split_once(". ")?;
    let number = |word: &str| numbers.split(';').find_map(|part| part.trim().strip_suffix(word)?.trim().parse().ok());
    Some(Counts { passed: number("passed")?, failed: number("failed")? })
}

/// `Summary [   1.2s] 12 tests run: 10 passed (1 slow), 1 failed, 1 timed out, 2 skipped`; `9/12 tests run` where it stopped.
fn nextest(line: &str) -> Option<Counts> {
    let (_, rest) = line.trim_start().strip_prefix("Summary [")?.split_once("] ")?;
    let (run, results) = rest.split_once(" run: ")?;
    let run: usize = run.split([' ', '/']).next()?.parse().ok()?;
    let passed = results.split(", ").find_map(|part| part.split_once(" passed").and_then(|(number, _)| number.parse().ok())).unwrap_or(0);
    Some(Counts { passed, failed: run.saturating_sub(passed) })
}

/// Without terminal escape sequences.
fn without_colours(text: &str) -> String {
    let mut plain = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(start) = rest.find("\u{1b}[") {
        plain.push_str(&rest[..start]);
        rest = &rest[start + 2..];
        rest = rest.find(|c: char| c.is_ascii_alphabetic()).map_or("", |end| &rest[end + 1..]);
    }
    plain + rest
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, passed: usize, failed: usize) {
        assert_eq!(parse(&without_colours(text)), Counts { passed, failed }, "{text}");
    }

    #[test]
    fn libtest_lines_add_up() {
        check(
            "test result: ok. 5 passed; 0 failed; 1 ignored; 0 measured; 0 filtered out; finished in 0.00s\n\
             test result: FAILED. 2 passed; 1 failed; 0 ignored; 0 measured; 0 filtered out; finished in 0.00s\n",
            7,
            1,
        );
    }

    #[test]
    fn nextest_summaries() {
        check("     Summary [   0.012s] 12 tests run: 12 passed, 0 skipped", 12, 0);
        check("     Summary [   0.012s] 1 test run: 1 passed, 3 skipped", 1, 0);
        check("     Summary [  10.000s] 12 tests run: 9 passed (1 slow, 1 flaky), 2 failed, 1 timed out, 2 skipped", 9, 3);
        check("     Summary [   0.012s] 3/12 tests run: 1 passed, 2 failed, 0 skipped", 1, 2);
        check("     Summary [   0.012s] 2 tests run: 0 passed, 2 failed, 0 skipped", 0, 2);
        check("\u{1b}[31;1m     Summary\u{1b}[0m [   0.1s] \u{1b}[1m2\u{1b}[0m tests run: \u{1b}[1m2\u{1b}[0m passed, 0 skipped", 2, 0);
    }

    #[test]
    fn other_lines_are_not_counted() {
        check("running 5 tests\ntest a ... ok\n5 passed\n", 0, 0);
    }

    #[test]
    fn a_run_that_failed_without_a_count_is_one_failure() {
        assert_eq!(of_run("error: could not compile", false).0, Counts { passed: 0, failed: 1 });
        assert_eq!(of_run("test result: FAILED. 2 passed; 1 failed; 0 ignored", false).0, Counts { passed: 2, failed: 1 });
    }
}
