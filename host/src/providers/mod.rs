//! Where requests go: native providers, one file for each type.
//!
//! What is absent: a provider never sees a client's format or an extension. It gets bytes in its own format and gives bytes back.

mod anthropic;
mod echo;
mod gemini;
mod openai;
mod openai_responses;
mod transport;

use std::collections::BTreeMap;
use std::pin::Pin;
use std::sync::Arc;

use bytes::Bytes;
use futures_util::Stream;
use futures_util::future::BoxFuture;
use llm_codec::Format;
use llm_codec::hub::{ChatError, ErrorClass};

use crate::config::problems::suggestion;
use crate::config::reader::Cursor;
use crate::config::{Completions, Config, OnUnsupported, ProviderConfig};

pub use transport::Client;

/// Types that the configuration can name.
pub const TYPES: [&str; 5] = ["openai", "openai-responses", "anthropic", "gemini", "echo"];

/// The types whose providers speak an API.
pub fn types_of_family(family: &str) -> Vec<&'static str> {
    match family {
        openai::FAMILY => vec!["openai", "openai-responses"],
        anthropic::FAMILY => vec!["anthropic"],
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
    /// The method.
    pub method: http::Method,
    /// Path and query, to be put behind the base URL. It begins with a slash and has no `..` in it.
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

    /// Forwards a call of an operation of its API. Whoever has a [`Provider::family`] has this.
    fn forward(&self, _call: Forward) -> BoxFuture<'_, Result<Forwarded, ChatError>> {
        Box::pin(async { Err(ChatError::new(ErrorClass::Internal, "The provider takes no operations.")) })
    }

    /// Sends a request. Dropping the future or the stream cancels it upstream.
    fn send(&self, outgoing: Outgoing) -> BoxFuture<'_, Result<Upstream, ChatError>>;
}

/// A provider with what the configuration says of it.
pub struct Entry {
    /// Its name.
    pub name: String,
    /// Its type.
    pub kind: &'static str,
    /// Model to ask for when nobody says.
    pub default_model: Option<String>,
    /// Its models; empty means that any may be asked for.
    pub models: Vec<String>,
    /// `max_tokens` for formats that require it.
    pub default_max_tokens: u64,
    /// What is done about what its format cannot express.
    pub on_unsupported: OnUnsupported,
    /// The upstream.
    pub provider: Arc<dyn Provider>,
}

impl Entry {
    /// Whether a model may be asked for.
    pub fn offers(&self, model: &str) -> bool {
        self.models.is_empty() || self.models.iter().any(|m| m == model)
    }
}

/// All providers of a generation, by name.
#[derive(Default)]
pub struct Directory {
    entries: BTreeMap<String, Entry>,
}

impl Directory {
    /// Builds every enabled provider.
    pub fn build(config: &Config) -> anyhow::Result<Self> {
        let enabled = config.providers.iter().filter(|(_, p)| p.enabled);
        let entries = enabled.map(|(name, config)| Ok((name.clone(), entry(name, config)?))).collect::<anyhow::Result<_>>()?;
        Ok(Self { entries })
    }

    /// The provider of a name.
    pub fn find(&self, name: &str) -> Option<&Entry> {
        self.entries.get(name)
    }

    /// All providers, by name.
    pub fn entries(&self) -> impl Iterator<Item = &Entry> {
        self.entries.values()
    }
}

fn entry(name: &str, config: &ProviderConfig) -> anyhow::Result<Entry> {
    let (kind, provider): (_, Arc<dyn Provider>) = match config.r#type.as_str() {
        "openai" => ("openai", Arc::new(openai::OpenAi::new(name, config)?)),
        "openai-responses" => ("openai-responses", Arc::new(openai_responses::OpenAiResponses::new(name, config)?)),
        "anthropic" => ("anthropic", Arc::new(anthropic::Anthropic::new(name, config)?)),
        "gemini" => ("gemini", Arc::new(gemini::Gemini::new(name, config)?)),
        "echo" => ("echo", Arc::new(echo::Echo)),
        other => anyhow::bail!("provider `{name}` has the unknown type `{other}`"),
    };
    let mut models = config.models.clone();
    if models.is_empty() && kind == "echo" {
        models = vec![config.default_model.clone().unwrap_or_else(|| "echo".into())];
    }
    Ok(Entry {
        name: name.to_owned(),
        kind,
        default_model: config.default_model.clone(),
        models,
        default_max_tokens: config.default_max_tokens,
        on_unsupported: config.on_unsupported,
        provider,
    })
}

/// What is wrong with a provider's settings, beyond their types.
pub fn check(config: &ProviderConfig, at: &mut Cursor<'_>) {
    let kind = config.r#type.as_str();
    if kind.is_empty() {
        at.error(format!("`type` is missing; use one of `{}`.", TYPES.join("`, `")));
        return;
    }
    if !TYPES.contains(&kind) {
        let message =
            format!("there is no provider type `{kind}`.{} Known: `{}`.", suggestion(kind, TYPES.into_iter()), TYPES.join("`, `"));
        if let Some(mut at) = at.member("type") {
            at.error(message);
        }
        return;
    }
    if let Some(url) = &config.base_url
        && let Err(reason) = transport::check_url(url)
        && let Some(mut at) = at.member("base_url")
    {
        at.error(reason);
    }
    gemini::check(config, at);
    if config.completions != Completions::Forward
        && types_of_family(openai::FAMILY).iter().all(|known| *known != kind)
        && let Some(mut at) = at.member("completions")
    {
        at.error(format!("a provider of type `{kind}` has no legacy completions, and always gets conversations; leave it out."));
    }
    // Whoever wrote a key that could not be read was told so already.
    let key = format!("{}.api_key", at.path);
    if kind != "echo" && config.base_url.is_none() && config.api_key.is_none() && at.problems.iter().all(|p| p.path != key) {
        at.warning(format!("`api_key` is not set, so {kind} will refuse every request."));
    }
    if let (Some(model), false) = (&config.default_model, config.models.is_empty())
        && !config.models.contains(model)
        && let Some(mut at) = at.member("default_model")
    {
        at.error(format!("`{model}` is not in the list `models`.{}", suggestion(model, config.models.iter().map(String::as_str))));
    }
}
