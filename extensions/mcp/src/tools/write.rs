//! `write`: a file's new content from a prompt, its old content and other files. Nothing is written here: the client has the files, and
//! gets the content, whether it parses, and what changes.

use serde_json::{Map, Value, json};
use similar::TextDiff;
use wasmgate_sdk::routes;

use super::generate;
use super::{hints, object, open, text, tokens};
use crate::Settings;
use crate::args::Args;
use crate::outcome::{Failed, Outcome};
use crate::reach;
use crate::transport::Report;

/// Most other files that a call may show.
const MOST_FILES: usize = 64;

/// Longest path, in bytes.
const MOST_PATH: usize = 1024;

/// Lines around a change that are shown.
const CONTEXT: usize = 3;

/// Pairs of lines that are compared for a difference. Where there are more, all that lies between the first and the last change is one: a
/// component has a few milliseconds, and no clock to stop by.
const DIFF: usize = 1_000_000;

const SYSTEM: &str = "You write one file. Answer with its whole new content in one fenced code block and nothing else: no explanation, \
                      no part left out, no placeholder. The block's fence is longer than any in the file. Keep what you are not asked to change.";

pub fn describe() -> Value {
    json!({
        "title": "Write a file",
        "description": "Makes or changes one file as a prompt says: gives its whole new content, whether it parses, and a unified diff. \
                        Nothing is written by the server.",
        "inputSchema": object(&["path", "prompt"], json!({
            "path": text("The file's path; its ending says the language."),
            "prompt": text("What the file is to be, or what is to change in it."),
            "original": text("What is in the file now; leave it out for a new one."),
            "context": {
                "type": "array",
                "maxItems": MOST_FILES,
                "description": "Other files that matter.",
                "items": object(&["path", "content"], json!({"path": text("Its path."), "content": text("What is in it.")})),
            },
            "language": text("When the path does not say it."),
            "validate": {"type": "boolean", "default": true, "description": "Whether the content is parsed."},
            "model": text("A model, an alias or `provider/model`; `list_models` says which there are."),
            "max_tokens": {"type": "integer", "minimum": 1, "description": "Longest answer, in tokens."},
        })),
        "outputSchema": open(&["path", "content", "diff", "changed", "validation"], json!({
            "path": {"type": "string"},
            "content": {"type": "string"},
            "diff": {"type": "string"},
            "changed": {"type": "boolean"},
            "validation": {
                "type": "object",
                "properties": {
                    "result": {"enum": ["valid", "invalid", "unchecked"]}, "blocks": {"type": "array"}, "reason": {"type": "string"},
                },
                "required": ["result"],
            },
            "model": {"type": "string"},
            "provider": {"type": ["string", "null"]},
            "usage": tokens(),
        })),
        "annotations": hints("Write a file", true, false, false, true),
    })
}

pub fn run(settings: &Settings, given: &Map<String, Value>, report: &mut Report<'_>) -> Result<Outcome, Failed> {
    let names = ["path", "prompt", "original", "context", "language", "validate", "model", "max_tokens"];
    let args = Args::new(given, &names)?;
    let path = path(args.need("path")?)?;
    let prompt = args.need("prompt")?;
    let original = args.text("original")?;
    let validate = args.flag("validate", true)?;
    let language = args.text("language")?.or_else(|| language(path));
    let mut asked = String::new();
    for file in args.objects("context", MOST_FILES)? {
        let file = Args::new(file, &["path", "content"]).map_err(|e| format!("In `context`: {e}"))?;
        let content = file.text("content")?.ok_or_else(|| "In `context`: `content` is missing; it has to be a string.".to_owned())?;
        let name = file.need("path").map_err(|e| format!("In `context`: {e}"))?;
        asked.push_str(&format!("The file `{}`, for you to know:\n{}\n", self::path(name)?, fenced(content)));
    }
    match original {
        Some(original) => asked.push_str(&format!("The file `{path}` as it is:\n{}\nChange it: {prompt}", fenced(original))),
        None => asked.push_str(&format!("Write the new file `{path}`: {prompt}")),
    }
    let messages = vec![json!({"role": "system", "content": SYSTEM}), json!({"role": "user", "content": asked})];
    let request = generate::request(settings, &args, messages, None)?;
    let answered = generate::ask(&request, report)?;
    answered.is_whole()?;
    let block = block(&answered.content, language.is_some());
    let is_fenced = block.is_some();
    let content = block.unwrap_or_else(|| ended(answered.content.trim().to_owned()));
    if content.trim().is_empty() {
        return Err(Failed::Told("The model gave no content for the file.".into()));
    }
    let validation =
        if validate { validated(settings, &content, language) } else { json!({"result": "unchecked", "reason": "`validate` is false"}) };
    // Whoever declines, or asks back, does so without a block. All is YAML, so that says nothing.
    if !is_fenced && (validation["result"] != "valid" || language == Some("yaml")) {
        let said: String = answered.content.trim().chars().take(200).collect();
        return Err(Failed::Told(format!("The answer has no code block, so it may be no file at all. The model said: {said}")));
    }
    let changed = original != Some(content.as_str());
    let diff = diff(path, original, &content);
    let (model, provider, usage) = answered.source();
    let said = validation["result"].as_str().unwrap_or_default().to_owned();
    let text = format!("`{path}` ({said}):\n{diff}");
    let data = json!({
        "path": path, "content": content, "diff": diff, "changed": changed, "validation": validation,
        "model": model, "provider": provider, "usage": usage,
    });
    Ok(Outcome { text, data })
}

/// A path that is one: relative, inside of wherever the client's files are.
fn path(path: &str) -> Result<&str, String> {
    let bad = path.len() > MOST_PATH || path.starts_with(['/', '\\', '~']) || path.chars().any(char::is_control) || path.contains(':');
    if bad || path.split(['/', '\\']).any(|part| part == ".." || part.is_empty()) {
        return Err(format!(
            "`path` is `{}`; it has to be relative, without `..`, and have {MOST_PATH} bytes at most.",
            crate::rpc::shown(path)
        ));
    }
    Ok(path)
}

/// A fence that is longer than all in the text.
fn fenced(content: &str) -> String {
    let longest = content.split(|c| c != '`').map(str::len).max().unwrap_or(0);
    let fence = "`".repeat(longest.max(2) + 1);
    format!("{fence}\n{content}{}{fence}\n", if content.ends_with('\n') { "" } else { "\n" })
}

/// The fence that a line begins with, and whether there is nothing else in the line.
fn fence(line: &str) -> Option<(&str, bool)> {
    let bare = line.trim();
    let ticks = &bare[..bare.len() - bare.trim_start_matches('`').len()];
    (ticks.len() >= 3).then_some((ticks, ticks == bare))
}

/// The block of an answer that is the file; none where no block is. `parsed` says that a parser sees whether it is whole. Where there is none, as
/// for Markdown, which has blocks itself, all is taken from the first fence to the last one that can close it.
fn block(answer: &str, parsed: bool) -> Option<String> {
    if parsed { longest(answer) } else { outermost(answer) }
}

fn outermost(answer: &str) -> Option<String> {
    let lines: Vec<&str> = answer.split_inclusive('\n').collect();
    let (first, opening) = lines.iter().enumerate().find_map(|(n, line)| Some((n, fence(line)?.0)))?;
    let closes = |line: &&str| fence(line).is_some_and(|(ticks, bare)| bare && ticks.len() >= opening.len());
    let inside = &lines[first + 1..];
    let last = inside.iter().rposition(closes).unwrap_or(inside.len());
    Some(ended(inside[..last].concat()))
}

fn longest(answer: &str) -> Option<String> {
    let (mut best, mut open): (Option<String>, Option<(&str, String)>) = (None, None);
    for line in answer.split_inclusive('\n') {
        open = match (open, fence(line)) {
            (Some((opening, content)), Some((ticks, true))) if ticks.len() >= opening.len() => {
                if best.as_ref().is_none_or(|b| content.len() > b.len()) {
                    best = Some(content);
                }
                None
            }
            (Some((opening, mut content)), _) => {
                content.push_str(line);
                Some((opening, content))
            }
            (None, Some((ticks, _))) => Some((ticks, String::new())),
            (None, None) => None,
        };
    }
    // A last block that was never closed may be the file.
    let last = open.map(|(_, content)| content).filter(|c| best.as_ref().is_none_or(|b| c.len() > b.len()));
    last.or(best).map(ended)
}

/// Files end with a line break.
fn ended(mut content: String) -> String {
    if !content.is_empty() && !content.ends_with('\n') {
        content.push('\n');
    }
    content
}

/// The language that a path's ending says, of those that are parsed.
fn language(path: &str) -> Option<&'static str> {
    let (_, ending) = path.rsplit('/').next()?.rsplit_once('.')?;
    Some(match ending.to_ascii_lowercase().as_str() {
        "go" => "go",
        "py" | "pyi" => "python",
        "js" | "mjs" | "cjs" | "jsx" => "javascript",
        "ts" | "mts" | "cts" | "tsx" => "typescript",
        "json" => "json",
        "yaml" | "yml" => "yaml",
        "toml" => "toml",
        "rs" => "rust",
        _ => return None,
    })
}

/// What the extension that validates code says of it.
fn validated(settings: &Settings, content: &str, language: Option<&str>) -> Value {
    let unchecked = |reason: &str| json!({"result": "unchecked", "reason": reason});
    let Some(language) = language else { return unchecked("no parser is known for this kind of file") };
    if !routes::has("POST", &settings.validate_path) {
        return unchecked("the gateway has no extension that validates code");
    }
    match reach::data("POST", &settings.validate_path, Some(&json!({"code": content, "language": language}))) {
        Ok(data) => json!({"result": data["result"], "blocks": data["blocks"]}),
        Err(Failed::Told(reason)) => unchecked(&reason),
        Err(Failed::Gone) => unchecked("nobody waited"),
    }
}

/// What changes, as `diff -u` writes it.
fn diff(path: &str, original: Option<&str>, content: &str) -> String {
    let name = if original.is_some() { format!("a/{path}") } else { "/dev/null".into() };
    let (old, new) = (original.unwrap_or_default(), content);
    let (before, after): (Vec<_>, Vec<_>) = (old.split_inclusive('\n').collect(), new.split_inclusive('\n').collect());
    let head = before.iter().zip(&after).take_while(|(a, b)| a == b).count();
    let rest = before.iter().rev().zip(after.iter().rev()).take_while(|(a, b)| a == b).count();
    let tail = rest.min(before.len().min(after.len()) - head);
    let (removed, added) = (&before[head..before.len() - tail], &after[head..after.len() - tail]);
    if removed.len().saturating_mul(added.len()) <= DIFF {
        return TextDiff::from_lines(old, new).unified_diff().context_radius(CONTEXT).header(&name, &format!("b/{path}")).to_string();
    }
    let (first, last) = (head - head.min(CONTEXT), before.len() - tail + tail.min(CONTEXT));
    let mut text = format!("--- {name}\n+++ b/{path}\n@@ -{},{} +{0},", first + 1, last - first);
    text.push_str(&format!("{} @@\n", last - first + added.len() - removed.len()));
    let mut lines = |mark: char, lines: &[&str]| {
        for line in lines {
            text.push(mark);
            text.push_str(line);
            if !line.ends_with('\n') {
                text.push_str("\n\\ No newline at end of file\n");
            }
        }
    };
    lines(' ', &before[first..head]);
    lines('-', removed);
    lines('+', added);
    lines(' ', &before[before.len() - tail..last]);
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_file_is_the_longest_block_where_a_parser_looks_at_it() {
        for (answer, expect) in [
            ("```python\na = 1\n```\n", Some("a = 1\n")),
            ("Here:\n```\na\n```\nand\n```go\npackage a\n\nvar b int\n```\nDone.", Some("package a\n\nvar b int\n")),
            ("````js\na\n```\nb\n```\n````\n", Some("a\n```\nb\n```\n")),
            ("```\nnever closed", Some("never closed\n")),
            ("plain\n", None),
            ("", None),
        ] {
            assert_eq!(block(answer, true).as_deref(), expect, "{answer}");
        }
    }

    #[test]
    fn a_file_with_blocks_of_its_own_is_whole() {
        let readme = "# A\n```bash\nls\n```\nand\n```\ncode\n```\nThe end.\n";
        for fence in ["```", "````"] {
            for around in ["", "Here it is:\n\n"] {
                let answer = format!("{around}{fence}markdown\n{readme}{fence}\n");
                assert_eq!(block(&answer, false).as_deref(), Some(readme), "{answer}");
            }
        }
        assert_eq!(block("```\nnever closed", false).as_deref(), Some("never closed\n"));
        assert_eq!(block("I'm sorry.", false), None);
    }

    #[test]
    fn a_fence_is_longer_than_those_in_the_text() {
        assert_eq!(fenced("a\n"), "```\na\n```\n");
        assert_eq!(fenced("````\nb"), "`````\n````\nb\n`````\n");
    }

    #[test]
    fn paths_stay_inside() {
        for good in ["a.py", "src/a/b.rs", ".github/x.yml", "a..b"] {
            assert_eq!(path(good), Ok(good));
        }
        for bad in ["/etc/passwd", "../a", "a/../../b", "~/a", "C:\\a", "a//b", "a\nb", "..", "a/", "\\\\host\\a"] {
            assert!(path(bad).unwrap_err().contains("has to be relative"), "{bad}");
        }
    }

    #[test]
    fn differences_are_unified() {
        assert_eq!(diff("a", Some("1\n2\n"), "1\n3\n"), "--- a/a\n+++ b/a\n@@ -1,2 +1,2 @@\n 1\n-2\n+3\n");
        assert!(diff("a", None, "1\n").starts_with("--- /dev/null\n+++ b/a\n"));
        assert_eq!(diff("a", Some("1\n"), "1\n"), "");
        assert!(diff("a", Some("1\n"), "1\n1\n").ends_with("@@\n 1\n+1\n"), "{}", diff("a", Some("1\n"), "1\n1\n"));
    }

    #[test]
    fn long_differences_are_coarse_and_right() {
        let lines = |word: &str, count: usize| (0..count).map(|n| format!("{word} {n}\n")).collect::<String>();
        let (old, new) = (format!("a\nb\nc\nd\n{}e\n", lines("old", 2000)), format!("a\nb\nc\nd\n{}e\n", lines("new", 1500)));
        let text = diff("f", Some(&old), &new);
        assert!(text.starts_with("--- a/f\n+++ b/f\n@@ -2,2004 +2,1504 @@\n b\n c\n d\n-old 0\n"), "{}", &text[..80]);
        assert!(text.ends_with("+new 1499\n e\n"));
        assert_eq!((text.matches("\n-old").count(), text.matches("\n+new").count()), (2000, 1500));
    }
}
