//! OpenAI and every host that speaks its chat completions.

use futures_util::future::BoxFuture;
use http::{HeaderMap, HeaderValue, header};
use llm_codec::Format;
use llm_codec::hub::ChatError;

use super::{Client, Forward, Forwarded, Outgoing, Provider, Upstream};
use crate::config::ProviderConfig;

/// Where OpenAI is.
pub(super) const DEFAULT_URL: &str = "https://api.openai.com/v1";

/// The API whose operations it takes.
pub(super) const FAMILY: &str = "openai";

/// The provider.
pub struct OpenAi {
    client: Client,
}

impl OpenAi {
    /// Connects nothing yet.
    pub fn new(name: &str, config: &ProviderConfig) -> anyhow::Result<Self> {
        Ok(Self { client: Client::new(name, config, Format::OpenaiChat, DEFAULT_URL, "/chat/completions", headers(name, config)?)? })
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
        Box::pin(self.client.send(outgoing))
    }
}
