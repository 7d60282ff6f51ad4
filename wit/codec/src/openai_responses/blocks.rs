//! Items that the model makes: messages, calls, reasoning and all others; in the input of a request and in the output of an answer.

use super::parts::{self, Side, expressible, lose_beside};
use super::{NAME, reasoning};
use crate::hub::{Extra, OtherPart, Part, PartKind, ToolCall, ToolCallKind, extra, set_extra};
use crate::json::{Array, Fields, Kind, Object, Path, Value, ensure_valid, write_raw};
use crate::map::{Crossing, bare_text, field, field_note};
use crate::{DecodeError, LossKind};

/// Note on the first part of a message item: the item's other members, as an object.
pub(super) const ITEM: &str = "$item";
/// Note on the part of a message item whose content was a string.
const STRING: &str = "$string";
/// What the note on a field says of an item that is kept whole.
const WHOLE: &str = "item";
/// Stands before the name of an extra that a stream tells when the block is complete: it takes the place of what was known before.
pub(super) const DONE: &str = "done.";
/// Name of the extra of a stream that tells one annotation.
pub(super) const ANNOTATION: &str = "annotation";
/// Member of a delta that replaces an item that is kept whole.
pub(super) const VALUE: &str = "$value";

// === read ===

/// An item kept whole.
pub(super) fn whole(value: Value<'_>) -> Part {
    Part { extras: vec![field(WHOLE)], ..parts::other(value) }
}

/// Whether a part is an item that is kept whole.
pub(super) fn is_whole(part: &Part) -> bool {
    matches!(part.kind, PartKind::Other(_)) && field_note(part) == Some(WHOLE)
}

/// Reads an item of the model. A message item is all its parts, every other item is one.
pub(super) fn read(value: Value<'_>, path: &Path<'_>, side: Side) -> Result<Vec<Part>, DecodeError> {
    let mut f = value.object_at(path)?;
    let kind = f.peek("type").and_then(Value::text).unwrap_or_default();
    match kind.as_ref() {
        "message" | "" => {
            let parts = read_message(f, path, side)?;
            Ok(if parts.is_empty() { vec![whole(value)] } else { parts })
        }
        "function_call" => Ok(vec![read_call(&mut f, path, ToolCallKind::Function)?]),
        "custom_tool_call" => Ok(vec![read_call(&mut f, path, ToolCallKind::Custom)?]),
        "reasoning" => {
            f.take("type");
            Ok(vec![reasoning::read(f, path)?])
        }
        _ => Ok(vec![whole(value)]),
    }
}

/// Whether an item asks the caller for a tool.
pub(crate) fn is_call(item: Value<'_>) -> bool {
    let kind = item.object().and_then(|f| f.peek("type")).and_then(Value::text);
    matches!(kind.as_deref(), Some("function_call" | "custom_tool_call"))
}

/// What a message item has besides role and content, as the note on its first part.
pub(super) fn item_note(members: &[Extra]) -> Extra {
    let mut json = Vec::new();
    let mut o = Object::new(&mut json);
    members.iter().for_each(|e| o.raw(&e.name, &e.value));
    o.end();
    Extra::new(ITEM, String::from_utf8(json).unwrap_or_default())
}

fn read_message(mut f: Fields<'_>, path: &Path<'_>, side: Side) -> Result<Vec<Part>, DecodeError> {
    if f.peek("role").and_then(Value::text).is_some_and(|role| role == "assistant") {
        f.take("role");
    }
    let content = f.need(path, "content", "a string or an array of parts")?;
    let path = path.key("content");
    let mut found = match content.kind() {
        Kind::String if content.raw() == "\"\"" => Vec::new(),
        Kind::String => vec![Part { extras: vec![Extra::new(STRING, "true")], ..Part::text(content.text_at(&path)?) }],
        Kind::Array => {
            let list = content.array_at(&path)?.into_iter().enumerate();
            list.map(|(i, part)| parts::read(part, &path.index(i), side)).collect::<Result<Vec<_>, _>>()?
        }
        _ => return Err(content.expected(&path, "a string or an array of parts")),
    };
    if let Some(first) = found.first_mut() {
        first.extras.insert(0, item_note(&f.rest()));
    }
    Ok(found)
}

fn read_call(f: &mut Fields<'_>, path: &Path<'_>, kind: ToolCallKind) -> Result<Part, DecodeError> {
    f.take("type");
    let id = f.need_text(path, "call_id")?.into_owned();
    let name = f.need_text(path, "name")?.into_owned();
    let arguments = f.need_text(path, words(kind).1)?.into_owned();
    Ok(Part { kind: PartKind::ToolCall(ToolCall { id, name, arguments, kind }), cache_control: None, extras: f.clone().rest() })
}

/// The type of a call's item, and the member that holds what the model wrote.
pub(super) fn words(kind: ToolCallKind) -> (&'static str, &'static str) {
    if kind == ToolCallKind::Custom { ("custom_tool_call", "input") } else { ("function_call", "arguments") }
}

// === write ===

/// Where items are written.
#[derive(Debug, Clone, Copy)]
pub(super) enum Place<'p> {
    /// In the input of a request: without ids, which name what the provider keeps.
    Request,
    /// In an answer, whose items have ids that are made of the answer's where the hub has none.
    Answer { id: &'p str },
}

/// Whether a part stands in the content of a message item.
pub(super) fn in_message(part: &Part) -> bool {
    match part.kind {
        PartKind::Text(_) | PartKind::Refusal(_) | PartKind::Image(_) | PartKind::Audio(_) | PartKind::Document(_) => true,
        PartKind::Other(_) => !is_whole(part),
        PartKind::Thinking(_) | PartKind::RedactedThinking(_) | PartKind::ToolCall(_) | PartKind::ToolResult(_) => false,
    }
}

/// Whether a part begins another message item than the part before.
pub(super) fn begins(part: &Part, same: bool) -> bool {
    same && extra(&part.extras, ITEM).is_some()
}

/// Whether an item can be made of the part; a loss when not.
pub(super) fn shown(part: &Part, at: &str, place: Place<'_>, c: &mut Crossing) -> bool {
    match &part.kind {
        PartKind::Thinking(_) | PartKind::RedactedThinking(_) if matches!(place, Place::Request) => reasoning::expressible(part, at, c),
        PartKind::ToolCall(call) if call.kind == ToolCallKind::Server => {
            c.lose_as(LossKind::Foreign, at, "a call that another provider ran itself");
            false
        }
        PartKind::ToolResult(_) => {
            c.lose(at, "the model gives no results of tools");
            false
        }
        _ if in_message(part) => expressible(part, at, side(place), c),
        PartKind::Other(other) if other.format != NAME => {
            c.lose(at, format!("the target format has no part `{}`", other.kind));
            false
        }
        _ => {
            lose_beside(part, at, c);
            true
        }
    }
}

pub(super) fn side(place: Place<'_>) -> Side {
    if matches!(place, Place::Request) { Side::Told } else { Side::Output }
}

/// The id that a part tells of its item.
pub(super) fn known_id(part: &Part, same: bool) -> Option<String> {
    if !same {
        return None;
    }
    let json = match &part.kind {
        PartKind::Other(other) if is_whole(part) && other.format == NAME => &other.value,
        _ if in_message(part) => extra(&part.extras, ITEM)?,
        _ => return Value::parse(extra(&part.extras, "id")?)?.text().map(Into::into),
    };
    Value::parse(json)?.object()?.take("id")?.text().map(Into::into)
}

/// The id of an item that has none.
pub(super) fn item_id(part: &Part, answer: &str, index: usize) -> String {
    let prefix = match &part.kind {
        PartKind::ToolCall(call) if call.kind == ToolCallKind::Custom => "ctc",
        PartKind::ToolCall(_) => "fc",
        PartKind::Thinking(_) | PartKind::RedactedThinking(_) => "rs",
        _ => "msg",
    };
    format!("{prefix}_{}_{index}", answer.strip_prefix("resp_").unwrap_or(answer))
}

/// Writes parts as items: parts of a message that follow one another are one item.
pub(super) fn write(list: &mut Array<'_>, parts: &[(String, &Part)], place: Place<'_>, c: &mut Crossing) {
    let shown: Vec<&Part> = parts.iter().filter(|(at, part)| shown(part, at, place, c)).map(|(_, part)| *part).collect();
    let mut rest = &shown[..];
    let mut index = 0;
    while let Some(first) = rest.first() {
        let length = match in_message(first) {
            true => 1 + rest[1..].iter().take_while(|p| in_message(p) && !begins(p, c.same)).count(),
            false => 1,
        };
        let id = if let Place::Answer { id } = place { item_id(first, id, index) } else { String::new() };
        write_item(list.element(), &rest[..length], &id, None, side(place), c);
        rest = &rest[length..];
        index += 1;
    }
}

/// Writes one item. `id` stands where the parts tell none; none at all when it is empty. `status` overrides what the parts tell.
pub(super) fn write_item(out: &mut Vec<u8>, parts: &[&Part], id: &str, status: Option<&str>, side: Side, c: &Crossing) {
    let Some(first) = parts.first() else { return };
    match &first.kind {
        PartKind::Other(other) if is_whole(first) => return write_raw(out, &ensure_valid(&other.value)),
        _ if in_message(first) => return write_message(out, first, parts, id, status, side, c),
        _ => {}
    }
    let extras = c.extras(&first.extras);
    let known = |name: &str| extras.get(name).is_some();
    let mut o = Object::new(out);
    let call = if let PartKind::ToolCall(call) = &first.kind { Some(call) } else { None };
    o.string("type", call.map_or("reasoning", |call| words(call.kind).0));
    if !known("id") && !id.is_empty() && !c.same {
        o.string("id", id);
    }
    match (status, call) {
        (Some(status), _) if known("status") || (call.is_some() && !c.same) => o.string("status", status),
        (None, Some(_)) if !c.same && !id.is_empty() => o.string("status", "completed"),
        _ => {}
    }
    match call {
        Some(call) => {
            let made = format!("call_{id}");
            o.string("call_id", if call.id.is_empty() && !c.same { &made } else { &call.id });
            o.string("name", &call.name);
            o.string(words(call.kind).1, &call.arguments);
        }
        None => reasoning::write(&mut o, first, c),
    }
    extras.rest(&mut o, if call.is_some() { &[] } else { &["summary", "content"] });
    o.end();
}

/// Writes a message item; `first` is its first part, which tells what it has besides its content.
pub(super) fn write_message(out: &mut Vec<u8>, first: &Part, parts: &[&Part], id: &str, status: Option<&str>, side: Side, c: &Crossing) {
    let note = extra(&first.extras, ITEM).filter(|_| c.same).and_then(Value::parse).and_then(Value::object);
    let mut o = Object::new(out);
    match &note {
        Some(members) => {
            for (name, value) in members.untaken() {
                match status.filter(|_| name == "status") {
                    Some(status) => o.string("status", status),
                    None => o.raw(&name, value.raw()),
                }
            }
        }
        None => {
            o.string("type", "message");
            if !id.is_empty() {
                o.string("id", id);
                o.string("status", status.unwrap_or("completed"));
            }
        }
    }
    if !o.wrote("role") {
        o.string("role", "assistant");
    }
    match bare_text(first).filter(|_| c.same && parts.len() == 1 && extra(&first.extras, STRING).is_some()) {
        Some(text) => o.string("content", text),
        None => {
            let mut list = o.array("content");
            parts.iter().for_each(|part| parts::write(&mut list, part, side, c));
            list.end();
        }
    }
    o.end();
}

// === streams ===

/// Puts what a stream tells of a block besides its text into the block's part.
pub(crate) fn fold(part: &mut Part, told: &Extra) {
    if let Some(name) = told.name.strip_prefix(DONE) {
        set_extra(&mut part.extras, name, told.value.clone());
    } else if told.name == ANNOTATION {
        let list = extra(&part.extras, "annotations").and_then(|l| l.trim().strip_suffix(']')).unwrap_or("[").trim_end().to_owned();
        let comma = if list.ends_with('[') { "" } else { "," };
        set_extra(&mut part.extras, "annotations", format!("{list}{comma}{}]", told.value));
    }
}

/// Replaces an item that is kept whole by what a delta says that it became.
pub(crate) fn fold_delta(part: &mut Part, json: &str) {
    let now = Value::parse(json).and_then(Value::object).and_then(|mut f| f.take(VALUE));
    if let (PartKind::Other(OtherPart { value, .. }), Some(now)) = (&mut part.kind, now) {
        now.raw().clone_into(value);
    }
}
