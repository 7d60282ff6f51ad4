//! A version that is new is watched: its failures, what its calls cost beside those of the version before, and in the shadow how often it
//! decides otherwise. What passes its threshold is taken back without anybody asking.

use std::sync::{Arc, PoisonError};
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::live::Shadowing;
use super::{Deploy, Keeping, Plan, TrialKind};
use crate::config;
use crate::extensions::{Case, Extension, Shadow};

/// How often cost and divergence are looked at. Failures are seen at once.
const EVERY: Duration = Duration::from_millis(250);

/// Calls of a version, or compared ones, before an average says something.
const ENOUGH: u64 = 100;

/// How long until it is tried again to take a version back.
const TAKE_BACK_AGAIN: Duration = Duration::from_secs(10);

/// Cases that wait for the shadow; more are let go.
const WAITING: usize = 64;

/// A version that is looked after, as long as a plan says so.
pub struct Watch {
    /// The version.
    pub version: Arc<Extension>,
    /// The one that serves beside it, or did before.
    pub before: Arc<Extension>,
    /// No plan says so any longer.
    over: CancellationToken,
}

struct Observer {
    deploy: Arc<Deploy>,
    watch: Arc<Watch>,
    settings: config::Deploy,
    until: Option<Instant>,
    shadowing: Option<Shadowing>,
}

impl Watch {
    /// Of a version beside the one before.
    pub fn new(version: &Arc<Extension>, before: &Arc<Extension>) -> Arc<Self> {
        Arc::new(Self { version: Arc::clone(version), before: Arc::clone(before), over: CancellationToken::new() })
    }

    /// The extension's name.
    pub fn name(&self) -> &str {
        self.version.name()
    }

    /// Its end. `again` says that another watch of the same version begins.
    pub(super) fn end(&self, again: bool) {
        self.over.cancel();
        self.before.recorder.shadow(None);
        if !again {
            self.version.stats.tripwire().disarm();
        }
    }
}

impl Deploy {
    /// Begins to watch what the plan looks after from now on.
    pub(super) fn observe(self: &Arc<Self>, plan: &Plan, watch: &Arc<Watch>) {
        let settings = plan.config.deploy.clone();
        let trial = plan.rollout.as_ref().filter(|t| Arc::ptr_eq(&t.watch, watch)).map(|t| &t.kind);
        let shadowing = match trial {
            Some(TrialKind::Shadow(shadowing)) => Some(shadowing.clone()),
            _ => None,
        };
        if let Some(shadowing) = &shadowing {
            let (to, cases) = mpsc::channel(WAITING);
            watch.before.recorder.shadow(Some(Shadow { share: shadowing.share, to }));
            tokio::spawn(look_on(Arc::clone(watch), shadowing.clone(), cases));
        }
        let until = trial.is_none().then(|| Instant::now() + settings.observe);
        let observer = Observer { deploy: Arc::clone(self), watch: Arc::clone(watch), until, settings, shadowing };
        tokio::spawn(observer.run());
    }
}

/// Makes the calls of the running version to the one in the shadow, one after the other.
async fn look_on(watch: Arc<Watch>, shadowing: Shadowing, mut cases: mpsc::Receiver<Arc<Case>>) {
    loop {
        let case = tokio::select! {
            () = watch.over.cancelled() => return,
            case = cases.recv() => case,
        };
        let Some(case) = case else { return };
        let beside = watch.before.replay(&case).await;
        let replayed = shadowing.extension.replay(&case).await;
        if beside.difference.is_none() && replayed.difference.as_ref().is_some_and(|d| d.fatal) {
            shadowing.extension.stats.tripwire().failure();
        }
        shadowing.comparison.lock().unwrap_or_else(PoisonError::into_inner).add_beside(case.hook(), &beside, &replayed);
    }
}

impl Observer {
    async fn run(self) {
        let Self { deploy, watch, settings, .. } = &self;
        let tripwire = watch.version.stats.tripwire();
        let mut ticks = tokio::time::interval(EVERY);
        loop {
            tokio::select! {
                // A failure too many counts also in the moment in which the watch ends.
                biased;
                () = watch.over.cancelled() => return,
                () = deploy.stopping.cancelled() => return,
                () = tripwire.pulled() => {
                    let reason = format!(
                        "{} calls failed, by a trap or at a limit; `deploy.error_budget` is {}",
                        tripwire.failures(),
                        settings.error_budget
                    );
                    if self.take_back(reason).await {
                        return;
                    }
                }
                now = ticks.tick() => {
                    if let Some(reason) = self.too_expensive().or_else(|| self.diverges()) {
                        if self.take_back(reason).await {
                            return;
                        }
                    } else if self.until.is_some_and(|until| now >= until) && self.let_go().await {
                        return;
                    }
                }
            }
        }
    }

    /// It has proven itself. Not, when a failure too many came in the last moment.
    async fn let_go(&self) -> bool {
        let mut turn = self.deploy.plan.lock().await;
        if self.watch.over.is_cancelled() {
            return true;
        }
        if self.watch.version.stats.tripwire().is_tripped() {
            return false;
        }
        let mut plan = turn.clone();
        plan.let_go(&self.watch);
        if let Err(error) = self.deploy.publish(&mut turn, plan, Keeping::After).await {
            tracing::error!(extension = self.watch.name(), error, "the watch over a version could not be ended");
        }
        true
    }

    /// Whether the version is gone. When it could not be taken back, somebody has to change something, and it is tried again.
    async fn take_back(&self, reason: String) -> bool {
        let mut turn = self.deploy.plan.lock().await;
        // Somebody else may have replaced the version while this waited.
        if self.watch.over.is_cancelled() {
            return true;
        }
        let taken_back = self.deploy.take_back(&mut turn, &self.watch, reason).await;
        drop(turn);
        self.deploy.keep_after().await;
        let Err(error) = taken_back else { return true };
        tracing::error!(extension = self.watch.name(), %error, "a version could not be taken back; it is tried again");
        tokio::select! {
            () = self.watch.over.cancelled() => {}
            () = self.deploy.stopping.cancelled() => {}
            () = tokio::time::sleep(TAKE_BACK_AGAIN) => {}
        }
        false
    }

    /// What the calls of the version cost, beside those of the one before: those that were served, or in the shadow those that were compared.
    fn too_expensive(&self) -> Option<String> {
        let Watch { version, before, .. } = &*self.watch;
        let ((calls, cost), (calls_before, cost_before)) = match &self.shadowing {
            Some(shadowing) => {
                let comparison = shadowing.comparison.lock().unwrap_or_else(PoisonError::into_inner);
                let (before, after) = comparison.costs();
                ((comparison.cases(), after.as_secs_f64()), (comparison.cases(), before.as_secs_f64()))
            }
            None => {
                let ((calls, _, cost), (calls_before, _, cost_before)) = (version.totals(), before.totals());
                ((calls, cost), (calls_before, cost_before))
            }
        };
        let most = self.settings.max_cost_ratio;
        if most == 0.0 || calls < ENOUGH || calls_before < ENOUGH || cost_before == 0.0 {
            return None;
        }
        let (each, each_before) = (cost / calls as f64 * 1e6, cost_before / calls_before as f64 * 1e6);
        (each / each_before > most).then(|| {
            format!(
                "its calls take {each:.1} us of CPU time, those of version {} {each_before:.1}; `deploy.max_cost_ratio` is {most}",
                before.manifest.version
            )
        })
    }

    fn diverges(&self) -> Option<String> {
        let comparison = self.shadowing.as_ref()?.comparison.lock().unwrap_or_else(PoisonError::into_inner);
        let (compared, differ) = (comparison.cases(), comparison.different());
        let most = self.settings.max_divergence;
        (compared >= ENOUGH && differ as f64 > most * compared as f64)
            .then(|| format!("{differ} of {compared} calls were decided otherwise; `deploy.max_divergence` is {most}"))
    }
}
