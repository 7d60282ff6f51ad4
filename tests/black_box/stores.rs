//! Stores that are not the default: rows in SQLite and PostgreSQL, limits in Redis, and `wasmgate usage`. Servers are real ones.

use std::path::Path;

use wasmgate_tests::cli::{self, ConfigFile, Finished};
use wasmgate_tests::databases::{Postgres, Redis};
use wasmgate_tests::{Client, DEADLINE, Dialect, Gateway, Upstream, soon};

use crate::{extensions, setup};

const KEEPS: &str = "grant: [kv, records, metrics, secrets, clock, wasi], secrets: {token: open-sesame}";

/// A configuration whose extension appends a row for each request.
fn keeping(upstream: &Upstream, storage: &str) -> String {
    let keeps = extensions::fixture("keeps", KEEPS);
    setup::config(&setup::provider(Dialect::OpenAi, upstream), &format!("{keeps}storage: {{flush_interval: 10ms, {storage}}}\n"))
}

/// One request, which must succeed, and its record, which is written after on-complete.
async fn ask(client: &Client, model: &str) {
    let answer = client.post(Dialect::OpenAi.path(), &Dialect::OpenAi.request(model, "x")).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    setup::assert_record(client, answer.header("x-request-id"), "success").await;
}

/// A number on the page of metrics.
async fn number(client: &Client, name: &str) -> f64 {
    let page = client.get("/metrics").await.text();
    let line = page.lines().find_map(|l| l.strip_prefix(name)?.strip_prefix(' '));
    line.unwrap_or_else(|| panic!("no `{name}` in\n{page}")).trim().parse().expect("a number")
}

/// Waits until a number on the page of metrics is as wanted.
pub async fn until(client: &Client, name: &str, wanted: impl Fn(f64) -> bool) {
    let wait = async {
        loop {
            if wanted(number(client, name).await) {
                return;
            }
        }
    };
    tokio::time::timeout(DEADLINE, wait).await.unwrap_or_else(|_| panic!("`{name}` was never as wanted"));
}

/// `wasmgate usage` with a configuration.
fn usage(command: &str, config: &Path, args: &[&str]) -> Finished {
    let components = wasmgate_tests::repo::components();
    let first = ["usage", command, "--config", config.to_str().unwrap(), "--components", components.to_str().unwrap()];
    cli::run(&first.iter().chain(args).copied().collect::<Vec<_>>())
}

/// The models of exported rows.
fn models(export: &Finished) -> Vec<String> {
    assert_eq!(export.code, 0, "{export:?}");
    let rows = export.stdout.lines().map(|l| serde_json::from_str::<serde_json::Value>(l).expect("a JSON object a line"));
    let mut models: Vec<String> = rows.map(|row| row["fields"]["model"].as_str().expect("a model").to_owned()).collect();
    models.sort_unstable();
    models
}

#[tokio::test]
async fn rows_move_from_store_to_store() {
    let upstream = setup::friendly(Dialect::OpenAi).await;
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name).display().to_string();
    let config = keeping(&upstream, &format!("records: {{type: sqlite, path: \"{}\"}}", at("one.db")));
    let gateway = Gateway::start(&config).await;
    let client = Client::new(&gateway);
    for model in ["a", "b", "c"] {
        ask(&client, model).await;
    }
    until(&client, "wasmgate_records_written_total", |n| n >= 3.0).await;

    // While the gateway runs.
    let file = ConfigFile::new(&config);
    let exported = usage("export", &file.path(), &[]);
    assert_eq!(models(&exported), ["a", "b", "c"]);
    let table = usage("export", &file.path(), &["--format", "csv", "--extension", "keeps"]);
    assert!(table.stdout.starts_with("extension,table,at_ms,") && table.stdout.lines().count() == 4, "{table:?}");
    assert_eq!(usage("export", &file.path(), &["--until", "2020-01-01"]).stdout, "");

    let ndjson = folder.path().join("rows.ndjson");
    std::fs::write(&ndjson, &exported.stdout).unwrap();
    let input = ndjson.to_str().unwrap();
    let redb = ConfigFile::new(&keeping(&upstream, &format!("path: \"{}\"", at("two.redb"))));
    let imported = usage("import", &redb.path(), &["--input", input]);
    assert!(imported.code == 0 && imported.stderr.contains("3 row(s) imported"), "{imported:?}");
    assert_eq!(usage("export", &redb.path(), &[]).stdout, exported.stdout, "the same rows in the same order");

    // And into the store of the gateway that runs.
    assert_eq!(usage("import", &file.path(), &["--input", input]).code, 0);
    assert_eq!(client.get("/keeps/rows").await.text().lines().count(), 6);

    // What cannot be, and why.
    std::fs::write(&ndjson, "{\"extension\":\"keeps\",\"table\":\"t\",\"at_ms\":1,\"fields\":{\"n\":1}}\n{\"at\":1}\n").unwrap();
    let refused = usage("import", &file.path(), &["--input", input]);
    assert!(
        refused.code == 1 && refused.stderr.contains("line 2") && refused.stderr.contains("row(s) were imported before"),
        "{refused:?}"
    );
    let memory = ConfigFile::new(&keeping(&upstream, "records: {type: memory}"));
    assert!(usage("export", &memory.path(), &[]).stderr.contains("kept in memory"));
    let config = keeping(&upstream, &format!("path: \"{}\"", at("two.redb")));
    let _running = Gateway::start(&config).await;
    let locked = usage("export", &redb.path(), &[]);
    assert!(locked.code == 1 && locked.stderr.contains("stop the gateway first"), "{locked:?}");
}

#[tokio::test]
async fn sqlite_keeps_what_was_written_before_a_kill() {
    let upstream = setup::friendly(Dialect::OpenAi).await;
    let gateway = Gateway::start(&keeping(&upstream, "records: {type: sqlite, path: usage.db}")).await;
    let client = Client::new(&gateway);
    for n in 0..10 {
        ask(&client, &format!("m{n}")).await;
    }
    until(&client, "wasmgate_records_written_total", |n| n >= 10.0).await;
    let gateway = gateway.kill().start().await;
    assert_eq!(Client::new(&gateway).get("/keeps/rows").await.text().lines().count(), 10);
}

#[tokio::test]
async fn postgres_may_be_away_and_requests_go_on() {
    let Some(mut postgres) = Postgres::start() else { return };
    let url = postgres.database("ledger");
    let upstream = setup::friendly(Dialect::OpenAi).await;
    let config = keeping(&upstream, &format!("records: {{type: postgres, url: \"{url}\"}}"));
    let gateway = Gateway::start(&config).await;
    let client = Client::new(&gateway);
    ask(&client, "before").await;
    until(&client, "wasmgate_records_written_total", |n| n >= 1.0).await;
    postgres.end();
    for n in 0..20 {
        ask(&client, &format!("away{n}")).await;
    }
    until(&client, "wasmgate_records_write_failures_total", |n| n >= 1.0).await;
    assert_eq!(number(&client, "wasmgate_records_waiting").await, 20.0);
    postgres.begin();
    until(&client, "wasmgate_records_waiting", |n| n == 0.0).await;
    assert_eq!(postgres.query("ledger", "SELECT count(*), count(DISTINCT fields->>'model') FROM wasmgate_records"), "21|21");
    assert_eq!(number(&client, "wasmgate_records_dropped_total").await, 0.0);

    // Whatever the gateway had accepted is there when it ended in order.
    ask(&client, "last").await;
    let (status, log) = gateway.stop().await;
    assert!(status.success(), "{log}");
    assert_eq!(postgres.query("ledger", "SELECT count(*) FROM wasmgate_records"), "22");
    assert_eq!(models(&usage("export", &ConfigFile::new(&config).path(), &[])).len(), 22);
}

#[tokio::test]
async fn no_request_waits_for_a_postgres_that_hangs() {
    const QUEUE: usize = 50;
    const ASKED: usize = 150;
    let Some(mut postgres) = Postgres::start() else { return };
    let url = postgres.database("ledger");
    let upstream = setup::friendly(Dialect::OpenAi).await;
    let config = keeping(&upstream, &format!("records: {{type: postgres, url: \"{url}\", queue: {QUEUE}}}"));
    let gateway = Gateway::start(&config).await;
    let client = Client::new(&gateway);
    ask(&client, "before").await;
    until(&client, "wasmgate_records_written_total", |n| n >= 1.0).await;
    // Its connections are there and nothing comes back. Every answer below comes before it goes on: nothing waited for it.
    postgres.pause();
    let reading = tokio::spawn({
        let client = client.clone();
        async move { client.get("/keeps/rows").await.status }
    });
    for n in 0..ASKED {
        ask(&client, &format!("away{n}")).await;
        let [waiting, dropped] = ["wasmgate_records_waiting", "wasmgate_records_dropped_total"];
        let (waiting, dropped) = (number(&client, waiting).await, number(&client, dropped).await);
        // What is beyond the queue's limit costs the oldest row, and no time.
        assert_eq!((waiting, dropped), ((n + 1).min(QUEUE) as f64, (n + 1).saturating_sub(QUEUE) as f64), "after {} requests", n + 1);
    }
    assert_eq!(number(&client, "wasmgate_records_written_total").await, 1.0);
    // Who reads rows does wait, in bounded time, and is told.
    assert_eq!(reading.await.expect("it is answered") / 100, 5);
    postgres.resume();
    until(&client, "wasmgate_records_waiting", |n| n == 0.0).await;
    let newest = format!("SELECT count(*), count(*) FILTER (WHERE fields->>'model' = 'away{}') FROM wasmgate_records", ASKED - 1);
    let found = postgres.query("ledger", &newest);
    // A batch that was on its way to the database may have arrived all the same.
    let (rows, newest) = found.split_once('|').expect("two numbers");
    assert!(rows.parse::<usize>().is_ok_and(|rows| (QUEUE + 1..=QUEUE + 1 + QUEUE).contains(&rows)) && newest == "1", "{found}");

    // The same while it is gone and each attempt to write fails: what waits is tried again, and the newest rows are kept all the same.
    postgres.end();
    let before = number(&client, "wasmgate_records_write_failures_total").await;
    for n in 0..ASKED {
        ask(&client, &format!("gone{n}")).await;
        if n == QUEUE {
            until(&client, "wasmgate_records_write_failures_total", |n| n >= before + 2.0).await;
        }
    }
    assert_eq!(number(&client, "wasmgate_records_refused_total").await, 0.0);
    assert_eq!(number(&client, "wasmgate_records_waiting").await, QUEUE as f64);
    postgres.begin();
    until(&client, "wasmgate_records_waiting", |n| n == 0.0).await;
    let newest = format!("SELECT count(*) FROM wasmgate_records WHERE fields->>'model' = 'gone{}'", ASKED - 1);
    assert_eq!(postgres.query("ledger", &newest), "1");
}

#[tokio::test]
async fn redis_keeps_one_limit_for_two_replicas() {
    let Some(mut redis) = Redis::start() else { return };
    let upstream = setup::friendly(Dialect::OpenAi).await;
    let limits = format!("storage: {{limits: {{type: redis, url: \"{}\", timeout: 30s, when_away: local}}}}\n", redis.url());
    let meters = extensions::fixture("meters", "config: {limit: 10}");
    let config = setup::config(&setup::provider(Dialect::OpenAi, &upstream), &format!("{meters}{limits}"));
    let gateways = [Gateway::start(&config).await, Gateway::start(&config).await];
    let clients = [Client::new(&gateways[0]), Client::new(&gateways[1])];
    let statuses = async |count: usize| {
        let asked = (0..count).map(|n| {
            let client = clients[n % 2].clone();
            tokio::spawn(async move { client.post(Dialect::OpenAi.path(), &Dialect::OpenAi.request("m", "x")).await.status })
        });
        let mut statuses = Vec::new();
        for asked in asked.collect::<Vec<_>>() {
            statuses.push(asked.await.expect("it is answered"));
        }
        statuses
    };
    let found = statuses(32).await;
    assert_eq!(found.iter().filter(|s| **s == 200).count(), 10, "{found:?}");
    assert_eq!(found.iter().filter(|s| **s == 429).count(), 22, "{found:?}");

    // Without Redis each counts for itself, and says so.
    redis.end();
    assert_eq!(statuses(2).await, [200, 200]);
    assert_eq!(number(&clients[0], "wasmgate_limits_away").await, 1.0);
    gateways[0].log_line("Redis is away", |l| l["message"].as_str().is_some_and(|m| m.starts_with("Redis is away"))).await;
    redis.begin();
    until(&clients[0], "wasmgate_limits_away", |n| n == 0.0).await;
    until(&clients[1], "wasmgate_limits_away", |n| n == 0.0).await;
    assert_eq!(statuses(2).await, [200, 200], "it came back empty");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn redis_keeps_a_keys_limits_for_two_replicas() {
    let Some(redis) = Redis::start() else { return };
    let upstream = setup::friendly(Dialect::OpenAi).await;
    let key = "sk-of-two-replicas-together";
    let limits = format!("storage: {{limits: {{type: redis, url: \"{}\", timeout: 30s}}}}\n", redis.url());
    let keys = format!("api_keys: [{{key: {key}, name: both, rate_limit_rpm: 60, rate_limit_tpm: 1000000}}]\n");
    let config = setup::config(&setup::provider(Dialect::OpenAi, &upstream), &format!("{keys}{limits}"));
    let gateways = [Gateway::start(&config).await, Gateway::start(&config).await];
    let clients = [Client::new(&gateways[0]), Client::new(&gateways[1])];
    let asked: Vec<_> = (0..128)
        .map(|n| {
            let body = Dialect::OpenAi.request("m", "x").to_string();
            let request = clients[n % 2].request(http::Method::POST, Dialect::OpenAi.path()).bearer_auth(key);
            tokio::spawn(request.header("content-type", "application/json").body(body).send())
        })
        .collect();
    let (mut passed, mut left) = (0, Vec::new());
    for asked in asked {
        let answer = asked.await.unwrap().expect("it is answered");
        let number = |name: &str| answer.headers()[name].to_str().unwrap().parse::<u64>().unwrap();
        if answer.status() == 200 {
            passed += 1;
            left.push(number("x-ratelimit-remaining-requests"));
        } else {
            assert!(answer.status() == 429 && (1..=61).contains(&number("retry-after")), "{answer:?}");
        }
    }
    // Each of the sixty was another one's turn: no two of them found the same left.
    left.sort_unstable();
    assert_eq!((passed, left), (60, (0..60).collect::<Vec<_>>()));
    assert_eq!(upstream.received().len(), 60);
}

#[tokio::test]
async fn keys_that_could_not_be_read_yet_are_none_that_nobody_knows() {
    let Some(mut postgres) = Postgres::start() else { return };
    let url = postgres.database("keys");
    let upstream = setup::friendly(Dialect::OpenAi).await;
    let known = "sk-of-the-configuration-with-many-characters";
    let start = async |extensions: &str| {
        let keys = format!("storage: {{flush_interval: 10ms, keys: {{type: postgres, url: \"{url}\", refresh: 100ms}}}}\n");
        let rest = format!("{extensions}api_keys: [{{key: {known}, name: configured}}]\n{keys}");
        let gateway = Gateway::start(&setup::config(&setup::provider(Dialect::OpenAi, &upstream), &rest)).await;
        let client = Client::new(&gateway);
        (gateway, client)
    };
    let ask = async |client: &Client, key: &str| {
        let request = client.request(http::Method::POST, Dialect::OpenAi.path()).bearer_auth(key);
        client.send(request.header("content-type", "application/json").body(Dialect::OpenAi.request("m", "x").to_string())).await
    };
    let order = async |client: &Client, method: http::Method, path: &str, body: &str| {
        client.send(client.request(method, path).body(body.to_owned())).await
    };
    let (put, post, get) = (http::Method::PUT, http::Method::POST, http::Method::GET);
    let dynamic = "  dynamic: {}\n";
    let (gateway, client) = start(dynamic).await;
    let made = order(&client, post.clone(), "/api/keys", r#"{"name": "made"}"#).await.json()["data"].clone();
    let key = made["key"].as_str().expect("a key").to_owned();
    assert_eq!(order(&client, put.clone(), "/api/dynamic/models/off", r#"{"active": false}"#).await.status, 200);
    assert_eq!(ask(&client, &key).await.status, 200);
    assert!(gateway.stop().await.0.success());

    postgres.end();
    let sent = upstream.received().len();
    let (gateway, client) = start("").await;
    let ready = client.get("/health/ready").await;
    assert_eq!((ready.status, ready.json()), (503, serde_json::json!({"status": "keys_unread"})));
    assert_eq!(ask(&client, known).await.status, 200, "what the configuration says is known");
    for key in [key.as_str(), "sk-that-nobody-ever-made-with-many-characters"] {
        let answer = ask(&client, key).await;
        assert_eq!((answer.status, answer.json()["error"]["code"].as_str()), (503, Some("keys_unread")), "{}", answer.text());
        assert_eq!(answer.header("retry-after"), "1");
        let models = client.send(client.request(get.clone(), "/v1/models").bearer_auth(key)).await;
        assert_eq!((models.status, models.json()["error"]["code"].as_str()), (503, Some("keys_unread")), "{}", models.text());
    }
    // Nothing is made in the place of what may be there.
    for (method, path) in [(get.clone(), "/api/keys"), (post.clone(), "/api/keys"), (http::Method::DELETE, "/api/keys/made")] {
        let answer = order(&client, method, path, r#"{"name": "made"}"#).await;
        assert_eq!((answer.status, answer.json()["error"]["code"].as_str()), (503, Some("keys_unread")), "{path}: {}", answer.text());
    }
    // What is switched off is not known either, so nobody gets past it.
    let (other, at_other) = start(dynamic).await;
    let answer = ask(&at_other, known).await;
    assert_eq!((answer.status, answer.json()["error"]["code"].as_str()), (503, Some("models_unread")), "{}", answer.text());
    let models = at_other.send(at_other.request(get.clone(), "/v1/models").bearer_auth(known)).await;
    assert_eq!(models.status, 503, "{}", models.text());
    let answer = order(&at_other, put, "/api/dynamic/models/on", r#"{"active": false}"#).await;
    assert_eq!((answer.status, answer.json()["error"]["code"].as_str()), (503, Some("keys_unread")), "{}", answer.text());
    assert_eq!(upstream.received().len(), sent + 1);

    postgres.begin();
    for client in [&client, &at_other] {
        soon("it is ready", async { while client.get("/health/ready").await.status != 200 {} }).await;
        assert_eq!(ask(client, &key).await.status, 200);
    }
    let listed = order(&client, get.clone(), "/api/keys", "").await.json();
    assert_eq!(listed["data"]["keys"].as_array().map(Vec::len), Some(2), "{listed}");
    let shown = order(&at_other, get, "/api/dynamic", "").await.json();
    assert_eq!(shown["data"]["models"]["off"]["active"], false, "{shown}");
    assert!(other.stop().await.0.success() && gateway.stop().await.0.success());
}

#[tokio::test]
async fn replicas_share_keys_that_are_made_while_they_run() {
    let (Some(mut postgres), Some(redis)) = (Postgres::start(), Redis::start()) else { return };
    let url = postgres.database("cortex");
    let upstream = setup::friendly(Dialect::OpenAi).await;
    // Rows and keys in one PostgreSQL, limits in one Redis.
    let stores = format!(
        "usage: {{enabled: true, storage: postgres, url: \"{url}\"}}\nstorage: {{flush_interval: 10ms, keys: {{type: postgres, refresh: 100ms}}, limits: {{type: redis, url: \"{}\", timeout: 30s}}}}\n",
        redis.url()
    );
    let config = setup::config(&setup::provider(Dialect::OpenAi, &upstream), &format!("api_keys: []\n{stores}"));
    let (one, two) = (Gateway::start(&config).await, Gateway::start(&config).await);
    let (at_one, at_two) = (Client::new(&one), Client::new(&two));
    let order = async |client: &Client, method: http::Method, path: &str, body: &str| {
        let answer = client.send(client.request(method, path).body(body.to_owned())).await;
        assert!(answer.status < 300, "{}", answer.text());
        answer.json()["data"].clone()
    };
    let status = async |client: &Client, key: &serde_json::Value| {
        let request = client.request(http::Method::POST, Dialect::OpenAi.path()).bearer_auth(key.as_str().expect("a key"));
        client.send(request.header("content-type", "application/json").body(Dialect::OpenAi.request("m", "x").to_string())).await.status
    };
    let becomes = async |client: &Client, key: &serde_json::Value, wanted: u16| {
        soon(&format!("status {wanted}"), async { while status(client, key).await != wanted {} }).await;
    };
    let post = http::Method::POST;
    let made = order(&at_one, post.clone(), "/api/keys", r#"{"name": "shared", "daily_token_budget": 1000000}"#).await;
    let (path, key) = (format!("/api/keys/{}", made["id"].as_str().expect("an id")), &made["key"]);
    assert_eq!(status(&at_one, key).await, 200);
    becomes(&at_two, key, 200).await;
    // Changed at one, rotated at the other, revoked where it was not made.
    order(&at_one, http::Method::PATCH, &path, r#"{"rate_limit_rpm": 0}"#).await;
    becomes(&at_two, key, 429).await;
    order(&at_two, http::Method::PATCH, &path, r#"{"rate_limit_rpm": null}"#).await;
    becomes(&at_one, key, 200).await;
    let rotated = order(&at_two, post.clone(), &format!("{path}/rotate"), "").await;
    becomes(&at_one, key, 401).await;
    becomes(&at_one, &rotated["key"], 200).await;
    // What each spends of a budget, both know: once the requests of both are over, they tell the same, and a third one as well.
    let spent = || {
        postgres
            .query("cortex", "SELECT encode(value, 'escape') FROM wasmgate_keys WHERE bucket = 'spent' AND key LIKE '%/key:shared/tokens'")
    };
    let asked = upstream.received().len();
    soon("the whole of what was spent", async { while spent() != (21 * asked).to_string() {} }).await;
    let three = Gateway::start(&config).await;
    assert_eq!(status(&Client::new(&three), &rotated["key"]).await, 200, "who begins later knows the key from its start");

    // While the database is away, each goes on with what it knows; then a key that was revoked meanwhile opens nothing anywhere.
    postgres.end();
    order(&at_one, http::Method::DELETE, &path, "").await;
    // Keys that were not known yet were asked for many times above, which looks like guessing: 429 says the same to whoever guesses.
    let refused = |status: u16| matches!(status, 401 | 429);
    let (at_the_first, at_the_other) = (status(&at_one, &rotated["key"]).await, status(&at_two, &rotated["key"]).await);
    assert!(refused(at_the_first) && at_the_other == 200, "{at_the_first} {at_the_other}");
    postgres.begin();
    soon("the end of the key", async { while !refused(status(&at_two, &rotated["key"]).await) {} }).await;
    let listed = order(&at_two, http::Method::GET, "/api/keys", "").await;
    assert_eq!(listed["keys"], serde_json::json!([]));
}

#[test]
fn wrong_stores_are_told() {
    let config = "providers:\n  echo: {type: echo}\nextensions: {}\nstorage:\n  records:\n    type: postgres\n    url: mysql://u:hush@h\n  limits:\n    type: redis\n  keys:\n    url: postgres://h/d\n    refresh: 0s\n";
    let checked = ConfigFile::new(config).check(&[]);
    assert_eq!(checked.code, 2);
    assert!(checked.stderr.contains(":7: error: `storage.records.url`: it is no address of PostgreSQL"), "{}", checked.stderr);
    assert!(checked.stderr.contains(":8: error: `storage.limits`: `redis` needs a `url`."), "{}", checked.stderr);
    assert!(checked.stderr.contains(":10: error: `storage.keys`: `local` has no `url`"), "{}", checked.stderr);
    assert!(checked.stderr.contains("`refresh` is 0"), "{}", checked.stderr);
    assert!(!checked.stderr.contains("hush"), "{}", checked.stderr);
}
