//! Tools and the choice among them.

use super::NAME;
use crate::DecodeError;
use crate::hub::{ChatRequest, FunctionTool, OtherPart, Tool, ToolChoice, ToolKind};
use crate::json::{Array, Kind, Object, Path, Value, ensure_valid};
use crate::map::{Crossing, Extras};

/// Reads a tool: `custom` or no type is a function of the caller, everything else a tool of the provider.
pub(super) fn read(value: Value<'_>, path: &Path<'_>) -> Result<Tool, DecodeError> {
    let mut f = value.object_at(path)?;
    let word = f.peek("type").filter(|v| !v.is_null()).map(|v| v.text_at(&path.key("type"))).transpose()?;
    if let Some(word) = word.filter(|w| w != "custom") {
        let kind = ToolKind::Other(OtherPart { format: NAME.into(), kind: word.into_owned(), value: value.raw().into() });
        return Ok(Tool { kind, cache_control: None, extras: Vec::new() });
    }
    let object = |v: Value<'_>| (v.kind() == Kind::Object).then(|| v.raw().to_owned());
    let tool = FunctionTool {
        name: f.need_text(path, "name")?.into_owned(),
        description: f.optional_text(path, "description")?,
        parameters: f.optional(path, "input_schema", "an object", object)?,
        strict: f.optional_bool(path, "strict")?,
    };
    let cache_control = f.take_some("cache_control").map(|v| v.raw().to_owned());
    Ok(Tool { kind: ToolKind::Function(tool), cache_control, extras: f.rest() })
}

/// A choice, and whether several calls at once are fine.
pub(super) type Choice = (Option<ToolChoice>, Option<bool>);

/// Reads `tool_choice`.
pub(super) fn read_choice(value: Value<'_>) -> Choice {
    let Some(mut f) = value.object() else { return (Some(ToolChoice::Other(value.raw().into())), None) };
    let kind = f.take("type").and_then(Value::text).unwrap_or_default();
    let name = f.take("name").and_then(Value::text);
    let parallel = f.take("disable_parallel_tool_use").and_then(Value::bool).map(|off| !off);
    let choice = match (kind.as_ref(), name) {
        ("auto", None) => ToolChoice::Auto,
        ("any", None) => ToolChoice::Required,
        ("none", None) => ToolChoice::None,
        ("tool", Some(name)) => ToolChoice::Function(name.into_owned()),
        _ => ToolChoice::Other(value.raw().into()),
    };
    (Some(choice), parallel)
}

/// Writes `tools` and `tool_choice`.
pub(super) fn write(o: &mut Object<'_>, r: &ChatRequest, extras: Extras<'_>, c: &mut Crossing) {
    let foreign = |t: &Tool| matches!(&t.kind, ToolKind::Other(other) if other.format != NAME);
    for (i, tool) in r.tools.iter().enumerate() {
        if let (true, ToolKind::Other(other)) = (foreign(tool), &tool.kind) {
            c.lose(format!("tools[{i}]"), format!("the tool `{}` does not exist in the target format", other.kind));
        }
    }
    let any = r.tools.iter().any(|t| !foreign(t));
    if any {
        let mut list = o.array("tools");
        for (i, tool) in r.tools.iter().enumerate().filter(|(_, t)| !foreign(t)) {
            write_tool(&mut list, tool, &format!("tools[{i}]"), c);
        }
        list.end();
    } else {
        extras.hint(o, "tools");
    }
    if any || c.same {
        write_choice(o, r, extras, c);
    }
}

fn write_tool(list: &mut Array<'_>, tool: &Tool, at: &str, c: &mut Crossing) {
    let f = match &tool.kind {
        ToolKind::Other(other) => return list.element().extend_from_slice(ensure_valid(&other.value).as_bytes()),
        ToolKind::Function(f) => f,
    };
    c.lose_extras(at, &tool.extras);
    let extras = c.extras(&tool.extras);
    let mut o = list.object();
    o.string("name", &f.name);
    if let Some(description) = &f.description {
        o.string("description", description);
    }
    match &f.parameters {
        Some(parameters) => o.json("input_schema", parameters),
        None if c.same => {}
        None => o.raw("input_schema", r#"{"type":"object","properties":{}}"#),
    }
    match f.strict {
        Some(strict) if c.same => o.bool("strict", strict),
        // OpenAI's clients ask for it as a matter of course; Anthropic's models have limits on how much of it they take.
        Some(true) => c.lose(format!("{at}.strict"), "not every Anthropic model takes strict tools"),
        _ => {}
    }
    if let Some(cache) = &tool.cache_control {
        o.json("cache_control", cache);
    }
    extras.rest(&mut o, &[]);
    o.end();
}

fn write_choice(o: &mut Object<'_>, r: &ChatRequest, extras: Extras<'_>, c: &mut Crossing) {
    let wanted = (r.tool_choice.clone(), r.params.parallel_tool_calls);
    let read = |hint: Value<'_>| if hint.is_null() { (None, None) } else { read_choice(hint) };
    if let Some(hint) = extras.get("tool_choice").and_then(Value::parse).filter(|hint| read(*hint) == wanted) {
        return o.raw("tool_choice", hint.raw());
    }
    let (kind, name) = match &r.tool_choice {
        Some(ToolChoice::Other(json)) if c.same => return o.json("tool_choice", json),
        Some(ToolChoice::Other(_)) => return c.lose("tool_choice", "the target format has no such choice"),
        Some(ToolChoice::None) => ("none", None),
        Some(ToolChoice::Required) => ("any", None),
        Some(ToolChoice::Function(name)) => ("tool", Some(name)),
        Some(ToolChoice::Auto) => ("auto", None),
        // Only to say that calls must come one by one, which has no other place.
        None if r.params.parallel_tool_calls == Some(false) => ("auto", None),
        None => return,
    };
    let mut choice = o.object("tool_choice");
    choice.string("type", kind);
    if let Some(name) = name {
        choice.string("name", name);
    }
    if r.params.parallel_tool_calls == Some(false) && kind != "none" {
        choice.bool("disable_parallel_tool_use", true);
    }
    choice.end();
}
