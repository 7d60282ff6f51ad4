//! What of a stream is open: items, and the blocks that they are in the hub.

use super::blocks::{self, ANNOTATION, DONE, VALUE, item_note};
use super::parts::{self, Side};
use super::reasoning;
use crate::hub::{BlockDelta, BlockId, BlockStart, Delta, Extra, Part, PartKind, StreamEvent, ToolCall, ToolCallKind, extra};
use crate::json::{Object, Path, Value};
use crate::map::field;

/// An item that is not done.
#[derive(Debug)]
pub(super) struct Item {
    /// Its place in the answer.
    pub index: u64,
    /// Its id.
    pub id: Option<String>,
    kind: Kind,
    blocks: Vec<Block>,
}

#[derive(Debug)]
enum Kind {
    /// A message, with the note on what it has besides its content. Its parts are blocks.
    Message(Extra),
    Call,
    /// The part of the reasoning that grows: whether it stands in the content, and its number.
    Reasoning(Option<(bool, u64)>),
    /// Kept whole, as it was told first.
    Whole(String),
}

#[derive(Debug)]
struct Block {
    at: BlockId,
    /// Its number in the content of a message.
    content: u64,
    /// How much of its text was told.
    told: Told,
    /// The part without its text.
    known: Part,
}

/// How much of a text was told: its length, and a hash (FNV-1a) to know it again.
#[derive(Debug)]
struct Told(usize, u64);

impl Told {
    fn new() -> Self {
        Self(0, 0xcbf2_9ce4_8422_2325)
    }

    fn more(&mut self, text: &str) {
        self.0 += text.len();
        text.bytes().for_each(|b| self.1 = (self.1 ^ u64::from(b)).wrapping_mul(0x0100_0000_01b3));
    }

    /// What of the whole text was not told. Nothing when it is another text.
    fn rest<'t>(&self, whole: &'t str) -> Option<&'t str> {
        let (before, rest) = whole.split_at_checked(self.0).filter(|(_, rest)| !rest.is_empty())?;
        let mut again = Self::new();
        again.more(before);
        (again.1 == self.1).then_some(rest)
    }
}

/// Hands out numbers of blocks.
#[derive(Debug, Default)]
pub(super) struct Numbers(u32);

impl Numbers {
    fn next(&mut self) -> BlockId {
        self.0 += 1;
        BlockId { choice: 0, block: self.0 - 1 }
    }

    /// Whether no block was opened.
    pub fn none(&self) -> bool {
        self.0 == 0
    }
}

fn delta(at: BlockId, delta: Delta, extras: Vec<Extra>) -> StreamEvent {
    StreamEvent::BlockDelta(BlockDelta { at, delta, extras })
}

/// Takes the text out of a part: what a delta tells.
fn text_of(part: &mut Part) -> Option<Delta> {
    let take = |text: &mut String| Some(std::mem::take(text)).filter(|t| !t.is_empty());
    match &mut part.kind {
        PartKind::Text(text) => take(text).map(Delta::Text),
        PartKind::Refusal(text) => take(text).map(Delta::Refusal),
        PartKind::Thinking(t) => take(&mut t.text).map(Delta::Thinking),
        PartKind::ToolCall(call) => take(&mut call.arguments).map(Delta::Arguments),
        _ => None,
    }
}

/// A delta without text for a part of this kind, which carries extras.
fn carrier(part: &Part) -> Option<Delta> {
    match part.kind {
        PartKind::Text(_) => Some(Delta::Text(String::new())),
        PartKind::Refusal(_) => Some(Delta::Refusal(String::new())),
        PartKind::Thinking(_) | PartKind::RedactedThinking(_) => Some(Delta::Thinking(String::new())),
        PartKind::ToolCall(_) => Some(Delta::Arguments(String::new())),
        _ => None,
    }
}

fn words_of(delta: &Delta) -> &str {
    match delta {
        Delta::Text(t) | Delta::Refusal(t) | Delta::Thinking(t) | Delta::Signature(t) | Delta::Arguments(t) | Delta::Other(t) => t,
    }
}

/// What of the whole text was not told.
fn untold(told: &Told, whole: Delta) -> Option<Delta> {
    let rest = told.rest(words_of(&whole))?.to_owned();
    Some(match whole {
        Delta::Text(_) => Delta::Text(rest),
        Delta::Refusal(_) => Delta::Refusal(rest),
        Delta::Thinking(_) => Delta::Thinking(rest),
        Delta::Arguments(_) => Delta::Arguments(rest),
        Delta::Signature(_) | Delta::Other(_) => return None,
    })
}

fn read_call(value: Value<'_>) -> Option<Part> {
    let mut f = value.object()?;
    let kind = if f.take("type")?.text()? == "custom_tool_call" { ToolCallKind::Custom } else { ToolCallKind::Function };
    let id = f.lenient_text("call_id").or_else(|| f.peek("id")?.text().map(Into::into)).unwrap_or_default();
    let name = f.lenient_text("name").unwrap_or_default();
    let arguments = f.lenient_text(blocks::words(kind).1).unwrap_or_default();
    Some(Part { extras: f.rest(), ..Part::new(PartKind::ToolCall(ToolCall { id, name, arguments, kind })) })
}

impl Item {
    /// An item begins.
    pub fn open(index: u64, value: Value<'_>, numbers: &mut Numbers, out: &mut Vec<StreamEvent>) -> Self {
        let mut f = value.object();
        let kind = f.as_ref().and_then(|f| f.peek("type")).and_then(Value::text).unwrap_or_default();
        let id = f.as_ref().and_then(|f| f.peek("id")).and_then(Value::text).map(Into::into);
        let mut item = Self { index, id, kind: Kind::Call, blocks: Vec::new() };
        let part = match (kind.as_ref(), &mut f) {
            ("message", Some(f)) => {
                for name in ["content", "role"] {
                    f.take(name);
                }
                item.kind = Kind::Message(item_note(&f.clone().rest()));
                return item;
            }
            ("function_call" | "custom_tool_call", _) => read_call(value),
            ("reasoning", _) => {
                item.kind = Kind::Reasoning(None);
                blocks::read(value, &Path::Root, Side::Output).ok().and_then(|mut parts| parts.pop())
            }
            _ => None,
        };
        let part = part.unwrap_or_else(|| {
            item.kind = Kind::Whole(value.raw().into());
            blocks::whole(value)
        });
        item.begin(0, part, numbers, out);
        item
    }

    /// A block begins: its part without text, and then the text.
    fn begin(&mut self, content: u64, mut part: Part, numbers: &mut Numbers, out: &mut Vec<StreamEvent>) {
        let at = numbers.next();
        if let (Kind::Message(note), true) = (&self.kind, self.blocks.is_empty())
            && extra(&part.extras, &note.name).is_none()
        {
            part.extras.insert(0, note.clone());
        }
        let text = text_of(&mut part);
        let mut told = Told::new();
        text.iter().for_each(|text| told.more(words_of(text)));
        out.push(StreamEvent::BlockStart(BlockStart { at, part: part.clone() }));
        out.extend(text.map(|text| delta(at, text, Vec::new())));
        self.blocks.push(Block { at, content, told, known: part });
    }

    /// A part of a message begins.
    pub fn part(&mut self, content: u64, value: Value<'_>, numbers: &mut Numbers, out: &mut Vec<StreamEvent>) {
        if matches!(self.kind, Kind::Message(_)) && self.blocks.iter().all(|b| b.content != content) {
            let part = parts::read(value, &Path::Root, Side::Output).unwrap_or_else(|_| parts::other(value));
            self.begin(content, part, numbers, out);
        }
    }

    /// A piece of a message's text or refusal.
    pub fn text(&mut self, content: u64, text: Delta, extras: Vec<Extra>, numbers: &mut Numbers, out: &mut Vec<StreamEvent>) {
        if !matches!(self.kind, Kind::Message(_)) || words_of(&text).is_empty() && extras.is_empty() {
            return;
        }
        if self.blocks.iter().all(|b| b.content != content) {
            let kind = if matches!(text, Delta::Refusal(_)) { PartKind::Refusal(String::new()) } else { PartKind::Text(String::new()) };
            self.begin(content, Part::new(kind), numbers, out);
        }
        let Some(block) = self.blocks.iter_mut().find(|b| b.content == content) else { return };
        block.told.more(words_of(&text));
        extras.iter().for_each(|e| blocks::fold(&mut block.known, e));
        out.push(delta(block.at, text, extras));
    }

    /// The whole text, at its end: what was not told in pieces is told now.
    pub fn whole_text(&mut self, content: u64, text: Delta, numbers: &mut Numbers, out: &mut Vec<StreamEvent>) {
        let rest = match self.blocks.iter().find(|b| b.content == content) {
            Some(block) => untold(&block.told, text),
            None => Some(text),
        };
        if let Some(rest) = rest {
            self.text(content, rest, Vec::new(), numbers, out);
        }
    }

    /// A piece of a call's arguments; the whole of them at their end.
    pub fn arguments(&mut self, piece: String, whole: bool, out: &mut Vec<StreamEvent>) {
        let (Kind::Call, Some(block)) = (&self.kind, self.blocks.first_mut()) else { return };
        let piece = if whole { untold(&block.told, Delta::Arguments(piece)) } else { Some(Delta::Arguments(piece)) };
        if let Some(piece) = piece.filter(|piece| !words_of(piece).is_empty()) {
            block.told.more(words_of(&piece));
            out.push(delta(block.at, piece, Vec::new()));
        }
    }

    /// A piece of the reasoning, of part `number` of its content or of its summary. Only one of the two is the hub's text.
    pub fn thinking(&mut self, in_content: bool, number: u64, piece: String, out: &mut Vec<StreamEvent>) {
        let (Kind::Reasoning(grows), Some(block)) = (&mut self.kind, self.blocks.first_mut()) else { return };
        if grows.is_some_and(|(content, _)| content != in_content) || piece.is_empty() {
            return;
        }
        let mut extras = Vec::new();
        match grows.replace((in_content, number)) {
            Some((_, before)) if before != number => {
                block.told.more("\n\n");
                out.push(delta(block.at, Delta::Thinking("\n\n".into()), Vec::new()));
            }
            None if in_content => {
                let note = field(reasoning::CONTENT);
                extras.push(Extra { name: format!("{DONE}{}", note.name), ..note });
                extras.iter().for_each(|e| blocks::fold(&mut block.known, e));
            }
            _ => {}
        }
        block.told.more(&piece);
        out.push(delta(block.at, Delta::Thinking(piece), extras));
    }

    /// One annotation of a text.
    pub fn annotation(&mut self, content: u64, value: Value<'_>, numbers: &mut Numbers, out: &mut Vec<StreamEvent>) {
        let extras = vec![Extra::new(ANNOTATION, value.raw())];
        self.text(content, Delta::Text(String::new()), extras, numbers, out);
    }

    /// An event that is not modelled; whether the item has a block that it can go with.
    pub fn other(&self, raw: &str, out: &mut Vec<StreamEvent>) -> bool {
        let block = self.blocks.first();
        out.extend(block.map(|block| delta(block.at, Delta::Other(raw.into()), Vec::new())));
        block.is_some()
    }

    /// The item is done: what was not told yet, and the ends of its blocks.
    pub fn done(mut self, value: Option<Value<'_>>, numbers: &mut Numbers, out: &mut Vec<StreamEvent>) {
        match (&self.kind, value) {
            (Kind::Whole(known), Some(value)) if known != value.raw() => {
                let mut json = Vec::new();
                let mut o = Object::new(&mut json);
                o.raw(VALUE, value.raw());
                o.end();
                let json = String::from_utf8(json).unwrap_or_default();
                out.extend(self.blocks.first().map(|block| delta(block.at, Delta::Other(json), Vec::new())));
            }
            (Kind::Whole(_), _) | (_, None) => {}
            (_, Some(value)) => {
                let parts = blocks::read(value, &Path::Root, Side::Output).unwrap_or_default();
                for (content, part) in parts.into_iter().enumerate() {
                    self.complete(content as u64, part, numbers, out);
                }
            }
        }
        out.extend(self.blocks.iter().map(|block| StreamEvent::BlockStop(block.at)));
    }

    fn complete(&mut self, content: u64, mut part: Part, numbers: &mut Numbers, out: &mut Vec<StreamEvent>) {
        let Some(block) = self.blocks.iter_mut().find(|b| b.content == content) else {
            return self.begin(content, part, numbers, out);
        };
        if let Some(text) = text_of(&mut part).and_then(|whole| untold(&block.told, whole)) {
            out.push(delta(block.at, text, Vec::new()));
        }
        if let (PartKind::Thinking(t), PartKind::Thinking(known)) = (&mut part.kind, &block.known.kind)
            && let Some(signature) = t.signature.take().filter(|_| known.signature.is_none())
        {
            out.push(delta(block.at, Delta::Signature(signature), Vec::new()));
        }
        let news = part.extras.iter().filter(|e| extra(&block.known.extras, &e.name) != Some(&e.value));
        let news: Vec<Extra> = news.map(|e| Extra { name: format!("{DONE}{}", e.name), value: e.value.clone() }).collect();
        if let Some(carrier) = carrier(&block.known).filter(|_| !news.is_empty()) {
            out.push(delta(block.at, carrier, news));
        }
    }
}
