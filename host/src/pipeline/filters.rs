//! Stage 6: extensions that see every event of an answer, in the order of dependencies; each sees what the one before let pass.
//!
//! What a filter holds back stays in the host, so that it can be bounded in bytes and in time, and is not lost with a filter that
//! fails.

use std::sync::Arc;
use std::time::Instant;

use llm_codec::hub::{ChatError, Delta, FinishReason, PartKind, StreamEvent, StreamFinish};

use super::Exchange;
use crate::extensions::bindings::exports::wasmgate::extension::stream_filter::{BatchEdit, Placed};
use crate::extensions::{CallError, Filter, Hook};

/// The filters of one answer.
#[derive(Default)]
pub struct Filters {
    open: Vec<Open>,
}

struct Open {
    filter: Filter,
    held: Vec<StreamEvent>,
    held_since: Option<Instant>,
}

/// What came through.
pub struct Filtered {
    /// The events that go on.
    pub events: Vec<StreamEvent>,
    /// A filter ended the answer: cleanly, or with an error.
    pub stop: Option<Option<ChatError>>,
    /// Whether any filter changed anything.
    pub changed: bool,
}

impl Filters {
    /// Asks every extension whether it wants to see the answer.
    pub async fn open(exchange: &Arc<Exchange>) -> Result<Self, ChatError> {
        let mut open = Vec::new();
        for extension in exchange.generation().stream_filters.iter().filter(|e| exchange.runs(e)) {
            match extension.open_filter(exchange, &exchange.call_info()).await {
                Ok(Some(filter)) => open.push(Open { filter, held: Vec::new(), held_since: None }),
                Ok(None) => {}
                Err(_) if extension.on_error.skips(Hook::StreamFilter) => {}
                Err(e) => return Err(e.into()),
            }
        }
        // A stream lasts longer than this call: no room for filters that did not open.
        open.shrink_to_fit();
        Ok(Self { open })
    }

    /// Whether nobody looks.
    pub fn is_empty(&self) -> bool {
        self.open.is_empty()
    }

    /// When something that is held back has to go on at the latest.
    pub fn deadline(&self) -> Option<Instant> {
        self.open.iter().filter_map(|o| Some(o.held_since? + o.filter.extension().limits().hold)).min()
    }

    /// A batch goes through all filters.
    pub async fn run(&mut self, batch: Vec<StreamEvent>, last: bool) -> Result<Filtered, ChatError> {
        let mut through = Filtered { events: batch, stop: None, changed: false };
        let mut n = 0;
        while n < self.open.len() {
            let open = &mut self.open[n];
            let last = last || through.stop.is_some();
            match open.run(&mut through, last).await {
                Ok(()) => n += 1,
                Err(e) if !open.filter.extension().on_error.skips(Hook::StreamFilter) => return Err(e.into()),
                // It goes on without this filter; what it held back goes on too, behind what it had let pass.
                Err(_) => {
                    let failed = self.open.remove(n);
                    through.events.extend(failed.held);
                }
            }
        }
        if through.stop == Some(None) && !through.events.iter().any(|e| matches!(e, StreamEvent::Finish(_))) {
            // A clean end says why it ended.
            let finish = StreamFinish { choice: 0, reason: FinishReason::Stop, extras: Vec::new() };
            through.events.push(StreamEvent::Finish(finish));
        }
        Ok(through)
    }
}

impl Open {
    async fn run(&mut self, through: &mut Filtered, last: bool) -> Result<(), CallError> {
        if through.events.is_empty() && self.held.is_empty() && !last {
            return Ok(());
        }
        let late = self.held_since.is_some_and(|since| since.elapsed() >= self.filter.extension().limits().hold);
        let mut batch = std::mem::take(&mut self.held);
        batch.append(&mut through.events);
        let edits = match self.filter.events(&batch, batch_size(&batch), last).await {
            Ok(edits) => edits,
            Err(e) => {
                through.events = batch;
                return Err(e);
            }
        };
        through.changed |= !edits.is_empty();
        let applied = apply(batch, edits, last);
        through.events = applied.go_on;
        if let Some(stop) = applied.stop {
            through.stop.get_or_insert(stop);
        }
        self.held = applied.held;
        self.held_since = match (self.held.is_empty(), self.held_since) {
            (true, _) => None,
            (false, since) => since.or_else(|| Some(Instant::now())),
        };
        self.check_hold(late)
    }

    /// A filter that holds back too much, or for too long, has reached a limit.
    fn check_hold(&self, late: bool) -> Result<(), CallError> {
        if self.held.is_empty() {
            return Ok(());
        }
        let extension = self.filter.extension();
        let limits = extension.limits();
        let limit = if batch_size(&self.held) > limits.hold_bytes {
            "hold_bytes"
        } else if late {
            "hold_ms"
        } else {
            return Ok(());
        };
        Err(extension.stopped(Hook::StreamFilter, limit))
    }
}

/// What a filter's edits make of a batch.
struct Applied {
    go_on: Vec<StreamEvent>,
    held: Vec<StreamEvent>,
    stop: Option<Option<ChatError>>,
}

/// Applies edits. An index past the batch is the filter's mistake and changes nothing.
fn apply(batch: Vec<StreamEvent>, edits: Vec<BatchEdit>, last: bool) -> Applied {
    if edits.is_empty() {
        return Applied { go_on: batch, held: Vec::new(), stop: None };
    }
    let mut stop = None;
    let mut hold = batch.len();
    let mut places: Vec<Place> = (0..=batch.len()).map(|_| Place::default()).collect();
    for edit in edits {
        match edit {
            BatchEdit::Drop(index) => {
                if let Some(place) = places.get_mut(index as usize) {
                    place.dropped = true;
                }
            }
            BatchEdit::Replace(Placed { index, events }) => {
                if let Some(place) = places.get_mut(index as usize) {
                    place.dropped = true;
                    place.before.extend(events);
                }
            }
            BatchEdit::Insert(Placed { index, events }) => {
                if let Some(place) = places.get_mut(index as usize) {
                    place.before.extend(events);
                }
            }
            BatchEdit::Hold(index) if !last => hold = hold.min(index as usize),
            BatchEdit::Hold(_) => {}
            BatchEdit::Stop(reason) => stop = Some(reason),
        }
    }
    if let Some(Some(_)) = stop {
        // What a filter refuses is never seen.
        return Applied { go_on: Vec::new(), held: Vec::new(), stop };
    }
    let mut applied = Applied { go_on: Vec::with_capacity(batch.len()), held: Vec::new(), stop };
    let mut events = batch.into_iter();
    for (index, place) in places.into_iter().enumerate() {
        let event = events.next();
        if index >= hold && event.is_some() {
            // What is held back is seen again as it was: edits to it come then.
            applied.held.extend(event);
            continue;
        }
        applied.go_on.extend(place.before);
        applied.go_on.extend(event.filter(|_| !place.dropped));
    }
    applied
}

#[derive(Default)]
struct Place {
    before: Vec<StreamEvent>,
    dropped: bool,
}

/// About how many bytes a batch holds.
pub fn batch_size(batch: &[StreamEvent]) -> usize {
    batch.iter().map(size).sum()
}

/// About how many bytes an event holds.
fn size(event: &StreamEvent) -> usize {
    let fixed = size_of::<StreamEvent>();
    fixed
        + match event {
            StreamEvent::BlockDelta(delta) => match &delta.delta {
                Delta::Text(t) | Delta::Thinking(t) | Delta::Signature(t) | Delta::Arguments(t) | Delta::Refusal(t) | Delta::Other(t) => {
                    t.len()
                }
            },
            StreamEvent::BlockStart(start) => match &start.part.kind {
                PartKind::Text(t) | PartKind::Refusal(t) | PartKind::RedactedThinking(t) => t.len(),
                _ => 0,
            },
            StreamEvent::Other(json) => json.len(),
            _ => 0,
        }
}

#[cfg(test)]
mod tests {
    use llm_codec::hub::{BlockDelta, BlockId, ErrorClass};

    use super::*;

    fn text(text: &str) -> StreamEvent {
        StreamEvent::BlockDelta(BlockDelta { at: BlockId { choice: 0, block: 0 }, delta: Delta::Text(text.into()), extras: Vec::new() })
    }

    fn shown(events: &[StreamEvent]) -> String {
        let texts = events.iter().map(|e| match e {
            StreamEvent::BlockDelta(BlockDelta { delta: Delta::Text(t), .. }) => t.as_str(),
            _ => "?",
        });
        texts.collect()
    }

    /// A batch `abc`, edited: what goes on, and after a slash what is held back.
    fn check(edits: Vec<BatchEdit>, last: bool, expect: &str) {
        let applied = apply(vec![text("a"), text("b"), text("c")], edits, last);
        assert_eq!(format!("{}/{}", shown(&applied.go_on), shown(&applied.held)), expect);
    }

    #[test]
    fn edits_of_a_batch() {
        let placed = |index, t: &str| Placed { index, events: vec![text(t)] };
        check(vec![], false, "abc/");
        check(vec![BatchEdit::Drop(1)], false, "ac/");
        check(vec![BatchEdit::Replace(placed(1, "X"))], false, "aXc/");
        check(vec![BatchEdit::Insert(placed(1, "X"))], false, "aXbc/");
        check(vec![BatchEdit::Insert(placed(3, "X"))], false, "abcX/");
        check(vec![BatchEdit::Insert(placed(0, "X")), BatchEdit::Drop(2)], false, "Xab/");
        check(vec![BatchEdit::Hold(1)], false, "a/bc");
        check(vec![BatchEdit::Hold(0)], false, "/abc");
        check(vec![BatchEdit::Hold(1)], true, "abc/");
        check(vec![BatchEdit::Hold(3)], false, "abc/");
        check(vec![BatchEdit::Drop(0), BatchEdit::Hold(2)], false, "b/c");
        check(vec![BatchEdit::Drop(9), BatchEdit::Insert(placed(9, "X"))], false, "abc/");
        check(vec![BatchEdit::Stop(None)], false, "abc/");
        check(vec![BatchEdit::Stop(Some(ChatError::new(ErrorClass::ContentFiltered, "no")))], false, "/");
    }
}
