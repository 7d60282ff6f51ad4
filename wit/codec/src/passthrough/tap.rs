//! The tap on a raw stream.
//!
//! Most events are pieces of content that nobody needs to read. After the first piece, an event is parsed only when it holds one of a
//! few words as a JSON token; a quote inside a string is escaped, so text that a model writes never looks like one.

use memchr::memmem::Finder;

use super::{StreamFacts, gemini, responses};
use crate::dispatch::no_answer;
use crate::hub::{ChatError, ErrorClass, FinishReason};
use crate::json::{Document, Fields, Kind, Value};
use crate::sse::{Event, Parser, Splitter};
use crate::{Format, anthropic_messages, error_body, gemini_generate, openai_chat};

/// Most comments before an answer that are kept, in bytes.
const MAX_PRELUDE: usize = 16 << 10;

/// Forwards the raw bytes of a stream and takes down its [`StreamFacts`].
#[derive(Debug)]
pub struct StreamTap {
    splitter: Splitter,
    reader: Reader,
    /// Comments that came before the answer began. They go out with its beginning, and not at all when there is none.
    prelude: Vec<u8>,
    /// The last event went there, and so does the rest of its line end.
    to_prelude: bool,
    /// An event was too long: nothing more is forwarded.
    broken: bool,
}

#[derive(Debug)]
struct Reader {
    format: Format,
    drop_usage_chunk: bool,
    facts: StreamFacts,
    words: Words,
    /// OpenAI's choices, and whether each is finished.
    choices: Vec<(u64, bool)>,
    /// Anthropic's usage so far.
    usage: Option<String>,
    /// A response asks for tools.
    calls: bool,
    /// What a stream of Gemini's told of its end.
    told: gemini_generate::Told,
}

#[derive(Debug)]
struct Words {
    finish: Finder<'static>,
    usage: Finder<'static>,
    error: Finder<'static>,
    index: Finder<'static>,
}

impl StreamTap {
    /// A tap on a stream of `format`. `drop_usage_chunk`: leave out OpenAI's chunk that holds only usage, because the gateway asked for
    /// it and the client did not.
    pub fn new(format: Format, drop_usage_chunk: bool) -> Self {
        let words = Words {
            finish: Finder::new("\"finish_reason\""),
            usage: Finder::new("\"usage\""),
            error: Finder::new("\"error\""),
            index: Finder::new("\"index\""),
        };
        let reader = Reader {
            format,
            drop_usage_chunk,
            facts: StreamFacts::default(),
            words,
            choices: Vec::new(),
            usage: None,
            calls: false,
            told: Default::default(),
        };
        Self { splitter: Splitter::default(), reader, prelude: Vec::new(), to_prelude: false, broken: false }
    }

    /// Takes bytes, cut anywhere, and appends the raw bytes of the events that they complete; the beginning of the next event is held back.
    pub fn push(&mut self, chunk: &[u8], out: &mut Vec<u8>) {
        if self.broken {
            return;
        }
        let Self { splitter, reader, prelude, to_prelude, .. } = self;
        let result = splitter.push(chunk, &mut |raw| {
            if reader.passes(raw) {
                out.append(prelude);
                out.extend_from_slice(raw);
                *to_prelude = false;
                return;
            }
            let comment = raw.starts_with(b":") || *to_prelude && raw == b"\n";
            *to_prelude = !reader.facts.started && comment && prelude.len() + raw.len() <= MAX_PRELUDE;
            if *to_prelude {
                prelude.extend_from_slice(raw);
            }
        });
        if let Err(e) = result {
            self.broken = true;
            self.reader.facts.error.get_or_insert_with(|| ChatError::new(ErrorClass::Protocol, e.to_string()));
        }
    }

    /// The connection closed. Sets the error to [`ErrorClass::Interrupted`] when no proper end was seen. What is held back is
    /// forwarded, with the blank line that it lacks, only when it is a whole event all the same; half an event never is.
    pub fn finish(&mut self, out: &mut Vec<u8>) {
        if self.broken {
            return;
        }
        self.broken = true;
        let held = self.splitter.held().to_vec();
        let data = one_data(&held).unwrap_or(&held);
        let whole = data.trim_ascii() == b"[DONE]" || Document::parse(data).is_ok();
        if whole && self.reader.passes(&held) {
            out.extend_from_slice(&held);
            out.extend_from_slice(if held.ends_with(b"\n") { b"\n" } else { b"\n\n" });
        }
        self.reader.close();
    }

    /// What was seen so far.
    pub fn facts(&self) -> &StreamFacts {
        &self.reader.facts
    }
}

/// The data of a raw event that has one line of it.
pub(super) fn one_data(raw: &[u8]) -> Option<&[u8]> {
    let mut found = None;
    let mut rest = raw;
    while !rest.is_empty() {
        let end = memchr::memchr2(b'\n', b'\r', rest).unwrap_or(rest.len());
        let data = rest[..end].strip_prefix(b"data:");
        if data.is_some_and(|data| found.replace(data).is_some()) {
            return None;
        }
        rest = rest.get(end + 1..).unwrap_or_default();
    }
    found.map(|data| data.strip_prefix(b" ").unwrap_or(data))
}

/// The name of a raw event.
fn name_of(raw: &[u8]) -> String {
    let (mut parser, mut name) = (Parser::default(), String::new());
    let mut sink = |e: Event<'_>| e.name.clone_into(&mut name);
    let _ = parser.push(raw, &mut sink);
    parser.finish(&mut sink);
    name
}

/// Whether a word occurs as a key whose value is not `dull`.
fn tells(finder: &Finder<'static>, data: &[u8], dull: &[u8]) -> bool {
    let mut rest = data;
    while let Some(at) = finder.find(rest) {
        rest = &rest[at + finder.needle().len()..];
        let value = rest.trim_ascii_start().strip_prefix(b":").map(<[u8]>::trim_ascii_start);
        // Not a key: a string that is just this word.
        if value.is_some_and(|v| !v.starts_with(dull)) {
            return true;
        }
    }
    false
}

impl Reader {
    /// Reads an event; whether it goes on. Nothing does before the answer begins (what comes then is no answer, or a comment that
    /// nobody waits for), and nothing after its end: a stream that failed must not look as if it had ended well. An error does not go
    /// on either, for it may tell the caller what only the gateway may know; it is in the facts, and the dialect tells it.
    fn passes(&mut self, raw: &[u8]) -> bool {
        if self.facts.ended || self.facts.error.is_some() {
            return false;
        }
        self.forwards(raw) && self.facts.started && self.facts.error.is_none()
    }

    /// Reads an event; whether it is forwarded.
    fn forwards(&mut self, raw: &[u8]) -> bool {
        if let Some(data) = one_data(raw) {
            return self.read(raw, data);
        }
        // No data, or several lines of it, which the parser joins. It sees one event at most.
        let (mut parser, mut forward) = (Parser::default(), true);
        let mut sink = |e: Event<'_>| forward = self.read(raw, e.data);
        let _ = parser.push(raw, &mut sink);
        parser.finish(&mut sink);
        forward
    }

    fn read(&mut self, raw: &[u8], data: &[u8]) -> bool {
        self.facts.events += 1;
        match self.format {
            Format::OpenaiChat | Format::OpenaiCompletions => {
                if self.facts.started && self.facts.first_content && self.is_plain_chunk(data) {
                    return true;
                }
                self.read_chunk(data)
            }
            Format::AnthropicMessages => {
                if !(self.facts.first_content && data.starts_with(br#"{"type":"content_block_delta""#)) {
                    self.read_anthropic(raw, data);
                }
                true
            }
            Format::OpenaiResponses => {
                let piece = self.facts.first_content && responses::is_piece(data);
                if !piece && responses::read(&mut self.facts, &mut self.calls, || name_of(raw), data) {
                    self.end();
                }
                true
            }
            Format::GeminiGenerate => {
                gemini::read(&mut self.facts, &mut self.told, data);
                true
            }
        }
    }

    /// The provider says that the answer is complete. One that never began is none.
    fn end(&mut self) {
        self.facts.ended = self.facts.started;
        if !self.facts.started {
            self.facts.error = Some(no_answer());
        }
    }

    /// The last word about how the stream ended.
    fn close(&mut self) {
        let f = &mut self.facts;
        if f.ended || f.error.is_some() {
            return;
        }
        f.ended = match self.format {
            Format::OpenaiChat | Format::OpenaiCompletions => {
                !self.choices.is_empty() && self.choices.iter().all(|(_, finished)| *finished)
            }
            Format::AnthropicMessages => f.finish.is_some(),
            // Only the last event ends it.
            Format::OpenaiResponses => false,
            Format::GeminiGenerate => self.told.complete(),
        };
        if !f.ended {
            f.error = Some(responses::broke_off());
        }
    }

    // === OpenAI ===

    fn is_plain_chunk(&self, data: &[u8]) -> bool {
        let w = &self.words;
        data.starts_with(b"{")
            && !tells(&w.finish, data, b"null")
            && !tells(&w.usage, data, b"null")
            && !tells(&w.error, data, b"null")
            // Another choice than the first, which must finish too. (Or another tool call, which costs a parse.)
            && !tells(&w.index, data, b"0")
    }

    fn read_chunk(&mut self, data: &[u8]) -> bool {
        if data.trim_ascii() == b"[DONE]" {
            self.end();
            return true;
        }
        let Ok(document) = Document::parse(data) else { return true };
        let mut f = Fields::of(&document);
        if let Some(e) = openai_chat::error_in(&document) {
            self.facts.error.get_or_insert(e);
            return true;
        }
        self.facts.started = true;
        take_text(&mut self.facts.id, &mut f, "id");
        take_text(&mut self.facts.model, &mut f, "model");
        let choices: Vec<Value<'_>> = f.take("choices").and_then(Value::elements).into_iter().flatten().collect();
        choices.iter().for_each(|choice| self.read_choice(*choice));
        let told = f.take("usage").filter(|v| v.kind() == Kind::Object);
        let spent = told.or_else(|| Value::parse(document.pointer("/x_groq/usage")?)).and_then(openai_chat::read_usage);
        let only_usage = choices.is_empty() && told.is_some();
        if spent.is_some() {
            self.facts.usage = spent;
        }
        !(only_usage && self.drop_usage_chunk)
    }

    fn read_choice(&mut self, choice: Value<'_>) {
        let Some(mut c) = choice.object() else { return };
        let index = c.take("index").and_then(Value::u64).unwrap_or(0);
        let reason = c.take("finish_reason").and_then(Value::text).filter(|word| !word.is_empty());
        if let Some(word) = reason.as_ref().filter(|_| index == 0 && self.facts.finish.is_none()) {
            self.facts.finish = Some(openai_chat::read_finish(word));
        }
        match self.choices.iter_mut().find(|(known, _)| *known == index) {
            Some((_, finished)) => *finished |= reason.is_some(),
            None => self.choices.push((index, reason.is_some())),
        }
        // Of completions.
        self.facts.first_content |= c.peek("text").is_some_and(|v| !matches!(v.raw(), "null" | "\"\""));
        if let Some(delta) = c.take("delta").and_then(Value::object) {
            let speaks = |name: &&str| delta.peek(name).is_some_and(|v| !matches!(v.raw(), "null" | "\"\"" | "[]"));
            self.facts.first_content |=
                ["content", "tool_calls", "reasoning_content", "reasoning", "refusal", "function_call"].iter().any(speaks);
        }
    }

    // === Anthropic ===

    fn read_anthropic(&mut self, raw: &[u8], data: &[u8]) {
        let Ok(document) = Document::parse(data) else { return };
        let mut f = Fields::of(&document);
        let kind = f.take("type").and_then(Value::text).unwrap_or_else(|| name_of(raw).into());
        match kind.as_ref() {
            // A proxy may send it twice; the first one counts.
            "message_start" if self.facts.started => {}
            "message_start" => {
                self.facts.started = true;
                if let Some(mut m) = f.take("message").and_then(Value::object) {
                    take_text(&mut self.facts.id, &mut m, "id");
                    take_text(&mut self.facts.model, &mut m, "model");
                    self.take_usage(m.take("usage").filter(|v| anthropic_messages::read_usage(*v).is_some()));
                }
            }
            "content_block_delta" => self.facts.first_content = true,
            // A block that is whole at its start.
            "content_block_start" => {
                let block = f.take("content_block").and_then(Value::object).and_then(|b| b.peek("type")).and_then(Value::text);
                self.facts.first_content |= block.is_some_and(|kind| !matches!(kind.as_ref(), "text" | "thinking"));
            }
            "message_delta" => {
                if let Some(mut delta) = f.take("delta").and_then(Value::object) {
                    let sequence = delta.take("stop_sequence").and_then(Value::text).map(|s| s.into_owned());
                    let reason: Option<FinishReason> =
                        delta.take("stop_reason").and_then(Value::text).map(|word| anthropic_messages::read_stop(&word, sequence));
                    if reason.is_some() {
                        self.facts.finish = reason;
                    }
                }
                self.take_usage(f.take("usage"));
            }
            "message_stop" => self.end(),
            "error" => {
                let unknown = || ChatError::new(ErrorClass::Upstream, "the provider reported an error");
                let e = error_body::in_document(&document).unwrap_or_else(unknown);
                self.facts.error.get_or_insert(e);
            }
            _ => {}
        }
    }

    fn take_usage(&mut self, usage: Option<Value<'_>>) {
        if let Some(usage) = usage.filter(|v| v.kind() == Kind::Object) {
            let merged = anthropic_messages::merged_usage(self.usage.as_deref(), usage.raw());
            self.facts.usage = Value::parse(&merged).and_then(anthropic_messages::read_usage);
            self.usage = Some(merged);
        }
    }
}

pub(super) fn take_text(slot: &mut Option<String>, f: &mut Fields<'_>, name: &str) {
    if slot.is_none() {
        *slot = f.take(name).and_then(Value::text).filter(|t| !t.is_empty()).map(|t| t.into_owned());
    }
}
