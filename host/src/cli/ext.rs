//! `wasmgate ext`: looks at the extensions of a running gateway and swaps them.
//!
//! What is absent: decisions. The gateway decides what may serve; this sends files and prints what it says.

mod inspect;
mod report;
mod server;
mod swap;
mod table;

use std::fmt::Display;
use std::io::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Subcommand};
use serde_json::Value;

use super::{FAILURE, USAGE};
use crate::config::Secret;
use server::Server;

/// Looks at the extensions of a running gateway, swaps them, and takes a swap back.
#[derive(Args)]
#[command(after_help = EXAMPLES)]
pub struct ExtArgs {
    #[command(subcommand)]
    command: Command,
    /// Address of the gateway. Without a password it answers programs of its own machine only.
    #[arg(long, global = true, value_name = "URL", env = "WASMGATE_SERVER_URL", default_value = "http://127.0.0.1:8080")]
    server: String,
    /// File with the operators' password (`auth.api_password`). The environment variable `WASMGATE_PASSWORD` may hold the password itself.
    #[arg(long, global = true, value_name = "FILE")]
    password_file: Option<PathBuf>,
    /// Prints the document as the gateway sends it, for other programs.
    #[arg(long, global = true)]
    json: bool,
}

const EXAMPLES: &str = "Exit codes: 0 success; 1 the gateway refused, failed or does not answer; 2 a wrong command line.

A new version beside the old one, for one caller in twenty, and then for all:
  wasmgate ext swap routing routing.wasm --rollout canary --share 0.05
  wasmgate ext list
  wasmgate ext promote routing        (or: wasmgate ext rollback routing)";

#[derive(Subcommand)]
enum Command {
    /// Lists the loaded extensions: versions, since which generation, what is being rolled out.
    List,
    /// Shows one component: what it is, which hooks it has, what it imports and asks for.
    ///
    /// A file is read here, without a gateway and without running anything of it. A name is asked at the gateway, which also knows what
    /// was granted and what is being rolled out. What exists as a file is a file.
    Inspect {
        /// File of a component, or name of a loaded extension.
        #[arg(value_name = "FILE|NAME")]
        what: String,
    },
    /// Sends a component to the gateway, which checks it and, when nothing is wrong, lets it serve.
    ///
    /// Each step of the gate is printed as it ends. What a step refuses never serves, and the running version goes on. Requests that
    /// are running end on the version that they began with; nothing is cut off.
    Swap(SwapArgs),
    /// Makes the version that is being rolled out the one that serves everybody.
    Promote {
        /// Name of the extension.
        name: String,
    },
    /// Ends the rollout of a version; without one, goes back to the version before.
    ///
    /// The version before is kept ready, so nothing is compiled or configured.
    Rollback {
        /// Name of the extension.
        name: String,
    },
    /// Lists the attempts to change what serves, the newest first: swaps, reloads, promotions, rollbacks, and why they ended as they did.
    History {
        /// Only attempts on this extension.
        name: Option<String>,
    },
}

/// What is sent, and how it is let in.
#[derive(Args)]
pub struct SwapArgs {
    /// Name of the extension, which must be the one in the component's manifest.
    name: String,
    /// File of the component.
    file: PathBuf,
    /// Who gets the new version.
    #[arg(long, value_name = "HOW", default_value = "active")]
    rollout: Rollout,
    /// Share of the callers that a canary gets, from 0 to 1. A caller stays on one side.
    #[arg(long, value_name = "SHARE")]
    share: Option<f64>,
    /// A caller that the canary gets in any case, by its key. Only the key's digest is sent; `sha256:HEX` is one already. May be given more than once.
    #[arg(long, value_name = "KEY")]
    key: Vec<String>,
    /// What becomes of recorded calls that the new version answers otherwise. Without this the gateway's setting `deploy.replay` holds.
    #[arg(long, value_name = "HOW")]
    replay: Option<Replay>,
    /// Capabilities that the new version gets, where it asks for more than the one before. Separated by commas.
    #[arg(long, value_name = "NAME,NAME", value_delimiter = ',')]
    grant: Vec<String>,
}

/// Who gets a new version.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Rollout {
    /// Everybody.
    Active,
    /// A share of the callers, or those with certain keys.
    Canary,
    /// Nobody: it is given copies of the calls and compared.
    Shadow,
}

/// What becomes of recorded calls.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Replay {
    /// They are not tried.
    Off,
    /// The answer tells of them.
    Report,
    /// They refuse the version.
    Require,
}

/// Why a command gave nothing.
#[derive(Debug)]
pub enum Failure {
    /// The command line names what is not there or does not fit together.
    Usage(String),
    /// The gateway does not answer, or what it answers is no answer.
    Broken(String),
    /// It refused. The document says why.
    Refused {
        /// As it was sent.
        document: String,
        /// What it says, in a line.
        message: String,
    },
}

/// Runs one command.
pub fn run(args: &ExtArgs) -> ExitCode {
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(e) => return end(Err(Failure::Broken(e.to_string())), args.json),
    };
    end(runtime.block_on(command(args)), args.json)
}

fn end(ended: Result<(), Failure>, json: bool) -> ExitCode {
    let (code, message) = match ended {
        Ok(()) => return ExitCode::SUCCESS,
        Err(Failure::Usage(message)) => (USAGE, message),
        Err(Failure::Broken(message)) => (FAILURE, message),
        Err(Failure::Refused { document, .. }) if json => {
            print(&document);
            return ExitCode::from(FAILURE);
        }
        Err(Failure::Refused { message, .. }) => (FAILURE, message),
    };
    eprintln!("error: {message}");
    ExitCode::from(code)
}

async fn command(args: &ExtArgs) -> Result<(), Failure> {
    let json = args.json;
    match &args.command {
        Command::List => show(json, args.server()?.get(&["api", "extensions"]).await?, |d| report::extensions(data(d))),
        Command::Inspect { what } => match inspect::file(what)? {
            Some(found) => show(json, found.to_string(), |d| report::details(data(d))),
            None => show(json, args.server()?.get(&["api", "extensions", what]).await?, |d| report::details(data(d))),
        },
        Command::Swap(swap) => swap::run(&args.server()?, swap, json).await,
        Command::Promote { name } => {
            let document = args.server()?.post(&["api", "extensions", name, "promote"]).await?;
            show(json, document, |d| report::closing(data(d)))
        }
        Command::Rollback { name } => {
            let document = args.server()?.post(&["api", "extensions", name, "rollback"]).await?;
            show(json, document, |d| report::closing(data(d)))
        }
        Command::History { name } => {
            let document = args.server()?.get(&["api", "generations"]).await?;
            show(json, document, |d| report::history(data(d), name.as_deref()))
        }
    }
}

impl ExtArgs {
    /// The gateway that is asked, with the password if there is one. It is no argument: everybody on the machine sees those.
    fn server(&self) -> Result<Server, Failure> {
        let password = match &self.password_file {
            Some(file) => {
                let read = std::fs::read_to_string(file);
                let text = read.map_err(|e| Failure::Usage(format!("the password's file `{}` cannot be read: {e}", file.display())))?;
                Some(text.trim_end().to_owned())
            }
            None => std::env::var("WASMGATE_PASSWORD").ok(),
        };
        Server::at(&self.server, password.filter(|p| !p.is_empty()).map(Secret::new))
    }
}

/// Prints a document, as it is or as a text for people.
fn show(json: bool, document: String, text: impl FnOnce(&Value) -> String) -> Result<(), Failure> {
    if json {
        print(&document);
        return Ok(());
    }
    let value = serde_json::from_str(&document).map_err(|e| Failure::Broken(format!("the gateway's answer is no JSON: {e}")))?;
    print(&text(&value));
    Ok(())
}

/// What a document is about.
fn data(document: &Value) -> &Value {
    document.get("data").unwrap_or(document)
}

/// Prints with one line end. Whoever reads may have had enough (`| head`), which is no failure.
fn print(text: &dyn Display) {
    let text = text.to_string();
    let _ = writeln!(std::io::stdout(), "{}", text.trim_end());
}

// === impl Rollout, Replay ===

impl Rollout {
    fn name(self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::Canary => "canary",
            Self::Shadow => "shadow",
        }
    }
}

impl Replay {
    fn name(self) -> &'static str {
        match self {
            Self::Off => "off",
            Self::Report => "report",
            Self::Require => "require",
        }
    }
}
