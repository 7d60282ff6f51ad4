//! Prometheus for the tests: the machine's, or Debian's package unpacked into `target/monitoring`, without root.
//!
//! Nothing is started here: the tests start it and end it.

use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result};

use crate::command;
use crate::repo::Repo;
use crate::step::Step;
use crate::toolchain::debian::{Packages, extract};

/// Change it when the recipe changes, so that what the old one made is made again.
const RECIPE: &str = "1";

/// A package, and the programs of it that the tests use. They are linked statically but for the C library.
const PACKAGES: [(&str, &[&str]); 1] = [("prometheus", &["prometheus", "promtool"])];

/// Sees to it that everything is there.
pub fn prepare(repo: &Repo, step: &Step) -> Result<()> {
    let wanted = PACKAGES.iter().filter(|(_, programs)| programs.iter().any(|p| command::which(p).is_none()));
    let (packages, programs): (Vec<_>, Vec<_>) = wanted.copied().unzip();
    if packages.is_empty() {
        return Ok(());
    }
    let folder = folder(repo);
    let wanted = Packages { folder: &folder, recipe: RECIPE, names: &packages, with_dependencies: false };
    wanted.install(
        step,
        |package| extract(package, &folder, &["--strip-components=3", "--wildcards", "./usr/bin/*"]),
        || {
            for program in programs.into_iter().flatten() {
                let file = folder.join(program);
                let started = command::answer(Command::new(&file).arg("--version"));
                started.with_context(|| format!("the unpacked {} does not start", file.display()))?;
            }
            Ok(())
        },
    )
}

/// Where the tests look besides `PATH`.
pub fn folder(repo: &Repo) -> PathBuf {
    repo.target("monitoring")
}
