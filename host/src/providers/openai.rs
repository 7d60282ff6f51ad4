//! OpenAI and every host that speaks its chat completions: what is special about each is in its row of `presets.rs`.

use std::sync::Arc;

use futures_util::future::BoxFuture;
use llm_codec::Format;
use llm_codec::embeddings::EmbeddingsApi;
use llm_codec::hub::{ChatError, ErrorClass};

use super::credentials::Credentials;
use super::oauth::Login;
use super::presets::{self, Preset};
use super::{Client, Forward, Forwarded, Outgoing, Provider, Upstream, gemini, listing};
use crate::config::{Completions, ProviderConfig};

/// The API whose operations it takes.
pub(super) const FAMILY: &str = "openai";

/// The provider.
pub struct OpenAi {
    client: Client,
    completions: Option<Completing>,
    preset: &'static Preset,
    /// `api_version` of Azure.
    version: Option<String>,
    /// The model stands in the path, as Azure had it before its v1 API.
    in_path: bool,
}

impl OpenAi {
    /// Connects nothing yet.
    pub fn new(name: &str, config: &ProviderConfig, preset: &'static Preset, login: Option<Arc<Login>>) -> anyhow::Result<Self> {
        let version = config.api_version.clone();
        let in_path = version.as_deref().is_some_and(is_dated);
        let mut address = preset.address(config.resource.as_deref()).into_owned();
        if in_path {
            let length = address.trim_end_matches("/v1").len();
            address.truncate(length);
        }
        let client = Client::new(name, config, Format::OpenaiChat, &address, "/chat/completions", preset.key, login)?;
        Ok(Self { completions: Completing::new(config, &client)?, client, preset, version, in_path })
    }

    /// Where a request goes.
    fn url(&self, model: &str, format: Format) -> Result<reqwest::Url, ChatError> {
        let completing = Completing::url_for(self.completions.as_ref(), format);
        let path: &[&str] = if completing.is_some() { &["completions"] } else { &["chat", "completions"] };
        let mut url = completing.unwrap_or_else(|| self.client.url().clone());
        if self.in_path {
            gemini::check_model(model)?;
            url = reqwest::Url::parse(self.client.base()).unwrap_or(url);
            let taken = url.path_segments_mut().map(|mut segments| {
                segments.extend(["deployments", model]).extend(path);
            });
            taken.map_err(|()| ChatError::new(ErrorClass::Internal, "The provider's address takes no path."))?;
        }
        if let Some(version) = &self.version {
            url.query_pairs_mut().append_pair("api-version", version);
        }
        Ok(url)
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

/// Whether a version of Azure's interface is one of those that are named by a date.
pub(super) fn is_dated(version: &str) -> bool {
    let date = version.strip_suffix("-preview").unwrap_or(version);
    date.len() == 10 && date.bytes().enumerate().all(|(n, b)| if n == 4 || n == 7 { b == b'-' } else { b.is_ascii_digit() })
}

impl Provider for OpenAi {
    fn format(&self) -> Format {
        Format::OpenaiChat
    }

    fn format_for(&self, client: &str) -> Format {
        Completing::format_for(self.completions.as_ref(), client).unwrap_or_else(|| self.format())
    }

    fn family(&self) -> Option<&'static str> {
        // Where the model stands in the path, the paths of operations are others too.
        (!self.in_path).then_some(FAMILY)
    }

    fn embeddings(&self, _model: &str) -> Option<EmbeddingsApi> {
        (!self.in_path).then_some(EmbeddingsApi::Openai)
    }

    fn forward(&self, mut call: Forward) -> BoxFuture<'_, Result<Forwarded, ChatError>> {
        if let Some(version) = &self.version {
            call.path.push_str(if call.path.contains('?') { "&api-version=" } else { "?api-version=" });
            call.path.push_str(version);
        }
        Box::pin(self.client.forward(call))
    }

    fn tellable(&self, error: ChatError) -> ChatError {
        self.client.tellable(error)
    }

    fn send(&self, mut outgoing: Outgoing) -> BoxFuture<'_, Result<Upstream, ChatError>> {
        Box::pin(async move {
            if outgoing.format != Format::OpenaiCompletions {
                outgoing.body = self.preset.adapted(outgoing.body);
            }
            self.client.post(self.url(&outgoing.model, outgoing.format)?, outgoing).await
        })
    }

    fn lists_models(&self) -> bool {
        self.preset.lists_models
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

/// The row of OpenAI itself.
pub(super) fn itself() -> &'static Preset {
    presets::find("openai").unwrap_or(&presets::ALL[0])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Reading, Source};

    fn check(settings: &str, model: &str, expect: &str) {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let text = format!("providers: {{a: {{type: azure-openai, api_key: k, {settings}}}}}\n");
        let Reading { config, problems, .. } = Reading::of(Source::parse("x.yaml", &text, &[], &|_| None));
        assert_eq!(problems, [], "{settings}");
        let preset = presets::find("azure-openai").expect("it is in the table");
        let provider = OpenAi::new("a", &config.providers["a"], preset, None).expect("a provider");
        let found = provider.url(model, Format::OpenaiChat).map_or_else(|e| e.message, |url| url.to_string());
        assert_eq!(found, expect, "{settings}");
    }

    #[test]
    fn addresses_of_azure() {
        check("resource: mine", "m", "https://mine.openai.azure.com/openai/v1/chat/completions");
        check("resource: mine, api_version: preview", "m", "https://mine.openai.azure.com/openai/v1/chat/completions?api-version=preview");
        check(
            "resource: mine, api_version: \"2024-10-21\"",
            "gpt 4/o",
            "https://mine.openai.azure.com/openai/deployments/gpt%204%2Fo/chat/completions?api-version=2024-10-21",
        );
        check(
            "base_url: \"http://a.example/openai\", api_version: \"2025-01-01-preview\"",
            "m",
            "http://a.example/openai/deployments/m/chat/completions?api-version=2025-01-01-preview",
        );
        check(
            "resource: mine, api_version: \"2024-10-21\"",
            "..",
            "`model`: the name `..` is empty or has an empty piece, `.` or `..` between its slashes; write the plain name.",
        );
    }
}
