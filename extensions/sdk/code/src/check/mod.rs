//! Whether code parses, and if not, what is wrong where. One file for each family of languages.

mod data;
mod go;
mod python;
mod rust;
mod script;

use serde::Serialize;

use crate::{Language, depth, lex};

/// What is checked at all.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Longest code, in bytes.
    pub bytes: usize,
    /// How deep it may nest.
    pub depth: usize,
    /// How many problems are told of one piece of code.
    pub diagnostics: usize,
    /// How many bytes parsers read in one repair.
    pub read: usize,
    /// Whether a repair may leave out the last lines: what they say is lost, so only where the code broke off.
    pub cut: bool,
}

/// What a component's stack has room for, with a reserve: see `depth.rs`.
const MAX_DEPTH: usize = 150;

impl Default for Limits {
    fn default() -> Self {
        Self { bytes: 256 << 10, depth: MAX_DEPTH, diagnostics: 5, read: 2 << 20, cut: true }
    }
}

/// What is wrong, and where.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Diagnostic {
    /// The line, from 1.
    pub line: usize,
    /// The character in it, from 1.
    pub column: usize,
    /// What is wrong.
    pub message: String,
    /// The line, and under it a mark at the character.
    pub excerpt: String,
}

/// What came of a check.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// It parses.
    Valid,
    /// It does not.
    Invalid(Vec<Diagnostic>),
    /// It was not looked at; why.
    Unchecked(String),
}

impl Verdict {
    /// Whether it parses.
    pub fn is_valid(&self) -> bool {
        *self == Self::Valid
    }

    /// Whether it was looked at and does not parse.
    pub fn is_invalid(&self) -> bool {
        matches!(self, Self::Invalid(_))
    }
}

/// A problem as parsers tell it: the byte and the message.
pub(crate) struct Problem {
    pub at: usize,
    pub message: String,
}

/// What a parser says.
pub(crate) enum Parsed {
    Good,
    Bad(Vec<Problem>),
    /// It gave up for a reason that is not the code's fault.
    Refused(String),
}

impl Parsed {
    fn bad(at: usize, message: impl Into<String>) -> Self {
        Self::Bad(vec![Problem { at, message: message.into() }])
    }
}

/// How often code is read that is not right: a snippet does not say whether it is a whole file, a module or a script.
pub fn passes(language: Language) -> usize {
    match language {
        Language::JavaScript | Language::TypeScript => 4,
        Language::Go | Language::Python | Language::Rust | Language::Yaml => 2,
        Language::Json | Language::Toml => 1,
    }
}

/// Checks code.
pub fn check(language: Language, source: &str, limits: &Limits) -> Verdict {
    if source.len() > limits.bytes {
        return Verdict::Unchecked(format!("it has {} bytes; up to {} are checked", source.len(), limits.bytes));
    }
    // Parsers of data do not call themselves, or count how deep they are.
    let is_data = matches!(language, Language::Json | Language::Yaml | Language::Toml);
    if !is_data && let Some(at) = depth::exceeds(language, source, &lex::scan(language, source), limits.depth) {
        let line = source[..at].matches('\n').count() + 1;
        return Verdict::Unchecked(format!("it nests deeper than {} levels at line {line}", limits.depth));
    }
    let parsed = match language {
        Language::Go => go::parse(source),
        Language::Python => python::parse(source),
        Language::JavaScript => script::parse(source, false),
        Language::TypeScript => script::parse(source, true),
        Language::Json => data::json(source),
        Language::Yaml => data::yaml(source),
        Language::Toml => data::toml(source),
        Language::Rust => rust::parse(source),
    };
    match parsed {
        Parsed::Good => Verdict::Valid,
        Parsed::Bad(problems) => {
            Verdict::Invalid(problems.into_iter().take(limits.diagnostics.max(1)).map(|p| located(source, p)).collect())
        }
        Parsed::Refused(reason) => Verdict::Unchecked(reason),
    }
}

/// Most characters of an excerpt's line.
const EXCERPT: usize = 120;

/// Characters before the mark that are shown of a line that is too long.
const BEFORE: usize = 60;

pub(crate) fn located(source: &str, problem: Problem) -> Diagnostic {
    let mut at = problem.at.min(source.len());
    while !source.is_char_boundary(at) {
        at -= 1;
    }
    let begin = source[..at].rfind('\n').map_or(0, |n| n + 1);
    let end = source[at..].find('\n').map_or(source.len(), |n| at + n);
    let line = source[begin..end].trim_end_matches('\r');
    let column = source[begin..at].chars().count();
    let skipped = if line.chars().count() > EXCERPT { column.saturating_sub(BEFORE) } else { 0 };
    let shown: String = line.chars().skip(skipped).take(EXCERPT).collect();
    // Tabs stay tabs, so that the mark is under its character however wide they are.
    let indent: String = line.chars().skip(skipped).take(column - skipped).map(|c| if c == '\t' { '\t' } else { ' ' }).collect();
    Diagnostic {
        line: source[..begin].matches('\n').count() + 1,
        column: column + 1,
        message: problem.message,
        excerpt: format!("{shown}\n{indent}^"),
    }
}

/// The byte at a line and a character in it, both from 0.
fn offset(source: &str, line: usize, character: usize) -> usize {
    let mut begin = 0;
    for _ in 0..line {
        match source[begin..].find('\n') {
            Some(n) => begin += n + 1,
            None => return source.len(),
        }
    }
    let rest = &source[begin..];
    let length = rest.find('\n').unwrap_or(rest.len());
    begin + rest[..length].char_indices().nth(character).map_or(length, |(at, _)| at)
}

#[cfg(test)]
mod tests;
