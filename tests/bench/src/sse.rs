//! The event stream of an upstream, parsed and written again.

use serde_json::Value;

/// Reads events in pieces of any size and writes their `data:` again from parsed JSON.
#[derive(Default)]
pub struct Rewriter {
    unread: Vec<u8>,
}

impl Rewriter {
    /// What can be written now; the beginning of an event waits for its end.
    pub fn push(&mut self, bytes: &[u8]) -> serde_json::Result<Vec<u8>> {
        self.unread.extend_from_slice(bytes);
        let mut written = Vec::with_capacity(self.unread.len());
        let mut done = 0;
        while let Some(length) = self.unread[done..].iter().position(|b| *b == b'\n') {
            line(&self.unread[done..done + length], &mut written)?;
            done += length + 1;
        }
        self.unread.drain(..done);
        Ok(written)
    }
}

fn line(line: &[u8], out: &mut Vec<u8>) -> serde_json::Result<()> {
    match line.strip_prefix(b"data: ") {
        Some(data) if data != b"[DONE]" => {
            let value: Value = serde_json::from_slice(data)?;
            out.extend_from_slice(b"data: ");
            serde_json::to_writer(&mut *out, &value)?;
        }
        _ => out.extend_from_slice(line),
    }
    out.push(b'\n');
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const STREAM: &[u8] = b"data: {\"b\":1,\"a\":[null]}\n\n: comment\n\ndata: [DONE]\n\n";

    #[test]
    fn any_split_gives_the_same_bytes() {
        for at in 0..=STREAM.len() {
            let mut rewriter = Rewriter::default();
            let mut written = rewriter.push(&STREAM[..at]).unwrap();
            written.extend(rewriter.push(&STREAM[at..]).unwrap());
            assert_eq!(written, STREAM, "{at}");
        }
    }

    #[test]
    fn what_is_no_json_is_an_error() {
        assert!(Rewriter::default().push(b"data: {\n").is_err());
    }
}
