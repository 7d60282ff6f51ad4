//! The OpenAI dialect: `POST /v1/chat/completions`, `GET /v1/models`, `GET /v1/models/{model}`.
//!
//! What is absent: no call of a provider. The host runs the request through every hook; this extension only reads and writes.

mod models;

use serde::Deserialize;
use wasmgate_sdk::codec::Format;
use wasmgate_sdk::format::{self, FormatEncoder};
use wasmgate_sdk::prelude::*;
use wasmgate_sdk::{Http, HttpRequest};

const FORMAT: Format = Format::OpenaiChat;

/// Settings. `endpoints.openai` of the gateway's configuration is merged into them.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Whether its paths are answered.
    #[serde(default = "yes")]
    enabled: bool,
    /// What its paths begin with.
    #[serde(default = "prefix")]
    path_prefix: String,
}

fn yes() -> bool {
    true
}

fn prefix() -> String {
    "/v1".into()
}

/// The extension.
pub struct OpenAiApi {
    config: Config,
}

impl Extension for OpenAiApi {
    type Config = Config;

    fn configure(mut config: Config) -> Result<Self, String> {
        config.path_prefix = format::path_prefix(&config.path_prefix)?;
        Ok(Self { config })
    }

    fn routes(&self) -> Vec<Route> {
        if !self.config.enabled {
            return Vec::new();
        }
        let prefix = &self.config.path_prefix;
        vec![
            Route::dialect("POST", format!("{prefix}/chat/completions")),
            Route::http("GET", format!("{prefix}/models")),
            Route::http("GET", format!("{prefix}/models/{{*model}}")),
        ]
    }
}

impl Dialect for OpenAiApi {
    type Encoder = FormatEncoder;

    fn accept(&self, incoming: &Incoming) -> Result<Accepted, ChatError> {
        format::accept(FORMAT, incoming)
    }

    fn decode(&self, body: &[u8]) -> Result<ChatRequest, ChatError> {
        format::decode(FORMAT, body)
    }

    fn encode_answer(&self, options: EncodeOptions, answer: ChatAnswer) -> Vec<u8> {
        format::encode_answer(FORMAT, options, &answer)
    }

    fn encode_error(&self, error: &ChatError) -> Reply {
        format::encode_error(FORMAT, error)
    }

    fn encoder(&self, options: EncodeOptions) -> FormatEncoder {
        FormatEncoder::new(FORMAT, options)
    }
}

impl Http for OpenAiApi {
    fn handle(&self, request: HttpRequest) -> Reply {
        let rest = request.path.strip_prefix(&self.config.path_prefix).unwrap_or(&request.path);
        match rest.strip_prefix("/models/") {
            Some(model) => models::one(&format::percent_decoded(model)),
            None => models::list(),
        }
    }
}

wasmgate_sdk::export!(OpenAiApi: dialect, http);
