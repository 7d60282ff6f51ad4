//! Complete answers: the `text_completion` object.

use super::{NAME, finish_word, read_finish};
use crate::hub::{ChatAnswer, ChatError, Choice, ContentShape, Extra, FinishReason, Part, PartKind};
use crate::json::{Fields, Object, Value};
use crate::map::Crossing;
use crate::openai_document;
use crate::openai_usage as usage;
use crate::{Encoded, Format, LossKind, StreamOptions, size};

/// The name of the object, in documents and in streams.
pub(super) const OBJECT: &str = "text_completion";

/// Decodes an answer; see [`Format::decode_answer`].
pub(crate) fn decode(body: &[u8]) -> Result<ChatAnswer, ChatError> {
    let document = openai_document::parse(body)?;
    let mut f = Fields::of(&document);
    let choices = openai_document::choices(&mut f).ok_or_else(|| openai_document::no_choices(super::error_in(&document)))?;
    let choices = choices.into_iter().enumerate().map(|(i, choice)| read_choice(choice, i as u32)).collect();
    // A wrong constant stays as a hint.
    f.lenient("object", |v| (v.text()? == OBJECT).then_some(()));
    Ok(ChatAnswer {
        format: NAME.into(),
        id: f.lenient_text("id").unwrap_or_default(),
        model: f.lenient_text("model").unwrap_or_default(),
        created: f.lenient("created", |v| v.raw().parse().ok()),
        choices,
        usage: f.lenient("usage", usage::read),
        extras: f.rest(),
    })
}

fn read_choice(value: Value<'_>, position: u32) -> Choice {
    let Some(mut f) = value.object() else {
        let extras = vec![Extra::new("choice", value.raw())];
        return Choice { index: position, parts: Vec::new(), shape: ContentShape::Absent, finish: None, extras };
    };
    let index = f.lenient("index", |v| u32::try_from(v.u64()?).ok()).unwrap_or(position);
    let finish = f.lenient("finish_reason", |v| Some(read_finish(&v.text()?)));
    let text = f.lenient_text("text");
    let shape = if text.is_some() { ContentShape::Text } else { ContentShape::Absent };
    let parts = text.filter(|text| !text.is_empty()).map(Part::text).into_iter().collect();
    Choice { index, parts, shape, finish, extras: f.rest() }
}

/// Encodes an answer; see [`Format::encode_answer`].
pub(crate) fn encode(a: &ChatAnswer, options: &StreamOptions) -> Encoded {
    let mut c = Crossing::of_answer(&a.format, Format::OpenaiCompletions);
    let extras = c.extras(&a.extras);
    let mut body = Vec::with_capacity(size::of_answer(a));
    let mut o = Object::new(&mut body);
    openai_document::write_head(&mut o, a, OBJECT, extras, options);
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
    let mut text = String::new();
    for (i, part) in choice.parts.iter().enumerate() {
        let place = format!("{at}.content[{i}]");
        match shown(&part.kind) {
            Ok(piece) => {
                text.push_str(piece);
                c.lose_extras(&place, &part.extras);
            }
            Err(reason) => c.lose(&place, reason),
        }
    }
    // Clients' types promise it, whatever the answer was.
    if choice.shape != ContentShape::Absent || !text.is_empty() || !c.same {
        o.string("text", &text);
    }
    o.int("index", choice.index);
    if !c.same {
        o.raw("logprobs", "null");
    }
    match &choice.finish {
        Some(reason) => o.string("finish_reason", &finish_of(reason, &at, c)),
        None if extras.get("finish_reason").is_none() => o.raw("finish_reason", "null"),
        None => extras.hint(&mut o, "finish_reason"),
    }
    extras.rest(&mut o, &["choice"]);
    o.end();
    c.lose_extras(&at, &choice.extras);
}

/// The text of a part, or why it has none.
pub(super) fn shown(part: &PartKind) -> Result<&str, &'static str> {
    match part {
        PartKind::Text(text) | PartKind::Refusal(text) => Ok(text),
        PartKind::Thinking(_) | PartKind::RedactedThinking(_) => Err("a completion has no place for reasoning"),
        PartKind::ToolCall(_) | PartKind::ToolResult(_) => Err("a completion calls no tools"),
        _ => Err("a completion is text"),
    }
}

/// The finish word, and a loss when it does not say the same.
pub(super) fn finish_of(reason: &FinishReason, at: &str, c: &mut Crossing) -> String {
    let (word, exact) = finish_word(reason, c.same);
    if !exact {
        let reason = format!("no such reason in the target format, which has `{word}`");
        c.lose_as(LossKind::Adjusted, format!("{at}.finish"), reason);
    }
    word.to_owned()
}
