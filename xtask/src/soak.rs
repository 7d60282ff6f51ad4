//! `soak`: hundreds of swaps under load, or tens of thousands of requests and the ledger of them, as `cargo xtask test` does some.

use anyhow::{Context, Result, bail, ensure};
use lexopt::Parser;
use lexopt::prelude::*;

use crate::components::Which;
use crate::repo::Repo;
use crate::step::Plan;
use crate::{Finish, build, command, databases, test, text};

pub const HELP: &str = "\
Usage: cargo xtask soak [--swaps N]
       cargo xtask soak --requests N [--store NAME]

Swaps extensions of a running gateway N times, each in turn (the list SWAPPED of tests/black_box/soak.rs: dialects, routing,
dynamic, validation, best-of-n, mcp, web-ui, and a fixture that marks every piece of text), while 64 clients of both dialects stream. It
fails when a request fails, a stream is cut off or mixes two
versions, a response does not say which generation made it, or the process is not as large at the end as it was early on. It
prints how long a swap took (p50, p99), how many streams there were, and the memory of the process.

With --requests, 16 clients send N requests at random instead, with streams, races, faults and clients that leave, for each store of
rows. It fails when the ledger is not what the scripted upstream says it delivered. Then the same again with a gateway that is
killed in the middle, for each store that lasts: what was written before is there, whole, and no row twice. It prints what was
counted and what the kill cost.

They are tests of tests/black_box/soak.rs and tests/black_box/books.rs, which `cargo xtask test` runs with fewer swaps and requests.

Options:
  --swaps N     how often is swapped [default: 1000]
  --requests N  how many requests, for each store
  --store NAME  only this store: redb, sqlite, postgres, memory
";

/// Tests of `tests/black_box/` that are run for longer.
#[derive(Debug, PartialEq, Eq)]
struct Soak {
    /// Their paths.
    tests: Vec<String>,
    /// What they read the number from.
    variable: &'static str,
    number: usize,
    /// What there is a number of.
    what: &'static str,
    /// What their lines begin with.
    says: &'static str,
}

const SWAPS: &str = "WASMGATE_SOAK_SWAPS";
const REQUESTS: &str = "WASMGATE_SOAK_REQUESTS";

/// Stores of rows, and whether they last.
const STORES: [(&str, bool); 4] = [("redb", true), ("sqlite", true), ("postgres", true), ("memory", false)];

pub fn main(repo: &Repo, args: Parser) -> Result<Finish> {
    let soak = read_options(args)?;
    let databases = soak.tests.iter().any(|test| test.ends_with("postgres"));
    let plan = Plan::new(if databases { 5 } else { 4 });
    if databases {
        plan.step("databases", |step| databases::prepare(repo, step))?;
    }
    build::wasm(repo, &plan, Which::All)?;
    plan.step("gateway and test", |step| {
        build::host(repo, step, build::PROFILE)?;
        command::quietly(step, &mut test::of_black_box(repo, &["--no-run"]), "building the test").map(drop)
    })?;
    let passed = plan.step(&format!("{} {}", soak.number, soak.what), |_| {
        // One after the other: each has the machine for itself.
        let mut command = test::of_black_box(repo, &["--", "--exact", "--nocapture", "--test-threads", "1"]);
        command.args(&soak.tests).env("CI", "true").env(soak.variable, soak.number.to_string());
        let output = command::shown(&mut command)?;
        let said = output.text.matches(soak.says).count();
        ensure!(!output.status.success() || said >= soak.tests.len(), "of {:?} only {said} said something", soak.tests);
        Ok(output.status.success())
    })?;
    Ok(if passed { Finish::Done } else { Finish::Failed })
}

fn read_options(mut args: Parser) -> Result<Soak> {
    let (mut swaps, mut requests, mut store) = (None, None, None);
    while let Some(arg) = args.next()? {
        match arg {
            Long("swaps") => swaps = Some(text(&mut args)?.parse().context("--swaps wants a whole number")?),
            Long("requests") => requests = Some(text(&mut args)?.parse().context("--requests wants a whole number")?),
            Long("store") => store = Some(text(&mut args)?),
            other => return Err(other.unexpected().into()),
        }
    }
    let soak = match (swaps, requests) {
        (Some(_), Some(_)) => bail!("--swaps and --requests are two soaks; ask for one"),
        (_, None) => {
            ensure!(store.is_none(), "--store is for --requests");
            Soak { tests: vec!["soak::soak".into()], variable: SWAPS, number: swaps.unwrap_or(1000), what: "swaps", says: "soak: " }
        }
        (None, Some(number)) => Soak { tests: of_stores(store.as_deref())?, variable: REQUESTS, number, what: "requests", says: "books: " },
    };
    ensure!(soak.number > 0, "--{} wants at least one", soak.what);
    Ok(soak)
}

/// The tests of one store, or of all.
fn of_stores(only: Option<&str>) -> Result<Vec<String>> {
    let mut tests = Vec::new();
    for (store, lasts) in STORES.iter().filter(|(store, _)| only.is_none_or(|only| only == *store)) {
        tests.push(format!("books::every_request_is_in_{store}"));
        if *lasts {
            tests.push(format!("books::a_kill_loses_only_the_last_rows_of_{store}"));
        }
    }
    ensure!(!tests.is_empty(), "--store wants {}", STORES.map(|(store, _)| store).join(", "));
    Ok(tests)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(args: &[&str]) -> Result<Soak> {
        read_options(Parser::from_args(args))
    }

    #[test]
    fn options_are_read() {
        assert_eq!(read(&[]).unwrap().number, 1000);
        assert_eq!(read(&["--swaps", "50"]).unwrap().number, 50);
        assert_eq!(read(&["--requests", "20000"]).unwrap().tests.len(), 7);
        let memory = read(&["--requests", "7", "--store", "memory"]).unwrap();
        assert_eq!((memory.tests, memory.number), (vec!["books::every_request_is_in_memory".to_owned()], 7));
        for wrong in [
            &["--swaps", "0"][..],
            &["--swaps", "many"],
            &["50"],
            &["--requests", "0"],
            &["--requests", "5", "--swaps", "5"],
            &["--store", "redb"],
            &["--requests", "5", "--store", "paper"],
        ] {
            assert!(read(wrong).is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn the_tests_are_there() {
        for soak in [read(&[]).unwrap(), read(&["--requests", "1"]).unwrap()] {
            for test in &soak.tests {
                let (module, test) = test.split_once("::").unwrap();
                let file = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("../tests/black_box/{module}.rs"));
                let text = std::fs::read_to_string(file).unwrap();
                assert!(text.contains(&format!("async fn {test}()")) && text.contains(soak.variable), "{test}");
            }
        }
    }
}
