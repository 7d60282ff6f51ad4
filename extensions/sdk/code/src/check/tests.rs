//! What is right passes, and what is wrong is told where it is.

use super::*;

#[track_caller]
fn good(language: Language, source: &str) {
    assert_eq!(check(language, source, &Limits::default()), Verdict::Valid, "{language:?}:\n{source}");
}

/// The first problem's line and column, and a part of its message.
#[track_caller]
fn bad(language: Language, source: &str, place: (usize, usize), says: &str) {
    match check(language, source, &Limits::default()) {
        Verdict::Invalid(problems) => {
            let first = &problems[0];
            assert_eq!((first.line, first.column), place, "{language:?}: {first:?}\n{source}");
            assert!(first.message.contains(says), "{language:?}: {first:?}");
        }
        other => panic!("{language:?}: {other:?}\n{source}"),
    }
}

#[test]
fn files_and_snippets_pass() {
    good(Language::Go, "// Package a.\npackage a\n\nimport \"fmt\"\n\nfunc A[T any](b T) { fmt.Println(b) }\n");
    good(Language::Go, "func a() error {\n\treturn nil\n}\n");
    good(Language::Go, "x := 1\nfmt.Println(x)\n");
    good(Language::Python, "def a(b, /, *, c: int = 1) -> str:\n    match b:\n        case [1, *_]:\n            return f\"{c!r:>{b}}\"\n");
    good(Language::Python, "    def a(self):\n        return 1\n\n    def b(self):\n        return 2\n");
    good(
        Language::JavaScript,
        "const a = require('b');\nmodule.exports = async () => { for await (const c of a) { yield_(c?.d ?? 1n) } };\n",
    );
    good(Language::JavaScript, "import a from 'b';\nexport default () => <div className=\"x\">{a} don't</div>;\n");
    good(Language::JavaScript, "with (a) { b = 010 }\nreturn 1\n");
    good(
        Language::TypeScript,
        "enum A { B = 1 }\nconst a = <A>b;\nexport abstract class C<T extends A> { constructor(private readonly d?: T) {} }\n",
    );
    good(Language::TypeScript, "export const A = <T,>({ b }: { b: T }) => <p key={1}>{b as any}</p>;\n");
    good(Language::TypeScript, "export declare const a: unique symbol;\nexport function b(): void;\n");
    good(Language::Json, "\u{feff}{\"a\": [1, 2.5e3, \"\\u00e9\", null]}\n");
    good(Language::Json, &format!("{}{}", "[".repeat(5000), "]".repeat(5000)));
    good(Language::Yaml, "a: &x {b: [1, 2]}\nc: *x\n---\n- |\n  text\n- >-\n  more\n...\n");
    good(Language::Yaml, "a:\n  b: [\n    c,\n  ]\nd: {\n}\n");
    good(Language::Yaml, &"- a: [\n    1\n  ]\n- {\n  b: 'it''s ]',\n  c: \"}\"\n  }\n".repeat(500));
    good(Language::Toml, "a = 1\n[b.c]\nd = [1, 2,\n  3]\n[[e]]\nf = 1979-05-27T07:32:00Z\n");
    good(Language::Rust, "#![allow(dead_code)]\nuse std::fmt;\nfn a<'a, const N: usize>(b: &'a [u8; N]) -> impl fmt::Debug + 'a { b }\n");
    good(Language::Rust, "let a = vec![1, 2];\nfor b in &a { println!(\"{b}\"); }\na.len()\n");
    good(Language::Rust, "#!/usr/bin/env run\nfn main() {}\n");
    for language in Language::ALL.into_iter().filter(|l| *l != Language::Json) {
        good(language, "");
    }
}

#[test]
fn problems_have_a_place() {
    bad(Language::Go, "package a\n\nfunc A() {\n\tb(\n}\n", (4, 1), "expression");
    bad(Language::Go, "func a() {\n\tif x {\n", (3, 1), "");
    bad(Language::Python, "def a(:\n    pass\n", (1, 7), "");
    bad(Language::Python, "def ä(b):\nreturn 'é' 1\n", (2, 1), "indented block");
    bad(Language::JavaScript, "const a = {\n  'ä': [1, 2\n};\n", (3, 1), "");
    bad(Language::TypeScript, "let a: = 1;\n", (1, 8), "");
    bad(Language::JavaScript, "let a: string = 1;\n", (1, 6), "");
    bad(Language::Json, "{\n  \"ä\": 1,\n}\n", (3, 1), "trailing comma");
    bad(Language::Json, "{'a': 1}", (1, 2), "key must be a string");
    bad(Language::Json, "", (1, 1), "EOF");
    bad(Language::Yaml, "a: 1\nb: [1, 2\nc: 3\n", (3, 2), "");
    bad(Language::Yaml, "a: [\n  1\n]\nb: 1\n}\n", (5, 1), "");
    bad(Language::Toml, "a = 1\nb = \n", (2, 5), "");
    bad(Language::Rust, "fn a() {\n    let b = ;\n}\n", (2, 13), "expected");
    bad(Language::Rust, "fn a() {\n    b(\n}\n", (3, 1), "");
}

#[test]
fn excerpts_show_the_place() {
    let Verdict::Invalid(problems) = check(Language::Json, "{\n\t\"a\": x\n}", &Limits::default()) else { panic!("it is not valid") };
    assert_eq!(problems[0].excerpt, "\t\"a\": x\n\t     ^");
    let long = format!("[{}x]", "1, ".repeat(100));
    let Verdict::Invalid(problems) = check(Language::Json, &long, &Limits::default()) else { panic!("it is not valid") };
    let (line, mark) = problems[0].excerpt.split_once('\n').unwrap();
    assert_eq!((problems[0].column, line.chars().nth(mark.len() - 1)), (302, Some('x')), "{}", problems[0].excerpt);
}

#[test]
fn what_is_too_long_or_too_deep_is_not_checked() {
    let limits = Limits { bytes: 10, ..Limits::default() };
    assert_eq!(check(Language::Json, "[1, 2, 3, 4]", &limits), Verdict::Unchecked("it has 12 bytes; up to 10 are checked".into()));
    let deep = format!("x = {}1{}", "[".repeat(500), "]".repeat(500));
    for language in [Language::Python, Language::JavaScript, Language::TypeScript] {
        let verdict = check(language, &deep, &Limits::default());
        assert_eq!(verdict, Verdict::Unchecked("it nests deeper than 150 levels at line 1".into()), "{language:?}");
    }
    let deep = format!("a = {}1{}", "[".repeat(500), "]".repeat(500));
    assert_eq!(check(Language::Toml, &deep, &Limits::default()), Verdict::Unchecked("it nests too deep".into()));
}
