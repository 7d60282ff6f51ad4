//! The official Node SDKs, and the authorization server of the tests of OAuth, in `target/node`: the source tree never holds a node_modules.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result, ensure};

use crate::command;
use crate::repo::Repo;
use crate::step::{Stamp, Step};

/// Installs what `tests/node/package-lock.json` pins.
pub fn prepare_sdks(repo: &Repo, step: &Step) -> Result<()> {
    for program in ["node", "npm"] {
        command::require(program, "for the Node SDKs", "Node.js 20 or later with npm (Debian: apt-get install nodejs npm)")?;
    }
    let version = command::answer(Command::new("node").arg("--version")).context("`node` does not start")?;
    ensure!(is_recent(&version), "node is {version}; the packages need Node.js 20 or later");
    let lock = fs::read_to_string(repo.path("tests/node/package-lock.json")).context("reading tests/node/package-lock.json")?;
    let stamp = Stamp::new(folder(repo).join("npm.done"), format!("{version}\n{lock}"));
    if stamp.is_set() {
        return Ok(());
    }
    stamp.clear()?;
    fs::create_dir_all(folder(repo))?;
    for file in ["package.json", "package-lock.json"] {
        fs::copy(repo.path("tests/node").join(file), folder(repo).join(file)).with_context(|| format!("copying tests/node/{file}"))?;
    }
    step.note(&format!("npm ci in {}", repo.show(&folder(repo))));
    let mut npm = Command::new("npm");
    npm.args(["ci", "--no-audit", "--no-fund"]).current_dir(folder(repo));
    command::quietly(step, &mut npm, "installing Node packages")?;
    stamp.set()
}

pub fn folder(repo: &Repo) -> PathBuf {
    repo.target("node")
}

fn is_recent(version: &str) -> bool {
    let major = version.trim_start_matches('v').split('.').next().unwrap_or_default();
    major.parse::<u32>().is_ok_and(|major| major >= 20)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_compare_by_number() {
        assert!(is_recent("v20.0.0") && is_recent("v22.20.2"));
        assert!(!is_recent("v18.20.0") && !is_recent("nonsense"));
    }
}
