//! Tools and the choice among them.

use super::NAME;
use crate::DecodeError;
use crate::hub::{ChatRequest, Extra, FunctionTool, OtherPart, Tool, ToolChoice, ToolKind};
use crate::json::{Array, Fields, Kind, Object, Path, Value, ensure_valid, write_raw};
use crate::map::{Crossing, Extras};

pub(super) fn read(f: &mut Fields<'_>, hints: &mut Vec<Extra>) -> Result<Vec<Tool>, DecodeError> {
    let Some(value) = f.take_some("tools") else { return Ok(Vec::new()) };
    let at = Path::Root;
    let path = at.key("tools");
    let list = value.array_at(&path)?;
    if list.is_empty() {
        hints.push(Extra::new("tools", "[]"));
    }
    list.into_iter().enumerate().map(|(i, tool)| read_tool(tool, &path.index(i))).collect()
}

fn read_tool(value: Value<'_>, path: &Path<'_>) -> Result<Tool, DecodeError> {
    let mut f = value.object_at(path)?;
    let kind = f.need_text(path, "type")?;
    if kind != "function" {
        let kind = ToolKind::Other(OtherPart { format: NAME.into(), kind: kind.into_owned(), value: value.raw().into() });
        return Ok(Tool { kind, cache_control: None, extras: Vec::new() });
    }
    let tool = FunctionTool {
        name: f.need_text(path, "name")?.into_owned(),
        description: f.optional_text(path, "description")?,
        parameters: f.optional(path, "parameters", "an object", |v| (v.kind() == Kind::Object).then(|| v.raw().to_owned()))?,
        strict: f.optional_bool(path, "strict")?,
    };
    Ok(Tool { kind: ToolKind::Function(tool), cache_control: None, extras: f.rest() })
}

pub(super) fn read_choice(value: Value<'_>, path: &Path<'_>) -> Result<ToolChoice, DecodeError> {
    match (value.text().as_deref(), value.kind()) {
        (Some("auto"), _) => Ok(ToolChoice::Auto),
        (Some("none"), _) => Ok(ToolChoice::None),
        (Some("required"), _) => Ok(ToolChoice::Required),
        (Some(_), _) => Ok(ToolChoice::Other(value.raw().into())),
        (None, Kind::Object) => {
            let named = || {
                let mut f = value.object()?;
                let plain = f.take("type")?.text()? == "function";
                let name = f.take("name")?.text()?.into_owned();
                (plain && f.rest().is_empty()).then_some(ToolChoice::Function(name))
            };
            Ok(named().unwrap_or_else(|| ToolChoice::Other(value.raw().into())))
        }
        _ => Err(value.expected(path, "a string or an object")),
    }
}

pub(super) fn write(o: &mut Object<'_>, r: &ChatRequest, extras: Extras<'_>, c: &mut Crossing) {
    let expressible = |t: &Tool| match &t.kind {
        ToolKind::Function(_) => true,
        ToolKind::Other(other) => other.format == NAME,
    };
    for (i, tool) in r.tools.iter().enumerate() {
        let at = format!("tools[{i}]");
        match &tool.kind {
            ToolKind::Other(other) if !expressible(tool) => {
                c.lose(at, format!("the tool `{}` does not exist in the target format; dropped", other.kind));
            }
            _ => {
                c.lose_extras(&at, &tool.extras);
                if tool.cache_control.is_some() && !c.same {
                    c.lose(format!("{at}.cache_control"), "OpenAI caches by itself and takes no breakpoints; dropped");
                }
            }
        }
    }
    if r.tools.iter().any(expressible) {
        let mut list = o.array("tools");
        r.tools.iter().filter(|t| expressible(t)).for_each(|t| write_tool(&mut list, t, c));
        list.end();
    } else {
        extras.hint(o, "tools");
        if !c.same {
            // A choice among no tools is an error.
            return;
        }
    }
    match &r.tool_choice {
        None => extras.hint(o, "tool_choice"),
        Some(ToolChoice::Auto) => o.string("tool_choice", "auto"),
        Some(ToolChoice::None) => o.string("tool_choice", "none"),
        Some(ToolChoice::Required) => o.string("tool_choice", "required"),
        Some(ToolChoice::Function(name)) => {
            let mut choice = o.object("tool_choice");
            choice.string("type", "function");
            choice.string("name", name);
            choice.end();
        }
        Some(ToolChoice::Other(json)) if c.same => o.json("tool_choice", json),
        Some(ToolChoice::Other(_)) => c.lose("tool_choice", "the target format has no such choice; dropped"),
    }
}

fn write_tool(list: &mut Array<'_>, tool: &Tool, c: &Crossing) {
    let f = match &tool.kind {
        ToolKind::Other(other) => return write_raw(list.element(), &ensure_valid(&other.value)),
        ToolKind::Function(f) => f,
    };
    let mut o = list.object();
    o.string("type", "function");
    o.string("name", &f.name);
    if let Some(description) = &f.description {
        o.string("description", description);
    }
    match &f.parameters {
        Some(parameters) => o.json("parameters", parameters),
        None if c.same => {}
        None => o.raw("parameters", r#"{"type":"object","properties":{}}"#),
    }
    match f.strict {
        Some(strict) => o.bool("strict", strict),
        None if c.same => {}
        // Here the default is the other way round than anywhere else.
        None => o.bool("strict", false),
    }
    c.extras(&tool.extras).rest(&mut o, &[]);
    o.end();
}
