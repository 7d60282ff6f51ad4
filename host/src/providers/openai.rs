//! OpenAI and every host that speaks its chat completions.

use futures_util::future::BoxFuture;
use http::{HeaderMap, HeaderValue, header};
use llm_codec::Format;
use llm_codec::hub::ChatError;

use super::{Client, Forward, Forwarded, Outgoing, Provider, Upstream};
use crate::config::{Completions, ProviderConfig};

/// Where OpenAI is.
pub(super) const DEFAULT_URL: &str = "https://api.openai.com/v1";

/// The API whose operations it takes.
pub(super) const FAMILY: &str = "openai";

/// The provider.
pub struct OpenAi {
    client: Client,
    completions: Option<Completing>,
}

impl OpenAi {
    /// Connects nothing yet.
    pub fn new(name: &str, config: &ProviderConfig) -> anyhow::Result<Self> {
        let client = Client::new(name, config, Format::OpenaiChat, DEFAULT_URL, "/chat/completions", headers(name, config)?)?;
        Ok(Self { completions: Completing::new(config, &client)?, client })
    }
}

/// Legacy completions, which a host has beside its conversations.
pub(super) struct Completing {
    url: reqwest::Url,
}

impl Completing {
    /// None when the configuration says that they become conversations.
    pub fn new(config: &ProviderConfig, client: &Client) -> anyhow::Result<Option<Self>> {
        let forwards = config.completions == Completions::Forward;
        forwards.then(|| Ok(Self { url: client.below("/completions")? })).transpose()
    }

    /// The format for a client's, where it is this one.
    pub fn format_for(this: Option<&Self>, client: &str) -> Option<Format> {
        this.and(Format::from_name(client)).filter(|format| *format == Format::OpenaiCompletions)
    }

    /// Where a body of this format goes.
    pub fn url_for(this: Option<&Self>, format: Format) -> Option<reqwest::Url> {
        this.filter(|_| format == Format::OpenaiCompletions).map(|completing| completing.url.clone())
    }
}

/// The header fields of every request.
pub(super) fn headers(name: &str, config: &ProviderConfig) -> anyhow::Result<HeaderMap> {
    let mut headers = HeaderMap::new();
    if let Some(key) = &config.api_key {
        let mut value = HeaderValue::try_from(format!("Bearer {}", key.expose()))
            .map_err(|_| anyhow::anyhow!("`providers.{name}.api_key` holds a character that no header can carry"))?;
        value.set_sensitive(true);
        headers.insert(header::AUTHORIZATION, value);
    }
    Ok(headers)
}

impl Provider for OpenAi {
    fn format(&self) -> Format {
        Format::OpenaiChat
    }

    fn format_for(&self, client: &str) -> Format {
        Completing::format_for(self.completions.as_ref(), client).unwrap_or_else(|| self.format())
    }

    fn family(&self) -> Option<&'static str> {
        Some(FAMILY)
    }

    fn forward(&self, call: Forward) -> BoxFuture<'_, Result<Forwarded, ChatError>> {
        Box::pin(self.client.forward(call))
    }

    fn tellable(&self, error: ChatError) -> ChatError {
        self.client.tellable(error)
    }

    fn send(&self, outgoing: Outgoing) -> BoxFuture<'_, Result<Upstream, ChatError>> {
        let url = Completing::url_for(self.completions.as_ref(), outgoing.format);
        Box::pin(self.client.post(url.unwrap_or_else(|| self.client.url().clone()), outgoing))
    }
}
