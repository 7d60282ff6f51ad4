//! The component's side: the host's runtime, without a server.

use std::io::Write;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use serde_json::{Value, json};
use tokio::runtime::Runtime;
use tracing_subscriber::fmt::MakeWriter;
use wasmgate::deploy::Sources;
use wasmgate::extensions::Extension;
use wasmgate::extensions::bindings::exports::wasmgate::extension::dialect::GenerateHead;
use wasmgate::extensions::bindings::wasmgate::extension::request::{CallInfo, Edit, Note};
use wasmgate::gateway::Gateway;
use wasmgate::pipeline::{Context, Exchange, Incoming, Trace, serve_guest_http};
use wasmgate_tests::repo;

use crate::{Case, Line, Setup};

/// A gateway with one extension besides the dialect, and what it logs. Everything runs on the thread that made it.
pub struct Host {
    name: &'static str,
    runtime: Runtime,
    gateway: Arc<Gateway>,
    log: Log,
    _subscriber: tracing::subscriber::DefaultGuard,
}

impl Host {
    /// Starts the gateway. An error is what the operator would read.
    pub fn start(setup: &Setup) -> Result<Self, String> {
        // As the program does. A second one is refused, which is fine.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let log = Log::default();
        let subscriber = tracing_subscriber::fmt().json().flatten_event(true).with_writer(log.clone()).with_max_level(tracing::Level::INFO);
        let subscriber = tracing::subscriber::set_default(subscriber.finish());
        let folder = tempfile::tempdir().expect("a temporary folder");
        let file = folder.path().join("parity.yaml");
        std::fs::write(&file, configuration(setup).to_string()).expect("a temporary file");
        let sources = Sources { config: file, set: Vec::new(), components: Some(repo::components()) };
        let checked = sources.read().map_err(|e| e.to_string())?;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        let gateway = runtime.block_on(Gateway::start(sources, checked)).map_err(|e| format!("{e:#}"))?;
        Ok(Self { name: setup.name, runtime, gateway, log, _subscriber: subscriber })
    }

    /// Waits for what a hook gives. A trap is no decision.
    pub fn wait<T, E: std::fmt::Display>(&self, call: impl Future<Output = Result<T, E>>) -> T {
        self.runtime.block_on(call).unwrap_or_else(|e| panic!("{}: {e}", self.name))
    }

    /// The extension.
    pub fn extension(&self) -> Arc<Extension> {
        self.named(self.name)
    }

    fn named(&self, name: &str) -> Arc<Extension> {
        self.gateway.deploy.live().stable.extensions.find(name).cloned().expect("it is configured")
    }

    fn context(&self) -> Context {
        Context { gateway: Arc::clone(&self.gateway), generation: Arc::clone(&self.gateway.deploy.live().stable), debug: false }
    }

    /// A case as the pipeline would have it, and the scalars that hooks are given.
    pub fn request(&self, case: &Case) -> (CallInfo, Arc<Exchange>) {
        let text = |name: &str| case.body[name].as_str().unwrap_or_default().to_owned();
        let head =
            GenerateHead { format: "openai-chat".into(), model: text("model"), stream: case.body["stream"] == true, include_usage: false };
        let mut incoming = incoming("/v1/chat/completions", &case.body);
        for (name, value) in &case.headers {
            incoming.head.headers.insert(*name, http::HeaderValue::from_static(value));
        }
        let dialect = self.named("openai-api");
        let exchange = Arc::new(Exchange::new(self.context(), "test".into(), Arc::new(incoming), dialect, head, Trace::default()));
        let notes = case.notes.iter().map(|(key, value)| Edit::Note(Note { key: key.clone(), value: value.clone() }));
        self.runtime.block_on(exchange.apply(notes.collect())).expect("notes are always taken");
        let mut call = (*exchange.call_info()).clone();
        call.provider = case.chosen.map(Into::into);
        call.model = case.model.map_or(call.model, Into::into);
        (call, exchange)
    }

    /// What the extension answers to a GET on its own path.
    pub fn get(&self, path: &str) -> (u16, String) {
        let (head, ()) = http::Request::get(path).header("host", "localhost").body(()).expect("a request").into_parts();
        let incoming = Incoming::opaque(head, Vec::new(), Instant::now(), bytes::Bytes::new());
        self.runtime.block_on(async {
            let response = serve_guest_http(self.context(), "test".into(), self.extension(), incoming, false).await;
            let status = response.status().as_u16();
            let body = http_body_util::BodyExt::collect(response.into_body()).await.expect("it is complete").to_bytes();
            (status, String::from_utf8_lossy(&body).into_owned())
        })
    }

    /// What the extension logged.
    pub fn log(&self) -> Vec<Line> {
        let text = String::from_utf8(self.log.0.lock().unwrap_or_else(PoisonError::into_inner).clone()).expect("JSON");
        let lines = text.lines().map(|l| serde_json::from_str::<Value>(l).expect("JSON"));
        let own = lines.filter(|l| l["target"] == "extension" && l["extension"] == self.name);
        let field = |line: &Value, name: &str| line[name].as_str().unwrap_or_default().to_owned();
        own.map(|l| (field(&l, "level"), field(&l, "message"))).collect()
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        self.runtime.block_on(self.gateway.shut_down());
    }
}

/// A request as it arrives.
pub fn incoming(path: &str, body: &Value) -> Incoming {
    let (head, ()) = http::Request::post(path).body(()).expect("a request").into_parts();
    Incoming::json(head, crate::path_params(path), Instant::now(), body.to_string().into()).unwrap_or_else(|_| panic!("it is JSON"))
}

/// JSON is YAML.
fn configuration(setup: &Setup) -> Value {
    let provider = |p: &crate::Provider| {
        let mut entry = json!({"type": p.kind, "models": p.models});
        if let Some(model) = p.default_model {
            entry["default_model"] = json!(model);
        }
        (p.name.to_owned(), entry)
    };
    // Much time, because the machine may be busy.
    let own = json!({"component": component(setup.name), "config": setup.config, "limits": {"cpu_ms": 1000}});
    let mut extensions = json!({"openai-api": {}});
    extensions[setup.name] = own;
    json!({
        "cache": repo::cache(),
        "providers": setup.providers.iter().map(provider).collect::<serde_json::Map<_, _>>(),
        "extensions": extensions,
    })
}

/// An extension's component, or a fixture's.
fn component(name: &str) -> std::path::PathBuf {
    Some(repo::component(name)).filter(|c| c.is_file()).unwrap_or_else(|| repo::fixture(name))
}

/// What is written to the log.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl Write for Log {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).write(bytes)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl MakeWriter<'_> for Log {
    type Writer = Self;

    fn make_writer(&self) -> Self {
        self.clone()
    }
}
