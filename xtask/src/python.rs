//! One virtual environment, `target/python`, for the real model and the Python SDKs.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};

use crate::command;
use crate::repo::Repo;
use crate::step::{Stamp, Step, remove_folder};

pub const SDK_REQUIREMENTS: &str = "tests/python/requirements.txt";

/// Packages that are wanted for the files in them only.
pub const SOURCES: &str = "tests/python/sources.txt";

/// Installs the official SDKs that the black-box tests drive, and the sources that they read.
pub fn prepare_sdks(repo: &Repo, step: &Step) -> Result<()> {
    install(repo, step, &repo.path(SDK_REQUIREMENTS), &[])?;
    install(repo, step, &repo.path(SOURCES), &["--no-deps", "--no-compile"])
}

pub fn interpreter(repo: &Repo) -> PathBuf {
    repo.target("python/bin/python")
}

/// Installs a requirements file, once for its content.
pub fn install(repo: &Repo, step: &Step, requirements: &Path, options: &[&str]) -> Result<()> {
    ensure_environment(repo, step)?;
    let input = fs::read_to_string(requirements).with_context(|| format!("reading {}", repo.show(requirements)))?;
    let stem = repo.show(requirements).replace(['/', '.'], "-");
    let stamp = Stamp::new(repo.target(&format!("python/{stem}.done")), input);
    if stamp.is_set() {
        return Ok(());
    }
    stamp.clear()?;
    step.note(&format!("pip install -r {}", repo.show(requirements)));
    let mut pip = Command::new(interpreter(repo));
    pip.args(["-m", "pip", "install", "--disable-pip-version-check", "--no-input"]).args(options).arg("-r").arg(requirements);
    command::quietly(step, &mut pip, "installing Python packages")?;
    stamp.set()
}

fn ensure_environment(repo: &Repo, step: &Step) -> Result<()> {
    command::require("python3", "for the real model and the Python SDKs", "Python 3.10 or later (Debian: apt-get install python3-venv)")?;
    let version = command::answer(Command::new("python3").args(["-c", "import sys; print('%d.%d.%d' % sys.version_info[:3])"]));
    let version = version.context("`python3` does not start")?;
    ensure!(is_recent(&version), "python3 is {version}; the real model needs Python 3.10 or later");
    let folder = repo.target("python");
    let stamp = Stamp::new(folder.join("environment.done"), version);
    if stamp.is_set() {
        return Ok(());
    }
    step.note(&format!("python3 -m venv {}", repo.show(&folder)));
    remove_folder(&folder)?;
    let made = command::quietly(step, Command::new("python3").args(["-m", "venv"]).arg(&folder), "making a virtual environment");
    made.context("install by hand: the venv module of Python (Debian: apt-get install python3-venv)")?;
    stamp.set()
}

/// Python 3.10 is the oldest that the model's package supports.
fn is_recent(version: &str) -> bool {
    let mut parts = version.split('.').map(|part| part.parse::<u32>().unwrap_or(0));
    (parts.next().unwrap_or(0), parts.next().unwrap_or(0)) >= (3, 10)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_compare_by_number() {
        assert!(is_recent("3.10.0") && is_recent("3.14.1") && is_recent("4.0.0"));
        assert!(!is_recent("3.9.18") && !is_recent("2.7.18") && !is_recent("unknown"));
    }
}
