//! A server of the Model Context Protocol (<https://modelcontextprotocol.io/specification/2026-07-28>), over streamable HTTP.
//!
//! 1. `transport.rs`: an HTTP request, whether it may come in, and which shape its answer has.
//! 2. `rpc.rs`: the message in it. `revision.rs`: which revision of the protocol it is in; `session.rs`: what older ones keep.
//! 3. `server.rs`: the methods.
//! 4. `tools/`, `resources.rs`, `prompts.rs`: what there is to be used. `reach.rs`: how they reach other extensions.
//!
//! What is absent: files. `write` gives a file's content and what changes in it; whoever has the file writes it (`wasmgate mcp` does). No
//! request is made of a client, and nothing is sent that was not asked for.

mod args;
mod outcome;
mod prompts;
mod reach;
mod resources;
mod revision;
mod rpc;
mod server;
mod session;
mod tools;
mod transport;

use serde::Deserialize;
use wasmgate_sdk::format;
use wasmgate_sdk::prelude::*;
use wasmgate_sdk::{HttpRequest, HttpStream, Outgoing};

/// Settings, as they are written.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    #[serde(default = "path")]
    path: String,
    #[serde(default)]
    default_model: Option<String>,
    #[serde(default = "max_tokens")]
    max_tokens: u64,
    #[serde(default = "max_message_bytes")]
    max_message_bytes: usize,
    #[serde(default = "max_sessions")]
    max_sessions: usize,
    #[serde(default = "session_hours")]
    session_hours: u64,
    #[serde(default)]
    allowed_origins: Vec<String>,
    #[serde(default = "validate_path")]
    validate_path: String,
    #[serde(default = "best_of_n_path")]
    best_of_n_path: String,
    #[serde(default = "usage_path")]
    usage_path: String,
}

fn path() -> String {
    "/mcp".into()
}

fn max_tokens() -> u64 {
    8192
}

fn max_message_bytes() -> usize {
    1 << 20
}

fn max_sessions() -> usize {
    256
}

fn session_hours() -> u64 {
    24
}

fn validate_path() -> String {
    "/api/validate".into()
}

fn best_of_n_path() -> String {
    "/api/best-of-n".into()
}

fn usage_path() -> String {
    "/usage/summary".into()
}

/// Settings that make sense.
#[derive(Debug)]
pub struct Settings {
    path: String,
    default_model: Option<String>,
    max_tokens: u64,
    max_message_bytes: usize,
    max_sessions: usize,
    session_ms: u64,
    allowed_origins: Vec<String>,
    validate_path: String,
    best_of_n_path: String,
    usage_path: String,
}

impl Settings {
    /// Where the models of a caller are.
    fn models_path(&self) -> String {
        format!("{}/models", self.path)
    }
}

/// The extension.
pub struct Mcp {
    settings: Settings,
}

/// Most sessions of a caller that can be set: their keys are read when one begins.
const MOST_SESSIONS: usize = 10_000;

impl Extension for Mcp {
    type Config = Config;

    fn configure(config: Config) -> Result<Self, String> {
        let own_path = |name: &str, path: &str| {
            let path = format::path_prefix(path).map_err(|e| e.replace("path_prefix", name))?;
            if path.is_empty() { Err(format!("`{name}` is empty; write it like `/mcp`")) } else { Ok(path) }
        };
        if config.max_tokens == 0 {
            return Err("`max_tokens` is 0, so no answer would have a word; set 1 or more".into());
        }
        if config.max_message_bytes < 1024 {
            return Err(format!("`max_message_bytes` is {}; it is in bytes and has to be 1024 or more", config.max_message_bytes));
        }
        if !(1..=MOST_SESSIONS).contains(&config.max_sessions) {
            return Err(format!("`max_sessions` is {}; it can be from 1 to {MOST_SESSIONS}", config.max_sessions));
        }
        if !(1..=24 * 365).contains(&config.session_hours) {
            return Err(format!("`session_hours` is {}; it can be from 1 to {}", config.session_hours, 24 * 365));
        }
        if config.default_model.as_deref() == Some("") {
            return Err("`default_model` is empty; name a model, an alias or `provider/model`, or leave it out".into());
        }
        let is_origin = |o: &&String| {
            o.split_once("://").is_some_and(|(scheme, host)| matches!(scheme, "http" | "https") && !host.is_empty() && !host.contains('/'))
        };
        if let Some(wrong) = config.allowed_origins.iter().find(|o| !is_origin(o)) {
            return Err(format!("`allowed_origins` has `{wrong}`; write an origin like `https://chat.example.com`, without a path"));
        }
        let settings = Settings {
            path: own_path("path", &config.path)?,
            default_model: config.default_model,
            max_tokens: config.max_tokens,
            max_message_bytes: config.max_message_bytes,
            max_sessions: config.max_sessions,
            session_ms: config.session_hours * 3_600_000,
            allowed_origins: config.allowed_origins.iter().map(|o| o.to_ascii_lowercase()).collect(),
            validate_path: own_path("validate_path", &config.validate_path)?,
            best_of_n_path: own_path("best_of_n_path", &config.best_of_n_path)?,
            usage_path: own_path("usage_path", &config.usage_path)?,
        };
        Ok(Self { settings })
    }

    fn routes(&self) -> Vec<Route> {
        // Streams of the server's own there are none, so GET is left to the host, which says what is possible.
        let path = &self.settings.path;
        vec![Route::http("POST", path.clone()), Route::http("DELETE", path.clone()), Route::http("GET", self.settings.models_path())]
    }
}

impl HttpStream for Mcp {
    fn answer(&self, request: HttpRequest, out: &mut dyn Outgoing) {
        transport::answer(&self.settings, &request, out);
    }
}

wasmgate_sdk::export!(Mcp: http_stream);

#[cfg(test)]
mod tests;
