//! Streams, read. `frames.rs` writes them.
//!
//! The format has blocks, one open at a time; the decoder numbers them itself and takes indices only to match deltas.

use super::answer::read_finish;
use super::{NAME, blocks, merged_usage, read_usage};
use crate::error_body;
use crate::hub::{
    BlockDelta, BlockId, BlockStart, ChatError, Delta, ErrorClass, Extra, Part, PartKind, StreamEvent, StreamFinish, StreamStart, set_extra,
};
use crate::json::{Fields, Kind, Object, Path, Value};
use crate::stream;

/// Events of this format to hub events.
#[derive(Debug, Default)]
pub(crate) struct Decoder {
    /// Id of the message, once it started.
    id: Option<String>,
    /// The usage of `message_start`, as it stood there.
    usage: Option<String>,
    blocks: u32,
    open: Vec<Open>,
    finished: bool,
}

#[derive(Debug)]
struct Open {
    index: u64,
    block: u32,
    /// A call's input, as far as it is known without deltas.
    input: Option<String>,
}

impl Decoder {
    /// Takes one SSE event. `last` says that the connection closed inside it.
    pub fn event(&mut self, name: &str, data: &[u8], last: bool, out: &mut Vec<StreamEvent>) {
        let Some(document) = stream::document(data, last, out) else { return };
        let kind = document.string("type").unwrap_or(name.into());
        let mut f = Fields::of(&document);
        match kind.as_ref() {
            "message_start" => self.message_start(f, out),
            "content_block_start" | "content_block_delta" | "content_block_stop" | "message_delta" if self.id.is_none() => {
                protocol(format!("the provider sent `{kind}` before `message_start`"), out);
            }
            "content_block_start" => self.block_start(f, out),
            "content_block_delta" => self.block_delta(f, document.text(), out),
            "content_block_stop" => {
                let index = f.take("index").and_then(Value::u64);
                if let Some(at) = self.open.iter().position(|o| Some(o.index) == index) {
                    self.stop(at, out);
                }
            }
            "message_delta" => self.message_delta(f, out),
            "message_stop" => self.end(out),
            "ping" => out.push(StreamEvent::Ping),
            "error" => {
                let e = error_body::in_document(&document)
                    .unwrap_or_else(|| ChatError::new(ErrorClass::Upstream, "the provider reported an error"));
                out.push(StreamEvent::Error(e));
            }
            _ => out.push(StreamEvent::Other(document.text().trim().into())),
        }
    }

    /// The connection closed. An answer whose reason to stop was told is complete.
    pub fn closed(&mut self, out: &mut Vec<StreamEvent>) {
        if self.finished { self.end(out) } else { out.push(StreamEvent::Error(stream::interrupted())) }
    }

    fn end(&mut self, out: &mut Vec<StreamEvent>) {
        self.stop_all(out);
        out.push(StreamEvent::End);
    }

    fn stop_all(&mut self, out: &mut Vec<StreamEvent>) {
        while !self.open.is_empty() {
            self.stop(0, out);
        }
    }

    fn message_start(&mut self, mut f: Fields<'_>, out: &mut Vec<StreamEvent>) {
        let Some(mut m) = f.take("message").and_then(Value::object) else {
            return protocol("`message_start` holds no message".into(), out);
        };
        let id = m.lenient_text("id").unwrap_or_default();
        match &self.id {
            None => self.id = Some(id.clone()),
            // A proxy that sends the start twice.
            Some(known) if *known == id => return,
            Some(_) => return protocol("the provider started a second message inside the first".into(), out),
        }
        self.usage = m.peek("usage").filter(|v| read_usage(*v).is_some()).map(|v| v.raw().to_owned());
        let usage = m.lenient("usage", read_usage);
        for name in ["type", "role", "stop_reason", "stop_sequence"] {
            m.take(name);
        }
        let model = m.lenient_text("model").unwrap_or_default();
        let content: Vec<Value<'_>> = m.lenient("content", |v| Some(v.elements()?.collect())).unwrap_or_default();
        let mut extras = m.rest();
        extras.retain(|e| e.value != "null");
        out.push(StreamEvent::Start(StreamStart { format: NAME.into(), id, model, created: None, usage, extras }));
        for block in content {
            let part = blocks::read(block, &Path::Root).unwrap_or_else(|_| blocks::other(block));
            let at = self.next_block();
            out.push(StreamEvent::BlockStart(BlockStart { at, part }));
            out.push(StreamEvent::BlockStop(at));
        }
    }

    fn next_block(&mut self) -> BlockId {
        self.blocks += 1;
        BlockId { choice: 0, block: self.blocks - 1 }
    }

    fn block_start(&mut self, mut f: Fields<'_>, out: &mut Vec<StreamEvent>) {
        let index = f.take("index").and_then(Value::u64).unwrap_or(u64::from(self.blocks));
        let Some(value) = f.take("content_block") else { return protocol("`content_block_start` holds no block".into(), out) };
        if let Some(at) = self.open.iter().position(|o| o.index == index) {
            self.stop(at, out);
        }
        let mut part = blocks::read(value, &Path::Root).unwrap_or_else(|_| blocks::other(value));
        let input = match &mut part.kind {
            PartKind::ToolCall(call) => Some(std::mem::take(&mut call.arguments)),
            _ => None,
        };
        let at = self.next_block();
        self.open.push(Open { index, block: at.block, input });
        out.push(StreamEvent::BlockStart(BlockStart { at, part }));
    }

    fn block_delta(&mut self, mut f: Fields<'_>, raw: &str, out: &mut Vec<StreamEvent>) {
        let index = f.take("index").and_then(Value::u64);
        let open = self.open.iter_mut().find(|o| Some(o.index) == index);
        let (Some(open), Some(value)) = (open, f.take("delta")) else {
            return out.push(StreamEvent::Other(raw.trim().into()));
        };
        let Some(mut d) = value.object() else { return };
        let kind = d.take("type").and_then(Value::text).unwrap_or_default();
        let delta = match kind.as_ref() {
            "text_delta" => d.lenient_text("text").map(Delta::Text),
            "thinking_delta" => d.lenient_text("thinking").map(Delta::Thinking),
            "signature_delta" => d.lenient_text("signature").map(Delta::Signature),
            "input_json_delta" => d.lenient_text("partial_json").map(Delta::Arguments),
            _ => None,
        };
        let known = delta.is_some();
        let delta = delta.unwrap_or_else(|| Delta::Other(value.raw().into()));
        let mut extras = if known { d.rest() } else { Vec::new() };
        extras.retain(|e| e.value != "null");
        match &delta {
            Delta::Text(t) | Delta::Thinking(t) | Delta::Signature(t) | Delta::Arguments(t) if t.is_empty() && extras.is_empty() => return,
            Delta::Arguments(_) => open.input = None,
            _ => {}
        }
        out.push(StreamEvent::BlockDelta(BlockDelta { at: BlockId { choice: 0, block: open.block }, delta, extras }));
    }

    /// Closes a block. A call whose input came with its start, or that has none, says so now: `arguments` are never empty.
    fn stop(&mut self, position: usize, out: &mut Vec<StreamEvent>) {
        let open = self.open.remove(position);
        let at = BlockId { choice: 0, block: open.block };
        if let Some(input) = open.input {
            let input = if input.is_empty() { "{}".into() } else { input };
            out.push(StreamEvent::BlockDelta(BlockDelta { at, delta: Delta::Arguments(input), extras: Vec::new() }));
        }
        out.push(StreamEvent::BlockStop(at));
    }

    fn message_delta(&mut self, mut f: Fields<'_>, out: &mut Vec<StreamEvent>) {
        f.take("type");
        let mut extras = Vec::new();
        let mut reason = None;
        if let Some(mut delta) = f.take("delta").and_then(Value::object) {
            reason = read_finish(&mut delta);
            extras = delta.rest();
        }
        // What is no usage takes nothing away from what the start told.
        if let Some(usage) = f.take("usage").filter(|v| v.kind() == Kind::Object) {
            let merged = merged_usage(self.usage.as_deref(), usage.raw());
            let usage = Value::parse(&merged).and_then(read_usage);
            self.usage = Some(merged);
            out.extend(usage.map(StreamEvent::Usage));
        }
        extras.extend(f.rest_with("event."));
        extras.retain(|e| e.value != "null");
        if let Some(reason) = reason {
            self.finished = true;
            // What a host forgot to stop ends before the answer does: other formats have no pieces after the reason to stop.
            self.stop_all(out);
            out.push(StreamEvent::Finish(StreamFinish { choice: 0, reason, extras }));
        }
    }
}

fn protocol(message: String, out: &mut Vec<StreamEvent>) {
    out.push(StreamEvent::Error(ChatError::new(ErrorClass::Protocol, message)));
}

/// Grows a part by a delta that the hub does not model. A citation joins the list of its text; any other member of a delta joins the
/// member of the same name of a block that is kept whole.
pub(crate) fn fold_delta(part: &mut Part, json: &str) {
    let Some(mut delta) = Value::parse(json).and_then(Value::object) else { return };
    delta.take("type");
    if let PartKind::Other(other) = &mut part.kind {
        let Some(block) = Value::parse(&other.value).and_then(Value::object) else { return };
        let mut members = block.rest();
        delta.rest().iter().for_each(|e| grow(&mut members, e));
        other.value = object_of(&members);
    } else if let Some(citation) = delta.take("citation") {
        let list = part.extras.iter().find(|e| e.name == "citations").map(|e| e.value.trim()).and_then(|v| v.strip_suffix(']'));
        let list = match list {
            Some(list) if list.trim_end().ends_with('[') => format!("[{}]", citation.raw()),
            Some(list) => format!("{list},{}]", citation.raw()),
            None => format!("[{}]", citation.raw()),
        };
        set_extra(&mut part.extras, "citations", list);
    }
}

fn grow(members: &mut Vec<Extra>, by: &Extra) {
    let texts =
        members.iter().find(|m| m.name == by.name).and_then(|m| Some((Value::parse(&m.value)?.text()?, Value::parse(&by.value)?.text()?)));
    let value = match texts {
        Some((old, new)) => {
            let mut json = Vec::new();
            crate::json::write_string(&mut json, &(old + new));
            String::from_utf8(json).unwrap_or_default()
        }
        None => by.value.clone(),
    };
    set_extra(members, &by.name, value);
}

fn object_of(members: &[Extra]) -> String {
    let mut json = Vec::new();
    let mut o = Object::new(&mut json);
    members.iter().for_each(|m| o.raw(&m.name, &m.value));
    o.end();
    String::from_utf8(json).unwrap_or_default()
}
