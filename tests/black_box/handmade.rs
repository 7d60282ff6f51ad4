//! Components that no toolchain makes: written by hand to do what a compiler would not.

use std::path::Path;

use wasmgate_tests::{Client, Dialect, Gateway, component};

use crate::setup;

/// A gateway with a handmade component at `/handmade`, and what came of a request to it.
async fn ask(body: &str, memory: &str, limits: &str) -> (Gateway, Client, u16) {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let file = component::write(folder.path(), "handmade", &component::http_handler(body, memory));
    let upstream = setup::friendly(Dialect::OpenAi).await;
    let gateway = Gateway::start(&setup::config(&setup::provider(Dialect::OpenAi, &upstream), &entry(&file, limits))).await;
    let client = Client::new(&gateway);
    let status = client.get("/handmade").await.status;
    for dialect in Dialect::ALL {
        setup::assert_serves(&client, dialect).await;
    }
    (gateway, client, status)
}

fn entry(file: &Path, limits: &str) -> String {
    format!("  handmade: {{component: \"{}\", routes: [\"GET /handmade\"], limits: {{{limits}}}}}\n", file.display())
}

#[tokio::test]
async fn a_table_that_grows_without_end_stops_at_its_limit() {
    let bomb = "(loop $again (drop (table.grow $t (ref.null func) (i32.const 1000))) (br $again))";
    for (limits, limit) in [("", "20000"), ("table_elements: 5000", "5000")] {
        let (gateway, client, status) = ask(bomb, "", limits).await;
        assert_eq!(status, 500, "at most {limit} elements");
        gateway.log_line("the limit", |l| l["extension"] == "handmade" && l["limit"] == "table_elements").await;
        assert_eq!(client.extension("handmade").await["stats"]["limits"]["table_elements"], 1);
    }
}

#[tokio::test]
async fn strings_in_utf16_are_read_right_and_checked() {
    // "Grüße 🌊" at 0, and half of a surrogate pair at 64.
    let memory = r#"(data (i32.const 0) "G\00r\00\fc\00\df\00e\00 \00\3c\d8\0a\df") (data (i32.const 64) "\3c\d8")"#;
    let (gateway, _client, _) = ask("(call $log (i32.const 2) (i32.const 0) (i32.const 1) (i32.const 0) (i32.const 8))", memory, "").await;
    gateway.log_line("the text", |l| l["message"] == "Grüße 🌊" && l["context"] == "G").await;
    for wrong in [
        // Half a pair, outside of the memory, longer than the address space, at an odd address.
        "(i32.const 64) (i32.const 1)",
        "(i32.const 65536) (i32.const 8)",
        "(i32.const 0) (i32.const -1)",
        "(i32.const 1) (i32.const 2)",
    ] {
        let body = format!("(call $log (i32.const 2) (i32.const 0) (i32.const 1) {wrong})");
        let (gateway, _client, status) = ask(&body, memory, "").await;
        assert_eq!(status, 500, "{wrong}");
        gateway.log_line(wrong, |l| l["extension"] == "handmade" && l["message"] == "extension trapped").await;
    }
}

#[tokio::test]
async fn a_handle_that_is_not_the_guests_leads_nowhere() {
    for (what, body) in [
        ("one that was never given", "(call $drop (i32.const 99))"),
        ("no handle at all", "(call $drop (i32.const -1))"),
        ("one that was given back", "(call $drop (local.get 0)) (call $drop (local.get 0))"),
        ("one of another kind", "(call $drop (local.get 1))"),
    ] {
        let (gateway, client, status) = ask(body, "", "").await;
        assert_eq!(status, 500, "{what}");
        gateway.log_line(what, |l| l["extension"] == "handmade" && l["message"] == "extension trapped").await;
        assert_eq!(client.extension("handmade").await["stats"]["traps"], 1, "{what}");
    }
}

#[tokio::test]
async fn a_handler_that_ends_without_an_answer_is_told_apart_from_one_that_traps() {
    let (gateway, client, status) = ask("(call $drop (local.get 0))", "", "").await;
    assert_eq!(status, 500);
    gateway.log_line("no answer", |l| l["extension"] == "handmade" && l["message"] == "the extension ended without an answer").await;
    assert_eq!(client.extension("handmade").await["stats"]["traps"], 0);
}
