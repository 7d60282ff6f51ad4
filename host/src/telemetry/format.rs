//! How a line of the log looks: the same text and the same JSON as the usual formats of `tracing`, written in one pass.
//!
//! A small request has one line, and with the usual formatter and a span it cost a tenth of it: fields were formatted for the span, looked up again,
//! and passed through `Debug` one by one. Here a line is written into a buffer of the thread, and what is said within a request has its id from
//! [`within`].

use std::cell::RefCell;
use std::fmt::{self, Write as _};
use std::future::Future;
use std::marker::PhantomData;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use time::OffsetDateTime;
use tracing::field::{Field, Visit};
use tracing::{Event, Level, Subscriber};
use tracing_log::NormalizeEvent as _;
use tracing_subscriber::Layer;
use tracing_subscriber::layer::Context;

use super::lines::Lines;
use crate::config::LogFormat;

/// A buffer that one long line made larger than this is not kept.
const KEPT: usize = 16 << 10;

tokio::task_local! {
    /// The id of the request that is worked on.
    static REQUEST: Arc<str>;
}

thread_local! {
    static LINE: RefCell<String> = const { RefCell::new(String::new()) };
    /// The second that was written last, and how.
    static SECOND: RefCell<(u64, String)> = const { RefCell::new((u64::MAX, String::new())) };
}

/// Lines that are written meanwhile are of this request.
pub fn within<F: Future>(id: Arc<str>, work: F) -> impl Future<Output = F::Output> {
    REQUEST.scope(id, work)
}

/// Writes each event as a line.
pub struct Format {
    pub to: Lines,
    pub format: LogFormat,
    /// For a terminal.
    pub colours: bool,
}

impl<S: Subscriber> Layer<S> for Format {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        LINE.with(|line| match line.try_borrow_mut() {
            Ok(mut line) => {
                self.line(&mut line, event);
                if line.capacity() > KEPT {
                    *line = String::new();
                }
            }
            // What is written says something itself.
            Err(_) => self.line(&mut String::new(), event),
        });
    }
}

impl Format {
    fn line(&self, line: &mut String, event: &Event<'_>) {
        line.clear();
        let normalized = event.normalized_metadata();
        let about = normalized.as_ref().unwrap_or_else(|| event.metadata());
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        match self.format {
            LogFormat::Text => {
                if self.colours {
                    line.push_str("\x1b[2m");
                }
                timestamp(line, now);
                line.push_str(level(*about.level(), self.colours));
                with_request(|id| {
                    line.push_str("request{id=");
                    quoted(line, id);
                    line.push_str("}: ");
                });
                line.push_str(about.target());
                line.push(':');
                event.record(&mut Fields::<Text>::of(line));
            }
            LogFormat::Json => {
                line.push_str("{\"timestamp\":\"");
                timestamp(line, now);
                line.push_str("\",\"level\":\"");
                line.push_str(about.level().as_str());
                line.push('"');
                event.record(&mut Fields::<Json>::of(line));
                line.push_str(",\"target\":");
                json(line, about.target());
                with_request(|id| {
                    line.push_str(",\"span\":{\"id\":");
                    json(line, id);
                    line.push_str(",\"name\":\"request\"}");
                });
                line.push('}');
            }
        }
        line.push('\n');
        self.to.add(line.as_bytes());
    }
}

fn with_request(then: impl FnOnce(&str)) {
    // There is none outside of requests.
    let _ = REQUEST.try_with(|id| then(id));
}

/// `2026-11-28T03:15:14.123456Z`. The calendar is asked once in a second.
fn timestamp(line: &mut String, now: Duration) {
    SECOND.with_borrow_mut(|(second, written)| {
        if *second != now.as_secs() {
            *second = now.as_secs();
            let at = i64::try_from(now.as_secs()).ok().and_then(|s| OffsetDateTime::from_unix_timestamp(s).ok());
            let at = at.unwrap_or(OffsetDateTime::UNIX_EPOCH);
            written.clear();
            let (date, time) = (at.date(), at.time());
            let (month, day) = (u8::from(date.month()), date.day());
            let _ = write!(written, "{:04}-{month:02}-{day:02}T{:02}:{:02}:{:02}", date.year(), time.hour(), time.minute(), time.second());
        }
        line.push_str(written);
    });
    let _ = write!(line, ".{:06}Z", now.subsec_micros());
}

/// Between the time and what follows; it ends what is dim.
fn level(level: Level, colours: bool) -> &'static str {
    match (level, colours) {
        (Level::ERROR, false) => " ERROR ",
        (Level::WARN, false) => "  WARN ",
        (Level::INFO, false) => "  INFO ",
        (Level::DEBUG, false) => " DEBUG ",
        (Level::TRACE, false) => " TRACE ",
        (Level::ERROR, true) => "\x1b[0m \x1b[31mERROR\x1b[0m ",
        (Level::WARN, true) => "\x1b[0m \x1b[33m WARN\x1b[0m ",
        (Level::INFO, true) => "\x1b[0m \x1b[32m INFO\x1b[0m ",
        (Level::DEBUG, true) => "\x1b[0m \x1b[34mDEBUG\x1b[0m ",
        (Level::TRACE, true) => "\x1b[0m \x1b[35mTRACE\x1b[0m ",
    }
}

/// Members of `log` records that say where they come from, which [`NormalizeEvent`](tracing_log::NormalizeEvent) has made the event's own.
fn is_origin(field: &Field) -> bool {
    field.name().starts_with("log.")
}

/// A field's name as it was meant.
fn name(field: &Field) -> &str {
    field.name().trim_start_matches("r#")
}

/// How fields are written.
trait Shape {
    /// What stands before a value.
    fn name(line: &mut String, field: &Field);

    /// A text.
    fn text(line: &mut String, field: &Field, value: &str);

    /// What only says how it is to be shown.
    fn shown(line: &mut String, value: &dyn fmt::Debug);

    /// A number that may have a fraction.
    fn fraction(line: &mut String, value: f64);
}

/// Writes the fields of an event, in one pass.
struct Fields<'a, S>(&'a mut String, PhantomData<S>);

impl<'a, S: Shape> Fields<'a, S> {
    fn of(line: &'a mut String) -> Self {
        Self(line, PhantomData)
    }

    fn value(&mut self, field: &Field, write: impl FnOnce(&mut String)) {
        if !is_origin(field) {
            S::name(self.0, field);
            write(self.0);
        }
    }

    fn plain(&mut self, field: &Field, value: impl fmt::Display) {
        self.value(field, |line| put(line, format_args!("{value}")));
    }
}

impl<S: Shape> Visit for Fields<'_, S> {
    fn record_str(&mut self, field: &Field, value: &str) {
        self.value(field, |line| S::text(line, field, value));
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.value(field, |line| S::shown(line, value));
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.plain(field, value);
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.plain(field, value);
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.plain(field, value);
    }

    fn record_f64(&mut self, field: &Field, value: f64) {
        self.value(field, |line| S::fraction(line, value));
    }
}

/// The message as it is, then ` name=value`.
struct Text;

impl Shape for Text {
    fn name(line: &mut String, field: &Field) {
        line.push(' ');
        if field.name() != "message" {
            line.push_str(name(field));
            line.push('=');
        }
    }

    fn text(line: &mut String, field: &Field, value: &str) {
        if field.name() == "message" {
            put(&mut Printable(line), format_args!("{value}"));
        } else {
            quoted(line, value);
        }
    }

    fn shown(line: &mut String, value: &dyn fmt::Debug) {
        put(&mut Printable(line), format_args!("{value:?}"));
    }

    fn fraction(line: &mut String, value: f64) {
        put(line, format_args!("{value:?}"));
    }
}

/// Passes on what a terminal shows; what it would act on is written as a number.
struct Printable<'a>(&'a mut String);

impl fmt::Write for Printable<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let acts = |c: char| c.is_control() && c != '\n' && c != '\t';
        if !text.contains(acts) {
            self.0.push_str(text);
            return Ok(());
        }
        text.chars().try_for_each(|c| if acts(c) { write!(self.0, "\\u{{{:x}}}", u32::from(c)) } else { self.0.write_char(c) })
    }
}

/// Writes into a text, which takes everything.
fn put(line: &mut impl fmt::Write, text: fmt::Arguments<'_>) {
    let _ = line.write_fmt(text);
}

/// In quotes, as `Debug` writes it.
fn quoted(line: &mut String, text: &str) {
    if text.bytes().all(|b| (b' '..=b'~').contains(&b) && b != b'"' && b != b'\\') {
        line.push('"');
        line.push_str(text);
        line.push('"');
    } else {
        let _ = write!(line, "{text:?}");
    }
}

/// `,"name":value`.
struct Json;

impl Shape for Json {
    fn name(line: &mut String, field: &Field) {
        line.push(',');
        json(line, name(field));
        line.push(':');
    }

    fn text(line: &mut String, _: &Field, value: &str) {
        json(line, value);
    }

    fn shown(line: &mut String, value: &dyn fmt::Debug) {
        json(line, &format!("{value:?}"));
    }

    fn fraction(line: &mut String, value: f64) {
        // JSON has no other numbers.
        if value.is_finite() { put(line, format_args!("{value:?}")) } else { line.push_str("null") }
    }
}

/// A string of JSON.
fn json(line: &mut String, text: &str) {
    line.push('"');
    let mut rest = text;
    while let Some(at) = rest.bytes().position(|b| b < b' ' || b == b'"' || b == b'\\') {
        let (before, after) = rest.split_at(at);
        line.push_str(before);
        match after.as_bytes()[0] {
            b'"' => line.push_str("\\\""),
            b'\\' => line.push_str("\\\\"),
            b'\n' => line.push_str("\\n"),
            b'\r' => line.push_str("\\r"),
            b'\t' => line.push_str("\\t"),
            other => put(line, format_args!("\\u{other:04x}")),
        }
        rest = &after[1..];
    }
    line.push_str(rest);
    line.push('"');
}

#[cfg(test)]
mod tests {
    use std::io;
    use std::sync::Mutex;

    use serde_json::{Value, json};
    use tracing_subscriber::layer::SubscriberExt as _;

    use super::super::lines;
    use super::*;

    #[derive(Clone, Default)]
    struct Kept(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Kept {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    /// What is written while this runs.
    fn written(format: LogFormat, colours: bool, says: impl FnOnce()) -> String {
        let kept = Kept::default();
        let (to, guard) = lines::start(kept.clone(), "test").unwrap();
        tracing::subscriber::with_default(tracing_subscriber::registry().with(Format { to, format, colours }), says);
        drop(guard);
        String::from_utf8(kept.0.lock().unwrap().clone()).unwrap()
    }

    fn everything() {
        let says = || {
            let nothing: Option<u64> = None;
            let (many, minus) = (7_u64, -7_i64);
            tracing::info!(many, minus, nothing, yes = true, part = 0.5, whole = 2.0, text = "a \"b\"\n\u{1b}[31m", other = ?Some("x"), shown = %"é", "said {}", 1);
        };
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(within("id-1".into(), async { says() }));
        tracing::error!(target: "access", "plain\u{1b}[31m \u{9b}text\nand more");
    }

    #[test]
    fn lines_of_text() {
        let text = written(LogFormat::Text, false, everything);
        let (first, second) = text.split_once('\n').unwrap();
        let (time, rest) = first.split_once(' ').unwrap();
        OffsetDateTime::parse(time, &time::format_description::well_known::Rfc3339).expect("a time");
        assert_eq!((time.len(), &time[19..20]), (27, "."), "{time}");
        let target = "wasmgate::telemetry::format::tests";
        let fields = "many=7 minus=-7 yes=true part=0.5 whole=2.0 text=\"a \\\"b\\\"\\n\\u{1b}[31m\" other=Some(\"x\") shown=é";
        assert_eq!(rest, format!(" INFO request{{id=\"id-1\"}}: {target}: said 1 {fields}"));
        assert_eq!(second.split_once(' ').unwrap().1, "ERROR access: plain\\u{1b}[31m \\u{9b}text\nand more\n");
    }

    #[test]
    fn lines_of_json() {
        let text = written(LogFormat::Json, false, everything);
        let lines: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
        let mut first = lines[0].clone();
        first.as_object_mut().unwrap().remove("timestamp").expect("a time");
        let expect = json!({
            "level": "INFO", "message": "said 1", "many": 7, "minus": -7, "yes": true, "part": 0.5, "whole": 2.0, "text": "a \"b\"\n\u{1b}[31m",
            "other": "Some(\"x\")", "shown": "é", "target": "wasmgate::telemetry::format::tests", "span": {"id": "id-1", "name": "request"},
        });
        assert_eq!(first, expect);
        assert_eq!((&lines[1]["message"], lines.len()), (&json!("plain\u{1b}[31m \u{9b}text\nand more"), 2));
    }

    #[test]
    fn colours_are_for_terminals() {
        let text = written(LogFormat::Text, true, || tracing::warn!("x"));
        assert!(text.starts_with("\x1b[2m2") && text.contains("Z\x1b[0m \x1b[33m WARN\x1b[0m wasmgate::"), "{text:?}");
    }
}
