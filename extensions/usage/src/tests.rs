//! Rows and pages against a host that is not there.

use serde_json::json;
use wasmgate_sdk::hub::Usage as Tokens;

use super::*;

fn usage(config: Value) -> Result<Usage, String> {
    Usage::configure(serde_json::from_value(config).map_err(|e| e.to_string())?)
}

fn outcome(ending: Ending, tokens: Option<(u64, u64)>, model: &str) -> Outcome {
    let target = Target { provider: "up".into(), model: model.into() };
    Outcome {
        ending,
        status: 200,
        error: None,
        served_by: Some(target.clone()),
        usage: tokens.map(|(input_tokens, output_tokens)| Tokens {
            input_tokens,
            cache_read_tokens: None,
            cache_write_tokens: None,
            output_tokens,
            reasoning_tokens: None,
            raw: None,
        }),
        attempts: vec![wasmgate_sdk::Attempt { target, error: None, duration_us: 1 }],
        started_ms: 1_767_182_400_000,
        duration_us: 1500,
        first_byte_us: Some(500),
    }
}

fn page(path: &str, query: &str, header: (&str, &str)) -> (u16, Value) {
    let headers = vec![(header.0.to_owned(), header.1.as_bytes().to_vec())];
    let reply = pages::answer(&HttpRequest { path: path.into(), query: Some(query.into()), headers, ..HttpRequest::default() });
    let text = String::from_utf8(reply.body).unwrap();
    (reply.status, serde_json::from_str(&text).unwrap_or(Value::String(text)))
}

const OPERATOR: (&str, &str) = ("x-wasmgate-operator", "true");

/// The row of one request.
fn row(ending: Ending, tokens: Option<(u64, u64)>, model: &str) -> Value {
    FakeHost::default().install();
    let mut request = FakeRequest::new("fast");
    request.notes.insert("apikeys.name".into(), "\"ci\"".into());
    usage(json!({})).unwrap().on_complete(&request.call(), &request.handle(), &outcome(ending, tokens, model));
    page("/usage", "", OPERATOR).1["data"]["rows"][0].clone()
}

#[test]
fn a_row_tells_who_what_how_and_how_much() {
    let row = row(Ending::Success, Some((1000, 100)), "gpt-4o-mini");
    for (column, expect) in [
        ("timestamp", json!("2025-12-31T12:00:00.000Z")),
        ("api_key_name", json!("ci")),
        ("requested_model", json!("fast")),
        ("model", json!("gpt-4o-mini")),
        ("provider", json!("up")),
        ("endpoint", json!("/v1/chat/completions")),
        ("status", json!("success")),
        ("total_tokens", json!(1100)),
        ("estimated", json!(false)),
        ("latency_ms", json!(1.5)),
        ("ttft_ms", json!(0.5)),
        ("error_code", Value::Null),
    ] {
        assert_eq!(row[column], expect, "{column} in {row}");
    }
    let cost = row["cost_usd"].as_f64().unwrap();
    assert!((cost - (1000.0 * 0.15 + 100.0 * 0.6) / 1e6).abs() < 1e-12, "{cost}");
    assert!(row.get("unpriced").is_none(), "what is only for adding up is not shown");
}

#[test]
fn what_is_not_known_is_null_and_what_is_not_told_is_marked() {
    let unpriced = row(Ending::Success, Some((1000, 100)), "smol");
    assert_eq!((&unpriced["cost_usd"], &unpriced["price_version"]), (&Value::Null, &Value::Null));
    let untold = row(Ending::Success, None, "gpt-4o-mini");
    assert_eq!((&untold["estimated"], &untold["output_tokens"]), (&json!(true), &Value::Null), "{untold}");
    assert!(untold["input_tokens"].as_u64().unwrap() > 0);
    let left = row(Ending::Cancelled, Some((10, 1)), "gpt-4o-mini");
    assert_eq!((&left["status"], &left["estimated"]), (&json!("disconnected"), &json!(true)));
}

#[test]
fn each_racer_is_paid_for_at_its_own_price_and_an_estimate_is_marked() {
    let tried = |model: &str, (input_tokens, output_tokens): (u64, u64), told: bool| wasmgate_sdk::Tried {
        target: Target { provider: "up".into(), model: model.into() },
        via: vec!["race".into()],
        number: 0,
        part: wasmgate_sdk::Part::Lost,
        error: None,
        usage: Some(Tokens {
            input_tokens,
            cache_read_tokens: None,
            cache_write_tokens: None,
            output_tokens,
            reasoning_tokens: None,
            raw: told.then(|| "{}".into()),
        }),
        started_us: 1,
        first_event_us: None,
        duration_us: 1,
    };
    let row = |tries: &[wasmgate_sdk::Tried]| {
        FakeHost::default().install();
        let ledger = usage(json!({"prices": {"dear": {"input": 10, "output": 20}, "cheap": {"input": 1, "output": 2}}})).unwrap();
        let request = FakeRequest::new("race");
        let (call, handle) = (request.call(), request.handle());
        ledger.on_attempts(&call, &handle, tries);
        let mut over = outcome(Ending::Success, Some((2000, 150)), "cheap");
        over.attempts = vec![over.attempts[0].clone(); tries.len()];
        ledger.on_complete(&call, &handle, &over);
        page("/usage", "", OPERATOR).1["data"]["rows"][0].clone()
    };
    let both = row(&[tried("dear", (1000, 50), true), tried("cheap", (1000, 100), true)]);
    assert!((both["cost_usd"].as_f64().unwrap() - (1000.0 * 11.0 + 50.0 * 20.0 + 100.0 * 2.0) / 1e6).abs() < 1e-12, "{both}");
    assert_eq!((&both["total_tokens"], &both["estimated"]), (&json!(2150), &json!(false)));
    let guessed = row(&[tried("dear", (1000, 0), false), tried("cheap", (1000, 100), true)]);
    assert!(guessed["cost_usd"].is_number() && guessed["estimated"] == true, "{guessed}");
    let unpriced = row(&[tried("smol", (1000, 50), true), tried("cheap", (1000, 100), true)]);
    assert_eq!(unpriced["cost_usd"], Value::Null, "a part of the cost would look like all of it: {unpriced}");
}

#[test]
fn a_caller_sees_their_own_rows_and_strangers_none() {
    row(Ending::Success, Some((1, 1)), "m");
    let count = |header| page("/usage", "", header).1["data"]["rows"].as_array().map(Vec::len);
    assert_eq!(count(OPERATOR), Some(1));
    assert_eq!(count(("x-wasmgate-caller", r#"{"name":"ci"}"#)), Some(1));
    assert_eq!(count(("x-wasmgate-caller", r#"{"name":"other"}"#)), Some(0));
    assert_eq!(page("/usage", "key=ci", ("x-wasmgate-caller", r#"{"name":"other"}"#)).1["data"]["rows"], json!([]));
    for stranger in [("x-other", "true"), ("x-wasmgate-operator", "false"), ("x-wasmgate-caller", "{}")] {
        assert_eq!(page("/usage", "", stranger).0, 403, "{stranger:?}");
        assert_eq!(page("/usage/summary", "", stranger).0, 403, "{stranger:?}");
    }
}

#[test]
fn rows_are_added_up_and_written_as_csv() {
    FakeHost::default().install();
    let ledger = usage(json!({"prices": {"free": {"input": 0, "output": 0}}})).unwrap();
    for (key, model, ending) in [
        ("a", "gpt-4o-mini", Ending::Success),
        ("a", "smol", Ending::Error),
        ("=b,\"c", "smol", Ending::Success),
        ("a", "free", Ending::Success),
    ] {
        let mut request = FakeRequest::new(model);
        request.notes.insert("apikeys.name".into(), serde_json::to_string(key).unwrap());
        ledger.on_complete(&request.call(), &request.handle(), &outcome(ending, Some((10, 5)), model));
    }
    let (_, said) = page("/usage/summary", "by=model", OPERATOR);
    let of = |model: &str| said["data"]["groups"].as_array().unwrap().iter().find(|g| g["model"] == model).unwrap().clone();
    assert_eq!((&of("smol")["requests"], &of("smol")["failures"], &of("smol")["total_tokens"]), (&json!(2), &json!(1), &json!(30)));
    assert_eq!((&of("smol")["cost_usd"], &of("smol")["requests_without_price"]), (&Value::Null, &json!(2)));
    assert_eq!(of("free")["cost_usd"], json!(0.0));
    let (_, text) = page("/usage", "format=csv&key=%3Db%2C%22c", OPERATOR);
    let lines: Vec<&str> = text.as_str().unwrap().lines().collect();
    assert!(lines[0].starts_with("timestamp,request_id,api_key_name,") && lines.len() == 2, "{lines:?}");
    assert!(lines[1].contains("\"'=b,\"\"c\""), "{}", lines[1]);
    let (_, text) = page("/usage/summary", "format=csv&by=key,day", OPERATOR);
    assert!(text.as_str().unwrap().starts_with("key,day,requests,"), "{text}");
}

#[test]
fn what_is_switched_off_writes_nothing() {
    FakeHost::default().install();
    let off = usage(json!({"enabled": false})).unwrap();
    assert!(off.routes().is_empty());
    let mut request = FakeRequest::new("m");
    off.on_complete(&request.call(), &request.handle(), &outcome(Ending::Success, None, "m"));
    request.notes.insert(TRACK.into(), "false".into());
    usage(json!({})).unwrap().on_complete(&request.call(), &request.handle(), &outcome(Ending::Success, None, "m"));
    assert!(FakeHost::current().records.is_empty());
    assert!(usage(json!({"storage": "paper"})).err().unwrap().contains("`usage.storage` is `paper`; there is redb, sqlite"));
    assert!(usage(json!({"enabled": true, "storage": "sqlite", "path": "./cortex_usage.db"})).is_ok());
}
