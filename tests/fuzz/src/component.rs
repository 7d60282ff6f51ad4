//! The loader: any file is loaded or refused, in bounded time, and the process lives on.
//!
//! It goes the whole way of a configured extension: manifest, compilation, linking, instantiation, configuration, self-test.

use std::path::PathBuf;
use std::sync::{Arc, LazyLock};
use std::time::{Duration, Instant};

use wasmgate::config::{Config, Reading, Source};
use wasmgate::extensions::{Registry, Runtime, Surroundings, plan};
use wasmgate::providers::Directory;
use wasmgate::storage::{self, Store};

/// Larger files only make the fuzzer slow: most of the time goes into compiling.
const LARGEST: usize = 32 << 10;
/// Longest time that a file of that size may take. The limits below allow a fraction of it.
const LONGEST: Duration = Duration::from_secs(10);

struct Loader {
    threads: tokio::runtime::Runtime,
    runtime: Runtime,
    config: Config,
    source: Source,
    providers: Arc<Directory>,
    store: Store,
    file: PathBuf,
    /// Removes the folder at the end.
    _folder: tempfile::TempDir,
}

static LOADER: LazyLock<Loader> = LazyLock::new(Loader::new);

/// Checks one file.
pub fn check(bytes: &[u8]) {
    if bytes.len() > LARGEST {
        return;
    }
    let started = Instant::now();
    LOADER.load(bytes);
    assert!(started.elapsed() < LONGEST, "it took {:?}", started.elapsed());
}

impl Loader {
    fn new() -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let file = folder.path().join("fuzz.wasm");
        // With a route, a component without a manifest is one off the shelf, and is loaded too.
        let text = format!(
            "providers: {{local: {{type: echo}}}}\nextensions:\n  fuzz:\n    component: {}\n    routes: [/x]\n    \
             limits: {{cpu_ms: 5, wall_ms: 500, memory_mb: 16}}\n",
            file.display()
        );
        let Reading { config, problems, source } = Reading::of(Source::parse("fuzz.yaml", &text, &[], &|_| None));
        assert_eq!(problems, []);
        let threads = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().expect("a runtime");
        Self {
            runtime: Runtime::start(None).expect("an engine"),
            providers: Arc::new(Directory::build(&config).expect("a provider")),
            store: storage::open(&wasmgate::config::Storage::default()).expect("a store"),
            threads,
            config,
            source,
            file,
            _folder: folder,
        }
    }

    fn load(&self, bytes: &[u8]) {
        std::fs::write(&self.file, bytes).expect("the temporary folder takes a file");
        let mut problems = Vec::new();
        let candidates = plan(&self.config, None, &self.source, &mut problems);
        assert_eq!(candidates.is_empty(), !problems.is_empty(), "{problems:?}");
        self.threads.block_on(async {
            let Self { runtime, config, providers, store, .. } = self;
            match Registry::load(candidates, &Surroundings { runtime, config, providers, store }).await {
                Ok(registry) => registry.shut_down().await,
                Err((name, error)) => {
                    assert_eq!(name, "fuzz");
                    assert!(!error.to_string().is_empty(), "refused without a reason");
                }
            }
        });
    }
}
