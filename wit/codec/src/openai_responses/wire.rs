//! Events as bytes, numbered.

use super::frames::Block;
use crate::json::{Object, Value, ensure_valid, write_raw, write_string};

/// Writes the events of one stream.
#[derive(Debug, Default)]
pub(super) struct Wire {
    sequence: u64,
}

impl Wire {
    /// Writes an event.
    pub fn event(&mut self, kind: &str, out: &mut Vec<u8>, write: impl FnOnce(&mut Object<'_>)) {
        out.extend_from_slice(b"event: ");
        out.extend_from_slice(kind.as_bytes());
        out.extend_from_slice(b"\ndata: ");
        let mut o = Object::new(out);
        o.string("type", kind);
        o.int("sequence_number", self.sequence);
        write(&mut o);
        o.end();
        out.extend_from_slice(b"\n\n");
        self.sequence += 1;
    }

    /// Writes a piece of text: most events are one, so it is written by hand. `number` names the block's number in its item.
    pub fn delta(&mut self, kind: &str, block: &Block, number: Option<&str>, text: &str, logprobs: Option<&str>, out: &mut Vec<u8>) {
        for piece in ["event: ", kind, "\ndata: {\"type\":\"", kind, "\",\"sequence_number\":", &self.sequence.to_string()] {
            out.extend_from_slice(piece.as_bytes());
        }
        self.sequence += 1;
        out.extend_from_slice(b",\"item_id\":");
        write_string(out, &block.id);
        out.extend_from_slice(b",\"output_index\":");
        out.extend_from_slice(block.item.unwrap_or_default().to_string().as_bytes());
        if let Some(name) = number {
            for piece in [",\"", name, "\":", &block.content.to_string()] {
                out.extend_from_slice(piece.as_bytes());
            }
        }
        out.extend_from_slice(b",\"delta\":");
        write_string(out, text);
        if let Some(logprobs) = logprobs {
            out.extend_from_slice(b",\"logprobs\":");
            write_raw(out, &ensure_valid(logprobs));
        }
        out.extend_from_slice(b"}\n\n");
    }

    /// Writes an event that the hub does not model, with its numbers as they are in this stream.
    pub fn other(&mut self, json: &str, item: Option<usize>, out: &mut Vec<u8>) {
        let Some(f) = Value::parse(json).and_then(Value::object) else { return };
        let Some(kind) = f.peek("type").and_then(Value::text).filter(|k| !k.contains(['\n', '\r'])) else { return };
        self.event(&kind, out, |o| {
            for e in f.rest() {
                match (e.name.as_str(), item) {
                    ("type" | "sequence_number", _) => {}
                    ("output_index", Some(item)) => o.int("output_index", item as u64),
                    _ => o.raw(&e.name, &e.value),
                }
            }
        });
    }
}
