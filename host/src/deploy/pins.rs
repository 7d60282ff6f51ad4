//! Callers that stay on versions of extensions.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::Who;
use crate::config::{Config, Problem, Severity, Source};
use crate::extensions::registry;
use crate::extensions::{Candidate, Extension, Surroundings};

/// Finds the components of the pins: another file of the folder, or one that was kept, with the extension's name and the version.
pub fn find(
    config: &Config,
    folder: Option<&Path>,
    source: &Source,
    candidates: &[Candidate],
    problems: &mut Vec<Problem>,
) -> Vec<(Who, Candidate)> {
    let mut found = Vec::new();
    if config.deploy.pins.is_empty() {
        return found;
    }
    let folders: Vec<&Path> = folder.into_iter().chain(config.deploy.state.as_deref()).collect();
    for pin in &config.deploy.pins {
        let mut report = |message: String| {
            let path = "deploy.pins".to_owned();
            problems.push(Problem { severity: Severity::Error, place: source.place(&path), path, message });
        };
        let Some(who) = Who::of(pin) else {
            report(format!("the pin of `{}` names nobody.", pin.extension));
            continue;
        };
        let Some(own) = candidates.iter().find(|c| c.manifest.name == pin.extension) else {
            report(format!("the pin of `{}` is of an extension that is not loaded.", pin.extension));
            continue;
        };
        if own.manifest.version == pin.version {
            found.push((who, own.clone()));
            continue;
        }
        match version(&folders, &pin.extension, &pin.version) {
            Some((file, bytes, manifest)) => found.push((who, Candidate::new(manifest, bytes, file, own.config.clone()))),
            None => report(format!(
                "there is no version {} of `{}` in {}.",
                pin.version,
                pin.extension,
                folders.iter().map(|f| format!("`{}`", f.display())).collect::<Vec<_>>().join(" or ")
            )),
        }
    }
    found
}

fn version(folders: &[&Path], name: &str, version: &str) -> Option<(PathBuf, Vec<u8>, crate::extensions::Manifest)> {
    let files = folders.iter().filter_map(|f| std::fs::read_dir(f).ok()).flatten().flatten().map(|e| e.path());
    let mut files: Vec<PathBuf> = files.filter(|f| f.extension().is_some_and(|e| e == "wasm")).collect();
    files.sort();
    files.into_iter().find_map(|file| {
        let (bytes, manifest) = registry::read(&file).ok()?;
        (manifest.name == name && manifest.version == version).then_some((file, bytes, manifest))
    })
}

/// A caller with the versions that it stays on.
pub type Pinned = (Who, Vec<Arc<Extension>>);

/// Whether a caller stays on the same loaded versions.
pub fn is_same(a: &Pinned, b: &Pinned) -> bool {
    a.0 == b.0 && a.1.len() == b.1.len() && a.1.iter().zip(&b.1).all(|(a, b)| Arc::ptr_eq(a, b))
}

/// Loads them: one extension for each component, unless it is `known`, and for each caller the versions that it stays on.
pub async fn load(pinned: Vec<(Who, Candidate)>, known: &[Arc<Extension>], into: &Surroundings<'_>) -> Result<Vec<Pinned>, String> {
    let mut versions: Vec<Arc<Extension>> = Vec::new();
    let mut pins: Vec<Pinned> = Vec::new();
    for (who, candidate) in pinned {
        let same = versions.iter().chain(known).find(|e| registry::is_same(e, &candidate, into)).cloned();
        let version = match same {
            Some(same) => same,
            None => {
                let (name, number) = (candidate.manifest.name.clone(), candidate.manifest.version.clone());
                match registry::load_whole(candidate, into).await {
                    Ok(loaded) => {
                        versions.push(Arc::clone(&loaded));
                        loaded
                    }
                    Err(e) => {
                        for version in versions {
                            version.shut_down().await;
                        }
                        return Err(format!("version {number} of extension `{name}`, which is pinned, {e}"));
                    }
                }
            }
        };
        match pins.iter_mut().find(|(w, _)| *w == who) {
            Some((_, all)) => all.push(version),
            None => pins.push((who, vec![version])),
        }
    }
    Ok(pins)
}
