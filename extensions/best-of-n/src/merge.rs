//! One source put together of several: the best one, with functions of others where those are surely better.
//!
//! A function takes the place of another of the same name and signature when the one in the best source is a stub and the other is not, or
//! when most of the sources have that one, letter by letter but for blanks at the ends of lines. A function that the best source calls
//! and nobody gives it is added. Anything else stays: what is not surely better is left alone.
//!
//! Everything is looked up in what `code.rs` has sorted, so the work grows with the length of the sources and not with its square.

use std::collections::{BTreeMap, BTreeSet};

use wasmgate_code::find::{Block, Place};
use wasmgate_code::{Language, Limits, check};

use crate::code::{self, Anatomy, Function};
use crate::score::Looked;

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
    block: &'a Block,
    anatomy: Anatomy<'a>,
    /// The functions without what does not count, in their order.
    plain: Vec<String>,
    /// Where in their order each of the functions is.
    places: BTreeMap<String, usize>,
}

impl<'a> Source<'a> {
    /// Of a text with exactly one block that parses, in a language whose functions can be told apart.
    fn of(number: usize, looked: &'a Looked) -> Option<(Language, Self)> {
        let [block] = &looked.blocks[..] else { return None };
        if !looked.valid || !looked.parsed || !matches!(block.place, Place::Fenced { .. }) {
            return None;
        }
        let language = block.language?;
        let anatomy = code::anatomy(language, &block.code)?;
        let plain = anatomy.functions.iter().map(|f| plain(&block.code[f.from..f.to])).collect();
        let places = anatomy.functions.iter().enumerate().map(|(n, f)| (f.name.clone(), n)).collect();
        Some((language, Self { number, block, anatomy, plain, places }))
    }

    fn body(&self, place: usize) -> &'a str {
        let function = &self.anatomy.functions[place];
        &self.block.code[function.from..function.to]
    }

    fn function(&self, place: usize) -> &Function<'a> {
        &self.anatomy.functions[place]
    }

    fn find(&self, name: &str) -> Option<usize> {
        self.places.get(name).copied()
    }

    fn signature(&self, name: &str) -> Option<&str> {
        self.find(name).map(|place| self.function(place).signature.as_str())
    }
}

/// Puts candidates together, the best first. Nothing when nothing would be surely better, or when what comes of it is not whole, or longer
/// than what parsers may read, which is `left`.
pub fn merge(candidates: &[(usize, &Looked)], left: usize) -> Option<Merged> {
    let ((number, looked), others) = candidates.split_first()?;
    let (language, best) = Source::of(*number, looked)?;
    let others: Vec<Source<'_>> =
        others.iter().filter_map(|(n, t)| Source::of(*n, t)).filter(|(l, _)| *l == language).map(|(_, s)| s).collect();
    let mut taken = Vec::new();
    let (mut code, mut at) = (String::new(), 0);
    for place in 0..best.anatomy.functions.len() {
        let Some((other, theirs)) = better(&best, place, &others) else { continue };
        let ours = best.function(place);
        code.push_str(&best.block.code[at..ours.from]);
        code.push_str(other.body(theirs));
        at = ours.to;
        taken.push((ours.name.clone(), other.number));
    }
    code.push_str(&best.block.code[at..]);
    for (other, missing) in missing(&best, &others) {
        code.truncate(code.trim_end().len());
        code.push_str("\n\n");
        code.push_str(other.body(missing).trim_end());
        code.push('\n');
        taken.push((other.function(missing).name.clone(), other.number));
    }
    let readable = code.len() <= left && check(language, &code, &Limits::default()).is_valid();
    if taken.is_empty() || !readable || !is_whole(language, &code, &best, &taken) {
        return None;
    }
    Some(Merged { text: best.block.replaced(&looked.text, &code), taken })
}

/// Another one's function that is surely better.
fn better<'s, 'a>(best: &Source<'a>, place: usize, others: &'s [Source<'a>]) -> Option<(&'s Source<'a>, usize)> {
    let ours = best.function(place);
    let alike =
        |other: &'s Source<'a>| other.find(&ours.name).filter(|p| other.function(*p).signature == ours.signature).map(|p| (other, p));
    let is_good = |(other, p): &(&'s Source<'a>, usize)| !other.function(*p).is_stub && needs_only_known(best, other, other.function(*p));
    let candidates: Vec<_> = others.iter().filter_map(alike).filter(is_good).collect();
    if ours.is_stub {
        return candidates.first().copied();
    }
    let own = best.plain[place].as_str();
    let mut votes: BTreeMap<&str, usize> = BTreeMap::from([(own, 1)]);
    for (other, theirs) in &candidates {
        *votes.entry(other.plain[*theirs].as_str()).or_default() += 1;
    }
    // More than half of all that have the function, so that it is no tie.
    let have = 1 + others.iter().filter(|o| o.find(&ours.name).is_some()).count();
    let winner = votes.into_iter().find(|(_, n)| *n * 2 > have).map(|(body, _)| body).filter(|body| *body != own)?;
    candidates.into_iter().find(|(other, theirs)| other.plain[*theirs] == winner)
}

/// Functions that the best source calls and does not have, where all that have them give them the same signature.
fn missing<'s, 'a>(best: &Source<'a>, others: &'s [Source<'a>]) -> Vec<(&'s Source<'a>, usize)> {
    let (mut found, mut names) = (Vec::new(), BTreeSet::new());
    for other in others {
        for (place, function) in other.anatomy.functions.iter().enumerate() {
            let wanted = best.find(&function.name).is_none()
                && best.anatomy.calls.contains(function.name.as_str())
                && !function.is_stub
                && needs_only_known(best, other, function)
                && others.iter().filter_map(|o| o.signature(&function.name)).all(|signature| signature == function.signature);
            if wanted && names.insert(function.name.as_str()) {
                found.push((other, place));
            }
        }
    }
    found
}

/// Whether a function needs nothing of its own source that the best one has not: other functions, in the first place.
fn needs_only_known(best: &Source<'_>, other: &Source<'_>, function: &Function<'_>) -> bool {
    let is_known = |name: &&str| *name == function.name || best.signature(name) == other.signature(name);
    let mut helpers = function.calls.iter().filter(|name| other.find(name).is_some());
    helpers.all(is_known) && function.words.iter().all(|word| best.anatomy.words.contains(word) || !other.anatomy.outside.contains(word))
}

/// Without empty lines, and without blanks at the ends of lines.
fn plain(body: &str) -> String {
    body.lines().map(str::trim_end).filter(|line| !line.is_empty()).flat_map(|line| [line, "\n"]).collect()
}

/// Whether what came of it has the functions that it must have, each once.
fn is_whole(language: Language, code: &str, best: &Source<'_>, taken: &[(String, usize)]) -> bool {
    let Some(Anatomy { functions, .. }) = code::anatomy(language, code) else { return false };
    let added = taken.iter().filter(|(name, _)| best.find(name).is_none()).count();
    let kept: BTreeSet<(&str, &str)> = functions.iter().map(|f| (f.name.as_str(), f.signature.as_str())).collect();
    let all = best.anatomy.functions.iter().all(|f| kept.contains(&(f.name.as_str(), f.signature.as_str())));
    all && functions.len() == best.anatomy.functions.len() + added
}

#[cfg(test)]
mod tests {
    use wasmgate_sdk::codec::Format;

    use super::*;
    use crate::score::{self, Budget};

    fn fenced(tag: &str, code: &str) -> String {
        format!("Here it is:\n```{tag}\n{code}```\nDone.\n")
    }

    fn merged(texts: &[String]) -> Option<Merged> {
        let looked: Vec<Looked> = texts.iter().map(|text| looked(text)).collect();
        merge(&looked.iter().enumerate().map(|(n, l)| (n + 1, l)).collect::<Vec<_>>(), 1 << 20)
    }

    /// What is seen in a whole answer.
    fn looked(text: &str) -> Looked {
        let body = serde_json::json!({"id": "c", "object": "chat.completion", "model": "m",
            "choices": [{"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": "stop"}]});
        let answer = Format::OpenaiChat.decode_answer(body.to_string().as_bytes()).unwrap();
        score::look(&answer, &mut Budget::new(1 << 20, 1))
    }

    #[track_caller]
    fn check(tag: &str, codes: &[&str], expect: Option<(&str, &[&str])>) {
        let merged = merged(&codes.iter().map(|c| fenced(tag, c)).collect::<Vec<_>>());
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
        assert_eq!(merged(&[two.clone(), two]), None);
    }

    #[test]
    fn a_function_that_ends_in_pass_stays() {
        let ends_in_pass = "def a(x):\n    try:\n        return int(x)\n    except ValueError:\n        pass\n";
        check("python", &[ends_in_pass, "def a(x):\n    return int(x)\n"], None);
    }

    #[test]
    fn fences_may_be_indented() {
        let list = |code: &str| format!("1. This:\n   ```python\n{code}   ```\n");
        let stub = list("   def a(x):\n       return x\n\n   def b(x):\n       pass\n");
        let whole = list("   def b(x):\n       return x * 2\n");
        let expect = list("   def a(x):\n       return x\n\n   def b(x):\n       return x * 2\n");
        assert_eq!(merged(&[stub, whole]).map(|m| m.text), Some(expect));
    }

    #[test]
    fn what_no_parser_may_read_is_not_sent() {
        let texts = ["def b(y):\n    pass\n", "def b(y):\n    return y\n"].map(|c| looked(&fenced("python", c)));
        let numbered = [(1, &texts[0]), (2, &texts[1])];
        assert!(merge(&numbered, 100).is_some());
        assert_eq!(merge(&numbered, 10), None);
    }
}
