//! Recorded traffic is the judge: every recording must decode, re-encode to an equal document, and read the same however it is cut.
//!
//! The recordings are not part of the repository. `CORPUS_DIR` says where they are (default `../shared/corpus` beside the workspace).
//! Without them the test says so in one line and passes, but in CI (`CI` is set) it fails.

mod checks;
mod estimate;
mod json;
mod load;
mod operations;
mod sdk;

use std::collections::BTreeMap;

use load::Recording;

/// Recordings of each folder in the shared corpus, all of which must pass. Counts only: the recordings stay where they are.
const FLOORS: [(&str, usize); 6] =
    [("anthropic", 83), ("compat", 69), ("openai", 103), ("gemini", 78), ("vertex", 19), ("response_only", 201)];

/// Files of the shared corpus that are recordings of other interfaces (embeddings, counts of tokens, lists of models, images, interactions), by
/// what they hold. More means that something stopped being recognised.
const SKIPPED: usize = 47;

/// How often each check ran on the shared corpus; fewer means that something stopped being looked at.
const CHECK_FLOORS: [(&str, usize); 7] =
    [("request", 350), ("answer", 296), ("error", 48), ("stream", 209), ("stream-sdk", 203), ("tap", 201), ("cross", 2463)];

#[test]
fn recorded_traffic() {
    let Some(root) = load::root() else { return };
    let (recordings, skipped) = load::recordings(&root);
    assert!(!recordings.is_empty(), "no recording of a known format under {}", root.display());
    let mut table: BTreeMap<(String, String), (usize, usize)> = BTreeMap::new();
    let mut ran: BTreeMap<&'static str, usize> = BTreeMap::new();
    let mut failures = Vec::new();
    for recording in &recordings {
        let report = checks::run(recording);
        for (check, count) in report.ran {
            *ran.entry(check).or_default() += count;
        }
        for feature in &recording.features {
            let cell = table.entry((recording.folder.clone(), feature.clone())).or_default();
            cell.0 += usize::from(report.failures.is_empty());
            cell.1 += 1;
        }
        failures.extend(report.failures.into_iter().map(|f| format!("{}/{}: {f}", recording.folder, recording.name)));
    }
    print(&table, &ran, &recordings);
    println!("recordings of other interfaces: {skipped}");
    assert!(failures.is_empty(), "{} failures:\n{}", failures.len(), failures.join("\n"));
    if load::is_shared(&root) {
        assert!(skipped <= SKIPPED, "{skipped} recordings of no known format, at most {SKIPPED} are known");
        for (folder, floor) in FLOORS {
            let count = recordings.iter().filter(|r| r.folder == folder).count();
            assert!(count >= floor, "{folder}: {count} recordings, at least {floor} are known");
        }
        for (check, floor) in CHECK_FLOORS {
            let count = ran.get(check).copied().unwrap_or(0);
            assert!(count >= floor, "check `{check}` ran {count} times, at least {floor} are known");
        }
    }
}

fn print(table: &BTreeMap<(String, String), (usize, usize)>, ran: &BTreeMap<&'static str, usize>, recordings: &[Recording]) {
    let folders: Vec<&String> = recordings.iter().map(|r| &r.folder).collect::<std::collections::BTreeSet<_>>().into_iter().collect();
    let features: Vec<&String> = table.keys().map(|(_, feature)| feature).collect::<std::collections::BTreeSet<_>>().into_iter().collect();
    print!("{:<14}", "");
    folders.iter().for_each(|folder| print!("{folder:>15}"));
    println!();
    for feature in features {
        print!("{feature:<14}");
        for folder in &folders {
            match table.get(&((*folder).clone(), feature.clone())) {
                Some((passed, total)) => print!("{:>15}", format!("{passed}/{total}")),
                None => print!("{:>15}", "-"),
            }
        }
        println!();
    }
    println!("checks: {}", ran.iter().map(|(check, n)| format!("{check} {n}")).collect::<Vec<_>>().join(", "));
}
