//! Streams: `chat.completion.chunk` objects and `[DONE]`. This file reads them; `chunks.rs` writes them.
//!
//! The format has no blocks: content, reasoning, refusal and tool calls grow side by side in a `delta`. The decoder makes blocks of
//! them: a run of content, of reasoning or of a refusal is one block; a tool call is a block until its choice ends, because deltas
//! of parallel calls may interleave.

use super::blocks::Choice;
use super::{NAME, read_finish, usage};
use crate::hub::{Extra, FinishReason, OtherPart, StreamEvent, StreamFinish, StreamStart, set_extra};
use crate::json::{Fields, Object, Value, write_string};
use crate::map::plain_name;
use crate::openai_document;
use crate::stream;

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

    fn start(&mut self, id: String, model: String, created: Option<u64>, out: &mut Vec<StreamEvent>) {
        self.started = true;
        out.push(StreamEvent::Start(StreamStart { format: NAME.into(), id, model, created, usage: None, extras: self.known.clone() }));
    }

    /// The fields around the choices: the start of the stream, then what changed.
    fn chunk(&mut self, mut f: Fields<'_>, bare: bool, out: &mut Vec<StreamEvent>) {
        let openai_document::Head { id, model, created } = openai_document::Head::take(&mut f);
        let news = openai_document::news(&f, &PADDING, &mut self.known);
        if !self.started {
            // Azure first sends what its filter says of the prompt, with no id and no model: the start is still to come.
            if !(bare && id.is_empty()) {
                self.start(id, model, created, out);
            }
        } else if !news.is_empty() {
            out.push(StreamEvent::Other(openai_document::object_of(&news)));
        }
    }

    fn choice(&mut self, value: Value<'_>, out: &mut Vec<StreamEvent>) {
        let Some(mut f) = value.object() else { return };
        let index = f.lenient("index", |v| u32::try_from(v.u64()?).ok()).unwrap_or(0);
        let slot = match self.choices.iter().position(|c| c.index == index) {
            Some(slot) => slot,
            None => {
                self.choices.push(Choice::new(index));
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
        // What they hold instead is nothing: a chunk has its own.
        for name in ["index", "delta", "finish_reason"] {
            f.take(name);
        }
        if f.untaken().any(|(_, value)| !value.is_null()) {
            extras.extend(f.rest_beside());
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
    extras.iter().filter(|e| !e.name.starts_with("message.")).for_each(|e| choice.raw(plain_name(&e.name), &e.value));
    choice.end();
    list.end();
    chunk.end();
    String::from_utf8(json).unwrap_or_default()
}

/// Puts an unmodelled chunk into a collected answer: fields of the chunk replace, fields of a choice grow.
pub(crate) fn fold(json: &str, answer: &mut Vec<Extra>, mut choice: impl FnMut(u32, Vec<Extra>)) {
    let Some(mut f) = Value::parse(json).and_then(Value::object) else { return };
    for mut c in f.lenient("choices", Value::elements).into_iter().flatten().filter_map(Value::object) {
        let index = c.lenient("index", |v| u32::try_from(v.u64()?).ok()).unwrap_or(0);
        let mut extras = c.lenient("delta", Value::object).map(|d| d.rest_with("message.")).unwrap_or_default();
        extras.extend(c.rest_beside());
        choice(index, extras);
    }
    for e in f.rest() {
        set_extra(answer, &e.name, e.value);
    }
}

/// The words for a part that a stream of this format cannot hold.
pub(super) fn foreign(part: &OtherPart) -> String {
    format!("the target format has no part `{}`", part.kind)
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
