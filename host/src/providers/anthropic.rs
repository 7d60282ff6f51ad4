//! Anthropic messages.

use futures_util::future::BoxFuture;
use http::{HeaderMap, HeaderName, HeaderValue};
use llm_codec::Format;
use llm_codec::hub::ChatError;

use super::{Client, Forward, Forwarded, Outgoing, Provider, Upstream};
use crate::config::ProviderConfig;

const DEFAULT_URL: &str = "https://api.anthropic.com/v1";

/// Version of the interface that is asked for when the client does not name one.
const VERSION: (HeaderName, HeaderValue) = (HeaderName::from_static("anthropic-version"), HeaderValue::from_static("2023-06-01"));

/// The API whose operations it takes.
pub(super) const FAMILY: &str = "anthropic";

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

    fn family(&self) -> Option<&'static str> {
        Some(FAMILY)
    }

    fn forward(&self, mut call: Forward) -> BoxFuture<'_, Result<Forwarded, ChatError>> {
        add_version(&mut call.headers);
        Box::pin(self.client.forward(call))
    }

    fn tellable(&self, error: ChatError) -> ChatError {
        self.client.tellable(error)
    }

    fn send(&self, mut outgoing: Outgoing) -> BoxFuture<'_, Result<Upstream, ChatError>> {
        add_version(&mut outgoing.headers);
        Box::pin(self.client.send(outgoing))
    }
}

/// Every request names a version.
fn add_version(headers: &mut Vec<(HeaderName, HeaderValue)>) {
    if !headers.iter().any(|(name, _)| *name == VERSION.0) {
        headers.push(VERSION);
    }
}
