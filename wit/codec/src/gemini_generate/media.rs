//! Images, sounds and documents: `inlineData` and `fileData`.

use super::spelling::{Name, Spelling, quoted, spelled};
use crate::DecodeError;
use crate::LossKind;
use crate::hub::{Extra, InlineData, Media, MediaSource, PartKind};
use crate::json::{Fields, Object, Path, Value};
use crate::map::{Crossing, Extras};

pub(super) const INLINE_DATA: Name = ("inlineData", "inline_data");
pub(super) const FILE_DATA: Name = ("fileData", "file_data");
const MIME_TYPE: Name = ("mimeType", "mime_type");
const DISPLAY_NAME: Name = ("displayName", "display_name");
const FILE_URI: Name = ("fileUri", "file_uri");

/// Note on base64 that came in the alphabet for URLs (RFC 4648, section 5).
const FOR_URLS: &str = "$for-urls";
/// Note with the media type of an address, which the hub does not have.
const KIND: &str = "$mime-type";

/// Stands before the members of either object that the hub does not have.
pub(super) const PREFIX: &str = "data.";

/// Reads the media of a part, whose object stays in `f` when it is none of the hub's kinds (a video) or says more than one thing.
pub(super) fn read(
    f: &mut Fields<'_>,
    path: &Path<'_>,
    spelling: &mut Spelling,
    extras: &mut Vec<Extra>,
) -> Result<Option<PartKind>, DecodeError> {
    let some = |f: &Fields<'_>, name: &str| f.peek(name).is_some_and(|v| !v.is_null());
    let (inline, file) = (spelling.of(f, path, INLINE_DATA)?, spelling.of(f, path, FILE_DATA)?);
    let name = match (some(f, inline), some(f, file)) {
        (true, false) => inline,
        (false, true) => file,
        _ => return Ok(None),
    };
    let here = path.key(name);
    let Some(value) = f.peek(name) else { return Ok(None) };
    let mut inner = value.object_at(&here)?;
    let mime = spelling.of(&inner, &here, MIME_TYPE)?;
    let media_type = inner.optional_text(&here, mime)?;
    let mut notes = Vec::new();
    let source = if name == inline {
        let mut data = inner.need_text(&here, "data")?.into_owned();
        let for_urls = data.contains(['-', '_']) && !data.contains(['+', '/']);
        if for_urls {
            data = data.replace('-', "+").replace('_', "/");
            notes.push(Extra::new(FOR_URLS, "true"));
        }
        let Some(media_type) = media_type.clone() else { return Ok(None) };
        MediaSource::Inline(InlineData { media_type, data })
    } else {
        let name = spelling.of(&inner, &here, FILE_URI)?;
        let uri = inner.need_text(&here, name)?.into_owned();
        if let Some(media_type) = &media_type {
            notes.push(Extra::new(KIND, quoted(media_type)));
        }
        if is_kept(&uri) { MediaSource::FileId(uri) } else { MediaSource::Url(uri) }
    };
    let media_type = media_type.as_deref().or(match &source {
        MediaSource::Url(uri) | MediaSource::FileId(uri) => by_ending(uri),
        _ => None,
    });
    let Some(media_type) = media_type.filter(|m| !m.starts_with("video/")) else { return Ok(None) };
    let media_type = media_type.to_owned();
    f.take(name);
    let mut media = Media { source, detail: None, name: None };
    let kind = if media_type.starts_with("image/") {
        PartKind::Image(media)
    } else if media_type.starts_with("audio/") {
        PartKind::Audio(media)
    } else {
        let name = spelling.of(&inner, &here, DISPLAY_NAME)?;
        media.name = inner.optional_text(&here, name)?;
        PartKind::Document(media)
    };
    extras.extend(notes);
    extras.extend(inner.rest_with(PREFIX));
    Ok(Some(kind))
}

/// Whether an address is that of a file that the provider keeps for its customer.
fn is_kept(uri: &str) -> bool {
    let api = uri.strip_prefix("https://").and_then(|rest| rest.split('/').next()).is_some_and(|host| host.ends_with(".googleapis.com"));
    uri.starts_with("gs://") || uri.starts_with("files/") || (api && uri.contains("/files/"))
}

/// The media type that the end of an address tells.
fn by_ending(uri: &str) -> Option<&'static str> {
    let path = uri.split(['?', '#']).next().unwrap_or_default();
    let ending = path.rsplit('/').next()?.rsplit_once('.')?.1.to_ascii_lowercase();
    Some(match ending.as_str() {
        "png" => "image/png",
        "jpg" | "jpeg" => "image/jpeg",
        "webp" => "image/webp",
        "gif" => "image/gif",
        "heic" => "image/heic",
        "pdf" => "application/pdf",
        "txt" => "text/plain",
        "wav" => "audio/wav",
        "mp3" => "audio/mp3",
        "mp4" => "video/mp4",
        _ => return None,
    })
}

/// Whether this format can show the media; a loss when not.
pub(super) fn expressible(m: &Media, at: &str, c: &mut Crossing) -> bool {
    if c.same {
        return true;
    }
    if let Some(detail) = m.detail.as_deref().filter(|d| *d != "auto") {
        c.lose(format!("{at}.detail"), format!("Gemini has no level of detail like `{detail}`"));
    }
    if m.name.is_some() && !matches!(m.source, MediaSource::Text(_)) {
        c.lose(format!("{at}.name"), "the Gemini API takes no names of files");
    }
    let (kind, reason) = match &m.source {
        MediaSource::Url(_) | MediaSource::Inline(_) | MediaSource::Text(_) => return true,
        MediaSource::FileId(_) => (LossKind::Foreign, "a file id belongs to the provider that made it"),
        MediaSource::Other(_) => (LossKind::Unsupported, "no such source of media in the target format"),
    };
    c.lose_as(kind, at, reason);
    false
}

/// Writes the member that holds the media. `fallback` is the media type of an address that nothing tells more exactly.
pub(super) fn write(o: &mut Object<'_>, m: &Media, fallback: &'static str, extras: Extras<'_>, same: bool) {
    let members = extras.nested(PREFIX);
    match &m.source {
        MediaSource::Text(text) | MediaSource::Other(text) => {
            o.string("text", &m.name.as_ref().map_or_else(|| text.clone(), |name| format!("{name}\n\n{text}")));
        }
        MediaSource::Inline(inline) => {
            let mut data = o.object(spelled(extras, INLINE_DATA));
            data.string(spelled(extras, MIME_TYPE), &inline.media_type);
            if extras.get(FOR_URLS).is_some() {
                data.string("data", &inline.data.replace('+', "-").replace('/', "_"));
            } else {
                data.string("data", &inline.data);
            }
            write_name(&mut data, m, extras, same);
            members.rest(&mut data, &[]);
            data.end();
        }
        MediaSource::Url(uri) | MediaSource::FileId(uri) => {
            let mut data = o.object(spelled(extras, FILE_DATA));
            let told = extras.get(KIND).and_then(Value::parse).and_then(Value::text);
            match told {
                Some(told) => data.string(spelled(extras, MIME_TYPE), &told),
                None if same && by_ending(uri).is_some() => {}
                None => data.string(MIME_TYPE.0, by_ending(uri).unwrap_or(fallback)),
            }
            data.string(spelled(extras, FILE_URI), uri);
            write_name(&mut data, m, extras, same);
            members.rest(&mut data, &[]);
            data.end();
        }
    }
}

fn write_name(data: &mut Object<'_>, m: &Media, extras: Extras<'_>, same: bool) {
    if let Some(name) = m.name.as_ref().filter(|_| same) {
        data.string(spelled(extras, DISPLAY_NAME), name);
    }
}
