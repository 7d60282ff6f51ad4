//! The comparison in bulk, and `docs/reference/conformance.md`, which is what came of it.

use std::fmt::Write as _;

use llm_codec::Format;

use super::answers::Report;
use super::features::{ANSWERS, REQUESTS, Tally};
use super::{CLIENTS, Stage, answers, requests};
use wasmgate_tests::repo;

/// Set to write the page anew.
const WRITE: &str = "WRITE_REFERENCE";

/// How many exchanges the shared corpus gives at least; fewer means that something stopped being looked at.
const FLOORS: [(&str, usize); 2] = [("answers", 2200), ("requests", 1280)];

#[tokio::test]
async fn recorded_traffic_through_the_gateway() {
    let Some(stage) = Stage::open("recorded_traffic_through_the_gateway").await else { return };
    let answers = answers::run(&stage).await;
    let requests = requests::run(&stage).await;
    let wrong: Vec<&String> = answers.wrong.iter().chain(&requests.wrong).collect();
    assert!(wrong.is_empty(), "{} differences without a reason:\n{wrong:#?}", wrong.len());
    println!("{} answers and {} requests went through the gateway", answers.exchanges, requests.exchanges);
    println!("{} of the requests say nothing that the other format can say", requests.silent);
    if !stage.shared {
        return println!("SKIPPED docs/reference/conformance.md: it is about the shared corpus, and this is another one");
    }
    for ((what, floor), count) in FLOORS.into_iter().zip([answers.exchanges, requests.exchanges]) {
        assert!(count >= floor, "{count} {what}, at least {floor} are known");
    }
    let page = page(&answers, &requests);
    let file = repo::path("docs/reference/conformance.md");
    if std::env::var_os(WRITE).is_some() {
        std::fs::write(&file, &page).expect("the folder of the documentation");
    }
    let there = std::fs::read_to_string(&file).unwrap_or_default();
    assert!(there == page, "docs/reference/conformance.md is not what the run gives; run this test with {WRITE}=1");
}

fn page(answers: &Report, requests: &Report) -> String {
    let mut notes = Vec::new();
    let mut page = format!(
        "# Conformance\n\nMade by a test from recorded traffic that went through the gateway; do not edit. Write it anew:\n\n```sh\n\
         {WRITE}=1 CORPUS_DIR=… cargo nextest run --release -p wasmgate-tests recorded_traffic_through_the_gateway\n```\n\n\
         Each recording of the corpus was answered by a provider of its format to the clients of every dialect ({} exchanges), and each recorded request \
         was sent by its own dialect's client to a provider of every format ({} exchanges). A cell says how often a feature was there and what became \
         of it:\n\n- `12`: twelve times, unchanged every time\n- `lossy 3 [1]`: three times it could not be expressed, or not as it was; the loss was told \
         as [on_unsupported](settings.md) wants, and the note says why\n- `differs 2 [2]`: it is said otherwise, which is no loss, for the reason in \
         the note\n- n/a: no recording has it\n\nAny other difference fails the test.\n",
        answers.exchanges, requests.exchanges
    );
    page.push_str("\n## Answers\n\nColumns: client ← provider.\n\n");
    let names: Vec<&str> = ANSWERS.iter().map(|f| f.name).collect();
    table(&mut page, "←", &names, &answers.tally, &mut notes);
    page.push_str("\n## Requests\n\nColumns: client → provider.\n\n");
    let names: Vec<&str> = REQUESTS.iter().map(|f| f.name).collect();
    table(&mut page, "→", &names, &requests.tally, &mut notes);
    page.push_str("\n## Notes\n\n");
    for (n, note) in notes.iter().enumerate() {
        _ = writeln!(page, "{}. {note}", n + 1);
    }
    page
}

fn table(page: &mut String, arrow: &str, names: &[&str], tally: &Tally, notes: &mut Vec<String>) {
    let formats = || CLIENTS.iter().map(|s| s.format);
    let pairs: Vec<(Format, Format)> = formats().flat_map(|client| formats().map(move |upstream| (client, upstream))).collect();
    page.push_str("| |");
    pairs.iter().for_each(|(client, upstream)| _ = write!(page, " {} {arrow} {} |", client.as_str(), upstream.as_str()));
    page.push_str("\n|---|");
    pairs.iter().for_each(|_| page.push_str("---|"));
    for (at, name) in names.iter().enumerate() {
        _ = write!(page, "\n| {name} |");
        for (client, upstream) in &pairs {
            let cell = tally.get(&(at, client.as_str(), upstream.as_str()));
            let entries = cell.into_iter().flatten().map(|(outcome, count)| match outcome.split_once(": ") {
                Some((word, reason)) => format!("{word} {count} [{}]", note(notes, reason)),
                None => count.to_string(),
            });
            let shown: Vec<String> = entries.collect();
            _ = write!(page, " {} |", if shown.is_empty() { "n/a".to_owned() } else { shown.join(", ") });
        }
    }
    page.push('\n');
}

/// The number of a note, which is new or was needed before.
fn note(notes: &mut Vec<String>, reason: &str) -> usize {
    let at = notes.iter().position(|n| n == reason).unwrap_or_else(|| {
        notes.push(reason.to_owned());
        notes.len() - 1
    });
    at + 1
}
