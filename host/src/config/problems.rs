//! Everything that is wrong with a configuration, collected: the operator sees all of it at once.

use std::fmt;

/// How bad it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// The gateway starts; `check --strict` fails.
    Warning,
    /// The gateway does not start.
    Error,
}

/// One thing that is wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// How bad it is.
    pub severity: Severity,
    /// Where: `gateway.yaml:12`, or the name of an environment variable, or `--set`.
    pub place: String,
    /// Which setting, as a path like `server.port`.
    pub path: String,
    /// What is wrong and what to do.
    pub message: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let severity = match self.severity {
            Severity::Warning => "warning",
            Severity::Error => "error",
        };
        match (self.place.as_str(), self.path.as_str()) {
            ("", "") => write!(f, "{severity}: {}", self.message),
            (place, "") => write!(f, "{place}: {severity}: {}", self.message),
            ("", path) => write!(f, "{severity}: `{path}`: {}", self.message),
            (place, path) => write!(f, "{place}: {severity}: `{path}`: {}", self.message),
        }
    }
}

/// All problems, with errors.
#[derive(Debug)]
pub struct Rejected(pub Vec<Problem>);

impl fmt::Display for Rejected {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (n, problem) in self.0.iter().enumerate() {
            if n > 0 {
                writeln!(f)?;
            }
            write!(f, "{problem}")?;
        }
        Ok(())
    }
}

impl std::error::Error for Rejected {}

/// ` Did you mean …?`, or nothing when no known name is near.
pub fn suggestion<'a>(found: &str, known: impl Iterator<Item = &'a str>) -> String {
    let near = known.map(|k| (strsim::damerau_levenshtein(found, k), k)).min();
    match near {
        Some((distance, name)) if distance <= 1 + found.len() / 4 => format!(" Did you mean `{name}`?"),
        _ => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::suggestion;

    #[test]
    fn suggestions_are_near_or_absent() {
        let known = || ["host", "port", "shutdown_timeout"].into_iter();
        assert_eq!(suggestion("prot", known()), " Did you mean `port`?");
        assert_eq!(suggestion("shutdown_timout", known()), " Did you mean `shutdown_timeout`?");
        assert_eq!(suggestion("workers", known()), "");
    }
}
