//! What every request meets before anything else: its id, the rules for web pages, the access log, and the operators' password.

use http::Method;
use serde_json::{Value, json};
use wasmgate_tests::answers::{Says, TEXT};
use wasmgate_tests::cli::{self, ConfigFile};
use wasmgate_tests::{Answer, Client, Dialect, Gateway, Reply, Step, Upstream, soon};

use crate::{extensions, setup};

const PASSWORD: &str = "correct horse battery staple";

const ECHO: &str = "  echo: {type: echo}\n";

async fn with(more: &str) -> (Gateway, Client) {
    let gateway = Gateway::start(&setup::config(ECHO, more)).await;
    let client = Client::new(&gateway);
    (gateway, client)
}

async fn ask(client: &Client, method: Method, path: &str, fields: &[(&str, &str)]) -> Answer {
    let request = fields.iter().fold(client.request(method, path), |r, (name, value)| r.header(*name, *value));
    client.send(request).await
}

// === request id ===

#[tokio::test]
async fn an_id_is_kept_when_it_is_sane_and_made_otherwise() {
    let upstream = setup::friendly(Dialect::OpenAi).await;
    let config = setup::config(&setup::provider(Dialect::OpenAi, &upstream), &extensions::fixture("probe", ""));
    let gateway = Gateway::start(&config).await;
    let client = Client::new(&gateway);
    for dialect in Dialect::ALL {
        let id = format!("trace.{dialect:?}");
        let request = client.request(Method::POST, dialect.path()).header("x-request-id", &id);
        let answer = client.send(request.body(dialect.request("m", "x").to_string())).await;
        assert_eq!((answer.status, answer.header("x-request-id")), (200, id.as_str()));
        // Hooks and the log have the same.
        setup::assert_record(&client, &id, "success").await;
        assert_eq!(client.get(&format!("/probe/count/{id}")).await.text(), "1");
        gateway.log_line("the request", |l| l["request_id"] == id.as_str()).await;
    }
    let long = "x".repeat(129);
    for odd in ["two words", "", &long] {
        let answer = ask(&client, Method::GET, "/health", &[("x-request-id", odd)]).await;
        let made = answer.header("x-request-id");
        assert!(made != odd && made.len() == 32, "{odd}: {made}");
    }
    let ids: Vec<String> =
        [client.get("/health").await, client.get("/nowhere").await].iter().map(|a| a.header("x-request-id").to_owned()).collect();
    assert!(ids[0] != ids[1] && !ids[1].is_empty(), "{ids:?}");
}

// === web pages ===

const PAGE: &str = "https://app.example.com";

fn allowed(answer: &Answer) -> &str {
    answer.header("access-control-allow-origin")
}

#[tokio::test]
async fn pages_may_ask_where_the_configuration_says_so() {
    let upstream = setup::friendly(Dialect::OpenAi).await;
    let providers = setup::provider(Dialect::OpenAi, &upstream);
    let more = format!("server: {{cors: {{origins: [\"{PAGE}\"], max_age: 5m}}}}\nauth: {{api_password: \"{PASSWORD}\"}}\n");
    let gateway = Gateway::start(&setup::config(&providers, &more)).await;
    let client = Client::new(&gateway);
    for dialect in Dialect::ALL {
        let preflight = [
            ("origin", PAGE),
            ("access-control-request-method", "POST"),
            ("access-control-request-headers", "authorization, x-stainless-lang"),
        ];
        let answer = ask(&client, Method::OPTIONS, dialect.path(), &preflight).await;
        assert_eq!((answer.status, allowed(&answer)), (200, PAGE));
        assert_eq!(answer.header("access-control-allow-headers"), "authorization, x-stainless-lang");
        assert_eq!(answer.header("access-control-max-age"), "300");
        assert!(answer.body.is_empty() && !answer.header("x-request-id").is_empty());
        for wish in [dialect.request("m", "x"), dialect.stream_request("m", "x")] {
            let request = client.request(Method::POST, dialect.path()).header("origin", PAGE).body(wish.to_string());
            let answer = client.send(request).await;
            assert_eq!((answer.status, allowed(&answer)), (200, PAGE), "{}", answer.text());
            assert!(answer.header("access-control-expose-headers").contains("x-request-id"));
        }
        // Errors too: a page could not say otherwise what is wrong.
        let request = client.request(Method::POST, dialect.path()).header("origin", PAGE).body("{");
        let answer = client.send(request).await;
        assert_eq!((answer.status, allowed(&answer)), (400, PAGE));
        let other = ask(&client, Method::OPTIONS, dialect.path(), &[("origin", "https://evil.example"), preflight[1]]).await;
        assert_eq!(allowed(&other), "");
    }
    assert_eq!(upstream.received().len(), 2 * Dialect::ALL.len(), "a preflight goes nowhere");
    // Before the password, which a browser does not send with it.
    let preflight = [("origin", PAGE), ("access-control-request-method", "GET")];
    assert_eq!(ask(&client, Method::OPTIONS, "/api/extensions", &preflight).await.status, 200);
    let answer = ask(&client, Method::GET, "/api/extensions", &[("origin", PAGE)]).await;
    assert_eq!((answer.status, allowed(&answer)), (401, PAGE));
}

#[tokio::test]
async fn pages_may_not_ask_by_default_and_a_reload_changes_that() {
    let (gateway, client) = with("").await;
    let path = Dialect::OpenAi.models_path();
    assert_eq!(allowed(&ask(&client, Method::GET, path, &[("origin", PAGE)]).await), "");
    gateway.configure(&setup::config(ECHO, "server: {cors: {origins: [\"*\"]}}\n"));
    client.order("/api/config/reload").await;
    assert_eq!(allowed(&ask(&client, Method::GET, path, &[("origin", PAGE)]).await), "*");
}

#[test]
fn rules_for_pages_that_mean_nothing_are_refused_with_their_line() {
    for (cors, expect) in [
        ("{}", "`server.cors`: `origins` is empty"),
        ("{origins: [app.example.com]}", "`app.example.com` is no origin"),
        ("{origins: [\"https://a.example/\"]}", "`https://a.example/` is no origin"),
        ("{origins: [\"*\"], credentials: true}", "does not go with the origin `*`"),
        ("{origins: [\"*\"], methods: [\"G ET\"]}", "`G ET` is no method"),
        ("{origins: [\"*\"], headers: [\"a b\"]}", "`a b` is no name of a header field"),
        ("{origin: [\"*\"]}", "Did you mean `origins`?"),
    ] {
        let finished = ConfigFile::new(&setup::config(ECHO, &format!("server:\n  cors: {cors}\n"))).check(&[]);
        assert_eq!(finished.code, 2, "{cors}");
        assert!(finished.stderr.contains(expect) && finished.stderr.contains("gateway.yaml:8"), "{cors}: {}", finished.stderr);
    }
}

// === access log ===

fn is_access(line: &Value) -> bool {
    line["target"] == "access"
}

#[tokio::test]
async fn every_request_has_a_line() {
    let upstream = Upstream::start(|r| match r.model().as_str() {
        "hang" => {
            let events = Says::text(TEXT).stream(Dialect::OpenAi, "hang");
            Reply::events(vec![Step::Send(events[..3].concat().into()), Step::Hang])
        }
        _ => Says::text(TEXT).reply(Dialect::OpenAi, r),
    })
    .await;
    let more = "server: {trusted_proxies: [127.0.0.1]}\nlogging: {access: true, level: warn,wasmgate::cli=info}\n";
    let more = more.replace("warn,wasmgate::cli=info", "\"warn,wasmgate::cli=info\"");
    let gateway = Gateway::start(&setup::config(&setup::provider(Dialect::OpenAi, &upstream), &more)).await;
    let client = Client::new(&gateway);
    let line = async |id: &str| gateway.log_line(id, |l| is_access(l) && l["request_id"] == id).await;
    for dialect in Dialect::ALL {
        for (kind, wish) in [("unary", dialect.request("m", "x")), ("stream", dialect.stream_request("m", "x"))] {
            let id = format!("{dialect:?}-{kind}");
            let request = client.request(Method::POST, dialect.path()).header("x-request-id", &id);
            let answer = client.send(request.header("x-forwarded-for", "6.6.6.6, 198.51.100.7").body(wish.to_string())).await;
            let line = line(&id).await;
            assert_eq!((&line["method"], &line["path"], &line["status"]), (&json!("POST"), &json!(dialect.path()), &json!(200)), "{line}");
            assert_eq!(line["bytes"], json!(answer.body.len()), "{line}");
            assert_eq!(
                (&line["client"], &line["complete"], &line["protocol"]),
                (&json!("198.51.100.7"), &json!(true), &json!("HTTP/1.1")),
                "{line}"
            );
            let (first, whole) = (line["first_byte_ms"].as_f64().unwrap(), line["duration_ms"].as_f64().unwrap());
            assert!(first > 0.0 && first <= whole, "{line}");
        }
    }
    for (id, path, shown, status) in [
        ("none", "/nowhere?api_key=s3cret&a=1", "/nowhere?api_key=***&a=1", 404),
        ("healthy", "/health", "/health", 200),
        ("closed", "/metrics?token=s3cret", "/metrics?token=***", 403),
    ] {
        let fields = [("x-request-id", id), ("x-forwarded-for", "198.51.100.7")];
        assert_eq!(ask(&client, Method::GET, path, &fields).await.status, status);
        let line = line(id).await;
        assert_eq!((&line["path"], &line["status"]), (&json!(shown), &json!(status)), "{line}");
    }
    // Whoever leaves has a line too.
    let wish = Dialect::OpenAi.stream_request("hang", "x");
    let request = client.request(Method::POST, Dialect::OpenAi.path()).header("x-request-id", "left").body(wish.to_string());
    let response = soon("head of the stream", request.send()).await.expect("the gateway answers");
    drop(response);
    assert_eq!(line("left").await["complete"], false);
    assert!(!gateway.log_text().contains("s3cret"));
    let lines = gateway.log_lines(|l| is_access(l) && l["request_id"] == "none").len();
    assert_eq!(lines, 1, "one line each");
}

#[tokio::test]
async fn the_access_log_is_off_by_default_and_may_be_a_file() {
    let (gateway, client) = with("").await;
    client.get("/health").await;
    let (_, log) = gateway.stop().await;
    assert!(!log.contains("\"access\""), "{log}");

    let (gateway, client) = with("logging: {access: true, access_file: access.log}\n").await;
    ask(&client, Method::GET, "/health", &[("x-request-id", "in-the-file")]).await;
    let file = gateway.folder().join("access.log");
    let written = async {
        loop {
            let text = std::fs::read_to_string(&file).unwrap_or_default();
            if text.ends_with('\n') {
                return text;
            }
            tokio::task::yield_now().await;
        }
    };
    let text = soon("line in the file", written).await;
    let line: Value = serde_json::from_str(text.lines().next().unwrap()).expect("a line of JSON");
    assert_eq!((&line["request_id"], &line["status"]), (&json!("in-the-file"), &json!(200)), "{text}");
    assert!(gateway.log_lines(is_access).is_empty(), "it is not in the log too");
    let (_, log) = gateway.stop().await;
    assert!(!log.contains("in-the-file"), "{log}");
}

#[test]
fn a_file_that_cannot_be_written_is_told_at_the_start() {
    let config = setup::config(ECHO, "logging: {access: true, access_file: /no/such/folder/access.log}\n");
    let finished = ConfigFile::new(&config).serve(&[]);
    assert_eq!(finished.code, 2, "{finished:?}");
    assert!(finished.stderr.contains("`logging.access_file` is `/no/such/folder/access.log`"), "{}", finished.stderr);
}

// === the operators' password ===

const CLOSED: [(&str, &str); 6] = [
    ("GET", "/metrics"),
    ("GET", "/api/extensions"),
    ("GET", "/api/generations"),
    ("GET", "/api/requests/x"),
    ("POST", "/api/config/reload"),
    ("PUT", "/api/extensions/routing"),
];

fn auth(more: &str) -> String {
    format!("auth: {{api_password: \"{PASSWORD}\"{more}}}\n")
}

async fn status(client: &Client, (method, path): (&str, &str), fields: &[(&str, &str)]) -> Answer {
    ask(client, method.parse().expect("a method"), path, fields).await
}

#[tokio::test]
async fn with_a_password_the_interface_is_for_those_who_know_it() {
    let (_gateway, client) = with(&auth("")).await;
    for closed in CLOSED {
        let answer = status(&client, closed, &[]).await;
        assert_eq!((answer.status, answer.header("www-authenticate")), (401, "Bearer realm=\"wasmgate\""), "{closed:?}");
        let error = answer.json();
        assert_eq!((&error["success"], &error["error"]["code"]), (&json!(false), &json!("unauthorized")), "{error}");
        assert!(!answer.text().contains(PASSWORD));
    }
    let bearer = format!("Bearer {PASSWORD}");
    for field in [("authorization", bearer.as_str()), ("x-api-key", PASSWORD), ("x-wasmgate-password", PASSWORD)] {
        for path in ["/metrics", "/api/extensions"] {
            assert_eq!(status(&client, ("GET", path), &[field]).await.status, 200, "{field:?} {path}");
            // From a proxy as well, and from wherever it leads.
            assert_eq!(status(&client, ("GET", path), &[field, ("x-forwarded-for", "192.0.2.1")]).await.status, 200);
        }
    }
    // What everybody may is as it was.
    assert_eq!(client.get("/health").await.status, 200);
    for dialect in Dialect::ALL {
        setup_answer(&client, dialect).await;
    }
}

async fn setup_answer(client: &Client, dialect: Dialect) {
    let answer = client.post(dialect.path(), &dialect.request("echo", "say this")).await;
    assert_eq!((answer.status, dialect.text(&answer.json()).as_str()), (200, "say this"));
}

#[tokio::test]
async fn a_key_of_the_environment_opens_it_too_and_a_path_may_be_public() {
    let more = auth(", api_key_env: OPERATORS_KEY, public_paths: [/metrics]");
    let gateway = Gateway::builder(&setup::config(ECHO, &more)).env("OPERATORS_KEY", "k-1").start().await;
    let client = Client::new(&gateway);
    assert_eq!(status(&client, ("GET", "/api/extensions"), &[("authorization", "Bearer k-1")]).await.status, 200);
    let password = format!("Bearer {PASSWORD}");
    assert_eq!(status(&client, ("GET", "/api/extensions"), &[("authorization", &password)]).await.status, 200);
    assert_eq!(status(&client, ("GET", "/metrics"), &[]).await.status, 200);
    assert_eq!(status(&client, ("GET", "/api/extensions"), &[]).await.status, 401);
    // Whatever answers there: nothing tells who has a route under the interface's paths.
    assert_eq!(status(&client, ("GET", "/api/of-an-extension"), &[]).await.status, 401);
    assert_eq!(status(&client, ("GET", "/api/of-an-extension"), &[("authorization", "Bearer k-1")]).await.status, 404);
}

#[tokio::test]
async fn guesses_run_out() {
    let (gateway, client) = with(&auth("")).await;
    for n in 0..10 {
        let guess = format!("Bearer guess-{n}");
        let answer = status(&client, ("GET", "/api/extensions"), &[("authorization", &guess)]).await;
        assert_eq!((answer.status, answer.header("www-authenticate").is_empty()), (401, false));
    }
    let right = format!("Bearer {PASSWORD}");
    for field in [("authorization", right.as_str()), ("x-api-key", PASSWORD)] {
        let answer = status(&client, ("GET", "/api/extensions"), &[field]).await;
        assert_eq!((answer.status, answer.json()["error"]["code"].as_str()), (429, Some("too_many_attempts")));
        let wait: u64 = answer.header("retry-after").parse().expect("whole seconds");
        assert!((1..=6).contains(&wait), "{wait}");
    }
    // The way around by asking what a conversation cost is the same way.
    let dialect = Dialect::OpenAi;
    let request = client.request(Method::POST, dialect.path()).header("x-wasmgate-debug", "1").header("x-wasmgate-password", PASSWORD);
    let answer = client.send(request.body(dialect.request("echo", "x").to_string())).await;
    assert_eq!((answer.status, answer.headers.contains_key("server-timing")), (200, false));
    setup_answer(&client, Dialect::Anthropic).await;
    assert!(!gateway.log_text().contains("guess-"), "{}", gateway.log_text());
}

#[tokio::test]
async fn what_a_conversation_cost_is_told_to_those_who_know_the_password_besides() {
    let (_gateway, client) = with(&auth("")).await;
    for dialect in Dialect::ALL {
        for (password, told) in [(Some(PASSWORD), true), (Some("wrong"), false), (None, false)] {
            let mut request =
                client.request(Method::POST, dialect.path()).header("x-wasmgate-debug", "1").header("authorization", "Bearer sk-caller");
            if let Some(password) = password {
                request = request.header("x-wasmgate-password", password);
            }
            let answer = client.send(request.body(dialect.request("echo", "x").to_string())).await;
            assert_eq!((answer.status, answer.headers.contains_key("server-timing")), (200, told), "{dialect:?} {password:?}");
        }
    }
}

#[tokio::test]
async fn without_a_password_the_interface_is_closed_when_others_can_connect() {
    let open = setup::config(ECHO, "");
    let gateway = Gateway::builder(&open).set("server.host=0.0.0.0").start().await;
    gateway.log_line("that it is closed", |l| l["message"].as_str().is_some_and(|m| m.contains("interface is closed"))).await;
    let port = gateway.address().rsplit(':').next().unwrap().to_owned();
    let client = Client::at(&format!("http://127.0.0.1:{port}"));
    for closed in CLOSED {
        let answer = status(&client, closed, &[("authorization", "Bearer x")]).await;
        assert_eq!(answer.status, 403, "{closed:?}");
        assert!(answer.text().contains("auth.api_password"), "{}", answer.text());
    }
    assert_eq!(client.get("/health").await.status, 200);

    let gateway = Gateway::builder(&setup::config(ECHO, &auth(""))).set("server.host=0.0.0.0").start().await;
    let port = gateway.address().rsplit(':').next().unwrap().to_owned();
    let client = Client::at(&format!("http://127.0.0.1:{port}"));
    let right = format!("Bearer {PASSWORD}");
    assert_eq!(status(&client, ("GET", "/api/extensions"), &[("authorization", &right)]).await.status, 200);
    assert_eq!(status(&client, ("GET", "/api/extensions"), &[]).await.status, 401);
}

#[tokio::test]
async fn another_password_is_a_reload_away() {
    let (gateway, client) = with("").await;
    assert_eq!(client.get("/api/extensions").await.status, 200);
    gateway.configure(&setup::config(ECHO, &auth("")));
    client.order("/api/config/reload").await;
    assert_eq!(client.get("/api/extensions").await.status, 401);
}

#[test]
fn credentials_that_open_nothing_or_everything_are_told() {
    let check = |auth: &str| ConfigFile::new(&setup::config(ECHO, &format!("auth: {auth}\n"))).check(&[]);
    for (auth, expect) in [
        ("{api_password: \"\"}", "the password is empty"),
        ("{api_key_env: NO_SUCH_VARIABLE}", "`auth.api_key_env`: the environment variable `NO_SUCH_VARIABLE` is not set"),
        ("{api_password: \"${NO_SUCH_VARIABLE}\"}", "`auth.api_password`: the environment variable `NO_SUCH_VARIABLE` is not set"),
        ("{api_password: \"file:/no/such/file\"}", "the file `/no/such/file` cannot be read"),
        ("{public_paths: [metrics]}", "`metrics` is no path"),
        ("{api_pasword: x}", "there is no such setting. Did you mean `api_password`?"),
    ] {
        let finished = check(auth);
        assert_eq!(finished.code, 2, "{auth}: {finished:?}");
        assert!(finished.stderr.contains(expect) && finished.stderr.contains("gateway.yaml:7"), "{auth}: {}", finished.stderr);
    }
    let finished = check("{api_password: x, public_paths: [\"/api/*\"]}");
    assert_eq!(finished.code, 0, "{finished:?}");
    assert!(finished.stderr.contains("warning") && finished.stderr.contains("lets everybody"), "{}", finished.stderr);
}

#[tokio::test]
async fn the_command_line_sends_the_password() {
    let (gateway, _client) = with(&auth("")).await;
    let file = gateway.folder().join("password");
    std::fs::write(&file, format!("{PASSWORD}\n")).unwrap();
    let (url, file) = (gateway.url(), file.to_str().unwrap().to_owned());
    let run = move || {
        let server = ("WASMGATE_SERVER_URL", url.as_str());
        let with_file = cli::run_with(&["ext", "list", "--password-file", &file], &[server]);
        assert_eq!(with_file.code, 0, "{with_file:?}");
        assert!(with_file.stdout.contains("routing"), "{with_file:?}");
        let from_environment = cli::run_with(&["ext", "list"], &[server, ("WASMGATE_PASSWORD", PASSWORD)]);
        assert_eq!(from_environment.code, 0, "{from_environment:?}");
        let without = cli::run_with(&["ext", "list"], &[server]);
        assert_eq!(without.code, 1, "{without:?}");
        assert!(without.stderr.contains("--password-file FILE"), "{without:?}");
        let wrong = cli::run_with(&["ext", "list"], &[server, ("WASMGATE_PASSWORD", "wrong")]);
        assert!(wrong.code == 1 && wrong.stderr.contains("not the password"), "{wrong:?}");
        let missing = cli::run_with(&["ext", "list", "--password-file", "/no/such/file"], &[server]);
        assert!(missing.code == 2 && missing.stderr.contains("/no/such/file"), "{missing:?}");
    };
    tokio::task::spawn_blocking(run).await.expect("the commands do not panic");
}
