//! The end of code that breaks off: what is open is closed, and where that is not enough, the last lines go.

use super::Bench;
use crate::Language;
use crate::lex::{self, Kind, Token, closing};

/// How many lines may go.
const MAX_LINES: usize = 12;

/// What is done, in words.
const CLOSED: &str = "closed what was open at the end";
const FILLED: &str = "completed the end";
const CUT: &str = "left out the last lines, which were not complete";
const EXTRA: &str = "removed a bracket that closes nothing";

/// Closes what is open, and nothing is taken away.
pub fn closed(source: &str, bench: &mut Bench) -> Option<(String, &'static str)> {
    let language = bench.language;
    let tokens = lex::scan(language, source);
    let tail = lex::tail(&tokens, source.len());
    for lines in [true, false] {
        if let Some(code) = close(language, source, "", lines)
            && bench.parses(&code)
        {
            return Some((code, CLOSED));
        }
    }
    for fill in fills(language, source, tail.text.is_some()) {
        if let Some(code) = close(language, source, fill, true)
            && bench.parses(&code)
        {
            return Some((code, FILLED));
        }
    }
    // The other way round.
    if let Some(at) = tail.mismatch {
        let code = format!("{}{}", &source[..at], &source[at + 1..]);
        if bench.parses(&code) {
            return Some((code, EXTRA));
        }
    }
    None
}

/// Leaves out what is not complete, line by line from the end.
pub fn cut(source: &str, bench: &mut Bench) -> Option<(String, &'static str)> {
    let language = bench.language;
    let mut end = source.trim_end().len();
    for _ in 0..MAX_LINES {
        // A part of a line first: up to the last comma in it.
        let line = source[..end].rfind('\n').map_or(0, |n| n + 1);
        if let Some(comma) = last_comma(language, &source[..end]).filter(|at| *at >= line && *at > 0) {
            let part = &source[..comma];
            if let Some(code) = close(language, part, "", true).or_else(|| Some(part.to_owned()))
                && bench.parses(&code)
            {
                return Some((code, CUT));
            }
        }
        if line == 0 {
            return None;
        }
        let kept = source[..line].trim_end();
        end = kept.len();
        if kept.is_empty() {
            return None;
        }
        let whole = format!("{kept}\n");
        let ways = [("", true), ("", false)].into_iter().chain(fills(language, kept, false).iter().map(|fill| (*fill, true)));
        for (fill, lines) in ways {
            let code = close(language, kept, fill, lines);
            if code.is_none() && !lines {
                continue;
            }
            let code = code.unwrap_or_else(|| whole.clone());
            if bench.parses(&code) {
                return Some((code, CUT));
            }
        }
    }
    None
}

/// Where the last comma outside of texts is.
fn last_comma(language: Language, source: &str) -> Option<usize> {
    lex::scan(language, source).iter().rev().find(|t| t.kind == Kind::Mark(b',')).map(|t| t.start)
}

/// Code with what is open at its end closed, behind a filling. None when nothing is to be done. `lines` says that blocks end on a line of
/// their own.
fn close(language: Language, source: &str, fill: &str, lines: bool) -> Option<String> {
    let tokens = lex::scan(language, source);
    let tail = lex::tail(&tokens, source.len());
    let blocks = tail.brackets.contains(&b'{');
    if (tail.text.is_none() && tail.brackets.is_empty() && fill.is_empty()) || !lines && !blocks {
        return None;
    }
    let mut code = source.to_owned();
    if let Some(quote) = tail.text {
        // A backslash at the end would take the quote in.
        let slashes = code.bytes().rev().take_while(|b| *b == b'\\').count();
        if slashes % 2 == 1 && quote != "*/" {
            code.pop();
        }
        if language == Language::Json {
            incomplete_escape(&mut code);
        }
        code.push_str(quote);
    } else {
        code.truncate(code.trim_end().len());
        // Nothing follows that it could separate.
        if fill.is_empty() && language == Language::Json && code.ends_with(',') {
            code.pop();
        }
        if tokens.iter().rev().find(|t| t.kind != Kind::Line).is_some_and(|t| t.kind == Kind::Comment) {
            code.push('\n');
        }
    }
    if let Some(line) = fill.strip_prefix('\n') {
        code.truncate(code.trim_end().len());
        code.push('\n');
        code.push_str(&next_indent(source));
        code.push_str(line);
    } else {
        code.push_str(fill);
    }
    close_brackets(language, &mut code, source, &tokens, lines).then_some(code)
}

/// How much longer than the code what closes its brackets may make it, besides being as long again: blocks that begin in one line are each
/// indented as it is.
const MAX_ADDED: usize = 4096;

/// Closes brackets. False when that would make the code too long.
fn close_brackets(language: Language, code: &mut String, source: &str, tokens: &[Token], lines: bool) -> bool {
    let most = 2 * source.len() + MAX_ADDED;
    let newlines: Vec<usize> = tokens.iter().filter(|t| t.kind == Kind::Line).map(|t| t.start).collect();
    // A text may go over lines too, and what begins in its last one is indented as that.
    let last_newline = source.trim_end().rfind('\n');
    let mut open: Vec<(u8, usize)> = Vec::new();
    for (n, token) in tokens.iter().enumerate() {
        match token.kind {
            Kind::Open(bracket) => open.push((bracket, n)),
            Kind::Close(bracket) if open.last().map(|(o, _)| closing(*o)) == Some(bracket) => {
                open.pop();
            }
            _ => {}
        }
    }
    let template = |n: usize| n > 0 && tokens[n - 1].kind == Kind::Text && source[..tokens[n].start].ends_with('$');
    for (bracket, n) in open.into_iter().rev() {
        let at = tokens[n].start;
        let spread = lines && last_newline.is_some_and(|newline| newline > at);
        if bracket == b'{' && spread && !code.ends_with('\n') && !template(n) {
            code.push('\n');
        }
        if code.ends_with('\n') && spread {
            let before = newlines.partition_point(|newline| *newline < at);
            let begin = before.checked_sub(1).map_or(0, |n| newlines[n] + 1);
            let indent = source[begin..at].bytes().take_while(|c| *c == b' ' || *c == b'\t').count();
            code.push_str(&source[begin..begin + indent]);
        }
        code.push(closing(bracket) as char);
        if template(n) {
            code.push('`');
        }
        if code.len() > most {
            return false;
        }
        let before = tokens[..n].iter().rev().find(|t| !matches!(t.kind, Kind::Line | Kind::Comment));
        let is_try = before.is_some_and(|t| t.kind == Kind::Word && &source[t.start..t.end] == "try");
        if bracket == b'{' && is_try && matches!(language, Language::JavaScript | Language::TypeScript) {
            code.push_str(" finally {}");
        }
    }
    if language != Language::Json && source.contains('\n') && !code.ends_with('\n') {
        code.push('\n');
    }
    true
}

/// `\u12` is no character yet.
fn incomplete_escape(code: &mut String) {
    let Some(at) = code.rfind("\\u").filter(|at| code.len() - at < 6) else { return };
    let slashes = code[..at].bytes().rev().take_while(|b| *b == b'\\').count();
    if slashes % 2 == 0 {
        code.truncate(at);
    }
}

/// The indentation of what would stand in the block that the last line opens.
fn next_indent(source: &str) -> String {
    let line = source.trim_end().rsplit('\n').next().unwrap_or_default();
    let indent: String = line.chars().take_while(|c| *c == ' ' || *c == '\t').collect();
    let deeper = if indent.contains('\t') { "\t" } else { "    " };
    if line.ends_with(':') { format!("{indent}{deeper}") } else { indent }
}

/// What may be missing behind the last word.
fn fills(language: Language, source: &str, in_text: bool) -> &'static [&'static str] {
    let source = source.trim_end();
    match language {
        Language::Json if in_text => &[": null"],
        Language::Json if source.ends_with(':') => &[" null"],
        Language::Json if source.ends_with('"') => &[": null"],
        Language::Json => literal(source),
        Language::Python if source.ends_with(':') => &["\npass"],
        Language::Python => &[":\n    pass"],
        Language::Go | Language::Rust if source.ends_with(['=', '(', ',', '+', '-', '.', '&', '|']) => &[],
        Language::Rust => &[";", " {}"],
        Language::Go => &[" {}"],
        Language::JavaScript | Language::TypeScript if source.ends_with(['=', ':', '+', '?', '&', '|', '(']) => &["null"],
        Language::JavaScript | Language::TypeScript if source.ends_with("=>") => &[" {}"],
        Language::JavaScript | Language::TypeScript => &[" {}", ": null"],
        Language::Toml if source.ends_with('=') => &[" \"\""],
        Language::Toml | Language::Yaml => &[],
    }
}

/// The rest of `true`, `false`, `null` or a number in JSON.
fn literal(source: &str) -> &'static [&'static str] {
    let word = source.rsplit(|c: char| !c.is_ascii_alphabetic()).next().unwrap_or_default();
    match word {
        "t" => &["rue"],
        "tr" => &["ue"],
        "tru" => &["e"],
        "f" => &["alse"],
        "fa" => &["lse"],
        "fal" => &["se"],
        "fals" => &["e"],
        "n" => &["ull"],
        "nu" => &["ll"],
        "nul" => &["l"],
        "" if source.ends_with(['.', '-', 'e', 'E', '+']) => &["0"],
        _ => &[],
    }
}
