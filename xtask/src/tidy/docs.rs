//! Paths that the documentation names.

use super::{Rule, SourceFile, Tree, Violation};

pub const PATHS: Rule = Rule {
    name: "doc-paths",
    reason: "a path that the documentation names must exist, or its reader is lost at the first step",
    check: paths,
};

/// File names that are written in capitals and are no placeholders.
const CAPITAL_NAMES: [&str; 4] = ["README", "CHANGELOG", "LICENSE", "NOTICE"];

fn paths(tree: &Tree) -> Vec<Violation> {
    let mut top_level = tree.folders_in("");
    top_level.sort_unstable();
    let mut violations = Vec::new();
    for file in tree.files.iter().filter(|file| is_documentation(&file.path)) {
        for (line, path) in mentions(file) {
            if !exists(tree, &top_level, &path) {
                violations.push(Violation { path: file.path.clone(), line, what: format!("`{path}` does not exist") });
            }
        }
    }
    violations
}

fn is_documentation(path: &str) -> bool {
    path == "README.md" || (path.starts_with("docs/") && path.ends_with(".md"))
}

/// Paths in back quotes, as from the root, and in links, as from the file; code blocks are left out.
fn mentions(file: &SourceFile) -> Vec<(usize, String)> {
    let folder = file.path.rsplit_once('/').map_or("", |(folder, _)| folder);
    let mut found = Vec::new();
    let mut in_block = false;
    for (index, line) in file.text.lines().enumerate() {
        if line.trim_start().starts_with("```") {
            in_block = !in_block;
            continue;
        }
        if in_block {
            continue;
        }
        let quoted = line.split('`').skip(1).step_by(2).flat_map(str::split_whitespace).map(str::to_owned);
        let linked = line.split("](").skip(1).filter_map(|rest| Some(rest.split_once(')')?.0)).filter(|target| is_local(target));
        found.extend(quoted.map(|path| (index + 1, path)));
        found.extend(linked.map(|target| (index + 1, resolve(folder, target))));
    }
    found
}

fn is_local(target: &str) -> bool {
    !target.contains(':') && !target.starts_with('#')
}

/// `../configs/a.yaml#section` in `docs` is `configs/a.yaml`.
fn resolve(folder: &str, target: &str) -> String {
    let target = target.split('#').next().unwrap_or_default();
    let mut segments: Vec<&str> = folder.split('/').filter(|segment| !segment.is_empty()).collect();
    for segment in target.split('/') {
        match segment {
            "" | "." => {}
            ".." => drop(segments.pop()),
            name => segments.push(name),
        }
    }
    // A slash marks it as a path even if it is a file of the root.
    format!("./{}", segments.join("/"))
}

fn exists(tree: &Tree, top_level: &[&str], mention: &str) -> bool {
    let (path, is_link) = match mention.strip_prefix("./") {
        Some(path) => (path, true),
        None => (mention.trim_matches(|c: char| ",;()\"'".contains(c)), false),
    };
    let path = without_line_number(path.split('#').next().unwrap_or_default());
    let Some((first, _)) = path.split_once('/').or(is_link.then_some((path, ""))) else { return true };
    if !is_link && !top_level.contains(&first) {
        return true;
    }
    first == "target"
        || path.is_empty()
        || path.contains(['*', '{', '<', '$', '…', '='])
        || path.split('/').any(is_placeholder)
        || tree.has(path)
}

/// `host/src/main.rs:12` is `host/src/main.rs`.
fn without_line_number(path: &str) -> &str {
    match path.split_once(':') {
        Some((file, rest)) if rest.starts_with(|c: char| c.is_ascii_digit()) => file,
        _ => path,
    }
}

/// `NAME`, `NAME.wasm`, `YOUR_EXTENSION`.
fn is_placeholder(segment: &str) -> bool {
    let stem = segment.split('.').next().unwrap_or_default();
    stem.len() > 1 && stem.chars().all(|c| c.is_ascii_uppercase() || "_-".contains(c)) && !CAPITAL_NAMES.contains(&stem)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tidy::check_rule;

    fn check(text: &str, expected: &[&str]) {
        let files = [("README.md", text), ("host/src/main.rs", ""), ("docs/a.md", "[x](../host/src) [y](b.md)"), ("docs/b.md", "")];
        check_rule(&PATHS, &files, expected);
    }

    #[test]
    fn what_exists_or_is_no_path_is_fine() {
        check("`host/src/main.rs` `host/src` `host/` `host/src/main.rs:12` `cargo run host/src` [a](docs/a.md#x) [b](https://x/y)", &[]);
        check(
            "`provider/model` `openai/gpt` `NAME` `host/*.rs` `host/NAME.rs` `host/{a,b}` `target/x/y` `/v1/messages` text host/none",
            &[],
        );
        check("```\n`host/none`\n```\n", &[]);
    }

    #[test]
    fn what_is_missing_is_named_with_its_line() {
        check("fine\nsee `host/src/none.rs`.", &["README.md:2: `host/src/none.rs` does not exist"]);
        check("run `x --config host/none.yaml`", &["README.md:1: `host/none.yaml` does not exist"]);
        check("[a](docs/none.md) [b](NONE.md)", &["README.md:1: `./docs/none.md` does not exist"]);
        check("`docs/README.md`", &["README.md:1: `docs/README.md` does not exist"]);
    }
}
