//! The Gemini dialect: `POST /v1beta/models/{model}:generateContent` and `:streamGenerateContent`, `GET /v1beta/models`,
//! `GET /v1beta/models/{model}`, and the calls that hold no conversation: `:countTokens`, `:embedContent`, `:batchEmbedContents`
//! (`operations.rs`).
//!
//! What is absent: no call of a provider. The host runs the request through every hook; this extension only reads and writes.

mod models;
mod operations;

use serde::Deserialize;
use wasmgate_sdk::codec::Format;
use wasmgate_sdk::codec::formats::{Codec as _, GEMINI_LIST, GeminiGenerate, GeminiList};
use wasmgate_sdk::format::{self, FormatEncoder};
use wasmgate_sdk::prelude::*;
use wasmgate_sdk::{Http, HttpRequest};

/// Settings. `endpoints.gemini` of the gateway's configuration is merged into them.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Whether its paths are answered.
    #[serde(default = "yes")]
    enabled: bool,
    /// What its paths begin with.
    #[serde(default = "prefix")]
    path_prefix: String,
    /// More prefixes under which models answer.
    #[serde(default = "more")]
    generate_prefixes: Vec<String>,
    /// More prefixes under which models are listed. `/v1/models` is OpenAI's list when both interfaces are there.
    #[serde(default)]
    list_prefixes: Vec<String>,
}

fn yes() -> bool {
    true
}

fn prefix() -> String {
    "/v1beta".into()
}

fn more() -> Vec<String> {
    vec!["/v1".into()]
}

/// The extension.
pub struct GeminiApi {
    config: Config,
}

impl Extension for GeminiApi {
    type Config = Config;

    fn configure(mut config: Config) -> Result<Self, String> {
        config.path_prefix = format::path_prefix(&config.path_prefix)?;
        for prefix in config.generate_prefixes.iter_mut().chain(&mut config.list_prefixes) {
            *prefix = format::path_prefix(prefix)?;
        }
        Ok(Self { config })
    }

    fn routes(&self) -> Vec<Route> {
        if !self.config.enabled {
            return Vec::new();
        }
        // The method stands behind the model, in the same piece of the path.
        let mut routes: Vec<Route> = self.generates().map(|prefix| Route::dialect("POST", format!("{prefix}/models/{{*model}}"))).collect();
        for prefix in self.lists() {
            routes.push(Route::http("GET", format!("{prefix}/models")));
            routes.push(Route::http("GET", format!("{prefix}/models/{{*model}}")));
        }
        routes
    }
}

impl GeminiApi {
    /// What the paths of models begin with.
    fn generates(&self) -> impl Iterator<Item = &String> {
        let own = &self.config.path_prefix;
        std::iter::once(own).chain(self.config.generate_prefixes.iter().filter(move |p| *p != own))
    }

    /// What the paths of lists begin with.
    fn lists(&self) -> impl Iterator<Item = &String> {
        let own = &self.config.path_prefix;
        std::iter::once(own).chain(self.config.list_prefixes.iter().filter(move |p| *p != own))
    }
}

impl Dialect for GeminiApi {
    type Encoder = FormatEncoder;

    fn accept(&self, incoming: &Incoming) -> Result<Accepted, ChatError> {
        let (model, method) = target(incoming)?;
        let stream = match method.as_str() {
            "generateContent" => false,
            "streamGenerateContent" => true,
            _ => return Err(no_such_method(&method)),
        };
        let events = incoming.query().is_some_and(|query| query.split('&').any(|pair| pair == "alt=sse" || pair == "%24alt=sse"));
        let format = if stream && !events { GEMINI_LIST } else { GeminiGenerate::FORMAT.as_str() };
        format::accept_gemini(incoming, format, model, stream)
    }

    fn decode(&self, format: &str, body: &[u8]) -> Result<ChatRequest, ChatError> {
        if let Some(operation) = format.strip_prefix("gemini-").filter(|_| Format::from_name(format).is_none()) {
            return operations::read(operation, format, body);
        }
        format::decode::<GeminiGenerate>(body)
    }

    fn encode_answer(&self, options: EncodeOptions, answer: ChatAnswer) -> Vec<u8> {
        format::encode_answer::<GeminiGenerate>(options, &answer)
    }

    fn encode_error(&self, error: &ChatError) -> Reply {
        format::encode_error::<GeminiGenerate>(error)
    }

    fn encoder(&self, options: EncodeOptions) -> FormatEncoder {
        if options.format == GEMINI_LIST {
            FormatEncoder::new::<GeminiList>(options)
        } else {
            FormatEncoder::new::<GeminiGenerate>(options)
        }
    }
}

impl Operations for GeminiApi {
    fn operation_routes(&self) -> Vec<OperationRoute> {
        if !self.config.enabled {
            return Vec::new();
        }
        operations::routes(self.generates().map(String::as_str))
    }

    fn accept_operation(&self, incoming: &Incoming) -> Result<OperationHead, ChatError> {
        let (model, method) = target(incoming)?;
        operations::accept(incoming, &model, &method)
    }

    fn answer_operation(&self, operation: &str, incoming: &Incoming) -> Result<Option<Reply>, ChatError> {
        operations::answer(operation, incoming)
    }
}

/// Model and method, which stand in one piece of the path.
fn target(incoming: &Incoming) -> Result<(String, String), ChatError> {
    let target = format::percent_decoded(&incoming.path_param("model").unwrap_or_default());
    let (model, method) = target.rsplit_once(':').unwrap_or((&target, ""));
    Ok((plain(model)?.to_owned(), method.to_owned()))
}

/// The name of a model without the prefix `models/`, which Google's API takes too: hooks, lists and prices know one name of a model.
fn plain(model: &str) -> Result<&str, ChatError> {
    let plain = model.strip_prefix("models/").unwrap_or(model);
    if plain.starts_with("models/") {
        return Err(format::invalid("model", "the path names `models/` more than once before the model's name; write it once"));
    }
    Ok(plain)
}

/// The error of a method that is not answered here.
fn no_such_method(method: &str) -> ChatError {
    let shown: String = method.chars().filter(|c| c.is_ascii_alphanumeric()).take(40).collect();
    let message = format!(
        "There is no method `{shown}` of models here; use `generateContent`, `streamGenerateContent`, `countTokens`, \
         `embedContent` or `batchEmbedContents`."
    );
    ChatError::new(ErrorClass::NotFound, message)
}

impl Http for GeminiApi {
    fn handle(&self, request: HttpRequest) -> Reply {
        match self.lists().find_map(|prefix| request.path.strip_prefix(prefix)?.strip_prefix("/models/")) {
            Some(model) => match plain(&format::percent_decoded(model)) {
                Ok(model) => models::one(&request, model),
                Err(e) => self.encode_error(&e),
            },
            None => models::list(&request),
        }
    }
}

wasmgate_sdk::export!(GeminiApi: dialect, operations, http);

#[cfg(test)]
mod tests {
    use super::*;

    fn paths(config: &str) -> Vec<String> {
        let api = GeminiApi::configure(serde_json::from_str(config).unwrap()).unwrap();
        api.routes().into_iter().map(|r| r.path).collect()
    }

    #[test]
    fn prefixes() {
        assert_eq!(paths("{}"), ["/v1beta/models/{*model}", "/v1/models/{*model}", "/v1beta/models", "/v1beta/models/{*model}"]);
        assert_eq!(paths(r#"{"list_prefixes": ["/v1"]}"#)[4..], ["/v1/models", "/v1/models/{*model}"]);
        assert_eq!(
            paths(r#"{"path_prefix": "/g/", "generate_prefixes": ["/g"]}"#),
            ["/g/models/{*model}", "/g/models", "/g/models/{*model}"]
        );
        assert!(paths(r#"{"enabled": false}"#).is_empty());
        assert!(GeminiApi::configure(serde_json::from_str(r#"{"path_prefix": "v1"}"#).unwrap()).is_err());
    }

    #[test]
    fn the_path_tells_model_and_method() {
        let check = |target: &str, expect: &str| {
            let api = GeminiApi::configure(serde_json::from_str("{}").unwrap()).unwrap();
            let body = serde_json::json!({"contents": [{"parts": [{"text": "x"}]}]});
            let mut incoming = FakeIncoming::post("/", body);
            incoming.path_params.insert("model".into(), target.into());
            let found = match api.accept(&incoming.handle()) {
                Ok(Accepted::Generate(head)) => format!("{} {} {}", head.format, head.model, head.stream),
                Ok(Accepted::Reply(_)) => "reply".into(),
                Err(e) => format!("{:?} {}", e.class, e.message),
            };
            assert!(found.contains(expect), "found `{found}`, expected `{expect}`");
        };
        check("m:generateContent", "gemini-generate m false");
        check("m:streamGenerateContent", "gemini-generate-list m true");
        check("up%2Fft:a:generateContent", "gemini-generate up/ft:a false");
        // Hooks see the plain name, however it is told.
        check("models/m:generateContent", "gemini-generate m false");
        check("models%2Fm:generateContent", "gemini-generate m false");
        check("tunedModels/m:generateContent", "gemini-generate tunedModels/m false");
        check("models/models/m:generateContent", "InvalidRequest `model`: the path names `models/` more than once");
        check("m:predict", "NotFound There is no method `predict` of models here; use `generateContent`");
        check("m", "NotFound There is no method ``");
    }
}
