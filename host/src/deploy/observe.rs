//! A version that is new is watched: its failures, what its calls cost beside those of the version before, and in the shadow how often it
//! decides otherwise. What passes its threshold is taken back without anybody asking.

use std::sync::{Arc, PoisonError};
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::attempt::Trigger;
use super::live::Shadowing;
use super::{Deploy, Plan, TrialKind};
use crate::config;
use crate::extensions::{Case, Extension, Shadow};

/// How often cost and divergence are looked at. Failures are seen at once.
const EVERY: Duration = Duration::from_millis(250);

/// Calls of a version, or compared ones, before an average says something.
const ENOUGH: u64 = 100;

/// Cases that wait for the shadow; more are let go.
const WAITING: usize = 64;

struct Observer {
    deploy: Arc<Deploy>,
    before: Arc<Extension>,
    version: Arc<Extension>,
    settings: config::Deploy,
    until: Option<Instant>,
    shadowing: Option<Shadowing>,
    over: CancellationToken,
}

impl Deploy {
    /// Watches a version that was put to work just now.
    pub(super) fn observe(self: &Arc<Self>, plan: &Plan, before: &Arc<Extension>, version: &Arc<Extension>) {
        let settings = plan.config.deploy.clone();
        let shadowing = match plan.rollout.as_ref().map(|t| &t.kind) {
            Some(TrialKind::Shadow(shadowing)) => Some(shadowing.clone()),
            _ => None,
        };
        if let Some(shadowing) = &shadowing {
            let (to, cases) = mpsc::channel(WAITING);
            before.recorder.shadow(Some(Shadow { share: shadowing.share, to }));
            tokio::spawn(look_on(Arc::clone(before), shadowing.clone(), cases, plan.observer.clone()));
        }
        let observer = Observer {
            deploy: Arc::clone(self),
            before: Arc::clone(before),
            version: Arc::clone(version),
            until: plan.rollout.is_none().then(|| Instant::now() + settings.observe),
            settings,
            shadowing,
            over: plan.observer.clone(),
        };
        tokio::spawn(observer.run());
    }
}

/// Makes the calls of the running version to the one in the shadow, one after the other.
async fn look_on(before: Arc<Extension>, shadowing: Shadowing, mut cases: mpsc::Receiver<Arc<Case>>, over: CancellationToken) {
    loop {
        let case = tokio::select! {
            () = over.cancelled() => return,
            case = cases.recv() => case,
        };
        let Some(case) = case else { return };
        let beside = before.replay(&case).await;
        let replayed = shadowing.extension.replay(&case).await;
        if beside.difference.is_none() && replayed.difference.as_ref().is_some_and(|d| d.fatal) {
            shadowing.extension.stats.tripwire().failure();
        }
        shadowing.comparison.lock().unwrap_or_else(PoisonError::into_inner).add_beside(&beside, &replayed);
    }
}

impl Observer {
    async fn run(self) {
        let tripwire = self.version.stats.tripwire();
        let mut ticks = tokio::time::interval(EVERY);
        let reason = loop {
            tokio::select! {
                // A failure too many counts also in the moment in which the watch ends.
                biased;
                () = self.over.cancelled() => return,
                () = self.deploy.stopping.cancelled() => return,
                () = tripwire.pulled() => {
                    break format!(
                        "{} calls failed, by a trap or at a limit; `deploy.error_budget` is {}",
                        tripwire.failures(),
                        self.settings.error_budget
                    );
                }
                now = ticks.tick() => {
                    if let Some(reason) = self.too_expensive().or_else(|| self.diverges()) {
                        break reason;
                    }
                    if self.until.is_some_and(|until| now >= until) {
                        return tripwire.disarm();
                    }
                }
            }
        };
        self.take_back(reason).await;
    }

    async fn take_back(&self, reason: String) {
        let mut turn = self.deploy.turn.lock().await;
        // Somebody else may have replaced the version while this waited.
        if self.over.is_cancelled() {
            return;
        }
        let name = self.version.name();
        if let Err(e) = self.deploy.roll_back_now(&mut turn, name, Trigger::Automatic, Some(reason)).await {
            tracing::error!(extension = name, error = %e, "a version could not be taken back");
        }
    }

    fn too_expensive(&self) -> Option<String> {
        let most = self.settings.max_cost_ratio;
        let ((calls, _, cost), (calls_before, _, cost_before)) = (self.version.totals(), self.before.totals());
        if most == 0.0 || calls < ENOUGH || calls_before < ENOUGH || cost_before == 0.0 {
            return None;
        }
        let (each, each_before) = (cost / calls as f64 * 1e6, cost_before / calls_before as f64 * 1e6);
        let ratio = each / each_before;
        (ratio > most).then(|| {
            format!(
                "its calls take {each:.1} us of CPU time, those of version {} {each_before:.1}; `deploy.max_cost_ratio` is {most}",
                self.before.manifest.version
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
