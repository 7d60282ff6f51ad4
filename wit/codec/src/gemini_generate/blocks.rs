//! Parts of a content, in requests and answers.

use super::calls::{self, CALL, FUNCTION_CALL, FUNCTION_RESPONSE, Ids, RESPONSE};
use super::sealed::{self, SIGNATURE, Sealed};
use super::spelling::{Spelling, once, spelled};
use super::{NAME, media};
use crate::hub::{Extra, OtherPart, Part, PartKind, Thinking, ToolCallKind};
use crate::json::{Array, Fields, Object, Path, Value, ensure_valid, write_raw};
use crate::map::{Crossing, Extras};
use crate::{DecodeError, LossKind};

/// Members of a part that say something about it and are not what it is.
const ABOUT: [&str; 9] = [
    "thought",
    "thoughtSignature",
    "thought_signature",
    "videoMetadata",
    "video_metadata",
    "mediaResolution",
    "media_resolution",
    "partMetadata",
    "part_metadata",
];

// === read ===

/// A part kept whole; its kind is the name of the member that it is.
pub(super) fn other(value: Value<'_>) -> Part {
    let kind = value.object().and_then(|f| {
        let mut names = f.untaken().map(|(name, _)| name).filter(|name| !ABOUT.contains(&name.as_ref()));
        names.next().map(std::borrow::Cow::into_owned)
    });
    Part::new(PartKind::Other(OtherPart { format: NAME.into(), kind: kind.unwrap_or_default(), value: value.raw().into() }))
}

/// Reads a part.
pub(super) fn read(value: Value<'_>, path: &Path<'_>, ids: &mut Ids) -> Result<Part, DecodeError> {
    let mut f = value.object_at(path)?;
    let mut spelling = Spelling::default();
    let mut extras = Vec::new();
    let (call, response) = (spelling.of(&f, path, FUNCTION_CALL)?, spelling.of(&f, path, FUNCTION_RESPONSE)?);
    once(&f, path, SIGNATURE)?;
    let some = |f: &Fields<'_>, name: &str| f.peek(name).is_some_and(|v| !v.is_null());
    let kind = if some(&f, "text") {
        read_text(&mut f, path)?
    } else if some(&f, call) {
        let call_value = f.need(path, call, "an object")?;
        PartKind::ToolCall(calls::read_call(call_value, &path.key(call), ids, &mut extras)?)
    } else if some(&f, response) {
        let result = f.need(path, response, "an object")?;
        PartKind::ToolResult(calls::read_result(result, &path.key(response), ids, &mut extras)?)
    } else {
        match media::read(&mut f, path, &mut spelling, &mut extras)? {
            Some(kind) => kind,
            None => return Ok(other(value)),
        }
    };
    extras.extend(spelling.note());
    extras.extend(rest(f));
    Ok(Part { kind, cache_control: None, extras })
}

fn read_text(f: &mut Fields<'_>, path: &Path<'_>) -> Result<PartKind, DecodeError> {
    let text = f.need_text(path, "text")?.into_owned();
    if f.peek("thought").and_then(Value::bool) != Some(true) {
        return Ok(PartKind::Text(text));
    }
    f.take("thought");
    let signature = match sealed::read(f) {
        Some(Sealed::Redacted(data)) if text.is_empty() => {
            sealed::take(f);
            return Ok(PartKind::RedactedThinking(data));
        }
        Some(Sealed::Signature(signature)) => {
            sealed::take(f);
            Some(signature)
        }
        _ => None,
    };
    Ok(PartKind::Thinking(Thinking { text, signature }))
}

/// The members that were not taken. One that looks like a note of ours is none.
pub(super) fn rest(f: Fields<'_>) -> Vec<Extra> {
    let mut extras = f.rest_beside();
    extras.retain(|e| !e.name.starts_with('$'));
    extras
}

// === write ===

/// Whether the part can be written in this format; a loss when it cannot.
fn expressible(part: &Part, at: &str, c: &mut Crossing) -> bool {
    match &part.kind {
        PartKind::Other(other) if other.format == NAME => return true,
        PartKind::Other(other) => {
            c.lose(at, format!("the target format has no part `{}`", other.kind));
            return false;
        }
        _ if c.same => return true,
        PartKind::Text(text) | PartKind::Refusal(text) if text.is_empty() => return false,
        PartKind::ToolCall(call) if call.kind == ToolCallKind::Server => {
            c.lose_as(LossKind::Foreign, at, "a call that another provider ran itself");
            return false;
        }
        PartKind::Image(m) | PartKind::Audio(m) | PartKind::Document(m) if !media::expressible(m, at, c) => return false,
        _ => {}
    }
    if part.cache_control.is_some() {
        c.lose(format!("{at}.cache_control"), "Gemini caches by itself and takes no breakpoints");
    }
    c.lose_extras(at, &part.extras);
    true
}

/// Writes a part of a content, unless the format cannot hold it.
pub(super) fn write(list: &mut Array<'_>, part: &Part, at: &str, c: &mut Crossing) {
    for (at, _) in write_named(list, part, None, at, c) {
        c.lose(at, "a result holds no media here");
    }
}

/// The same for a result of the function `name`; returns its media, which are to be written behind it.
pub(super) fn write_named(list: &mut Array<'_>, part: &Part, name: Option<&str>, at: &str, c: &mut Crossing) -> Vec<(String, Part)> {
    if !expressible(part, at, c) {
        return Vec::new();
    }
    if let PartKind::Other(other) = &part.kind {
        write_raw(list.element(), &ensure_valid(&other.value));
        return Vec::new();
    }
    let mut o = list.object();
    let mut beside = Vec::new();
    match &part.kind {
        PartKind::ToolResult(result) => beside = calls::write_result(&mut o, part, result, name.unwrap_or(&result.tool_call_id), at, c),
        _ => write_kind(&mut o, part, at, c),
    }
    write_rest(o, c.extras(&part.extras));
    beside
}

/// Writes what a part is.
fn write_kind(o: &mut Object<'_>, part: &Part, at: &str, c: &mut Crossing) {
    let (extras, same) = (c.extras(&part.extras), c.same);
    match &part.kind {
        PartKind::Text(text) | PartKind::Refusal(text) => o.string("text", text),
        PartKind::Thinking(t) => {
            o.string("text", &t.text);
            o.bool("thought", true);
            if let Some(signature) = t.signature.as_ref().filter(|s| !s.is_empty()) {
                o.string(spelled(extras, SIGNATURE), &sealed::signed(signature));
            }
        }
        PartKind::RedactedThinking(data) => {
            o.string("text", "");
            o.bool("thought", true);
            o.string(spelled(extras, SIGNATURE), &sealed::redacted(data));
        }
        PartKind::Image(m) => media::write(o, m, "image/jpeg", extras, same),
        PartKind::Audio(m) => media::write(o, m, "audio/wav", extras, same),
        PartKind::Document(m) => media::write(o, m, "application/pdf", extras, same),
        PartKind::ToolCall(call) => calls::write_call(o, call, at, extras, c),
        PartKind::ToolResult(_) | PartKind::Other(_) => {}
    }
}

/// Writes the other members of a part, and ends it.
fn write_rest(mut o: Object<'_>, extras: Extras<'_>) {
    extras.rest_beside(&mut o, &[], &[CALL, RESPONSE, media::PREFIX]);
    o.end();
}
