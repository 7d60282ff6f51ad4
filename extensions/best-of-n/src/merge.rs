//! One source put together of several: the best one, with functions of others where those are surely better.
//!
//! A function takes the place of another of the same name and signature when the one in the best source is a stub and the other is not, or
//! when most of the sources have that one, letter by letter but for blanks at the ends of lines. A function that the best source calls
//! and nobody gives it is added. Anything else stays: what is not surely better is left alone.

use std::collections::BTreeMap;

use crate::code::{self, Block, Function};
use crate::scan::Language;

/// What was put together.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Merged {
    /// The text of the best one, with other code in it.
    pub text: String,
    /// Functions that came from others: name, and the number of the other.
    pub taken: Vec<(String, usize)>,
}

/// Code of one text, taken apart.
struct Source<'a> {
    number: usize,
    text: &'a str,
    block: Block,
    functions: Vec<Function>,
}

impl<'a> Source<'a> {
    /// Of a text with exactly one block, in a language whose functions can be told apart.
    fn of(number: usize, text: &'a str) -> Option<(Language, Self)> {
        let [block] = &code::blocks(text)[..] else { return None };
        if block.fault(text).is_some() {
            return None;
        }
        let language = block.language(text)?;
        let functions = code::functions(language, block.code(text))?;
        Some((language, Self { number, text, block: block.clone(), functions }))
    }

    fn code(&self) -> &'a str {
        self.block.code(self.text)
    }

    fn body(&self, function: &Function) -> &'a str {
        &self.code()[function.from..function.to]
    }

    fn find(&self, name: &str) -> Option<&Function> {
        self.functions.iter().find(|f| f.name == name)
    }
}

/// Puts `texts` together, the best first. Nothing when nothing would be surely better, or when what comes of it is not whole.
pub fn merge(texts: &[(usize, &str)]) -> Option<Merged> {
    let ((number, text), others) = texts.split_first()?;
    let (language, best) = Source::of(*number, text)?;
    let others: Vec<Source<'_>> =
        others.iter().filter_map(|(n, t)| Source::of(*n, t)).filter(|(l, _)| *l == language).map(|(_, s)| s).collect();
    let mut taken = Vec::new();
    let mut code = best.code().to_owned();
    // From the end, so that places before stay what they are.
    for function in best.functions.iter().rev() {
        if let Some((other, theirs)) = better(&best, function, &others) {
            code.replace_range(function.from..function.to, other.body(theirs));
            taken.push((function.name.clone(), other.number));
        }
    }
    taken.reverse();
    for (other, missing) in missing(&best, &others) {
        code = format!("{}\n\n{}\n", code.trim_end(), other.body(missing).trim_end());
        taken.push((missing.name.clone(), other.number));
    }
    if taken.is_empty() || !is_whole(language, &code, &best, &taken) {
        return None;
    }
    let Block { from, to, .. } = best.block;
    Some(Merged { text: format!("{}{code}{}", &text[..from], &text[to..]), taken })
}

/// Another one's function that is surely better.
fn better<'s, 'a>(best: &Source<'a>, ours: &Function, others: &'s [Source<'a>]) -> Option<(&'s Source<'a>, &'s Function)> {
    let alike = |other: &'s Source<'a>| other.find(&ours.name).filter(|f| f.signature == ours.signature).map(|f| (other, f));
    let known = |other: &Source<'a>, function: &Function| calls_only_known(best, other, function);
    let stub = is_stub(best.body(ours));
    let candidates: Vec<_> = others.iter().filter_map(alike).filter(|(o, f)| !is_stub(o.body(f)) && known(o, f)).collect();
    if stub {
        return candidates.first().copied();
    }
    let mut votes: BTreeMap<String, usize> = BTreeMap::from([(plain(best.body(ours)), 1)]);
    for (other, theirs) in &candidates {
        *votes.entry(plain(other.body(theirs))).or_default() += 1;
    }
    let own = plain(best.body(ours));
    // More than half of all that have the function, so that it is no tie.
    let have = 1 + others.iter().filter(|o| o.find(&ours.name).is_some()).count();
    let winner = votes.into_iter().find(|(_, n)| *n * 2 > have).map(|(body, _)| body).filter(|body| *body != own)?;
    candidates.into_iter().find(|(other, theirs)| plain(other.body(theirs)) == winner)
}

/// Functions that the best source calls and does not have, where all that have them give them the same signature.
fn missing<'s, 'a>(best: &Source<'a>, others: &'s [Source<'a>]) -> Vec<(&'s Source<'a>, &'s Function)> {
    let mut found: Vec<(&Source<'a>, &Function)> = Vec::new();
    for other in others {
        for function in &other.functions {
            let wanted = best.find(&function.name).is_none()
                && calls(best.code(), &function.name)
                && !is_stub(other.body(function))
                && calls_only_known(best, other, function)
                && found.iter().all(|(_, f)| f.name != function.name)
                && others.iter().filter_map(|o| o.find(&function.name)).all(|f| f.signature == function.signature);
            if wanted {
                found.push((other, function));
            }
        }
    }
    found
}

/// Whether a function needs nothing of its own source that the best one has not: other functions, in the first place.
fn calls_only_known(best: &Source<'_>, other: &Source<'_>, function: &Function) -> bool {
    let body = other.body(function);
    let helpers = other.functions.iter().filter(|f| f.name != function.name && calls(body, &f.name));
    let known = |f: &Function| best.find(&f.name).is_some_and(|own| own.signature == f.signature);
    let mut helpers = helpers;
    helpers.all(known) && qualifiers(body).iter().all(|q| is_word_in(best.code(), q) || !is_word_in(&before_functions(other), q))
}

/// What stands in a source outside of its functions: imports, types, constants.
fn before_functions(source: &Source<'_>) -> String {
    let mut rest = source.code().to_owned();
    for function in source.functions.iter().rev() {
        rest.replace_range(function.from..function.to, "");
    }
    rest
}

/// All words of a function's body.
fn qualifiers(body: &str) -> Vec<String> {
    let mut words: Vec<String> =
        body.split(|c: char| !c.is_alphanumeric() && c != '_').filter(|w| !w.is_empty()).map(str::to_owned).collect();
    words.sort_unstable();
    words.dedup();
    words
}

fn is_word_in(text: &str, word: &str) -> bool {
    text.split(|c: char| !c.is_alphanumeric() && c != '_').any(|w| w == word)
}

/// Whether a name is called: it stands before a bracket, and nothing that would make it another name stands before it.
fn calls(code: &str, name: &str) -> bool {
    let name = name.rsplit('.').next().unwrap_or(name);
    code.match_indices(name).any(|(at, _)| {
        let before = code[..at].chars().next_back();
        let after = code[at + name.len()..].trim_start().chars().next();
        after == Some('(') && !before.is_some_and(|c| c.is_alphanumeric() || c == '_' || c == '.')
    })
}

/// Whether a function does nothing yet, by what people and models write in such places.
fn is_stub(body: &str) -> bool {
    const SIGNS: [&str; 8] = ["todo!", "unimplemented!", "NotImplementedError", "not implemented", "// TODO", "# TODO", "// ...", "# ..."];
    let last = body.trim_end_matches(['}', ' ', '\n']).lines().next_back().unwrap_or_default().trim();
    let nothing = matches!(last, "pass" | "...");
    nothing || SIGNS.iter().any(|sign| body.contains(sign))
}

/// Without empty lines, and without blanks at the ends of lines.
fn plain(body: &str) -> String {
    body.lines().map(str::trim_end).filter(|line| !line.is_empty()).flat_map(|line| [line, "\n"]).collect()
}

/// Whether what came of it has the functions that it must have, each once, and no stub more.
fn is_whole(language: Language, code: &str, best: &Source<'_>, taken: &[(String, usize)]) -> bool {
    let Some(functions) = code::functions(language, code) else { return false };
    let added = taken.iter().filter(|(name, _)| best.find(name).is_none()).count();
    let kept = best.functions.iter().all(|f| functions.iter().any(|g| g.name == f.name && g.signature == f.signature));
    kept && functions.len() == best.functions.len() + added
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fenced(tag: &str, code: &str) -> String {
        format!("Here it is:\n```{tag}\n{code}```\nDone.\n")
    }

    #[track_caller]
    fn check(tag: &str, codes: &[&str], expect: Option<(&str, &[&str])>) {
        let texts: Vec<String> = codes.iter().map(|c| fenced(tag, c)).collect();
        let numbered: Vec<(usize, &str)> = texts.iter().enumerate().map(|(n, t)| (n + 1, t.as_str())).collect();
        let merged = merge(&numbered);
        let found = merged.as_ref().map(|m| (m.text.clone(), m.taken.iter().map(|(n, o)| format!("{n} {o}")).collect::<Vec<_>>()));
        assert_eq!(found, expect.map(|(code, taken)| (fenced(tag, code), taken.iter().map(|t| (*t).to_owned()).collect())));
    }

    #[test]
    fn a_stub_is_replaced() {
        let stub = "import os\n\ndef a(x):\n    return x\n\ndef b(y):\n    pass\n";
        let whole = "def a(x):\n    return x + 0\n\n@cached\ndef b(y):\n    # real\n    return y * 2\n\nprint(b(1))\n";
        check(
            "python",
            &[stub, whole],
            Some(("import os\n\ndef a(x):\n    return x\n\n@cached\ndef b(y):\n    # real\n    return y * 2\n", &["b 2"])),
        );
        // What the other one's function needs, and the best has not, is not there: it stays as it is.
        check("python", &[stub, "import math\n\ndef b(y):\n    return math.sqrt(y)\n"], None);
        check("python", &[stub, "def help(y):\n    return y\n\ndef b(y):\n    return help(y)\n"], None);
        // A comment at the left edge ends nothing.
        let (stub, whole) = ("def b(y):\n    # TODO\n# left\n    return y\n", "def b(y):\n    return y + 1\n");
        check("python", &[stub, whole], Some((whole, &["b 2"])));
        let stub = "def b(y):\n    pass\n";
        // Called in another way.
        check("python", &[stub, "def b(y, z):\n    return y * z\n"], None);
        check(
            "go",
            &["func A() int {\n\tpanic(\"not implemented\")\n}\n", "// A is one.\nfunc A() int {\n\treturn 1\n}\n"],
            Some(("// A is one.\nfunc A() int {\n\treturn 1\n}\n", &["A 2"])),
        );
        check(
            "rust",
            &[concat!("pub fn a() -> u8 {\n    todo", "!()\n}\n"), "pub fn a() -> u8 {\n    b'}'\n}\n"],
            Some(("pub fn a() -> u8 {\n    b'}'\n}\n", &["a 2"])),
        );
    }

    #[test]
    fn most_of_them_win() {
        let (one, two) = ("function f(a) {\n  return a - 1;\n}\n", "function f(a) {\n  return a + 1;\n}\n");
        check("js", &[one, two, two], Some((two, &["f 2"])));
        check("js", &[two, one, two], None);
        check("js", &[one, two], None);
    }

    #[test]
    fn what_is_called_and_nowhere_is_added() {
        let (caller, whole) =
            ("func A() int {\n\treturn b(1)\n}\n", "func A() int {\n\treturn b(1)\n}\n\nfunc b(n int) int {\n\treturn n\n}\n");
        check("go", &[caller, whole], Some((whole, &["b 2"])));
        check("go", &[whole, caller], None);
    }

    #[test]
    fn what_cannot_be_told_apart_stays() {
        check("ruby", &["def a\nend\n", "def a\n  1\nend\n"], None);
        check("python", &["def a():\n    pass\n\ndef a():\n    pass\n", "def a():\n    return 1\n"], None);
        check("go", &["func A() interface{} {\n\tpanic(\"not implemented\")\n}\n", "func A() interface{} {\n\treturn 1\n}\n"], None);
        check("go", &["func A() {\n", "func A() {\n}\n"], None);
        let two = format!("{}{}", fenced("go", "func A() {}\n"), fenced("go", "func B() {}\n"));
        assert_eq!(merge(&[(1, &two), (2, &two)]), None);
    }
}
