//! A dialect of a format that [`llm_codec`] knows: everything but the paths. What a component names of [`llm_codec::formats`] is what it
//! carries.

use llm_codec::formats::{Codec, StreamEncoder};
use llm_codec::hub::{Message, Params, Role};
use llm_codec::{Format, StreamOptions};

use crate::{
    Accepted, ChatAnswer, ChatError, ChatRequest, EncodeOptions, Encoder, ErrorClass, GenerateHead, Header, HttpRequest, Incoming,
    JsonKind, Member, OperationHead, Reply, StreamEvent,
};

/// What a member at the top of a request must be. `null` is the same as absent, as the real interfaces have it.
struct Rule {
    name: &'static str,
    kinds: &'static [JsonKind],
    expected: &'static str,
}

const TEXT: &[JsonKind] = &[JsonKind::Text];
const NUMBER: &[JsonKind] = &[JsonKind::Number];
const BOOLEAN: &[JsonKind] = &[JsonKind::Boolean];
const ARRAY: &[JsonKind] = &[JsonKind::Array];
const OBJECT: &[JsonKind] = &[JsonKind::Object];
const TEXT_OR_ARRAY: &[JsonKind] = &[JsonKind::Text, JsonKind::Array];
const ARRAY_OR_OBJECT: &[JsonKind] = &[JsonKind::Array, JsonKind::Object];
const TEXT_OR_OBJECT: &[JsonKind] = &[JsonKind::Text, JsonKind::Object];

const fn rule(name: &'static str, kinds: &'static [JsonKind], expected: &'static str) -> Rule {
    Rule { name, kinds, expected }
}

/// Longest name of a model, in bytes.
const MAX_MODEL: usize = 512;

/// Members that all formats have with the same type.
const COMMON: &[Rule] = &[
    rule("model", TEXT, "a string"),
    rule("stream", BOOLEAN, "true or false"),
    rule("temperature", NUMBER, "a number"),
    rule("top_p", NUMBER, "a number"),
    rule("tools", ARRAY, "a list of tools"),
    rule("metadata", OBJECT, "an object"),
];

const OPENAI: &[Rule] = &[
    rule("messages", ARRAY, "a list of messages"),
    rule("max_tokens", NUMBER, "a number"),
    rule("stop", TEXT_OR_ARRAY, "a string or a list of strings"),
    rule("tool_choice", TEXT_OR_OBJECT, "a string or an object"),
    rule("max_completion_tokens", NUMBER, "a number"),
    rule("presence_penalty", NUMBER, "a number"),
    rule("frequency_penalty", NUMBER, "a number"),
    rule("n", NUMBER, "a number"),
    rule("seed", NUMBER, "a number"),
    rule("response_format", OBJECT, "an object"),
    rule("stream_options", OBJECT, "an object"),
    rule("parallel_tool_calls", BOOLEAN, "true or false"),
    rule("user", TEXT, "a string"),
];

const COMPLETIONS: &[Rule] = &[
    rule("prompt", TEXT_OR_ARRAY, "a text, a list of texts, or tokens"),
    rule("suffix", TEXT, "a string"),
    rule("max_tokens", NUMBER, "a number"),
    rule("stop", TEXT_OR_ARRAY, "a string or a list of strings"),
    rule("presence_penalty", NUMBER, "a number"),
    rule("frequency_penalty", NUMBER, "a number"),
    rule("n", NUMBER, "a number"),
    rule("best_of", NUMBER, "a number"),
    rule("seed", NUMBER, "a number"),
    rule("echo", BOOLEAN, "true or false"),
    rule("stream_options", OBJECT, "an object"),
    rule("user", TEXT, "a string"),
];

const RESPONSES: &[Rule] = &[
    rule("input", TEXT_OR_ARRAY, "a string or a list of items"),
    rule("instructions", TEXT, "a string"),
    rule("max_output_tokens", NUMBER, "a number"),
    rule("tool_choice", TEXT_OR_OBJECT, "a string or an object"),
    rule("text", OBJECT, "an object"),
    rule("reasoning", OBJECT, "an object"),
    rule("include", ARRAY, "a list of strings"),
    rule("previous_response_id", TEXT, "a string"),
    rule("store", BOOLEAN, "true or false"),
    rule("background", BOOLEAN, "true or false"),
    rule("truncation", TEXT, "a string"),
    rule("parallel_tool_calls", BOOLEAN, "true or false"),
    rule("user", TEXT, "a string"),
];

const ANTHROPIC: &[Rule] = &[
    rule("messages", ARRAY, "a list of messages"),
    rule("max_tokens", NUMBER, "a number"),
    rule("system", TEXT_OR_ARRAY, "a string or a list of blocks"),
    rule("stop_sequences", ARRAY, "a list of strings"),
    rule("tool_choice", OBJECT, "an object"),
    rule("top_k", NUMBER, "a number"),
    rule("thinking", OBJECT, "an object"),
];

const GEMINI: &[Rule] = &[
    rule("contents", ARRAY_OR_OBJECT, "a list of contents"),
    rule("systemInstruction", OBJECT, "an object"),
    rule("tools", ARRAY, "a list of tools"),
    rule("toolConfig", OBJECT, "an object"),
    rule("safetySettings", ARRAY, "a list of settings"),
    rule("generationConfig", OBJECT, "an object"),
    rule("cachedContent", TEXT, "a string"),
    rule("labels", OBJECT, "an object"),
];

/// The right shape of the top of a request.
fn shaped<'r>(members: &[Member], rules: impl Iterator<Item = &'r Rule> + Clone) -> Result<(), ChatError> {
    for member in members {
        let rule = rules.clone().find(|r| r.name == member.name);
        if let Some(rule) = rule.filter(|r| member.kind != JsonKind::Null && !r.kinds.contains(&member.kind)) {
            return Err(invalid(rule.name, &format!("found {}, expected {}", found(member.kind), rule.expected)));
        }
    }
    Ok(())
}

/// Reads the head of a request of Gemini's format, whose path tells the model and whether a stream is wanted. `format` is what the
/// dialect calls it.
pub fn accept_gemini(incoming: &Incoming, format: &str, model: String, stream: bool) -> Result<Accepted, ChatError> {
    check_model(&model)?;
    let members = incoming.members();
    shaped(&members, GEMINI.iter())?;
    let given = |name: &str| members.iter().any(|m| m.name == name && m.kind != JsonKind::Null);
    if given("model") {
        let named = incoming.text("/model").unwrap_or_default();
        if named.strip_prefix("models/").unwrap_or(&named) != model {
            return Err(invalid("model", "the body names another model than the path; leave it out"));
        }
    }
    if !given("contents") {
        return Err(invalid("contents", "it is missing; a request needs at least one content"));
    }
    let list = members.iter().any(|m| m.name == "contents" && m.kind == JsonKind::Array);
    if list && incoming.kind("/contents/0").is_none() {
        return Err(invalid("contents", "the list is empty; a request needs at least one content"));
    }
    // A stream of this format always tells its usage.
    Ok(Accepted::Generate(GenerateHead { format: format.into(), model, stream, include_usage: true }))
}

/// Reads the head of a request: what the gateway needs to know, and whether the top has the right shape. The conversation itself
/// is not looked at. For formats that have the model in the body; for Gemini's see [`accept_gemini`].
pub fn accept<C: Codec>(incoming: &Incoming) -> Result<Accepted, ChatError> {
    let members = incoming.members();
    let own = match C::FORMAT {
        Format::OpenaiChat => OPENAI,
        Format::AnthropicMessages => ANTHROPIC,
        Format::OpenaiResponses => RESPONSES,
        Format::GeminiGenerate => GEMINI,
        Format::OpenaiCompletions => COMPLETIONS,
    };
    shaped(&members, COMMON.iter().chain(own))?;
    let given = |name: &str| members.iter().any(|m| m.name == name && m.kind != JsonKind::Null);
    let model = model(incoming, &members)?;
    let conversation = match C::FORMAT {
        Format::OpenaiChat | Format::AnthropicMessages => "messages",
        Format::OpenaiResponses => "input",
        Format::GeminiGenerate => "contents",
        Format::OpenaiCompletions => "prompt",
    };
    // A response may go on from what the provider keeps, and a completion from nothing.
    let kept = ["previous_response_id", "conversation", "prompt"];
    let from_nothing = conversation == "prompt" && !given("prompt");
    if !(from_nothing || conversation == "input" && kept.into_iter().any(given)) {
        if !given(conversation) {
            return Err(invalid(conversation, "it is missing; a request needs at least one message"));
        }
        let list = members.iter().any(|m| m.name == conversation && m.kind == JsonKind::Array);
        if list && incoming.kind(&format!("/{conversation}/0")).is_none() {
            return Err(invalid(conversation, "the list is empty; a request needs at least one message"));
        }
    }
    if C::FORMAT == Format::AnthropicMessages && !given("max_tokens") {
        return Err(invalid("max_tokens", "it is missing; this interface requires the largest number of tokens to generate"));
    }
    let stream = given("stream") && incoming.flag("/stream") == Some(true);
    let include_usage = match C::FORMAT {
        Format::OpenaiChat | Format::OpenaiCompletions => {
            given("stream_options") && incoming.flag("/stream_options/include_usage") == Some(true)
        }
        Format::AnthropicMessages | Format::OpenaiResponses | Format::GeminiGenerate => true,
    };
    Ok(Accepted::Generate(GenerateHead { format: C::FORMAT.as_str().into(), model, stream, include_usage }))
}

/// The model that a request asks for. `members` are those of its body. An error when it names none, or no text of 1 to 512 bytes.
pub fn model(incoming: &Incoming, members: &[Member]) -> Result<String, ChatError> {
    match members.iter().rfind(|m| m.name == "model").map(|m| m.kind) {
        None | Some(JsonKind::Null) => Err(invalid("model", "it is missing; name the model that shall answer")),
        Some(JsonKind::Text) => bounded(incoming.text("/model").unwrap_or_default()),
        Some(kind) => Err(invalid("model", &format!("found {}, expected a string", found(kind)))),
    }
}

/// The model of a call that may leave it to the provider: of a JSON document or of a form.
pub fn model_if_any(incoming: &Incoming, members: &[Member]) -> Result<Option<String>, ChatError> {
    if members.iter().any(|m| m.name == "model" && m.kind != JsonKind::Null) {
        return model(incoming, members).map(Some);
    }
    incoming.text("/model").map(bounded).transpose()
}

fn bounded(model: String) -> Result<String, ChatError> {
    check_model(&model).map(|()| model)
}

/// Says that a model's name has 1 to 512 bytes.
pub fn check_model(model: &str) -> Result<(), ChatError> {
    if (1..=MAX_MODEL).contains(&model.len()) {
        return Ok(());
    }
    Err(invalid("model", &format!("a model's name has 1 to {MAX_MODEL} bytes")))
}

/// Says that a member of the body must be there and be one of these; `expected` says so in words.
pub fn need(members: &[Member], name: &str, kinds: &[JsonKind], expected: &str) -> Result<(), ChatError> {
    match members.iter().rfind(|m| m.name == name).map(|m| m.kind) {
        None | Some(JsonKind::Null) => Err(invalid(name, &format!("it is missing; expected {expected}"))),
        Some(kind) if !kinds.contains(&kind) => Err(invalid(name, &format!("found {}, expected {expected}", found(kind)))),
        Some(_) => Ok(()),
    }
}

fn found(kind: JsonKind) -> &'static str {
    match kind {
        JsonKind::Null => "null",
        JsonKind::Boolean => "a boolean",
        JsonKind::Number => "a number",
        JsonKind::Text => "a string",
        JsonKind::Array => "a list",
        JsonKind::Object => "an object",
    }
}

/// The error of a member of a request, with the reason.
pub fn invalid(param: &str, reason: &str) -> ChatError {
    ChatError { param: Some(param.into()), ..ChatError::new(ErrorClass::InvalidRequest, format!("`{param}`: {reason}.")) }
}

/// A path prefix as routes need it: with a slash in front and none at the end.
pub fn path_prefix(prefix: &str) -> Result<String, String> {
    let trimmed = prefix.trim_end_matches('/');
    let plain = |c: char| c.is_ascii_alphanumeric() || "/-_.~".contains(c);
    if (trimmed.is_empty() || trimmed.starts_with('/')) && trimmed.chars().all(plain) {
        return Ok(trimmed.to_owned());
    }
    Err(format!("`path_prefix` is `{prefix}`; write it like `/v1`"))
}

/// A piece of a path without its percent-encoding (RFC 3986, section 2.1).
pub fn percent_decoded(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, tail @ ..] = rest {
        let hex = tail.get(..2).filter(|_| *first == b'%').and_then(|h| u8::from_str_radix(std::str::from_utf8(h).ok()?, 16).ok());
        bytes.push(hex.unwrap_or(*first));
        rest = if hex.is_some() { &tail[2..] } else { tail };
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// A model that can be asked for.
#[derive(Debug, Clone, serde::Deserialize)]
pub struct Model {
    /// The name to ask with.
    pub id: String,
    /// Who offers it; empty where that is open.
    pub provider: String,
}

/// The models that the caller may use. Where `extension.toml` says `models = true` the host gives them with the request; without it they are
/// all models of all providers: a name that several offer stands for the first of them, the others are `provider/model`.
pub fn models(request: &HttpRequest) -> Vec<Model> {
    #[derive(serde::Deserialize)]
    struct Given {
        models: Vec<Model>,
    }
    if let Ok(given) = serde_json::from_slice::<Given>(&request.body) {
        return given.models;
    }
    let mut models: Vec<Model> = Vec::new();
    for provider in crate::providers::all() {
        let names = if provider.models.is_empty() { provider.default_model.into_iter().collect() } else { provider.models };
        for name in names {
            let taken = models.iter().any(|m| m.id == name);
            let id = if taken { format!("{}/{name}", provider.name) } else { name };
            models.push(Model { id, provider: provider.name.clone() });
        }
    }
    models
}

/// The error of a model that nobody offers.
pub fn no_such_model(id: &str) -> ChatError {
    ChatError {
        code: Some("model_not_found".into()),
        param: Some("model".into()),
        ..ChatError::new(ErrorClass::ModelNotFound, format!("The model `{id}` does not exist here."))
    }
}

/// Reads a body whole.
pub fn decode<C: Codec>(body: &[u8]) -> Result<ChatRequest, ChatError> {
    C::decode_request(body).map_err(ChatError::from)
}

/// The header field of an answer that holds an estimate, and its value: the name of what is estimated.
pub const ESTIMATE: &str = "x-wasmgate-estimate";

/// The head of an operation that asks for no stream; the rest is to be filled in.
pub fn operation(family: &str, operation: &str, model: Option<String>, path: &str) -> OperationHead {
    OperationHead {
        family: family.into(),
        operation: operation.into(),
        model,
        path: path.into(),
        stream: false,
        include_usage: false,
        generates: false,
    }
}

/// What hooks may read of a call that holds no conversation: its texts, each as a message.
pub fn texts_of<'a>(format: &str, model: &str, texts: impl IntoIterator<Item = &'a str>) -> ChatRequest {
    ChatRequest {
        format: format.into(),
        model: model.into(),
        messages: texts.into_iter().map(|text| Message::text(Role::User, text)).collect(),
        tools: Vec::new(),
        tool_choice: None,
        params: Params::default(),
        stream: false,
        include_usage: false,
        extras: Vec::new(),
    }
}

/// The answer to a call that counts the tokens of a request, when nobody can be asked: an estimate, and marked as one. `document` makes the
/// body of the number.
pub fn estimated(request: &ChatRequest, document: impl FnOnce(u64) -> String) -> Reply {
    let mut reply = Reply::json(200, document(llm_codec::estimate::input_tokens(request)).into_bytes());
    reply.headers.push(Header { name: ESTIMATE.into(), value: "input_tokens".into() });
    reply
}

/// Writes a complete answer.
pub fn encode_answer<C: Codec>(options: EncodeOptions, answer: &ChatAnswer) -> Vec<u8> {
    C::encode_answer(answer, &stream_options(options)).body
}

/// Writes an error.
pub fn encode_error<C: Codec>(error: &ChatError) -> Reply {
    let written = C::encode_error(error);
    let mut reply = Reply::json(written.status, written.body);
    if let Some(ms) = error.retry_after_ms {
        reply.headers.push(Header { name: "retry-after".into(), value: ms.div_ceil(1000).to_string() });
    }
    reply
}

fn stream_options(options: EncodeOptions) -> StreamOptions {
    let EncodeOptions { format: _, include_usage, id, model, created } = options;
    StreamOptions { include_usage, id, model, created }
}

/// Writes a stream.
pub struct FormatEncoder(StreamEncoder);

impl FormatEncoder {
    /// A stream begins.
    pub fn new<C: Codec>(options: EncodeOptions) -> Self {
        Self(C::encoder(stream_options(options)))
    }
}

impl Encoder for FormatEncoder {
    fn events(&mut self, events: &[StreamEvent]) -> Vec<u8> {
        let mut bytes = Vec::new();
        self.0.events(events, &mut bytes);
        bytes
    }

    fn finish(&mut self, error: Option<&ChatError>) -> Vec<u8> {
        let mut bytes = Vec::new();
        self.0.finish(error, &mut bytes);
        bytes
    }
}

#[cfg(test)]
mod tests {
    use llm_codec::formats::{AnthropicMessages, OpenaiChat, OpenaiCompletions, OpenaiResponses};
    use serde_json::json;

    use super::*;
    use crate::fake::FakeIncoming;

    /// What is accepted, or the error's field and text.
    fn check<C: Codec>(body: serde_json::Value, expect: &str) {
        let found = match accept::<C>(&FakeIncoming::post("/", body).handle()) {
            Ok(Accepted::Generate(head)) => format!("{} stream={} usage={}", head.model, head.stream, head.include_usage),
            Ok(Accepted::Reply(_)) => "reply".into(),
            Err(e) => format!("{:?} {}", e.param, e.message),
        };
        assert!(found.contains(expect), "found `{found}`, expected `{expect}`");
    }

    #[test]
    fn openai_heads() {
        let messages = json!([{"role": "user", "content": "x"}]);
        check::<OpenaiChat>(json!({"model": "m", "messages": messages}), "m stream=false usage=false");
        check::<OpenaiChat>(json!({"model": "m", "messages": messages, "stream": null, "stop": null}), "stream=false");
        check::<OpenaiChat>(
            json!({"model": "m", "messages": messages, "stream": true, "stream_options": {"include_usage": true}}),
            "m stream=true usage=true",
        );
        check::<OpenaiChat>(json!({"model": "", "messages": messages}), "`model`: a model's name has 1 to 512 bytes");
        check::<OpenaiChat>(json!({"model": "m".repeat(513), "messages": messages}), "`model`: a model's name has 1 to 512 bytes");
        check::<OpenaiChat>(json!({"messages": messages}), "Some(\"model\") `model`: it is missing");
        check::<OpenaiChat>(json!({"model": 5, "messages": messages}), "`model`: found a number, expected a string");
        check::<OpenaiChat>(json!({"model": "m"}), "`messages`: it is missing");
        check::<OpenaiChat>(json!({"model": "m", "messages": []}), "`messages`: the list is empty");
        check::<OpenaiChat>(json!({"model": "m", "messages": "hi"}), "`messages`: found a string, expected a list");
        check::<OpenaiChat>(json!({"model": "m", "messages": messages, "temperature": "hot"}), "`temperature`: found a string");
    }

    #[test]
    fn responses_heads() {
        check::<OpenaiResponses>(json!({"model": "m", "input": "x"}), "m stream=false usage=true");
        check::<OpenaiResponses>(json!({"model": "m", "input": [{"role": "user", "content": "x"}], "stream": true}), "m stream=true");
        check::<OpenaiResponses>(json!({"model": "m", "previous_response_id": "resp_1"}), "m stream=false");
        check::<OpenaiResponses>(json!({"model": "m"}), "`input`: it is missing");
        check::<OpenaiResponses>(json!({"model": "m", "input": []}), "`input`: the list is empty");
        check::<OpenaiResponses>(json!({"model": "m", "input": 5}), "`input`: found a number, expected a string or a list of items");
        check::<OpenaiResponses>(json!({"model": "m", "input": "x", "text": "json"}), "`text`: found a string, expected an object");
    }

    #[test]
    fn completions_heads() {
        let stream = json!({"model": "m", "prompt": "x", "stream": true, "stream_options": {"include_usage": true}});
        check::<OpenaiCompletions>(stream, "m stream=true usage=true");
        check::<OpenaiCompletions>(json!({"model": "m", "prompt": [1, 2]}), "m stream=false usage=false");
        check::<OpenaiCompletions>(json!({"model": "m", "prompt": null}), "m stream=false");
        check::<OpenaiCompletions>(json!({"model": "m"}), "m stream=false");
        check::<OpenaiCompletions>(
            json!({"model": "m", "prompt": 5}),
            "`prompt`: found a number, expected a text, a list of texts, or tokens",
        );
        check::<OpenaiCompletions>(json!({"model": "m", "prompt": []}), "`prompt`: the list is empty");
        check::<OpenaiCompletions>(json!({"prompt": "x"}), "`model`: it is missing");
        check::<OpenaiCompletions>(json!({"model": "m", "prompt": "x", "echo": 1}), "`echo`: found a number, expected true or false");
    }

    #[test]
    fn gemini_heads() {
        let contents = json!([{"parts": [{"text": "x"}]}]);
        let check = |body: serde_json::Value, model: &str, expect: &str| {
            let found = match accept_gemini(&FakeIncoming::post("/", body).handle(), "gemini-generate", model.into(), true) {
                Ok(Accepted::Generate(head)) => format!("{} stream={}", head.model, head.stream),
                Ok(Accepted::Reply(_)) => "reply".into(),
                Err(e) => format!("{:?} {}", e.param, e.message),
            };
            assert!(found.contains(expect), "found `{found}`, expected `{expect}`");
        };
        check(json!({"contents": contents}), "m", "m stream=true");
        check(json!({"contents": {"parts": []}}), "m", "m stream=true");
        check(json!({"contents": contents, "model": "models/m"}), "m", "m stream=true");
        check(json!({"contents": contents, "model": "models/o"}), "m", "Some(\"model\") `model`: the body names another model");
        check(json!({"contents": contents}), "", "`model`: a model's name has 1 to 512 bytes");
        check(json!({}), "m", "`contents`: it is missing");
        check(json!({"contents": []}), "m", "`contents`: the list is empty");
        check(json!({"contents": "x"}), "m", "`contents`: found a string, expected a list of contents");
        check(json!({"contents": contents, "generationConfig": 5}), "m", "`generationConfig`: found a number");
    }

    #[test]
    fn percent_encoding() {
        for (text, expect) in [("org%2Fx", "org/x"), ("ec%68o", "echo"), ("100%", "100%"), ("%zz%4", "%zz%4"), ("%C3%A4", "ä")] {
            assert_eq!(percent_decoded(text), expect);
        }
    }

    #[test]
    fn anthropic_heads() {
        let messages = json!([{"role": "user", "content": "x"}]);
        check::<AnthropicMessages>(json!({"model": "m", "max_tokens": 5, "messages": messages}), "m stream=false usage=true");
        check::<AnthropicMessages>(json!({"model": "m", "messages": messages}), "`max_tokens`: it is missing");
        check::<AnthropicMessages>(json!({"model": "m", "max_tokens": 5, "messages": messages, "system": 1}), "`system`: found a number");
    }
}
