//! Requests: `POST .../models/{model}:generateContent` and `:streamGenerateContent`.

use std::borrow::Cow;

use super::calls::{self, Ids, Names};
use super::spelling::{Name, Spelling, once, quoted, spelled};
use super::{NAME, asks, blocks, params, tools};
use crate::hub::{ChatRequest, ContentShape, Extra, Message, Part, PartKind, Role, Thinking, ToolResult, extra};
use crate::json::{Array, Document, Fields, Kind, Object, Path, Value, write_string};
use crate::map::Crossing;
use crate::{DecodeError, Encoded, Format, LossKind, size};

const SYSTEM_INSTRUCTION: Name = ("systemInstruction", "system_instruction");
const CACHED_CONTENT: Name = ("cachedContent", "cached_content");
/// Members of the top that have one spelling.
const ALONE: [&str; 3] = ["model", "contents", "tools"];

/// Stands before the name of a model where Google's API wants its whole name.
const MODELS: &str = "models/";

/// Note on a content without a role.
const NO_ROLE: &str = "$no-role";
/// Note on a content whose role is not the one that its hub role has.
const ROLE: &str = "$role";
/// Note on a list that was one element without its list.
const ONE: &str = "$one";
/// Note on a request whose body names a model, with the name as it stood there.
const MODEL: &str = "$model";

/// Stands for the signature of a call that Gemini did not make, and that therefore has none. Newer models refuse a call without one; the
/// documentation of thought signatures gives this word for conversations that come from another model.
const UNSIGNED: &str = "skip_thought_signature_validator";

// === decode ===

/// Decodes a request. Model and stream flag stand in its path, and are left empty.
pub(crate) fn decode(body: &[u8]) -> Result<ChatRequest, DecodeError> {
    let document = Document::parse(body).map_err(|f| DecodeError::new("", format!("not a JSON object: {f}")))?;
    let (mut f, at) = (Fields::of(&document), Path::Root);
    let (mut spelling, mut hints, mut messages) = (Spelling::default(), Vec::new(), Vec::new());
    for name in ALONE {
        once(&f, &at, (name, name))?;
    }
    once(&f, &at, CACHED_CONTENT)?;
    let model = match f.peek("model").filter(|v| !v.is_null()) {
        Some(model) => {
            hints.push(Extra::new(MODEL, model.raw()));
            plain_model(&f.need_text(&at, "model")?)?
        }
        None => String::new(),
    };
    let mut ids = Ids::default();
    let name = spelling.of(&f, &at, SYSTEM_INSTRUCTION)?;
    if let Some(system) = f.take_some(name) {
        messages.push(read_content(system, &at.key(name), true, &mut ids)?);
    }
    let contents = f.need(&at, "contents", "an array of contents")?;
    let path = at.key("contents");
    if contents.kind() == Kind::Object {
        hints.push(Extra::new(ONE, "true"));
        messages.push(read_content(contents, &path, false, &mut ids)?);
    } else {
        let list = contents.elements().ok_or_else(|| contents.expected(&path, "an array of contents"))?.collect::<Vec<_>>();
        if list.is_empty() {
            return Err(DecodeError::new(path, "expected at least one content, found an empty array"));
        }
        messages.reserve(list.len());
        for (i, content) in list.into_iter().enumerate() {
            ids.go_on(i.to_string());
            messages.push(read_content(content, &path.index(i), false, &mut ids)?);
        }
    }
    let tools = tools::read(&mut f, &mut hints)?;
    let tool_choice = tools::read_config(&mut f, &mut spelling, &mut hints)?;
    let params = params::read(&mut f, &mut spelling, &mut hints)?;
    hints.extend(spelling.note());
    hints.extend(f.rest_beside().into_iter().filter(|e| !e.name.starts_with('$')));
    Ok(ChatRequest { format: NAME.into(), model, messages, tools, tool_choice, params, stream: false, include_usage: false, extras: hints })
}

/// The name of a model without the prefix, as hooks, lists and prices know it.
fn plain_model(told: &str) -> Result<String, DecodeError> {
    let plain = told.strip_prefix(MODELS).unwrap_or(told);
    if plain.starts_with(MODELS) {
        return Err(DecodeError::new("model", "the name begins with `models/` twice; say it once, or leave it out"));
    }
    Ok(plain.to_owned())
}

fn read_content(value: Value<'_>, path: &Path<'_>, system: bool, ids: &mut Ids) -> Result<Message, DecodeError> {
    let mut f = value.object_at(path)?;
    let mut extras = Vec::new();
    let word = f.take_some("role").map(|v| v.text_at(&path.key("role"))).transpose()?;
    let (parts, shape) = read_parts(&mut f, path, ids, &mut extras)?;
    let results = !parts.is_empty() && parts.iter().all(|p| matches!(p.kind, PartKind::ToolResult(_)));
    let role = match word.as_deref() {
        _ if system => Role::System,
        None | Some("user") if results => Role::Tool,
        None | Some("user") => Role::User,
        Some("model") => Role::Assistant,
        // The older way to send results.
        Some("function") => Role::Tool,
        Some(other) => {
            let shown: String = other.chars().take(20).collect();
            return Err(DecodeError::new(path.key("role"), format!("expected `user` or `model`, found `{shown}`")));
        }
    };
    match word {
        None => extras.push(Extra::new(NO_ROLE, "true")),
        Some(word) if word != role_word(role) || system => extras.push(Extra::new(ROLE, quoted(&word))),
        Some(_) => {}
    }
    let mut rest = f.rest();
    rest.retain(|e| !e.name.starts_with('$'));
    extras.extend(rest);
    Ok(Message { role, parts, shape, name: None, extras })
}

type Parts = (Vec<Part>, ContentShape);

fn read_parts(f: &mut Fields<'_>, path: &Path<'_>, ids: &mut Ids, extras: &mut Vec<Extra>) -> Result<Parts, DecodeError> {
    let Some(value) = f.take_some("parts") else { return Ok((Vec::new(), ContentShape::Absent)) };
    let path = path.key("parts");
    if value.kind() == Kind::Object {
        extras.push(Extra::new(ONE, "true"));
        return Ok((vec![blocks::read(value, &path, ids)?], ContentShape::Parts));
    }
    let list = value.elements().ok_or_else(|| value.expected(&path, "an array of parts"))?;
    let parts = list.enumerate().map(|(i, part)| blocks::read(part, &path.index(i), ids)).collect::<Result<_, _>>()?;
    Ok((whole_thoughts(parts), ContentShape::Parts))
}

/// Joins the pieces of a thought that another provider signed. A client sends back what a stream gave it piece by piece, and the signature,
/// which came last, is that of all of them.
fn whole_thoughts(parts: Vec<Part>) -> Vec<Part> {
    let mut joined: Vec<Part> = Vec::with_capacity(parts.len());
    for mut part in parts {
        if let PartKind::Thinking(signed) = &mut part.kind
            && signed.signature.is_some()
        {
            while let Some(Part { kind: PartKind::Thinking(piece), .. }) = joined.pop_if(|last| is_piece(last)) {
                signed.text.insert_str(0, &piece.text);
            }
        }
        joined.push(part);
    }
    joined
}

/// Whether a part is a thought that nobody signed, and nothing else.
fn is_piece(part: &Part) -> bool {
    matches!(&part.kind, PartKind::Thinking(t) if t.signature.is_none()) && part.extras.is_empty()
}

fn role_word(role: Role) -> &'static str {
    if role == Role::Assistant { "model" } else { "user" }
}

/// What the request builds on that only the provider has that keeps it: the field, and why no other provider can answer.
pub(crate) fn state(r: &ChatRequest) -> Option<(&'static str, &'static str)> {
    let told = |name: &str| extra(&r.extras, name).is_some_and(|v| v != "null");
    let cached = [CACHED_CONTENT.0, CACHED_CONTENT.1].into_iter().find(|name| told(name))?;
    Some((cached, "it names what only a provider that speaks Gemini's format keeps; this request goes to another one"))
}

// === encode ===

/// Encodes a request.
pub(crate) fn encode(r: &ChatRequest) -> Encoded {
    let mut c = Crossing::new(&r.format, Format::GeminiGenerate);
    let mut body = Vec::with_capacity(size::of_request(r));
    let mut o = Object::new(&mut body);
    let extras = c.extras(&r.extras);
    if let Some(told) = extras.get(MODEL) {
        match Value::parse(told).and_then(Value::text).filter(|told| *told == r.model) {
            Some(_) => o.json("model", told),
            // Another model was chosen: the body must not name the one that was asked for.
            None => o.string("model", &format!("models/{}", r.model.trim_start_matches(MODELS))),
        }
    }
    let names = calls::names(&r.messages);
    write_system(&mut o, r, &names, &mut c);
    write_contents(&mut o, r, &names, &mut c);
    tools::write(&mut o, r, extras, &mut c);
    params::write(&mut o, r, extras, &mut c);
    extras.rest_beside(&mut o, &[], &[params::PREFIX, tools::PREFIX]);
    o.end();
    c.lose_extras("", &r.extras);
    Encoded { body, losses: c.losses }
}

fn is_system(m: &Message) -> bool {
    matches!(m.role, Role::System | Role::Developer)
}

fn lose_message(m: &Message, i: usize, c: &mut Crossing) {
    c.lose_extras(&format!("messages[{i}]"), &m.extras);
    if m.name.is_some() {
        c.lose(format!("messages[{i}].name"), "Gemini's contents have no names");
    }
}

/// Writes the instructions: all of them stand before the conversation.
fn write_system(o: &mut Object<'_>, r: &ChatRequest, names: &Names<'_>, c: &mut Crossing) {
    let leading = r.messages.iter().take_while(|m| is_system(m)).count();
    let instructions: Vec<(usize, &Message)> = r.messages.iter().enumerate().filter(|(_, m)| is_system(m)).collect();
    let mut placed = Vec::new();
    for (i, m) in &instructions {
        if *i >= leading {
            c.lose_as(LossKind::Moved, format!("messages[{i}].role"), "instructions stand before the conversation");
        }
        lose_message(m, *i, c);
        for (j, part) in m.parts.iter().enumerate() {
            let at = format!("messages[{i}].content[{j}]");
            if c.same || matches!(part.kind, PartKind::Text(_)) {
                placed.push((at, part));
            } else {
                c.lose(at, "instructions are text");
            }
        }
    }
    let Some((_, first)) = instructions.first() else { return };
    o.member_if(spelled(c.extras(&r.extras), SYSTEM_INSTRUCTION), |out| {
        let mut content = Object::new(out);
        let any = write_parts(&mut content, &placed, first, (r, names), false, c);
        write_message_rest(content, first, c);
        any || c.same
    });
}

fn write_contents(o: &mut Object<'_>, r: &ChatRequest, names: &Names<'_>, c: &mut Crossing) {
    let mut rest = r.messages.iter().enumerate().filter(|(_, m)| !is_system(m)).peekable();
    if c.extras(&r.extras).get(ONE).is_some() && r.messages.iter().filter(|m| !is_system(m)).count() == 1 {
        if let Some((i, only)) = rest.next() {
            // Of this format's own messages something is always left.
            content(o.object("contents"), &[(i, only)], r, names, c);
        }
        return;
    }
    let mut list = o.array("contents");
    while let Some((i, first)) = rest.next() {
        let mut turn = vec![(i, first)];
        // Results of one round of calls stand in one content.
        while let Some(next) = rest.next_if(|(_, next)| !c.same && first.role == Role::Tool && next.role == Role::Tool) {
            turn.push(next);
        }
        list.object_if(|o| content(o, &turn, r, names, c));
    }
    list.end();
}

/// Writes a content of one or more messages; whether anything is left of it.
fn content(mut o: Object<'_>, turn: &[(usize, &Message)], r: &ChatRequest, names: &Names<'_>, c: &mut Crossing) -> bool {
    let (i, first) = turn[0];
    let mut placed = Vec::new();
    for (i, m) in turn {
        lose_message(m, *i, c);
        placed.extend(m.parts.iter().enumerate().map(|(j, part)| (format!("messages[{i}].content[{j}]"), part)));
    }
    let any = write_parts(&mut o, &placed, first, (r, names), true, c);
    write_message_rest(o, first, c);
    if !any && !c.same {
        c.lose(format!("messages[{i}]"), "nothing is left of it, and Gemini refuses contents without parts");
    }
    any || c.same
}

/// Writes `role` and the members that the hub does not have, and ends the content.
fn write_message_rest(mut o: Object<'_>, m: &Message, c: &Crossing) {
    let extras = c.extras(&m.extras);
    match extras.get(ROLE) {
        Some(word) => o.json("role", word),
        None if extras.get(NO_ROLE).is_some() || is_system(m) => {}
        None => o.string("role", role_word(m.role)),
    }
    extras.rest(&mut o, &[]);
    o.end();
}

/// Writes `parts`; whether there are any.
fn write_parts(
    o: &mut Object<'_>,
    placed: &[(String, &Part)],
    m: &Message,
    (r, names): (&ChatRequest, &Names<'_>),
    told: bool,
    c: &mut Crossing,
) -> bool {
    let mut any = false;
    o.member_if("parts", |out| {
        let start = out.len();
        write_list(Array::new(out), placed, m, (r, names), told, c);
        any = &out[start..] != b"[]";
        let one = c.extras(&m.extras).get(ONE).is_some() && placed.len() == 1;
        if one && any {
            out.remove(start);
            out.pop();
        }
        any || (c.same && m.shape != ContentShape::Absent)
    });
    any
}

fn write_list(
    mut list: Array<'_>,
    placed: &[(String, &Part)],
    m: &Message,
    (r, names): (&ChatRequest, &Names<'_>),
    told: bool,
    c: &mut Crossing,
) {
    let mut behind = Vec::new();
    let mut unsigned = !c.same && told && m.role == Role::Assistant && !params::takes_budgets(&r.model);
    for (at, part) in placed {
        let seen = if c.same { Some(Cow::Borrowed(*part)) } else { readable(part) };
        let Some(part) = seen.as_deref() else {
            c.lose_as(LossKind::Foreign, at.clone(), "reasoning that only its provider can read");
            continue;
        };
        if unsigned && asks(part) {
            // The first call of a content has it, and speaks for those beside it.
            unsigned = false;
            write_unsigned(&mut list, part, at, c);
            continue;
        }
        let name = match &part.kind {
            PartKind::ToolResult(result) => result_name(names, m, result),
            _ => None,
        };
        behind.extend(blocks::write_named(&mut list, part, name, at, c));
    }
    for (at, part) in behind {
        c.lose_as(LossKind::Moved, at.clone(), "not every Gemini model takes media in a result; it stands behind it");
        blocks::write(&mut list, &part, &at, c);
    }
    list.end();
}

/// A part of another format as Gemini may see it: of reasoning, the words. What another provider signed or encrypted means nothing to it,
/// and the mark under which a client of this format keeps it is not for a provider.
fn readable(part: &Part) -> Option<Cow<'_, Part>> {
    match &part.kind {
        PartKind::RedactedThinking(_) => None,
        PartKind::Thinking(t) if t.text.is_empty() => None,
        PartKind::Thinking(t) if t.signature.is_some() => {
            let kind = PartKind::Thinking(Thinking { text: t.text.clone(), signature: None });
            Some(Cow::Owned(Part { kind, ..part.clone() }))
        }
        _ => Some(Cow::Borrowed(part)),
    }
}

/// Writes a call of another format, with the word that stands for its signature.
fn write_unsigned(list: &mut Array<'_>, part: &Part, at: &str, c: &mut Crossing) {
    let mut json = Vec::new();
    let mut alone = Array::new(&mut json);
    blocks::write(&mut alone, part, at, c);
    if let Some(members) = json.strip_prefix(b"[").and_then(|json| json.strip_suffix(b"}")) {
        let out = list.element();
        out.extend_from_slice(members);
        out.extend_from_slice(b",\"thoughtSignature\":");
        write_string(out, UNSIGNED);
        out.push(b'}');
    }
}

/// The name of the function that a result is of.
fn result_name<'m>(names: &Names<'m>, m: &'m Message, result: &ToolResult) -> Option<&'m str> {
    names.get(result.tool_call_id.as_str()).copied().or(m.name.as_deref())
}
