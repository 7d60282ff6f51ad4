//! Streams read the same however they are cut, and tell the same in every format.

use llm_codec::formats::{Codec as _, GeminiList};
use llm_codec::hub::*;
use llm_codec::passthrough::StreamTap;
use llm_codec::sse::{Event, Parser, Splitter};
use llm_codec::{Format, StreamOptions};
use proptest::prelude::*;
use serde_json::Value;

use crate::make;

fn pieces<'a>(bytes: &'a [u8], cuts: &[prop::sample::Index]) -> Vec<&'a [u8]> {
    let mut at: Vec<usize> = cuts.iter().map(|c| c.index(bytes.len() + 1)).collect();
    at.sort_unstable();
    let ends = at.iter().copied().chain([bytes.len()]);
    let starts = [0].into_iter().chain(at.iter().copied());
    starts.zip(ends).map(|(start, end)| &bytes[start..end]).collect()
}

fn decode(format: Format, pieces: &[&[u8]]) -> Vec<StreamEvent> {
    let (mut decoder, mut events) = (format.event_decoder(), Vec::new());
    pieces.iter().for_each(|piece| decoder.push(piece, &mut events));
    decoder.finish(&mut events);
    events
}

fn encode(format: Format, events: &[StreamEvent]) -> Vec<u8> {
    let mut out = Vec::new();
    format.event_encoder(StreamOptions { include_usage: true, ..StreamOptions::default() }).events(events, &mut out);
    out
}

fn collect(format: Format, events: &[StreamEvent]) -> Result<ChatAnswer, ChatError> {
    let mut collector = Collector::new(format);
    events.iter().for_each(|e| collector.push(e));
    collector.finish()
}

/// The events of an answer with all calls open at once and their arguments torn and interleaved.
fn interleaved(answer: &ChatAnswer, order: &[prop::sample::Index]) -> Vec<StreamEvent> {
    let events = answer_events(answer);
    let is_call = |at: &BlockId| matches!(answer.choices[0].parts[at.block as usize].kind, PartKind::ToolCall(_));
    let (mut before, mut starts, mut stops, mut after) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    let mut torn: Vec<(BlockId, Vec<String>)> = Vec::new();
    for event in events {
        match event {
            StreamEvent::BlockStart(ref s) if is_call(&s.at) => starts.push(event),
            StreamEvent::BlockDelta(BlockDelta { at, delta: Delta::Arguments(text), .. }) => {
                torn.push((at, text.chars().rev().map(String::from).collect()))
            }
            StreamEvent::BlockStop(ref at) if is_call(at) => stops.push(event),
            StreamEvent::Finish(_) | StreamEvent::Usage(_) | StreamEvent::End => after.push(event),
            _ => before.push(event),
        }
    }
    let mut deltas = Vec::new();
    for step in 0.. {
        torn.retain(|(_, rest)| !rest.is_empty());
        if torn.is_empty() {
            break;
        }
        let pick = if order.is_empty() { 0 } else { order[step % order.len()].index(torn.len()) };
        let (at, rest) = &mut torn[pick];
        deltas.push(StreamEvent::BlockDelta(BlockDelta { at: *at, delta: Delta::Arguments(rest.pop().unwrap()), extras: Vec::new() }));
    }
    [before, starts, deltas, stops, after].concat()
}

type Told = (Vec<PartKind>, Option<FinishReason>, Option<(u64, u64, u64)>);

/// What both formats can tell of an answer.
fn told(a: &ChatAnswer) -> Told {
    let parts = a.choices.first().into_iter().flat_map(|c| &c.parts).map(|p| match p.kind.clone() {
        PartKind::Thinking(t) => PartKind::Thinking(Thinking { signature: t.signature.filter(|s| !s.is_empty()), ..t }),
        kind => kind,
    });
    let usage = a.usage.as_ref().map(|u| (u.input_tokens, u.cache_read_tokens.unwrap_or(0), u.output_tokens));
    (parts.collect(), a.choices.first().and_then(|c| c.finish.clone()), usage)
}

/// `message_start` first, blocks one by one and closed, one `message_delta`, `message_stop` last.
fn anthropic_grammar(bytes: &[u8]) -> Result<(), TestCaseError> {
    let mut kinds = Vec::new();
    let mut parser = Parser::default();
    parser
        .push(bytes, &mut |e| {
            let data: Value = serde_json::from_slice(e.data).unwrap();
            assert_eq!(data["type"], e.name);
            kinds.push((e.name.to_owned(), data["index"].as_u64()));
        })
        .unwrap();
    let kind = |i: usize| kinds[i].0.as_str();
    prop_assert_eq!((kind(0), kind(kinds.len() - 2), kind(kinds.len() - 1)), ("message_start", "message_delta", "message_stop"));
    let (mut open, mut next) = (None, 0);
    for (kind, index) in &kinds[1..kinds.len() - 2] {
        match kind.as_str() {
            "content_block_start" => {
                prop_assert_eq!((open, *index), (None, Some(next)));
                open = *index;
                next += 1;
            }
            "content_block_delta" => prop_assert_eq!(*index, open),
            "content_block_stop" => {
                prop_assert_eq!(*index, open);
                open = None;
            }
            other => prop_assert!(false, "{} in the middle", other),
        }
    }
    prop_assert_eq!(open, None);
    Ok(())
}

/// Every chunk has what clients' types promise; the role comes first; usage last; `[DONE]` ends it.
fn openai_grammar(bytes: &[u8]) -> Result<(), TestCaseError> {
    let text = std::str::from_utf8(bytes).unwrap();
    let data: Vec<&str> = text.split("\n\n").filter_map(|e| e.strip_prefix("data: ")).collect();
    prop_assert_eq!(data.last(), Some(&"[DONE]"));
    let chunks: Vec<Value> = data[..data.len() - 1].iter().map(|d| serde_json::from_str(d).unwrap()).collect();
    prop_assert_eq!(&chunks[0]["choices"][0]["delta"]["role"], "assistant");
    for (i, chunk) in chunks.iter().enumerate() {
        prop_assert_eq!(&chunk["object"], "chat.completion.chunk");
        prop_assert!(chunk["id"].is_string() && chunk["model"].is_string() && chunk["created"].is_u64());
        let empty = chunk["choices"].as_array().unwrap().is_empty();
        prop_assert_eq!(empty, chunk["usage"].is_object());
        prop_assert!(!empty || i + 1 == chunks.len());
    }
    Ok(())
}

/// Numbered events from `response.created` to the one that has the whole answer; every item and every part begins and ends, and what the
/// deltas told is what their end tells.
fn responses_grammar(bytes: &[u8]) -> Result<(), TestCaseError> {
    let mut events: Vec<Value> = Vec::new();
    let sink = &mut |e: Event<'_>| {
        let data: Value = serde_json::from_slice(e.data).unwrap();
        assert_eq!(data["type"], e.name);
        events.push(data);
    };
    Parser::default().push(bytes, sink).unwrap();
    let kind = |e: &Value| e["type"].as_str().unwrap().to_owned();
    prop_assert_eq!((kind(&events[0]), kind(&events[1])), ("response.created".into(), "response.in_progress".into()));
    prop_assert!(["response.completed", "response.incomplete"].contains(&kind(events.last().unwrap()).as_str()));
    let (mut begun, mut done, mut parts, mut told) = (0, Vec::new(), 0, std::collections::BTreeMap::<_, String>::new());
    for (number, e) in events.iter().enumerate() {
        prop_assert_eq!(e["sequence_number"].as_u64(), Some(number as u64));
        let place = (e["output_index"].as_u64(), e["content_index"].as_u64());
        match kind(e).as_str() {
            "response.output_item.added" => {
                prop_assert_eq!(place.0, Some(begun));
                begun += 1;
            }
            "response.output_item.done" => done.push((place.0.unwrap(), &e["item"])),
            "response.content_part.added" => parts += 1,
            "response.content_part.done" => parts -= 1,
            other if other.ends_with(".delta") => told.entry(place).or_default().push_str(e["delta"].as_str().unwrap()),
            "response.output_text.done" => prop_assert_eq!(&e["text"], told[&place].as_str()),
            "response.reasoning_summary_text.done" => prop_assert_eq!(&e["text"], told[&place].as_str()),
            "response.function_call_arguments.done" => prop_assert_eq!(&e["arguments"], told[&place].as_str()),
            _ => {}
        }
    }
    done.sort_by_key(|(index, _)| *index);
    prop_assert_eq!((done.len() as u64, parts), (begun, 0));
    let items: Value = done.into_iter().map(|(_, item)| item.clone()).collect();
    prop_assert_eq!(&events.last().unwrap()["response"]["output"], &items);
    Ok(())
}

/// Every event is an answer of the same id; one with a reason to finish and the usage comes last, and no other has either.
fn gemini_grammar(bytes: &[u8]) -> Result<(), TestCaseError> {
    let text = std::str::from_utf8(bytes).unwrap();
    let chunks: Vec<Value> =
        text.split("\n\n").filter_map(|e| e.strip_prefix("data: ")).map(|d| serde_json::from_str(d).unwrap()).collect();
    for (i, chunk) in chunks.iter().enumerate() {
        prop_assert_eq!((&chunk["responseId"], &chunk["modelVersion"]), (&"id-1".into(), &"model-1".into()));
        let candidate = &chunk["candidates"][0];
        prop_assert!(candidate["content"]["parts"].as_array().is_some_and(|parts| parts.len() == 1));
        prop_assert_eq!((&candidate["content"]["role"], candidate["index"].as_u64()), (&"model".into(), Some(0)));
        let last = i + 1 == chunks.len();
        prop_assert_eq!((candidate["finishReason"].is_string(), chunk["usageMetadata"].is_object()), (last, last));
    }
    Ok(())
}

/// The same events as one array tell the same, however it is cut.
fn as_a_list(events: &[StreamEvent], cuts: &[prop::sample::Index], expect: &Told) -> Result<(), TestCaseError> {
    let mut bytes = Vec::new();
    GeminiList::encoder(StreamOptions::default()).events(events, &mut bytes);
    prop_assert!(serde_json::from_slice::<Vec<Value>>(&bytes).is_ok(), "{}", String::from_utf8_lossy(&bytes));
    let whole = decode(Format::GeminiGenerate, &[&bytes]);
    prop_assert_eq!(&decode(Format::GeminiGenerate, &pieces(&bytes, cuts)), &whole);
    let answer = Format::GeminiGenerate.decode_answer(&bytes).map_err(|e| TestCaseError::fail(format!("{e:?}")))?;
    prop_assert_eq!(&told(&answer), expect);
    Ok(())
}

fn survives(format: Format, answer: &ChatAnswer, order: &[prop::sample::Index], cuts: &[prop::sample::Index]) -> Result<(), TestCaseError> {
    let events = interleaved(answer, order);
    let expect = told(&collect(format, &events).unwrap());
    prop_assert_eq!(&expect, &told(answer), "collecting the events gives the answer");
    as_a_list(&events, cuts, &expect)?;
    for target in Format::ALL {
        let bytes = encode(target, &events);
        match target {
            Format::AnthropicMessages => anthropic_grammar(&bytes)?,
            Format::OpenaiChat => openai_grammar(&bytes)?,
            Format::OpenaiResponses => responses_grammar(&bytes)?,
            Format::GeminiGenerate => gemini_grammar(&bytes)?,
            Format::OpenaiCompletions => unreachable!("conversations do not become completions"),
        }
        let whole = decode(target, &[&bytes]);
        prop_assert_eq!(&decode(target, &pieces(&bytes, cuts)), &whole, "any cut gives the same events");
        let collected = collect(target, &whole).map_err(|e| TestCaseError::fail(format!("{e:?}")))?;
        prop_assert_eq!(&told(&collected), &expect, "{:?}: {}", target, String::from_utf8_lossy(&bytes));
        tap_agrees(target, &bytes, cuts, &collected)?;
        broken_off(target, &bytes, cuts, &whole)?;
    }
    Ok(())
}

fn tap_agrees(format: Format, bytes: &[u8], cuts: &[prop::sample::Index], answer: &ChatAnswer) -> Result<(), TestCaseError> {
    let mut tap = StreamTap::new(format, false);
    let mut out = Vec::new();
    pieces(bytes, cuts).iter().for_each(|piece| tap.push(piece, &mut out));
    tap.finish(&mut out);
    prop_assert_eq!(&out, bytes);
    let facts = tap.facts();
    prop_assert_eq!((facts.ended, &facts.error, &facts.usage), (true, &None, &answer.usage));
    prop_assert_eq!(&facts.finish, &answer.choices[0].finish);
    prop_assert_eq!(facts.first_content, !answer.choices[0].parts.is_empty());
    // Without the usage chunk, which the tap has read all the same.
    let mut quiet = StreamTap::new(format, true);
    let mut out = Vec::new();
    quiet.push(bytes, &mut out);
    quiet.finish(&mut out);
    prop_assert_eq!(quiet.facts(), facts);
    let usage_chunks = |b: &[u8]| String::from_utf8_lossy(b).matches("\"choices\":[],").count();
    prop_assert_eq!(usage_chunks(&out), 0);
    prop_assert_eq!(out.len() < bytes.len(), usage_chunks(bytes) > 0);
    Ok(())
}

/// A stream that is cut off never ends cleanly before its reason to finish, and the tap forwards whole events only.
fn broken_off(format: Format, bytes: &[u8], cuts: &[prop::sample::Index], whole: &[StreamEvent]) -> Result<(), TestCaseError> {
    let Some(cut) = cuts.first() else { return Ok(()) };
    let part = &bytes[..cut.index(bytes.len())];
    let events = decode(format, &[part]);
    let finished = events.iter().any(|e| matches!(e, StreamEvent::Finish(_)));
    let broken = matches!(events.last(), Some(StreamEvent::Error(e)) if e.class == ErrorClass::Interrupted);
    prop_assert!(broken || (finished && events.last() == Some(&StreamEvent::End)), "{:?}", events.last());
    prop_assert_eq!(whole.last(), Some(&StreamEvent::End));
    let mut tap = StreamTap::new(format, false);
    let mut out = Vec::new();
    tap.push(part, &mut out);
    prop_assert!(part.starts_with(&out) && (out.is_empty() || out.ends_with(b"\n\n")));
    tap.finish(&mut out);
    prop_assert_eq!(tap.facts().ended, !broken);
    prop_assert_eq!(tap.facts().error.as_ref().map(|e| e.class), broken.then_some(ErrorClass::Interrupted));
    Ok(())
}

fn cuts() -> impl Strategy<Value = Vec<prop::sample::Index>> {
    prop::collection::vec(any::<prop::sample::Index>(), 0..30)
}

proptest! {
    #![proptest_config(crate::config())]

    #[test]
    fn sse_any_split(pieces_of in prop::collection::vec(prop::sample::select(vec!["data: a", "data:b", "data", "event: e", ": c", "id: 1", "\n", "\r", "\r\n", "\n\n", "\u{feff}", "é"]), 0..30), cuts in cuts()) {
        let bytes = pieces_of.concat().into_bytes();
        let events = |pieces: &[&[u8]]| {
            let (mut parser, mut out) = (Parser::default(), Vec::new());
            let mut sink = |e: Event<'_>| out.push((e.name.to_owned(), e.data.to_vec()));
            pieces.iter().for_each(|piece| parser.push(piece, &mut sink).unwrap());
            parser.finish(&mut sink);
            out
        };
        prop_assert_eq!(events(&pieces(&bytes, &cuts)), events(&[&bytes]));
        let mut splitter = Splitter::default();
        let mut joined = Vec::new();
        pieces(&bytes, &cuts).iter().for_each(|piece| splitter.push(piece, &mut |raw| joined.extend_from_slice(raw)).unwrap());
        joined.extend_from_slice(splitter.held());
        prop_assert_eq!(joined, bytes);
    }

    #[test]
    fn openai_answers(answer in make::answer(Format::OpenaiChat), order in cuts(), cuts in cuts()) {
        survives(Format::OpenaiChat, &answer, &order, &cuts)?;
    }

    #[test]
    fn anthropic_answers(answer in make::answer(Format::AnthropicMessages), order in cuts(), cuts in cuts()) {
        survives(Format::AnthropicMessages, &answer, &order, &cuts)?;
    }

    #[test]
    fn responses(answer in make::answer(Format::OpenaiResponses), order in cuts(), cuts in cuts()) {
        survives(Format::OpenaiResponses, &answer, &order, &cuts)?;
    }

    #[test]
    fn gemini_answers(answer in make::answer(Format::GeminiGenerate), order in cuts(), cuts in cuts()) {
        survives(Format::GeminiGenerate, &answer, &order, &cuts)?;
    }

    #[test]
    fn unary_answers_cross(answer in make::answer(Format::AnthropicMessages)) {
        for target in Format::ALL {
            let encoded = target.encode_answer(&answer, &StreamOptions::default());
            prop_assert!(encoded.losses.is_empty(), "{:?}", encoded.losses);
            let there = target.decode_answer(&encoded.body).unwrap();
            prop_assert_eq!(told(&there), told(&answer));
        }
    }

    #[test]
    fn no_stream_makes_a_decoder_panic(events in prop::collection::vec(make::object(), 0..6), from in 0usize..12, cuts in cuts()) {
        for format in Format::ALL {
            let mut bytes = Vec::new();
            for (i, event) in events.iter().enumerate() {
                let kind = [
                    "message_start", "content_block_start", "content_block_delta", "message_delta", "error", "",
                    "response.created", "response.output_item.added", "response.content_part.added", "response.output_text.delta",
                    "response.output_item.done", "response.completed",
                ][(from + i) % 12];
                bytes.extend_from_slice(format!("event: {kind}\ndata: {event}\n\n").as_bytes());
            }
            let whole = decode(format, &[&bytes]);
            prop_assert_eq!(whole.iter().filter(|e| matches!(e, StreamEvent::End | StreamEvent::Error(_))).count(), 1);
            prop_assert_eq!(decode(format, &pieces(&bytes, &cuts)), whole.clone());
            for target in Format::ALL {
                encode(target, &whole);
            }
        }
    }
}
