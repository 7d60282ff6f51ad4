//! `config.json` of claude-code-router (its desktop application keeps a database instead, and reads such a file once).
//!
//! `Providers` become providers, `Router` becomes the slots of the extension `routing`. What its transformers do between formats, the
//! gateway does by itself; what else they do is listed.

use super::made::{Made, Provider, quoted};
use super::node::{Members, Node, Value};

/// Transformers, and what becomes of them.
const TRANSFORMERS: &[(&str, &str)] = &[
    ("maxtoken", "`max_tokens` is the caller's here; a hook of an extension can set it"),
    ("tooluse", "answers are not forced into tool calls"),
    ("enhancetool", "arguments of tools are not repaired"),
    ("reasoning", "reasoning in an answer is understood without it; it is not switched on in requests that do not ask for it"),
    ("forcereasoning", "reasoning is not switched on in requests that do not ask for it"),
    ("sampling", "parameters are the caller's here; a hook of an extension can set them"),
    ("cleancache", "`cache_control` is left out by itself where a format has no place for it"),
    ("vertex-gemini", "Vertex AI is a provider of type `gemini` with `project` and `location`; write it by hand"),
    ("vertex-claude", "of Vertex AI only Gemini models have a provider here"),
    ("gemini-cli", "it wants a login, which no provider here does"),
    ("qwen-cli", "it wants a login, which no provider here does"),
    ("rovo-cli", "it wants a login, which no provider here does"),
];

/// Transformers that only say how the provider wants to be spoken to.
const SPEAKS: [&str; 8] = ["anthropic", "deepseek", "gemini", "groq", "openai", "openai-responses", "openrouter", "cerebras"];

/// Kinds of requests, and the slots for them.
const SLOTS: [(&str, &str); 6] = [
    ("default", "default"),
    ("background", "background"),
    ("think", "think"),
    ("longContext", "long_context"),
    ("webSearch", "web_search"),
    ("image", "vision"),
];

/// What has no place, and why.
const REASONS: &[(&str, &str)] = &[
    ("PROXY_URL", "providers are reached directly, without a proxy"),
    ("CUSTOM_ROUTER_PATH", "a router in JavaScript is an extension here: a component with the hook `before-generate`"),
    ("transformers", "transformers in JavaScript are extensions here: components with hooks"),
    ("Transformers", "transformers in JavaScript are extensions here: components with hooks"),
    ("LOG", "the log goes to standard error, always; the service's own log keeps it"),
    ("CLAUDE_PATH", "the gateway does not start Claude Code; set ANTHROPIC_BASE_URL for it"),
    ("NON_INTERACTIVE_MODE", "the gateway does not start Claude Code; set ANTHROPIC_BASE_URL for it"),
    ("StatusLine", "the gateway does not start Claude Code; set ANTHROPIC_BASE_URL for it"),
    ("REWRITE_SYSTEM_PROMPT", "prompts are not rewritten; a hook of an extension can do that"),
    ("forceUseImageAgent", "there is no agent for images; requests with images go to the slot `vision`"),
];

/// Reads the whole file.
pub fn convert(root: &Node, made: &mut Made) -> Result<(), String> {
    let mut top = root.members("");
    let Some(providers) = top.take("Providers").or_else(|| top.take("providers")) else {
        return Err("there is no `Providers`, so this is no configuration of claude-code-router".into());
    };
    made.host = top.take_set("HOST").and_then(Node::text).map(str::to_owned);
    made.port = Some(port(top.take("PORT"), made));
    let timeout_ms = top.take_set("API_TIMEOUT_MS").and_then(Node::number).map(|ms| ms as u64);
    if let Some(node) = top.take_set("APIKEY") {
        let variable = made.secret(node, "APIKEY", environment(node), "CCR_APIKEY");
        made.key = Some(variable);
    }
    if let Some(node) = top.take_set("LOG_LEVEL") {
        match node.text() {
            Some("fatal") => made.log_level = Some("error".into()),
            Some(level @ ("error" | "warn" | "info" | "debug" | "trace")) => made.log_level = Some(level.into()),
            _ => made.note(node.line, "LOG_LEVEL", "it is none of the levels there are: error, warn, info, debug, trace"),
        }
    }
    for (at, node) in providers.items().iter().enumerate() {
        provider(node, &format!("Providers[{at}]"), timeout_ms, made);
    }
    if let Some(node) = top.take("Router") {
        router(node, made);
    }
    rest(top, made);
    Ok(())
}

/// The port that Claude Code was told; claude-code-router has one of its own.
fn port(node: Option<&Node>, made: &mut Made) -> u64 {
    let Some(node) = node.filter(|n| !n.is_empty()) else { return 3_456 };
    match node.number().filter(|n| n.fract() == 0.0 && *n <= f64::from(u16::MAX)) {
        Some(port) => port as u64,
        None => {
            made.note(node.line, "PORT", "it is no port; the usual one is used");
            3_456
        }
    }
}

/// The environment variable that a value names.
fn environment(node: &Node) -> Option<String> {
    let name = node.text()?.strip_prefix('$')?;
    let name = name.strip_prefix('{').and_then(|n| n.strip_suffix('}')).unwrap_or(name);
    let is_name = !name.is_empty() && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
    is_name.then(|| name.to_owned())
}

fn provider(node: &Node, path: &str, timeout_ms: Option<u64>, made: &mut Made) {
    let mut entry = node.members(path);
    let (name, url) = (entry.take("name").and_then(Node::text), entry.take_set("api_base_url"));
    let (key, models, transformer) = (entry.take_set("api_key"), entry.take("models"), entry.take_set("transformer"));
    let Some(name) = name else {
        made.note(node.line, path, "it has no `name`");
        return rest(entry, made);
    };
    let spoken = transformer.map(|t| transformers(t, &entry.at("transformer"), made)).unwrap_or_default();
    let free = made.free_name(name);
    if free != name {
        made.note(node.line, entry.at("name"), format!("its name is `{free}` here"));
    }
    let mut new = Provider { name: free, timeout_ms, ..Provider::default() };
    match url.and_then(|u| Some((u, u.text()?))) {
        Some((_, address)) if address.contains('$') => {
            made.note(
                node.line,
                entry.at("api_base_url"),
                "an address with a variable in it is written by hand, without what follows the version",
            );
            return rest(entry, made);
        }
        Some((_, address)) => (new.kind, new.base_url) = place(address, &spoken),
        None => {
            made.note(node.line, path, "it has no `api_base_url`, so it is not converted");
            return rest(entry, made);
        }
    }
    if let Some(key) = key {
        let path = entry.at("api_key");
        new.key = Some(made.secret(key, &path, environment(key), &format!("{}_API_KEY", new.name)));
    }
    new.models = models.into_iter().flat_map(Node::items).filter_map(|m| m.text().map(str::to_owned)).collect();
    made.providers.push(new);
    rest(entry, made);
}

/// Type and address: here an address ends with the version.
fn place(address: &str, spoken: &[String]) -> (&'static str, Option<String>) {
    let address = address.trim_end_matches('/');
    if address.contains("generativelanguage.googleapis.com") && !address.contains("/openai") {
        return ("gemini", Some(quoted(address.trim_end_matches("/models"))));
    }
    if let Some(base) = address.strip_suffix("/chat/completions") {
        return ("openai", Some(quoted(base)));
    }
    if let Some(base) = address.strip_suffix("/responses") {
        return ("openai-responses", Some(quoted(base)));
    }
    if let Some(base) = address.strip_suffix("/messages") {
        return ("anthropic", Some(quoted(base)));
    }
    let kind = if spoken.iter().any(|s| s == "anthropic") { "anthropic" } else { "openai" };
    (kind, Some(quoted(address)))
}

/// What transformers say of the provider; what they do besides is listed.
fn transformers(node: &Node, path: &str, made: &mut Made) -> Vec<String> {
    let mut spoken = Vec::new();
    let mut members = node.members(path);
    if let Some(used) = members.take("use") {
        spoken = used_ones(used, &members.at("use"), made);
    }
    for (path, _, node) in members.rest() {
        let mut of_model = node.members(path.as_str());
        if let Some(used) = of_model.take("use") {
            used_ones(used, &of_model.at("use"), made);
        }
        rest(of_model, made);
    }
    spoken
}

fn used_ones(node: &Node, path: &str, made: &mut Made) -> Vec<String> {
    let mut spoken = Vec::new();
    for (at, item) in node.items().iter().enumerate() {
        // A name, or a name with options.
        let (name, has_options) = match &item.value {
            Value::List(parts) => (parts.first().and_then(Node::text), parts.len() > 1),
            _ => (item.text(), false),
        };
        let name = name.unwrap_or_default().to_ascii_lowercase();
        if SPEAKS.contains(&name.as_str()) {
            if has_options {
                made.note(item.line, format!("{path}[{at}]"), "the provider is spoken to as it wants, but the options have no place");
            }
            spoken.push(name);
            continue;
        }
        let known = TRANSFORMERS.iter().find(|(n, _)| *n == name).map(|(_, reason)| *reason);
        made.note(item.line, format!("{path}[{at}]"), known.unwrap_or("nothing is known here of this transformer"));
    }
    spoken
}

fn router(node: &Node, made: &mut Made) {
    let mut router = node.members("Router");
    for (name, slot) in SLOTS {
        let Some(node) = router.take_set(name) else { continue };
        // `provider,model` there, `provider/model` here.
        let target = node.text().and_then(|t| t.split_once(','));
        match target.filter(|(provider, _)| made.providers.iter().any(|p| p.name == *provider)) {
            Some((provider, model)) => made.slots.push((slot, format!("{provider}/{model}"))),
            None => made.note(node.line, router.at(name), "it is not of the form `provider,model` with a provider that was converted"),
        }
    }
    if let Some(node) = router.take_set("longContextThreshold") {
        match node.number() {
            Some(tokens) if made.slots.iter().any(|(slot, _)| *slot == "long_context") => {
                made.slots.push(("long_context_tokens", format!("{}", tokens as u64)));
            }
            _ => made.note(node.line, router.at("longContextThreshold"), "it is no number, or there is no `longContext`"),
        }
    }
    rest(router, made);
}

/// Everything that nobody asked for.
fn rest(members: Members<'_>, made: &mut Made) {
    for (path, name, node) in members.rest() {
        // What is empty says nothing that could be lost.
        if node.is_empty() {
            continue;
        }
        let known = REASONS.iter().find(|(n, _)| *n == name).map(|(_, reason)| *reason);
        made.note(node.line, path, known.unwrap_or("there is nothing like it here"));
    }
}
