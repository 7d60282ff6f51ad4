//! Inputs that are made from seeds and a number. Nothing else counts: no machine, no order of a folder, no earlier input, no code that
//! is tested. So what fails on one machine fails on every other.
//!
//! How a seed is changed follows from what it is: a JSON document as one, text by its lines, anything else by its bytes.

mod bytes;
mod json;
mod lines;
mod random;

use json::Node;
use random::Random;

/// Most changes of one input. Few find what one member does; many find what members do together.
const CHANGES: usize = 6;

/// Words that documents use where the caller knows none.
const WORDS: [&str; 6] = ["type", "id", "content", "text", "error", "index"];

/// What inputs are made from.
pub struct Maker {
    seeds: Vec<Seed>,
    words: Vec<String>,
    longest: usize,
}

struct Seed {
    bytes: Vec<u8>,
    shape: Shape,
}

enum Shape {
    Document(Node),
    Text(String),
    Bytes,
}

/// One change that was made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Change {
    /// Of a document.
    Json(json::Kind),
    /// Of text.
    Lines(lines::Kind),
    /// Of bytes.
    Bytes(bytes::Kind),
}

impl Maker {
    /// From seeds in an order that is the same everywhere, with the words of the format. No input is longer than `longest` bytes.
    pub fn new(seeds: Vec<Vec<u8>>, words: Vec<String>, longest: usize) -> Self {
        let mut seeds: Vec<Seed> = seeds.into_iter().filter(|bytes| bytes.len() <= longest).map(Seed::of).collect();
        if seeds.is_empty() {
            seeds.push(Seed::of(b"{}".to_vec()));
        }
        let words = if words.is_empty() { WORDS.map(str::to_owned).to_vec() } else { words };
        Self { seeds, words, longest }
    }

    /// Input number `index` of those that belong to `number`. The first ones are the seeds themselves.
    pub fn input(&self, number: u64, index: u64) -> Vec<u8> {
        self.input_with_changes(number, index).0
    }

    fn input_with_changes(&self, number: u64, index: u64) -> (Vec<u8>, Vec<Change>) {
        if let Some(seed) = usize::try_from(index).ok().and_then(|index| self.seeds.get(index)) {
            return (seed.bytes.clone(), Vec::new());
        }
        let mut random = Random::of(&[number, index]);
        let (seed, other) = (random.pick(&self.seeds), random.pick(&self.seeds));
        let (mut bytes, mut changes) = match &seed.shape {
            Shape::Document(document) => self.document(&mut random, document, other),
            Shape::Text(text) => self.text(&mut random, text, other),
            Shape::Bytes => (seed.bytes.clone(), Vec::new()),
        };
        // Bytes that have no other shape, and now and then a document or a text on its way through somebody's hands.
        if changes.is_empty() || random.once_in(12) {
            for _ in 0..=random.below(CHANGES) {
                let kind = *random.pick(&bytes::KINDS);
                bytes::change(&mut random, kind, &mut bytes, &other.bytes);
                changes.push(Change::Bytes(kind));
            }
        }
        bytes.truncate(self.longest);
        (bytes, changes)
    }

    fn document(&self, random: &mut Random, seed: &Node, other: &Seed) -> (Vec<u8>, Vec<Change>) {
        let (mut document, mut changes) = (seed.clone(), Vec::new());
        let other = if let Shape::Document(other) = &other.shape { Some(other) } else { None };
        for _ in 0..=random.below(CHANGES) {
            let kind = *random.pick(&json::KINDS);
            if !json::is_huge(&document) && json::change(random, kind, &mut document, other, &self.words) {
                changes.push(Change::Json(kind));
            }
        }
        let mut out = String::new();
        document.write(&mut out);
        (out.into_bytes(), changes)
    }

    fn text(&self, random: &mut Random, seed: &str, other: &Seed) -> (Vec<u8>, Vec<Change>) {
        let (mut text, mut changes) = (seed.to_owned(), Vec::new());
        let other = if let Shape::Text(other) = &other.shape { other } else { seed };
        for _ in 0..=random.below(CHANGES) {
            // Most of what a stream says is in its documents.
            let in_document = random.once_in(2);
            let kind = if in_document { lines::Kind::Data(*random.pick(&json::KINDS)) } else { *random.pick(&lines::KINDS) };
            if text.len() <= 4 * self.longest && lines::change(random, kind, &mut text, other, &self.words) {
                changes.push(Change::Lines(kind));
            }
        }
        (text.into_bytes(), changes)
    }
}

impl Seed {
    fn of(bytes: Vec<u8>) -> Self {
        let shape = match (Node::read(&bytes), std::str::from_utf8(&bytes)) {
            (Some(document), _) => Shape::Document(document),
            (None, Ok(text)) if !text.contains('\0') => Shape::Text(text.to_owned()),
            _ => Shape::Bytes,
        };
        Self { bytes, shape }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LONGEST: usize = 4096;

    fn maker() -> Maker {
        let seeds: [&[u8]; 6] = [
            br#"{"model":"m","messages":[{"role":"user","content":"a\nb"},{"role":"tool","content":[{"type":"text","n":1}]}],"n":1.5}"#,
            br#"{"id":"x","choices":[{"index":0,"delta":{"content":"\u00e9"}}],"usage":null}"#,
            b"event: a\ndata: {\"type\":\"a\",\"index\":0}\n\ndata: {\"text\":\"\xc3\xa9\",\"n\":2}\n\ndata: [DONE]\n\n",
            b"providers:\n  a: {type: echo}\n\nextensions:\n  b:\n",
            b"\0asm\x0d\0\x01\0\x07\x03\x01\x40\0",
            b"",
        ];
        Maker::new(seeds.map(<[u8]>::to_vec).to_vec(), vec!["tool_use".into(), "end_turn".into()], LONGEST)
    }

    fn digest(inputs: impl Iterator<Item = Vec<u8>>) -> u64 {
        inputs.flatten().fold(0, |hash: u64, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3).rotate_left(5))
    }

    #[test]
    fn the_same_number_makes_the_same_bytes() {
        let (one, two) = (maker(), maker());
        for index in (0..2000).rev() {
            assert_eq!(one.input(7, index), two.input(7, index), "input {index}");
        }
        let inputs = |number| (6..500).map(move |index| maker().input(number, index));
        assert_ne!(digest(inputs(7)), digest(inputs(8)));
    }

    /// The figure was computed on one machine; another machine, or another version of a crate, that makes other inputs shows here.
    #[test]
    fn the_bytes_are_the_same_on_every_machine() {
        assert_eq!(digest((0..3000).map(|index| maker().input(1, index))), 0x9908_af0c_f560_a2c6);
    }

    #[test]
    fn every_change_occurs() {
        let (maker, mut found) = (maker(), Vec::new());
        (0..20_000).for_each(|index| found.extend(maker.input_with_changes(1, index).1));
        let wanted = json::KINDS
            .iter()
            .flat_map(|kind| [Change::Json(*kind), Change::Lines(lines::Kind::Data(*kind))])
            .chain(lines::KINDS.iter().map(|kind| Change::Lines(*kind)))
            .chain(bytes::KINDS.iter().map(|kind| Change::Bytes(*kind)));
        for change in wanted {
            let count = found.iter().filter(|found| **found == change).count();
            assert!(count > 100, "{change:?} occurs {count} times");
        }
    }

    #[test]
    fn inputs_stay_under_the_longest_and_differ() {
        let maker = maker();
        let mut inputs: Vec<_> = (0..5000).map(|index| maker.input(3, index)).collect();
        assert!(inputs.iter().all(|input| input.len() <= LONGEST));
        inputs.sort();
        inputs.dedup();
        assert!(inputs.len() > 4000, "only {} of 5000 inputs differ", inputs.len());
    }

    #[test]
    fn documents_mostly_stay_documents() {
        let seed = br#"{"a":[1,"b",{"c":null}],"d":"e"}"#.to_vec();
        let maker = Maker::new(vec![seed], Vec::new(), LONGEST);
        let documents = (1..1000).filter(|index| serde_json::from_slice::<&serde_json::value::RawValue>(&maker.input(1, *index)).is_ok());
        assert!((800..1000).contains(&documents.count()));
    }

    #[test]
    fn without_seeds_there_are_inputs() {
        let maker = Maker::new(Vec::new(), Vec::new(), LONGEST);
        assert_eq!(maker.input(1, 0), b"{}");
        assert_ne!(digest((1..100).map(|index| maker.input(1, index))), 0);
    }
}
