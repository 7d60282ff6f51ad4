//! Events to a complete answer.

use super::*;
use crate::Format;
use crate::json::{Kind, Object, Value};
use crate::stream;

/// Puts the events of a stream together into the answer that they tell.
///
/// Unmodelled fields grow as the clients of the formats grow them: objects merge, arrays extend, running texts (arguments, transcripts)
/// are joined, and of everything else the last one counts.
#[derive(Debug, Clone)]
pub struct Collector {
    format: Format,
    start: Option<StreamStart>,
    choices: Vec<Choice>,
    usage: Option<Usage>,
    error: Option<ChatError>,
    ended: bool,
}

impl Collector {
    /// A collector of a stream whose extras and unmodelled events are in `format`.
    pub fn new(format: Format) -> Self {
        Self { format, start: None, choices: Vec::new(), usage: None, error: None, ended: false }
    }

    /// Takes the next event.
    pub fn push(&mut self, event: &StreamEvent) {
        match event {
            StreamEvent::Start(start) => {
                self.usage = start.usage.clone().or(self.usage.take());
                self.start = Some(start.clone());
            }
            StreamEvent::BlockStart(start) => {
                let block = self.block(start.at);
                *block = start.part.clone();
            }
            StreamEvent::BlockDelta(delta) => self.grow(delta),
            StreamEvent::BlockStop(_) | StreamEvent::Ping => {}
            StreamEvent::Finish(finish) => self.finish_choice(finish),
            StreamEvent::Usage(usage) => self.usage = Some(usage.clone()),
            StreamEvent::Error(e) => self.error = Some(e.clone()),
            StreamEvent::End => self.ended = true,
            StreamEvent::Other(json) => self.unmodelled(json),
        }
    }

    /// The answer.
    ///
    /// # Errors
    /// The error that the stream told; [`ErrorClass::Interrupted`] when it did not end; [`ErrorClass::Protocol`] when it ended
    /// without an answer.
    pub fn finish(mut self) -> Result<ChatAnswer, ChatError> {
        if let Some(e) = self.error {
            return Err(e);
        }
        if !self.ended {
            return Err(stream::interrupted());
        }
        let start = self.start.ok_or_else(|| ChatError::new(ErrorClass::Protocol, "the provider's stream holds no answer"))?;
        self.choices.sort_by_key(|c| c.index);
        for choice in &mut self.choices {
            // A block whose number was skipped.
            choice.parts.retain(|p| !matches!(&p.kind, PartKind::Other(o) if o.kind.is_empty() && o.value.is_empty()));
            choice.shape = self.format.content_shape(&choice.parts);
        }
        if self.choices.is_empty() && !matches!(self.format, Format::OpenaiChat | Format::OpenaiCompletions) {
            self.choices.push(empty_choice(0, ContentShape::Parts));
        }
        Ok(ChatAnswer {
            format: start.format,
            id: start.id,
            model: start.model,
            created: start.created,
            choices: self.choices,
            usage: self.usage,
            extras: start.extras,
        })
    }

    fn choice(&mut self, index: u32) -> &mut Choice {
        let slot = match self.choices.iter().position(|c| c.index == index) {
            Some(slot) => slot,
            None => {
                self.choices.push(empty_choice(index, ContentShape::Absent));
                self.choices.len() - 1
            }
        };
        &mut self.choices[slot]
    }

    /// A block as it is so far.
    pub(crate) fn part(&self, at: BlockId) -> Option<&Part> {
        self.choices.iter().find(|c| c.index == at.choice)?.parts.get(at.block as usize)
    }

    fn block(&mut self, at: BlockId) -> &mut Part {
        let parts = &mut self.choice(at.choice).parts;
        // Numbers count up from 0; a gap is the fault of an extension and must not cost memory.
        let wanted = (at.block as usize).min(parts.len() + MAX_GAP);
        while parts.len() <= wanted {
            parts.push(vacant());
        }
        &mut parts[wanted]
    }

    fn grow(&mut self, d: &BlockDelta) {
        let format = self.format;
        let part = self.block(d.at);
        if is_vacant(part) {
            part.kind = match &d.delta {
                Delta::Text(_) => PartKind::Text(String::new()),
                Delta::Refusal(_) => PartKind::Refusal(String::new()),
                Delta::Thinking(_) | Delta::Signature(_) => PartKind::Thinking(Thinking { text: String::new(), signature: None }),
                Delta::Arguments(_) => PartKind::ToolCall(ToolCall {
                    id: String::new(),
                    name: String::new(),
                    arguments: String::new(),
                    kind: ToolCallKind::Function,
                }),
                Delta::Other(_) => return,
            };
        }
        match (&mut part.kind, &d.delta) {
            (PartKind::Text(own), Delta::Text(more)) | (PartKind::Refusal(own), Delta::Refusal(more)) => own.push_str(more),
            (PartKind::Thinking(own), Delta::Thinking(more)) => own.text.push_str(more),
            (PartKind::Thinking(own), Delta::Signature(more)) => own.signature.get_or_insert_default().push_str(more),
            (PartKind::ToolCall(own), Delta::Arguments(more)) => own.arguments.push_str(more),
            (_, Delta::Other(json)) => format.fold_delta(part, json),
            _ => {}
        }
        for e in d.extras.iter().filter(|e| !e.name.starts_with('$')) {
            match (e.name.strip_prefix("call."), format) {
                (_, Format::OpenaiResponses) => format.fold_extra(self.block(d.at), e),
                (Some(name), _) => merge_extra(&mut self.block(d.at).extras, name, &e.value),
                (None, Format::AnthropicMessages | Format::GeminiGenerate) => merge_extra(&mut self.block(d.at).extras, &e.name, &e.value),
                (None, Format::OpenaiChat | Format::OpenaiCompletions) => {
                    merge_extra(&mut self.choice(d.at.choice).extras, &e.name, &e.value);
                }
            }
        }
    }

    fn finish_choice(&mut self, f: &StreamFinish) {
        self.choice(f.choice).finish = Some(f.reason.clone());
        for e in &f.extras {
            match (self.format, &mut self.start) {
                (Format::GeminiGenerate, Some(start)) if e.name.starts_with("event.") => {
                    set_extra(&mut start.extras, &e.name["event.".len()..], e.value.clone());
                }
                (Format::AnthropicMessages | Format::OpenaiResponses, Some(start)) => {
                    set_extra(&mut start.extras, e.name.strip_prefix("event.").unwrap_or(&e.name), e.value.clone())
                }
                _ => merge_extra(&mut self.choice(f.choice).extras, &e.name, &e.value),
            }
        }
    }

    fn unmodelled(&mut self, json: &str) {
        let Some(mut start) = self.start.take() else { return };
        let format = self.format;
        format.fold_event(json, &mut start.extras, |index, extras| {
            let choice = self.choice(index);
            extras.iter().for_each(|e| merge_extra(&mut choice.extras, &e.name, &e.value));
        });
        self.start = Some(start);
    }
}

/// Most blocks that one event may skip.
const MAX_GAP: usize = 64;

fn empty_choice(index: u32, shape: ContentShape) -> Choice {
    Choice { index, parts: Vec::new(), shape, finish: None, extras: Vec::new() }
}

/// Stands where a block was not opened.
fn vacant() -> Part {
    Part::new(PartKind::Other(OtherPart { format: String::new(), kind: String::new(), value: String::new() }))
}

fn is_vacant(part: &Part) -> bool {
    matches!(&part.kind, PartKind::Other(o) if o.kind.is_empty() && o.value.is_empty())
}

/// Members whose text arrives in pieces, in whatever object they stand.
const RUNNING: [&str; 7] = ["arguments", "text", "data", "transcript", "summary", "signature", "content"];

/// Sets an extra; one that is there grows by it.
pub(crate) fn merge_extra(extras: &mut Vec<Extra>, name: &str, value: &str) {
    match extras.iter_mut().find(|e| e.name == name) {
        None => extras.push(Extra::new(name, value)),
        Some(e) => {
            if let (Some(old), Some(new)) = (Value::parse(&e.value), Value::parse(value)) {
                let mut out = Vec::new();
                merge(&mut out, old, new, false, 0);
                e.value = String::from_utf8(out).unwrap_or_default();
            }
        }
    }
}

/// Deepest level to which objects merge; below it the new one replaces the old one.
const MERGE_DEPTH: usize = 16;

fn merge(out: &mut Vec<u8>, old: Value<'_>, new: Value<'_>, running: bool, depth: usize) {
    match (old.kind(), new.kind()) {
        (_, Kind::Null) => out.extend_from_slice(old.raw().as_bytes()),
        (Kind::Object, Kind::Object) if depth < MERGE_DEPTH => merge_objects(out, old, new, depth),
        (Kind::Array, Kind::Array) if depth < MERGE_DEPTH => merge_arrays(out, old, new, depth),
        (Kind::String, Kind::String) if running => {
            crate::json::write_string(out, &(old.text().unwrap_or_default() + new.text().unwrap_or_default()));
        }
        _ => out.extend_from_slice(new.raw().as_bytes()),
    }
}

fn merge_objects(out: &mut Vec<u8>, old: Value<'_>, new: Value<'_>, depth: usize) {
    let (Some(old), Some(mut new)) = (old.object(), new.object()) else { return };
    let mut o = Object::new(out);
    for e in old.rest() {
        match (new.take(&e.name), Value::parse(&e.value)) {
            (Some(new), Some(old)) => merge(o.key(&e.name), old, new, RUNNING.contains(&e.name.as_str()), depth + 1),
            _ => o.raw(&e.name, &e.value),
        }
    }
    new.rest().iter().for_each(|e| o.raw(&e.name, &e.value));
    o.end();
}

/// Elements with the same `index` and `type` are one element that grows; the others are appended.
fn merge_arrays(out: &mut Vec<u8>, old: Value<'_>, new: Value<'_>, depth: usize) {
    let key = |v: &Value<'_>| {
        let mut f = v.object()?;
        Some((f.take("index")?.u64()?, f.take("type").map(|t| t.raw().to_owned())))
    };
    let mut new: Vec<Value<'_>> = new.elements().into_iter().flatten().collect();
    let mut list = crate::json::Array::new(out);
    for old in old.elements().into_iter().flatten() {
        let same = key(&old).and_then(|k| new.iter().position(|n| key(n).as_ref() == Some(&k)));
        match same {
            Some(at) => merge(list.element(), old, new.remove(at), false, depth + 1),
            None => list.element().extend_from_slice(old.raw().as_bytes()),
        }
    }
    for n in new {
        list.element().extend_from_slice(n.raw().as_bytes());
    }
    list.end();
}
