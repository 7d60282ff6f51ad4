//! Python: modules of the standard library, and names that only one of them has.

mod tree;

use ruff_python_ast::{ModModule, PySourceType, Stmt, StmtImport, StmtImportFrom};
use ruff_python_parser::parse_unchecked_source;
use ruff_text_size::Ranged as _;

use super::text::{inserted, is_blank, line_end, line_start, newline, next_line};
use super::{Missing, names};
use crate::Language;

/// What is missing; none where something could bring names that is not seen here, or where code is a part of something.
pub fn missing(source: &str) -> Option<Vec<Missing>> {
    let module = parse(source)?;
    let found = tree::names(&module)?;
    let packages = names::packages(Language::Python);
    let mut missing = Vec::new();
    for (name, uses) in &found.used {
        if found.bound.contains(name) || names::is_python_builtin(name) {
            continue;
        }
        let has_all = |has: &dyn Fn(&str) -> bool| uses.members.iter().all(|member| has(member));
        let at = uses.at;
        let one = |from: &str, is_member| Missing { name: (*name).into(), from: from.into(), is_member, at };
        let known = packages.iter().find(|(module, _)| module == name);
        if known.is_some_and(|(_, has)| !uses.members.is_empty() && has_all(&|m| has.contains(m))) {
            missing.push(one(name, false));
        } else if *name == "datetime" && !uses.members.is_empty() && has_all(&|m| names::PYTHON_DATETIME.contains(&m)) {
            missing.push(one("datetime", true));
        } else if let Some((module, _)) = names::PYTHON_NAMES.iter().find(|(_, has)| has.split(' ').any(|n| n == *name))
            && (!names::PYTHON_LONELY.contains(name) || !found.has_strangers)
        {
            missing.push(one(module, true));
        } else {
            // It has names from elsewhere: a part of something, whose imports are elsewhere too.
            return None;
        }
    }
    Some(missing)
}

fn parse(source: &str) -> Option<ModModule> {
    let parsed = parse_unchecked_source(source, PySourceType::Python);
    parsed.errors().is_empty().then(|| parsed.into_syntax())
}

/// Adds one, where isort and ruff put it. None where the imports stand in a way that nobody writes.
pub fn add(source: &str, missing: &Missing) -> Option<String> {
    let module = parse(source)?;
    let top = Top::of(source, &module)?;
    let (from, nl) = (missing.from.as_str(), newline(source));
    if missing.is_member
        && let Some(line) = top.imports.iter().find_map(|s| s.as_import_from_stmt().filter(|s| is_from(s, from)))
    {
        return Some(named(source, line, &missing.name));
    }
    let ours = if missing.is_member { format!("from {from} import {}", missing.name) } else { format!("import {from}") };
    let blocks = blocks(source, &top.imports);
    let is_future = |s: &Stmt| s.as_import_from_stmt().is_some_and(|s| is_from(s, "__future__"));
    if let Some(block) = blocks.iter().find(|block| block.iter().all(|s| is_std(s) && !is_future(s))) {
        // All `import` before all `from`, and both by their modules.
        let key = |s: &Stmt| (s.is_import_from_stmt(), module_of(s).to_lowercase());
        let our_key = (missing.is_member, from.to_lowercase());
        return Some(match block.iter().rev().find(|s| key(s) < our_key) {
            Some(before) => inserted(source, line_end(source, before.end().to_usize()), &format!("{nl}{ours}")),
            None => inserted(source, line_start(source, block.first()?.start().to_usize()), &format!("{ours}{nl}")),
        });
    }
    if let Some(first) = top.imports.iter().find(|s| !is_future(s)) {
        // Before those of others, as a block of its own; where they stand at all.
        return Some(inserted(source, line_start(source, first.start().to_usize()), &format!("{ours}{nl}{nl}")));
    }
    let at = match top.imports.last() {
        Some(future) => line_end(source, future.end().to_usize()),
        None => match top.docstring {
            Some(end) => line_end(source, end),
            None => match head(source, module.body.first()?.start().to_usize()) {
                Some(end) => end,
                None => return Some(format!("{ours}{nl}{}{source}", distance(0, &module, nl))),
            },
        },
    };
    // What stood behind keeps its distance.
    let next = next_line(source, at);
    let behind = if next < source.len() && is_blank(source, next) { String::new() } else { distance(at, &module, nl) };
    Some(inserted(source, at, &format!("{nl}{nl}{ours}{behind}")))
}

/// The empty lines before what follows: two before functions and classes.
fn distance(at: usize, module: &ModModule, nl: &str) -> String {
    let next = module.body.iter().find(|s| s.start().to_usize() >= at);
    let lines = next.map_or(0, |next| if matches!(next, Stmt::FunctionDef(_) | Stmt::ClassDef(_)) { 2 } else { 1 });
    nl.repeat(lines)
}

/// What a module begins with.
struct Top<'a> {
    /// Where its text about itself ends.
    docstring: Option<usize>,
    /// Its first imports, with nothing between them.
    imports: Vec<&'a Stmt>,
}

impl<'a> Top<'a> {
    fn of(source: &str, module: &'a ModModule) -> Option<Self> {
        let is_text = |s: &Stmt| s.as_expr_stmt().is_some_and(|s| s.value.is_string_literal_expr());
        let docstring = module.body.first().filter(|s| is_text(s)).map(|s| s.end().to_usize());
        let rest = module.body.iter().skip(usize::from(docstring.is_some()));
        let imports: Vec<&Stmt> = rest.take_while(|s| s.is_import_stmt() || s.is_import_from_stmt()).collect();
        // One on each line.
        let ends = |end: usize| {
            let behind = source[end..line_end(source, end)].trim_start();
            behind.is_empty() || behind.starts_with('#')
        };
        let alone = |s: &&Stmt| s.start().to_usize() == line_start(source, s.start().to_usize()) && ends(s.end().to_usize());
        (imports.iter().all(alone) && docstring.is_none_or(ends)).then_some(Self { docstring, imports })
    }
}

/// Imports with empty lines between them.
fn blocks<'a, 'b>(source: &str, imports: &'b [&'a Stmt]) -> Vec<&'b [&'a Stmt]> {
    let is_apart = |one: &Stmt, other: &Stmt| {
        let between = &source[line_end(source, one.end().to_usize())..other.start().to_usize()];
        between.lines().skip(1).any(|l| l.trim().is_empty())
    };
    imports.chunk_by(|one, other| !is_apart(one, other)).collect()
}

/// Where the comments end that a file without text about itself begins with: its first line for the system, its encoding, its licence. None
/// where there are none, or all are about the first statement.
fn head(source: &str, first: usize) -> Option<usize> {
    let (mut at, mut kept) = (0, None);
    while at < first && source[at..].starts_with('#') {
        let end = line_end(source, at);
        let line = &source[at..end];
        let is_for_machines = line.starts_with("#!") || line.contains("coding:") || line.contains("coding=");
        at = next_line(source, at);
        if is_for_machines || (at < source.len() && is_blank(source, at)) {
            kept = Some(end);
        }
    }
    kept
}

/// The line with one name more, in the order that isort has: constants, classes, the rest.
fn named(source: &str, line: &StmtImportFrom, name: &str) -> String {
    let rank = |name: &str| {
        let is_constant = name.len() > 1 && name.chars().all(|c| !c.is_lowercase());
        let is_class = name.starts_with(char::is_uppercase);
        (
            if is_constant {
                0
            } else if is_class {
                1
            } else {
                2
            },
            name.to_lowercase(),
        )
    };
    let own_line = |at: usize| {
        let start = line_start(source, at);
        source[start..at].trim().is_empty().then(|| &source[start..at])
    };
    let nl = newline(source);
    match line.names.iter().find(|alias| rank(&alias.name) > rank(name)) {
        Some(next) => {
            let at = next.start().to_usize();
            let between = own_line(at).map_or(" ".to_owned(), |indent| format!("{nl}{indent}"));
            inserted(source, at, &format!("{name},{between}"))
        }
        None => {
            let Some(last) = line.names.last() else { return source.to_owned() };
            let between = own_line(last.start().to_usize()).map_or(" ".to_owned(), |indent| format!("{nl}{indent}"));
            inserted(source, last.end().to_usize(), &format!(",{between}{name}"))
        }
    }
}

/// Whether names are imported from this module, one by one.
fn is_from(statement: &StmtImportFrom, module: &str) -> bool {
    let all = statement.names.iter().any(|alias| alias.name.as_str() == "*");
    statement.level == 0 && statement.module.as_ref().is_some_and(|m| m.as_str() == module) && !all
}

/// The module that a statement imports, or the first of them.
fn module_of(statement: &Stmt) -> &str {
    match statement {
        Stmt::Import(StmtImport { names, .. }) => names.first().map_or("", |alias| alias.name.as_str()),
        Stmt::ImportFrom(StmtImportFrom { module, .. }) => module.as_ref().map_or("", |m| m.as_str()),
        _ => "",
    }
}

fn is_std(statement: &Stmt) -> bool {
    let is_relative = statement.as_import_from_stmt().is_some_and(|s| s.level > 0);
    !is_relative && names::is_python_std(module_of(statement))
}
