//! Gemini's `generateContent`: the Gemini API, and Vertex AI when a project is configured.
//!
//! The model and the wish for a stream stand in the path, and so do the model and the method of an operation.

use std::sync::Arc;

use bytes::Bytes;
use futures_util::future::BoxFuture;
use llm_codec::Format;
use llm_codec::embeddings::EmbeddingsApi;
use llm_codec::hub::{ChatError, ErrorClass};
use llm_codec::json::Document;
use llm_codec::passthrough::splice;

use super::credentials::Credentials;
use super::oauth::Login;
use super::presets::KeyHeader;
use super::{Client, Forward, Forwarded, Outgoing, Provider, Upstream, listing};
use crate::config::ProviderConfig;
use crate::config::reader::Cursor;

const DEFAULT_URL: &str = "https://generativelanguage.googleapis.com";

/// The API whose operations it takes.
pub(super) const FAMILY: &str = "gemini";

/// The provider.
pub struct Gemini {
    client: Client,
    /// It is Vertex AI, which has no list of what can be asked for.
    vertex: bool,
}

impl Gemini {
    /// Connects nothing yet.
    pub fn new(name: &str, config: &ProviderConfig, login: Option<Arc<Login>>) -> anyhow::Result<Self> {
        let (default, path) = place(config);
        let vertex = config.project.is_some();
        let key = if vertex { KeyHeader::Bearer } else { KeyHeader::Plain("x-goog-api-key") };
        Ok(Self { client: Client::new(name, config, Format::GeminiGenerate, &default, &path, key, login)?, vertex })
    }
}

/// Where the models are: the address when none is configured, and the path behind it.
fn place(config: &ProviderConfig) -> (String, String) {
    match (&config.project, &config.location) {
        (Some(project), Some(location)) => {
            let path = format!("/projects/{project}/locations/{location}/publishers/google/models");
            (vertex(location), format!("{}{path}", version(config, "v1")))
        }
        _ => (DEFAULT_URL.to_owned(), format!("{}/models", version(config, "v1beta"))),
    }
}

/// Where a conversation goes.
fn generating(models: reqwest::Url, model: &str, stream: bool) -> Result<reqwest::Url, ChatError> {
    let (method, query) = if stream { ("streamGenerateContent", Some("alt=sse")) } else { ("generateContent", None) };
    address(models, model, method, query)
}

/// Where a request goes. A name of a model is one segment of the path.
fn address(mut models: reqwest::Url, model: &str, method: &str, query: Option<&str>) -> Result<reqwest::Url, ChatError> {
    check_model(model)?;
    match models.path_segments_mut() {
        Ok(mut segments) => segments.push(&format!("{model}:{method}")),
        Err(()) => return Err(ChatError::new(ErrorClass::Internal, "The provider's address takes no path.")),
    };
    models.set_query(query);
    Ok(models)
}

/// Method and query of an operation's path.
fn method(path: &str) -> Option<(&str, Option<&str>)> {
    let rest = path.strip_prefix("/models/{model}:")?;
    Some(rest.split_once('?').map_or((rest, None), |(method, query)| (method, Some(query))))
}

/// The body of a count of tokens as Vertex AI has it: the members of the request that is counted, without a request around them. Which tools may
/// be called and what is too dangerous has no tokens, and no place there.
fn unwrapped(body: &Bytes) -> Option<Bytes> {
    let document = Document::parse(body).ok()?;
    let nested = document.get("generateContentRequest").or_else(|| document.get("generate_content_request"))?.as_bytes();
    let inner = Document::parse(nested).ok()?;
    let without = ["model", "toolConfig", "tool_config", "safetySettings", "safety_settings"];
    Some(splice(nested, &inner, &without.map(|name| (name, None))).into())
}

/// Whether Vertex AI embeds with a model by `embedContent`; all older ones it asks to `predict`.
fn embeds_content(model: &str) -> bool {
    model.contains("gemini") && model != "gemini-embedding-001"
}

/// Refuses a second spelling of a model's name: hooks, lists and prices know one. An address drops tabs and line ends without a word.
pub(super) fn check_model(model: &str) -> Result<(), ChatError> {
    let fault = if model.chars().any(char::is_control) {
        "holds a control character; leave it out".to_owned()
    } else if let Some(found) = model.chars().find(|c| matches!(c, '?' | '#')) {
        format!("holds `{found}`, which ends a path; leave it out")
    } else if model.split('/').any(|piece| matches!(piece, "" | "." | "..")) {
        "is empty or has an empty piece, `.` or `..` between its slashes; write the plain name".to_owned()
    } else if model.starts_with("models/") {
        "begins with `models/`; leave the prefix out".to_owned()
    } else {
        return Ok(());
    };
    let message = format!("`model`: the name `{}` {fault}.", model.escape_debug());
    Err(ChatError { param: Some("model".into()), ..ChatError::new(ErrorClass::InvalidRequest, message) })
}

/// The host of Vertex AI for a location.
fn vertex(location: &str) -> String {
    if location == "global" { "https://aiplatform.googleapis.com".into() } else { format!("https://{location}-aiplatform.googleapis.com") }
}

/// The version as the beginning of the path, unless the configured address ends with one.
fn version(config: &ProviderConfig, default: &str) -> String {
    let last = config.base_url.as_deref().unwrap_or_default().trim_end_matches('/').rsplit('/').next().unwrap_or_default();
    let is_version =
        last.strip_prefix('v').is_some_and(|rest| rest.starts_with(|c: char| c.is_ascii_digit()) && !rest.contains(['.', ':']));
    if is_version { String::new() } else { format!("/{default}") }
}

/// What is wrong with the settings of Vertex AI.
pub(super) fn check(config: &ProviderConfig, at: &mut Cursor<'_>) {
    let plain =
        |text: &str| !text.is_empty() && text.chars().all(|c| c.is_ascii_alphanumeric() || "-_:.".contains(c)) && !text.starts_with('.');
    for (name, value, other, set) in [
        ("project", &config.project, "location", config.location.is_some()),
        ("location", &config.location, "project", config.project.is_some()),
    ] {
        let Some(value) = value else { continue };
        let reason = if config.r#type != "gemini" {
            format!("only a provider of type `gemini` has a {name}.")
        } else if !plain(value) {
            format!("`{value}` is no {name} of Google Cloud: it has letters, digits and hyphens.")
        } else if !set {
            format!("Vertex AI needs `{other}` too.")
        } else {
            continue;
        };
        if let Some(mut at) = at.member(name) {
            at.error(reason);
        }
    }
}

impl Provider for Gemini {
    fn format(&self) -> Format {
        Format::GeminiGenerate
    }

    fn family(&self) -> Option<&'static str> {
        Some(FAMILY)
    }

    fn embeddings(&self, model: &str) -> Option<EmbeddingsApi> {
        Some(match (self.vertex, embeds_content(model)) {
            (false, _) => EmbeddingsApi::Gemini,
            (true, true) => EmbeddingsApi::VertexContent,
            (true, false) => EmbeddingsApi::VertexPredict,
        })
    }

    fn forward(&self, mut call: Forward) -> BoxFuture<'_, Result<Forwarded, ChatError>> {
        Box::pin(async move {
            let (method, query) = method(&call.path).ok_or_else(|| self.client.no_such_path())?;
            let url = address(self.client.url().clone(), &call.model, method, query)?;
            if self.vertex
                && method == "countTokens"
                && let Some(body) = unwrapped(&call.body)
            {
                call.body = body;
            }
            self.client.forward_to(url, call).await
        })
    }

    fn tellable(&self, error: ChatError) -> ChatError {
        self.client.tellable(error)
    }

    fn send(&self, outgoing: Outgoing) -> BoxFuture<'_, Result<Upstream, ChatError>> {
        Box::pin(async move {
            let url = generating(self.client.url().clone(), &outgoing.model, outgoing.stream)?;
            self.client.post(url, outgoing).await
        })
    }

    fn lists_models(&self) -> bool {
        !self.vertex
    }

    fn list_models(&self) -> BoxFuture<'_, Result<Vec<String>, ChatError>> {
        Box::pin(listing::gemini(&self.client))
    }

    fn credentials(&self) -> Option<&Credentials> {
        Some(self.client.credentials())
    }

    fn address(&self) -> Option<String> {
        Some(self.client.address())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Config, Reading, Source};

    /// The address of a request, or what is wrong with the settings.
    fn check(settings: &str, model: &str, stream: bool, expect: &str) {
        let text = format!("providers: {{g: {{type: gemini, api_key: k, {settings}}}}}\n");
        let Reading { config, problems, .. } = Reading::of(Source::parse("x.yaml", &text, &[], &|_| None));
        let found = match problems.first() {
            Some(problem) => problem.message.clone(),
            None => sent_to(&config, model, stream),
        };
        assert_eq!(found, expect, "{settings}");
    }

    fn sent_to(config: &Config, model: &str, stream: bool) -> String {
        let config = &config.providers["g"];
        let (default, path) = place(config);
        let base = config.base_url.as_deref().unwrap_or(&default).trim_end_matches('/');
        match generating(format!("{base}{path}").parse().expect("an address"), model, stream) {
            Ok(url) => url.to_string(),
            Err(e) => e.message,
        }
    }

    #[test]
    fn addresses() {
        check("", "gemini-x", true, "https://generativelanguage.googleapis.com/v1beta/models/gemini-x:streamGenerateContent?alt=sse");
        check("base_url: \"http://a.example/x/\"", "m", false, "http://a.example/x/v1beta/models/m:generateContent");
        check("base_url: \"http://a.example/v1\"", "m", false, "http://a.example/v1/models/m:generateContent");
        let vertex = "project: p-1, location: europe-west4";
        check(
            vertex,
            "m",
            true,
            "https://europe-west4-aiplatform.googleapis.com/v1/projects/p-1/locations/europe-west4/publishers/google/models/m:streamGenerateContent?alt=sse",
        );
        check(
            "project: p, location: global",
            "m",
            false,
            "https://aiplatform.googleapis.com/v1/projects/p/locations/global/publishers/google/models/m:generateContent",
        );
        // A name reaches nothing but a model.
        let base = "base_url: \"http://a.example\"";
        check(base, "tunedModels/x", false, "http://a.example/v1beta/models/tunedModels%2Fx:generateContent");
        check(base, "a%2Fb", false, "http://a.example/v1beta/models/a%252Fb:generateContent");
    }

    #[test]
    fn names_that_are_no_models() {
        for (model, expect) in [
            ("models/gemini-x", "`model`: the name `models/gemini-x` begins with `models/`; leave the prefix out."),
            ("gem\tini", "`model`: the name `gem\\tini` holds a control character; leave it out."),
            ("x\r\n", "`model`: the name `x\\r\\n` holds a control character; leave it out."),
            ("x?y#z", "`model`: the name `x?y#z` holds `?`, which ends a path; leave it out."),
            ("x#z", "`model`: the name `x#z` holds `#`, which ends a path; leave it out."),
        ] {
            check("", model, false, expect);
        }
        for model in ["", "..", "../../x", "a/../b", "a/./b", "a//b", "/a", "a/"] {
            let expect = format!(
                "`model`: the name `{model}` is empty or has an empty piece, `.` or `..` between its slashes; write the plain name."
            );
            check("", model, false, &expect);
        }
    }

    #[test]
    fn methods_of_operations() {
        assert_eq!(method("/models/{model}:countTokens"), Some(("countTokens", None)));
        assert_eq!(method("/models/{model}:embedContent?alt=json&x"), Some(("embedContent", Some("alt=json&x"))));
        for path in ["/files", "/models/m:countTokens", "/models"] {
            assert_eq!(method(path), None, "{path}");
        }
        let models = "http://a.example/v1beta/models".parse().expect("an address");
        let url = address(models, "up/ft:a", "countTokens", Some("alt=json")).expect("an address");
        assert_eq!(url.as_str(), "http://a.example/v1beta/models/up%2Fft:a:countTokens?alt=json");
    }

    #[test]
    fn a_count_of_vertex_has_nothing_around_it() {
        for (body, expect) in [
            (r#"{"contents":[]}"#, None),
            (r#"{"generateContentRequest":5}"#, None),
            (
                r#"{"generateContentRequest":{"model":"models/m", "contents":[1.50],"toolConfig":{},"tools":[]}}"#,
                Some(r#"{"contents":[1.50],"tools":[]}"#),
            ),
            (r#"{"generate_content_request":{"contents":[],"safety_settings":[]}}"#, Some(r#"{"contents":[]}"#)),
        ] {
            assert_eq!(unwrapped(&Bytes::from_static(body.as_bytes())), expect.map(Bytes::from), "{body}");
        }
    }

    #[test]
    fn half_a_place() {
        check("project: p", "m", false, "Vertex AI needs `location` too.");
        check("location: l", "m", false, "Vertex AI needs `project` too.");
        check("project: \"../x\", location: l", "m", false, "`../x` is no project of Google Cloud: it has letters, digits and hyphens.");
    }
}
