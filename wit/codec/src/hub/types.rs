//! The hub: the one shape that every wire format decodes to and encodes from.
//!
//! These are the records of `wit/hub.wit`, field by field: the host and the guests use these very types on both sides
//! of the component boundary, so a hub value crosses it without a conversion. Change the two files together.

/// A JSON document, as text. It is kept as it was written: number spelling and key order survive.
pub type Json = String;

/// Name of a wire format, for example `openai-chat`, `openai-responses` or `anthropic-messages`.
pub type FormatName = String;

/// A field that the hub does not model, kept with its name and its JSON value.
#[derive(Debug, Clone, PartialEq)]
#[cfg_attr(feature = "component", derive(wasmtime::component::ComponentType, wasmtime::component::Lift, wasmtime::component::Lower))]
#[cfg_attr(feature = "component", component(record))]
pub struct Extra {
    /// The field's name in its object.
    pub name: String,
    /// The field's value.
    pub value: Json,
}

/// Who speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "component", derive(wasmtime::component::ComponentType, wasmtime::component::Lift, wasmtime::component::Lower))]
#[cfg_attr(feature = "component", component(enum))]
#[repr(u8)]
pub enum Role {
    /// Instructions of the application.
    #[cfg_attr(feature = "component", component(name = "system"))]
    System,
    /// Instructions of the application, in formats that tell them from `system`.
    #[cfg_attr(feature = "component", component(name = "developer"))]
    Developer,
    /// The person, or the program that asks.
    #[cfg_attr(feature = "component", component(name = "user"))]
    User,
    /// The model.
    #[cfg_attr(feature = "component", component(name = "assistant"))]
    Assistant,
    /// The result of a tool call.
    #[cfg_attr(feature = "component", component(name = "tool"))]
    Tool,
}

impl Role {
    /// The case with this number; the order is the contract's. Called by generated bindings.
    #[doc(hidden)]
    pub fn _lift(number: u8) -> Self {
        match number {
            0 => Self::System,
            1 => Self::Developer,
            2 => Self::User,
            3 => Self::Assistant,
            _ => Self::Tool,
        }
    }
}

/// How a message's content was written, so that the same format can write it the same way.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "component", derive(wasmtime::component::ComponentType, wasmtime::component::Lift, wasmtime::component::Lower))]
#[cfg_attr(feature = "component", component(enum))]
#[repr(u8)]
pub enum ContentShape {
    /// One string.
    #[cfg_attr(feature = "component", component(name = "text"))]
    Text,
    /// A list of parts.
    #[cfg_attr(feature = "component", component(name = "parts"))]
    Parts,
    /// JSON `null`.
    #[cfg_attr(feature = "component", component(name = "null"))]
    Null,
    /// The field was not there.
    #[cfg_attr(feature = "component", component(name = "absent"))]
    Absent,
}

impl ContentShape {
    /// The case with this number; the order is the contract's. Called by generated bindings.
    #[doc(hidden)]
    pub fn _lift(number: u8) -> Self {
        match number {
            0 => Self::Text,
            1 => Self::Parts,
            2 => Self::Null,
            _ => Self::Absent,
        }
    }
}

/// Bytes encoded as base64, with their media type.
#[derive(Debug, Clone, PartialEq)]
#[cfg_attr(feature = "component", derive(wasmtime::component::ComponentType, wasmtime::component::Lift, wasmtime::component::Lower))]
#[cfg_attr(feature = "component", component(record))]
pub struct InlineData {
    /// For example `image/png`.
    #[cfg_attr(feature = "component", component(name = "media-type"))]
    pub media_type: String,
    /// Base64, as it came.
    pub data: String,
}

/// Where the bytes of an image, a sound or a document are.
#[derive(Debug, Clone, PartialEq)]
#[cfg_attr(feature = "component", derive(wasmtime::component::ComponentType, wasmtime::component::Lift, wasmtime::component::Lower))]
#[cfg_attr(feature = "component", component(variant))]
pub enum MediaSource {
    /// An address the provider fetches.
    #[cfg_attr(feature = "component", component(name = "url"))]
    Url(String),
    /// The bytes themselves.
    #[cfg_attr(feature = "component", component(name = "inline"))]
    Inline(InlineData),
    /// The provider's own id of an uploaded file.
    #[cfg_attr(feature = "component", component(name = "file-id"))]
    FileId(String),
    /// Plain text given as a document.
    #[cfg_attr(feature = "component", component(name = "text"))]
    Text(String),
    /// A source that the hub does not model, whole.
    #[cfg_attr(feature = "component", component(name = "other"))]
    Other(Json),
}

/// An image, a sound or a document.
#[derive(Debug, Clone, PartialEq)]
#[cfg_attr(feature = "component", derive(wasmtime::component::ComponentType, wasmtime::component::Lift, wasmtime::component::Lower))]
#[cfg_attr(feature = "component", component(record))]
pub struct Media {
    /// Where the bytes are.
    pub source: MediaSource,
    /// Requested level of detail of an image (`low`, `high`, `auto`).
    pub detail: Option<String>,
    /// File name or title of a document.
    pub name: Option<String>,
}

/// The model's reasoning.
#[derive(Debug, Clone, PartialEq)]
#[cfg_attr(feature = "component", derive(wasmtime::component::ComponentType, wasmtime::component::Lift, wasmtime::component::Lower))]
#[cfg_attr(feature = "component", component(record))]
pub struct Thinking {
    /// The reasoning as text; may be empty when only the signature is given.
    pub text: String,
    /// The provider's signature; without it the provider refuses the block in a later turn.
    pub signature: Option<String>,
}

/// What is called.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "component", derive(wasmtime::component::ComponentType, wasmtime::component::Lift, wasmtime::component::Lower))]
#[cfg_attr(feature = "component", component(enum))]
#[repr(u8)]
pub enum ToolCallKind {
    /// A function with JSON arguments.
    #[cfg_attr(feature = "component", component(name = "function"))]
    Function,
    /// A tool with free-form text input.
    #[cfg_attr(feature = "component", component(name = "custom"))]
    Custom,
    /// A tool that the provider runs itself.
    #[cfg_attr(feature = "component", component(name = "server"))]
    Server,
}

impl ToolCallKind {
    /// The case with this number; the order is the contract's. Called by generated bindings.
    #[doc(hidden)]
    pub fn _lift(number: u8) -> Self {
        match number {
            0 => Self::Function,
            1 => Self::Custom,
            _ => Self::Server,
        }
    }
}

/// The model asks for a tool.
#[derive(Debug, Clone, PartialEq)]
#[cfg_attr(feature = "component", derive(wasmtime::component::ComponentType, wasmtime::component::Lift, wasmtime::component::Lower))]
#[cfg_attr(feature = "component", component(record))]
pub struct ToolCall {
    /// The id the result refers to.
    pub id: String,
    /// The tool's name.
    pub name: String,
    /// JSON text of the arguments as the model wrote it; it may be invalid JSON.
    pub arguments: String,
    /// What is called.
    pub kind: ToolCallKind,
}

/// One piece of a tool's result. (WIT has no recursive types: a result cannot hold a result.)
#[derive(Debug, Clone, PartialEq)]
#[cfg_attr(feature = "component", derive(wasmtime::component::ComponentType, wasmtime::component::Lift, wasmtime::component::Lower))]
#[cfg_attr(feature = "component", component(variant))]
pub enum ResultPartKind {
    /// Text.
    #[cfg_attr(feature = "component", component(name = "text"))]
    Text(String),
    /// An image.
    #[cfg_attr(feature = "component", component(name = "image"))]
    Image(Media),
    /// A document.
    #[cfg_attr(feature = "component", component(name = "document"))]
    Document(Media),
    /// A piece that the hub does not model, whole.
    #[cfg_attr(feature = "component", component(name = "other"))]
    Other(Json),
}

/// One piece of a tool's result, with what belongs to it.
#[derive(Debug, Clone, PartialEq)]
#[cfg_attr(feature = "component", derive(wasmtime::component::ComponentType, wasmtime::component::Lift, wasmtime::component::Lower))]
#[cfg_attr(feature = "component", component(record))]
pub struct ResultPart {
    /// The piece.
    pub kind: ResultPartKind,
    /// Cache breakpoint after this piece (Anthropic's `cache_control` object).
    #[cfg_attr(feature = "component", component(name = "cache-control"))]
    pub cache_control: Option<Json>,
    /// Fields that the hub does not model.
    pub extras: Vec<Extra>,
}

/// What a tool returned.
#[derive(Debug, Clone, PartialEq)]
#[cfg_attr(feature = "component", derive(wasmtime::component::ComponentType, wasmtime::component::Lift, wasmtime::component::Lower))]
#[cfg_attr(feature = "component", component(record))]
pub struct ToolResult {
    /// The call that is answered.
    #[cfg_attr(feature = "component", component(name = "tool-call-id"))]
    pub tool_call_id: String,
    /// The result.
    pub content: Vec<ResultPart>,
    /// How the content was written.
    pub shape: ContentShape,
    /// The tool failed; absent means not said.
    #[cfg_attr(feature = "component", component(name = "is-error"))]
    pub is_error: Option<bool>,
}

/// A part that the hub does not model, whole.
#[derive(Debug, Clone, PartialEq)]
#[cfg_attr(feature = "component", derive(wasmtime::component::ComponentType, wasmtime::component::Lift, wasmtime::component::Lower))]
#[cfg_attr(feature = "component", component(record))]
pub struct OtherPart {
    /// The format that it belongs to.
    pub format: FormatName,
    /// Its `type`.
    pub kind: String,
    /// The whole object.
    pub value: Json,
}

/// What a part of a message is.
#[derive(Debug, Clone, PartialEq)]
#[cfg_attr(feature = "component", derive(wasmtime::component::ComponentType, wasmtime::component::Lift, wasmtime::component::Lower))]
#[cfg_attr(feature = "component", component(variant))]
pub enum PartKind {
    /// Text.
    #[cfg_attr(feature = "component", component(name = "text"))]
    Text(String),
    /// An image.
    #[cfg_attr(feature = "component", component(name = "image"))]
    Image(Media),
    /// A sound.
    #[cfg_attr(feature = "component", component(name = "audio"))]
    Audio(Media),
    /// A document or another file.
    #[cfg_attr(feature = "component", component(name = "document"))]
    Document(Media),
    /// Reasoning.
    #[cfg_attr(feature = "component", component(name = "thinking"))]
    Thinking(Thinking),
    /// Reasoning that the provider encrypted.
    #[cfg_attr(feature = "component", component(name = "redacted-thinking"))]
    RedactedThinking(String),
    /// A request to call a tool.
    #[cfg_attr(feature = "component", component(name = "tool-call"))]
    ToolCall(ToolCall),
    /// The result of such a call.
    #[cfg_attr(feature = "component", component(name = "tool-result"))]
    ToolResult(ToolResult),
    /// The model declines to answer, in its own words.
    #[cfg_attr(feature = "component", component(name = "refusal"))]
    Refusal(String),
    /// A part that the hub does not model.
    #[cfg_attr(feature = "component", component(name = "other"))]
    Other(OtherPart),
}

/// A part of a message, with what belongs to it.
#[derive(Debug, Clone, PartialEq)]
#[cfg_attr(feature = "component", derive(wasmtime::component::ComponentType, wasmtime::component::Lift, wasmtime::component::Lower))]
#[cfg_attr(feature = "component", component(record))]
pub struct Part {
    /// The part.
    pub kind: PartKind,
    /// Cache breakpoint after this part (Anthropic's `cache_control` object).
    #[cfg_attr(feature = "component", component(name = "cache-control"))]
    pub cache_control: Option<Json>,
    /// Fields that the hub does not model.
    pub extras: Vec<Extra>,
}

/// One message of a conversation.
#[derive(Debug, Clone, PartialEq)]
#[cfg_attr(feature = "component", derive(wasmtime::component::ComponentType, wasmtime::component::Lift, wasmtime::component::Lower))]
#[cfg_attr(feature = "component", component(record))]
pub struct Message {
    /// Who speaks.
    pub role: Role,
    /// Content, and after it the tool calls.
    pub parts: Vec<Part>,
    /// How the content was written.
    pub shape: ContentShape,
    /// The participant's name, where a format has one.
    pub name: Option<String>,
    /// Fields that the hub does not model.
    pub extras: Vec<Extra>,
}

/// A function that the model may call.
#[derive(Debug, Clone, PartialEq)]
#[cfg_attr(feature = "component", derive(wasmtime::component::ComponentType, wasmtime::component::Lift, wasmtime::component::Lower))]
#[cfg_attr(feature = "component", component(record))]
pub struct FunctionTool {
    /// Its name.
    pub name: String,
    /// What it does, for the model.
    pub description: Option<String>,
    /// JSON Schema of its arguments.
    pub parameters: Option<Json>,
    /// Arguments must match the schema exactly.
    pub strict: Option<bool>,
}

/// A tool.
#[derive(Debug, Clone, PartialEq)]
#[cfg_attr(feature = "component", derive(wasmtime::component::ComponentType, wasmtime::component::Lift, wasmtime::component::Lower))]
#[cfg_attr(feature = "component", component(variant))]
pub enum ToolKind {
    /// A function that the caller runs.
    #[cfg_attr(feature = "component", component(name = "function"))]
    Function(FunctionTool),
    /// A tool of the provider, or a kind that the hub does not model, whole.
    #[cfg_attr(feature = "component", component(name = "other"))]
    Other(OtherPart),
}

/// A tool, with what belongs to it.
#[derive(Debug, Clone, PartialEq)]
#[cfg_attr(feature = "component", derive(wasmtime::component::ComponentType, wasmtime::component::Lift, wasmtime::component::Lower))]
#[cfg_attr(feature = "component", component(record))]
pub struct Tool {
    /// The tool.
    pub kind: ToolKind,
    /// Cache breakpoint after this tool.
    #[cfg_attr(feature = "component", component(name = "cache-control"))]
    pub cache_control: Option<Json>,
    /// Fields that the hub does not model.
    pub extras: Vec<Extra>,
}

/// Which tool the model calls.
#[derive(Debug, Clone, PartialEq)]
#[cfg_attr(feature = "component", derive(wasmtime::component::ComponentType, wasmtime::component::Lift, wasmtime::component::Lower))]
#[cfg_attr(feature = "component", component(variant))]
pub enum ToolChoice {
    /// The model decides.
    #[cfg_attr(feature = "component", component(name = "auto"))]
    Auto,
    /// None.
    #[cfg_attr(feature = "component", component(name = "none"))]
    None,
    /// At least one, whichever.
    #[cfg_attr(feature = "component", component(name = "required"))]
    Required,
    /// This function.
    #[cfg_attr(feature = "component", component(name = "function"))]
    Function(String),
    /// A choice that the hub does not model, whole.
    #[cfg_attr(feature = "component", component(name = "other"))]
    Other(Json),
}

/// How much the model may reason.
#[derive(Debug, Clone, PartialEq)]
#[cfg_attr(feature = "component", derive(wasmtime::component::ComponentType, wasmtime::component::Lift, wasmtime::component::Lower))]
#[cfg_attr(feature = "component", component(variant))]
pub enum ThinkingMode {
    /// No reasoning.
    #[cfg_attr(feature = "component", component(name = "disabled"))]
    Disabled,
    /// Up to this many tokens of reasoning.
    #[cfg_attr(feature = "component", component(name = "budget"))]
    Budget(u64),
    /// The model decides.
    #[cfg_attr(feature = "component", component(name = "adaptive"))]
    Adaptive,
}

/// What the answer's text must look like.
#[derive(Debug, Clone, PartialEq)]
#[cfg_attr(feature = "component", derive(wasmtime::component::ComponentType, wasmtime::component::Lift, wasmtime::component::Lower))]
#[cfg_attr(feature = "component", component(variant))]
pub enum ResponseFormat {
    /// Free text.
    #[cfg_attr(feature = "component", component(name = "text"))]
    Text,
    /// Any JSON object.
    #[cfg_attr(feature = "component", component(name = "json-object"))]
    JsonObject,
    /// JSON that matches a schema; the object as OpenAI's `json_schema` writes it (`name`, `schema`, `strict`).
    #[cfg_attr(feature = "component", component(name = "json-schema"))]
    JsonSchema(Json),
}

/// Sampling and length. Absent means the provider's default; 0 is a value.
#[derive(Debug, Clone, PartialEq)]
#[cfg_attr(feature = "component", derive(wasmtime::component::ComponentType, wasmtime::component::Lift, wasmtime::component::Lower))]
#[cfg_attr(feature = "component", component(record))]
pub struct Params {
    /// 0 to 2 (OpenAI) or 0 to 1 (Anthropic).
    pub temperature: Option<f64>,
    /// 0 to 1.
    #[cfg_attr(feature = "component", component(name = "top-p"))]
    pub top_p: Option<f64>,
    /// Number of candidates to sample from.
    #[cfg_attr(feature = "component", component(name = "top-k"))]
    pub top_k: Option<u64>,
    /// Most tokens of the answer.
    #[cfg_attr(feature = "component", component(name = "max-tokens"))]
    pub max_tokens: Option<u64>,
    /// Texts that end the answer.
    pub stop: Vec<String>,
    /// -2 to 2.
    #[cfg_attr(feature = "component", component(name = "presence-penalty"))]
    pub presence_penalty: Option<f64>,
    /// -2 to 2.
    #[cfg_attr(feature = "component", component(name = "frequency-penalty"))]
    pub frequency_penalty: Option<f64>,
    /// For repeatable answers.
    pub seed: Option<i64>,
    /// Number of alternative answers.
    pub n: Option<u32>,
    /// How much to reason, in words (`minimal`, `low`, `medium`, `high`).
    #[cfg_attr(feature = "component", component(name = "reasoning-effort"))]
    pub reasoning_effort: Option<String>,
    /// How much to reason, as a mode or a budget.
    pub thinking: Option<ThinkingMode>,
    /// What the text must look like.
    #[cfg_attr(feature = "component", component(name = "response-format"))]
    pub response_format: Option<ResponseFormat>,
    /// More than one tool call at once is fine.
    #[cfg_attr(feature = "component", component(name = "parallel-tool-calls"))]
    pub parallel_tool_calls: Option<bool>,
    /// The end user, as the application names them.
    pub user: Option<String>,
}

/// A chat request.
#[derive(Debug, Clone, PartialEq)]
#[cfg_attr(feature = "component", derive(wasmtime::component::ComponentType, wasmtime::component::Lift, wasmtime::component::Lower))]
#[cfg_attr(feature = "component", component(record))]
pub struct ChatRequest {
    /// The format that it came in.
    pub format: FormatName,
    /// The model that was asked for.
    pub model: String,
    /// The conversation, instructions first.
    pub messages: Vec<Message>,
    /// The tools.
    pub tools: Vec<Tool>,
    /// Which of them to call.
    #[cfg_attr(feature = "component", component(name = "tool-choice"))]
    pub tool_choice: Option<ToolChoice>,
    /// Sampling and length.
    pub params: Params,
    /// The caller wants a stream.
    pub stream: bool,
    /// The caller wants the usage in the stream, where a format lets it choose.
    #[cfg_attr(feature = "component", component(name = "include-usage"))]
    pub include_usage: bool,
    /// Fields that the hub does not model, in `format`.
    pub extras: Vec<Extra>,
}

/// Tokens that were used.
#[derive(Debug, Clone, PartialEq)]
#[cfg_attr(feature = "component", derive(wasmtime::component::ComponentType, wasmtime::component::Lift, wasmtime::component::Lower))]
#[cfg_attr(feature = "component", component(record))]
pub struct Usage {
    /// All input tokens, read from a cache, written to one, or neither.
    #[cfg_attr(feature = "component", component(name = "input-tokens"))]
    pub input_tokens: u64,
    /// Of these, read from a cache.
    #[cfg_attr(feature = "component", component(name = "cache-read-tokens"))]
    pub cache_read_tokens: Option<u64>,
    /// Of these, written to a cache.
    #[cfg_attr(feature = "component", component(name = "cache-write-tokens"))]
    pub cache_write_tokens: Option<u64>,
    /// All output tokens, with reasoning.
    #[cfg_attr(feature = "component", component(name = "output-tokens"))]
    pub output_tokens: u64,
    /// Of these, reasoning.
    #[cfg_attr(feature = "component", component(name = "reasoning-tokens"))]
    pub reasoning_tokens: Option<u64>,
    /// The provider's usage object, whole, in `format`; none when the gateway counted.
    pub raw: Option<Json>,
}

/// Why the model stopped.
#[derive(Debug, Clone, PartialEq)]
#[cfg_attr(feature = "component", derive(wasmtime::component::ComponentType, wasmtime::component::Lift, wasmtime::component::Lower))]
#[cfg_attr(feature = "component", component(variant))]
pub enum FinishReason {
    /// It was done, or met a stop sequence.
    #[cfg_attr(feature = "component", component(name = "stop"))]
    Stop,
    /// It met one of the caller's stop sequences, this one where the provider says which.
    #[cfg_attr(feature = "component", component(name = "stop-sequence"))]
    StopSequence(Option<String>),
    /// It reached the token limit.
    #[cfg_attr(feature = "component", component(name = "length"))]
    Length,
    /// It calls tools.
    #[cfg_attr(feature = "component", component(name = "tool-calls"))]
    ToolCalls,
    /// The provider withheld the rest.
    #[cfg_attr(feature = "component", component(name = "content-filter"))]
    ContentFilter,
    /// It declined.
    #[cfg_attr(feature = "component", component(name = "refusal"))]
    Refusal,
    /// A long turn was paused and may be continued.
    #[cfg_attr(feature = "component", component(name = "pause"))]
    Pause,
    /// Another reason, as the provider writes it.
    #[cfg_attr(feature = "component", component(name = "other"))]
    Other(String),
}

/// One of the alternative answers.
#[derive(Debug, Clone, PartialEq)]
#[cfg_attr(feature = "component", derive(wasmtime::component::ComponentType, wasmtime::component::Lift, wasmtime::component::Lower))]
#[cfg_attr(feature = "component", component(record))]
pub struct Choice {
    /// Its number, from 0.
    pub index: u32,
    /// What the model said.
    pub parts: Vec<Part>,
    /// How a format with one content field wrote it.
    pub shape: ContentShape,
    /// Why it stopped; absent when not said.
    pub finish: Option<FinishReason>,
    /// Fields that the hub does not model.
    pub extras: Vec<Extra>,
}

/// A complete answer.
#[derive(Debug, Clone, PartialEq)]
#[cfg_attr(feature = "component", derive(wasmtime::component::ComponentType, wasmtime::component::Lift, wasmtime::component::Lower))]
#[cfg_attr(feature = "component", component(record))]
pub struct ChatAnswer {
    /// The format that it came in.
    pub format: FormatName,
    /// The provider's id.
    pub id: String,
    /// The model that answered.
    pub model: String,
    /// Unix time in seconds, where the format has it.
    pub created: Option<u64>,
    /// The alternatives; nearly always one.
    pub choices: Vec<Choice>,
    /// What it cost; absent when the provider does not say.
    pub usage: Option<Usage>,
    /// Fields that the hub does not model, in `format`.
    pub extras: Vec<Extra>,
}

/// The first event of a stream.
#[derive(Debug, Clone, PartialEq)]
#[cfg_attr(feature = "component", derive(wasmtime::component::ComponentType, wasmtime::component::Lift, wasmtime::component::Lower))]
#[cfg_attr(feature = "component", component(record))]
pub struct StreamStart {
    /// The format that it came in.
    pub format: FormatName,
    /// The provider's id.
    pub id: String,
    /// The model that answers.
    pub model: String,
    /// Unix time in seconds, where the format has it.
    pub created: Option<u64>,
    /// Tokens counted so far, where the format says so at the start.
    pub usage: Option<Usage>,
    /// Fields that the hub does not model, in `format`.
    pub extras: Vec<Extra>,
}

/// Where in the answer a piece belongs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "component", derive(wasmtime::component::ComponentType, wasmtime::component::Lift, wasmtime::component::Lower))]
#[cfg_attr(feature = "component", component(record))]
pub struct BlockId {
    /// The alternative answer, from 0.
    pub choice: u32,
    /// The block in it, from 0, in order of opening.
    pub block: u32,
}

/// A block opens. `part` holds what is known then: ids and names, usually no text yet.
#[derive(Debug, Clone, PartialEq)]
#[cfg_attr(feature = "component", derive(wasmtime::component::ComponentType, wasmtime::component::Lift, wasmtime::component::Lower))]
#[cfg_attr(feature = "component", component(record))]
pub struct BlockStart {
    /// Which block.
    pub at: BlockId,
    /// What it is.
    pub part: Part,
}

/// What grows in a block.
#[derive(Debug, Clone, PartialEq)]
#[cfg_attr(feature = "component", derive(wasmtime::component::ComponentType, wasmtime::component::Lift, wasmtime::component::Lower))]
#[cfg_attr(feature = "component", component(variant))]
pub enum Delta {
    /// Text of the answer.
    #[cfg_attr(feature = "component", component(name = "text"))]
    Text(String),
    /// Text of the reasoning.
    #[cfg_attr(feature = "component", component(name = "thinking"))]
    Thinking(String),
    /// A piece of the signature of the reasoning.
    #[cfg_attr(feature = "component", component(name = "signature"))]
    Signature(String),
    /// JSON text of a tool call's arguments.
    #[cfg_attr(feature = "component", component(name = "arguments"))]
    Arguments(String),
    /// Text of a refusal.
    #[cfg_attr(feature = "component", component(name = "refusal"))]
    Refusal(String),
    /// A delta that the hub does not model, whole, in the stream's format.
    #[cfg_attr(feature = "component", component(name = "other"))]
    Other(Json),
}

/// A block grows.
#[derive(Debug, Clone, PartialEq)]
#[cfg_attr(feature = "component", derive(wasmtime::component::ComponentType, wasmtime::component::Lift, wasmtime::component::Lower))]
#[cfg_attr(feature = "component", component(record))]
pub struct BlockDelta {
    /// Which block.
    pub at: BlockId,
    /// By what.
    pub delta: Delta,
    /// Fields that the hub does not model (for example log probabilities).
    pub extras: Vec<Extra>,
}

/// An alternative answer ends.
#[derive(Debug, Clone, PartialEq)]
#[cfg_attr(feature = "component", derive(wasmtime::component::ComponentType, wasmtime::component::Lift, wasmtime::component::Lower))]
#[cfg_attr(feature = "component", component(record))]
pub struct StreamFinish {
    /// Which.
    pub choice: u32,
    /// Why.
    pub reason: FinishReason,
    /// Fields that the hub does not model.
    pub extras: Vec<Extra>,
}

/// What kind of thing went wrong. One list for the whole gateway; each dialect maps it to its own words and status.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "component", derive(wasmtime::component::ComponentType, wasmtime::component::Lift, wasmtime::component::Lower))]
#[cfg_attr(feature = "component", component(enum))]
#[repr(u8)]
pub enum ErrorClass {
    /// The request is malformed or asks for what the provider does not offer.
    #[cfg_attr(feature = "component", component(name = "invalid-request"))]
    InvalidRequest,
    /// The conversation does not fit the model's context.
    #[cfg_attr(feature = "component", component(name = "context-too-long"))]
    ContextTooLong,
    /// A content policy refused it.
    #[cfg_attr(feature = "component", component(name = "content-filtered"))]
    ContentFiltered,
    /// No credential, or a wrong one.
    #[cfg_attr(feature = "component", component(name = "authentication"))]
    Authentication,
    /// The credential does not allow this.
    #[cfg_attr(feature = "component", component(name = "permission"))]
    Permission,
    /// No such model.
    #[cfg_attr(feature = "component", component(name = "model-not-found"))]
    ModelNotFound,
    /// No such resource or path.
    #[cfg_attr(feature = "component", component(name = "not-found"))]
    NotFound,
    /// The request is larger than what is accepted.
    #[cfg_attr(feature = "component", component(name = "too-large"))]
    TooLarge,
    /// Too many requests or tokens for now.
    #[cfg_attr(feature = "component", component(name = "rate-limited"))]
    RateLimited,
    /// The account has no money or quota left.
    #[cfg_attr(feature = "component", component(name = "quota-exceeded"))]
    QuotaExceeded,
    /// The provider has no capacity now.
    #[cfg_attr(feature = "component", component(name = "overloaded"))]
    Overloaded,
    /// It took too long.
    #[cfg_attr(feature = "component", component(name = "timeout"))]
    Timeout,
    /// The provider cannot be reached.
    #[cfg_attr(feature = "component", component(name = "connect"))]
    Connect,
    /// The provider sent what its format does not allow.
    #[cfg_attr(feature = "component", component(name = "protocol"))]
    Protocol,
    /// A stream broke off.
    #[cfg_attr(feature = "component", component(name = "interrupted"))]
    Interrupted,
    /// The caller went away.
    #[cfg_attr(feature = "component", component(name = "cancelled"))]
    Cancelled,
    /// A fault in the gateway or one of its extensions.
    #[cfg_attr(feature = "component", component(name = "internal"))]
    Internal,
    /// A fault in the provider.
    #[cfg_attr(feature = "component", component(name = "upstream"))]
    Upstream,
}

impl ErrorClass {
    /// The case with this number; the order is the contract's. Called by generated bindings.
    #[doc(hidden)]
    pub fn _lift(number: u8) -> Self {
        match number {
            0 => Self::InvalidRequest,
            1 => Self::ContextTooLong,
            2 => Self::ContentFiltered,
            3 => Self::Authentication,
            4 => Self::Permission,
            5 => Self::ModelNotFound,
            6 => Self::NotFound,
            7 => Self::TooLarge,
            8 => Self::RateLimited,
            9 => Self::QuotaExceeded,
            10 => Self::Overloaded,
            11 => Self::Timeout,
            12 => Self::Connect,
            13 => Self::Protocol,
            14 => Self::Interrupted,
            15 => Self::Cancelled,
            16 => Self::Internal,
            _ => Self::Upstream,
        }
    }
}

/// An error, in the gateway's terms.
#[derive(Debug, Clone, PartialEq)]
#[cfg_attr(feature = "component", derive(wasmtime::component::ComponentType, wasmtime::component::Lift, wasmtime::component::Lower))]
#[cfg_attr(feature = "component", component(record))]
pub struct ChatError {
    /// What kind of thing went wrong.
    pub class: ErrorClass,
    /// HTTP status, when it is more exact than the class's own.
    pub status: Option<u16>,
    /// For the caller. Never names internals.
    pub message: String,
    /// A short machine-readable code, for example `model_not_found`.
    pub code: Option<String>,
    /// The request field that is wrong, for example `messages[1].content`.
    pub param: Option<String>,
    /// Try again after this many milliseconds.
    #[cfg_attr(feature = "component", component(name = "retry-after-ms"))]
    pub retry_after_ms: Option<u64>,
    /// The provider's error document, whole, when it came from one.
    pub raw: Option<Json>,
}

/// One event of an answer's stream.
#[derive(Debug, Clone, PartialEq)]
#[cfg_attr(feature = "component", derive(wasmtime::component::ComponentType, wasmtime::component::Lift, wasmtime::component::Lower))]
#[cfg_attr(feature = "component", component(variant))]
pub enum StreamEvent {
    /// The answer begins.
    #[cfg_attr(feature = "component", component(name = "start"))]
    Start(StreamStart),
    /// A block opens.
    #[cfg_attr(feature = "component", component(name = "block-start"))]
    BlockStart(BlockStart),
    /// A block grows.
    #[cfg_attr(feature = "component", component(name = "block-delta"))]
    BlockDelta(BlockDelta),
    /// A block is complete.
    #[cfg_attr(feature = "component", component(name = "block-stop"))]
    BlockStop(BlockId),
    /// An alternative answer is complete.
    #[cfg_attr(feature = "component", component(name = "finish"))]
    Finish(StreamFinish),
    /// Tokens counted so far; the last one counts.
    #[cfg_attr(feature = "component", component(name = "usage"))]
    Usage(Usage),
    /// Keep-alive of the provider.
    #[cfg_attr(feature = "component", component(name = "ping"))]
    Ping,
    /// The provider reports an error; nothing follows.
    #[cfg_attr(feature = "component", component(name = "error"))]
    Error(ChatError),
    /// The provider closed the stream properly; nothing follows.
    #[cfg_attr(feature = "component", component(name = "end"))]
    End,
    /// An event that the hub does not model, whole, in the stream's format.
    #[cfg_attr(feature = "component", component(name = "other"))]
    Other(Json),
}
