//! Go: packages of the standard library, in whole files.

use gosyn::ast::Import;

use super::text::{inserted, line_end, line_start, newline};
use super::{Missing, names};
use crate::Language;
use crate::lex::{self, Kind, Token};

mod tree;

/// Names that packages like to have as a variable, in another file: only where a file needs no other one.
const VARIABLES: &[&str] = &["log"];

/// What is missing; none where something could bring names that is not seen here.
pub fn missing(source: &str) -> Option<Vec<Missing>> {
    let file = gosyn::parse_source(source).ok()?;
    let found = tree::names(&file);
    let packages = names::packages(Language::Go);
    let (mut bound, mut strangers) = (Vec::new(), Vec::new());
    for Import { name, path } in &file.imports {
        let path = path.value.trim_matches(['"', '`']);
        match name.as_ref().map(|n| n.name.as_str()) {
            Some(".") => return None,
            Some(name) => bound.push(name),
            None if packages.iter().any(|(known, _)| *known == path) || path == "C" => bound.push(names::base(path)),
            None => {
                // A package may be called otherwise than its path. Then nothing is used by the path's name.
                let name = names::base(path);
                if !found.uses.contains_key(name) {
                    return None;
                }
                bound.push(name);
                strangers.push(path.to_lowercase());
            }
        }
    }
    let mut missing = Vec::new();
    for (name, uses) in &found.uses {
        let is_bound = bound.contains(name) || found.declared.contains(name) || found.read.contains(name) || found.keys.contains(name);
        if is_bound || strangers.iter().any(|path| path.contains(name)) {
            continue;
        }
        let has_all =
            |path: &str| packages.iter().any(|(known, has)| *known == path && uses.iter().all(|(member, _)| has.contains(member)));
        let mut meant = packages.iter().map(|(path, _)| *path).filter(|path| names::base(path) == *name && has_all(path));
        let (Some(path), None) = (meant.next(), meant.next()) else { continue };
        if VARIABLES.contains(name) && !found.is_whole() {
            continue;
        }
        let at = uses.iter().map(|(_, at)| *at).min().unwrap_or_default();
        // The parser counts characters.
        let at = source.char_indices().nth(at).map_or(source.len(), |(byte, _)| byte);
        missing.push(Missing { name: (*name).into(), from: path.into(), is_member: false, at });
    }
    Some(missing)
}

/// A declaration of imports, as tokens have it.
struct Group<'a> {
    /// Where `import` stands.
    start: usize,
    /// The brackets around several.
    brackets: Option<(usize, usize)>,
    specs: Vec<Spec<'a>>,
}

/// One import.
struct Spec<'a> {
    /// From its name or path to the end of its path.
    start: usize,
    end: usize,
    path: &'a str,
}

/// Adds one, where gofmt and goimports put it. None where the imports stand in a way that nobody writes.
pub fn add(source: &str, missing: &Missing) -> Option<String> {
    let path = missing.from.as_str();
    let nl = newline(source);
    let (package, groups) = groups(source)?;
    // Where C is imported, a comment before it is code.
    let groups: Vec<Group> = groups.into_iter().filter(|g| g.specs.iter().all(|s| s.path != "C")).collect();
    let bracketed = || groups.iter().filter(|g| g.brackets.is_some());
    if let Some(group) = bracketed().find(|g| g.specs.iter().any(|s| is_std(s.path))).or_else(|| bracketed().next()) {
        return in_brackets(source, group, path, nl);
    }
    match &groups[..] {
        [] => {
            let end = line_end(source, package);
            let rest = &source[end..];
            let is_followed = rest.trim_start_matches(['\r', '\n']).len() + 2 * nl.len() <= rest.len() || rest.trim().is_empty();
            let behind = if is_followed { "" } else { nl };
            Some(inserted(source, end, &format!("{nl}{nl}import \"{path}\"{behind}")))
        }
        [one] => {
            let spec = one.specs.first()?;
            let (start, end) = (spec.start, line_end(source, spec.end));
            let kept = &source[start..end];
            let ours = format!("\"{path}\"");
            let (first, between, second) = match (is_std(spec.path), path < spec.path) {
                (false, _) => (ours.as_str(), nl, kept),
                (true, true) => (ours.as_str(), "", kept),
                (true, false) => (kept, "", ours.as_str()),
            };
            let both = format!("import ({nl}\t{first}{nl}{between}\t{second}{nl})");
            Some([&source[..one.start], &both, &source[end..]].concat())
        }
        several => {
            let ours = format!("import \"{path}\"");
            match several.iter().find(|g| g.specs.first().is_some_and(|s| !is_std(s.path) || s.path > path)) {
                // Comments stand before what they are about.
                Some(next) => Some(inserted(source, next.start, &format!("{ours}{nl}"))),
                None => Some(inserted(source, line_end(source, several.last()?.specs.first()?.end), &format!("{nl}{ours}"))),
            }
        }
    }
}

/// Whether a path is one of the standard library: those have no dot in their first part.
fn is_std(path: &str) -> bool {
    !path.split('/').next().unwrap_or_default().contains('.')
}

/// Into the first of the blocks, which empty lines are between, that has the standard library.
fn in_brackets(source: &str, group: &Group, path: &str, nl: &str) -> Option<String> {
    let (open, _) = group.brackets?;
    let specs = &group.specs;
    // One on each line, indented.
    let indent = |spec: &Spec| &source[line_start(source, spec.start)..spec.start];
    if specs.is_empty() {
        return Some(inserted(source, line_end(source, open), &format!("{nl}\t\"{path}\"")));
    }
    if specs.iter().any(|spec| !indent(spec).trim().is_empty() || line_start(source, spec.start) <= open) {
        return None;
    }
    let is_apart = |one: &Spec, other: &Spec| {
        let between = &source[line_end(source, one.end)..other.start];
        between.lines().skip(1).any(|l| l.trim().is_empty() && !l.ends_with(['\t', ' '])) && between.matches('\n').count() > 1
    };
    let Some(block) = specs.chunk_by(|one, other| !is_apart(one, other)).find(|block| block.iter().all(|s| is_std(s.path))) else {
        // One of its own, before all.
        let at = line_end(source, open);
        return Some(inserted(source, at, &format!("{nl}{}\"{path}\"{nl}", indent(&specs[0]))));
    };
    match block.iter().rev().find(|s| s.path < path) {
        Some(before) => Some(inserted(source, line_end(source, before.end), &format!("{nl}{}\"{path}\"", indent(before)))),
        None => {
            let next = block.first()?;
            Some(inserted(source, line_start(source, next.start), &format!("{}\"{path}\"{nl}", indent(next))))
        }
    }
}

/// Where the package clause ends, and the declarations of imports behind it.
fn groups(source: &str) -> Option<(usize, Vec<Group<'_>>)> {
    let all = lex::scan(Language::Go, source);
    // In a line with nothing else.
    let tokens: Vec<&Token> = all.iter().filter(|t| !matches!(t.kind, Kind::Line | Kind::Comment | Kind::Mark(b';'))).collect();
    let text = |n: usize| tokens.get(n).map_or("", |t| &source[t.start..t.end]);
    if text(0) != "package" {
        return None;
    }
    let package = tokens.get(1)?.end;
    let behind = tokens.get(2).map_or(source.len(), |t| t.start);
    if behind <= line_end(source, package) && behind < source.len() {
        return None;
    }
    let (mut n, mut groups) = (2, Vec::new());
    while text(n) == "import" {
        let start = tokens[n].start;
        n += 1;
        let open = tokens.get(n).filter(|t| t.kind == Kind::Open(b'(')).map(|t| t.start);
        n += usize::from(open.is_some());
        let mut specs = Vec::new();
        loop {
            let first = *tokens.get(n)?;
            if matches!(first.kind, Kind::Close(_)) {
                break;
            }
            // A name, `_` or a dot.
            n += usize::from(first.kind != Kind::Text);
            let path = *tokens.get(n).filter(|t| t.kind == Kind::Text)?;
            specs.push(Spec { start: first.start, end: path.end, path: source[path.start..path.end].trim_matches(['"', '`']) });
            n += 1;
            if open.is_none() {
                break;
            }
        }
        let brackets = match open {
            None => None,
            Some(open) => {
                let close = tokens.get(n)?.start;
                n += 1;
                Some((open, close))
            }
        };
        let last = specs.last().map_or(start, |s| s.end);
        // Two on one line.
        if brackets.is_none() && tokens.get(n).is_some_and(|t| t.start <= line_end(source, last)) {
            return None;
        }
        groups.push(Group { start, brackets, specs });
    }
    Some((package, groups))
}
