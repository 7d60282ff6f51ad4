//! A made conversation of any size, as agents have them: instructions, tools, turns of text in several scripts, calls and results that are
//! documents in documents. What the codec costs is measured and bounded with it.

use llm_codec::hub::{
    ChatAnswer, ChatRequest, Choice, ContentShape, FinishReason, FunctionTool, Message, Params, Part, PartKind, ResultPart, ResultPartKind,
    Role, Tool, ToolCall, ToolCallKind, ToolKind, ToolResult, Usage,
};
use llm_codec::{EncodeOptions, Format, StreamOptions};

/// Every format, that of completions included.
pub const FORMATS: [Format; 5] =
    [Format::OpenaiChat, Format::OpenaiResponses, Format::OpenaiCompletions, Format::AnthropicMessages, Format::GeminiGenerate];

const QUESTION: &str = "Warum ist die Warteschlange nach dem Neustart leer? \u{6700}\u{8fd1}\u{306e}\u{30ed}\u{30b0}\u{3092}\u{898b}\u{3066}, and say \
     what changed between the two runs; the dashboard shows \u{2248}40 % fewer messages \u{1f914}.";
const PROSE: &str = "The queue is filled by the loader, which reads the state file when it starts. Before the restart the file was written \
     every ten seconds; since the last change it is written on shutdown only, and a process that is killed never gets there.\n\n";
const CODE: &str = "```rust\nfn load(path: &Path) -> io::Result<State> {\n    let text = fs::read_to_string(path)?;\n    \
     serde_json::from_str(&text).map_err(|e| io::Error::other(format!(\"{}: {e}\", path.display())))\n}\n```\n";
const LISTING: &str = "2026-11-01T12:00:03Z INFO  loader: \"state.json\" read, 4211 entries\n";

fn call(turn: usize) -> Part {
    let arguments = format!(r#"{{"path":"src/queue/loader_{turn}.rs","from":{turn},"pattern":"fn \"load\"","context":[3,5]}}"#);
    Part::new(PartKind::ToolCall(ToolCall {
        id: format!("call_{turn}"),
        name: "read_file".into(),
        arguments,
        kind: ToolCallKind::Function,
    }))
}

fn message(role: Role, parts: Vec<Part>) -> Message {
    Message { role, parts, shape: ContentShape::Parts, name: None, extras: Vec::new() }
}

/// The four messages of a turn: about 2.5 KB.
fn turn(number: usize) -> [Message; 4] {
    let result = ToolResult {
        tool_call_id: format!("call_{number}"),
        content: vec![ResultPart::new(ResultPartKind::Text(LISTING.repeat(12)))],
        shape: ContentShape::Text,
        is_error: None,
    };
    [
        message(Role::User, vec![Part::text(QUESTION)]),
        message(Role::Assistant, vec![Part::text(PROSE), call(number)]),
        message(Role::Tool, vec![Part::new(PartKind::ToolResult(result))]),
        message(Role::Assistant, vec![Part::text(format!("{PROSE}{CODE}{PROSE}"))]),
    ]
}

fn tool(number: usize) -> Tool {
    let parameters = r#"{"type":"object","properties":{"path":{"type":"string","description":"A path in the repository."},"from":{"type":"integer","minimum":0},"pattern":{"type":"string"}},"required":["path"]}"#;
    let function = FunctionTool {
        name: if number == 0 { "read_file".into() } else { format!("tool_{number}") },
        description: Some("Reads lines of a file, from a number on or around a pattern.".into()),
        parameters: Some(parameters.into()),
        strict: None,
    };
    Tool { kind: ToolKind::Function(function), cache_control: None, extras: Vec::new() }
}

fn request(format: Format, messages: Vec<Message>, tools: Vec<Tool>) -> Vec<u8> {
    let hub = ChatRequest {
        format: format.as_str().into(),
        model: "model-1".into(),
        messages,
        tools,
        tool_choice: None,
        params: Params { temperature: Some(0.5), max_tokens: Some(1000), ..Params::default() },
        stream: false,
        include_usage: false,
        extras: Vec::new(),
    };
    format.encode_request(&hub, &EncodeOptions::default()).body
}

/// A request of about `bytes` in many messages. Completions have one text, in which all of them stand.
pub fn many_messages(format: Format, bytes: usize) -> Vec<u8> {
    if format == Format::OpenaiCompletions {
        let text = format!("{QUESTION}\n{PROSE}{CODE}{PROSE}{}", LISTING.repeat(12));
        return one_text(format, &text.repeat(bytes / text.len()));
    }
    let mut messages = vec![message(Role::System, vec![Part::text(PROSE.repeat(8))])];
    let tools: Vec<Tool> = (0..8).map(tool).collect();
    let size = |turns: &[Message]| request(format, turns.to_vec(), tools.clone()).len();
    let (empty, one) = (size(&messages), size(&turn(100)));
    let turns = bytes.saturating_sub(empty) / (one - size(&[]));
    messages.extend((0..turns).flat_map(turn));
    request(format, messages, tools)
}

/// A request with one message of this text.
pub fn one_text(format: Format, text: &str) -> Vec<u8> {
    let shape = if format == Format::OpenaiCompletions { ContentShape::Text } else { ContentShape::Parts };
    let asked = Message { shape, ..message(Role::User, vec![Part::text(text)]) };
    request(format, vec![asked], Vec::new())
}

/// An answer of about `bytes`: text, and calls where the format has them.
pub fn answer(format: Format, bytes: usize) -> ChatAnswer {
    let text = format!("{PROSE}{CODE}{QUESTION}\n");
    let mut parts = vec![Part::text(text.repeat(bytes * 9 / 10 / text.len()))];
    if format != Format::OpenaiCompletions {
        parts.extend((0..bytes / 2000).map(call));
    }
    let finish = if parts.len() > 1 { FinishReason::ToolCalls } else { FinishReason::Stop };
    ChatAnswer {
        format: format.as_str().into(),
        id: "answer-1".into(),
        model: "model-1".into(),
        created: Some(1),
        choices: vec![Choice { index: 0, parts, shape: ContentShape::Parts, finish: Some(finish), extras: Vec::new() }],
        usage: Some(Usage {
            input_tokens: 25_000,
            cache_read_tokens: None,
            cache_write_tokens: None,
            output_tokens: 25_000,
            reasoning_tokens: None,
            raw: None,
        }),
        extras: Vec::new(),
    }
}

/// What an encoder of answers needs besides.
pub fn options() -> StreamOptions {
    StreamOptions { include_usage: true, id: "answer-1".into(), model: "model-1".into(), created: 1 }
}
