//! About how long a document becomes, so that its buffer is asked for once. A guess that is too small costs a copy, one that is too large the
//! memory of pages that nobody touches.

use crate::hub::{ChatAnswer, ChatRequest, Extra, Media, MediaSource, Part, PartKind, ResultPartKind, ToolKind};

/// What stands around a message, a part or a tool.
const FRAME: usize = 96;
/// Parameters, ids, usage.
const HEAD: usize = 768;

/// For a request.
pub(crate) fn of_request(r: &ChatRequest) -> usize {
    let messages: usize = r.messages.iter().map(|m| FRAME + of_extras(&m.extras) + of_parts(&m.parts)).sum();
    let tools: usize = r.tools.iter().map(|tool| FRAME + of_tool(&tool.kind)).sum();
    escaped(HEAD + of_extras(&r.extras) + messages + tools)
}

/// For an answer.
pub(crate) fn of_answer(a: &ChatAnswer) -> usize {
    let choices: usize = a.choices.iter().map(|choice| FRAME + of_extras(&choice.extras) + of_parts(&choice.parts)).sum();
    escaped(HEAD + of_extras(&a.extras) + choices)
}

/// Line ends and quotes are one byte more each: in prose and code about one of thirty.
fn escaped(bytes: usize) -> usize {
    bytes + bytes / 16
}

fn of_extras(extras: &[Extra]) -> usize {
    extras.iter().map(|e| e.name.len() + e.value.len() + 4).sum()
}

fn of_tool(kind: &ToolKind) -> usize {
    match kind {
        ToolKind::Function(f) => {
            f.name.len() + f.description.as_ref().map_or(0, String::len) + f.parameters.as_ref().map_or(0, String::len)
        }
        ToolKind::Other(other) => other.value.len(),
    }
}

fn of_parts(parts: &[Part]) -> usize {
    parts.iter().map(|part| FRAME + of_extras(&part.extras) + of_part(&part.kind)).sum()
}

fn of_part(kind: &PartKind) -> usize {
    match kind {
        PartKind::Text(text) | PartKind::Refusal(text) | PartKind::RedactedThinking(text) => text.len(),
        PartKind::Thinking(t) => t.text.len() + t.signature.as_ref().map_or(0, String::len),
        PartKind::Image(m) | PartKind::Audio(m) | PartKind::Document(m) => of_media(m),
        PartKind::ToolCall(call) => call.id.len() + call.name.len() + call.arguments.len(),
        PartKind::ToolResult(result) => {
            let content = result.content.iter().map(|piece| match &piece.kind {
                ResultPartKind::Text(text) | ResultPartKind::Other(text) => FRAME + text.len(),
                ResultPartKind::Image(m) | ResultPartKind::Document(m) => FRAME + of_media(m),
            });
            result.tool_call_id.len() + content.sum::<usize>()
        }
        PartKind::Other(other) => other.value.len(),
    }
}

fn of_media(media: &Media) -> usize {
    match &media.source {
        MediaSource::Inline(data) => data.media_type.len() + data.data.len(),
        MediaSource::Url(text) | MediaSource::FileId(text) | MediaSource::Text(text) | MediaSource::Other(text) => text.len(),
    }
}
