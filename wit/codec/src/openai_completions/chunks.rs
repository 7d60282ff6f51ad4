//! Writes streams: `text_completion` objects and `[DONE]`.

use super::answer::{OBJECT, finish_of, shown};
use super::{NAME, error};
use crate::hub::{BlockId, ChatError, Delta, Extra, StreamEvent, StreamFinish, StreamStart, Usage, set_extra};
use crate::json::{Object, Value, write_string};
use crate::map::Crossing;
use crate::openai_usage as usage;
use crate::{Format, Loss, StreamOptions};

/// Hub events to chunks.
#[derive(Debug)]
pub(crate) struct Encoder {
    options: StreamOptions,
    crossing: Crossing,
    started: bool,
    /// `"id":…,"object":…,"created":…,"model":…`, the same for every chunk.
    head: Vec<u8>,
    /// Unmodelled fields of every chunk.
    fields: Vec<Extra>,
    /// Blocks that were told to be lost.
    lost: Vec<BlockId>,
    usage: Option<Usage>,
}

impl Encoder {
    pub fn new(options: StreamOptions) -> Self {
        let crossing = Crossing::new(NAME, Format::OpenaiCompletions);
        Self { options, crossing, started: false, head: Vec::new(), fields: Vec::new(), lost: Vec::new(), usage: None }
    }

    pub fn losses(&self) -> &[Loss] {
        &self.crossing.losses
    }

    pub fn event(&mut self, event: &StreamEvent, out: &mut Vec<u8>) {
        match event {
            StreamEvent::Start(start) if !self.started => self.start(Some(start)),
            StreamEvent::Start(_) | StreamEvent::BlockStop(_) => {}
            StreamEvent::BlockStart(start) => match shown(&start.part.kind) {
                Ok(text) => {
                    let at = format!("choices[{}].content[{}]", start.at.choice, start.at.block);
                    self.crossing.lose_extras(&at, &start.part.extras);
                    if !text.is_empty() {
                        self.text(start.at.choice, text, &[], out);
                    }
                }
                Err(reason) => self.lose(start.at, reason),
            },
            StreamEvent::BlockDelta(delta) => match &delta.delta {
                Delta::Text(text) | Delta::Refusal(text) => {
                    self.crossing.lose_extras(&format!("choices[{}]", delta.at.choice), &delta.extras);
                    if !text.is_empty() || (self.crossing.same && !delta.extras.is_empty()) {
                        self.text(delta.at.choice, text, &delta.extras, out);
                    }
                }
                Delta::Thinking(_) | Delta::Signature(_) => self.lose(delta.at, "a completion has no place for reasoning"),
                Delta::Arguments(_) => self.lose(delta.at, "a completion calls no tools"),
                Delta::Other(_) => self.lose(delta.at, "a completion is text"),
            },
            StreamEvent::Finish(finish) => self.finish(finish, out),
            StreamEvent::Usage(usage) => self.usage = Some(usage.clone()),
            // A comment: it keeps the connection alive and no client sees it.
            StreamEvent::Ping => out.extend_from_slice(b": ping\n\n"),
            StreamEvent::Error(e) => self.error(e, out),
            StreamEvent::End => self.end(out),
            StreamEvent::Other(json) => self.other(json),
        }
    }

    pub fn error(&mut self, e: &ChatError, out: &mut Vec<u8>) {
        out.extend_from_slice(b"data: ");
        out.extend_from_slice(&error::encode(e).body);
        out.extend_from_slice(b"\n\n");
    }

    pub fn end(&mut self, out: &mut Vec<u8>) {
        if let Some(usage) = self.usage.take().filter(|_| self.options.include_usage) {
            let same = self.crossing.same;
            self.chunk(out, |o| {
                o.raw("choices", "[]");
                usage::write(o, &usage, same);
            });
        }
        out.extend_from_slice(b"data: [DONE]\n\n");
    }

    fn start(&mut self, start: Option<&StreamStart>) {
        self.started = true;
        let o = &self.options;
        let (mut id, mut model, mut created) = (o.id.as_str(), o.model.as_str(), o.created);
        if let Some(s) = start {
            self.crossing = Crossing::of_answer(&s.format, Format::OpenaiCompletions);
            self.crossing.lose_extras("", &s.extras);
            id = if s.id.is_empty() { id } else { &s.id };
            model = if s.model.is_empty() { model } else { &s.model };
            created = s.created.unwrap_or(created);
            self.usage = s.usage.clone().or(self.usage.take());
            if self.crossing.same {
                self.fields.clone_from(&s.extras);
            }
        }
        let head = &mut self.head;
        head.extend_from_slice(b"\"id\":");
        write_string(head, id);
        head.extend_from_slice(format!(",\"object\":\"{OBJECT}\",\"created\":{created},\"model\":").as_bytes());
        write_string(head, model);
    }

    /// A piece of a choice's text.
    fn text(&mut self, index: u32, text: &str, extras: &[Extra], out: &mut Vec<u8>) {
        let extras = if self.crossing.same { extras } else { &[] };
        self.choice(index, text, None, extras, out);
    }

    fn finish(&mut self, finish: &StreamFinish, out: &mut Vec<u8>) {
        let at = format!("choices[{}]", finish.choice);
        let word = finish_of(&finish.reason, &at, &mut self.crossing);
        self.crossing.lose_extras(&at, &finish.extras);
        let extras = if self.crossing.same { &finish.extras[..] } else { &[] };
        self.choice(finish.choice, "", Some(&word), extras, out);
    }

    /// Writes a chunk with one choice.
    fn choice(&mut self, index: u32, text: &str, finish: Option<&str>, extras: &[Extra], out: &mut Vec<u8>) {
        self.chunk(out, |o| {
            let mut list = o.array("choices");
            let mut choice = list.object();
            choice.string("text", text);
            choice.int("index", index);
            for e in extras.iter().filter(|e| !e.name.starts_with('$')) {
                if !choice.wrote(&e.name) && e.name != "finish_reason" {
                    choice.json(&e.name, &e.value);
                }
            }
            if !choice.wrote("logprobs") {
                choice.raw("logprobs", "null");
            }
            match finish {
                Some(word) => choice.string("finish_reason", word),
                None => choice.raw("finish_reason", "null"),
            }
            choice.end();
            list.end();
        });
    }

    /// Writes a chunk; `write` appends what differs.
    fn chunk(&mut self, out: &mut Vec<u8>, write: impl FnOnce(&mut Object<'_>)) {
        if !self.started {
            self.start(None);
        }
        out.extend_from_slice(b"data: {");
        out.extend_from_slice(&self.head);
        let mut json = Vec::new();
        let mut o = Object::new(&mut json);
        write(&mut o);
        for e in &self.fields {
            let own = matches!(e.name.as_str(), "id" | "object" | "created" | "model" | "choices" | "usage") || e.name.starts_with('$');
            if !own && !o.wrote(&e.name) {
                o.json(&e.name, &e.value);
            }
        }
        o.end();
        out.push(b',');
        out.extend_from_slice(&json[1..]);
        out.extend_from_slice(b"\n\n");
    }

    /// An event that the hub does not model: fields of this format's chunks hold from here on.
    fn other(&mut self, json: &str) {
        if !self.crossing.same {
            return self.crossing.lose_event(json);
        }
        let Some(f) = Value::parse(json).and_then(Value::object) else { return };
        for e in f.rest() {
            set_extra(&mut self.fields, &e.name, e.value);
        }
    }

    /// Takes note of a block that has no place here, once.
    fn lose(&mut self, at: BlockId, reason: &'static str) {
        if !self.lost.contains(&at) {
            self.lost.push(at);
            self.crossing.lose(format!("choices[{}].content[{}]", at.choice, at.block), reason);
        }
    }
}
