//! Streams, read. `frames.rs` writes them.
//!
//! Every event is a whole `GenerateContentResponse` with what is new. A run of text or of reasoning is one block; any other part is a
//! block by itself. Reasons to finish may stand in every chunk, so that the end of a choice is known only when the connection closes.

use super::answer::{self, BLOCKED, CONTENT, Head};
use super::calls::{FUNCTION_CALL, Ids};
use super::partial::Arguments;
use super::spelling::peek;
use super::{NAME, asks, blocks, error_in, sealed, usage};
use crate::hub::{
    BlockDelta, BlockId, BlockStart, ChatError, Delta, ErrorClass, Extra, FinishReason, Part, PartKind, StreamEvent, StreamFinish,
    StreamStart, extra, merge_extra, set_extra,
};
use crate::json::{Fields, Path, Value};
use crate::stream;

/// What a stream has told of its end.
#[derive(Debug, Default)]
pub(crate) struct Told {
    choices: Vec<Ending>,
    /// The prompt was refused.
    blocked: bool,
}

#[derive(Debug)]
struct Ending {
    index: u32,
    /// The last `finishReason`.
    word: Option<String>,
    /// It asks for tools.
    calls: bool,
}

impl Told {
    /// Takes note of a candidate: its reason to finish, and whether it asks for a tool.
    pub fn candidate(&mut self, index: u32, word: Option<String>, calls: bool) {
        let at = self.choices.iter().position(|c| c.index == index).unwrap_or_else(|| {
            self.choices.push(Ending { index, word: None, calls: false });
            self.choices.len() - 1
        });
        let ending = &mut self.choices[at];
        ending.calls |= calls;
        if word.is_some() {
            ending.word = word;
        }
    }

    /// The prompt was refused.
    pub fn refused(&mut self) {
        self.blocked = true;
    }

    /// Whether the answer is complete, should nothing follow.
    pub fn complete(&self) -> bool {
        if self.choices.is_empty() { self.blocked } else { self.choices.iter().all(|c| c.word.is_some()) }
    }

    /// Why a choice ended.
    pub fn finish(&self, index: u32) -> Option<FinishReason> {
        if self.choices.is_empty() && self.blocked {
            return Some(FinishReason::ContentFilter);
        }
        let ending = self.choices.iter().find(|c| c.index == index)?;
        Some(super::read_finish(ending.word.as_deref()?, ending.calls))
    }
}

/// Whether a document is an event of this format.
pub(crate) fn is_chunk(f: &Fields<'_>) -> bool {
    ["candidates", "promptFeedback", "usageMetadata", "modelVersion", "responseId"].iter().any(|name| f.peek(name).is_some())
}

/// Whether a part asks for a tool.
pub(crate) fn asks_in(part: Value<'_>) -> bool {
    let calls = part.object().is_some_and(|f| f.peek("text").is_none_or(Value::is_null) && peek(&f, FUNCTION_CALL).is_some());
    // Not before that: reading a part copies it.
    calls && blocks::read(part, &Path::Root, &mut Ids::default()).is_ok_and(|part| asks(&part))
}

/// Events of this format to hub events.
#[derive(Debug, Default)]
pub(crate) struct Decoder {
    /// Id of the answer, once it started.
    id: Option<String>,
    /// Members of chunks as they were told first.
    known: Vec<Extra>,
    /// Those that were told anew later.
    later: Vec<Extra>,
    usage: Option<String>,
    choices: Vec<Choice>,
    told: Told,
}

#[derive(Debug)]
struct Choice {
    index: u32,
    blocks: u32,
    open: Option<Open>,
    ids: Ids,
    /// Members of the candidate as last told.
    extras: Vec<Extra>,
}

#[derive(Debug)]
enum Open {
    Text {
        at: BlockId,
        closed: bool,
    },
    Thinking {
        at: BlockId,
        closed: bool,
    },
    /// A call whose arguments arrive in pieces.
    Call {
        at: BlockId,
        arguments: Arguments,
    },
}

impl Decoder {
    /// Takes one event. `last` says that the connection closed inside it.
    pub fn event(&mut self, _name: &str, data: &[u8], last: bool, out: &mut Vec<StreamEvent>) {
        let Some(document) = stream::document(data, last, out) else { return };
        let mut f = Fields::of(&document);
        if let Some(e) = error_in(&document) {
            return out.push(StreamEvent::Error(e));
        }
        if !is_chunk(&f) {
            // Not of this format, and nothing that an answer could be made of.
            return;
        }
        let head = Head::take(&mut f);
        let candidates: Vec<Value<'_>> = f.lenient("candidates", |v| Some(v.elements()?.collect())).unwrap_or_default();
        let spent = f.lenient("usageMetadata", usage::read);
        if answer::refuses(&f) {
            self.told.refused();
        } else if self.told.blocked {
            // Why the prompt was refused stays: without it, the answer would not say that it was.
            f.take("promptFeedback");
        }
        self.members(head, f, out);
        for (i, candidate) in candidates.into_iter().enumerate() {
            if let Some(candidate) = candidate.object() {
                self.candidate(candidate, i as u32, out);
            }
        }
        if let Some(spent) = spent.filter(|spent| spent.raw != self.usage) {
            self.usage = spent.raw.clone();
            out.push(StreamEvent::Usage(spent));
        }
    }

    /// The connection closed: that is the end when reasons to finish were told.
    pub fn closed(&mut self, out: &mut Vec<StreamEvent>) {
        if !self.told.complete() {
            return out.push(StreamEvent::Error(stream::interrupted()));
        }
        let mut later: Vec<Extra> = std::mem::take(&mut self.later);
        later.iter_mut().for_each(|e| e.name.insert_str(0, "event."));
        if self.choices.is_empty() {
            let mut extras = vec![Extra::new(BLOCKED, "true")];
            extras.append(&mut later);
            out.push(StreamEvent::Finish(StreamFinish { choice: 0, reason: FinishReason::ContentFilter, extras }));
        }
        for choice in &mut self.choices {
            choice.close(out);
            let mut extras = std::mem::take(&mut choice.extras);
            let ending = self.told.choices.iter().find(|c| c.index == choice.index);
            if let Some((word, calls)) = ending.and_then(|c| Some((c.word.as_deref()?, c.calls))) {
                let reason = answer::finish(word, calls, &mut extras);
                extras.append(&mut later);
                out.push(StreamEvent::Finish(StreamFinish { choice: choice.index, reason, extras }));
            }
        }
        out.push(StreamEvent::End);
    }

    /// The members around the candidates: the start of the stream, then what changed.
    fn members(&mut self, head: Head, f: Fields<'_>, out: &mut Vec<StreamEvent>) {
        let mut rest = blocks::rest(f);
        rest.retain(|e| e.value != "null");
        if self.id.is_none() {
            self.id = Some(head.id.clone());
            self.known = rest.clone();
            let Head { id, model } = head;
            return out.push(StreamEvent::Start(StreamStart { format: NAME.into(), id, model, created: None, usage: None, extras: rest }));
        }
        for e in rest {
            if extra(&self.known, &e.name) != Some(&e.value) {
                set_extra(&mut self.known, &e.name, e.value.clone());
                set_extra(&mut self.later, &e.name, e.value);
            }
        }
    }

    fn candidate(&mut self, mut f: Fields<'_>, position: u32, out: &mut Vec<StreamEvent>) {
        let index = f.lenient("index", |v| u32::try_from(v.u64()?).ok()).unwrap_or(position);
        let slot = self.choices.iter().position(|c| c.index == index).unwrap_or_else(|| {
            let ids = Ids::of(answer::place(self.id.as_deref().unwrap_or_default(), index));
            self.choices.push(Choice { index, blocks: 0, open: None, ids, extras: Vec::new() });
            self.choices.len() - 1
        });
        let choice = &mut self.choices[slot];
        let mut calls = false;
        let mut members = Vec::new();
        if let Some(mut content) = f.lenient("content", Value::object) {
            content.lenient("role", |v| (v.text()? == "model").then_some(()));
            for part in content.lenient("parts", |v| Some(v.elements()?.collect::<Vec<_>>())).unwrap_or_default() {
                calls |= choice.part(part, out);
            }
            members = content.rest_with(CONTENT);
        }
        let word = f.lenient("finishReason", |v| Some(v.text()?.into_owned()));
        self.told.candidate(index, word, calls);
        members.extend(blocks::rest(f));
        for e in members.into_iter().filter(|e| e.value != "null") {
            // Citations are told piece by piece, everything else anew.
            match e.name.as_str() {
                "citationMetadata" => merge_extra(&mut choice.extras, &e.name, &e.value),
                _ => set_extra(&mut choice.extras, &e.name, e.value),
            }
        }
    }
}

impl Choice {
    fn next(&mut self) -> BlockId {
        self.blocks += 1;
        BlockId { choice: self.index, block: self.blocks - 1 }
    }

    fn close(&mut self, out: &mut Vec<StreamEvent>) {
        match self.open.take() {
            None => {}
            Some(Open::Text { at, .. } | Open::Thinking { at, .. }) => out.push(StreamEvent::BlockStop(at)),
            Some(Open::Call { at, arguments }) => {
                out.push(StreamEvent::BlockDelta(BlockDelta { at, delta: Delta::Arguments(arguments.finish()), extras: Vec::new() }));
                out.push(StreamEvent::BlockStop(at));
            }
        }
    }

    /// Takes a part; whether it asks for a tool.
    fn part(&mut self, value: Value<'_>, out: &mut Vec<StreamEvent>) -> bool {
        if let Some(call) = value.object().as_ref().and_then(|f| peek(f, FUNCTION_CALL)).and_then(Value::object)
            && self.piece_of_call(call, value, out)
        {
            return true;
        }
        let part = blocks::read(value, &Path::Root, &mut self.ids).unwrap_or_else(|_| blocks::other(value));
        let asks = asks(&part);
        match part.kind {
            PartKind::Text(text) => self.text(false, text, None, part.extras, out),
            PartKind::Thinking(t) => self.text(true, t.text, t.signature, part.extras, out),
            PartKind::ToolCall(mut call) => {
                self.close(out);
                let at = self.next();
                let arguments = std::mem::take(&mut call.arguments);
                let part = Part { kind: PartKind::ToolCall(call), ..part };
                out.push(StreamEvent::BlockStart(BlockStart { at, part }));
                out.push(StreamEvent::BlockDelta(BlockDelta { at, delta: Delta::Arguments(arguments), extras: Vec::new() }));
                out.push(StreamEvent::BlockStop(at));
            }
            _ => {
                self.close(out);
                let at = self.next();
                out.push(StreamEvent::BlockStart(BlockStart { at, part }));
                out.push(StreamEvent::BlockStop(at));
            }
        }
        asks
    }

    /// Text, or reasoning: it goes on with the block that is open, unless a signature ended that.
    fn text(&mut self, thinks: bool, text: String, signature: Option<String>, mut extras: Vec<Extra>, out: &mut Vec<StreamEvent>) {
        extras.retain(|e| e.value != "null");
        if text.is_empty() && signature.is_none() && extras.is_empty() {
            return;
        }
        let ended = signature.is_some() || extras.iter().any(|e| e.name == sealed::SIGNATURE.0 || e.name == sealed::SIGNATURE.1);
        let at = match &mut self.open {
            Some(Open::Text { at, closed: closed @ false }) if !thinks => {
                *closed = ended;
                *at
            }
            Some(Open::Thinking { at, closed: closed @ false }) if thinks => {
                *closed = ended;
                *at
            }
            _ => {
                self.close(out);
                let at = self.next();
                let kind = if thinks {
                    PartKind::Thinking(crate::hub::Thinking { text: String::new(), signature: None })
                } else {
                    PartKind::Text(String::new())
                };
                out.push(StreamEvent::BlockStart(BlockStart { at, part: Part::new(kind) }));
                self.open = Some(if thinks { Open::Thinking { at, closed: ended } } else { Open::Text { at, closed: ended } });
                at
            }
        };
        if !text.is_empty() || !extras.is_empty() {
            let delta = if thinks { Delta::Thinking(text) } else { Delta::Text(text) };
            out.push(StreamEvent::BlockDelta(BlockDelta { at, delta, extras }));
        }
        if let Some(signature) = signature {
            out.push(StreamEvent::BlockDelta(BlockDelta { at, delta: Delta::Signature(signature), extras: Vec::new() }));
        }
    }

    /// A call whose arguments arrive in pieces: its beginning has a name and says that more follows, its end says that no more does.
    /// False: the part is none of that.
    fn piece_of_call(&mut self, mut call: Fields<'_>, whole: Value<'_>, out: &mut Vec<StreamEvent>) -> bool {
        let more = call.take("willContinue").and_then(Value::bool) == Some(true);
        let pieces = call.take("partialArgs").and_then(Value::elements).map(|list| list.collect::<Vec<_>>());
        let named = call.peek("name").and_then(Value::text).is_some_and(|name| !name.is_empty());
        if !named && !matches!(self.open, Some(Open::Call { .. })) || named && !more && pieces.is_none() {
            return false;
        }
        if named {
            self.close(out);
            let Ok(mut part) = blocks::read(whole, &Path::Root, &mut self.ids) else { return false };
            let PartKind::ToolCall(begun) = &mut part.kind else { return false };
            let given = Value::parse(&std::mem::take(&mut begun.arguments)).map(Arguments::whole);
            // How it arrives is no part of the call.
            part.extras.retain(|e| !matches!(e.name.rsplit('.').next(), Some("willContinue" | "partialArgs" | "$no-args")));
            let at = self.next();
            out.push(StreamEvent::BlockStart(BlockStart { at, part }));
            self.open = Some(Open::Call { at, arguments: given.unwrap_or_default() });
        }
        if let Some(Open::Call { arguments, .. }) = &mut self.open
            && !pieces.into_iter().flatten().filter_map(Value::object).all(|piece| arguments.take(piece))
        {
            // Without them the call would do something else than the model asked for.
            self.open = None;
            let message = "the provider sent `partialArgs` whose `jsonPath` asks for too many places; the arguments of a call have a limit";
            out.push(StreamEvent::Error(ChatError::new(ErrorClass::Protocol, message)));
            return true;
        }
        if !more {
            self.close(out);
        }
        true
    }
}
