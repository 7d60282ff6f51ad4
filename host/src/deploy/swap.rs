//! Another version of one extension: uploaded, promoted, taken back.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use tokio::sync::mpsc::UnboundedSender;

use super::attempt::{Attempt, Outcome, Progress, Refusal, RolloutName, Step, Trigger};
use super::gate::{self, Terms};
use super::live::{Audience, Shadowing};
use super::{Deploy, Plan, Trial, TrialKind};
use crate::config::ReplayMode;
use crate::extensions::{Capability, Comparison, Extension, Surroundings};

/// What somebody wants to be done with a component.
pub struct Wanted {
    /// The extension that it is a version of.
    pub name: String,
    /// The component.
    pub bytes: Bytes,
    /// How it comes to serve.
    pub rollout: Rollout,
    /// What is done with recorded calls; as the configuration says when absent.
    pub replay: Option<ReplayMode>,
    /// Capabilities that it gets on top of those of the running version.
    pub grant: Vec<Capability>,
}

/// How a new version comes to serve.
#[derive(Debug, Clone)]
pub enum Rollout {
    /// For everybody, at once.
    Active,
    /// For some callers.
    Canary(Audience),
    /// For nobody, with this share of the calls to look at.
    Shadow(f64),
}

/// Why nothing was tried.
#[derive(Debug, thiserror::Error)]
pub enum Denied {
    /// There is no such extension.
    #[error("there is no extension `{name}`; there are {there}. A new one is added to the configuration")]
    Unknown {
        /// What was asked for.
        name: String,
        /// What there is.
        there: String,
    },
    /// Another version is tried out.
    #[error("version {version} of `{name}` is being tried out ({kind}); promote it or roll it back first")]
    Busy {
        /// The extension.
        name: String,
        /// The version.
        version: String,
        /// How.
        kind: &'static str,
    },
    /// Nothing is tried out.
    #[error("no version of `{0}` is being tried out that could be promoted")]
    NothingToPromote(String),
    /// There is no version before.
    #[error("no version of `{0}` is being tried out, and none ran before that could be returned to")]
    NothingBefore(String),
    /// The attempt was refused.
    #[error("{}", .0.reason.as_deref().unwrap_or("refused"))]
    Refused(Box<Attempt>),
}

impl Rollout {
    fn name(&self) -> RolloutName {
        match self {
            Self::Active => RolloutName::Active,
            Self::Canary(_) => RolloutName::Canary,
            Self::Shadow(_) => RolloutName::Shadow,
        }
    }
}

impl TrialKind {
    fn name(&self) -> RolloutName {
        match self {
            Self::Canary(_) => RolloutName::Canary,
            Self::Shadow(_) => RolloutName::Shadow,
        }
    }

    /// Its word.
    fn word(&self) -> &'static str {
        match self {
            Self::Canary(_) => "canary",
            Self::Shadow(_) => "shadow",
        }
    }
}

impl Deploy {
    /// Puts a component to work, or says why not. Steps are told as they end.
    pub async fn swap(self: &Arc<Self>, wanted: Wanted, tell: Option<UnboundedSender<Step>>) -> Result<Attempt, Denied> {
        self.known(&wanted.name)?;
        let mut progress = self.history.begin(Trigger::Upload, Some(&wanted.name), tell);
        let mut turn = self.turn.lock().await;
        let tried = self.unless_it_stops(self.try_swap(&mut progress, &mut turn, wanted)).await;
        let attempt = match tried {
            Ok(outcome) => Ok(progress.end(outcome, None)),
            Err(Refused::Denied(denied)) => {
                progress.end(Outcome::Refused, Some(denied.to_string()));
                Err(denied)
            }
            Err(Refused::Step(Refusal(reason))) => Err(Denied::Refused(Box::new(progress.end(Outcome::Refused, Some(reason))))),
        };
        self.note_end(&turn).await;
        attempt
    }

    async fn try_swap(self: &Arc<Self>, progress: &mut Progress<'_>, turn: &mut Plan, wanted: Wanted) -> Result<Outcome, Refused> {
        let Wanted { name, bytes, rollout, replay, grant } = wanted;
        let running = Arc::clone(turn.extensions.find(&name).ok_or_else(|| self.unknown(&name))?);
        not_busy(turn)?;
        progress.attempt.rollout = rollout.name();
        progress.is_from(&running);
        let mut config = running.source.config.clone();
        if !grant.is_empty() {
            let all: BTreeSet<Capability> = running.granted.iter().copied().chain(grant).collect();
            config.grant = Some(all.into_iter().collect());
        }
        let granted_more = config.grant != running.source.config.grant;
        let candidate = gate::read(progress, &name, bytes, PathBuf::from("upload"), config).await?;
        progress.is_to(&candidate.manifest, &candidate.digest);
        if candidate.digest == running.source.digest && !granted_more {
            return Ok(Outcome::Unchanged);
        }
        let into = Surroundings { runtime: &self.runtime, config: &turn.config, providers: &turn.providers, store: &self.store };
        let terms = Terms { running: Some(&running), replay: replay.unwrap_or(turn.config.deploy.replay) };
        let extension = gate::pass(progress, candidate, terms, &into).await?;
        let (outcome, generation) = progress.step("publish", self.put_to_work(turn, &running, &extension, rollout)).await?;
        progress.attempt.generation = Some(generation);
        Ok(outcome)
    }

    async fn put_to_work(
        self: &Arc<Self>,
        turn: &mut Plan,
        running: &Arc<Extension>,
        extension: &Arc<Extension>,
        rollout: Rollout,
    ) -> Result<((Outcome, u64), String), String> {
        let mut plan = turn.clone();
        let tripwire = extension.stats.tripwire();
        tripwire.arm(plan.config.deploy.error_budget);
        let (outcome, detail) = match rollout {
            Rollout::Active => {
                take_over(&mut plan, running, extension)?;
                (Outcome::Published, "for everybody".to_owned())
            }
            Rollout::Canary(audience) => {
                let detail = format!("for {} % of the callers and {} keys", audience.share * 100.0, audience.keys.len());
                plan.rollout = Some(Trial { extension: Arc::clone(extension), kind: TrialKind::Canary(audience) });
                (Outcome::Canary, detail)
            }
            Rollout::Shadow(share) => {
                let comparison: Arc<Mutex<Comparison>> = Arc::default();
                let shadowing = Shadowing { extension: Arc::clone(extension), share, comparison };
                plan.rollout = Some(Trial { extension: Arc::clone(extension), kind: TrialKind::Shadow(shadowing) });
                (Outcome::Shadow, format!("looks at {} % of the calls", share * 100.0))
            }
        };
        let generation = self.publish(turn, plan).await?;
        self.observe(turn, running, extension);
        let generation = match &*self.live() {
            live if outcome == Outcome::Canary => live.canary.as_ref().map_or(generation, |c| c.generation.number),
            _ => generation,
        };
        Ok(((outcome, generation), format!("generation {generation}, {detail}")))
    }

    /// The version that is tried out takes over.
    pub async fn promote(self: &Arc<Self>, name: &str) -> Result<Attempt, Denied> {
        self.known(name)?;
        let mut turn = self.turn.lock().await;
        let Some(trial) = turn.rollout.clone().filter(|t| t.extension.name() == name) else {
            return Err(Denied::NothingToPromote(name.to_owned()));
        };
        let running = Arc::clone(turn.extensions.find(name).ok_or_else(|| self.unknown(name))?);
        let mut progress = self.history.begin(Trigger::Promote, Some(name), None);
        progress.is_from(&running);
        progress.is_to(&trial.extension.manifest, &trial.extension.source.digest);
        let published = progress
            .step("publish", async {
                let mut plan = turn.clone();
                take_over(&mut plan, &running, &trial.extension)?;
                running.recorder.shadow(None);
                let generation = self.publish(&mut turn, plan).await?;
                trial.extension.stats.tripwire().arm(turn.config.deploy.error_budget);
                self.observe(&turn, &running, &trial.extension);
                Ok((generation, format!("generation {generation}, for everybody")))
            })
            .await;
        self.published(progress, published, Outcome::Published, None, &turn).await
    }

    /// Ends the trial of a version, or returns to the version before.
    pub async fn roll_back(self: &Arc<Self>, name: &str) -> Result<Attempt, Denied> {
        self.known(name)?;
        let mut turn = self.turn.lock().await;
        self.roll_back_now(&mut turn, name, Trigger::Rollback, None).await
    }

    /// The same in one's turn. `why` is what the gateway found, when it takes a version back by itself.
    pub(super) async fn roll_back_now(
        self: &Arc<Self>,
        turn: &mut Plan,
        name: &str,
        trigger: Trigger,
        why: Option<String>,
    ) -> Result<Attempt, Denied> {
        let running = Arc::clone(turn.extensions.find(name).ok_or_else(|| self.unknown(name))?);
        let trial = turn.rollout.clone().filter(|t| t.extension.name() == name);
        let previous = turn.previous.get(name).cloned();
        let mut plan = turn.clone();
        let (from, to) = match (&trial, &previous) {
            (Some(trial), _) => {
                plan.rollout = None;
                (Arc::clone(&trial.extension), Arc::clone(&running))
            }
            (None, Some(previous)) => (Arc::clone(&running), Arc::clone(previous)),
            (None, None) => return Err(Denied::NothingBefore(name.to_owned())),
        };
        let mut progress = self.history.begin(trigger, Some(name), None);
        progress.is_from(&from);
        progress.is_to(&to.manifest, &to.source.digest);
        if let Some(trial) = &trial {
            progress.attempt.rollout = trial.kind.name();
        }
        let published = progress
            .step("publish", async {
                running.recorder.shadow(None);
                if trial.is_none() {
                    plan.watched = None;
                    plan.extensions = plan.extensions.with_version(&to)?;
                    plan.put_in_place(&to);
                    match trigger {
                        // What was found bad is not returned to.
                        Trigger::Automatic => drop(plan.previous.remove(name)),
                        _ => drop(plan.previous.insert(name.to_owned(), Arc::clone(&from))),
                    }
                }
                from.stats.tripwire().disarm();
                let generation = self.publish(turn, plan).await?;
                Ok((generation, format!("generation {generation}, with version {}", to.manifest.version)))
            })
            .await;
        self.published(progress, published, Outcome::RolledBack, why, turn).await
    }

    /// The end of an attempt whose last step was to publish a generation.
    async fn published(
        self: &Arc<Self>,
        mut progress: Progress<'_>,
        published: Result<u64, Refusal>,
        outcome: Outcome,
        why: Option<String>,
        plan: &Plan,
    ) -> Result<Attempt, Denied> {
        let attempt = match published {
            Ok(generation) => {
                progress.attempt.generation = Some(generation);
                Ok(progress.end(outcome, why))
            }
            Err(Refusal(reason)) => Err(Denied::Refused(Box::new(progress.end(Outcome::Refused, Some(reason))))),
        };
        self.note_end(plan).await;
        attempt
    }

    fn known(&self, name: &str) -> Result<(), Denied> {
        match self.live().stable.extensions.find(name) {
            Some(_) => Ok(()),
            None => Err(self.unknown(name)),
        }
    }

    fn unknown(&self, name: &str) -> Denied {
        let live = self.live();
        let there: Vec<_> = live.stable.extensions.all().iter().map(|e| format!("`{}`", e.name())).collect();
        Denied::Unknown { name: name.to_owned(), there: there.join(", ") }
    }
}

/// A version takes the place of the running one, which is kept for a rollback.
fn take_over(plan: &mut Plan, running: &Arc<Extension>, extension: &Arc<Extension>) -> Result<(), String> {
    plan.extensions = plan.extensions.with_version(extension)?;
    plan.put_in_place(extension);
    plan.rollout = None;
    plan.watched = Some((Arc::clone(extension), Arc::clone(running)));
    plan.previous.insert(extension.name().to_owned(), Arc::clone(running));
    Ok(())
}

/// One version is tried out at a time, so that what is seen can be told to be its doing.
pub(super) fn not_busy(turn: &Plan) -> Result<(), Denied> {
    match &turn.rollout {
        None => Ok(()),
        Some(trial) => Err(Denied::Busy {
            name: trial.extension.name().to_owned(),
            version: trial.extension.manifest.version.clone(),
            kind: trial.kind.word(),
        }),
    }
}

/// Why a swap came to nothing.
enum Refused {
    Denied(Denied),
    Step(Refusal),
}

impl From<Denied> for Refused {
    fn from(denied: Denied) -> Self {
        Self::Denied(denied)
    }
}

impl From<Refusal> for Refused {
    fn from(refusal: Refusal) -> Self {
        Self::Step(refusal)
    }
}
