//! Tools and the choice among them.

use super::NAME;
use crate::DecodeError;
use crate::hub::{ChatRequest, Extra, FunctionTool, OtherPart, Tool, ToolChoice, ToolKind};
use crate::json::{Array, Fields, Kind, Object, Path, Value, ensure_valid, write_raw};
use crate::map::{Crossing, Extras};
use crate::openai_tools::{self, Own};

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
    const OWN: Own = Own { name: NAME, foreign: "the tool", tool: write_tool, chosen: write_chosen };
    openai_tools::write(o, r, extras, c, &OWN);
}

fn write_chosen(choice: &mut Object<'_>, name: &str) {
    choice.string("name", name);
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
