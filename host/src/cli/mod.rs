//! The command line.

mod check;
mod config;
mod ext;
mod health;
mod import;
mod mcp;
mod oauth;
mod serve;
mod usage;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};

use crate::deploy::Sources;
use crate::gateway::Checked;
use crate::telemetry;

/// An LLM gateway whose features are sandboxed WebAssembly components.
///
/// OpenAI and Anthropic clients talk to it as they are; it sends their requests to any provider of its configuration. What
/// happens in between (dialects, routing, keys, usage, your own rules) is done by components that you can add and replace.
#[derive(Parser)]
#[command(version, after_help = EXIT_CODES)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

const EXIT_CODES: &str = "Exit codes: 0 success; 1 a failure while running; 2 a wrong command line or configuration.

Try it without any account:
  wasmgate serve --config configs/quickstart-echo.yaml
  curl http://127.0.0.1:8080/v1/chat/completions -H 'content-type: application/json' \\
       -d '{\"model\":\"echo\",\"messages\":[{\"role\":\"user\",\"content\":\"hello\"}]}'";

#[derive(Subcommand)]
enum Command {
    /// Runs the gateway until it is interrupted.
    ///
    /// SIGINT and SIGTERM let running requests finish (`server.shutdown_timeout`), then end it. SIGHUP reads the configuration and its
    /// components again; what is refused changes nothing.
    Serve {
        #[command(flatten)]
        source: SourceArgs,
    },
    /// Checks a configuration and the components it names, without serving.
    ///
    /// Everything that is wrong is printed at once, with file and line.
    Check {
        #[command(flatten)]
        source: SourceArgs,
        /// Warnings count as errors.
        #[arg(long)]
        strict: bool,
    },
    /// Shows the configuration that is in effect, and what could be in one.
    Config(config::ConfigArgs),
    /// Looks at the extensions of a running gateway, swaps them, and takes a swap back.
    Ext(ext::ExtArgs),
    /// Asks a running gateway whether it lives; exit code 0 when it does. For probes.
    Health(health::HealthArgs),
    /// Converts another gateway's configuration into one of this.
    ///
    /// What cannot be converted is listed on standard error, line by line with the reason, and at the head of the result. Keys that stand in
    /// the file are not copied: an environment variable takes their place.
    Import(import::ImportArgs),
    /// Speaks the Model Context Protocol on standard input and output, without a port; the log goes to standard error.
    ///
    /// The configuration has the extension `mcp`. Its tool `write` reads and writes files of the folder `--files`, and nothing outside of it;
    /// what was there is kept in `.wasmgate-backups`. With API keys in the configuration, the caller's is in WASMGATE_MCP_KEY.
    Mcp(mcp::McpArgs),
    /// Looks after the tokens of providers that are logged in to, without a gateway.
    #[command(name = "oauth")]
    OAuth(oauth::OAuthArgs),
    /// Moves rows (usage, audits, history) out of the store of a configuration, or into it.
    Usage(usage::UsageArgs),
    /// Prints all settings of the configuration with their defaults, as Markdown.
    ConfigReference,
}

/// Where settings come from. Later ones win: file, environment, `--set`.
#[derive(Args)]
struct SourceArgs {
    /// Configuration file (YAML). `${NAME}` and `${NAME:-default}` in it are environment variables.
    #[arg(long, short, value_name = "FILE")]
    config: PathBuf,
    /// Overrides one setting, for example `--set server.port=8081`. The environment variable
    /// `WASMGATE_SERVER__PORT=8081` does the same.
    #[arg(long, value_name = "PATH=VALUE")]
    set: Vec<String>,
    /// Folder of the components (`*.wasm`). Default: `components` beside the program or in this folder.
    #[arg(long, value_name = "DIR", env = "WASMGATE_COMPONENTS")]
    components: Option<PathBuf>,
}

impl SourceArgs {
    fn sources(&self) -> Sources {
        Sources { config: self.config.clone(), set: self.set.clone(), components: self.components.clone() }
    }
}

/// Runs the program.
pub fn run() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(e) => {
            // Help and version are no failures.
            let _ = e.print();
            return if e.use_stderr() { ExitCode::from(USAGE) } else { ExitCode::SUCCESS };
        }
    };
    // One provider for all TLS: the process must choose before the first client is built.
    if rustls::crypto::ring::default_provider().install_default().is_err() {
        eprintln!("warning: a TLS provider was installed before");
    }
    match cli.command {
        Command::Serve { source } => serve::run(&source),
        Command::Check { source, strict } => check::run(&source, strict),
        Command::Config(args) => config::run(&args),
        Command::Ext(args) => ext::run(&args),
        Command::Health(args) => health::run(&args),
        Command::Import(args) => import::run(&args),
        Command::Mcp(args) => mcp::run(&args),
        Command::OAuth(args) => oauth::run(&args),
        Command::Usage(args) => usage::run(&args),
        Command::ConfigReference => {
            print!("{}", crate::config::reference());
            ExitCode::SUCCESS
        }
    }
}

/// A failure while running.
const FAILURE: u8 = 1;
/// A wrong command line or configuration.
const USAGE: u8 = 2;

/// What a command begins with that runs the gateway: its configuration, and a log. The guard writes the last lines when it goes.
fn begin(source: &SourceArgs) -> Result<(Sources, Checked, telemetry::Guards), ExitCode> {
    let sources = source.sources();
    let checked = sources.read().map_err(|rejected| reject(&rejected))?;
    let guard = telemetry::start(&checked.config.logging).map_err(|reason| reject(&format!("error: {reason}")))?;
    for warning in &checked.warnings {
        tracing::warn!("{warning}");
    }
    Ok((sources, checked, guard))
}

/// Prints what is wrong with a configuration.
fn reject(error: &dyn std::fmt::Display) -> ExitCode {
    eprintln!("{error}");
    ExitCode::from(USAGE)
}
