//! Licences, banned and duplicate crates, and sources, by cargo-deny; installed once where it is missing.

use std::process::Command;

use anyhow::Result;

use crate::command;
use crate::repo::Repo;
use crate::step::Step;

const VERSION: &str = "0.20.2";

/// Checks `deny.toml`. Advisories are left out: their database would be a download, and its news no reason for a red build.
pub fn check(repo: &Repo, step: &Step) -> Result<()> {
    let mut deny = program(repo, step)?;
    deny.current_dir(&repo.root).args(["--log-level", "warn", "--color", "never", "--locked", "check", "--hide-inclusion-graph"]);
    let report = command::quietly(step, deny.args(["bans", "licenses", "sources"]), "cargo deny")?;
    step.note(report.lines().last().unwrap_or_default());
    Ok(())
}

fn program(repo: &Repo, step: &Step) -> Result<Command> {
    if let Some(installed) = command::which("cargo-deny") {
        return Ok(Command::new(installed));
    }
    let file = repo.target("tools/bin/cargo-deny");
    let ours = command::answer(Command::new(&file).arg("--version"));
    if ours.is_none_or(|version| !version.ends_with(VERSION)) {
        step.note(&format!("cargo install cargo-deny {VERSION} (some minutes, once)"));
        let mut install = repo.cargo(&["install", "cargo-deny", "--version", VERSION, "--locked", "--force", "--root"]);
        install.arg(repo.target("tools")).env("CARGO_TARGET_DIR", repo.target("tools/build"));
        command::quietly(step, &mut install, "installing cargo-deny")?;
        crate::step::remove_folder(&repo.target("tools/build"))?;
    }
    Ok(Command::new(file))
}
