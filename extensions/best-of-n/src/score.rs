//! What a candidate is worth: signals from 0 to 1, and their weighted sum.
//!
//! Candidates whose code is surely broken come after all others, whatever else is liked about them.
//!
//! Candidates are paid for when they come here, and a call that takes too long would lose all of them. So each is looked at once, parsers
//! read no more than a limit, and all else takes as long as the candidates are.

use serde::Serialize;
use wasmgate_code::find::{self, Block};
use wasmgate_sdk::ChatAnswer;
use wasmgate_sdk::hub::{FinishReason, PartKind};

use crate::Method;
use crate::code::{self, Look};

/// Text that is compared, at most, in bytes.
const MAX_COMPARED: usize = 32 << 10;

/// What parsers may still read, shared among the candidates that are still to come: the first ones do not take it all.
#[derive(Debug, Clone, Copy)]
pub struct Budget {
    left: usize,
    shares: usize,
}

impl Budget {
    /// So many bytes for so many candidates.
    pub fn new(bytes: usize, candidates: usize) -> Self {
        Self { left: bytes, shares: candidates }
    }

    /// What nobody took.
    pub fn left(self) -> usize {
        self.left
    }

    /// What one candidate may take of it.
    fn share(&mut self, read: impl FnOnce(&mut usize)) {
        let share = self.left / self.shares.max(1);
        let mut rest = share;
        read(&mut rest);
        self.left -= share - rest;
        self.shares = self.shares.saturating_sub(1);
    }
}

/// A candidate that was looked at.
#[derive(Debug, Clone, Default)]
pub struct Looked {
    /// All of its text.
    pub text: String,
    /// The code in it.
    pub blocks: Vec<Block>,
    /// Whether it is whole: an answer, and code with all its ends.
    pub valid: bool,
    /// Whether parsers have read all of its code.
    pub parsed: bool,
    /// What is wrong with it.
    notes: Vec<String>,
    /// Its length with the tools that it calls.
    length: usize,
    /// Something that it leaves to do.
    unfinished: Option<&'static str>,
    /// Hashes of three words after each other, sorted.
    shingles: Vec<u64>,
}

/// What is known of one candidate's worth.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Score {
    /// All signals together.
    pub total: f64,
    /// Whether it is whole: an answer, and code with all its ends.
    pub valid: bool,
    /// What judges gave it; absent when there was none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub judge: Option<f64>,
    /// How much the others say the same.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub agreement: Option<f64>,
    /// Length and style.
    pub style: f64,
    /// What is wrong with it, and what judges said.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<String>,
}

/// What an answer does: its text, and the tools that it calls.
fn content(answer: &ChatAnswer) -> String {
    let mut all = answer.text();
    for part in answer.choices.first().map_or(&[][..], |c| &c.parts) {
        if let PartKind::ToolCall(call) = &part.kind {
            all.push_str(&format!("\n{}({})", call.name, call.arguments));
        }
    }
    all
}

/// Looks at an answer.
pub fn look(answer: &ChatAnswer, budget: &mut Budget) -> Looked {
    let content = content(answer);
    let text = answer.text();
    let blocks = find::blocks(&text);
    let mut looked = Looked {
        valid: false,
        parsed: true,
        notes: faults(answer, &content),
        length: content.len(),
        unfinished: UNFINISHED.into_iter().find(|sign| content.contains(sign)),
        shingles: shingles(&blocks, &content),
        text,
        blocks,
    };
    budget.share(|left| {
        for block in &looked.blocks {
            match code::look(block, left) {
                Look::Parsed => {}
                Look::Unread => looked.parsed = false,
                Look::Broken(line, what) => {
                    looked.parsed = false;
                    looked.notes.push(format!("line {}: {what}", block.line + line - 1));
                }
            }
        }
    });
    looked.valid = looked.notes.is_empty();
    looked
}

/// Scores of answers to one request, without judges. Of failed ones there is none.
pub fn of(answers: &[&Looked]) -> Vec<Score> {
    let with_code = answers.iter().filter(|a| !a.blocks.is_empty()).count();
    let code_wanted = with_code * 2 > answers.len();
    let usual = middle(answers.iter().map(|a| a.length).collect());
    let score = |(n, answer): (usize, &&Looked)| {
        let (style, said) = answer.style(code_wanted, usual);
        let notes = answer.notes.iter().cloned().chain(said).collect();
        let others = answers.iter().enumerate().filter(|(m, _)| *m != n).map(|(_, a)| alike(&answer.shingles, &a.shingles));
        let agreement = (answers.len() > 1).then(|| others.sum::<f64>() / (answers.len() - 1) as f64);
        Score { total: 0.0, valid: answer.valid, judge: None, agreement, style, notes }
    };
    answers.iter().enumerate().map(score).collect()
}

impl Looked {
    /// How it is written: code where the others have some, about as long as the others, nothing left to do.
    fn style(&self, code_wanted: bool, usual: usize) -> (f64, Vec<String>) {
        let mut notes = Vec::new();
        let mut value: f64 = 1.0;
        if code_wanted && self.blocks.is_empty() {
            value -= 0.5;
            notes.push("it has no code, and most of the others have".to_owned());
        }
        if let Some(sign) = self.unfinished {
            value -= 0.3;
            notes.push(format!("it leaves something to do (`{sign}`)"));
        }
        let length = self.length;
        if usual > 0 && (length * 4 < usual || length > usual * 4) {
            value -= 0.2;
            notes.push(format!("it has {length} bytes, where {usual} are usual"));
        }
        (value.max(0.0), notes)
    }
}

/// What people and models write where something is left to do.
const UNFINISHED: [&str; 7] = ["TODO", "FIXME", "todo!", "unimplemented!", "NotImplementedError", "rest of the code", "your code here"];

impl Score {
    /// What counts when it stands alone: no others, no judge.
    pub fn by_itself(&self) -> f64 {
        if self.valid { f64::midpoint(1.0, self.style) } else { 0.0 }
    }

    /// Adds the signals up, each by what it counts for in this method.
    pub fn add_up(&mut self, method: Method) {
        let (valid, judge, agreement, style) = match method {
            Method::CodeQuality | Method::Merge => (4.0, 3.0, 1.0, 2.0),
            Method::Vote => (2.0, 1.0, 6.0, 1.0),
            Method::Judge => (1.0, 8.0, 0.5, 0.5),
        };
        let signals =
            [(Some(f64::from(u8::from(self.valid))), valid), (self.judge, judge), (self.agreement, agreement), (Some(self.style), style)];
        let there = signals.into_iter().filter_map(|(value, weight)| Some((value?, weight)));
        let (sum, weights) = there.fold((0.0, 0.0), |(sum, all), (value, weight)| (sum + value * weight, all + weight));
        self.total = (sum / weights * 1000.0).round() / 1000.0;
    }

    /// Whether it is better than another one.
    pub fn beats(&self, other: &Self) -> bool {
        (self.valid, self.total) > (other.valid, other.total)
    }
}

/// Why an answer is not whole, but for its code.
fn faults(answer: &ChatAnswer, content: &str) -> Vec<String> {
    let mut notes = Vec::new();
    let finish = answer.choices.first().and_then(|c| c.finish.as_ref());
    match finish {
        Some(FinishReason::Length) => notes.push("it was cut off at the token limit".to_owned()),
        Some(FinishReason::ContentFilter) => notes.push("its provider withheld the rest".to_owned()),
        Some(FinishReason::Refusal) => notes.push("the model declined".to_owned()),
        _ => {}
    }
    if content.trim().is_empty() {
        notes.push("it is empty".to_owned());
    }
    let parts = answer.choices.first().map_or(&[][..], |c| &c.parts);
    for part in parts {
        match &part.kind {
            PartKind::ToolCall(call)
                if serde_json::from_str::<serde::de::IgnoredAny>(&call.arguments).is_err() && !call.arguments.is_empty() =>
            {
                notes.push(format!("the arguments for `{}` are no JSON", call.name));
            }
            PartKind::Refusal(_) => notes.push("the model declined".to_owned()),
            _ => {}
        }
    }
    notes
}

fn middle(mut lengths: Vec<usize>) -> usize {
    lengths.sort_unstable();
    lengths.get(lengths.len() / 2).copied().unwrap_or_default()
}

/// Hashes of three words after each other, of the code if there is any: how it is laid out and introduced does not matter.
fn shingles(blocks: &[Block], content: &str) -> Vec<u64> {
    let code: String = blocks.iter().map(|b| b.code.as_str()).collect();
    let meant = if code.trim().is_empty() { content } else { &code };
    let mut end = meant.len().min(MAX_COMPARED);
    while !meant.is_char_boundary(end) {
        end -= 1;
    }
    let words: Vec<&str> = meant[..end].split(|c: char| c.is_whitespace() || c.is_ascii_punctuation()).filter(|w| !w.is_empty()).collect();
    if words.is_empty() {
        return Vec::new();
    }
    let mut hashes: Vec<u64> = words.windows(words.len().clamp(1, 3)).map(fnv).collect();
    hashes.sort_unstable();
    hashes.dedup();
    hashes
}

fn fnv(words: &[&str]) -> u64 {
    let bytes = words.iter().flat_map(|w| w.bytes().chain([0]));
    bytes.fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3))
}

/// What two have in common, of all that they have. Both are sorted.
fn alike(a: &[u64], b: &[u64]) -> f64 {
    let (mut both, mut left, mut right) = (0, a, b);
    while let ([first, rest @ ..], [other, others @ ..]) = (left, right) {
        both += usize::from(first == other);
        if first <= other {
            left = rest;
        }
        if other <= first {
            right = others;
        }
    }
    let all = a.len() + b.len() - both;
    if all == 0 { 1.0 } else { both as f64 / all as f64 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_candidate_takes_what_is_for_the_others() {
        let mut budget = Budget::new(90, 3);
        let mut seen = Vec::new();
        for takes in [5, 100, 1] {
            budget.share(|left| {
                seen.push(*left);
                *left = left.saturating_sub(takes);
            });
        }
        // The first leaves most of its share to the others.
        assert_eq!((seen, budget.left()), (vec![30, 42, 43], 42));
    }

    #[test]
    fn what_two_have_in_common_is_counted_once() {
        assert_eq!(alike(&[1, 2, 3], &[2, 3, 4]), 0.5);
        assert_eq!(alike(&[], &[]), 1.0);
        assert_eq!(alike(&[1], &[]), 0.0);
    }
}
