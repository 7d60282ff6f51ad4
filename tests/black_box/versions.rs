//! The fixture `swaps` and what is made of it do what the tests of swaps take for granted, in a gateway that begins with them.

use std::collections::BTreeSet;

use wasmgate_tests::answers::TEXT;
use wasmgate_tests::client::Event;
use wasmgate_tests::versions::unmarked;
use wasmgate_tests::{Client, Dialect, Gateway, Version, component};

use crate::{extensions, setup};

async fn begun_with(format: Dialect, version: &Version, more: &str) -> (wasmgate_tests::Upstream, Gateway, Client) {
    let upstream = setup::friendly(format).await;
    let folder = tempfile::tempdir().expect("a temporary folder");
    let entry = extensions::entry("swaps", &component::write(folder.path(), "swaps", version.bytes()), more);
    let gateway = Gateway::start(&setup::config(&setup::provider(format, &upstream), &entry)).await;
    let client = Client::new(&gateway);
    (upstream, gateway, client)
}

#[tokio::test]
async fn a_version_leaves_its_mark_on_every_path() {
    for (dialect, format) in Dialect::PAIRS {
        for (version, number, mark) in [
            (Version::of_fixture("swaps"), "0.1.0", "one"),
            (Version::swaps("0.2.0", "two", "plain"), "0.2.0", "two"),
            (Version::swaps("0.2.0", "two", "plain").numbered("0.3.0"), "0.3.0", "two"),
        ] {
            let (_upstream, _gateway, client) = begun_with(format, &version, "").await;
            assert_eq!(client.extension("swaps").await["version"], number);
            let expect = (BTreeSet::from([mark.to_owned()]), TEXT.to_owned());
            let unary = client.post(dialect.path(), &dialect.request("m", "x")).await;
            assert_eq!((unary.status, unary.header("x-swaps")), (200, mark), "{dialect:?} on {format:?}");
            assert_eq!(unmarked(&dialect.text(&unary.json())), expect, "{dialect:?} on {format:?}");
            let stream = client.post(dialect.path(), &dialect.stream_request("m", "x")).await;
            assert_eq!((stream.status, stream.header("x-swaps")), (200, mark), "{dialect:?} on {format:?}");
            let text = dialect.streamed_text(&Event::all(&stream.text()));
            assert_eq!(unmarked(&text), expect, "{dialect:?} on {format:?}");
            assert!(text.matches(&format!("[{mark}]")).count() > 1, "each piece has a mark: {text}");
        }
    }
}

#[tokio::test]
async fn a_version_traps_when_its_calls_are_used_up_in_whatever_instance() {
    let version = Version::swaps("0.2.0", "two", "trap-after-N");
    let (_upstream, _gateway, client) = begun_with(Dialect::OpenAi, &version, "isolation: per-request").await;
    for call in 1..=102 {
        let answer = client.post(Dialect::OpenAi.path(), &Dialect::OpenAi.request("m", "x")).await;
        assert_eq!(answer.status, if call <= 100 { 200 } else { 500 }, "call {call}: {}", answer.text());
    }
}

#[tokio::test]
async fn a_version_can_decide_otherwise() {
    let (upstream, _gateway, client) = begun_with(Dialect::OpenAi, &Version::swaps("0.2.0", "two", "diverge"), "").await;
    for dialect in Dialect::ALL {
        let answer = client.post(dialect.path(), &dialect.request("m", "x")).await;
        assert_eq!(answer.status, 403, "{}", answer.text());
    }
    assert!(upstream.received().is_empty());
}

#[test]
fn a_version_that_misbehaves_while_it_is_loaded_is_refused() {
    for (behaviour, words) in [
        ("trap-configure", &["`swaps`", "the fixture traps in configure"][..]),
        ("refuse-config", &["`swaps`", "the fixture does not like its configuration"]),
        ("loop-configure", &["`swaps`", "cpu_ms"]),
        ("fail-self-test", &["`swaps`", "the fixture is not well"]),
    ] {
        let version = Version::swaps("0.2.0", "two", behaviour);
        extensions::refused(|folder| extensions::entry("swaps", &component::write(folder, "swaps", version.bytes()), ""), words);
    }
}

#[test]
fn a_version_of_a_version_does_not_grow() {
    let once = Version::swaps("0.2.0", "two", "plain");
    let again = once.clone().numbered("0.3.0").asking(&["kv", "log"]).numbered("0.2.0");
    assert_eq!(once.bytes(), again.bytes());
    assert_eq!(component::manifest(again.bytes())["version"], "0.2.0");
}
