//! Calls of functions and what they returned: `functionCall` and `functionResponse`.

use std::collections::{HashMap, VecDeque};

use super::blocks;
use super::spelling::{Name, quoted, spelled};
use crate::hub::{ContentShape, Extra, Message, OtherPart, Part, PartKind, ResultPart, ResultPartKind, ToolCall, ToolCallKind, ToolResult};
use crate::json::{Array, Fields, Kind, Object, Path, Value};
use crate::map::{Crossing, Extras};
use crate::{DecodeError, LossKind};

pub(super) const FUNCTION_CALL: Name = ("functionCall", "function_call");
pub(super) const FUNCTION_RESPONSE: Name = ("functionResponse", "function_response");

/// Note on a call or a result that had no id; it has one that was made here.
pub(super) const NO_ID: &str = "$no-id";
/// Note on a call without `args`.
const NO_ARGS: &str = "$no-args";
/// Note on a result that had no `response`.
const NO_RESPONSE: &str = "$no-response";
/// Note on a result whose text is the whole `response` object.
const WHOLE: &str = "$whole";

/// Note with the name of the function that a result is of. The hub knows a result by its call alone.
const FUNCTION: &str = "$function";

/// Stands before the members of a call that the hub does not have.
pub(super) const CALL: &str = "functionCall.";
/// The same for a result.
pub(super) const RESPONSE: &str = "functionResponse.";

// === ids ===

/// Ids for calls that have none, and the calls that wait for a result.
#[derive(Debug, Default)]
pub(super) struct Ids {
    /// What the ids that are made begin with.
    place: String,
    next: usize,
    calls: Vec<Asked>,
    /// Calls by their id, and by their function, in their order. One that was answered stays in the other queue until that is asked.
    by_id: HashMap<String, VecDeque<usize>>,
    by_function: HashMap<String, VecDeque<usize>>,
    /// How many entries of queues were looked at.
    #[cfg(test)]
    looks: usize,
}

/// A call, until it is answered.
#[derive(Debug)]
struct Asked {
    id: String,
    answered: bool,
}

impl Ids {
    /// Ids for a place whose name no other place of the conversation has.
    pub fn of(place: String) -> Self {
        Self { place, ..Self::default() }
    }

    /// The next place of the same conversation.
    pub fn go_on(&mut self, place: String) {
        self.place = place;
    }

    /// The id of a call; `own` is the one that it has. No two of a place are the same.
    fn call(&mut self, own: Option<String>, name: &str) -> (String, bool) {
        let made = own.is_none();
        let id = own.unwrap_or_else(|| format!("call_{}_{}", self.place, self.next));
        self.next += usize::from(made);
        let at = self.calls.len();
        self.by_id.entry(id.clone()).or_default().push_back(at);
        // Most calls are of a few functions.
        match self.by_function.get_mut(name) {
            Some(queue) => queue.push_back(at),
            None => drop(self.by_function.insert(name.to_owned(), [at].into())),
        }
        self.calls.push(Asked { id: id.clone(), answered: false });
        (id, made)
    }

    /// The id of the call that a result answers: its own, else that of the first call of the function that nobody answered.
    fn result(&mut self, own: Option<String>, name: &str) -> (String, bool) {
        let made = own.is_none();
        let mut queue = match &own {
            Some(own) => self.by_id.get_mut(own),
            None => self.by_function.get_mut(name),
        };
        let mut found = None;
        // Each entry is looked at once: a search for each result would be quadratic.
        while let Some(at) = queue.as_mut().and_then(|queue| queue.pop_front()) {
            #[cfg(test)]
            {
                self.looks += 1;
            }
            if !std::mem::replace(&mut self.calls[at].answered, true) {
                found = Some(self.calls[at].id.clone());
                break;
            }
        }
        (own.or(found).unwrap_or_else(|| format!("call_{name}")), made)
    }
}

// === read ===

/// The id of a call or a result; an empty one is none, and stays.
fn read_id(inner: &mut Fields<'_>, path: &Path<'_>) -> Result<Option<String>, DecodeError> {
    if inner.peek("id").is_some_and(|v| v.raw() == "\"\"") {
        return Ok(None);
    }
    inner.optional_text(path, "id")
}

/// Reads a call.
pub(super) fn read_call(value: Value<'_>, path: &Path<'_>, ids: &mut Ids, extras: &mut Vec<Extra>) -> Result<ToolCall, DecodeError> {
    let mut inner = value.object_at(path)?;
    let name = inner.need_text(path, "name")?.into_owned();
    let (id, made) = ids.call(read_id(&mut inner, path)?, &name);
    let object = |v: Value<'_>| (v.kind() == Kind::Object).then(|| v.raw().to_owned());
    let arguments = inner.optional(path, "args", "an object", object)?;
    if made {
        extras.push(Extra::new(NO_ID, "true"));
    }
    if arguments.is_none() {
        extras.push(Extra::new(NO_ARGS, "true"));
    }
    extras.extend(inner.rest_with(CALL));
    Ok(ToolCall { id, name, arguments: arguments.unwrap_or_else(|| "{}".into()), kind: ToolCallKind::Function })
}

/// Reads a result. Its text is what `output` says, or `error`; a `response` of any other shape is told as it stands.
pub(super) fn read_result(value: Value<'_>, path: &Path<'_>, ids: &mut Ids, extras: &mut Vec<Extra>) -> Result<ToolResult, DecodeError> {
    let mut inner = value.object_at(path)?;
    let name = inner.need_text(path, "name")?.into_owned();
    extras.push(Extra::new(FUNCTION, quoted(&name)));
    let (tool_call_id, made) = ids.result(read_id(&mut inner, path)?, &name);
    if made {
        extras.push(Extra::new(NO_ID, "true"));
    }
    let response = inner.optional(path, "response", "an object", |v| (v.kind() == Kind::Object).then_some(v))?;
    let mut content = Vec::new();
    let mut is_error = None;
    match response {
        None => extras.push(Extra::new(NO_RESPONSE, "true")),
        Some(response) => {
            let (text, failed, whole) = read_response(response);
            if whole {
                extras.push(Extra::new(WHOLE, "true"));
            }
            is_error = failed.then_some(true);
            content.push(ResultPart::new(ResultPartKind::Text(text)));
        }
    }
    let pieces = inner.peek("parts").filter(|v| v.kind() == Kind::Array && v.elements().is_some_and(|mut e| e.next().is_some()));
    if let Some(list) = pieces {
        inner.take("parts");
        let path = path.key("parts");
        for (i, piece) in list.array_at(&path)?.into_iter().enumerate() {
            content.push(read_piece(piece, &path.index(i))?);
        }
    }
    extras.extend(inner.rest_with(RESPONSE));
    Ok(ToolResult { tool_call_id, content, shape: ContentShape::Parts, is_error })
}

/// What a `response` says, whether it says that the call failed, and whether the text is the object itself.
fn read_response(response: Value<'_>) -> (String, bool, bool) {
    let only = || {
        let mut f = response.object()?;
        let (name, text) = ["output", "error"].into_iter().find_map(|name| Some((name, f.take(name)?.text()?.into_owned())))?;
        f.rest().is_empty().then_some((text, name == "error", false))
    };
    only().unwrap_or_else(|| (response.raw().to_owned(), false, true))
}

fn read_piece(value: Value<'_>, path: &Path<'_>) -> Result<ResultPart, DecodeError> {
    let part = blocks::read(value, path, &mut Ids::default())?;
    let kind = match part.kind {
        PartKind::Image(m) => ResultPartKind::Image(m),
        PartKind::Document(m) => ResultPartKind::Document(m),
        _ => return Ok(ResultPart::new(ResultPartKind::Other(value.raw().into()))),
    };
    Ok(ResultPart { kind, cache_control: None, extras: part.extras })
}

// === write ===

/// Writes a call as the member of a part.
pub(super) fn write_call(o: &mut Object<'_>, call: &ToolCall, at: &str, extras: Extras<'_>, c: &mut Crossing) {
    let mut f = o.object(spelled(extras, FUNCTION_CALL));
    if extras.get(NO_ID).is_none() && !call.id.is_empty() {
        f.string("id", &call.id);
    }
    f.string("name", &call.name);
    let arguments = call.arguments.trim();
    if call.kind == ToolCallKind::Custom {
        c.lose_as(LossKind::Adjusted, format!("{at}.arguments"), "free-form input of a custom tool, which becomes an object with `input`");
        let mut args = f.object("args");
        args.string("input", &call.arguments);
        args.end();
    } else if Value::parse(arguments).is_some_and(|v| v.kind() == Kind::Object) {
        if extras.get(NO_ARGS).is_none() || arguments != "{}" {
            f.raw("args", arguments);
        }
    } else if arguments.is_empty() {
        f.raw("args", "{}");
    } else {
        c.lose_as(LossKind::Adjusted, format!("{at}.arguments"), "not a JSON object, so it stands in one as `INVALID_JSON`");
        let mut args = f.object("args");
        args.string("INVALID_JSON", &call.arguments);
        args.end();
    }
    extras.nested(CALL).rest(&mut f, &[]);
    f.end();
}

/// Names of functions by the ids of their calls.
pub(super) type Names<'m> = HashMap<&'m str, &'m str>;

/// The names of all functions that were called; of calls that share an id the first counts. The format wants the name with the result,
/// and other formats do not tell it there. Made once for a request: a search for each result is quadratic.
pub(super) fn names(messages: &[Message]) -> Names<'_> {
    let mut names = Names::new();
    for part in messages.iter().flat_map(|m| &m.parts) {
        if let PartKind::ToolCall(call) = &part.kind {
            names.entry(call.id.as_str()).or_insert(call.name.as_str());
        }
    }
    names
}

/// What a part was that a piece of a result is like.
fn as_part(piece: &ResultPart, c: &Crossing) -> Part {
    let kind = match &piece.kind {
        ResultPartKind::Text(text) => PartKind::Text(text.clone()),
        ResultPartKind::Image(m) => PartKind::Image(m.clone()),
        ResultPartKind::Document(m) => PartKind::Document(m.clone()),
        ResultPartKind::Other(value) => {
            let format = c.source.map_or("", crate::Format::as_str).to_owned();
            PartKind::Other(OtherPart { format, kind: "of a tool's result".into(), value: value.clone() })
        }
    };
    Part { kind, cache_control: piece.cache_control.clone(), extras: piece.extras.clone() }
}

/// Writes a result as the member of a part. Media of other formats' results are returned: not every model takes them inside.
pub(super) fn write_result(
    o: &mut Object<'_>,
    part: &Part,
    result: &ToolResult,
    name: &str,
    at: &str,
    c: &mut Crossing,
) -> Vec<(String, Part)> {
    let extras = c.extras(&part.extras);
    let mut beside = Vec::new();
    let mut f = o.object(spelled(extras, FUNCTION_RESPONSE));
    if extras.get(NO_ID).is_none() && !result.tool_call_id.is_empty() {
        f.string("id", &result.tool_call_id);
    }
    match extras.get(FUNCTION) {
        Some(name) => f.json("name", name),
        None => f.string("name", name),
    }
    write_response(&mut f, result, extras);
    let mut json = Vec::new();
    let mut list = Array::new(&mut json);
    for (i, piece) in result.content.iter().enumerate() {
        if matches!(piece.kind, ResultPartKind::Text(_)) {
            continue;
        }
        let (at, part) = (format!("{at}.content[{i}]"), as_part(piece, c));
        let media = matches!(part.kind, PartKind::Image(_) | PartKind::Document(_));
        if c.same || !media {
            blocks::write(&mut list, &part, &at, c);
        } else {
            beside.push((at, part));
        }
    }
    list.end();
    if json != b"[]" {
        f.key("parts").extend_from_slice(&json);
    }
    extras.nested(RESPONSE).rest(&mut f, &[]);
    f.end();
    beside
}

/// Writes `response`.
fn write_response(f: &mut Object<'_>, result: &ToolResult, extras: Extras<'_>) {
    let texts: Vec<&str> =
        result.content.iter().filter_map(|p| if let ResultPartKind::Text(t) = &p.kind { Some(t.as_str()) } else { None }).collect();
    if texts.is_empty() && extras.get(NO_RESPONSE).is_some() {
        return;
    }
    if let ([text], Some(_)) = (&texts[..], extras.get(WHOLE))
        && Value::parse(text).is_some_and(|v| v.kind() == Kind::Object)
    {
        return f.raw("response", text);
    }
    let mut response = f.object("response");
    response.string(if result.is_error == Some(true) { "error" } else { "output" }, &texts.join("\n"));
    response.end();
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hub::Role;

    #[test]
    fn the_first_call_with_an_id_names_its_result() {
        let call = |id: &str, name: &str| {
            let call = ToolCall { id: id.into(), name: name.into(), arguments: "{}".into(), kind: ToolCallKind::Function };
            Part::new(PartKind::ToolCall(call))
        };
        let says = |parts| Message { role: Role::Assistant, parts, shape: ContentShape::Parts, name: None, extras: Vec::new() };
        let messages = [says(vec![call("a", "f"), call("b", "g")]), says(vec![Part::new(PartKind::Text("x".into())), call("a", "h")])];
        let names = names(&messages);
        assert_eq!((names.len(), names.get("a"), names.get("b"), names.get("c")), (2, Some(&"f"), Some(&"g"), None));
    }

    /// What [`Ids`] is to do, said in the plainest way.
    fn searched(waiting: &mut Vec<(String, String)>, own: Option<&str>, name: &str) -> Option<String> {
        let at = waiting.iter().position(|(id, function)| own.map_or(function == name, |own| id == own))?;
        Some(waiting.remove(at).0)
    }

    #[test]
    fn results_find_their_calls_as_a_search_would() {
        // Calls with and without an id, of which some share one; results in another order, some of calls that nobody made.
        let mut seed = 7u64;
        let mut next = |n: u64| {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (seed >> 33) % n
        };
        let (mut ids, mut waiting) = (Ids::of("0".into()), Vec::new());
        for step in 0..5_000 {
            let name = format!("f{}", next(4));
            let own = (next(3) > 0).then(|| format!("id{}", next(200)));
            if next(2) == 0 {
                let (id, _) = ids.call(own, &name);
                waiting.push((id, name));
            } else {
                let expected = searched(&mut waiting, own.as_deref(), &name);
                let expected = own.clone().or(expected).unwrap_or_else(|| format!("call_{name}"));
                assert_eq!(ids.result(own, &name).0, expected, "step {step}");
            }
        }
    }

    #[test]
    fn ten_thousand_calls_are_looked_at_once_each() {
        const CALLS: usize = 10_000;
        for named in [true, false] {
            let mut ids = Ids::of("0".into());
            for n in 0..CALLS {
                ids.call(Some(format!("id{n}")), &format!("f{n}"));
            }
            // The last call first: for a search from the front the worst there is.
            for n in (0..CALLS).rev() {
                let (id, _) = ids.result(named.then(|| format!("id{n}")), &format!("f{n}"));
                assert_eq!(id, format!("id{n}"));
            }
            assert!(ids.looks <= CALLS, "{} entries were looked at", ids.looks);
        }
    }

    #[test]
    fn calls_that_were_answered_by_id_are_passed_over_once() {
        let mut ids = Ids::of("0".into());
        for n in 0..1_000 {
            ids.call(Some(format!("id{n}")), "f");
        }
        for n in 0..999 {
            ids.result(Some(format!("id{n}")), "f");
        }
        assert_eq!(ids.result(None, "f"), ("id999".into(), true));
        assert_eq!(ids.result(None, "f"), ("call_f".into(), true), "all are answered");
        assert!(ids.looks <= 2_000, "{} entries were looked at", ids.looks);
    }
}
