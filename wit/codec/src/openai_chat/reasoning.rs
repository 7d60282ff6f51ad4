//! Reasoning, which OpenAI's own chat completions do not show and compatible hosts show in three ways:
//! a string in `reasoning_content` or `reasoning`; OpenRouter's `reasoning_details`, which alone carries signatures and
//! encrypted reasoning (openrouter.ai/docs/use-cases/reasoning-tokens); and Mistral's `thinking` parts in the content.

use crate::DecodeError;
use crate::hub::{Extra, Part, PartKind, Thinking};
use crate::json::{Fields, Object, Path, Value};
use crate::map::{Extras, field, field_note};

/// The fields that hold reasoning as a string; the first is what we write when the source does not say.
pub(super) const STRINGS: [&str; 2] = ["reasoning_content", "reasoning"];

/// Reads the reasoning of a message. What `reasoning_details` say stays behind as a hint, because it says more than the hub.
pub(super) fn read(f: &mut Fields<'_>) -> Vec<Part> {
    let details: Vec<Part> = f.peek("reasoning_details").map(of_details).unwrap_or_default().into_iter().map(Part::new).collect();
    if !details.is_empty() {
        return details;
    }
    for name in STRINGS {
        let text = f.peek(name).and_then(Value::text).filter(|t| !t.is_empty());
        if let Some(text) = text {
            f.take(name);
            return vec![thinking(name, text.into_owned())];
        }
    }
    Vec::new()
}

/// Reasoning that came in the string field `name`.
pub(super) fn thinking(name: &str, text: String) -> Part {
    let extras = if name == STRINGS[0] { Vec::new() } else { vec![field(name)] };
    Part { kind: PartKind::Thinking(Thinking { text, signature: None }), cache_control: None, extras }
}

/// What the hub takes from `reasoning_details`. Signatures and encrypted reasoning mean something only to the kind of provider that
/// made them, and only Anthropic's have a place in the hub.
pub(super) fn of_details(details: Value<'_>) -> Vec<PartKind> {
    details.elements().into_iter().flatten().filter_map(of_detail).collect()
}

/// The same for one entry.
pub(super) fn of_detail(entry: Value<'_>) -> Option<PartKind> {
    let mut entry = entry.object()?;
    let ours = entry.peek("format").and_then(Value::text).is_none_or(|f| f.starts_with("anthropic"));
    let kind = entry.lenient_text("type").unwrap_or_default();
    let text = entry.lenient_text(if kind == "reasoning.summary" { "summary" } else { "text" }).unwrap_or_default();
    let signature = entry.lenient_text("signature").filter(|_| ours);
    match kind.as_str() {
        "reasoning.encrypted" if ours => entry.lenient_text("data").map(PartKind::RedactedThinking),
        "reasoning.text" | "reasoning.summary" if !text.is_empty() || signature.is_some() => {
            Some(PartKind::Thinking(Thinking { text, signature }))
        }
        _ => None,
    }
}

/// Whether an extra of a delta tells reasoning as it was, and not as the delta has it now.
pub(super) fn is_stale(e: &Extra, text: &str) -> bool {
    let told = match (e.name.strip_prefix("message."), Value::parse(&e.value)) {
        (Some("reasoning_details"), Some(details)) => {
            let texts =
                of_details(details).into_iter().filter_map(|kind| if let PartKind::Thinking(t) = kind { Some(t.text) } else { None });
            texts.collect()
        }
        (Some(name), Some(value)) if STRINGS.contains(&name) => value.text().unwrap_or_default().into_owned(),
        _ => return false,
    };
    !told.is_empty() && told != text
}

/// Writes the reasoning of a message.
pub(super) fn write(o: &mut Object<'_>, parts: &[Part], extras: Extras<'_>) {
    let outside = |p: &&Part| matches!(p.kind, PartKind::Thinking(_) | PartKind::RedactedThinking(_)) && field_note(p) != Some("content");
    let parts: Vec<&Part> = parts.iter().filter(outside).collect();
    let text: String =
        parts.iter().filter_map(|p| if let PartKind::Thinking(t) = &p.kind { Some(t.text.as_str()) } else { None }).collect();
    let details = extras.get("reasoning_details").and_then(Value::parse);
    let told = details.map(of_details).unwrap_or_default();
    if let Some(details) = details.filter(|_| told.iter().eq(parts.iter().map(|p| &p.kind))) {
        o.raw("reasoning_details", details.raw());
        if !told.is_empty() {
            for name in STRINGS {
                extras.hint(o, name);
            }
            return;
        }
    }
    let name = parts.iter().find_map(|p| field_note(p)).and_then(|note| STRINGS.into_iter().find(|s| *s == note)).unwrap_or(STRINGS[0]);
    for string in STRINGS {
        if string == name && !text.is_empty() {
            o.string(name, &text);
            continue;
        }
        // The same text in a second field, or that there was none. Anything else is from before an edit.
        let hint = extras.get(string).and_then(Value::parse);
        if let Some(hint) = hint.filter(|v| v.text().unwrap_or_default() == text || v.text().unwrap_or_default().is_empty()) {
            o.raw(string, hint.raw());
        }
    }
    write_details(o, &parts);
}

/// Writes signatures and encrypted reasoning, so that the client can send them back.
fn write_details(o: &mut Object<'_>, parts: &[&Part]) {
    let signed = |p: &&Part| match &p.kind {
        PartKind::Thinking(t) => t.signature.as_ref().is_some_and(|s| !s.is_empty()),
        _ => true,
    };
    if !parts.iter().any(signed) {
        return;
    }
    let mut list = o.array("reasoning_details");
    for (index, part) in parts.iter().enumerate() {
        let (text, signature, data) = match &part.kind {
            PartKind::Thinking(t) => (Some(t.text.as_str()), t.signature.as_deref(), None),
            PartKind::RedactedThinking(data) => (None, None, Some(data.as_str())),
            _ => continue,
        };
        write_detail(list.object(), index as u64, text, signature, data);
    }
    list.end();
}

/// Writes one entry of `reasoning_details`, in a message or a chunk of a stream.
pub(super) fn write_detail(mut entry: Object<'_>, index: u64, text: Option<&str>, signature: Option<&str>, data: Option<&str>) {
    entry.string("type", if data.is_some() { "reasoning.encrypted" } else { "reasoning.text" });
    for (name, value) in [("text", text), ("signature", signature), ("data", data)] {
        if let Some(value) = value {
            entry.string(name, value);
        }
    }
    entry.string("format", "anthropic-claude-v1");
    entry.int("index", index);
    entry.end();
}

/// Reads a `thinking` part of a content list: `thinking` is a string or a list of texts.
pub(super) fn read_part(f: &mut Fields<'_>, path: &Path<'_>, extras: &mut Vec<Extra>) -> Result<PartKind, DecodeError> {
    let value = f.need(path, "thinking", "an array of texts")?;
    extras.push(field("content"));
    if value.text().is_none() {
        extras.push(Extra::new("thinking", value.raw()));
    }
    let text = flatten(value).ok_or_else(|| value.expected(&path.key("thinking"), "an array of texts"))?;
    Ok(PartKind::Thinking(Thinking { text, signature: None }))
}

/// Writes `type` and `thinking` of such a part.
pub(super) fn write_part(o: &mut Object<'_>, thinking: &Thinking, extras: Extras<'_>) {
    o.string("type", "thinking");
    extras.member(o, "thinking", Some(thinking.text.clone()), flatten, |o, text| {
        let mut list = o.array("thinking");
        let mut item = list.object();
        item.string("type", "text");
        item.string("text", text);
        item.end();
        list.end();
    });
}

fn flatten(value: Value<'_>) -> Option<String> {
    if let Some(text) = value.text() {
        return Some(text.into_owned());
    }
    Some(value.elements()?.filter_map(|item| item.object()?.peek("text")?.text()).collect())
}
