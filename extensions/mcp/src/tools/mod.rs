//! The tools: what they are called with, what comes of them, and which of them there are. One file for each that does more than ask a path.

mod ask;
mod generate;
mod write;

use serde_json::{Map, Value, json};
use wasmgate_sdk::routes;

use crate::Settings;
use crate::outcome::{Failed, Outcome, failure};
use crate::rpc::{self, Fault};
use crate::server::{self, Ended};
use crate::transport::Report;

/// What runs a tool. An error about its arguments is for the model, as every other failure.
type Run = fn(&Settings, &Map<String, Value>, &mut Report<'_>) -> Result<Outcome, Failed>;

struct Tool {
    name: &'static str,
    describe: fn() -> Value,
    run: Run,
    /// Whether what it needs is there.
    there: fn(&Settings) -> bool,
}

const TOOLS: [Tool; 6] = [
    Tool { name: "write", describe: write::describe, run: write::run, there: |_| true },
    Tool { name: "generate", describe: generate::describe, run: generate::run, there: |_| true },
    Tool { name: "validate", describe: ask::describe_validate, run: ask::validate, there: |s| routes::has("POST", &s.validate_path) },
    Tool { name: "best_of_n", describe: ask::describe_best, run: ask::best, there: |s| routes::has("POST", &s.best_of_n_path) },
    Tool { name: "list_models", describe: ask::describe_models, run: ask::models, there: |_| true },
    Tool { name: "usage", describe: ask::describe_usage, run: ask::usage, there: |s| routes::has("GET", &s.usage_path) },
];

/// Those that there are, always in the same order.
pub fn list(settings: &Settings) -> Vec<Value> {
    let described = |tool: &Tool| {
        let mut description = (tool.describe)();
        description["name"] = tool.name.into();
        description
    };
    TOOLS.iter().filter(|tool| (tool.there)(settings)).map(described).collect()
}

/// Calls one.
pub fn call(settings: &Settings, params: &Map<String, Value>, report: &mut Report<'_>) -> Result<Value, Ended> {
    let name = server::need(params, "name")?;
    let there = || TOOLS.iter().filter(|tool| (tool.there)(settings));
    let Some(tool) = TOOLS.iter().find(|tool| tool.name == name).filter(|tool| (tool.there)(settings)) else {
        let names: Vec<_> = there().map(|tool| tool.name).collect();
        return Err(Fault::params(format!("There is no tool `{}`; there is `{}`.", rpc::shown(name), names.join("`, `"))).into());
    };
    let arguments = server::arguments(params)?;
    match (tool.run)(settings, &arguments, report) {
        Ok(outcome) => Ok(outcome.result()),
        Err(Failed::Told(text)) => Ok(failure(&text)),
        Err(Failed::Gone) => Err(Ended::Gone),
    }
}

impl From<String> for Failed {
    fn from(text: String) -> Self {
        Self::Told(text)
    }
}

/// The schema of a text.
fn text(description: &str) -> Value {
    json!({"type": "string", "description": description})
}

/// The schema of an object.
fn object(required: &[&str], properties: Value) -> Value {
    json!({"type": "object", "properties": properties, "required": required, "additionalProperties": false})
}

/// The schema of what comes out; more may be in it.
fn open(required: &[&str], properties: Value) -> Value {
    json!({"type": "object", "properties": properties, "required": required})
}

/// The schema of tokens.
fn tokens() -> Value {
    let count = json!({"type": "integer"});
    json!({"type": ["object", "null"], "properties": {"input_tokens": count, "output_tokens": count}})
}

/// What clients may expect of a tool: it reads only; it may destroy; the same call again changes nothing more; it leaves the gateway.
fn hints(title: &str, reads: bool, destroys: bool, again: bool, outside: bool) -> Value {
    json!({"title": title, "readOnlyHint": reads, "destructiveHint": destroys, "idempotentHint": again, "openWorldHint": outside})
}
