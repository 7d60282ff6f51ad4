//! `cargo xtask X`: the only build interface of the repository.
//!
//! One file (or folder) per command; this one only reads the command line. A command is a plan of steps (`step.rs`), a
//! step runs other programs (`command.rs`), everything it makes lies under `target/` (`repo.rs`). Nothing here is linked
//! into the gateway.

mod bench;
mod browser;
mod build;
mod command;
mod components;
mod databases;
mod demo;
mod deny;
mod fuzz;
mod http;
mod model;
mod monitoring;
mod node;
mod processes;
mod python;
mod repo;
mod soak;
mod step;
mod test;
mod tidy;
mod toolchain;
mod wit;

use std::ffi::OsString;
use std::process::ExitCode;

use anyhow::{Result, bail};
use lexopt::Parser;
use lexopt::prelude::*;

use repo::Repo;

/// One word after `cargo xtask`.
struct Task {
    name: &'static str,
    summary: &'static str,
    help: &'static str,
    run: fn(&Repo, Parser) -> Result<Finish>,
}

/// How a command ended, where it is not an error of its own.
pub enum Finish {
    /// As wanted.
    Done,
    /// Everything ran and was reported; something in it failed.
    Failed,
}

const TASKS: [Task; 9] = [
    Task { name: "demo", summary: "a real model answers OpenAI and Anthropic clients", help: demo::HELP, run: demo::main },
    Task { name: "build", summary: "the gateway and all components", help: build::HELP, run: build::main },
    Task { name: "test", summary: "everything that CI checks", help: test::HELP, run: test::main },
    Task { name: "bench", summary: "what a request costs, as a ratio to a proxy without features", help: bench::HELP, run: bench::main },
    Task {
        name: "soak",
        summary: "hundreds of swaps under load, or the ledger of thousands of requests",
        help: soak::HELP,
        run: soak::main,
    },
    Task { name: "fuzz", summary: "made-up bytes for everything that reads bytes from outside", help: fuzz::HELP, run: fuzz::main },
    Task { name: "tidy", summary: "the repository's own rules", help: tidy::HELP, run: tidy::main },
    Task { name: "wit", summary: "wit/ parses and every item is documented", help: wit::HELP, run: wit::main },
    Task { name: "toolchain", summary: "prepare only the compiler of the components", help: toolchain::HELP, run: toolchain::main },
];

fn main() -> ExitCode {
    match dispatch() {
        Ok(Finish::Done) => ExitCode::SUCCESS,
        Ok(Finish::Failed) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("\nerror: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn dispatch() -> Result<Finish> {
    let mut args: Vec<OsString> = std::env::args_os().skip(1).collect();
    let Some(name) = (!args.is_empty()).then(|| args.remove(0)) else {
        print!("{}", overview());
        return Ok(Finish::Failed);
    };
    if matches!(name.to_str(), Some("help" | "--help" | "-h")) {
        print!("{}", overview());
        return Ok(Finish::Done);
    }
    let Some(task) = TASKS.iter().find(|task| name == task.name) else {
        bail!("`{}` is not a command of xtask\n\n{}", name.to_string_lossy(), overview());
    };
    if args.iter().any(|arg| arg == "--help" || arg == "-h") {
        print!("{}", task.help);
        return Ok(Finish::Done);
    }
    (task.run)(&Repo::locate()?, Parser::from_args(args))
}

fn overview() -> String {
    let mut text = String::from("Usage: cargo xtask COMMAND [OPTIONS]\n\nCommands:\n");
    for task in &TASKS {
        text.push_str(&format!("  {:<10} {}\n", task.name, task.summary));
    }
    text.push_str(
        "\n`cargo xtask COMMAND --help` tells more. All that a command makes or installs lies under target/; a step that was\n\
         interrupted is redone, a finished one is not. Needed: Rust and a C linker; for the real model Python 3.10 or later,\n\
         for the tests also Node.js 20 or later.\n",
    );
    text
}

/// For commands without options.
fn no_arguments(mut args: Parser) -> Result<()> {
    match args.next()? {
        None => Ok(()),
        Some(arg) => Err(arg.unexpected().into()),
    }
}

/// The value of an option as text.
fn text(args: &mut Parser) -> Result<String> {
    Ok(args.value()?.string()?)
}
