//! `tidy`: the rules of this repository that no other tool checks. Each says why it exists where it fails.

mod docs;
mod layout;
mod security;
mod sources;

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use lexopt::Parser;

use crate::repo::Repo;
use crate::step::{Plan, Step};
use crate::{Finish, no_arguments};

pub const HELP: &str = "\
Usage: cargo xtask tidy

Checks the repository's own rules: paths named in the documentation exist, no file is too long, no unfinished code, no
sleeping or ignored tests, no path or address of one machine, the same files in every extension, every fixture used,
every test there that docs/security.md names.
Each rule says why it exists where it fails.

A line that is right all the same says so on itself or the line above: `tidy: allow(RULE) because …`.
";

/// Folders that are made, not written.
const NOT_OURS: [&str; 4] = [".git", "target", "node_modules", "__pycache__"];

/// A text file of the repository.
#[derive(Debug)]
pub struct SourceFile {
    /// Relative to the root, with `/`.
    pub path: String,
    pub text: String,
}

/// All text files, in the order of their paths.
pub struct Tree {
    pub files: Vec<SourceFile>,
}

/// One rule of the repository: its name, why it exists, and what violates it.
pub struct Rule {
    pub name: &'static str,
    pub reason: &'static str,
    pub check: fn(&Tree) -> Vec<Violation>,
}

#[derive(Debug, PartialEq)]
pub struct Violation {
    pub path: String,
    /// From 1; 0 where the whole file or folder is meant.
    pub line: usize,
    pub what: String,
}

const RULES: [Rule; 9] = [
    docs::PATHS,
    sources::LENGTH,
    sources::UNFINISHED,
    sources::IGNORED,
    sources::SLEEP,
    sources::MACHINE,
    layout::EXTENSIONS,
    layout::FIXTURES,
    security::NAMED_TESTS,
];

pub fn main(repo: &Repo, args: Parser) -> Result<Finish> {
    no_arguments(args)?;
    Plan::new(1).step("tidy", |step| check(repo, step))?;
    Ok(Finish::Done)
}

pub fn check(repo: &Repo, step: &Step) -> Result<()> {
    let tree = Tree::read(&repo.root)?;
    let mut broken = 0;
    for rule in &RULES {
        let violations = (rule.check)(&tree);
        if violations.is_empty() {
            continue;
        }
        broken += 1;
        step.note(&format!("{}: {}", rule.name, rule.reason));
        for violation in &violations {
            step.note(&format!("  {violation}"));
        }
    }
    if broken > 0 {
        bail!("{broken} of {} rules are broken", RULES.len());
    }
    step.note(&format!("{} rules hold in {} files", RULES.len(), tree.files.len()));
    Ok(())
}

impl std::fmt::Display for Violation {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.line {
            0 => write!(f, "{}: {}", self.path, self.what),
            line => write!(f, "{}:{line}: {}", self.path, self.what),
        }
    }
}

impl Tree {
    pub fn read(root: &Path) -> Result<Tree> {
        let mut files = Vec::new();
        collect(root, root, &mut files)?;
        files.sort_by(|a, b| a.path.cmp(&b.path));
        Ok(Tree { files })
    }

    /// Whether a file or folder of this path exists.
    pub fn has(&self, path: &str) -> bool {
        let path = path.trim_end_matches('/');
        self.files.iter().any(|file| file.path.strip_prefix(path).is_some_and(|rest| rest.is_empty() || rest.starts_with('/')))
    }

    /// The names of the folders directly in `folder`.
    pub fn folders_in(&self, folder: &str) -> Vec<&str> {
        let prefix = if folder.is_empty() { String::new() } else { format!("{folder}/") };
        let mut names: Vec<&str> =
            self.files.iter().filter_map(|file| file.path.strip_prefix(prefix.as_str())?.split_once('/')).map(|(name, _)| name).collect();
        names.dedup();
        names
    }
}

/// Files that are not UTF-8 are kept by name, with an empty text.
fn collect(root: &Path, folder: &Path, files: &mut Vec<SourceFile>) -> Result<()> {
    for entry in fs::read_dir(folder).with_context(|| format!("reading {}", folder.display()))? {
        let path: PathBuf = entry?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        if path.is_dir() {
            if !NOT_OURS.contains(&name.as_str()) {
                collect(root, &path, files)?;
            }
            continue;
        }
        let bytes = fs::read(&path).with_context(|| format!("reading {}", path.display()))?;
        let relative = path.strip_prefix(root)?.to_string_lossy().replace('\\', "/");
        files.push(SourceFile { path: relative, text: String::from_utf8(bytes).unwrap_or_default() });
    }
    Ok(())
}

#[cfg(test)]
pub fn tree(files: &[(&str, &str)]) -> Tree {
    let mut files: Vec<SourceFile> =
        files.iter().map(|(path, text)| SourceFile { path: (*path).to_owned(), text: (*text).to_owned() }).collect();
    files.sort_by(|a, b| a.path.cmp(&b.path));
    Tree { files }
}

/// Checks one rule on made-up files; what is expected is `path:line: what`.
#[cfg(test)]
pub fn check_rule(rule: &Rule, files: &[(&str, &str)], expected: &[&str]) {
    let violations: Vec<String> = (rule.check)(&tree(files)).iter().map(ToString::to_string).collect();
    assert_eq!(violations, expected);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tree_knows_its_folders() {
        let tree = tree(&[("README.md", ""), ("a/b/c", ""), ("a/b/d", ""), ("a/e/f", ""), ("a/g", "")]);
        assert_eq!(tree.folders_in("a"), ["b", "e"]);
        assert_eq!(tree.folders_in(""), ["a"]);
        assert!(tree.has("a/b") && tree.has("a/b/") && tree.has("a/b/c") && !tree.has("a/x") && !tree.has("a/b/c/d"));
    }
}
