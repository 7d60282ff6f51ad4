//! JavaScript and TypeScript, with JSX.

use oxc_allocator::Allocator;
use oxc_parser::{ParseOptions, Parser, ParserReturn};
use oxc_span::SourceType;

use super::{Parsed, Problem};
use crate::depth;

/// A module or a script. A snippet does not say which of them it is, nor whether it has JSX, so all are tried.
pub fn parse(source: &str, typed: bool) -> Parsed {
    // Without the end of an element there is none, and a cast (`<A>b`) would be read as the beginning of one.
    let jsx = depth::has_elements(source);
    let plain = SourceType::mjs();
    let kinds = if typed {
        let ts = plain.with_typescript(true);
        [ts, ts.with_jsx(jsx), ts.with_script(true), plain.with_typescript_definition(true)]
    } else {
        [plain.with_jsx(jsx), plain.with_commonjs(true).with_jsx(jsx), plain.with_script(true), plain.with_script(true).with_jsx(jsx)]
    };
    let mut told: Vec<Problem> = Vec::new();
    for kind in kinds {
        let problems = problems(source, kind);
        if problems.is_empty() {
            return Parsed::Good;
        }
        // The one that got furthest knows most.
        let reach = |problems: &[Problem]| problems.first().map(|p| p.at);
        if told.is_empty() || reach(&problems) > reach(&told) {
            told = problems;
        }
    }
    Parsed::Bad(told)
}

fn problems(source: &str, kind: SourceType) -> Vec<Problem> {
    let allocator = Allocator::default();
    let options = ParseOptions { allow_return_outside_function: true, ..ParseOptions::default() };
    let ParserReturn { diagnostics, panicked, .. } = Parser::new(&allocator, source, kind).with_options(options).parse();
    let mut problems: Vec<Problem> = diagnostics
        .errors()
        .map(|error| Problem {
            at: error.labels.first().map_or(source.len(), |label| label.offset() as usize),
            message: error.message.to_string(),
        })
        .collect();
    if panicked && problems.is_empty() {
        problems.push(Problem { at: source.len(), message: "the code cannot be parsed".into() });
    }
    problems
}
