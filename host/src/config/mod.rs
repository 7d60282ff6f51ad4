//! The configuration: what an operator writes, checked whole before anything starts.
//!
//! Settings that are not listed here belong to an extension, which claims them in its manifest (`sections`); a setting that
//! nobody claims is an error.

pub mod changes;
mod deploy;
mod front;
pub mod problems;
pub mod reader;
pub mod schema;
mod secret;
pub mod shown;
pub mod source;
mod stores;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::Value;

use changes::Changes;
use deploy::check_pins;
pub use deploy::{Deploy, Pin};
pub use front::{Auth, Cors, Tls};
use ipnet::IpNet;
pub use oauth::OAuthConfig;
pub use problems::{Problem, Rejected, Severity};
use reader::{Cursor, Section as _, Setting};
pub use schema::{reference as reference_file, schema};
pub use secret::Secret;
use shown::Shown;
pub use shown::print;
pub use source::Source;
use stores::check_storage;
pub use stores::{KeysConfig, LimitsStoreConfig, RecordsConfig, Storage, check_records};
pub use telemetry::{Otlp, Telemetry, check_endpoint};

use crate::extensions::limits::Limits;
use crate::extensions::outbound::HostRule;
use crate::extensions::{Capability, Hook};
use crate::section;
use virtual_providers::{FallbackConfig, LoadBalanceConfig, RacingConfig, VirtualConfig};

section! {
    /// The listener.
    pub struct Server {
        /// Address to listen on. `0.0.0.0` accepts connections from other machines.
        host: String = "127.0.0.1".into(),
        /// Port to listen on; 0 takes a free one.
        port: u16 = 8080,
        /// Largest request body, in bytes.
        body_limit: usize = 32 << 20,
        /// Largest request head, in bytes.
        header_limit: usize = 64 << 10,
        /// Connections at once; further clients wait.
        max_connections: usize = 16_384,
        /// How long a client may take to send a request's head, and how long a connection may idle.
        header_timeout: Duration = Duration::from_secs(60),
        /// How long a client may take to send a request's body.
        body_timeout: Duration = Duration::from_secs(60),
        /// How long a client may go without reading anything of what it is sent; then its connection is closed.
        send_timeout: Duration = Duration::from_secs(60),
        /// How long requests are still taken after a signal to stop, while `/health/ready` says no: a load balancer needs some seconds to notice.
        shutdown_delay: Duration = Duration::ZERO,
        /// How long running requests get to finish after that.
        shutdown_timeout: Duration = Duration::from_secs(30),
        /// Threads that serve requests; 0 is one for each processor.
        threads: usize = 0,
        /// What connections are encrypted with; without it they are not.
        tls: Option<Tls> = None,
        /// Which web pages may ask from a browser; without it none may.
        cors: Option<Cors> = None,
        /// Proxies in front of the gateway, as addresses or networks. What they say in `x-forwarded-for` is believed.
        trusted_proxies: Vec<IpNet> = Vec::new(),
    }
}

section! {
    /// The log, on standard error.
    pub struct Logging {
        /// What is written: `error`, `warn`, `info`, `debug`, `trace`, or directives such as `info,wasmgate=debug`.
        level: String = "info".into(),
        /// `text` or `json`.
        format: LogFormat = LogFormat::Text,
        /// Whether a line is written for every request.
        access: bool = false,
        /// File that these lines are added to; without it they are in the log.
        access_file: Option<PathBuf> = None,
    }
}

section! {
    /// Where requests are sent.
    pub struct ProviderConfig {
        /// What it speaks: `openai` (chat completions of OpenAI), `openai-responses`, `anthropic`, `gemini` (the Gemini API, or Vertex AI
        /// with `project` and `location`), `echo` (built in, for trying out), `openai-compatible` (any host that speaks OpenAI's chat
        /// completions, at `base_url`), or a vendor that does: they are listed in [providers.md](../providers.md). Or how it uses other
        /// providers: `racing`, `fallback`, `loadbalance`; see `config`.
        r#type: String = String::new(),
        /// Whether it is used.
        enabled: bool = true,
        /// The key that it wants.
        api_key: Option<Secret> = None,
        /// Several keys, in the place of `api_key`: they take turns, and one that is refused rests.
        api_keys: Vec<Secret> = Vec::new(),
        /// How it is logged in to, in the place of a key.
        oauth: Option<OAuthConfig> = None,
        /// Where it is, up to and with the version, for example `https://api.openai.com/v1`.
        base_url: Option<String> = None,
        /// Header fields for each of its requests, by name. Values are not shown anywhere.
        headers: BTreeMap<String, Secret> = BTreeMap::new(),
        /// Name of the resource, for Azure OpenAI: its host is `NAME.openai.azure.com`.
        resource: Option<String> = None,
        /// Version of Azure OpenAI's interface: a date such as `2024-10-21` has the deployment in the path; without it, or with `preview`, it is
        /// the v1 API.
        api_version: Option<String> = None,
        /// Project at Google Cloud, for Gemini models on Vertex AI. `api_key` is then an access token.
        project: Option<String> = None,
        /// Location of that project, for example `europe-west4` or `global`.
        location: Option<String> = None,
        /// Model that `NAME/` stands for, and that is listed when `models` is not given.
        default_model: Option<String> = None,
        /// Its models. When the list is given, others are refused before anything is sent.
        models: Vec<String> = Vec::new(),
        /// How often it is asked for the list of its models, in the background; `0s` never asks, and with `models` nobody has to.
        models_refresh: Duration = Duration::ZERO,
        /// `max_tokens` for formats that require it, when the client's format does not.
        default_max_tokens: u64 = 4096,
        /// What is done when its format cannot express something of a request: `warn` leaves it out and says so in the response header
        /// `x-wasmgate-losses` and in the log, `drop` leaves it out and says nothing, `reject` answers 400 and names it.
        on_unsupported: OnUnsupported = OnUnsupported::Warn,
        /// What is done with legacy completions, for types `openai` and `openai-responses`: `forward` sends them to `/completions` as they
        /// came, `translate` makes conversations of them, for hosts and models that have no `/completions`.
        completions: Completions = Completions::Forward,
        /// How long connecting may take.
        connect_timeout: Duration = Duration::from_secs(10),
        /// How long the first byte of an answer may take.
        first_byte_timeout: Duration = Duration::from_secs(300),
        /// How long the first event of a stream may take, from when the request was sent; `0s` does not look. Hosts may send the head of an
        /// answer long before they have anything to say.
        first_event_timeout: Duration = Duration::ZERO,
        /// How long a stream may be silent.
        idle_timeout: Duration = Duration::from_secs(120),
        /// How long a request may take with everything: waiting in the queue, retries, and the answer to its end; `0s` does not look.
        timeout: Duration = Duration::ZERO,
        /// How often a request that failed is sent again, as long as nothing of an answer came. Off, because clients retry themselves, and
        /// their tries would be multiplied with these.
        max_retries: u32 = 0,
        /// How those retries are spaced and bounded.
        retry: RetryConfig = RetryConfig::default(),
        /// When it is left alone for a while because it fails.
        breaker: BreakerConfig = BreakerConfig::default(),
        /// Requests that may run at once, streams to their end; 0 does not limit them.
        max_in_flight: usize = 0,
        /// Requests that may wait for one of those places; one more is refused at once.
        queue_limit: usize = 64,
        /// How long a request may wait for a place before it is refused.
        queue_timeout: Duration = Duration::from_secs(10),
        /// How often it is tried without a caller, to know how it is; `0s` never tries.
        probe_interval: Duration = Duration::ZERO,
        /// Of a virtual provider: whom it uses, and how. Its settings are below, type by type.
        config: Value = Value::Object(serde_json::Map::new()),
    }
}

section! {
    /// Retries of requests to a provider.
    pub struct RetryConfig {
        /// About how long the first retry waits; each one after it twice as long. Half of it is random, so that many callers do not come back
        /// together.
        backoff: Duration = Duration::from_millis(500),
        /// Longest wait. A provider that asks for more is not retried: the caller gets its error, with the time.
        max_backoff: Duration = Duration::from_secs(8),
        /// Retries for each request, on average, that a provider may get: with 0.2, one for five requests. A few more are allowed at once. So an
        /// outage is not multiplied.
        budget: f64 = 0.2,
    }
}

section! {
    /// When a provider's model is left alone.
    pub struct BreakerConfig {
        /// Failures one after the other that open it; 0 does not count them.
        failures: u32 = 0,
        /// Share of failures in the window that opens it, from 0 to 1; 0 does not look.
        failure_rate: f64 = 0.0,
        /// Length of that window.
        window: Duration = Duration::from_secs(30),
        /// Requests that the window must have before its share means anything.
        min_requests: u32 = 20,
        /// How long it stays open before one request tries.
        cooldown: Duration = Duration::from_secs(30),
    }
}

section! {
    /// One extension.
    pub struct ExtensionConfig {
        /// Whether it is loaded.
        enabled: bool = true,
        /// Whether the gateway starts without it when its component is nowhere: without this there is a warning, with it an error. For what
        /// keeps people out.
        required: bool = false,
        /// File of the component; without it, `NAME.wasm` in the components folder.
        component: Option<PathBuf> = None,
        /// Paths that it answers, for a component that knows nothing of this gateway: any that exports `wasi:http/incoming-handler`.
        /// `GET /hello`, or `/files/{*rest}` for every method.
        routes: Vec<String> = Vec::new(),
        /// Its own settings.
        config: Value = Value::Object(serde_json::Map::new()),
        /// Capabilities that it gets, of those that its manifest asks for. Without the list it gets all but `generate`, `routes`, `http`
        /// and `secrets`, which have to be named.
        grant: Option<Vec<Capability>> = None,
        /// Secrets that it may use by name and never read. Capability `secrets`.
        secrets: BTreeMap<String, Secret> = BTreeMap::new(),
        /// What becomes of a request when a hook of it fails: `fail` answers with an error, `skip` goes on without it. Or for each hook,
        /// for example `{before-generate: fail, stream-filter: skip}`.
        on_error: OnErrors = OnErrors::default(),
        /// Whether callers may switch it for one request, if its manifest allows that.
        toggle: bool = true,
        /// `shared` keeps instances warm; `per-request` makes a new one for every call, for code that is not trusted.
        isolation: Isolation = Isolation::Shared,
        /// What an instance may use.
        limits: LimitsConfig = LimitsConfig::default(),
        /// What it may reach in the network.
        http: HttpGrant = HttpGrant::default(),
    }
}

section! {
    /// What an extension may reach by HTTP requests of its own.
    pub struct HttpGrant {
        /// Hosts: `api.example.com`, `*.example.com` for all names under it, with `:PORT` if it is another than the usual one.
        /// Requests are encrypted unless the entry begins with `http://`.
        hosts: Vec<String> = Vec::new(),
        /// Whether hosts may be at addresses that are not in the public internet: this machine, its network, a cloud's metadata.
        private_addresses: bool = false,
        /// Requests that run at once; one more is refused.
        requests_at_once: usize = 8,
        /// Longest body of an answer, in bytes.
        response_bytes: usize = 8 << 20,
        /// How long an answer's head may take, and how long its body may be silent.
        timeout: Duration = Duration::from_secs(30),
    }
}

section! {
    /// Limits of an extension's instances.
    pub struct LimitsConfig {
        /// CPU time of one call, in milliseconds.
        cpu_ms: u64 = Limits::default().cpu.as_millis() as u64,
        /// More CPU time for each MiB that a call has to read, in milliseconds.
        cpu_ms_per_mib: u64 = Limits::default().cpu_per_mib.as_millis() as u64,
        /// Time of one call with all waiting, in milliseconds.
        wall_ms: u64 = Limits::default().wall.as_millis() as u64,
        /// Memory, in MiB; at most 512.
        memory_mb: u64 = (Limits::default().memory_bytes >> 20) as u64,
        /// Elements of a table.
        table_elements: usize = Limits::default().table_elements,
        /// Handles held at once.
        handles: usize = Limits::default().handles,
        /// Bytes that cross in one call of the host.
        host_call_bytes: usize = Limits::default().host_call_bytes,
        /// Log lines a second.
        log_lines_per_second: u32 = Limits::default().log_lines_per_second,
        /// Bytes of an answer that a stream filter may hold back.
        hold_bytes: usize = Limits::default().hold_bytes,
        /// How long it may hold them back, in milliseconds.
        hold_ms: u64 = Limits::default().hold.as_millis() as u64,
        /// How deep requests that it makes may be nested in requests that extensions make.
        generate_depth: u32 = Limits::default().generate_depth,
        /// Requests that it may make for one request of a caller, those that others make included.
        generate_calls: u32 = Limits::default().generate_calls,
        /// Tokens that they may take together; the next one is refused.
        generate_tokens: u64 = Limits::default().generate_tokens,
        /// Time of one of them, in milliseconds.
        generate_ms: u64 = Limits::default().generate.as_millis() as u64,
        /// Idle instances that are kept.
        warm_instances: usize = Limits::default().warm_instances,
    }
}

impl LimitsConfig {
    /// As the runtime uses them.
    pub fn limits(&self) -> Limits {
        Limits {
            cpu: Duration::from_millis(self.cpu_ms),
            cpu_per_mib: Duration::from_millis(self.cpu_ms_per_mib),
            wall: Duration::from_millis(self.wall_ms),
            memory_bytes: (self.memory_mb as usize) << 20,
            table_elements: self.table_elements,
            handles: self.handles,
            host_call_bytes: self.host_call_bytes,
            log_lines_per_second: self.log_lines_per_second,
            hold_bytes: self.hold_bytes,
            hold: Duration::from_millis(self.hold_ms),
            generate_depth: self.generate_depth,
            generate_calls: self.generate_calls,
            generate_tokens: self.generate_tokens,
            generate: Duration::from_millis(self.generate_ms),
            warm_instances: self.warm_instances,
        }
    }
}

/// Settings that are one of a few words.
macro_rules! words {
    ($(#[doc = $doc:literal])* pub enum $name:ident { $($(#[doc = $vdoc:literal])* $variant:ident = $word:literal),* $(,)? }) => {
        $(#[doc = $doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub enum $name { $($(#[doc = $vdoc])* $variant),* }

        impl $name {
            /// What a word means.
            pub fn from_word(word: &str) -> Option<Self> {
                match word {
                    $($word => Some(Self::$variant),)*
                    _ => None,
                }
            }

            /// Its word.
            pub fn word(self) -> &'static str {
                match self {
                    $(Self::$variant => $word,)*
                }
            }
        }

        impl Setting for $name {
            fn expected() -> String {
                [$(concat!("`", $word, "`")),*].join(" or ")
            }

            fn read(at: &mut Cursor<'_>) -> Option<Self> {
                Self::from_word(at.value.as_str()?)
            }

            fn show(&self) -> String {
                self.word().into()
            }

            fn schema() -> Value {
                serde_json::json!({"enum": [$($word),*]})
            }
        }
    };
}

pub mod oauth;
mod telemetry;
pub mod virtual_providers;

words! {
    /// How log lines look.
    pub enum LogFormat {
        /// For people.
        Text = "text",
        /// One JSON object a line.
        Json = "json",
    }
}

words! {
    /// Where rows are kept.
    pub enum RecordsStore {
        /// In a file of redb.
        Redb = "redb",
        /// In a file of SQLite.
        Sqlite = "sqlite",
        /// In PostgreSQL.
        Postgres = "postgres",
        /// In memory.
        Memory = "memory",
    }
}

words! {
    /// What happens when too many rows wait.
    pub enum WhenFull {
        /// The oldest of them are forgotten.
        DropOldest = "drop_oldest",
        /// More are not taken.
        Refuse = "refuse",
    }
}

words! {
    /// Where keys and values are kept.
    pub enum KeysStore {
        /// In each gateway.
        Local = "local",
        /// In PostgreSQL.
        Postgres = "postgres",
    }
}

words! {
    /// Where limits are counted.
    pub enum LimitsStore {
        /// In each gateway.
        Memory = "memory",
        /// In Redis.
        Redis = "redis",
    }
}

words! {
    /// What decides about limits while Redis is away.
    pub enum WhenAway {
        /// Each gateway counts.
        Local = "local",
        /// Everything passes.
        FailOpen = "fail_open",
        /// Nothing passes.
        FailClosed = "fail_closed",
    }
}

words! {
    /// What becomes of a request when a hook fails.
    pub enum OnError {
        /// It fails too.
        Fail = "fail",
        /// It goes on.
        Skip = "skip",
    }
}

words! {
    /// What is done about what a provider's format cannot express of a request.
    pub enum OnUnsupported {
        /// It is left out, and the caller and the log are told.
        Warn = "warn",
        /// It is left out.
        Drop = "drop",
        /// The request is refused.
        Reject = "reject",
    }
}

words! {
    /// What is done with legacy completions at a provider of OpenAI's API.
    pub enum Completions {
        /// They go as they came.
        Forward = "forward",
        /// They become conversations.
        Translate = "translate",
    }
}

words! {
    /// What is done with recorded calls.
    pub enum ReplayMode {
        /// Nothing.
        Off = "off",
        /// Differences are told.
        Report = "report",
        /// A difference refuses the version.
        Require = "require",
    }
}

/// What becomes of a request when a hook fails, hook by hook.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OnErrors {
    /// For hooks that are not named.
    pub default: OnError,
    /// For those that are.
    pub hooks: BTreeMap<Hook, OnError>,
}

impl Default for OnErrors {
    fn default() -> Self {
        Self { default: OnError::Fail, hooks: BTreeMap::new() }
    }
}

impl OnErrors {
    /// Whether a request goes on without a hook that failed.
    pub fn skips(&self, hook: Hook) -> bool {
        self.hooks.get(&hook).copied().unwrap_or(self.default) == OnError::Skip
    }
}

impl Setting for OnErrors {
    fn expected() -> String {
        format!("{}, or one of them for each hook", OnError::expected())
    }

    fn read(at: &mut Cursor<'_>) -> Option<Self> {
        let Some(members) = at.value.as_object() else {
            return Some(Self { default: OnError::read(at)?, hooks: BTreeMap::new() });
        };
        let mut read = Self::default();
        for name in members.keys() {
            let Some(hook) = Hook::SKIPPABLE.into_iter().find(|h| h.name() == name) else {
                let hint = problems::suggestion(name, Hook::SKIPPABLE.iter().map(|h| h.name()));
                at.error(format!("there is no hook `{name}` that could be skipped.{hint}"));
                continue;
            };
            if let Some(word) = at.member(name).and_then(|mut m| m.setting()) {
                read.hooks.insert(hook, word);
            }
        }
        Some(read)
    }

    fn show(&self) -> String {
        self.default.show()
    }

    fn shown(&self) -> Shown {
        if self.hooks.is_empty() {
            return Shown::text(&self.show());
        }
        Shown::Names(self.hooks.iter().map(|(hook, word)| (hook.name().to_owned(), word.shown())).collect())
    }

    fn schema() -> Value {
        let hooks: serde_json::Map<_, _> = Hook::SKIPPABLE.iter().map(|h| (h.name().to_owned(), OnError::schema())).collect();
        serde_json::json!({"anyOf": [OnError::schema(), {"type": "object", "properties": hooks, "additionalProperties": false}]})
    }
}

impl Setting for Capability {
    fn expected() -> String {
        let names: Vec<_> = Self::ALL.iter().map(|c| format!("`{}`", c.name())).collect();
        names.join(", ")
    }

    fn read(at: &mut Cursor<'_>) -> Option<Self> {
        Self::from_name(at.value.as_str()?)
    }

    fn show(&self) -> String {
        self.name().into()
    }

    fn schema() -> Value {
        serde_json::json!({"enum": Self::ALL.iter().map(|c| c.name()).collect::<Vec<_>>()})
    }
}

words! {
    /// Whether instances are used again.
    pub enum Isolation {
        /// Warm instances serve one call after the other.
        Shared = "shared",
        /// Every call gets a new one.
        PerRequest = "per-request",
    }
}

/// The whole configuration.
#[derive(Debug, Clone, PartialEq)]
pub struct Config {
    /// The listener.
    pub server: Server,
    /// Who may use the operators' interface.
    pub auth: Auth,
    /// The log.
    pub logging: Logging,
    /// What is told besides the log.
    pub telemetry: Telemetry,
    /// What outlives a restart.
    pub storage: Storage,
    /// How extensions are replaced.
    pub deploy: Deploy,
    /// Folder of the components.
    pub components: Option<PathBuf>,
    /// Folder for compiled code; without it, the user's cache folder.
    pub cache: Option<PathBuf>,
    /// Provider for requests that no extension sent anywhere.
    pub default_provider: Option<String>,
    /// Where requests are sent.
    pub providers: BTreeMap<String, ProviderConfig>,
    /// Those of them that are virtual and enabled, with the members that exist.
    pub virtual_providers: BTreeMap<String, VirtualConfig>,
    /// Extensions that the configuration names.
    pub extensions: BTreeMap<String, ExtensionConfig>,
    /// Settings that belong to extensions.
    pub sections: BTreeMap<String, Value>,
    /// Settings of providers that were changed through the operators' interface, by name.
    pub changed: BTreeMap<String, Vec<String>>,
}

/// Names at the top that are the host's own.
const OWN: [&str; 11] =
    ["server", "auth", "logging", "telemetry", "storage", "deploy", "components", "cache", "default_provider", "providers", "extensions"];

/// A configuration that was read, with what is wrong with it so far.
pub struct Reading {
    /// The settings; defaults stand where something was wrong.
    pub config: Config,
    /// What is wrong.
    pub problems: Vec<Problem>,
    /// Where each setting was made.
    pub source: Source,
}

impl Reading {
    /// Reads and checks a file, with environment variables and `path=value` overrides on top. `changes` gives what was changed of providers, for
    /// the settings so far.
    pub fn file(file: &Path, set: &[String], changes: impl FnOnce(&mut Source) -> Changes) -> Self {
        Self::of(Self::laid(Source::read(file, set, &environment), changes))
    }

    /// The same on the text of a file.
    pub fn text(file: &Path, text: &str, set: &[String], changes: &Changes) -> Self {
        let source = Source::parse(&file.display().to_string(), text, set, &environment);
        Self::of(Self::laid(source, |_| changes.clone()))
    }

    fn laid(mut source: Source, changes: impl FnOnce(&mut Source) -> Changes) -> Source {
        let changes = changes(&mut source);
        source.lay(&changes, &environment);
        source
    }

    /// Checks settings that were already read.
    pub fn of(mut source: Source) -> Self {
        let mut problems = std::mem::take(&mut source.problems);
        // What cannot be read at all is one problem, not the absence of everything.
        let readable = !problems.iter().any(|p| p.severity == Severity::Error && p.path.is_empty() && p.place != "--set");
        let mut at = Cursor { source: &source, value: &source.value, path: String::new(), problems: &mut problems };
        let extensions: BTreeMap<String, ExtensionConfig> = at.field("extensions", BTreeMap::new);
        let mut config = Config {
            server: at.field("server", Server::default),
            auth: at.field("auth", Auth::default),
            logging: at.field("logging", Logging::default),
            telemetry: at.field("telemetry", Telemetry::default),
            storage: at.field("storage", Storage::default),
            deploy: at.field("deploy", Deploy::default),
            components: at.field("components", || None),
            cache: at.field("cache", || None),
            default_provider: at.field("default_provider", || None),
            providers: at.field("providers", BTreeMap::new),
            virtual_providers: BTreeMap::new(),
            extensions,
            sections: own_sections(&source.value),
            changed: source.changes.all().map(|(name, change)| (name.to_owned(), change.names().map(str::to_owned).collect())).collect(),
        };
        if readable {
            if let Some(mut at) = at.member("providers") {
                config.virtual_providers = virtual_providers::read(&config.providers, &mut at);
            }
            check_providers(&config, &mut at);
            check_limits(&config, &mut at);
            check_http(&config, &mut at);
            check_pins(&config, &mut at);
            front::check(&config, &mut at);
            telemetry::check(&config, &mut at);
            check_storage(&config.storage, &mut at);
        }
        Self { config, problems, source }
    }

    /// The configuration if nothing forbids to start. Warnings stay readable in [`Rejected`]'s counterpart: the caller logs them.
    pub fn accept(self) -> Result<(Config, Vec<Problem>), Rejected> {
        if self.problems.iter().any(|p| p.severity == Severity::Error) {
            return Err(Rejected(self.problems));
        }
        Ok((self.config, self.problems))
    }
}

fn environment(name: &str) -> Option<String> {
    std::env::var(name).ok()
}

fn own_sections(root: &Value) -> BTreeMap<String, Value> {
    let members = root.as_object().into_iter().flatten();
    members.filter(|(name, _)| !OWN.contains(&name.as_str())).map(|(n, v)| (n.clone(), v.clone())).collect()
}

/// Names at the top that a setting may have, for suggestions.
pub fn own_names() -> &'static [&'static str] {
    &OWN
}

fn check_providers(config: &Config, at: &mut Cursor<'_>) {
    let usable = config.providers.values().any(|p| p.enabled);
    let Some(mut providers) = at.member("providers").filter(|_| usable || !config.providers.is_empty()) else {
        at.problems.push(Problem {
            severity: Severity::Error,
            place: at.source.place(""),
            path: "providers".into(),
            message: "no provider is configured, so no request could be answered. Add one, for example `providers: {local: {type: echo}}`."
                .into(),
        });
        return;
    };
    for (name, provider) in &config.providers {
        // Virtual ones were checked when they were read.
        let Some(mut at) = providers.member(name).filter(|_| !virtual_providers::is_virtual(&provider.r#type)) else { continue };
        crate::providers::check(name, provider, &mut at);
    }
    oauth::check_store(config, &mut providers);
    crate::providers::check_loops(config, &mut providers);
    if !usable {
        providers.error("every provider is disabled, so no request could be answered.".into());
    }
    if let Some(name) = &config.default_provider
        && !config.providers.get(name).is_some_and(|p| p.enabled)
    {
        let hint = problems::suggestion(name, config.providers.keys().map(String::as_str));
        if let Some(mut at) = at.member("default_provider") {
            at.error(format!("there is no enabled provider `{name}`.{hint}"));
        }
    }
}

fn check_limits(config: &Config, at: &mut Cursor<'_>) {
    let Some(mut extensions) = at.member("extensions") else { return };
    for (name, extension) in &config.extensions {
        let most = (crate::extensions::MAX_MEMORY >> 20) as u64;
        if extension.limits.memory_mb > most
            && let Some(mut at) = extensions.member(name)
        {
            at.error(format!("`limits.memory_mb` is {}; at most {most} MiB can be granted.", extension.limits.memory_mb));
        }
    }
}

fn check_http(config: &Config, at: &mut Cursor<'_>) {
    let Some(mut extensions) = at.member("extensions") else { return };
    for (name, extension) in &config.extensions {
        for message in extension.http.hosts.iter().filter_map(|entry| HostRule::parse(entry).err()) {
            if let Some(mut at) = extensions.member(name) {
                at.error(format!("`http.hosts`: {message}"));
            }
        }
    }
}

/// The reference of all settings, as Markdown.
pub fn reference() -> String {
    let top = "\nAt the top: `components` (folder of the components), `cache` (folder for compiled code), `default_provider` (where requests go that no \
               extension sent anywhere; the only provider when there is one), and the sections below. Other names belong to extensions.\n";
    let groups: [(&str, Vec<reader::FieldDoc>); 23] = [
        ("server", Server::fields()),
        ("server.tls", Tls::fields()),
        ("server.cors", Cors::fields()),
        ("auth", Auth::fields()),
        ("logging", Logging::fields()),
        ("telemetry", Telemetry::fields()),
        ("telemetry.otlp", Otlp::fields()),
        ("storage", Storage::fields()),
        ("storage.keys", KeysConfig::fields()),
        ("storage.records", RecordsConfig::fields()),
        ("storage.limits", LimitsStoreConfig::fields()),
        ("deploy", Deploy::fields()),
        ("deploy.pins", Pin::fields()),
        ("providers.NAME", ProviderConfig::fields()),
        ("providers.NAME.oauth", OAuthConfig::fields()),
        ("providers.NAME.retry", RetryConfig::fields()),
        ("providers.NAME.breaker", BreakerConfig::fields()),
        ("providers.NAME.config (type racing)", RacingConfig::fields()),
        ("providers.NAME.config (type fallback)", FallbackConfig::fields()),
        ("providers.NAME.config (type loadbalance)", LoadBalanceConfig::fields()),
        ("extensions.NAME", ExtensionConfig::fields()),
        ("extensions.NAME.limits", LimitsConfig::fields()),
        ("extensions.NAME.http", HttpGrant::fields()),
    ];
    let mut out = String::from("# Settings\n\nMade from the code by `wasmgate config-reference`; do not edit.\n");
    out.push_str(top);
    for (name, fields) in groups {
        out.push_str(&format!("\n## `{name}`\n\n| setting | what it is | expected | default |\n|---|---|---|---|\n"));
        for field in fields {
            let doc: String = field.doc.iter().map(|d| d.trim()).collect::<Vec<_>>().join(" ");
            let name = field.name;
            let default = if field.default.is_empty() { String::new() } else { format!("`{}`", field.default) };
            out.push_str(&format!("| `{name}` | {doc} | {} | {default} |\n", field.expected));
        }
    }
    out
}

#[cfg(test)]
mod tests;
