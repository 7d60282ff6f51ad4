//! What a component goes through before it serves anybody. Each step may refuse it, with a reason; what serves is not touched.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use super::attempt::{Progress, Refusal};
use crate::config::{ExtensionConfig, ReplayMode};
use crate::extensions::registry::{self, MAX_COMPONENT};
use crate::extensions::{
    CONTRACT, CONTRACT_VERSION, Candidate, Capability, Extension, Handover, LoadError, Surface, Surroundings, compare_with, grants,
};

/// How long recorded calls are replayed.
const REPLAY_TIME: Duration = Duration::from_secs(10);

/// What is wanted of a candidate.
pub struct Terms<'a> {
    /// The version that serves now; none for an extension that is new.
    pub running: Option<&'a Arc<Extension>>,
    /// What is done with recorded calls.
    pub replay: ReplayMode,
}

/// Size and format: bytes that claim to be a version of an extension become a candidate.
pub async fn read(
    progress: &mut Progress<'_>,
    name: &str,
    bytes: Bytes,
    file: PathBuf,
    config: ExtensionConfig,
) -> Result<Candidate, Refusal> {
    progress
        .step("size", async {
            match bytes.len() as u64 {
                0 => Err("there is nothing: the body of the request is the component".into()),
                n if n > MAX_COMPONENT => Err(LoadError::TooLarge(MAX_COMPONENT).to_string()),
                n => Ok(((), kib(n))),
            }
        })
        .await?;
    progress
        .step("format", async {
            let wanted = name.to_owned();
            // Reading a large component takes long enough to keep requests waiting.
            let read = tokio::task::spawn_blocking(move || {
                let manifest = registry::manifest_of(&bytes, &wanted, &config).map_err(|e| e.to_string())?;
                if manifest.name != wanted {
                    return Err(format!("this is the extension `{}`, not `{wanted}`", manifest.name));
                }
                Ok(Candidate::new(manifest, bytes, file, config))
            });
            let candidate = read.await.map_err(|e| e.to_string())??;
            let shown = format!("{} {}", candidate.manifest.name, candidate.manifest.version);
            Ok((candidate, shown))
        })
        .await
}

/// The other steps up to a version that may serve.
pub async fn pass(
    progress: &mut Progress<'_>,
    candidate: Candidate,
    terms: Terms<'_>,
    into: &Surroundings<'_>,
) -> Result<Arc<Extension>, Refusal> {
    let surface = progress.step("contract", async { contract(&candidate, terms.running) }).await?;
    progress.step("capabilities", async { capabilities(&candidate, &surface, &terms) }).await?;
    let limit = into.config.deploy.compile_timeout;
    let component = progress
        .step("compile", async {
            let (component, origin) = into.runtime.compile(candidate.bytes.clone(), limit).await.map_err(|e| e.to_string())?;
            Ok((component, format!("{origin:?}").to_lowercase()))
        })
        .await?;
    let extension = progress
        .step("configure", async {
            let (handover, took_over) = match terms.running {
                Some(running) => left(running).await,
                None => (None, String::new()),
            };
            let extension = registry::load(candidate, component, surface, handover, into).map_err(|e| e.to_string())?;
            extension.start().await.map_err(|e| e.to_string())?;
            Ok((extension, took_over))
        })
        .await?;
    let tried = test(progress, &extension, &terms).await;
    if tried.is_err() {
        // It was configured, so it is told that it goes.
        extension.shut_down().await;
    }
    tried.map(|()| extension)
}

/// What the running version leaves for the next one, and what to say of it. One that can no longer save must not stand in the way of a better one.
async fn left(running: &Arc<Extension>) -> (Option<Handover>, String) {
    match running.save().await {
        Ok(None) => (None, String::new()),
        Ok(Some(left)) => {
            let said = format!("took over {} bytes of version {}", left.bytes.len(), left.from);
            (Some(left), said)
        }
        Err(error) => {
            let version = &running.manifest.version;
            tracing::error!(extension = running.name(), version, %error, "a version left nothing for the next one: `save` failed");
            (None, format!("version {version} left nothing: its `save` failed, {error}"))
        }
    }
}

/// What is asked of a version that is ready.
async fn test(progress: &mut Progress<'_>, extension: &Arc<Extension>, terms: &Terms<'_>) -> Result<(), Refusal> {
    progress.step("self-test", async { extension.self_test().await.map(|()| ((), String::new())).map_err(|e| e.to_string()) }).await?;
    match terms.running {
        _ if terms.replay == ReplayMode::Off => progress.skip("replay", "it is switched off"),
        None => progress.skip("replay", "no version runs whose calls could be replayed"),
        Some(running) => replay(progress, extension, running, terms.replay).await?,
    }
    Ok(())
}

/// The calls that were recorded of the running version are made to the candidate, which must not notice, and nobody else does.
async fn replay(
    progress: &mut Progress<'_>,
    extension: &Arc<Extension>,
    running: &Arc<Extension>,
    mode: ReplayMode,
) -> Result<(), Refusal> {
    let recorded = running.recorder.cases();
    if recorded.is_empty() {
        progress.skip("replay", "no call of the running version is recorded");
        return Ok(());
    }
    let mut found = None;
    let result = progress
        .step("replay", async {
            // What the running version does not repeat itself says nothing about another one.
            let comparison = compare_with(running, extension, recorded, REPLAY_TIME).await.map_err(|e| e.to_string())?;
            let (calls, differ) = (comparison.cases(), comparison.different());
            let shown = comparison.to_json();
            found = Some(shown);
            let left_out = match comparison.skipped() {
                0 => String::new(),
                n => format!(" ({n} more cannot be repeated, or not within {REPLAY_TIME:?})"),
            };
            let detail = format!("{differ} of {calls} recorded calls differ{left_out}");
            if differ > 0 && mode == ReplayMode::Require { Err(detail) } else { Ok(((), detail)) }
        })
        .await;
    progress.attempt.replay = found;
    result
}

/// Whether the component speaks this gateway's contract, and what is different from the running version, for people.
fn contract(candidate: &Candidate, running: Option<&Arc<Extension>>) -> Result<(Surface, String), String> {
    let surface = Surface::read(&candidate.bytes).map_err(|e| e.to_string())?;
    let foreign: Vec<&str> = surface.contract().into_iter().filter(|version| !speaks(version)).collect();
    if !foreign.is_empty() {
        let names = surface.exports.iter().chain(&surface.imports);
        let names: Vec<_> = names.filter(|n| n.starts_with(CONTRACT) && foreign.iter().any(|v| n.ends_with(&format!("@{v}")))).collect();
        return Err(format!(
            "it is made for another version of the contract, and this gateway speaks `{CONTRACT}@{CONTRACT_VERSION}`: it has {}",
            names.iter().map(|n| format!("`{n}`")).collect::<Vec<_>>().join(", ")
        ));
    }
    if surface.hooks().is_empty() {
        return Err(LoadError::NoHook.to_string());
    }
    let Some(running) = running else { return Ok((surface, String::new())) };
    let mut lines = Vec::new();
    for (what, before, after) in
        [("exports", &running.source.surface.exports, &surface.exports), ("imports", &running.source.surface.imports, &surface.imports)]
    {
        let (before, after): (BTreeSet<&String>, BTreeSet<&String>) = (before.iter().collect(), after.iter().collect());
        lines.extend(after.difference(&before).map(|n| format!("+{what} {n}")));
        lines.extend(before.difference(&after).map(|n| format!("-{what} {n}")));
    }
    let shown = if lines.is_empty() { "same exports and imports".to_owned() } else { lines.join(", ") };
    Ok((surface, shown))
}

/// Whether it has what it imports, and no more than the running version had.
fn capabilities(candidate: &Candidate, surface: &Surface, terms: &Terms<'_>) -> Result<((), String), String> {
    let manifest = &candidate.manifest;
    let granted = grants::granted(manifest, candidate.config.grant.as_deref());
    if let Some(running) = terms.running {
        let named = candidate.config.grant.as_deref().unwrap_or_default();
        let known = |c: &Capability| running.granted.contains(c) || running.manifest.capabilities.contains(c) || named.contains(c);
        let more: Vec<_> = manifest.capabilities.iter().filter(|c| !known(c) && **c != Capability::Log).map(|c| c.name()).collect();
        if !more.is_empty() {
            let mut all: Vec<_> = granted.iter().map(|c| c.name()).chain(more.iter().copied()).collect();
            all.sort_unstable();
            all.dedup();
            return Err(format!(
                "it asks for more than version {} was granted: {}. Grant it with the upload (`--grant {}`), or set `extensions.{}.grant: [{}]`",
                running.manifest.version,
                more.join(", "),
                more.join(","),
                manifest.name,
                all.join(", ")
            ));
        }
    }
    if let Some(reason) = grants::missing(surface.imports.iter().map(String::as_str), manifest, &granted) {
        return Err(reason);
    }
    Ok(((), granted.iter().map(|c| c.name()).collect::<Vec<_>>().join(", ")))
}

/// Whether a version of the contract is one that this gateway speaks: of a major version 0, the minor one has to be the same.
fn speaks(version: &str) -> bool {
    let compatible = |v: &str| v.split('.').take(2).map(str::to_owned).collect::<Vec<_>>();
    compatible(version) == compatible(CONTRACT_VERSION)
}

fn kib(bytes: u64) -> String {
    format!("{:.1} KiB", bytes as f64 / 1024.0)
}

#[cfg(test)]
mod tests {
    #[test]
    fn a_later_patch_of_the_contract_is_spoken_another_minor_is_not() {
        assert!(super::speaks("0.1.0") && super::speaks("0.1.7"));
        assert!(!super::speaks("0.2.0") && !super::speaks("1.0.0") && !super::speaks("1"));
    }
}
