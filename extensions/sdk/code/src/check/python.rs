//! Python, as of the newest version that the parser knows.

use ruff_python_ast::PySourceType;
use ruff_python_parser::parse_unchecked_source;

use super::{Parsed, Problem};

/// A module. Code that is indented as a whole, as methods out of a class are, is taken for a module too.
pub fn parse(source: &str) -> Parsed {
    let problems = errors(source);
    if problems.is_empty() {
        return Parsed::Good;
    }
    let first = source.lines().find(|l| !l.trim().is_empty()).unwrap_or_default();
    if first.starts_with([' ', '\t']) {
        // A block around it makes it what it was cut from.
        let around = format!("if 1:\n{source}\n");
        if errors(&around).is_empty() {
            return Parsed::Good;
        }
    }
    Parsed::Bad(problems)
}

fn errors(source: &str) -> Vec<Problem> {
    let parsed = parse_unchecked_source(source, PySourceType::Python);
    parsed.errors().iter().map(|e| Problem { at: e.location.start().to_usize(), message: e.error.to_string() }).collect()
}
