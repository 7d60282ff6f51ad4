//! Code in a text: whether it is whole, and the functions in it.
//!
//! Where code is, and whether it parses, the crate `wasmgate-code` says. What is here is read from its tokens in one pass, so that it
//! takes as long as the code is, whatever stands in it.

use std::collections::BTreeSet;

use wasmgate_code::find::{Block, Place};
use wasmgate_code::lex::{self, Kind, Token};
use wasmgate_code::{Language, Limits, Verdict, check, passes};

/// What is known of a block.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Look {
    /// It parses.
    Parsed,
    /// Nothing is known to be wrong with it: no parser has read it.
    Unread,
    /// What is wrong: the line, from 1, and what it is.
    Broken(usize, String),
}

/// A function at the top of a source.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Function<'a> {
    /// Its name; of a method in Go, with the receiver's type.
    pub name: String,
    /// What it is called with and gives, without blanks.
    pub signature: String,
    /// Where it begins, comments, attributes and decorators included.
    pub from: usize,
    /// Where it ends.
    pub to: usize,
    /// Whether it does nothing yet, by what people and models write in such places.
    pub is_stub: bool,
    /// What it may need: all words in it, those in its texts too.
    pub words: BTreeSet<&'a str>,
    /// What it calls by its own name, not as a member of something.
    pub calls: BTreeSet<&'a str>,
}

/// A source, taken apart.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Anatomy<'a> {
    /// Its functions, in their order. No two have the same name.
    pub functions: Vec<Function<'a>>,
    /// All words in it, without those in texts.
    pub words: BTreeSet<&'a str>,
    /// All that is called in it.
    pub calls: BTreeSet<&'a str>,
    /// Words outside of the functions: imports, types, constants.
    pub outside: BTreeSet<&'a str>,
}

/// Looks at a block. Parsers read `left` bytes at most, of which is taken what they read.
pub fn look(block: &Block, left: &mut usize) -> Look {
    if matches!(&block.place, Place::Fenced { unclosed: Some(_), .. }) {
        return Look::Broken(1, "the code has no end".into());
    }
    let Some(language) = block.language else { return Look::Unread };
    if block.code.len() <= *left {
        *left -= block.code.len();
        match check(language, &block.code, &Limits { diagnostics: 1, ..Limits::default() }) {
            Verdict::Valid => return Look::Parsed,
            Verdict::Invalid(problems) => {
                // What is not right was read in each way that it could be meant.
                *left = left.saturating_sub(block.code.len() * (passes(language) - 1));
                let first = problems.into_iter().next();
                return first.map_or_else(|| Look::Broken(1, "it does not parse".into()), |p| Look::Broken(p.line, p.message));
            }
            Verdict::Unchecked(_) => {}
        }
    }
    ends(language, &block.code)
}

/// What can be said without a parser: that a bracket or a text has no end.
fn ends(language: Language, source: &str) -> Look {
    // Plain texts of data, and those between tags of JSX, have brackets and quotes that are none.
    let is_script = matches!(language, Language::JavaScript | Language::TypeScript);
    let unclear = matches!(language, Language::Yaml | Language::Toml) || is_script && (source.contains("</") || source.contains("/>"));
    if unclear {
        return Look::Unread;
    }
    let tail = lex::tail(&lex::scan(language, source), source.len());
    let line = |at: usize| source[..at].matches('\n').count() + 1;
    match (tail.mismatch, tail.text, tail.brackets.last()) {
        (Some(at), _, _) => Look::Broken(line(at), format!("`{}` closes what is not open", &source[at..=at])),
        (None, Some(text), _) => Look::Broken(line(source.trim_end().len()), format!("`{text}` is missing")),
        (None, None, Some(open)) => {
            let message = format!("`{}` is missing", lex::closing(*open) as char);
            Look::Broken(line(source.trim_end().len()), message)
        }
        (None, None, None) => Look::Unread,
    }
}

/// Takes a source that is whole apart; none when its functions cannot be told apart safely.
pub fn anatomy(language: Language, source: &str) -> Option<Anatomy<'_>> {
    let tokens = lex::scan(language, source);
    let functions = match language {
        Language::Python => python(source, &tokens),
        Language::Go | Language::Rust | Language::JavaScript | Language::TypeScript => braces(language, source, &tokens)?,
        Language::Json | Language::Yaml | Language::Toml => return None,
    };
    // Two of one name (overloads, conditional compilation) cannot be told apart.
    let names: BTreeSet<&str> = functions.iter().map(|f| f.name.as_str()).collect();
    if names.len() < functions.len() {
        return None;
    }
    let mut anatomy = Anatomy { functions, ..Anatomy::default() };
    anatomy.sort_words(source, &tokens);
    Some(anatomy)
}

impl<'a> Anatomy<'a> {
    /// Which words stand where.
    fn sort_words(&mut self, source: &'a str, tokens: &[Token]) {
        let code = || tokens.iter().filter(|t| !matches!(t.kind, Kind::Line | Kind::Comment));
        let followers = code().skip(1).map(Some).chain([None]);
        let mut functions = self.functions.iter_mut().peekable();
        let mut before: Option<&Token> = None;
        for (token, next) in code().zip(followers) {
            while functions.next_if(|f| f.to <= token.start).is_some() {}
            let inside = functions.peek_mut().filter(|f| f.from <= token.start);
            let text = &source[token.start..token.end];
            match (token.kind, inside) {
                (Kind::Word, inside) => {
                    let last = before.map_or("", |b| &source[b.start..b.end]);
                    let calls = next.is_some_and(|n| n.kind == Kind::Open(b'(')) && !DEFINES.contains(&last) && last != ".";
                    self.words.insert(text);
                    if calls {
                        self.calls.insert(text);
                    }
                    match inside {
                        Some(function) => {
                            function.words.insert(text);
                            if calls {
                                function.calls.insert(text);
                            }
                        }
                        None => drop(self.outside.insert(text)),
                    }
                }
                // What is put into a text is named in it.
                (Kind::Text, Some(function)) => {
                    function.words.extend(text.split(|c: char| !c.is_alphanumeric() && c != '_').filter(|w| !w.is_empty()));
                }
                _ => {}
            }
            before = Some(token);
        }
    }
}

/// Behind these a name is given, not called; and before the last, a name is a member.
const DEFINES: [&str; 6] = ["def", "fn", "func", "function", "class", "new"];

/// Whether a token stands at the left edge.
fn at_edge(source: &str, token: &Token) -> bool {
    token.start == 0 || source.as_bytes()[token.start - 1] == b'\n'
}

/// What is known of a function when its end is found.
struct Head {
    name: String,
    /// Its first token.
    first: usize,
    /// The token that its body begins behind, when that is known.
    body: Option<usize>,
}

impl Head {
    fn function<'a>(self, language: Language, source: &'a str, tokens: &[Token], end: usize, to: usize) -> Function<'a> {
        let start = tokens[self.first].start;
        let body = self.body.unwrap_or(end);
        let head = tokens[self.first..body].iter().filter(|t| !matches!(t.kind, Kind::Line | Kind::Comment));
        Function {
            name: self.name,
            signature: head.flat_map(|t| source[t.start..t.end].split_whitespace()).collect(),
            from: with_what_belongs(language, source, start),
            to,
            is_stub: is_stub(language, source, tokens.get(body + 1..end).unwrap_or_default()),
            words: BTreeSet::new(),
            calls: BTreeSet::new(),
        }
    }
}

/// `None` when something goes on behind a function's end: then that was not its end, but of a type in its head.
fn braces<'a>(language: Language, source: &'a str, tokens: &[Token]) -> Option<Vec<Function<'a>>> {
    let mut found = Vec::new();
    let (mut head, mut depth): (Option<Head>, usize) = (None, 0);
    for (n, token) in tokens.iter().enumerate() {
        match token.kind {
            // A declaration without a body ends where another begins. The conditions of one in Rust may stand at the edge.
            Kind::Word if depth == 0 && at_edge(source, token) && &source[token.start..token.end] != "where" => {
                let line = source[token.start..].lines().next().unwrap_or_default();
                head = name(language, line).map(|name| Head { name, first: n, body: None });
            }
            Kind::Mark(b';') if depth == 0 => head = None,
            Kind::Open(bracket) => {
                if let Some(head) = head.as_mut().filter(|_| depth == 0 && bracket == b'{') {
                    head.body = Some(n);
                }
                depth += 1;
            }
            Kind::Close(bracket) => {
                depth = depth.saturating_sub(1);
                let ended = head.take_if(|h| depth == 0 && bracket == b'}' && h.body.is_some());
                if let Some(head) = ended {
                    if !source[token.end..].lines().next().unwrap_or_default().trim().is_empty() {
                        return None;
                    }
                    found.push(head.function(language, source, tokens, n, token.end));
                }
            }
            _ => {}
        }
    }
    Some(found)
}

fn python<'a>(source: &'a str, tokens: &[Token]) -> Vec<Function<'a>> {
    let mut found = Vec::new();
    // A function, and the last token that is surely in it.
    let mut open: Option<(Head, usize)> = None;
    let (mut depth, mut fresh) = (0usize, true);
    let mut end = |open: Option<(Head, usize)>| {
        found.extend(open.map(|(head, last)| head.function(Language::Python, source, tokens, last + 1, tokens[last].end)));
    };
    for (n, token) in tokens.iter().enumerate() {
        let edge = at_edge(source, token);
        match token.kind {
            Kind::Line => {
                let goes_on = n > 0 && tokens[n - 1].kind == Kind::Mark(b'\\');
                fresh |= depth == 0 && !goes_on;
                continue;
            }
            // At the left edge one may stand in the middle.
            Kind::Comment if edge => continue,
            Kind::Comment => {}
            _ => {
                if std::mem::take(&mut fresh) && edge {
                    end(open.take());
                    let line = source[token.start..].lines().next().unwrap_or_default();
                    open = name(Language::Python, line).map(|name| (Head { name, first: n, body: None }, n));
                }
                match token.kind {
                    Kind::Open(_) => depth += 1,
                    Kind::Close(_) => depth = depth.saturating_sub(1),
                    Kind::Mark(b':') if depth == 0 => {
                        if let Some((head, _)) = &mut open {
                            head.body.get_or_insert(n);
                        }
                    }
                    _ => {}
                }
            }
        }
        if let Some((_, last)) = &mut open {
            *last = n;
        }
    }
    end(open);
    found
}

/// Code of a body beside which a comment that something is to do says that all of it is.
const LITTLE: usize = 6;

/// Whether a body is the place for one: nothing, a word that something is to do, or dots for what was left out.
fn is_stub(language: Language, source: &str, body: &[Token]) -> bool {
    let text = |t: &Token| &source[t.start..t.end];
    let comment_says = |what: &str| {
        let comments = body.iter().filter(|t| t.kind == Kind::Comment);
        comments.map(|t| text(t).trim_start_matches(['/', '*', '#', ' '])).any(|said| said.starts_with(what))
    };
    if comment_says("...") {
        return true;
    }
    let mut code: Vec<&Token> = body.iter().filter(|t| t.kind != Kind::Comment).collect();
    // What a function is for, said at its beginning.
    let first = code.iter().position(|t| t.kind != Kind::Line).unwrap_or(code.len());
    let describes = language == Language::Python
        && code.get(first).is_some_and(|t| t.kind == Kind::Text)
        && code.get(first + 1).is_none_or(|t| t.kind == Kind::Line);
    code.drain(..(first + usize::from(describes)).min(code.len()));
    code.retain(|t| t.kind != Kind::Line && t.kind != Kind::Mark(b';'));
    if code.len() <= LITTLE && comment_says("TODO") {
        return true;
    }
    let says_so = |t: &Token| {
        let said = text(t).to_ascii_lowercase();
        t.kind == Kind::Text && ["not implemented", "unimplemented", "todo"].iter().any(|sign| said.contains(sign))
    };
    let words = |wanted: &[&str]| code.len() >= wanted.len() && code.iter().zip(wanted).all(|(t, w)| text(t) == *w);
    match language {
        Language::Python => {
            let nothing = code.len() == 1 && words(&["pass"]) || code.len() == 3 && words(&[".", ".", "."]);
            nothing || describes && code.is_empty() || words(&["raise", "NotImplementedError"])
        }
        Language::Rust => words(&["todo", "!"]) || words(&["unimplemented", "!"]),
        Language::Go => words(&["panic", "("]) && code.get(2).is_some_and(|t| says_so(t)),
        _ => words(&["throw"]) && code.iter().take(6).any(|t| says_so(t)),
    }
}

/// Where a function begins with the comments, attributes and decorators right before it.
fn with_what_belongs(language: Language, source: &str, mut from: usize) -> usize {
    while let Some(before) = source[..from].strip_suffix('\n') {
        let start = before.rfind('\n').map_or(0, |n| n + 1);
        let line = &before[start..];
        let belongs = match language {
            Language::Python => line.starts_with('@') || line.starts_with('#'),
            Language::Rust => line.starts_with("//") || line.starts_with("#["),
            _ => line.starts_with("//"),
        };
        if !belongs {
            break;
        }
        from = start;
    }
    from
}

/// The name of the function that a line begins; none when it begins something else.
fn name(language: Language, line: &str) -> Option<String> {
    let word = |text: &str| {
        let end = text.find(|c: char| !c.is_alphanumeric() && c != '_' && c != '$').unwrap_or(text.len());
        (end > 0).then(|| text[..end].to_owned())
    };
    let without = |text: &'_ str, words: &[&str]| -> String {
        let mut rest = text;
        while let Some(next) = words.iter().find_map(|w| rest.strip_prefix(w)) {
            rest = next.trim_start();
        }
        rest.to_owned()
    };
    match language {
        Language::Go => {
            let rest = line.strip_prefix("func ")?.trim_start();
            let Some(receiver) = rest.strip_prefix('(') else { return word(rest) };
            let (receiver, rest) = receiver.split_once(')')?;
            let kind = receiver.split_whitespace().last()?.trim_start_matches('*');
            Some(format!("{kind}.{}", word(rest.trim_start())?))
        }
        Language::Rust => {
            word(without(line, &["pub(crate) ", "pub(super) ", "pub ", "const ", "async ", "unsafe "]).strip_prefix("fn ")?.trim_start())
        }
        Language::JavaScript | Language::TypeScript => {
            let rest = without(line, &["export ", "default ", "async "]);
            let rest = rest.strip_prefix("function")?;
            rest.starts_with(['*', ' ']).then(|| word(rest.trim_start_matches(['*', ' '])))?
        }
        Language::Python => word(without(line, &["async "]).strip_prefix("def ")?.trim_start()),
        Language::Json | Language::Yaml | Language::Toml => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stubs(language: Language, source: &str) -> Vec<(String, bool)> {
        let anatomy = anatomy(language, source).unwrap();
        anatomy.functions.into_iter().map(|f| (f.name, f.is_stub)).collect()
    }

    #[test]
    fn a_function_that_ends_in_pass_is_none_that_does_nothing() {
        use Language::{Go, JavaScript, Python, Rust};
        let check = |language, body: &str, expect: bool| {
            let (source, name) = match language {
                Python => (format!("def f(x):\n{body}\n"), "f"),
                Rust => (format!("fn f() {{\n{body}\n}}\n"), "f"),
                Go => (format!("func f() {{\n{body}\n}}\n"), "f"),
                _ => (format!("function f() {{\n{body}\n}}\n"), "f"),
            };
            assert_eq!(stubs(language, &source), [(name.to_owned(), expect)], "{source}");
        };

        check(Python, "    try:\n        return int(x)\n    except ValueError:\n        pass", false);
        check(Python, "    for y in x:\n        print(y)\n        ...", false);
        check(Python, "    try:\n        return x()\n    except NotImplementedError:\n        return 0", false);
        check(Python, "    return 'TODO'  # as it says", false);
        check(Python, "    pass", true);
        check(Python, "    '''What it does.'''\n    ...", true);
        check(Python, "    '''What it does.'''", true);
        check(Python, "    raise NotImplementedError(\"x\")", true);
        check(Python, "    # TODO: all of it\n    return x", true);
        check(Rust, concat!("    todo", "!()"), true);
        check(Rust, "    let a = \"todo!\";\n    b(a)", false);
        check(Rust, concat!("    match a {\n        1 => b(),\n        _ => todo", "!(),\n    }"), false);
        check(Python, "    # TODO: keep what was found\n    for y in x:\n        if y > 1:\n            return y\n    return None", false);
        check(Python, "    a = x\n    # ... the rest as it was\n    b = y\n    return a + b + x(y)", true);
        check(Go, "\tpanic(\"not implemented\")", true);
        check(Go, "\tif a {\n\t\tpanic(\"not implemented\")\n\t}", false);
        check(JavaScript, "  throw new Error('Not implemented');", true);
        check(JavaScript, "  // ... the rest\n  return 1;", true);
        check(JavaScript, "  return 1;", false);
    }

    #[test]
    fn declarations_without_a_body_are_none() {
        let source = "function f(a: string): void\nfunction f(a: number): void\nfunction f(a: any) {\n  g(a)\n}\n";
        assert_eq!(stubs(Language::TypeScript, source), [("f".to_owned(), false)]);
        let source = "fn a<T>(t: T)\nwhere\n    T: Copy,\n{\n    b(t)\n}\n\nfn b<T>(_: T) {}\n";
        assert_eq!(stubs(Language::Rust, source), [("a".to_owned(), false), ("b".to_owned(), false)]);
    }

    #[test]
    fn what_this_crate_is_written_in_is_taken_apart() {
        for source in [include_str!("code.rs"), include_str!("merge.rs"), include_str!("run.rs"), include_str!("lib.rs")] {
            assert_eq!(check(Language::Rust, source, &Limits::default()), Verdict::Valid);
            assert_eq!(ends(Language::Rust, source), Look::Unread, "nothing is open");
        }
        let source = include_str!("merge.rs");
        let found = anatomy(Language::Rust, source).unwrap();
        let names: Vec<&str> = found.functions.iter().map(|f| f.name.as_str()).collect();
        assert!(names.contains(&"better") && names.contains(&"merge"), "{names:?}");
    }
}
