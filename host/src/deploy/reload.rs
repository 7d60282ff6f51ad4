//! The configuration is read again: what is the same goes on, what changed passes the gate, and all of it is published together or not at all.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::attempt::{Attempt, Outcome, Progress, Refusal, Trigger};
use super::gate::{self, Terms};
use super::kept::{Kept, Override};
use super::live::Who;
use super::observe::Watch;
use super::swap::not_busy;
use super::{Deploy, Keeping, Plan, bases, names, pins};
use crate::config::changes::Changes;
use crate::config::{Config, ExtensionConfig, Problem, Reading};
use crate::extensions::registry;
use crate::extensions::{Candidate, Capability, Extension, Registry, Surroundings};
use crate::gateway::{self, Checked};

/// How often a reload begins again when what serves was taken back meanwhile.
const AGAIN: usize = 3;

/// Why a reload came to nothing.
enum Ended {
    /// Another one was refused.
    Refused(String),
    /// What serves is no longer what it was when this began.
    Overtaken,
}

impl From<Refusal> for Ended {
    fn from(Refusal(reason): Refusal) -> Self {
        Self::Refused(reason)
    }
}

/// What is loaded again.
#[derive(Clone)]
pub(super) enum Again {
    /// Everything, from the files.
    Files,
    /// Providers, with these settings and changes; files are not looked at.
    Providers(Arc<Config>, Changes),
}

/// What is there to load.
struct There {
    text: Arc<str>,
    changes: Changes,
    config: Arc<Config>,
    candidates: Vec<Candidate>,
    pinned: Vec<(Who, Candidate)>,
    bases: BTreeMap<String, String>,
    overrides: BTreeMap<String, Override>,
}

/// What the configuration says now.
pub struct FileNow {
    /// The file.
    pub file: String,
    /// All settings, with what comes from elsewhere on top.
    pub reading: Reading,
    /// What is wrong with them, and with the components that they name. A reload would say the same.
    pub problems: Vec<Problem>,
    /// Whether they are others than those that are in effect.
    pub changed: bool,
    /// What only a restart would change.
    pub after_restart: Vec<&'static str>,
}

impl Deploy {
    /// Reads the configuration and changes nothing.
    pub async fn file_now(&self) -> Result<FileNow, String> {
        let (before, sources) = (self.plan.lock().await.clone(), self.sources.clone());
        let read = move || {
            let reading = gateway::reading(&sources.config, &sources.set, Some(&before.changes));
            let (problems, changed, after_restart) = match sources.read_with(&before.changes) {
                Ok(checked) => {
                    let changed = *before.config != checked.config;
                    (checked.warnings, changed, after_a_restart(&before.config, &checked.config))
                }
                Err(rejected) => (rejected.0, true, Vec::new()),
            };
            FileNow { file: sources.config.display().to_string(), reading, problems, changed, after_restart }
        };
        tokio::task::spawn_blocking(read).await.map_err(|e| e.to_string())
    }

    /// Reads the configuration and its components again. An attempt that was refused says why; what serves goes on.
    pub async fn reload(self: &Arc<Self>, trigger: Trigger) -> Attempt {
        let mut progress = self.history.begin(trigger, None, None);
        let _turn = self.turn.lock().await;
        if trigger == Trigger::Watch && self.plan.lock().await.rollout.is_some() {
            // Nobody is there to ask for it again.
            self.missed.store(true, Ordering::Relaxed);
        }
        let tried = self.try_reload(&mut progress, Again::Files).await;
        let attempt = match tried {
            // Files are touched for many reasons.
            Ok(Outcome::Unchanged) if trigger == Trigger::Watch => return progress.forget(),
            Ok(outcome) => progress.end(outcome, None),
            Err(Refusal(reason)) => progress.end(Outcome::Refused, Some(reason)),
        };
        self.keep_history();
        attempt
    }

    pub(super) async fn try_reload(self: &Arc<Self>, progress: &mut Progress<'_>, again: Again) -> Result<Outcome, Refusal> {
        for _ in 0..AGAIN {
            let mut new = Vec::new();
            let ended = self.reload_once(progress, again.clone(), &mut new).await;
            if ended.is_err() {
                for extension in new {
                    extension.shut_down().await;
                }
            }
            match ended {
                Ok(outcome) => return Ok(outcome),
                Err(Ended::Refused(reason)) => return Err(Refusal(reason)),
                Err(Ended::Overtaken) => {}
            }
        }
        Err(Refusal("what serves was taken back again and again meanwhile; reload once more".into()))
    }

    /// `new` has the extensions that were loaded, whatever becomes of them.
    async fn reload_once(
        self: &Arc<Self>,
        progress: &mut Progress<'_>,
        again: Again,
        new: &mut Vec<Arc<Extension>>,
    ) -> Result<Outcome, Ended> {
        let before = self.plan.lock().await.clone();
        let mut plan = self.unless_it_stops(self.load_again(progress, &before, again, new)).await?;
        let mut turn = self.plan.lock().await;
        let fails = turn.watches().any(|w| w.version.stats.tripwire().is_tripped());
        if fails || !turn.extensions.is(&before.extensions) || turn.overrides != before.overrides {
            return Err(Ended::Overtaken);
        }
        // What was watched when this began may have proven itself meanwhile.
        let is_in = |watch: &Arc<Watch>, all: &[Arc<Watch>]| all.iter().any(|w| Arc::ptr_eq(w, watch));
        plan.watched.retain(|w| !is_in(w, &before.watched) || is_in(w, &turn.watched));
        let same_pins = plan.pins.len() == turn.pins.len() && plan.pins.iter().zip(&turn.pins).all(|(a, b)| pins::is_same(a, b));
        let same_choice = plan.overrides == turn.overrides && plan.changes == turn.changes;
        if Arc::ptr_eq(&plan.config, &turn.config) && plan.extensions.is(&turn.extensions) && same_pins && same_choice {
            (turn.bases, turn.text) = (plan.bases, plan.text);
            return Ok(Outcome::Unchanged);
        }
        let generation = progress
            .step("publish", async {
                let generation = self.publish(&mut turn, plan, Keeping::Must).await?;
                Ok((generation, format!("generation {generation}")))
            })
            .await?;
        progress.attempt.generation = Some(generation);
        Ok(Outcome::Published)
    }

    /// Reads everything again and loads what changed. Until what this gives is published, nothing has changed.
    async fn load_again(
        self: &Arc<Self>,
        progress: &mut Progress<'_>,
        before: &Plan,
        again: Again,
        new: &mut Vec<Arc<Extension>>,
    ) -> Result<Plan, Refusal> {
        let there = match again {
            Again::Files => self.read_again(progress, before).await?,
            Again::Providers(config, changes) => what_runs(before, config, changes),
        };
        let There { text, changes, config, candidates, pinned, bases, overrides } = there;
        let config = if before.config == config { Arc::clone(&before.config) } else { config };
        let providers = if before.config.providers == config.providers {
            Arc::clone(&before.providers)
        } else {
            let native = before.providers.rebuild(&config).map_err(|e| Refusal(format!("{e:#}")))?;
            Arc::new(native.with_virtual(&config, &self.store))
        };
        let into = Surroundings { runtime: &self.runtime, config: &config, providers: &providers, store: &self.store };
        let mut extensions = Vec::new();
        let mut changed: Vec<(Arc<Extension>, Arc<Extension>)> = Vec::new();
        for candidate in candidates {
            let running = before.extensions.find(&candidate.manifest.name);
            if let Some(same) = running.filter(|e| registry::is_same(e, &candidate, &into)) {
                extensions.push(Arc::clone(same));
                continue;
            }
            progress.about = Some(format!("{} {}", candidate.manifest.name, candidate.manifest.version));
            let terms = Terms { running, replay: config.deploy.replay };
            let loaded = gate::pass(progress, candidate, terms, &into).await;
            let about = progress.about.take().unwrap_or_default();
            let loaded = loaded.map_err(|Refusal(reason)| Refusal(format!("{about}: {reason}")))?;
            new.push(Arc::clone(&loaded));
            changed.extend(running.map(|r| (Arc::clone(r), Arc::clone(&loaded))));
            extensions.push(loaded);
        }
        let extensions = Registry::of(extensions).map_err(Refusal)?;
        let known: Vec<_> = extensions.all().iter().chain(before.pins.iter().flat_map(|(_, v)| v)).cloned().collect();
        let pins = pins::load(pinned, &known, &into).await.map_err(Refusal)?;
        new.extend(pins.iter().flat_map(|(_, v)| v).filter(|v| !known.iter().any(|k| Arc::ptr_eq(k, v))).cloned());
        if let [(from, to)] = changed.as_slice()
            && from.source.digest != to.source.digest
        {
            progress.attempt.extension = Some(to.name().to_owned());
            progress.is_from(from);
            progress.is_to(&to.manifest, &to.source.digest);
        }
        let same_providers = Arc::ptr_eq(&providers, &before.providers);
        let mut plan = before.clone();
        (plan.config, plan.providers, plan.extensions, plan.overrides) = (config, providers, extensions, overrides);
        (plan.bases, plan.pins) = (bases, pins);
        (plan.text, plan.changes) = (text, changes);
        keep_previous(&mut plan, &changed, same_providers);
        Ok(plan)
    }

    async fn read_again(self: &Arc<Self>, progress: &mut Progress<'_>, before: &Plan) -> Result<There, Refusal> {
        let (sources, changes) = (self.sources.clone(), before.changes.clone());
        let read = async {
            not_busy(before).map_err(|e| e.to_string())?;
            let read = tokio::task::spawn_blocking(move || sources.read_with(&changes));
            let checked = read.await.map_err(|e| e.to_string())?.map_err(|e| e.to_string())?;
            let later = after_a_restart(&before.config, &checked.config);
            let detail = if later.is_empty() { String::new() } else { format!("only a restart changes {}", later.join(", ")) };
            Ok((checked, detail))
        };
        let Checked { config, candidates, pinned, text, changes, .. } = progress.step("read", read).await?;
        if let Some(name) = gone(&config, &candidates, before.extensions.all()) {
            let message = format!(
                "the component of the extension `{name}` is gone, and what runs is not taken out for that; put its file back, or take `{name}` out of the configuration"
            );
            return Err(Refusal(message));
        }
        let bases = bases(&candidates);
        let (candidates, overrides) =
            with_overrides(candidates, &before.overrides, &self.kept, before.extensions.all()).map_err(Refusal)?;
        Ok(There { text: text.into(), changes, config: Arc::new(config), candidates, pinned, bases, overrides })
    }
}

/// What runs, to be loaded once more with other providers.
fn what_runs(before: &Plan, config: Arc<Config>, changes: Changes) -> There {
    let candidate = |e: &Arc<Extension>| {
        let source = &e.source;
        Candidate::new(e.manifest.clone(), source.bytes.clone(), source.file.clone(), source.config.clone())
    };
    let pinned = before.pins.iter().flat_map(|(who, versions)| versions.iter().map(|v| (who.clone(), candidate(v))));
    There {
        text: Arc::clone(&before.text),
        changes,
        config,
        candidates: before.extensions.all().iter().map(candidate).collect(),
        pinned: pinned.collect(),
        bases: before.bases.clone(),
        overrides: before.overrides.clone(),
    }
}

/// A running extension that the configuration names and whose component is not found any more. At a start that may be a warning, but what runs
/// may be what keeps people out.
fn gone<'a>(config: &'a Config, candidates: &[Candidate], running: &[Arc<Extension>]) -> Option<&'a str> {
    let wanted = config.extensions.iter().filter(|(_, e)| e.enabled).map(|(name, _)| name.as_str());
    let found = |name: &str| candidates.iter().any(|c| c.manifest.name == name);
    wanted.filter(|name| !found(name)).find(|name| running.iter().any(|e| e.name() == *name))
}

/// A version that was replaced can be returned to as long as everything else is as it was, and as long as it can, the new one is watched.
fn keep_previous(plan: &mut Plan, changed: &[(Arc<Extension>, Arc<Extension>)], same_providers: bool) {
    let Plan { previous, extensions, watched, .. } = plan;
    previous.retain(|name, p| same_providers && extensions.find(name).is_some_and(|e| can_return(e, p)));
    for (from, to) in changed {
        if same_providers && from.source.digest != to.source.digest && can_return(to, from) {
            previous.insert(to.name().to_owned(), Arc::clone(from));
            watched.push(Watch::new(to, from));
        }
    }
}

/// Whether a version may serve again in the place of another one: with the settings, limits, secrets and hosts that the configuration has now,
/// and with nothing granted that is not granted now.
fn can_return(now: &Extension, before: &Extension) -> bool {
    let without_its_own = |config: &ExtensionConfig| ExtensionConfig { component: None, grant: None, ..config.clone() };
    now.source.settings == before.source.settings
        && without_its_own(&now.source.config) == without_its_own(&before.source.config)
        && (now.source.config.grant == before.source.config.grant || before.granted.iter().all(|c| now.granted.contains(c)))
}

/// Puts the components that stand in place of the configuration's into its candidates. One whose base has changed no longer holds. What runs is
/// known without a file.
pub(super) fn with_overrides(
    candidates: Vec<Candidate>,
    overrides: &BTreeMap<String, Override>,
    kept: &Kept,
    running: &[Arc<Extension>],
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
            let mut own = own.clone();
            if own.base_grant != candidate.config.grant.as_deref().map(names) {
                own.grant = None;
            }
            match in_place(&own, &candidate, kept, running) {
                Ok(found) => {
                    candidate = found;
                    holding.insert(name, own);
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

/// The component that stands in the place of a candidate.
fn in_place(own: &Override, candidate: &Candidate, kept: &Kept, running: &[Arc<Extension>]) -> Result<Candidate, String> {
    let mut config = candidate.config.clone();
    if let Some(grant) = &own.grant {
        config.grant = Some(grant.iter().filter_map(|g| Capability::from_name(g)).collect());
    }
    let name = &candidate.manifest.name;
    if let Some(runs) = running.iter().find(|e| e.name() == name && e.source.digest == own.digest) {
        return Ok(Candidate::new(runs.manifest.clone(), runs.source.bytes.clone(), runs.source.file.clone(), config));
    }
    let (file, bytes) = kept.component(&own.digest).map_err(|e| e.to_string())?;
    let manifest = registry::manifest_of(&bytes, name, &config).map_err(|e| e.to_string())?;
    Ok(Candidate::new(manifest, bytes, file, config))
}

/// Settings that differ and that a running gateway cannot change.
fn after_a_restart(running: &Config, read: &Config) -> Vec<&'static str> {
    let (a, b) = (&running.server, &read.server);
    let differs = [
        ("server.host", a.host != b.host),
        ("server.port", a.port != b.port),
        ("server.header_limit", a.header_limit != b.header_limit),
        ("server.header_timeout", a.header_timeout != b.header_timeout),
        ("server.send_timeout", a.send_timeout != b.send_timeout),
        ("server.max_connections", a.max_connections != b.max_connections),
        ("server.shutdown_delay", a.shutdown_delay != b.shutdown_delay),
        ("server.shutdown_timeout", a.shutdown_timeout != b.shutdown_timeout),
        ("server.threads", a.threads != b.threads),
        ("server.tls", a.tls.is_some() != b.tls.is_some()),
        ("logging", running.logging != read.logging),
        ("telemetry", running.telemetry != read.telemetry),
        ("storage", running.storage != read.storage),
        ("cache", running.cache != read.cache),
        ("deploy.state", running.deploy.state != read.deploy.state),
        ("deploy.watch", running.deploy.watch != read.deploy.watch),
    ];
    differs.into_iter().filter_map(|(name, differs)| differs.then_some(name)).collect()
}
