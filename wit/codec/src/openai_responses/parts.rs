//! Parts of a content list: texts, refusals, images, files, sounds.

use std::borrow::Cow;

use super::NAME;
use crate::hub::{Extra, InlineData, Media, MediaSource, OtherPart, Part, PartKind};
use crate::json::{Array, Fields, Object, Path, Value, ensure_valid, write_raw};
use crate::map::{Crossing, Extras, data_url, to_data_url};
use crate::{DecodeError, LossKind};

/// Who wrote a content list, which decides what a text is called in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Side {
    /// The application or the person.
    Input,
    /// The model, told by the caller.
    Told,
    /// The model, in an answer.
    Output,
}

impl Side {
    fn text(self) -> &'static str {
        if self == Side::Input { "input_text" } else { "output_text" }
    }
}

// === read ===

/// A part of a content list kept whole.
pub(super) fn other(value: Value<'_>) -> Part {
    let kind = value.object().and_then(|f| f.peek("type")).and_then(Value::text).unwrap_or_default().into_owned();
    Part::new(PartKind::Other(OtherPart { format: NAME.into(), kind, value: value.raw().into() }))
}

pub(super) fn read(value: Value<'_>, path: &Path<'_>, side: Side) -> Result<Part, DecodeError> {
    let mut f = value.object_at(path)?;
    let word = f.need_text(path, "type")?;
    let mut extras = Vec::new();
    let kind = match word.as_ref() {
        "input_text" | "output_text" | "text" => {
            if word != side.text() {
                extras.push(Extra::new("type", format!("\"{word}\"")));
            }
            Some(PartKind::Text(f.need_text(path, "text")?.into_owned()))
        }
        "refusal" => Some(PartKind::Refusal(f.need_text(path, "refusal")?.into_owned())),
        "input_image" => read_image(&mut f, path)?.map(PartKind::Image),
        "input_file" => read_file(&mut f, path)?.map(PartKind::Document),
        "input_audio" => read_audio(&mut f, &mut extras).map(PartKind::Audio),
        _ => None,
    };
    let Some(kind) = kind else { return Ok(other(value)) };
    extras.extend(if matches!(kind, PartKind::Audio(_)) { f.rest_beside() } else { rest(f) });
    Ok(Part { kind, cache_control: None, extras })
}

/// The members of an object that were not taken. One that looks like a note of ours is none.
pub(super) fn rest(f: Fields<'_>) -> Vec<Extra> {
    let mut extras = f.rest();
    extras.retain(|e| !e.name.starts_with('$'));
    extras
}

/// The one source of several that is told, and its name; `None` when it is none or more than one.
fn only<'a>(f: &Fields<'a>, names: &[&'static str]) -> Option<(&'static str, Cow<'a, str>)> {
    let mut told = names.iter().filter_map(|name| Some((*name, f.peek(name).filter(|v| !v.is_null())?)));
    let (name, value) = told.next()?;
    told.next().is_none().then_some((name, value.text()?))
}

fn read_image(f: &mut Fields<'_>, path: &Path<'_>) -> Result<Option<Media>, DecodeError> {
    let detail = f.optional_text(path, "detail")?;
    let Some((name, value)) = only(f, &["image_url", "file_id"]) else { return Ok(None) };
    f.take(name);
    let source = match name {
        "image_url" => data_url(&value).map_or_else(|| MediaSource::Url(value.into_owned()), MediaSource::Inline),
        _ => MediaSource::FileId(value.into_owned()),
    };
    Ok(Some(Media { source, detail, name: None }))
}

fn read_file(f: &mut Fields<'_>, path: &Path<'_>) -> Result<Option<Media>, DecodeError> {
    let title = f.optional_text(path, "filename")?;
    let Some((name, value)) = only(f, &["file_data", "file_url", "file_id"]) else { return Ok(None) };
    let source = match name {
        "file_url" => MediaSource::Url(value.into_owned()),
        "file_id" => MediaSource::FileId(value.into_owned()),
        _ => match data_url(&value) {
            Some(inline) => MediaSource::Inline(inline),
            None => return Ok(None),
        },
    };
    f.take(name);
    Ok(Some(Media { source, detail: None, name: title }))
}

fn read_audio(f: &mut Fields<'_>, extras: &mut Vec<Extra>) -> Option<Media> {
    let mut audio = f.peek("input_audio")?.object()?;
    let media_type = format!("audio/{}", audio.take("format")?.text()?);
    let data = audio.take("data")?.text()?.into_owned();
    f.take("input_audio");
    extras.extend(audio.rest_with("input_audio."));
    Some(Media { source: MediaSource::Inline(InlineData { media_type, data }), detail: None, name: None })
}

// === write ===

/// Whether the part can be written in a content list of this side; a loss when it cannot.
pub(super) fn expressible(part: &Part, at: &str, side: Side, c: &mut Crossing) -> bool {
    match &part.kind {
        PartKind::Other(other) if other.format == NAME => return true,
        PartKind::Other(other) => {
            c.lose(at, format!("the target format has no part `{}`", other.kind));
            return false;
        }
        _ if c.same => return true,
        PartKind::Text(text) | PartKind::Refusal(text) if text.is_empty() => return false,
        PartKind::Image(_) | PartKind::Audio(_) | PartKind::Document(_) if side != Side::Input => {
            c.lose(at, "only a message of the user may hold media here");
            return false;
        }
        PartKind::Image(m) | PartKind::Audio(m) | PartKind::Document(m) => match (&m.source, &part.kind) {
            (MediaSource::Inline(_), _) => {}
            (MediaSource::Url(_), PartKind::Image(_) | PartKind::Document(_)) | (MediaSource::Text(_), PartKind::Document(_)) => {}
            (MediaSource::FileId(_), _) => {
                c.lose_as(LossKind::Foreign, at, "a file id belongs to the provider that made it");
                return false;
            }
            _ => {
                c.lose(at, "no such source of media in the target format");
                return false;
            }
        },
        _ => {}
    }
    lose_beside(part, at, c);
    true
}

/// What of a part has no place here.
pub(super) fn lose_beside(part: &Part, at: &str, c: &mut Crossing) {
    if part.cache_control.is_some() && !c.same {
        c.lose(format!("{at}.cache_control"), "OpenAI caches by itself and takes no breakpoints");
    }
    c.lose_extras(at, &part.extras);
}

/// Writes a part that [`expressible`] lets pass.
pub(super) fn write(list: &mut Array<'_>, part: &Part, side: Side, c: &Crossing) {
    let extras = c.extras(&part.extras);
    if let PartKind::Other(other) = &part.kind {
        return write_raw(list.element(), &ensure_valid(&other.value));
    }
    let mut o = list.object();
    match &part.kind {
        PartKind::Text(text) => {
            write_text(&mut o, text, side, extras);
            // Clients' types promise it in an answer.
            if side == Side::Output && extras.get("annotations").is_none() && (!c.same || part.extras.is_empty()) {
                o.raw("annotations", "[]");
            }
        }
        PartKind::Refusal(text) => {
            o.string("type", "refusal");
            o.string("refusal", text);
        }
        PartKind::Image(m) => {
            o.string("type", "input_image");
            match &m.source {
                MediaSource::FileId(id) => o.string("file_id", id),
                MediaSource::Inline(inline) => o.string("image_url", &to_data_url(inline)),
                MediaSource::Url(s) | MediaSource::Text(s) | MediaSource::Other(s) => o.string("image_url", s),
            }
            if let Some(detail) = &m.detail {
                o.string("detail", detail);
            }
        }
        PartKind::Document(m) => write_file(&mut o, m, c.same),
        PartKind::Audio(m) => {
            o.string("type", "input_audio");
            let mut audio = o.object("input_audio");
            if let MediaSource::Inline(inline) = &m.source {
                audio.string("data", &inline.data);
                audio.string("format", inline.media_type.strip_prefix("audio/").unwrap_or(&inline.media_type));
            }
            extras.nested("input_audio.").rest(&mut audio, &["data", "format"]);
            audio.end();
            extras.rest_beside(&mut o, &[], &["input_audio."]);
            return o.end();
        }
        _ => {}
    }
    extras.rest(&mut o, &[]);
    o.end();
}

/// Log probabilities, which spell the text token by token: those of another text (a filter changed it) must not tell what it was.
pub(super) fn logprobs<'l>(list: &'l str, text: &str) -> &'l str {
    let spelled = |list: Value<'_>| -> Option<Vec<u8>> {
        let mut all = Vec::new();
        for token in list.elements()? {
            let mut f = token.object()?;
            match f.take("bytes").and_then(Value::elements) {
                Some(bytes) => all.extend(bytes.map(|b| b.u64().and_then(|b| u8::try_from(b).ok())).collect::<Option<Vec<u8>>>()?),
                None => all.extend_from_slice(f.take("token")?.text()?.as_bytes()),
            }
        }
        Some(all)
    };
    let told = Value::parse(list).and_then(spelled);
    if told.is_none_or(|told| told.is_empty() || told == text.as_bytes()) { list } else { "[]" }
}

fn write_text(o: &mut Object<'_>, text: &str, side: Side, extras: Extras<'_>) {
    match extras.get("type") {
        Some(word) => o.json("type", word),
        None => o.string("type", side.text()),
    }
    o.string("text", text);
    if let Some(list) = extras.get("logprobs") {
        o.json("logprobs", logprobs(list, text));
    }
}

fn write_file(o: &mut Object<'_>, m: &Media, same: bool) {
    if let MediaSource::Text(text) = &m.source {
        // A text document becomes a text: only binary files have a place of their own.
        o.string("type", "input_text");
        return o.string("text", &m.name.as_ref().map_or_else(|| text.clone(), |name| format!("{name}\n\n{text}")));
    }
    o.string("type", "input_file");
    let inline = matches!(m.source, MediaSource::Inline(_));
    // The API wants a name with data, and takes none with an address.
    let name = m.name.as_deref().filter(|_| same || inline).or((!same && inline).then_some("document"));
    if let Some(name) = name {
        o.string("filename", name);
    }
    match &m.source {
        MediaSource::Inline(inline) => o.string("file_data", &to_data_url(inline)),
        MediaSource::FileId(id) => o.string("file_id", id),
        MediaSource::Url(s) | MediaSource::Text(s) | MediaSource::Other(s) => o.string("file_url", s),
    }
}
