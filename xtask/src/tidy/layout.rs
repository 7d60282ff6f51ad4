//! Which files a folder must have.

use super::{Rule, Tree, Violation};

pub const EXTENSIONS: Rule =
    Rule { name: "same-files", reason: "who has read one extension or config knows where to look in the next", check: extensions };

pub const FIXTURES: Rule =
    Rule { name: "fixtures", reason: "a fixture that no test names is built on every run and checks nothing", check: fixtures };

/// What every extension written in Rust has. The SDKs are no extensions.
const EXTENSION_FILES: [&str; 4] = ["Cargo.toml", "extension.toml", "README.md", "src/lib.rs"];

fn extensions(tree: &Tree) -> Vec<Violation> {
    let folders = tree.folders_in("extensions").into_iter().filter(|name| *name != "sdk");
    let missing = folders.flat_map(|name| {
        let paths = EXTENSION_FILES.map(|file| format!("extensions/{name}/{file}"));
        paths.into_iter().filter(|path| !tree.has(path))
    });
    let missing = missing.map(|path| Violation { path, line: 0, what: "is missing".to_owned() });
    let odd = tree.files.iter().filter(|file| file.path.starts_with("configs/") && !is_config(&file.path));
    let odd = odd.map(|file| Violation { path: file.path.clone(), line: 0, what: "is not named like configs/lower-case.yaml".to_owned() });
    missing.chain(odd).collect()
}

fn is_config(path: &str) -> bool {
    // What services and containers are started with has names that others chose.
    if path.strip_prefix("configs/deploy/").is_some_and(|name| !name.contains('/')) {
        return true;
    }
    let name = path.trim_start_matches("configs/");
    let stem = name.strip_suffix(".yaml").unwrap_or_default();
    name == "README.md" || (!stem.is_empty() && stem.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-'))
}

fn fixtures(tree: &Tree) -> Vec<Violation> {
    let tests: Vec<&str> = tree
        .files
        .iter()
        .filter(|file| file.path.starts_with("tests/") && file.path.ends_with(".rs") && !file.path.starts_with("tests/fixtures/"))
        .map(|file| file.text.as_str())
        .collect();
    let unused = tree.folders_in("tests/fixtures").into_iter().filter(|name| !tests.iter().any(|text| names(text, name)));
    unused.map(|name| Violation { path: format!("tests/fixtures/{name}"), line: 0, what: "no test names it".to_owned() }).collect()
}

/// Whether `name` stands in the text as a word of its own: `spin` is not in `spinning`, but in `"spin"` and `fixtures/spin.wasm`.
fn names(text: &str, name: &str) -> bool {
    let is_part = |c: char| c.is_alphanumeric() || c == '-' || c == '_';
    text.match_indices(name)
        .any(|(position, _)| !text[..position].ends_with(is_part) && !text[position + name.len()..].starts_with(is_part))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tidy::check_rule;

    #[test]
    fn every_extension_has_the_same_files() {
        check_rule(
            &EXTENSIONS,
            &[
                ("extensions/a/Cargo.toml", ""),
                ("extensions/a/README.md", ""),
                ("extensions/a/extension.toml", ""),
                ("extensions/a/src/lib.rs", ""),
                ("extensions/b/src/lib.rs", ""),
                ("extensions/sdk/rust/Cargo.toml", ""),
                ("configs/quickstart-echo.yaml", ""),
                ("configs/Other.yml", ""),
                ("configs/deploy/Dockerfile", ""),
                ("configs/deploy/wasmgate.service", ""),
            ],
            &[
                "extensions/b/Cargo.toml: is missing",
                "extensions/b/extension.toml: is missing",
                "extensions/b/README.md: is missing",
                "configs/Other.yml: is not named like configs/lower-case.yaml",
            ],
        );
    }

    #[test]
    fn every_fixture_is_named_by_a_test() {
        check_rule(
            &FIXTURES,
            &[
                ("tests/fixtures/spin/src/lib.rs", "the unused fixture"),
                ("tests/fixtures/trap/src/lib.rs", ""),
                ("tests/fixtures/unused/src/lib.rs", ""),
                ("tests/black_box/traps.rs", "component(\"trap\"); spinning; load(\"fixtures/spin.wasm\")"),
            ],
            &["tests/fixtures/unused: no test names it"],
        );
    }
}
