//! A hostile extension, the fixture `attacks`: whatever it tries, its caller gets an error in its own dialect or the attack comes to
//! nothing, the log names what caught it, and everybody else is served meanwhile.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use serde_json::Value;
use wasmgate_tests::answers::TEXT;
use wasmgate_tests::{Client, Dialect, Gateway, Upstream, client};

use crate::{extensions, setup};

/// What an attack comes to.
enum Comes {
    /// The call is ended at this limit.
    Limit(&'static str),
    /// The guest traps.
    Trap,
    /// Nothing: the guest is told so, in a text that contains this.
    Nothing(&'static str),
}
use Comes::{Limit, Nothing, Trap};

const ATTACKS: [(&str, Comes); 27] = [
    ("endless-loop", Limit("cpu_ms")),
    ("loop-of-host-calls", Limit("cpu_ms")),
    ("recursion", Trap),
    ("memory-bomb", Limit("memory_mb")),
    ("a-million-handles", Nothing("refused after 2")),
    ("giant-list-to-the-host", Limit("host_call_bytes")),
    ("huge-random-request", Trap),
    ("giant-answer", Limit("host_call_bytes")),
    ("log-flood", Nothing("done")),
    ("other-namespace", Nothing("found 0")),
    ("long-key", Nothing("at most 1024 are allowed")),
    ("full-namespace", Nothing("at most 67108864 are allowed")),
    ("panic", Trap),
    ("panic-after", Trap),
    ("panic-in-open", Trap),
    ("panic-in-filter", Trap),
    ("handle-in-filter", Trap),
    ("leak-handle", Trap),
    ("drop-handle-twice", Trap),
    ("get-many", Nothing("longer than 4194304 bytes together")),
    ("rows-without-end", Nothing("some of the rows are kept")),
    ("long-row", Nothing("at most 65536 are allowed")),
    ("tables-without-end", Nothing("64 tables already")),
    ("series-without-end", Nothing("1000")),
    ("headers-without-end", Limit("host_call_bytes")),
    ("leave-a-pattern", Trap),
    ("look-for-the-pattern", Nothing("found 0")),
];

/// The hostile extension beside an honest one.
async fn gateway(upstream: &Upstream) -> (Gateway, Client) {
    let hostile = extensions::fixture("attacks", "limits: {cpu_ms: 400}");
    let honest = extensions::fixture("probe", "");
    let gateway = Gateway::start(&setup::config(&setup::provider(Dialect::OpenAi, upstream), &format!("{hostile}{honest}"))).await;
    let client = Client::new(&gateway);
    (gateway, client)
}

/// Makes the attack, and looks what became of it.
async fn attack(gateway: &Gateway, client: &Client, dialect: Dialect, kind: &str, comes: &Comes) {
    let answer = client.post(dialect.path(), &dialect.request(kind, "x")).await;
    match comes {
        Nothing(text) => {
            assert_eq!(answer.status, 200, "{kind}: {}", answer.text());
            assert!(answer.header("x-attack").contains(text), "{kind}: {}", answer.header("x-attack"));
        }
        Limit(limit) => {
            assert_eq!(answer.status, 500, "{kind}: {}", answer.text());
            gateway.log_line(kind, |l| l["extension"] == "attacks" && l["limit"] == *limit).await;
        }
        Trap => {
            assert_eq!(answer.status, 500, "{kind}: {}", answer.text());
            gateway.log_line(kind, |l| l["extension"] == "attacks" && l["message"] == "extension trapped").await;
        }
    }
    if answer.status == 500 {
        let message = answer.json()["error"]["message"].as_str().unwrap_or_default().to_owned();
        assert!(message.contains("An extension of the gateway failed"), "{kind}: in the caller's dialect and without internals: {message}");
    }
}

#[tokio::test]
async fn every_attack_comes_to_nothing_while_others_are_served() {
    let upstream = setup::friendly(Dialect::OpenAi).await;
    let (gateway, client) = gateway(&upstream).await;
    // Others are served all the time.
    let over = Arc::new(AtomicBool::new(false));
    let others: Vec<_> = [Dialect::OpenAi, Dialect::Anthropic]
        .into_iter()
        .map(|dialect| {
            let (client, over) = (client.clone(), Arc::clone(&over));
            tokio::spawn(async move {
                let mut served = 0;
                while !over.load(Ordering::Relaxed) {
                    setup::assert_serves(&client, dialect).await;
                    served += 1;
                }
                served
            })
        })
        .collect();
    for (kind, comes) in &ATTACKS {
        for dialect in [Dialect::OpenAi, Dialect::Anthropic] {
            attack(&gateway, &client, dialect, kind, comes).await;
        }
    }
    over.store(true, Ordering::Relaxed);
    for other in others {
        assert!(other.await.expect("others are served without a fault") > 0);
    }
    assert_others_untouched(&client, "attacks").await;
}

/// No call of any other extension failed.
pub async fn assert_others_untouched(client: &Client, hostile: &str) {
    let all = client.get("/api/extensions").await.json();
    for extension in all["data"].as_array().expect("a list").iter().filter(|e| e["name"] != hostile) {
        let hooks = extension["stats"]["hooks"].as_object().expect("hooks by name");
        assert!(hooks.values().all(|h| h["failures"] == 0), "{extension}");
    }
}

/// Both dialects are served, and no call of any other extension failed.
pub async fn assert_unharmed(client: &Client, hostile: &str) {
    for dialect in Dialect::ALL {
        setup::assert_serves(client, dialect).await;
    }
    assert_others_untouched(client, hostile).await;
}

#[tokio::test]
async fn a_panic_after_the_answer_costs_nobody_anything() {
    let upstream = setup::friendly(Dialect::OpenAi).await;
    let (gateway, client) = gateway(&upstream).await;
    for kind in ["panic-complete", "panic-in-destructor"] {
        let request = Dialect::OpenAi.request(kind, "x");
        let answer = client.post(Dialect::OpenAi.path(), &request).await;
        gateway.log_line(kind, |l| l["extension"] == "attacks" && l["message"] == "extension trapped").await;
        // What was complete is not taken back; a filter that fails on the last batch fails the answer.
        assert_eq!(answer.status, if kind == "panic-complete" { 200 } else { 500 }, "{kind}: {}", answer.text());
        setup::assert_serves(&client, Dialect::Anthropic).await;
    }
}

#[tokio::test]
async fn a_flood_of_log_lines_is_cut_with_one_notice_a_second() {
    let upstream = setup::friendly(Dialect::OpenAi).await;
    let (gateway, client) = gateway(&upstream).await;
    let answer = client.post(Dialect::OpenAi.path(), &Dialect::OpenAi.request("log-flood", "x")).await;
    assert_eq!(answer.header("x-attack"), "done");
    gateway.log_line("the notice", |l| l["limit"] == "log_lines_per_second" && l["extension"] == "attacks").await;
    let flooded = |l: &Value| l["message"].as_str().is_some_and(|m| m.starts_with("flood "));
    let lines = gateway.log_lines(flooded).len();
    // A second may begin anew in the middle of it.
    assert!((100..=300).contains(&lines), "{lines} of 2000 lines");
}

#[tokio::test]
async fn what_an_http_route_answers_cannot_break_the_framing() {
    let upstream = setup::friendly(Dialect::OpenAi).await;
    let (gateway, client) = gateway(&upstream).await;
    let smuggled = client::raw(&gateway, b"GET /attacks/smuggling HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").await;
    let head = smuggled.split("\r\n\r\n").next().expect("a head").to_ascii_lowercase();
    assert!(head.starts_with("http/1.1 200"), "{smuggled}");
    assert!(head.contains("x-fine: yes"), "{smuggled}");
    for forbidden in ["x-smuggled", "x split", "upgrade"] {
        assert!(!head.contains(forbidden), "{forbidden}: {smuggled}");
    }
    assert!(head.matches("content-length").count() + head.matches("transfer-encoding").count() <= 1, "{smuggled}");
    for kind in ["many-headers", "endless-body", "odd-status", "panic"] {
        let answer = client.get(&format!("/attacks/{kind}")).await;
        assert!([200, 500].contains(&answer.status), "{kind}: {}", answer.status);
        setup::assert_serves(&client, Dialect::OpenAi).await;
    }
}

#[tokio::test]
async fn what_a_hook_adds_to_the_response_cannot_break_the_framing() {
    let upstream = setup::friendly(Dialect::OpenAi).await;
    let (gateway, client) = gateway(&upstream).await;
    for dialect in Dialect::ALL {
        for request in [dialect.request("smuggled-headers", "x"), dialect.stream_request("smuggled-headers", "x")] {
            let body = request.to_string();
            let head = format!("POST {} HTTP/1.1\r\nhost: x\r\ncontent-length: {}\r\n", dialect.path(), body.len());
            let twice = format!("{head}\r\n{body}{head}connection: close\r\n\r\n{body}");
            let said = client::raw(&gateway, twice.as_bytes()).await;
            assert_eq!(said.matches("HTTP/1.1 200 OK").count(), 2, "the second answer begins where the first one ends: {said}");
            let head = said.split("\r\n\r\n").next().expect("a head").to_ascii_lowercase();
            assert!(head.contains("x-fine: yes"), "{said}");
            for forbidden in ["x-smuggled", "x-split", "x split", "x-nul", "keep-alive", "proxy-", "trailer", "upgrade", "evil.example"] {
                assert!(!head.contains(forbidden), "{forbidden}: {said}");
            }
            assert_eq!(head.matches("\ncontent-length:").count() + head.matches("\ntransfer-encoding:").count(), 1, "{said}");
        }
    }
    gateway.log_line("what was left out", |l| l["message"].as_str().is_some_and(|m| m.contains("may not set"))).await;
    assert_unharmed(&client, "attacks").await;
}

#[tokio::test]
async fn header_fields_without_end_are_cut_with_one_line_in_the_log() {
    let upstream = setup::friendly(Dialect::OpenAi).await;
    let (gateway, client) = gateway(&upstream).await;
    // The longer the request, the more a hook may answer.
    let request = Dialect::Anthropic.request("headers-without-end", &"x".repeat(2 << 20));
    let answer = client.post(Dialect::Anthropic.path(), &request).await;
    assert_eq!((answer.status, Dialect::Anthropic.text(&answer.json()).as_str()), (200, TEXT));
    assert!((64..100).contains(&answer.headers.len()), "{} fields", answer.headers.len());
    let line = gateway.log_line("what was left out", |l| l["message"].as_str().is_some_and(|m| m.contains("may not set"))).await;
    assert!(line["count"].as_u64() > Some(39_900), "{line}");
    assert_eq!(gateway.log_lines(|l| l["message"] == line["message"]).len(), 1);
    assert_unharmed(&client, "attacks").await;
}

#[tokio::test]
async fn a_handle_that_was_kept_or_guessed_reaches_no_other_request() {
    let upstream = setup::friendly(Dialect::OpenAi).await;
    let (gateway, client) = gateway(&upstream).await;
    let ask = async |who: &'static str, model: &'static str, handle: u32| {
        let request = client.request(http::Method::POST, Dialect::OpenAi.path()).header("x-who", who).header("x-handle", handle);
        client.send(request.body(Dialect::OpenAi.request(model, "x").to_string())).await
    };
    // Whoever it is asked for: an error, or the request that the hook was given anyway.
    let assert_own = |answer: &wasmgate_tests::Answer, what: &str| match answer.status {
        200 => assert_eq!(answer.header("x-attack"), "second", "{what}"),
        status => assert_eq!((status, Dialect::OpenAi.error(&answer.json()).0.as_str()), (500, "server_error"), "{what}"),
    };
    assert_eq!(ask("first", "keep-handle", 0).await.header("x-attack"), "kept");
    assert_own(&ask("second", "use-kept-handle", 0).await, "the kept handle");
    for number in 0..24 {
        assert_own(&ask("second", "use-handle", number).await, &format!("handle {number}"));
    }
    assert_own(&ask("second", "use-handle", u32::MAX - 1).await, "the last handle");
    // Where there is no request at all, no number leads to one.
    assert_eq!(ask("first", "keep-handle", 0).await.header("x-attack"), "kept");
    let answer = client.get("/attacks/kept-handle").await;
    assert_eq!(answer.status, 500, "{}", answer.text());
    gateway.log_line("the trap", |l| l["extension"] == "attacks" && l["message"] == "extension trapped").await;
    assert_unharmed(&client, "attacks").await;
}

#[tokio::test]
async fn memory_is_given_back_after_the_attacks() {
    let upstream = setup::friendly(Dialect::OpenAi).await;
    let (gateway, client) = gateway(&upstream).await;
    let round = async || {
        for kind in ["memory-bomb", "panic", "giant-list-to-the-host", "leave-a-pattern", "a-million-handles"] {
            client.post(Dialect::OpenAi.path(), &Dialect::OpenAi.request(kind, "x")).await;
        }
        setup::assert_serves(&client, Dialect::OpenAi).await;
    };
    // The allocator and the pools reach their size first.
    for _ in 0..5 {
        round().await;
    }
    let before = gateway.resident_kib();
    for _ in 0..20 {
        round().await;
    }
    let after = gateway.resident_kib();
    println!("resident before {before} KiB, after 100 more attacks {after} KiB");
    assert!(after <= before + before / 10, "resident before {before} KiB, after {after} KiB");
}
