//! Streams: the decoder and the tap see the same however a stream is cut, and agree about how it ended.

use llm_codec::hub::{ChatAnswer, ChatError, Collector, StreamEvent};
use llm_codec::passthrough::{StreamFacts, StreamTap};
use llm_codec::{Format, StreamOptions};

use crate::request::show;
use crate::{cut, same};

/// Checks one stream.
pub fn check(format: Format, bytes: &[u8]) {
    let whole = decode(format, &[bytes]);
    for pieces in [cut::anywhere(bytes), cut::everywhere(bytes)] {
        assert_eq!(decode(format, &pieces), whole, "another cut gives other events");
    }
    let is_end = |e: &StreamEvent| matches!(e, StreamEvent::End | StreamEvent::Error(_));
    assert_eq!(whole.iter().filter(|e| is_end(e)).count(), 1, "a stream ends once: {whole:?}");
    assert!(whole.last().is_some_and(is_end), "something follows the end: {whole:?}");

    let answer = collect(format, &whole);
    if same::is_deep(bytes) {
        return;
    }
    for target in Format::ALL {
        let out = encode(target, &whole);
        let there = collected(target, &out);
        // A client takes a chunk with an error for one, whatever else is in it.
        let failed = answer.as_ref().is_ok_and(|a| a.extras.iter().any(|e| e.name == "error"));
        assert!(failed || there.is_ok() == answer.is_ok(), "{} tells another end: {answer:?}\n{}\n{there:?}", target.as_str(), show(&out));
        if let Ok(there) = there {
            // What was left out is filled in once, and then stays.
            let again = collected(target, &encode(target, &decode(target, &[&out])));
            let again = again.unwrap_or_else(|e| panic!("{} refuses its own stream: {e:?}: {}", target.as_str(), show(&out)));
            same::check("another answer came back", &told(target, &there), &told(target, &again));
        }
    }
    tap(format, bytes, &answer);
}

/// The events of a stream in pieces.
fn decode(format: Format, pieces: &[&[u8]]) -> Vec<StreamEvent> {
    let (mut decoder, mut events) = (format.event_decoder(), Vec::new());
    pieces.iter().for_each(|piece| decoder.push(piece, &mut events));
    decoder.finish(&mut events);
    events
}

/// Events as a stream.
pub(crate) fn encode(format: Format, events: &[StreamEvent]) -> Vec<u8> {
    let mut out = Vec::new();
    format.event_encoder(StreamOptions { include_usage: true, ..StreamOptions::default() }).events(events, &mut out);
    out
}

/// The answer that a stream tells.
pub(crate) fn collected(format: Format, bytes: &[u8]) -> Result<ChatAnswer, ChatError> {
    collect(format, &decode(format, &[bytes]))
}

/// What an answer says; a stream need not repeat that something is not there.
fn told(format: Format, answer: &ChatAnswer) -> serde_json::Value {
    same::without_nulls(same::written(&format.encode_answer(answer, &StreamOptions::default()).body))
}

fn collect(format: Format, events: &[StreamEvent]) -> Result<ChatAnswer, ChatError> {
    let mut collector = Collector::new(format);
    events.iter().for_each(|e| collector.push(e));
    collector.finish()
}

fn tap(format: Format, bytes: &[u8], answer: &Result<ChatAnswer, ChatError>) {
    let (out, facts) = tapped(format, &[bytes], false);
    for pieces in [cut::anywhere(bytes), cut::everywhere(bytes)] {
        assert_eq!(tapped(format, &pieces, false), (out.clone(), facts.clone()), "another cut gives another stream");
    }
    let (fewer, same) = tapped(format, bytes.chunks(7).collect::<Vec<_>>().as_slice(), true);
    assert_eq!(same, facts, "dropping the usage chunk changes what is seen");
    assert!(fewer.len() <= out.len());
    // A clean end and an error exclude each other, and one of them is known at the end.
    assert_ne!(facts.ended, facts.error.is_some(), "{facts:?}");
    assert!(out.is_empty() || facts.started, "bytes went out before the answer began");
    // A document or an array in place of events is for the decoder; a tap runs on events only.
    if matches!(bytes.trim_ascii_start().first(), Some(b'{' | b'<' | b'[')) {
        return;
    }
    if let Ok(answer) = answer {
        assert_eq!(facts.error, None, "the decoder sees an answer");
        assert_eq!(facts.usage, answer.usage, "the tap sees another usage");
        if let Some(first) = answer.choices.first().filter(|c| c.index == 0) {
            assert_eq!(facts.finish, first.finish, "the tap sees another end");
        }
    }
    // What went out is what the client reads, with the error behind it that the dialect writes: it must tell the same.
    let failure = facts.error.map(StreamEvent::Error);
    let sent = [out.as_slice(), &encode(format, failure.as_slice())].concat();
    let there = collected(format, if failure.is_some() { &sent } else { &out });
    match answer {
        Ok(answer) => assert_eq!(there.as_ref(), Ok(answer), "the client reads another answer"),
        Err(_) => assert!(failure.is_none() || there.is_err(), "the client takes a failed stream for an answer: {}", show(&sent)),
    }
}

fn tapped(format: Format, pieces: &[&[u8]], drop_usage_chunk: bool) -> (Vec<u8>, StreamFacts) {
    let (mut tap, mut out) = (StreamTap::new(format, drop_usage_chunk), Vec::new());
    pieces.iter().for_each(|piece| tap.push(piece, &mut out));
    tap.finish(&mut out);
    let facts = tap.facts().clone();
    (out, facts)
}
