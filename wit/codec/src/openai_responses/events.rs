//! Streams, read. `open.rs` has what is open, `frames.rs` writes them.
//!
//! The format has items, of which several may be open at once, and a message has parts. Every part of a message is a block of the hub,
//! and so is every other item. What is told besides text when an item is done goes with the last delta.

use super::answer::{Head, is_passing, read_finish};
use super::blocks::is_call;
use super::error::in_event;
use super::open::{Item, Numbers};
use super::{NAME, usage};
use crate::hub::{ChatError, Delta, ErrorClass, Extra, StreamEvent, StreamFinish, StreamStart, extra};
use crate::json::{Fields, Value};
use crate::stream;

/// Events of this format to hub events.
#[derive(Debug, Default)]
pub(crate) struct Decoder {
    started: bool,
    /// Members of the `response` that the beginning told.
    known: Vec<Extra>,
    items: Vec<Item>,
    numbers: Numbers,
    /// The answer asks for tools.
    calls: bool,
}

impl Decoder {
    /// Takes one SSE event. `last` says that the connection closed inside it.
    pub fn event(&mut self, name: &str, data: &[u8], last: bool, out: &mut Vec<StreamEvent>) {
        let data = data.trim_ascii();
        if data == b"[DONE]" {
            // What some servers add to an answer that has ended.
            return self.closed(out);
        }
        let Some(document) = stream::document(data, last, out) else { return };
        let kind = document.string("type").unwrap_or(name.into());
        if let Some(e) = in_event(&kind, &document) {
            return out.push(StreamEvent::Error(e));
        }
        let f = Fields::of(&document);
        match kind.as_ref() {
            "response.created" | "response.queued" | "response.in_progress" => self.start(f, out),
            "response.completed" | "response.incomplete" | "response.cancelled" => self.end(f, out),
            "keepalive" | "ping" => out.push(StreamEvent::Ping),
            "response.output_item.added" | "response.output_item.done" => {
                self.begin(out);
                self.item(&kind, f, out);
            }
            _ => {
                self.begin(out);
                self.inside(&kind, f, document.text(), out);
            }
        }
    }

    /// The connection closed. Only the last event ends an answer.
    pub fn closed(&mut self, out: &mut Vec<StreamEvent>) {
        out.push(StreamEvent::Error(stream::interrupted()));
    }

    /// A host that does not say that the answer begins.
    fn begin(&mut self, out: &mut Vec<StreamEvent>) {
        if !std::mem::replace(&mut self.started, true) {
            let (id, model, extras) = Default::default();
            out.push(StreamEvent::Start(StreamStart { format: NAME.into(), id, model, created: None, usage: None, extras }));
        }
    }

    fn start(&mut self, mut f: Fields<'_>, out: &mut Vec<StreamEvent>) {
        if self.started {
            return;
        }
        let Some(mut response) = f.take("response").and_then(Value::object) else { return self.begin(out) };
        self.started = true;
        let Head { id, model, created } = Head::take(&mut response);
        let mut extras = response.rest();
        extras.retain(|e| !is_passing(e));
        self.known.clone_from(&extras);
        out.push(StreamEvent::Start(StreamStart { format: NAME.into(), id, model, created, usage: None, extras }));
    }

    fn end(&mut self, mut f: Fields<'_>, out: &mut Vec<StreamEvent>) {
        self.start(f.clone(), out);
        let Some(mut response) = f.take("response").and_then(Value::object) else {
            return protocol("the provider's last event holds no answer".into(), out);
        };
        let output: Vec<Value<'_>> = response.take("output").and_then(Value::elements).into_iter().flatten().collect();
        self.calls |= output.iter().any(|item| is_call(*item));
        // What a host forgot to end, and an answer that it told only whole.
        for item in std::mem::take(&mut self.items) {
            let value = usize::try_from(item.index).ok().and_then(|i| output.get(i)).copied();
            item.done(value, &mut self.numbers, out);
        }
        if self.numbers.none() {
            for (i, value) in output.iter().enumerate() {
                Item::open(i as u64, *value, &mut self.numbers, out).done(Some(*value), &mut self.numbers, out);
            }
        }
        let reason = read_finish(&response, self.calls);
        Head::take(&mut response);
        let spent = response.lenient("usage", usage::read);
        let mut extras = response.rest();
        extras.retain(|e| extra(&self.known, &e.name) != Some(&e.value));
        if let Some(reason) = reason {
            out.push(StreamEvent::Finish(StreamFinish { choice: 0, reason, extras }));
        }
        out.extend(spent.map(StreamEvent::Usage));
        out.push(StreamEvent::End);
    }

    /// The open item that an event is about.
    fn place(&self, f: &Fields<'_>) -> Option<usize> {
        let id = f.peek("item_id").and_then(Value::text);
        match f.peek("output_index").and_then(Value::u64) {
            Some(index) => self.items.iter().position(|item| item.index == index),
            None => id.and_then(|id| self.items.iter().position(|item| item.id.as_deref() == Some(&id))),
        }
    }

    /// An item begins, or is done.
    fn item(&mut self, kind: &str, mut f: Fields<'_>, out: &mut Vec<StreamEvent>) {
        let place = self.place(&f);
        let Some(value) = f.take("item") else { return };
        let index = f.take("output_index").and_then(Value::u64).unwrap_or(self.items.len() as u64);
        self.calls |= is_call(value);
        let place = place.unwrap_or_else(|| {
            self.items.push(Item::open(index, value, &mut self.numbers, out));
            self.items.len() - 1
        });
        if kind.ends_with("done") {
            self.items.remove(place).done(Some(value), &mut self.numbers, out);
        }
    }

    fn inside(&mut self, kind: &str, mut f: Fields<'_>, raw: &str, out: &mut Vec<StreamEvent>) {
        let other = || StreamEvent::Other(raw.trim().into());
        let place = match self.place(&f) {
            Some(place) => place,
            // A host that does not say that a message begins.
            None if kind == "response.output_text.delta" => {
                let index = f.peek("output_index").and_then(Value::u64).unwrap_or(0);
                self.items.push(Item::open(index, Value::accepted(r#"{"type":"message"}"#), &mut self.numbers, out));
                self.items.len() - 1
            }
            None => return out.push(other()),
        };
        let (item, numbers) = (&mut self.items[place], &mut self.numbers);
        let number = |name: &str| f.peek(name).and_then(Value::u64).unwrap_or(0);
        let (content, summary) = (number("content_index"), number("summary_index"));
        let mut text = |name: &str| f.lenient_text(name).unwrap_or_default();
        match kind {
            "response.content_part.added" => {
                if let Some(part) = f.take("part") {
                    item.part(content, part, numbers, out);
                }
            }
            "response.output_text.delta" => {
                let delta = Delta::Text(text("delta"));
                let logprobs = f.take("logprobs").filter(|v| v.elements().is_some_and(|mut e| e.next().is_some()));
                let extras = logprobs.map(|v| Extra::new("logprobs", v.raw())).into_iter().collect();
                item.text(content, delta, extras, numbers, out);
            }
            "response.refusal.delta" => item.text(content, Delta::Refusal(text("delta")), Vec::new(), numbers, out),
            "response.output_text.done" => item.whole_text(content, Delta::Text(text("text")), numbers, out),
            "response.refusal.done" => item.whole_text(content, Delta::Refusal(text("refusal")), numbers, out),
            "response.output_text.annotation.added" => {
                if let Some(annotation) = f.take("annotation") {
                    item.annotation(content, annotation, numbers, out);
                }
            }
            "response.function_call_arguments.delta" | "response.custom_tool_call_input.delta" => {
                item.arguments(text("delta"), false, out);
            }
            "response.function_call_arguments.done" => item.arguments(text("arguments"), true, out),
            "response.custom_tool_call_input.done" => item.arguments(text("input"), true, out),
            "response.reasoning_summary_text.delta" => item.thinking(false, summary, text("delta"), out),
            "response.reasoning_text.delta" => item.thinking(true, content, text("delta"), out),
            // What these say is said again when the item is done.
            "response.content_part.done"
            | "response.reasoning_summary_part.added"
            | "response.reasoning_summary_part.done"
            | "response.reasoning_summary_text.done"
            | "response.reasoning_text.done" => {}
            _ => {
                if !item.other(raw.trim(), out) {
                    out.push(other());
                }
            }
        }
    }
}

fn protocol(message: String, out: &mut Vec<StreamEvent>) {
    out.push(StreamEvent::Error(ChatError::new(ErrorClass::Protocol, message)));
}
