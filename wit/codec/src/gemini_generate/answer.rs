//! Complete answers: the `GenerateContentResponse` object, or a list of them, which is a stream that was read to its end.

use super::calls::Ids;
use super::{NAME, asks, blocks, error_in, finish_word, read_finish, usage};
use crate::hub::{ChatAnswer, ChatError, Choice, Collector, ContentShape, ErrorClass, Extra, FinishReason, StreamEvent, extra};
use crate::json::{Document, Fields, Object, Path, Value};
use crate::map::{Crossing, Extras};
use crate::{Encoded, Format, LossKind, StreamOptions, size};

/// Note on the choice of an answer without candidates: the prompt was refused.
pub(super) const BLOCKED: &str = "$blocked";
/// Note on a candidate without `index`.
const NO_INDEX: &str = "$no-index";
/// Note on a candidate whose content has no `role`.
const NO_ROLE: &str = "$no-role";
/// Note with the word for the reason to finish, when the hub's reason has another one.
pub(super) const FINISH: &str = "$finish";
/// Stands before the members of a candidate's content that the hub does not have.
pub(super) const CONTENT: &str = "content.";

// === read ===

/// Decodes an answer; see [`Format::decode_answer`].
pub(crate) fn decode(body: &[u8]) -> Result<ChatAnswer, ChatError> {
    if body.trim_ascii_start().starts_with(b"[") {
        return collect(body);
    }
    let protocol = |message: String| ChatError::new(ErrorClass::Protocol, message);
    let document = Document::parse(body).map_err(|fault| protocol(format!("the provider's answer is not JSON: {fault}")))?;
    let mut f = Fields::of(&document);
    let head = Head::take(&mut f);
    let listed: Option<Vec<Value<'_>>> = f.peek("candidates").and_then(Value::elements).map(Iterator::collect);
    // Without a reason to refuse, an empty list is an answer without choices, as in the other formats.
    let none = listed.as_ref().is_some_and(Vec::is_empty);
    let mut candidates = listed.unwrap_or_default();
    candidates.retain(|c| c.object().is_some());
    let choices = if candidates.is_empty() {
        if refuses(&f) {
            // The list stays as it came.
            vec![blocked()]
        } else {
            let failed = error_in(&document).or_else(|| (!none).then(|| protocol("the provider's answer has no `candidates`".into())));
            if let Some(failed) = failed {
                return Err(failed);
            }
            f.take("candidates");
            Vec::new()
        }
    } else {
        f.take("candidates");
        candidates.into_iter().enumerate().map(|(i, candidate)| read_candidate(candidate, i as u32, &head.id)).collect()
    };
    Ok(ChatAnswer {
        format: NAME.into(),
        id: head.id,
        model: head.model,
        created: None,
        choices,
        usage: f.lenient("usageMetadata", usage::read),
        extras: blocks::rest(f),
    })
}

fn collect(body: &[u8]) -> Result<ChatAnswer, ChatError> {
    let mut events = Vec::new();
    let mut decoder = Format::GeminiGenerate.event_decoder();
    decoder.push(body, &mut events);
    decoder.finish(&mut events);
    let mut collector = Collector::new(Format::GeminiGenerate);
    events.iter().for_each(|event: &StreamEvent| collector.push(event));
    collector.finish()
}

/// Members that tell which answer it is.
pub(super) struct Head {
    pub id: String,
    pub model: String,
}

impl Head {
    pub fn take(f: &mut Fields<'_>) -> Self {
        Self { id: f.lenient_text("responseId").unwrap_or_default(), model: f.lenient_text("modelVersion").unwrap_or_default() }
    }
}

/// Whether a document without candidates says that the prompt was refused.
pub(crate) fn refuses(f: &Fields<'_>) -> bool {
    let feedback = f.peek("promptFeedback").and_then(Value::object);
    feedback.is_some_and(|f| ["blockReason", "blockReasonMessage"].iter().any(|name| f.peek(name).is_some_and(|v| !v.is_null())))
}

/// The choice of an answer to a prompt that was refused.
pub(super) fn blocked() -> Choice {
    Choice {
        index: 0,
        parts: Vec::new(),
        shape: ContentShape::Absent,
        finish: Some(FinishReason::ContentFilter),
        extras: vec![Extra::new(BLOCKED, "true")],
    }
}

fn read_candidate(value: Value<'_>, position: u32, answer: &str) -> Choice {
    let Some(mut f) = value.object() else { return blocked() };
    let mut extras = Vec::new();
    let index = f.lenient("index", |v| u32::try_from(v.u64()?).ok());
    if index.is_none() {
        extras.push(Extra::new(NO_INDEX, "true"));
    }
    let index = index.unwrap_or(position);
    let (mut parts, mut shape) = (Vec::new(), ContentShape::Absent);
    if let Some(mut content) = f.lenient("content", Value::object) {
        shape = ContentShape::Null;
        if content.lenient("role", |v| (v.text()? == "model").then_some(())).is_none() {
            extras.push(Extra::new(NO_ROLE, "true"));
        }
        if let Some(list) = content.lenient("parts", |v| Some(v.elements()?.collect::<Vec<_>>())) {
            shape = ContentShape::Parts;
            let mut ids = Ids::of(place(answer, index));
            parts = list.into_iter().map(|v| blocks::read(v, &Path::Root, &mut ids).unwrap_or_else(|_| blocks::other(v))).collect();
        }
        extras.extend(content.rest_with(CONTENT));
    }
    let calls = parts.iter().any(asks);
    let finish = f.lenient("finishReason", |v| Some(v.text()?.into_owned())).map(|word| finish(&word, calls, &mut extras));
    extras.extend(blocks::rest(f));
    Choice { index, parts, shape, finish, extras }
}

/// What the ids of calls in a candidate begin with.
pub(super) fn place(answer: &str, index: u32) -> String {
    if answer.is_empty() { index.to_string() } else { format!("{answer}_{index}") }
}

/// The reason to finish, with a note of the word when the hub would write another one.
pub(super) fn finish(word: &str, calls: bool, extras: &mut Vec<Extra>) -> FinishReason {
    let reason = read_finish(word, calls);
    if finish_word(&reason, true).0 != word {
        extras.push(Extra::new(FINISH, super::spelling::quoted(word)));
    }
    reason
}

// === write ===

/// Encodes an answer; see [`Format::encode_answer`].
pub(crate) fn encode(a: &ChatAnswer, options: &StreamOptions) -> Encoded {
    let mut c = Crossing::of_answer(&a.format, Format::GeminiGenerate);
    let extras = c.extras(&a.extras);
    let mut body = Vec::with_capacity(size::of_answer(a));
    let mut o = Object::new(&mut body);
    if !is_blocked(&a.choices, c.same) {
        let mut list = o.array("candidates");
        a.choices.iter().for_each(|choice| write_candidate(list.object(), choice, &mut c));
        list.end();
    }
    if let Some(usage) = &a.usage {
        usage::write(&mut o, usage, c.same);
    }
    write_head(&mut o, &a.id, &a.model, options, c.same);
    extras.rest_beside(&mut o, &[], &[]);
    o.end();
    c.lose_extras("", &a.extras);
    Encoded { body, losses: c.losses }
}

/// Whether the answer is that the prompt was refused.
fn is_blocked(choices: &[Choice], same: bool) -> bool {
    matches!(choices, [only] if same && only.parts.is_empty() && extra(&only.extras, BLOCKED).is_some())
}

/// Writes which answer it is. What a provider of this format left out stays out.
pub(super) fn write_head(o: &mut Object<'_>, id: &str, model: &str, options: &StreamOptions, same: bool) {
    for (name, own, fallback) in [("modelVersion", model, &options.model), ("responseId", id, &options.id)] {
        let value = if own.is_empty() { fallback.as_str() } else { own };
        if !value.is_empty() || !same {
            o.string(name, value);
        }
    }
}

fn write_candidate(mut o: Object<'_>, choice: &Choice, c: &mut Crossing) {
    let at = format!("choices[{}]", choice.index);
    let extras = c.extras(&choice.extras);
    if !(c.same && choice.shape == ContentShape::Absent && choice.parts.is_empty()) {
        let mut content = o.object("content");
        if !(c.same && choice.shape == ContentShape::Null && choice.parts.is_empty()) {
            let mut list = content.array("parts");
            choice.parts.iter().enumerate().for_each(|(i, part)| blocks::write(&mut list, part, &format!("{at}.content[{i}]"), c));
            list.end();
        }
        if extras.get(NO_ROLE).is_none() {
            content.string("role", "model");
        }
        extras.nested(CONTENT).rest(&mut content, &[]);
        content.end();
    }
    if let Some(reason) = &choice.finish {
        let calls = choice.parts.iter().any(asks);
        write_finish(&mut o, reason, calls, extras, &at, c);
    } else if !c.same {
        o.string("finishReason", "STOP");
    }
    if extras.get(NO_INDEX).is_none() {
        o.int("index", choice.index);
    }
    extras.rest_beside(&mut o, &[], &[CONTENT]);
    o.end();
    c.lose_extras(&at, &choice.extras);
}

/// Writes `finishReason`: the word that came when it still says it.
pub(super) fn write_finish(o: &mut Object<'_>, reason: &FinishReason, calls: bool, extras: Extras<'_>, at: &str, c: &mut Crossing) {
    let told = extras.get(FINISH).and_then(Value::parse).and_then(Value::text);
    if let Some(told) = told.filter(|word| read_finish(word, calls) == *reason) {
        return o.string("finishReason", &told);
    }
    let (word, exact) = finish_word(reason, c.same);
    if !exact {
        c.lose_as(LossKind::Adjusted, format!("{at}.finish"), format!("no such reason in the target format, which has `{word}`"));
    }
    o.string("finishReason", word);
}
