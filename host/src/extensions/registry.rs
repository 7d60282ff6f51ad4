//! Which extensions a configuration wants, where their components are, and in which order they run.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use serde_json::Value;
use tokio::sync::Semaphore;
use wasmtime::Engine;
use wasmtime::component::Component;

use super::bindings::exports::wasmgate::extension::lifecycle::{Route, RouteKind};
use super::cache::{CodeCache, Origin};
use super::instance::{Extension, Handover, LoadError, Parts, Source};
use super::manifest::{self, Capability, Manifest, ManifestError};
use super::outbound::Outbound;
use super::recording::Recorder;
use super::services::{Entrusted, LogGate, Services};
use super::stats::Hook;
use super::surface::Surface;
use super::{engine, grants};
use crate::config::problems::{Problem, Severity, suggestion};
use crate::config::{self, Config, ExtensionConfig, own_names};
use crate::digest;
use crate::providers::Directory;
use crate::storage::Store;
use crate::telemetry::metrics::ExtensionSeries;

/// What the process has once for all extensions of all generations.
#[derive(Clone)]
pub struct Runtime {
    engine: Engine,
    cache: CodeCache,
    /// Numbers of extensions for the operator's monitoring; they go on when an extension is replaced.
    pub series: Arc<ExtensionSeries>,
    /// Compiling takes whole processors: one at a time.
    compiling: Arc<Semaphore>,
}

impl Runtime {
    /// Sets up the engine and its clock.
    pub fn start(cache: Option<&Path>) -> anyhow::Result<Self> {
        let engine = engine::build()?;
        engine::start_clock(&engine);
        Ok(Self { engine, cache: CodeCache::open(cache), series: Arc::default(), compiling: Arc::new(Semaphore::new(1)) })
    }
}

impl Runtime {
    /// Compiles a component, or finds it compiled, off the request path. What takes too long is left to end by itself; until then nothing
    /// else is compiled.
    pub async fn compile(&self, bytes: Bytes, limit: Duration) -> Result<(Component, Origin), LoadError> {
        let (engine, cache) = (self.engine.clone(), self.cache.clone());
        let permit = Arc::clone(&self.compiling).acquire_owned();
        let compiled = async {
            let permit = permit.await;
            tokio::task::spawn_blocking(move || {
                let _one_at_a_time = permit;
                cache.load(&engine, &bytes)
            })
            .await
        };
        match tokio::time::timeout(limit, compiled).await {
            Err(_) => Err(LoadError::Compile(format!("it took longer than {limit:?} (`deploy.compile_timeout`)"))),
            Ok(Err(e)) => Err(LoadError::Compile(e.to_string())),
            Ok(Ok(result)) => result.map_err(|e| LoadError::Compile(format!("{e:#}"))),
        }
    }
}

/// The extensions of a generation, in the order in which they run.
#[derive(Default, Clone)]
pub struct Registry {
    extensions: Vec<Arc<Extension>>,
}

/// A component that the configuration wants, before anything of it was compiled.
#[derive(Clone)]
pub struct Candidate {
    /// What it says about itself.
    pub manifest: Manifest,
    /// The component.
    pub bytes: Bytes,
    /// `sha256:` and the digest of the bytes in hex.
    pub digest: String,
    /// Where it is from.
    pub file: PathBuf,
    /// What the configuration says of it.
    pub config: ExtensionConfig,
}

/// What extensions are loaded into.
pub struct Surroundings<'a> {
    /// The engine and what goes with it.
    pub runtime: &'a Runtime,
    /// The settings.
    pub config: &'a Config,
    /// The providers.
    pub providers: &'a Arc<Directory>,
    /// The store.
    pub store: &'a Store,
}

/// What has a place in the order.
pub trait Ordered {
    /// It says after whom.
    fn manifest(&self) -> &Manifest;
}

impl Ordered for Candidate {
    fn manifest(&self) -> &Manifest {
        &self.manifest
    }
}

impl Ordered for Arc<Extension> {
    fn manifest(&self) -> &Manifest {
        &self.manifest
    }
}

impl Candidate {
    /// With the digest of its bytes.
    pub fn new(manifest: Manifest, bytes: impl Into<Bytes>, file: PathBuf, config: ExtensionConfig) -> Self {
        let bytes = bytes.into();
        Self { manifest, digest: digest::named(&bytes), bytes, file, config }
    }
}

/// Finds the wanted components, reads their manifests, gives every section of the configuration to its owner, and orders them.
/// Compiles and runs nothing.
pub fn plan(config: &Config, folder: Option<&Path>, source: &config::Source, problems: &mut Vec<Problem>) -> Vec<Candidate> {
    let mut report = |severity, path: String, message: String| {
        problems.push(Problem { severity, place: source.place(&path), path, message });
    };
    let mut broken = BTreeSet::new();
    let mut available = available(folder, &mut |file, reason| {
        broken.extend(file.file_stem().map(|stem| stem.to_string_lossy().into_owned()));
        report(Severity::Warning, String::new(), format!("`{}` {reason}", file.display()));
    });
    let mut candidates = Vec::new();
    for (name, extension) in &config.extensions {
        let path = format!("extensions.{name}");
        let found = match &extension.component {
            Some(file) => Some((file.clone(), read_named(file, name, extension))),
            None => available.remove(name).map(|(file, bytes, manifest)| (file, Ok((bytes, manifest)))),
        };
        if !extension.enabled {
            continue;
        }
        match found {
            Some((file, Ok((bytes, manifest)))) if manifest.name == *name => {
                // Whoever writes a list knows what is not in it.
                let granted = grants::granted(&manifest, None);
                let withheld = grants::withheld(&manifest, &granted);
                if extension.grant.is_none() && !withheld.is_empty() {
                    let names: Vec<_> = withheld.iter().map(|c| format!("`{}`", c.name())).collect();
                    let line = grants::line(&manifest, &granted, withheld);
                    let message = format!("`{name}` was not granted {}, so what needs it is refused. Set `{line}`.", names.join(", "));
                    report(Severity::Warning, path, message);
                }
                candidates.push(Candidate::new(manifest, bytes, file, extension.clone()));
            }
            Some((file, Ok((_, manifest)))) => {
                report(Severity::Error, path, format!("`{}` is the extension `{}`, not `{name}`.", file.display(), manifest.name));
            }
            Some((file, Err(reason))) => report(Severity::Error, path, format!("`{}`: {reason}.", file.display())),
            None => {
                let place =
                    folder.map_or("no components folder was found".to_owned(), |f| format!("`{}` has no such component", f.display()));
                let hint = suggestion(name, available.keys().map(String::as_str));
                // A name that is nearly another one is a slip of the pen, where nothing is there at all the folder is wrong, and a file that
                // cannot be read is there. Otherwise the extension may just not be there yet.
                let nothing = available.is_empty() && candidates.is_empty();
                let wrong = extension.required || !hint.is_empty() || nothing || broken.contains(name);
                let severity = if wrong { Severity::Error } else { Severity::Warning };
                report(
                    severity,
                    path,
                    format!(
                        "{place}, so the extension `{name}` cannot be loaded.{hint} Set `component` to its file, `components` to its folder, or `enabled: false`."
                    ),
                );
            }
        }
    }
    // A section at the top calls for the extension that owns it, listed or not.
    let disabled: BTreeSet<&String> = config.extensions.iter().filter(|(_, e)| !e.enabled).map(|(n, _)| n).collect();
    let called = available.into_iter().filter(|(name, (_, _, manifest))| {
        !disabled.contains(name) && manifest.sections.keys().any(|s| section(&config.sections, s).is_some())
    });
    candidates.extend(called.map(|(_, (file, bytes, manifest))| Candidate::new(manifest, bytes, file, ExtensionConfig::default())));

    for (name, value) in &config.sections {
        let mut owned = candidates.iter().flat_map(|c| c.manifest.sections.keys().chain(c.manifest.shares.keys()));
        if owned.any(|s| s.split('.').next() == Some(name)) {
            for message in unclaimed(name, value, &candidates) {
                report(Severity::Error, name.clone(), message);
            }
            continue;
        }
        let known: Vec<&str> =
            own_names().iter().copied().chain(candidates.iter().flat_map(|c| c.manifest.sections.keys()).map(String::as_str)).collect();
        let hint = suggestion(name, known.into_iter());
        report(Severity::Error, name.clone(), format!("there is no such setting, and no loaded extension takes it.{hint}"));
    }
    order(candidates, &mut |severity, name, message| report(severity, format!("extensions.{name}"), message))
}

/// Members of a section of which only parts are owned (`endpoints.openai`) that nobody owns.
fn unclaimed(name: &str, value: &Value, candidates: &[Candidate]) -> Vec<String> {
    let owners: Vec<&str> =
        candidates.iter().flat_map(|c| c.manifest.sections.keys().chain(c.manifest.shares.keys())).map(String::as_str).collect();
    if owners.contains(&name) {
        return Vec::new();
    }
    let members = value.as_object().into_iter().flatten().map(|(k, _)| format!("{name}.{k}"));
    members.filter(|m| !owners.contains(&m.as_str())).map(|m| format!("no loaded extension takes `{m}`.")).collect()
}

/// All components of a folder, by name.
fn available(folder: Option<&Path>, broken: &mut dyn FnMut(&Path, String)) -> BTreeMap<String, (PathBuf, Vec<u8>, Manifest)> {
    let mut found = BTreeMap::new();
    let Some(Ok(entries)) = folder.map(std::fs::read_dir) else { return found };
    let mut files: Vec<PathBuf> = entries.flatten().map(|e| e.path()).filter(|p| p.extension().is_some_and(|e| e == "wasm")).collect();
    files.sort();
    for file in files {
        match read(&file) {
            Ok((bytes, manifest)) => {
                // Other versions may lie beside it; the one that has the extension's name is meant.
                let is_meant = file.file_stem().is_some_and(|stem| *stem == *manifest.name);
                if is_meant || !found.contains_key(&manifest.name) {
                    found.insert(manifest.name.clone(), (file, bytes, manifest));
                }
            }
            Err(reason) => broken(&file, format!("is skipped: {reason}.")),
        }
    }
    found
}

/// Longest component, in bytes. Those with a whole interpreter of Python in them have 40 MiB.
pub const MAX_COMPONENT: u64 = 256 << 20;

/// The bytes of a component's file, which must be an ordinary one and not too long.
pub fn bytes(file: &Path) -> Result<Vec<u8>, LoadError> {
    // Before it is opened: a pipe would wait for somebody who writes.
    let meta = std::fs::metadata(file)?;
    if !meta.is_file() {
        return Err(LoadError::NotAFile);
    }
    if meta.len() > MAX_COMPONENT {
        return Err(LoadError::TooLarge(MAX_COMPONENT));
    }
    let mut bytes = Vec::with_capacity(meta.len() as usize);
    std::fs::File::open(file)?.take(MAX_COMPONENT).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// A component's file, with its manifest.
pub fn read(file: &Path) -> Result<(Vec<u8>, Manifest), LoadError> {
    let bytes = bytes(file)?;
    let manifest = manifest::read(&bytes)?;
    Ok((bytes, manifest))
}

/// The manifest of a component. One that has none, and that the configuration mounts by routes, may be off a shelf: it is given one.
pub fn manifest_of(bytes: &[u8], name: &str, config: &ExtensionConfig) -> Result<Manifest, ManifestError> {
    match manifest::read(bytes) {
        Err(ManifestError::Missing) if !config.routes.is_empty() => Ok(Manifest::off_the_shelf(name)),
        manifest => manifest,
    }
}

/// The component of a file that the configuration names.
fn read_named(file: &Path, name: &str, config: &ExtensionConfig) -> Result<(Vec<u8>, Manifest), LoadError> {
    let bytes = bytes(file)?;
    let manifest = manifest_of(&bytes, name, config)?;
    Ok((bytes, manifest))
}

/// The part of the top-level sections at a dotted path.
fn section<'a>(sections: &'a BTreeMap<String, Value>, path: &str) -> Option<&'a Value> {
    let (first, rest) = path.split_once('.').map_or((path, None), |(f, r)| (f, Some(r)));
    let mut value = sections.get(first)?;
    for name in rest.into_iter().flat_map(|r| r.split('.')) {
        value = value.get(name)?;
    }
    Some(value)
}

/// Sorts by dependencies, then priority, then name. What cannot be ordered is reported with the whole chain.
pub fn order<T: Ordered>(candidates: Vec<T>, report: &mut dyn FnMut(Severity, &str, String)) -> Vec<T> {
    let mut waiting: BTreeMap<(i32, String), T> =
        candidates.into_iter().map(|c| ((c.manifest().priority, c.manifest().name.clone()), c)).collect();
    let present: BTreeSet<String> = waiting.keys().map(|(_, n)| n.clone()).collect();
    for candidate in waiting.values() {
        for missing in candidate.manifest().dependencies.iter().filter(|d| !present.contains(*d)) {
            let name = &candidate.manifest().name;
            report(Severity::Error, name, format!("`{name}` depends on the extension `{missing}`, which is not loaded."));
        }
    }
    let mut ordered: Vec<T> = Vec::new();
    loop {
        let done: BTreeSet<&str> = ordered.iter().map(|c| c.manifest().name.as_str()).collect();
        let ready = |c: &T| before(c.manifest(), &present).all(|d| done.contains(d));
        let Some(next) = waiting.iter().find(|(_, c)| ready(c)).map(|(k, _)| k.clone()) else { break };
        ordered.extend(waiting.remove(&next));
    }
    if let Some(((_, start), _)) = waiting.first_key_value() {
        let chain = cycle(start, &waiting, &present);
        report(Severity::Error, start, format!("these extensions wait for each other: {}.", chain.join(" → ")));
    }
    ordered
}

/// What must run before an extension, of what is there.
fn before<'a>(manifest: &'a Manifest, present: &'a BTreeSet<String>) -> impl Iterator<Item = &'a str> {
    let all = manifest.dependencies.iter().chain(&manifest.after);
    all.filter(|d| present.contains(*d)).map(String::as_str)
}

fn cycle<T: Ordered>(start: &str, waiting: &BTreeMap<(i32, String), T>, present: &BTreeSet<String>) -> Vec<String> {
    let by_name: BTreeMap<&str, &Manifest> = waiting.values().map(|c| (c.manifest().name.as_str(), c.manifest())).collect();
    let mut chain = vec![start.to_owned()];
    loop {
        let last = chain.last().expect("it begins with one name").clone();
        let Some(next) = by_name.get(last.as_str()).and_then(|m| before(m, present).find(|d| by_name.contains_key(d))) else {
            return chain;
        };
        if let Some(at) = chain.iter().position(|n| n == next) {
            chain.drain(..at);
            chain.push(next.to_owned());
            return chain;
        }
        chain.push(next.to_owned());
    }
}

impl Registry {
    /// Compiles, links, configures and tests the candidates in their order. When one refuses, those before it are shut down
    /// again, in reverse, and the error names the extension.
    pub async fn load(candidates: Vec<Candidate>, into: &Surroundings<'_>) -> Result<Self, (String, LoadError)> {
        let mut registry = Self::default();
        for candidate in candidates {
            let name = candidate.manifest.name.clone();
            match load_whole(candidate, into).await {
                Ok(extension) => registry.extensions.push(extension),
                Err(e) => {
                    registry.shut_down().await;
                    return Err((name, e));
                }
            }
        }
        Ok(registry)
    }

    /// Extensions that are loaded already, put in order.
    pub fn of(extensions: Vec<Arc<Extension>>) -> Result<Self, String> {
        let mut problems = Vec::new();
        let extensions = order(extensions, &mut |_, _, message| problems.push(message));
        if problems.is_empty() { Ok(Self { extensions }) } else { Err(problems.join(" ")) }
    }

    /// The same with other versions of some extensions. Of two versions of one, the last counts.
    pub fn with_versions<'a>(&self, versions: impl IntoIterator<Item = &'a Arc<Extension>>) -> Result<Self, String> {
        let mut all: BTreeMap<&str, &Arc<Extension>> = self.extensions.iter().map(|e| (e.name(), e)).collect();
        all.extend(versions.into_iter().map(|v| (v.name(), v)));
        Self::of(all.into_values().cloned().collect())
    }

    /// Whether it has the same extensions, loaded ones, in the same order.
    pub fn is(&self, other: &Self) -> bool {
        self.extensions.len() == other.extensions.len() && self.extensions.iter().zip(&other.extensions).all(|(a, b)| Arc::ptr_eq(a, b))
    }

    /// The extension of a name.
    pub fn find(&self, name: &str) -> Option<&Arc<Extension>> {
        self.extensions.iter().find(|e| e.name() == name)
    }

    /// All extensions, in the order in which they run.
    pub fn all(&self) -> &[Arc<Extension>] {
        &self.extensions
    }

    /// Those that have a hook, in the order in which they run.
    pub fn with(&self, hook: Hook) -> Vec<Arc<Extension>> {
        self.extensions.iter().filter(|e| e.has(hook)).cloned().collect()
    }

    /// Ends all of them, in reverse order.
    pub async fn shut_down(&self) {
        for extension in self.extensions.iter().rev() {
            extension.shut_down().await;
        }
    }
}

/// Loads a candidate whole: when this returns, it has passed its self-test.
pub async fn load_whole(candidate: Candidate, into: &Surroundings<'_>) -> Result<Arc<Extension>, LoadError> {
    let begin = Instant::now();
    let (component, origin) = into.runtime.compile(candidate.bytes.clone(), into.config.deploy.compile_timeout).await?;
    let surface = Surface::read(&candidate.bytes)?;
    let (file, extension) = (candidate.file.clone(), load(candidate, component, surface, None, into)?);
    extension.start().await?;
    if let Err(error) = extension.self_test().await {
        extension.shut_down().await;
        return Err(error);
    }
    tracing::info!(
        extension = extension.name(),
        version = extension.manifest.version,
        file = %file.display(),
        code = ?origin,
        ms = begin.elapsed().as_millis() as u64,
        "extension loaded"
    );
    Ok(extension)
}

/// Links a compiled component. Nothing of it has run when this returns.
pub fn load(
    candidate: Candidate,
    component: Component,
    surface: Surface,
    handover: Option<Handover>,
    into: &Surroundings<'_>,
) -> Result<Arc<Extension>, LoadError> {
    let Surroundings { runtime, config, providers, store } = into;
    let settings = settings(&candidate.manifest, &candidate.config, &config.sections);
    let Candidate { manifest, bytes, digest, file, config: own } = candidate;
    let limits = own.limits.limits();
    let granted = grants::granted(&manifest, own.grant.as_deref());
    let secrets: BTreeMap<_, _> =
        own.secrets.iter().map(|(name, secret)| (name.clone(), Arc::new(Entrusted::new(secret.clone())))).collect();
    let outbound = if granted.contains(&Capability::Http) {
        let placeholders = secrets.values().map(|s| (s.placeholder.clone(), s.secret.clone())).collect();
        Some(Arc::new(Outbound::new(&manifest.name, &own.http, placeholders).map_err(|e| LoadError::Link(format!("{e:#}")))?))
    } else {
        None
    };
    let services = Arc::new(Services {
        name: manifest.name.clone(),
        limits,
        stats: Arc::default(),
        secrets,
        config: flat(&settings),
        kv: Arc::clone(&store.kv),
        records: Arc::clone(&store.records),
        series: runtime.series.of(&manifest.name),
        generates: match granted.contains(&Capability::Generate) {
            true => Ok(()),
            false => Err(grants::line(&manifest, &granted, [Capability::Generate])),
        },
        outbound,
        rates: store.limits.clone(),
        providers: Arc::clone(providers),
        log: LogGate::new(limits.log_lines_per_second),
    });
    let source = Source { digest, surface, bytes, file, config: own, settings: settings.to_string() };
    let recorder = Arc::new(Recorder::new(config.deploy.record, config.deploy.record_bodies));
    let parts = Parts { manifest, component, source, services, granted, handover, recorder };
    Extension::link(&runtime.engine, parts)
}

/// Whether a loaded extension is what a candidate would become.
pub fn is_same(extension: &Extension, candidate: &Candidate, into: &Surroundings<'_>) -> bool {
    let source = &extension.source;
    let settings = settings(&candidate.manifest, &candidate.config, &into.config.sections).to_string();
    source.digest == candidate.digest
        && source.config == candidate.config
        && source.settings == settings
        && Arc::ptr_eq(&extension.services.providers, into.providers)
}

/// A route of the configuration: `GET /path`, or `/path` for every method.
pub fn http_route(text: &str) -> Route {
    let (method, path) = text.split_once(' ').map_or((None, text), |(m, p)| (Some(m.to_ascii_uppercase()), p.trim_start()));
    Route { method, path: path.to_owned(), kind: RouteKind::Http }
}

/// An extension's configuration: its own settings, and the sections that belong to it.
fn settings(manifest: &Manifest, own: &ExtensionConfig, sections: &BTreeMap<String, Value>) -> Value {
    let mut settings = own.config.clone();
    if !settings.is_object() {
        settings = Value::Object(serde_json::Map::new());
    }
    for (path, place) in manifest.sections.iter().chain(&manifest.shares) {
        let Some(value) = section(sections, path) else { continue };
        match (place.as_str(), value) {
            (".", Value::Object(members)) => members.iter().for_each(|(k, v)| settings[k] = v.clone()),
            (place, value) => settings[place.trim_start_matches('.')] = value.clone(),
        }
    }
    settings
}

fn flat(settings: &Value) -> BTreeMap<String, String> {
    let members = settings.as_object().into_iter().flatten();
    let text = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    members.map(|(key, value)| (key.clone(), text(value))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn candidate(name: &str, priority: i32, dependencies: &[&str]) -> Candidate {
        let manifest =
            serde_json::json!({"name": name, "version": "0.1.0", "description": "d", "priority": priority, "dependencies": dependencies});
        Candidate::new(serde_json::from_value(manifest).unwrap(), Vec::new(), PathBuf::new(), ExtensionConfig::default())
    }

    /// Order, or what is reported.
    fn check(candidates: &[(&str, i32, &[&str])], expect: &str) {
        let mut reported = Vec::new();
        let candidates = candidates.iter().map(|(n, p, d)| candidate(n, *p, d)).collect();
        let ordered = order(candidates, &mut |_, _, message| reported.push(message));
        let found = if reported.is_empty() {
            ordered.iter().map(|c| c.manifest.name.as_str()).collect::<Vec<_>>().join(" ")
        } else {
            reported.join(" | ")
        };
        assert_eq!(found, expect);
    }

    #[test]
    fn dependencies_then_priority_then_name() {
        check(&[("b", 0, &[]), ("a", 0, &[])], "a b");
        check(&[("b", -1, &[]), ("a", 0, &[])], "b a");
        check(&[("a", 0, &["b"]), ("b", 9, &[])], "b a");
        check(&[("a", 0, &["b"]), ("b", 0, &["c"]), ("c", 0, &[])], "c b a");
        check(&[("a", 0, &["x"])], "`a` depends on the extension `x`, which is not loaded.");
        check(&[("a", 0, &["b"]), ("b", 0, &["a"]), ("c", 0, &[])], "these extensions wait for each other: a → b → a.");
        check(&[("a", 0, &["b"]), ("b", 0, &["c"]), ("c", 0, &["b"])], "these extensions wait for each other: b → c → b.");
    }

    #[test]
    fn sections_reach_their_owner() {
        let mut one = candidate("a", 0, &[]);
        one.manifest.sections = BTreeMap::from([("endpoints.a".into(), ".".into()), ("aliases".into(), "aliases".into())]);
        let sections = BTreeMap::from([
            ("endpoints".to_owned(), serde_json::json!({"a": {"prefix": "/x"}, "b": {"prefix": "/y"}})),
            ("aliases".to_owned(), serde_json::json!({"fast": "m"})),
        ]);
        let found = settings(&one.manifest, &one.config, &sections);
        assert_eq!(found, serde_json::json!({"prefix": "/x", "aliases": {"fast": "m"}}));
        assert_eq!(unclaimed("endpoints", &sections["endpoints"], &[one]), ["no loaded extension takes `endpoints.b`."]);
    }
}
