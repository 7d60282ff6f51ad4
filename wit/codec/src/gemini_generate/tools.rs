//! Tools and the choice among them.

use super::NAME;
use super::schema::{self, to_json_schema};
use super::spelling::{Name, Spelling, once, quoted, spelled, spelled_in};
use crate::DecodeError;
use crate::hub::{ChatRequest, Extra, FunctionTool, OtherPart, Tool, ToolChoice, ToolKind, extra};
use crate::json::{Array, Fields, Kind, Object, Path, Value};
use crate::map::{Crossing, Extras};

const DECLARATIONS: Name = ("functionDeclarations", "function_declarations");
const PARAMETERS_SCHEMA: Name = ("parametersJsonSchema", "parameters_json_schema");
const TOOL_CONFIG: Name = ("toolConfig", "tool_config");
const CALLING_CONFIG: Name = ("functionCallingConfig", "function_calling_config");
const ALLOWED: Name = ("allowedFunctionNames", "allowed_function_names");

/// Note on a tool: which element of `tools` it stood in. One element may hold many functions and tools of the provider.
const ELEMENT: &str = "$element";
/// Note on a function: its `parameters` in the format's own language of schemas.
const PARAMETERS: &str = "$parameters";
/// Note with the `toolConfig` as it came.
const CONFIG: &str = "$toolConfig";

/// Stands before what the choice says and the hub has no place for. It is written with the note.
pub(super) const PREFIX: &str = "toolConfig.";

// === read ===

pub(super) fn read(f: &mut Fields<'_>, hints: &mut Vec<Extra>) -> Result<Vec<Tool>, DecodeError> {
    let Some(value) = f.take_some("tools") else { return Ok(Vec::new()) };
    let at = Path::Root;
    let path = at.key("tools");
    let list = value.array_at(&path)?;
    if list.is_empty() {
        hints.push(Extra::new("tools", "[]"));
    }
    let mut tools = Vec::new();
    for (i, element) in list.into_iter().enumerate() {
        read_element(element, i, &path.index(i), &mut tools)?;
    }
    Ok(tools)
}

fn read_element(element: Value<'_>, i: usize, path: &Path<'_>, tools: &mut Vec<Tool>) -> Result<(), DecodeError> {
    let mut f = element.object_at(path)?;
    let before = tools.len();
    let place = || Extra::new(ELEMENT, i.to_string());
    let mut spelling = Spelling::default();
    let name = spelling.of(&f, path, DECLARATIONS)?;
    if let Some(list) = f.peek(name).filter(|v| !v.is_null()) {
        let path = path.key(name);
        let list = list.array_at(&path)?;
        if !list.is_empty() {
            f.take(name);
        }
        let note = spelling.note();
        for (j, function) in list.into_iter().enumerate() {
            let mut tool = read_function(function, &path.index(j))?;
            tool.extras.push(place());
            tool.extras.extend(note.clone().map(|n| Extra::new(DECLARED, n.value)));
            tools.push(tool);
        }
    }
    for e in f.rest() {
        let mut json = Vec::new();
        let mut o = Object::new(&mut json);
        o.raw(&e.name, &e.value);
        o.end();
        let other = OtherPart { format: NAME.into(), kind: e.name, value: String::from_utf8(json).unwrap_or_default() };
        tools.push(Tool { kind: ToolKind::Other(other), cache_control: None, extras: vec![place()] });
    }
    if tools.len() == before {
        let other = OtherPart { format: NAME.into(), kind: String::new(), value: "{}".into() };
        tools.push(Tool { kind: ToolKind::Other(other), cache_control: None, extras: vec![place()] });
    }
    Ok(())
}

/// Note on a function whose list was spelled the second way.
const DECLARED: &str = "$declared";

fn read_function(value: Value<'_>, path: &Path<'_>) -> Result<Tool, DecodeError> {
    let mut f = value.object_at(path)?;
    let mut spelling = Spelling::default();
    let mut extras = Vec::new();
    let name = f.need_text(path, "name")?.into_owned();
    let description = f.optional_text(path, "description")?;
    let object = |v: Value<'_>| (v.kind() == Kind::Object).then(|| v.raw().to_owned());
    let standard = spelling.of(&f, path, PARAMETERS_SCHEMA)?;
    let mut parameters = f.optional(path, standard, "an object", object)?;
    if parameters.is_none()
        && let Some(own) = f.optional(path, "parameters", "an object", |v| (v.kind() == Kind::Object).then_some(v))?
    {
        schema::check(own, &path.key("parameters"))?;
        parameters = Some(to_json_schema(own));
        extras.push(Extra::new(PARAMETERS, own.raw()));
    }
    extras.extend(spelling.note());
    let mut rest = f.rest();
    rest.retain(|e| !e.name.starts_with('$'));
    extras.extend(rest);
    let tool = FunctionTool { name, description, parameters, strict: None };
    Ok(Tool { kind: ToolKind::Function(tool), cache_control: None, extras })
}

/// Reads `toolConfig`, which stays whole as a note.
pub(super) fn read_config(f: &mut Fields<'_>, spelling: &mut Spelling, hints: &mut Vec<Extra>) -> Result<Option<ToolChoice>, DecodeError> {
    let at = Path::Root;
    let name = spelling.of(f, &at, TOOL_CONFIG)?;
    let Some(value) = f.take_some(name) else { return Ok(None) };
    let path = at.key(name);
    let mut config = value.object_at(&path)?;
    hints.push(Extra::new(CONFIG, value.raw()));
    let calling = Spelling::default().of(&config, &path, CALLING_CONFIG)?;
    let choice = match config.take(calling).filter(|v| !v.is_null()) {
        Some(calling_config) => {
            let here = path.key(calling);
            once(&calling_config.object_at(&here)?, &here, ALLOWED)?;
            let names = names(calling_config);
            if names.len() > 1 {
                hints.push(Extra::new(
                    format!("{PREFIX}{}", ALLOWED.0),
                    format!("[{}]", names.iter().map(|n| quoted(n)).collect::<Vec<_>>().join(",")),
                ));
            }
            read_choice(calling_config)
        }
        None => None,
    };
    hints.extend(config.rest_with(PREFIX));
    Ok(choice)
}

fn names(calling: Value<'_>) -> Vec<String> {
    let list = calling.object().and_then(|f| super::spelling::peek(&f, ALLOWED)).and_then(Value::elements);
    list.into_iter().flatten().filter_map(|name| Some(name.text()?.into_owned())).collect()
}

/// The choice that a `functionCallingConfig` is. That only some functions may be called has no place in the hub.
fn read_choice(calling: Value<'_>) -> Option<ToolChoice> {
    let mut f = calling.object()?;
    let mode = f.take("mode").filter(|v| !v.is_null())?;
    let names = names(calling);
    Some(match (mode.text()?.as_ref(), &names[..]) {
        ("AUTO" | "auto", _) => ToolChoice::Auto,
        ("NONE" | "none", _) => ToolChoice::None,
        ("ANY" | "any", [name]) => ToolChoice::Function(name.clone()),
        ("ANY" | "any", _) => ToolChoice::Required,
        _ => ToolChoice::Other(calling.raw().into()),
    })
}

// === write ===

/// Writes `tools` and `toolConfig`.
pub(super) fn write(o: &mut Object<'_>, r: &ChatRequest, extras: Extras<'_>, c: &mut Crossing) {
    let foreign = |t: &Tool| matches!(&t.kind, ToolKind::Other(other) if other.format != NAME);
    for (i, tool) in r.tools.iter().enumerate() {
        let at = format!("tools[{i}]");
        match &tool.kind {
            ToolKind::Other(other) if other.format != NAME => {
                c.lose(at, format!("the tool `{}` does not exist in the target format", other.kind));
            }
            _ if c.same => {}
            _ => lose_beside(tool, &at, c),
        }
    }
    let mut own = r.tools.iter().filter(|t| !foreign(t)).peekable();
    let any = own.peek().is_some();
    if any {
        let mut list = o.array("tools");
        while let Some(first) = own.next() {
            let place = element(first, c.same);
            let mut together = vec![first];
            while let Some(next) = own.next_if(|next| joins(first, next, &place, c.same)) {
                together.push(next);
            }
            write_element(list.object(), &together, c.same);
        }
        list.end();
    } else {
        extras.hint(o, "tools");
    }
    if any || c.same {
        write_config(o, r, extras, c);
    }
}

fn lose_beside(tool: &Tool, at: &str, c: &mut Crossing) {
    c.lose_extras(at, &tool.extras);
    if tool.cache_control.is_some() {
        c.lose(format!("{at}.cache_control"), "Gemini caches by itself and takes no breakpoints");
    }
    if matches!(&tool.kind, ToolKind::Function(f) if f.strict == Some(true)) {
        c.lose(format!("{at}.strict"), "Gemini has no such switch for one function");
    }
}

/// Which element of the list a tool stood in.
fn element(tool: &Tool, same: bool) -> Option<String> {
    extra(&tool.extras, ELEMENT).filter(|_| same).map(str::to_owned)
}

/// Whether the next tool stands in the same element.
fn joins(first: &Tool, next: &Tool, place: &Option<String>, same: bool) -> bool {
    let functions = matches!((&first.kind, &next.kind), (ToolKind::Function(_), ToolKind::Function(_)));
    element(next, same) == *place && (place.is_some() || functions)
}

fn write_element(mut o: Object<'_>, tools: &[&Tool], same: bool) {
    let functions: Vec<(&Tool, &FunctionTool)> =
        tools.iter().filter_map(|t| if let ToolKind::Function(f) = &t.kind { Some((*t, f)) } else { None }).collect();
    if let Some((first, _)) = functions.first() {
        let snake = same && extra(&first.extras, DECLARED).is_some();
        let mut list = o.array(if snake { DECLARATIONS.1 } else { DECLARATIONS.0 });
        functions.iter().for_each(|(tool, f)| write_function(&mut list, tool, f, same));
        list.end();
    }
    for tool in tools {
        if let ToolKind::Other(other) = &tool.kind {
            let members = Value::parse(&other.value).and_then(Value::object).map(Fields::rest).unwrap_or_default();
            members.iter().filter(|e| !o.wrote(&e.name)).collect::<Vec<_>>().into_iter().for_each(|e| o.raw(&e.name, &e.value));
        }
    }
    o.end();
}

fn write_function(list: &mut Array<'_>, tool: &Tool, f: &FunctionTool, same: bool) {
    let extras = Extras::new(&tool.extras, same);
    let mut o = list.object();
    o.string("name", &f.name);
    if let Some(description) = &f.description {
        o.string("description", description);
    }
    let own = extras.get(PARAMETERS).and_then(Value::parse);
    match (&f.parameters, own.filter(|own| f.parameters.as_deref() == Some(&to_json_schema(*own)))) {
        (Some(_), Some(own)) => o.raw("parameters", own.raw()),
        (Some(parameters), None) => o.json(spelled_in(&tool.extras, same, PARAMETERS_SCHEMA), parameters),
        (None, _) => {}
    }
    extras.rest(&mut o, &[]);
    o.end();
}

fn write_config(o: &mut Object<'_>, r: &ChatRequest, extras: Extras<'_>, c: &mut Crossing) {
    let hint = extras.get(CONFIG).and_then(Value::parse);
    let told = hint.and_then(Value::object).and_then(|f| super::spelling::peek(&f, CALLING_CONFIG)).and_then(read_choice);
    if let Some(hint) = hint.filter(|_| told == r.tool_choice) {
        return o.raw(spelled(extras, TOOL_CONFIG), hint.raw());
    }
    let (mode, name) = match &r.tool_choice {
        Some(ToolChoice::Other(_)) if !c.same => return c.lose("tool_choice", "the target format has no such choice"),
        Some(ToolChoice::Auto) => (Some("AUTO"), None),
        Some(ToolChoice::None) => (Some("NONE"), None),
        Some(ToolChoice::Required) => (Some("ANY"), None),
        Some(ToolChoice::Function(name)) => (Some("ANY"), Some(name)),
        Some(ToolChoice::Other(_)) | None => (None, None),
    };
    let rest = hint.and_then(Value::object).map(|mut f| {
        f.take(CALLING_CONFIG.0);
        f.take(CALLING_CONFIG.1);
        f.rest()
    });
    let rest = rest.unwrap_or_default();
    if r.tool_choice.is_none() && rest.is_empty() {
        return;
    }
    let mut config = o.object(spelled(extras, TOOL_CONFIG));
    match (&r.tool_choice, mode) {
        (Some(ToolChoice::Other(json)), _) => config.json(CALLING_CONFIG.0, json),
        (_, Some(mode)) => {
            let mut calling = config.object(CALLING_CONFIG.0);
            calling.string("mode", mode);
            if let Some(name) = name {
                let mut list = calling.array(ALLOWED.0);
                list.string(name);
                list.end();
            }
            calling.end();
        }
        _ => {}
    }
    rest.iter().for_each(|e| config.raw(&e.name, &e.value));
    config.end();
}
