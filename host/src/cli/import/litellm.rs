//! LiteLLM's `config.yaml`. Its settings are described at <https://docs.litellm.ai/docs/proxy/config_settings>.
//!
//! A deployment of `model_list` becomes a model of a provider; deployments at the same place with the same key share one. A name with several
//! deployments becomes a virtual provider that spreads the load, `fallbacks` become virtual providers too, and names become aliases.

use std::collections::BTreeMap;

use super::made::{Made, Member, Provider, Virtual, quoted};
use super::node::{Members, Node, Value};

/// Vendors that speak OpenAI's chat completions: LiteLLM's name, and where they are. Without an address `api_base` must say it.
const COMPATIBLE: &[(&str, Option<&str>)] = &[
    ("cerebras", Some("https://api.cerebras.ai/v1")),
    ("custom_openai", None),
    ("dashscope", Some("https://dashscope-intl.aliyuncs.com/compatible-mode/v1")),
    ("deepinfra", Some("https://api.deepinfra.com/v1/openai")),
    ("deepseek", Some("https://api.deepseek.com/v1")),
    ("fireworks_ai", Some("https://api.fireworks.ai/inference/v1")),
    ("groq", Some("https://api.groq.com/openai/v1")),
    ("hosted_vllm", None),
    ("litellm_proxy", None),
    ("llamafile", None),
    ("lm_studio", None),
    ("mistral", Some("https://api.mistral.ai/v1")),
    ("moonshot", Some("https://api.moonshot.ai/v1")),
    ("nvidia_nim", Some("https://integrate.api.nvidia.com/v1")),
    ("ollama", Some("http://127.0.0.1:11434/v1")),
    ("ollama_chat", Some("http://127.0.0.1:11434/v1")),
    ("openai_like", None),
    ("openrouter", Some("https://openrouter.ai/api/v1")),
    ("perplexity", Some("https://api.perplexity.ai")),
    ("sambanova", Some("https://api.sambanova.ai/v1")),
    ("together_ai", Some("https://api.together.xyz/v1")),
    ("xai", Some("https://api.x.ai/v1")),
];

/// Vendors whose interface is another one.
const OTHERS: &[(&str, &str)] = &[
    ("azure", "Azure OpenAI has addresses and keys of its own kind; write that provider by hand"),
    ("azure_ai", "Azure AI has addresses and keys of its own kind; write that provider by hand"),
    ("bedrock", "AWS Bedrock signs its requests, which no provider here does"),
    ("sagemaker", "AWS SageMaker signs its requests, which no provider here does"),
    ("cohere", "there is no provider for Cohere's own interface"),
    ("cohere_chat", "there is no provider for Cohere's own interface"),
    ("huggingface", "there is no provider for Hugging Face's own interface; its OpenAI-compatible router can be one of type `openai`"),
    ("replicate", "there is no provider for Replicate's own interface"),
    ("text-completion-openai", "providers are asked for conversations, not for completions of text"),
    ("watsonx", "there is no provider for watsonx"),
    ("github_copilot", "it wants a login in a browser, which no provider here does"),
];

/// What of one deployment or of the settings has no place, and why.
const REASONS: &[(&str, &str)] = &[
    ("rpm", "limits are per caller here, not per deployment"),
    ("tpm", "limits are per caller here, not per deployment"),
    ("max_parallel_requests", "limits are per caller here, not per deployment"),
    ("temperature", "parameters are the caller's here; a hook of an extension can set them"),
    ("top_p", "parameters are the caller's here; a hook of an extension can set them"),
    ("max_tokens", "parameters are the caller's here; a hook of an extension can set them"),
    ("extra_headers", "header fields for a provider have no setting"),
    ("organization", "header fields for a provider have no setting"),
    ("api_version", "the version is part of `base_url` here"),
    ("input_cost_per_token", "prices are settings of an extension, not of a provider"),
    ("output_cost_per_token", "prices are settings of an extension, not of a provider"),
    ("model_info", "what a model can do and costs is known to extensions, not to a provider"),
    ("num_retries", "retries have no setting here; clients retry, and a virtual provider of type `fallback` tries others"),
    ("max_retries", "retries have no setting here; clients retry, and a virtual provider of type `fallback` tries others"),
    ("allowed_fails", "there is no setting for it"),
    ("cooldown_time", "there is no setting for it"),
    ("success_callback", "what is told to others at the end of a request is an extension here, or a number of the metrics"),
    ("failure_callback", "what is told to others at the end of a request is an extension here, or a number of the metrics"),
    ("callbacks", "callbacks are Python; here that is an extension with hooks"),
    ("cache", "answers are not cached; an extension with the hook `before-generate` can do that"),
    ("cache_params", "answers are not cached; an extension with the hook `before-generate` can do that"),
    ("guardrails", "guardrails are extensions here"),
    ("database_url", "keys, teams and spending that LiteLLM keeps in its database are not in this file and are not converted"),
    ("store_model_in_db", "models that LiteLLM keeps in its database are not in this file and are not converted"),
    ("redis_host", "what replicas share is `storage` here, and is not taken over"),
    ("redis_port", "what replicas share is `storage` here, and is not taken over"),
    ("redis_password", "what replicas share is `storage` here, and is not taken over"),
    ("redis_url", "what replicas share is `storage` here, and is not taken over"),
    ("enable_pre_call_checks", "there is no setting for it"),
    ("set_verbose", "`logging.level: debug` is the nearest"),
    ("alerting", "alerts are made from the metrics"),
    ("include", "files that it names are not read; import each of them"),
    ("vertex_credentials", "files of credentials are not read: `api_key` of a provider with `project` is an access token"),
];

/// Where one deployment leads.
#[derive(Clone)]
struct Deployment {
    member: Member,
}

/// What is known on the way.
#[derive(Default)]
struct Work {
    /// `request_timeout` of everything, in milliseconds.
    timeout_ms: Option<u64>,
    /// How load is spread.
    strategy: &'static str,
    /// Deployments by the name that callers use, with the line of the first, in the order of the file.
    names: Vec<(String, usize, Vec<Deployment>)>,
    /// Where a name leads once it has several deployments.
    balanced: BTreeMap<String, String>,
}

/// Reads the whole file.
pub fn convert(root: &Node, made: &mut Made) -> Result<(), String> {
    let mut top = root.members("");
    let Some(models) = top.take("model_list") else {
        return Err("there is no `model_list`, so this is no configuration of the LiteLLM proxy".into());
    };
    // What callers of LiteLLM expect.
    made.port = Some(4_000);
    let mut work = Work { strategy: "random", ..Work::default() };
    let mut fallbacks = Vec::new();
    let mut group_aliases = None;
    if let Some(node) = top.take("litellm_settings") {
        let mut settings = node.members("litellm_settings");
        common(&mut settings, &mut work, &mut fallbacks, made);
        if let Some(node) = settings.take("drop_params") {
            made.drop_unsupported = node.is_true();
        }
        if let Some(node) = settings.take("json_logs") {
            made.json_log = node.is_true();
        }
        rest(settings, made);
    }
    if let Some(node) = top.take("router_settings") {
        let mut settings = node.members("router_settings");
        common(&mut settings, &mut work, &mut fallbacks, made);
        if let Some(node) = settings.take("routing_strategy") {
            strategy(node, &mut work, made);
        }
        group_aliases = settings.take("model_group_alias");
        rest(settings, made);
    }
    if let Some(node) = top.take("general_settings") {
        general(node, made);
    }
    if let Some(node) = top.take("environment_variables") {
        for (path, _, node) in node.members("environment_variables").rest() {
            made.note(node.line, path, "set it in the environment of the gateway; its value was not copied");
        }
    }
    for (at, model) in models.items().iter().enumerate() {
        deployment(model, &format!("model_list[{at}]"), &mut work, made);
    }
    names(&mut work, made);
    for (kind, path, node) in fallbacks {
        fall_back(kind, &path, node, &work, made);
    }
    if let Some(node) = group_aliases {
        for (path, name, node) in node.members("router_settings.model_group_alias").rest() {
            let mut members = node.members(path.as_str());
            let hidden = members.take("hidden");
            match node.text().or_else(|| members.take("model")?.text()) {
                Some(target) => made.aliases.push((name.to_owned(), target.to_owned())),
                None => made.note(node.line, path.clone(), "it names no model"),
            }
            if let Some(hidden) = hidden.filter(|h| h.is_true()) {
                made.note(hidden.line, format!("{path}.hidden"), "aliases are not hidden from lists of models");
            }
            rest(members, made);
        }
    }
    rest(top, made);
    Ok(())
}

/// What may stand in both blocks of settings.
fn common<'a>(settings: &mut Members<'a>, work: &mut Work, fallbacks: &mut Vec<(&'static str, String, &'a Node)>, made: &mut Made) {
    for (name, kind) in
        [("fallbacks", ""), ("context_window_fallbacks", "context-too-long"), ("content_policy_fallbacks", "content-filtered")]
    {
        if let Some(node) = settings.take_set(name) {
            fallbacks.push((kind, settings.at(name), node));
        }
    }
    for name in ["request_timeout", "timeout"] {
        if let Some(node) = settings.take(name) {
            match node.number() {
                Some(seconds) => work.timeout_ms = Some((seconds * 1e3) as u64),
                None => made.note(node.line, settings.at(name), "it is no number of seconds"),
            }
        }
    }
}

fn strategy(node: &Node, work: &mut Work, made: &mut Made) {
    work.strategy = match node.text() {
        Some("simple-shuffle") => "random",
        Some("least-busy") => "least_in_flight",
        Some("latency-based-routing") => "latency",
        _ => {
            let reason = "load is not spread by use or price; it becomes `least_in_flight` where a name has several deployments";
            made.note(node.line, "router_settings.routing_strategy", reason);
            "least_in_flight"
        }
    };
}

fn general(node: &Node, made: &mut Made) {
    let mut settings = node.members("general_settings");
    if let Some(node) = settings.take_set("master_key") {
        let path = settings.at("master_key");
        let variable = made.secret(node, &path, environment(node), "LITELLM_MASTER_KEY");
        made.key = Some(variable);
        made.note(node.line, path, "it becomes a key for callers (extension `apikeys`); it does not open the operators' interface");
    }
    rest(settings, made);
}

/// Everything that nobody asked for.
fn rest(members: Members<'_>, made: &mut Made) {
    for (path, name, node) in members.rest() {
        let known = REASONS.iter().find(|(n, _)| *n == name).map(|(_, reason)| *reason);
        made.note(node.line, path, known.unwrap_or("there is nothing like it here"));
    }
}

/// The environment variable that a value names.
fn environment(node: &Node) -> Option<String> {
    node.text()?.strip_prefix("os.environ/").map(str::to_owned)
}

/// Text as it is written: a reference where it is one.
fn written(node: &Node) -> Option<String> {
    environment(node).map(|variable| format!("${{{variable}}}")).or_else(|| match &node.value {
        Value::Text(text) => Some(quoted(text)),
        Value::Number(n) => Some(n.clone()),
        _ => None,
    })
}

/// One entry of `model_list`.
fn deployment(node: &Node, path: &str, work: &mut Work, made: &mut Made) {
    let mut entry = node.members(path);
    let name = entry.take("model_name").and_then(Node::text);
    let Some(params) = entry.take("litellm_params") else {
        made.note(node.line, path, "it has no `litellm_params`");
        return rest(entry, made);
    };
    if let Some(info) = entry.take_set("model_info") {
        made.note(info.line, entry.at("model_info"), "what a model can do and costs is known to extensions, not to a provider");
    }
    rest(entry, made);
    let mut params_left = params.members(format!("{path}.litellm_params"));
    let model = params_left.take("model");
    let (Some(name), Some(model_text)) = (name, model.and_then(Node::text)) else {
        made.note(node.line, path, "it needs `model_name` and `litellm_params.model`");
        return rest(params_left, made);
    };
    let line = model.map_or(node.line, |m| m.line);
    match provider(model_text, line, &mut params_left, work, made) {
        Ok((provider, model)) => {
            let weight = params_left.take("weight").and_then(written);
            let provider = settle(provider, &model, made);
            if model.contains('*') {
                wildcard(name, &model, &provider, line, &params_left.path, made);
            } else {
                let deployment = Deployment { member: Member { provider, model: Some(model), weight } };
                match work.names.iter_mut().find(|(n, ..)| n == name) {
                    Some((.., all)) => all.push(deployment),
                    None => work.names.push((name.to_owned(), node.line, vec![deployment])),
                }
            }
        }
        Err(reason) => made.note(line, params_left.at("model"), format!("`{name}` is not converted: {reason}")),
    }
    rest(params_left, made);
}

/// The provider of a deployment and the model there; the error is why there is none.
fn provider(model: &str, line: usize, params: &mut Members<'_>, work: &Work, made: &mut Made) -> Result<(Provider, String), String> {
    let base = params.take_set("api_base").or_else(|| params.take_set("base_url"));
    let key = params.take_set("api_key");
    let custom = params.take_set("custom_llm_provider").and_then(Node::text);
    let timeout = params.take("timeout");
    let timeout_ms = timeout.and_then(Node::number).map(|seconds| (seconds * 1e3) as u64).or(work.timeout_ms);
    if let Some(node) = params.take_set("stream_timeout") {
        made.note(node.line, params.at("stream_timeout"), "`idle_timeout` of the provider is how long a stream may be silent");
    }
    let known = |vendor: &str| {
        COMPATIBLE.iter().any(|(v, _)| *v == vendor)
            || OTHERS.iter().any(|(v, _)| *v == vendor)
            || matches!(vendor, "openai" | "anthropic" | "gemini" | "vertex_ai")
    };
    let (vendor, model) = match (custom, model.split_once('/')) {
        (Some(vendor), _) => (vendor, model),
        (None, Some((vendor, model))) if known(vendor) => (vendor, model),
        (None, _) if model.starts_with("claude-") => ("anthropic", model),
        (None, _) if base.is_some() || ["gpt-", "chatgpt-", "o1", "o3", "o4"].iter().any(|p| model.starts_with(p)) => ("openai", model),
        (None, Some((vendor, _))) => {
            return Err(format!(
                "nothing is known here of the vendor `{vendor}`; if it is compatible with OpenAI, write a provider of type `openai` with its `base_url`"
            ));
        }
        (None, None) => return Err("LiteLLM finds the vendor in a list of its own; write it before the model, as in `openai/…`".into()),
    };
    if let Some((_, reason)) = OTHERS.iter().find(|(v, _)| *v == vendor) {
        return Err((*reason).into());
    }
    let base_url = base.and_then(written);
    let mut made_of = Provider { name: vendor.replace('_', "-"), timeout_ms, ..Provider::default() };
    let mut model = model.to_owned();
    match vendor {
        "openai" => {
            made_of.kind = "openai";
            if let Some(rest) = model.strip_prefix("responses/") {
                model = rest.to_owned();
                made_of.kind = "openai-responses";
                made_of.name = "openai-responses".into();
            }
            made_of.base_url = base_url;
        }
        "anthropic" => {
            made_of.kind = "anthropic";
            made_of.base_url = base.and_then(|b| with_version(b, base_url, made));
        }
        "gemini" if base.is_some() => {
            return Err("a Gemini API at another address is written by hand, with the version in `base_url`".into());
        }
        "gemini" => made_of.kind = "gemini",
        "vertex_ai" => {
            if !model.starts_with("gemini") {
                return Err("of Vertex AI only Gemini models have a provider here".into());
            }
            let (project, location) =
                (params.take_set("vertex_project").and_then(written), params.take_set("vertex_location").and_then(written));
            let (Some(project), Some(location)) = (project, location) else {
                return Err(
                    "`vertex_project` and `vertex_location` must be in the file; LiteLLM takes them from elsewhere when they are not"
                        .into(),
                );
            };
            made_of.kind = "gemini";
            made_of.cloud = Some((project, location));
            made_of.key = Some("VERTEX_ACCESS_TOKEN".into());
            made.note(
                line,
                params.at("model"),
                "Vertex AI wants an access token: put one into the environment variable VERTEX_ACCESS_TOKEN and renew it",
            );
        }
        vendor => {
            let Some((_, usual)) = COMPATIBLE.iter().find(|(v, _)| *v == vendor) else {
                return Err(format!(
                    "nothing is known here of the vendor `{vendor}`; if it is compatible with OpenAI, write a provider of type `openai` with its `base_url`"
                ));
            };
            made_of.kind = "openai";
            let base_url = match (base, vendor) {
                (Some(base), "ollama" | "ollama_chat") => with_version(base, base_url, made),
                _ => base_url,
            };
            made_of.base_url = match (base_url, usual) {
                (Some(url), _) => Some(url),
                (None, Some(usual)) => Some((*usual).to_owned()),
                (None, None) => return Err(format!("`{vendor}` has no usual address, and there is no `api_base`")),
            };
        }
    }
    match key {
        Some(key) if made_of.cloud.is_none() => {
            let (path, wanted) = (params.at("api_key"), format!("{}_API_KEY", made_of.name));
            made_of.key = Some(made.secret(key, &path, environment(key), &wanted));
        }
        Some(key) => made.note(key.line, params.at("api_key"), "Vertex AI wants an access token instead"),
        // LiteLLM looks there itself.
        None if made_of.cloud.is_none() && !vendor.starts_with("ollama") && usual_key(vendor) => {
            made_of.key = Some(format!("{}_API_KEY", vendor.trim_end_matches("_ai").to_ascii_uppercase()));
        }
        None => {}
    }
    Ok((made_of, model))
}

/// Vendors without a key in the file have one in the environment; what runs on one's own machines has none.
fn usual_key(vendor: &str) -> bool {
    matches!(vendor, "openai" | "anthropic" | "gemini") || COMPATIBLE.iter().any(|(v, usual)| *v == vendor && usual.is_some())
}

/// Anthropic's and Ollama's addresses are without the version there and with it here.
fn with_version(base: &Node, url: Option<String>, made: &mut Made) -> Option<String> {
    if environment(base).is_some() {
        made.note(base.line, "api_base", "the address in this variable must end with the version here, for example `/v1`");
        return url;
    }
    let text = base.text()?.trim_end_matches('/').trim_end_matches("/messages");
    Some(quoted(&if text.ends_with("/v1") { text.to_owned() } else { format!("{text}/v1") }))
}

/// The name of the provider, which is there already or is new.
fn settle(new: Provider, model: &str, made: &mut Made) -> String {
    let any_model = model.contains('*');
    let same = |p: &&mut Provider| {
        (p.kind, &p.base_url, &p.key, &p.cloud, p.timeout_ms) == (new.kind, &new.base_url, &new.key, &new.cloud, new.timeout_ms)
    };
    let provider = match made.providers.iter_mut().find(same) {
        Some(provider) => provider,
        None => {
            let name = made.free_name(&new.name);
            made.providers.push(Provider { name, ..new });
            let last = made.providers.len() - 1;
            &mut made.providers[last]
        }
    };
    provider.any_model |= any_model;
    if !any_model && !provider.models.iter().any(|m| m == model) {
        provider.models.push(model.to_owned());
    }
    provider.name.clone()
}

/// Names with a star.
fn wildcard(name: &str, model: &str, provider: &str, line: usize, path: &str, made: &mut Made) {
    if name == model {
        made.patterns.push((name.to_owned(), provider.to_owned()));
    } else if name.strip_suffix("/*") == Some(provider) && model == "*" {
        // `provider/model` is understood as it is.
    } else {
        let reason = format!("a pattern does not rename models here; callers can write `{provider}/MODEL`");
        made.note(line, format!("{path}.model"), reason);
    }
}

/// Names become aliases; those with several deployments a virtual provider first.
fn names(work: &mut Work, made: &mut Made) {
    let listed = |made: &Made, model: &str| made.providers.iter().filter(|p| !p.any_model && p.models.iter().any(|m| m == model)).count();
    for (name, line, deployments) in &work.names {
        if let [only] = deployments.as_slice() {
            let model = only.member.model.clone().unwrap_or_default();
            let target = format!("{}/{model}", only.member.provider);
            // A provider that lists the model is found without an alias, and so is `provider/model`.
            if *name != target && (*name != model || listed(made, &model) != 1) {
                made.aliases.push((name.clone(), target));
            }
            continue;
        }
        let members: Vec<Member> = deployments.iter().map(|d| d.member.clone()).collect();
        let weighted = members.iter().any(|m| m.weight.is_some());
        let virtual_name = made.free_name(&format!("{name}-balanced"));
        let strategy = if weighted && work.strategy == "random" { "weighted" } else { work.strategy };
        let settings = vec![("strategy", strategy.to_owned())];
        if same_twice(&members) {
            made.note(
                *line,
                name.as_str(),
                "two of its deployments are the same model with the same key at the same place; one of them is enough",
            );
        }
        made.virtual_providers.push(Virtual { name: virtual_name.clone(), kind: "loadbalance", members, settings });
        made.aliases.push((name.clone(), format!("{virtual_name}/{name}")));
        work.balanced.insert(name.clone(), virtual_name);
    }
}

fn same_twice(members: &[Member]) -> bool {
    members.iter().enumerate().any(|(n, m)| members[..n].iter().any(|o| (&o.provider, &o.model) == (&m.provider, &m.model)))
}

/// One of the lists of fallbacks. `on` is the kind of failure that it is for; empty for all.
fn fall_back(on: &'static str, path: &str, node: &Node, work: &Work, made: &mut Made) {
    for (at, item) in node.items().iter().enumerate() {
        for (path, name, others) in item.members(format!("{path}[{at}]")).rest() {
            if made.virtual_providers.iter().any(|v| v.kind == "fallback" && v.name.starts_with(&fallback_name(name))) {
                made.note(others.line, path, "another list of fallbacks for this name was converted; one provider has one list");
                continue;
            }
            let mut members = Vec::new();
            for (line, name) in std::iter::once((others.line, name)).chain(others.items().iter().filter_map(|o| Some((o.line, o.text()?))))
            {
                match target(name, work) {
                    Some(member) => members.push(member),
                    None => made.note(line, path.as_str(), format!("`{}` was not converted, so it is no fallback", printable(name))),
                }
            }
            if members.len() < 2 {
                made.note(others.line, path, "fewer than two of the names can be used, so there is nothing to fall back to");
                continue;
            }
            let virtual_name = made.free_name(&fallback_name(name));
            let settings = if on.is_empty() { Vec::new() } else { vec![("on", format!("[{on}]"))] };
            made.virtual_providers.push(Virtual { name: virtual_name.clone(), kind: "fallback", members, settings });
            let target = format!("{virtual_name}/{name}");
            match made.aliases.iter_mut().find(|(alias, _)| alias == name) {
                Some((_, old)) => *old = target,
                None => made.aliases.push((name.to_owned(), target)),
            }
        }
    }
}

fn fallback_name(name: &str) -> String {
    name.chars()
        .map(|c| if c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.') { c } else { '-' })
        .chain("-fallback".chars())
        .collect()
}

/// Where a name leads, as a member of a virtual provider.
fn target(name: &str, work: &Work) -> Option<Member> {
    if let Some(balanced) = work.balanced.get(name) {
        return Some(Member { provider: balanced.clone(), model: None, weight: None });
    }
    let (.., deployments) = work.names.iter().find(|(n, ..)| n == name)?;
    Some(Member { weight: None, ..deployments.first()?.member.clone() })
}

/// A name of the file, for a message.
fn printable(name: &str) -> String {
    name.chars().filter(|c| !c.is_control()).take(80).collect()
}
