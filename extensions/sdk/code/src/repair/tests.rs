//! What is broken in known ways is repaired, and what is not is left alone.

use super::*;

#[track_caller]
fn fixed(language: Language, source: &str, expect: &str) {
    let repaired = repair(language, source, &Limits::default()).0;
    assert_eq!(repaired.as_ref().map(|r| r.code.as_str()), Some(expect), "{language:?}: {repaired:?}\n{source}");
}

#[test]
fn what_parses_is_left_alone() {
    for (language, source) in
        [(Language::Json, "{\"a\":1}"), (Language::Python, "a = [1,]"), (Language::Yaml, "- a"), (Language::Go, "a := 1")]
    {
        assert_eq!(repair(language, source, &Limits::default()).0, None, "{source}");
    }
}

#[test]
fn fences_and_sentences_go() {
    fixed(Language::Python, "```python\na = 1\n```\n", "a = 1\n");
    fixed(Language::Python, "a = 1\n```\n", "a = 1\n");
    fixed(Language::Json, "Here is what you asked for:\n\n{\"a\": 1}\n\nTell me when you need more.\n", "{\"a\": 1}\n");
    fixed(Language::Rust, "Here is the code:\n```rust\nfn a() {}\n```\nIt does nothing.", "fn a() {}\n");
}

#[test]
fn ends_are_closed() {
    fixed(Language::Json, "{\"a\": [1, {\"b\": \"c", "{\"a\": [1, {\"b\": \"c\"}]}");
    fixed(Language::Json, "{\"a\": [1, 2,", "{\"a\": [1, 2]}");
    fixed(Language::Json, "{\"a\": 1, \"b\":", "{\"a\": 1, \"b\": null}");
    fixed(Language::Json, "{\"a\": 1, \"b", "{\"a\": 1, \"b\": null}");
    fixed(Language::Json, "{\"a\": tr", "{\"a\": true}");
    fixed(Language::Json, "{\"a\": \"\\u00e", "{\"a\": \"\"}");
    fixed(Language::Json, "{\"a\": \"b\\", "{\"a\": \"b\"}");
    fixed(Language::Go, "func a() {\n\tif b {\n\t\tc(\"d", "func a() {\n\tif b {\n\t\tc(\"d\")\n\t}\n}\n");
    fixed(Language::Python, "def a(b):\n    if b:\n", "def a(b):\n    if b:\n        pass\n");
    fixed(Language::Python, "a = [\n    1,\n    2", "a = [\n    1,\n    2]\n");
    fixed(Language::JavaScript, "try {\n  a(`b ${c", "try {\n  a(`b ${c}`)\n} finally {}\n");
    fixed(Language::Rust, "fn a() {\n    b(1", "fn a() {\n    b(1)\n}\n");
    fixed(Language::Toml, "a = [1, 2", "a = [1, 2]");
    fixed(Language::Yaml, "a: {b: [1, 2", "a: {b: [1, 2]}");
}

#[test]
fn what_is_not_complete_goes() {
    fixed(Language::Python, "a = 1\nb = a +", "a = 1\n");
    fixed(Language::Rust, "fn a() {\n    b();\n    let c = d.", "fn a() {\n    b();\n}\n");
    fixed(Language::Go, "package a\n\nfunc b() {\n\tc()\n\td :=", "package a\n\nfunc b() {\n\tc()\n}\n");
    fixed(Language::Toml, "a = 1\nb", "a = 1\n");
}

#[test]
fn signs_that_are_not_the_languages_are_replaced() {
    fixed(Language::Python, "print(\u{201c}a\u{201d})\n", "print(\"a\")\n");
    fixed(Language::JavaScript, "const a\u{200b} = \u{2018}b\u{2019};\n", "const a = 'b';\n");
    fixed(Language::Json, "{\"a\": 1, // one\n \"b\": [2,],}\n", "{\"a\": 1, \n \"b\": [2]}\n");
    fixed(Language::Json, "[1,, 2]", "[1, 2]");
    fixed(Language::Python, "if a:\n\tb\n        c\n", "if a:\n    b\n    c\n");
    fixed(Language::Python, "def a():\n    b\n   c\n", "def a():\n    b\n    c\n");
    fixed(Language::Yaml, "a:\n\tb: 1\n", "a:\n  b: 1\n");
    fixed(Language::JavaScript, "f(1));\n", "f(1);\n");
}

#[test]
fn what_is_beyond_repair_stays() {
    for (language, source) in [(Language::Python, "this is no python at all"), (Language::Json, "<html>"), (Language::Go, "}{")] {
        assert_eq!(repair(language, source, &Limits::default()).0, None, "{source}");
    }
}

/// Code that makes scanners go over the same bytes again and again, or write more than they read. As long as `MAX_BYTES` allows anybody to
/// set it: whatever takes its square does not come to an end here.
#[test]
fn hostile_code_takes_no_longer_than_it_is() {
    const LENGTH: usize = 1 << 20;
    let limits = Limits { bytes: LENGTH, read: 4 * LENGTH, ..Limits::default() };
    let filled = |head: &str, unit: &str| format!("{head}{}", unit.repeat(LENGTH / 2 / unit.len()));
    for (language, head, unit) in [
        (Language::JavaScript, "a ", "=/["),
        (Language::JavaScript, "", "{"),
        (Language::JavaScript, "\n\t", "{"),
        (Language::Json, "", "["),
        (Language::Json, "", "{\"a\":"),
        (Language::Json, "", "[1,\n"),
        (Language::Rust, "", "r#\"\n"),
        (Language::Go, "", "{\n"),
        (Language::Python, "\n    ", "a\n"),
        (Language::Python, &"\n".repeat(LENGTH / 4), "  a:\n"),
        (Language::Yaml, "a: [b\n", "]\n"),
        (Language::Yaml, "", "a: [\n]\n"),
        (Language::Yaml, "", "a: {\n"),
        (Language::Toml, "", "[a\n"),
    ] {
        let source = filled(head, unit);
        let (repaired, read) = repair(language, &source, &limits);
        assert!(read <= limits.read, "{language:?} {unit:?}: {read}");
        assert!(repaired.is_none_or(|r| r.code.len() <= 2 * source.len() + 8192), "{language:?} {unit:?}");
    }
    // Each of these blocks would be indented as the line is that all of them stand in.
    let wide = format!("{}{}x\n", " ".repeat(LENGTH / 4), "{".repeat(LENGTH / 4));
    assert_eq!(repair(Language::Go, &wide, &limits).0, None);
}
