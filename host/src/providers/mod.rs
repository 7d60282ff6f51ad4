//! Where requests go: native providers, one file for each type.
//!
//! What is absent: a provider never sees a client's format or an extension. It gets bytes in its own format and gives bytes back.

//!
//! | file | what it is |
//! |---|---|
//! | `entry.rs` | a provider with everything around it: how a request is sent |
//! | `queue.rs`, `breaker.rs`, `retry.rs`, `credentials.rs` | who may go, who is left alone, what is tried again, with which key |
//! | `health.rs`, `listing.rs`, `upkeep.rs` | how it is, what models it has, and who looks when nobody asks |
//! | `presets.rs`, `check.rs` | vendors as data; what is wrong with settings |
//! | `oauth/` | providers that are logged in to |
//! | `transport.rs` | HTTP |

mod anthropic;
pub mod breaker;
mod check;
mod credentials;
mod echo;
mod entry;
mod gemini;
mod health;
mod listing;
pub mod oauth;
mod openai;
mod openai_responses;
pub mod presets;
mod queue;
mod retry;
mod transport;
mod upkeep;
mod window;
mod written;

use std::collections::BTreeMap;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::Stream;
use futures_util::future::BoxFuture;
use llm_codec::Format;
use llm_codec::embeddings::EmbeddingsApi;
use llm_codec::hub::{ChatError, ErrorClass};

use oauth::{Login, Logins};

use crate::config::virtual_providers::is_virtual;
use crate::config::{Config, ProviderConfig};
use crate::extensions::bindings::exports::wasmgate::extension::attempts::Tried;
use crate::extensions::bindings::exports::wasmgate::extension::on_complete::{Ending, Outcome};
use crate::extensions::bindings::wasmgate::extension::request::Target;
use crate::storage::Store;
use crate::virtual_providers::{Tree, persist};

pub use check::{check, check_loops};
pub use credentials::Credentials;
pub use entry::{Cooldown, Entry, Why};
pub use health::Figures;
pub use transport::Client;
pub use written::Written;

/// Types that are no rows of the table of vendors.
const OWN_TYPES: [&str; 4] = ["openai-responses", "anthropic", "gemini", "echo"];

/// Types that the configuration can name.
pub fn types() -> impl Iterator<Item = &'static str> {
    presets::ALL.iter().map(|p| p.name).chain(OWN_TYPES)
}

/// The types whose providers speak an API.
pub fn types_of_family(family: &str) -> Vec<&'static str> {
    match family {
        openai::FAMILY => vec!["openai", "openai-responses"],
        anthropic::FAMILY => vec!["anthropic"],
        gemini::FAMILY => vec!["gemini"],
        _ => Vec::new(),
    }
}

/// One request to a provider.
#[derive(Debug, Clone)]
pub struct Outgoing {
    /// The format of the body: one that the provider speaks, see [`Provider::format_for`].
    pub format: Format,
    /// The model, for a format that has it in the path. Where the body has it, it says the same.
    pub model: String,
    /// The body, in the provider's format, with model and stream flag set.
    pub body: Bytes,
    /// Whether the body asks for a stream.
    pub stream: bool,
    /// Header fields of the client that the format defines for the provider (for example `anthropic-beta`).
    pub headers: Vec<(http::HeaderName, http::HeaderValue)>,
    /// For those who want to know whether the request was ever written to a connection.
    pub written: Option<Written>,
}

/// Bytes of a stream as they arrive; an error ends it.
pub type ByteStream = Pin<Box<dyn Stream<Item = Result<Bytes, ChatError>> + Send>>;

/// What a provider answers.
pub enum Upstream {
    /// A complete document.
    Answer(Bytes),
    /// Server-sent events.
    Events(ByteStream),
}

/// A call of an operation: what the provider's API calls it, and the caller's own bytes.
#[derive(Debug, Clone)]
pub struct Forward {
    /// The model, when the call names one. Where the body has it, it says the same.
    pub model: String,
    /// The method.
    pub method: http::Method,
    /// Path and query, to be put behind the base URL. It begins with a slash and has no `..` in it. `{model}` in it stands for the model, where
    /// the API has it in the path.
    pub path: String,
    /// Content.
    pub body: Bytes,
    /// Header fields: what the body is, and what the API defines for the provider.
    pub headers: Vec<(http::HeaderName, http::HeaderValue)>,
    /// Whether the caller asks for a stream.
    pub stream: bool,
}

/// The answer to an operation, with a status of success.
pub struct Forwarded {
    /// Its status.
    pub status: http::StatusCode,
    /// All its header fields.
    pub headers: http::HeaderMap,
    /// Its content.
    pub body: ByteStream,
}

/// One upstream.
pub trait Provider: Send + Sync {
    /// The wire format that it speaks.
    fn format(&self) -> Format;

    /// The wire format that it is asked in for a client of the format with this name. It is [`Self::format`] unless the provider speaks the
    /// client's besides.
    fn format_for(&self, _client: &str) -> Format {
        self.format()
    }

    /// What of an error that the provider reported in an answer may be told: without the gateway's key, and not as the caller's
    /// fault when it is the gateway's. Errors that `send` returns are like that already.
    fn tellable(&self, error: ChatError) -> ChatError {
        error
    }

    /// The API whose operations (embeddings, files and the like) may be forwarded to it, if there is one.
    fn family(&self) -> Option<&'static str> {
        None
    }

    /// How it is asked for the embeddings of a model, if it has any.
    fn embeddings(&self, _model: &str) -> Option<EmbeddingsApi> {
        None
    }

    /// Forwards a call of an operation of its API. Whoever has a [`Provider::family`] has this.
    fn forward(&self, _call: Forward) -> BoxFuture<'_, Result<Forwarded, ChatError>> {
        Box::pin(async { Err(ChatError::new(ErrorClass::Internal, "The provider takes no operations.")) })
    }

    /// Sends a request. Dropping the future or the stream cancels it upstream.
    fn send(&self, outgoing: Outgoing) -> BoxFuture<'_, Result<Upstream, ChatError>>;

    /// Whether its API lists models.
    fn lists_models(&self) -> bool {
        false
    }

    /// Asks it for its models. Whoever [`Provider::lists_models`] has this.
    fn list_models(&self) -> BoxFuture<'_, Result<Vec<String>, ChatError>> {
        Box::pin(async { Err(ChatError::new(ErrorClass::Internal, "The provider has no list of models.")) })
    }

    /// What it authenticates with, if it is a host that could want that.
    fn credentials(&self) -> Option<&Credentials> {
        None
    }

    /// Where it is, as operators may see it.
    fn address(&self) -> Option<String> {
        None
    }
}

/// All providers of a generation, by name.
#[derive(Default)]
pub struct Directory {
    entries: BTreeMap<String, Arc<Entry>>,
    virtuals: Tree,
    logins: Arc<Logins>,
}

impl Directory {
    /// Builds every enabled provider. What it needs done in the background begins. Nobody can log in to one.
    pub fn build(config: &Config) -> anyhow::Result<Self> {
        Self::default().rebuild(config)
    }

    /// No provider yet; those that are built on it have the logins of the process.
    pub fn with_logins(logins: Arc<Logins>) -> Self {
        Self { logins, ..Self::default() }
    }

    /// With the virtual providers of the configuration in front. What is known of their members outlives them.
    pub fn with_virtual(self, config: &Config, store: &Store) -> Self {
        persist::load(config, store);
        Self { virtuals: Tree::build(&config.virtual_providers, &store.performance), ..self }
    }

    /// The virtual providers.
    pub fn virtuals(&self) -> &Tree {
        &self.virtuals
    }

    /// The same, with another configuration. Providers whose settings are the same stay as they are, with what is known of them.
    pub fn rebuild(&self, config: &Config) -> anyhow::Result<Self> {
        let enabled = config.providers.iter().filter(|(_, p)| p.enabled && !is_virtual(&p.r#type));
        let entries = enabled.map(|(name, config)| {
            let same = self.entries.get(name).filter(|e| *e.config() == *config);
            let entry = match same {
                Some(entry) => Arc::clone(entry),
                None => {
                    let login = config.oauth.as_ref().map(|oauth| self.logins.of(name, oauth, config.connect_timeout));
                    let (kind, provider) = provider(name, config, login.transpose()?)?;
                    Entry::start(name, kind, provider, config)
                }
            };
            Ok((name.clone(), entry))
        });
        Ok(Self { entries: entries.collect::<anyhow::Result<_>>()?, virtuals: Tree::default(), logins: Arc::clone(&self.logins) })
    }

    /// The provider of a name.
    pub fn find(&self, name: &str) -> Option<&Entry> {
        self.entries.get(name).map(|e| &**e)
    }

    /// All providers, by name.
    pub fn entries(&self) -> impl Iterator<Item = &Entry> {
        self.entries.values().map(|e| &**e)
    }

    /// An answer that had begun turned out to be none, and another provider is asked.
    pub fn broke(&self, target: &Target, error: &ChatError) {
        if let Some(entry) = self.find(&target.provider) {
            entry.broke(&target.model, error);
        }
    }

    /// A request is over: what its provider could not know when it began to answer.
    pub fn settle(&self, outcome: &Outcome, tried: &[Tried]) {
        let Some(served) = &outcome.served_by else { return };
        let Some(entry) = self.find(&served.provider) else { return };
        if let (Ending::Error, Some(error)) = (outcome.ending, &outcome.error) {
            entry.broke(&served.model, error);
        }
        let last = tried.iter().rfind(|t| t.target.provider == served.provider && t.target.model == served.model);
        let Some(last) = last.filter(|_| outcome.ending == Ending::Success) else { return };
        let Some(usage) = &last.usage else { return };
        // A stream's tokens come after its first byte, those of a complete answer before.
        let writing = outcome.duration_us.saturating_sub(outcome.first_byte_us.unwrap_or(0));
        let micros = if writing > 1000 { writing } else { last.duration_us };
        entry.wrote(&served.model, usage.output_tokens, Duration::from_micros(micros));
    }
}

fn provider(name: &str, config: &ProviderConfig, login: Option<Arc<Login>>) -> anyhow::Result<(&'static str, Arc<dyn Provider>)> {
    if let Some(preset) = presets::find(&config.r#type) {
        return Ok((preset.name, Arc::new(openai::OpenAi::new(name, config, preset, login)?)));
    }
    Ok(match config.r#type.as_str() {
        "openai-responses" => ("openai-responses", Arc::new(openai_responses::OpenAiResponses::new(name, config, login)?)),
        "anthropic" => ("anthropic", Arc::new(anthropic::Anthropic::new(name, config, login)?)),
        "gemini" => ("gemini", Arc::new(gemini::Gemini::new(name, config, login)?)),
        "echo" => ("echo", Arc::new(echo::Echo)),
        other => anyhow::bail!("provider `{name}` has the unknown type `{other}`"),
    })
}
