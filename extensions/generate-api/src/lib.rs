//! `POST /api/generate`: a prompt in, a text out, with the wrapper of the operators' interface.
//!
//! What is absent: no call of a provider. It is a dialect like the others, so each hook runs once and keys, limits and usage hold here too.

mod answer;
mod request;

use answer::Writer;
use serde::Deserialize;
use wasmgate_sdk::format;
use wasmgate_sdk::prelude::*;
use wasmgate_sdk::providers;

/// The name of the format. The host knows none of it, so it tells in an extra called [`TARGET`] who answers.
pub const FORMAT: &str = "generate";

/// The extra of an answer, and of the beginning of a stream, that says who answers.
pub const TARGET: &str = "wasmgate.target";

/// Settings.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Where it answers.
    #[serde(default = "path")]
    path: String,
}

fn path() -> String {
    "/api/generate".into()
}

/// The extension.
pub struct GenerateApi {
    path: String,
}

impl Extension for GenerateApi {
    type Config = Config;

    fn configure(config: Config) -> Result<Self, String> {
        let path = format::path_prefix(&config.path).map_err(|e| e.replace("path_prefix", "path"))?;
        if path.is_empty() {
            return Err("`path` is empty; write it like `/api/generate`".into());
        }
        Ok(Self { path })
    }

    fn routes(&self) -> Vec<Route> {
        vec![Route::dialect("POST", self.path.clone())]
    }

    /// `provider/model` is understood without routing too: whoever names a provider means it.
    fn before_generate(&self, call: &CallInfo, _request: &Request) -> Decision {
        if call.format != FORMAT || call.provider.is_some() {
            return Decision::Continue;
        }
        let Some((name, model)) = call.model.split_once('/') else { return Decision::Continue };
        let Some(provider) = providers::find(name) else { return Decision::Continue };
        let model = match (model, provider.default_model) {
            ("", Some(default)) => default,
            ("", None) => provider.models.into_iter().next().unwrap_or_default(),
            (model, _) => model.to_owned(),
        };
        if model.is_empty() {
            return Decision::Reject(format::invalid("model", &format!("it is missing, and the provider `{name}` has no `default_model`")));
        }
        Decision::Edit(vec![Edit::Target(Target { provider: provider.name, model })])
    }
}

impl Dialect for GenerateApi {
    type Encoder = Writer;

    fn accept(&self, incoming: &Incoming) -> Result<Accepted, ChatError> {
        request::accept(incoming).map(Accepted::Generate)
    }

    fn decode(&self, _format: &str, body: &[u8]) -> Result<ChatRequest, ChatError> {
        request::decode(body)
    }

    fn encode_answer(&self, options: EncodeOptions, answer: ChatAnswer) -> Vec<u8> {
        answer::complete(&options, &answer).to_string().into_bytes()
    }

    fn encode_error(&self, error: &ChatError) -> Reply {
        answer::error(error)
    }

    fn encoder(&self, options: EncodeOptions) -> Writer {
        Writer::new(options)
    }
}

wasmgate_sdk::export!(GenerateApi: dialect, before_generate);

#[cfg(test)]
mod tests {
    use super::*;

    fn api() -> GenerateApi {
        GenerateApi::configure(Config { path: path() }).unwrap()
    }

    #[test]
    fn the_path_is_checked() {
        let paths = |path: &str| GenerateApi::configure(Config { path: path.into() }).map(|a| a.path);
        assert_eq!(paths("/api/generate/").as_deref(), Ok("/api/generate"));
        assert!(paths("generate").is_err_and(|e| e.starts_with("`path` is `generate`")));
        assert!(paths("/").is_err());
    }

    #[test]
    fn a_provider_that_is_named_is_asked() {
        FakeHost::default().provider("one", "openai", &["m1", "m2"]).provider("bare", "openai", &[]).install();
        let check = |model: &str, expect: &str| {
            let mut request = FakeRequest::new(model);
            request.chat.format = FORMAT.into();
            let found = match api().before_generate(&request.call(), &request.handle()) {
                Decision::Continue => "-".to_owned(),
                Decision::Edit(edits) => match &edits[..] {
                    [Edit::Target(t)] => format!("{}/{}", t.provider, t.model),
                    other => format!("{other:?}"),
                },
                Decision::Reject(e) => e.message,
                other => format!("{other:?}"),
            };
            assert_eq!(found, expect, "{model}");
        };
        check("one/m2", "one/m2");
        check("one/", "one/m1");
        check("one/org/m", "one/org/m");
        check("bare/", "`model`: it is missing, and the provider `bare` has no `default_model`.");
        check("nobody/m", "-");
        check("m", "-");
        let chat = FakeRequest::new("one/m2");
        assert!(matches!(api().before_generate(&chat.call(), &chat.handle()), Decision::Continue), "not of this format");
    }
}
