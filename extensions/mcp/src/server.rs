//! The methods.

use serde_json::{Map, Value, json};

use crate::outcome::Gone;
use crate::revision::{self, Revision};
use crate::rpc::{self, Call, Fault};
use crate::transport::Report;
use crate::{Settings, prompts, resources, tools};

/// Why a request has no result.
#[derive(Debug)]
pub enum Ended {
    /// It is wrong.
    Fault(Fault),
    /// Nobody waits.
    Gone,
}

impl From<Fault> for Ended {
    fn from(fault: Fault) -> Self {
        Self::Fault(fault)
    }
}

impl From<Gone> for Ended {
    fn from(_: Gone) -> Self {
        Self::Gone
    }
}

/// How long lists may be kept, in milliseconds: they change with the gateway's configuration.
const LISTS_MS: u64 = 60_000;

/// What clients may tell their models of this server.
const INSTRUCTIONS: &str = "Asks models of a gateway. `list_models` says which there are; `generate` asks one, `best_of_n` compares \
                            several answers, `write` makes or changes one file, `validate` says whether code parses, `usage` what it cost.";

/// Whether an answer may be kept, and by whom.
enum Kept {
    /// By whoever wants to.
    Public,
    /// By its caller only.
    Private(u64),
    No,
}

/// Answers a request.
pub fn answer(settings: &Settings, revision: Revision, call: &Call, report: &mut Report<'_>) -> Result<Value, Ended> {
    let (params, modern) = (&call.params, revision == Revision::Modern);
    let (mut result, kept) = match call.method.as_str() {
        "initialize" if !modern => (initialized(params)?, Kept::No),
        "ping" if !modern => (json!({}), Kept::No),
        "server/discover" if modern => (discovered(), Kept::Public),
        "tools/list" => (json!({"tools": listed(params, tools::list(settings))?}), Kept::Private(LISTS_MS)),
        "tools/call" => (tools::call(settings, params, report)?, Kept::No),
        "resources/list" => (json!({"resources": listed(params, resources::list(settings))?}), Kept::Private(LISTS_MS)),
        "resources/templates/list" => (json!({"resourceTemplates": listed(params, resources::templates())?}), Kept::Private(LISTS_MS)),
        "resources/read" => (resources::read(settings, modern, params)?, Kept::Private(0)),
        "prompts/list" => (json!({"prompts": listed(params, prompts::list())?}), Kept::Private(LISTS_MS)),
        "prompts/get" => (prompts::one(params)?, Kept::No),
        "completion/complete" => (prompts::complete(settings, params)?, Kept::No),
        other => {
            let message = format!("There is no method `{}`.", rpc::shown(other));
            let status = if modern { 404 } else { 200 };
            return Err(Fault { status, ..Fault::new(rpc::METHOD_NOT_FOUND, message) }.into());
        }
    };
    if modern {
        result["resultType"] = "complete".into();
        if !result["_meta"].is_object() {
            result["_meta"] = json!({});
        }
        result["_meta"]["io.modelcontextprotocol/serverInfo"] = info();
        if let Some((ttl, scope)) = match kept {
            Kept::Public => Some((LISTS_MS, "public")),
            Kept::Private(ttl) => Some((ttl, "private")),
            Kept::No => None,
        } {
            result["ttlMs"] = ttl.into();
            result["cacheScope"] = scope.into();
        }
    }
    Ok(result)
}

fn info() -> Value {
    json!({"name": "wasmgate", "title": "wasmgate, an LLM gateway", "version": env!("CARGO_PKG_VERSION")})
}

fn capabilities() -> Value {
    json!({"tools": {}, "resources": {}, "prompts": {}, "completions": {}})
}

fn initialized(params: &Map<String, Value>) -> Result<Value, Fault> {
    if !params.get("protocolVersion").is_some_and(Value::is_string) {
        let message = format!("`params.protocolVersion` is missing; it is for example \"{}\".", revision::LEGACY[0]);
        return Err(Fault::params(message));
    }
    Ok(json!({
        "protocolVersion": revision::negotiated(params),
        "capabilities": capabilities(),
        "serverInfo": info(),
        "instructions": INSTRUCTIONS,
    }))
}

fn discovered() -> Value {
    json!({"supportedVersions": revision::supported(), "capabilities": capabilities(), "serverInfo": info(), "instructions": INSTRUCTIONS})
}

/// A list is one page.
fn listed(params: &Map<String, Value>, list: Vec<Value>) -> Result<Vec<Value>, Fault> {
    match params.get("cursor") {
        None | Some(Value::Null) => Ok(list),
        Some(_) => Err(Fault::params("`params.cursor` is none of this server's: its lists have one page. Leave it out.")),
    }
}

/// A text that a request must have.
pub fn need<'a>(params: &'a Map<String, Value>, name: &str) -> Result<&'a str, Fault> {
    params.get(name).and_then(Value::as_str).ok_or_else(|| Fault::params(format!("`params.{name}` is missing; it has to be a string.")))
}

/// The arguments of a request; none are an empty object.
pub fn arguments(params: &Map<String, Value>) -> Result<Map<String, Value>, Fault> {
    match params.get("arguments") {
        None | Some(Value::Null) => Ok(Map::new()),
        Some(Value::Object(arguments)) => Ok(arguments.clone()),
        Some(_) => Err(Fault::params("`params.arguments` has to be an object.")),
    }
}
