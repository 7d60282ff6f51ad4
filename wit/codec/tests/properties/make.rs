//! Generated values: JSON, and hub records that a format can express.

use llm_codec::Format;
use llm_codec::hub::*;
use proptest::prelude::*;
use serde_json::Value;

pub fn text() -> impl Strategy<Value = String> {
    prop_oneof!["[a-z ]{1,20}", "\\PC{1,12}", Just("line\nbreak \"quoted\" \\ \u{1f600} \u{7f}\u{0}".to_owned()), "[a-zé]{60,90}"]
}

pub fn json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i32>().prop_map(Value::from),
        text().prop_map(Value::from)
    ];
    leaf.prop_recursive(4, 24, 5, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::hash_map("\\PC{0,6}", inner, 0..4).prop_map(|m| Value::Object(m.into_iter().collect()))
        ]
    })
}

pub fn object() -> impl Strategy<Value = Value> {
    prop::collection::hash_map(prop_oneof!["[a-z]{1,8}", text()], json(), 0..6).prop_map(|m| Value::Object(m.into_iter().collect()))
}

fn arguments() -> impl Strategy<Value = String> {
    object().prop_map(|v| v.to_string())
}

fn option<T: Clone + std::fmt::Debug + 'static>(inner: impl Strategy<Value = T> + 'static) -> BoxedStrategy<Option<T>> {
    prop::option::of(inner).boxed()
}

fn part(kind: PartKind, cache: bool) -> Part {
    let cache_control = cache.then(|| r#"{"type":"ephemeral"}"#.to_owned());
    Part { kind, cache_control, extras: Vec::new() }
}

fn media(format: Format, document: bool) -> BoxedStrategy<Media> {
    let media_type = if document { "application/pdf" } else { "image/png" };
    let inline = "[A-Za-z0-9+/]{4,12}".prop_map(move |data| MediaSource::Inline(InlineData { media_type: media_type.into(), data }));
    let url = "https://[a-z]{1,8}\\.example/[a-z]{1,5}".prop_map(MediaSource::Url);
    let source = if document && format == Format::OpenaiChat { inline.boxed() } else { prop_oneof![inline, url].boxed() };
    let name = if document { text().prop_map(Some).boxed() } else { Just(None).boxed() };
    (source, name).prop_map(|(source, name)| Media { source, detail: None, name }).boxed()
}

/// Whether a format has breakpoints of a cache.
fn caches(format: Format) -> bool {
    matches!(format, Format::OpenaiChat | Format::AnthropicMessages)
}

/// A part of a user's message.
fn user_part(format: Format) -> BoxedStrategy<Part> {
    let kind = prop_oneof![4 => text().prop_map(PartKind::Text), 1 => media(format, false).prop_map(PartKind::Image), 1 => media(format, true).prop_map(PartKind::Document)];
    let caches = caches(format);
    (kind, any::<bool>()).prop_map(move |(kind, cache)| part(kind, cache && caches)).boxed()
}

fn call() -> impl Strategy<Value = Part> {
    ("call_[a-zA-Z0-9]{6}", "[a-z_]{1,10}", arguments())
        .prop_map(|(id, name, arguments)| Part::new(PartKind::ToolCall(ToolCall { id, name, arguments, kind: ToolCallKind::Function })))
}

fn thinking(format: Format) -> BoxedStrategy<Part> {
    let signature = if format == Format::OpenaiChat { Just(None).boxed() } else { "[A-Za-z0-9+/]{8,20}".prop_map(Some).boxed() };
    (text(), signature).prop_map(|(text, signature)| Part::new(PartKind::Thinking(Thinking { text, signature }))).boxed()
}

/// What a model says: reasoning, texts, calls.
pub fn spoken(format: Format) -> BoxedStrategy<Vec<Part>> {
    (prop::option::of(thinking(format)), prop::option::of(text()), prop::collection::vec(call(), 0..4))
        .prop_map(|(thinking, text, calls)| thinking.into_iter().chain(text.map(Part::text)).chain(calls).collect())
        .boxed()
}

/// A message that is one text.
fn said(format: Format, role: Role, text: String) -> Message {
    let shape = if format == Format::GeminiGenerate { ContentShape::Parts } else { ContentShape::Text };
    Message { shape, ..Message::text(role, text) }
}

fn message(role: Role, parts: Vec<Part>, shape: ContentShape) -> Message {
    Message { role, parts, shape, name: None, extras: Vec::new() }
}

fn turn(format: Format) -> BoxedStrategy<Vec<Message>> {
    let user = prop_oneof![
        text().prop_map(move |t| said(format, Role::User, t)),
        prop::collection::vec(user_part(format), 1..4).prop_map(|parts| message(Role::User, parts, ContentShape::Parts)),
    ];
    (user, spoken(format), text(), any::<bool>())
        .prop_map(move |(user, spoken, result, failed)| exchange(format, user, spoken, &result, failed))
        .boxed()
}

fn exchange(format: Format, user: Message, spoken: Vec<Part>, result: &str, failed: bool) -> Vec<Message> {
    let ids: Vec<String> =
        spoken.iter().filter_map(|p| if let PartKind::ToolCall(c) = &p.kind { Some(c.id.clone()) } else { None }).collect();
    let answer = |id: String| {
        let content = vec![ResultPart::new(ResultPartKind::Text(result.to_owned()))];
        let is_error = match format {
            Format::AnthropicMessages => Some(failed),
            // Only a failure is told.
            Format::GeminiGenerate => failed.then_some(true),
            _ => None,
        };
        let shape = if format == Format::GeminiGenerate { ContentShape::Parts } else { ContentShape::Text };
        Part::new(PartKind::ToolResult(ToolResult { tool_call_id: id, content, shape, is_error }))
    };
    let mut messages = vec![user];
    if spoken.is_empty() {
        return messages;
    }
    let texts = spoken.iter().any(|p| matches!(p.kind, PartKind::Text(_)));
    let shape = match format {
        Format::AnthropicMessages | Format::OpenaiResponses | Format::GeminiGenerate => ContentShape::Parts,
        Format::OpenaiChat | Format::OpenaiCompletions if texts => ContentShape::Text,
        Format::OpenaiChat | Format::OpenaiCompletions => ContentShape::Null,
    };
    messages.push(message(Role::Assistant, spoken, shape));
    match format {
        Format::OpenaiChat | Format::OpenaiResponses | Format::OpenaiCompletions => {
            messages.extend(ids.into_iter().map(|id| message(Role::Tool, vec![answer(id)], ContentShape::Parts)))
        }
        Format::AnthropicMessages | Format::GeminiGenerate if ids.is_empty() => {}
        Format::AnthropicMessages | Format::GeminiGenerate => {
            messages.push(message(Role::Tool, ids.into_iter().map(answer).collect(), ContentShape::Parts))
        }
    }
    messages
}

fn tools(format: Format) -> BoxedStrategy<Vec<Tool>> {
    let caches = caches(format);
    let tool = ("[a-z_]{1,10}", option(text()), object(), any::<bool>()).prop_map(move |(name, description, parameters, cache)| Tool {
        kind: ToolKind::Function(FunctionTool { name, description, parameters: Some(parameters.to_string()), strict: None }),
        cache_control: (cache && caches).then(|| r#"{"type":"ephemeral","ttl":"1h"}"#.to_owned()),
        extras: Vec::new(),
    });
    prop::collection::vec(tool, 0..4).boxed()
}

fn params(format: Format) -> BoxedStrategy<Params> {
    let openai = format != Format::AnthropicMessages;
    let chat = format == Format::OpenaiChat || format == Format::GeminiGenerate;
    let gemini = format == Format::GeminiGenerate;
    let stops = format != Format::OpenaiResponses;
    let only = move |keep: bool| move |p: Params| if keep { p } else { Params::default() };
    let shared = (option(0u32..=10), option(0u32..=10), option(1u64..100_000), prop::collection::vec(text(), 0..3), option(text()))
        .prop_map(|(t, p, max, stop, user)| Params {
            temperature: t.map(|n| f64::from(n) / 10.0),
            top_p: p.map(|n| f64::from(n) / 10.0),
            max_tokens: max,
            stop,
            user,
            ..Params::default()
        });
    let rest = (
        option(-2i32..=2),
        option(any::<i64>()),
        option(1u32..5),
        option(prop::sample::select(vec!["low", "medium", "high"])),
        option(any::<bool>()),
    )
        .prop_map(move |(penalty, seed, n, effort, parallel)| Params {
            presence_penalty: penalty.filter(|_| chat).map(f64::from),
            frequency_penalty: penalty.filter(|_| chat).map(f64::from),
            seed: seed.filter(|_| chat).map(|seed| if gemini { seed % 1000 } else { seed }),
            n: n.filter(|_| chat),
            reasoning_effort: effort.map(str::to_owned),
            parallel_tool_calls: parallel.filter(|_| !gemini),
            ..Params::default()
        })
        .prop_map(only(openai));
    (shared, rest)
        .prop_map(move |(s, r)| Params {
            temperature: s.temperature,
            top_p: s.top_p,
            max_tokens: if openai { s.max_tokens } else { s.max_tokens.or(Some(100)) },
            stop: if stops { s.stop } else { Vec::new() },
            user: s.user.filter(|_| !gemini),
            ..r
        })
        .boxed()
}

/// A request that `format` can express completely.
pub fn request(format: Format) -> BoxedStrategy<ChatRequest> {
    // Gemini's path has the model and the wish for a stream.
    let gemini = format == Format::GeminiGenerate;
    let system = option(text().prop_map(move |t| said(format, Role::System, t)));
    (system, prop::collection::vec(turn(format), 1..4), tools(format), params(format), any::<bool>(), option(object()))
        .prop_map(move |(system, turns, tools, params, stream, extra)| ChatRequest {
            format: format.as_str().into(),
            model: if gemini { String::new() } else { "model-1".into() },
            messages: system.into_iter().chain(turns.into_iter().flatten()).collect(),
            tool_choice: (!tools.is_empty()).then_some(ToolChoice::Required),
            tools,
            params,
            stream: stream && !gemini,
            include_usage: stream && !gemini && format != Format::OpenaiChat,
            extras: extra.map(|v| Extra::new("x_unknown", v.to_string())).into_iter().collect(),
        })
        .boxed()
}

/// An answer that every format can tell.
pub fn answer(format: Format) -> BoxedStrategy<ChatAnswer> {
    let usage = (0u64..10_000, 0u64..1000, 0u64..1000, 0u64..10_000).prop_map(|(fresh, read, written, output)| Usage {
        input_tokens: fresh + read + written,
        cache_read_tokens: Some(read),
        cache_write_tokens: Some(written),
        output_tokens: output,
        reasoning_tokens: None,
        raw: None,
    });
    (spoken(format), usage, prop::sample::select(vec![FinishReason::Stop, FinishReason::Length]))
        .prop_map(move |(parts, usage, finish)| {
            let calls = parts.iter().any(|p| matches!(p.kind, PartKind::ToolCall(_)));
            let finish = if calls { FinishReason::ToolCalls } else { finish };
            let choice = Choice { index: 0, parts, shape: ContentShape::Parts, finish: Some(finish), extras: Vec::new() };
            ChatAnswer {
                format: format.as_str().into(),
                id: "id-1".into(),
                model: "model-1".into(),
                created: Some(7),
                choices: vec![choice],
                usage: Some(usage),
                extras: Vec::new(),
            }
        })
        .boxed()
}
