//! Changes of text that goes by lines: events, forms, configurations. JSON behind `data:` is changed as JSON.

use super::json::{self, Node};
use super::random::Random;

/// What can be done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A line is gone.
    Drop,
    /// A line is there twice.
    Repeat,
    /// Two lines changed places.
    Swap,
    /// A line ends in the middle, with or without a line end.
    Cut,
    /// Two lines are one.
    Merge,
    /// Another field, or none.
    Rewrite,
    /// Other line ends, in one line or in all.
    Ends,
    /// Events, or paragraphs, in another order; or one is gone, or there twice.
    Reorder,
    /// Events or paragraphs of another seed come in.
    Splice,
    /// The end is missing.
    Truncate,
    /// The document of a line is another.
    Data(json::Kind),
}

/// All kinds except those of documents.
pub const KINDS: [Kind; 10] =
    [Kind::Drop, Kind::Repeat, Kind::Swap, Kind::Cut, Kind::Merge, Kind::Rewrite, Kind::Ends, Kind::Reorder, Kind::Splice, Kind::Truncate];

const FIELDS: [&str; 16] = [
    "data: ",
    "data:",
    "data",
    "event: ",
    "event: error",
    "event: ping",
    "id: 1",
    "retry: 1",
    ": a comment",
    "data: [DONE]",
    "data: {}",
    "data: null",
    "\u{feff}data: ",
    "  ",
    "- ",
    "--b",
];

/// Changes the text once. Returns whether there was something to do it to.
pub fn change(random: &mut Random, kind: Kind, text: &mut String, other: &str, words: &[String]) -> bool {
    // Each line has its end; the last one may have none.
    let mut lines: Vec<String> = text.split_inclusive('\n').map(str::to_owned).collect();
    if lines.is_empty() {
        return false;
    }
    let (one, two) = (random.below(lines.len()), random.below(lines.len()));
    match kind {
        Kind::Drop => drop(lines.remove(one)),
        Kind::Repeat => lines.insert(two, lines[one].clone()),
        Kind::Swap => lines.swap(one, two),
        Kind::Cut => {
            let at = boundary(random, &lines[one]);
            let rest = lines[one].split_off(at);
            if random.once_in(2) {
                lines[one].push('\n');
                lines.insert(one + 1, rest);
            }
        }
        Kind::Merge => without_end(&mut lines[one]),
        Kind::Rewrite => {
            let line = lines[one].split_once(": ").map_or(lines[one].as_str(), |(_, rest)| rest).to_owned();
            lines[one] = random.pick(&FIELDS).to_string() + &line;
        }
        Kind::Ends => {
            let end = *random.pick(&["\r\n", "\r", "\n", "\n\n", ""]);
            let all = random.once_in(4);
            for (_, line) in lines.iter_mut().enumerate().filter(|(at, _)| all || *at == one) {
                without_end(line);
                line.push_str(end);
            }
        }
        Kind::Reorder | Kind::Splice => {
            let mut parts = paragraphs(text);
            let (one, two) = (random.below(parts.len()), random.below(parts.len()));
            match (kind, random.below(3)) {
                (Kind::Splice, _) => {
                    let from = paragraphs(other);
                    if from.is_empty() {
                        return false;
                    }
                    let start = random.below(from.len());
                    let end = (start + 1 + random.below(3)).min(from.len());
                    drop(parts.splice(one..one, from[start..end].iter().cloned()));
                }
                (_, 0) => parts.swap(one, two),
                (_, 1) => drop(parts.remove(one)),
                _ => parts.insert(two, parts[one].clone()),
            }
            lines = parts;
        }
        Kind::Truncate => {
            let at = boundary(random, text);
            text.truncate(at);
            return true;
        }
        Kind::Data(kind) => return data(random, kind, text, other, words),
    }
    *text = lines.concat();
    true
}

fn without_end(line: &mut String) {
    line.truncate(line.trim_end_matches(['\n', '\r']).len());
}

/// Text between empty lines, each with the empty line behind it.
fn paragraphs(text: &str) -> Vec<String> {
    let mut parts = vec![String::new()];
    for line in text.split_inclusive('\n') {
        let last = parts.last_mut().expect("there is one");
        last.push_str(line);
        if line.trim_end_matches(['\n', '\r']).is_empty() {
            parts.push(String::new());
        }
    }
    parts.retain(|part| !part.is_empty());
    parts
}

fn data(random: &mut Random, kind: json::Kind, text: &mut String, other: &str, words: &[String]) -> bool {
    let found: Vec<_> = documents(text).collect();
    if found.is_empty() {
        return false;
    }
    let place = random.pick(&found).clone();
    let Some(mut document) = Node::read(text[place.clone()].as_bytes()) else { return false };
    // Of the same stream half of the time: what was said before is said again, a little differently.
    let donor = if random.once_in(2) { other } else { text.as_str() };
    let donors: Vec<_> = documents(donor).collect();
    let donor = (!donors.is_empty()).then(|| random.pick(&donors).clone()).and_then(|place| Node::read(donor[place].as_bytes()));
    if !json::change(random, kind, &mut document, donor.as_ref(), words) {
        return false;
    }
    let mut out = String::new();
    document.write(&mut out);
    text.replace_range(place, &out);
    true
}

/// Where documents may be: behind `data:` to the end of the line.
fn documents(text: &str) -> impl Iterator<Item = std::ops::Range<usize>> {
    let mut start = 0;
    text.split_inclusive('\n').filter_map(move |line| {
        let at = start;
        start += line.len();
        let rest = line.strip_prefix("data:")?.trim();
        let from = at + line.find(rest)?;
        rest.starts_with('{').then_some(from..from + rest.len())
    })
}

fn boundary(random: &mut Random, text: &str) -> usize {
    let mut at = random.below(text.len() + 1);
    while !text.is_char_boundary(at) {
        at -= 1;
    }
    at
}
