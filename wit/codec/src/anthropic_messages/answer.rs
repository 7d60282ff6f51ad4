//! Complete answers: the `message` object.

use super::{NAME, blocks, read_stop, stop_word, usage};
use crate::error_body;
use crate::hub::{ChatAnswer, ChatError, Choice, ContentShape, ErrorClass, Extra, FinishReason, Part, PartKind, ToolCallKind};
use crate::json::{Document, Fields, Object, Path, Value};
use crate::map::Crossing;
use crate::{Encoded, Format, LossKind, StreamOptions, size};

/// Note on an answer that does not even say `"stop_sequence": null`, which the API always does.
const NO_SEQUENCE: &str = "$no-stop-sequence";

/// Decodes an answer; see [`Format::decode_answer`].
pub(crate) fn decode(body: &[u8]) -> Result<ChatAnswer, ChatError> {
    let protocol = |message: String| ChatError::new(ErrorClass::Protocol, message);
    let document = Document::parse(body).map_err(|fault| protocol(format!("the provider's answer is not JSON: {fault}")))?;
    let mut f = Fields::of(&document);
    let Some(content) = f.lenient("content", |v| Some(v.elements()?.collect::<Vec<_>>())) else {
        return Err(error_body::in_document(&document).unwrap_or_else(|| protocol("the provider's answer has no `content`".into())));
    };
    let parts = content.into_iter().map(|v| blocks::read(v, &Path::Root).unwrap_or_else(|_| blocks::other(v))).collect();
    // Wrong constants stay as hints.
    f.lenient("type", |v| (v.text()? == "message").then_some(()));
    f.lenient("role", |v| (v.text()? == "assistant").then_some(()));
    let told = f.peek("stop_sequence").is_some();
    let finish = read_finish(&mut f);
    let mut extras = Vec::new();
    if !told {
        extras.push(Extra::new(NO_SEQUENCE, "true"));
    }
    let usage = f.lenient("usage", usage::read);
    Ok(ChatAnswer {
        format: NAME.into(),
        id: f.lenient_text("id").unwrap_or_default(),
        model: f.lenient_text("model").unwrap_or_default(),
        usage,
        extras: {
            extras.extend(f.rest());
            extras
        },
        created: None,
        choices: vec![Choice { index: 0, parts, shape: ContentShape::Parts, finish, extras: Vec::new() }],
    })
}

/// Takes `stop_reason` and `stop_sequence`; a sequence that belongs to no such reason stays.
pub(super) fn read_finish(f: &mut Fields<'_>) -> Option<FinishReason> {
    let sequence = f.peek("stop_sequence").and_then(Value::text).map(std::borrow::Cow::into_owned);
    let reason = f.lenient("stop_reason", |v| Some(read_stop(&v.text()?, sequence)))?;
    if let FinishReason::StopSequence(Some(_)) = reason {
        f.take("stop_sequence");
    }
    Some(reason)
}

/// Whether the answer asks the caller for tools.
pub(super) fn asks_for_tools(part: &Part) -> bool {
    matches!(&part.kind, PartKind::ToolCall(call) if call.kind != ToolCallKind::Server)
}

/// Encodes an answer; see [`Format::encode_answer`].
pub(crate) fn encode(a: &ChatAnswer, options: &StreamOptions) -> Encoded {
    let mut c = Crossing::of_answer(&a.format, Format::AnthropicMessages);
    let extras = c.extras(&a.extras);
    let mut body = Vec::with_capacity(size::of_answer(a));
    let mut o = Object::new(&mut body);
    let or = |own: &str, fallback: &str| if own.is_empty() { fallback.to_owned() } else { own.to_owned() };
    o.string("id", &or(&a.id, &options.id));
    for (name, constant) in [("type", "message"), ("role", "assistant")] {
        match extras.get(name) {
            Some(hint) => o.json(name, hint),
            None => o.string(name, constant),
        }
    }
    o.string("model", &or(&a.model, &options.model));
    let mut list = o.array("content");
    let first = a.choices.first();
    for (i, part) in first.iter().flat_map(|choice| &choice.parts).enumerate() {
        write_part(&mut list, part, &format!("choices[0].content[{i}]"), &mut c);
    }
    list.end();
    let calls = first.is_some_and(|choice| choice.parts.iter().any(asks_for_tools));
    write_finish(&mut o, first.and_then(|choice| choice.finish.as_ref()), calls, &mut c);
    extras.hint(&mut o, "stop_sequence");
    if !o.wrote("stop_sequence") && extras.get(NO_SEQUENCE).is_none() {
        o.raw("stop_sequence", "null");
    }
    match &a.usage {
        Some(usage) => usage::write(&mut o, usage, c.same),
        None if c.same => extras.hint(&mut o, "usage"),
        None => o.raw("usage", r#"{"input_tokens":0,"output_tokens":0}"#),
    }
    extras.rest(&mut o, &[]);
    o.end();
    c.lose_extras("", &a.extras);
    for choice in a.choices.iter().take(1) {
        c.lose_extras("choices[0]", &choice.extras);
    }
    for choice in a.choices.iter().skip(1) {
        c.lose(format!("choices[{}]", choice.index), "Anthropic's answers have no alternatives");
    }
    Encoded { body, losses: c.losses }
}

/// Writes a part of an answer. Reasoning of others is shown, with an empty signature: the client may read it, and when it sends it
/// back it is dropped again.
fn write_part(list: &mut crate::json::Array<'_>, part: &Part, at: &str, c: &mut Crossing) {
    match &part.kind {
        PartKind::Thinking(t) if !c.same && t.signature.is_none() => {
            let mut o = list.object();
            o.string("type", "thinking");
            o.string("thinking", &t.text);
            o.string("signature", "");
            o.end();
        }
        PartKind::Image(_) | PartKind::Audio(_) | PartKind::Document(_) if !c.same => c.lose(at, "Anthropic's answers hold no media"),
        _ => blocks::write(list, part, at, c),
    }
}

/// Writes `stop_reason` and, where it belongs to it, `stop_sequence`.
pub(super) fn write_finish(o: &mut Object<'_>, finish: Option<&FinishReason>, calls: bool, c: &mut Crossing) {
    let Some(reason) = finish else { return o.raw("stop_reason", "null") };
    let (word, exact) = stop_word(reason, c.same, calls);
    if !exact {
        c.lose_as(LossKind::Adjusted, "choices[0].finish", format!("no such reason in the target format, which has `{word}`"));
    }
    o.string("stop_reason", word);
    if let FinishReason::StopSequence(Some(sequence)) = reason {
        o.string("stop_sequence", sequence);
    }
}
