//! Sources of images and documents.

use crate::hub::{InlineData, Media, MediaSource};
use crate::json::{Fields, Object, Path, Value};
use crate::map::{Crossing, Extras, base64_text};
use crate::{DecodeError, LossKind};

/// Reads the `source` (and `title`) of an image or a document.
pub(super) fn read(f: &mut Fields<'_>, path: &Path<'_>, document: bool) -> Result<Media, DecodeError> {
    let source = f.need(path, "source", "an object")?;
    source.object_at(&path.key("source"))?.need_text(&path.key("source"), "type")?;
    let name = if document { f.optional_text(path, "title")? } else { None };
    let source = read_source(source, document).unwrap_or_else(|| MediaSource::Other(source.raw().into()));
    Ok(Media { source, detail: None, name })
}

/// A source that the hub models with all its members.
fn read_source(value: Value<'_>, document: bool) -> Option<MediaSource> {
    let mut f = value.object()?;
    let kind = f.take("type")?.text()?;
    let mut text = |name: &str| Some(f.take(name)?.text()?.into_owned());
    let source = match kind.as_ref() {
        "base64" => MediaSource::Inline(InlineData { media_type: text("media_type")?, data: text("data")? }),
        "url" => MediaSource::Url(text("url")?),
        "file" => MediaSource::FileId(text("file_id")?),
        "text" if document && text("media_type")? == "text/plain" => MediaSource::Text(text("data")?),
        _ => return None,
    };
    f.rest().is_empty().then_some(source)
}

/// Whether this format can show the media; a loss when not.
pub(super) fn expressible(m: &Media, document: bool, at: &str, c: &mut Crossing) -> bool {
    if c.same {
        return true;
    }
    if let Some(detail) = m.detail.as_deref().filter(|d| *d != "auto") {
        c.lose(format!("{at}.detail"), format!("Anthropic has no level of detail (`{detail}`)"));
    }
    let (kind, reason) = match &m.source {
        MediaSource::Url(_) => return true,
        MediaSource::Text(_) if document => return true,
        MediaSource::Inline(inline) if !document && inline.media_type.starts_with("image/") => return true,
        MediaSource::Inline(inline) if document && inline.media_type == "application/pdf" => return true,
        MediaSource::Inline(inline) if document && inline.media_type.starts_with("text/") && base64_text(&inline.data).is_some() => {
            return true;
        }
        MediaSource::Inline(inline) => (LossKind::Unsupported, format!("Anthropic takes no `{}` here", inline.media_type)),
        MediaSource::FileId(_) => (LossKind::Foreign, "a file id belongs to the provider that made it".to_owned()),
        MediaSource::Text(_) | MediaSource::Other(_) => (LossKind::Unsupported, "no such source of media in the target format".to_owned()),
    };
    c.lose_as(kind, at, reason);
    false
}

/// Writes the members of an image or a document.
pub(super) fn write(o: &mut Object<'_>, m: &Media, document: bool, extras: Extras<'_>, same: bool) {
    o.string("type", if document { "document" } else { "image" });
    if let MediaSource::Other(source) = &m.source {
        o.json("source", source);
    } else {
        let mut s = o.object("source");
        match &m.source {
            MediaSource::Url(url) => member(&mut s, "url", &[("url", url)]),
            MediaSource::FileId(id) => member(&mut s, "file", &[("file_id", id)]),
            MediaSource::Text(text) => member(&mut s, "text", &[("media_type", "text/plain"), ("data", text)]),
            MediaSource::Inline(i) => match base64_text(&i.data).filter(|_| document && !same && i.media_type.starts_with("text/")) {
                Some(text) => member(&mut s, "text", &[("media_type", "text/plain"), ("data", &text)]),
                None => member(&mut s, "base64", &[("media_type", &i.media_type), ("data", &i.data)]),
            },
            MediaSource::Other(_) => {}
        }
        s.end();
    }
    match &m.name {
        Some(name) if document => o.string("title", name),
        _ => extras.hint(o, "title"),
    }
}

fn member(s: &mut Object<'_>, kind: &str, members: &[(&str, &str)]) {
    s.string("type", kind);
    members.iter().for_each(|(name, value)| s.string(name, value));
}
