//! Messages of OpenAI chat completions, in requests and answers.
//!
//! Source: platform.openai.com/docs/api-reference/chat, plus the fields that compatible hosts add for reasoning:
//! `reasoning_content` (DeepSeek, Moonshot, vLLM), `reasoning` and `reasoning_details` (OpenRouter, Groq, Ollama), and Mistral's
//! `thinking` parts.

use super::{NAME, reasoning};
use crate::DecodeError;
use crate::hub::{ContentShape, Extra, InlineData, Media, MediaSource, OtherPart, Part, PartKind, ToolCall, ToolCallKind};
use crate::json::{Array, Fields, Kind, Object, Path, Value};
use crate::map::{Crossing, Extras, bare_text, data_url, field, field_note, to_data_url};

/// How odd values are met: a request must be right, an answer is taken as it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Care {
    Strict,
    Lenient,
}

/// Fields of a message that [`read_body`] reads and [`write_body`] writes.
pub(super) const BODY: &[&str] = &["content", "refusal", "tool_calls", "reasoning", "reasoning_content", "reasoning_details"];

/// Takes the content, reasoning, refusal and tool calls of a message.
pub(super) fn read_body(f: &mut Fields<'_>, path: &Path<'_>, care: Care) -> Result<(Vec<Part>, ContentShape), DecodeError> {
    let mut parts = reasoning::read(f);
    let shape = read_content(f.take("content"), &path.key("content"), care, &mut parts)?;
    match (f.peek("refusal").map(Value::text), care) {
        (Some(Some(text)), _) => {
            parts.push(Part::new(PartKind::Refusal(text.into_owned())));
            f.take("refusal");
        }
        (Some(None), Care::Strict) => drop(f.optional_text(path, "refusal")?),
        _ => {}
    }
    let path = path.key("tool_calls");
    match f.peek("tool_calls").map(|v| (v, v.elements())) {
        Some((_, Some(calls))) => {
            let before = parts.len();
            for (i, call) in calls.enumerate() {
                match (read_call(call, &path.index(i)), care) {
                    (Ok(part), _) => parts.push(part),
                    (Err(e), Care::Strict) => return Err(e),
                    (Err(_), Care::Lenient) => parts.push(other_call(call)),
                }
            }
            if parts.len() > before {
                f.take("tool_calls");
            }
        }
        Some((v, None)) if !v.is_null() && care == Care::Strict => return Err(v.expected(&path, "an array")),
        _ => {}
    }
    Ok((parts, shape))
}

/// Reads a message's content into parts.
pub(super) fn read_content(
    content: Option<Value<'_>>,
    path: &Path<'_>,
    care: Care,
    parts: &mut Vec<Part>,
) -> Result<ContentShape, DecodeError> {
    let Some(content) = content else { return Ok(ContentShape::Absent) };
    match content.kind() {
        Kind::Null => Ok(ContentShape::Null),
        Kind::String => {
            let text = content.text_at(path)?;
            if !text.is_empty() {
                parts.push(Part::text(text));
            }
            Ok(ContentShape::Text)
        }
        Kind::Array => {
            for (i, item) in content.array_at(path)?.into_iter().enumerate() {
                match (read_part(item, &path.index(i)), care) {
                    (Ok(part), _) => parts.push(part),
                    (Err(e), Care::Strict) => return Err(e),
                    (Err(_), Care::Lenient) => parts.push(other(item)),
                }
            }
            Ok(ContentShape::Parts)
        }
        _ if care == Care::Lenient => {
            parts.push(other(content));
            Ok(ContentShape::Parts)
        }
        _ => Err(content.expected(path, "a string, an array of parts or null")),
    }
}

fn other(value: Value<'_>) -> Part {
    let kind = value.object().and_then(|f| f.peek("type")).and_then(Value::text).unwrap_or_default().into_owned();
    Part::new(PartKind::Other(OtherPart { format: NAME.into(), kind, value: value.raw().into() }))
}

fn other_call(value: Value<'_>) -> Part {
    Part { extras: vec![field("tool_calls")], ..other(value) }
}

fn read_part(value: Value<'_>, path: &Path<'_>) -> Result<Part, DecodeError> {
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
    extras.extend(f.rest());
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

fn read_call(value: Value<'_>, path: &Path<'_>) -> Result<Part, DecodeError> {
    let mut f = value.object_at(path)?;
    let kind = match f.optional_text(path, "type")?.as_deref() {
        None | Some("function") => ToolCallKind::Function,
        Some("custom") => ToolCallKind::Custom,
        Some(_) => return Ok(other_call(value)),
    };
    let mut extras = Vec::new();
    let id = f.optional_text(path, "id")?.unwrap_or_default();
    let (place, input) = if kind == ToolCallKind::Custom { ("custom", "input") } else { ("function", "arguments") };
    let inner = f.need(path, place, "an object")?;
    let path = path.key(place);
    let mut inner = inner.object_at(&path)?;
    let name = inner.need_text(&path, "name")?.into_owned();
    let arguments = match inner.peek(input) {
        None => String::new(),
        // `null` stays as a hint; an object (some hosts) too, and is read as its text.
        Some(v) => match (v.text(), v.kind()) {
            (Some(text), _) => {
                inner.take(input);
                text.into_owned()
            }
            (None, Kind::Object) => v.raw().to_owned(),
            (None, Kind::Null) => String::new(),
            _ => return Err(v.expected(&path.key(input), "a string")),
        },
    };
    extras.extend(inner.rest_with(if kind == ToolCallKind::Custom { "custom." } else { "function." }));
    extras.extend(f.rest());
    Ok(Part { kind: PartKind::ToolCall(ToolCall { id, name, arguments, kind }), cache_control: None, extras })
}

/// Whether a part is written inside `content`.
fn in_content(part: &Part) -> bool {
    let note = field_note(part);
    match part.kind {
        PartKind::Thinking(_) | PartKind::Refusal(_) => note == Some("content"),
        PartKind::Other(_) => note != Some("tool_calls"),
        PartKind::RedactedThinking(_) | PartKind::ToolCall(_) | PartKind::ToolResult(_) => false,
        PartKind::Text(_) | PartKind::Image(_) | PartKind::Audio(_) | PartKind::Document(_) => true,
    }
}

/// Where a body is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Place {
    /// A message of a request whose content may hold anything (user), or text only.
    Request { media: bool },
    /// The message of an answer: content is one string unless it came as parts.
    Answer,
}

/// Writes content, reasoning, refusal and tool calls. `extras` are those of the message.
pub(super) fn write_body(
    o: &mut Object<'_>,
    parts: &[Part],
    shape: ContentShape,
    extras: Extras<'_>,
    place: Place,
    at: &str,
    c: &mut Crossing,
) {
    write_content(o, parts, shape, place, at, c);
    reasoning::write(o, parts, extras);
    let mut refusals = parts.iter().filter(|p| !in_content(p)).filter_map(|p| match &p.kind {
        PartKind::Refusal(text) => Some(text.as_str()),
        _ => None,
    });
    match (refusals.next(), extras.get("refusal")) {
        (Some(first), _) => o.string("refusal", &refusals.fold(first.to_owned(), |all, next| all + next)),
        (None, Some(hint)) => o.json("refusal", hint),
        // The official API always says so in an answer, and its clients' types promise it.
        (None, None) if place == Place::Answer && !c.same => o.raw("refusal", "null"),
        (None, None) => {}
    }
    write_calls(o, parts, extras, at, c);
}

fn write_content(o: &mut Object<'_>, parts: &[Part], shape: ContentShape, place: Place, at: &str, c: &mut Crossing) {
    let mut content: Vec<(usize, &Part)> = parts.iter().enumerate().filter(|(_, p)| in_content(p)).collect();
    // The content of an answer is one string, unless the provider itself wrote a list.
    let joined = place == Place::Answer && !(c.same && shape == ContentShape::Parts);
    if !c.same || joined {
        content.retain(|(i, p)| speakable(p, place, &format!("{at}.content[{i}]"), c));
    }
    if content.is_empty() {
        let speaks_otherwise = parts.iter().any(|p| matches!(p.kind, PartKind::ToolCall(_) | PartKind::Refusal(_)));
        match shape {
            ContentShape::Parts if c.same => o.raw("content", "[]"),
            ContentShape::Null if c.same => o.raw("content", "null"),
            ContentShape::Absent if c.same => {}
            ContentShape::Text if c.same => o.string("content", ""),
            _ if joined || speaks_otherwise => o.raw("content", "null"),
            _ => o.string("content", ""),
        }
    } else if joined {
        o.string("content", &content.iter().filter_map(|(_, p)| text_of(p)).collect::<String>());
    } else if let (Some(text), true) = (bare_text(content[0].1), content.len() == 1 && !(c.same && shape == ContentShape::Parts)) {
        o.string("content", text);
    } else {
        let mut list = o.array("content");
        for (i, part) in content {
            write_part(&mut list, part, &format!("{at}.content[{i}]"), c);
        }
        list.end();
    }
}

fn text_of(part: &Part) -> Option<&str> {
    match &part.kind {
        PartKind::Text(text) => Some(text),
        _ => None,
    }
}

/// Whether a part of another format, or of a list that becomes a string, can be written here; a loss when it cannot.
fn speakable(part: &Part, place: Place, at: &str, c: &mut Crossing) -> bool {
    let media_ok = place == Place::Request { media: true };
    match &part.kind {
        PartKind::Text(text) => {
            if part.cache_control.is_some() {
                c.lose(format!("{at}.cache_control"), "OpenAI caches by itself and takes no breakpoints; dropped");
            }
            c.lose_extras(at, &part.extras);
            return !text.is_empty();
        }
        PartKind::Image(_) | PartKind::Audio(_) | PartKind::Document(_) if !media_ok => {
            c.lose(at, "only a user message may hold media here; dropped")
        }
        PartKind::Image(m) | PartKind::Audio(m) | PartKind::Document(m) => {
            if part.cache_control.is_some() {
                c.lose(format!("{at}.cache_control"), "OpenAI caches by itself and takes no breakpoints; dropped");
            }
            c.lose_extras(at, &part.extras);
            match (&m.source, &part.kind) {
                (MediaSource::Inline(_), _) | (MediaSource::Url(_), PartKind::Image(_)) | (MediaSource::Text(_), PartKind::Document(_)) => {
                    return true;
                }
                (MediaSource::FileId(_), _) => c.lose(at, "a file id belongs to the provider that made it; dropped"),
                _ => c.lose(at, "no such source of media in the target format; dropped"),
            }
        }
        PartKind::Other(o) => c.lose(at, format!("the target format has no part `{}`; dropped", o.kind)),
        _ => return true,
    }
    false
}

/// Writes one part of a content list.
pub(super) fn write_part(list: &mut Array<'_>, part: &Part, at: &str, c: &mut Crossing) {
    let extras = c.extras(&part.extras);
    if let PartKind::Other(other) = &part.kind {
        if other.format == NAME {
            list.element().extend_from_slice(crate::json::ensure_valid(&other.value).as_bytes());
        } else {
            c.lose(at, format!("the target format has no part `{}`; dropped", other.kind));
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
                    extras.nested("image_url.").rest(&mut image, &["url"], &[]);
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
            extras.nested("input_audio.").rest(&mut audio, &["data", "format"], &[]);
            audio.end();
        }
        PartKind::Document(m) => {
            nested = &["file."];
            write_document(&mut o, m, extras);
        }
        PartKind::RedactedThinking(_) | PartKind::ToolCall(_) | PartKind::ToolResult(_) | PartKind::Other(_) => {}
    }
    if let Some(cache) = part.cache_control.as_ref().filter(|_| c.same) {
        o.json("cache_control", cache);
    }
    extras.rest(&mut o, done, nested);
    o.end();
}

fn write_document(o: &mut Object<'_>, m: &Media, extras: Extras<'_>) {
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
                    let name = m.name.as_deref().or((!extras.any()).then_some("document"));
                    if let Some(name) = name.filter(|_| extras.nested("file.").get("filename").is_none()) {
                        file.string("filename", name);
                    }
                    file.string("file_data", &to_data_url(inline));
                }
                MediaSource::FileId(id) => file.string("file_id", id),
                MediaSource::Url(url) => file.string("file_url", url),
                MediaSource::Text(_) | MediaSource::Other(_) => {}
            }
            extras.nested("file.").rest(&mut file, &[], &[]);
            file.end();
        }
    }
}

fn write_calls(o: &mut Object<'_>, parts: &[Part], extras: Extras<'_>, at: &str, c: &mut Crossing) {
    let is_call = |p: &Part| matches!(p.kind, PartKind::ToolCall(_)) || (matches!(p.kind, PartKind::Other(_)) && !in_content(p));
    let written = |p: &Part| match &p.kind {
        PartKind::ToolCall(call) => call.kind != ToolCallKind::Server,
        PartKind::Other(other) => other.format == NAME,
        _ => false,
    };
    for (i, _) in parts.iter().enumerate().filter(|(_, p)| is_call(p) && !written(p)) {
        c.lose(format!("{at}.content[{i}]"), "a call that the provider ran itself has no place in the target format; dropped");
    }
    let mut calls = parts.iter().enumerate().filter(|(_, p)| is_call(p) && written(p)).peekable();
    if calls.peek().is_none() {
        return extras.hint(o, "tool_calls");
    }
    let mut list = o.array("tool_calls");
    for (i, part) in calls {
        match &part.kind {
            PartKind::ToolCall(call) => write_call(list.object(), call, c.extras(&part.extras)),
            PartKind::Other(other) => list.element().extend_from_slice(crate::json::ensure_valid(&other.value).as_bytes()),
            _ => {}
        }
        if part.cache_control.is_some() {
            c.lose(format!("{at}.content[{i}].cache_control"), "a tool call takes no breakpoint here; dropped");
        }
        c.lose_extras(&format!("{at}.content[{i}]"), &part.extras);
    }
    list.end();
}

fn write_call(mut o: Object<'_>, call: &ToolCall, extras: Extras<'_>) {
    let (kind, input) = if call.kind == ToolCallKind::Custom { ("custom", "input") } else { ("function", "arguments") };
    let nested = extras.nested(if call.kind == ToolCallKind::Custom { "custom." } else { "function." });
    if !call.id.is_empty() || extras.get("id").is_none() {
        o.string("id", &call.id);
    }
    if extras.get("type").is_none() {
        o.string("type", kind);
    }
    let mut inner = o.object(kind);
    inner.string("name", &call.name);
    let as_text = |v: Value<'_>| match v.kind() {
        Kind::Null => Some(String::new()),
        Kind::Object => Some(v.raw().to_owned()),
        _ => None,
    };
    nested.member(&mut inner, input, Some(call.arguments.clone()), as_text, |inner, text| inner.string(input, text));
    nested.rest(&mut inner, &["name", input], &[]);
    inner.end();
    extras.rest(&mut o, &[], &["function.", "custom."]);
    o.end();
}
