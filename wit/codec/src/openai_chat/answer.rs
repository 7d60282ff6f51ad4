//! Complete answers: the `chat.completion` object.

use super::message::{self, Care, Place};
use super::{NAME, finish_word, read_finish, usage};
use crate::hub::{ChatAnswer, ChatError, Choice, ContentShape, Extra, FinishReason, PartKind};
use crate::json::{Fields, Object, Path, Value};
use crate::map::Crossing;
use crate::openai_document;
use crate::{Encoded, Format, LossKind, StreamOptions, size};

/// Decodes an answer; see [`Format::decode_answer`].
pub(crate) fn decode(body: &[u8]) -> Result<ChatAnswer, ChatError> {
    let document = openai_document::parse(body)?;
    let mut f = Fields::of(&document);
    let choices = openai_document::choices(&mut f).ok_or_else(|| openai_document::no_choices(super::error_in(&document)))?;
    let choices = choices.into_iter().enumerate().map(|(i, choice)| read_choice(choice, i as u32)).collect();
    // A wrong constant stays as a hint.
    f.lenient("object", |v| (v.text()? == "chat.completion").then_some(()));
    let answer = ChatAnswer {
        format: NAME.into(),
        id: f.lenient_text("id").unwrap_or_default(),
        model: f.lenient_text("model").unwrap_or_default(),
        created: f.lenient("created", |v| v.raw().parse().ok()),
        choices,
        usage: f.lenient("usage", usage::read),
        extras: f.rest(),
    };
    Ok(answer)
}

fn read_choice(value: Value<'_>, position: u32) -> Choice {
    let Some(mut f) = value.object() else {
        return Choice {
            index: position,
            parts: Vec::new(),
            shape: ContentShape::Absent,
            finish: None,
            extras: vec![Extra::new("choice", value.raw())],
        };
    };
    let index = f.lenient("index", |v| u32::try_from(v.u64()?).ok()).unwrap_or(position);
    let finish = f.lenient("finish_reason", |v| Some(read_finish(&v.text()?)));
    let mut extras = Vec::new();
    let (mut parts, mut shape) = (Vec::new(), ContentShape::Absent);
    if let Some(mut m) = f.lenient("message", Value::object) {
        // A lenient reading has no errors.
        (parts, shape) = message::read_body(&mut m, &Path::Root, Care::Lenient).unwrap_or((Vec::new(), ContentShape::Absent));
        m.lenient("role", |v| (v.text()? == "assistant").then_some(()));
        extras = m.rest_with("message.");
    }
    extras.extend(f.rest_beside());
    Choice { index, parts, shape, finish, extras }
}

/// Encodes an answer; see [`Format::encode_answer`].
pub(crate) fn encode(a: &ChatAnswer, options: &StreamOptions) -> Encoded {
    let mut c = Crossing::of_answer(&a.format, Format::OpenaiChat);
    let extras = c.extras(&a.extras);
    let mut body = Vec::with_capacity(size::of_answer(a));
    let mut o = Object::new(&mut body);
    openai_document::write_head(&mut o, a, "chat.completion", extras, options);
    let mut list = o.array("choices");
    for choice in &a.choices {
        write_choice(list.object(), choice, &mut c);
    }
    list.end();
    if let Some(usage) = &a.usage {
        usage::write(&mut o, usage, c.same);
    }
    extras.rest(&mut o, &[]);
    o.end();
    c.lose_extras("", &a.extras);
    Encoded { body, losses: c.losses }
}

fn write_choice(mut o: Object<'_>, choice: &Choice, c: &mut Crossing) {
    let at = format!("choices[{}]", choice.index);
    let extras = c.extras(&choice.extras);
    o.int("index", choice.index);
    let mut m = o.object("message");
    m.string("role", "assistant");
    let inner = extras.nested("message.");
    message::write_body(&mut m, &choice.parts, choice.shape, inner, Place::Answer, &at, c);
    inner.rest(&mut m, message::BODY);
    m.end();
    if !c.same {
        // The official API always says so, and its clients' types promise it.
        o.raw("logprobs", "null");
    }
    match finish_of(choice, c) {
        Some(word) => o.string("finish_reason", &word),
        None if extras.get("finish_reason").is_none() => o.raw("finish_reason", "null"),
        None => extras.hint(&mut o, "finish_reason"),
    }
    extras.rest_beside(&mut o, &["choice"], &["message."]);
    o.end();
    c.lose_extras(&at, &choice.extras);
}

fn finish_of(choice: &Choice, c: &mut Crossing) -> Option<String> {
    let reason = choice.finish.as_ref()?;
    let (word, exact) = finish_word(reason, c.same);
    let calls =
        choice.parts.iter().any(|p| matches!(p.kind, PartKind::ToolCall(ref call) if call.kind != crate::hub::ToolCallKind::Server));
    if !exact {
        c.lose_as(
            LossKind::Adjusted,
            format!("choices[{}].finish", choice.index),
            format!("no such reason in the target format, which has `{word}`"),
        );
    }
    // Some providers say `stop` when there are calls to make; a client of another format would not make them.
    let word = if !c.same && calls && *reason == FinishReason::Stop { "tool_calls" } else { word };
    Some(word.to_owned())
}
