//! Writes streams: `chat.completion.chunk` objects and `[DONE]`.

use super::events::{IN_DETAILS, finish_word_of, foreign, hot_string};
use super::{NAME, error, parts, reasoning, usage};
use crate::hub::{
    BlockDelta, BlockId, BlockStart, ChatError, Delta, Extra, Part, PartKind, StreamEvent, StreamFinish, StreamStart, ToolCall,
    ToolCallKind, Usage, extra, set_extra,
};
use crate::json::{Array, Fields, Object, Value, ensure_valid, write_raw, write_string};
use crate::map::{Crossing, field_note, plain_name};
use crate::{Format, Loss, LossKind, StreamOptions};

/// Hub events to chunks.
#[derive(Debug)]
pub(crate) struct Encoder {
    options: StreamOptions,
    crossing: Crossing,
    /// `data: {"id":…,"choices":[{"index":`, the same for every chunk.
    head: Vec<u8>,
    started: bool,
    choices: Vec<Choice>,
    /// Unmodelled fields for the next chunk.
    waiting: Vec<Extra>,
    usage: Option<Usage>,
}

#[derive(Debug, Default)]
struct Choice {
    index: u32,
    /// Calls so far.
    calls: u64,
    blocks: Vec<Block>,
}

#[derive(Debug)]
struct Block {
    number: u32,
    /// Index in `tool_calls`, when it is a call that is shown.
    call: Option<(u64, ToolCallKind)>,
    note: Option<String>,
    /// Extras of a part that every piece of it repeats (Mistral's `closed`).
    extras: Vec<Extra>,
    hidden: bool,
    /// It is reasoning.
    thinks: bool,
}

impl Encoder {
    pub fn new(options: StreamOptions) -> Self {
        let crossing = Crossing::new(NAME, Format::OpenaiChat);
        Self { options, crossing, head: Vec::new(), started: false, choices: Vec::new(), waiting: Vec::new(), usage: None }
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
            StreamEvent::Start(_) | StreamEvent::BlockStop(_) => {}
            StreamEvent::BlockStart(start) => self.block_start(start, out),
            StreamEvent::BlockDelta(delta) => self.block_delta(delta, out),
            StreamEvent::Finish(finish) => self.finish(finish, out),
            StreamEvent::Usage(usage) => self.usage = Some(usage.clone()),
            // A comment: it keeps the connection alive and no client sees it.
            StreamEvent::Ping => out.extend_from_slice(b": ping\n\n"),
            StreamEvent::Error(e) => self.error(e, out),
            StreamEvent::End => self.end(out),
            StreamEvent::Other(json) => self.other(json, out),
        }
    }

    pub fn error(&mut self, e: &ChatError, out: &mut Vec<u8>) {
        out.extend_from_slice(b"data: ");
        out.extend_from_slice(&error::encode(e).body);
        out.extend_from_slice(b"\n\n");
    }

    pub fn end(&mut self, out: &mut Vec<u8>) {
        if !self.started {
            self.start(None, out);
        }
        let usage = self.usage.take().filter(|_| self.options.include_usage);
        if usage.is_some() || !self.waiting.is_empty() {
            out.extend_from_slice(self.head.strip_suffix(b"{\"index\":").unwrap_or(&self.head));
            out.push(b']');
            if let Some(usage) = usage {
                let mut json = Vec::new();
                let mut o = Object::new(&mut json);
                usage::write(&mut o, &usage, self.crossing.same);
                o.end();
                out.push(b',');
                out.extend_from_slice(&json[1..json.len() - 1]);
            }
            self.tail(out);
        }
        out.extend_from_slice(b"data: [DONE]\n\n");
    }

    fn start(&mut self, start: Option<&StreamStart>, out: &mut Vec<u8>) {
        self.started = true;
        let o = &self.options;
        let (mut id, mut model, mut created) = (o.id.as_str(), o.model.as_str(), o.created);
        if let Some(s) = start {
            self.crossing = Crossing::of_answer(&s.format, Format::OpenaiChat);
            self.crossing.lose_extras("", &s.extras);
            id = if s.id.is_empty() { id } else { &s.id };
            model = if s.model.is_empty() { model } else { &s.model };
            created = s.created.unwrap_or(created);
            self.usage = s.usage.clone();
            if self.crossing.same {
                self.waiting = s.extras.iter().filter(|e| !OWN.contains(&e.name.as_str())).cloned().collect();
            }
        }
        let head = &mut self.head;
        head.extend_from_slice(b"data: {\"id\":");
        write_string(head, id);
        head.extend_from_slice(b",\"object\":\"chat.completion.chunk\",\"created\":");
        head.extend_from_slice(created.to_string().as_bytes());
        head.extend_from_slice(b",\"model\":");
        write_string(head, model);
        head.extend_from_slice(b",\"choices\":[{\"index\":");
        self.choice(0, out);
    }

    /// The place of a choice in the list; a new one first says who speaks.
    fn choice(&mut self, index: u32, out: &mut Vec<u8>) -> usize {
        if let Some(slot) = self.choices.iter().position(|c| c.index == index) {
            return slot;
        }
        self.choices.push(Choice { index, ..Choice::default() });
        self.chunk(index, &[], None, out, |delta| delta.extend_from_slice(b"\"role\":\"assistant\",\"content\":\"\""));
        self.choices.len() - 1
    }

    /// Writes a chunk with one choice. `write` appends the delta's members; `extras` go where their names say.
    fn chunk(&mut self, index: u32, extras: &[Extra], finish: Option<&str>, out: &mut Vec<u8>, write: impl FnOnce(&mut Vec<u8>)) {
        out.extend_from_slice(&self.head);
        out.extend_from_slice(index.to_string().as_bytes());
        out.extend_from_slice(b",\"delta\":{");
        let empty = out.len();
        write(out);
        let extras = if self.crossing.same { extras } else { &[] };
        for e in extras {
            if let Some(name) = e.name.strip_prefix("message.") {
                if out.len() > empty {
                    out.push(b',');
                }
                member(out, name, &e.value);
            }
        }
        out.push(b'}');
        for e in extras.iter().filter(|e| !["message.", "call.", "$"].iter().any(|p| e.name.starts_with(p))) {
            out.push(b',');
            member(out, plain_name(&e.name), &e.value);
        }
        match finish {
            None => out.extend_from_slice(b",\"finish_reason\":null}]"),
            Some(word) => {
                out.push(b',');
                hot_string(out, "finish_reason", word);
                out.extend_from_slice(b"}]");
            }
        }
        self.tail(out);
    }

    /// The chunk's own unmodelled fields, and its end.
    fn tail(&mut self, out: &mut Vec<u8>) {
        for e in self.waiting.drain(..) {
            out.push(b',');
            member(out, &e.name, &e.value);
        }
        out.extend_from_slice(b"}\n\n");
    }

    fn block_start(&mut self, start: &BlockStart, out: &mut Vec<u8>) {
        let BlockId { choice: index, block: number } = start.at;
        let slot = self.choice(index, out);
        let part = &start.part;
        let at = || format!("choices[{index}].content[{number}]");
        let note = field_note(part).map(str::to_owned);
        let thinks = matches!(part.kind, PartKind::Thinking(_) | PartKind::RedactedThinking(_));
        let mut block = Block { number, call: None, note, extras: Vec::new(), hidden: false, thinks };
        self.crossing.lose_extras(&at(), &part.extras);
        match &part.kind {
            PartKind::ToolCall(call) if call.kind == ToolCallKind::Server => {
                self.crossing.lose_as(LossKind::Foreign, at(), "a call that the provider ran itself");
                block.hidden = true;
            }
            PartKind::ToolCall(call) => {
                let n = self.choices[slot].calls;
                self.choices[slot].calls += 1;
                block.call = Some((n, call.kind));
                let same = self.crossing.same;
                let fallback = format!("call_{}_{index}_{n}", self.options.id);
                self.chunk(index, &[], None, out, |d| call_start(d, call, n, &fallback, if same { &part.extras } else { &[] }));
            }
            PartKind::Other(other) if other.format == NAME => {
                self.chunk(index, &[], None, out, |d| content_item(d, part));
            }
            PartKind::Other(other) => {
                self.crossing.lose(at(), foreign(other));
                block.hidden = true;
            }
            PartKind::Image(_) | PartKind::Audio(_) | PartKind::Document(_) if self.crossing.same => {
                self.chunk(index, &[], None, out, |d| content_item(d, part));
            }
            PartKind::Image(_) | PartKind::Audio(_) | PartKind::Document(_) | PartKind::ToolResult(_) => {
                self.crossing.lose(at(), "the target format has no such part in an answer");
                block.hidden = true;
            }
            PartKind::RedactedThinking(data) => {
                if !(self.crossing.same && block.note.is_some()) {
                    self.chunk(index, &[], None, out, |d| detail(d, number, None, None, Some(data)));
                }
            }
            PartKind::Text(_) | PartKind::Thinking(_) | PartKind::Refusal(_) => {
                if self.crossing.same {
                    block.extras = part.extras.iter().filter(|e| !e.name.starts_with('$')).cloned().collect();
                }
            }
        }
        self.choices[slot].blocks.retain(|b| b.number != number);
        self.choices[slot].blocks.push(block);
        let (delta, signature) = match &part.kind {
            PartKind::Text(text) => (Delta::Text(text.clone()), None),
            PartKind::Refusal(text) => (Delta::Refusal(text.clone()), None),
            PartKind::Thinking(t) => (Delta::Thinking(t.text.clone()), t.signature.clone()),
            _ => return,
        };
        self.block_delta(&BlockDelta { at: start.at, delta, extras: Vec::new() }, out);
        if let Some(signature) = signature {
            self.block_delta(&BlockDelta { at: start.at, delta: Delta::Signature(signature), extras: Vec::new() }, out);
        }
    }

    fn block_delta(&mut self, d: &BlockDelta, out: &mut Vec<u8>) {
        let BlockId { choice: index, block: number } = d.at;
        let slot = self.choice(index, out);
        let same = self.crossing.same;
        // What a hook changed must not leave beside itself as it was.
        let stale = |e: &Extra| matches!(&d.delta, Delta::Thinking(text) if reasoning::is_stale(e, text));
        let changed = same && d.extras.iter().any(stale);
        let fresh = changed.then(|| BlockDelta { extras: d.extras.iter().filter(|e| !stale(e)).cloned().collect(), ..d.clone() });
        let d = fresh.as_ref().unwrap_or(d);
        if !d.extras.is_empty() {
            self.crossing.lose_extras(&format!("choices[{index}].content[{number}]"), &d.extras);
        }
        let block = self.choices[slot].blocks.iter().find(|b| b.number == number);
        if block.is_some_and(|b| b.hidden) {
            return;
        }
        let note = block.and_then(|b| b.note.clone());
        match &d.delta {
            Delta::Text(text) | Delta::Thinking(text) | Delta::Refusal(text) | Delta::Signature(text)
                if text.is_empty() && (d.extras.is_empty() || !same) => {}
            Delta::Arguments(piece) if piece.is_empty() && !same => {}
            Delta::Text(text) => self.chunk(index, &d.extras, None, out, |o| hot_string(o, "content", text)),
            Delta::Refusal(text) => self.chunk(index, &d.extras, None, out, |o| hot_string(o, "refusal", text)),
            Delta::Thinking(text) => match note.as_deref().filter(|_| same) {
                Some("content") => {
                    let extras = block.map(|b| b.extras.clone()).unwrap_or_default();
                    self.chunk(index, &d.extras, None, out, |o| thinking_item(o, text, &extras));
                }
                // Others see no more of the entry than its text, and a signature means that text alone.
                Some("reasoning_details") if changed => {
                    self.chunk(index, &d.extras, None, out, |o| detail(o, number, Some(text), None, None));
                }
                // The details tell it, in the extras of this event.
                Some("reasoning_details") if extra(&d.extras, IN_DETAILS).is_some() => {
                    if d.extras.len() > 1 {
                        self.chunk(index, &d.extras, None, out, |_| {});
                    }
                }
                Some("reasoning") => self.chunk(index, &d.extras, None, out, |o| hot_string(o, "reasoning", text)),
                _ => self.chunk(index, &d.extras, None, out, |o| hot_string(o, reasoning::STRINGS[0], text)),
            },
            // The same.
            Delta::Signature(_) if same && extra(&d.extras, IN_DETAILS).is_some() => {
                if d.extras.len() > 1 {
                    self.chunk(index, &d.extras, None, out, |_| {});
                }
            }
            Delta::Signature(signature) => self.chunk(index, &d.extras, None, out, |o| detail(o, number, None, Some(signature), None)),
            Delta::Arguments(piece) => {
                let Some((n, kind)) = block.and_then(|b| b.call) else { return };
                let extras: Vec<Extra> = if same { d.extras.clone() } else { Vec::new() };
                // What the choice told beside it goes there.
                self.chunk(index, &d.extras, None, out, |o| call_piece(o, n, kind, piece, &extras));
            }
            Delta::Other(_) if same => {}
            Delta::Other(_) => {
                self.crossing.lose(format!("choices[{index}].content[{number}]"), "a piece that the target format does not have")
            }
        }
    }

    fn finish(&mut self, f: &StreamFinish, out: &mut Vec<u8>) {
        let slot = self.choice(f.choice, out);
        let calls = self.choices[slot].calls > 0;
        let word = finish_word_of(&f.reason, self.crossing.same, calls);
        if !super::finish_word(&f.reason, self.crossing.same).1 {
            let reason = format!("no such reason in the target format, which has `{word}`");
            self.crossing.lose_as(LossKind::Adjusted, format!("choices[{}].finish", f.choice), reason);
        }
        self.crossing.lose_extras(&format!("choices[{}]", f.choice), &f.extras);
        // A complete answer that is told as a stream has its reasoning in the blocks and, as hints, here.
        let told = self.choices[slot].blocks.iter().any(|b| b.thinks);
        let extras: Vec<Extra> = f.extras.iter().filter(|e| !(told && e.name.starts_with("message.reasoning"))).cloned().collect();
        self.chunk(f.choice, &extras, Some(&word), out, |_| {});
    }

    fn other(&mut self, json: &str, out: &mut Vec<u8>) {
        let fields = Value::parse(json).and_then(Value::object).filter(|_| self.crossing.same);
        let Some(mut f) = fields else {
            return self.crossing.lose_event(json);
        };
        let choices = f.take("choices");
        for e in f.rest().into_iter().filter(|e| !OWN.contains(&e.name.as_str())) {
            set_extra(&mut self.waiting, &e.name, e.value);
        }
        for choice in choices.and_then(Value::elements).into_iter().flatten() {
            let Some(mut c) = choice.object() else { continue };
            let index = c.take("index").and_then(Value::u64).and_then(|i| u32::try_from(i).ok()).unwrap_or(0);
            let mut extras = c.take("delta").and_then(Value::object).map(|d: Fields<'_>| d.rest_with("message.")).unwrap_or_default();
            extras.extend(c.rest_beside());
            self.choice(index, out);
            self.chunk(index, &extras, None, out, |_| {});
        }
    }
}

/// Chunk fields that the encoder writes itself.
const OWN: [&str; 6] = ["id", "object", "created", "model", "choices", "usage"];

fn member(out: &mut Vec<u8>, name: &str, value: &str) {
    write_string(out, name);
    out.push(b':');
    write_raw(out, &ensure_valid(value));
}

/// Writes one member of the delta by way of an object.
fn one(out: &mut Vec<u8>, write: impl FnOnce(&mut Object<'_>)) {
    let mut json = Vec::new();
    let mut o = Object::new(&mut json);
    write(&mut o);
    o.end();
    out.extend_from_slice(&json[1..json.len() - 1]);
}

fn detail(out: &mut Vec<u8>, index: u32, text: Option<&str>, signature: Option<&str>, data: Option<&str>) {
    one(out, |o| {
        let mut list = o.array("reasoning_details");
        reasoning::write_detail(list.object(), u64::from(index), text, signature, data);
        list.end();
    });
}

fn content_item(out: &mut Vec<u8>, part: &Part) {
    one(out, |o| {
        let mut list: Array<'_> = o.array("content");
        parts::write(&mut list, part, "", &mut Crossing::new(NAME, Format::OpenaiChat));
        list.end();
    });
}

fn thinking_item(out: &mut Vec<u8>, text: &str, extras: &[Extra]) {
    let thinking = crate::hub::Thinking { text: text.into(), signature: None };
    content_item(out, &Part { extras: extras.to_vec(), ..Part::new(PartKind::Thinking(thinking)) });
}

fn call_start(out: &mut Vec<u8>, call: &ToolCall, n: u64, fallback: &str, extras: &[Extra]) {
    one(out, |o| {
        let mut list = o.array("tool_calls");
        let mut entry = list.object();
        let (kind, input) = words(call.kind);
        entry.int("index", n);
        entry.string("id", if call.id.is_empty() { fallback } else { &call.id });
        entry.string("type", kind);
        let mut inner = entry.object(kind);
        inner.string("name", &call.name);
        inner.string(input, &call.arguments);
        let prefix = |e: &Extra| e.name.strip_prefix(kind).and_then(|n| n.strip_prefix('.')).map(str::to_owned);
        extras.iter().filter_map(|e| Some((prefix(e)?, e))).for_each(|(name, e)| inner.json(&name, &e.value));
        inner.end();
        for e in extras.iter().filter(|e| prefix(e).is_none() && !e.name.starts_with('$') && !entry_own(&e.name)).collect::<Vec<_>>() {
            entry.json(plain_name(&e.name), &e.value);
        }
        entry.end();
        list.end();
    });
}

fn entry_own(name: &str) -> bool {
    matches!(name, "index" | "id" | "type")
}

fn call_piece(out: &mut Vec<u8>, n: u64, kind: ToolCallKind, piece: &str, extras: &[Extra]) {
    let (kind, input) = words(kind);
    out.extend_from_slice(b"\"tool_calls\":[{\"index\":");
    out.extend_from_slice(n.to_string().as_bytes());
    out.extend_from_slice(b",\"");
    out.extend_from_slice(kind.as_bytes());
    out.extend_from_slice(b"\":{");
    hot_string(out, input, piece);
    out.push(b'}');
    for e in extras {
        if let Some(name) = e.name.strip_prefix("call.").filter(|n| !n.contains('.') && !entry_own(n)) {
            out.push(b',');
            member(out, name, &e.value);
        }
    }
    out.extend_from_slice(b"}]");
}

fn words(kind: ToolCallKind) -> (&'static str, &'static str) {
    if kind == ToolCallKind::Custom { ("custom", "input") } else { ("function", "arguments") }
}
