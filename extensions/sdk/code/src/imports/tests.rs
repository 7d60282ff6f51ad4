//! What is missing for certain is added where it belongs, and everything else stays.

use super::*;

#[track_caller]
fn added(language: Language, source: &str, expect: &str) {
    assert!(check(language, source, &Limits::default()).is_valid(), "{source}");
    let completed = complete(language, source, &Limits::default()).0;
    let code = completed.as_ref().map(|c| c.code.as_str());
    assert_eq!(code, Some(expect), "{language:?}:\n{source}\n{}", code.unwrap_or_default());
    // What is whole stays.
    assert_eq!(complete(language, expect, &Limits::default()).0, None, "{expect}");
    // Lines end as they did.
    if source.contains('\n') {
        let (source, expect) = (source.replace('\n', "\r\n"), expect.replace('\n', "\r\n"));
        let code = complete(language, &source, &Limits::default()).0.map(|c| c.code);
        assert_eq!(code.as_deref(), Some(expect.as_str()), "{language:?}");
    }
}

#[track_caller]
fn kept(language: Language, source: &str) {
    assert!(check(language, source, &Limits::default()).is_valid(), "{source}");
    assert_eq!(complete(language, source, &Limits::default()).0, None, "{language:?}:\n{source}");
}

#[test]
fn go_is_completed() {
    let go = |source: &str, expect: &str| added(Language::Go, source, expect);
    let body = "\n\nfunc main() {\n\tfmt.Println(1)\n}\n";
    go(&format!("package main{body}"), &format!("package main\n\nimport \"fmt\"{body}"));
    go("package main\nfunc main() { fmt.Println() }\n", "package main\n\nimport \"fmt\"\n\nfunc main() { fmt.Println() }\n");
    go(
        "// Package a is.\npackage a // b\n\nvar c = fmt.Sprint()\n",
        "// Package a is.\npackage a // b\n\nimport \"fmt\"\n\nvar c = fmt.Sprint()\n",
    );
    let body = "\n\nfunc main() {\n\tfmt.Println(os.Args)\n}\n";
    go(&format!("package main\n\nimport \"os\"{body}"), &format!("package main\n\nimport (\n\t\"fmt\"\n\t\"os\"\n){body}"));
    go(
        &format!("package main\n\nimport \"fmt\" // to print{body}"),
        &format!("package main\n\nimport (\n\t\"fmt\" // to print\n\t\"os\"\n){body}"),
    );
    go(
        "package main\n\nimport \"a.b/c\"\n\nvar d, e = c.D, fmt.Sprint()\n",
        "package main\n\nimport (\n\t\"fmt\"\n\n\t\"a.b/c\"\n)\n\nvar d, e = c.D, fmt.Sprint()\n",
    );
    let body = "\n\nvar e = d.E(bytes.MinRead, os.Args, json.Marshal, fmt.Sprint, bufio.NewReader)\n";
    let others = "\"fmt\"\n\t\"os\"\n\n\t\"b.c/d\"\n)";
    go(
        &format!("package a\n\nimport (\n\t// about\n\t\"bytes\"\n\t\"os\"\n\n\t\"b.c/d\"\n){body}"),
        &format!("package a\n\nimport (\n\t// about\n\t\"bufio\"\n\t\"bytes\"\n\t\"encoding/json\"\n\t{others}{body}"),
    );
    go(
        "package a\n\nimport \"fmt\"\nimport \"os\"\n\nvar b = fmt.Sprint(os.Args, io.EOF)\n",
        "package a\n\nimport \"fmt\"\nimport \"io\"\nimport \"os\"\n\nvar b = fmt.Sprint(os.Args, io.EOF)\n",
    );
    // What is used decides which one is meant.
    go("package a\n\nvar b = rand.Intn(1)\n", "package a\n\nimport \"math/rand\"\n\nvar b = rand.Intn(1)\n");
    go("package a\n\nvar b template.HTML\n", "package a\n\nimport \"html/template\"\n\nvar b template.HTML\n");
    go("package a\n\nfunc b() { log.Println() }\n", "package a\n\nimport \"log\"\n\nfunc b() { log.Println() }\n");
    // Fields and methods have names of their own.
    go(
        "package a\n\ntype b struct{ time time.Time }\n\nfunc (b) sort() {}\n",
        "package a\n\nimport \"time\"\n\ntype b struct{ time time.Time }\n\nfunc (b) sort() {}\n",
    );
}

#[test]
fn go_that_is_not_clear_stays() {
    let go = |source: &str| kept(Language::Go, source);
    go("func main() {\n\tfmt.Println(1)\n}\n");
    go("fmt.Println(1)\n");
    go("package a\n\nfunc b(fmt c) { fmt.Println() }\n");
    go("package a\n\nvar fmt = b\n\nfunc d() { fmt.Println() }\n");
    go("package a\n\nfunc b() { fmt := c; fmt.Println() }\n");
    go("package a\n\nfunc b() { for _, fmt := range c { fmt.Println() } }\n");
    go("package a\n\nfunc b() {\nfmt:\n\tfor { break fmt }\n\tfmt.Println()\n}\n");
    go("package a\n\nfunc b() { switch fmt := c.(type) { case d: fmt.Println() } }\n");
    go("package a\n\nfunc fmt() {}\n\nvar c = fmt.Println\n");
    go("package a\n\nfunc b[fmt any](c fmt) { fmt.Println() }\n");
    go("package a\n\nvar b = fmt.Printline()\n");
    go("package a\n\nvar b = rand.Float64()\n");
    go("package a\n\nvar b = template.New(\"\")\n");
    go("package a\n\nimport . \"b\"\n\nvar c = fmt.Println\n");
    go("package a\n\nimport fmt \"b.c/d\"\n\nvar c = fmt.Println\n");
    go("package a\n\nimport \"b.c/go-json\"\n\nvar c = json.Marshal\n");
    go("package a\n\nimport \"b.c/jsoniter\"\n\nvar c, d = jsoniter.D, json.Marshal\n");
    // It may have another name than its path says.
    go("package a\n\nimport \"b.c/d\"\n\nvar c = json.Marshal\n");
    // A variable of another file.
    go("package a\n\nfunc b() { log.Println(c) }\n");
    go("package a\n\nimport ( \"os\"\n\t\"io\"\n)\n\nvar b = fmt.Sprint(os.Args, io.EOF)\n");
}

#[test]
fn python_is_completed() {
    let python = |source: &str, expect: &str| added(Language::Python, source, expect);
    python("print(json.dumps(1))\n", "import json\n\nprint(json.dumps(1))\n");
    python("def a():\n    return re.compile('b')\n", "import re\n\n\ndef a():\n    return re.compile('b')\n");
    python("\"\"\"About.\"\"\"\n\nprint(os.path)\n", "\"\"\"About.\"\"\"\n\nimport os\n\nprint(os.path)\n");
    python("\"\"\"About.\"\"\"#\"\n\nprint(os.path)\n", "\"\"\"About.\"\"\"#\"\n\nimport os\n\nprint(os.path)\n");
    python("\"\"\"About.\"\"\"\nprint(os.path)\n", "\"\"\"About.\"\"\"\n\nimport os\n\nprint(os.path)\n");
    python(
        "#!/usr/bin/env python3\n# -*- coding: utf-8 -*-\nprint(os.path)\n",
        "#!/usr/bin/env python3\n# -*- coding: utf-8 -*-\n\nimport os\n\nprint(os.path)\n",
    );
    python("# Licence.\n\n# A thing.\na = os.path\n", "# Licence.\n\nimport os\n\n# A thing.\na = os.path\n");
    python("# A thing.\na = os.path\n", "import os\n\n# A thing.\na = os.path\n");
    python("from __future__ import annotations\n\na = os.path\n", "from __future__ import annotations\n\nimport os\n\na = os.path\n");
    python("import os  # files\n\nprint(os.path, json.dumps)\n", "import json\nimport os  # files\n\nprint(os.path, json.dumps)\n");
    python(
        "import os\n\nprint(os.path, re.compile, sys.argv)\n",
        "import os\nimport re\nimport sys\n\nprint(os.path, re.compile, sys.argv)\n",
    );
    python("from os import path\n\nprint(path, re.compile)\n", "import re\nfrom os import path\n\nprint(path, re.compile)\n");
    python("import numpy as np\n\nprint(np.a, re.compile)\n", "import re\n\nimport numpy as np\n\nprint(np.a, re.compile)\n");
    python(
        "import os\n\nimport numpy as np\n\nprint(np.a, os.path, re.compile)\n",
        "import os\nimport re\n\nimport numpy as np\n\nprint(np.a, os.path, re.compile)\n",
    );
    python("a = defaultdict(list)\n", "from collections import defaultdict\n\na = defaultdict(list)\n");
    python(
        "from collections import OrderedDict, deque\n\nprint(OrderedDict, deque, defaultdict)\n",
        "from collections import OrderedDict, defaultdict, deque\n\nprint(OrderedDict, deque, defaultdict)\n",
    );
    python(
        "from typing import (\n    Any,\n    List,\n)\n\na: Any\nb: List[Optional[Dict]]\n",
        "from typing import (\n    Any,\n    Dict,\n    List,\n    Optional,\n)\n\na: Any\nb: List[Optional[Dict]]\n",
    );
    python(
        "import os\n\n\n@dataclass\nclass A:\n    b: os.PathLike\n",
        "import os\nfrom dataclasses import dataclass\n\n\n@dataclass\nclass A:\n    b: os.PathLike\n",
    );
    python("print(datetime.datetime.now())\n", "import datetime\n\nprint(datetime.datetime.now())\n");
    python("print(datetime.now())\n", "from datetime import datetime\n\nprint(datetime.now())\n");
    python("print(f\"{math.pi:.2f}\")\n", "import math\n\nprint(f\"{math.pi:.2f}\")\n");
}

#[test]
fn python_that_is_not_clear_stays() {
    let python = |source: &str| kept(Language::Python, source);
    for bound in [
        "json = b\n",
        "from a import *\n",
        "import json\n",
        "import json.decoder\n",
        "import simplejson as json\n",
        "from a import json\n",
        "def json(): pass\n",
        "class json: pass\n",
        "def a(json): pass\n",
        "def a(*json): pass\n",
        "lambda json: 0\n",
        "for json in []: pass\n",
        "with open() as json: pass\n",
        "try: pass\nexcept OSError as json: pass\n",
        "[0 for json in []]\n",
        "def a():\n    global json\n",
        "match 1:\n    case json: pass\n",
        "match 1:\n    case [*json]: pass\n",
        "match 1:\n    case {**json}: pass\n",
        "(json := 1)\n",
        "del json\n",
        "json += 1\n",
        "json: int\n",
        "type json = int\n",
        "def a[json](): pass\n",
        "exec('import json')\n",
        "globals()['json'] = 1\n",
        "try:\n    json\nexcept NameError:\n    pass\n",
        // A part of something.
        "print(config)\n",
    ] {
        python(&format!("{bound}json.dumps(1)\n"));
    }
    python("json.to_string(1)\n");
    python("    def a(self):\n        return json.dumps(1)\n");
    python("from fastapi import FastAPI\n\na = FastAPI(Path())\n");
    python("import os; print(os.path, json.dumps)\n");
    python("'json.dumps'\n# json.dumps\n");
}

#[test]
fn rust_is_completed() {
    let rust = |source: &str, expect: &str| added(Language::Rust, source, expect);
    rust(
        "fn main() {\n    let a: HashMap<u8, u8> = HashMap::new();\n}\n",
        "use std::collections::HashMap;\n\nfn main() {\n    let a: HashMap<u8, u8> = HashMap::new();\n}\n",
    );
    rust(
        "//! About.\n#![allow(dead_code)]\n\n/// It.\nfn main() {\n    Rc::new(1);\n}\n",
        "//! About.\n#![allow(dead_code)]\n\nuse std::rc::Rc;\n\n/// It.\nfn main() {\n    Rc::new(1);\n}\n",
    );
    let shown = "impl fmt::Display for A {\n    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {\n        Ok(())\n    }\n}\n";
    let body = format!("struct A(BTreeMap<u8, u8>, HashSet<u8>);\n\n{shown}");
    rust(
        &format!("use std::collections::BTreeMap;\nuse std::fmt;\n\n{body}"),
        &format!("use std::collections::BTreeMap;\nuse std::collections::HashSet;\nuse std::fmt;\n\n{body}"),
    );
    let body = format!("struct A(Rc<u8>);\n\n{shown}");
    rust(&format!("use std::rc::Rc;\n\n{body}"), &format!("use std::fmt;\nuse std::rc::Rc;\n\n{body}"));
    rust(
        "use serde::Deserialize;\n\n#[derive(Deserialize)]\nstruct A(HashMap<u8, u8>);\n",
        "use std::collections::HashMap;\n\nuse serde::Deserialize;\n\n#[derive(Deserialize)]\nstruct A(HashMap<u8, u8>);\n",
    );
    let body = "fn main() {\n    a.load(Ordering::SeqCst);\n}\n";
    rust(body, &format!("use std::sync::atomic::Ordering;\n\n{body}"));
    rust("mod a;\n\nfn main() {\n    mem::swap(1, 2)\n}\n", "use std::mem;\n\nmod a;\n\nfn main() {\n    mem::swap(1, 2)\n}\n");
    rust(
        "use std::io::prelude::*;\n\nfn a(b: HashMap<u8, u8>) {}\n\nmod tests {\n    use super::*;\n}\n",
        "use std::collections::HashMap;\nuse std::io::prelude::*;\n\nfn a(b: HashMap<u8, u8>) {}\n\nmod tests {\n    use super::*;\n}\n",
    );
}

#[test]
fn rust_that_is_not_clear_stays() {
    let rust = |source: &str| kept(Language::Rust, source);
    for bound in [
        "use a::*;",
        "use a::prelude::*;",
        "use a::HashMap;",
        "use a::{b, HashMap};",
        "use a::B as HashMap;",
        "use hashbrown::HashSet;",
        "struct HashMap;",
        "type HashMap = A;",
        "enum HashMap {}",
        "trait HashMap {}",
        "mod HashMap {}",
        "a!(HashMap);",
        "include!(\"a.rs\");",
        "macro_rules! a { () => { struct HashMap; } }",
        "fn a<HashMap>() {}",
        "extern crate alloc; use alloc::vec::Vec;",
        "fn a() { use b::*; }",
    ] {
        rust(&format!("{bound}\nfn main() {{ HashMap::new(); }}\n"));
    }
    rust("fn main() { a.load(Ordering::SeqCst, Ordering::Less); }\n");
    rust("#![no_std]\nfn main() { HashMap::new(); }\n");
    rust("#![cfg_attr(not(test), no_std)]\nfn main() { HashMap::new(); }\n");
    rust("fn a(b: HashMap<u8, u8>) {}\n");
    rust("let a = HashMap::new();\n");
    rust("use tokio::net::TcpStream;\nfn main() { File::open(\"a\"); }\n");
    rust("fn main() { ::HashMap::new(); a::HashMap::new(); }\n");
    rust("fn main() {}\nmod a { fn b(c: HashMap<u8, u8>) {} }\n");
}

#[test]
fn it_is_told() {
    let completed = complete(Language::Python, "a = 1\nprint(a, json.dumps(defaultdict()))\n", &Limits::default()).0.unwrap();
    assert_eq!(completed.fixes, ["added the import of `defaultdict` from `collections`", "added the import of `json`"]);
    let places: Vec<(usize, usize, &str)> = completed.missing.iter().map(|m| (m.line, m.column, m.message.as_str())).collect();
    assert_eq!(places, [(2, 10, "`json` is not imported"), (2, 21, "`defaultdict` is not imported")]);
    let completed = complete(Language::Go, "package ä\n\n// ö\nvar b = fmt.Sprint()\n", &Limits::default()).0.unwrap();
    assert_eq!((completed.missing[0].line, completed.missing[0].column), (4, 9));
}

/// What is too deep for functions that call themselves is left alone, however it came to be: no bracket is in these.
#[test]
fn long_chains_have_an_answer() {
    for (language, head, link) in [
        (Language::Go, "package a\n\nvar b = fmt.Sprint(", " c +"),
        (Language::Python, "a = json.dumps(", " 1 +"),
        (Language::Python, "a = json", ".b"),
        (Language::Rust, "fn main() { HashMap::new(", " 1 +"),
    ] {
        let close = if language == Language::Rust {
            " 1) }\n"
        } else if link == ".b" {
            "\n"
        } else {
            " 1)\n"
        };
        let source = format!("{head}{}{close}", link.repeat(5000));
        let limits = Limits { read: 1 << 20, ..Limits::default() };
        let (completed, read) = complete(language, &source, &limits);
        assert!(read <= 3 * source.len(), "{language:?}");
        assert!(completed.is_none() || language == Language::Go, "{language:?}");
    }
}

/// Reading is bounded, and so is what is added.
#[test]
fn it_stays_within_its_limits() {
    let source = "print(json.dumps(1))\n";
    for (limits, does) in [(source.len() * 3, true), (source.len(), false), (0, false)] {
        let limits = Limits { read: limits, ..Limits::default() };
        let (completed, read) = complete(Language::Python, source, &limits);
        assert_eq!((completed.is_some(), read <= limits.read), (does, true));
    }
    let all: String =
        ["abc.ABC", "ast.parse", "bisect.bisect", "csv.reader", "copy.copy", "glob.glob", "gzip.open", "html.escape", "io.open"]
            .into_iter()
            .chain(["json.dumps", "math.pi", "os.path", "re.compile"])
            .map(|name| format!("print({name})\n"))
            .collect();
    kept(Language::Python, &all);
}
