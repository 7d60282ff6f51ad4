//! What a tap reads of a stream of OpenAI responses.

use super::StreamFacts;
use super::tap::take_text;
use crate::hub::{ChatError, ErrorClass};
use crate::json::{Document, Fields, Value};
use crate::openai_responses::{error_in, is_call, read_finish, read_usage};
use crate::stream::interrupted;

/// Whether an event is a piece of content, judged by its first member.
pub(super) fn is_piece(data: &[u8]) -> bool {
    let kind = data.strip_prefix(br#"{"type":"response."#).or_else(|| data.strip_prefix(br#"{"type": "response."#));
    kind.and_then(|rest| rest.split(|b| *b == b'"').next()).is_some_and(|kind| kind.ends_with(b".delta"))
}

/// Reads an event; whether the provider says that the answer is complete. `name` is asked for when the data does not say what it is.
pub(super) fn read(facts: &mut StreamFacts, calls: &mut bool, name: impl FnOnce() -> String, data: &[u8]) -> bool {
    let data = data.trim_ascii();
    if data == b"[DONE]" {
        facts.error.get_or_insert_with(interrupted);
        return false;
    }
    let Ok(document) = Document::parse(data) else { return false };
    let kind = document.string("type").map_or_else(name, Into::into);
    if let Some(e) = error_in(&kind, &document) {
        facts.error.get_or_insert(e);
        return false;
    }
    if matches!(kind.as_str(), "keepalive" | "ping") {
        return false;
    }
    facts.started = true;
    let ends = matches!(kind.as_str(), "response.completed" | "response.incomplete" | "response.cancelled");
    let mut f = Fields::of(&document);
    match f.take("response").and_then(Value::object) {
        Some(mut response) => {
            take_text(&mut facts.id, &mut response, "id");
            take_text(&mut facts.model, &mut response, "model");
            if ends {
                for item in response.take("output").and_then(Value::elements).into_iter().flatten() {
                    *calls |= is_call(item);
                    facts.first_content = true;
                }
                facts.finish = read_finish(&response, *calls);
                facts.usage = response.take("usage").and_then(read_usage);
            }
        }
        None if ends => {
            facts.error.get_or_insert_with(|| ChatError::new(ErrorClass::Protocol, "the provider's last event holds no answer"));
            return false;
        }
        None => {}
    }
    match kind.as_str() {
        "response.output_item.added" | "response.output_item.done" => {
            let item = f.take("item");
            *calls |= item.is_some_and(is_call);
            let item = item.and_then(Value::object).and_then(|item| item.peek("type")).and_then(Value::text);
            facts.first_content |= kind.ends_with(".done") || !matches!(item.as_deref(), Some("message" | "reasoning"));
        }
        kind => facts.first_content |= kind.ends_with(".delta"),
    }
    ends
}
