//! What both of OpenAI's interfaces write alike of tools: which can be written, what is lost, and the choice among them.

use crate::hub::{ChatRequest, Tool, ToolChoice, ToolKind};
use crate::json::{Array, Object};
use crate::map::{Crossing, Extras};

/// What an interface writes in its own way.
pub(crate) struct Own {
    /// The format.
    pub name: &'static str,
    /// What a tool of another format is called in a loss.
    pub foreign: &'static str,
    /// One tool.
    pub tool: fn(&mut Array<'_>, &Tool, &Crossing),
    /// The members that name the function which is chosen.
    pub chosen: fn(&mut Object<'_>, &str),
}

/// Writes `tools` and `tool_choice`.
pub(crate) fn write(o: &mut Object<'_>, r: &ChatRequest, extras: Extras<'_>, c: &mut Crossing, own: &Own) {
    let expressible = |t: &Tool| match &t.kind {
        ToolKind::Function(_) => true,
        ToolKind::Other(other) => other.format == own.name,
    };
    for (i, tool) in r.tools.iter().enumerate() {
        let at = format!("tools[{i}]");
        match &tool.kind {
            ToolKind::Other(other) if !expressible(tool) => {
                c.lose(at, format!("{} `{}` does not exist in the target format", own.foreign, other.kind));
            }
            _ => {
                c.lose_extras(&at, &tool.extras);
                if tool.cache_control.is_some() && !c.same {
                    c.lose(format!("{at}.cache_control"), "OpenAI caches by itself and takes no breakpoints");
                }
            }
        }
    }
    if r.tools.iter().any(expressible) {
        let mut list = o.array("tools");
        r.tools.iter().filter(|t| expressible(t)).for_each(|t| (own.tool)(&mut list, t, c));
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
            (own.chosen)(&mut choice, name);
            choice.end();
        }
        Some(ToolChoice::Other(json)) if c.same => o.json("tool_choice", json),
        Some(ToolChoice::Other(_)) => c.lose("tool_choice", "the target format has no such choice"),
    }
}
