//! Streams, written: each piece as a `GenerateContentResponse`, and at the end one with the reason to finish and the usage. As
//! server-sent events, or as one array.

use super::answer::{self, BLOCKED, CONTENT};
use super::{NAME, asks, blocks, error, usage};
use crate::hub::{
    BlockDelta, BlockId, BlockStart, ChatError, Delta, Extra, FinishReason, Part, PartKind, StreamEvent, StreamFinish, StreamStart,
    Thinking, Usage, extra, set_extra,
};
use crate::json::{Array, Object};
use crate::map::{Crossing, Extras};
use crate::{Format, Loss, StreamOptions};

/// Hub events to events of this format.
#[derive(Debug)]
pub(crate) struct Encoder {
    options: StreamOptions,
    crossing: Crossing,
    /// As one array, and how many elements it has.
    list: Option<usize>,
    started: bool,
    id: String,
    model: String,
    /// Members for the next event, which the hub does not have.
    waiting: Vec<Extra>,
    open: Vec<Open>,
    choices: Vec<(u32, Option<StreamFinish>, bool)>,
    usage: Option<Usage>,
}

/// A block that is open.
#[derive(Debug)]
struct Open {
    at: BlockId,
    /// What it is; of a call and of a signature, what came so far.
    part: Part,
    /// It is complete and waits for one before it.
    stopped: bool,
}

impl Encoder {
    /// Writes server-sent events.
    pub fn new(options: StreamOptions) -> Self {
        Self {
            options,
            crossing: Crossing::new(NAME, Format::GeminiGenerate),
            list: None,
            started: false,
            id: String::new(),
            model: String::new(),
            waiting: Vec::new(),
            open: Vec::new(),
            choices: Vec::new(),
            usage: None,
        }
    }

    /// Writes one array.
    pub fn list(options: StreamOptions) -> Self {
        Self { list: Some(0), ..Self::new(options) }
    }

    pub fn losses(&self) -> &[Loss] {
        &self.crossing.losses
    }

    pub fn event(&mut self, event: &StreamEvent, out: &mut Vec<u8>) {
        match event {
            StreamEvent::Start(start) if !self.started => self.start(start),
            StreamEvent::Start(_) => {}
            StreamEvent::BlockStart(start) => self.block_start(start, out),
            StreamEvent::BlockDelta(delta) => self.block_delta(delta, out),
            StreamEvent::BlockStop(at) => self.block_stop(*at, out),
            StreamEvent::Finish(finish) => {
                let slot = self.choice(finish.choice);
                self.choices[slot].1 = Some(finish.clone());
            }
            StreamEvent::Usage(usage) => self.usage = Some(usage.clone()),
            // Clients of this format expect nothing but events.
            StreamEvent::Ping => {}
            StreamEvent::Error(e) => self.error(e, out),
            StreamEvent::End => self.end(out),
            StreamEvent::Other(_) => self.crossing.lose("stream", "an event that the target format does not have"),
        }
    }

    pub fn error(&mut self, e: &ChatError, out: &mut Vec<u8>) {
        self.frame(out, |o| {
            error::write(o, e);
        });
        if self.list.is_some() {
            out.extend_from_slice(b"]");
        }
    }

    pub fn end(&mut self, out: &mut Vec<u8>) {
        while let Some(at) = self.open.first().map(|open| open.at) {
            self.block_stop(at, out);
            self.open.retain(|open| open.at != at);
        }
        if self.choices.is_empty() {
            self.choice(0);
        }
        let mut choices = std::mem::take(&mut self.choices);
        choices.sort_by_key(|(index, _, _)| *index);
        let usage = self.usage.take();
        for choice in &choices {
            let finish = choice.1.as_ref();
            let extras = finish.map(|f| f.extras.as_slice()).unwrap_or_default();
            self.crossing.lose_extras(&format!("choices[{}]", choice.0), extras);
            if self.crossing.same {
                // What was told anew stands in place of what still waits.
                for (name, value) in extras.iter().filter_map(|e| Some((e.name.strip_prefix("event.")?, &e.value))) {
                    set_extra(&mut self.waiting, name, value.clone());
                }
            }
        }
        let blocked = match &choices[..] {
            [(_, Some(f), _)] => self.crossing.same && extra(&f.extras, BLOCKED).is_some(),
            _ => false,
        };
        let mut candidates = Vec::new();
        let mut list = Array::new(&mut candidates);
        for (index, finish, calls) in &choices {
            write_ending(list.object(), *index, finish.as_ref(), *calls, &mut self.crossing);
        }
        list.end();
        let same = self.crossing.same;
        let members = std::mem::take(&mut self.waiting);
        self.chunk(out, &members, |o| {
            if !blocked {
                o.key("candidates").extend_from_slice(&candidates);
            }
            if let Some(usage) = &usage {
                usage::write(o, usage, same);
            }
        });
        if self.list.is_some() {
            out.extend_from_slice(b"]");
        }
    }

    fn start(&mut self, start: &StreamStart) {
        self.started = true;
        self.crossing = Crossing::of_answer(&start.format, Format::GeminiGenerate);
        self.crossing.lose_extras("", &start.extras);
        self.id.clone_from(&start.id);
        self.model.clone_from(&start.model);
        self.usage = start.usage.clone().or(self.usage.take());
        if self.crossing.same {
            self.waiting.clone_from(&start.extras);
        }
    }

    fn choice(&mut self, index: u32) -> usize {
        self.choices.iter().position(|(i, _, _)| *i == index).unwrap_or_else(|| {
            self.choices.push((index, None, false));
            self.choices.len() - 1
        })
    }

    // === blocks ===

    fn block_start(&mut self, start: &BlockStart, out: &mut Vec<u8>) {
        let slot = self.choice(start.at.choice);
        self.choices[slot].2 |= asks(&start.part);
        let mut part = start.part.clone();
        let first = take_text(&mut part);
        self.open.retain(|open| open.at != start.at);
        self.open.push(Open { at: start.at, part, stopped: false });
        if let Some(delta) = first {
            self.block_delta(&BlockDelta { at: start.at, delta, extras: Vec::new() }, out);
        }
    }

    fn block_delta(&mut self, d: &BlockDelta, out: &mut Vec<u8>) {
        let same = self.crossing.same;
        if !d.extras.is_empty() {
            self.crossing.lose_extras(&format!("choices[{}].content[{}]", d.at.choice, d.at.block), &d.extras);
        }
        let extras: &[Extra] = if same { &d.extras } else { &[] };
        let (text, thinks) = match &d.delta {
            Delta::Text(text) | Delta::Refusal(text) => (text, false),
            Delta::Thinking(text) => (text, true),
            delta => return self.grow(d.at, delta),
        };
        if text.is_empty() && extras.is_empty() {
            return;
        }
        self.choice(d.at.choice);
        let kind = if thinks { PartKind::Thinking(Thinking { text: text.clone(), signature: None }) } else { PartKind::Text(text.clone()) };
        let part = Part { kind, cache_control: None, extras: extras.to_vec() };
        self.part(d.at, &part, out);
    }

    /// What is written when its block is complete.
    fn grow(&mut self, at: BlockId, delta: &Delta) {
        let Some(open) = self.open.iter_mut().find(|open| open.at == at) else { return };
        match (&mut open.part.kind, delta) {
            (PartKind::ToolCall(call), Delta::Arguments(more)) => call.arguments.push_str(more),
            (PartKind::Thinking(t), Delta::Signature(more)) => t.signature.get_or_insert_default().push_str(more),
            _ => self.crossing.lose("stream", "a piece that the target format does not have"),
        }
    }

    fn block_stop(&mut self, at: BlockId, out: &mut Vec<u8>) {
        let Some(place) = self.open.iter().position(|open| open.at == at) else { return };
        self.open[place].stopped = true;
        // Calls may be open at once and end in any order; those of a choice are written in the order in which they began.
        let first = |open: &[Open]| open.iter().position(|open| open.at.choice == at.choice).filter(|first| open[*first].stopped);
        while let Some(place) = first(&self.open) {
            let open = self.open.remove(place);
            self.whole(open, out);
        }
    }

    /// Writes what of a block its pieces did not tell.
    fn whole(&mut self, open: Open, out: &mut Vec<u8>) {
        let Open { at, part, stopped: _ } = open;
        let (same, extras) = (self.crossing.same, part.extras.iter().any(|e| !e.name.starts_with('$')));
        let told = match &part.kind {
            // Its text is told.
            PartKind::Text(_) | PartKind::Refusal(_) => !(same && extras),
            PartKind::Thinking(t) => t.signature.as_ref().is_none_or(String::is_empty) && !(same && extras),
            _ => false,
        };
        if told {
            let place = format!("choices[{}].content[{}]", at.choice, at.block);
            return self.crossing.lose_extras(&place, &part.extras);
        }
        self.part(at, &part, out);
    }

    /// Writes a part in an event of its own.
    fn part(&mut self, at: BlockId, part: &Part, out: &mut Vec<u8>) {
        let place = format!("choices[{}].content[{}]", at.choice, at.block);
        let mut parts = Vec::new();
        let mut list = Array::new(&mut parts);
        blocks::write(&mut list, part, &place, &mut self.crossing);
        list.end();
        if parts == b"[]" {
            return;
        }
        let members = std::mem::take(&mut self.waiting);
        self.chunk(out, &members, |o| {
            let mut list = o.array("candidates");
            let mut candidate = list.object();
            let mut content = candidate.object("content");
            content.key("parts").extend_from_slice(&parts);
            content.string("role", "model");
            content.end();
            candidate.int("index", at.choice);
            candidate.end();
            list.end();
        });
    }

    // === bytes ===

    /// Writes an event with the members that every event has.
    fn chunk(&mut self, out: &mut Vec<u8>, members: &[Extra], write: impl FnOnce(&mut Object<'_>)) {
        let (id, model) = (std::mem::take(&mut self.id), std::mem::take(&mut self.model));
        let (same, options) = (self.crossing.same && self.started, self.options.clone());
        self.frame(out, |o| {
            write(o);
            answer::write_head(o, &id, &model, &options, same);
            Extras::new(members, true).rest_beside(o, &[], &[]);
        });
        (self.id, self.model) = (id, model);
    }

    fn frame(&mut self, out: &mut Vec<u8>, write: impl FnOnce(&mut Object<'_>)) {
        match &mut self.list {
            None => out.extend_from_slice(b"data: "),
            Some(count) => {
                out.extend_from_slice(if *count == 0 { b"[" } else { b",\n" });
                *count += 1;
            }
        }
        let mut o = Object::new(out);
        write(&mut o);
        o.end();
        if self.list.is_none() {
            out.extend_from_slice(b"\n\n");
        }
    }
}

/// The text of a part as what its block grows by.
fn take_text(part: &mut Part) -> Option<Delta> {
    let take = |text: &mut String| Some(std::mem::take(text)).filter(|t| !t.is_empty());
    match &mut part.kind {
        PartKind::Text(text) | PartKind::Refusal(text) => take(text).map(Delta::Text),
        PartKind::Thinking(t) => take(&mut t.text).map(Delta::Thinking),
        _ => None,
    }
}

/// Writes the candidate that ends a choice.
fn write_ending(mut o: Object<'_>, index: u32, finish: Option<&StreamFinish>, calls: bool, c: &mut Crossing) {
    let extras = c.extras(finish.map(|f| f.extras.as_slice()).unwrap_or_default());
    let mut content = o.object("content");
    // As the real interface ends a stream; clients take a content without parts for a broken one.
    content.raw("parts", r#"[{"text":""}]"#);
    content.string("role", "model");
    extras.nested(CONTENT).rest(&mut content, &[]);
    content.end();
    let reason = finish.map_or(FinishReason::Stop, |f| f.reason.clone());
    answer::write_finish(&mut o, &reason, calls, extras, &format!("choices[{index}]"), c);
    o.int("index", index);
    extras.rest_beside(&mut o, &[], &[CONTENT, "event."]);
    o.end();
}
