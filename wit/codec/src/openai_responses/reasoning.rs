//! Reasoning items: a summary, on open models the text itself, and what the provider encrypted.

use super::parts::{lose_beside, rest};
use crate::hub::{Part, PartKind, Thinking};
use crate::json::{Fields, Object, Path, Value};
use crate::map::{Crossing, field, field_note};
use crate::{DecodeError, LossKind};

/// Stands before a signature of another format, which a client of this one keeps and sends back in `encrypted_content`.
const SIGNATURE: &str = "wasmgate-signature:";
/// The same before reasoning that a provider of another format encrypted.
const REDACTED: &str = "wasmgate-redacted:";

/// The note that the text stood in `content`.
pub(super) const CONTENT: &str = "reasoning_text";

/// The text of a list of parts; `None` when it is no list of texts.
fn joined(list: Value<'_>) -> Option<String> {
    let texts: Option<Vec<_>> = list.elements()?.map(|part| part.object()?.take("text")?.text()).collect();
    Some(texts?.join("\n\n"))
}

/// Whether a list is what we write for the text.
fn is_plain(list: Value<'_>, kind: &str, text: &str) -> bool {
    let Some(parts) = list.elements().map(|e| e.collect::<Vec<_>>()) else { return false };
    match parts[..] {
        [] => text.is_empty(),
        [part] => part.object().is_some_and(|mut f| {
            let told = f.take("type").and_then(Value::text).is_some_and(|t| t == kind)
                && f.take("text").and_then(Value::text).is_some_and(|t| t == text);
            told && f.rest().is_empty() && !text.is_empty()
        }),
        _ => false,
    }
}

/// The text, and whether it stood in `content`.
fn text_of(summary: Option<Value<'_>>, content: Option<Value<'_>>) -> (String, bool) {
    let said = content.and_then(joined).filter(|t| !t.is_empty());
    let in_content = said.is_some();
    (said.or_else(|| summary.and_then(joined)).unwrap_or_default(), in_content)
}

/// Reads a reasoning item whose type was taken. Lists that say more than the hub stay as hints.
pub(super) fn read(mut f: Fields<'_>, path: &Path<'_>) -> Result<Part, DecodeError> {
    for name in ["summary", "content"] {
        if let Some(v) = f.peek(name).filter(|v| !v.is_null() && v.elements().is_none()) {
            return Err(v.expected(&path.key(name), "an array"));
        }
    }
    let (text, in_content) = text_of(f.peek("summary"), f.peek("content"));
    let (summary, content) = if in_content { ("", text.as_str()) } else { (text.as_str(), "") };
    if f.peek("summary").is_some_and(|v| is_plain(v, "summary_text", summary)) {
        f.take("summary");
    }
    if in_content && f.peek("content").is_some_and(|v| is_plain(v, "reasoning_text", content)) {
        f.take("content");
    }
    let sealed = f.peek("encrypted_content").and_then(Value::text);
    let ours = |mark: &str| sealed.as_ref().and_then(|s| s.strip_prefix(mark)).filter(|s| !s.is_empty()).map(str::to_owned);
    let kind = match (ours(SIGNATURE), ours(REDACTED)) {
        (_, Some(data)) if text.is_empty() => {
            f.take("encrypted_content");
            PartKind::RedactedThinking(data)
        }
        (signature, _) => {
            if signature.is_some() {
                f.take("encrypted_content");
            }
            PartKind::Thinking(Thinking { text, signature })
        }
    };
    let mut extras = if in_content { vec![field(CONTENT)] } else { Vec::new() };
    extras.extend(rest(f));
    Ok(Part { kind, cache_control: None, extras })
}

/// Whether a request may hold the part; a loss when not: a provider takes back only reasoning that it made itself.
pub(super) fn expressible(part: &Part, at: &str, c: &mut Crossing) -> bool {
    if !c.same {
        c.lose_as(LossKind::Foreign, at, "OpenAI takes back only its own reasoning");
        return false;
    }
    lose_beside(part, at, c);
    true
}

/// Writes the list `name`: nothing in it, or the text.
fn write_list(o: &mut Object<'_>, name: &str, kind: &str, text: &str) {
    let mut list = o.array(name);
    if !text.is_empty() {
        let mut entry = list.object();
        entry.string("type", kind);
        entry.string("text", text);
        entry.end();
    }
    list.end();
}

/// Writes `summary`, `content` and `encrypted_content` of an item: the lists as they came when they still tell the text.
pub(super) fn write(o: &mut Object<'_>, part: &Part, c: &Crossing) {
    let extras = c.extras(&part.extras);
    let (text, sealed) = match &part.kind {
        PartKind::Thinking(t) => {
            (t.text.as_str(), t.signature.as_ref().filter(|s| !s.is_empty()).map(|signature| format!("{SIGNATURE}{signature}")))
        }
        PartKind::RedactedThinking(data) => ("", Some(format!("{REDACTED}{data}"))),
        _ => return,
    };
    let in_content = c.same && field_note(part) == Some(CONTENT);
    let hint = |name: &str| extras.get(name).and_then(Value::parse);
    match hint("summary").filter(|v| in_content || text_of(Some(*v), None).0 == text) {
        Some(hint) => o.raw("summary", hint.raw()),
        None => write_list(o, "summary", "summary_text", if in_content { "" } else { text }),
    }
    match hint("content").filter(|v| if in_content { text_of(None, Some(*v)).0 == text } else { text_of(None, Some(*v)).0.is_empty() }) {
        Some(hint) => o.raw("content", hint.raw()),
        None if in_content => write_list(o, "content", "reasoning_text", text),
        None => {}
    }
    if let Some(sealed) = sealed {
        o.string("encrypted_content", &sealed);
    }
}
