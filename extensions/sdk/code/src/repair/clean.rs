//! What does not belong into code, or is written otherwise in it.

use crate::Language;
use crate::find;
use crate::lex::{self, Kind, Token};

/// A change; none when there is nothing to change.
type Step = fn(Language, &str) -> Option<String>;

/// All of them, with what each does.
pub const STEPS: &[(&str, Step)] = &[
    ("removed the fences around it", fences),
    ("removed the sentences around it", prose),
    ("replaced typographic characters", characters),
    ("removed the comments", comments),
    ("removed commas", commas),
    ("wrote the indentation anew", indentation),
];

/// Lines of fences: the only block in it, or one at the beginning or the end.
fn fences(_: Language, source: &str) -> Option<String> {
    let blocks = find::blocks(source);
    if let [block] = &blocks[..]
        && block.place != find::Place::Whole
        && !block.code.trim().is_empty()
        && source.lines().take(block.line.saturating_sub(2)).all(|l| l.trim().is_empty() || find::is_prose(l))
    {
        return Some(block.code.clone());
    }
    let is_fence = |line: &&str| {
        let line = line.trim();
        line.starts_with("```") && !line[3..].contains('`') && line.split_whitespace().count() <= 2
    };
    let lines: Vec<&str> = source.lines().collect();
    let kept: Vec<&str> = lines.iter().copied().filter(|l| !is_fence(l)).collect();
    (kept.len() < lines.len()).then(|| joined(&kept))
}

/// Sentences before and behind code. Those in comments begin with a mark and are none.
fn prose(_: Language, source: &str) -> Option<String> {
    let lines: Vec<&str> = source.lines().collect();
    let is_around = |line: &str| line.trim().is_empty() || find::is_prose(line);
    let first = lines.iter().position(|l| !is_around(l))?;
    let last = lines.iter().rposition(|l| !is_around(l))?;
    let taken = lines[..first].iter().chain(&lines[last + 1..]).any(|l| !l.trim().is_empty());
    taken.then(|| joined(&lines[first..=last]))
}

/// Quotes and spaces of typesetters, and characters that nobody sees. Texts and comments keep theirs, but for quotes that should be the
/// text's own.
fn characters(language: Language, source: &str) -> Option<String> {
    let plain = |c: char| match c {
        '\u{201c}' | '\u{201d}' | '\u{201e}' => Some("\""),
        '\u{2018}' | '\u{2019}' => Some("'"),
        '\u{a0}' | '\u{202f}' | '\u{2007}' => Some(" "),
        '\u{200b}' | '\u{200c}' | '\u{200d}' | '\u{2060}' | '\u{feff}' => Some(""),
        '\u{2013}' | '\u{2212}' => Some("-"),
        '\u{2026}' => Some("..."),
        _ => None,
    };
    let kept: Vec<Token> = lex::scan(language, source).into_iter().filter(|t| matches!(t.kind, Kind::Text | Kind::Comment)).collect();
    let mut changed = String::with_capacity(source.len());
    let mut tokens = kept.iter().peekable();
    for (at, c) in source.char_indices() {
        while tokens.peek().is_some_and(|t| t.end <= at) {
            tokens.next();
        }
        let inside = tokens.peek().is_some_and(|t| t.start <= at);
        match plain(c).filter(|_| !inside) {
            Some(other) => changed.push_str(other),
            None => changed.push(c),
        }
    }
    (changed != source).then_some(changed)
}

/// JSON has none.
fn comments(language: Language, source: &str) -> Option<String> {
    if language != Language::Json {
        return None;
    }
    // Those of JavaScript, and a comma that they stood behind.
    let tokens = lex::scan(Language::JavaScript, source);
    let comments: Vec<&Token> = tokens.iter().filter(|t| t.kind == Kind::Comment).collect();
    if comments.is_empty() {
        return None;
    }
    let without = without(source, comments.iter().map(|t| (t.start, t.end)));
    Some(commas(language, &without).unwrap_or(without))
}

/// Commas before a closing bracket, and commas that follow each other. Only where a language forbids them.
fn commas(language: Language, source: &str) -> Option<String> {
    let tokens: Vec<Token> = lex::scan(language, source).into_iter().filter(|t| !matches!(t.kind, Kind::Line | Kind::Comment)).collect();
    let is_comma = |t: &Token| t.kind == Kind::Mark(b',');
    let superfluous = |pair: &[Token]| {
        let closes = matches!(pair[1].kind, Kind::Close(_));
        is_comma(&pair[0]) && (is_comma(&pair[1]) || (closes && language == Language::Json))
            || is_comma(&pair[1]) && matches!(pair[0].kind, Kind::Open(_))
    };
    let mut spans: Vec<(usize, usize)> = tokens
        .windows(2)
        .filter(|pair| superfluous(pair))
        .map(|pair| if is_comma(&pair[0]) { (pair[0].start, pair[0].end) } else { (pair[1].start, pair[1].end) })
        .collect();
    // Behind the last value.
    if language == Language::Json
        && let Some(last) = tokens.last().filter(|t| is_comma(t))
    {
        spans.push((last.start, last.end));
    }
    spans.dedup();
    (!spans.is_empty()).then(|| without(source, spans.into_iter()))
}

/// Python and YAML: tabs become spaces, what all lines are indented by goes, and lines that are off by one or two go where the others are.
fn indentation(language: Language, source: &str) -> Option<String> {
    if !matches!(language, Language::Python | Language::Yaml) {
        return None;
    }
    let tokens = lex::scan(language, source);
    let (mut ahead, mut depth, mut text_end) = (tokens.iter().peekable(), 0usize, 0);
    // Lines inside of texts and brackets stand where they like.
    let mut inside = |at: usize| {
        while let Some(token) = ahead.next_if(|t| t.start < at) {
            match token.kind {
                Kind::Open(_) => depth += 1,
                Kind::Close(_) => depth = depth.saturating_sub(1),
                Kind::Text => text_end = token.end,
                _ => {}
            }
        }
        depth > 0 || text_end > at
    };
    let width = if language == Language::Python { 4 } else { 2 };
    let mut lines: Vec<(usize, &str)> = Vec::new();
    let mut texts: Vec<bool> = Vec::new();
    let mut at = 0;
    for line in source.split('\n') {
        let rest = line.trim_start_matches([' ', '\t']);
        let indent = line[..line.len() - rest.len()].chars().fold(0, |n, c| if c == '\t' { (n / width + 1) * width } else { n + 1 });
        texts.push(inside(at));
        lines.push(if texts[texts.len() - 1] { (0, line) } else { (indent, rest) });
        at += line.len() + 1;
    }
    let code = |n: &usize| !texts[*n] && !lines[*n].1.trim().is_empty();
    let common = (0..lines.len()).filter(code).map(|n| lines[n].0).min().unwrap_or(0);
    let first = (0..lines.len()).find(code).map_or(0, |n| lines[n].0);
    let (mut open, mut opens): (Vec<usize>, bool) = (Vec::new(), false);
    let (mut written, mut begun) = (Vec::new(), false);
    for (n, (indent, rest)) in lines.iter().enumerate() {
        if texts[n] || rest.trim().is_empty() {
            begun |= !rest.trim().is_empty();
            written.push((*rest).to_owned());
            continue;
        }
        // What begins deeper than the rest was pasted so.
        let shift = if first > common && !begun { first } else { common };
        begun = true;
        let mut indent = indent.saturating_sub(shift);
        if language == Language::Python {
            while open.last().is_some_and(|last| *last > indent) {
                let last = open.pop().unwrap_or(0);
                let outer = open.last().copied().unwrap_or(0);
                // Between two blocks: the nearer one is meant.
                if indent > outer && last - indent <= indent - outer {
                    indent = last;
                    open.push(last);
                    break;
                } else if indent > outer {
                    indent = outer;
                }
            }
            if open.last().is_none_or(|last| *last < indent) {
                if opens || open.is_empty() {
                    open.push(indent);
                } else {
                    // Nothing begins here.
                    indent = open.last().copied().unwrap_or(0);
                }
            }
            opens = rest.split(" #").next().unwrap_or_default().trim_end().ends_with([':', '\\']);
        }
        written.push(format!("{}{rest}", " ".repeat(indent)));
    }
    let written = written.join("\n");
    (written != source).then_some(written)
}

fn joined(lines: &[&str]) -> String {
    let mut text = lines.join("\n");
    text.push('\n');
    text
}

fn without(source: &str, spans: impl Iterator<Item = (usize, usize)>) -> String {
    let (mut text, mut at) = (String::with_capacity(source.len()), 0);
    for (start, end) in spans {
        text.push_str(&source[at..start]);
        at = end;
    }
    text.push_str(&source[at..]);
    text
}
