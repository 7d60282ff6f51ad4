//! How what serves is replaced: every change is an attempt (`attempt`), takes its turn, passes the gate (`gate`), and ends in a generation that
//! is published (`live`). What was replaced drains (`drain`); a new version is watched (`observe`) and taken back by itself; files are watched
//! (`files`); what a restart has to know is kept (`kept`).
//!
//! What is absent: nothing here changes a generation. There is one way to publish, and until it is reached an attempt has changed nothing.

#![expect(clippy::await_holding_invalid_type, reason = "changes take turns, and no request waits for one of them")]

pub mod attempt;
mod change;
mod drain;
mod files;
mod gate;
pub mod kept;
pub mod live;
mod observe;
pub mod pins;
mod reload;
mod swap;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use arc_swap::{ArcSwap, Guard};
use bytes::Bytes;
use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;

use crate::config::changes::Changes;
use crate::config::{Config, Rejected};
use crate::extensions::{Capability, Extension, Registry, Runtime, Surroundings};
use crate::gateway::{self, Checked, Generation};
use crate::providers::Directory;
use crate::storage::Store;

use attempt::{Attempt, History, Outcome, Refusal, Trigger};
use drain::Draining;
use kept::{Kept, Override, Published};
use live::{Audience, Canary, Live, Pinned, Shadowing, Who};
use observe::Watch;

pub use change::Change;
pub use reload::FileNow;
pub use swap::{Denied, Rollout, Wanted};

/// Attempts that outlive the process.
const KEPT_ATTEMPTS: usize = 50;

/// How long until it is tried again to keep what could not be kept for a restart.
const KEEP_AGAIN: Duration = Duration::from_secs(5);

/// How long an answer waits for the disk when what it tells has happened already.
const FIRST_TRY: Duration = Duration::from_millis(500);

/// How long the disk may take.
const DISK: Duration = Duration::from_secs(10);

/// Where the configuration is from, so that it can be read again.
#[derive(Debug, Clone)]
pub struct Sources {
    /// The file.
    pub config: PathBuf,
    /// `path=value` of the command line.
    pub set: Vec<String>,
    /// Folder of the components, when the command line gives one.
    pub components: Option<PathBuf>,
}

/// What serves, and everything that replaces it.
pub struct Deploy {
    live: ArcSwap<Live>,
    runtime: Runtime,
    store: Store,
    sources: Sources,
    kept: Kept,
    history: History,
    /// Whoever brings components or a configuration holds this from the beginning to the end.
    turn: tokio::sync::Mutex<()>,
    /// Whoever publishes holds this, and only for that: the way back is open while something else is being compiled.
    plan: tokio::sync::Mutex<Plan>,
    draining: Mutex<Vec<Draining>>,
    /// Every extension that was loaded and not shut down.
    loaded: Mutex<Vec<Arc<Extension>>>,
    /// Every extension that is still in memory.
    in_memory: Mutex<Vec<Weak<Extension>>>,
    /// Whoever looks at, or changes, what serves together with what drains and what is loaded.
    books: Mutex<()>,
    generations: AtomicU64,
    snapshots: AtomicU64,
    /// A watched file changed while a version was tried out, so it was not read.
    missed: AtomicBool,
    /// Ends the tasks that watch.
    stopping: CancellationToken,
}

/// What generations are made from.
#[derive(Clone)]
struct Plan {
    /// The text of the configuration's file, as it was read.
    text: Arc<str>,
    /// What was changed of providers.
    changes: Changes,
    config: Arc<Config>,
    providers: Arc<Directory>,
    extensions: Registry,
    /// Components in place of the configuration's.
    overrides: BTreeMap<String, Override>,
    /// The digests of the configuration's own components.
    bases: BTreeMap<String, String>,
    pins: Vec<pins::Pinned>,
    /// Versions that a rollback returns to, loaded, by extension.
    previous: BTreeMap<String, Arc<Extension>>,
    rollout: Option<Trial>,
    /// Versions that took over just now.
    watched: Vec<Arc<Watch>>,
}

/// A version that is tried out.
#[derive(Clone)]
struct Trial {
    watch: Arc<Watch>,
    kind: TrialKind,
}

/// What has to be true of the disk when something is published.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Keeping {
    /// A restart knows of it, or it is not published.
    Must,
    /// It is published whether or not, because it takes back what is worse; it is kept after.
    After,
}

/// What is to be kept, as it was at a moment.
struct Snapshot {
    deploy: Arc<Deploy>,
    number: u64,
    published: Arc<(Published, BTreeMap<String, Bytes>)>,
}

impl Snapshot {
    async fn write(&self) -> std::io::Result<()> {
        let (deploy, number, published) = (Arc::clone(&self.deploy), self.number, Arc::clone(&self.published));
        let written = tokio::task::spawn_blocking(move || deploy.kept.write(number, &published.0, &published.1));
        written.await.map_err(std::io::Error::other)?
    }
}

impl Trial {
    fn version(&self) -> &Arc<Extension> {
        &self.watch.version
    }
}

#[derive(Clone)]
enum TrialKind {
    Canary(Audience),
    Shadow(Shadowing),
}

impl Plan {
    /// All versions that are looked after.
    fn watches(&self) -> impl Iterator<Item = &Arc<Watch>> {
        self.watched.iter().chain(self.rollout.iter().map(|t| &t.watch))
    }

    /// Looks after this one no longer.
    fn let_go(&mut self, watch: &Arc<Watch>) {
        self.watched.retain(|w| !Arc::ptr_eq(w, watch));
    }

    /// A version that took over is watched for as long as it serves and the one before can be returned to.
    fn tidy(&mut self) {
        let Self { watched, extensions, previous, .. } = self;
        watched.retain(|w| {
            let serves = extensions.find(w.name()).is_some_and(|e| Arc::ptr_eq(e, &w.version));
            serves && previous.get(w.name()).is_some_and(|p| Arc::ptr_eq(p, &w.before))
        });
    }

    /// A version stands in place of the configuration's component, unless it is that.
    fn put_in_place(&mut self, extension: &Extension) {
        let name = extension.name();
        let base = self.bases.get(name).cloned().unwrap_or_default();
        let configured = self.config.extensions.get(name).and_then(|e| e.grant.clone());
        let grant = extension.source.config.grant.clone().filter(|_| extension.source.config.grant != configured);
        if extension.source.digest == base && grant.is_none() {
            self.overrides.remove(name);
            return;
        }
        let (grant, base_grant) = (grant.as_deref().map(names), configured.as_deref().map(names));
        let (digest, version) = (extension.source.digest.clone(), extension.manifest.version.clone());
        self.overrides.insert(name.to_owned(), Override { digest, version, base, grant, base_grant });
    }
}

impl Sources {
    /// Reads the configuration, with what is kept of changes of providers, and finds its components.
    pub fn read(&self) -> Result<Checked, Rejected> {
        gateway::read(&self.config, &self.set, self.components.as_deref(), None)
    }

    /// The same with these changes.
    fn read_with(&self, changes: &Changes) -> Result<Checked, Rejected> {
        gateway::read(&self.config, &self.set, self.components.as_deref(), Some(changes))
    }
}

impl Deploy {
    /// The first generation. It must run inside the runtime that will serve.
    pub async fn start(runtime: Runtime, store: Store, sources: Sources, checked: Checked) -> anyhow::Result<Arc<Self>> {
        let Checked { config, candidates, pinned, text, changes, .. } = checked;
        let config = Arc::new(config);
        let (kept, published) = Kept::open(config.deploy.state.as_deref())?;
        let bases = bases(&candidates);
        let (candidates, overrides) = reload::with_overrides(candidates, &published.overrides, &kept, &[]).map_err(anyhow::Error::msg)?;
        let providers = Arc::new(Directory::with_logins(Arc::clone(&store.logins)).rebuild(&config)?.with_virtual(&config, &store));
        let into = Surroundings { runtime: &runtime, config: &config, providers: &providers, store: &store };
        let extensions = Registry::load(candidates, &into).await.map_err(|(name, e)| match overrides.get(&name) {
            Some(own) => anyhow::anyhow!(
                "extension `{name}` {e}. It is version {}, which was put in the place of the configuration's and is kept in `deploy.state`; with another folder there the gateway starts with what the configuration says",
                own.version
            ),
            None => anyhow::anyhow!("extension `{name}` {e}"),
        })?;
        let pins = match pins::load(pinned, extensions.all(), &into).await {
            Ok(pins) => pins,
            Err(reason) => {
                extensions.shut_down().await;
                anyhow::bail!(reason);
            }
        };
        let loaded: Vec<_> = extensions.all().iter().chain(pins.iter().flat_map(|(_, e)| e)).cloned().collect();
        let plan = Plan {
            text: text.into(),
            changes,
            config,
            providers,
            extensions,
            overrides,
            bases,
            pins,
            previous: BTreeMap::new(),
            rollout: None,
            watched: Vec::new(),
        };
        let generations = AtomicU64::new(published.generation);
        let live = match assemble(&plan, None, &generations) {
            Ok(live) => live,
            Err(reason) => {
                for extension in loaded.iter().rev() {
                    extension.shut_down().await;
                }
                anyhow::bail!(reason);
            }
        };
        let deploy = Arc::new(Self {
            live: ArcSwap::from_pointee(live),
            runtime,
            store,
            sources,
            kept,
            history: History::new(published.history),
            turn: tokio::sync::Mutex::default(),
            plan: tokio::sync::Mutex::new(plan),
            draining: Mutex::default(),
            in_memory: Mutex::new(loaded.iter().map(Arc::downgrade).collect()),
            loaded: Mutex::new(loaded),
            books: Mutex::default(),
            generations,
            snapshots: AtomicU64::new(1),
            missed: AtomicBool::new(false),
            stopping: CancellationToken::new(),
        });
        let mut progress = deploy.history.begin(Trigger::Start, None, None);
        progress.attempt.generation = Some(deploy.live().stable.number);
        progress.end(Outcome::Published, None);
        // Its numbers are given once, also when this process is killed before anything else is kept.
        deploy.keep_after().await;
        files::watch(&deploy)?;
        Ok(deploy)
    }

    /// What serves now.
    pub fn live(&self) -> Guard<Arc<Live>> {
        self.live.load()
    }

    /// The attempts, newest first.
    pub fn history(&self) -> Vec<Arc<Attempt>> {
        self.history.newest_first()
    }

    /// The version that a rollback of an extension returns to.
    pub fn previous(&self, name: &str) -> Option<Arc<Extension>> {
        self.live().previous.get(name).cloned()
    }

    /// Number and extensions of the generations that drain.
    pub fn draining(&self) -> Vec<(u64, Vec<Arc<Extension>>)> {
        self.draining_generations().iter().map(|d| (d.number, d.extensions.clone())).collect()
    }

    /// How many extensions are in memory, those that drain included.
    pub fn extensions_in_memory(&self) -> usize {
        self.in_memory().len()
    }

    /// Ends what watches, then the extensions: first those that are not of the stable generation, then those in reverse order.
    pub async fn shut_down(&self) {
        self.stopping.cancel();
        let _turn = self.turn.lock().await;
        let plan = self.plan.lock().await;
        let stable = plan.extensions.all();
        let others: Vec<_> =
            std::mem::take(&mut *self.loaded()).into_iter().filter(|e| !stable.iter().any(|s| Arc::ptr_eq(s, e))).collect();
        for extension in others {
            extension.shut_down().await;
        }
        plan.extensions.shut_down().await;
    }

    /// Tries something, up to the end of the gateway. Until the last moment before it is published, nothing has changed.
    async fn unless_it_stops<T, E: From<Refusal>>(&self, tried: impl Future<Output = Result<T, E>>) -> Result<T, E> {
        tokio::select! {
            biased;
            tried = tried => tried,
            () = self.stopping.cancelled() => Err(Refusal("the gateway stops".into()).into()),
        }
    }

    /// Publishes what a plan says: all of it or, with a reason, nothing. Versions that it looks after are watched from here on, those that it no
    /// longer looks after are left alone.
    async fn publish(self: &Arc<Self>, turn: &mut Plan, mut plan: Plan, keeping: Keeping) -> Result<u64, String> {
        plan.tidy();
        let old = self.live.load_full();
        let live = assemble(&plan, Some(&old), &self.generations)?;
        let number = live.stable.number;
        if keeping == Keeping::Must {
            let kept = tokio::time::timeout(DISK, self.snapshot(&plan).write()).await;
            kept.unwrap_or_else(|_| Err(std::io::ErrorKind::TimedOut.into()))
                .map_err(|e| format!("it cannot be kept for a restart: {e}"))?;
        }
        let books = self.books.lock().unwrap_or_else(PoisonError::into_inner);
        for extension in live.extensions() {
            self.remember(extension);
            extension.recorder.set(plan.config.deploy.record, plan.config.deploy.record_bodies);
        }
        let is_in = |watch: &Arc<Watch>, plan: &Plan| plan.watches().any(|w| Arc::ptr_eq(w, watch));
        let begun: Vec<_> = plan.watches().filter(|w| !is_in(w, turn)).cloned().collect();
        // Before anybody meets them.
        begun.iter().for_each(|w| w.version.stats.tripwire().arm(plan.config.deploy.error_budget));
        self.live.store(Arc::new(live));
        for watch in turn.watches().filter(|w| !is_in(w, &plan)) {
            watch.end(plan.watches().any(|w| Arc::ptr_eq(&w.version, &watch.version)));
        }
        *turn = plan;
        begun.iter().for_each(|w| self.observe(turn, w));
        self.drain(&old);
        drop((books, old));
        self.sweep();
        Ok(number)
    }

    /// What a restart has to know, and the components of versions that may be wanted again. Later ones replace earlier ones, in whichever order
    /// they come to the disk.
    fn snapshot(self: &Arc<Self>, plan: &Plan) -> Snapshot {
        let generation = self.generations.load(Ordering::Relaxed);
        let (overrides, providers) = (plan.overrides.clone(), plan.changes.clone());
        let published = Published { generation, overrides, providers, history: self.history.ended(KEPT_ATTEMPTS) };
        let versions = plan.extensions.all().iter().chain(plan.pins.iter().flat_map(|(_, versions)| versions));
        let versions: BTreeMap<String, Bytes> = versions
            .chain(plan.previous.values())
            .filter(|e| self.kept.is_used() || plan.overrides.values().any(|o| o.digest == e.source.digest))
            .map(|e| (e.source.digest.clone(), e.source.bytes.clone()))
            .collect();
        Snapshot {
            deploy: Arc::clone(self),
            number: self.snapshots.fetch_add(1, Ordering::Relaxed),
            published: Arc::new((published, versions)),
        }
    }

    /// Something was published, or an attempt is over: what outlives the process is written. What fails is tried again until it works, or there
    /// is something later, or the gateway ends. This waits for the first try, but not for long.
    async fn keep_after(self: &Arc<Self>) {
        if !self.kept.is_used() {
            return;
        }
        let snapshot = self.snapshot(&*self.plan.lock().await);
        let (deploy, (tried, first_try)) = (Arc::clone(self), oneshot::channel::<()>());
        tokio::spawn(async move {
            let (mut failed, mut tried) = (false, Some(tried));
            while let Err(error) = snapshot.write().await {
                drop(tried.take());
                if !failed {
                    tracing::error!(%error, "what is published cannot be kept, so a restart would serve what was before; it is tried again");
                }
                failed = true;
                tokio::select! {
                    () = deploy.stopping.cancelled() => return,
                    () = tokio::time::sleep(KEEP_AGAIN) => {}
                }
                if snapshot.number + 1 < deploy.snapshots.load(Ordering::Relaxed) {
                    // A later one says more.
                    return;
                }
            }
            if failed {
                tracing::info!("what is published is kept again");
            }
        });
        // Whoever is told that something is over can rely on it after a restart, if the disk is well.
        let _ = tokio::time::timeout(FIRST_TRY, first_try).await;
    }

    /// An attempt is over that kept what it published. The rest can wait.
    fn keep_history(self: &Arc<Self>) {
        let deploy = Arc::clone(self);
        tokio::spawn(async move { deploy.keep_after().await });
    }

    /// A version is tried out no longer: what was not read meanwhile is read.
    fn catch_up(self: &Arc<Self>) {
        if self.missed.swap(false, Ordering::Relaxed) {
            let deploy = Arc::clone(self);
            tokio::spawn(async move { deploy.reload(Trigger::Watch).await });
        }
    }

    /// An extension is about to serve, or does already.
    fn remember(&self, extension: &Arc<Extension>) {
        let mut loaded = self.loaded();
        if loaded.iter().any(|e| Arc::ptr_eq(e, extension)) {
            return;
        }
        loaded.push(Arc::clone(extension));
        self.in_memory().push(Arc::downgrade(extension));
    }

    /// Those that are still there. A weak reference keeps the place of its extension, so none is kept for longer than that.
    fn in_memory(&self) -> MutexGuard<'_, Vec<Weak<Extension>>> {
        let mut all = self.in_memory.lock().unwrap_or_else(PoisonError::into_inner);
        all.retain(|e| e.strong_count() > 0);
        all
    }

    fn loaded(&self) -> MutexGuard<'_, Vec<Arc<Extension>>> {
        self.loaded.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn draining_generations(&self) -> MutexGuard<'_, Vec<Draining>> {
        self.draining.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn names(capabilities: &[Capability]) -> Vec<String> {
    capabilities.iter().map(|c| c.name().to_owned()).collect()
}

fn bases(candidates: &[crate::extensions::Candidate]) -> BTreeMap<String, String> {
    candidates.iter().map(|c| (c.manifest.name.clone(), c.digest.clone())).collect()
}

/// Makes the generations of a plan. One that serves already is taken as it is.
fn assemble(plan: &Plan, old: Option<&Live>, numbers: &AtomicU64) -> Result<Live, String> {
    let make = |extensions: &Registry| -> Result<Arc<Generation>, String> {
        let number = numbers.fetch_add(1, Ordering::Relaxed) + 1;
        Ok(Arc::new(Generation::assemble(number, Arc::clone(&plan.config), Arc::clone(&plan.providers), extensions.clone())?))
    };
    let is = |generation: &Generation, extensions: &Registry| {
        Arc::ptr_eq(&generation.config, &plan.config) && generation.extensions.is(extensions)
    };
    let generation = |extensions: &Registry| match old.and_then(|old| old.generations().find(|g| is(g, extensions))) {
        Some(same) => Ok(Arc::clone(same)),
        None => make(extensions),
    };
    // In the place of what is watched. Another one than served before: that one shall drain, and tell when it is gone.
    let fallback = |extensions: &Registry| match old.and_then(|old| old.fallbacks().find(|g| is(g, extensions))) {
        Some(same) => Ok(Arc::clone(same)),
        None => make(extensions),
    };
    let stable = generation(&plan.extensions)?;
    let (mut canary, mut shadow) = (None, None);
    if let Some(trial) = &plan.rollout {
        let extension = Arc::clone(trial.version());
        match &trial.kind {
            TrialKind::Canary(audience) => {
                let generation = generation(&plan.extensions.with_versions([&extension])?)?;
                canary = Some(Canary { generation, extension, audience: audience.clone() });
            }
            TrialKind::Shadow(shadowing) => shadow = Some(shadowing.clone()),
        }
    }
    // What stands by is a convenience. When the versions before do not fit what else changed, what fails is taken back without it.
    let stands_by = |pinned: &[Arc<Extension>]| {
        let before = plan.watched.iter().map(|w| &w.before);
        let found = plan.extensions.with_versions(before.chain(pinned)).and_then(|extensions| fallback(&extensions));
        found.inspect_err(|reason| tracing::warn!(reason, "nothing stands by for versions that are new")).ok()
    };
    let is_watched = !plan.watched.is_empty();
    let pinned = plan.pins.iter().map(|(who, versions)| {
        let generation = generation(&plan.extensions.with_versions(versions)?)?;
        let fallback = if is_watched { stands_by(versions) } else { None };
        Ok(Pinned { who: who.clone(), generation, fallback })
    });
    let pinned = pinned.collect::<Result<_, String>>()?;
    let fallback = if is_watched { stands_by(&[]) } else { None };
    let watched = plan.watched.iter().map(|w| Arc::clone(&w.version)).collect();
    Ok(Live { stable, canary, shadow, pinned, watched, fallback, previous: plan.previous.clone() })
}
