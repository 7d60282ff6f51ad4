//! `wasmgate import`: another gateway's configuration becomes one of this.
//!
//! What can be converted is written; everything else is listed, line by line, with the reason. Nothing is left out in silence: what no
//! converter asked for is listed too. Keys that stand in the file are never written or shown: an environment variable takes their place.

mod claude_code_router;
mod litellm;
mod made;
mod node;

use std::borrow::Cow;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Args, ValueEnum};

use super::{FAILURE, USAGE, reject};
use made::Made;
use node::Node;

/// What is imported, and where it goes.
#[derive(Args)]
pub struct ImportArgs {
    /// Whose configuration it is.
    from: From,
    /// The configuration file.
    file: PathBuf,
    /// Writes the result to this file, which must not exist yet. Without it, it goes to standard output.
    #[arg(long, short, value_name = "FILE")]
    output: Option<PathBuf>,
}

/// Gateways whose configuration is understood.
#[derive(Debug, Clone, Copy, ValueEnum)]
enum From {
    /// `config.yaml` of the LiteLLM proxy.
    Litellm,
    /// `config.json` of claude-code-router.
    ClaudeCodeRouter,
}

/// Converts; the list of what was not goes to standard error.
pub fn run(args: &ImportArgs) -> ExitCode {
    let text = match std::fs::read_to_string(&args.file) {
        Ok(text) => text,
        Err(e) => return reject(&format!("error: {} cannot be read: {e}", args.file.display())),
    };
    let made = match convert(args.from, &args.file.display().to_string(), &text) {
        Ok(made) => made,
        Err(reason) => return reject(&format!("error: {reason}")),
    };
    match &args.output {
        None => print!("{}", made.to_yaml()),
        Some(file) => {
            if let Err(e) = write_new(file, &made.to_yaml()) {
                eprintln!("error: {} cannot be written: {e}", file.display());
                return ExitCode::from(if e.kind() == std::io::ErrorKind::AlreadyExists { USAGE } else { FAILURE });
            }
        }
    }
    eprint!("{}", made.report());
    ExitCode::SUCCESS
}

/// A file that somebody wrote is not overwritten.
fn write_new(file: &Path, text: &str) -> std::io::Result<()> {
    use std::io::Write as _;
    std::fs::OpenOptions::new().write(true).create_new(true).open(file)?.write_all(text.as_bytes())
}

/// The configuration in the text of a file.
fn convert(from: From, file: &str, text: &str) -> Result<Made, String> {
    // Its configuration may have comments of JavaScript's.
    let text = if let From::ClaudeCodeRouter = from { Cow::Owned(without_comments(text)) } else { Cow::Borrowed(text) };
    let root = Node::parse(file, &text)?;
    let mut made = Made::new(file);
    match from {
        From::Litellm => litellm::convert(&root, &mut made)?,
        From::ClaudeCodeRouter => claude_code_router::convert(&root, &mut made)?,
    }
    Ok(made)
}

/// JSON without comments. Everything else stays in its line.
fn without_comments(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    let mut quoted = false;
    while let Some(next) = rest.chars().next() {
        let comment = match (quoted, rest.as_bytes()) {
            (false, [b'/', b'/', ..]) => Some(rest.find('\n').unwrap_or(rest.len())),
            (false, [b'/', b'*', ..]) => Some(rest[2..].find("*/").map_or(rest.len(), |at| at + 4)),
            _ => None,
        };
        if let Some(length) = comment {
            out.extend(rest[..length].chars().filter(|c| *c == '\n'));
            rest = &rest[length..];
            continue;
        }
        quoted ^= next == '"';
        let escaped = if quoted && next == '\\' { rest[1..].chars().next().map_or(0, char::len_utf8) } else { 0 };
        let length = next.len_utf8() + escaped;
        out.push_str(&rest[..length]);
        rest = &rest[length..];
    }
    out
}

#[cfg(test)]
mod tests;
