//! Streams, written: `message_start`, blocks one after another, `message_delta`, `message_stop`.
//!
//! The hub may have several blocks open at once; here a second one waits, with all that it grows by, until the first is closed.

use std::collections::VecDeque;

use super::answer::{asks_for_tools, write_finish};
use super::{NAME, blocks, error, usage};
use crate::hub::{
    BlockDelta, BlockId, BlockStart, ChatError, Delta, Extra, FinishReason, Part, PartKind, StreamEvent, StreamFinish, StreamStart,
    ToolCallKind, Usage,
};
use crate::json::{Array, Object, Value, ensure_valid, write_raw, write_string};
use crate::map::Crossing;
use crate::{Format, Loss, LossKind, StreamOptions};

/// Hub events to events of this format.
#[derive(Debug)]
pub(crate) struct Encoder {
    options: StreamOptions,
    crossing: Crossing,
    started: bool,
    /// Id of the answer, for calls that have none.
    id: String,
    /// Number of the next block on the wire.
    next: u64,
    open: Option<Open>,
    waiting: VecDeque<Waiting>,
    calls: bool,
    finish: Option<StreamFinish>,
    usage: Option<Usage>,
}

#[derive(Debug)]
struct Open {
    at: BlockId,
    /// Its number on the wire; none until it has something to show.
    index: Option<u64>,
    part: Part,
}

#[derive(Debug)]
struct Waiting {
    start: BlockStart,
    deltas: Vec<BlockDelta>,
    stopped: bool,
}

impl Encoder {
    pub fn new(options: StreamOptions) -> Self {
        let crossing = Crossing::new(NAME, Format::AnthropicMessages);
        Self {
            options,
            crossing,
            started: false,
            id: String::new(),
            next: 0,
            open: None,
            waiting: VecDeque::new(),
            calls: false,
            finish: None,
            usage: None,
        }
    }

    pub fn losses(&self) -> &[Loss] {
        &self.crossing.losses
    }

    pub fn event(&mut self, event: &StreamEvent, out: &mut Vec<u8>) {
        if !self.started && !matches!(event, StreamEvent::Start(_) | StreamEvent::Error(_) | StreamEvent::Ping | StreamEvent::Usage(_)) {
            self.start(None, out);
        }
        match event {
            StreamEvent::Start(start) if !self.started => self.start(Some(start), out),
            StreamEvent::Start(_) => {}
            StreamEvent::BlockStart(start) => self.block_start(start, out),
            StreamEvent::BlockDelta(delta) => self.block_delta(delta, out),
            StreamEvent::BlockStop(at) => self.block_stop(*at, out),
            StreamEvent::Finish(f) if f.choice == 0 => self.finish = Some(f.clone()),
            StreamEvent::Finish(_) => {}
            StreamEvent::Usage(usage) => self.usage = Some(usage.clone()),
            StreamEvent::Ping => out.extend_from_slice(b"event: ping\ndata: {\"type\":\"ping\"}\n\n"),
            StreamEvent::Error(e) => self.error(e, out),
            StreamEvent::End => self.end(out),
            StreamEvent::Other(json) => self.other(json, out),
        }
    }

    pub fn error(&mut self, e: &ChatError, out: &mut Vec<u8>) {
        out.extend_from_slice(b"event: error\ndata: ");
        out.extend_from_slice(&error::encode(e).body);
        out.extend_from_slice(b"\n\n");
    }

    pub fn end(&mut self, out: &mut Vec<u8>) {
        if !self.started {
            self.start(None, out);
        }
        self.close(out);
        while let Some(waiting) = self.waiting.pop_front() {
            self.show(waiting, out);
            self.close(out);
        }
        let finish = self.finish.take();
        let reason = finish.as_ref().map_or(FinishReason::Stop, |f| f.reason.clone());
        let extras = finish.map(|f| f.extras).unwrap_or_default();
        self.crossing.lose_extras("choices[0]", &extras);
        let extras: &[Extra] = if self.crossing.same { &extras } else { &[] };
        let mut o = frame(out, "message_delta");
        let mut delta = o.object("delta");
        write_finish(&mut delta, Some(&reason), self.calls, &mut self.crossing);
        for e in extras.iter().filter(|e| !e.name.starts_with("event.") && !e.name.starts_with('$')) {
            if !delta.wrote(&e.name) {
                delta.json(&e.name, &e.value);
            }
        }
        if !delta.wrote("stop_sequence") {
            delta.raw("stop_sequence", "null");
        }
        delta.end();
        match &self.usage {
            Some(usage) => usage::write(&mut o, usage, self.crossing.same),
            None => o.raw("usage", r#"{"output_tokens":0}"#),
        }
        for e in extras {
            if let Some(name) = e.name.strip_prefix("event.") {
                o.json(name, &e.value);
            }
        }
        end_frame(o);
        out.extend_from_slice(b"\n\n");
        out.extend_from_slice(b"event: message_stop\ndata: {\"type\":\"message_stop\"}\n\n");
    }

    fn start(&mut self, start: Option<&StreamStart>, out: &mut Vec<u8>) {
        self.started = true;
        let (mut id, mut model) = (self.options.id.clone(), self.options.model.clone());
        let mut extras: &[Extra] = &[];
        if let Some(s) = start {
            self.crossing = Crossing::of_answer(&s.format, Format::AnthropicMessages);
            self.crossing.lose_extras("", &s.extras);
            id = if s.id.is_empty() { id } else { s.id.clone() };
            model = if s.model.is_empty() { model } else { s.model.clone() };
            self.usage = s.usage.clone().or(self.usage.take());
            if self.crossing.same {
                extras = &s.extras;
            }
        }
        let mut o = frame(out, "message_start");
        let mut m = o.object("message");
        m.string("id", &id);
        m.string("type", "message");
        m.string("role", "assistant");
        m.string("model", &model);
        m.raw("content", "[]");
        m.raw("stop_reason", "null");
        m.raw("stop_sequence", "null");
        match &self.usage {
            Some(usage) => usage::write(&mut m, usage, self.crossing.same),
            None => m.raw("usage", r#"{"input_tokens":0,"output_tokens":0}"#),
        }
        for e in extras.iter().filter(|e| !e.name.starts_with('$')) {
            if !m.wrote(&e.name) {
                m.json(&e.name, &e.value);
            }
        }
        m.end();
        end_frame(o);
        out.extend_from_slice(b"\n\n");
        self.id = id;
    }

    // === blocks ===

    fn block_start(&mut self, start: &BlockStart, out: &mut Vec<u8>) {
        if !self.shown(start) {
            return;
        }
        let waiting = Waiting { start: start.clone(), deltas: Vec::new(), stopped: false };
        if self.open.is_none() && self.waiting.is_empty() { self.show(waiting, out) } else { self.waiting.push_back(waiting) }
    }

    /// Whether a client of this format can see the block; a loss when not.
    fn shown(&mut self, start: &BlockStart) -> bool {
        let at = format!("choices[{}].content[{}]", start.at.choice, start.at.block);
        let (same, c) = (self.crossing.same, &mut self.crossing);
        match &start.part.kind {
            _ if start.at.choice != 0 => c.lose(format!("choices[{}]", start.at.choice), "Anthropic's answers have no alternatives"),
            PartKind::Other(o) if o.format != NAME => c.lose(at, format!("the target format has no part `{}`", o.kind)),
            PartKind::Image(_) | PartKind::Audio(_) | PartKind::Document(_) if !same => c.lose(at, "Anthropic's answers hold no media"),
            PartKind::ToolCall(call) if !same && call.kind == ToolCallKind::Server => {
                c.lose_as(LossKind::Foreign, at, "a call that another provider ran itself")
            }
            _ => {
                self.crossing.lose_extras(&at, &start.part.extras);
                return true;
            }
        }
        false
    }

    fn show(&mut self, waiting: Waiting, out: &mut Vec<u8>) {
        let Waiting { start, deltas, stopped } = waiting;
        self.calls |= asks_for_tools(&start.part);
        let (part, first) = opening(start.part);
        let text = matches!(part.kind, PartKind::Text(_) | PartKind::Refusal(_));
        self.open = Some(Open { at: start.at, index: None, part });
        // Other formats open texts that stay empty; a client that sent one back would be refused.
        if self.crossing.same || !text {
            self.announce(out);
        }
        for delta in first.into_iter().flatten() {
            self.block_delta(&BlockDelta { at: start.at, delta, extras: Vec::new() }, out);
        }
        for delta in &deltas {
            self.block_delta(delta, out);
        }
        if stopped {
            self.block_stop(start.at, out);
        }
    }

    /// Writes `content_block_start` of the open block, once; its number on the wire.
    fn announce(&mut self, out: &mut Vec<u8>) -> Option<u64> {
        let open = self.open.as_mut()?;
        if open.index.is_none() {
            open.index = Some(self.next);
            let mut o = frame(out, "content_block_start");
            o.int("index", self.next);
            write_opening(o.key("content_block"), &open.part, open.at, &self.id, &mut self.crossing);
            end_frame(o);
            out.extend_from_slice(b"\n\n");
            self.next += 1;
        }
        open.index
    }

    fn block_delta(&mut self, d: &BlockDelta, out: &mut Vec<u8>) {
        if self.open.as_ref().is_none_or(|open| open.at != d.at) {
            if let Some(waiting) = self.waiting.iter_mut().find(|w| w.start.at == d.at) {
                waiting.deltas.push(d.clone());
            }
            return;
        }
        let same = self.crossing.same;
        if !d.extras.is_empty() {
            self.crossing.lose_extras(&format!("choices[{}].content[{}]", d.at.choice, d.at.block), &d.extras);
        }
        let (kind, name, text) = match &d.delta {
            Delta::Text(text) | Delta::Refusal(text) => ("text_delta", "text", text),
            Delta::Thinking(text) => ("thinking_delta", "thinking", text),
            Delta::Signature(text) => ("signature_delta", "signature", text),
            Delta::Arguments(text) => ("input_json_delta", "partial_json", text),
            Delta::Other(json) if same => {
                let Some(index) = self.announce(out) else { return };
                return delta_frame(out, index, |out| write_raw(out, &ensure_valid(json)));
            }
            Delta::Other(_) => return self.crossing.lose("stream", "a piece that the target format does not have"),
        };
        if text.is_empty() && (d.extras.is_empty() || !same) {
            return;
        }
        let Some(index) = self.announce(out) else { return };
        delta_frame(out, index, |out| {
            out.extend_from_slice(b"{\"type\":\"");
            out.extend_from_slice(kind.as_bytes());
            out.extend_from_slice(b"\",\"");
            out.extend_from_slice(name.as_bytes());
            out.extend_from_slice(b"\":");
            write_string(out, text);
            for e in d.extras.iter().filter(|e| same && !e.name.starts_with('$')) {
                out.push(b',');
                write_string(out, &e.name);
                out.push(b':');
                write_raw(out, &ensure_valid(&e.value));
            }
            out.push(b'}');
        });
    }

    fn block_stop(&mut self, at: BlockId, out: &mut Vec<u8>) {
        if self.open.as_ref().is_some_and(|open| open.at == at) {
            self.close(out);
            while let Some(waiting) = self.waiting.pop_front() {
                self.show(waiting, out);
                if self.open.is_some() {
                    break;
                }
            }
        } else if let Some(waiting) = self.waiting.iter_mut().find(|w| w.start.at == at) {
            waiting.stopped = true;
        }
    }

    fn close(&mut self, out: &mut Vec<u8>) {
        if let Some(index) = self.open.take().and_then(|open| open.index) {
            let mut o = frame(out, "content_block_stop");
            o.int("index", index);
            end_frame(o);
            out.extend_from_slice(b"\n\n");
        }
    }

    fn other(&mut self, json: &str, out: &mut Vec<u8>) {
        let kind = Value::parse(json).and_then(Value::object).and_then(|f| f.peek("type")).and_then(Value::text);
        match kind.filter(|k| self.crossing.same && !k.contains(['\n', '\r'])) {
            Some(kind) => {
                out.extend_from_slice(format!("event: {kind}\ndata: ").as_bytes());
                write_raw(out, json);
                out.extend_from_slice(b"\n\n");
            }
            None => self.crossing.lose_event(json),
        }
    }
}

/// A part as its block opens, and what it then grows by.
fn opening(mut part: Part) -> (Part, [Option<Delta>; 2]) {
    let take = |text: &mut String| Some(std::mem::take(text)).filter(|t| !t.is_empty());
    let first = match &mut part.kind {
        PartKind::Text(text) | PartKind::Refusal(text) => [take(text).map(Delta::Text), None],
        PartKind::Thinking(t) => [take(&mut t.text).map(Delta::Thinking), t.signature.as_mut().and_then(take).map(Delta::Signature)],
        PartKind::ToolCall(call) => [take(&mut call.arguments).map(Delta::Arguments), None],
        _ => [None, None],
    };
    (part, first)
}

/// Writes the block of `content_block_start`.
fn write_opening(out: &mut Vec<u8>, part: &Part, at: BlockId, id: &str, c: &mut Crossing) {
    let extras = c.extras(&part.extras);
    match &part.kind {
        PartKind::Thinking(t) => {
            let mut o = Object::new(out);
            o.string("type", "thinking");
            o.string("thinking", "");
            if t.signature.is_some() || !c.same {
                o.string("signature", "");
            }
            extras.rest(&mut o, &[]);
            o.end();
        }
        PartKind::ToolCall(call) => {
            let mut o = Object::new(out);
            extras.hint(&mut o, "type");
            let fallback = format!("toolu_{id}_{}", at.block);
            blocks::call_head(&mut o, call, c.same, if call.id.is_empty() { &fallback } else { &call.id });
            o.raw("input", "{}");
            extras.rest(&mut o, &[]);
            o.end();
        }
        _ => {
            let mut json = Vec::new();
            let mut list = Array::new(&mut json);
            // Nothing is lost here that `shown` has not told; an empty text is written all the same.
            let same = std::mem::replace(&mut c.same, true);
            let bare = Part { extras: if same { part.extras.clone() } else { Vec::new() }, ..part.clone() };
            blocks::write(&mut list, &bare, "", c);
            c.same = same;
            list.end();
            out.extend_from_slice(&json[1..json.len() - 1]);
        }
    }
}

/// Opens an event; end it with [`end_frame`] and a blank line.
fn frame<'w>(out: &'w mut Vec<u8>, kind: &str) -> Object<'w> {
    out.extend_from_slice(b"event: ");
    out.extend_from_slice(kind.as_bytes());
    out.extend_from_slice(b"\ndata: ");
    let mut o = Object::new(out);
    o.string("type", kind);
    o
}

fn end_frame(o: Object<'_>) {
    o.end();
}

fn delta_frame(out: &mut Vec<u8>, index: u64, write: impl FnOnce(&mut Vec<u8>)) {
    out.extend_from_slice(b"event: content_block_delta\ndata: {\"type\":\"content_block_delta\",\"index\":");
    out.extend_from_slice(index.to_string().as_bytes());
    out.extend_from_slice(b",\"delta\":");
    write(out);
    out.extend_from_slice(b"}\n\n");
}
