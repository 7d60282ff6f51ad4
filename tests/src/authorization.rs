//! A real authorization server on loopback (`tests/node/authorization_server.mjs`), and a browser to log in with.

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader};
use std::process::{Child, Command, Stdio};

use http::header::{CONTENT_TYPE, COOKIE, LOCATION, SET_COOKIE};
use http::{HeaderMap, Method};
use reqwest::Url;
use serde_json::{Value, json};

use crate::{repo, sdk, soon};

/// Redirects and forms that a browser follows without anybody's doing.
const MOST_STEPS: usize = 20;

/// The server; it ends with the value.
pub struct AuthorizationServer {
    child: Child,
    issuer: String,
    http: reqwest::Client,
}

/// A browser: it keeps cookies, follows redirects and sends forms as they are.
pub struct Browser {
    http: reqwest::Client,
    /// By host and port, then by name.
    cookies: BTreeMap<String, BTreeMap<String, String>>,
}

/// Where a browser arrived.
#[derive(Debug)]
pub struct Page {
    /// The address.
    pub url: String,
    /// Status code.
    pub status: u16,
    /// Header fields.
    pub headers: HeaderMap,
    /// Content.
    pub text: String,
}

// === impl AuthorizationServer ===

impl AuthorizationServer {
    /// Starts one whose access tokens are good for so many seconds. None when the packages are not there and that is allowed.
    pub async fn start(access_token_seconds: u32) -> Option<Self> {
        let modules = repo::from_environment("WASMGATE_NODE_DIR", "target/node").join("node_modules");
        if !modules.join("oidc-provider").is_dir() {
            sdk::missing("the Node package `oidc-provider`");
            return None;
        }
        let mut command = Command::new("node");
        command.arg(repo::path("tests/node/authorization_server.mjs"));
        command.arg(json!({"accessTokenSeconds": access_token_seconds}).to_string()).env("NODE_PATH", modules);
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().expect("node starts");
        let stdout = child.stdout.take().expect("piped");
        let (tell, told) = tokio::sync::oneshot::channel();
        std::thread::spawn(move || {
            let (mut stdout, mut line) = (BufReader::new(stdout), String::new());
            let _ = stdout.read_line(&mut line);
            let _ = tell.send(line);
            // It says more later, and must be able to.
            let _ = std::io::copy(&mut stdout, &mut std::io::sink());
        });
        let line = soon("line of the authorization server", told).await.expect("the thread answers");
        let document: Value = serde_json::from_str(&line).unwrap_or_else(|e| panic!("the server says no address ({e}): {line}"));
        let issuer = document["issuer"].as_str().expect("an address").to_owned();
        Some(Self { child, issuer, http: client() })
    }

    /// Where it is.
    pub fn issuer(&self) -> &str {
        &self.issuer
    }

    /// How often a kind of grant was asked for with an outcome, for example `refresh_token` and `granted`.
    pub async fn count(&self, grant: &str, outcome: &str) -> u64 {
        let counts: Value = serde_json::from_str(&self.read("/test/counts").await).expect("JSON");
        counts[format!("{grant}:{outcome}")].as_u64().unwrap_or(0)
    }

    /// All tokens that it gave, access tokens and refresh tokens.
    pub async fn issued(&self) -> Vec<String> {
        serde_json::from_str(&self.read("/test/issued").await).expect("a list")
    }

    /// Takes back what is behind an access token, as people do in the settings of their account. Whether it was good until now.
    pub async fn withdraw(&self, access: &str) -> bool {
        let request = self.http.post(format!("{}/test/withdraw", self.issuer)).body(access.to_owned());
        let answer = soon("answer of the authorization server", request.send()).await.expect("it answers");
        answer.status().as_u16() == 204
    }

    async fn read(&self, path: &str) -> String {
        let answer = soon("answer of the authorization server", self.http.get(format!("{}{path}", self.issuer)).send()).await;
        soon("end of that answer", answer.expect("it answers").text()).await.expect("it is complete")
    }
}

impl Drop for AuthorizationServer {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn client() -> reqwest::Client {
    // The client wants a TLS provider even when it never meets TLS. A second one is refused, which is fine.
    let _ = rustls::crypto::ring::default_provider().install_default();
    reqwest::Client::builder().no_proxy().redirect(reqwest::redirect::Policy::none()).build().expect("a client")
}

// === impl Browser ===

impl Default for Browser {
    fn default() -> Self {
        Self { http: client(), cookies: BTreeMap::new() }
    }
}

impl Browser {
    /// Opens an address and goes on for as long as pages lead elsewhere.
    pub async fn open(&mut self, url: &str) -> Page {
        self.go(url, |_| false).await
    }

    /// The same, but an address for which `stops` says so is not opened: it is where the browser would go next.
    pub async fn until(&mut self, url: &str, stops: impl Fn(&str) -> bool) -> String {
        self.go(url, stops).await.url
    }

    async fn go(&mut self, url: &str, stops: impl Fn(&str) -> bool) -> Page {
        let (mut url, mut form) = (Url::parse(url).expect("an address"), None);
        for _ in 0..MOST_STEPS {
            if stops(url.as_str()) {
                return Page { url: url.into(), status: 0, headers: HeaderMap::new(), text: String::new() };
            }
            let page = self.send(&url, form.take()).await;
            if let Some(next) = page.headers.get(LOCATION).filter(|_| (300..400).contains(&page.status)) {
                url = url.join(next.to_str().expect("text")).expect("an address");
            } else if let Some((action, fields)) = self::form(&page.text) {
                url = url.join(&action).expect("an address");
                form = Some(fields);
            } else {
                return page;
            }
        }
        panic!("it went on and on, last to {url}");
    }

    async fn send(&mut self, url: &Url, form: Option<Vec<(String, String)>>) -> Page {
        let host = url.authority().to_owned();
        let method = if form.is_some() { Method::POST } else { Method::GET };
        let mut request = self.http.request(method, url.clone());
        let cookies = self.cookies.entry(host).or_default();
        if !cookies.is_empty() {
            request = request.header(COOKIE, cookies.iter().map(|(n, v)| format!("{n}={v}")).collect::<Vec<_>>().join("; "));
        }
        if let Some(fields) = form {
            // The fields of these forms need no escapes.
            let body = fields.iter().map(|(n, v)| format!("{n}={v}")).collect::<Vec<_>>().join("&");
            request = request.header(CONTENT_TYPE, "application/x-www-form-urlencoded").body(body);
        }
        let answer = soon("page", request.send()).await.expect("the server answers");
        let (status, headers) = (answer.status().as_u16(), answer.headers().clone());
        for cookie in headers.get_all(SET_COOKIE) {
            let pair = cookie.to_str().expect("text").split(';').next().unwrap_or_default();
            let (name, value) = pair.split_once('=').expect("a cookie");
            if value.is_empty() {
                cookies.remove(name)
            } else {
                cookies.insert(name.to_owned(), value.to_owned())
            };
        }
        let text = soon("end of the page", answer.text()).await.expect("it is complete");
        Page { url: url.to_string(), status, headers, text }
    }
}

/// The form of a page: where it goes and what is in it.
fn form(html: &str) -> Option<(String, Vec<(String, String)>)> {
    let (_, form) = html.split_once("<form")?;
    let action = attribute(form.split_once('>')?.0, "action")?;
    let inputs = form.split("<input").skip(1).filter_map(|input| {
        let tag = input.split_once('>')?.0;
        Some((attribute(tag, "name")?, attribute(tag, "value")?))
    });
    Some((action, inputs.collect()))
}

fn attribute(tag: &str, name: &str) -> Option<String> {
    let (_, rest) = tag.split_once(&format!("{name}=\""))?;
    Some(rest.split_once('"')?.0.to_owned())
}
