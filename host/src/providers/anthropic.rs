//! Anthropic messages.

use std::sync::Arc;

use futures_util::future::BoxFuture;
use http::{HeaderName, HeaderValue};
use llm_codec::Format;
use llm_codec::hub::ChatError;

use super::credentials::Credentials;
use super::oauth::Login;
use super::presets::KeyHeader;
use super::{Client, Forward, Forwarded, Outgoing, Provider, Upstream, listing};
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
    pub fn new(name: &str, config: &ProviderConfig, login: Option<Arc<Login>>) -> anyhow::Result<Self> {
        let client = Client::new(name, config, Format::AnthropicMessages, DEFAULT_URL, "/messages", KeyHeader::Plain("x-api-key"), login)?;
        Ok(Self { client })
    }

    /// Every request names a version.
    fn add_version(&self, headers: &mut Vec<(HeaderName, HeaderValue)>) {
        let configured = self.client.credentials().fields().contains_key(&VERSION.0);
        if !configured && !headers.iter().any(|(name, _)| *name == VERSION.0) {
            headers.push(VERSION);
        }
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
        self.add_version(&mut call.headers);
        Box::pin(self.client.forward(call))
    }

    fn tellable(&self, error: ChatError) -> ChatError {
        self.client.tellable(error)
    }

    fn send(&self, mut outgoing: Outgoing) -> BoxFuture<'_, Result<Upstream, ChatError>> {
        self.add_version(&mut outgoing.headers);
        Box::pin(self.client.send(outgoing))
    }
    fn lists_models(&self) -> bool {
        true
    }

    fn list_models(&self) -> BoxFuture<'_, Result<Vec<String>, ChatError>> {
        let mut headers = Vec::new();
        self.add_version(&mut headers);
        Box::pin(listing::anthropic(&self.client, headers))
    }

    fn credentials(&self) -> Option<&Credentials> {
        Some(self.client.credentials())
    }

    fn address(&self) -> Option<String> {
        Some(self.client.address())
    }
}
