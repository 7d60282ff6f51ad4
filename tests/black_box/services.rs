//! What the host keeps and does for extensions: rows, values that many change, numbers, secrets (fixture `keeps`), and requests to other
//! machines (fixture `fetches`).

use std::path::Path;

use wasmgate_tests::{Client, Dialect, Gateway, Reply, Upstream};

use crate::{attacks, extensions, setup};

const SECRET: &str = "grant: [kv, records, metrics, secrets, clock, wasi], secrets: {token: open-sesame}";

async fn keeping(upstream: &Upstream, store: Option<&Path>) -> (Gateway, Client) {
    let config = setup::config(&setup::provider(Dialect::OpenAi, upstream), &extensions::fixture("keeps", SECRET));
    let store = store.map(|path| format!("storage.path={}", path.display()));
    let builder = Gateway::builder(&config);
    let gateway = match store {
        Some(store) => builder.set(store).start().await,
        None => builder.start().await,
    };
    let client = Client::new(&gateway);
    (gateway, client)
}

/// One request of a model, and its record, which is written after on-complete.
async fn ask(client: &Client, model: &str) {
    let answer = client.post(Dialect::OpenAi.path(), &Dialect::OpenAi.request(model, "x")).await;
    setup::assert_record(client, answer.header("x-request-id"), "success").await;
}

#[tokio::test]
async fn rows_are_read_page_by_page_and_added_up_also_after_a_restart() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let store = folder.path().join("store.redb");
    let upstream = setup::friendly(Dialect::OpenAi).await;
    let (gateway, client) = keeping(&upstream, Some(&store)).await;
    for model in ["one", "two", "one", "three", "one"] {
        ask(&client, model).await;
    }
    let rows = client.get("/keeps/rows").await.text();
    assert_eq!(rows.lines().map(|l| l.split(' ').next().unwrap_or_default()).collect::<Vec<_>>(), ["one", "three", "one", "two", "one"]);
    assert_eq!(client.get("/keeps/rows/one").await.text().lines().count(), 3);
    let groups = client.get("/keeps/groups").await.text();
    let counts: Vec<_> = groups.lines().map(|l| l.split(" with ").next().unwrap_or_default()).collect();
    assert_eq!(counts, ["one: 3", "three: 1", "two: 1"], "{groups}");
    assert!(!groups.contains("with 0"), "the tokens are summed: {groups}");
    let (status, log) = gateway.stop().await;
    assert!(status.success(), "{log}");

    let (_gateway, client) = keeping(&upstream, Some(&store)).await;
    assert_eq!(client.get("/keeps/rows").await.text(), rows);
    assert_eq!(client.get("/keeps/groups").await.text(), groups);
}

#[tokio::test]
async fn a_value_that_many_change_at_once_loses_no_change() {
    let upstream = setup::friendly(Dialect::OpenAi).await;
    let (_gateway, client) = keeping(&upstream, None).await;
    let asking: Vec<_> = (0..64)
        .map(|_| {
            let client = client.clone();
            tokio::spawn(async move { ask(&client, "m").await })
        })
        .collect();
    for asked in asking {
        asked.await.expect("it is answered");
    }
    assert_eq!(client.get("/keeps/lines").await.text().lines().count(), 64);
}

#[tokio::test]
async fn numbers_of_extensions_and_what_they_cost_are_on_the_page_of_metrics() {
    let upstream = setup::friendly(Dialect::OpenAi).await;
    let (_gateway, client) = keeping(&upstream, None).await;
    for model in ["a", "b", "a"] {
        ask(&client, model).await;
    }
    let page = client.get("/metrics").await;
    assert_eq!(page.header("content-type"), "application/openmetrics-text; version=1.0.0; charset=utf-8");
    let page = page.text();
    for line in [
        "wasmgate_ext_keeps_requests_total{model=\"a\"} 2.0",
        "wasmgate_ext_keeps_last_status 200.0",
        "wasmgate_ext_keeps_duration_seconds_count 3",
        "wasmgate_extension_calls_total{extension=\"keeps\",hook=\"on-complete\"} 3.0",
        "wasmgate_extension_traps_total{extension=\"keeps\"} 0",
    ] {
        assert!(page.lines().any(|l| l == line), "{line}\n{page}");
    }
    for family in ["guest_seconds", "host_seconds", "in_bytes"] {
        let line =
            page.lines().find(|l| l.starts_with(&format!("wasmgate_extension_{family}_total{{extension=\"openai-api\""))).expect(family);
        let value: f64 = line.rsplit(' ').next().and_then(|v| v.parse().ok()).expect("a number");
        assert!(value >= 0.0, "{line}");
    }
    assert!(page.ends_with("# EOF\n"));
    let refused = client.get("/keeps/bad-metric").await.text();
    let reasons: Vec<_> = refused.lines().collect();
    assert!(reasons[0].contains("`Bad-Name`") && reasons[1].contains("-1") && reasons[2].contains("requests"), "{refused}");
    assert!(client.get("/keeps/many-series").await.text().starts_with("99"), "about a thousand series are taken");
}

#[tokio::test]
async fn a_secret_is_used_and_never_seen() {
    let upstream = setup::friendly(Dialect::OpenAi).await;
    let (gateway, client) = keeping(&upstream, None).await;
    assert_eq!(client.get("/keeps/secret/other").await.text(), "none");
    let wrong = client.get("/keeps/secret/token?guess").await.text();
    assert!(wrong.starts_with("false "), "{wrong}");
    let right = client.get("/keeps/secret/token?open-sesame").await.text();
    assert!(right.starts_with("true "), "{right}");
    assert!(!right.contains("open-sesame") && !gateway.log_text().contains("open-sesame"));
}

// === requests to other machines ===

async fn fetching(more: &str) -> (Gateway, Client) {
    let upstream = setup::friendly(Dialect::OpenAi).await;
    let fetches = format!("grant: [http, secrets, wasi], secrets: {{token: open-sesame}}, http: {{{more}}}");
    let gateway =
        Gateway::start(&setup::config(&setup::provider(Dialect::OpenAi, &upstream), &extensions::fixture("fetches", &fetches))).await;
    let client = Client::new(&gateway);
    (gateway, client)
}

/// What the fixture says of an address: a status, and the text.
async fn fetch(client: &Client, url: &str, headers: &[(&str, &str)]) -> (u16, String, String) {
    let mut request = client.request(http::Method::POST, &format!("/fetch?{url}")).body("question");
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let answer = client.send(request).await;
    (answer.status, answer.header("x-status").to_owned(), answer.text())
}

#[tokio::test]
async fn a_granted_host_is_asked_with_the_secret_put_in_on_the_way() {
    let there = Upstream::start(|r| Reply::new(201, "text/plain", [b"to: ", &r.body[..]].concat())).await;
    let host = there.url().replace("http://", "");
    let (gateway, client) = fetching(&format!("hosts: [\"http://{host}\"], private_addresses: true")).await;
    let asked = fetch(&client, &format!("http://{host}/path"), &[("x-send-x-more", "yes"), ("x-send-te", "trailers")]).await;
    assert_eq!(asked, (200, "201".into(), "to: question".into()));
    let received = there.only();
    assert_eq!((received.method.as_str(), received.path.as_str()), ("POST", "/path"));
    assert_eq!(received.header("authorization"), Some("Bearer open-sesame"));
    assert_eq!((received.header("x-more"), received.header("host")), (Some("yes"), Some(host.as_str())));
    assert_eq!((received.header("te"), received.header("content-length")), (None, Some("8")));
    assert!(!gateway.log_text().contains("open-sesame"));
    // What frames a message, or says where it goes, is not the guest's.
    for (name, value) in [("x-send-host", "evil.example"), ("x-send-transfer-encoding", "chunked"), ("x-send-connection", "close")] {
        let (status, _, said) = fetch(&client, &format!("http://{host}/"), &[(name, value)]).await;
        assert_eq!(status, 403, "{name}: {said}");
    }
    assert_eq!(there.received().len(), 1);
}

#[tokio::test]
async fn header_fields_of_outbound_requests_cannot_smuggle() {
    let there = Upstream::start(|_| Reply::new(200, "text/plain", "fine")).await;
    let host = there.url().replace("http://", "");
    let (_gateway, client) = fetching(&format!("hosts: [\"http://{host}\"], private_addresses: true")).await;
    let url = format!("http://{host}/");
    for (name, value) in [
        ("x-send-x-a", "a%0d%0ax-evil: b"),
        ("x-send-x-a", "a%0ax-evil: b"),
        ("x-send-x-a", "a%00b"),
        ("x-send-x-a", "a%0d%0a%0d%0aGET / HTTP/1.1"),
        ("x-send-transfer-encoding", "chunked"),
        ("x-send-transfer-encoding", "identity, chunked"),
        ("x-send-connection", "authorization"),
        ("x-send-keep-alive", "timeout=1"),
        ("x-send-proxy-connection", "close"),
        ("x-send-upgrade", "h2c"),
        ("x-send-host", "evil.example"),
    ] {
        let (status, _, said) = fetch(&client, &url, &[(name, value)]).await;
        assert_eq!(status, 403, "{name}: {value}: {said}");
    }
    assert_eq!(there.received().len(), 0, "nothing of it was sent");
    // A wrong length is put right, and what asks for trailers is left out.
    let (status, _, said) = fetch(&client, &url, &[("x-send-content-length", "3"), ("x-send-te", "trailers")]).await;
    assert_eq!(status, 200, "{said}");
    let received = there.only();
    assert_eq!((received.header("content-length"), received.header("te")), (Some("8"), None));
    assert_eq!(&received.body[..], b"question");
}

#[tokio::test]
async fn a_placeholder_gives_its_secret_to_granted_hosts_in_header_values_and_to_nobody_else() {
    let there = Upstream::start(|r| Reply::new(200, "text/plain", format!("{} {}", r.path, String::from_utf8_lossy(&r.body)))).await;
    let host = there.url().replace("http://", "");
    let (gateway, client) = fetching(&format!("hosts: [\"http://{host}\"], private_addresses: true")).await;
    let answer = client.send(client.request(http::Method::POST, &format!("/fetch/leaks?http://{host}/"))).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    let received = there.only();
    assert_eq!(received.header("x-leak"), Some("open-sesame"), "who was granted sees it");
    assert!(!received.path.contains("open-sesame") && received.path.contains("wasmgate-secret-"), "{}", received.path);
    assert!(received.body.starts_with(b"wasmgate-secret-"), "{:?}", received.body);
    // The guest's own words stay what they are, wherever they go.
    assert!(answer.header("x-leak").starts_with("wasmgate-secret-"), "{:?}", answer.headers);
    assert!(answer.text().starts_with("wasmgate-secret-") && !answer.text().contains("open-sesame"), "{}", answer.text());
    gateway.log_line("the guest's line", |l| l["message"].as_str().is_some_and(|m| m.starts_with("leaked: wasmgate-secret-"))).await;
    assert!(!gateway.log_text().contains("open-sesame"));
    // A host that was not granted gets neither.
    let elsewhere = Upstream::start(|_| Reply::new(200, "text/plain", "")).await;
    let answer = client.send(client.request(http::Method::POST, &format!("/fetch/leaks?{}/", elsewhere.url()))).await;
    assert!(!answer.text().contains("open-sesame"), "{}", answer.text());
    assert_eq!(elsewhere.connections(), 0);
}

#[tokio::test]
async fn a_call_that_waits_too_long_is_ended() {
    let there = Upstream::start(|_| Reply::silence()).await;
    let host = there.url().replace("http://", "");
    let upstream = setup::friendly(Dialect::OpenAi).await;
    let fetches =
        format!("grant: [http, secrets, wasi], limits: {{wall_ms: 200}}, http: {{hosts: [\"http://{host}\"], private_addresses: true}}");
    let gateway =
        Gateway::start(&setup::config(&setup::provider(Dialect::OpenAi, &upstream), &extensions::fixture("fetches", &fetches))).await;
    let client = Client::new(&gateway);
    let begun = std::time::Instant::now();
    assert_eq!(fetch(&client, &format!("http://{host}/"), &[]).await.0, 500);
    assert!(begun.elapsed().as_millis() >= 200);
    gateway.log_line("the limit", |l| l["limit"] == "wall_ms" && l["extension"] == "fetches").await;
    there.only().closed_after(begun).await;
    attacks::assert_unharmed(&client, "fetches").await;
}

#[tokio::test]
async fn what_was_not_granted_is_refused_and_nothing_is_sent() {
    let there = Upstream::start(|_| Reply::new(200, "text/plain", "secret of this machine")).await;
    let port = there.url().rsplit(':').next().expect("a port").to_owned();
    // The hosts are granted, addresses of this machine are not.
    let hosts =
        format!("hosts: [\"http://localhost:{port}\", \"http://127.0.0.1:{port}\", \"http://[::1]:{port}\", \"http://169.254.169.254\"]");
    let (_gateway, client) = fetching(&hosts).await;
    for url in [
        format!("http://localhost:{port}/"),
        format!("http://127.0.0.1:{port}/"),
        format!("http://127.1:{port}/"),
        format!("http://0x7f000001:{port}/"),
        format!("http://[::1]:{port}/"),
        format!("http://[::ffff:127.0.0.1]:{port}/"),
        "http://169.254.169.254/latest/meta-data".into(),
        format!("http://other.example:{port}/"),
        format!("https://localhost:{port}/"),
        "ftp://localhost/".into(),
    ] {
        let (status, _, said) = fetch(&client, &url, &[]).await;
        assert_eq!(status, 403, "{url}: {said}");
        assert!(!said.contains("secret of this machine"), "{url}");
    }
    assert_eq!(there.connections(), 0);
}

#[tokio::test]
async fn a_redirect_is_not_followed_by_the_host() {
    let inside = Upstream::start(|_| Reply::new(200, "text/plain", "inside")).await;
    let target = inside.url();
    let there = Upstream::start(move |_| Reply::new(302, "text/plain", "").header("location", &target)).await;
    let host = there.url().replace("http://", "");
    let (_gateway, client) = fetching(&format!("hosts: [\"http://{host}\"], private_addresses: true")).await;
    assert_eq!(fetch(&client, &format!("http://{host}/"), &[]).await, (200, "302".into(), String::new()));
    // Where it leads is another host, which is asked about like any other.
    assert_eq!(fetch(&client, &inside.url(), &[]).await.0, 403);
    assert_eq!(inside.connections(), 0);
}

#[tokio::test]
async fn an_answer_that_is_too_long_is_cut_off() {
    let there = Upstream::start(|_| Reply::new(200, "text/plain", vec![b'x'; 1 << 20])).await;
    let host = there.url().replace("http://", "");
    let (_gateway, client) = fetching(&format!("hosts: [\"http://{host}\"], private_addresses: true, response_bytes: 1000")).await;
    assert_eq!(fetch(&client, &format!("http://{host}/"), &[]).await.0, 403);
}

#[tokio::test]
async fn a_machine_that_does_not_answer_ends_the_call() {
    let there = Upstream::start(|_| Reply::silence()).await;
    let host = there.url().replace("http://", "");
    let upstream = setup::friendly(Dialect::OpenAi).await;
    let grant =
        format!("grant: [http, secrets, wasi], limits: {{wall_ms: 100}}, http: {{hosts: [\"http://{host}\"], private_addresses: true}}");
    let gateway =
        Gateway::start(&setup::config(&setup::provider(Dialect::OpenAi, &upstream), &extensions::fixture("fetches", &grant))).await;
    let client = Client::new(&gateway);
    let asked = std::time::Instant::now();
    assert_eq!(fetch(&client, &format!("http://{host}/"), &[]).await.0, 500);
    gateway.log_line("the limit", |l| l["extension"] == "fetches" && l["limit"] == "wall_ms").await;
    // With the guest, its request is gone.
    there.only().closed_after(asked).await;
    setup::assert_serves(&client, Dialect::OpenAi).await;
}

#[tokio::test]
async fn without_the_grant_every_request_is_refused_as_a_value() {
    let upstream = setup::friendly(Dialect::OpenAi).await;
    let extension = extensions::fixture("fetches", "grant: [secrets, wasi]");
    let gateway = Gateway::start(&setup::config(&setup::provider(Dialect::OpenAi, &upstream), &extension)).await;
    let client = Client::new(&gateway);
    let (status, _, said) = fetch(&client, &upstream.url(), &[]).await;
    assert_eq!(status, 403, "{said}");
    assert_eq!(upstream.received().len(), 0);
}
