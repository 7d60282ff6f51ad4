//! An estimate of how many tokens a request has, for models that nobody can be asked about.
//!
//! No tokeniser is carried: each provider has others, and they would be larger than everything else here. Instead words, numbers and signs are
//! counted about as a tokeniser for English text and code cuts them, and what providers add around messages and tools is added. How far that is
//! off is measured against recorded usage by `tests/corpus/estimate.rs`, whose figures stand in `docs/decisions/0009-operations.md`.

use crate::hub::{ChatRequest, Delta, PartKind, ResponseFormat, ResultPartKind, StreamEvent, ToolKind};

/// What an image, a sound or a document is taken for, in tokens. Their size is not known without decoding them; this is an image of about one
/// megapixel.
const MEDIA: f64 = 1500.0;

/// What a provider adds, in tokens, and how its tokeniser compares.
struct Rates {
    /// For each of our pieces of text.
    piece: f64,
    /// For each message.
    message: f64,
    /// Once.
    start: f64,
    /// Once, when there are tools: the instructions that explain them to the model.
    tools: f64,
    /// For each tool.
    tool: f64,
    /// For each piece of a tool's description and schema, or of a schema of the answer.
    schema: f64,
}

/// Anthropic's models, whoever hosts them.
const CLAUDE: Rates = Rates { piece: 1.08, message: 4.0, start: 6.0, tools: 500.0, tool: 0.0, schema: 0.9 };

/// All others. Schemas reach OpenAI's models in a shorter notation than JSON.
const OTHERS: Rates = Rates { piece: 0.95, message: 4.0, start: 3.0, tools: 12.0, tool: 4.0, schema: 0.55 };

impl Rates {
    fn of(model: &str) -> Self {
        if model.to_ascii_lowercase().contains("claude") { CLAUDE } else { OTHERS }
    }
}

/// About how many tokens a model wrote to say what these events of its stream hold: text, reasoning, tool calls. 0 when they hold none of that.
pub fn output_tokens(model: &str, events: &[StreamEvent]) -> u64 {
    let rates = Rates::of(model);
    // Pieces of a stream cut words in two, so each kind of text is counted as a whole.
    let (mut said, mut thought, mut asked) = (String::new(), String::new(), String::new());
    let mut whole = 0.0;
    for event in events {
        match event {
            StreamEvent::BlockStart(start) => match &start.part.kind {
                PartKind::Text(text) | PartKind::Refusal(text) => said.push_str(text),
                PartKind::Thinking(thinking) => thought.push_str(&thinking.text),
                other => whole += of_part(other, &rates),
            },
            StreamEvent::BlockDelta(grows) => match &grows.delta {
                Delta::Text(text) | Delta::Refusal(text) => said.push_str(text),
                Delta::Thinking(text) => thought.push_str(text),
                Delta::Arguments(json) => asked.push_str(json),
                // A signature is made by the provider and written by nobody.
                Delta::Signature(_) => {}
                Delta::Other(json) => whole += rates.piece * pieces(json),
            },
            _ => {}
        }
    }
    (whole + rates.piece * (pieces(&said) + pieces(&thought) + pieces(&asked))).ceil() as u64
}

/// About how many input tokens a request has; at least 1.
pub fn input_tokens(request: &ChatRequest) -> u64 {
    input_tokens_of(&request.model, request)
}

/// The same when another model is asked.
pub fn input_tokens_of(model: &str, request: &ChatRequest) -> u64 {
    let rates = Rates::of(model);
    let content: f64 = request.messages.iter().flat_map(|m| &m.parts).map(|part| of_part(&part.kind, &rates)).sum();
    let mut schema = 0.0;
    for tool in &request.tools {
        schema += match &tool.kind {
            ToolKind::Function(f) => {
                pieces(&f.name) + pieces(f.description.as_deref().unwrap_or_default()) + pieces(f.parameters.as_deref().unwrap_or_default())
            }
            ToolKind::Other(other) => pieces(&other.value),
        };
    }
    if let Some(ResponseFormat::JsonSchema(wanted)) = &request.params.response_format {
        schema += pieces(wanted);
    }
    let around = rates.start + rates.message * request.messages.len() as f64;
    let tools = if request.tools.is_empty() { 0.0 } else { rates.tools + rates.tool * request.tools.len() as f64 };
    (content + around + tools + rates.schema * schema).ceil().max(1.0) as u64
}

/// About how many tokens texts have that are no conversation; at least 1.
pub fn text_tokens<'t>(texts: impl Iterator<Item = &'t str>) -> u64 {
    texts.map(|text| OTHERS.piece * pieces(text)).sum::<f64>().ceil().max(1.0) as u64
}

fn of_part(part: &PartKind, rates: &Rates) -> f64 {
    /// What stands around a call or its result.
    const FRAME: f64 = 8.0;
    match part {
        PartKind::Text(text) | PartKind::Refusal(text) => rates.piece * pieces(text),
        PartKind::Thinking(thinking) => rates.piece * pieces(&thinking.text),
        // Encrypted: three quarters of its characters are bytes, and about four bytes a token.
        PartKind::RedactedThinking(data) => data.len() as f64 * 3.0 / 16.0,
        PartKind::Image(_) | PartKind::Audio(_) | PartKind::Document(_) => MEDIA,
        PartKind::ToolCall(call) => rates.piece * (pieces(&call.name) + pieces(&call.arguments) + FRAME),
        PartKind::ToolResult(result) => {
            let content = result.content.iter().map(|piece| match &piece.kind {
                ResultPartKind::Text(text) => rates.piece * pieces(text),
                ResultPartKind::Image(_) | ResultPartKind::Document(_) => MEDIA,
                ResultPartKind::Other(json) => rates.piece * pieces(json),
            });
            content.sum::<f64>() + rates.piece * FRAME
        }
        PartKind::Other(other) => rates.piece * pieces(&other.value),
    }
}

/// About how many pieces a tokeniser cuts a text into: short words are one and long ones more, three digits are one, a single space belongs to
/// the word that follows, and of other scripts a character is one piece or two.
fn pieces(text: &str) -> f64 {
    let mut sum = 0.0;
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let run = |same: fn(char) -> bool| rest.find(|c| !same(c)).unwrap_or(rest.len());
        let (length, count) = match first {
            'a'..='z' | 'A'..='Z' => {
                let length = run(|c| c.is_ascii_alphabetic());
                (length, 1.0 + length.saturating_sub(6) as f64 / 5.0)
            }
            '0'..='9' => {
                let length = run(|c| c.is_ascii_digit());
                (length, length.div_ceil(3) as f64)
            }
            c if c.is_whitespace() => {
                let length = run(char::is_whitespace);
                (length, if &rest[..length] == " " { 0.0 } else { 0.5 })
            }
            c if c.is_ascii() => (1, 0.75),
            c => {
                let length = c.len_utf8();
                (length, [0.9, 1.1, 2.0][length - 2])
            }
        };
        sum += count;
        rest = &rest[length..];
    }
    sum
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Format;

    #[test]
    fn text_is_cut_about_as_a_tokeniser_would() {
        for (text, expect) in [
            ("", 0.0),
            ("one two", 2.0),
            ("internationalisation", 3.8),
            ("1234", 2.0),
            ("a\n\nb", 2.5),
            ("é", 0.9),
            ("東京", 2.2),
            ("😀", 2.0),
            ("{}", 1.5),
        ] {
            assert!((pieces(text) - expect).abs() < 1e-9, "{text:?}: {}", pieces(text));
        }
    }

    #[test]
    fn what_was_written_is_counted_however_it_was_cut() {
        let count = |pieces: &[&str]| {
            let chunk = |piece: &&str| {
                let delta = serde_json::json!({"choices": [{"index": 0, "delta": {"content": piece}, "finish_reason": null}], "id": "x"});
                format!("data: {delta}\n\n")
            };
            let (mut decoder, mut events) = (Format::OpenaiChat.event_decoder(), Vec::new());
            decoder.push(pieces.iter().map(chunk).collect::<String>().as_bytes(), &mut events);
            output_tokens("m", &events)
        };
        assert_eq!((count(&[]), count(&[""])), (0, 0));
        assert_eq!(count(&["one two three four"]), 4);
        assert_eq!(count(&["one t", "wo th", "ree", " four"]), 4);
        assert!(count(&["東京"]) > count(&["an"]));
    }

    #[test]
    fn more_to_read_is_more_to_count() {
        let count = |body: serde_json::Value| input_tokens(&Format::OpenaiChat.decode_request(body.to_string().as_bytes()).unwrap());
        let hello = serde_json::json!({"model": "m", "messages": [{"role": "user", "content": "hello"}]});
        let mut more = hello.clone();
        more["tools"] = serde_json::json!([{"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}]);
        let mut picture = hello.clone();
        picture["messages"][0]["content"] = serde_json::json!([{"type": "image_url", "image_url": {"url": "https://a/b.png"}}]);
        assert!(0 < count(hello.clone()) && count(hello.clone()) < count(more) && count(hello) + 1000 < count(picture));
    }
}
