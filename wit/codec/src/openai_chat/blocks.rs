//! Blocks of a stream that has none: what a choice has open, and what a delta does to it.

use std::borrow::Cow;

use super::events::IN_DETAILS;
use super::{message, reasoning};
use crate::hub::{BlockDelta, BlockId, BlockStart, Delta, Extra, Part, PartKind, StreamEvent, Thinking, ToolCall, ToolCallKind, extra};
use crate::json::{Fields, Kind, Value};
use crate::map::field;

#[derive(Debug, Default)]
pub(super) struct Choice {
    pub index: u32,
    /// Number of the next block.
    pub blocks: u32,
    /// The run that grows.
    run: Option<(Run, u32)>,
    calls: Vec<Call>,
    pub finished: bool,
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

impl Choice {
    pub fn new(index: u32) -> Self {
        Self { index, ..Self::default() }
    }

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
    pub fn delta(&mut self, mut f: Fields<'_>, out: &mut Vec<StreamEvent>) -> Vec<Extra> {
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
        // Each piece with the entries that tell it, so that a hook that changes one piece changes no other. (Entries that are none of it, such
        // as encrypted ones, are with the piece before them.)
        let mut pieces: Vec<(Option<usize>, Vec<&str>)> = Vec::new();
        for entry in details.elements().into_iter().flatten() {
            let before = out.len();
            self.detail(entry, told, out);
            let noted = |e: &StreamEvent| matches!(e, StreamEvent::BlockDelta(d) if extra(&d.extras, IN_DETAILS).is_some());
            let piece = out[before..].iter().position(noted).map(|at| before + at);
            match pieces.last_mut() {
                Some((at, entries)) if at.is_none() || piece.is_none() => {
                    *at = at.or(piece);
                    entries.push(entry.raw());
                }
                _ => pieces.push((piece, vec![entry.raw()])),
            }
        }
        // Of one that the string told all stands beside it.
        if told || pieces.first().is_none_or(|(at, _)| at.is_none()) {
            return;
        }
        f.take("reasoning_details");
        for (at, entries) in pieces {
            if let Some(StreamEvent::BlockDelta(d)) = at.and_then(|at| out.get_mut(at)) {
                d.extras.push(Extra::new("message.reasoning_details", format!("[{}]", entries.join(","))));
            }
        }
    }

    /// Reads an entry of `reasoning_details`; `told`: a string has told its text.
    fn detail(&mut self, entry: Value<'_>, told: bool, out: &mut Vec<StreamEvent>) {
        match reasoning::of_detail(entry) {
            Some(PartKind::Thinking(Thinking { text, signature })) => {
                if !told && !text.is_empty() {
                    self.thinking("reasoning_details", text, Vec::new(), out);
                    if let Some(StreamEvent::BlockDelta(d)) = out.last_mut() {
                        d.extras.push(Extra::new(IN_DETAILS, "true"));
                    }
                }
                if let Some(signature) = signature.filter(|s| !s.is_empty()) {
                    if !matches!(self.run, Some((Run::Thinking(_), _))) {
                        self.thinking("reasoning_details", String::new(), Vec::new(), out);
                    }
                    let Some((_, block)) = self.run else { return };
                    let extras = vec![Extra::new(IN_DETAILS, "true")];
                    out.push(StreamEvent::BlockDelta(BlockDelta { at: self.at(block), delta: Delta::Signature(signature), extras }));
                }
            }
            Some(kind) => self.whole(Part { extras: vec![field("reasoning_details")], ..Part::new(kind) }, out),
            None => {}
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
        extras.extend(f.rest_beside());
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
    pub fn close(&mut self, out: &mut Vec<StreamEvent>) {
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
