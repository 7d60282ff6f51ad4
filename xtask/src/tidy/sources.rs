//! What must not be in a source file.

use super::{Rule, SourceFile, Tree, Violation};

pub const LENGTH: Rule = Rule {
    name: "length",
    reason: "150 lines are normal, 400 a reason to look, and over 800 nobody reads a file any more: split it by what it does",
    check: length,
};

pub const UNFINISHED: Rule = Rule {
    name: "unfinished",
    reason: "what is not written yet is an issue, not a panic that waits for its first user",
    check: |tree| forbid(tree, "unfinished", UNFINISHED_WORDS, |file| is_rust(&file.path), whole),
};

pub const IGNORED: Rule = Rule {
    name: "ignored",
    reason: "a test that does not run protects nothing and rots: repair it or remove it",
    check: |tree| forbid(tree, "ignored", &[concat!("#[", "ignore")], |file| is_rust(&file.path), whole),
};

pub const SLEEP: Rule = Rule {
    name: "sleep",
    reason: "a test that sleeps is slow on a good day and red on a bad one: wait for the event itself, or use a paused clock",
    check: |tree| forbid(tree, "sleep", SLEEPING_WORDS, |file| is_rust(&file.path), test_code),
};

pub const MACHINE: Rule = Rule {
    name: "machine",
    reason: "a path or address of one machine works on no other: use paths of the repository, the environment, or a temporary folder",
    check: machine,
};

// Spelled in two parts, or this file would break its own rules.
const UNFINISHED_WORDS: &[&str] = &[concat!("todo", "!("), concat!("unimplemented", "!("), concat!("dbg", "!(")];
const SLEEPING_WORDS: &[&str] = &[concat!("thread", "::sleep"), concat!("time", "::sleep("), concat!(" ", "sleep(")];
const MACHINE_FOLDERS: [&str; 4] = [concat!("/", "work/"), concat!("/", "root/"), concat!("/", "tmp/"), concat!("/", "home/")];

const MAX_LINES: usize = 800;
const LENGTH_FOLDERS: [&str; 4] = ["host/", "extensions/", "wit/", "xtask/"];
/// Files that may be longer, each with the reason.
const LONG_FILES: [(&str, &str); 1] = [("wit/codec/src/hub/types.rs", "it mirrors one WIT file, item by item, with its documentation")];

fn length(tree: &Tree) -> Vec<Violation> {
    let watched = tree.files.iter().filter(|file| LENGTH_FOLDERS.iter().any(|folder| file.path.starts_with(folder)));
    watched
        .filter(|file| !LONG_FILES.iter().any(|(path, _)| *path == file.path) && !is_data(&file.path))
        .filter(|file| file.text.lines().count() > MAX_LINES)
        .map(|file| violation(file, 0, format!("{} lines, more than {MAX_LINES}", file.text.lines().count())))
        .collect()
}

/// Locks, recordings and the like are as long as they are.
fn is_data(path: &str) -> bool {
    [".lock", ".json", ".jsonl", ".sse", ".txt", ".svg"].iter().any(|extension| path.ends_with(extension))
}

fn machine(tree: &Tree) -> Vec<Violation> {
    let mut violations = Vec::new();
    for file in &tree.files {
        for (index, line) in file.text.lines().enumerate() {
            let folder = MACHINE_FOLDERS.iter().find(|folder| names_absolute_path(line, folder));
            if let Some(folder) = folder
                && !is_allowed(file, index, "machine")
            {
                violations.push(violation(file, index + 1, format!("names `{folder}…`")));
            }
            if file.path.ends_with("package-lock.json") && line.trim_start().starts_with("\"resolved\":") {
                violations.push(violation(file, index + 1, "names a registry's host (npm --omit-lockfile-registry-resolved)".to_owned()));
            }
        }
    }
    violations
}

/// Whether `folder` stands at the start of a path, not inside of one such as `target/tmp/` or `https://host/work/`.
fn names_absolute_path(line: &str, folder: &str) -> bool {
    line.match_indices(folder).any(|(position, _)| {
        let before = line[..position].chars().next_back();
        before.is_none_or(|c| !c.is_alphanumeric() && !"._-/}~*".contains(c))
    })
}

/// Lines of the wanted files that hold one of the words, but for comments and what is allowed in place.
fn forbid(tree: &Tree, rule: &str, words: &[&str], wanted: fn(&SourceFile) -> bool, from_line: fn(&SourceFile) -> usize) -> Vec<Violation> {
    let mut violations = Vec::new();
    for file in tree.files.iter().filter(|file| wanted(file)) {
        for (index, line) in file.text.lines().enumerate().skip(from_line(file)) {
            let code = line.split("//").next().unwrap_or_default();
            if let Some(word) = words.iter().find(|word| code.contains(**word))
                && !is_allowed(file, index, rule)
            {
                violations.push(violation(file, index + 1, format!("has `{}`", word.trim())));
            }
        }
    }
    violations
}

/// `tidy: allow(RULE) because …` on the line or the one above.
fn is_allowed(file: &SourceFile, index: usize, rule: &str) -> bool {
    let marker = format!("tidy: allow({rule}) because ");
    file.text.lines().skip(index.saturating_sub(1)).take(if index == 0 { 1 } else { 2 }).any(|line| line.contains(&marker))
}

fn is_rust(path: &str) -> bool {
    path.ends_with(".rs")
}

fn whole(_: &SourceFile) -> usize {
    0
}

/// The first line of test code: all of a file of tests, else what follows `#[cfg(test)]`. Fixtures are no tests.
fn test_code(file: &SourceFile) -> usize {
    if file.path.starts_with("tests/fixtures/") {
        return usize::MAX;
    }
    if file.path.split('/').any(|segment| segment == "tests" || segment == "tests.rs") {
        return 0;
    }
    file.text.lines().position(|line| line.trim() == "#[cfg(test)]").unwrap_or(usize::MAX)
}

fn violation(file: &SourceFile, line: usize, what: String) -> Violation {
    Violation { path: file.path.clone(), line, what }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tidy::check_rule;

    #[test]
    fn long_files_are_named() {
        let long = "x\n".repeat(MAX_LINES + 1);
        let files = [("host/a.rs", long.as_str()), ("host/b.json", &long), ("docs/c.md", &long), ("wit/d.wit", "x")];
        check_rule(&LENGTH, &files, &["host/a.rs: 801 lines, more than 800"]);
    }

    #[test]
    fn unfinished_code_is_named() {
        let text = format!("fn a() {{ {}) }}\n// {}) in a comment\n", UNFINISHED_WORDS[0], UNFINISHED_WORDS[2]);
        // tidy: allow(unfinished) because it is what the rule must say
        check_rule(&UNFINISHED, &[("host/a.rs", &text), ("docs/a.md", &text)], &["host/a.rs:1: has `todo!(`"]);
    }

    #[test]
    fn ignored_tests_are_named() {
        // tidy: allow(ignored) because it is what the rule must say
        check_rule(&IGNORED, &[("host/a.rs", concat!("#[test]\n#[", "ignore]"))], &["host/a.rs:2: has `#[ignore`"]);
    }

    #[test]
    fn sleeping_is_for_other_code_than_tests() {
        let sleep = format!("std::{}(x);", SLEEPING_WORDS[0]);
        let allowed = format!("// tidy: allow(sleep) because it paces the upstream\n{sleep}");
        let inline = format!("{sleep}\n#[cfg(test)]\nmod tests {{\n{sleep}\n}}");
        check_rule(
            &SLEEP,
            &[
                ("host/src/a.rs", inline.as_str()),
                ("host/src/b.rs", &sleep),
                ("tests/black_box/c.rs", &sleep),
                ("tests/black_box/d.rs", &allowed),
                ("tests/fixtures/spin/src/lib.rs", &sleep),
            ],
            // tidy: allow(sleep) because it is what the rule must say
            &["host/src/a.rs:4: has `thread::sleep`", "tests/black_box/c.rs:1: has `thread::sleep`"],
        );
    }

    #[test]
    fn machine_paths_are_named_at_their_start_only() {
        let folder = MACHINE_FOLDERS[2];
        let text = format!("path = \"{folder}x\"\ntarget{folder}x\nhttps://host{folder}\n");
        check_rule(&MACHINE, &[("host/a.toml", &text)], &[&format!("host/a.toml:1: names `{folder}…`")]);
        let lock = "  \"resolved\": \"x\"";
        check_rule(
            &MACHINE,
            &[("tests/node/package-lock.json", lock)],
            &["tests/node/package-lock.json:1: names a registry's host (npm --omit-lockfile-registry-resolved)"],
        );
    }
}
