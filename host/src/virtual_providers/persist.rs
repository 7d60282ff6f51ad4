//! Keeps what is known of members across restarts: in the file that the configuration names, or in the store.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::io;
use std::path::{Path, PathBuf};

use crate::config::Config;
use crate::config::virtual_providers::{Does, VirtualConfig};
use crate::storage::{Key, Store};

/// Where the host keeps its own in the store. No extension has this name.
const NAMESPACE: &str = "@host";

/// Takes what was kept of the virtual providers of a configuration. Of each it is taken once in the life of the process.
pub fn load(config: &Config, store: &Store) {
    for (name, provider) in &config.virtual_providers {
        if !store.performance.is_first_sight(name) {
            continue;
        }
        let loaded = match file(provider) {
            Some(file) => store.performance.load_file(name, file),
            None => store.kv.value(&key(name)).map_or(Ok(()), |saved| store.performance.load(name, &saved)),
        };
        if let Err(reason) = loaded {
            tracing::warn!(provider = name, reason, "what was known of the members of a virtual provider cannot be read; it begins anew");
        }
    }
}

/// Keeps what is known now, if that changed. It may wait for the disk.
pub fn save(config: &Config, store: &Store) {
    let untold = |provider: &str, reason: &dyn std::fmt::Display| {
        tracing::warn!(provider, reason = %reason, "what is known of the members of a virtual provider cannot be kept");
    };
    // Several may have the same file, and each takes its own out of it.
    let mut files: BTreeMap<&Path, (String, Vec<u8>)> = BTreeMap::new();
    for (name, bytes) in store.performance.save().into_iter().flatten() {
        let Some(provider) = config.virtual_providers.get(&name) else { continue };
        match file(provider) {
            Some(file) => match files.entry(file) {
                Entry::Vacant(entry) => drop(entry.insert((name, bytes))),
                Entry::Occupied(mut entry) => append(&mut entry.get_mut().1, &bytes),
            },
            None => {
                if let Err(e) = store.kv.set(key(&name), bytes) {
                    untold(&name, &e);
                }
            }
        }
    }
    for (file, (name, bytes)) in files {
        if let Err(e) = replace(file, &bytes) {
            untold(&name, &e);
        }
    }
}

/// Puts the elements of a JSON array, of which there are some, behind those of another one.
fn append(all: &mut Vec<u8>, more: &[u8]) {
    if let Some(elements) = more.strip_prefix(b"[") {
        all.pop();
        all.push(b',');
        all.extend_from_slice(elements);
    }
}

fn file(provider: &VirtualConfig) -> Option<&Path> {
    match &provider.does {
        Does::Race(racing) => racing.performance_file.as_deref(),
        Does::Fall(_) | Does::Balance(_) => None,
    }
}

fn key(provider: &str) -> Key {
    Key { namespace: NAMESPACE.into(), bucket: "performance".into(), key: provider.into() }
}

/// Nobody reads half a file, and a crash leaves the one before.
fn replace(file: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut beside = file.as_os_str().to_owned();
    beside.push(".new");
    let beside = PathBuf::from(beside);
    std::fs::write(&beside, bytes)?;
    std::fs::rename(&beside, file)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use serde_json::json;

    use super::*;
    use crate::config::{Reading, Source, Storage};
    use crate::storage;
    use crate::virtual_providers::performance::{Ran, Subject};

    #[test]
    fn what_was_learnt_is_there_after_a_restart() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let file = folder.path().join("seen.json");
        let text = format!(
            "providers: {{a: {{type: echo}}, v: {{type: fallback, config: {{providers: [a]}}}}, w: {{type: racing, config: {{providers: [a], \
             performance_file: \"{0}\"}}}}, x: {{type: racing, config: {{providers: [a], performance_file: \"{0}\"}}}}}}\n",
            file.display()
        );
        let reading = Reading::of(Source::parse("x.yaml", &text, &[], &|_| None));
        assert_eq!(reading.problems, []);
        let config = reading.config;
        let store = storage::open(&Storage::default()).expect("it is in memory");
        load(&config, &store);
        for provider in ["v", "w", "x", "removed"] {
            let subject = Subject { provider: provider.into(), member: "a".into(), model: "m".into() };
            store.performance.record(&subject, Ran::Won(Duration::from_millis(5)));
        }
        save(&config, &store);
        let again = || Store { performance: Arc::default(), ..store.clone() };
        let restarted = again();
        load(&config, &restarted);
        let shown = restarted.performance.show();
        let names: Vec<_> = shown.as_array().expect("a list").iter().map(|row| row["provider"].clone()).collect();
        assert_eq!(names, [json!("v"), json!("w"), json!("x")], "two of them have one file");
        // What is damaged costs what was learnt, and no more.
        std::fs::write(&file, "[{").expect("a temporary file");
        store.kv.set(key("v"), b"7".to_vec()).expect("it is small");
        let damaged = again();
        load(&config, &damaged);
        assert_eq!(damaged.performance.show(), json!([]));
    }
}
