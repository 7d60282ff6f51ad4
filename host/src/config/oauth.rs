//! Settings of providers that are logged in to with OAuth, and what is wrong with them.

use std::collections::BTreeMap;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD, URL_SAFE, URL_SAFE_NO_PAD};
use serde_json::Value;

use super::reader::{Cursor, Setting};
use super::{Config, KeysStore, Secret};
use crate::section;

words! {
    /// How a client proves itself to an authorization server.
    pub enum ClientAuth {
        /// In the header field `authorization`.
        Basic = "basic",
        /// In the form.
        Post = "post",
    }
}

section! {
    /// How a provider is logged in to with OAuth, in the place of a key.
    pub struct OAuthConfig {
        /// The authorization server. Its addresses are read from its metadata (RFC 8414, OpenID Connect); those below stand in their place.
        issuer: Option<String> = None,
        /// Where people log in, in a browser.
        auth_url: Option<String> = None,
        /// Where tokens are given.
        token_url: Option<String> = None,
        /// Where the login of a device begins (RFC 8628).
        device_url: Option<String> = None,
        /// Where tokens are taken back (RFC 7009).
        revoke_url: Option<String> = None,
        /// What the authorization server calls this gateway.
        client_id: String = String::new(),
        /// The password to that name, if it has one.
        client_secret: Option<Secret> = None,
        /// How that password is sent: `basic` in the header field `authorization`, `post` in the form.
        client_auth: ClientAuth = ClientAuth::Basic,
        /// What is asked for.
        scopes: Vec<String> = Vec::new(),
        /// Where browsers come back to, as the authorization server knows it: it ends with `/api/oauth/NAME/callback`. Without it, it is at the
        /// address where the gateway listens.
        redirect_url: Option<String> = None,
        /// More fields of the address where people log in, for example `{access_type: offline}`.
        auth_params: BTreeMap<String, String> = BTreeMap::new(),
        /// How long before a token expires another one is fetched, at most half of its life.
        refresh_margin: Duration = Duration::from_secs(60),
        /// How long the authorization server may take for what it is asked, from finding out where its parts are to the last byte of the answer.
        timeout: Duration = Duration::from_secs(10),
    }
}

/// Fields of that address that the gateway makes itself.
const TAKEN: [&str; 8] =
    ["client_id", "code_challenge", "code_challenge_method", "redirect_uri", "response_mode", "response_type", "scope", "state"];

/// Reports what is wrong with the section of a provider of this name.
pub fn check(name: &str, config: &OAuthConfig, at: &mut Cursor<'_>) {
    if config.client_id.is_empty() {
        at.error("`client_id` is missing: what the authorization server calls this gateway.".into());
    }
    if config.issuer.is_none() {
        if config.token_url.is_none() {
            at.error("neither `issuer` nor `token_url` says where tokens are given; set one of them.".into());
        } else if config.auth_url.is_none() && config.device_url.is_none() {
            at.error("without `issuer`, `auth_url` or `device_url` must say where people log in.".into());
        }
    }
    let addresses = [
        ("issuer", &config.issuer),
        ("auth_url", &config.auth_url),
        ("token_url", &config.token_url),
        ("device_url", &config.device_url),
        ("revoke_url", &config.revoke_url),
        ("redirect_url", &config.redirect_url),
    ];
    for (member, url) in addresses {
        let (Some(url), Some(mut at)) = (url, at.member(member)) else { continue };
        check_url(url, &mut at);
    }
    let back = callback(name);
    if let Some(url) = config.redirect_url.as_deref().filter(|url| !url.ends_with(&back))
        && let Some(mut at) = at.member("redirect_url")
    {
        at.warning(format!(
            "`{url}` does not end with `{back}`, where the gateway waits for browsers; only a proxy could bring them there."
        ));
    }
    for field in config.auth_params.keys().filter(|f| TAKEN.contains(&f.as_str())) {
        if let Some(mut at) = at.member("auth_params") {
            at.error(format!("the gateway makes `{field}` itself; leave it out."));
        }
    }
    if config.timeout.is_zero()
        && let Some(mut at) = at.member("timeout")
    {
        at.error("`0s` is no time for an answer; leave it out.".into());
    }
    for scope in config.scopes.iter().filter(|s| s.is_empty() || s.contains(char::is_whitespace)) {
        if let Some(mut at) = at.member("scopes") {
            at.error(format!("`{scope}` is no scope: write each as an item of the list."));
        }
    }
}

/// The path where browsers come back to.
pub fn callback(provider: &str) -> String {
    format!("/api/oauth/{provider}/callback")
}

fn check_url(url: &str, at: &mut Cursor<'_>) {
    let parsed = match reqwest::Url::parse(url) {
        Ok(parsed) if matches!(parsed.scheme(), "http" | "https") && parsed.fragment().is_none() => parsed,
        _ => {
            at.error(format!("`{url}` is no address; write it like `https://login.example.com/token`, without `#`."));
            return;
        }
    };
    let host = parsed.host_str().unwrap_or_default();
    let here = host == "localhost" || host.trim_matches(['[', ']']).parse::<std::net::IpAddr>().is_ok_and(|ip| ip.is_loopback());
    if parsed.scheme() == "http" && !here {
        at.warning(format!("`{url}` is not encrypted, and secrets go there; use `https`."));
    }
    if !parsed.username().is_empty() || parsed.password().is_some() {
        at.error("it holds a password; leave that out.".into());
    }
}

/// Reports providers that need what the rest of the configuration has not. `providers` is where they are.
pub fn check_store(config: &Config, providers: &mut Cursor<'_>) {
    let storage = &config.storage;
    for (name, _) in config.providers.iter().filter(|(_, p)| p.enabled && p.oauth.is_some()) {
        let Some(mut at) = providers.member(name) else { continue };
        let Some(mut at) = at.member("oauth") else { continue };
        if storage.token_key.is_none() {
            // Whoever wrote a key that could not be read was told so already.
            if at.problems.iter().all(|p| p.path != "storage.token_key") {
                at.error(
                    "tokens are kept encrypted, and `storage.token_key` is not set. Make a key with `openssl rand -base64 32`, put it into a \
                     file or a variable, and set `storage: {token_key: \"file:PATH\"}` or `\"${VARIABLE}\"`."
                        .into(),
                );
            }
        } else if storage.path.is_none() && storage.keys.r#type == KeysStore::Local {
            at.warning(
                "`storage.path` is not set, so tokens are forgotten when the gateway ends, and somebody has to log in again.".into(),
            );
        }
    }
}

/// The 32 bytes of `storage.token_key`. The error does not repeat them.
pub fn token_key(key: &Secret) -> Result<[u8; 32], String> {
    let text = key.expose().trim();
    let bytes = [&STANDARD, &STANDARD_NO_PAD, &URL_SAFE, &URL_SAFE_NO_PAD].into_iter().find_map(|e| e.decode(text).ok());
    let hex = || {
        let digit = |c: u8| char::from(c).to_digit(16).map(|d| d as u8);
        text.as_bytes().chunks(2).map(|pair| Some(digit(pair[0])? << 4 | digit(*pair.get(1)?)?)).collect::<Option<Vec<u8>>>()
    };
    // 64 hexadecimal digits are base64 of 48 bytes, too.
    let bytes = bytes.filter(|b| b.len() == 32).or_else(hex);
    bytes.and_then(|b| <[u8; 32]>::try_from(b).ok()).ok_or_else(|| {
        "it is no key: it must be 32 random bytes in base64 or in hexadecimal digits; make one with `openssl rand -base64 32`.".into()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_32_bytes() {
        let key = |text: &str| token_key(&Secret::new(text.into()));
        for (text, first) in [
            ("AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=", 0),
            ("AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8\n", 0),
            ("__79_AQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8", 255),
            (&"fe".repeat(32), 254),
        ] {
            assert_eq!(key(text).map(|k| k[0]), Ok(first), "{text}");
        }
        for text in ["", "password", &"é".repeat(32), &"f".repeat(63), &"g".repeat(64), "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh"] {
            let reason = key(text).expect_err("it is no key");
            assert!(reason.contains("openssl rand") && (text.is_empty() || !reason.contains(text)), "{reason}");
        }
    }
}
