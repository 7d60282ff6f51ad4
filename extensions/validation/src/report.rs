//! What was found, and how it is told.

use serde_json::{Value, json};
use wasmgate_code::{Diagnostic, Language};

/// One piece of code.
#[derive(Debug, Clone)]
pub struct Found {
    /// What it is written in.
    pub language: Language,
    /// Where it was: in a fence, in a call, or all of the answer.
    pub place: String,
    /// The line of the text that it begins at, from 1.
    pub line: usize,
    /// What came of it.
    pub state: State,
}

/// What came of it.
#[derive(Debug, Clone)]
pub enum State {
    /// It parses.
    Valid,
    /// It did not parse, or lacked imports, and does now: what was wrong, and what was done.
    Fixed(Vec<Diagnostic>, Vec<String>),
    /// It does not.
    Invalid(Vec<Diagnostic>),
    /// It was not looked at; why.
    Unchecked(String),
}

/// All of it.
#[derive(Debug, Clone, Default)]
pub struct Report {
    /// Piece by piece.
    pub found: Vec<Found>,
    /// Bytes that parsers have read for it.
    pub read: usize,
}

impl Found {
    /// One word.
    pub fn outcome(&self) -> &'static str {
        match self.state {
            State::Valid => "valid",
            State::Fixed(..) => "fixed",
            State::Invalid(_) => "invalid",
            State::Unchecked(_) => "unchecked",
        }
    }

    /// What is wrong with it now.
    pub fn problems(&self) -> &[Diagnostic] {
        match &self.state {
            State::Invalid(problems) => problems,
            _ => &[],
        }
    }

    fn document(&self) -> Value {
        let mut document = json!({"language": self.language.name(), "place": self.place, "line": self.line, "result": self.outcome()});
        match &self.state {
            State::Valid => {}
            State::Fixed(problems, fixes) => {
                document["fixes"] = json!(fixes);
                document["diagnostics"] = json!(problems);
            }
            State::Invalid(problems) => document["diagnostics"] = json!(problems),
            State::Unchecked(reason) => document["reason"] = json!(reason),
        }
        document
    }
}

impl Report {
    /// How many do not parse.
    pub fn invalid(&self) -> usize {
        self.count("invalid")
    }

    fn count(&self, outcome: &str) -> usize {
        self.found.iter().filter(|f| f.outcome() == outcome).count()
    }

    /// Short, for a header: `invalid; blocks=2, valid=1, invalid=1`.
    pub fn header(&self, retries: u32) -> String {
        let mut text = format!("{}; blocks={}", self.summary(), self.found.len());
        for outcome in ["valid", "fixed", "invalid", "unchecked"] {
            match self.count(outcome) {
                0 => {}
                n => text.push_str(&format!(", {outcome}={n}")),
            }
        }
        if retries > 0 {
            text.push_str(&format!(", retries={retries}"));
        }
        text
    }

    /// The worst of what was found.
    pub fn summary(&self) -> &'static str {
        ["invalid", "unchecked", "fixed"].into_iter().find(|o| self.count(o) > 0).unwrap_or("valid")
    }

    /// Whole, as JSON.
    pub fn document(&self, retries: u32) -> Value {
        let blocks: Vec<Value> = self.found.iter().map(Found::document).collect();
        json!({"result": self.summary(), "retries": retries, "blocks": blocks})
    }

    /// For people and models: each problem with its place.
    pub fn problems(&self) -> String {
        let mut text = String::new();
        for found in &self.found {
            for problem in found.problems() {
                let Diagnostic { line, column, message, excerpt } = problem;
                let place =
                    if found.line > 1 { format!("{}, line {} of it", found.place, line) } else { format!("{}, line {line}", found.place) };
                text.push_str(&format!("- {} ({place}, column {column}): {message}\n", found.language));
                text.extend(excerpt.lines().flat_map(|l| ["      ", l, "\n"]));
            }
        }
        text
    }
}
