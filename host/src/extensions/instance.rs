//! One loaded extension and its instances.
//!
//! Instances are kept warm and checked out per call; a stream checks one out for its life. An instance whose call trapped, ran
//! over a limit, or was abandoned in the middle is dropped with its store and never used again.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::request;
use wasmtime::component::{Component, InstancePre, Linker};
use wasmtime::{Engine, Store};
use wasmtime_wasi_http::p2::bindings::exports::wasi::http::incoming_handler;

use super::bindings::exports::wasmgate::extension as own;
use super::clock::{Bounds, Spent, TookTooLong};
use super::hooks::CallError;
use super::limits::Limits;
use super::manifest::{Capability, Manifest, Toggle};
use super::recording::{Given, Recorder, Step};
use super::services::Services;
use super::shown::Shown;
use super::state::StoreState;
use super::stats::{Hook, Stats};
use super::surface::Surface;
use super::tape::Tape;
use super::{grants, imports, registry};
use crate::config::{ExtensionConfig, Isolation, OnErrors};
use crate::pipeline::Caller;

/// Package of the contract that this host speaks.
pub const CONTRACT: &str = "wasmgate:extension";
/// Its version.
pub const CONTRACT_VERSION: &str = "0.1.2";

/// Why a component was refused.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// The file cannot be read.
    #[error("cannot be read: {0}")]
    Read(#[from] std::io::Error),
    /// A folder, a device, a pipe.
    #[error("is no file")]
    NotAFile,
    /// More than any component has.
    #[error("has more than {0} bytes, which no component may have")]
    TooLarge(u64),
    /// No component with a manifest.
    #[error(transparent)]
    Manifest(#[from] super::manifest::ManifestError),
    /// It does not compile.
    #[error("does not compile: {0}")]
    Compile(String),
    /// It wants what it was not granted, or what does not exist.
    #[error("cannot be linked: {0}")]
    Link(String),
    /// An export has another shape than the contract says.
    #[error("exports `{export}` in a shape that the contract does not have: {reason}")]
    Export {
        /// The interface.
        export: String,
        /// What is different.
        reason: String,
    },
    /// It has nothing that the host could call.
    #[error(
        "exports no hook; an extension exports at least one interface of `{CONTRACT}@{CONTRACT_VERSION}`, or `wasi:http/incoming-handler`"
    )]
    NoHook,
    /// It refuses its configuration.
    #[error("refuses its configuration: {0}")]
    Configure(String),
    /// Its self-test failed.
    #[error("fails its self-test: {0}")]
    SelfTest(String),
    /// A call failed while it was loaded.
    #[error("fails while it is loaded: {0}")]
    Call(String),
}

/// A loaded extension.
pub struct Extension {
    /// What it says about itself.
    pub manifest: Manifest,
    /// Its name, for those who keep it beside a request.
    pub label: Arc<str>,
    /// What it was made from.
    pub source: Source,
    /// What its calls cost.
    pub stats: Arc<Stats>,
    /// What becomes of a request when one of its hooks fails.
    pub on_error: OnErrors,
    /// What it was granted.
    pub granted: Vec<Capability>,
    /// Whether callers may switch it for a request, and what holds when they say nothing.
    pub toggle: Option<Toggle>,
    /// Its last calls.
    pub recorder: Arc<Recorder>,
    pub(super) exports: Exports,
    pub(super) services: Arc<Services>,
    engine: Engine,
    pre: InstancePre<StoreState>,
    routes: std::sync::OnceLock<Vec<own::lifecycle::Route>>,
    operations: std::sync::OnceLock<Vec<own::operations::OperationRoute>>,
    configured: Vec<own::lifecycle::Route>,
    handover: Option<Handover>,
    /// The first generation that it was part of.
    since: std::sync::OnceLock<u64>,
    idle: Mutex<Vec<Instance>>,
}

/// What an extension was made from: equal ones are the same extension.
pub struct Source {
    /// `sha256:` and the digest of the component in hex.
    pub digest: String,
    /// The component itself, for those who have to keep it.
    pub bytes: Bytes,
    /// The names of what it imports and exports.
    pub surface: Surface,
    /// Where it is from.
    pub file: PathBuf,
    /// What the configuration says of it.
    pub config: ExtensionConfig,
    /// Its own settings with the sections that belong to it, as JSON.
    pub settings: String,
}

/// What the version before left for this one.
#[derive(Clone)]
pub struct Handover {
    /// The version that it is from.
    pub from: String,
    /// What it saved.
    pub bytes: Arc<[u8]>,
}

/// What a loaded extension is made from.
pub struct Parts {
    /// What it says about itself.
    pub manifest: Manifest,
    /// Its code.
    pub component: Component,
    /// What it is made from.
    pub source: Source,
    /// What the host offers it.
    pub services: Arc<Services>,
    /// What it was granted.
    pub granted: Vec<Capability>,
    /// What the version before left for it.
    pub handover: Option<Handover>,
    /// Keeps its last calls.
    pub recorder: Arc<Recorder>,
}

/// The hooks that a component exports; each is probed by itself.
pub struct Exports {
    lifecycle: Option<own::lifecycle::GuestIndices>,
    dialect: Option<own::dialect::GuestIndices>,
    operations: Option<own::operations::GuestIndices>,
    before_generate: Option<own::before_generate::GuestIndices>,
    after_generate: Option<own::after_generate::GuestIndices>,
    stream_filter: Option<own::stream_filter::GuestIndices>,
    provider_events: Option<own::provider_events::GuestIndices>,
    judge: Option<own::judge::GuestIndices>,
    attempts: Option<own::attempts::GuestIndices>,
    on_complete: Option<own::on_complete::GuestIndices>,
    handover: Option<own::handover::GuestIndices>,
    http: Option<incoming_handler::GuestIndices>,
}

/// The same hooks, ready to be called in one instance.
pub struct Guests {
    pub lifecycle: Option<own::lifecycle::Guest>,
    pub dialect: Option<own::dialect::Guest>,
    pub operations: Option<own::operations::Guest>,
    pub before_generate: Option<own::before_generate::Guest>,
    pub after_generate: Option<own::after_generate::Guest>,
    pub stream_filter: Option<own::stream_filter::Guest>,
    pub provider_events: Option<own::provider_events::Guest>,
    pub judge: Option<own::judge::Guest>,
    pub attempts: Option<own::attempts::Guest>,
    pub on_complete: Option<own::on_complete::Guest>,
    pub handover: Option<own::handover::Guest>,
    pub http: Option<incoming_handler::Guest>,
}

/// An instance with its store.
pub struct Instance {
    pub store: Store<StoreState>,
    pub guests: Guests,
}

/// A checked-out instance. It goes back to the warm ones when it is dropped between two calls, and nowhere when it is dropped
/// in the middle of one.
pub struct Lease {
    extension: Arc<Extension>,
    instance: Option<Instance>,
    call: Option<(Hook, Instant)>,
    broken: bool,
}

// === impl Exports ===

impl Exports {
    fn probe(component: &Component, pre: &InstancePre<StoreState>) -> Result<Self, LoadError> {
        /// The indices of one interface: none when it is not exported, an error when its shape is another one.
        fn one<I>(component: &Component, name: String, new: impl FnOnce() -> wasmtime::Result<I>) -> Result<Option<I>, LoadError> {
            if component.get_export_index(None, &name).is_none() {
                return Ok(None);
            }
            new().map(Some).map_err(|e| LoadError::Export { export: name, reason: format!("{e:#}") })
        }
        let name = |interface: &str| format!("{CONTRACT}/{interface}@{CONTRACT_VERSION}");
        let exports = Self {
            lifecycle: one(component, name("lifecycle"), || own::lifecycle::GuestIndices::new(pre))?,
            dialect: one(component, name("dialect"), || own::dialect::GuestIndices::new(pre))?,
            operations: one(component, name("operations"), || own::operations::GuestIndices::new(pre))?,
            before_generate: one(component, name("before-generate"), || own::before_generate::GuestIndices::new(pre))?,
            after_generate: one(component, name("after-generate"), || own::after_generate::GuestIndices::new(pre))?,
            stream_filter: one(component, name("stream-filter"), || own::stream_filter::GuestIndices::new(pre))?,
            provider_events: one(component, name("provider-events"), || own::provider_events::GuestIndices::new(pre))?,
            judge: one(component, name("judge"), || own::judge::GuestIndices::new(pre))?,
            attempts: one(component, name("attempts"), || own::attempts::GuestIndices::new(pre))?,
            on_complete: one(component, name("on-complete"), || own::on_complete::GuestIndices::new(pre))?,
            handover: one(component, name("handover"), || own::handover::GuestIndices::new(pre))?,
            http: one(component, "wasi:http/incoming-handler@0.2.0".into(), || incoming_handler::GuestIndices::new(pre))?,
        };
        let any = exports.dialect.is_some()
            || exports.before_generate.is_some()
            || exports.after_generate.is_some()
            || exports.stream_filter.is_some()
            || exports.provider_events.is_some()
            || exports.judge.is_some()
            || exports.attempts.is_some()
            || exports.on_complete.is_some()
            || exports.http.is_some();
        if any { Ok(exports) } else { Err(LoadError::NoHook) }
    }

    fn load(&self, store: &mut Store<StoreState>, instance: &wasmtime::component::Instance) -> wasmtime::Result<Guests> {
        Ok(Guests {
            lifecycle: self.lifecycle.as_ref().map(|i| i.load(&mut *store, instance)).transpose()?,
            dialect: self.dialect.as_ref().map(|i| i.load(&mut *store, instance)).transpose()?,
            operations: self.operations.as_ref().map(|i| i.load(&mut *store, instance)).transpose()?,
            before_generate: self.before_generate.as_ref().map(|i| i.load(&mut *store, instance)).transpose()?,
            after_generate: self.after_generate.as_ref().map(|i| i.load(&mut *store, instance)).transpose()?,
            stream_filter: self.stream_filter.as_ref().map(|i| i.load(&mut *store, instance)).transpose()?,
            provider_events: self.provider_events.as_ref().map(|i| i.load(&mut *store, instance)).transpose()?,
            judge: self.judge.as_ref().map(|i| i.load(&mut *store, instance)).transpose()?,
            attempts: self.attempts.as_ref().map(|i| i.load(&mut *store, instance)).transpose()?,
            on_complete: self.on_complete.as_ref().map(|i| i.load(&mut *store, instance)).transpose()?,
            handover: self.handover.as_ref().map(|i| i.load(&mut *store, instance)).transpose()?,
            http: self.http.as_ref().map(|i| i.load(&mut *store, instance)).transpose()?,
        })
    }
}

// === impl Extension ===

impl Extension {
    /// Links a component. Nothing of it runs before [`Extension::start`].
    pub fn link(engine: &Engine, parts: Parts) -> Result<Arc<Self>, LoadError> {
        let Parts { manifest, component, source, services, granted, handover, recorder } = parts;
        let config = &source.config;
        let mut linker = Linker::new(engine);
        let linked: Vec<_> = granted.iter().copied().chain(grants::withheld(&manifest, &granted)).collect();
        imports::link(&mut linker, &linked).map_err(|e| LoadError::Link(format!("{e:#}")))?;
        if let Some(reason) = grants::refusal(engine, &component, &linker, &manifest, &granted) {
            return Err(LoadError::Link(reason));
        }
        let pre = linker.instantiate_pre(&component).map_err(|e| LoadError::Link(format!("{e:#}")))?;
        let exports = Exports::probe(&component, &pre)?;
        Ok(Arc::new(Self {
            toggle: manifest.toggle.filter(|_| config.toggle),
            label: manifest.name.as_str().into(),
            manifest,
            stats: Arc::clone(&services.stats),
            on_error: config.on_error.clone(),
            granted,
            exports,
            services,
            engine: engine.clone(),
            pre,
            routes: std::sync::OnceLock::new(),
            operations: std::sync::OnceLock::new(),
            configured: config.routes.iter().map(|r| registry::http_route(r)).collect(),
            handover,
            recorder,
            since: std::sync::OnceLock::new(),
            idle: Mutex::new(Vec::new()),
            source,
        }))
    }

    /// Makes the first instance, which takes the configuration and says what it answers.
    pub async fn start(self: &Arc<Self>) -> Result<(), LoadError> {
        // It goes to the warm ones.
        self.check_out().await.map(drop).map_err(|e| match e {
            CallError::Refused(reason) => LoadError::Configure(reason),
            other => LoadError::Call(other.to_string()),
        })
    }

    /// Lets an instance test itself. It takes no traffic before.
    pub async fn self_test(self: &Arc<Self>) -> Result<(), LoadError> {
        let mut lease = self.check_out().await.map_err(|e| LoadError::Call(e.to_string()))?;
        lease.self_test().await
    }

    /// What an instance leaves for the next version, if the extension does that.
    pub async fn save(self: &Arc<Self>) -> Result<Option<Handover>, LoadError> {
        if self.exports.handover.is_none() {
            return Ok(None);
        }
        let mut lease = self.check_out().await.map_err(|e| LoadError::Call(e.to_string()))?;
        let saved = lease.save().await?;
        Ok(saved.map(|bytes| Handover { from: self.manifest.version.clone(), bytes: bytes.into() }))
    }

    /// Calls, those that trapped or reached a limit, and their cost in seconds of CPU time.
    pub fn totals(&self) -> (u64, u64, f64) {
        self.stats
            .hooks()
            .filter(|(hook, _)| *hook != Hook::Configure)
            .fold((0, 0, 0.0), |(calls, failures, cost), (_, t)| (calls + t.calls, failures + t.failures, cost + t.guest + t.host))
    }

    /// The first generation that it was part of; this one, when it was of none before.
    pub fn since(&self, generation: u64) -> u64 {
        *self.since.get_or_init(|| generation)
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.manifest.name
    }

    /// The paths that it wants to answer.
    pub fn routes(&self) -> impl Iterator<Item = &own::lifecycle::Route> {
        self.routes.get().into_iter().flatten().chain(&self.configured)
    }

    /// The paths where operations of its dialect arrive.
    pub fn operations(&self) -> impl Iterator<Item = &own::operations::OperationRoute> {
        self.operations.get().into_iter().flatten()
    }

    /// Whether it has a hook.
    pub fn has(&self, hook: Hook) -> bool {
        match hook {
            Hook::Configure => self.exports.lifecycle.is_some(),
            Hook::Accept | Hook::Decode | Hook::EncodeAnswer | Hook::EncodeError | Hook::Encoder => self.exports.dialect.is_some(),
            Hook::AcceptOperation | Hook::AnswerOperation => self.exports.operations.is_some(),
            Hook::BeforeGenerate => self.exports.before_generate.is_some(),
            Hook::AfterGenerate => self.exports.after_generate.is_some(),
            Hook::StreamFilter => self.exports.stream_filter.is_some(),
            Hook::ProviderEvents => self.exports.provider_events.is_some(),
            Hook::Judge => self.exports.judge.is_some(),
            Hook::Attempts => self.exports.attempts.is_some(),
            Hook::OnComplete => self.exports.on_complete.is_some(),
            Hook::Http => self.exports.http.is_some(),
        }
    }

    /// Its limits.
    pub fn limits(&self) -> &Limits {
        &self.services.limits
    }

    /// An instance of one's own until the lease is dropped.
    pub async fn check_out(self: &Arc<Self>) -> Result<Lease, CallError> {
        let warm = self.idle.lock().unwrap_or_else(PoisonError::into_inner).pop();
        let instance = match warm {
            Some(instance) => instance,
            None => self.fresh(StoreState::new(Arc::clone(&self.services))).await.inspect_err(|e| {
                // Other failures were counted where they happened.
                if let CallError::Refused(_) = e {
                    self.stats.tripwire().failure();
                }
            })?,
        };
        Ok(Lease { extension: Arc::clone(self), instance: Some(instance), call: None, broken: false })
    }

    /// The last call: the extension goes.
    pub async fn shut_down(self: &Arc<Self>) {
        if self.exports.lifecycle.is_some()
            && let Ok(mut lease) = self.check_out().await
        {
            lease.shut_down().await;
        }
        self.idle.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }

    /// A new instance, configured.
    pub(super) async fn fresh(self: &Arc<Self>, state: StoreState) -> Result<Instance, CallError> {
        let begin = Instant::now();
        let mut store = Store::new(&self.engine, state);
        store.limiter(|state| state.limiter());
        store.epoch_deadline_callback(|mut context| context.data_mut().on_tick());
        store.call_hook(|mut context, hook| {
            context.data_mut().on_transition(hook);
            Ok(())
        });
        store.set_epoch_deadline(1);
        store.set_hostcall_fuel(self.services.limits.host_call_bytes);
        store.data_mut().begin(START_CPU);
        let made = self.pre.instantiate_async(&mut store).await.and_then(|i| self.exports.load(&mut store, &i));
        let guests = made.map_err(|e| self.failed(&store, Hook::Configure, e))?;
        let mut instance = Instance { store, guests };
        if let Some(lifecycle) = &instance.guests.lifecycle {
            instance.store.data_mut().begin(START_CPU);
            instance.store.set_epoch_deadline(1);
            let call = lifecycle.call_configure(&mut instance.store, &self.source.settings);
            let registration = match tokio::time::timeout(self.services.limits.wall.max(START_CPU), call).await {
                Err(_) => return Err(self.limited(&instance.store, Hook::Configure, "wall_ms")),
                Ok(Err(e)) => return Err(self.failed(&instance.store, Hook::Configure, e)),
                Ok(Ok(Err(reason))) => return Err(CallError::Refused(reason)),
                Ok(Ok(Ok(registration))) => registration,
            };
            // The first instance speaks for all: configuration is all that routes may depend on.
            let _ = self.routes.set(registration.routes);
        }
        if let (Some(guest), None) = (&instance.guests.operations, self.operations.get()) {
            instance.store.data_mut().begin(START_CPU);
            instance.store.set_epoch_deadline(1);
            let call = guest.call_routes(&mut instance.store);
            match tokio::time::timeout(self.services.limits.wall.max(START_CPU), call).await {
                Err(_) => return Err(self.limited(&instance.store, Hook::Configure, "wall_ms")),
                Ok(Err(e)) => return Err(self.failed(&instance.store, Hook::Configure, e)),
                Ok(Ok(routes)) => drop(self.operations.set(routes)),
            }
        }
        if let (Some(guest), Some(left)) = (&instance.guests.handover, &self.handover) {
            instance.store.data_mut().begin(START_CPU);
            instance.store.set_epoch_deadline(1);
            instance.store.set_hostcall_fuel(self.services.limits.host_call_bytes);
            let call = guest.call_load(&mut instance.store, &left.from, &left.bytes);
            match tokio::time::timeout(self.services.limits.wall.max(START_CPU), call).await {
                Err(_) => return Err(self.limited(&instance.store, Hook::Configure, "wall_ms")),
                Ok(Err(e)) => return Err(self.failed(&instance.store, Hook::Configure, e)),
                Ok(Ok(Err(reason))) => return Err(CallError::Refused(format!("what version {} left: {reason}", left.from))),
                Ok(Ok(Ok(()))) => {}
            }
        }
        let state = instance.store.data();
        if !state.is_replay() {
            self.stats.record(Hook::Configure, state.spent(begin.elapsed()), state.crossed, false);
        }
        Ok(instance)
    }

    /// Turns what wasmtime says into what the gateway says. Unless it happened in a replay, it is counted, and the operator told.
    pub(super) fn failed(&self, store: &Store<StoreState>, hook: Hook, error: wasmtime::Error) -> CallError {
        let state = store.data();
        let extension = self.name().to_owned();
        // The engine has no type for this one.
        let copied = || format!("{error:#}").contains("fuel allocated for hostcalls").then_some("host_call_bytes");
        if let Some(limit) = state.exhausted().or_else(copied) {
            return self.limited(store, hook, limit);
        }
        if let Some(wasmtime::PoolConcurrencyLimitError { .. }) = error.downcast_ref() {
            tracing::error!(extension, "no instance is free");
            return CallError::Exhausted { extension };
        }
        let panic = state.panic.as_deref().unwrap_or_default();
        if !state.is_replay() {
            self.stats.trap();
            tracing::error!(extension, hook = hook.name(), panic, error = %format!("{error:#}"), "extension trapped");
        }
        // The guest's own words say more than the engine's. Callers see neither.
        let reason = if panic.is_empty() { error.root_cause().to_string() } else { panic.to_owned() };
        CallError::Trap { extension, hook, reason }
    }

    fn limited(&self, store: &Store<StoreState>, hook: Hook, limit: &'static str) -> CallError {
        if store.data().is_replay() {
            return CallError::Limit { extension: self.name().to_owned(), hook, limit };
        }
        self.stopped(hook, limit)
    }
}

impl Extension {
    /// A limit was hit: counts it and tells the operator.
    pub fn stopped(&self, hook: Hook, limit: &'static str) -> CallError {
        let extension = self.name().to_owned();
        self.stats.limit(limit);
        tracing::error!(extension, hook = hook.name(), limit, "extension stopped at a limit");
        CallError::Limit { extension, hook, limit }
    }
}

/// How much larger records may be than the text that they were read from.
const RECORDS_PER_TEXT: usize = 8;

/// Guest time to start and configure an instance. Larger than a call's: it happens once, and may read a long configuration.
const START_CPU: Duration = Duration::from_millis(500);

// === impl Instance ===

impl Instance {
    /// Begins a call that has to read about this many bytes, in somebody's name or in nobody's.
    pub fn begin(&mut self, limits: &Limits, bytes: usize, caller: Option<Caller>) -> Bounds {
        let state = self.store.data_mut();
        state.begin(limits.cpu_for(bytes));
        state.caller = caller;
        let bounds = Bounds { began: Instant::now(), wall: limits.wall, clock: state.clock() };
        self.store.set_epoch_deadline(1);
        // What a guest was given to read it may give back, in records that are larger than their text.
        self.store.set_hostcall_fuel(limits.host_call_bytes + bytes * RECORDS_PER_TEXT);
        bounds
    }
}

// === impl Lease ===

impl Lease {
    /// Begins a call, see [`Instance::begin`].
    pub fn begin(&mut self, hook: Hook, bytes: usize, caller: Option<Caller>) -> (&mut Instance, Bounds) {
        let instance = self.instance.as_mut().expect("a lease holds its instance until it is dropped");
        let bounds = instance.begin(&self.extension.services.limits, bytes, caller);
        self.call = Some((hook, bounds.began));
        (instance, bounds)
    }

    /// Begins the recording of the calls that follow, if somebody wants them.
    pub fn record(&mut self, hook: Hook, bytes: usize, head: Option<&request::Parts>, given: impl FnOnce() -> Given) {
        if let Some(draft) = self.extension.recorder.begin(hook, bytes, head, given) {
            self.state().record(draft);
        }
    }

    /// A stream that may be recorded goes on.
    pub fn record_step(&mut self, step: impl FnOnce() -> Step) {
        self.state().draft(|draft| draft.step(step()));
    }

    /// A call that may be recorded is over.
    pub fn record_end<R: Shown>(&mut self, result: &Result<R, CallError>, spent: Spent) {
        self.state().draft(|draft| match result {
            Ok(result) => draft.gave(&result.shown(), spent),
            Err(error) => draft.failed(error, spent),
        });
    }

    /// What was recorded is complete.
    pub fn keep_recording(&mut self) {
        let state = self.state();
        if let Some(Tape::Recording(draft)) = state.tape.take().map(|tape| *tape)
            // No replay could be answered by the network.
            && !state.sent_requests()
        {
            self.extension.recorder.keep(*draft);
        }
    }

    fn state(&mut self) -> &mut StoreState {
        self.instance.as_mut().expect("a lease holds its instance until it is dropped").store.data_mut()
    }

    /// Ends the call: counts it, and turns a failure into an error.
    pub fn end<R>(&mut self, result: Result<wasmtime::Result<R>, TookTooLong>) -> (Result<R, CallError>, Spent) {
        let (hook, begun) = self.call.take().expect("a call was begun");
        let instance = self.instance.as_mut().expect("a lease holds its instance until it is dropped");
        // An instance that is kept must not keep a request, and with it a generation.
        instance.store.data_mut().caller = None;
        let state = instance.store.data();
        let spent = state.spent(begun.elapsed());
        let result = match result {
            Ok(Ok(value)) => Ok(value),
            Ok(Err(error)) => Err(self.extension.failed(&instance.store, hook, error)),
            Err(TookTooLong) => Err(self.extension.stopped(hook, "wall_ms")),
        };
        self.broken |= result.is_err();
        self.extension.stats.record(hook, spent, state.crossed, result.is_err());
        self.extension.stats.memory(state.peak_memory());
        (result, spent)
    }

    /// The instance is not to be used again.
    pub fn retire(&mut self) {
        self.broken = true;
    }

    /// The extension that the instance is of.
    pub fn extension(&self) -> &Arc<Extension> {
        &self.extension
    }

    async fn self_test(&mut self) -> Result<(), LoadError> {
        if self.extension.exports.lifecycle.is_none() {
            return Ok(());
        }
        let (instance, bounds) = self.begin(Hook::Configure, 0, None);
        instance.store.data_mut().begin(START_CPU);
        let lifecycle = instance.guests.lifecycle.as_ref().expect("probed above");
        let result = bounds.run(lifecycle.call_self_test(&mut instance.store)).await;
        match self.end(result).0 {
            Ok(Ok(())) => Ok(()),
            Ok(Err(reason)) => Err(LoadError::SelfTest(reason)),
            Err(e) => Err(LoadError::Call(e.to_string())),
        }
    }

    async fn save(&mut self) -> Result<Option<Vec<u8>>, LoadError> {
        let (instance, bounds) = self.begin(Hook::Configure, 0, None);
        instance.store.data_mut().begin(START_CPU);
        let guest = instance.guests.handover.as_ref().expect("probed by the caller");
        let result = bounds.run(guest.call_save(&mut instance.store)).await;
        self.end(result).0.map_err(|e| LoadError::Call(e.to_string()))
    }

    async fn shut_down(&mut self) {
        let (instance, bounds) = self.begin(Hook::Configure, 0, None);
        let Some(lifecycle) = instance.guests.lifecycle.as_ref() else { return };
        let result = bounds.run(lifecycle.call_shutdown(&mut instance.store)).await;
        // A failure was logged; the extension goes anyway.
        let _ = self.end(result);
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        let abandoned = self.call.is_some();
        let Some(instance) = self.instance.take() else { return };
        // An answer that it did not let go of holds its request, and with it a generation.
        let holds = instance.store.data().open_answers > 0;
        if holds || abandoned || self.broken || self.extension.source.config.isolation == Isolation::PerRequest {
            return;
        }
        let mut idle = self.extension.idle.lock().unwrap_or_else(PoisonError::into_inner);
        if idle.len() < self.extension.services.limits.warm_instances {
            idle.push(instance);
        }
    }
}
