//! Prometheus for the tests: the machine's, or Debian's package unpacked into `target/monitoring`, without root.
//!
//! Nothing is started here: the tests start it and end it.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result, ensure};

use crate::command;
use crate::repo::Repo;
use crate::step::{Stamp, Step, fresh_folder, remove_folder};
use crate::toolchain::debian::{apt, extract};

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
    let stamp = Stamp::new(folder.join("complete.done"), format!("{RECIPE} {}", packages.join(" ")));
    if stamp.is_set() {
        return Ok(());
    }
    stamp.clear()?;
    for program in ["apt-get", "dpkg-deb", "tar"] {
        let wanted = packages.join(" and ");
        ensure!(command::which(program).is_some(), "`{program}` is not in PATH; install {wanted} yourself, the tests find it");
    }
    fresh_folder(&folder)?;
    let (apt_folder, downloads) = (folder.join("apt"), folder.join("packages"));
    for made in [apt_folder.join("state/lists/partial"), apt_folder.join("cache/archives/partial"), downloads.clone()] {
        fs::create_dir_all(made)?;
    }
    step.note("apt-get: reading the package lists");
    command::quietly(step, apt(&apt_folder, "apt-get").arg("update"), "reading Debian's package lists")?;
    step.note(&format!("apt-get: downloading {}", packages.join(", ")));
    let mut download = apt(&apt_folder, "apt-get");
    command::quietly(step, download.arg("download").args(&packages).current_dir(&downloads), "downloading Debian's packages")?;
    for entry in fs::read_dir(&downloads)? {
        extract(&entry?.path(), &folder, &["--strip-components=3", "--wildcards", "./usr/bin/*"])?;
    }
    for made in [apt_folder, downloads] {
        remove_folder(&made)?;
    }
    for program in programs.into_iter().flatten() {
        let file = folder.join(program);
        command::answer(Command::new(&file).arg("--version")).with_context(|| format!("the unpacked {} does not start", file.display()))?;
    }
    stamp.set()
}

/// Where the tests look besides `PATH`.
pub fn folder(repo: &Repo) -> PathBuf {
    repo.target("monitoring")
}
