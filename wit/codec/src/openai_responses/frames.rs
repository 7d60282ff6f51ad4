//! Streams, written: `response.created`, items with their parts, `response.completed`.
//!
//! Items may be open side by side, so nothing waits. The last event holds the whole answer again: a [`Collector`] has it meanwhile.

use super::answer::{self, Head, or};
use super::blocks::{self, ANNOTATION, Place, VALUE, begins, in_message, item_id, known_id, write_item};
use super::error::write_event;
use super::parts::{self, Side};
use super::reasoning;
use super::wire::Wire;
use crate::hub::{
    BlockDelta, BlockId, BlockStart, ChatError, Collector, Delta, Extra, Part, PartKind, StreamEvent, StreamStart, ToolCallKind, extra,
};
use crate::json::{Object, Value};
use crate::map::{Crossing, Extras, field_note};
use crate::{Format, Loss, StreamOptions};

/// Hub events to events of this format.
#[derive(Debug)]
pub(crate) struct Encoder {
    options: StreamOptions,
    crossing: Crossing,
    /// The answer's beginning, once it was told.
    head: Option<Head>,
    /// Unmodelled members of the `response`.
    extras: Vec<Extra>,
    wire: Wire,
    /// Items so far.
    items: usize,
    /// Message items that are not done.
    messages: Vec<Message>,
    /// Blocks that are not stopped.
    open: Vec<Block>,
    answer: Collector,
}

#[derive(Debug)]
struct Message {
    item: usize,
    id: String,
    parts: Vec<BlockId>,
}

/// A block on the wire.
#[derive(Debug)]
pub(super) struct Block {
    at: BlockId,
    /// Its item's place in the output, once it was told.
    pub item: Option<usize>,
    /// Its item's id.
    pub id: String,
    /// Its place in a message's content.
    pub content: usize,
    /// The part of the summary or the content of reasoning was told.
    shown: bool,
    annotations: usize,
}

impl Encoder {
    pub fn new(options: StreamOptions) -> Self {
        Self {
            options,
            crossing: Crossing::new("", Format::OpenaiResponses),
            head: None,
            extras: Vec::new(),
            wire: Wire::default(),
            items: 0,
            messages: Vec::new(),
            open: Vec::new(),
            answer: Collector::new(Format::OpenaiResponses),
        }
    }

    pub fn losses(&self) -> &[Loss] {
        &self.crossing.losses
    }

    pub fn event(&mut self, event: &StreamEvent, out: &mut Vec<u8>) {
        if self.head.is_none()
            && !matches!(event, StreamEvent::Start(_) | StreamEvent::Error(_) | StreamEvent::Ping | StreamEvent::Usage(_))
        {
            self.start(None, out);
        }
        match event {
            StreamEvent::Start(start) if self.head.is_none() => self.start(Some(start), out),
            StreamEvent::Start(_) => {}
            StreamEvent::BlockStart(start) => self.block_start(start, out),
            StreamEvent::BlockDelta(delta) => self.block_delta(delta, out),
            StreamEvent::BlockStop(at) => self.block_stop(*at, out),
            StreamEvent::Finish(finish) => {
                self.crossing.lose_extras(&format!("choices[{}]", finish.choice), &finish.extras);
                self.answer.push(event);
            }
            StreamEvent::Usage(_) => self.answer.push(event),
            // A comment: it keeps the connection alive and no client sees it.
            StreamEvent::Ping => out.extend_from_slice(b": ping\n\n"),
            StreamEvent::Error(e) => self.error(e, out),
            StreamEvent::End => self.end(out),
            StreamEvent::Other(json) if self.crossing.same => self.wire.other(json, None, out),
            StreamEvent::Other(json) => self.crossing.lose_event(json),
        }
    }

    pub fn error(&mut self, e: &ChatError, out: &mut Vec<u8>) {
        self.wire.event("error", out, |o| write_event(o, e));
        let Some(head) = &self.head else { return };
        let (extras, same) = (Extras::new(&self.extras, self.crossing.same), self.crossing.same);
        self.wire.event("response.failed", out, |o| {
            answer::write_unfinished(o.object("response"), head, "failed", Some(e), extras, same);
        });
    }

    pub fn end(&mut self, out: &mut Vec<u8>) {
        if self.head.is_none() {
            self.start(None, out);
        }
        while let Some(at) = self.open.first().map(|b| b.at) {
            self.block_stop(at, out);
        }
        self.items += 1;
        self.close_messages(out);
        self.answer.push(&StreamEvent::End);
        let collector = std::mem::replace(&mut self.answer, Collector::new(Format::OpenaiResponses));
        let Ok(answer) = collector.finish() else { return };
        let mut response = Vec::new();
        answer::write(Object::new(&mut response), &answer, &self.options, &mut self.crossing);
        self.wire.event(answer::last_event(&response), out, |o| o.key("response").extend_from_slice(&response));
    }

    fn start(&mut self, start: Option<&StreamStart>, out: &mut Vec<u8>) {
        let (id, model) = (String::new(), String::new());
        let untold = StreamStart { format: String::new(), id, model, created: None, usage: None, extras: Vec::new() };
        let s = start.unwrap_or(&untold);
        self.answer.push(&StreamEvent::Start(s.clone()));
        self.crossing = Crossing::of_answer(&s.format, Format::OpenaiResponses);
        self.crossing.lose_extras("", &s.extras);
        if self.crossing.same {
            self.extras = s.extras.iter().filter(|e| !answer::is_passing(e)).cloned().collect();
        }
        let head = Head {
            id: or(&s.id, &self.options.id).to_owned(),
            model: or(&s.model, &self.options.model).to_owned(),
            created: s.created.or((!self.crossing.same || extra(&s.extras, "created_at").is_none()).then_some(self.options.created)),
        };
        let (extras, same) = (Extras::new(&self.extras, self.crossing.same), self.crossing.same);
        for kind in ["response.created", "response.in_progress"] {
            self.wire.event(kind, out, |o| {
                answer::write_unfinished(o.object("response"), &head, "in_progress", None, extras, same);
            });
        }
        self.head = Some(head);
    }

    // === blocks ===

    fn block_start(&mut self, start: &BlockStart, out: &mut Vec<u8>) {
        let at = format!("choices[{}].content[{}]", start.at.choice, start.at.block);
        if start.at.choice != 0 {
            return self.crossing.lose(format!("choices[{}]", start.at.choice), "OpenAI's responses have no alternatives");
        }
        let (part, first) = opening(start.part.clone());
        let text = matches!(part.kind, PartKind::Text(_) | PartKind::Refusal(_));
        self.answer.push(&StreamEvent::BlockStart(BlockStart { at: start.at, part: part.clone() }));
        if !text && !blocks::shown(&part, &at, Place::Answer { id: "" }, &mut self.crossing) {
            return;
        }
        self.open.push(Block { at: start.at, item: None, id: String::new(), content: 0, shown: false, annotations: 0 });
        // Other formats open texts that stay empty.
        if self.crossing.same || !text {
            self.announce(start.at, out);
        }
        for delta in first.into_iter().flatten() {
            self.block_delta(&BlockDelta { at: start.at, delta, extras: Vec::new() }, out);
        }
    }

    /// Tells that a block begins, once.
    fn announce(&mut self, at: BlockId, out: &mut Vec<u8>) {
        let Some(slot) = self.open.iter().position(|b| b.at == at && b.item.is_none()) else { return };
        let Some(part) = self.answer.part(at).cloned() else { return };
        let same = self.crossing.same;
        let joins = in_message(&part) && !begins(&part, same);
        let items = self.items;
        if let Some(m) = self.messages.last_mut().filter(|m| joins && m.item + 1 == items) {
            let block = &mut self.open[slot];
            (block.item, block.content) = (Some(m.item), m.parts.len());
            block.id.clone_from(&m.id);
            m.parts.push(at);
        } else {
            self.items += 1;
            self.close_messages(out);
            let answer_id = self.head.as_ref().map_or("", |h| &h.id);
            let id = known_id(&part, same).unwrap_or_else(|| item_id(&part, answer_id, items));
            (self.open[slot].item, self.open[slot].id) = (Some(items), id.clone());
            let mut item = Vec::new();
            if in_message(&part) {
                blocks::write_message(&mut item, &part, &[], &id, Some("in_progress"), Side::Output, &self.crossing);
                self.messages.push(Message { item: items, id, parts: vec![at] });
            } else {
                write_item(&mut item, &[&part], &id, Some("in_progress"), Side::Output, &self.crossing);
            }
            self.wire.event("response.output_item.added", out, |o| {
                o.int("output_index", items as u64);
                o.key("item").extend_from_slice(&item);
            });
        }
        if in_message(&part) {
            let json = answer::write_part(&part, &self.crossing);
            self.about("response.content_part.added", slot, true, out, |o| o.key("part").extend_from_slice(&json));
        }
    }

    fn block_delta(&mut self, d: &BlockDelta, out: &mut Vec<u8>) {
        let Some(slot) = self.open.iter().position(|b| b.at == d.at) else { return };
        let same = self.crossing.same;
        if !d.extras.is_empty() {
            self.crossing.lose_extras(&format!("choices[{}].content[{}]", d.at.choice, d.at.block), &d.extras);
        }
        let text = match &d.delta {
            Delta::Text(t) | Delta::Refusal(t) | Delta::Thinking(t) | Delta::Arguments(t) | Delta::Signature(t) | Delta::Other(t) => t,
        };
        if self.open[slot].item.is_none() && !text.is_empty() {
            self.announce(d.at, out);
        }
        self.answer.push(&StreamEvent::BlockDelta(d.clone()));
        let block = &self.open[slot];
        if block.item.is_none() {
            return;
        }
        match &d.delta {
            Delta::Other(json) if same => {
                let replaces = Value::parse(json).and_then(Value::object).is_none_or(|f| f.peek(VALUE).is_some());
                if !replaces {
                    self.wire.other(json, block.item, out);
                }
            }
            Delta::Other(_) => self.crossing.lose("stream", "a piece that the target format does not have"),
            // It goes with the item, when that is done.
            Delta::Signature(_) => {}
            _ if text.is_empty() => {}
            Delta::Text(text) => {
                let logprobs = extra(&d.extras, "logprobs").filter(|_| same).map_or("[]", |list| parts::logprobs(list, text));
                self.wire.delta("response.output_text.delta", block, Some("content_index"), text, Some(logprobs), out);
            }
            Delta::Refusal(text) => self.wire.delta("response.refusal.delta", block, Some("content_index"), text, None, out),
            Delta::Arguments(text) => {
                let custom =
                    matches!(self.answer.part(d.at).map(|p| &p.kind), Some(PartKind::ToolCall(c)) if c.kind == ToolCallKind::Custom);
                let kind = if custom { "response.custom_tool_call_input.delta" } else { "response.function_call_arguments.delta" };
                self.wire.delta(kind, block, None, text, None, out);
            }
            Delta::Thinking(text) => self.thinking(slot, text, out),
        }
        for annotation in d.extras.iter().filter(|e| same && e.name == ANNOTATION) {
            let n = self.open[slot].annotations;
            self.open[slot].annotations += 1;
            self.about("response.output_text.annotation.added", slot, true, out, |o| {
                o.int("annotation_index", n as u64);
                o.json("annotation", &annotation.value);
            });
        }
    }

    /// Whether reasoning is told as the text itself, and not as a summary of it.
    fn in_content(&self, at: BlockId) -> bool {
        self.crossing.same && self.answer.part(at).and_then(field_note) == Some(reasoning::CONTENT)
    }

    fn thinking(&mut self, slot: usize, text: &str, out: &mut Vec<u8>) {
        let in_content = self.in_content(self.open[slot].at);
        if !std::mem::replace(&mut self.open[slot].shown, true) {
            let (kind, part) = match in_content {
                true => ("response.content_part.added", r#"{"type":"reasoning_text","text":""}"#),
                false => ("response.reasoning_summary_part.added", r#"{"type":"summary_text","text":""}"#),
            };
            self.about(kind, slot, in_content, out, |o| {
                if !in_content {
                    o.int("summary_index", 0);
                }
                o.raw("part", part);
            });
        }
        let (kind, index) = match in_content {
            true => ("response.reasoning_text.delta", "content_index"),
            false => ("response.reasoning_summary_text.delta", "summary_index"),
        };
        self.wire.delta(kind, &self.open[slot], Some(index), text, None, out);
    }

    fn block_stop(&mut self, at: BlockId, out: &mut Vec<u8>) {
        let Some(slot) = self.open.iter().position(|b| b.at == at) else { return };
        if let (Some(item), Some(part)) = (self.open[slot].item, self.answer.part(at).cloned()) {
            self.tell_end(slot, &part, out);
            if !in_message(&part) {
                let id = self.open[slot].id.clone();
                self.item_done(item, &[&part], &id, out);
            }
        }
        self.open.remove(slot);
        self.close_messages(out);
    }

    /// The events before the item is done.
    fn tell_end(&mut self, slot: usize, part: &Part, out: &mut Vec<u8>) {
        match &part.kind {
            PartKind::Text(text) => {
                let logprobs = extra(&part.extras, "logprobs").filter(|v| self.crossing.same && v.starts_with('['));
                let logprobs = logprobs.map_or("[]", |list| parts::logprobs(list, text));
                self.about("response.output_text.done", slot, true, out, |o| {
                    o.string("text", text);
                    o.json("logprobs", logprobs);
                });
            }
            PartKind::Refusal(text) => self.about("response.refusal.done", slot, true, out, |o| o.string("refusal", text)),
            PartKind::ToolCall(call) if call.kind == ToolCallKind::Custom => {
                self.about("response.custom_tool_call_input.done", slot, false, out, |o| o.string("input", &call.arguments));
            }
            PartKind::ToolCall(call) => self.about("response.function_call_arguments.done", slot, false, out, |o| {
                o.string("name", &call.name);
                o.string("arguments", &call.arguments);
            }),
            PartKind::Thinking(t) if self.open[slot].shown => self.end_thinking(slot, &t.text, out),
            _ => {}
        }
        if in_message(part) {
            let json = answer::write_part(part, &self.crossing);
            self.about("response.content_part.done", slot, true, out, |o| o.key("part").extend_from_slice(&json));
        }
    }

    fn end_thinking(&mut self, slot: usize, text: &str, out: &mut Vec<u8>) {
        let in_content = self.in_content(self.open[slot].at);
        let (kind, events) = match in_content {
            true => ("reasoning_text", ["response.reasoning_text.done", "response.content_part.done"]),
            false => ("summary_text", ["response.reasoning_summary_text.done", "response.reasoning_summary_part.done"]),
        };
        for (event, whole) in events.into_iter().zip([false, true]) {
            self.about(event, slot, in_content, out, |o| {
                if !in_content {
                    o.int("summary_index", 0);
                }
                if !whole {
                    return o.string("text", text);
                }
                let mut part = o.object("part");
                part.string("type", kind);
                part.string("text", text);
                part.end();
            });
        }
    }

    /// Messages that another item follows are done once their parts are.
    fn close_messages(&mut self, out: &mut Vec<u8>) {
        let mut at = 0;
        while let Some(m) = self.messages.get(at) {
            if m.item + 1 == self.items || self.open.iter().any(|b| m.parts.contains(&b.at)) {
                at += 1;
                continue;
            }
            let m = self.messages.remove(at);
            let parts: Vec<Part> = m.parts.iter().filter_map(|at| self.answer.part(*at).cloned()).collect();
            self.item_done(m.item, &parts.iter().collect::<Vec<_>>(), &m.id, out);
        }
    }

    fn item_done(&mut self, index: usize, parts: &[&Part], id: &str, out: &mut Vec<u8>) {
        let mut item = Vec::new();
        write_item(&mut item, parts, id, None, Side::Output, &self.crossing);
        self.wire.event("response.output_item.done", out, |o| {
            o.int("output_index", index as u64);
            o.key("item").extend_from_slice(&item);
        });
    }

    /// Writes an event about a block.
    fn about(&mut self, kind: &str, slot: usize, content: bool, out: &mut Vec<u8>, write: impl FnOnce(&mut Object<'_>)) {
        let block = &self.open[slot];
        self.wire.event(kind, out, |o| {
            o.string("item_id", &block.id);
            o.int("output_index", block.item.unwrap_or_default() as u64);
            if content {
                o.int("content_index", block.content as u64);
            }
            write(o);
        });
    }
}

/// A part as its block opens, and what it then grows by.
fn opening(mut part: Part) -> (Part, [Option<Delta>; 2]) {
    let take = |text: &mut String| Some(std::mem::take(text)).filter(|t| !t.is_empty());
    let first = match &mut part.kind {
        PartKind::Text(text) => [take(text).map(Delta::Text), None],
        PartKind::Refusal(text) => [take(text).map(Delta::Refusal), None],
        PartKind::Thinking(t) => [take(&mut t.text).map(Delta::Thinking), t.signature.as_mut().and_then(take).map(Delta::Signature)],
        PartKind::ToolCall(call) => [take(&mut call.arguments).map(Delta::Arguments), None],
        _ => [None, None],
    };
    (part, first)
}
