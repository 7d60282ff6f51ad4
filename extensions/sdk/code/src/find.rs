//! Where code is in an answer: in fences (CommonMark), or all of it.

use std::ops::Range;

use crate::Language;
use crate::lex::{self, Kind};

/// A piece of code in a text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Block {
    /// The language, where it is one that can be checked.
    pub language: Option<Language>,
    /// The first word behind the fence, as it was written.
    pub tag: Option<String>,
    /// The code, without what the fence is indented by.
    pub code: String,
    /// Where the code is in the text.
    pub range: Range<usize>,
    /// The line of the text that the code begins at, from 1.
    pub line: usize,
    /// How it stands there.
    pub place: Place,
}

/// How code stands in a text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Place {
    /// In a fence.
    Fenced {
        /// What the fence is indented by.
        indent: String,
        /// The fence that would have to end it, where none does.
        unclosed: Option<String>,
    },
    /// The text is code and nothing else.
    Whole,
}

/// Finds code.
pub fn blocks(text: &str) -> Vec<Block> {
    let fenced = fenced(text);
    if fenced.is_empty() { whole(text).into_iter().collect() } else { fenced }
}

impl Block {
    /// The text with other code in this place.
    pub fn replaced(&self, text: &str, code: &str) -> String {
        replaced(text, &[(self, code)])
    }

    /// Code as it is written in this place of a text.
    fn written(&self, text: &str, code: &str) -> String {
        let Place::Fenced { indent, unclosed } = &self.place else { return code.to_owned() };
        let before = &text[..self.range.start];
        // A fence without a line in it ends where it begins.
        let mut lines = String::from(if before.ends_with('\n') || before.is_empty() { "" } else { "\n" });
        lines.extend(code.lines().flat_map(|l| if l.is_empty() { ["", "", "\n"] } else { [indent.as_str(), l, "\n"] }));
        if let Some(fence) = unclosed {
            lines.push_str(indent);
            lines.push_str(fence);
        }
        lines
    }
}

/// A text with other code in some of its places, which follow each other.
pub fn replaced(text: &str, places: &[(&Block, &str)]) -> String {
    let (mut changed, mut at) = (String::with_capacity(text.len()), 0);
    for (block, code) in places {
        changed.push_str(&text[at..block.range.start]);
        changed.push_str(&block.written(text, code));
        at = block.range.end;
    }
    changed.push_str(&text[at..]);
    changed
}

/// An opening fence.
struct Fence<'a> {
    indent: &'a str,
    mark: char,
    length: usize,
    info: &'a str,
}

fn opening(line: &str) -> Option<Fence<'_>> {
    let rest = line.trim_start_matches([' ', '\t']);
    let indent = &line[..line.len() - rest.len()];
    let mark = rest.chars().next().filter(|c| *c == '`' || *c == '~')?;
    let length = rest.chars().take_while(|c| *c == mark).count();
    let info = rest[length..].trim();
    // `` ```a``` `` is code in a line.
    (length >= 3 && !(mark == '`' && info.contains('`'))).then_some(Fence { indent, mark, length, info })
}

impl Fence<'_> {
    fn is_closed_by(&self, line: &str) -> bool {
        let line = line.trim();
        line.chars().all(|c| c == self.mark) && line.len() >= self.length
    }

    fn code(&self, raw: &str) -> String {
        if self.indent.is_empty() {
            return raw.to_owned();
        }
        let strip = |line: &str| {
            let spaces = line.bytes().take(self.indent.len()).take_while(|b| *b == b' ' || *b == b'\t').count();
            line[spaces..].to_owned()
        };
        raw.split_inclusive('\n').map(strip).collect()
    }
}

fn fenced(text: &str) -> Vec<Block> {
    let mut found = Vec::new();
    let mut lines = Lines { text, at: 0, number: 0 };
    while let Some((_, line)) = lines.next() {
        let Some(fence) = opening(line) else { continue };
        let (start, first) = (lines.at, lines.number + 1);
        // A page in Markdown has fences of its own, often as long as the one around it.
        let is_page = matches!(fence.info.split_whitespace().next(), Some("markdown" | "md" | "mdx"));
        let (mut end, mut closed, mut inner) = (text.len(), false, 0);
        for (begin, line) in lines.by_ref() {
            if is_page
                && inner == 0
                && opening(line).is_some_and(|f| f.mark == fence.mark && f.length >= fence.length && !f.info.is_empty())
            {
                inner += 1;
            } else if fence.is_closed_by(line) {
                if inner > 0 {
                    inner -= 1;
                    continue;
                }
                (end, closed) = (begin, true);
                break;
            }
        }
        let code = fence.code(&text[start..end]);
        let (tag, language) = tagged(fence.info, &code);
        let unclosed = (!closed).then(|| fence.mark.to_string().repeat(fence.length));
        let place = Place::Fenced { indent: fence.indent.to_owned(), unclosed };
        found.push(Block { language, tag, code, range: start..end, line: first, place });
    }
    found
}

/// Lines of a text, with where they begin.
struct Lines<'a> {
    text: &'a str,
    at: usize,
    number: usize,
}

impl<'a> Iterator for Lines<'a> {
    type Item = (usize, &'a str);

    fn next(&mut self) -> Option<Self::Item> {
        let rest = &self.text[self.at..];
        if rest.is_empty() {
            return None;
        }
        let length = rest.find('\n').map_or(rest.len(), |n| n + 1);
        let begin = self.at;
        self.at += length;
        self.number += 1;
        Some((begin, rest[..length].trim_end_matches(['\n', '\r'])))
    }
}

/// What the words behind a fence say: `python`, `python title="x"`, `{.python}`, `ts:src/a.ts`, `src/a.ts`.
fn tagged(info: &str, code: &str) -> (Option<String>, Option<Language>) {
    let word = info.trim_start_matches(['{', '.', ' ']).split([' ', '\t', ',', '}', '{']).next().unwrap_or_default();
    if word.is_empty() {
        return (None, Language::detect(code).filter(|_| !is_session(code)));
    }
    let (name, path) = word.split_once(':').unwrap_or((word, ""));
    let language = Language::from_tag(name).or_else(|| Language::from_path(name)).or_else(|| {
        // `12:30:a.py` cites some lines of a file, which need not be whole.
        let cites = name.chars().all(|c| c.is_ascii_digit());
        if cites { None } else { Language::from_path(path) }
    });
    (Some(word.to_owned()), language.filter(|_| !is_session(code)))
}

/// What was typed into a prompt, with what it answered.
fn is_session(code: &str) -> bool {
    let first = code.trim_start();
    [">>> ", "$ ", "> ", "In [1]:"].iter().any(|p| first.starts_with(p))
}

/// A text that is code: it is clear which language it is, and no line is a sentence.
fn whole(text: &str) -> Option<Block> {
    let language = Language::detect(text)?;
    // Lists and notes of people are YAML often enough.
    if matches!(language, Language::Yaml | Language::Toml) {
        return None;
    }
    if language != Language::Json {
        let tokens = lex::scan(language, text);
        let inside = |at: usize| {
            let token = tokens.get(tokens.partition_point(|t| t.end <= at));
            token.is_some_and(|t| matches!(t.kind, Kind::Comment | Kind::Text) && t.start <= at)
        };
        let mut lines = Lines { text, at: 0, number: 0 };
        if lines.any(|(begin, line)| is_prose(line) && !inside(begin + line.len() - line.trim_start().len())) {
            return None;
        }
    }
    Some(Block { language: Some(language), tag: None, code: text.to_owned(), range: 0..text.len(), line: 1, place: Place::Whole })
}

/// A sentence: words and nothing that code has.
pub(crate) fn is_prose(line: &str) -> bool {
    let line = line.trim();
    let words = line.split_whitespace().count();
    let plain = !line.contains(['=', '{', '}', ';', '<', '>', '_', '|', '\\', '[', ']']) && !line.contains("(\"") && !line.contains("()");
    let begins = line.starts_with(|c: char| c.is_uppercase()) || line.starts_with("- ") || line.starts_with("**");
    // Statements that read like sentences begin in lower case.
    plain && begins && words >= 3 && (line.ends_with(['.', ':', '!', '?']) || words >= 6)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Language, tag, line and code of each block.
    fn check(text: &str, expect: &[(Option<Language>, Option<&str>, usize, &str)]) {
        let found = blocks(text);
        let shown: Vec<_> = found.iter().map(|b| (b.language, b.tag.as_deref(), b.line, b.code.as_str())).collect();
        assert_eq!(shown, expect, "{text}");
        // What is not changed stays as it is.
        for block in found.iter().filter(|b| matches!(&b.place, Place::Fenced { unclosed: None, .. }) && b.code.ends_with('\n')) {
            assert_eq!(block.replaced(text, &block.code), text);
        }
    }

    #[test]
    fn fences_are_found() {
        use Language::*;
        check(
            "Here:\n```python\na = 1\n```\nand\n~~~ js title=\"x\"\nb()\n~~~\n",
            &[(Some(Python), Some("python"), 3, "a = 1\n"), (Some(JavaScript), Some("js"), 7, "b()\n")],
        );
        check("````md\n```go\n```\n````\n", &[(None, Some("md"), 2, "```go\n```\n")]);
        check(
            "```markdown\n# A\n```go\npackage a\n```\nb\n```\nc\n```json\n{}\n```",
            &[(None, Some("markdown"), 2, "# A\n```go\npackage a\n```\nb\n"), (Some(Json), Some("json"), 10, "{}\n")],
        );
        check("````python\n'''\n```\n'''\n````", &[(Some(Python), Some("python"), 2, "'''\n```\n'''\n")]);
        check("1. a:\n   ```yaml\n   a:\n     - b\n   ```\n", &[(Some(Yaml), Some("yaml"), 3, "a:\n  - b\n")]);
        check("```rs\nfn a() {", &[(Some(Rust), Some("rs"), 2, "fn a() {")]);
        check("```", &[(None, None, 2, "")]);
        check("a ```b``` c\n", &[]);
        check(
            "```src/a.tsx\n<a/>\n```\n```12:14:a.py\n  x\n```\n```ts:b/c.ts\nd\n```\n```{.python .x}\n1\n```",
            &[
                (Some(TypeScript), Some("src/a.tsx"), 2, "<a/>\n"),
                (None, Some("12:14:a.py"), 5, "  x\n"),
                (Some(TypeScript), Some("ts:b/c.ts"), 8, "d\n"),
                (Some(Python), Some("python"), 11, "1\n"),
            ],
        );
        check(
            "```bash\nls (\n```\n```text\ndef a(:\n```\n```python\n>>> a\n1\n```",
            &[(None, Some("bash"), 2, "ls (\n"), (None, Some("text"), 5, "def a(:\n"), (None, Some("python"), 8, ">>> a\n1\n")],
        );
    }

    #[test]
    fn fences_without_a_tag_are_recognised() {
        let check = |code: &str, expect: Option<Language>| {
            assert_eq!(blocks(&format!("x\n```\n{code}\n```"))[0].language, expect, "{code}");
        };
        check("package main\n\nfunc main() {\n\tfmt.Println(1)\n}", Some(Language::Go));
        check("def a(b):\n    return b\n\nprint(a(1))", Some(Language::Python));
        check("import os\nfrom a import b\n", Some(Language::Python));
        check("const a = require('b');\nconsole.log(a);\n", Some(Language::JavaScript));
        check("interface A {\n  b: string;\n}\nconst c: A = { b: 'd' };", Some(Language::TypeScript));
        check("use std::fmt;\n\nfn main() {\n    println!(\"{}\", 1);\n}", Some(Language::Rust));
        check("{\"a\": 1,}", Some(Language::Json));
        check("[package]\nname = \"a\"\nversion = \"1\"\n", Some(Language::Toml));
        check("on: push\njobs:\n  a:\n    runs-on: b\n    steps:\n      - run: c\n", Some(Language::Yaml));
        check("#!/usr/bin/env python3\nx", Some(Language::Python));
        for nothing in [
            "ls -la | grep x",
            "SELECT * FROM a WHERE b = 1;",
            "",
            "+---+\n| a |\n+---+",
            "Error: it failed\n  at line 3",
            ".a { color: red; }",
        ] {
            check(nothing, None);
        }
    }

    #[test]
    fn answers_that_are_code_are_recognised() {
        let check = |text: &str, expect: Option<Language>| {
            assert_eq!(blocks(text).first().and_then(|b| b.language), expect, "{text}");
        };
        check("package main\n\nimport \"fmt\"\n\nfunc main() {\n\tfmt.Println(\"Hello there, my old friend.\")\n", Some(Language::Go));
        check(
            "def a(b):\n    \"\"\"It does what it does.\n\n    Nothing else is here to be seen.\n    \"\"\"\n    return b\n",
            Some(Language::Python),
        );
        check("{\"a\": [1, 2", Some(Language::Json));
        check("Use a dictionary: it maps names to values. In Python one writes def a(): and so on.", None);
        check("Here is what to do:\n\ndef a(b):\n    return b\n", None);
        check("Dear all,\nNote: this matters.\nDate: today\nPlace: here\n", None);
        check("Hello.", None);
    }
}
