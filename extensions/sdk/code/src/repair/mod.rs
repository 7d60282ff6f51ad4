//! Repairs of code that does not parse: what models and the ends of answers do to it, undone.
//!
//! A repair counts when the result parses, and only then; code that parses already is left alone. The first that does is taken, in an
//! order from
//! what takes nothing away to what gives up the last lines.

mod clean;
mod ends;

use crate::{Language, Limits, Verdict, check, passes};

/// Code that parses again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Repaired {
    /// The code.
    pub code: String,
    /// What was done, in words.
    pub fixes: Vec<String>,
}

/// How often a parser is asked in one repair. How much it reads in all of them together is a limit.
const MAX_TRIES: usize = 48;

/// Repairs code that does not parse; none when nothing that is known makes it parse. The second is how many bytes parsers read for it.
pub fn repair(language: Language, source: &str, limits: &Limits) -> (Option<Repaired>, usize) {
    let mut bench = Bench { language, limits, tries: 0, read: 0 };
    let repaired = if check(language, source, limits).is_invalid() { attempt(language, source, &mut bench) } else { None };
    (repaired, bench.read)
}

fn attempt(language: Language, source: &str, bench: &mut Bench) -> Option<Repaired> {
    // One thing alone.
    for (fix, clean) in clean::STEPS {
        if let Some(code) = clean(language, source)
            && bench.parses(&code)
        {
            return Some(Repaired { code, fixes: vec![(*fix).into()] });
        }
    }
    if let Some((code, fix)) = ends::closed(source, bench) {
        return Some(Repaired { code, fixes: vec![fix.into()] });
    }
    // All that is wrong around it, and then its end.
    let (mut code, mut fixes) = (source.to_owned(), Vec::<String>::new());
    for (fix, clean) in clean::STEPS {
        if let Some(cleaned) = clean(language, &code) {
            code = cleaned;
            fixes.push((*fix).into());
            if fixes.len() > 1 && bench.parses(&code) {
                return Some(Repaired { code, fixes });
            }
        }
    }
    if !fixes.is_empty()
        && let Some((code, fix)) = ends::closed(&code, bench)
    {
        fixes.push(fix.into());
        return Some(Repaired { code, fixes });
    }
    if !bench.limits.cut {
        return None;
    }
    // What stands around it may be right as it is.
    for around in [source, &code] {
        if let Some((code, fix)) = ends::cut(around, bench) {
            let mut fixes = if around == source { Vec::new() } else { fixes };
            fixes.push(fix.into());
            return Some(Repaired { code, fixes });
        }
        if fixes.is_empty() {
            break;
        }
    }
    None
}

/// Where attempts are tried; their number is bounded.
struct Bench<'a> {
    language: Language,
    limits: &'a Limits,
    tries: usize,
    read: usize,
}

impl Bench<'_> {
    fn parses(&mut self, code: &str) -> bool {
        let cost = code.len() * passes(self.language);
        if self.tries >= MAX_TRIES || self.read + cost > self.limits.read || code.trim().is_empty() {
            return false;
        }
        self.tries += 1;
        self.read += cost;
        check(self.language, code, self.limits) == Verdict::Valid
    }
}

#[cfg(test)]
mod tests;
