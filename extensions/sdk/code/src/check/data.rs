//! JSON, YAML and TOML.

use std::collections::BTreeSet;

use saphyr_parser::Parser;
use serde::de::IgnoredAny;
use toml::de::DeTable;

use super::{Parsed, Problem, offset};
use crate::Language;
use crate::lex::{self, Kind};

/// The mark at the beginning of a file that says which encoding it has.
const BYTE_ORDER_MARK: char = '\u{feff}';

/// JSON (RFC 8259): one value.
pub fn json(source: &str) -> Parsed {
    let text = source.trim_start_matches(BYTE_ORDER_MARK);
    match serde_json::from_str::<IgnoredAny>(text) {
        Ok(_) => Parsed::Good,
        Err(error) => {
            // The line counts from 1, the column is the number of bytes that were read of it.
            let begin = offset(text, error.line().saturating_sub(1), 0);
            let read = begin + error.column().saturating_sub(1);
            let message = error.to_string();
            let message = message.rsplit_once(" at line ").map_or(message.as_str(), |(m, _)| m);
            let at = source.len() - text.len() + read.min(text.len());
            // Where no value is kept, the parser does not see that a comma was one too many.
            let comma = message == "key must be a string" && source.as_bytes().get(at) == Some(&b'}');
            Parsed::bad(at, if comma { "trailing comma" } else { message })
        }
    }
}

/// How often YAML is read again with a bracket more that is let pass, see [`yaml`]. All that a scanner finds are let pass at once.
const MAX_BRACKETS: usize = 4;

/// YAML: any number of documents. Tags and what anchors stand for are not looked at.
///
/// A bracket that closes a list over several lines has to be indented more than what it belongs to. Nobody does it, and no other parser
/// wants it.
pub fn yaml(source: &str) -> Parsed {
    let Some(problem) = yaml_problem(source) else { return Parsed::Good };
    if !closes_a_line(source, &problem) {
        return Parsed::bad(problem.at, problem.message);
    }
    let mut lines = closing_lines(source);
    for _ in 0..MAX_BRACKETS {
        let text = deeper(source, &lines);
        let Some(problem) = yaml_problem(&text) else { return Parsed::Good };
        let line = text[..problem.at].matches('\n').count();
        // One that the scanner did not find.
        if !closes_a_line(&text, &problem) || !lines.insert(line) {
            let begin = text[..problem.at].rfind('\n').map_or(0, |n| n + 1);
            // What was added before it does not count.
            let added = if lines.contains(&line) { DEEPER.len() } else { 0 };
            let column = text[begin..problem.at].chars().count().saturating_sub(added);
            return Parsed::bad(offset(source, line, column), problem.message);
        }
    }
    Parsed::bad(problem.at, problem.message)
}

/// Whether what is wrong is how a bracket is indented that begins its line.
fn closes_a_line(text: &str, problem: &Problem) -> bool {
    let begin = text[..problem.at].rfind('\n').map_or(0, |n| n + 1);
    text[begin..].trim_start_matches(' ').starts_with([']', '}']) && problem.message.contains("indentation")
}

/// Lines, from 0, that begin with a bracket which closes one of an earlier line.
fn closing_lines(source: &str) -> BTreeSet<usize> {
    let (mut open, mut lines): (Vec<usize>, BTreeSet<usize>) = (Vec::new(), BTreeSet::new());
    let (mut at, mut line, mut is_first) = (0, 0, true);
    for token in lex::scan(Language::Yaml, source) {
        // Texts may go over lines.
        line += source[at..token.start].matches('\n').count();
        at = token.start;
        match token.kind {
            Kind::Line => is_first = true,
            Kind::Open(_) => {
                open.push(line);
                is_first = false;
            }
            Kind::Close(_) => {
                if open.pop().is_some_and(|opened| opened < line) && is_first {
                    lines.insert(line);
                }
                is_first = false;
            }
            _ => is_first = false,
        }
    }
    lines
}

/// With some lines indented more than anything.
fn deeper(source: &str, lines: &BTreeSet<usize>) -> String {
    let indented = source.split_inclusive('\n').enumerate().flat_map(|(n, line)| [if lines.contains(&n) { DEEPER } else { "" }, line]);
    indented.collect()
}

/// More than anything is indented by.
const DEEPER: &str = "                                                ";

fn yaml_problem(text: &str) -> Option<Problem> {
    let error = Parser::new_from_str(text).find_map(Result::err)?;
    let mark = error.marker();
    Some(Problem { at: offset(text, mark.line().saturating_sub(1), mark.col()), message: error.info().to_owned() })
}

/// TOML, with what 1.1 added.
pub fn toml(source: &str) -> Parsed {
    let (_, errors) = DeTable::parse_recoverable(source);
    if errors.is_empty() {
        return Parsed::Good;
    }
    let problem = |e: &toml::de::Error| Problem { at: e.span().map_or(source.len(), |s| s.start), message: e.message().to_owned() };
    let problems: Vec<Problem> = errors.iter().map(problem).collect();
    if problems.iter().any(|p| p.message.contains("recursion")) {
        return Parsed::Refused("it nests too deep".into());
    }
    Parsed::Bad(problems)
}
