//! JSON, YAML and TOML.

use saphyr_parser::Parser;
use serde::de::IgnoredAny;
use toml::de::DeTable;

use super::{Parsed, Problem, offset};

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

/// How many brackets at the beginning of a line are let pass, see [`yaml`].
const MAX_BRACKETS: usize = 64;

/// YAML: any number of documents. Tags and what anchors stand for are not looked at.
///
/// A bracket that closes a list over several lines has to be indented more than what it belongs to. Nobody does it, and no other parser
/// wants it.
pub fn yaml(source: &str) -> Parsed {
    let mut text = std::borrow::Cow::Borrowed(source);
    for added in 0..=MAX_BRACKETS {
        let Some(problem) = yaml_problem(&text) else { return Parsed::Good };
        let begin = text[..problem.at].rfind('\n').map_or(0, |n| n + 1);
        let closes = text[begin..].trim_start_matches(' ').starts_with([']', '}']);
        if added == MAX_BRACKETS || !closes || !problem.message.contains("indentation") {
            // Nothing was added before it on its own line.
            let line = text[..problem.at].matches('\n').count();
            return Parsed::bad(offset(source, line, text[begin..problem.at].chars().count()), problem.message);
        }
        text.to_mut().insert_str(begin, DEEPER);
    }
    Parsed::Good
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
