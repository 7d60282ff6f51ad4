//! Whether a request wants several candidates, and how many: by its model (`best:3:gpt-4o`), by a header field, or in the body's
//! `metadata`.

use serde_json::Value;
use wasmgate_sdk::hub::Extra;
use wasmgate_sdk::prelude::*;

use crate::{Method, Settings};

/// What the name of a model begins with.
pub const PREFIX: &str = "best:";

/// The header field: a number, or `on` and `off`. The response has one of this name too.
pub const HEADER: &str = "x-wasmgate-best-of-n";

/// Switches of extensions; being switched on by name is being asked for.
const SWITCHES: &str = "x-wasmgate-extensions";

/// What is wanted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wish {
    /// How many candidates.
    pub count: u32,
    /// How one answer is made of them.
    pub method: Method,
}

/// `best:3:gpt-4o`, taken apart: the number and the model. `None` when it is an ordinary name.
pub fn alias<'a>(settings: &Settings, name: &'a str) -> Result<Option<(u32, &'a str)>, ChatError> {
    let Some(rest) = name.strip_prefix(PREFIX) else { return Ok(None) };
    let wrong = |what: String| Err(invalid("model", &format!("{what}; write `best:N:MODEL` with N from 1 to {}", settings.max_candidates)));
    let Some((number, model)) = rest.split_once(':') else {
        return wrong(format!("`{}` names no number of candidates", shortened(name)));
    };
    let count = match number.parse::<u32>() {
        Ok(count) if (1..=settings.max_candidates).contains(&count) => count,
        _ => return wrong(format!("`{}` asks for `{}` candidates", shortened(name), shortened(number))),
    };
    if model.is_empty() || model.starts_with(PREFIX) {
        return wrong(format!("`{}` names no model that candidates could be of", shortened(name)));
    }
    Ok(Some((count, model)))
}

/// What a request wants besides its model; `None` when it does not want several candidates.
pub fn wish(settings: &Settings, request: &Request) -> Result<Option<Wish>, ChatError> {
    if let Some(word) = request.header(HEADER) {
        return read(settings, HEADER, &Value::String(word));
    }
    let body = |pointer: &str| request.body_value(pointer).and_then(|json| serde_json::from_str::<Value>(&json).ok());
    if let Some(value) = body("/metadata/best_of_n") {
        return read(settings, "metadata.best_of_n", &value);
    }
    let switched = request.header(SWITCHES).is_some_and(|field| switched_on(&field));
    // The host looks there only for formats of ours, and so is this: what `metadata` of a vendor's format holds is the caller's own.
    let in_body = || request.path().starts_with("/api/") && body("/metadata/extensions/best-of-n") == Some(true.into());
    Ok((switched || in_body()).then(|| settings.wish()))
}

/// Whether the field says `best-of-n=on`, and nothing else later.
fn switched_on(field: &str) -> bool {
    let mut words = field.split(',').filter_map(|pair| pair.split_once('=')).filter(|(name, _)| name.trim() == "best-of-n");
    words.next_back().is_some_and(|(_, word)| matches!(word.trim(), "on" | "true"))
}

/// Takes out of the body's `metadata` what is for the gateway: the candidates are ordinary requests.
pub fn forget(extras: &mut Vec<Extra>) {
    let Some(place) = extras.iter().position(|e| e.name == "metadata") else { return };
    let Ok(Value::Object(mut metadata)) = serde_json::from_str(&extras[place].value) else { return };
    if metadata.remove("best_of_n").is_some() {
        if metadata.is_empty() {
            extras.remove(place);
        } else {
            extras[place].value = Value::Object(metadata).to_string();
        }
    }
}

/// A value that says how many: a number, also as text (a vendor's `metadata` has only that), `true` or `on`, or
/// `{num_candidates, synthesis_method}`.
pub fn read(settings: &Settings, field: &str, value: &Value) -> Result<Option<Wish>, ChatError> {
    let count = |value: &Value| {
        let number = value.as_u64().or_else(|| value.as_str().and_then(|text| text.trim().parse().ok()));
        let count = number.and_then(|n| u32::try_from(n).ok()).filter(|n| (1..=settings.max_candidates).contains(n));
        count.ok_or_else(|| {
            let found = shortened(&value.to_string()).to_owned();
            invalid(field, &format!("it is `{found}`; it can be a number of candidates from 1 to {}", settings.max_candidates))
        })
    };
    match value {
        Value::Bool(false) | Value::Null => Ok(None),
        Value::Bool(true) => Ok(Some(settings.wish())),
        Value::String(word) if matches!(word.trim(), "off" | "false") => Ok(None),
        Value::String(word) if matches!(word.trim(), "on" | "true") => Ok(Some(settings.wish())),
        Value::Object(members) => {
            let mut wish = settings.wish();
            for (name, value) in members {
                match name.as_str() {
                    "num_candidates" => wish.count = count(value)?,
                    "synthesis_method" => wish.method = method(&format!("{field}.{name}"), value)?,
                    _ => {
                        let known = "there are `num_candidates` and `synthesis_method`";
                        return Err(invalid(&format!("{field}.{}", shortened(name)), &format!("there is no such member; {known}")));
                    }
                }
            }
            Ok(Some(wish))
        }
        other => Ok(Some(Wish { count: count(other)?, ..settings.wish() })),
    }
}

/// A method by its name.
pub fn method(field: &str, value: &Value) -> Result<Method, ChatError> {
    serde_json::from_value(value.clone()).map_err(|_| {
        let found = value.to_string();
        invalid(field, &format!("it is `{}`; it can be `code_quality`, `vote`, `merge` or `judge`", shortened(&found)))
    })
}

/// The error of a member that is wrong.
pub fn invalid(field: &str, problem: &str) -> ChatError {
    wasmgate_sdk::format::invalid(field, problem)
}

/// What a message shows of what a caller sent.
fn shortened(text: &str) -> &str {
    let end = text.char_indices().nth(60).map_or(text.len(), |(at, _)| at);
    &text[..end]
}
