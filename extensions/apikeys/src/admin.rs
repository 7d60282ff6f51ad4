//! `/api/keys`: keys are made, listed, changed, rotated, expired and revoked. For the operator only: the manifest says `access = "operator"`,
//! and the host lets nobody else through.
//!
//! A key is in one answer, the one to the request that made it, and nowhere else. Keys of the configuration are listed and cannot be changed
//! here: the file would say otherwise at the next start.

use serde_json::{Map, Value, json};
use wasmgate_sdk::prelude::*;
use wasmgate_sdk::wrapped::{self, Failure};
use wasmgate_sdk::{HttpRequest, clock, format};

use crate::key::{Hash, Key, generate, masked, moment, shortened, written};
use crate::store::{self, Record};
use crate::{ApiKeys, check_team};

const PATH: &str = "/api/keys";

/// Longest time for which a key that was rotated away goes on to open, in seconds.
const MAX_GRACE: u64 = 30 * 24 * 3600;

type Done = Result<(u16, Value), Failure>;

/// The paths.
pub fn routes() -> Vec<Route> {
    vec![
        Route::http("GET", PATH),
        Route::http("POST", PATH),
        Route::http("GET", format!("{PATH}/{{id}}")),
        Route::http("PATCH", format!("{PATH}/{{id}}")),
        Route::http("DELETE", format!("{PATH}/{{id}}")),
        Route::http("POST", format!("{PATH}/{{id}}/rotate")),
        Route::http("POST", format!("{PATH}/{{id}}/expire")),
    ]
}

/// Answers in the words of the operators' interface.
pub fn answer(keys: &ApiKeys, request: &HttpRequest) -> Reply {
    let rest = request.path.strip_prefix(PATH).unwrap_or_default().trim_start_matches('/');
    let (id, order) = rest.split_once('/').map_or((rest, None), |(id, order)| (id, Some(order)));
    let id = format::percent_decoded(id);
    let done = match (request.method.as_str(), id.as_str(), order) {
        ("GET", "", None) => list(keys),
        ("POST", "", None) => create(keys, request),
        ("GET", id, None) => one(keys, id),
        ("PATCH", id, None) => update(keys, id, request),
        ("DELETE", id, None) => revoke(keys, id),
        ("POST", id, Some("rotate")) => rotate(keys, id, request),
        ("POST", id, Some("expire")) => expire(keys, id, request),
        _ => Err(Failure::new(404, "not_found", "There is nothing here.")),
    };
    match done {
        Ok((status, data)) => {
            let mut reply = wrapped::reply(status, &wrapped::data(&data));
            // A key may be in it.
            reply.headers.push(Header { name: "cache-control".into(), value: "no-store".into() });
            reply
        }
        Err(failure) => failure.reply(),
    }
}

fn list(keys: &ApiKeys) -> Done {
    let mut all: Vec<Value> = keys.keys.values().map(|k| shown_configured(&k.key, &k.masked)).collect();
    all.extend(store::all()?.iter().map(shown));
    Ok((200, json!({"keys": all})))
}

fn one(keys: &ApiKeys, id: &str) -> Done {
    if let Some(known) = keys.keys.values().find(|k| configured_id(&k.key) == id) {
        return Ok((200, shown_configured(&known.key, &known.masked)));
    }
    Ok((200, shown(&stored(keys, id)?)))
}

fn create(keys: &ApiKeys, request: &HttpRequest) -> Done {
    let key = read(keys, Value::Object(members(request)?))?;
    let secret = generate();
    let hash = Hash::of(&secret);
    let id = store::new_id(&hash);
    claim(keys, &key.name, &id)?;
    let now = clock::unix_ms();
    let record =
        Record { id, hash: hash.hex(), masked: masked(&secret), created_ms: now, updated_ms: now, previous: None, until_ms: None, key };
    if let Err(reason) = store::write(&record) {
        store::remove(&record)?;
        return Err(reason.into());
    }
    Ok((201, with_secret(&record, &secret)))
}

/// What is given is changed, `null` takes a field away, everything else stays.
fn update(keys: &ApiKeys, id: &str, request: &HttpRequest) -> Done {
    let mut record = stored(keys, id)?;
    let mut value = serde_json::to_value(&record.key).map_err(|e| e.to_string())?;
    for (field, new) in members(request)? {
        match new {
            Value::Null => drop(value.as_object_mut().and_then(|v| v.shift_remove(&field))),
            new => value[field] = new,
        }
    }
    let key = read(keys, value)?;
    let before = std::mem::replace(&mut record.key, key);
    let renamed = before.name != record.key.name;
    if renamed {
        claim(keys, &record.key.name, &record.id)?;
    }
    record.updated_ms = clock::unix_ms();
    store::write(&record)?;
    // What the key was before its rotation may not do more than the key.
    if let Some(mut old) = record.previous.as_deref().map(store::by_hash).transpose()?.flatten() {
        old.key = record.key.clone();
        store::write(&old)?;
    }
    confirm(&before.name, &record)?;
    if renamed {
        store::release(&before.name, &record.id)?;
    }
    Ok((200, shown(&record)))
}

/// A key that was written is still one. If it was revoked since it was read, by its name of then, writing it must not bring it back.
fn confirm(name: &str, record: &Record) -> Result<(), Failure> {
    if store::owns(name, &record.id)? {
        return Ok(());
    }
    store::remove(record)?;
    Err(absent())
}

fn absent() -> Failure {
    Failure::new(404, "not_found", "There is no such key; `GET /api/keys` lists them.")
}

fn revoke(keys: &ApiKeys, id: &str) -> Done {
    let record = stored(keys, id)?;
    store::remove(&record)?;
    Ok((200, json!({"id": record.id, "name": record.key.name, "revoked": true})))
}

/// Another key in the place of this one, with the same id, name and limits. The old one opens for `grace_seconds` more.
fn rotate(keys: &ApiKeys, id: &str, request: &HttpRequest) -> Done {
    let given = members(request)?;
    let grace = match given.get("grace_seconds") {
        None | Some(Value::Null) => 0,
        Some(value) => value.as_u64().filter(|s| *s <= MAX_GRACE).ok_or_else(|| {
            Failure::invalid(format!("`grace_seconds` is {}; write seconds from 0 to {MAX_GRACE}.", shortened(&value.to_string())))
        })?,
    };
    only(&given, &["grace_seconds"])?;
    let mut record = stored(keys, id)?;
    // Of an earlier rotation.
    if let Some(older) = record.previous.take() {
        store::forget_hash(&older)?;
    }
    let (secret, now) = (generate(), clock::unix_ms());
    let old = Record { until_ms: Some(now.saturating_add(grace * 1000)), ..record.clone() };
    let hash = Hash::of(&secret);
    record.previous = (grace > 0).then(|| old.hash.clone());
    (record.hash, record.masked, record.updated_ms) = (hash.hex(), masked(&secret), now);
    store::write(&record)?;
    if grace > 0 {
        store::write(&old)?;
    } else {
        store::forget_hash(&old.hash)?;
    }
    confirm(&record.key.name, &record)?;
    let mut data = with_secret(&record, &secret);
    if grace > 0 {
        data["previous_key_until"] = written(now + grace * 1000).into();
    }
    Ok((200, data))
}

/// The key opens until a time, or until now.
fn expire(keys: &ApiKeys, id: &str, request: &HttpRequest) -> Done {
    let given = members(request)?;
    let at = match given.get("expires_at") {
        None | Some(Value::Null) => written(clock::unix_ms()),
        Some(value) => {
            let text = value.as_str().filter(|t| moment(t).is_some());
            let wrong =
                || Failure::invalid(format!("`expires_at` is {}; write it like `2030-01-31T00:00:00Z`.", shortened(&value.to_string())));
            text.ok_or_else(wrong)?.to_owned()
        }
    };
    only(&given, &["expires_at"])?;
    let body = json!({"expires_at": at}).to_string().into_bytes();
    update(keys, id, &HttpRequest { body, ..HttpRequest::default() })
}

/// The record of an id, or of a name.
fn stored(keys: &ApiKeys, id: &str) -> Result<Record, Failure> {
    if keys.keys.values().any(|k| configured_id(&k.key) == id) {
        return Err(Failure::new(409, "configured", "This key is in the gateway's configuration; change it there."));
    }
    store::by_id(id)?.ok_or_else(absent)
}

/// A name that no other key has.
fn claim(keys: &ApiKeys, name: &str, id: &str) -> Result<(), Failure> {
    let configured = keys.keys.values().any(|k| k.key.name == name);
    if configured || !store::claim(name, id)? {
        return Err(Failure::new(409, "name_taken", format!("There is a key with the name `{name}` already.")));
    }
    Ok(())
}

/// Reads what is said of a key.
fn read(keys: &ApiKeys, value: Value) -> Result<Key, Failure> {
    if value.get("key").is_some() || value.get("key_hash").is_some() {
        return Err(Failure::invalid("Keys are made here, not given: leave `key` out."));
    }
    let key = Key::read(value).map_err(|e| Failure::invalid(format!("{e}.")))?;
    check_team(&keys.teams, &key).map_err(|e| Failure::invalid(format!("{e}.")))?;
    Ok(key)
}

/// The members of the body; none when there is no body.
fn members(request: &HttpRequest) -> Result<Map<String, Value>, Failure> {
    if request.body.is_empty() {
        return Ok(Map::new());
    }
    match serde_json::from_slice(&request.body) {
        Ok(Value::Object(members)) => Ok(members),
        Ok(_) => Err(Failure::invalid("The body is not a JSON object.")),
        Err(e) => Err(Failure::invalid(format!("The body is not JSON: {e}."))),
    }
}

fn only(given: &Map<String, Value>, fields: &[&str]) -> Result<(), Failure> {
    match given.keys().find(|k| !fields.contains(&k.as_str())) {
        Some(other) => Err(Failure::invalid(format!("There is no field `{}`; there is {}.", shortened(other), fields.join(", ")))),
        None => Ok(()),
    }
}

/// The id of a key of the configuration.
fn configured_id(key: &Key) -> String {
    format!("config:{}", key.name)
}

fn shown_configured(key: &Key, masked: &str) -> Value {
    let mut shown = json!({"id": configured_id(key), "key": masked, "source": "config"});
    add(&mut shown, key);
    shown
}

fn shown(record: &Record) -> Value {
    let mut shown = json!({
        "id": record.id,
        "key": record.masked,
        "source": "api",
        "created_at": written(record.created_ms),
        "updated_at": written(record.updated_ms),
        "last_used_at": store::used_ms(&record.id).map(written),
    });
    add(&mut shown, &record.key);
    shown
}

fn with_secret(record: &Record, secret: &str) -> Value {
    let mut shown = shown(record);
    shown["key"] = secret.into();
    shown
}

fn add(shown: &mut Value, key: &Key) {
    let said = serde_json::to_value(key).unwrap_or_default();
    for (field, value) in said.as_object().into_iter().flatten() {
        shown[field] = value.clone();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A key that was made, with its id.
    fn made(keys: &ApiKeys, name: &str) -> String {
        let body = json!({"name": name}).to_string().into_bytes();
        let (_, data) = create(keys, &HttpRequest { body, ..HttpRequest::default() }).ok().unwrap();
        data["id"].as_str().unwrap().to_owned()
    }

    fn opens(record: &Record) -> bool {
        store::by_hash(&record.hash).unwrap().is_some()
    }

    #[test]
    fn a_revoked_key_does_not_come_back_through_an_order_that_had_begun_before() {
        FakeHost::default().install();
        let keys = ApiKeys::configure(serde_json::from_value(json!({})).unwrap()).unwrap();
        // Somebody read it to change it, and it is revoked before that is written.
        let id = made(&keys, "a");
        let mut read = stored(&keys, &id).ok().unwrap();
        revoke(&keys, &id).ok().unwrap();
        read.key.enabled = true;
        store::write(&read).unwrap();
        assert!(opens(&read));
        assert_eq!(confirm("a", &read).err().unwrap().status, 404);
        assert!(!opens(&read) && store::all().unwrap().is_empty());
        // Its name is another one's by now, who keeps it.
        let other = made(&keys, "a");
        store::write(&read).unwrap();
        assert_eq!(confirm("a", &read).err().unwrap().status, 404);
        assert!(!opens(&read) && store::owns("a", &other).unwrap() && opens(&stored(&keys, &other).ok().unwrap()));
        // The other way round: somebody read it to revoke it, and it is rotated and renamed before that is done.
        let read = stored(&keys, &other).ok().unwrap();
        rotate(&keys, &other, &HttpRequest::default()).ok().unwrap();
        update(&keys, &other, &HttpRequest { body: br#"{"name": "b"}"#.to_vec(), ..HttpRequest::default() }).ok().unwrap();
        let now = stored(&keys, &other).ok().unwrap();
        store::remove(&read).unwrap();
        assert!(!opens(&read) && !opens(&now));
        made(&keys, "a");
        made(&keys, "b");
    }
}
