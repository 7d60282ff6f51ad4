//! Settings of providers that are changed while the gateway runs: `PUT` and `DELETE /api/providers/{name}`.

use std::collections::BTreeSet;
use std::os::unix::fs::PermissionsExt as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use http::Method;
use serde_json::{Value, json};
use wasmgate_tests::answers::{Says, TEXT};
use wasmgate_tests::{Answer, Client, Dialect, Gate, Gateway, Reply, Step, Upstream, cli, soon};

use crate::reload::{newest, next_attempt};
use crate::setup;

/// Two upstreams, and a gateway whose provider `up` is the first one.
struct Place {
    first: Upstream,
    second: Upstream,
    gateway: Gateway,
    client: Client,
}

impl Place {
    async fn new(providers: &str) -> Self {
        let (first, second) = (setup::friendly(Dialect::OpenAi).await, setup::friendly(Dialect::OpenAi).await);
        let config = setup::config(&format!("{}{providers}", setup::provider(Dialect::OpenAi, &first)), "default_provider: up\n");
        let builder = Gateway::builder(&config);
        let state = builder.folder().join("state");
        let gateway = builder.set(format!("deploy.state={}", state.display())).env("OTHER_KEY", "key-of-the-environment").start().await;
        let client = Client::new(&gateway);
        Self { first, second, gateway, client }
    }

    /// The same gateway, killed and started again.
    async fn again(self) -> Self {
        let gateway = self.gateway.kill().start().await;
        let client = Client::new(&gateway);
        Self { gateway, client, ..self }
    }

    fn second_url(&self) -> String {
        format!("{}/v1", self.second.url())
    }
}

async fn put(client: &Client, name: &str, settings: &Value) -> Answer {
    let request = client.request(Method::PUT, &format!("/api/providers/{name}"));
    client.send(request.header("content-type", "application/json").body(settings.to_string())).await
}

/// A change that must be made; the attempt.
async fn changed(client: &Client, name: &str, settings: &Value) -> Value {
    let answer = put(client, name, settings).await;
    let document = answer.json();
    assert_eq!((answer.status, &document["success"]), (200, &json!(true)), "{document}");
    let attempt = document["data"].clone();
    assert_eq!((&attempt["trigger"], &attempt["provider"]), (&json!("provider"), &json!(name)), "{attempt}");
    attempt
}

async fn reset(client: &Client, name: &str) -> Answer {
    client.send(client.request(Method::DELETE, &format!("/api/providers/{name}"))).await
}

/// Asks a model of a provider.
async fn ask(client: &Client, model: &str) -> Answer {
    client.post(Dialect::OpenAi.path(), &Dialect::OpenAi.request(model, "x")).await
}

/// The key that an upstream was sent last, and the model.
fn last(upstream: &Upstream) -> (String, String) {
    let received = upstream.received();
    let last = received.last().expect("it was asked");
    (last.header("authorization").unwrap_or_default().to_owned(), last.model())
}

async fn provider(client: &Client, name: &str) -> Value {
    let answer = client.get(&format!("/api/providers/{name}")).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    answer.json()["data"].clone()
}

/// Nobody is told a key.
fn assert_no_key(place: &Place, texts: &[String]) {
    for text in texts.iter().chain([&place.gateway.log_text()]) {
        for key in ["key-of-the-environment", "key-that-was-sent", setup::PROVIDER_KEY] {
            assert!(!text.contains(key), "a key is told: {text}");
        }
    }
}

#[tokio::test]
async fn what_is_changed_holds_from_the_next_request_on() {
    let place = Place::new("").await;
    let Place { first, second, client, .. } = &place;
    assert_eq!(ask(client, "m").await.status, 200);
    assert_eq!(last(first), (format!("Bearer {}", setup::PROVIDER_KEY), "m".into()));

    let before = newest(client).await;
    let attempt = changed(client, "up", &json!({"base_url": place.second_url()})).await;
    assert_eq!((&attempt["outcome"], &attempt["reason"]), (&json!("published"), &Value::Null), "{attempt}");
    let answer = ask(client, "m").await;
    assert_eq!((answer.status, answer.header("x-wasmgate-generation")), (200, attempt["generation"].to_string().as_str()));
    assert_eq!(last(second), (format!("Bearer {}", setup::PROVIDER_KEY), "m".into()), "what was not sent is as it was");
    assert_eq!(first.received().len(), 1);

    changed(client, "up", &json!({"api_key": "key-that-was-sent", "default_model": "usual"})).await;
    assert_eq!(ask(client, "up/").await.status, 200);
    assert_eq!(last(second), ("Bearer key-that-was-sent".into(), "usual".into()));
    changed(client, "up", &json!({"api_keys": ["${OTHER_KEY}"]})).await;
    ask(client, "m").await;
    assert_eq!(last(second).0, "Bearer key-of-the-environment", "what stands in the environment");

    let shown = provider(client, "up").await;
    assert_eq!(shown["changed"], json!(["base_url", "default_model", "api_keys"]), "{shown}");
    assert_eq!((&shown["address"], &shown["keys"], &shown["state"]), (&json!(place.second_url()), &json!(1), &json!("ok")), "{shown}");
    // The history says who did what.
    let history = client.history().await;
    let made: Vec<_> = history.iter().filter(|a| a["id"].as_u64() > Some(before as u64)).map(|a| (&a["trigger"], &a["provider"])).collect();
    assert_eq!(made, [(&json!("provider"), &json!("up")); 3], "{history:?}");

    // The same once more is no change.
    assert_eq!(changed(client, "up", &json!({"api_keys": ["${OTHER_KEY}"]})).await["outcome"], "unchanged");
    // A `null` is what the file says; so is everything after a DELETE.
    changed(client, "up", &json!({"api_keys": null})).await;
    ask(client, "m").await;
    assert_eq!(last(second).0, format!("Bearer {}", setup::PROVIDER_KEY));
    assert_eq!(reset(client, "up").await.status, 200);
    ask(client, "m").await;
    assert_eq!((first.received().len(), last(first).1), (2, "m".into()));
    assert_eq!(provider(client, "up").await["changed"], json!([]));
    let nothing = reset(client, "up").await;
    assert_eq!((nothing.status, nothing.json()["error"]["code"].as_str()), (404, Some("nothing_changed")));
    let texts = [shown.to_string(), json!(history).to_string(), client.get("/api/providers").await.text()];
    assert_no_key(&place, &texts);
}

#[tokio::test]
async fn a_stream_goes_on_where_it_began() {
    let gate = Gate::default();
    let held = gate.clone();
    let slow = Upstream::start(move |r| {
        let events = Says::text(TEXT).stream(Dialect::OpenAi, &r.model());
        Reply::events(vec![Step::Send(events[..2].concat().into()), Step::Wait(held.clone()), Step::Send(events[2..].concat().into())])
    })
    .await;
    let other = setup::friendly(Dialect::OpenAi).await;
    let (_gateway, client) = setup::gateway(Dialect::OpenAi, &slow).await;
    let mut stream = client.stream(Dialect::OpenAi.path(), &Dialect::OpenAi.stream_request("m", "x")).await;
    soon("its first event", stream.next()).await.expect("an event");
    let attempt = changed(&client, "up", &json!({"base_url": format!("{}/v1", other.url()), "api_key": "key-that-was-sent"})).await;
    assert_ne!(stream.header("x-wasmgate-generation"), attempt["generation"].to_string());
    // Without a place for it the change lasts as long as the gateway, and the answer says so.
    assert!(attempt["steps"][0]["detail"].as_str().is_some_and(|d| d.contains("deploy.state")), "{attempt}");
    assert_eq!(ask(&client, "m").await.status, 200);
    assert_eq!(other.received().len(), 1);
    let generations = client.get("/api/generations").await.json();
    let states: Vec<_> = generations["data"]["generations"].as_array().unwrap().iter().map(|g| g["state"].as_str().unwrap()).collect();
    assert_eq!(states, ["active", "draining"], "{generations}");
    gate.open();
    let rest = stream.rest().await;
    assert!(Dialect::OpenAi.is_end(rest.last().expect("an end")) && stream.broken.is_none(), "{}", stream.text());
}

/// Settings that are refused, where, and words of the reason.
fn wrong() -> Vec<(&'static str, Value, &'static str, &'static str)> {
    vec![
        ("up", json!({"base_url": "nowhere"}), "providers.up.base_url", "is not a URL"),
        ("up", json!({"base_url": 7.5, "timeout": "soon"}), "providers.up.timeout", "a duration such as"),
        ("up", json!({"bas_url": "http://x"}), "providers.up.bas_url", "Did you mean `base_url`?"),
        ("up", json!({"type": "opanai"}), "providers.up.type", "Did you mean `openai`?"),
        ("up", json!({"api_key": "${NOT_THERE}"}), "providers.up.api_key", "`NOT_THERE` is not set"),
        ("up", json!({"api_key": "file:/etc/hostname"}), "providers.up.api_key", "files are read for the configuration file only"),
        ("up", json!({"api_keys": ["a", "${WASMGATE_AUTH__API_PASSWORD}"]}), "providers.up.api_keys[1]", "settings of the gateway"),
        ("up", json!({"base_url": "http://x/${OTHER_KEY}"}), "providers.up.base_url", "`headers` only"),
        ("up", json!({"api_keys": "key-that-was-sent"}), "providers.up.api_keys", "expected a list"),
        ("up", json!({"api_key": {"key-that-was-sent": 1}}), "providers.up.api_key", "expected text"),
        ("up", json!({"api_keys": ["key-that-was-sent", "key-that-was-sent"]}), "providers.up.api_keys", "is there already"),
        ("up", json!({"enabled": false}), "default_provider", "no enabled provider `up`"),
        ("new", json!({"api_key": "x"}), "providers.new", "`type` is missing"),
        ("n%20w", json!({"type": "echo"}), "providers.n%20w", "letters, digits"),
        ("pair", json!({"config": {"providers": ["up", "nobody"]}}), "providers.pair", "nobody"),
        ("pair", json!({"config": {"providers": ["pair"]}}), "providers.pair", "pair"),
        ("pair", json!({"base_url": "http://x"}), "providers.pair", "base_url"),
    ]
}

#[tokio::test]
async fn what_is_refused_changes_nothing_and_all_of_it_is_told() {
    let place = Place::new("  pair: {type: fallback, config: {providers: [up]}}\n").await;
    let client = &place.client;
    let generation = ask(client, "m").await.header("x-wasmgate-generation").to_owned();
    let mut texts = Vec::new();
    for (name, settings, path, words) in wrong() {
        let answer = put(client, name, &settings).await;
        let document = answer.json();
        assert_eq!((answer.status, &document["error"]["code"]), (422, &json!("wrong_settings")), "{settings}: {document}");
        let problems = document["error"]["details"]["problems"].as_array().expect("problems");
        let told = |p: &&Value| {
            let path = p["path"].as_str().is_some_and(|p| p.starts_with(path));
            path && p["message"].as_str().is_some_and(|m| m.contains(words))
        };
        assert!(problems.iter().any(|p| told(&p)), "{settings}: `{words}` at `{path}` is not in {document}");
        texts.push(document.to_string());
    }
    // All at once.
    let many = put(client, "up", &json!({"base_url": "nowhere", "timeout": "soon", "colour": "red"})).await.json();
    assert_eq!(many["error"]["details"]["problems"].as_array().map(Vec::len), Some(3), "{many}");
    assert_eq!(many["error"]["details"]["problems"][0]["place"], "PUT /api/providers/up", "{many}");
    for body in ["", "{", "[]", "null", "\"key-that-was-sent\""] {
        let request = client.request(Method::PUT, "/api/providers/up").body(body);
        assert_eq!(client.send(request).await.status, 400, "{body}");
    }
    let long = json!({"default_model": "x".repeat(70_000)});
    assert_eq!(put(client, "up", &long).await.status, 413);

    let answer = ask(client, "m").await;
    assert_eq!((answer.status, answer.header("x-wasmgate-generation")), (200, generation.as_str()));
    assert_eq!(provider(client, "up").await["changed"], json!([]));
    let refused = client.history().await.into_iter().filter(|a| a["outcome"] == "refused").count();
    assert_eq!(refused, wrong().len() + 1);
    texts.push(json!(client.history().await).to_string());
    assert_no_key(&place, &texts);
}

#[tokio::test]
async fn a_change_outlives_the_process_and_a_reload_of_the_file() {
    let place = Place::new("").await;
    let settings = json!({"base_url": place.second_url(), "api_key": "${OTHER_KEY}", "headers": {"x-team": "key-that-was-sent"}});
    changed(&place.client, "up", &settings).await;
    changed(&place.client, "added", &json!({"type": "echo"})).await;
    assert_eq!(ask(&place.client, "added/echo").await.status, 200);

    let place = place.again().await;
    let Place { first, second, gateway, client } = &place;
    let holds = || async {
        assert_eq!(ask(client, "m").await.status, 200);
        assert_eq!((first.received().len(), last(second).0.as_str()), (0, "Bearer key-of-the-environment"));
        assert_eq!(second.received().last().and_then(|r| r.header("x-team").map(str::to_owned)).as_deref(), Some("key-that-was-sent"));
        assert_eq!(ask(client, "added/echo").await.header("x-wasmgate-provider"), "added");
    };
    holds().await;
    let added = provider(client, "added").await;
    assert_eq!((&added["type"], &added["changed"]), (&json!("echo"), &json!(["type"])), "{added}");

    // The file changes elsewhere, and at a setting that was changed.
    let more = "default_provider: up\naliases: {fast: m}\n";
    gateway.configure(&setup::config(
        &setup::named_provider("up", Dialect::OpenAi, &first.url()).replace("api_key:", "timeout: 9s, api_key:"),
        more,
    ));
    let known = newest(client).await;
    gateway.hang_up();
    let attempt = next_attempt(client, known, "reload").await;
    assert_eq!(attempt["outcome"], "published", "{attempt}");
    holds().await;
    assert_eq!(provider(client, "up").await["limits"]["timeout_s"], 9.0);

    // What is kept is for its owner, and has the name of the variable and not what is in it.
    let kept = gateway.folder().join("state/published.json");
    assert_eq!(kept.metadata().unwrap().permissions().mode() & 0o777, 0o600);
    let text = std::fs::read_to_string(&kept).unwrap();
    assert!(text.contains("${OTHER_KEY}") && !text.contains("key-of-the-environment"), "{text}");

    // `config print` says where a value is from, and masks it.
    let (file, state) = (gateway.folder().join("gateway.yaml"), format!("deploy.state={}", gateway.folder().join("state").display()));
    let args = ["config", "print", "--config", file.to_str().unwrap(), "--set", &state];
    let printed = cli::run_with(&args, &[("OTHER_KEY", "key-of-the-environment")]);
    assert_eq!((printed.code, printed.stderr.as_str()), (0, ""), "{printed:?}");
    for begin in ["base_url: ", "api_key: \"***\"", "x-team: \"***\""] {
        let line = printed.stdout.lines().find(|l| l.trim_start().starts_with(begin) && l.ends_with("PUT /api/providers/up"));
        assert!(line.is_some(), "no line with `{begin}` in\n{}", printed.stdout);
    }
    assert!(
        printed.stdout.lines().any(|l| l.trim_start().starts_with("timeout: 9s") && l.contains("gateway.yaml:2")),
        "{}",
        printed.stdout
    );
    assert_no_key(&place, &[printed.stdout]);

    // A provider that the file has no longer is not held up by what was changed of it.
    let rest = setup::config(&setup::named_provider("other", Dialect::OpenAi, &first.url()), "default_provider: other\n");
    gateway.configure(&rest);
    let known = newest(client).await;
    gateway.hang_up();
    assert_eq!(next_attempt(client, known, "reload").await["outcome"], "published");
    assert_eq!(client.get("/api/providers/up").await.status, 404);
    assert_eq!(ask(client, "m").await.status, 200);
    assert_eq!(first.received().len(), 1);
}

#[tokio::test]
async fn what_was_changed_of_a_provider_ends_with_it() {
    let place = Place::new("").await;
    let settings = json!({"base_url": place.second_url(), "api_key": "${OTHER_KEY}", "headers": {"x-team": "key-that-was-sent"}});
    changed(&place.client, "up", &settings).await;
    let reload = async |place: &Place, name: &str| {
        let providers = setup::named_provider(name, Dialect::OpenAi, &place.first.url());
        place.gateway.configure(&setup::config(&providers, &format!("default_provider: {name}\n")));
        let known = newest(&place.client).await;
        place.gateway.hang_up();
        let attempt = next_attempt(&place.client, known, "reload").await;
        assert_eq!(attempt["outcome"], "published", "{attempt}");
    };
    reload(&place, "other").await;
    assert_eq!(place.client.get("/api/providers/up").await.status, 404);
    let kept = || std::fs::read_to_string(place.gateway.folder().join("state/published.json")).unwrap();
    assert!(!kept().contains("OTHER_KEY") && !kept().contains("key-that-was-sent"), "{}", kept());

    // One that is added under its name gets nothing of it, least of all its key.
    let added = json!({"type": "openai", "base_url": format!("{}/v1", place.first.url()), "api_key": "key-of-another"});
    changed(&place.client, "up", &added).await;
    assert_eq!(ask(&place.client, "up/m").await.status, 200);
    let sent = |place: &Place| (last(&place.first).0, place.first.received().last().unwrap().header("x-team").map(str::to_owned));
    assert_eq!(sent(&place), ("Bearer key-of-another".into(), None));
    assert_eq!(provider(&place.client, "up").await["changed"], json!(["type", "base_url", "api_key"]));

    // Nor does one that the file has under its name later, also after a restart.
    assert_eq!(reset(&place.client, "up").await.status, 200);
    reload(&place, "up").await;
    let place = place.again().await;
    assert_eq!(ask(&place.client, "m").await.status, 200);
    assert_eq!(sent(&place), (format!("Bearer {}", setup::PROVIDER_KEY), None));
    assert_eq!(provider(&place.client, "up").await["changed"], json!([]));
    assert_eq!(place.second.received().len(), 0);
}

#[tokio::test]
async fn providers_are_added_switched_off_and_taken_back() {
    let place = Place::new("  spare: {type: echo}\n").await;
    let client = &place.client;
    changed(client, "spare", &json!({"enabled": false})).await;
    let spare = provider(client, "spare").await;
    assert_eq!((&spare["state"], &spare["changed"]), (&json!("disabled"), &json!(["enabled"])), "{spare}");
    // Its name is no provider's any more, so the text is a model's.
    assert_eq!(ask(client, "spare/echo").await.header("x-wasmgate-provider"), "up");
    changed(client, "spare", &json!({"enabled": null})).await;
    assert_eq!(ask(client, "spare/echo").await.header("x-wasmgate-provider"), "spare");

    // A virtual one, whose members change while it serves.
    changed(client, "both", &json!({"type": "fallback", "config": {"providers": ["spare", "up"]}})).await;
    assert_eq!(ask(client, "both/x").await.header("x-wasmgate-fallback-provider"), "spare");
    changed(client, "both", &json!({"config": {"providers": ["up"]}})).await;
    assert_eq!(ask(client, "both/x").await.header("x-wasmgate-fallback-provider"), "up");
    assert_eq!(provider(client, "both").await["members"], json!(["up"]));

    assert_eq!(reset(client, "both").await.status, 200);
    assert_eq!(client.get("/api/providers/both").await.status, 404);
    let answers = [reset(client, "both").await.status, reset(client, "nobody").await.status];
    assert_eq!(answers, [404, 404]);
}

/// Clients that ask all the time while the provider moves to and fro, gets other keys, and is switched off beside another one.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nobody_is_refused_while_providers_change() {
    let place = Place::new("  v: {type: fallback, config: {providers: [up, spare]}}\n  spare: {type: echo}\n").await;
    let (client, over) = (place.client.clone(), Arc::<AtomicBool>::default());
    let clients: Vec<_> = (0..8)
        .map(|n| {
            let (client, over) = (client.clone(), Arc::clone(&over));
            tokio::spawn(async move {
                let dialect = [Dialect::OpenAi, Dialect::Anthropic][n % 2];
                loop {
                    let mut events = client.stream(dialect.path(), &dialect.stream_request("v/m", "x")).await;
                    assert_eq!(events.status, 200);
                    let rest = events.rest().await;
                    assert!(events.broken.is_none() && rest.last().is_some_and(|last| dialect.is_end(last)), "{rest:?}");
                    if over.load(Ordering::Relaxed) {
                        return;
                    }
                }
            })
        })
        .collect();
    let urls = [format!("{}/v1", place.first.url()), place.second_url()];
    let mut generations = BTreeSet::new();
    for n in 0..12 {
        let settings = match n % 3 {
            0 => json!({"base_url": urls[n / 3 % 2], "api_key": format!("key-{n}")}),
            1 => json!({"max_retries": n, "default_model": format!("m-{n}")}),
            _ => json!({"base_url": null, "api_key": null, "max_retries": null, "default_model": null}),
        };
        let attempt = changed(&client, "up", &settings).await;
        assert_eq!(attempt["outcome"], "published", "{settings}: {attempt}");
        generations.insert(attempt["generation"].as_u64());
        assert_eq!(ask(&client, "v/m").await.status, 200);
    }
    changed(&client, "spare", &json!({"enabled": false})).await;
    assert_eq!(generations.len(), 12, "each is a generation of its own");
    over.store(true, Ordering::Relaxed);
    for client in clients {
        client.await.expect("it was always answered");
    }
    assert!(!place.first.received().is_empty() && !place.second.received().is_empty());
}
