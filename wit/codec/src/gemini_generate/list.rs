//! The stream as one array that grows: cut into its elements as they complete. Bytes go in cut anywhere.

/// Cuts an array into its elements.
#[derive(Debug)]
pub(crate) struct List {
    limit: usize,
    /// The element that is not complete.
    held: Vec<u8>,
    /// Objects and arrays that are open in it.
    depth: usize,
    in_string: bool,
    /// The last character was a backslash in a string.
    escaped: bool,
    /// The opening bracket came.
    begun: bool,
    /// The closing bracket came.
    over: bool,
}

impl List {
    /// A cutter that takes elements of up to `limit` bytes.
    pub fn with_limit(limit: usize) -> Self {
        Self { limit, held: Vec::new(), depth: 0, in_string: false, escaped: false, begun: false, over: false }
    }

    /// Takes bytes and hands out the elements that they complete. False: an element is longer than the limit.
    pub fn push(&mut self, bytes: &[u8], sink: &mut dyn FnMut(&[u8])) -> bool {
        let mut start = 0;
        for (at, byte) in bytes.iter().enumerate() {
            if self.over {
                return true;
            }
            if self.in_string {
                let escaped = std::mem::take(&mut self.escaped);
                self.in_string = escaped || *byte != b'"';
                self.escaped = !escaped && *byte == b'\\';
                continue;
            }
            let between = self.depth == 0;
            match byte {
                b'[' if !self.begun => {
                    self.begun = true;
                    start = at + 1;
                }
                b'"' => self.in_string = true,
                b'{' | b'[' => self.depth += 1,
                b',' | b']' if between => {
                    self.held.extend_from_slice(&bytes[start..at]);
                    start = at + 1;
                    self.over = *byte == b']';
                    if !self.hand_out(sink) {
                        return false;
                    }
                }
                b'}' | b']' => {
                    self.depth = self.depth.saturating_sub(1);
                    if self.depth == 0 {
                        // Nobody waits for the comma behind it.
                        self.held.extend_from_slice(&bytes[start..=at]);
                        start = at + 1;
                        if !self.hand_out(sink) {
                            return false;
                        }
                    }
                }
                _ => {}
            }
        }
        if !self.over {
            self.held.extend_from_slice(&bytes[start..]);
        }
        self.held.len() <= self.limit
    }

    /// The beginning of an element that did not complete.
    pub fn held(&self) -> &[u8] {
        self.held.trim_ascii()
    }

    fn hand_out(&mut self, sink: &mut dyn FnMut(&[u8])) -> bool {
        let fits = self.held.len() <= self.limit;
        let element = self.held.trim_ascii();
        if fits && !element.is_empty() {
            sink(element);
        }
        self.held.clear();
        fits
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn elements(pieces: &[&[u8]]) -> (Vec<String>, String) {
        let (mut list, mut found) = (List::with_limit(100), Vec::new());
        for piece in pieces {
            assert!(list.push(piece, &mut |e| found.push(String::from_utf8_lossy(e).into_owned())));
        }
        (found, String::from_utf8_lossy(list.held()).into_owned())
    }

    /// Whole, byte by byte, and cut in two at every place.
    fn check(input: &str, expect: &[&str], held: &str) {
        let expect = (expect.iter().map(|e| (*e).to_owned()).collect::<Vec<_>>(), held.to_owned());
        let bytes = input.as_bytes();
        assert_eq!(elements(&[bytes]), expect, "{input:?}");
        assert_eq!(elements(&bytes.chunks(1).collect::<Vec<_>>()), expect, "byte by byte {input:?}");
        for at in 0..=bytes.len() {
            assert_eq!(elements(&[&bytes[..at], &bytes[at..]]), expect, "{input:?} cut at {at}");
        }
    }

    #[test]
    fn cuts_elements() {
        check("[]", &[], "");
        check(" [ {\"a\": [1, {}]} ,\r\n{\"b\":2}\n]\n", &["{\"a\": [1, {}]}", "{\"b\":2}"], "");
        check(r#"[{"a":"] } , \" \\"},{"b":1}]"#, &[r#"{"a":"] } , \" \\"}"#, r#"{"b":1}"#], "");
        check("[1, \"x\",null]", &["1", "\"x\"", "null"], "");
        check("[{\"a\":1},{\"b\"", &["{\"a\":1}"], "{\"b\"");
        check("[{}]]]{\"x\":1}", &["{}"], "");
        check("[{}}},{}]", &["{}", "}", "}", "{}"], "");
    }

    #[test]
    fn an_element_over_the_limit_is_refused() {
        for size in [1, 7, 1000] {
            let mut list = List::with_limit(100);
            let long = format!("[{{\"a\":\"{}\"}}]", "x".repeat(200));
            assert!(!long.as_bytes().chunks(size).all(|piece| list.push(piece, &mut |_| panic!("no element"))));
        }
    }
}
