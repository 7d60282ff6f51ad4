//! OpenAI and every host that speaks its responses.

use std::sync::Arc;

use futures_util::future::BoxFuture;
use llm_codec::Format;
use llm_codec::embeddings::EmbeddingsApi;
use llm_codec::hub::ChatError;

use super::credentials::Credentials;
use super::oauth::Login;
use super::{Client, Forward, Forwarded, Outgoing, Provider, Upstream, listing, openai};
use crate::config::ProviderConfig;

/// The provider.
pub struct OpenAiResponses {
    client: Client,
    completions: Option<openai::Completing>,
}

impl OpenAiResponses {
    /// Connects nothing yet.
    pub fn new(name: &str, config: &ProviderConfig, login: Option<Arc<Login>>) -> anyhow::Result<Self> {
        let preset = openai::itself();
        let client = Client::new(name, config, Format::OpenaiResponses, preset.base_url, "/responses", preset.key, login)?;
        Ok(Self { completions: openai::Completing::new(config, &client)?, client })
    }
}

impl Provider for OpenAiResponses {
    fn format(&self) -> Format {
        Format::OpenaiResponses
    }

    fn format_for(&self, client: &str) -> Format {
        openai::Completing::format_for(self.completions.as_ref(), client).unwrap_or_else(|| self.format())
    }

    fn family(&self) -> Option<&'static str> {
        Some(openai::FAMILY)
    }

    fn embeddings(&self, _model: &str) -> Option<EmbeddingsApi> {
        Some(EmbeddingsApi::Openai)
    }

    fn forward(&self, call: Forward) -> BoxFuture<'_, Result<Forwarded, ChatError>> {
        Box::pin(self.client.forward(call))
    }

    fn tellable(&self, error: ChatError) -> ChatError {
        self.client.tellable(error)
    }

    fn send(&self, outgoing: Outgoing) -> BoxFuture<'_, Result<Upstream, ChatError>> {
        let url = openai::Completing::url_for(self.completions.as_ref(), outgoing.format);
        Box::pin(self.client.post(url.unwrap_or_else(|| self.client.url().clone()), outgoing))
    }

    fn lists_models(&self) -> bool {
        true
    }

    fn list_models(&self) -> BoxFuture<'_, Result<Vec<String>, ChatError>> {
        Box::pin(listing::openai(&self.client))
    }

    fn credentials(&self) -> Option<&Credentials> {
        Some(self.client.credentials())
    }

    fn address(&self) -> Option<String> {
        Some(self.client.address())
    }
}
