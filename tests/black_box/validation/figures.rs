//! How good the checks and repairs of `wasmgate-code` are, on real files. `docs/reference/validation.md` is made here
//! (`WRITE_REFERENCE=1`).
//!
//! What a file is, another parser says: Python's own, Node, the TypeScript compiler, gofmt, rustc, PyYAML. Only files that it takes count
//! as good, and
//! only mutations that it refuses count as broken.

use std::path::{Path, PathBuf};

use wasmgate_code::{Language, Limits, Verdict, check, repair};
use wasmgate_tests::repo;

use super::damage::{Dice, damage, mutation};
use super::imports;
use super::sources::{Environment, Source};

/// Files of each language, at least, and as many as are taken.
const LEAST: usize = 500;
const FILES: usize = 700;

/// Broken files of each language.
const MUTATIONS: usize = 1000;

/// Damages of each language.
pub const DAMAGES: usize = 250;

/// Longer files are not damaged: answers are not that long.
const DAMAGED: usize = 12_000;

/// What was found for a language.
#[derive(Debug)]
struct Figures {
    language: Language,
    from: &'static str,
    files: usize,
    alarms: usize,
    broken: usize,
    caught: usize,
    damages: usize,
    repaired: usize,
    imports: Option<imports::Figures>,
}

pub fn limits() -> Limits {
    Limits { bytes: 1 << 20, ..Limits::default() }
}

#[test]
fn sdk_validation_figures() {
    let Some(environment) = Environment::find() else { return };
    let folder = tempfile::tempdir().expect("a temporary folder");
    let mut all = Vec::new();
    for language in Language::ALL {
        let (sources, from) = environment.files(language, FILES);
        let good = good(&environment, language, sources);
        assert!(good.len() >= LEAST, "{language}: {} files", good.len());
        let alarms = alarms(language, &good);
        let (broken, caught) = mutations(&environment, language, &good, folder.path());
        let (damages, repaired) = damages(&environment, language, &good, folder.path());
        let imports = imports::figures(&environment, language, folder.path());
        all.push(Figures { language, from, files: good.len(), alarms, broken, caught, damages, repaired, imports });
        eprintln!("{:?}", all[all.len() - 1]);
    }
    for figures in &all {
        let Figures { language, files, alarms, broken, caught, damages, repaired, .. } = figures;
        assert!(alarms * 200 <= *files, "{language}: more than 0.5 % false alarms: {alarms} of {files}");
        assert!(*broken >= MUTATIONS && caught * 100 >= broken * 95, "{language}: {caught} of {broken} mutations were caught");
        assert!(repaired * 100 >= damages * 60, "{language}: {repaired} of {damages} damages were repaired");
        if let Some(imports) = &figures.imports {
            imports.hold(*language);
        }
    }
    compare(&all);
}

/// Those that the other parser takes.
fn good(environment: &Environment, language: Language, sources: Vec<Source>) -> Vec<Source> {
    let paths: Vec<PathBuf> = sources.iter().map(|s| s.path.clone()).collect();
    let said = environment.judge(language, &paths);
    sources.into_iter().zip(said).filter(|(_, good)| *good).map(|(source, _)| source).collect()
}

fn alarms(language: Language, good: &[Source]) -> usize {
    let mut alarms = 0;
    for source in good {
        match check(language, &source.text, &limits()) {
            // Nothing that is good is ever changed.
            Verdict::Valid => assert_eq!(repair(language, &source.text, &limits()).0, None, "{}", source.path.display()),
            // Not to be looked at is no answer either.
            other => {
                alarms += 1;
                eprintln!("false alarm: {}: {other:?}", source.path.display());
            }
        }
    }
    alarms
}

/// How many mutations break their file, and how many of those are caught.
fn mutations(environment: &Environment, language: Language, good: &[Source], folder: &Path) -> (usize, usize) {
    let mut dice = Dice::new(language);
    let (mut broken, mut caught, mut shown) = (0, 0, 0);
    for _ in 0..8 {
        let texts: Vec<String> = (0..MUTATIONS / 2).map(|_| mutation(language, &good[dice.below(good.len())].text, &mut dice)).collect();
        let said = environment.judge(language, &write(folder, language, &texts));
        for (text, _) in texts.iter().zip(said).filter(|(_, good)| !good) {
            if broken == MUTATIONS {
                break;
            }
            broken += 1;
            if check(language, text, &limits()).is_invalid() {
                caught += 1;
            } else if shown < 5 {
                shown += 1;
                eprintln!("{language}: not caught: {}", shown_difference(good, text));
            }
        }
        if broken == MUTATIONS {
            break;
        }
    }
    (broken, caught)
}

/// Where a mutation differs from the file that it was made from.
fn shown_difference(good: &[Source], text: &str) -> String {
    let same = |source: &&Source| source.text.bytes().zip(text.bytes()).take_while(|(a, b)| a == b).count();
    let Some(source) = good.iter().max_by_key(same) else { return String::new() };
    let line = source.text[..].lines().zip(text.lines()).find(|(a, b)| a != b);
    format!("{}: {line:?}", source.path.display())
}

/// How many damages there are that break their file, and how many are repaired: what comes out, the other parser takes too.
fn damages(environment: &Environment, language: Language, good: &[Source], folder: &Path) -> (usize, usize) {
    let mut dice = Dice::new(language);
    let short: Vec<&Source> = good.iter().filter(|s| s.text.len() < DAMAGED).collect();
    let (mut number, mut made, mut results) = (0, 0, Vec::new());
    while made < DAMAGES && number < DAMAGES * 8 {
        let (kind, text) = damage(&short[dice.below(short.len())].text, language.name(), number, &mut dice);
        number += 1;
        if !check(language, &text, &limits()).is_invalid() {
            continue;
        }
        made += 1;
        match repair(language, &text, &limits()).0 {
            Some(repaired) => results.push(repaired.code),
            None if kind != "cut off" => eprintln!("{language}: not repaired: {kind}"),
            None => {}
        }
    }
    let said = environment.judge(language, &write(folder, language, &results));
    (made, said.into_iter().filter(|good| *good).count())
}

pub fn write(folder: &Path, language: Language, texts: &[String]) -> Vec<PathBuf> {
    let ending = match language {
        Language::Go => "go",
        Language::Python => "py",
        Language::JavaScript => "js",
        Language::TypeScript => "ts",
        Language::Rust => "rs",
        other => other.name(),
    };
    let write = |(number, text): (usize, &String)| {
        let path = folder.join(format!("{number}.{ending}"));
        std::fs::write(&path, text).expect("a file");
        path
    };
    texts.iter().enumerate().map(write).collect()
}

const PAGE: &str = "docs/reference/validation.md";

/// The page says what was measured. On another machine Python's library is another one, so figures may differ a little.
fn compare(all: &[Figures]) {
    let made = page(all);
    if std::env::var_os("WRITE_REFERENCE").is_some_and(|v| v == "1") {
        std::fs::write(repo::path(PAGE), &made).expect("the page is written");
        return;
    }
    let told = std::fs::read_to_string(repo::path(PAGE)).expect("the page");
    let (rows, told_rows) = (rows(&made), rows(&told));
    assert_eq!(rows.len(), told_rows.len(), "{PAGE} has other languages; WRITE_REFERENCE=1 writes it");
    for (row, told) in rows.iter().zip(&told_rows) {
        let near = row.1.iter().zip(&told.1).all(|(a, b)| (a - b).abs() <= 3.0);
        assert!(row.0 == told.0 && near, "{PAGE} says {told:?}, found was {row:?}; WRITE_REFERENCE=1 writes it anew");
    }
}

/// Of each row the language and the percentages.
fn rows(page: &str) -> Vec<(String, Vec<f64>)> {
    let cells = |line: &str| line.split('|').map(|cell| cell.trim().to_owned()).collect::<Vec<_>>();
    page.lines()
        .filter(|line| line.starts_with('|') && line.contains('%'))
        .map(|line| {
            let cells = cells(line);
            let share = |cell: &String| cell.strip_suffix(" %")?.parse().ok();
            (cells[1].clone(), cells.iter().filter_map(share).collect())
        })
        .collect()
}

fn page(all: &[Figures]) -> String {
    let share = |part: usize, whole: usize| format!("{:.1} %", part as f64 * 100.0 / whole.max(1) as f64);
    let mut text = String::from(HEAD);
    for f in all {
        text.push_str(&format!(
            "| {} | {} | {} | {} | {} | {} | {} | {} |\n",
            f.language,
            f.from,
            f.files,
            share(f.alarms, f.files),
            f.broken,
            share(f.caught, f.broken),
            f.damages,
            share(f.repaired, f.damages),
        ));
    }
    text.push_str(TAIL);
    for (language, imports) in all.iter().filter_map(|f| Some((f.language, f.imports.as_ref()?))) {
        let imports::Figures { files, unasked, removed, restored, same } = imports;
        text.push_str(&format!(
            "| {language} | {files} | {} | {removed} | {} | {} |\n",
            share(*unasked, *files),
            share(*restored, *removed),
            share(*same, *removed)
        ));
    }
    text.push_str(IMPORTS);
    text
}

const HEAD: &str = "\
# Validation in figures

Made by `tests/black_box/validation/figures.rs` (`WRITE_REFERENCE=1` writes it anew), which also refuses more than 0.5 % false alarms, less than 95 %
caught and less than 60 % repaired.

| language | files from | files | false alarms | mutations | caught | damages | repaired |
|---|---|--:|--:|--:|--:|--:|--:|
";

const TAIL: &str = "
**Files** are taken by a hash of their names from what packages ship, 200 to 100,000 bytes long. A file is good when the language's own parser takes it:
gofmt, Python's `ast`, `json` and `tomllib`, Node (as a script, a CommonJS module or a module), the TypeScript compiler, rustc's parser, PyYAML. A good file that
does not pass, or is not looked at because it nests too deep, is a **false alarm**.

**Mutations** are one small change to a good file, from a seed, outside of comments: a bracket or a quote that goes, comes twice or is another one, a separator that
goes, the end that goes. Only those count that the same parser refuses: so a mutation that is none (a quote that only makes a text longer) is not held against
anybody, and what is not caught is code that one parser takes and the language's own does not.

**Damages** are files of up to 12,000 bytes that were cut off at random, or have fences and sentences around them, as far as they break the file. A repair counts
when the language's own parser takes what comes out. None of the good files is changed by a repair.

## Imports

| language | files | changed | imports removed | restored | as they were |
|---|--:|--:|--:|--:|--:|
";

const IMPORTS: &str = "
Files, from the same packages, have what they need, so none may be **changed** (two of Python's own lack an import that nobody notices; they are left out). From 250 places one import of the standard library was **removed**, by a seed: a line
that brings one name, which the file uses and no other line imports. Files are left out in which nothing is certain: those with a wildcard import, and of Rust those
that name `core` or `alloc`. An import is **restored** when the file has it again, once and nothing else, and the language's own parser takes it (at least 60 %);
**as they were** are those that are the original file, byte for byte. What is not restored is left alone, because the file does not say for certain which one is meant. The rules and tables
were made with a look at what failed of these files, so expect less of others.
";
