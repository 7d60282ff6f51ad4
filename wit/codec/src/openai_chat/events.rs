//! Streams: `chat.completion.chunk` objects and `[DONE]`. This file reads them; `chunks.rs` writes them.
//!
//! The format has no blocks: content, reasoning, refusal and tool calls grow side by side in a `delta`. The decoder makes blocks of
//! them: a run of content, of reasoning or of a refusal is one block; a tool call is a block until its choice ends, because deltas
//! of parallel calls may interleave.

use std::borrow::Cow;

use super::{NAME, message, read_finish, reasoning, usage};
use crate::hub::{
    BlockDelta, BlockId, BlockStart, ChatError, Delta, ErrorClass, Extra, FinishReason, OtherPart, Part, PartKind, StreamEvent,
    StreamFinish, StreamStart, Thinking, ToolCall, ToolCallKind, extra, set_extra,
};
use crate::json::{Document, Fields, Kind, Object, Value, write_string};
use crate::map::field;

/// Chunk fields that hide the length of the text and carry nothing: OpenAI's `obfuscation` and Mistral's `p`.
const PADDING: [&str; 2] = ["obfuscation", "p"];

/// Note on a signature that also stands in the extras of an event of the same chunk.
pub(super) const IN_DETAILS: &str = "$in-details";

/// Events of this format to hub events.
#[derive(Debug, Default)]
pub(crate) struct Decoder {
    started: bool,
    /// Chunk fields as last told.
    known: Vec<Extra>,
    choices: Vec<Choice>,
}

#[derive(Debug, Default)]
struct Choice {
    index: u32,
    /// Number of the next block.
    blocks: u32,
    /// The run that grows.
    run: Option<(Run, u32)>,
    calls: Vec<Call>,
    finished: bool,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Run {
    Text,
    Refusal,
    /// Reasoning in the field with this name.
    Thinking(&'static str),
}

#[derive(Debug, Default)]
struct Call {
    index: u64,
    id: String,
    name: String,
    custom: bool,
    /// Its block, once the name is known.
    block: Option<u32>,
    waiting: String,
    extras: Vec<Extra>,
}

impl Decoder {
    /// Takes one SSE event. `last` says that the connection closed inside it.
    pub fn event(&mut self, name: &str, data: &[u8], last: bool, out: &mut Vec<StreamEvent>) {
        let data = data.trim_ascii();
        if data == b"[DONE]" {
            return self.end(out);
        }
        if data.is_empty() {
            return;
        }
        let document = match Document::parse(data) {
            Ok(document) => document,
            // Half an event; whether the answer was complete before it, `closed` says.
            Err(_) if last => return,
            Err(fault) => {
                let e = ChatError::new(ErrorClass::Protocol, format!("the provider sent an event that is not JSON: {fault}"));
                return out.push(StreamEvent::Error(e));
            }
        };
        let mut f = Fields::of(&document);
        let fails =
            name == "error" || f.peek("error").is_some_and(|v| !v.is_null()) || f.peek("choices").is_none() && f.peek("usage").is_none();
        if let Some(e) = fails.then(|| super::error_in(&document)).flatten() {
            return out.push(StreamEvent::Error(e));
        }
        let choices = f.lenient("choices", |v| Some(v.elements()?.collect::<Vec<_>>())).unwrap_or_default();
        let spent = f.lenient("usage", usage::read);
        self.chunk(f, choices.is_empty() && spent.is_none(), out);
        for choice in choices {
            self.choice(choice, out);
        }
        // Groq tells the usage of a stream here too, also when nobody asked.
        let spent = spent.or_else(|| usage::read(Value::accepted(document.pointer("/x_groq/usage")?)));
        out.extend(spent.map(StreamEvent::Usage));
    }

    /// The connection closed. Some hosts forget `[DONE]`: when every choice is finished, that was all.
    pub fn closed(&mut self, out: &mut Vec<StreamEvent>) {
        if self.choices.is_empty() || self.choices.iter().any(|c| !c.finished) {
            out.push(StreamEvent::Error(interrupted()));
        } else {
            self.end(out);
        }
    }

    fn end(&mut self, out: &mut Vec<StreamEvent>) {
        if !self.started {
            self.start(String::new(), String::new(), None, out);
        }
        for choice in &mut self.choices {
            choice.close(out);
        }
        out.push(StreamEvent::End);
    }

    fn start(&mut self, id: String, model: String, created: Option<u64>, out: &mut Vec<StreamEvent>) {
        self.started = true;
        out.push(StreamEvent::Start(StreamStart { format: NAME.into(), id, model, created, usage: None, extras: self.known.clone() }));
    }

    /// The fields around the choices: the start of the stream, then what changed.
    fn chunk(&mut self, mut f: Fields<'_>, bare: bool, out: &mut Vec<StreamEvent>) {
        let id = f.lenient_text("id").unwrap_or_default();
        let model = f.lenient_text("model").unwrap_or_default();
        let created = f.lenient("created", |v| v.f64().map(|n| n as u64));
        f.take("object");
        let mut news = Vec::new();
        for (name, value) in f.untaken().filter(|(name, value)| !value.is_null() && !PADDING.contains(&name.as_ref())) {
            if extra(&self.known, &name) != Some(value.raw()) {
                set_extra(&mut self.known, &name, value.raw().into());
                set_extra(&mut news, &name, value.raw().into());
            }
        }
        if !self.started {
            // Azure first sends what its filter says of the prompt, with no id and no model: the start is still to come.
            if !(bare && id.is_empty()) {
                self.start(id, model, created, out);
            }
        } else if !news.is_empty() {
            out.push(StreamEvent::Other(object_of(&news)));
        }
    }

    fn choice(&mut self, value: Value<'_>, out: &mut Vec<StreamEvent>) {
        let Some(mut f) = value.object() else { return };
        let index = f.lenient("index", |v| u32::try_from(v.u64()?).ok()).unwrap_or(0);
        let slot = match self.choices.iter().position(|c| c.index == index) {
            Some(slot) => slot,
            None => {
                self.choices.push(Choice { index, ..Choice::default() });
                self.choices.len() - 1
            }
        };
        let choice = &mut self.choices[slot];
        let first = out.len();
        let delta = f.lenient("delta", Value::object);
        // The answer so far, beside the delta (Perplexity); or in its place (an answer in one chunk).
        let whole = f.lenient("message", Value::object);
        let mut extras = Vec::new();
        if let Some(delta) = delta.or(whole.filter(|_| choice.blocks == 0)) {
            extras = choice.delta(delta, out);
        }
        let finish = f.lenient("finish_reason", |v| v.text()).filter(|word| !word.is_empty());
        f.take("finish_reason");
        if f.untaken().any(|(_, value)| !value.is_null()) {
            extras.extend(f.rest());
        }
        extras.retain(|e| e.value != "null");
        if let Some(word) = finish.filter(|_| !choice.finished) {
            choice.close(out);
            choice.finished = true;
            out.push(StreamEvent::Finish(StreamFinish { choice: index, reason: read_finish(&word), extras: Vec::new() }));
        }
        if extras.is_empty() {
            return;
        }
        let carrier = out[first..].iter_mut().find_map(|e| match e {
            StreamEvent::BlockDelta(d) => Some(&mut d.extras),
            StreamEvent::Finish(f) => Some(&mut f.extras),
            _ => None,
        });
        match carrier {
            Some(carrier) => carrier.extend(extras),
            None => out.push(StreamEvent::Other(choice_fragment(index, &extras))),
        }
    }
}

/// What a stream that broke off says.
fn interrupted() -> ChatError {
    ChatError::new(ErrorClass::Interrupted, "the provider's stream broke off before the answer was complete")
}

fn object_of(extras: &[Extra]) -> String {
    let mut json = Vec::new();
    let mut o = Object::new(&mut json);
    extras.iter().for_each(|e| o.raw(&e.name, &e.value));
    o.end();
    String::from_utf8(json).unwrap_or_default()
}

/// A chunk that tells only unmodelled fields of a choice.
fn choice_fragment(index: u32, extras: &[Extra]) -> String {
    let mut json = Vec::new();
    let mut chunk = Object::new(&mut json);
    let mut list = chunk.array("choices");
    let mut choice = list.object();
    choice.int("index", index);
    let mut delta = choice.object("delta");
    for e in extras {
        if let Some(name) = e.name.strip_prefix("message.") {
            delta.raw(name, &e.value);
        }
    }
    delta.end();
    extras.iter().filter(|e| !e.name.starts_with("message.")).for_each(|e| choice.raw(&e.name, &e.value));
    choice.end();
    list.end();
    chunk.end();
    String::from_utf8(json).unwrap_or_default()
}

impl Choice {
    fn at(&self, block: u32) -> BlockId {
        BlockId { choice: self.index, block }
    }

    fn open(&mut self, part: Part, out: &mut Vec<StreamEvent>) -> u32 {
        let block = self.blocks;
        self.blocks += 1;
        out.push(StreamEvent::BlockStart(BlockStart { at: self.at(block), part }));
        block
    }

    fn end_run(&mut self, out: &mut Vec<StreamEvent>) {
        if let Some((_, block)) = self.run.take() {
            out.push(StreamEvent::BlockStop(self.at(block)));
        }
    }

    /// A block that is complete at once.
    fn whole(&mut self, part: Part, out: &mut Vec<StreamEvent>) {
        self.end_run(out);
        let block = self.open(part, out);
        out.push(StreamEvent::BlockStop(self.at(block)));
    }

    fn grow(&mut self, run: Run, delta: Delta, part: impl FnOnce() -> Part, out: &mut Vec<StreamEvent>) {
        let block = match &self.run {
            Some((open, block)) if *open == run => *block,
            _ => {
                self.end_run(out);
                let block = self.open(part(), out);
                self.run = Some((run, block));
                block
            }
        };
        out.push(StreamEvent::BlockDelta(BlockDelta { at: self.at(block), delta, extras: Vec::new() }));
    }

    fn text(&mut self, text: String, out: &mut Vec<StreamEvent>) {
        if !text.is_empty() {
            self.grow(Run::Text, Delta::Text(text), || Part::text(""), out);
        }
    }

    fn thinking(&mut self, name: &'static str, text: String, more: Vec<Extra>, out: &mut Vec<StreamEvent>) {
        let part = || {
            let mut part = reasoning::thinking(name, String::new());
            part.extras.extend(more);
            part
        };
        self.grow(Run::Thinking(name), Delta::Thinking(text), part, out);
    }

    /// Reads a delta; gives back its unmodelled fields.
    fn delta(&mut self, mut f: Fields<'_>, out: &mut Vec<StreamEvent>) -> Vec<Extra> {
        f.take("role");
        self.reasoning(&mut f, out);
        match f.peek("content").map(|v| (v, v.kind())) {
            Some((v, Kind::String)) => {
                f.take("content");
                self.text(v.text().map(Cow::into_owned).unwrap_or_default(), out);
            }
            Some((v, Kind::Array)) => {
                f.take("content");
                self.content_list(v, out);
            }
            _ => {}
        }
        if let Some(text) = f.lenient_text("refusal").filter(|t| !t.is_empty()) {
            self.grow(Run::Refusal, Delta::Refusal(text), || Part::new(PartKind::Refusal(String::new())), out);
        }
        for call in f.lenient("tool_calls", Value::elements).into_iter().flatten().filter_map(Value::object) {
            self.call(call, out);
        }
        f.rest_with("message.")
    }

    fn reasoning(&mut self, f: &mut Fields<'_>, out: &mut Vec<StreamEvent>) {
        let mut told = false;
        for name in reasoning::STRINGS {
            // Some hosts fill both fields with the same text; the second stays an extra.
            if let Some(text) = f.peek(name).and_then(Value::text).filter(|t| !told && !t.is_empty()) {
                f.take(name);
                self.thinking(name, text.into_owned(), Vec::new(), out);
                told = true;
            } else if f.peek(name).and_then(Value::text).is_some_and(|t| t.is_empty()) {
                f.take(name);
            }
        }
        let Some(details) = f.peek("reasoning_details") else { return };
        for kind in reasoning::of_details(details) {
            match kind {
                PartKind::Thinking(Thinking { text, signature }) => {
                    if !told && !text.is_empty() {
                        self.thinking("reasoning_details", text, Vec::new(), out);
                    }
                    if let Some(signature) = signature.filter(|s| !s.is_empty()) {
                        if !matches!(self.run, Some((Run::Thinking(_), _))) {
                            self.thinking("reasoning_details", String::new(), Vec::new(), out);
                        }
                        let Some((_, block)) = self.run else { continue };
                        let extras = vec![Extra::new(IN_DETAILS, "true")];
                        out.push(StreamEvent::BlockDelta(BlockDelta { at: self.at(block), delta: Delta::Signature(signature), extras }));
                    }
                }
                kind => self.whole(Part { extras: vec![field("reasoning_details")], ..Part::new(kind) }, out),
            }
        }
    }

    /// Mistral's content: a list of texts, thoughts and references.
    fn content_list(&mut self, list: Value<'_>, out: &mut Vec<StreamEvent>) {
        let mut parts = Vec::new();
        let _ = message::read_content(Some(list), &crate::json::Path::Root, message::Care::Lenient, &mut parts);
        for part in parts {
            match part.kind {
                PartKind::Text(text) => self.text(text, out),
                PartKind::Thinking(t) => {
                    let more = part.extras.into_iter().filter(|e| e.name != "thinking" && e.name != crate::map::FIELD).collect();
                    if !t.text.is_empty() {
                        self.thinking("content", t.text, more, out);
                    }
                }
                _ => self.whole(part, out),
            }
        }
    }

    fn call(&mut self, mut f: Fields<'_>, out: &mut Vec<StreamEvent>) {
        let index = f.lenient("index", Value::u64);
        f.take("index");
        let id = f.lenient_text("id").unwrap_or_default();
        f.take("id");
        let custom = f.lenient_text("type").is_some_and(|t| t == "custom") || f.peek("custom").is_some();
        f.take("type");
        let mut inner = f.take(if custom { "custom" } else { "function" }).and_then(Value::object);
        let name = inner.as_mut().and_then(|i| i.lenient_text("name")).unwrap_or_default();
        let piece = inner.as_mut().and_then(|i| i.take(if custom { "input" } else { "arguments" })).map(|v| match v.kind() {
            Kind::Null => String::new(),
            _ => v.text().unwrap_or(Cow::Borrowed(v.raw())).into_owned(),
        });
        let mut extras = inner.map(|i| i.rest_with(if custom { "custom." } else { "function." })).unwrap_or_default();
        extras.extend(f.rest());
        extras.retain(|e| e.value != "null");
        let slot = self.slot(index, &id, &name);
        let call = &mut self.calls[slot];
        call.custom |= custom;
        if call.id.is_empty() {
            call.id = id;
        }
        if call.block.is_none() {
            call.name.push_str(&name);
            call.waiting.push_str(&piece.unwrap_or_default());
            call.extras.extend(extras);
            if !self.calls[slot].name.is_empty() {
                self.open_call(slot, out);
            }
            return;
        }
        let (block, piece) = (call.block.unwrap_or_default(), piece.unwrap_or_default());
        let extras: Vec<Extra> = extras.into_iter().map(|e| Extra { name: format!("call.{}", e.name), ..e }).collect();
        if !piece.is_empty() || !extras.is_empty() {
            out.push(StreamEvent::BlockDelta(BlockDelta { at: self.at(block), delta: Delta::Arguments(piece), extras }));
        }
    }

    /// The call that a delta belongs to. Its index says so; hosts that leave it out, or give every call the same one, tell calls
    /// apart by id.
    fn slot(&mut self, index: Option<u64>, id: &str, name: &str) -> usize {
        let known = match index {
            Some(index) => self.calls.iter().rposition(|c| c.index == index),
            None if !id.is_empty() => self.calls.iter().rposition(|c| c.id == id),
            None if name.is_empty() => self.calls.len().checked_sub(1),
            None => None,
        };
        let another = |c: &Call| !id.is_empty() && !name.is_empty() && !c.id.is_empty() && c.id != id && c.block.is_some();
        match known {
            Some(slot) if !another(&self.calls[slot]) => slot,
            _ => {
                let index = index.unwrap_or(self.calls.len() as u64);
                self.calls.push(Call { index, ..Call::default() });
                self.calls.len() - 1
            }
        }
    }

    fn open_call(&mut self, slot: usize, out: &mut Vec<StreamEvent>) {
        self.end_run(out);
        let call = &mut self.calls[slot];
        let kind = if call.custom { ToolCallKind::Custom } else { ToolCallKind::Function };
        let tool_call = ToolCall { id: call.id.clone(), name: call.name.clone(), arguments: String::new(), kind };
        let part = Part { extras: std::mem::take(&mut call.extras), ..Part::new(PartKind::ToolCall(tool_call)) };
        let waiting = std::mem::take(&mut call.waiting);
        let block = self.open(part, out);
        self.calls[slot].block = Some(block);
        if !waiting.is_empty() {
            out.push(StreamEvent::BlockDelta(BlockDelta { at: self.at(block), delta: Delta::Arguments(waiting), extras: Vec::new() }));
        }
    }

    /// Closes every block; a call that never got a name is opened first, so that nothing is lost.
    fn close(&mut self, out: &mut Vec<StreamEvent>) {
        self.end_run(out);
        for slot in 0..self.calls.len() {
            if self.calls[slot].block.is_none() && !(self.calls[slot].id.is_empty() && self.calls[slot].waiting.is_empty()) {
                self.open_call(slot, out);
            }
        }
        for call in std::mem::take(&mut self.calls) {
            if let Some(block) = call.block {
                out.push(StreamEvent::BlockStop(self.at(block)));
            }
        }
    }
}

/// Puts an unmodelled chunk into a collected answer: fields of the chunk replace, fields of a choice grow.
pub(crate) fn fold(json: &str, answer: &mut Vec<Extra>, mut choice: impl FnMut(u32, Vec<Extra>)) {
    let Some(mut f) = Value::parse(json).and_then(Value::object) else { return };
    for mut c in f.lenient("choices", Value::elements).into_iter().flatten().filter_map(Value::object) {
        let index = c.lenient("index", |v| u32::try_from(v.u64()?).ok()).unwrap_or(0);
        let mut extras = c.lenient("delta", Value::object).map(|d| d.rest_with("message.")).unwrap_or_default();
        extras.extend(c.rest());
        choice(index, extras);
    }
    for e in f.rest() {
        set_extra(answer, &e.name, e.value);
    }
}

/// The words for a part that a stream of this format cannot hold.
pub(super) fn foreign(part: &OtherPart) -> String {
    format!("the target format has no part `{}`; dropped", part.kind)
}

/// The finish word of a stream's choice.
pub(super) fn finish_word_of(reason: &FinishReason, same: bool, calls: bool) -> String {
    let (word, _) = super::finish_word(reason, same);
    if !same && calls && *reason == FinishReason::Stop { "tool_calls".into() } else { word.into() }
}

/// Appends `"name":"text"` to a delta that is written by hand on the hot path.
pub(super) fn hot_string(out: &mut Vec<u8>, name: &str, text: &str) {
    out.push(b'"');
    out.extend_from_slice(name.as_bytes());
    out.extend_from_slice(b"\":");
    write_string(out, text);
}
