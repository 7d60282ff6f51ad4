//! `wasmgate config`: what is in effect and where it comes from, and what there is to set.

use std::process::ExitCode;

use clap::{Args, Subcommand};

use super::{SourceArgs, USAGE};
use crate::config::{self, Severity};
use crate::gateway;

/// Shows the configuration that is in effect, and what could be in one.
#[derive(Args)]
pub struct ConfigArgs {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Prints every setting with its value and where that was made: a line of the file, an environment variable, `--set`, a
    /// change through the operators' interface, or the default.
    ///
    /// Secrets are masked. What is wrong is told on standard error, and the exit code is then 2.
    Print {
        #[command(flatten)]
        source: SourceArgs,
        /// Leaves out what was not made.
        #[arg(long)]
        no_defaults: bool,
    },
    /// Prints a JSON Schema of the configuration file, for editors and other programs.
    Schema,
    /// Prints a configuration with every setting, its explanation and its default.
    Reference,
}

/// Runs one command.
pub fn run(args: &ConfigArgs) -> ExitCode {
    match &args.command {
        Command::Print { source, no_defaults } => {
            let reading = gateway::reading(&source.config, &source.set, None);
            for problem in &reading.problems {
                eprintln!("{problem}");
            }
            print!("{}", config::print(&reading.config, &reading.source, !no_defaults));
            let is_wrong = reading.problems.iter().any(|p| p.severity == Severity::Error);
            if is_wrong { ExitCode::from(USAGE) } else { ExitCode::SUCCESS }
        }
        Command::Schema => {
            println!("{:#}", config::schema());
            ExitCode::SUCCESS
        }
        Command::Reference => {
            print!("{}", config::reference_file());
            ExitCode::SUCCESS
        }
    }
}
