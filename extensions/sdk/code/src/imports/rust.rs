//! Rust: types, traits and modules of `std` that are not in its prelude, in whole files.

mod tree;

use proc_macro2::{Delimiter, Spacing, TokenStream, TokenTree};
use syn::File;

use super::text::{inserted, line_end, line_start, newline};
use super::{Missing, names};

/// What is missing; none where something could bring names that is not seen here, or where code is a part of something.
pub fn missing(source: &str) -> Option<Vec<Missing>> {
    let file = parse(source)?.1;
    let found = tree::names(&file)?;
    let has_others = found.roots.iter().any(|root| names::RUST_OTHERS.contains(&root.as_str()));
    let mut missing = Vec::new();
    for (name, uses) in &found.used {
        if found.bound.contains(name) || (has_others && names::RUST_SHARED.contains(&name.as_str())) {
            continue;
        }
        let known = names::RUST_NAMES.iter().find(|(_, has)| has.split(' ').any(|n| n == name));
        let module = names::RUST_MODULES.iter().find(|(module, _)| module == name);
        let from = match (known, module) {
            (Some((path, _)), _) => format!("{path}::{name}"),
            // By itself it would be another thing.
            (None, Some((_, has))) if uses.members.iter().all(|m| m.as_ref().is_some_and(|m| has.split(' ').any(|n| n == m))) => {
                format!("std::{name}")
            }
            (None, None) if name == "Ordering" && uses.members.iter().any(Option::is_some) => {
                let has_all = |has: &str| uses.members.iter().flatten().all(|m| has.split(' ').any(|n| n == m));
                let Some((path, _)) = names::RUST_ORDERINGS.iter().find(|(_, has)| has_all(has)) else { continue };
                (*path).to_owned()
            }
            _ => continue,
        };
        missing.push(Missing { name: name.clone(), from, is_member: false, at: uses.at });
    }
    Some(missing)
}

/// A whole file, as tokens and as a tree. A script's first line is no Rust.
fn parse(source: &str) -> Option<(TokenStream, File)> {
    if source.starts_with("#!") && !source[2..].trim_start().starts_with('[') || source.starts_with('\u{feff}') {
        return None;
    }
    let tokens: TokenStream = source.parse().ok()?;
    let file = syn::parse2(tokens.clone()).ok()?;
    Some((tokens, file))
}

/// A `use` at the top of a file.
struct Use<'a> {
    start: usize,
    end: usize,
    path: &'a str,
    /// Whether anything but the path stands in it.
    is_plain: bool,
}

/// Adds one, where rustfmt puts it. None where the file begins in a way that nobody writes.
pub fn add(source: &str, missing: &Missing) -> Option<String> {
    let (tokens, _) = parse(source)?;
    let (first, uses) = top(source, tokens)?;
    let nl = newline(source);
    let ours = format!("use {};", missing.from);
    let is_std = |path: &str| ["std::", "core::", "alloc::"].iter().any(|root| path.starts_with(root));
    let is_apart = |one: &Use, other: &Use| source[one.end..other.start].trim_matches([' ', '\t', '\r']).len() > 1;
    if let Some(block) = uses.chunk_by(|one, other| !is_apart(one, other)).find(|block| block.iter().any(|u| is_std(u.path) && u.is_plain))
    {
        let our_key = key(&missing.from);
        return Some(match block.iter().rev().find(|u| key(u.path) < our_key) {
            Some(before) => inserted(source, line_end(source, before.end), &format!("{nl}{ours}")),
            None => inserted(source, line_start(source, block.first()?.start), &format!("{ours}{nl}")),
        });
    }
    let at = uses.first().map_or(first, |u| u.start);
    let at = line_start(source, at);
    // Comments stand before what they are about.
    let at = above(source, at);
    Some(inserted(source, at, &format!("{ours}{nl}{nl}")))
}

/// Where the comments begin that stand above a line without an empty line between.
fn above(source: &str, mut at: usize) -> usize {
    while at > 0 {
        let before = line_start(source, at - 1);
        if !source[before..at].trim_start().starts_with("//") || source[before..at].trim_start().starts_with("//!") {
            break;
        }
        at = before;
    }
    at
}

/// How rustfmt sorts: part by part, names in small letters before others.
fn key(path: &str) -> Vec<(u8, String)> {
    let rank = |part: &str| match part {
        "self" => 0,
        "super" => 1,
        "crate" => 2,
        part if part.starts_with('{') => 5,
        part if part.starts_with(char::is_uppercase) => 4,
        _ => 3,
    };
    path.split("::").map(|part| (rank(part.trim()), part.trim().to_owned())).collect()
}

/// Where the first item begins that is no attribute of the file, and the first run of `use`, with nothing but `extern crate` and `mod a;`
/// before it.
fn top(source: &str, tokens: TokenStream) -> Option<(usize, Vec<Use<'_>>)> {
    let trees: Vec<TokenTree> = tokens.into_iter().collect();
    let mut n = 0;
    while is_mark(trees.get(n), '#') && is_mark(trees.get(n + 1), '!') {
        n += 3;
    }
    let (mut first, mut uses) = (None, Vec::new());
    while n < trees.len() {
        let begin = n;
        while is_mark(trees.get(n), '#') {
            n += 2;
        }
        let has_attributes = n > begin;
        let head = n;
        if is_word(trees.get(n), "pub") {
            n += 1;
            n += usize::from(matches!(trees.get(n), Some(TokenTree::Group(group)) if group.delimiter() == Delimiter::Parenthesis));
        }
        let is_use = is_word(trees.get(n), "use");
        let is_other = is_word(trees.get(n), "extern") && is_word(trees.get(n + 1), "crate")
            || is_word(trees.get(n), "mod") && is_mark(trees.get(n + 2), ';');
        let semicolon = || trees[n..].iter().position(|tree| is_mark(Some(tree), ';')).map(|m| n + m);
        let (start, Some(last)) = (trees[begin].span().byte_range().start, (is_use || is_other).then(semicolon).flatten()) else {
            first = first.or(Some(trees[begin].span().byte_range().start));
            break;
        };
        let (behind, end) = (trees[n].span().byte_range().end, trees[last].span().byte_range().start);
        if source[line_start(source, start)..start].trim() != ""
            || source[end + 1..line_end(source, end)].trim_start().starts_with(|c| c != '/')
        {
            return None;
        }
        if is_use {
            let path = source[behind..end].trim();
            first = first.or(Some(start));
            uses.push(Use { start, end: end + 1, path, is_plain: !has_attributes && head == n });
        } else if !uses.is_empty() {
            break;
        } else if is_word(trees.get(n), "mod") {
            // `use` before `mod`, where there is no other.
            first = first.or(Some(start));
        }
        n = last + 1;
    }
    Some((first.unwrap_or(source.len()), uses))
}

fn is_mark(tree: Option<&TokenTree>, mark: char) -> bool {
    matches!(tree, Some(TokenTree::Punct(punct)) if punct.as_char() == mark && (mark != ';' || punct.spacing() == Spacing::Alone))
}

fn is_word(tree: Option<&TokenTree>, word: &str) -> bool {
    matches!(tree, Some(TokenTree::Ident(ident)) if ident == word)
}
