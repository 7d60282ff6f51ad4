//! What must hold for a recording.

use llm_codec::hub::{ChatAnswer, ChatError, Collector, ErrorClass, FinishReason, PartKind, StreamEvent, ToolCallKind};
use llm_codec::passthrough::StreamTap;
use llm_codec::{EncodeOptions, Format, Loss, StreamLosses, StreamOptions};
use serde_json::Value;

use crate::json::{difference, without_nulls};
use crate::load::{Recording, Response};
use crate::sdk;

#[derive(Default)]
pub struct Report {
    pub ran: Vec<(&'static str, usize)>,
    pub failures: Vec<String>,
}

impl Report {
    fn check(&mut self, name: &'static str, result: Result<(), String>) {
        self.ran.push((name, 1));
        if let Err(e) = result {
            self.failures.push(format!("{name}: {e}"));
        }
    }
}

pub fn run(r: &Recording) -> Report {
    let mut report = Report::default();
    let accepted = r.status < 400;
    if let Some(request) = &r.request {
        match r.format.decode_request(request.to_string().as_bytes()) {
            Ok(_) if accepted => {
                report.check("request", request_round_trip(r.format, request));
                others(r.format).for_each(|to| report.check("cross", request_crosses(r.format, to, request)));
            }
            Ok(_) => report.check("request", request_round_trip(r.format, request)),
            // What the provider refused, we may refuse.
            Err(_) if !accepted => {}
            Err(e) => report.check("request", Err(e.to_string())),
        }
    }
    match &r.response {
        Response::Body(body) if accepted => {
            report.check("answer", answer_round_trip(r.format, body));
            others(r.format).for_each(|to| report.check("cross", answer_crosses(r.format, to, body)));
        }
        Response::Body(body) => report.check("error", error_is_told(r, body)),
        Response::Stream(bytes) if accepted => {
            report.check("stream", stream_cuts(r.format, bytes, &r.name));
            // A tap runs on events.
            if !bytes.starts_with(b"[") {
                report.check("tap", tap_agrees(r.format, bytes));
            }
            if let Ok(answer) = collect(r.format, bytes) {
                report.check("stream-sdk", sdk_agrees(r.format, bytes, &answer));
                others(r.format).for_each(|to| report.check("cross", stream_crosses(r.format, to, bytes, &answer)));
            }
        }
        _ => {}
    }
    report
}

fn equal(what: &str, a: &Value, b: &Value) -> Result<(), String> {
    difference(a, b).map_or(Ok(()), |d| Err(format!("{what}: {d}")))
}

/// The other formats.
fn others(format: Format) -> impl Iterator<Item = Format> {
    Format::ALL.into_iter().filter(move |f| *f != format)
}

fn parse(body: &[u8]) -> Result<Value, String> {
    serde_json::from_slice(body).map_err(|e| format!("not JSON: {e}: {}", String::from_utf8_lossy(body)))
}

// === requests ===

fn request_round_trip(format: Format, request: &Value) -> Result<(), String> {
    let hub = format.decode_request(request.to_string().as_bytes()).map_err(|e| e.to_string())?;
    let encoded = format.encode_request(&hub, &EncodeOptions::default());
    if !encoded.losses.is_empty() {
        return Err(format!("losses in the same format: {:?}", encoded.losses));
    }
    equal("re-encoded", request, &parse(&encoded.body)?)
}

fn request_crosses(format: Format, target: Format, request: &Value) -> Result<(), String> {
    let hub = format.decode_request(request.to_string().as_bytes()).map_err(|e| e.to_string())?;
    // What only one provider keeps, another one cannot answer.
    let kept = ["previous_response_id", "prompt", "conversation"].iter().any(|name| !request[name].is_null());
    let kept = kept || request["store"] == true || request["background"] == true || !request["cachedContent"].is_null();
    if format.portable(&hub).is_err() {
        return if kept { Ok(()) } else { Err("another provider could answer it".into()) };
    }
    // Of a conversation that says nothing, nothing is left elsewhere.
    let silent = |p: &llm_codec::hub::Part| matches!(&p.kind, PartKind::Text(t) if t.is_empty());
    if hub.messages.iter().filter(|m| m.role != llm_codec::hub::Role::System).flat_map(|m| &m.parts).all(silent) {
        return Ok(());
    }
    let encoded = target.encode_request(&hub, &EncodeOptions::default());
    let document = parse(&encoded.body)?;
    let there = target.decode_request(&encoded.body).map_err(|e| format!("the other format refuses it: {e}\n{document}"))?;
    if target == Format::AnthropicMessages && document["max_tokens"].as_u64().is_none() {
        return Err("no max_tokens".into());
    }
    let calls = |parts: &[llm_codec::hub::Part]| {
        parts.iter().filter(|p| matches!(&p.kind, PartKind::ToolCall(c) if c.kind != ToolCallKind::Server)).count()
    };
    let (before, after): (usize, usize) =
        (hub.messages.iter().map(|m| calls(&m.parts)).sum(), there.messages.iter().map(|m| calls(&m.parts)).sum());
    if before != after {
        return Err(format!("{before} tool calls became {after}"));
    }
    let texts = |r: &llm_codec::hub::ChatRequest| {
        r.messages.iter().flat_map(|m| &m.parts).map(|p| if let PartKind::Text(t) = &p.kind { t.len() } else { 0 }).sum::<usize>()
    };
    if texts(&hub) > texts(&there) {
        return Err("text got lost".into());
    }
    Ok(())
}

// === answers ===

fn answer_round_trip(format: Format, body: &Value) -> Result<(), String> {
    let hub = format.decode_answer(body.to_string().as_bytes()).map_err(|e| format!("{e:?}"))?;
    let encoded = format.encode_answer(&hub, &StreamOptions::default());
    if !encoded.losses.is_empty() {
        return Err(format!("losses in the same format: {:?}", encoded.losses));
    }
    equal("re-encoded", body, &parse(&encoded.body)?)?;
    // As a stream and back.
    let events = llm_codec::hub::answer_events(&hub);
    let mut sse = Vec::new();
    format.event_encoder(StreamOptions { include_usage: true, ..StreamOptions::default() }).events(&events, &mut sse);
    let again = collect(format, &sse).map_err(|e| format!("as a stream: {e:?}"))?;
    same_answer("as a stream", &hub, &again)
}

fn answer_crosses(format: Format, target: Format, body: &Value) -> Result<(), String> {
    let hub = format.decode_answer(body.to_string().as_bytes()).map_err(|e| format!("{e:?}"))?;
    let encoded = target.encode_answer(&hub, &StreamOptions { id: "x".into(), ..StreamOptions::default() });
    let document = parse(&encoded.body)?;
    let there = target.decode_answer(&encoded.body).map_err(|e| format!("{e:?}"))?;
    same_answer("crossed", &crossed(&hub, target), &there)?;
    let needed: &[&str] = match target {
        Format::OpenaiChat => &[
            "/id",
            "/object",
            "/created",
            "/model",
            "/choices/0/index",
            "/choices/0/message/role",
            "/choices/0/message/content",
            "/choices/0/finish_reason",
        ],
        Format::AnthropicMessages => &[
            "/id",
            "/type",
            "/role",
            "/model",
            "/content",
            "/stop_reason",
            "/stop_sequence",
            "/usage/input_tokens",
            "/usage/output_tokens",
        ],
        Format::OpenaiResponses => &[
            "/id",
            "/object",
            "/created_at",
            "/model",
            "/status",
            "/output",
            "/error",
            "/incomplete_details",
            "/instructions",
            "/metadata",
            "/parallel_tool_calls",
            "/temperature",
            "/tool_choice",
            "/tools",
            "/top_p",
        ],
        Format::GeminiGenerate => &[
            "/candidates/0/content/parts",
            "/candidates/0/content/role",
            "/candidates/0/finishReason",
            "/candidates/0/index",
            "/modelVersion",
            "/responseId",
        ],
        // Conversations do not become completions.
        Format::OpenaiCompletions => &["/id", "/object", "/created", "/model", "/choices/0/text", "/choices/0/finish_reason"],
    };
    match needed.iter().find(|pointer| document.pointer(pointer).is_none()) {
        Some(pointer) => Err(format!("{pointer} is missing")),
        None => Ok(()),
    }
}

/// An answer without what a format has no place for.
fn crossed(a: &ChatAnswer, target: Format) -> ChatAnswer {
    let mut a = a.clone();
    if let Some(usage) = a.usage.as_mut().filter(|_| target == Format::GeminiGenerate) {
        usage.cache_write_tokens = None;
    }
    for finish in a.choices.iter_mut().filter_map(|c| c.finish.as_mut()) {
        // Each format has its own word for a reason that is another one's.
        if matches!(finish, FinishReason::Other(word) if word != "model_context_window_exceeded") {
            *finish = if target == Format::GeminiGenerate { FinishReason::Other("OTHER".into()) } else { FinishReason::Stop };
        }
    }
    a
}

/// What every format can tell of an answer: texts, reasoning, calls, counts and the like.
fn same_answer(what: &str, a: &ChatAnswer, b: &ChatAnswer) -> Result<(), String> {
    let (a, b) = (essence(a), essence(b));
    if a == b { Ok(()) } else { Err(format!("{what}: {a:#?}\nbecame {b:#?}")) }
}

#[derive(Debug, PartialEq)]
struct Essence {
    text: String,
    thinking: String,
    calls: Vec<(String, Value)>,
    /// Zeros when not told: Anthropic's messages must say something.
    usage: (u64, u64, u64, u64),
    finish: Option<String>,
}

fn essence(a: &ChatAnswer) -> Essence {
    let parts = || a.choices.first().into_iter().flat_map(|c| &c.parts);
    let calls: Vec<(String, Value)> = parts()
        .filter_map(|p| match &p.kind {
            PartKind::ToolCall(c) if c.kind != ToolCallKind::Server => Some((c.name.clone(), arguments(&c.arguments))),
            _ => None,
        })
        .collect();
    let finish = a.choices.first().map(|c| c.finish.clone().unwrap_or(FinishReason::Stop)).map(|f| match f {
        FinishReason::Stop if !calls.is_empty() => "ToolCalls".to_owned(),
        FinishReason::StopSequence(_) | FinishReason::Pause | FinishReason::Stop => "Stop".to_owned(),
        FinishReason::Refusal | FinishReason::ContentFilter => "Refusal".to_owned(),
        f => format!("{f:?}"),
    });
    Essence {
        text: parts().filter_map(|p| if let PartKind::Text(t) = &p.kind { Some(t.as_str()) } else { None }).collect(),
        thinking: parts().filter_map(|p| if let PartKind::Thinking(t) = &p.kind { Some(t.text.as_str()) } else { None }).collect(),
        calls,
        usage: a
            .usage
            .as_ref()
            .map(|u| (u.input_tokens, u.cache_read_tokens.unwrap_or(0), u.cache_write_tokens.unwrap_or(0), u.output_tokens))
            .unwrap_or_default(),
        finish,
    }
}

/// No arguments at all are an empty object to formats that have objects.
fn arguments(text: &str) -> Value {
    serde_json::from_str(if text.is_empty() { "{}" } else { text }).unwrap_or(Value::String(text.into()))
}

// === errors ===

fn error_is_told(r: &Recording, body: &Value) -> Result<(), String> {
    let e = r.format.decode_error(r.status, r.retry_after.as_deref(), body.to_string().as_bytes());
    let expect: &[ErrorClass] = match r.status {
        401 => &[ErrorClass::Authentication],
        403 => &[ErrorClass::Permission],
        404 => &[ErrorClass::ModelNotFound, ErrorClass::NotFound],
        429 => &[ErrorClass::RateLimited, ErrorClass::QuotaExceeded],
        400 => &[
            ErrorClass::InvalidRequest,
            ErrorClass::ContextTooLong,
            ErrorClass::ContentFiltered,
            ErrorClass::QuotaExceeded,
            ErrorClass::ModelNotFound,
            // A wrong key of Google's is a wrong argument.
            ErrorClass::Authentication,
        ],
        _ => return Ok(()),
    };
    let lower = e.message.to_lowercase();
    let too_long = lower.contains("context length") || lower.contains("too long");
    let told = body
        .to_string()
        .contains(&serde_json::to_string(&e.message.chars().take(50).collect::<String>()).unwrap().trim_matches('"').to_owned());
    match () {
        () if !expect.contains(&e.class) || (too_long && e.class != ErrorClass::ContextTooLong) => {
            Err(format!("{} {body} became {:?}", r.status, e.class))
        }
        () if !told => Err(format!("message got lost: {}", e.message)),
        () if r.retry_after.is_some() && e.retry_after_ms.is_none() => Err("retry-after got lost".into()),
        () => Format::ALL.into_iter().try_for_each(|f| parse(&f.encode_error(&e).body).map(|_| ())),
    }
}

// === streams ===

fn decode(format: Format, chunks: &[&[u8]]) -> Vec<StreamEvent> {
    let mut decoder = format.event_decoder();
    let mut events = Vec::new();
    for chunk in chunks {
        decoder.push(chunk, &mut events);
    }
    decoder.finish(&mut events);
    events
}

fn collect(format: Format, bytes: &[u8]) -> Result<ChatAnswer, ChatError> {
    let mut collector = Collector::new(format);
    decode(format, &[bytes]).iter().for_each(|e| collector.push(e));
    collector.finish()
}

/// A small generator of where to cut; the same for a recording on every run.
fn cuts(bytes: &[u8], seed: u64) -> Vec<&[u8]> {
    let mut state = seed | 1;
    let mut rest = bytes;
    let mut parts = Vec::new();
    while !rest.is_empty() {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let at = (1 + (state >> 33) as usize % 200).min(rest.len());
        parts.push(&rest[..at]);
        rest = &rest[at..];
    }
    parts
}

fn stream_cuts(format: Format, bytes: &[u8], name: &str) -> Result<(), String> {
    let whole = decode(format, &[bytes]);
    let seed = name.bytes().fold(7u64, |h, b| h.wrapping_mul(31).wrapping_add(u64::from(b)));
    for round in 0..3 {
        if decode(format, &cuts(bytes, seed + round)) != whole {
            return Err("another cut gives other events".into());
        }
    }
    let ends = whole.iter().filter(|e| matches!(e, StreamEvent::End | StreamEvent::Error(_))).count();
    if ends != 1 || !matches!(whole.last(), Some(StreamEvent::End | StreamEvent::Error(_))) {
        return Err("a stream ends once".into());
    }
    // What was recorded as an error must come out as one.
    let told = sdk::events(bytes).iter().any(|e| e.get("error").is_some_and(|e| !e.is_null()));
    // A stream that tells no reason to finish broke off.
    let told = told || format == Format::GeminiGenerate && !sdk::gemini_finished(&sdk::events(bytes));
    let starts: Vec<Value> =
        sdk::events(bytes).into_iter().take_while(|e| e["type"] != "message_stop").filter(|e| e["type"] == "message_start").collect();
    let spliced = starts.iter().any(|s| s["message"]["id"] != starts[0]["message"]["id"]);
    match (collect(format, bytes), told || spliced) {
        (Err(_), true) => return Ok(()),
        (Err(e), false) => return Err(format!("{e:?}")),
        (Ok(_), true) => return Err("an error was not told".into()),
        (Ok(_), false) => {}
    }
    let mut again = Vec::new();
    format.event_encoder(StreamOptions { include_usage: true, ..StreamOptions::default() }).events(&whole, &mut again);
    let (before, after) = (collect(format, bytes).unwrap(), collect(format, &again).map_err(|e| format!("{e:?}"))?);
    let (before, after) = (sorted(before), sorted(after));
    if before == after { Ok(()) } else { Err(format!("re-encoded: {before:#?}\nbecame {after:#?}")) }
}

/// The order of members does not matter, nor does the white space between them.
fn sorted(mut a: ChatAnswer) -> ChatAnswer {
    let extras = a.choices.iter_mut().flat_map(|c| &mut c.parts).map(|p| &mut p.extras);
    extras.chain([&mut a.extras]).for_each(|extras| {
        extras.sort_by(|x, y| x.name.cmp(&y.name));
        extras.iter_mut().for_each(|e| compact(&mut e.value));
    });
    for part in a.choices.iter_mut().flat_map(|c| &mut c.parts) {
        if let PartKind::ToolCall(call) = &mut part.kind {
            compact(&mut call.arguments);
        }
    }
    if let Some(raw) = a.usage.as_mut().and_then(|usage| usage.raw.as_mut()) {
        compact(raw);
    }
    a
}

fn compact(json: &mut String) {
    if let Ok(value) = serde_json::from_str::<Value>(json) {
        *json = value.to_string();
    }
}

fn sdk_agrees(format: Format, bytes: &[u8], answer: &ChatAnswer) -> Result<(), String> {
    let events = sdk::events(bytes);
    let body = parse(&format.encode_answer(answer, &StreamOptions::default()).body)?;
    if format == Format::AnthropicMessages {
        return equal("SDK's message", &without_nulls(&sdk::anthropic(&events)), &without_nulls(&body));
    }
    if format == Format::GeminiGenerate {
        let expect = sdk::gemini(&events);
        equal("SDK's answer", &expect, &sdk::gemini(&[without_nulls(&body)]))?;
        return equal("SDK's usage", &expect["usage"], &body.get("usageMetadata").cloned().unwrap_or_default());
    }
    if format == Format::OpenaiResponses {
        let last = sdk::last_response(&events);
        // In recordings that were cut by hand, the pieces are not the whole.
        let pieces = sdk::responses(&events);
        if pieces == sdk::pieces(&last) {
            equal("SDK's pieces", &pieces, &sdk::pieces(&body))?;
            equal("SDK's response", &last, &body)?;
        }
        return Ok(());
    }
    let snapshot = sdk::openai(&events);
    for (i, choice) in snapshot["choices"].as_array().unwrap().iter().enumerate() {
        let ours = answer.choices.get(i).ok_or("a choice is missing")?;
        let text = |pick: fn(&PartKind) -> Option<&str>| ours.parts.iter().filter_map(|p| pick(&p.kind)).collect::<String>();
        let content = text(|k| if let PartKind::Text(t) = k { Some(t) } else { None });
        let thinking = text(|k| if let PartKind::Thinking(t) = k { Some(&t.text) } else { None });
        let refusal = text(|k| if let PartKind::Refusal(t) = k { Some(t) } else { None });
        let calls: Vec<Value> = ours
            .parts
            .iter()
            .filter_map(|p| {
                if let PartKind::ToolCall(c) = &p.kind {
                    Some(serde_json::json!({"id": c.id, "name": c.name, "arguments": c.arguments}))
                } else {
                    None
                }
            })
            .collect();
        let word = &body["choices"][i]["finish_reason"];
        let told =
            serde_json::json!({"content": content, "reasoning": thinking, "refusal": refusal, "tool_calls": calls, "finish_reason": word});
        equal("SDK's choice", choice, &told)?;
    }
    match (&snapshot["usage"], &answer.usage) {
        (Value::Null, _) => Ok(()),
        (told, Some(usage)) => equal("SDK's usage", told, &parse(usage.raw.as_ref().ok_or("no raw usage")?.as_bytes())?),
        (_, None) => Err("usage got lost".into()),
    }
}

fn stream_crosses(format: Format, target: Format, bytes: &[u8], answer: &ChatAnswer) -> Result<(), String> {
    let mut out = Vec::new();
    let events = decode(format, &[bytes]);
    let mut encoder = target.event_encoder(StreamOptions { include_usage: true, id: "x".into(), ..StreamOptions::default() });
    encoder.events(&events, &mut out);
    let mut losses = StreamLosses::new(target);
    losses.events(&events);
    let mut lost: Vec<&Loss> = Vec::new();
    encoder.losses().iter().for_each(|l| {
        if !lost.contains(&l) {
            lost.push(l)
        }
    });
    if losses.found() != lost {
        return Err(format!("{lost:?} were lost, and {:?} found without writing", losses.found()));
    }
    let there = collect(target, &out).map_err(|e| format!("{e:?}"))?;
    same_answer("crossed", &crossed(answer, target), &there)?;
    if target == Format::AnthropicMessages { blocks_in_order(&sdk::events(&out)) } else { Ok(()) }
}

fn blocks_in_order(events: &[Value]) -> Result<(), String> {
    let (mut open, mut next) = (None, 0);
    for event in events {
        match (event["type"].as_str().unwrap(), event["index"].as_u64()) {
            ("content_block_start", Some(i)) if open.is_none() && i == next => (open, next) = (Some(i), next + 1),
            ("content_block_delta", index) if open == index => {}
            ("content_block_stop", index) if open == index => open = None,
            ("message_start" | "ping", _) => {}
            ("message_delta" | "message_stop", _) if open.is_none() => {}
            (kind, index) => return Err(format!("{kind} {index:?} while {open:?} is open")),
        }
    }
    Ok(())
}

fn ends_with(bytes: &[u8], end: &[u8]) -> bool {
    bytes.trim_ascii_end().ends_with(end)
}

fn tap_agrees(format: Format, bytes: &[u8]) -> Result<(), String> {
    let mut tap = StreamTap::new(format, false);
    let mut out = Vec::new();
    cuts(bytes, bytes.len() as u64).into_iter().for_each(|cut| tap.push(cut, &mut out));
    tap.finish(&mut out);
    let facts = tap.facts();
    // An end without its blank line gets one.
    let whole = out.trim_ascii_end() == bytes.trim_ascii_end() && out.len() >= bytes.len();
    // An error does not go on, and nothing goes on after the end: hand-made recordings hold several answers in a row.
    let closed =
        bytes.starts_with(&out) && (facts.error.is_some() || (facts.ended && (ends_with(&out, b"[DONE]") || ends_with(&out, b"}"))));
    if !whole && !closed {
        return Err("the tap changed bytes".into());
    }
    match collect(format, bytes) {
        Ok(answer) => {
            let finish = answer.choices.first().and_then(|c| c.finish.clone());
            let mine = (facts.ended, &facts.error, &facts.usage, &facts.finish);
            if mine != (true, &None, &answer.usage, &finish) {
                return Err(format!("the tap saw {mine:?}, the answer has {:?} {finish:?}", answer.usage));
            }
            let known = |own: &Option<String>, theirs: &str| theirs.is_empty() || own.as_deref() == Some(theirs);
            if !known(&facts.id, &answer.id) || !known(&facts.model, &answer.model) || !facts.started {
                return Err(format!("the tap saw {:?} {:?}", facts.id, facts.model));
            }
            Ok(())
        }
        Err(e) if facts.error.as_ref().map(|e| e.class) == Some(e.class) || e.class == ErrorClass::Protocol => Ok(()),
        Err(e) => Err(format!("the tap saw {:?}, the decoder {e:?}", facts.error)),
    }
}
