//! Content blocks, in requests and answers.

use super::{NAME, media};
use crate::hub::{
    ContentShape, Extra, OtherPart, Part, PartKind, ResultPart, ResultPartKind, Thinking, ToolCall, ToolCallKind, ToolResult,
};
use crate::json::{Array, Fields, Kind, Object, Path, Value, ensure_valid, write_raw};
use crate::map::{Crossing, bare_text};
use crate::{DecodeError, LossKind};

// === read ===

/// A block kept whole.
pub(super) fn other(value: Value<'_>) -> Part {
    let kind = value.object().and_then(|f| f.peek("type")).and_then(Value::text).unwrap_or_default().into_owned();
    Part::new(PartKind::Other(OtherPart { format: NAME.into(), kind, value: value.raw().into() }))
}

/// Reads a block.
pub(super) fn read(value: Value<'_>, path: &Path<'_>) -> Result<Part, DecodeError> {
    let mut f = value.object_at(path)?;
    let word = f.need_text(path, "type")?;
    let mut extras = Vec::new();
    let kind = match word.as_ref() {
        "text" => PartKind::Text(f.need_text(path, "text")?.into_owned()),
        "image" => PartKind::Image(media::read(&mut f, path, false)?),
        "document" => PartKind::Document(media::read(&mut f, path, true)?),
        "thinking" => {
            let text = f.need_text(path, "thinking")?.into_owned();
            PartKind::Thinking(Thinking { text, signature: f.optional_text(path, "signature")? })
        }
        "redacted_thinking" => PartKind::RedactedThinking(f.need_text(path, "data")?.into_owned()),
        "tool_use" => PartKind::ToolCall(read_call(&mut f, path, ToolCallKind::Function)?),
        "server_tool_use" => PartKind::ToolCall(read_call(&mut f, path, ToolCallKind::Server)?),
        "mcp_tool_use" => {
            extras.push(Extra::new("type", "\"mcp_tool_use\""));
            PartKind::ToolCall(read_call(&mut f, path, ToolCallKind::Server)?)
        }
        "tool_result" => PartKind::ToolResult(read_result(&mut f, path)?),
        _ => return Ok(other(value)),
    };
    let cache_control = f.take_some("cache_control").map(|v| v.raw().to_owned());
    extras.extend(f.rest());
    Ok(Part { kind, cache_control, extras })
}

fn read_call(f: &mut Fields<'_>, path: &Path<'_>, kind: ToolCallKind) -> Result<ToolCall, DecodeError> {
    let id = f.need_text(path, "id")?.into_owned();
    let name = f.need_text(path, "name")?.into_owned();
    let input = f.need(path, "input", "an object")?;
    if input.kind() != Kind::Object {
        return Err(input.expected(&path.key("input"), "an object"));
    }
    Ok(ToolCall { id, name, arguments: input.raw().into(), kind })
}

fn read_result(f: &mut Fields<'_>, path: &Path<'_>) -> Result<ToolResult, DecodeError> {
    let tool_call_id = f.need_text(path, "tool_use_id")?.into_owned();
    let is_error = f.optional_bool(path, "is_error")?;
    let path = path.key("content");
    let mut content = Vec::new();
    let shape = match f.take("content").map(|v| (v, v.kind())) {
        None => ContentShape::Absent,
        Some((_, Kind::Null)) => ContentShape::Null,
        Some((v, Kind::String)) => {
            let text = v.text_at(&path)?;
            if !text.is_empty() {
                content.push(ResultPart::new(ResultPartKind::Text(text.into_owned())));
            }
            ContentShape::Text
        }
        Some((v, Kind::Array)) => {
            for (i, item) in v.array_at(&path)?.into_iter().enumerate() {
                content.push(read_piece(item, &path.index(i))?);
            }
            ContentShape::Parts
        }
        Some((v, _)) => return Err(v.expected(&path, "a string or an array of blocks")),
    };
    Ok(ToolResult { tool_call_id, content, shape, is_error })
}

fn read_piece(value: Value<'_>, path: &Path<'_>) -> Result<ResultPart, DecodeError> {
    let part = read(value, path)?;
    let kind = match part.kind {
        PartKind::Text(text) => ResultPartKind::Text(text),
        PartKind::Image(m) => ResultPartKind::Image(m),
        PartKind::Document(m) => ResultPartKind::Document(m),
        _ => return Ok(ResultPart::new(ResultPartKind::Other(value.raw().into()))),
    };
    Ok(ResultPart { kind, cache_control: part.cache_control, extras: part.extras })
}

/// Reads the content of a message: a string or blocks.
pub(super) fn read_content(value: Value<'_>, path: &Path<'_>) -> Result<(Vec<Part>, ContentShape), DecodeError> {
    match value.kind() {
        Kind::String => {
            let text = value.text_at(path)?;
            Ok((if text.is_empty() { Vec::new() } else { vec![Part::text(text)] }, ContentShape::Text))
        }
        Kind::Array => {
            let blocks = value.array_at(path)?.into_iter().enumerate().map(|(i, b)| read(b, &path.index(i)));
            Ok((blocks.collect::<Result<_, _>>()?, ContentShape::Parts))
        }
        _ => Err(value.expected(path, "a string or an array of blocks")),
    }
}

// === write ===

/// Writes content under this name: a string when it was one (or, from another format, can be one), else blocks. Returns false when nothing
/// is left to say, and then writes nothing.
pub(super) fn write_content(o: &mut Object<'_>, name: &str, parts: &[(String, &Part)], shape: ContentShape, c: &mut Crossing) -> bool {
    let text = match parts {
        [] if c.same && shape == ContentShape::Text => Some(""),
        [(_, part)] if !(c.same && shape == ContentShape::Parts) => bare_text(part).filter(|t| c.same || !t.is_empty()),
        _ => None,
    };
    if let Some(text) = text {
        o.string(name, text);
        return true;
    }
    o.member_if(name, |out| {
        let start = out.len();
        let mut list = Array::new(out);
        for (at, part) in parts {
            write(&mut list, part, at, c);
        }
        list.end();
        c.same || &out[start..] != b"[]"
    })
}

/// Whether the block can be written in this format; a loss when it cannot.
fn expressible(part: &Part, at: &str, c: &mut Crossing) -> bool {
    match &part.kind {
        PartKind::Other(other) if other.format == NAME => return true,
        PartKind::Other(other) => {
            c.lose(at, format!("the target format has no part `{}`", other.kind));
            return false;
        }
        _ if c.same => return true,
        PartKind::Text(text) | PartKind::Refusal(text) if text.is_empty() => return false,
        PartKind::Audio(_) => {
            c.lose(at, "Anthropic takes no sound");
            return false;
        }
        PartKind::Thinking(t) if t.signature.as_ref().is_none_or(String::is_empty) => {
            c.lose_as(LossKind::Foreign, at, "Anthropic refuses reasoning without its own signature");
            return false;
        }
        PartKind::Image(m) => return media::expressible(m, false, at, c),
        PartKind::Document(m) => return media::expressible(m, true, at, c),
        _ => {}
    }
    true
}

/// Writes a block, unless the format cannot hold it.
pub(super) fn write(list: &mut Array<'_>, part: &Part, at: &str, c: &mut Crossing) {
    if !expressible(part, at, c) {
        return;
    }
    c.lose_extras(at, &part.extras);
    let extras = c.extras(&part.extras);
    if let PartKind::Other(other) = &part.kind {
        return write_raw(list.element(), &ensure_valid(&other.value));
    }
    let mut o = list.object();
    match &part.kind {
        PartKind::Text(text) | PartKind::Refusal(text) => {
            o.string("type", "text");
            o.string("text", text);
        }
        PartKind::Image(m) => media::write(&mut o, m, false, extras, c.same),
        PartKind::Audio(m) | PartKind::Document(m) => media::write(&mut o, m, true, extras, c.same),
        PartKind::Thinking(t) => {
            o.string("type", "thinking");
            o.string("thinking", &t.text);
            if let Some(signature) = &t.signature {
                o.string("signature", signature);
            }
        }
        PartKind::RedactedThinking(data) => {
            o.string("type", "redacted_thinking");
            o.string("data", data);
        }
        PartKind::ToolCall(call) => {
            extras.hint(&mut o, "type");
            call_head(&mut o, call, c.same, &call.id);
            write_input(&mut o, call, at, c);
        }
        PartKind::ToolResult(result) => write_result(&mut o, result, at, c),
        PartKind::Other(_) => {}
    }
    if let Some(cache) = &part.cache_control {
        o.json("cache_control", cache);
    }
    extras.rest(&mut o, &[]);
    o.end();
}

/// Writes `type`, `id` and `name` of a call. Other formats' ids may hold characters that Anthropic refuses; call and result
/// change alike.
pub(super) fn call_head(o: &mut Object<'_>, call: &ToolCall, same: bool, id: &str) {
    if !o.wrote("type") {
        o.string("type", if call.kind == ToolCallKind::Server { "server_tool_use" } else { "tool_use" });
    }
    o.string("id", &call_id(id, same));
    o.string("name", &call.name);
}

/// An id in the letters that Anthropic takes.
fn call_id(id: &str, same: bool) -> String {
    if same {
        id.to_owned()
    } else {
        id.chars().map(|c| if c.is_ascii_alphanumeric() || matches!(c, '_' | '-') { c } else { '_' }).collect()
    }
}

/// Writes `input`, which must be an object. What is none is wrapped as Anthropic's guide to fine-grained tool streaming has it.
fn write_input(o: &mut Object<'_>, call: &ToolCall, at: &str, c: &mut Crossing) {
    let arguments = call.arguments.trim();
    if call.kind == ToolCallKind::Custom {
        c.lose_as(LossKind::Adjusted, format!("{at}.arguments"), "free-form input of a custom tool, which becomes an object with `input`");
        let mut input = o.object("input");
        input.string("input", &call.arguments);
        input.end();
    } else if arguments.is_empty() {
        o.raw("input", "{}");
    } else if Value::parse(arguments).is_some_and(|v| v.kind() == Kind::Object) {
        o.raw("input", arguments);
    } else {
        c.lose_as(LossKind::Adjusted, format!("{at}.arguments"), "not a JSON object, so it stands in one as `INVALID_JSON`");
        let mut input = o.object("input");
        input.string("INVALID_JSON", &call.arguments);
        input.end();
    }
}

fn write_result(o: &mut Object<'_>, result: &ToolResult, at: &str, c: &mut Crossing) {
    o.string("type", "tool_result");
    o.string("tool_use_id", &call_id(&result.tool_call_id, c.same));
    let bare = match &result.content[..] {
        [] => Some(""),
        [ResultPart { kind: ResultPartKind::Text(text), cache_control: None, extras }] if extras.is_empty() => Some(text.as_str()),
        _ => None,
    };
    match (result.shape, bare) {
        (ContentShape::Absent, _) if result.content.is_empty() => {}
        (ContentShape::Null, _) if result.content.is_empty() && c.same => o.raw("content", "null"),
        (ContentShape::Parts, _) if c.same => write_pieces(o, result, at, c),
        (_, Some(text)) => o.string("content", text),
        (_, None) => write_pieces(o, result, at, c),
    }
    if let Some(is_error) = result.is_error {
        o.bool("is_error", is_error);
    }
}

fn write_pieces(o: &mut Object<'_>, result: &ToolResult, at: &str, c: &mut Crossing) {
    let mut list = o.array("content");
    for (i, piece) in result.content.iter().enumerate() {
        let kind = match &piece.kind {
            ResultPartKind::Text(text) => PartKind::Text(text.clone()),
            ResultPartKind::Image(m) => PartKind::Image(m.clone()),
            ResultPartKind::Document(m) => PartKind::Document(m.clone()),
            ResultPartKind::Other(value) => {
                let format = if c.same { NAME } else { "" };
                PartKind::Other(OtherPart { format: format.into(), kind: "of a tool's result".into(), value: value.clone() })
            }
        };
        let part = Part { kind, cache_control: piece.cache_control.clone(), extras: piece.extras.clone() };
        write(&mut list, &part, &format!("{at}.content[{i}]"), c);
    }
    list.end();
}
