//! What operations (embeddings, images and the like) tell of their usage. Their answers are no conversations and are not read otherwise.

use memchr::memmem;

use super::tap::one_data;
use crate::hub::Usage;
use crate::json::{Document, Value};
use crate::sse::Splitter;
use crate::{gemini_generate, openai_chat, openai_responses};

/// Longest event that is looked at, in bytes. What is longer is not read, and nothing after it.
const MAX_EVENT: usize = 8 << 20;

/// The usage that a complete answer tells, if it is JSON and does.
pub fn operation_usage(body: &[u8]) -> Option<Usage> {
    let document = Document::parse(body).ok()?;
    match document.get("usage") {
        Some(usage) => of_object(usage),
        // Gemini's.
        None => gemini_generate::read_usage(Value::parse(document.get("usageMetadata")?)?),
    }
}

/// A usage object: OpenAI counts `prompt_tokens` in some operations and `input_tokens` in others.
fn of_object(json: &str) -> Option<Usage> {
    let value = Value::parse(json)?;
    let fields = value.object()?;
    if fields.peek("input_tokens").is_some() || fields.peek("output_tokens").is_some() {
        return openai_responses::read_usage(value);
    }
    openai_chat::read_usage(value)
}

/// Looks at an event stream as it passes. The bytes themselves go on without it.
#[derive(Debug)]
pub struct UsageTap {
    splitter: Splitter,
    word: memmem::Finder<'static>,
    usage: Option<Usage>,
    /// An event was too long.
    blind: bool,
}

impl Default for UsageTap {
    fn default() -> Self {
        Self { splitter: Splitter::with_limit(MAX_EVENT), word: memmem::Finder::new("\"usage\""), usage: None, blind: false }
    }
}

impl UsageTap {
    /// Takes bytes, cut anywhere.
    pub fn push(&mut self, chunk: &[u8]) {
        if self.blind {
            return;
        }
        let Self { splitter, word, usage, .. } = self;
        let read = splitter.push(chunk, &mut |raw| {
            if word.find(raw).is_some()
                && let Some(told) = one_data(raw).and_then(operation_usage)
            {
                *usage = Some(told);
            }
        });
        self.blind = read.is_err();
    }

    /// The last usage that was told.
    pub fn usage(&self) -> Option<&Usage> {
        self.usage.as_ref()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Input and output tokens.
    fn counts(usage: Option<&Usage>) -> Option<(u64, u64)> {
        usage.map(|u| (u.input_tokens, u.output_tokens))
    }

    #[test]
    fn answers() {
        for (body, expect) in [
            (r#"{"data":[],"usage":{"prompt_tokens":8,"total_tokens":8}}"#, Some((8, 0))),
            (r#"{"data":[],"usage":{"input_tokens":50,"output_tokens":4160,"total_tokens":4210}}"#, Some((50, 4160))),
            (r#"{"choices":[],"usage":{"prompt_tokens":5,"completion_tokens":7,"total_tokens":12}}"#, Some((5, 7))),
            (r#"{"text":"x","usage":{"type":"duration","seconds":3}}"#, None),
            (r#"{"embedding":{"values":[1]},"usageMetadata":{"promptTokenCount":4}}"#, Some((4, 0))),
            (r#"{"totalTokens":4}"#, None),
            (r#"{"usageMetadata":5}"#, None),
            (r#"{"usage":null}"#, None),
            (r#"{"usage":"x"}"#, None),
            ("{}", None),
            ("not JSON", None),
        ] {
            assert_eq!(counts(operation_usage(body.as_bytes()).as_ref()), expect, "{body}");
        }
    }

    #[test]
    fn streams_however_they_are_cut() {
        let stream = "event: a\ndata: {\"type\":\"a\",\"text\":\"\\\"usage\\\"\"}\n\n\
            event: done\ndata: {\"type\":\"done\",\"usage\":{\"input_tokens\":3,\"output_tokens\":4}}\n\n";
        for size in [1, 7, stream.len()] {
            let mut tap = UsageTap::default();
            stream.as_bytes().chunks(size).for_each(|chunk| tap.push(chunk));
            assert_eq!(counts(tap.usage()), Some((3, 4)), "in pieces of {size}");
        }
        let mut tap = UsageTap::default();
        tap.push(&vec![b'x'; MAX_EVENT + 1]);
        tap.push(stream.as_bytes());
        assert_eq!(tap.usage(), None, "after what is too long nothing is read");
    }
}
