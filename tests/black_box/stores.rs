//! Stores that are not the default: rows in SQLite and PostgreSQL, limits in Redis, and `wasmgate usage`. Servers are real ones.

use std::path::Path;

use wasmgate_tests::cli::{self, ConfigFile, Finished};
use wasmgate_tests::databases::{Postgres, Redis};
use wasmgate_tests::{Client, DEADLINE, Dialect, Gateway, Upstream};

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
async fn until(client: &Client, name: &str, wanted: impl Fn(f64) -> bool) {
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

#[test]
fn wrong_stores_are_told() {
    let config = "providers:\n  echo: {type: echo}\nextensions: {}\nstorage:\n  records:\n    type: postgres\n    url: mysql://u:hush@h\n  limits:\n    type: redis\n";
    let checked = ConfigFile::new(config).check(&[]);
    assert_eq!(checked.code, 2);
    assert!(checked.stderr.contains(":7: error: `storage.records.url`: it is no address of PostgreSQL"), "{}", checked.stderr);
    assert!(checked.stderr.contains(":8: error: `storage.limits`: `redis` needs a `url`."), "{}", checked.stderr);
    assert!(!checked.stderr.contains("hush"), "{}", checked.stderr);
}
