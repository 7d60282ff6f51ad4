//! Which bytes of a source are code and which are text in it: strings and comments. Enough to say that brackets match, and where blocks
//! end.
//!
//! It is no parser. What it calls broken is broken: a bracket, a string or a comment without its end. What it does not call broken may
//! still be.

/// Languages that a plain scanner can read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Language {
    /// Go.
    Go,
    /// Rust.
    Rust,
    /// JavaScript and TypeScript, without JSX.
    Script,
    /// Python.
    Python,
    /// JSON.
    Json,
}

/// What is wrong: the line, from 1, and what it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault(pub usize, pub String);

/// For each byte whether it is code, and how deep in brackets it is.
#[derive(Debug)]
pub struct Scanned {
    /// Strings and comments are none.
    pub code: Vec<bool>,
    /// Of an opening or a closing bracket, that of what is around it.
    pub depth: Vec<u32>,
}

impl Language {
    /// The language of a fence's tag.
    pub fn of(tag: &str, code: &str) -> Option<Self> {
        Some(match tag.to_ascii_lowercase().as_str() {
            "go" | "golang" => Self::Go,
            "rust" | "rs" => Self::Rust,
            // JSX has text between its tags, where an apostrophe is no string.
            "js" | "javascript" | "mjs" | "ts" | "typescript" if !code.contains("</") && !code.contains("/>") => Self::Script,
            "python" | "py" | "python3" => Self::Python,
            "json" => Self::Json,
            _ => return None,
        })
    }
}

/// Whether a source is whole.
pub fn check(language: Language, source: &str) -> Result<(), Fault> {
    match language {
        Language::Json => match serde_json::from_str::<serde::de::IgnoredAny>(source) {
            Ok(_) => Ok(()),
            Err(e) => Err(Fault(e.line(), e.to_string())),
        },
        Language::Python => indentation(source, &scan(language, source)?),
        _ => scan(language, source).map(|_| ()),
    }
}

/// Reads a source.
pub fn scan(language: Language, source: &str) -> Result<Scanned, Fault> {
    let mut scanner = Scanner { language, bytes: source.as_bytes(), at: 0, open: Vec::new(), code: Vec::new(), depth: Vec::new() };
    scanner.code.resize(source.len(), false);
    scanner.depth.resize(source.len(), 0);
    scanner.run()?;
    Ok(Scanned { code: scanner.code, depth: scanner.depth })
}

struct Scanner<'a> {
    language: Language,
    bytes: &'a [u8],
    at: usize,
    /// Brackets, and where they were opened. A `` ` `` stands for the template that code is in.
    open: Vec<(u8, usize)>,
    code: Vec<bool>,
    depth: Vec<u32>,
}

impl Scanner<'_> {
    fn run(&mut self) -> Result<(), Fault> {
        while let Some(&byte) = self.bytes.get(self.at) {
            let start = self.at;
            self.depth[start] = self.open.len() as u32;
            let skipped = self.text(byte)?;
            if skipped {
                let depth = self.open.len() as u32;
                self.depth[start..self.at.min(self.bytes.len())].fill(depth);
                continue;
            }
            self.code[start] = true;
            self.at += 1;
            match byte {
                b'(' | b'[' | b'{' => self.open.push((byte, start)),
                b')' | b']' | b'}' => {
                    let wanted = match byte {
                        b')' => b'(',
                        b']' => b'[',
                        _ => b'{',
                    };
                    match self.open.pop() {
                        Some((open, _)) if open == wanted => self.depth[start] = self.open.len() as u32,
                        Some((b'`', from)) if byte == b'}' => {
                            self.depth[start] = self.open.len() as u32;
                            self.template(from)?;
                        }
                        Some((open, from)) => {
                            let message = format!("`{}` of line {} is closed by `{}`", open as char, self.line(from), byte as char);
                            return Err(Fault(self.line(start), message));
                        }
                        None => return Err(Fault(self.line(start), format!("`{}` closes nothing", byte as char))),
                    }
                }
                _ => {}
            }
        }
        match self.open.last() {
            Some((open, from)) => Err(Fault(self.line(*from), format!("`{}` is never closed", *open as char))),
            None => Ok(()),
        }
    }

    /// Skips a string or a comment, if one begins here.
    fn text(&mut self, byte: u8) -> Result<bool, Fault> {
        let next = self.bytes.get(self.at + 1).copied();
        let python = self.language == Language::Python;
        match (byte, next) {
            (b'#', _) if python => self.skip_line(),
            (b'/', Some(b'/')) if !python => self.skip_line(),
            (b'/', Some(b'*')) if !python => self.comment()?,
            (b'"' | b'\'', _) if python => self.python_string(byte)?,
            (b'"', _) if self.language == Language::Rust => self.rust_string()?,
            (b'"', _) => self.string(b'"')?,
            (b'\'', _) if self.language == Language::Rust => return Ok(self.rust_quote()),
            (b'\'', _) => self.string(b'\'')?,
            (b'`', _) if self.language == Language::Go => {
                let from = self.at;
                self.at += 1;
                self.until(b"`", from)?;
            }
            (b'`', _) if self.language == Language::Script => {
                let from = self.at;
                self.at += 1;
                self.template(from)?;
            }
            (b'/', _) if self.language == Language::Script && self.begins_value() => return Ok(self.pattern()),
            _ => return Ok(false),
        }
        Ok(true)
    }

    fn skip_line(&mut self) {
        self.at += self.bytes[self.at..].iter().position(|b| *b == b'\n').unwrap_or(self.bytes.len() - self.at);
    }

    fn comment(&mut self) -> Result<(), Fault> {
        let from = self.at;
        let mut nested = 0u32;
        loop {
            match self.bytes.get(self.at..self.at + 2) {
                Some(b"/*") if nested == 0 || self.language == Language::Rust => {
                    nested += 1;
                    self.at += 2;
                }
                Some(b"*/") => {
                    nested -= 1;
                    self.at += 2;
                    if nested == 0 {
                        return Ok(());
                    }
                }
                Some(_) => self.at += 1,
                None => return Err(self.unclosed(from, "a comment")),
            }
        }
    }

    /// A string of one line.
    fn string(&mut self, quote: u8) -> Result<(), Fault> {
        let from = self.at;
        self.at += 1;
        loop {
            match self.bytes.get(self.at) {
                Some(b'\\') => self.at += 2,
                Some(b'\n') | None => return Err(self.unclosed(from, "a string")),
                Some(b) => {
                    self.at += 1;
                    if *b == quote {
                        return Ok(());
                    }
                }
            }
        }
    }

    fn python_string(&mut self, quote: u8) -> Result<(), Fault> {
        let from = self.at;
        if self.bytes.get(from..from + 3) != Some(&[quote; 3]) {
            return self.string(quote);
        }
        self.at += 3;
        loop {
            match self.bytes.get(self.at) {
                Some(b'\\') => self.at += 2,
                Some(_) if self.bytes.get(self.at..self.at + 3) == Some(&[quote; 3]) => {
                    self.at += 3;
                    return Ok(());
                }
                Some(_) => self.at += 1,
                None => return Err(self.unclosed(from, "a string")),
            }
        }
    }

    /// A string of Rust may have several lines; with `r` before it, it has no escapes, and as many `#` as it begins with.
    fn rust_string(&mut self) -> Result<(), Fault> {
        let from = self.at;
        let before = &self.bytes[..from];
        let hashes = before.iter().rev().take_while(|b| **b == b'#').count();
        let raw = before[..from - hashes].ends_with(b"r");
        self.at += 1;
        if raw {
            let end = [b"\"".as_slice(), &vec![b'#'; hashes]].concat();
            return self.until(&end, from);
        }
        loop {
            match self.bytes.get(self.at) {
                Some(b'\\') => self.at += 2,
                Some(b'"') => {
                    self.at += 1;
                    return Ok(());
                }
                Some(_) => self.at += 1,
                None => return Err(self.unclosed(from, "a string")),
            }
        }
    }

    /// A character, or else a lifetime, which is code.
    fn rust_quote(&mut self) -> bool {
        let rest = &self.bytes[self.at + 1..];
        let length = match rest.first() {
            Some(b'\\') => rest.iter().skip(2).position(|b| *b == b'\'').map(|n| n + 2),
            Some(first) => Some(utf8_length(*first)).filter(|n| rest.get(*n) == Some(&b'\'')),
            None => None,
        };
        if let Some(length) = length {
            self.at += length + 2;
        }
        length.is_some()
    }

    /// A template of JavaScript, from its `` ` `` or from the end of code in it.
    fn template(&mut self, from: usize) -> Result<(), Fault> {
        loop {
            match self.bytes.get(self.at) {
                Some(b'\\') => self.at += 2,
                Some(b'`') => {
                    self.at += 1;
                    return Ok(());
                }
                Some(b'$') if self.bytes.get(self.at + 1) == Some(&b'{') => {
                    self.at += 2;
                    self.open.push((b'`', from));
                    return Ok(());
                }
                Some(_) => self.at += 1,
                None => return Err(self.unclosed(from, "a template")),
            }
        }
    }

    /// Whether a value is expected here, so that a slash begins a pattern.
    fn begins_value(&self) -> bool {
        let before = self.bytes[..self.at].trim_ascii_end();
        match before.last() {
            None => true,
            Some(b) if b.is_ascii_alphanumeric() || matches!(b, b'_' | b'$') => {
                let word = before.rsplit(|b| !b.is_ascii_alphanumeric()).next().unwrap_or_default();
                matches!(word, b"return" | b"typeof" | b"case" | b"in" | b"of" | b"delete" | b"void" | b"throw" | b"await" | b"yield")
            }
            Some(b) => !matches!(b, b')' | b']' | b'}' | b'"' | b'\'' | b'`' | b'.'),
        }
    }

    /// A pattern of JavaScript. False when it does not end on its line: then it was none.
    fn pattern(&mut self) -> bool {
        let (mut at, mut class) = (self.at + 1, false);
        while let Some(byte) = self.bytes.get(at) {
            match byte {
                b'\n' => return false,
                b'\\' => at += 1,
                b'[' => class = true,
                b']' => class = false,
                b'/' if !class => {
                    self.at = at + 1;
                    return true;
                }
                _ => {}
            }
            at += 1;
        }
        false
    }

    fn until(&mut self, end: &[u8], from: usize) -> Result<(), Fault> {
        match self.bytes[self.at..].windows(end.len()).position(|w| w == end) {
            Some(n) => {
                self.at += n + end.len();
                Ok(())
            }
            None => Err(self.unclosed(from, "a string")),
        }
    }

    fn unclosed(&self, from: usize, what: &str) -> Fault {
        Fault(self.line(from), format!("{what} is never closed"))
    }

    fn line(&self, at: usize) -> usize {
        1 + self.bytes[..at].iter().filter(|b| **b == b'\n').count()
    }
}

fn utf8_length(first: u8) -> usize {
    match first {
        0..0x80 => 1,
        0x80..0xe0 => 2,
        0xe0..0xf0 => 3,
        _ => 4,
    }
}

/// Where logical lines begin and end: a newline that is code and in no bracket, and not behind a backslash, ends one.
pub fn logical_lines(source: &str, scanned: &Scanned) -> Vec<(usize, usize)> {
    let bytes = source.as_bytes();
    let mut lines = Vec::new();
    let mut from = 0;
    for (at, byte) in bytes.iter().enumerate() {
        if *byte == b'\n' && scanned.code[at] && scanned.depth[at] == 0 && (at == 0 || bytes[at - 1] != b'\\') {
            lines.push((from, at));
            from = at + 1;
        }
    }
    lines.push((from, bytes.len()));
    lines.retain(|(from, to)| !source[*from..*to].trim().is_empty());
    lines
}

/// Whether blocks of Python are where they have to be.
fn indentation(source: &str, scanned: &Scanned) -> Result<(), Fault> {
    let mut levels = vec![""];
    let mut opened = false;
    for (from, to) in logical_lines(source, scanned) {
        let text = &source[from..to];
        let indent = &text[..text.len() - text.trim_start().len()];
        if text.trim_start().starts_with('#') {
            continue;
        }
        // A comment may stand before the end of the line that is meant.
        let line = || 1 + source[..from].matches('\n').count();
        let current = levels.last().copied().unwrap_or_default();
        if opened {
            if indent.len() <= current.len() || !indent.starts_with(current) {
                return Err(Fault(line(), "a block is missing behind `:`".into()));
            }
            levels.push(indent);
        } else if indent != current {
            while levels.last().is_some_and(|level| level.len() > indent.len()) {
                levels.pop();
            }
            if levels.last() != Some(&indent) {
                return Err(Fault(line(), "the line is indented like no block around it".into()));
            }
        }
        let last = (from..to).rev().find(|at| scanned.code[*at] && !source.as_bytes()[*at].is_ascii_whitespace());
        opened = last.is_some_and(|at| source.as_bytes()[at] == b':');
    }
    if opened { Err(Fault(1 + source.trim_end().matches('\n').count(), "a block is missing behind `:`".into())) } else { Ok(()) }
}
