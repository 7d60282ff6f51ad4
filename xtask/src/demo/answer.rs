//! One streamed answer, on the screen as it arrives.

use std::io::Write;

use anyhow::{Context, Result, bail, ensure};

use super::dialect::{Dialect, Event};
use crate::http::Client;

/// Prints the answer and returns the gateway's id of the request. An answer that is empty, cut or an error is an error.
pub fn stream(client: &Client, dialect: Dialect, model: &str) -> Result<String> {
    let mut stream = client.post_stream(dialect.path(), &dialect.request(model))?;
    let mut printer = Printer::default();
    loop {
        let data = stream.next_data()?.context("the stream was cut: it ended without its last event")?;
        match dialect.event(&data) {
            Event::Text(text) => printer.print(&text)?,
            Event::End => break,
            Event::Error(message) => bail!("the stream reported an error: {message}"),
            Event::Other => {}
        }
    }
    ensure!(printer.letters > 0, "the answer is empty");
    stream.request_id.context("the answer has no x-request-id header")
}

/// Wraps at a readable width, below the indentation of the steps.
#[derive(Default)]
struct Printer {
    letters: usize,
    column: usize,
}

const INDENT: &str = "        ";
const WIDTH: usize = 100;

impl Printer {
    fn print(&mut self, text: &str) -> Result<()> {
        self.letters += text.trim().len();
        let laid_out = self.lay_out(text);
        let mut output = std::io::stdout().lock();
        output.write_all(laid_out.as_bytes())?;
        Ok(output.flush()?)
    }

    fn lay_out(&mut self, text: &str) -> String {
        let mut laid_out = String::new();
        for character in text.chars() {
            if character == '\n' || (character == ' ' && self.column >= WIDTH) {
                laid_out.push('\n');
                self.column = 0;
                continue;
            }
            if self.column == 0 {
                laid_out.push_str(INDENT);
            }
            laid_out.push(character);
            self.column += 1;
        }
        laid_out
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_answers_wrap_at_spaces_however_they_are_cut() {
        let words = "word ".repeat(40);
        let mut whole = Printer::default();
        let expected = whole.lay_out(&words);
        let mut pieces = Printer::default();
        let laid_out: String = words.chars().map(|character| pieces.lay_out(&character.to_string())).collect();
        assert_eq!(laid_out, expected);
        assert!(expected.lines().all(|line| line.len() <= INDENT.len() + WIDTH + 4));
        assert_eq!(expected.lines().count(), 2);
    }
}
