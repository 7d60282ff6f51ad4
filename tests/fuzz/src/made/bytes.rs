//! Changes of bytes that mean nothing to us: programs, and text that is damaged.

use super::random::Random;

/// What can be done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// One bit is another.
    Flip,
    /// One byte is another, mostly one that means something to somebody.
    Set,
    /// Bytes come in.
    Insert,
    /// Bytes are gone.
    Delete,
    /// Bytes are there twice.
    Repeat,
    /// Bytes stand elsewhere.
    Move,
    /// Bytes of another seed are in their place.
    Splice,
    /// The end is missing.
    Cut,
}

/// All kinds.
pub const KINDS: [Kind; 8] = [Kind::Flip, Kind::Set, Kind::Insert, Kind::Delete, Kind::Repeat, Kind::Move, Kind::Splice, Kind::Cut];

/// Ends of ranges, marks of encodings, punctuation of our formats.
const BYTES: [u8; 20] =
    [0, 1, 0x7f, 0x80, 0xbf, 0xc0, 0xed, 0xef, 0xff, b'"', b'\\', b'{', b'}', b'[', b',', b':', b'\n', b'\r', b' ', b'-'];

/// Changes the bytes once. Nothing can be done with no bytes but to put some in.
pub fn change(random: &mut Random, kind: Kind, bytes: &mut Vec<u8>, other: &[u8]) {
    if bytes.is_empty() {
        let range = random.range(other.len());
        bytes.extend_from_slice(&other[range]);
        return;
    }
    let at = random.below(bytes.len());
    match kind {
        Kind::Flip => bytes[at] ^= 1 << random.below(8),
        Kind::Set => bytes[at] = byte(random),
        Kind::Insert => {
            let most = if random.once_in(4) { 64 } else { 4 };
            let count = 1 + random.below(most);
            let same = random.once_in(2).then(|| byte(random));
            let fresh: Vec<u8> = (0..count).map(|_| same.unwrap_or_else(|| byte(random))).collect();
            drop(bytes.splice(at..at, fresh));
        }
        Kind::Delete => drop(bytes.drain(random.range(bytes.len()))),
        Kind::Repeat => {
            let copy = bytes[random.range(bytes.len())].to_vec();
            drop(bytes.splice(at..at, copy));
        }
        Kind::Move => {
            let taken: Vec<u8> = bytes.drain(random.range(bytes.len())).collect();
            let at = random.below(bytes.len() + 1);
            drop(bytes.splice(at..at, taken));
        }
        Kind::Splice => {
            let from = other[random.range(other.len())].to_vec();
            drop(bytes.splice(random.range(bytes.len()), from));
        }
        Kind::Cut => bytes.truncate(at),
    }
}

fn byte(random: &mut Random) -> u8 {
    if random.once_in(3) { random.next().to_be_bytes()[0] } else { *random.pick(&BYTES) }
}
