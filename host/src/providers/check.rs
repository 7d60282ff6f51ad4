//! What is wrong with a provider's settings, beyond their types.

use http::HeaderName;

use super::presets::{self, AZURE, KeyHeader, Preset};
use super::{gemini, openai, transport, types};
use crate::config::problems::suggestion;
use crate::config::reader::Cursor;
use crate::config::virtual_providers::VIRTUAL_TYPES;
use crate::config::{Completions, Config, ProviderConfig, oauth};

/// Header fields that the gateway makes itself, or that belong to a connection.
const TAKEN: [&str; 13] = [
    "accept",
    "accept-encoding",
    "connection",
    "content-length",
    "content-type",
    "expect",
    "host",
    "keep-alive",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "proxy-connection",
];

/// Reports what is wrong with the settings of a provider of this name.
pub fn check(name: &str, config: &ProviderConfig, at: &mut Cursor<'_>) {
    let kind = config.r#type.as_str();
    let types = || types().chain(VIRTUAL_TYPES);
    let known = || types().collect::<Vec<_>>().join("`, `");
    if kind.is_empty() {
        at.error(format!("`type` is missing; use one of `{}`.", known()));
        return;
    }
    if !types().any(|t| t == kind) {
        report(at, "type", format!("there is no provider type `{kind}`.{} Known: `{}`.", suggestion(kind, types()), known()));
        return;
    }
    if let Some(url) = &config.base_url
        && let Err(reason) = transport::check_url(url)
    {
        report(at, "base_url", reason);
    }
    gemini::check(config, at);
    if config.completions != Completions::Forward && has_no_completions(kind) {
        report(
            at,
            "completions",
            format!("a provider of type `{kind}` has no legacy completions, and always gets conversations; leave it out."),
        );
    }
    let preset = presets::find(kind);
    address(config, preset, at);
    azure(config, at);
    keys(config, preset, at);
    logins(name, config, at);
    headers(config, preset, at);
    numbers(config, at);
    models(config, preset, at);
}

/// Whether a type has no legacy completions.
fn has_no_completions(kind: &str) -> bool {
    presets::find(kind).is_none() && kind != "openai-responses"
}

fn report(at: &mut Cursor<'_>, member: &str, message: String) {
    if let Some(mut at) = at.member(member) {
        at.error(message);
    }
}

fn address(config: &ProviderConfig, preset: Option<&Preset>, at: &mut Cursor<'_>) {
    let Some(preset) = preset.filter(|_| config.base_url.is_none()) else { return };
    // Whoever wrote an address that could not be read was told so already.
    let told = format!("{}.base_url", at.path);
    if preset.base_url.is_empty() && at.problems.iter().all(|p| p.path != told) {
        let message = format!("a provider of type `{}` needs `base_url`, for example `http://host.example/v1`.", preset.name);
        at.error(message);
    }
    if preset.needs_resource() && config.resource.is_none() {
        let message = format!(
            "a provider of type `{}` needs `resource`, the name in `https://NAME.openai.azure.com`, or the whole address as `base_url`.",
            preset.name
        );
        at.error(message);
    }
}

fn azure(config: &ProviderConfig, at: &mut Cursor<'_>) {
    for (name, value) in [("resource", &config.resource), ("api_version", &config.api_version)] {
        if value.is_some() && config.r#type != AZURE {
            report(at, name, format!("only a provider of type `{AZURE}` has that."));
        }
    }
    if config.r#type != AZURE {
        return;
    }
    if let Some(name) = &config.resource
        && (name.is_empty() || !name.chars().all(|c| c.is_ascii_alphanumeric() || c == '-'))
    {
        report(at, "resource", format!("`{name}` is no name of a resource: it has letters, digits and hyphens."));
    }
    let Some(version) = &config.api_version else { return };
    let dated = openai::is_dated(version);
    if !dated && !matches!(version.as_str(), "preview" | "latest" | "v1") {
        report(at, "api_version", format!("`{version}` is no version; write a date such as `2024-10-21`, or `preview`, or leave it out."));
    }
    if let Some(url) = config.base_url.as_deref().filter(|url| dated && url.trim_end_matches('/').ends_with("/v1")) {
        let message = format!("`{url}` is of the v1 API, which has no dated versions: end it with `/openai`, or leave out `api_version`.");
        report(at, "base_url", message);
    }
}

fn keys(config: &ProviderConfig, preset: Option<&Preset>, at: &mut Cursor<'_>) {
    if config.api_key.is_some() && !config.api_keys.is_empty() {
        report(at, "api_keys", "`api_key` is set too; put all keys into `api_keys`.".into());
    }
    for (n, key) in config.api_keys.iter().enumerate() {
        if key.expose().is_empty() {
            report(at, "api_keys", format!("key {} is empty; leave it out.", n + 1));
        }
        if config.api_keys[..n].contains(key) {
            report(at, "api_keys", format!("key {} is there already; a key takes turns with others only.", n + 1));
        }
    }
    let needs = match preset {
        Some(preset) => preset.needs_key,
        None => config.r#type != "echo",
    };
    let none = config.api_key.is_none() && config.api_keys.is_empty() && config.oauth.is_none();
    // Whoever wrote a key that could not be read was told so already.
    let key = format!("{}.api_key", at.path);
    if needs && config.base_url.is_none() && none && at.problems.iter().all(|p| !p.path.starts_with(&key)) {
        at.warning(format!("`api_key` is not set, so {} will refuse every request.", config.r#type));
    }
}

fn logins(name: &str, config: &ProviderConfig, at: &mut Cursor<'_>) {
    let Some(settings) = &config.oauth else { return };
    if config.r#type == "echo" {
        report(at, "oauth", "a provider of type `echo` is nobody to log in to; leave it out.".into());
        return;
    }
    if config.api_key.is_some() || !config.api_keys.is_empty() {
        report(at, "oauth", "there is an API key too; leave out one of the two.".into());
    }
    if let Some(mut at) = at.member("oauth") {
        oauth::check(name, settings, &mut at);
    }
}

fn headers(config: &ProviderConfig, preset: Option<&Preset>, at: &mut Cursor<'_>) {
    let has_key = config.api_key.is_some() || !config.api_keys.is_empty() || config.oauth.is_some();
    let key = match (preset.map(|p| p.key), config.r#type.as_str()) {
        _ if config.oauth.is_some() => "authorization",
        (Some(KeyHeader::Plain(name)), _) => name,
        (None, "anthropic") => "x-api-key",
        (None, "gemini") if config.project.is_none() => "x-goog-api-key",
        _ => "authorization",
    };
    let Some(mut at) = at.member("headers") else { return };
    for (name, value) in &config.headers {
        let lower = name.to_ascii_lowercase();
        let message = if HeaderName::try_from(name).is_err() {
            format!("`{name}` is no name of a header field.")
        } else if TAKEN.contains(&lower.as_str()) {
            format!("the gateway makes `{name}` itself; leave it out.")
        } else if has_key && lower == key {
            "the key is sent in this field; leave out one of the two.".to_owned()
        } else if http::HeaderValue::try_from(value.expose()).is_err() {
            "the value holds a character that no header can carry.".to_owned()
        } else {
            continue;
        };
        report(&mut at, name, message);
    }
}

fn numbers(config: &ProviderConfig, at: &mut Cursor<'_>) {
    if config.breaker.failure_rate > 1.0
        && let Some(mut at) = at.member("breaker")
    {
        report(&mut at, "failure_rate", format!("`{}` is no share; write a number from 0 to 1.", config.breaker.failure_rate));
    }
    for (name, value) in [("window", config.breaker.window), ("cooldown", config.breaker.cooldown)] {
        if value.is_zero()
            && let Some(mut at) = at.member("breaker")
        {
            report(&mut at, name, "`0s` is no time to wait; to switch the breaker off, leave out `failures` and `failure_rate`.".into());
        }
    }
    if config.max_retries > 0 && config.retry.budget <= 0.0 {
        at.warning("`retry.budget` is 0, so nothing is retried; leave it out, or leave out `max_retries`.".into());
    }
    if config.max_in_flight == 0 {
        for name in ["queue_limit", "queue_timeout"] {
            if let Some(mut at) = at.member(name) {
                at.warning("nobody waits without `max_in_flight`, so this does nothing.".into());
            }
        }
    }
}

fn models(config: &ProviderConfig, preset: Option<&Preset>, at: &mut Cursor<'_>) {
    if let (Some(model), false) = (&config.default_model, config.models.is_empty())
        && !config.models.contains(model)
    {
        let hint = suggestion(model, config.models.iter().map(String::as_str));
        report(at, "default_model", format!("`{model}` is not in the list `models`.{hint}"));
    }
    if config.models_refresh.is_zero() {
        return;
    }
    let lists = match preset {
        Some(preset) => preset.lists_models,
        None => config.r#type != "echo" && config.project.is_none(),
    };
    if !lists {
        let message = format!("{} has no list of what can be asked for; write the `models`.", config.r#type);
        report(at, "models_refresh", message);
    } else if !config.models.is_empty()
        && let Some(mut at) = at.member("models_refresh")
    {
        at.warning("the list `models` stands in the place of what the provider says, so this does nothing.".into());
    }
}

/// Reports providers at the gateway's own address: a request would go round for ever. `providers` is where they are.
pub fn check_loops(config: &Config, providers: &mut Cursor<'_>) {
    let port = config.server.port;
    for (name, provider) in config.providers.iter().filter(|(_, p)| p.enabled) {
        let preset = presets::find(&provider.r#type);
        let address = provider.base_url.as_deref().or(preset.map(|p| p.base_url)).unwrap_or_default();
        let Ok(url) = reqwest::Url::parse(address) else { continue };
        let host = url.host_str().unwrap_or_default();
        let here = host == "localhost" || host.trim_matches(['[', ']']).parse::<std::net::IpAddr>().is_ok_and(|ip| ip.is_loopback());
        if here
            && port != 0
            && url.port_or_known_default() == Some(port)
            && let Some(mut at) = providers.member(name)
        {
            let message =
                format!("`{address}` is where the gateway itself listens (`server.port` is {port}); let one of the two listen elsewhere.");
            match provider.base_url {
                Some(_) => report(&mut at, "base_url", message),
                None => at.error(message),
            }
        }
    }
}
