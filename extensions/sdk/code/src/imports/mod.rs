//! Imports of the standard library that whole files lack.
//!
//! This is the one repair that is for code which parses. So it is done only where there is nothing to decide: the name stands nowhere in
//! the file but in uses, everything that is used of it is what one package of the standard library has, and no import could bring it
//! without saying so. What is used, the syntax trees of the parsers say; where the import goes, the file's own imports do.
//!
//! JavaScript and TypeScript are absent: `fs` may be a bundler's or a global of the host, and nothing in a file says for certain whether
//! it is to be `import` or `require`.

mod go;
mod names;
mod python;
mod rust;
mod text;

use std::collections::BTreeSet;

use crate::check::{Problem, located};
use crate::lex::{self, Kind, Token};
use crate::{Diagnostic, Language, Limits, Verdict, check, depth};

/// Code with its imports.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Completed {
    /// The code.
    pub code: String,
    /// What was done, in words.
    pub fixes: Vec<String>,
    /// What was missing, where it is used first.
    pub missing: Vec<Diagnostic>,
}

/// More are not missing by mistake.
const MAX_MISSING: usize = 12;

/// An import that is missing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Missing {
    /// The name that is used.
    name: String,
    /// Where it comes from: a path of Go, a module of Python, a path of Rust.
    from: String,
    /// Whether `from` has it, and is not what it stands for itself.
    is_member: bool,
    /// Where it is used first, in bytes.
    at: usize,
}

/// How deep a tree may be: `a + b + c + …` is as deep as it is long, though no parser called itself for it.
const MAX_DEPTH: usize = 300;

/// A walk over a tree by functions that call themselves.
pub(crate) trait Descent: Sized {
    /// How deep it is now, and whether something could not be seen.
    fn state(&mut self) -> (&mut usize, &mut bool);

    /// Goes a level down, unless that is too deep.
    fn deeper(&mut self, visit: impl FnOnce(&mut Self)) {
        let (depth, is_unclear) = self.state();
        if *depth == MAX_DEPTH {
            *is_unclear = true;
            return;
        }
        *depth += 1;
        visit(self);
        *self.state().0 -= 1;
    }
}

/// Adds the imports that are missing for certain to code that parses; none when there are none. The second is how many bytes parsers read
/// for it.
pub fn complete(language: Language, source: &str, limits: &Limits) -> (Option<Completed>, usize) {
    if !matches!(language, Language::Go | Language::Python | Language::Rust) || source.len() > limits.bytes {
        return (None, 0);
    }
    let tokens = lex::scan(language, source);
    // What comes out is read once more.
    if !is_candidate(language, source, &tokens)
        || depth::exceeds(language, source, &tokens, limits.depth).is_some()
        || 2 * source.len() > limits.read
    {
        return (None, 0);
    }
    let missing = match language {
        Language::Go => go::missing(source),
        Language::Python => python::missing(source),
        _ => rust::missing(source),
    };
    let Some(mut missing) = missing.filter(|m| !m.is_empty() && m.len() <= MAX_MISSING) else { return (None, source.len()) };
    // Each that is added is put where the parser says that the others are; in Go that takes no tree.
    let added = if language == Language::Go { 0 } else { missing.len() * source.len() };
    // What comes out is read too, and is a line longer.
    let read = 2 * source.len() + added;
    if read > limits.read {
        return (None, source.len());
    }
    missing.sort_by(|a, b| (&a.from, &a.name).cmp(&(&b.from, &b.name)));
    let mut code = source.to_owned();
    for one in &missing {
        let longer = match language {
            Language::Go => go::add(&code, one),
            Language::Python => python::add(&code, one),
            _ => rust::add(&code, one),
        };
        match longer {
            Some(longer) => code = longer,
            // Where one cannot go, the others would only hide that it is missing.
            None => return (None, source.len() + added),
        }
    }
    // Its own limits do not count for what is a line longer.
    let roomy = Limits { bytes: code.len(), ..*limits };
    if check(language, &code, &roomy) != Verdict::Valid {
        return (None, read);
    }
    let fixes = missing.iter().map(Missing::told).collect();
    missing.sort_by_key(|m| m.at);
    let problem = |m: &Missing| Problem { at: m.at, message: format!("`{}` is not imported", m.name) };
    let missing = missing.iter().map(|m| located(source, problem(m))).take(limits.diagnostics.max(1)).collect();
    (Some(Completed { code, fixes, missing }), read)
}

impl Missing {
    fn told(&self) -> String {
        let Self { name, from, is_member, .. } = self;
        if *is_member { format!("added the import of `{name}` from `{from}`") } else { format!("added the import of `{from}`") }
    }
}

/// Whether there is a name in the code that is known and that no import mentions. Most code has none, and is not parsed for it.
fn is_candidate(language: Language, source: &str, tokens: &[Token]) -> bool {
    let (mut used, mut imported): (BTreeSet<&str>, BTreeSet<&str>) = (BTreeSet::new(), BTreeSet::new());
    let (mut begins, mut imports) = (true, false);
    for (n, token) in tokens.iter().enumerate() {
        let text = &source[token.start..token.end];
        match token.kind {
            Kind::Line => (begins, imports) = (true, false),
            Kind::Word => {
                if begins || (language == Language::Python && text == "import") {
                    imports = ["import", "use", "pub"].contains(&text);
                    begins = false;
                }
                // `use std::io::Read` does not bring `io`.
                let leads = language == Language::Rust && tokens.get(n + 1).is_some_and(|next| next.kind == Kind::Mark(b':'));
                if imports && !leads { &mut imported } else { &mut used }.insert(text);
            }
            Kind::Text if language == Language::Go => {
                imported.insert(text.trim_matches(['"', '`']).rsplit('/').next().unwrap_or_default());
            }
            Kind::Text if language == Language::Python && text.contains('{') => {
                used.extend(text.split(|c: char| !c.is_alphanumeric() && c != '_'));
                begins = false;
            }
            _ => begins = false,
        }
    }
    names::known(language).any(|name| used.contains(name) && !imported.contains(name))
}

#[cfg(test)]
mod tests;
