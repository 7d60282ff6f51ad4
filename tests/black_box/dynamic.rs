//! What operators change while requests go on (extension `dynamic`), in front of two upstreams that tell who was asked for what.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use http::Method;
use serde_json::{Value, json};
use wasmgate_tests::cli::ConfigFile;
use wasmgate_tests::{Answer, Client, Dialect, Gateway, Upstream, Version, soon};

use crate::setup;

/// Keys of two callers: one of a team, one without.
const LAB: &str = "sk-lab-with-enough-characters";
const LONE: &str = "sk-lone-with-enough-characters";

/// Clients that ask at once while something changes.
const CLIENTS: usize = 32;

/// Two upstreams, and a gateway whose default provider is the first one.
struct Place {
    first: Upstream,
    second: Upstream,
    gateway: Gateway,
    client: Client,
    config: String,
}

impl Place {
    /// `settings` are those of the extension, `more` is said at the top.
    async fn new(settings: &str, more: &str) -> Self {
        let (first, second) = (setup::friendly(Dialect::OpenAi).await, setup::friendly(Dialect::OpenAi).await);
        let providers = format!(
            "{}{}  race: {{type: racing, config: {{providers: [up, other], strategy: first_wins}}}}\n  \
             back: {{type: fallback, config: {{providers: [other, up]}}}}\n",
            setup::provider(Dialect::OpenAi, &first),
            setup::named_provider("other", Dialect::OpenAi, &second.url()),
        );
        let config = setup::config(&providers, &format!("  dynamic: {{config: {{{settings}}}}}\ndefault_provider: up\n{more}"));
        let gateway = Gateway::start(&config).await;
        let client = Client::new(&gateway);
        Self { first, second, gateway, client, config }
    }

    /// The same gateway, killed or ended in order, and started again.
    async fn again(self, kill: bool) -> Self {
        let gateway = if kill {
            self.gateway.kill().start().await
        } else {
            let (status, log) = self.gateway.stop().await;
            assert!(status.success(), "{log}");
            Gateway::start(&self.config).await
        };
        let client = Client::new(&gateway);
        Self { gateway, client, ..self }
    }

    async fn ask(&self, dialect: Dialect, model: &str) -> Answer {
        self.client.post(dialect.path(), &dialect.request(model, "x")).await
    }

    /// Who was asked for what: `up/m` or `other/m`, by what the upstreams received since the last time.
    async fn reached(&self, model: &str) -> String {
        let before = (self.first.received().len(), self.second.received().len());
        let answer = self.ask(Dialect::OpenAi, model).await;
        assert_eq!(answer.status, 200, "{model}: {}", answer.text());
        let now = (self.first.received(), self.second.received());
        match (&now.0[before.0..], &now.1[before.1..]) {
            ([one], []) => format!("up/{}", one.model()),
            ([], [one]) => format!("other/{}", one.model()),
            (first, second) => panic!("{model}: {} and {} requests", first.len(), second.len()),
        }
    }
}

async fn order(client: &Client, method: Method, path: &str, body: &Value) -> (u16, Value) {
    let request = client.request(method, &format!("/api/dynamic{path}"));
    let answer = client.send(request.body(if body.is_null() { String::new() } else { body.to_string() })).await;
    (answer.status, answer.json())
}

/// A change that must be made.
async fn put(client: &Client, path: &str, body: Value) -> Value {
    let (status, document) = order(client, Method::PUT, path, &body).await;
    assert_eq!((status, &document["success"]), (200, &json!(true)), "{path} {body}: {document}");
    document["data"].clone()
}

async fn remove(client: &Client, path: &str) -> Value {
    let (status, document) = order(client, Method::DELETE, path, &Value::Null).await;
    assert_eq!(status, 200, "{path}: {document}");
    document["data"].clone()
}

/// The names that a caller sees in the list of models.
async fn listed(client: &Client, key: Option<&str>) -> Vec<String> {
    let request = client.request(Method::GET, Dialect::OpenAi.models_path());
    let answer = client.send(key.into_iter().fold(request, |r, key| r.bearer_auth(key))).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    answer.json()["data"].as_array().expect("a list").iter().map(|m| m["id"].as_str().expect("an id").to_owned()).collect()
}

#[tokio::test]
async fn a_name_stands_for_a_target_for_a_virtual_provider_and_for_another_name() {
    let place = Place::new("aliases: {quick: other/configured}", "aliases: {filed: other/filed}\n").await;
    assert_eq!(place.reached("quick").await, "other/configured");
    assert_eq!(place.reached("filed").await, "other/filed");
    assert_eq!(place.reached("fast").await, "up/fast");
    put(&place.client, "/aliases/fast", json!({"to": "other/m"})).await;
    assert_eq!(place.reached("fast").await, "other/m");
    put(&place.client, "/aliases/faster", json!({"to": "fast"})).await;
    assert_eq!(place.reached("faster").await, "other/m");
    put(&place.client, "/aliases/safe", json!({"to": "back/v"})).await;
    assert_eq!(place.reached("safe").await, "other/v");
    // A provider has another name too, in front of any model.
    put(&place.client, "/aliases/cheap", json!({"to": "other"})).await;
    assert_eq!(place.reached("cheap/any").await, "other/any");
    // Of two with one name, the one that was made while the gateway ran goes first; taken back, the file's is there again.
    put(&place.client, "/aliases/filed", json!({"to": "up/mine"})).await;
    assert_eq!(place.reached("filed").await, "up/mine");
    remove(&place.client, "/aliases/filed").await;
    assert_eq!(place.reached("filed").await, "other/filed");
    put(&place.client, "/aliases/quick", json!({"to": "filed"})).await;
    assert_eq!(place.reached("quick").await, "other/filed");
    assert_eq!(remove(&place.client, "/aliases/quick").await["now"]["to"], "other/configured");
    assert_eq!(place.reached("quick").await, "other/configured");
    for dialect in Dialect::ALL {
        let answer = place.ask(dialect, "fast").await;
        assert_eq!((answer.status, answer.header("x-wasmgate-provider")), (200, "other"), "{dialect:?}: {}", answer.text());
    }
}

#[tokio::test]
async fn what_is_off_is_refused_in_the_clients_words_or_goes_elsewhere() {
    let place = Place::new("", "").await;
    put(&place.client, "/providers/other", json!({"active": false})).await;
    put(&place.client, "/models/old-*", json!({"active": false})).await;
    for dialect in Dialect::ALL {
        for (model, expect) in [
            ("other/m", "The provider `other` is switched off here"),
            ("old-one", "The model `old-one` is switched off here"),
            ("up/OLD-one", "The model `up/OLD-one` is switched off here"),
        ] {
            let answer = place.ask(dialect, model).await;
            let (_, message) = dialect.error(&answer.json());
            assert!(answer.status == 404 && message.starts_with(expect), "{dialect:?} {model}: {} {message}", answer.status);
        }
    }
    assert_eq!(place.second.received().len(), 0);
    put(&place.client, "/providers/other", json!({"active": false, "instead": "up"})).await;
    put(&place.client, "/models/old-*", json!({"active": false, "instead": "up/new"})).await;
    assert_eq!(place.reached("other/m").await, "up/m");
    assert_eq!(place.reached("old-one").await, "up/new");
    remove(&place.client, "/providers/other").await;
    assert_eq!(place.reached("other/m").await, "other/m");
    // The default provider is one like the others.
    put(&place.client, "/providers/up", json!({"active": false, "instead": "other"})).await;
    assert_eq!(place.reached("anything").await, "other/anything");
    assert_eq!(place.second.received().len(), 2);
}

#[tokio::test]
async fn members_of_virtual_providers_that_are_off_are_passed_over() {
    let place = Place::new("", "").await;
    put(&place.client, "/providers/other", json!({"active": false, "instead": "up"})).await;
    for (model, why) in [("race/m", "x-wasmgate-racing-winner"), ("back/m", "x-wasmgate-fallback-provider")] {
        let answer = place.ask(Dialect::OpenAi, model).await;
        assert_eq!((answer.status, answer.header(why)), (200, "up"), "{model}: {}", answer.text());
    }
    assert_eq!((place.first.received().len(), place.second.received().len()), (2, 0));
    put(&place.client, "/models/bad", json!({"active": false})).await;
    for model in ["race/bad", "back/bad"] {
        assert_eq!(place.ask(Dialect::OpenAi, model).await.status, 404, "{model}");
    }
    // One that is off itself.
    put(&place.client, "/providers/race", json!({"active": false})).await;
    let answer = place.ask(Dialect::OpenAi, "race/m").await;
    assert!(answer.status == 404 && answer.text().contains("The provider `race` is switched off"), "{}", answer.text());
    put(&place.client, "/providers/race", json!({"active": false, "instead": "back"})).await;
    assert_eq!(place.reached("race/m").await, "up/m");
    assert_eq!(place.second.received().len(), 0);
}

#[tokio::test]
async fn a_model_is_another_one_elsewhere_and_within_bounds() {
    let place = Place::new("", "").await;
    let rule = json!({"to": "other/*", "set": {"temperature": 0.25}, "max": {"max_tokens": 7, "reasoning_effort": "low"}});
    put(&place.client, "/models/gpt-*", rule).await;
    put(&place.client, "/models/gone", json!({"to": "up/stays"})).await;
    assert_eq!(place.reached("gpt-x").await, "other/gpt-x");
    assert_eq!(place.reached("gone").await, "up/stays");
    // Whatever chose it.
    assert_eq!(place.reached("up/gpt-y").await, "other/gpt-y");
    for dialect in Dialect::ALL {
        let mut request = dialect.request("gpt-x", "x");
        request["temperature"] = json!(1);
        match dialect {
            Dialect::OpenAi => (request["reasoning_effort"], request["max_tokens"]) = (json!("high"), json!(3)),
            Dialect::Responses => request["reasoning"] = json!({"effort": "high"}),
            Dialect::Anthropic => {}
        }
        let answer = place.client.post(dialect.path(), &request).await;
        assert_eq!(answer.status, 200, "{dialect:?}: {}", answer.text());
        let sent = place.second.received().pop().expect("it was asked").json();
        let tokens = sent.get("max_completion_tokens").or(sent.get("max_tokens"));
        let most = if dialect == Dialect::OpenAi { 3 } else { 7 };
        assert_eq!((&sent["temperature"], tokens), (&json!(0.25), Some(&json!(most))), "{dialect:?}: {sent}");
        if dialect != Dialect::Anthropic {
            assert_eq!(sent["reasoning_effort"], "low", "{dialect:?}: {sent}");
        }
    }
    // What is not meant goes out as it came.
    let mut request = Dialect::OpenAi.request("up/m", "x");
    request["temperature"] = json!(1);
    place.client.post(Dialect::OpenAi.path(), &request).await;
    assert_eq!(place.first.received().pop().expect("it was asked").json()["temperature"], 1);
}

/// The settings of two keys.
fn keys() -> String {
    format!("teams: {{lab: {{}}}}\napi_keys:\n  - {{key: {LAB}, name: ci, team: lab}}\n  - {{key: {LONE}, name: lone}}\n")
}

async fn ask_as(place: &Place, key: &str, model: &str) -> Answer {
    let request = place.client.request(Method::POST, Dialect::OpenAi.path()).bearer_auth(key).header("content-type", "application/json");
    place.client.send(request.body(Dialect::OpenAi.request(model, "x").to_string())).await
}

#[tokio::test]
async fn a_tenant_has_its_own_before_the_general_and_lists_show_it() {
    let place = Place::new("aliases: {fast: up/all}", &keys()).await;
    put(&place.client, "/tenants/team:lab/aliases/fast", json!({"to": "other/lab"})).await;
    put(&place.client, "/tenants/team:lab/aliases/own", json!({"to": "other/own"})).await;
    put(&place.client, "/aliases/dead", json!({"to": "up/gone"})).await;
    put(&place.client, "/models/gone", json!({"active": false})).await;
    let check = async |key: &str, model: &str, provider: &str| {
        let answer = ask_as(&place, key, model).await;
        assert_eq!((answer.status, answer.header("x-wasmgate-provider")), (200, provider), "{model}: {}", answer.text());
    };
    check(LAB, "fast", "other").await;
    check(LONE, "fast", "up").await;
    put(&place.client, "/tenants/key:ci/aliases/fast", json!({"to": "up/ci"})).await;
    check(LAB, "fast", "up").await;
    put(&place.client, "/tenants/key:ci/models/gone", json!({})).await;
    check(LAB, "dead", "up").await;
    assert_eq!(ask_as(&place, LONE, "dead").await.status, 404);
    let has = |list: &[String]| ["fast", "own", "dead"].map(|name| list.iter().any(|id| id == name));
    assert_eq!(has(&listed(&place.client, Some(LAB)).await), [true, true, true]);
    assert_eq!(has(&listed(&place.client, Some(LONE)).await), [true, false, false]);
    assert!(listed(&place.client, Some(LONE)).await.contains(&"race".to_owned()));
    put(&place.client, "/tenants/key:lone/providers/race", json!({"active": false})).await;
    assert!(!listed(&place.client, Some(LONE)).await.contains(&"race".to_owned()));
    assert!(listed(&place.client, Some(LAB)).await.contains(&"race".to_owned()));
    remove(&place.client, "/tenants/key:ci").await;
    check(LAB, "fast", "other").await;
}

#[tokio::test]
async fn what_was_changed_outlives_a_restart_and_a_kill() {
    for kill in [false, true] {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let file = folder.path().join("kept.redb");
        let store = format!("usage: {{enabled: true}}\nstorage: {{path: \"{}\", flush_interval: 10ms}}\n", file.display());
        let place = Place::new("aliases: {fast: up/configured}", &store).await;
        put(&place.client, "/aliases/fast", json!({"to": "other/kept"})).await;
        put(&place.client, "/tenants/team:lab/models/m", json!({"active": false})).await;
        let version = order(&place.client, Method::GET, "", &Value::Null).await.1["data"]["version"].clone();
        // The row of a request that came after is written in the same way, after it.
        assert_eq!(place.reached("fast").await, "other/kept");
        crate::stores::until(&place.client, "wasmgate_records_written_total", |n| n >= 1.0).await;
        let place = place.again(kill).await;
        assert_eq!(place.reached("fast").await, "other/kept", "killed: {kill}");
        let (_, document) = order(&place.client, Method::GET, "", &Value::Null).await;
        assert_eq!(document["data"]["version"], version);
        assert_eq!(document["data"]["tenants"]["team:lab"]["models"]["m"]["active"], false, "{document}");
        remove(&place.client, "/aliases/fast").await;
        assert_eq!(place.reached("fast").await, "up/configured");
    }
}

#[tokio::test]
async fn no_request_fails_when_things_change_and_what_begins_after_the_answer_follows() {
    let place = Arc::new(Place::new("aliases: {fast: up/v0}", "").await);
    let (stop, asked) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
    // The number of the last change that was answered.
    let answered = Arc::new(AtomicUsize::new(0));
    let clients: Vec<_> = (0..CLIENTS)
        .map(|number| {
            let client = Client::new(&place.gateway);
            let (stop, asked, answered) = (Arc::clone(&stop), Arc::clone(&asked), Arc::clone(&answered));
            tokio::spawn(async move {
                let dialect = Dialect::ALL[number % Dialect::ALL.len()];
                let mut wrong = Vec::new();
                while !stop.load(Ordering::Acquire) {
                    let least = answered.load(Ordering::Acquire);
                    let answer = client.post(dialect.path(), &dialect.request("fast", "x")).await;
                    let served = answer.header("x-wasmgate-model").trim_start_matches('v').parse::<usize>();
                    if answer.status != 200 || served.as_ref().is_ok_and(|n| *n < least) || served.is_err() {
                        wrong.push(format!("{dialect:?} after {least}: {} {served:?} {}", answer.status, answer.text()));
                    }
                    asked.fetch_add(1, Ordering::AcqRel);
                }
                wrong
            })
        })
        .collect();
    for number in 1..=40 {
        let provider = ["up", "other"][number % 2];
        put(&place.client, "/aliases/fast", json!({"to": format!("{provider}/v{number}")})).await;
        answered.store(number, Ordering::Release);
        let until = asked.load(Ordering::Acquire) + CLIENTS;
        let more = async {
            while asked.load(Ordering::Acquire) < until {
                tokio::task::yield_now().await;
            }
        };
        soon("answers between two changes", more).await;
    }
    stop.store(true, Ordering::Release);
    for client in clients {
        let wrong = soon("end of a client", client).await.expect("a client does not panic");
        assert!(wrong.is_empty(), "{} were wrong, among them {}", wrong.len(), wrong[0]);
    }
}

#[tokio::test]
async fn changes_that_come_at_once_are_all_there_and_a_version_that_is_gone_is_refused() {
    let place = Place::new("", "").await;
    let changes = (0..CLIENTS).map(|n| {
        let client = Client::new(&place.gateway);
        async move { put(&client, &format!("/aliases/a{n}"), json!({"to": format!("up/m{n}")})).await }
    });
    futures_util::future::join_all(changes).await;
    let (_, document) = order(&place.client, Method::GET, "", &Value::Null).await;
    assert_eq!(document["data"]["aliases"].as_object().expect("aliases").len(), CLIENTS, "{document}");

    let change = |version: String, to: &str| {
        let request = place.client.request(Method::PUT, "/api/dynamic/aliases/a0").header("if-match", version);
        place.client.send(request.body(json!({"to": to}).to_string()))
    };
    let read = place.client.get("/api/dynamic/aliases/a0").await;
    let version = read.header("etag").to_owned();
    let made = change(version.clone(), "up/first").await;
    assert_eq!(made.status, 200, "{}", made.text());
    assert_ne!(made.header("etag"), version);
    let late = change(version, "up/second").await;
    assert_eq!((late.status, late.json()["error"]["code"].as_str()), (412, Some("version_changed")), "{}", late.text());
    assert_eq!(place.reached("a0").await, "up/first");
}

#[tokio::test]
async fn a_swap_keeps_what_was_changed() {
    let place = Place::new("", "").await;
    put(&place.client, "/aliases/fast", json!({"to": "other/kept"})).await;
    for number in ["0.2.0", "0.3.0"] {
        // Recorded calls of instances that know already, and of some that must read.
        for _ in 0..5 {
            assert_eq!(place.reached("fast").await, "other/kept");
        }
        let attempt = place.client.swap("dynamic", Vec::from(&Version::of("dynamic").numbered(number)), "").await;
        assert_eq!(attempt["outcome"], "published", "{attempt}");
        assert_eq!(place.client.extension("dynamic").await["version"], number);
        assert_eq!(place.reached("fast").await, "other/kept");
    }
}

#[tokio::test]
async fn what_makes_no_sense_is_refused_and_others_than_operators_are() {
    let place = Place::new("", &keys()).await;
    for (path, body, status, expect) in [
        ("/aliases/a", json!({"to": ""}), 400, "`aliases.a.to` is \"\"; write a name"),
        ("/aliases/a", json!({"tu": "x"}), 400, "`aliases.a.tu` is no setting; there is to"),
        ("/aliases/a", json!({"to": "a"}), 400, "in a circle: a → a"),
        ("/providers/nobody", json!({"active": false}), 404, "There is no provider \"nobody\"; there is `other`, `up`"),
        (
            "/models/m",
            json!({"max": {"max_tokens": "many"}}),
            400,
            "`models.m.max.max_tokens` is \"many\"; write a whole number, 1 or more",
        ),
        ("/tenants/lab/aliases/a", json!({"to": "x"}), 400, "\"lab\" is no tenant; write `key:NAME` or `team:NAME`"),
    ] {
        let (found, document) = order(&place.client, Method::PUT, path, &body).await;
        let message = document["error"]["message"].as_str().unwrap_or_default();
        assert!(found == status && message.contains(expect), "{path} {body}: {found} {document}");
    }
    put(&place.client, "/aliases/b", json!({"to": "c"})).await;
    let (status, document) = order(&place.client, Method::PUT, "/aliases/c", &json!({"to": "b"})).await;
    assert!(status == 400 && document.to_string().contains("c → b → c"), "{status} {document}");
    // Through a proxy, or with a key that is good for requests: nobody.
    for (name, value) in [("x-forwarded-for", "203.0.113.9"), ("origin", "https://example.com")] {
        for (method, path) in
            [(Method::GET, "/api/dynamic"), (Method::PUT, "/api/dynamic/aliases/x"), (Method::DELETE, "/api/dynamic/aliases/b")]
        {
            let request = place.client.request(method, path).header(name, value).bearer_auth(LONE).body(r#"{"to": "y"}"#);
            assert_eq!(place.client.send(request).await.status, 403, "{name} {path}");
        }
    }
    assert_eq!(place.client.get("/dynamic/catalogue").await.status, 404);
}

#[test]
fn a_configuration_that_makes_no_sense_is_refused() {
    for (settings, expect) in [
        ("aliases: {a: b, b: a}", "in a circle: a → b → a"),
        ("providers: {p: {active: perhaps}}", "`providers.p.active` is \"perhaps\"; write true or false"),
        ("model: {}", "`model` is no setting; there is aliases, providers, models, tenants"),
    ] {
        let file = ConfigFile::new(&setup::config("  echo: {type: echo}\n", &format!("  dynamic: {{config: {{{settings}}}}}\n")));
        let finished = file.check(&[]);
        assert!(finished.code != 0 && finished.stderr.contains(expect), "{settings}: {finished:?}");
    }
}

#[tokio::test]
async fn as_many_entries_as_are_allowed_can_be_changed_within_the_usual_limits() {
    let entries = |kind: &str, count: usize, entry: &dyn Fn(usize) -> String| {
        format!("{kind}: {{{}}}", (0..count).map(entry).collect::<Vec<_>>().join(", "))
    };
    let aliases = entries("aliases", 400, &|n| format!("alias-{n}: model-{n}"));
    let models = entries("models", 450, &|n| {
        if n % 10 == 0 { format!("\"family-{n}-*\": {{max: {{max_tokens: 100}}}}") } else { format!("model-{n}: {{to: other-{n}}}") }
    });
    let tenants =
        entries("tenants", 20, &|n| format!("\"team:t{n}\": {{aliases: {{mine-a: alias-{n}, mine-b: alias-{n}, mine-c: mine-a}}}}"));
    let place = Place::new(&format!("{aliases}, {models}, {tenants}"), "").await;
    put(&place.client, "/providers/other", json!({"active": false, "instead": "up"})).await;
    assert_eq!(place.reached("other/m").await, "up/m");
    remove(&place.client, "/providers/other").await;
    assert_eq!(place.reached("alias-7").await, "up/other-7");
    let stats = place.client.extension("dynamic").await;
    assert_eq!((&stats["stats"]["traps"], &stats["stats"]["limits"]), (&json!(0), &json!({})), "{stats}");
}
