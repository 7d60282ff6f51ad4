//! The official SDKs: a script is run against a base URL and prints one JSON document, which the test looks at.

use std::ffi::OsString;
use std::path::Path;
use std::process::Command;

use serde_json::Value;

use crate::cli;

/// Key of the client; it must never arrive at an upstream.
pub const CLIENT_KEY: &str = "client-key-that-stays-here";

/// Says that an environment is not there. That is a failure where it was asked for, and a skipped test elsewhere.
pub fn missing(what: &str) {
    let required = ["CI", "WASMGATE_REQUIRE_SDKS"].iter().any(|v| std::env::var_os(v).is_some_and(|v| !v.is_empty() && v != "0"));
    assert!(!required, "{what} is missing; `cargo xtask test` installs it");
    eprintln!("SKIPPED: {what} is missing; `cargo xtask test` installs it");
}

/// Runs a script to its end and reads what it printed.
pub async fn run(interpreter: OsString, environment: Vec<(&'static str, OsString)>, script: &Path, url: &str, args: &[&str]) -> Value {
    let mut command = Command::new(interpreter);
    command.arg(script).arg(url).args(args).envs(environment);
    // SDKs read their settings from such variables.
    for (name, _) in std::env::vars_os() {
        let name = name.to_string_lossy().into_owned();
        if ["OPENAI_", "ANTHROPIC_"].iter().any(|p| name.starts_with(p)) || name.to_ascii_lowercase().ends_with("_proxy") {
            command.env_remove(name);
        }
    }
    command.env("CLIENT_KEY", CLIENT_KEY);
    let shown = script.display().to_string();
    let finished = tokio::task::spawn_blocking(move || cli::finish(command)).await.expect("the command does not panic");
    assert_eq!(finished.code, 0, "{shown} failed\n{}\n{}", finished.stdout, finished.stderr);
    let last = finished.stdout.lines().last().unwrap_or_default();
    serde_json::from_str(last).unwrap_or_else(|e| panic!("{shown} printed no JSON ({e})\n{}\n{}", finished.stdout, finished.stderr))
}
