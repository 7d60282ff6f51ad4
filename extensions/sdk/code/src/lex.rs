//! A light scanner: where texts, comments and brackets are, in all languages alike.
//!
//! It is not what decides whether code is right; the parsers are. It says how deep code nests before a parser is let loose on it, and
//! what is open
//! where code breaks off. It never fails: of what it does not understand it makes single characters.

use crate::Language;

/// What a piece of code is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// `(`, `[` or `{`.
    Open(u8),
    /// `)`, `]` or `}`.
    Close(u8),
    /// A string, a character, a regular expression; with its quotes.
    Text,
    /// A comment, without the end of its line.
    Comment,
    /// A name, a keyword or a number.
    Word,
    /// Any other single character that is not space.
    Mark(u8),
    /// The end of a line.
    Line,
}

/// A piece of code.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Token {
    /// What it is.
    pub kind: Kind,
    /// Where it begins, in bytes.
    pub start: usize,
    /// Where it ends, in bytes.
    pub end: usize,
    /// What would have had to stand at the end of a text or comment that is not closed.
    pub missing: Option<&'static str>,
}

/// Takes code apart.
pub fn scan(language: Language, source: &str) -> Vec<Token> {
    scan_counted(language, source).0
}

/// The same. The second is how many bytes were looked at in search of the ends of regular expressions.
fn scan_counted(language: Language, source: &str) -> (Vec<Token>, usize) {
    let mut scanner = Scanner {
        language,
        source: source.as_bytes(),
        at: 0,
        tokens: Vec::new(),
        templates: Vec::new(),
        ends: Ends::default(),
        searched: 0,
    };
    while scanner.at < scanner.source.len() {
        scanner.step();
    }
    (scanner.tokens, scanner.searched)
}

/// Where regular expressions of one line would end, for each place in it that they could begin behind. A slash that is none says so only at
/// the end of its line, and a line may be nothing but such slashes.
#[derive(Default)]
struct Ends {
    /// Where the line is looked at from.
    from: usize,
    /// Of each byte, outside and inside of a class: the byte of the slash that ends it, or [`NOWHERE`].
    at: Vec<[u32; 2]>,
}

/// There is no end in this line.
const NOWHERE: u32 = u32::MAX;

/// The bracket that closes one.
pub fn closing(open: u8) -> u8 {
    match open {
        b'(' => b')',
        b'[' => b']',
        _ => b'}',
    }
}

struct Scanner<'a> {
    language: Language,
    source: &'a [u8],
    at: usize,
    tokens: Vec<Token>,
    /// Of each template text (`` `a ${b} c` ``) that is open: how many braces are open in its expression.
    templates: Vec<usize>,
    ends: Ends,
    searched: usize,
}

impl Scanner<'_> {
    fn step(&mut self) {
        let rest = &self.source[self.at..];
        let byte = rest[0];
        match byte {
            b'\n' => self.push(Kind::Line, 1),
            b' ' | b'\t' | b'\r' => self.at += 1,
            b'#' if self.has_hash_comments() => self.line_comment(),
            b'/' if self.has_slash_comments() && rest.starts_with(b"//") => self.line_comment(),
            b'/' if self.has_slash_comments() && rest.starts_with(b"/*") => self.block_comment(),
            b'/' if self.is_script() && self.begins_regex() => self.regex(),
            b'"' | b'\'' | b'`' if self.begins_text(byte) => self.text(byte),
            b'r' | b'b' | b'c' if self.language == Language::Rust && self.raw_text() => {}
            b'(' | b'[' | b'{' => {
                if byte == b'{'
                    && let Some(open) = self.templates.last_mut()
                {
                    *open += 1;
                }
                self.push(Kind::Open(byte), 1);
            }
            b')' | b']' | b'}' => self.close(byte),
            _ if is_word(byte) => {
                let length = rest.iter().take_while(|b| is_word(**b)).count();
                self.push(Kind::Word, length);
            }
            _ => self.push(Kind::Mark(byte), 1),
        }
    }

    fn close(&mut self, byte: u8) {
        self.push(Kind::Close(byte), 1);
        let Some(open) = self.templates.last_mut().filter(|_| byte == b'}') else { return };
        if *open > 0 {
            *open -= 1;
            return;
        }
        // The expression in a template ends, and its text goes on.
        self.templates.pop();
        self.template(0);
    }

    fn push(&mut self, kind: Kind, length: usize) {
        self.tokens.push(Token { kind, start: self.at, end: self.at + length, missing: None });
        self.at += length;
    }

    fn push_text(&mut self, kind: Kind, end: usize, missing: Option<&'static str>) {
        self.tokens.push(Token { kind, start: self.at, end, missing });
        self.at = end;
    }

    fn has_hash_comments(&self) -> bool {
        match self.language {
            Language::Python | Language::Toml => true,
            // In the middle of a word it is a part of it.
            Language::Yaml => self.at == 0 || self.source[self.at - 1].is_ascii_whitespace(),
            Language::JavaScript | Language::TypeScript => self.at == 0 && self.source.starts_with(b"#!"),
            _ => false,
        }
    }

    fn has_slash_comments(&self) -> bool {
        matches!(self.language, Language::Go | Language::Rust) || self.is_script()
    }

    fn is_script(&self) -> bool {
        matches!(self.language, Language::JavaScript | Language::TypeScript)
    }

    fn line_comment(&mut self) {
        let length = self.source[self.at..].iter().take_while(|b| **b != b'\n').count();
        self.push(Kind::Comment, length);
    }

    fn block_comment(&mut self) {
        let nests = self.language == Language::Rust;
        let (mut at, mut depth) = (self.at + 2, 1);
        while at < self.source.len() {
            let rest = &self.source[at..];
            if rest.starts_with(b"*/") {
                at += 2;
                depth -= 1;
                if depth == 0 {
                    return self.push_text(Kind::Comment, at, None);
                }
            } else if nests && rest.starts_with(b"/*") {
                at += 2;
                depth += 1;
            } else {
                at += 1;
            }
        }
        self.push_text(Kind::Comment, self.source.len(), Some("*/"));
    }

    /// Whether a quote begins a text.
    fn begins_text(&self, quote: u8) -> bool {
        match (self.language, quote) {
            (Language::Json | Language::Rust, b'"') => true,
            (Language::Json, _) | (Language::Rust | Language::Python | Language::Toml | Language::Yaml, b'`') => false,
            (Language::Rust, _) => self.is_character(),
            (Language::Yaml, _) => {
                let before = self.source[..self.at].iter().rev().find(|b| !matches!(**b, b' ' | b'\t'));
                before.is_none_or(|b| b"\n\r:,[{-?!".contains(b))
            }
            _ => true,
        }
    }

    /// Rust: `'a'` and not `'a`.
    fn is_character(&self) -> bool {
        let rest = &self.source[self.at + 1..];
        match rest.first() {
            Some(b'\\') => true,
            Some(first) => {
                let length = match first {
                    0xf0.. => 4,
                    0xe0.. => 3,
                    0xc0.. => 2,
                    _ => 1,
                };
                rest.get(length) == Some(&b'\'')
            }
            None => false,
        }
    }

    fn text(&mut self, quote: u8) {
        let rest = &self.source[self.at..];
        let long = rest.len() >= 3 && rest[1] == quote && rest[2] == quote;
        match (self.language, quote) {
            (Language::Python, b'"') if long => self.until(3, "\"\"\"", true),
            (Language::Python, b'\'') if long => self.until(3, "'''", true),
            (Language::Toml, b'"') if long => self.until(3, "\"\"\"", true),
            (Language::Toml, b'\'') if long => self.until(3, "'''", false),
            (Language::Go, b'`') => self.until(1, "`", false),
            (_, b'`') => self.template(1),
            (Language::Yaml, b'\'') => self.quoted_yaml(),
            (Language::Rust, b'"') | (Language::Yaml, b'"') => self.until(1, "\"", true),
            (Language::Toml, b'\'') => self.line_text(quote, false),
            _ => self.line_text(quote, true),
        }
    }

    /// A text over any number of lines.
    fn until(&mut self, opening: usize, end: &'static str, escapes: bool) {
        let mut at = self.at + opening;
        while at < self.source.len() {
            if escapes && self.source[at] == b'\\' {
                at += 2;
            } else if self.source[at..].starts_with(end.as_bytes()) {
                return self.push_text(Kind::Text, at + end.len(), None);
            } else {
                at += 1;
            }
        }
        self.push_text(Kind::Text, self.source.len(), Some(end));
    }

    /// A text that ends with its line at the latest.
    fn line_text(&mut self, quote: u8, escapes: bool) {
        let mut at = self.at + 1;
        while at < self.source.len() {
            match self.source[at] {
                b'\\' if escapes => at += 2,
                b'\n' => break,
                byte if byte == quote => return self.push_text(Kind::Text, at + 1, None),
                _ => at += 1,
            }
        }
        let missing = if quote == b'"' { "\"" } else { "'" };
        self.push_text(Kind::Text, at.min(self.source.len()), Some(missing));
    }

    fn quoted_yaml(&mut self) {
        let mut at = self.at + 1;
        while at < self.source.len() {
            if self.source[at..].starts_with(b"''") {
                at += 2;
            } else if self.source[at] == b'\'' {
                return self.push_text(Kind::Text, at + 1, None);
            } else {
                at += 1;
            }
        }
        self.push_text(Kind::Text, self.source.len(), Some("'"));
    }

    /// A piece of a template: to its end, or to where an expression begins.
    fn template(&mut self, opening: usize) {
        let mut at = self.at + opening;
        while at < self.source.len() {
            match self.source[at] {
                b'\\' => at += 2,
                b'`' => return self.push_text(Kind::Text, at + 1, None),
                b'$' if self.source.get(at + 1) == Some(&b'{') => {
                    self.push_text(Kind::Text, at + 1, None);
                    self.push(Kind::Open(b'{'), 1);
                    self.templates.push(0);
                    return;
                }
                _ => at += 1,
            }
        }
        self.push_text(Kind::Text, self.source.len(), Some("`"));
    }

    /// Rust: `r"…"`, `r#"…"#`, `br"…"`. False when it is something else.
    fn raw_text(&mut self) -> bool {
        if self.at > 0 && is_word(self.source[self.at - 1]) {
            return false;
        }
        let rest = &self.source[self.at..];
        let Some(r) = rest.iter().take(2).position(|b| *b == b'r') else { return false };
        let hashes = rest[r + 1..].iter().take_while(|b| **b == b'#').count();
        if rest.get(r + 1 + hashes) != Some(&b'"') {
            return false;
        }
        let mut at = self.at + r + 2 + hashes;
        while at < self.source.len() {
            let after = &self.source[at..];
            if after[0] == b'"' && after[1..].iter().take_while(|b| **b == b'#').count() >= hashes {
                self.push_text(Kind::Text, at + 1 + hashes, None);
                return true;
            }
            at += 1;
        }
        const ENDS: [&str; 4] = ["\"", "\"#", "\"##", "\"###"];
        self.push_text(Kind::Text, self.source.len(), Some(ENDS[hashes.min(3)]));
        true
    }

    /// Whether a slash begins a regular expression: not behind what a division could follow.
    fn begins_regex(&self) -> bool {
        let before = self.tokens.iter().rev().find(|t| !matches!(t.kind, Kind::Line | Kind::Comment));
        match before {
            None => true,
            Some(token) => match token.kind {
                Kind::Word => matches!(
                    &self.source[token.start..token.end],
                    b"return" | b"typeof" | b"case" | b"in" | b"of" | b"delete" | b"void" | b"throw" | b"new" | b"else" | b"do" | b"yield"
                ),
                // `</a>` and `/>` of JSX.
                Kind::Mark(b'<') => false,
                Kind::Close(_) | Kind::Text => false,
                _ => self.source.get(self.at + 1) != Some(&b'>'),
            },
        }
    }

    fn regex(&mut self) {
        let known = (self.at + 1).checked_sub(self.ends.from).and_then(|n| self.ends.at.get(n)).copied();
        let end = match known {
            Some([end, _]) => (end != NOWHERE).then_some(end as usize),
            None => self.regex_end().or_else(|| {
                self.find_ends();
                None
            }),
        };
        match end {
            Some(end) => self.push_text(Kind::Text, end + 1, None),
            // It was a division after all.
            None => self.push(Kind::Mark(b'/'), 1),
        }
    }

    /// The slash that ends the regular expression that begins here.
    fn regex_end(&mut self) -> Option<usize> {
        let (mut at, mut class) = (self.at + 1, false);
        while at < self.source.len() {
            self.searched += 1;
            match self.source[at] {
                b'\\' => at += 1,
                b'[' => class = true,
                b']' => class = false,
                b'\n' => break,
                b'/' if !class => return Some(at),
                _ => {}
            }
            at += 1;
        }
        None
    }

    /// The same for all that could begin in the rest of the line, from its end to here.
    fn find_ends(&mut self) {
        let from = self.at + 1;
        let length = self.source[from..].iter().position(|b| *b == b'\n').unwrap_or(self.source.len() - from);
        self.searched += length;
        let mut at = vec![[NOWHERE; 2]; length + 2];
        for n in (0..length).rev() {
            let next = at[n + 1];
            at[n] = match self.source[from + n] {
                b'\\' => at[n + 2],
                b'[' => [next[1]; 2],
                b']' => [next[0]; 2],
                b'/' => [u32::try_from(from + n).unwrap_or(NOWHERE), next[1]],
                _ => next,
            };
        }
        at.truncate(length);
        self.ends = Ends { from, at };
    }
}

/// Letters of other scripts are words; they have bytes over 127.
fn is_word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'$' || byte >= 0x80
}

/// What is open at the end of code: an unclosed text or comment, and the brackets around it, the outermost first.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Tail {
    /// What would close the text or comment that is open.
    pub text: Option<&'static str>,
    /// The brackets.
    pub brackets: Vec<u8>,
    /// Where a bracket closes that is not open, or another one is.
    pub mismatch: Option<usize>,
}

/// What is open at the end.
pub fn tail(tokens: &[Token], length: usize) -> Tail {
    let mut tail = Tail::default();
    for token in tokens {
        match token.kind {
            Kind::Open(open) => tail.brackets.push(open),
            Kind::Close(close) => {
                if tail.brackets.last().map(|open| closing(*open)) == Some(close) {
                    tail.brackets.pop();
                } else if tail.mismatch.is_none() {
                    tail.mismatch = Some(token.start);
                }
            }
            _ => {}
        }
    }
    tail.text = tokens.last().filter(|t| t.end >= length).and_then(|t| t.missing);
    tail
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The pieces as text: comments as `#`, texts as `"`, words as they are.
    fn check(language: Language, source: &str, expect: &str) {
        let shown: Vec<String> = scan(language, source)
            .iter()
            .filter(|t| t.kind != Kind::Line)
            .map(|t| match t.kind {
                Kind::Text => format!("\"{}", t.missing.unwrap_or_default()),
                Kind::Comment => format!("#{}", t.missing.unwrap_or_default()),
                _ => source[t.start..t.end].to_owned(),
            })
            .collect();
        assert_eq!(shown.join(" "), expect, "{language:?}: {source}");
    }

    #[test]
    fn texts_comments_and_brackets_are_told_apart() {
        check(Language::Go, "a := '}' + `{\n` // (\n/* [ */ b[\"]\"]", "a : = \" + \" # # b [ \" ]");
        check(Language::Python, "x = '''(\n''' + f\"{a}\" # [", "x = \" + f \" #");
        check(Language::Python, "x = '(\ny", "x = \"' y");
        check(Language::JavaScript, "`a ${b + `${{c}}`} (` / d", "\" { b + \" { { c } } \" } \" / d");
        check(Language::JavaScript, "a = /[/(]/.test(b) / 2 / c", "a = \" . test ( b ) / 2 / c");
        check(Language::TypeScript, "<b>{x}</b>; <br />", "< b > { x } < / b > ; < br / >");
        check(Language::Json, "{\"a\\\"}\": [1]", "{ \" : [ 1 ]");
        check(Language::Yaml, "a: \"}\"\nb: it's #1 # {\nc#d: ['x']", "a : \" b : it ' s # c # d : [ \" ]");
        check(Language::Toml, "a = '''[\n''' # ]\nb = \"\"\"(\"\"\"", "a = \" # b = \"");
        check(
            Language::Rust,
            "fn a<'a>(c: &'a str) { '{'; r#\"\"}\"#; /* /* */ } */ b\"(\" }",
            "fn a < ' a > ( c : & ' a str ) { \" ; \" ; # b \" }",
        );
    }

    #[test]
    fn slashes_are_searched_once() {
        for line in ["=/[", "=/", "=/a", "=/[=/]", "=/\\", "=/[/a/="] {
            let searched = |n: usize| {
                let source = line.repeat(n);
                let (tokens, searched) = scan_counted(Language::JavaScript, &source);
                assert!(tokens.iter().zip(&tokens[1..]).all(|(a, b)| a.end <= b.start), "{line}");
                assert!(searched <= 3 * source.len(), "{line:?} x {n}: {searched} bytes of {}", source.len());
                searched
            };
            assert!(searched(20_000) <= 2 * searched(10_000) + 100, "{line}");
        }
        // What is known of a line is the same as what is found in it.
        check(Language::JavaScript, "a = /[b, c = /d/ + /e\ne = /f/", "a = / [ b , c = \" + / e e = \"");
    }

    #[test]
    fn what_is_open_at_the_end_is_known() {
        let check = |language, source: &str, text: Option<&'static str>, brackets: &str, mismatch: Option<usize>| {
            let expect = Tail { text, brackets: brackets.as_bytes().to_vec(), mismatch };
            assert_eq!(tail(&scan(language, source), source.len()), expect, "{source}");
        };
        check(Language::Go, "func a() { if x { b(\"c", Some("\""), "{{(", None);
        check(Language::JavaScript, "a(`x ${b", None, "({", None);
        check(Language::JavaScript, "a(`x ${b} c", Some("`"), "(", None);
        check(Language::Python, "'''a", Some("'''"), "", None);
        check(Language::Rust, "/* /* */", Some("*/"), "", None);
        check(Language::Rust, "r##\"a\"#", Some("\"##"), "", None);
        check(Language::Json, "{\"a\": [1}", None, "{[", Some(8));
        check(Language::Json, "\"a\\", Some("\""), "", None);
    }
}
