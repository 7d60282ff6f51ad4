//! The OpenAI dialect: `POST /v1/chat/completions`, `POST /v1/responses`, `POST /v1/completions`, `GET /v1/models`, `GET /v1/models/{model}`,
//! and the calls that are forwarded as they are: embeddings, moderations, images, audio, files, batches (`operations.rs`).
//!
//! Answers are not kept: what comes after `/v1/responses/` is not found, and says so.
//!
//! What is absent: no call of a provider. The host runs the request through every hook; this extension only reads and writes.

mod models;
mod operations;

use serde::Deserialize;
use wasmgate_sdk::codec::Format;
use wasmgate_sdk::codec::formats::{OpenaiChat, OpenaiCompletions, OpenaiResponses};
use wasmgate_sdk::format::{self, FormatEncoder};
use wasmgate_sdk::prelude::*;
use wasmgate_sdk::{Http, HttpRequest};

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
            Route::dialect("POST", format!("{prefix}/responses")),
            Route::dialect("POST", format!("{prefix}/completions")),
            Route::http("GET", format!("{prefix}/responses/{{*id}}")),
            Route::http("POST", format!("{prefix}/responses/{{*id}}")),
            Route::http("DELETE", format!("{prefix}/responses/{{*id}}")),
            Route::http("GET", format!("{prefix}/models")),
            Route::http("GET", format!("{prefix}/models/{{*model}}")),
        ]
    }
}

impl Dialect for OpenAiApi {
    type Encoder = FormatEncoder;

    fn accept(&self, incoming: &Incoming) -> Result<Accepted, ChatError> {
        let path = incoming.path();
        match path.strip_prefix(&self.config.path_prefix).unwrap_or(&path) {
            "/responses" => format::accept::<OpenaiResponses>(incoming),
            "/completions" => format::accept::<OpenaiCompletions>(incoming),
            _ => format::accept::<OpenaiChat>(incoming),
        }
    }

    fn decode(&self, format: &str, body: &[u8]) -> Result<ChatRequest, ChatError> {
        match (Format::from_name(format), format.strip_prefix("openai-")) {
            (None, Some(operation)) => operations::read(operation, format, body),
            (Some(Format::OpenaiResponses), _) => format::decode::<OpenaiResponses>(body),
            (Some(Format::OpenaiCompletions), _) => format::decode::<OpenaiCompletions>(body),
            _ => format::decode::<OpenaiChat>(body),
        }
    }

    fn encode_answer(&self, options: EncodeOptions, answer: ChatAnswer) -> Vec<u8> {
        match Format::from_name(&options.format) {
            Some(Format::OpenaiResponses) => format::encode_answer::<OpenaiResponses>(options, &answer),
            Some(Format::OpenaiCompletions) => format::encode_answer::<OpenaiCompletions>(options, &answer),
            _ => format::encode_answer::<OpenaiChat>(options, &answer),
        }
    }

    fn encode_error(&self, error: &ChatError) -> Reply {
        // All its formats write it alike.
        format::encode_error::<OpenaiChat>(error)
    }

    fn encoder(&self, options: EncodeOptions) -> FormatEncoder {
        match Format::from_name(&options.format) {
            Some(Format::OpenaiResponses) => FormatEncoder::new::<OpenaiResponses>(options),
            Some(Format::OpenaiCompletions) => FormatEncoder::new::<OpenaiCompletions>(options),
            _ => FormatEncoder::new::<OpenaiChat>(options),
        }
    }
}

impl Operations for OpenAiApi {
    fn operation_routes(&self) -> Vec<OperationRoute> {
        if self.config.enabled { operations::routes(&self.config.path_prefix) } else { Vec::new() }
    }

    fn accept_operation(&self, incoming: &Incoming) -> Result<OperationHead, ChatError> {
        operations::accept(incoming, &self.config.path_prefix)
    }

    fn answer_operation(&self, operation: &str, incoming: &Incoming) -> Result<Option<Reply>, ChatError> {
        operations::answer(operation, incoming)
    }
}

/// The error of an answer that somebody asks for later.
fn not_kept() -> ChatError {
    let message = "This gateway keeps no responses, so there is none to look up, cancel or delete. Send the whole conversation as `input`.";
    ChatError::new(ErrorClass::NotFound, message)
}

impl Http for OpenAiApi {
    fn handle(&self, request: HttpRequest) -> Reply {
        let rest = request.path.strip_prefix(&self.config.path_prefix).unwrap_or(&request.path);
        if rest.starts_with("/responses/") {
            return format::encode_error::<OpenaiResponses>(&not_kept());
        }
        match rest.strip_prefix("/models/") {
            Some(model) => models::one(&request, &format::percent_decoded(model)),
            None => models::list(&request),
        }
    }
}

wasmgate_sdk::export!(OpenAiApi: dialect, operations, http);
