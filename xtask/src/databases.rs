//! PostgreSQL and Redis for the tests: the machine's, or Debian's packages unpacked into `target/databases`, without root.
//!
//! Nothing is started here: each test starts its own servers and ends them.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};

use crate::command;
use crate::repo::Repo;
use crate::step::Step;
use crate::toolchain::debian::{Packages, extract};

/// Change it when the recipe changes, so that what the old one made is made again.
const RECIPE: &str = "1";

/// Where PostgreSQL's programs are on Debian, one folder for each version.
const POSTGRES: &str = "usr/lib/postgresql";

/// Sees to it that both are there.
pub fn prepare(repo: &Repo, step: &Step) -> Result<()> {
    let mut packages = Vec::new();
    if command::which("redis-server").is_none() {
        packages.push("redis-server");
    }
    if command::which("postgres").is_none() && !has_postgres("/".into()) {
        packages.push("postgresql");
    }
    if packages.is_empty() {
        return Ok(());
    }
    let folder = folder(repo);
    let debian = folder.join("debian");
    let wanted = Packages { folder: &folder, recipe: RECIPE, names: &packages, with_dependencies: true };
    let unpack = |package: &Path| extract(package, &debian, &["--wildcards", "./usr/*"]).or_else(|_| nothing_to_unpack(package));
    wanted.install(step, unpack, || {
        let redis = debian.join("usr/bin/redis-server");
        if packages.contains(&"redis-server") {
            let mut version = Command::new(&redis);
            version.arg("--version").env("LD_LIBRARY_PATH", libraries(repo));
            command::answer(&mut version).with_context(|| format!("the unpacked {} does not start", redis.display()))?;
        }
        ensure!(!packages.contains(&"postgresql") || has_postgres(debian.clone()), "Debian's `postgresql` brought no server");
        Ok(())
    })
}

/// Where the tests look besides the usual places.
pub fn folder(repo: &Repo) -> PathBuf {
    repo.target("databases")
}

fn libraries(repo: &Repo) -> String {
    let lib = folder(repo).join("debian/usr/lib");
    let folders = fs::read_dir(lib).into_iter().flatten().filter_map(|e| Some(e.ok()?.path()));
    folders.filter(|p| p.is_dir()).map(|p| p.display().to_string()).collect::<Vec<_>>().join(":")
}

fn has_postgres(root: PathBuf) -> bool {
    let versions = fs::read_dir(root.join(POSTGRES)).into_iter().flatten();
    versions.filter_map(Result::ok).any(|version| version.path().join("bin/initdb").is_file())
}

/// Packages that only depend on others hold nothing but a folder of documentation, or not even that.
fn nothing_to_unpack(package: &Path) -> Result<()> {
    let listed = command::answer(Command::new("dpkg-deb").arg("--contents").arg(package)).unwrap_or_default();
    ensure!(!listed.contains(" ./usr/bin/") && !listed.contains(" ./usr/lib/"), "{} cannot be unpacked", package.display());
    Ok(())
}
