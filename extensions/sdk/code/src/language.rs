//! The languages that are known, what they are called, and how code tells which it is.

use std::fmt;

/// A language that can be checked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Language {
    /// Go.
    Go,
    /// Python 3.
    Python,
    /// JavaScript, with JSX.
    JavaScript,
    /// TypeScript, with TSX.
    TypeScript,
    /// JSON (RFC 8259).
    Json,
    /// YAML.
    Yaml,
    /// TOML.
    Toml,
    /// Rust.
    Rust,
}

impl Language {
    /// All of them.
    pub const ALL: [Self; 8] = [Self::Go, Self::Python, Self::JavaScript, Self::TypeScript, Self::Json, Self::Yaml, Self::Toml, Self::Rust];

    /// Its name, as settings and answers write it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Go => "go",
            Self::Python => "python",
            Self::JavaScript => "javascript",
            Self::TypeScript => "typescript",
            Self::Json => "json",
            Self::Yaml => "yaml",
            Self::Toml => "toml",
            Self::Rust => "rust",
        }
    }

    /// The language of a fence's tag or of a setting: its name, a usual abbreviation, the extension of its files.
    pub fn from_tag(tag: &str) -> Option<Self> {
        Some(match tag.to_ascii_lowercase().as_str() {
            "go" | "golang" => Self::Go,
            "python" | "py" | "python3" | "py3" | "pyi" => Self::Python,
            "javascript" | "js" | "jsx" | "mjs" | "cjs" | "node" | "nodejs" | "ecmascript" => Self::JavaScript,
            "typescript" | "ts" | "tsx" | "mts" | "cts" => Self::TypeScript,
            "json" => Self::Json,
            "yaml" | "yml" => Self::Yaml,
            "toml" => Self::Toml,
            "rust" | "rs" => Self::Rust,
            _ => return None,
        })
    }

    /// The language of a file, by its name.
    pub fn from_path(path: &str) -> Option<Self> {
        let name = path.rsplit(['/', '\\']).next().unwrap_or_default();
        let (stem, extension) = name.rsplit_once('.')?;
        if stem.is_empty() {
            return None;
        }
        match extension.to_ascii_lowercase().as_str() {
            // Words that are tags of fences, but no extensions of files.
            "golang" | "python" | "node" | "javascript" | "typescript" | "rust" => None,
            extension => Self::from_tag(extension),
        }
    }

    /// The language of code that says nothing about itself; none when it is not clear.
    pub fn detect(source: &str) -> Option<Self> {
        let text = source.trim_start();
        if let Some(line) = text.strip_prefix("#!") {
            let line = line.lines().next().unwrap_or_default();
            return [("python", Self::Python), ("node", Self::JavaScript), ("deno", Self::TypeScript)]
                .into_iter()
                .find(|(name, _)| line.contains(name))
                .map(|(_, language)| language);
        }
        if is_json(text) {
            return Some(Self::Json);
        }
        let mut scores = [0u32; 6];
        let mut lines = 0;
        for line in text.lines().map(str::trim).filter(|l| !l.is_empty()).take(MAX_LINES) {
            lines += 1;
            for (score, points) in scores.iter_mut().zip(points(line)) {
                *score += points;
            }
        }
        // What is found often in many lines is not found by chance in a few.
        let order = [Self::Go, Self::Python, Self::TypeScript, Self::JavaScript, Self::Rust];
        let best = (0..order.len()).max_by_key(|n| (scores[*n], order.len() - n))?;
        if scores[best] >= ENOUGH && scores[best] * 12 >= lines {
            // What speaks for JavaScript speaks for TypeScript too.
            let typed = order[best] == Self::JavaScript && scores[2] >= ENOUGH / 2;
            return Some(if typed { Self::TypeScript } else { order[best] });
        }
        by_keys(text)
    }
}

impl fmt::Display for Language {
    /// Its name as people write it.
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str(match self {
            Self::Go => "Go",
            Self::Python => "Python",
            Self::JavaScript => "JavaScript",
            Self::TypeScript => "TypeScript",
            Self::Json => "JSON",
            Self::Yaml => "YAML",
            Self::Toml => "TOML",
            Self::Rust => "Rust",
        })
    }
}

/// How much of a text is looked at.
const MAX_LINES: usize = 400;

/// Points that make a language clear. A line gives three when nothing else begins that way, one when others might.
const ENOUGH: u32 = 4;

/// JSON begins with a bracket and goes on as no other language does. Whether it is right is not the question.
fn is_json(text: &str) -> bool {
    let Some(inner) = text.strip_prefix(['{', '[']) else { return false };
    let object = text.starts_with('{');
    let next = inner.trim_start();
    if object {
        let Some(key) = next.strip_prefix('"') else { return next.starts_with('}') && next[1..].trim().is_empty() };
        return key.split_once('"').is_some_and(|(_, after)| after.trim_start().starts_with(':'));
    }
    // `[section]` of TOML, `[1, 2].map(…)` of JavaScript.
    next.starts_with(['{', '"', '[']) && serde_json::from_str::<serde::de::IgnoredAny>(text).is_ok()
}

/// What one line says for Go, Python, TypeScript, JavaScript, Rust.
fn points(line: &str) -> [u32; 5] {
    let begins = |words: &[&str]| words.iter().any(|w| line.starts_with(w));
    let has = |words: &[&str]| words.iter().any(|w| line.contains(w));
    let mut found = [0; 5];
    let [go, python, typescript, javascript, rust] = &mut found;
    if line.starts_with("package ") && !line.contains([';', '.']) || line.starts_with("func ") && line.contains('(') {
        *go += 3;
    }
    if begins(&["import (", "import \""]) || has(&[":= ", "chan ", "fmt.", "if err != nil"]) && !line.ends_with(':') {
        *go += 2;
    }
    if begins(&["type "]) && has(&[" struct {", " interface {"]) {
        *go += 3;
    }
    if begins(&["def ", "class ", "async def ", "elif ", "except", "with ", "if __name__"]) && line.contains(':') && !line.ends_with('{') {
        let clear = begins(&["def ", "async def ", "elif ", "if __name__"]);
        *python += if clear && line.ends_with(':') { 4 } else { 2 };
    }
    if begins(&["from "]) && line.contains(" import ") {
        *python += 4;
    }
    if begins(&["for ", "if ", "while ", "else:", "try:", "@", "return ", "print(", "self.", "import ", "lambda "])
        && !line.ends_with([';', '{', '}'])
    {
        *python += u32::from(line.ends_with(':') || begins(&["print(", "self."]) || (begins(&["import "]) && !line.contains(['"', '\''])));
    }
    if begins(&["const ", "let ", "var ", "function ", "async function ", "export ", "import ", "class "]) && has(&[";", "{", "=", "=>"]) {
        *javascript += if begins(&["import "]) && !has(&[" from '", " from \"", "import '"]) { 0 } else { 2 };
    }
    if has(&["=> ", "console.log(", "require(", "===", "!==", "document.", "module.exports", "await "]) && !line.starts_with("//") {
        *javascript += 1;
    }
    let typed = [": string", ": number", ": boolean", "): void", "Promise<", ": any", " as const", "?: "];
    if begins(&["interface ", "export interface ", "export type ", "declare ", "import type ", "enum ", "export enum "])
        && line.contains(['{', '=', ';'])
    {
        *typescript += 4;
    } else if has(&typed) && !line.contains("-> ") {
        *typescript += 2;
    }
    if begins(&[
        "fn ",
        "pub fn ",
        "impl ",
        "impl<",
        "use std::",
        "use crate::",
        "pub struct ",
        "#[derive(",
        "let mut ",
        "pub enum ",
        "mod ",
        "async fn ",
    ]) {
        *rust += 3;
    }
    if has(&["println!(", ".unwrap()", "&mut ", "-> Result<", "::new(", "&str", "Some(", "vec![", "match "]) {
        *rust += 1;
    }
    found
}

/// YAML and TOML: nearly every line is a key with a value.
fn by_keys(text: &str) -> Option<Language> {
    let (mut yaml, mut toml, mut other, mut marks) = (0, 0, 0, 0);
    for line in text.lines().take(MAX_LINES) {
        let trimmed = line.trim();
        if trimmed.is_empty() || trimmed.starts_with('#') {
            continue;
        }
        let key = |separator: char| {
            let (key, value) = trimmed.trim_start_matches("- ").split_once(separator)?;
            let plain = |c: char| c.is_alphanumeric() || "_-.\"'/".contains(c);
            let key = key.trim_end();
            (!key.is_empty() && key.chars().all(plain)).then_some(value)
        };
        if trimmed.starts_with('[') && trimmed.ends_with(']') {
            toml += 1;
            marks += 1;
        } else if key('=')
            .is_some_and(|v| v.trim_start().starts_with(['"', '\'', '[', '{', 't', 'f', '-']) || v.trim().parse::<f64>().is_ok())
        {
            toml += 1;
        } else if trimmed == "---" {
            marks += 1;
        } else if key(':').is_some_and(|v| v.is_empty() || v.starts_with(' ')) && !trimmed.ends_with([';', '{', ',']) {
            yaml += 1;
        } else if trimmed.starts_with("- ") {
            // A list of prose has them too.
            yaml += usize::from(yaml > 0);
        } else {
            other += 1;
        }
    }
    if toml >= 2 && toml > yaml && toml >= 4 * other && (marks > 0 || toml >= 3) {
        return Some(Language::Toml);
    }
    // Sentences of people have a colon in them too: two lines are not enough.
    (yaml + marks >= 3 && yaml > toml && yaml >= 6 * other).then_some(Language::Yaml)
}
