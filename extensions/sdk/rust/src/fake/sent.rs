//! What an extension sent to a client, for tests of [`HttpStream`](crate::HttpStream).

use serde_json::Value;

use crate::{Header, Outgoing};

/// Takes an answer that is written piece by piece.
#[derive(Debug, Clone, Default)]
pub struct Sent {
    /// The status; 0 when there was no head.
    pub status: u16,
    /// The header fields.
    pub headers: Vec<Header>,
    /// All of the body.
    pub body: Vec<u8>,
}

impl Outgoing for Sent {
    fn head(&mut self, status: u16, headers: &[Header]) {
        assert_eq!(self.status, 0, "an answer has one head");
        self.status = status;
        self.headers = headers.to_vec();
    }

    fn write(&mut self, bytes: &[u8]) -> bool {
        self.body.extend_from_slice(bytes);
        true
    }
}

impl Sent {
    /// The body, which is one document.
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|e| panic!("{e}: {}", String::from_utf8_lossy(&self.body)))
    }

    /// A header field.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|h| h.name.eq_ignore_ascii_case(name)).map(|h| h.value.as_str())
    }

    /// The events in the body: their names, which are empty where none is given, and their documents.
    pub fn events(&self) -> Vec<(String, Value)> {
        let text = String::from_utf8_lossy(&self.body);
        let event = |lines: &str| {
            let line = |field: &str| lines.lines().find_map(|l| l.strip_prefix(field));
            let data = serde_json::from_str(line("data: ")?).unwrap_or_else(|e| panic!("{e}: {lines}"));
            Some((line("event: ").unwrap_or_default().to_owned(), data))
        };
        text.split("\n\n").filter_map(event).collect()
    }
}
