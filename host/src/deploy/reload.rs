//! The configuration is read again: what is the same goes on, what changed passes the gate, and all of it is published together or not at all.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::attempt::{Attempt, Outcome, Progress, Refusal, Trigger};
use super::gate::{self, Terms};
use super::kept::{Kept, Override};
use super::swap::not_busy;
use super::{Deploy, Plan, bases, pins};
use crate::config::Config;
use crate::extensions::registry;
use crate::extensions::{Candidate, Capability, Extension, Registry, Surroundings, read_manifest};
use crate::gateway::Checked;
use crate::providers::Directory;

impl Deploy {
    /// Reads the configuration and its components again. An attempt that was refused says why; what serves goes on.
    pub async fn reload(self: &Arc<Self>, trigger: Trigger) -> Attempt {
        let mut progress = self.history.begin(trigger, None, None);
        let mut turn = self.turn.lock().await;
        let tried = self.unless_it_stops(self.try_reload(&mut progress, &mut turn)).await;
        let attempt = match tried {
            // Files are touched for many reasons.
            Ok(Outcome::Unchanged) if trigger == Trigger::Watch => return progress.forget(),
            Ok(outcome) => progress.end(outcome, None),
            Err(Refusal(reason)) => progress.end(Outcome::Refused, Some(reason)),
        };
        self.note_end(&turn).await;
        attempt
    }

    async fn try_reload(self: &Arc<Self>, progress: &mut Progress<'_>, turn: &mut Plan) -> Result<Outcome, Refusal> {
        let sources = self.sources.clone();
        let read = async {
            not_busy(turn).map_err(|e| e.to_string())?;
            let checked =
                tokio::task::spawn_blocking(move || sources.read()).await.map_err(|e| e.to_string())?.map_err(|e| e.to_string())?;
            let later = after_a_restart(&turn.config, &checked.config);
            let detail = if later.is_empty() { String::new() } else { format!("only a restart changes {}", later.join(", ")) };
            Ok((checked, detail))
        };
        let Checked { config, candidates, pinned, .. } = progress.step("read", read).await?;
        let bases = bases(&candidates);
        let (candidates, overrides) = with_overrides(candidates, &turn.overrides, &self.kept).map_err(Refusal)?;
        let config = if *turn.config == config { Arc::clone(&turn.config) } else { Arc::new(config) };
        let providers = if turn.config.providers == config.providers {
            Arc::clone(&turn.providers)
        } else {
            Arc::new(Directory::build(&config).map_err(|e| Refusal(format!("{e:#}")))?)
        };
        let into = Surroundings { runtime: &self.runtime, config: &config, providers: &providers, store: &self.store };
        let mut extensions = Vec::new();
        let mut changed: Vec<(Arc<Extension>, Arc<Extension>)> = Vec::new();
        for candidate in candidates {
            let running = turn.extensions.find(&candidate.manifest.name);
            if let Some(same) = running.filter(|e| registry::is_same(e, &candidate, &into)) {
                extensions.push(Arc::clone(same));
                continue;
            }
            progress.about = Some(format!("{} {}", candidate.manifest.name, candidate.manifest.version));
            let terms = Terms { running, replay: config.deploy.replay };
            let loaded = gate::pass(progress, candidate, terms, &into).await;
            let about = progress.about.take().unwrap_or_default();
            let loaded = loaded.map_err(|Refusal(reason)| Refusal(format!("{about}: {reason}")))?;
            changed.extend(running.map(|r| (Arc::clone(r), Arc::clone(&loaded))));
            extensions.push(loaded);
        }
        let extensions = Registry::of(extensions).map_err(Refusal)?;
        let pins = pins::load(pinned, &extensions, &into).await.map_err(Refusal)?;
        if Arc::ptr_eq(&config, &turn.config) && extensions.is(&turn.extensions) && overrides == turn.overrides {
            turn.bases = bases;
            return Ok(Outcome::Unchanged);
        }
        if let [(from, to)] = changed.as_slice()
            && from.source.digest != to.source.digest
        {
            progress.attempt.extension = Some(to.name().to_owned());
            progress.is_from(from);
            progress.is_to(&to.manifest, &to.source.digest);
        }
        let same_providers = Arc::ptr_eq(&providers, &turn.providers);
        let mut plan = turn.clone();
        (plan.config, plan.providers, plan.extensions, plan.overrides) = (config, providers, extensions, overrides);
        (plan.bases, plan.pins, plan.watched) = (bases, pins, None);
        keep_previous(&mut plan, &changed, same_providers);
        let generation = progress
            .step("publish", async {
                let generation = self.publish(turn, plan).await?;
                Ok((generation, format!("generation {generation}")))
            })
            .await?;
        // One version can be told to be the cause of what is seen after.
        if let [(from, to)] = changed.as_slice() {
            to.stats.tripwire().arm(turn.config.deploy.error_budget);
            self.observe(turn, from, to);
        }
        progress.attempt.generation = Some(generation);
        Ok(Outcome::Published)
    }
}

/// A version that was replaced can be returned to as long as everything else is as it was.
fn keep_previous(plan: &mut Plan, changed: &[(Arc<Extension>, Arc<Extension>)], same_providers: bool) {
    let Plan { previous, extensions, .. } = plan;
    previous.retain(|name, p| same_providers && extensions.find(name).is_some_and(|e| e.source.settings == p.source.settings));
    for (from, to) in changed {
        if same_providers && from.source.digest != to.source.digest && from.source.settings == to.source.settings {
            previous.insert(to.name().to_owned(), Arc::clone(from));
        }
    }
}

/// Puts the components that stand in place of the configuration's into its candidates. One whose base has changed no longer holds.
pub(super) fn with_overrides(
    candidates: Vec<Candidate>,
    overrides: &BTreeMap<String, Override>,
    kept: &Kept,
) -> Result<(Vec<Candidate>, BTreeMap<String, Override>), String> {
    let mut holding = BTreeMap::new();
    let mut all = Vec::with_capacity(candidates.len());
    for mut candidate in candidates {
        let name = candidate.manifest.name.clone();
        let own = overrides.get(&name).filter(|o| {
            let holds = o.base == candidate.digest;
            if !holds {
                tracing::warn!(
                    extension = name,
                    version = o.version,
                    "the configuration has another component than when this version was put in its place; the configuration's is used"
                );
            }
            holds
        });
        if let Some(own) = own {
            match kept.component(&own.digest).map_err(|e| e.to_string()).and_then(|(file, bytes)| {
                let manifest = read_manifest(&bytes).map_err(|e| e.to_string())?;
                Ok((file, bytes, manifest))
            }) {
                Ok((file, bytes, manifest)) => {
                    let mut config = candidate.config.clone();
                    if let Some(grant) = &own.grant {
                        config.grant = Some(grant.iter().filter_map(|g| Capability::from_name(g)).collect());
                    }
                    candidate = Candidate::new(manifest, bytes, file, config);
                    holding.insert(name, own.clone());
                }
                Err(reason) => {
                    tracing::error!(
                        extension = name,
                        version = own.version,
                        reason,
                        "a version that was put in the place of the configuration's is lost"
                    );
                }
            }
        }
        all.push(candidate);
    }
    let mut problems = Vec::new();
    let ordered = registry::order(all, &mut |_, _, message| problems.push(message));
    if problems.is_empty() { Ok((ordered, holding)) } else { Err(problems.join(" ")) }
}

/// Settings that differ and that a running gateway cannot change.
fn after_a_restart(running: &Config, read: &Config) -> Vec<&'static str> {
    let (a, b) = (&running.server, &read.server);
    let differs = [
        ("server.host", a.host != b.host),
        ("server.port", a.port != b.port),
        ("server.header_limit", a.header_limit != b.header_limit),
        ("server.header_timeout", a.header_timeout != b.header_timeout),
        ("server.max_connections", a.max_connections != b.max_connections),
        ("server.shutdown_timeout", a.shutdown_timeout != b.shutdown_timeout),
        ("server.threads", a.threads != b.threads),
        ("logging", running.logging != read.logging),
        ("storage", running.storage != read.storage),
        ("cache", running.cache != read.cache),
        ("deploy.state", running.deploy.state != read.deploy.state),
        ("deploy.watch", running.deploy.watch != read.deploy.watch),
    ];
    differs.into_iter().filter_map(|(name, differs)| differs.then_some(name)).collect()
}
