//! Where things are. Every path under `target/` that xtask makes is named here.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};

pub const WASM_TARGET: &str = "wasm32-unknown-unknown";

pub struct Repo {
    pub root: PathBuf,
}

impl Repo {
    /// The repository that xtask was started in: by cargo, or by hand from any folder of it.
    pub fn locate() -> Result<Repo> {
        if let Some(manifest_dir) = std::env::var_os("CARGO_MANIFEST_DIR")
            && let Some(root) = Path::new(&manifest_dir).parent()
            && root.join("xtask/Cargo.toml").is_file()
        {
            return Ok(Repo { root: root.to_owned() });
        }
        let here = std::env::current_dir()?;
        let root = here.ancestors().find(|dir| dir.join("xtask/Cargo.toml").is_file());
        Ok(Repo { root: root.context("not inside the wasmgate repository: no folder above has xtask/Cargo.toml")?.to_owned() })
    }

    pub fn path(&self, relative: &str) -> PathBuf {
        self.root.join(relative)
    }

    pub fn target(&self, relative: &str) -> PathBuf {
        self.root.join("target").join(relative)
    }

    /// The gateway's binary as built with `profile`.
    pub fn gateway(&self, profile: &str) -> PathBuf {
        let folder = if profile == "dev" { "debug" } else { profile };
        self.target(folder).join(format!("wasmgate{}", std::env::consts::EXE_SUFFIX))
    }

    pub fn components(&self) -> PathBuf {
        self.target("components")
    }

    /// Cargo's target folder of the components: they are compiled by another compiler, with another profile.
    pub fn guest_target(&self) -> PathBuf {
        self.target("ext")
    }

    /// Recorded traffic: where CORPUS_DIR says, else beside the repository. It may not be there.
    pub fn corpus(&self) -> PathBuf {
        let beside = || self.root.parent().unwrap_or(&self.root).join("shared/corpus");
        std::env::var_os("CORPUS_DIR").map_or_else(beside, |folder| self.root.join(folder))
    }

    /// A path as the user would type it: relative to the root where possible.
    pub fn show(&self, path: &Path) -> String {
        path.strip_prefix(&self.root).unwrap_or(path).display().to_string()
    }

    /// Cargo in the repository's root, without what the outer `cargo run` told xtask about xtask.
    pub fn cargo(&self, args: &[&str]) -> Command {
        let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
        for (name, _) in std::env::vars_os() {
            let text = name.to_string_lossy();
            if ["CARGO_PKG_", "CARGO_MANIFEST_", "CARGO_BIN_", "CARGO_CRATE_"].iter().any(|prefix| text.starts_with(prefix)) {
                command.env_remove(&name);
            }
        }
        // One place for what is built, wherever xtask itself was built.
        command.env("CARGO_TARGET_DIR", self.root.join("target"));
        command.env_remove("LD_LIBRARY_PATH");
        command.current_dir(&self.root).args(args);
        command
    }
}
