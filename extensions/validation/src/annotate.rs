//! Streams that are not held back: what is wrong is said behind the answer.

use std::collections::BTreeMap;

use wasmgate_sdk::hub::{BlockDelta, BlockId, BlockStart, Delta, Part, PartKind};
use wasmgate_sdk::{BatchEdit, Filter, Placed, StreamEvent};

use crate::report::Report;
use crate::{Rules, answer, count};

/// Most of an answer that is kept to be looked at, in bytes.
const MAX_KEPT: usize = 1 << 20;

/// Collects the texts of a stream's first choice.
pub struct Annotator {
    rules: Rules,
    texts: BTreeMap<u32, String>,
    kept: usize,
    next_block: u32,
    done: bool,
}

impl Annotator {
    /// A stream begins.
    pub(crate) fn new(rules: Rules) -> Self {
        // What was sent cannot be taken back.
        Self { rules: Rules { auto_fix: false, ..rules }, texts: BTreeMap::new(), kept: 0, next_block: 0, done: false }
    }

    fn take(&mut self, event: &StreamEvent) {
        match event {
            StreamEvent::BlockStart(start) if start.at.choice == 0 => {
                self.next_block = self.next_block.max(start.at.block + 1);
                if let PartKind::Text(text) = &start.part.kind {
                    self.add(start.at.block, text);
                }
            }
            StreamEvent::BlockDelta(BlockDelta { at, delta: Delta::Text(text), .. }) if at.choice == 0 => self.add(at.block, text),
            _ => {}
        }
    }

    fn add(&mut self, block: u32, text: &str) {
        self.kept += text.len();
        if self.kept <= MAX_KEPT {
            self.texts.entry(block).or_default().push_str(text);
        }
    }

    /// What is said behind the answer; nothing when nothing is wrong.
    fn note(&mut self) -> Option<String> {
        if self.kept > MAX_KEPT {
            return None;
        }
        let mut report = Report::default();
        for text in self.texts.values_mut() {
            answer::check_text(&self.rules, text, false, &mut report);
        }
        count(&report);
        (report.invalid() > 0).then(|| format!("\n\n---\nThe code above does not parse:\n\n{}", report.problems()))
    }
}

impl Filter for Annotator {
    fn events(&mut self, events: &[StreamEvent], _last: bool) -> Vec<BatchEdit> {
        for (index, event) in events.iter().enumerate() {
            if self.done {
                break;
            }
            self.take(event);
            if matches!(event, StreamEvent::Finish(finish) if finish.choice == 0) {
                self.done = true;
                let Some(note) = self.note() else { continue };
                let at = BlockId { choice: 0, block: self.next_block };
                let events = vec![
                    StreamEvent::BlockStart(BlockStart { at, part: Part::new(PartKind::Text(String::new())) }),
                    StreamEvent::BlockDelta(BlockDelta { at, delta: Delta::Text(note), extras: Vec::new() }),
                    StreamEvent::BlockStop(at),
                ];
                return vec![BatchEdit::Insert(Placed { index: index as u32, events })];
            }
        }
        Vec::new()
    }
}
