//! A complete answer to events.

use super::*;

/// The events that tell a complete answer, as a stream would: each part opens empty, grows once and closes.
///
/// Collecting them gives the answer again, but for the shape of empty content and for extras of a choice that are `null`.
pub fn answer_events(answer: &ChatAnswer) -> Vec<StreamEvent> {
    let mut events = Vec::with_capacity(4 + answer.choices.iter().map(|c| 1 + 3 * c.parts.len()).sum::<usize>());
    events.push(StreamEvent::Start(StreamStart {
        format: answer.format.clone(),
        id: answer.id.clone(),
        model: answer.model.clone(),
        created: answer.created,
        usage: answer.usage.clone(),
        extras: answer.extras.clone(),
    }));
    for choice in &answer.choices {
        for (number, part) in choice.parts.iter().enumerate() {
            let at = BlockId { choice: choice.index, block: number as u32 };
            let (part, deltas) = opened(part.clone());
            events.push(StreamEvent::BlockStart(BlockStart { at, part }));
            events.extend(deltas.into_iter().flatten().map(|delta| StreamEvent::BlockDelta(BlockDelta { at, delta, extras: Vec::new() })));
            events.push(StreamEvent::BlockStop(at));
        }
        if let Some(reason) = choice.finish.clone() {
            events.push(StreamEvent::Finish(StreamFinish { choice: choice.index, reason, extras: choice.extras.clone() }));
        }
    }
    events.extend(answer.usage.clone().map(StreamEvent::Usage));
    events.push(StreamEvent::End);
    events
}

/// The part as it is when its block opens, and what it then grows by.
fn opened(mut part: Part) -> (Part, [Option<Delta>; 2]) {
    let take = |text: &mut String| Some(std::mem::take(text)).filter(|t| !t.is_empty());
    let deltas = match &mut part.kind {
        PartKind::Text(text) => [take(text).map(Delta::Text), None],
        PartKind::Refusal(text) => [take(text).map(Delta::Refusal), None],
        PartKind::Thinking(t) => {
            let text = take(&mut t.text).map(Delta::Thinking);
            [text, t.signature.as_mut().and_then(take).map(Delta::Signature)]
        }
        PartKind::ToolCall(call) => [take(&mut call.arguments).map(Delta::Arguments), None],
        _ => [None, None],
    };
    (part, deltas)
}
