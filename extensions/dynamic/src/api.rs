//! `/api/dynamic`: what is changed is read and written. For operators only: the manifest says `access = "operator"`, and the host lets nobody
//! else through.
//!
//! An entry that is written goes before the configuration's of the same name, and `DELETE` takes it back. Every answer has the version of all
//! together as `ETag`; a change with `If-Match` is made only if nobody else made one since.

use serde_json::{Map, Value, json};
use wasmgate_sdk::prelude::*;
use wasmgate_sdk::wrapped::{self, Failure};
use wasmgate_sdk::{HttpRequest, format, providers};

use crate::rules::{Document, Kind, Rules, check_tenant, shown};
use crate::store::{self, Stored};
use crate::{Dynamic, view};

const PATH: &str = "/api/dynamic";

/// What a path is about.
#[derive(Debug, PartialEq, Eq)]
enum Place {
    /// Everything.
    All,
    /// All of a tenant.
    Tenant(String),
    /// One entry, for a tenant or for everybody.
    Entry(Option<String>, Kind, String),
}

/// What is answered, and the version that it is of.
type Done = Result<(Value, String), Failure>;

/// The paths.
pub fn routes() -> Vec<Route> {
    let mut routes = vec![
        Route::http("GET", PATH),
        Route::http("GET", format!("{PATH}/tenants/{{tenant}}")),
        Route::http("DELETE", format!("{PATH}/tenants/{{tenant}}")),
    ];
    for kind in Kind::ALL.map(Kind::name) {
        for method in ["GET", "PUT", "DELETE"] {
            routes.push(Route::http(method, format!("{PATH}/{kind}/{{*name}}")));
            routes.push(Route::http(method, format!("{PATH}/tenants/{{tenant}}/{kind}/{{*name}}")));
        }
    }
    routes
}

/// Answers in the words of the operators' interface.
pub fn answer(dynamic: &Dynamic, request: &HttpRequest) -> Reply {
    let done = place(&request.path).and_then(|place| match request.method.as_str() {
        "GET" => read(dynamic, &place),
        "PUT" => put(dynamic, &place, request),
        "DELETE" => remove(dynamic, &place, request),
        _ => Err(nothing()),
    });
    let (mut reply, version) = match done {
        Ok((data, version)) => (wrapped::reply(200, &wrapped::data(&data)), Some(version)),
        Err(failure) => (failure.reply(), None),
    };
    reply.headers.push(Header { name: "cache-control".into(), value: "no-store".into() });
    reply.headers.extend(version.map(|v| Header { name: "etag".into(), value: format!("\"{v}\"") }));
    reply
}

fn invalid(message: impl std::fmt::Display) -> Failure {
    let message = message.to_string();
    // Sentences begin with a capital, unless with the name of a field.
    let mut letters = message.chars();
    let first = letters.next().map(|c| c.to_ascii_uppercase());
    Failure::invalid(first.into_iter().chain(letters).chain(['.']).collect::<String>())
}

fn nothing() -> Failure {
    Failure::new(404, "not_found", "There is nothing here; `GET /api/dynamic` shows all that there is.")
}

/// What a path is about. Names may have slashes in them, as they are or encoded.
fn place(path: &str) -> Result<Place, Failure> {
    let rest = path.strip_prefix(PATH).unwrap_or_default().trim_start_matches('/');
    if rest.is_empty() {
        return Ok(Place::All);
    }
    let (tenant, rest) = match rest.strip_prefix("tenants/") {
        Some(rest) => {
            let (tenant, rest) = rest.split_once('/').map_or((rest, None), |(tenant, rest)| (tenant, Some(rest)));
            let tenant = format::percent_decoded(tenant);
            check_tenant(&tenant).map_err(invalid)?;
            let Some(rest) = rest else { return Ok(Place::Tenant(tenant)) };
            (Some(tenant), rest)
        }
        None => (None, rest),
    };
    let (kind, name) = rest.split_once('/').ok_or_else(nothing)?;
    let kind = Kind::ALL.into_iter().find(|k| k.name() == kind).ok_or_else(nothing)?;
    Ok(Place::Entry(tenant, kind, format::percent_decoded(name)))
}

fn read(dynamic: &Dynamic, place: &Place) -> Done {
    let stored = store::load()?;
    let data = match place {
        Place::All => {
            let mut all = shown_rules(dynamic, &stored, None);
            let mut tenants = Map::new();
            for tenant in dynamic.configured.tenants.keys().chain(stored.changes.tenants.keys()) {
                tenants.insert(tenant.clone(), shown_rules(dynamic, &stored, Some(tenant)));
            }
            all["tenants"] = tenants.into();
            all
        }
        Place::Tenant(tenant) => {
            let known = dynamic.configured.tenants.contains_key(tenant) || stored.changes.tenants.contains_key(tenant);
            if !known {
                return Err(Failure::new(404, "not_found", format!("Nothing is said for {}.", shown(tenant))));
            }
            shown_rules(dynamic, &stored, Some(tenant))
        }
        Place::Entry(tenant, kind, name) => entry(dynamic, &stored, tenant.as_deref(), *kind, name).ok_or_else(|| absent(*kind, name))?,
    };
    Ok(versioned(data, &stored))
}

fn put(dynamic: &Dynamic, place: &Place, request: &HttpRequest) -> Done {
    let Place::Entry(tenant, kind, name) = place else { return Err(nothing()) };
    let body: Value = serde_json::from_slice(&request.body).map_err(|e| invalid(format!("the body is not JSON: {e}")))?;
    if !body.is_object() {
        return Err(invalid("the body is not a JSON object"));
    }
    if *kind == Kind::Providers && providers::find(name).is_none() {
        let names: Vec<String> = providers::all().into_iter().map(|p| format!("`{}`", p.name)).collect();
        let message = format!("There is no provider {}; there is {}.", shown(name), names.join(", "));
        return Err(Failure::new(404, "not_found", message));
    }
    let stored = store::update(|stored| {
        matches(request, stored)?;
        let mut changes = stored.changes.clone();
        let rules = match tenant {
            Some(tenant) => changes.tenants.entry(tenant.clone()).or_default(),
            None => &mut changes.general,
        };
        rules.put(&tenant.as_ref().map_or_else(String::new, |t| format!("tenants.{t}")), *kind, name, &body).map_err(invalid)?;
        checked(dynamic, changes, place)
    })?;
    let data = entry(dynamic, &stored, tenant.as_deref(), *kind, name).ok_or_else(|| absent(*kind, name))?;
    Ok(versioned(data, &stored))
}

fn remove(dynamic: &Dynamic, place: &Place, request: &HttpRequest) -> Done {
    let stored = store::update(|stored| {
        matches(request, stored)?;
        let mut changes = stored.changes.clone();
        match place {
            Place::All => return Err(nothing()),
            Place::Tenant(tenant) => {
                changes.tenants.remove(tenant).ok_or_else(|| {
                    Failure::new(404, "not_found", format!("Nothing was changed for {}; there is nothing to take back.", shown(tenant)))
                })?;
            }
            Place::Entry(tenant, kind, name) => {
                let rules = match tenant {
                    Some(tenant) => changes.tenants.get_mut(tenant),
                    None => Some(&mut changes.general),
                };
                if !rules.is_some_and(|rules| rules.remove(*kind, name)) {
                    return Err(unchanged(dynamic, tenant.as_deref(), *kind, name));
                }
                changes.tenants.retain(|_, rules| !rules.is_empty());
            }
        }
        // What shows through again may lead to what was made since.
        checked(dynamic, changes, place)
    })?;
    let now = match place {
        Place::Entry(tenant, kind, name) => entry(dynamic, &stored, tenant.as_deref(), *kind, name),
        Place::Tenant(tenant) => dynamic.configured.tenants.contains_key(tenant).then(|| shown_rules(dynamic, &stored, Some(tenant))),
        Place::All => None,
    };
    Ok(versioned(json!({"removed": true, "now": now}), &stored))
}

/// What may be written, where something is said anew or no more.
fn checked(dynamic: &Dynamic, changes: Document, place: &Place) -> Result<Document, Failure> {
    let whole = dynamic.configured.overlaid(&changes);
    changes.check_size().and_then(|()| whole.check_size()).map_err(invalid)?;
    // What is taken back of a whole tenant leaves what holds for everybody, which has no circle.
    if let Place::Entry(tenant, kind, name) = place {
        view::check_entry(&whole, &dynamic.routing, tenant.as_ref(), *kind, name).map_err(invalid)?;
    }
    Ok(changes)
}

/// Refuses a change of what somebody else changed since it was read.
fn matches(request: &HttpRequest, stored: &Stored) -> Result<(), Failure> {
    let Some((_, wanted)) = request.headers.iter().find(|(name, _)| name == "if-match") else { return Ok(()) };
    let wanted = String::from_utf8_lossy(wanted);
    let tags = || wanted.split(',').map(|tag| tag.trim().trim_start_matches("W/").trim_matches('"'));
    if tags().any(|tag| tag == "*" || tag == stored.version()) {
        return Ok(());
    }
    let message = format!(
        "`If-Match` is {}, and the version is `\"{}\"` by now: somebody else made a change. Read again, and send the change with that version.",
        shown(&wanted),
        stored.version()
    );
    Err(Failure::new(412, "version_changed", message))
}

fn absent(kind: Kind, name: &str) -> Failure {
    Failure::new(404, "not_found", format!("`{}` has nothing of the name {}; `GET /api/dynamic` shows all.", kind.name(), shown(name)))
}

/// Nothing was changed, so nothing can be taken back.
fn unchanged(dynamic: &Dynamic, tenant: Option<&str>, kind: Kind, name: &str) -> Failure {
    if dynamic.configured.part(tenant).and_then(|rules| rules.shown(kind, name)).is_none() {
        return absent(kind, name);
    }
    let message = format!("{} is in the gateway's configuration; change it there, or `PUT` something else over it.", shown(name));
    Failure::new(409, "configured", message)
}

fn versioned(mut data: Value, stored: &Stored) -> (Value, String) {
    data["version"] = stored.version().into();
    (data, stored.version().to_owned())
}

/// One entry, and who said it.
fn entry(dynamic: &Dynamic, stored: &Stored, tenant: Option<&str>, kind: Kind, name: &str) -> Option<Value> {
    let said = |document: &Document| document.part(tenant).and_then(|rules| rules.shown(kind, name));
    let (mut shown, source) = match said(&stored.changes) {
        Some(shown) => (shown, "api"),
        None => (said(&dynamic.configured)?, "config"),
    };
    shown["source"] = source.into();
    Some(shown)
}

/// All entries of a tenant, or those for everybody.
fn shown_rules(dynamic: &Dynamic, stored: &Stored, tenant: Option<&str>) -> Value {
    let mut all = json!({});
    for kind in Kind::ALL {
        let names = |document: &Document| -> Vec<String> {
            let names = |rules: &Rules| rules.names(kind).into_iter().cloned().collect();
            document.part(tenant).map(names).unwrap_or_default()
        };
        let mut entries = Map::new();
        for name in names(&dynamic.configured).into_iter().chain(names(&stored.changes)) {
            entries.extend(entry(dynamic, stored, tenant, kind, &name).map(|shown| (name, shown)));
        }
        all[kind.name()] = entries.into();
    }
    all
}
