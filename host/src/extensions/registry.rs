//! Which extensions a configuration wants, where their components are, and in which order they run.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde_json::Value;
use wasmtime::Engine;

use super::bindings::exports::wasmgate::extension::lifecycle::{Route, RouteKind};
use super::cache::CodeCache;
use super::instance::{Extension, LoadError, Parts};
use super::manifest::{self, Capability, Manifest, ManifestError};
use super::outbound::Outbound;
use super::services::{Entrusted, LogGate, Services};
use super::stats::Hook;
use super::{engine, grants};
use crate::config::problems::{Problem, Severity, suggestion};
use crate::config::{Config, ExtensionConfig, Source, own_names};
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
}

impl Runtime {
    /// Sets up the engine and its clock.
    pub fn start(cache: Option<&Path>) -> anyhow::Result<Self> {
        let engine = engine::build()?;
        engine::start_clock(&engine);
        Ok(Self { engine, cache: CodeCache::open(cache), series: Arc::default() })
    }
}

/// The extensions of a generation, in the order in which they run.
#[derive(Default)]
pub struct Registry {
    extensions: Vec<Arc<Extension>>,
}

/// A component that the configuration wants, before anything of it was compiled.
pub struct Candidate {
    manifest: Manifest,
    bytes: Vec<u8>,
    file: PathBuf,
    config: ExtensionConfig,
}

/// Finds the wanted components, reads their manifests, gives every section of the configuration to its owner, and orders them.
/// Compiles and runs nothing.
pub fn plan(config: &Config, folder: Option<&Path>, source: &Source, problems: &mut Vec<Problem>) -> Vec<Candidate> {
    let mut report = |severity, path: String, message: String| {
        problems.push(Problem { severity, place: source.place(&path), path, message });
    };
    let mut available =
        available(folder, &mut |file, reason| report(Severity::Warning, String::new(), format!("`{}` {reason}", file.display())));
    let mut candidates = Vec::new();
    for (name, extension) in &config.extensions {
        let path = format!("extensions.{name}");
        let found = match &extension.component {
            Some(file) if extension.routes.is_empty() => Some((file.clone(), read(file))),
            // Whoever gives the routes may have taken the component off a shelf.
            Some(file) => Some((file.clone(), read_any(file, name))),
            None => available.remove(name).map(|(file, bytes, manifest)| (file, Ok((bytes, manifest)))),
        };
        if !extension.enabled {
            continue;
        }
        match found {
            Some((file, Ok((bytes, manifest)))) if manifest.name == *name => {
                candidates.push(Candidate { manifest, bytes, file, config: extension.clone() });
            }
            Some((file, Ok((_, manifest)))) => {
                report(Severity::Error, path, format!("`{}` is the extension `{}`, not `{name}`.", file.display(), manifest.name));
            }
            Some((file, Err(reason))) => report(Severity::Error, path, format!("`{}`: {reason}.", file.display())),
            None => {
                let place =
                    folder.map_or("no components folder was found".to_owned(), |f| format!("`{}` has no such component", f.display()));
                let hint = suggestion(name, available.keys().map(String::as_str));
                report(
                    Severity::Error,
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
    candidates.extend(called.map(|(_, (file, bytes, manifest))| Candidate { manifest, bytes, file, config: ExtensionConfig::default() }));

    for (name, value) in &config.sections {
        let mut owned = candidates.iter().flat_map(|c| c.manifest.sections.keys()).filter_map(|s| s.split('.').next());
        if owned.any(|s| s == name) {
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
    let owners: Vec<&str> = candidates.iter().flat_map(|c| c.manifest.sections.keys()).map(String::as_str).collect();
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
    for file in entries.flatten().map(|e| e.path()).filter(|p| p.extension().is_some_and(|e| e == "wasm")) {
        match read(&file) {
            Ok((bytes, manifest)) => drop(found.insert(manifest.name.clone(), (file, bytes, manifest))),
            Err(reason) => broken(&file, format!("is skipped: {reason}.")),
        }
    }
    found
}

/// Longest component, in bytes. Those with a whole interpreter of Python in them have 40 MiB.
const MAX_COMPONENT: u64 = 256 << 20;

/// The bytes of a component's file, which must be an ordinary one and not too long.
fn bytes(file: &Path) -> Result<Vec<u8>, LoadError> {
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

fn read(file: &Path) -> Result<(Vec<u8>, Manifest), LoadError> {
    let bytes = bytes(file)?;
    let manifest = manifest::read(&bytes)?;
    Ok((bytes, manifest))
}

/// A component that may have no manifest: then it is given one.
fn read_any(file: &Path, name: &str) -> Result<(Vec<u8>, Manifest), LoadError> {
    let bytes = bytes(file)?;
    let manifest = match manifest::read(&bytes) {
        Err(ManifestError::Missing) => Manifest::off_the_shelf(name),
        manifest => manifest?,
    };
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
fn order(candidates: Vec<Candidate>, report: &mut dyn FnMut(Severity, &str, String)) -> Vec<Candidate> {
    let mut waiting: BTreeMap<(i32, String), Candidate> =
        candidates.into_iter().map(|c| ((c.manifest.priority, c.manifest.name.clone()), c)).collect();
    let present: BTreeSet<String> = waiting.keys().map(|(_, n)| n.clone()).collect();
    for candidate in waiting.values() {
        for missing in candidate.manifest.dependencies.iter().filter(|d| !present.contains(*d)) {
            let name = &candidate.manifest.name;
            report(Severity::Error, name, format!("`{name}` depends on the extension `{missing}`, which is not loaded."));
        }
    }
    let mut ordered: Vec<Candidate> = Vec::new();
    loop {
        let done: BTreeSet<&str> = ordered.iter().map(|c| c.manifest.name.as_str()).collect();
        let ready = |c: &Candidate| before(&c.manifest, &present).all(|d| done.contains(d));
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

fn cycle(start: &str, waiting: &BTreeMap<(i32, String), Candidate>, present: &BTreeSet<String>) -> Vec<String> {
    let by_name: BTreeMap<&str, &Manifest> = waiting.values().map(|c| (c.manifest.name.as_str(), &c.manifest)).collect();
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
    pub async fn load(
        runtime: &Runtime,
        candidates: Vec<Candidate>,
        config: &Config,
        providers: &Arc<Directory>,
        store: &Store,
    ) -> Result<Self, (String, LoadError)> {
        let mut registry = Self::default();
        for candidate in candidates {
            let name = candidate.manifest.name.clone();
            match load_one(runtime, candidate, config, providers, store).await {
                Ok(extension) => registry.extensions.push(extension),
                Err(e) => {
                    registry.shut_down().await;
                    return Err((name, e));
                }
            }
        }
        Ok(registry)
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

async fn load_one(
    runtime: &Runtime,
    candidate: Candidate,
    config: &Config,
    providers: &Arc<Directory>,
    store: &Store,
) -> Result<Arc<Extension>, LoadError> {
    let Candidate { manifest, bytes, file, config: own } = candidate;
    let begin = std::time::Instant::now();
    let (engine, cache) = (runtime.engine.clone(), runtime.cache.clone());
    let compiled = tokio::task::spawn_blocking(move || cache.load(&engine, &bytes)).await;
    let (component, origin) = compiled.map_err(|e| LoadError::Compile(e.to_string()))?.map_err(|e| LoadError::Compile(format!("{e:#}")))?;
    let settings = settings(&manifest, &own, &config.sections);
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
        outbound,
        limiter: Arc::clone(&store.limiter),
        providers: Arc::clone(providers),
        log: LogGate::new(limits.log_lines_per_second),
    });
    let routes = own.routes.iter().map(|r| http_route(r)).collect();
    let parts = Parts {
        component,
        config: settings.to_string(),
        services,
        routes,
        on_error: own.on_error,
        granted,
        toggle: own.toggle,
        isolation: own.isolation,
        manifest,
    };
    let extension = Extension::load(&runtime.engine, parts).await?;
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

/// A route of the configuration: `GET /path`, or `/path` for every method.
fn http_route(text: &str) -> Route {
    let (method, path) = text.split_once(' ').map_or((None, text), |(m, p)| (Some(m.to_ascii_uppercase()), p.trim_start()));
    Route { method, path: path.to_owned(), kind: RouteKind::Http }
}

/// An extension's configuration: its own settings, and the sections that belong to it.
fn settings(manifest: &Manifest, own: &ExtensionConfig, sections: &BTreeMap<String, Value>) -> Value {
    let mut settings = own.config.clone();
    if !settings.is_object() {
        settings = Value::Object(serde_json::Map::new());
    }
    for (path, place) in &manifest.sections {
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
        Candidate {
            manifest: serde_json::from_value(manifest).unwrap(),
            bytes: Vec::new(),
            file: PathBuf::new(),
            config: ExtensionConfig::default(),
        }
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
