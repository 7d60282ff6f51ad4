//! `soak`: hundreds of swaps under load, as `cargo xtask test` does some dozens.

use anyhow::{Context, Result, ensure};
use lexopt::Parser;
use lexopt::prelude::*;

use crate::components::Which;
use crate::repo::Repo;
use crate::step::Plan;
use crate::{Finish, build, command, test, text};

pub const HELP: &str = "\
Usage: cargo xtask soak [--swaps N]

Swaps extensions of a running gateway N times, each in turn (openai-api, anthropic-api, routing, and a fixture that marks every
piece of text), while 64 clients of both dialects stream. It fails when a request fails, a stream is cut off or mixes two
versions, a response does not say which generation made it, or the process is not as large at the end as it was early on. It
prints how long a swap took (p50, p99), how many streams there were, and the memory of the process.

It is one test of tests/black_box/soak.rs, which `cargo xtask test` runs with fewer swaps.

Options:
  --swaps N  how often is swapped [default: 1000]
";

/// The test's path in `tests/black_box/`.
const TEST: &str = "soak::soak";

/// What the test reads the number from.
const VARIABLE: &str = "WASMGATE_SOAK_SWAPS";

pub fn main(repo: &Repo, args: Parser) -> Result<Finish> {
    let swaps = read_options(args)?;
    let plan = Plan::new(4);
    build::wasm(repo, &plan, Which::All)?;
    plan.step("gateway and test", |step| {
        build::host(repo, step, build::PROFILE)?;
        command::quietly(step, &mut test::of_black_box(repo, &["--no-run"]), "building the test").map(drop)
    })?;
    let passed = plan.step(&format!("{swaps} swaps"), |_| {
        let mut command = test::of_black_box(repo, &["--", "--exact", TEST, "--nocapture"]);
        let output = command::shown(command.env(VARIABLE, swaps.to_string()))?;
        ensure!(output.text.contains("soak: "), "no test is called `{TEST}`");
        Ok(output.status.success())
    })?;
    Ok(if passed { Finish::Done } else { Finish::Failed })
}

fn read_options(mut args: Parser) -> Result<usize> {
    let mut swaps = 1000;
    while let Some(arg) = args.next()? {
        match arg {
            Long("swaps") => swaps = text(&mut args)?.parse().context("--swaps wants a whole number")?,
            other => return Err(other.unexpected().into()),
        }
    }
    ensure!(swaps > 0, "--swaps wants at least one");
    Ok(swaps)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_are_read() {
        let read = |args: &[&str]| read_options(Parser::from_args(args));
        assert_eq!(read(&[]).unwrap(), 1000);
        assert_eq!(read(&["--swaps", "50"]).unwrap(), 50);
        assert!(read(&["--swaps", "0"]).is_err() && read(&["--swaps", "many"]).is_err() && read(&["50"]).is_err());
    }

    #[test]
    fn the_test_is_there() {
        let (module, test) = TEST.split_once("::").unwrap();
        let file = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("../tests/black_box/{module}.rs"));
        let text = std::fs::read_to_string(file).unwrap();
        assert!(text.contains(&format!("async fn {test}()")) && text.contains(VARIABLE));
    }
}
