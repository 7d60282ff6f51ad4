//! Settings of the front door: who may use the operators' interface, which web pages may ask, what connections are encrypted with.

use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use http::{HeaderName, HeaderValue, Method, Uri};
use ipnet::IpNet;
use serde_json::{Value, json};

use super::reader::{Cursor, Setting};
use super::secret::{Secret, Variable};
use super::{Config, problems};
use crate::section;

section! {
    /// Who may use the operators' interface: `/api/…` and `/metrics`. Without a password or a key, only programs of this machine may,
    /// and nobody when the gateway listens to others.
    pub struct Auth {
        /// Whether credentials are asked for; `false` is as if none were set.
        enabled: bool = true,
        /// The operators' password.
        api_password: Option<Secret> = None,
        /// Name of an environment variable that holds a key; it opens the same as the password.
        api_key_env: Option<Variable> = None,
        /// Paths of the interface that need no credentials, for example `/metrics`; `/api/example/*` is everything under a path.
        public_paths: Vec<String> = Vec::new(),
    }
}

section! {
    /// Which web pages may ask this gateway from a browser.
    pub struct Cors {
        /// Where the pages are from, for example `https://app.example.com`; `*` is any page.
        origins: Vec<String> = Vec::new(),
        /// Methods that they may use.
        methods: Vec<String> = vec!["GET".into(), "POST".into()],
        /// Header fields that they may send; without the list, those that the browser asks for.
        headers: Vec<String> = Vec::new(),
        /// Whether the browser sends cookies and its own credentials. Not together with the origin `*`.
        credentials: bool = false,
        /// How long a browser may remember this.
        max_age: Duration = Duration::from_secs(600),
    }
}

section! {
    /// What connections are encrypted with. Both files are read again when one of them changes.
    pub struct Tls {
        /// File of the certificate and of those that lead to its root (PEM).
        cert: PathBuf = PathBuf::new(),
        /// File of its private key (PEM).
        key: PathBuf = PathBuf::new(),
    }
}

impl Auth {
    /// What opens the operators' interface. Nothing does when there is none.
    pub fn credentials(&self) -> impl Iterator<Item = &Secret> {
        let set = self.api_password.iter().chain(self.api_key_env.iter().map(|v| &v.value));
        set.filter(|_| self.enabled)
    }

    /// Whether a path needs no credentials.
    pub fn is_public(&self, path: &str) -> bool {
        self.public_paths.iter().any(|public| match public.strip_suffix("/*") {
            Some(folder) => path.strip_prefix(folder).is_some_and(|rest| rest.starts_with('/')),
            None => path == public,
        })
    }
}

impl Setting for IpNet {
    fn expected() -> String {
        "an address or a network such as `10.0.0.0/8`".into()
    }

    fn read(at: &mut Cursor<'_>) -> Option<Self> {
        let text = at.value.as_str()?;
        text.parse().ok().or_else(|| text.parse::<IpAddr>().ok().map(Self::from))
    }

    fn show(&self) -> String {
        self.to_string()
    }

    fn schema() -> Value {
        json!({"type": "string"})
    }
}

/// What is wrong with these settings.
pub fn check(config: &Config, at: &mut Cursor<'_>) {
    if let Some(mut at) = at.member("auth") {
        check_auth(&config.auth, &mut at);
    }
    let Some(mut at) = at.member("server") else { return };
    if let (Some(cors), Some(mut at)) = (&config.server.cors, at.member("cors")) {
        check_cors(cors, &mut at);
    }
    if let (Some(tls), Some(mut at)) = (&config.server.tls, at.member("tls")) {
        check_tls(tls, &mut at);
    }
}

fn check_auth(auth: &Auth, at: &mut Cursor<'_>) {
    let empty = |secret: &Secret| secret.expose().is_empty();
    if auth.api_password.as_ref().is_some_and(empty)
        && let Some(mut at) = at.member("api_password")
    {
        at.error("the password is empty, so everybody would know it; write one, or leave the setting out.".into());
    }
    let Some(mut at) = at.member("public_paths") else { return };
    for path in &auth.public_paths {
        if !path.starts_with('/') || path.trim_end_matches("/*").contains('*') {
            at.error(format!("`{path}` is no path; write one that begins with `/`, such as `/metrics`, or `/api/example/*`."));
        } else if ["/api/extensions", "/api/config/reload", "/api/providers/x"].iter().any(|closed| auth.is_public(closed)) {
            at.warning(format!("`{path}` lets everybody who reaches the gateway change what runs in it."));
        }
    }
}

fn check_cors(cors: &Cors, at: &mut Cursor<'_>) {
    if cors.origins.is_empty() {
        at.error("`origins` is empty, so no page may ask; name them, or leave `cors` out.".into());
    }
    for origin in cors.origins.iter().filter(|o| *o != "*").filter(|o| !is_origin(o)) {
        at.error(format!(
            "`origins`: `{origin}` is no origin; write scheme, host and port if it is not the usual one, such as `https://app.example.com`."
        ));
    }
    if cors.credentials && cors.origins.iter().any(|o| o == "*") {
        at.error(
            "`credentials: true` does not go with the origin `*`: any page could act as whoever looks at it. Name the origins.".into(),
        );
    }
    for method in cors.methods.iter().filter(|m| m.parse::<Method>().is_err() || m.contains('*')) {
        let known = ["GET", "POST", "PUT", "PATCH", "DELETE"];
        at.error(format!("`methods`: `{method}` is no method.{}", problems::suggestion(&method.to_uppercase(), known.into_iter())));
    }
    for field in cors.headers.iter().filter(|f| f.parse::<HeaderName>().is_err() || f.contains('*')) {
        at.error(format!("`headers`: `{field}` is no name of a header field; leave the list out to allow what browsers ask for."));
    }
}

/// Scheme, host and port, as a browser writes it.
fn is_origin(text: &str) -> bool {
    let written = HeaderValue::from_str(text).is_ok() && !text.ends_with('/');
    written
        && text
            .parse::<Uri>()
            .is_ok_and(|u| u.scheme().is_some() && u.authority().is_some() && matches!(u.path(), "" | "/") && u.query().is_none())
}

fn check_tls(tls: &Tls, at: &mut Cursor<'_>) {
    if tls.cert.as_os_str().is_empty() || tls.key.as_os_str().is_empty() {
        return at.error("`cert` and `key` are both needed: the files of the certificate and of its private key.".into());
    }
    if let Err(problem) = crate::ingress::tls::load(tls) {
        match at.member(problem.setting) {
            Some(mut at) => at.error(problem.message),
            None => at.error(problem.message),
        }
    }
}
