//! `toolchain`: a rustc that compiles the components for `wasm32-unknown-unknown`.
//!
//! The active toolchain where it has the target; else what an earlier run prepared; else `rustup target add`; else, on
//! Debian, a private toolchain from its packages (`toolchain/debian.rs`). Nothing here needs root or touches the system
//! outside of what rustup manages.

pub mod debian;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Error, Result, bail};
use lexopt::Parser;

use crate::repo::{Repo, WASM_TARGET};
use crate::step::{Plan, Step};
use crate::{Finish, command, no_arguments};

pub const HELP: &str = "\
Usage: cargo xtask toolchain

Prepares the compiler of the components and prints which one is used. The first that works:

  1. the active toolchain, if it has the target wasm32-unknown-unknown
  2. the private toolchain in target/guest-toolchain, if an earlier run made it
  3. `rustup target add wasm32-unknown-unknown`
  4. Debian's rustc-web, fetched with apt-get and unpacked into target/guest-toolchain without root (140 MB to
     download, 60 s to compile its standard library once)

Environment:
  XTASK_GUEST_TOOLCHAIN=debian   use the fourth even where an earlier one works
";

/// Makes the choice for one origin instead of the first that works.
const FORCE_VARIABLE: &str = "XTASK_GUEST_TOOLCHAIN";

/// The compiler of the components.
pub struct GuestToolchain {
    /// For cargo's `RUSTC`.
    pub rustc: PathBuf,
    /// Where it comes from, for the progress line.
    pub origin: String,
}

pub fn main(repo: &Repo, args: Parser) -> Result<Finish> {
    no_arguments(args)?;
    let toolchain = Plan::new(1).step("guest toolchain", |step| prepare(repo, step))?;
    println!("{}", toolchain.rustc.display());
    Ok(Finish::Done)
}

pub fn prepare(repo: &Repo, step: &Step) -> Result<GuestToolchain> {
    let toolchain = match std::env::var(FORCE_VARIABLE).as_deref() {
        Ok("debian") => debian::prepare(repo, step)?,
        Ok(other) => bail!("{FORCE_VARIABLE}={other}: the only value is `debian`"),
        Err(_) => first_that_works(repo, step)?,
    };
    step.note(&toolchain.origin);
    Ok(toolchain)
}

fn first_that_works(repo: &Repo, step: &Step) -> Result<GuestToolchain> {
    if let Some(active) = active() {
        return Ok(active);
    }
    if let Some(prepared) = debian::prepared(repo) {
        return Ok(prepared);
    }
    let rustup_error = match add_with_rustup(step) {
        Ok(toolchain) => return Ok(toolchain),
        Err(error) => error,
    };
    step.note("rustup cannot add the target here; trying Debian's packages");
    debian::prepare(repo, step).map_err(|debian_error| nothing_works(&rustup_error, &debian_error))
}

/// The rustc that builds the gateway, if it has a standard library for wasm.
fn active() -> Option<GuestToolchain> {
    let rustc = PathBuf::from(std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into()));
    let libraries = command::answer(Command::new(&rustc).args(["--print", "target-libdir", "--target", WASM_TARGET]))?;
    if !has_standard_library(Path::new(&libraries)) {
        return None;
    }
    let version = command::answer(Command::new(&rustc).arg("--version"))?;
    Some(GuestToolchain { rustc, origin: format!("the active toolchain, {version}") })
}

fn has_standard_library(folder: &Path) -> bool {
    fs::read_dir(folder).is_ok_and(|entries| {
        entries.flatten().any(|entry| {
            let name = entry.file_name().to_string_lossy().into_owned();
            name.starts_with("libstd-") && name.ends_with(".rlib")
        })
    })
}

fn add_with_rustup(step: &Step) -> Result<GuestToolchain> {
    step.note(&format!("rustup target add {WASM_TARGET}"));
    command::quietly(step, Command::new("rustup").args(["target", "add", WASM_TARGET]), "adding the target with rustup")?;
    match active() {
        Some(toolchain) => Ok(toolchain),
        None => bail!("rustup added the target, but the active rustc still has no standard library for it"),
    }
}

fn nothing_works(rustup: &Error, debian: &Error) -> Error {
    anyhow::anyhow!(
        "no compiler for the components: the active rustc has no standard library for {WASM_TARGET}, and neither way to get one works\n\
         - rustup: {rustup:#}\n\
         - Debian: {debian:#}\n\
         install by hand one of:\n\
         - `rustup target add {WASM_TARGET}` for the toolchain of this repository\n\
         - your distribution's package of Rust's standard library for wasm32 (Fedora: rust-std-static-{WASM_TARGET})"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_library_folder_counts_only_with_std_in_it() {
        let folder = tempfile::tempdir().unwrap();
        assert!(!has_standard_library(&folder.path().join("absent")));
        fs::write(folder.path().join("libcore-1.rlib"), "").unwrap();
        assert!(!has_standard_library(folder.path()));
        fs::write(folder.path().join("libstd-1.rlib"), "").unwrap();
        assert!(has_standard_library(folder.path()));
    }
}
