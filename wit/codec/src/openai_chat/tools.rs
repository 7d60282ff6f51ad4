//! Tools and the choice among them.

use super::NAME;
use crate::DecodeError;
use crate::hub::{ChatRequest, Extra, FunctionTool, OtherPart, Tool, ToolChoice, ToolKind};
use crate::json::{Array, Fields, Kind, Object, Path, Value};
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
    let function = f.need(path, "function", "an object")?;
    let inner_path = path.key("function");
    let mut inner = function.object_at(&inner_path)?;
    let tool = FunctionTool {
        name: inner.need_text(&inner_path, "name")?.into_owned(),
        description: inner.optional_text(&inner_path, "description")?,
        parameters: inner.optional(&inner_path, "parameters", "an object", |v| (v.kind() == Kind::Object).then(|| v.raw().to_owned()))?,
        strict: inner.optional_bool(&inner_path, "strict")?,
    };
    let cache_control = f.take_some("cache_control").map(|v| v.raw().to_owned());
    let mut extras = inner.rest_with("function.");
    extras.extend(f.rest_beside());
    Ok(Tool { kind: ToolKind::Function(tool), cache_control, extras })
}

pub(super) fn read_choice(value: Value<'_>, path: &Path<'_>) -> Result<ToolChoice, DecodeError> {
    match (value.text().as_deref(), value.kind()) {
        (Some("auto"), _) => Ok(ToolChoice::Auto),
        (Some("none"), _) => Ok(ToolChoice::None),
        (Some("required"), _) => Ok(ToolChoice::Required),
        // Mistral's `any` and whatever comes next: the provider knows.
        (Some(_), _) => Ok(ToolChoice::Other(value.raw().into())),
        (None, Kind::Object) => {
            let named = || {
                let mut f = value.object()?;
                let plain = f.take("type")?.text()? == "function";
                let mut function = f.take("function")?.object()?;
                let name = function.take("name")?.text()?.into_owned();
                (plain && f.rest().is_empty() && function.rest().is_empty()).then_some(ToolChoice::Function(name))
            };
            Ok(named().unwrap_or_else(|| ToolChoice::Other(value.raw().into())))
        }
        _ => Err(value.expected(path, "a string or an object")),
    }
}

pub(super) fn write(o: &mut Object<'_>, r: &ChatRequest, extras: Extras<'_>, c: &mut Crossing) {
    const OWN: Own = Own { name: NAME, foreign: "the provider's own tool", tool: write_tool, chosen: write_chosen };
    openai_tools::write(o, r, extras, c, &OWN);
}

fn write_chosen(choice: &mut Object<'_>, name: &str) {
    let mut function = choice.object("function");
    function.string("name", name);
    function.end();
}

fn write_tool(list: &mut Array<'_>, tool: &Tool, c: &Crossing) {
    let f = match &tool.kind {
        ToolKind::Other(other) => return list.element().extend_from_slice(crate::json::ensure_valid(&other.value).as_bytes()),
        ToolKind::Function(f) => f,
    };
    let extras = c.extras(&tool.extras);
    let mut o = list.object();
    o.string("type", "function");
    let mut inner = o.object("function");
    inner.string("name", &f.name);
    if let Some(description) = &f.description {
        inner.string("description", description);
    }
    if let Some(parameters) = &f.parameters {
        inner.json("parameters", parameters);
    }
    if let Some(strict) = f.strict {
        inner.bool("strict", strict);
    }
    extras.nested("function.").rest(&mut inner, &[]);
    inner.end();
    if let Some(cache) = tool.cache_control.as_ref().filter(|_| c.same) {
        o.json("cache_control", cache);
    }
    extras.rest_beside(&mut o, &["type"], &["function."]);
    o.end();
}
