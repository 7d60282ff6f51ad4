//! Server-sent events: any cut gives the same events, and the splitter loses no byte.

use llm_codec::sse::{Event, Parser, Splitter, TooLong};

use crate::cut;

/// Small enough that inputs reach it.
const LIMIT: usize = 256;

/// Checks one stream.
pub fn check(bytes: &[u8]) {
    let whole = events(&[bytes]);
    for pieces in [cut::anywhere(bytes), cut::everywhere(bytes)] {
        assert_eq!(events(&pieces), whole, "another cut gives other events");
        let raw = split(&pieces);
        assert_eq!(raw.concat(), bytes, "the splitter changed bytes");
        // What the splitter forwards event by event reads as the whole stream does.
        assert_eq!(events(&raw.iter().map(Vec::as_slice).collect::<Vec<_>>()), whole, "split events read differently");
    }
    limited(&[bytes]);
    limited(&cut::anywhere(bytes));
}

fn events(pieces: &[&[u8]]) -> Vec<(String, Vec<u8>)> {
    let (mut parser, mut found) = (Parser::default(), Vec::new());
    let mut sink = |e: Event<'_>| found.push((e.name.to_owned(), e.data.to_vec()));
    pieces.iter().for_each(|piece| parser.push(piece, &mut sink).expect("far below the limit"));
    parser.finish(&mut sink);
    found
}

/// Whole events, and last what is held back.
fn split(pieces: &[&[u8]]) -> Vec<Vec<u8>> {
    let (mut splitter, mut raw) = (Splitter::default(), Vec::new());
    pieces.iter().for_each(|piece| splitter.push(piece, &mut |event| raw.push(event.to_vec())).expect("far below the limit"));
    raw.push(splitter.held().to_vec());
    raw
}

/// No event is longer than the limit, and after a refusal nothing comes any more.
fn limited(pieces: &[&[u8]]) {
    let mut parser = Parser::with_limit(LIMIT);
    let mut refused = false;
    for piece in pieces {
        let mut came = false;
        let result = parser.push(piece, &mut |event| {
            came = true;
            assert!(event.data.len() <= LIMIT, "an event of {} bytes came through", event.data.len());
        });
        assert!(!(refused && came), "an event came after the refusal");
        assert!(!refused || result == Err(TooLong { limit: LIMIT }), "the refusal was forgotten");
        refused |= result.is_err();
    }
    parser.finish(&mut |_| assert!(!refused, "an event came after the refusal"));
}
