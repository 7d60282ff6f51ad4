//! `docs/reference/errors.md`, made from the contract, the codecs and the table.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use llm_codec::Format;
use llm_codec::hub::{ChatError, ErrorClass};

use crate::documented::CASES;
use crate::{read, written};

/// Set to write the page anew.
const WRITE: &str = "WRITE_REFERENCE";

fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// What the contract says of each kind.
fn meanings() -> Vec<(String, String)> {
    let contract = std::fs::read_to_string(repository().join("wit/hub.wit")).expect("the contract");
    let (_, cases) = contract.split_once("enum error-class {").expect("it has the kinds of errors");
    let mut said = String::new();
    let mut meanings = Vec::new();
    for line in cases.lines().map(str::trim).take_while(|line| *line != "}") {
        match line.strip_prefix("///") {
            Some(doc) => said.push_str(doc),
            None if !line.is_empty() => meanings.push((line.trim_end_matches(',').to_owned(), std::mem::take(&mut said).trim().to_owned())),
            None => {}
        }
    }
    meanings
}

fn page() -> String {
    let mut page = String::from(
        "# Errors\n\nMade from the code by a test; do not edit. Write it anew: `WRITE_REFERENCE=1 cargo test -p llm-codec --test errors`.\n\n\
         Whatever goes wrong is one of these kinds. Hooks see the kind; a client reads the words of its own format: status, `type` and, where \
         the format has one, `code`. An error of a provider that speaks the client's format keeps its status and code.\n\n## Kinds\n\n| kind | what it is |",
    );
    Format::ALL.iter().for_each(|f| _ = write!(page, " {} |", f.as_str()));
    page.push_str("\n|---|---|");
    Format::ALL.iter().for_each(|_| page.push_str("---|"));
    let meanings = meanings();
    for class in ErrorClass::ALL {
        let (_, meaning) = meanings.iter().find(|(name, _)| name == class.name()).expect("the contract has each kind");
        _ = write!(page, "\n| `{}` | {meaning} |", class.name());
        for format in Format::ALL {
            _ = write!(page, " {} |", words(&written(format, &ChatError::new(class, "m"), format)));
        }
    }
    page.push_str(
        "\n\nA provider that refuses the gateway's own key is no authentication problem of the caller: it is told as `upstream` with the code \
         `provider_authentication`, and the log says whose key it is. An error object inside of a success status, and an error event of a stream \
         before its first content, become an ordinary error response. After the first byte the error is the last event of the stream, in the \
         client's format, with the same type and code.\n\n## When to try again\n\nTold by the response header `retry-after` (seconds, rounded up) \
         and, where that is not exact, `retry-after-ms`. The first of these that the provider gave counts:\n\n1. `retry-after-ms`; `retry-after` in \
         seconds or as a date\n2. `details[].retryDelay` of Google's documents\n3. the message: `Please try again in 20s.`\n4. for kinds that waiting \
         helps (`rate-limited`, `quota-exceeded`, `overloaded`): `anthropic-ratelimit-*-reset`, `x-ratelimit-reset-*`, `ratelimit-reset`: of the limits \
         with nothing remaining the one that lasts longest, else the one that is over first\n\n## Errors of providers\n\nAnswers as providers document \
         and send them, and what clients get. The time is 2025-01-31 12:00:00 UTC.\n\n| from | speaks | answer | kind | try again |",
    );
    Format::ALL.iter().for_each(|f| _ = write!(page, " {} |", f.as_str()));
    page.push_str("\n|---|---|---|---|---|");
    Format::ALL.iter().for_each(|_| page.push_str("---|"));
    for case in CASES {
        let error = read(case);
        let headers: String = case.headers.iter().map(|(name, value)| format!("`{name}: {value}` ")).collect();
        let wait = error.retry_after_ms.map(|ms| format!("{} s", ms as f64 / 1000.0)).unwrap_or_default();
        let (who, speaks, status) = (case.who, case.format.as_str(), case.status);
        _ = write!(
            page,
            "\n| {who} | {speaks} | {status} {headers}`` {} `` | `{}` | {wait} |",
            case.body.replace('|', "\\|"),
            error.class.name()
        );
        for client in Format::ALL {
            _ = write!(page, " {} |", words(&written(client, &error, case.format)));
        }
    }
    page.push('\n');
    page
}

/// `429 rate_limit_error` as `429` and code.
fn words(written: &str) -> String {
    match written.split_once(' ') {
        Some((status, words)) => format!("{status} `{words}`"),
        None => written.to_owned(),
    }
}

#[test]
fn the_page_is_up_to_date() {
    let file = repository().join("docs/reference/errors.md");
    let page = page();
    if std::env::var_os(WRITE).is_some() {
        std::fs::write(&file, &page).expect("the folder of the documentation");
    }
    let there = std::fs::read_to_string(&file).unwrap_or_default();
    assert!(
        there == page,
        "docs/reference/errors.md is not what the code does; write it anew: {WRITE}=1 cargo test -p llm-codec --test errors"
    );
}
