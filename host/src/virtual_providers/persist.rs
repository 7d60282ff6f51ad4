//! Keeps what is known of members across restarts: in the file that the configuration names, or in the store.

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
    for (name, bytes) in store.performance.save().into_iter().flatten() {
        let Some(provider) = config.virtual_providers.get(&name) else { continue };
        let kept = match file(provider) {
            Some(file) => replace(file, &bytes).map_err(|e| e.to_string()),
            None => store.kv.set(key(&name), bytes).map_err(|e| e.to_string()),
        };
        if let Err(reason) = kept {
            tracing::warn!(provider = name, reason, "what is known of the members of a virtual provider cannot be kept");
        }
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
