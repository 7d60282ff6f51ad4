//! Providers that are logged in to with OAuth, against a real authorization server. The scripted upstream takes every token that the test did
//! not forbid; which ones the gateway sends is what the tests look at.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};

use futures_util::future::join_all;
use http::Method;
use serde_json::{Value, json};
use wasmgate_tests::answers::{Says, TEXT, error};
use wasmgate_tests::authorization::{AuthorizationServer, Browser, Page};
use wasmgate_tests::cli::{self, ConfigFile};
use wasmgate_tests::databases::Postgres;
use wasmgate_tests::{Answer, Client, Dialect, Gateway, Reply, Upstream, repo, soon};

use crate::setup;

const OPENAI: Dialect = Dialect::OpenAi;

/// What the gateway proves itself with at the authorization server.
const CLIENT_SECRET: &str = "gateway-secret-4f1c";

/// 32 bytes, and others.
const TOKEN_KEY: &str = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=";
const OTHER_KEY: &str = "HwECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=";

/// Tokens that the upstream does not take.
type Forbidden = Arc<Mutex<BTreeSet<String>>>;

/// An authorization server, an upstream, and a gateway that nobody has logged in with.
struct Scene {
    server: AuthorizationServer,
    upstream: Upstream,
    forbidden: Forbidden,
    gateway: Gateway,
    client: Client,
}

impl Scene {
    /// None when the packages are not there and that is allowed. Access tokens are good for so many seconds.
    async fn start(seconds: u32) -> Option<Self> {
        Self::with(seconds, "").await
    }

    /// The same with more settings at the top.
    async fn with(seconds: u32, more: &str) -> Option<Self> {
        let server = AuthorizationServer::start(seconds).await?;
        let forbidden = Forbidden::default();
        let refuses = Arc::clone(&forbidden);
        let upstream = Upstream::start(move |r| {
            if refuses.lock().unwrap().contains(bearer(r.header("authorization"))) {
                return Reply::json(401, &error(OPENAI, "invalid_request_error", "This token is not good (any more)."));
            }
            Says::text(TEXT).reply(OPENAI, r)
        })
        .await;
        let gateway = Gateway::builder(&config(&upstream, server.issuer(), more)).env("TOKEN_KEY", TOKEN_KEY).start().await;
        let client = Client::new(&gateway);
        Some(Self { server, upstream, forbidden, gateway, client })
    }

    /// Somebody logs in with a browser of their own; the credential's number.
    async fn log_in(&self, query: &str) -> u64 {
        let page = Browser::default().open(&self.authorization_url("api", query).await).await;
        assert_eq!(page.status, 200, "{page:?}");
        self.status().await["last_login"]["credential"].as_u64().expect("it is the last login")
    }

    async fn initiate(&self, provider: &str, query: &str) -> Answer {
        self.client.get(&format!("/api/oauth/{provider}/initiate{query}")).await
    }

    async fn authorization_url(&self, provider: &str, query: &str) -> String {
        let answer = self.initiate(provider, query).await;
        assert_eq!(answer.status, 200, "{}", answer.text());
        answer.json()["data"]["authorization_url"].as_str().expect("an address").to_owned()
    }

    async fn status(&self) -> Value {
        status(&self.client).await
    }

    /// Waits until the status of the logins fulfils a condition.
    async fn status_when(&self, what: &str, condition: impl Fn(&Value) -> bool) -> Value {
        let found = async {
            loop {
                let status = self.status().await;
                if condition(&status) {
                    return status;
                }
                tokio::task::yield_now().await;
            }
        };
        soon(&format!("status: {what}"), found).await
    }

    /// Somebody asks a model, and gets an answer; the token with which the upstream gave it.
    async fn served_with(&self) -> String {
        assert_served(&ask(&self.client).await);
        self.last_token()
    }

    fn last_token(&self) -> String {
        let received = self.upstream.received();
        let last = received.last().expect("a request");
        assert!(last.header("x-api-key").is_none());
        bearer(last.header("authorization")).to_owned()
    }

    fn forbid(&self, token: &str) {
        self.forbidden.lock().unwrap().insert(token.to_owned());
    }

    async fn order(&self, method: Method, path: &str) -> Answer {
        self.client.send(self.client.request(method, path)).await
    }

    async fn refreshes(&self) -> u64 {
        self.server.count("refresh_token", "granted").await
    }

    /// The gateway ends at once, and is started again.
    async fn after_a_power_failure(mut self) -> Self {
        self.gateway = self.gateway.kill().start().await;
        self.client = Client::new(&self.gateway);
        self
    }
}

fn config(upstream: &Upstream, issuer: &str, more: &str) -> String {
    let url = upstream.url();
    let provider = |name: &str, rest: &str| {
        format!(
            "  {name}:\n    type: openai\n    base_url: \"{url}/v1\"\n    oauth: {{issuer: \"{issuer}\", client_id: gateway, \
             client_secret: {CLIENT_SECRET}, scopes: [openid, offline_access, models]{rest}}}\n"
        )
    };
    let providers = format!("{}{}  plain: {{type: echo}}\n", provider("api", ""), provider("second", ", client_auth: basic"));
    let storage = "storage: {path: store.redb, token_key: \"${TOKEN_KEY}\"}\n";
    setup::config(&providers, &format!("default_provider: api\n{storage}{more}"))
}

fn bearer(field: Option<&str>) -> &str {
    field.and_then(|f| f.strip_prefix("Bearer ")).unwrap_or_default()
}

async fn status(client: &Client) -> Value {
    let answer = client.get("/api/oauth/api/status").await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    answer.json()["data"].clone()
}

async fn ask(client: &Client) -> Answer {
    client.post(OPENAI.path(), &OPENAI.request("api/m", "hello")).await
}

fn assert_served(answer: &Answer) {
    assert_eq!(answer.status, 200, "{}", answer.text());
    assert_eq!(OPENAI.text(&answer.json()), TEXT);
}

/// What is in an address.
fn query(url: &str) -> std::collections::BTreeMap<String, String> {
    let query = url.split_once('?').expect("a query").1;
    let pairs = query.split('&').filter_map(|pair| pair.split_once('='));
    pairs.map(|(n, v)| (n.to_owned(), v.to_owned())).collect()
}

/// A page that nothing was put into, and that does nothing.
fn assert_is_plain(page: &Page) {
    let field = |name: &str| page.headers[name].to_str().expect("text").to_owned();
    assert_eq!(field("content-type"), "text/html; charset=utf-8");
    assert!(field("content-security-policy").starts_with("default-src 'none'"), "{page:?}");
    assert_eq!((field("referrer-policy"), field("cache-control")), ("no-referrer".into(), "no-store".into()));
    assert!(!page.text.contains("<script") && !page.text.contains("state"), "{page:?}");
}

#[tokio::test]
async fn a_login_serves_outlives_a_power_failure_and_is_nowhere_to_read() {
    let Some(scene) = Scene::with(3600, "logging: {level: debug, access: true}\n").await else { return };
    let before = ask(&scene.client).await;
    let (_, message) = OPENAI.error(&before.json());
    assert!(before.status >= 500 && message.contains("GET /api/oauth/api/initiate"), "{}: {message}", before.status);
    assert_eq!(scene.upstream.received().len(), 0);
    let health = scene.client.get("/api/providers/api/health").await.json()["data"].clone();
    assert_eq!(health["state"], "down", "{health}");
    let tested = scene.order(Method::POST, "/api/providers/api/test").await;
    assert_eq!((tested.status, tested.json()["error"]["code"].as_str()), (409, Some("not_logged_in")), "{}", tested.text());

    let url = scene.authorization_url("api", "").await;
    let sent = query(&url);
    assert_eq!((sent["code_challenge_method"].as_str(), sent["code_challenge"].len()), ("S256", 43), "{url}");
    assert_eq!((sent["response_type"].as_str(), sent["client_id"].as_str(), sent["state"].len()), ("code", "gateway", 43), "{url}");
    let back = format!("{}/api/oauth/api/callback", scene.gateway.url());
    assert_eq!(sent["redirect_uri"].replace("%3A", ":").replace("%2F", "/"), back);
    let page = Browser::default().open(&url).await;
    assert_eq!((page.status, page.text.contains("Logged in")), (200, true), "{page:?}");
    assert_is_plain(&page);

    let token = scene.served_with().await;
    assert!(token.len() > 20, "{token}");
    let status = scene.status().await;
    let credential = &status["credentials"][0];
    assert_eq!((&credential["credential"], &credential["state"], &credential["refreshes"]), (&json!(1), &json!("ready"), &json!(true)));
    let all = scene.client.get("/api/oauth").await.json()["data"].clone();
    let names: Vec<_> = all.as_array().expect("a list").iter().map(|l| l["provider"].as_str().unwrap_or_default()).collect();
    assert_eq!(names, ["api", "second"]);
    let row = scene.client.get("/api/providers/api").await.json()["data"].clone();
    assert_eq!((&row["keys"], &row["state"]), (&json!(1), &json!("ok")), "{row}");

    // A second token, so that there is one that was replaced.
    assert_eq!(scene.order(Method::POST, "/api/oauth/api/refresh").await.status, 200);
    let second = scene.served_with().await;
    assert_ne!(token, second);
    let (folder, file) = (scene.gateway.folder().to_owned(), scene.gateway.folder().join("store.redb"));
    let scene = scene.after_a_power_failure().await;
    assert_eq!(scene.served_with().await, second, "the login is gone");
    assert_eq!(scene.server.count("authorization_code", "granted").await, 1);
    // The refresh token that came last was kept too.
    scene.forbid(&second);
    assert!(![&token, &second].contains(&&scene.served_with().await));
    assert_eq!(scene.refreshes().await, 2);

    let mut secrets = scene.server.issued().await;
    assert_eq!(secrets.len(), 6, "three pairs");
    secrets.extend([CLIENT_SECRET.to_owned(), TOKEN_KEY.to_owned()]);
    let mut seen = vec![("the log", scene.gateway.log_text())];
    for path in
        ["/api/oauth", "/api/oauth/api/status", "/api/providers", "/api/providers/api", "/api/providers/api/health", "/metrics", "/status"]
    {
        seen.push((path, scene.client.get(path).await.text()));
    }
    let gateway_file = folder.join("gateway.yaml").display().to_string();
    let printed = cli::run_with(&["config", "print", "--config", &gateway_file], &[("TOKEN_KEY", TOKEN_KEY)]);
    assert!(printed.stdout.contains("client_secret: \"***\"") && printed.stdout.contains("token_key: \"***\""), "{printed:?}");
    seen.push(("config print", printed.stdout));
    seen.push(("the file", std::fs::read(&file).expect("it is there").iter().map(|b| char::from(*b)).collect()));
    for (place, text) in &seen {
        assert!(!text.is_empty(), "{place}");
        for secret in &secrets {
            assert!(!text.contains(secret), "{secret} is in {place}");
        }
    }
    let line = scene.gateway.log_text();
    assert!(!line.contains(&sent["state"]), "the state is in the log");
}

#[tokio::test]
async fn a_return_that_nobody_began_is_refused() {
    let Some(scene) = Scene::start(3600).await else { return };
    let is_back = |url: &str| url.contains("/callback");
    let callback = |provider: &str, query: &str| format!("{}/api/oauth/{provider}/callback?{query}", scene.gateway.url());
    let mut browser = Browser::default();
    let refused = async |browser: &mut Browser, url: &str| {
        let page = browser.open(url).await;
        assert_eq!((page.status, page.text.contains("This login is not known")), (400, true), "{page:?}");
        assert_is_plain(&page);
    };

    // Another state, none, and that of another provider.
    let returned = browser.until(&scene.authorization_url("api", "").await, is_back).await;
    let (code, state) = (query(&returned)["code"].clone(), query(&returned)["state"].clone());
    refused(&mut browser, &callback("api", &format!("code={code}&state={}", "A".repeat(43)))).await;
    refused(&mut browser, &callback("api", &format!("code={code}"))).await;
    refused(&mut browser, &callback("second", &format!("code={code}&state={state}"))).await;
    // That one is used up, also where it belongs.
    refused(&mut browser, &returned).await;
    assert_eq!(scene.server.count("authorization_code", "granted").await, 0, "the code was never shown to the server");

    // A good one is good once; programs that look at addresses do not use it up.
    let returned = browser.until(&scene.authorization_url("api", "").await, is_back).await;
    let path = returned.strip_prefix(&scene.gateway.url()).expect("it is the gateway's").to_owned();
    assert_eq!(scene.order(Method::HEAD, &path).await.status, 200);
    assert_eq!(browser.open(&returned).await.status, 200);
    refused(&mut browser, &returned).await;
    assert_eq!(scene.status().await["credentials"].as_array().map(Vec::len), Some(1));

    // The server says no, another server answers, the code is somebody else's. Nothing of that is on the page.
    let begun = async || query(&scene.authorization_url("api", "").await)["state"].clone();
    let no = "error=access_denied&error_description=%3Cscript%3Ealert(1)%3C/script%3E";
    let page = browser.open(&callback("api", &format!("{no}&state={}", begun().await))).await;
    assert_eq!((page.status, page.text.contains("access_denied")), (400, true), "{page:?}");
    assert_is_plain(&page);
    let page = browser.open(&callback("api", &format!("error=%3Cb%3E&state={}", begun().await))).await;
    assert!(page.status == 400 && !page.text.contains("<b>") && !page.text.contains("%3C"), "{page:?}");
    let page = browser.open(&callback("api", &format!("code=c&iss=https%3A%2F%2Fevil.example&state={}", begun().await))).await;
    assert_eq!((page.status, page.text.contains("Another authorization server")), (400, true), "{page:?}");
    assert_eq!(scene.server.count("authorization_code", "refused").await, 0, "the code went to nobody");
    let page = browser.open(&callback("api", &format!("code=not-a-code-of-this-server&state={}", begun().await))).await;
    assert_eq!((page.status, page.text.contains("The gateway's log says why")), (502, true), "{page:?}");
    assert_is_plain(&page);
    let last = scene.status().await["last_login"].clone();
    let reason = last["error"].as_str().expect("a reason");
    assert!(last["ok"] == false && reason.contains("invalid_grant") && !reason.contains("not-a-code"), "{last}");

    for (path, status) in [
        ("/api/oauth/nobody/initiate", 404),
        ("/api/oauth/plain/initiate", 409),
        ("/api/oauth/plain/status", 409),
        ("/api/oauth/api/initiate?flow=implicit", 400),
        ("/api/oauth/api/initiate?credential=0", 400),
        ("/api/oauth/api/initiate?credential=7", 404),
        ("/api/oauth/api/initiate?redirect_uri=https://evil.example", 400),
        ("/api/oauth/plain/callback?state=x", 404),
    ] {
        let answer = scene.client.get(path).await;
        assert_eq!(answer.status, status, "{path}: {}", answer.text());
    }
    assert_eq!(scene.order(Method::POST, "/api/oauth/second/refresh").await.status, 409);
    assert_eq!(scene.order(Method::DELETE, "/api/oauth/api/revoke?credential=9").await.status, 404);
}

#[tokio::test]
async fn only_the_return_needs_no_password_and_no_request_says_where_to() {
    let Some(scene) = Scene::with(3600, "auth: {api_password: sesame}\n").await else { return };
    for (method, path) in [
        (Method::GET, "/api/oauth"),
        (Method::GET, "/api/oauth/api/initiate"),
        (Method::GET, "/api/oauth/api/status"),
        (Method::POST, "/api/oauth/api/refresh"),
        (Method::POST, "/api/oauth/api/revoke"),
        (Method::DELETE, "/api/oauth/api/revoke"),
    ] {
        assert_eq!(scene.order(method, path).await.status, 401, "{path}");
    }
    let request = scene.client.request(Method::GET, "/api/oauth/api/initiate").header("authorization", "Bearer sesame");
    let request = request.header("host", "evil.example").header("x-forwarded-host", "evil.example");
    let answer = scene.client.send(request).await.json();
    let url = answer["data"]["authorization_url"].as_str().expect("an address");
    assert!(
        !url.contains("evil") && answer["data"]["redirect_url"].as_str().is_some_and(|u| u.starts_with(&scene.gateway.url())),
        "{answer}"
    );
    assert_eq!(Browser::default().open(url).await.status, 200);
    assert_served(&ask(&scene.client).await);
}

#[tokio::test]
async fn clients_that_are_refused_together_make_one_exchange() {
    let Some(mut scene) = Scene::start(3600).await else { return };
    scene.log_in("").await;
    let mut before = scene.served_with().await;
    for round in 1..=3 {
        scene.forbid(&before);
        let first = scene.upstream.received().len();
        let clients: Vec<_> = (0..32).map(|_| Client::new(&scene.gateway)).collect();
        let answers = join_all(clients.iter().map(ask)).await;
        answers.iter().for_each(assert_served);
        assert_eq!(scene.refreshes().await, round, "one refresh for all of them");
        let tokens: BTreeSet<_> = scene.upstream.received()[first..].iter().map(|r| bearer(r.header("authorization")).to_owned()).collect();
        assert_eq!(tokens.len(), 2, "the one before and one new one");
        before = tokens.into_iter().find(|t| *t != before).expect("the new one");
        if round == 2 {
            // Only the refresh token that came last is good, and a power failure does not lose it.
            scene = scene.after_a_power_failure().await;
        }
    }
    assert_eq!(scene.server.count("refresh_token", "refused").await, 0);
    assert_eq!(scene.status().await["credentials"][0]["state"], "ready");
}

#[tokio::test]
async fn a_login_that_was_withdrawn_makes_room_for_the_next_one() {
    let Some(scene) = Scene::start(3600).await else { return };
    assert_eq!((scene.log_in("").await, scene.log_in("").await), (1, 2));
    // They take turns.
    let (a, b) = (scene.served_with().await, scene.served_with().await);
    assert_ne!(a, b);
    assert_eq!(scene.served_with().await, a);
    assert!(scene.server.withdraw(&a).await);
    scene.forbid(&a);
    for _ in 0..4 {
        assert_eq!(scene.served_with().await, b, "no caller notices");
    }
    let status = scene.status().await;
    let states: Vec<_> = status["credentials"].as_array().expect("a list").iter().map(|c| c["state"].clone()).collect();
    let aside = states.iter().position(|s| s == "set_aside").expect("one is set aside");
    assert_eq!(states[1 - aside], "ready", "{status}");
    let reason = status["credentials"][aside]["reason"].as_str().expect("a reason");
    assert!(reason.contains("invalid_grant") && reason.contains("log in again"), "{reason}");
    let tries = scene.upstream.received().iter().filter(|r| bearer(r.header("authorization")) == a).count();
    assert_eq!(tries, 3, "it served twice and was refused once");
    assert_eq!(scene.server.count("refresh_token", "refused").await, 1, "and was tried to be exchanged once");
    let health = scene.client.get("/api/providers/api/health").await.json()["data"].clone();
    assert_eq!((&health["state"], &health["keys"][aside]["state"]), (&json!("degraded"), &json!("set_aside")), "{health}");

    // The other one too, and then nothing is sent any more.
    assert!(scene.server.withdraw(&b).await);
    scene.forbid(&b);
    let answer = ask(&scene.client).await;
    assert!(answer.status >= 500 && answer.text().contains("log in again"), "{}", answer.text());
    let sent = scene.upstream.received().len();
    let answer = ask(&scene.client).await;
    assert!(answer.text().contains("GET /api/oauth/api/initiate"), "{}", answer.text());
    assert_eq!(scene.upstream.received().len(), sent);
    // An operator who wants to know gets the reason; nobody else is asked.
    let answer = scene.order(Method::POST, "/api/oauth/api/refresh?credential=1").await;
    assert_eq!((answer.status, answer.json()["error"]["code"].as_str()), (502, Some("refresh_failed")), "{}", answer.text());
    assert!(answer.text().contains("invalid_grant"), "{}", answer.text());

    // Somebody logs in in its place.
    assert_eq!(scene.log_in("?credential=1").await, 1);
    assert!(![a, b].contains(&scene.served_with().await));
    assert_eq!(scene.status().await["credentials"].as_array().map(Vec::len), Some(2));
}

#[tokio::test]
async fn what_is_taken_back_is_good_nowhere() {
    let Some(scene) = Scene::start(3600).await else { return };
    assert_eq!((scene.log_in("").await, scene.log_in("").await, scene.log_in("").await), (1, 2, 3));
    let answer = scene.order(Method::POST, "/api/oauth/api/revoke?credential=2").await;
    assert_eq!(answer.json()["data"], json!([{"credential": 2, "at_server": true, "error": null}]));
    let served = [scene.served_with().await, scene.served_with().await, scene.served_with().await];
    assert_eq!(BTreeSet::from(served.clone()).len(), 2, "the other two");
    let answer = scene.order(Method::DELETE, "/api/oauth/api/revoke").await;
    assert_eq!(answer.json()["data"].as_array().map(Vec::len), Some(2), "{}", answer.text());
    for token in &served {
        assert!(!scene.server.withdraw(token).await, "the server still knows it");
    }
    assert_eq!(scene.order(Method::DELETE, "/api/oauth/api/revoke").await.json()["data"], json!([]));
    let scene = scene.after_a_power_failure().await;
    assert_eq!(scene.status().await["credentials"], json!([]));
    assert!(ask(&scene.client).await.status >= 500);
}

#[tokio::test]
async fn a_reload_keeps_logins_and_another_client_does_not_get_them() {
    let Some(scene) = Scene::start(3600).await else { return };
    scene.log_in("").await;
    let token = scene.served_with().await;
    let before = config(&scene.upstream, scene.server.issuer(), "");
    let reload = async |config: &str| {
        scene.gateway.configure(config);
        let answer = scene.order(Method::POST, "/api/config/reload").await;
        assert_eq!((answer.status, answer.json()["data"]["outcome"].as_str()), (200, Some("published")), "{}", answer.text());
    };
    reload(&before.replace("client_id: gateway", "refresh_margin: 30s, client_id: gateway")).await;
    assert_eq!(scene.served_with().await, token);
    reload(&before.replace("client_id: gateway", "client_id: other-gateway")).await;
    assert_eq!(scene.status().await["credentials"][0]["state"], "foreign");
    let sent = scene.upstream.received().len();
    assert!(ask(&scene.client).await.status >= 500);
    assert_eq!(scene.upstream.received().len(), sent, "a token that another client got is sent nowhere");
    reload(&before).await;
    assert_eq!(scene.served_with().await, token);
    // What was exchanged before the reload is known after it.
    scene.forbid(&token);
    assert_ne!(scene.served_with().await, token);
    assert_eq!((scene.refreshes().await, scene.server.count("refresh_token", "refused").await), (1, 0));
}

#[tokio::test]
async fn somebody_logs_in_on_another_device() {
    let Some(scene) = Scene::start(3600).await else { return };
    let begun = scene.initiate("api", "?flow=device").await.json()["data"].clone();
    assert_eq!((&begun["flow"], begun["user_code"].as_str().map(str::len)), (&json!("device"), Some(9)), "{begun}");
    let waiting = scene.status().await["logging_in"].clone();
    assert_eq!((&waiting[0]["flow"], &waiting[0]["user_code"]), (&json!("device"), &begun["user_code"]), "{waiting}");
    let page = Browser::default().open(begun["verification_url_complete"].as_str().expect("an address")).await;
    assert!(page.text.contains("done"), "{page:?}");
    let status = scene.status_when("logged in", |s| s["last_login"]["ok"] == true && s["logging_in"] == json!([])).await;
    assert_eq!(status["credentials"][0]["state"], "ready", "{status}");
    assert!(scene.served_with().await.len() > 20);
    assert_eq!(scene.server.count("urn:ietf:params:oauth:grant-type:device_code", "granted").await, 1);
}

#[tokio::test]
async fn tokens_are_exchanged_before_they_expire_without_a_request() {
    let Some(scene) = Scene::start(4).await else { return };
    scene.log_in("").await;
    let status = scene.status_when("exchanged twice", |s| s["credentials"][0]["refreshed"].as_u64() >= Some(2)).await;
    assert_eq!(status["credentials"][0]["state"], "ready", "{status}");
    assert_eq!(scene.upstream.received().len(), 0);
    let token = scene.served_with().await;
    assert!(scene.server.issued().await.contains(&token));
    assert_eq!(scene.server.count("refresh_token", "refused").await, 0);
}

#[tokio::test]
async fn another_key_is_told_at_the_start_and_loses_nothing() {
    let Some(scene) = Scene::start(3600).await else { return };
    scene.log_in("").await;
    let token = scene.served_with().await;
    let folder = scene.gateway.folder().to_owned();
    let start = scene.gateway.kill();
    let file = folder.join("gateway.yaml").display().to_string();
    let components = repo::components().display().to_string();
    let store = format!("storage.path={}", folder.join("store.redb").display());
    let args = ["--config", &file, "--components", &components, "--set", "server.port=0", "--set", &store];
    let with = |command: &[&str], key: &str| cli::run_with(&[command, &args[..]].concat(), &[("TOKEN_KEY", key)]);
    for key in [OTHER_KEY, "not a key", ""] {
        let refused = with(&["serve"], key);
        assert!(refused.code == 2 && refused.stderr.contains("token_key"), "{refused:?}");
        assert!(!refused.stderr.contains("panicked") && (key.is_empty() || !refused.stderr.contains(key)), "{refused:?}");
    }
    let gateway = start.start().await;
    assert_served(&ask(&Client::new(&gateway)).await);
    let last = scene.upstream.received();
    assert_eq!(bearer(last.last().expect("a request").header("authorization")), token);

    // The key is lost for good.
    let start = gateway.kill();
    let forgotten = with(&["oauth", "forget"], OTHER_KEY);
    assert_eq!((forgotten.code, forgotten.stderr.trim()), (0, "1 login(s) removed"), "{forgotten:?}");
    let gateway = start.env("TOKEN_KEY", OTHER_KEY).start().await;
    assert_eq!(status(&Client::new(&gateway)).await["credentials"], json!([]));
}

/// An authorization server and a provider in one: it gives one token, and takes that.
async fn gives_and_takes() -> Upstream {
    Upstream::start(|r| match (r.path.as_str(), bearer(r.header("authorization"))) {
        ("/token", _) => Reply::json(200, &json!({"access_token": "token-1", "token_type": "Bearer", "expires_in": 3600})),
        (_, "token-1") => Says::text(TEXT).reply(OPENAI, r),
        _ => Reply::json(401, &error(OPENAI, "invalid_request_error", "no")),
    })
    .await
}

#[tokio::test]
async fn a_database_that_is_away_at_the_start_logs_nobody_out() {
    let Some(mut postgres) = Postgres::start() else { return };
    let upstream = gives_and_takes().await;
    let url = upstream.url();
    let provider = format!(
        "  api:\n    type: openai\n    base_url: \"{url}/v1\"\n    oauth: {{client_id: gateway, auth_url: \"{url}/auth\", token_url: \"{url}/token\"}}\n"
    );
    let keys = format!("keys: {{type: postgres, url: \"{}\", refresh: 100ms}}", postgres.database("keys"));
    let config = setup::config(
        &provider,
        &format!("default_provider: api\nstorage: {{token_key: \"${{TOKEN_KEY}}\", flush_interval: 10ms, {keys}}}\n"),
    );
    let start = async |key: &str| {
        let gateway = Gateway::builder(&config).env("TOKEN_KEY", key).start().await;
        let client = Client::new(&gateway);
        (gateway, client)
    };
    let (gateway, client) = start(TOKEN_KEY).await;
    let begun = client.get("/api/oauth/api/initiate").await.json();
    let state = query(begun["data"]["authorization_url"].as_str().expect("an address"))["state"].clone();
    assert_eq!(client.get(&format!("/api/oauth/api/callback?state={state}&code=c")).await.status, 200);
    assert_served(&ask(&client).await);
    assert!(gateway.stop().await.0.success());

    postgres.end();
    let (gateway, client) = start(TOKEN_KEY).await;
    let (other, at_other) = start(OTHER_KEY).await;
    for client in [&client, &at_other] {
        let answer = ask(client).await;
        assert_eq!(answer.status, 503, "{}", answer.text());
        assert!(answer.text().contains("not known yet who is logged in") && !answer.text().contains("log in:"), "{}", answer.text());
        assert!(!answer.text().to_lowercase().contains("postgres"), "{}", answer.text());
        let ready = client.get("/health/ready").await;
        assert_eq!((ready.status, ready.json()), (503, json!({"status": "logins_unread"})));
        // Nothing can be put in the place of what is there.
        for (method, path) in [(Method::GET, "initiate"), (Method::POST, "refresh"), (Method::POST, "revoke")] {
            let answer = client.send(client.request(method, &format!("/api/oauth/api/{path}"))).await;
            assert_eq!((answer.status, answer.json()["error"]["code"].as_str()), (503, Some("logins_unread")), "{path}: {}", answer.text());
        }
        let tested = client.send(client.request(Method::POST, "/api/providers/api/test")).await;
        assert_eq!((tested.status, tested.json()["error"]["code"].as_str()), (503, Some("logins_unread")), "{}", tested.text());
        assert!(status(client).await["unread"].as_str().is_some_and(|u| u.contains("has not answered")));
    }
    let config_file = gateway.folder().join("gateway.yaml").display().to_string();
    let components = repo::components().display().to_string();
    let args = ["oauth", "forget", "--config", &config_file, "--components", &components];
    let forgotten = cli::run_with(&args, &[("TOKEN_KEY", TOKEN_KEY)]);
    assert!(forgotten.code != 0 && forgotten.stderr.contains("does not answer, so nothing was removed"), "{forgotten:?}");

    postgres.begin();
    soon("it is ready", async { while client.get("/health/ready").await.status != 200 {} }).await;
    assert_served(&ask(&client).await);
    let known = status(&client).await;
    assert_eq!((&known["unread"], &known["credentials"][0]["state"]), (&Value::Null, &json!("ready")), "{known}");
    let tokens = upstream.received().iter().filter(|r| r.path == "/token").count();
    assert_eq!(tokens, 1, "nobody had to log in again");
    // With another key that can be told only now, and what is there stays as it is.
    let look = |line: &Value| line.to_string().contains("is not the key that they were encrypted with");
    soon("the other key is told", async { while at_other.get("/health/ready").await.status == 503 && other.log_lines(look).is_empty() {} })
        .await;
    let answer = ask(&at_other).await;
    assert!(answer.status == 503 && answer.text().contains("the operator must look into the gateway's log"), "{}", answer.text());
    assert!(other.stop().await.0.success() && gateway.stop().await.0.success());
    let (_gateway, client) = start(TOKEN_KEY).await;
    assert_served(&ask(&client).await);
}

#[test]
fn settings_that_cannot_work_are_told() {
    let base = "server: {port: 0}\nstorage: {path: x.redb, token_key: \"AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=\"}\nproviders:\n  a:\n    type: openai\n";
    for (settings, expect) in [
        ("    oauth: {issuer: \"https://login.example\", client_id: me}\n", ""),
        ("    oauth: {}\n", "gateway.yaml:6: error: `providers.a.oauth`: `client_id` is missing"),
        ("    oauth: {client_id: me}\n", "neither `issuer` nor `token_url`"),
        ("    oauth: {client_id: me, token_url: \"https://login.example/t\"}\n", "`auth_url` or `device_url` must say"),
        ("    oauth: {client_id: me, issuer: login.example}\n", "`providers.a.oauth.issuer`: `login.example` is no address"),
        ("    oauth: {client_id: me, issuer: \"https://l.example\", auth_params: {state: x}}\n", "the gateway makes `state` itself"),
        ("    oauth: {client_id: me, issuer: \"https://l.example\", scopes: [\"a b\"]}\n", "`a b` is no scope"),
        ("    oauth: {client_id: me, issuer: \"https://l.example\"}\n    api_key: k\n", "there is an API key too"),
        ("    oauth: {client_id: me, issuer: \"https://l.example\", timeout: 0s}\n", "`0s` is no time for an answer"),
        ("    oauth: {client_id: me, issuer: \"https://l.example\", client_auth: jwt}\n", "expected `basic` or `post`"),
        ("    oauth: {client_id: me, isuer: \"https://l.example\"}\n", "Did you mean `issuer`?"),
    ] {
        let checked = ConfigFile::new(&format!("{base}{settings}")).check(&[]);
        assert_eq!(checked.code, if expect.is_empty() { 0 } else { 2 }, "{settings}{checked:?}");
        assert!(checked.stderr.contains(expect), "{settings}{checked:?}");
    }
    let without = base.replace(", token_key: \"AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=\"", "");
    let checked = ConfigFile::new(&format!("{without}    oauth: {{client_id: me, issuer: \"https://l.example\"}}\n")).check(&[]);
    assert!(checked.code == 2 && checked.stderr.contains("`storage.token_key` is not set. Make a key with `openssl rand"), "{checked:?}");
}
