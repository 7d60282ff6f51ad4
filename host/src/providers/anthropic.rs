//! Anthropic messages.

use futures_util::future::BoxFuture;
use http::{HeaderMap, HeaderName, HeaderValue};
use llm_codec::Format;
use llm_codec::hub::ChatError;

use super::{Client, Outgoing, Provider, Upstream};
use crate::config::ProviderConfig;

const DEFAULT_URL: &str = "https://api.anthropic.com/v1";

/// Version of the interface that is asked for when the client does not name one.
const VERSION: (HeaderName, HeaderValue) = (HeaderName::from_static("anthropic-version"), HeaderValue::from_static("2023-06-01"));

/// The provider.
pub struct Anthropic {
    client: Client,
}

impl Anthropic {
    /// Connects nothing yet.
    pub fn new(name: &str, config: &ProviderConfig) -> anyhow::Result<Self> {
        let mut headers = HeaderMap::new();
        if let Some(key) = &config.api_key {
            let mut value = HeaderValue::try_from(key.expose())
                .map_err(|_| anyhow::anyhow!("`providers.{name}.api_key` holds a character that no header can carry"))?;
            value.set_sensitive(true);
            headers.insert("x-api-key", value);
        }
        Ok(Self { client: Client::new(name, config, Format::AnthropicMessages, DEFAULT_URL, "/messages", headers)? })
    }
}

impl Provider for Anthropic {
    fn format(&self) -> Format {
        Format::AnthropicMessages
    }

    fn tellable(&self, error: ChatError) -> ChatError {
        self.client.tellable(error)
    }

    fn send(&self, mut outgoing: Outgoing) -> BoxFuture<'_, Result<Upstream, ChatError>> {
        if !outgoing.headers.iter().any(|(name, _)| *name == VERSION.0) {
            outgoing.headers.push(VERSION);
        }
        Box::pin(self.client.send(outgoing))
    }
}
