//! Another version of one extension: uploaded, promoted, taken back.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use tokio::sync::mpsc::UnboundedSender;

use super::attempt::{Attempt, Outcome, Progress, Refusal, RolloutName, Step, Trigger};
use super::gate::{self, Terms};
use super::live::{Audience, Shadowing};
use super::observe::Watch;
use super::{Deploy, Keeping, Plan, Trial, TrialKind};
use crate::config::{Problem, ReplayMode};
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
    /// It has failed too often.
    #[error("version {version} of `{name}` has failed more often than `deploy.error_budget` allows and is being taken back")]
    Failed {
        /// The extension.
        name: String,
        /// The version.
        version: String,
    },
    /// Nothing of a provider was changed that could be taken back.
    #[error("nothing of a provider `{0}` was changed through this interface; what the configuration says holds")]
    NothingChanged(String),
    /// Settings are wrong.
    #[error("{}", .0.iter().map(|p| format!("`{}`: {}", p.path, p.message)).collect::<Vec<_>>().join(" "))]
    Wrong(Vec<Problem>),
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
        let _turn = self.turn.lock().await;
        let tried = self.try_swap(&mut progress, wanted).await;
        let attempt = match tried {
            Ok(outcome) => Ok(progress.end(outcome, None)),
            Err(Refused::Denied(denied)) => {
                progress.end(Outcome::Refused, Some(denied.to_string()));
                Err(denied)
            }
            Err(Refused::Step(Refusal(reason))) => Err(Denied::Refused(Box::new(progress.end(Outcome::Refused, Some(reason))))),
        };
        self.keep_history();
        attempt
    }

    async fn try_swap(self: &Arc<Self>, progress: &mut Progress<'_>, wanted: Wanted) -> Result<Outcome, Refused> {
        let Wanted { name, bytes, rollout, replay, grant } = wanted;
        let plan = self.plan.lock().await.clone();
        let running = Arc::clone(plan.extensions.find(&name).ok_or_else(|| self.unknown(&name))?);
        not_busy(&plan)?;
        progress.attempt.rollout = rollout.name();
        progress.is_from(&running);
        let mut config = running.source.config.clone();
        if !grant.is_empty() {
            let all: BTreeSet<Capability> = running.granted.iter().copied().chain(grant).collect();
            config.grant = Some(all.into_iter().collect());
        }
        let granted_more = config.grant != running.source.config.grant;
        let candidate = self.unless_it_stops(gate::read(progress, &name, bytes, PathBuf::from("upload"), config)).await?;
        progress.is_to(&candidate.manifest, &candidate.digest);
        if candidate.digest == running.source.digest && !granted_more {
            return Ok(Outcome::Unchanged);
        }
        let into = Surroundings { runtime: &self.runtime, config: &plan.config, providers: &plan.providers, store: &self.store };
        let terms = Terms { running: Some(&running), replay: replay.unwrap_or(plan.config.deploy.replay) };
        let extension = self.unless_it_stops(gate::pass(progress, candidate, terms, &into)).await?;
        let watch = Watch::new(&extension, &running);
        match progress.step("publish", self.put_to_work(&watch, rollout)).await {
            Ok((outcome, generation)) => {
                progress.attempt.generation = Some(generation);
                Ok(outcome)
            }
            Err(refusal) => {
                extension.shut_down().await;
                Err(refusal.into())
            }
        }
    }

    async fn put_to_work(self: &Arc<Self>, watch: &Arc<Watch>, rollout: Rollout) -> Result<((Outcome, u64), String), String> {
        let mut turn = self.plan.lock().await;
        // What was tested beside one version says nothing beside another one.
        if !turn.extensions.find(watch.name()).is_some_and(|e| Arc::ptr_eq(e, &watch.before)) {
            return Err(format!("version {} was taken back while this was being tested; send it again", watch.before.manifest.version));
        }
        // It must not become what a rollback returns to.
        if turn.watches().any(|w| Arc::ptr_eq(&w.version, &watch.before)) && watch.before.stats.tripwire().is_tripped() {
            return Err(format!("version {} failed too often and is being taken back; send it again", watch.before.manifest.version));
        }
        let mut plan = turn.clone();
        let (outcome, detail) = match rollout {
            Rollout::Active => {
                take_over(&mut plan, watch)?;
                (Outcome::Published, "for everybody".to_owned())
            }
            Rollout::Canary(audience) => {
                let detail = format!("for {} % of the callers and {} keys", audience.share * 100.0, audience.keys.len());
                plan.rollout = Some(Trial { watch: Arc::clone(watch), kind: TrialKind::Canary(audience) });
                (Outcome::Canary, detail)
            }
            Rollout::Shadow(share) => {
                let comparison: Arc<Mutex<Comparison>> = Arc::default();
                let shadowing = Shadowing { extension: Arc::clone(&watch.version), share, comparison };
                plan.rollout = Some(Trial { watch: Arc::clone(watch), kind: TrialKind::Shadow(shadowing) });
                (Outcome::Shadow, format!("looks at {} % of the calls", share * 100.0))
            }
        };
        let generation = self.publish(&mut turn, plan, Keeping::Must).await?;
        let generation = match &*self.live() {
            live if outcome == Outcome::Canary => live.canary.as_ref().map_or(generation, |c| c.generation.number),
            _ => generation,
        };
        Ok(((outcome, generation), format!("generation {generation}, {detail}")))
    }

    /// The version that is tried out takes over.
    pub async fn promote(self: &Arc<Self>, name: &str) -> Result<Attempt, Denied> {
        self.known(name)?;
        let mut turn = self.plan.lock().await;
        let Some(trial) = turn.rollout.clone().filter(|t| t.watch.name() == name) else {
            return Err(Denied::NothingToPromote(name.to_owned()));
        };
        let (version, before) = (trial.version(), &trial.watch.before);
        if version.stats.tripwire().is_tripped() {
            return Err(Denied::Failed { name: name.to_owned(), version: version.manifest.version.clone() });
        }
        let mut progress = self.history.begin(Trigger::Promote, Some(name), None);
        progress.is_from(before);
        progress.is_to(&version.manifest, &version.source.digest);
        let published = progress
            .step("publish", async {
                let mut plan = turn.clone();
                take_over(&mut plan, &Watch::new(version, before))?;
                let generation = self.publish(&mut turn, plan, Keeping::Must).await?;
                Ok((generation, format!("generation {generation}, for everybody")))
            })
            .await;
        drop(turn);
        let attempt = published_or_not(progress, published, Outcome::Published, None);
        self.keep_after().await;
        self.catch_up();
        attempt
    }

    /// Ends the trial of a version, or returns to the version before.
    pub async fn roll_back(self: &Arc<Self>, name: &str) -> Result<Attempt, Denied> {
        self.known(name)?;
        let mut turn = self.plan.lock().await;
        let attempt = match turn.rollout.clone().filter(|t| t.watch.name() == name) {
            Some(trial) => self.end_trial(&mut turn, &trial, Trigger::Rollback, None).await,
            None => self.return_to_previous(&mut turn, name, Trigger::Rollback, None).await,
        };
        drop(turn);
        self.keep_after().await;
        self.catch_up();
        attempt
    }

    /// A version that is looked after failed, for this reason.
    pub(super) async fn take_back(self: &Arc<Self>, turn: &mut Plan, watch: &Arc<Watch>, why: String) -> Result<Attempt, Denied> {
        let attempt = match turn.rollout.clone().filter(|t| Arc::ptr_eq(&t.watch, watch)) {
            Some(trial) => self.end_trial(turn, &trial, Trigger::Automatic, Some(why)).await,
            None => self.return_to_previous(turn, watch.name(), Trigger::Automatic, Some(why)).await,
        };
        self.catch_up();
        attempt
    }

    async fn end_trial(self: &Arc<Self>, turn: &mut Plan, trial: &Trial, trigger: Trigger, why: Option<String>) -> Result<Attempt, Denied> {
        let (from, to) = (trial.version(), &trial.watch.before);
        let mut progress = self.history.begin(trigger, Some(trial.watch.name()), None);
        progress.is_from(from);
        progress.is_to(&to.manifest, &to.source.digest);
        progress.attempt.rollout = trial.kind.name();
        let mut plan = turn.clone();
        plan.rollout = None;
        let published = self.publish_rollback(&mut progress, turn, plan, to).await;
        published_or_not(progress, published, Outcome::RolledBack, why)
    }

    async fn return_to_previous(
        self: &Arc<Self>,
        turn: &mut Plan,
        name: &str,
        trigger: Trigger,
        why: Option<String>,
    ) -> Result<Attempt, Denied> {
        let from = Arc::clone(turn.extensions.find(name).ok_or_else(|| self.unknown(name))?);
        let to = Arc::clone(turn.previous.get(name).ok_or_else(|| Denied::NothingBefore(name.to_owned()))?);
        let mut progress = self.history.begin(trigger, Some(name), None);
        progress.is_from(&from);
        progress.is_to(&to.manifest, &to.source.digest);
        let mut plan = turn.clone();
        // What is tried out beside a version that goes would be judged by one that is gone.
        plan.rollout = plan.rollout.filter(|t| t.watch.name() != name);
        plan.put_in_place(&to);
        match trigger {
            // What was found bad is not returned to.
            Trigger::Automatic => drop(plan.previous.remove(name)),
            _ => drop(plan.previous.insert(name.to_owned(), Arc::clone(&from))),
        }
        let mut published = match plan.extensions.with_versions([&to]) {
            Ok(extensions) => {
                plan.extensions = extensions;
                self.publish_rollback(&mut progress, turn, plan, &to).await
            }
            Err(reason) => progress.step("publish", async { Err(reason) }).await,
        };
        if published.is_err() && trigger == Trigger::Automatic {
            // It does not fit what came with it, or is tried out now: all of that goes too.
            published = match before_all_that_is_new(turn) {
                Ok(plan) => self.publish_rollback(&mut progress, turn, plan, &to).await,
                Err(reason) => progress.step("publish", async { Err(reason) }).await,
            };
        }
        published_or_not(progress, published, Outcome::RolledBack, why)
    }

    /// The last step of a rollback. That the disk is full must not keep a bad version at work.
    async fn publish_rollback(
        self: &Arc<Self>,
        progress: &mut Progress<'_>,
        turn: &mut Plan,
        plan: Plan,
        to: &Arc<Extension>,
    ) -> Result<u64, Refusal> {
        progress
            .step("publish", async {
                let generation = self.publish(turn, plan, Keeping::After).await?;
                Ok((generation, format!("generation {generation}, with version {}", to.manifest.version)))
            })
            .await
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

/// The end of an attempt whose last step was to publish a generation.
fn published_or_not(
    mut progress: Progress<'_>,
    published: Result<u64, Refusal>,
    outcome: Outcome,
    why: Option<String>,
) -> Result<Attempt, Denied> {
    match published {
        Ok(generation) => {
            progress.attempt.generation = Some(generation);
            Ok(progress.end(outcome, why))
        }
        Err(Refusal(reason)) => Err(Denied::Refused(Box::new(progress.end(Outcome::Refused, Some(reason))))),
    }
}

/// The versions before all that are watched, and no trial.
fn before_all_that_is_new(turn: &Plan) -> Result<Plan, String> {
    let mut plan = turn.clone();
    plan.rollout = None;
    plan.extensions = turn.extensions.with_versions(turn.watched.iter().map(|w| &w.before))?;
    for watch in &turn.watched {
        plan.put_in_place(&watch.before);
        plan.previous.remove(watch.name());
    }
    Ok(plan)
}

/// A version takes the place of the running one, which is kept for a rollback.
fn take_over(plan: &mut Plan, watch: &Arc<Watch>) -> Result<(), String> {
    plan.extensions = plan.extensions.with_versions([&watch.version])?;
    plan.put_in_place(&watch.version);
    plan.rollout = None;
    plan.previous.insert(watch.name().to_owned(), Arc::clone(&watch.before));
    plan.watched.push(Arc::clone(watch));
    Ok(())
}

/// One version is tried out at a time, so that what is seen can be told to be its doing.
pub(super) fn not_busy(turn: &Plan) -> Result<(), Denied> {
    match &turn.rollout {
        None => Ok(()),
        Some(trial) => Err(Denied::Busy {
            name: trial.watch.name().to_owned(),
            version: trial.version().manifest.version.clone(),
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
