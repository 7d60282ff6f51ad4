//! How deep code nests, seen before a parser sees it.
//!
//! The parsers of programming languages are functions that call themselves. In a component the stack is half a MiB, and what goes past
//! its end is
//! a trap that no code can catch. So what could lead there is refused before: brackets within brackets, and chains of what binds to the
//! right
//! (`!!!!a`, `a => b => c`, `a ? b : c ? d : e`, `else if`). The estimate is coarse and on the safe side.

use crate::Language;
use crate::lex::{Kind, Token};

/// What is counted at one place of the code.
#[derive(Debug, Default, Clone, Copy)]
struct Chain {
    /// What binds to the right, since the statement began.
    links: usize,
    /// Those of them that a comma does not end.
    lasting: usize,
    /// Signs in a row that stand before what they belong to.
    run: usize,
}

impl Chain {
    fn depth(self) -> usize {
        self.links + self.lasting + self.run
    }
}

/// A bracket that is open.
struct Bracket {
    /// What was counted around it.
    around: Chain,
    /// Whether it belongs to an `if`, so that a statement follows it.
    is_head: bool,
}

/// Where code nests deeper than a limit.
pub fn exceeds(language: Language, source: &str, tokens: &[Token], limit: usize) -> Option<usize> {
    let is_script = matches!(language, Language::JavaScript | Language::TypeScript);
    let has_elements = is_script && has_elements(source);
    let mut open: Vec<Bracket> = Vec::new();
    let (mut chain, mut outer, mut elements) = (Chain::default(), 0, 0usize);
    // Of each tag of an element that is open: what was counted before it.
    let mut tags: Vec<usize> = Vec::new();
    let mut indents: Vec<usize> = Vec::new();
    // The last two tokens.
    let (mut before, mut earlier): (Option<&Token>, Option<&Token>) = (None, None);
    let (mut line_between, mut behind_head, mut behind_type) = (true, false, false);
    for token in tokens {
        let text = &source[token.start..token.end];
        match token.kind {
            Kind::Comment => continue,
            Kind::Line => {
                line_between = true;
                continue;
            }
            _ => {}
        }
        if line_between && language == Language::Python && open.is_empty() {
            let indent = token.start - source[..token.start].rfind('\n').map_or(0, |at| at + 1);
            while indents.last().is_some_and(|last| *last >= indent) {
                indents.pop();
            }
            indents.push(indent);
        }
        let ends = ends_statement(language, source, before, token, line_between, open.is_empty());
        // `type A = B<C>` ends with its line too.
        let ends_type = behind_type && line_between && matches!(token.kind, Kind::Word | Kind::Close(_));
        if !behind_head && (ends || ends_type) {
            chain = Chain::default();
        }
        (behind_head, behind_type) = (false, false);
        let after = before.map(|b| b.kind);
        let infix = matches!(after, Some(Kind::Word | Kind::Text | Kind::Close(_)));
        match token.kind {
            Kind::Open(bracket) => {
                outer += chain.depth() + 1;
                let is_head = bracket == b'(' && before.is_some_and(|b| HEADS.contains(&&source[b.start..b.end]));
                open.push(Bracket { around: std::mem::take(&mut chain), is_head });
            }
            Kind::Close(bracket) => {
                if let Some(closed) = open.pop() {
                    outer -= closed.around.depth() + 1;
                    chain = Chain { run: 0, ..closed.around };
                    behind_head = closed.is_head;
                    // `[][][]a`: a list of lists of lists.
                    chain.links += usize::from(language == Language::Go && bracket == b']');
                }
            }
            Kind::Mark(b';') => chain = Chain::default(),
            Kind::Mark(b',') => chain = Chain { lasting: chain.lasting, ..Chain::default() },
            Kind::Mark(mark) => {
                if has_elements && mark == b'<' {
                    let next = source.as_bytes().get(token.end).copied().unwrap_or(b' ');
                    let apart = before.is_none_or(|b| b.end < token.start);
                    let behind_tag = earlier.is_some_and(|e| e.kind == Kind::Mark(b'>'));
                    let begins = next == b'>' || next.is_ascii_alphabetic() || next >= 0x80;
                    if next == b'/' {
                        elements = elements.saturating_sub(1);
                        tags.push(chain.links);
                    } else if begins && (!infix || apart || behind_tag) {
                        elements += 1;
                        tags.push(chain.links);
                    }
                } else if has_elements && mark == b'>' && after != Some(Kind::Mark(b'=')) {
                    elements -= usize::from(after == Some(Kind::Mark(b'/'))).min(elements);
                    // Its attributes are over.
                    chain.links = tags.pop().map_or(chain.links, |links| links.min(chain.links));
                }
                match mark {
                    b'<' => {
                        chain.lasting += 1;
                        // A cast stands before what it casts.
                        chain.links += usize::from(is_script && !infix);
                    }
                    b'>' if matches!(after, Some(Kind::Mark(b'-' | b'='))) => chain.links += 1,
                    b'>' => {
                        behind_type = chain.lasting == 1;
                        chain.lasting = chain.lasting.saturating_sub(1);
                    }
                    b'?' | b'=' => chain.links += 1,
                    b'*' | b'|' if after == Some(Kind::Mark(mark)) => chain.links += 1,
                    // `a: b: c:` are labels of labels.
                    b':' if after == Some(Kind::Word) && earlier.is_some_and(|e| e.kind == Kind::Mark(b':')) => chain.links += 1,
                    _ if !infix => chain.run += 1,
                    _ => chain.run = 0,
                }
            }
            Kind::Word if text == "lambda" => chain.lasting += 1,
            Kind::Word if LINKS.contains(&text) => chain.links += 1,
            _ => chain.run = 0,
        }
        if outer + chain.depth() + indents.len() + elements > limit {
            return Some(token.start);
        }
        (earlier, before, line_between) = (before, Some(token), false);
    }
    None
}

/// Whether a script may have elements of JSX: none is without an end.
pub fn has_elements(source: &str) -> bool {
    source.contains("</") || source.contains("/>")
}

/// Words that something follows which they hold, in one language or another.
const LINKS: [&str; 27] = [
    "else", "elif", "not", "await", "if", "for", "while", "do", "new", "typeof", "void", "delete", "yield", "chan", "func", "map", "keyof",
    "readonly", "infer", "extends", "dyn", "impl", "mut", "move", "return", "in", "async",
];

/// Words whose parentheses a statement follows.
const HEADS: [&str; 4] = ["if", "for", "while", "with"];

/// Whether another statement begins with a token: as far as can be seen without a grammar.
fn ends_statement(language: Language, source: &str, before: Option<&Token>, token: &Token, line_between: bool, outside: bool) -> bool {
    let Some(before) = before else { return false };
    let (last, text) = (&source[before.start..before.end], &source[token.start..token.end]);
    let goes_on = match token.kind {
        Kind::Word => GO_ON.contains(&text),
        Kind::Text => false,
        Kind::Mark(mark) => !matches!(mark, b'@' | b'#' | b'!'),
        Kind::Open(open) => open != b'{' && open != b'[',
        _ => true,
    };
    let complete = matches!(before.kind, Kind::Word | Kind::Text | Kind::Close(_)) && last != "else" && last != "do";
    match language {
        // In a bracket that is never closed there are statements too, and no words that follow each other without one.
        Language::Python => {
            let follows = complete && !goes_on && token.kind == Kind::Word && !["if", "for", "async", "not"].contains(&text);
            line_between && (outside || before.kind == Kind::Mark(b',') || follows) && text != "else" && text != "elif"
        }
        _ if line_between && before.kind == Kind::Mark(b',') => true,
        _ => !goes_on && complete && (line_between || before.kind == Kind::Close(b'}')),
    }
}

/// Words that a statement goes on with.
const GO_ON: [&str; 13] = ["else", "elif", "catch", "finally", "while", "in", "of", "as", "is", "and", "or", "extends", "instanceof"];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lex;

    /// How deep code is taken to be.
    fn depth(language: Language, source: &str) -> usize {
        let tokens = lex::scan(language, source);
        (0..).find(|limit| exceeds(language, source, &tokens, *limit).is_none()).unwrap()
    }

    #[test]
    fn chains_and_brackets_count() {
        for (language, head, link) in NESTS {
            for n in [10, 100] {
                let found = depth(*language, &format!("{head}{}", link.repeat(n)));
                assert!((n - 1..=3 * n + 8).contains(&found), "{language:?} {link:?} x {n}: {found}");
            }
        }
    }

    /// One of these after the other makes a parser call itself.
    const NESTS: &[(Language, &str, &str)] = &[
        (Language::JavaScript, "", "("),
        (Language::JavaScript, "x = ", "!"),
        (Language::JavaScript, "x = ", "typeof "),
        (Language::JavaScript, "x = ", "a => "),
        (Language::JavaScript, "x = ", "(a, b) => "),
        (Language::JavaScript, "x = ", "a ? b : "),
        (Language::JavaScript, "x = ", "a ? "),
        (Language::JavaScript, "x = ", "a = "),
        (Language::JavaScript, "x = ", "a ** "),
        (Language::JavaScript, "x = ", "new "),
        (Language::JavaScript, "", "if (a) {} else "),
        (Language::JavaScript, "", "if (a)\n"),
        (Language::JavaScript, "x = ", "`${"),
        (Language::JavaScript, "x = /* </ */ ", "<a>"),
        (Language::JavaScript, "x = /* </ */ ", "<a>b"),
        (Language::JavaScript, "", "a: "),
        (Language::TypeScript, "type A = ", "A<B, "),
        (Language::TypeScript, "x = ", "<a>"),
        (Language::TypeScript, "type A = ", "keyof "),
        (Language::TypeScript, "type A = ", "A extends B ? C : "),
        (Language::Python, "x = ", "["),
        (Language::Python, "x = ", "not "),
        (Language::Python, "x = ", "-"),
        (Language::Python, "x = ", "lambda a, b: "),
        (Language::Python, "x = ", "a if b else "),
        (Language::Python, "x = ", "a ** "),
        (Language::Go, "package a\nvar x = ", "*"),
        (Language::Go, "package a\nvar x = ", "func() {"),
        (Language::Go, "package a\nvar x ", "map[a]"),
        (Language::Go, "package a\nvar x ", "[]"),
        (Language::Go, "package a\nfunc a() { ", "if a {} else "),
        (Language::Rust, "const A: A = ", "&"),
        (Language::Rust, "type A = ", "A<"),
        (Language::Rust, "fn a() { ", "a = "),
        (Language::Rust, "fn a() { ", "|a| "),
        (Language::Rust, "fn a() { ", "return "),
    ];

    #[test]
    fn blocks_of_python_count() {
        let code: String = (0..50).map(|n| format!("{}if a:\n", " ".repeat(n))).collect();
        assert!((50..110).contains(&depth(Language::Python, &code)));
    }

    #[test]
    fn long_code_is_not_deep() {
        let check = |language, head: &str, line: &str| {
            let found = depth(language, &format!("{head}{}", line.repeat(1000)));
            assert!(found < 16, "{language:?} {line:?}: {found}");
        };
        check(Language::JavaScript, "", "x = a ? b : !c\n");
        check(Language::JavaScript, "", "if (a < b) { x = 1 }\n");
        check(Language::JavaScript, "", "if(a<b){x=1}");
        check(Language::JavaScript, "x = {", "a: () => b ? c : d,\n");
        check(Language::JavaScript, "x = a", " + 'b' - -1");
        check(Language::JavaScript, "x = a", "\n  .b(c => d)");
        check(Language::JavaScript, "x = <a>", "<b c={d}>e <f/></b>");
        check(Language::JavaScript, "switch (a) {", "case b:\ncase c:\n");
        check(Language::TypeScript, "", "type A = B<C>\n");
        check(Language::TypeScript, "", "a = <B>c;\n");
        check(Language::TypeScript, "interface A {\n", "  a?: b\n");
        check(Language::Python, "x = {", "'a': lambda b: c if d else e,\n");
        check(Language::Python, "a = b(c\n", "e = not f\n");
        check(Language::Python, "", "if a:\n    b = not c\n");
        check(Language::Go, "package a\n", "var x = a == *b\n");
        check(Language::Go, "package a\nfunc a() {\n", "if a := *b; a < b {\n c = <-d\n}\n");
        check(Language::Rust, "fn a() {\n", "let a: B<C> = if b { c } else { d };\n");
        check(Language::Rust, "enum A {\n", "A = -1,\n");
        check(Language::Rust, "fn a() { match b {\n", "A(b) => c,\nB { .. } => { d }\n");
    }
}
