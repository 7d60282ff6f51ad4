//! Go: a file, or the declarations or statements of one, as snippets are.

use gosyn::Error;

use super::{Parsed, Problem, offset};

/// What stands before code that is not a whole file, and behind it.
const AROUND: [(&str, &str); 2] = [("package p\n", "\n"), ("package p\nfunc _() {\n", "\n}\n")];

/// A file. Without a `package` clause, declarations or statements.
pub fn parse(source: &str) -> Parsed {
    let text = source.strip_prefix('\u{feff}').unwrap_or(source);
    let skipped = source.len() - text.len();
    if has_package(text) {
        return match file(text) {
            Ok(()) => Parsed::Good,
            Err(problem) => told(problem, skipped, source.len()),
        };
    }
    let mut furthest: Option<Problem> = None;
    for (before, behind) in AROUND {
        match file(&format!("{before}{text}{behind}")) {
            Ok(()) => return Parsed::Good,
            Err(problem) => {
                let problem = Problem { at: problem.at.saturating_sub(before.len()).min(text.len()), ..problem };
                if furthest.as_ref().is_none_or(|f| f.at < problem.at) {
                    furthest = Some(problem);
                }
            }
        }
    }
    furthest.map_or(Parsed::Good, |problem| told(problem, skipped, source.len()))
}

fn told(problem: Problem, skipped: usize, length: usize) -> Parsed {
    if problem.message.contains("too many depth") {
        return Parsed::Refused("it nests too deep".into());
    }
    Parsed::bad((skipped + problem.at).min(length), problem.message)
}

/// Whether the first word that is no comment is `package`.
fn has_package(text: &str) -> bool {
    let mut rest = text.trim_start();
    loop {
        if let Some(comment) = rest.strip_prefix("//") {
            rest = comment.split_once('\n').map_or("", |(_, after)| after).trim_start();
        } else if let Some(comment) = rest.strip_prefix("/*") {
            rest = comment.split_once("*/").map_or("", |(_, after)| after).trim_start();
        } else {
            return rest.starts_with("package") && rest[7..].starts_with(char::is_whitespace);
        }
    }
}

fn file(text: &str) -> Result<(), Problem> {
    let Err(error) = gosyn::parse_source(text) else { return Ok(()) };
    Err(match error.downcast_ref::<Error>() {
        Some(Error::UnexpectedToken { location, expect, actual, .. }) => {
            let expected: Vec<String> = expect.iter().map(|kind| format!("{kind:?}")).collect();
            let found = actual.as_ref().map_or("the end".into(), |token| format!("{token:?}"));
            let message = match &expected[..] {
                [] => format!("unexpected {found}"),
                some => format!("expected {}, found {found}", some.join(" or ")),
            };
            Problem { at: offset(text, location.0.saturating_sub(1), location.1.saturating_sub(1)), message }
        }
        Some(Error::Else { location, reason, .. }) => {
            Problem { at: offset(text, location.0.saturating_sub(1), location.1.saturating_sub(1)), message: reason.clone() }
        }
        Some(Error::IO(_)) | None => Problem { at: text.len(), message: "the code cannot be parsed".into() },
    })
}
