//! Encrypted connections: both protocols, certificates that change while streams run, and files that cannot be used.

use std::path::Path;

use http::{Method, Version};
use wasmgate_tests::answers::{Says, TEXT};
use wasmgate_tests::cli::ConfigFile;
use wasmgate_tests::{Client, Dialect, Gate, Gateway, Reply, Step, Upstream, soon};

use crate::setup;

/// A certificate for loopback that vouches for itself, and its key.
struct Pair {
    cert: String,
    key: String,
}

impl Pair {
    fn new() -> Self {
        let made = rcgen::generate_simple_self_signed(vec!["127.0.0.1".into()]).expect("a certificate");
        Self { cert: made.cert.pem(), key: made.signing_key.serialize_pem() }
    }

    /// Puts both in place, each at once.
    fn write(&self, folder: &Path) {
        wasmgate_tests::gateway::replace(&folder.join("cert.pem"), self.cert.as_bytes());
        wasmgate_tests::gateway::replace(&folder.join("key.pem"), self.key.as_bytes());
    }
}

const TLS: &str = "server: {tls: {cert: cert.pem, key: key.pem}}\n";

async fn gateway(upstream: &Upstream, pair: &Pair) -> Gateway {
    let builder = Gateway::builder(&setup::config(&setup::provider(Dialect::OpenAi, upstream), TLS));
    pair.write(builder.folder());
    builder.start().await
}

#[tokio::test]
async fn both_protocols_are_spoken_and_nothing_else() {
    let (upstream, pair) = (setup::friendly(Dialect::OpenAi).await, Pair::new());
    let gateway = gateway(&upstream, &pair).await;
    let (h2, h1) = (Client::encrypted(&gateway, &pair.cert), Client::encrypted_http1(&gateway, &pair.cert));
    for (client, version) in [(&h2, Version::HTTP_2), (&h1, Version::HTTP_11)] {
        for dialect in Dialect::ALL {
            let answer = client.post(dialect.path(), &dialect.request("m", "x")).await;
            assert_eq!((answer.status, answer.version, dialect.text(&answer.json()).as_str()), (200, version, TEXT));
            let events = client.stream(dialect.path(), &dialect.stream_request("m", "x")).await.rest().await;
            assert_eq!(dialect.streamed_text(&events), TEXT);
        }
        // Operators of this machine are known by how they ask, encrypted or not.
        assert_eq!(client.get("/api/extensions").await.status, 200);
    }
    let plain = Client::new(&gateway);
    assert!(plain.request(Method::GET, "/health").send().await.is_err(), "what is not encrypted is not answered");
    let stranger = Client::encrypted(&gateway, &Pair::new().cert);
    assert!(stranger.request(Method::GET, "/health").send().await.is_err());
    setup::assert_serves(&h2, Dialect::OpenAi).await;
    // Nobody who only connects keeps it from ending.
    let silent = std::net::TcpStream::connect(gateway.address()).expect("the gateway listens");
    let (status, log) = gateway.stop().await;
    assert_eq!(status.code(), Some(0), "{log}");
    assert!(!log.contains("cut off"), "{log}");
    drop(silent);
}

#[tokio::test]
async fn another_certificate_takes_over_while_a_stream_runs() {
    let gate = Gate::default();
    let held = gate.clone();
    let upstream = Upstream::start(move |r| {
        let events = Says::text(TEXT).stream(Dialect::OpenAi, &r.model());
        if r.model() != "held" {
            return Says::text(TEXT).reply(Dialect::OpenAi, r);
        }
        Reply::events(vec![Step::Send(events[..3].concat().into()), Step::Wait(held.clone()), Step::Send(events[3..].concat().into())])
    })
    .await;
    let (first, second) = (Pair::new(), Pair::new());
    let gateway = gateway(&upstream, &first).await;
    let client = Client::encrypted(&gateway, &first.cert);
    let dialect = Dialect::Anthropic;
    let mut stream = client.stream(dialect.path(), &dialect.stream_request("held", "x")).await;
    let mut events = vec![stream.next().await.expect("the stream has begun")];

    // Half of a renewal is none.
    wasmgate_tests::gateway::replace(&gateway.folder().join("cert.pem"), second.cert.as_bytes());
    gateway.log_line("that the key does not fit", |l| l["reason"].as_str().is_some_and(|r| r.contains("is not the key of"))).await;
    setup::assert_serves(&Client::encrypted(&gateway, &first.cert), Dialect::OpenAi).await;

    second.write(gateway.folder());
    gateway.log_line("that it was read again", |l| l["message"] == "the certificate was read again").await;
    setup::assert_serves(&Client::encrypted(&gateway, &second.cert), Dialect::OpenAi).await;
    let stale = Client::encrypted(&gateway, &first.cert);
    assert!(stale.request(Method::GET, "/health").send().await.is_err(), "the first one is no longer shown");

    gate.open();
    events.extend(stream.rest().await);
    assert_eq!((dialect.streamed_text(&events).as_str(), stream.broken.as_deref()), (TEXT, None));
    assert!(dialect.is_end(events.last().unwrap()));
    assert_eq!(client.get("/health").await.status, 200, "the connection goes on too");
}

#[tokio::test]
async fn a_reload_may_name_other_files_and_refuses_those_that_cannot_be_used() {
    let (upstream, first, second) = (setup::friendly(Dialect::OpenAi).await, Pair::new(), Pair::new());
    let gateway = gateway(&upstream, &first).await;
    let config = |tls: &str| setup::config(&setup::provider(Dialect::OpenAi, &upstream), tls);
    gateway.configure(&config("server: {tls: {cert: other.pem, key: key.pem}}\n"));
    let client = Client::encrypted(&gateway, &first.cert);
    let answer = client.send(client.request(Method::POST, "/api/config/reload")).await;
    assert_eq!(answer.status, 422, "{}", answer.text());
    assert!(answer.text().contains("the file `other.pem` cannot be read"), "{}", answer.text());
    setup::assert_serves(&client, Dialect::OpenAi).await;

    std::fs::write(gateway.folder().join("other.pem"), format!("{}{}", second.cert, second.key)).unwrap();
    gateway.configure(&config("server: {tls: {cert: other.pem, key: other.pem}}\n"));
    client.order("/api/config/reload").await;
    let other = async {
        while Client::encrypted(&gateway, &second.cert).request(Method::GET, "/health").send().await.is_err() {
            tokio::task::yield_now().await;
        }
    };
    soon("certificate of the other file", other).await;
}

#[test]
fn files_that_cannot_be_used_are_told_with_path_and_reason() {
    let (pair, other) = (Pair::new(), Pair::new());
    for (tls, cert, key, expect) in [
        ("{cert: cert.pem}", Some(&pair.cert), None, "`server.tls`: `cert` and `key` are both needed"),
        ("{cert: CERT, key: KEY}", None, Some(&pair.key), "`server.tls.cert`: the file `CERT` cannot be read: No such file"),
        ("{cert: CERT, key: KEY}", Some(&pair.cert), None, "`server.tls.key`: the file `KEY` cannot be read: No such file"),
        ("{cert: CERT, key: KEY}", Some(&pair.key), Some(&pair.key), "`server.tls.cert`: the file `CERT` holds no certificate"),
        (
            "{cert: CERT, key: KEY}",
            Some(&pair.cert),
            Some(&other.key),
            "`server.tls.key`: the file `KEY` is not the key of the certificate in `CERT`",
        ),
    ] {
        let folder = tempfile::tempdir().unwrap();
        let paths = ["cert.pem", "key.pem"].map(|n| folder.path().join(n));
        for (path, text) in paths.iter().zip([cert, key]) {
            if let Some(text) = text {
                std::fs::write(path, text).unwrap();
            }
        }
        let filled = |text: &str| text.replace("CERT", &paths[0].display().to_string()).replace("KEY", &paths[1].display().to_string());
        let file = ConfigFile::new(&setup::config("  echo: {type: echo}\n", &format!("server: {{tls: {}}}\n", filled(tls))));
        for finished in [file.check(&[]), file.serve(&[])] {
            assert_eq!(finished.code, 2, "{tls}: {finished:?}");
            assert!(finished.stderr.contains(&filled(expect)) && finished.stderr.contains("gateway.yaml:7"), "{}", finished.stderr);
            assert!(!finished.stderr.contains("BEGIN PRIVATE KEY-----\n"));
        }
    }
}
