//! What a candidate is worth: signals from 0 to 1, and their weighted sum.
//!
//! Candidates whose code is surely broken come after all others, whatever else is liked about them.

use std::collections::BTreeSet;

use serde::Serialize;
use wasmgate_sdk::ChatAnswer;
use wasmgate_sdk::hub::{FinishReason, PartKind};

use crate::Method;
use crate::code;

/// Text that is compared, at most, in bytes.
const MAX_COMPARED: usize = 64 << 10;

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

/// All text of the first choice.
pub fn text(answer: &ChatAnswer) -> String {
    let parts = answer.choices.first().map_or(&[][..], |c| &c.parts);
    let text = |kind: &PartKind| if let PartKind::Text(text) = kind { Some(text.clone()) } else { None };
    parts.iter().filter_map(|p| text(&p.kind)).collect()
}

/// What an answer does: its text, and the tools that it calls.
fn content(answer: &ChatAnswer) -> String {
    let mut all = text(answer);
    for part in answer.choices.first().map_or(&[][..], |c| &c.parts) {
        if let PartKind::ToolCall(call) = &part.kind {
            all.push_str(&format!("\n{}({})", call.name, call.arguments));
        }
    }
    all
}

/// Scores of answers to one request, without judges. Of failed ones there is none.
pub fn of(answers: &[&ChatAnswer]) -> Vec<Score> {
    let contents: Vec<String> = answers.iter().map(|a| content(a)).collect();
    let with_code = contents.iter().filter(|c| !code::blocks(c).is_empty()).count();
    let code_wanted = with_code * 2 > answers.len();
    let lengths = middle(contents.iter().map(String::len).collect());
    let shingles: Vec<BTreeSet<u64>> = contents.iter().map(|c| shingles(c)).collect();
    let score = |(n, answer): (usize, &&ChatAnswer)| {
        let (valid, mut notes) = valid(answer, &contents[n]);
        let (style, said) = style(&contents[n], code_wanted, lengths);
        notes.extend(said);
        let others = shingles.iter().enumerate().filter(|(m, _)| *m != n).map(|(_, s)| alike(&shingles[n], s));
        let agreement = (answers.len() > 1).then(|| others.sum::<f64>() / (answers.len() - 1) as f64);
        Score { total: 0.0, valid, judge: None, agreement, style, notes }
    };
    answers.iter().enumerate().map(score).collect()
}

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

/// Whether an answer is whole, and why not.
fn valid(answer: &ChatAnswer, content: &str) -> (bool, Vec<String>) {
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
    let said = text(answer);
    for block in code::blocks(&said) {
        if let Some(fault) = block.fault(&said) {
            let line = said[..block.from].matches('\n').count() + fault.0;
            notes.push(format!("line {line}: {}", fault.1));
        }
    }
    (notes.is_empty(), notes)
}

/// How it is written: code where the others have some, about as long as the others, nothing left to do.
fn style(content: &str, code_wanted: bool, usual: usize) -> (f64, Vec<String>) {
    let mut notes = Vec::new();
    let mut value: f64 = 1.0;
    if code_wanted && code::blocks(content).is_empty() {
        value -= 0.5;
        notes.push("it has no code, and most of the others have".to_owned());
    }
    let unfinished = ["TODO", "FIXME", "todo!", "unimplemented!", "NotImplementedError", "rest of the code", "your code here"];
    if let Some(sign) = unfinished.iter().find(|s| content.contains(*s)) {
        value -= 0.3;
        notes.push(format!("it leaves something to do (`{sign}`)"));
    }
    let length = content.len();
    if usual > 0 && (length * 4 < usual || length > usual * 4) {
        value -= 0.2;
        notes.push(format!("it has {length} bytes, where {usual} are usual"));
    }
    (value.max(0.0), notes)
}

fn middle(mut lengths: Vec<usize>) -> usize {
    lengths.sort_unstable();
    lengths.get(lengths.len() / 2).copied().unwrap_or_default()
}

/// Hashes of three words after each other, of the code if there is any: how it is laid out and introduced does not matter.
fn shingles(content: &str) -> BTreeSet<u64> {
    let blocks = code::blocks(content);
    let code: String = blocks.iter().map(|b| b.code(content)).collect();
    let meant = if code.trim().is_empty() { content } else { &code };
    let mut end = meant.len().min(MAX_COMPARED);
    while !meant.is_char_boundary(end) {
        end -= 1;
    }
    let words: Vec<&str> = meant[..end].split(|c: char| c.is_whitespace() || c.is_ascii_punctuation()).filter(|w| !w.is_empty()).collect();
    words.windows(words.len().clamp(1, 3)).map(fnv).collect()
}

fn fnv(words: &[&str]) -> u64 {
    let bytes = words.iter().flat_map(|w| w.bytes().chain([0]));
    bytes.fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3))
}

/// What two have in common, of all that they have.
fn alike(a: &BTreeSet<u64>, b: &BTreeSet<u64>) -> f64 {
    let both = a.intersection(b).count();
    let all = a.len() + b.len() - both;
    if all == 0 { 1.0 } else { both as f64 / all as f64 }
}
