//! Imports of the standard library: real files have theirs, and get one back that was taken away.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use wasmgate_code::{Language, check, complete};

use super::damage::Dice;
use super::figures::{DAMAGES, limits, write};
use super::sources::Environment;
use wasmgate_tests::repo;

/// Files of each language: more than for other figures, for many have no import that could be taken away.
const FILES: usize = 2800;

/// Files that lack an import, and why nobody notices.
const LACKING: &[&str] = &[
    // A test of annotations: that of a variable in a function is never looked up.
    "test/typinganndata/ann_module.py",
    "test/ann_module.py",
    // `unittest.main` where nobody starts it.
    "distutils/tests/test_versionpredicate.py",
];

/// What was found for a language.
#[derive(Debug)]
pub struct Figures {
    /// Files that have what they need.
    pub files: usize,
    /// Those of them that were changed.
    pub unasked: usize,
    /// Imports that were taken away.
    pub removed: usize,
    /// Those that came back.
    pub restored: usize,
    /// Those that came back to where they were.
    pub same: usize,
}

impl Figures {
    /// What may be promised.
    pub fn hold(&self, language: Language) {
        let Self { unasked, removed, restored, .. } = self;
        assert_eq!(*unasked, 0, "{language}: imports were added to files that need none");
        assert!(*removed >= DAMAGES && restored * 100 >= removed * 60, "{language}: {restored} of {removed} imports were restored");
    }
}

/// What the tables of `wasmgate-code` say packages have, they have. Another Python than that of the table has a few names less.
#[test]
fn sdk_validation_tables_are_true() {
    let Some(environment) = Environment::find() else { return };
    let tables = ["go.txt", "python.txt"].map(|name| repo::path("extensions/sdk/code/src/imports").join(name));
    assert_eq!(environment.script(TABLES, &tables), "");
}

/// Prints what is in a table and not in its library.
const TABLES: &str = r"
import glob, importlib, re, sys
def table(path):
    packages, lines = {}, [l for l in open(path) if not l.startswith('#')]
    for line in lines:
        words = line.split()
        if not line.startswith(' '):
            name = words.pop(0)
        packages.setdefault(name, []).extend(words)
    return packages
for package, names in table(sys.argv[2]).items():
    files = [f for f in glob.glob(f'{sys.argv[1]}/{package}/*.go') if not f.endswith('_test.go')]
    code = ' '.join(open(f, encoding='utf-8').read() for f in files)
    print(*(f'{package}.{n} ' for n in set(names) - set(re.findall(r'\w+', code)) if package != 'unsafe'), end='')
# What is there on another system, in a packed program, or while somebody types.
ELSEWHERE = {('os', 'startfile'), ('sys', '_MEIPASS'), ('sys', 'getwindowsversion')}
ELSEWHERE |= {('sys', n) for n in ('ps1', 'ps2', 'last_type', 'last_value', 'last_traceback')}
if sys.version_info[:2] == (3, 11):
    for module, names in table(sys.argv[3]).items():
        found = importlib.import_module(module)
        print(*(f'{module}.{n} ' for n in names if not hasattr(found, n) and (module, n) not in ELSEWHERE), end='')
";

/// None where no imports are added.
pub fn figures(environment: &Environment, language: Language, folder: &Path) -> Option<Figures> {
    if !matches!(language, Language::Go | Language::Python | Language::Rust) {
        return None;
    }
    let (mut good, _) = environment.files(language, FILES);
    good.retain(|source| check(language, &source.text, &limits()).is_valid() && !LACKING.iter().any(|path| source.path.ends_with(path)));
    let mut unasked = 0;
    for source in &good {
        if let Some(completed) = complete(language, &source.text, &limits()).0 {
            unasked += 1;
            eprintln!("{}: {:?}", source.path.display(), completed.fixes);
        }
    }
    let mut dice = Dice::new(language);
    // Lines that could go, of files that the language's own parser takes.
    let (mut taken, mut places) = (BTreeSet::new(), Vec::new());
    for _ in 0..DAMAGES * 40 {
        let number = dice.below(good.len());
        let source = &good[number];
        let lines = removable(language, &source.text);
        if lines.is_empty() {
            continue;
        }
        let (start, end) = lines[dice.below(lines.len())];
        if !taken.insert((number, start)) {
            continue;
        }
        places.push((source, start, end));
        if places.len() == DAMAGES * 2 {
            break;
        }
    }
    let paths: Vec<PathBuf> = places.iter().map(|(source, ..)| source.path.clone()).collect();
    let said = environment.judge(language, &paths);
    let places: Vec<_> = places.into_iter().zip(said).filter(|(_, good)| *good).map(|(place, _)| place).take(DAMAGES).collect();
    let mut results = Vec::new();
    for (source, start, end) in &places {
        let (text, line) = ([&source.text[..*start], &source.text[*end..]].concat(), &source.text[*start..*end]);
        match complete(language, &text, &limits()).0 {
            Some(completed) if completed.fixes.len() == 1 => results.push((completed.code, source, line)),
            other => eprintln!("{language}: not restored: {} {:?} {:?}", source.path.display(), line.trim(), other.map(|c| c.fixes)),
        }
    }
    let texts: Vec<String> = results.iter().map(|(code, ..)| code.clone()).collect();
    let said = environment.judge(language, &write(folder, language, &texts));
    let (mut restored, mut same) = (0, 0);
    for ((code, source, line), good) in results.iter().zip(said) {
        let once = code.lines().filter(|l| imported(language, l) == imported(language, line)).count() == 1;
        restored += usize::from(good && once);
        same += usize::from(*code == source.text);
        if !(good && once) {
            eprintln!("{language}: wrong: {} {line:?} {good} {once}", source.path.display());
        }
    }
    Some(Figures { files: good.len(), unasked, removed: places.len(), restored, same })
}

/// Lines that import one name of the standard library which the file uses, and which no other line imports. None where nothing is certain:
/// something brings names without saying which, or Rust may be without `std`.
fn removable(language: Language, text: &str) -> Vec<(usize, usize)> {
    let wild = |line: &str| match language {
        Language::Go => line.trim_start().trim_start_matches("import ").starts_with(". \""),
        Language::Python => line.starts_with("from ") && line.ends_with("import *"),
        _ => line.contains("::*") || ["use core::", "use alloc::", "#![no_std", "extern crate alloc"].iter().any(|c| line.contains(c)),
    };
    if text.lines().any(wild) {
        return Vec::new();
    }
    let (mut at, mut lines) = (0, Vec::new());
    for line in text.split_inclusive('\n') {
        let start = at;
        at += line.len();
        let Some((name, is_qualifier)) = imported(language, line) else { continue };
        let rest = [&text[..start], &text[at..]].concat();
        let used = if is_qualifier { format!("{name}{}", if language == Language::Rust { "::" } else { "." }) } else { name.clone() };
        let is_imported = |other: &str| {
            imported(language, if language == Language::Python { other.trim_start() } else { other })
                .is_some_and(|(other, _)| other == name)
        };
        // Where the line is code and not a text.
        if uses(&rest, &used) && !rest.lines().any(is_imported) {
            lines.push((start, at));
        }
    }
    lines
}

/// Whether code has a name, and not as a part of another one.
fn uses(text: &str, name: &str) -> bool {
    let code = text.lines().filter(|l| !l.trim_start().starts_with(['#', '/', '*']) && !l.trim_start().starts_with("use "));
    code.flat_map(|line| line.match_indices(name).map(move |(at, _)| &line[..at]))
        .any(|before| !before.ends_with(|c: char| c.is_alphanumeric() || "_.\"'`:".contains(c)))
}

/// The name that a line imports, and whether something stands behind it wherever it is used.
fn imported(language: Language, line: &str) -> Option<(String, bool)> {
    let line = line.trim_end();
    match language {
        Language::Go => {
            let path = line.strip_prefix("import ").or(line.strip_prefix('\t'))?.strip_prefix('"')?.strip_suffix('"')?;
            let is_public = !path.contains('.') && path.split('/').all(|part| part != "internal" && part != "vendor" && part != "cmd");
            let plain = path.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'/');
            (is_public && plain && path != "C").then(|| (path.rsplit('/').next().unwrap_or(path).to_owned(), true))
        }
        Language::Python => {
            let module = line.strip_prefix("import ")?;
            module.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_').then(|| (module.to_owned(), true))
        }
        _ => {
            let path = line.strip_prefix("use std::")?.strip_suffix(';')?;
            let plain = path.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b':');
            let name = path.rsplit(':').next()?;
            plain.then(|| (name.to_owned(), name.starts_with(char::is_lowercase)))
        }
    }
}
