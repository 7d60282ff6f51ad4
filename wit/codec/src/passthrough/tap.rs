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
use crate::stream::interrupted;
use crate::{Format, anthropic_messages, error_body, gemini_generate, openai_chat};

/// Most comments before an answer that are kept, in bytes.
const MAX_PRELUDE: usize = 16 << 10;

/// Longest beginning of a chunk that is remembered, in bytes.
const MAX_HEAD: usize = 1 << 10;

/// The byte order mark.
const MARK: &[u8] = b"\xef\xbb\xbf";

/// Forwards the raw bytes of a stream and takes down its [`StreamFacts`].
#[derive(Debug)]
pub struct StreamTap {
    splitter: Splitter,
    reader: Reader,
    /// Comments that came before the answer began. They go out with its beginning, and not at all when there is none.
    prelude: Vec<u8>,
    /// What became of the last event.
    last: Fate,
    /// It ended with a CR: the LF behind it, which may come by itself, is the rest of its line end.
    cut: bool,
    /// Something was forwarded.
    begun: bool,
    /// An event was too long: nothing more is forwarded.
    broken: bool,
}

/// What becomes of an event.
#[derive(Debug, Clone, Copy)]
enum Fate {
    Forwarded,
    Kept,
    Dropped,
}

#[derive(Debug)]
struct Reader {
    format: Format,
    /// An event was read.
    inside: bool,
    drop_usage_chunk: bool,
    facts: StreamFacts,
    words: Words,
    /// OpenAI's choices, and whether each is finished.
    choices: Vec<(u32, bool)>,
    /// Anthropic's usage so far.
    usage: Option<String>,
    /// A response asks for tools.
    calls: bool,
    /// What a stream of Gemini's told of its end.
    told: gemini_generate::Told,
    /// How the last plain chunk of OpenAI's began, up to the text in it. The next one mostly begins alike, and only what is behind its text
    /// must be looked at.
    plain: Vec<u8>,
}

#[derive(Debug)]
struct Words {
    escape: Finder<'static>,
    kind: Finder<'static>,
    finish: Finder<'static>,
    usage: Finder<'static>,
    error: Finder<'static>,
    index: Finder<'static>,
    content: Finder<'static>,
}

impl StreamTap {
    /// A tap on a stream of `format`. `drop_usage_chunk`: leave out OpenAI's chunk that holds only usage, because the gateway asked for
    /// it and the client did not.
    pub fn new(format: Format, drop_usage_chunk: bool) -> Self {
        let words = Words {
            escape: Finder::new("\\u00"),
            kind: Finder::new("\"type\""),
            finish: Finder::new("\"finish_reason\""),
            usage: Finder::new("\"usage\""),
            error: Finder::new("\"error\""),
            index: Finder::new("\"index\""),
            content: Finder::new("content\":\""),
        };
        let reader = Reader {
            format,
            inside: false,
            drop_usage_chunk,
            facts: StreamFacts::default(),
            words,
            choices: Vec::new(),
            usage: None,
            calls: false,
            told: Default::default(),
            plain: Vec::new(),
        };
        Self { splitter: Splitter::default(), reader, prelude: Vec::new(), last: Fate::Dropped, cut: false, begun: false, broken: false }
    }

    /// Takes bytes, cut anywhere, and appends the raw bytes of the events that they complete; the beginning of the next event is held back.
    pub fn push(&mut self, chunk: &[u8], out: &mut Vec<u8>) {
        if self.broken {
            return;
        }
        let Self { splitter, reader, prelude, last, cut, begun, .. } = self;
        let result = splitter.push(chunk, &mut |raw| {
            let inside = reader.inside;
            if !(*cut && raw == b"\n") {
                *last = if reader.passes(raw) {
                    Fate::Forwarded
                } else if !reader.facts.started && raw.starts_with(b":") && prelude.len() + raw.len() <= MAX_PRELUDE {
                    Fate::Kept
                } else {
                    Fate::Dropped
                };
            }
            *cut = raw.ends_with(b"\r");
            match last {
                Fate::Forwarded => {
                    out.append(prelude);
                    if !std::mem::replace(begun, true) && inside && raw.starts_with(MARK) {
                        // It stood inside, where it is no mark, and would be one at the beginning.
                        out.push(b'\n');
                    }
                    out.extend_from_slice(raw);
                }
                Fate::Kept => prelude.extend_from_slice(raw),
                Fate::Dropped => {}
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
        let (mut parser, mut whole) = (parser(self.reader.inside), false);
        // In the other formats that word is no event, and readers fail on it.
        let has_done = matches!(self.reader.format, Format::OpenaiChat | Format::OpenaiResponses);
        let mut sink = |e: Event<'_>| whole = has_done && e.data.trim_ascii() == b"[DONE]" || Document::parse(e.data).is_ok();
        let _ = parser.push(&held, &mut sink);
        parser.finish(&mut sink);
        let inside = self.reader.inside;
        if whole && self.reader.passes(&held) {
            if !self.begun && inside && held.starts_with(MARK) {
                out.push(b'\n');
            }
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

/// The data of a raw event that has one line of it. A document that stands where a field should (an error of a proxy's) takes all that
/// follows it, and a byte order mark may hide the line that it stands before: those are for [`Parser`].
pub(super) fn one_data(raw: &[u8]) -> Option<&[u8]> {
    let mut found = None;
    let mut rest = raw;
    while !rest.is_empty() {
        let end = memchr::memchr2(b'\n', b'\r', rest).unwrap_or(rest.len());
        if found.is_none() && (rest.starts_with(b"{") || rest.starts_with(MARK)) {
            return None;
        }
        let data = rest[..end].strip_prefix(b"data:");
        if data.is_some_and(|data| found.replace(data).is_some()) {
            return None;
        }
        rest = rest.get(end + 1..).unwrap_or_default();
    }
    found.map(|data| data.strip_prefix(b" ").unwrap_or(data))
}

/// A parser of one raw event, the first of its stream or not.
fn parser(inside: bool) -> Parser {
    if inside { Parser::inside() } else { Parser::default() }
}

/// The name of a raw event.
fn name_of(raw: &[u8], inside: bool) -> String {
    let (mut parser, mut name) = (parser(inside), String::new());
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

/// What is behind a string that begins `data`, whose opening quote is just before.
fn behind_string(data: &[u8]) -> Option<&[u8]> {
    let mut rest = data;
    loop {
        let at = memchr::memchr2(b'"', b'\\', rest)?;
        let escaped = rest[at] == b'\\';
        rest = rest.get(at + 1 + usize::from(escaped)..)?;
        if !escaped {
            return Some(rest);
        }
    }
}

/// Whether an event of Anthropic's is a piece of a block as the API writes them: two kinds, a text, and the end.
fn is_usual_delta(data: &[u8]) -> bool {
    let behind_text = || {
        let place = data.strip_prefix(br#"{"type":"content_block_delta","index":"#)?.trim_ascii_start();
        let digits = place.iter().take_while(|b| b.is_ascii_digit()).count();
        let kind = behind_string(place[digits..].strip_prefix(br#","delta":{"type":""#)?)?;
        let text = behind_string(kind.strip_prefix(br#",""#)?)?.strip_prefix(br#":""#)?;
        behind_string(text)
    };
    let ends = |rest: &[u8]| rest.trim_ascii_start().strip_prefix(b"}").is_some_and(|rest| rest.trim_ascii() == b"}");
    behind_text().is_some_and(ends)
}

/// Whether a letter is written as an escape, which nobody has to: a key may be one of the words all the same.
fn spells_letters(escape: &Finder<'static>, data: &[u8]) -> bool {
    escape.find_iter(data).any(|at| matches!(data.get(at + escape.needle().len()), Some(b'4'..=b'7')))
}

impl Reader {
    /// Reads an event; whether it goes on. Nothing does before the answer begins (what comes then is no answer, or a comment that
    /// nobody waits for), and nothing after its end: a stream that failed must not look as if it had ended well. An error does not go
    /// on either, for it may tell the caller what only the gateway may know; it is in the facts, and the dialect tells it.
    fn passes(&mut self, raw: &[u8]) -> bool {
        if self.facts.ended || self.facts.error.is_some() {
            return false;
        }
        let forwards = self.forwards(raw);
        self.inside = true;
        forwards && self.facts.started && self.facts.error.is_none()
    }

    /// Reads an event; whether it is forwarded.
    fn forwards(&mut self, raw: &[u8]) -> bool {
        if let Some(data) = one_data(raw) {
            return self.read(raw, data);
        }
        // No data, or several lines of it, which the parser joins. It sees one event at most.
        let (mut parser, mut forward) = (parser(self.inside), true);
        let mut sink = |e: Event<'_>| forward = self.read(raw, e.data);
        let _ = parser.push(raw, &mut sink);
        parser.finish(&mut sink);
        forward
    }

    fn read(&mut self, raw: &[u8], data: &[u8]) -> bool {
        self.facts.events += 1;
        let inside = self.inside;
        match self.format {
            Format::OpenaiChat | Format::OpenaiCompletions => {
                if self.facts.started && self.facts.first_content && self.is_plain_chunk(data) {
                    return true;
                }
                self.read_chunk(data)
            }
            Format::AnthropicMessages => {
                if !(self.facts.first_content && self.is_plain_delta(data)) {
                    self.read_anthropic(raw, data);
                }
                true
            }
            Format::OpenaiResponses => {
                let piece = self.facts.first_content && responses::is_piece(data);
                if !piece && responses::read(&mut self.facts, &mut self.calls, || name_of(raw, inside), data) {
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
            f.error = Some(interrupted());
        }
    }

    // === OpenAI ===

    fn is_plain_chunk(&mut self, data: &[u8]) -> bool {
        if !self.plain.is_empty()
            && let Some(rest) = data.strip_prefix(&self.plain[..]).and_then(behind_string)
        {
            return self.tells_nothing(rest);
        }
        let plain = data.starts_with(b"{") && self.tells_nothing(data);
        self.plain.clear();
        if let Some(at) = self.words.content.find(data).filter(|at| plain && *at <= MAX_HEAD) {
            self.plain.extend_from_slice(&data[..at + self.words.content.needle().len()]);
        }
        plain
    }

    /// Whether a chunk, or the end of one from a place between two of its tokens, is none that must be read.
    fn tells_nothing(&self, data: &[u8]) -> bool {
        let w = &self.words;
        !tells(&w.finish, data, b"null")
            && !tells(&w.usage, data, b"null")
            && !tells(&w.error, data, b"null")
            // Another choice than the first, which must finish too. (Or another tool call, which costs a parse.)
            && !tells(&w.index, data, b"0")
            && !spells_letters(&w.escape, data)
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
        // As the decoder reads it: what is no index is the first choice.
        let index = c.take("index").and_then(|v| u32::try_from(v.u64()?).ok()).unwrap_or(0);
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

    /// It has one kind, and perhaps that of what it holds, which begins there. Of several kinds the last one counts.
    fn is_plain_delta(&self, data: &[u8]) -> bool {
        if is_usual_delta(data) {
            return true;
        }
        if !data.starts_with(br#"{"type":"content_block_delta""#) {
            return false;
        }
        let mut kinds = self.words.kind.find_iter(data).skip(1);
        let inside = kinds.next().is_none_or(|at| data[..at].trim_ascii_end().ends_with(b"{"));
        inside && kinds.next().is_none() && !spells_letters(&self.words.escape, data)
    }

    fn read_anthropic(&mut self, raw: &[u8], data: &[u8]) {
        let Ok(document) = Document::parse(data) else { return };
        let mut f = Fields::of(&document);
        let kind = f.take("type").and_then(Value::text).unwrap_or_else(|| name_of(raw, self.inside).into());
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
            // What cannot be read takes nothing away, as for the decoder.
            if let Some(usage) = Value::parse(&merged).and_then(anthropic_messages::read_usage) {
                self.facts.usage = Some(usage);
            }
            self.usage = Some(merged);
        }
    }
}

pub(super) fn take_text(slot: &mut Option<String>, f: &mut Fields<'_>, name: &str) {
    if slot.is_none() {
        *slot = f.take(name).and_then(Value::text).filter(|t| !t.is_empty()).map(|t| t.into_owned());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hub::{ChatAnswer, Collector};

    /// The answer that the decoder reads, and what the tap takes down.
    fn both(format: Format, sse: &str) -> (ChatAnswer, StreamFacts) {
        let (mut decoder, mut events) = (format.event_decoder(), Vec::new());
        decoder.push(sse.as_bytes(), &mut events);
        decoder.finish(&mut events);
        let mut collector = Collector::new(format);
        events.iter().for_each(|event| collector.push(event));
        let mut tap = StreamTap::new(format, false);
        tap.push(sse.as_bytes(), &mut Vec::new());
        tap.finish(&mut Vec::new());
        (collector.finish().unwrap(), tap.facts().clone())
    }

    #[test]
    fn the_rest_of_a_line_end_goes_where_its_event_went() {
        let chunk = r#"{"id":"i","choices":[{"index":0,"delta":{"content":"a"},"finish_reason":"stop"}]}"#;
        let usage = r#"{"id":"i","choices":[],"usage":{"prompt_tokens":1,"completion_tokens":1}}"#;
        let forwarded = format!(": wait\r\n\r\ndata: {chunk}\r\n\r\n");
        let end = "data: [DONE]\r\n\r\n";
        let sse = format!("{forwarded}data: {usage}\r\n\r\n{end}");
        for size in [1, 2, 7, sse.len()] {
            let (mut tap, mut out) = (StreamTap::new(Format::OpenaiChat, true), Vec::new());
            sse.as_bytes().chunks(size).for_each(|piece| tap.push(piece, &mut out));
            assert_eq!(String::from_utf8(out).unwrap(), format!("{forwarded}{end}"), "in pieces of {size}");
        }
    }

    #[test]
    fn a_last_event_of_several_lines_counts() {
        let sse = "data: {\"candidates\":[{\"finishReason\":\"STOP\"}],\"responseId\":\"r\"}\ndata:\n";
        let (answer, facts) = both(Format::GeminiGenerate, sse);
        assert_eq!((facts.ended, facts.finish), (true, answer.choices[0].finish.clone()));
    }

    #[test]
    fn a_last_word_that_is_no_event_of_the_format_does_not_go_on() {
        let event = "data: {\"candidates\":[{\"finishReason\":\"STOP\"}],\"responseId\":\"r\"}\n\n";
        let (mut tap, mut out) = (StreamTap::new(Format::GeminiGenerate, false), Vec::new());
        tap.push(format!("{event}data: [DONE]\n").as_bytes(), &mut out);
        tap.finish(&mut out);
        assert_eq!((String::from_utf8(out).unwrap(), tap.facts().ended), (event.to_owned(), true));
    }

    #[test]
    fn a_usage_that_is_none_takes_nothing_away() {
        let sse = [
            r#"{"type":"message_start","message":{"id":"i","model":"m","usage":{"input_tokens":9,"output_tokens":1}}}"#,
            r#"{"type":"message_delta","delta":{"stop_reason":"end_turn"},"usage":9}"#,
            r#"{"type":"message_delta","delta":{},"usage":{"output_tokens":2}}"#,
            r#"{"type":"message_stop"}"#,
        ];
        let (answer, facts) = both(Format::AnthropicMessages, &sse.map(|data| format!("data: {data}\n\n")).concat());
        assert_eq!(answer.usage.as_ref().map(|usage| (usage.input_tokens, usage.output_tokens)), Some((9, 2)));
        assert_eq!(facts.usage, answer.usage);
    }

    #[test]
    fn of_several_kinds_of_an_event_the_last_one_counts() {
        let delta = r#"{"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":"a"}}"#;
        let start = r#"{"type":"message_start","message":{"id":"i","model":"m","usage":{"input_tokens":9,"output_tokens":1}}}"#;
        let block = r#"{"type":"content_block_start","index":0,"content_block":{"type":"text","text":""}}"#;
        let end = r#"{"type":"message_delta","delta":{"stop_reason":"end_turn"},"usage":{"output_tokens":-1}}"#;
        let stop = delta.replace("\"delta\":", "\"type\":\"message_stop\",\"delta\":");
        for stop in [stop.as_str(), r#"{"type":"content_block_delta","type":"message_stop"}"#] {
            let sse = [start, block, delta, end, stop].map(|data| format!("data: {data}\n\n")).concat();
            let (answer, facts) = both(Format::AnthropicMessages, &sse);
            assert_eq!((facts.ended, facts.usage.as_ref().map(|usage| usage.input_tokens)), (true, Some(9)), "{stop}");
            assert_eq!(facts.usage, answer.usage);
        }
    }

    #[test]
    fn keys_may_be_spelled_with_escapes() {
        let chunk = |rest: &str| format!("data: {{\"id\":\"i\",\"choices\":[{{\"index\":0,\"delta\":{{\"content\":\"a\"}}{rest}}}]}}\n\n");
        let (answer, facts) = both(Format::OpenaiChat, &(chunk("") + &chunk(r#","fin\u0069sh_reason":"stop""#)));
        assert_eq!((facts.ended, facts.finish), (true, answer.choices[0].finish.clone()));
    }

    #[test]
    fn a_byte_order_mark_from_inside_does_not_become_the_first() {
        let chunk = |text: &str| {
            format!("data: {{\"candidates\":[{{\"content\":{{\"parts\":[{{\"text\":\"{text}\"}}]}},\"finishReason\":\"STOP\"}}]}}\n")
        };
        let sse = format!("\r\n\u{feff}{}{}\n", chunk("a"), chunk("b"));
        let (mut tap, mut out) = (StreamTap::new(Format::GeminiGenerate, false), Vec::new());
        tap.push(sse.as_bytes(), &mut out);
        assert_eq!(String::from_utf8(out).unwrap(), format!("\n{}", &sse[2..]));
    }

    #[test]
    fn a_byte_order_mark_is_one_at_the_beginning_only() {
        let chunk = r#"{"id":"i","choices":[{"index":0,"delta":{"content":"a"},"finish_reason":"stop"}]}"#;
        let usage = r#"{"choices":[],"usage":{"prompt_tokens":1,"completion_tokens":1}}"#;
        for (sse, has_usage) in [
            (format!("\u{feff}data: {chunk}\n\ndata: {usage}\n\n"), true),
            (format!("\u{feff}data: {chunk}\n\n\u{feff}data: {usage}\n\n"), false),
        ] {
            let (answer, facts) = both(Format::OpenaiChat, &sse);
            assert_eq!((facts.usage.is_some(), facts.usage), (has_usage, answer.usage), "{sse}");
        }
    }

    #[test]
    fn what_is_no_index_is_the_first_choice() {
        for index in ["18446744073709551615", "4294967296", "-1", "\"0\"", "null"] {
            let sse = format!(
                "data: {{\"id\":\"i\",\"choices\":[{{\"index\":{index},\"delta\":{{\"content\":\"a\"}},\"finish_reason\":\"stop\"}}]}}\n\n"
            );
            let (answer, facts) = both(Format::OpenaiChat, &sse);
            assert_eq!(facts.finish, Some(FinishReason::Stop), "{index}");
            assert_eq!(facts.finish, answer.choices[0].finish, "{index}");
        }
    }

    #[test]
    fn a_document_between_events_takes_the_lines_behind_it() {
        let candidate = r#"{"candidates":[{"content":{"parts":[{"text":"a"}]},"finishReason":"STOP"}],"responseId":"r"}"#;
        let sse = format!("data: {candidate}\n\n{{\n}}\ndata: {{\"usageMetadata\":{{\"promptTokenCount\":1}}}}\n\n");
        let (answer, facts) = both(Format::GeminiGenerate, &sse);
        assert_eq!((facts.ended, facts.usage), (true, answer.usage));
    }
}
