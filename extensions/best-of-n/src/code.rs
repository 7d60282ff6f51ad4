//! Code in a text: blocks between fences, and the functions in them.

use crate::scan::{self, Fault, Language};

/// A block between fences.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Block {
    /// What stands behind the fence; empty when nothing does.
    pub tag: String,
    /// Where the code begins in the text.
    pub from: usize,
    /// Where it ends.
    pub to: usize,
    /// Whether there is a fence at its end.
    pub closed: bool,
}

/// A function at the top of a source.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Function {
    /// Its name; of a method in Go, with the receiver's type.
    pub name: String,
    /// What it is called with and gives, without blanks.
    pub signature: String,
    /// Where it begins, attributes and decorators included.
    pub from: usize,
    /// Where it ends.
    pub to: usize,
}

/// The blocks of a text.
pub fn blocks(text: &str) -> Vec<Block> {
    let mut blocks: Vec<Block> = Vec::new();
    let mut open: Option<(usize, Block)> = None;
    let mut at = 0;
    for line in text.split_inclusive('\n') {
        let (from, next) = (at, at + line.len());
        at = next;
        let trimmed = line.trim();
        let ticks = trimmed.bytes().take_while(|b| *b == b'`').count();
        match &mut open {
            Some((fence, block)) if ticks >= *fence && ticks == trimmed.len() => {
                block.to = from;
                block.closed = true;
                blocks.extend(open.take().map(|(_, block)| block));
            }
            Some(_) => {}
            None if ticks >= 3 && !trimmed[ticks..].contains('`') => {
                let tag = trimmed[ticks..].split([' ', ',', '{']).next().unwrap_or_default().to_owned();
                open = Some((ticks, Block { tag, from: next, to: text.len(), closed: false }));
            }
            None => {}
        }
    }
    blocks.extend(open.map(|(_, block)| block));
    blocks
}

impl Block {
    /// Its code.
    pub fn code<'a>(&self, text: &'a str) -> &'a str {
        &text[self.from..self.to]
    }

    /// What it is written in, if that can be read here.
    pub fn language(&self, text: &str) -> Option<Language> {
        Language::of(&self.tag, self.code(text))
    }

    /// What is wrong with it. None when nothing is, or when nobody knows.
    pub fn fault(&self, text: &str) -> Option<Fault> {
        if !self.closed {
            return Some(Fault(1, "the code has no end".into()));
        }
        scan::check(self.language(text)?, self.code(text)).err()
    }
}

/// The functions at the top of a source that is whole; none when they cannot be told apart safely.
pub fn functions(language: Language, source: &str) -> Option<Vec<Function>> {
    scan::check(language, source).ok()?;
    let scanned = scan::scan(language, source).ok()?;
    let found = match language {
        Language::Json => return None,
        Language::Python => python(source, &scanned),
        _ => braces(language, source, &scanned)?,
    };
    // Two of one name (overloads, conditional compilation) cannot be told apart.
    let mut names: Vec<&str> = found.iter().map(|f| f.name.as_str()).collect();
    names.sort_unstable();
    let unique = names.windows(2).all(|pair| pair[0] != pair[1]);
    unique.then_some(found)
}

/// Lines at the left edge that begin with code at depth 0, and where they begin.
fn heads<'a>(source: &'a str, scanned: &scan::Scanned) -> Vec<(usize, &'a str)> {
    let mut at = 0;
    let lines = source.split_inclusive('\n').map(|line| {
        at += line.len();
        (at - line.len(), line.trim_end())
    });
    lines
        .filter(|(from, line)| !line.is_empty() && scanned.code[*from] && scanned.depth[*from] == 0 && !line.starts_with([' ', '\t']))
        .collect()
}

/// `None` when something goes on behind a function's end: then that was not its end, but of a type in its head.
fn braces(language: Language, source: &str, scanned: &scan::Scanned) -> Option<Vec<Function>> {
    let bytes = source.as_bytes();
    let mut found: Vec<Function> = Vec::new();
    for (from, line) in heads(source, scanned) {
        let Some(name) = name(language, line) else { continue };
        let outside = |at: &usize| scanned.code[*at] && scanned.depth[*at] == 0;
        let rest = || (from..bytes.len()).filter(outside);
        // A declaration without a body ends before the next brace.
        let Some(open) = rest().find(|at| matches!(bytes[*at], b'{' | b';')).filter(|at| bytes[*at] == b'{') else { continue };
        let Some(close) = rest().find(|at| *at > open && bytes[*at] == b'}') else { continue };
        if !source[close + 1..].lines().next().unwrap_or_default().trim().is_empty() {
            return None;
        }
        let signature = source[from..open].split_whitespace().collect();
        found.push(Function { name, signature, from: with_what_belongs(language, source, from), to: close + 1 });
    }
    Some(found)
}

fn python(source: &str, scanned: &scan::Scanned) -> Vec<Function> {
    let bytes = source.as_bytes();
    let mut found: Vec<Function> = Vec::new();
    let lines = scan::logical_lines(source, scanned);
    for (n, (from, to)) in lines.iter().enumerate() {
        let Some(name) = name(Language::Python, source[*from..*to].lines().next().unwrap_or_default()) else { continue };
        let within = |at: usize| matches!(bytes[at], b' ' | b'\t');
        // A comment at the left edge may stand in the middle.
        let inside = lines[n + 1..].iter().take_while(|(from, _)| within(*from) || bytes[*from] == b'#').filter(|(from, _)| within(*from));
        let end = inside.last().map_or(*to, |(_, to)| *to);
        let colon = (*from..*to).find(|at| bytes[*at] == b':' && scanned.code[*at] && scanned.depth[*at] == 0).unwrap_or(*to);
        let signature = source[*from..colon].split_whitespace().collect();
        found.push(Function { name, signature, from: with_what_belongs(Language::Python, source, *from), to: end });
    }
    found
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
        Language::Script => {
            let rest = without(line, &["export ", "default ", "async "]);
            word(rest.strip_prefix("function")?.trim_start_matches(['*', ' ']))
        }
        Language::Python => word(without(line, &["async "]).strip_prefix("def ")?.trim_start()),
        Language::Json => None,
    }
}
