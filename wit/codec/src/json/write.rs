//! The writer: appends to a byte buffer, keeps commas right, builds no tree.

use smallvec::SmallVec;

use super::{ensure_valid, scan};

/// Appends a JSON string. What needs no escape goes in runs: a text is mostly that, and byte by byte it costs a multiple.
pub fn write_string(out: &mut Vec<u8>, text: &str) {
    const HEX: &[u8; 16] = b"0123456789abcdef";
    let b = text.as_bytes();
    out.reserve(b.len() + 2);
    out.push(b'"');
    let mut from = 0;
    loop {
        let at = scan::special_from(b, from);
        out.extend_from_slice(&b[from..at]);
        let Some(&special) = b.get(at) else { break };
        let letter = match special {
            b'\n' => b'n',
            b'\r' => b'r',
            b'\t' => b't',
            0x8 => b'b',
            0xc => b'f',
            b'"' | b'\\' => special,
            _ => b'u',
        };
        out.extend_from_slice(&[b'\\', letter]);
        if letter == b'u' {
            out.extend_from_slice(&[b'0', b'0', HEX[usize::from(special >> 4)], HEX[usize::from(special & 15)]]);
        }
        from = at + 1;
    }
    out.push(b'"');
}

/// Appends the text of a JSON value, on one line: a line end between two of its tokens would end a data line of a stream.
pub(crate) fn write_raw(out: &mut Vec<u8>, json: &str) {
    let mut from = out.len();
    out.extend_from_slice(json.as_bytes());
    while let Some(at) = memchr::memchr2(b'\n', b'\r', &out[from..]) {
        from += at;
        out[from] = b' ';
    }
}

/// An object that is being written. Call [`Object::end`] when it is complete.
#[derive(Debug)]
pub struct Object<'w> {
    out: &'w mut Vec<u8>,
    /// Where the keys stand in `out`, without their quotes.
    keys: SmallVec<[(usize, usize); 8]>,
}

impl<'w> Object<'w> {
    /// Opens an object at the end of `out`.
    pub fn new(out: &'w mut Vec<u8>) -> Self {
        out.push(b'{');
        Self { out, keys: SmallVec::new() }
    }

    /// Writes a key; the caller appends the value to the returned buffer.
    pub fn key(&mut self, name: &str) -> &mut Vec<u8> {
        if !self.keys.is_empty() {
            self.out.push(b',');
        }
        let start = self.out.len() + 1;
        write_string(self.out, name);
        self.keys.push((start, self.out.len() - 1));
        self.out.push(b':');
        self.out
    }

    /// Whether a member with this name was written.
    pub fn wrote(&self, name: &str) -> bool {
        self.keys.iter().any(|&(start, end)| &self.out[start..end] == name.as_bytes())
    }

    /// Writes a member whose JSON text is known to be right.
    pub fn raw(&mut self, name: &str, json: &str) {
        write_raw(self.key(name), json);
    }

    /// Writes a member whose JSON text came from elsewhere; see [`ensure_valid`].
    pub fn json(&mut self, name: &str, json: &str) {
        let checked = ensure_valid(json);
        self.raw(name, &checked);
    }

    /// Writes a string.
    pub fn string(&mut self, name: &str, text: &str) {
        write_string(self.key(name), text);
    }

    /// Writes a boolean.
    pub fn bool(&mut self, name: &str, value: bool) {
        self.raw(name, if value { "true" } else { "false" });
    }

    /// Writes a whole number.
    pub fn int(&mut self, name: &str, value: impl Into<i128>) {
        self.raw(name, &value.into().to_string());
    }

    /// Writes a number; `null` for one that JSON does not have.
    pub fn f64(&mut self, name: &str, value: f64) {
        serde_json::to_writer(self.key(name), &value).expect("writing a number to memory cannot fail");
    }

    /// Writes a member whose value turns out to be worth it or not: where `write` says no, nothing of it stays.
    pub fn member_if(&mut self, name: &str, write: impl FnOnce(&mut Vec<u8>) -> bool) -> bool {
        let before = self.out.len();
        let kept = write(self.key(name));
        if !kept {
            self.out.truncate(before);
            self.keys.pop();
        }
        kept
    }

    /// Opens an object as a member.
    pub fn object(&mut self, name: &str) -> Object<'_> {
        Object::new(self.key(name))
    }

    /// Opens an array as a member.
    pub fn array(&mut self, name: &str) -> Array<'_> {
        Array::new(self.key(name))
    }

    /// Closes the object.
    pub fn end(self) {
        self.out.push(b'}');
    }
}

/// An array that is being written. Call [`Array::end`] when it is complete.
#[derive(Debug)]
pub struct Array<'w> {
    out: &'w mut Vec<u8>,
    first: bool,
}

impl<'w> Array<'w> {
    /// Opens an array at the end of `out`.
    pub fn new(out: &'w mut Vec<u8>) -> Self {
        out.push(b'[');
        Self { out, first: true }
    }

    /// Starts an element; the caller appends the value to the returned buffer.
    pub fn element(&mut self) -> &mut Vec<u8> {
        if !self.first {
            self.out.push(b',');
        }
        self.first = false;
        self.out
    }

    /// Opens an object as an element.
    pub fn object(&mut self) -> Object<'_> {
        Object::new(self.element())
    }

    /// Writes an object as an element that turns out to be worth it or not: where `write` says no, nothing of it stays.
    pub fn object_if(&mut self, write: impl FnOnce(Object<'_>) -> bool) -> bool {
        let (before, first) = (self.out.len(), self.first);
        let kept = write(self.object());
        if !kept {
            self.out.truncate(before);
            self.first = first;
        }
        kept
    }

    /// Writes a string as an element.
    pub fn string(&mut self, text: &str) {
        write_string(self.element(), text);
    }

    /// Closes the array.
    pub fn end(self) {
        self.out.push(b']');
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strings_are_written_as_serde_has_them() {
        // Each character at each place of a block, and beside others that need an escape.
        for code in (0..0x100u32).chain([0x2028, 0xFFFD, 0x1F914]) {
            let c = char::from_u32(code).expect("a character");
            for before in 0..70 {
                for text in [format!("{}{c}", "a".repeat(before)), format!("{}{c}\n{c}é{}", "é".repeat(before), "b".repeat(40))] {
                    let mut out = Vec::new();
                    write_string(&mut out, &text);
                    assert_eq!(String::from_utf8(out).expect("UTF-8"), serde_json::to_string(&text).expect("JSON"), "{text:?}");
                }
            }
        }
    }
}
