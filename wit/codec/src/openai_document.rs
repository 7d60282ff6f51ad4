//! What the documents of chat completions and completions have around their choices, in answers and in chunks of streams.

use crate::StreamOptions;
use crate::hub::{ChatAnswer, ChatError, ErrorClass, Extra, extra, set_extra};
use crate::json::{Document, Fields, Kind, Object, Value};
use crate::map::Extras;

// === answers ===

/// Reads the document of an answer.
pub(crate) fn parse(body: &[u8]) -> Result<Document<'_>, ChatError> {
    Document::parse(body).map_err(|fault| ChatError::new(ErrorClass::Protocol, format!("the provider's answer is not JSON: {fault}")))
}

/// The choices of an answer. An empty list beside an error is none.
pub(crate) fn choices<'a>(f: &mut Fields<'a>) -> Option<Vec<Value<'a>>> {
    let choices: Option<Vec<Value<'a>>> = f.lenient("choices", |v| Some(v.elements()?.collect()));
    choices.filter(|choices| !choices.is_empty() || f.peek("error").is_none_or(Value::is_null))
}

/// What a document without choices is: the error that it tells, if it does.
pub(crate) fn no_choices(told: Option<ChatError>) -> ChatError {
    told.unwrap_or_else(|| ChatError::new(ErrorClass::Protocol, "the provider's answer has no `choices`"))
}

/// Writes what stands before the choices. `object` is the name of the document.
pub(crate) fn write_head(o: &mut Object<'_>, a: &ChatAnswer, object: &str, extras: Extras<'_>, options: &StreamOptions) {
    let or = |own: &str, fallback: &str| if own.is_empty() { fallback.to_owned() } else { own.to_owned() };
    o.string("id", &or(&a.id, &options.id));
    match extras.get("object").and_then(Value::parse) {
        Some(hint) => o.raw("object", hint.raw()),
        None => o.string("object", object),
    }
    match (a.created, extras.get("created").and_then(Value::parse)) {
        (None, Some(hint)) if hint.kind() != Kind::String => o.raw("created", hint.raw()),
        (created, _) => o.int("created", created.unwrap_or(options.created)),
    }
    o.string("model", &or(&a.model, &options.model));
}

// === chunks ===

/// Whether an event tells an error, or nothing of an answer.
pub(crate) fn may_fail(name: &str, f: &Fields<'_>) -> bool {
    name == "error" || f.peek("error").is_some_and(|v| !v.is_null()) || f.peek("choices").is_none() && f.peek("usage").is_none()
}

/// What a chunk says of its stream.
pub(crate) struct Head {
    pub id: String,
    pub model: String,
    pub created: Option<u64>,
}

impl Head {
    pub fn take(f: &mut Fields<'_>) -> Self {
        let id = f.lenient_text("id").unwrap_or_default();
        let model = f.lenient_text("model").unwrap_or_default();
        let created = f.lenient("created", |v| v.f64().map(|n| n as u64));
        f.take("object");
        Self { id, model, created }
    }
}

/// The members that were not taken and say something new. They are `known` from here on.
pub(crate) fn news(f: &Fields<'_>, padding: &[&str], known: &mut Vec<Extra>) -> Vec<Extra> {
    let mut news = Vec::new();
    for (name, value) in f.untaken().filter(|(name, value)| !value.is_null() && !padding.contains(&name.as_ref())) {
        if extra(known, &name) != Some(value.raw()) {
            set_extra(known, &name, value.raw().into());
            set_extra(&mut news, &name, value.raw().into());
        }
    }
    news
}

/// Members as an object of their own.
pub(crate) fn object_of(extras: &[Extra]) -> String {
    let mut json = Vec::new();
    let mut o = Object::new(&mut json);
    extras.iter().for_each(|e| o.raw(&e.name, &e.value));
    o.end();
    String::from_utf8(json).unwrap_or_default()
}
