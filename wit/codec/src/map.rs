//! What both sides of a translation share: extras and hints, losses, data URLs, and the table of reasoning efforts.

use crate::hub::{Extra, InlineData, Part, PartKind};
use crate::json::{Object, Value};
use crate::{Format, Loss, LossKind};

/// Longest reason of a loss, in bytes.
const MAX_REASON: usize = 200;

/// Extra of a part that tells which of several fields it came in. See the crate's documentation on notes.
pub(crate) const FIELD: &str = "$field";

/// Extras of one object, seen by an encoder: all of them for a target of the same format, none for another.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Extras<'a> {
    list: &'a [Extra],
    prefix: &'static str,
}

impl<'a> Extras<'a> {
    /// The extras, or none when the target is another format.
    pub fn new(list: &'a [Extra], same_format: bool) -> Self {
        Self { list: if same_format { list } else { &[] }, prefix: "" }
    }

    /// The extras of the nested object whose fields carry `prefix`.
    pub fn nested(self, prefix: &'static str) -> Self {
        Self { prefix, ..self }
    }

    /// The value of an extra.
    pub fn get(self, name: &str) -> Option<&'a str> {
        self.list.iter().find(|e| e.name.strip_prefix(self.prefix) == Some(name)).map(|e| e.value.as_str())
    }

    /// Writes a modelled member: as its hint has it when the hint reads as `value`, else as `write` does.
    pub fn member<T: PartialEq>(
        self,
        object: &mut Object<'_>,
        name: &str,
        value: Option<T>,
        read: impl FnOnce(Value<'a>) -> Option<T>,
        write: impl FnOnce(&mut Object<'_>, &T),
    ) {
        let hint = self.get(name).and_then(Value::parse);
        if let Some(hint) = hint.filter(|hint| read(*hint) == value) {
            return object.raw(name, hint.raw());
        }
        if let Some(value) = value {
            write(object, &value);
        }
    }

    /// Writes the hint that a modelled member was absent-like (`null`, `[]`), when there is one.
    pub fn hint(self, object: &mut Object<'_>, name: &str) {
        if let Some(value) = self.get(name).filter(|_| !object.wrote(name)) {
            object.json(name, value);
        }
    }

    /// Writes what is left: not written yet, not `done`, no note.
    pub fn rest(self, object: &mut Object<'_>, done: &[&str]) {
        self.write_rest(object, done, &[], false);
    }

    /// The same for an object that was read with `rest_beside`; what is of the objects `nested` in it is left out.
    pub fn rest_beside(self, object: &mut Object<'_>, done: &[&str], nested: &[&str]) {
        self.write_rest(object, done, nested, true);
    }

    fn write_rest(self, object: &mut Object<'_>, done: &[&str], nested: &[&str], beside: bool) {
        for e in self.list {
            let Some(mut name) = e.name.strip_prefix(self.prefix) else { continue };
            let elsewhere = self.prefix.is_empty() && (name.starts_with('$') || nested.iter().any(|p| name.starts_with(p)));
            if self.prefix.is_empty() && beside {
                name = plain_name(name);
            }
            if !elsewhere && !done.contains(&name) && !object.wrote(name) {
                object.json(name, &e.value);
            }
        }
    }
}

/// The name of a member that was read beside nested objects: a dot in front says that it has dots of its own.
pub(crate) fn plain_name(name: &str) -> &str {
    name.strip_prefix('.').unwrap_or(name)
}

/// What an encoder knows of its source, and the losses it meets.
#[derive(Debug)]
pub(crate) struct Crossing {
    /// Format of the source, when it is one that we know.
    pub source: Option<Format>,
    /// Source and target are the same format.
    pub same: bool,
    /// It is an answer, in which a provider repeats its request and keeps its books.
    answer: bool,
    pub losses: Vec<Loss>,
}

impl Crossing {
    pub fn new(source: &str, target: Format) -> Self {
        let source = Format::from_name(source);
        Self { source, same: source == Some(target), answer: false, losses: Vec::new() }
    }

    /// The same for an answer.
    pub fn of_answer(source: &str, target: Format) -> Self {
        Self { answer: true, ..Self::new(source, target) }
    }

    /// The target has no such thing, so it is left out.
    pub fn lose(&mut self, field: impl Into<String>, reason: impl Into<String>) {
        self.lose_as(LossKind::Unsupported, field, reason);
    }

    pub fn lose_as(&mut self, kind: LossKind, field: impl Into<String>, reason: impl Into<String>) {
        let mut reason = reason.into();
        if reason.len() > MAX_REASON {
            // It quotes the client, who may have written a book there.
            let end = (0..=MAX_REASON).rev().find(|at| reason.is_char_boundary(*at)).unwrap_or(0);
            reason.truncate(end);
            reason.push('…');
        }
        self.losses.push(Loss { kind, field: field.into(), reason });
    }

    /// Extras that another format cannot take are losses; `null`s, empty lists, hints, notes and what does no harm are not.
    pub fn lose_extras(&mut self, at: &str, extras: &[Extra]) {
        if self.same {
            return;
        }
        for e in extras {
            let inert = self.source.is_some_and(|s| s.is_inert(&e.name, &e.value));
            if !inert && !self.is_harmless(&e.name) && !matches!(e.value.as_str(), "null" | "[]") {
                let dot = if at.is_empty() { "" } else { "." };
                self.lose(format!("{at}{dot}{}", e.name), "the target format has no such field");
            }
        }
    }

    fn is_harmless(&self, name: &str) -> bool {
        let own = name.rsplit('.').next().is_some_and(|n| n.starts_with('$'));
        own || self.source.is_some_and(|s| s.is_harmless(name) || (self.answer && s.is_bookkeeping(name)))
    }

    /// An event that the hub does not model is one loss, named after its kind or, where it has none, after its members.
    pub fn lose_event(&mut self, json: &str) {
        let Some(mut event) = Value::parse(json).and_then(Value::object) else { return };
        if let Some(kind) = event.peek("type").and_then(Value::text) {
            return self.lose("stream", format!("the target format has no event `{kind}`"));
        }
        let choices = event.take("choices");
        self.lose_extras("", &event.rest());
        for choice in choices.and_then(Value::elements).into_iter().flatten() {
            let Some(mut choice) = choice.object() else { continue };
            let index = choice.take("index").and_then(Value::u64).unwrap_or(0);
            let delta = choice.take("delta").and_then(Value::object);
            let at = format!("choices[{index}]");
            delta.into_iter().chain([choice]).for_each(|members| self.lose_extras(&at, &members.rest()));
        }
    }

    /// The extras that an encoder may write.
    pub fn extras<'a>(&self, list: &'a [Extra]) -> Extras<'a> {
        Extras::new(list, self.same)
    }
}

/// The note that tells which field a part came in.
pub(crate) fn field_note(part: &Part) -> Option<&str> {
    part.extras.iter().find(|e| e.name == FIELD).map(|e| e.value.trim_matches('"'))
}

/// A note that tells which field a part came in.
pub(crate) fn field(name: &str) -> Extra {
    Extra { name: FIELD.into(), value: format!("\"{name}\"") }
}

/// Whether a part is text and nothing else, so that a string can stand for it.
pub(crate) fn bare_text(part: &Part) -> Option<&str> {
    match &part.kind {
        PartKind::Text(text) if part.cache_control.is_none() && part.extras.iter().all(|e| e.name.starts_with('$')) => Some(text),
        _ => None,
    }
}

/// A base64 data URL (RFC 2397) with a media type and no parameters; anything else is left to be an address.
pub(crate) fn data_url(url: &str) -> Option<InlineData> {
    let (media_type, data) = url.strip_prefix("data:")?.split_once(";base64,")?;
    let plain = !media_type.is_empty() && !media_type.contains([';', ',']);
    plain.then(|| InlineData { media_type: media_type.into(), data: data.into() })
}

/// The data URL of inline bytes.
pub(crate) fn to_data_url(inline: &InlineData) -> String {
    format!("data:{};base64,{}", inline.media_type, inline.data)
}

/// Decodes base64 (RFC 4648, standard alphabet, padding optional) that holds UTF-8 text.
pub(crate) fn base64_text(data: &str) -> Option<String> {
    let data = data.trim_end_matches('=');
    let mut bytes = Vec::with_capacity(data.len() * 3 / 4);
    let (mut buffer, mut bits) = (0u32, 0);
    for c in data.bytes() {
        let six = match c {
            b'A'..=b'Z' => c - b'A',
            b'a'..=b'z' => c - b'a' + 26,
            b'0'..=b'9' => c - b'0' + 52,
            b'+' => 62,
            b'/' => 63,
            _ => return None,
        };
        buffer = (buffer << 6) | u32::from(six);
        bits += 6;
        if bits >= 8 {
            bits -= 8;
            bytes.push((buffer >> bits) as u8);
            buffer &= (1 << bits) - 1;
        }
    }
    String::from_utf8(bytes).ok()
}

/// Encodes base64 (RFC 4648, standard alphabet, with padding).
pub(crate) fn to_base64(bytes: &[u8]) -> String {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut out = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for three in bytes.chunks(3) {
        let group = three.iter().fold(0u32, |group, byte| (group << 8) | u32::from(*byte)) << (8 * (3 - three.len()));
        for place in 0..4 {
            let six = (group >> (18 - 6 * place)) & 63;
            out.push(if place <= three.len() { char::from(ALPHABET[six as usize]) } else { '=' });
        }
    }
    out
}

/// Tokens of reasoning that a word for effort stands for when a format wants a number.
///
/// | effort | `none` | `minimal` | `low` | `medium` | `high` | `xhigh`, `max` |
/// |---|---|---|---|---|---|---|
/// | tokens | off | 1,024 | 2,048 | 8,192 | 16,384 | 32,768 |
///
/// 1,024 is the least that Anthropic takes; each word doubles to quadruples the one before. `None` for an unknown word.
pub(crate) fn effort_budget(effort: &str) -> Option<u64> {
    match effort {
        "minimal" => Some(1024),
        "low" => Some(2048),
        "medium" => Some(8192),
        "high" => Some(16_384),
        "xhigh" | "max" => Some(32_768),
        _ => None,
    }
}

/// The word for a number of tokens of reasoning: up to 2,048 `low`, up to 8,192 `medium`, beyond `high`. Never `minimal` or
/// `xhigh`, which many models refuse.
pub(crate) fn budget_effort(budget: u64) -> &'static str {
    match budget {
        0..=2048 => "low",
        2049..=8192 => "medium",
        _ => "high",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base64() {
        let check = |data: &str, expect: Option<&str>| assert_eq!(base64_text(data).as_deref(), expect, "{data}");
        check("", Some(""));
        check("Zg==", Some("f"));
        check("Zm8=", Some("fo"));
        check("Zm9vYmFy", Some("foobar"));
        check("w6k", Some("é"));
        check("/w==", None);
        check("Z g", None);
        for (text, data) in [("", ""), ("f", "Zg=="), ("fo", "Zm8="), ("foobar", "Zm9vYmFy"), ("é", "w6k=")] {
            assert_eq!(to_base64(text.as_bytes()), data);
        }
    }

    #[test]
    fn data_urls() {
        let check = |url: &str, expect: Option<(&str, &str)>| {
            let inline = data_url(url);
            assert_eq!(inline.as_ref().map(|i| (i.media_type.as_str(), i.data.as_str())), expect, "{url}");
            if let Some(inline) = inline {
                assert_eq!(to_data_url(&inline), url);
            }
        };
        check("data:image/png;base64,AA==", Some(("image/png", "AA==")));
        check("data:image/png;charset=x;base64,AA==", None);
        check("data:;base64,AA==", None);
        check("data:text/plain,hello", None);
        check("https://example.com/a.png", None);
    }

    #[test]
    fn efforts_survive_a_round_trip() {
        for word in ["low", "medium", "high"] {
            assert_eq!(effort_budget(word).map(budget_effort), Some(word));
        }
        assert_eq!(effort_budget("none"), None);
    }

    #[test]
    fn a_reason_that_quotes_a_book_is_cut() {
        let mut crossing = Crossing::new("x", Format::OpenaiChat);
        crossing.lose("a", "ü".repeat(MAX_REASON));
        crossing.lose("b", "short");
        let reasons: Vec<_> = crossing.losses.iter().map(|l| l.reason.as_str()).collect();
        assert_eq!(reasons, [format!("{}…", "ü".repeat(MAX_REASON / 2)).as_str(), "short"]);
    }
}
