//! Parameters that chat completions and completions write the same way.

use crate::DecodeError;
use crate::hub::{Extra, Params};
use crate::json::{Fields, Object, Path, Value};
use crate::map::{Crossing, Extras};

/// Reads an optional member, and keeps its text as a hint when `keep` says that the hub alone would not write it the same way.
pub(crate) fn keep_hint<'a, T>(
    f: &mut Fields<'a>,
    name: &str,
    what: &str,
    read: impl Fn(Value<'a>) -> Option<T>,
    keep: impl Fn(&T) -> bool,
    hints: &mut Vec<Extra>,
) -> Result<Option<T>, DecodeError> {
    let raw = f.peek(name);
    let value = f.optional(&Path::Root, name, what, read)?;
    if let (Some(raw), true) = (raw, value.as_ref().is_some_and(keep)) {
        hints.push(Extra::new(name, raw.raw()));
    }
    Ok(value)
}

/// One text or several that end an answer.
pub(crate) fn read_stop(value: Value<'_>) -> Option<Vec<String>> {
    match value.text() {
        Some(text) => Some(vec![text.into_owned()]),
        None => value.elements()?.map(|v| Some(v.text()?.into_owned())).collect(),
    }
}

/// Writes how words are chosen.
pub(crate) fn write_sampling(o: &mut Object<'_>, p: &Params, c: &mut Crossing) {
    for (name, value) in [
        ("temperature", p.temperature),
        ("top_p", p.top_p),
        ("presence_penalty", p.presence_penalty),
        ("frequency_penalty", p.frequency_penalty),
    ] {
        if let Some(value) = value {
            o.f64(name, value);
        }
    }
    if let Some(k) = p.top_k {
        if c.same { o.int("top_k", k) } else { c.lose("top_k", "OpenAI has no such parameter") }
    }
}

/// Writes what ends an answer, what makes it come again, and how many there shall be.
pub(crate) fn write_stop_seed_and_count(o: &mut Object<'_>, p: &Params, extras: Extras<'_>) {
    extras.member(
        o,
        "stop",
        Some(p.stop.clone()).filter(|s| !s.is_empty()),
        |v| read_stop(v).filter(|s| !s.is_empty()),
        |o, stop| {
            let mut list = o.array("stop");
            stop.iter().for_each(|s| list.string(s));
            list.end();
        },
    );
    if let Some(seed) = p.seed {
        o.int("seed", seed);
    }
    if let Some(n) = p.n {
        o.int("n", n);
    }
}
