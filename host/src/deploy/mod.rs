//! How what serves is replaced: every change is an attempt (`attempt`), takes its turn, passes the gate (`gate`), and ends in a generation that
//! is published (`live`). What was replaced drains (`drain`); a new version is watched (`observe`) and taken back by itself; files are watched
//! (`files`); what a restart has to know is kept (`kept`).
//!
//! What is absent: nothing here changes a generation. There is one way to publish, and until it is reached an attempt has changed nothing.

pub mod attempt;
mod drain;
mod files;
mod gate;
mod kept;
pub mod live;
mod observe;
pub mod pins;
mod reload;
mod swap;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use arc_swap::{ArcSwap, Guard};
use bytes::Bytes;
use tokio_util::sync::CancellationToken;

use crate::config::Config;
use crate::config::Rejected;
use crate::extensions::{Extension, Registry, Runtime, Surroundings};
use crate::gateway::{self, Checked, Generation};
use crate::providers::Directory;
use crate::storage::Store;

use attempt::{Attempt, History, Outcome, Refusal, Trigger};
use drain::Draining;
use kept::{Kept, Override, Published};
use live::{Audience, Canary, Fallback, Live, Shadowing, Who};

pub use swap::{Denied, Rollout, Wanted};

/// Attempts that outlive the process.
const KEPT_ATTEMPTS: usize = 50;

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
    /// Whoever changes something holds this from the beginning to the end.
    turn: tokio::sync::Mutex<Plan>,
    draining: Mutex<Vec<Draining>>,
    /// Every extension that was loaded and not shut down.
    loaded: Mutex<Vec<Arc<Extension>>>,
    /// Every extension that is still in memory.
    in_memory: Mutex<Vec<Weak<Extension>>>,
    /// Whoever looks at, or changes, what serves together with what drains and what is loaded.
    books: Mutex<()>,
    generations: AtomicU64,
    /// Ends the tasks that watch.
    stopping: CancellationToken,
}

/// What generations are made from.
#[derive(Clone)]
struct Plan {
    config: Arc<Config>,
    providers: Arc<Directory>,
    extensions: Registry,
    /// Components in place of the configuration's.
    overrides: BTreeMap<String, Override>,
    /// The digests of the configuration's own components.
    bases: BTreeMap<String, String>,
    pins: Vec<(Who, Vec<Arc<Extension>>)>,
    /// Versions that a rollback returns to, loaded, by extension.
    previous: BTreeMap<String, Arc<Extension>>,
    rollout: Option<Trial>,
    /// A version that took over and is watched, and the one before.
    watched: Option<(Arc<Extension>, Arc<Extension>)>,
    /// The task that watches a new version; cancelled when the version is replaced.
    observer: CancellationToken,
}

/// A version that is tried out.
#[derive(Clone)]
struct Trial {
    extension: Arc<Extension>,
    kind: TrialKind,
}

#[derive(Clone)]
enum TrialKind {
    Canary(Audience),
    Shadow(Shadowing),
}

impl Plan {
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
        let grant = grant.map(|g| g.iter().map(|c| c.name().to_owned()).collect());
        let (digest, version) = (extension.source.digest.clone(), extension.manifest.version.clone());
        self.overrides.insert(name.to_owned(), Override { digest, version, base, grant });
    }
}

impl Sources {
    /// Reads the configuration and finds its components.
    pub fn read(&self) -> Result<Checked, Rejected> {
        gateway::read(&self.config, &self.set, self.components.as_deref())
    }
}

impl Deploy {
    /// The first generation. It must run inside the runtime that will serve.
    pub async fn start(runtime: Runtime, store: Store, sources: Sources, checked: Checked) -> anyhow::Result<Arc<Self>> {
        let Checked { config, candidates, pinned, .. } = checked;
        let config = Arc::new(config);
        let (kept, published) = Kept::open(config.deploy.state.as_deref())?;
        let bases = bases(&candidates);
        let (candidates, overrides) = reload::with_overrides(candidates, &published.overrides, &kept).map_err(anyhow::Error::msg)?;
        let providers = Arc::new(Directory::build(&config)?);
        let into = Surroundings { runtime: &runtime, config: &config, providers: &providers, store: &store };
        let extensions = Registry::load(candidates, &into).await.map_err(|(name, e)| anyhow::anyhow!("extension `{name}` {e}"))?;
        let pins = match pins::load(pinned, &extensions, &into).await {
            Ok(pins) => pins,
            Err(reason) => {
                extensions.shut_down().await;
                anyhow::bail!(reason);
            }
        };
        let loaded: Vec<_> = extensions.all().iter().chain(pins.iter().flat_map(|(_, e)| e)).cloned().collect();
        let observer = CancellationToken::new();
        let plan = Plan {
            config,
            providers,
            extensions,
            overrides,
            bases,
            pins,
            previous: BTreeMap::new(),
            rollout: None,
            watched: None,
            observer,
        };
        let generations = AtomicU64::new(published.generation);
        let live = match assemble(&plan, None, &generations) {
            Ok(live) => live,
            Err(reason) => {
                plan.extensions.shut_down().await;
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
            turn: tokio::sync::Mutex::new(plan),
            draining: Mutex::default(),
            in_memory: Mutex::new(loaded.iter().map(Arc::downgrade).collect()),
            loaded: Mutex::new(loaded),
            books: Mutex::default(),
            generations,
            stopping: CancellationToken::new(),
        });
        let mut progress = deploy.history.begin(Trigger::Start, None, None);
        progress.attempt.generation = Some(deploy.live().stable.number);
        progress.end(Outcome::Published, None);
        files::watch(&deploy)?;
        Ok(deploy)
    }

    /// What serves now.
    pub fn live(&self) -> Guard<Arc<Live>> {
        self.live.load()
    }

    /// The attempts, newest first.
    pub fn history(&self) -> Vec<Attempt> {
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
        let mut all = self.in_memory.lock().unwrap_or_else(PoisonError::into_inner);
        all.retain(|e| e.strong_count() > 0);
        all.len()
    }

    /// Ends what watches, then the extensions: first those that are not of the stable generation, then those in reverse order.
    pub async fn shut_down(&self) {
        self.stopping.cancel();
        let plan = self.turn.lock().await;
        plan.observer.cancel();
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

    /// Publishes what a plan says: all of it or, with a reason, nothing.
    async fn publish(self: &Arc<Self>, turn: &mut Plan, mut plan: Plan) -> Result<u64, String> {
        let old = self.live.load_full();
        let live = assemble(&plan, Some(&old), &self.generations)?;
        let number = live.stable.number;
        self.keep(&plan, self.generations.load(Ordering::Relaxed)).await.map_err(|e| format!("it cannot be kept for a restart: {e}"))?;
        let books = self.books.lock().unwrap_or_else(PoisonError::into_inner);
        live.extensions().for_each(|extension| self.remember(extension));
        self.live.store(Arc::new(live));
        // What was watched is judged by what served before this; whoever published begins anew.
        turn.observer.cancel();
        plan.observer = CancellationToken::new();
        *turn = plan;
        self.drain(&old);
        drop((books, old));
        self.sweep();
        Ok(number)
    }

    /// Writes what a restart has to know, and the components of versions that may be wanted again.
    async fn keep(self: &Arc<Self>, plan: &Plan, generation: u64) -> std::io::Result<()> {
        let published = Published { generation, overrides: plan.overrides.clone(), history: self.history.ended(KEPT_ATTEMPTS) };
        let versions = plan.extensions.all().iter().chain(plan.pins.iter().flat_map(|(_, versions)| versions));
        let versions: BTreeMap<String, Bytes> = versions
            .chain(plan.previous.values())
            .filter(|e| self.kept.is_used() || plan.overrides.values().any(|o| o.digest == e.source.digest))
            .map(|e| (e.source.digest.clone(), e.source.bytes.clone()))
            .collect();
        let deploy = Arc::clone(self);
        tokio::task::spawn_blocking(move || deploy.kept.write(&published, &versions)).await.map_err(std::io::Error::other)?
    }

    /// An attempt is over; the history outlives the process.
    async fn note_end(self: &Arc<Self>, plan: &Plan) {
        if let Err(e) = self.keep(plan, self.generations.load(Ordering::Relaxed)).await {
            tracing::error!(error = %e, "the history of deployments could not be kept");
        }
    }

    /// An extension is about to serve, or does already.
    fn remember(&self, extension: &Arc<Extension>) {
        let mut loaded = self.loaded();
        if loaded.iter().any(|e| Arc::ptr_eq(e, extension)) {
            return;
        }
        loaded.push(Arc::clone(extension));
        self.in_memory.lock().unwrap_or_else(PoisonError::into_inner).push(Arc::downgrade(extension));
    }

    fn loaded(&self) -> MutexGuard<'_, Vec<Arc<Extension>>> {
        self.loaded.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn draining_generations(&self) -> MutexGuard<'_, Vec<Draining>> {
        self.draining.lock().unwrap_or_else(PoisonError::into_inner)
    }
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
    let (mut canary, mut shadow) = (None, None);
    let stable = generation(&plan.extensions)?;
    if let Some(Trial { extension, kind, .. }) = &plan.rollout {
        match kind {
            TrialKind::Canary(audience) => {
                let generation = generation(&plan.extensions.with_version(extension)?)?;
                canary = Some(Canary { generation, extension: Arc::clone(extension), audience: audience.clone() });
            }
            TrialKind::Shadow(shadowing) => shadow = Some(shadowing.clone()),
        }
    }
    let pinned = plan.pins.iter().map(|(who, versions)| {
        let extensions = versions.iter().try_fold(plan.extensions.clone(), |all, version| all.with_version(version))?;
        Ok((who.clone(), generation(&extensions)?))
    });
    let pinned = pinned.collect::<Result<_, String>>()?;
    let fallback = match &plan.watched {
        Some((version, before)) => {
            let extensions = plan.extensions.with_version(before)?;
            // Another one than served before: that one shall drain, and tell when it is gone.
            let known = old.and_then(|old| old.fallback.as_ref()).filter(|f| is(&f.generation, &extensions));
            let generation = known.map_or_else(|| make(&extensions), |f| Ok(Arc::clone(&f.generation)))?;
            Some(Fallback { watched: Arc::clone(version), generation })
        }
        None => None,
    };
    Ok(Live { stable, canary, shadow, pinned, fallback, previous: plan.previous.clone() })
}
