//! Streams: `text_completion` objects and `[DONE]`. This file reads them; `chunks.rs` writes them.

use super::{NAME, read_finish};
use crate::hub::{BlockDelta, BlockId, BlockStart, Delta, Extra, Part, StreamEvent, StreamFinish, StreamStart, set_extra};
use crate::json::{Fields, Value};
use crate::openai_document;
use crate::openai_usage as usage;
use crate::stream;

/// Events of this format to hub events. The text of a choice is one block.
#[derive(Debug, Default)]
pub(crate) struct Decoder {
    started: bool,
    /// Chunk fields as last told.
    known: Vec<Extra>,
    choices: Vec<Open>,
}

/// A choice that began.
#[derive(Debug)]
struct Open {
    index: u32,
    /// Its block is open.
    open: bool,
    finished: bool,
}

impl Decoder {
    /// Takes one SSE event. `last` says that the connection closed inside it.
    pub fn event(&mut self, name: &str, data: &[u8], last: bool, out: &mut Vec<StreamEvent>) {
        let data = data.trim_ascii();
        if data == b"[DONE]" {
            return self.end(out);
        }
        let Some(document) = stream::document(data, last, out) else { return };
        let mut f = Fields::of(&document);
        if let Some(e) = openai_document::may_fail(name, &f).then(|| super::error_in(&document)).flatten() {
            return out.push(StreamEvent::Error(e));
        }
        let choices = f.lenient("choices", |v| Some(v.elements()?.collect::<Vec<_>>())).unwrap_or_default();
        let spent = f.lenient("usage", usage::read);
        self.chunk(f, out);
        for choice in choices {
            self.choice(choice, out);
        }
        out.extend(spent.map(StreamEvent::Usage));
    }

    /// The connection closed. Some hosts forget `[DONE]`: when every choice is finished, that was all.
    pub fn closed(&mut self, out: &mut Vec<StreamEvent>) {
        if self.choices.is_empty() || self.choices.iter().any(|c| !c.finished) {
            out.push(StreamEvent::Error(stream::interrupted()));
        } else {
            self.end(out);
        }
    }

    fn end(&mut self, out: &mut Vec<StreamEvent>) {
        for choice in &mut self.choices {
            choice.close(out);
        }
        out.push(StreamEvent::End);
    }

    /// The fields around the choices: the start of the stream, then what changed.
    fn chunk(&mut self, mut f: Fields<'_>, out: &mut Vec<StreamEvent>) {
        let openai_document::Head { id, model, created } = openai_document::Head::take(&mut f);
        let news = openai_document::news(&f, &[], &mut self.known);
        if !self.started {
            self.started = true;
            out.push(StreamEvent::Start(StreamStart { format: NAME.into(), id, model, created, usage: None, extras: self.known.clone() }));
        } else if !news.is_empty() {
            out.push(StreamEvent::Other(openai_document::object_of(&news)));
        }
    }

    fn choice(&mut self, value: Value<'_>, out: &mut Vec<StreamEvent>) {
        let Some(mut f) = value.object() else { return };
        let index = f.lenient("index", |v| u32::try_from(v.u64()?).ok()).unwrap_or(0);
        let slot = self.choices.iter().position(|c| c.index == index).unwrap_or_else(|| {
            self.choices.push(Open { index, open: false, finished: false });
            self.choices.len() - 1
        });
        let choice = &mut self.choices[slot];
        let text = f.lenient_text("text").unwrap_or_default();
        let finish = f.lenient("finish_reason", |v| v.text()).filter(|word| !word.is_empty());
        f.take("finish_reason");
        let mut extras = f.rest();
        extras.retain(|e| e.value != "null");
        let at = BlockId { choice: index, block: 0 };
        if !choice.finished && (!text.is_empty() || !extras.is_empty()) {
            if !choice.open {
                choice.open = true;
                out.push(StreamEvent::BlockStart(BlockStart { at, part: Part::text("") }));
            }
            out.push(StreamEvent::BlockDelta(BlockDelta { at, delta: Delta::Text(text), extras }));
        }
        if let Some(word) = finish.filter(|_| !choice.finished) {
            choice.close(out);
            choice.finished = true;
            out.push(StreamEvent::Finish(StreamFinish { choice: index, reason: read_finish(&word), extras: Vec::new() }));
        }
    }
}

impl Open {
    fn close(&mut self, out: &mut Vec<StreamEvent>) {
        if std::mem::take(&mut self.open) {
            out.push(StreamEvent::BlockStop(BlockId { choice: self.index, block: 0 }));
        }
    }
}

/// Puts an unmodelled chunk into a collected answer: its fields replace those that were told before.
pub(crate) fn fold(json: &str, answer: &mut Vec<Extra>) {
    let Some(f) = Value::parse(json).and_then(Value::object) else { return };
    for e in f.rest() {
        set_extra(answer, &e.name, e.value);
    }
}
