//! Rows and pages against a host that is not there.

use serde_json::json;
use wasmgate_sdk::Part;
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
            raw: Some("{}".into()),
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

/// A try of a model, told as `(input, output)`.
fn tried(number: u32, model: &str, part: Part, began: bool, told: Option<(u64, u64)>) -> Tried {
    let outcome = outcome(Ending::Success, told, model);
    Tried {
        target: Target { provider: "up".into(), model: model.into() },
        via: vec!["v".into()],
        number,
        part,
        error: None,
        usage: outcome.usage,
        started_us: 0,
        first_event_us: began.then_some(1),
        duration_us: 2,
    }
}

/// The row of a request with these tries, of which a model answered if one is named.
fn row_of(ending: Ending, served: Option<&str>, tries: &[Tried]) -> Value {
    FakeHost::default().install();
    let prices = json!({"dear": {"input": 1000, "output": 1000}, "cheap": {"input": 1, "output": 1}});
    let ledger = usage(json!({"prices": prices})).unwrap();
    let mut request = FakeRequest::new("race");
    ledger.on_attempts(&request.call(), &request.handle(), tries);
    request.notes.extend(FakeHost::current().notes);
    let whole = tries.iter().filter_map(|t| t.usage.as_ref()).fold((0, 0), |(i, o), u| (i + u.input_tokens, o + u.output_tokens));
    let served_by = served.map(|model| Target { provider: "up".into(), model: model.into() });
    let attempts = tries.iter().map(|t| wasmgate_sdk::Attempt { target: t.target.clone(), error: None, duration_us: 1 }).collect();
    let outcome = Outcome { served_by, attempts, ..outcome(ending, Some(whole), "unused") };
    ledger.on_complete(&request.call(), &request.handle(), &outcome);
    page("/usage", "", OPERATOR).1["data"]["rows"][0].clone()
}

/// Tokens and cost of the answer, then of the others, and how many told nothing.
fn books(row: &Value) -> Value {
    let columns =
        ["input_tokens", "output_tokens", "cost_usd", "other_input_tokens", "other_output_tokens", "other_cost_usd", "other_untold"];
    columns.map(|c| row[c].clone()).to_vec().into()
}

#[test]
fn what_other_tries_took_stands_beside_the_answer_and_is_never_added_to_it() {
    let served = tried(1, "cheap", Part::Served, true, Some((1000, 1000)));
    let lost = tried(0, "dear", Part::Lost, true, Some((500, 1)));
    let cancelled = tried(2, "dear", Part::Lost, false, None);
    let refused = tried(3, "dear", Part::Failed, false, None);
    let row = row_of(Ending::Success, Some("cheap"), &[lost.clone(), served.clone(), cancelled.clone(), refused]);
    assert_eq!(books(&row), json!([1000, 1000, 0.002, 500, 1, 0.501, 1]), "{row}");
    assert_eq!((&row["attempts"], &row["total_tokens"], &row["estimated"]), (&json!(4), &json!(2000), &json!(false)));
    let (_, summary) = page("/usage/summary", "by=status", OPERATOR);
    let group = &summary["data"]["groups"][0];
    assert_eq!(books(group), json!([1000, 1000, 0.002, 500, 1, 0.501, 1]), "{group}");
    // Of two answers of one target the later one was sent. Without a price there is no cost, which is not 0.
    let first = tried(0, "cheap", Part::Served, true, Some((7, 7)));
    let unpriced = tried(2, "unheard-of", Part::Lost, true, Some((1, 1)));
    let row = row_of(Ending::Success, Some("cheap"), &[first, served.clone(), unpriced]);
    assert_eq!(books(&row), json!([1000, 1000, 0.002, 8, 8, null, 0]), "{row}");
    // The caller left in the middle of the answer, a loser had told its tokens: they are not taken for the answer's.
    let left = tried(1, "cheap", Part::Cancelled, true, None);
    let row = row_of(Ending::Cancelled, Some("cheap"), &[lost.clone(), left, cancelled]);
    assert_eq!((&row["status"], &row["estimated"], &row["output_tokens"]), (&json!("disconnected"), &json!(true), &Value::Null));
    assert_eq!((&row["other_input_tokens"], &row["other_untold"]), (&json!(500), &json!(1)), "{row}");
    // What a provider did not tell, the gateway estimates; the row says of how many.
    let estimated = |mut tried: Tried| {
        tried.usage.as_mut().unwrap().raw = None;
        tried
    };
    let guessed = estimated(tried(0, "dear", Part::Lost, true, Some((400, 0))));
    let row = row_of(Ending::Success, Some("cheap"), &[guessed, served.clone()]);
    assert_eq!(books(&row), json!([1000, 1000, 0.002, 400, 0, 0.4, 0]), "{row}");
    assert_eq!((&row["other_estimated"], &row["estimated"]), (&json!(1), &json!(false)), "{row}");
    let untold = estimated(tried(1, "cheap", Part::Served, true, Some((9, 0))));
    let row = row_of(Ending::Success, Some("cheap"), &[lost, untold]);
    assert_eq!((&row["estimated"], &row["output_tokens"], &row["other_estimated"]), (&json!(true), &Value::Null, &json!(0)), "{row}");
    // Nobody answered: the last one is in the row, with its target.
    let broken = tried(0, "dear", Part::Failed, true, Some((500, 0)));
    let row = row_of(Ending::Error, None, &[broken, tried(1, "cheap", Part::Failed, true, Some((4, 2)))]);
    assert_eq!(books(&row), json!([4, 2, 6e-6, 500, 0, 0.5, 0]), "{row}");
    // One try is all there is.
    assert_eq!(books(&row_of(Ending::Success, Some("cheap"), &[served])), json!([1000, 1000, 0.002, null, null, null, null]));
}
