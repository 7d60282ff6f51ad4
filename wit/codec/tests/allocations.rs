//! How much memory the codec asks for in all, in relation to the document: a conversation is copied as often as its parts are taken, and
//! no more. Counted, not timed.

mod conversation;

use allocation_counter::{AllocationInfo, measure};
use conversation::{FORMATS, answer, many_messages, one_text, options};
use llm_codec::{EncodeOptions, Format};

const BYTES: usize = 1 << 20;
const LINE: &str = "A line of the text, with nothing in it that has to be escaped; ";

/// What was asked for, in hundredths of the document, and what it may be at most.
#[derive(Default)]
struct Bounds(Vec<String>);

impl Bounds {
    fn check(&mut self, what: &str, format: Format, info: AllocationInfo, bytes: usize, most: u64) {
        let found = info.bytes_total * 100 / bytes as u64;
        let line = format!("{what} of {}: {bytes} bytes, {} allocations of {found} % in all", format.as_str(), info.count_total);
        println!("{line}");
        if found > most {
            self.0.push(format!("{line}, at most {most} %"));
        }
    }

    fn decode(&mut self, format: Format, body: &[u8], most: u64) {
        let info = measure(|| drop(format.decode_request(body).unwrap()));
        self.check("decode", format, info, body.len(), most);
    }

    fn encode(&mut self, format: Format, body: &[u8], most: u64) {
        let hub = format.decode_request(body).unwrap();
        let info = measure(|| drop(format.encode_request(&hub, &EncodeOptions::default())));
        self.check("encode", format, info, body.len(), most);
    }

    fn hold(self) {
        assert!(self.0.is_empty(), "{:#?}", self.0);
    }
}

#[test]
fn a_text_without_escapes_is_taken_once() {
    let mut bounds = Bounds::default();
    for format in FORMATS {
        let body = one_text(format, &LINE.repeat(BYTES / LINE.len()));
        bounds.decode(format, &body, 105);
        bounds.encode(format, &body, 115);
    }
    bounds.hold();
}

#[test]
fn a_text_with_escapes_is_taken_once() {
    let mut bounds = Bounds::default();
    for format in FORMATS {
        let body = one_text(format, &format!("{LINE}\n").repeat(BYTES / LINE.len()));
        bounds.decode(format, &body, 105);
        bounds.encode(format, &body, 115);
    }
    bounds.hold();
}

/// Of many short messages the records are as large as the texts. Still each text is taken once, and a request is written once.
#[test]
fn many_messages_are_copied_once() {
    let mut bounds = Bounds::default();
    for format in FORMATS {
        let body = many_messages(format, BYTES);
        bounds.decode(format, &body, 320);
        bounds.encode(format, &body, 280);
    }
    bounds.hold();
}

#[test]
fn an_answer_is_copied_once() {
    let mut bounds = Bounds::default();
    for format in FORMATS {
        let hub = answer(format, BYTES);
        let body = format.encode_answer(&hub, &options()).body;
        let info = measure(|| drop(format.encode_answer(&hub, &options())));
        // A completion has one text, which is put together from the answer's parts first.
        let most = if format == Format::OpenaiCompletions { 210 } else { 150 };
        bounds.check("encode an answer", format, info, body.len(), most);
        let info = measure(|| drop(format.decode_answer(&body).unwrap()));
        bounds.check("decode an answer", format, info, body.len(), 150);
    }
    bounds.hold();
}
