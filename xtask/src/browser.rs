//! A browser for the tests of the console: the machine's Chromium, or Debian's package with what it needs unpacked into `target/browser`,
//! without root.
//!
//! Nothing is started here: the tests start it and end it.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result};

use crate::command;
use crate::repo::Repo;
use crate::step::{Step, write_atomically};
use crate::toolchain::debian::{Packages, extract};

/// Change it when the recipe changes, so that what the old one made is made again.
const RECIPE: &str = "1";

/// Programs of that name are Chromium, whoever packed them.
const NAMES: [&str; 3] = ["chromium", "chromium-browser", "google-chrome"];

/// Starts the unpacked browser with its own libraries and fonts, from wherever the folder is.
const WRAPPER: &str = "#!/bin/sh
# Made by `cargo xtask test`.
here=$(dirname \"$0\")
for folder in \"$here\"/files/usr/lib/*-linux-gnu \"$here\"/files/lib/*-linux-gnu; do
  LD_LIBRARY_PATH=\"$LD_LIBRARY_PATH:$folder:$folder/pulseaudio\"
done
export LD_LIBRARY_PATH
export FONTCONFIG_FILE=\"$here/fonts.conf\"
exec \"$here/files/usr/lib/chromium/chromium\" \"$@\"
";

/// Sees to it that it is there.
pub fn prepare(repo: &Repo, step: &Step) -> Result<()> {
    if NAMES.iter().any(|name| command::which(name).is_some()) {
        return Ok(());
    }
    let folder = folder(repo);
    let root = folder.join("files");
    let wanted = Packages { folder: &folder, recipe: RECIPE, names: &["chromium", "fonts-dejavu-core"], with_dependencies: true };
    wanted.install(
        step,
        |package| extract(package, &root, &["--exclude=./usr/share/doc", "--exclude=./usr/share/locale", "--exclude=./usr/share/man"]),
        || {
            write_atomically(&folder.join("fonts.conf"), fonts(&root.display().to_string()).as_bytes())?;
            let program = folder.join("chromium");
            write_atomically(&program, WRAPPER.as_bytes())?;
            fs::set_permissions(&program, fs::Permissions::from_mode(0o755))?;
            let started = command::answer(Command::new(&program).args(["--no-sandbox", "--version"]));
            started.with_context(|| format!("the unpacked {} does not start", program.display()))?;
            Ok(())
        },
    )
}

/// Where the tests look for it: a program of the machine, or the unpacked one.
pub fn program(repo: &Repo) -> PathBuf {
    NAMES.iter().find_map(|name| command::which(name)).unwrap_or_else(|| folder(repo).join("chromium"))
}

fn folder(repo: &Repo) -> PathBuf {
    repo.target("browser")
}

/// Fonts of the package, and which of them stand for families that style sheets name.
fn fonts(root: &str) -> String {
    let stands = |family: &str, font: &str| format!("  <alias><family>{family}</family><prefer><family>{font}</family></prefer></alias>\n");
    let sans = ["sans-serif", "system-ui", "ui-sans-serif"].map(|family| stands(family, "DejaVu Sans"));
    let mono = ["monospace", "ui-monospace"].map(|family| stands(family, "DejaVu Sans Mono"));
    format!(
        "<?xml version=\"1.0\"?>\n<!DOCTYPE fontconfig SYSTEM \"fonts.dtd\">\n<fontconfig>\n  <dir>{root}/usr/share/fonts</dir>\n  <dir>/usr/share/fonts</dir>\n  \
         <cachedir>{root}/var/cache/fontconfig</cachedir>\n{}{}</fontconfig>\n",
        sans.concat(),
        mono.concat()
    )
}
