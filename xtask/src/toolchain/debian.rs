//! A private Rust toolchain for wasm from Debian's `rustc-web` packages, without root, in `target/guest-toolchain`.
//!
//! Debian has no usable standard library for wasm, but its source package carries the library with all dependencies: it is
//! compiled once and put into the private sysroot. apt-get checks the signatures of what it fetches, with the system's
//! sources and keys but its own lists and cache. Each stage has a stamp, so an interrupted one is redone alone.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail, ensure};

use super::GuestToolchain;
use crate::command;
use crate::repo::{Repo, WASM_TARGET};
use crate::step::{Stamp, Step, fresh_folder, remove_folder, write_atomically};

/// Change it when the recipe changes, so that toolchains made by the old one are made again.
const RECIPE: &str = "1";

/// Runs the private rustc with the private libraries, from wherever the folder is.
const WRAPPER: &str = "#!/bin/sh
# Made by `cargo xtask toolchain`.
here=$(dirname \"$0\")
LD_LIBRARY_PATH=$(echo \"$here\"/debian/usr/lib/*-linux-gnu*) exec \"$here/debian/usr/bin/rustc\" \"$@\"
";

/// An empty crate whose only purpose is that cargo builds the standard library for it. Debug information is left out: it
/// would be three quarters of every component.
const STD_CRATE: &str = "\
[package]
name = \"std-once\"
version = \"0.0.0\"
edition = \"2021\"

[workspace]

[profile.release]
codegen-units = 1
debug = false
";

struct Layout {
    folder: PathBuf,
}

impl Layout {
    fn new(repo: &Repo) -> Layout {
        Layout { folder: repo.target("guest-toolchain") }
    }

    fn at(&self, relative: &str) -> PathBuf {
        self.folder.join(relative)
    }

    fn rustc(&self) -> PathBuf {
        self.at("rustc")
    }

    fn rustlib(&self) -> PathBuf {
        self.at("debian/usr/lib/rustlib")
    }

    fn library_sources(&self) -> PathBuf {
        self.rustlib().join("src/rust/library")
    }

    fn stamp(&self, stage: &str) -> Stamp {
        Stamp::new(self.at(&format!("{stage}.done")), RECIPE)
    }
}

/// The toolchain of an earlier run, if it is complete.
pub fn prepared(repo: &Repo) -> Option<GuestToolchain> {
    let layout = Layout::new(repo);
    if !layout.stamp("complete").is_set() {
        return None;
    }
    let version = command::answer(Command::new(layout.rustc()).arg("--version"))?;
    Some(GuestToolchain { rustc: layout.rustc(), origin: format!("Debian's in {}, {version}", repo.show(&layout.folder)) })
}

pub fn prepare(repo: &Repo, step: &Step) -> Result<GuestToolchain> {
    if let Some(toolchain) = prepared(repo) {
        return Ok(toolchain);
    }
    for program in ["apt-get", "apt-cache", "dpkg-deb", "tar"] {
        ensure!(command::which(program).is_some(), "`{program}` is not in PATH: this way works on Debian and its derivatives only");
    }
    let layout = Layout::new(repo);
    layout.stamp("complete").clear()?;
    stage(&layout, "packages", || download(&layout, step))?;
    stage(&layout, "unpacked", || unpack(&layout, step))?;
    stage(&layout, "std", || compile_std(repo, &layout, step))?;
    for leftover in [layout.at("apt"), layout.at("packages"), layout.at("std"), layout.library_sources()] {
        remove_folder(&leftover)?;
    }
    // Cargo does not notice that a compiler of the same version has another standard library.
    remove_folder(&repo.guest_target())?;
    layout.stamp("complete").set()?;
    prepared(repo).context("the private rustc does not start")
}

fn stage(layout: &Layout, name: &str, work: impl FnOnce() -> Result<()>) -> Result<()> {
    let stamp = layout.stamp(name);
    if !stamp.is_set() {
        work()?;
        stamp.set()?;
    }
    Ok(())
}

fn download(layout: &Layout, step: &Step) -> Result<()> {
    let packages = layout.at("packages");
    fresh_folder(&packages)?;
    let folder = layout.at("apt");
    update_lists(&folder, step)?;
    let names = package_names(|name| depends(layout, name))?;
    step.note(&format!("apt-get: downloading {} (about 140 MB)", names.join(", ")));
    command::quietly(step, apt(&folder, "apt-get").arg("download").args(&names).current_dir(&packages), "downloading Debian's packages")?;
    Ok(())
}

/// apt with the system's sources and keys, and everything that it writes in a folder of ours.
fn apt(folder: &Path, program: &str) -> Command {
    let mut command = Command::new(program);
    for (option, name) in [("Dir::State", "state"), ("Dir::Cache", "cache")] {
        command.arg("-o").arg(format!("{option}={}", folder.join(name).display()));
    }
    // The first: it only reads what is installed. The second: apt drops root's rights to a user who cannot read our folder.
    for option in ["Dir::State::status=/var/lib/dpkg/status", "APT::Sandbox::User=root", "Acquire::Languages=none"] {
        command.args(["-o", option]);
    }
    command
}

/// Packages that tests use, unpacked into a folder of their own.
pub struct Packages<'a> {
    /// Where they go. Its stamp says which recipe and which packages made it.
    pub folder: &'a Path,
    pub recipe: &'a str,
    pub names: &'a [&'a str],
    /// Whether what they need and the machine lacks comes too.
    pub with_dependencies: bool,
}

impl Packages<'_> {
    /// Downloads them and hands each file to `unpack`, unless that was done before. `check` looks at what came of it.
    pub fn install(&self, step: &Step, unpack: impl Fn(&Path) -> Result<()>, check: impl FnOnce() -> Result<()>) -> Result<()> {
        let stamp = Stamp::new(self.folder.join("complete.done"), format!("{} {}", self.recipe, self.names.join(" ")));
        if stamp.is_set() {
            return Ok(());
        }
        stamp.clear()?;
        for program in ["apt-get", "dpkg-deb", "tar"] {
            let wanted = self.names.join(" and ");
            ensure!(command::which(program).is_some(), "`{program}` is not in PATH; install {wanted} yourself, the tests find them");
        }
        fresh_folder(self.folder)?;
        let folder = self.folder.join("apt");
        let archives = folder.join("cache/archives");
        update_lists(&folder, step)?;
        let also = if self.with_dependencies { " and what they need" } else { "" };
        step.note(&format!("apt-get: downloading {}{also}", self.names.join(", ")));
        let mut download = apt(&folder, "apt-get");
        if self.with_dependencies {
            // What is installed already is not needed again. The lock would need root, and nothing is installed.
            download.args(["-o", "Debug::NoLocking=true", "--yes", "--no-install-recommends", "--download-only", "install"]);
        } else {
            download.arg("download").current_dir(&archives);
        }
        command::quietly(step, download.args(self.names), "downloading Debian's packages")?;
        for package in archives_in(&archives)? {
            unpack(&package)?;
        }
        remove_folder(&folder)?;
        check()?;
        stamp.set()
    }
}

/// Reads the lists of packages into a folder of ours.
fn update_lists(folder: &Path, step: &Step) -> Result<()> {
    for name in ["state/lists/partial", "cache/archives/partial"] {
        fs::create_dir_all(folder.join(name))?;
    }
    step.note("apt-get: reading the package lists");
    command::quietly(step, apt(folder, "apt-get").arg("update"), "reading Debian's package lists").map(drop)
}

/// The packages in a folder.
fn archives_in(folder: &Path) -> Result<Vec<PathBuf>> {
    let mut packages: Vec<PathBuf> = fs::read_dir(folder)?.map(|entry| Ok(entry?.path())).collect::<Result<_>>()?;
    packages.retain(|file| file.extension().is_some_and(|extension| extension == "deb"));
    Ok(packages)
}

/// What has to be unpacked beside `rustc-web` for it to run: names move with every security update, so they are read from
/// `Depends`. Other libraries (libc, libstdc++) are on every machine that has a C linker.
fn package_names(depends: impl Fn(&str) -> Result<Vec<String>>) -> Result<Vec<String>> {
    let one_of = |package: &str, prefix: &str| -> Result<String> {
        let found = depends(package)?.into_iter().find(|name| name.starts_with(prefix));
        found.with_context(|| format!("Debian's `{package}` does not depend on a package {prefix}*"))
    };
    let development = one_of("rustc-web", "libstd-rust-web-dev")?;
    let driver = one_of(&development, "libstd-rust-web-")?;
    let llvm = one_of(&driver, "libllvm")?;
    Ok(["rustc-web", &development, &driver, &llvm, "rust-web-src"].map(str::to_owned).into())
}

fn depends(layout: &Layout, package: &str) -> Result<Vec<String>> {
    let Some(record) = command::answer(apt(&layout.at("apt"), "apt-cache").args(["show", "--no-all-versions", package])) else {
        bail!("apt's sources have no package `{package}` (Debian 12 has it in bookworm-security)");
    };
    Ok(parse_depends(&record))
}

/// Package names of the `Depends` field of an apt record, without versions and alternatives.
fn parse_depends(record: &str) -> Vec<String> {
    let fields = record.lines().filter_map(|line| line.strip_prefix("Depends:"));
    fields
        .flat_map(|value| value.split(','))
        .filter_map(|dependency| dependency.split_whitespace().next())
        .map(|name| name.split(':').next().unwrap_or(name).to_owned())
        .collect()
}

fn unpack(layout: &Layout, step: &Step) -> Result<()> {
    step.note("unpacking");
    fresh_folder(&layout.at("debian"))?;
    for package in archives_in(&layout.at("packages"))? {
        let name = package.file_name().unwrap_or_default().to_string_lossy().into_owned();
        if name.starts_with("rust-web-src_") {
            unpack_library_sources(layout, &package, &name)?;
        } else {
            extract(&package, &layout.at("debian"), &["--wildcards", "./usr/lib/*"])?;
            if name.starts_with("rustc-web_") {
                extract(&package, &layout.at("debian"), &["./usr/bin/rustc"])?;
            }
        }
    }
    write_atomically(&layout.rustc(), WRAPPER.as_bytes())?;
    fs::set_permissions(layout.rustc(), fs::Permissions::from_mode(0o755))?;
    link_linker(layout)
}

fn unpack_library_sources(layout: &Layout, package: &Path, name: &str) -> Result<()> {
    let version = name.strip_prefix("rust-web-src_").and_then(|rest| rest.split(['+', '-', '_', '~']).next()).unwrap_or_default();
    let destination = layout.rustlib().join("src/rust");
    fresh_folder(&destination)?;
    extract(package, &destination, &["--strip-components=4", &format!("./usr/src/rustc-{version}/library")])?;
    ensure!(layout.library_sources().join("std").is_dir(), "{name} has no library/std");
    Ok(())
}

/// `dpkg-deb --fsys-tarfile PACKAGE | tar -x -C DESTINATION ARGS`.
pub fn extract(package: &Path, destination: &Path, args: &[&str]) -> Result<()> {
    fs::create_dir_all(destination)?;
    let mut archive = Command::new("dpkg-deb").arg("--fsys-tarfile").arg(package).stdout(Stdio::piped()).spawn()?;
    let input = archive.stdout.take().context("piped")?;
    let tar = Command::new("tar").args(["-x", "--no-same-owner", "-C"]).arg(destination).args(args).stdin(input).output()?;
    let unpacked = archive.wait()?;
    let complaint = String::from_utf8_lossy(&tar.stderr);
    ensure!(tar.status.success() && unpacked.success(), "unpacking {} failed: {}", package.display(), complaint.trim());
    Ok(())
}

/// Debian's rustc calls `rust-lld`, which it does not ship: the active toolchain's serves, as does a plain `lld`.
fn link_linker(layout: &Layout) -> Result<()> {
    let host = command::answer(Command::new(layout.rustc()).args(["--print", "host-tuple"]))
        .with_context(|| format!("the unpacked {} does not start", layout.rustc().display()))?;
    let sysroot = command::answer(Command::new("rustc").args(["--print", "sysroot"])).unwrap_or_default();
    let bundled = Path::new(&sysroot).join("lib/rustlib").join(&host).join("bin/rust-lld");
    let linker = if bundled.is_file() { Some(bundled) } else { command::which("lld") };
    let linker =
        linker.context("no linker for wasm: neither the active toolchain's rust-lld nor lld is there; install the package `lld`")?;
    let tools = layout.rustlib().join(host).join("bin");
    fresh_folder(&tools)?;
    symlink(linker, tools.join("rust-lld")).context("linking rust-lld into the private toolchain")
}

fn compile_std(repo: &Repo, layout: &Layout, step: &Step) -> Result<()> {
    step.note("compiling std for wasm32 (about 60 s, once)");
    let folder = layout.at("std");
    fresh_folder(&folder.join("src"))?;
    fs::write(folder.join("Cargo.toml"), STD_CRATE)?;
    fs::write(folder.join("src/lib.rs"), "")?;
    let mut cargo = repo.cargo(&["build", "--release", "--target", WASM_TARGET, "-Zbuild-std=std,panic_abort"]);
    cargo.current_dir(&folder).env("RUSTC", layout.rustc()).env("CARGO_TARGET_DIR", folder.join("target"));
    // Cargo is the stable one, and the components are linked with LTO, which wants the bitcode of std.
    // Without the remapping every component would hold this folder's path in the messages of its panics.
    let remap = format!("--remap-path-prefix={}=/rustc/library", layout.library_sources().display());
    cargo.env("RUSTC_BOOTSTRAP", "1").env("CARGO_ENCODED_RUSTFLAGS", format!("-Cembed-bitcode=yes\x1f{remap}"));
    let vendored = layout.library_sources().join("vendor");
    if vendored.is_dir() {
        cargo.args(["--config", "source.crates-io.replace-with='std-vendor'", "--config"]);
        cargo.arg(format!("source.std-vendor.directory='{}'", vendored.display()));
    }
    command::quietly(step, &mut cargo, "compiling the standard library for wasm")?;
    install_std(&folder.join("target").join(WASM_TARGET).join("release/deps"), &layout.rustlib().join(WASM_TARGET).join("lib"))
}

fn install_std(built: &Path, destination: &Path) -> Result<()> {
    fresh_folder(destination)?;
    for entry in fs::read_dir(built).with_context(|| format!("reading {}", built.display()))? {
        let file = entry?.path();
        let name = file.file_name().unwrap_or_default().to_string_lossy().into_owned();
        if name.ends_with(".rlib") && !name.starts_with("libstd_once") {
            fs::copy(&file, destination.join(name))?;
        }
    }
    ensure!(super::has_standard_library(destination), "cargo built no libstd");
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn depends_are_names_only() {
        let record = "Package: a\nDepends: libc6 (>= 2.34), libllvm22, gcc:any | clang (>= 3)\nRecommends: other\n";
        assert_eq!(parse_depends(record), ["libc6", "libllvm22", "gcc"]);
        assert!(parse_depends("Package: b\n").is_empty());
    }

    #[test]
    fn package_names_follow_depends() {
        let depends = |name: &str| {
            Ok(match name {
                "rustc-web" => vec!["libc6".to_owned(), "libstd-rust-web-dev".to_owned()],
                "libstd-rust-web-dev" => vec!["libstd-rust-web-1.96".to_owned()],
                _ => vec!["libllvm22".to_owned()],
            })
        };
        assert_eq!(
            package_names(depends).unwrap(),
            ["rustc-web", "libstd-rust-web-dev", "libstd-rust-web-1.96", "libllvm22", "rust-web-src"]
        );
        let error = package_names(|_| Ok(Vec::new())).unwrap_err();
        assert!(error.to_string().contains("`rustc-web` does not depend on"), "{error}");
    }
}
