//! The hooks and the admin interface against a host that is not there.

use serde_json::json;
use wasmgate_sdk::prelude::FakeHost;

use super::*;

const DEV: &str = "sk-cortex-dev";
const PROD: &str = "sk-cortex-prod-with-many-characters";

fn configure(config: Value) -> Result<ApiKeys, String> {
    ApiKeys::configure(serde_json::from_value(config).map_err(|e| e.to_string())?)
}

fn two() -> ApiKeys {
    FakeHost::default().install();
    configure(json!({
        "api_keys": [
            {"key": DEV, "name": "development", "allowed_models": ["gpt-4o-mini", "claude-haiku-*"], "rate_limit_rpm": 60, "team": "lab"},
            {"key": PROD, "name": "production", "allowed_models": ["*"], "denied_models": ["o1-*"], "track_usage": false},
        ],
        "teams": {"lab": {"allowed_providers": ["openai"]}},
    }))
    .unwrap()
}

fn request(model: &str, key: &str) -> FakeRequest {
    let mut request = FakeRequest::new(model);
    request.headers.insert("authorization".into(), format!("Bearer {key}"));
    request
}

/// The edits, or the status and code of the refusal.
fn before(keys: &ApiKeys, request: &FakeRequest) -> Result<BTreeMap<String, String>, (u16, Option<String>)> {
    let mut host = FakeHost::current();
    host.notes.clear();
    host.install();
    match keys.before_generate(&request.call(), &request.handle()) {
        Decision::Edit(edits) => Ok(edits
            .into_iter()
            .chain(FakeHost::current().notes.into_iter().map(|(key, value)| Edit::Note(Note { key, value })))
            .map(|e| match e {
                Edit::Note(note) => (note.key, note.value),
                Edit::ResponseHeader(field) => (field.name, field.value),
                other => panic!("{other:?}"),
            })
            .collect()),
        Decision::Reject(error) => Err((error.http_status(), error.code)),
        other => panic!("{other:?}"),
    }
}

fn selected(keys: &ApiKeys, request: &FakeRequest, provider: &str, model: &str) -> String {
    let attempt = AttemptInfo { target: Target { provider: provider.into(), model: model.into() }, number: 0 };
    match keys.on_provider_selected(&request.call(), &request.handle(), &attempt) {
        Reaction::Keep => "keep".into(),
        Reaction::Fail(error) => error.code.unwrap_or_default(),
        other => format!("{other:?}"),
    }
}

#[test]
fn the_configuration_says_what_is_wrong_and_where() {
    for (config, expect) in [
        (json!({"api_keys": [{"name": "a"}]}), "`api_keys[0]`: it has neither `key` nor `key_hash`"),
        (json!({"api_keys": [{"name": "a", "key": ""}]}), "`api_keys[0]`: `key` has fewer than 8 characters"),
        (json!({"api_keys": [{"name": "a", "key": "12345678", "rate_limit": 1}]}), "`api_keys[0]`: there is no field `rate_limit`"),
        (
            json!({"api_keys": [{"name": "a", "key": "12345678"}, {"name": "a", "key": "123456789"}]}),
            "`api_keys[0]` and `api_keys[1]` have the same `name` `a`",
        ),
        (
            json!({"api_keys": [{"name": "a", "key": "12345678"}, {"name": "b", "key": "12345678"}]}),
            "`api_keys[1]`: `b` has the same key as `a`",
        ),
        (json!({"api_keys": [{"name": "a", "key": "12345678", "team": "t"}]}), "`team` is `t`, which `teams` does not have"),
        (json!({"teams": {"t": {"rpm": 1}}}), "`teams.t`: there is no field `rpm`"),
        (json!({"api_keys": ["x"]}), "write `{key: …, name: …}`"),
        (json!({"prices": {"m": {"input": -1, "output": 0}}}), "`prices.m.input`"),
    ] {
        let refused = configure(config.clone()).err().unwrap_or_default();
        assert!(refused.contains(expect), "{config}: {refused}");
        assert!(!refused.contains("12345678"), "a key is in: {refused}");
    }
}

#[test]
fn a_key_lets_in_and_its_name_is_noted() {
    let keys = two();
    let noted = before(&keys, &request("gpt-4o-mini", DEV)).unwrap();
    assert_eq!((noted[NAME].as_str(), noted[TEAM].as_str()), ("\"development\"", "\"lab\""));
    assert_eq!((noted["x-ratelimit-limit-requests"].as_str(), noted["x-ratelimit-remaining-requests"].as_str()), ("60", "59"));
    let noted = before(&keys, &request("gpt-4o", PROD)).unwrap();
    assert_eq!(noted.get(TRACK).map(String::as_str), Some("false"));
    assert!(!noted.contains_key(HOLD), "nothing was reserved");
    let mut google = FakeRequest::new("m");
    (google.query, google.chat.format) = (Some(format!("key={PROD}")), "gemini-generate".into());
    assert!(before(&keys, &google).is_ok());
    google.chat.format = "openai-chat".into();
    assert_eq!(before(&keys, &google), Err((401, None)), "a key does not belong into other clients' queries");
}

#[test]
fn who_has_no_key_or_a_wrong_one_stays_out_and_guessing_is_slowed_down() {
    let keys = two();
    assert_eq!(before(&keys, &FakeRequest::new("m")), Err((401, None)));
    for n in 0..60 {
        assert_eq!(before(&keys, &request("m", &format!("guess-{n}"))), Err((401, Some("invalid_api_key".into()))));
    }
    let slow = Err((429, Some("too_many_attempts".into())));
    assert_eq!(before(&keys, &request("m", "guess")), slow);
    // A short key might be the next guess; a long one cannot be guessed.
    assert_eq!(before(&keys, &request("gpt-4o-mini", DEV)), slow);
    assert!(before(&keys, &request("gpt-4o", PROD)).is_ok());
}

#[test]
fn each_target_is_checked_whatever_led_there() {
    let keys = two();
    assert_eq!(before(&keys, &request("o1-mini", PROD)), Err((403, Some("model_not_allowed".into()))));
    let mut alias = request("fast", PROD);
    alias.notes.insert(ALIAS.into(), "true".into());
    for (request, provider, model, expect) in [
        (&alias, "openai", "gpt-4o", "keep"),
        (&alias, "openai", "o1-mini", "model_not_allowed"),
        (&request("gpt-4o", PROD), "other", "o1-preview", "model_not_allowed"),
        (&request("gpt-4o-mini", DEV), "openai", "gpt-4o-mini", "keep"),
        (&request("gpt-4o-mini", DEV), "openai", "gpt-4o", "model_not_allowed"),
        // What the team may not, its keys may not.
        (&request("claude-haiku-4", DEV), "anthropic", "claude-haiku-4", "provider_not_allowed"),
        (&request("x", "nobody's key"), "openai", "x", "invalid_api_key"),
    ] {
        assert_eq!(selected(&keys, request, provider, model), expect, "{} {provider}/{model}", request.chat.model);
    }
}

#[test]
fn a_money_budget_needs_a_price() {
    FakeHost::default().install();
    let keys = configure(json!({
        "api_keys": [{"key": PROD, "name": "p", "daily_budget_usd": 1}],
        "prices": {"local/*": {"input": 0, "output": 0}},
    }))
    .unwrap();
    assert_eq!(selected(&keys, &request("smol", PROD), "local", "smol"), "keep");
    assert_eq!(selected(&keys, &request("smol", PROD), "cloud", "smol"), "price_unknown");
    assert_eq!(selected(&keys, &request("gpt-4o", PROD), "cloud", "gpt-4o"), "keep");
}

fn ask(keys: &ApiKeys, method: &str, path: &str, body: Value) -> (u16, Value) {
    let body = if body.is_null() { Vec::new() } else { body.to_string().into_bytes() };
    let reply = keys.handle(HttpRequest { method: method.into(), path: path.into(), body, ..HttpRequest::default() });
    (reply.status, serde_json::from_slice(&reply.body).unwrap_or_default())
}

#[test]
fn a_key_is_made_used_changed_rotated_expired_and_revoked() {
    let keys = two();
    let (status, made) = ask(&keys, "POST", "/api/keys", json!({"name": "ci", "rate_limit_rpm": 5, "metadata": {"who": "build"}}));
    assert_eq!(status, 201, "{made}");
    let (id, secret) = (made["data"]["id"].as_str().unwrap().to_owned(), made["data"]["key"].as_str().unwrap().to_owned());
    let path = format!("/api/keys/{id}");
    let noted = before(&keys, &request("m", &secret)).unwrap();
    assert_eq!((noted[NAME].as_str(), noted["x-ratelimit-limit-requests"].as_str()), ("\"ci\"", "5"));

    // It is shown once, and kept nowhere.
    let (_, listed) = ask(&keys, "GET", "/api/keys", Value::Null);
    assert_eq!(listed["data"]["keys"].as_array().unwrap().len(), 3, "{listed}");
    assert!(!listed.to_string().contains(&secret) && !listed.to_string().contains(DEV), "{listed}");
    assert!(FakeHost::current().kv.iter().all(|(k, v)| !k.1.contains(&secret) && !String::from_utf8_lossy(v).contains(&secret)));

    let (status, changed) = ask(&keys, "PATCH", &path, json!({"rate_limit_rpm": null, "name": "ci-2", "denied_models": ["m"]}));
    assert_eq!((status, &changed["data"]["name"]), (200, &json!("ci-2")), "{changed}");
    assert_eq!(before(&keys, &request("m", &secret)), Err((403, Some("model_not_allowed".into()))));
    assert_eq!(ask(&keys, "POST", "/api/keys", json!({"name": "ci"})).0, 201, "the old name is free");

    let (_, rotated) = ask(&keys, "POST", &format!("{path}/rotate"), json!({"grace_seconds": 60}));
    let newer = rotated["data"]["key"].as_str().unwrap().to_owned();
    assert_eq!(rotated["data"]["id"], id.as_str());
    assert!(before(&keys, &request("x", &secret)).is_ok() && before(&keys, &request("x", &newer)).is_ok());
    let mut later = FakeHost::current();
    later.unix_ms += 61_000;
    later.install();
    assert_eq!(before(&keys, &request("x", &secret)), Err((401, Some("key_expired".into()))));
    let (_, rotated) = ask(&keys, "POST", &format!("{path}/rotate"), Value::Null);
    let newest = rotated["data"]["key"].as_str().unwrap().to_owned();
    for old in [&secret, &newer] {
        assert_eq!(before(&keys, &request("x", old)), Err((401, Some("invalid_api_key".into()))));
    }

    assert_eq!(ask(&keys, "POST", &format!("{path}/expire"), json!({"expires_at": "2100-01-01T00:00:00Z"})).0, 200);
    assert!(before(&keys, &request("x", &newest)).is_ok());
    assert_eq!(ask(&keys, "POST", &format!("{path}/expire"), Value::Null).0, 200);
    assert_eq!(before(&keys, &request("x", &newest)), Err((401, Some("key_expired".into()))));

    assert_eq!(ask(&keys, "DELETE", &path, Value::Null).0, 200);
    assert_eq!(before(&keys, &request("x", &newest)), Err((401, Some("invalid_api_key".into()))));
    assert_eq!(ask(&keys, "GET", &path, Value::Null).0, 404);
}

#[test]
fn orders_that_make_no_sense_are_refused_with_a_reason() {
    let keys = two();
    let (_, made) = ask(&keys, "POST", "/api/keys", json!({"name": "a"}));
    let id = made["data"]["id"].as_str().unwrap();
    for (method, path, body, status, expect) in [
        ("POST", "/api/keys".to_owned(), json!({"name": "a"}), 409, "There is a key with the name `a`"),
        ("POST", "/api/keys".into(), json!({"name": "production"}), 409, "There is a key with the name"),
        ("POST", "/api/keys".into(), json!({}), 400, "missing field `name`"),
        ("POST", "/api/keys".into(), json!([1]), 400, "not a JSON object"),
        ("POST", "/api/keys".into(), json!({"name": "b", "key": "mine"}), 400, "leave `key` out"),
        ("POST", "/api/keys".into(), json!({"name": "b", "team": "nobody"}), 400, "`team` is `nobody`"),
        ("PATCH", format!("/api/keys/{id}"), json!({"rate_limit_rpm": "many"}), 400, "invalid type: string"),
        ("PATCH", format!("/api/keys/{id}"), json!({"name": "production"}), 409, "name"),
        ("PATCH", "/api/keys/config:production".into(), json!({}), 409, "in the gateway's configuration"),
        ("DELETE", "/api/keys/config:production".into(), Value::Null, 409, "in the gateway's configuration"),
        ("DELETE", "/api/keys/key_0".into(), Value::Null, 404, "no such key"),
        ("POST", format!("/api/keys/{id}/rotate"), json!({"grace_seconds": -1}), 400, "`grace_seconds` is -1"),
        ("POST", format!("/api/keys/{id}/rotate"), json!({"grace": 1}), 400, "no field `grace`"),
        ("POST", format!("/api/keys/{id}/expire"), json!({"expires_at": "soon"}), 400, "`expires_at` is \"soon\""),
    ] {
        let (found, said) = ask(&keys, method, &path, body.clone());
        assert_eq!(found, status, "{method} {path} {body}: {said}");
        assert!(said["error"]["message"].as_str().unwrap().contains(expect), "{method} {path} {body}: {said}");
    }
    assert_eq!(ask(&keys, "GET", &format!("/api/keys/{id}"), Value::Null).1["data"]["name"], "a", "nothing of it had an effect");
}

#[test]
fn the_host_learns_who_a_caller_is_and_what_they_may_use() {
    let keys = two();
    let identity = |fields: &[(&str, &str)], query: Option<&str>| {
        let headers = fields.iter().map(|(n, v)| ((*n).to_owned(), v.as_bytes().to_vec())).collect();
        let reply =
            keys.handle(HttpRequest { path: callers::IDENTITY.into(), headers, query: query.map(Into::into), ..HttpRequest::default() });
        (reply.status, serde_json::from_slice::<Value>(&reply.body).unwrap_or_default())
    };
    assert_eq!(identity(&[], None).0, 204);
    assert_eq!(identity(&[("x-api-key", DEV)], None), (200, json!({"name": "development", "team": "lab"})));
    assert_eq!(identity(&[], Some(&format!("key={PROD}"))).1["name"], "production");
    assert_eq!(identity(&[("x-api-key", "wrong-key")], None).0, 401);

    let models = json!([
        {"id": "fast", "provider": "openai", "model": "gpt-4o-mini"},
        {"id": "smart", "provider": "openai", "model": "gpt-4o"},
        {"id": "o1-mini", "provider": "openai", "model": "o1-mini"},
        {"id": "claude-haiku-4", "provider": "anthropic", "model": "claude-haiku-4"},
    ]);
    for (caller, expect) in [
        (json!({"name": "development"}), json!(["fast"])),
        (json!({"name": "production"}), json!(["fast", "smart", "claude-haiku-4"])),
        (json!({"name": "revoked"}), json!([])),
        (Value::Null, json!(["fast", "smart", "o1-mini", "claude-haiku-4"])),
    ] {
        let (_, said) = ask(&keys, "POST", callers::CATALOGUE, json!({"caller": caller, "models": models}));
        let ids: Vec<&Value> = said["models"].as_array().unwrap().iter().map(|m| &m["id"]).collect();
        assert_eq!(json!(ids), expect, "{caller}");
    }
}

#[test]
fn what_was_reserved_is_settled_at_the_end() {
    FakeHost::default().install();
    let keys = configure(json!({"api_keys": [{"key": PROD, "name": "p", "rate_limit_tpm": 10_000}]})).unwrap();
    let mut asked = request("m", PROD);
    asked.chat.params.max_tokens = Some(5_000);
    let noted = before(&keys, &asked).unwrap();
    assert!(FakeHost::current().taken["tpm/key:p"] > 5_000);
    asked.notes.insert(HOLD.into(), noted[HOLD].clone());
    keys.on_attempts(&asked.call(), &asked.handle(), &[tried("m", Part::Served, Some((7, 3)))]);
    assert_eq!(FakeHost::current().taken["tpm/key:p"], 10);
}

/// A try whose answer began.
fn tried(model: &str, part: Part, told: Option<(u64, u64)>) -> Tried {
    Tried {
        target: Target { provider: "p".into(), model: model.into() },
        via: Vec::new(),
        number: 0,
        part,
        error: None,
        usage: told.map(|(input_tokens, output_tokens)| wasmgate_sdk::hub::Usage {
            input_tokens,
            cache_read_tokens: None,
            cache_write_tokens: None,
            output_tokens,
            reasoning_tokens: None,
            raw: None,
        }),
        started_us: 0,
        first_event_us: Some(1),
        duration_us: 2,
    }
}

#[test]
fn each_try_costs_what_its_own_model_does() {
    FakeHost::default().install();
    let prices = json!({"dear": {"input": 1000, "output": 1000}, "cheap": {"input": 1, "output": 1}});
    let keys = configure(json!({"prices": prices})).unwrap();
    let (served, lost) = (tried("cheap", Part::Served, Some((1000, 1000))), tried("dear", Part::Lost, Some((500, 0))));
    let used = |tries: &[Tried]| {
        let used = keys.used(tries);
        (used.tokens, used.usd, used.answered)
    };
    assert_eq!(used(&[lost.clone(), served.clone()]), (Some(2500), Some(0.502), true));
    assert_eq!(used(&[served, tried("unheard-of", Part::Lost, Some((1, 1)))]), (Some(2002), None, true));
    // Nobody knows what the answer took: what was reserved stays.
    assert_eq!(used(&[lost.clone(), tried("cheap", Part::Cancelled, None)]), (None, None, true));
    let untold = Tried { first_event_us: None, ..tried("cheap", Part::Failed, None) };
    assert_eq!(used(std::slice::from_ref(&untold)), (None, None, false));
    assert_eq!(used(&[untold, lost]), (Some(500), Some(0.5), false));
    assert_eq!(used(&[]), (None, None, false));
}

#[test]
fn a_store_that_was_not_read_yet_has_no_unknown_keys() {
    let keys = two();
    let mut host = FakeHost::current();
    host.kv_unread = true;
    host.install();
    let config = request("gpt-4o-mini", PROD);
    assert!(before(&keys, &config).is_ok(), "a key of the configuration is known");
    let other = request("gpt-4o-mini", "sk-made-at-run-time-with-many-characters");
    for _ in 0..100 {
        assert_eq!(before(&keys, &other).unwrap_err(), (503, Some("keys_unread".into())));
    }
    let mut host = FakeHost::current();
    assert!(host.taken.is_empty(), "it does not count as guessing: {:?}", host.taken);
    host.kv_unread = false;
    host.install();
    assert_eq!(before(&keys, &other).unwrap_err(), (401, Some("invalid_api_key".into())));
}
