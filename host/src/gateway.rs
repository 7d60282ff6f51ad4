//! The composition root: the process, and the immutable snapshot that requests are pinned to.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use tokio::runtime::Handle;
use tokio_util::sync::{CancellationToken, DropGuard};
use tokio_util::task::TaskTracker;

use crate::config::changes::Changes;
use crate::config::problems::{Problem, Severity};
use crate::config::{Config, Reading, Rejected};
use crate::deploy::live::Who;
use crate::deploy::{Deploy, Sources, kept, pins};
use crate::extensions::{Candidate, Extension, Hook, Registry, Runtime, plan};
use crate::pipeline::{Recent, Routes};
use crate::providers::Directory;
use crate::providers::oauth::Logins;
use crate::storage::{self, Store};
use crate::telemetry::metrics::{ExtensionSeries, Page};
use crate::telemetry::otlp::{self, Otlp};
use crate::telemetry::process::Process;
use crate::telemetry::served::{Served, ServedPage};
use crate::telemetry::{ExtensionCosts, ProviderHealth, Stored};
use crate::virtual_providers::{Performance, persist};

/// The process. There is one; everything that may change while it runs is in its [`Generation`]s.
pub struct Gateway {
    /// What serves, and what replaces it.
    pub deploy: Arc<Deploy>,
    /// The last requests.
    pub recent: Recent,
    /// Work that goes on after a response was sent.
    pub background: TaskTracker,
    /// Where that work runs.
    pub handle: Handle,
    /// When the process began to serve.
    pub started: Instant,
    /// Numbers for the operator's monitoring.
    pub metrics: Page,
    /// What was served.
    pub served: Arc<Served>,
    /// The process itself.
    pub process: Arc<Process>,
    /// What sends traces and metrics to a collector, if that is wanted.
    pub otlp: Option<Arc<Otlp>>,
    store: Store,
    leaving: AtomicBool,
}

/// Configuration, extensions, routes and providers as they were published together. Nothing in it changes; a request keeps the
/// one that it began with.
pub struct Generation {
    /// Its number. Later ones have greater numbers, also after a restart if there is a `deploy.state`.
    pub number: u64,
    /// The settings.
    pub config: Arc<Config>,
    /// The providers.
    pub providers: Arc<Directory>,
    /// Provider for requests that no hook sent anywhere.
    pub default_provider: Option<String>,
    /// Who answers which path.
    pub routes: Routes,
    /// Extensions with this hook, in the order in which they run.
    pub before_generate: Vec<Arc<Extension>>,
    /// In reverse order.
    pub after_generate: Vec<Arc<Extension>>,
    /// In order.
    pub stream_filters: Vec<Arc<Extension>>,
    /// In order.
    pub provider_events: Vec<Arc<Extension>>,
    /// In order.
    pub attempts: Vec<Arc<Extension>>,
    /// In order.
    pub on_complete: Vec<Arc<Extension>>,
    /// Who compares answers, whoever has no other part in a request first.
    pub judges: Vec<Arc<Extension>>,
    /// Whether callers may switch any extension.
    pub switchable: bool,
    /// All of them.
    pub extensions: Registry,
    /// It was replaced, and the time of the requests that are still on it is up.
    pub expired: CancellationToken,
    gone: CancellationToken,
    _tells_when_it_is_gone: DropGuard,
}

impl Gateway {
    /// Loads everything that a configuration asks for. It must run inside the runtime that will serve.
    pub async fn start(sources: Sources, checked: Checked) -> anyhow::Result<Arc<Self>> {
        let store = storage::open(&checked.config.storage)?;
        store.limits.ready().await;
        let cache = checked.config.cache.clone().or_else(default_cache);
        let runtime = Runtime::start(cache.as_deref())?;
        let environment = |name: &str| std::env::var(name).ok();
        let otlp =
            checked.config.telemetry.otlp.as_ref().map(|settings| otlp::Prepared::new(settings, &environment)).transpose()?.flatten();
        let series = Arc::clone(&runtime.series);
        let deploy = Deploy::start(runtime, store.clone(), sources, checked).await?;
        let (served, process) = (Arc::<Served>::default(), Arc::<Process>::default());
        let gateway = Arc::new_cyclic(|gateway| {
            let otlp = otlp.map(|prepared| prepared.start(Weak::clone(gateway)));
            Self {
                metrics: metrics(gateway, series, &served, &process, store.clone(), otlp.as_ref()),
                served,
                process,
                deploy,
                recent: Recent::default(),
                background: TaskTracker::new(),
                handle: Handle::current(),
                started: Instant::now(),
                otlp,
                store,
                leaving: AtomicBool::new(false),
            }
        });
        tokio::spawn(keep_performance(Arc::downgrade(&gateway)));
        Ok(gateway)
    }

    /// It is going to stop: who spreads requests over gateways should leave this one out.
    pub fn leave(&self) {
        self.leaving.store(true, Ordering::Relaxed);
    }

    /// Whether it is going to stop.
    pub fn leaving(&self) -> bool {
        self.leaving.load(Ordering::Relaxed)
    }

    /// What is known of the members of virtual providers.
    pub fn performance(&self) -> &Performance {
        &self.store.performance
    }

    /// Whether it is known what extensions keep. Where gateways share it, it may have to be read first.
    pub fn keys_read(&self) -> bool {
        self.store.kv.is_read()
    }

    /// Who is logged in to providers.
    pub fn logins(&self) -> &Logins {
        &self.store.logins
    }

    /// Keeps that, beside those who serve: it may wait for the disk.
    async fn save_performance(&self) {
        let (config, store) = (Arc::clone(&self.deploy.live().stable.config), self.store.clone());
        // A panic was logged, and costs what was learnt since the last time.
        let _ = tokio::task::spawn_blocking(move || persist::save(&config, &store)).await;
    }

    /// Ends what runs in the background, then the extensions, in reverse order, then the store.
    pub async fn shut_down(&self) {
        self.background.close();
        self.background.wait().await;
        self.store.logins.finish().await;
        self.save_performance().await;
        tokio::join!(self.deploy.shut_down(), async {
            if let Some(otlp) = &self.otlp {
                otlp.shut_down().await;
            }
        });
        let store = self.store.clone();
        // The store's last write may wait for the disk.
        let flush = move || {
            store.kv.flush();
            store.records.flush();
        };
        let _ = tokio::task::spawn_blocking(flush).await;
    }
}

/// How often what is known of members of virtual providers is kept, if it changed.
const KEPT_EVERY: Duration = Duration::from_secs(10);

/// Keeps it for as long as the gateway is there.
async fn keep_performance(gateway: Weak<Gateway>) {
    loop {
        tokio::time::sleep(KEPT_EVERY).await;
        let Some(gateway) = gateway.upgrade() else { return };
        gateway.save_performance().await;
    }
}

/// The page of metrics.
fn metrics(
    gateway: &Weak<Gateway>,
    series: Arc<ExtensionSeries>,
    served: &Arc<Served>,
    process: &Arc<Process>,
    store: Store,
    otlp: Option<&Arc<Otlp>>,
) -> Page {
    let mut page = Page::default();
    page.register(Box::new(ServedPage(Arc::clone(served))));
    page.register(Box::new(Arc::clone(process)));
    page.register(Box::new(ExtensionCosts(Weak::clone(gateway))));
    page.register(Box::new(ProviderHealth(Weak::clone(gateway))));
    page.register(Box::new(series));
    page.register(Box::new(Stored(store)));
    if let Some(otlp) = otlp {
        page.register(otlp.page());
    }
    page
}

impl Generation {
    /// Puts together what was loaded. Fails when two extensions want the same path.
    pub fn assemble(number: u64, config: Arc<Config>, providers: Arc<Directory>, extensions: Registry) -> Result<Self, String> {
        let routes = Routes::build(&extensions)?;
        let only = match providers.entries().collect::<Vec<_>>().as_slice() {
            [only] => Some(only.name.clone()),
            _ => None,
        };
        let mut after_generate = extensions.with(Hook::AfterGenerate);
        after_generate.reverse();
        for extension in extensions.all() {
            extension.since(number);
        }
        let mut judges = extensions.with(Hook::Judge);
        judges.sort_by_key(|judge| judge.has(Hook::BeforeGenerate));
        let gone = CancellationToken::new();
        Ok(Self {
            number,
            default_provider: config.default_provider.clone().or(only),
            before_generate: extensions.with(Hook::BeforeGenerate),
            after_generate,
            stream_filters: extensions.with(Hook::StreamFilter),
            provider_events: extensions.with(Hook::ProviderEvents),
            attempts: extensions.with(Hook::Attempts),
            on_complete: extensions.with(Hook::OnComplete),
            judges,
            switchable: extensions.all().iter().any(|e| e.toggle.is_some()),
            config,
            providers,
            routes,
            extensions,
            expired: CancellationToken::new(),
            _tells_when_it_is_gone: gone.clone().drop_guard(),
            gone,
        })
    }

    /// Cancelled when nobody holds this generation any more.
    pub fn gone(&self) -> CancellationToken {
        self.gone.clone()
    }
}

/// A configuration that was read and found good, with the components that it wants.
pub struct Checked {
    /// The settings.
    pub config: Config,
    /// The components, in the order in which they run.
    pub candidates: Vec<Candidate>,
    /// Versions on which callers stay.
    pub pinned: Vec<(Who, Candidate)>,
    /// The text of the file.
    pub text: String,
    /// What was changed of providers on top of that.
    pub changes: Changes,
    /// What is not quite right.
    pub warnings: Vec<Problem>,
}

/// Reads a configuration, with what was changed of providers: this, or what is kept beside it.
pub fn reading(file: &Path, set: &[String], changes: Option<&Changes>) -> Reading {
    Reading::file(file, set, |source| changes.cloned().unwrap_or_else(|| kept::changes(source)))
}

/// The same, and finds its components. Reports everything that is wrong at once.
pub fn read(file: &Path, set: &[String], components: Option<&Path>, changes: Option<&Changes>) -> Result<Checked, Rejected> {
    let Reading { mut config, mut problems, source } = reading(file, set, changes);
    // What cannot be read at all would only cause follow-up messages.
    if problems.iter().any(|p| p.severity == Severity::Error && p.path.is_empty() && p.place != "--set") {
        return Err(Rejected(problems));
    }
    let folder = components_folder(&config, components);
    if let (Some(state), Some(folder)) = (&config.deploy.state, &folder)
        && is_same_folder(state, folder)
    {
        let message = "this is the folder of the components; versions that are kept there would be taken for the configuration's own. Give it a folder of its own.";
        let path = "deploy.state".to_owned();
        problems.push(Problem { severity: Severity::Error, place: source.place(&path), path, message: message.into() });
    }
    let candidates = plan(&config, folder.as_deref(), &source, &mut problems);
    storage::choose(&mut config, &candidates, &source, &mut problems);
    let pinned = pins::find(&config, folder.as_deref(), &source, &candidates, &mut problems);
    if problems.iter().any(|p| p.severity == Severity::Error) {
        return Err(Rejected(problems));
    }
    let (text, changes) = (source.text, source.changes);
    Ok(Checked { config, candidates, pinned, text, changes, warnings: problems })
}

fn is_same_folder(a: &Path, b: &Path) -> bool {
    a == b || a.canonicalize().is_ok_and(|a| b.canonicalize().is_ok_and(|b| a == b))
}

/// The folder of the components: the command line says it, or the configuration, or it is where they usually are.
pub fn components_folder(config: &Config, given: Option<&Path>) -> Option<PathBuf> {
    given.map(Path::to_owned).or_else(|| config.components.clone()).or_else(default_components)
}

/// Components beside the program, or where `cargo xtask build` leaves them.
fn default_components() -> Option<PathBuf> {
    let program = std::env::current_exe().ok()?;
    let folder = program.parent()?;
    [folder.join("components"), folder.join("../components"), PathBuf::from("components")].into_iter().find(|f| f.is_dir())
}

/// Compiled code goes to the user's cache.
fn default_cache() -> Option<PathBuf> {
    let cache = std::env::var_os("XDG_CACHE_HOME").filter(|v| !v.is_empty()).map(PathBuf::from);
    let home = || std::env::var_os("HOME").map(|h| PathBuf::from(h).join(".cache"));
    Some(cache.or_else(home)?.join("wasmgate"))
}
