//! The Anthropic dialect: `POST /anthropic/v1/messages`, `GET /anthropic/v1/models`, `GET /anthropic/v1/models/{model}`, and the calls that
//! are forwarded as they are: counting tokens, batches of messages, files (`operations.rs`).
//!
//! What is absent: no call of a provider. The host runs the request through every hook; this extension only reads and writes.

mod models;
mod operations;

use serde::Deserialize;
use wasmgate_sdk::codec::Format;
use wasmgate_sdk::codec::formats::AnthropicMessages;
use wasmgate_sdk::format::{self, FormatEncoder};
use wasmgate_sdk::prelude::*;
use wasmgate_sdk::{Http, HttpRequest};

/// Settings. `endpoints.anthropic` of the gateway's configuration is merged into them.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Whether its paths are answered.
    #[serde(default = "yes")]
    enabled: bool,
    /// What its paths begin with.
    #[serde(default = "prefix")]
    path_prefix: String,
    /// More prefixes under which `/messages` and what is below it are answered, and nothing else.
    #[serde(default)]
    message_prefixes: Vec<String>,
}

fn yes() -> bool {
    true
}

fn prefix() -> String {
    "/anthropic/v1".into()
}

/// The extension.
pub struct AnthropicApi {
    config: Config,
}

impl Extension for AnthropicApi {
    type Config = Config;

    fn configure(mut config: Config) -> Result<Self, String> {
        config.path_prefix = format::path_prefix(&config.path_prefix)?;
        for prefix in &mut config.message_prefixes {
            *prefix = format::path_prefix(prefix)?;
        }
        Ok(Self { config })
    }

    fn routes(&self) -> Vec<Route> {
        if !self.config.enabled {
            return Vec::new();
        }
        let prefix = &self.config.path_prefix;
        let mut routes = vec![
            Route::dialect("POST", format!("{prefix}/messages")),
            Route::http("GET", format!("{prefix}/models")),
            Route::http("GET", format!("{prefix}/models/{{*model}}")),
        ];
        let more = self.config.message_prefixes.iter().filter(|p| *p != prefix);
        routes.extend(more.map(|prefix| Route::dialect("POST", format!("{prefix}/messages"))));
        routes
    }
}

impl Dialect for AnthropicApi {
    type Encoder = FormatEncoder;

    fn accept(&self, incoming: &Incoming) -> Result<Accepted, ChatError> {
        format::accept::<AnthropicMessages>(incoming)
    }

    fn decode(&self, format: &str, body: &[u8]) -> Result<ChatRequest, ChatError> {
        if let Some(operation) = format.strip_prefix("anthropic-").filter(|_| Format::from_name(format).is_none()) {
            return operations::read(operation, format, body);
        }
        format::decode::<AnthropicMessages>(body)
    }

    fn encode_answer(&self, options: EncodeOptions, answer: ChatAnswer) -> Vec<u8> {
        format::encode_answer::<AnthropicMessages>(options, &answer)
    }

    fn encode_error(&self, error: &ChatError) -> Reply {
        format::encode_error::<AnthropicMessages>(error)
    }

    fn encoder(&self, options: EncodeOptions) -> FormatEncoder {
        FormatEncoder::new::<AnthropicMessages>(options)
    }
}

impl Operations for AnthropicApi {
    fn operation_routes(&self) -> Vec<OperationRoute> {
        if !self.config.enabled {
            return Vec::new();
        }
        operations::routes(&self.config.path_prefix, &self.config.message_prefixes)
    }

    fn accept_operation(&self, incoming: &Incoming) -> Result<OperationHead, ChatError> {
        let prefixes = [&self.config.path_prefix].into_iter().chain(&self.config.message_prefixes);
        operations::accept(incoming, prefixes.map(String::as_str))
    }

    fn answer_operation(&self, operation: &str, incoming: &Incoming) -> Result<Option<Reply>, ChatError> {
        operations::answer(operation, incoming)
    }
}

impl Http for AnthropicApi {
    fn handle(&self, request: HttpRequest) -> Reply {
        let rest = request.path.strip_prefix(&self.config.path_prefix).unwrap_or(&request.path);
        match rest.strip_prefix("/models/") {
            Some(model) => models::one(&request, &format::percent_decoded(model)),
            None => models::list(&request),
        }
    }
}

wasmgate_sdk::export!(AnthropicApi: dialect, operations, http);

#[cfg(test)]
mod tests {
    use super::*;

    fn paths(config: &str) -> Vec<String> {
        let api = AnthropicApi::configure(serde_json::from_str(config).unwrap()).unwrap();
        api.routes().into_iter().map(|r| r.path).collect()
    }

    #[test]
    fn prefixes() {
        assert_eq!(paths("{}"), ["/anthropic/v1/messages", "/anthropic/v1/models", "/anthropic/v1/models/{*model}"]);
        assert_eq!(paths(r#"{"path_prefix": "/a/", "message_prefixes": ["/v1", "/a"]}"#)[3..], ["/v1/messages"]);
        assert!(paths(r#"{"enabled": false}"#).is_empty());
        assert!(AnthropicApi::configure(serde_json::from_str(r#"{"path_prefix": "v1"}"#).unwrap()).is_err());
    }
}
