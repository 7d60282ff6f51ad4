//! What a tap reads of a stream of Gemini's format. Every event is a whole answer with what is new, and is looked into.

use super::StreamFacts;
use super::tap::take_text;
use crate::gemini_generate::{Told, asks_in, error_in, read_usage, refuses};
use crate::json::{Document, Fields, Value};

/// Reads an event. It is forwarded in any case; the end is known when the connection closes.
pub(super) fn read(facts: &mut StreamFacts, told: &mut Told, data: &[u8]) {
    let Ok(document) = Document::parse(data) else { return };
    if let Some(e) = error_in(&document) {
        facts.error.get_or_insert(e);
        return;
    }
    let mut f = Fields::of(&document);
    facts.started |= crate::gemini_generate::is_chunk(&f);
    take_text(&mut facts.id, &mut f, "responseId");
    take_text(&mut facts.model, &mut f, "modelVersion");
    if refuses(&f) {
        told.refused();
    }
    for (i, candidate) in f.take("candidates").and_then(Value::elements).into_iter().flatten().enumerate() {
        let Some(mut candidate) = candidate.object() else { continue };
        let index = candidate.take("index").and_then(|v| u32::try_from(v.u64()?).ok()).unwrap_or(i as u32);
        let content = candidate.take("content").and_then(Value::object);
        let parts = content.and_then(|mut c| c.take("parts")).and_then(Value::elements);
        let mut calls = false;
        for part in parts.into_iter().flatten() {
            calls |= asks_in(part);
            let text = part.object().and_then(|f| f.peek("text"));
            facts.first_content |= text.is_none_or(|text| text.raw() != "\"\"");
        }
        let word = candidate.take("finishReason").and_then(Value::text).map(|word| word.into_owned());
        told.candidate(index, word, calls);
    }
    facts.finish = told.finish(0);
    if let Some(usage) = f.take("usageMetadata").and_then(read_usage) {
        facts.usage = Some(usage);
    }
}
