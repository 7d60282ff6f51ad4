//! Parts of a message's content list.

use super::{NAME, reasoning};
use crate::DecodeError;
use crate::hub::{Extra, InlineData, Media, MediaSource, OtherPart, Part, PartKind};
use crate::json::{Array, Fields, Object, Path, Value};
use crate::map::{Crossing, Extras, data_url, field, to_data_url};

pub(super) fn other(value: Value<'_>) -> Part {
    let kind = value.object().and_then(|f| f.peek("type")).and_then(Value::text).unwrap_or_default().into_owned();
    Part::new(PartKind::Other(OtherPart { format: NAME.into(), kind, value: value.raw().into() }))
}

pub(super) fn read(value: Value<'_>, path: &Path<'_>) -> Result<Part, DecodeError> {
    let mut f = value.object_at(path)?;
    let kind = f.need_text(path, "type")?;
    let mut extras = Vec::new();
    let kind = match kind.as_ref() {
        "text" => PartKind::Text(f.need_text(path, "text")?.into_owned()),
        "refusal" => {
            extras.push(field("content"));
            PartKind::Refusal(f.need_text(path, "refusal")?.into_owned())
        }
        "image_url" => PartKind::Image(read_image(&mut f, path, &mut extras)?),
        "input_audio" => {
            let path = path.key("input_audio");
            let mut audio = f.need(&path, "input_audio", "an object")?.object_at(&path)?;
            let media_type = format!("audio/{}", audio.need_text(&path, "format")?);
            let data = audio.need_text(&path, "data")?.into_owned();
            extras.extend(audio.rest_with("input_audio."));
            PartKind::Audio(Media { source: MediaSource::Inline(InlineData { media_type, data }), detail: None, name: None })
        }
        "file" => {
            let file = f.need(path, "file", "an object")?;
            PartKind::Document(read_file(file, &path.key("file"), &mut extras)?)
        }
        "thinking" => reasoning::read_part(&mut f, path, &mut extras)?,
        _ => return Ok(other(value)),
    };
    let cache_control = f.take_some("cache_control").map(|v| v.raw().to_owned());
    extras.extend(f.rest_beside());
    Ok(Part { kind, cache_control, extras })
}

fn read_image(f: &mut Fields<'_>, path: &Path<'_>, extras: &mut Vec<Extra>) -> Result<Media, DecodeError> {
    let image = f.need(path, "image_url", "an object")?;
    let path = path.key("image_url");
    let (url, detail) = match image.text() {
        // Mistral also takes the address itself.
        Some(url) => {
            extras.push(Extra::new("image_url", image.raw()));
            (url, None)
        }
        None => {
            let mut image = image.object_at(&path)?;
            let url = image.need_text(&path, "url")?;
            let detail = image.optional_text(&path, "detail")?;
            extras.extend(image.rest_with("image_url."));
            (url, detail)
        }
    };
    let source = data_url(&url).map_or_else(|| MediaSource::Url(url.into_owned()), MediaSource::Inline);
    Ok(Media { source, detail, name: None })
}

fn read_file(file: Value<'_>, path: &Path<'_>, extras: &mut Vec<Extra>) -> Result<Media, DecodeError> {
    let mut f = file.object_at(path)?;
    let name = f.optional_text(path, "filename")?;
    let data = f.peek("file_data").and_then(Value::text).and_then(|url| data_url(&url));
    let id = f.peek("file_id").and_then(Value::text);
    let source = match (data, id) {
        (Some(data), None) => {
            f.take("file_data");
            MediaSource::Inline(data)
        }
        (None, Some(id)) if f.peek("file_data").is_none() => {
            f.take("file_id");
            MediaSource::FileId(id.into_owned())
        }
        _ => return Ok(Media { source: MediaSource::Other(file.raw().into()), detail: None, name: None }),
    };
    extras.extend(f.rest_with("file."));
    Ok(Media { source, detail: None, name })
}

/// Writes one part of a content list.
pub(super) fn write(list: &mut Array<'_>, part: &Part, at: &str, c: &mut Crossing) {
    let extras = c.extras(&part.extras);
    if let PartKind::Other(other) = &part.kind {
        if other.format == NAME {
            crate::json::write_raw(list.element(), &crate::json::ensure_valid(&other.value));
        } else {
            c.lose(at, format!("the target format has no part `{}`", other.kind));
        }
        return;
    }
    let mut done: &[&str] = &[];
    let mut nested: &[&str] = &[];
    let mut o = list.object();
    match &part.kind {
        PartKind::Text(text) => {
            o.string("type", "text");
            o.string("text", text);
        }
        PartKind::Refusal(text) => {
            o.string("type", "refusal");
            o.string("refusal", text);
        }
        PartKind::Thinking(t) => {
            reasoning::write_part(&mut o, t, extras);
            done = &["thinking"];
        }
        PartKind::Image(m) => {
            (done, nested) = (&["image_url"], &["image_url."]);
            o.string("type", "image_url");
            let url = match &m.source {
                MediaSource::Url(url) => url.clone(),
                MediaSource::Inline(inline) => to_data_url(inline),
                MediaSource::FileId(s) | MediaSource::Text(s) | MediaSource::Other(s) => s.clone(),
            };
            match extras.get("image_url").and_then(Value::parse).filter(|v| v.text().as_deref() == Some(&url)) {
                Some(hint) => o.raw("image_url", hint.raw()),
                None => {
                    let mut image = o.object("image_url");
                    image.string("url", &url);
                    if let Some(detail) = &m.detail {
                        image.string("detail", detail);
                    }
                    extras.nested("image_url.").rest(&mut image, &["url"]);
                    image.end();
                }
            }
        }
        PartKind::Audio(m) => {
            nested = &["input_audio."];
            o.string("type", "input_audio");
            let mut audio = o.object("input_audio");
            if let MediaSource::Inline(inline) = &m.source {
                audio.string("data", &inline.data);
                audio.string("format", inline.media_type.strip_prefix("audio/").unwrap_or(&inline.media_type));
            }
            extras.nested("input_audio.").rest(&mut audio, &["data", "format"]);
            audio.end();
        }
        PartKind::Document(m) => {
            nested = &["file."];
            write_document(&mut o, m, extras, c.same);
        }
        PartKind::RedactedThinking(_) | PartKind::ToolCall(_) | PartKind::ToolResult(_) | PartKind::Other(_) => {}
    }
    if let Some(cache) = part.cache_control.as_ref().filter(|_| c.same) {
        o.json("cache_control", cache);
    }
    extras.rest_beside(&mut o, done, nested);
    o.end();
}

fn write_document(o: &mut Object<'_>, m: &Media, extras: Extras<'_>, same: bool) {
    match &m.source {
        // A text document becomes a text: only binary files have a place of their own.
        MediaSource::Text(text) => {
            o.string("type", "text");
            o.string("text", &m.name.as_ref().map_or_else(|| text.clone(), |name| format!("{name}\n\n{text}")));
        }
        MediaSource::Other(file) => {
            o.string("type", "file");
            o.json("file", file);
        }
        source => {
            o.string("type", "file");
            let mut file = o.object("file");
            match source {
                MediaSource::Inline(inline) => {
                    // The API wants a name with data.
                    let name = m.name.as_deref().or((!same).then_some("document"));
                    if let Some(name) = name.filter(|_| extras.nested("file.").get("filename").is_none()) {
                        file.string("filename", name);
                    }
                    file.string("file_data", &to_data_url(inline));
                }
                MediaSource::FileId(id) => file.string("file_id", id),
                MediaSource::Url(url) => file.string("file_url", url),
                MediaSource::Text(_) | MediaSource::Other(_) => {}
            }
            extras.nested("file.").rest(&mut file, &[]);
            file.end();
        }
    }
}
