//! Server-sent events, as the WHATWG HTML standard has them (section 9.2.6), as push parsers: bytes go in cut anywhere, and the
//! same events come out.
//!
//! [`Parser`] gives the content of events. [`Splitter`] finds where raw events end, for a stream that is forwarded as it is.
//! What is absent: `id` and `retry`, which no model API uses, and reconnecting.
//!
//! One thing goes beyond the standard: a JSON object with `error` that stands bare among the events, without `data:`, is an event too. Servers
//! that fail in the middle of a stream end it with one, and it must not be taken for a line of no meaning.

use memchr::{memchr, memchr2};

use crate::json::Document;

/// Longest event, in bytes, unless said otherwise. A generated image in one event is a few megabytes; 32 MiB is the largest body.
pub const DEFAULT_LIMIT: usize = 32 * 1024 * 1024;

/// An event is longer than the limit; the parser takes nothing more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TooLong {
    /// The limit, in bytes.
    pub limit: usize,
}

impl std::fmt::Display for TooLong {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "an event is longer than {} bytes", self.limit)
    }
}

impl std::error::Error for TooLong {}

/// One event. `data` is the data lines joined by line feeds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Event<'a> {
    /// The event's name; empty when it has none (the standard then says `message`).
    pub name: &'a str,
    /// The data, as bytes: it may not be UTF-8 when the sender is broken.
    pub data: &'a [u8],
}

/// Finds line ends in a stream of chunks: LF, CR, CRLF, also when a chunk ends between CR and LF.
#[derive(Debug, Clone, Default)]
struct Lines {
    after_cr: bool,
}

impl Lines {
    /// Drops the LF of a CRLF that the last chunk cut; returns how many bytes that is.
    fn resume(&mut self, bytes: &[u8]) -> usize {
        let cut = self.after_cr && bytes.first() == Some(&b'\n');
        if !bytes.is_empty() {
            self.after_cr = false;
        }
        usize::from(cut)
    }

    /// The next line in `bytes`: (its length, its length with the line end). `None` when no line ends here.
    fn next(&mut self, bytes: &[u8]) -> Option<(usize, usize)> {
        let end = memchr2(b'\n', b'\r', bytes)?;
        if bytes[end] == b'\n' {
            return Some((end, end + 1));
        }
        match bytes.get(end + 1) {
            Some(b'\n') => Some((end, end + 2)),
            Some(_) => Some((end, end + 1)),
            None => {
                self.after_cr = true;
                Some((end, end + 1))
            }
        }
    }
}

/// SSE bytes to events.
#[derive(Debug, Clone)]
pub struct Parser {
    limit: usize,
    lines: Lines,
    /// The line that the last chunk cut.
    line: Vec<u8>,
    data: Vec<u8>,
    name: String,
    has_data: bool,
    /// The event is a bare JSON object.
    bare: bool,
    begun: bool,
    broken: bool,
}

impl Default for Parser {
    fn default() -> Self {
        Self::with_limit(DEFAULT_LIMIT)
    }
}

impl Parser {
    /// A parser that takes events of up to `limit` bytes.
    pub fn with_limit(limit: usize) -> Self {
        Self {
            limit,
            lines: Lines::default(),
            line: Vec::new(),
            data: Vec::new(),
            name: String::new(),
            has_data: false,
            bare: false,
            begun: false,
            broken: false,
        }
    }

    /// A parser of events from the middle of a stream: a byte order mark is one at the beginning of a stream only.
    pub(crate) fn inside() -> Self {
        Self { begun: true, ..Self::default() }
    }

    /// Takes bytes and hands out the events that they complete.
    ///
    /// # Errors
    /// An event is longer than the limit. From then on every call fails.
    pub fn push(&mut self, bytes: &[u8], sink: &mut dyn FnMut(Event<'_>)) -> Result<(), TooLong> {
        let mut rest = &bytes[self.lines.resume(bytes)..];
        while let Some((length, with_end)) = self.lines.next(rest) {
            self.grow(length)?;
            if self.line.is_empty() {
                self.take_line(&rest[..length], sink);
            } else {
                let mut line = std::mem::take(&mut self.line);
                line.extend_from_slice(&rest[..length]);
                self.take_line(&line, sink);
                line.clear();
                self.line = line;
            }
            rest = &rest[with_end..];
        }
        self.grow(rest.len())?;
        self.line.extend_from_slice(rest);
        Ok(())
    }

    /// The connection closed: hands out the event that is not followed by a blank line, which some servers forget.
    pub fn finish(&mut self, sink: &mut dyn FnMut(Event<'_>)) {
        if self.broken {
            return;
        }
        let line = std::mem::take(&mut self.line);
        if !line.is_empty() {
            self.take_line(&line, sink);
        }
        self.dispatch(sink);
    }

    fn grow(&mut self, by: usize) -> Result<(), TooLong> {
        self.broken |= self.line.len() + self.data.len() + by > self.limit;
        if self.broken { Err(TooLong { limit: self.limit }) } else { Ok(()) }
    }

    fn take_line(&mut self, line: &[u8], sink: &mut dyn FnMut(Event<'_>)) {
        let line = if std::mem::replace(&mut self.begun, true) { line } else { line.strip_prefix(b"\xef\xbb\xbf").unwrap_or(line) };
        if line.is_empty() {
            return self.dispatch(sink);
        }
        if self.bare || (!self.has_data && line.starts_with(b"{")) {
            self.bare = true;
            self.data.extend_from_slice(line);
            return self.data.push(b'\n');
        }
        let (field, value) = match memchr(b':', line) {
            Some(colon) => (&line[..colon], line[colon + 1..].strip_prefix(b" ").unwrap_or(&line[colon + 1..])),
            None => (line, &b""[..]),
        };
        match field {
            b"data" => {
                if std::mem::replace(&mut self.has_data, true) {
                    self.data.push(b'\n');
                }
                self.data.extend_from_slice(value);
            }
            b"event" => {
                self.name.clear();
                self.name.push_str(&String::from_utf8_lossy(value));
            }
            // A comment (nothing before the colon), `id`, `retry`, or something unknown.
            _ => {}
        }
    }

    fn dispatch(&mut self, sink: &mut dyn FnMut(Event<'_>)) {
        let bare = std::mem::take(&mut self.bare) && Document::parse(&self.data).is_ok_and(|d| d.get("error").is_some());
        if std::mem::take(&mut self.has_data) || bare {
            sink(Event { name: &self.name, data: &self.data });
        }
        self.data.clear();
        self.name.clear();
    }
}

/// Cuts a stream after each event's blank line, keeping every byte.
#[derive(Debug, Clone)]
pub struct Splitter {
    limit: usize,
    lines: Lines,
    /// The event that is not complete.
    held: Vec<u8>,
    /// Whether the line that is being read is empty so far.
    line_empty: bool,
}

impl Default for Splitter {
    fn default() -> Self {
        Self::with_limit(DEFAULT_LIMIT)
    }
}

impl Splitter {
    /// A splitter that takes events of up to `limit` bytes.
    pub fn with_limit(limit: usize) -> Self {
        Self { limit, lines: Lines::default(), held: Vec::new(), line_empty: true }
    }

    /// Takes bytes and hands out raw events, each with its line ends and its blank line.
    ///
    /// # Errors
    /// An event is longer than the limit.
    pub fn push(&mut self, bytes: &[u8], sink: &mut dyn FnMut(&[u8])) -> Result<(), TooLong> {
        let mut start = self.lines.resume(bytes);
        if start > 0 {
            // The LF of a CRLF that was cut belongs to what is before it.
            if self.held.is_empty() { sink(b"\n") } else { self.held.push(b'\n') }
        }
        let mut at = start;
        while let Some((length, with_end)) = self.lines.next(&bytes[at..]) {
            let blank = self.line_empty && length == 0;
            self.line_empty = true;
            at += with_end;
            if blank {
                if self.held.is_empty() {
                    sink(&bytes[start..at]);
                } else {
                    self.held.extend_from_slice(&bytes[start..at]);
                    sink(&self.held);
                    self.held.clear();
                }
                start = at;
            }
        }
        if at < bytes.len() {
            self.line_empty = false;
        }
        self.held.extend_from_slice(&bytes[start..]);
        if self.held.len() > self.limit { Err(TooLong { limit: self.limit }) } else { Ok(()) }
    }

    /// The beginning of an event that did not complete.
    pub fn held(&self) -> &[u8] {
        &self.held
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn events(chunks: &[&[u8]]) -> Vec<(String, String)> {
        let mut parser = Parser::default();
        let mut out = Vec::new();
        let mut sink = |e: Event<'_>| out.push((e.name.to_owned(), String::from_utf8_lossy(e.data).into_owned()));
        for chunk in chunks {
            parser.push(chunk, &mut sink).unwrap();
        }
        parser.finish(&mut sink);
        out
    }

    /// Whole, byte by byte, and cut in two at every place.
    fn check(input: &str, expect: &[(&str, &str)]) {
        let expect: Vec<(String, String)> = expect.iter().map(|(n, d)| ((*n).to_owned(), (*d).to_owned())).collect();
        let bytes = input.as_bytes();
        assert_eq!(events(&[bytes]), expect, "whole {input:?}");
        assert_eq!(events(&bytes.chunks(1).collect::<Vec<_>>()), expect, "byte by byte {input:?}");
        for at in 0..=bytes.len() {
            assert_eq!(events(&[&bytes[..at], &bytes[at..]]), expect, "{input:?} cut at {at}");
            let mut splitter = Splitter::default();
            let mut joined = Vec::new();
            for part in [&bytes[..at], &bytes[at..]] {
                splitter.push(part, &mut |raw| joined.extend_from_slice(raw)).unwrap();
            }
            joined.extend_from_slice(splitter.held());
            assert_eq!(joined, bytes, "split keeps the bytes of {input:?} cut at {at}");
        }
    }

    #[test]
    fn framing() {
        check("data: a\n\n", &[("", "a")]);
        check("data:a\r\n\r\ndata: b\r\n\r\n", &[("", "a"), ("", "b")]);
        check("data: a\r\rdata: b\r\r", &[("", "a"), ("", "b")]);
        check("\u{feff}data: a\n\n", &[("", "a")]);
        check("event: ping\ndata: {}\n\n", &[("ping", "{}")]);
        check("event:x\n\ndata: a\n\n", &[("", "a")]);
        check("data: a\ndata:  b\ndata\n\n", &[("", "a\n b\n")]);
        check(": comment\n\n:\n\ndata: a\n\n", &[("", "a")]);
        check("id: 7\nretry: 5\nnonsense\ndata: a\n\n", &[("", "a")]);
        check("data: a\n\ndata: [DONE]", &[("", "a"), ("", "[DONE]")]);
        check("data: a\n\ndata: b\n", &[("", "a"), ("", "b")]);
        check("data\n\n", &[("", "")]);
        check("\n\n\r\n", &[]);
        check("data: a\n\n{\n  \"error\": {}\r\n}\n", &[("", "a"), ("", "{\n  \"error\": {}\n}\n")]);
        check("data: {\n{\ndata: }\n\n", &[("", "{\n}")]);
        check("{\"x\": 1}\n\n{\"error\"\n\ndata: a\n\n", &[("", "a")]);
        check("", &[]);
        check("data: é\u{1f600}\n\n", &[("", "é\u{1f600}")]);
    }

    #[test]
    fn splitter_gives_whole_events_only() {
        let mut raw: Vec<Vec<u8>> = Vec::new();
        let mut splitter = Splitter::default();
        for chunk in ["data: a\n", "\nda", "ta: b\r\n\r", "\n", "data: c\n\ndata: d\n\ndata: e"] {
            splitter.push(chunk.as_bytes(), &mut |e| raw.push(e.to_vec())).unwrap();
        }
        let raw: Vec<_> = raw.iter().map(|e| String::from_utf8_lossy(e).into_owned()).collect();
        assert_eq!(raw, ["data: a\n\n", "data: b\r\n\r", "\n", "data: c\n\n", "data: d\n\n"]);
        assert_eq!(splitter.held(), b"data: e");
    }

    #[test]
    fn an_event_over_the_limit_is_refused() {
        for chunk in [3, 1000] {
            let mut parser = Parser::with_limit(100);
            let long = format!("data: {}\n\n", "x".repeat(200));
            let results: Vec<_> = long.as_bytes().chunks(chunk).map(|c| parser.push(c, &mut |_| panic!("no event"))).collect();
            assert_eq!(results.last(), Some(&Err(TooLong { limit: 100 })));
            parser.finish(&mut |_| panic!("no event"));
        }
        let mut parser = Parser::with_limit(100);
        let mut count = 0;
        for _ in 0..50 {
            parser.push(b"data: 12345678901234567890\n\n", &mut |_| count += 1).unwrap();
        }
        assert_eq!(count, 50, "the limit is per event");
    }
}
