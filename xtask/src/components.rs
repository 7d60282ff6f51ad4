//! Components: found by their `extension.toml`, compiled in one cargo call, encoded, given their manifest.
//!
//! A component is a folder of `extensions/` or `tests/fixtures/` with an `extension.toml`; its code is a crate, or a
//! `component.wat` for what no compiler would emit. The result is `target/components/NAME.wasm`, for fixtures
//! `target/components/fixtures/NAME.wasm`.

pub mod encode;
mod manifest;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};
use serde::Deserialize;

use crate::command;
use crate::repo::{Repo, WASM_TARGET};
use crate::step::{Step, write_atomically};
use crate::toolchain::GuestToolchain;

pub use manifest::MANIFEST_FILE;

/// The guests' release profile, whole, so that it does not follow the gateway's, which is made for quick builds. The name
/// section stays, so that the backtrace of a trap names functions.
const PROFILE: [(&str, &str); 8] = [
    ("CARGO_PROFILE_RELEASE_OPT_LEVEL", "3"),
    ("CARGO_PROFILE_RELEASE_DEBUG", "false"),
    ("CARGO_PROFILE_RELEASE_OVERFLOW_CHECKS", "false"),
    ("CARGO_PROFILE_RELEASE_INCREMENTAL", "false"),
    ("CARGO_PROFILE_RELEASE_LTO", "fat"),
    ("CARGO_PROFILE_RELEASE_CODEGEN_UNITS", "1"),
    ("CARGO_PROFILE_RELEASE_PANIC", "abort"),
    ("CARGO_PROFILE_RELEASE_STRIP", "debuginfo"),
];

/// Packages whose tables are compressed at this level. Guests hardly ever write a number with a fraction, and each instance maps
/// its data whole: these tables are 17 KiB of the 32 that a small extension has.
const SMALL: [&str; 1] = ["profile.release.package.zmij.opt-level='s'"];

/// Vector instructions, which every engine of components has: strings are searched sixteen bytes at a time, as natively.
const SIMD: &str = "-Ctarget-feature=+simd128";

const WAT_FILE: &str = "component.wat";

/// One folder that becomes a component.
#[derive(Debug)]
struct Source {
    folder: PathBuf,
    name: String,
    /// As JSON, for the custom section.
    manifest: String,
    code: Code,
    is_fixture: bool,
}

#[derive(Debug)]
enum Code {
    Crate { package: String },
    Wat,
}

/// Which components are built.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Which {
    /// What the gateway is used with.
    Extensions,
    /// Those, and what only tests use.
    All,
}

/// Builds components of the repository.
pub fn build(repo: &Repo, step: &Step, toolchain: &GuestToolchain, which: Which) -> Result<()> {
    let mut sources = find(repo)?;
    sources.retain(|source| which == Which::All || !source.is_fixture);
    if sources.is_empty() {
        step.note("no component yet: no folder of extensions/ or tests/fixtures/ has an extension.toml");
    }
    let modules = compile(repo, step, toolchain, &sources)?;
    let mut kept = BTreeSet::new();
    for source in &sources {
        let component = source.component(&modules).with_context(|| repo.show(&source.folder))?;
        let file = source.output(repo);
        let changed = fs::read(&file).map_or(true, |old| old != component);
        if changed {
            write_atomically(&file, &component)?;
        }
        let verdict = if changed { "changed" } else { "unchanged" };
        step.note(&format!("{:<40} {:>9}  {verdict}", repo.show(&file), kib(component.len())));
        kept.insert(file);
    }
    remove_stale(repo, step, which, &kept)
}

/// A built fixture under another name, for a gateway that is to have it more than once.
pub fn renamed_fixture(repo: &Repo, fixture: &str, name: &str) -> Result<Vec<u8>> {
    let text = fs::read_to_string(repo.path("tests/fixtures").join(fixture).join(MANIFEST_FILE))?;
    let mut manifest: serde_json::Value = serde_json::from_str(&manifest::parse(&text)?.json)?;
    manifest["name"] = name.into();
    let component = fs::read(repo.components().join(format!("fixtures/{fixture}.wasm")))?;
    // The gateway reads the last manifest.
    Ok(encode::with_manifest(component, &manifest.to_string()))
}

/// The folders with an `extension.toml`, in the order of their paths.
fn find(repo: &Repo) -> Result<Vec<Source>> {
    let mut sources = Vec::new();
    for (parent, is_fixture) in [("extensions", false), ("tests/fixtures", true)] {
        let mut folders: Vec<PathBuf> = fs::read_dir(repo.path(parent)).into_iter().flatten().flatten().map(|entry| entry.path()).collect();
        folders.sort();
        for folder in folders.into_iter().filter(|folder| folder.join(MANIFEST_FILE).is_file()) {
            sources.push(read_source(repo, folder, is_fixture)?);
        }
    }
    for (index, source) in sources.iter().enumerate() {
        if let Some(twin) = sources[..index].iter().find(|other| other.name == source.name && other.is_fixture == source.is_fixture) {
            bail!("{} and {} both have the name `{}`", repo.show(&twin.folder), repo.show(&source.folder), source.name);
        }
    }
    Ok(sources)
}

fn read_source(repo: &Repo, folder: PathBuf, is_fixture: bool) -> Result<Source> {
    let file = folder.join(MANIFEST_FILE);
    let text = fs::read_to_string(&file).with_context(|| format!("reading {}", repo.show(&file)))?;
    let manifest = manifest::parse(&text).with_context(|| repo.show(&file))?;
    let code = match (folder.join("Cargo.toml").is_file(), folder.join(WAT_FILE).is_file()) {
        (true, false) => Code::Crate { package: package_name(&folder.join("Cargo.toml")).with_context(|| repo.show(&folder))? },
        (false, true) => Code::Wat,
        (true, true) => bail!("{} has both a Cargo.toml and a {WAT_FILE}; a component is made of one", repo.show(&folder)),
        (false, false) => bail!("{} has neither a Cargo.toml nor a {WAT_FILE}", repo.show(&folder)),
    };
    Ok(Source { folder, name: manifest.name, manifest: manifest.json, code, is_fixture })
}

fn package_name(cargo_toml: &Path) -> Result<String> {
    #[derive(Deserialize)]
    struct CargoToml {
        package: Package,
    }
    #[derive(Deserialize)]
    struct Package {
        name: String,
    }
    let parsed: CargoToml = toml::from_str(&fs::read_to_string(cargo_toml)?).context("Cargo.toml")?;
    Ok(parsed.package.name)
}

/// Compiles all crates in one cargo call. Returns the core module of each crate folder.
fn compile(repo: &Repo, step: &Step, toolchain: &GuestToolchain, sources: &[Source]) -> Result<BTreeMap<PathBuf, PathBuf>> {
    let packages: Vec<&str> = sources.iter().filter_map(Source::package).collect();
    if packages.is_empty() {
        return Ok(BTreeMap::new());
    }
    step.note(&format!("cargo build for {WASM_TARGET}: {}", packages.join(" ")));
    let mut cargo = repo.cargo(&["build", "--release", "--locked", "--target", WASM_TARGET, "--message-format=json-render-diagnostics"]);
    cargo.arg("--target-dir").arg(repo.guest_target()).env("RUSTC", &toolchain.rustc).envs(PROFILE);
    cargo.env("CARGO_ENCODED_RUSTFLAGS", format!("{SIMD}\x1f{}", remappings(repo)));
    for setting in SMALL {
        cargo.args(["--config", setting]);
    }
    for package in packages {
        cargo.args(["-p", package]);
    }
    let messages = command::data(step, &mut cargo, "compiling the components")?;
    Ok(modules(&messages))
}

/// Panic messages name source files: without this they would name the folders of the machine that built the component, and
/// no two machines would build the same bytes.
fn remappings(repo: &Repo) -> String {
    let home = std::env::var_os("CARGO_HOME").map(PathBuf::from).or_else(|| Some(std::env::home_dir()?.join(".cargo")));
    let folders = [Some((repo.root.clone(), "/wasmgate")), home.map(|home| (home, "/cargo"))];
    let flags = folders.into_iter().flatten().map(|(from, to)| format!("--remap-path-prefix={}={to}", from.display()));
    flags.collect::<Vec<_>>().join("\x1f")
}

/// The wasm files in cargo's messages, by the folder of the crate.
fn modules(messages: &str) -> BTreeMap<PathBuf, PathBuf> {
    #[derive(Deserialize)]
    struct Artifact {
        manifest_path: PathBuf,
        filenames: Vec<PathBuf>,
    }
    let artifacts = messages.lines().filter_map(|line| serde_json::from_str::<Artifact>(line).ok());
    let files = artifacts.flat_map(|artifact| {
        let folder = artifact.manifest_path.parent().unwrap_or(Path::new("")).to_owned();
        artifact.filenames.into_iter().map(move |file| (folder.clone(), file))
    });
    files.filter(|(_, file)| file.extension().is_some_and(|extension| extension == "wasm")).collect()
}

impl Source {
    fn package(&self) -> Option<&str> {
        match &self.code {
            Code::Crate { package } => Some(package),
            Code::Wat => None,
        }
    }

    fn component(&self, modules: &BTreeMap<PathBuf, PathBuf>) -> Result<Vec<u8>> {
        let component = match &self.code {
            Code::Crate { package } => {
                let module = modules
                    .get(&self.folder)
                    .with_context(|| format!("cargo made no wasm file of package `{package}`: it needs [lib] crate-type = [\"cdylib\"]"))?;
                encode::component(&fs::read(module)?)?
            }
            Code::Wat => encode::text_component(&self.folder.join(WAT_FILE))?,
        };
        ensure!(encode::is_component(&component), "this is a core module, not a component");
        Ok(encode::with_manifest(component, &self.manifest))
    }

    fn output(&self, repo: &Repo) -> PathBuf {
        let folder = if self.is_fixture { repo.components().join("fixtures") } else { repo.components() };
        folder.join(format!("{}.wasm", self.name))
    }
}

/// Removes the components of folders that are gone, so that no test or config finds them by accident.
fn remove_stale(repo: &Repo, step: &Step, which: Which, kept: &BTreeSet<PathBuf>) -> Result<()> {
    let fixtures = (which == Which::All).then(|| repo.components().join("fixtures"));
    for folder in [repo.components()].into_iter().chain(fixtures) {
        for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
            let file = entry.path();
            if file.extension().is_some_and(|extension| extension == "wasm") && !kept.contains(&file) {
                fs::remove_file(&file).with_context(|| format!("removing {}", repo.show(&file)))?;
                step.note(&format!("{:<40} removed: its folder is gone", repo.show(&file)));
            }
        }
    }
    Ok(())
}

fn kib(bytes: usize) -> String {
    format!("{:.1} KiB", bytes as f64 / 1024.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn repo_with(files: &[(&str, &str)]) -> (tempfile::TempDir, Repo) {
        let folder = tempfile::tempdir().unwrap();
        for (path, content) in files {
            write_atomically(&folder.path().join(path), content.as_bytes()).unwrap();
        }
        let root = folder.path().to_owned();
        (folder, Repo { root })
    }

    const MANIFEST: &str = "name = \"a\"\nversion = \"0.1.0\"\ndescription = \"d\"\n";

    #[test]
    fn folders_with_a_manifest_are_components() {
        let (_guard, repo) = repo_with(&[
            ("extensions/a/extension.toml", MANIFEST),
            ("extensions/a/Cargo.toml", "[package]\nname = \"ext-a\"\nversion = \"0.1.0\"\n"),
            ("extensions/sdk/rust/Cargo.toml", "[package]\nname = \"sdk\"\n"),
            ("tests/fixtures/a/extension.toml", MANIFEST),
            ("tests/fixtures/a/component.wat", "(component)"),
        ]);
        let found = find(&repo).unwrap();
        let outputs: Vec<_> = found.iter().map(|source| (source.package(), repo.show(&source.output(&repo)))).collect();
        assert_eq!(
            outputs,
            [(Some("ext-a"), "target/components/a.wasm".to_owned()), (None, "target/components/fixtures/a.wasm".to_owned())]
        );
    }

    #[test]
    fn what_is_wrong_with_a_folder_is_said() {
        let check = |files: &[(&str, &str)], expected: &str| {
            let (_guard, repo) = repo_with(files);
            let error = format!("{:#}", find(&repo).unwrap_err());
            assert!(error.contains(expected), "{error}");
        };
        check(&[("extensions/a/extension.toml", MANIFEST)], "extensions/a has neither a Cargo.toml nor a component.wat");
        check(&[("extensions/a/extension.toml", "name = 1")], "extensions/a/extension.toml: field `name`");
        let twice = [
            ("extensions/a/extension.toml", MANIFEST),
            ("extensions/a/component.wat", ""),
            ("extensions/b/extension.toml", MANIFEST),
            ("extensions/b/component.wat", ""),
        ];
        check(&twice, "extensions/a and extensions/b both have the name `a`");
    }

    #[test]
    fn modules_are_read_from_cargo_messages() {
        let messages = r#"{"reason":"compiler-artifact","manifest_path":"/r/extensions/a/Cargo.toml","filenames":["/t/a.wasm","/t/a.d"]}
{"reason":"compiler-artifact","manifest_path":"/x/serde/Cargo.toml","filenames":["/t/libserde.rlib"]}
{"reason":"build-finished","success":true}"#;
        assert_eq!(modules(messages), BTreeMap::from([(PathBuf::from("/r/extensions/a"), PathBuf::from("/t/a.wasm"))]));
    }

    #[test]
    fn a_wat_folder_becomes_a_component_and_stale_files_go() {
        let (_guard, repo) = repo_with(&[
            ("tests/fixtures/a/extension.toml", MANIFEST),
            ("tests/fixtures/a/component.wat", "(component)"),
            ("target/components/old.wasm", ""),
        ]);
        let toolchain = GuestToolchain { rustc: "unused".into(), origin: String::new() };
        crate::step::Plan::new(1).step("test", |step| build(&repo, step, &toolchain, Which::All)).unwrap();
        assert!(repo.target("components/fixtures/a.wasm").is_file());
        assert!(!repo.target("components/old.wasm").exists());
    }
}
